//! Builds the SQL that hashes a row. If a sync would treat a remote and a local row as equal, their hashes are equal.
//! Otherwise the hashes differ, except by chance.
//!
//! The hash of a row is made from one hash for each column, called a *term*. The terms are combined by exclusive or,
//! and the result is hashed once more. Without this last step, the sum of all row hashes would stay the same if two
//! rows swap a value. Each column has its own seed, which must be an argument of the hash function: if it were only
//! combined with the hash by exclusive or, a row in which two columns swap their values would keep its hash.
//!
//! The hash functions are those of Postgres's hash indexes (<https://www.postgresql.org/docs/current/hash-index.html>).
//! Each is used only where it distinguishes all stored values. Some do not:
//! - those of `bigint` and `timestamp` fold 64 bits to 32;
//! - those of `numeric` (another scale), `jsonb`, floating point (`-0`) and case-insensitive text return the same hash
//!   for values that are stored differently;
//! - that of floating point returns the seed itself for 0.
//!
//! Therefore an integer value is passed as the seed argument of a hash function, because the seed is not folded. A
//! timestamp is hashed as seconds in floating point, as long as these distinguish microseconds and are not 0. If no
//! hash function distinguishes all values of a type, the text of the value is hashed.
//!
//! If the types of the sides differ, the remote value is converted as by COPY: through its text into the local type. If
//! values cannot be converted, the texts are compared instead: if the texts are equal, COPY stores equal values.

use crate::db::catalog::Column;
use crate::db::quote;

use crate::engine::Relations;
use crate::engine::read::choose_copy_format;
use crate::engine::read::conversion_sql::has_interval_fields;

/// How rows are hashed.
#[derive(Clone, Copy, Debug)]
pub(in crate::engine) struct Hasher {
    /// The seed of all hashes. It is another one in each run, so that rows whose hashes are equal by chance are not
    /// missed again in the next run. Only the hashes of tombstones always use 0.
    pub(in crate::engine) seed: u64,
    /// How many bits of the hash are kept. 64 keeps all of them.
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
    /// Returns a `bigint` expression in SQL for the hash of these columns of a row.
    pub(super) fn hash(self, hasher: Hasher, relations: &Relations, row: RowSide) -> String {
        match self {
            Self::Rows => hasher.hash(relations, row, |_| true),
            Self::Keys => hasher.key(relations, row),
        }
    }
}

/// Which hash function is used, and whether remote values are cast to the local type first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::engine) struct HashMode {
    pub(in crate::engine) function: HashFunction,
    /// Whether a remote value of another type is cast to the local type before it is hashed. If false, the texts of
    /// both values are hashed.
    pub(in crate::engine) casts: bool,
}

impl HashMode {
    /// The mode that is tried first, because it is the cheapest.
    pub(in crate::engine) const USUAL: Self = Self {
        function: HashFunction::Server,
        casts: true,
    };
    /// The mode for servers that do not compute the same hashes.
    pub(in crate::engine) const PORTABLE: Self = Self {
        function: HashFunction::Portable,
        casts: true,
    };
}

/// Which function hashes the values.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::engine) enum HashFunction {
    /// Postgres's own hash functions. Used if both servers compute the same hashes.
    Server,
    /// The first 64 bits of the SHA-256 hash of the row's text in UTF-8. It is the same on all servers, but several
    /// times slower.
    Portable,
}

/// The side that a row belongs to. It decides the alias of the row in SQL.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::engine) enum RowSide {
    /// A remote row, with the alias `r`.
    Remote,
    /// A local row, with the alias `l`.
    Local,
}

/// An SQL array of hashes of fixed values. Two servers that return different arrays do not hash alike, because of their
/// version, their byte order or their text encoding.
pub(in crate::engine) const PROBE: &str = "array[pg_catalog.hashtextextended('meter' collate pg_catalog.\"C\", 1), pg_catalog.hashint4extended(1, 2), \
     pg_catalog.hashfloat8extended(0.5, 3), pg_catalog.hashinetextended('10.0.0.1', 4), \
     pg_catalog.uuid_hash_extended('a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11', 5), \
     pg_catalog.hash_array_extended(array['\\x6d65746572'::bytea], 6), \
     pg_catalog.hashtextextended(pg_catalog.getdatabaseencoding()::text collate pg_catalog.\"C\", 7)]";

impl Hasher {
    /// Returns a `bigint` expression in SQL for the hash of those columns of a row for which `is_in` returns true.
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
                    terms.join(" #\n")
                )
            }
            HashFunction::Portable => {
                let values: Vec<String> = values.map(|value| value.sql).collect();
                let seed = quote::literal(&self.seed.to_string());
                portable(&format!("{seed} || row({})::text", values.join(", ")))
            }
        };
        self.cut(hash)
    }

    /// Returns SQL that keeps only the wanted bits of a hash.
    fn cut(self, hash: String) -> String {
        match self.bits {
            64.. => hash,
            bits => format!("({hash} & '{}'::bigint)", (1_u64 << bits) - 1),
        }
    }

    /// Returns a `bigint` expression in SQL for a hash of a row's key. It is cheaper than [`Self::hash`] if the key has
    /// one column: then no values can be swapped between rows.
    pub(super) fn key(self, relations: &Relations, row: RowSide) -> String {
        let is_key = |column: &Column| relations.key.contains(&column.name);
        match (relations.key.as_slice(), self.mode.function) {
            ([_], HashFunction::Server) => {
                let both = relations.remote_columns.iter().zip(&relations.columns);
                let mut key = both.filter(|(_, here)| is_key(here));
                let term = key.next().map(|(there, here)| {
                    self.term(1, &value(relations, row, there, here, self.mode.casts))
                });
                self.cut(term.unwrap_or_default())
            }
            _ => self.hash(relations, row, is_key),
        }
    }

    /// Returns a `bigint` expression in SQL for the hash of two numbers, which are given as SQL.
    pub(in crate::engine) fn pair(self, a: &str, b: &str) -> String {
        match self.mode.function {
            HashFunction::Server => format!("pg_catalog.hashint4extended({a}, {b})"),
            HashFunction::Portable => portable(&format!("pg_catalog.concat({a}, ' ', {b})")),
        }
    }

    /// Returns a `bigint` expression in SQL for the hash of a hash, which is given as SQL.
    pub(super) fn again(self, hash: &str) -> String {
        self.pair(&self.number(0), hash)
    }

    /// Returns a `bigint` expression in SQL for the hash of the value of the `n`th column. It is 0 for NULL.
    fn term(self, n: u64, value: &HashedValue) -> String {
        let (sql, seed, number) = (&value.sql, self.seed(n), self.number(n));
        match value.kind {
            ValueHashKind::Integer => {
                format!("coalesce(pg_catalog.hashint4extended({number}, {sql}), 0)")
            }
            ValueHashKind::Boolean => {
                let of = |flag| format!("pg_catalog.hashint4extended({number}, {flag})");
                let (yes, no) = (of(1), of(2));
                format!("case when {sql} then {yes} when {sql} is null then 0 else {no} end")
            }
            ValueHashKind::Text => format!(
                "coalesce(pg_catalog.hashtextextended({sql} collate pg_catalog.\"C\", {seed}), 0)"
            ),
            ValueHashKind::Inet => {
                format!("coalesce(pg_catalog.hashinetextended({sql}, {seed}), 0)")
            }
            ValueHashKind::Uuid => {
                format!("coalesce(pg_catalog.uuid_hash_extended({sql}, {seed}), 0)")
            }
            ValueHashKind::Bytes => format!(
                "case when {sql} is null then 0 else pg_catalog.hash_array_extended(array[{sql}], {seed}) end"
            ),
            ValueHashKind::Date => format!(
                "coalesce(pg_catalog.hashint4extended({number}, pg_catalog.daterange_subdiff({sql}, '2000-01-01')::bigint), 0)"
            ),
            // The zone is for sessions of another time zone (see `verification_sql`); a type without a zone ignores it.
            // Between these years, the seconds since 1890 as a double distinguish microseconds and are not 0.
            ValueHashKind::Time { range, send } => format!(
                "case when {sql} >= '1900-01-01 00:00+00' and {sql} < '2150-01-01 00:00+00' \
                 then pg_catalog.hashfloat8extended({range}({sql}, '1890-01-01 00:00+00'), {seed}) \
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

/// SQL for the encoding to which texts are converted before they are hashed. In a database without an encoding
/// (`SQL_ASCII`), the bytes are hashed as they are, because they may not be valid UTF-8.
const ENCODING: &str =
    "case pg_catalog.getdatabaseencoding() when 'SQL_ASCII' then 'SQL_ASCII' else 'UTF8' end";

/// Returns a `bigint` expression in SQL for a hash of a text that is the same on every server.
fn portable(text: &str) -> String {
    format!(
        "('x' || pg_catalog.left(pg_catalog.encode(pg_catalog.sha256(pg_catalog.convert_to({text}, {ENCODING})), 'hex'), 16))::bit(64)::bigint"
    )
}

/// Derives the `n`th number from a seed, by `SplitMix64` (Steele, Lea, Flood: Fast splittable pseudorandom number
/// generators, 2014). The numbers for consecutive `n` look like random numbers.
fn mixed(seed: u64, n: u64) -> u64 {
    let mut z = seed.wrapping_add(n.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15));
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// An SQL expression for a value, and how the value is hashed.
struct HashedValue {
    sql: String,
    kind: ValueHashKind,
}

/// The kind of hash function that a value needs.
#[derive(Clone, Copy)]
enum ValueHashKind {
    Integer,
    Boolean,
    Text,
    Inet,
    Uuid,
    Bytes,
    Date,
    Time {
        /// The SQL function that returns the seconds between two timestamps.
        range: &'static str,
        /// The SQL function that returns a timestamp as eight bytes.
        send: &'static str,
    },
}

impl ValueHashKind {
    /// Returns how values of a built-in type are hashed, or `None` if their text is hashed instead.
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

/// Returns SQL for a column's value in a row of the side `row`, as the local table would store it. `there` and `here`
/// are the column on the remote and on the local side. The SQL is for the value's text instead in these cases:
/// - storing the value may take a cast, and `casts` is false;
/// - the local type is not built in;
/// - a cast would not give the value that COPY stores.
fn value(
    relations: &Relations,
    row: RowSide,
    there: &Column,
    here: &Column,
    casts: bool,
) -> HashedValue {
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
        return HashedValue {
            sql: written,
            kind: ValueHashKind::Text,
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
    let kind = ValueHashKind::of(&here.base_type);
    let sql = match kind {
        Some(ValueHashKind::Integer) => format!("{typed}::bigint"),
        // A `char(n)` is padded with blanks to its length, but the remote value may not be.
        None if here.base_type == "bpchar" && here.exact_type != "bpchar" => {
            format!("pg_catalog.rtrim({}, ' ')", text(&typed, here))
        }
        None => text(&typed, here),
        Some(_) => typed,
    };
    HashedValue {
        sql,
        kind: kind.unwrap_or(ValueHashKind::Text),
    }
}

/// Returns SQL for the text that COPY would write for a value. The SQL calls the type's output function, because a cast
/// would need a privilege on the type's schema. `format` calls the output function of any type, but takes longer than
/// to name the function.
fn text(sql: &str, column: &Column) -> String {
    let output = match column.base_type.as_str() {
        "text" | "character varying" if column.is_builtin => return sql.to_owned(),
        "jsonb" => "jsonb_out",
        "json" => "json_out",
        "numeric" => "numeric_out",
        _ => "",
    };
    match column.is_builtin && !output.is_empty() {
        true => format!("pg_catalog.textin(pg_catalog.{output}({sql}))"),
        false => format!("case when {sql} is not null then pg_catalog.format('%s', {sql}) end"),
    }
}

/// Whether Postgres may round a value when it stores the value in this column. A cast then rounds in the same way.
/// False for texts of limited length: storing a text that is too long fails, but a cast cuts it off.
fn rounds(column: &Column) -> bool {
    column.base_type == "numeric"
        || column.base_type == "interval"
        || column.base_type.starts_with("time")
}
