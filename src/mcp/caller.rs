//! Reads what the transport says about the caller: its token and its trace.

use axum::http::request::Parts;
use rmcp::RoleServer;
use rmcp::service::RequestContext;

use crate::config::Token;
use crate::trace::TraceId;

/// Returns the caller's token; `None` over stdio, or if no tokens are set.
pub(super) fn caller_token(context: &RequestContext<RoleServer>) -> Option<&Token> {
    context.extensions.get::<Parts>()?.extensions.get::<Token>()
}

/// Returns the trace that the request belongs to: from the MCP metadata, or else from the HTTP headers.
pub(super) fn caller_trace(context: &RequestContext<RoleServer>) -> Option<TraceId> {
    let told = context.meta.get_traceparent();
    told.and_then(TraceId::of_traceparent)
        .or_else(|| TraceId::of_headers(&context.extensions.get::<Parts>()?.headers))
}
