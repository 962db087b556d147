//! Starts and stops the two Postgres servers of a demo or an example.

use std::path::Path;

use crate::embedded::{DataDirectory, EmbeddedError, PostgresBinaries, Server, ServerOptions};

/// The name of the database that holds the sample data, on each of the two servers.
const DATABASE: &str = "postgres";

/// A remote and a local Postgres server on this machine.
#[derive(Debug)]
pub struct ServerPair {
    remote: Server,
    local: Server,
    remote_url: String,
    local_url: String,
    version: String,
}

/// Where the two servers keep their data.
#[derive(Clone, Debug)]
pub(super) struct ServerPairDirectories {
    remote: DataDirectory,
    local: DataDirectory,
}

impl ServerPairDirectories {
    /// Returns directories whose data is kept for the next start. They are inside `directory`; if that is `None`,
    /// inside the user's data directory, such as `~/.local/share/meter-sync`.
    pub(super) fn kept(directory: Option<&Path>) -> Result<Self, EmbeddedError> {
        let data = |name: &str| match directory {
            Some(directory) => Ok(DataDirectory::Persistent(directory.join(name))),
            None => DataDirectory::kept(name),
        };
        Ok(Self {
            remote: data("remote")?,
            local: data("local")?,
        })
    }
}

impl ServerPair {
    /// Starts two empty servers whose data is removed when they stop.
    pub async fn temporary() -> anyhow::Result<Self> {
        let directories = ServerPairDirectories {
            remote: DataDirectory::Temporary,
            local: DataDirectory::Temporary,
        };
        let binaries = PostgresBinaries::find_or_install(None).await?;
        Self::start(&binaries, directories, false).await
    }

    /// Starts both servers at the same time. If `fresh` is true, first removes their old data.
    pub(super) async fn start(
        binaries: &PostgresBinaries,
        directories: ServerPairDirectories,
        fresh: bool,
    ) -> anyhow::Result<Self> {
        // Both are checked before data of either is removed.
        [&directories.remote, &directories.local]
            .into_iter()
            .try_for_each(DataDirectory::refuse_foreign)
            .map_err(explain_failed_start)?;
        let (remote, local) = tokio::join!(
            start(binaries, "remote", directories.remote, fresh),
            start(binaries, "local", directories.local, fresh),
        );
        let (remote, local) = match (remote, local) {
            (Ok(remote), Ok(local)) => (remote, local),
            (Ok(started), Err(error)) | (Err(error), Ok(started)) => {
                started.stop().await?;
                return Err(explain_failed_start(error));
            }
            (Err(error), Err(_)) => return Err(explain_failed_start(error)),
        };
        Ok(Self {
            remote_url: remote.url(DATABASE),
            local_url: local.url(DATABASE),
            version: binaries.version().to_owned(),
            remote,
            local,
        })
    }

    /// The URL of the demo's remote (central) database. The role in the URL may write.
    pub fn remote_url(&self) -> &str {
        &self.remote_url
    }

    /// The URL of the demo's local database, which belongs to a site.
    pub fn local_url(&self) -> &str {
        &self.local_url
    }

    /// The servers' version, such as `15.14`.
    pub(super) fn version(&self) -> &str {
        &self.version
    }

    /// The directory that holds both servers' data.
    pub(super) fn directory(&self) -> &Path {
        let one = self.local.directory();
        one.parent().unwrap_or(one)
    }

    /// Stops both servers and waits until they have stopped.
    pub async fn stop(self) -> Result<(), EmbeddedError> {
        let (remote, local) = tokio::join!(self.remote.stop(), self.local.stop());
        remote.and(local)
    }
}

async fn start(
    binaries: &PostgresBinaries,
    name: &'static str,
    data: DataDirectory,
    fresh: bool,
) -> Result<Server, EmbeddedError> {
    if fresh {
        data.erase().await?;
    }
    let options = ServerOptions {
        name,
        data,
        settings: Vec::new(),
    };
    Server::start(binaries, options).await
}

fn explain_failed_start(error: EmbeddedError) -> anyhow::Error {
    let context = if matches!(error, EmbeddedError::InUse { .. }) {
        "another demo is running; stop it, or give this one a --data-dir of its own"
    } else if matches!(error, EmbeddedError::File { .. }) {
        "the demo's Postgres servers did not start; name a directory for their data with --data-dir"
    } else {
        "the demo's Postgres servers did not start"
    };
    anyhow::Error::new(error).context(context)
}
