//! Connects to a demo database with the right to write. The demo needs this to change rows of its remote, because the
//! connections that the module `db` makes to a remote are always read-only.

use tokio_postgres::{Client, NoTls, Transaction};
use tokio_util::task::TaskTracker;

/// A connection to a demo database with the right to write.
pub(super) struct OwnerConnection {
    client: Client,
    driver: TaskTracker,
}

impl OwnerConnection {
    pub(super) async fn connect(url: &str) -> Result<Self, tokio_postgres::Error> {
        let (client, connection) = tokio_postgres::connect(url, NoTls).await?;
        let driver = TaskTracker::new();
        driver.spawn(async {
            if let Err(error) = connection.await {
                tracing::debug!(%error, "a connection of the demo broke");
            }
        });
        Ok(Self { client, driver })
    }

    pub(super) async fn begin(&mut self) -> Result<Transaction<'_>, tokio_postgres::Error> {
        self.client.transaction().await
    }

    /// Closes the connection and waits until it is closed.
    pub(super) async fn close(self) {
        drop(self.client);
        self.driver.close();
        self.driver.wait().await;
    }
}
