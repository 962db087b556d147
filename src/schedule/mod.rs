//! The loop that asks for a run at each slot of the schedule.
//!
//! **Once per slot.** A slot is claimed in the local database before its run is asked for, so of any
//! number of processes one runs it. The random delay comes before the claim: a process that dies
//! while it waits has taken nothing, and the process with the shortest delay goes first. At start
//! the latest slot is made up if nobody claimed it, at once and only that one; so is it after a
//! suspend or a clock that jumped. The others look again until the slot's run has ended: if its
//! process dies before, one of them takes the slot over.
//!
//! **Inside a slot** a claim that fails for any reason is tried again (a local database that comes
//! back still gets this slot's run), and so is a run that fails for a transient reason; other
//! failures are left to the next slot. A run already in progress does not serve the slot: it may be
//! a dry run, it may have read the remote long before the slot, and it may fail. The slot's run
//! follows it, and costs little when there is nothing left to do.
//!
//! Slots are told by the local database's clock, which is looked at before each claim, so a clock of this machine that is
//! wrong or steps claims no slot of another time.
//!
//! The loop never sleeps longer than half a minute without looking at the clock, since timers
//! stand still while a machine is suspended. It decides nothing itself: `slot` does, with the time
//! as a value.

use std::hash::RandomState;
use std::time::Duration;

use chrono::{DateTime, Utc};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use crate::config::Schedule;
use crate::error::ErrorCode;
use crate::meter::Trigger;
use crate::runs::report::RunState;
use crate::runs::{Claim, Request, Requested, Runs, Ticket};
use slot::Slot;

mod slot;

/// Short enough to notice a resumed machine or a corrected clock soon, long enough to cost nothing.
const LONGEST_SLEEP: Duration = Duration::from_secs(30);

/// How a slot's run is spread and retried.
#[derive(Clone, Copy, Debug)]
pub struct Pace {
    /// The longest random delay before a run, so that many sites do not ask at once.
    pub jitter: Duration,
    /// The first retry comes after this and up to twice as long, by chance; then the doubles of it.
    pub first_retry: Duration,
}

impl Pace {
    /// The pace of a server: half a minute is what a restart takes.
    pub fn new(jitter: Duration) -> Self {
        Self {
            jitter,
            first_retry: Duration::from_secs(30),
        }
    }
}

/// Asks `runs` for a run at each slot until `shutdown`. Returns at once where no run could be asked for: read-only, or not configured.
///
/// A run in progress at shutdown is not waited for here; it belongs to `runs`.
pub async fn run(schedule: Schedule, pace: Pace, runs: Runs, shutdown: CancellationToken) {
    if runs.is_read_only() || !runs.is_configured() {
        info!("the schedule is off: this process is read-only or not configured");
        return;
    }
    info!(
        schedule = %schedule.describe(),
        next_run_at = schedule.next_after(runs.now()).map(tracing::field::display),
        "the schedule is on"
    );
    let slots = follow(&schedule, pace, &runs);
    if shutdown.run_until_cancelled(slots).await.is_none() {
        runs.set_waiting(None);
    }
}

/// Serves slot after slot, for ever.
async fn follow(schedule: &Schedule, pace: Pace, runs: &Runs) {
    let seed = RandomState::new();
    let mut trigger = Trigger::Startup;
    let mut handled = None;
    loop {
        let now = runs.now();
        if let Some(slot) = slot::due(schedule, handled, now) {
            let start = if trigger == Trigger::Startup {
                slot.starts
            } else {
                slot.delayed_start(pace.jitter, &seed)
            };
            serve(&slot, start, (trigger, pace), runs).await;
            handled = Some(slot.starts);
        } else {
            let next = schedule.next_after(now);
            tokio::time::sleep(sleep_length(now, next)).await;
        }
        trigger = Trigger::Schedule;
    }
}

/// Waits for `start`, claims the slot and runs it, again and again while that can help.
async fn serve(slot: &Slot, start: DateTime<Utc>, (trigger, pace): (Trigger, Pace), runs: &Runs) {
    let is_ours = sleep_within(slot, start, runs).await && claim(slot, (true, pace), runs).await;
    if !is_ours {
        return;
    }
    let mut delays = slot::retry_delays(pace.first_retry);
    while let Some(code) = attempt(trigger, runs).await {
        let again = code.is_transient() && wait_for_retry(slot, code, &mut delays, runs).await;
        // Another process may have taken over the slot while we waited.
        if !again || !claim(slot, (false, pace), runs).await {
            return;
        }
    }
}

/// Whether the slot is ours to run; tried until the local database answers or the slot is over, and
/// until it is plain that the process that has it is alive or gone.
async fn claim(slot: &Slot, (mut is_first, pace): (bool, Pace), runs: &Runs) -> bool {
    let mut delays = slot::retry_delays(pace.first_retry);
    loop {
        let claimed = match is_first {
            true => runs.claim_slot(slot.starts).await,
            false => runs.claim_slot_again(slot.starts).await,
        };
        match claimed {
            Ok(Claim::Ours) => return true,
            Ok(Claim::Served) => return false,
            Ok(Claim::Pending) => {
                let next = delays.next();
                let next = next.and_then(|delay| slot.next_try(runs.now(), delay));
                let Some(next) = next else { return false };
                if !sleep_within(slot, next, runs).await {
                    return false;
                }
            }
            Err(failure) => {
                warn!(slot = %slot.starts, error = %failure, "the slot could not be claimed");
                is_first = false;
                if !wait_for_retry(slot, failure.code, &mut delays, runs).await {
                    return false;
                }
            }
        }
    }
}

/// One run to its end; the error it ended with, if any. The run itself is logged by `runs`.
async fn attempt(trigger: Trigger, runs: &Runs) -> Option<ErrorCode> {
    match runs.request(Request::new(trigger)).await {
        Ok(Requested::Started(mut ticket)) => outcome(&mut ticket).await,
        Ok(Requested::AlreadyRunning(_)) => Some(ErrorCode::AlreadyRunning),
        Ok(Requested::Finished(report)) => report.error.map(|error| error.code),
        Err(failure) => Some(failure.code),
    }
}

async fn outcome(ticket: &mut Ticket) -> Option<ErrorCode> {
    loop {
        let report = ticket.wait(LONGEST_SLEEP).await;
        match report.state {
            RunState::Running => {}
            RunState::Finished | RunState::AlreadyRunning => {
                let code = report.error.map(|error| error.code);
                // A run of ours that was interrupted was cancelled by somebody who meant it.
                return code.filter(|code| *code != ErrorCode::Interrupted);
            }
        }
    }
}

/// Waits for the next try and says so in the status; false when it would fall outside the slot.
async fn wait_for_retry(
    slot: &Slot,
    code: ErrorCode,
    delays: &mut impl Iterator<Item = Duration>,
    runs: &Runs,
) -> bool {
    let delay = delays.next();
    let Some(next) = delay.and_then(|delay| slot.next_try(runs.now(), delay)) else {
        info!(slot = %slot.starts, error.code = %code, "no time is left in the slot for a retry");
        return false;
    };
    info!(slot = %slot.starts, error.code = %code, retry_at = %next, "the slot will be tried again");
    runs.set_waiting(Some(next));
    let in_time = sleep_within(slot, next, runs).await;
    runs.set_waiting(None);
    in_time
}

/// Sleeps until `until`; false when the clock leaves the slot before.
///
/// The clock of this machine may be set meanwhile, so the local database's is looked at in the end. Where that does not
/// answer, the claim that follows is tried again.
async fn sleep_within(slot: &Slot, until: DateTime<Utc>, runs: &Runs) -> bool {
    let goes_on = |now| slot.holds(now) && now < until;
    loop {
        let now = runs.now();
        if goes_on(now) {
            tokio::time::sleep(sleep_length(now, Some(until))).await;
            continue;
        }
        let is_seen = runs.look_at_the_clock().await.is_ok();
        let now = runs.now();
        if !(is_seen && goes_on(now)) {
            return slot.holds(now);
        }
    }
}

/// How long to sleep before looking at the clock again.
fn sleep_length(now: DateTime<Utc>, until: Option<DateTime<Utc>>) -> Duration {
    until
        .and_then(|until| (until - now).to_std().ok())
        .map_or(LONGEST_SLEEP, |left| left.min(LONGEST_SLEEP))
}
