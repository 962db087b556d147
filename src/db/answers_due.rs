//! Which answers a server still owes on one connection.

use std::sync::atomic::{AtomicU64, Ordering};

/// Counts the statements of a connection. A server answers them in order, so with the answer to one of them, it owes
/// none to an earlier one.
#[derive(Debug, Default)]
pub(super) struct AnswersDue {
    sent: AtomicU64,
    answered: AtomicU64,
}

impl AnswersDue {
    /// Notes that a statement is sent. Returns its number, for [`AnswersDue::answered`].
    pub(super) fn sent(&self) -> u64 {
        self.sent.fetch_add(1, Ordering::Relaxed) + 1
    }

    /// Notes that the answer to the statement with this number has come.
    pub(super) fn answered(&self, number: u64) {
        self.answered.fetch_max(number, Ordering::Relaxed);
    }

    /// Whether the server still owes an answer.
    pub(super) fn are_due(&self) -> bool {
        self.answered.load(Ordering::Relaxed) < self.sent.load(Ordering::Relaxed)
    }
}
