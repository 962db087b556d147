//! The columns that were synced before, as the remote has them now.

use super::reached::Reached;
use super::{Finding, Verdict};
use crate::config::{Mapping, OnDrift};
use crate::db::Local;
use crate::error::{ErrorCode, Failure};
use crate::runs::columns::{self, KnownScope};
use crate::sync::{Shape, drift};

/// Each column that has drifted, with the statements and settings that settle it. Nothing before the first run.
pub(super) async fn findings(
    local: &mut Reached<Local>,
    mapping: &Mapping,
    shape: &Shape,
) -> Vec<Finding> {
    match look(local, mapping).await {
        Ok(Some(known)) => compared(&known, mapping, shape),
        Ok(None) => Vec::new(),
        Err(failure) => vec![Finding::new("drift", Verdict::Failed(failure))],
    }
}

async fn look(
    local: &mut Reached<Local>,
    mapping: &Mapping,
) -> Result<Option<KnownScope>, Failure> {
    let tx = local.look().await.map_err(|e| e.failure())?;
    columns::look(&tx, mapping).await
}

fn compared(scope: &KnownScope, mapping: &Mapping, shape: &Shape) -> Vec<Finding> {
    let report = drift::compare(&scope.known, shape, mapping);
    let drifted = report.drifted();
    if drifted.is_empty() {
        let text = "the remote has each synced column as the last run found it";
        return vec![Finding::new("drift", Verdict::Ok(text.to_owned()))];
    }
    let text = |column| drift::finding(column, shape, (&scope.tenant, &scope.local_table));
    let texts = drifted.into_iter().filter_map(text);
    let verdict = |text: String| match mapping.on_drift {
        OnDrift::Warn => Verdict::Warning(text),
        OnDrift::Fail => Verdict::Failed(failure(&text)),
    };
    texts
        .map(|text| Finding::new("drift", verdict(text)))
        .collect()
}

fn failure(text: &str) -> Failure {
    let remedy = "Do one of these; with METER_SYNC_ON_DRIFT=warn the other columns go on being synced meanwhile.";
    Failure::new(ErrorCode::SchemaDrift, format!("{text}.")).with_remedy(remedy)
}
