//! Opens the connections of a pool, and stores the error message with which a server closed a connection.
//!
//! A server that closes a connection between two statements sends the reason, for example that a transaction exceeded a
//! limit of the role. No statement waits for an answer at that moment, and the next statement only gets the error that
//! the connection is closed. So the reason is stored, and replaces that error.

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
use super::connection_ending_errors::refuses_only_the_statement;
use crate::config::{
    ConnectionHost, ConnectionHosts, DatabaseEndpoint, DatabaseTls, TargetSessionAttrs,
};

/// The last error that the server sent on any connection of a pool.
#[derive(Clone, Debug, Default)]
pub(super) struct SharedLastServerError(Arc<Mutex<Option<(Instant, Error)>>>);

impl SharedLastServerError {
    fn keep(&self, error: Error) {
        if error.as_db_error().is_some() {
            let mut last_message = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            *last_message = Some((Instant::now(), error));
        }
    }

    /// If `error` only says that the connection is closed, returns the last error that the server sent since `since`,
    /// if there is one. Otherwise returns `error` unchanged. Each stored error is returned only once.
    pub(super) fn explain(&self, error: Error, since: Instant) -> Error {
        if !error.is_closed() {
            return error;
        }
        let mut last_message = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match last_message.take() {
            Some((at, said)) if at >= since => said,
            Some(_) | None => error,
        }
    }
}

/// Opens the connections of a pool. It tries the servers of the connection string in turn, as libpq does. Each address
/// of a server has its own time limit; an address that does not answer within it is skipped.
pub(super) struct Connector {
    side: SideName,
    endpoint: Mutex<Arc<DatabaseEndpoint>>,
    last_message: SharedLastServerError,
}

impl Connector {
    pub(super) fn new(
        side: SideName,
        endpoint: DatabaseEndpoint,
        last_message: SharedLastServerError,
    ) -> Self {
        Self {
            side,
            endpoint: Mutex::new(Arc::new(endpoint)),
            last_message,
        }
    }

    /// Returns the endpoint: the servers, the sign-in and the TLS settings. If a file that they were read from has
    /// changed, reads it again first, so that a rotated password needs no restart. If that fails, returns the old
    /// settings.
    fn endpoint(&self) -> Arc<DatabaseEndpoint> {
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

/// A request to open one connection.
struct ConnectRequest {
    endpoint: Arc<DatabaseEndpoint>,
    last_message: SharedLastServerError,
}

impl ConnectRequest {
    async fn dial(&self) -> Result<ClientWrapper, NoServerReached> {
        let ConnectionHosts {
            list,
            shuffled,
            session,
            ..
        } = self.endpoint.servers();
        let mut servers: Vec<&ConnectionHost> = list.iter().collect();
        if *shuffled {
            servers.sort_by_key(|_| Uuid::new_v4());
        }
        let mut attempts = Vec::new();
        for wanted in session.passes() {
            attempts = match self.one_of(&servers, *wanted).await {
                Ok(client) => return Ok(client),
                Err(attempts) => attempts,
            };
            if attempts.last().is_some_and(FailedConnectAttempt::decides) {
                break;
            }
        }
        Err(NoServerReached {
            attempts,
            database: self.endpoint.database().to_owned(),
            sslmode: self.endpoint.sslmode().to_owned(),
        })
    }

    /// Connects to the first server that accepts the connection and is of the wanted kind (`target_session_attrs`).
    /// Returns the failed attempts if there is none.
    async fn one_of(
        &self,
        servers: &[&ConnectionHost],
        wanted: TargetSessionAttrs,
    ) -> Result<ClientWrapper, Vec<FailedConnectAttempt>> {
        let mut attempts = Vec::new();
        for server in servers {
            let why = match self.server(server, wanted).await {
                Ok(client) => return Ok(client),
                Err(why) => why,
            };
            let server = server.to_string();
            attempts.push(FailedConnectAttempt { server, why });
            if attempts.last().is_some_and(FailedConnectAttempt::decides) {
                break;
            }
        }
        Err(attempts)
    }

    /// Connects to one server, at the first of its addresses that accepts the connection. Fails if the server is not of
    /// the wanted kind.
    async fn server(
        &self,
        server: &ConnectionHost,
        wanted: TargetSessionAttrs,
    ) -> Result<ClientWrapper, ConnectFailure> {
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
                Err(why) if why.ends_the_search() => return Err(why),
                Err(why) => last = Some(why),
            }
        }
        Err(last.unwrap_or(ConnectFailure::NoAddress))
    }

    async fn addresses(
        &self,
        name: &str,
        server: &ConnectionHost,
    ) -> Result<Vec<IpAddr>, ConnectFailure> {
        if let Some(address) = server.address {
            return Ok(vec![address]);
        }
        let limit = self.endpoint.servers().connect_timeout;
        let found = timeout(limit, lookup_host((name, server.port))).await;
        let found = found.map_err(|_elapsed| ConnectFailure::Silent(limit))?;
        let mut addresses: Vec<_> = found
            .map_err(|_not_found| ConnectFailure::NoAddress)?
            .map(|found| found.ip())
            .collect();
        if self.endpoint.servers().shuffled {
            addresses.sort_by_key(|_| Uuid::new_v4());
        }
        Ok(addresses)
    }

    /// Connects to one address, and checks that the server is of the wanted kind. One time limit covers the connection
    /// and the check.
    async fn attempt(
        &self,
        driver: Config,
        wanted: TargetSessionAttrs,
    ) -> Result<ClientWrapper, ConnectFailure> {
        let limit = self.endpoint.servers().connect_timeout;
        let connecting = async {
            let client = match self.endpoint.tls() {
                DatabaseTls::Disable => self.connected(driver.connect(NoTls).await?),
                DatabaseTls::Rustls(config, _) => {
                    let tls = MakeRustlsConnect::new((**config).clone());
                    self.connected(driver.connect(tls).await?)
                }
            };
            match wanted == TargetSessionAttrs::Any || is_wanted(&client, wanted).await? {
                true => Ok(client),
                false => Err(ConnectFailure::Unwanted(wanted)),
            }
        };
        timeout(limit, connecting)
            .await
            .unwrap_or(Err(ConnectFailure::Silent(limit)))
    }

    fn connected<T>(&self, (client, connection): (Client, Connection<Socket, T>)) -> ClientWrapper
    where
        T: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let driven = drive_connection(connection, self.last_message.clone());
        #[expect(
            clippy::disallowed_methods,
            reason = "it ends with the connection, and the pool aborts it"
        )]
        let task = tokio::spawn(driven);
        ClientWrapper::new(client, task)
    }
}

/// Asks the server whether it is of the wanted kind (`target_session_attrs`).
async fn is_wanted(client: &Client, wanted: TargetSessionAttrs) -> Result<bool, Error> {
    let (is_standby, is_read_only) = kind(client).await?;
    Ok(wanted.accepts(is_standby, is_read_only))
}

/// Asks the server whether it is a standby, and whether it takes no writes.
async fn kind(client: &Client) -> Result<(bool, bool), Error> {
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
    Ok((is(0, "t"), is(1, "on")))
}

impl Manager for Connector {
    type Type = ClientWrapper;
    type Error = NoServerReached;

    async fn create(&self) -> Result<ClientWrapper, NoServerReached> {
        // Boxed as a trait object; otherwise the types of the futures around it are too deep for the compiler.
        let call = ConnectRequest {
            endpoint: self.endpoint(),
            last_message: self.last_message.clone(),
        };
        let dialing: Pin<Box<dyn Future<Output = _> + Send + '_>> = Box::pin(call.dial());
        dialing.await
    }

    /// Tests an idle connection with one round trip, before it is used again. If this fails, the pool opens another
    /// connection instead. It also fails if the server is no longer of the wanted kind: a pooler, for instance, keeps
    /// our connection while the primary behind it becomes a standby. On the local side, it fails for every standby,
    /// because a run has to write there.
    async fn recycle(
        &self,
        client: &mut ClientWrapper,
        _: &Metrics,
    ) -> RecycleResult<NoServerReached> {
        let wanted = self.endpoint().servers().session;
        let is_wanted = match kind(client).await {
            Ok((is_standby, is_read_only)) => {
                let is_useless = is_standby && self.side == SideName::Local;
                wanted.accepts(is_standby, is_read_only) && !is_useless
            }
            // A server that refuses the question is there.
            Err(error) => refuses_only_the_statement(&error) && !client.is_closed(),
        };
        match is_wanted {
            true => Ok(()),
            false => Err(RecycleError::message(
                "the connection is gone, or leads to another kind of server",
            )),
        }
    }
}

/// Exchanges the messages of a connection with the server until the connection ends. If the server sent an error,
/// stores it before the connection is dropped: the drop makes a waiting statement fail, which then looks for the stored
/// error.
async fn drive_connection(
    connection: impl Future<Output = Result<(), Error>>,
    last_message: SharedLastServerError,
) {
    let mut connection = pin!(connection);
    if let Err(error) = connection.as_mut().await {
        last_message.keep(error);
    }
}

/// Says why no server accepted a connection: the failed attempt at each server.
#[derive(Debug, thiserror::Error)]
#[error("no connection could be made")]
pub struct NoServerReached {
    /// The failed attempts in order. The message for users names only the last one if the server refused it or TLS
    /// failed, and otherwise all of them. With `target_session_attrs=prefer-standby`, which may try all servers twice,
    /// these are the attempts of the last pass.
    pub(super) attempts: Vec<FailedConnectAttempt>,
    /// The name of the database in the connection string.
    pub(super) database: String,
    /// The `sslmode` of the connection string, or its default.
    pub(super) sslmode: String,
}

impl NoServerReached {
    /// The driver's error of the last attempt; `None` if that attempt failed for another reason.
    pub(super) fn driver_error(&self) -> Option<&Error> {
        match &self.attempts.last()?.why {
            ConnectFailure::Driver(error) => Some(error),
            ConnectFailure::Silent(_) | ConnectFailure::NoAddress | ConnectFailure::Unwanted(_) => {
                None
            }
        }
    }
}

/// A failed attempt to connect to one server.
#[derive(Debug)]
pub(super) struct FailedConnectAttempt {
    /// The server as `host:port`.
    pub(super) server: String,
    /// Why the attempt failed.
    pub(super) why: ConnectFailure,
}

impl FailedConnectAttempt {
    fn decides(&self) -> bool {
        self.why.ends_the_search()
    }
}

/// Why one attempt to connect failed.
#[derive(Debug)]
pub(super) enum ConnectFailure {
    /// The driver returned an error, for example because the server refused the connection.
    Driver(Error),
    /// The server did not answer within this time.
    Silent(Duration),
    /// The host name has no address.
    NoAddress,
    /// The server is not of the kind that `target_session_attrs` asks for.
    Unwanted(TargetSessionAttrs),
}

impl From<Error> for ConnectFailure {
    fn from(error: Error) -> Self {
        Self::Driver(error)
    }
}

impl ConnectFailure {
    /// Whether to stop trying other addresses and servers, because they would fail in the same way. As in libpq, this
    /// is so if the server refused the sign-in or TLS failed, but not if the server could not be reached, or is
    /// starting or stopping.
    fn ends_the_search(&self) -> bool {
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

/// The driver's error text for a socket that timed out.
pub(super) const TIMED_OUT: &str = "timeout waiting for server";
