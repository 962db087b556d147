//! A random pair of tables.

use meter_sync::config::{CommandLineSettings, Setting};
use quickcheck::{Arbitrary, Gen};

use super::keys::{ENCODINGS, KEYS, Key, TAKES_ALL};
use super::kinds::{EMOJI, KINDS, Kind, MISFITS};
use crate::pinned::column_names::{NAMES, quoted};
use crate::support::postgres::pair_in;
use crate::support::site::Site;

/// Draws from a seed.
pub(super) struct Draw(Gen);

impl Draw {
    pub(super) fn new(seed: u64) -> Self {
        Self(Gen::from_size_and_seed(20, seed))
    }

    pub(super) fn below(&mut self, end: usize) -> usize {
        usize::arbitrary(&mut self.0) % end
    }

    pub(super) fn of<T: Copy>(&mut self, from: &[T]) -> T {
        *self.0.choose(from).expect("something to choose from")
    }
}

/// What is special about a table; one thing at a time, so that the model stays small.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum TableFeature {
    Nothing,
    /// Some rows cannot be stored.
    Misfits,
    /// A column is unique here.
    Unique(&'static str),
    /// A column is unique here, and readings refer to it.
    Referenced,
}

const SPECIALS: &[TableFeature] = &[
    TableFeature::Nothing,
    TableFeature::Nothing,
    TableFeature::Misfits,
    TableFeature::Unique("create unique index on meter (%)"),
    TableFeature::Unique("create unique index on meter (lower(%))"),
    TableFeature::Unique("alter table meter add exclude using btree (% with =)"),
    TableFeature::Unique("alter table meter add unique (%) deferrable initially deferred"),
    TableFeature::Referenced,
];

/// A column that both sides have; its name is quoted.
#[derive(Clone, Debug)]
pub(super) struct Column {
    pub(super) name: String,
    pub(super) remote: &'static str,
    pub(super) local: &'static str,
    pub(super) values: &'static [&'static str],
}

impl Column {
    /// The type of what is assigned to the local column; a text column takes any value as a text.
    pub(super) fn assigned(&self) -> &'static str {
        let is_text = |type_: &str| ["text", "varchar", "char"].contains(&type_);
        match self.local_type().split('(').next() {
            Some(type_) if is_text(type_) => "text",
            _ => self.remote,
        }
    }

    /// The local type without the conditions on the column.
    pub(super) fn local_type(&self) -> &'static str {
        self.local.trim_end_matches(" not null")
    }
}

#[derive(Clone, Debug)]
pub(super) struct Table {
    pub(super) encodings: [&'static str; 2],
    pub(super) special: TableFeature,
    pub(super) key: Vec<(Column, &'static str)>,
    /// All synced columns but the key and the active column.
    pub(super) columns: Vec<Column>,
    /// The place of the unique column among them.
    pub(super) unique: Option<usize>,
    /// Names, quoted: the tenant's column, the active one, and the local table's own.
    pub(super) tenant: String,
    pub(super) active: String,
    pub(super) note: String,
    /// Whether the local table has the tenant's column, and rows of others.
    pub(super) is_shared: bool,
    /// How many rows the remote begins with.
    pub(super) rows: usize,
    full_compare: &'static str,
}

const SERIAL: Kind = ("text", &["text", "varchar(30)"], &[]);

impl Table {
    pub(super) fn draw(draw: &mut Draw) -> Self {
        let encodings = draw.of(ENCODINGS);
        let special = draw.of(SPECIALS);
        // Names are of characters that every encoding has, unless both sides have all.
        let is_utf8 = encodings == ["UTF8", "UTF8"];
        let names = NAMES.iter().filter(|name| is_utf8 || name.is_ascii());
        let mut names: Vec<&str> = names.copied().collect();
        let mut name = |draw: &mut Draw| quoted(names.swap_remove(draw.below(names.len())));
        let key: Key = draw.of(KEYS);
        let key = key.iter().map(|(remote, local, value)| {
            let name = name(draw);
            let values = &[];
            (
                Column {
                    name,
                    remote,
                    local,
                    values,
                },
                *value,
            )
        });
        let key = key.collect();
        let unique = matches!(special, TableFeature::Unique(_) | TableFeature::Referenced);
        let mut kinds: Vec<Kind> = unique.then_some(SERIAL).into_iter().collect();
        kinds.extend((0..=draw.below(7)).map(|_| kind(draw, special, encodings)));
        let columns = kinds.into_iter().map(|(remote, locals, values)| Column {
            name: name(draw),
            remote,
            local: draw.of(locals),
            values,
        });
        Self {
            columns: columns.collect(),
            encodings,
            special,
            key,
            unique: unique.then_some(0),
            tenant: name(draw),
            active: name(draw),
            note: name(draw),
            is_shared: draw.of(&[true, false]),
            rows: draw.of(&[5, 60, 400]),
            // A comparison after each run would mend what the runs miss.
            full_compare: draw.of(&["1d", "1d", "1d", "0s"]),
        }
    }

    /// The columns without those that only the unique rule is for.
    pub(super) fn plain(&self) -> &[Column] {
        &self.columns[self.unique.map_or(0, |place| place + 1)..]
    }

    pub(super) fn serial(&self) -> Option<&str> {
        self.unique.map(|place| self.columns[place].name.as_str())
    }

    /// The names of the key's columns, with commas between.
    pub(super) fn key_names(&self) -> String {
        let names: Vec<&str> = self.key.iter().map(|(c, _)| c.name.as_str()).collect();
        names.join(", ")
    }

    pub(super) fn remote_schema(&self) -> String {
        let Self { tenant, active, .. } = self;
        let columns: String = self.all(|c| format!("{} {}, ", c.name, c.remote));
        let key = self.key_names();
        format!(
            "create table meter ({columns}{tenant} bigint, {active} boolean not null, primary key ({key}));
             create sequence serials"
        )
    }

    pub(super) fn local_schema(&self) -> String {
        let Self { active, note, .. } = self;
        let columns: String = self.all(|c| format!("{} {}, ", c.name, c.local));
        let key = self.key_names();
        let tenant = match self.is_shared {
            true => format!("{} bigint not null, ", self.tenant),
            false => String::new(),
        };
        let serial = self.serial().unwrap_or_default();
        let rule = match self.special {
            TableFeature::Nothing | TableFeature::Misfits => String::new(),
            TableFeature::Unique(rule) => rule.replace('%', serial),
            TableFeature::Referenced => format!(
                "alter table meter add unique ({serial});
                 create table reading (owner text, meter text references meter ({serial}) on update cascade on delete cascade)"
            ),
        };
        format!(
            "create table tenant (id bigint primary key, name text);
             insert into tenant values (7, 'Acme');
             create table meter ({columns}{tenant}{active} boolean not null, {note} text default 'ours', primary key ({key}));
             {rule}"
        )
    }

    /// Something for each synced column but the active one, the key first.
    pub(super) fn all(&self, of: impl Fn(&Column) -> String) -> String {
        let key = self.key.iter().map(|(column, _)| column);
        key.chain(&self.columns).map(of).collect()
    }

    pub(super) async fn site(&self) -> Site {
        let pair = pair_in(self.encodings).await;
        Site::on_pair(pair, &self.remote_schema(), &self.local_schema()).await
    }

    pub(super) fn settings(&self, site: &Site) -> CommandLineSettings {
        site.settings()
            .with(Setting::TenantColumn, plain(&self.tenant))
            .with(Setting::ActiveColumn, plain(&self.active))
            .with(Setting::FullCompare, self.full_compare)
    }
}

fn kind(draw: &mut Draw, special: TableFeature, encodings: [&str; 2]) -> Kind {
    if special != TableFeature::Misfits || draw.below(2) == 0 {
        return draw.of(KINDS);
    }
    if TAKES_ALL.contains(&encodings[0]) && draw.below(2) == 0 {
        return EMOJI;
    }
    draw.of(MISFITS)
}

/// A name as it was before it was quoted.
fn plain(name: &str) -> String {
    let inner = name
        .strip_prefix('"')
        .and_then(|name| name.strip_suffix('"'));
    inner.expect("a quoted name").replace("\"\"", "\"")
}
