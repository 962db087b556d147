//! `docs/performance.md` and its plot, from the results of one run and nothing else.

use std::path::Path;

use anyhow::Result;

use crate::options::LineKind;
use crate::peer::Peer;
use crate::results::Results;
use crate::servers::SETTINGS;

pub(crate) use format::count;
use format::line;
pub(crate) use machine::Machine;

mod bare_statements;
mod correctness;
#[path = "../../shared/format.rs"]
mod format;
#[path = "../../shared/machine.rs"]
mod machine;
mod plot;
mod targets;
mod times_and_costs;
mod unavoidable;

/// Writes both files.
pub(crate) fn write(results: &Results, machine: &Machine, folder: &Path) -> Result<()> {
    std::fs::create_dir_all(folder)?;
    std::fs::write(folder.join("performance.svg"), plot::svg(results))?;
    std::fs::write(folder.join("performance.md"), page(results, machine))?;
    Ok(())
}

fn page(results: &Results, machine: &Machine) -> String {
    let sections = [
        ("", INTRODUCTION.to_owned()),
        ("Targets", targets::table(results)),
        ("How it was measured", how(machine)),
        (
            "Right or wrong",
            RIGHT.to_owned() + &correctness::table(results),
        ),
        (
            "Times",
            PLOT.to_owned() + &times_and_costs::all(results, LineKind::Lan),
        ),
        (
            "Over 10 Mbit/s and 50 ms",
            THIN.to_owned() + &times_and_costs::all(results, LineKind::Thin),
        ),
        (
            "Other runs of meter-sync",
            OURS.to_owned() + &times_and_costs::of_ours(results) + &reported(results),
        ),
        (
            "Limits",
            LIMITS.to_owned() + &bare_statements::table(results),
        ),
        ("Where the time goes", profiles(results)),
        ("Left out", correctness::left_out(results)),
    ];
    format::page(HEAD, sections)
}

const HEAD: &str =
    "<!-- Written by `cargo bench --bench peers`; do not edit. -->\n\n# Performance\n\n";

const INTRODUCTION: &str = "\
How long meter-sync takes beside other ways to keep a local table equal to a remote one, and what it costs. All figures
come from one run of `cargo bench --bench peers`, which starts two servers of its own, measures, and writes this page.
Ratios hold better than seconds from one machine to another.";

const RIGHT: &str = "\
After each run the bench reads both tables and compares them row by row; no peer has a part in that. A result is right
when no meter is missing or stale, none that is gone from the remote is still active here or was deleted here, and none is another
tenant's. The figures are the worst of all sizes and rounds. A time marked *wrong* below belongs to a wrong result.

";

const PLOT: &str = "![Seconds by number of meters, for the first load, unchanged, and 1 % changed](performance.svg)\n\n";

const THIN: &str = "\
The line passes 10 Mbit/s each way and takes 50 ms there and back; to connect takes one round trip more.

";

const OURS: &str = "\
*Unchanged* above is a run after one that found nothing to do. These are the other runs that change nothing: the one after a
first load, the daily one that compares every value, and the one after a restart of the local server, when row versions
prove nothing and what the rows hold is compared. Seconds, and bytes from the remote.

";

const LIMITS: &str = "\
What single statements take over the same rows, in the same rounds.

";

fn how(machine: &Machine) -> String {
    let mut text = format!(
        "One machine with {} cores and {} GiB of memory; Postgres {} twice, with its data in memory; \
         `fsync` and `full_page_writes` off, and for both servers `{}`.\n\n",
        machine.cores,
        machine.memory_gib,
        machine.postgres,
        SETTINGS.join("`, `"),
    );
    text += METHOD;
    for peer in Peer::ALL {
        line(&mut text, format!("- {}: {}.", peer.title(), peer.method()));
    }
    text
}

const METHOD: &str = "\
- A round runs every case in order, and in each case every peer, another one first each time. A peer that takes long
  runs fewer cases and rounds, and one that would take over a minute is left out; see the end.
- The remote holds the tenant's meters with 16 columns (about 300 bytes a row) and a tenth more of two other tenants. Of the
  changed meters one in 20 is gone, one is new, and the others have one to three new values; they are scattered over all keys.
- Each peer has a local database of its own. After each run it is vacuumed and analysed, as the remote is after each change.
- Time is that of the tool's process from start to end. Its processor time and the servers' are what Linux counts, in hundredths
  of a second. Memory is the sum over the tool's processes.
- Everything between a tool and the remote passes a proxy of the bench on the same machine, for each peer alike. It counts what the remote
  sends, protocol and all.

The peers:

";

/// What ours reports of its bytes, beside what passed the line.
fn reported(results: &Results) -> String {
    let ours = results
        .samples
        .iter()
        .filter(|(key, _)| key.peer == Peer::Ours);
    let samples = ours.flat_map(|(_, samples)| samples);
    let (mut reported, mut received) = (0.0, 0.0);
    for sample in samples {
        reported += sample.reported;
        received += sample.received;
    }
    if received == 0.0 {
        return String::new();
    }
    format!(
        "`remote_bytes` in its reports came to {:.1} % of what passed the line in all its runs; it counts row data only.\n",
        100.0 * reported / received
    )
}

fn profiles(results: &Results) -> String {
    if results.profiles.is_empty() {
        return String::new();
    }
    format!(
        "One run each with every statement logged by both servers. The servers work at the same time, so the sum of the lines may \
         exceed the whole.\n\n{}",
        bare_statements::profiles(results)
    )
}
