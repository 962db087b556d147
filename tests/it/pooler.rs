//! Both servers behind a real `PgBouncer` in transaction mode, with few connections.

use meter_sync::check::{self, Verdict};
use meter_sync::config::Setting;
use meter_sync::error::ErrorCode;
use meter_sync::model::RunOutcome;
use serde_json::json;
use tokio_postgres::{Client, SimpleQueryMessage};

use crate::support::pgbouncer::{PgBouncer, whole_pool};
use crate::support::program;
use crate::support::site::{Site, config, rows};
use crate::support::wait;

/// A hundred meters of the tenant, one of another.
const METERS: &str = "
    insert into meter (id, tenant_id, name, port)
    select n, 7, 'Meter ' || n, n from generate_series(1, 100) n;
    insert into meter (id, tenant_id, name) values (900, 8, 'Theirs')";

const CHANGES: &str = "
    update meter set name = name || '!' where id < 5;
    delete from meter where id in (9, 10);
    insert into meter (id, tenant_id, name) values (101, 7, 'New')";

/// What a client before us may leave in a connection. The five settings are the client's own, which
/// the pooler carries from connection to connection.
const LEFT: &str = "
    select 'statement ' || name from pg_prepared_statements
    union all select 'cursor ' || name from pg_cursors where name <> ''
    union all select 'setting ' || name || ' ' || setting from pg_settings
        where source = 'session' and lower(name) not in
        ('application_name', 'client_encoding', 'datestyle', 'timezone', 'standard_conforming_strings')
    union all select 'lock ' || objid from pg_locks where locktype = 'advisory'
        and database = (select oid from pg_database where datname = current_database())
    union all select 'table ' || relname from pg_class where relpersistence = 't'";

async fn behind() -> (Site, PgBouncer) {
    let mut site = Site::new().await;
    let pooler = PgBouncer::before(&site).await;
    site.reconfigure(&pooler.settings());
    site.on_remote(METERS).await;
    (site, pooler)
}

/// The first column of a query that nothing is prepared for.
async fn simply(client: &Client, sql: &str) -> Vec<String> {
    let answer = client.simple_query(sql).await.expect("an answer");
    let rows = answer.into_iter().filter_map(|message| {
        let SimpleQueryMessage::Row(row) = message else {
            return None;
        };
        row.get(0).map(str::to_owned)
    });
    rows.collect()
}

/// No connection of the pools shows the next client anything of ours.
async fn leaves_nothing_in(pooler: &PgBouncer, site: &Site) {
    for (url, direct) in [
        (&pooler.remote_url, &site.remote),
        (&pooler.local_url, &site.local),
    ] {
        for client in whole_pool(url).await {
            assert_eq!(simply(&client, LEFT).await, Vec::<String>::new());
            for setting in ["search_path", "statement_timeout", "lock_timeout"] {
                let show = format!("show {setting}");
                assert_eq!(simply(&client, &show).await, simply(direct, &show).await);
            }
        }
    }
}

#[tokio::test]
async fn runs_of_every_outcome_leave_nothing_in_a_poolers_connections() {
    let (site, pooler) = behind().await;
    let mut outcomes = Vec::new();
    let mut errors = Vec::new();
    for change in [
        "",
        "",
        CHANGES,
        "insert into meter (id, tenant_id, port) values (102, 7, 1234567)",
        "delete from meter where id > 20 and tenant_id = 7",
        "delete from meter where tenant_id = 7",
        "alter table meter rename to elsewhere",
    ] {
        site.on_remote(change).await;
        let run = site.sync().await;
        outcomes.push(run.outcome.expect("it has ended"));
        errors.extend(run.error.map(|error| error.code));
        leaves_nothing_in(&pooler, &site).await;
    }
    let expected = [
        RunOutcome::Succeeded,
        RunOutcome::NoChange,
        RunOutcome::Succeeded,
        RunOutcome::Partial,
        RunOutcome::Refused,
        RunOutcome::Refused,
        RunOutcome::Failed,
    ];
    assert_eq!(outcomes, expected, "{errors:?}");
    assert_eq!(errors.last(), Some(&ErrorCode::RemoteSchema));
    let counted = "select count(*) as n, count(*) filter (where active) as active from meter";
    assert_eq!(
        rows(&site.local, counted).await,
        json!([{"n": 101, "active": 99}])
    );
}

#[tokio::test]
async fn status_check_and_dry_run_go_through_a_pooler() {
    let (site, pooler) = behind().await;
    let dry = site.dry_run().await;
    assert_eq!(dry.outcome, Some(RunOutcome::DryRun), "{dry:#?}");
    assert_eq!(dry.counts.inserted, 100);
    site.sync().await;
    let status = site.status().await;
    assert!(status.last_success_at.is_some(), "{status:#?}");
    let findings = check::run(&config(&pooler.settings())).await;
    let failed = findings
        .iter()
        .find(|finding| matches!(finding.verdict, Verdict::Failed(_)));
    assert!(failed.is_none(), "{failed:?}");
    leaves_nothing_in(&pooler, &site).await;
}

#[tokio::test]
async fn two_processes_at_once_share_a_poolers_few_connections() {
    let (site, pooler) = behind().await;
    let more = [
        (Setting::RemoteUrl, pooler.remote_url.as_str()),
        (Setting::LocalUrl, pooler.local_url.as_str()),
    ];
    for _ in 0..3 {
        let sync = || program::run(program::over(&site, &["sync", "--json"], &more));
        let (one, other) = tokio::join!(sync(), sync());
        let mut codes = [one.code, other.code];
        codes.sort_unstable();
        assert!(codes == [0, 4] || codes == [0, 0], "{one:?} {other:?}");
        site.on_remote("update meter set name = name || '+'").await;
    }
    let unfinished = "select id from meter_sync.meter_sync_log where outcome is null";
    let none = async || rows(&site.local, unfinished).await == json!([]);
    wait::until("no run is unfinished", none).await;
    leaves_nothing_in(&pooler, &site).await;
}
