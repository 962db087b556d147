//! Checks the timeouts and connection limits that are set for the server, the database or the role.

use std::time::Duration;

use super::connections::ConnectionWithReport;
use super::{Finding, Verdict};
use crate::config::{Config, Limits, Setting};
use crate::db::{DbError, Local, Remote, RoleLimits, Side, SideName, Tx};
use crate::error::{ErrorCode, Failure};
use crate::mirrors;
use crate::model::saturating_i64;

/// Returns findings about the limits of both databases: timeouts that are lower than our settings, limits on
/// connections, and a remote standby that can cancel reads. A database without a connection is left out.
pub(super) async fn of_both(
    remote: Option<&mut ConnectionWithReport<Remote>>,
    local: Option<&mut ConnectionWithReport<Local>>,
    config: &Config,
) -> Vec<Finding> {
    let mut findings = Vec::new();
    if let Some(remote) = remote {
        findings.extend(of_side(remote.begin_read_only().await, config).await);
        findings.extend(standby(remote, &config.limits).await);
    }
    if let Some(local) = local {
        findings.extend(of_side(local.begin_read_only().await, config).await);
    }
    findings
}

async fn of_side<S: Side>(tx: Result<Tx<'_, S>, DbError>, config: &Config) -> Vec<Finding> {
    let tx = match tx {
        Ok(tx) => tx,
        Err(error) => return vec![connections_finding::<S>(Err(error))],
    };
    let timeouts = timeouts(S::NAME, tx.role_limits(), &config.limits);
    let mut findings: Vec<Finding> = timeouts.into_iter().collect();
    findings.push(connections_finding::<S>(connections(&tx, config).await));
    findings
}

/// Returns a warning if timeouts of the role are lower than our settings, because they can end a run early; `None` if
/// none is lower.
fn timeouts(side: SideName, role: RoleLimits, limits: &Limits) -> Option<Finding> {
    let (statement, run) = (
        (Setting::StatementTimeout.env(), limits.statement_timeout),
        (Setting::RunTimeout.env(), limits.run_timeout),
    );
    let lock = (Setting::LockTimeout.env(), limits.lock_timeout);
    let pairs = [
        ("statement_timeout", role.statement, statement),
        ("lock_timeout", role.lock, lock),
        ("idle_in_transaction_session_timeout", role.idle, run),
        ("transaction_timeout", role.transaction, run),
    ];
    let lower = pairs
        .into_iter()
        .filter_map(|(name, theirs, (setting, ours))| {
            let theirs: Duration = theirs.filter(|theirs| *theirs < ours)?;
            Some(format!("{name} of {theirs:?} ({setting} is {ours:?})"))
        });
    let lower: Vec<_> = lower.collect();
    if lower.is_empty() {
        return None;
    }
    let text = format!(
        "the role, its database or the server has limits of its own, which are kept and can end a run early: {}. \
         Where runs need longer: alter role <role> set <limit> = '15min'.",
        lower.join(", ")
    );
    Some(Finding::new(
        &format!("{side} limits"),
        Verdict::Warning(text),
    ))
}

const CONNECTIONS: &str = "\
-- look at the connection limits
select r.rolconnlimit, d.datconnlimit
from pg_catalog.pg_roles r, pg_catalog.pg_database d
where r.rolname = session_user and d.datname = current_database() and not r.rolsuper";

fn connections_finding<S: Side>(looked: Result<Verdict, DbError>) -> Finding {
    let subject = format!("{} connections", S::NAME);
    Finding::of(&subject, looked)
}

/// Checks that the connection limit of the role or database is enough for one run. Warns if a process that syncs
/// several tenants can use more connections than the limit allows.
async fn connections<S: Side>(tx: &Tx<'_, S>, config: &Config) -> Result<Verdict, DbError> {
    let needed = S::FOR_A_RUN;
    let is_one = config.tenants.is_one();
    let most = S::connections_for(mirrors::most_runs(config));
    let Some(row) = tx.query_opt(CONNECTIONS, &[]).await? else {
        return Ok(Verdict::Ok("not limited for this role".to_owned()));
    };
    let limits: [(&str, i32); 2] = [("role", row.get(0)), ("database", row.get(1))];
    let mut limited = limits.into_iter().filter(|(_, limit)| *limit >= 0);
    let Some((whose, limit)) = limited.by_ref().min_by_key(|(_, limit)| *limit) else {
        return Ok(Verdict::Ok("not limited for this role".to_owned()));
    };
    let is_enough_for = |count| usize::try_from(limit).is_ok_and(|limit| limit >= count);
    let text = format!("{limit} at most, by the connection limit of the {whose}");
    if is_enough_for(most) || is_one && is_enough_for(needed) {
        return Ok(Verdict::Ok(text));
    }
    if is_enough_for(needed) {
        return Ok(Verdict::Warning(format!(
            "{text}; with {} runs of a sweep at once, up to {most} can be open, and a run that gets none fails. \
             Lower METER_SYNC_WORKERS, or as an administrator: alter {whose} <{whose}> connection limit {most}.",
            config.workers
        )));
    }
    let code = match S::NAME {
        SideName::Remote => ErrorCode::RemoteUnreachable,
        SideName::Local => ErrorCode::LocalUnreachable,
    };
    let message = format!(
        "The connection limit of the {} {whose} is {limit}, and a run needs {needed} connections at once.",
        S::NAME
    );
    let remedy = format!(
        "As an administrator: alter {whose} <{whose}> connection limit {}.",
        most.max(S::connections_for(2))
    );
    Ok(Verdict::Failed(
        Failure::new(code, message).with_remedy(remedy),
    ))
}

const STANDBY: &str = "\
-- look whether the server is a standby
select d.setting::bigint, f.setting = 'on'
from pg_catalog.pg_settings d, pg_catalog.pg_settings f
where pg_is_in_recovery() and d.name = 'max_standby_streaming_delay' and f.name = 'hot_standby_feedback'";

/// Returns a finding if the remote is a standby, which may cancel a read so that recovery can go on; `None` for a
/// primary.
async fn standby(remote: &mut ConnectionWithReport<Remote>, limits: &Limits) -> Option<Finding> {
    let looked = async {
        let tx = remote.begin_read_only().await?;
        tx.query_opt(STANDBY, &[]).await
    };
    let looked: Result<_, DbError> = looked.await;
    let verdict = match looked {
        Ok(None) => return None,
        Ok(Some(row)) => {
            let (delay_ms, feedback): (i64, bool) = (row.get(0), row.get(1));
            let run_ms = saturating_i64(limits.run_timeout.as_millis());
            standby_verdict(delay_ms, run_ms, feedback)
        }
        Err(error) => Verdict::Failed(error.failure()),
    };
    Some(Finding::new("remote standby", verdict))
}

fn standby_verdict(delay_ms: i64, run_ms: i64, feedback: bool) -> Verdict {
    if delay_ms < 0 || delay_ms >= run_ms {
        return Verdict::Ok("a standby, which lets a read end before recovery goes on".to_owned());
    }
    let feedback = match feedback {
        true => "hot_standby_feedback is on, so only locks and rewrites conflict",
        false => "hot_standby_feedback is off, so vacuum conflicts as well",
    };
    Verdict::Warning(format!(
        "a standby, which cancels a read that is in the way of recovery for {delay_ms} ms ({feedback}); such a run is retried. \
         Raise max_standby_streaming_delay there, set hot_standby_feedback = on, or lead METER_SYNC_REMOTE_URL to the primary."
    ))
}
