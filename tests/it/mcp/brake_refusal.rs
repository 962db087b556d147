//! What a model reads of a sync that the brake refused, and what it must not read.

use serde_json::json;

use super::client::{Assistant, EVERY_TRANSPORT, Transport};
use super::{STATUS, TRIGGER};
use crate::support::site::{Site, rows};

/// What stands between a model and a way around the brake is that no text of ours names one.
fn assert_names_no_way_around(text: &str) {
    for never in [
        "--",
        "allow_",
        "allow-",
        "meter-sync sync",
        "command line",
        "terminal",
    ] {
        assert!(!text.contains(never), "{never}: {text}");
    }
}

#[tokio::test]
async fn a_model_whose_user_cannot_be_asked_is_told_which_meters_and_where_a_person_decides() {
    for transport in EVERY_TRANSPORT {
        let site = Site::with_meters_gone().await;
        let assistant = Assistant::new(transport, &site, &[]).await;
        let refused = assistant.refused(TRIGGER, json!({})).await;
        let run = &rows(
            &site.local,
            "select id from meter_sync.meter_sync_log where outcome = 'refused'",
        )
        .await[0];
        let page = format!("/runs/{}", run["id"].as_str().expect("an id"));
        let status = assistant.ask(STATUS, json!({"history": 0})).await;
        let next_step = status["next_step"].as_str().expect("a text");
        for text in [refused.as_str(), next_step] {
            assert!(
                text.contains("A person decides, at http://127.0.0.1:"),
                "{transport:?}: {text}"
            );
            assert!(text.contains(&page), "{transport:?}: {text}");
            let is_certain = [Transport::Http, Transport::Sse].contains(&transport);
            assert_eq!(
                !text.contains("where `meter-sync serve` runs"),
                is_certain,
                "{transport:?}: {text}"
            );
        }
        for part in [
            "10 of 20 active meters",
            "Gone: Meter 11 (id 11); Meter 12 (id 12)",
            "and 5 more",
            "do not ask for another sync",
            "[MASS_DEACTIVATION_REFUSED]",
        ] {
            assert!(refused.contains(part), "{transport:?}: {part}: {refused}");
        }
        assert_eq!(status["held_back"]["deactivated"], 10, "{status:#}");
        assert_eq!(
            status["held_back"]["first"][0],
            json!({"id": "11", "name": "Meter 11"})
        );
        assert_names_no_way_around(&refused);
        assert_names_no_way_around(&status.to_string());
        let plan = assistant.ask(TRIGGER, json!({"dry_run": true})).await;
        assert_names_no_way_around(&plan.to_string());
    }
}

/// Earlier versions logged a remedy that did.
#[tokio::test]
async fn a_remedy_in_the_log_that_names_a_way_around_the_brake_is_told_to_nobody() {
    let site = Site::with_meters_gone().await;
    site.sync().await;
    site.on_local(
        "update meter_sync.meter_sync_log set error_code = 'TENANT_MISMATCH', error_remedy = 'run `meter-sync sync --allow-tenant-change`' where outcome = 'refused'",
    )
    .await;
    let assistant = Assistant::new(Transport::Memory, &site, &[]).await;
    let status = assistant.ask(STATUS, json!({})).await;
    assert_eq!(status["last_run"]["error"]["code"], "TENANT_MISMATCH");
    assert_names_no_way_around(&status.to_string());
}
