//! The bounds of request arguments that MCP, the REST API and other parts of the program have in common, and a type for
//! an argument that is a whole number.

use std::ops::RangeInclusive;

use serde_json::{Value, json};

use super::arguments_by_name::{Arguments, BadArgument};

/// The argument `history`: how many past runs the answer to a request for the status lists at most.
pub(crate) const HISTORY: IntegerArgument = IntegerArgument::new("history", 0..=50);
/// The argument `changes_limit`: how many changes the answer to a request for the status lists at most. In the status
/// of all tenants, it limits the tenants instead.
pub(crate) const CHANGES_LIMIT: IntegerArgument = IntegerArgument::new("changes_limit", 1..=200);
/// The argument `limit` of a request for the list of tenants: how many tenants one answer lists at most.
pub(crate) const TENANTS_LIMIT: IntegerArgument = IntegerArgument::new("limit", 1..=200);
/// The argument `limit` of a request for changes: how many one answer lists at most. [`LISTED_CHANGES`] is its default.
pub(crate) const LISTED_CHANGES_LIMIT: IntegerArgument = IntegerArgument::new("limit", 1..=1000);
/// How many changes one answer lists, if the request names no limit.
pub(crate) const LISTED_CHANGES: u32 = 100;
/// The argument `wait_seconds` of a request for a run: how many seconds the answer waits at most for the end of the
/// run. The maximum is below 60 seconds, after which proxies and MCP hosts commonly give up.
pub(crate) const WAIT_SECONDS: IntegerArgument = IntegerArgument::new("wait_seconds", 0..=50);

/// The longest tenant id, search text, or `before` argument (which says where a page of a list begins), in characters.
pub(crate) const TENANT_CHARS: usize = 200;
/// The longest text that gives the reason of a requested run, in characters.
pub(crate) const REASON_CHARS: usize = 200;
/// The longest idempotency key of a request for a run, in characters.
pub(crate) const IDEMPOTENCY_KEY_CHARS: usize = 200;

/// A request argument that is a whole number within a range.
#[derive(Debug)]
pub(crate) struct IntegerArgument {
    name: &'static str,
    range: RangeInclusive<u32>,
}

impl IntegerArgument {
    pub(crate) const fn new(name: &'static str, range: RangeInclusive<u32>) -> Self {
        Self { name, range }
    }

    /// Reads the argument from the request `given`. Returns `default` if the argument is absent. Error: the value is
    /// not a whole number within the range.
    pub(crate) fn read(&self, given: &mut Arguments, default: u32) -> Result<u32, BadArgument> {
        given.integer(self.name, self.range.clone(), default)
    }

    /// The smallest number that is accepted.
    pub(crate) const fn min(&self) -> u32 {
        *self.range.start()
    }

    /// The largest number that is accepted.
    pub(crate) const fn max(&self) -> u32 {
        *self.range.end()
    }

    /// Returns the JSON schema of the argument, with its range and the given default.
    pub(crate) fn schema(&self, default: u32) -> Value {
        json!({"type": "integer", "minimum": self.min(), "maximum": self.max(), "default": default})
    }
}
