//! Short sequences of steps that are rare among random ones. Each leads up to something that an engine can get
//! wrong.

use quickcheck::{Arbitrary, Gen};

use super::op::{Edit, KEYS, LineBreak, Name, Op};

/// One of them.
pub(super) fn rare_sequence(g: &mut Gen) -> Vec<Op> {
    let key = u8::arbitrary(g) % KEYS;
    let other = (key + 1 + u8::arbitrary(g) % (KEYS - 1)) % KEYS;
    let [first, second] = [0, 1].map(|_| Name::arbitrary(g).storable());
    match u8::arbitrary(g) % 10 {
        0 | 1 => late(key, other, [first, second]),
        2 => vec![
            put(key, first),
            Op::Sync,
            Op::Toggle(key),
            Op::SyncDuringEdit {
                key,
                edit: Edit::arbitrary(g),
            },
            Op::Sync,
        ],
        3 => moved(g, key, other, first),
        4 => anew(g, key, other, first),
        5 => kept(key, other, first),
        6 => vec![
            Op::PutAll(first),
            Op::SyncAllowed,
            Op::SwitchAllOff,
            Op::Sync,
            Op::SyncAllowed,
        ],
        7 => refused(g, key, other, first),
        8 => edited(g, key, other, first),
        _ => vec![
            Op::PutAll(first),
            Op::SyncAllowed,
            Op::SeizeHere(key),
            Op::Remove(key),
            put(other, second),
            Op::Sync,
        ],
    }
}

/// How a history may begin: with the first load, which only an empty site has, and what may come in its way.
pub(super) fn first_load(g: &mut Gen) -> Vec<Op> {
    let broken = Op::Broken(LineBreak::arbitrary(g));
    let first = [Op::DryRun, Op::TwoAtOnce, broken, Op::Sync];
    let first = g.choose(&first).cloned();
    let steps = [Op::PutAll(Name::arbitrary(g))].into_iter().chain(first);
    steps.collect()
}

/// A change is written before a run takes its snapshot, and committed after. That run changes something else.
fn late(key: u8, other: u8, [first, second]: [Name; 2]) -> Vec<Op> {
    vec![
        put(key, first),
        Op::Sync,
        Op::Begin {
            key,
            name: Some(second),
        },
        Op::Toggle(other),
        put(other, first),
        Op::Sync,
        Op::End { is_commit: true },
        Op::Sync,
    ]
}

/// Numbers change places, one of which a reading refers to.
fn moved(g: &mut Gen, key: u8, other: u8, name: Name) -> Vec<Op> {
    let moves = [Op::Swap { key, other }, Op::Rotate];
    let moved = g.choose(&moves).cloned();
    let steps = [Op::PutAll(name), Op::Sync, Op::ReadHere(key)].into_iter();
    steps.chain(moved).chain([Op::Sync]).collect()
}

/// A meter that is here gets a name there that cannot be read here.
fn refused(g: &mut Gen, key: u8, other: u8, name: Name) -> Vec<Op> {
    let names = [Name::TooLong, Name::Emoji];
    let refused = g.choose(&names).map(|refused| put(key, *refused));
    let steps = [put(key, name), put(other, name), Op::Sync].into_iter();
    steps.chain(refused).chain([Op::Sync]).collect()
}

/// Somebody edits a meter here, and only here, that is in sync or gone.
fn edited(g: &mut Gen, key: u8, other: u8, name: Name) -> Vec<Op> {
    let is_gone = bool::arbitrary(g);
    let gone = is_gone.then_some([Op::Remove(key), Op::Sync]);
    let steps = [put(key, name), put(other, name), Op::Sync].into_iter();
    let steps = steps.chain(gone.into_iter().flatten());
    steps.chain([Op::ToggleHere(key), Op::Sync]).collect()
}

/// A meter's number goes to a meter that takes its place, which may itself be refused.
fn anew(g: &mut Gen, key: u8, other: u8, name: Name) -> Vec<Op> {
    let before = [Op::Toggle(key), Op::ReadHere(key), Op::NoteHere(key)];
    let before = g.choose(&before).cloned();
    let refused = Op::Put {
        key: other,
        name: Name::Forbidden,
        active: true,
    };
    let refused = bool::arbitrary(g).then_some(refused);
    let begun = [Op::PutAll(name), Op::Sync].into_iter().chain(before);
    let steps = begun.chain([Op::Sync, Op::Anew { key, other }]);
    steps.chain(refused).chain([Op::Sync, Op::Sync]).collect()
}

/// An inactive meter that the remote still has keeps its number, as its own new one is refused with its name.
fn kept(key: u8, other: u8, name: Name) -> Vec<Op> {
    let refused = Op::Put {
        key,
        name: Name::Forbidden,
        active: false,
    };
    vec![
        Op::PutAll(name),
        Op::Toggle(key),
        Op::SyncAllowed,
        Op::Swap { key, other },
        refused,
        Op::Sync,
    ]
}

fn put(key: u8, name: Name) -> Op {
    Op::Put {
        key,
        name,
        active: true,
    }
}
