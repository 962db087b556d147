//! Compares the row versions of many tenants with their watermarks (see `digest::versions` for what versions prove).
//!
//! The local server compares its sums with the watermarks itself. Those that agree give the sums that the remote should
//! have.

use crate::db::catalog::Column;
use crate::db::{DbError, Local, Remote, Tx, both, param};
use crate::engine::digest::cursor::{
    DEFAULT_GROUPING, GROUP_BY_HASH, SAVEPOINT, none_if_not_computable,
};
use crate::engine::digest::versions::row_version;
use crate::engine::{Relations, SyncError};
use crate::model::TenantId;

use super::groups::{Groups, Sum};
use super::{Summed, array};

/// What the versions tell of many tenants.
pub(super) struct Looked {
    /// For each tenant, whether both sides hold exactly the rows that they held when they were last found equal.
    pub(super) is_equal: Vec<bool>,
    /// The places of the tenants of which the versions tell nothing.
    pub(super) unproven: Vec<usize>,
}

/// Looks at the versions of both sides. Returns `None` if they prove nothing for these tables.
pub(super) async fn look(
    remote: &Tx<'_, Remote>,
    local: &Tx<'_, Local>,
    (relations, column): (&Relations, &Column),
    tenants: &[TenantId],
) -> Result<Option<Looked>, SyncError> {
    let Some(basis) = &relations.versions else {
        return Ok(None);
    };
    let (ids, hash) = (array(tenants), row_version("r"));
    let there = Summed {
        table: &relations.remote_from,
        row: "r",
        column: &relations.remote_tenant,
        hash: &hash,
        condition: "",
        ids: &ids,
    };
    let (there, expected) = both(
        Groups::open(remote, &there),
        expected(local, (relations, column), basis, tenants),
    )
    .await?;
    let (there, expected) = match (there, expected) {
        (Some(there), Some(expected)) => (there, expected),
        (Some(there), None) => {
            there.abandon().await?;
            return Ok(None);
        }
        (None, _) => return Ok(None),
    };
    let unproven = (0..).zip(&expected).filter(|(_, sum)| sum.is_none());
    Ok(Some(Looked {
        unproven: unproven.map(|(place, _)| place).collect(),
        is_equal: there.agree(&expected).await?,
    }))
}

/// The sums that the remote should have: those of the watermark of each tenant whose local rows are as the watermark
/// says, and `None` for all others. Returns `None` if they cannot be computed.
async fn expected(
    local: &Tx<'_, Local>,
    (relations, column): (&Relations, &Column),
    basis: &str,
    tenants: &[TenantId],
) -> Result<Option<Vec<Option<Sum>>>, DbError> {
    let hash = row_version("l");
    let here = Summed {
        table: &relations.local,
        row: "l",
        column,
        hash: &hash,
        condition: "",
        ids: "$1",
    };
    let sums = here.by_tenant();
    let sql = format!(
        "-- sweep the local versions
with sums as materialized (
    {sums}
)
select u.n, s.remote_rows, s.remote_sum
from pg_catalog.unnest($1) with ordinality u (id, n)
join sums on sums.n = u.n
join meter_sync.meter_sync_seen s
    on s.tenant = u.id and s.local_table = $2 and s.basis = pg_catalog.encode(pg_catalog.sha256($3), 'hex')
where s.local_rows = sums.rows and s.local_sum = sums.sum"
    );
    let ids: Vec<String> = tenants.iter().map(|id| id.as_str().to_owned()).collect();
    let params = [
        param::texts(&ids),
        param::text(relations.local.as_str()),
        param::bytea(basis.as_bytes()),
    ];
    let open = format!("savepoint {SAVEPOINT}; {GROUP_BY_HASH}");
    local.batch(&open).await?;
    let answered = local.query(&sql, &params).await;
    let Some(rows) = none_if_not_computable(local, answered).await? else {
        return Ok(None);
    };
    let close = format!("{DEFAULT_GROUPING}; release savepoint {SAVEPOINT}");
    local.batch(&close).await?;
    let mut expected = vec![None; tenants.len()];
    for row in &rows {
        let place = usize::try_from(row.get::<_, i64>(0) - 1).unwrap_or(usize::MAX);
        if let Some(sum) = expected.get_mut(place) {
            *sum = Some(Sum {
                rows: row.get(1),
                hashes: row.get(2),
            });
        }
    }
    Ok(Some(expected))
}
