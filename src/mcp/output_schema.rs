//! Builds the output schemas of tools from the types of their results, in a form that every MCP host accepts.
//!
//! The manifest has the complete schemas. `tools/list` has only outlines: the properties and their types, without what
//! is nested in them.
//!
//! The crate schemars writes `type: [T, "null"]` for an optional field, `format: "int64"` for an integer, and a `oneOf`
//! of constants for an enum. Some hosts refuse a server for any of these. Optional fields of results are left out
//! rather than null, so `null` can be dropped from every schema.

use std::sync::Arc;

use rmcp::model::JsonObject;
use schemars::JsonSchema;
use schemars::generate::SchemaSettings;
use serde_json::{Value, json};

use super::json_schema_helpers::{SharedJsonSchema, literal};

/// Prefixes of number formats that JSON Schema does not define, such as `int64`.
const NUMBER_FORMATS: [&str; 4] = ["int", "uint", "float", "double"];

/// Returns the schema of the JSON that `T` serializes to.
pub(super) fn of<T: JsonSchema>() -> SharedJsonSchema {
    let mut settings = SchemaSettings::draft2020_12().for_serialize();
    settings.meta_schema = None;
    let mut schema = settings
        .into_generator()
        .into_root_schema_for::<T>()
        .to_value();
    tidy(&mut schema);
    if let Value::Object(object) = &mut schema {
        object.remove("title");
    }
    literal(schema)
}

/// Returns the outline of a schema: its properties and their types, but not the properties of nested objects. It is
/// short, because a language model reads all of `tools/list` and hardly needs output schemas.
pub(super) fn outline(schema: &SharedJsonSchema) -> SharedJsonSchema {
    let mut outline = JsonObject::new();
    for keyword in ["type", "additionalProperties", "required"] {
        if let Some(value) = schema.get(keyword) {
            outline.insert(keyword.to_owned(), value.clone());
        }
    }
    let members = schema.get("properties").and_then(Value::as_object);
    let members = members.into_iter().flatten();
    let members: JsonObject = members
        .map(|(name, member)| (name.clone(), sketch(member, schema)))
        .collect();
    outline.insert("properties".to_owned(), Value::Object(members));
    Arc::new(outline)
}

/// Returns the outline of one property, with `$ref` replaced by its target.
fn sketch(member: &Value, whole: &SharedJsonSchema) -> Value {
    let name = member.get("$ref").and_then(Value::as_str);
    let name = name.and_then(|pointer| pointer.strip_prefix("#/$defs/"));
    if let Some(target) = name.and_then(|name| whole.get("$defs")?.get(name)) {
        return sketch(target, whole);
    }
    let mut sketch = JsonObject::new();
    for keyword in ["type", "format", "enum"] {
        if let Some(value) = member.get(keyword) {
            sketch.insert(keyword.to_owned(), value.clone());
        }
    }
    if let Some(items) = member.get("items") {
        sketch.insert("items".to_owned(), self::sketch(items, whole));
    }
    Value::Object(sketch)
}

/// Removes from a schema, and from every schema nested in it, what some MCP hosts refuse: `null` as a type or a
/// default, a `oneOf` of constants, and formats of numbers.
fn tidy(schema: &mut Value) {
    let Value::Object(object) = schema else {
        return;
    };
    drop_null(object);
    merge_constants(object);
    if object.get("default").is_some_and(Value::is_null) {
        object.remove("default");
    }
    if object
        .get("format")
        .and_then(Value::as_str)
        .is_some_and(is_number_format)
    {
        object.remove("format");
    }
    if object.contains_key("properties") {
        object.entry("additionalProperties").or_insert(json!(false));
    }
    for (keyword, inner) in object.iter_mut() {
        tidy_within(keyword, inner);
    }
}

/// Applies [`tidy`] to each schema in `inner`, the value of the keyword `keyword` in a schema. The names within
/// `properties` and `$defs` are not keywords.
fn tidy_within(keyword: &str, inner: &mut Value) {
    match (keyword, inner) {
        ("properties" | "$defs", Value::Object(named)) => named.values_mut().for_each(tidy),
        ("anyOf" | "oneOf" | "allOf", Value::Array(list)) => list.iter_mut().for_each(tidy),
        ("items" | "additionalProperties", schema) => tidy(schema),
        _ => {}
    }
}

/// Rewrites `type: [T, "null"]` to `type: T`, and `anyOf: [S, {type: "null"}]` to `S`.
fn drop_null(object: &mut JsonObject) {
    if let Some(Value::Array(types)) = object.get_mut("type") {
        types.retain(|name| name != "null");
        if let [only] = types.as_slice() {
            let only = only.clone();
            object.insert("type".to_owned(), only);
        }
    }
    let Some(Value::Array(mut choices)) = object.remove("anyOf") else {
        return;
    };
    choices.retain(|choice| *choice != json!({"type": "null"}));
    match choices.as_mut_slice() {
        [Value::Object(only)] => {
            for (keyword, value) in std::mem::take(only) {
                object.entry(keyword).or_insert(value);
            }
        }
        _ => {
            object.insert("anyOf".to_owned(), Value::Array(choices));
        }
    }
}

/// Rewrites a `oneOf` of constants to one `enum`, and adds the descriptions of the constants to the `description`.
fn merge_constants(object: &mut JsonObject) {
    let Some(Value::Array(choices)) = object.get("oneOf") else {
        return;
    };
    let Some(constants) = choices.iter().map(constant).collect::<Option<Vec<_>>>() else {
        return;
    };
    let own = object
        .get("description")
        .and_then(Value::as_str)
        .unwrap_or_default();
    let lines: Vec<String> = std::iter::once(own.to_owned())
        .chain(
            constants
                .iter()
                .map(|(name, meaning)| format!("`{name}`: {meaning}")),
        )
        .collect();
    let names: Vec<&str> = constants.iter().map(|(name, _)| *name).collect();
    let (names, description) = (json!(names), json!(lines.join("\n")));
    object.remove("oneOf");
    object.insert("type".to_owned(), json!("string"));
    object.insert("enum".to_owned(), names);
    object.insert("description".to_owned(), description);
}

fn constant(choice: &Value) -> Option<(&str, &str)> {
    let name = choice.get("const")?.as_str()?;
    let meaning = choice
        .get("description")
        .and_then(Value::as_str)
        .unwrap_or_default();
    Some((name, meaning))
}

fn is_number_format(format: &str) -> bool {
    NUMBER_FORMATS
        .iter()
        .any(|prefix| format.starts_with(prefix))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mcp::{tools, whole_tools};

    /// Returns every JSON object within a value, with its path.
    fn objects(value: &Value, path: &str) -> Vec<(String, JsonObject)> {
        let inner: Vec<(String, &Value)> = if let Value::Object(object) = value {
            object
                .iter()
                .map(|(name, inner)| (format!("{path}/{name}"), inner))
                .collect()
        } else if let Value::Array(list) = value {
            list.iter()
                .map(|inner| (format!("{path}/-"), inner))
                .collect()
        } else {
            Vec::new()
        };
        let own = value
            .as_object()
            .map(|object| (path.to_owned(), object.clone()));
        own.into_iter()
            .chain(inner.iter().flat_map(|(path, inner)| objects(inner, path)))
            .collect()
    }

    fn every_schema() -> Vec<Value> {
        let tools = [tools(true), whole_tools()].concat();
        let inputs = tools
            .iter()
            .map(|tool| Value::Object(tool.input_schema.as_ref().clone()));
        let outputs = tools.iter().map(|tool| {
            Value::Object(
                tool.output_schema
                    .as_deref()
                    .expect("an output schema")
                    .clone(),
            )
        });
        inputs.chain(outputs).collect()
    }

    #[test]
    fn no_schema_holds_what_some_host_refuses() {
        for (path, object) in every_schema()
            .iter()
            .flat_map(|schema| objects(schema, "#"))
        {
            assert!(!object.get("type").is_some_and(Value::is_array), "{path}");
            assert!(!object.get("default").is_some_and(Value::is_null), "{path}");
            assert!(!object.contains_key("oneOf"), "{path}");
            assert!(!object.contains_key("$schema"), "{path}");
            assert_ne!(object.get("type"), Some(&json!("null")), "{path}");
            let format = object
                .get("format")
                .and_then(Value::as_str)
                .unwrap_or("uuid");
            assert!(["uuid", "date-time"].contains(&format), "{path}: {format}");
        }
    }

    #[test]
    fn every_object_of_ours_is_closed_and_every_free_form_map_open() {
        let is_object =
            |(_, schema): &(String, JsonObject)| schema.get("type") == Some(&json!("object"));
        for (path, object) in every_schema()
            .iter()
            .flat_map(|schema| objects(schema, "#"))
            .filter(is_object)
        {
            let closed = object.get("additionalProperties") == Some(&json!(false));
            assert_eq!(closed, object.contains_key("properties"), "{path}");
        }
    }

    #[test]
    fn every_tool_takes_and_gives_an_object() {
        for schema in every_schema() {
            assert_eq!(schema["type"], "object");
        }
    }

    #[test]
    fn a_property_named_like_a_keyword_stays() {
        let mut schema = json!({
            "type": "object",
            "properties": {"format": {"type": ["integer", "null"], "format": "int64"}},
        });
        tidy(&mut schema);
        assert_eq!(schema["properties"]["format"], json!({"type": "integer"}));
    }
}
