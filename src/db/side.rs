//! The two sides, remote and local, as an enum and as types.

/// One of the two databases: the one that a connection, a transaction or an error belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SideName {
    /// The central database, read-only for us.
    Remote,
    /// The site's database.
    Local,
}

impl SideName {
    /// The environment variable that holds the connection string (URL) of this side.
    pub(crate) fn url_variable(self) -> &'static str {
        match self {
            Self::Remote => "METER_SYNC_REMOTE_URL",
            Self::Local => "METER_SYNC_LOCAL_URL",
        }
    }
}

impl std::fmt::Display for SideName {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Remote => "remote",
            Self::Local => "local",
        })
    }
}

/// A side as a type: [`Remote`] or [`Local`].
pub trait Side: Send + Sync + 'static {
    /// This side as a value.
    const NAME: SideName;
    /// How many connections a run uses at a time. On the local side it uses two: its own, and a second one for short
    /// writes to the log.
    const FOR_A_RUN: usize;
    /// How many connections a pool may use to answer requests, such as status queries, in addition to those for runs.
    const FOR_REQUESTS: usize;
    /// The size of the pool for `runs` runs at a time: the connections for these runs and for requests.
    fn connections_for(runs: usize) -> usize {
        runs * Self::FOR_A_RUN + Self::FOR_REQUESTS
    }
}

/// The central database.
#[derive(Clone, Copy, Debug)]
pub struct Remote;

/// The site's database.
#[derive(Clone, Copy, Debug)]
pub struct Local;

impl Side for Remote {
    const NAME: SideName = SideName::Remote;
    const FOR_A_RUN: usize = 1;
    const FOR_REQUESTS: usize = 1;
}

impl Side for Local {
    const NAME: SideName = SideName::Local;
    const FOR_A_RUN: usize = 2;
    const FOR_REQUESTS: usize = 4;
}
