//! Which plans the brake holds back, and what it says of them.

use meter_sync::config::Setting;
use meter_sync::error::ErrorCode;
use meter_sync::mirrors::{RunApprovals, RunRequest};
use meter_sync::model::{DeactivationApproval, HeldDeactivations, RunId, RunOutcome, RunTrigger};
use meter_sync::reports::run_report::RunReport;
use serde_json::{Value, json};

use crate::support::site::{Site, finish, rows};

const REMOTE: &str = "
    create table meter (id bigint primary key, tenant_id bigint not null, name text, active boolean);
    insert into meter select n, 7, 'Meter ' || n, true from generate_series(1, 100) n";

/// A site in sync with a hundred active meters; `active` is the type of the local column.
pub(super) async fn site(active: &str) -> Site {
    let local = format!(
        "create table tenant (id bigint primary key, name text);
         insert into tenant values (7, 'Acme');
         create table meter (id bigint primary key, name text, active {active})"
    );
    let site = Site::with_schemas(REMOTE, &local).await;
    site.sync().await;
    assert_eq!(active_meters(&site).await, 100);
    site
}

pub(super) async fn active_meters(site: &Site) -> Value {
    rows(&site.local, "select count(*) from meter where active").await[0]["count"].clone()
}

/// A sync with what a run showed approved.
pub(super) async fn approve(site: &Site, shown: RunId) -> RunReport {
    let allow = RunApprovals {
        mass_deactivation: DeactivationApproval::OfRun(shown),
        tenant_change: false,
        remote_change: false,
    };
    let request = RunRequest {
        allow,
        ..RunRequest::new(RunTrigger::Cli)
    };
    finish(&site.mirror, request).await
}

/// What a sync held back; the meters are as before.
pub(super) async fn held(site: &Site, code: ErrorCode) -> (RunReport, HeldDeactivations) {
    let active = active_meters(site).await;
    let run = site.sync().await;
    is_held(&run, code);
    assert_eq!(active_meters(site).await, active);
    let held = run.held_back.clone().expect("what was held back");
    (run, held)
}

pub(super) fn is_held(run: &RunReport, code: ErrorCode) {
    let found = run.error.as_ref().map(|error| error.code);
    assert_eq!(
        (run.outcome, found),
        (Some(RunOutcome::Refused), Some(code)),
        "{run:#?}"
    );
}

#[tokio::test]
async fn a_remote_that_switches_all_meters_off_is_refused() {
    for (active, column) in [
        ("false", "boolean"),
        ("null", "boolean"),
        ("false", "boolean not null"),
    ] {
        let site = site(column).await;
        site.on_remote(&format!("update meter set active = {active}"))
            .await;
        let (run, held) = held(&site, ErrorCode::MassDeactivationRefused).await;
        assert_eq!(
            (held.deactivated, held.gone, held.switched_off, held.active),
            (100, 0, 100, 100)
        );
        assert!(held.first.is_empty(), "{held:#?}");
        assert_eq!(held.first_switched_off[0]["name"], "Meter 1");
        let message = run.error.expect("an error").message;
        assert!(message.starts_with("100 of 100 active meters of tenant 7 would be deactivated: 100 were switched off on the remote."), "{message}");
        let approved = approve(&site, run.run_id).await;
        assert_eq!(
            approved.outcome,
            Some(RunOutcome::Succeeded),
            "{approved:#?}"
        );
        assert_eq!(
            (approved.counts.updated, approved.counts.deactivated),
            (100, 0)
        );
        assert_eq!(active_meters(&site).await, 0);
    }
}

#[tokio::test]
async fn meters_gone_and_meters_switched_off_count_together() {
    let site = site("boolean").await;
    // Neither kind alone is over a fifth.
    site.on_remote(
        "delete from meter where id <= 11;
         update meter set active = null where id between 12 and 21",
    )
    .await;
    let (run, held) = held(&site, ErrorCode::MassDeactivationRefused).await;
    assert_eq!(
        (held.deactivated, held.gone, held.switched_off),
        (21, 11, 10)
    );
    assert_eq!((held.first.len(), held.first_switched_off.len()), (5, 5));
    let message = run.error.expect("an error").message;
    assert!(
        message.contains("21 of 100 active meters of tenant 7 would be deactivated: 11 are gone from the remote, 10 were switched off there."),
        "{message}"
    );
    let log = "select held_back from meter_sync.meter_sync_log where held_back is not null";
    let logged = rows(&site.local, log).await[0]["held_back"].clone();
    assert_eq!(
        json!([
            logged["deactivated"],
            logged["gone"],
            logged["switched_off"],
            logged["active"]
        ]),
        json!([21, 11, 10, 100])
    );
    site.on_remote("update meter set active = true where id = 12")
        .await;
    let run = site.sync().await;
    assert_eq!(
        run.outcome,
        Some(RunOutcome::Succeeded),
        "a fifth passes: {run:#?}"
    );
    assert_eq!((run.counts.updated, run.counts.deactivated), (9, 11));
}

#[tokio::test]
async fn a_few_meters_and_meters_that_were_inactive_pass() {
    let mut site = site("boolean").await;
    site.on_remote("update meter set active = false where id <= 20")
        .await;
    assert_eq!(site.sync().await.outcome, Some(RunOutcome::Succeeded));
    // Inactive ones change, go and come; none of it makes an active one inactive.
    site.on_remote(
        "update meter set active = null, name = 'x' where id <= 10; delete from meter where id between 11 and 20;
         insert into meter select n, 7, 'new', false from generate_series(201, 300) n",
    )
    .await;
    let run = site.sync().await;
    assert_eq!(run.outcome, Some(RunOutcome::Succeeded), "{run:#?}");
    let few = site.settings().with(Setting::MaxDeactivatedPercent, "0");
    site.reconfigure(&few);
    site.on_remote("update meter set active = false where id between 31 and 35")
        .await;
    assert_eq!(site.sync().await.outcome, Some(RunOutcome::Succeeded));
    site.on_remote("update meter set active = false where id between 41 and 46")
        .await;
    held(&site, ErrorCode::MassDeactivationRefused).await;
}

#[tokio::test]
async fn a_null_that_the_table_does_not_take_switches_nothing_off() {
    let site = site("boolean not null").await;
    site.on_remote("update meter set active = null where id <= 50")
        .await;
    let run = site.sync().await;
    assert_eq!(
        (run.outcome, run.counts.rejected),
        (Some(RunOutcome::Partial), 50),
        "{run:#?}"
    );
    assert_eq!(active_meters(&site).await, 100);
    // Where a trigger takes it for false, it does.
    site.on_local(
        "create function off() returns trigger language plpgsql as
            $$ begin new.active := coalesce(new.active, false); return new; end $$;
         create trigger off before update on meter for each row execute function off()",
    )
    .await;
    held(&site, ErrorCode::MassDeactivationRefused).await;
}

#[tokio::test]
async fn rows_that_the_table_rejects_stay_as_they_are_after_an_approval() {
    let site = site("boolean, check (active or id > 10)").await;
    site.on_remote("update meter set active = false where id <= 30")
        .await;
    let (run, held) = held(&site, ErrorCode::MassDeactivationRefused).await;
    assert_eq!(held.switched_off, 30);
    let approved = approve(&site, run.run_id).await;
    assert_eq!(approved.outcome, Some(RunOutcome::Partial), "{approved:#?}");
    assert_eq!(
        (approved.counts.updated, approved.counts.rejected),
        (20, 10)
    );
    assert_eq!(active_meters(&site).await, 80);
}

#[tokio::test]
async fn an_approval_covers_the_meters_that_were_shown_and_fewer_whatever_else_changes() {
    let site = site("boolean").await;
    site.on_remote("delete from meter where id <= 20; update meter set active = false where id between 21 and 40").await;
    let (run, _) = held(&site, ErrorCode::MassDeactivationRefused).await;
    site.on_remote(
        "update meter set name = 'other' where id > 30; insert into meter values (101, 7, 'new', true);
         insert into meter values (1, 7, 'back', true); update meter set active = true where id = 21;
         delete from meter where id = 22; insert into meter values (2, 7, 'off', false)",
    )
    .await;
    let approved = approve(&site, run.run_id).await;
    assert_eq!(
        approved.outcome,
        Some(RunOutcome::Succeeded),
        "{approved:#?}"
    );
    assert_eq!(active_meters(&site).await, 100 - 40 + 2 + 1);
}

#[tokio::test]
async fn one_meter_more_than_was_approved_is_asked_about_again() {
    for more in [
        "delete from meter where id = 41",
        "update meter set active = null where id = 41",
        // As many, but others.
        "insert into meter values (1, 7, 'back', true); delete from meter where id = 41",
    ] {
        let site = site("boolean").await;
        site.on_remote("delete from meter where id <= 40").await;
        let (run, _) = held(&site, ErrorCode::MassDeactivationRefused).await;
        site.on_remote(more).await;
        let again = approve(&site, run.run_id).await;
        is_held(&again, ErrorCode::ApprovalOutdated);
        let message = &again.error.as_ref().expect("an error").message;
        assert!(
            message.ends_with(&format!(
                "The approval of run {} does not cover 1 of them.",
                run.run_id
            )),
            "{message}"
        );
        assert_eq!(active_meters(&site).await, 100);
        let approved = approve(&site, again.run_id).await;
        assert_eq!(
            approved.outcome,
            Some(RunOutcome::Succeeded),
            "{more}: {approved:#?}"
        );
    }
}

#[tokio::test]
async fn an_approval_is_worth_nothing_once_a_sync_has_succeeded() {
    let site = site("boolean").await;
    site.on_remote("delete from meter where id <= 40").await;
    let (run, _) = held(&site, ErrorCode::MassDeactivationRefused).await;
    let dry = site.dry_run().await;
    assert_eq!(dry.counts.deactivated, 40);
    for shown in [run.run_id, dry.run_id] {
        site.on_remote("insert into meter select n, 7, 'back', true from generate_series(1, 40) n")
            .await;
        let healed = site.sync().await.outcome;
        assert!(healed.is_some_and(RunOutcome::is_success), "{healed:?}");
        site.on_remote("delete from meter where id <= 40").await;
        let refused = approve(&site, shown).await;
        is_held(&refused, ErrorCode::ApprovalOutdated);
        assert_eq!(active_meters(&site).await, 100);
    }
    let kept = rows(
        &site.local,
        "select count(distinct run_id) from meter_sync.meter_sync_held",
    )
    .await;
    assert_eq!(
        kept,
        json!([{"count": 1}]),
        "only what can be approved is kept"
    );
}

#[tokio::test]
async fn a_dry_run_shows_what_can_be_approved() {
    let site = site("boolean").await;
    site.on_remote("delete from meter where id <= 40").await;
    let dry = site.dry_run().await;
    assert_eq!(active_meters(&site).await, 100);
    let approved = approve(&site, dry.run_id).await;
    assert_eq!(
        (approved.outcome, approved.counts.deactivated),
        (Some(RunOutcome::Succeeded), 40)
    );
}

#[tokio::test]
async fn an_empty_remote_is_refused_as_such_and_can_be_approved() {
    let site = site("boolean").await;
    site.on_remote("update meter set active = false where id > 3; delete from meter where id > 3")
        .await;
    site.on_local("update meter set active = false where id > 3")
        .await;
    site.sync().await;
    site.on_remote("delete from meter").await;
    let (run, held) = held(&site, ErrorCode::SourceEmptyRefused).await;
    assert_eq!((held.deactivated, held.gone, held.switched_off), (3, 3, 0));
    assert_eq!(approve(&site, run.run_id).await.counts.deactivated, 3);
}

#[tokio::test]
async fn what_a_refused_run_wrote_is_the_list_of_the_meters_and_nothing_else() {
    let site = site("boolean").await;
    site.on_remote("delete from meter where id <= 40; update meter set name = 'x' where id > 40")
        .await;
    let (run, _) = held(&site, ErrorCode::MassDeactivationRefused).await;
    let id = run.run_id;
    let changes =
        format!("select count(*) from meter_sync.meter_sync_change where run_id = '{id}'");
    assert_eq!(rows(&site.local, &changes).await, json!([{"count": 0}]));
    let keys = format!(
        "select count(distinct k.key), min((k.key->>'id')::int), max((k.key->>'id')::int)
         from meter_sync.meter_sync_held h, jsonb_array_elements(h.keys) k(key) where h.run_id = '{id}'"
    );
    assert_eq!(
        rows(&site.local, &keys).await,
        json!([{"count": 40, "min": 1, "max": 40}])
    );
    let renamed = rows(&site.local, "select count(*) from meter where name = 'x'").await;
    assert_eq!(renamed, json!([{"count": 0}]));
}

#[tokio::test]
async fn keys_of_several_columns_and_any_text_are_told_apart() {
    let schema = "create table meter (id text, element text, tenant_id bigint not null, active boolean, primary key (id, element))";
    let meters = "insert into meter values ('a', 'b,c', 7, true), ('a,b', 'c', 7, true)";
    let local = format!(
        "create table tenant (id bigint primary key, name text); insert into tenant values (7, 'Acme'); {schema}"
    );
    let mut site = Site::with_schemas(&format!("{schema}; {meters}"), &local).await;
    let strict = site.settings().with(Setting::MaxDeactivatedRows, "0");
    site.reconfigure(&strict);
    site.sync().await;
    site.on_remote("update meter set active = false where id = 'a'")
        .await;
    let (run, _) = held(&site, ErrorCode::MassDeactivationRefused).await;
    site.on_remote("update meter set active = id = 'a'").await;
    is_held(
        &approve(&site, run.run_id).await,
        ErrorCode::ApprovalOutdated,
    );
    site.on_remote("update meter set active = id <> 'a'").await;
    assert_eq!(
        approve(&site, run.run_id).await.outcome,
        Some(RunOutcome::Succeeded)
    );
}
