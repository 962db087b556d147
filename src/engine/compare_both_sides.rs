//! Compares what both sides hold, apart from a sync: reads all rows of both sides and writes nothing.

use std::time::Instant;

use tokio::sync::watch;

use crate::db::{Local, Remote, Tx};
use crate::model::Progress;

use super::relations::refuse_same_or_taken_table::refuse_occupied;
use super::{
    ContentsComparison, DigestHashing, ProgressSender, Relations, RunContext, SyncError, SyncJob,
    TenantFilters, VerificationSql, digest, read, resolve_scope,
};

/// Compares the contents of all rows of both sides, and writes nothing. The first seed is that of the hashes of the
/// rows, the second one that of the hashes of these hashes.
///
/// The seeds must be new for each comparison, so that different rows whose hashes are equal by chance do not stay
/// unseen in the next comparison. The number of bytes that the remote sent is published to the observer, even if the
/// comparison fails or is cancelled.
///
/// A sync may run at the same time, because each side is read in one snapshot. The local table is only locked against
/// being altered. Changes of a running sync may be reported as a difference. A later sync of the reported rows then
/// finds nothing to do.
pub async fn compare(
    remote: Tx<'_, Remote>,
    local: &Tx<'_, Local>,
    job: &SyncJob<'_>,
    seeds: [u64; 2],
    observer: &ProgressSender,
) -> Result<ContentsComparison, SyncError> {
    let contents = {
        let _told = read::relay_rows::ReadProgressReporter {
            remote: &remote,
            observer,
            before: 0,
        };
        let (relations, scope) = resolve(&remote, local, job).await?;
        let run = &RunContext {
            local,
            relations: &relations,
            scope: &scope,
            job,
            observer,
        };
        digest::compare_contents(&remote, run, seeds).await?
    };
    read::commit_unless_rewritten::commit_unless_rewritten(remote).await?;
    Ok(contents)
}

/// Builds the statements with which anyone can compute the digest of each side. They hash as an earlier comparison did,
/// if `hashing` is given, and otherwise with these seeds. Reads only the catalogs of both sides.
pub async fn verification_sql(
    remote: &Tx<'_, Remote>,
    local: &Tx<'_, Local>,
    job: &SyncJob<'_>,
    hashing: Option<DigestHashing>,
    seeds: [u64; 2],
) -> Result<VerificationSql, SyncError> {
    let (relations, scope) = resolve(remote, local, job).await?;
    let (observer, _) = watch::channel(Progress::start(Instant::now()));
    let run = &RunContext {
        local,
        relations: &relations,
        scope: &scope,
        job,
        observer: &observer,
    };
    Ok(digest::verification_sql::build(remote, run, hashing, seeds).await?)
}

/// Looks up the two tables and the tenant's rows of them, and prepares both transactions for reading these rows.
async fn resolve(
    remote: &Tx<'_, Remote>,
    local: &Tx<'_, Local>,
    job: &SyncJob<'_>,
) -> Result<(Relations, TenantFilters), SyncError> {
    let resolved = Box::pin(resolve_scope::resolve(remote, local, job));
    let (relations, scope, here) = resolved.await?;
    resolve_scope::prepare_to_read(remote, &relations, &scope).await?;
    if relations.local_tenant.is_none() {
        refuse_occupied(&here, job)?;
    }
    Ok((relations, scope))
}
