//! Changes with the names that people know the meters by.

use crate::error::Failure;
use crate::meter::{Change, Fields};

use super::Runs;

/// A change of a meter, with the meter's name where it has one.
#[derive(Clone, Debug, PartialEq)]
pub struct NamedChange {
    /// The change.
    pub change: Change,
    /// The name.
    pub name: Option<String>,
}

impl Runs {
    /// Finds the names: in the change where it has one, else in the local table. They are a help only, so where the
    /// table cannot be asked changes go without.
    pub async fn with_names(&self, changes: Vec<Change>) -> Vec<NamedChange> {
        let has_no_name = |change: &&Change| name(change).is_none();
        let unnamed = changes.iter().filter(has_no_name);
        let keys: Vec<&Fields> = unnamed.map(|change| &change.key).collect();
        let found: Result<_, Failure> = match keys.is_empty() {
            true => Ok(Vec::new()),
            false => self.names(&keys).await,
        };
        let mut found = found.unwrap_or_default().into_iter();
        let named = |change: Change| {
            let name = name(&change).map(str::to_owned);
            let name = name.or_else(|| found.next().flatten());
            NamedChange { change, name }
        };
        changes.into_iter().map(named).collect()
    }
}

fn name(change: &Change) -> Option<&str> {
    let before = || change.before.get("name");
    let named = change.after.get("name").or_else(before);
    named.and_then(serde_json::Value::as_str)
}
