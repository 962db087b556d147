//! Random pairs of tables, larger than those of the other properties: enough rows for many buckets,
//! columns of types that agree or differ by side, odd session settings on either side.

use std::hash::{DefaultHasher, Hash, Hasher};

use meter_sync::config::{CommandLineSettings, Setting};
use quickcheck::{Arbitrary, Gen};
use tokio_postgres::Client;

use super::value_kinds::{Kind, Value};
use super::value_pools::{
    ADDRESSES, BIGINTS_AS_TEXT, BYTES, DATES, FLOATS, INSTANTS, INTEGERS, JSON_TEXTS, LISTS,
    NUMERICS, OBJECTS, PADDED, PORTS, ROUNDED, SPANS, UUIDS,
};
use crate::support::site::{COUNT_WRITES, Site};

/// The types of a field on the remote and here, and its values.
const FIELDS: &[(&str, &str, Kind)] = &[
    ("text", "text", Kind::Text),
    ("text", "varchar(80)", Kind::Text80),
    ("date", "date", DATES),
    ("bigint", "text", BIGINTS_AS_TEXT),
    ("inet", "varchar(45)", ADDRESSES),
    ("integer", "varchar(5)", PORTS),
    ("integer", "integer", INTEGERS),
    ("integer", "bigint", INTEGERS),
    ("jsonb", "jsonb", OBJECTS),
    ("json", "json", JSON_TEXTS),
    ("timestamptz", "timestamptz", INSTANTS),
    ("numeric", "numeric", NUMERICS),
    ("numeric", "numeric(6,2)", ROUNDED),
    ("double precision", "double precision", FLOATS),
    ("uuid", "uuid", UUIDS),
    ("bytea", "bytea", BYTES),
    ("interval", "interval", SPANS),
    ("text[]", "text[]", LISTS),
    ("char(4)", "char(4)", PADDED),
    ("boolean", "boolean", FLAGS),
    ("boolean", "boolean", FLAGS),
    ("date", "date", MIDNIGHTS),
    ("timestamp", "timestamp", MIDNIGHTS),
    ("text", "integer", PORTS),
];

const FLAGS: Kind = Kind::Listed(
    &[("true", "true", "true"), ("false", "false", "false")],
    &[],
);
/// Where counting from some day or other comes to 0, or ends.
const MIDNIGHTS: Kind = Kind::Listed(
    &[
        ("2000-01-01", "2000-01-01", ""),
        ("2000-01-02", "2000-01-02", ""),
        ("1970-01-01", "1970-01-01", ""),
        ("1890-01-01", "1890-01-01", ""),
        ("infinity", "infinity", ""),
        ("-infinity", "-infinity", ""),
    ],
    &[],
);

/// The types of a key on the remote and here; of the last one equal keys need not be the same.
const KEYS: &[(&str, &str)] = &[
    ("bigint", "bigint"),
    ("bigint", "varchar(40)"),
    ("text", "text"),
    ("uuid", "uuid"),
    ("integer", "numeric"),
];

/// What a site may have set for all its sessions.
const SESSIONS: &[&str] = &[
    "timezone to 'UTC'",
    "timezone to 'America/St_Johns'",
    "datestyle to 'German, DMY'",
    "datestyle to 'SQL, MDY'",
    "intervalstyle to 'sql_standard'",
    "intervalstyle to 'iso_8601'",
    "extra_float_digits to -5",
    "bytea_output to 'escape'",
    "work_mem to '64kB'",
    "enable_hashagg to off",
];

/// A pair of tables, what they hold first, and how they change then.
#[derive(Clone, Debug)]
pub(crate) struct Tables {
    key: usize,
    fields: Vec<usize>,
    /// Whether the line to the remote is a long one, over which less is to travel.
    pub(crate) is_far: bool,
    /// Whether the remote shows its table through a view, and so no versions of rows.
    is_view: bool,
    sessions: [usize; 2],
    /// How many rows the remote has of our tenant.
    pub(crate) rows: u32,
    /// One in so many values does not fit the local column; 0 for none.
    unfit: u16,
    /// One in so many rows changes in each round.
    pub(crate) rounds: Vec<u32>,
    change: Change,
    seed: u64,
}

impl Arbitrary for Tables {
    fn arbitrary(g: &mut Gen) -> Self {
        let any = |g: &mut Gen, below: usize| usize::arbitrary(g) % below;
        Self {
            key: *g.choose(&[0, 0, 0, 1, 1, 2, 2, 3, 3, 4]).unwrap(),
            fields: (0..1 + any(g, 5)).map(|_| any(g, FIELDS.len())).collect(),
            is_far: bool::arbitrary(g),
            is_view: bool::arbitrary(g),
            sessions: [any(g, SESSIONS.len()), any(g, SESSIONS.len())],
            rows: u32::try_from(any(g, 500)).unwrap(),
            unfit: *g.choose(&[0, 0, 0, 60]).unwrap(),
            rounds: (0..2)
                .map(|_| *g.choose(&[1, 2, 4, 8, 30, 1000]).unwrap())
                .collect(),
            change: *g
                .choose(&[
                    Change::Both,
                    Change::Both,
                    Change::There,
                    Change::ThereWithinKeys,
                ])
                .unwrap(),
            seed: u64::arbitrary(g),
        }
    }

    fn shrink(&self) -> Box<dyn Iterator<Item = Self>> {
        let case = self.clone();
        let fewer = self.fields.shrink().filter(|fields| !fields.is_empty());
        let narrower = fewer.map(move |fields| Self {
            fields,
            ..case.clone()
        });
        let case = self.clone();
        let shorter = self.rows.shrink().map(move |rows| Self {
            rows,
            ..case.clone()
        });
        Box::new(narrower.chain(shorter))
    }
}

/// What changes in a round.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Change {
    /// Rows of both sides.
    Both,
    /// Rows of the remote, so that row versions tell which.
    There,
    /// The same, but no row is inserted or deleted.
    ThereWithinKeys,
}

/// A row: its key's number, its fields and whether it is active.
type Row = (u32, Vec<Option<Value>>, bool);

impl Tables {
    /// A number that looks random and is the same whenever it is asked for.
    fn number(&self, what: &str, round: usize, n: u32, field: usize) -> u32 {
        let mut hasher = DefaultHasher::new();
        (self.seed, what, round, n, field).hash(&mut hasher);
        u32::try_from(hasher.finish() >> 32).unwrap()
    }

    /// Makes the remote table, and the local ones by these names, all empty, nothing remembered of runs.
    pub(crate) async fn make(&self, site: &Site, local_tables: &[&str]) {
        let (there, here) = KEYS[self.key];
        let columns = |side: fn(&(&'static str, &'static str, Kind)) -> &'static str| {
            let columns = self.fields.iter().enumerate();
            columns
                .map(|(n, field)| format!("f{n} {}, ", side(&FIELDS[*field])))
                .collect::<String>()
        };
        let table = if self.is_view { "meter_rows" } else { "meter" };
        let view = if self.is_view {
            "create view meter as select * from meter_rows"
        } else {
            ""
        };
        site.on_remote(&format!(
            "set timezone to 'UTC'; drop view if exists meter_view; drop table if exists meter_rows cascade;
             do $$ begin
                 if exists (select from pg_class where relname = 'meter' and relkind = 'r') then drop table meter; end if;
             end $$;
             create table {table} (id {there} primary key, tenant_id bigint not null, {}active boolean not null);
             {view}",
            columns(|field| field.0)
        ))
        .await;
        site.on_local("set timezone to 'UTC'; drop schema if exists meter_sync cascade")
            .await;
        for name in local_tables {
            site.on_local(&format!(
                "drop table if exists {name};
                 create table {name} (id {here} primary key, {}active boolean not null)",
                columns(|field| field.1)
            ))
            .await;
        }
        for (client, session) in [&site.remote, &site.local].into_iter().zip(self.sessions) {
            let set = format!(
                "do $$ begin
                     execute format('alter database %I reset all', current_database());
                     execute format('alter database %I set {}', current_database());
                 end $$",
                SESSIONS[session].replace('\'', "''")
            );
            client.batch_execute(&set).await.unwrap();
        }
    }

    /// The settings of a site whose local table has this name.
    pub(crate) fn settings(site: &Site, local_table: &str) -> CommandLineSettings {
        site.settings().with(Setting::LocalTable, local_table)
    }

    fn key_text(&self, n: u32) -> String {
        match KEYS[self.key].0 {
            "text" => format!("k {n}"),
            "uuid" => format!("00000000-0000-0000-0000-{n:012x}"),
            _ => n.to_string(),
        }
    }

    fn row(&self, what: &str, round: usize, n: u32) -> Row {
        let values = self.fields.iter().enumerate().map(|(field, kind)| {
            let pick = self.number(what, round, n, field);
            let is_unfit = self.unfit > 0 && pick.is_multiple_of(u32::from(self.unfit));
            let fits = |value: &Option<Value>| value.as_ref().is_none_or(|value| value.fits);
            let mut picks = (0..).map(|more| FIELDS[*kind].2.value((pick % 60_000) as u16 + more));
            picks.find(|value| is_unfit || fits(value)).flatten()
        });
        let is_active = !self.number("active", round, n, 0).is_multiple_of(5);
        (n, values.collect(), is_active)
    }

    /// Fills the remote with rows of our tenant and of another one.
    pub(crate) async fn fill(&self, site: &Site) {
        let rows: Vec<Row> = (0..self.rows).map(|n| self.row("fill", 0, n)).collect();
        self.put(site, None, &rows).await;
        let others: Vec<Row> = (10_000..10_020).map(|n| self.row("fill", 0, n)).collect();
        self.put(site, None, &others).await;
        let (remote, table) = self.table(site, None);
        let move_away = format!("update {table} set tenant_id = 8 where id::text = any ($1)");
        let moved = remote.execute(&move_away, &[&self.keys(&others)]).await;
        assert_eq!(moved.unwrap(), 20);
    }

    /// A round of changes: on the remote, and the same in each of the local tables.
    pub(crate) async fn change(&self, site: &Site, round: usize, local_tables: &[&str]) {
        let one_in = self.rounds[round];
        let of = |what: &str, kinds: &[u32]| -> Vec<Row> {
            let more = match self.change {
                Change::ThereWithinKeys => 0,
                Change::Both | Change::There => self.rows / 4,
            };
            let known = 0..self.rows + more;
            let picked = known.filter(|n| self.number(what, round, *n, 0).is_multiple_of(one_in));
            let picked = picked.filter(|n| kinds.contains(&(self.number(what, round, *n, 1) % 8)));
            picked.map(|n| self.row(what, round, n)).collect()
        };
        self.put(site, None, &of("there", &[0, 1, 2, 3, 4])).await;
        if self.change != Change::ThereWithinKeys {
            self.remove(site, None, &of("there", &[5])).await;
        }
        if self.number("counted", round, 0, 0).is_multiple_of(2) {
            // The server counts what was written sooner or later. A run finds it in another way then.
            site.remote.batch_execute(COUNT_WRITES).await.unwrap();
        }
        if self.change != Change::Both {
            return;
        }
        for name in local_tables {
            self.put(site, Some(name), &of("here", &[0])).await;
            self.remove(site, Some(name), &of("here", &[1])).await;
        }
    }

    async fn remove(&self, site: &Site, local: Option<&str>, rows: &[Row]) {
        let (client, table) = self.table(site, local);
        let delete = format!("delete from {table} where id::text = any ($1)");
        client.execute(&delete, &[&self.keys(rows)]).await.unwrap();
    }

    fn keys(&self, rows: &[Row]) -> Vec<String> {
        rows.iter().map(|(n, ..)| self.key_text(*n)).collect()
    }

    fn table<'a>(&self, site: &'a Site, local: Option<&'a str>) -> (&'a Client, &'a str) {
        match local {
            Some(name) => (&site.local, name),
            None if self.is_view => (&site.remote, "meter_rows"),
            None => (&site.remote, "meter"),
        }
    }

    /// Writes whole rows, new or not; on the remote of our tenant.
    async fn put(&self, site: &Site, local: Option<&str>, rows: &[Row]) {
        self.remove(site, local, rows).await;
        let (client, table) = self.table(site, local);
        let mut texts: Vec<Vec<Option<String>>> = vec![Vec::new(); self.fields.len() + 2];
        for (n, values, is_active) in rows {
            texts[0].push(Some(self.key_text(*n)));
            texts[1].push(Some(is_active.to_string()));
            for (column, value) in texts[2..].iter_mut().zip(values) {
                column.push(value.as_ref().map(|value| match local {
                    Some(_) if value.fits => value.text.clone(),
                    Some(_) | None => value.written.clone(),
                }));
            }
        }
        insert(client, &self.insert(table, local.is_some()), &texts).await;
    }

    fn insert(&self, table: &str, is_local: bool) -> String {
        let side = |types: (&'static str, &'static str)| if is_local { types.1 } else { types.0 };
        let fields = self.fields.iter().map(|field| &FIELDS[*field]);
        let types: Vec<_> = fields.map(|(there, here, _)| side((there, here))).collect();
        let names: String = (0..types.len()).map(|n| format!(", f{n}")).collect();
        let values: String = (0..)
            .zip(&types)
            .map(|(n, type_)| format!(", v.f{n}::{type_}"))
            .collect();
        let arrays: Vec<_> = (1..types.len() + 3)
            .map(|n| format!("${n}::text[]"))
            .collect();
        let (tenant, seven) = if is_local {
            ("", "")
        } else {
            (", tenant_id", ", 7")
        };
        format!(
            "insert into {table} (id, active{names}{tenant})
             select v.id::{}, v.active::boolean{values}{seven} from unnest({}) v(id, active{names})",
            side(KEYS[self.key]),
            arrays.join(", ")
        )
    }
}

async fn insert(client: &Client, sql: &str, texts: &[Vec<Option<String>>]) {
    let params: Vec<&(dyn tokio_postgres::types::ToSql + Sync)> =
        texts.iter().map(|column| column as _).collect();
    let done = client.execute(sql, &params).await;
    done.unwrap_or_else(|error| panic!("{sql}: {error:?}"));
}
