//! The form in which rows cross from one server to the other.

use crate::db::{Remote, Tx};

use super::Shape;

/// How both servers write and read rows in COPY
/// (<https://www.postgresql.org/docs/current/sql-copy.html>).
#[derive(Clone, Copy, Debug)]
pub(super) enum Format {
    /// As text, of which any type may be made.
    Text,
    /// As they hold them, which takes less work and more bytes.
    Binary,
}

/// Types that every server since version 14 sends and takes in one form. `interval` is none: servers before
/// version 17 take its infinity for some number of days and say nothing.
const ONE_FORM: &[&str] = &[
    "boolean",
    "smallint",
    "integer",
    "bigint",
    "real",
    "double precision",
    "numeric",
    "text",
    "character varying",
    "bpchar",
    "bytea",
    "uuid",
    "date",
    "time without time zone",
    "timestamp without time zone",
    "timestamp with time zone",
    "inet",
    "cidr",
    "json",
    "jsonb",
];

impl Format {
    /// What takes the least time: over a short line, the least work; over a long one, which is taken for a
    /// thin one, the fewest bytes.
    pub(super) fn quickest(remote: &Tx<'_, Remote>, shape: &Shape) -> Self {
        let mut columns = shape.remote_columns.iter().zip(&shape.columns);
        let is_alike = columns.all(|(there, here)| {
            there.is_builtin
                && here.is_builtin
                && there.base_type == here.base_type
                && ONE_FORM.contains(&here.base_type.as_str())
        });
        match is_alike && remote.is_near() {
            true => Self::Binary,
            false => Self::Text,
        }
    }

    /// What COPY is told.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Text => "text",
            Self::Binary => "binary",
        }
    }
}
