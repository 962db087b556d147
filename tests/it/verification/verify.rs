//! `meter-sync verify`: it compares now, writes no meters, and does not take a sync that ends meanwhile for a difference.

use meter_sync::config::{CommandLineSettings, Setting};
use meter_sync::error::ErrorCode;
use meter_sync::mirrors::{RunRequest, RunRequestOutcome};
use meter_sync::model::{ProofMethod, RunOutcome, RunTrigger};
use serde_json::json;

use super::{REMEMBER_AS_EQUAL, in_sync, request, verified_by, verify, verify_every_value};
use crate::support::proxy::{Fault, Proxy};
use crate::support::run_hold::{self, RunHold};
use crate::support::site::{Site, mirror, rows};
use crate::support::wait::until;

/// The versions of all local meters.
async fn versions(site: &Site) -> serde_json::Value {
    let versions = "select id, xmin::text as version from meter order by id";
    json!(rows(&site.local, versions).await)
}

#[tokio::test]
async fn equal_sides_are_verified_by_contents_and_by_every_value() {
    let site = in_sync().await;
    let before = versions(&site).await;
    let report = verify(&site.mirror).await;
    assert!(report.are_equal, "{report:?}");
    assert_eq!(report.remote, report.local);
    assert_eq!(report.remote.meters, 20);
    assert_eq!(report.verified_by, ProofMethod::Contents);
    let proof = site.status().await.verified.expect("a proof");
    assert_eq!(proof.digest, Some(report.local.digest));
    assert_eq!((proof.at, proof.meters), (report.verified_at, 20));
    let report = verify_every_value(&site).await;
    assert!(report.are_equal, "{report:?}");
    assert_eq!(report.verified_by, ProofMethod::EveryValue);
    assert!(report.summary.ends_with("verified by every value."));
    assert_eq!(verified_by(&site).await, Some(ProofMethod::EveryValue));
    assert_eq!(versions(&site).await, before, "no meter was written");
}

#[tokio::test]
async fn differing_meters_are_counted() {
    let site = in_sync().await;
    site.on_remote(
        "update meter set register_map = '{\"a\": 1.00}' where id in (5, 6); delete from meter where id = 7;
         insert into meter (id, tenant_id, name) values (50, 7, 'New')",
    )
    .await;
    let verified = site.status().await.verified;
    for report in [verify(&site.mirror).await, verify_every_value(&site).await] {
        assert!(!report.are_equal && !report.is_unexplained, "{report:?}");
        assert_eq!(report.differing, Some(4), "{report:?}");
        assert_ne!(report.remote.digest, report.local.digest);
        assert!(report.summary.starts_with("Both sides differ in 4 meters:"));
        let status = site.status().await;
        assert_eq!(status.verified, verified, "the last proof");
        let warned = status.warnings.iter();
        assert_eq!(
            warned.filter(|text| text.contains("differed")).count(),
            1,
            "{:?}",
            status.warnings
        );
    }
    site.sync().await;
    assert_eq!(site.status().await.warnings, Vec::<String>::new());
    assert!(verify(&site.mirror).await.are_equal);
}

#[tokio::test]
async fn a_difference_that_no_change_explains_is_an_error_of_ours_until_it_is_corrected() {
    let site = in_sync().await;
    site.on_local("update meter set name = 'mine' where id = '5'")
        .await;
    let report = verify(&site.mirror).await;
    assert!(!report.are_equal && !report.is_unexplained, "{report:?}");
    site.on_local(REMEMBER_AS_EQUAL).await;
    assert_eq!(site.sync().await.outcome, Some(RunOutcome::NoChange));
    let report = verify(&site.mirror).await;
    assert!(report.is_unexplained, "{report:?}");
    assert_eq!(report.differing, Some(1));
    // The proof that it disproves is taken back, and to look again changes nothing of that.
    assert!(verify(&site.mirror).await.is_unexplained);
    let status = site.status().await;
    assert_eq!(status.verified, None);
    assert_eq!(status.is_difference_unexplained, Some(true));
    assert!(
        status.next_step.contains("error of meter-sync"),
        "{status:#?}"
    );
    // The next sync compares contents.
    let run = site.sync().await;
    assert_eq!(run.counts.updated, 1, "{run:#?}");
    assert!(verify(&site.mirror).await.are_equal);
    let status = site.status().await;
    assert_eq!(status.is_difference_unexplained, Some(false));
    assert_eq!(status.warnings, Vec::<String>::new());
}

#[tokio::test]
async fn a_sync_that_ends_meanwhile_is_not_told_as_a_difference() {
    let site = in_sync().await;
    let (proxy, url) = Proxy::before(&site.pair.local_url).await;
    let settings = CommandLineSettings::default()
        .with(Setting::RemoteUrl, &site.pair.remote_url)
        .with(Setting::LocalUrl, &url)
        .with(Setting::Schedule, "off");
    let slow = mirror(&settings);
    // The comparison then has its remote snapshot, and not yet read the local meters.
    proxy.set(Fault::StallAt(&[
        "compare contents",
        "look for gone meters",
    ]));
    let request = request();
    let verifying = slow.verify(&request);
    let meanwhile = async {
        until("the comparison stalls", async || proxy.struck() > 0).await;
        site.on_remote("update meter set name = name || '!'").await;
        let run = site.sync().await;
        assert_eq!(run.counts.updated, 20, "{run:#?}");
        proxy.go_on();
    };
    let (report, ()) = tokio::join!(verifying, meanwhile);
    let report = report.expect("a report");
    assert!(report.are_equal, "{report:?}");
}

#[tokio::test]
async fn a_run_in_progress_is_not_told_as_a_difference() {
    let site = in_sync().await;
    site.on_remote("update meter set name = name || '!'").await;
    let held = RunHold::while_reading(&site).await;
    let other = mirror(&site.settings());
    let begun = other.request(RunRequest::new(RunTrigger::Cli)).await;
    let Ok(RunRequestOutcome::Started(_)) = begun else {
        panic!("{begun:?}");
    };
    run_hold::running(&site).await;
    let request = request();
    let verifying = site.mirror.verify(&request);
    let (report, ()) = tokio::join!(verifying, held.release());
    let report = report.expect("a report");
    assert!(report.are_equal, "{report:?}");
}

#[tokio::test]
async fn one_verification_of_the_same_meters_runs_at_a_time() {
    let site = in_sync().await;
    let request = request();
    let (one, other) = tokio::join!(site.mirror.verify(&request), site.mirror.verify(&request));
    assert!(one.is_ok_and(|report| report.are_equal));
    let refused = other.expect_err("a refusal");
    assert_eq!(refused.code, ErrorCode::AlreadyRunning);
}

#[tokio::test]
async fn values_that_cannot_be_compared_are_an_error_and_no_difference() {
    let local = "create table tenant (id bigint primary key, name text); insert into tenant values (7, 'Acme');
        create table meter (id bigint primary key, name integer, active boolean not null default true)";
    let remote = "create table meter (id varchar(20), tenant_id bigint, name text, active boolean)";
    let site = Site::with_schemas(remote, local).await;
    site.on_remote("insert into meter values ('1', 7, '1', true)")
        .await;
    site.sync().await;
    assert!(verify(&site.mirror).await.are_equal);
    site.on_remote("insert into meter values ('x', 7, '1', true)")
        .await;
    let failure = site.mirror.verify(&request()).await.expect_err("a failure");
    assert_eq!(failure.code, ErrorCode::RemoteSchema, "{failure:?}");
}
