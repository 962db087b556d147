//! Errors behind a view or in a query of the settings: the remedy names the query, or the missing grant.

use meter_sync::check::{self, Verdict};
use meter_sync::config::{CommandLineSettings, Setting};
use meter_sync::error::{ErrorCode, Failure};
use meter_sync::model::RunOutcome;

use super::schemas::with_role;
use crate::support::site::{Site, config};

/// What a run and a check say, the check's first failure.
async fn both(site: &mut Site, settings: &CommandLineSettings) -> [Failure; 2] {
    site.reconfigure(settings);
    let run = site.sync().await;
    let found = check::run(&config(settings)).await;
    let mut failed = found.iter().filter_map(|finding| match &finding.verdict {
        Verdict::Failed(failure) => Some(failure.clone()),
        Verdict::Ok(_) | Verdict::Warning(_) => None,
    });
    let failed = failed.next().unwrap_or_else(|| panic!("{found:#?}"));
    [run.error.expect("an error"), failed]
}

#[tokio::test]
async fn a_query_that_fails_is_what_the_remedy_names() {
    let mut site = Site::new().await;
    site.on_remote(
        "insert into meter (id, tenant_id, name) select n, 7, 'M' from generate_series(1, 9) n",
    )
    .await;
    for query in [
        "select * from nosuch",
        "select m.*, n.* from meter m join meter n using (id)",
        "select * from meter; select 1",
        "select * from meter where tenant_id = $1",
        "select id, active from meter",
        "select id, tenant_id, nosuch(name) as name, active from meter",
        "select id, tenant_id, (1 / (id - 3))::text as name, active from meter",
    ] {
        let settings = site.settings().with(Setting::RemoteQuery, query);
        for failure in both(&mut site, &settings).await {
            assert_eq!(
                failure.code,
                ErrorCode::RemoteSchema,
                "{query}: {failure:?}"
            );
            let remedy = &failure.remedy;
            assert!(
                remedy.contains("METER_SYNC_REMOTE_QUERY"),
                "{query}: {remedy}"
            );
            assert!(
                !remedy.contains("METER_SYNC_REMOTE_TABLE"),
                "{query}: {remedy}"
            );
        }
    }
}

#[tokio::test]
async fn a_function_that_the_role_may_not_execute_is_named_with_its_grant() {
    let mut site = Site::new().await;
    site.on_remote(
        "insert into meter (id, tenant_id, name) select n, 7, 'M' from generate_series(1, 9) n",
    )
    .await;
    let url = with_role(
        &site.pair.remote_url,
        &site.remote,
        "create function shown(text) returns text immutable language plpgsql as 'begin return $1; end';
         revoke execute on function shown(text) from public;
         create view seen as select id, tenant_id, shown(name) as name, active from meter;
         grant select on seen, meter to $role",
    )
    .await;
    let of_role = site.settings().with(Setting::RemoteUrl, &url);
    for settings in [
        of_role.clone().with(Setting::RemoteTable, "seen"),
        of_role
            .clone()
            .with(Setting::RemoteQuery, "select * from seen"),
        of_role.with(
            Setting::RemoteQuery,
            "select id, tenant_id, shown(name) as name, active from meter",
        ),
    ] {
        for failure in both(&mut site, &settings).await {
            assert_eq!(failure.code, ErrorCode::RemotePermission, "{failure:?}");
            let grant = "grant execute on function shown to <role>";
            assert!(failure.remedy.contains(grant), "{failure:?}");
        }
    }
    site.on_remote("grant execute on function shown to public")
        .await;
    assert_eq!(site.sync().await.outcome, Some(RunOutcome::Succeeded));
}

#[tokio::test]
async fn a_view_whose_owner_may_not_read_is_told_so() {
    let mut site = Site::new().await;
    site.on_remote(
        "insert into meter (id, tenant_id, name) select n, 7, 'M' from generate_series(1, 9) n",
    )
    .await;
    let owner = format!("owner_{}", std::process::id());
    let url = with_role(
        &site.pair.remote_url,
        &site.remote,
        &format!(
            "drop role if exists {owner}; create role {owner}; create view seen as select * from meter;
             grant usage on schema public to {owner}; alter view seen owner to {owner}; grant select on seen to $role"
        ),
    )
    .await;
    let of_role = site.settings().with(Setting::RemoteUrl, &url);
    let table = of_role.clone().with(Setting::RemoteTable, "public.seen");
    for failure in both(&mut site, &table).await {
        assert_eq!(failure.code, ErrorCode::RemotePermission, "{failure:?}");
        let grant = "grant select on meter to the owner of public.seen";
        assert!(failure.remedy.contains(grant), "{failure:?}");
    }
    let query = of_role.with(Setting::RemoteQuery, "select * from seen");
    for failure in both(&mut site, &query).await {
        assert_eq!(failure.code, ErrorCode::RemotePermission, "{failure:?}");
        let grant = "grant select on meter, which METER_SYNC_REMOTE_QUERY reads";
        assert!(failure.remedy.contains(grant), "{failure:?}");
    }
    site.on_remote(&format!("drop owned by {owner} cascade; drop role {owner}"))
        .await;
}

#[tokio::test]
async fn a_query_may_end_with_a_semicolon_and_comments() {
    let mut site = Site::new().await;
    site.on_remote("insert into meter (id, tenant_id, name) values (1, 7, '; -- M')")
        .await;
    for query in [
        "select * from meter; -- all",
        "select * from meter -- all",
        "select * from meter ; /* of /* all */ tenants */ ; -- the end\n",
        "select m.* from meter m where m.name = $x$; -- M$x$;--",
    ] {
        let settings = site.settings().with(Setting::RemoteQuery, query);
        site.reconfigure(&settings);
        let run = site.sync().await;
        assert!(run.error.is_none(), "{query}: {run:#?}");
        let found = check::run(&config(&settings)).await;
        let is_well = |finding: &check::Finding| !matches!(finding.verdict, Verdict::Failed(_));
        assert!(found.iter().all(is_well), "{query}: {found:#?}");
    }
}

#[tokio::test]
async fn a_remote_name_of_no_table_or_view_is_told_as_such() {
    let mut site = Site::new().await;
    site.on_remote("create sequence numbers").await;
    for name in ["meter_pkey", "numbers"] {
        let settings = site.settings().with(Setting::RemoteTable, name);
        for failure in both(&mut site, &settings).await {
            assert_eq!(failure.code, ErrorCode::RemoteSchema, "{failure:?}");
            let told = format!("{name} is not a table or view");
            assert!(failure.message.contains(&told), "{failure:?}");
        }
    }
}

#[tokio::test]
async fn a_materialized_view_that_holds_nothing_yet_is_to_be_refreshed() {
    let mut site = Site::new().await;
    site.on_remote("create materialized view given as select * from meter with no data")
        .await;
    let settings = site.settings().with(Setting::RemoteTable, "given");
    for failure in both(&mut site, &settings).await {
        assert_eq!(failure.code, ErrorCode::RemoteSchema, "{failure:?}");
        let remedy = &failure.remedy;
        assert!(remedy.contains("refresh materialized view"), "{failure:?}");
    }
}
