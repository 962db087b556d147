//! Sweeps over tenants with local tables of their own, some of which are locked, broken, or not theirs any more.

use meter_sync::config::{CommandLineSettings, Setting};
use meter_sync::mirrors::{RunApprovals, RunRequest};
use meter_sync::model::{RunOutcome, RunTrigger};

use super::table_per_tenant::{of_all, site_of, swept, table};
use crate::support::postgres::connect;
use crate::support::site::{self, Site, rows};
use crate::support::wait;

#[tokio::test]
async fn a_table_that_cannot_be_read_holds_no_other_back() {
    let site = site_of(4).await;
    let mirrors = site::mirrors(&of_all(&site));
    assert_eq!(swept(&mirrors).await, (0, 4, 0));
    site.on_local("alter table site_8.meter rename to meters; drop table site_9.meter")
        .await;
    site.on_local(
        "create view site_9.meter as select 1::bigint as id, ''::text as name, true as active",
    )
    .await;
    assert_eq!(swept(&mirrors).await, (2, 0, 2));
    site.on_local("alter table site_8.meters rename to meter")
        .await;
    assert_eq!(swept(&mirrors).await, (2, 1, 1));
    assert_eq!(swept(&mirrors).await, (3, 0, 1));
}

#[tokio::test]
async fn a_table_that_somebody_locks_holds_no_other_back() {
    let site = site_of(3).await;
    let settings = of_all(&site).with(Setting::StatementTimeout, "2s");
    let mirrors = site::mirrors(&settings);
    assert_eq!(swept(&mirrors).await, (0, 3, 0));
    site.on_remote("update meter set name = 'new' where tenant_id = 9")
        .await;
    site.on_local("begin; lock table site_8.meter in access exclusive mode")
        .await;
    let (unchanged, succeeded, failed) = swept(&mirrors).await;
    site.on_local("rollback").await;
    assert_eq!((unchanged + succeeded, failed), (2, 1));
    let there = "select id, name from meter where tenant_id = 9 order by id";
    let here = "select id, name from site_9.meter order by id";
    assert_eq!(
        rows(&site.local, here).await,
        rows(&site.remote, there).await
    );
    assert_eq!(swept(&mirrors).await, (2, 1, 0));
}

/// The settings of a site where a role of its own writes to the local database. Policies and grants count for it.
async fn as_plain_role(site: &Site, tenants: u32) -> CommandLineSettings {
    let database = site.pair.local_url.rsplit('/').next().expect("a name");
    let role = format!("sync_of_{database}");
    let mut grants = format!(
        "create role \"{role}\" login; grant create on database \"{database}\" to \"{role}\"; grant select on tenant to \"{role}\";"
    );
    for tenant in 7..7 + tenants {
        grants += &format!(
            "grant usage on schema site_{tenant} to \"{role}\"; grant all on site_{tenant}.meter to \"{role}\";"
        );
    }
    site.on_local(&grants).await;
    let url = site
        .pair
        .local_url
        .replace("postgres@", &format!("{role}@"));
    of_all(site).with(Setting::LocalUrl, url)
}

#[tokio::test]
async fn a_schema_that_may_not_be_used_any_more_holds_no_other_tenant_back() {
    let site = site_of(3).await;
    let mirrors = site::mirrors(&as_plain_role(&site, 3).await);
    assert_eq!(swept(&mirrors).await, (0, 3, 0));
    assert_eq!(swept(&mirrors).await, (3, 0, 0));
    site.on_local("drop schema site_8 cascade").await;
    site.on_local(&table(8)).await;
    assert_eq!(swept(&mirrors).await, (2, 0, 1));
}

#[tokio::test]
async fn a_table_whose_rows_cannot_be_read_ends_no_sweep() {
    let site = site_of(3).await;
    let mirrors = site::mirrors(&as_plain_role(&site, 3).await);
    assert_eq!(swept(&mirrors).await, (0, 3, 0));
    site.on_local(
        "create function shown() returns boolean language sql as 'select true';
         revoke execute on function shown() from public;
         alter table site_8.meter enable row level security;
         create policy shown_rows on site_8.meter using (shown())",
    )
    .await;
    // The row versions of the others still prove that nothing changed there.
    assert_eq!(swept(&mirrors).await, (2, 0, 1));
}

#[tokio::test]
async fn a_table_that_was_last_synced_for_another_tenant_is_not_called_unchanged() {
    let site = site_of(3).await;
    site.on_remote("delete from meter where tenant_id in (7, 8)")
        .await;
    let mirrors = site::mirrors(&of_all(&site));
    assert_eq!(swept(&mirrors).await, (0, 3, 0));
    assert_eq!(swept(&mirrors).await, (3, 0, 0));
    let other = site
        .settings()
        .with(Setting::TenantId, "8")
        .with(Setting::LocalTable, "site_7.meter");
    let request = RunRequest {
        allow: RunApprovals {
            tenant_change: true,
            ..RunApprovals::default()
        },
        ..RunRequest::new(RunTrigger::Cli)
    };
    let report = site::finish(&site::mirror(&other), request).await;
    assert_eq!(report.outcome, Some(RunOutcome::NoChange), "{report:?}");
    assert_eq!(swept(&mirrors).await, (2, 0, 1));
}

#[tokio::test]
async fn a_sweep_waits_for_a_lock_so_briefly_that_nobody_else_is_ended() {
    let site = site_of(3).await;
    let mirrors = site::mirrors(&of_all(&site));
    assert_eq!(swept(&mirrors).await, (0, 3, 0));
    let other = connect(&site.pair.local_url).await;
    let lock = "begin; lock table site_9.meter in access exclusive mode";
    other.batch_execute(lock).await.expect("a lock");
    let migrate = async {
        wait::until("the sweep waits for site_9", async || {
            let waiting = "select count(*) > 0 as yes from pg_locks l join pg_database d on d.oid = l.database
                where not l.granted and d.datname = current_database()";
            rows(&site.local, waiting).await[0]["yes"] == true
        })
        .await;
        let both = "lock table site_7.meter in access exclusive mode; commit";
        other.batch_execute(both).await
    };
    let (counts, migrated) = tokio::join!(Box::pin(swept(&mirrors)), migrate);
    migrated.expect("no deadlock");
    assert_eq!(counts.2, 0, "{counts:?}");
}
