//! Checks the privileges of the two database roles with which this program connects to the remote and the local
//! database.

use super::connections::ConnectionWithReport;
use super::{Finding, Verdict};
use crate::config::{Mapping, SourceSetting};
use crate::db::catalog::{self, Relation};
use crate::db::{DbError, Local, Remote, Side, SideName, Tx, param, unusable_schemas};
use crate::engine::{self, Relations, SyncError};
use crate::error::{ErrorCode, Failure};

/// SQL: shows whether the transaction is read-only. This is `show` and not a query, because a parallel worker may run a
/// query, and a worker does not see that the transaction is read-only.
const REMOTE_READ_ONLY: &str = "\
-- look whether we only read
show transaction_read_only";

/// Checks that our transactions on the remote are read-only, so that the remote refuses any write.
pub(super) async fn remote_is_only_read(remote: &mut ConnectionWithReport<Remote>) -> Finding {
    let looked = async {
        let tx = remote.begin_read_only().await?;
        let read_only: String = tx.query_one(REMOTE_READ_ONLY, &[]).await?.get(0);
        Ok(if read_only == "on" {
            Verdict::Ok("its transactions are read-only".to_owned())
        } else {
            let message = "The remote does not keep our transactions read-only.";
            Verdict::Failed(Failure::new(ErrorCode::RemotePermission, message))
        })
    };
    let looked: Result<Verdict, DbError> = looked.await;
    Finding::of("remote is only read", looked)
}

const TEMPORARY: &str = "\
-- look whether we may make temporary tables
select has_database_privilege(current_database(), 'temporary')";

/// Checks that the local role may create temporary tables, in which a run stages the remote rows.
pub(super) async fn temporary_tables(local: &mut ConnectionWithReport<Local>) -> Finding {
    let looked = async {
        let tx = local.begin_read_only().await?;
        let may: bool = tx.query_one(TEMPORARY, &[]).await?.get(0);
        Ok(if may {
            Verdict::Ok("may be made, to stage the remote rows".to_owned())
        } else {
            let message = "The local role may not make temporary tables, in which rows are staged.";
            let remedy =
                "As the owner of the local database: grant temporary on database <name> to <role>.";
            Verdict::Failed(Failure::new(ErrorCode::LocalAuth, message).with_remedy(remedy))
        })
    };
    let looked: Result<Verdict, DbError> = looked.await;
    Finding::of("local temporary tables", looked)
}

const LACKING: &str = "\
-- look at our privileges on the table
select p.name, a.attname::text
from pg_catalog.pg_attribute a cross join unnest(string_to_array($2, ',')) p(name)
where a.attrelid = $1 and a.attnum > 0 and not a.attisdropped
  and not has_column_privilege(a.attrelid, a.attnum, p.name)
order by p.name, a.attnum";

/// Returns the privileges that the role lacks on columns of a relation, as pairs of privilege and column name.
/// `privileges` is the list of privileges to test, such as `select,insert`.
async fn lacking<S: Side>(
    tx: &Tx<'_, S>,
    relation: &Relation,
    privileges: &str,
) -> Result<Vec<(String, String)>, DbError> {
    let params = [param::oid(relation.oid), param::text(privileges)];
    let rows = tx.query(LACKING, &params).await?;
    Ok(rows.iter().map(|row| (row.get(0), row.get(1))).collect())
}

/// Checks that the role may read the remote rows. `relations` names the columns that a sync reads; if it is `None`,
/// checks all columns.
pub(super) async fn remote_table(
    remote: &mut ConnectionWithReport<Remote>,
    mapping: &Mapping,
    relations: Option<&Relations>,
) -> Finding {
    let looked = look_at_remote(remote, mapping, relations).await;
    Finding::of_source("remote privileges", looked, &mapping.source)
}

async fn look_at_remote(
    remote: &mut ConnectionWithReport<Remote>,
    mapping: &Mapping,
    relations: Option<&Relations>,
) -> Result<Verdict, SyncError> {
    let tx = remote.begin_read_only().await?;
    let name = match &mapping.source {
        SourceSetting::Table(name) => name,
        SourceSetting::Query(query) => {
            let none = format!("-- try the query\nselect from ({query}\n) q limit 0");
            tx.use_role_path().await?;
            // The query is not prepared, so that the server refuses a parameter in it.
            tx.batch(&none).await?;
            return Ok(Verdict::Ok("the query may be run".to_owned()));
        }
    };
    let Some(relation) = catalog::find(&tx, name).await? else {
        return Err(engine::missing(&tx, name).await?);
    };
    let mut lacking = lacking(&tx, &relation, "select").await?;
    if let Some(relations) = relations {
        lacking.retain(|(_, column)| {
            relations.names.contains(column) || *column == mapping.tenant_column
        });
    }
    if lacking.is_empty() {
        return Ok(Verdict::Ok(format!("select on {}", relation.shown())));
    }
    let columns: Vec<_> = lacking.iter().map(|(_, column)| column.as_str()).collect();
    let message = format!(
        "The remote role may not read {} of table {name}.",
        columns.join(", ")
    );
    let remedy = format!(
        "On the remote: grant select on {} to <role>, where <role> is the user of METER_SYNC_REMOTE_URL.",
        relation.shown()
    );
    let failure = Failure::new(ErrorCode::RemotePermission, message);
    Ok(Verdict::Failed(failure.with_remedy(remedy)))
}

/// Checks that the role may read, insert and update the local rows. `relations` names the columns that a sync uses; if
/// it is `None`, checks all columns.
pub(super) async fn local_table(
    local: &mut ConnectionWithReport<Local>,
    mapping: &Mapping,
    relations: Option<&Relations>,
) -> Finding {
    let looked = look_at_local(local, mapping, relations).await;
    Finding::of("local privileges", looked)
}

async fn look_at_local(
    local: &mut ConnectionWithReport<Local>,
    mapping: &Mapping,
    relations: Option<&Relations>,
) -> Result<Verdict, SyncError> {
    let tx = local.begin_read_only().await?;
    let name = &mapping.local_table;
    let Some(relation) = catalog::find(&tx, name).await? else {
        return Err(engine::missing(&tx, name).await?);
    };
    let mut lacking = lacking(&tx, &relation, "select,insert,update").await?;
    if let Some(relations) = relations {
        lacking.retain(|(privilege, column)| {
            relations.names.contains(column)
                && !(privilege == "update" && relations.key.contains(column))
        });
    }
    if lacking.is_empty() && reads_all(&tx, &relation).await? {
        return of_types(&tx, &relation, relations).await;
    }
    if lacking.is_empty() {
        return Ok(reads_columns_only(&relation, name));
    }
    let mut privileges: Vec<_> = lacking
        .into_iter()
        .map(|(privilege, _)| privilege)
        .collect();
    privileges.dedup();
    let message = format!(
        "The local role lacks {} on table {name}.",
        privileges.join(", ")
    );
    let remedy = format!(
        "As the table's owner: grant select, insert, update on {} to <role>, where <role> is the user of METER_SYNC_LOCAL_URL.",
        relation.shown()
    );
    let failure = Failure::new(ErrorCode::LocalAuth, message);
    Ok(Verdict::Failed(failure.with_remedy(remedy)))
}

const READS_ALL: &str = "\
-- look whether we may read the whole table
select has_table_privilege($1::oid, 'select')";

/// Whether the role may read the whole table, and not only some of its columns. Only this privilege covers system
/// columns such as `xmin`, which a sync reads.
async fn reads_all(tx: &Tx<'_, Local>, relation: &Relation) -> Result<bool, DbError> {
    let row = tx.query_one(READS_ALL, &[param::oid(relation.oid)]).await?;
    Ok(row.get(0))
}

fn reads_columns_only(relation: &Relation, name: &str) -> Verdict {
    let message = format!(
        "The local role may read columns of table {name}, but not the table: a sync also reads which version of a row is there (xmin, ctid)."
    );
    let remedy = format!(
        "As the table's owner: grant select on {} to <role>, where <role> is the user of METER_SYNC_LOCAL_URL. For insert and update, the synced columns are enough.",
        relation.shown()
    );
    Verdict::Failed(Failure::new(ErrorCode::LocalAuth, message).with_remedy(remedy))
}

const UNUSABLE: &str = "\
-- look for types in schemas that we may not use
with recursive used (name, oid) as (
    select a.attname::text, a.atttypid from pg_catalog.pg_attribute a
    where a.attrelid = $1 and a.attnum > 0 and not a.attisdropped
    union
    select u.name, b.oid from used u join pg_catalog.pg_type t on t.oid = u.oid
    cross join lateral (values (t.typbasetype), (t.typelem)) b(oid) where b.oid <> 0
)
select u.name, format_type(t.oid, -1), n.nspname::text
from used u join pg_catalog.pg_type t on t.oid = u.oid join pg_catalog.pg_namespace n on n.oid = t.typnamespace
where not has_schema_privilege(n.oid, 'usage')
order by 1, 2";

/// Checks that the role may use the schemas of the column types. A run needs this only if a remote value does not fit
/// its local column: it then converts the rows one by one, with statements that name these types.
async fn of_types(
    tx: &Tx<'_, Local>,
    relation: &Relation,
    relations: Option<&Relations>,
) -> Result<Verdict, SyncError> {
    let rows = tx.query(UNUSABLE, &[param::oid(relation.oid)]).await?;
    let is_synced =
        |name: &String| relations.is_none_or(|relations| relations.names.contains(name));
    let unusable = rows
        .iter()
        .map(|row| (row.get(0), row.get(1), row.get(2)))
        .find(|(name, _, _): &(String, String, String)| is_synced(name));
    Ok(match unusable {
        None => Verdict::Ok(format!("select, insert and update on {}", relation.shown())),
        Some((column, type_, schema)) => Verdict::Warning(format!(
            "Column {column} is of type {type_}, and the local role has no usage on its schema: a run in which a value does not fit its column would fail instead of rejecting that row. {}",
            unusable_schemas::usage_remedy(SideName::Local, &schema)
        )),
    })
}
