//! Remote rows that are too long for their server to send: a row of a GiB ends the COPY with an error.
//!
//! How long a row can come out takes a look at each value, so nobody asks before a COPY has failed of it. The run then begins anew,
//! reads the others, and rejects the long ones by their keys.

use crate::db::catalog::Column;
use crate::db::{DbError, Remote, Tx, quote};
use crate::meter::Fields;

use super::format::{self, Format};
use super::{Extent, Job, Shape};

/// A server makes no text of more bytes than about a GiB; the rest is for what is short.
const MOST_BYTES: i64 = 1_073_000_000;

/// A remote row that is left out.
#[derive(Debug)]
pub(super) struct Unsendable {
    /// The values of its key as texts.
    pub(super) key: Vec<Option<String>>,
    /// How many bytes it may take.
    pub(super) bytes: String,
}

impl Unsendable {
    /// Why it is rejected.
    pub(super) fn reason(&self) -> String {
        format!(
            "the row may take {} bytes on the way, and a server sends no row of 1 GiB",
            self.bytes
        )
    }

    /// Its key where no local row can have it.
    pub(super) fn named(&self, shape: &Shape) -> Fields {
        let values = self.key.iter().map(|value| match value {
            Some(text) => serde_json::Value::String(text.clone()),
            None => serde_json::Value::Null,
        });
        shape.key.iter().cloned().zip(values).collect()
    }
}

/// The condition that leaves such rows `r` out of what the remote sends, with what comes before it.
pub(super) fn left_out(shape: &Shape, job: &Job<'_>, format: &Format) -> String {
    match job.earlier.leaves_long_rows {
        true => format!(
            " and {} operator(pg_catalog.<=) {MOST_BYTES}::pg_catalog.int8",
            bytes(shape, format)
        ),
        false => String::new(),
    }
}

/// Those that were left out; one more than may be rejected at most.
pub(super) async fn find(
    remote: &Tx<'_, Remote>,
    (shape, extent): (&Shape, &Extent),
    job: &Job<'_>,
    format: &Format,
) -> Result<Vec<Unsendable>, DbError> {
    let (from, filter, within) = (&shape.remote_from, &shape.remote_filter, &extent.remote);
    let keys = shape.key.iter().filter_map(|name| {
        let both = pairs(shape).find(|(_, here)| here.name == *name)?;
        let value = format!("r.{}", quote::identifier(&both.0.name));
        Some(format::cast(shape, both, &value).unwrap_or(value))
    });
    let keys: Vec<String> = keys.collect();
    let bytes = bytes(shape, format);
    let rows = remote
        .simple(&format!(
            "-- look for rows that are too long
select {}, {bytes} from {from} r
where {filter} and {within} and {bytes} operator(pg_catalog.>) {MOST_BYTES}::pg_catalog.int8
limit {} + 1",
            keys.join(", "),
            job.limits.rejected_limit
        ))
        .await?;
    let long = |row: &tokio_postgres::SimpleQueryRow| Unsendable {
        key: (0..shape.key.len())
            .map(|place| row.get(place).map(str::to_owned))
            .collect(),
        bytes: row.get(shape.key.len()).unwrap_or_default().to_owned(),
    };
    Ok(rows.iter().map(long).collect())
}

fn pairs(shape: &Shape) -> impl Iterator<Item = (&Column, &Column)> {
    shape.remote_columns.iter().zip(&shape.columns)
}

/// How many bytes a remote row `r` may take.
fn bytes(shape: &Shape, format: &Format) -> String {
    let bytes = pairs(shape).map(|(there, _)| {
        let value = format!("r.{}", quote::identifier(&there.name));
        let of_value = of_value(&value, &there.base_type, format);
        format!("coalesce({of_value}, 0::pg_catalog.int8)")
    });
    let bytes = bytes.collect::<Vec<_>>().join(" operator(pg_catalog.+) ");
    format!("({bytes})")
}

/// Types whose texts are short, or as long as their digits, and need no quotes or backslashes.
const PLAIN: &[&str] = &[
    "boolean",
    "smallint",
    "integer",
    "bigint",
    "real",
    "double precision",
    "numeric",
    "money",
    "oid",
    "uuid",
    "date",
    "time without time zone",
    "timestamp without time zone",
    "timestamp with time zone",
    "interval",
    "inet",
    "cidr",
];

/// A number of bits is as many digits. Without a length the type `bit` is written in quotes.
const BITS: &[&str] = &["\"bit\"", "bit varying"];

/// How many bytes one value may take. What is stored may be compressed, so its size tells nothing; and a text is made of a value
/// only where it comes out no longer than the value.
fn of_value(value: &str, type_: &str, format: &Format) -> String {
    // Each character of a text may have a backslash before it, as each byte of binary data has two digits.
    let factor: u8 = match format {
        Format::Binary => 1,
        Format::Text { .. } => 2,
    };
    let as_text = || format!("pg_catalog.octet_length({value}::pg_catalog.text)");
    match type_ {
        "text" | "character varying" | "bpchar" | "bytea" => {
            times(&format!("pg_catalog.octet_length({value})"), factor)
        }
        "json" | "xml" => times(&as_text(), factor),
        "jsonb" => of_jsonb(value),
        plain if PLAIN.contains(&plain) => times(&as_text(), 1),
        bits if BITS.contains(&bits) => times(&format!("pg_catalog.length({value})"), 1),
        array if array.ends_with("[]") => of_elements(value, array.trim_end_matches("[]"), format),
        // In whatever schema it is.
        citext if citext.rsplit('.').next() == Some("citext") => times(&as_text(), factor),
        // Such a type may write a backslash before each of its own.
        _ => times(&uncompressed(value), 2 * factor),
    }
}

fn times(bytes: &str, factor: u8) -> String {
    format!("({bytes}::pg_catalog.int8 operator(pg_catalog.*) {factor}::pg_catalog.int8)")
}

/// What a value takes in memory: nothing within an array is compressed.
fn uncompressed(value: &str) -> String {
    format!("pg_catalog.pg_column_size(array[{value}])")
}

/// A control character is six others in the text, one of them a backslash; and a number of a few bytes may have many digits.
fn of_jsonb(value: &str) -> String {
    format!(
        "({} operator(pg_catalog.+) coalesce((
     select pg_catalog.sum(pg_catalog.octet_length(u.e::pg_catalog.text))::pg_catalog.int8
     from pg_catalog.jsonb_path_query({value}, 'strict $.** ? (@.type() == \"number\")') u (e)), 0::pg_catalog.int8))",
        times(&uncompressed(value), 7)
    )
}

/// How many bytes the elements of an array take, each with what is between it and the next one. No text of the whole is made,
/// which would fail.
fn of_elements(value: &str, type_: &str, format: &Format) -> String {
    // An array writes a backslash before each one of its elements, too.
    let factor = match PLAIN.contains(&type_) || BITS.contains(&type_) {
        true => 1,
        false => 2,
    };
    let element = times(&of_value("u.e", type_, format), factor);
    format!(
        "(select pg_catalog.sum(coalesce({element}, 4::pg_catalog.int8) operator(pg_catalog.+) 4::pg_catalog.int8)::pg_catalog.int8
 from (select pg_catalog.unnest({value}) as e) u)"
    )
}
