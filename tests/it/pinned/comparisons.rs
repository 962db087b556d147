//! What is told of a comparison of contents that failed.

use meter_sync::config::Setting;
use serde_json::json;

use crate::support::broken::Broken;
use crate::support::proxy::Fault;
use crate::support::site::rows;

#[tokio::test]
async fn what_a_comparison_read_before_it_failed_is_counted() {
    let mut broken = Broken::with_changes().await;
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
