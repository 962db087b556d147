//! Calls that cannot go well: what is answered, and that the server goes on.

use meter_sync::config::Setting;
use meter_sync::embedded::Server;
use rmcp::service::ClientLifecycleMode;
use serde_json::{Value, json};

use super::client::{Assistant, EVERY_TRANSPORT, Transport};
use super::{METERS, STATUS, TRIGGER};
use crate::support::postgres::start_pair;
use crate::support::program::{self, RunningProgram};
use crate::support::site::{LOCAL_SCHEMA, NOWHERE, REMOTE_SCHEMA, Site, rows};

#[tokio::test]
async fn a_failed_run_is_told_as_text_with_run_remedy_and_code() {
    for transport in EVERY_TRANSPORT {
        let site = Site::new().await;
        site.on_remote("alter table meter rename to elsewhere")
            .await;
        let assistant = Assistant::new(transport, &site, &[]).await;
        let text = assistant.refused(TRIGGER, json!({})).await;
        let log = "select id, error_code, outcome from meter_sync.meter_sync_log";
        let log = rows(&site.local, log).await;
        assert_eq!(log[0]["error_code"], "REMOTE_SCHEMA", "{transport:?}");
        let run = format!(
            " Run {}. Remedy: Check METER_SYNC_REMOTE_TABLE",
            log[0]["id"].as_str().expect("an id")
        );
        assert!(
            text.contains("The remote table or view meter does not exist; there are public."),
            "{transport:?}: {text}"
        );
        assert!(text.contains(&run), "{transport:?}: {text}");
        assert!(text.ends_with(" [REMOTE_SCHEMA]"), "{transport:?}: {text}");

        let status = assistant.ask(STATUS, json!({})).await;
        assert_eq!(status["health"], "failing", "{transport:?}");
        assert_eq!(
            status["last_run"]["error"]["code"], "REMOTE_SCHEMA",
            "{transport:?}"
        );
        site.on_remote("alter table elsewhere rename to meter")
            .await;
        let healed = assistant.ask(TRIGGER, json!({})).await;
        assert_eq!(healed["outcome"], "no_change", "{transport:?}");
    }
}

#[tokio::test]
async fn the_brake_is_told_as_text_and_no_argument_lets_it_go() {
    for transport in EVERY_TRANSPORT {
        let site = Site::new().await;
        site.on_remote(
            "insert into meter (id, tenant_id) select n, 7 from generate_series(1, 20) n",
        )
        .await;
        let assistant = Assistant::new(transport, &site, &[]).await;
        assistant.ask(TRIGGER, json!({})).await;
        site.on_remote("delete from meter where id > 10").await;
        let text = assistant.refused(TRIGGER, json!({})).await;
        assert!(
            text.starts_with("10 of 20 active meters of tenant 7 would be deactivated: 10 are gone from the remote. Nothing was changed."),
            "{transport:?}: {text}"
        );
        assert!(
            text.contains("a person approves them on the page of `meter-sync serve`"),
            "{transport:?}: {text}"
        );
        assert!(
            !text.contains("--"),
            "{transport:?}: a model is told no way around: {text}"
        );
        assert!(
            text.ends_with("[MASS_DEACTIVATION_REFUSED]"),
            "{transport:?}: {text}"
        );
        let text = assistant
            .refused(TRIGGER, json!({"allow_mass_deactivation": true}))
            .await;
        assert!(
            text.ends_with("[INVALID_ARGUMENT]"),
            "{transport:?}: {text}"
        );
        site.on_remote("delete from meter").await;
        let text = assistant.refused(TRIGGER, json!({})).await;
        assert!(
            text.ends_with("[SOURCE_EMPTY_REFUSED]"),
            "{transport:?}: {text}"
        );
        let active = rows(&site.local, "select count(*) from meter where active").await;
        assert_eq!(active, json!([{"count": 20}]), "{transport:?}");
    }
}

/// A tool, arguments it must refuse, and what it must say of them.
fn bad_arguments() -> Vec<(&'static str, Value, &'static str)> {
    let mut cases = bad_arguments_of_status();
    cases.extend(bad_arguments_of_trigger());
    cases
}

fn bad_arguments_of_status() -> Vec<(&'static str, Value, &'static str)> {
    vec![
        (
            STATUS,
            json!({"history": 51}),
            "`history` must be a whole number from 0 to 50, not 51.",
        ),
        (
            STATUS,
            json!({"history": "5"}),
            "`history` must be a whole number",
        ),
        (
            STATUS,
            json!({"changes_limit": 0}),
            "`changes_limit` must be a whole number from 1 to 200, not 0.",
        ),
        (
            STATUS,
            json!({"run_id": "last"}),
            "`run_id` must be the id of a run",
        ),
        (
            STATUS,
            json!({"include_change": true}),
            "did you mean `include_changes`?",
        ),
    ]
}

fn bad_arguments_of_trigger() -> Vec<(&'static str, Value, &'static str)> {
    vec![
        (
            TRIGGER,
            json!({"dryrun": true}),
            "There is no argument `dryrun`; did you mean `dry_run`?",
        ),
        (
            TRIGGER,
            json!({"dry_run": "yes"}),
            "`dry_run` must be true or false, not \"yes\".",
        ),
        (
            TRIGGER,
            json!({"wait_seconds": 51}),
            "`wait_seconds` must be a whole number from 0 to 50, not 51.",
        ),
        (
            TRIGGER,
            json!({"wait_seconds": 1.5}),
            "`wait_seconds` must be a whole number",
        ),
        (
            TRIGGER,
            json!({"reason": "x".repeat(201)}),
            "`reason` must be text of at most 200 characters, not 201.",
        ),
        (
            TRIGGER,
            json!({"idempotency_key": 7}),
            "`idempotency_key` must be text",
        ),
        (
            TRIGGER,
            json!({"zzz": 1}),
            "the arguments are tenant_id, dry_run, wait_seconds, reason, idempotency_key.",
        ),
    ]
}

#[tokio::test]
async fn a_bad_argument_is_named_and_nothing_is_done() {
    let cases = bad_arguments();
    for transport in EVERY_TRANSPORT {
        let site = Site::new().await;
        site.on_remote(METERS).await;
        let assistant = Assistant::new(transport, &site, &[]).await;
        for (tool, arguments, expected) in &cases {
            let text = assistant.refused(tool, arguments.clone()).await;
            assert!(text.contains(expected), "{transport:?} {arguments}: {text}");
            assert!(
                text.contains("Nothing was done."),
                "{transport:?} {arguments}: {text}"
            );
            assert!(
                text.ends_with("[INVALID_ARGUMENT]"),
                "{transport:?} {arguments}: {text}"
            );
        }
        let unknown = json!({"run_id": "0190c2f1-7a00-7000-8000-000000000001"});
        let text = assistant.refused(STATUS, unknown).await;
        assert!(
            text.starts_with("There is no run 0190c2f1"),
            "{transport:?}: {text}"
        );
        assert!(
            text.ends_with("[INVALID_ARGUMENT]"),
            "{transport:?}: {text}"
        );
        assert_eq!(
            rows(&site.local, "select id from meter").await,
            json!([]),
            "{transport:?}"
        );
    }
}

#[tokio::test]
async fn with_both_databases_down_the_status_answers_and_a_sync_says_which_is_down() {
    for transport in EVERY_TRANSPORT {
        let site = Site::new().await;
        let down = [
            (Setting::RemoteUrl, NOWHERE),
            (Setting::LocalUrl, NOWHERE),
            (Setting::LocalTable, "site_meter"),
        ];
        let assistant = Assistant::new(transport, &site, &down).await;
        for _ in 0..2 {
            let status = assistant.ask(STATUS, json!({})).await;
            assert_eq!(status["health"], "failing", "{transport:?}");
            assert_eq!(
                status["connections"]["local"]["error"]["code"], "LOCAL_UNREACHABLE",
                "{transport:?}"
            );
            assert!(
                !status.to_string().contains("hunter2"),
                "{transport:?}: {status:#}"
            );
            let text = assistant.refused(TRIGGER, json!({})).await;
            assert!(
                text.ends_with("[LOCAL_UNREACHABLE]"),
                "{transport:?}: {text}"
            );
        }
        if let Some(program) = assistant.leave().await {
            let log = program.whole_stderr().await;
            assert!(!log.contains("hunter2"), "{transport:?}");
        }
    }
}

#[tokio::test]
async fn without_settings_the_status_says_what_to_set() {
    let lifecycle = ClientLifecycleMode::Initialize;
    let over_stdio = Assistant::stdio(program::bare(&["stdio"], &[]), lifecycle).await;
    let (_program, address) = RunningProgram::serve(program::bare(&["serve"], &[])).await;
    let over_http = Assistant::at(&address, None).await;
    for assistant in [over_stdio, over_http] {
        let status = assistant.ask(STATUS, json!({})).await;
        assert_eq!(status["health"], "not_configured");
        let text = assistant.refused(TRIGGER, json!({})).await;
        assert!(text.ends_with("[CONFIG_MISSING]"), "{text}");
        assert!(text.contains("METER_SYNC_REMOTE_URL"), "{text}");
    }
}

#[tokio::test]
async fn a_read_only_server_has_no_trigger() {
    for transport in EVERY_TRANSPORT {
        let site = Site::new().await;
        site.on_remote(METERS).await;
        let assistant = Assistant::new(transport, &site, &[(Setting::ReadOnly, "true")]).await;
        assert_eq!(
            assistant.tools,
            json!(meter_sync::mcp::tools(false)),
            "{transport:?}"
        );
        assistant.ask(STATUS, json!({})).await;
        let text = assistant.refused(TRIGGER, json!({})).await;
        assert!(text.ends_with("[READ_ONLY]"), "{transport:?}: {text}");
        assert_eq!(
            rows(&site.local, "select id from meter").await,
            json!([]),
            "{transport:?}"
        );
    }
}

#[tokio::test]
async fn a_token_for_reading_is_shown_no_trigger() {
    let site = Site::new().await;
    site.on_remote(METERS).await;
    let tokens = "read:0123456789abcdef,trigger:fedcba9876543210";
    let command = program::over(&site, &["serve"], &[(Setting::Tokens, tokens)]);
    let (_program, address) = RunningProgram::serve(command).await;
    let reader = Assistant::at(&address, Some("0123456789abcdef")).await;
    assert_eq!(reader.tools, json!(meter_sync::mcp::tools(false)));
    assert_eq!(reader.ask(STATUS, json!({})).await["health"], "never_run");
    let text = reader.refused(TRIGGER, json!({})).await;
    assert!(
        text.contains("the bearer token allows reading only"),
        "{text}"
    );
    let operator = Assistant::at(&address, Some("fedcba9876543210")).await;
    assert_eq!(operator.tools, json!(meter_sync::mcp::tools(true)));
    assert_eq!(
        operator.ask(TRIGGER, json!({})).await["outcome"],
        "succeeded"
    );
}

#[tokio::test]
async fn a_server_started_before_its_databases_syncs_once_they_are_up() {
    let site = Site::new().await;
    let (mut remote, mut local) = start_pair().await;
    prepare(&remote, &local).await;
    let (remote_url, local_url) = (remote.url("postgres"), local.url("postgres"));
    remote.stop_immediately().await.expect("stop");
    local.stop_immediately().await.expect("stop");
    let settings = [
        (Setting::RemoteUrl, remote_url.as_str()),
        (Setting::LocalUrl, local_url.as_str()),
    ];
    let mut assistants = Vec::new();
    for transport in [Transport::Stdio, Transport::Http] {
        let assistant = Assistant::new(transport, &site, &settings).await;
        assert_eq!(
            assistant.ask(STATUS, json!({})).await["health"],
            "failing",
            "{transport:?}"
        );
        assistant.refused(TRIGGER, json!({})).await;
        assistants.push(assistant);
    }
    local.restart().await.expect("start");
    let text = assistants[0].refused(TRIGGER, json!({})).await;
    assert!(text.ends_with("[REMOTE_UNREACHABLE]"), "{text}");
    remote.restart().await.expect("start");
    let first = assistants[0].ask(TRIGGER, json!({})).await;
    assert_eq!(first["outcome"], "succeeded");
    let second = assistants[1].ask(TRIGGER, json!({})).await;
    assert_eq!(second["outcome"], "no_change");
    assert_eq!(
        assistants[1].ask(STATUS, json!({})).await["health"],
        "paused"
    );
}

async fn prepare(remote: &Server, local: &Server) {
    use crate::support::postgres::connect;
    let there = connect(&remote.url("postgres")).await;
    there.batch_execute(REMOTE_SCHEMA).await.expect("a schema");
    there.batch_execute(METERS).await.expect("meters");
    let here = connect(&local.url("postgres")).await;
    here.batch_execute(LOCAL_SCHEMA).await.expect("a schema");
}
