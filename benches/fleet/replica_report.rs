//! The section of the page on several processes, and the rules of capacity with figures in them.

use crate::format::{Table, bytes, count, line, seconds, times};
use crate::machine::Machine;
use crate::options::Options;
use crate::replicas::{LineKind, ReplicaFigures};
use crate::report::milliseconds;
use crate::results::{Figure, Figures};

const HEAD: &str = "\
Several processes of the program, with the same settings, share one local database. One meter of each tenant has changed, so that
a sweep gives each tenant a run. *Forecast* is the rule of [scale.md](scale.md#capacity): as many times the runs of one process as
there are processes, but no more than the processors have time for. All of it, both servers too, shares the cores of one machine here.

";

pub(crate) fn section(all: &[ReplicaFigures], options: &Options, machine: &Machine) -> String {
    if all.is_empty() {
        return String::new();
    }
    let size = options.replica_size;
    let mut text = HEAD.to_owned();
    line(
        &mut text,
        format!(
            "{} tenants with {} meters each, and {} runs at a time in each process.\n",
            count(size.tenants.into()),
            count(size.meters.into()),
            options.workers
        ),
    );
    let lines = [
        (LineKind::Near, "The remote on the same machine:"),
        (
            LineKind::Distant,
            "The remote behind 10 Mbit/s, and 50 ms there and back:",
        ),
    ];
    for (kind, title) in lines {
        let of_line = Processes::over(kind, all);
        line(&mut text, format!("{title}\n"));
        text += &of_line.table(machine);
        line(&mut text, of_line.example(machine));
    }
    text
}

/// A table with a column for each number of processes.
struct Processes<'a> {
    all: Vec<&'a ReplicaFigures>,
}

impl<'a> Processes<'a> {
    fn over(line: LineKind, all: &'a [ReplicaFigures]) -> Self {
        let of_line = all.iter().filter(|replicas| replicas.line == line);
        Self {
            all: of_line.collect(),
        }
    }

    /// How long the runs of many tenants take by the rule.
    fn example(&self, machine: &Machine) -> String {
        const TENANTS: f64 = 10_000.0;
        let took = |runs: f64, processes| {
            let took = runs / self.forecast(processes, machine);
            format!("{} s", seconds(took))
        };
        format!(
            "By the rule, the runs of 10,000 tenants of which 1 % have changed take {} with one process and {} with four; if all \
             have changed, {} and {}.\n",
            took(TENANTS / 100.0, 1),
            took(TENANTS / 100.0, 4),
            took(TENANTS, 1),
            took(TENANTS, 4)
        )
    }

    fn table(&self, machine: &Machine) -> String {
        let titles = self.all.iter().map(|replicas| match replicas.processes {
            1 => "1 process".to_owned(),
            processes => format!("{processes} processes"),
        });
        let mut table = Table::new(std::iter::once(String::new()).chain(titles));
        let mut row = |title: &str, cell: &dyn Fn(&ReplicaFigures) -> String| {
            let cells = self.all.iter().map(|replicas| cell(replicas));
            table.row(std::iter::once(title.to_owned()).chain(cells));
        };
        let of = |replicas: &ReplicaFigures, figure| replicas.figures.median(figure);
        let time = |time: f64| format!("{} s", seconds(time));
        let whole = |number: f64| format!("{number:.0}");
        row("a sweep of unchanged tenants", &|r| {
            time(of(r, Figure::Unchanged))
        });
        row("a sweep with a run of each", &|r| {
            time(of(r, Figure::AllRuns))
        });
        row("runs a second in it", &|r| {
            times(runs_per_second(&r.figures))
        });
        row("forecast", &|r| times(self.forecast(r.processes, machine)));
        row("fewest and most runs of a process", &|r| {
            format!(
                "{:.0}, {:.0}",
                of(r, Figure::LeastRuns),
                of(r, Figure::MostRuns)
            )
        });
        let per_run =
            |r: &ReplicaFigures, figure| of(r, figure) / f64::from(r.figures.size.tenants);
        let cpu = |r: &ReplicaFigures, figure| milliseconds(per_run(r, figure));
        row("processor time of a run, remote", &|r| {
            cpu(r, Figure::AllRunsRemoteCpu)
        });
        row("local database", &|r| cpu(r, Figure::AllRunsLocalCpu));
        row("the program", &|r| cpu(r, Figure::AllRunsOwnCpu));
        row("bytes from the remote for a run", &|r| {
            bytes(per_run(r, Figure::AllRunsBytes))
        });
        row("connections to the remote", &|r| {
            whole(of(r, Figure::RemoteConnections))
        });
        row("connections to the local database", &|r| {
            whole(of(r, Figure::LocalConnections))
        });
        row("most resident memory of a process", &|r| {
            bytes(of(r, Figure::SweptPeak))
        });
        table.finish()
    }

    /// The runs a second that the rule of capacity gives for so many processes, from the figures of the smallest number.
    #[expect(clippy::cast_precision_loss, reason = "a small number of cores")]
    fn forecast(&self, processes: u32, machine: &Machine) -> f64 {
        let Some(first) = self.all.iter().min_by_key(|replicas| replicas.processes) else {
            return 0.0;
        };
        let each = runs_per_second(&first.figures) / f64::from(first.processes);
        let spent = [
            Figure::AllRunsRemoteCpu,
            Figure::AllRunsLocalCpu,
            Figure::AllRunsOwnCpu,
        ];
        let spent: f64 = spent
            .iter()
            .map(|figure| first.figures.median(*figure))
            .sum();
        let most = machine.cores as f64 * f64::from(first.figures.size.tenants) / spent;
        (each * f64::from(processes)).min(most)
    }
}

fn runs_per_second(figures: &Figures) -> f64 {
    f64::from(figures.size.tenants) / figures.median(Figure::AllRuns)
}
