//! `docs/serving-performance.md`, from the results of one run and nothing else.

use crate::crowd;
use crate::format::{self, Table, bytes, count, times};
use crate::machine::Machine;
use crate::median::median;
use crate::options::Options;
use crate::results::{Asked, Crowd, CrowdTransport, Memory, Processor, Results};
use crate::site::{LARGE_RUNS, METERS};
use crate::targets;

pub(crate) fn page(results: &Results, machine: &Machine, options: &Options) -> String {
    let clients = count(options.clients.into());
    let sections = [
        ("Targets", targets::table(results, options)),
        ("One client", ONE.to_owned() + &one(results)),
        ("The server's own part", own(results)),
        ("Many clients", many(results, &clients)),
        ("A large site", large(results, options)),
        ("Beside them", BESIDE.to_owned() + &beside(results)),
        ("How it was measured", how(machine, options)),
    ];
    format::page(HEAD, sections)
}

const HEAD: &str = "\
<!-- Written by `cargo bench --bench serving`; do not edit. -->

# How fast it answers, and how small it is

All figures come from one run of the bench, which starts two servers of its own, measures, and writes this page:

```sh
cargo build --locked --release && cp target/release/meter-sync target/shipped
cargo bench --locked --bench serving -- --program target/shipped
```

How long a sync takes is in [performance.md](performance.md).

";

const ONE: &str = "\
One client that asks one thing after another, in milliseconds: medians over the rounds, of the median and of the slowest
hundredth of each round. The local database is asked each time whether anything was committed since, and for more than that
only if so; here nothing is, except where it is said.

";

const BESIDE: &str = "\
What the same machine took in the same rounds for what no server can do without, in milliseconds.

";

/// A time in milliseconds with its unit.
pub(crate) fn milliseconds(seconds: f64) -> String {
    format!("{} ms", number(seconds))
}

fn number(seconds: f64) -> String {
    let milliseconds = seconds * 1000.0;
    match milliseconds {
        ..10.0 => format!("{milliseconds:.3}"),
        ..100.0 => format!("{milliseconds:.1}"),
        _ => format!("{milliseconds:.0}"),
    }
}

fn one(results: &Results) -> String {
    let ways = [
        (Asked::Stdio, "status over stdio"),
        (
            Asked::StdioAnew,
            "the same, after a commit in the local database each time",
        ),
        (
            Asked::Session,
            "status at `/mcp`, in a session (2025-11-25)",
        ),
        (
            Asked::SessionAnew,
            "the same, after a commit in the local database each time",
        ),
        (
            Asked::Stateless,
            "status at `/mcp`, without one (2026-07-28)",
        ),
        (Asked::Events, "status at `/sse` (2024-11-05)"),
        (Asked::StdioPing, "`ping` over stdio"),
        (Asked::SessionPing, "`ping` at `/mcp`, in a session"),
    ];
    let mut table = Table::new(["", "median", "slowest hundredth", "times `select 1`"]);
    for (asked, title) in ways {
        table.row(row(results, asked, title));
    }
    table.finish()
}

fn row(results: &Results, asked: Asked, title: &str) -> [String; 4] {
    let p50 = results.p50(asked).unwrap_or_default();
    let select = results.p50(Asked::SelectOne).unwrap_or_default();
    [
        title.to_owned(),
        number(p50),
        number(results.p99(asked).unwrap_or_default()),
        times(p50 / select),
    ]
}

fn own(results: &Results) -> String {
    let of = |asked| results.p50(asked).unwrap_or_default();
    let spent = |of: fn(&Processor) -> f64| {
        let median = median(results.processor.iter().map(of));
        milliseconds(median.unwrap_or_default())
    };
    let database = of(Asked::Database);
    format!(
        "To ask the database takes {} of a status, as the same code takes in the bench's own process; the rest is the server's \
         own: {} over stdio, {} at `/mcp` in a session, {} without one. A call over stdio costs {} of processor time in the \
         program and {} in Postgres.\n",
        milliseconds(database),
        milliseconds(of(Asked::Stdio) - database),
        milliseconds(of(Asked::Session) - database),
        milliseconds(of(Asked::Stateless) - database),
        spent(|spent| spent.program),
        spent(|spent| spent.postgres),
    )
}

fn many(results: &Results, clients: &str) -> String {
    let mut text = crowd::described(clients);
    text +=
        " Times in milliseconds, medians over the rounds; memory is the most of all rounds.\n\n";
    let mut table = Table::new([
        "",
        "errors",
        "median",
        "slowest hundredth",
        "all at once: median",
        "the last",
        "resident: all in",
        "with the calls",
        "with all at once",
    ]);
    for (transport, title) in [
        (CrowdTransport::Sessions, "`/mcp`, a session each"),
        (CrowdTransport::Stateless, "`/mcp`, no session"),
        (CrowdTransport::Events, "`/sse`, a stream each"),
    ] {
        table.row(crowded(results, transport, title));
    }
    text += &table.finish();
    text
}

fn crowded(results: &Results, transport: CrowdTransport, title: &str) -> [String; 9] {
    let of = |of: fn(&Crowd) -> f64| results.crowd(transport, of).unwrap_or_default();
    let held = |of: fn(Memory) -> u64| bytes(results.held(transport, of).unwrap_or_default());
    let crowds = results.crowds.get(&transport).into_iter().flatten();
    let errors: usize = crowds.map(|crowd| crowd.errors.len()).sum();
    [
        title.to_owned(),
        errors.to_string(),
        number(of(|crowd| crowd.spread.p50)),
        number(of(|crowd| crowd.spread.p99)),
        number(of(|crowd| crowd.burst.p50)),
        number(of(|crowd| crowd.burst_seconds)),
        held(|memory| memory.open_kib),
        held(|memory| memory.called_kib),
        held(|memory| memory.peak_kib),
    ]
}

fn large(results: &Results, options: &Options) -> String {
    let mut text = format!(
        "{} meters and {} runs in the log, on servers of their own. Before each question something is committed in another table of \
         the local database, so that it is asked each time. A count of 50,000 meters or more that took 5 ms or more is used for a \
         hundred times as long as it took, a minute at most, and until a run ends; the answer says when they were counted. The \
         first question counts them, and so does each that comes when the count is too old. In milliseconds.\n\n",
        count(options.large_meters.into()),
        count(LARGE_RUNS.into()),
    );
    let ways = [
        (
            Asked::LargeStdio,
            Some(Asked::StdioAnew),
            "status over stdio, after a commit each time",
        ),
        (
            Asked::LargeSession,
            Some(Asked::SessionAnew),
            "status at `/mcp`, in a session, after a commit each time",
        ),
        (
            Asked::LargePage,
            None,
            "the whole page at `/`, after a commit each time",
        ),
        (
            Asked::LargeFirst,
            None,
            "the first status after the start over stdio, which counts",
        ),
    ];
    let mut table = Table::new([
        "",
        "median",
        "slowest hundredth",
        "times `select 1`",
        "times the small site",
    ]);
    for (asked, small, title) in ways {
        let [title, p50, p99, select] = row(results, asked, title);
        let of = |asked| results.p50(asked).unwrap_or_default();
        let ratio = small.map_or_else(String::new, |small| times(of(asked) / of(small)));
        table.row([title, p50, p99, select, ratio]);
    }
    text += &table.finish();
    text
}

fn beside(results: &Results) -> String {
    let ways = [
        (
            Asked::Database,
            "the status asked of the database, in the bench's own process",
        ),
        (
            Asked::SelectOne,
            "`select 1`, prepared, on a connection that is there",
        ),
        (
            Asked::Echo,
            "6 KiB there and back over TCP, within the bench",
        ),
    ];
    let mut table = Table::new(["", "median", "slowest hundredth", "times `select 1`"]);
    for (asked, title) in ways {
        table.row(row(results, asked, title));
    }
    table.finish()
}

fn how(machine: &Machine, options: &Options) -> String {
    format!(
        "One machine with {} cores and {} GiB of memory, which held the bench, the program and Postgres {} (twice, with its data \
         in memory). {} rounds of {} calls in each way, and 20 starts in each.\n\n\
         - The program is {}, a fresh process for each part of a round, over a site of {} meters with eight runs in \
         its log. Every answer is looked at after its time was taken: the id, health `ok`, the number of meters.\n\
         - The client is the bench: one thread that writes and reads the protocol itself.\n\
         - A start counts from the creation of the process to the end of the answer, the median of all starts.\n\
         - Resident memory is what Linux counts for the program's process (`VmRSS`, and `VmHWM` for the most).\n",
        machine.cores,
        machine.memory_gib,
        machine.postgres,
        options.program.rounds,
        count(options.calls.into()),
        options.program.in_words(),
        count(METERS.unsigned_abs()),
    )
}
