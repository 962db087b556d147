//! The bounds of the arguments that several surfaces take, and the JSON schema of an integer argument.

use std::ops::RangeInclusive;

use serde_json::{Value, json};

use super::read_arguments::{Arguments, BadArgument};

/// The bounds of `history`: how many past runs a status lists.
pub(crate) const HISTORY: IntegerArgument = IntegerArgument::new("history", 0..=50);
/// The bounds of `changes_limit`: how many changes, or how many tenants, a status lists.
pub(crate) const CHANGES_LIMIT: IntegerArgument = IntegerArgument::new("changes_limit", 1..=200);
/// The bounds of `limit`: how many tenants one page of their list has.
pub(crate) const TENANTS_LIMIT: IntegerArgument = IntegerArgument::new("limit", 1..=200);
/// The bounds of `wait_seconds`: for how many seconds a request waits for the end of its run. Proxies and MCP hosts
/// commonly give up after 60 seconds.
pub(crate) const WAIT_SECONDS: IntegerArgument = IntegerArgument::new("wait_seconds", 0..=50);

/// The longest tenant id, search text or `before` argument of a list, in characters.
pub(crate) const TENANT_CHARS: usize = 200;
/// The longest reason for a sync, in characters.
pub(crate) const REASON_CHARS: usize = 200;
/// The longest idempotency key, in characters.
pub(crate) const IDEMPOTENCY_KEY_CHARS: usize = 200;

/// An argument that is a whole number within a range.
#[derive(Debug)]
pub(crate) struct IntegerArgument {
    name: &'static str,
    range: RangeInclusive<u32>,
}

impl IntegerArgument {
    pub(crate) const fn new(name: &'static str, range: RangeInclusive<u32>) -> Self {
        Self { name, range }
    }

    /// Reads the argument. Returns `default` if the argument is absent.
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

    /// The JSON schema of the argument.
    pub(crate) fn schema(&self, default: u32) -> Value {
        json!({"type": "integer", "minimum": self.min(), "maximum": self.max(), "default": default})
    }
}
