//! Checks a process that keeps several tenants: what is common to all once, the rows of the first few, and of all
//! whether they are there (`all_tenants`).

use tokio_util::task::TaskTracker;

use super::tenant_rows::RowLimit;
use super::{Finding, Verdict, all_tenants, look};
use crate::config::Config;
use crate::error::{ErrorCode, Failure};
use crate::mirrors::{Mirrors, TenantMirror};

/// The subject of the finding about the tenant of one mirror.
const TENANT: &str = "tenant";

/// Checks the first tenants, at most `limit`, and says how many were left out.
pub(super) async fn look_at_several(
    config: &Config,
    extent: RowLimit,
    limit: usize,
) -> Vec<Finding> {
    let (mirrors, all) = match all(config).await {
        Ok(found) => found,
        Err(failure) => return without_tenants(config, extent, failure).await,
    };
    let (looked, mut findings) = (all.len().min(limit), Vec::new());
    for known in all.iter().take(limit) {
        let config = Config {
            mapping: known.mirror.mapping().clone(),
            ..config.clone()
        };
        let found = look(&config, extent).await;
        match findings.is_empty() {
            true => findings = found,
            false => add(&mut findings, found, known),
        }
    }
    findings.extend(all_tenants::findings(config, &mirrors, &all, extent).await);
    let ids: Vec<&str> = all
        .iter()
        .take(limit)
        .map(|known| known.id.as_str())
        .collect();
    let left = all.len() - looked;
    let text = match left {
        0 => format!(
            "{} are kept in sync, and the rows of all were looked at",
            all.len()
        ),
        left => format!(
            "{} are kept in sync; the rows of {} were looked at, and those of {left} were not: --tenant looks at one of them",
            all.len(),
            ids.join(", ")
        ),
    };
    findings.push(Finding::new("tenants", Verdict::Ok(text)));
    findings
}

async fn all(config: &Config) -> Result<(Mirrors, Vec<TenantMirror>), Failure> {
    let mirrors = Mirrors::new(config.clone(), TaskTracker::new()).map_err(Failure::from)?;
    let all = mirrors.all().await?.to_vec();
    match all.is_empty() {
        true => Err(Failure::new(
            ErrorCode::TenantNotConfigured,
            "The settings name no tenant: METER_SYNC_TENANTS or METER_SYNC_TENANTS_QUERY finds none.",
        )),
        false => Ok((mirrors, all)),
    }
}

/// The findings while it is not known which tenants there are.
async fn without_tenants(config: &Config, extent: RowLimit, failure: Failure) -> Vec<Finding> {
    let mut findings = look(config, extent).await;
    for finding in &mut findings {
        if finding.subject == TENANT {
            finding.verdict = Verdict::Failed(failure.clone());
        }
    }
    findings
}

/// Adds what was found of one more tenant: its rows, and what is not well and was not found before.
fn add(findings: &mut Vec<Finding>, found: Vec<Finding>, known: &TenantMirror) {
    for finding in found {
        let is_of_tenant = finding.subject == super::tenant_rows::SUBJECT;
        let is_well = matches!(finding.verdict, Verdict::Ok(_));
        if is_of_tenant || !is_well && !findings.contains(&finding) {
            let subject = format!("tenant {}: {}", known.id, finding.subject);
            findings.push(Finding { subject, ..finding });
        }
    }
}
