//! Claims slots (scheduled times) in the local database, so that only one process serves each slot. A process serves a
//! slot with a run of its mirror or, if it keeps many mirrors, with a sweep (a check of all mirrors).
//!
//! A process may die between its claim and the end of its work. Another process takes the claim over if the first one
//! appears to have died:
//!
//! - For a run, the other process must hold the start lock and find the run lock free (see `store::run_lock`). In
//!   addition, the log must have a run without an end that began after the slot did, or the claim must be 25 seconds
//!   old.
//! - For a sweep, the claim must be 25 seconds old, or its process must have given it up when it was stopped. A process
//!   renews its claim while it sweeps. If that process was only delayed, both processes sweep. This does no harm,
//!   because each mirror has one run at a time.

use std::time::Duration;

use chrono::{DateTime, Utc};

use crate::db::{DbError, Local, Tx};
use crate::error::Failure;
use crate::store::claimed_slots::{self, ClaimedSlotList, Slot};
use crate::store::{log, migrations, run_lock, sweeps};

use super::process_context::most_runs;
use super::{Mirror, Mirrors, ProcessContext};
use crate::tenants::run_scope::RunScope;

/// The answer to an attempt to claim a slot (scheduled time).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SlotClaimOutcome {
    /// This process holds the slot and must start the slot's run or sweep.
    Ours,
    /// Another process holds the slot, and its run or sweep has not ended yet. It may be at work, or it may have died.
    Pending,
    /// The slot needs nothing more: a run or sweep that counts for it started after the slot began, and has ended.
    Served,
}

/// How often a process renews its claims while it works. Several renewals may fail before a claim expires.
pub(super) const RENEWAL: Duration = Duration::from_secs(5);

impl Mirror {
    /// Claims a slot (scheduled time) for a run of this process, unless another process holds it or a run has already
    /// served it. Any run that started since the slot began and has ended serves the slot, whoever claimed it, except an
    /// interrupted run and a dry run that somebody requested. So no slot is served twice after a clock was set back.
    ///
    /// With `is_again`, returns [`SlotClaimOutcome::Ours`] for a slot that this process holds even if a run has served
    /// it. This is needed if the answer to the first claim was lost, or if the run of this process failed and is to be
    /// retried.
    pub async fn claim_slot(
        &self,
        slot: DateTime<Utc>,
        is_again: bool,
    ) -> Result<SlotClaimOutcome, Failure> {
        let local = self.local()?;
        migrations::run(&mut local.connect().await?).await?;
        let claim = async |tx: &Tx<'_, Local>| {
            // An unknown tenant does not prevent the claim. The run fails and says why, and it is enough if one
            // process does that.
            let known = self.log_scope(tx).await?;
            let slot = Slot::of_run(known.tenant_id(), &known.table.name, slot);
            let scope = known.scope();
            Ok::<_, Failure>(take(tx, &slot, self, scope.as_ref(), is_again).await?)
        };
        local.write("claim a slot", claim).await
    }

    /// Returns the slots (scheduled times) that any process has claimed for this mirror: those after `since`, and the
    /// last one at or before `since`.
    pub async fn claimed_slots(&self, since: DateTime<Utc>) -> Result<ClaimedSlotList, Failure> {
        let mut connection = self.local()?.connect().await?;
        let tx = connection.begin("slots").await?;
        let Some(known) = self.log(&tx).await? else {
            return Ok(ClaimedSlotList::default());
        };
        let slot = Slot::of_run(known.tenant_id(), &known.table.name, since);
        Ok(claimed_slots::claimed_since(&tx, &slot).await?)
    }
}

impl Mirrors {
    /// Claims a slot (scheduled time) for a sweep of this process, unless another process holds it or a sweep has
    /// already served it. Any sweep that started since the slot began and has ended without an error serves the slot,
    /// whoever claimed it. With `is_again`, returns [`SlotClaimOutcome::Ours`] for a slot that this process holds even
    /// if a sweep has served it, so that it can run some mirrors again.
    pub async fn claim_sweep(
        &self,
        slot: DateTime<Utc>,
        is_again: bool,
    ) -> Result<SlotClaimOutcome, Failure> {
        let local = self.local()?;
        migrations::run(&mut local.connect().await?).await?;
        let claim = async |tx: &Tx<'_, Local>| {
            let set = self.swept_set(tx).await?;
            // A sweep may take longer than its slot. Then no other process begins another one meanwhile.
            if sweeps::is_in_progress_elsewhere(tx, &set, &self.claimant).await? {
                return Ok(SlotClaimOutcome::Pending);
            }
            let slot = Slot::of_sweep(set, slot);
            Ok::<_, Failure>(take(tx, &slot, self, None, is_again).await?)
        };
        local.write("claim a slot", claim).await
    }

    /// Awaits `work` and returns its result. Meanwhile renews this process's claim on the slot (scheduled time), so
    /// that no other process takes the slot over.
    pub async fn renewing_claim<T>(&self, slot: DateTime<Utc>, work: impl Future<Output = T>) -> T {
        renew_during(work, || self.renew(slot)).await
    }

    /// Gives up the claims of this process on slots (scheduled times), as it stops, so that another process goes on at
    /// once. First waits until the runs of this process have ended. A failure is only logged: the claims expire.
    pub async fn give_up_claims(&self) {
        let all_runs = u32::try_from(most_runs(self.config())).unwrap_or(u32::MAX);
        let _ended = self.runs.acquire_many(all_runs).await;
        let give_up = async |tx: &Tx<'_, Local>| {
            let slot = Slot::of_sweep(self.swept_set(tx).await?, self.now());
            sweeps::give_up(tx, &self.claimant).await?;
            Ok::<_, Failure>(claimed_slots::give_up(tx, &slot, &self.claimant).await?)
        };
        let given_up = async { self.local()?.write("give up claims", give_up).await };
        if let Err(failure) = given_up.await {
            tracing::debug!(error.code = %failure.code, "the claims could not be given up");
        }
    }

    /// Renews this process's claim on the slot once.
    async fn renew(&self, slot: DateTime<Utc>) -> Result<(), Failure> {
        let renew = async |tx: &Tx<'_, Local>| {
            let claimant = self.claimant.as_str();
            let slot = Slot::of_sweep(self.swept_set(tx).await?, slot);
            sweeps::renew(tx, claimant).await?;
            Ok(claimed_slots::renew(tx, &slot, claimant).await?)
        };
        self.local()?.write("renew a claim", renew).await
    }
}

/// Awaits `work` and returns its result. Meanwhile calls `renew` every [`RENEWAL`]. A failure is only logged, because
/// the next renewal may succeed.
pub(super) async fn renew_during<T, R: Future<Output = Result<(), Failure>>>(
    work: impl Future<Output = T>,
    renew: impl Fn() -> R,
) -> T {
    let renewing = async {
        // This loop never ends, so it can have the type of the work's result.
        loop {
            tokio::time::sleep(RENEWAL).await;
            // A renewal that takes long is given up, because the next one may succeed at once.
            if let Ok(Err(failure)) = tokio::time::timeout(RENEWAL, renew()).await {
                tracing::debug!(error.code = %failure.code, "a claim could not be renewed");
            }
        }
    };
    tokio::select! {
        done = work => done,
        never = renewing => never,
    }
}

/// Claims a slot (scheduled time) for this process, unless another process holds it or it has been served. Takes the
/// slot over from a process that appears to have died. `scope` is the tenant and table of the slot's run; `None` for a
/// sweep, or if the tenant is not known. With `is_again`, a slot that this process holds is [`SlotClaimOutcome::Ours`]
/// even if it has been served.
async fn take(
    tx: &Tx<'_, Local>,
    slot: &Slot,
    process: &ProcessContext,
    scope: Option<&RunScope>,
    is_again: bool,
) -> Result<SlotClaimOutcome, DbError> {
    let claimant = process.claimant.as_str();
    let schedule = process.config.schedule.as_ref().map(ToString::to_string);
    if claimed_slots::claim(tx, slot, claimant, schedule.as_deref()).await? {
        return Ok(SlotClaimOutcome::Ours);
    }
    // While this transaction holds the start lock and nobody holds the run lock, no run of the scope can be in
    // progress.
    let can_have_no_run = match scope {
        Some(scope) => {
            run_lock::try_to_start(tx).await? && !run_lock::is_held(tx, &scope.text()).await?
        }
        None => true,
    };
    let standing = claimed_slots::standing(tx, slot).await?;
    let is_ours = standing.holder == claimant;
    if standing.is_served && !(is_ours && is_again) {
        return Ok(SlotClaimOutcome::Served);
    }
    if is_ours {
        return Ok(SlotClaimOutcome::Ours);
    }
    if !can_have_no_run {
        return Ok(SlotClaimOutcome::Pending);
    }
    // If the row of a dead run stayed open, the next process would take the slot over from this one.
    if let Some(scope) = scope {
        log::mark_interrupted(tx, scope.log()).await?;
    }
    let is_taken = claimed_slots::take_over(tx, slot, claimant, &standing).await?;
    Ok(match is_taken {
        true => SlotClaimOutcome::Ours,
        false => SlotClaimOutcome::Pending,
    })
}
