//! What happens before the runs of a case.

use anyhow::{Context, Result};

use crate::case::Case;
use crate::data::{self, ChangedMeters};
use crate::oracle::Truth;
use crate::peer::Peer;
use crate::servers::{Servers, Side};

/// Changes the remote or restarts the local server, if the case asks for it. Returns what has changed, and what the
/// remote holds now. `turn` counts the changes.
pub(crate) async fn prepare(
    servers: &mut Servers,
    case: Case,
    turn: &mut u64,
    mut truth: Truth,
) -> Result<(ChangedMeters, Truth)> {
    let changed = match case.thousandths() {
        0 => ChangedMeters::default(),
        thousandths => {
            *turn += 1;
            data::change(servers, thousandths, *turn).await?
        }
    };
    if case.thousandths() > 0 || case == Case::First {
        truth = truth.read(servers).await?;
    }
    if case == Case::AfterRestart {
        restart(servers, Peer::Ours).await?;
    }
    Ok((changed, truth))
}

/// Restarts the local server, and warms it up: reads all of the peer's table.
async fn restart(servers: &mut Servers, peer: Peer) -> Result<()> {
    let database = peer.database();
    servers.batch(Side::Local, database, "checkpoint").await?;
    servers.local.restart().await.context("the local server")?;
    let sql = "select count(*) from meter where notes is null";
    servers.batch(Side::Local, database, sql).await
}
