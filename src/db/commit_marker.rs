//! Marks what is committed in the local database, to tell whether anything was committed between two markers.

use std::sync::atomic::Ordering;

use tokio_postgres::SimpleQueryMessage;

use super::{Connection, DbError, Local};

/// A marker of what a database has committed. If two markers are equal, nothing was committed in between; if they
/// differ, something may have been.
///
/// Every transaction that changes anything, the catalogs included, has a transaction id, and a snapshot says which of
/// these transactions have ended. After a crash, the server can give a lost id to another transaction. So a marker also
/// contains the start time of the server and its position in the write-ahead log. Taking or releasing an advisory lock
/// does not change the marker.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CommitMarker(String);

const NOW: &str = "\
-- tell the moment
select pg_catalog.concat_ws(' '::pg_catalog.text,
    extract(epoch from pg_catalog.pg_postmaster_start_time())::pg_catalog.text,
    pg_catalog.pg_current_wal_insert_lsn()::pg_catalog.text, pg_catalog.txid_current_snapshot()::pg_catalog.text)";

impl Connection<Local> {
    /// The current marker; `None` if the server returns an error, for example because it lacks one of these functions.
    pub async fn commit_marker(&mut self) -> Result<Option<CommitMarker>, DbError> {
        const DOING: &str = "tell the moment";
        let limit = self.waits.answer();
        let silence = || DbError::silence::<Local>(DOING, limit);
        let client = self.client.as_ref().ok_or_else(silence)?;
        // The statement runs outside a transaction, so that its error does not abort one.
        self.answer_due.store(true, Ordering::Relaxed);
        let answer = tokio::time::timeout(limit, client.simple_query(NOW)).await;
        let answer = answer.map_err(|_elapsed| silence())?;
        self.answer_due.store(false, Ordering::Relaxed);
        match answer {
            Ok(messages) => Ok(messages.iter().find_map(marker)),
            Err(error) if error.as_db_error().is_some() => Ok(None),
            Err(error) => Err(DbError::query::<Local>(DOING, error)),
        }
    }
}

fn marker(message: &SimpleQueryMessage) -> Option<CommitMarker> {
    match message {
        SimpleQueryMessage::Row(row) => row.get(0).map(|text| CommitMarker(text.to_owned())),
        SimpleQueryMessage::CommandComplete(_) | SimpleQueryMessage::RowDescription(_) | _ => None,
    }
}
