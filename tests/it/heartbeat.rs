//! The calls to a monitoring service: when a sync begins, and how it ended.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, Uri};
use axum::response::IntoResponse;
use meter_sync::config::{CommandLineSettings, Setting};
use meter_sync::mirrors::RunRequest;
use meter_sync::model::{RunOutcome, RunTrigger};
use tokio::net::TcpListener;

use crate::support::program;
use crate::support::site::{Site, mirrors};
use crate::support::wait;

/// A monitoring service that notes who calls, and what it says.
#[derive(Clone, Default)]
struct Monitor {
    calls: Arc<Mutex<Vec<(String, String)>>>,
    /// What it answers before it answers 200.
    refusals: Arc<Mutex<Vec<StatusCode>>>,
    address: String,
}

impl Monitor {
    async fn new() -> Self {
        Self::refusing([]).await
    }

    async fn refusing<const N: usize>(refusals: [StatusCode; N]) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let monitor = Self {
            address: listener.local_addr().expect("an address").to_string(),
            refusals: Arc::new(Mutex::new(refusals.to_vec())),
            ..Self::default()
        };
        let routes = Router::new().fallback(note).with_state(monitor.clone());
        let serving = axum::serve(listener, routes);
        #[expect(clippy::disallowed_methods, reason = "it ends with the test")]
        tokio::spawn(async move { serving.await });
        monitor
    }

    /// Settings with which it is called.
    fn of(&self, settings: CommandLineSettings) -> CommandLineSettings {
        settings.with(
            Setting::HeartbeatUrl,
            format!("http://{}/ping/s3cret", self.address),
        )
    }

    fn calls(&self) -> Vec<(String, String)> {
        self.calls.lock().expect("calls").clone()
    }

    /// Waits for so many calls; gives their paths and texts.
    async fn called(&self, times: usize) -> Vec<(String, String)> {
        let enough = async || self.calls().len() >= times;
        wait::until("the service is called", enough).await;
        self.calls()
    }
}

async fn note(State(monitor): State<Monitor>, url: Uri, body: String) -> impl IntoResponse {
    let path = url.path().replace("/ping/s3cret", "");
    monitor.calls.lock().expect("calls").push((path, body));
    let refusal = monitor.refusals.lock().expect("refusals").pop();
    let mut headers = HeaderMap::new();
    if refusal.is_some_and(|status| status.is_redirection()) {
        headers.insert("location", "/elsewhere".parse().expect("a path"));
    }
    (refusal.unwrap_or(StatusCode::OK), headers)
}

async fn with_a_meter() -> Site {
    let site = Site::new().await;
    let insert = "insert into meter (id, tenant_id, name) values (1, 7, 'Main')";
    site.on_remote(insert).await;
    site
}

#[tokio::test]
async fn the_service_is_told_of_each_sync_but_of_no_dry_run() {
    let (mut site, monitor) = (with_a_meter().await, Monitor::new().await);
    site.reconfigure(&monitor.of(site.settings()));
    site.dry_run().await;
    site.sync().await;
    let synced = monitor.called(2).await;
    let expected = [
        ("/start".to_owned(), String::new()),
        (String::new(), "Synced: 1 inserted, 0 unchanged.".to_owned()),
    ];
    assert_eq!(synced, expected);
    site.on_remote("alter table meter rename to meter_then")
        .await;
    assert_eq!(site.sync().await.outcome, Some(RunOutcome::Failed));
    let failed = monitor.called(4).await;
    let (path, said) = &failed[3];
    assert_eq!((failed[2].0.as_str(), path.as_str()), ("/start", "/fail"));
    assert!(said.starts_with("The sync failed: "), "{said}");
}

#[tokio::test]
async fn a_call_that_fails_is_tried_again_and_no_redirect_is_followed() {
    let refusals = [
        StatusCode::BAD_GATEWAY,
        StatusCode::TEMPORARY_REDIRECT,
        StatusCode::OK,
    ];
    let (mut site, monitor) = (with_a_meter().await, Monitor::refusing(refusals).await);
    site.reconfigure(&monitor.of(site.settings()));
    site.sync().await;
    let paths = async || -> Vec<String> {
        let calls = monitor.calls().into_iter();
        calls.map(|(path, _)| path).collect()
    };
    let is_told = async || paths().await.len() == 4;
    wait::until("the success was told", is_told).await;
    assert_eq!(paths().await, ["/start", "", "", ""]);
}

#[tokio::test]
async fn no_sync_waits_for_a_service_that_does_not_answer() {
    let mut site = with_a_meter().await;
    let silent = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = silent.local_addr().expect("an address");
    let url = format!("http://{address}/x");
    site.reconfigure(&site.settings().with(Setting::HeartbeatUrl, url));
    let both = async {
        site.sync().await;
        site.sync().await
    };
    // One call alone would take five seconds.
    let ended = tokio::time::timeout(Duration::from_secs(4), both).await;
    let outcome = ended.expect("two syncs").outcome;
    assert_eq!(outcome, Some(RunOutcome::NoChange));
}

#[tokio::test]
async fn of_many_tenants_each_sweep_is_told() {
    let (site, monitor) = (Site::shared().await, Monitor::new().await);
    site.on_remote("insert into meter (id, tenant_id, name) values (1, 7, 'a')")
        .await;
    let settings = monitor.of(site.settings().with(Setting::Tenants, "7,8"));
    let mirrors = mirrors(&settings);
    let request = RunRequest::new(RunTrigger::Cli);
    mirrors.sweep(&request, |_, _| {}).await.expect("a sweep");
    let told = monitor.called(2).await;
    let said = "2 tenants: 0 unchanged, 2 with a run that succeeded, 0 without.";
    assert_eq!(told[1], (String::new(), said.to_owned()));
    site.on_remote("alter table meter rename to meter_then")
        .await;
    mirrors.sweep(&request, |_, _| {}).await.expect("a sweep");
    let told = monitor.called(4).await;
    assert_eq!(
        (told[2].0.as_str(), told[3].0.as_str()),
        ("/start", "/fail")
    );
    assert_eq!(told.len(), 4, "{told:?}");
}

#[tokio::test]
async fn a_command_tells_it_before_it_exits_and_the_url_is_shown_nowhere() {
    let (site, monitor) = (with_a_meter().await, Monitor::new().await);
    let url = format!("http://{}/ping/s3cret", monitor.address);
    let more = [(Setting::HeartbeatUrl, url.as_str())];
    let synced = program::run(program::over(&site, &["sync"], &more)).await;
    assert_eq!(synced.code, 0, "{synced:?}");
    assert_eq!(monitor.calls().len(), 2);
    let config = program::run(program::over(&site, &["config"], &more)).await;
    config.assert_says(&["heartbeat_url", &format!("http://{}/…", monitor.address)]);
    assert!(!config.stdout.contains("s3cret"), "{config:?}");
    let nowhere = [(Setting::HeartbeatUrl, "http://127.0.0.1:1/s3cret")];
    let synced = program::run(program::over(&site, &["sync"], &nowhere)).await;
    assert_eq!(synced.code, 0, "{synced:?}");
    assert!(
        synced
            .stderr
            .contains("METER_SYNC_HEARTBEAT_URL could not be called"),
        "{synced:?}"
    );
    assert!(!synced.stderr.contains("s3cret"), "{synced:?}");
    let odd = [(Setting::HeartbeatUrl, "ftp://example.com/s3cret")];
    let refused = program::run(program::over(&site, &["config"], &odd)).await;
    assert_eq!(refused.code, 2, "{refused:?}");
    assert!(!refused.stderr.contains("s3cret"), "{refused:?}");
}
