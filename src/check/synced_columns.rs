//! Checks which columns of the two meter tables a sync uses.

use super::connections::ConnectionWithReport;
use super::{Finding, Verdict};
use crate::config::{Mapping, SourceSetting};
use crate::db::catalog::{self, Relation};
use crate::db::{DbError, Local, Remote, Tx, param};
use crate::engine::{self, Relations, SyncError, TenantFilters};
use crate::machine_clock;
use crate::model::{RunId, TenantId};

/// The remote and the local meter table, after a check found that a sync can use them.
pub(super) struct CheckedTables {
    pub(super) relations: Relations,
    /// The conditions that select the rows of the tenant that is checked.
    pub(super) scope: TenantFilters,
}

/// Returns findings about the columns: which are synced, which are not, and which are converted to another type. Also
/// returns both tables; `None` if they cannot be synced.
pub(super) async fn findings(
    remote: &mut ConnectionWithReport<Remote>,
    local: &mut ConnectionWithReport<Local>,
    mapping: &Mapping,
    tenant: &TenantId,
) -> (Vec<Finding>, Option<CheckedTables>) {
    match look_at_both(remote, local, mapping, tenant).await {
        Ok((findings, tables)) => (findings, Some(tables)),
        Err(error) => {
            let failed = Verdict::Failed(engine::failure(&error, &mapping.source));
            (vec![Finding::new("columns", failed)], None)
        }
    }
}

async fn look_at_both(
    remote: &mut ConnectionWithReport<Remote>,
    local: &mut ConnectionWithReport<Local>,
    mapping: &Mapping,
    tenant: &TenantId,
) -> Result<(Vec<Finding>, CheckedTables), SyncError> {
    let there = remote.begin_read_only().await?;
    let here = local.begin_read_only().await?;
    let mark = RunId::at(machine_clock::now());
    let (relations, table) = engine::look_up(&there, &here, mapping, mark).await?;
    let scope = TenantFilters::of(&relations, tenant);
    engine::try_tenant(&there, &relations, &scope).await?;
    let remote_table = match &mapping.source {
        SourceSetting::Table(name) => catalog::find(&there, name).await?,
        SourceSetting::Query(_) => None,
    };
    let mut findings = vec![synced(&relations)];
    findings.extend(only_here(&here, &table, &relations).await?);
    if let Some(remote_table) = &remote_table {
        findings.extend(only_there(remote_table, &relations, mapping));
    }
    findings.extend(converted(&relations));
    Ok((findings, CheckedTables { relations, scope }))
}

fn synced(relations: &Relations) -> Finding {
    let text = format!(
        "{} are synced by key ({}): {}",
        relations.names.len(),
        relations.key.join(", "),
        relations.names.join(", ")
    );
    Finding::new("columns", Verdict::Ok(text))
}

const REQUIRED: &str = "\
-- look for columns that every new row must give
select a.attname::text from pg_catalog.pg_attribute a
where a.attrelid = $1 and a.attnum > 0 and not a.attisdropped
  and a.attnotnull and not a.atthasdef and a.attidentity = ''
order by a.attnum";

/// Returns a finding that lists the local columns that a sync does not write; `None` if there are none. The finding is
/// a warning if such a column is `not null` and has no default, because a sync then cannot insert a row.
async fn only_here(
    tx: &Tx<'_, Local>,
    table: &Relation,
    relations: &Relations,
) -> Result<Option<Finding>, DbError> {
    let untouched = |name: &String| !relations.names.contains(name);
    let names = table.columns.iter().map(|column| &column.name);
    let names: Vec<_> = names.filter(|name| untouched(name)).cloned().collect();
    if names.is_empty() {
        return Ok(None);
    }
    let rows = tx.query(REQUIRED, &[param::oid(table.oid)]).await?;
    let required: Vec<String> = rows
        .iter()
        .map(|row| row.get(0))
        .filter(untouched)
        .collect();
    let verdict = if required.is_empty() {
        Verdict::Ok(format!("{}: never touched", names.join(", ")))
    } else {
        let required = required.join(", ");
        Verdict::Warning(format!(
            "{required} must not be null and has no default, so the local table takes no new meter. \
             Give it a default: alter table {} alter column .. set default ..",
            table.shown()
        ))
    };
    Ok(Some(Finding::new("columns only here", verdict)))
}

fn only_there(remote: &Relation, relations: &Relations, mapping: &Mapping) -> Option<Finding> {
    let names = remote.columns.iter().map(|column| column.name.as_str());
    let unread = names.filter(|name| {
        *name != mapping.tenant_column && !relations.names.iter().any(|synced| synced == name)
    });
    let names: Vec<_> = unread.collect();
    let text = format!("{}: not synced", names.join(", "));
    (!names.is_empty()).then(|| Finding::new("columns only there", Verdict::Ok(text)))
}

fn converted(relations: &Relations) -> Option<Finding> {
    let both = relations.remote_columns.iter().zip(&relations.columns);
    let differing = both.filter(|(there, here)| there.base_type != here.base_type);
    let differing = differing.map(|(there, here)| {
        let (from, to) = (there.base_type.as_str(), here.base_type.as_str());
        format!("{} {from} -> {to}{}", here.name, time_zone_note(from, to))
    });
    let differing: Vec<_> = differing.collect();
    let text = format!(
        "{}: converted by their text; a row with a value that does not fit is rejected",
        differing.join(", ")
    );
    (!differing.is_empty()).then(|| Finding::new("types that differ", Verdict::Ok(text)))
}

/// Returns how a time is converted if only one of the two types has a time zone, such as ` (read as UTC)`; empty
/// otherwise.
fn time_zone_note(from: &str, to: &str) -> &'static str {
    let has_zone = |name: &str| name.contains("with time zone") || name.starts_with("tstz");
    let is_time_of_day = |name: &str| name.starts_with("time with time zone");
    match (has_zone(from), has_zone(to)) {
        (true, false) if is_time_of_day(from) => " (without its offset)",
        (true, false) | (false, true) => " (read as UTC)",
        (true, true) | (false, false) => "",
    }
}
