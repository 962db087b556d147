//! What a server says of a row that it does not take.

use tokio_postgres::error::SqlState;

use super::DbError;

/// Why a row is not taken, by what the server's error names and not by its wording, which is in the server's language.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RowFault {
    /// The five characters of the SQLSTATE; empty when no error was raised.
    pub state: String,
    /// The server's message.
    pub message: String,
    /// What it adds; for a broken constraint that is a dump of the row, which is left out.
    pub detail: Option<String>,
    /// What the index was to hold of the row, as in `(id)=(5)`, where that is held already.
    pub entry: Option<String>,
    /// The constraint or index.
    pub rule: Option<String>,
    /// The schema of that table.
    pub schema: Option<String>,
    /// The table that the constraint is of.
    pub table: Option<String>,
    /// The column.
    pub column: Option<String>,
    /// The type, where a domain is broken.
    pub datatype: Option<String>,
    /// Where the server was at, as in the function of a trigger.
    pub context: Option<String>,
    /// The file of the server's source that it was raised in.
    pub file: Option<String>,
}

impl DbError {
    /// What the server says of the row.
    pub fn fault(&self) -> RowFault {
        let Some(error) = self.server_error() else {
            return RowFault {
                message: self.to_string(),
                ..RowFault::default()
            };
        };
        let state = error.code().code().to_owned();
        let owned = |text: Option<&str>| text.map(str::to_owned);
        let is_dump =
            state.starts_with("23") || *error.code() == SqlState::WITH_CHECK_OPTION_VIOLATION;
        RowFault {
            message: error.message().to_owned(),
            detail: owned(error.detail().filter(|_| !is_dump)),
            entry: error
                .detail()
                .filter(|_| *error.code() == SqlState::UNIQUE_VIOLATION)
                .and_then(entry),
            rule: owned(error.constraint()),
            schema: owned(error.schema()),
            table: owned(error.table()),
            column: owned(error.column()),
            datatype: owned(error.datatype()),
            context: owned(error.where_()),
            file: owned(error.file()),
            state,
        }
    }
}

/// From the first parenthesis to the last one, in whatever language the words around them are.
fn entry(detail: &str) -> Option<String> {
    let (first, last) = (detail.find('(')?, detail.rfind(')')?);
    detail.get(first..=last).map(str::to_owned)
}

/// Where the server finds that an index cannot hold an entry.
const INDEX_ENTRIES: &[&str] = &[
    "indextuple.c",
    "nbtutils.c",
    "hashinsert.c",
    "ginentrypage.c",
    "spgdoinsert.c",
    "brin_pageops.c",
];

impl RowFault {
    /// The row was passed over without an error.
    pub fn skipped() -> Self {
        Self::default()
    }

    /// Another row stands in the way; which one is to be looked up.
    pub fn collision() -> Self {
        Self {
            state: SqlState::UNIQUE_VIOLATION.code().to_owned(),
            ..Self::default()
        }
    }

    /// Whether the row was passed over without an error.
    pub fn is_skip(&self) -> bool {
        self.state.is_empty() && self.message.is_empty()
    }

    /// Whether another row stands in the way.
    pub fn is_collision(&self) -> bool {
        ["23505", "23P01"].contains(&self.state.as_str())
    }

    /// Whether an index cannot hold a value as long as that of the row.
    pub fn is_too_long_for_an_index(&self) -> bool {
        let file = self.file.as_deref().unwrap_or_default();
        self.state == "54000" && INDEX_ENTRIES.iter().any(|known| file.ends_with(known))
    }

    /// Whether neither a rule nor a column is named, and neither another row nor row security stands in the way.
    pub fn names_nothing(&self) -> bool {
        self.rule.is_none()
            && self.column.is_none()
            && !self.is_skip()
            && !self.is_collision()
            && !self.is_too_long_for_an_index()
            && !self.is_of_row_security()
    }

    /// Whether a policy of row security refused the row.
    fn is_of_row_security(&self) -> bool {
        let file = self.file.as_deref().unwrap_or_default();
        self.state == "42501" && file.ends_with("execMain.c")
    }

    /// Whether a trigger or what follows from a foreign key refused the row, and no other row stands in the way.
    pub fn is_refused_elsewhere(&self) -> bool {
        self.context.is_some() && !self.is_collision()
    }
}
