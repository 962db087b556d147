//! Creates and updates the tables of schema `meter_sync`, step by step.
//!
//! Steps are numbered from 1 and are never edited once released. All missing steps run in one transaction under an
//! advisory lock, so if two processes start at the same time, each step is applied once. In a database without the
//! tables, all steps are sent in one message. Where there are tables, each step is sent on its own, because it has a
//! time limit of its own: it may have to change many rows.

use super::needed_functions;
use crate::db::citus_distribution;
use crate::db::{Connection, DbError, Local, Tx};
use crate::error::{ErrorCode, Failure};

/// The SQL of each step, oldest first.
const STEPS: &[&str] = &[
    include_str!("migrations/0001_sync_tables.sql"),
    include_str!("migrations/0002_tombstones_and_watermarks.sql"),
    include_str!("migrations/0003_changes_without_foreign_key.sql"),
    include_str!("migrations/0004_meter_history.sql"),
    include_str!("migrations/0005_run_details.sql"),
    include_str!("migrations/0006_slot_schedules.sql"),
    include_str!("migrations/0007_log_indexes.sql"),
    include_str!("migrations/0008_known_columns.sql"),
    include_str!("migrations/0009_run_order.sql"),
    include_str!("migrations/0010_retention.sql"),
    include_str!("migrations/0011_held_sets.sql"),
    include_str!("migrations/0012_compared_contents.sql"),
    include_str!("migrations/0013_replaced_columns.sql"),
    include_str!("migrations/0014_sweeps.sql"),
    include_str!("migrations/0015_due_mirrors.sql"),
    include_str!("migrations/0016_remote_identities.sql"),
    include_str!("migrations/0017_remote_writes.sql"),
    include_str!("migrations/0018_proofs.sql"),
    include_str!("migrations/0019_where_meters_went.sql"),
    include_str!("migrations/0020_pauses.sql"),
];

/// The result of running the migrations.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MigrationResult {
    /// The tables were up to date.
    Current,
    /// This many steps were applied.
    Applied(usize),
}

/// How the version of the tables in schema `meter_sync` compares with the version that this program needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SchemaVersionState {
    /// There are no tables yet.
    Absent,
    /// The tables exist, but this many migration steps are missing.
    Behind(usize),
    /// The tables are up to date.
    Current,
    /// A newer version of the program created or updated the tables.
    Newer,
}

/// Which of the tables in schema `meter_sync` exist, whatever their version.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ExistingTables {
    /// Whether any of the tables exist. This is decided by the table of migrations, which is created first.
    pub any: bool,
    /// Whether the table `meter_sync_column` exists.
    pub columns: bool,
    /// Whether the tables of sweeps exist. Migration 14 creates them.
    pub sweeps: bool,
    /// Whether the table `meter_sync_due` exists. Migration 15 creates it.
    pub due: bool,
    /// Whether the table `meter_sync_remote` exists. Migration 16 creates it.
    pub remote: bool,
    /// Whether the table `meter_sync_pause` exists. Migration 20 creates it.
    pub pauses: bool,
    /// Whether the table `meter_sync_proof` exists. Migration 18 creates it.
    pub proofs: bool,
}

const EXISTS: &str = "\
-- look for the sync tables
select to_regclass('meter_sync.meter_sync_migration') is not null, to_regclass('meter_sync.meter_sync_column') is not null,
       to_regclass('meter_sync.meter_sync_mirror') is not null, to_regclass('meter_sync.meter_sync_due') is not null,
       to_regclass('meter_sync.meter_sync_remote') is not null, to_regclass('meter_sync.meter_sync_pause') is not null,
       to_regclass('meter_sync.meter_sync_proof') is not null";

const VERSION: &str = "\
-- read the version of the sync tables
select coalesce(max(version), 0) from meter_sync.meter_sync_migration";

const FOUNDATION: &str = "\
-- create the schema of the sync tables
select pg_advisory_xact_lock(hashtextextended('meter_sync migrations', 0));
do $$ begin
    -- Otherwise, a Citus may distribute the new schema, and then refuses some statements about its tables.
    if to_regclass('pg_catalog.pg_dist_partition') is not null then
        set local citus.enable_schema_based_sharding = off;
    end if;
    -- `create schema if not exists` asks for the right to create one even where there is one.
    if to_regnamespace('meter_sync') is null then
        create schema meter_sync;
    end if;
end $$;
create table if not exists meter_sync.meter_sync_migration (
    version integer primary key,
    applied_at timestamptz not null default now()
)";

/// Looks up which of the tables in schema `meter_sync` exist. Some may be missing until this version has run its
/// migrations.
pub async fn tables(tx: &Tx<'_, Local>) -> Result<ExistingTables, DbError> {
    let row = tx.query_one(EXISTS, &[]).await?;
    Ok(ExistingTables {
        any: row.get(0),
        columns: row.get(1),
        sweeps: row.get(2),
        due: row.get(3),
        remote: row.get(4),
        pauses: row.get(5),
        proofs: row.get(6),
    })
}

/// Whether the tables in schema `meter_sync` exist, in any version.
pub async fn exist(tx: &Tx<'_, Local>) -> Result<bool, DbError> {
    Ok(tables(tx).await?.any)
}

async fn version(tx: &Tx<'_, Local>) -> Result<usize, DbError> {
    if !exist(tx).await? {
        return Ok(0);
    }
    let version: i32 = tx.query_one(VERSION, &[]).await?.get(0);
    Ok(usize::try_from(version).unwrap_or_default())
}

/// Compares the version of the tables with the version that this program needs. Changes nothing.
pub async fn standing(tx: &Tx<'_, Local>) -> Result<SchemaVersionState, DbError> {
    Ok(match version(tx).await? {
        0 => SchemaVersionState::Absent,
        found if found > STEPS.len() => SchemaVersionState::Newer,
        found if found == STEPS.len() => SchemaVersionState::Current,
        found => SchemaVersionState::Behind(STEPS.len() - found),
    })
}

/// Returns the failure for a database whose tables a newer version of this program has migrated.
pub fn too_new() -> Failure {
    let message = "The sync tables in the local database were made by a newer meter-sync.";
    Failure::new(ErrorCode::LocalSchema, message).with_remedy("Update meter-sync on this machine.")
}

/// Creates the tables, or updates them to the version that this program needs. Fails if a newer version of the program
/// has migrated the database, or if the server lacks what a sync needs.
pub async fn run(connection: &mut Connection<Local>) -> Result<MigrationResult, Failure> {
    let tx = connection.begin("migrate").await?;
    let found = version(&tx).await?;
    if found > STEPS.len() {
        return Err(too_new());
    }
    if found == STEPS.len() {
        return Ok(MigrationResult::Current);
    }
    needed_functions::require(&tx).await?;
    refuse_distributed(&tx).await?;
    Ok(apply(tx).await?)
}

/// Fails if Citus distributes the schema `meter_sync`. It then refuses some of the statements about its tables.
pub async fn refuse_distributed(tx: &Tx<'_, Local>) -> Result<(), Failure> {
    if !citus_distribution::is_schema_distributed(tx, "meter_sync").await? {
        return Ok(());
    }
    let message = "Citus distributes the schema meter_sync, and then refuses statements about the sync tables in it.";
    let remedy = "As the owner of the schema: drop schema meter_sync cascade, which also forgets the log of runs. The next sync makes it anew on the coordinator.";
    Err(Failure::new(ErrorCode::LocalSchema, message).with_remedy(remedy))
}

async fn apply(tx: Tx<'_, Local>) -> Result<MigrationResult, DbError> {
    // Read again under the lock, because another process may have migrated meanwhile.
    let found = tx.simple(&format!("{FOUNDATION};\n{VERSION}")).await?;
    let found = found.last().and_then(|row| row.get(0)?.parse().ok());
    let found: usize = found.unwrap_or_default();
    let missing = (1_i32..).zip(STEPS).skip(found);
    match found {
        0 => {
            let all: String = missing
                .map(|(number, step)| numbered(number, step))
                .collect();
            tx.batch(&format!("-- create the sync tables\n{all}"))
                .await?;
        }
        _ => {
            for (number, step) in missing {
                tx.batch(&numbered(number, step)).await?;
            }
        }
    }
    tx.commit().await?;
    Ok(match STEPS.len().saturating_sub(found) {
        0 => MigrationResult::Current,
        steps => MigrationResult::Applied(steps),
    })
}

/// SQL: applies the step and records its number.
fn numbered(number: i32, step: &str) -> String {
    format!("{step}\ninsert into meter_sync.meter_sync_migration (version) values ({number});\n")
}
