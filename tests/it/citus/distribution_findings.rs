//! What `meter-sync check` says of a table that Citus distributes, and which distributions a run refuses.

use meter_sync::check::{self, Finding, Verdict};
use meter_sync::config::Setting;
use meter_sync::error::ErrorCode;
use meter_sync::model::RunOutcome;

use super::TABLES;
use super::feigned_citus::FeignedCitus;
use crate::support::site::{Site, config};

async fn findings(site: &Site) -> Vec<Finding> {
    let settings = site
        .settings()
        .with(Setting::TenantId, "7")
        .with(Setting::Key, "id");
    check::run(&config(&settings)).await
}

async fn of_distribution(site: &Site) -> Option<Verdict> {
    let found = findings(site)
        .await
        .into_iter()
        .find(|finding| finding.subject == "distribution");
    found.map(|finding| finding.verdict)
}

/// Nothing fails, and the finding names the column by which the rows are distributed.
pub(super) async fn all_is_well(site: &Site) {
    let found = findings(site).await;
    let failed: Vec<&Finding> = found
        .iter()
        .filter(|one| matches!(one.verdict, Verdict::Failed(_)))
        .collect();
    assert!(failed.is_empty(), "{failed:#?}");
    let Some(Verdict::Ok(text)) = of_distribution(site).await else {
        panic!("{found:#?}");
    };
    assert!(
        text.contains("distributes public.meter by column tenant_id"),
        "{text}"
    );
}

#[tokio::test]
async fn a_distribution_that_a_run_cannot_work_with_is_refused_with_what_to_do() {
    for (column, replicas, how) in [
        (Some("id"), "s", "is distributed by its column id"),
        (None, "t", "is a reference table of Citus"),
        (
            Some("tenant_id"),
            "c",
            "set citus.shard_replication_factor = 1",
        ),
    ] {
        let mut citus = FeignedCitus::start(TABLES).await;
        citus.distribute_as("meter", column, replicas).await;
        let settings = citus.site.settings().with(Setting::TenantId, "7");
        citus.site.reconfigure(&settings);
        let run = citus.site.sync().await;
        assert_eq!(run.outcome, Some(RunOutcome::Failed), "{run:#?}");
        let failure = run.error.expect("an error");
        assert_eq!(failure.code, ErrorCode::LocalSchema);
        for part in [
            how,
            "select undistribute_table('public.meter')",
            "select create_distributed_table('public.meter', 'tenant_id')",
        ] {
            assert!(failure.message.contains(part), "{failure:?}");
        }
        let Some(Verdict::Failed(found)) = of_distribution(&citus.site).await else {
            panic!("the check should fail");
        };
        assert_eq!(found.message, failure.message);
    }
}

/// Citus 13.2 says at the commit of such a run that all is well, even if the shard kept nothing.
#[tokio::test]
async fn a_distributed_table_with_a_constraint_that_is_checked_at_commit_is_refused() {
    let mut citus = FeignedCitus::start(TABLES).await;
    citus.distribute_as("meter", Some("tenant_id"), "s").await;
    let settings = citus
        .site
        .settings()
        .with(Setting::TenantId, "7")
        .with(Setting::Key, "id");
    citus.site.reconfigure(&settings);
    for (deferred, outcome) in [
        ("initially immediate", RunOutcome::Succeeded),
        ("initially deferred", RunOutcome::Failed),
    ] {
        let constraint = format!(
            "alter table meter drop constraint if exists late; alter table meter add constraint late
             foreign key (tenant_id, parent) references meter (tenant_id, id) deferrable {deferred}"
        );
        citus.site.on_local(&constraint).await;
        let run = citus.site.sync().await;
        assert_eq!(run.outcome, Some(outcome), "{run:#?}");
    }
    let Some(Verdict::Failed(found)) = of_distribution(&citus.site).await else {
        panic!("the check should fail");
    };
    assert!(
        found.message.contains("constraint late of table"),
        "{found:?}"
    );
}

#[tokio::test]
async fn a_table_that_stays_on_the_coordinator_is_told() {
    let citus = FeignedCitus::start(TABLES).await;
    let Some(Verdict::Ok(text)) = of_distribution(&citus.site).await else {
        panic!("the check should tell");
    };
    assert!(text.contains("public.meter is not distributed"), "{text}");
    assert!(
        text.contains("select create_distributed_table('public.meter', 'tenant_id')"),
        "{text}"
    );
}

#[tokio::test]
async fn without_citus_nothing_is_said_of_it() {
    let site = Site::new().await;
    assert_eq!(of_distribution(&site).await, None);
}
