//! Moments of a database, to tell whether anything has been committed since.

use std::sync::atomic::Ordering;

use tokio_postgres::SimpleQueryMessage;

use super::{Connection, DbError, Local};

/// When a database is. What is committed is the same at moments that are equal; at others it may be, too.
///
/// A transaction that changes anything, the catalogs included, has a number, and a snapshot tells which
/// numbers have ended. After a crash a number that was lost can be given again: the start of the server and
/// its place in the write-ahead log are others then. Locks are no part of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Moment(String);

const NOW: &str = "\
-- tell the moment
select pg_catalog.concat_ws(' '::pg_catalog.text,
    extract(epoch from pg_catalog.pg_postmaster_start_time())::pg_catalog.text,
    pg_catalog.pg_current_wal_insert_lsn()::pg_catalog.text, pg_catalog.txid_current_snapshot()::pg_catalog.text)";

impl Connection<Local> {
    /// The moment now; `None` where the database does not tell.
    pub async fn moment(&mut self) -> Result<Option<Moment>, DbError> {
        const DOING: &str = "tell the moment";
        let limit = self.waits.answer();
        let silence = || DbError::silence::<Local>(DOING, limit);
        let client = self.client.as_ref().ok_or_else(silence)?;
        // In no transaction of ours: a server without these functions refuses, and nothing else comes of it.
        self.answer_due.store(true, Ordering::Relaxed);
        let answer = tokio::time::timeout(limit, client.simple_query(NOW)).await;
        let answer = answer.map_err(|_elapsed| silence())?;
        self.answer_due.store(false, Ordering::Relaxed);
        match answer {
            Ok(messages) => Ok(messages.iter().find_map(moment)),
            Err(error) if error.as_db_error().is_some() => Ok(None),
            Err(error) => Err(DbError::query::<Local>(DOING, error)),
        }
    }
}

fn moment(message: &SimpleQueryMessage) -> Option<Moment> {
    match message {
        SimpleQueryMessage::Row(row) => row.get(0).map(|text| Moment(text.to_owned())),
        SimpleQueryMessage::CommandComplete(_) | SimpleQueryMessage::RowDescription(_) | _ => None,
    }
}
