//! The routes of the tenants of a process that keeps several, and of one that keeps one.

mod answers;
mod events;
mod metrics;
mod route_decisions;
mod scopes;

use meter_sync::config::{CommandLineSettings, Setting};

use super::v1::api_client::ApiClient;
use crate::support::site::Site;

const METERS: &str = "insert into meter (id, tenant_id, name)
    values (1, 7, 'acme-1'), (2, 7, 'acme-2'), (3, 8, 'byte-3'), (4, 9, 'cole-4')";

/// A site with meters of three tenants.
async fn site() -> Site {
    let site = Site::shared().await;
    site.on_remote(METERS).await;
    site
}

/// The settings of a process that keeps all three.
fn of_three(site: &Site) -> CommandLineSettings {
    site.settings().with(Setting::Tenants, "7,8,9")
}

/// A sync of one tenant to its end; gives the run.
async fn sync(api: &ApiClient, tenant: &str) -> String {
    let line = format!("POST /api/v1/tenants/{tenant}/sync");
    let waited = api.ask_with(&line, |request| request.header("prefer", "wait=50"));
    let answer = waited.await;
    assert_eq!(answer.status, 200, "{answer:?}");
    answer.body["run_id"].as_str().expect("an id").to_owned()
}
