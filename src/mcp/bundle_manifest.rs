//! Builds the manifest of the MCP bundle, or MCPB
//! (<https://github.com/modelcontextprotocol/mcpb/blob/main/MANIFEST.md>, version 0.3). It
//! tells a desktop assistant how to install, configure and start `meter-sync stdio`.

use rmcp::model::ProtocolVersion;
use serde_json::{Value, json};

use super::{TITLE, prompts, whole_tools};

/// The key in `_meta` for data of this program that the manifest format has no field for.
const META_KEY: &str = "io.github.meter-sync";

const LONG_DESCRIPTION: &str = "Ask whether your meters are in sync, why a sync failed, what one changed, what one would do now; or \
    have one done. The central database is only read. New meters are inserted, changed ones updated, and meters gone \
    there set inactive here, never deleted. A sync that would deactivate very many asks you first.";

/// Returns the manifest as JSON.
pub fn manifest() -> Value {
    let tools = whole_tools();
    let named: Vec<Value> = tools
        .iter()
        .map(|tool| json!({"name": tool.name, "description": tool.description}))
        .collect();
    json!({
        "manifest_version": "0.3",
        "name": env!("CARGO_PKG_NAME"),
        "display_name": TITLE,
        "version": env!("CARGO_PKG_VERSION"),
        "description": env!("CARGO_PKG_DESCRIPTION"),
        "long_description": LONG_DESCRIPTION,
        "author": {"name": "The meter-sync authors"},
        "license": env!("CARGO_PKG_LICENSE"),
        "keywords": ["postgres", "sync", "meter", "metering"],
        "server": {
            "type": "binary",
            "entry_point": "meter-sync",
            "mcp_config": {
                "command": "${__dirname}/meter-sync",
                "args": ["stdio"],
                "env": {
                    "METER_SYNC_REMOTE_URL": "${user_config.remote_url}",
                    "METER_SYNC_LOCAL_URL": "${user_config.local_url}",
                    "METER_SYNC_TENANT_ID": "${user_config.tenant_id}",
                    "METER_SYNC_SCHEDULE": "${user_config.schedule}",
                    "METER_SYNC_TIMEZONE": "${user_config.timezone}",
                    "METER_SYNC_READ_ONLY": "${user_config.read_only}",
                },
            },
        },
        "tools": named,
        "prompts": prompts::for_manifest(),
        "user_config": user_config(),
        "compatibility": {"platforms": ["darwin", "linux"]},
        "_meta": {
            META_KEY: {
                "transports": ["stdio", "streamable-http", "sse"],
                "protocol_versions": ProtocolVersion::KNOWN_VERSIONS,
                "tools": tools,
            },
        },
    })
}

/// Returns the settings that the desktop assistant asks its user for. If the user leaves a field empty, the assistant
/// passes the field's default to `meter-sync`, which ignores an empty setting.
fn user_config() -> Value {
    json!({
        "remote_url": {
            "type": "string",
            "title": "Central database",
            "description": "Postgres URL of the central database; it is only read.",
            "required": true,
            "sensitive": true,
        },
        "local_url": {
            "type": "string",
            "title": "Local database",
            "description": "Postgres URL of this site's database, whose meters are kept equal.",
            "required": true,
            "sensitive": true,
        },
        "tenant_id": {
            "type": "string",
            "title": "Tenant id",
            "description": "Id of the customer organisation whose meters this site mirrors; empty takes the single row of the local table `tenant`.",
            "required": false,
            "default": "",
        },
        "schedule": {
            "type": "string",
            "title": "Schedule",
            "description": "When to sync by itself, as a cron line, or `off`.",
            "required": false,
            "default": "0 * * * *",
        },
        "timezone": {
            "type": "string",
            "title": "Time zone",
            "description": "The IANA time zone that the schedule is read in, such as Europe/Berlin.",
            "required": false,
            "default": "UTC",
        },
        "read_only": {
            "type": "boolean",
            "title": "Read only",
            "description": "Only show the state; never sync, not even on the schedule.",
            "required": false,
            "default": false,
        },
    })
}
