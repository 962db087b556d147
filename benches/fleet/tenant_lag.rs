//! How long after the start of a sweep each tenant was known to be equal.

use anyhow::{Result, ensure};

use crate::results::Figure;
use crate::site::Site;

/// A tenant that had a run was equal when that ended, and any other one when it was checked.
const LAG: &str = "\
with sweep as (
    select started_at from meter_sync.meter_sync_sweep order by seq desc limit 1
), lag as (
    select extract(epoch from l.finished_at - s.started_at)::float8 as seconds, true as has_run
    from meter_sync.meter_sync_log l, sweep s where l.started_at >= s.started_at
    union all
    select extract(epoch from m.checked_at - s.started_at)::float8, false
    from meter_sync.meter_sync_mirror m, sweep s where m.checked_at >= s.started_at
)
select count(*),
    percentile_cont(0.5) within group (order by seconds),
    percentile_cont(0.99) within group (order by seconds),
    percentile_cont(0.5) within group (order by seconds) filter (where has_run),
    percentile_cont(0.99) within group (order by seconds) filter (where has_run)
from lag";

/// The lags of the last sweep.
pub(crate) async fn of_last_sweep(site: &Site) -> Result<[(Figure, f64); 4]> {
    let row = site.local.query_one(LAG, &[]).await?;
    let tenants: i64 = row.try_get(0)?;
    let expected = i64::from(site.size.tenants);
    ensure!(tenants == expected, "{tenants} tenants were looked at");
    Ok([
        (Figure::Lag, row.try_get(1)?),
        (Figure::SlowLag, row.try_get(2)?),
        (Figure::RunLag, row.try_get(3)?),
        (Figure::SlowRunLag, row.try_get(4)?),
    ])
}
