//! Says who holds the unique value that a rejected row is to get.

use std::collections::HashMap;

use tokio_postgres::Row;

use crate::db::catalog::Column;
use crate::db::computed::Read;
use crate::db::exclusive::Exclusive;
use crate::db::{DbError, Local, RowFault, Tx, json, param, quote};
use crate::meter::Fields;

use super::collisions::{as_view, collide, entries, movable, wanted};
use super::plan::Step;
use super::reasons::{SHOWN, quoted};
use super::rejected::Tried;
use super::{Job, Shape, rejected, release};

/// The reasons of the rows with these numbers that a rule keeps out; a row that nobody stands in the way of now has none.
pub(super) async fn reasons(
    local: &Tx<'_, Local>,
    shape: &Shape,
    job: &Job<'_>,
    rule: &Exclusive,
    numbers: &[i64],
) -> Result<HashMap<i64, String>, DbError> {
    let mut holders = Vec::new();
    let first = first_of_each(rule);
    for step in [Step::Change, Step::Insert] {
        let find = find(shape, job, rule, step);
        if as_view(local, &find).await?.is_none() {
            continue;
        }
        let params = [param::bigints(numbers)];
        let rows = rejected::if_possible(local, local.query(&first, &params)).await?;
        holders.extend(rows.unwrap_or_default());
    }
    let mut found = HashMap::new();
    for row in &holders {
        found.insert(row.get(0), reason(local, shape, (job, rule), row).await?);
    }
    Ok(found)
}

/// Of those found, one for each of the rows.
fn first_of_each(rule: &Exclusive) -> String {
    let shown: Vec<String> = (1..=rule.parts.len())
        .map(|place| format!("pg_catalog.left(w.x{place}, {SHOWN} + 1)"))
        .collect();
    format!(
        "-- find who holds the values
select distinct on (w.n) w.n, array[{}], w.named, w.is_active, w.is_ours, w.is_gone, w.is_unreferenced, w.has_no_tenant
from pg_temp.meter_sync_found w where w.n {} any ($1)
order by w.n, w.is_ours desc, w.is_active desc",
        shown.join(", "),
        quote::EQUALS
    )
}

/// For each row its number, what it is to hold, and of the rows in its way: the key, whether it is active, ours, gone,
/// not referred to, and of no tenant.
fn find(shape: &Shape, job: &Job<'_>, rule: &Exclusive, step: Step) -> String {
    let Shape {
        local,
        local_filter,
        key,
        ..
    } = shape;
    let mut values: Vec<String> = key.iter().map(|name| shape.column("l", name)).collect();
    let movable = movable(shape, job, rule);
    let is_unreferenced = movable.first().map_or("true".to_owned(), |column| {
        release::is_unreferenced(shape, column)
    });
    values.extend([
        format!("{}::text", shape.key_json("l")),
        format!("l.{} is true", quote::identifier(&shape.active)),
        format!("({local_filter}) is true"),
        format!("{} is true", release::is_gone(shape, job)),
        is_unreferenced,
        has_no_tenant(shape, job),
    ]);
    let column = |read: &Read| shape.column("l", &read.name);
    let held = entries(rule, &values, column, &format!("{local} l"));
    let same: Vec<String> = (1..)
        .zip(key)
        .map(|(place, name): (usize, _)| {
            format!(
                "b.v{place} {} {}",
                shape.equals(name),
                shape.column("p", name)
            )
        })
        .collect();
    let shown: Vec<String> = (1..=rule.parts.len())
        .map(|place| format!("a.x{place}::text collate \"default\" as x{place}"))
        .collect();
    let [
        named,
        is_active,
        is_ours,
        is_gone,
        is_unreferenced,
        has_no_tenant,
    ] = [1, 2, 3, 4, 5, 6].map(|place| format!("b.v{}", key.len() + place));
    format!(
        "select a.v1 as n, {}, {named} as named, {is_active} as is_active, {is_ours} as is_ours,
    {is_gone} as is_gone, {is_unreferenced} as is_unreferenced, {has_no_tenant} as has_no_tenant
from {} a join pg_temp.meter_sync_plan p on p.n = a.v1
join {held} b on {}
where not ({is_ours} and {})",
        shown.join(", "),
        wanted(shape, rule, step),
        collide(rule, "a", "b"),
        same.join(" and ")
    )
}

async fn reason(
    local: &Tx<'_, Local>,
    shape: &Shape,
    (job, rule): (&Job<'_>, &Exclusive),
    row: &Row,
) -> Result<String, DbError> {
    let values: Vec<Option<String>> = row.get(1);
    let what: Vec<String> = rule
        .parts
        .iter()
        .zip(&values)
        .map(|(part, value)| format!("{} {}", bare(&part.shown), quoted(value.as_deref())))
        .collect();
    let key = json::fields(row.get(2));
    let (is_active, is_ours, is_gone): (bool, bool, bool) = (row.get(3), row.get(4), row.get(5));
    let has_no_tenant: bool = row.get(7);
    let stranger = match has_no_tenant {
        true => "a row without a tenant",
        false => "a row of another tenant",
    };
    let holder = match (is_ours, is_active, is_gone) {
        (false, true, _) => stranger.to_owned(),
        (false, false, _) => format!("{stranger}, which is inactive"),
        (true, true, _) => format!("meter {}, which is active", named(&key)),
        (true, false, true) => format!(
            "meter {}, which is inactive and gone from the remote",
            named(&key)
        ),
        (true, false, false) => format!("meter {}, which is inactive", named(&key)),
    };
    let (verb, kind) = match rule.is_exclusion {
        true => ("is in conflict with", "exclusion constraint"),
        false => ("is taken by", "unique index"),
    };
    let reason = format!("{} {verb} {holder} ({kind} {})", what.join(", "), rule.name);
    let is_key = rule.reads.iter().all(|read| shape.key.contains(&read.name));
    if is_key && !is_ours && (has_no_tenant || !is_active) {
        let moved = moved(shape, job, &key, has_no_tenant);
        return Ok(format!(
            "{reason}; if it is the same meter, this statement on the local database gives the row to tenant {}: {moved}",
            job.tenant
        ));
    }
    Ok(match movable(shape, job, rule).first() {
        Some(column) if is_ours && is_gone => {
            let is_unreferenced: bool = row.get(6);
            let hint = match is_unreferenced {
                true => "",
                false => " once nothing refers to it",
            };
            let own = rule
                .parts
                .iter()
                .position(|part| bare(&part.shown) == column.name);
            let value = values.get(own.unwrap_or(0)).cloned().flatten();
            let free = freeing(local, shape, (rule, column, &key), value.as_deref()).await?;
            let statement = statement(shape, (column, &key), &free, |_| "=".to_owned());
            format!(
                "{reason}; this statement on the local database frees the value{hint}: {statement}"
            )
        }
        Some(_) | None => reason,
    })
}

/// A column's name as a person writes it.
fn bare(shown: &str) -> String {
    let inside = shown
        .strip_prefix('"')
        .and_then(|name| name.strip_suffix('"'));
    inside.map_or_else(|| shown.to_owned(), |name| name.replace("\"\"", "\""))
}

fn named(key: &Fields) -> String {
    let text = |value: &serde_json::Value| {
        let text = value.as_str().map(str::to_owned);
        text.unwrap_or_else(|| value.to_string())
    };
    let mut pairs = key.iter();
    match (pairs.next(), key.len()) {
        (Some((_, value)), 1) => text(value),
        _ => {
            let pairs = key
                .iter()
                .map(|(name, value)| format!("{name} {}", text(value)));
            pairs.collect::<Vec<_>>().join(", ")
        }
    }
}

/// What the column of the holder can be set to, as SQL writes it: tried, as checks, indexes and triggers may refuse it, and
/// a trigger may restore the value.
async fn freeing(
    local: &Tx<'_, Local>,
    shape: &Shape,
    (rule, column, key): (&Exclusive, &Column, &Fields),
    value: Option<&str>,
) -> Result<String, DbError> {
    let null = column.is_nullable.then(|| "null".to_owned());
    let is_text = ["text", "character varying"].contains(&column.base_type.as_str());
    let marked = value.filter(|_| is_text);
    let marked = marked.map(|value| quote::literal(&format!("{value} (gone)")));
    let is_seen = as_view(local, &entry(shape, rule, key)).await?.is_some();
    for free in [null, marked].into_iter().flatten() {
        let set = statement(shape, (column, key), &free, |name| {
            shape.equals(name).to_owned()
        });
        let sql = format!("-- try what frees a value\n{set}");
        let tried = rejected::attempt(local, async {
            let before = held(local, is_seen).await?;
            let is_set = local.execute(&sql, &[]).await? == 1;
            let after = held(local, is_seen).await?;
            Ok(match is_set && (before.is_none() || before != after) {
                // It is not to stay.
                true => Tried::NotTaken(Box::new(RowFault::skipped())),
                false => Tried::NotTaken(Box::new(RowFault::collision())),
            })
        });
        if let Tried::NotTaken(fault) = tried.await?
            && fault.is_skip()
        {
            return Ok(free);
        }
    }
    Ok("...".to_owned())
}

/// What the index holds of the row of a key, as text.
fn entry(shape: &Shape, rule: &Exclusive, key: &Fields) -> String {
    let is_it = condition(key, |name| shape.equals(name).to_owned());
    let from = format!("{} l where {is_it}", shape.local);
    let column = |read: &Read| shape.column("l", &read.name);
    let parts: Vec<String> = (1..=rule.parts.len())
        .map(|place| format!("e.x{place}::text"))
        .collect();
    format!(
        "select array[{}] as held from {} e",
        parts.join(", "),
        entries(rule, &[], column, &from)
    )
}

/// That of the last [`entry`]; `None` where there is none, as where the predicate of the index leaves the row out.
async fn held(
    local: &Tx<'_, Local>,
    is_seen: bool,
) -> Result<Option<Vec<Option<String>>>, DbError> {
    if !is_seen {
        return Ok(None);
    }
    let found = local.query_opt(HELD, &[]).await?;
    Ok(found.map(|row| row.get(0)))
}

const HELD: &str = "\
-- look what the index holds of the row
select w.held from pg_temp.meter_sync_found w";

/// What a person can run to free the value.
fn statement(
    shape: &Shape,
    (column, key): (&Column, &Fields),
    free: &str,
    equals: impl Fn(&str) -> String,
) -> String {
    let name = quote::identifier(&column.name);
    format!(
        "update {} set {name} = {free} where {}",
        shape.local,
        condition(key, equals)
    )
}

/// What a person can run to let the tenant have the row that another one left behind under a key.
fn moved(shape: &Shape, job: &Job<'_>, key: &Fields, has_no_tenant: bool) -> String {
    let tenant = quote::identifier(&job.mapping.tenant_column);
    let is_free = match has_no_tenant {
        true => format!("{tenant} is null"),
        false => format!("{} is not true", quote::identifier(&shape.active)),
    };
    format!(
        "update {} set {tenant} = {} where {} and {is_free}",
        shape.local,
        quote::literal(job.tenant.as_str()),
        condition(key, |_| "=".to_owned()),
    )
}

/// Holds for a local row `l` of no tenant, where the local table tells tenants apart.
fn has_no_tenant(shape: &Shape, job: &Job<'_>) -> String {
    let tenant = &job.mapping.tenant_column;
    let mut columns = shape.offered.local.iter();
    match columns.any(|column| column.name == *tenant) {
        true => format!("l.{} is null", quote::identifier(tenant)),
        false => "false".to_owned(),
    }
}

/// Holds for the row of a key.
fn condition(key: &Fields, equals: impl Fn(&str) -> String) -> String {
    let parts = key.iter().map(|(name, value)| {
        let text = value.as_str().map(quote::literal);
        let value = text.unwrap_or_else(|| value.to_string());
        format!("{} {} {value}", quote::identifier(name), equals(name))
    });
    parts.collect::<Vec<_>>().join(" and ")
}
