//! One sync after the other on the seed system's shapes, counted and compared exactly.

use meter_sync::meter::{Counts, Outcome};
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
    assert_eq!(run.outcome, Some(Outcome::Succeeded), "{run:#?}");
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
    assert_eq!(again.outcome, Some(Outcome::NoChange), "{again:#?}");
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
async fn a_row_that_cannot_be_stored_is_set_aside_with_its_reason_and_heals() {
    let site = Site::new().await;
    site.on_remote(
        "insert into meter (id, tenant_id, name, port) values
         (1, 7, 'good', 1), (2, 7, repeat('x', 81), 2), (3, 7, 'wide', 123456), (4, 7, 'fine', 4)",
    )
    .await;
    let run = site.sync().await;
    assert_eq!(run.outcome, Some(Outcome::Partial), "{run:#?}");
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
            {"key": {"id": "2"}, "reason": "value too long for type character varying(80)"},
            {"key": {"id": "3"}, "reason": "value too long for type character varying(5)"},
        ])
    );
    site.on_remote("update meter set name = 'short', port = 5 where id in (2, 3)")
        .await;
    let healed = site.sync().await;
    assert_eq!(healed.outcome, Some(Outcome::Succeeded), "{healed:#?}");
    assert_eq!(
        healed.counts,
        Counts {
            inserted: 2,
            unchanged: 2,
            ..Counts::default()
        }
    );
}
