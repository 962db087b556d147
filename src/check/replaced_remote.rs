//! Reports a replaced remote: one that was restored, or swapped for another, since the last run.

use super::connections::ConnectionWithReport;
use super::synced_columns::CheckedTables;
use super::{Finding, Verdict};
use crate::config::{BrakeMode, Config};
use crate::db::{Local, Remote};
use crate::engine;
use crate::error::Failure;
use crate::model::TenantId;
use crate::store::migrations;

const SUBJECT: &str = "remote identity";

/// Returns a finding that says whether the remote is the database that the last run read. `None` if there was no run
/// yet, or if the remote does not tell which database it is and the brake does not need to know.
pub(super) async fn finding(
    remote: &mut ConnectionWithReport<Remote>,
    local: &mut ConnectionWithReport<Local>,
    config: &Config,
    tenant: &TenantId,
    CheckedTables { relations, .. }: &CheckedTables,
) -> Option<Finding> {
    let brake = config.limits.brake;
    let look = async {
        let tx = local.begin_read_only().await?;
        if !migrations::tables(&tx).await?.remote {
            return Ok(None);
        }
        let there = remote.begin_read_only().await?;
        let source = &config.mapping.source;
        let seen = engine::look_up_remote(&there, &tx, tenant, relations, source).await?;
        Ok::<_, Failure>(match seen {
            None => (brake == BrakeMode::Strict)
                .then(|| Verdict::Warning(engine::UNIDENTIFIED.to_owned())),
            Some(seen) if !seen.is_known() => None,
            Some(seen) => Some(match seen.message(brake) {
                None => Verdict::Ok("the database that the last run read".to_owned()),
                Some(text) => Verdict::Warning(format!("{text} {}", what_follows(brake))),
            }),
        })
    };
    let verdict = look
        .await
        .unwrap_or_else(|failure| Some(Verdict::Failed(failure)));
    verdict.map(|verdict| Finding::new(SUBJECT, verdict))
}

fn what_follows(brake: BrakeMode) -> &'static str {
    match brake {
        BrakeMode::Standard => "The next run follows what the remote holds now.",
        BrakeMode::Strict => {
            "METER_SYNC_BRAKE=strict: a run that would change meters is refused until a person allows it at the command line (docs/operating.md)."
        }
    }
}
