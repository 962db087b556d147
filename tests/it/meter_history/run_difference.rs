//! How the meters differ between the ends of two runs.

use meter_sync::error::ErrorCode;
use meter_sync::model::{Change, RunId};
use serde_json::{Value, json};

use super::with_runs;
use crate::support::site::Site;

async fn changes(site: &Site, one: RunId, other: RunId) -> Value {
    let difference = site.mirror.compare_runs(one, other, 100).await;
    let difference = difference.expect("a difference");
    let told =
        |change: &Change| json!([change.key["id"], change.action, change.before, change.after]);
    difference.changes.iter().map(told).collect()
}

#[tokio::test]
async fn changes_that_cancel_each_other_out_make_no_difference() {
    let world = with_runs().await;
    let [first, second, third] = world.runs;
    let (active, inactive) = (json!({"active": true}), json!({"active": false}));
    let before = json!({"name": "Main", "port": "1"});
    let after = json!({"name": "Main meter", "port": "502"});
    let told = changes(&world.site, first, second).await;
    assert_eq!(told[0], json!(["1", "update", before, after]));
    assert_eq!(told[1], json!(["3", "deactivate", active, inactive]));
    assert_eq!([&told[2][0], &told[2][1]], ["4", "insert"]);
    for [from, to] in [[first, third], [third, first]] {
        let told = changes(&world.site, from, to).await;
        let port = json!(["1", "update", {"port": "1"}, {"port": "502"}]);
        assert_eq!(told[0], port, "in either order");
        assert_eq!([&told[1][0], &told[1][1]], ["4", "insert"], "{told:#}");
        assert_eq!(told[1][3]["name"], "Yard east");
        assert_eq!(told.as_array().map(Vec::len), Some(2), "{told:#}");
    }
    assert_eq!(changes(&world.site, third, third).await, json!([]));
}

#[tokio::test]
async fn the_difference_is_counted_in_words() {
    let world = with_runs().await;
    let [first, second, third] = world.runs;
    let compare = async |from, to, limit| world.site.mirror.compare_runs(from, to, limit).await;
    let told = compare(first, third, 1).await.expect("a difference");
    let said = "2 runs changed meters: 1 inserted, 1 updated.";
    assert!(told.summary.ends_with(said), "{}", told.summary);
    assert_eq!(
        (told.meters, told.changes.len(), told.runs),
        (Some(2), 1, 2)
    );
    assert_eq!((told.from_run, told.to_run), (first, third));
    assert_eq!(told.changes[0].name.as_deref(), Some("Main"));
    let sql =
        format!("update meter_sync.meter_sync_log set is_pruned = true where id = '{second}'");
    world.site.on_local(&sql).await;
    let told = compare(first, third, 1).await.expect("a difference");
    assert!(!told.is_complete);
    assert!(
        told.summary.contains("METER_SYNC_KEEP_RUNS"),
        "{}",
        told.summary
    );
}

#[tokio::test]
async fn a_run_that_is_unknown_or_has_not_ended_is_refused() {
    let world = with_runs().await;
    let [first, second, _] = world.runs;
    let unknown: RunId = "0190c2f1-7a00-7000-8000-000000000001"
        .parse()
        .expect("an id");
    let open = format!(
        "update meter_sync.meter_sync_log set outcome = null, finished_at = null where id = '{second}'"
    );
    world.site.on_local(&open).await;
    for (other, said) in [(unknown, "There is no run"), (second, "has not ended")] {
        let refused = world.site.mirror.compare_runs(first, other, 1).await;
        let refused = refused.expect_err("refused");
        assert_eq!(refused.code, ErrorCode::ConfigInvalid);
        assert!(refused.message.contains(said), "{refused:?}");
    }
}

/// Comparing each change with all changes of its meter took minutes.
#[tokio::test]
async fn many_changes_of_one_meter_are_compared_at_once() {
    let world = with_runs().await;
    let [first, _, third] = world.runs;
    let changes = format!(
        "insert into meter_sync.meter_sync_change (run_id, n, action, key, before, after)
         select '{third}', 100 + n, 'update', '{{\"id\": \"2\"}}', jsonb_build_object('port', n::text),
                jsonb_build_object('port', (n + 1)::text)
         from generate_series(2, 19000) n"
    );
    world.site.on_local(&changes).await;
    let compared = world.site.mirror.compare_runs(first, third, 10);
    let compared = tokio::time::timeout(std::time::Duration::from_secs(60), compared).await;
    let difference = compared.expect("an answer").expect("a difference");
    let port = difference
        .changes
        .iter()
        .find(|change| change.key["id"] == "2");
    let port = port.expect("a change");
    assert_eq!([&port.before["port"], &port.after["port"]], ["2", "19001"]);
}
