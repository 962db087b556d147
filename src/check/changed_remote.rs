//! Reports that the remote was restored or swapped for another since the last run.

use super::connections::CheckedConnection;
use super::synced_columns::CheckedTables;
use super::{Finding, Verdict};
use crate::config::{Brake, Config};
use crate::db::{Local, Remote};
use crate::engine;
use crate::error::Failure;
use crate::model::TenantId;
use crate::store::migrations;

const SUBJECT: &str = "remote identity";

/// Returns a finding that says whether the remote is the database that the last run read. `None` if there was no run
/// yet, or if the remote does not tell which database it is.
pub(super) async fn finding(
    remote: &mut CheckedConnection<Remote>,
    local: &mut CheckedConnection<Local>,
    config: &Config,
    tenant: &TenantId,
    CheckedTables { relations, .. }: &CheckedTables,
) -> Option<Finding> {
    let look = async {
        let tx = local.begin_read_only().await?;
        if !migrations::tables(&tx).await?.remote {
            return Ok(None);
        }
        let there = remote.begin_read_only().await?;
        let source = &config.mapping.source;
        let seen = engine::look_up_remote(&there, &tx, tenant, relations, source).await?;
        Ok::<_, Failure>(seen.filter(|seen| seen.is_known()))
    };
    let verdict = match look.await {
        Ok(None) => return None,
        Ok(Some(seen)) => seen.sentence().map_or_else(
            || Verdict::Ok("the database that the last run read".to_owned()),
            |text| Verdict::Warning(text + what_follows(config.limits.brake)),
        ),
        Err(failure) => Verdict::Failed(failure),
    };
    Some(Finding::new(SUBJECT, verdict))
}

fn what_follows(brake: Brake) -> &'static str {
    match brake {
        Brake::Standard => " The next run follows what it holds now.",
        Brake::Strict => {
            " If the next run would change meters, it may be refused until a person allows it."
        }
    }
}
