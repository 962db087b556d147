//! The form in which rows cross from one server to the other.

use crate::db::catalog::Column;
use crate::db::{Local, Remote, Tx, quote};

use super::Shape;

/// How both servers write and read rows in COPY
/// (<https://www.postgresql.org/docs/current/sql-copy.html>).
#[derive(Clone, Debug)]
pub(super) enum Format {
    /// As text, of which any type may be made.
    Text {
        /// The encoding that the remote is told to write; `None` for that of the connection, UTF-8.
        written: Option<String>,
        /// The encoding in which the local server reads it; `None` for UTF-8.
        read: Option<String>,
        /// The encoding of what the remote wrote, where it is made UTF-8 on the way (`recode`).
        recoded: Option<String>,
    },
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

/// Binary data doubles where it is written as text, and a server writes no row of 1 GiB: the COPY would end there. In
/// place of more bytes than these goes a text that is no binary data, so the row is rejected here.
const MOST_BYTES: u32 = 500_000_000;
const NO_BYTES: &str = "'too many bytes to cross as text \\'::pg_catalog.text";

const UTF8: &str = "UTF8";
const NO_ENCODING: &str = "SQL_ASCII";

impl Format {
    /// What takes the least time: over a short line, the least work; over a long one, which is taken for a
    /// thin one, the fewest bytes.
    pub(super) fn quickest(remote: &Tx<'_, Remote>, local: &Tx<'_, Local>, shape: &Shape) -> Self {
        let mut columns = shape.remote_columns.iter().zip(&shape.columns);
        let is_alike = columns.all(|(there, here)| {
            there.is_builtin
                && here.is_builtin
                && there.base_type == here.base_type
                && ONE_FORM.contains(&here.base_type.as_str())
        });
        let is_any_text_taken =
            remote.encoding() == UTF8 && [UTF8, NO_ENCODING].contains(&local.encoding());
        match is_alike && is_any_text_taken && remote.is_near() {
            true => Self::Binary,
            false => Self::text(remote.encoding(), local.encoding()),
        }
    }

    /// A remote that converts its texts fails as a whole on the first that it cannot convert, so the conversion is left to
    /// the local server: there the row is found and rejected.
    fn text(there: &str, here: &str) -> Self {
        let named = |name: &str| Some(name.to_owned());
        let (written, read, recoded) = match (there, here) {
            (NO_ENCODING, _) => (named(NO_ENCODING), None, None),
            (UTF8, _) => (None, None, None),
            (there, UTF8) => (named(there), named(there), None),
            // Every encoding has a conversion to UTF-8; few have one to another encoding. And a text without a counterpart
            // in UTF-8 is refused even where both sides could store it: nobody could be shown it.
            (there, _) => (named(there), None, named(there)),
        };
        Self::Text {
            written,
            read,
            recoded,
        }
    }

    /// The encoding of what the remote wrote, where it is to be made UTF-8 before the local server reads it.
    pub(super) fn recoded(&self) -> Option<&str> {
        match self {
            Self::Text { recoded, .. } => recoded.as_deref(),
            Self::Binary => None,
        }
    }

    /// The columns of a remote row `r`, as they are sent.
    pub(super) fn columns(&self, shape: &Shape) -> Vec<String> {
        let both = || shape.remote_columns.iter().zip(&shape.columns);
        let sent = both().map(|(there, here)| {
            let value = format!("r.{}", quote::identifier(&there.name));
            cast(shape, (there, here), &value).unwrap_or(value)
        });
        let Self::Text { .. } = self else {
            return sent.collect();
        };
        let is_bytes = |(there, here): (&Column, &Column)| {
            there.base_type == "bytea" && here.base_type == "bytea"
        };
        let lengths: Vec<String> = both()
            .zip(sent.clone())
            .filter(|(both, _)| is_bytes(*both))
            .map(|(_, value)| {
                format!("coalesce(pg_catalog.octet_length({value}), 0)::pg_catalog.int8")
            })
            .collect();
        let length = lengths.join(" operator(pg_catalog.+) ");
        let is_too_long = format!("{length} operator(pg_catalog.>) {MOST_BYTES}::pg_catalog.int8");
        let guarded = both().zip(sent).map(|(both, value)| match is_bytes(both) {
            true => {
                format!("case when {is_too_long} then {NO_BYTES} else {value}::pg_catalog.text end")
            }
            false => value,
        });
        guarded.collect()
    }

    /// What COPY on the remote is told.
    pub(super) fn to_write(&self) -> String {
        match self {
            Self::Text { written, .. } => text_options(written.as_deref()),
            Self::Binary => "format binary".to_owned(),
        }
    }

    /// What COPY here is told.
    pub(super) fn to_read(&self) -> String {
        match self {
            Self::Text { read, .. } => text_options(read.as_deref()),
            Self::Binary => "format binary".to_owned(),
        }
    }

    /// The type in which a column is staged that takes every value in this format.
    pub(super) fn loosest<'c>(&self, column: &'c Column) -> &'c str {
        match self {
            Self::Text { .. } => "text",
            Self::Binary => &column.base_type,
        }
    }
}

fn text_options(encoding: Option<&str>) -> String {
    encoding.map_or_else(
        || "format text".to_owned(),
        |encoding| format!("format text, encoding {}", quote::literal(encoding)),
    )
}

/// A remote value as a text, where the local column is of another type; `None` if it is sent as its type writes it.
///
/// Such a value becomes what the local type reads. Where the cast of an assignment makes something else of it, or makes
/// something where the text would be refused, that cast is made on the remote; but a text column takes the text as it
/// is, with the blanks of a `char(n)` and `t` or `f` for a boolean. In a key `'1'` and `'1   '` are one. A cast must not
/// fail on the remote, as a COPY ends with the first failure: what does not fit is left as it is and refused here.
pub(super) fn cast(
    shape: &Shape,
    (there, here): (&Column, &Column),
    value: &str,
) -> Option<String> {
    if !there.is_builtin || there.base_type == here.base_type {
        return None;
    }
    let to = here.base_type.as_str();
    let is_text = TEXTS.contains(&to);
    if is_text && !shape.key.contains(&here.name) {
        return None;
    }
    let from = there.base_type.as_str();
    match from {
        // The blanks that fill it up are no part of the value.
        "bpchar" => return Some(format!("{value}::pg_catalog.text")),
        // `true`, where the type itself writes `t`.
        "boolean" if is_text => return Some(format!("{value}::pg_catalog.text")),
        "numeric" if INTEGERS.contains(&to) => {
            return Some(format!("pg_catalog.round({value}, 0)::pg_catalog.text"));
        }
        _ => {}
    }
    let (from, to, is_array) = match (from.strip_suffix("[]"), to.strip_suffix("[]")) {
        (Some(from), Some(to)) => (from, to, "[]"),
        (None, None) => (from, to, ""),
        (Some(_), None) | (None, Some(_)) => return None,
    };
    let (through, fits) = assigned(from, to)?;
    let made = format!("{value}::pg_catalog.{through}{is_array}::pg_catalog.text");
    let Some(fits) = fits else {
        return Some(made);
    };
    let fits = match is_array {
        "" => fits(value),
        _ => format!(
            "coalesce((select pg_catalog.bool_and({}) from pg_catalog.unnest({value}) e (v)), true)",
            fits("e.v")
        ),
    };
    Some(format!(
        "case when {fits} then {made} else {value}::pg_catalog.text end"
    ))
}

/// A condition on a value.
type Fits = fn(&str) -> String;

/// The type to which a value is cast on the remote, and the condition under which that cannot fail, where the cast of an
/// assignment makes something else of a value than its text does (`pg_cast` lists these casts).
fn assigned(from: &str, to: &str) -> Option<(&'static str, Option<Fits>)> {
    let is_integer = INTEGERS.contains(&to);
    match from {
        "money" if is_integer || to == "numeric" => Some(("numeric", None)),
        "numeric" if is_integer => Some(("int8", Some(is_bigint))),
        "real" | "double precision" if is_integer => Some(("int8", Some(is_bigint_float))),
        "inet" if to == "cidr" => Some(("cidr", None)),
        "macaddr8" if to == "macaddr" => Some(("macaddr", Some(is_macaddr))),
        "box" if to == "polygon" => Some(("polygon", None)),
        "point" if to == "box" => Some(("box", None)),
        "oid" if to == "integer" => Some(("int4", None)),
        of_catalog if of_catalog.starts_with("reg") => match to {
            "integer" => Some(("int4", None)),
            "bigint" => Some(("int8", None)),
            "oid" => Some(("oid", None)),
            _ => None,
        },
        _ => None,
    }
}

fn is_bigint(value: &str) -> String {
    between(
        value,
        "numeric",
        ["-9223372036854775808.5", "9223372036854775807.5"],
    )
}

fn is_bigint_float(value: &str) -> String {
    between(value, "float8", ["-9.2e18", "9.2e18"])
}

fn between(value: &str, of: &str, [low, high]: [&str; 2]) -> String {
    format!(
        "{value} operator(pg_catalog.>) '{low}'::pg_catalog.{of} and {value} operator(pg_catalog.<) '{high}'::pg_catalog.{of}"
    )
}

/// Six bytes that were made eight.
fn is_macaddr(value: &str) -> String {
    format!(
        "pg_catalog.substr({value}::pg_catalog.text, 10, 5) operator(pg_catalog.=) 'ff:fe'::pg_catalog.text"
    )
}

const TEXTS: &[&str] = &["text", "character varying", "bpchar"];
const INTEGERS: &[&str] = &["smallint", "integer", "bigint"];
