//! How the runs of a sweep divide among several processes, each of them the program's `serve` with the same settings.

use std::time::Duration;

use anyhow::{Context, Result, anyhow, ensure};
use meter_sync::config::Setting;
use meter_sync::mirrors::RunRequest;
use meter_sync::model::RunTrigger;

use crate::http_get::http_get;
use crate::line::{Line, THIN};
use crate::options::{Options, Size};
use crate::program::Program;
use crate::results::{Figure, Figures};
use crate::scheduled_sweeps::{self, ScheduledSweep};
use crate::site::Site;
use crate::{connections, data, say, truth};

/// So that a measurement need not wait long. A slot that passes while a sweep is in progress is left out.
const EVERY_FIVE_SECONDS: &str = "*/5 * * * * *";
/// Other processes see for up to so long what a sweep of theirs has left.
const REST: Duration = Duration::from_secs(3);

/// A line between the processes and the remote.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum LineKind {
    /// As fast as this machine passes bytes on.
    Near,
    /// 10 Mbit/s, and 50 ms there and back.
    Distant,
}

/// What was measured with a number of processes over a line.
#[derive(Debug)]
pub(crate) struct ReplicaFigures {
    pub(crate) line: LineKind,
    pub(crate) processes: u32,
    pub(crate) figures: Figures,
}

/// Measures each number of processes over each line; nothing if no number is asked for.
pub(crate) async fn measure(options: &Options) -> Result<Vec<ReplicaFigures>> {
    if options.replicas.is_empty() {
        return Ok(Vec::new());
    }
    let site = Site::start(options, options.replica_size).await?;
    let measured = Box::pin(of_site(&site, options)).await;
    site.stop().await?;
    measured
}

async fn of_site(site: &Site, options: &Options) -> Result<Vec<ReplicaFigures>> {
    load(site).await?;
    let port = site.servers.remote.port();
    let lines = [
        (LineKind::Near, Line::to(port, None).await?),
        (LineKind::Distant, Line::to(port, Some(THIN)).await?),
    ];
    let counts = options.replicas.iter();
    let all = counts.flat_map(|count| lines.iter().map(move |(kind, line)| (*count, *kind, line)));
    let mut measured: Vec<_> = all
        .map(|(processes, kind, line)| {
            let figures = ReplicaFigures {
                line: kind,
                processes,
                figures: Figures::new(site.size),
            };
            (line, figures)
        })
        .collect();
    let mut turn = 0;
    for round in 1..=options.program.rounds {
        for (line, replicas) in &mut measured {
            let ReplicaFigures {
                line: kind,
                processes,
                figures,
            } = replicas;
            say(&format!("processes: {processes}, {kind:?} (round {round})"));
            turn += 1;
            let once = Once { site, line, turn };
            Box::pin(once.measure(*processes, figures)).await?;
        }
    }
    Ok(measured.into_iter().map(|(_, figures)| figures).collect())
}

/// Copies the meters of all tenants.
async fn load(site: &Site) -> Result<()> {
    let Size { tenants, .. } = site.size;
    say(&format!(
        "several processes, {tenants} tenants: first sweep"
    ));
    let request = RunRequest::new(RunTrigger::Schedule);
    let swept = site.mirrors()?.sweep(&request, |_, _| {}).await;
    let report = swept.map_err(|failure| anyhow!("{failure}"))?;
    ensure!(
        report.record.counts.succeeded == i64::from(tenants),
        "{report:?}"
    );
    for client in [&site.remote, &site.local] {
        client.batch_execute("vacuum (freeze, analyze)").await?;
    }
    truth::check_equal(site).await
}

/// One measurement of a number of processes.
#[derive(Debug)]
struct Once<'a> {
    site: &'a Site,
    line: &'a Line,
    /// Another number in each measurement.
    turn: u32,
}

impl Once<'_> {
    async fn measure(&self, processes: u32, figures: &mut Figures) -> Result<()> {
        let mut programs = Vec::new();
        for _ in 0..processes {
            programs.push(self.start().await?);
        }
        let swept = Box::pin(self.sweeps(&programs, figures)).await;
        let logs = || programs.iter().map(|(program, _)| program.log());
        swept.with_context(|| logs().collect::<String>())?;
        for (program, _) in programs {
            program.stop().await?;
        }
        truth::check_equal(self.site).await
    }

    async fn start(&self) -> Result<(Program, String)> {
        let remote = &self.site.servers.remote;
        let [own, of_line] = [remote.port(), self.line.port()].map(|port| format!(":{port}/"));
        let url = remote
            .url(crate::server_pair::DATABASE)
            .replace(&own, &of_line);
        let mut command = self.site.serve(EVERY_FIVE_SECONDS);
        command.env(Setting::RemoteUrl.env(), url);
        Program::serve(command).await
    }

    /// Measures a sweep that finds all tenants unchanged, and one that gives each of them a run.
    async fn sweeps(&self, programs: &[(Program, String)], figures: &mut Figures) -> Result<()> {
        let tenants = i64::from(self.site.size.tenants);
        let before = scheduled_sweeps::last(self.site).await?;
        let first = scheduled_sweeps::wait_for(self.site, tenants, before).await?;
        let unchanged = scheduled_sweeps::wait_for(self.site, tenants, first.seq).await?;
        figures.add(Figure::Unchanged, unchanged.seconds);
        tokio::time::sleep(REST).await;

        let sql = data::change_one_of_each(self.site.size, self.turn);
        self.site.remote.execute(&sql, &[]).await?;
        let before = Spent::so_far(self, programs).await?;
        let with_runs = scheduled_sweeps::wait_for(self.site, 0, unchanged.seq);
        let (sweep, most) = connections::most_during(self.site, with_runs).await?;
        let after = Spent::so_far(self, programs).await?;
        after.note(&before, &sweep, figures);
        let [remote, local] = most.map(f64::from);
        figures.add(Figure::RemoteConnections, remote);
        figures.add(Figure::LocalConnections, local);
        for (program, _) in programs {
            #[expect(clippy::cast_precision_loss, reason = "far below 2^52")]
            figures.add(Figure::SweptPeak, program.peak_kib()? as f64 * 1024.0);
        }
        Ok(())
    }
}

/// What all processes and servers have spent so far.
#[derive(Debug)]
struct Spent {
    remote_cpu: f64,
    local_cpu: f64,
    own_cpu: f64,
    remote_bytes: u64,
    /// The runs that each process has made.
    runs: Vec<f64>,
}

impl Spent {
    async fn so_far(once: &Once<'_>, programs: &[(Program, String)]) -> Result<Self> {
        let mut runs = Vec::new();
        for (_, address) in programs {
            runs.push(runs_made(address).await?);
        }
        let servers = once.site.server_cpu();
        let own = programs.iter().map(|(program, _)| program.cpu());
        Ok(Self {
            remote_cpu: servers.remote,
            local_cpu: servers.local,
            own_cpu: own.sum::<Duration>().as_secs_f64(),
            remote_bytes: once.line.received(),
            runs,
        })
    }

    /// Adds what one sweep with a run of each tenant has spent.
    #[expect(clippy::cast_precision_loss, reason = "far below 2^52")]
    fn note(&self, before: &Self, sweep: &ScheduledSweep, figures: &mut Figures) {
        figures.add(Figure::AllRuns, sweep.seconds);
        figures.add(
            Figure::AllRunsRemoteCpu,
            self.remote_cpu - before.remote_cpu,
        );
        figures.add(Figure::AllRunsLocalCpu, self.local_cpu - before.local_cpu);
        figures.add(Figure::AllRunsOwnCpu, self.own_cpu - before.own_cpu);
        let bytes = self.remote_bytes - before.remote_bytes;
        figures.add(Figure::AllRunsBytes, bytes as f64);
        let runs = self.runs.iter().zip(&before.runs);
        let runs: Vec<f64> = runs.map(|(after, before)| after - before).collect();
        figures.add(
            Figure::LeastRuns,
            runs.iter().copied().fold(f64::INFINITY, f64::min),
        );
        figures.add(Figure::MostRuns, runs.iter().copied().fold(0.0, f64::max));
    }
}

/// How many runs a process has made, by its metrics.
async fn runs_made(address: &str) -> Result<f64> {
    let page = http_get(address, "/metrics").await?;
    let lines = page.lines();
    let values = lines.filter(|line| line.starts_with("meter_sync_runs_total"));
    let values = values.filter_map(|line| line.rsplit_once(' ')?.1.parse::<f64>().ok());
    Ok(values.sum())
}
