//! A cron line in a named time zone, translated and checked.

/// A schedule that fires: a cron line in a named time zone.
#[derive(Clone, Debug)]
pub struct Schedule {}
impl Schedule {
    /// .
    pub fn next_after(
        &self,
        _t: chrono::DateTime<chrono::Utc>,
    ) -> Option<chrono::DateTime<chrono::Utc>> {
        None
    }
    /// .
    pub fn line(&self) -> &str {
        ""
    }
    /// .
    pub fn zone(&self) -> chrono_tz::Tz {
        chrono_tz::UTC
    }
}
