//! Requests to REST and the page: each is answered as it is described, whatever stands in its query, headers and body.

use std::panic::AssertUnwindSafe;
use std::sync::LazyLock;

use axum::Router;
use axum::body::Body;
use axum::http::{HeaderName, HeaderValue, Method, Request, Uri};
use bolero::{Driver, TypeGenerator, check};
use meter_sync::config::CommandLineSettings;
use serde_json::{Value, json};
use tokio::runtime::Runtime;

use super::draw::{below, edited, odd, once_in, pick};
use super::inputs;
use crate::support::unconfigured_router::{read, router, send};

/// Paths of no route that is described, with those of the page.
const OTHERS: &[&str] = &[
    "/",
    "/runs",
    "/runs/0190c2f1-7a00-7000-8000-000000000001",
    "/meters",
    "/connections",
    "/sync",
    "/sign-in",
    "/sign-out",
    "/assets/page.js",
    "/metrics",
    "/mcp",
    "/messages",
    "/.well-known/x",
    "/api/v1",
    "/api/v1/nothing",
    "//",
];

/// What stands for a part of a path.
const IDS: &[&str] = &[
    "0190c2f1-7a00-7000-8000-000000000001",
    "1",
    "%2C",
    "a,b",
    "%ff",
    "x%00",
];

/// Arguments of a query and of a body, and what is none.
const NAMES: &[&str] = &[
    "limit", "before", "outcome", "dry_run", "reason", "history", "cursor", "next", "notice", "x",
];

const HEADERS: &[(&str, &[&str])] = &[
    (
        "content-type",
        &[
            "application/json",
            "application/x-www-form-urlencoded",
            "text/plain",
            "Application/JSON; charset=x",
        ],
    ),
    ("accept", &["text/html", "*/*", "application/json"]),
    ("idempotency-key", &["a key", "", "\u{fc}"]),
    (
        "prefer",
        &[
            "wait=0",
            "wait=99999999999999999999",
            "wait=",
            ";;,,=",
            "respond-async",
        ],
    ),
    (
        "origin",
        &[
            "http://localhost",
            "http://localhost",
            "null",
            "http://evil.example",
        ],
    ),
    (
        "cookie",
        &["meter_sync=x", "a=b; meter_sync_session=1.2.3", ";"],
    ),
    (
        "traceparent",
        &[
            "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
            "00-",
            "x",
        ],
    ),
    ("user-agent", &["test", "\u{e9}"]),
    ("content-length", &["0", "99999999999999999999", "x"]),
];

static DESCRIPTION: LazyLock<Value> = LazyLock::new(|| {
    let request = Request::get("/api/v1/openapi.json").header("host", "localhost");
    let request = request.body(Body::empty()).expect("a request");
    let runtime = Runtime::new().expect("a runtime");
    let text = runtime.block_on(async {
        read(send(&router(&CommandLineSettings::default()), request).await)
            .await
            .1
    });
    serde_json::from_str(&text).expect("JSON")
});

#[derive(Clone, Debug)]
struct DrawnRequest {
    method: String,
    /// As it is described, or another.
    route: String,
    path: String,
    headers: Vec<(&'static str, &'static str)>,
    body: String,
}

impl TypeGenerator for DrawnRequest {
    fn generate<D: Driver>(driver: &mut D) -> Option<Self> {
        let paths = DESCRIPTION["paths"].as_object()?;
        let route = match below(driver, 5)? {
            0 => (*pick(driver, OTHERS)?).to_owned(),
            1 => "/api/v1/sync".to_owned(), // which takes the most
            _ => (*pick(driver, &paths.keys().collect::<Vec<_>>())?).clone(),
        };
        let described = paths.get(&route).and_then(Value::as_object);
        let described: Vec<_> = described
            .into_iter()
            .flat_map(|methods| methods.keys())
            .collect();
        let method = match described.is_empty() || once_in(driver, 4)? {
            true => (*pick(driver, &["GET", "POST", "HEAD", "PUT", "DELETE"])?).to_owned(),
            false => pick(driver, &described)?.to_ascii_uppercase(),
        };
        let path = match route.split_once('{') {
            Some((before, after)) => {
                let after = after.split_once('}').map_or("", |(_, after)| after);
                format!("{before}{}{after}", pick(driver, IDS)?)
            }
            None => route.clone(),
        };
        let mut headers = Vec::new();
        for (name, values) in HEADERS {
            // The first value is what most routes want of a body or a form.
            let is_common = ["content-type", "origin"].contains(name) && !once_in(driver, 3)?;
            match (is_common, values.first()) {
                (true, Some(first)) => headers.push((*name, *first)),
                _ if once_in(driver, 8)? => headers.push((*name, *pick(driver, values)?)),
                _ => {}
            }
        }
        Some(Self {
            method,
            path: format!("{path}{}", query(driver)?),
            route,
            headers,
            body: body(driver)?,
        })
    }
}

fn query<D: Driver>(driver: &mut D) -> Option<String> {
    if !once_in(driver, 3)? {
        return Some(String::new());
    }
    let mut pairs = Vec::new();
    for _ in 0..=below(driver, 3)? {
        let name = *pick(driver, NAMES)?;
        let value = *pick(
            driver,
            &[
                "1", "0", "201", "-1", "true", "failed", "%20", "%ff", "%zz", "", "a+b", "\u{e9}",
            ],
        )?;
        pairs.push(format!("{name}={value}"));
    }
    let query = pairs.join("&");
    Some(format!(
        "?{}",
        edited(driver, &query, &["&", "=", "%", "%00", "#"])?
    ))
}

fn body<D: Driver>(driver: &mut D) -> Option<String> {
    let text = match below(driver, 4)? {
        0 => return Some(String::new()),
        1 => "do=sync&token=x&next=%2F&sure=yes&allow=0190c2f1-7a00-7000-8000-000000000001"
            .to_owned(),
        2 => return Some(json!({"dry_run": true, "reason": odd(driver)?}).to_string()),
        _ => json!({*pick(driver, NAMES)?: odd(driver)?}).to_string(),
    };
    edited(
        driver,
        &text,
        &[
            "{", "}", "\"", ":", ",", "null", "\\u0000", "\\ud800", "[[[[", "&", "=", "%",
        ],
    )
}

impl DrawnRequest {
    /// The request, unless no client can send it.
    fn request(&self) -> Option<Request<Body>> {
        let uri: Uri = self.path.parse().ok()?;
        let mut request = Request::new(Body::from(self.body.clone()));
        *request.method_mut() = self.method.parse::<Method>().ok()?;
        *request.uri_mut() = uri;
        let headers = request.headers_mut();
        headers.insert("host", HeaderValue::from_static("localhost"));
        for (name, value) in &self.headers {
            let value = HeaderValue::from_bytes(value.as_bytes()).ok()?;
            headers.append(HeaderName::from_static(name), value);
        }
        Some(request)
    }
}

/// Status, media type and text of an answer; a stream has no text here, as it goes on.
async fn answer(router: &Router, request: Request<Body>) -> (u16, String, String) {
    let response = send(router, request).await;
    let media_type = response.headers().get("content-type");
    let media_type = media_type
        .map_or("", |value| value.to_str().expect("ASCII"))
        .to_owned();
    if media_type == "text/event-stream" {
        return (response.status().as_u16(), media_type, String::new());
    }
    let (status, text) = read(response).await;
    (status, media_type, text)
}

#[test]
fn a_request_is_answered_as_it_is_described_whatever_it_says() {
    let runtime = Runtime::new().expect("a runtime");
    let router = router(&CommandLineSettings::default());
    let ask = AssertUnwindSafe(|request| runtime.block_on(answer(&router, request)));
    check!()
        .with_iterations(inputs(3000))
        .with_type::<DrawnRequest>()
        .for_each(|asked| {
            let Some(request) = asked.request() else {
                return;
            };
            let (status, media_type, text) = (*ask)(request);
            // Without a database, 503 is the only error of ours that is left.
            assert!(status < 500 || status == 503, "{status} {text}");
            let method = asked.method.to_ascii_lowercase();
            let described = &DESCRIPTION["paths"][&asked.route][&method];
            if described.is_object() {
                let media_type = media_type.split(';').next().unwrap_or_default();
                let answers = &described["responses"][status.to_string()]["content"];
                assert!(
                    answers[media_type].is_object() || answers.is_null() && text.is_empty(),
                    "{status} {media_type}"
                );
            }
            if media_type == "application/problem+json" && asked.method != "HEAD" {
                let problem: Value = serde_json::from_str(&text).expect("JSON");
                assert_eq!(problem["status"], status, "{text}");
                for name in ["code", "detail", "remedy"] {
                    assert!(
                        problem[name].as_str().is_some_and(|told| !told.is_empty()),
                        "{text}"
                    );
                }
            }
        });
}
