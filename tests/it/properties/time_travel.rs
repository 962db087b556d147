//! What is told of a meter at a time is what was told of it then.

use chrono::{DateTime, Utc};
use meter_sync::history::parse_meter_key::MeterKeyText;
use meter_sync::model::MeterFields;

use super::edits::Case;
use super::harness::{Verdict, check};
use super::table_shapes::Key;
use super::world::{World, Worlds};

/// Columns whose past the log does not have in full: a `json` value is logged as `jsonb`, and a generated column and the
/// site's own are not logged.
const NOT_LOGGED: [&str; 3] = ["raw", "loud", "site_note"];

/// Keys with their rows; `None` where there is none.
type Rows = Vec<(Key, Option<MeterFields>)>;

#[test]
fn a_meter_is_told_as_it_was() {
    check(async |worlds: &mut Worlds, case: &Case| {
        let case = case.without_edits_here();
        let world = worlds.empty(case.shape).await;
        let mut seen: Vec<(DateTime<Utc>, Rows)> = Vec::new();
        for round in &case.rounds {
            world.edit(round).await;
            world.sync(case.trigger).await;
            let rows = rows(world, None).await;
            seen.push((now(world).await, rows));
        }
        let keys: Vec<Key> = world.model.local.keys().cloned().collect();
        for (at, then) in &seen {
            for (key, past) in rows(world, Some(*at)).await {
                let was = then.iter().find(|(known, _)| *known == key);
                let was = was.and_then(|(_, row)| row.as_ref());
                assert_eq!(past.as_ref(), was, "{key:?} at {at}");
            }
        }
        match keys.is_empty() {
            true => Verdict::Vacuous,
            false => Verdict::Held,
        }
    });
}

/// The rows of all meters of the tenant, now or at a time.
async fn rows(world: &World, at: Option<DateTime<Utc>>) -> Rows {
    let mut rows = Vec::new();
    for key in world.model.local.keys() {
        let names = world
            .shape
            .key
            .iter()
            .map(|column| column.column.name.to_owned());
        let values = key.iter().map(|value| (*value).to_owned());
        let named = MeterKeyText::named(names.zip(values).collect()).expect("a key");
        let report = world
            .site
            .mirror
            .meter(&named, at)
            .await
            .expect("an answer");
        let row = report.and_then(|report| match report.past {
            Some(past) => past.meter,
            None => report.meter,
        });
        let logged = row.map(|mut row| {
            NOT_LOGGED
                .iter()
                .for_each(|column| drop(row.remove(*column)));
            // The log has numbers as `jsonb`, which knows no negative zero.
            let zeros = row.values_mut().filter(|value| value.as_f64() == Some(0.0));
            zeros.for_each(|zero| *zero = 0.into());
            row
        });
        rows.push((key.clone(), logged));
    }
    rows
}

async fn now(world: &World) -> DateTime<Utc> {
    let now = "select clock_timestamp()";
    world.site.local.query_one(now, &[]).await.unwrap().get(0)
}
