//! The list of the MCP tools.

use rmcp::ErrorData;
use rmcp::model::Tool;

use super::{output_schema, status_tool, trigger_tool};
use crate::arguments;

/// Returns the tools for `tools/list`, in order. Without `may_trigger`, leaves out the trigger tool.
pub fn tools(may_trigger: bool) -> Vec<Tool> {
    let mut tools = vec![status_tool::tool(output_schema::outline(
        &status_tool::output(),
    ))];
    if may_trigger {
        tools.push(trigger_tool::tool(output_schema::outline(
            &trigger_tool::output(),
        )));
    }
    tools
}

/// Returns all tools with the complete schemas of their results, for the bundle manifest.
pub fn whole_tools() -> Vec<Tool> {
    vec![
        status_tool::tool(status_tool::output()),
        trigger_tool::tool(trigger_tool::output()),
    ]
}

/// Returns the error for a call of a tool that does not exist. It suggests a tool with a similar name, if there is one.
pub(super) fn unknown_tool(name: &str) -> ErrorData {
    let names = [status_tool::NAME, trigger_tool::NAME];
    let hint = arguments::nearest(name, names)
        .map(|known| format!(" Did you mean `{known}`?"))
        .unwrap_or_default();
    ErrorData::invalid_params(
        format!("There is no tool `{}`.{hint}", arguments::shorten(name)),
        None,
    )
}
