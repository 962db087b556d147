//! A sweep that cannot look at the tenants fails once, and not once for each tenant.

use meter_sync::config::Setting;
use meter_sync::error::ErrorCode;
use meter_sync::model::Health;
use meter_sync::reports::tenant_list::TenantsQuery;

use super::checks::limited;
use super::sweeps::RUNS;
use super::{many_tenants, of_all, sweep, three_tenants};
use crate::support::proxy::{Fault, Proxy};
use crate::support::site::{self, rows, settings};

#[tokio::test]
async fn a_right_that_the_remote_revokes_fails_the_sweep_once() {
    let site = many_tenants().await;
    let url = limited(&site, 20).await;
    let role = url.split(['/', '@']).nth(2).expect("a role").to_owned();
    site.on_remote(&format!("alter role {role} set row_security = off"))
        .await;
    let mirrors = site::mirrors(&of_all(&site).with(Setting::RemoteUrl, &url));
    assert_eq!(sweep(&mirrors).await.record.counts.succeeded, 43);
    let revoke = format!("revoke select on meter from {role}");
    // The message of this denial names no object.
    let protect =
        format!("grant select on meter to {role}; alter table meter enable row level security");
    // At first row versions are compared, and then contents.
    for [on_remote, on_local] in [
        [revoke.as_str(), "select"],
        ["select", "vacuum full meter"],
        [protect.as_str(), "select"],
    ] {
        site.on_remote(on_remote).await;
        site.on_local(on_local).await;
        let refused = sweep(&mirrors).await.record;
        let code = refused.error.as_ref().map(|error| error.code);
        assert_eq!(code, Some(ErrorCode::RemotePermission), "{refused:?}");
        assert_eq!(refused.counts.failed, 0, "{refused:?}");
    }
}

#[tokio::test]
async fn without_the_remote_a_sweep_fails_as_one_and_logs_no_run_of_each() {
    let site = three_tenants().await;
    let (remote, url) = Proxy::before(&site.pair.remote_url).await;
    let settings = settings(&url, &site.pair.local_url)
        .with(Setting::Tenants, "all")
        .with(Setting::ConnectTimeout, "2s");
    let mirrors = site::mirrors(&settings);
    sweep(&mirrors).await;
    let before = rows(&site.local, RUNS).await;
    remote.set(Fault::Refuse);
    let report = sweep(&mirrors).await.record;
    let code = report.error.map(|error| error.code);
    assert_eq!(code, Some(ErrorCode::RemoteUnreachable));
    assert_eq!(rows(&site.local, RUNS).await, before);
    let status = mirrors.overview(&TenantsQuery::default()).await;
    assert_eq!(status.health, Health::Failing, "{status:#?}");
    remote.set(Fault::None);
    assert_eq!(sweep(&mirrors).await.record.counts.unchanged, 3);
}
