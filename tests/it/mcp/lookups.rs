//! One meter, and what changed since a time, each in one call of the status tool.

use meter_sync::history::parse_meter_key::MeterKeyText;
use serde_json::{Value, json};

use super::STATUS;
use super::client::{Assistant, Transport};
use crate::support::site::Site;

async fn assistant(site: &Site) -> Assistant {
    Assistant::new(Transport::Memory, site, &[]).await
}

async fn with_meters(sql: &str) -> Site {
    let site = Site::new().await;
    site.on_remote(sql).await;
    site.sync().await;
    site
}

fn text<'a>(answer: &'a Value, at: &str) -> &'a str {
    answer.pointer(at).and_then(Value::as_str).expect(at)
}

#[tokio::test]
async fn why_a_meter_is_inactive_is_told_in_words_whatever_made_it_so() {
    let site = with_meters(
        "insert into meter (id, tenant_id, active) values (1, 7, true), (2, 7, true), (3, 7, false), (4, 7, true), (5, 7, true), (6, 7, true)",
    )
    .await;
    site.on_remote(
        "delete from meter where id in (1, 6); update meter set active = false where id = 2",
    )
    .await;
    site.sync().await;
    site.on_remote("insert into meter (id, tenant_id) values (6, 7)")
        .await;
    site.sync().await;
    site.on_local(
        "update meter set active = false where id = '4';
         insert into meter (id, active) values ('8', false);
         insert into meter (id) values ('9');
         delete from meter where id = '5'",
    )
    .await;
    let assistant = assistant(&site).await;
    for (key, active, said) in [
        (
            "1",
            json!(false),
            "inactive because the remote has no such meter any more; the sync of ",
        ),
        (
            "2",
            json!(false),
            "inactive because it was switched off on the remote; the sync of ",
        ),
        (
            "3",
            json!(false),
            "inactive because it was switched off on the remote when it came",
        ),
        ("4", json!(false), "somebody switched it off here since"),
        ("8", json!(false), "no sync in the log made it so"),
        (
            "6",
            json!(true),
            "The meter is active; it became active again with the sync of ",
        ),
        ("9", json!(true), "The meter is active."),
        ("5", Value::Null, "no such meter any more; the log knows it"),
    ] {
        let told = assistant.ask(STATUS, json!({"meter": key})).await;
        assert_eq!(told["meter"]["active"], active, "{key}: {told:#}");
        for at in ["/summary", "/meter/summary"] {
            assert!(text(&told, at).contains(said), "{key}: {}", text(&told, at));
        }
        assert_eq!(told["history"], json!([]), "not asked for");
        // The page, REST and the resource say the same.
        let key = MeterKeyText::parse(key).expect("a key");
        let report = site.mirror.meter(&key, None).await.expect("an answer");
        let told = text(&told, "/meter/summary");
        assert_eq!(report.expect("a meter").summary, told);
    }
}

#[tokio::test]
async fn a_meter_is_found_by_its_key_first_then_by_a_part_of_its_name() {
    let site = with_meters(
        "insert into meter (id, tenant_id, name) values (1, 7, '2nd floor'), (2, 7, 'Main 100%'), (3, 7, 'Ma_n'), (4, 7, 'Ümlaut'), (5, 8, 'Main')",
    )
    .await;
    let assistant = assistant(&site).await;
    for (asked, key) in [
        ("2", "2"),
        ("floor", "1"),
        ("0%", "2"),
        ("a_", "3"),
        ("hall", ""),
        ("ÜML", "4"),
        ("main", "2"),
    ] {
        let told = assistant.ask(STATUS, json!({"meter": asked})).await;
        match key {
            "" => assert_eq!(told["matches"], json!([]), "{asked}: {told:#}"),
            key => assert_eq!(
                told["meter"]["key"],
                json!({"id": key}),
                "{asked}: {told:#}"
            ),
        }
    }
    let none = assistant.ask(STATUS, json!({"meter": "none such"})).await;
    assert!(text(&none, "/summary").starts_with("There is no meter here with the key `none such`"));
    assert_eq!(none["health"], "paused", "the status is told beside");
}

#[tokio::test]
async fn of_many_meters_with_a_text_in_their_names_some_are_listed() {
    let site = with_meters(
        "insert into meter (id, tenant_id, name) select n, 7, 'Hall ' || n from generate_series(1, 30) n",
    )
    .await;
    let told = assistant(&site)
        .await
        .ask(STATUS, json!({"meter": "hall"}))
        .await;
    assert_eq!(told["matches"].as_array().map(Vec::len), Some(20));
    assert!(text(&told, "/summary").starts_with("More than 20 meters have `hall` in their name"));
}

#[tokio::test]
async fn a_key_of_several_columns_is_given_with_commas() {
    const TABLES: &str = "create table tenant (id bigint primary key, name text);
        insert into tenant values (7, 'Acme');
        create table meter (id bigint, element text, tenant_id bigint, name text, active boolean not null default true, primary key (id, element))";
    let site = Site::with_schemas(TABLES, TABLES).await;
    site.on_remote(
        "insert into meter values (2047948614742839297, 'A', 7, 'Main'), (1, 'B', 7, 'Other')",
    )
    .await;
    site.sync().await;
    let assistant = assistant(&site).await;
    for asked in ["2047948614742839297,A", "2047948614742839297, A", "main"] {
        let told = assistant.ask(STATUS, json!({"meter": asked})).await;
        let key = json!({"id": "2047948614742839297", "element": "A"});
        assert_eq!(told["meter"]["key"], key, "{asked}");
        assert_eq!(told["meter"]["changes"][0]["action"], "insert", "{asked}");
    }
}

/// All that an answer lists, page by page.
async fn pages(assistant: &Assistant, asked: Value, list: &str) -> Vec<Value> {
    let (mut all, mut asked) = (Vec::new(), asked);
    for _ in 0..50 {
        let told = assistant.ask(STATUS, asked.clone()).await;
        all.extend(
            told.pointer(list)
                .and_then(Value::as_array)
                .expect(list)
                .clone(),
        );
        let Some(next) = told.get("next_before") else {
            return all;
        };
        asked["before"] = next.clone();
    }
    panic!("no end: {all:#?}");
}

#[tokio::test]
async fn changes_since_a_time_are_told_page_by_page_without_loss_or_doubling() {
    let site = with_meters(
        "insert into meter (id, tenant_id, name) select n, 7, 'Hall ' || n from generate_series(1, 10) n",
    )
    .await;
    for port in 1..=3 {
        site.on_remote(&format!("update meter set port = {port} where id <= 5"))
            .await;
        site.sync().await;
    }
    site.dry_run().await;
    let assistant = assistant(&site).await;
    let all = pages(
        &assistant,
        json!({"since": "1h", "changes_limit": 4}),
        "/changes_since/changes",
    )
    .await;
    assert_eq!(all.len(), 25, "{all:#?}");
    let ports: Vec<_> = all
        .iter()
        .map(|change| change["after"]["port"].clone())
        .collect();
    assert_eq!(
        (&ports[0], &ports[5], &ports[14]),
        (&json!("3"), &json!("2"), &json!("1"))
    );
    assert!(all.iter().all(|change| change["name"].is_string()));
    let of_one = pages(
        &assistant,
        json!({"meter": "3", "changes_limit": 1}),
        "/meter/changes",
    )
    .await;
    let actions: Vec<_> = of_one
        .iter()
        .map(|change| change["action"].clone())
        .collect();
    assert_eq!(
        json!(actions),
        json!(["update", "update", "update", "insert"])
    );
    let runs = pages(&assistant, json!({"history": 2}), "/history").await;
    assert_eq!(runs.len(), 5);
}

#[tokio::test]
async fn a_time_before_the_log_begins_and_one_after_the_last_change_are_said_to_be_so() {
    let site = with_meters("insert into meter (id, tenant_id) values (1, 7)").await;
    let assistant = assistant(&site).await;
    let early = assistant.ask(STATUS, json!({"since": "7d"})).await;
    assert!(
        text(&early, "/summary").contains(" The log begins at "),
        "{early:#}"
    );
    assert_eq!(early["changes_since"]["is_complete"], true);
    site.on_local("update meter_sync.meter_sync_log set changes_truncated = true")
        .await;
    let cut = assistant.ask(STATUS, json!({"since": "7d"})).await;
    assert!(
        text(&cut, "/summary").contains("The log no longer has each change"),
        "{cut:#}"
    );
    site.on_local(
        "update meter_sync.meter_sync_log set started_at = started_at - interval '3 d', finished_at = finished_at - interval '3 d'",
    )
    .await;
    let late = assistant.ask(STATUS, json!({"since": "48h"})).await;
    assert!(
        text(&late, "/summary").starts_with("No sync has changed a meter since "),
        "{late:#}"
    );
    assert_eq!(late["changes_since"]["changes"], json!([]));
}

#[tokio::test]
async fn what_cannot_be_asked_together_or_read_is_refused_by_name() {
    let site = with_meters("insert into meter (id, tenant_id) values (1, 7)").await;
    let assistant = assistant(&site).await;
    let id = "0190c2f1-7a00-7000-8000-000000000001";
    for (arguments, said) in [
        (
            json!({"run_id": id, "meter": "1"}),
            "`run_id` asks for one run",
        ),
        (
            json!({"since": "yesterday"}),
            "`since` must be a time such as 24h",
        ),
        (json!({"before": "first"}), "`before` must be `next_before`"),
        (json!({"before": id}), "There is no run"),
        (json!({"meter_id": "1"}), "did you mean `meter`?"),
    ] {
        let refused = assistant.refused(STATUS, arguments.clone()).await;
        assert!(refused.contains(said), "{arguments}: {refused}");
    }
}

#[tokio::test]
async fn a_question_of_a_meter_is_answered_with_a_warning_where_the_local_database_is_down() {
    let site = with_meters("insert into meter (id, tenant_id) values (1, 7)").await;
    let down = [(
        meter_sync::config::Setting::LocalUrl,
        "postgres://nobody@127.0.0.1:1/nothing",
    )];
    let assistant = Assistant::new(Transport::Memory, &site, &down).await;
    for asked in [json!({"meter": "1"}), json!({"since": "1h"})] {
        let told = assistant.ask(STATUS, asked).await;
        assert!(
            text(&told, "/summary").starts_with("The local database does not answer"),
            "{told:#}"
        );
        assert_eq!(
            told["warnings"].as_array().map(Vec::len),
            Some(1),
            "{told:#}"
        );
    }
}
