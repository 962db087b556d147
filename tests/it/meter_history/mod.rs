//! What the log tells of meters: how they were at a time, what all runs changed since a time, how they differ between
//! two runs, and why a row is rejected. Every surface tells the same.

mod past;
mod rejected;
mod run_difference;
mod surfaces;

use chrono::{DateTime, Utc};
use meter_sync::history::parse_meter_key::MeterKeyText;
use meter_sync::model::RunId;
use meter_sync::reports::meter_report::MeterReport;

use crate::support::site::Site;

/// A site on which three runs have changed meters.
struct SiteWithRuns {
    site: Site,
    /// The ids of the runs.
    runs: [RunId; 3],
    /// A time before the first run, and times after each run.
    times: [DateTime<Utc>; 4],
}

/// The remote edits before each of the three runs.
const EDITS: [&str; 3] = [
    "insert into meter (id, tenant_id, name, port) values (1, 7, 'Main', 1), (2, 7, 'Hall', 2), (3, 7, 'Attic', 3)",
    "update meter set name = 'Main meter', port = 502 where id = 1; delete from meter where id = 3;
     insert into meter (id, tenant_id, name) values (4, 7, 'Yard')",
    "update meter set name = 'Main' where id = 1; update meter set name = 'Yard east' where id = 4;
     insert into meter (id, tenant_id, name, port) values (3, 7, 'Attic', 3)",
];

async fn with_runs() -> SiteWithRuns {
    let site = Site::new().await;
    let before = now(&site).await;
    let [first, second, third] = EDITS;
    let (first, one) = edit_and_sync(&site, first).await;
    let (second, two) = edit_and_sync(&site, second).await;
    let (third, three) = edit_and_sync(&site, third).await;
    SiteWithRuns {
        site,
        runs: [first, second, third],
        times: [before, one, two, three],
    }
}

async fn edit_and_sync(site: &Site, edit: &str) -> (RunId, DateTime<Utc>) {
    site.on_remote(edit).await;
    let run = site.sync().await.run_id;
    (run, now(site).await)
}

async fn now(site: &Site) -> DateTime<Utc> {
    let now = "select clock_timestamp()";
    site.local.query_one(now, &[]).await.expect("a time").get(0)
}

/// What is known of a meter, and how it was at a time.
async fn meter_at(site: &Site, key: &str, at: DateTime<Utc>) -> MeterReport {
    let key = MeterKeyText::parse(key).expect("a key");
    let report = site.mirror.meter(&key, Some(at)).await;
    report.expect("an answer").expect("a meter")
}
