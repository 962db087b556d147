//! The clock of a database, told by our own and the distance last seen between the two.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use chrono::{DateTime, TimeDelta, Utc};

use crate::clock;

/// The clock of a database. Until its server was asked once, it is taken to show what ours does. Clones are one clock.
#[derive(Clone, Debug, Default)]
pub struct ServerClock {
    ahead_us: Arc<AtomicI64>,
}

impl ServerClock {
    /// The time there.
    pub fn now(&self) -> DateTime<Utc> {
        let now = clock::now();
        now.checked_add_signed(self.ahead()).unwrap_or(now)
    }

    /// How far it is ahead of ours; negative where it is behind.
    pub fn ahead(&self) -> TimeDelta {
        TimeDelta::microseconds(self.ahead_us.load(Ordering::Relaxed))
    }

    /// Takes note of what it showed just now, in microseconds since 1970.
    pub(super) fn showed(&self, micros: i64) {
        let ahead = micros.saturating_sub(clock::now().timestamp_micros());
        self.ahead_us.store(ahead, Ordering::Relaxed);
    }
}
