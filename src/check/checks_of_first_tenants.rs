//! Checks a process that syncs several tenants. Runs all checks for each of the first few tenants, and reports only
//! once a problem that several of them share. For all tenants, the module `tables_of_every_tenant` checks that they
//! have a local table, and meters on the remote.

use tokio_util::task::TaskTracker;

use super::remote_rows_and_tenant_indexes::RemoteRowLimit;
use super::{Finding, Verdict, look, tables_of_every_tenant};
use crate::config::Config;
use crate::error::{ErrorCode, Failure};
use crate::mirrors::{Mirrors, TenantAndMirror};

/// The `subject` of the finding that says which tenant is checked.
const TENANT: &str = "tenant";

/// Runs all checks for the first tenants, at most `limit`, and the checks of [`tables_of_every_tenant`] for all. A last
/// finding says how many tenants were not checked in full.
pub(super) async fn look_at_several(
    config: &Config,
    rows_to_read: RemoteRowLimit,
    limit: usize,
) -> Vec<Finding> {
    let (mirrors, all) = match all(config).await {
        Ok(found) => found,
        Err(failure) => return without_tenants(config, rows_to_read, failure).await,
    };
    let (looked, mut findings) = (all.len().min(limit), Vec::new());
    for known in all.iter().take(limit) {
        let config = Config {
            mapping: known.mirror.mapping().clone(),
            ..config.clone()
        };
        let found = look(&config, rows_to_read).await;
        match findings.is_empty() {
            true => findings = found,
            false => add(&mut findings, found, known),
        }
    }
    findings.extend(tables_of_every_tenant::findings(config, &mirrors, &all, rows_to_read).await);
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

async fn all(config: &Config) -> Result<(Mirrors, Vec<TenantAndMirror>), Failure> {
    let mirrors = Mirrors::new(config.clone(), TaskTracker::new())?;
    let all = mirrors.all().await?.to_vec();
    match all.is_empty() {
        true => Err(Failure::new(
            ErrorCode::TenantNotConfigured,
            "The settings name no tenant: METER_SYNC_TENANTS or METER_SYNC_TENANTS_QUERY finds none.",
        )),
        false => Ok((mirrors, all)),
    }
}

/// Runs the checks that need no list of tenants, because that list could not be read. The finding about the tenant
/// reports `failure`.
async fn without_tenants(
    config: &Config,
    rows_to_read: RemoteRowLimit,
    failure: Failure,
) -> Vec<Finding> {
    let mut findings = look(config, rows_to_read).await;
    for finding in &mut findings {
        if finding.subject == TENANT {
            finding.verdict = Verdict::Failed(failure.clone());
        }
    }
    findings
}

/// Adds the findings about one more tenant to `findings`: always the one about its remote rows, and otherwise only
/// problems that `findings` does not have yet. The subject of each added finding names the tenant.
fn add(findings: &mut Vec<Finding>, found: Vec<Finding>, known: &TenantAndMirror) {
    for finding in found {
        let is_of_tenant = finding.subject == super::remote_rows_and_tenant_indexes::SUBJECT;
        let is_well = matches!(finding.verdict, Verdict::Ok(_));
        if is_of_tenant || !is_well && !findings.contains(&finding) {
            let subject = format!("tenant {}: {}", known.id, finding.subject);
            findings.push(Finding { subject, ..finding });
        }
    }
}
