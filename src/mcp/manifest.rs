//! The MCPB manifest (<https://github.com/modelcontextprotocol/mcpb/blob/main/MANIFEST.md>, version
//! 0.3): how a desktop assistant installs, asks for and starts `meter-sync stdio`.

use rmcp::model::ProtocolVersion;
use serde_json::{Value, json};

use super::{TITLE, whole_tools};

/// Where data of ours stands that the format has no place for.
const META_KEY: &str = "io.github.meter-sync";

/// The manifest, whole.
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
                },
            },
        },
        "tools": named,
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

/// What the assistant asks its user. A field left out is passed on as its default, and an empty
/// setting is none.
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
    })
}
