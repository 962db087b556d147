//! Functions and operators that somebody else made, by the names that our SQL uses: none of them is called.
//!
//! Their makers may create in a schema of our role's path, and nothing else. Each overload fails with a code that no
//! run takes for the fault of a row.

use meter_sync::check::{self, Verdict};
use meter_sync::config::Setting;
use meter_sync::mirrors::{RunApprovals, RunRequest};
use meter_sync::model::{DeactivationApproval, RunOutcome, RunTrigger};
use meter_sync::reports::run_report::RunReport;
use meter_sync::reports::status::StatusQuery;

use super::plant_overloads::{CALLED, names_in_our_sources, overload};
use super::table_reloads::as_role;
use crate::support::site::{LOCAL_SCHEMA, REMOTE_SCHEMA, Site, config, finish, rows};
use crate::support::wait;

fn assert_ended(run: &RunReport, expected: RunOutcome) {
    let text = format!("{run:#?}");
    assert!(!text.contains(CALLED), "an overload was called: {text}");
    assert_eq!(run.outcome, Some(expected), "{text}");
}

/// A site whose roles find functions in `public` before those of Postgres.
async fn site_with_roles() -> (Site, String) {
    let local = LOCAL_SCHEMA.replace(
        "serial_number text,",
        "serial_number varchar(40) unique, kind char(5), label varchar(20), rate integer check (10 / rate > 0),
         slot integer unique references device (id),",
    );
    let local = format!(
        "create table device (id integer primary key); insert into device select n from generate_series(1, 4) n; {local}"
    );
    let remote = REMOTE_SCHEMA.replace(
        "serial_number text,",
        "serial_number text, kind char(5), label varchar(20), rate integer, slot integer,",
    );
    let mut site = Site::with_schemas(&remote, &local).await;
    let database: String = site
        .local
        .query_one("select current_database()::text", &[])
        .await
        .expect("a name")
        .get(0);
    let role = format!("overloaded_{database}_{}", std::process::id());
    let create = format!(
        "create role {role} login; alter role {role} set search_path = public, pg_catalog;"
    );
    site.on_remote(&format!("{create} grant select on meter, tenant to {role}"))
        .await;
    site.on_local(&format!(
        "{create} grant select on tenant, device to {role}; grant select, insert, update on meter to {role};
         do $$ begin execute format('grant create, temporary on database %I to {role}', current_database()); end $$"
    ))
    .await;
    let settings = site
        .settings()
        .with(Setting::RemoteUrl, as_role(&site.pair.remote_url, &role))
        .with(Setting::LocalUrl, as_role(&site.pair.local_url, &role));
    site.reconfigure(&settings);
    (site, role)
}

async fn sync_in_many_ways(site: &Site) {
    site.on_remote(
        "insert into public.meter (id, tenant_id, name, serial_number, kind, label, port, register_map, active)
         select n, 7, 'name ' || n, 'S' || n, 'k', 'l', n, '{\"a\": 1}', true from generate_series(1, 40) n",
    )
    .await;
    assert_ended(&site.dry_run().await, RunOutcome::DryRun);
    assert_ended(&site.sync().await, RunOutcome::Succeeded);
    assert_ended(&site.sync().await, RunOutcome::NoChange);
    site.on_remote(
        "update public.meter set name = 'new', label = 'new' where id < 4;
         update public.meter set serial_number = case id when 11 then 'S12' else 'S11' end where id in (11, 12);
         delete from public.meter where id = 5; insert into public.meter (id, tenant_id, name, active) values (50, 7, 'more', true)",
    )
    .await;
    assert_ended(&site.dry_run().await, RunOutcome::DryRun);
    assert_ended(&site.sync().await, RunOutcome::Succeeded);
    // What is here no longer matches what was remembered, and a value does not fit.
    site.on_local("alter table public.meter disable trigger user")
        .await;
    site.on_local("update public.meter set notes = 'by hand' where port is not null")
        .await;
    site.on_remote("update public.meter set name = repeat('x', 100) where id = 7; update public.meter set port = 1234567 where id = 8").await;
    assert_ended(&site.sync().await, RunOutcome::Partial);
    site.on_remote(
        "update public.meter set name = 'x', port = 1 where id in (7, 8); delete from public.meter where id > 20",
    )
    .await;
    let held = site.sync().await;
    assert_ended(&held, RunOutcome::Refused);
    let allowed = RunRequest {
        allow: RunApprovals {
            mass_deactivation: DeactivationApproval::Any,
            ..RunApprovals::default()
        },
        ..RunRequest::new(RunTrigger::Cli)
    };
    assert_ended(&finish(&site.mirror, allowed).await, RunOutcome::Succeeded);
}

/// What only rows that stand in each other's way, or cannot be stored, take.
async fn sync_past_obstacles(site: &Site) {
    site.on_remote("update public.meter set slot = id where id < 4")
        .await;
    assert_ended(&site.sync().await, RunOutcome::Succeeded);
    // A ring with one value to spare in the table referred to, and a value of a meter that is gone.
    site.on_remote(
        "update public.meter set slot = 1 + id % 3 where id < 4; delete from public.meter where id = 6;
         insert into public.meter (id, tenant_id, name, serial_number, active) values (60, 7, 'anew', 'S6', true)",
    )
    .await;
    assert_ended(&site.sync().await, RunOutcome::Succeeded);
    // A value that is taken, and one for which a rule cannot be evaluated.
    site.on_remote("update public.meter set serial_number = 'S10' where id = 13; update public.meter set rate = 0 where id = 14")
        .await;
    assert_ended(&site.sync().await, RunOutcome::Partial);
    let reasons = "select string_agg(r.reason, ' ' order by r.reason) as all from meter_sync.meter_sync_rejected r
        join meter_sync.meter_sync_log g on g.id = r.run_id where g.seq = (select max(seq) from meter_sync.meter_sync_log)";
    let told = rows(&site.local, reasons).await.to_string();
    for reason in ["rate_check cannot be evaluated", "is taken by meter 10"] {
        assert!(told.contains(reason), "{told}");
    }
    site.on_remote("update public.meter set serial_number = 'S13' where id = 13; update public.meter set rate = 1 where id = 14")
        .await;
    assert_ended(&site.sync().await, RunOutcome::Succeeded);
}

/// A column that is gone from the remote is told of, and runs that are old are pruned.
async fn drift_and_prune(site: &Site) {
    site.on_remote("alter table public.meter drop column protocol")
        .await;
    let run = site.sync().await;
    assert!(format!("{run:#?}").contains("protocol"), "{run:#?}");
    site.on_local("update meter_sync.meter_sync_log set started_at = started_at - interval '9 days', finished_at = finished_at - interval '9 days'")
        .await;
    site.on_remote("update public.meter set notes = 'after that' where id = 1")
        .await;
    assert_ended(&site.sync().await, RunOutcome::Succeeded);
    let pruned = "select count(*) > 0 as yes from meter_sync.meter_sync_log where is_pruned";
    wait::until("old runs are pruned", async || {
        rows(&site.local, pruned).await[0]["yes"] == true
    })
    .await;
}

async fn look_in_many_ways(site: &Site) {
    let status = site.status().await;
    assert!(status.meters.is_some(), "{status:#?}");
    site.mirror
        .status(&StatusQuery::default())
        .await
        .expect("a status");
    let meter = site.meter("1").await;
    assert!(!meter.changes.is_empty());
    let names = site.mirror.names(&[&meter.key]).await.expect("names");
    assert!(names.iter().all(Option::is_some), "{names:?}");
    assert_eq!(names.len(), 1);
    assert!(
        !site
            .mirror
            .meter_keys("1", 5)
            .await
            .expect("keys")
            .is_empty()
    );
    site.mirror
        .claim_slot(meter_sync::machine_clock::now(), false)
        .await
        .expect("a slot");
}

#[tokio::test]
async fn no_overload_of_a_function_or_operator_that_we_use_is_called() {
    let (mut site, role) = site_with_roles().await;
    let names = names_in_our_sources().join(",");
    // Made before the overloads, for the role's own first run is none of theirs.
    overload(&site.remote, &names).await;
    overload(&site.local, &names).await;
    let settings = site
        .settings()
        .with(Setting::RemoteUrl, as_role(&site.pair.remote_url, &role))
        .with(Setting::LocalUrl, as_role(&site.pair.local_url, &role))
        .with(Setting::TenantId, "7")
        .with(Setting::KeepRuns, "1d");
    site.reconfigure(&settings);
    sync_in_many_ways(&site).await;
    sync_past_obstacles(&site).await;
    look_in_many_ways(&site).await;
    drift_and_prune(&site).await;
    for finding in check::run(&config(&settings)).await {
        assert!(
            !matches!(finding.verdict, Verdict::Failed(_)),
            "{finding:#?}"
        );
    }
    // A view and a query are read under the role's own path.
    let view = format!(
        "create view public.shown as select * from public.meter; grant select on public.shown to {role}"
    );
    site.on_remote(&view).await;
    for (setting, source) in [
        (Setting::RemoteTable, "shown"),
        (Setting::RemoteQuery, "select * from shown"),
    ] {
        site.reconfigure(&settings.clone().with(setting, source));
        let change = format!("update public.meter set notes = '{source}' where active");
        site.on_remote(&change).await;
        assert_ended(&site.sync().await, RunOutcome::Succeeded);
        assert_ended(&site.sync().await, RunOutcome::NoChange);
    }
    for client in [&site.remote, &site.local] {
        let drop = format!("drop owned by {role}; drop role {role}");
        client.batch_execute(&drop).await.expect("drop the role");
    }
}
