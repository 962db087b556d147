//! Finds the remote relations to lock before the snapshot of a run is taken, and locks the local table.
//!
//! A table is locked by its name, and a lock on a view also locks the relations that the view reads. A query has no
//! name, so the relations that it reads are taken from its query plan, in an earlier transaction. If the role may not
//! read one of them, a view reads it on the role's behalf, and this view is locked.
//!
//! A foreign table cannot be locked, and its own server takes a snapshot when the table is first read. Therefore, if
//! the source reads foreign tables, one row of the source is read in an earlier transaction. This read waits for any
//! session that is rewriting a foreign table on its own server.
//!
//! The local table is locked before its catalogs are read, so its columns stay the same until the end of the run.
//! Triggers, rules and foreign keys can still be created until the lock for writing is taken, so the run looks for them
//! after that.

use serde_json::Value;

use crate::config::SourceSetting;
use crate::db::{Connection, DbError, Local, Remote, Tx, catalog, param, quote};
use crate::engine::{Relations, SyncJob};

/// Returns the SQL names of the relations to lock for a source: the table or view itself, or the relations in the query
/// plan of a query. If the source is a query or `await_foreign` is set, also waits for sessions that are rewriting
/// foreign tables which the source reads.
pub(crate) async fn of_source(
    connection: &mut Connection<Remote>,
    source: &SourceSetting,
    await_foreign: bool,
) -> Result<Vec<String>, DbError> {
    let table = match source {
        SourceSetting::Table(name) => quote::relation(name),
        SourceSetting::Query(_) => None,
    };
    if table.is_some() && !await_foreign {
        return Ok(table.into_iter().collect());
    }
    let tx = connection.snapshot("look at the source", &[]).await?;
    tx.use_role_path().await?;
    let query = match (&table, source) {
        (Some(table), _) => format!("select * from {table}"),
        (None, SourceSetting::Table(query) | SourceSetting::Query(query)) => query.clone(),
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

/// Locks the local table against being altered or replaced until the transaction ends. Waits for a session that is
/// altering or replacing it. Readers and writers are not blocked. A missing table is not reported here, but by
/// [`look_up`](super::look_up).
pub(in crate::engine) async fn hold_local_table(
    local: &Tx<'_, Local>,
    name: &str,
) -> Result<(), DbError> {
    let Some(table) = quote::relation(name) else {
        return Ok(());
    };
    match local.lock_as_role(&table).await {
        // Some server versions require rights on each partition to lock it. A partition that is not locked here is
        // locked by the first statement that reads it.
        Err(error) if error.cannot_be_locked() => Ok(()),
        locked => locked,
    }
}

/// Limits how long a transaction that locks many tables waits for a lock. The limit is shorter than the time after
/// which the server looks for deadlocks (`deadlock_timeout`). So the server never aborts another program that locks
/// the same tables in another order.
const SHORT_WAIT: &str = "\
-- wait briefly for locks
set local lock_timeout = '250ms'";

/// Locks local tables as [`hold_local_table`] does, in one statement. Fails if one of the tables is missing, or if
/// another session holds a conflicting lock for longer than [`SHORT_WAIT`] allows. This limit then applies to all
/// further locks of the transaction.
pub(in crate::engine) async fn hold_local_tables(
    local: &Tx<'_, Local>,
    names: &[String],
) -> Result<(), DbError> {
    local.batch(SHORT_WAIT).await?;
    let tables: Vec<String> = names
        .iter()
        .filter_map(|name| quote::relation(name))
        .collect();
    match tables.is_empty() {
        true => Ok(()),
        false => local.lock_as_role(&tables.join(", ")).await,
    }
}

/// Returns whether the table stores rows as they are written, with no trigger, rule or foreign key that changes them.
/// First takes the lock for writing to the table, so that nobody can create one of these until the transaction ends.
/// This needs no rights beyond those for writing. If `relations` says that the table changes rows, returns `false` and
/// takes no lock.
pub(in crate::engine) async fn stores_rows_unchanged(
    local: &Tx<'_, Local>,
    relations: &Relations,
) -> Result<bool, DbError> {
    if !relations.stores_rows_unchanged {
        return Ok(false);
    }
    let active = quote::identifier(&relations.active);
    let hold = format!(
        "-- hold the table to write to it\nupdate {} l set {active} = l.{active} where false",
        relations.local
    );
    local.batch(&hold).await?;
    local.pin_path().await?;
    let keeps = catalog::stores_rows_unchanged(local, relations.local_oid).await?;
    local.use_role_path().await?;
    Ok(keeps)
}

/// Locks the local table for writing. Returns a copy of `relations` in which `stores_rows_unchanged` was determined
/// again under this lock. A dry run takes no lock and returns an equal copy.
pub(in crate::engine) async fn hold_to_write(
    local: &Tx<'_, Local>,
    relations: &Relations,
    job: &SyncJob<'_>,
) -> Result<Relations, DbError> {
    let stores_rows_unchanged = match job.dry_run {
        true => relations.stores_rows_unchanged,
        false => stores_rows_unchanged(local, relations).await?,
    };
    Ok(Relations {
        stores_rows_unchanged,
        ..relations.clone()
    })
}

/// Returns the relations to lock for a query, from its query plan. Expects the transaction to use the role's own search
/// path, and changes it to our fixed one (`Tx::pin_path`).
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

/// Returns the schema and name of each relation in a query plan in JSON
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
