//! Whatever goes wrong, a run ends in an error code with a remedy, a row in the log, and the meters
//! as they were; and the process goes on serving.

mod broken_connections;
mod connection_failures;
mod database_restrictions;
mod hygiene;
mod local_publications;
mod matrix;
mod processes;
mod raised_errors;
mod role_limits;
mod schemas;
mod server_timeouts;
mod slow_status_queries;
mod timeouts;
mod views_and_queries;
mod write_transaction;
