//! Which remote relations are locked before the snapshot of a run is taken, and the lock on the local table.
//!
//! A table takes the lock by its name, and a view hands it on to what is below it. A query has no name: what it
//! reads is told by its plan, in an earlier transaction. What the role may not read there is below a view, and is locked
//! by way of a view that it may read.
//!
//! A foreign table cannot be locked, and its own server takes a snapshot of its own when it is first read. So a row of it is
//! read in a transaction before: that waits for whoever is rewriting the table there.
//!
//! The local table is locked before its catalogs are read, so that its columns stay as they were read till the end of the run.
//! Triggers, rules and references may still be made, until the lock for writing is taken; only then it is known whether there are any.

use serde_json::Value;

use super::{Job, Shape};
use crate::config::Source;
use crate::db::{Connection, DbError, Local, Remote, Tx, catalog, param, quote};

/// The relations that the source reads, named as SQL names them; of a query those that its plan names. Foreign tables are waited
/// for where the source is a query, or `await_foreign` says so.
pub(crate) async fn of_source(
    connection: &mut Connection<Remote>,
    source: &Source,
    await_foreign: bool,
) -> Result<Vec<String>, DbError> {
    let table = match source {
        Source::Table(name) => quote::relation(name),
        Source::Query(_) => None,
    };
    if table.is_some() && !await_foreign {
        return Ok(table.into_iter().collect());
    }
    let tx = connection.snapshot("look at the source", &[]).await?;
    tx.use_role_path().await?;
    let query = match (&table, source) {
        (Some(table), _) => format!("select * from {table}"),
        (None, Source::Table(query) | Source::Query(query)) => query.clone(),
    };
    let locks = named(&tx, &query).await?;
    if !tx.simple(FOREIGN).await?.is_empty() {
        tx.use_role_path().await?;
        tx.simple(&format!(
            "-- wait for foreign tables\nselect q.* from ({query}\n) q limit 1"
        ))
        .await?;
    }
    Ok(match table {
        Some(table) => vec![table],
        None => locks,
    })
}

/// Waits for whoever is altering or replacing the local table, and lets nobody else do so for the rest of the transaction.
/// Readers and writers are not held up. Whether there is such a table is for others to tell.
pub(super) async fn hold_local_table(local: &Tx<'_, Local>, name: &str) -> Result<(), DbError> {
    let Some(table) = quote::relation(name) else {
        return Ok(());
    };
    match local.lock_as_role(&table).await {
        // Some servers ask for rights on each partition; what is not locked here is by the first statement that reads it.
        Err(error) if error.cannot_be_locked() => Ok(()),
        locked => locked,
    }
}

/// Lets nobody make triggers, rules or references on the local table for the rest of the transaction, and tells whether it still keeps
/// what is written to it, where it did when its catalogs were read. Needs no right that writing does not.
pub(super) async fn keeps_what_is_written(
    local: &Tx<'_, Local>,
    shape: &Shape,
) -> Result<bool, DbError> {
    if !shape.keeps_what_is_written {
        return Ok(false);
    }
    let active = quote::identifier(&shape.active);
    let hold = format!(
        "-- hold the table to write to it\nupdate {} l set {active} = l.{active} where false",
        shape.local
    );
    local.batch(&hold).await?;
    local.pin_path().await?;
    let keeps = catalog::keeps_what_is_written(local, shape.local_oid).await?;
    local.use_role_path().await?;
    Ok(keeps)
}

/// The shape as it is for the rest of a run that may write.
pub(super) async fn hold_to_write(
    local: &Tx<'_, Local>,
    shape: &Shape,
    job: &Job<'_>,
) -> Result<Shape, DbError> {
    let keeps_what_is_written = match job.dry_run {
        true => shape.keeps_what_is_written,
        false => keeps_what_is_written(local, shape).await?,
    };
    Ok(Shape {
        keeps_what_is_written,
        ..shape.clone()
    })
}

/// The relations that the plan of a query names, in a transaction on the role's path; afterwards it is on the pinned one.
async fn named(tx: &Tx<'_, Remote>, query: &str) -> Result<Vec<String>, DbError> {
    let explained = tx
        .simple(&format!(
            "-- explain the query\nexplain (verbose, format json) {query}"
        ))
        .await?;
    let lines: Vec<&str> = explained.iter().filter_map(|row| row.get(0)).collect();
    let plan: Value = serde_json::from_str(&lines.join("\n")).unwrap_or_default();
    let mut schemas = Vec::new();
    let mut names = Vec::new();
    for (schema, name) in relations(&plan) {
        schemas.push(schema);
        names.push(name);
    }
    tx.pin_path().await?;
    let params = [param::texts(&schemas), param::texts(&names)];
    let rows = tx.query(LOCKABLE, &params).await?;
    Ok(rows.iter().map(|row| row.get(0)).collect())
}

/// Schema and name of each relation in a plan
/// (<https://www.postgresql.org/docs/current/sql-explain.html>).
fn relations(plan: &Value) -> Vec<(String, String)> {
    let mut found = Vec::new();
    let mut open = vec![plan];
    while let Some(value) = open.pop() {
        match value {
            Value::Array(values) => open.extend(values),
            Value::Object(fields) => {
                let text = |field| fields.get(field).and_then(Value::as_str);
                if let (Some(schema), Some(name)) = (text("Schema"), text("Relation Name")) {
                    found.push((schema.to_owned(), name.to_owned()));
                }
                open.extend(fields.values());
            }
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
        }
    }
    found
}

const FOREIGN: &str = "\
-- look for foreign tables
select 1 from pg_catalog.pg_locks l
join pg_catalog.pg_class c on c.oid = l.relation and c.relkind = 'f'
where l.pid = pg_backend_pid() and l.locktype = 'relation' limit 1";

const LOCKABLE: &str = "\
-- look up what can be locked
with recursive named as (
    select coalesce(pg_partition_root(c.oid)::oid, c.oid) as oid
    from unnest($1, $2) u (schema, name)
    join pg_catalog.pg_namespace n on n.nspname = u.schema
    join pg_catalog.pg_class c on c.relnamespace = n.oid and c.relname = u.name
), above (oid) as (
    select named.oid from named
    union
    select w.ev_class
    from above a
    join pg_catalog.pg_depend d on d.refclassid = 'pg_catalog.pg_class'::regclass and d.refobjid = a.oid
        and d.classid = 'pg_catalog.pg_rewrite'::regclass
    join pg_catalog.pg_rewrite w on w.oid = d.objid and w.ev_class <> a.oid
    where not has_table_privilege(a.oid, 'select')
)
select format('%I.%I', n.nspname, c.relname)
from above a
join pg_catalog.pg_class c on c.oid = a.oid and c.relkind in ('r', 'p', 'v')
join pg_catalog.pg_namespace n on n.oid = c.relnamespace
where has_table_privilege(a.oid, 'select') and has_schema_privilege(n.oid, 'usage')
order by 1";
