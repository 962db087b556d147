//! What can happen to a site.

use quickcheck::{Arbitrary, Gen};

use crate::support::proxy::Fault;

/// Few keys, so that the steps of a history meet.
pub(super) const KEYS: u8 = 9;

/// One step of a history. A step that finds nothing to act on does nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Op {
    /// The remote gets a meter of the tenant, in place of what it had under the key.
    Put { key: u8, name: Name, active: bool },
    /// The remote gets a meter under every key.
    PutAll(Name),
    /// The remote loses a meter.
    Remove(u8),
    /// The remote loses all meters of the tenant.
    RemoveAll,
    /// A remote meter is switched on or off.
    Toggle(u8),
    /// A remote meter goes to the other tenant, or comes back.
    Move(u8),
    /// The remote gets a key twice.
    Duplicate(u8),
    /// The remote gets a row without a key.
    PutUnkeyed(Name),
    /// All remote meters of the tenant are switched off.
    SwitchAllOff,
    /// Two remote meters exchange their numbers, which are unique here.
    Swap { key: u8, other: u8 },
    /// Each remote meter gets the number of the next one.
    Rotate,
    /// The remote enters a meter anew, with its number, in place of what it had under the other key.
    Anew { key: u8, other: u8 },
    /// A transaction on the remote puts a meter, or removes it where there is no name, and stays open.
    Begin { key: u8, name: Option<Name> },
    /// The open transaction on the remote ends.
    End { is_commit: bool },
    /// Somebody writes a meter here.
    EditHere { key: u8, name: Name },
    /// Somebody deletes a meter here.
    DeleteHere(u8),
    /// Somebody switches a meter on or off here.
    ToggleHere(u8),
    /// The site writes into its own column.
    NoteHere(u8),
    /// A key is taken by another tenant here.
    SeizeHere(u8),
    /// Somebody gives a meter a number here that no other has.
    NumberHere(u8),
    /// A reading refers to a meter by its number.
    ReadHere(u8),
    /// A run.
    Sync,
    /// A run that a person allowed to deactivate many.
    SyncAllowed,
    /// A run that only plans.
    DryRun,
    /// A run that begins while the remote empties its table and fills it again.
    SyncDuringReload { key: u8, name: Name },
    /// A run that meets somebody who is still editing a meter here. While it waits, another process asks for a run.
    SyncDuringEdit { key: u8, edit: Edit },
    /// Two processes ask for a run at once.
    TwoAtOnce,
    /// A run whose line breaks.
    Broken(LineBreak),
    /// The process ends and another starts.
    Restart,
    /// A slot of the schedule comes, perhaps not for the first time.
    Tick(u8),
}

/// The name of a meter; among them what text gets wrong, and what the local table refuses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Name {
    Null,
    Plain(usize),
    /// Longer than the local column: not taken when it is read.
    TooLong,
    /// Against a local constraint: not taken when it is written.
    Forbidden,
    /// Not in every encoding: not taken when it is read by a local database without it.
    Emoji,
}

const PLAIN: &[&str] = &["", "Main", "O'Neil \\N", "Höfe", "a\n\tb"];

impl Name {
    pub(super) fn text(self) -> Option<&'static str> {
        match self {
            Self::Null => None,
            Self::Plain(n) => PLAIN.get(n).copied(),
            Self::TooLong => Some("much too long"),
            Self::Forbidden => Some("forbidden"),
            Self::Emoji => Some("Haus 🚰"),
        }
    }

    /// The name that somebody could write here.
    pub(super) fn storable(self) -> Self {
        match self {
            Self::Null | Self::Plain(_) => self,
            Self::TooLong | Self::Forbidden | Self::Emoji => Self::Plain(0),
        }
    }
}

/// What somebody does to a meter here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Edit {
    Delete,
    Toggle,
    Note,
}

impl Edit {
    /// The step that does it.
    pub(super) fn of(self, key: u8) -> Op {
        match self {
            Self::Delete => Op::DeleteHere(key),
            Self::Toggle => Op::ToggleHere(key),
            Self::Note => Op::NoteHere(key),
        }
    }
}

/// Which line breaks, and how.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum LineBreak {
    Remote(Fault),
    Local(Fault),
}

/// The commit of the meters, with the end of the run in the log.
pub(super) const COMMIT: &[&str] = &["-- log the end of a run", "COMMIT"];

const LOCAL_POINTS: &[&[&str]] = &[
    &["-- look for the local rows of the extent"],
    &["-- stage the meters"],
    &["-- plan the changes"],
    &["-- record the changes"],
    &["-- deactivate meters"],
    &["-- update meters"],
    &["-- park unique values"],
    &["-- give unique values up"],
    &["-- insert meters"],
    &["-- log the end of a run"],
    COMMIT,
];

impl Op {
    /// Whether it writes remote rows of a key.
    pub(super) fn writes_remote(&self, key: u8) -> bool {
        match *self {
            Self::Put { key: own, .. }
            | Self::Remove(own)
            | Self::Toggle(own)
            | Self::Move(own)
            | Self::Duplicate(own) => own == key,
            Self::Swap { key: one, other } | Self::Anew { key: one, other } => {
                [one, other].contains(&key)
            }
            Self::PutAll(_)
            | Self::RemoveAll
            | Self::SwitchAllOff
            | Self::Rotate
            | Self::SyncDuringReload { .. } => true,
            Self::PutUnkeyed(_)
            | Self::Begin { .. }
            | Self::End { .. }
            | Self::EditHere { .. }
            | Self::DeleteHere(_)
            | Self::ToggleHere(_)
            | Self::NoteHere(_)
            | Self::SeizeHere(_)
            | Self::NumberHere(_)
            | Self::ReadHere(_)
            | Self::SyncDuringEdit { .. }
            | Self::Sync
            | Self::SyncAllowed
            | Self::DryRun
            | Self::TwoAtOnce
            | Self::Broken(_)
            | Self::Restart
            | Self::Tick(_) => false,
        }
    }
}

impl Arbitrary for LineBreak {
    fn arbitrary(g: &mut Gen) -> Self {
        let point = g.choose(LOCAL_POINTS).copied().unwrap_or(COMMIT);
        let bytes = usize::from(u16::arbitrary(g) % 4000);
        match u8::arbitrary(g) % 8 {
            0 => Self::Remote(Fault::Refuse),
            1 => Self::Remote(Fault::CutReply(bytes)),
            2 => Self::Remote(Fault::LoseReply(&["-- read the meters"])),
            3 | 4 => Self::Local(Fault::LoseReply(COMMIT)),
            5 => Self::Local(Fault::LoseReply(point)),
            _ => Self::Local(Fault::CutBefore(point)),
        }
    }
}

impl Arbitrary for Edit {
    fn arbitrary(g: &mut Gen) -> Self {
        match u8::arbitrary(g) % 3 {
            0 => Self::Delete,
            1 => Self::Toggle,
            _ => Self::Note,
        }
    }
}

impl Arbitrary for Name {
    fn arbitrary(g: &mut Gen) -> Self {
        match u8::arbitrary(g) % 16 {
            0 => Self::TooLong,
            1 => Self::Forbidden,
            2 | 3 => Self::Null,
            4 => Self::Emoji,
            _ => Self::Plain(usize::arbitrary(g) % PLAIN.len()),
        }
    }
}

impl Arbitrary for Op {
    fn arbitrary(g: &mut Gen) -> Self {
        let key = u8::arbitrary(g) % KEYS;
        let name = Name::arbitrary(g);
        let active = u8::arbitrary(g) % 4 > 0;
        let other = u8::arbitrary(g) % KEYS;
        match u8::arbitrary(g) % 60 {
            0..=6 => Self::Put { key, name, active },
            7 | 8 => Self::PutAll(name),
            9 | 10 => Self::Remove(key),
            11 => Self::RemoveAll,
            12 => Self::Toggle(key),
            13 => Self::Move(key),
            14 => Self::Duplicate(key),
            15 => Self::PutUnkeyed(name),
            16 | 17 => Self::EditHere { key, name },
            18 => Self::DeleteHere(key),
            19 => Self::ToggleHere(key),
            20 => Self::NoteHere(key),
            21 => Self::SeizeHere(key),
            22 | 23 => Self::SyncAllowed,
            24 | 25 => Self::DryRun,
            26 | 27 => Self::TwoAtOnce,
            28..=32 => Self::Broken(LineBreak::arbitrary(g)),
            33 => Self::Restart,
            34 | 35 => Self::Tick(key % 3),
            36..=39 => {
                let name = (name != Name::Null).then_some(name);
                Self::Begin { key, name }
            }
            40..=43 => Self::End { is_commit: active },
            44 => Self::SwitchAllOff,
            45 | 46 => Self::Swap { key, other },
            47 => Self::Rotate,
            48 => Self::Anew { key, other },
            49 => Self::NumberHere(key),
            50 | 51 => Self::ReadHere(key),
            52 => Self::SyncDuringReload { key, name },
            53 => {
                let edit = Edit::arbitrary(g);
                Self::SyncDuringEdit { key, edit }
            }
            _ => Self::Sync,
        }
    }
}
