//! Tells for many tenants at once which of them are unchanged, with one statement a side.
//!
//! Each server sums the row versions of its own rows by tenant, in one pass (see `digest::versions` for what versions
//! prove). The local server compares its sums with the watermarks of the tenants; those that agree give the sums that
//! the remote should have. The remote's sums wait behind a cursor: the sum over all tenants is fetched first, then the
//! sums of groups of tenants if that differs, then the sums of the tenants in the groups that differ. So almost nothing
//! travels when nothing changed.
//!
//! A sum over several tenants is the exclusive or of theirs, and hides a change with a probability of 2^-64.

use tokio_postgres::SimpleQueryRow;

use crate::config::Mapping;
use crate::db::catalog::Column;
use crate::db::{DbError, Local, Remote, Tx, both, param, quote};
use crate::model::{RunId, TenantId};

use super::digest::cursor::{DEFAULT_GROUPING, GROUP_BY_HASH, SAVEPOINT, none_if_not_computable};
use super::digest::versions::row_version;
use super::{Relations, SyncError, read, relations};

/// How many tenants share a group.
const GROUP: usize = 32;

/// The number of rows of a tenant, and the exclusive or of their versions' hashes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Sum {
    rows: i64,
    versions: i64,
}

impl Sum {
    fn add(&mut self, other: Self) {
        self.rows += other.rows;
        self.versions ^= other.versions;
    }
}

/// What a look at many tenants found.
#[derive(Clone, Debug)]
pub struct Swept {
    /// For each tenant, whether both sides hold exactly the rows that they held when they were last found equal.
    pub is_unchanged: Vec<bool>,
    /// How many bytes the remote sent.
    pub remote_bytes: i64,
}

/// Looks which of the tenants are unchanged since they were last found equal. All share the tables of `mapping`, whose
/// tenant does not matter. Returns `None` if row versions prove nothing for these tables, so that each tenant needs a
/// run to tell.
///
/// Neither side is locked against a run of one of the tenants. A run that ends meanwhile makes its tenant look changed.
pub async fn sweep(
    remote: Tx<'_, Remote>,
    local: &Tx<'_, Local>,
    mapping: &Mapping,
    tenants: &[TenantId],
) -> Result<Option<Swept>, SyncError> {
    let mark = RunId::from(uuid::Uuid::new_v4());
    relations::locks::hold_local_table(local, &mapping.local_table).await?;
    let (relations, _) = relations::look(&remote, local, mapping, mark).await?;
    let (Some(basis), Some(column)) = (&relations.versions, &relations.local_tenant) else {
        return Ok(None);
    };
    let ids = array(tenants);
    let from = (&relations.remote_from, &relations.remote_tenant);
    let (there, here) = both(
        Groups::open(&remote, from, &ids),
        expected(local, &relations, (column, basis), tenants),
    )
    .await?;
    let (Some(there), Some(expected)) = (there, here) else {
        return Ok(None);
    };
    let is_unchanged = there.unchanged(&expected).await?;
    let remote_bytes = remote.bytes_read();
    read::rewritten::commit_unless_rewritten(remote).await?;
    Ok(Some(Swept {
        is_unchanged,
        remote_bytes,
    }))
}

/// The ids as a literal of an array of texts.
fn array(tenants: &[TenantId]) -> String {
    let quoted = |id: &TenantId| id.as_str().replace('\\', r"\\").replace('"', r#"\""#);
    let ids: Vec<String> = tenants
        .iter()
        .map(|id| format!("\"{}\"", quoted(id)))
        .collect();
    let array = format!("{{{}}}", ids.join(","));
    format!("{}::pg_catalog.text[]", quote::literal(&array))
}

/// The sums of a table by tenant, as SQL with the columns `n` (the tenant's place among the ids, from 1), `rows` and
/// `sum`. A tenant without rows has a row, too.
fn by_tenant(table: &str, column: &Column, ids: &str) -> String {
    let (name, equals, type_) = (
        quote::identifier(&column.name),
        &column.equals,
        &column.base_type,
    );
    let version = row_version("r");
    format!(
        "select u.n, pg_catalog.count(r.ctid) as rows, coalesce(pg_catalog.bit_xor({version}), 0) as sum
    from pg_catalog.unnest({ids}) with ordinality u (id, n)
    left join {table} r on r.{name} {equals} u.id::{type_}
    group by u.n"
    )
}

/// The sums that the remote should have: those of the watermark of each tenant whose local rows are as the watermark
/// says, and `None` for all others. Returns `None` if they cannot be computed.
async fn expected(
    local: &Tx<'_, Local>,
    relations: &Relations,
    (column, basis): (&Column, &str),
    tenants: &[TenantId],
) -> Result<Option<Vec<Option<Sum>>>, DbError> {
    let sums = by_tenant(&relations.local, column, "$1");
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
    let setting = format!("savepoint {SAVEPOINT}; {GROUP_BY_HASH}");
    local.batch(&setting).await?;
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
                versions: row.get(2),
            });
        }
    }
    Ok(Some(expected))
}

/// The sums of the remote behind a cursor, by groups of tenants.
struct Groups<'t, 'c> {
    remote: &'t Tx<'c, Remote>,
    total: Sum,
}

impl<'t, 'c> Groups<'t, 'c> {
    async fn open(
        remote: &'t Tx<'c, Remote>,
        (table, column): (&String, &Column),
        ids: &str,
    ) -> Result<Option<Self>, DbError> {
        let sums = by_tenant(table, column, ids);
        let sql = format!(
            "-- sweep the remote versions
savepoint {SAVEPOINT};
{GROUP_BY_HASH};
declare meter_sync_sweep no scroll cursor for
with sums as materialized (
    {sums}
), groups as materialized (
    select (n - 1) / {GROUP} as n, pg_catalog.sum(rows)::bigint as rows, pg_catalog.bit_xor(sum) as sum,
           pg_catalog.string_agg(pg_catalog.int8send(rows) || pg_catalog.int8send(sum), '' order by n) as tenants
    from sums group by 1
)
select pg_catalog.int8send(coalesce(pg_catalog.sum(rows), 0)::bigint) || pg_catalog.int8send(coalesce(pg_catalog.bit_xor(sum), 0)) from groups
union all
select pg_catalog.string_agg(pg_catalog.int8send(rows) || pg_catalog.int8send(sum), '' order by n) from groups
union all
select tenants from (select tenants from groups order by n) g;
fetch 1 from meter_sync_sweep"
        );
        let answered = remote.simple(&sql).await;
        let rows = none_if_not_computable(remote, answered).await?;
        let total = rows.as_deref().map(sums_of).unwrap_or_default();
        Ok(total.first().map(|total| Self {
            remote,
            total: *total,
        }))
    }

    /// Fetches as much as is needed to tell which tenants have the expected sums.
    async fn unchanged(self, expected: &[Option<Sum>]) -> Result<Vec<bool>, DbError> {
        let mut unchanged: Vec<bool> = expected.iter().map(Option::is_some).collect();
        if total(expected) == Some(self.total) {
            return Ok(unchanged);
        }
        let groups = "-- sweep the groups\nfetch 1 from meter_sync_sweep";
        let groups = sums_of(&self.remote.simple(groups).await?);
        let differs = |(n, group): (usize, &[Option<Sum>])| {
            (total(group) != groups.get(n).copied()).then_some(n)
        };
        let differing: Vec<usize> = expected
            .chunks(GROUP)
            .enumerate()
            .filter_map(differs)
            .collect();
        let rows = self.remote.simple(&fetch(&differing)).await?;
        let fetched = differing.iter().zip(rows.chunks(1)).flat_map(|(n, row)| {
            let start = n * GROUP;
            (start..).zip(sums_of(row))
        });
        for (place, sum) in fetched {
            let wanted = expected.get(place).copied().flatten();
            if let Some(is) = unchanged.get_mut(place) {
                *is = wanted == Some(sum);
            }
        }
        Ok(unchanged)
    }
}

/// The sum over these tenants; `None` if one of them has none.
fn total(sums: &[Option<Sum>]) -> Option<Sum> {
    let mut total = Sum::default();
    for sum in sums {
        total.add((*sum)?);
    }
    Some(total)
}

/// The statements that fetch these groups, in ascending order, from the cursor after it has passed the groups' sums.
fn fetch(groups: &[usize]) -> String {
    let mut sql = "-- sweep the tenants\n".to_owned();
    let mut passed = 0;
    for group in groups {
        if *group > passed {
            sql += &format!("move {} from meter_sync_sweep; ", group - passed);
        }
        sql += "fetch 1 from meter_sync_sweep; ";
        passed = group + 1;
    }
    sql
}

/// The hexadecimal digits of one number of 64 bits.
const DIGITS: usize = 16;

/// Reads sums from hexadecimal digits, as Postgres writes `int8send(rows) || int8send(sum)` after `\x`.
fn sums_of(rows: &[SimpleQueryRow]) -> Vec<Sum> {
    let number = |digits: &[u8]| {
        let number = u64::from_str_radix(str::from_utf8(digits).ok()?, 16).ok()?;
        Some(i64::from_ne_bytes(number.to_ne_bytes()))
    };
    let texts = rows.iter().filter_map(|row| row.get(0));
    let sum = |entry: &[u8]| {
        let (rows, versions) = entry.split_at(DIGITS);
        Some(Sum {
            rows: number(rows)?,
            versions: number(versions)?,
        })
    };
    texts
        .flat_map(|text| {
            let digits = text.trim_start_matches("\\x").as_bytes();
            digits.chunks_exact(2 * DIGITS).filter_map(sum)
        })
        .collect()
}
