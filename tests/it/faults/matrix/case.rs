//! One fault of the table: what breaks, when, and how the run has to end.

use std::panic::{AssertUnwindSafe, resume_unwind};
use std::thread;

use futures_util::FutureExt;
use meter_sync::config::Setting;
use meter_sync::error::ErrorCode;
use meter_sync::model::RunOutcome;
use meter_sync::reports::run_report::RunReport;
use serde_json::json;
use tokio::runtime::Builder;
use tokio_postgres::Client;

use super::invariants;
use super::trial_site::{Side, Trial, TrialDatabase};
use crate::support::proxy::Fault;
use crate::support::site::rows;
use crate::support::wait;

/// One row of the table.
pub(super) struct Case {
    pub(super) name: &'static str,
    pub(super) settings: &'static [(Setting, &'static str)],
    /// What is broken before the run starts.
    pub(super) before: &'static [Strike],
    /// Where the run is held while `during` happens.
    pub(super) hold: HoldPoint,
    pub(super) during: &'static [Strike],
    pub(super) ends: Ends,
    /// What is mended after the run; the lines are sound again anyway.
    pub(super) mend: &'static [Strike],
}

/// A run that nothing happens to, to be filled in.
pub(super) const SOUND: Case = Case {
    name: "",
    settings: &[],
    before: &[],
    hold: HoldPoint::Nowhere,
    during: &[],
    ends: Ends::With(RunOutcome::Succeeded),
    mend: &[],
};

/// Something that happens to one side.
#[derive(Clone, Copy, Debug)]
pub(super) enum Strike {
    /// The line has this fault until it is mended.
    Line(Side, Fault),
    /// The line has this fault until it strikes.
    Once(Side, Fault),
    /// The connections of the line are forgotten, and neither end is told.
    Strand(Side),
    /// All connections of ours end.
    Gone(Side),
    /// An administrator, or somebody else's program, does this.
    Sql(Side, &'static str),
    /// Somebody does this, and goes on waiting for a lock of ours.
    Queue(Side, &'static str),
    /// The holder of the lock that the run waits for does this in its transaction.
    Holder(&'static str),
    /// A trigger of the site's raises this SQLSTATE for meter 17, until [`NO_TRIGGER`].
    Raise(&'static str),
}

/// Drops what [`Strike::Raise`] made.
pub(super) const NO_TRIGGER: &[Strike] = &[Strike::Sql(Side::Local, "drop function fails cascade")];

/// Where a run is held.
#[derive(Clone, Copy, Debug)]
pub(super) enum HoldPoint {
    Nowhere,
    /// Before this point of the line (see [`Fault::StallAt`]) reaches the server.
    At(Side, &'static [&'static str]),
    /// Behind a lock that this SQL takes in a transaction of somebody else, who commits in the end.
    Behind(Side, &'static str),
    /// The same, but the lock is held until the run has ended.
    BehindToTheEnd(Side, &'static str),
}

/// How the run has to end.
#[derive(Clone, Copy, Debug)]
pub(super) enum Ends {
    With(RunOutcome),
    Failing(ErrorCode),
    Refused(ErrorCode),
    /// With an error of this side, whose code the contract leaves open.
    FailingOn(Side),
}

/// So many cases of a group run side by side.
const LANES: usize = 4;

/// Puts sites with so many meters through the cases, and names all that failed.
pub(super) fn all_hold(cases: &[Case], meters: u32) {
    let lanes: Vec<_> = (0..LANES.min(cases.len())).collect();
    let failed = side_by_side(&lanes, async |lane: &usize| {
        let mut failed = Vec::new();
        let mut trial = Trial::new(meters).await;
        for case in cases.iter().skip(*lane).step_by(LANES) {
            let carried_out = AssertUnwindSafe(Box::pin(case.carry_out(&mut trial)));
            if carried_out.catch_unwind().await.is_err() {
                failed.push(case.name);
                trial = Trial::new(meters).await;
            }
        }
        failed
    });
    assert_eq!(failed.concat(), [""; 0]);
}

/// Does this for each of the items at once. Each has a thread and a runtime of its own, so that its tasks can be counted.
pub(super) fn side_by_side<T: Sync, R: Send>(
    items: &[T],
    carry_out: impl AsyncFn(&T) -> R + Sync,
) -> Vec<R> {
    let on_a_runtime = |item| {
        let runtime = Builder::new_current_thread().enable_all().build();
        runtime.expect("a runtime").block_on(carry_out(item))
    };
    thread::scope(|scope| {
        let threads: Vec<_> = items
            .iter()
            .map(|item| scope.spawn(move || on_a_runtime(item)))
            .collect();
        let ended = threads.into_iter().map(|thread| thread.join());
        ended
            .map(|ended| ended.unwrap_or_else(|panicked| resume_unwind(panicked)))
            .collect()
    })
}

impl Case {
    pub(super) async fn carry_out(&self, trial: &mut Trial) {
        println!("{}", self.name);
        trial.start_anew(self.settings);
        invariants::status(trial).await;
        trial.change().await;
        let before = trial.state().await;
        let run = self.strike_run(trial, trial.sync()).await;
        self.ends.hold(self.name, &run);
        invariants::hold(self.name, trial, &before, Some(&run)).await;
    }
}

impl Case {
    /// The end of a run that the fault strikes. It is mended then.
    pub(super) async fn strike_run<T>(&self, trial: &Trial, sync: impl Future<Output = T>) -> T {
        strike(trial, self.before).await;
        let during = async |holder: Option<&Client>| strike_by(trial, self.during, holder).await;
        let ended = self.hold.run(self.name, trial, sync, during).await;
        trial.mend_lines();
        strike(trial, self.mend).await;
        ended
    }
}

impl HoldPoint {
    /// The end of a run that is held here while `during` happens; that gets whoever holds the lock.
    pub(super) async fn run<T>(
        self,
        name: &str,
        trial: &Trial,
        sync: impl Future<Output = T>,
        during: impl AsyncFnOnce(Option<&Client>),
    ) -> T {
        match self {
            Self::Nowhere => sync.await,
            Self::At(side, point) => {
                let line = &trial.database(side).line;
                let struck = line.struck();
                line.set(Fault::StallAt(point));
                let strikes = async {
                    let held = async || line.struck() > struck;
                    wait::until(name, held).await;
                    during(None).await;
                    line.go_on();
                };
                tokio::join!(sync, strikes).0
            }
            Self::Behind(side, lock) => {
                let holder = hold_lock(trial.database(side), lock).await;
                let strikes = async {
                    let eyes = trial.database(side).connect().await;
                    let waits = trial.database(side).sql(WAITS_FOR_A_LOCK);
                    let held = async || rows(&eyes, &waits).await != json!([]);
                    wait::until(name, held).await;
                    during(Some(&holder)).await;
                    // a victim of a deadlock is rolled back
                    holder.batch_execute("commit").await.expect("an end");
                };
                tokio::join!(sync, strikes).0
            }
            Self::BehindToTheEnd(side, lock) => {
                let holder = hold_lock(trial.database(side), lock).await;
                let ended = sync.await;
                holder.batch_execute("commit").await.expect("an end");
                ended
            }
        }
    }
}

/// Somebody else's transaction, which has taken a lock.
pub(super) async fn hold_lock(database: &TrialDatabase, lock: &str) -> Client {
    let holder = database.connect().await;
    let begin = format!("begin; {lock}");
    holder.batch_execute(&begin).await.expect("take a lock");
    holder
}

/// The statements of ours that wait for a lock.
const WAITS_FOR_A_LOCK: &str = "select 1 from pg_locks join pg_stat_activity using (pid) where not granted and usename = '$role'";

async fn strike(trial: &Trial, strikes: &[Strike]) {
    strike_by(trial, strikes, None).await;
}

async fn strike_by(trial: &Trial, strikes: &[Strike], holder: Option<&Client>) {
    for strike in strikes {
        match *strike {
            Strike::Line(side, fault) => trial.database(side).line.set(fault),
            Strike::Once(side, fault) => trial.database(side).line.set_once(fault, Fault::None),
            Strike::Strand(side) => trial.database(side).line.strand(),
            Strike::Gone(side) => {
                let database = trial.database(side);
                let are_gone =
                    async || database.line.tasks() == 1 && database.sessions().await == json!([]);
                wait::until("our connections are gone", are_gone).await;
            }
            Strike::Sql(side, sql) => trial.database(side).run(sql).await,
            Strike::Queue(side, sql) => queue(trial.database(side), sql).await,
            Strike::Holder(sql) => {
                // it may be the victim
                drop(holder.expect("a holder").batch_execute(sql).await);
            }
            Strike::Raise(state) => raise(trial, state).await,
        }
    }
}

async fn queue(database: &TrialDatabase, sql: &'static str) {
    let waiter = database.connect().await;
    #[expect(clippy::disallowed_methods, reason = "it ends with the test's runtime")]
    tokio::spawn(async move {
        let sql = format!("-- queued\nbegin; {sql}; commit");
        waiter.batch_execute(&sql).await.expect("our turn");
    });
    let waits = "select 1 from pg_stat_activity
         where datname = current_database() and query like '-- queued%' and wait_event_type = 'Lock'";
    let waits = async || database.rows(waits).await != json!([]);
    wait::until("somebody waits for us", waits).await;
}

async fn raise(trial: &Trial, state: &str) {
    let trigger = format!(
        "create function fails() returns trigger language plpgsql as
         $$ begin raise exception 'not this one' using errcode = '{state}'; end $$;
         create trigger fails before insert or update of name on meter for each row when (new.id = 17)
         execute function fails()"
    );
    trial.local.run(&trigger).await;
}

impl Ends {
    pub(super) fn hold(self, name: &str, run: &RunReport) {
        let code = run.error.as_ref().map(|error| error.code);
        let has_failed = run.outcome == Some(RunOutcome::Failed);
        let fits = match self {
            Self::With(outcome) => run.outcome == Some(outcome),
            Self::Failing(expected) => has_failed && code == Some(expected),
            Self::FailingOn(side) => {
                has_failed && code.is_some_and(|code| code.as_str().starts_with(side.prefix()))
            }
            Self::Refused(expected) => {
                run.outcome == Some(RunOutcome::Refused) && code == Some(expected)
            }
        };
        assert!(fits, "{name}: is to end {self:?}: {run:#?}");
    }
}
