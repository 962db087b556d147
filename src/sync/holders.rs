//! Says who holds the unique value that a rejected row is to get.

use std::collections::HashMap;

use tokio_postgres::Row;

use crate::db::computed::Read;
use crate::db::exclusive::Exclusive;
use crate::db::{DbError, Local, Tx, json, param, quote};
use crate::meter::Fields;

use super::collisions::{as_view, changed, collide, entries, movable, wanted};
use super::first_causes::Holder;
use super::plan::Step;
use super::reasons::{LONGEST, SHOWN, quoted};
use super::{Job, Shape, freeing, rejected, release};

/// Why a row is kept out by a rule.
pub(super) struct Taken {
    /// For a person.
    pub(super) reason: String,
    /// The meter in its way, where that was to make way in the same run.
    pub(super) holder: Option<Holder>,
}

/// The reasons of the rows with these numbers that a rule keeps out; a row that nobody stands in the way of now has none.
pub(super) async fn reasons(
    local: &Tx<'_, Local>,
    shape: &Shape,
    job: &Job<'_>,
    rule: &Exclusive,
    numbers: &[i64],
) -> Result<HashMap<i64, Taken>, DbError> {
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
        let reason = reason(local, shape, (job, rule), row).await?;
        let holder: Option<i64> = row.get("holder");
        let holder = holder.map(|n| Holder {
            n,
            name: named(&json::fields(row.get("named"))),
        });
        found.insert(row.get("n"), Taken { reason, holder });
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
select distinct on (w.n) w.n, array[{}] as shown, {}, w.is_same, w.holder
from pg_temp.meter_sync_found w where w.n {} any ($1)
order by w.n, w.is_ours desc, w.is_active desc",
        shown.join(", "),
        OF_HOLDER
            .map(|alias| alias.replace(" as ", "w."))
            .join(", "),
        quote::EQUALS
    )
}

/// What is looked up of a row that holds a value, in this order, and what it is called there.
const OF_HOLDER: [&str; 6] = [
    " as named",
    " as is_active",
    " as is_ours",
    " as is_gone",
    " as is_unreferenced",
    " as has_no_tenant",
];

/// For each row `n` its number, what it is to hold, and what is told of the rows in its way. A row that is updated does not
/// stand in its own way; one that is inserted does where somebody else inserted the same meter meanwhile.
fn find(shape: &Shape, job: &Job<'_>, rule: &Exclusive, step: Step) -> String {
    let Shape {
        local,
        local_filter,
        key,
        ..
    } = shape;
    let movable = movable(shape, job, rule);
    let is_unreferenced = movable.first().map_or("true".to_owned(), |column| {
        release::is_unreferenced(shape, column)
    });
    let of_holder = [
        format!("{}::text", shape.key_json("l")),
        format!("l.{} is true", quote::identifier(&shape.active)),
        format!("({local_filter}) is true"),
        format!("{} is true", release::is_gone(shape, job)),
        is_unreferenced,
        has_no_tenant(shape, job),
    ];
    let values = key.iter().map(|name| shape.column("l", name));
    let values: Vec<String> = values.chain(of_holder).collect();
    let column = |read: &Read| shape.column("l", &read.name);
    let held = entries(rule, &values, column, &format!("{local} l"));
    let of_holder: Vec<String> = (key.len() + 1..)
        .zip(OF_HOLDER)
        .map(|(place, alias): (usize, _)| format!("b.v{place}{alias}"))
        .collect();
    let is_ours = format!("b.v{}", key.len() + 3);
    let same_key = |row: &str| {
        let parts = (1..).zip(key).map(|(place, name): (usize, _)| {
            let (equals, other) = (shape.equals(name), shape.column(row, name));
            format!("b.v{place} {equals} {other}")
        });
        parts.collect::<Vec<_>>().join(" and ")
    };
    let shown: Vec<String> = (1..=rule.parts.len())
        .map(|place| format!("a.x{place}::text collate \"default\" as x{place}"))
        .collect();
    let is_same = format!("({is_ours} and {})", same_key("p"));
    let others = match step {
        Step::Insert => "true".to_owned(),
        Step::Change | Step::Deactivate => format!("not {is_same}"),
    };
    format!(
        "select a.v1 as n, {}, {}, {is_same} as is_same, case when {} then q.n end as holder
from {} a join pg_temp.meter_sync_plan p on p.n = a.v1
join {held} b on {}
left join pg_temp.meter_sync_plan q on {is_ours} and {}
where {others}",
        shown.join(", "),
        of_holder.join(", "),
        gives_up(shape, rule),
        wanted(shape, rule, step),
        collide(rule, "a", "b"),
        same_key("q")
    )
}

/// Holds where the plan has a row `q` give up what a row `a` is to get.
fn gives_up(shape: &Shape, rule: &Exclusive) -> String {
    let keeps = |step: Step| {
        format!(
            "exists (select from {} k where k.v1 = q.n and {})",
            wanted(shape, rule, step),
            collide(rule, "a", "k")
        )
    };
    format!(
        "(q.step = 1 and exists (select p.n from {} and p.n = q.n) and not {} or q.step = 0 and not {})",
        changed(shape, rule),
        keeps(Step::Change),
        keeps(Step::Deactivate)
    )
}

async fn reason(
    local: &Tx<'_, Local>,
    shape: &Shape,
    (job, rule): (&Job<'_>, &Exclusive),
    row: &Row,
) -> Result<String, DbError> {
    let values: Vec<Option<String>> = row.get("shown");
    let what: Vec<String> = rule
        .parts
        .iter()
        .zip(&values)
        .map(|(part, value)| format!("{} {}", bare(&part.shown), quoted(value.as_deref())))
        .collect();
    let key = json::fields(row.get("named"));
    let [is_active, is_ours, is_gone] =
        ["is_active", "is_ours", "is_gone"].map(|name| row.get(name));
    let (has_no_tenant, is_same): (bool, bool) = (row.get("has_no_tenant"), row.get("is_same"));
    let stranger = match has_no_tenant {
        true => "a row without a tenant",
        false => "a row of another tenant",
    };
    let holder = match (is_ours, is_active, is_gone) {
        (false, true, _) => stranger.to_owned(),
        (false, false, _) => format!("{stranger}, which is inactive"),
        (true, _, _) if is_same => format!(
            "meter {}, which somebody inserted during the run: the next run brings it in line",
            named(&key)
        ),
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
    if !is_ours || !is_gone || is_same {
        return Ok(reason);
    }
    let is_unreferenced: bool = row.get("is_unreferenced");
    let freed = freed(local, shape, (job, rule), (&key, &values)).await?;
    Ok(with_statement(reason, freed, is_unreferenced))
}

/// The statement that frees the value of a meter that is gone.
async fn freed(
    local: &Tx<'_, Local>,
    shape: &Shape,
    (job, rule): (&Job<'_>, &Exclusive),
    (key, values): (&Fields, &[Option<String>]),
) -> Result<Freed, DbError> {
    let columns = movable(shape, job, rule);
    let Some(first) = columns.first() else {
        return Ok(Freed::Never);
    };
    let mut parts = rule.parts.iter();
    let own = parts.position(|part| bare(&part.shown) == first.name);
    let value = values.get(own.unwrap_or(0)).and_then(Option::as_deref);
    let statement = freeing::statement(local, shape, (rule, &columns), (key, value)).await?;
    Ok(statement.map_or(Freed::NotByWhatWasTried, Freed::By))
}

/// How the value of a meter that is gone can be freed.
enum Freed {
    /// By no column that is synced and not part of the key.
    Never,
    /// The local table refused all values that were tried.
    NotByWhatWasTried,
    /// By this statement.
    By(String),
}

/// The reason with what can be done. A statement that would be cut is left out.
fn with_statement(reason: String, freed: Freed, is_unreferenced: bool) -> String {
    let hint = match is_unreferenced {
        true => "",
        false => " once nothing refers to it",
    };
    match freed {
        Freed::Never => reason,
        Freed::By(statement)
            if reason.chars().count() + statement.chars().count() + ROOM < LONGEST =>
        {
            format!(
                "{reason}; this statement on the local database frees the value{hint}: {statement}"
            )
        }
        Freed::By(_) | Freed::NotByWhatWasTried => {
            format!("{reason}; give that meter another value on the local database{hint}")
        }
    }
}

/// So many characters stand between reason and statement at most.
const ROOM: usize = 100;

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
        freeing::condition(key, |_| "=".to_owned()),
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
