//! What every route of the server decides for a token that counts for some tenants only. A route that is not in one
//! of these tables fails a test.

use std::path::{Path, PathBuf};

/// What a route of a process that keeps several tenants answers to a token of one of them.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Decision {
    /// The same to everybody: it tells nothing of a tenant.
    Public,
    /// What is of the token's tenant. The others are unknown.
    OfTenant,
    /// All that it lists and counts is of the token's tenant.
    Filtered,
    /// A tenant must be named; those of the token are.
    TenantRequired,
    /// A call of a tool, which names a tenant. The others are unknown.
    ToolCall,
    /// A conversation, in which tools are called.
    Conversation,
    /// Nothing, as it is about all tenants.
    Refused,
}
use Decision::{Conversation, Filtered, OfTenant, Public, Refused, TenantRequired, ToolCall};

type Table = &'static [(&'static str, Decision)];

/// Every route that the description has.
pub(super) const DESCRIBED: Table = &[
    ("GET /api/local/meter-sync-status", Filtered),
    ("POST /api/local/meter-sync-trigger", TenantRequired),
    ("GET /api/v1/openapi.json", Public),
    ("GET /livez", Public),
    ("GET /readyz", Public),
    ("GET /api/v1/events", Filtered),
    ("GET /api/v1/meters/{key}", TenantRequired),
    ("GET /api/v1/runs", TenantRequired),
    ("GET /api/v1/runs/{id}", TenantRequired),
    ("GET /api/v1/runs/{id}/changes", TenantRequired),
    ("GET /api/v1/runs/{id}/difference", TenantRequired),
    ("GET /api/v1/changes", TenantRequired),
    ("POST /api/v1/runs/{id}/cancel", TenantRequired),
    ("POST /api/v1/pause", TenantRequired),
    ("POST /api/v1/resume", TenantRequired),
    ("GET /api/v1/status", Filtered),
    ("POST /api/v1/sync", TenantRequired),
    ("POST /api/v1/verify", TenantRequired),
    ("GET /api/v1/tenants", Filtered),
    ("GET /api/v1/tenants/{tenant_id}/events", OfTenant),
    ("GET /api/v1/tenants/{tenant_id}/meters/{key}", OfTenant),
    ("GET /api/v1/tenants/{tenant_id}/runs", OfTenant),
    ("GET /api/v1/tenants/{tenant_id}/runs/{id}", OfTenant),
    (
        "GET /api/v1/tenants/{tenant_id}/runs/{id}/changes",
        OfTenant,
    ),
    (
        "GET /api/v1/tenants/{tenant_id}/runs/{id}/difference",
        OfTenant,
    ),
    ("GET /api/v1/tenants/{tenant_id}/changes", OfTenant),
    (
        "POST /api/v1/tenants/{tenant_id}/runs/{id}/cancel",
        OfTenant,
    ),
    ("POST /api/v1/tenants/{tenant_id}/pause", OfTenant),
    ("POST /api/v1/tenants/{tenant_id}/resume", OfTenant),
    ("GET /api/v1/tenants/{tenant_id}/status", OfTenant),
    ("POST /api/v1/tenants/{tenant_id}/sync", OfTenant),
    ("POST /api/v1/tenants/{tenant_id}/verify", OfTenant),
];

/// The folder of a tenant's pages. In a process of one tenant its pages are at the root.
pub(super) const OF_TENANT: &str = "/tenants/{tenant_id}";

/// The routes of the page, with the forms.
const PAGE: Table = &[
    ("GET /", Filtered),
    ("GET /tenants/{tenant_id}", OfTenant),
    ("GET /tenants/{tenant_id}/", OfTenant),
    ("GET /tenants/{tenant_id}/runs", OfTenant),
    ("GET /tenants/{tenant_id}/runs/{id}", OfTenant),
    (
        "GET /tenants/{tenant_id}/runs/{id}/difference?compare_with={id}",
        OfTenant,
    ),
    ("GET /tenants/{tenant_id}/changes", OfTenant),
    ("GET /tenants/{tenant_id}/meters?id={key}", OfTenant),
    ("GET /tenants/{tenant_id}/connections", OfTenant),
    ("POST /tenants/{tenant_id}/connections", OfTenant),
    ("POST /tenants/{tenant_id}/sync", OfTenant),
    ("POST /tenants/{tenant_id}/pause", OfTenant),
    ("POST /tenants/{tenant_id}/resume", OfTenant),
    ("GET /sign-in", Public),
    ("POST /sign-in", Public),
    ("POST /sign-out", Public),
    ("GET /assets/page.css", Public),
];

const MCP: Table = &[
    ("POST /mcp", ToolCall),
    // Without the id of a session, as they are asked here, these tell that it is missing.
    ("GET /mcp", Public),
    ("DELETE /mcp", Public),
];

const SSE: Table = &[
    ("GET /sse", Conversation),
    // Without the id of a conversation.
    ("POST /messages", Public),
];

const METRICS: Table = &[("GET /metrics", Refused)];

const METADATA: Table = &[
    ("GET /.well-known/oauth-protected-resource", Public),
    ("GET /.well-known/oauth-protected-resource/mcp", Public),
];

/// No route has these paths.
const UNKNOWN: Table = &[
    ("GET /no/such/route", Refused),
    ("PUT /no/such/route", Refused),
];

/// The files that mount routes, each with the table of its routes. Those of `rest` are in the description.
const MOUNTED: [(&str, Table); 6] = [
    ("page/mod.rs", PAGE),
    ("mcp/streamable_http.rs", MCP),
    ("mcp/legacy_sse.rs", SSE),
    ("http/mod.rs", METRICS),
    ("http/oauth/resource_metadata.rs", METADATA),
    // It mounts the table of the description.
    ("rest/mod.rs", &[("GET /api/v1/openapi.json", Public)]),
];

/// Every route there is, and paths that no route has.
pub(super) fn all() -> impl Iterator<Item = (&'static str, Decision)> {
    let tables = [DESCRIBED, PAGE, MCP, SSE, METRICS, METADATA, UNKNOWN];
    tables.into_iter().flatten().copied()
}

/// How many paths a table has. A path can have several methods.
fn paths(table: Table) -> usize {
    let mut paths: Vec<&str> = table
        .iter()
        .filter_map(|(line, _)| line.split(' ').nth(1))
        .collect();
    paths.sort_unstable();
    paths.dedup();
    paths.len()
}

fn sources(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).expect("a folder") {
        let path = entry.expect("an entry").path();
        match path.is_dir() {
            true => sources(&path, found),
            false => found.push(path),
        }
    }
}

#[test]
fn no_route_is_mounted_without_a_decision() {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut files = Vec::new();
    sources(&source, &mut files);
    let is_rust = |file: &PathBuf| file.extension().is_some_and(|ending| ending == "rs");
    let is_test = |file: &PathBuf| file.ends_with("tests.rs");
    for file in files.iter().filter(|file| is_rust(file) && !is_test(file)) {
        let text = std::fs::read_to_string(file).expect("a source");
        let calls = [".route(", ".route_service(", ".nest(", ".nest_service("];
        let found: usize = calls.iter().map(|call| text.matches(call).count()).sum();
        let name = file.strip_prefix(&source).expect("a source");
        let table = MOUNTED.iter().find(|(mounts, _)| name == Path::new(mounts));
        let decided = table.map_or(0, |(_, table)| paths(table));
        assert_eq!(
            found,
            decided,
            "{} has other routes: decide what a token of some tenants gets",
            name.display()
        );
    }
}
