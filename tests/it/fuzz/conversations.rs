//! Messages of MCP over HTTP: what is no message is refused, and the conversation goes on. What a client says comes
//! back as it was, in one event each, whatever it says.

use std::panic::AssertUnwindSafe;

use axum::Router;
use axum::body::{Body, BodyDataStream};
use axum::http::Request;
use bolero::{Driver, TypeGenerator, check};
use futures_util::StreamExt;
use meter_sync::config::CommandLineSettings;
use serde_json::{Value, json};
use tokio::runtime::Runtime;
use tokio::sync::Mutex;

use super::draw::{below, edited, odd, once_in, pick};
use super::inputs;
use crate::support::unconfigured_router::{read, router, send};

/// A client of `/sse`, with a reader of events by the letter of the standard
/// (<https://html.spec.whatwg.org/multipage/server-sent-events.html#event-stream-interpretation>).
struct Client {
    router: Router,
    endpoint: String,
    stream: BodyDataStream,
    unread: String,
}

impl Client {
    async fn open(router: Router) -> Self {
        let request = Request::get("/sse").header("host", "localhost");
        let opened = send(&router, request.body(Body::empty()).expect("a request")).await;
        let mut client = Self {
            router,
            endpoint: String::new(),
            stream: opened.into_body().into_data_stream(),
            unread: String::new(),
        };
        let (name, endpoint) = client.event().await;
        assert_eq!(name, "endpoint");
        client.endpoint = endpoint;
        client
    }

    /// The name and data of the next event.
    async fn event(&mut self) -> (String, String) {
        let (mut name, mut data) = (String::new(), Vec::new());
        loop {
            let line = self.line().await;
            if line.is_empty() && !data.is_empty() {
                return (name, data.join("\n"));
            }
            let (field, value) = line.split_once(':').unwrap_or((&line, ""));
            let value = value.strip_prefix(' ').unwrap_or(value);
            match field {
                "event" => value.clone_into(&mut name),
                "data" => data.push(value.to_owned()),
                _ => {}
            }
        }
    }

    /// The next line; a carriage return alone ends one, too.
    async fn line(&mut self) -> String {
        loop {
            if let Some(end) = self.unread.find(['\r', '\n']) {
                let rest = self.unread.split_off(end);
                let line = std::mem::take(&mut self.unread);
                let ending = usize::from(rest.starts_with("\r\n")) + 1;
                self.unread = rest.split_at(ending).1.to_owned();
                return line;
            }
            let more = self
                .stream
                .next()
                .await
                .expect("it goes on")
                .expect("bytes");
            self.unread
                .push_str(str::from_utf8(&more).expect("whole characters"));
        }
    }

    async fn say(&self, body: &str) -> (u16, String) {
        let request = Request::post(&self.endpoint)
            .header("host", "localhost")
            .header("content-type", "application/json");
        let request = request
            .body(Body::from(body.to_owned()))
            .expect("a request");
        read(send(&self.router, request).await).await
    }

    /// The answer to a message, which comes with the very next event.
    async fn ask(&mut self, message: &Value) -> Value {
        let (status, text) = self.say(&message.to_string()).await;
        assert_eq!(status, 202, "{text}");
        let (name, data) = self.event().await;
        assert_eq!(name, "message");
        serde_json::from_str(&data).expect("JSON")
    }

    /// Reads to the answer of one more request.
    async fn go_on(&mut self) {
        let ping = json!({"jsonrpc": "2.0", "id": "the last one", "method": "ping"});
        let (status, text) = self.say(&ping.to_string()).await;
        assert_eq!(status, 202, "{text}");
        while !self.event().await.1.contains("the last one") {}
    }

    async fn hello(router: Router) -> Self {
        let mut client = Self::open(router).await;
        let params = json!({"protocolVersion": "2024-11-05", "capabilities": {},
            "clientInfo": {"name": "by hand", "version": "0"}});
        let hello = json!({"jsonrpc": "2.0", "id": 0, "method": "initialize", "params": params});
        assert_eq!(client.ask(&hello).await["id"], 0);
        let ready = json!({"jsonrpc": "2.0", "method": "notifications/initialized"});
        assert_eq!(client.say(&ready.to_string()).await.0, 202);
        client
    }
}

/// A text that comes back.
#[derive(Clone, Debug)]
struct EchoedText(String);

impl TypeGenerator for EchoedText {
    fn generate<D: Driver>(driver: &mut D) -> Option<Self> {
        let mut text = odd(driver)?;
        for _ in 0..below(driver, 3)? {
            text += pick(
                driver,
                &[
                    "\n\n",
                    "\r",
                    "\r\n\r\n",
                    "event: endpoint\ndata: /evil",
                    "\ndata: {}",
                    "\u{feff}",
                    ":",
                ],
            )?;
            text += &odd(driver)?;
        }
        Some(Self(text))
    }
}

#[test]
fn what_a_client_says_comes_back_in_one_event_as_it_was() {
    let runtime = Runtime::new().expect("a runtime");
    let client = runtime.block_on(Client::hello(router(&CommandLineSettings::default())));
    let client = AssertUnwindSafe(Mutex::new(client));
    check!()
        .with_iterations(inputs(300))
        .with_type::<EchoedText>()
        .for_each(|EchoedText(text)| {
            // The id is repeated, and so is the name of a method that is none.
            let message =
                json!({"jsonrpc": "2.0", "id": text, "method": format!("x{text}"), "params": {}});
            let answer = runtime.block_on(async { client.lock().await.ask(&message).await });
            assert_eq!(answer["id"], *text.as_str(), "{answer}");
            assert_eq!(answer["error"]["message"], format!("x{text}"), "{answer}");
        });
}

/// A body, and whether an object in it has a name twice.
#[derive(Clone, Debug)]
struct DrawnBody {
    body: String,
    is_whole: bool,
    is_twice: bool,
}

impl TypeGenerator for DrawnBody {
    fn generate<D: Driver>(driver: &mut D) -> Option<Self> {
        let mut is_twice = false;
        let params = object(driver, 3, &mut is_twice)?;
        let method = *pick(driver, &["ping", "tools/list", "x/y"])?;
        let body = format!(r#"{{"jsonrpc":"2.0","id":1,"method":"{method}","params":{params}}}"#);
        let is_whole = !once_in(driver, 3)?;
        let pieces = [
            "{",
            "}",
            "[",
            "]",
            "\"",
            ",",
            ":",
            "\\",
            "\\ud800",
            "\"id\":2,",
            "null",
            "[[[[[[[[",
            "1e999",
        ];
        Some(Self {
            body: match is_whole {
                true => body,
                false => edited(driver, &body, &pieces)?,
            },
            is_whole,
            is_twice,
        })
    }
}

fn object<D: Driver>(driver: &mut D, depth: usize, is_twice: &mut bool) -> Option<String> {
    let (mut members, mut names) = (Vec::new(), Vec::new());
    for _ in 0..below(driver, 4)? {
        // The same name may be written in two ways.
        let (name, written) = *pick(
            driver,
            &[
                ("a", "a"),
                ("a", "\\u0061"),
                ("b", "b"),
                ("A", "A"),
                ("", ""),
                ("é", "é"),
            ],
        )?;
        *is_twice |= names.contains(&name);
        names.push(name);
        let value = match depth > 0 && once_in(driver, 2)? {
            true => format!("[{}]", object(driver, depth - 1, is_twice)?),
            false => "1".to_owned(),
        };
        members.push(format!("\"{written}\":{value}"));
    }
    Some(format!("{{{}}}", members.join(",")))
}

#[test]
fn a_body_that_is_no_message_is_refused_and_the_conversation_goes_on() {
    let runtime = Runtime::new().expect("a runtime");
    let router = router(&CommandLineSettings::default());
    let mcp = AssertUnwindSafe(async |body: &str| {
        let request = Request::post("/mcp")
            .header("host", "localhost")
            .header("content-type", "application/json");
        let request = request
            .body(Body::from(body.to_owned()))
            .expect("a request");
        let response = send(&router, request).await;
        (response.status().as_u16(), response)
    });
    let client = runtime.block_on(Client::hello(router.clone()));
    let client = AssertUnwindSafe(Mutex::new(client));
    check!()
        .with_iterations(inputs(300))
        .with_type::<DrawnBody>()
        .for_each(|said| {
            runtime.block_on(async {
                let mut client = client.lock().await;
                let (status, text) = client.say(&said.body).await;
                assert!([202, 400].contains(&status), "{status} {text}");
                if said.is_whole {
                    assert_eq!(status == 400, said.is_twice, "{text}");
                }
                if status == 400 {
                    let told: Value = serde_json::from_str(&text).expect("JSON");
                    assert!(
                        [-32600, -32700]
                            .map(Value::from)
                            .contains(&told["error"]["code"]),
                        "{told}"
                    );
                    // What one endpoint refuses, the other one does.
                    let (status, response) = (*mcp)(&said.body).await;
                    assert_eq!((status, read(response).await.1), (400, text));
                } else {
                    client.go_on().await;
                }
            });
        });
}
