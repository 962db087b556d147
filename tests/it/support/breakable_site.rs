//! A site whose lines to both databases can be broken, and what must hold after a run that failed.

use std::io::Write;
use std::sync::{Arc, Mutex};

use meter_sync::config::{CommandLineSettings, Setting};
use meter_sync::error::ErrorCode;
use meter_sync::model::RunOutcome;
use meter_sync::reports::run_report::RunReport;
use serde_json::{Value, json};
use tracing::subscriber::DefaultGuard;
use tracing_subscriber::fmt::MakeWriter;

use super::proxy::{Fault, Proxy};
use super::site::{Site, rows};
use super::wait;

/// The password in every URL of a broken site. The test servers ask for none; no text may show it.
pub(crate) const SECRET: &str = "hunter2-marker";

/// Three meters of the tenant, one of another.
const METERS: &str = "
    insert into meter (id, tenant_id, name, port) values
        (1, 7, 'One', 1), (2, 7, 'Two', 2), (3, 7, 'Three', 3), (9, 8, 'Theirs', 9)";

/// One of each: an update, a deactivation, an insert; then also a reactivation.
const CHANGES: &str = "
    update meter set name = name || '!' where id = 1;
    update meter set tenant_id = 15 - tenant_id where id in (2, 9);
    insert into meter (id, tenant_id, name) select max(id) + 1, 7, 'New' from meter";

/// A site whose lines to both databases can be broken. What is logged is kept.
pub(crate) struct BreakableSite {
    pub(crate) site: Site,
    pub(crate) remote: Proxy,
    pub(crate) local: Proxy,
    remote_url: String,
    local_url: String,
    log: Log,
    _listening: DefaultGuard,
}

impl BreakableSite {
    /// A site with sound lines and no meters.
    pub(crate) async fn new() -> Self {
        let mut site = Site::new().await;
        let (remote, remote_url) = Proxy::before(&with_secret(&site.pair.remote_url)).await;
        let (local, local_url) = Proxy::before(&with_secret(&site.pair.local_url)).await;
        let log = Log::default();
        let subscriber = tracing_subscriber::fmt()
            .with_max_level(tracing::Level::TRACE)
            .with_writer(log.clone())
            .finish();
        site.reconfigure(&settings(&remote_url, &local_url));
        Self {
            site,
            remote,
            local,
            remote_url,
            local_url,
            log,
            _listening: tracing::subscriber::set_default(subscriber),
        }
    }

    /// The same with three meters synced, and changes of every kind that wait on the remote.
    pub(crate) async fn with_changes() -> Self {
        let broken = Self::new().await;
        broken.site.on_remote(METERS).await;
        let first = broken.site.sync().await;
        assert_eq!(first.outcome, Some(RunOutcome::Succeeded), "{first:#?}");
        broken.change_the_remote().await;
        broken
    }

    /// Once more changes of every kind.
    pub(crate) async fn change_the_remote(&self) {
        self.site.on_remote(CHANGES).await;
    }

    /// Its settings, with short waits.
    pub(crate) fn settings(&self) -> CommandLineSettings {
        settings(&self.remote_url, &self.local_url)
    }

    /// The same with one more setting.
    pub(crate) fn reconfigure(&mut self, more: &[(Setting, &str)]) {
        let add = |settings: CommandLineSettings, (setting, value): &(Setting, &str)| {
            settings.with(*setting, *value)
        };
        let settings = more.iter().fold(self.settings(), add);
        self.site.reconfigure(&settings);
    }

    /// The local meters.
    pub(crate) async fn meters(&self) -> Value {
        rows(&self.site.local, "select * from meter order by id").await
    }

    /// A sync that must fail with this code: the meters stay as they were, the log says so, and no
    /// text shows a secret.
    pub(crate) async fn fails_with(&self, code: ErrorCode) -> RunReport {
        let before = self.meters().await;
        let run = self.site.sync().await;
        let error = run.error.as_ref().unwrap_or_else(|| panic!("{run:#?}"));
        assert_eq!(error.code, code, "{run:#?}");
        assert_eq!(run.outcome, Some(RunOutcome::Failed), "{run:#?}");
        assert!(
            error.message.len() > 20 && error.remedy.len() > 20,
            "{error:?}"
        );
        assert_eq!(self.meters().await, before);
        assert_eq!(
            self.logged(&run).await,
            json!([{"outcome": "failed", "error_code": code.as_str(), "error_message": error.message}])
        );
        self.shows_no_secret(&run).await;
        run
    }

    /// The row of a run in the log.
    pub(crate) async fn logged(&self, run: &RunReport) -> Value {
        let sql = format!(
            "select outcome, error_code, error_message from meter_sync.meter_sync_log where id = '{}'",
            run.run_id
        );
        rows(&self.site.local, &sql).await
    }

    /// Lets the lines be sound again; then the next sync must make both sides equal, and the one
    /// after it find nothing to do.
    pub(crate) async fn heals(&self) {
        self.remote.set(Fault::None);
        self.local.set(Fault::None);
        let run = self.site.sync().await;
        assert!(run.outcome.is_some_and(RunOutcome::is_success), "{run:#?}");
        let remote = "select id::text, name, port::text from meter where tenant_id = 7";
        let local = "select id, name, port from meter where active";
        assert_eq!(
            rows(&self.site.local, &format!("{local} order by id::bigint")).await,
            rows(&self.site.remote, &format!("{remote} order by meter.id")).await
        );
        let again = self.site.sync().await;
        assert_eq!(again.outcome, Some(RunOutcome::NoChange), "{again:#?}");
        self.leaves_nothing_behind().await;
    }

    /// No run without an end, no lock, no connection to the remote.
    pub(crate) async fn leaves_nothing_behind(&self) {
        let unfinished = "select id from meter_sync.meter_sync_log where outcome is null";
        assert_eq!(rows(&self.site.local, unfinished).await, json!([]));
        let others = "select query, state from pg_stat_activity
             where datname = current_database() and pid <> pg_backend_pid()";
        let none_left = async || rows(&self.site.remote, others).await == json!([]);
        wait::until("no connection to the remote is left", none_left).await;
        let locks = "select objid from pg_locks join pg_database d on d.oid = database
             where locktype = 'advisory' and datname = current_database()";
        let none_left = async || rows(&self.site.local, locks).await == json!([]);
        wait::until("no lock is left", none_left).await;
    }

    /// No text that anyone may read holds the password.
    pub(crate) async fn shows_no_secret(&self, run: &RunReport) {
        let runs = &self.site.mirror;
        let status = self.site.status().await;
        let log = rows(&self.site.local, "select * from pg_stat_activity").await;
        for text in [
            format!("{run:?}"),
            serde_json::to_string(run).unwrap(),
            serde_json::to_string(&status).unwrap(),
            format!("{status:?} {runs:?} {:?}", self.settings()),
            log.to_string(),
            self.log.text(),
        ] {
            assert!(!text.contains(SECRET), "{text}");
        }
    }
}

fn settings(remote_url: &str, local_url: &str) -> CommandLineSettings {
    super::site::settings(remote_url, local_url)
        .with(Setting::ConnectTimeout, "3s")
        .with(Setting::StatementTimeout, "3s")
        .with(Setting::LockTimeout, "1s")
}

fn with_secret(url: &str) -> String {
    url.replace("postgres@", &format!("postgres:{SECRET}@"))
}

/// What was logged on this thread.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl Log {
    fn text(&self) -> String {
        String::from_utf8_lossy(&self.0.lock().unwrap()).into_owned()
    }
}

impl Write for Log {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

impl<'a> MakeWriter<'a> for Log {
    type Writer = Self;

    fn make_writer(&'a self) -> Self::Writer {
        self.clone()
    }
}
