//! Checks JSON against a JSON schema, with the few keywords that our schemas use.

use serde_json::{Value, json};

/// Fails where the value does not fit the schema; a keyword that is not known here fails as well.
pub(crate) fn assert_fits(value: &Value, schema: &Value) {
    fits(value, schema, schema, "$");
}

fn fits(value: &Value, schema: &Value, root: &Value, at: &str) {
    if schema == &json!(true) {
        return;
    }
    for (keyword, rule) in schema.as_object().expect("a schema") {
        match keyword.as_str() {
            "description" | "title" | "default" | "$defs" | "format" | "additionalProperties" => {}
            "$ref" => {
                let pointer = rule.as_str().expect("a reference").trim_start_matches('#');
                let target = root.pointer(pointer);
                fits(value, target.expect("it leads somewhere"), root, at);
            }
            "type" => assert!(is(value, rule), "{at}: {value} is not of type {rule}"),
            "enum" => {
                let allowed = rule.as_array().expect("a list");
                assert!(allowed.contains(value), "{at}: {value} is none of {rule}");
            }
            "required" => {
                for name in rule.as_array().expect("a list") {
                    let name = name.as_str().expect("a name");
                    assert!(value.get(name).is_some(), "{at}: {name} is missing");
                }
            }
            "properties" => members(value, schema, root, at),
            "items" => {
                for (n, item) in value.as_array().expect("a list").iter().enumerate() {
                    fits(item, rule, root, &format!("{at}[{n}]"));
                }
            }
            other => panic!("{at}: the keyword {other} is not known to this test"),
        }
    }
}

fn members(value: &Value, schema: &Value, root: &Value, at: &str) {
    for (name, member) in value.as_object().expect("an object") {
        match schema["properties"].get(name) {
            Some(rule) => fits(member, rule, root, &format!("{at}.{name}")),
            None => assert_ne!(
                schema["additionalProperties"], false,
                "{at}: there is no {name} in the schema"
            ),
        }
    }
}

fn is(value: &Value, name: &Value) -> bool {
    match name.as_str().expect("one type") {
        "object" => value.is_object(),
        "array" => value.is_array(),
        "string" => value.is_string(),
        "boolean" => value.is_boolean(),
        "integer" => value.is_i64() || value.is_u64(),
        "number" => value.is_number(),
        other => panic!("no type of ours: {other}"),
    }
}
