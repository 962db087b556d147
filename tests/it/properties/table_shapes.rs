//! The table shapes that the properties run on.

use serde_json::Value as Json;

use super::value_kinds::Kind;
use super::value_pools::{
    ADDRESSES, BIGINTS_AS_TEXT, BYTES, DATES, FLOATS, INSTANTS, INTEGERS, JSON_TEXTS, LISTS, MOODS,
    NUMERICS, OBJECTS, PADDED, PORTS, POSITIVES, ROUNDED, SPANS, UUIDS,
};
use crate::support::site::{LOCAL_SCHEMA, REMOTE_SCHEMA};

/// A column: its name, and its type on either side.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Column {
    pub(crate) name: &'static str,
    pub(crate) remote: &'static str,
    pub(crate) local: &'static str,
}

/// A column of the key, and the values it takes, all of them different.
#[derive(Clone, Copy, Debug)]
pub(crate) struct KeyColumn {
    pub(crate) column: Column,
    values: &'static [&'static str],
}

impl KeyColumn {
    pub(crate) fn value(&self, n: usize) -> &'static str {
        self.values[n % self.values.len()]
    }

    /// A value as a change row shows it.
    pub(crate) fn json(&self, text: &str) -> Json {
        match self.column.local {
            "bigint" => text.parse().unwrap(),
            _ => Json::String(text.to_owned()),
        }
    }
}

/// Where the tenant stands in the local table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum TenantPlace {
    /// Nowhere: all local rows are of one tenant.
    Absent,
    /// In a column beside the key, so a key belongs to one tenant at a time.
    Beside,
    /// In the key, so tenants have the same ids.
    InKey,
}

/// A key as text, column by column.
pub(crate) type Key = Vec<&'static str>;

/// A pair of meter tables.
#[derive(Clone, Debug)]
pub(crate) struct Shape {
    pub(crate) name: &'static str,
    pub(crate) key: Vec<KeyColumn>,
    pub(crate) fields: Vec<(Column, Kind)>,
    pub(crate) tenant: TenantPlace,
    pub(crate) remote_schema: String,
    pub(crate) local_schema: String,
}

impl Shape {
    /// The key of a number; numbers are few, so that keys meet again.
    pub(crate) fn key_of(&self, number: u8) -> Key {
        let mut rest = usize::from(number);
        let mut values = Vec::new();
        for column in &self.key {
            values.push(column.value(rest));
            rest /= column.values.len();
        }
        values
    }

    /// Whether `active` takes NULL.
    pub(crate) fn active_may_be_null(&self) -> bool {
        self.name != "seed"
    }
}

const fn same(name: &'static str, type_: &'static str) -> Column {
    Column {
        name,
        remote: type_,
        local: type_,
    }
}

const fn column(name: &'static str, remote: &'static str, local: &'static str) -> Column {
    Column {
        name,
        remote,
        local,
    }
}

const fn key(column: Column, values: &'static [&'static str]) -> KeyColumn {
    KeyColumn { column, values }
}

const NUMBERS: &[&str] = &[
    "1",
    "2",
    "3",
    "4",
    "5",
    "6",
    "7",
    "9223372036854775807",
    "0",
    "-1",
];
const LETTERS: &[&str] = &["A", "B", "Z"];
/// Keys that a careless comparison takes for one.
const TEXT_KEYS: &[&str] = &[
    "", " ", "a", "A", "a ", "\\N", "\\.", "a\tb", "'\"", "😀", "é", "e\u{301}",
];
const UUID_KEYS: &[&str] = &[
    "00000000-0000-0000-0000-000000000000",
    "00000000-0000-0000-0000-000000000001",
    "a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11",
    "ffffffff-ffff-ffff-ffff-ffffffffffff",
];

/// How many shapes there are.
pub(crate) const SHAPES: usize = 7;

/// The shape of a number.
pub(crate) fn shape(n: usize) -> Shape {
    match n % SHAPES {
        0 => seed(),
        1 => wide(),
        2 => plain(
            "meter by element",
            vec![
                key(same("id", "bigint"), &["1", "2", "3"]),
                key(same("meter_element_id", "text"), LETTERS),
            ],
            TenantPlace::Absent,
        ),
        3 => plain(
            "uuid keys",
            vec![key(same("id", "uuid"), UUID_KEYS)],
            TenantPlace::Absent,
        ),
        4 => plain(
            "text keys",
            vec![key(same("id", "text"), TEXT_KEYS)],
            TenantPlace::Absent,
        ),
        5 => plain(
            "tenant column",
            vec![key(same("id", "bigint"), NUMBERS)],
            TenantPlace::Beside,
        ),
        _ => plain(
            "tenant in key",
            vec![key(same("id", "bigint"), &["1", "2", "3"])],
            TenantPlace::InKey,
        ),
    }
}

/// The users' own tables.
fn seed() -> Shape {
    let text = |name| (same(name, "text"), Kind::Text);
    Shape {
        name: "seed",
        key: vec![key(column("id", "bigint", "varchar(40)"), NUMBERS)],
        fields: vec![
            (column("name", "text", "varchar(80)"), Kind::Text80),
            text("type"),
            text("serial_number"),
            (same("installation_date", "date"), DATES),
            (column("device_id", "bigint", "text"), BIGINTS_AS_TEXT),
            (column("location_id", "bigint", "text"), BIGINTS_AS_TEXT),
            (column("ip", "inet", "varchar(45)"), ADDRESSES),
            (column("port", "integer", "varchar(5)"), PORTS),
            text("protocol"),
            text("status"),
            (same("register_map", "jsonb"), OBJECTS),
            text("notes"),
            (same("created_at", "timestamptz"), INSTANTS),
            (same("updated_at", "timestamptz"), INSTANTS),
        ],
        tenant: TenantPlace::Absent,
        remote_schema: REMOTE_SCHEMA.to_owned(),
        local_schema: LOCAL_SCHEMA.to_owned(),
    }
}

/// Every kind of type, an identity that is always generated, and a stored generated column.
fn wide() -> Shape {
    let fields = vec![
        (same("name", "text"), Kind::Text),
        (same("amount", "numeric"), NUMERICS),
        (column("factor", "numeric", "numeric(6,2)"), ROUNDED),
        (same("reading", "double precision"), FLOATS),
        (same("device", "uuid"), UUIDS),
        (same("image", "bytea"), BYTES),
        (same("raw", "json"), JSON_TEXTS),
        (same("span", "interval"), SPANS),
        (same("tags", "text[]"), LISTS),
        (same("code", "char(4)"), PADDED),
        (column("mood", "text", "mood"), MOODS),
        (column("phases", "integer", "positive"), POSITIVES),
    ];
    let key = vec![key(same("id", "bigint"), NUMBERS)];
    let mut shape = with_fields("every type", key, fields, TenantPlace::Absent);
    shape.local_schema = shape
        .local_schema
        .replace(
            "meter (id bigint",
            "meter (id bigint generated always as identity",
        )
        .replace(
            "site_note text",
            "loud text generated always as (upper(name)) stored, site_note text",
        );
    shape.local_schema.insert_str(
        0,
        "create type mood as enum ('on', 'off', 'it''s'); create domain positive as integer check (value > 0);",
    );
    shape
}

fn plain(name: &'static str, key: Vec<KeyColumn>, tenant: TenantPlace) -> Shape {
    let fields = vec![
        (same("name", "text"), Kind::Text),
        (same("port", "integer"), INTEGERS),
        (same("register_map", "jsonb"), OBJECTS),
        (same("updated_at", "timestamptz"), INSTANTS),
    ];
    with_fields(name, key, fields, tenant)
}

fn with_fields(
    name: &'static str,
    mut key: Vec<KeyColumn>,
    fields: Vec<(Column, Kind)>,
    tenant: TenantPlace,
) -> Shape {
    let list = |side: fn(&Column) -> &'static str, columns: &mut dyn Iterator<Item = &Column>| {
        columns
            .map(|c| format!("{} {}, ", c.name, side(c)))
            .collect::<String>()
    };
    let names = |key: &[KeyColumn]| {
        key.iter()
            .map(|k| k.column.name)
            .collect::<Vec<_>>()
            .join(", ")
    };
    let remote = |c: &Column| c.remote;
    let local = |c: &Column| c.local;
    let ids = list(remote, &mut key.iter().map(|k| &k.column));
    let local_ids = list(local, &mut key.iter().map(|k| &k.column));
    if tenant == TenantPlace::InKey {
        key.insert(
            0,
            KeyColumn {
                column: same("tenant_id", "bigint"),
                values: &["7", "8", "9"],
            },
        );
    }
    let key_names = names(&key);
    let tenant_here = if tenant == TenantPlace::Absent {
        ""
    } else {
        "tenant_id bigint not null, "
    };
    Shape {
        name,
        remote_schema: format!(
            "create table meter ({ids}tenant_id bigint not null, {}active boolean, primary key ({key_names}))",
            list(remote, &mut fields.iter().map(|(c, _)| c)),
        ),
        local_schema: format!(
            "create table tenant (id bigint primary key, name text);
             insert into tenant values (7, 'Acme');
             create table meter ({local_ids}{tenant_here}{}active boolean,
                 site_note text default 'ours', primary key ({key_names}))",
            list(local, &mut fields.iter().map(|(c, _)| c)),
        ),
        key,
        fields,
        tenant,
    }
}
