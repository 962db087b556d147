//! Where a database may be: the servers of a connection string, in the order they are tried.

use std::net::IpAddr;
use std::time::Duration;

use tokio_postgres::config::Host;

/// The servers of one connection string (<https://www.postgresql.org/docs/current/libpq-connect.html#LIBPQ-MULTIPLE-HOSTS>).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Servers {
    /// In the order given; one at least.
    pub list: Vec<Server>,
    /// Whether they and the addresses of their names are tried in any order (`load_balance_hosts=random`).
    pub shuffled: bool,
    /// Which of them will do.
    pub session: SessionAttrs,
    /// How long each address of each of them may take until it has let us in.
    pub connect_timeout: Duration,
}

/// One server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Server {
    /// Its name, or the directory of its socket; a certificate is checked against it.
    pub host: Host,
    /// Its address, where the name is not to be looked up.
    pub address: Option<IpAddr>,
    /// Its port.
    pub port: u16,
}

impl Server {
    /// Whether no connection to it leaves this machine.
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

    /// Where it is, written alike for all names of this machine.
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

/// `host:port`, for logs and people.
impl std::fmt::Display for Server {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match &self.host {
            Host::Tcp(name) if name.contains(':') => write!(f, "[{name}]")?,
            Host::Tcp(name) => f.write_str(name)?,
            Host::Unix(directory) => write!(f, "{}", directory.display())?,
        }
        write!(f, ":{}", self.port)
    }
}

/// Which servers will do, as libpq's `target_session_attrs` means it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum SessionAttrs {
    /// Any.
    #[default]
    Any,
    /// One whose sessions may write.
    ReadWrite,
    /// One whose sessions may not.
    ReadOnly,
    /// One that is no standby.
    Primary,
    /// A standby.
    Standby,
    /// A standby, or any where there is none.
    PreferStandby,
}

impl SessionAttrs {
    const ALL: [Self; 6] = [
        Self::Any,
        Self::ReadWrite,
        Self::ReadOnly,
        Self::Primary,
        Self::Standby,
        Self::PreferStandby,
    ];

    /// The value as a connection string has it.
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

    /// What is asked for in turn: all servers are tried with the first before any with the next.
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

    /// Whether a server will do: one that is a standby or not, and whose sessions may write or not.
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
