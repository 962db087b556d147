//! Virtual time, the mirrors, the faults, and what must hold.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};

use quickcheck::{Arbitrary, Gen};

use super::claim_tables::{ClaimTables, Claimant, Mirror, SECOND, Time};
use super::replica::{Replica, Step};

pub(super) const SLOT: Time = 600 * SECOND;
/// The work of a dead process is taken over within this time.
const TAKEN_OVER: Time = 30 * SECOND;
/// A server notices within this time that a host is gone, and ends the transactions of a process that is silent.
const SILENCE: Time = 10 * SECOND;
/// How far a clock step may go.
const LONGEST_STEP: u64 = 120;
const LONGEST_PAUSE: u64 = 120;
/// How many slots without changes are at the end, so that all changes have been made by then.
const QUIET_SLOTS: i64 = 2;

/// What to simulate.
#[derive(Clone, Copy, Debug)]
pub(super) struct Fleet {
    pub(super) replicas: usize,
    pub(super) workers: usize,
    pub(super) mirrors: u32,
    /// How many mirrors change in each slot. All differ in the first.
    pub(super) changes: u32,
    pub(super) slots: i64,
    /// How many faults of each kind there are in a slot.
    pub(super) crashes: u64,
    pub(super) pauses: u64,
    pub(super) clock_steps: u64,
}

/// What happened in a simulation.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Figures {
    /// Changed mirrors that a run has made equal.
    pub(super) made_equal: u64,
    /// Runs of mirrors that were equal already.
    pub(super) needless_runs: u64,
    /// Runs that ended without a result, because the process was paused for too long.
    pub(super) lost_runs: u64,
    /// Runs that found another run of the mirror in progress.
    pub(super) met_another: u64,
    pub(super) sweeps: u64,
    /// Sweeps that ended because another process had taken them over.
    pub(super) lost_sweeps: u64,
    /// Claims on slots and mirrors that another process took over.
    pub(super) takeovers: u64,
    /// The longest time between the death of a process that held a claim and the takeover of its last claim.
    pub(super) longest_takeover: Time,
    pub(super) changes: u64,
}

pub(super) struct MirrorState {
    /// Since when its sides differ.
    pub(super) differs_since: Option<Time>,
    pub(super) equal_at: Time,
    /// The run that holds its run lock.
    pub(super) run: Option<u32>,
}

#[derive(Clone, Copy, Debug)]
pub(super) enum Event {
    Step(usize, Claimant, Step),
    /// The database ends a run whose process is silent.
    EndRun(Mirror, u32),
    /// A process that died with claims.
    CheckTakeover(Death),
    Crash,
    Pause,
    StepClock,
    Restart(usize),
    ChangeMirrors,
    EndSlot,
}

#[derive(Clone, Copy, Debug)]
pub(super) struct Death {
    of: Claimant,
    slot: Option<Time>,
    at: Time,
}

pub(super) struct Scheduled {
    at: Time,
    number: u64,
    event: Event,
}

impl Ord for Scheduled {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        (self.at, self.number).cmp(&(other.at, other.number))
    }
}

impl PartialOrd for Scheduled {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Scheduled {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl Eq for Scheduled {}

pub(super) struct World {
    pub(super) fleet: Fleet,
    random: Gen,
    pub(super) now: Time,
    /// How far the database's clock is ahead.
    clock: Time,
    clock_stepped_at: Time,
    /// When the clock was set back.
    pub(super) set_back_at: Vec<Time>,
    queue: BinaryHeap<Reverse<Scheduled>>,
    numbers: u64,
    pub(super) tables: ClaimTables,
    pub(super) replicas: Vec<Replica>,
    /// The replica that had this name last.
    names: Vec<usize>,
    pub(super) mirrors: Vec<MirrorState>,
    pub(super) runs: u32,
    /// How many sweeps of a slot have ended well, and how often the slot was taken over.
    pub(super) swept: BTreeMap<Time, (u64, u64)>,
    /// How many sweeps of a slot have ended well that had begun before it, after the clock was set back.
    pub(super) swept_early: BTreeMap<Time, u64>,
    pub(super) figures: Figures,
}

impl World {
    /// Simulates a fleet, and returns what happened. Panics if something happened that must not.
    pub(super) fn live(fleet: Fleet, seed: u64) -> Figures {
        let mirror = || MirrorState {
            differs_since: Some(0),
            equal_at: -1,
            run: None,
        };
        let mut world = Self {
            fleet,
            random: Gen::from_size_and_seed(1, seed),
            now: 0,
            clock: 0,
            clock_stepped_at: Time::MIN / 2,
            set_back_at: Vec::new(),
            queue: BinaryHeap::new(),
            numbers: 0,
            tables: ClaimTables::default(),
            replicas: Vec::new(),
            names: Vec::new(),
            mirrors: (0..fleet.mirrors).map(|_| mirror()).collect(),
            runs: 0,
            swept: BTreeMap::new(),
            swept_early: BTreeMap::new(),
            figures: Figures::default(),
        };
        world.figures.changes = u64::from(fleet.mirrors);
        for replica in 0..fleet.replicas {
            world.replicas.push(Replica::default());
            world.start(replica);
        }
        for slot in 1..=fleet.slots {
            world.plan_slot(slot * SLOT);
        }
        while let Some(Reverse(next)) = world.queue.pop() {
            world.now = next.at;
            if world.now >= (fleet.slots + 1) * SLOT {
                break;
            }
            world.happen(next.event);
        }
        world.figures
    }

    /// Plans the faults and changes before the slot that ends at `end`.
    fn plan_slot(&mut self, end: Time) {
        let Fleet {
            crashes,
            pauses,
            clock_steps,
            ..
        } = self.fleet;
        let faults = [
            (Event::Crash, crashes),
            (Event::Pause, pauses),
            (Event::StepClock, clock_steps),
        ];
        for (fault, times) in faults {
            for _ in 0..times {
                let before = self.below(SLOT as u64) as Time;
                self.at(end - before, fault);
            }
        }
        // Of a clock that was set ahead, a slot may be swept before its changes, which then wait for the next one. See
        // `check_slot` for how long they may.
        if end <= (self.fleet.slots - QUIET_SLOTS) * SLOT {
            self.at(end - SECOND, Event::ChangeMirrors);
        }
        self.at(end, Event::EndSlot);
    }

    pub(super) fn at(&mut self, at: Time, event: Event) {
        self.numbers += 1;
        let number = self.numbers;
        self.queue.push(Reverse(Scheduled { at, number, event }));
    }

    /// Lets a replica do the step after so much time.
    pub(super) fn later(&mut self, replica: usize, delay: Time, step: Step) {
        let name = self.replicas[replica].name;
        self.at(self.now + delay, Event::Step(replica, name, step));
    }

    /// A random number below `end`.
    pub(super) fn below(&mut self, end: u64) -> u64 {
        u64::arbitrary(&mut self.random) % end
    }

    /// The time by the database's clock.
    pub(super) fn clock(&self) -> Time {
        self.now + self.clock
    }

    fn happen(&mut self, event: Event) {
        match event {
            Event::Step(replica, name, step) => {
                let Replica {
                    name: now_named,
                    paused_until,
                    ..
                } = self.replicas[replica];
                if now_named != name {
                    return;
                }
                match self.now < paused_until {
                    true => self.at(paused_until, event),
                    false => self.step(replica, step),
                }
            }
            Event::EndRun(mirror, run) => {
                let held = &mut self.mirrors[mirror as usize].run;
                held.take_if(|held| *held == run);
            }
            Event::CheckTakeover(death) => self.check_takeover(death),
            Event::Crash => self.crash(),
            Event::Pause => self.pause(),
            Event::StepClock => {
                let step = self.below(2 * LONGEST_STEP) as Time - LONGEST_STEP as Time;
                self.clock += step * SECOND;
                self.clock_stepped_at = self.now;
                if step < 0 {
                    self.set_back_at.push(self.now);
                }
            }
            Event::Restart(replica) => self.start(replica),
            Event::ChangeMirrors => self.change_mirrors(),
            Event::EndSlot => self.check_slot(),
        }
    }

    /// Starts a process under a new name.
    fn start(&mut self, replica: usize) {
        let name = Claimant::try_from(self.names.len()).expect("few starts");
        self.names.push(replica);
        self.replicas[replica] = Replica::new(name, self.now);
        let delay = self.below(2000) as Time;
        self.later(replica, delay, Step::Wait { is_startup: true });
        self.later(replica, delay, Step::Notice);
    }

    fn crash(&mut self) {
        let replica = self.below(self.fleet.replicas as u64) as usize;
        if !self.replicas[replica].is_alive {
            return;
        }
        self.end_runs(replica);
        let died = &mut self.replicas[replica];
        died.is_alive = false;
        let of = std::mem::replace(&mut died.name, Claimant::MAX);
        let slot = died.sweep.map(|(slot, _)| slot);
        if slot.is_some() || self.tables.claimed_by(of) > 0 {
            let at = self.now;
            let death = Event::CheckTakeover(Death { of, slot, at });
            self.at(self.now + SECOND, death);
        }
        let restart = 10 + self.below(300);
        self.at(self.now + restart as Time * SECOND, Event::Restart(replica));
    }

    fn pause(&mut self) {
        let replica = self.below(self.fleet.replicas as u64) as usize;
        let paused = 1 + self.below(LONGEST_PAUSE) as Time;
        let paused_until = self.now + paused * SECOND;
        if paused * SECOND > SILENCE {
            self.end_runs(replica);
        }
        let state = &mut self.replicas[replica];
        state.paused_until = state.paused_until.max(paused_until);
        state.disturbed_at = state.paused_until;
    }

    /// The database ends the transactions of a process that is silent.
    fn end_runs(&mut self, replica: usize) {
        for (mirror, run) in self.replicas[replica].runs.clone() {
            self.at(self.now + SILENCE, Event::EndRun(mirror, run));
        }
    }

    fn change_mirrors(&mut self) {
        for _ in 0..self.fleet.changes {
            let mirror = self.below(u64::from(self.fleet.mirrors)) as usize;
            let state = &mut self.mirrors[mirror];
            if state.differs_since.is_none() {
                state.differs_since = Some(self.now);
                self.figures.changes += 1;
            }
        }
    }

    /// A claim was taken from `from`. That is right only if it had died, or could not renew its claim in time.
    pub(super) fn note_takeover(&mut self, from: Claimant) {
        self.figures.takeovers += 1;
        let last = &self.replicas[self.names[from as usize]];
        let is_disturbed = last.name != from
            || self.now - last.disturbed_at <= TAKEN_OVER
            || self.now - self.clock_stepped_at <= 2 * TAKEN_OVER
            || last.sweep.is_none() && last.takes.is_none();
        assert!(
            is_disturbed,
            "{from} was alive and renewed its claims, but lost one at {}",
            self.now
        );
    }

    /// Looks each second whether the claims of a dead process were taken over.
    fn check_takeover(&mut self, death: Death) {
        let holds_slot = death.slot.is_some_and(|slot| {
            let is_over = self.clock() >= slot + SLOT;
            !is_over
                && !self.tables.is_served(slot, self.clock())
                && self.tables.holder(slot) == Some(death.of)
        });
        let took = self.now - death.at;
        if !holds_slot && self.tables.claimed_by(death.of) == 0 {
            self.figures.longest_takeover = self.figures.longest_takeover.max(took);
            return;
        }
        // A process that waits for its random delay in the slot does not look after the slot.
        let looks = |replica: &&Replica| {
            let (slot, since) = replica.looks;
            let is_there = replica.is_alive && replica.disturbed_at < death.at;
            is_there
                && death
                    .slot
                    .is_none_or(|died_in| slot == died_in && since < death.at)
        };
        let is_undisturbed = self.clock_stepped_at < death.at;
        if is_undisturbed && self.replicas.iter().any(|replica| looks(&replica)) {
            assert!(took <= TAKEN_OVER, "{death:?} at {}", self.now);
        }
        self.at(self.now + SECOND, Event::CheckTakeover(death));
    }

    fn check_slot(&mut self) {
        let longest = 2 * SLOT + 2 * LONGEST_STEP as Time * SECOND;
        let starved = |state: &MirrorState| {
            state
                .differs_since
                .is_some_and(|at| self.now - at > longest)
        };
        let starved = self.mirrors.iter().filter(|state| starved(state)).count();
        assert_eq!(starved, 0, "mirrors that got no run, at {}", self.now);
        for (slot, (swept, taken_over)) in &self.swept {
            assert!(
                *swept <= 1 + taken_over,
                "slot {slot} was swept {swept} times"
            );
        }
    }
}
