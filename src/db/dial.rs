//! Makes connections, and keeps the last words of a server that ends one.
//!
//! A server that ends a connection between two statements says why, as when a transaction took too long for the role's
//! limits. Nobody waits for an answer then, and the next statement finds the connection closed.

use std::future::Future;
use std::io;
use std::net::IpAddr;
use std::pin::{Pin, pin};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use deadpool::managed::{Manager, Metrics, RecycleError, RecycleResult};
use deadpool_postgres::ClientWrapper;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::lookup_host;
use tokio::time::timeout;
use tokio_postgres::config::Host;
use tokio_postgres::error::SqlState;
use tokio_postgres::{Client, Config, Connection, Error, NoTls, SimpleQueryMessage, Socket};
use tokio_postgres_rustls::MakeRustlsConnect;
use uuid::Uuid;

use super::SideName;
use crate::config::{Endpoint, Server, Servers, SessionAttrs, Tls};

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

/// Makes the connections of a pool: the servers are tried in turn, as libpq tries them, and each of their addresses has
/// its own time, so that a silent one is passed.
pub(super) struct Dial {
    side: SideName,
    endpoint: Mutex<Arc<Endpoint>>,
    words: LastWords,
}

impl Dial {
    pub(super) fn new(side: SideName, endpoint: Endpoint, words: LastWords) -> Self {
        Self {
            side,
            endpoint: Mutex::new(Arc::new(endpoint)),
            words,
        }
    }

    /// The endpoint as its files say now, so that a rotated password needs no restart.
    fn endpoint(&self) -> Arc<Endpoint> {
        let mut held = self.endpoint.lock().unwrap_or_else(PoisonError::into_inner);
        let url = self.side.url_variable();
        match held.renewed() {
            None => {}
            Some(Ok(renewed)) => {
                tracing::info!("the files of {url} were read again, as they have changed");
                *held = Arc::new(renewed);
            }
            Some(Err(error)) => {
                tracing::warn!("the files of {url} have changed and are not used: it {error}");
            }
        }
        Arc::clone(&held)
    }
}

/// One connection to be made.
struct Call {
    endpoint: Arc<Endpoint>,
    words: LastWords,
}

impl Call {
    async fn dial(&self) -> Result<ClientWrapper, DialError> {
        let Servers {
            list,
            shuffled,
            session,
            ..
        } = self.endpoint.servers();
        let mut servers: Vec<&Server> = list.iter().collect();
        if *shuffled {
            servers.sort_by_key(|_| Uuid::new_v4());
        }
        let mut attempts = Vec::new();
        for wanted in session.passes() {
            attempts = match self.one_of(&servers, *wanted).await {
                Ok(client) => return Ok(client),
                Err(attempts) => attempts,
            };
            if attempts.last().is_some_and(Attempt::decides) {
                break;
            }
        }
        Err(DialError {
            attempts,
            database: self.endpoint.database().to_owned(),
            sslmode: self.endpoint.sslmode().to_owned(),
        })
    }

    /// A connection to the first of the servers that will do.
    async fn one_of(
        &self,
        servers: &[&Server],
        wanted: SessionAttrs,
    ) -> Result<ClientWrapper, Vec<Attempt>> {
        let mut attempts = Vec::new();
        for server in servers {
            let why = match self.server(server, wanted).await {
                Ok(client) => return Ok(client),
                Err(why) => why,
            };
            let server = server.to_string();
            attempts.push(Attempt { server, why });
            if attempts.last().is_some_and(Attempt::decides) {
                break;
            }
        }
        Err(attempts)
    }

    /// A connection to one server, by whichever of its addresses lets us in.
    async fn server(&self, server: &Server, wanted: SessionAttrs) -> Result<ClientWrapper, Why> {
        let mut driver = self.endpoint.driver().clone();
        driver.port(server.port);
        let name = match &server.host {
            Host::Unix(directory) => {
                driver.host_path(directory);
                return self.attempt(driver, wanted).await;
            }
            Host::Tcp(name) => name,
        };
        driver.host(name);
        let mut last = None;
        for address in self.addresses(name, server).await? {
            let mut driver = driver.clone();
            driver.hostaddr(address);
            match self.attempt(driver, wanted).await {
                Ok(client) => return Ok(client),
                Err(why) if why.is_of_the_database() => return Err(why),
                Err(why) => last = Some(why),
            }
        }
        Err(last.unwrap_or(Why::NoAddress))
    }

    async fn addresses(&self, name: &str, server: &Server) -> Result<Vec<IpAddr>, Why> {
        if let Some(address) = server.address {
            return Ok(vec![address]);
        }
        let limit = self.endpoint.servers().connect_timeout;
        let found = timeout(limit, lookup_host((name, server.port))).await;
        let found = found.map_err(|_elapsed| Why::Silent(limit))?;
        let mut addresses: Vec<_> = found
            .map_err(|_not_found| Why::NoAddress)?
            .map(|found| found.ip())
            .collect();
        if self.endpoint.servers().shuffled {
            addresses.sort_by_key(|_| Uuid::new_v4());
        }
        Ok(addresses)
    }

    /// One address: until it has let us in, and is found to be what is wanted.
    async fn attempt(&self, driver: Config, wanted: SessionAttrs) -> Result<ClientWrapper, Why> {
        let limit = self.endpoint.servers().connect_timeout;
        let connecting = async {
            let client = match self.endpoint.tls() {
                Tls::Disable => self.connected(driver.connect(NoTls).await?),
                Tls::Rustls(config, _) => {
                    let tls = MakeRustlsConnect::new((**config).clone());
                    self.connected(driver.connect(tls).await?)
                }
            };
            match wanted == SessionAttrs::Any || is_wanted(&client, wanted).await? {
                true => Ok(client),
                false => Err(Why::Unwanted(wanted)),
            }
        };
        timeout(limit, connecting)
            .await
            .unwrap_or(Err(Why::Silent(limit)))
    }

    fn connected<T>(&self, (client, connection): (Client, Connection<Socket, T>)) -> ClientWrapper
    where
        T: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let carry = carry(connection, self.words.clone());
        #[expect(
            clippy::disallowed_methods,
            reason = "it ends with the connection, and the pool aborts it"
        )]
        let task = tokio::spawn(carry);
        ClientWrapper::new(client, task)
    }
}

/// Whether the server that let us in will do.
async fn is_wanted(client: &Client, wanted: SessionAttrs) -> Result<bool, Error> {
    let asked = "select pg_catalog.pg_is_in_recovery(), pg_catalog.current_setting('transaction_read_only')";
    let said = client.simple_query(asked).await?;
    let row = said.iter().find_map(|message| {
        if let SimpleQueryMessage::Row(row) = message {
            Some(row)
        } else {
            None
        }
    });
    let is = |column: usize, word: &str| row.and_then(|row| row.get(column)) == Some(word);
    Ok(wanted.accepts(is(0, "t"), is(1, "on")))
}

impl Manager for Dial {
    type Type = ClientWrapper;
    type Error = DialError;

    async fn create(&self) -> Result<ClientWrapper, DialError> {
        // As a type of its own, or those of the futures around it are too deep for the compiler.
        let call = Call {
            endpoint: self.endpoint(),
            words: self.words.clone(),
        };
        let dialing: Pin<Box<dyn Future<Output = _> + Send + '_>> = Box::pin(call.dial());
        dialing.await
    }

    /// One round trip, and a connection that vanished while it was idle costs a pause and no run.
    async fn recycle(&self, client: &mut ClientWrapper, _: &Metrics) -> RecycleResult<DialError> {
        let Ok(_said) = client.simple_query("").await else {
            return Err(RecycleError::message("the connection is gone"));
        };
        Ok(())
    }
}

/// Drives a connection to its end. Its last words are kept before it is dropped, which tells its user that it is closed.
async fn carry(connection: impl Future<Output = Result<(), Error>>, words: LastWords) {
    let mut connection = pin!(connection);
    if let Err(error) = connection.as_mut().await {
        words.keep(error);
    }
}

/// Why none of the servers let us in.
#[derive(Debug, thiserror::Error)]
#[error("no connection could be made")]
pub struct DialError {
    /// What was tried, in order; the last decided.
    pub(super) attempts: Vec<Attempt>,
    /// The database asked for.
    pub(super) database: String,
    /// `sslmode` as given, or its default.
    pub(super) sslmode: String,
}

impl DialError {
    /// What the driver told of the attempt that decided.
    pub(super) fn driver_error(&self) -> Option<&Error> {
        match &self.attempts.last()?.why {
            Why::Driver(error) => Some(error),
            Why::Silent(_) | Why::NoAddress | Why::Unwanted(_) => None,
        }
    }
}

/// One server that did not let us in.
#[derive(Debug)]
pub(super) struct Attempt {
    /// Its `host:port`.
    pub(super) server: String,
    /// Why.
    pub(super) why: Why,
}

impl Attempt {
    fn decides(&self) -> bool {
        self.why.is_of_the_database()
    }
}

/// Why a server did not let us in.
#[derive(Debug)]
pub(super) enum Why {
    /// What the driver tells.
    Driver(Error),
    /// It took longer than it may.
    Silent(Duration),
    /// Its name leads nowhere.
    NoAddress,
    /// It is not what `target_session_attrs` asks for.
    Unwanted(SessionAttrs),
}

impl From<Error> for Why {
    fn from(error: Error) -> Self {
        Self::Driver(error)
    }
}

impl Why {
    /// Whether another server of the same database would say the same: libpq tries none after a refused sign-in or TLS
    /// that failed, while a server that only starts or stops is passed.
    fn is_of_the_database(&self) -> bool {
        let Self::Driver(error) = self else {
            return false;
        };
        let io = std::error::Error::source(error).is_some_and(|source| source.is::<io::Error>());
        match error.as_db_error() {
            Some(said) => *said.code() != SqlState::CANNOT_CONNECT_NOW,
            None => !io && !error.is_closed() && error.to_string() != TIMED_OUT,
        }
    }
}

/// The driver's text where a socket took longer than it may.
pub(super) const TIMED_OUT: &str = "timeout waiting for server";
