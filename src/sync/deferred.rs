//! Unique and exclusion constraints that can be checked later than at once: rows of the plan may then hold the same value for a
//! moment, and none needs another one to get out of the others' way.

use crate::db::computed::Read;
use crate::db::exclusive::Exclusive;
use crate::db::{DbError, Local, RowFault, Tx};

use super::collisions::{as_view, collide, entries};
use super::exchange::Bad;
use super::{Shape, park, rejected};

/// Puts off the check of a constraint until [`rejected::CHECK`]; whether it can be.
pub(super) async fn put_off(local: &Tx<'_, Local>, rule: &Exclusive) -> Result<bool, DbError> {
    let Some(name) = &rule.deferrable else {
        return Ok(false);
    };
    let defer = format!("-- check a constraint later\nset constraints {name} deferred");
    // A constraint of the same name in another table may not be deferrable.
    let deferred = rejected::if_possible(local, local.batch(&defer)).await?;
    Ok(deferred.is_some())
}

/// The updated rows that, as they are now, break a constraint that was put off.
pub(super) async fn colliding(local: &Tx<'_, Local>, shape: &Shape) -> Result<Bad, DbError> {
    let mut bad = Bad::new();
    let rules = shape.rules.exclusive.iter();
    for rule in rules.filter(|rule| rule.deferrable.is_some()) {
        // To compare all by such a rule takes too long; rows are then left to be tried one by one.
        if park::is_costly(local, rule).await? {
            continue;
        }
        if as_view(local, &standing(shape, rule)).await?.is_none() {
            continue;
        }
        let found = rejected::if_possible(local, local.query(COLLIDING, &[])).await?;
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

fn standing(shape: &Shape, rule: &Exclusive) -> String {
    let Shape {
        local,
        local_filter,
        ..
    } = shape;
    let column = |read: &Read| shape.column("l", &read.name);
    let place = ["l.tableoid".to_owned(), "l.ctid".to_owned()];
    let [table, row] = place.clone();
    let updated = format!(
        "pg_temp.meter_sync_plan p join {local} l on {} and {local_filter} where p.step = 1",
        shape.same_key("l", "p")
    );
    format!(
        "select a.v1 as n from {} a join {} b on {} where a.v2 <> b.v1 or a.v3 <> b.v2",
        entries(rule, &["p.n".to_owned(), table, row], column, &updated),
        entries(rule, &place, column, &format!("{local} l")),
        collide(rule, "a", "b")
    )
}
