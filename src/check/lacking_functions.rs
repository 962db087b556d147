//! Checks that both servers have the functions and system columns of Postgres that a sync uses, and let the role use
//! them. Servers that only follow Postgres's protocol may lack some.

use super::connections::ConnectionWithReport;
use super::{Finding, Verdict};
use crate::db::lacking_functions::{XMIN, lacking};
use crate::db::{DbError, Local, Remote, Side, Tx};
use crate::error::Failure;
use crate::store::needed_functions;

/// The functions and system columns without which a run compares more rows than it would have to, on either side.
const USED: [&str; 15] = [
    "hashint4extended(integer,bigint)",
    "hashtextextended(text,bigint)",
    "hashfloat8extended(double precision,bigint)",
    "hashinetextended(inet,bigint)",
    "uuid_hash_extended(uuid,bigint)",
    "hash_array_extended(anyarray,bigint)",
    "hashtidextended(tid,bigint)",
    "bit_xor(bigint)",
    "age(xid)",
    "pg_current_snapshot()",
    "pg_snapshot_xmin(pg_snapshot)",
    "pg_snapshot_xmax(pg_snapshot)",
    "sha256(bytea)",
    "int8send(bigint)",
    XMIN,
];

/// Returns a finding for each server that lacks something.
pub(super) async fn findings(
    remote: Option<&mut ConnectionWithReport<Remote>>,
    local: Option<&mut ConnectionWithReport<Local>>,
) -> Vec<Finding> {
    let mut findings = Vec::new();
    if let Some(remote) = remote {
        findings.extend(of_remote(remote).await.transpose().map(finding::<Remote>));
    }
    if let Some(local) = local {
        findings.extend(of_local(local).await.transpose().map(finding::<Local>));
    }
    findings
}

fn finding<S: Side>(looked: Result<Verdict, Failure>) -> Finding {
    Finding::of(&format!("{} server functions", S::NAME), looked)
}

async fn of_remote(remote: &mut ConnectionWithReport<Remote>) -> Result<Option<Verdict>, Failure> {
    Ok(slower(&remote.begin_read_only().await?).await?)
}

async fn of_local(local: &mut ConnectionWithReport<Local>) -> Result<Option<Verdict>, Failure> {
    let tx = local.begin_read_only().await?;
    needed_functions::require(&tx).await?;
    Ok(slower(&tx).await?)
}

/// Returns a warning if the server lacks what makes runs fast.
async fn slower<S: Side>(tx: &Tx<'_, S>) -> Result<Option<Verdict>, DbError> {
    let lacking = lacking(tx, &USED).await?;
    let warning = || {
        Verdict::Warning(format!(
            "it lacks {}, or denies it to the role. A run then compares more rows than it would have to, up to all of them.",
            lacking.join(", ")
        ))
    };
    Ok((!lacking.is_empty()).then(warning))
}
