//! Changes of the remote arrive: new meters, changed fields, and missing meters, which are kept and deactivated.
//! Rows and columns that are not ours stay untouched.

use meter_sync::model::{ChangeAction, RunOutcome};

use super::edits::{Case, Edit};
use super::harness::{Verdict, check};
use super::model::{Expected, TENANT};
use super::table_shapes::{Key, TenantPlace};
use super::world::{Text, World, Worlds};
use crate::support::site::rows;

fn has(expected: &Expected, action: ChangeAction) -> bool {
    expected
        .changes
        .values()
        .any(|change| change.action == action)
}

/// P1.
#[test]
fn new_meters_are_inserted_with_every_field() {
    check(async |worlds: &mut Worlds, case: &Case| {
        let world = worlds.empty(case.shape).await;
        let mut verdict = Verdict::Vacuous;
        for round in &case.rounds {
            world.edit(round).await;
            let (report, expected) = world.sync(case.trigger).await;
            if has(&expected, ChangeAction::Insert) {
                assert_eq!(report.counts.inserted, expected.counts.inserted);
                verdict = Verdict::Held;
            }
            assert_mirrored(world).await;
        }
        verdict
    });
}

/// P2.
#[test]
fn any_changed_field_arrives() {
    check(async |worlds: &mut Worlds, case: &Case| {
        let world = worlds.empty(case.shape).await;
        world.edit(&case.rounds[0]).await;
        world.sync(case.trigger).await;
        let mut verdict = Verdict::Vacuous;
        // One field of one meter at a time, on either side.
        for edit in single_changes(&case.rounds[0]) {
            world.edit(&[edit]).await;
            let (report, expected) = world.sync(case.trigger).await;
            assert_eq!(report.counts, expected.counts, "{edit:?} {report:#?}");
            if has(&expected, ChangeAction::Update) {
                verdict = Verdict::Held;
            }
        }
        assert_mirrored(world).await;
        verdict
    });
}

/// A few changes of single fields, made of a round's numbers.
fn single_changes(round: &[Edit]) -> Vec<Edit> {
    let change = |edit: &Edit| {
        let Edit::Put { key, pick, .. } = *edit else {
            return None;
        };
        let (field, pick) = (pick.to_le_bytes()[1], pick.wrapping_mul(7));
        Some(match field % 3 {
            0 => Edit::ChangeHere { key, field, pick },
            _ => Edit::Change { key, field, pick },
        })
    };
    round.iter().filter_map(change).take(3).collect()
}

/// Where both sides have the same types, the remote's rows read back are the oracle.
async fn assert_mirrored(world: &World) {
    let same_types = world
        .shape
        .fields
        .iter()
        .all(|(column, _)| column.remote == column.local);
    if !same_types || world.shape.tenant != TenantPlace::Absent {
        return;
    }
    let tenant_at = world.shape.key.len();
    let remote = world.remote_rows().await;
    let ours = remote
        .into_iter()
        .filter(|row| row[tenant_at] == Some(TENANT.to_string()));
    let ours: Vec<Text> = ours
        .map(|mut row| {
            row.remove(tenant_at);
            row
        })
        .collect();
    let mut here = world.local_rows().await;
    here.iter_mut().for_each(|row| row.truncate(row.len() - 1));
    for row in &ours {
        assert!(here.contains(row), "{row:?} is not among {here:#?}");
    }
}

/// P3.
#[test]
fn meters_gone_remotely_are_kept_and_switched_off() {
    check(async |worlds: &mut Worlds, case: &Case| {
        let case = case.of_deletions_there();
        let world = worlds.empty(case.shape).await;
        let mut verdict = Verdict::Vacuous;
        for round in &case.rounds {
            world.edit(round).await;
            let keys = world.model.local.len();
            let readings = read_all_meters(world).await;
            let before = world.local_rows().await;
            let (_, expected) = world.sync(case.trigger).await;
            assert_eq!(count_readings(world).await, readings);
            assert!(world.model.local.len() >= keys);
            let after = world.local_rows().await;
            let gone = expected
                .changes
                .iter()
                .filter(|(_, c)| c.action == ChangeAction::Deactivate);
            for (gone, _) in gone {
                let mut kept = row_of(&before, gone);
                let active_at = kept.len() - 2;
                kept[active_at] = Some("false".to_owned());
                assert_eq!(row_of(&after, gone), kept);
                verdict = Verdict::Held;
            }
        }
        verdict
    });
}

/// The row of a key; rows start with their keys.
fn row_of(rows: &[Text], key: &Key) -> Text {
    let is_it = |row: &&Text| row.iter().zip(key).all(|(a, b)| a.as_deref() == Some(*b));
    rows.iter().find(is_it).cloned().unwrap()
}

/// Gives each meter of the users' shape a reading; says how many there are.
async fn read_all_meters(world: &World) -> i64 {
    if world.shape.name == "seed" {
        let reading = "insert into meter_reading (meter_id, value) select id, 1.5 from meter";
        world.site.on_local(reading).await;
    }
    count_readings(world).await
}

async fn count_readings(world: &World) -> i64 {
    if world.shape.name != "seed" {
        return 0;
    }
    let count = "select count(*) from meter_reading";
    world.site.local.query_one(count, &[]).await.unwrap().get(0)
}

/// P8.
#[test]
fn rows_of_others_and_columns_of_the_site_are_untouched() {
    check(async |worlds: &mut Worlds, case: &Case| {
        let world = worlds.empty(case.shape).await;
        let mut verdict = Verdict::Vacuous;
        for round in &case.rounds {
            world.edit(round).await;
            let others = others_here(world).await;
            let notes = notes(world).await;
            let remote = world.remote_rows().await;
            world.sync(case.trigger).await;
            assert_eq!(others_here(world).await, others);
            assert_eq!(world.remote_rows().await, remote);
            let kept = notes_of(world, &notes).await;
            assert_eq!(kept, notes);
            let theirs = world.model.remote.values().any(|row| row.tenant != TENANT);
            if theirs && notes != serde_json::json!([]) {
                verdict = Verdict::Held;
            }
        }
        verdict
    });
}

/// The rows of other tenants here, with where and by whom they were written.
async fn others_here(world: &World) -> serde_json::Value {
    if world.shape.tenant == TenantPlace::Absent {
        return serde_json::Value::Null;
    }
    let sql = "select m::text, ctid::text, xmin::text, xmax::text from meter m where tenant_id <> 7 order by 1";
    rows(&world.site.local, sql).await
}

/// Each local key with the site's note.
async fn notes(world: &World) -> serde_json::Value {
    let keys: Vec<_> = world.shape.key.iter().map(|k| k.column.name).collect();
    let sql = format!(
        "select jsonb_build_array({}) as key, site_note from meter order by 1",
        keys.join(", ")
    );
    rows(&world.site.local, &sql).await
}

/// The same for the keys that were there before.
async fn notes_of(world: &World, before: &serde_json::Value) -> serde_json::Value {
    let now = notes(world).await;
    let was_there = |entry: &&serde_json::Value| {
        before
            .as_array()
            .unwrap()
            .iter()
            .any(|old| old["key"] == entry["key"])
    };
    now.as_array()
        .unwrap()
        .iter()
        .filter(was_there)
        .cloned()
        .collect()
}

/// P9.
#[test]
fn a_second_run_changes_and_writes_nothing() {
    check(async |worlds: &mut Worlds, case: &Case| {
        let world = worlds.empty(case.shape).await;
        for round in &case.rounds {
            world.edit(round).await;
        }
        world.sync(case.trigger).await;
        let versions = versions(world).await;
        let (report, expected) = world.sync(case.trigger).await;
        assert_eq!(report.counts, expected.counts);
        assert_eq!(report.counts.changes(), 0);
        let outcome = if report.counts.rejected == 0 {
            RunOutcome::NoChange
        } else {
            RunOutcome::Partial
        };
        assert_eq!(report.outcome, Some(outcome));
        assert_eq!(report.changes, []);
        assert_eq!(self::versions(world).await, versions);
        Verdict::Held
    });
}

/// Where each local row lies, who wrote it and who locked it.
async fn versions(world: &World) -> serde_json::Value {
    let sql = "select ctid::text, xmin::text, xmax::text from meter order by ctid";
    rows(&world.site.local, sql).await
}
