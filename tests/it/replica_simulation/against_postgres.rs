//! Compares the model of the tables with the real ones: random steps of three processes, with the clock between them
//! moving on and stepping back, must get the same answers from both.

use std::sync::{LazyLock, Mutex, PoisonError};
use std::time::Instant;

use chrono::{DateTime, TimeDelta, Utc};
use meter_sync::config::Setting;
use meter_sync::db::{Database, DbError, Local, Tx};
use meter_sync::error::ErrorCode;
use meter_sync::mirrors::{Mirrors, SlotClaimOutcome};
use meter_sync::model::{RunId, RunTrigger};
use meter_sync::store::claimed_slots::{self, Slot};
use meter_sync::store::due_mirrors::{self, EndedDueRun};
use meter_sync::store::sweeps::{self, SweepCounts, SweepOrigin, SweptMirrorSet};
use meter_sync::store::unchanged_mirrors::MirrorKey;
use quickcheck::{Gen, QuickCheck};
use tokio::runtime::Runtime;

use super::claim_steps::{History, LENGTH, Op, PROCESSES, SLOT};
use super::claim_tables::{
    Answer, ClaimTables, Claimant, Mirror, Place, RunEnd, Standing, Sweep, Time,
};
use crate::support::site::{Site, config, mirrors};
use crate::support::test_size::{seed, size};

const HISTORIES: u64 = 40;
static RUNTIME: LazyLock<Runtime> = LazyLock::new(|| Runtime::new().expect("a runtime"));
static REAL: Mutex<Option<RealTables>> = Mutex::new(None);

#[test]
fn the_model_answers_as_the_tables_do() {
    let same: fn(History) = |history| {
        let mut real = REAL.lock().unwrap_or_else(PoisonError::into_inner);
        RUNTIME.block_on(async {
            if real.is_none() {
                *real = Some(RealTables::new().await);
            }
            let real = real.as_mut().expect("it was just made");
            real.empty().await;
            let mut both = Both::new(real);
            for op in history.0 {
                both.happen(op).await;
            }
        });
    };
    let histories = HISTORIES * size();
    QuickCheck::new()
        .rng(Gen::from_size_and_seed(LENGTH, seed()))
        .tests(histories)
        .max_tests(histories)
        .quickcheck(same);
}

/// The tables of a real database, and three processes that use them.
struct RealTables {
    site: Site,
    local: Database<Local>,
    set: SweptMirrorSet,
    processes: Vec<(Mirrors, String)>,
}

impl RealTables {
    async fn new() -> Self {
        let site = Site::shared().await;
        let settings = site.settings().with(Setting::Tenants, "all");
        let config = config(&settings);
        let endpoint = config.local.as_ref().expect("a local database");
        let local = Database::<Local>::new(endpoint, &config.limits).expect("a pool");
        let mut processes = Vec::new();
        let mut set = None;
        for minute in 0..PROCESSES {
            let process = mirrors(&settings);
            let slot = DateTime::UNIX_EPOCH + TimeDelta::minutes(minute as i64);
            assert_eq!(
                process.claim_sweep(slot, false).await,
                Ok(SlotClaimOutcome::Ours)
            );
            let claim = "delete from meter_sync.meter_sync_slot returning claimed_by, local_table, substr(tenant, 3)";
            let row = site.local.query_one(claim, &[]).await.expect("a claim");
            processes.push((process, row.get(0)));
            set = Some(SweptMirrorSet {
                local_table: row.get(1),
                tenants: row.get(2),
            });
        }
        Self {
            site,
            local,
            set: set.expect("a claim"),
            processes,
        }
    }

    async fn empty(&self) {
        let empty =
            "delete from meter_sync.meter_sync_due; delete from meter_sync.meter_sync_sweep;
            delete from meter_sync.meter_sync_slot";
        self.site.on_local(empty).await;
    }

    async fn write<T>(&self, work: impl AsyncFnOnce(&Tx<'_, Local>) -> Result<T, DbError>) -> T {
        let done = self.local.write("compare with a model", work).await;
        done.expect("a statement")
    }

    /// Moves all that is stored into the past.
    async fn age(&self, by_ms: Time) {
        let by = format!("interval '{by_ms} milliseconds'");
        let age = format!(
            "update meter_sync.meter_sync_slot set slot = slot - {by}, claimed_at = claimed_at - {by};
             update meter_sync.meter_sync_sweep set started_at = started_at - {by}, renewed_at = renewed_at - {by};
             update meter_sync.meter_sync_due set claimed_at = claimed_at - {by}"
        );
        self.site.on_local(&age).await;
    }
}

/// What a process of the test does.
#[derive(Default)]
struct Process {
    /// The sweep that it has begun, and whether it has listed the due mirrors.
    sweep: Option<(Sweep, bool)>,
    /// The sweep whose mirrors it takes.
    helps: Option<Sweep>,
    /// The runs that it has begun.
    runs: Vec<(Sweep, Place, MirrorKey)>,
}

/// The model and the real tables.
struct Both<'r> {
    model: ClaimTables,
    real: &'r RealTables,
    begun: Instant,
    base: DateTime<Utc>,
    /// The time of the model, and how far the rows were moved into the past.
    now: Time,
    aged: Time,
    sweeps: Vec<RunId>,
    processes: [Process; PROCESSES],
}

impl<'r> Both<'r> {
    fn new(real: &'r RealTables) -> Self {
        Self {
            model: ClaimTables::default(),
            real,
            begun: Instant::now(),
            base: meter_sync::machine_clock::now(),
            now: 0,
            aged: 0,
            sweeps: Vec::new(),
            processes: Default::default(),
        }
    }

    fn slot(&self) -> Time {
        self.now.div_euclid(SLOT) * SLOT
    }

    fn real_slot(&self) -> DateTime<Utc> {
        self.base + TimeDelta::milliseconds(self.slot() - self.aged)
    }

    fn name(&self, who: usize) -> &'r str {
        &self.real.processes[who].1
    }

    async fn happen(&mut self, op: Op) {
        match op {
            Op::Pass(step) => self.pass(step).await,
            Op::Claim(who, is_again) => self.claim(who, is_again).await,
            Op::RenewClaim(who) => self.renew_claim(who).await,
            Op::GiveUp(who) => self.give_up(who).await,
            Op::StartSweep(who) => self.start_sweep(who).await,
            Op::AddDue(who, mirrors) => self.add_due(who, mirrors).await,
            Op::Take(who) => self.take(who).await,
            Op::End(who, end) => self.end(who, end).await,
            Op::RenewDue(who) => self.renew_due(who).await,
            Op::Look(who) => self.look(who).await,
            Op::Finish(who, is_ok) => self.finish(who, is_ok).await,
        }
    }

    /// Lets time pass. What the statements took since is part of it.
    async fn pass(&mut self, step: Time) {
        self.now += step;
        let took = Time::try_from(self.begun.elapsed().as_millis()).expect("a short test");
        let by = self.now - took - self.aged;
        self.aged += by;
        self.real.age(by).await;
    }

    async fn claim(&mut self, who: usize, is_again: bool) {
        let answer = self
            .model
            .claim_slot(self.slot(), claimant(who), is_again, self.now);
        let process = &self.real.processes[who].0;
        let claim = process.claim_sweep(self.real_slot(), is_again).await;
        let expected = match answer {
            Answer::Ours { .. } => SlotClaimOutcome::Ours,
            Answer::Pending => SlotClaimOutcome::Pending,
            Answer::Served => SlotClaimOutcome::Served,
        };
        assert_eq!(claim, Ok(expected));
        let holder = "select claimed_by from meter_sync.meter_sync_slot where slot = $1";
        let holder = self
            .real
            .site
            .local
            .query_opt(holder, &[&self.real_slot()])
            .await;
        let holder: Option<String> = holder.expect("a holder").map(|row| row.get(0));
        let expected = self
            .model
            .holder(self.slot())
            .map(|by| self.name(by as usize));
        assert_eq!(holder.as_deref(), expected);
    }

    async fn renew_claim(&mut self, who: usize) {
        self.model.renew_slot(self.slot(), claimant(who), self.now);
        let name = self.name(who);
        let slot = Slot::of_sweep(self.real.set.clone(), self.real_slot());
        let renew = async |tx: &Tx<'_, Local>| {
            sweeps::renew(tx, name).await?;
            claimed_slots::renew(tx, &slot, name).await
        };
        self.real.write(renew).await;
    }

    async fn give_up(&mut self, who: usize) {
        self.model.give_up(claimant(who), self.now);
        let name = self.name(who);
        let slot = Slot::of_sweep(self.real.set.clone(), self.real_slot());
        let give_up = async |tx: &Tx<'_, Local>| {
            sweeps::give_up(tx, name).await?;
            claimed_slots::give_up(tx, &slot, name).await
        };
        self.real.write(give_up).await;
    }

    async fn start_sweep(&mut self, who: usize) {
        let sweep = self.model.start_sweep(claimant(who), self.now);
        let id = RunId::at(meter_sync::machine_clock::now());
        assert_eq!(self.sweeps.len(), sweep);
        self.sweeps.push(id);
        self.processes[who].sweep = Some((sweep, false));
        self.processes[who].helps = Some(sweep);
        let sweeper = SweepOrigin {
            actor: None,
            reason: None,
            claimant: Some(self.name(who)),
        };
        let set = &self.real.set;
        let start = async |tx: &Tx<'_, Local>| {
            sweeps::start(tx, id, set, RunTrigger::Schedule, sweeper).await
        };
        self.real.write(start).await;
    }

    async fn add_due(&mut self, who: usize, mirrors: u32) {
        let Some((sweep, false)) = self.processes[who].sweep else {
            return;
        };
        self.processes[who].sweep = Some((sweep, true));
        let mirrors: Vec<Mirror> = (0..mirrors).collect();
        let is_added = self.model.add_due(sweep, &mirrors);
        let keys: Vec<MirrorKey> = mirrors.into_iter().map(key).collect();
        let (id, set) = (self.sweeps[sweep], &self.real.set);
        let add = async |tx: &Tx<'_, Local>| due_mirrors::add(tx, id, set, &keys).await;
        assert_eq!(self.real.write(add).await, is_added);
    }

    async fn take(&mut self, who: usize) {
        let Some(sweep) = self.processes[who].helps else {
            return;
        };
        let taken = self.model.take(sweep, claimant(who), self.now);
        let (id, name) = (self.sweeps[sweep], self.name(who));
        let take = async |tx: &Tx<'_, Local>| due_mirrors::take(tx, id, name).await;
        let expected = taken.map(|(_, mirror, _)| key(mirror));
        assert_eq!(self.real.write(take).await, expected);
        let run = taken.map(|(place, mirror, _)| (sweep, place, key(mirror)));
        self.processes[who].runs.extend(run);
    }

    async fn end(&mut self, who: usize, end: RunEnd) {
        let Some((sweep, place, mirror)) = self.processes[who].runs.pop() else {
            return;
        };
        self.model.end(sweep, place, claimant(who), end);
        let error = match end {
            RunEnd::Succeeded => None,
            RunEnd::Failed => Some(ErrorCode::RemoteTimeout),
            RunEnd::AlreadyRunning => Some(ErrorCode::AlreadyRunning),
        };
        let ended = EndedDueRun {
            mirror,
            error,
            remote_bytes: 0,
        };
        let (id, name) = (self.sweeps[sweep], self.name(who));
        let end = async |tx: &Tx<'_, Local>| due_mirrors::end(tx, id, name, &ended).await;
        self.real.write(end).await;
    }

    async fn renew_due(&mut self, who: usize) {
        let Some(sweep) = self.processes[who].helps else {
            return;
        };
        self.model.renew_due(sweep, claimant(who), self.now);
        let (id, name) = (self.sweeps[sweep], self.name(who));
        let renew = async |tx: &Tx<'_, Local>| due_mirrors::renew(tx, id, name).await;
        self.real.write(renew).await;
    }

    /// A process that sees a sweep to help with takes part in it.
    async fn look(&mut self, who: usize) {
        if let Some(sweep) = self.processes[who].helps {
            let id = self.sweeps[sweep];
            let standing = async |tx: &Tx<'_, Local>| due_mirrors::standing(tx, id).await;
            let expected = match self.model.standing(sweep, self.now) {
                Standing::HasDue => due_mirrors::SweepRunsProgress::HasDue,
                Standing::InProgress => due_mirrors::SweepRunsProgress::InProgress,
                Standing::Ended => due_mirrors::SweepRunsProgress::Ended,
            };
            assert_eq!(self.real.write(standing).await, expected);
        }
        let open = self.model.open_sweep(self.now);
        let set = &self.real.set;
        let open_sweep = async |tx: &Tx<'_, Local>| due_mirrors::open_sweep(tx, set).await;
        let real = self.real.write(open_sweep).await;
        assert_eq!(
            real.map(|open| open.id),
            open.map(|sweep| self.sweeps[sweep])
        );
        self.processes[who].helps = open.or(self.processes[who].helps);
    }

    async fn finish(&mut self, who: usize, is_ok: bool) {
        let Some((sweep, _)) = self.processes[who].sweep.take() else {
            return;
        };
        let expected = self.model.take_ended(sweep);
        self.model.finish_sweep(sweep, is_ok);
        let id = self.sweeps[sweep];
        let error = meter_sync::error::Failure::new(ErrorCode::Interrupted, "It was taken over.");
        let finish = async |tx: &Tx<'_, Local>| {
            let ended = due_mirrors::take_ended(tx, id).await?;
            let error = (!is_ok).then_some(&error);
            sweeps::finish(tx, id, &SweepCounts::default(), error).await?;
            due_mirrors::drop_all(tx, id).await?;
            Ok(ended.len())
        };
        assert_eq!(self.real.write(finish).await, expected);
    }
}

fn claimant(who: usize) -> Claimant {
    Claimant::try_from(who).expect("a small number")
}

fn key(mirror: Mirror) -> MirrorKey {
    MirrorKey {
        tenant: mirror.to_string(),
        local_table: "public.meter".to_owned(),
    }
}
