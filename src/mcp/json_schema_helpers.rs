//! Helpers for the JSON Schemas of tools: a shared type, and functions that build it from JSON values.

use std::sync::Arc;

/// A JSON Schema, shared between tools instead of copied.
pub(super) type SharedJsonSchema = Arc<rmcp::model::JsonObject>;

/// Converts a JSON object to a schema. Any other value becomes an empty schema.
pub(super) fn literal(value: serde_json::Value) -> SharedJsonSchema {
    if let serde_json::Value::Object(object) = value {
        Arc::new(object)
    } else {
        SharedJsonSchema::default()
    }
}

/// Adds a description to the schema of an argument.
pub(super) fn described(mut schema: serde_json::Value, description: &str) -> serde_json::Value {
    if let Some(schema) = schema.as_object_mut() {
        schema.insert("description".to_owned(), description.into());
    }
    schema
}
