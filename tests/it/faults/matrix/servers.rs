//! Servers that crash or freeze, passwords that change, and prepared transactions that are left open.

use meter_sync::config::Setting;
use meter_sync::embedded::Server;
use meter_sync::error::ErrorCode;
use meter_sync::model::RunOutcome;

use super::case::{Case, Ends, SOUND, Strike};
use super::invariants;
use super::trial_site::Side::{self, Local, Remote};
use super::trial_site::Trial;
use crate::support::postgres::{binaries, connect, freeze, resume, start_server_with};
use crate::support::proxy::Fault;
use crate::support::wait;

/// How long a server may be silent.
const SHORT: &[(Setting, &str)] = &[
    (Setting::ConnectTimeout, "500ms"),
    (Setting::StatementTimeout, "500ms"),
];

/// How long a run waits for a lock.
const SHORT_LOCKS: &[(Setting, &str)] = &[(Setting::LockTimeout, "300ms")];

const UPDATES: &[&str] = &["-- update meters"];
const READS: &[&str] = &["-- read the meters"];

/// A remote and a local server, and a site in them.
struct Servers {
    remote: Server,
    local: Server,
    trial: Trial,
}

impl Servers {
    async fn start() -> Self {
        let binaries = binaries().await;
        let prepared = || vec!["max_prepared_transactions=4".to_owned()];
        let (remote, local) = tokio::join!(
            start_server_with(&binaries, "remote", prepared()),
            start_server_with(&binaries, "local", prepared())
        );
        for server in [&remote, &local] {
            ask_for_passwords(server).await;
        }
        let urls = (remote.url("postgres"), local.url("postgres"));
        let trial = Trial::over((&urls.0, &urls.1), 40).await;
        Self {
            remote,
            local,
            trial,
        }
    }

    /// One of the servers, and the site.
    fn split(&mut self, side: Side) -> (&mut Server, &mut Trial) {
        let server = match side {
            Remote => &mut self.remote,
            Local => &mut self.local,
        };
        (server, &mut self.trial)
    }
}

/// Signs the sync in by its password; everyone else by trust, as before.
async fn ask_for_passwords(server: &Server) {
    let file = server.directory().join("data/pg_hba.conf");
    let rules = std::fs::read_to_string(&file).unwrap();
    let rule = "host all sync_postgres 127.0.0.1/32 scram-sha-256\n";
    std::fs::write(&file, format!("{rule}{rules}")).unwrap();
    let admin = connect(&server.url("postgres")).await;
    admin
        .batch_execute("select pg_reload_conf()")
        .await
        .unwrap();
}

/// Where a run is held while its server breaks.
type Point = (Side, &'static [&'static str]);

/// A server that crashes while a run is held, and is up again soon.
async fn crashes(servers: &mut Servers, (side, point): Point, code: ErrorCode) {
    let name = format!("{side:?} crashes");
    println!("{name}");
    let (server, trial) = servers.split(side);
    trial.start_anew(&[]);
    trial.change().await;
    let before = trial.state().await;
    let line = &trial.database(side).line;
    let struck = line.struck();
    line.set(Fault::StallAt(point));
    let crash = async {
        let held = async || line.struck() > struck;
        wait::until(&name, held).await;
        server.stop_immediately().await.expect("stop");
        line.go_on();
        server.restart().await.expect("restart");
    };
    let (run, ()) = tokio::join!(trial.sync(), crash);
    Ends::Failing(code).hold(&name, &run);
    invariants::hold(&name, trial, &before, Some(&run)).await;
}

/// A server that is frozen while a run is held, and until that has ended.
async fn freezes(servers: &mut Servers, (side, point): Point, code: ErrorCode) {
    let name = format!("{side:?} freezes");
    println!("{name}");
    let (server, trial) = servers.split(side);
    trial.start_anew(SHORT);
    trial.change().await;
    let before = trial.state().await;
    let line = &trial.database(side).line;
    let struck = line.struck();
    line.set(Fault::StallAt(point));
    let frozen = async {
        let held = async || line.struck() > struck;
        wait::until(&name, held).await;
        freeze(server);
        line.go_on();
    };
    let (run, ()) = tokio::join!(trial.sync(), frozen);
    resume(server);
    trial.mend_lines();
    Ends::Failing(code).hold(&name, &run);
    invariants::hold(&name, trial, &before, Some(&run)).await;
}

#[tokio::test]
async fn a_server_that_crashes_or_freezes_leaves_old_or_new_and_the_next_run_converges() {
    let mut servers = Servers::start().await;
    crashes(&mut servers, (Local, UPDATES), ErrorCode::LocalUnreachable).await;
    crashes(&mut servers, (Remote, READS), ErrorCode::RemoteUnreachable).await;
    freezes(&mut servers, (Remote, READS), ErrorCode::RemoteTimeout).await;
    freezes(&mut servers, (Local, UPDATES), ErrorCode::LocalTimeout).await;
}

const CASES: &[Case] = &[
    Case {
        name: "the remote role's password changes",
        before: &[Strike::Sql(Remote, "alter role $role password 'other'")],
        ends: Ends::Failing(ErrorCode::RemoteAuth),
        mend: &[Strike::Sql(Remote, "alter role $role password 'right'")],
        ..SOUND
    },
    Case {
        name: "the local role's password changes",
        before: &[
            Strike::Sql(Local, "alter role $role password 'other'"),
            Strike::Sql(
                Local,
                "select pg_terminate_backend(pid) from pg_stat_activity where usename = '$role'",
            ),
        ],
        ends: Ends::Failing(ErrorCode::LocalAuth),
        mend: &[Strike::Sql(Local, "alter role $role password 'right'")],
        ..SOUND
    },
    Case {
        name: "a prepared transaction holds the remote table's lock",
        settings: SHORT,
        before: &[Strike::Sql(
            Remote,
            "begin; lock table meter in access exclusive mode; prepare transaction 'lock'",
        )],
        ends: Ends::Failing(ErrorCode::RemoteTimeout),
        mend: &[Strike::Sql(Remote, "rollback prepared 'lock'")],
        ..SOUND
    },
    Case {
        name: "a prepared transaction is left open with a change in it",
        before: &[Strike::Sql(
            Remote,
            "begin; update meter set name = 'late' where id = 6; prepare transaction 'late'",
        )],
        ..SOUND
    },
    Case {
        name: "the prepared transaction is committed late",
        before: &[Strike::Sql(Remote, "commit prepared 'late'")],
        ends: Ends::With(RunOutcome::Succeeded),
        ..SOUND
    },
    Case {
        name: "a prepared transaction holds the lock of a local meter",
        settings: SHORT_LOCKS,
        before: &[Strike::Sql(
            Local,
            "begin; update meter set site_note = site_note where id = 5; prepare transaction 'row'",
        )],
        ends: Ends::Failing(ErrorCode::LocalTimeout),
        mend: &[Strike::Sql(Local, "commit prepared 'row'")],
        ..SOUND
    },
    Case {
        name: "a prepared transaction holds the lock of the local table",
        settings: SHORT_LOCKS,
        before: &[Strike::Sql(
            Local,
            "begin; lock table meter in access exclusive mode; prepare transaction 'table'",
        )],
        ends: Ends::Failing(ErrorCode::LocalTimeout),
        mend: &[Strike::Sql(Local, "commit prepared 'table'")],
        ..SOUND
    },
];

#[tokio::test]
async fn passwords_and_prepared_transactions_leave_old_or_new_and_the_next_run_converges() {
    let mut servers = Servers::start().await;
    for case in CASES {
        Box::pin(case.carry_out(&mut servers.trial)).await;
    }
}
