//! A model of the tables by which processes share sweeps: `meter_sync_slot`, `meter_sync_sweep` and `meter_sync_due`.
//! It answers as the statements of `store::claimed_slots`, `store::sweeps` and `store::due_mirrors` do, for one set of
//! mirrors. `against_postgres` compares the two. Times are milliseconds of the database's clock.

use std::collections::{BTreeMap, BTreeSet};

pub(super) type Time = i64;
/// The name of a process. One that is started again has another name.
pub(super) type Claimant = u32;
/// The number of a sweep, in the order in which they began.
pub(super) type Sweep = usize;
pub(super) type Mirror = u32;
/// The place of a mirror in the list of a sweep.
pub(super) type Place = usize;

pub(super) const SECOND: Time = 1000;
const CLAIM_HOLDS: Time = 25 * SECOND;
const CLOCK_TOLERANCE: Time = 3600 * SECOND;
/// When a claim was made that its process has given up.
const GIVEN_UP: Time = Time::MIN / 2;

/// Whether a claim that was made or renewed at `at` no longer holds.
fn has_expired(at: Time, now: Time) -> bool {
    at < now - CLAIM_HOLDS || at > now + CLAIM_HOLDS
}

/// Who holds what, and since when.
#[derive(Clone, Copy, Debug)]
pub(super) struct Held {
    pub(super) by: Claimant,
    at: Time,
}

/// The answer to a claim of a slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Answer {
    /// The process holds the slot; it took it over from the other one, if any.
    Ours {
        from: Option<Claimant>,
    },
    Pending,
    Served,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Standing {
    HasDue,
    InProgress,
    Ended,
}

struct SweepRow {
    held: Held,
    started_at: Time,
    /// Whether it ended without an error; `None` while it is in progress.
    end: Option<bool>,
}

/// The mirrors that one sweep has listed.
struct DueList {
    sweep: Sweep,
    rows: Vec<DueRow>,
    /// The rows from here on were never claimed.
    unclaimed: Place,
    /// The rows that are claimed and have not ended, by the time of the claim.
    claimed: BTreeSet<(Time, Place)>,
}

struct DueRow {
    mirror: Mirror,
    held: Option<Held>,
    end: Option<RunEnd>,
}

/// How a run that was due ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum RunEnd {
    Succeeded,
    Failed,
    /// Another run of the mirror was in progress.
    AlreadyRunning,
}

#[derive(Default)]
pub(super) struct ClaimTables {
    slots: BTreeMap<Time, Held>,
    sweeps: Vec<SweepRow>,
    due: Option<DueList>,
}

impl ClaimTables {
    pub(super) fn claim_slot(
        &mut self,
        slot: Time,
        by: Claimant,
        is_again: bool,
        now: Time,
    ) -> Answer {
        if self.is_in_progress_elsewhere(by, now) {
            return Answer::Pending;
        }
        let far = slot.max(now) + CLOCK_TOLERANCE;
        self.slots.retain(|at, _| *at <= far);
        let Some(holder) = self.slots.get(&slot).copied() else {
            self.slots.insert(slot, Held { by, at: now });
            return Answer::Ours { from: None };
        };
        let is_ours = holder.by == by;
        if self.is_served(slot, now) && !(is_ours && is_again) {
            return Answer::Served;
        }
        if is_ours {
            return Answer::Ours { from: None };
        }
        if !has_expired(holder.at, now) {
            return Answer::Pending;
        }
        self.slots.insert(slot, Held { by, at: now });
        let from = Some(holder.by);
        Answer::Ours { from }
    }

    fn is_in_progress_elsewhere(&self, by: Claimant, now: Time) -> bool {
        let is_of_another = |held: Held| held.by != by && !has_expired(held.at, now);
        let open = self.sweeps.iter().rev().filter(|row| row.end.is_none());
        let mut claimed = self
            .slots
            .iter()
            .rev()
            .filter(|(_, held)| is_of_another(**held));
        open.map(|row| row.held).any(is_of_another)
            || claimed.any(|(slot, _)| !self.has_sweep_since(*slot))
    }

    fn has_sweep_since(&self, slot: Time) -> bool {
        self.sweeps.iter().any(|row| row.started_at >= slot)
    }

    pub(super) fn is_served(&self, slot: Time, now: Time) -> bool {
        let is_of_slot = |at| at >= slot && at < now + CLOCK_TOLERANCE;
        let mut ended = self.sweeps.iter().rev().filter(|row| row.end == Some(true));
        ended.any(|row| is_of_slot(row.started_at))
    }

    /// Who holds the slot.
    pub(super) fn holder(&self, slot: Time) -> Option<Claimant> {
        self.slots.get(&slot).map(|held| held.by)
    }

    pub(super) fn renew_slot(&mut self, slot: Time, by: Claimant, now: Time) {
        self.touch_sweeps(by, now);
        if let Some(held) = self.slots.get_mut(&slot).filter(|held| held.by == by) {
            held.at = now;
        }
    }

    pub(super) fn give_up(&mut self, by: Claimant, now: Time) {
        self.touch_sweeps(by, GIVEN_UP);
        for held in self.slots.values_mut() {
            if held.by == by && !has_expired(held.at, now) {
                held.at = GIVEN_UP;
            }
        }
    }

    fn touch_sweeps(&mut self, by: Claimant, at: Time) {
        let of_claimant = |row: &&mut SweepRow| row.end.is_none() && row.held.by == by;
        for row in self.sweeps.iter_mut().filter(of_claimant) {
            row.held.at = at;
        }
    }

    pub(super) fn start_sweep(&mut self, by: Claimant, now: Time) -> Sweep {
        self.sweeps.push(SweepRow {
            held: Held { by, at: now },
            started_at: now,
            end: None,
        });
        self.sweeps.len() - 1
    }

    pub(super) fn started_at(&self, sweep: Sweep) -> Time {
        self.sweeps[sweep].started_at
    }

    /// Lists the mirrors to run; `false` if a later sweep has.
    pub(super) fn add_due(&mut self, sweep: Sweep, mirrors: &[Mirror]) -> bool {
        if self
            .due
            .as_ref()
            .is_some_and(|due| due.sweep > sweep && !due.rows.is_empty())
        {
            return false;
        }
        let row = |mirror: &Mirror| DueRow {
            mirror: *mirror,
            held: None,
            end: None,
        };
        self.due = Some(DueList {
            sweep,
            rows: mirrors.iter().map(row).collect(),
            unclaimed: 0,
            claimed: BTreeSet::new(),
        });
        true
    }

    fn due_of(&mut self, sweep: Sweep) -> Option<&mut DueList> {
        self.due.as_mut().filter(|due| due.sweep == sweep)
    }

    /// Claims the next mirror of the sweep: its place, the mirror, and from whom the process took it over.
    pub(super) fn take(
        &mut self,
        sweep: Sweep,
        by: Claimant,
        now: Time,
    ) -> Option<(Place, Mirror, Option<Claimant>)> {
        let due = self.due_of(sweep)?;
        let place = due.next(now)?;
        let row = &mut due.rows[place];
        let from = row.held.replace(Held { by, at: now });
        if let Some(from) = from {
            due.claimed.remove(&(from.at, place));
        } else {
            due.unclaimed += 1;
        }
        due.claimed.insert((now, place));
        Some((place, row.mirror, from.map(|held| held.by)))
    }

    pub(super) fn end(&mut self, sweep: Sweep, place: Place, by: Claimant, end: RunEnd) {
        let Some(due) = self.due_of(sweep) else {
            return;
        };
        let Some(row) = due.rows.get_mut(place) else {
            return;
        };
        let is_of_claimant = row.held.is_some_and(|held| held.by == by);
        if !is_of_claimant && row.end != Some(RunEnd::AlreadyRunning) {
            return;
        }
        if let Some(held) = row.held {
            due.claimed.remove(&(held.at, place));
        }
        row.end = Some(end);
    }

    pub(super) fn renew_due(&mut self, sweep: Sweep, by: Claimant, now: Time) {
        let Some(due) = self.due_of(sweep) else {
            return;
        };
        let rows = &mut due.rows;
        let is_of_claimant = |place: &Place| rows[*place].held.is_some_and(|held| held.by == by);
        let places = due.claimed.iter().map(|(_, place)| *place);
        let places: Vec<Place> = places.filter(is_of_claimant).collect();
        for place in places {
            if let Some(held) = &mut rows[place].held {
                due.claimed.remove(&(held.at, place));
                held.at = now;
                due.claimed.insert((now, place));
            }
        }
    }

    /// The latest sweep that has mirrors to take.
    pub(super) fn open_sweep(&self, now: Time) -> Option<Sweep> {
        let due = self.due.as_ref()?;
        let is_open = self.sweeps[due.sweep].end.is_none();
        (is_open && due.next(now).is_some()).then_some(due.sweep)
    }

    pub(super) fn standing(&self, sweep: Sweep, now: Time) -> Standing {
        match self.due.as_ref().filter(|due| due.sweep == sweep) {
            Some(due) if due.next(now).is_some() => Standing::HasDue,
            Some(due) if !due.claimed.is_empty() => Standing::InProgress,
            _ => Standing::Ended,
        }
    }

    /// Removes the mirrors whose run has ended from the list of the sweep, and returns how many there were.
    pub(super) fn take_ended(&mut self, sweep: Sweep) -> usize {
        let Some(due) = self.due_of(sweep) else {
            return 0;
        };
        let ended = due.rows.iter().filter(|row| row.end.is_some()).count();
        if ended == due.rows.len() {
            due.rows.clear();
        }
        ended
    }

    pub(super) fn finish_sweep(&mut self, sweep: Sweep, is_ok: bool) {
        self.sweeps[sweep].end = Some(is_ok);
        if self.due_of(sweep).is_some() {
            self.due = None;
        }
    }

    /// The mirrors that a process has claimed and that have not ended.
    pub(super) fn claimed_by(&self, by: Claimant) -> usize {
        let Some(due) = &self.due else {
            return 0;
        };
        let holder = |place: Place| due.rows[place].held.map(|held| held.by);
        let places = due.claimed.iter().map(|(_, place)| *place);
        places.filter(|place| holder(*place) == Some(by)).count()
    }
}

impl DueList {
    /// The next row that nobody has claimed, or whose claim has expired.
    fn next(&self, now: Time) -> Option<Place> {
        let old = self.claimed.range(..(now - CLAIM_HOLDS, 0));
        let ahead = self.claimed.range((now + CLAIM_HOLDS, Place::MAX)..);
        let never = (self.unclaimed < self.rows.len()).then_some(self.unclaimed);
        old.chain(ahead).map(|(_, place)| *place).chain(never).min()
    }
}
