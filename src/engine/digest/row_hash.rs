//! Builds the SQL that hashes a row. If a sync would treat a remote and a local row as equal, their hashes are equal.
//! Otherwise the hashes differ, except by chance.
//!
//! The hash of a row is the exclusive or of one term for each column, hashed once more as a whole. Without this last
//! step, two rows that swap a value would cancel each other out. Each column has its own seed, and the hash function of
//! a term mixes the value with the seed. If the seed entered a term unmixed, it would cancel out against another such
//! term.
//!
//! The functions are those of Postgres's hash indexes (<https://www.postgresql.org/docs/current/hash-index.html>).
//! Each is used only where it distinguishes all stored values. Some do not:
//! - those of `bigint` and `timestamp` fold 64 bits to 32;
//! - those of `numeric` (another scale), `jsonb`, floating point (`-0`) and case-insensitive text return the same
//!   hash for values that are stored differently;
//! - that of floating point returns the bare seed for 0.
//!
//! Therefore an integer is passed to a hash function as the seed, which is not folded. A timestamp is hashed as
//! seconds in floating point, as long as these distinguish microseconds and are not 0. A value of a type without an
//! exact function is hashed as its text.
//!
//! If the types of the sides differ, the remote value is converted as by COPY: through its text into the local type. If
//! values cannot be converted, the texts are compared instead: if the texts are equal, COPY stores equal values.

use crate::db::catalog::Column;
use crate::db::quote;

use crate::engine::Relations;
use crate::engine::read::choose_copy_format;
use crate::engine::read::conversion_sql::has_interval_fields;

/// The parameters of a row hash.
#[derive(Clone, Copy, Debug)]
pub(in crate::engine) struct Hasher {
    /// Differs in each run, so that rows whose hashes collide by chance do not collide again. Only tombstones always
    /// use 0.
    pub(in crate::engine) seed: u64,
    /// How many bits of the hash are kept.
    pub(in crate::engine) bits: u32,
    pub(in crate::engine) mode: HashMode,
}

/// Which columns of the rows are hashed and compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum HashedColumns {
    /// All columns that are synced.
    Rows,
    /// The key columns.
    Keys,
}

impl HashedColumns {
    /// A `bigint` expression: the hash of these columns of a row.
    pub(super) fn hash(self, hasher: Hasher, relations: &Relations, row: RowSide) -> String {
        let is_in = |column: &Column| match self {
            Self::Rows => true,
            Self::Keys => relations.key.contains(&column.name),
        };
        hasher.hash(relations, row, is_in)
    }
}

/// The hash function, and whether remote values are cast first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::engine) struct HashMode {
    pub(in crate::engine) function: HashFunction,
    /// Whether a remote value of another type is cast to the local type before it is hashed. If false, the texts of
    /// both values are hashed.
    pub(in crate::engine) casts: bool,
}

impl HashMode {
    /// The cheapest mode, which is tried first.
    pub(in crate::engine) const USUAL: Self = Self {
        function: HashFunction::Server,
        casts: true,
    };
}

/// Which function makes the hash.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::engine) enum HashFunction {
    /// Postgres's own hash functions. Used if those of both servers give the same hashes.
    Server,
    /// The first 64 bits of a SHA-256 of the row's text in UTF-8. It is the same on all servers, and several times
    /// slower.
    Portable,
}

/// The side whose row an expression is for, which decides the row's alias.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::engine) enum RowSide {
    /// A remote row, with the alias `r`.
    Remote,
    /// A local row, with the alias `l`.
    Local,
}

/// An SQL array that differs between two servers that hash differently, because of their version, their byte order or
/// the encoding of their texts.
pub(in crate::engine) const PROBE: &str = "array[pg_catalog.hashtextextended('meter' collate pg_catalog.\"C\", 1), pg_catalog.hashint4extended(1, 2), \
     pg_catalog.hashfloat8extended(0.5, 3), pg_catalog.hashinetextended('10.0.0.1', 4), \
     pg_catalog.uuid_hash_extended('a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11', 5), \
     pg_catalog.hash_array_extended(array['\\x6d65746572'::bytea], 6), \
     pg_catalog.hashtextextended(pg_catalog.getdatabaseencoding()::text collate pg_catalog.\"C\", 7)]";

impl Hasher {
    /// A `bigint` expression: the hash of the columns of a row for which `is_in` holds.
    pub(in crate::engine) fn hash(
        self,
        relations: &Relations,
        row: RowSide,
        is_in: impl Fn(&Column) -> bool,
    ) -> String {
        let both = relations.remote_columns.iter().zip(&relations.columns);
        let values = both
            .filter(|(_, here)| is_in(here))
            .map(|(there, here)| value(relations, row, there, here, self.mode.casts));
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

    /// A `bigint` expression: the hash of a pair of numbers.
    pub(in crate::engine) fn pair(self, a: &str, b: &str) -> String {
        match self.mode.function {
            HashFunction::Server => format!("pg_catalog.hashint4extended({a}, {b})"),
            HashFunction::Portable => portable(&format!("pg_catalog.concat({a}, ' ', {b})")),
        }
    }

    /// A `bigint` expression: the term of the `n`th column; 0 for NULL.
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
            // Between these years, the seconds since 1890 as a double distinguish microseconds and are not 0.
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

/// SQL: the encoding to which texts are converted before they are hashed. If the database has no encoding, the bytes
/// are hashed as they are, because they may not be valid UTF-8.
const ENCODING: &str =
    "case pg_catalog.getdatabaseencoding() when 'SQL_ASCII' then 'SQL_ASCII' else 'UTF8' end";

/// A `bigint` expression: a hash of a text that is the same on every server.
fn portable(text: &str) -> String {
    format!(
        "('x' || pg_catalog.left(pg_catalog.encode(pg_catalog.sha256(pg_catalog.convert_to({text}, {ENCODING})), 'hex'), 16))::bit(64)::bigint"
    )
}

/// The `n`th number derived from a seed, by `SplitMix64` (Steele, Lea, Flood: Fast splittable pseudorandom number
/// generators, 2014). Consecutive numbers look unrelated.
fn mixed(seed: u64, n: u64) -> u64 {
    let mut z = seed.wrapping_add(n.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15));
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// An SQL expression for a value, and how it is hashed.
struct Value {
    sql: String,
    kind: Kind,
}

/// How a value is hashed.
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
        /// The function that returns the seconds between two times.
        range: &'static str,
        /// The function that returns all eight bytes of a time.
        send: &'static str,
    },
}

impl Kind {
    /// How values of a built-in type are hashed; `None` if their text is hashed instead.
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

/// Returns SQL for the value of a column of a row of either side, as the local table would store it. Returns SQL for
/// the value's text instead in these cases:
/// - storing the value may take a cast, and `casts` is false;
/// - the local type is not built in;
/// - a cast would not give the value that COPY stores.
fn value(relations: &Relations, row: RowSide, there: &Column, here: &Column, casts: bool) -> Value {
    let name = quote::identifier(&here.name);
    let (plain, written) = match row {
        RowSide::Remote => {
            let plain = format!("r.{name}");
            let cast = choose_copy_format::cast(relations, there, here, &plain);
            let written = cast.unwrap_or_else(|| text(&plain, there));
            (plain, written)
        }
        RowSide::Local => {
            let plain = format!("l.{name}");
            let written = text(&plain, here);
            (plain, written)
        }
    };
    let is_rounded = rounds(here) && there.exact_type != here.exact_type;
    let is_cast = there.base_type != here.base_type || is_rounded;
    // In an interval with restricted fields, a cast does not read a bare number as the column's input does.
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
        RowSide::Local => plain,
        RowSide::Remote if there.base_type != here.base_type => format!("({written})::{to}"),
        RowSide::Remote if is_rounded => format!("{plain}::{to}"),
        RowSide::Remote => plain,
    };
    let kind = Kind::of(&here.base_type);
    let sql = match kind {
        Some(Kind::Integer) => format!("{typed}::bigint"),
        // A `char(n)` is padded with blanks to its length, but the remote value may not be.
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

/// The text that COPY writes for a value. It comes from the type's output function, which unlike a cast needs no
/// right to the type's schema.
fn text(sql: &str, column: &Column) -> String {
    match column.base_type.as_str() {
        "text" | "character varying" if column.is_builtin => sql.to_owned(),
        _ => format!("case when {sql} is not null then pg_catalog.format('%s', {sql}) end"),
    }
}

/// Whether the type may round a value that is assigned to it. Then a cast rounds the value in the same way. Types of
/// limited texts are not among them: an assignment refuses a text that is too long, but a cast cuts it off.
fn rounds(column: &Column) -> bool {
    column.base_type == "numeric"
        || column.base_type == "interval"
        || column.base_type.starts_with("time")
}
