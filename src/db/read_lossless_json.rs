//! Reads JSON that Postgres wrote, without losing digits or structure.
//!
//! `json` and `jsonb` hold numbers of any size and nest without limit
//! (<https://www.postgresql.org/docs/current/datatype-json.html>). A [`Value`] holds a number in 64 bits, a client in
//! JavaScript holds an integer in 53, and most clients refuse deep nesting. A number or a nested value that a `Value`
//! or such a client cannot hold exactly is returned as a string with the text that Postgres wrote. So two different
//! numbers never become equal, and every value can be shown.

use std::collections::BTreeMap;

use serde_json::Value;
use serde_json::value::RawValue;

use crate::model::MeterFields;

/// The deepest nesting that is parsed; deeper JSON is returned as text. Many clients accept a depth of 128 at most, and
/// the answer that contains the value adds some levels.
const DEEPEST: usize = 64;

/// From this number on, a client that holds numbers in 64-bit floats, as JavaScript does, may confuse two integers.
const TOO_LARGE: u64 = 1 << 53;

/// Returns the fields of a JSON object, for a client. Numbers that a [`Value`] or JavaScript cannot hold exactly are
/// returned as text. JSON that is not an object gives no fields.
pub fn fields(text: &str) -> MeterFields {
    read(text, is_held_by_all)
}

/// Returns the fields of a JSON object, to be written back to the database. Only values that a [`Value`] cannot hold
/// exactly are returned as text.
pub fn stored_fields(text: &str) -> MeterFields {
    read(text, is_held)
}

fn read(text: &str, is_held: fn(&str) -> bool) -> MeterFields {
    let raw: BTreeMap<String, Box<RawValue>> = serde_json::from_str(text).unwrap_or_default();
    let read = |(name, raw): (String, Box<RawValue>)| (name, value(raw.get(), is_held));
    raw.into_iter().map(read).collect()
}

/// Returns an SQL expression for the text of a JSON value in ASCII; `json` is an SQL expression for the value. In
/// strings, each byte that is not ASCII is written in octal, such as `\377`. So the text can be read even if the
/// database contains invalid bytes.
pub fn in_ascii(json: &str) -> String {
    let backslash = "pg_catalog.chr(92)";
    let two = format!("pg_catalog.repeat({backslash}, 2)");
    let bytes =
        format!("pg_catalog.convert_to({json}::pg_catalog.text, pg_catalog.getdatabaseencoding())");
    // `encode` doubles the backslashes of the JSON and writes a single one for a byte that is not ASCII; JSON needs
    // the opposite. Meanwhile `chr(1)` replaces the doubled ones, because no JSON contains a control character.
    let escaped = format!("pg_catalog.encode({bytes}, 'escape')");
    let apart = format!("pg_catalog.replace({escaped}, {two}, pg_catalog.chr(1))");
    let doubled = format!("pg_catalog.replace({apart}, {backslash}, {two})");
    format!("pg_catalog.replace({doubled}, pg_catalog.chr(1), {backslash})")
}

/// Parses a JSON value. Numbers for which `is_held` returns `false` become strings. JSON that nests too deep or cannot
/// be parsed is returned as one string.
fn value(text: &str, is_held: fn(&str) -> bool) -> Value {
    let read = exact(text, is_held).and_then(|text| serde_json::from_str(&text).ok());
    read.unwrap_or_else(|| Value::String(text.to_owned()))
}

/// Returns the JSON text with quotes around each number for which `is_held` is false. Returns `None` if the JSON nests
/// too deep.
fn exact(text: &str, is_held: fn(&str) -> bool) -> Option<String> {
    let mut written = String::with_capacity(text.len());
    let mut depth = 0_usize;
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        let length = match first {
            '"' => string_length(rest),
            '-' | '0'..='9' => number_length(rest),
            _ => first.len_utf8(),
        };
        match first {
            '{' | '[' => depth += 1,
            '}' | ']' => depth = depth.saturating_sub(1),
            _ => {}
        }
        if depth > DEEPEST {
            return None;
        }
        let (token, after) = rest.split_at_checked(length)?;
        let is_number = matches!(first, '-' | '0'..='9');
        match is_number && !is_held(token) {
            true => written.extend(["\"", token, "\""]),
            false => written.push_str(token),
        }
        rest = after;
    }
    Some(written)
}

/// The length in bytes of the string that the text begins with, including its quotes.
fn string_length(text: &str) -> usize {
    let mut is_escaped = false;
    let end = text.bytes().skip(1).position(|byte| {
        let is_end = byte == b'"' && !is_escaped;
        is_escaped = byte == b'\\' && !is_escaped;
        is_end
    });
    end.map_or(text.len(), |end| end + 2)
}

fn number_length(text: &str) -> usize {
    let is_part = |byte: u8| matches!(byte, b'-' | b'+' | b'.' | b'e' | b'E' | b'0'..=b'9');
    let end = text.bytes().position(|byte| !is_part(byte));
    end.unwrap_or(text.len())
}

/// Whether both a [`Value`] and a client in JavaScript hold the number exactly.
fn is_held_by_all(number: &str) -> bool {
    let integer = number.parse::<i128>().ok();
    is_held(number) && integer.is_none_or(|integer| integer.unsigned_abs() < TOO_LARGE.into())
}

/// Whether a [`Value`] holds the number exactly.
fn is_held(number: &str) -> bool {
    if number.parse::<i64>().is_ok() || number.parse::<u64>().is_ok() {
        return true;
    }
    let is_whole = !number.contains(['.', 'e', 'E']);
    let float = number.parse::<f64>().ok().filter(|float| float.is_finite());
    // A whole number that became a float would look like a rounded one.
    float.is_some_and(|float| !is_whole && decimal(number) == decimal(&format!("{float:e}")))
}

/// Splits a number into its digits (with the sign, without zeros at either end) and the power of ten of the last digit.
/// Equal numbers give equal results. Returns `None` if the exponent is too large.
fn decimal(number: &str) -> Option<(String, i64)> {
    let (mantissa, power) = number.split_once(['e', 'E']).unwrap_or((number, "0"));
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let power: i64 = power.parse().ok()?;
    let sign = if whole.starts_with('-') { "-" } else { "" };
    let all = format!("{}{fraction}", whole.trim_start_matches('-'));
    let digits = all.trim_start_matches('0').trim_end_matches('0');
    if digits.is_empty() {
        return Some((String::new(), 0));
    }
    let zeros = all.len() - all.trim_end_matches('0').len();
    let power = power
        .checked_sub(i64::try_from(fraction.len()).ok()?)?
        .checked_add(i64::try_from(zeros).ok()?)?;
    Some((format!("{sign}{digits}"), power))
}

#[cfg(test)]
mod tests {
    use quickcheck::quickcheck;
    use serde_json::json;

    use super::*;

    #[test]
    fn what_a_value_holds_is_that_value() {
        let text = r#"{"a": 1, "b": -1.50, "c": "1e400 \" [", "d": [true, null, {"e": 0.1}], "f": 9007199254740991,
            "g": 0.30000000000000004, "h": 1.5e3, "i": 0.00, "j": "\\"}"#;
        let expected = json!({"a": 1, "b": -1.5, "c": "1e400 \" [", "d": [true, null, {"e": 0.1}],
            "f": 9_007_199_254_740_991_u64, "g": 0.1 + 0.2, "h": 1500.0, "i": 0.0, "j": "\\"});
        assert_eq!(Value::Object(fields(text)), expected);
    }

    #[test]
    fn what_no_value_holds_is_its_text() {
        let huge = format!("1{}", "0".repeat(400));
        let nested = format!("{}{}", "[".repeat(200), "]".repeat(200));
        for (text, expected) in [
            (huge.as_str(), json!(huge)),
            ("1e400", json!("1e400")),
            ("1e-400", json!("1e-400")),
            ("1e99999999999999999999", json!("1e99999999999999999999")),
            ("9007199254740992", json!("9007199254740992")),
            ("-9007199254740993", json!("-9007199254740993")),
            (
                r#"{"x": [2047948614742839297]}"#,
                json!({"x": ["2047948614742839297"]}),
            ),
            ("18446744073709551616", json!("18446744073709551616")),
            ("-9223372036854775809", json!("-9223372036854775809")),
            ("12345678901234567.1", json!("12345678901234567.1")),
            (r#"{"x": [1, 1e400]}"#, json!({"x": [1, "1e400"]})),
            (nested.as_str(), json!(nested)),
            (r#""\ud800""#, json!(r#""\ud800""#)),
        ] {
            let read = fields(&format!(r#"{{"it": {text}, "beside": 1}}"#));
            assert_eq!(read.get("it"), Some(&expected), "{text}");
            assert_eq!(read.get("beside"), Some(&json!(1)), "{text}");
        }
    }

    #[test]
    fn what_is_no_object_has_no_fields() {
        for text in ["", "null", "[1]", "1", "{"] {
            assert_eq!(fields(text), MeterFields::new(), "{text}");
        }
    }

    #[test]
    fn what_goes_back_to_the_database_is_a_number_as_far_as_a_value_holds_it() {
        let text =
            r#"{"a": 18446744073709551615, "b": -9223372036854775808, "c": 18446744073709551616}"#;
        let expected = json!({"a": u64::MAX, "b": i64::MIN, "c": "18446744073709551616"});
        assert_eq!(Value::Object(stored_fields(text)), expected);
    }

    quickcheck! {
        fn any_integer_of_a_floats_53_bits_is_a_number_and_any_other_its_text(integer: i64) -> bool {
            let small = integer >> 11;
            let read = fields(&format!(r#"{{"a": {integer}, "b": {small}}}"#));
            let is_safe = (-9_007_199_254_740_991..=9_007_199_254_740_991).contains(&integer);
            let expected = if is_safe { json!(integer) } else { json!(integer.to_string()) };
            read["a"] == expected && (read["b"] == json!(small) || small == -9_007_199_254_740_992)
        }

        fn any_double_and_any_integer_is_held(double: f64, integer: i64, unsigned: u64) -> bool {
            let double = if double.is_finite() { double } else { 0.5 };
            let text = format!(r#"{{"d": {double:e}, "i": {integer}, "u": {unsigned}}}"#);
            Value::Object(stored_fields(&text)) == json!({"d": double, "i": integer, "u": unsigned})
        }
    }
}
