//! Many tenants in one process: which mirrors there are, sweeps over them, and their states.

mod checks;
mod failed_sweeps;
mod few_connections;
mod replicas;
mod schedule_slots;
mod sweeps;
mod table_per_tenant;
mod table_per_tenant_in_trouble;
mod watermarks;
mod which_mirrors;

use meter_sync::config::{CommandLineSettings, Setting};
use meter_sync::mirrors::{Mirrors, RunRequest, SweepReport};
use meter_sync::model::RunTrigger;

use crate::support::site::{self, SHARED_LOCAL_SCHEMA as LOCAL, Site};

const REMOTE: &str = "
    create table tenant (id bigint primary key, name text);
    insert into tenant values (7, 'Acme'), (8, 'Byte'), (9, 'Cole');
    create table meter (
        id bigint primary key, tenant_id bigint not null, name text, active boolean not null default true);
    insert into meter select n, 7 + n % 3, 'meter ' || n, true from generate_series(1, 300) n";

/// A site whose local table holds the meters of several tenants, with 100 remote meters each.
async fn three_tenants() -> Site {
    Site::with_schemas(REMOTE, LOCAL).await
}

/// A site with 43 tenants: so many that contents are looked at for all of them at once.
async fn many_tenants() -> Site {
    let site = three_tenants().await;
    let add = "insert into tenant select n, 'tenant ' || n from generate_series(100, 139) n";
    site.on_remote(add).await;
    site.on_local(add).await;
    site.on_remote(
        "insert into meter select 1000 + n, n, 'one', true from generate_series(100, 139) n",
    )
    .await;
    site
}

fn of_all(site: &Site) -> CommandLineSettings {
    site.settings().with(Setting::Tenants, "all")
}

async fn sweep(mirrors: &Mirrors) -> SweepReport {
    let report = mirrors
        .sweep(&RunRequest::new(RunTrigger::Cli), |_, _| {})
        .await;
    report.expect("a sweep")
}

/// The mirrors of a site, after a sweep that loaded all of them.
async fn loaded(site: &Site) -> Mirrors {
    let mirrors = site::mirrors(&of_all(site));
    let first = sweep(&mirrors).await;
    assert_eq!(first.record.counts.succeeded, 3, "{first:?}");
    mirrors
}
