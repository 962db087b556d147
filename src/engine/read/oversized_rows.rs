//! Finds remote rows that are too long for the remote server to send: a row of 1 GiB ends the COPY with an error.
//!
//! Measuring a row means looking at each of its values, so rows are measured only after a COPY has failed for this
//! reason. The run then starts over, reads the other rows, and rejects the long ones by their keys.

use crate::db::catalog::Column;
use crate::db::{DbError, Remote, Tx, quote};
use crate::model::MeterFields;

use super::choose_copy_format::{self, CopyFormat};
use crate::engine::{Relations, RowSelection, RunContext};

/// The size in bytes of the longest row that is read. A server cannot send a row of 1 GiB. This limit is a little
/// lower, because separators and other short parts of a row are not measured.
const MOST_BYTES: i64 = 1_073_000_000;

/// A remote row that is left out because it is too long.
#[derive(Debug)]
pub(in crate::engine) struct OversizedRow {
    /// The values of the row's key as texts; `None` for NULL.
    pub(in crate::engine) key: Vec<Option<String>>,
    /// An upper bound of the bytes that the row takes when it is sent, as decimal digits.
    pub(in crate::engine) bytes: String,
}

impl OversizedRow {
    /// Returns the reason with which the row is rejected, as a text for people.
    pub(in crate::engine) fn reason(&self) -> String {
        format!(
            "the row may take {} bytes on the way, and a server sends no row of 1 GiB",
            self.bytes
        )
    }

    /// Returns the row's key as the remote sent it. Used if the key cannot be converted to the local types; no local
    /// row can have such a key.
    pub(in crate::engine) fn named(&self, relations: &Relations) -> MeterFields {
        let values = self.key.iter().map(|value| match value {
            Some(text) => serde_json::Value::String(text.clone()),
            None => serde_json::Value::Null,
        });
        relations.key.iter().cloned().zip(values).collect()
    }
}

/// SQL to append to a filter of remote rows `r`: ` and` with a condition that excludes rows too long to send. Empty
/// unless an earlier attempt of this run failed because of a long row.
pub(in crate::engine) fn left_out(run: &RunContext<'_>, format: &CopyFormat) -> String {
    match run.job.earlier.leaves_long_rows {
        true => format!(
            " and {} operator(pg_catalog.<=) {MOST_BYTES}::pg_catalog.int8",
            bytes(run.relations, format)
        ),
        false => String::new(),
    }
}

/// Finds the rows of the selection that are too long to send. Returns at most one more than a run may reject.
pub(in crate::engine) async fn find(
    remote: &Tx<'_, Remote>,
    run: &RunContext<'_>,
    selection: &RowSelection,
    format: &CopyFormat,
) -> Result<Vec<OversizedRow>, DbError> {
    let relations = run.relations;
    let (from, filter, within) = (
        &relations.remote_from,
        &run.scope.remote_filter,
        &selection.remote,
    );
    let keys = relations.key.iter().filter_map(|name| {
        let (there, here) = pairs(relations).find(|(_, here)| here.name == *name)?;
        let value = format!("r.{}", quote::identifier(&there.name));
        Some(choose_copy_format::cast(relations, there, here, &value).unwrap_or(value))
    });
    let keys: Vec<String> = keys.collect();
    let bytes = bytes(relations, format);
    let rows = remote
        .simple(&format!(
            "-- look for rows that are too long
select {}, {bytes} from {from} r
where {filter} and {within} and {bytes} operator(pg_catalog.>) {MOST_BYTES}::pg_catalog.int8
limit {} + 1",
            keys.join(", "),
            run.job.limits.rejected_limit
        ))
        .await?;
    let long = |row: &tokio_postgres::SimpleQueryRow| OversizedRow {
        key: (0..relations.key.len())
            .map(|index| row.get(index).map(str::to_owned))
            .collect(),
        bytes: row.get(relations.key.len()).unwrap_or_default().to_owned(),
    };
    Ok(rows.iter().map(long).collect())
}

fn pairs(relations: &Relations) -> impl Iterator<Item = (&Column, &Column)> {
    relations.remote_columns.iter().zip(&relations.columns)
}

/// SQL: an upper bound of the bytes that a remote row `r` takes when it is sent.
fn bytes(relations: &Relations, format: &CopyFormat) -> String {
    let bytes = pairs(relations).map(|(there, _)| {
        let value = format!("r.{}", quote::identifier(&there.name));
        let of_value = of_value(&value, &there.base_type, format);
        format!("coalesce({of_value}, 0::pg_catalog.int8)")
    });
    let bytes = bytes.collect::<Vec<_>>().join(" operator(pg_catalog.+) ");
    format!("({bytes})")
}

/// Types whose texts are short or consist of digits, and need no quotes or backslashes.
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

/// Types whose text has one digit for each bit. The name of `bit` has quotes because `format_type` writes it so if no
/// length is given.
const BITS: &[&str] = &["\"bit\"", "bit varying"];

/// SQL: an upper bound of the bytes that one value takes when it is sent. The stored size is of no use, because a
/// stored value may be compressed. A value is not converted to text if its text may be too long for the server.
fn of_value(value: &str, type_: &str, format: &CopyFormat) -> String {
    // In the text format each character may have a backslash before it, and each byte of a `bytea` is two digits.
    let factor: u8 = match format {
        CopyFormat::Binary => 1,
        CopyFormat::Text { .. } => 2,
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
        // `citext` can be in any schema.
        citext if citext.rsplit('.').next() == Some("citext") => times(&as_text(), factor),
        // Another type may write a backslash before each of its characters, and COPY doubles that backslash.
        _ => times(&uncompressed(value), 2 * factor),
    }
}

fn times(bytes: &str, factor: u8) -> String {
    format!("({bytes}::pg_catalog.int8 operator(pg_catalog.*) {factor}::pg_catalog.int8)")
}

/// SQL: the size of a value without compression. The value is put into an array, because values in an array are not
/// compressed.
fn uncompressed(value: &str) -> String {
    format!("pg_catalog.pg_column_size(array[{value}])")
}

/// SQL: an upper bound of the bytes that a `jsonb` value takes when it is sent. A control character becomes six
/// characters in the text, one of them a backslash that COPY doubles. A number of a few bytes may have many digits, so
/// each number is measured as text.
fn of_jsonb(value: &str) -> String {
    format!(
        "({} operator(pg_catalog.+) coalesce((
     select pg_catalog.sum(pg_catalog.octet_length(u.e::pg_catalog.text))::pg_catalog.int8
     from pg_catalog.jsonb_path_query({value}, 'strict $.** ? (@.type() == \"number\")') u (e)), 0::pg_catalog.int8))",
        times(&uncompressed(value), 7)
    )
}

/// SQL: an upper bound of the bytes that the elements of an array take, each with its separator. The array is not
/// converted to text as a whole, because that would fail for a very long text.
fn of_elements(value: &str, type_: &str, format: &CopyFormat) -> String {
    // The text of an array may have a backslash before each character of an element, too.
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
