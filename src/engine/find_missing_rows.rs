//! Finds the local rows that the remote may no longer have, from the sums of keys by bucket. The new remote rows must
//! be staged.
//!
//! What the sums of a bucket differ by are keys that were added or are missing. The added ones are among the staged
//! rows. If one key of a bucket is missing, what is left of the difference is its hash, and the key itself if keys are
//! integers. An index then finds the row; for other keys, a scan does. If several keys are missing, all local rows of
//! the bucket are suspects.

use std::collections::{BTreeMap, BTreeSet};

use tokio_postgres::Row;

use crate::db::{DbError, PAGES_ARE_CACHED, PLANNING, param, quote};

use super::RunContext;
use super::digest::{self, HashedKey, KeyDifference, KeyDifferences, RowSide};

/// The most suspects that the remote is asked for, and the most bytes that their keys take. They are part of a
/// statement.
const MOST_SUSPECTS: usize = 50_000;
const MOST_BYTES: usize = 2 * 1024 * 1024;

/// Local rows that the remote may no longer have.
pub(super) struct Suspects {
    rows: Vec<Suspect>,
    /// How many of the staged rows have a key that the local table does not have.
    pub(super) added: i64,
    /// What the differing buckets differ by without the added rows: their numbers, each with the exclusive or of the
    /// hashes of the missing rows' keys.
    differences: Vec<(i64, i64)>,
}

/// A local row that the remote may no longer have.
struct Suspect {
    bucket: i64,
    /// The hash of the key.
    hash: i64,
    /// The key as text, if it is of a type that [`list_type`] returns, and else its hash.
    key: String,
}

/// What is left of differing buckets without the added rows: their numbers, and the exclusive or of the hashes and of
/// the integer keys of the missing rows.
#[derive(Default)]
struct MissingByBucket {
    numbers: Vec<i64>,
    hashes: Vec<i64>,
    keys: Vec<i64>,
}

impl MissingByBucket {
    fn of(differing: &[KeyDifference]) -> Self {
        Self {
            numbers: differing.iter().map(|bucket| bucket.n.into()).collect(),
            hashes: differing.iter().map(|bucket| bucket.hash).collect(),
            keys: differing.iter().map(|bucket| bucket.key).collect(),
        }
    }

    fn params(&self) -> [param::Param<'_>; 3] {
        [&self.numbers, &self.hashes, &self.keys].map(|values| param::bigints(values))
    }

    /// SQL for a subquery of these buckets, which are the parameters of the statement.
    const ROWS: &str = "(select pg_catalog.unnest($1) as n, pg_catalog.unnest($2) as hash, pg_catalog.unnest($3) as key)";
}

/// Finds the suspects; `None` if there are too many.
pub(super) async fn find(
    run: &RunContext<'_>,
    keys: &KeyDifferences,
) -> Result<Option<Suspects>, DbError> {
    // The planner is to look up the few keys by an index.
    let cached = format!("-- look for missing meters\n{PAGES_ARE_CACHED}");
    run.local.batch(&cached).await?;
    let (added, mut missing) = without_added(run, keys).await?;
    let differences = missing.numbers.iter().zip(&missing.hashes);
    let differences = differences.map(|(n, hash)| (*n, *hash)).collect();
    let mut found = Vec::new();
    if HashedKey::new(run).integer(RowSide::Local).is_some() {
        missing = look_up(run, missing, &mut found).await?;
    }
    if !missing.numbers.is_empty() {
        // The planner expects far fewer rows in these buckets than there are.
        let by_hash = "-- join by hashing\nset local enable_nestloop = off";
        run.local.batch(by_hash).await?;
        found.extend(list(run, keys, missing).await?);
    }
    let end = format!("-- end looking for them\n{PLANNING}set local enable_nestloop to default");
    run.local.batch(&end).await?;
    let bytes: usize = found.iter().map(|suspect| suspect.key.len()).sum();
    let is_few = found.len() <= MOST_SUSPECTS && bytes <= MOST_BYTES;
    Ok(is_few.then_some(Suspects {
        rows: found,
        added,
        differences,
    }))
}

/// Returns the number of staged rows whose key the local table does not have, and what is left of the differences
/// without these rows.
async fn without_added(
    run: &RunContext<'_>,
    keys: &KeyDifferences,
) -> Result<(i64, MissingByBucket), DbError> {
    let relations = run.relations;
    let key = HashedKey::new(run);
    let sql = format!(
        "-- look for added meters
with added as materialized (
    select k.n, pg_catalog.count(*) as rows, pg_catalog.bit_xor(k.hash) as hash, pg_catalog.bit_xor(k.key) as key
    from (
        select {} as n, l.* from (
            select {} as hash, {} as key, {}
            from (select {} from pg_temp.meter_sync_stage s) l offset 0
        ) l
    ) k
    left join {} l on {} and {} and not {}
    where {} and {} is null group by k.n
), missing as (
    select d.n, d.hash # coalesce(a.hash, 0) as hash, d.key # coalesce(a.key, 0) as key
    from {} d left join added a on a.n = d.n
)
select (select coalesce(pg_catalog.sum(a.rows), 0)::bigint from added a), coalesce(pg_catalog.array_agg(m.n), '{{}}'),
       coalesce(pg_catalog.array_agg(m.hash), '{{}}'), coalesce(pg_catalog.array_agg(m.key), '{{}}')
from missing m where m.hash <> 0",
        keys.bucket("l.hash"),
        key.hash(RowSide::Local),
        key.integer(RowSide::Local).as_deref().unwrap_or("0::bigint"),
        key_columns(run),
        staged_key(run),
        relations.local,
        relations.same_key("l", "k"),
        run.scope.local_filter,
        digest::is_remembered_as_gone(run),
        keys.is_differing("k.n"),
        first_key(run, "l"),
        MissingByBucket::ROWS,
    );
    let differing = MissingByBucket::of(&keys.differing);
    let row = run.local.query_one(&sql, &differing.params()).await?;
    let missing = MissingByBucket {
        numbers: row.get(1),
        hashes: row.get(2),
        keys: row.get(3),
    };
    Ok((row.get(0), missing))
}

/// SQL for the key columns of a row `l`, under their names in temporary tables.
fn key_columns(run: &RunContext<'_>) -> String {
    let relations = run.relations;
    quote::list(&relations.key, ", ", |name| {
        format!(
            "{} as {}",
            relations.column("l", name),
            relations.temp_column(name)
        )
    })
}

/// SQL for the key columns of a staged row `s`, under the names of the local columns.
fn staged_key(run: &RunContext<'_>) -> String {
    let relations = run.relations;
    quote::list(&relations.key, ", ", |name| {
        let column = relations.column("s", name);
        format!("{column} as {}", quote::identifier(name))
    })
}

fn first_key(run: &RunContext<'_>, row: &str) -> String {
    let first = run.relations.key.first();
    first.map_or_else(String::new, |name| run.relations.column(row, name))
}

/// Looks up the rows whose integer key is what is left of a bucket's difference, and adds them to `found`. Returns the
/// buckets without such a row.
async fn look_up(
    run: &RunContext<'_>,
    missing: MissingByBucket,
    found: &mut Vec<Suspect>,
) -> Result<MissingByBucket, DbError> {
    let relations = run.relations;
    let key = first_key(run, "l");
    let sql = format!(
        "-- look up missing meters
select m.n, m.hash, m.key, case when {} is null then {key}::text end
from {} m
left join {} l on {key} operator(pg_catalog.=) m.key and {} operator(pg_catalog.=) m.hash and {} and not {}
left join pg_temp.meter_sync_stage s on {}",
        first_key(run, "s"),
        MissingByBucket::ROWS,
        relations.local,
        HashedKey::new(run).hash(RowSide::Local),
        run.scope.local_filter,
        digest::is_remembered_as_gone(run),
        relations.same_key("l", "s"),
    );
    let mut left = MissingByBucket::default();
    for row in run.local.query(&sql, &missing.params()).await? {
        let (bucket, hash) = (row.get(0), row.get(1));
        match row.get(3) {
            Some(key) => found.push(Suspect { bucket, hash, key }),
            None => {
                left.numbers.push(bucket);
                left.hashes.push(hash);
                left.keys.push(row.get(2));
            }
        }
    }
    Ok(left)
}

/// Lists the local rows of the buckets that are not staged. Of a bucket that has a row with the hash that is left,
/// lists only this row.
async fn list(
    run: &RunContext<'_>,
    keys: &KeyDifferences,
    missing: MissingByBucket,
) -> Result<Vec<Suspect>, DbError> {
    let relations = run.relations;
    let numbers = missing
        .numbers
        .iter()
        .filter_map(|n| u32::try_from(*n).ok());
    let numbers: Vec<u32> = numbers.collect();
    let hash = HashedKey::new(run).hash(RowSide::Local);
    let listed = match list_type(run) {
        Some(_) => first_key(run, "k"),
        None => "k.hash".to_owned(),
    };
    // The first part needs no other column than the key, so that an index may be enough. Rows with a tombstone are left
    // out even if they are active: they then fail to add up, and the keys are compared in the usual way.
    let sql = format!(
        "-- list the rows of buckets
with picked as materialized (
    select {} as hash, {} from {} l where {} and {} and not {}
), listed as materialized (
    select {} as n, k.hash, ({listed})::text as key
    from picked k left join pg_temp.meter_sync_stage s on {} where {} is null
), missing as materialized (
    select m.* from {} m
), found as materialized (
    select distinct m.n from missing m join listed k on k.n = m.n and k.hash = m.hash
)
select m.n, k.hash, k.key from missing m join listed k on k.n = m.n
left join found f on f.n = m.n
where k.hash = m.hash or f.n is null limit {MOST_SUSPECTS} + 1",
        hash,
        key_columns(run),
        relations.local,
        run.scope.local_filter,
        keys.is_in(&numbers, &keys.bucket(&hash)),
        digest::keep_tombstones::has_tombstone(relations, run.job.tenant),
        keys.bucket("k.hash"),
        relations.same_key("k", "s"),
        first_key(run, "s"),
        MissingByBucket::ROWS,
    );
    let rows = run.local.query(&sql, &missing.params()).await?;
    let suspect = |row: &Row| Suspect {
        bucket: row.get(0),
        hash: row.get(1),
        key: row.get(2),
    };
    Ok(rows.iter().map(suspect).collect())
}

/// The type of an array of keys in which rows are looked for by their keys, so that an index can be used. `None` if the
/// key has several columns or another type; then rows are looked for by the hashes of their keys.
fn list_type(run: &RunContext<'_>) -> Option<&'static str> {
    match run.relations.only_key()?.base_type.as_str() {
        "smallint" | "integer" | "bigint" => Some("int8"),
        "uuid" => Some("uuid"),
        "text" | "character varying" => Some("text"),
        _ => None,
    }
}

impl Suspects {
    /// Counts those that the remote no longer has. `kept` of them are staged, because the remote has them. Returns
    /// `None` if the buckets differ by other rows, too. A wrong tombstone can be the reason.
    pub(super) async fn count_missing(
        &self,
        run: &RunContext<'_>,
        kept: i64,
    ) -> Result<Option<i64>, DbError> {
        let staged = match kept {
            0 => BTreeSet::new(),
            _ => self.staged(run).await?,
        };
        let mut left: BTreeMap<i64, i64> = self.differences.iter().copied().collect();
        let mut missing = 0;
        for Suspect { bucket, hash, .. } in &self.rows {
            if !staged.contains(hash) {
                *left.entry(*bucket).or_default() ^= hash;
                missing += 1;
            }
        }
        Ok(left.values().all(|hash| *hash == 0).then_some(missing))
    }

    /// Returns the hashes of the keys of those that are staged.
    async fn staged(&self, run: &RunContext<'_>) -> Result<BTreeSet<i64>, DbError> {
        let hashes: Vec<i64> = self.rows.iter().map(|suspect| suspect.hash).collect();
        let sql = format!(
            "-- look which suspects are staged
select h.hash from (select {} as hash from (select {} from pg_temp.meter_sync_stage s) l) h
where h.hash operator(pg_catalog.=) any ($1)",
            HashedKey::new(run).hash(RowSide::Local),
            staged_key(run)
        );
        let staged = run.local.query(&sql, &[param::bigints(&hashes)]).await?;
        Ok(staged.iter().map(|row| row.get(0)).collect())
    }

    pub(super) fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// SQL condition: whether the local row `l` is a suspect.
    pub(super) fn is_local(&self, run: &RunContext<'_>) -> String {
        self.is_listed(run, "l", RowSide::Local)
    }

    /// SQL condition: whether the remote row `r` has the key of a suspect.
    pub(super) fn is_remote(&self, run: &RunContext<'_>) -> String {
        self.is_listed(run, "r", RowSide::Remote)
    }

    fn is_listed(&self, run: &RunContext<'_>, row: &str, side: RowSide) -> String {
        let escaped = |key: &String| {
            let key = key.replace('\\', "\\\\").replace('"', "\\\"");
            format!("\"{key}\"")
        };
        let keys = self.rows.iter().map(|suspect| escaped(&suspect.key));
        let keys: Vec<String> = keys.collect();
        let keys = quote::literal(&format!("{{{}}}", keys.join(",")));
        match list_type(run) {
            Some(name) => format!(
                "{} operator(pg_catalog.=) any ({keys}::pg_catalog.{name}[])",
                first_key(run, row)
            ),
            None => format!(
                "{} operator(pg_catalog.=) any (select pg_catalog.unnest({keys}::pg_catalog.int8[]))",
                HashedKey::new(run).hash(side)
            ),
        }
    }
}
