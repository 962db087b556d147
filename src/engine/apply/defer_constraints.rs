//! Defers deferrable unique and exclusion constraints while rows exchange unique values. Two rows may then hold the
//! same value for a moment, so no row needs a temporary value in between.

use crate::db::computed_expressions::InputColumn;
use crate::db::constraints_between_rows::UniquenessRule;
use crate::db::{DbError, Local, RowFault, Tx};

use super::collision_queries::{self, as_view, collide, entries};
use crate::engine::RunContext;
use crate::engine::write_by_halving;
use crate::engine::write_by_halving::RowFaults;

/// Defers the check of a unique or exclusion constraint until the statement [`write_by_halving::CHECK`] runs. Returns
/// `false`, with nothing changed, if the constraint is not deferrable.
pub(in crate::engine) async fn put_off(
    local: &Tx<'_, Local>,
    rule: &UniquenessRule,
) -> Result<bool, DbError> {
    let Some(name) = &rule.deferrable else {
        return Ok(false);
    };
    let defer = format!("-- check a constraint later\nset constraints {name} deferred");
    // A constraint of the same name in another table may not be deferrable.
    let deferred = write_by_halving::if_possible(local, local.batch(&defer)).await?;
    Ok(deferred.is_some())
}

/// Returns the updated rows whose current values conflict with another row in a deferred unique or exclusion
/// constraint. Constraints for which the comparison would cost too much are skipped.
pub(in crate::engine) async fn colliding(run: &RunContext<'_>) -> Result<RowFaults, DbError> {
    let local = run.local;
    let mut bad = RowFaults::new();
    let rules = run.relations.constraints.exclusive.iter();
    for rule in rules.filter(|rule| rule.deferrable.is_some()) {
        // Comparing all rows by this constraint would take too long. Its rows are tried one by one later.
        if collision_queries::is_costly(local, rule).await? {
            continue;
        }
        if as_view(run, &standing(run, rule)).await?.is_none() {
            continue;
        }
        let found = write_by_halving::if_possible(local, local.query(COLLIDING, &[])).await?;
        let fault = RowFault {
            rule: Some(rule.name.clone()),
            ..RowFault::collision()
        };
        let rows = found.iter().flatten();
        bad.extend(rows.map(|row| (row.get(0), fault.clone())));
    }
    bad.sort_by_key(|(n, _)| *n);
    bad.dedup_by_key(|(n, _)| *n);
    Ok(bad)
}

const COLLIDING: &str = "\
-- find the rows that break what was put off
select distinct w.n from pg_temp.meter_sync_found w";

fn standing(run: &RunContext<'_>, rule: &UniquenessRule) -> String {
    let relations = run.relations;
    let (local, local_filter) = (&relations.local, &run.scope.local_filter);
    let column = |read: &InputColumn| relations.column("l", &read.name);
    let place = ["l.tableoid".to_owned(), "l.ctid".to_owned()];
    let [table, row] = place.clone();
    let updated = format!(
        "pg_temp.meter_sync_plan p join {local} l on {} and {local_filter} where p.step = 1",
        relations.same_key("l", "p")
    );
    format!(
        "select a.v1 as n from {} a join {} b on {} where a.v2 <> b.v1 or a.v3 <> b.v2",
        entries(rule, &["p.n".to_owned(), table, row], column, &updated),
        entries(rule, &place, column, &format!("{local} l")),
        collide(rule, "a", "b")
    )
}
