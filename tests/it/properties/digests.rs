//! What the digests find is what comparing everything finds.

use meter_sync::config::Setting;
use meter_sync::meter::{Outcome, Trigger};
use meter_sync::runs::report::RunReport;
use serde_json::{Value as Json, json};
use tokio::sync::OnceCell;

use super::harness::{Verdict, check};
use super::tables::Tables;
use super::world::request;
use crate::support::site::{Site, finish, rows, runs};

const FAST: &str = "meter_fast";
const NAIVE: &str = "meter_naive";

/// Two local tables of one site: one is synced as usual, the other with everything compared in each run.
async fn both(site: &Site) -> [RunReport; 2] {
    let naive = Tables::settings(site, NAIVE).with(Setting::FullCompare, "0s");
    let mut reports = Vec::new();
    for settings in [Tables::settings(site, FAST), naive] {
        reports.push(finish(&runs(&settings), request(Trigger::Cli)).await);
    }
    reports.try_into().expect("two of them")
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
    let site = OnceCell::new();
    check(async move |_worlds, tables: &Tables| {
        let site = site.get_or_init(prepared).await;
        tables.make(site, &[FAST, NAIVE]).await;
        tables.fill(site).await;
        let [fast, naive] = both(site).await;
        assert_alike(site, [&fast, &naive]).await;
        let mut is_by_digest = false;
        for round in 0..tables.rounds.len() {
            // Once nothing is left to do it is known what versions of rows are equal.
            finish(&runs(&Tables::settings(site, FAST)), request(Trigger::Cli)).await;
            tables.change(site, round, &[FAST, NAIVE]).await;
            let [fast, naive] = both(site).await;
            assert_alike(site, [&fast, &naive]).await;
            assert_eq!(compared(site, &naive).await, "everything");
            is_by_digest |= compared(site, &fast).await == "differences";
        }
        let again = finish(&runs(&Tables::settings(site, FAST)), request(Trigger::Cli)).await;
        let is_settled = again.outcome == Some(Outcome::NoChange) || again.counts.rejected > 0;
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
