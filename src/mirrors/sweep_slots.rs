//! Claims the slots of the schedule for sweeps, so that each slot is swept by one process.
//!
//! While a process sweeps, it renews its claim. A claim that was not renewed for 30 seconds is taken over by another
//! process. If the first was only held up, both sweep, which does no harm: each mirror has one run at a time.

use std::time::Duration;

use chrono::{DateTime, Utc};
use futures_util::future::Either;

use crate::clock::set_back;
use crate::db::param::Param;
use crate::db::{DbError, Local, Tx, param};
use crate::error::Failure;
use crate::store::migrations;

use super::Mirrors;
use super::slot_claims::{self, Claim};

/// What stands for all tenants in the table of slots.
const ALL_TENANTS: &str = "*";

/// How often a claim is renewed.
const RENEWAL: Duration = Duration::from_secs(10);

const STANDING: &str = concat!(
    "\
-- look how the slot of a sweep stands
select s.claimed_by,
       exists (
           select from meter_sync.meter_sync_sweep w
           where w.local_table = $2 and w.started_at >= $3 and w.started_at < clock_timestamp() + ",
    set_back!(),
    "
             and w.finished_at is not null and w.error_code is null
       )
from meter_sync.meter_sync_slot s
where s.tenant = $1 and s.local_table = $2 and s.slot = $3"
);

const RENEW: &str = "\
-- renew the claim on a slot
update meter_sync.meter_sync_slot set claimed_at = now()
where tenant = $1 and local_table = $2 and slot = $3 and claimed_by = $4";

impl Mirrors {
    /// Claims a slot for a sweep of this process. A sweep that started since the slot began and has ended without an
    /// error serves the slot, whoever claimed it. With `is_again`, a slot of this process stays its own even then,
    /// because some mirrors are to be tried again.
    pub async fn claim_sweep(&self, slot: DateTime<Utc>, is_again: bool) -> Result<Claim, Failure> {
        let mut connection = self.local()?.connect().await?;
        migrations::run(&mut connection).await?;
        let tx = connection.begin("claim a slot").await?;
        let table = self.sweep_table(&tx).await?;
        let claimed = self.take(&tx, (&table, slot), is_again).await?;
        tx.commit().await?;
        Ok(claimed)
    }

    async fn take(
        &self,
        tx: &Tx<'_, Local>,
        slot: (&str, DateTime<Utc>),
        is_again: bool,
    ) -> Result<Claim, DbError> {
        let claimant = self.process.claimant.as_str();
        let schedule = self.config().schedule.as_ref().map(ToString::to_string);
        tx.execute(slot_claims::LET_GO, &key(slot)).await?;
        let [tenant, table, at] = key(slot);
        let schedule = param::text(schedule.as_deref());
        let claim = [tenant, table, at, param::text(claimant), schedule];
        if tx.execute(slot_claims::CLAIM, &claim).await? == 1 {
            tx.execute(slot_claims::PRUNE, &key(slot)).await?;
            return Ok(Claim::Ours);
        }
        let standing = tx.query_one(STANDING, &key(slot)).await?;
        let (holder, is_served): (String, bool) = (standing.get(0), standing.get(1));
        if holder == claimant && (is_again || !is_served) {
            return Ok(Claim::Ours);
        }
        if is_served {
            return Ok(Claim::Served);
        }
        let [tenant, table, at] = key(slot);
        let [ours, theirs] = [param::text(claimant), param::text(holder.as_str())];
        let take_over = [tenant, table, at, ours, theirs, param::boolean(false)];
        let taken = tx.execute(slot_claims::TAKE_OVER, &take_over).await?;
        Ok(if taken == 1 {
            Claim::Ours
        } else {
            Claim::Pending
        })
    }

    /// Renews the claim of this process on a slot for as long as the work takes.
    pub async fn renewing_claim<T>(&self, slot: DateTime<Utc>, work: impl Future<Output = T>) -> T {
        let renewing = async {
            // This loop has no end, so its type can be that of the work.
            loop {
                tokio::time::sleep(RENEWAL).await;
                self.renew(slot).await;
            }
        };
        let work = std::pin::pin!(work);
        match futures_util::future::select(work, std::pin::pin!(renewing)).await {
            Either::Left((done, _)) => done,
            Either::Right((never, _)) => never,
        }
    }

    /// Renews the claim once. If that fails, the next time will do.
    async fn renew(&self, slot: DateTime<Utc>) {
        let renewed = async {
            let mut connection = self.local()?.connect().await?;
            let tx = connection.begin("renew a claim").await?;
            let table = self.sweep_table(&tx).await?;
            let [tenant, name, at] = key((&table, slot));
            let claimant = param::text(self.process.claimant.as_str());
            tx.execute(RENEW, &[tenant, name, at, claimant]).await?;
            Ok::<_, Failure>(tx.commit().await?)
        };
        if let Err(failure) = renewed.await {
            tracing::debug!(error.code = %failure.code, "the claim on the slot could not be renewed");
        }
    }
}

fn key<'a>((table, slot): (&'a str, DateTime<Utc>)) -> [Param<'a>; 3] {
    [
        param::text(ALL_TENANTS),
        param::text(table),
        param::timestamptz(slot),
    ]
}
