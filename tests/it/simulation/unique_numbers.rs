//! The meters' numbers, which are unique in the local table: which meters can have the number that the remote gives
//! them.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::model::{LocalMeter, RemoteMeter};

/// What refers to a meter here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum MeterReference {
    None,
    /// A reading that refers to the meter by no number.
    Bare,
    /// A reading that refers to the meter by its number, and follows it.
    ByNumber,
}

/// A number as both sides write it.
pub(super) fn text(number: Option<u8>) -> Option<String> {
    number.map(|number| format!("N{number}"))
}

/// The remote rows that can be written, by their keys, of those that the local table takes apart from their numbers; and the
/// meters that give their numbers up to them. A number that somebody holds can be had only if the holder is written
/// as well, and so has another number, or is gone from the remote and no reading refers to it.
pub(super) fn writable<'r>(
    here: &BTreeMap<u8, LocalMeter>,
    mut rows: BTreeMap<u8, &'r RemoteMeter>,
    is_gone: impl Fn(u8) -> bool,
) -> (BTreeMap<u8, &'r RemoteMeter>, Vec<u8>) {
    let gives_up = |key: u8| {
        let found = here.get(&key);
        is_gone(key)
            && found.is_some_and(|row| row.is_ours() && row.reading != MeterReference::ByNumber)
    };
    let holder = |(key, row): (&u8, &&RemoteMeter)| {
        let holds = |(other, found): &(&u8, &LocalMeter)| {
            *other != key && found.number.is_some() && found.number == row.number
        };
        here.iter().find(holds).map(|(other, _)| *other)
    };
    loop {
        let waits = |entry: &(&u8, &&RemoteMeter)| {
            holder(*entry).is_some_and(|other| !rows.contains_key(&other) && !gives_up(other))
        };
        let Some(key) = rows.iter().find(waits).map(|(key, _)| *key) else {
            break;
        };
        rows.remove(&key);
    }
    let holders = rows.iter().filter_map(holder);
    let given_up = holders.filter(|key| !rows.contains_key(key)).collect();
    (rows, given_up)
}

/// The numbers by which readings refer to the meters, by the meters' keys.
pub(super) fn readings(here: &BTreeMap<u8, LocalMeter>) -> Value {
    let read = here
        .iter()
        .filter(|(_, row)| row.reading != MeterReference::None);
    let reading = |(key, row): (&u8, &LocalMeter)| {
        let number = row
            .number
            .filter(|_| row.reading == MeterReference::ByNumber);
        json!({"meter": key.to_string(), "number": text(number)})
    };
    read.map(reading).collect()
}

/// Exchanges the numbers of two remote meters, if both are there.
pub(super) fn swap(remote: &mut [RemoteMeter], key: u8, other: u8) {
    if let (Some(one), Some(two)) = (of(remote, key), of(remote, other)) {
        give(remote, key, two);
        give(remote, other, one);
    }
}

/// Gives each remote meter the number of the next one.
pub(super) fn rotate(remote: &mut [RemoteMeter]) {
    let mut keys: Vec<u8> = remote.iter().filter_map(|row| row.key).collect();
    keys.sort_unstable();
    keys.dedup();
    let mut numbers: Vec<Option<u8>> = keys.iter().filter_map(|key| of(remote, *key)).collect();
    if !numbers.is_empty() {
        numbers.rotate_left(1);
    }
    for (key, number) in keys.into_iter().zip(numbers) {
        give(remote, key, number);
    }
}

/// The number that a remote meter gets that is put there: the one it has, or else its own, unless another has that.
pub(super) fn put(remote: &[RemoteMeter], key: u8) -> Option<u8> {
    let is_taken = remote.iter().any(|row| row.number == Some(key));
    of(remote, key).unwrap_or((!is_taken).then_some(key))
}

fn of(remote: &[RemoteMeter], key: u8) -> Option<Option<u8>> {
    let mut rows = remote.iter();
    rows.find(|row| row.key == Some(key)).map(|row| row.number)
}

fn give(remote: &mut [RemoteMeter], key: u8, number: Option<u8>) {
    let rows = remote.iter_mut().filter(|row| row.key == Some(key));
    rows.for_each(|row| row.number = number);
}
