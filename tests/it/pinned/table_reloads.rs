//! Remote tables that are truncated or rewritten while a run begins.

use meter_sync::config::Setting;
use meter_sync::model::{Counts, RunOutcome};
use meter_sync::reports::run_report::RunReport;
use serde_json::json;
use tokio_postgres::Client;

use super::counts;
use crate::support::postgres::connect;
use crate::support::site::{Site, rows};
use crate::support::wait;

const TABLES: &str = "
    create table meter (id bigint primary key, tenant_id bigint not null, name text, active boolean not null);
    insert into meter select n, 7, 'name ' || n, true from generate_series(1, 40) n";
const LOCAL: &str = "
    create table tenant (id bigint primary key);
    insert into tenant values (7);
    create table meter (id bigint primary key, name text, place text, active boolean not null)";

/// Empties a table and fills it again, as a load of the central system does.
fn reload(table: &str) -> String {
    format!(
        "create temp table kept on commit drop as select * from {table};
         truncate {table}; insert into {table} select * from kept"
    )
}

/// A run that begins while a transaction on the remote has reloaded a table, which is committed once the run waits.
async fn while_reloaded(site: &Site, table: &str) -> RunReport {
    let loader = connect(&site.pair.remote_url).await;
    let reload = format!("begin; {}", reload(table));
    loader.batch_execute(&reload).await.expect("reload");
    let commit = async {
        wait::until("the run waits for the lock", || is_waiting(&site.remote)).await;
        loader.batch_execute("commit").await.expect("commit");
    };
    tokio::join!(site.sync(), commit).0
}

async fn is_waiting(database: &Client) -> bool {
    let waiting = "select exists (select from pg_locks where not granted
        and relation in (select oid from pg_class where relnamespace = 'public'::regnamespace))";
    database
        .query_one(waiting, &[])
        .await
        .expect("locks")
        .get(0)
}

async fn assert_unharmed(site: &Site, run: &RunReport, expected: RunOutcome) {
    assert_eq!(run.outcome, Some(expected), "{run:#?}");
    let active = "select count(*) as n from meter where active and name is not null";
    assert_eq!(rows(&site.local, active).await, json!([{"n": 40}]));
}

#[tokio::test]
async fn a_table_that_is_reloaded_as_a_run_begins_is_read_as_it_is_afterwards() {
    let site = Site::with_schemas(TABLES, LOCAL).await;
    let run = while_reloaded(&site, "meter").await;
    assert_unharmed(&site, &run, RunOutcome::Succeeded).await;
    let again = while_reloaded(&site, "meter").await;
    assert_unharmed(&site, &again, RunOutcome::NoChange).await;
}

#[tokio::test]
async fn a_dry_run_waits_for_a_reload_too() {
    let site = Site::with_schemas(TABLES, LOCAL).await;
    site.sync().await;
    let loader = connect(&site.pair.remote_url).await;
    let reload = format!("begin; {}", reload("meter"));
    loader.batch_execute(&reload).await.expect("reload");
    let commit = async {
        wait::until("the run waits for the lock", || is_waiting(&site.remote)).await;
        loader.batch_execute("commit").await.expect("commit");
    };
    let (run, ()) = tokio::join!(site.dry_run(), commit);
    assert_eq!(
        counts(&run),
        Counts {
            unchanged: 40,
            ..Counts::default()
        },
        "{run:#?}"
    );
}

#[tokio::test]
async fn a_partition_that_is_reloaded_as_a_run_begins_keeps_its_meters() {
    let partitioned = TABLES.replace(
        "active boolean not null);",
        "active boolean not null)
         partition by range (id);
         create table low partition of meter for values from (1) to (21);
         create table high partition of meter for values from (21) to (100);",
    );
    let site = Site::with_schemas(&partitioned, LOCAL).await;
    site.sync().await;
    let run = while_reloaded(&site, "high").await;
    assert_unharmed(&site, &run, RunOutcome::NoChange).await;
}

const PLACES: &str = "
    create table place (meter_id bigint primary key, place text);
    insert into place select n, 'hall ' || n from generate_series(1, 40) n;
    create view placed as select m.id, m.tenant_id, m.name, p.place, m.active from meter m left join place p on p.meter_id = m.id";

#[tokio::test]
async fn a_view_whose_joined_table_is_reloaded_as_a_run_begins_loses_no_value() {
    let mut site = Site::with_schemas(&format!("{TABLES}; {PLACES}"), LOCAL).await;
    let settings = site.settings().with(Setting::RemoteTable, "placed");
    site.reconfigure(&settings);
    site.sync().await;
    let run = while_reloaded(&site, "place").await;
    assert_unharmed(&site, &run, RunOutcome::NoChange).await;
    let placed = "select count(place) as n from meter";
    assert_eq!(rows(&site.local, placed).await, json!([{"n": 40}]));
}

#[tokio::test]
async fn a_query_over_a_table_that_is_reloaded_as_a_run_begins_reads_it_as_it_is_afterwards() {
    let mut site = Site::with_schemas(&format!("{TABLES}; {PLACES}"), LOCAL).await;
    let query = "select m.id, m.tenant_id, m.name, p.place, m.active from meter m left join place p on p.meter_id = m.id";
    let settings = site.settings().with(Setting::RemoteQuery, query);
    site.reconfigure(&settings);
    site.sync().await;
    for table in ["meter", "place"] {
        let run = while_reloaded(&site, table).await;
        assert_unharmed(&site, &run, RunOutcome::NoChange).await;
    }
}

/// What the role may not read below a view is locked by way of the view.
#[tokio::test]
async fn a_query_over_a_view_of_tables_that_the_role_may_not_read_waits_for_their_reload() {
    let mut site = Site::with_schemas(&format!("{TABLES}; {PLACES}"), LOCAL).await;
    let role = format!("reader_{}", std::process::id());
    site.on_remote(&format!(
        "drop role if exists {role}; create role {role} login; grant select on placed to {role}"
    ))
    .await;
    let url = as_role(&site.pair.remote_url, &role);
    let settings = site.settings().with(Setting::RemoteUrl, &url).with(
        Setting::RemoteQuery,
        "select * from placed where place is not null",
    );
    site.reconfigure(&settings);
    site.sync().await;
    for table in ["meter", "place"] {
        let run = while_reloaded(&site, table).await;
        assert_unharmed(&site, &run, RunOutcome::NoChange).await;
    }
    site.on_remote(&format!("drop owned by {role}; drop role {role}"))
        .await;
}

/// A run that begins while a transaction on the local database has run `sql`, which is committed once the run waits.
async fn while_altered(site: &Site, sql: &str) -> RunReport {
    let owner = connect(&site.pair.local_url).await;
    let alter = format!("begin; {sql}");
    owner.batch_execute(&alter).await.expect(sql);
    let commit = async {
        wait::until("the run waits for the lock", || is_waiting(&site.local)).await;
        owner.batch_execute("commit").await.expect("commit");
    };
    tokio::join!(site.sync(), commit).0
}

/// Each local statement sees what was committed before it.
#[tokio::test]
async fn a_local_table_that_is_reloaded_as_a_run_begins_is_compared_as_it_is_afterwards() {
    let site = Site::with_schemas(TABLES, LOCAL).await;
    site.sync().await;
    let run = while_altered(&site, &reload("meter")).await;
    assert_unharmed(&site, &run, RunOutcome::NoChange).await;
}

#[tokio::test]
async fn a_column_that_is_dropped_here_as_a_run_begins_is_synced_no_more() {
    let site = Site::with_schemas(TABLES, LOCAL).await;
    site.sync().await;
    site.on_remote("update meter set active = false where id = 3; update meter set name = 'other' where id = 4").await;
    let run = while_altered(&site, "alter table meter drop column name").await;
    assert_eq!(run.outcome, Some(RunOutcome::Succeeded), "{run:#?}");
    let active = "select count(*) as n from meter where active";
    assert_eq!(rows(&site.local, active).await, json!([{"n": 39}]));
}

#[tokio::test]
async fn a_local_table_that_is_replaced_as_a_run_begins_is_synced_by_the_rules_of_the_new_one() {
    let site = Site::with_schemas(TABLES, LOCAL).await;
    site.sync().await;
    site.on_remote(
        "update meter set name = 'name ' || case id when 1 then 2 else 1 end where id in (1, 2)",
    )
    .await;
    let replace = "create table newer (like meter including all); insert into newer select * from meter;
        alter table newer add unique (name); alter table meter rename to older; alter table newer rename to meter";
    let run = while_altered(&site, replace).await;
    assert_eq!(run.outcome, Some(RunOutcome::Succeeded), "{run:#?}");
    assert_eq!(counts(&run).updated, 2, "{run:#?}");
}

/// A materialized view takes no lock of ours.
#[tokio::test]
async fn a_materialized_view_is_read_without_a_lock() {
    let views = format!("{TABLES}; create materialized view kept as select * from meter");
    let mut site = Site::with_schemas(&views, LOCAL).await;
    let settings = site.settings().with(Setting::RemoteTable, "kept");
    site.reconfigure(&settings);
    let run = site.sync().await;
    assert_unharmed(&site, &run, RunOutcome::Succeeded).await;
}

/// The URL of the same database for another role.
pub(crate) fn as_role(url: &str, role: &str) -> String {
    let (head, tail) = url
        .split_once("postgres@")
        .expect("the user of the test servers");
    format!("{head}{role}@{tail}")
}

/// What is read without a lock that could be taken before the snapshot: by a policy, by a function, of a table of which
/// only columns may be read.
#[tokio::test]
async fn what_cannot_be_locked_before_is_read_anew_where_it_was_reloaded() {
    for (name, sql, source, reloaded) in [
        (
            "policy",
            "create table shown (id bigint); insert into shown select n from generate_series(1, 40) n;
             create policy seen on meter using (id in (select id from shown)); alter table meter enable row level security;
             grant select on meter, shown to $role",
            "meter",
            "shown",
        ),
        ("columns", "grant select (id, tenant_id, name, active) on meter to $role", "meter", "meter"),
        (
            "function",
            "create function all_meters() returns setof meter language plpgsql stable as $$ begin return query select * from meter; end $$;
             create view given as select * from all_meters(); grant select on given, meter to $role",
            "given",
            "meter",
        ),
    ] {
        let mut site = Site::with_schemas(TABLES, LOCAL).await;
        let role = format!("{name}_{}", std::process::id());
        let grants = sql.replace("$role", &role);
        site.on_remote(&format!("drop role if exists {role}; create role {role} login; {grants}"))
            .await;
        let url = as_role(&site.pair.remote_url, &role);
        let settings = site.settings().with(Setting::RemoteUrl, &url);
        site.reconfigure(&settings.with(Setting::RemoteTable, source));
        let first = while_reloaded(&site, reloaded).await;
        assert_unharmed(&site, &first, RunOutcome::Succeeded).await;
        let again = while_reloaded(&site, reloaded).await;
        assert_unharmed(&site, &again, RunOutcome::NoChange).await;
        site.on_remote(&format!("drop owned by {role}; drop role {role}")).await;
    }
}

/// Their own server takes a snapshot of its own.
#[tokio::test]
async fn foreign_tables_that_are_reloaded_as_a_run_begins_are_read_as_they_are_afterwards() {
    let columns = "(id bigint, tenant_id bigint, name text, active boolean)";
    let foreign = format!(
        "{TABLES}; create extension postgres_fdw;
         do $$ begin execute format('create server here foreign data wrapper postgres_fdw options (host %L, port %L, dbname %L)',
             '127.0.0.1', current_setting('port'), current_database()); end $$;
         create user mapping for current_user server here options (user 'postgres');
         create foreign table far {columns} server here options (table_name 'meter');
         create view seen as select m.* from far m;
         create table whole {columns} partition by range (id);
         create foreign table part partition of whole default server here options (table_name 'meter')"
    );
    for (setting, source) in [
        (Setting::RemoteTable, "far"),
        (Setting::RemoteTable, "seen"),
        (Setting::RemoteTable, "whole"),
        (Setting::RemoteQuery, "select * from seen where id > 0"),
    ] {
        let mut site = Site::with_schemas(&foreign, LOCAL).await;
        let settings = site.settings().with(setting, source);
        site.reconfigure(&settings);
        let first = while_reloaded(&site, "meter").await;
        assert_unharmed(&site, &first, RunOutcome::Succeeded).await;
        let again = while_reloaded(&site, "meter").await;
        assert_unharmed(&site, &again, RunOutcome::NoChange).await;
        site.on_remote("update meter set name = 'other' where id = 3")
            .await;
        let changed = while_reloaded(&site, "meter").await;
        assert_eq!(counts(&changed).updated, 1, "{source}: {changed:#?}");
    }
}

/// The run begins anew as it may read foreign tables, and again as a table was rewritten.
#[tokio::test]
async fn a_run_that_begins_anew_twice_ends_well() {
    let given = format!(
        "{TABLES}; create extension postgres_fdw; create server here foreign data wrapper postgres_fdw;
         create foreign table far (id bigint) server here;
         create function all_meters() returns setof meter language plpgsql stable as $$ begin return query select * from meter; end $$;
         create view given as select * from all_meters()"
    );
    let mut site = Site::with_schemas(&given, LOCAL).await;
    let settings = site.settings().with(Setting::RemoteTable, "given");
    site.reconfigure(&settings);
    let first = while_reloaded(&site, "meter").await;
    assert_unharmed(&site, &first, RunOutcome::Succeeded).await;
    let again = while_reloaded(&site, "meter").await;
    assert_unharmed(&site, &again, RunOutcome::NoChange).await;
}

/// A view of a table that is locked before the snapshot, and of one that is not, as a function reads it.
#[tokio::test]
async fn what_was_read_before_a_run_begins_anew_is_counted_too() {
    let given = format!(
        "{TABLES}; update meter set name = repeat('name ', 600);
         create table extra as select * from meter where false;
         create function all_extra() returns setof extra language plpgsql stable as $$ begin return query select * from extra; end $$;
         create view given as select * from meter union all select * from all_extra()"
    );
    let mut site = Site::with_schemas(&given, LOCAL).await;
    let settings = site.settings().with(Setting::RemoteTable, "given");
    site.reconfigure(&settings);
    let once = site.sync().await;
    assert!(once.remote_bytes > 100_000, "{once:#?}");
    site.on_local(
        "truncate meter; truncate meter_sync.meter_sync_seen, meter_sync.meter_sync_log cascade",
    )
    .await;
    let twice = while_reloaded(&site, "extra").await;
    assert_unharmed(&site, &twice, RunOutcome::Succeeded).await;
    assert!(twice.remote_bytes > 2 * 100_000, "{twice:#?}");
    let logged = "select remote_bytes from meter_sync.meter_sync_log";
    assert_eq!(
        rows(&site.local, logged).await,
        json!([{"remote_bytes": twice.remote_bytes}])
    );
}
