//! Whatever goes wrong, a run ends in an error code with a remedy, a row in the log, and the meters
//! as they were; and the process goes on serving.

mod broken_connections;
mod connection_failures;
mod event_triggers_and_row_security;
mod local_publications;
mod many_faults_and_requests;
mod matrix;
mod processes;
mod raised_errors;
mod role_time_limits;
mod schemas;
mod server_timeouts;
mod slow_status_starves_no_run;
mod timeouts;
mod views_and_queries;
mod write_transaction;
