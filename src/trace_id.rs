//! Reads the trace id of a request from its W3C `traceparent` header
//! (<https://www.w3.org/TR/trace-context/#traceparent-header>).
//!
//! Only the trace id is used, for the logs. No span is sent anywhere, so the parent id in the header is not needed. A
//! malformed header is ignored.

use std::num::NonZeroU128;

use axum::http::HeaderMap;
use tracing::Span;

const HEADER: &str = "traceparent";

/// The length of a `traceparent` header of version 00 in characters. The header is
/// `00-<trace id, 32 digits>-<parent id, 16 digits>-<flags, 2 digits>`.
const HEADER_CHARS: usize = 55;

/// The id of a trace, which all requests that belong together share.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TraceId(NonZeroU128);

/// Returns a `tracing` span in which to handle a request, so that each log line of the request contains the trace id.
/// Without a trace id, the span is disabled.
pub fn span(trace: Option<TraceId>) -> Span {
    trace.map_or_else(
        Span::none,
        |trace| tracing::info_span!("request", trace.id = %trace),
    )
}

impl TraceId {
    /// Returns the trace id from the headers of an HTTP request; `None` if `traceparent` is missing, malformed, or
    /// occurs more than once.
    pub fn of_headers(headers: &HeaderMap) -> Option<Self> {
        let mut values = headers.get_all(HEADER).iter();
        let only = values.next().filter(|_| values.next().is_none())?;
        Self::of_traceparent(only.to_str().ok()?)
    }

    /// Returns the trace id from the text of a `traceparent` header; `None` if the text is malformed. In a later
    /// version of the format, the text may be longer, but begins in the same way.
    pub fn of_traceparent(text: &str) -> Option<Self> {
        let (known, more) = text.split_at_checked(HEADER_CHARS)?;
        let mut parts = known.split('-');
        let (version, trace) = (parts.next()?, parts.next()?);
        let (parent, flags) = (parts.next()?, parts.next()?);
        let version = hexadecimal(version, 2)?;
        let is_known = match version {
            0 => more.is_empty(),
            0xff => false,
            _ => more.is_empty() || more.starts_with('-'),
        };
        let trace = NonZeroU128::new(hexadecimal(trace, 32)?)?;
        let has_parent = hexadecimal(parent, 16)? != 0;
        hexadecimal(flags, 2)?;
        (is_known && has_parent && parts.next().is_none()).then_some(Self(trace))
    }
}

impl std::fmt::Display for TraceId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}

/// Parses exactly `digits` lower-case hexadecimal digits; `None` for any other text.
fn hexadecimal(text: &str, digits: usize) -> Option<u128> {
    let is_digit = |byte: u8| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
    let is_number = text.len() == digits && text.bytes().all(is_digit);
    u128::from_str_radix(text, 16).ok().filter(|_| is_number)
}

#[cfg(test)]
mod tests {
    use super::*;

    const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";

    fn id(text: &str) -> Option<String> {
        TraceId::of_traceparent(text).map(|id| id.to_string())
    }

    #[test]
    fn the_trace_is_taken_and_keeps_its_leading_zeros() {
        let given = format!("00-{TRACE}-b7ad6b7169203331-01");
        assert_eq!(id(&given).as_deref(), Some(TRACE));
        let small = "0000000000000000000000000000000a";
        let given = format!("00-{small}-b7ad6b7169203331-00");
        assert_eq!(id(&given).as_deref(), Some(small));
    }

    #[test]
    fn a_later_version_may_say_more_after_a_dash() {
        for more in ["", "-", "-what the future brings"] {
            let given = format!("cc-{TRACE}-b7ad6b7169203331-01{more}");
            assert_eq!(id(&given).as_deref(), Some(TRACE), "{given}");
        }
        assert_eq!(id(&format!("cc-{TRACE}-b7ad6b7169203331-01.more")), None);
    }

    #[test]
    fn what_is_malformed_is_as_if_it_had_not_come() {
        let zeros = "0".repeat(32);
        for given in [
            String::new(),
            "00".to_owned(),
            TRACE.to_owned(),
            format!("00-{TRACE}-b7ad6b7169203331"),
            format!("00-{TRACE}-b7ad6b7169203331-1"),
            format!("00-{TRACE}-b7ad6b7169203331-011"),
            format!("00-{TRACE}-b7ad6b7169203331-01-"),
            format!("00-{TRACE}-b7ad6b7169203331-0x"),
            format!("00-{TRACE}-0000000000000000-01"),
            format!("00-{zeros}-b7ad6b7169203331-01"),
            format!("00-{}-b7ad6b7169203331-01", TRACE.to_uppercase()),
            format!("00-+{}-b7ad6b7169203331-01", &TRACE[1..]),
            format!("ff-{TRACE}-b7ad6b7169203331-01"),
            format!("FE-{TRACE}-b7ad6b7169203331-01"),
            format!("00_{TRACE}_b7ad6b7169203331_01"),
            format!(" 00-{TRACE}-b7ad6b7169203331-01"),
            format!("00-{TRACE}-b7ad6b716920-333-01"),
            "ä".repeat(40),
        ] {
            assert_eq!(id(&given), None, "{given}");
        }
    }
}
