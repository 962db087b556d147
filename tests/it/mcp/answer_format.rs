//! The format of answers: numbers that every client reads alike, the summary first, and no longer than a model can
//! read.

use serde_json::{Value, json};

use super::client::{Assistant, Transport};
use super::{STATUS, TRIGGER};
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
    let assistant = Assistant::new(Transport::Memory, &site, &[]).await;
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
    let found = site.mirror.meter(&key("2047948614742839297"), None).await;
    let report = found.expect("an answer").expect("a meter");
    assert_eq!(report.key["id"], held);
    assert_eq!(report.meter.expect("a row")["id"], held);
    assert_eq!(report.changes.len(), 1);
}

/// The texts of a call's answer and its structured content.
async fn told(assistant: &Assistant, tool: &'static str, arguments: &Value) -> (String, Value) {
    let result = assistant.call(tool, arguments).await;
    let text = result["content"][0]["text"]
        .as_str()
        .expect("text")
        .to_owned();
    (text, result["structuredContent"].clone())
}

#[tokio::test]
async fn the_summary_comes_first_and_what_is_said_of_the_meters_is_as_of_a_time() {
    let site = Site::new().await;
    site.on_remote(super::METERS).await;
    let assistant = Assistant::new(Transport::Memory, &site, &[]).await;
    let (_, before) = told(&assistant, STATUS, &json!({})).await;
    let next_step = before["next_step"].as_str().expect("text");
    assert!(
        next_step.contains("Ask the user whether to sync"),
        "{next_step}"
    );
    let (plan, planned) = told(&assistant, TRIGGER, &json!({"dry_run": true})).await;
    assert!(
        plan.starts_with(r#"{"summary":"A sync would give: 3 inserted"#),
        "{plan}"
    );
    let next_step = planned["next_step"].as_str().expect("text");
    assert!(
        next_step.contains("unless the user asks for a sync"),
        "{next_step}"
    );
    let (run, ran) = told(&assistant, TRIGGER, &json!({})).await;
    assert!(
        run.starts_with(r#"{"summary":"Synced: 3 inserted"#),
        "{run}"
    );
    assert_eq!(ran["changes"][0]["name"], "Main");
    let (status, content) = told(&assistant, STATUS, &json!({})).await;
    assert!(
        status.starts_with(r#"{"summary":"In sync as of "#),
        "{status}"
    );
    assert!(status.contains(" s ago); the schedule is off."), "{status}");
    assert!(!status.contains("meters are in sync"), "{status}");
    let now: chrono::DateTime<chrono::Utc> = content["now"]
        .as_str()
        .expect("now")
        .parse()
        .expect("a time");
    let ended: chrono::DateTime<chrono::Utc> = content["last_success_at"]
        .as_str()
        .expect("an end")
        .parse()
        .expect("a time");
    assert!(
        ended <= now && now - ended < chrono::TimeDelta::minutes(5),
        "{ended} {now}"
    );
}

#[tokio::test]
async fn an_answer_is_at_most_8_kb_unless_more_is_asked_for_and_says_what_it_leaves_out() {
    let site = Site::new().await;
    site.on_remote(
        "insert into meter (id, tenant_id, name, notes, register_map)
         select n, 7, 'Hall ' || n, repeat('long ', 400), jsonb_build_object('at', repeat('x', 500)) from generate_series(1, 150) n",
    )
    .await;
    site.sync().await;
    let assistant = Assistant::new(Transport::Memory, &site, &[]).await;
    for (asked, most, list) in [
        (json!({"include_changes": true}), 8_000, "/changes"),
        (json!({"since": "1h"}), 8_000, "/changes_since/changes"),
        (json!({"meter": "1"}), 8_000, "/meter/changes"),
        (
            json!({"include_changes": true, "changes_limit": 150}),
            64_000,
            "/changes",
        ),
        (
            json!({"since": "1h", "changes_limit": 200}),
            64_000,
            "/changes_since/changes",
        ),
    ] {
        let (text, content) = told(&assistant, STATUS, &asked).await;
        let listed = content
            .pointer(list)
            .and_then(Value::as_array)
            .expect(list)
            .len();
        assert!((1..=150).contains(&listed), "{asked}: {listed}");
        assert!(text.len() <= most, "{asked}: {} bytes", text.len());
        if most > 8_000 {
            assert!(text.len() > 8_000, "{asked}: {} bytes", text.len());
        }
        if listed > 1 {
            let left_out = content["left_out"].as_str().expect("words");
            assert!(
                left_out.contains("changes") && left_out.contains("the ends of long values"),
                "{left_out}"
            );
        }
    }
    // Nothing is lost: the pages together have every change.
    let (mut seen, mut before) = (0, json!({"since": "1h", "changes_limit": 200}));
    for _ in 0..50 {
        let (_, content) = told(&assistant, STATUS, &before).await;
        seen += content["changes_since"]["changes"]
            .as_array()
            .expect("a list")
            .len();
        let Some(next) = content.get("next_before") else {
            break;
        };
        before["before"] = next.clone();
    }
    assert_eq!(seen, 150);
}

#[tokio::test]
async fn an_error_that_runs_share_is_told_once_among_them() {
    let site = Site::new().await;
    site.on_remote("alter table meter rename to meter_old")
        .await;
    for _ in 0..4 {
        site.sync().await;
    }
    let assistant = Assistant::new(Transport::Memory, &site, &[]).await;
    let (_, content) = told(&assistant, STATUS, &json!({})).await;
    let history = content["history"].as_array().expect("a list");
    assert_eq!(history.len(), 4);
    assert_eq!(history[0]["error"]["code"], "REMOTE_SCHEMA");
    for run in &history[1..] {
        assert_eq!(run.get("error"), None, "{run:#}");
        assert_eq!(run["same_error_as"], history[0]["run_id"], "{run:#}");
    }
    // Programs are told each run as the log has it.
    let status = json!(site.status().await);
    assert!(
        status["history"]
            .as_array()
            .expect("a list")
            .iter()
            .all(|run| run["error"].is_object())
    );
}

fn key(text: &str) -> meter_sync::history::parse_meter_key::MeterKeyText {
    meter_sync::history::parse_meter_key::MeterKeyText::parse(text).expect("a key")
}
