//! Drift: what the remote did to columns that were synced before.
//!
//! Each run compares the columns that it syncs with those that the runs before it knew. A column that the remote
//! dropped, renamed or gave another type stays known as it was, with its drift, until that is settled: the remote has it
//! back, the local table follows (the column is dropped, renamed, or of the new type), `METER_SYNC_COLUMNS` names the
//! columns without it, or its row is deleted from the table of known columns. What the site itself does to its table or
//! its settings is no drift; a column that is no longer synced for that reason is told of once.

use sha2::{Digest, Sha256};

use crate::config::{Mapping, Source};
use crate::db::catalog::Column;

use super::Shape;

pub use words::{Follow, failure, finding, warning};

mod words;

/// A column that is or was synced, as it is known from the runs so far.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KnownColumn {
    /// Its name in the local table.
    pub name: String,
    /// A hash of the setting that names the remote table or query it was read from.
    pub source: String,
    /// The remote table or view that it was read from; 0 for a query.
    pub remote_relation: u32,
    /// Its number there; 0 in a query.
    pub remote_number: i16,
    /// Its type there before any drift.
    pub remote_type: String,
    /// Its local type then.
    pub local_type: String,
    /// What the remote did to it that is not settled yet.
    pub drift: Option<Drift>,
}

/// What the remote did to a synced column.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Drift {
    /// It is gone: dropped, or renamed in a way that the catalog does not tell.
    Missing,
    /// It has this name now.
    Renamed(String),
    /// It has this type now.
    Retyped(String),
    /// It has this name now, and another column has its name.
    Replaced(String),
}

/// What the runs so far know of the columns of a mirror.
#[derive(Clone, Debug, Default)]
pub struct KnownColumns {
    /// The columns; none before the first run.
    pub columns: Vec<KnownColumn>,
    /// Whether the local database can store every character.
    pub is_unicode: bool,
}

/// What a run found of the columns.
#[derive(Clone, Debug)]
pub struct ColumnReport {
    /// What the next run is to know, by name.
    pub columns: Vec<KnownColumn>,
    /// Whether that is other than what was known.
    pub is_changed: bool,
    /// Whether a column is synced for the first time beside those that were synced before.
    pub has_new: bool,
    /// The columns that are no longer synced because of what the site did.
    pub left: Vec<String>,
}

/// All columns of both sides, synced or not.
#[derive(Clone, Debug)]
pub struct Offered {
    /// The remote table or view; absent for a query.
    pub remote_relation: Option<u32>,
    /// The remote's.
    pub remote: Vec<Column>,
    /// Those of the local table.
    pub local: Vec<Column>,
}

impl ColumnReport {
    /// The columns with a drift that is not settled.
    pub fn drifted(&self) -> Vec<&KnownColumn> {
        let drifted = self.columns.iter();
        drifted.filter(|column| column.drift.is_some()).collect()
    }

    /// What the run is to warn of.
    pub fn warning(&self) -> Option<String> {
        let drifted = warning(self.drifted());
        let warnings = [words::left(&self.left), drifted];
        let warnings: Vec<_> = warnings.into_iter().flatten().collect();
        (!warnings.is_empty()).then(|| warnings.join(" "))
    }
}

/// Compares the columns with what is known of them.
pub fn compare(known: &KnownColumns, shape: &Shape, mapping: &Mapping) -> ColumnReport {
    let now = Now {
        shape,
        mapping,
        is_unicode: known.is_unicode,
        source: hash(&mapping.source),
    };
    let mut left = Vec::new();
    let mut columns: Vec<KnownColumn> = Vec::new();
    for column in &known.columns {
        match now.standing(column) {
            Standing::Known(column) => columns.push(column),
            Standing::Left => left.push(column.name.clone()),
            Standing::Settled => {}
        }
    }
    let is_new = |column: &KnownColumn| !columns.iter().any(|known| known.name == column.name);
    let new: Vec<_> = now.synced().filter(is_new).collect();
    let has_new = !new.is_empty() && !known.columns.is_empty();
    columns.extend(new);
    columns.sort_by(|a, b| a.name.cmp(&b.name));
    let mut before = known.columns.clone();
    before.sort_by(|a, b| a.name.cmp(&b.name));
    ColumnReport {
        is_changed: columns != before,
        has_new,
        columns,
        left,
    }
}

/// What becomes of a known column.
enum Standing {
    /// It stays known, in this way.
    Known(KnownColumn),
    /// It is no longer synced because of what the site did.
    Left,
    /// The same, and the site was asked to do something about it.
    Settled,
}

/// The columns as this run finds them.
struct Now<'a> {
    shape: &'a Shape,
    mapping: &'a Mapping,
    is_unicode: bool,
    source: String,
}

impl Now<'_> {
    /// The columns that are synced now, without any drift.
    fn synced(&self) -> impl Iterator<Item = KnownColumn> {
        let both = self.shape.remote_columns.iter().zip(&self.shape.columns);
        both.map(|(there, here)| KnownColumn {
            name: here.name.clone(),
            source: self.source.clone(),
            remote_relation: self.shape.offered.remote_relation.unwrap_or_default(),
            remote_number: there.number,
            remote_type: self.storable(&there.exact_type),
            local_type: self.storable(&here.exact_type),
            drift: None,
        })
    }

    fn standing(&self, known: &KnownColumn) -> Standing {
        match self.synced().find(|now| now.name == known.name) {
            Some(now) => Standing::Known(match self.replaced(known, &now) {
                Some(replaced) => replaced,
                None => self.retyped(known, now),
            }),
            None => self.gone(known),
        }
    }

    /// A column whose name another remote column has now, where the one before is there under another name.
    fn replaced(&self, known: &KnownColumn, now: &KnownColumn) -> Option<KnownColumn> {
        let offered = &self.shape.offered;
        let is_same_source = known.source == now.source
            && known.remote_relation == now.remote_relation
            && offered.remote_relation == Some(known.remote_relation);
        if !is_same_source || known.remote_number == now.remote_number {
            return None;
        }
        let mut remote = offered.remote.iter();
        let before = remote.find(|there| there.number == known.remote_number)?;
        Some(KnownColumn {
            drift: Some(Drift::Replaced(self.storable(&before.name))),
            remote_number: known.remote_number,
            ..now.clone()
        })
    }

    /// A column that is synced as before. It has drifted if its remote type is another, unless the site has changed
    /// the local type or what is read, or the local column takes every value of the new type.
    fn retyped(&self, known: &KnownColumn, now: KnownColumn) -> KnownColumn {
        let is_the_sites = known.source != now.source || known.local_type != now.local_type;
        if known.remote_type == now.remote_type || is_the_sites || self.takes_all(&now.name) {
            return now;
        }
        KnownColumn {
            drift: Some(Drift::Retyped(now.remote_type)),
            remote_type: known.remote_type.clone(),
            ..now
        }
    }

    /// Whether the local column has the remote's type, or the same without a limit.
    fn takes_all(&self, name: &str) -> bool {
        let both = self.shape.remote_columns.iter().zip(&self.shape.columns);
        let mut named = both.filter(|(_, here)| here.name == name);
        named.all(|(there, here)| {
            let has_no_limit = here.exact_type == here.base_type;
            there.exact_type == here.exact_type || there.base_type == here.base_type && has_no_limit
        })
    }

    /// A column that was synced and is no longer.
    fn gone(&self, known: &KnownColumn) -> Standing {
        let offered = &self.shape.offered;
        let mut here = offered.local.iter();
        let is_on_remote = offered.remote.iter().any(|there| there.name == known.name);
        let may_be_synced = |here: &Column| {
            here.name == known.name && !here.is_generated && !here.is_always_identity
        };
        if !here.any(may_be_synced) {
            return match is_on_remote {
                true => Standing::Left,
                false => Standing::Settled,
            };
        }
        if self.mapping.columns.is_some() {
            return Standing::Settled;
        }
        if is_on_remote || known.source != self.source {
            return Standing::Left;
        }
        let renamed = offered.remote.iter().find(|there| {
            offered.remote_relation == Some(known.remote_relation)
                && there.number == known.remote_number
        });
        let renamed = renamed.map(|there| Drift::Renamed(self.storable(&there.name)));
        Standing::Known(KnownColumn {
            drift: Some(renamed.unwrap_or(Drift::Missing)),
            ..known.clone()
        })
    }

    /// A text of the remote as every local database can store it.
    fn storable(&self, text: &str) -> String {
        if self.is_unicode || text.is_ascii() {
            return text.to_owned();
        }
        let escape = |c: char| match c.is_ascii() {
            true => c.to_string(),
            false => c.escape_unicode().to_string(),
        };
        text.chars().map(escape).collect()
    }
}

/// Eight bytes tell the settings of one site apart.
const HASH_BYTES: usize = 8;

fn hash(source: &Source) -> String {
    let text = match source {
        Source::Table(name) => format!("table {name}"),
        Source::Query(query) => format!("query {query}"),
    };
    let hash = Sha256::digest(text.as_bytes());
    let bytes = hash.iter().take(HASH_BYTES);
    bytes.map(|byte| format!("{byte:02x}")).collect()
}
