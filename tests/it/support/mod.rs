//! What the tests share.

pub(crate) mod breakable_site;
pub(crate) mod debian_packages;
pub(crate) mod event_stream;
pub(crate) mod http_server;
pub(crate) mod json_schema;
pub(crate) mod pgbouncer;
pub(crate) mod postgres;
pub(crate) mod process_resources;
pub(crate) mod program;
pub(crate) mod proxy;
pub(crate) mod run_hold;
pub(crate) mod scrape;
pub(crate) mod site;
pub(crate) mod standby;
pub(crate) mod stateless_request;
pub(crate) mod stepped_clock;
pub(crate) mod test_size;
pub(crate) mod unconfigured_router;
pub(crate) mod wait;
