//! Makes spare values: values that a column can take for a moment and that no row holds or will hold.
//!
//! It is not known what the checks of the table allow, so several statements make values. The caller runs one after
//! another, the most promising first, with our fixed search path.
//!
//! In a statement, `held` has the column's values of all local and remote rows, and `own` those of the rows that need a
//! spare value. The argument `own` selects these rows `l`, as SQL to follow the keyword `from`.

use crate::db::catalog::Column;
use crate::db::quote;
use crate::engine::Relations;

/// The kind of a column's type. It decides how spare values are made.
#[derive(Clone, Debug)]
pub(in crate::engine) struct TypeKind {
    /// `pg_type.typtype`: `e` for an enumeration, `r` for a range, `m` for a multirange.
    pub(in crate::engine) kind: String,
    /// `pg_type.typcategory`: `S` for texts, `N` for numbers, `A` for arrays.
    pub(in crate::engine) category: String,
}

/// One way to make spare values for a column.
#[derive(Clone, Debug)]
pub(in crate::engine) struct SpareValueSource {
    /// A query of values to choose from. It can read `held` (values in use) and `own` (values of the rows to change).
    candidates: String,
    /// Whether the candidates are used without a check that no row holds them.
    is_unchecked: bool,
}

/// How many variants of each row's own value are made. The fewer rows there are, the more variants of each.
fn tries(rows: i64) -> i64 {
    (10_000 / rows.max(1)).clamp(4, 1000)
}

/// Returns statements that each create the temporary table `meter_sync_free` with up to `rows` spare values, numbered
/// by `k`.
pub(in crate::engine) fn statements(
    relations: &Relations,
    column: &Column,
    kind: &TypeKind,
    rows: i64,
    own: &str,
) -> Vec<String> {
    let ways = ways(column, kind, rows).into_iter();
    ways.map(|way| statement(relations, column, &way, rows, own))
        .collect()
}

pub(in crate::engine) fn statement(
    relations: &Relations,
    column: &Column,
    way: &SpareValueSource,
    rows: i64,
    own: &str,
) -> String {
    let local_rows = relations.local_rows();
    let (here, staged) = (
        relations.column("l", &column.name),
        relations.column("s", &column.name),
    );
    let (base, equals) = (&column.base_type, &column.equals);
    let spare = match way.is_unchecked {
        true => "select c.value from candidates c".to_owned(),
        false => format!(
            "select distinct c.value from candidates c \
             where not exists (select 1 from held h where h.value {equals} c.value)"
        ),
    };
    format!(
        "-- make free values
create temp table meter_sync_free on commit drop as
with held as (
    select {here}::{base} as value from {local_rows} union all
    select {staged}::{base} from pg_temp.meter_sync_stage s
), own as (
    select {here}::{base} as value from {own}
), candidates (value) as (
    {}
)
select row_number() over () as k, f.value
from ({spare} limit {rows}) f",
        way.candidates
    )
}

fn ways(column: &Column, kind: &TypeKind, rows: i64) -> Vec<SpareValueSource> {
    let base = column.base_type.as_str();
    match (base, kind.kind.as_str(), kind.category.as_str()) {
        (_, "e", _) => vec![checked(format!("select unnest(enum_range(null::{base}))"))],
        (_, "r", _) => ranges(base, base, rows),
        (_, "m", _) => ranges(base, &base.replace("multirange", "range"), rows),
        ("\"char\"", _, _) => vec![checked(format!(
            "select chr(32 + g)::{base} from generate_series(1, 94) g"
        ))],
        (_, _, "S") => texts(column, rows),
        (
            "smallint" | "integer" | "bigint" | "numeric" | "real" | "double precision" | "money",
            _,
            _,
        ) => numbers(column, rows),
        ("\"bit\"" | "bit varying", _, _) => vec![series(&bits(column), rows)],
        (_, _, "A") => arrays(base, rows),
        (_, _, "D" | "T") => times(base, rows),
        (_, _, "I") => addresses(base, rows),
        _ => others(base, rows),
    }
}

fn others(base: &str, rows: i64) -> Vec<SpareValueSource> {
    match base {
        "oid" => vec![series("g::oid", rows)],
        "pg_lsn" => vec![series("('0/' || to_hex(g))::pg_lsn", rows)],
        "uuid" => vec![
            unchecked(format!(
                "select left({RANDOM}, 32)::uuid from generate_series(1, {rows}) g"
            )),
            // Keeps the version and variant of the row's own value.
            own(base, OF_SAME_VERSION, rows),
        ],
        "bytea" => vec![
            unchecked(format!(
                "select decode({RANDOM}, 'hex') from generate_series(1, {rows}) g"
            )),
            own(
                base,
                &format!("decode(left({RANDOM}, 2 * octet_length(o.value)), 'hex')"),
                rows,
            ),
        ],
        "jsonb" => vec![
            unchecked(format!(
                "select to_jsonb({RANDOM}) from generate_series(1, {rows}) g"
            )),
            own(base, &of_same_kind(), rows),
        ],
        "boolean" => vec![checked("values (false), (true)".to_owned())],
        "macaddr" => vec![checked(format!(
            "select ('02' || left({RANDOM}, 10))::macaddr from generate_series(1, {rows} * 2) g"
        ))],
        "macaddr8" => vec![checked(format!(
            "select ('02' || left({RANDOM}, 14))::macaddr8 from generate_series(1, {rows} * 2) g"
        ))],
        // The input format of any other type is not known.
        _ => vec![
            own(base, &varied(OTHER_LETTERS), rows),
            checked(format!(
                "select ({RANDOM})::{base} from generate_series(1, {rows}) g"
            )),
        ],
    }
}

fn times(base: &str, rows: i64) -> Vec<SpareValueSource> {
    match base {
        "date" => moments(base, "g", rows),
        "timestamp without time zone" | "timestamp with time zone" => {
            moments(base, "g * interval '1 second'", rows)
        }
        "time without time zone" | "time with time zone" => vec![series(
            &format!("(time '00:00:01' + g * interval '1 millisecond')::{base}"),
            rows,
        )],
        "interval" => vec![series("g * interval '1 second'", rows)],
        _ => Vec::new(),
    }
}

fn addresses(base: &str, rows: i64) -> Vec<SpareValueSource> {
    match base {
        "inet" => vec![
            series("inet '240.0.0.0' + g", rows),
            series("inet 'fd00::' + g", rows),
        ],
        "cidr" => vec![series("(inet '240.0.0.0' + g)::cidr", rows)],
        _ => Vec::new(),
    }
}

/// SQL for 64 random hexadecimal digits, different for each number `g`.
const RANDOM: &str =
    "encode(sha256(convert_to(concat(random(), clock_timestamp(), g), 'UTF8')), 'hex')";

pub(in crate::engine) fn unchecked(candidates: String) -> SpareValueSource {
    SpareValueSource {
        candidates,
        is_unchecked: true,
    }
}

pub(in crate::engine) fn checked(candidates: String) -> SpareValueSource {
    SpareValueSource {
        candidates,
        is_unchecked: false,
    }
}

/// Makes values by counting. `value` is SQL for a value made from the number `g`, which counts to `rows` plus the
/// number of values in use. So `rows` values are spare if `value` differs for each `g`.
fn series(value: &str, rows: i64) -> SpareValueSource {
    checked(format!(
        "select {value} from generate_series(1, {rows} + (select count(*) from held)) g"
    ))
}

/// Makes values by varying each row's own value. `value` is SQL for a variant of `o.value`, another one for each number
/// `g`.
fn own(base: &str, value: &str, rows: i64) -> SpareValueSource {
    let tries = tries(rows);
    checked(format!(
        "select ({value})::{base} from own o, generate_series(1, {tries}) g where o.value is not null"
    ))
}

/// The fewest hexadecimal digits with which a random text surely differs from all values in use: 64 bits.
const SHORTEST_TOKEN: usize = 16;
/// The most hexadecimal digits of a random text. More would not be safer.
const LONGEST_TOKEN: usize = 32;

fn texts(column: &Column, rows: i64) -> Vec<SpareValueSource> {
    let base = column.base_type.as_str();
    let limit = length_limit(column);
    let fits = |length: usize| limit.is_none_or(|limit| limit >= length);
    let own = |value: &str| own(base, value, rows);
    let mut ways = Vec::new();
    if fits(SHORTEST_TOKEN) {
        let length = limit.map_or(LONGEST_TOKEN, |limit| limit.min(LONGEST_TOKEN));
        ways.push(unchecked(format!(
            "select left({RANDOM}, {length})::{base} from generate_series(1, {rows}) g"
        )));
    }
    // A check may require values of the same form as the row's own value. So digits are replaced, then letters as well,
    // and then digits are appended.
    ways.push(own(&varied(OTHER_DIGITS)));
    ways.push(own(&varied(OTHER_LETTERS)));
    if fits(9) {
        let kept = limit.map_or("o.value::text".to_owned(), |limit| {
            format!("left(o.value::text, {})", limit - 8)
        });
        ways.push(own(&format!(
            "{kept} || lpad(floor(random() * 100000000)::bigint::text, 8, '0')"
        )));
    }
    match limit {
        Some(1) => ways.push(checked(format!(
            "select chr(33 + g)::{base} from generate_series(0, 93) g"
        ))),
        Some(2) => ways.push(checked(format!(
            "select (chr(33 + g % 94) || chr(33 + g / 94))::{base} from generate_series(0, 94 * 94 - 1) g"
        ))),
        Some(length) if length < SHORTEST_TOKEN => ways.push(checked(format!(
            "select (select string_agg(chr(33 + floor(random() * 94)::integer), '') \
             from generate_series(1, {length}) c where g is not null)::{base} \
             from generate_series(1, {rows} * 4 + 100) g"
        ))),
        _ => {}
    }
    ways
}

const OTHER_DIGITS: &str = "when t.c ~ '[0-9]' then chr(48 + floor(random() * 10)::integer)";

const OTHER_LETTERS: &str = "when t.c ~ '[0-9]' then chr(48 + floor(random() * 10)::integer) \
    when t.c ~ '[A-Z]' then chr(65 + floor(random() * 6)::integer) \
    when t.c ~ '[a-z]' then chr(97 + floor(random() * 6)::integer)";

fn varied(cases: &str) -> String {
    format!(
        "select string_agg(case {cases} else t.c end, '' order by t.place) \
         from regexp_split_to_table(o.value::text, '') with ordinality t (c, place) where g is not null"
    )
}

/// The most characters or bits that the column accepts; `None` if there is no limit.
fn length_limit(column: &Column) -> Option<usize> {
    if column.base_type == "name" {
        return Some(63);
    }
    in_parentheses(&column.exact_type)?.parse().ok()
}

fn in_parentheses(type_: &str) -> Option<&str> {
    let (_, rest) = type_.split_once('(')?;
    rest.split_once(')').map(|(inside, _)| inside)
}

fn numbers(column: &Column, rows: i64) -> Vec<SpareValueSource> {
    let base = column.base_type.as_str();
    let scale = in_parentheses(&column.exact_type)
        .and_then(|inside| inside.split_once(','))
        .and_then(|(_, scale)| scale.trim().parse::<usize>().ok());
    let beyond = |value: &str, limit: &str| {
        checked(format!(
            "select ({value})::{base} from (select coalesce({limit}, 0) as most from held h) m, generate_series(1, {rows}) g"
        ))
    };
    let mut ways = vec![
        beyond("m.most + g", "greatest(max(h.value::numeric), 0)"),
        series(&format!("g::{base}"), rows),
    ];
    if let Some(scale) = scale.filter(|scale| *scale > 0) {
        ways.push(series(
            &format!("(g / pow(10::numeric, {scale}))::{base}"),
            rows,
        ));
    }
    ways.push(beyond("m.most - g", "least(min(h.value::numeric), 0)"));
    ways
}

const OF_SAME_VERSION: &str = "select string_agg(case when t.place in (15, 20) or t.c = '-' then t.c \
    else to_hex(floor(random() * 16)::integer) end, '' order by t.place) \
    from regexp_split_to_table(o.value::text, '') with ordinality t (c, place) where g is not null";

/// Returns SQL for a variant of the row's own JSON value, of the same kind. An object, for instance, gets one more
/// member.
fn of_same_kind() -> String {
    format!(
        "case jsonb_typeof(o.value) when 'object' then o.value || jsonb_build_object({RANDOM}, null) \
         when 'array' then o.value || to_jsonb({RANDOM}) \
         when 'number' then to_jsonb(floor(random() * 1000000000000)) else to_jsonb({RANDOM}) end"
    )
}

/// Returns SQL for the number `g` as a bit string of a length that the column accepts.
fn bits(column: &Column) -> String {
    let (base, limit) = (&column.base_type, length_limit(column));
    let length = match (base.as_str(), limit) {
        ("\"bit\"", Some(limit)) => limit,
        (_, limit) => limit.unwrap_or(32).min(32),
    };
    format!("g::bit({length})::{base}")
}

/// Ways to make spare arrays. The first shifts the subscripts of the row's own array: to Postgres, arrays with the same
/// elements but other subscripts are different values.
fn arrays(base: &str, rows: i64) -> Vec<SpareValueSource> {
    let element = base.strip_suffix("[]").unwrap_or(base);
    vec![
        own(
            base,
            "case when array_ndims(o.value) = 1 and array_lower(o.value, 1) = 1 then \
             concat('[', g + 1, ':', g + array_length(o.value, 1), ']=', o.value) end",
            rows,
        ),
        series(
            &format!("array_fill(null::{element}, array[1], array[g])"),
            rows,
        ),
    ]
}

fn moments(base: &str, step: &str, rows: i64) -> Vec<SpareValueSource> {
    let finite = "from held h where isfinite(h.value)";
    let literal = quote::literal("2000-01-01");
    vec![
        checked(format!(
            "select (m.most + {step})::{base} from (select coalesce(max(h.value), {literal}::{base}) as most {finite}) m, \
             generate_series(1, {rows}) g"
        )),
        series(&format!("({literal}::{base} + {step})::{base}"), rows),
        series(&format!("({literal}::{base} - {step})::{base}"), rows),
    ]
}

/// Ways to make spare values of a range type, or of a multirange type whose ranges have the type `range`.
fn ranges(base: &str, range: &str, rows: i64) -> Vec<SpareValueSource> {
    let (point, step, start) = match range {
        "int4range" => ("integer", "g * 2", "0"),
        "int8range" => ("bigint", "g * 2", "0"),
        "numrange" => ("numeric", "g * 2", "0"),
        "daterange" => ("date", "g * 2", "'2000-01-01'"),
        "tsrange" => ("timestamp", "g * interval '2 seconds'", "'2000-01-01'"),
        "tstzrange" => ("timestamptz", "g * interval '2 seconds'", "'2000-01-01'"),
        _ => return vec![checked(format!("values ('empty'::{base})"))],
    };
    let length = match point {
        "integer" | "bigint" | "numeric" | "date" => "1",
        _ => "interval '1 second'",
    };
    let is_finite = |bound: &str| match point {
        "integer" | "bigint" | "numeric" => "true".to_owned(),
        _ => format!("isfinite({bound}(h.value))"),
    };
    let beyond = |most: &str, bound: &str, sign: &str| {
        checked(format!(
            "select {range}((m.most {sign} {step})::{point}, (m.most {sign} {step} + {length})::{point})::{base} \
             from (select coalesce({most}({bound}(h.value)), {start}::{point}) as most from held h where {}) m, \
             generate_series(1, {rows}) g",
            is_finite(bound)
        ))
    };
    vec![
        beyond("max", "upper", "+"),
        beyond("min", "lower", "-"),
        unchecked(format!(
            "select 'empty'::{range}::{base} from generate_series(1, {rows}) g"
        )),
    ]
}
