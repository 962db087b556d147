//! The command line as people and scripts meet it: the real program, its output and its exit codes.

use serde_json::{Value, json};

use crate::support::json_schema::assert_fits;
use crate::support::program::{self, CommandOutput, MoreSettings};
use crate::support::site::Site;

mod brake_approval;
mod check;
mod config;
mod interrupted_sync;
mod other_commands;
mod run_reports;
mod settings;
mod stop;
mod sync;
mod tenants;
mod tenants_in_trouble;
mod unread_stderr;
mod unwritable_output;

/// Runs a command over a site to its end.
async fn run(site: &Site, arguments: &[&str], more: MoreSettings<'_>) -> CommandOutput {
    program::run(program::over(site, arguments, more)).await
}

/// The one JSON object on standard output.
fn object(ended: &CommandOutput) -> Value {
    let value: Value =
        serde_json::from_str(&ended.stdout).unwrap_or_else(|error| panic!("{error}: {ended:?}"));
    assert!(value.is_object(), "{ended:?}");
    value
}

/// Holds an object against the schema of the tool that gives the same.
fn assert_as_shown(tool: &str, value: &Value) {
    let tools = json!(meter_sync::mcp::whole_tools());
    let mut tools = tools.as_array().expect("tools").iter();
    let tool = tools.find(|listed| listed["name"] == tool);
    assert_fits(value, &tool.expect("a tool")["outputSchema"]);
}
