//! Builds the status of all tenants, for a process that keeps several mirrors and a request that names no tenant: the
//! number of tenants in each health state, and a page of the tenants, the worst first.

use super::caller::Caller;
use super::shorten_tool_result;
use crate::make_printable;
use crate::mirrors::Mirrors;
use crate::reports::status::Status;
use crate::reports::tenant_list::TenantsQuery;

/// Added to the `next_step` of the status. `next_step` itself names no MCP argument, because the web pages and the REST
/// API show it as well.
const NAME_ONE: &str = "To ask about one tenant, give its id as `tenant_id`.";

/// Returns the status of all tenants that the caller may see. The answer has at most 8 kB, or 64 kB if the query asks
/// for a longer list than by default.
pub(super) async fn read(mirrors: &Mirrors, caller: &Caller, query: TenantsQuery) -> Status {
    let is_more = query.limit > TenantsQuery::default().limit;
    let mut status = mirrors.overview(&caller.limit(query)).await;
    status.summary = make_printable::lines(&status.summary);
    status.next_step = format!("{} {NAME_ONE}", status.next_step);
    let bytes = match is_more {
        true => shorten_tool_result::MORE_BYTES,
        false => shorten_tool_result::BYTES,
    };
    shorten_tool_result::overview(status, bytes)
}
