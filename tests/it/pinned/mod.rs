//! Shapes and sequences that have failed, or that a sync engine is known to fail on, pinned one by one.

use meter_sync::mirrors::run::report::RunReport;
use meter_sync::model::Counts;

use crate::support::postgres::{Pair, pair};
use crate::support::site::{Site, rows};

mod acting_keys;
mod aliases;
mod altering_triggers;
mod blind_keys;
mod brake;
mod casts;
mod clock_warnings;
mod clocks;
pub(crate) mod columns;
mod comparisons;
mod constraints;
mod contents;
mod deferrable;
mod duplicates;
mod encodings;
mod exchanged;
mod followed;
mod formats;
mod freed_values;
mod granted;
mod held_sets;
mod hostile;
mod identities;
mod indexed_functions;
mod long_rows;
mod missed;
mod newer;
mod organisations;
mod overloads;
mod partial_indexes;
mod partitions;
mod planted;
mod reasons;
mod recorded;
mod relays;
mod repeats;
mod replanning;
mod reregistered;
mod retention;
mod rewrites;
mod rights;
mod self_references;
mod shapes;
mod spare_values;
mod told;
mod told_holders;
mod unevaluated;
mod unstorable;
mod values;
mod versions;

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
