//! Finds out on which object a role lacks a privilege, from a server's message such as
//! `permission denied for function f`.

use tokio_postgres::error::{DbError as ServerError, SqlState};

use crate::db::{SideName, quote};

/// An object on which the role lacks a privilege.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct DeniedObject<'e> {
    /// The kind of the object, in the words of the server: `function`, `table`, `foreign table`.
    pub(crate) kind: &'e str,
    /// The name of the object, without its schema.
    pub(crate) name: &'e str,
}

impl<'e> DeniedObject<'e> {
    /// Reads the object from the error message. Returns `None` if the error is not about a privilege, or if the message
    /// is not in English.
    pub(super) fn of(error: &'e ServerError) -> Option<Self> {
        const KINDS: &[&str] = &[
            "foreign table",
            "materialized view",
            "table",
            "view",
            "function",
            "aggregate",
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

    /// Whether the object is a function.
    pub(crate) fn is_on_function(self) -> bool {
        ["function", "aggregate"].contains(&self.kind)
    }

    /// Whether the object has rows, as tables and views do.
    pub(crate) fn has_rows(self) -> bool {
        ["foreign table", "materialized view", "table", "view"].contains(&self.kind)
    }

    /// Returns advice for the user: the `grant` statement that gives the missing privilege. Returns `None` if several
    /// privileges could be missing on an object of this kind.
    pub(super) fn remedy(self, side: SideName) -> Option<String> {
        let right = match self.kind {
            "function" | "aggregate" => "execute on function",
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
