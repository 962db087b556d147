//! Databases in encodings with characters or bytes that UTF-8, in which everything is shown, does not have.

use meter_sync::meter::Outcome;
use serde_json::json;

use super::unstorable::{Encoded, METERS, done, partial};
use crate::support::site::rows;

/// Neither side is in UTF-8, and the encoding there has characters that UTF-8 lacks.
#[tokio::test]
async fn a_character_that_utf_8_lacks_is_set_aside_between_any_two_encodings() {
    for (there, here, bytes, fine) in [
        ("WIN1252", "WIN1252", "Z\\x81hler", "Z\\xe4hler"),
        ("WIN1252", "LATIN1", "Z\\x81hler", "Z\\xe4hler"),
        ("WIN1252", "SQL_ASCII", "Z\\x81hler", "Z\\xe4hler"),
        // these bytes would be a character of UTF-8, another one
        ("WIN1252", "SQL_ASCII", "Z\\xc3\\x81hler", "Z\\xe4hler"),
        ("EUC_JP", "EUC_JP", "Z\\xa9\\xa9hler", "Z\\xb7\\xd7hler"),
    ] {
        let site = Encoded::new(there, here).await;
        site.remote.batch_execute(METERS).await.unwrap();
        site.sync().await;
        let update = |bytes: &str, key: &str| {
            format!(
                r"set client_encoding = '{there}'; update meter set name = E'{bytes}' where id = '{key}'; set client_encoding = utf8"
            )
        };
        for (bytes, key) in [(bytes, "K3"), (fine, "K4")] {
            let sql = update(bytes, key);
            site.remote.batch_execute(&sql).await.unwrap();
        }
        let run = site.sync().await;
        assert_eq!(done(&run), partial(0, 1, 1), "{there} {here}: {run:#?}");
        assert_eq!(site.aside().await, json!([{"key": {"id": "K3"}}]));
        let reason = "select reason from meter_sync.meter_sync_rejected limit 1";
        let reason = rows(&site.local, reason).await.to_string();
        assert!(
            reason.contains("name") && reason.contains("no equivalent"),
            "{reason}"
        );
        let left = "select id, name from meter where id in ('K3', 'K4') order by id";
        let read = match there {
            "EUC_JP" => "Z\u{8a08}hler",
            _ => "Z\u{e4}hler",
        };
        assert_eq!(
            rows(&site.local, left).await,
            json!([{"id": "K3", "name": "meter"}, {"id": "K4", "name": read}])
        );
        assert_eq!(done(&site.sync().await), partial(0, 0, 1));
        // A first load finds it as well, and so does a run that finds a key that cannot be told.
        site.local
            .batch_execute("truncate meter; drop schema meter_sync cascade")
            .await
            .unwrap();
        let key = format!(
            r"set client_encoding = '{there}'; update meter set id = E'{bytes}' where id = 'K5'; set client_encoding = utf8"
        );
        site.remote.batch_execute(&key).await.unwrap();
        let first = site.sync().await;
        assert_eq!(first.outcome, Some(Outcome::Partial), "{first:#?}");
        assert_eq!(
            done(&first),
            partial(18, 0, 2),
            "{there} {here}: {first:#?}"
        );
        site.end().await;
    }
}
