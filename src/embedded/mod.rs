//! Starts real Postgres servers on this machine, for `demo`, the examples and the tests.
//!
//! This module guarantees that its servers
//!
//! - listen on a loopback port only,
//! - never run as root (if this process is root, they run as `postgres`, or else as `nobody`),
//! - keep their files in directories that only their account may enter,
//! - end with the process that started them, even after `kill -9`. For this, each runs under a supervisor, a shell
//!   (`supervise.sh`) that waits for a pipe to close. If the supervisor is killed, too, its server may go on. A later
//!   start removes the temporary directory of such a server once the server has ended.
//!
//! This module downloads only through a package manager, and never upgrades a data directory to another major version.
//! Temporary servers have no passwords, because they hold nothing of value. Persistent data has a random password,
//! because a Postgres superuser can run programs.

use std::path::PathBuf;

pub use find_binaries::PostgresBinaries;
pub use server::{Server, ServerOptions};
pub use server_directory::DataDirectory;

mod download_directories;
mod find_binaries;
mod install_advice;
mod install_binaries;
mod server;
mod server_account;
mod server_directory;

/// Why a Postgres server could not be started or stopped.
#[derive(Debug, thiserror::Error)]
pub enum EmbeddedError {
    /// The directory that the caller named has no Postgres binaries that this account can run.
    #[error(
        "{directory} holds no Postgres server this account can run; name the directory that has `initdb` and `postgres`"
    )]
    NotThere {
        /// The directory that the caller named.
        directory: PathBuf,
    },
    /// No Postgres is installed, and none could be installed.
    #[error(
        "found no Postgres server and could not install one: {what_to_do}, or name the directory that has `initdb` and `postgres` in METER_SYNC_POSTGRES_BIN"
    )]
    NoBinaries {
        /// How a person installs Postgres on this system.
        what_to_do: String,
    },
    /// This machine has no account under which the server can run.
    #[error("Postgres cannot run here: {reason}")]
    Account {
        /// What is wrong and what to do.
        reason: String,
    },
    /// A program is not installed.
    #[error("there is no `{program}`")]
    Missing {
        /// The name of the program.
        program: String,
    },
    /// A program that this module ran has failed.
    #[error("`{program}` failed: {output}")]
    Command {
        /// The name of the program.
        program: String,
        /// The end of the program's output.
        output: String,
    },
    /// A file or directory could not be used.
    #[error("cannot use {path}")]
    File {
        /// The file or directory.
        path: PathBuf,
        /// The I/O error.
        #[source]
        source: std::io::Error,
    },
    /// The directory named for a server's data contains something that this program did not make.
    #[error(
        "{path} does not carry the mark of this program (a file `made-by-meter-sync`), which neither uses nor removes it; \
         name another directory, or remove it yourself if it is an earlier version's"
    )]
    Foreign {
        /// The directory named for the data.
        path: PathBuf,
    },
    /// Another process runs a server on the same data.
    #[error("another process runs a server in {path}; stop it first")]
    InUse {
        /// The server's directory.
        path: PathBuf,
    },
    /// The data was made by another major version of Postgres.
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
    /// The server did not start or stop as it should.
    #[error("the server `{name}` {what}; its log ends:\n{log}")]
    Server {
        /// The server's name.
        name: &'static str,
        /// What the server did wrong, such as "did not stop".
        what: String,
        /// The last lines of the server's log.
        log: String,
    },
    /// The background task that starts or stops the server ended early, because the async runtime shut down.
    #[error("stopped in the middle of starting Postgres")]
    Stopped(#[from] tokio::task::JoinError),
}

impl EmbeddedError {
    fn file(path: impl Into<PathBuf>, source: std::io::Error) -> Self {
        let path = path.into();
        Self::File { path, source }
    }
}

/// Converts an I/O error to an [`EmbeddedError`] that names the file or directory.
trait FileErrorContext<T> {
    fn of_file(self, path: impl Into<PathBuf>) -> Result<T, EmbeddedError>;
}

impl<T> FileErrorContext<T> for std::io::Result<T> {
    fn of_file(self, path: impl Into<PathBuf>) -> Result<T, EmbeddedError> {
        self.map_err(|source| EmbeddedError::file(path, source))
    }
}

/// Returns the message for a person who waits while Postgres is being installed.
pub(crate) fn still_installing() -> String {
    format!(
        "Postgres is still being installed; if this machine has no network, stop this and {}.",
        install_advice::what_to_do()
    )
}

/// Runs blocking work, such as the use of files and processes, on a thread apart from those of the async runtime.
async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, EmbeddedError> + Send + 'static,
) -> Result<T, EmbeddedError> {
    tokio::task::spawn_blocking(work).await?
}
