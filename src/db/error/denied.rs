//! What a server denies a role, as far as its message tells: `permission denied for function f`.

use tokio_postgres::error::{DbError as ServerError, SqlState};

use crate::db::{SideName, quote};

/// A right that a role lacks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Denied<'e> {
    /// What kind of object it is, in the words of the server: `function`, `table`, `foreign table`.
    pub(crate) kind: &'e str,
    /// Its name, without its schema.
    pub(crate) name: &'e str,
}

impl<'e> Denied<'e> {
    /// What the error names; `None` where a server tells it in another language.
    pub(super) fn of(error: &'e ServerError) -> Option<Self> {
        const KINDS: &[&str] = &[
            "foreign table",
            "materialized view",
            "table",
            "view",
            "function",
            "sequence",
            "schema",
            "type",
        ];
        if *error.code() != SqlState::INSUFFICIENT_PRIVILEGE {
            return None;
        }
        let denied = error.message().strip_prefix("permission denied for ")?;
        KINDS.iter().find_map(|kind| {
            let name = denied.strip_prefix(kind)?.strip_prefix(' ')?;
            Some(Self { kind, name })
        })
    }

    /// Whether its rows are read or written.
    pub(crate) fn has_rows(self) -> bool {
        ["foreign table", "materialized view", "table", "view"].contains(&self.kind)
    }

    /// The grant of the right, where the kind tells which it is.
    pub(super) fn remedy(self, side: SideName) -> Option<String> {
        let right = match self.kind {
            "function" => "execute on function",
            "sequence" => "usage on sequence",
            "schema" => "usage on schema",
            "type" => "usage on type",
            _ if self.has_rows() && side == SideName::Remote => "select on",
            _ => return None,
        };
        let (name, url) = (quote::where_needed(self.name), side.url_variable());
        let check = match side {
            SideName::Remote => "",
            SideName::Local => " `meter-sync check` looks for more such rights.",
        };
        Some(format!(
            "As the owner of {name} on the {side} database: grant {right} {name} to <role>, where <role> is the user of {url}.{check}"
        ))
    }
}
