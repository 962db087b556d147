//! What the targets draw: choices, odd texts, and valid texts with a few edits.

use std::ops::Bound;

use bolero::Driver;

/// Pieces that mean something somewhere, or nothing anywhere.
const ODD: &[&str] = &[
    "",
    " ",
    "\t",
    "\n",
    "\r\n",
    "\n\n",
    "\0",
    "\u{1b}[2J",
    "\u{feff}",
    "\u{2028}",
    "\u{202e}",
    "é",
    "雪",
    "🌡",
    "\"",
    "'",
    "\\",
    "`",
    "%",
    "%00",
    "%2F",
    "%zz",
    "+",
    "-",
    "/",
    "//",
    "@",
    ":",
    "?",
    "&",
    "=",
    "#",
    "$1",
    ",",
    ";",
    "[",
    "]",
    "{",
    "}",
    "<b>",
    "*",
    ".",
    "..",
    "0",
    "1",
    "-1",
    "5.0",
    "007",
    "18446744073709551616",
    "1e309",
    "NaN",
    "null",
    "true",
    "off",
    "data: x",
    "event: x",
    "id: 1",
    "--",
    "é\u{301}",
];

pub(super) fn below<D: Driver>(driver: &mut D, end: usize) -> Option<usize> {
    driver.gen_usize(Bound::Included(&0), Bound::Excluded(&end))
}

pub(super) fn pick<'a, D: Driver, T>(driver: &mut D, from: &'a [T]) -> Option<&'a T> {
    let place = below(driver, from.len())?;
    from.get(place)
}

/// Whether something is done that is done once in so many times.
pub(super) fn once_in<D: Driver>(driver: &mut D, times: usize) -> Option<bool> {
    below(driver, times).map(|n| n == 0)
}

/// A few odd pieces and letters.
pub(super) fn odd<D: Driver>(driver: &mut D) -> Option<String> {
    let mut text = String::new();
    for _ in 0..below(driver, 5)? {
        match once_in(driver, 3)? {
            true => text.push(driver.produce::<char>()?),
            false => text.push_str(pick(driver, ODD)?),
        }
    }
    Some(text)
}

/// The text, mostly with a few edits: a piece put in, some characters left out or written twice.
pub(super) fn edited<D: Driver>(driver: &mut D, text: &str, pieces: &[&str]) -> Option<String> {
    let mut text: Vec<char> = text.chars().collect();
    for _ in 0..below(driver, 4)? {
        let place = below(driver, text.len() + 1)?;
        let rest = text.split_off(place);
        let length = below(driver, rest.len().min(6) + 1)?;
        let (some, others) = rest.split_at(length);
        match below(driver, 4)? {
            0 => text.extend(pick(driver, pieces)?.chars().chain(rest)),
            1 => text.extend(odd(driver)?.chars().chain(rest)),
            2 => text.extend_from_slice(others),
            _ => text.extend([some, some, others].concat()),
        }
    }
    Some(text.into_iter().collect())
}
