//! How answers are given: numbers that every client reads alike.

use serde_json::{Value, json};

use super::STATUS;
use super::client::{Assistant, Way};
use crate::support::site::{Site, rows};

/// Both sides with the key as a number.
const NUMBERED: &str = "create table tenant (id bigint primary key, name text);
    insert into tenant values (7, 'Acme');
    create table meter (id bigint primary key, tenant_id bigint not null, name varchar(80), device_id bigint,
        register_map jsonb, active boolean not null default true)";

/// Claude, VS Code and every other host in JavaScript read `2047948614742839297` as `2047948614742839300`, another meter's id.
#[tokio::test]
async fn an_integer_beyond_2_to_the_53_is_a_text_and_any_other_a_number() {
    let site = Site::with_schemas(&NUMBERED.replace("varchar(80)", "text"), NUMBERED).await;
    site.on_remote(
        r#"insert into meter (id, tenant_id, name, device_id, register_map) values
            (2047948614742839297, 7, 'Main', 9007199254740991, '{"at": [9007199254740993, 5]}'),
            (-2047948614742839297, 7, repeat('x', 81), 1, null)"#,
    )
    .await;
    site.sync().await;
    let assistant = Assistant::new(Way::Memory, &site, &[]).await;
    let told = assistant
        .ask(STATUS, json!({"include_changes": true}))
        .await;
    let change = &told["changes"][0];
    assert_eq!(change["key"], json!({"id": "2047948614742839297"}));
    assert_eq!(
        change["after"]["device_id"],
        json!(9_007_199_254_740_991_u64)
    );
    assert_eq!(
        change["after"]["register_map"],
        json!({"at": ["9007199254740993", 5]})
    );
    assert_eq!(
        told["rejected"][0]["key"],
        json!({"id": "-2047948614742839297"})
    );
    // In the log a key is what it was, so that it can be joined with those of changes.
    let logged =
        "select pg_catalog.jsonb_typeof(key->'id') as type from meter_sync.meter_sync_rejected";
    assert_eq!(rows(&site.local, logged).await, json!([{"type": "number"}]));
    let held = Value::from("2047948614742839297");
    let found = site.runs.meter(&key("2047948614742839297")).await;
    let report = found.expect("an answer").expect("a meter");
    assert_eq!(report.key["id"], held);
    assert_eq!(report.meter.expect("a row")["id"], held);
    assert_eq!(report.changes.len(), 1);
}

fn key(text: &str) -> meter_sync::runs::meters::KeyText {
    meter_sync::runs::meters::KeyText::parse(text).expect("a key")
}
