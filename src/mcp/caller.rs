//! Finds out who sent a request, and which mirror (the meters of one tenant) the request is about.
//!
//! Over stdio there is no token, and the caller may see every tenant. A token that is limited to some tenants sees only
//! those: a request for another tenant gets the same answer as for a tenant that does not exist.

use axum::http::request::Parts;
use rmcp::RoleServer;
use rmcp::model::Implementation;
use rmcp::service::RequestContext;

use super::page_address::PageAddress;
use crate::arguments;
use crate::config::Token;
use crate::error::Failure;
use crate::mirrors::{Mirror, Mirrors, visible_tenants};
use crate::reports::status::StatusQuery;
use crate::reports::tenant_list::TenantsQuery;
use crate::trace_id::TraceId;

/// Returns the caller's token; `None` over stdio, or if the server requires no token.
pub(super) fn caller_token(context: &RequestContext<RoleServer>) -> Option<&Token> {
    context.extensions.get::<Parts>()?.extensions.get::<Token>()
}

/// Returns the caller's name for the run log: the name of the token, or else the client's name and version. `None` if
/// the client gave neither.
pub(super) fn caller_name(context: &RequestContext<RoleServer>) -> Option<String> {
    let name = caller_token(context).and_then(|token| token.name.clone());
    name.or_else(|| context.client_info().as_ref().map(actor))
}

fn actor(client: &Implementation) -> String {
    arguments::actor(&format!("{} {}", client.name, client.version))
}

/// Returns the id of the trace that the request belongs to: from the MCP metadata, or else from the HTTP headers.
/// `None` if neither has one.
pub(super) fn caller_trace(context: &RequestContext<RoleServer>) -> Option<TraceId> {
    let told = context.meta.get_traceparent();
    told.and_then(TraceId::of_traceparent)
        .or_else(|| TraceId::of_headers(&context.extensions.get::<Parts>()?.headers))
}

/// The sender of a request: the token, and the address at which this sender reaches the web pages.
#[derive(Clone, Debug)]
pub(super) struct Caller {
    token: Option<Token>,
    page: PageAddress,
}

impl Caller {
    /// Reads from a request who sent it.
    pub(super) fn of(context: &RequestContext<RoleServer>, mirrors: &Mirrors) -> Self {
        Self {
            token: caller_token(context).cloned(),
            page: PageAddress::of(context, mirrors.config()),
        }
    }

    /// Finds the mirror of `tenant` (its meters in a local table); if `tenant` is `None`, the only mirror of the
    /// process.
    ///
    /// Fails with `TENANT_REQUIRED` if the process keeps several mirrors and `tenant` is `None`. Fails with
    /// `TENANT_UNKNOWN` if the tenant does not exist or the caller may not see it.
    pub(super) async fn find(
        &self,
        mirrors: &Mirrors,
        tenant: Option<&str>,
    ) -> Result<TargetMirror, Failure> {
        let mirror = mirrors.find_for(tenant, self.token.as_ref()).await?;
        let named = mirror.mapping().tenant.as_ref();
        let named = named.filter(|_| mirrors.only().is_none());
        let tenant = named.map(|id| id.as_str().to_owned());
        let page = self.page.of_tenant(tenant.as_deref());
        Ok(TargetMirror {
            mirror,
            tenant,
            page,
        })
    }

    /// Returns the query, limited to the tenants that the caller may see.
    pub(super) fn limit(&self, query: TenantsQuery) -> TenantsQuery {
        TenantsQuery {
            visible: visible_tenants(self.token.as_ref()),
            ..query
        }
    }
}

/// The mirror (the meters of one tenant) that a request is about.
#[derive(Clone, Debug)]
pub(super) struct TargetMirror {
    pub(super) mirror: Mirror,
    /// The tenant's id; `None` if the process keeps one mirror, so that no request needs to name the tenant.
    pub(super) tenant: Option<String>,
    /// The address of the tenant's web pages.
    pub(super) page: PageAddress,
}

impl TargetMirror {
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
