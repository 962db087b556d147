//! The limits that hold in our transactions: the lower of a role's own and ours, on both sides and wherever they were set.
//!
//! A view on the remote and a trigger on the local table note the limits that are in force while a run reads and writes.

use meter_sync::config::{CommandLineSettings, Setting};
use meter_sync::embedded::{PostgresBinaries, Server};
use meter_sync::mirrors::RunRequest;
use meter_sync::model::{RunOutcome, RunTrigger};
use serde_json::{Value, json};
use tokio_postgres::Client;

use crate::support::postgres::{binaries, connect, postgres_18, start_server};
use crate::support::site::{finish, mirror, rows, settings};
use crate::support::wait;

const LIMITS: [&str; 3] = [
    "statement_timeout",
    "lock_timeout",
    "idle_in_transaction_session_timeout",
];

/// Postgres 17 and later have one more.
const OF_TRANSACTION: &str = "transaction_timeout";

const REMOTE: &str = "
    create table plain (id bigint primary key, tenant_id bigint, n integer, active boolean);
    insert into plain values (1, 7, 1, true);
    create view meter as select p.id, p.tenant_id, p.n, IN_FORCE as remote_limits, p.active from plain p";

const LOCAL: &str = "
    create table tenant (id bigint primary key); insert into tenant values (7);
    create table meter (id bigint primary key, n integer, remote_limits text, active boolean, local_limits text);
    create function note() returns trigger language plpgsql as
        $$ begin new.local_limits := IN_FORCE; return new; end $$;
    create trigger note before insert or update on meter for each row execute function note()";

/// Two servers with the limits that each version has.
struct Sides {
    _servers: [Server; 2],
    clients: [Client; 2],
    limits: Vec<&'static str>,
    settings: CommandLineSettings,
}

impl Sides {
    async fn start(binaries: &PostgresBinaries, limits: Vec<&'static str>) -> Self {
        let remote = start_server(binaries, "remote").await;
        let local = start_server(binaries, "local").await;
        let (remote_url, local_url) = (remote.url("postgres"), local.url("postgres"));
        let clients = [connect(&remote_url).await, connect(&local_url).await];
        let in_force: Vec<String> = limits
            .iter()
            .map(|limit| format!("current_setting('{limit}')"))
            .collect();
        let in_force = format!("concat_ws(' ', {})", in_force.join(", "));
        for (client, schema) in clients.iter().zip([REMOTE, LOCAL]) {
            let schema = schema.replace("IN_FORCE", &in_force);
            client.batch_execute(&schema).await.expect("a schema");
        }
        let settings = settings(&remote_url, &local_url)
            .with(Setting::StatementTimeout, "40s")
            .with(Setting::LockTimeout, "20s")
            .with(Setting::RunTimeout, "2m");
        Self {
            _servers: [remote, local],
            clients,
            limits,
            settings,
        }
    }

    /// Sets all limits of both sides, as in `alter role postgres set`.
    async fn set(&self, scope: &str, value: &str) {
        for client in &self.clients {
            for limit in &self.limits {
                let sql = format!("alter {scope} set {limit} = '{value}'");
                client.batch_execute(&sql).await.expect("a limit");
            }
        }
    }

    async fn reset(&self, scope: &str) {
        for client in &self.clients {
            let sql = format!("alter {scope} reset all");
            client.batch_execute(&sql).await.expect("no limits");
        }
    }

    /// The limits in force, the remote's and the local ones, of a run in sessions of its own.
    async fn in_force(&self) -> [Vec<String>; 2] {
        let [remote, local] = &self.clients;
        remote
            .batch_execute("update plain set n = n + 1")
            .await
            .expect("a change");
        let run = finish(&mirror(&self.settings), RunRequest::new(RunTrigger::Cli)).await;
        assert_eq!(run.outcome, Some(RunOutcome::Succeeded), "{run:#?}");
        let noted = rows(local, "select remote_limits, local_limits from meter").await;
        let words = |name: &str| {
            let text = noted[0][name].as_str().expect("limits");
            text.split(' ').map(str::to_owned).collect()
        };
        [words("remote_limits"), words("local_limits")]
    }
}

const SCOPES: [&str; 3] = [
    "role postgres",
    "database postgres",
    "role postgres in database postgres",
];

/// Lower than any of ours, and long enough for a run on a busy machine.
const LOWER: &str = "13s";

async fn assert_the_lower_is_kept(sides: &Sides) {
    let ours = sides.in_force().await;
    let [remote, local] = &ours;
    for (limit, (remote, local)) in sides.limits.iter().zip(remote.iter().zip(local)) {
        let none = "0";
        // Nothing but a lock waits for the remote's lock, and a statement ends that, too.
        if *limit != "lock_timeout" {
            assert_ne!(remote, none, "{limit}");
        }
        assert_ne!(local, none, "{limit}");
    }
    for scope in SCOPES {
        sides.set(scope, LOWER).await;
        let shown = sides.in_force().await;
        for (place, limit) in sides.limits.iter().enumerate() {
            // That of the whole transaction goes on as it began, whatever is shown: see
            // `server_timeouts::a_transaction_timeout_of_the_role_is_told_by_its_name`.
            if *limit != OF_TRANSACTION {
                let [remote, local] = [&shown[0][place], &shown[1][place]];
                assert_eq!([remote, local], [LOWER; 2], "{limit}, {scope}");
            }
        }
        sides.reset(scope).await;
        sides.set(scope, "0").await;
        assert_eq!(sides.in_force().await, ours, "none, {scope}");
        sides.reset(scope).await;
    }
    sides.set(SCOPES[0], "3h").await;
    let mut longer = ours.clone();
    for (place, limit) in sides.limits.iter().enumerate() {
        if *limit == "lock_timeout" && longer[0][place] == "0" {
            longer[0][place] = "3h".to_owned();
        }
    }
    assert_eq!(sides.in_force().await, longer, "longer");
    sides.reset(SCOPES[0]).await;
}

#[tokio::test]
async fn the_lower_of_a_limit_of_the_role_and_ours_holds_on_both_sides() {
    let sides = Sides::start(&binaries().await, LIMITS.to_vec()).await;
    assert_the_lower_is_kept(&sides).await;
}

#[tokio::test]
async fn the_lower_of_a_limit_of_whole_transactions_and_ours_holds_on_both_sides() {
    let limits = LIMITS.into_iter().chain([OF_TRANSACTION]).collect();
    let sides = Sides::start(&postgres_18().await, limits).await;
    assert_the_lower_is_kept(&sides).await;
}

/// A role may limit how long a session is idle between transactions, too: pooled connections end then.
#[tokio::test]
async fn sessions_that_the_role_lets_be_idle_for_a_moment_only_are_made_anew() {
    let sides = Sides::start(&postgres_18().await, vec!["idle_session_timeout"]).await;
    sides.set(SCOPES[0], "500ms").await;
    let runs = mirror(&sides.settings);
    for round in 0..3 {
        let [remote, _] = &sides.clients;
        remote
            .batch_execute("update plain set n = n + 1")
            .await
            .expect("a change");
        let run = finish(&runs, RunRequest::new(RunTrigger::Cli)).await;
        assert_eq!(
            run.outcome,
            Some(RunOutcome::Succeeded),
            "{round}: {run:#?}"
        );
        for client in &sides.clients {
            let ours = "select pid from pg_stat_activity where application_name like 'meter-sync%'";
            let are_gone = async || rows(client, ours).await == Value::from(Vec::<Value>::new());
            wait::until("the server has ended our idle sessions", are_gone).await;
        }
    }
    let kept = "select local_limits from meter";
    let kept = rows(&sides.clients[1], kept).await;
    assert_eq!(kept, json!([{"local_limits": "500ms"}]));
}
