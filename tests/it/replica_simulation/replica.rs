//! What a process does: it waits for slots, sweeps, and takes part in the sweeps of others, as `schedule` and
//! `mirrors::sweep` do. Left out: the second attempt of a run that fails for a transient reason, and a database that
//! does not answer.

use super::claim_tables::{Answer, Claimant, Mirror, Place, RunEnd, SECOND, Standing, Sweep, Time};
use super::world::{SLOT, World};

const JITTER: Time = 60 * SECOND;
const LONGEST_SLEEP: Time = 30 * SECOND;
/// How often a process looks whether the one that holds the slot has died.
const LOOK: Time = 3 * SECOND;
const RENEWAL: Time = 5 * SECOND;
const NOTICE: Time = 2 * SECOND;
const PAUSE: Time = 500;
/// The clock may be set back so far before the start of a slot without leaving it.
const CORRECTION: Time = 60 * SECOND;
const RETRY: Time = 30 * SECOND;

#[derive(Default)]
pub(super) struct Replica {
    pub(super) name: Claimant,
    pub(super) is_alive: bool,
    pub(super) paused_until: Time,
    /// When it was started, or its last pause ended.
    pub(super) disturbed_at: Time,
    /// The slot that it claimed or waits to claim, and since when it looks after it.
    pub(super) looks: (Time, Time),
    handled: Option<Time>,
    /// The slot that it serves, and its sweep.
    pub(super) sweep: Option<(Time, Sweep)>,
    /// How many mirrors its sweep has listed.
    listed: usize,
    /// The sweep whose mirrors it runs.
    pub(super) takes: Option<Sweep>,
    workers: usize,
    pub(super) runs: Vec<(Mirror, u32)>,
}

impl Replica {
    /// A process that starts now.
    pub(super) fn new(name: Claimant, now: Time) -> Self {
        Self {
            name,
            is_alive: true,
            disturbed_at: now,
            ..Self::default()
        }
    }
}

#[derive(Clone, Copy, Debug)]
pub(super) enum Step {
    /// Waits for the next slot.
    Wait {
        is_startup: bool,
    },
    Claim {
        slot: Time,
        is_again: bool,
    },
    RenewClaim {
        slot: Time,
        sweep: Sweep,
    },
    /// Has looked which mirrors differ.
    List(Sweep),
    /// Looks how far the sweep has come.
    Look(Sweep),
    /// Looks for a sweep of another process.
    Notice,
    Take(Sweep),
    RenewDue(Sweep),
    EndRun(Sweep, Run),
}

#[derive(Clone, Copy, Debug)]
pub(super) struct Run {
    place: Place,
    mirror: Mirror,
    /// Its number; `None` if another run of the mirror was in progress.
    number: Option<u32>,
}

impl World {
    pub(super) fn step(&mut self, replica: usize, step: Step) {
        match step {
            Step::Wait { is_startup } => self.wait(replica, is_startup),
            Step::Claim { slot, is_again } => self.claim(replica, slot, is_again),
            Step::RenewClaim { slot, sweep } => self.renew_claim(replica, slot, sweep),
            Step::List(sweep) => self.list(replica, sweep),
            Step::Look(sweep) => self.look(replica, sweep),
            Step::Notice => self.notice(replica),
            Step::Take(sweep) => self.take(replica, sweep),
            Step::RenewDue(sweep) => self.renew_due(replica, sweep),
            Step::EndRun(sweep, run) => self.end_run(replica, sweep, run),
        }
    }

    fn wait(&mut self, replica: usize, is_startup: bool) {
        let now = self.clock();
        let slot = now.div_euclid(SLOT) * SLOT;
        if self.replicas[replica].handled == Some(slot) {
            let left = (slot + SLOT - now).min(LONGEST_SLEEP);
            return self.later(replica, left, Step::Wait { is_startup: false });
        }
        let jitter = match is_startup {
            true => 0,
            false => self.below(JITTER as u64) as Time,
        };
        let delay = (slot + jitter - now).max(0);
        self.replicas[replica].looks = (slot, self.now + delay);
        let is_again = false;
        self.later(replica, delay, Step::Claim { slot, is_again });
    }

    fn end_slot(&mut self, replica: usize, slot: Time) {
        let state = &mut self.replicas[replica];
        state.handled = Some(slot);
        state.sweep = None;
        self.later(replica, 0, Step::Wait { is_startup: false });
    }

    fn holds(&self, slot: Time) -> bool {
        (slot - CORRECTION..slot + SLOT).contains(&self.clock())
    }

    fn claim(&mut self, replica: usize, slot: Time, is_again: bool) {
        if !self.holds(slot) {
            return self.end_slot(replica, slot);
        }
        let name = self.replicas[replica].name;
        match self.tables.claim_slot(slot, name, is_again, self.clock()) {
            Answer::Served => self.end_slot(replica, slot),
            Answer::Pending => self.later(replica, LOOK, Step::Claim { slot, is_again }),
            Answer::Ours { from } => {
                if let Some(from) = from {
                    self.note_takeover(from);
                    self.swept.entry(slot).or_default().1 += 1;
                }
                let sweep = self.tables.start_sweep(name, self.clock());
                self.figures.sweeps += 1;
                self.replicas[replica].sweep = Some((slot, sweep));
                self.later(replica, RENEWAL, Step::RenewClaim { slot, sweep });
                let looked = 200 + self.below(2000) as Time;
                self.later(replica, looked, Step::List(sweep));
            }
        }
    }

    fn renew_claim(&mut self, replica: usize, slot: Time, sweep: Sweep) {
        let Some((_, current)) = self.replicas[replica].sweep else {
            return;
        };
        if current == sweep {
            let name = self.replicas[replica].name;
            self.tables.renew_slot(slot, name, self.clock());
            self.later(replica, RENEWAL, Step::RenewClaim { slot, sweep });
        }
    }

    /// Lists the mirrors that differ; the one that was equal longest ago comes first.
    fn list(&mut self, replica: usize, sweep: Sweep) {
        let differing = self.mirrors.iter().zip(0..);
        let differing = differing.filter(|(state, _)| state.differs_since.is_some());
        let mut due: Vec<(Time, Mirror)> = differing
            .map(|(state, mirror)| (state.equal_at, mirror))
            .collect();
        due.sort_unstable();
        let due: Vec<Mirror> = due.into_iter().map(|(_, mirror)| mirror).collect();
        self.replicas[replica].listed = due.len();
        match self.tables.add_due(sweep, &due) {
            true => self.look(replica, sweep),
            false => self.end_sweep(replica, sweep, false),
        }
    }

    fn look(&mut self, replica: usize, sweep: Sweep) {
        let state = &self.replicas[replica];
        match self.tables.standing(sweep, self.clock()) {
            Standing::HasDue if state.takes.is_none() => self.take_part(replica, sweep),
            Standing::HasDue | Standing::InProgress => {
                self.later(replica, PAUSE, Step::Look(sweep));
            }
            Standing::Ended => {
                let listed = state.listed;
                let is_whole = self.tables.take_ended(sweep) == listed;
                self.end_sweep(replica, sweep, is_whole);
            }
        }
    }

    fn end_sweep(&mut self, replica: usize, sweep: Sweep, is_ok: bool) {
        self.tables.finish_sweep(sweep, is_ok);
        let Some((slot, _)) = self.replicas[replica].sweep.take() else {
            return;
        };
        if is_ok {
            // After a clock was set back to before the slot, a sweep that began then does not serve it.
            let swept = self.swept.entry(slot).or_default();
            if self.tables.started_at(sweep) >= slot {
                swept.0 += 1;
            } else {
                let (_, taken_over) = *swept;
                self.count_early(slot, taken_over);
            }
            return self.end_slot(replica, slot);
        }
        self.figures.lost_sweeps += 1;
        let delay = RETRY + self.below(RETRY as u64) as Time;
        let is_again = true;
        self.later(replica, delay, Step::Claim { slot, is_again });
    }

    /// Counts a sweep that began before its slot. There is at most one each time the clock was set back or the slot taken
    /// over.
    fn count_early(&mut self, slot: Time, taken_over: u64) {
        let recent = self.set_back_at.iter();
        let recent = recent.filter(|at| self.now - **at <= SLOT).count() as u64;
        let early = self.swept_early.entry(slot).or_default();
        *early += 1;
        assert!(
            *early <= recent + taken_over,
            "slot {slot} was swept {early} times too early, at {}",
            self.now
        );
    }

    fn notice(&mut self, replica: usize) {
        if self.replicas[replica].takes.is_none()
            && let Some(sweep) = self.tables.open_sweep(self.clock())
        {
            self.take_part(replica, sweep);
        }
        self.later(replica, NOTICE, Step::Notice);
    }

    fn take_part(&mut self, replica: usize, sweep: Sweep) {
        let workers = self.fleet.workers;
        let state = &mut self.replicas[replica];
        state.takes = Some(sweep);
        state.workers = workers;
        for _ in 0..workers {
            self.later(replica, 0, Step::Take(sweep));
        }
        self.later(replica, RENEWAL, Step::RenewDue(sweep));
    }

    fn take(&mut self, replica: usize, sweep: Sweep) {
        let name = self.replicas[replica].name;
        let Some((place, mirror, from)) = self.tables.take(sweep, name, self.clock()) else {
            return self.end_worker(replica, sweep);
        };
        if let Some(from) = from {
            self.note_takeover(from);
        }
        let took = 20 + self.below(60) as Time;
        let is_free = self.mirrors[mirror as usize].run.is_none();
        let number = is_free.then(|| {
            self.runs += 1;
            self.runs
        });
        if let Some(number) = number {
            self.mirrors[mirror as usize].run = Some(number);
            self.replicas[replica].runs.push((mirror, number));
        }
        let run = Run {
            place,
            mirror,
            number,
        };
        self.later(replica, took, Step::EndRun(sweep, run));
    }

    fn end_worker(&mut self, replica: usize, sweep: Sweep) {
        let state = &mut self.replicas[replica];
        state.workers -= 1;
        if state.workers > 0 {
            return;
        }
        state.takes = None;
        if state.sweep.is_some_and(|(_, own)| own == sweep) {
            self.look(replica, sweep);
        }
    }

    fn renew_due(&mut self, replica: usize, sweep: Sweep) {
        let state = &self.replicas[replica];
        if state.takes == Some(sweep) {
            self.tables.renew_due(sweep, state.name, self.clock());
            self.later(replica, RENEWAL, Step::RenewDue(sweep));
        }
    }

    fn end_run(&mut self, replica: usize, sweep: Sweep, run: Run) {
        let end = match run.number {
            Some(number) => self.commit(replica, run.mirror, number),
            None => {
                self.figures.met_another += 1;
                RunEnd::AlreadyRunning
            }
        };
        let name = self.replicas[replica].name;
        self.tables.end(sweep, run.place, name, end);
        self.take(replica, sweep);
    }

    /// Ends a run. It can commit only while it holds the run lock.
    fn commit(&mut self, replica: usize, mirror: Mirror, number: u32) -> RunEnd {
        self.replicas[replica]
            .runs
            .retain(|run| *run != (mirror, number));
        let now = self.now;
        let state = &mut self.mirrors[mirror as usize];
        if state.run != Some(number) {
            self.figures.lost_runs += 1;
            return RunEnd::Failed;
        }
        state.run = None;
        state.equal_at = now;
        match state.differs_since.take() {
            Some(_) => self.figures.made_equal += 1,
            None => self.figures.needless_runs += 1,
        }
        RunEnd::Succeeded
    }
}
