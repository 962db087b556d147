//! Reads the remote's sums by tenant through a cursor. First fetches the sums of groups of tenants. Fetches the sums of
//! single tenants only in groups whose sum differs from the expected one.

use tokio_postgres::SimpleQueryRow;

use crate::db::{DbError, Remote, Tx};
use crate::engine::digest::bucket_sum_cursor::{GROUP_BY_HASH, SAVEPOINT};
use crate::engine::digest::row_hash::PROBE;

/// How many tenants form a group, of which the cursor also holds the sum.
pub(super) const GROUP: usize = 32;

/// The number of rows of a tenant, and the exclusive or of their hashes. For a group of tenants, the row counts are
/// added, and the hashes are added half by half ([`add`]), because an exclusive or would cancel equal tenants out.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct TenantSum {
    pub(super) rows: i64,
    pub(super) hashes: i64,
}

/// An open cursor over the remote's sums. The total over all tenants is already fetched.
pub(super) struct TenantSumCursor<'t, 'c> {
    remote: &'t Tx<'c, Remote>,
    total: TenantSum,
    /// The remote result of [`PROBE`]. It equals the local result if both servers hash alike.
    pub(super) probe: String,
}

impl<'t, 'c> TenantSumCursor<'t, 'c> {
    /// Sums the rows and opens the cursor. `sums` is a query with one row for each tenant and the columns `n` (the
    /// tenant's number, from 1), `rows` and `sum`. Returns `None`, with no cursor open, if the sums cannot be computed.
    pub(super) async fn open(
        remote: &'t Tx<'c, Remote>,
        sums: &str,
    ) -> Result<Option<Self>, DbError> {
        let read = |rows: Vec<SimpleQueryRow>| {
            let probe = rows.first()?.get(1).unwrap_or_default();
            Some((*sums_of(&rows).first()?, probe.to_owned()))
        };
        let sql = statement(sums);
        let opened = remote.open_cursor(SAVEPOINT, "sweep the remote rows", &sql, read);
        Ok(opened.await?.map(|(total, probe)| Self {
            remote,
            total,
            probe,
        }))
    }

    /// Returns the sum of each tenant, and closes the cursor. Fetches only the groups that differ from the expected
    /// sums. For the other groups, returns the expected sums.
    pub(super) async fn sums(
        self,
        expected: &[Option<TenantSum>],
    ) -> Result<Vec<Option<TenantSum>>, DbError> {
        let mut sums = expected.to_vec();
        if total(expected) == Some(self.total) {
            return self.close(sums).await;
        }
        let groups = "-- sweep the groups\nfetch 1 from meter_sync_sweep";
        let groups = sums_of(&self.remote.simple(groups).await?);
        let differs = |(n, group): (usize, &[Option<TenantSum>])| {
            (total(group) != groups.get(n).copied()).then_some(n)
        };
        let differing: Vec<usize> = expected
            .chunks(GROUP)
            .enumerate()
            .filter_map(differs)
            .collect();
        let rows = match differing.is_empty() {
            true => Vec::new(),
            false => self.remote.simple(&fetch(&differing)).await?,
        };
        let fetched = differing
            .iter()
            .zip(rows.chunks(1))
            .flat_map(|(n, row)| (n * GROUP..).zip(sums_of(row)));
        for (index, sum) in fetched {
            if let Some(known) = sums.get_mut(index) {
                *known = Some(sum);
            }
        }
        self.close(sums).await
    }

    /// Returns for each tenant whether it has the expected sum, and closes the cursor. A tenant whose expected sum is
    /// `None` counts as different.
    pub(super) async fn agree(self, expected: &[Option<TenantSum>]) -> Result<Vec<bool>, DbError> {
        let sums = self.sums(expected).await?;
        let both = expected.iter().zip(&sums);
        Ok(both
            .map(|(one, other)| one.is_some() && one == other)
            .collect())
    }

    /// Closes the cursor, so that another can be opened, and returns `sums`.
    async fn close(self, sums: Vec<Option<TenantSum>>) -> Result<Vec<Option<TenantSum>>, DbError> {
        let close = format!("close meter_sync_sweep; release savepoint {SAVEPOINT}");
        self.remote.batch(&close).await?;
        Ok(sums)
    }

    /// Closes the cursor without reading the sums.
    pub(super) async fn abandon(self) -> Result<(), DbError> {
        self.close(Vec::new()).await.map(drop)
    }
}

fn statement(sums: &str) -> String {
    let total = added("sum");
    format!(
        "{GROUP_BY_HASH};
declare meter_sync_sweep no scroll cursor for
with sums as materialized (
    {sums}
), groups as materialized (
    select (n - 1) / {GROUP} as n, pg_catalog.sum(rows)::bigint as rows, {total} as sum,
           pg_catalog.string_agg(pg_catalog.int8send(rows) || pg_catalog.int8send(sum), '' order by n) as tenants
    from sums group by 1
)
select pg_catalog.int8send(coalesce(pg_catalog.sum(rows), 0)::bigint)
           || pg_catalog.int8send(coalesce({total}, 0)), {PROBE} from groups
union all
select pg_catalog.string_agg(pg_catalog.int8send(rows) || pg_catalog.int8send(sum), '' order by n), null from groups
union all
select tenants, null from (select tenants from groups order by n) g;
fetch 1 from meter_sync_sweep"
    )
}

/// SQL that adds up sums as [`add`] does. An exclusive or would hide changes: if the ids of two tenants are the same
/// value on the remote, both have the same rows, and their sums would cancel out.
fn added(sum: &str) -> String {
    format!(
        "((pg_catalog.sum(({sum} >> 32) & {HALF})::bigint & {HALF}) << 32) | (pg_catalog.sum({sum} & {HALF})::bigint & {HALF})"
    )
}

/// A mask of the lower 32 bits of a number.
const HALF: i64 = (1 << 32) - 1;

/// Adds two numbers, but the upper and the lower 32 bits separately: each half wraps around, and nothing is carried
/// over.
fn add(a: i64, b: i64) -> i64 {
    let low = ((a & HALF) + (b & HALF)) & HALF;
    let high = (((a >> 32) & HALF) + ((b >> 32) & HALF)) & HALF;
    (high << 32) | low
}

/// Adds up the sums of tenants. Returns `None` if one of them is unknown.
fn total(sums: &[Option<TenantSum>]) -> Option<TenantSum> {
    let mut total = TenantSum::default();
    for sum in sums {
        let sum = (*sum)?;
        total.rows += sum.rows;
        total.hashes = add(total.hashes, sum.hashes);
    }
    Some(total)
}

/// Returns the statements that fetch the sums of the tenants in these groups, whose numbers must be in ascending order.
/// The cursor must stand just after the row with the sums of the groups.
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

/// How many hexadecimal digits a number of 64 bits has.
const DIGITS: usize = 16;

/// Reads sums from the first column of these rows, a `bytea` of `int8send(rows) || int8send(sum)` for each sum, which
/// Postgres writes as `\x` and hexadecimal digits.
fn sums_of(rows: &[SimpleQueryRow]) -> Vec<TenantSum> {
    let texts = rows.iter().filter_map(|row| row.get(0));
    texts.flat_map(read).collect()
}

fn read(text: &str) -> Vec<TenantSum> {
    let number = |digits: &[u8]| {
        let number = u64::from_str_radix(str::from_utf8(digits).ok()?, 16).ok()?;
        Some(i64::from_ne_bytes(number.to_ne_bytes()))
    };
    let sum = |entry: &[u8]| {
        let (rows, hashes) = entry.split_at(DIGITS);
        Some(TenantSum {
            rows: number(rows)?,
            hashes: number(hashes)?,
        })
    };
    let digits = text.trim_start_matches("\\x").as_bytes();
    digits.chunks_exact(2 * DIGITS).filter_map(sum).collect()
}

#[cfg(test)]
mod tests {
    use quickcheck::quickcheck;

    use super::*;

    quickcheck! {
        fn what_postgres_writes_is_read(sums: Vec<(i64, i64)>) -> bool {
            let digits: String = sums.iter().map(|(rows, hashes)| format!("{rows:016x}{hashes:016x}")).collect();
            let sums: Vec<TenantSum> = sums.into_iter().map(|(rows, hashes)| TenantSum { rows, hashes }).collect();
            read(&format!("\\x{digits}")) == sums
        }
    }

    #[test]
    fn a_group_without_an_expected_sum_has_no_total() {
        let one = Some(TenantSum {
            rows: 2,
            hashes: -1,
        });
        let hashes = -2 - (1 << 32);
        assert_eq!(total(&[one, one]), Some(TenantSum { rows: 4, hashes }));
        assert_eq!(total(&[one, None]), None);
    }

    #[test]
    fn groups_between_those_fetched_are_passed_over() {
        let fetch_1 = "fetch 1 from meter_sync_sweep; ";
        let expected = format!(
            "-- sweep the tenants\n{fetch_1}move 2 from meter_sync_sweep; {fetch_1}{fetch_1}"
        );
        assert_eq!(fetch(&[0, 3, 4]), expected);
    }
}
