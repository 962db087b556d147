//! Several organisations and several tables over one local database.

use std::time::Duration;

use meter_sync::config::{CommandLineSettings, Setting};
use meter_sync::error::ErrorCode;
use meter_sync::mirrors::{RunRequest, RunRequestOutcome, SlotClaimOutcome};
use meter_sync::model::{Health, RunOutcome, RunTrigger};
use meter_sync::reports::status::StatusQuery;
use serde_json::json;

use super::site;
use crate::support::proxy::{Fault, Proxy};
use crate::support::run_hold::RunHold;
use crate::support::site::{Site, finish, mirror, rows, settings};
use crate::support::wait::{self, recently};

fn of_tenant(site: &Site, tenant: &str) -> CommandLineSettings {
    site.settings().with(Setting::TenantId, tenant)
}

#[tokio::test]
async fn of_two_organisations_that_start_at_once_one_gets_the_table() {
    let site = site("name text", "").await;
    site.on_remote("insert into meter values (1, 7, 'ours', true), (2, 8, 'theirs', true)")
        .await;
    let (remote, remote_url) = Proxy::before(&site.pair.remote_url).await;
    let slow = settings(&remote_url, &site.pair.local_url).with(Setting::TenantId, "8");
    let slow = mirror(&slow);
    remote.set(Fault::Stall);
    let others = async {
        let logged = "select tenant from meter_sync.meter_sync_log";
        let started = async || {
            let exists = "select to_regclass('meter_sync.meter_sync_log') is not null as yes";
            rows(&site.local, exists).await == json!([{"yes": true}])
                && rows(&site.local, logged).await == json!([{"tenant": "8"}])
        };
        wait::until("the other organisation's run has begun", started).await;
        let ours = mirror(&of_tenant(&site, "7"));
        let ours = finish(&ours, RunRequest::new(RunTrigger::Cli)).await;
        remote.set(Fault::None);
        ours
    };
    let (theirs, ours) = tokio::join!(finish(&slow, RunRequest::new(RunTrigger::Cli)), others);
    let code = ours.error.as_ref().map(|error| error.code);
    assert_eq!(code, Some(ErrorCode::TenantMismatch), "{ours:#?}");
    assert_eq!(theirs.outcome, Some(RunOutcome::Succeeded), "{theirs:#?}");
    let meters = rows(&site.local, "select name from meter").await;
    assert_eq!(meters, json!([{"name": "theirs"}]));
}

/// The tables are found once for all tenants, so what the versions are compared under must not name one.
#[tokio::test]
async fn two_organisations_of_a_table_remember_versions_under_the_same_basis() {
    let site = site("name text", ", tenant_id bigint").await;
    site.on_remote(
        "insert into meter select n, 7 + n % 2, 'meter ' || n, true from generate_series(1, 10) n",
    )
    .await;
    for tenant in ["7", "8"] {
        let runs = mirror(&of_tenant(&site, tenant));
        let run = finish(&runs, RunRequest::new(RunTrigger::Cli)).await;
        assert_eq!(run.counts.inserted, 5, "{run:#?}");
    }
    let remembered =
        "select count(*), count(distinct basis) as bases from meter_sync.meter_sync_seen";
    let remembered = rows(&site.local, remembered).await;
    assert_eq!(remembered, json!([{"count": 2, "bases": 1}]));
}

const TENANTS: &str = "select distinct tenant from meter_sync.meter_sync_log";

#[tokio::test]
async fn spellings_of_one_number_are_one_organisation() {
    let site = site("name text", "").await;
    site.on_remote("insert into meter values (1, 7, 'a', true)")
        .await;
    for tenant in ["7", "007", "+7"] {
        let runs = mirror(&of_tenant(&site, tenant));
        let run = finish(&runs, RunRequest::new(RunTrigger::Cli)).await;
        assert!(run.outcome.is_some_and(RunOutcome::is_success), "{run:#?}");
        assert_eq!(run.counts.changes() + run.counts.unchanged, 1, "{run:#?}");
    }
    assert_eq!(rows(&site.local, TENANTS).await, json!([{"tenant": "7"}]));
    // A slot before the runs above would have been served by them.
    let slot = meter_sync::machine_clock::now() + chrono::Duration::hours(1);
    let (one, other) = (
        mirror(&of_tenant(&site, "07")),
        mirror(&of_tenant(&site, "7")),
    );
    assert_eq!(
        one.claim_slot(slot, false).await,
        Ok(SlotClaimOutcome::Ours)
    );
    assert_eq!(
        other.claim_slot(slot, false).await,
        Ok(SlotClaimOutcome::Pending)
    );
}

/// A run leaves the rows of others alone, so the row of a meter that moved to another organisation is in the way.
#[tokio::test]
async fn a_meter_that_moved_to_another_organisation_is_rejected_with_what_gives_it_the_row() {
    let site = site("name text", "").await;
    site.on_local("alter table meter add tenant_id bigint not null")
        .await;
    site.on_remote(
        "insert into meter values (1, 7, 'a', true), (2, 7, 'b', true), (3, 8, 'c', true)",
    )
    .await;
    let sync = async |tenant| {
        let runs = mirror(&of_tenant(&site, tenant));
        finish(&runs, RunRequest::new(RunTrigger::Cli)).await
    };
    sync("7").await;
    site.on_remote("update meter set tenant_id = 8 where id = 2")
        .await;
    let reason = "select reason from meter_sync.meter_sync_rejected";
    assert_eq!(sync("8").await.outcome, Some(RunOutcome::Partial));
    let active = json!([{"reason": "id \"2\" is taken by a row of another tenant (unique index meter_pkey)"}]);
    assert_eq!(rows(&site.local, reason).await, active);
    sync("7").await;
    site.on_local("delete from meter_sync.meter_sync_rejected")
        .await;
    assert_eq!(sync("8").await.outcome, Some(RunOutcome::Partial));
    let told = rows(&site.local, reason).await;
    let told = told[0]["reason"].as_str().expect("a reason");
    let (_, statement) = told.split_once("gives the row to tenant 8: ").expect(told);
    site.on_local(statement).await;
    let run = sync("8").await;
    assert_eq!(run.outcome, Some(RunOutcome::Succeeded), "{run:#?}");
    let meters = "select id, tenant_id, active from meter order by id";
    assert_eq!(
        rows(&site.local, meters).await,
        json!([
            {"id": 1, "tenant_id": 7, "active": true},
            {"id": 2, "tenant_id": 8, "active": true},
            {"id": 3, "tenant_id": 8, "active": true}
        ])
    );
}

/// Else the rows would be written as another tenant's, and found no more.
#[tokio::test]
async fn an_id_that_is_another_one_as_a_text_here_is_refused() {
    let meters = "name text, active boolean not null";
    for (there, here, id) in [
        ("char(5)", "varchar(5)", "7"),
        ("numeric(6,2)", "text", "7"),
        ("bigint", "text", "07"),
        ("uuid", "text", "0190A1B2-C3D4-7E5F-8A9B-0C1D2E3F4A5B"),
    ] {
        let site = Site::with_schemas(
            &format!(
                "create table meter (id bigint primary key, tenant_id {there}, {meters});
                 insert into meter select n, '{id}', 'a', true from generate_series(1, 9) n"
            ),
            &format!("create table meter (id bigint primary key, tenant_id {here}, {meters})"),
        )
        .await;
        let runs = mirror(&of_tenant(&site, id));
        for before in [
            "select",
            "insert into meter select n, $id, 'b', true from generate_series(1, 3) n",
        ] {
            let own = format!("'{id}'");
            site.on_local(&before.replace("$id", &own)).await;
            let run = finish(&runs, RunRequest::new(RunTrigger::Cli)).await;
            let error = run.error.expect("an error");
            assert_eq!(
                error.code,
                ErrorCode::LocalSchema,
                "{there} {here}: {error:?}"
            );
            assert!(error.message.contains("METER_SYNC_TENANT_ID"), "{error:?}");
            let written = rows(
                &site.local,
                "select count(*) as n from meter where name = 'a'",
            )
            .await;
            assert_eq!(written, json!([{"n": 0}]), "{there} {here}");
        }
    }
}

#[tokio::test]
async fn a_uuid_in_capitals_is_the_same_organisation() {
    let id = "0190a1b2-c3d4-7e5f-8a9b-0c1d2e3f4a5b";
    let meters = "name text, active boolean not null";
    let site = Site::with_schemas(
        &format!(
            "create table meter (id bigint primary key, tenant_id uuid, {meters});
             insert into meter values (1, '{id}', 'a', true)"
        ),
        &format!("create table meter (id bigint primary key, {meters})"),
    )
    .await;
    for tenant in [id, &id.to_uppercase()] {
        let runs = mirror(&of_tenant(&site, tenant));
        let run = finish(&runs, RunRequest::new(RunTrigger::Cli)).await;
        assert!(run.outcome.is_some_and(RunOutcome::is_success), "{run:#?}");
    }
    assert_eq!(rows(&site.local, TENANTS).await, json!([{"tenant": id}]));
}

#[tokio::test]
async fn an_id_that_the_local_tenant_column_refuses_is_a_wrong_setting() {
    let meters = "id bigint primary key, tenant_id bigint, active boolean";
    let create = format!("create table meter ({meters})");
    let mut site = Site::with_schemas(&create, &create).await;
    site.reconfigure(&of_tenant(&site, "Acme"));
    let run = site.sync().await;
    let error = run.error.as_ref().expect("an error");
    assert_eq!(error.code, ErrorCode::ConfigInvalid, "{run:#?}");
    assert!(error.message.contains("Acme"), "{error:?}");
    assert!(error.remedy.contains("METER_SYNC_TENANT_ID"), "{error:?}");
    let status = site.status().await;
    let last = status.last_run.map(|run| run.run_id);
    assert_eq!(last, Some(run.run_id));
    assert!(status.next_step.contains("METER_SYNC_TENANT_ID"));
}

#[tokio::test]
async fn two_tables_of_one_organisation_have_a_lock_a_log_and_slots_each() {
    let site = site("name text", "").await;
    site.on_local("create schema copy; create table copy.meter (like public.meter including all)")
        .await;
    site.on_remote("insert into meter values (1, 7, 'a', true)")
        .await;
    let copy = site.settings().with(Setting::LocalTable, "copy.meter");
    let copy = mirror(&copy);
    let slot = recently();
    assert_eq!(
        site.mirror.claim_slot(slot, false).await,
        Ok(SlotClaimOutcome::Ours)
    );
    assert_eq!(
        copy.claim_slot(slot, false).await,
        Ok(SlotClaimOutcome::Ours)
    );
    let first = site.sync().await;
    let before = copy
        .status(&StatusQuery::default())
        .await
        .expect("a status");
    assert_eq!((before.health, before.history.len()), (Health::NeverRun, 0));

    let held = RunHold::new(&site).await;
    let ticket = site.mirror.request(RunRequest::new(RunTrigger::Cli)).await;
    assert!(
        matches!(ticket, Ok(RunRequestOutcome::Started(_))),
        "{ticket:?}"
    );
    let both = copy.request(RunRequest::new(RunTrigger::Cli)).await;
    let Ok(RunRequestOutcome::Started(mut both)) = both else {
        panic!("the other table's run should start: {both:?}");
    };
    held.release().await;
    let other = both.wait(Duration::from_secs(30)).await;
    assert_eq!(other.counts, first.counts, "{other:#?}");
    let after = copy
        .status(&StatusQuery::default())
        .await
        .expect("a status");
    assert_eq!(after.history.len(), 1);
    assert_eq!(after.last_run.map(|run| run.run_id), Some(other.run_id));
}

#[tokio::test]
async fn the_log_of_a_table_goes_on_while_it_is_missing_and_however_it_is_spelled() {
    let mut site = site("name text", "").await;
    let first = site.sync().await;
    site.on_local("alter table meter rename to away").await;
    let failed = site.sync().await;
    assert_eq!(failed.outcome, Some(RunOutcome::Failed), "{failed:#?}");
    site.on_local("alter table away rename to meter").await;
    site.reconfigure(&site.settings().with(Setting::LocalTable, "public.meter"));
    let status = site.status().await;
    let runs: Vec<_> = status.history.iter().map(|run| run.run_id).collect();
    assert_eq!(runs, [failed.run_id, first.run_id]);
}

/// Ids count anew in each organisation. The statement frees the value of this organisation's meter, and of no other.
#[tokio::test]
async fn a_statement_that_frees_a_value_names_the_tenant_where_ids_do_not_tell_meters_apart() {
    let remote = "create table meter (id bigint, tenant_id bigint, name text, active boolean not null, primary key (tenant_id, id));
        insert into meter select n, 7, 'S' || n, true from generate_series(1, 6) n";
    let local = "create table tenant (id bigint primary key, name text);
        insert into tenant values (7, 'Acme');
        create table meter (id bigint, tenant_id bigint, name text, active boolean not null, primary key (tenant_id, id), unique (tenant_id, name));
        insert into meter values (1, 8, 'S1', true)";
    let mut site = Site::with_schemas(remote, local).await;
    let settings = site.settings().with(Setting::Key, "id");
    let settings = settings.with(Setting::ReleaseUnique, "off");
    site.reconfigure(&settings);
    site.sync().await;
    site.on_remote("delete from meter where id = 1; insert into meter values (9, 7, 'S1', true)")
        .await;
    let run = site.sync().await;
    assert_eq!(run.outcome, Some(RunOutcome::Partial), "{run:#?}");
    let reasons = rows(
        &site.local,
        "select reason from meter_sync.meter_sync_rejected",
    )
    .await;
    let reason = reasons[0]["reason"].as_str().expect("a reason");
    let (_, statement) = reason.split_once("frees the value: ").expect(reason);
    site.on_local(statement).await;
    assert_eq!(
        rows(&site.local, "select name from meter where tenant_id = 8").await,
        json!([{"name": "S1"}])
    );
    let run = site.sync().await;
    assert_eq!(run.outcome, Some(RunOutcome::Succeeded), "{run:#?}");
}
