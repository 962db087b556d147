//! Functions that a write to the local table calls, which our role may not execute: a check names the grant before
//! a run fails, and so does the run.

use meter_sync::check::{self, Verdict};
use meter_sync::error::ErrorCode;
use meter_sync::model::RunOutcome;

use super::rights::{METERS, failure, verdict, with_roles};
use super::site;
use crate::support::site::config;

/// What the site adds to its table, the object, and the grant that a sync needs then.
const CALLED: &[(&str, &str, &str)] = &[
    (
        "alter table meter add n serial",
        "default of column n",
        "usage on sequence public.meter_n_seq",
    ),
    (
        "create function made() returns text language sql as 'select ''x''::text'; revoke execute on function made() from public;
         alter table meter add n text default made()",
        "default of column n",
        "execute on function public.made()",
    ),
    (
        "create function made(text) returns text immutable language plpgsql as 'begin return $1; end';
         alter table meter add n text generated always as (made(name)) stored; revoke execute on function made(text) from public",
        "generated column n",
        "execute on function public.made(text)",
    ),
    (
        "create function fits(text) returns boolean immutable language plpgsql as 'begin return true; end';
         alter table meter add constraint fitting check (fits(name)); revoke execute on function fits(text) from public",
        "constraint fitting",
        "execute on function public.fits(text)",
    ),
    (
        "create function made(text) returns text immutable language plpgsql as 'begin return $1; end';
         create index on meter (made(name)); revoke execute on function made(text) from public",
        "index meter_made_idx",
        "execute on function public.made(text)",
    ),
    (
        "create function alike(text, integer) returns boolean immutable language plpgsql as 'begin return true; end';
         create operator public.~=~ (leftarg = text, rightarg = integer, function = alike);
         alter table meter add constraint fitting check (name operator(public.~=~) 1); revoke execute on function alike from public",
        "constraint fitting",
        "execute on function public.alike(text,integer)",
    ),
];

#[tokio::test]
async fn what_the_table_calls_without_a_right_of_ours_is_told_with_the_grant() {
    for (adds, what, right) in CALLED {
        let mut site = site("name text", "").await;
        let role = with_roles(&mut site).await;
        site.on_remote(&format!("{METERS}; grant select on meter to {role}"))
            .await;
        site.on_local(&format!(
            "grant select on tenant to {role}; grant select, insert, update on meter to {role}"
        ))
        .await;
        let run = site.sync().await;
        assert_eq!(run.outcome, Some(RunOutcome::Succeeded), "{adds}: {run:#?}");
        site.on_local(adds).await;
        let Verdict::Failed(told) = verdict(&site, &role, "local functions").await else {
            panic!("{adds}: a check should tell that a right is lacking")
        };
        assert_eq!(told.code, ErrorCode::LocalAuth, "{told:?}");
        assert!(told.message.contains(what), "{told:?}");
        let grant = format!("grant {right} to");
        assert!(told.remedy.contains(&grant), "{told:?}");
        site.on_remote("insert into meter values (50, 7, 'new', true); update meter set name = 'new' where id = 3")
            .await;
        let (code, text) = failure(&site.sync().await);
        assert_eq!(code, ErrorCode::LocalAuth, "{text}");
        // The server tells neither schema nor arguments.
        let (right, name) = right.split_once("public.").unwrap();
        let (name, _) = name.split_once('(').unwrap_or((name, ""));
        assert!(text.contains(&format!("grant {right}{name} to")), "{text}");
        site.on_local(&format!("{grant} {role}")).await;
        let run = site.sync().await;
        assert_eq!(run.outcome, Some(RunOutcome::Succeeded), "{adds}: {run:#?}");
    }
}

#[tokio::test]
async fn what_is_not_called_for_rows_of_ours_needs_no_right() {
    let mut site = site("name text", "").await;
    let role = with_roles(&mut site).await;
    site.on_remote(&format!("{METERS}; grant select on meter to {role}"))
        .await;
    // A default of a synced column, an identity, a function of Postgres and one of a trigger.
    site.on_local(&format!(
        "create function made() returns text language sql as 'select ''x''::text'; revoke execute on function made() from public;
         create function touched() returns trigger language plpgsql as 'begin return new; end'; revoke execute on function touched() from public;
         create trigger touched before update on meter for each row execute function touched();
         alter table meter alter name set default made(), add n bigint generated always as identity, add at timestamptz default now(),
             add check (length(name) < 100);
         grant select on tenant to {role}; grant select, insert, update on meter to {role}"
    ))
    .await;
    let settings = site.settings().with(
        meter_sync::config::Setting::LocalUrl,
        super::table_reloads::as_role(&site.pair.local_url, &role),
    );
    let findings = check::run(&config(&settings)).await;
    let is_told = findings
        .iter()
        .any(|finding| finding.subject == "local functions");
    assert!(!is_told, "{findings:#?}");
    let run = site.sync().await;
    assert_eq!(run.outcome, Some(RunOutcome::Succeeded), "{run:#?}");
}

#[tokio::test]
async fn what_the_policies_of_the_local_table_call_and_read_is_told_with_the_grant() {
    for (makes, policy, right) in [
        (
            "create function mine() returns boolean language plpgsql stable as 'begin return true; end';
             revoke execute on function mine() from public",
            "using (mine())",
            "execute on function public.mine()",
        ),
        (
            "create function fits(text) returns boolean language plpgsql stable as 'begin return true; end';
             revoke execute on function fits(text) from public",
            "using (true) with check (fits(name))",
            "execute on function public.fits(text)",
        ),
        (
            "create table \"Places\" (name text); insert into \"Places\" values ('name'), ('new')",
            "using (exists (select from \"Places\" p where p.name = meter.name))",
            "select on table public.\"Places\"",
        ),
    ] {
        let mut site = site("name text", "").await;
        let role = with_roles(&mut site).await;
        site.on_remote(&format!("{METERS}; grant select on meter to {role}"))
            .await;
        // A policy for other roles, and one for what a sync never does, call nothing of ours.
        site.on_local(&format!(
            "{makes}; create function other() returns boolean language plpgsql as 'begin return true; end';
             revoke execute on function other() from public; alter table meter enable row level security;
             create policy ours on meter to {role} {policy}; create policy others on meter to postgres using (other());
             create policy deletes on meter for delete using (other());
             grant select on tenant to {role}; grant select, insert, update on meter to {role}"
        ))
        .await;
        let Verdict::Failed(told) = verdict(&site, &role, "local functions").await else {
            panic!("{policy}: a check should tell that a right is lacking")
        };
        assert_eq!(told.code, ErrorCode::LocalAuth, "{told:?}");
        assert!(told.message.contains("policy ours needs it"), "{told:?}");
        assert!(!told.message.contains("other"), "{told:?}");
        let grant = format!("grant {right} to");
        assert!(told.remedy.contains(&grant), "{told:?}");
        let (code, text) = failure(&site.sync().await);
        assert_eq!(code, ErrorCode::LocalAuth, "{policy}: {text}");
        site.on_local(&format!("{grant} {role}")).await;
        let run = site.sync().await;
        assert_eq!(run.outcome, Some(RunOutcome::Succeeded), "{policy}: {run:#?}");
        site.on_local("alter table meter disable row level security")
            .await;
    }
}

#[tokio::test]
async fn what_a_policy_of_the_remote_table_calls_is_told_with_the_grant() {
    let mut site = site("name text", "").await;
    let role = with_roles(&mut site).await;
    site.on_remote(&format!(
        "create function mine() returns boolean language plpgsql stable as 'begin return true; end';
         revoke execute on function mine() from public; alter table meter enable row level security;
         create policy ours on meter using (mine()); grant select on meter to {role}"
    ))
    .await;
    site.on_local(&format!(
        "grant select on tenant to {role}; grant select, insert, update on meter to {role}"
    ))
    .await;
    let Verdict::Failed(told) = verdict(&site, &role, "remote meters").await else {
        panic!("a check should tell that a right is lacking")
    };
    assert_eq!(told.code, ErrorCode::RemotePermission, "{told:?}");
    let grant = "grant execute on function mine to";
    assert!(told.remedy.contains(grant), "{told:?}");
}
