//! How to connect to one database: its servers, the authentication and TLS.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use super::Limits;
use super::connection_hosts::{ConnectionHost, ConnectionHosts, TargetSessionAttrs};
use super::connection_parameters::ConnectionParameters;
use super::database_endpoint_error::EndpointError;
use super::database_tls::DatabaseTls;
use super::parse_connection_string::{self, ParameterPairs};
use super::watched_file::{self, WatchedFile};

/// How to connect to one database: its servers, the authentication and TLS. The `Debug` output shows no secret.
#[derive(Clone)]
pub struct DatabaseEndpoint {
    /// The configuration of the Postgres driver, without the servers. It contains the password.
    driver: tokio_postgres::Config,
    servers: ConnectionHosts,
    sslmode: String,
    tls: DatabaseTls,
    /// The input that this endpoint was built from, so that it can be built again when one of its files changes.
    source: Arc<EndpointSource>,
}

/// The connection string and settings that an endpoint is made from, and made from again after a file has changed.
#[derive(Clone)]
struct EndpointSource {
    /// The parameters of the connection string, with the password.
    pairs: ParameterPairs,
    limits: Limits,
    unacknowledged: Option<Duration>,
    /// The file that holds the connection string; `None` if the string did not come from a file.
    file: Option<WatchedFile>,
    /// The certificate and key files that the connection string names.
    named: Vec<WatchedFile>,
}

/// The connection parameters whose values are paths of files.
const FILES: [&str; 3] = ["sslrootcert", "sslcert", "sslkey"];

impl DatabaseEndpoint {
    /// Parses a connection string: a libpq URL or a list of `key=value` pairs. `limits` gives the timeouts that the
    /// string does not set.
    pub fn parse(text: &str, limits: &Limits) -> Result<Self, EndpointError> {
        Self::from_pairs(parse_connection_string::parse(text)?, limits)
    }

    pub(super) fn from_pairs(
        pairs: ParameterPairs,
        limits: &Limits,
    ) -> Result<Self, EndpointError> {
        let named = pairs
            .iter()
            .filter(|(name, _)| FILES.contains(&name.as_str()));
        let source = EndpointSource {
            named: named
                .map(|(_, path)| WatchedFile::new(Path::new(path)))
                .collect(),
            pairs: pairs.clone(),
            limits: limits.clone(),
            unacknowledged: None,
            file: None,
        };
        let parameters = ConnectionParameters::new(pairs)?;
        let (mut driver, servers) = parameters.driver(limits)?;
        let tls = parameters.tls(&mut driver, &servers)?;
        Ok(Self {
            driver,
            sslmode: parameters.sslmode(&servers).to_owned(),
            servers,
            tls,
            source: Arc::new(source),
        })
    }

    /// Stores which file the connection string was read from, so that [`DatabaseEndpoint::renewed`] can read it again.
    pub(super) fn of_file(mut self, file: WatchedFile) -> Self {
        Arc::make_mut(&mut self.source).file = Some(file);
        self
    }

    /// Builds the endpoint again if the file with the connection string, or a certificate or key file, has changed.
    /// Returns `None` if no file has changed.
    ///
    /// # Errors
    ///
    /// The new content of a file cannot be used, or the connection string names another server or database than before.
    pub fn renewed(&self) -> Option<Result<Self, EndpointError>> {
        let files = self.source.file.iter().chain(&self.source.named);
        files
            .into_iter()
            .any(WatchedFile::has_changed)
            .then(|| self.made_again())
    }

    fn made_again(&self) -> Result<Self, EndpointError> {
        let EndpointSource {
            pairs,
            limits,
            unacknowledged,
            file,
            named: _,
        } = &*self.source;
        let made = match file.as_ref().map(|file| WatchedFile::new(file.path())) {
            None => Self::from_pairs(pairs.clone(), limits)?,
            Some(file) => match watched_file::read(file.path()) {
                Ok(Some(text)) => Self::parse(&text, limits)?.of_file(file),
                Ok(None) | Err(_) => return Err(EndpointError::FileUnread),
            },
        };
        let made = match *unacknowledged {
            Some(limit) => made.with_unacknowledged_limit(limit),
            None => made,
        };
        match made.address() == self.address() {
            true => Ok(made),
            false => Err(EndpointError::OtherDatabase),
        }
    }

    /// Sets how long sent data may stay unacknowledged before the driver closes a connection (`tcp_user_timeout`). A
    /// value in the connection string takes precedence.
    #[must_use]
    pub(super) fn with_unacknowledged_limit(mut self, limit: Duration) -> Self {
        Arc::make_mut(&mut self.source).unacknowledged = Some(limit);
        if self.driver.get_tcp_user_timeout().is_none() {
            self.driver.tcp_user_timeout(limit);
        }
        self
    }

    /// Returns the configuration of the Postgres driver, without the servers. It contains the password.
    pub fn driver(&self) -> &tokio_postgres::Config {
        &self.driver
    }

    /// Returns the servers to connect to.
    pub fn servers(&self) -> &ConnectionHosts {
        &self.servers
    }

    /// Returns one endpoint for each server, which connects to that server alone. It accepts any kind of server, even
    /// if the connection string asks for one kind (`target_session_attrs`).
    pub fn each(&self) -> impl Iterator<Item = Self> {
        self.servers.list.iter().map(|server| {
            let mut alone = self.clone();
            alone.servers.list = vec![server.clone()];
            alone.servers.session = TargetSessionAttrs::Any;
            alone
        })
    }

    /// Returns `sslmode` as the connection string gives it, or the default.
    pub fn sslmode(&self) -> &str {
        &self.sslmode
    }

    /// Whether connections use TLS, and how they check the server's certificate.
    pub fn tls(&self) -> &DatabaseTls {
        &self.tls
    }

    /// Returns `host:port/dbname`, for logs and messages; several hosts are separated by commas. The text contains
    /// neither user nor password.
    pub fn address(&self) -> String {
        let hosts: Vec<String> = self
            .servers
            .list
            .iter()
            .map(ConnectionHost::to_string)
            .collect();
        format!("{}/{}", hosts.join(","), self.database())
    }

    /// Whether both endpoints lead to the same database: they have the same database name, and at least one host and
    /// port in common.
    pub fn same_database(&self, other: &Self) -> bool {
        let mut addresses = self.servers.list.iter().map(ConnectionHost::canonical);
        let others: Vec<_> = other
            .servers
            .list
            .iter()
            .map(ConnectionHost::canonical)
            .collect();
        self.database() == other.database() && addresses.any(|one| others.contains(&one))
    }

    /// Whether connections to all servers stay on this machine.
    pub fn is_on_this_machine(&self) -> bool {
        self.servers
            .list
            .iter()
            .all(ConnectionHost::is_on_this_machine)
    }

    /// Returns the name of the database.
    pub fn database(&self) -> &str {
        self.driver.get_dbname().unwrap_or_default()
    }
}

impl std::fmt::Debug for DatabaseEndpoint {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("DatabaseEndpoint")
            .field("address", &self.address())
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use quickcheck::quickcheck;
    use tokio_postgres::config::SslMode;

    use super::*;

    fn endpoint(text: &str) -> DatabaseEndpoint {
        DatabaseEndpoint::parse(text, &Limits::default()).unwrap()
    }

    #[test]
    fn an_address_names_host_port_and_database_only() {
        for (text, address) in [
            ("postgres://u:p@db.example/meters", "db.example:5432/meters"),
            ("postgres://u:p@a:1,[::1]:2/m", "a:1,[::1]:2/m"),
            ("host=/run/pg dbname=m port=5433", "/run/pg:5433/m"),
            ("postgres://u@h", "h:5432/u"),
            ("hostaddr=10.0.0.1 user=u", "10.0.0.1:5432/u"),
        ] {
            assert_eq!(endpoint(text).address(), address, "{text}");
        }
    }

    #[test]
    fn one_database_is_known_under_its_names() {
        let one = endpoint("postgres://u:p@localhost:5432/m");
        for (other, same) in [
            ("host=127.0.0.1 dbname=m user=other", true),
            ("postgres://[::1]/m", true),
            ("postgres://x,LOCALHOST/m", true),
            ("postgres://localhost:5433/m", false),
            ("postgres://localhost/n", false),
            ("host=/run/pg dbname=m", false),
            ("host=db.example hostaddr=127.0.0.1 dbname=m", true),
            ("host=localhost hostaddr=10.0.0.1 dbname=m", false),
            ("postgres://u@localhost", false),
        ] {
            assert_eq!(one.same_database(&endpoint(other)), same, "{other}");
        }
    }

    #[test]
    fn sockets_and_loopback_stay_on_this_machine() {
        for (text, stays) in [
            ("postgres://u@localhost/m", true),
            ("postgres://u@127.0.0.2,[::1]/m", true),
            ("host=/run/pg dbname=m", true),
            ("postgres://u@localhost,db.example/m", false),
            ("postgres://u@10.0.0.1/m", false),
            ("host=db.example hostaddr=127.0.0.1 dbname=m", true),
            ("host=localhost hostaddr=10.0.0.1 dbname=m", false),
        ] {
            assert_eq!(endpoint(text).is_on_this_machine(), stays, "{text}");
        }
    }

    #[test]
    fn a_socket_never_uses_tls() {
        let socket = endpoint("host=/run/pg dbname=m sslmode=verify-full sslrootcert=/nowhere");
        assert_eq!(socket.driver().get_ssl_mode(), SslMode::Disable);
        assert!(matches!(socket.tls(), DatabaseTls::Disable));
    }

    quickcheck! {
        fn no_text_shows_a_password(before: String, after: String) -> bool {
            let password = format!("{before}hunter2{after}");
            ["postgres://u:{}@h/m", "host=h dbname=m user=u password={}", "postgres://h/m?{}", "{}"]
                .iter()
                .map(|shape| DatabaseEndpoint::parse(&shape.replace("{}", &password), &Limits::default()))
                .all(|result| {
                    let shown = match result {
                        Ok(endpoint) => format!("{endpoint:?} {}", endpoint.address()),
                        Err(error) => format!("{error} {error:?}"),
                    };
                    !shown.contains("hunter2")
                })
        }
    }
}
