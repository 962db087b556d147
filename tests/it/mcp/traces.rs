//! A `traceparent` in the `_meta` of a tool call, in the logs, over every transport.

use meter_sync::config::Setting;
use rmcp::model::{CallToolRequestParams, RequestParamsMeta};

use super::client::{Assistant, Transport};
use super::{METERS, TRIGGER};
use crate::support::site::Site;

const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";

#[tokio::test]
async fn the_log_lines_of_a_run_tell_the_trace_of_the_call() {
    for transport in [Transport::Stdio, Transport::Http, Transport::Sse] {
        let site = Site::new().await;
        site.on_remote(METERS).await;
        let json = [(Setting::LogFormat, "json")];
        let assistant = Assistant::new(transport, &site, &json).await;
        for given in [
            format!("00-{TRACE}-00f067aa0ba902b7-01"),
            "hunter2".to_owned(),
        ] {
            let mut call = CallToolRequestParams::new(TRIGGER);
            call.set_traceparent(&given);
            let result = assistant.client.call_tool(call).await.expect("a result");
            assert_eq!(result.is_error, Some(false), "{transport:?}");
        }
        let program = assistant.leave().await.expect("a program");
        let told = Some(TRACE.to_owned());
        assert_eq!(
            program.traces_of_runs(4).await,
            [told.clone(), told, None, None],
            "{transport:?}"
        );
        let log = program.whole_stderr().await;
        assert!(!log.contains("hunter2"), "{transport:?}");
    }
}
