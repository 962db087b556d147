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
