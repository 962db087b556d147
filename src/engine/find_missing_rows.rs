//! Finds the local rows that the remote may no longer have, from the sums of keys by bucket. The new remote rows must be
//! staged.
//!
//! What the sums of a bucket differ by are keys that were added or are missing. The added ones are among the staged rows.
//! If one key of a bucket is missing, what is left of the difference is its fingerprint. The row is looked up by its key
//! if the fingerprint shows it, and else found by a scan. If several keys are missing, all local rows of the bucket are
//! suspects.

use crate::db::{DbError, PLANNING, param, quote};

use super::RunContext;
use super::apply::write_at_once::PAGES_ARE_CACHED;
use super::digest::{self, KeyDifferences, KeyFingerprint};

/// The most suspects that the remote is asked for. Their keys are part of a statement.
const MOST_SUSPECTS: usize = 50_000;

/// Local rows that the remote may no longer have.
pub(super) struct Suspects {
    /// The keys of the rows as text, if they are of a type that [`list_type`] returns, and else their fingerprints.
    keys: Vec<String>,
    /// How many of the staged rows have a key that the local table does not have.
    pub(super) added: i64,
}

/// Buckets in which rows are missing: their numbers, and the exclusive or of the fingerprints of the missing rows.
#[derive(Default)]
struct MissingByBucket {
    numbers: Vec<i64>,
    fingerprints: Vec<i64>,
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
    let mut found = Vec::new();
    if let Some(key) = KeyFingerprint::new(run).key_of("m.fingerprint") {
        missing = look_up(run, &key, missing, &mut found).await?;
    }
    if !missing.numbers.is_empty() {
        found.extend(list(run, keys, missing).await?);
    }
    let end = format!("-- end looking for them\n{PLANNING}");
    run.local.batch(&end).await?;
    let suspects = Suspects { keys: found, added };
    Ok((suspects.keys.len() <= MOST_SUSPECTS).then_some(suspects))
}

/// Returns the number of staged rows whose key the local table does not have, and what is left of the differences
/// without these rows.
async fn without_added(
    run: &RunContext<'_>,
    keys: &KeyDifferences,
) -> Result<(i64, MissingByBucket), DbError> {
    let relations = run.relations;
    let staged_key = quote::list(&relations.key, ", ", |name| {
        format!(
            "{} as {}",
            relations.column("s", name),
            quote::identifier(name)
        )
    });
    let numbers: Vec<i64> = keys.differing().iter().map(|(n, _)| (*n).into()).collect();
    let sums: Vec<i64> = keys.differing().iter().map(|(_, sum)| *sum).collect();
    let sql = format!(
        "-- look for added meters
with added as materialized (
    select k.n, pg_catalog.count(*) as rows, pg_catalog.bit_xor(k.fingerprint) as fingerprint
    from (
        select {} as n, l.* from (
            select {} as fingerprint, {}
            from (select {staged_key} from pg_temp.meter_sync_stage s) l offset 0
        ) l
    ) k
    left join {} l on {} and {} and not {}
    where {} and {} is null group by k.n
), missing as (
    select d.n, d.sum # coalesce(a.fingerprint, 0) as fingerprint
    from (select pg_catalog.unnest($1) as n, pg_catalog.unnest($2) as sum) d
    left join added a on a.n = d.n
)
select (select coalesce(pg_catalog.sum(a.rows), 0)::bigint from added a),
       coalesce(pg_catalog.array_agg(m.n), '{{}}'), coalesce(pg_catalog.array_agg(m.fingerprint), '{{}}')
from missing m where m.fingerprint <> 0",
        keys.bucket("l.fingerprint"),
        KeyFingerprint::new(run).of_local(),
        key_columns(run),
        relations.local,
        relations.same_key("l", "k"),
        run.scope.local_filter,
        digest::is_remembered_as_gone(run),
        keys.is_differing("k.n"),
        first_key(run, "l"),
    );
    let params = [param::bigints(&numbers), param::bigints(&sums)];
    let row = run.local.query_one(&sql, &params).await?;
    let missing = MissingByBucket {
        numbers: row.get(1),
        fingerprints: row.get(2),
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

fn first_key(run: &RunContext<'_>, row: &str) -> String {
    let first = run.relations.key.first();
    first.map_or_else(String::new, |name| run.relations.column(row, name))
}

/// Looks up the rows whose key is what is left of a bucket's difference, and adds them to `found`. `key` is SQL for that
/// key. Returns the buckets without such a row.
async fn look_up(
    run: &RunContext<'_>,
    key: &str,
    missing: MissingByBucket,
    found: &mut Vec<String>,
) -> Result<MissingByBucket, DbError> {
    let relations = run.relations;
    let local_key = first_key(run, "l");
    let sql = format!(
        "-- look up missing meters
select m.n, m.fingerprint, case when {} is null then {local_key}::text end
from (select pg_catalog.unnest($1) as n, pg_catalog.unnest($2) as fingerprint) m
left join {} l on {local_key} operator(pg_catalog.=) {key} and {} and not {}
left join pg_temp.meter_sync_stage s on {}",
        first_key(run, "s"),
        relations.local,
        run.scope.local_filter,
        digest::is_remembered_as_gone(run),
        relations.same_key("l", "s"),
    );
    let params = missing.params();
    let mut left = MissingByBucket::default();
    for row in run.local.query(&sql, &params).await? {
        match row.get(2) {
            Some(key) => found.push(key),
            None => {
                left.numbers.push(row.get(0));
                left.fingerprints.push(row.get(1));
            }
        }
    }
    Ok(left)
}

/// Lists the local rows of the buckets that are not staged. Of a bucket that has a row with the fingerprint that is left,
/// lists only this row.
async fn list(
    run: &RunContext<'_>,
    keys: &KeyDifferences,
    missing: MissingByBucket,
) -> Result<Vec<String>, DbError> {
    let relations = run.relations;
    let numbers = missing
        .numbers
        .iter()
        .filter_map(|n| u32::try_from(*n).ok());
    let numbers: Vec<u32> = numbers.collect();
    let fingerprint = KeyFingerprint::new(run).of_local();
    let listed = match list_type(run) {
        Some(_) => first_key(run, "k"),
        None => "k.fingerprint".to_owned(),
    };
    // The first part needs no other column than the key, so that an index may be enough.
    let sql = format!(
        "-- list the rows of buckets
with picked as materialized (
    select {} as fingerprint, {} from {} l where {} and {}
), listed as materialized (
    select {} as n, k.fingerprint, ({listed})::text as key
    from picked k join {} l on {} and {} and not {}
    left join pg_temp.meter_sync_stage s on {} where {} is null
), missing as (
    select pg_catalog.unnest($1) as n, pg_catalog.unnest($2) as fingerprint
), found as materialized (
    select distinct m.n from missing m join listed k on k.n = m.n and k.fingerprint = m.fingerprint
)
select k.key from missing m join listed k on k.n = m.n
left join found f on f.n = m.n
where k.fingerprint = m.fingerprint or f.n is null limit {MOST_SUSPECTS} + 1",
        fingerprint,
        key_columns(run),
        relations.local,
        run.scope.local_filter,
        keys.is_in(&numbers, &keys.bucket(&fingerprint)),
        keys.bucket("k.fingerprint"),
        relations.local,
        relations.same_key("l", "k"),
        run.scope.local_filter,
        digest::is_remembered_as_gone(run),
        relations.same_key("k", "s"),
        first_key(run, "s"),
    );
    let rows = run.local.query(&sql, &missing.params()).await?;
    Ok(rows.iter().map(|row| row.get(0)).collect())
}

/// The type of an array of keys in which rows are looked for by their keys, so that an index can be used. `None` if the
/// key has several columns or another type; then rows are looked for by fingerprints.
fn list_type(run: &RunContext<'_>) -> Option<&'static str> {
    let [name] = run.relations.key.as_slice() else {
        return None;
    };
    let columns = &run.relations.columns;
    let column = columns.iter().find(|column| column.name == *name)?;
    match column.base_type.as_str() {
        "smallint" | "integer" | "bigint" => Some("int8"),
        "uuid" => Some("uuid"),
        "text" | "character varying" => Some("text"),
        _ => None,
    }
}

impl MissingByBucket {
    fn params(&self) -> [param::Param<'_>; 2] {
        [
            param::bigints(&self.numbers),
            param::bigints(&self.fingerprints),
        ]
    }
}

impl Suspects {
    pub(super) fn count(&self) -> usize {
        self.keys.len()
    }

    /// SQL condition: whether the local row `l` is a suspect.
    pub(super) fn is_local(&self, run: &RunContext<'_>) -> String {
        self.is_listed(run, "l", &KeyFingerprint::new(run).of_local())
    }

    /// SQL condition: whether the remote row `r` has the key of a suspect.
    pub(super) fn is_remote(&self, run: &RunContext<'_>) -> String {
        self.is_listed(run, "r", &KeyFingerprint::new(run).of_remote())
    }

    fn is_listed(&self, run: &RunContext<'_>, row: &str, fingerprint: &str) -> String {
        let escaped = |key: &String| {
            let key = key.replace('\\', "\\\\").replace('"', "\\\"");
            format!("\"{key}\"")
        };
        let keys: Vec<String> = self.keys.iter().map(escaped).collect();
        let keys = quote::literal(&format!("{{{}}}", keys.join(",")));
        match list_type(run) {
            Some(name) => format!(
                "{} operator(pg_catalog.=) any ({keys}::pg_catalog.{name}[])",
                first_key(run, row)
            ),
            None => format!(
                "{fingerprint} operator(pg_catalog.=) any (select pg_catalog.unnest({keys}::pg_catalog.int8[]))"
            ),
        }
    }
}
