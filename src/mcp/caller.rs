//! Knows who asks, and finds the mirror of a request among those that the caller may see.
//!
//! Over stdio there is no token, and the caller may see every tenant. A token that is limited to tenants sees no other
//! one: a request for it is answered like one for a tenant that does not exist.

use axum::http::request::Parts;
use rmcp::RoleServer;
use rmcp::model::Implementation;
use rmcp::service::RequestContext;

use super::page_address::PageAddress;
use crate::arguments;
use crate::config::Token;
use crate::error::Failure;
use crate::mirrors::state::status::StatusQuery;
use crate::mirrors::state::tenant_list::TenantsQuery;
use crate::mirrors::{Mirror, Mirrors, visible_tenants};
use crate::trace_id::TraceId;

/// Returns the caller's token; `None` over stdio, or if no tokens are set.
pub(super) fn caller_token(context: &RequestContext<RoleServer>) -> Option<&Token> {
    context.extensions.get::<Parts>()?.extensions.get::<Token>()
}

/// Returns the name by which the log shows the caller: its token's, or else the client's with its version.
pub(super) fn caller_name(context: &RequestContext<RoleServer>) -> Option<String> {
    let name = caller_token(context).and_then(|token| token.name.clone());
    name.or_else(|| context.client_info().as_ref().map(actor))
}

fn actor(client: &Implementation) -> String {
    arguments::actor(&format!("{} {}", client.name, client.version))
}

/// Returns the trace that the request belongs to: from the MCP metadata, or else from the HTTP headers.
pub(super) fn caller_trace(context: &RequestContext<RoleServer>) -> Option<TraceId> {
    let told = context.meta.get_traceparent();
    told.and_then(TraceId::of_traceparent)
        .or_else(|| TraceId::of_headers(&context.extensions.get::<Parts>()?.headers))
}

/// Who sent a request.
#[derive(Clone, Debug)]
pub(super) struct Caller {
    token: Option<Token>,
    page: PageAddress,
}

impl Caller {
    /// Reads the caller from its request.
    pub(super) fn of(context: &RequestContext<RoleServer>, mirrors: &Mirrors) -> Self {
        Self {
            token: caller_token(context).cloned(),
            page: PageAddress::of(context, mirrors.config()),
        }
    }

    /// Finds the mirror of a tenant; `None` finds the only one.
    ///
    /// Fails with `TENANT_REQUIRED` if there are several and none is named, and with `TENANT_UNKNOWN` if the tenant is
    /// none of those that the caller may see.
    pub(super) async fn find(
        &self,
        mirrors: &Mirrors,
        tenant: Option<&str>,
    ) -> Result<Target, Failure> {
        let mirror = mirrors.find_for(tenant, self.token.as_ref()).await?;
        let named = mirror.mapping().tenant.as_ref();
        let named = named.filter(|_| mirrors.only().is_none());
        let tenant = named.map(|id| id.as_str().to_owned());
        let page = self.page.of_tenant(tenant.as_deref());
        Ok(Target {
            mirror,
            tenant,
            page,
        })
    }

    /// Limits a query for the status of many mirrors to the tenants that the caller may see.
    pub(super) fn limit(&self, query: TenantsQuery) -> TenantsQuery {
        TenantsQuery {
            visible: visible_tenants(self.token.as_ref()),
            ..query
        }
    }
}

/// The mirror that a request is about.
#[derive(Clone, Debug)]
pub(super) struct Target {
    pub(super) mirror: Mirror,
    /// The tenant's id, as the settings spell it; `None` if the process keeps one mirror, so that nobody has to name it.
    pub(super) tenant: Option<String>,
    /// Where a person finds this mirror.
    pub(super) page: PageAddress,
}

impl Target {
    /// Names the tenant for a person, as in `7 (Acme)`; `None` if the process keeps one mirror.
    pub(super) async fn named(&self) -> Option<String> {
        let id = self.tenant.clone()?;
        let query = StatusQuery {
            history: 0,
            ..StatusQuery::default()
        };
        let status = self.mirror.status(&query).await.ok();
        let name = status.and_then(|status| status.tenant?.name);
        Some(match name {
            Some(name) => format!("{id} ({name})"),
            None => id,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_actor_is_one_short_line() {
        let client = Implementation::new("claude\ncode", "2.1".repeat(100));
        let actor = actor(&client);
        assert!(actor.starts_with("claude code 2.1"), "{actor}");
        assert_eq!(actor.chars().count(), 100);
    }
}
