//! The list of tools and the manifest are equal to approved files, so that a change of them shows in the diff.

use std::path::Path;

use serde_json::{Value, json};

/// Fails unless the file holds the value; says how to accept the new one.
fn assert_approved(file: &str, value: &Value) {
    let approved = Path::new(env!("CARGO_MANIFEST_DIR")).join(file);
    let text = format!("{value:#}\n");
    if std::fs::read_to_string(&approved).is_ok_and(|held| held == text) {
        return;
    }
    let name = approved.file_name().expect("a file name");
    let received = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    std::fs::write(&received, text).expect("the target directory is writable");
    panic!(
        "{file} is not what the program gives; if the change is meant: cp {} {}",
        received.display(),
        approved.display()
    );
}

#[test]
fn tools_list_is_as_approved() {
    let tools = json!({"tools": meter_sync::mcp::tools(true)});
    assert_approved("tests/approval/tools_list.json", &tools);
}

/// Every conversation pays for the list, whether or not a tool is called.
#[test]
fn tools_list_takes_fewer_than_1500_tokens() {
    let tools = json!({"tools": meter_sync::mcp::tools(true)}).to_string();
    let tokens = tiktoken_rs::o200k_base_singleton()
        .encode_ordinary(&tools)
        .len();
    assert!((500..1500).contains(&tokens), "{tokens} tokens");
}

#[test]
fn a_caller_who_may_not_trigger_is_shown_the_status_alone() {
    let names: Vec<_> = meter_sync::mcp::tools(false)
        .into_iter()
        .map(|tool| tool.name)
        .collect();
    assert_eq!(names, ["meter_sync_status"]);
}

#[test]
fn the_manifest_file_is_what_the_program_writes() {
    assert_approved(
        "mcp-manifest.json",
        &meter_sync::mcp::bundle_manifest::manifest(),
    );
}

#[test]
fn the_manifest_names_the_tools_of_tools_list() {
    let manifest = meter_sync::mcp::bundle_manifest::manifest();
    let tools = json!(meter_sync::mcp::tools(true));
    let listed: Vec<Value> = tools
        .as_array()
        .expect("a list")
        .iter()
        .map(|tool| json!({"name": tool["name"], "description": tool["description"]}))
        .collect();
    assert_eq!(manifest["tools"], json!(listed));
    let whole = json!(meter_sync::mcp::whole_tools());
    assert_eq!(manifest["_meta"]["io.github.meter-sync"]["tools"], whole);
}
