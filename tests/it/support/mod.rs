//! What the tests share.

pub(crate) mod broken;
pub(crate) mod debian;
pub(crate) mod events;
pub(crate) mod held;
pub(crate) mod pgbouncer;
pub(crate) mod postgres;
pub(crate) mod processes;
pub(crate) mod program;
pub(crate) mod proxy;
pub(crate) mod schema;
pub(crate) mod scrape;
pub(crate) mod served;
pub(crate) mod site;
pub(crate) mod size;
pub(crate) mod standby;
pub(crate) mod stateless;
pub(crate) mod stepped_clock;
pub(crate) mod unconfigured;
pub(crate) mod wait;
