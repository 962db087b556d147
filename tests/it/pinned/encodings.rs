//! Databases in encodings with characters or bytes that UTF-8, in which everything is shown, does not have.

use meter_sync::config::Setting;
use meter_sync::history::parse_meter_key::MeterKeyText;
use meter_sync::mirrors::RunRequest;
use meter_sync::model::{RunOutcome, RunTrigger};
use meter_sync::reports::status::StatusQuery;
use serde_json::json;

use super::unstorable_rows::{EncodedSite, METERS, done, partial};
use crate::support::proxy::{Fault, Proxy};
use crate::support::site::{finish, mirror, rows, settings};

/// So long may a transaction that holds rows be idle where a statement may take three seconds.
const IDLE_SECONDS: i64 = 8;

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
        let site = EncodedSite::new(there, here).await;
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
        assert_eq!(first.outcome, Some(RunOutcome::Partial), "{first:#?}");
        assert_eq!(
            done(&first),
            partial(18, 0, 2),
            "{there} {here}: {first:#?}"
        );
        site.end().await;
    }
}

/// Somebody wrote here what nobody can be shown, and the sync overwrites or deactivates it.
#[tokio::test]
async fn a_local_value_that_cannot_be_shown_is_recorded_in_ascii() {
    for (here, encoding, byte, written) in [
        ("SQL_ASCII", "sql_ascii", r"\xff", r"old\377\n"),
        ("WIN1252", "win1252", r"\x81", r"old\201\n"),
    ] {
        let site = EncodedSite::new("UTF8", here).await;
        site.remote.batch_execute(METERS).await.unwrap();
        site.local
            .batch_execute("alter table meter add unique (notes)")
            .await
            .unwrap();
        site.sync().await;
        let edit = format!(
            r"set client_encoding = {encoding};
            update meter set name = E'old{byte}\\n' where id = 'K3';
            update meter set name = E'{byte}' where id = 'K6';
            insert into meter values (E'L{byte}', E'{byte}', E'{byte}', true), ('L2', 'b', E'u{byte}', true),
                (E'M{byte}', 'c', 'to be released', false);
            set client_encoding = utf8"
        );
        site.local.batch_execute(&edit).await.unwrap();
        site.remote
            .batch_execute("update meter set name = 'new' where id in ('K3', 'K5'); delete from meter where id = 'K6';
                insert into meter (id, notes) values ('M2', 'to be released')")
            .await
            .unwrap();
        let run = site.sync().await;
        assert_eq!(run.outcome, Some(RunOutcome::Succeeded), "{here}: {run:#?}");
        let counts = (
            run.counts.inserted,
            run.counts.updated,
            run.counts.deactivated,
        );
        assert_eq!(counts, (1, 2, 3), "{run:#?}");
        // what was told of the run, and what the log keeps
        let told = run.changes.iter().find(|change| change.key["id"] == "K3");
        assert_eq!(told.unwrap().before["name"], json!(written), "{here}");
        let before = "select c.before->>'name' as name from meter_sync.meter_sync_change c where c.key->>'id' = 'K3' and c.action = 'update'";
        assert_eq!(
            rows(&site.local, before).await,
            json!([{"name": written}]),
            "{here}"
        );
        let gone = "select count(*) as n from meter where not active";
        assert_eq!(rows(&site.local, gone).await, json!([{"n": 4}]));
        let again = site.sync().await;
        assert_eq!(
            again.outcome,
            Some(RunOutcome::NoChange),
            "{here}: {again:#?}"
        );
        site.end().await;
    }
}

/// The brake names the first meters that it holds back, and they may have names that cannot be shown.
#[tokio::test]
async fn meters_with_names_that_cannot_be_shown_are_held_back_and_read() {
    let site = EncodedSite::new("UTF8", "SQL_ASCII").await;
    site.remote.batch_execute(METERS).await.unwrap();
    site.sync().await;
    site.local
        .batch_execute(r#"set client_encoding = sql_ascii; update meter set name = E'a\xff"b'; set client_encoding = utf8"#)
        .await
        .unwrap();
    site.remote
        .batch_execute("delete from meter where id <> 'K1'")
        .await
        .unwrap();
    let run = site.sync().await;
    assert_eq!(run.outcome, Some(RunOutcome::Refused), "{run:#?}");
    let held = run.held_back.expect("meters that were held back");
    assert_eq!(held.first[0]["name"], json!("a\\377\"b"), "{held:#?}");
    let runs = mirror(&settings(&site.urls[0], &site.urls[1]));
    let key = MeterKeyText::parse("K3").expect("a key");
    let meter = runs.meter(&key, None).await.unwrap().expect("the meter");
    let name = &meter.meter.expect("its row")["name"];
    assert_eq!(name, "a\\377\"b");
    drop(runs);
    site.end().await;
}

/// Nobody can name such a column, so it is not synced.
#[tokio::test]
async fn a_column_whose_name_is_no_text_keeps_no_other_from_being_synced() {
    for (there, here) in [
        ("SQL_ASCII", "UTF8"),
        ("UTF8", "SQL_ASCII"),
        ("SQL_ASCII", "SQL_ASCII"),
    ] {
        let site = EncodedSite::new(there, here).await;
        site.remote.batch_execute(METERS).await.unwrap();
        let rename = "set client_encoding = sql_ascii;
            do $$ begin execute convert_from('\\x616c746572207461626c65206d657465722061646420225ae4686c65722220746578742c206164642022', 'SQL_ASCII')
                || convert_from('\\xc3a4', 'SQL_ASCII') || '\" text'; end $$; set client_encoding = utf8";
        let add = |encoding| match encoding {
            "SQL_ASCII" => rename,
            _ => "alter table meter add \"\u{e4}\" text",
        };
        site.remote.batch_execute(add(there)).await.unwrap();
        site.local.batch_execute(add(here)).await.unwrap();
        site.remote
            .batch_execute("update meter set \"\u{e4}\" = 'x'")
            .await
            .unwrap();
        let run = site.sync().await;
        assert_eq!(
            run.outcome,
            Some(RunOutcome::Succeeded),
            "{there} {here}: {run:#?}"
        );
        let taken = "select count(*) as n from meter where \"\u{e4}\" = 'x'";
        assert_eq!(rows(&site.local, taken).await, json!([{"n": 20}]));
        site.end().await;
    }
}

#[tokio::test]
async fn a_tenant_whose_name_cannot_be_shown_is_synced() {
    let site = EncodedSite::new("UTF8", "SQL_ASCII").await;
    site.remote.batch_execute(METERS).await.unwrap();
    site.local
        .batch_execute(r"set client_encoding = sql_ascii; alter table tenant add name text; update tenant set name = E'A\xff'; set client_encoding = utf8")
        .await
        .unwrap();
    let run = site.sync().await;
    assert_eq!(run.outcome, Some(RunOutcome::Succeeded), "{run:#?}");
    let runs = mirror(&settings(&site.urls[0], &site.urls[1]));
    let status = runs
        .status(&StatusQuery::default())
        .await
        .expect("a status");
    let tenant = status.tenant.expect("the tenant");
    assert_eq!(tenant.name.as_deref(), Some(r"A\377"));
    drop(runs);
    site.end().await;
}

/// The rows that are made UTF-8 here are waited for longer than a transaction that holds rows may be idle.
#[tokio::test]
async fn a_slow_line_between_two_encodings_does_not_run_into_our_own_limits() {
    let site = EncodedSite::new("WIN1252", "LATIN1").await;
    let meters = "insert into meter (id, name, notes) select 'K' || n, 'Z\u{e4}hler', repeat('note ', 20) from generate_series(1, 4000) n";
    site.remote.batch_execute(meters).await.unwrap();
    let (line, url) = Proxy::before(&site.urls[0]).await;
    let settings = settings(&url, &site.urls[1]).with(Setting::StatementTimeout, "3s");
    line.set(Fault::Limit(30_000));
    let run = finish(&mirror(&settings), RunRequest::new(RunTrigger::Cli)).await;
    assert_eq!(run.outcome, Some(RunOutcome::Succeeded), "{run:#?}");
    assert_eq!(run.counts.inserted, 4000, "{run:#?}");
    let seconds = run.remote_bytes / 30_000;
    assert!(seconds > IDLE_SECONDS + 2, "{seconds} seconds are too few");
    site.end().await;
}

#[tokio::test]
async fn a_remote_table_whose_name_the_local_encoding_lacks_is_synced() {
    let site = EncodedSite::new("UTF8", "LATIN1").await;
    site.remote.batch_execute(METERS).await.unwrap();
    let named = "alter table meter rename to \"z\u{2603}\"";
    site.remote.batch_execute(named).await.unwrap();
    let settings =
        settings(&site.urls[0], &site.urls[1]).with(Setting::RemoteTable, "\"z\u{2603}\"");
    for outcome in [RunOutcome::Succeeded, RunOutcome::NoChange] {
        let run = finish(&mirror(&settings), RunRequest::new(RunTrigger::Cli)).await;
        assert_eq!(run.outcome, Some(outcome), "{run:#?}");
    }
    site.end().await;
}
