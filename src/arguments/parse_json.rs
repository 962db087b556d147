//! Parses JSON, and refuses an object that contains the same member name twice. Parsers differ in which of the two
//! members they use (RFC 8259, section 4), so such a request could mean one thing to a proxy and another thing to this
//! server.

use std::fmt;

use axum::http::HeaderValue;
use serde::de::{DeserializeSeed, Deserializer, Error, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Number, Value};

use super::clean_caller_text::shorten;

/// Whether the `Content-Type` header of a request says that its body is JSON (`application/json`).
pub(crate) fn is_json(content_type: Option<&HeaderValue>) -> bool {
    let text = content_type.and_then(|value| value.to_str().ok());
    let media_type = text.and_then(|text| text.split(';').next());
    media_type.is_some_and(|name| name.trim().eq_ignore_ascii_case("application/json"))
}

/// Parses a JSON text. The error names the line and column; if an object has a name twice, the error quotes that name.
pub(crate) fn parse(text: &[u8]) -> Result<Value, serde_json::Error> {
    let mut deserializer = serde_json::Deserializer::from_slice(text);
    let value = UniqueNamesVisitor.deserialize(&mut deserializer)?;
    deserializer.end()?;
    Ok(value)
}

/// Deserializes a JSON value, and fails if an object in it has the same member name twice.
struct UniqueNamesVisitor;

impl<'de> DeserializeSeed<'de> for UniqueNamesVisitor {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for UniqueNamesVisitor {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(Value::Bool(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(Value::Number(value.into()))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(Value::Number(value.into()))
    }

    fn visit_f64<E>(self, value: f64) -> Result<Value, E> {
        Ok(Number::from_f64(value).map_or(Value::Null, Value::Number))
    }

    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(Value::String(value.to_owned()))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Value, A::Error> {
        let mut list = Vec::new();
        while let Some(item) = items.next_element_seed(Self)? {
            list.push(item);
        }
        Ok(Value::Array(list))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Value, A::Error> {
        let mut map = Map::new();
        while let Some(name) = members.next_key::<String>()? {
            if map.contains_key(&name) {
                let name = shorten(&name);
                return Err(A::Error::custom(format_args!("`{name}` is given twice")));
            }
            let value = members.next_value_seed(Self)?;
            map.insert(name, value);
        }
        Ok(Value::Object(map))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_text_without_a_name_twice_is_read_as_serde_json_reads_it() {
        for text in [
            "null",
            "true",
            "-1",
            "18446744073709551615",
            "1.5e300",
            r#""a\u0000b""#,
            r#"{"a": {"a": [1, {"a": null}]}, "b": {}}"#,
        ] {
            let expected: Value = serde_json::from_str(text).expect("JSON");
            assert_eq!(parse(text.as_bytes()).expect("JSON"), expected, "{text}");
        }
        for text in ["", "{", "1 2", r#"{"a" 1}"#, "nul", "\u{feff}{}"] {
            assert!(parse(text.as_bytes()).is_err(), "{text}");
            assert!(serde_json::from_str::<Value>(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_name_that_is_there_twice_is_named_at_any_depth_and_however_it_is_written() {
        for text in [
            r#"{"dry_run": true, "dry_run": false}"#,
            r#"{"a": [{"dry_run": 1, "x": 2, "dry_run": 1}]}"#,
            r#"{"dry_run": 1, "dry\u005frun": 1}"#,
        ] {
            let error = parse(text.as_bytes()).expect_err("twice").to_string();
            assert!(
                error.starts_with("`dry_run` is given twice at line 1"),
                "{error}"
            );
        }
        assert_eq!(
            parse(br#"{"a": 1, "A": 2}"#).expect("two names"),
            json!({"a": 1, "A": 2})
        );
    }

    /// Asserts that `parse` gives the same value as `serde_json`. `parse` may return an error only if `serde_json`
    /// does, or if a name occurs twice.
    fn compare(text: &str) {
        let theirs = serde_json::from_str::<Value>(text);
        match parse(text.as_bytes()) {
            Ok(ours) => assert_eq!(Some(ours), theirs.ok(), "{text}"),
            Err(error) => assert!(theirs.is_err() || error.is_data(), "{text}: {error}"),
        }
    }

    #[test]
    fn fuzz_no_text_is_read_as_another_value_than_serde_json_reads() {
        const VALUES: [&str; 16] = [
            "1",
            "-0",
            "1.50",
            "1e999",
            "0x1",
            "18446744073709551616",
            "-9223372036854775808",
            "null",
            "true",
            "\"a\"",
            "\"\\u0061\"",
            "\"\\ud800\"",
            "\"é\"",
            "{\"a\":1}",
            "{\"a\":1,\"\\u0061\":2}",
            "{\"b\":[{\"a\":1},{\"a\":2}]}",
        ];
        const OTHERS: [&str; 10] = ["{", "}", "[", "]", ",", ":", " ", "\n", "\u{feff}", "\""];
        bolero::check!()
            .with_iterations(3000)
            .with_type::<[u8; 6]>()
            .for_each(|drawn| {
                let piece = |n: &u8| {
                    VALUES
                        .iter()
                        .chain(&OTHERS)
                        .nth(usize::from(*n) % 26)
                        .copied()
                };
                let text: String = drawn.iter().filter_map(piece).collect();
                compare(&text);
                let values = drawn
                    .iter()
                    .filter_map(|n| VALUES.get(usize::from(*n) % 16));
                let values = values
                    .copied()
                    .take(usize::from(drawn[5] % 6))
                    .collect::<Vec<_>>()
                    .join(",");
                compare(&format!("[{values}]"));
                compare(&format!("{{\"a\":[{values}],\"a\":1}}"));
            });
    }
}
