//! MCP as assistants meet it: rmcp's own client in one process, and over the real program's standard
//! input and output, `/mcp` and `/sse`.

mod answer_format;
mod app;
mod approvals;
mod brake_refusal;
mod calls;
pub(crate) mod client;
mod documented_clients;
mod failing_calls;
mod legacy_sse;
mod lookups;
mod metrics;
mod resources;
mod session_limits;
mod stdio;
mod tasks;
mod tenant_tasks_and_subscriptions;
mod tenant_tokens;
mod tenants;
mod traces;
mod typical_questions;

/// The tools' names.
const STATUS: &str = "meter_sync_status";
const TRIGGER: &str = "meter_sync_trigger";

/// Three meters of the site's tenant and one of another.
const METERS: &str = "
    insert into meter (id, tenant_id, name) values (1, 7, 'Main'), (2, 7, 'East'), (3, 7, 'West'), (4, 8, 'Theirs')";
