//! `docs/fleet-performance.md`, from the figures of one run and nothing else.

use crate::data::{FAILING, HELD_BACK};
use crate::format::{self, Table, bytes, count, cpu, seconds, times};
use crate::goals;
use crate::machine::Machine;
use crate::options::{Options, Size};
use crate::replica_report;
use crate::replicas::ReplicaFigures;
use crate::results::{Figure, Figures};

pub(crate) fn page(
    all: &[Figures],
    replicas: &[ReplicaFigures],
    machine: &Machine,
    options: &Options,
) -> String {
    let several = replica_report::section(replicas, options, machine);
    let sections = [
        ("Goals", GOALS.to_owned() + &goals::table(all)),
        ("An unchanged sweep", UNCHANGED.to_owned() + &unchanged(all)),
        ("Sweeps with runs", RUNS.to_owned() + &runs(all)),
        ("Lag", LAG.to_owned() + &lag(all)),
        (
            "Status, memory and connections",
            SIZE.to_owned() + &size(all),
        ),
        ("Several processes", several),
        ("How it was measured", how(machine, options)),
    ];
    format::page(HEAD, sections)
}

const HEAD: &str = "\
<!-- Written by `cargo bench --bench fleet`; do not edit. -->

# How fast many tenants are kept in sync

All figures come from one run of the bench, which starts two servers of its own, measures, and writes this page:

```sh
cargo build --locked --release && cp target/release/meter-sync target/shipped
cargo bench --locked --bench fleet -- --program target/shipped
```

A *sweep* looks at all tenants with one statement on each side, and starts runs for those that differ. How long the run of
one tenant takes is in [performance.md](performance.md).

";

const GOALS: &str = "\
Tenants x meters of each. Times are medians.

";

const UNCHANGED: &str = "\
Nothing has changed on either side. The grouped statement is what Postgres needs in any case: it counts the same rows by
tenant and hashes their versions, with nothing around it. Alone, it may use more than one core. Processor time is that of
all processes of a server.

";

const RUNS: &str = "\
The first sweep copies all meters. In the others one meter of every hundredth tenant has changed; or all meters of one
tenant; or one tenant has lost all its meters, so that the brake holds it back, and another one has a meter that a local
constraint does not take. All other tenants are found unchanged each time.

";

const LAG: &str = "\
From the start of the sweep with one changed meter in every hundredth tenant, until a tenant was known to be equal: the end
of its run, or the time for which it was found unchanged.

";

const SIZE: &str = "\
The status is the first page of all tenants, asked for 200 times while nothing changes. Memory is that of the program's
process. Connections are the most that were open at a time during the first sweep.

";

/// The heading of a column.
pub(crate) fn title(size: Size) -> String {
    let [tenants, meters] = [size.tenants, size.meters].map(|number| count(number.into()));
    match size.has_own_tables {
        true => format!("{tenants} x {meters}, own tables"),
        false => format!("{tenants} x {meters}"),
    }
}

/// A time in milliseconds with its unit.
pub(crate) fn milliseconds(seconds: f64) -> String {
    format!("{:.3} ms", seconds * 1000.0)
}

/// A time in seconds with its unit.
fn time(time: f64) -> String {
    format!("{} s", seconds(time))
}

/// A table with a column for each size, and a row for each title.
struct Sizes<'a> {
    all: &'a [Figures],
    table: Table,
}

impl<'a> Sizes<'a> {
    fn new(all: &'a [Figures]) -> Self {
        let titles = all.iter().map(|figures| title(figures.size));
        let table = Table::new(std::iter::once(String::new()).chain(titles));
        Self { all, table }
    }

    fn row(&mut self, title: &str, cell: impl Fn(&Figures) -> String) {
        let cells = self.all.iter().map(cell);
        self.table
            .row(std::iter::once(title.to_owned()).chain(cells));
    }

    /// A row with the median of a figure.
    fn median(&mut self, title: &str, figure: Figure, shown: fn(f64) -> String) {
        self.row(title, |figures| shown(figures.median(figure)));
    }
}

fn unchanged(all: &[Figures]) -> String {
    let mut sizes = Sizes::new(all);
    sizes.median("the sweep", Figure::Unchanged, time);
    sizes.median("bytes from the remote", Figure::UnchangedBytes, bytes);
    sizes.median(
        "processor time, remote",
        Figure::UnchangedRemoteCpu,
        cpu_time,
    );
    sizes.median("processor time, local", Figure::UnchangedLocalCpu, cpu_time);
    sizes.median("a grouped statement, remote", Figure::GroupedRemote, time);
    sizes.median("the same, local", Figure::GroupedLocal, time);
    sizes.median("both at the same time", Figure::GroupedBoth, time);
    sizes.row("the sweep, times the slower of the two alone", |figures| {
        times(figures.times_slower())
    });
    sizes.row("times both at the same time", |figures| {
        times(figures.times_both())
    });
    sizes.median(
        "processor time of both for that",
        Figure::GroupedCpu,
        cpu_time,
    );
    sizes.row("processor time of the sweep, times that", |figures| {
        times(figures.median(Figure::UnchangedCpu) / figures.median(Figure::GroupedCpu))
    });
    sizes.median("a single run of a tenant", Figure::SingleRun, milliseconds);
    sizes.row("all tenants that way, one after another", |figures| {
        time(figures.all_single_runs())
    });
    sizes.row("that, times the sweep", |figures| {
        times(figures.times_faster())
    });
    sizes.table.finish()
}

fn runs(all: &[Figures]) -> String {
    let mut sizes = Sizes::new(all);
    sizes.median("the first sweep", Figure::Load, time);
    sizes.row("runs a second in it", |figures| {
        times(f64::from(figures.size.tenants) / figures.median(Figure::Load))
    });
    sizes.row("tenants with one changed meter", |figures| {
        count(figures.changed)
    });
    sizes.median("the sweep", Figure::Some, time);
    sizes.median("bytes from the remote", Figure::SomeBytes, bytes);
    sizes.row("meters of one tenant that all changed", |figures| {
        count(figures.size.meters.into())
    });
    sizes.median("the sweep", Figure::One, time);
    sizes.median("bytes from the remote", Figure::OneBytes, bytes);
    sizes.median(
        "the sweep with one tenant held back and one failing",
        Figure::Troubled,
        time,
    );
    sizes.table.finish()
}

fn lag(all: &[Figures]) -> String {
    let mut sizes = Sizes::new(all);
    sizes.median("all tenants: median", Figure::Lag, time);
    sizes.median("slowest hundredth", Figure::SlowLag, time);
    sizes.median("tenants that had changed: median", Figure::RunLag, time);
    sizes.median("slowest hundredth", Figure::SlowRunLag, time);
    sizes.table.finish()
}

fn size(all: &[Figures]) -> String {
    let mut sizes = Sizes::new(all);
    let whole = |number: f64| format!("{number:.0}");
    sizes.median("a status of all: median", Figure::Overview, milliseconds);
    sizes.median("slowest hundredth", Figure::SlowOverview, milliseconds);
    sizes.median("resident: all states published", Figure::Published, bytes);
    sizes.median("the most until then", Figure::PublishedPeak, bytes);
    sizes.median("resident: after sweeps", Figure::Swept, bytes);
    sizes.median("the most until then", Figure::SweptPeak, bytes);
    sizes.median(
        "connections to the remote",
        Figure::RemoteConnections,
        whole,
    );
    sizes.median(
        "connections to the local database",
        Figure::LocalConnections,
        whole,
    );
    sizes.table.finish()
}

fn cpu_time(seconds: f64) -> String {
    format!("{} s", cpu(seconds))
}

fn how(machine: &Machine, options: &Options) -> String {
    format!(
        "One machine with {} cores and {} GiB of memory, which held the bench, the program and Postgres {} (twice, with its data \
         in memory, 512 MB of shared buffers and no autovacuum). {} rounds with three unchanged sweeps and {} single runs in \
         each; a sweep has at most {} runs at a time. Figures are medians of all rounds.\n\n\
         - Both tables have 17 columns, and an index on the tenant. The meters of a tenant are spread over the whole table. With \
         \"own tables\", each tenant has a local table of its own.\n\
         - Sweeps are timed in the bench's own process, by the code that the program runs, with the states of all tenants \
         published beside it. Before each sweep the bench waits until what happened before is published.\n\
         - The grouped statement, alone and on both sides, and the unchanged sweep are measured in turn.\n\
         - After each change every row of both sides is compared, by a sum of the md5 of all its values for each tenant. Tenants \
         {HELD_BACK} and {FAILING}, held back and failing, must keep the meters that they had. A wrong row or count fails the bench.\n\
         - Memory is what Linux counts (`VmRSS`, and `VmHWM` for the most) of {} running `serve`: once when it has told the \
         number of all tenants, and once after three or more sweeps, one of them with runs for every hundredth tenant.\n",
        machine.cores,
        machine.memory_gib,
        machine.postgres,
        options.program.rounds,
        count(options.single_runs.into()),
        options.workers,
        options.program.in_words(),
    )
}
