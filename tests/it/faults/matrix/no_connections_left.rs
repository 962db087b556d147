//! Servers whose connections are all in use by others.

use meter_sync::model::RunOutcome;
use serde_json::json;
use tokio_postgres::error::SqlState;
use tokio_postgres::{Client, NoTls};

use super::case::Ends;
use super::invariants;
use super::trial_site::Side::{self, Local, Remote};
use super::trial_site::{Trial, TrialDatabase};
use crate::support::postgres::{binaries, start_server_with};
use crate::support::site::rows;
use crate::support::wait;

const TERMINATE: &str =
    "select pg_terminate_backend(pid) from pg_stat_activity where usename = '$role'";

/// Sessions of anybody else.
const OTHERS: &str = "
    select pid from pg_stat_activity
    where backend_type = 'client backend' and usename <> 'crowd' and pid <> pg_backend_pid()";

/// Takes every connection that the server gives to other than superusers; they are free once the clients are dropped.
async fn take_all(database: &TrialDatabase) -> Vec<Client> {
    let admin = database.connect().await;
    let url = database
        .direct_url
        .replace(&database.sql("$role:right@"), "crowd@");
    database.run("create role crowd login").await;
    database.run(TERMINATE).await;
    let mut clients = take_what_is_left(&url).await;
    let are_gone = async || rows(&admin, OTHERS).await == json!([]);
    wait::until("everybody else is gone", are_gone).await;
    clients.extend(take_what_is_left(&url).await);
    clients.push(admin);
    clients
}

async fn take_what_is_left(url: &str) -> Vec<Client> {
    let mut clients = Vec::new();
    loop {
        match tokio_postgres::connect(url, NoTls).await {
            Ok((client, connection)) => {
                #[expect(clippy::disallowed_methods, reason = "it ends with the client")]
                tokio::spawn(connection);
                clients.push(client);
            }
            Err(error) => {
                assert_eq!(error.code(), Some(&SqlState::TOO_MANY_CONNECTIONS));
                return clients;
            }
        }
    }
}

/// A run that finds no connection left on this side.
async fn is_crowded_out(trial: &mut Trial, side: Side) {
    let name = format!("{side:?} has no connection left");
    println!("{name}");
    trial.start_anew(&[]);
    trial.change().await;
    let before = trial.state().await;
    let crowd = take_all(trial.database(side)).await;
    let run = trial.sync().await;
    drop(crowd);
    let are_gone = async || {
        let crowd = "select pid from pg_stat_activity where usename = 'crowd'";
        trial.database(side).rows(crowd).await == json!([])
    };
    wait::until("the crowd is gone", are_gone).await;
    Ends::FailingOn(side).hold(&name, &run);
    let remedy = run.error.as_ref().map_or("", |error| &error.remedy);
    assert!(remedy.contains("max_connections"), "{run:#?}");
    invariants::hold(&name, trial, &before, Some(&run)).await;
}

#[tokio::test]
async fn a_server_without_connections_left_leaves_the_old_rows_and_the_next_run_converges() {
    let binaries = binaries().await;
    let few = || vec!["max_connections=40".to_owned()];
    let (remote, local) = tokio::join!(
        start_server_with(&binaries, "remote", few()),
        start_server_with(&binaries, "local", few())
    );
    let mut trial = Trial::over((&remote.url("postgres"), &local.url("postgres")), 40).await;
    Box::pin(is_crowded_out(&mut trial, Remote)).await;
    Box::pin(is_crowded_out(&mut trial, Local)).await;
    Ends::With(RunOutcome::NoChange).hold("afterwards", &trial.sync().await);
}
