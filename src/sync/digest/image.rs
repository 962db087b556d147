//! What of a row is hashed, so that both servers come to the same number exactly when a sync would
//! call the rows equal.
//!
//! A row's hash is the exclusive or of a term per column, each with a seed of its own, stirred once
//! more as a whole; otherwise two rows that change places with a value would cancel out. Each term has been
//! through a hash function that mixes value and seed: a term that the seed enters as it is would cancel out
//! against another of that kind. The hash functions are those of Postgres's hash indexes
//! (<https://www.postgresql.org/docs/current/hash-index.html>), but each is used only
//! where it distinguishes all stored values: some fold 64 bits to 32 (`bigint`, `timestamp`), some call different images equal
//! (`numeric` with another scale, `jsonb`, `-0`, case-insensitive text), and that of floating point gives the
//! bare seed for 0. A `bigint` therefore enters as the seed, a time as seconds in floating point as far as
//! these tell microseconds apart and are not 0, and what has no exact function as its text.
//!
//! Where the types of the sides differ, the remote value takes the way that COPY would send it:
//! through its text into the local type. Where a value does not take that way, the texts are compared: if they
//! are the same, COPY comes to the same, too.

use crate::db::catalog::Column;
use crate::db::quote;

use crate::sync::convert::has_interval_fields;
use crate::sync::{Shape, format};

/// How rows are hashed in one run.
#[derive(Clone, Copy, Debug)]
pub(super) struct Hasher {
    /// Another for each run, so that rows whose hashes meet by chance do not meet again.
    pub(super) seed: u64,
    /// How many bits of the hash are kept.
    pub(super) bits: u32,
    pub(super) mode: HashMode,
}

/// How hashes are made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct HashMode {
    pub(super) function: HashFunction,
    /// Whether remote values of other types than the local ones are cast, and not compared as texts.
    pub(super) casts: bool,
}

impl HashMode {
    /// The cheapest one.
    pub(super) const USUAL: Self = Self {
        function: HashFunction::Server,
        casts: true,
    };
}

/// Which function makes the hash.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum HashFunction {
    /// The functions of the servers, where both have the same.
    Server,
    /// The beginning of a SHA-256 of the row's text in UTF-8: the same everywhere, at some times the cost.
    Portable,
}

/// Which side's row an expression is for, and the name it goes by there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Row {
    /// A remote row `r`.
    Remote,
    /// A local row `l`.
    Local,
}

/// An array that differs between servers whose hashes differ, by their version, by the order of their
/// processors' bytes, or by the encoding of their texts.
pub(super) const PROBE: &str = "array[pg_catalog.hashtextextended('meter' collate pg_catalog.\"C\", 1), pg_catalog.hashint4extended(1, 2), \
     pg_catalog.hashfloat8extended(0.5, 3), pg_catalog.hashinetextended('10.0.0.1', 4), \
     pg_catalog.uuid_hash_extended('a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11', 5), \
     pg_catalog.hash_array_extended(array['\\x6d65746572'::bytea], 6), \
     pg_catalog.hashtextextended(pg_catalog.getdatabaseencoding()::text collate pg_catalog.\"C\", 7)]";

impl Hasher {
    /// A `bigint` expression: the hash of the columns of a row for which `is_in` holds.
    pub(super) fn hash(self, shape: &Shape, row: Row, is_in: impl Fn(&Column) -> bool) -> String {
        let both = shape.remote_columns.iter().zip(&shape.columns);
        let values = both
            .filter(|(_, here)| is_in(here))
            .map(|both| value(shape, row, both, self.mode.casts));
        let hash = match self.mode.function {
            HashFunction::Server => {
                let terms: Vec<String> = values
                    .enumerate()
                    .map(|(n, value)| self.term(n as u64 + 1, &value))
                    .collect();
                format!(
                    "pg_catalog.hashint4extended({}, {})",
                    self.number(0),
                    terms.join(" # ")
                )
            }
            HashFunction::Portable => {
                let values: Vec<String> = values.map(|value| value.sql).collect();
                let seed = quote::literal(&self.seed.to_string());
                portable(&format!("{seed} || row({})::text", values.join(", ")))
            }
        };
        match self.bits {
            64.. => hash,
            bits => format!("({hash} & '{}'::bigint)", (1_u64 << bits) - 1),
        }
    }

    /// A `bigint` expression that tells two bigints apart that are not both the same.
    pub(super) fn pair(self, a: &str, b: &str) -> String {
        match self.mode.function {
            HashFunction::Server => format!("pg_catalog.hashint4extended({a}, {b})"),
            HashFunction::Portable => portable(&format!("pg_catalog.concat({a}, ' ', {b})")),
        }
    }

    /// The term of the `n`th column; 0 for NULL.
    fn term(self, n: u64, value: &Value) -> String {
        let (sql, seed, number) = (&value.sql, self.seed(n), self.number(n));
        match value.kind {
            Kind::Integer => format!("coalesce(pg_catalog.hashint4extended({number}, {sql}), 0)"),
            Kind::Boolean => {
                let of = |flag| format!("pg_catalog.hashint4extended({number}, {flag})");
                let (yes, no) = (of(1), of(2));
                format!("case when {sql} then {yes} when {sql} is null then 0 else {no} end")
            }
            Kind::Text => format!(
                "coalesce(pg_catalog.hashtextextended({sql} collate pg_catalog.\"C\", {seed}), 0)"
            ),
            Kind::Inet => format!("coalesce(pg_catalog.hashinetextended({sql}, {seed}), 0)"),
            Kind::Uuid => format!("coalesce(pg_catalog.uuid_hash_extended({sql}, {seed}), 0)"),
            Kind::Bytes => format!(
                "case when {sql} is null then 0 else pg_catalog.hash_array_extended(array[{sql}], {seed}) end"
            ),
            Kind::Date => format!(
                "coalesce(pg_catalog.hashint4extended({number}, pg_catalog.daterange_subdiff({sql}, '2000-01-01')::bigint), 0)"
            ),
            // Within these years a double tells microseconds since 1890 apart, and is not 0.
            Kind::Time { range, send } => format!(
                "case when {sql} >= '1900-01-01' and {sql} < '2150-01-01' \
                 then pg_catalog.hashfloat8extended({range}({sql}, '1890-01-01'), {seed}) \
                 when {sql} is null then 0 \
                 else pg_catalog.hash_array_extended(array[{send}({sql})], {seed}) end"
            ),
        }
    }

    fn seed(self, n: u64) -> String {
        let seed = i64::from_ne_bytes(mixed(self.seed, n).to_ne_bytes());
        format!("'{seed}'::bigint")
    }

    fn number(self, n: u64) -> String {
        let [a, b, c, d, ..] = mixed(self.seed, n).to_le_bytes();
        format!("'{}'::integer", i32::from_le_bytes([a, b, c, d]))
    }
}

/// The encoding of texts whose bytes are hashed. Where the database has none the bytes are taken as they are, since some
/// may be no UTF-8.
const ENCODING: &str =
    "case pg_catalog.getdatabaseencoding() when 'SQL_ASCII' then 'SQL_ASCII' else 'UTF8' end";

/// A `bigint` expression: a hash of a text that every server comes to.
fn portable(text: &str) -> String {
    format!(
        "('x' || pg_catalog.left(pg_catalog.encode(pg_catalog.sha256(pg_catalog.convert_to({text}, {ENCODING})), 'hex'), 16))::bit(64)::bigint"
    )
}

/// The `n`th number that follows from a seed, unlike its neighbours: `SplitMix64`
/// (Steele, Lea, Flood: Fast splittable pseudorandom number generators, 2014).
fn mixed(seed: u64, n: u64) -> u64 {
    let mut z = seed.wrapping_add(n.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15));
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// A value as it is hashed.
struct Value {
    sql: String,
    kind: Kind,
}

/// What is asked of a value.
#[derive(Clone, Copy)]
enum Kind {
    Integer,
    Boolean,
    Text,
    Inet,
    Uuid,
    Bytes,
    Date,
    Time {
        /// Gives seconds between two times.
        range: &'static str,
        /// Gives all eight bytes.
        send: &'static str,
    },
}

impl Kind {
    /// How a value of a built-in type is hashed as it is; `None` where its text is.
    fn of(base_type: &str) -> Option<Self> {
        Some(match base_type {
            "smallint" | "integer" | "bigint" => Self::Integer,
            "boolean" => Self::Boolean,
            "text" | "character varying" => Self::Text,
            "inet" => Self::Inet,
            "uuid" => Self::Uuid,
            "bytea" => Self::Bytes,
            "date" => Self::Date,
            "timestamp without time zone" => Self::Time {
                range: "pg_catalog.tsrange_subdiff",
                send: "pg_catalog.timestamp_send",
            },
            "timestamp with time zone" => Self::Time {
                range: "pg_catalog.tstzrange_subdiff",
                send: "pg_catalog.timestamptz_send",
            },
            _ => return None,
        })
    }
}

/// The value of a column in a row of a side, as the local table would store it; as its text where that may take
/// a cast, and casts are not wanted.
fn value(shape: &Shape, row: Row, (there, here): (&Column, &Column), casts: bool) -> Value {
    let name = quote::identifier(&here.name);
    let (plain, written) = match row {
        Row::Remote => {
            let plain = format!("r.{name}");
            let cast = format::cast(shape, (there, here), &plain);
            let written = cast.unwrap_or_else(|| text(&plain, there));
            (plain, written)
        }
        Row::Local => {
            let plain = format!("l.{name}");
            let written = text(&plain, here);
            (plain, written)
        }
    };
    let is_rounded = rounds(here) && there.exact_type != here.exact_type;
    let is_cast = there.base_type != here.base_type || is_rounded;
    // What a number means in such an interval a cast does not tell.
    let is_read = has_interval_fields(here) && there.base_type != here.base_type;
    if !here.is_builtin || is_read || is_cast && !casts {
        return Value {
            sql: written,
            kind: Kind::Text,
        };
    }
    let to = match is_rounded {
        true => &here.exact_type,
        false => &here.base_type,
    };
    let typed = match row {
        Row::Local => plain,
        Row::Remote if there.base_type != here.base_type => format!("({written})::{to}"),
        Row::Remote if is_rounded => format!("{plain}::{to}"),
        Row::Remote => plain,
    };
    let kind = Kind::of(&here.base_type);
    let sql = match kind {
        Some(Kind::Integer) => format!("{typed}::bigint"),
        // Filled with blanks to its length, which the remote value may not have.
        None if here.base_type == "bpchar" && here.exact_type != "bpchar" => {
            format!("pg_catalog.rtrim({}, ' ')", text(&typed, here))
        }
        None => text(&typed, here),
        Some(_) => typed,
    };
    Value {
        sql,
        kind: kind.unwrap_or(Kind::Text),
    }
}

/// The text that COPY writes for a value: by the type's output function, which unlike a cast may be used
/// without a right to the schema of the type.
fn text(sql: &str, column: &Column) -> String {
    match column.base_type.as_str() {
        "text" | "character varying" if column.is_builtin => sql.to_owned(),
        _ => format!("case when {sql} is not null then pg_catalog.format('%s', {sql}) end"),
    }
}

/// Whether the type rounds what is assigned to it, as a cast does too. (A text that is too long is
/// refused instead, and a cast would hide that.)
fn rounds(column: &Column) -> bool {
    column.base_type == "numeric"
        || column.base_type == "interval"
        || column.base_type.starts_with("time")
}
