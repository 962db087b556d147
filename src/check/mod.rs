//! `meter-sync check`: looks at everything a sync needs, and says of each what is well, what
//! deserves attention, or what is wrong and how to mend it.
//!
//! It writes nothing on either side: both databases are only asked in read-only transactions, which
//! are rolled back. What fails keeps nothing else from being looked at, except what rests on it.

use chrono::{DateTime, Utc};

use crate::clock;
use crate::config::{Config, ConfigError, Setting};
use crate::db::{Local, Remote};
use crate::error::Failure;
use crate::meter::TenantId;
use crate::runs::tenant::{self, TenantCheck};
use crate::sync::SyncError;

use reached::Reached;
use rows::Extent;

mod called;
mod drift;
mod inherited;
mod limits;
mod obstacles;
mod privileges;
mod publications;
mod reached;
mod rows;
mod sequences;
mod servers;
mod tables;

/// One thing that was looked at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// What it is.
    pub subject: String,
    /// What was found.
    pub verdict: Verdict,
}

/// How one thing stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It is well; what there is.
    Ok(String),
    /// A sync works, but this deserves attention; what and why.
    Warning(String),
    /// A sync cannot work.
    Failed(Failure),
}

impl Finding {
    fn new(subject: &str, verdict: Verdict) -> Self {
        Self {
            subject: subject.to_owned(),
            verdict,
        }
    }

    fn of(subject: &str, looked: Result<Verdict, Failure>) -> Self {
        Self::new(subject, looked.unwrap_or_else(Verdict::Failed))
    }
}

/// Looks at everything. Of the remote meters all are computed, which takes as long as a first sync reads them.
pub async fn run(config: &Config) -> Vec<Finding> {
    Box::pin(look(config, Extent::All)).await
}

/// The same with some of the remote meters, for a page that is not to wait.
pub async fn glance(config: &Config) -> Vec<Finding> {
    Box::pin(look(config, Extent::First)).await
}

async fn look(config: &Config, extent: Extent) -> Vec<Finding> {
    let limits = &config.limits;
    let (remote, local) = tokio::join!(
        Reached::<Remote>::new(config.remote.as_ref(), limits),
        Reached::<Local>::new(config.local.as_ref(), limits),
    );
    let (mut findings, mut remote) = reached::findings(remote, config.remote.as_ref());
    let (more, mut local) = reached::findings(local, config.local.as_ref());
    findings.extend(more);
    findings.extend(servers::of_remote(config.remote.as_ref(), limits).await);
    findings.extend(servers::of_local(config.local.as_ref(), limits).await);
    findings.extend(reached::clocks(remote.as_ref(), local.as_ref()));
    findings.extend(reached::encodings(remote.as_ref(), local.as_ref()));
    if let Some(remote) = &mut remote {
        findings.push(privileges::remote_is_only_read(remote).await);
    }
    findings.extend(limits::of_both(remote.as_mut(), local.as_mut(), limits).await);
    let mut tenant = None;
    if let Some(local) = &mut local {
        findings.extend(obstacles::of(local, &config.mapping).await);
        findings.push(tables::of_our_own(local).await);
        findings.push(privileges::temporary_tables(local).await);
        let finding = tenant_of(local, config).await;
        findings.push(match finding {
            Ok((id, finding)) => {
                tenant = Some(id);
                finding
            }
            Err(failure) => Finding::new("tenant", Verdict::Failed(failure)),
        });
    }
    let sides = (remote.as_mut(), local.as_mut());
    findings.extend(tables_and_rows(config, sides, tenant.as_ref(), extent).await);
    findings.push(schedule(config, clock::now()));
    findings
}

/// What is found of the meters: both tables, who may read and write them, and whose rows they hold.
async fn tables_and_rows(
    config: &Config,
    (remote, local): (Option<&mut Reached<Remote>>, Option<&mut Reached<Local>>),
    tenant: Option<&TenantId>,
    extent: Extent,
) -> Vec<Finding> {
    let mapping = &config.mapping;
    let mut findings = Vec::new();
    match (remote, local, tenant) {
        (Some(remote), Some(local), Some(tenant)) => {
            let (found, shape) = tables::shape(remote, local, mapping, tenant).await;
            findings.extend(found);
            let shape = shape.as_ref();
            findings.push(privileges::remote_table(remote, mapping, shape).await);
            findings.push(privileges::local_table(local, mapping, shape).await);
            if let Some(shape) = shape {
                findings.extend(called::finding(local, shape).await);
                findings.extend(drift::findings(local, mapping, shape).await);
                findings.extend(sequences::findings(local, shape).await);
                findings.extend(inherited::finding(local, shape).await);
                findings.push(rows::remote(remote, config, shape, (tenant, extent)).await);
                findings.extend(rows::tenant_indexes(remote, local, mapping, shape).await);
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
    local: &mut Reached<Local>,
    config: &Config,
) -> Result<(TenantId, Finding), Failure> {
    let tx = local.look().await.map_err(|e| e.failure())?;
    let TenantCheck { id, name, mismatch } = tenant::look(&tx, &config.mapping).await?;
    if let Some((table, found)) = mismatch {
        let wanted = id.clone();
        let failure = SyncError::TenantMismatch {
            table,
            found,
            wanted,
        }
        .failure();
        return Ok((id, Finding::new("tenant", Verdict::Failed(failure))));
    }
    let name = name.map_or_else(String::new, |name| format!(" ({name})"));
    let origin = match config.mapping.tenant {
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

/// The failure of a database that no setting names.
fn missing(setting: Setting) -> Failure {
    ConfigError::Missing(setting.env()).into()
}
