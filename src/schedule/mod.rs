//! Starts a run at each slot of the schedule or, in a process that keeps many mirrors, a sweep (a check of all
//! mirrors).
//!
//! A slot is a scheduled time, and the time from then until the next scheduled time. Each slot is run once, however
//! many processes there are: a process claims the slot in the local database before it starts the run. Before the
//! claim, it waits for a random delay. So a process that dies during its delay has claimed nothing, and the process
//! with the shortest delay claims the slot.
//!
//! When a process starts, it runs the latest slot at once if no process has claimed it, and skips the earlier slots.
//! METER_SYNC_CATCH_UP limits how late that is done.
//! After the machine was suspended or its clock has jumped, it also skips to the latest slot. While a process runs a
//! slot, the other processes check again and again whether that run has ended. If the process dies before that, one of
//! the others claims the slot instead.
//!
//! Within a slot, a claim that fails for any reason is retried. So if the local database comes back within the slot,
//! the slot's run still happens. A run that fails for a transient reason is retried, too. After any other failure, the
//! next run is that of the next slot. A run that is already in progress does not count as the slot's run: it may be a
//! dry run, it may have read the remote long before the slot, and it may fail. The slot's own run follows it, and costs
//! little if nothing is left to do.
//!
//! The local database's clock decides which slot is current. It is read before each claim, so a wrong or changed clock
//! of this machine cannot claim another slot.
//!
//! The loop sleeps for at most half a minute before it reads the clock again, because timers stand still while a
//! machine is suspended. The decisions are made in `due_slot`, whose functions take the time as an argument.

use std::hash::RandomState;
use std::time::Duration;

use chrono::{DateTime, Utc};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use crate::config::Schedule;
use crate::error::ErrorCode;
use crate::mirrors::{Mirrors, SlotClaimOutcome};
use crate::model::RunTrigger;
use due_slot::DueSlot;
use slot_target::SlotTarget;

mod due_slot;
mod slot_target;

/// The longest sleep before the clock is read again. It is short enough to notice soon that the machine was suspended
/// or its clock corrected, and long enough to cost nothing.
const LONGEST_SLEEP: Duration = Duration::from_secs(30);

/// How often a process looks whether the one that holds a slot (scheduled time) has died. The claim of a dead process
/// expires after 25 s, so its work is taken over within 30 s.
const LOOK: Duration = Duration::from_secs(3);

/// How long a run waits after its slot (scheduled time) and before each retry, and how late a missed slot is made up.
#[derive(Clone, Copy, Debug)]
pub struct SlotTiming {
    /// The longest random delay between a scheduled time and its run. The delays keep many installations from reading
    /// the remote at the same time.
    pub jitter: Duration,
    /// The base of the delays before retries. The first delay is a random time between this value and twice this value.
    /// Each further delay doubles, up to a limit.
    pub first_retry: Duration,
    /// How late a scheduled time that passed while no process ran is made up when this process starts; `None` for any time
    /// until the next scheduled time.
    pub catch_up: Option<Duration>,
}

impl SlotTiming {
    /// Returns the timing of a server process, with these settings. The first retry comes after 30 s to 60 s, because a
    /// database may need that long to restart.
    pub fn new(jitter: Duration, catch_up: Option<Duration>) -> Self {
        Self {
            jitter,
            first_retry: Duration::from_secs(30),
            catch_up,
        }
    }
}

/// Starts a run or, with many mirrors, a sweep (a check of all mirrors) at each slot (scheduled time), until
/// `shutdown`. Returns at once if this process is read-only or not configured.
///
/// At shutdown, a run in progress goes on: it is a task of its own, for which the shutdown waits separately. If this
/// process was sweeping, its claim on the slot is given up as soon as its runs have ended.
pub async fn run(
    schedule: Schedule,
    timing: SlotTiming,
    mirrors: Mirrors,
    shutdown: CancellationToken,
) {
    if mirrors.is_read_only() || !mirrors.is_configured() {
        info!("the schedule is off: this process is read-only or not configured");
        return;
    }
    info!(
        schedule = %schedule.describe(),
        next_run_at = schedule.next_after(mirrors.now()).map(tracing::field::display),
        "the schedule is on"
    );
    let mut target = SlotTarget::of(&mirrors);
    let slots = Box::pin(follow(&schedule, timing, &mut target));
    if shutdown.run_until_cancelled(slots).await.is_none() {
        target.set_waiting(None);
        target.give_up_claims().await;
    }
}

/// Waits for each slot (scheduled time) and runs it, one after the other, without end.
async fn follow(schedule: &Schedule, timing: SlotTiming, target: &mut SlotTarget) {
    let seed = RandomState::new();
    let mut trigger = RunTrigger::Startup;
    let mut handled = None;
    loop {
        let now = target.process().now();
        if let Some(slot) = due_slot::due(schedule, handled, now) {
            let start = if trigger == RunTrigger::Startup {
                slot.starts
            } else {
                slot.delayed_start(timing.jitter, &seed)
            };
            let limit = timing.catch_up.filter(|_| trigger == RunTrigger::Startup);
            if slot.is_later_than(limit, now) {
                info!(slot = %slot.starts, "the slot passed too long ago to be made up (METER_SYNC_CATCH_UP)");
            } else {
                serve(&slot, start, trigger, timing, target).await;
                target.end_slot();
            }
            handled = Some(slot.starts);
        } else {
            let next = schedule.next_after(now);
            tokio::time::sleep(sleep_length(now, next)).await;
        }
        trigger = RunTrigger::Schedule;
    }
}

/// Waits until `start`, claims the slot (scheduled time), and starts its run or sweep. If that fails with a transient
/// error, tries again while time is left in the slot.
async fn serve(
    slot: &DueSlot,
    start: DateTime<Utc>,
    trigger: RunTrigger,
    timing: SlotTiming,
    target: &mut SlotTarget,
) {
    let is_ours =
        sleep_within(slot, start, target).await && claim(slot, true, timing, target).await;
    if !is_ours {
        return;
    }
    let mut delays = due_slot::retry_delays(timing.first_retry);
    while let Some(code) = target.attempt(slot.starts, trigger).await {
        let again = code.is_transient() && wait_for_retry(slot, code, &mut delays, target).await;
        // Another process may have taken over the slot while we waited.
        if !again || !claim(slot, false, timing, target).await {
            return;
        }
    }
}

/// Claims the slot (scheduled time), and returns whether this process must run it. Tries again until the local database
/// answers or the slot is over. If another process holds the slot, waits until that process has run it, until it seems
/// to have died, or until the slot is over. `is_first` says that this process has not claimed the slot before.
async fn claim(
    slot: &DueSlot,
    mut is_first: bool,
    timing: SlotTiming,
    target: &SlotTarget,
) -> bool {
    let mut delays = due_slot::retry_delays(timing.first_retry);
    loop {
        match target.claim(slot.starts, !is_first).await {
            Ok(SlotClaimOutcome::Ours) => return true,
            Ok(SlotClaimOutcome::Served) => return false,
            Ok(SlotClaimOutcome::Pending) => {
                let next = slot.next_try(target.process().now(), LOOK);
                let Some(next) = next else { return false };
                if !sleep_within(slot, next, target).await {
                    return false;
                }
            }
            Err(failure) => {
                warn!(slot = %slot.starts, error = %failure, "the slot could not be claimed");
                is_first = false;
                if !wait_for_retry(slot, failure.code, &mut delays, target).await {
                    return false;
                }
            }
        }
    }
}

/// Waits for the next attempt to claim or run the slot, and shows its time in the status. Returns `false` if the slot
/// ends before that.
async fn wait_for_retry(
    slot: &DueSlot,
    code: ErrorCode,
    delays: &mut impl Iterator<Item = Duration>,
    target: &SlotTarget,
) -> bool {
    let delay = delays.next();
    let Some(next) = delay.and_then(|delay| slot.next_try(target.process().now(), delay)) else {
        info!(slot = %slot.starts, error.code = %code, "no time is left in the slot for a retry");
        return false;
    };
    info!(slot = %slot.starts, error.code = %code, retry_at = %next, "the slot will be tried again");
    target.set_waiting(Some(next));
    let in_time = sleep_within(slot, next, target).await;
    target.set_waiting(None);
    in_time
}

/// Sleeps until the local database's clock shows `until`. Returns `false` if the clock shows a time outside the slot
/// instead.
///
/// The clock is estimated from this machine's clock, which may be set during the sleep, so the database is asked at the
/// end. If it does not answer, the sleep ends all the same: the claim that follows then fails, and is retried.
async fn sleep_within(slot: &DueSlot, until: DateTime<Utc>, target: &SlotTarget) -> bool {
    let goes_on = |now| slot.holds(now) && now < until;
    loop {
        let now = target.process().now();
        if goes_on(now) {
            tokio::time::sleep(sleep_length(now, Some(until))).await;
            continue;
        }
        let is_seen = target.process().look_at_the_clock().await.is_ok();
        let now = target.process().now();
        if !(is_seen && goes_on(now)) {
            return slot.holds(now);
        }
    }
}

/// Returns how long to sleep before the clock is read again: the time left until `until` (`None`: unlimited), but at
/// most [`LONGEST_SLEEP`].
fn sleep_length(now: DateTime<Utc>, until: Option<DateTime<Utc>>) -> Duration {
    until
        .and_then(|until| (until - now).to_std().ok())
        .map_or(LONGEST_SLEEP, |left| left.min(LONGEST_SLEEP))
}
