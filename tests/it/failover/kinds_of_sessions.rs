//! Two servers in both URLs, with each kind of session that `target_session_attrs` knows.

use meter_sync::error::{ErrorCode, Failure};
use meter_sync::mirrors::RunRequest;
use meter_sync::model::RunTrigger;
use meter_sync::reports::run_report::RunReport;
use serde_json::json;

use super::run;
use crate::support::site::{self, LOCAL_SCHEMA, REMOTE_SCHEMA, finish, rows, settings};
use crate::support::standby::{Cluster, url_of};

/// Which server has to be found, for the order primary, standby and for the order standby, primary.
const KINDS: [(&str, [&str; 2]); 6] = [
    ("any", ["primary", "standby"]),
    ("read-write", ["primary"; 2]),
    ("read-only", ["standby"; 2]),
    ("primary", ["primary"; 2]),
    ("standby", ["standby"; 2]),
    ("prefer-standby", ["standby"; 2]),
];

/// The URL of a pair of servers for each order.
fn urls(cluster: &Cluster, attrs: &str) -> [String; 2] {
    let (primary, standby) = (cluster.primary.port(), cluster.standby.port());
    [[primary, standby], [standby, primary]].map(|ports| url_of(ports, "postgres", attrs))
}

async fn sync(remote: &str, local: &str) -> RunReport {
    let mirror = site::mirror(&settings(remote, local));
    finish(&mirror, RunRequest::new(RunTrigger::Cli)).await
}

#[tokio::test]
async fn on_both_sides_the_server_of_the_wanted_kind_is_found() {
    let (remote, local) = tokio::join!(Cluster::start(), Cluster::start());
    let there = remote.on_primary().await;
    run(&there, REMOTE_SCHEMA).await;
    run(
        &there,
        "insert into meter (id, tenant_id, name) values (1, 7, 'standby')",
    )
    .await;
    let here = local.on_primary().await;
    run(&here, LOCAL_SCHEMA).await;
    remote.cut_the_stream().await;
    run(&there, "update meter set name = 'primary'").await;
    local.catch_up().await;

    let [to_write, _] = urls(&local, "read-write");
    for (attrs, found) in KINDS {
        for (url, found) in urls(&remote, attrs).iter().zip(found) {
            let synced = sync(url, &to_write).await;
            assert_eq!(synced.error, None, "{attrs}: {synced:#?}");
            let name = rows(&here, "select name from meter").await;
            assert_eq!(name, json!([{"name": found}]), "{attrs}");
        }
    }
    let [from, _] = urls(&remote, "any");
    for (attrs, found) in KINDS {
        for (url, found) in urls(&local, attrs).iter().zip(found) {
            let error = sync(&from, url).await.error;
            match found {
                "primary" => assert_eq!(error, None, "{attrs}"),
                _ => is_of_a_standby(attrs, error.as_ref()),
            }
        }
    }
}

fn is_of_a_standby(attrs: &str, error: Option<&Failure>) {
    let error = error.unwrap_or_else(|| panic!("{attrs}: a standby is written"));
    assert_eq!(error.code, ErrorCode::LocalUnreachable, "{error:?}");
    assert!(error.message.contains("it is a standby"), "{error:?}");
    let remedy = "target_session_attrs=read-write";
    assert!(error.remedy.contains(remedy), "{error:?}");
}
