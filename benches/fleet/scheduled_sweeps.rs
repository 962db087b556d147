//! The sweeps of programs that serve, as their log in the local database has them.

use std::time::{Duration, Instant};

use anyhow::{Result, bail};

use crate::site::Site;

/// A sweep takes at most a minute or two, with some seconds before it.
const PATIENCE: Duration = Duration::from_secs(300);
const PAUSE: Duration = Duration::from_millis(100);

/// A sweep that has ended.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ScheduledSweep {
    /// Its place in the log.
    pub(crate) seq: i64,
    /// How long it took.
    pub(crate) seconds: f64,
}

/// The place of the newest sweep in the log.
pub(crate) async fn last(site: &Site) -> Result<i64> {
    const LAST: &str = "select coalesce(max(seq), 0) from meter_sync.meter_sync_sweep";
    Ok(site.local.query_one(LAST, &[]).await?.try_get(0)?)
}

/// Waits for the end of a sweep that started after the sweep `after`, found so many tenants unchanged, and had no run
/// that failed.
pub(crate) async fn wait_for(site: &Site, unchanged: i64, after: i64) -> Result<ScheduledSweep> {
    const FOUND: &str = "\
select seq, extract(epoch from finished_at - started_at)::float8 from meter_sync.meter_sync_sweep
where seq > $1 and finished_at is not null and failed = 0 and unchanged = $2 order by seq limit 1";
    let start = Instant::now();
    while start.elapsed() < PATIENCE {
        let found = site.local.query_opt(FOUND, &[&after, &unchanged]).await?;
        if let Some(row) = found {
            return Ok(ScheduledSweep {
                seq: row.try_get(0)?,
                seconds: row.try_get(1)?,
            });
        }
        tokio::time::sleep(PAUSE).await;
    }
    bail!("no sweep has found {unchanged} tenants unchanged")
}
