//! Adds meter names to lists of logged changes, so that people can read them.

use crate::db::{Local, Tx};
use crate::error::Failure;
use crate::model::{Change, MeterFields};

use crate::mirrors::Mirror;
use crate::reports::run_report::RunReport;

impl Mirror {
    /// Returns the changes, each with the name of its meter. The name comes from the change's own values, or else from
    /// the local table. If the table cannot be read, this is no error, because names only help the reader: the missing
    /// ones stay `None`.
    pub async fn with_names(&self, mut changes: Vec<Change>) -> Vec<Change> {
        for change in &mut changes {
            change.name = name(change).map(str::to_owned);
        }
        let unnamed = changes.iter_mut().filter(|change| change.name.is_none());
        let unnamed: Vec<&mut Change> = unnamed.collect();
        let keys: Vec<&MeterFields> = unnamed.iter().map(|change| &change.key).collect();
        if !keys.is_empty() {
            let found = self.names(&keys).await.unwrap_or_default();
            for (change, name) in unnamed.into_iter().zip(found) {
                change.name = name;
            }
        }
        changes
    }

    /// Returns the names of the meters with these keys in the local table, in the order of `keys`. A name is `None` if
    /// there is no such row, or if the row has no name. If any key has a value that does not fit the type of its
    /// column, all names are `None`.
    pub async fn names(&self, keys: &[&MeterFields]) -> Result<Vec<Option<String>>, Failure> {
        let read = async |tx: &Tx<'_, Local>| {
            let meters = self.meters(tx).await?;
            match meters.names(tx, keys).await {
                Err(error) if error.is_about_a_row() => Ok(vec![None; keys.len()]),
                names => Ok(names?),
            }
        };
        self.local()?.read("meter names", read).await
    }

    /// Returns the report, with the name of its meter added to each change.
    pub async fn report_with_names(&self, report: RunReport) -> RunReport {
        let changes = self.with_names(report.changes).await;
        RunReport { changes, ..report }
    }
}

fn name(change: &Change) -> Option<&str> {
    let before = || change.before.get("name");
    let named = change.after.get("name").or_else(before);
    named.and_then(serde_json::Value::as_str)
}
