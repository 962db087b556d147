//! What the digests find is what comparing everything finds.

use std::time::Duration;

use meter_sync::config::Setting;
use meter_sync::engine::RowsToCompare;
use meter_sync::mirrors::RunRequest;
use meter_sync::model::{RunOutcome, RunTrigger};
use meter_sync::reports::run_report::RunReport;
use serde_json::{Value as Json, json};
use tokio::sync::OnceCell;

use super::harness::{Verdict, check_slow};
use super::random_tables::Tables;
use super::world::request;
use crate::support::proxy::{Fault, Proxy};
use crate::support::site::{Site, finish, mirror, rows};

const FAST: &str = "meter_fast";
const NAIVE: &str = "meter_naive";

/// A site, and a long line to its remote.
struct FarSite {
    site: Site,
    far_url: String,
    _line: Proxy,
}

/// What makes a line a long one.
const LATE: Duration = Duration::from_millis(3);

impl FarSite {
    async fn new() -> Self {
        let site = prepared().await;
        let (line, far_url) = Proxy::before(&site.pair.remote_url).await;
        line.set(Fault::Delay(LATE));
        Self {
            site,
            far_url,
            _line: line,
        }
    }

    /// A sync as usual.
    async fn fast(&self, tables: &Tables) -> RunReport {
        let settings = Tables::settings(&self.site, FAST);
        let settings = match tables.is_far {
            true => settings.with(Setting::RemoteUrl, &self.far_url),
            false => settings,
        };
        finish(&mirror(&settings), request(RunTrigger::Cli)).await
    }

    /// A sync of another local table, with everything compared.
    async fn naive(&self) -> RunReport {
        let request = RunRequest {
            compare: RowsToCompare::Everything,
            ..request(RunTrigger::Cli)
        };
        finish(&mirror(&Tables::settings(&self.site, NAIVE)), request).await
    }
}

/// How much the run compared.
async fn compared(site: &Site, report: &RunReport) -> String {
    let id = report.run_id;
    let sql = format!("select compared from meter_sync.meter_sync_log where id = '{id}'");
    rows(&site.local, &sql).await[0]["compared"]
        .as_str()
        .unwrap()
        .to_owned()
}

async fn contents(site: &Site, table: &str) -> Json {
    rows(
        &site.local,
        &format!("select t::text from {table} t order by 1"),
    )
    .await
}

/// What a run says it did, but for what is its own.
async fn told(site: &Site, report: &RunReport) -> Json {
    let id = report.run_id;
    let changes = format!(
        "select action, key, before, after from meter_sync.meter_sync_change
         where run_id = '{id}' order by key::text, action"
    );
    let rejected = format!(
        "select key from meter_sync.meter_sync_rejected where run_id = '{id}' order by key::text"
    );
    json!({
        "outcome": report.outcome,
        "counts": report.counts,
        "error": report.error.as_ref().map(|error| error.code),
        "changes": rows(&site.local, &changes).await,
        "rejected": rows(&site.local, &rejected).await,
    })
}

async fn assert_alike(site: &Site, [fast, naive]: [&RunReport; 2]) {
    assert_eq!(told(site, fast).await, told(site, naive).await);
    assert_eq!(contents(site, FAST).await, contents(site, NAIVE).await);
}

#[test]
fn the_digests_lead_to_what_comparing_everything_leads_to() {
    let lines = OnceCell::new();
    check_slow(async move |_worlds, tables: &Tables| {
        let lines = lines.get_or_init(FarSite::new).await;
        let site = &lines.site;
        tables.make(site, &[FAST, NAIVE]).await;
        tables.fill(site).await;
        assert_alike(site, [&lines.fast(tables).await, &lines.naive().await]).await;
        let mut is_by_digest = false;
        for round in 0..tables.rounds.len() {
            // Once nothing is left to do it is known what versions of rows are equal.
            lines.fast(tables).await;
            tables.change(site, round, &[FAST, NAIVE]).await;
            let (fast, naive) = (lines.fast(tables).await, lines.naive().await);
            assert_alike(site, [&fast, &naive]).await;
            assert_eq!(compared(site, &naive).await, "everything");
            is_by_digest |= compared(site, &fast).await != "everything";
        }
        let again = lines.fast(tables).await;
        let is_settled = again.outcome == Some(RunOutcome::NoChange) || again.counts.rejected > 0;
        assert!(is_settled && again.counts.changes() == 0, "{again:#?}");
        if is_by_digest {
            Verdict::Held
        } else {
            Verdict::Vacuous
        }
    });
}

/// A site with nothing but the tenant.
pub(super) async fn prepared() -> Site {
    let tenant = "create table tenant (id bigint primary key, name text);
                  insert into tenant values (7, 'Acme')";
    Site::with_schemas("", tenant).await
}
