//! The HTTP side over real connections and real databases.

mod connections;
mod guards;
mod incomplete_bodies;
mod legacy_endpoints;
mod mcp_sessions;
mod page;
mod tenants;
mod traces;
mod v1;

/// The two endpoints of the system that meter-sync grew from.
const STATUS: &str = "GET /api/local/meter-sync-status";
const TRIGGER: &str = "POST /api/local/meter-sync-trigger";
