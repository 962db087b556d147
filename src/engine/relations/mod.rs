//! Finds the tables, columns and key of a sync, from the settings and the catalogs of both sides.

use crate::config::Mapping;
use crate::db::catalog::{Column, Relation};
use crate::db::citus_distribution::CitusDistribution;
use crate::db::constraints_between_rows::ConstraintsBetweenRows;
use crate::db::count_writes::WriteCounts;
use crate::db::unique_indexes::{self, UniqueIndexes};
use crate::db::{Local, Remote, Tx, both, quote};
use crate::model::RunId;

use super::SyncError;
use can_compare_row_versions::basis;
use explain_missing_names::{generates_values, lacks};
pub(super) use look_up_remote_source::RemoteSource;
use refuse_same_or_taken_table::{is_one_database, local_table};
use refuse_unsuited_distribution::COPIED_ROWS;

mod can_compare_row_versions;
pub(super) mod detect_row_security;
mod exact_key_types;
pub(super) mod explain_missing_names;
pub(super) mod lock_relations;
mod look_up_remote_source;
pub(super) mod refuse_same_or_taken_table;
pub(super) mod refuse_unsuited_distribution;

/// The tables, columns and key of a sync. They are the same for all tenants of the tables;
/// [`TenantFilters`](super::TenantFilters) selects the rows of one tenant. Names of relations are quoted for SQL, names
/// of columns are not.
#[derive(Clone, Debug)]
pub struct Relations {
    /// The remote table, view or query, as SQL for use after `from`.
    pub remote_from: String,
    /// The local table, quoted.
    pub local: String,
    /// The columns to sync, including the key and the active column, as the local table has them.
    pub columns: Vec<Column>,
    /// The remote columns of the same names, in the order of `columns`.
    pub remote_columns: Vec<Column>,
    /// The names of `columns`.
    pub names: Vec<String>,
    /// The names of the key columns.
    pub key: Vec<String>,
    /// The name of the active column.
    pub active: String,
    /// The local table's object id.
    pub local_oid: u32,
    /// Unique indexes, exclusion constraints and foreign keys of the local table; empty until looked up.
    pub constraints: ConstraintsBetweenRows,
    /// Whether rows can be copied straight into the local table: it is plain ([`Relation::is_plain`]), and no key
    /// column can be NULL.
    pub takes_copies: bool,
    /// Whether two local keys that compare equal are always stored identically (`exact_key_types::is_exact`).
    pub has_exact_key: bool,
    /// Whether two remote keys that convert to the same local key always have the same text on the remote, too
    /// (`exact_key_types::has_one_text`).
    pub has_one_text_a_key: bool,
    /// Whether the local table stores rows as they are written: it has no triggers, rules or row security, and no
    /// foreign keys that act on updates.
    pub stores_rows_unchanged: bool,
    /// Whether a local row is identified by its place (`ctid`) as long as nobody changes it: the local table is one
    /// file in Postgres's own format.
    pub keeps_places: bool,
    /// Whether an update of a local row may, through foreign keys, do more than copy its new values to the rows that
    /// refer to it (see [`Relation::has_foreign_keys_acting_on_update`]).
    pub has_foreign_keys_acting_on_update: bool,
    /// Whether the remote source is a table, and not a view, a foreign table or a query.
    pub is_remote_table: bool,
    /// Whether the remote source is a plain table without row security, so that reading it runs no user-defined code.
    pub is_remote_plain: bool,
    /// A hash of the table files and settings that must stay the same while row versions are compared between runs.
    /// `None` if row versions cannot show whether rows have changed.
    pub version_basis: Option<String>,
    /// How Citus distributes the rows of the local table; `None` if it does not.
    pub distribution: Option<CitusDistribution>,
    /// The estimated number of rows in the local table; negative if it was never analyzed.
    pub estimated_rows: i64,
    /// How often rows of the remote table, of any tenant, were written so far; `None` if it is not known.
    pub remote_writes: Option<WriteCounts>,
    /// Whether the remote source may read foreign tables. Always `false` for a query: the run has already waited for
    /// sessions that rewrite its foreign tables.
    pub may_be_foreign: bool,
    /// The remote column that holds the tenant's id.
    pub remote_tenant: Column,
    /// The local column that holds the tenant's id; `None` if the table holds the rows of one tenant only.
    pub local_tenant: Option<Column>,
    /// All columns of both sides, synced or not.
    pub all_columns: AllColumns,
}

impl Relations {
    /// Returns the names of the synced columns that an update may change. These are the columns that are not part of
    /// the key. If Citus distributes the rows by one of them, that column is left out, too, because Citus does not let
    /// it be updated.
    pub fn fields(&self) -> impl Iterator<Item = &String> {
        let distribution = self.distribution.as_ref();
        let distribution = distribution.and_then(CitusDistribution::column);
        let is_distribution = move |name: &String| distribution == Some(name.as_str());
        let is_field = move |name: &&String| !self.key.contains(name) && !is_distribution(name);
        self.names.iter().filter(is_field)
    }

    /// Whether the key columns have the same types on both sides, so that no remote key needs a cast.
    pub fn has_key_of_same_types(&self) -> bool {
        let mut both = self.remote_columns.iter().zip(&self.columns);
        both.all(|(there, here)| {
            !self.key.contains(&here.name) || there.exact_type == here.exact_type
        })
    }

    /// The local key column, if the key is one column.
    pub fn only_key(&self) -> Option<&Column> {
        let [name] = self.key.as_slice() else {
            return None;
        };
        self.columns.iter().find(|column| column.name == *name)
    }

    /// SQL for the local rows, with the alias `l`, for use after `from` or `join` in a statement that only reads. The
    /// caller adds the condition that selects the tenant's rows. If Citus distributes the rows, this is the temporary
    /// table that `copy_distributed_rows` fills.
    pub fn local_rows(&self) -> String {
        match &self.distribution {
            Some(_) => format!("{COPIED_ROWS} l"),
            None => format!("{} l", self.local),
        }
    }

    /// SQL for a column of the row with the alias `row`: `r` is a remote row and `l` a local row, whose columns have
    /// their own names. Any other alias is a row of a temporary table, whose columns are numbered so that no names can
    /// clash.
    pub fn column(&self, row: &str, name: &str) -> String {
        match row {
            "r" | "l" => format!("{row}.{}", quote::identifier(name)),
            row => format!("{row}.{}", self.temp_column(name)),
        }
    }

    /// Returns the name of a synced column in our temporary tables: `c1`, `c2` and so on.
    pub fn temp_column(&self, name: &str) -> String {
        let place = self.names.iter().position(|known| known == name);
        format!("c{}", place.map_or(0, |place| place + 1))
    }

    /// SQL for these columns of the row with the alias `row`, separated by commas.
    pub fn list<'a>(&self, row: &str, names: impl IntoIterator<Item = &'a String>) -> String {
        quote::list(names, ", ", |name| self.column(row, name))
    }

    /// Returns the names of these columns in our temporary tables, separated by commas.
    pub fn temp_columns<'a>(&self, names: impl IntoIterator<Item = &'a String>) -> String {
        quote::list(names, ", ", |name| self.temp_column(name))
    }

    /// Returns the equality operator of a column's local type, with its schema.
    pub fn equals(&self, name: &str) -> &str {
        let column = self.columns.iter().find(|column| column.name == name);
        column.map_or(quote::EQUALS, |column| column.equals.as_str())
    }

    /// SQL condition: whether the rows `a` and `b` have the same key, for example `l."k" = s.c1 and ...`.
    pub fn same_key(&self, a: &str, b: &str) -> String {
        quote::list(&self.key, " and ", |name| {
            let (a, b) = (self.column(a, name), self.column(b, name));
            format!("{a} {} {b}", self.equals(name))
        })
    }

    /// SQL condition: whether no key column of a row is NULL, for example `l."k" is not null and ...`.
    pub fn has_key(&self, row: &str) -> String {
        quote::list(&self.key, " and ", |name| {
            format!("{} is not null", self.column(row, name))
        })
    }

    /// SQL: the key of a row as a JSON object, for example `jsonb_build_object('k', l."k", ...)`.
    pub fn key_json(&self, row: &str) -> String {
        let pairs = quote::list(&self.key, ", ", |name| {
            format!("{}, {}", quote::literal(name), self.column(row, name))
        });
        format!("pg_catalog.jsonb_build_object({pairs})")
    }
}

/// Looks up the relations of a sync. Also returns the catalog entry of the local table. Takes no lock on the table.
/// Fails if the settings do not fit the tables, or if remote and local are the same table. The latter is tested with an
/// advisory lock in the local transaction, whose number is made from `mark`.
pub(crate) async fn look_up(
    remote: &Tx<'_, Remote>,
    local: &Tx<'_, Local>,
    mapping: &Mapping,
    mark: RunId,
) -> Result<(Relations, Relation), SyncError> {
    let (there, here) = both(
        RemoteSource::find(remote, mapping),
        local_table(local, &mapping.local_table),
    )
    .await?;
    if let Some(oid) = there.oid
        && oid == here.oid
        && is_one_database(remote, local, mark).await?
    {
        return Err(SyncError::SameTable(here.shown()));
    }
    let unique = unique_indexes::of_table(local, here.oid).await?;
    Ok((relate(&there, &here, &unique, mapping)?, here))
}

/// Builds the relations from the catalog entries of both sides: `there` remote, `here` local. Fails if a column or key
/// that the sync needs is missing or not suited.
pub(in crate::engine) fn relate(
    there: &RemoteSource,
    here: &Relation,
    unique: &UniqueIndexes,
    mapping: &Mapping,
) -> Result<Relations, SyncError> {
    refuse_unsuited_distribution::refuse_others(here, mapping)?;
    let key = key(mapping, here, unique)?;
    let selected = SelectedColumns {
        remote_tenant: there.tenant(mapping)?,
        columns: columns(mapping, here, there, &key)?,
        key,
    };
    Ok(of_both(there, here, selected, mapping))
}

/// All columns of both sides, synced or not.
#[derive(Clone, Debug)]
pub struct AllColumns {
    /// The object id of the remote table or view; `None` for a query.
    pub remote_relation: Option<u32>,
    /// The columns of the remote table, view or query.
    pub remote: Vec<Column>,
    /// The columns of the local table.
    pub local: Vec<Column>,
}

/// The columns that the settings select: those to sync, as the local table has them, the names of the key columns, and
/// the remote tenant column.
struct SelectedColumns {
    columns: Vec<Column>,
    key: Vec<String>,
    remote_tenant: Column,
}

fn of_both(
    there: &RemoteSource,
    here: &Relation,
    SelectedColumns {
        columns,
        key,
        remote_tenant,
    }: SelectedColumns,
    mapping: &Mapping,
) -> Relations {
    let remote_columns: Vec<Column> = columns
        .iter()
        .filter_map(|column| there.column(&column.name).cloned())
        .collect();
    let keys = || {
        let both = remote_columns.iter().zip(&columns);
        both.filter(|(_, here)| key.contains(&here.name))
    };
    let has_exact_key = keys().all(|(there, here)| exact_key_types::is_exact(there, here));
    let version_basis =
        basis(there, here, &columns, &remote_columns, mapping).filter(|_| has_exact_key);
    let may_lack_key = |column: &Column| column.is_nullable && key.contains(&column.name);
    let all_columns = AllColumns {
        remote_relation: there.oid,
        remote: there.columns.clone(),
        local: here.columns.clone(),
    };
    Relations {
        all_columns,
        local_oid: here.oid,
        constraints: ConstraintsBetweenRows::default(),
        remote_tenant,
        local_tenant: here.column(&mapping.tenant_column).cloned(),
        version_basis,
        has_exact_key,
        has_one_text_a_key: keys().all(|(there, here)| exact_key_types::has_one_text(there, here)),
        stores_rows_unchanged: here.is_plain && !here.has_foreign_keys_acting_on_update,
        keeps_places: here.file.is_some(),
        has_foreign_keys_acting_on_update: here.has_foreign_keys_acting_on_update,
        is_remote_table: there.is_table,
        is_remote_plain: there.is_plain,
        may_be_foreign: there.may_be_foreign,
        takes_copies: here.is_plain && !here.columns.iter().any(may_lack_key),
        distribution: here.distribution.clone(),
        estimated_rows: here.estimated_rows,
        remote_writes: there.writes,
        remote_from: there.from.clone(),
        local: here.quoted(),
        names: columns.iter().map(|column| column.name.clone()).collect(),
        remote_columns,
        columns,
        key,
        active: mapping.active_column.clone(),
    }
}

fn key(
    mapping: &Mapping,
    here: &Relation,
    unique: &UniqueIndexes,
) -> Result<Vec<String>, SyncError> {
    let Some(key) = mapping.key.as_ref().or(unique.primary.as_ref()) else {
        return Err(SyncError::LocalSchema(format!(
            "table {} has no primary key, and METER_SYNC_KEY names no key",
            mapping.local_table
        )));
    };
    if let Some(missing) = key.iter().find(|name| here.column(name).is_none()) {
        let table = format!("table {}", mapping.local_table);
        return Err(lacks(
            SyncError::LocalSchema,
            &table,
            &here.columns,
            "key column",
            missing,
        ));
    }
    if key.contains(&mapping.active_column) {
        return Err(SyncError::LocalSchema(format!(
            "table {} has its active column {} in the key: a meter switched off would be another meter",
            mapping.local_table, mapping.active_column
        )));
    }
    // In a table with several tenants, a key may be unique only together with the tenant.
    let is_unique = unique.whole.iter().any(|index| {
        index
            .iter()
            .all(|name| key.contains(name) || *name == mapping.tenant_column)
    });
    if !is_unique {
        return Err(SyncError::LocalSchema(format!(
            "table {} has no unique index on its key ({})",
            mapping.local_table,
            key.join(", ")
        )));
    }
    Ok(key.clone())
}

fn columns(
    mapping: &Mapping,
    here: &Relation,
    there: &RemoteSource,
    key: &[String],
) -> Result<Vec<Column>, SyncError> {
    let table = format!("table {}", mapping.local_table);
    let not_here = |name: &str| {
        lacks(
            SyncError::LocalSchema,
            &table,
            &here.columns,
            "column",
            name,
        )
    };
    let is_its_own = |column: &Column| {
        column.is_generated || column.is_always_identity && !key.contains(&column.name)
    };
    let mut names: Vec<&String> = match &mapping.columns {
        Some(named) => named.iter().collect(),
        None => {
            let shared = |column: &&Column| !is_its_own(column) && there.has(&column.name);
            here.columns
                .iter()
                .filter(shared)
                .map(|column| &column.name)
                .collect()
        }
    };
    let tenant = Some(&mapping.tenant_column).filter(|name| here.column(name).is_some());
    for required in key.iter().chain([&mapping.active_column]).chain(tenant) {
        if !names.contains(&required) {
            names.push(required);
        }
    }
    let mut columns = Vec::with_capacity(names.len());
    for name in names {
        let column = here.column(name).ok_or_else(|| not_here(name))?;
        if is_its_own(column) {
            return Err(generates_values(&table, name));
        }
        if !there.has(name) {
            return Err(there.lacks("column", name));
        }
        if *name == mapping.active_column && column.base_type != "boolean" {
            return Err(SyncError::LocalSchema(format!(
                "column {name} of {table} is not boolean"
            )));
        }
        columns.push(column.clone());
    }
    Ok(columns)
}
