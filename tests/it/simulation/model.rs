//! What a site should look like, in a few lines and without a database.

use std::collections::{BTreeMap, BTreeSet};

use meter_sync::error::ErrorCode;
use meter_sync::meter::{Counts, Outcome};
use serde_json::{Value, json};

use super::op::{KEYS, Name, Op};

/// The tenant of the site, and the other one.
pub(super) const OURS: i64 = 7;
pub(super) const THEIRS: i64 = 8;

/// The local rows as JSON, by key.
pub(super) type Rows = BTreeMap<String, Value>;

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Remote {
    pub(super) key: Option<u8>,
    pub(super) tenant: i64,
    pub(super) name: Name,
    pub(super) active: bool,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Here {
    tenant: i64,
    name: Name,
    active: bool,
    note: String,
}

/// Which side's encoding has an emoji.
#[derive(Clone, Copy, Debug)]
pub(super) struct Emoji {
    pub(super) remote: bool,
    pub(super) local: bool,
}

#[derive(Clone, Debug)]
pub(super) struct Model {
    emoji: Emoji,
    pub(super) remote: Vec<Remote>,
    /// What the open transaction on the remote did: a key, and the name it put there if it removed nothing.
    open: Option<(u8, Option<Name>)>,
    pub(super) here: BTreeMap<u8, Here>,
    /// The slots that were claimed.
    pub(super) slots: BTreeSet<u8>,
    notes: usize,
}

/// How a run should end.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Expected {
    pub(super) outcome: Outcome,
    pub(super) code: Option<ErrorCode>,
    pub(super) counts: Counts,
    /// The local rows then; for a dry run, those it speaks of.
    pub(super) here: BTreeMap<u8, Here>,
}

impl Expected {
    fn without_effect(outcome: Outcome, code: ErrorCode, model: &Model) -> Self {
        Self {
            outcome,
            code: Some(code),
            counts: Counts::default(),
            here: model.here.clone(),
        }
    }
}

impl Model {
    pub(super) fn new(emoji: Emoji) -> Self {
        Self {
            emoji,
            remote: Vec::new(),
            open: None,
            here: BTreeMap::new(),
            slots: BTreeSet::new(),
            notes: 0,
        }
    }

    pub(super) fn is_open(&self) -> bool {
        self.open.is_some()
    }

    /// Whether an edit would wait for the open transaction.
    pub(super) fn would_wait(&self, op: &Op) -> bool {
        self.open.is_some_and(|(key, _)| op.writes_remote(key))
    }

    /// What an edit of either side does; nothing for what is no edit.
    pub(super) fn edit(&mut self, op: &Op) {
        let active = true;
        match *op {
            Op::Put { key, name, active } => self.put(key, name, active),
            Op::PutAll(name) => (0..KEYS).for_each(|key| self.put(key, name, active)),
            Op::Remove(key) => self.remote.retain(|row| row.key != Some(key)),
            Op::RemoveAll => self.remote.retain(|row| row.tenant != OURS),
            Op::Toggle(key) => self.each_remote(key, |row| row.active = !row.active),
            Op::Move(key) => self.each_remote(key, |row| row.tenant = OURS + THEIRS - row.tenant),
            Op::Duplicate(key) => {
                let found = self.remote.iter().find(|row| row.key == Some(key)).cloned();
                self.remote.extend(found);
            }
            Op::PutUnkeyed(name) => self.push(None, name, active),
            Op::Begin { key, name } => self.open = self.open.or(Some((key, name))),
            Op::End { is_commit } => {
                let done = self.open.take().filter(|_| is_commit);
                done.into_iter()
                    .for_each(|(key, name)| self.commit(key, name));
            }
            Op::EditHere { key, name } => {
                let name = name.storable();
                let row = self.here.entry(key).or_insert_with(|| here(OURS, name));
                row.name = name;
            }
            Op::DeleteHere(key) => drop(self.here.remove(&key)),
            Op::ToggleHere(key) => self.each_here(key, |row| row.active = !row.active),
            Op::NoteHere(key) => {
                self.notes += 1;
                let note = format!("note {}", self.notes);
                self.each_here(key, |row| row.note.clone_from(&note));
            }
            Op::SeizeHere(key) => {
                let row = self.here.entry(key);
                row.or_insert_with(|| here(THEIRS, Name::Plain(1))).tenant = THEIRS;
            }
            Op::Sync
            | Op::SyncAllowed
            | Op::DryRun
            | Op::TwoAtOnce
            | Op::Broken(_)
            | Op::Restart
            | Op::Tick(_) => {}
        }
    }

    /// What the open transaction did shows.
    pub(super) fn commit(&mut self, key: u8, name: Option<Name>) {
        match name {
            Some(name) => self.put(key, name, true),
            None => self.remote.retain(|row| row.key != Some(key)),
        }
    }

    fn put(&mut self, key: u8, name: Name, active: bool) {
        self.remote.retain(|row| row.key != Some(key));
        self.push(Some(key), name, active);
    }

    fn push(&mut self, key: Option<u8>, name: Name, active: bool) {
        let is_storable = name != Name::Emoji || self.emoji.remote;
        let name = if is_storable { name } else { name.storable() };
        self.remote.push(Remote {
            key,
            tenant: OURS,
            name,
            active,
        });
    }

    /// Whether the local column reads a name; whether it is then let in is another thing.
    fn reads(&self, name: Name) -> bool {
        name != Name::TooLong && (name != Name::Emoji || self.emoji.local)
    }

    fn each_remote(&mut self, key: u8, change: impl Fn(&mut Remote)) {
        let rows = self.remote.iter_mut().filter(|row| row.key == Some(key));
        rows.for_each(change);
    }

    fn each_here(&mut self, key: u8, change: impl Fn(&mut Here)) {
        self.here.get_mut(&key).into_iter().for_each(change);
    }

    /// How a run would end now.
    pub(super) fn run(&self, dry: bool, allowed: bool) -> Expected {
        let ours: Vec<&Remote> = self
            .remote
            .iter()
            .filter(|row| row.tenant == OURS)
            .collect();
        let keys: Vec<u8> = ours.iter().filter_map(|row| row.key).collect();
        let gone = |(key, row): &(&u8, &Here)| row.is_active() && !keys.contains(key);
        let gone: Vec<u8> = self.here.iter().filter(gone).map(|(key, _)| *key).collect();
        let active = self.here.values().filter(|row| row.is_active()).count();
        // That a row is rejected is known beforehand only where the value does not fit its type.
        let switched_off = |row: &&&Remote| {
            let found = row.key.and_then(|key| self.here.get(&key));
            found.is_some_and(Here::is_active) && !row.active && self.reads(row.name)
        };
        let inactive = gone.len() + ours.iter().filter(switched_off).count();
        if keys.iter().collect::<BTreeSet<_>>().len() < keys.len() {
            let code = ErrorCode::DuplicateSourceKey;
            return Expected::without_effect(Outcome::Failed, code, self);
        }
        let refusal = if allowed {
            None
        } else if keys.is_empty() && active > 0 {
            Some(ErrorCode::SourceEmptyRefused)
        } else if inactive > 5 && inactive * 5 > active {
            Some(ErrorCode::MassDeactivationRefused)
        } else {
            None
        };
        if let Some(code) = refusal.filter(|_| !dry) {
            return Expected::without_effect(Outcome::Refused, code, self);
        }
        let mut here = self.here.clone();
        let mut counts = Counts::default();
        for row in ours {
            let count = if self.reads(row.name) {
                take(&mut here, row, dry, &mut counts)
            } else {
                &mut counts.rejected
            };
            *count += 1;
        }
        for key in gone {
            here.entry(key).and_modify(|row| row.active = false);
            counts.deactivated += 1;
        }
        let (outcome, code) = match &counts {
            _ if dry => (Outcome::DryRun, refusal),
            counts if counts.rejected > 0 => (Outcome::Partial, Some(ErrorCode::LocalConstraint)),
            counts if counts.changes() > 0 => (Outcome::Succeeded, None),
            _ => (Outcome::NoChange, None),
        };
        Expected {
            outcome,
            code,
            counts,
            here,
        }
    }

    pub(super) fn rows(&self) -> Rows {
        rows(&self.here)
    }
}

/// What becomes of one remote row, and the count it adds to. A dry run does not write, and so does not
/// learn what only writing tells.
fn take<'c>(
    here: &mut BTreeMap<u8, Here>,
    row: &Remote,
    dry: bool,
    counts: &'c mut Counts,
) -> &'c mut i64 {
    let Some(key) = row.key else {
        return &mut counts.rejected;
    };
    let seized = here.get(&key).is_some_and(|found| found.tenant != OURS);
    if !dry && (seized || row.name == Name::Forbidden) {
        return &mut counts.rejected;
    }
    let Some(found) = here.get_mut(&key).filter(|_| !seized) else {
        let active = row.active;
        here.insert(
            key,
            Here {
                active,
                ..self::here(OURS, row.name)
            },
        );
        return &mut counts.inserted;
    };
    if (found.name, found.active) == (row.name, row.active) {
        return &mut counts.unchanged;
    }
    let count = if row.active && !found.active {
        &mut counts.reactivated
    } else {
        &mut counts.updated
    };
    (found.name, found.active) = (row.name, row.active);
    count
}

impl Here {
    pub(super) fn is_ours(&self) -> bool {
        self.tenant == OURS
    }

    fn is_active(&self) -> bool {
        self.is_ours() && self.active
    }
}

fn here(tenant: i64, name: Name) -> Here {
    let note = "ours".to_owned();
    Here {
        tenant,
        name,
        active: true,
        note,
    }
}

/// Local rows as the database shows them.
pub(super) fn rows(here: &BTreeMap<u8, Here>) -> Rows {
    let row = |(key, row): (&u8, &Here)| {
        let id = key.to_string();
        let json = json!({
            "id": id, "tenant_id": row.tenant, "name": row.name.text(), "active": row.active,
            "site_note": row.note,
        });
        (id, json)
    };
    here.iter().map(row).collect()
}
