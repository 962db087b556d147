//! What is found out of meters that moved, were deleted, or cannot be seen.

use meter_sync::config::Setting;
use meter_sync::model::{GonePlace, RunOutcome};
use serde_json::json;

use super::{METERS, MOVES, TOLD, approve, logged, read_as_role, site_with_moves, told};
use crate::support::site::{LOCAL_SCHEMA, REMOTE_SCHEMA, Site};

const TO_9: &str = "another_tenant 9";
const TO_8: &str = "another_tenant 8";

#[tokio::test]
async fn a_refusal_says_where_the_meters_went_and_the_log_where_each_did() {
    let site = site_with_moves().await;
    let planned = site.dry_run().await;
    let held = planned.held_back.as_ref().expect("what would be held back");
    assert_eq!(held.gone_to_in_words().as_deref(), Some(TOLD));
    assert!(planned.summary.ends_with(TOLD), "{planned:#?}");
    let of_first = planned.changes[0].gone_to.as_ref().expect("a destination");
    assert_eq!(of_first.place, GonePlace::AnotherTenant, "{planned:#?}");
    let (refused, words) = told(&site).await;
    assert_eq!(words, TOLD);
    let message = &refused.error.as_ref().expect("an error").message;
    assert!(
        !message.contains("tenant 9"),
        "no caller is spared: {message}"
    );
    let run = approve(&site, &refused).await;
    let each = json!([
        TO_9, TO_9, TO_9, TO_9, TO_9, TO_9, TO_8, "deleted", "deleted"
    ]);
    assert_eq!(logged(&site, &run).await, each);
    assert_eq!(logged(&site, &planned).await, each);
    let meter = site.meter("7").await;
    let gone_to = meter.changes[0].gone_to.as_ref().expect("a destination");
    assert_eq!(gone_to.in_words(), "moved to tenant 8");
}

/// Each way in which a plan may be carried out records it.
#[tokio::test]
async fn meters_that_no_brake_holds_back_are_told_of_in_the_log() {
    let trigger =
        "create function same() returns trigger language plpgsql as 'begin return new; end';
        create trigger same before update on meter for each row execute function same()";
    for more in ["select", trigger] {
        let site = Site::new().await;
        site.on_remote(METERS).await;
        site.on_local(more).await;
        site.sync().await;
        site.on_remote(
            "update meter set tenant_id = 9 where id = 1; delete from meter where id = 2; update meter set name = 'other' where id = 3",
        )
        .await;
        let run = site.sync().await;
        assert_eq!(run.outcome, Some(RunOutcome::Succeeded), "{run:#?}");
        assert_eq!(
            logged(&site, &run).await,
            json!([TO_9, "deleted"]),
            "{more}"
        );
        let others = run.changes.iter().filter(|change| change.gone_to.is_none());
        assert_eq!(others.count(), 1, "{run:#?}");
    }
}

/// The plan that is made first cannot be written, and the remote is asked before it.
#[tokio::test]
async fn a_plan_that_is_made_again_still_tells_where_its_meters_went() {
    let site = Site::new().await;
    site.on_remote(METERS).await;
    site.sync().await;
    site.on_local("alter table meter add check (name <> 'other')")
        .await;
    site.on_remote(
        "update meter set tenant_id = 9 where id = 1; delete from meter where id = 2; update meter set name = 'other' where id = 3",
    )
    .await;
    let run = site.sync().await;
    assert_eq!(run.outcome, Some(RunOutcome::Partial), "{run:#?}");
    assert_eq!(logged(&site, &run).await, json!([TO_9, "deleted"]));
}

#[tokio::test]
async fn what_row_security_may_hide_is_not_called_deleted() {
    let mut site = Site::new().await;
    site.on_remote(METERS).await;
    let rights = "grant select on meter to $role; alter table meter enable row level security;
        create policy seen on meter using (tenant_id in (7, 9))";
    read_as_role(&mut site, rights).await;
    site.sync().await;
    site.on_remote(MOVES).await;
    let (refused, words) = told(&site).await;
    assert_eq!(
        words,
        "Of those gone: 6 moved to tenant 9, 3 deleted or not visible to the remote role."
    );
    let run = approve(&site, &refused).await;
    let hidden = "deleted_or_hidden";
    let each = json!([TO_9, TO_9, TO_9, TO_9, TO_9, TO_9, hidden, hidden, hidden]);
    assert_eq!(logged(&site, &run).await, each);
}

#[tokio::test]
async fn a_role_that_may_read_some_columns_only_is_enough() {
    let mut site = Site::new().await;
    site.on_remote(METERS).await;
    let settings = "grant select (id, tenant_id, name, active) on meter to $role";
    read_as_role(&mut site, settings).await;
    site.on_local("alter table meter drop column type, drop column serial_number, drop column installation_date,
        drop column device_id, drop column location_id, drop column ip, drop column port, drop column protocol,
        drop column status, drop column register_map, drop column notes, drop column created_at, drop column updated_at").await;
    let run = site.sync().await;
    assert_eq!(run.outcome, Some(RunOutcome::Succeeded), "{run:#?}");
    site.on_remote(MOVES).await;
    assert_eq!(told(&site).await.1, TOLD);
}

#[tokio::test]
async fn keys_of_several_columns_are_told_apart() {
    let remote = "create table meter (id bigint, element char(1), tenant_id bigint, name text, active boolean, primary key (id, element));
        insert into meter select n, e, 7, 'm', true from generate_series(1, 10) n, unnest(array['A', 'B']) e";
    let local = "create table tenant (id bigint primary key, name text); insert into tenant values (7, 'Acme');
        create table meter (id text, element char(1), name text, active boolean, primary key (element, id))";
    let site = Site::with_schemas(remote, local).await;
    site.sync().await;
    site.on_remote("update meter set tenant_id = 9 where element = 'A' and id <= 4; delete from meter where element = 'B' and id <= 3")
        .await;
    let (refused, words) = told(&site).await;
    assert_eq!(words, "Of those gone: 4 moved to tenant 9, 3 deleted.");
    let run = approve(&site, &refused).await;
    let (a, b) = (TO_9, "deleted");
    // Those of an id stand together; the fourth has no B.
    let each = logged(&site, &run).await;
    let each = each.as_array().expect("a list");
    assert_eq!(each.iter().filter(|to| **to == a).count(), 4, "{each:?}");
    assert_eq!(each.iter().filter(|to| **to == b).count(), 3, "{each:?}");
}

#[tokio::test]
async fn keys_of_any_characters_are_found_and_so_are_tenants() {
    let remote = r#"create table meter (id varchar(40) primary key, tenant_id text, name text, active boolean);
        insert into meter select k, '7', 'm', true
        from unnest(array['a,b', 'it''s', '"q"', 'back\slash', '{}', 'NULL', 'null', 'ünï', ' x ', '%', '$1', '--']) k"#;
    let local = "create table tenant (id text primary key, name text); insert into tenant values ('7', 'Acme');
        create table meter (id text primary key, name text, active boolean)";
    let site = Site::with_schemas(remote, local).await;
    site.sync().await;
    site.on_remote("update meter set tenant_id = 'the ''other'', \"one\"'")
        .await;
    let (refused, words) = told(&site).await;
    assert_eq!(
        words,
        "Of those gone: 12 moved to tenant the 'other', \"one\"."
    );
    let run = approve(&site, &refused).await;
    assert_eq!(run.counts.deactivated, 12);
    let each = vec!["another_tenant the 'other', \"one\""; 12];
    assert_eq!(logged(&site, &run).await, json!(each));
}

/// Another tenant may have had a meter with the same key all along.
#[tokio::test]
async fn a_key_that_is_unique_within_a_tenant_only_proves_no_move() {
    let remote = "create table meter (id bigint, tenant_id bigint, name text, active boolean, primary key (tenant_id, id));
        insert into meter select n, 7, 'm', true from generate_series(1, 20) n;
        insert into meter select n, 9, 'm', true from generate_series(1, 3) n";
    let local = "create table tenant (id bigint primary key, name text); insert into tenant values (7, 'Acme');
        create table meter (id bigint primary key, name text, active boolean)";
    let site = Site::with_schemas(remote, local).await;
    site.sync().await;
    site.on_remote("delete from meter where tenant_id = 7 and id <= 8")
        .await;
    let (refused, words) = told(&site).await;
    assert_eq!(
        words,
        "Of those gone: 5 deleted, 3 no longer in the source, it is not known why."
    );
    let run = approve(&site, &refused).await;
    let deleted = "deleted";
    let each = json!([
        null, null, null, deleted, deleted, deleted, deleted, deleted
    ]);
    assert_eq!(logged(&site, &run).await, each);
}

/// They may leave rows out for reasons of their own.
#[tokio::test]
async fn a_view_and_a_query_are_not_asked() {
    for (setting, value) in [
        (Setting::RemoteTable, "seen"),
        (Setting::RemoteQuery, "select * from meter"),
    ] {
        let remote = format!("{REMOTE_SCHEMA}; create view seen as select * from meter; {METERS}");
        let mut site = Site::with_schemas(&remote, LOCAL_SCHEMA).await;
        let settings = site.settings().with(setting, value);
        site.reconfigure(&settings);
        site.sync().await;
        site.on_remote(MOVES).await;
        let (refused, words) = told(&site).await;
        assert_eq!(words, "", "{value}");
        let run = approve(&site, &refused).await;
        assert_eq!(
            logged(&site, &run).await,
            json!([null, null, null, null, null, null, null, null, null])
        );
    }
}

#[tokio::test]
async fn a_partitioned_table_is_asked_as_any_other() {
    let remote = "create table meter (id bigint primary key, tenant_id bigint, name text, active boolean) partition by range (id);
        create table meter_low partition of meter for values from (0) to (5);
        create table meter_high partition of meter for values from (5) to (1000);
        insert into meter select n, 7, 'm', true from generate_series(1, 20) n";
    let local = "create table tenant (id bigint primary key, name text); insert into tenant values (7, 'Acme');
        create table meter (id bigint primary key, name text, active boolean)";
    let site = Site::with_schemas(remote, local).await;
    site.sync().await;
    site.on_remote(MOVES).await;
    assert_eq!(told(&site).await.1, TOLD);
}

/// Somebody has added rows to the local table whose keys no remote row can have.
#[tokio::test]
async fn local_keys_that_the_remote_cannot_have_do_not_keep_the_others_from_being_found() {
    let site = site_with_moves().await;
    site.on_local("insert into meter (id, active) values ('one', true), ('001', true)")
        .await;
    let (refused, words) = told(&site).await;
    let held = refused.held_back.as_ref().expect("what was held back");
    assert_eq!(held.gone, 11);
    assert_eq!(
        words,
        "Of those gone, 9 were asked about: 6 moved to tenant 9, 1 moved to tenant 8, 2 deleted."
    );
}
