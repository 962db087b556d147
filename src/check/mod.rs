//! `meter-sync check`: tests every requirement of a sync. The result of each test is a [`Finding`]: the requirement is
//! met, a sync works but something deserves attention, or the requirement is not met (with advice how to fix that).
//!
//! The checks write nothing to either database: they only read, in transactions that are rolled back. All transactions
//! on the remote are read-only. So are those on the local database, except those that ask for the server's version and
//! those that list the tenants of a process that syncs several. After a failed check, the other checks still run,
//! except those that depend on it.

use chrono::{DateTime, Utc};

use crate::config::{Config, ConfigError, Setting, SourceSetting};
use crate::db::{Local, Remote};
use crate::engine::{self, SyncError};
use crate::error::Failure;
use crate::machine_clock;
use crate::model::TenantId;
use crate::tenants;

use connections::ConnectionWithReport;
use remote_rows_and_tenant_indexes::RemoteRowLimit;
use synced_columns::CheckedTables;

mod changed_remote_columns;
mod checks_of_first_tenants;
mod citus_distribution;
mod connection_hosts;
mod connections;
mod inherited_duplicate_keys;
mod lacking_functions;
mod meter_sync_schema;
mod privileges;
mod privileges_on_used_objects;
mod publications;
mod remote_rows_and_tenant_indexes;
mod replaced_remote;
mod sequences;
mod server_limits;
mod synced_columns;
mod tables_of_every_tenant;
mod triggers_and_policies;

/// The result of one check.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// What was checked.
    pub subject: String,
    /// Whether the requirement is met, and the details.
    pub verdict: Verdict,
}

/// Whether one requirement is met.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// The requirement is met. The text says what was found.
    Ok(String),
    /// A sync works, but something deserves attention. The text says what and why.
    Warning(String),
    /// A sync cannot work. The failure says why and what to do.
    Failed(Failure),
}

impl Finding {
    fn new(subject: &str, verdict: Verdict) -> Self {
        Self {
            subject: subject.to_owned(),
            verdict,
        }
    }

    fn of(subject: &str, looked: Result<Verdict, impl Into<Failure>>) -> Self {
        let verdict = looked.unwrap_or_else(|error| Verdict::Failed(error.into()));
        Self::new(subject, verdict)
    }

    /// Returns the finding of a check that reads `source`, the remote table or query. For an error, the remedy takes
    /// the kind of source into account.
    fn of_source(
        subject: &str,
        looked: Result<Verdict, SyncError>,
        source: &SourceSetting,
    ) -> Self {
        let verdict =
            looked.unwrap_or_else(|error| Verdict::Failed(engine::failure(&error, source)));
        Self::new(subject, verdict)
    }
}

/// How many tenants [`run`] checks in full if the process syncs several tenants.
const TENANTS_CHECKED_IN_FULL: usize = 3;

/// Runs all checks and returns the results. The remote evaluates all rows of the tenant, which takes as long as in a
/// first sync. If the process syncs several tenants, only the first few are checked in full.
pub async fn run(config: &Config) -> Vec<Finding> {
    match config.tenants.is_one() {
        true => Box::pin(look(config, RemoteRowLimit::All)).await,
        false => {
            Box::pin(checks_of_first_tenants::look_at_several(
                config,
                RemoteRowLimit::All,
                TENANTS_CHECKED_IN_FULL,
            ))
            .await
        }
    }
}

/// Runs the checks for a web page, which must not wait long. The remote evaluates only the first 100 rows of the tenant
/// and counts all of them. Duplicate keys on the remote are not looked for. If the process syncs several tenants, only
/// the rows of the first are checked.
pub async fn run_quick(config: &Config) -> Vec<Finding> {
    match config.tenants.is_one() {
        true => Box::pin(look(config, RemoteRowLimit::First)).await,
        false => {
            Box::pin(checks_of_first_tenants::look_at_several(
                config,
                RemoteRowLimit::First,
                1,
            ))
            .await
        }
    }
}

async fn look(config: &Config, rows_to_read: RemoteRowLimit) -> Vec<Finding> {
    let limits = &config.limits;
    let (remote, local) = tokio::join!(
        ConnectionWithReport::<Remote>::new(config.remote.as_ref(), limits),
        ConnectionWithReport::<Local>::new(config.local.as_ref(), limits),
    );
    let (mut findings, mut remote) = connections::findings(remote, config.remote.as_ref());
    let (more, mut local) = connections::findings(local, config.local.as_ref());
    findings.extend(more);
    findings.extend(connection_hosts::of_remote(config.remote.as_ref(), limits).await);
    findings.extend(connection_hosts::of_local(config.local.as_ref(), limits).await);
    findings.extend(connections::clocks(remote.as_ref(), local.as_ref()));
    findings.extend(connections::encodings(remote.as_ref(), local.as_ref()));
    if let Some(remote) = &mut remote {
        findings.push(privileges::remote_is_only_read(remote).await);
    }
    findings.extend(server_limits::of_both(remote.as_mut(), local.as_mut(), config).await);
    findings.extend(lacking_functions::findings(remote.as_mut(), local.as_mut()).await);
    let mut tenant = None;
    if let Some(local) = &mut local {
        findings.extend(triggers_and_policies::of(local, &config.mapping).await);
        findings.push(meter_sync_schema::finding(local).await);
        findings.push(privileges::temporary_tables(local).await);
        let finding = tenant_of(local, config).await;
        findings.push(match finding {
            Ok((id, finding)) => {
                tenant = Some(id);
                finding
            }
            Err(failure) => Finding::of("tenant", Err(failure)),
        });
    }
    let (remote, local) = (remote.as_mut(), local.as_mut());
    findings.extend(tables_and_rows(config, remote, local, tenant.as_ref(), rows_to_read).await);
    findings.push(schedule(config, machine_clock::now()));
    findings
}

/// Checks the remote and the local meter table, the privileges on them, and their rows. If a connection or the tenant
/// is missing, checks only the privileges on the tables that can be reached.
async fn tables_and_rows(
    config: &Config,
    remote: Option<&mut ConnectionWithReport<Remote>>,
    local: Option<&mut ConnectionWithReport<Local>>,
    tenant: Option<&TenantId>,
    rows_to_read: RemoteRowLimit,
) -> Vec<Finding> {
    let mapping = &config.mapping;
    let mut findings = Vec::new();
    match (remote, local, tenant) {
        (Some(remote), Some(local), Some(tenant)) => {
            findings.extend(citus_distribution::finding(local, mapping).await);
            let (found, both) = synced_columns::findings(remote, local, mapping, tenant).await;
            findings.extend(found);
            let relations = both.as_ref().map(|both| &both.relations);
            findings.push(privileges::remote_table(remote, mapping, relations).await);
            findings.push(privileges::local_table(local, mapping, relations).await);
            if let Some(both @ CheckedTables { relations, scope }) = &both {
                findings.extend(privileges_on_used_objects::finding(local, relations).await);
                findings.extend(changed_remote_columns::findings(local, mapping, relations).await);
                findings
                    .extend(replaced_remote::finding(remote, local, config, tenant, both).await);
                findings.extend(sequences::findings(local, relations).await);
                findings.extend(inherited_duplicate_keys::finding(local, relations, scope).await);
                findings.push(
                    remote_rows_and_tenant_indexes::remote(remote, config, both, rows_to_read)
                        .await,
                );
                findings.extend(
                    remote_rows_and_tenant_indexes::tenant_indexes(remote, local, mapping, both)
                        .await,
                );
            }
        }
        (remote, local, _) => {
            if let Some(remote) = remote {
                findings.push(privileges::remote_table(remote, mapping, None).await);
            }
            if let Some(local) = local {
                findings.push(privileges::local_table(local, mapping, None).await);
            }
        }
    }
    findings
}

async fn tenant_of(
    local: &mut ConnectionWithReport<Local>,
    config: &Config,
) -> Result<(TenantId, Finding), Failure> {
    let tx = local.begin_read_only().await?;
    let scope = tenants::scope(&tx, &config.mapping).await?;
    let id = scope.tenant.given.clone();
    if let Some(found) = tenants::other(&tx, &scope).await? {
        let failure = SyncError::TenantMismatch {
            table: scope.table.name,
            found,
            wanted: id.clone(),
        }
        .failure();
        return Ok((id, Finding::new("tenant", Verdict::Failed(failure))));
    }
    let name = scope.tenant.name;
    let name = name.map_or_else(String::new, |name| format!(" ({name})"));
    let origin = match config.mapping.tenant {
        _ if !config.tenants.is_one() => "the first of several".to_owned(),
        Some(_) => format!("as {} says", Setting::TenantId.env()),
        None => "the single row of the local table tenant".to_owned(),
    };
    let text = format!("{id}{name}, {origin}");
    Ok((id, Finding::new("tenant", Verdict::Ok(text))))
}

fn schedule(config: &Config, now: DateTime<Utc>) -> Finding {
    let text = match &config.schedule {
        _ if config.read_only => "off: this process is read-only".to_owned(),
        None => "off: a sync runs only when it is asked for".to_owned(),
        Some(schedule) => {
            let next = schedule.next_after(now).map_or_else(
                || "never again".to_owned(),
                |next| format!("next run {}", next.format("%Y-%m-%d %H:%M:%S UTC")),
            );
            format!("{}; {next}", schedule.describe())
        }
    };
    Finding::new("schedule", Verdict::Ok(text))
}

/// Returns the failure for a database whose URL is not set.
fn missing(setting: Setting) -> Failure {
    ConfigError::Missing(setting.env()).into()
}
