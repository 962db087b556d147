//! Adds the names of meters to changes.

use crate::model::{Change, Fields};

use crate::mirrors::Mirror;
use crate::mirrors::run::report::RunReport;

impl Mirror {
    /// Sets the name of its meter in each change, from the change itself or else from the local table. If the table
    /// cannot be read, the changes that lack a name stay without one, because names only help the reader.
    pub async fn with_names(&self, mut changes: Vec<Change>) -> Vec<Change> {
        for change in &mut changes {
            change.name = name(change).map(str::to_owned);
        }
        let unnamed = changes.iter().filter(|change| change.name.is_none());
        let keys: Vec<&Fields> = unnamed.map(|change| &change.key).collect();
        let found = match keys.is_empty() {
            true => Vec::new(),
            false => self.names(&keys).await.unwrap_or_default(),
        };
        let mut found = found.into_iter();
        for change in changes.iter_mut().filter(|change| change.name.is_none()) {
            change.name = found.next().flatten();
        }
        changes
    }

    /// Returns the report with the names of the meters that the run changed.
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
