//! How a meter was at a time in the past.

use serde_json::{Value, json};

use super::{SiteWithRuns, meter_at, with_runs};

/// Whether the meter was here, whether it was active, and its name and port.
type State = (Option<bool>, Option<bool>, Value, Value);

async fn states(world: &SiteWithRuns, key: &str) -> Vec<State> {
    let mut states = Vec::new();
    for at in world.times {
        let past = meter_at(&world.site, key, at).await.past.expect("a past");
        let row = past.meter.unwrap_or_default();
        let value = |column: &str| row.get(column).cloned().unwrap_or_default();
        states.push((past.was_here, past.active, value("name"), value("port")));
    }
    states
}

#[tokio::test]
async fn a_meter_is_told_as_it_was_after_each_run() {
    let world = with_runs().await;
    let gone = || (Some(false), None, Value::Null, Value::Null);
    let here =
        |active, name: &str, port: &str| (Some(true), Some(active), json!(name), json!(port));
    assert_eq!(
        states(&world, "1").await,
        [
            gone(),
            here(true, "Main", "1"),
            here(true, "Main meter", "502"),
            here(true, "Main", "502")
        ]
    );
    assert_eq!(
        states(&world, "3").await,
        [
            gone(),
            here(true, "Attic", "3"),
            here(false, "Attic", "3"),
            here(true, "Attic", "3")
        ]
    );
    let yard = states(&world, "4").await;
    assert_eq!([&yard[0], &yard[1]], [&gone(), &gone()]);
    assert_eq!(
        yard[2],
        (Some(true), Some(true), json!("Yard"), Value::Null)
    );
}

#[tokio::test]
async fn what_has_changed_since_is_said() {
    let world = with_runs().await;
    let said = async |key, at| meter_at(&world.site, key, at).await.past.expect("a past");
    let [before, first, second, third] = world.times;
    let past = said("1", second).await;
    assert!(past.summary.starts_with("At "), "{}", past.summary);
    let changed = "the meter was active. Since then syncs have changed name.";
    assert!(past.summary.ends_with(changed), "{}", past.summary);
    assert!(past.is_complete);
    let past = said("1", third).await;
    assert!(
        past.summary.ends_with("It is the same now."),
        "{}",
        past.summary
    );
    let past = said("4", first).await;
    assert!(
        past.summary.ends_with("the meter was not here yet."),
        "{}",
        past.summary
    );
    let past = said("1", before).await;
    assert!(
        past.summary.contains("The log begins at "),
        "{}",
        past.summary
    );
    assert!(!past.is_complete);
}

#[tokio::test]
async fn what_the_log_no_longer_has_is_said() {
    let world = with_runs().await;
    let [_, first, _, third] = world.times;
    let column = "update meter_sync.meter_sync_log set changes_truncated = true where id = ";
    let sql = format!("{column}'{}'", world.runs[1]);
    world.site.on_local(&sql).await;
    let past = meter_at(&world.site, "1", first)
        .await
        .past
        .expect("a past");
    assert!(
        past.summary.contains("METER_SYNC_CHANGE_LIMIT"),
        "{}",
        past.summary
    );
    assert!(!past.is_complete);
    let past = meter_at(&world.site, "1", third)
        .await
        .past
        .expect("a past");
    assert!(past.is_complete, "nothing was lost since: {}", past.summary);
}

#[tokio::test]
async fn a_meter_that_somebody_deleted_here_is_told_from_the_log() {
    let world = with_runs().await;
    world
        .site
        .on_local("delete from meter where id = '1'")
        .await;
    let states_of_1 = states(&world, "1").await;
    let here: Vec<_> = states_of_1.iter().map(|state| state.0).collect();
    let unknown_when = [Some(false), Some(true), Some(true), None];
    assert_eq!(
        here, unknown_when,
        "it may have been deleted by the last time"
    );
    let names: Vec<Value> = states(&world, "1")
        .await
        .into_iter()
        .map(|state| state.2)
        .collect();
    assert_eq!(
        names[1..],
        [json!("Main"), json!("Main meter"), json!("Main")]
    );
    let sql = "delete from meter_sync.meter_sync_change where action = 'insert'";
    world.site.on_local(sql).await;
    let past = meter_at(&world.site, "1", world.times[2])
        .await
        .past
        .expect("a past");
    assert_eq!(
        past.meter.expect("a part").get("name"),
        Some(&json!("Main meter"))
    );
    assert!(!past.is_complete, "{}", past.summary);
}

#[tokio::test]
async fn a_meter_that_was_deleted_here_and_came_back_was_here_before() {
    let world = with_runs().await;
    world
        .site
        .on_local("delete from meter where id = '1'")
        .await;
    world.site.sync().await;
    let past = meter_at(&world.site, "1", world.times[3])
        .await
        .past
        .expect("a past");
    assert_eq!(
        (past.was_here, past.is_complete),
        (None, false),
        "{}",
        past.summary
    );
    assert!(
        past.summary.contains("unless somebody had deleted"),
        "{}",
        past.summary
    );
    assert_eq!(past.meter.expect("a row").get("name"), Some(&json!("Main")));
}

/// The log keeps a run that has the last change of another meter, and those with problems, but deletes those between.
#[tokio::test]
async fn a_log_that_has_lost_runs_between_others_says_so() {
    let world = with_runs().await;
    let [first, second, third] = world.runs;
    let aged = |run, days| {
        format!(
            "update meter_sync.meter_sync_log set started_at = started_at - interval '{days} days',
                 finished_at = finished_at - interval '{days} days' where id = '{run}'"
        )
    };
    for (run, days) in [(first, 200), (second, 150), (third, 10)] {
        world.site.on_local(&aged(run, days)).await;
    }
    let at = world.times[1] - chrono::TimeDelta::days(180);
    let past = meter_at(&world.site, "1", at).await.past.expect("a past");
    assert!(!past.is_complete, "{}", past.summary);
    world
        .site
        .on_remote("update meter set port = 9 where id = 4")
        .await;
    world.site.sync().await;
    for at in [at, at - chrono::TimeDelta::days(10)] {
        let past = meter_at(&world.site, "1", at).await.past.expect("a past");
        assert!(!past.is_complete, "{}", past.summary);
        assert!(
            past.summary.contains("METER_SYNC_KEEP_RUNS"),
            "{}",
            past.summary
        );
    }
    let recent = world.times[3] - chrono::TimeDelta::days(9);
    let past = meter_at(&world.site, "1", recent)
        .await
        .past
        .expect("a past");
    assert!(past.is_complete, "{}", past.summary);
    let difference = world.site.mirror.compare_runs(first, third, 10).await;
    assert!(!difference.expect("a difference").is_complete);
}
