//! Looks up which functions and system columns of Postgres a server lacks, or denies to the role. What a server has is
//! looked up, and not concluded from its version.

use super::{DbError, Side, Tx, param};

/// The system column by whose value a run notices that somebody else has changed a meter.
pub const XMIN: &str = "the column xmin";

// `to_regprocedure` would fail on a server that lacks the type of an argument.
const LACKING: &str = "\
-- look for what the server lacks
select f.name from unnest($1) f (name)
where f.name <> $2 and not exists (
    select from pg_catalog.pg_proc p
    where p.proname = split_part(f.name, '(', 1) and p.pronamespace = 'pg_catalog'::regnamespace
      and p.proname || '(' || replace(oidvectortypes(p.proargtypes), ', ', ',') || ')' = f.name
      and has_function_privilege(p.oid, 'execute'))
or f.name = $2 and not exists (
    select from pg_catalog.pg_attribute a
    where a.attrelid = 'pg_catalog.pg_class'::regclass and a.attname = 'xmin' and a.attnum < 0)
order by 1";

/// Returns those of the names that the server lacks or denies, in alphabetical order. A name is [`XMIN`], or that of a
/// function in schema `pg_catalog` with the types of its arguments, such as `hashint4extended(integer,bigint)`.
pub async fn lacking<S: Side>(tx: &Tx<'_, S>, names: &[&str]) -> Result<Vec<String>, DbError> {
    let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
    let params = [param::texts(&names), param::text(XMIN)];
    let rows = tx.query(LACKING, &params).await?;
    Ok(rows.iter().map(|row| row.get(0)).collect())
}
