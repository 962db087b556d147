//! Who calls: what the transport says of them.

use axum::http::request::Parts;
use rmcp::RoleServer;
use rmcp::service::RequestContext;

use crate::config::Token;
use crate::trace::TraceId;

/// The token the caller came with; none over stdio and where no tokens are set.
pub(super) fn caller_token(context: &RequestContext<RoleServer>) -> Option<&Token> {
    context.extensions.get::<Parts>()?.extensions.get::<Token>()
}

/// The trace the caller's request belongs to: as MCP says it, else as HTTP does.
pub(super) fn caller_trace(context: &RequestContext<RoleServer>) -> Option<TraceId> {
    let told = context.meta.get_traceparent();
    told.and_then(TraceId::of_traceparent)
        .or_else(|| TraceId::of_headers(&context.extensions.get::<Parts>()?.headers))
}
