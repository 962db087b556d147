//! How far a run has come, and how long each of its phases took.

use std::time::{Duration, Instant};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Phase, saturating_i64};

/// How far a run has come, and how long each phase took.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Progress {
    /// The current phase.
    pub phase: Phase,
    /// How many rows were read from the remote so far.
    pub rows: i64,
    /// How many bytes of row data were read from the remote so far.
    pub remote_bytes: i64,
    /// When the run entered the current phase.
    entered: Instant,
    /// The time spent in each phase before the current one, in the order of [`Phase::ALL`]; `None` for a phase that the
    /// run has not left yet.
    spent: [Option<Duration>; Phase::ALL.len()],
}

impl Progress {
    /// Creates the progress of a run that starts at `now`, in its first phase.
    pub fn start(now: Instant) -> Self {
        Self {
            phase: Phase::Prepare,
            rows: 0,
            remote_bytes: 0,
            entered: now,
            spent: [None; Phase::ALL.len()],
        }
    }

    /// Ends the current phase and begins `phase`. A run may enter the same phase more than once.
    pub fn enter(&mut self, phase: Phase, now: Instant) {
        self.leave(now);
        self.phase = phase;
    }

    /// Returns the time spent in each phase until `now`, in the order of the phases. Phases that the run never entered
    /// are left out.
    pub fn times(mut self, now: Instant) -> Vec<PhaseTime> {
        self.leave(now);
        let times = Phase::ALL.iter().zip(self.spent);
        let time = |(phase, spent): (&Phase, Option<Duration>)| {
            let milliseconds = spent?.as_millis();
            Some(PhaseTime {
                phase: *phase,
                duration_ms: saturating_i64(milliseconds),
            })
        };
        times.filter_map(time).collect()
    }

    fn leave(&mut self, now: Instant) {
        let places = Phase::ALL.iter().zip(&mut self.spent);
        for (_, spent) in places.filter(|(phase, _)| **phase == self.phase) {
            let more = now.saturating_duration_since(self.entered);
            *spent = Some(spent.unwrap_or_default() + more);
        }
        self.entered = now;
    }
}

/// How long a run was in one phase.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct PhaseTime {
    /// What the run was doing in this time.
    pub phase: Phase,
    /// The length of this time in milliseconds.
    pub duration_ms: i64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_time_in_a_phase_adds_up_however_often_it_is_entered() {
        let start = Instant::now();
        let at = |ms| start + Duration::from_millis(ms);
        let mut progress = Progress::start(start);
        progress.enter(Phase::Prepare, at(5));
        progress.enter(Phase::Read, at(10));
        progress.enter(Phase::Plan, at(30));
        progress.enter(Phase::Read, at(31));
        let times = progress.times(at(40));
        let told: Vec<_> = times.iter().map(|t| (t.phase, t.duration_ms)).collect();
        let expected = [(Phase::Prepare, 10), (Phase::Read, 29), (Phase::Plan, 1)];
        assert_eq!(told, expected);
    }
}
