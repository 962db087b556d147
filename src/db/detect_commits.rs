//! Reads markers of what is committed in the local database. If two markers are equal, nothing was committed between
//! them.

use tokio_postgres::SimpleQueryMessage;

use super::connection_ending_errors::refuses_only_the_statement;
use super::{Connection, DbError, Local};

/// Identifies what is committed in a database at one moment. If two markers are equal, nothing was committed between
/// them; if they differ, something may have been.
///
/// A marker contains a snapshot, which says which transactions have ended. Every transaction that changes anything, the
/// catalogs included, has a transaction ID and so appears in later snapshots as ended. After a crash, the server can
/// give a lost ID to another transaction, so a marker also contains the start time of the server and its position in
/// the write-ahead log. Taking or releasing an advisory lock does not change the marker.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CommittedState(String);

const NOW: &str = "\
-- tell the moment
select pg_catalog.concat_ws(' '::pg_catalog.text,
    extract(epoch from pg_catalog.pg_postmaster_start_time())::pg_catalog.text,
    pg_catalog.pg_current_wal_insert_lsn()::pg_catalog.text, pg_catalog.txid_current_snapshot()::pg_catalog.text)";

impl Connection<Local> {
    /// Reads the current marker. Returns `None` if the server refuses the statement, for example because it lacks a
    /// function that the statement calls.
    pub async fn commit_marker(&mut self) -> Result<Option<CommittedState>, DbError> {
        const DOING: &str = "tell the moment";
        let limit = self.waits.answer();
        let silence = || DbError::silence::<Local>(DOING, limit);
        let client = self.client.as_ref().ok_or_else(silence)?;
        // The statement runs outside a transaction, so that its error does not abort one.
        let number = self.answers.sent();
        let answer = tokio::time::timeout(limit, client.simple_query(NOW)).await;
        let answer = answer.map_err(|_elapsed| silence())?;
        self.answers.answered(number);
        match answer {
            Ok(messages) => Ok(messages.iter().find_map(marker)),
            Err(error) if refuses_only_the_statement(&error) => Ok(None),
            Err(error) => Err(DbError::query::<Local>(DOING, error)),
        }
    }
}

fn marker(message: &SimpleQueryMessage) -> Option<CommittedState> {
    match message {
        SimpleQueryMessage::Row(row) => row.get(0).map(|text| CommittedState(text.to_owned())),
        SimpleQueryMessage::CommandComplete(_) | SimpleQueryMessage::RowDescription(_) | _ => None,
    }
}
