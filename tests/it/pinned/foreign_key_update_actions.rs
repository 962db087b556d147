//! Foreign keys to the meters that act on an update, and what is made on the local table, or comes to refer to it, in a run.

use std::time::Duration;

use meter_sync::mirrors::{RunHandle, RunRequest, RunRequestOutcome};
use meter_sync::model::{RunOutcome, RunTrigger};
use meter_sync::reports::run_report::RunReport;
use serde_json::Value;
use tokio_postgres::Client;

use super::site;
use crate::support::postgres::connect;
use crate::support::site::{Site, rows};
use crate::support::wait::until;

const PATIENCE: Duration = Duration::from_secs(60);

/// Both sides hold the same, and the next run finds nothing to do.
async fn assert_in_sync(site: &Site, what: &str) {
    let all = "select to_jsonb(m.*) - 'tenant_id' as meter from meter m order by id";
    let (here, there) = (rows(&site.local, all).await, rows(&site.remote, all).await);
    assert_eq!(here, there, "{what}");
    let next = site.sync().await;
    assert_eq!(
        next.outcome,
        Some(RunOutcome::NoChange),
        "{what}: {next:#?}"
    );
}

#[tokio::test]
async fn meters_that_refer_to_meters_end_as_the_remote_has_them() {
    for action in ["cascade", "set null", "set default"] {
        for (what, change) in [
            (
                "the value passes on",
                "update meter set serial = 'T1' where id = 1; update meter set serial = 'S1' where id = 2",
            ),
            (
                "two are exchanged",
                "update meter set serial = case id when 1 then 'S2' else 'S1' end where id in (1, 2)",
            ),
            (
                "nobody takes the value",
                "update meter set serial = 'T1' where id = 1; update meter set parent = 'T1' where id = 5",
            ),
        ] {
            let refers = format!(
                ", unique (serial), foreign key (parent) references meter (serial) on update {action}"
            );
            let site = site("name text, serial text, parent text", &refers).await;
            site.on_remote(
                "insert into meter select n, 7, 'n' || n, 'S' || n, case n when 5 then 'S1' end, true
                 from generate_series(1, 8) n",
            )
            .await;
            site.sync().await;
            site.on_remote(&format!(
                "{change}; update meter set name = 'new' where id = 5"
            ))
            .await;
            let run = site.sync().await;
            let what = format!("{action}, {what}");
            assert_eq!(run.outcome, Some(RunOutcome::Succeeded), "{what}: {run:#?}");
            assert_in_sync(&site, &what).await;
        }
    }
}

#[tokio::test]
async fn what_a_trigger_of_a_referring_table_writes_is_found() {
    let site = site("name text, serial text", ", unique (serial)").await;
    site.on_remote(
        "insert into meter select n, 7, 'n' || n, 'S' || n, true from generate_series(1, 8) n",
    )
    .await;
    site.on_local(
        "create table reading (meter text references meter (serial) on update cascade);
         create function shout() returns trigger language plpgsql as
             $$ begin update meter set name = upper(name) where serial = new.meter; return null; end $$;
         create trigger shouts after update on reading for each row execute function shout()",
    )
    .await;
    site.sync().await;
    site.on_local("insert into reading select 'S' || n from generate_series(1, 8) n")
        .await;
    site.on_remote("update meter set serial = 'T1' where id = 1")
        .await;
    let run = site.sync().await;
    let warning = run.warning.clone().unwrap_or_default();
    assert!(warning.contains("name"), "{run:#?}");
    let next = site.sync().await;
    assert_eq!(
        next.counts.updated, 1,
        "it does not pass for equal: {next:#?}"
    );
}

async fn start(site: &Site) -> RunHandle {
    match site.mirror.request(RunRequest::new(RunTrigger::Cli)).await {
        Ok(RunRequestOutcome::Started(ticket)) => ticket,
        other => panic!("no run: {other:?}"),
    }
}

/// Waits until the run waits for what this session holds.
async fn is_waited_for(site: &Site, session: &Client) {
    let pid = session.query_one("select pg_backend_pid()", &[]).await;
    let pid: i32 = pid.expect("a number").get(0);
    let blocked =
        "select exists (select from pg_stat_activity where $1 = any (pg_blocking_pids(pid)))";
    until("the run waits", async || {
        let row = site.local.query_one(blocked, &[&pid]).await;
        row.expect("an answer").get(0)
    })
    .await;
}

#[tokio::test]
async fn a_trigger_that_is_made_during_a_run_is_told_of() {
    for first_load in [false, true] {
        let site = site("name text", "").await;
        site.on_local(
            "create function shout() returns trigger language plpgsql as
                 $$ begin new.name := upper(new.name); return new; end $$",
        )
        .await;
        if !first_load {
            site.sync().await;
        }
        site.on_remote("insert into meter values (1, 7, 'one', true), (2, 7, 'two', true)")
            .await;
        if !first_load {
            site.sync().await;
            site.on_remote("update meter set name = 'new' where id = 1")
                .await;
        }
        let maker = connect(&site.pair.local_url).await;
        let lock = "begin; lock table meter in share mode";
        maker.batch_execute(lock).await.expect("lock the meters");
        let mut ticket = start(&site).await;
        is_waited_for(&site, &maker).await;
        let make = "create trigger shouts before insert or update on meter for each row execute function shout(); commit";
        maker.batch_execute(make).await.expect("make a trigger");
        let run = ticket.wait(PATIENCE).await;
        let warning = run.warning.clone().unwrap_or_default();
        assert!(
            warning.contains("name"),
            "first load {first_load}: {run:#?}"
        );
        let next = site.sync().await;
        assert!(
            next.counts.updated > 0,
            "first load {first_load}: {next:#?}"
        );
    }
}

/// Meters with a reading each, whose foreign key acts so.
async fn with_readings(meters: i32, action: &str) -> Site {
    let site = site("serial text", ", unique (serial)").await;
    site.on_remote(&format!(
        "insert into meter select n, 7, 'S' || n, true from generate_series(1, {meters}) n"
    ))
    .await;
    site.on_local(&format!(
        "create table reading (id bigint primary key, meter text references meter (serial) on update {action})"
    ))
    .await;
    site.sync().await;
    site.on_local(&format!(
        "insert into reading select n, 'S' || n from generate_series(1, {meters}) n"
    ))
    .await;
    site
}

/// A run while a session enters a reading, which it commits once the run waits for it.
async fn while_one_is_entered(site: &Site, serial: &str) -> RunReport {
    let enters = connect(&site.pair.local_url).await;
    let insert = format!("begin; insert into reading values (100, '{serial}')");
    enters
        .batch_execute(&insert)
        .await
        .expect("enter a reading");
    let mut ticket = start(site).await;
    is_waited_for(site, &enters).await;
    enters.batch_execute("commit").await.expect("commit");
    ticket.wait(PATIENCE).await
}

async fn reading(site: &Site, id: i64) -> Value {
    let sql = format!("select meter from reading where id = {id}");
    rows(&site.local, &sql).await[0]["meter"].clone()
}

#[tokio::test]
async fn a_reading_that_comes_during_an_exchange_keeps_its_meter() {
    for action in ["cascade", "set null", "set default"] {
        let site = with_readings(3, action).await;
        site.on_remote(
            "update meter set serial = case id when 1 then 'S2' else 'S1' end where id in (1, 2)",
        )
        .await;
        let run = while_one_is_entered(&site, "S1").await;
        assert_eq!(
            run.outcome,
            Some(RunOutcome::Succeeded),
            "{action}: {run:#?}"
        );
        assert_eq!(reading(&site, 100).await, "S2", "{action}");
        assert_eq!(reading(&site, 1).await, "S2", "{action}");
        assert_in_sync(&site, action).await;
    }
}

#[tokio::test]
async fn a_reading_that_comes_while_its_meter_gives_the_value_up_keeps_it() {
    for action in ["cascade", "set null"] {
        let site = with_readings(3, action).await;
        site.on_local("delete from reading where id = 1").await;
        site.on_remote(
            "delete from meter where id = 1; insert into meter values (9, 7, 'S1', true)",
        )
        .await;
        let run = while_one_is_entered(&site, "S1").await;
        assert_eq!(reading(&site, 100).await, "S1", "{action}: {run:#?}");
        assert_eq!(run.outcome, Some(RunOutcome::Partial), "{action}: {run:#?}");
    }
}

#[tokio::test]
async fn what_refers_to_a_chain_is_told_by_the_chain_and_not_by_the_order_of_its_rows() {
    for action in ["set null", "set default"] {
        // Of a chain one value passes to nobody, and what refers to it does what the foreign key says.
        for (what, change, passes_to_nobody) in [
            ("up", "update meter set serial = 'S' || id + 1", Some(1)),
            ("down", "update meter set serial = 'S' || id - 1", Some(10)),
            (
                "in a ring",
                "update meter set serial = 'S' || id % 10 + 1",
                None,
            ),
        ] {
            let what = format!("{action}, {what}");
            let site = with_readings(10, action).await;
            site.on_remote(change).await;
            let run = site.sync().await;
            assert_eq!(run.outcome, Some(RunOutcome::Succeeded), "{what}: {run:#?}");
            let serials = column(&site, "select serial from meter order by id").await;
            let expected = (1..)
                .zip(serials)
                .map(|(n, serial)| match passes_to_nobody {
                    Some(end) if end == n => Value::Null,
                    Some(_) | None => serial,
                });
            let readings = column(&site, "select meter from reading order by id").await;
            assert_eq!(readings, expected.collect::<Vec<_>>(), "{what}");
        }
    }
}

/// The single column of the rows of a query.
async fn column(site: &Site, sql: &str) -> Vec<Value> {
    let found = rows(&site.local, sql).await;
    let found = found.as_array().expect("rows").iter();
    let first = found.map(|row| row.as_object().and_then(|row| row.values().next()).cloned());
    first.map(|value| value.expect("a column")).collect()
}
