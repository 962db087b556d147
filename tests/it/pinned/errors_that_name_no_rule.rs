//! Rejected rows whose error does not name the rule: each rule of the table is evaluated to find the one that
//! raised it.

use std::time::{Duration, Instant};

use meter_sync::config::Setting;
use meter_sync::mirrors::RunRequest;
use meter_sync::model::{RunOutcome, RunTrigger};
use meter_sync::reports::run_report::RunReport;
use serde_json::json;

use super::site;
use crate::support::site::{Site, finish, mirror, rows};

const REASONS: &str = "select distinct reason from meter_sync.meter_sync_rejected";

/// A site whose role may write the rows that meet the condition, and meters that do not meet it.
async fn guarded(condition: &str, local: &str) -> (Site, RunReport) {
    let site = site("name integer", "").await;
    let (_, database) = site.pair.local_url.rsplit_once('/').expect("a database");
    let role = format!("writer_of_{database}");
    site.on_local(&format!(
        "drop role if exists {role}; create role {role} login;
         grant create on database {database} to {role}; grant all on meter, tenant to {role};
         alter table meter enable row level security;
         create policy readable on meter for select to {role} using (true);
         create policy writable on meter to {role} using (true) with check ({condition});
         {local}"
    ))
    .await;
    site.on_remote("insert into meter select n, 7, 0, true from generate_series(1, 20) n")
        .await;
    let url = site
        .pair
        .local_url
        .replace("postgres@", &format!("{role}@"));
    let settings = site
        .settings()
        .with(Setting::LocalUrl, url)
        .with(Setting::StatementTimeout, "1s");
    let run = finish(&mirror(&settings), RunRequest::new(RunTrigger::Cli)).await;
    (site, run)
}

#[tokio::test]
async fn a_rule_that_takes_too_long_to_evaluate_fails_no_run() {
    let asked = Instant::now();
    let (site, run) = guarded(
        "10 / name > 0",
        "create function slow(integer) returns boolean language plpgsql as $$ begin perform pg_sleep(30); return true; end $$;
         alter table meter add constraint a check (slow(name)), add constraint b check (slow(name + 1))",
    )
    .await;
    assert_eq!(run.outcome, Some(RunOutcome::Partial), "{run:#?}");
    assert_eq!(
        rows(&site.local, REASONS).await,
        json!([{"reason": "division by zero"}])
    );
    // No other rule was tried after the first one that took too long.
    let took = asked.elapsed();
    assert!(took < Duration::from_secs(15), "{took:?}");
}

/// Counts the statements that evaluate the check: what sequences hold is not rolled back.
const TALLY: &str = "
    create sequence statements; create sequence last;
    create function tally(integer) returns boolean language plpgsql security definer as $$
        declare now bigint := extract(epoch from statement_timestamp()) * 1000000;
        begin
            if (select last_value from last) <> now then perform setval('last', now), nextval('statements'); end if;
            return true;
        end $$;
    alter table meter add constraint a check (tally(name)), add constraint b check (tally(name + 1)), add constraint c check (tally(name + 2))";

async fn statements(site: &Site) -> i64 {
    let count = "select case when is_called then last_value else 0 end from statements";
    site.local
        .query_one(count, &[])
        .await
        .expect("a count")
        .get(0)
}

#[tokio::test]
async fn rules_that_raise_nothing_take_a_statement_each_and_not_one_a_row() {
    let (site, run) = guarded("10 / name > 0", TALLY).await;
    assert_eq!(run.counts.rejected, 20, "{run:#?}");
    assert_eq!(statements(&site).await, 3);
}

/// However many rows there are: the limit of rejected rows is the only one.
#[tokio::test]
async fn the_rule_is_named_for_every_row() {
    const EACH: &str =
        "select reason, count(*) as rows from meter_sync.meter_sync_rejected group by 1 order by 1";
    let site = site("name integer, port integer", "").await;
    site.on_local(
        "create index parts on meter ((10 / name)); alter table meter add constraint part check (10 / port > -100)",
    )
    .await;
    site.on_remote(
        "insert into meter select n, 7, (n > 300)::integer, (n <= 300)::integer, true from generate_series(1, 700) n;
         insert into meter select n, 7, 1, 1, true from generate_series(701, 900) n",
    )
    .await;
    let run = site.sync().await;
    assert_eq!(
        (run.counts.inserted, run.counts.rejected),
        (200, 700),
        "{run:#?}"
    );
    let expected = json!([
        {"reason": "name \"0\": index parts cannot be evaluated: division by zero: ((10 / name))", "rows": 300},
        {"reason": "port \"0\": constraint part cannot be evaluated: division by zero: CHECK (((10 / port) > '-100'::integer))", "rows": 400},
    ]);
    assert_eq!(rows(&site.local, EACH).await, expected);
}

/// A session serves many runs, and no function of ours stays in it.
#[tokio::test]
async fn the_rule_is_named_in_each_run() {
    let site = site("name integer", "").await;
    site.on_local("create index parts on meter ((10 / name))")
        .await;
    site.on_remote("insert into meter select n, 7, 0, true from generate_series(1, 3) n")
        .await;
    for _ in 0..6 {
        let run = site.sync().await;
        assert_eq!(run.counts.rejected, 3, "{run:#?}");
        let left = "select proname from pg_proc where proname like 'meter_sync%'";
        assert_eq!(rows(&site.local, left).await, json!([]));
    }
    let reason = "name \"0\": index parts cannot be evaluated: division by zero: ((10 / name))";
    assert_eq!(
        rows(&site.local, REASONS).await,
        json!([{"reason": reason}])
    );
}

#[tokio::test]
async fn for_a_row_that_row_security_refuses_no_rule_is_evaluated() {
    let (site, run) = guarded("name <> 0", TALLY).await;
    assert_eq!(run.counts.rejected, 20, "{run:#?}");
    assert_eq!(statements(&site).await, 0);
    let reason = "new row violates row-level security policy for table \"meter\"";
    assert_eq!(
        rows(&site.local, REASONS).await,
        json!([{"reason": reason}])
    );
}

/// A rule that does not take the meter 1 once it is inactive, and what is told of it.
const ONCE_INACTIVE: &[(&str, &str)] = &[
    (
        "alter table meter add constraint kept check (active or name <> 1)",
        "active \"false\", name \"1\": breaks constraint kept: CHECK ((active OR (name <> 1)))",
    ),
    (
        "alter table meter add constraint part check (active or 10 / (name - 1) > 0)",
        "name \"1\", active \"false\": constraint part cannot be evaluated: division by zero: CHECK ((active OR ((10 / (name - 1)) > 0)))",
    ),
    (
        "create index parts on meter ((10 / (name - 1))) where not active",
        "name \"1\", active \"false\": index parts cannot be evaluated: division by zero: ((10 / (name - 1)))",
    ),
    (
        "alter table meter add part integer generated always as (case when not active then 10 / (name - 1) end) stored",
        "name \"1\", active \"false\": generated column part cannot be evaluated: division by zero: \nCASE\n    WHEN (NOT active) THEN (10 / (name - 1))\n    ELSE NULL::integer\nEND",
    ),
];

#[tokio::test]
async fn the_rule_that_keeps_a_meter_from_being_deactivated_is_named() {
    for (rule, reason) in ONCE_INACTIVE {
        let site = site("name integer", "").await;
        site.on_local(rule).await;
        site.on_remote("insert into meter select n, 7, n, true from generate_series(1, 50) n")
            .await;
        site.sync().await;
        site.on_remote("delete from meter where id in (1, 2)").await;
        let run = site.sync().await;
        assert_eq!(
            (run.counts.deactivated, run.counts.rejected),
            (1, 1),
            "{rule}: {run:#?}"
        );
        assert_eq!(
            rows(&site.local, REASONS).await,
            json!([{"reason": reason}]),
            "{rule}"
        );
    }
}
