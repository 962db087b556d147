//! What a failed comparison of contents reports.

use std::time::Duration;

use meter_sync::config::Setting;
use meter_sync::db::SideName;
use meter_sync::model::RunOutcome;
use serde_json::json;

use super::full_compare::{WaitingRun, always, last, settled_on};
use crate::support::breakable_site::BreakableSite;
use crate::support::postgres::pair_in;
use crate::support::proxy::Fault;
use crate::support::site::rows;

const PATIENCE: Duration = Duration::from_secs(60);

#[tokio::test]
async fn what_a_comparison_read_before_it_failed_is_counted() {
    let mut broken = BreakableSite::with_changes().await;
    let alone = broken.site.sync().await;
    assert_eq!(alone.warning, None, "{alone:#?}");
    broken.change_the_remote().await;
    broken.reconfigure(&[(Setting::FullCompare, "0s")]);
    let cut = Fault::CutBefore(&["-- compare the contents"]);
    broken.local.set_once(cut, Fault::None);
    let run = broken.site.sync().await;
    let warning = run.warning.as_ref().expect("a warning");
    assert!(warning.contains("could not be compared"), "{warning}");
    // It had read the remote's catalog.
    let more = run.remote_bytes - alone.remote_bytes;
    assert!(more > 500, "{alone:#?} {run:#?}");
    let logged = "select remote_bytes from meter_sync.meter_sync_log order by seq desc limit 1";
    assert_eq!(
        rows(&broken.site.local, logged).await,
        json!([{"remote_bytes": run.remote_bytes}])
    );
}

/// The table's name has a character that the local database lacks, and is told of.
#[tokio::test]
async fn a_warning_that_the_local_encoding_cannot_hold_is_stored_in_ascii() {
    let pair = pair_in(["UTF8", "LATIN1"]).await;
    let mut site = settled_on(super::site_on(pair, "name text", "").await).await;
    site.on_remote("alter table meter rename to \"z\u{2603}\"; create view meter as select * from \"z\u{2603}\"")
        .await;
    let named = always(&site).with(Setting::RemoteTable, "\"z\u{2603}\"");
    site.reconfigure(&named);
    let run = site.sync().await;
    assert_eq!(run.outcome, Some(RunOutcome::NoChange), "{run:#?}");
    let waiting = WaitingRun::on(SideName::Remote, &site, &site.mirror).await;
    let (mut ticket, locker) = waiting.parts().await;
    locker
        .batch_execute("alter table \"z\u{2603}\" rename to gone; commit")
        .await
        .expect("another name");
    let run = ticket.wait(PATIENCE).await;
    let told = run.warning.expect("a warning");
    assert!(told.contains('\u{2603}'), "{told}");
    let logged = last(&site).await["warning"].clone();
    let escaped = told.replace('\u{2603}', "\\u{2603}");
    assert_eq!(logged, json!(escaped));
}
