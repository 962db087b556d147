//! Compares the contents of the rows of many tenants. Used if row versions prove nothing.

use tokio_postgres::SimpleQueryRow;
use uuid::Uuid;

use crate::db::catalog::Column;
use crate::db::{DbError, Local, Remote, Tx, both, quote};
use crate::engine::digest::row_hash::{HashFunction, HashMode, Hasher, PROBE, RowSide};
use crate::engine::digest::sum_cursor::{
    DEFAULT_GROUPING, GROUP_BY_HASH, SAVEPOINT, none_if_not_computable,
};
use crate::engine::digest::tombstones;
use crate::engine::{Relations, SyncError};
use crate::model::TenantId;

use super::array;
use super::tenant_groups::{Groups, Sum};

/// The sums of the local side.
struct LocalSums {
    sums: Vec<Option<Sum>>,
    /// See [`PROBE`].
    probe: String,
}

/// Tells for each tenant whether both sides hold the same rows. If that cannot be computed, no tenant counts as equal.
pub(super) async fn look(
    remote: &Tx<'_, Remote>,
    local: &Tx<'_, Local>,
    (relations, column): (&Relations, &Column),
    tenants: &[TenantId],
) -> Result<Vec<bool>, SyncError> {
    let ids = array(tenants, "pg_catalog.text");
    let mut mode = HashMode::USUAL;
    loop {
        let hasher = Hasher {
            // Fresh, so that rows whose hashes collide by chance do not collide again.
            seed: Uuid::new_v4().as_u64_pair().0,
            bits: u64::BITS,
            mode,
        };
        let hash = |side| hasher.hash(relations, side, |_| true);
        let (there, here) = (hash(RowSide::Remote), hash(RowSide::Local));
        let there = SumQuery {
            table: &relations.remote_from,
            row: "r",
            column: &relations.remote_tenant,
            hash: &there,
            condition: "",
            ids: &ids,
        };
        let condition = condition(relations);
        let here = SumQuery {
            table: &relations.local,
            row: "l",
            column,
            hash: &here,
            condition: &condition,
            ids: &ids,
        };
        let there = there.by_tenant();
        let looked = both(
            Groups::open(remote, &there),
            local_sums(local, &here, tenants.len()),
        );
        match looked.await? {
            (Some(there), Some(here)) if there.probe == here.probe => {
                return Ok(there.agree(&here.sums).await?);
            }
            (Some(there), Some(_)) if mode.function == HashFunction::Server => {
                there.abandon().await?;
                mode.function = HashFunction::Portable;
            }
            (Some(there), Some(here)) => return Ok(there.agree(&here.sums).await?),
            (there, _) => {
                if let Some(there) = there {
                    there.abandon().await?;
                }
                if !mode.casts || !relations.has_one_text_a_key {
                    return Ok(vec![false; tenants.len()]);
                }
                mode.casts = false;
            }
        }
    }
}

/// The conditions on local rows: they have a key, and are not inactive rows with a tombstone. No remote row can match a
/// row that is left out.
fn condition(relations: &Relations) -> String {
    format!(
        " and {} and not (l.{} is not true and exists (
        select from meter_sync.meter_sync_gone g
        where g.tenant = u.id and g.local_table = {} and g.key_hash = {}))",
        relations.has_key("l"),
        quote::identifier(&relations.active),
        quote::literal(&relations.local),
        tombstones::key_hash(relations)
    )
}

/// Sums the local rows by tenant. Returns `None` if the sums cannot be computed.
async fn local_sums(
    local: &Tx<'_, Local>,
    summed: &SumQuery<'_>,
    tenants: usize,
) -> Result<Option<LocalSums>, DbError> {
    let sums = summed.by_tenant();
    let sql = format!(
        "-- sweep the local rows
savepoint {SAVEPOINT};
{GROUP_BY_HASH};
select s.n, s.rows, s.sum, {PROBE} from ({sums}) s;
{DEFAULT_GROUPING};
release savepoint {SAVEPOINT}"
    );
    let answered = local.simple(&sql).await;
    let Some(rows) = none_if_not_computable(local, answered).await? else {
        return Ok(None);
    };
    let probe = rows.first().and_then(|row| row.get(3)).unwrap_or_default();
    let mut sums = vec![None; tenants];
    for (place, sum) in rows.iter().filter_map(sum_of) {
        if let Some(known) = sums.get_mut(place) {
            *known = Some(sum);
        }
    }
    Ok(Some(LocalSums {
        sums,
        probe: probe.to_owned(),
    }))
}

/// The rows and hashes that are summed on one side.
struct SumQuery<'a> {
    /// The table, view or query, for use after `from`.
    table: &'a str,
    /// The alias of a row.
    row: &'a str,
    /// The tenant column.
    column: &'a Column,
    /// The hash of a row.
    hash: &'a str,
    /// More conditions on the rows, each with `and` before it. They can use `u.id`, the tenant's id.
    condition: &'a str,
    /// The ids of the tenants, as an SQL expression of an array of texts.
    ids: &'a str,
}

impl SumQuery<'_> {
    /// SQL for the sums by tenant, with the columns `n` (the tenant's place among the ids, from 1), `rows` and `sum`. A
    /// tenant without meters is in the result, too.
    fn by_tenant(&self) -> String {
        let SumQuery {
            table,
            row,
            column,
            hash,
            condition,
            ids,
        } = self;
        let name = quote::identifier(&column.name);
        let (equals, type_) = (&column.equals, &column.base_type);
        format!(
            "select u.n, pg_catalog.count({row}.{name}) as rows,
           coalesce(pg_catalog.bit_xor(case when {row}.{name} is not null then {hash} end), 0) as sum
    from pg_catalog.unnest({ids}) with ordinality u (id, n)
    left join {table} {row} on {row}.{name} {equals} u.id::{type_}{condition}
    group by u.n"
        )
    }
}

/// Reads the place of a tenant (from 0) and its sum.
fn sum_of(row: &SimpleQueryRow) -> Option<(usize, Sum)> {
    let number = |n| row.get(n)?.parse::<i64>().ok();
    let place = usize::try_from(number(0)? - 1).ok()?;
    let sum = Sum {
        rows: number(1)?,
        hashes: number(2)?,
    };
    Some((place, sum))
}
