//! Wrappers around a connection's byte stream, its request bodies and its response bodies. They enforce timeouts, and
//! record in [`ConnectionActivity`] whether the connection is busy or waits for its client.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use axum::BoxError;
use hyper::body::{Body, Bytes, Frame, SizeHint};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Sleep, sleep};

use super::limit_connections::ConnectionActivity;

/// How long the body of a request may take to arrive completely. It is enough for 1 MiB at 0.3 Mbit/s.
const BODY: Duration = Duration::from_secs(30);
/// How long a write may be blocked because the client does not read. The time starts again whenever the client reads
/// some of the response.
const UNREAD: Duration = Duration::from_secs(30);

/// A stream on which a write fails with `TimedOut` if the client does not read for [`UNREAD`].
pub(super) struct TimedStream<S> {
    stream: S,
    activity: ConnectionActivity,
    /// The timeout of the pending write; `None` while no write is pending.
    unread: Option<Pin<Box<Sleep>>>,
}

impl<S> TimedStream<S> {
    pub(super) fn new(stream: S, activity: ConnectionActivity) -> Self {
        Self {
            stream,
            activity,
            unread: None,
        }
    }

    /// Returns the result of a write, or the error `TimedOut` if the write has been pending for [`UNREAD`].
    fn check<T>(
        &mut self,
        context: &mut Context<'_>,
        written: Poll<io::Result<T>>,
    ) -> Poll<io::Result<T>> {
        if written.is_ready() {
            if self.unread.take().is_some() {
                self.activity.set_unread(false);
            }
            return written;
        }
        if self.unread.is_none() {
            self.activity.set_unread(true);
        }
        let unread = self.unread.get_or_insert_with(|| Box::pin(sleep(UNREAD)));
        ready!(unread.as_mut().poll(context));
        Poll::Ready(Err(io::ErrorKind::TimedOut.into()))
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for TimedStream<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(context, buffer)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for TimedStream<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write(context, bytes);
        self.check(context, written)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        parts: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write_vectored(context, parts);
        self.check(context, written)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

/// The body of a request. Reading it fails with `TimedOut` if it has not arrived completely within [`BODY`].
pub(super) struct TimedRequestBody<B> {
    body: B,
    activity: ConnectionActivity,
    late: Pin<Box<Sleep>>,
}

impl<B: Body> TimedRequestBody<B> {
    pub(super) fn new(body: B, activity: ConnectionActivity) -> Self {
        if body.is_end_stream() {
            activity.mark_busy();
        }
        Self {
            body,
            activity,
            late: Box::pin(sleep(BODY)),
        }
    }
}

impl<B> Body for TimedRequestBody<B>
where
    B: Body<Data = Bytes> + Unpin,
    B::Error: Into<BoxError>,
{
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, io::Error>>> {
        if let Poll::Ready(frame) = Pin::new(&mut self.body).poll_frame(context) {
            return Poll::Ready(frame.map(|frame| frame.map_err(io::Error::other)));
        }
        ready!(self.late.as_mut().poll(context));
        Poll::Ready(Some(Err(io::ErrorKind::TimedOut.into())))
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// Marks the connection as busy: a handler drops the request body when it has read the body or ignores it, and then
/// works on the response.
impl<B> Drop for TimedRequestBody<B> {
    fn drop(&mut self) {
        self.activity.mark_busy();
    }
}

/// The body of a response. When the body is dropped, the connection becomes idle again. The body has no timeout of its
/// own, because [`TimedStream`] has one for writes.
pub(super) struct TrackedResponseBody<B> {
    body: B,
    activity: ConnectionActivity,
}

impl<B> TrackedResponseBody<B> {
    pub(super) fn new(body: B, activity: ConnectionActivity) -> Self {
        Self { body, activity }
    }
}

impl<B: Body + Unpin> Body for TrackedResponseBody<B> {
    type Data = B::Data;
    type Error = B::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<B::Data>, B::Error>>> {
        Pin::new(&mut self.body).poll_frame(context)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

impl<B> Drop for TrackedResponseBody<B> {
    fn drop(&mut self) {
        self.activity.mark_answered();
    }
}

#[cfg(test)]
mod tests {
    use std::net::{IpAddr, Ipv4Addr};

    use axum::body::Body as AnyBody;
    use futures_util::stream;
    use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};
    use tokio::time::Instant;

    use super::*;
    use crate::arguments::read_body_bytes::{self, ReadBodyError};
    use crate::http::limit_connections::OpenConnections;

    const HERE: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

    #[tokio::test(start_paused = true)]
    async fn a_body_that_does_not_come_ends_in_time() {
        let slot = OpenConnections::new(1).enter(HERE);
        let byte_a_second = stream::unfold((), |()| async {
            sleep(Duration::from_secs(1)).await;
            Some((Ok::<_, io::Error>(Bytes::from_static(b"x")), ()))
        });
        let body = AnyBody::from_stream(byte_a_second);
        let begun = Instant::now();
        let body = AnyBody::new(TimedRequestBody::new(body, slot.activity.clone()));
        assert_eq!(
            read_body_bytes::read(body, 10_000).await,
            Err(ReadBodyError::Late)
        );
        assert_eq!(begun.elapsed().as_secs(), BODY.as_secs());
    }

    async fn read_slowly(stream: &mut DuplexStream) {
        for _ in 0..8 {
            sleep(UNREAD / 2).await;
            stream.read_exact(&mut [0; 8]).await.expect("some");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_client_that_does_not_read_is_given_up_and_one_that_reads_slowly_is_not() {
        let connections = OpenConnections::new(1);
        let slot = connections.enter(HERE);
        slot.activity.mark_busy();
        let (ours, mut theirs) = tokio::io::duplex(8);
        let mut watched = TimedStream::new(ours, slot.activity.clone());
        let (written, ()) = tokio::join!(watched.write_all(&[0; 64]), read_slowly(&mut theirs));
        written.expect("all was read");
        let begun = Instant::now();
        let refused = watched.write_all(&[0; 64]).await.expect_err("nobody reads");
        assert_eq!(refused.kind(), io::ErrorKind::TimedOut);
        assert_eq!(begun.elapsed(), UNREAD);
    }
}
