//! Typical questions that people ask an assistant: for each in tests/data/questions.json, the fewest calls that
//! answer it, and the facts that the answer needs. No model is asked.

use std::collections::BTreeMap;

use meter_sync::config::Setting;
use rmcp::model::ReadResourceRequestParams;
use serde::Deserialize;
use serde_json::{Value, json};

use super::client::{Assistant, Transport};
use super::{STATUS, TRIGGER};
use crate::support::run_hold::RunHold;
use crate::support::site::Site;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Question {
    question: String,
    given: Vec<Precondition>,
    calls: Vec<Call>,
    /// What stands where in the last answer.
    facts: BTreeMap<String, Fact>,
}

/// What has happened before the question.
#[derive(Deserialize)]
#[serde(rename_all = "snake_case")]
enum Precondition {
    Remote(String),
    Local(String),
    Sync,
    /// Every run from here on is held in progress.
    Hold,
    #[serde(untagged)]
    Call(Call),
}

#[derive(Deserialize)]
#[serde(untagged, deny_unknown_fields)]
enum Call {
    Tool { tool: String, arguments: Value },
    Read { read: String },
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Fact {
    Contains { contains: String },
    Is(Value),
}

impl Fact {
    fn holds(&self, value: Option<&Value>) -> bool {
        match (self, value) {
            (_, None) => false,
            (Self::Is(expected), Some(value)) => expected == "present" || expected == value,
            (Self::Contains { contains }, Some(value)) => {
                value.as_str().is_some_and(|text| text.contains(contains))
            }
        }
    }
}

impl Question {
    /// The facts that an answer does not hold.
    fn missing(&self, answer: &Value) -> Vec<&str> {
        let missing = self
            .facts
            .iter()
            .filter(|(at, fact)| !fact.holds(answer.pointer(at)));
        missing.map(|(at, _)| at.as_str()).collect()
    }
}

fn questions() -> Vec<Question> {
    serde_json::from_str(include_str!("../../data/questions.json")).expect("questions")
}

/// Arguments with `{/pointer}` filled in from the answer before.
fn filled(arguments: &Value, before: &Value) -> Value {
    let fill = |value: &Value| {
        let pointer = value
            .as_str()
            .and_then(|text| text.strip_prefix('{')?.strip_suffix('}'));
        pointer.map_or_else(|| value.clone(), |at| before.pointer(at).expect(at).clone())
    };
    let members = arguments
        .as_object()
        .expect("arguments are an object")
        .iter();
    members
        .map(|(name, value)| (name.clone(), fill(value)))
        .collect::<serde_json::Map<_, _>>()
        .into()
}

async fn answer(assistant: &Assistant, call: &Call, before: &Value) -> Value {
    match call {
        Call::Tool { tool, arguments } => {
            let tool = [STATUS, TRIGGER].into_iter().find(|name| name == tool);
            assistant
                .ask(tool.expect("a tool of ours"), filled(arguments, before))
                .await
        }
        Call::Read { read } => {
            let request = ReadResourceRequestParams::new(read);
            let result = json!(assistant.client.read_resource(request).await.expect(read));
            let text = result["contents"][0]["text"].as_str().expect("text");
            serde_json::from_str(text).expect("JSON")
        }
    }
}

/// Brings the site to where the question is asked; gives what holds a run in progress.
async fn bring_about(
    given: &[Precondition],
    site: &Site,
    assistant: &Assistant,
) -> Option<RunHold> {
    let mut held = None;
    for given in given {
        match given {
            Precondition::Remote(sql) => site.on_remote(sql).await,
            Precondition::Local(sql) => site.on_local(sql).await,
            Precondition::Sync => {
                site.sync().await;
            }
            Precondition::Hold => held = Some(RunHold::new(site).await),
            Precondition::Call(call) => {
                answer(assistant, call, &Value::Null).await;
            }
        }
    }
    held
}

#[tokio::test]
async fn each_question_is_answered_by_its_calls_and_by_no_fewer() {
    let questions = questions();
    assert_eq!(questions.len(), 22);
    for question in questions {
        let site = Site::new().await;
        let hourly = [(Setting::Schedule, "0 * * * *")];
        let assistant = Assistant::new(Transport::Memory, &site, &hourly).await;
        let held = bring_about(&question.given, &site, &assistant).await;
        let mut last = Value::Null;
        for call in &question.calls {
            assert_ne!(
                question.missing(&last),
                [""; 0],
                "{} takes fewer calls",
                question.question
            );
            last = answer(&assistant, call, &last).await;
        }
        assert_eq!(
            question.missing(&last),
            [""; 0],
            "{}: {last:#}",
            question.question
        );
        if let Some(held) = held {
            held.release().await;
        }
    }
}
