//! Builds the statements with which anyone can check in psql that both sides hold the same meters. Each returns the
//! number of meters and the digest of one side (see `contents_digest`). If the tables are alike, both statements are
//! one and the same.
//!
//! A statement does not depend on the session that runs it: it sets the settings that decide how values are written as
//! text, and they are as before when it ends, or at the end of the transaction block in which it is run.

use crate::db::{DbError, Remote, Side, Tx, both};
use crate::engine::{Relations, RunContext};

use super::contents_digest::{DIGEST_DIGITS, DigestHashing};
use super::row_hash::{HashMode, HashedColumns, Hasher, PROBE, RowSide};
use super::totals::FromClausesOfBothSides;

/// The statements that compute the number of meters and the digest of each side. They are equal if one statement serves
/// both sides.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VerificationSql {
    /// The statement for the remote.
    pub remote: String,
    /// The statement for the local side.
    pub local: String,
}

/// The settings that decide how values are written as text and read from text, with the values that every transaction
/// of this program uses (see `db`).
const SETTINGS: &[(&str, &str)] = &[
    ("datestyle", "ISO, YMD"),
    ("intervalstyle", "postgres"),
    ("timezone", "UTC"),
    ("extra_float_digits", "1"),
    ("bytea_output", "hex"),
    ("xmloption", "content"),
    ("lc_monetary", "C"),
    ("array_nulls", "on"),
];

/// Builds the statements. Rows are hashed as in `hashing`, or with these seeds if it is `None`, but always in a way in
/// which both servers hash alike.
pub(in crate::engine) async fn build(
    remote: &Tx<'_, Remote>,
    run: &RunContext<'_>,
    hashing: Option<DigestHashing>,
    seeds: [u64; 2],
) -> Result<VerificationSql, DbError> {
    let mut hashing = hashing.unwrap_or_else(|| DigestHashing::of(seeds, HashMode::USUAL));
    let (there, here) = both(probe(remote), probe(run.local)).await?;
    hashing.is_portable |= there != here;
    let rows = FromClausesOfBothSides::of(run).await?;
    let local = statement(run.relations, hashing, RowSide::Local, &rows.here);
    let remote = match serves_both(run, hashing, &rows) {
        true => local.clone(),
        false => statement(run.relations, hashing, RowSide::Remote, &rows.there),
    };
    Ok(VerificationSql { remote, local })
}

/// Asks a server how it hashes some fixed values.
async fn probe<S: Side>(tx: &Tx<'_, S>) -> Result<Option<String>, DbError> {
    let sql = format!("-- look how values are hashed\nselect {PROBE}");
    let rows = tx.simple(&sql).await?;
    Ok(rows.first().and_then(|row| row.get(0)).map(str::to_owned))
}

/// Whether the statement for the local side can run on the remote, too, with the same meaning: the tables have the same
/// name, the same columns to compare and the same condition for the tenant, and the local side leaves no rows out.
fn serves_both(
    run: &RunContext<'_>,
    hashing: DigestHashing,
    rows: &FromClausesOfBothSides,
) -> bool {
    let (relations, scope) = (run.relations, run.scope);
    let table = &relations.local;
    let all = format!(
        "{table} l where {} and {}",
        scope.local_filter,
        relations.has_key("l")
    );
    let filter = scope.remote_filter.strip_prefix("r.");
    let hash = |row| hash(relations, hashing, row);
    relations.remote_from == *table
        && rows.here == all
        && filter.is_some()
        && filter == scope.local_filter.strip_prefix("l.")
        && hash(RowSide::Remote).replace("r.\"", "l.\"") == hash(RowSide::Local)
}

/// Builds the statement for one side. `rows` are its rows, as SQL to follow the keyword `from`.
fn statement(relations: &Relations, hashing: DigestHashing, row: RowSide, rows: &str) -> String {
    let hash = hash(relations, hashing, row);
    let again = hasher(hashing, hashing.seeds[1]).again("h.hash");
    let set = |(name, value): &(&str, &str)| {
        format!("pg_catalog.set_config('{name}', '{value}', true) is not null")
    };
    let set: Vec<String> = SETTINGS.iter().map(set).collect();
    let set = set.join("\n    and ");
    // The settings are set before the first row is read, because each row is read for the row of the settings. The sums
    // are computed over a subquery with `offset 0`, or the server would compute each hash twice.
    format!(
        "\
with settings as (
  select {set} as are_set
)
select t.meters, pg_catalog.left(pg_catalog.encode(pg_catalog.sha256(pg_catalog.convert_to(
  pg_catalog.concat_ws(' ', t.meters, t.sum_1, t.sum_2), 'UTF8')), 'hex'), {DIGEST_DIGITS}) as digest
from (
  select pg_catalog.count(*) as meters, coalesce(pg_catalog.sum(h.hash), 0) as sum_1,
    coalesce(pg_catalog.sum({again}), 0) as sum_2
  from settings s, lateral (
    select {hash} as hash
    from {rows} and s.are_set
    offset 0
  ) h
) t;"
    )
}

fn hash(relations: &Relations, hashing: DigestHashing, row: RowSide) -> String {
    HashedColumns::Rows.hash(hasher(hashing, hashing.seeds[0]), relations, row)
}

fn hasher(hashing: DigestHashing, seed: u64) -> Hasher {
    Hasher {
        seed,
        bits: u64::BITS,
        mode: hashing.mode(),
    }
}
