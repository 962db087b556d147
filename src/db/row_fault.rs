//! Describes why the server did not accept a row.

use tokio_postgres::error::SqlState;

use super::DbError;

/// Why a row was not accepted. Callers decide by the other fields and not by the message, which is localized. A field
/// is `None` if the server's error does not name it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RowFault {
    /// The five characters of the SQLSTATE; empty if the server raised no error.
    pub state: String,
    /// The server's message.
    pub message: String,
    /// The detail of the message. `None` also for a violated constraint or view check option, because the detail then
    /// lists the values of the row.
    pub detail: Option<String>,
    /// For a duplicate key, the columns and values that exist already, such as `(id)=(5)`.
    pub entry: Option<String>,
    /// The name of the violated constraint or index.
    pub rule: Option<String>,
    /// The schema of the table that the constraint belongs to.
    pub schema: Option<String>,
    /// The table that the constraint belongs to.
    pub table: Option<String>,
    /// The name of the column.
    pub column: Option<String>,
    /// The name of the data type, if a domain is violated.
    pub datatype: Option<String>,
    /// The context of the error, such as the function of a trigger.
    pub context: Option<String>,
    /// The file of the server's source code that raised the error.
    pub file: Option<String>,
}

impl DbError {
    /// Describes the error as a reason why a row was not accepted.
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

/// Returns the text from the first parenthesis to the last one. It does not depend on the language of the message
/// around it.
fn entry(detail: &str) -> Option<String> {
    let (first, last) = (detail.find('(')?, detail.rfind(')')?);
    detail.get(first..=last).map(str::to_owned)
}

/// The server's source files that raise an error if a value is too long for an index.
const INDEX_ENTRIES: &[&str] = &[
    "indextuple.c",
    "nbtutils.c",
    "hashinsert.c",
    "ginentrypage.c",
    "spgdoinsert.c",
    "brin_pageops.c",
];

impl RowFault {
    /// The fault of a row that the server skipped without an error, for example because a trigger returned null.
    pub fn skipped() -> Self {
        Self::default()
    }

    /// The fault of a row that collides with another row. The caller looks up the other row.
    pub fn collision() -> Self {
        Self {
            state: SqlState::UNIQUE_VIOLATION.code().to_owned(),
            ..Self::default()
        }
    }

    /// Whether the server skipped the row without an error.
    pub fn is_skip(&self) -> bool {
        self.state.is_empty() && self.message.is_empty()
    }

    /// Whether the row collides with another row: it breaks a unique index or an exclusion constraint.
    pub fn is_collision(&self) -> bool {
        ["23505", "23P01"].contains(&self.state.as_str())
    }

    /// Whether a value of the row is too long for an index.
    pub fn is_too_long_for_an_index(&self) -> bool {
        let file = self.file.as_deref().unwrap_or_default();
        self.state == "54000" && INDEX_ENTRIES.iter().any(|known| file.ends_with(known))
    }

    /// Whether the fault names neither a constraint nor a column, and is no skip, no collision, no value too long for
    /// an index and no refusal by row security.
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

    /// Whether a trigger or the effect of a foreign key refused the row, and the row does not collide with another.
    pub fn is_refused_elsewhere(&self) -> bool {
        self.context.is_some() && !self.is_collision()
    }
}
