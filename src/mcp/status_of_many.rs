//! Answers a request for the status that names no tenant, where the process keeps the meters of several in sync: how
//! many tenants are in which health, and a page of them, the worst first.

use super::caller::Caller;
use super::shorten;
use crate::mirrors::Mirrors;
use crate::mirrors::state::status::Status;
use crate::mirrors::state::tenant_list::TenantsQuery;
use crate::printable;

/// Added to the next step, which names no argument because other surfaces show it, too.
const NAME_ONE: &str = "To ask about one tenant, give its id as `tenant_id`.";

/// Returns the status of all tenants that the caller may see, in at most 8 kB, or in 64 kB if the query asks for a
/// longer list than the default.
pub(super) async fn read(mirrors: &Mirrors, caller: &Caller, query: TenantsQuery) -> Status {
    let is_more = query.limit > TenantsQuery::default().limit;
    let mut status = mirrors.overview(&caller.limit(query)).await;
    status.summary = printable::lines(&status.summary);
    status.next_step = format!("{} {NAME_ONE}", status.next_step);
    let bytes = match is_more {
        true => shorten::MORE_BYTES,
        false => shorten::BYTES,
    };
    shorten::overview(status, bytes)
}
