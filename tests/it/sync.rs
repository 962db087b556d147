//! One sync after the other on the earlier program's table shapes, counted and compared exactly.

use meter_sync::model::{Counts, RunOutcome};
use serde_json::json;

use crate::support::site::{Site, rows};

#[tokio::test]
async fn a_new_site_gets_its_tenants_meters_and_no_others() {
    let site = Site::new().await;
    site.on_remote(
        "insert into meter (id, tenant_id, name, port, ip, register_map) values
         (1, 7, 'Main', 502, '10.0.0.1', '{\"b\": 1, \"a\": [1.50]}'), (2, 7, '', null, null, null), (3, 8, 'Theirs', 1, null, null)",
    )
    .await;
    let run = site.sync().await;
    assert_eq!(run.outcome, Some(RunOutcome::Succeeded), "{run:#?}");
    assert_eq!(
        run.counts,
        Counts {
            inserted: 2,
            ..Counts::default()
        }
    );
    let meters = rows(
        &site.local,
        "select id, name, port, ip, register_map, site_note from meter order by id",
    )
    .await;
    assert_eq!(
        meters,
        json!([
            {"id": "1", "name": "Main", "port": "502", "ip": "10.0.0.1", "register_map": {"b": 1, "a": [1.50]}, "site_note": "ours"},
            {"id": "2", "name": "", "port": null, "ip": null, "register_map": null, "site_note": "ours"},
        ])
    );
    let again = site.sync().await;
    assert_eq!(again.outcome, Some(RunOutcome::NoChange), "{again:#?}");
    assert_eq!(
        again.counts,
        Counts {
            unchanged: 2,
            ..Counts::default()
        }
    );
}

#[tokio::test]
async fn meters_that_exchange_unique_values_are_not_rejected() {
    let site = Site::new().await;
    site.on_local("alter table meter add unique (serial_number)")
        .await;
    site.on_remote(
        "insert into meter (id, tenant_id, name, serial_number) values
         (1, 7, 'a', 'S1'), (2, 7, 'b', 'S2'), (3, 7, 'c', 'S3'), (4, 7, 'd', 'S4')",
    )
    .await;
    site.sync().await;
    // 1, 2 and 3 pass theirs on in a ring; 4 moves on to a free one.
    site.on_remote(
        "update meter set serial_number = case id when 1 then 'S2' when 2 then 'S3' when 3 then 'S1' else 'S5' end",
    )
    .await;
    let run = site.sync().await;
    assert_eq!(
        run.counts,
        Counts {
            updated: 4,
            ..Counts::default()
        },
        "{run:#?}"
    );
    let numbers = rows(
        &site.local,
        "select string_agg(serial_number, ' ' order by id) as s from meter",
    )
    .await;
    assert_eq!(numbers, json!([{"s": "S2 S3 S1 S5"}]));
}

#[tokio::test]
async fn a_row_that_cannot_be_stored_is_rejected_with_its_reason_and_heals() {
    let site = Site::new().await;
    site.on_remote(
        "insert into meter (id, tenant_id, name, port) values
         (1, 7, 'good', 1), (2, 7, repeat('x', 81), 2), (3, 7, 'wide', 123456), (4, 7, 'fine', 4)",
    )
    .await;
    let run = site.sync().await;
    assert_eq!(run.outcome, Some(RunOutcome::Partial), "{run:#?}");
    assert_eq!(
        run.counts,
        Counts {
            inserted: 2,
            rejected: 2,
            ..Counts::default()
        }
    );
    let rejected = rows(
        &site.local,
        "select key, reason from meter_sync.meter_sync_rejected order by key",
    )
    .await;
    assert_eq!(
        rejected,
        json!([
            {"key": {"id": "2"}, "reason": format!("name \"{}...\": value too long for type character varying(80)", "x".repeat(60))},
            {"key": {"id": "3"}, "reason": "port \"123456\": value too long for type character varying(5)"},
        ])
    );
    site.on_remote("update meter set name = 'short', port = 5 where id in (2, 3)")
        .await;
    let healed = site.sync().await;
    assert_eq!(healed.outcome, Some(RunOutcome::Succeeded), "{healed:#?}");
    assert_eq!(
        healed.counts,
        Counts {
            inserted: 2,
            unchanged: 2,
            ..Counts::default()
        }
    );
}

/// A step of a site's life: what happens on the remote, and what the sync after it must report.
struct Step {
    what: &'static str,
    on_remote: &'static str,
    outcome: RunOutcome,
    counts: Counts,
}

const NONE: Counts = Counts {
    inserted: 0,
    updated: 0,
    deactivated: 0,
    reactivated: 0,
    unchanged: 0,
    rejected: 0,
};

const LIFE: &[Step] = &[
    Step {
        what: "six meters come",
        on_remote: "insert into meter (id, tenant_id, name, port)
            select n, 7, 'meter ' || n, 500 + n from generate_series(1, 6) n",
        outcome: RunOutcome::Succeeded,
        counts: Counts { inserted: 6, ..NONE },
    },
    Step {
        what: "one is renamed, one gets '' for null, one another port",
        on_remote: "update meter set name = 'renamed' where id = 1;
            update meter set notes = '' where id = 2; update meter set port = 7 where id = 3",
        outcome: RunOutcome::Succeeded,
        counts: Counts { updated: 3, unchanged: 3, ..NONE },
    },
    Step {
        what: "one is switched off by the remote itself",
        on_remote: "update meter set active = false where id = 4",
        outcome: RunOutcome::Succeeded,
        counts: Counts { updated: 1, unchanged: 5, ..NONE },
    },
    Step {
        what: "it is switched on again, under another name",
        on_remote: "update meter set active = true, name = 'back' where id = 4",
        outcome: RunOutcome::Succeeded,
        counts: Counts { reactivated: 1, unchanged: 5, ..NONE },
    },
    Step {
        what: "one is deleted",
        on_remote: "delete from meter where id = 5",
        outcome: RunOutcome::Succeeded,
        counts: Counts { deactivated: 1, unchanged: 5, ..NONE },
    },
    Step {
        what: "a deleted one stays counted nowhere",
        on_remote: "",
        outcome: RunOutcome::NoChange,
        counts: Counts { unchanged: 5, ..NONE },
    },
    Step {
        what: "it is created anew",
        on_remote: "insert into meter (id, tenant_id, name) values (5, 7, 'new life')",
        outcome: RunOutcome::Succeeded,
        counts: Counts { reactivated: 1, unchanged: 5, ..NONE },
    },
    Step {
        what: "one moves to another organisation",
        on_remote: "update meter set tenant_id = 8 where id = 6",
        outcome: RunOutcome::Succeeded,
        counts: Counts { deactivated: 1, unchanged: 5, ..NONE },
    },
    Step {
        what: "an unstorable one comes among good changes",
        on_remote: "insert into meter (id, tenant_id, name, port) values (7, 7, 'bad', 1234567), (8, 7, 'good', 1);
            update meter set name = 'also renamed' where id = 2",
        outcome: RunOutcome::Partial,
        counts: Counts { inserted: 1, updated: 1, unchanged: 4, rejected: 1, ..NONE },
    },
    Step {
        what: "it is still there",
        on_remote: "",
        outcome: RunOutcome::Partial,
        counts: Counts { unchanged: 6, rejected: 1, ..NONE },
    },
    Step {
        what: "one that is here becomes unstorable: it keeps its old values and stays active",
        on_remote: "update meter set name = repeat('x', 81) where id = 1",
        outcome: RunOutcome::Partial,
        counts: Counts { unchanged: 5, rejected: 2, ..NONE },
    },
    Step {
        what: "both heal",
        on_remote: "update meter set port = 1 where id = 7; update meter set name = 'short' where id = 1",
        outcome: RunOutcome::Succeeded,
        counts: Counts { inserted: 1, updated: 1, unchanged: 5, ..NONE },
    },
];

/// The remote's meters of the tenant, in the local shape.
const THERE: &str =
    "select id::text, name, port::text, notes, active from meter where tenant_id = 7 order by id";
const HERE: &str = "select id, name, port, notes, active from meter where id <> '6' order by id";

#[tokio::test]
async fn a_site_lives_through_all_that_happens_to_meters() {
    let site = Site::new().await;
    for Step {
        what,
        on_remote,
        outcome,
        counts,
    } in LIFE
    {
        site.on_remote(on_remote).await;
        let run = site.sync().await;
        assert_eq!(
            (run.outcome, run.counts),
            (Some(*outcome), *counts),
            "{what}: {run:#?}"
        );
        let logged = rows(
            &site.local,
            &format!(
                "select outcome, inserted, updated, deactivated, reactivated, unchanged, rejected,
                    (select count(*) from meter_sync.meter_sync_change c where c.run_id = l.id) as changes,
                    (select count(*) from meter_sync.meter_sync_rejected r where r.run_id = l.id) as rejected_rows
                 from meter_sync.meter_sync_log l where id = '{}'",
                run.run_id
            ),
        )
        .await;
        let expected = json!([{
            "outcome": outcome, "inserted": counts.inserted, "updated": counts.updated,
            "deactivated": counts.deactivated, "reactivated": counts.reactivated,
            "unchanged": counts.unchanged, "rejected": counts.rejected,
            "changes": counts.changes(), "rejected_rows": counts.rejected,
        }]);
        assert_eq!(logged, expected, "{what}");
        site.on_local("insert into meter_reading (meter_id, value) select id, 1 from meter")
            .await;
    }
    assert_eq!(
        rows(&site.local, HERE).await,
        rows(&site.remote, THERE).await
    );
    let moved = rows(
        &site.local,
        "select active, site_note from meter where id = '6'",
    )
    .await;
    assert_eq!(moved, json!([{"active": false, "site_note": "ours"}]));
}
