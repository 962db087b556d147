//! Progress notifications of a run, for a client that gave a token.

use std::convert::Infallible;
use std::time::Duration;

use rmcp::model::{ProgressNotificationParam, ProgressToken};
use rmcp::{Peer, RoleServer};
use tokio::sync::watch;

use crate::meter::Phase;
use crate::meter::Progress;

/// At most four notifications a second: more is noise to a client and work for both.
const PAUSE: Duration = Duration::from_millis(250);

/// Tells the client where the run is, as it goes. Never ends, so that it can stand beside the
/// waiting for the run, which does.
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
        told = now.rows.max(told + 1); // the protocol wants it to grow each time
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
