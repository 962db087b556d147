//! Explains which other row holds the unique value that a rejected row was to get.

use std::collections::HashMap;

use tokio_postgres::Row;

use crate::db::computed_expressions::InputColumn;
use crate::db::constraints_between_rows::UniquenessRule;
use crate::db::{DbError, param, quote, read_lossless_json};
use crate::model::MeterFields;

use super::first_causes::ValueHolder;
use super::suggest_freeing_statement;
use crate::engine::RunContext;
use crate::engine::apply::collision_queries::{
    as_view, changed, collide, entries, movable, wanted,
};
use crate::engine::apply::{release_inactive_values, write_by_halving};
use crate::engine::plan::PlanStep;
use crate::engine::why_value_refused::{LONGEST, SHOWN, quoted};

/// Why another row keeps a planned row from being written.
pub(in crate::engine) struct BlockingReason {
    /// The reason, as shown to people.
    pub(in crate::engine) reason: String,
    /// The meter that holds the needed value. `None` if the plan would not have made a meter give up this value.
    pub(in crate::engine) holder: Option<ValueHolder>,
}

/// Returns which other row keeps each of the planned rows in `numbers` from being written, because both have the same
/// value in one unique index or exclusion constraint. A row is missing from the result if no other row has its value
/// any more.
pub(in crate::engine) async fn reasons(
    run: &RunContext<'_>,
    rule: &UniquenessRule,
    numbers: &[i64],
) -> Result<HashMap<i64, BlockingReason>, DbError> {
    let local = run.local;
    let mut holders = Vec::new();
    let first = first_of_each(rule);
    for step in [PlanStep::Change, PlanStep::Insert] {
        let find = find(run, rule, step);
        if as_view(run, &find).await?.is_none() {
            continue;
        }
        let params = [param::bigints(numbers)];
        let rows = write_by_halving::if_possible(local, local.query(&first, &params)).await?;
        holders.extend(rows.unwrap_or_default());
    }
    let mut found = HashMap::new();
    for row in &holders {
        let reason = reason(run, rule, row).await?;
        let holder: Option<i64> = row.get("holder");
        let holder = holder.map(|n| ValueHolder {
            n,
            name: named(&read_lossless_json::fields(row.get("named"))),
        });
        found.insert(row.get("n"), BlockingReason { reason, holder });
    }
    Ok(found)
}

/// Returns the query that picks, for each rejected row, one of the rows that hold its value. It prefers meters of this
/// tenant, and then active meters.
fn first_of_each(rule: &UniquenessRule) -> String {
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

/// The names of the columns that describe a row which holds a needed value, in the order in which [`find`] adds them.
const OF_HOLDER: [&str; 6] = [
    " as named",
    " as is_active",
    " as is_ours",
    " as is_gone",
    " as is_unreferenced",
    " as has_no_tenant",
];

/// Returns a query of pairs: a planned row of the step, and a local row that holds a unique value which it needs. Its
/// columns are the number `n` of the planned row, the values that it is to get, and the columns of [`OF_HOLDER`]. An
/// update is not paired with its own local row. An insert may be paired with a local row of the same key, because
/// another session may have inserted the meter during the run.
fn find(run: &RunContext<'_>, rule: &UniquenessRule, step: PlanStep) -> String {
    let relations = run.relations;
    let key = &relations.key;
    let local_filter = &run.scope.local_filter;
    let movable = movable(run, rule);
    let is_unreferenced = movable.first().map_or("true".to_owned(), |column| {
        release_inactive_values::is_unreferenced(relations, column)
    });
    let of_holder = [
        format!("{}::text", relations.key_json("l")),
        format!("l.{} is true", quote::identifier(&relations.active)),
        format!("({local_filter}) is true"),
        format!("{} is true", release_inactive_values::is_gone(run)),
        is_unreferenced,
        has_no_tenant(run),
    ];
    let values = key.iter().map(|name| relations.column("l", name));
    let values: Vec<String> = values.chain(of_holder).collect();
    let column = |read: &InputColumn| relations.column("l", &read.name);
    let held = entries(rule, &values, column, &run.relations.local_rows());
    let of_holder: Vec<String> = (key.len() + 1..)
        .zip(OF_HOLDER)
        .map(|(place, alias): (usize, _)| format!("b.v{place}{alias}"))
        .collect();
    let is_ours = format!("b.v{}", key.len() + 3);
    let same_key = |row: &str| {
        let parts = (1..).zip(key).map(|(place, name): (usize, _)| {
            let (equals, other) = (relations.equals(name), relations.column(row, name));
            format!("b.v{place} {equals} {other}")
        });
        parts.collect::<Vec<_>>().join(" and ")
    };
    let shown: Vec<String> = (1..=rule.parts.len())
        .map(|place| format!("a.x{place}::text collate \"default\" as x{place}"))
        .collect();
    let is_same = format!("({is_ours} and {})", same_key("p"));
    let others = match step {
        PlanStep::Insert => "true".to_owned(),
        PlanStep::Change | PlanStep::Deactivate => format!("not {is_same}"),
    };
    format!(
        "select a.v1 as n, {}, {}, {is_same} as is_same, case when {} then q.n end as holder
from {} a join pg_temp.meter_sync_plan p on p.n = a.v1
join {held} b on {}
left join pg_temp.meter_sync_plan q on {is_ours} and {}
where {others}",
        shown.join(", "),
        of_holder.join(", "),
        gives_up(run, rule),
        wanted(run, rule, step),
        collide(rule, "a", "b"),
        same_key("q")
    )
}

/// Returns the SQL condition that the plan would make meter `q` of the plan give up the value that row `a` is to get.
fn gives_up(run: &RunContext<'_>, rule: &UniquenessRule) -> String {
    let keeps = |step: PlanStep| {
        format!(
            "exists (select 1 from {} k where k.v1 = q.n and {})",
            wanted(run, rule, step),
            collide(rule, "a", "k")
        )
    };
    format!(
        "(q.step = 1 and exists (select p.n from {} and p.n = q.n) and not {} or q.step = 0 and not {})",
        changed(run, rule),
        keeps(PlanStep::Change),
        keeps(PlanStep::Deactivate)
    )
}

async fn reason(run: &RunContext<'_>, rule: &UniquenessRule, row: &Row) -> Result<String, DbError> {
    let values: Vec<Option<String>> = row.get("shown");
    let what: Vec<String> = rule
        .parts
        .iter()
        .zip(&values)
        .map(|(part, value)| format!("{} {}", bare(&part.shown), quoted(value.as_deref())))
        .collect();
    let key = read_lossless_json::fields(row.get("named"));
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
    let is_key = rule
        .reads
        .iter()
        .all(|read| run.relations.key.contains(&read.name));
    if is_key && !is_ours && (has_no_tenant || !is_active) {
        let moved = moved(run, &key, has_no_tenant);
        return Ok(format!(
            "{reason}; if it is the same meter, this statement on the local database gives the row to tenant {}: {moved}",
            run.job.tenant
        ));
    }
    if !is_ours || !is_gone || is_same {
        return Ok(reason);
    }
    let is_unreferenced: bool = row.get("is_unreferenced");
    let freed = freed(run, rule, &key, &values).await?;
    Ok(with_statement(reason, freed, is_unreferenced))
}

/// Finds how a person can free a unique value that a meter missing on the remote holds.
async fn freed(
    run: &RunContext<'_>,
    rule: &UniquenessRule,
    key: &MeterFields,
    values: &[Option<String>],
) -> Result<FreeingOption, DbError> {
    let columns = movable(run, rule);
    let Some(first) = columns.first() else {
        return Ok(FreeingOption::Never);
    };
    let mut parts = rule.parts.iter();
    let own = parts.position(|part| bare(&part.shown) == first.name);
    let value = values.get(own.unwrap_or(0)).and_then(Option::as_deref);
    let statement = suggest_freeing_statement::statement(run, rule, &columns, key, value).await?;
    Ok(statement.map_or(FreeingOption::NotByWhatWasTried, FreeingOption::By))
}

/// How a person can free a unique value that a meter missing on the remote holds.
enum FreeingOption {
    /// The value cannot be freed: the index reads no column that a run may change.
    Never,
    /// Other values were tried in its place, and the local table refused all of them.
    NotByWhatWasTried,
    /// This SQL statement frees the value.
    By(String),
}

/// Adds to the reason how a person can free the value. If the statement would make the reason too long, gives general
/// advice instead.
fn with_statement(reason: String, freed: FreeingOption, is_unreferenced: bool) -> String {
    let hint = match is_unreferenced {
        true => "",
        false => " once nothing refers to it",
    };
    match freed {
        FreeingOption::Never => reason,
        FreeingOption::By(statement)
            if reason.chars().count() + statement.chars().count() + OWN_WORDS_LENGTH < LONGEST =>
        {
            format!(
                "{reason}; this statement on the local database frees the value{hint}: {statement}"
            )
        }
        FreeingOption::By(_) | FreeingOption::NotByWhatWasTried => {
            format!("{reason}; give that meter another value on the local database{hint}")
        }
    }
}

/// How many characters [`with_statement`] reserves for its own words between the reason and the statement.
const OWN_WORDS_LENGTH: usize = 100;

/// Returns a column's name without the quotes of an SQL identifier.
fn bare(shown: &str) -> String {
    let inside = shown
        .strip_prefix('"')
        .and_then(|name| name.strip_suffix('"'));
    inside.map_or_else(|| shown.to_owned(), |name| name.replace("\"\"", "\""))
}

fn named(key: &MeterFields) -> String {
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

/// Returns a statement that a person can run to give the local row with this key to the tenant of this run. If
/// `has_no_tenant`, the statement changes the row only as long as it has no tenant, otherwise only as long as it is
/// inactive.
fn moved(run: &RunContext<'_>, key: &MeterFields, has_no_tenant: bool) -> String {
    let tenant = quote::identifier(&run.job.mapping.tenant_column);
    let is_free = match has_no_tenant {
        true => format!("{tenant} is null"),
        false => format!("{} is not true", quote::identifier(&run.relations.active)),
    };
    format!(
        "update {} set {tenant} = {} where {} and {is_free}",
        run.relations.local,
        quote::literal(run.job.tenant.as_str()),
        suggest_freeing_statement::condition(key, |_| "=".to_owned()),
    )
}

/// Returns the SQL condition that the local row `l` has no tenant. It is always false if the table has no tenant
/// column.
fn has_no_tenant(run: &RunContext<'_>) -> String {
    let tenant = &run.job.mapping.tenant_column;
    let mut columns = run.relations.all_columns.local.iter();
    match columns.any(|column| column.name == *tenant) {
        true => format!("l.{} is null", quote::identifier(tenant)),
        false => "false".to_owned(),
    }
}
