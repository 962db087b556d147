//! Which tables, columns and keys take part, from the settings and the catalogs of both sides.

use crate::config::{Mapping, Source};
use crate::db::catalog::{self, Column, Relation, UniqueIndexes};
use crate::db::exclusive::Rules;
use crate::db::{Local, Remote, Tx, both, quote};
use crate::meter::{RunId, TenantId};

use super::drift::Offered;
use super::missing::{lacks, made_there, remote_source};
use super::refusals::{is_one_database, local_table, refuse_occupied, try_tenant};
use super::{Job, SyncError, key, locks};

/// What takes part in a sync: quoted where it names a relation, plain where it names a column.
#[derive(Clone, Debug)]
pub struct Shape {
    /// What stands behind `from` on the remote.
    pub remote_from: String,
    /// The local table, quoted.
    pub local: String,
    /// The columns to sync, key and active column among them, as the local table has them.
    pub columns: Vec<Column>,
    /// The same columns as the remote has them.
    pub remote_columns: Vec<Column>,
    /// The names of `columns`.
    pub names: Vec<String>,
    /// The key.
    pub key: Vec<String>,
    /// The active column.
    pub active: String,
    /// The local table's object id.
    pub local_oid: u32,
    /// What keeps two rows of the local table from standing beside each other; empty until it is looked up.
    pub rules: Rules,
    /// Whether rows can be copied straight into the local table: it keeps them, and refuses a row without a key.
    pub takes_copies: bool,
    /// Whether keys that are equal here are the same.
    pub has_exact_key: bool,
    /// Whether remote keys that become the same here are written in the same way there.
    pub has_one_text_a_key: bool,
    /// Whether the local table keeps rows as they are written: it has no triggers, rules, row security or acting keys.
    pub keeps_what_is_written: bool,
    /// See [`Relation::has_acting_keys`].
    pub has_acting_keys: bool,
    /// Whether no code of the remote's owner runs when rows are read: it is a plain table without row security.
    pub is_remote_plain: bool,
    /// What has to stay as it is for the versions of rows to tell whether the rows changed; `None` where
    /// they do not tell it.
    pub versions: Option<String>,
    /// How many rows the local table holds, roughly.
    pub estimated_rows: i64,
    /// Whether the remote table may read foreign tables, which nobody has waited for.
    pub may_be_foreign: bool,
    /// The condition that picks the tenant's rows on the remote, for a row named `r`.
    pub remote_filter: String,
    /// The condition that picks the tenant's rows here, for a row named `l`.
    pub local_filter: String,
    /// All columns of both sides.
    pub offered: Offered,
}

impl Shape {
    /// The columns that are not part of the key.
    pub fn fields(&self) -> impl Iterator<Item = &String> {
        self.names.iter().filter(|name| !self.key.contains(name))
    }

    /// A column of a row: `r` and `l` name rows of the remote and the local table, where columns have names; the rows of
    /// our temporary tables have them by place, as any name may be that of a meter's column.
    pub fn column(&self, row: &str, name: &str) -> String {
        match row {
            "r" | "l" => format!("{row}.{}", quote::identifier(name)),
            row => format!("{row}.{}", self.place(name)),
        }
    }

    /// What a column is called in our temporary tables.
    pub fn place(&self, name: &str) -> String {
        let place = self.names.iter().position(|known| known == name);
        format!("c{}", place.map_or(0, |place| place + 1))
    }

    /// Columns of a row, with commas between.
    pub fn list<'a>(&self, row: &str, names: impl IntoIterator<Item = &'a String>) -> String {
        quote::list(names, ", ", |name| self.column(row, name))
    }

    /// The columns of our temporary tables for these, with commas between.
    pub fn places<'a>(&self, names: impl IntoIterator<Item = &'a String>) -> String {
        quote::list(names, ", ", |name| self.place(name))
    }

    /// The operator by which values of a column are equal here.
    pub fn equals(&self, name: &str) -> &str {
        let column = self.columns.iter().find(|column| column.name == name);
        column.map_or(quote::EQUALS, |column| column.equals.as_str())
    }

    /// `a."k" = b.c1 and ...` over the key.
    pub fn same_key(&self, a: &str, b: &str) -> String {
        quote::list(&self.key, " and ", |name| {
            let (a, b) = (self.column(a, name), self.column(b, name));
            format!("{a} {} {b}", self.equals(name))
        })
    }

    /// `row."k" is not null and ...` over the key.
    pub fn has_key(&self, row: &str) -> String {
        quote::list(&self.key, " and ", |name| {
            format!("{} is not null", self.column(row, name))
        })
    }

    /// `jsonb_build_object('k', row."k", ...)` over the key.
    pub fn key_json(&self, row: &str) -> String {
        let pairs = quote::list(&self.key, ", ", |name| {
            format!("{}, {}", quote::literal(name), self.column(row, name))
        });
        format!("pg_catalog.jsonb_build_object({pairs})")
    }
}

/// Finds the shape, and refuses what cannot be synced safely.
pub(super) async fn resolve(
    remote: &Tx<'_, Remote>,
    local: &Tx<'_, Local>,
    job: &Job<'_>,
) -> Result<Shape, SyncError> {
    locks::hold_local_table(local, &job.mapping.local_table).await?;
    let (shape, here) = look(remote, local, job.mapping, job.tenant, job.run_id).await?;
    if !shape.is_remote_plain {
        remote.use_role_path().await?;
    }
    local.use_role_path().await?;
    if here.column(&job.mapping.tenant_column).is_none() {
        refuse_occupied(&here, job)?;
    }
    Ok(shape)
}

/// The shape and the local table as they are, with nothing claimed: what a check may look at. `mark`
/// is what the two transactions tell by whether they are in one database.
pub(crate) async fn look(
    remote: &Tx<'_, Remote>,
    local: &Tx<'_, Local>,
    mapping: &Mapping,
    tenant: &TenantId,
    mark: RunId,
) -> Result<(Shape, Relation), SyncError> {
    let (there, here) = both(
        RemoteSide::find(remote, mapping),
        local_table(local, &mapping.local_table),
    )
    .await?;
    if let Some(oid) = there.oid
        && oid == here.oid
        && is_one_database(remote, local, mark).await?
    {
        return Err(SyncError::SameTable(here.shown()));
    }
    let unique = catalog::unique_indexes(local, here.oid).await?;
    let key = key(mapping, &here, &unique)?;
    let columns = columns(mapping, &here, &there, &key)?;
    if let Some(wanted) = &there.tenant_type {
        try_tenant(remote, wanted, tenant).await?;
    }
    let shape = of_both((there, &here), (columns, key), mapping, tenant);
    Ok((shape, here))
}

fn of_both(
    (there, here): (RemoteSide, &Relation),
    (columns, key): (Vec<Column>, Vec<String>),
    mapping: &Mapping,
    tenant: &TenantId,
) -> Shape {
    let of_tenant = |row: &str, column: Option<&Column>| {
        let column = column?;
        let (name, tenant) = (
            quote::identifier(&column.name),
            quote::literal(tenant.as_str()),
        );
        Some(format!("{row}.{name} {} {tenant}", column.equals))
    };
    let remote_columns: Vec<Column> = columns
        .iter()
        .filter_map(|column| there.column(&column.name).cloned())
        .collect();
    let keys = || {
        let both = remote_columns.iter().zip(&columns);
        both.filter(|(_, here)| key.contains(&here.name))
    };
    let has_exact_key = keys().all(|(there, here)| key::is_exact(there, here));
    let versions = basis(&there, here, (&columns, &remote_columns), (tenant, mapping))
        .filter(|_| has_exact_key);
    let may_lack_key = |column: &Column| column.is_nullable && key.contains(&column.name);
    let offered = Offered {
        remote_relation: there.oid,
        remote: there.columns.clone(),
        local: here.columns.clone(),
    };
    Shape {
        offered,
        local_oid: here.oid,
        rules: Rules::default(),
        remote_filter: of_tenant("r", there.column(&mapping.tenant_column))
            .unwrap_or_else(|| "false".to_owned()),
        versions,
        has_exact_key,
        has_one_text_a_key: keys().all(|(there, here)| key::has_one_text(there, here)),
        keeps_what_is_written: here.is_plain && !here.has_acting_keys,
        has_acting_keys: here.has_acting_keys,
        is_remote_plain: there.is_plain,
        may_be_foreign: there.may_be_foreign,
        takes_copies: here.is_plain && !here.columns.iter().any(may_lack_key),
        estimated_rows: here.estimated_rows,
        remote_from: there.from,
        local: here.quoted(),
        names: columns.iter().map(|column| column.name.clone()).collect(),
        remote_columns,
        columns,
        key,
        active: mapping.active_column.clone(),
        local_filter: of_tenant("l", here.column(&mapping.tenant_column))
            .unwrap_or_else(|| "true".to_owned()),
    }
}

/// What the remote offers.
struct RemoteSide {
    from: String,
    /// See [`Relation::is_plain`].
    is_plain: bool,
    /// See [`Relation::may_be_foreign`]; those of a query were waited for.
    may_be_foreign: bool,
    columns: Vec<Column>,
    /// Absent for a query.
    oid: Option<u32>,
    /// See [`Relation::file`]; absent for a query.
    file: Option<String>,
    /// The type of the tenant column; absent for a query, whose types have no full names.
    tenant_type: Option<String>,
    what: String,
}

impl RemoteSide {
    async fn find(remote: &Tx<'_, Remote>, mapping: &Mapping) -> Result<Self, SyncError> {
        match &mapping.source {
            Source::Table(name) => {
                let relation = remote_source(remote, name).await?;
                let tenant = relation.column(&mapping.tenant_column);
                Ok(Self {
                    tenant_type: tenant.map(|column| column.base_type.clone()),
                    from: relation.quoted(),
                    is_plain: relation.is_plain,
                    may_be_foreign: relation.may_be_foreign,
                    oid: Some(relation.oid),
                    file: relation.file,
                    columns: relation.columns,
                    what: format!("table {name}"),
                })
            }
            Source::Query(query) => {
                remote.use_role_path().await?;
                Ok(Self {
                    from: format!("({query}\n)"),
                    is_plain: false,
                    may_be_foreign: false,
                    columns: catalog::of_query(remote, query).await?,
                    oid: None,
                    file: None,
                    tenant_type: None,
                    what: "query".to_owned(),
                })
            }
        }
    }

    fn column(&self, name: &str) -> Option<&Column> {
        self.columns.iter().find(|column| column.name == name)
    }

    fn has(&self, column: &str) -> bool {
        self.column(column).is_some()
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
            (&table, &here.columns),
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
    // In a table of several tenants a key may be unique together with the tenant only.
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
    there: &RemoteSide,
    key: &[String],
) -> Result<Vec<Column>, SyncError> {
    let table = format!("table {}", mapping.local_table);
    let not_here = |name: &str| {
        let table = (table.as_str(), here.columns.as_slice());
        lacks(SyncError::LocalSchema, table, "column", name)
    };
    let not_there = |role: &str, name: &str| {
        let source = (there.what.as_str(), there.columns.as_slice());
        lacks(SyncError::RemoteSchema, source, role, name)
    };
    if !there.has(&mapping.tenant_column) {
        return Err(not_there("tenant column", &mapping.tenant_column));
    }
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
            return Err(made_there(&table, name));
        }
        if !there.has(name) {
            return Err(not_there("column", name));
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

/// The files that hold the rows, and all that decides what of them is synced. What a value of a type of one's own or of
/// the catalog's stands for, as the labels of enumerations and the names of tables, can change and leave the rows as they are.
fn basis(
    there: &RemoteSide,
    here: &Relation,
    (columns, remote_columns): (&[Column], &[Column]),
    (tenant, mapping): (&TenantId, &Mapping),
) -> Option<String> {
    let (there, here) = (there.file.as_ref()?, here.file.as_ref()?);
    let mut all = columns.iter().chain(remote_columns);
    all.all(|column| column.is_builtin && !column.names_catalog_rows() && !column.is_generated)
        .then(|| format!("{there} {here} {tenant} {mapping:?} {columns:?} {remote_columns:?}"))
}
