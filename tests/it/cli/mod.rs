//! The command line as people and scripts meet it: the real program, its output and its exit codes.

use serde_json::{Value, json};

use crate::support::program::{self, Ended, More};
use crate::support::schema::assert_fits;
use crate::support::site::Site;

mod approving;
mod check;
mod commands;
mod config;
mod interrupted;
mod output;
mod run_reports;
mod settings;
mod sync;
mod tenants;
mod unread;

/// Runs a command over a site to its end.
async fn run(site: &Site, arguments: &[&str], more: More<'_>) -> Ended {
    program::run(program::over(site, arguments, more)).await
}

/// The one JSON object on standard output.
fn object(ended: &Ended) -> Value {
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
