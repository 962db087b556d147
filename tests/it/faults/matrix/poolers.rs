//! A real `PgBouncer` in transaction mode on both sides, which is killed in the middle of a run, or whose connections to us
//! are reset.

use meter_sync::error::ErrorCode;

use super::case::{Case, Ends, HoldPoint, SOUND, Strike};
use super::invariants;
use super::trial_site::Side::{Local, Remote};
use super::trial_site::Trial;
use crate::support::pgbouncer::PgBouncer;
use crate::support::proxy::{Fault, Proxy};

const READS: HoldPoint = HoldPoint::At(Remote, &["-- read the meters"]);
const WRITES: HoldPoint = HoldPoint::At(Local, &["-- update meters"]);

/// A pooler that keeps idle connections for a second: they have to be back in the end.
const SOON: &str = "server_idle_timeout = 1";

/// A site whose runs go through a pooler, and from there over the lines.
async fn behind() -> (Trial, PgBouncer) {
    let mut trial = Trial::new(40).await;
    let pooler = PgBouncer::between([&trial.remote.url, &trial.local.url], SOON).await;
    trial.remote.url.clone_from(&pooler.remote_url);
    trial.local.url.clone_from(&pooler.local_url);
    (trial, pooler)
}

/// A pooler that is killed while a run is held, and is up again soon.
async fn is_killed(trial: &mut Trial, pooler: &mut PgBouncer, hold: HoldPoint) {
    let name = format!("the pooler is killed: {hold:?}");
    println!("{name}");
    trial.start_anew(&[]);
    trial.change().await;
    let before = trial.state().await;
    let kill = async |_: Option<&tokio_postgres::Client>| {
        pooler.kill().await;
        pooler.restart().await;
    };
    let run = hold.run(&name, trial, trial.sync(), kill).await;
    trial.mend_lines();
    let has_failed = run.error.as_ref().map(|error| error.code);
    let unreachable = [ErrorCode::RemoteUnreachable, ErrorCode::LocalUnreachable];
    assert!(
        has_failed.is_some_and(|code| unreachable.contains(&code)),
        "{name}: {run:#?}"
    );
    invariants::hold(&name, trial, &before, Some(&run)).await;
}

#[tokio::test]
async fn a_pooler_killed_in_a_run_leaves_old_or_new_and_the_next_run_converges() {
    let (mut trial, mut pooler) = behind().await;
    Box::pin(is_killed(&mut trial, &mut pooler, READS)).await;
    Box::pin(is_killed(&mut trial, &mut pooler, WRITES)).await;
}

/// A site whose runs go over the lines, and from there through a pooler.
async fn before() -> (Trial, PgBouncer) {
    let mut trial = Trial::new(40).await;
    let servers = [&*trial.remote.direct_url, &trial.local.direct_url];
    let pooler = PgBouncer::between(servers, SOON).await;
    let ends = [
        (&mut trial.remote, &pooler.remote_url),
        (&mut trial.local, &pooler.local_url),
    ];
    for (database, url) in ends {
        (database.line, database.url) = Proxy::before(url).await;
    }
    // the listeners of the lines to the servers
    trial.other_tasks += 2;
    (trial, pooler)
}

const RESETS: &[Case] = &[
    Case {
        name: "the pooler's connection for the remote is reset while it is read",
        hold: READS,
        during: &[Strike::Line(Remote, Fault::Reset)],
        ends: Ends::Failing(ErrorCode::RemoteUnreachable),
        ..SOUND
    },
    Case {
        name: "the pooler's connection for the local side is reset while meters are written",
        hold: WRITES,
        during: &[
            Strike::Line(Local, Fault::Reset),
            Strike::Gone(Local),
            Strike::Line(Local, Fault::None),
        ],
        ends: Ends::Failing(ErrorCode::LocalUnreachable),
        ..SOUND
    },
    Case {
        name: "the pooler's answer to the commit is lost",
        before: &[Strike::Once(
            Local,
            Fault::LoseReply(&["-- log the end of a run", "COMMIT"]),
        )],
        ..SOUND
    },
];

#[tokio::test]
async fn a_poolers_connection_reset_in_a_run_leaves_old_or_new_and_the_next_run_converges() {
    let (mut trial, _pooler) = before().await;
    for case in RESETS {
        Box::pin(case.carry_out(&mut trial)).await;
    }
}
