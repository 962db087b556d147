//! Chooses the COPY format in which rows pass from the remote to the local server.

use crate::db::catalog::Column;
use crate::db::{Remote, Tx, quote};
use crate::engine::{Relations, RunContext};

/// The COPY format that both servers use (<https://www.postgresql.org/docs/current/sql-copy.html>).
#[derive(Clone, Debug)]
pub(in crate::engine) enum CopyFormat {
    /// The text format. The local server can convert a text to any type.
    Text {
        /// The encoding that the remote is told to write. If `None`, it writes the connection's encoding, UTF-8.
        written: Option<String>,
        /// The encoding in which the local server is told to read. If `None`, it reads UTF-8.
        read: Option<String>,
        /// If set, the rows are converted from this encoding to UTF-8 between the two servers (see `recode_rows`). If
        /// `None`, they are passed on as the remote wrote them.
        recoded: Option<String>,
    },
    /// The binary format, which takes less work than text, but more bytes.
    Binary,
}

/// The types that have the same binary format in all servers since version 14. `interval` is missing, because servers
/// before version 17 silently read an infinite interval as a number of days.
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

/// The most bytes that the `bytea` values of one row may have together if they are sent in the text format. As text,
/// they take twice as many bytes, and a server cannot send a row of 1 GiB, so the COPY would fail. In a row with more
/// bytes, [`NO_BYTES`] is sent in place of each of these values. This text is no valid `bytea`, so the local server
/// rejects the row.
const MOST_BYTES: u32 = 500_000_000;
const NO_BYTES: &str = "'too many bytes to cross as text \\'::pg_catalog.text";

const UTF8: &str = "UTF8";
const NO_ENCODING: &str = "SQL_ASCII";

impl CopyFormat {
    /// Chooses the fastest format that both servers can use. On a near connection, this is the binary format, which
    /// takes the least work. A distant connection is assumed to have a low bandwidth, so the text format is used, which
    /// takes the fewest bytes.
    pub(in crate::engine) fn quickest(remote: &Tx<'_, Remote>, run: &RunContext<'_>) -> Self {
        let mut columns = run
            .relations
            .remote_columns
            .iter()
            .zip(&run.relations.columns);
        let is_alike = columns.all(|(there, here)| {
            there.is_builtin
                && here.is_builtin
                && there.base_type == here.base_type
                && ONE_FORM.contains(&here.base_type.as_str())
        });
        let is_any_text_taken =
            remote.encoding() == UTF8 && [UTF8, NO_ENCODING].contains(&run.local.encoding());
        match is_alike && is_any_text_taken && remote.is_near() {
            true => Self::Binary,
            false => Self::text(remote.encoding(), run.local.encoding()),
        }
    }

    /// Returns the text format for databases with these encodings: `there` the remote, `here` the local one. The local
    /// server converts between the encodings, because it can reject a single row that does not convert. If the remote
    /// converted, the first such row would end the whole COPY.
    fn text(there: &str, here: &str) -> Self {
        let named = |name: &str| Some(name.to_owned());
        let (written, read, recoded) = match (there, here) {
            (NO_ENCODING, _) => (named(NO_ENCODING), None, None),
            (UTF8, _) => (None, None, None),
            (there, UTF8) => (named(there), named(there), None),
            // Every encoding can be converted to UTF-8, but few can be converted to another encoding. A text without a
            // counterpart in UTF-8 is rejected even if both sides could store it, because no client could show it.
            (there, _) => (named(there), None, named(there)),
        };
        Self::Text {
            written,
            read,
            recoded,
        }
    }

    /// Returns the encoding that the remote writes, if rows must be converted to UTF-8 before the local server reads
    /// them. `None` if no such conversion is needed.
    pub(in crate::engine) fn recoded(&self) -> Option<&str> {
        match self {
            Self::Text { recoded, .. } => recoded.as_deref(),
            Self::Binary => None,
        }
    }

    /// Returns the SQL expressions that the remote selects from a row `r`, one for each synced column.
    pub(in crate::engine) fn columns(&self, relations: &Relations) -> Vec<String> {
        let both = || relations.remote_columns.iter().zip(&relations.columns);
        let sent = both().map(|(there, here)| {
            let value = format!("r.{}", quote::identifier(&there.name));
            cast(relations, there, here, &value).unwrap_or(value)
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

    /// Returns the options of the COPY statement on the remote.
    pub(in crate::engine) fn to_write(&self) -> String {
        match self {
            Self::Text { written, .. } => text_options(written.as_deref()),
            Self::Binary => "format binary".to_owned(),
        }
    }

    /// Returns the options of the COPY statement on the local server.
    pub(in crate::engine) fn to_read(&self) -> String {
        match self {
            Self::Text { read, .. } => text_options(read.as_deref()),
            Self::Binary => "format binary".to_owned(),
        }
    }

    /// Returns the type of the column in the temporary table `meter_sync_text`, which takes every value that the remote
    /// can send in this format.
    pub(in crate::engine) fn loosest<'c>(&self, column: &'c Column) -> &'c str {
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

/// Returns SQL by which the remote casts a value before it sends it as text. `None` if the value is sent without a
/// cast, for instance because both columns have the same type.
///
/// Usually no cast is needed, because the local type can read the text of the value. The remote makes an assignment
/// cast if that cast gives another value than reading the text, or accepts a value whose text the local type refuses. A
/// text column outside the key takes the text unchanged, with the blanks of a `char(n)` and with `t` or `f` for a
/// boolean. In a key the blanks are removed, so that `'1'` and `'1   '` are one key.
///
/// A cast must not fail on the remote, because the first failure ends the whole COPY. So a value for which it would
/// fail is sent without the cast, and the local server refuses it.
pub(in crate::engine) fn cast(
    relations: &Relations,
    there: &Column,
    here: &Column,
    value: &str,
) -> Option<String> {
    if !there.is_builtin || there.base_type == here.base_type {
        return None;
    }
    let to = here.base_type.as_str();
    let is_text = TEXTS.contains(&to);
    if is_text && !relations.key.contains(&here.name) {
        return None;
    }
    let from = there.base_type.as_str();
    match from {
        // This cast removes the padding blanks, which are not part of the value.
        "bpchar" => return Some(format!("{value}::pg_catalog.text")),
        // This cast gives `true`, while the type itself writes `t`.
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

/// A function that builds the SQL condition under which the cast of a value does not fail. Its argument is SQL of the
/// value.
type CastConditionSql = fn(&str) -> String;

/// Some assignment casts give another value than reading the value's text does (see `pg_cast`; `money` to `integer`,
/// for example). For these, returns the type to which the remote casts the value before it sends the text; otherwise
/// `None`. If the cast can fail, also returns the condition under which it does not.
fn assigned(from: &str, to: &str) -> Option<(&'static str, Option<CastConditionSql>)> {
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

/// SQL condition: whether a `macaddr8` can be cast to `macaddr`, because it was made from a 6-byte address.
fn is_macaddr(value: &str) -> String {
    format!(
        "pg_catalog.substr({value}::pg_catalog.text, 10, 5) operator(pg_catalog.=) 'ff:fe'::pg_catalog.text"
    )
}

const TEXTS: &[&str] = &["text", "character varying", "bpchar"];
const INTEGERS: &[&str] = &["smallint", "integer", "bigint"];
