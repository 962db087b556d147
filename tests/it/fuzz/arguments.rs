//! Arguments of the two tools: what the schema refuses is refused, and what it allows is taken.

use std::sync::LazyLock;

use axum::Router;
use axum::body::Body;
use axum::http::Request;
use bolero::{Driver, TypeGenerator, check};
use jsonschema::Validator;
use meter_sync::config::CommandLineSettings;
use meter_sync::mcp;
use serde_json::{Map, Value, json};
use tokio::runtime::Runtime;

use super::draw::{below, odd, once_in, pick};
use super::inputs;
use crate::support::stateless_request;
use crate::support::unconfigured_router::{read, router, send};

/// A tool and its schema of arguments.
struct Tool {
    name: String,
    schema: Value,
    validator: Validator,
}

static TOOLS: LazyLock<Vec<Tool>> = LazyLock::new(|| {
    let tool = |tool: &rmcp::model::Tool| {
        let schema = Value::Object((*tool.input_schema).clone());
        let options = jsonschema::options().should_validate_formats(true);
        Tool {
            name: tool.name.to_string(),
            validator: options.build(&schema).expect("a schema"),
            schema,
        }
    };
    mcp::tools(true).iter().map(tool).collect()
});

/// Texts that mean something to an argument, beyond what the schema says of it.
const MEANT: &[(&str, &[&str])] = &[
    (
        "since",
        &["24h", "7d", "2026-01-31", "2026-01-31T08:00Z", "90 min"],
    ),
    ("at", &["24h", "2026-01-31"]),
    ("kind", &["insert", "deactivate", "delete"]),
    ("compare_with", &["0190c2f1-7a00-7000-8000-000000000001"]),
    ("before", &["0190c2f1-7a00-7000-8000-000000000001"]),
    ("run_id", &["0190c2f1-7a00-7000-8000-000000000001"]),
];

#[derive(Clone, Debug)]
struct Call {
    tool: usize,
    arguments: Map<String, Value>,
}

impl TypeGenerator for Call {
    fn generate<D: Driver>(driver: &mut D) -> Option<Self> {
        let tool = below(driver, TOOLS.len())?;
        let known = TOOLS.get(tool)?.schema["properties"].as_object()?;
        let mut arguments = Map::new();
        for (name, schema) in known {
            if once_in(driver, 3)? {
                arguments.insert(name.clone(), argument(driver, name, schema)?);
            }
        }
        if once_in(driver, 8)? {
            let name = *pick(
                driver,
                &["dryrun", "allow", "", "History", "run_id ", "tenant"],
            )?;
            arguments.insert(name.to_owned(), any(driver)?);
        }
        Some(Self { tool, arguments })
    }
}

fn argument<D: Driver>(driver: &mut D, name: &str, schema: &Value) -> Option<Value> {
    if once_in(driver, 6)? {
        return any(driver);
    }
    Some(match schema["type"].as_str()? {
        "boolean" => json!(once_in(driver, 2)?),
        "integer" => {
            let bounds = [schema["minimum"].as_u64()?, schema["maximum"].as_u64()?];
            let number = i64::try_from(*pick(driver, &bounds)?).ok()?;
            match below(driver, 5)? {
                0 => json!(number - 1),
                1 => json!(number + 1),
                #[expect(clippy::cast_precision_loss, reason = "it is a small number")]
                2 => json!(number as f64),
                3 => json!(number as f64 + 0.5),
                _ => json!(number),
            }
        }
        _ => match MEANT.iter().find(|(meant, _)| *meant == name) {
            Some((_, meant)) => json!(pick(driver, meant)?),
            None => {
                let most = usize::try_from(schema["maxLength"].as_u64()?).ok()?;
                let letter = *pick(driver, &["x", "雪", "🌡", " ", "\n", "\0"])?;
                match below(driver, 3)? {
                    0 => json!(letter.repeat(most)),
                    1 => json!(letter.repeat(most + 1)),
                    _ => json!(odd(driver)?),
                }
            }
        },
    })
}

fn any<D: Driver>(driver: &mut D) -> Option<Value> {
    Some(match below(driver, 7)? {
        0 => Value::Null,
        1 => json!(once_in(driver, 2)?),
        2 => json!(driver.produce::<i64>()?),
        3 => json!(driver.produce::<u64>()?),
        4 => json!([odd(driver)?]),
        5 => json!({odd(driver)?: 1}),
        _ => json!(odd(driver)?),
    })
}

/// The result of a call, by the protocol without sessions.
async fn called(router: &Router, call: &Call) -> Value {
    let name = &TOOLS[call.tool].name;
    let mut request = Request::post("/mcp")
        .header("host", "localhost")
        .header("content-type", "application/json");
    for (name, value) in stateless_request::headers("tools/call", Some(name)) {
        request = request.header(name, value);
    }
    let params = json!({"name": name, "arguments": call.arguments});
    let message = stateless_request::message("tools/call", params);
    let request = request
        .body(Body::from(message.to_string()))
        .expect("a request");
    let (status, text) = read(send(router, request).await).await;
    assert_eq!(status, 200, "{text}");
    let data = text
        .lines()
        .rev()
        .find_map(|line| line.strip_prefix("data: "));
    let answer: Value = serde_json::from_str(data.unwrap_or(&text)).expect("JSON");
    answer["result"].clone()
}

fn is_blank(text: &str) -> bool {
    text.chars().all(|c| c.is_control() || c.is_whitespace())
}

/// What only the meaning of a text says, and no schema can.
const BY_MEANING: [&str; 9] = [
    "`since` must be a time",
    "`at` must be a time",
    "`at` goes with",
    "`kind` goes with",
    "`compare_with` goes with",
    "`before` must be `next_before`",
    "`run_id` asks for one run",
    "There is no run ",
    "No run ",
];

fn is_whole(value: &Value) -> bool {
    value.is_i64() || value.is_u64() || value.as_f64().is_some_and(|number| number.fract() == 0.0)
}

#[test]
fn a_tool_takes_what_its_schema_allows_and_nothing_else() {
    let runtime = Runtime::new().expect("a runtime");
    let router = router(&CommandLineSettings::default());
    let call_tool = |call: &Call| runtime.block_on(called(&router, call));
    let call_tool = std::panic::AssertUnwindSafe(call_tool);
    check!()
        .with_iterations(inputs(300))
        .with_type::<Call>()
        .for_each(|call| {
            let result = (*call_tool)(call);
            // Some clients send null or a blank text for what they leave out.
            let mut given = call.arguments.clone();
            let tool = &TOOLS[call.tool];
            let known = &tool.schema["properties"];
            given.retain(|name, value| match (known.get(name), &*value) {
                (None, _) => true,
                (Some(_), Value::Null) => false,
                (Some(schema), Value::String(text)) => {
                    schema.get("format").is_none() || !is_blank(text)
                }
                (Some(_), _) => true,
            });
            // Models write an id of digits as a number.
            if let Some(id) = given.get_mut("tenant_id").filter(|id| is_whole(id)) {
                *id = Value::String(id.to_string());
            }
            let is_allowed = tool.validator.is_valid(&Value::Object(given));
            let text = result["content"][0]["text"].as_str().expect("text");
            let is_refused = result["isError"] == true && text.ends_with("[INVALID_ARGUMENT]");
            let is_by_meaning = BY_MEANING.iter().any(|begun| text.starts_with(begun));
            match is_allowed {
                true => assert!(!is_refused || is_by_meaning, "{text}"),
                false => assert!(is_refused, "{text}"),
            }
        });
}
