//! What speaks of the metrics, against what a scrape has: the document, the alert rules, the dashboard.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use meter_sync::config::Setting;
use reqwest::Client;

use super::support::program::{self, RunningProgram};
use super::support::scrape::{Scrape, labels, scrape};
use super::support::site::{REMOTE_SCHEMA, Site};
use super::support::wait;

/// A scrape with everything in it that there can be.
async fn whole() -> Scrape {
    let site = Site::new().await;
    let meter = "insert into meter (id, tenant_id) values (1, 7)";
    site.on_remote(meter).await;
    // It is synced at once, as it never was.
    let schedule = [(Setting::Schedule, "@yearly"), (Setting::Jitter, "0s")];
    let command = program::over(&site, &["serve"], &schedule);
    let (_program, address) = RunningProgram::serve(command).await;
    let is_synced = async || {
        scrape(&address)
            .await
            .get("meter_sync_last_success_timestamp_seconds")
            .is_some()
    };
    wait::until("the site is synced", is_synced).await;
    scrape(&address).await
}

/// A scrape of a process that keeps several tenants.
async fn of_several() -> Scrape {
    let local = "create table meter (id bigint primary key, tenant_id bigint not null, active boolean not null)";
    let site = Site::with_schemas(REMOTE_SCHEMA, local).await;
    let several = [(Setting::Tenants, "7,8")];
    let command = program::over(&site, &["serve"], &several);
    let (_program, address) = RunningProgram::serve(command).await;
    let sync = format!("http://{address}/api/v1/tenants/7/sync");
    let request = Client::new().post(sync).header("prefer", "wait=50");
    let synced = request.send().await.expect("an answer");
    assert_eq!(synced.status(), 200);
    scrape(&address).await
}

fn document(name: &str) -> String {
    fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(name)).expect("a document")
}

#[tokio::test]
async fn the_documents_table_has_the_metrics_and_labels_that_a_scrape_has() {
    let table = document("docs/operating.md");
    let rows = table
        .lines()
        .filter(|line| line.starts_with("| `meter_sync_"));
    let mut documented = BTreeMap::new();
    for row in rows {
        let cells: Vec<&str> = row.trim_matches('|').split('|').map(str::trim).collect();
        let in_code = |cell: &str| {
            cell.split('`')
                .skip(1)
                .step_by(2)
                .map(str::to_owned)
                .collect()
        };
        let names: Vec<String> = in_code(cells[0]);
        let labels: BTreeSet<String> = in_code(cells[2]).into_iter().collect();
        documented.insert(names[0].clone(), (cells[1].to_owned(), labels));
    }
    let mut served = families_with_labels(&whole().await);
    served.extend(
        families_with_labels(&of_several().await)
            .into_iter()
            .filter(|(name, _)| name.starts_with("meter_sync_tenant")),
    );
    assert_eq!(documented, served);
}

/// The type and the labels of each metric.
fn families_with_labels(scrape: &Scrape) -> BTreeMap<String, (String, BTreeSet<String>)> {
    scrape
        .families()
        .into_iter()
        .map(|(name, kind)| {
            let of_family = scrape.series.keys().filter(|series| {
                let series = series.split('{').next().expect("a name");
                let suffix = series.strip_prefix(&*name);
                suffix.is_some_and(|suffix| ["", "_bucket", "_sum", "_count"].contains(&suffix))
            });
            let labels = of_family
                .flat_map(|series| labels(series))
                .map(|(label, _)| label.to_owned());
            let labels = labels.filter(|label| label != "le").collect();
            (name, (kind, labels))
        })
        .collect()
}

#[tokio::test]
async fn the_rules_and_the_dashboard_name_only_what_a_scrape_has() {
    let families = whole().await.families();
    for name in ["monitoring/alerts.yml", "monitoring/dashboard.json"] {
        let text = document(name);
        let named = text.split("meter_sync_").skip(1).map(|rest| {
            let word: String = rest
                .chars()
                .take_while(|c| c.is_ascii_lowercase() || *c == '_')
                .collect();
            format!("meter_sync_{word}")
        });
        let named: BTreeSet<String> = named.collect();
        assert!(named.len() > 1, "{name}");
        for metric in named {
            let family = metric.strip_suffix("_bucket").unwrap_or(&metric);
            assert!(families.contains_key(family), "{name}: {metric}");
        }
    }
}
