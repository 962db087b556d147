//! The two endpoints of the earlier program, exact to the byte of their JSON, in every state; and the health
//! checks.

use meter_sync::config::{CommandLineSettings, Setting};
use serde_json::{Value, json};

use super::{STATUS, TRIGGER};
use crate::support::http_server::HttpServer;
use crate::support::run_hold::{self, RunHold};
use crate::support::site::{NOWHERE, Site, rows};

/// When the newest run ended, as the log has it.
async fn ended_at(site: &Site) -> Value {
    let log =
        "select to_char(finished_at at time zone 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS.US\"Z\"') t
               from meter_sync.meter_sync_log order by started_at desc limit 1";
    rows(&site.local, log).await[0]["t"].clone()
}

/// A time as JSON without the zeros that may be left out at its end.
fn trimmed(mut body: Value, pointer: &str) -> Value {
    if let Some(Value::String(time)) = body.pointer_mut(pointer) {
        let (seconds, fraction) = time
            .trim_end_matches('Z')
            .split_once('.')
            .unwrap_or((time, ""));
        *time = format!("{seconds}.{fraction:0<6}Z");
    }
    body
}

#[tokio::test]
async fn before_any_run_everything_of_the_last_one_is_null() {
    let site = Site::new().await;
    let served = HttpServer::new(&site.settings()).await;
    let expected = json!({"last_sync_at": null, "last_sync_success": null, "last_sync_error": null,
        "inserted_count": null, "updated_count": null, "deleted_count": null,
        "meter_count": 0, "is_syncing": false});
    assert_eq!(served.ask(STATUS).await, (200, expected));
}

#[tokio::test]
async fn a_sync_is_answered_when_it_has_ended_with_what_it_did() {
    let site = Site::new().await;
    let served = HttpServer::new(&site.settings()).await;
    site.on_remote("insert into meter (id, tenant_id, name, active) values (1, 7, 'a', true), (2, 7, 'b', true), (3, 7, 'c', true), (4, 7, 'd', false)").await;
    served.ask(TRIGGER).await;
    site.on_remote("update meter set name = 'A' where id = 1; update meter set active = true where id = 4; delete from meter where id = 3; insert into meter (id, tenant_id) values (5, 7)").await;

    let (status, body) = served.ask(TRIGGER).await;
    let at = ended_at(&site).await;
    let message = "Synced: 1 inserted, 1 updated, 1 deactivated, 1 reactivated, 1 unchanged.";
    let expected = json!({"success": true, "message": message,
        "result": {"success": true, "inserted": 1, "updated": 2, "deleted": 1, "timestamp": at}});
    assert_eq!(
        (status, trimmed(body, "/result/timestamp")),
        (200, expected)
    );

    let (status, body) = served.ask(STATUS).await;
    let expected = json!({"last_sync_at": at, "last_sync_success": true, "last_sync_error": null,
        "inserted_count": 1, "updated_count": 2, "deleted_count": 1, "meter_count": 4, "is_syncing": false});
    assert_eq!((status, trimmed(body, "/last_sync_at")), (200, expected));
    let log = "select trigger, actor from meter_sync.meter_sync_log";
    assert_eq!(rows(&site.local, log).await[0]["trigger"], "rest");
}

#[tokio::test]
async fn a_second_sync_is_refused_while_one_is_in_progress() {
    let site = Site::new().await;
    site.on_remote("insert into meter (id, tenant_id) values (1, 7)")
        .await;
    let served = HttpServer::new(&site.settings()).await;
    let other = HttpServer::new(&site.settings()).await;
    let held = RunHold::new(&site).await;
    let first = served.ask(TRIGGER);
    let meanwhile = async {
        run_hold::running(&site).await;
        let refused = json!({"success": false, "message": "Meter sync is already in progress"});
        for served in [&served, &other] {
            assert_eq!(served.ask(TRIGGER).await, (409, refused.clone()));
            let (status, body) = served.ask(STATUS).await;
            assert_eq!((status, &body["is_syncing"]), (200, &json!(true)));
            assert_eq!(body["last_sync_at"], Value::Null);
        }
        held.release().await;
    };
    let ((status, body), ()) = tokio::join!(first, meanwhile);
    assert_eq!((status, &body["result"]["inserted"]), (200, &json!(1)));
    assert_eq!(run_hold::outcomes(&site).await, json!(["succeeded"]));
    assert_eq!(served.ask(STATUS).await.1["is_syncing"], false);
}

/// The trigger fails with this status and code; the status then shows the same message.
async fn assert_fails(site: &Site, settings: &CommandLineSettings, status: u16, code: &str) {
    let served = HttpServer::new(settings).await;
    let (answered, body) = served.ask(TRIGGER).await;
    assert_eq!(answered, status, "{body:#}");
    assert_eq!(body["success"], false);
    assert_eq!(body["error"]["code"], code, "{body:#}");
    assert_eq!(body["message"], body["error"]["message"]);
    assert!(body["error"]["remedy"].is_string());
    let keys: Vec<_> = body.as_object().expect("an object").keys().collect();
    assert_eq!(keys, ["error", "message", "success"]);
    assert!(!body.to_string().contains("hunter2"), "{body:#}");
    let (answered, last) = served.ask(STATUS).await;
    assert_eq!(answered, 200);
    assert_eq!(last["last_sync_success"], false, "{last:#}");
    assert_eq!(last["last_sync_error"], body["message"]);
    drop(served);
    // and the server's next one is none the worse for it
    assert!(site.sync().await.error.is_none(), "{code}");
}

#[tokio::test]
async fn a_sync_that_fails_on_the_remote_is_502() {
    let site = Site::new().await;
    let down = site.settings().with(Setting::RemoteUrl, NOWHERE);
    assert_fails(&site, &down, 502, "REMOTE_UNREACHABLE").await;
    let absent = site.settings().with(Setting::RemoteTable, "nowhere");
    assert_fails(&site, &absent, 502, "REMOTE_SCHEMA").await;
}

#[tokio::test]
async fn a_sync_that_fails_here_is_500() {
    let site = Site::new().await;
    let absent = site.settings().with(Setting::LocalTable, "nowhere");
    assert_fails(&site, &absent, 500, "LOCAL_SCHEMA").await;
    let down = site.settings().with(Setting::LocalUrl, NOWHERE);
    assert_fails(&site, &down, 500, "LOCAL_UNREACHABLE").await;
}

#[tokio::test]
async fn a_sync_that_the_brake_refuses_is_502() {
    let site = Site::new().await;
    site.on_remote("insert into meter (id, tenant_id) values (1, 7)")
        .await;
    site.sync().await;
    site.on_remote("update meter set tenant_id = 8").await;
    let served = HttpServer::new(&site.settings()).await;
    let (status, body) = served.ask(TRIGGER).await;
    assert_eq!(
        (status, &body["error"]["code"]),
        (502, &json!("SOURCE_EMPTY_REFUSED"))
    );
    assert_eq!(served.ask(STATUS).await.1["meter_count"], 1);
}

#[tokio::test]
async fn before_it_is_configured_a_sync_is_503_and_the_status_answers() {
    let served =
        HttpServer::new(&CommandLineSettings::default().with(Setting::Schedule, "off")).await;
    let (status, body) = served.ask(TRIGGER).await;
    assert_eq!(
        (status, &body["error"]["code"]),
        (503, &json!("CONFIG_MISSING"))
    );
    assert_eq!(body["success"], false);
    let (status, body) = served.ask(STATUS).await;
    assert_eq!(
        (status, &body["meter_count"], &body["is_syncing"]),
        (200, &Value::Null, &json!(false))
    );

    let site = Site::new().await;
    site.on_local("delete from tenant").await;
    let served = HttpServer::new(&site.settings()).await;
    let (status, body) = served.ask(TRIGGER).await;
    assert_eq!(
        (status, &body["error"]["code"]),
        (503, &json!("TENANT_NOT_CONFIGURED"))
    );
}

#[tokio::test]
async fn a_sync_that_set_rows_aside_is_an_answer_without_success() {
    let site = Site::new().await;
    site.on_remote(
        "insert into meter (id, tenant_id, name) values (1, 7, 'fits'), (2, 7, repeat('x', 81))",
    )
    .await;
    let served = HttpServer::new(&site.settings()).await;
    let (status, body) = served.ask(TRIGGER).await;
    let at = ended_at(&site).await;
    let aside = "1 row was rejected; the status tool shows which and why.";
    let expected = json!({"success": true, "message": format!("Meter sync finished, but {aside}"),
        "result": {"success": false, "inserted": 1, "updated": 0, "deleted": 0, "timestamp": at}});
    assert_eq!(
        (status, trimmed(body, "/result/timestamp")),
        (200, expected)
    );
    let (_, last) = served.ask(STATUS).await;
    assert_eq!(last["last_sync_success"], false);
    assert!(last["last_sync_error"].is_string(), "{last:#}");
}

#[tokio::test]
async fn a_read_only_server_refuses_a_sync_with_403() {
    let site = Site::new().await;
    let served = HttpServer::new(&site.settings().with(Setting::ReadOnly, "true")).await;
    let (status, body) = served.ask(TRIGGER).await;
    assert_eq!((status, &body["error"]["code"]), (403, &json!("READ_ONLY")));
    assert_eq!(body["success"], false);
    assert_eq!(served.ask(STATUS).await.0, 200);
}

#[tokio::test]
async fn a_sync_goes_on_when_its_client_goes_away() {
    let site = Site::new().await;
    site.on_remote("insert into meter (id, tenant_id) values (1, 7)")
        .await;
    let served = HttpServer::new(&site.settings()).await;
    let held = RunHold::new(&site).await;
    tokio::select! {
        answer = served.ask(TRIGGER) => panic!("{answer:?} while the run is held"),
        () = run_hold::running(&site) => {}
    }
    held.release().await;
    assert_eq!(run_hold::outcomes(&site).await, json!(["succeeded"]));
}

#[tokio::test]
async fn the_server_is_alive_always_and_ready_when_the_local_database_answers() {
    let site = Site::new().await;
    let unconfigured = CommandLineSettings::default().with(Setting::Schedule, "off");
    let local_down = site.settings().with(Setting::LocalUrl, NOWHERE);
    let remote_down = site.settings().with(Setting::RemoteUrl, NOWHERE);
    for (settings, status, code) in [
        (unconfigured, 503, json!("CONFIG_MISSING")),
        (local_down, 503, json!("LOCAL_UNREACHABLE")),
        (remote_down, 200, Value::Null),
        (site.settings(), 200, Value::Null),
    ] {
        let served = HttpServer::new(&settings).await;
        let (answered, body) = served.ask("GET /readyz").await;
        assert_eq!((answered, &body["code"]), (status, &code), "{body:#}");
        assert_eq!(body["ready"], status == 200);
        let alive = served
            .request("GET /livez")
            .send()
            .await
            .expect("an answer");
        assert_eq!(alive.status(), 200);
    }
}
