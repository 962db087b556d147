//! Which meter holds a value that another needs: one that came meanwhile, one that was to give it up, or one that
//! is gone.

use meter_sync::config::Setting;
use meter_sync::mirrors::{RunRequest, RunRequestOutcome};
use meter_sync::model::{RunOutcome, RunTrigger};
use serde_json::{Value, json};

use super::site;
use crate::support::postgres::connect;
use crate::support::site::{Site, rows};
use crate::support::wait::until;

const REASONS: &str = "select r.reason from meter_sync.meter_sync_rejected r
    join meter_sync.meter_sync_log g on g.id = r.run_id
    where g.seq = (select max(seq) from meter_sync.meter_sync_log) order by (r.key->>'id')::bigint";

/// Six meters in sync.
async fn six_meters() -> Site {
    let site = site("name text", ", constraint serial unique (name)").await;
    site.on_remote("insert into meter select n, 7, 'S' || n, true from generate_series(1, 6) n")
        .await;
    site.sync().await;
    site
}

/// Syncs the new meter `id` while somebody inserts the local row `theirs`. Returns the reasons of rejected rows.
async fn reasons_beside(site: &Site, id: i64, theirs: &str) -> Value {
    site.on_remote(&format!(
        "insert into meter values ({id}, 7, 'S{id}', true)"
    ))
    .await;
    let writer = connect(&site.pair.local_url).await;
    let insert = format!("begin; insert into meter values {theirs}");
    writer
        .batch_execute(&insert)
        .await
        .expect("a row of theirs");
    let request = RunRequest::new(RunTrigger::Cli);
    let Ok(RunRequestOutcome::Started(mut ticket)) = site.mirror.request(request).await else {
        panic!("no run");
    };
    let waits = "select 1 as n from pg_stat_activity
        where datname = current_database() and wait_event_type = 'Lock' and query like '-- insert meters%'";
    until("the run waits for the writer", async || {
        rows(&site.local, waits).await != json!([])
    })
    .await;
    writer.batch_execute("commit").await.expect("a commit");
    ticket.wait(std::time::Duration::from_secs(60)).await;
    rows(&site.local, REASONS).await
}

#[tokio::test]
async fn a_meter_that_somebody_inserts_during_the_run_is_brought_in_line() {
    let site = six_meters().await;
    let reasons = reasons_beside(&site, 33, "(33, 'theirs', true)").await;
    assert_eq!(reasons, json!([]));
    let all = "select id, name, active from meter order by id";
    assert_eq!(rows(&site.local, all).await, rows(&site.remote, all).await);
}

/// With a trigger, rows are locked before they are written, and a refused row is not planned anew.
#[tokio::test]
async fn a_meter_that_somebody_inserts_during_the_run_is_named() {
    let site = six_meters().await;
    site.on_local(
        "create function keep() returns trigger language plpgsql as 'begin return new; end';
         create trigger keep before insert on meter for each row execute function keep()",
    )
    .await;
    for (id, theirs, reason) in [
        (
            33,
            "(33, 'theirs', true)",
            "id \"33\" is taken by meter 33, which somebody inserted during the run: the next run brings it in line (unique index meter_pkey)",
        ),
        (
            35,
            "(34, 'S35', true)",
            "name \"S35\" is taken by meter 34, which is active (unique index serial)",
        ),
    ] {
        let reasons = reasons_beside(&site, id, theirs).await;
        assert_eq!(reasons, json!([{"reason": reason}]));
        let run = site.sync().await;
        if id == 33 {
            assert_eq!(run.outcome, Some(RunOutcome::Succeeded), "{run:#?}");
        }
    }
}

/// Ten meters whose serial numbers move on by one; readings refer to the first three and refuse.
#[tokio::test]
async fn rows_that_wait_for_a_rejected_row_name_the_first_cause() {
    let site = site("name text not null", ", constraint serial unique (name)").await;
    site.on_local("create table reading (id bigint primary key, meter text constraint of_meter references meter (name))")
        .await;
    site.on_remote("insert into meter select n, 7, 'S' || n, true from generate_series(1, 10) n")
        .await;
    site.sync().await;
    site.on_local("insert into reading select n, 'S' || n from generate_series(1, 3) n")
        .await;
    site.on_remote("update meter set name = 'S' || (id % 10 + 1)")
        .await;
    let run = site.sync().await;
    assert_eq!(run.counts.rejected, 10, "{run:#?}");
    let fast = "rows of table reading refer to the old value (foreign key of_meter: FOREIGN KEY (meter) REFERENCES meter(name))";
    let reasons: Vec<_> = (1..=10_i64)
        .map(|id| {
            let holder = id % 10 + 1;
            let reason = match id {
                1..=3 => fast.to_owned(),
                10 => format!(
                    "name \"S1\" is taken by meter 1, which is active (unique index serial); meter 1 keeps it because it was rejected: {fast}"
                ),
                _ => format!(
                    "name \"S{holder}\" is taken by meter {holder}, which is active (unique index serial); meter {holder} keeps it because meter 1 was rejected: {fast}"
                ),
            };
            json!({"reason": reason})
        })
        .collect();
    assert_eq!(rows(&site.local, REASONS).await, json!(reasons));
}

/// The holder was rejected, but was not to give the value up.
#[tokio::test]
async fn a_holder_that_was_to_keep_the_value_is_no_cause() {
    let site = site(
        "name text not null, note text",
        ", constraint serial unique (name), check (note <> 'bad')",
    )
    .await;
    site.on_remote("insert into meter values (1, 7, 'S1', 'x', true), (2, 7, 'S2', 'x', true)")
        .await;
    site.sync().await;
    site.on_remote(
        "update meter set note = 'bad' where id = 1; update meter set name = 'S1' where id = 2",
    )
    .await;
    site.sync().await;
    let reasons = rows(&site.local, REASONS).await;
    assert_eq!(
        reasons[1]["reason"],
        "name \"S1\" is taken by meter 1, which is active (unique index serial)"
    );
}

/// A column of each type that may not be null, with its check, and two values.
const HELD: &[(&str, &str, [&str; 2])] = &[
    ("bigint", "", ["1", "2"]),
    ("smallint", "check (name between 1 and 4)", ["1", "2"]),
    ("numeric(6, 2)", "check (name > 0)", ["1.5", "2.5"]),
    (
        "uuid",
        "",
        [
            "'a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11'",
            "'a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a12'",
        ],
    ),
    ("date", "", ["'2020-01-01'", "'2020-01-02'"]),
    ("char(3)", "", ["'a'", "'b'"]),
    ("varchar(4)", "check (name ~ '^S[0-9]+$')", ["'S1'", "'S2'"]),
    ("text", "check (name in ('a', 'b', 'c'))", ["'a'", "'b'"]),
    ("bytea", "", ["'\\x01'", "'\\x02'"]),
    ("int4range", "", ["'[1,2)'", "'[2,3)'"]),
    ("boolean[]", "", ["'{t}'", "'{f}'"]),
    ("jsonb", "", ["'{\"a\": 1}'", "'{\"a\": 2}'"]),
];

/// Meter 1 is gone, and meter 9 is to get its value.
async fn registered_anew(type_: &str, check: &str, values: [&str; 2]) -> Site {
    let site = site(&format!("name {type_} not null"), "").await;
    site.on_local("create unique index serial on meter (name)")
        .await;
    if !check.is_empty() {
        site.on_local(&format!("alter table meter add {check}"))
            .await;
    }
    let [first, second] = values;
    site.on_remote(&format!(
        "insert into meter values (1, 7, {first}, true), (2, 7, {second}, true)"
    ))
    .await;
    site.sync().await;
    site.on_remote(&format!(
        "delete from meter where id = 1; insert into meter values (9, 7, {first}, true)"
    ))
    .await;
    site
}

async fn assert_statement_frees(site: &Site, case: &str) {
    let run = site.sync().await;
    assert_eq!(run.outcome, Some(RunOutcome::Partial), "{case}: {run:#?}");
    let reasons = rows(&site.local, REASONS).await;
    let reason = reasons[0]["reason"].as_str().expect("a reason");
    let (_, statement) = reason
        .split_once("this statement on the local database frees the value: ")
        .unwrap_or_else(|| panic!("{case}: {reason}"));
    site.on_local(statement).await;
    let run = site.sync().await;
    assert_eq!(run.outcome, Some(RunOutcome::Succeeded), "{case}: {run:#?}");
}

#[tokio::test]
async fn the_statement_that_frees_a_value_can_be_run_whatever_the_type() {
    for (type_, check, values) in HELD {
        let site = registered_anew(type_, check, *values).await;
        assert_statement_frees(&site, &format!("{type_} {check}")).await;
    }
}

/// The number of the meter is no key, and readings refer to it and refuse.
#[tokio::test]
async fn the_statement_for_a_value_that_is_referred_to_runs_once_nothing_refers_to_it() {
    let mut site = site("name text not null", ", unique (name)").await;
    site.reconfigure(&site.settings().with(Setting::Key, "name"));
    site.on_local("create table reading (id bigint primary key, meter bigint references meter)")
        .await;
    site.on_remote("insert into meter values (1, 7, 'S1', true), (2, 7, 'S2', true)")
        .await;
    site.sync().await;
    site.on_local("insert into reading values (1, 1)").await;
    site.on_remote("delete from meter where id = 1; insert into meter values (1, 7, 'S9', true)")
        .await;
    site.sync().await;
    let told = rows(
        &site.local,
        "select reason from meter_sync.meter_sync_rejected",
    )
    .await;
    let reason = told[0]["reason"].as_str().expect("a reason");
    let (_, statement) = reason
        .split_once("frees the value once nothing refers to it: ")
        .unwrap_or_else(|| panic!("{reason}"));
    site.on_local("delete from reading").await;
    site.on_local(statement).await;
    let run = site.sync().await;
    assert_eq!(run.outcome, Some(RunOutcome::Succeeded), "{run:#?}");
}

#[tokio::test]
async fn where_no_value_frees_it_no_statement_is_told() {
    let site = registered_anew("boolean", "check (id <> 9 or name)", ["true", "false"]).await;
    site.sync().await;
    assert_eq!(
        rows(&site.local, REASONS).await,
        json!([{"reason": "name \"true\" is taken by meter 1, which is inactive and gone from the remote (unique index serial); \
            give that meter another value on the local database"}])
    );
}
