//! The servers that a connection string lists, and which kind of server (such as a primary) it asks for.

use std::net::IpAddr;
use std::time::Duration;

use tokio_postgres::config::Host;

/// The servers that one connection string lists
/// (<https://www.postgresql.org/docs/current/libpq-connect.html#LIBPQ-MULTIPLE-HOSTS>).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConnectionHosts {
    /// The servers in the order given; at least one.
    pub list: Vec<ConnectionHost>,
    /// Whether to try the servers, and the addresses of each host name, in random order (`load_balance_hosts=random`).
    pub shuffled: bool,
    /// Which kind of server to connect to (`target_session_attrs`).
    pub session: TargetSessionAttrs,
    /// The longest time to connect to one address of one server, including TLS and authentication.
    pub connect_timeout: Duration,
}

/// One server of a connection string.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConnectionHost {
    /// The host name of the server, or the directory of its socket. The server's certificate is checked against the
    /// host name.
    pub host: Host,
    /// The IP address to connect to (`hostaddr`); `None` if the host name must be looked up.
    pub address: Option<IpAddr>,
    /// The port of the server.
    pub port: u16,
}

impl ConnectionHost {
    /// Whether connections to the server stay on this machine: it is named by a Unix socket, a loopback address or
    /// `localhost`.
    pub(super) fn is_on_this_machine(&self) -> bool {
        match (&self.host, self.address) {
            (Host::Unix(_), _) => true,
            (Host::Tcp(_), Some(address)) => address.to_canonical().is_loopback(),
            (Host::Tcp(name), None) => match name.parse::<IpAddr>() {
                Ok(address) => address.to_canonical().is_loopback(),
                Err(_a_name) => name.eq_ignore_ascii_case("localhost"),
            },
        }
    }

    /// Returns the host and port in a form in which two servers can be compared. `localhost`, `127.0.0.1` and `::1`
    /// become the same host.
    pub(super) fn canonical(&self) -> (String, u16) {
        let host = match (&self.host, self.address) {
            (Host::Unix(directory), _) => directory.display().to_string(),
            (Host::Tcp(_), Some(address)) => address.to_string(),
            (Host::Tcp(name), None) => name.to_ascii_lowercase(),
        };
        match host.as_str() {
            "127.0.0.1" | "::1" => ("localhost".to_owned(), self.port),
            _ => (host, self.port),
        }
    }
}

/// Writes `host:port`, for logs and messages.
impl std::fmt::Display for ConnectionHost {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match &self.host {
            Host::Tcp(name) if name.contains(':') => write!(f, "[{name}]")?,
            Host::Tcp(name) => f.write_str(name)?,
            Host::Unix(directory) => write!(f, "{}", directory.display())?,
        }
        write!(f, ":{}", self.port)
    }
}

/// Which kind of server a connection may use, as libpq's `target_session_attrs` defines it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum TargetSessionAttrs {
    /// Any server.
    #[default]
    Any,
    /// A server whose sessions may write.
    ReadWrite,
    /// A server whose sessions may not write.
    ReadOnly,
    /// A server that is not a standby.
    Primary,
    /// A standby.
    Standby,
    /// A standby, or any server if there is no standby.
    PreferStandby,
}

impl TargetSessionAttrs {
    const ALL: [Self; 6] = [
        Self::Any,
        Self::ReadWrite,
        Self::ReadOnly,
        Self::Primary,
        Self::Standby,
        Self::PreferStandby,
    ];

    /// Returns the value as it is written in a connection string, such as `read-write`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Any => "any",
            Self::ReadWrite => "read-write",
            Self::ReadOnly => "read-only",
            Self::Primary => "primary",
            Self::Standby => "standby",
            Self::PreferStandby => "prefer-standby",
        }
    }

    pub(super) fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|one| one.as_str() == text)
    }

    /// Returns the kinds of server to search for, in this order: all servers are tried for the first kind before any is
    /// tried for the next. Only `PreferStandby` gives more than one kind.
    pub fn passes(self) -> &'static [Self] {
        match self {
            Self::Any => &[Self::Any],
            Self::ReadWrite => &[Self::ReadWrite],
            Self::ReadOnly => &[Self::ReadOnly],
            Self::Primary => &[Self::Primary],
            Self::Standby => &[Self::Standby],
            Self::PreferStandby => &[Self::Standby, Self::Any],
        }
    }

    /// Whether a server with the given properties is of this kind. `PreferStandby` accepts every server.
    pub fn accepts(self, is_standby: bool, is_read_only: bool) -> bool {
        match self {
            Self::Any | Self::PreferStandby => true,
            Self::ReadWrite => !is_read_only,
            Self::ReadOnly => is_read_only,
            Self::Primary => !is_standby,
            Self::Standby => is_standby,
        }
    }
}
