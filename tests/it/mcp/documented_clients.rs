//! The client configurations in docs/clients.md and the README, started as the client would start them.

use std::fs;
use std::path::Path;

use meter_sync::config::Setting;
use rmcp::service::ClientLifecycleMode;
use serde_json::{Value, json};

use super::client::Assistant;
use crate::support::program;
use crate::support::site::Site;

/// The blocks of a language under a heading of a document.
fn blocks(document: &str, heading: &str, language: &str) -> Vec<String> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(document);
    let text = fs::read_to_string(path).expect(document);
    let (_, section) = text
        .split_once(&format!("\n## {heading}\n"))
        .expect(heading);
    let section = section.split("\n## ").next().expect("a section");
    let mut parts = section.split("```");
    let mut found = Vec::new();
    while let (Some(_), Some(block)) = (parts.next(), parts.next()) {
        found.extend(block.strip_prefix(language).map(str::to_owned));
    }
    found
}

/// The one server that a client's configuration names.
fn server(configuration: &Value, under: &str) -> Value {
    let servers = configuration[under].as_object().expect(under);
    assert_eq!(servers.keys().collect::<Vec<_>>(), ["meter-sync"]);
    servers["meter-sync"].clone()
}

/// Every block that has a client start the program: where it is, and the server it describes.
fn started() -> Vec<(&'static str, Value)> {
    let json = |document, heading, under| {
        let blocks = blocks(document, heading, "json");
        let [block] = blocks.as_slice() else {
            panic!("{heading}: {blocks:?}");
        };
        let configuration = serde_json::from_str(block).expect(heading);
        (heading, server(&configuration, under))
    };
    let codex = blocks("docs/clients.md", "Codex", "toml").concat();
    let codex: toml::Table = toml::from_str(&codex).expect("TOML");
    vec![
        json("README.md", "An assistant", "mcpServers"),
        json("docs/clients.md", "Claude Desktop", "mcpServers"),
        json("docs/clients.md", "VS Code", "servers"),
        json("docs/clients.md", "Cursor", "mcpServers"),
        ("Codex", server(&json!(codex), "mcp_servers")),
    ]
}

/// A value of the block, with what it stands for on this site.
fn on_site(name: &str, value: &str, site: &Site, configuration: &str) -> String {
    match name {
        "METER_SYNC_CONFIG" => {
            assert_eq!(value, "/etc/meter-sync.toml");
            configuration.to_owned()
        }
        "METER_SYNC_REMOTE_URL" => site.pair.remote_url.clone(),
        "METER_SYNC_LOCAL_URL" => site.pair.local_url.clone(),
        other => panic!("{other} in a block"),
    }
}

#[tokio::test]
async fn each_block_that_starts_the_program_gives_a_server_with_both_tools() {
    let site = Site::new().await;
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("meter-sync.toml");
    let urls = [&site.pair.remote_url, &site.pair.local_url];
    let text = format!("remote_url = {:?}\nlocal_url = {:?}\n", urls[0], urls[1]);
    fs::write(&file, text).expect("a file");
    let file = file.to_str().expect("UTF-8");
    for (client, server) in started() {
        let command = server["command"].as_str().expect("a command");
        assert_eq!(
            Path::new(command).file_name().expect("a program"),
            "meter-sync"
        );
        let arguments = server["args"].as_array().expect("arguments").iter();
        let arguments: Vec<_> = arguments.map(|text| text.as_str().expect("text")).collect();
        let mut command = program::bare(&arguments, &[(Setting::Schedule, "off")]);
        for (name, value) in server["env"].as_object().expect("variables") {
            let value = value.as_str().expect("text");
            command.env(name, on_site(name, value, &site, file));
        }
        let assistant = Assistant::stdio(command, ClientLifecycleMode::Initialize).await;
        let status = assistant.ask(super::STATUS, json!({})).await;
        assert_eq!(status["health"], "never_run", "{client}");
        assert_eq!(
            assistant.tools,
            json!(meter_sync::mcp::tools(true)),
            "{client}"
        );
    }
}
