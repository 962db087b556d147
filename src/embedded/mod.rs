//! Real Postgres servers on this machine, for `demo` and for the tests, one launcher for both.
//!
//! Guarantees: servers listen on a loopback port only; never run as root (`postgres`, else `nobody`,
//! stands in); keep their files in directories only their account may enter; and end with the
//! process that started them, even by `kill -9`, because each runs under a shell that waits for a
//! pipe to close (`supervise.sh`). What a killed shell leaves behind is swept at the next start.
//!
//! Deliberately not here: downloads from anywhere but a package manager, upgrades of a data
//! directory to another major version, and passwords for throw-away servers, which hold nothing of
//! value; data that is kept is behind a random one, since a Postgres superuser can run programs.

use std::path::PathBuf;

pub use binaries::Binaries;
pub use server::{Data, Server, ServerOptions};

mod account;
mod binaries;
mod files;
mod install;
mod server;
mod system;

/// Why there is no embedded Postgres.
#[derive(Debug, thiserror::Error)]
pub enum EmbeddedError {
    /// The directory that was named holds no usable server.
    #[error(
        "{directory} holds no Postgres server this account can run; name the directory that has `initdb` and `postgres`"
    )]
    NotThere {
        /// The directory that was named.
        directory: PathBuf,
    },
    /// Nothing is installed and nothing could be installed.
    #[error(
        "found no Postgres server and could not install one: {what_to_do}, or name the directory that has `initdb` and `postgres` in METER_SYNC_POSTGRES_BIN"
    )]
    NoBinaries {
        /// How a person installs it on this system.
        what_to_do: String,
    },
    /// No account can own the server's files.
    #[error("Postgres cannot run here: {reason}")]
    Account {
        /// What is wrong and what to do.
        reason: String,
    },
    /// A program is not installed.
    #[error("there is no `{program}`")]
    Missing {
        /// The program.
        program: String,
    },
    /// A program that was needed failed.
    #[error("`{program}` failed: {output}")]
    Command {
        /// The program.
        program: String,
        /// The end of what it wrote.
        output: String,
    },
    /// A file or directory could not be used.
    #[error("cannot use {path}")]
    File {
        /// Which one.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// A directory that was named for a server's data has something else in it.
    #[error(
        "{path} does not carry the mark of this program (a file `made-by-meter-sync`), which neither uses nor removes it; \
         name another directory, or remove it yourself if it is an earlier version's"
    )]
    Foreign {
        /// The directory.
        path: PathBuf,
    },
    /// Another process runs a server on the same data.
    #[error("another process runs a server in {path}; stop it first")]
    InUse {
        /// The server's directory.
        path: PathBuf,
    },
    /// The data was made by another major version.
    #[error(
        "{path} was made by Postgres {made_by}, and these binaries are {binaries}; start over with `--fresh`, or name the others' directory in METER_SYNC_POSTGRES_BIN"
    )]
    OtherMajor {
        /// The server's directory.
        path: PathBuf,
        /// The major version that made the data.
        made_by: String,
        /// The major version of the binaries.
        binaries: u32,
    },
    /// The server did not come up, or did not go down, as it should.
    #[error("the server `{name}` {what}; its log ends:\n{log}")]
    Server {
        /// The server's name.
        name: &'static str,
        /// What it did or failed to do.
        what: String,
        /// The last lines of its log.
        log: String,
    },
    /// The runtime shut down in the middle of the work.
    #[error("stopped in the middle of starting Postgres")]
    Stopped(#[from] tokio::task::JoinError),
}

impl EmbeddedError {
    fn file(path: impl Into<PathBuf>) -> impl FnOnce(std::io::Error) -> Self {
        let path = path.into();
        move |source| Self::File { path, source }
    }
}

/// What to tell whoever waits for Postgres to be installed.
pub(crate) fn still_installing() -> String {
    format!(
        "Postgres is still being installed; if this machine has no network, stop this and {}.",
        system::what_to_do()
    )
}

/// Runs file and process work off the async threads.
async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, EmbeddedError> + Send + 'static,
) -> Result<T, EmbeddedError> {
    tokio::task::spawn_blocking(work).await?
}
