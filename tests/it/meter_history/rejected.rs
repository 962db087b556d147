//! Why a meter's row is rejected, and since when.

use meter_sync::history::parse_meter_key::MeterKeyText;
use meter_sync::reports::meter_report::MeterReport;

use super::edit_and_sync;
use crate::support::site::Site;

async fn meter(site: &Site, key: &str) -> Option<MeterReport> {
    let key = MeterKeyText::parse(key).expect("a key");
    site.mirror.meter(&key, None).await.expect("an answer")
}

#[tokio::test]
async fn a_meter_whose_row_is_rejected_tells_why_and_since_when() {
    let site = Site::new().await;
    let meters = "insert into meter (id, tenant_id, name) values (1, 7, 'Main'), (2, 7, 'Hall')";
    edit_and_sync(&site, meters).await;
    assert_eq!(meter(&site, "1").await.expect("a meter").rejected, None);

    let too_long = "update meter set name = repeat('x', 81) where id = 1;
                    insert into meter (id, tenant_id, name) values (3, 7, repeat('y', 81))";
    let (_, after_first) = edit_and_sync(&site, too_long).await;
    let (second, _) = edit_and_sync(&site, "update meter set port = 5 where id = 2").await;
    for (key, said) in [
        ("1", "What the remote has cannot be stored since "),
        (
            "3",
            "The meter is not here, because its row cannot be stored since ",
        ),
    ] {
        let report = meter(&site, key).await.expect("a report");
        assert!(report.summary.contains(said), "{}", report.summary);
        let rejected = report.rejected.expect("rejected");
        assert!(rejected.since <= after_first, "by the first of both runs");
        assert_eq!(rejected.run_id, second);
        assert!(rejected.reason.contains("too long"), "{}", rejected.reason);
        assert!(
            report.summary.contains(&rejected.reason),
            "{}",
            report.summary
        );
    }
    assert_eq!(meter(&site, "2").await.expect("a meter").rejected, None);

    edit_and_sync(
        &site,
        "update meter set name = 'Main' where id = 1; delete from meter where id = 3",
    )
    .await;
    assert_eq!(meter(&site, "1").await.expect("a meter").rejected, None);
    assert_eq!(
        meter(&site, "3").await,
        None,
        "no trace of it but old rejections"
    );
    let (_, since) = edit_and_sync(
        &site,
        "update meter set name = repeat('x', 81) where id = 1",
    )
    .await;
    let rejected = meter(&site, "1")
        .await
        .expect("a meter")
        .rejected
        .expect("rejected");
    assert!(
        after_first < rejected.since && rejected.since <= since,
        "it was mended meanwhile"
    );
}
