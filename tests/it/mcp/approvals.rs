//! The brake asks the user: only a yes lets deactivations pass, and only those that were asked about.

use std::sync::Arc;

use meter_sync::config::Setting;
use rmcp::model::{
    CallToolRequestParams, CallToolResponse, ElicitResult, ElicitationAction, InputRequiredResult,
    InputResponses,
};
use rmcp::service::{ClientLifecycleMode, ServiceError};
use serde_json::{Value, json};

use super::client::{
    Abilities, Answers, Assistant, ClientStart, EVERY_TRANSPORT, Transport, modern, params,
};
use super::{STATUS, TRIGGER};
use crate::support::postgres::connect;
use crate::support::run_hold;
use crate::support::site::{Site, rows};
use crate::support::wait;

const LIFECYCLES: [fn() -> ClientLifecycleMode; 2] = [|| ClientLifecycleMode::Initialize, modern];

async fn active(site: &Site) -> Value {
    rows(&site.local, "select count(*) from meter where active").await[0]["count"].clone()
}

fn accepted(deactivate: bool) -> ElicitResult {
    ElicitResult::new(ElicitationAction::Accept).with_content(json!({"deactivate": deactivate}))
}

fn always(result: &ElicitResult) -> Answers {
    let result = result.clone();
    Arc::new(move |_question| {
        let result = result.clone();
        Box::pin(async move { result })
    })
}

async fn assistant(
    transport: Transport,
    site: &Site,
    lifecycle: ClientLifecycleMode,
    answers: Answers,
) -> Assistant {
    let abilities = Abilities {
        answers: Some(answers),
        ..Abilities::default()
    };
    let start = ClientStart {
        lifecycle,
        abilities,
    };
    Assistant::with_abilities(transport, site, &[(Setting::Schedule, "off")], start).await
}

#[tokio::test]
async fn a_yes_lets_the_plan_go_on() {
    for transport in EVERY_TRANSPORT {
        for lifecycle in LIFECYCLES {
            let site = Site::with_meters_gone().await;
            let yes = always(&accepted(true));
            let assistant = assistant(transport, &site, lifecycle(), yes).await;
            let arguments = json!({"reason": "tidying", "idempotency_key": "once"});
            let run = assistant.ask(TRIGGER, arguments.clone()).await;
            assert_eq!(run["counts"]["deactivated"], 10, "{transport:?}: {run:#}");
            let again = assistant.ask(TRIGGER, arguments).await;
            assert_eq!(again["run_id"], run["run_id"], "{transport:?}");
            assert_eq!(active(&site).await, 10);
            let asked = assistant.asked();
            assert_eq!(asked.len(), 1, "{transport:?}: {asked:?}");
            assert!(
                asked[0].starts_with("10 of 20 active meters would be deactivated")
                    && asked[0].contains("Meter 11 (id 11); Meter 12 (id 12)")
                    && asked[0].ends_with("and 5 more. Go on?"),
                "{transport:?}: {asked:?}"
            );
            let status = assistant.ask(STATUS, json!({})).await;
            assert_eq!(
                status["last_run"]["reason"],
                "tidying (the user let the deactivations pass)"
            );
            assert_eq!(
                run_hold::outcomes(&site).await,
                json!(["succeeded", "refused", "succeeded"])
            );
        }
    }
}

#[tokio::test]
async fn whatever_is_no_yes_changes_nothing() {
    for lifecycle in LIFECYCLES {
        for answer in [
            accepted(false),
            ElicitResult::new(ElicitationAction::Accept),
            ElicitResult::new(ElicitationAction::Accept)
                .with_content(json!({"deactivate": "true"})),
            ElicitResult::new(ElicitationAction::Decline),
            ElicitResult::new(ElicitationAction::Cancel).with_content(json!({"deactivate": true})),
        ] {
            let site = Site::with_meters_gone().await;
            let is_put_away = answer.action == ElicitationAction::Cancel;
            let assistant = assistant(Transport::Memory, &site, lifecycle(), always(&answer)).await;
            let key = json!({"idempotency_key": "once"});
            let text = assistant.refused(TRIGGER, key.clone()).await;
            let said = match is_put_away {
                true => "nobody has decided whether it may go on",
                false => "the user does not let it go on",
            };
            assert!(
                text.contains(said) && text.contains("[MASS_DEACTIVATION_REFUSED]"),
                "{answer:?}: {text}"
            );
            assert_eq!(active(&site).await, 20, "{answer:?}");
            assert_eq!(
                run_hold::outcomes(&site).await,
                json!(["succeeded", "refused"])
            );
            // A refusal does no more than a no: with the same key the user is asked again.
            assistant.refused(TRIGGER, key).await;
            assert_eq!(assistant.asked().len(), 2, "{answer:?}");
        }
    }
}

/// A user who says yes after something has happened in the central database.
fn accepting_after(site: &Site, meanwhile: &'static str) -> Answers {
    let url = site.pair.remote_url.clone();
    Arc::new(move |_question| {
        let url = url.clone();
        Box::pin(async move {
            let remote = connect(&url).await;
            remote.batch_execute(meanwhile).await.expect(meanwhile);
            accepted(true)
        })
    })
}

#[tokio::test]
async fn one_meter_more_than_was_asked_about_is_asked_about_again() {
    for lifecycle in LIFECYCLES {
        for meanwhile in [
            "delete from meter where id = 10",
            // As many, but others.
            "insert into meter (id, tenant_id) values (11, 7) on conflict do nothing; delete from meter where id = 1",
            "update meter set active = false where id = 10",
        ] {
            let site = Site::with_meters_gone().await;
            let answers = accepting_after(&site, meanwhile);
            let assistant = assistant(Transport::Memory, &site, lifecycle(), answers).await;
            let run = assistant.call(TRIGGER, &json!({})).await;
            let asked = assistant.asked();
            assert_eq!(asked.len(), 2, "{meanwhile}: {asked:?} {run:#}");
            assert_eq!(run["structuredContent"]["outcome"], "succeeded", "{run:#}");
        }
    }
}

#[tokio::test]
async fn whatever_else_changes_while_the_user_thinks_is_not_part_of_the_question() {
    for lifecycle in LIFECYCLES {
        for (meanwhile, left) in [
            ("update meter set name = 'other' where id = 1", 10),
            ("insert into meter (id, tenant_id) values (31, 7)", 11),
            // Fewer are gone.
            ("insert into meter (id, tenant_id) values (11, 7)", 11),
        ] {
            let site = Site::with_meters_gone().await;
            let answers = accepting_after(&site, meanwhile);
            let assistant = assistant(Transport::Memory, &site, lifecycle(), answers).await;
            let run = assistant.ask(TRIGGER, json!({})).await;
            assert_eq!(assistant.asked().len(), 1, "{meanwhile}: {run:#}");
            assert_eq!(active(&site).await, left, "{meanwhile}");
        }
    }
}

#[tokio::test]
async fn a_question_tells_meters_gone_from_those_switched_off() {
    for lifecycle in LIFECYCLES {
        let site = Site::with_meters_gone().await;
        site.on_remote("update meter set active = false where id in (1, 2)")
            .await;
        let assistant = assistant(
            Transport::Memory,
            &site,
            lifecycle(),
            always(&accepted(true)),
        )
        .await;
        let run = assistant.ask(TRIGGER, json!({})).await;
        assert_eq!(
            (&run["counts"]["deactivated"], &run["counts"]["updated"]),
            (&json!(10), &json!(2))
        );
        let asked = assistant.asked();
        assert_eq!(
            asked,
            [
                "12 of 20 active meters would be deactivated: 10 are gone from the central database, 2 were switched off there. \
              Of those gone: 10 deleted. Gone: Meter 11 (id 11); Meter 12 (id 12); Meter 13 (id 13); Meter 14 (id 14); Meter 15 (id 15) and 5 more. \
              Switched off: Meter 1 (id 1); Meter 2 (id 2). Go on?"
            ]
        );
        assert_eq!(active(&site).await, 8);
    }
}

/// Some clients declare that they ask, show nothing, and give a call up after a minute.
#[tokio::test]
async fn a_question_that_nobody_answers_ends_with_the_call_and_stays_open_for_a_person() {
    let site = Site::with_meters_gone().await;
    let never: Answers = Arc::new(|_question| Box::pin(std::future::pending()));
    let assistant = assistant(Transport::Memory, &site, LIFECYCLES[0](), never).await;
    let begun = std::time::Instant::now();
    let text = assistant.refused(TRIGGER, json!({"wait_seconds": 2})).await;
    assert!(begun.elapsed().as_secs() < 10, "{:?}", begun.elapsed());
    assert!(text.contains("nobody has decided"), "{text}");
    assert!(text.contains("Gone: Meter 11 (id 11); Meter 12"), "{text}");
    assert!(!text.contains("the user does not"), "{text}");
    let run = rows(
        &site.local,
        "select id from meter_sync.meter_sync_log where outcome = 'refused'",
    )
    .await;
    let run = run[0]["id"].as_str().expect("an id");
    assert!(text.contains(&format!("/runs/{run}")), "{text}");
    let kept = "select count(*) as n from meter_sync.meter_sync_held";
    assert_eq!(rows(&site.local, kept).await, json!([{"n": 1}]));
    assert_eq!(active(&site).await, 20);
}

#[tokio::test]
async fn a_yes_to_a_call_that_was_given_up_does_not_count() {
    let site = Site::with_meters_gone().await;
    let (said, heard) = tokio::sync::watch::channel(false);
    let answers: Answers = Arc::new(move |_question| {
        let mut heard = heard.clone();
        Box::pin(async move {
            heard.wait_for(|said| *said).await.expect("a word");
            accepted(true)
        })
    });
    let assistant = assistant(Transport::Memory, &site, LIFECYCLES[0](), answers).await;
    let call = assistant.begin(TRIGGER, &json!({})).await;
    wait::until("the user is asked", async || assistant.asked().len() == 1).await;
    call.cancel(Some("too late".to_owned()))
        .await
        .expect("cancelled");
    // What is answered after this was sent after the cancellation.
    assistant.ask(STATUS, json!({})).await;
    said.send(true).expect("somebody listens");
    assistant.ask(STATUS, json!({})).await;
    assert_eq!(
        run_hold::outcomes(&site).await,
        json!(["succeeded", "refused"])
    );
    assert_eq!(active(&site).await, 20);
}

#[tokio::test]
async fn an_empty_remote_is_asked_about_too() {
    for lifecycle in LIFECYCLES {
        let site = Site::with_meters_gone().await;
        site.on_remote("delete from meter").await;
        let yes = always(&accepted(true));
        let assistant = assistant(Transport::Memory, &site, lifecycle(), yes).await;
        let run = assistant.ask(TRIGGER, json!({})).await;
        assert_eq!(run["counts"]["deactivated"], 20);
        assert_eq!(active(&site).await, 0);
    }
}

#[tokio::test]
async fn a_dry_run_asks_nothing() {
    for lifecycle in LIFECYCLES {
        let site = Site::with_meters_gone().await;
        let yes = always(&accepted(true));
        let assistant = assistant(Transport::Memory, &site, lifecycle(), yes).await;
        let plan = assistant.ask(TRIGGER, json!({"dry_run": true})).await;
        assert_eq!(plan["error"]["code"], "MASS_DEACTIVATION_REFUSED");
        assert_eq!(assistant.asked(), Vec::<String>::new());
        assert_eq!(active(&site).await, 20);
    }
}

async fn question(assistant: &Assistant, call: CallToolRequestParams) -> InputRequiredResult {
    let answer = assistant.client.call_tool_once(call).await;
    let answer = answer.expect("an answer");
    let CallToolResponse::InputRequired(question) = answer else {
        panic!("{answer:?}");
    };
    question
}

fn yes() -> InputResponses {
    let yes = json!({"action": "accept", "content": {"deactivate": true}});
    InputResponses::from([("deactivate".to_owned(), yes)])
}

#[tokio::test]
async fn a_state_counts_once_and_for_its_own_call_only() {
    let site = Site::with_meters_gone().await;
    let assistant = assistant(Transport::Memory, &site, modern(), always(&accepted(true))).await;
    let call = || params(TRIGGER, &json!({"reason": "tidying"}));
    let asked = question(&assistant, call()).await;
    let state = asked.request_state.expect("a state");
    let mut tampered = state.clone();
    let last = tampered.pop().expect("a character");
    tampered.push(if last == 'A' { 'B' } else { 'A' });
    let mut others = params(TRIGGER, &json!({"reason": "another"}));
    for (mut call, state) in [
        (call(), "rs1.AAAA.AAAA".to_owned()),
        (call(), tampered),
        (std::mem::take(&mut others), state.clone()),
    ] {
        call.input_responses = Some(yes());
        call.request_state = Some(state);
        let refused = assistant.client.call_tool_once(call).await;
        let Err(ServiceError::McpError(error)) = refused else {
            panic!("{refused:?}");
        };
        assert_eq!(error.code.0, -32602, "{error:?}");
    }
    assert_eq!(active(&site).await, 20);
    let mut answered = call();
    answered.input_responses = Some(yes());
    answered.request_state = Some(state);
    let run = assistant.client.call_tool_once(answered.clone()).await;
    assert!(matches!(run, Ok(CallToolResponse::Complete(_))), "{run:?}");
    assert_eq!(active(&site).await, 10);
    let again = assistant.client.call_tool_once(answered).await;
    let Err(ServiceError::McpError(error)) = again else {
        panic!("{again:?}");
    };
    assert!(error.message.contains("was used already"), "{error:?}");
}
