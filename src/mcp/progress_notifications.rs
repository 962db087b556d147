//! Sends progress notifications of a run to a client that gave a progress token.

use std::convert::Infallible;
use std::time::Duration;

use rmcp::model::{ProgressNotificationParam, ProgressToken};
use rmcp::{Peer, RoleServer};
use tokio::sync::watch;

use crate::model::Phase;
use crate::model::Progress;

/// The pause between two notifications, so that a client gets at most four a second. More would be of no use to the
/// client.
const PAUSE: Duration = Duration::from_millis(250);

/// Notifies the client whenever the progress of the run changes; sends nothing if `token` is `None`. Never returns, so
/// the caller must race this future against the end of the run.
pub(super) async fn tell(
    mut run: watch::Receiver<Progress>,
    peer: &Peer<RoleServer>,
    token: Option<ProgressToken>,
) -> Infallible {
    let Some(token) = token else {
        return std::future::pending().await;
    };
    let mut told = 0;
    loop {
        let now = *run.borrow_and_update();
        told = now.rows.max(told + 1); // MCP requires a higher number each time
        if let Err(error) = peer.notify_progress(notification(&token, told, now)).await {
            tracing::debug!(%error, "the client does not take progress any more");
            return std::future::pending().await;
        }
        tokio::time::sleep(PAUSE).await;
        if run.changed().await.is_err() {
            return std::future::pending().await;
        }
    }
}

fn notification(token: &ProgressToken, told: i64, now: Progress) -> ProgressNotificationParam {
    // f64 holds every count up to 2^53
    ProgressNotificationParam::new(token.clone(), told as f64).with_message(message(now))
}

fn message(Progress { phase, rows, .. }: Progress) -> String {
    match phase {
        Phase::Prepare => "connecting".to_owned(),
        Phase::Read => format!("reading: {rows} rows"),
        Phase::Plan => format!("comparing: {rows} rows"),
        Phase::Apply => "applying the changes".to_owned(),
    }
}
