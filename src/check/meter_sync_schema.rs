//! Checks the tables in schema `meter_sync` of the local database, in which this program keeps its log and its state.

use super::connections::ConnectionWithReport;
use super::{Finding, Verdict};
use crate::db::{DbError, Local, Tx};
use crate::error::{ErrorCode, Failure};
use crate::store::migrations::{self, SchemaVersionState};

/// Checks that the tables of schema `meter_sync` fit this version of the program and that the role may write them. If
/// they are missing or older, checks that the role may create or change them, as the next sync does.
pub(super) async fn finding(local: &mut ConnectionWithReport<Local>) -> Finding {
    let looked = async {
        let tx = local.begin_read_only().await?;
        migrations::refuse_distributed(&tx).await?;
        Ok(match migrations::standing(&tx).await? {
            SchemaVersionState::Newer => Verdict::Failed(migrations::too_new()),
            SchemaVersionState::Absent => {
                may_make(&tx, "not there yet; the first sync makes them").await?
            }
            SchemaVersionState::Behind(steps) => {
                let text = format!("{steps} steps behind; the next sync makes them");
                may_make(&tx, &text).await?
            }
            SchemaVersionState::Current => may_write(&tx).await?,
        })
    };
    let looked: Result<Verdict, Failure> = looked.await;
    Finding::of("sync tables", looked)
}

const MAY_MAKE: &str = "\
-- look whether we may make the sync tables
select case when to_regnamespace('meter_sync') is null
            then has_database_privilege(current_database(), 'create')
            else has_schema_privilege('meter_sync', 'create') end";

async fn may_make(tx: &Tx<'_, Local>, text: &str) -> Result<Verdict, DbError> {
    let may: bool = tx.query_one(MAY_MAKE, &[]).await?.get(0);
    if may {
        return Ok(Verdict::Ok(text.to_owned()));
    }
    let message = "The local role may not create schema meter_sync and its tables.";
    let remedy = "As the owner of the local database: create schema meter_sync authorization <role>, where <role> is the user of METER_SYNC_LOCAL_URL.";
    let failure = Failure::new(ErrorCode::LocalAuth, message);
    Ok(Verdict::Failed(failure.with_remedy(remedy)))
}

const NOT_WRITABLE: &str = "\
-- look for sync tables that we may not write
select c.relname::text from pg_catalog.pg_class c
where c.relnamespace = to_regnamespace('meter_sync')::oid and c.relkind = 'r'
  and c.relname <> 'meter_sync_migration'
  and not (has_table_privilege(c.oid, 'select') and has_table_privilege(c.oid, 'insert')
       and has_table_privilege(c.oid, 'update') and has_table_privilege(c.oid, 'delete'))
order by c.relname";

async fn may_write(tx: &Tx<'_, Local>) -> Result<Verdict, DbError> {
    let rows = tx.query(NOT_WRITABLE, &[]).await?;
    if rows.is_empty() {
        return Ok(Verdict::Ok("up to date, and may be written".to_owned()));
    }
    let tables: Vec<String> = rows.iter().map(|row| row.get(0)).collect();
    let message = format!("The local role may not write {}.", tables.join(", "));
    let remedy = "As the owner of schema meter_sync: grant select, insert, update, delete on all tables in schema meter_sync to <role>, where <role> is the user of METER_SYNC_LOCAL_URL.";
    let failure = Failure::new(ErrorCode::LocalAuth, message);
    Ok(Verdict::Failed(failure.with_remedy(remedy)))
}
