//! Checks each server of a connection string that names several: whether it answers, and whether all are one primary
//! with its standbys (and not independent databases).

use std::collections::BTreeSet;

use futures_util::future::join_all;

use super::connections::ConnectionWithReport;
use super::{Finding, Verdict};
use crate::config::{DatabaseEndpoint, Limits};
use crate::db::{DbError, Local, Remote, Side, SideName, Tx};
use crate::error::Failure;

/// What one server reports about itself: whether it is a standby, and the identifier of its database cluster.
struct HostReport {
    is_standby: bool,
    cluster: i64,
}

const ASK: &str = "\
-- which server is this
select pg_catalog.pg_is_in_recovery(), c.system_identifier from pg_catalog.pg_control_system() c";

/// Checks the servers that the remote URL names. `None` if it names only one or is not set.
pub(super) async fn of_remote(
    endpoint: Option<&DatabaseEndpoint>,
    limits: &Limits,
) -> Option<Finding> {
    let ask = async |one: &DatabaseEndpoint| {
        let mut reached = ConnectionWithReport::<Remote>::new(Some(one), limits).await?;
        let tx = reached.begin_read_only().await?;
        Ok(ask(&tx).await?)
    };
    let each = several(endpoint)?;
    let answers = join_all(each.iter().map(ask)).await;
    Some(finding(SideName::Remote, &each, &answers))
}

/// Checks the servers that the local URL names. `None` if it names only one or is not set.
pub(super) async fn of_local(
    endpoint: Option<&DatabaseEndpoint>,
    limits: &Limits,
) -> Option<Finding> {
    let ask = async |one: &DatabaseEndpoint| {
        let mut reached = ConnectionWithReport::<Local>::new(Some(one), limits).await?;
        let tx = reached.begin_read_only().await?;
        Ok(ask(&tx).await?)
    };
    let each = several(endpoint)?;
    let answers = join_all(each.iter().map(ask)).await;
    Some(finding(SideName::Local, &each, &answers))
}

/// Returns an endpoint for each server that a connection string names. `None` if it names only one or is not set.
fn several(endpoint: Option<&DatabaseEndpoint>) -> Option<Vec<DatabaseEndpoint>> {
    let each: Vec<_> = endpoint?.each().collect();
    (each.len() > 1).then_some(each)
}

async fn ask<S: Side>(tx: &Tx<'_, S>) -> Result<HostReport, DbError> {
    let row = tx.query_one(ASK, &[]).await?;
    Ok(HostReport {
        is_standby: row.get(0),
        cluster: row.get(1),
    })
}

fn finding(
    side: SideName,
    each: &[DatabaseEndpoint],
    answers: &[Result<HostReport, Failure>],
) -> Finding {
    let told = each.iter().zip(answers).map(|(one, answer)| match answer {
        Ok(HostReport { is_standby, .. }) => {
            let kind = if *is_standby { "standby" } else { "primary" };
            format!("{} ({kind})", one.address())
        }
        Err(why) => why.message.clone(),
    });
    let told = told.collect::<Vec<_>>().join("; ");
    let answering = || answers.iter().flatten();
    let primaries = answering().filter(|answer| !answer.is_standby).count();
    let clusters: BTreeSet<i64> = answering().map(|answer| answer.cluster).collect();
    let verdict = if primaries > 1 || clusters.len() > 1 {
        Verdict::Warning(format!(
            "{told}: these are databases of their own, not one with its standbys, and a sync takes whichever lets it in first. \
             Name the servers of one database in {}.",
            side.url_variable()
        ))
    } else if answers.iter().all(Result::is_ok) {
        Verdict::Ok(told)
    } else {
        Verdict::Warning(format!(
            "{told}. A sync goes by while another one lets it in."
        ))
    };
    Finding::new(&format!("{side} servers"), verdict)
}
