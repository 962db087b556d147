//! Reads the arguments of one request by name and checks them. An argument with an unknown name is an error.
//!
//! Neither clients nor serde enforce the ranges and lengths in a JSON Schema, so this module checks every bound. A
//! known argument with the value `null` counts as absent, because some clients send `null` for an optional argument.

use std::ops::RangeInclusive;

use serde_json::{Map, Value};

use super::clean_caller_text::{nearest, one_line, shorten};
use crate::model::RunId;

/// 2^53: a 64-bit float holds every whole number up to this one exactly.
const LARGEST_EXACT: f64 = 9_007_199_254_740_992.0;

/// The length of a run id in characters: a UUID in its usual form, with hyphens.
const RUN_ID_CHARS: usize = 36;

/// Why an argument is refused, as one sentence for the caller.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct BadArgument(pub(crate) String);

/// The arguments of one request. Each method that reads an argument by name removes it; what is left at the end is
/// unknown. The names that were asked for are kept, for the error about an unknown one.
#[derive(Debug)]
pub(crate) struct Arguments {
    left: Map<String, Value>,
    taken: Vec<&'static str>,
}

impl Arguments {
    pub(crate) fn new(given: Option<Map<String, Value>>) -> Self {
        Self {
            left: given.unwrap_or_default(),
            taken: Vec::new(),
        }
    }

    pub(crate) fn boolean(
        &mut self,
        name: &'static str,
        default: bool,
    ) -> Result<bool, BadArgument> {
        match self.take(name) {
            None => Ok(default),
            Some(Value::Bool(value)) => Ok(value),
            Some(other) => Err(wrong(name, "true or false", &other)),
        }
    }

    /// Reads the argument `name`, which must be a whole number within `range`. Returns `default` if it is absent.
    pub(crate) fn integer(
        &mut self,
        name: &'static str,
        range: RangeInclusive<u32>,
        default: u32,
    ) -> Result<u32, BadArgument> {
        let Some(value) = self.take(name) else {
            return Ok(default);
        };
        whole(&value)
            .filter(|number| range.contains(number))
            .ok_or_else(|| {
                let expected = format!("a whole number from {} to {}", range.start(), range.end());
                wrong(name, &expected, &value)
            })
    }

    /// Reads the argument `name`, which must be a text of at most `max_chars` characters. Returns the text on one line;
    /// `None` if it is absent or blank.
    pub(crate) fn text(
        &mut self,
        name: &'static str,
        max_chars: usize,
    ) -> Result<Option<String>, BadArgument> {
        let text = self.text_or_blank(name, max_chars)?;
        Ok(text.filter(|text| !text.is_empty()))
    }

    /// Reads the argument `name` as [`Self::text`] does, but returns an empty text if it is blank.
    pub(super) fn text_or_blank(
        &mut self,
        name: &'static str,
        max_chars: usize,
    ) -> Result<Option<String>, BadArgument> {
        let expected = format!("text of at most {max_chars} characters");
        match self.take(name) {
            None => Ok(None),
            Some(Value::String(text)) if text.chars().count() <= max_chars => {
                Ok(Some(one_line(&text)))
            }
            Some(Value::String(text)) => Err(BadArgument(format!(
                "`{name}` must be {expected}, not {}.",
                text.chars().count()
            ))),
            Some(other) => Err(wrong(name, &expected, &other)),
        }
    }

    /// Reads the argument `name`, which must be an id of at most `max_chars` characters. Returns `None` if it is absent
    /// or blank. A JSON number without a fraction is accepted and returned as text, because language models send
    /// numeric ids as numbers even if the schema asks for text.
    pub(crate) fn id(
        &mut self,
        name: &'static str,
        max_chars: usize,
    ) -> Result<Option<String>, BadArgument> {
        let Some(number) = self.left.get(name).and_then(digits) else {
            return self.text(name, max_chars);
        };
        self.take(name);
        Ok(Some(number))
    }

    /// Reads the argument `name`, which must be the id of a run (a UUID). Returns `None` if it is absent.
    pub(crate) fn run_id(&mut self, name: &'static str) -> Result<Option<RunId>, BadArgument> {
        let Some(text) = self.text(name, RUN_ID_CHARS)? else {
            return Ok(None);
        };
        let refused = || {
            let text = shorten(&text);
            BadArgument(format!(
                "`{name}` must be the id of a run (a UUID), not {text}."
            ))
        };
        run_id(&text).map(Some).ok_or_else(refused)
    }

    /// Reads the argument `name` from the query of a URL, where it is a text of at most `max_chars` characters, such as
    /// a search text. Accepts a number or boolean too, and returns it as text, because the parser of queries turns a
    /// text such as `7` or `true` into one. Returns `None` if it is absent.
    pub(crate) fn query_text(
        &mut self,
        name: &'static str,
        max_chars: usize,
    ) -> Result<Option<String>, BadArgument> {
        if let Some(given @ (Value::Number(_) | Value::Bool(_))) = self.left.get(name) {
            let text = given.to_string();
            self.left.insert(name.to_owned(), Value::String(text));
        }
        self.text(name, max_chars)
    }

    /// Reads the argument `name`, which must be one of `words`. Returns `None` if it is absent.
    pub(crate) fn choice(
        &mut self,
        name: &'static str,
        words: &[&'static str],
    ) -> Result<Option<&'static str>, BadArgument> {
        let Some(value) = self.take(name) else {
            return Ok(None);
        };
        let word = words.iter().find(|word| value == **word);
        let expected = || format!("one of {}", words.join(", "));
        word.copied()
            .map(Some)
            .ok_or_else(|| wrong(name, &expected(), &value))
    }

    /// Returns an error if the request has an argument that no method has read. Call this after all arguments were
    /// read.
    pub(crate) fn refuse_unknown(self) -> Result<(), BadArgument> {
        let Some(unknown) = self.left.keys().next() else {
            return Ok(());
        };
        let hint = match nearest(unknown, self.taken.iter().copied()) {
            Some(known) => format!("did you mean `{known}`?"),
            None => format!("the arguments are {}.", self.taken.join(", ")),
        };
        Err(BadArgument(format!(
            "There is no argument `{}`; {hint}",
            shorten(unknown)
        )))
    }

    fn take(&mut self, name: &'static str) -> Option<Value> {
        self.taken.push(name);
        self.left.remove(name).filter(|value| !value.is_null())
    }
}

/// Parses the id of a run. Returns `None` if the text is not a UUID in its usual form, with hyphens.
pub(crate) fn run_id(text: &str) -> Option<RunId> {
    let id = text.parse().ok();
    id.filter(|_| text.len() == RUN_ID_CHARS)
}

/// Converts a JSON number to `u32`; `None` if it is not a whole number or does not fit. A number such as `5.0` counts
/// as whole, as in JSON Schema (draft 2020-12, section 4.2.3 of its core).
fn whole(value: &Value) -> Option<u32> {
    if let Some(number) = value.as_u64() {
        return u32::try_from(number).ok();
    }
    let given = value.as_f64()?;
    let number = given as u32; // cuts fractions, saturates
    (f64::from(number) == given).then_some(number)
}

/// Returns the digits of a JSON number, without a fraction or an exponent. Returns `None` if the value is not a whole
/// number, or if it was parsed as a float that is too large to be exact.
fn digits(value: &Value) -> Option<String> {
    if value.is_i64() || value.is_u64() {
        return Some(value.to_string());
    }
    let given = value.as_f64()?;
    let whole = given as i64; // cuts fractions, saturates
    (whole as f64 == given && given.abs() <= LARGEST_EXACT).then(|| whole.to_string())
}

fn wrong(name: &str, expected: &str, given: &Value) -> BadArgument {
    BadArgument(format!(
        "`{name}` must be {expected}, not {}.",
        shorten(&given.to_string())
    ))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn arguments(given: &Value) -> Arguments {
        Arguments::new(given.as_object().cloned())
    }

    #[test]
    fn an_absent_or_null_argument_takes_its_default() {
        let mut given = arguments(&json!({"history": null}));
        assert_eq!(given.integer("history", 0..=50, 5), Ok(5));
        assert_eq!(given.boolean("dry_run", false), Ok(false));
        assert_eq!(given.text("reason", 200), Ok(None));
        assert_eq!(given.refuse_unknown(), Ok(()));
    }

    /// JSON has only one type of numbers, and some languages write the whole number 5 as `5.0`.
    #[test]
    fn a_whole_number_is_one_however_it_is_written() {
        for text in ["5", "5.0", "5e0", "0.5e1"] {
            let given: Value = serde_json::from_str(text).expect("JSON");
            let mut given = arguments(&json!({"history": given}));
            assert_eq!(given.integer("history", 0..=50, 1), Ok(5), "{text}");
        }
    }

    #[test]
    fn a_number_out_of_range_is_refused_with_the_range_and_the_number() {
        for given in [json!(51), json!(-1), json!(2.5), json!("5"), json!([1])] {
            let error = arguments(&json!({"history": given}))
                .integer("history", 0..=50, 5)
                .expect_err("out of range");
            assert!(
                error
                    .0
                    .starts_with("`history` must be a whole number from 0 to 50, not ")
            );
            assert!(error.0.contains(&given.to_string()), "{}", error.0);
        }
    }

    #[test]
    fn text_is_counted_in_characters_and_brought_to_one_line() {
        let snow = "雪".repeat(200);
        assert_eq!(
            arguments(&json!({"reason": snow})).text("reason", 200),
            Ok(Some(snow))
        );
        assert_eq!(
            arguments(&json!({"reason": " a\u{0}b\nc "})).text("reason", 200),
            Ok(Some("a b c".to_owned()))
        );
        let error = arguments(&json!({"reason": "x".repeat(201)})).text("reason", 200);
        assert_eq!(
            error,
            Err(BadArgument(
                "`reason` must be text of at most 200 characters, not 201.".to_owned()
            ))
        );
    }

    #[test]
    fn an_id_is_read_from_text_and_from_a_whole_number() {
        let read = |given: Value| arguments(&json!({"tenant_id": given})).id("tenant_id", 9);
        for (given, id) in [
            (json!("7"), Some("7")),
            (json!(" north "), Some("north")),
            (json!(7), Some("7")),
            (json!(-7), Some("-7")),
            (json!(7.0), Some("7")),
            (
                json!(18_446_744_073_709_551_615_u64),
                Some("18446744073709551615"),
            ),
            (json!(""), None),
            (Value::Null, None),
        ] {
            assert_eq!(read(given.clone()), Ok(id.map(str::to_owned)), "{given}");
        }
        for given in [
            json!(7.5),
            json!(1e300),
            json!(true),
            json!([7]),
            json!("0123456789"),
        ] {
            let error = read(given.clone()).expect_err("no id");
            assert!(
                error.0.starts_with("`tenant_id` must be text"),
                "{}",
                error.0
            );
        }
    }

    #[test]
    fn an_unknown_argument_is_named_together_with_its_nearest() {
        let mut given = arguments(&json!({"dryrun": true}));
        assert_eq!(given.boolean("dry_run", false), Ok(false));
        assert_eq!(given.text("reason", 200), Ok(None));
        assert_eq!(
            given.refuse_unknown(),
            Err(BadArgument(
                "There is no argument `dryrun`; did you mean `dry_run`?".to_owned()
            ))
        );
    }

    #[test]
    fn an_argument_like_no_other_is_answered_with_all_names() {
        let mut given = arguments(&json!({"zzzz": 1}));
        assert_eq!(given.boolean("dry_run", false), Ok(false));
        assert_eq!(given.text("reason", 200), Ok(None));
        assert_eq!(
            given.refuse_unknown(),
            Err(BadArgument(
                "There is no argument `zzzz`; the arguments are dry_run, reason.".to_owned()
            ))
        );
    }
}
