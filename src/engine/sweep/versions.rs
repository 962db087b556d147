//! Compares the row versions of many tenants with their watermarks (see `digest::versions` for what versions prove).
//!
//! First each server sums the versions of all tenants together, which needs no grouping and takes two thirds of the time.
//! If both sums are those of all watermarks, nothing has changed.
//!
//! Otherwise each server sums by tenant. The local server compares its sums with the watermarks itself. Those that agree
//! give the sums that the remote should have.

use crate::db::catalog::Column;
use crate::db::param::{self, Param};
use crate::db::{DbError, Local, Remote, Tx, both, quote};
use crate::engine::digest::cursor::{
    DEFAULT_GROUPING, GROUP_BY_HASH, SAVEPOINT, none_if_not_computable,
};
use crate::engine::digest::versions::{self, row_version};
use crate::engine::{Relations, SyncError};
use crate::model::TenantId;

use super::array;
use super::groups::{Groups, Sum};

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
    let ids: Vec<String> = tenants.iter().map(|id| id.as_str().to_owned()).collect();
    let params = [
        param::texts(&ids),
        param::text(relations.local.as_str()),
        param::bytea(basis.as_bytes()),
    ];
    if are_all_unchanged(remote, local, (relations, column), tenants, &params).await? {
        return Ok(Some(Looked {
            is_equal: vec![true; tenants.len()],
            unproven: Vec::new(),
        }));
    }
    let ids = array(tenants, "pg_catalog.text");
    let from = (relations.remote_from.as_str(), "r");
    let there = by_tenant(from, &relations.remote_tenant, tenants, &ids);
    let (there, expected) = both(
        Groups::open(remote, &there),
        expected(local, (relations, column), tenants, &params),
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

const REMEMBERED: &str = "\
-- sum up the watermarks
select pg_catalog.count(*),
       coalesce(pg_catalog.sum(remote_rows), 0)::bigint, coalesce(pg_catalog.bit_xor(remote_sum), 0),
       coalesce(pg_catalog.sum(local_rows), 0)::bigint, coalesce(pg_catalog.bit_xor(local_sum), 0)
from meter_sync.meter_sync_seen
where tenant = any ($1) and local_table = $2 and basis = pg_catalog.encode(pg_catalog.sha256($3), 'hex')";

/// Whether all tenants have a watermark on this basis, and both sides hold exactly the rows of all watermarks together.
async fn are_all_unchanged(
    remote: &Tx<'_, Remote>,
    local: &Tx<'_, Local>,
    (relations, column): (&Relations, &Column),
    tenants: &[TenantId],
    params: &[Param<'_>; 3],
) -> Result<bool, DbError> {
    let known = local.query_one(REMEMBERED, params).await?;
    if usize::try_from(known.get::<_, i64>(0)) != Ok(tenants.len()) {
        return Ok(false);
    }
    let (there, here) = both(
        versions::total(
            remote,
            "r",
            &relations.remote_from,
            &is_of("r", &relations.remote_tenant, tenants),
        ),
        versions::total(local, "l", &relations.local, &is_of("l", column, tenants)),
    )
    .await?;
    let is_known = |total: Option<versions::Total>, place| {
        total.is_some_and(|total| total.versions == (known.get(place), known.get(place + 1)))
    };
    Ok(is_known(there, 1) && is_known(here, 3))
}

/// An SQL condition: the row is of one of these tenants. Servers that have versions (see `digest::versions`) look each row
/// up in a hash table of the ids, because the ids are constants.
fn is_of(row: &str, column: &Column, tenants: &[TenantId]) -> String {
    let name = quote::identifier(&column.name);
    let ids = array(tenants, &column.base_type);
    format!("{row}.{name} {} any ({ids})", column.equals)
}

/// SQL for the sums of versions by tenant (see [`Groups::open`]). `ids` is an SQL expression of an array of texts. Rows are
/// grouped before they meet the ids, which is faster than a join of all rows.
fn by_tenant(
    (from, row): (&str, &str),
    column: &Column,
    tenants: &[TenantId],
    ids: &str,
) -> String {
    let (version, is_of) = (row_version(row), is_of(row, column, tenants));
    let name = quote::identifier(&column.name);
    let (equals, type_) = (&column.equals, &column.base_type);
    format!(
        "select u.n, coalesce(g.rows, 0) as rows, coalesce(g.sum, 0) as sum
    from pg_catalog.unnest({ids}) with ordinality u (id, n)
    left join (
        select {row}.{name} as tenant, pg_catalog.count(*) as rows, pg_catalog.bit_xor({version}) as sum
        from {from} {row} where {is_of} group by 1
    ) g on g.tenant {equals} u.id::{type_}"
    )
}

/// The sums that the remote should have: those of the watermark of each tenant whose local rows are as the watermark
/// says, and `None` for all others. Returns `None` if they cannot be computed. `params` name the watermarks: the ids, the
/// local table and the basis.
async fn expected(
    local: &Tx<'_, Local>,
    (relations, column): (&Relations, &Column),
    tenants: &[TenantId],
    params: &[Param<'_>; 3],
) -> Result<Option<Vec<Option<Sum>>>, DbError> {
    let sums = by_tenant((&relations.local, "l"), column, tenants, "$1");
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
    let open = format!("savepoint {SAVEPOINT}; {GROUP_BY_HASH}");
    local.batch(&open).await?;
    let answered = local.query(&sql, params).await;
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
