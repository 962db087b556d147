//! A cron line in a named time zone, translated and checked.

/// A schedule that fires: a cron line in a named time zone.
#[derive(Clone, Debug)]
pub struct Schedule {}
