//! Finds out which of the local tables a sweep can read, if each mirror has a local table of its own.

use crate::db::{Local, Tx, catalog, look_up_table_names, unique_indexes};
use crate::engine::relations::{self, RemoteSource};
use crate::engine::sweep::{SweptMirror, find_unchanged_columns};
use crate::engine::{Relations, SyncError, TenantFilters};
use crate::store::log;

/// A local table that a run would accept, and whose columns are those that the last run recorded.
pub(super) struct SweepableTable<'m> {
    /// The index of the table's mirror among the mirrors given to [`look_up`].
    pub(super) index: usize,
    pub(super) mirror: &'m SweptMirror<'m>,
    pub(super) relations: Relations,
    /// The SQL condition that selects the mirror's rows, with the alias `l`.
    pub(super) filter: String,
}

/// Locks the local tables that the role can read, and looks them up in the catalogs. Leaves out a table in these cases,
/// so that its mirror gets a run:
///
/// - it is missing, or is no ordinary table;
/// - the role may not read all of its columns;
/// - a run would refuse it, or would record other columns than the last run;
/// - it may be the remote table itself.
pub(super) async fn look_up<'m>(
    there: &RemoteSource,
    local: &Tx<'_, Local>,
    mirrors: &'m [SweptMirror<'m>],
) -> Result<Vec<SweepableTable<'m>>, SyncError> {
    let mut readable: Vec<(usize, &SweptMirror<'_>)> = Vec::new();
    let name = |mirror: &SweptMirror<'_>| mirror.mapping.local_table.clone();
    let names: Vec<String> = mirrors.iter().map(name).collect();
    for index in look_up_table_names::indexes_of_readable(local, &names).await? {
        readable.extend(mirrors.get(index).map(|mirror| (index, mirror)));
    }
    let names: Vec<String> = readable.iter().map(|(_, mirror)| name(mirror)).collect();
    relations::lock_relations::hold_local_tables(local, &names).await?;
    let found = catalog::find_all(local, &names).await?;
    let oids: Vec<u32> = found.iter().flatten().map(|table| table.oid).collect();
    let mut unique = unique_indexes::of_tables(local, &oids).await?;
    let mut tables = Vec::new();
    for ((index, mirror), here) in readable.into_iter().zip(found) {
        // If the object ids are equal, remote and local may be the same table. Only a run finds that out.
        let Some(here) = here.filter(|here| there.oid != Some(here.oid)) else {
            continue;
        };
        let unique = unique.remove(&here.oid).unwrap_or_default();
        let Ok(relations) = relations::relate(there, &here, &unique, mirror.mapping) else {
            continue;
        };
        tables.push(SweepableTable {
            index,
            mirror,
            filter: TenantFilters::of(&relations, mirror.tenant).local_filter,
            relations,
        });
    }
    let relations = |index| {
        let table = tables.iter().find(|table| table.index == index);
        table.map(|table| &table.relations)
    };
    let settled = find_unchanged_columns::of_mirrors(local, mirrors, relations).await?;
    tables.retain(|table| settled.get(table.index) == Some(&true));
    without_those_of_others(local, tables).await
}

/// Leaves out tables without a tenant column that were not last synced for the mirror's tenant, because a run may
/// refuse them.
async fn without_those_of_others<'m>(
    local: &Tx<'_, Local>,
    tables: Vec<SweepableTable<'m>>,
) -> Result<Vec<SweepableTable<'m>>, SyncError> {
    let name = |table: &SweepableTable<'_>| table.mirror.key.local_table.clone();
    let names: Vec<String> = tables.iter().map(name).collect();
    let last = log::last_tenants(local, &names).await?;
    let is_ours = |table: &SweepableTable<'_>, last: Option<String>| {
        table.relations.local_tenant.is_some() || last.as_ref() == Some(&table.mirror.key.tenant)
    };
    let ours = tables.into_iter().zip(last);
    let ours = ours.filter_map(|(table, last)| is_ours(&table, last).then_some(table));
    Ok(ours.collect())
}
