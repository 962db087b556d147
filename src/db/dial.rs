//! Makes connections, and keeps the last words of a server that ends one.
//!
//! A server that ends a connection between two statements says why, as when a transaction took too long for the role's
//! limits. Nobody waits for an answer then, and the next statement finds the connection closed.

use std::future::Future;
use std::pin::{Pin, pin};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use deadpool_postgres::Connect;
use tokio::task::JoinHandle;
use tokio_postgres::tls::{MakeTlsConnect, TlsConnect};
use tokio_postgres::{Client, Config, Error, Socket};

/// The last words of the server on the connections of a pool.
#[derive(Clone, Debug, Default)]
pub(super) struct LastWords(Arc<Mutex<Option<(Instant, Error)>>>);

impl LastWords {
    fn keep(&self, error: Error) {
        if error.as_db_error().is_some() {
            let mut words = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            *words = Some((Instant::now(), error));
        }
    }

    /// What the server said after `since`, in place of an error that only tells that the connection is closed.
    pub(super) fn explain(&self, error: Error, since: Instant) -> Error {
        if !error.is_closed() {
            return error;
        }
        let mut words = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match words.take() {
            Some((at, said)) if at >= since => said,
            Some(_) | None => error,
        }
    }
}

/// Makes the connections of a pool.
pub(super) struct Dial<T> {
    tls: T,
    words: LastWords,
}

impl<T> Dial<T> {
    pub(super) fn new(tls: T, words: LastWords) -> Self {
        Self { tls, words }
    }
}

/// Drives a connection to its end. Its last words are kept before it is dropped, which tells its user that it is closed.
async fn carry(connection: impl Future<Output = Result<(), Error>>, words: LastWords) {
    let mut connection = pin!(connection);
    if let Err(error) = connection.as_mut().await {
        words.keep(error);
    }
}

type Dialed<'a> =
    Pin<Box<dyn Future<Output = Result<(Client, JoinHandle<()>), Error>> + Send + 'a>>;

impl<T> Connect for Dial<T>
where
    T: MakeTlsConnect<Socket> + Clone + Sync + Send + 'static,
    T::Stream: Sync + Send,
    T::TlsConnect: Sync + Send,
    <T::TlsConnect as TlsConnect<Socket>>::Future: Send,
{
    fn connect(&self, config: &Config) -> Dialed<'_> {
        let (tls, words, config) = (self.tls.clone(), self.words.clone(), config.clone());
        Box::pin(async move {
            let (client, connection) = config.connect(tls).await?;
            let carry = carry(connection, words);
            #[expect(
                clippy::disallowed_methods,
                reason = "it ends with the connection, and the pool aborts it"
            )]
            let task = tokio::spawn(carry);
            Ok((client, task))
        })
    }
}
