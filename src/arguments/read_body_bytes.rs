//! Reads all bytes of the body of an HTTP request, for MCP, REST and the status page. If that fails, says why.

use std::error::Error;
use std::io;
use std::iter::successors;

use axum::body::{Body, Bytes, to_bytes};
use axum::http::StatusCode;
use http_body_util::LengthLimitError;

/// Why the body of a request could not be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ReadBodyError {
    /// The body is longer than the limit.
    TooLong,
    /// The body did not arrive completely within the time limit.
    Late,
    /// The body ended early: the client disconnected, or sent invalid HTTP.
    Broken,
}

/// Reads the body of a request. Error: it is longer than `limit` bytes, late or incomplete.
pub(crate) async fn read(body: Body, limit: usize) -> Result<Bytes, ReadBodyError> {
    to_bytes(body, limit)
        .await
        .map_err(|error| ReadBodyError::of(&error))
}

impl ReadBodyError {
    /// Returns the fault that caused `error`, found in the error itself or in its chain of sources. Any other error
    /// counts as `Broken`.
    fn of(error: &(dyn Error + 'static)) -> Self {
        let told = successors(Some(error), |error| (*error).source()).find_map(|error| {
            let late = error
                .downcast_ref::<io::Error>()
                .filter(|error| error.kind() == io::ErrorKind::TimedOut);
            match error.is::<LengthLimitError>() {
                true => Some(Self::TooLong),
                false => late.map(|_| Self::Late),
            }
        });
        told.unwrap_or(Self::Broken)
    }

    /// Returns the HTTP status with which to answer the request (RFC 9110, sections 15.5.14, 15.5.9 and 15.5.1).
    pub(crate) fn status(self) -> StatusCode {
        match self {
            Self::TooLong => StatusCode::PAYLOAD_TOO_LARGE,
            Self::Late => StatusCode::REQUEST_TIMEOUT,
            Self::Broken => StatusCode::BAD_REQUEST,
        }
    }

    /// Returns a sentence for the client that describes the fault.
    pub(crate) fn detail(self) -> &'static str {
        match self {
            Self::TooLong => "The request body is longer than any that is read here.",
            Self::Late => "The request body did not come in the time that one may take.",
            Self::Broken => "The request body broke off before its end.",
        }
    }
}

#[cfg(test)]
mod tests {
    use futures_util::stream;

    use super::*;

    fn ending(kind: io::ErrorKind) -> Body {
        let pieces = [Ok(Bytes::from_static(b"{")), Err(io::Error::from(kind))];
        Body::from_stream(stream::iter(pieces))
    }

    #[tokio::test]
    async fn why_a_body_could_not_be_read_is_told_apart() {
        for (body, fault, status) in [
            (Body::from("x".repeat(11)), ReadBodyError::TooLong, 413),
            (ending(io::ErrorKind::TimedOut), ReadBodyError::Late, 408),
            (ending(io::ErrorKind::Other), ReadBodyError::Broken, 400),
            (
                ending(io::ErrorKind::UnexpectedEof),
                ReadBodyError::Broken,
                400,
            ),
        ] {
            assert_eq!(read(body, 10).await, Err(fault));
            assert_eq!(fault.status(), status, "{fault:?}");
        }
        let whole = read(Body::from("x".repeat(10)), 10).await;
        assert_eq!(whole.map(|body| body.len()), Ok(10));
    }
}
