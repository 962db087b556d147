//! Connects to a database as its owner, with the right to write. The sync's own connection to the remote is read-only
//! by type, so the demo needs another one to play the part of the central database.

use tokio_postgres::{Client, NoTls, Transaction};
use tokio_util::task::TaskTracker;

/// One connection with the right to write.
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
