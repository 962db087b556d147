//! Shapes and sequences that have failed, or that a sync engine is known to fail on, pinned one by one.

use meter_sync::model::Counts;
use meter_sync::reports::run_report::RunReport;

use crate::support::postgres::{Pair, pair};
use crate::support::site::{Site, rows};

mod alias_finder;
mod altering_triggers;
mod assorted_past_bugs;
mod bad_rows_in_copy;
mod brake;
mod case_insensitive_keys;
mod casts;
mod clock_warnings;
pub(crate) mod column_names;
mod constraints;
mod deferrable_constraints;
mod duplicate_keys;
mod encodings;
mod errors_that_name_no_rule;
mod exchanged_values;
mod execute_rights;
mod failed_comparisons;
mod foreign_key_update_actions;
mod freed_values_still_referred_to;
mod full_compare;
mod held_back_meters;
mod idempotency_keys;
mod identity_columns;
mod index_functions_by_search_path;
mod long_rows;
mod misleading_messages;
mod missed_differences;
mod missing_meters;
mod newer_version_log;
mod overloads;
mod overwritten_rows;
mod partial_indexes;
mod partitions;
mod plant_overloads;
mod recorded_change_limit;
mod referring_rows;
mod refused_values;
mod rejection_reasons;
mod replanning;
mod reregistered_meters;
mod retention;
mod rights;
mod row_versions;
mod self_references;
mod several_organisations;
mod spare_values;
mod table_and_query_shapes;
mod table_reloads;
mod transfer_formats;
mod unstorable_rows;
mod value_holders;
mod wrong_clocks;

/// A small pair of tables; `columns` are both sides', `local` is added to the local table only.
pub(crate) async fn site(columns: &str, local: &str) -> Site {
    site_on(pair().await, columns, local).await
}

/// The same in these databases.
pub(crate) async fn site_on(pair: Pair, columns: &str, local: &str) -> Site {
    let remote = format!(
        "create table meter (id bigint primary key, tenant_id bigint not null, {columns}, active boolean not null)"
    );
    let local = format!(
        "create table tenant (id bigint primary key, name text);
         insert into tenant values (7, 'Acme');
         create table meter (id bigint primary key, {columns}, active boolean not null {local})"
    );
    Site::on_pair(pair, &remote, &local).await
}

pub(crate) fn counts(report: &RunReport) -> Counts {
    report.counts
}

pub(crate) async fn names(site: &Site) -> serde_json::Value {
    rows(&site.local, "select id, name from meter order by id").await
}
