//! Servers that lack functions of Postgres, or deny them to the role: a run does without them, or says what it needs.

use meter_sync::check::{self, Finding, Verdict};
use meter_sync::config::Setting;
use meter_sync::error::{ErrorCode, Failure};
use meter_sync::model::RunOutcome;
use serde_json::json;

use crate::citus::lost_nodes::received;
use crate::support::site::{LOCAL_SCHEMA, REMOTE_SCHEMA, Site, config, rows};

const METERS: &str = "
    insert into meter (id, tenant_id, name) select n, 7, 'meter ' || n from generate_series(1, 30) n";

/// The functions that a run can do without, each with the kind of its object.
const OPTIONAL: [(&str, &str); 6] = [
    ("function", "hashint4extended(integer, bigint)"),
    ("function", "hashtidextended(tid, bigint)"),
    ("aggregate", "bit_xor(bigint)"),
    ("function", "age(xid)"),
    ("function", "pg_current_snapshot()"),
    ("function", "pg_snapshot_xmin(pg_snapshot)"),
];

/// How a database comes to lack a function: it is not there, or the role may not call it.
#[derive(Clone, Copy, Debug)]
enum Lack {
    Missing,
    Denied,
}

impl Lack {
    /// Statements that apply to one database alone.
    fn sql(self, kind: &str, function: &str) -> String {
        match self {
            Self::Missing => format!("alter {kind} pg_catalog.{function} rename to is_elsewhere"),
            Self::Denied => format!("revoke execute on function pg_catalog.{function} from public"),
        }
    }
}

/// A site whose program connects with a role that owns nothing but what it needs.
async fn site() -> Site {
    let mut site = Site::with_schemas(REMOTE_SCHEMA, LOCAL_SCHEMA).await;
    let role = |url: &str| {
        let (_, rest) = url.split_once('@').expect("a URL with a role");
        format!("postgres://lacking:lacking@{rest}")
    };
    let make = "do $$ begin
            create role lacking login password 'lacking';
        exception when duplicate_object or unique_violation then null; end $$;
        grant select on all tables in schema public to lacking";
    site.on_remote(make).await;
    site.on_local(make).await;
    site.on_local(
        "grant insert, update on meter to lacking;
         do $$ begin execute format('grant create on database %I to lacking', current_database()); end $$",
    )
    .await;
    let settings = site
        .settings()
        .with(Setting::RemoteUrl, role(&site.pair.remote_url))
        .with(Setting::LocalUrl, role(&site.pair.local_url));
    site.reconfigure(&settings);
    site.on_remote(METERS).await;
    let first = site.sync().await;
    assert_eq!(first.counts.inserted, 30, "{first:#?}");
    site
}

async fn findings(site: &Site) -> Vec<Finding> {
    let (_, rest) = site.pair.local_url.split_once('@').expect("a role");
    let local = format!("postgres://lacking:lacking@{rest}");
    let (_, rest) = site.pair.remote_url.split_once('@').expect("a role");
    let remote = format!("postgres://lacking:lacking@{rest}");
    let settings = site
        .settings()
        .with(Setting::RemoteUrl, remote)
        .with(Setting::LocalUrl, local);
    check::run(&config(&settings)).await
}

/// What the check says of a subject, if anything.
fn verdict_on(findings: &[Finding], subject: &str) -> Option<Verdict> {
    let found = findings.iter().find(|finding| finding.subject == subject);
    found.map(|finding| finding.verdict.clone())
}

/// Changes, a meter that is gone, and one that is back: each is brought over.
async fn assert_syncs(site: &Site, what: &str) {
    for change in [
        "select",
        "update meter set name = name || '!' where id in (3, 4)",
        "delete from meter where id = 5",
        "select",
        "insert into meter (id, tenant_id, name) values (5, 7, 'meter 5')",
    ] {
        site.on_remote(change).await;
        let run = site.sync().await;
        let outcome = run.outcome;
        assert!(
            [Some(RunOutcome::Succeeded), Some(RunOutcome::NoChange)].contains(&outcome),
            "{what}, {change}: {run:#?}"
        );
        let columns = "select id::text, name from meter where active order by name";
        assert_eq!(
            rows(&site.local, columns).await,
            rows(&site.remote, columns).await,
            "{what}, {change}"
        );
    }
}

#[tokio::test]
async fn a_run_does_without_functions_that_a_server_lacks_or_denies() {
    for lack in [Lack::Missing, Lack::Denied] {
        for (kind, function) in OPTIONAL {
            let on_local = site().await;
            on_local.on_local(&lack.sql(kind, function)).await;
            assert_syncs(&on_local, &format!("local, {lack:?} {function}")).await;
            let on_remote = site().await;
            on_remote.on_remote(&lack.sql(kind, function)).await;
            assert_syncs(&on_remote, &format!("remote, {lack:?} {function}")).await;
            let found = findings(&on_remote).await;
            let said = verdict_on(&found, "remote server functions");
            let name = function.replace(", ", ",");
            assert!(
                matches!(&said, Some(Verdict::Warning(text)) if text.contains(&name)),
                "{found:#?}"
            );
        }
    }
}

/// The function is gone after the first run, which would have refused.
#[tokio::test]
async fn a_run_without_a_needed_function_is_refused_with_a_sentence() {
    const NO_LOCKS: &str = "lacks the advisory locks of Postgres";
    const NO_FUNCTION: &str = "lacks the function";
    for (function, remedy) in [
        ("pg_try_advisory_xact_lock(bigint)", NO_LOCKS),
        ("pg_advisory_xact_lock(bigint)", NO_LOCKS),
        ("hashtextextended(text,bigint)", NO_FUNCTION),
        ("record_image_ne(record,record)", NO_FUNCTION),
    ] {
        let site = site().await;
        site.on_local(&Lack::Missing.sql("function", function))
            .await;
        site.on_remote("update meter set name = 'changed' where id = 3")
            .await;
        let run = site.sync().await;
        let error = run.error.expect("an error");
        assert_eq!(error.code, ErrorCode::LocalSchema, "{error:?}");
        let (name, _) = function.split_once('(').expect("arguments");
        assert!(error.message.contains(name), "{error:?}");
        assert!(error.remedy.contains(remedy), "{error:?}");
        let said = verdict_on(&findings(&site).await, "local server functions");
        assert!(
            matches!(&said, Some(Verdict::Failed(failure)) if failure.message.contains(function)),
            "{said:#?}"
        );
    }
}

/// Takes the system column away from the meters, and from the table by which the check tells whether the server has it.
const WITHOUT_XMIN: &str = "delete from pg_attribute
    where attname = 'xmin' and attrelid in ('meter'::regclass, 'pg_class'::regclass)";

#[tokio::test]
async fn a_run_does_without_xmin_on_the_remote() {
    let site = site().await;
    site.on_remote(WITHOUT_XMIN).await;
    let read = site.remote.batch_execute("select xmin from meter").await;
    assert!(read.is_err(), "the column is still there");
    assert_syncs(&site, "remote without xmin").await;
    let said = verdict_on(&findings(&site).await, "remote server functions");
    assert!(
        matches!(&said, Some(Verdict::Warning(text)) if text.contains("the column xmin")),
        "{said:#?}"
    );
}

#[tokio::test]
async fn a_run_without_local_xmin_is_refused_with_a_sentence() {
    let site = site().await;
    site.on_local(WITHOUT_XMIN).await;
    site.on_remote("update meter set name = 'changed' where id = 3")
        .await;
    let run = site.sync().await;
    let error = run.error.expect("an error");
    assert_eq!(error.code, ErrorCode::LocalSchema, "{error:?}");
    assert!(error.remedy.contains("xmin"), "{error:?}");
    let changed = rows(&site.local, "select id from meter where name = 'changed'").await;
    assert_eq!(changed, json!([]));
    let said = verdict_on(&findings(&site).await, "local server functions");
    assert!(
        matches!(&said, Some(Verdict::Failed(failure)) if failure.message.contains("the column xmin")),
        "{said:#?}"
    );
}

/// What the program does on a server that has never seen it.
async fn first_run(site: &mut Site, local: &str) -> Failure {
    site.on_local("drop schema meter_sync cascade; delete from meter")
        .await;
    site.on_local(local).await;
    let run = site.sync().await;
    let meters = rows(&site.local, "select count(*) as n from meter").await;
    assert_eq!(meters, json!([{"n": 0}]), "{run:#?}");
    let schema = "select to_regnamespace('meter_sync') is null as is_missing";
    assert_eq!(
        rows(&site.local, schema).await,
        json!([{"is_missing": true}])
    );
    run.error.expect("an error")
}

#[tokio::test]
async fn the_first_run_finds_out_what_the_local_server_lacks() {
    for function in [
        "pg_try_advisory_xact_lock(bigint)",
        "pg_advisory_xact_lock(bigint)",
        "hashtextextended(text,bigint)",
        "record_image_ne(record,record)",
        "record_image_eq(record,record)",
    ] {
        for lack in [Lack::Missing, Lack::Denied] {
            let mut site = site().await;
            let error = first_run(&mut site, &lack.sql("function", function)).await;
            assert_eq!(error.code, ErrorCode::LocalSchema, "{error:?}");
            assert!(error.message.contains(function), "{error:?}");
        }
    }
    let mut site = site().await;
    let error = first_run(&mut site, WITHOUT_XMIN).await;
    assert!(error.message.contains("the column xmin"), "{error:?}");
}

#[tokio::test]
async fn advisory_locks_without_an_effect_are_found_out() {
    let mut site = site().await;
    let error = first_run(
        &mut site,
        "alter function pg_catalog.pg_try_advisory_xact_lock(bigint) rename to is_elsewhere;
         create function pg_catalog.pg_try_advisory_xact_lock(bigint) returns boolean
             language sql as 'select true'",
    )
    .await;
    assert_eq!(error.code, ErrorCode::LocalSchema, "{error:?}");
    assert!(error.message.contains("have no effect"), "{error:?}");
    let said = verdict_on(&findings(&site).await, "local server functions");
    assert!(
        matches!(&said, Some(Verdict::Failed(failure)) if failure.message.contains("have no effect")),
        "{said:#?}"
    );
}

#[tokio::test]
async fn of_a_server_that_has_all_nothing_is_said() {
    let site = site().await;
    let found = findings(&site).await;
    let subjects: Vec<&str> = found
        .iter()
        .map(|finding| finding.subject.as_str())
        .collect();
    assert!(
        !subjects
            .iter()
            .any(|subject| subject.ends_with("server functions")),
        "{subjects:?}"
    );
    assert_eq!(
        rows(&site.local, "select count(*) as n from meter").await,
        json!([{"n": 30}])
    );
}

/// A run then fails, and a sweep fails once, whatever language the server speaks.
#[tokio::test]
async fn only_a_denied_function_is_done_without_and_never_a_denied_table() {
    for (message, is_done_without) in [
        ("permission denied for function hashtextextended", true),
        ("permission denied for aggregate bit_xor", true),
        ("permission denied for table meter", false),
        ("keine Berechtigung f\u{fc}r Tabelle meter", false),
    ] {
        let error = received(["42501", "aclchk.c", message]).await;
        assert_eq!(error.is_not_computable(), is_done_without, "{message}");
    }
}
