//! What the local table should hold: the remote's rows, cast by an assignment of Postgres's own (text columns take the
//! text as COPY writes it), and those that are gone from it inactive.

use std::collections::BTreeMap;

use meter_sync::model::Counts;
use tokio_postgres::types::{ToSql, Type};
use tokio_postgres::{Client, Row as Found};

use super::table::{Column, Table};
use crate::support::site::Site;

type Texts = Vec<Option<String>>;

/// Local rows by the texts of their keys.
pub(super) type Rows = BTreeMap<Texts, Row>;

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Row {
    is_ours: bool,
    meter: Meter,
    note: Option<String>,
}

/// What both sides know: the synced columns.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Meter {
    values: Texts,
    is_active: bool,
}

/// The tenant's remote rows as they are to be here; none of what cannot be stored but the key.
pub(super) type Remote = BTreeMap<Texts, Option<Meter>>;

/// What a run should leave, and count.
pub(super) fn expected(table: &Table, before: &Rows, remote: &Remote) -> (Rows, Counts) {
    let (mut after, mut counts) = (before.clone(), Counts::default());
    for (key, meter) in remote {
        let Some(meter) = meter.clone() else {
            counts.rejected += 1;
            continue;
        };
        let found = before.get(key);
        let count = match found {
            Some(row) if !row.is_ours => {
                counts.rejected += 1;
                continue;
            }
            None => &mut counts.inserted,
            Some(row) if row.meter == meter => &mut counts.unchanged,
            Some(row) if !row.meter.is_active && meter.is_active => &mut counts.reactivated,
            Some(_) => &mut counts.updated,
        };
        *count += 1;
        let note = found.map_or(Some("ours".to_owned()), |row| row.note.clone());
        let is_ours = true;
        after.insert(
            key.clone(),
            Row {
                is_ours,
                meter,
                note,
            },
        );
    }
    for (key, row) in &mut after {
        if row.is_ours && !remote.contains_key(key) {
            counts.deactivated += i64::from(row.meter.is_active);
            row.meter.is_active = false;
            release(table, &mut row.meter, remote);
        }
    }
    (after, counts)
}

/// A meter that is gone gives its unique value up to one that exists.
fn release(table: &Table, gone: &mut Meter, remote: &Remote) {
    if let Some(place) = table.unique {
        let has = |meter: &Meter| meter.values[place] == gone.values[place];
        if remote.values().flatten().any(has) {
            gone.values[place] = None;
        }
    }
}

/// The local rows.
pub(super) async fn here(table: &Table, local: &Client) -> Rows {
    let Table { tenant, note, .. } = table;
    let is_ours = match table.is_shared {
        true => format!("{tenant} = 7"),
        false => "true".to_owned(),
    };
    let sql = format!("select {}, {is_ours}, {note} from meter", texts(table));
    let row = |row: &Found| {
        let (key, meter) = meter(row);
        let (is_ours, note) = (row.get(3), row.get(4));
        (
            key,
            Row {
                is_ours,
                meter,
                note,
            },
        )
    };
    query(local, &sql).await.iter().map(row).collect()
}

/// The remote rows of the tenant, cast one by one.
pub(super) async fn remote(table: &Table, site: &Site) -> Remote {
    let Table { tenant, active, .. } = table;
    let written =
        |name: &str| format!("case when {name} is not null then format('%s', {name}) end");
    let all = table.all(|c| format!("{}, ", written(&c.name)));
    let sql = format!("select array[{all}{active}::text] from meter where {tenant} = 7");
    let columns = table.all(|c| format!("{} {}, ", c.name, c.local));
    let keys = table.all(|c| format!("{} {}, ", c.name, c.local_type()));
    let tables = format!(
        "create temporary table cast_rows ({columns}{active} boolean);
         create temporary table cast_keys ({keys}{active} boolean)"
    );
    site.on_local(&tables).await;
    for row in query(&site.remote, &sql).await {
        cast(table, &site.local, &row.get(0)).await;
    }
    let whole = query(
        &site.local,
        &format!("select {} from cast_rows", texts(table)),
    )
    .await;
    let keys = query(
        &site.local,
        &format!("select {} from cast_keys", texts(table)),
    )
    .await;
    site.on_local("drop table cast_rows, cast_keys").await;
    let whole = whole
        .iter()
        .map(meter)
        .map(|(key, meter)| (key, Some(meter)));
    let keys = keys.iter().map(|row| (row.get(0), None));
    whole.chain(keys).collect()
}

/// Assigns the values of a remote row to columns of the local types; to those of the key alone where that fails.
async fn cast(table: &Table, local: &Client, row: &Texts) {
    let types = table.key.iter().map(|(c, _)| c.remote);
    let types = types.chain(table.columns.iter().map(Column::assigned));
    let types: Vec<&str> = types.chain(["boolean"]).collect();
    let numbered = (1..).zip(&types);
    let casts = numbered.map(|(n, type_)| format!("(${n}::text)::{type_}"));
    let casts: Vec<String> = casts.collect();
    let values: Vec<(&(dyn ToSql + Sync), Type)> =
        row.iter().map(|value| (value as _, Type::TEXT)).collect();
    let whole = format!("insert into cast_rows select {}", casts.join(", "));
    if local.execute_typed(&whole, &values).await.is_err() {
        let keys = table.key.len();
        let key = format!(
            "insert into cast_keys ({}) select {}",
            table.key_names(),
            casts[..keys].join(", ")
        );
        let cast = local.execute_typed(&key, &values[..keys]).await;
        cast.expect("every key can be stored");
    }
}

/// The key, the other columns and the active one, for [`meter`].
fn texts(table: &Table) -> String {
    let list = |names: Vec<&str>| {
        let names: Vec<String> = names.iter().map(|name| format!("{name}::text")).collect();
        format!("array[{}]", names.join(", "))
    };
    let key = list(table.key.iter().map(|(c, _)| c.name.as_str()).collect());
    let values = list(table.columns.iter().map(|c| c.name.as_str()).collect());
    format!("{key}, {values}, coalesce({}, false)", table.active)
}

fn meter(row: &Found) -> (Texts, Meter) {
    let (values, is_active) = (row.get(1), row.get(2));
    (row.get(0), Meter { values, is_active })
}

/// Rows whose texts do not depend on the session.
async fn query(client: &Client, sql: &str) -> Vec<Found> {
    let pin = "set timezone = 'UTC'; set datestyle = 'ISO, YMD'; set intervalstyle = postgres";
    client.batch_execute(pin).await.expect("settings");
    let found = client.query_typed(sql, &[]).await;
    found.unwrap_or_else(|error| panic!("{sql}: {error:?}"))
}
