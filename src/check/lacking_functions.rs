//! Checks that both servers have the functions and system columns of Postgres that a sync uses, and let the role use
//! them. Servers that only follow Postgres's protocol may lack some. What a server has is looked up, and not concluded
//! from its version.

use std::collections::BTreeSet;

use super::connections::CheckedConnection;
use super::{Finding, Verdict};
use crate::db::{DbError, Local, Remote, Side, SideName, Tx, param};
use crate::error::{ErrorCode, Failure};

/// The functions without which the local server cannot be synced.
const NEEDED: [&str; 4] = [
    "pg_catalog.pg_try_advisory_xact_lock(bigint)",
    "pg_catalog.pg_advisory_xact_lock(bigint)",
    "pg_catalog.hashtextextended(text,bigint)",
    "pg_catalog.record_image_ne(record,record)",
];

/// The functions without which a run must read and compare all rows, on either side.
const USED: [&str; 7] = [
    "pg_catalog.hashint4extended(integer,bigint)",
    "pg_catalog.hashtextextended(text,bigint)",
    "pg_catalog.hashtidextended(tid,bigint)",
    "pg_catalog.bit_xor(bigint)",
    "pg_catalog.age(xid)",
    "pg_catalog.pg_current_snapshot()",
    "pg_catalog.pg_snapshot_xmin(pg_snapshot)",
];

/// Returns a finding for each server that lacks something.
pub(super) async fn findings(
    remote: Option<&mut CheckedConnection<Remote>>,
    local: Option<&mut CheckedConnection<Local>>,
) -> Vec<Finding> {
    let mut findings = Vec::new();
    if let Some(remote) = remote {
        findings.extend(of_side(remote.begin_read_only().await, &[]).await);
    }
    if let Some(local) = local {
        findings.extend(of_side(local.begin_read_only().await, &NEEDED).await);
    }
    findings
}

/// `needed` are the functions without which this server cannot be synced.
async fn of_side<S: Side>(tx: Result<Tx<'_, S>, DbError>, needed: &[&str]) -> Option<Finding> {
    let looked = async {
        let lacking = lacking(&tx?, needed).await?;
        Ok::<_, DbError>(verdict(S::NAME, &lacking, needed))
    };
    let verdict = looked.await.transpose()?;
    let subject = format!("{} server functions", S::NAME);
    Some(Finding::of(&subject, verdict))
}

/// The system column by whose value a run notices that somebody else has changed a meter.
const XMIN: &str = "the column xmin";

const LACKING: &str = "\
-- look for what the server lacks
select f.name from unnest($1) f (name)
cross join lateral (select to_regprocedure(f.name)::oid as oid) p
where has_function_privilege(p.oid, 'execute') is not true
union all
select $2 where not exists (
    select from pg_catalog.pg_attribute a
    where a.attrelid = 'pg_catalog.pg_class'::regclass and a.attname = 'xmin' and a.attnum < 0)
order by 1";

/// Returns those of the functions, and the column `xmin`, that the server lacks or denies.
async fn lacking<S: Side>(tx: &Tx<'_, S>, needed: &[&str]) -> Result<Vec<String>, DbError> {
    let names: BTreeSet<&str> = needed.iter().chain(&USED).copied().collect();
    let names: Vec<String> = names.into_iter().map(str::to_owned).collect();
    let params = [param::texts(&names), param::text(XMIN)];
    let rows = tx.query(LACKING, &params).await?;
    Ok(rows.iter().map(|row| row.get(0)).collect())
}

fn verdict(side: SideName, lacking: &[String], needed: &[&str]) -> Option<Verdict> {
    let is_needed = |name: &&String| {
        needed.contains(&name.as_str()) || !needed.is_empty() && name.as_str() == XMIN
    };
    let blocking: Vec<&str> = lacking
        .iter()
        .filter(is_needed)
        .map(String::as_str)
        .collect();
    if !blocking.is_empty() {
        let message = format!(
            "The {side} server lacks {}, or denies it to the role, and a sync needs it.",
            blocking.join(", ")
        );
        let remedy = "Grant execute on the functions to the role. If the server does not have them, use Postgres.";
        let failure = Failure::new(ErrorCode::LocalSchema, message).with_remedy(remedy);
        return Some(Verdict::Failed(failure));
    }
    (!lacking.is_empty()).then(|| {
        Verdict::Warning(format!(
            "it lacks {}, or denies it to the role. A run then compares more rows than it would have to, up to all of them.",
            lacking.join(", ")
        ))
    })
}
