//! Tells the time of a database server, from this machine's clock and the last known difference between the two clocks.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use chrono::{DateTime, TimeDelta, Utc};

use crate::machine_clock;

/// The clock of a database server. Until a transaction has read the server's time once, it shows this machine's time.
/// Clones share one clock.
#[derive(Clone, Debug, Default)]
pub struct ServerClock {
    ahead_us: Arc<AtomicI64>,
}

impl ServerClock {
    /// The current time on the server.
    pub fn now(&self) -> DateTime<Utc> {
        let now = machine_clock::now();
        now.checked_add_signed(self.ahead()).unwrap_or(now)
    }

    /// How far the server's clock is ahead of the clock of this machine; negative if it is behind.
    pub fn ahead(&self) -> TimeDelta {
        TimeDelta::microseconds(self.ahead_us.load(Ordering::Relaxed))
    }

    /// Sets this clock to the time that the server has just reported, in microseconds since 1970.
    pub(super) fn showed(&self, micros: i64) {
        let ahead = micros.saturating_sub(machine_clock::now().timestamp_micros());
        self.ahead_us.store(ahead, Ordering::Relaxed);
    }
}
