//! The program over stdio, as an assistant's child process: what it writes to standard output, and how it ends.

use std::time::Duration;

use meter_sync::config::Setting;
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader, Lines};
use tokio::process::{ChildStdin, ChildStdout};

use super::client::{Assistant, EVERY_TRANSPORT, Transport};
use super::{METERS, STATUS, TRIGGER};
use crate::support::program::{self, RunningProgram};
use crate::support::run_hold::{self, RunHold};
use crate::support::site::Site;

/// What a supervisor grants before it kills.
const SOON: Duration = Duration::from_secs(10);

/// A conversation by hand.
struct Conversation {
    program: RunningProgram,
    input: ChildStdin,
    output: Lines<BufReader<ChildStdout>>,
}

impl Conversation {
    async fn new(site: &Site) -> Self {
        let trace = [(Setting::Log, "trace")];
        let command = program::over(site, &["stdio"], &trace);
        let (program, input, output) = RunningProgram::start(command);
        let mut conversation = Self {
            program,
            input,
            output: BufReader::new(output).lines(),
        };
        let hello = json!({"protocolVersion": "2025-06-18", "capabilities": {},
            "clientInfo": {"name": "by hand", "version": "0"}});
        let answer = conversation.ask("initialize", hello).await;
        assert_eq!(answer["result"]["serverInfo"]["name"], "meter-sync");
        let ready = json!({"jsonrpc": "2.0", "method": "notifications/initialized"});
        conversation.say(&ready).await;
        conversation
    }

    async fn say(&mut self, message: &Value) {
        self.write(&message.to_string()).await;
    }

    async fn write(&mut self, line: &str) {
        let line = format!("{line}\n");
        let written = self.input.write_all(line.as_bytes()).await;
        written.expect("it reads");
    }

    /// Sends a request; gives the very next line, which is then its answer.
    async fn ask(&mut self, method: &str, params: Value) -> Value {
        let request = json!({"jsonrpc": "2.0", "id": 1, "method": method, "params": params});
        self.say(&request).await;
        let answer = self.line().await.expect("an answer");
        assert_eq!(answer["id"], 1, "{answer}");
        answer
    }

    async fn call(&mut self, tool: &str, arguments: Value) -> Value {
        self.ask("tools/call", json!({"name": tool, "arguments": arguments}))
            .await
    }

    /// The next line, which is a message of the protocol or the end.
    async fn line(&mut self) -> Option<Value> {
        let line = self.output.next_line().await.expect("UTF-8")?;
        let message: Value = serde_json::from_str(&line).unwrap_or_else(|_| panic!("{line}"));
        assert_eq!(message["jsonrpc"], "2.0", "{line}");
        Some(message)
    }

    /// Closes standard input; gives the exit code, with nothing more on standard output.
    async fn close(mut self) -> i32 {
        drop(self.input);
        assert_eq!(self.output.next_line().await.expect("UTF-8"), None);
        self.program.code(SOON).await
    }
}

#[tokio::test]
async fn standard_output_holds_one_answer_a_request_and_nothing_else() {
    let site = Site::new().await;
    site.on_remote(METERS).await;
    let mut by_hand = Conversation::new(&site).await;
    by_hand.ask("tools/list", json!({})).await;
    by_hand.call(STATUS, json!({})).await;
    // no token came, so the answer is the next line although a run makes progress
    let run = by_hand.call(TRIGGER, json!({})).await;
    assert_eq!(run["result"]["structuredContent"]["outcome"], "succeeded");
    by_hand.call(TRIGGER, json!({"dry_run": 5})).await;
    by_hand.program.told("sync started").await;
    assert_eq!(by_hand.close().await, 0);
}

#[tokio::test]
async fn a_misshapen_message_is_answered_and_the_conversation_goes_on() {
    let site = Site::new().await;
    let mut by_hand = Conversation::new(&site).await;
    let unknown = by_hand.call("meter_sync_statis", json!({})).await;
    assert_eq!(unknown["error"]["code"], -32602, "{unknown}");
    let message = unknown["error"]["message"].as_str().expect("text");
    assert!(
        message.contains("Did you mean `meter_sync_status`?"),
        "{message}"
    );
    let shape = by_hand.ask("tools/call", json!({"name": 5})).await;
    assert_eq!(shape["error"]["code"], -32602, "{shape}");
    let method = by_hand.ask("tools/frobnicate", json!({})).await;
    assert_eq!(method["error"]["code"], -32601, "{method}");
    let status = by_hand.call(STATUS, json!({})).await;
    assert_eq!(status["result"]["structuredContent"]["health"], "never_run");
    assert_eq!(by_hand.close().await, 0);
}

#[tokio::test]
async fn a_name_given_twice_is_refused_and_nothing_is_done() {
    let site = Site::new().await;
    site.on_remote(METERS).await;
    let mut by_hand = Conversation::new(&site).await;
    let twice = format!(
        r#"{{"jsonrpc":"2.0","id":"a","method":"tools/call","params":{{"name":"{TRIGGER}","arguments":{{"dry_run":true,"dry_run":false}}}}}}"#
    );
    for (line, id, name) in [
        (twice.as_str(), json!("a"), "dry_run"),
        (
            r#"{"jsonrpc":"2.0","id":1,"id":2,"method":"ping"}"#,
            Value::Null,
            "id",
        ),
    ] {
        by_hand.write(line).await;
        let refused = by_hand.line().await.expect("an answer");
        assert_eq!(refused["id"], id, "{refused}");
        assert_eq!(refused["error"]["code"], -32600, "{refused}");
        let message = refused["error"]["message"].as_str().expect("text");
        assert!(
            message.contains(&format!("`{name}` is given twice")),
            "{message}"
        );
    }
    // The last of two members would have been a sync.
    let status = by_hand.call(STATUS, json!({})).await;
    assert_eq!(status["result"]["structuredContent"]["health"], "never_run");
    assert_eq!(by_hand.close().await, 0);
}

#[tokio::test]
async fn the_end_of_standard_input_ends_the_program() {
    let site = Site::new().await;
    assert_eq!(Conversation::new(&site).await.close().await, 0);
    // and so before the conversation has begun
    let (mut program, input, _output) =
        RunningProgram::start(program::over(&site, &["stdio"], &[]));
    drop(input);
    assert_eq!(program.code(SOON).await, 0);
}

#[tokio::test]
async fn a_request_to_stop_ends_the_program_soon() {
    for transport in [Transport::Stdio, Transport::Http, Transport::Sse] {
        let site = Site::new().await;
        let mut assistant = Assistant::new(transport, &site, &[]).await;
        assistant.ask(STATUS, json!({})).await;
        let program = assistant.program.as_mut().expect("a program");
        program.terminate();
        assert_eq!(program.code(SOON).await, 0, "{transport:?}");
    }
}

#[tokio::test]
async fn a_request_to_stop_cuts_off_a_run_that_does_not_end() {
    for transport in [Transport::Stdio, Transport::Http] {
        let site = Site::new().await;
        site.on_remote(METERS).await;
        let mut assistant = Assistant::new(transport, &site, &[]).await;
        let held = RunHold::new(&site).await;
        let _call = assistant.begin(TRIGGER, &json!({"wait_seconds": 50})).await;
        run_hold::running(&site).await;
        let program = assistant.program.as_mut().expect("a program");
        program.terminate();
        assert_eq!(program.code(SOON).await, 0, "{transport:?}");
        held.release().await;
        site.sync().await;
        assert_eq!(
            run_hold::outcomes(&site).await,
            json!(["interrupted", "succeeded"]),
            "{transport:?}"
        );
    }
}

#[tokio::test]
async fn a_run_under_way_ends_well_when_the_program_is_asked_to_stop() {
    for transport in [Transport::Stdio, Transport::Http] {
        let site = Site::new().await;
        site.on_remote(METERS).await;
        let mut assistant = Assistant::new(transport, &site, &[]).await;
        let held = RunHold::new(&site).await;
        let _call = assistant.begin(TRIGGER, &json!({"wait_seconds": 50})).await;
        run_hold::running(&site).await;
        assistant.program.as_ref().expect("a program").terminate();
        held.release().await;
        let program = assistant.program.as_mut().expect("a program");
        assert_eq!(program.code(SOON).await, 0, "{transport:?}");
        assert_eq!(
            run_hold::outcomes(&site).await,
            json!(["succeeded"]),
            "{transport:?}"
        );
    }
}

#[tokio::test]
async fn the_log_of_a_conversation_holds_no_secret() {
    for transport in EVERY_TRANSPORT {
        let site = Site::new().await;
        site.on_remote(METERS).await;
        site.on_remote("create role spy login superuser password 'hunter2'")
            .await;
        let url = site.pair.remote_url.replace("postgres:@", "spy:hunter2@");
        let url = url.replace("postgres@", "spy:hunter2@");
        assert!(url.contains("hunter2"), "{url}");
        let more = [(Setting::RemoteUrl, url.as_str()), (Setting::Log, "trace")];
        let assistant = Assistant::new(transport, &site, &more).await;
        assistant.ask(TRIGGER, json!({})).await;
        assistant.ask(STATUS, json!({})).await;
        site.on_remote("drop role spy").await;
        if let Some(program) = assistant.leave().await {
            let log = program.whole_stderr().await;
            assert!(log.contains("sync started"), "{log}");
            let line = log.lines().find(|line| line.contains("hunter2"));
            assert_eq!(line, None, "{transport:?}");
        }
    }
}
