//! The integration tests, one binary; files are named by subject.

#[cfg(test)]
mod support;

#[cfg(test)]
mod approved_tools_and_manifest;
#[cfg(test)]
mod architecture;
#[cfg(test)]
mod check_findings;
#[cfg(test)]
mod check_sequences;
#[cfg(test)]
mod citus;
#[cfg(test)]
mod cli;
#[cfg(test)]
mod column_drift;
#[cfg(test)]
mod demo;
#[cfg(test)]
mod docs;
#[cfg(test)]
mod embedded_postgres;
#[cfg(test)]
mod failover;
#[cfg(test)]
mod faults;
#[cfg(test)]
mod fuzz;
#[cfg(test)]
mod gone_meters;
#[cfg(test)]
mod grants;
#[cfg(test)]
mod heartbeat;
#[cfg(test)]
mod http;
#[cfg(test)]
mod import_circles;
#[cfg(test)]
mod lacking_functions;
#[cfg(test)]
mod libpq;
#[cfg(test)]
mod log_read_costs;
#[cfg(test)]
mod majors;
#[cfg(test)]
mod many;
#[cfg(test)]
mod mcp;
#[cfg(test)]
mod meter_history;
#[cfg(test)]
mod metrics;
#[cfg(test)]
mod monitoring;
#[cfg(test)]
mod oauth;
#[cfg(test)]
mod pause;
#[cfg(test)]
mod pinned;
#[cfg(test)]
mod pooler;
#[cfg(test)]
mod properties;
#[cfg(test)]
mod replica_simulation;
#[cfg(test)]
mod restored_remote;
#[cfg(test)]
mod round_trips;
#[cfg(test)]
mod run_costs;
#[cfg(test)]
mod schedule;
#[cfg(test)]
mod schedule_catch_up;
#[cfg(test)]
mod simulation;
#[cfg(test)]
mod soak;
#[cfg(test)]
mod status_freshness;
#[cfg(test)]
mod sync;
#[cfg(test)]
mod verification;
