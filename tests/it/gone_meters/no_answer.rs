//! A remote that does not say where meters went keeps no run from going on.

use std::time::{Duration, Instant};

use meter_sync::config::Setting;
use meter_sync::model::RunOutcome;
use serde_json::json;

use super::{METERS, MOVES, approve, logged, read_as_role, told};
use crate::support::proxy::{Fault, Proxy};
use crate::support::site::Site;

/// A site whose remote shows other tenants' rows through this function.
async fn site_with_policy(body: &str) -> Site {
    let mut site = Site::new().await;
    site.on_remote(METERS).await;
    let rights = format!(
        "create function look() returns boolean language plpgsql as $look$ begin {body} end $look$;
         grant select on meter to $role; alter table meter enable row level security;
         create policy seen on meter using (case when tenant_id = 7 then true else look() end)"
    );
    read_as_role(&mut site, &rights).await;
    let run = site.sync().await;
    assert_eq!(run.outcome, Some(RunOutcome::Succeeded), "{run:#?}");
    site.on_remote(MOVES).await;
    site
}

#[tokio::test]
async fn a_remote_that_fails_or_takes_long_is_not_waited_for() {
    for body in [
        "raise exception 'no';",
        "perform pg_sleep(30); return true;",
    ] {
        let site = site_with_policy(body).await;
        let began = Instant::now();
        let (refused, words) = told(&site).await;
        assert_eq!(words, "", "{body}");
        assert!(began.elapsed() < Duration::from_secs(15), "{body}");
        let run = approve(&site, &refused).await;
        assert_eq!(run.counts.deactivated, 9, "{body}");
        assert_eq!(logged(&site, &run).await[0], json!(null), "{body}");
        let again = site.sync().await;
        assert_eq!(again.outcome, Some(RunOutcome::NoChange), "{again:#?}");
    }
}

#[tokio::test]
async fn a_function_that_the_remote_role_may_not_execute_is_no_obstacle() {
    let mut site = Site::new().await;
    site.on_remote(METERS).await;
    let rights = "grant select on meter to $role;
        revoke execute on function pg_catalog.generate_series(integer, integer) from public";
    read_as_role(&mut site, rights).await;
    site.sync().await;
    site.on_remote(MOVES).await;
    let (refused, words) = told(&site).await;
    assert_eq!(words, "");
    assert_eq!(approve(&site, &refused).await.counts.deactivated, 9);
}

#[tokio::test]
async fn more_meters_than_are_asked_about_are_said_to_be_more() {
    let site = Site::new().await;
    site.on_remote(
        "insert into meter (id, tenant_id, name) select n, 7, 'm' from generate_series(1, 12000) n",
    )
    .await;
    site.sync().await;
    site.on_remote("update meter set tenant_id = 9 where id <= 11000")
        .await;
    let (_, words) = told(&site).await;
    assert_eq!(
        words,
        "Of those gone, 10000 were asked about: 10000 moved to tenant 9."
    );
}

/// The question, as the line to the remote sees it.
const QUESTION: &[&str] = &["ask where missing meters went"];

#[tokio::test]
async fn a_line_that_breaks_or_stalls_at_the_question_ends_no_run() {
    for fault in [
        Fault::CutBefore(QUESTION),
        Fault::LoseReply(QUESTION),
        Fault::StallAt(QUESTION),
    ] {
        let mut site = Site::new().await;
        site.on_remote(METERS).await;
        let (line, url) = Proxy::before(&site.pair.remote_url).await;
        let settings = site.settings().with(Setting::RemoteUrl, url);
        site.reconfigure(&settings);
        site.sync().await;
        site.on_remote(MOVES).await;
        line.set(fault);
        let (refused, words) = told(&site).await;
        assert_eq!((words.as_str(), line.struck()), ("", 1), "{fault:?}");
        line.set(Fault::None);
        let run = approve(&site, &refused).await;
        assert_eq!(run.counts.deactivated, 9, "{fault:?}");
        assert_eq!(logged(&site, &run).await[8], json!("deleted"), "{fault:?}");
    }
}
