//! Finds out how Citus distributes tables (<https://docs.citusdata.com/en/stable/develop/api_metadata.html>).
//!
//! To the coordinator, such a table looks like an ordinary one, but its file is empty. The rows are in tables of their
//! own (shards), most of them on other servers. Row versions of these tables mean nothing to the coordinator.

use tokio_postgres::Row;

use super::{DbError, Side, Tx, param};

/// How Citus distributes the rows of a table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CitusDistribution {
    /// By the values of this column.
    ByColumn(String),
    /// All rows are in one place, as for the tables of a distributed schema, and for a local table that Citus knows
    /// because of its foreign keys.
    OneShard,
    /// Each server has a copy of all rows (a reference table).
    Reference,
    /// By the values of a column, with more than one copy of each shard (`citus.shard_replication_factor`).
    Replicated,
    /// By a column, or all in one place, but with this constraint, which is `initially deferred`. A shard checks it
    /// when its own server commits. Citus 13.2 then commits on the coordinator although the shard has kept none of the
    /// inserted rows.
    CheckedAtCommit(String),
}

impl CitusDistribution {
    /// The column by whose values the rows are distributed; `None` if they are in one place, and for the distributions
    /// that a run refuses.
    pub fn column(&self) -> Option<&str> {
        match self {
            Self::ByColumn(column) => Some(column),
            Self::OneShard | Self::Reference | Self::Replicated | Self::CheckedAtCommit(_) => None,
        }
    }
}

/// SQL condition: whether the database has the extension Citus.
macro_rules! has_citus {
    () => {
        "pg_catalog.to_regclass('pg_catalog.pg_dist_partition') is not null"
    };
}
pub(super) use has_citus;

const FIND: &str = "\
-- look up how tables are distributed
select d.logicalrelid::oid, pg_catalog.column_to_column_name(d.logicalrelid, d.partkey), d.repmodel = 't',
       d.repmodel = 'c' and exists (
    select from pg_catalog.pg_dist_shard s join pg_catalog.pg_dist_placement p on p.shardid = s.shardid
    where s.logicalrelid = d.logicalrelid group by s.shardid having pg_catalog.count(*) > 1),
       (select pg_catalog.min(c.conname::text) from pg_catalog.pg_constraint c
        where c.conrelid = d.logicalrelid::oid and c.condeferred)
from pg_catalog.pg_dist_partition d where d.logicalrelid::oid = any ($1)";

/// Looks up those of the tables that are distributed, with the object ID of each. Fails if the database does not have
/// the extension.
pub(super) async fn of_tables<S: Side>(
    tx: &Tx<'_, S>,
    oids: &[u32],
) -> Result<Vec<(u32, CitusDistribution)>, DbError> {
    let rows = tx.query(FIND, &[param::oids(oids)]).await?;
    let distribution = |row: &Row| match (row.get(1), row.get(2), row.get(3), row.get(4)) {
        (_, _, true, _) => CitusDistribution::Replicated,
        (None, true, false, _) => CitusDistribution::Reference,
        (_, _, false, Some(constraint)) => CitusDistribution::CheckedAtCommit(constraint),
        (Some(column), _, false, None) => CitusDistribution::ByColumn(column),
        (None, false, false, None) => CitusDistribution::OneShard,
    };
    let found = rows.iter().map(|row| (row.get(0), distribution(row)));
    Ok(found.collect())
}

const HAS_SCHEMAS: &str = "\
-- look whether Citus distributes schemas
select to_regclass('pg_catalog.pg_dist_schema') is not null";

const IS_DISTRIBUTED: &str = "\
-- look whether the schema is distributed
select exists (select from pg_catalog.pg_dist_schema where schemaid = to_regnamespace($1)::oid)";

/// Whether Citus distributes the schema, so that each new table of it lies on one of its servers. `false` if the
/// database has no such schema, or does not have Citus.
pub async fn is_schema_distributed<S: Side>(tx: &Tx<'_, S>, schema: &str) -> Result<bool, DbError> {
    let has_schemas: bool = tx.query_one(HAS_SCHEMAS, &[]).await?.get(0);
    if !has_schemas {
        return Ok(false);
    }
    let params = [param::text(schema)];
    Ok(tx.query_one(IS_DISTRIBUTED, &params).await?.get(0))
}

const NAME: &str = concat!(
    "\
-- look for Citus
select pg_catalog.concat_ws(' ', 'Citus', (select e.extversion from pg_catalog.pg_extension e where e.extname = 'citus'))
where ",
    has_citus!()
);

/// Returns the name of Citus with its version, such as `Citus 13.2-1`; `None` if the database does not have it.
pub async fn name_of_citus<S: Side>(tx: &Tx<'_, S>) -> Result<Option<String>, DbError> {
    let found = tx.query_opt(NAME, &[]).await?;
    Ok(found.map(|row| row.get(0)))
}
