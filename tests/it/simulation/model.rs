//! What a site should look like, in a few lines and without a database.

use std::collections::{BTreeMap, BTreeSet};

use meter_sync::error::ErrorCode;
use meter_sync::model::{Counts, RunOutcome};
use serde_json::{Value, json};

use super::op::{KEYS, Name, Op};
use super::unique_numbers::{self, MeterReference};

/// The tenant of the site, and the other one.
pub(super) const OURS: i64 = 7;
pub(super) const THEIRS: i64 = 8;

/// The local rows as JSON, by key.
pub(super) type Rows = BTreeMap<String, Value>;

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct RemoteMeter {
    pub(super) key: Option<u8>,
    pub(super) tenant: i64,
    pub(super) name: Name,
    pub(super) active: bool,
    /// No two remote meters have the same, nor may two here.
    pub(super) number: Option<u8>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct LocalMeter {
    tenant: i64,
    name: Name,
    active: bool,
    note: String,
    pub(super) number: Option<u8>,
    pub(super) reading: MeterReference,
}

/// Which side's encoding has an emoji.
#[derive(Clone, Copy, Debug)]
pub(super) struct EmojiSupport {
    pub(super) remote: bool,
    pub(super) local: bool,
}

#[derive(Clone, Debug)]
pub(super) struct Model {
    emoji: EmojiSupport,
    pub(super) remote: Vec<RemoteMeter>,
    /// What the open transaction on the remote did: a key, and the row it put there if it removed nothing.
    open: Option<(u8, Option<RemoteMeter>)>,
    pub(super) here: BTreeMap<u8, LocalMeter>,
    /// The slots that were claimed.
    pub(super) slots: BTreeSet<u8>,
    notes: u8,
}

/// How a run should end.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Expected {
    pub(super) outcome: RunOutcome,
    pub(super) code: Option<ErrorCode>,
    pub(super) counts: Counts,
    /// How many numbers are given up by meters that were inactive before, which no count tells.
    pub(super) given_up: i64,
    /// The local rows then; for a dry run, those it speaks of.
    pub(super) here: BTreeMap<u8, LocalMeter>,
}

impl Expected {
    fn without_effect(outcome: RunOutcome, code: ErrorCode, model: &Model) -> Self {
        Self {
            outcome,
            code: Some(code),
            counts: Counts::default(),
            given_up: 0,
            here: model.here.clone(),
        }
    }
}

impl Model {
    pub(super) fn new(emoji: EmojiSupport) -> Self {
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
        self.open
            .as_ref()
            .is_some_and(|(key, _)| op.writes_remote(*key))
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
            Op::PutUnkeyed(name) => self.remote.push(self.row(None, name, active)),
            Op::SwitchAllOff => {
                let ours = self.remote.iter_mut().filter(|row| row.tenant == OURS);
                ours.for_each(|row| row.active = false);
            }
            Op::Swap { key, other } => unique_numbers::swap(&mut self.remote, key, other),
            Op::Rotate => unique_numbers::rotate(&mut self.remote),
            Op::Anew { key, other } => self.enter_anew(key, other),
            Op::Begin { key, name } => {
                let row = name.map(|name| self.row(Some(key), name, active));
                self.open.get_or_insert((key, row));
            }
            Op::End { is_commit } => self.end(is_commit),
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
            Op::NumberHere(key) => {
                self.notes += 1;
                let number = Some(100 + self.notes);
                self.each_here(key, |row| row.number = number);
            }
            Op::ReadHere(key) => self.each_here(key, LocalMeter::read),
            Op::Sync
            | Op::SyncAllowed
            | Op::SyncDuringReload { .. }
            | Op::SyncDuringEdit { .. }
            | Op::DryRun
            | Op::TwoAtOnce
            | Op::Broken(_)
            | Op::Restart
            | Op::Tick(_) => {}
        }
    }

    fn end(&mut self, is_commit: bool) {
        if let Some((key, row)) = self.open.take().filter(|_| is_commit) {
            self.remote.retain(|row| row.key != Some(key));
            self.remote.extend(row);
        }
    }

    fn put(&mut self, key: u8, name: Name, active: bool) {
        let row = self.row(Some(key), name, active);
        self.remote.retain(|row| row.key != Some(key));
        self.remote.push(row);
    }

    /// A remote row as it would be put.
    fn row(&self, key: Option<u8>, name: Name, active: bool) -> RemoteMeter {
        let is_storable = name != Name::Emoji || self.emoji.remote;
        let name = if is_storable { name } else { name.storable() };
        RemoteMeter {
            key,
            tenant: OURS,
            name,
            active,
            number: key.and_then(|key| unique_numbers::put(&self.remote, key)),
        }
    }

    fn enter_anew(&mut self, key: u8, other: u8) {
        if key != other && self.remote.iter().any(|row| row.key == Some(key)) {
            self.remote.retain(|row| row.key != Some(other));
            self.each_remote(key, |row| row.key = Some(other));
        }
    }

    /// Whether a run has the meter in its plan, or finds it unchanged.
    pub(super) fn is_planned(&self, key: u8) -> bool {
        let is_it = |row: &&RemoteMeter| row.key == Some(key) && row.tenant == OURS;
        let found = self.remote.iter().find(is_it);
        found.is_some_and(|row| self.reads(row.name))
            && self.here.get(&key).is_some_and(LocalMeter::is_ours)
    }

    /// Whether the local column reads a name; whether it is then let in is another thing.
    fn reads(&self, name: Name) -> bool {
        name != Name::TooLong && (name != Name::Emoji || self.emoji.local)
    }

    fn each_remote(&mut self, key: u8, change: impl Fn(&mut RemoteMeter)) {
        let rows = self.remote.iter_mut().filter(|row| row.key == Some(key));
        rows.for_each(change);
    }

    fn each_here(&mut self, key: u8, change: impl Fn(&mut LocalMeter)) {
        self.here.get_mut(&key).into_iter().for_each(change);
    }

    /// How a run would end now.
    pub(super) fn run(&self, dry: bool, allowed: bool) -> Expected {
        let ours: Vec<&RemoteMeter> = self
            .remote
            .iter()
            .filter(|row| row.tenant == OURS)
            .collect();
        let keys: Vec<u8> = ours.iter().filter_map(|row| row.key).collect();
        let gone = |(key, row): &(&u8, &LocalMeter)| row.is_active() && !keys.contains(key);
        let gone: Vec<u8> = self.here.iter().filter(gone).map(|(key, _)| *key).collect();
        let active = self.here.values().filter(|row| row.is_active()).count();
        // That a row is rejected is known beforehand only where the value does not fit its type.
        let switched_off = |row: &&&RemoteMeter| {
            let found = row.key.and_then(|key| self.here.get(&key));
            found.is_some_and(LocalMeter::is_active) && !row.active && self.reads(row.name)
        };
        let inactive = gone.len() + ours.iter().filter(switched_off).count();
        if keys.iter().collect::<BTreeSet<_>>().len() < keys.len() {
            let code = ErrorCode::DuplicateSourceKey;
            return Expected::without_effect(RunOutcome::Failed, code, self);
        }
        let refusal = (!allowed)
            .then(|| refusal(&keys, (inactive, active)))
            .flatten();
        if let Some(code) = refusal.filter(|_| !dry) {
            return Expected::without_effect(RunOutcome::Refused, code, self);
        }
        let mut here = self.here.clone();
        let mut counts = Counts::default();
        let (writable, given_up) = self.writable(&ours, dry);
        for row in &ours {
            let is_writable = row.key.is_some_and(|key| writable.contains_key(&key));
            let count = match row.key.filter(|_| is_writable) {
                Some(key) => take(&mut here, key, row, &mut counts),
                None => &mut counts.rejected,
            };
            *count += 1;
        }
        for key in &given_up {
            here.entry(*key).and_modify(|row| row.set_number(None));
        }
        let given_up = given_up.iter().filter(|key| !gone.contains(key)).count();
        for key in gone {
            here.entry(key).and_modify(|row| row.active = false);
            counts.deactivated += 1;
        }
        let (outcome, code) = match &counts {
            _ if dry => (RunOutcome::DryRun, refusal),
            all if all.rejected > 0 => (RunOutcome::Partial, Some(ErrorCode::LocalConstraint)),
            all if all.changes() > 0 => (RunOutcome::Succeeded, None),
            _ => (RunOutcome::NoChange, None),
        };
        Expected {
            outcome,
            code,
            counts,
            given_up: i64::try_from(given_up).expect("a few"),
            here,
        }
    }

    /// The remote rows that a run writes or finds unchanged, and the meters that give up their numbers to them. A dry run does not
    /// write, and so does not learn what only writing tells.
    fn writable<'r>(
        &self,
        ours: &[&'r RemoteMeter],
        dry: bool,
    ) -> (BTreeMap<u8, &'r RemoteMeter>, Vec<u8>) {
        let is_seized = |key| self.here.get(&key).is_some_and(|found| !found.is_ours());
        let is_taken = |key, name| dry || !is_seized(key) && name != Name::Forbidden;
        let readable = ours.iter().filter(|row| self.reads(row.name));
        let keyed = readable.filter_map(|row| row.key.map(|key| (key, *row)));
        let rows = keyed
            .filter(|(key, row)| is_taken(*key, row.name))
            .collect();
        if dry {
            return (rows, Vec::new());
        }
        let is_gone = |key| ours.iter().all(|row| row.key != Some(key));
        unique_numbers::writable(&self.here, rows, is_gone)
    }

    pub(super) fn rows(&self) -> Rows {
        rows(&self.here)
    }
}

/// Why the brake refuses, where the remote has these keys, and so many of the active meters would become inactive.
fn refusal(keys: &[u8], (inactive, active): (usize, usize)) -> Option<ErrorCode> {
    if keys.is_empty() && active > 0 {
        Some(ErrorCode::SourceEmptyRefused)
    } else if inactive > 5 && inactive * 5 > active {
        Some(ErrorCode::MassDeactivationRefused)
    } else {
        None
    }
}

/// What becomes of a remote row that is written, and the count it adds to.
fn take<'c>(
    here: &mut BTreeMap<u8, LocalMeter>,
    key: u8,
    row: &RemoteMeter,
    counts: &'c mut Counts,
) -> &'c mut i64 {
    let Some(found) = here.get_mut(&key).filter(|found| found.is_ours()) else {
        let (active, number) = (row.active, row.number);
        here.insert(
            key,
            LocalMeter {
                active,
                number,
                ..self::here(OURS, row.name)
            },
        );
        return &mut counts.inserted;
    };
    if (found.name, found.active, found.number) == (row.name, row.active, row.number) {
        return &mut counts.unchanged;
    }
    let count = if row.active && !found.active {
        &mut counts.reactivated
    } else {
        &mut counts.updated
    };
    (found.name, found.active) = (row.name, row.active);
    found.set_number(row.number);
    count
}

impl LocalMeter {
    pub(super) fn is_ours(&self) -> bool {
        self.tenant == OURS
    }

    fn is_active(&self) -> bool {
        self.is_ours() && self.active
    }

    fn read(&mut self) {
        if self.reading == MeterReference::None {
            self.reading = self
                .number
                .map_or(MeterReference::Bare, |_| MeterReference::ByNumber);
        }
    }

    /// A reading follows the number until there is none.
    fn set_number(&mut self, number: Option<u8>) {
        self.number = number;
        if number.is_none() && self.reading == MeterReference::ByNumber {
            self.reading = MeterReference::Bare;
        }
    }
}

fn here(tenant: i64, name: Name) -> LocalMeter {
    let note = "ours".to_owned();
    LocalMeter {
        tenant,
        name,
        active: true,
        note,
        number: None,
        reading: MeterReference::None,
    }
}

/// Local rows as the database shows them.
pub(super) fn rows(here: &BTreeMap<u8, LocalMeter>) -> Rows {
    let row = |(key, row): (&u8, &LocalMeter)| {
        let id = key.to_string();
        let json = json!({
            "id": id, "tenant_id": row.tenant, "name": row.name.text(), "active": row.active,
            "site_note": row.note, "number": unique_numbers::text(row.number),
        });
        (id, json)
    };
    here.iter().map(row).collect()
}
