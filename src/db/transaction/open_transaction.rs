//! A transaction that is open on a connection.
//!
//! The driver's own type would begin it in a round trip of its own. Here, `start transaction` is sent in one message
//! with the settings of the transaction.

use std::ops::Deref;

use futures_util::FutureExt;
use tokio_postgres::Client;

/// A transaction that is open on a connection, or is about to be opened there. Dropping this value rolls it back,
/// unless [`OpenTransaction::has_ended`] was called.
pub(super) struct OpenTransaction<'c> {
    client: &'c Client,
    has_ended: bool,
}

impl<'c> OpenTransaction<'c> {
    /// Takes the connection for one transaction. Sends nothing.
    pub(super) fn new(client: &'c mut Client) -> Self {
        Self {
            client,
            has_ended: false,
        }
    }

    /// Notes that another transaction is about to begin on the connection.
    pub(super) fn begins_again(&mut self) {
        self.has_ended = false;
    }

    /// Notes that the transaction has ended or is about to, so that a drop does not roll it back.
    pub(super) fn has_ended(&mut self) {
        self.has_ended = true;
    }
}

impl Deref for OpenTransaction<'_> {
    type Target = Client;

    fn deref(&self) -> &Client {
        self.client
    }
}

impl Drop for OpenTransaction<'_> {
    fn drop(&mut self) {
        if !self.has_ended {
            // The first poll sends the statement. The connection itself takes the answer.
            drop(self.client.batch_execute("ROLLBACK").now_or_never());
        }
    }
}
