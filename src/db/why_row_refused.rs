//! Describes why the server did not accept a row.

use tokio_postgres::error::{DbError as ServerError, SqlState};

use super::DbError;

/// Why the server did not accept a row. `message` may be in any language, so callers make decisions by the other
/// fields. A field is `None` if the server's error does not name it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RowFault {
    /// The five characters of the SQLSTATE; empty if the server sent no error.
    pub state: String,
    /// The server's message; empty for a fault that this program made up (see [`Self::skipped`] and
    /// [`Self::collision`]).
    pub message: String,
    /// The detail of the message. `None` also for a violated constraint or view check option, and for an insert into a
    /// table that Citus distributes, because the detail then lists the values of the row.
    pub detail: Option<String>,
    /// For a duplicate key, the columns and values that already exist, such as `(id)=(5)`. `None` for other errors.
    pub entry: Option<String>,
    /// The name of the violated constraint or index.
    pub rule: Option<String>,
    /// The schema of the table that the constraint belongs to.
    pub schema: Option<String>,
    /// The table that the constraint belongs to.
    pub table: Option<String>,
    /// The name of the column that the error is about.
    pub column: Option<String>,
    /// The name of the domain whose constraint the row violates.
    pub datatype: Option<String>,
    /// The context of the error, such as the function of the trigger in which it occurred.
    pub context: Option<String>,
    /// The file of the server's source code that raised the error.
    pub file: Option<String>,
}

impl DbError {
    /// Converts the error to the reason why a row was not accepted.
    pub fn fault(&self) -> RowFault {
        let Some(error) = self.server_error() else {
            return RowFault {
                message: self.to_string(),
                ..RowFault::default()
            };
        };
        let state = error.code().code().to_owned();
        let owned = |text: Option<&str>| text.map(str::to_owned);
        let is_dump = state.starts_with("23")
            || *error.code() == SqlState::WITH_CHECK_OPTION_VIOLATION
            || is_of_shard_copy(error);
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

/// Whether Citus passes on an error of an insert into a shard, without its SQLSTATE.
fn is_of_shard_copy(error: &ServerError) -> bool {
    let file = error.file().unwrap_or_default();
    *error.code() == SqlState::INTERNAL_ERROR && file.ends_with(SHARD_COPY)
}

/// The source file of Citus that passes on errors of inserts into shards.
const SHARD_COPY: &str = "multi_copy.c";

/// Returns the part of an error's detail from the first parenthesis to the last one, such as `(id)=(5)`. It does not
/// depend on the language of the text around it. Returns `None` if there are no parentheses.
fn entry(detail: &str) -> Option<String> {
    let (first, last) = (detail.find('(')?, detail.rfind(')')?);
    detail.get(first..=last).map(str::to_owned)
}

/// Whether the character may be part of a name without quotes.
fn is_of_name(letter: char) -> bool {
    letter.is_alphanumeric() || letter == '_'
}

/// Whether the text contains a name that begins with `start` and ends in the number of a shard. `skip` removes from a
/// text what stands between the two, and returns `None` if the text does not begin with that.
fn has_shard_name(text: &str, start: &str, skip: fn(&str) -> Option<&str>) -> bool {
    let mut places = text.match_indices(start);
    places.any(|(at, _)| {
        let before = text.get(..at).unwrap_or_default();
        let after = text.get(at + start.len()..).unwrap_or_default();
        let number = skip(after).unwrap_or_default();
        let rest = number.trim_start_matches(|letter: char| letter.is_ascii_digit());
        rest.len() < number.len() && !rest.starts_with(is_of_name) && !before.ends_with(is_of_name)
    })
}

/// The most bytes of a name.
const LONGEST_NAME: usize = 63;

/// Returns the beginnings that may be left of the name if Citus shortens it. If a name would be too long with the
/// number of the shard, Citus cuts it off and adds a hash of the whole name, such as `a_long_name_66b551b8_102010`.
fn shortened(name: &str) -> impl Iterator<Item = &str> {
    // A number has 6 digits on a new cluster, and up to 19.
    let starts = (6..20).filter(|digits| name.len() + digits >= LONGEST_NAME);
    starts.filter_map(|digits| {
        let longest = LONGEST_NAME - "_66b551b8_".len() - digits;
        (0..=longest).rev().find_map(|end| name.get(..end))
    })
}

/// Removes from the beginning of the text a hash such as `_66b551b8_` (see [`shortened`]). Returns `None` if the text
/// does not begin with one.
fn after_hash(text: &str) -> Option<&str> {
    let (hash, rest) = text.strip_prefix('_')?.split_at_checked(8)?;
    let is_hash = hash.chars().all(|letter| letter.is_ascii_hexdigit());
    rest.strip_prefix('_').filter(|_| is_hash)
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
    /// Returns the fault of a row that the server skipped without an error, for example because a trigger returned
    /// null.
    pub fn skipped() -> Self {
        Self::default()
    }

    /// Returns the fault of a row that collides with another row (both have the same unique value). It does not say
    /// with which row; the caller looks that up.
    pub fn collision() -> Self {
        Self {
            state: SqlState::UNIQUE_VIOLATION.code().to_owned(),
            ..Self::default()
        }
    }

    /// Whether the row broke a shard's copy of the constraint or index `rule`. Citus stores the rows of a distributed
    /// table `meter` in tables such as `meter_102008`, whose indexes and foreign keys also have the number at the end
    /// of their names. If the shard is on another server, the error has the name in its message only.
    pub fn breaks_in_shard(&self, rule: &str) -> bool {
        let text = self.rule.as_deref().unwrap_or(&self.message);
        has_shard_name(text, rule, |after| after.strip_prefix('_'))
            || shortened(rule).any(|start| has_shard_name(text, start, after_hash))
    }

    /// Whether Citus passed on an error of the shard that was to take the inserted row. Such an error has only the
    /// general SQLSTATE `XX000`, and names no constraint and no column.
    pub fn is_of_shard_copy(&self) -> bool {
        let file = self.file.as_deref().unwrap_or_default();
        self.state == SqlState::INTERNAL_ERROR.code() && file.ends_with(SHARD_COPY)
    }

    /// Whether the message has this name, in quotation marks of whatever language.
    pub fn quotes(&self, name: &str) -> bool {
        let is_quote = |letter: char| !is_of_name(letter) && letter != ' ';
        let mut places = self.message.match_indices(name);
        places.any(|(at, _)| {
            let before = self.message.get(..at).unwrap_or_default();
            let after = self.message.get(at + name.len()..).unwrap_or_default();
            before.ends_with(is_quote) && after.starts_with(is_quote)
        })
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

    /// Whether the fault does not tell what refused the row. It then names neither a constraint nor a column, and is
    /// none of these: a skipped row, a collision, a value too long for an index, a refusal by row security.
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

    /// Whether the row was refused by other code that its change ran, such as a trigger or the action of a foreign key.
    /// `false` if the row collides with another row.
    pub fn is_refused_by_other_code(&self) -> bool {
        self.context.is_some() && !self.is_collision()
    }
}
