//! The times of bare statements, and where the time of ours goes.

use crate::case::Case;
use crate::options::LineKind;
use crate::peer::Peer;
use crate::results::{BareStatement, Key, Results};
use crate::servers::Side;
use crate::time_by_statement::Profile;

use super::format::{Table, count, line, seconds, times};
use super::unavoidable;

const STATEMENTS: [(BareStatement, &str); 6] = [
    (
        BareStatement::Read,
        "read: `copy (select ..) to '/dev/null'` on the remote",
    ),
    (
        BareStatement::Write,
        "write: `copy from` a file into an unlogged table without a key",
    ),
    (BareStatement::WriteWithKey, "the same with a primary key"),
    (
        BareStatement::DigestRemote,
        "sum: `select count(*), bit_xor(hash_record_extended(row(..), 0))` on the remote",
    ),
    (BareStatement::DigestLocal, "the same on the local server"),
    (
        BareStatement::DigestBoth,
        "the same on both servers at once, until both are done",
    ),
];

pub(super) fn table(results: &Results) -> String {
    let sizes = results.sizes(LineKind::Lan);
    let header = ["".to_owned()]
        .into_iter()
        .chain(sizes.iter().map(|size| format!("{} meters", count(*size))));
    let mut table = Table::new(header);
    for (statement, text) in STATEMENTS {
        let cells = sizes.iter().map(|size| {
            let median = results.bare_statement(*size, statement);
            median
                .map(|median| format!("{} s", seconds(median)))
                .unwrap_or_default()
        });
        let cells: Vec<String> = cells.collect();
        table.row(std::iter::once(text.to_owned()).chain(cells));
    }
    table.finish() + &remains(results) + &unavoidable::told(results)
}

/// How far ours is from them at the largest size.
fn remains(results: &Results) -> String {
    let Some(size) = results.sizes(LineKind::Lan).last().copied() else {
        return String::new();
    };
    let ours = |case| {
        let key = Key::over_lan(size, Peer::Ours, case);
        results.median(key, |sample| sample.wall)
    };
    let mut text = String::new();
    let mut tell = |what: &str, ours: Option<f64>, limit: Option<f64>| {
        if let Some((ours, limit)) = ours.zip(limit) {
            line(
                &mut text,
                format!(
                    "- {what} at {} meters: {} s, {} times its limit ({} s).",
                    count(size),
                    seconds(ours),
                    times(ours / limit),
                    seconds(limit)
                ),
            );
        }
    };
    tell(
        "First load, against the write with a key",
        ours(Case::First),
        results.bare_statement(size, BareStatement::WriteWithKey),
    );
    let sum = results.slower_sum(size);
    tell(
        "Unchanged, against the sum on the slower server",
        ours(Case::Unchanged),
        sum,
    );
    for case in Case::OURS {
        let what = format!("{}, against the same sum", sentence(case));
        tell(&what, ours(case), sum);
    }
    text
}

/// Statements shown of a run; the others are summed up.
const SHOWN: usize = 12;

pub(super) fn profiles(results: &Results) -> String {
    results.profiles.iter().map(profile).collect()
}

fn profile(profile: &Profile) -> String {
    let mut text = String::new();
    let size = count(profile.size);
    line(
        &mut text,
        format!("### {}, {size} meters\n", sentence(profile.case)),
    );
    let mut statements: Vec<_> = profile.statements.iter().collect();
    statements.sort_by(|a, b| b.1.1.total_cmp(&a.1.1));
    let mut table = Table::new(["statement", "server", "times", "ms"]);
    for ((side, name), (executions, ms)) in statements.iter().take(SHOWN) {
        let side = match side {
            Side::Remote => "remote",
            Side::Local => "local",
        };
        table.row([name, side, &executions.to_string(), &format!("{ms:.1}")]);
    }
    let rest: f64 = statements.iter().skip(SHOWN).map(|(_, (_, ms))| ms).sum();
    let wall = profile.wall_ms;
    let neither = (wall - profile.busy_ms).max(0.0);
    for (name, ms) in [
        ("all other statements", rest),
        (
            "neither server at work: the process, its connections, and waiting",
            neither,
        ),
        ("**the whole run**", wall),
    ] {
        table.row([name, "", "", &format!("{ms:.1}")]);
    }
    text + &table.finish()
}

pub(super) fn sentence(case: Case) -> String {
    let text = case.to_string();
    let mut letters = text.chars();
    let first = letters.next().map(|letter| letter.to_ascii_uppercase());
    first.into_iter().chain(letters).collect()
}
