//! Holds runs in progress: a lock of the test on the meters keeps runs from reading them.

use meter_sync::model::ActivityState;
use serde_json::{Value, json};
use tokio_postgres::Client;

use super::postgres::connect;
use super::site::{Site, rows};
use super::wait;

/// Until it is released or dropped, every run over the site stops before it takes its snapshot of the remote.
pub(crate) struct RunHold {
    holder: Client,
}

impl RunHold {
    pub(crate) async fn new(site: &Site) -> Self {
        Self::by_lock_at(&site.pair.remote_url, "access exclusive").await
    }

    /// Until it is released or dropped, every run over the site that is to write stops where it has its snapshot and would
    /// hold the local meters.
    pub(crate) async fn while_reading(site: &Site) -> Self {
        Self::by_lock_at(&site.pair.local_url, "share").await
    }

    async fn by_lock_at(url: &str, mode: &str) -> Self {
        let holder = connect(url).await;
        let lock = format!("begin; lock table meter in {mode} mode");
        holder.batch_execute(&lock).await.expect("lock the meters");
        Self { holder }
    }

    /// Lets the runs go on.
    pub(crate) async fn release(self) {
        let unlock = self.holder.batch_execute("commit");
        unlock.await.expect("unlock the meters");
    }
}

/// Waits until a run is in progress, in whatever process.
pub(crate) async fn running(site: &Site) {
    let running = async || site.status().await.activity == ActivityState::Running;
    wait::until("a run is in progress", running).await;
}

/// Waits until no run is in progress, and gives the outcomes in the log, oldest first.
pub(crate) async fn outcomes(site: &Site) -> Value {
    let idle = async || site.status().await.activity == ActivityState::Idle;
    wait::until("no run is in progress", idle).await;
    // A cancelled run has ended a moment before that is logged.
    let open = "select from meter_sync.meter_sync_log where outcome is null";
    let is_logged = async || rows(&site.local, open).await == json!([]);
    wait::until("the end of the run is logged", is_logged).await;
    let log = "select outcome from meter_sync.meter_sync_log order by started_at";
    let log = rows(&site.local, log).await;
    let outcomes = log.as_array().expect("rows").iter();
    outcomes.map(|row| row["outcome"].clone()).collect()
}
