//! Runs of every kind over a distributed table, each followed by a comparison of both sides by SQL.

use meter_sync::config::{CommandLineSettings, Setting};
use meter_sync::mirrors::{Mirrors, RunApprovals, RunRequest};
use meter_sync::model::{Counts, DeactivationApproval, RunOutcome, RunTrigger};
use meter_sync::reports::run_report::RunReport;
use tokio_postgres::Client;

use crate::support::site::{Site, finish, mirror, mirrors, rows};

/// A change of the remote, and what the next run of tenant 7 should do.
struct Change {
    what: &'static str,
    on_remote: &'static str,
    counts: Counts,
    /// What the reasons of the rejected rows should say, if rows are rejected.
    rejected: &'static str,
}

const NONE: Counts = Counts {
    inserted: 0,
    updated: 0,
    deactivated: 0,
    reactivated: 0,
    unchanged: 0,
    rejected: 0,
};

const CHANGES: &[Change] = &[
    Change {
        what: "a first load",
        on_remote: "select",
        counts: Counts { inserted: 20, ..NONE },
        rejected: "",
    },
    Change {
        what: "nothing",
        on_remote: "select",
        counts: Counts { unchanged: 20, ..NONE },
        rejected: "",
    },
    Change {
        what: "an insert, an update and a meter that is gone",
        on_remote: "update meter set name = name || '!' where id in (10, 20);
            delete from meter where id = 4; insert into meter values (100, 7, 'new', 'SN-100')",
        counts: Counts { inserted: 1, updated: 2, deactivated: 1, unchanged: 17, ..NONE },
        rejected: "",
    },
    Change {
        what: "the meter is back",
        on_remote: "insert into meter values (4, 7, 'meter 4', 'SN-4', null, 502, '{\"unit\": 1.50}')",
        counts: Counts { reactivated: 1, unchanged: 20, ..NONE },
        rejected: "",
    },
    Change {
        what: "three serial numbers in a ring",
        on_remote: "update meter set serial_number = case id when 2 then 'SN-4' when 4 then 'SN-6' else 'SN-2' end
            where id in (2, 4, 6)",
        counts: Counts { updated: 3, unchanged: 18, ..NONE },
        rejected: "",
    },
    Change {
        what: "two names change places in a partial index",
        on_remote: "update meter set name = case id when 8 then 'METER 12' else 'Meter 8' end where id in (8, 12)",
        counts: Counts { updated: 2, unchanged: 19, ..NONE },
        rejected: "",
    },
    Change {
        what: "a meter that refers to a new one",
        on_remote: "insert into meter values (200, 7, 'child', 'C', 201), (201, 7, 'parent', 'P', null);
            update meter set parent = 200 where id = 14",
        counts: Counts { inserted: 2, updated: 1, unchanged: 20, ..NONE },
        rejected: "",
    },
    Change {
        what: "a value that the table refuses",
        on_remote: "update meter set port = 0 where id = 16",
        counts: Counts { rejected: 1, unchanged: 22, ..NONE },
        rejected: "meter_port_check",
    },
    Change {
        what: "a meter that refers to none",
        on_remote: "update meter set port = 503 where id = 16; insert into meter values (300, 7, 'orphan', 'O', 999)",
        counts: Counts { updated: 1, rejected: 1, unchanged: 22, ..NONE },
        rejected: "no such row in table meter (foreign key meter_parent)",
    },
    Change {
        what: "a serial number that another meter has",
        on_remote: "delete from meter where id = 300; insert into meter values (301, 7, 'taken', null);
            update meter set name = 'METER 18' where id = 20",
        counts: Counts { inserted: 1, rejected: 1, unchanged: 22, ..NONE },
        rejected: "is taken by meter 18, which is active (unique index meter_name)",
    },
    Change {
        what: "a meter entered again under another key",
        on_remote: "update meter set name = 'meter 20!' where id = 20;
            delete from meter where id = 30; insert into meter values (130, 7, 'again', 'SN-30')",
        counts: Counts { inserted: 1, deactivated: 1, unchanged: 23, ..NONE },
        rejected: "",
    },
];

/// Carries out runs of every kind. `site` has the tables of this folder, with no local meters.
pub(super) async fn of_every_kind(site: &mut Site) {
    let settings = site
        .settings()
        .with(Setting::TenantId, "7")
        .with(Setting::Key, "id");
    site.reconfigure(&settings);
    for change in CHANGES {
        site.on_remote(change.on_remote).await;
        let preview = site.dry_run().await;
        assert_eq!(
            preview.outcome,
            Some(RunOutcome::DryRun),
            "{}: {preview:#?}",
            change.what
        );
        let run = site.sync().await;
        assert_eq!(run.counts, change.counts, "{}: {run:#?}", change.what);
        let rejected = site.status().await.rejected.unwrap_or_default();
        assert!(
            rejected
                .iter()
                .all(|row| row.reason.contains(change.rejected)),
            "{}: {rejected:?}",
            change.what
        );
        if change.counts.rejected == 0 {
            assert_is_equal(site, 7).await;
            assert_nothing_to_do(site).await;
        }
    }
    an_edit_on_the_site_is_undone(site).await;
    the_brake_holds_until_a_person_approves(site).await;
    contents_are_compared(&settings).await;
    a_sweep_finds_what_changed(site).await;
}

async fn assert_nothing_to_do(site: &Site) {
    let run = site.sync().await;
    assert_eq!(run.outcome, Some(RunOutcome::NoChange), "{run:#?}");
}

/// Versions of rows on other servers prove nothing, so each run has to look at the contents.
async fn an_edit_on_the_site_is_undone(site: &Site) {
    site.on_local("update meter set name = 'edited' where tenant_id = 7 and id = 2")
        .await;
    let run = site.sync().await;
    assert_eq!(run.counts.updated, 1, "{run:#?}");
    assert_is_equal(site, 7).await;
}

async fn the_brake_holds_until_a_person_approves(site: &Site) {
    site.on_remote("create table kept as select * from meter where tenant_id = 7 and id > 20")
        .await;
    site.on_remote("delete from meter where tenant_id = 7 and id > 20")
        .await;
    let refused = site.sync().await;
    assert_eq!(refused.outcome, Some(RunOutcome::Refused), "{refused:#?}");
    let allow = RunApprovals {
        mass_deactivation: DeactivationApproval::OfRun(refused.run_id),
        ..RunApprovals::default()
    };
    let request = RunRequest {
        allow,
        ..RunRequest::new(RunTrigger::Cli)
    };
    let run = finish(&site.mirror, request).await;
    assert_eq!(run.outcome, Some(RunOutcome::Succeeded), "{run:#?}");
    assert!(run.counts.deactivated > 10, "{run:#?}");
    assert_is_equal(site, 7).await;
    site.on_remote("insert into meter select * from kept; drop table kept")
        .await;
    let back = site.sync().await;
    assert_eq!(back.counts.reactivated, run.counts.deactivated, "{back:#?}");
    assert_is_equal(site, 7).await;
}

async fn contents_are_compared(settings: &CommandLineSettings) {
    let each_time = settings.clone().with(Setting::FullCompare, "0s");
    let run: RunReport = finish(&mirror(&each_time), RunRequest::new(RunTrigger::Cli)).await;
    assert_eq!(run.outcome, Some(RunOutcome::NoChange), "{run:#?}");
    assert_eq!(run.warning, None, "{run:#?}");
}

async fn a_sweep_finds_what_changed(site: &Site) {
    let settings = site
        .settings()
        .with(Setting::Tenants, "7,8")
        .with(Setting::Key, "id");
    let mirrors = mirrors(&settings);
    // Tenant 8 is loaded first.
    for (on_remote, expected) in [
        ("select", [1, 1]),
        ("select", [2, 0]),
        (EDIT_OF_TENANT_8, [1, 1]),
        ("select", [2, 0]),
    ] {
        site.on_remote(on_remote).await;
        assert_eq!(swept(&mirrors).await, expected, "{on_remote}");
        for tenant in [7, 8] {
            assert_is_equal(site, tenant).await;
        }
    }
}

/// A meter is changed, and another one is gone, which then stays inactive on the site.
const EDIT_OF_TENANT_8: &str =
    "update meter set name = 'new name' where id = 3; delete from meter where id = 5";

/// Sweeps. Returns how many mirrors were unchanged, and how many were synced.
async fn swept(mirrors: &Mirrors) -> [i64; 2] {
    let report = mirrors
        .sweep(&RunRequest::new(RunTrigger::Cli), |_, _| {})
        .await
        .expect("a sweep");
    let counts = report.record.counts;
    assert_eq!(counts.failed, 0, "{report:#?}");
    [counts.unchanged, counts.succeeded]
}

/// Sweeps over the tenants 7 and 8, whose local tables are in schemas of their own.
pub(super) async fn of_distributed_schemas(site: &Site) {
    let settings = site
        .settings()
        .with(Setting::Tenants, "all")
        .with(Setting::LocalTable, "site_{tenant}.meter");
    let mirrors = mirrors(&settings);
    for (on_remote, expected) in [
        ("select", [0, 2]),
        ("select", [2, 0]),
        (EDIT_OF_TENANT_8, [1, 1]),
        ("select", [2, 0]),
    ] {
        site.on_remote(on_remote).await;
        assert_eq!(swept(&mirrors).await, expected, "{on_remote}");
    }
    let there = rows(
        &site.remote,
        "select id, name, serial_number from meter where tenant_id = 8 order by id",
    )
    .await;
    let here = rows(
        &site.local,
        "select id, name, serial_number from site_8.meter where active order by id",
    )
    .await;
    assert_eq!(here, there);
}

/// The active meters of a tenant are the same on both sides.
pub(super) async fn assert_is_equal(site: &Site, tenant: i64) {
    let there = meters(&site.remote, tenant).await;
    assert_eq!(meters(&site.local, tenant).await, there);
}

async fn meters(client: &Client, tenant: i64) -> serde_json::Value {
    let columns = "id, tenant_id, name, serial_number, parent, port, register_map";
    rows(
        client,
        &format!("select {columns} from meter where active and tenant_id = {tenant} order by id"),
    )
    .await
}
