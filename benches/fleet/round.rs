//! One round: everything but the memory is measured once, and the local meters are checked after each change.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, ensure};
use meter_sync::error::ErrorCode;
use meter_sync::mirrors::{Mirror, Mirrors, RunRequest, RunRequestOutcome, SweepReport};
use meter_sync::model::{RunOutcome, RunTrigger};
use meter_sync::reports::tenant_list::TenantsQuery;
use tokio_postgres::Client;

use crate::data::{self, FAILING, GROUPED, HELD_BACK, MEND_TWO};
use crate::options::Options;
use crate::results::{Figure, Figures};
use crate::site::Site;
use crate::truth::{self, Contents};
use crate::{connections, tenant_lag};

/// How often an unchanged sweep is measured in each round.
const REPEATS: u32 = 3;
/// How often a status of all is asked for in each round.
const CALLS: u32 = 200;
/// A run of one tenant takes far less.
const PATIENCE: Duration = Duration::from_secs(60);

/// A round over a site.
pub(crate) struct Round<'a> {
    pub(crate) site: &'a Site,
    pub(crate) mirrors: &'a Mirrors,
    pub(crate) options: &'a Options,
    pub(crate) figures: &'a mut Figures,
    /// Another number in each round.
    pub(crate) turn: u32,
}

impl Round<'_> {
    /// The first sweep, which copies all meters.
    pub(crate) async fn load(&mut self) -> Result<()> {
        let sweep = Box::pin(self.sweep());
        let ((took, report), most) = connections::most_during(self.site, sweep).await?;
        self.expect(&report, [0, self.tenants(), 0])?;
        self.figures.time(Figure::Load, took);
        let [remote, local] = most.map(f64::from);
        self.figures.add(Figure::RemoteConnections, remote);
        self.figures.add(Figure::LocalConnections, local);
        truth::check_equal(self.site).await?;
        for client in [&self.site.remote, &self.site.local] {
            client.batch_execute("vacuum (freeze, analyze)").await?;
        }
        Ok(())
    }

    pub(crate) async fn run(&mut self) -> Result<()> {
        for _ in 0..REPEATS {
            self.grouped().await.context("one grouped statement")?;
            self.unchanged().await.context("an unchanged sweep")?;
        }
        self.overview().await.context("a status of all")?;
        self.single_runs().await.context("single runs")?;
        self.some_changed().await.context("some tenants changed")?;
        self.one_changed().await.context("one tenant changed")?;
        self.troubled().await.context("two tenants in trouble")
    }

    fn tenants(&self) -> i64 {
        self.site.size.tenants.into()
    }

    /// Sweeps once, and tells how long it took.
    async fn sweep(&self) -> Result<(Duration, SweepReport)> {
        // What happened before is published first, so that its cost is not counted here.
        self.mirrors.overview(&TenantsQuery::default()).await;
        let start = Instant::now();
        let request = RunRequest::new(RunTrigger::Schedule);
        let report = self.mirrors.sweep(&request, |_, _| {}).await;
        let took = start.elapsed();
        Ok((took, report.map_err(|failure| anyhow!("{failure}"))?))
    }

    /// Fails unless so many tenants were found unchanged, had a run that succeeded, and had one that did not.
    fn expect(&self, report: &SweepReport, expected: [i64; 3]) -> Result<()> {
        let counts = report.record.counts;
        let found = [counts.unchanged, counts.succeeded, counts.failed];
        ensure!(
            report.record.error.is_none() && counts.mirrors == self.tenants() && found == expected,
            "{expected:?} is expected: {report:?}"
        );
        Ok(())
    }

    async fn grouped(&mut self) -> Result<()> {
        let [remote, local] = [&self.site.remote, &self.site.local];
        let once = async |client: &Client| -> Result<()> {
            let rows = client.query(GROUPED, &[]).await?;
            ensure!(rows.len() == usize::try_from(self.site.size.tenants)?);
            Ok(())
        };
        let start = Instant::now();
        once(remote).await?;
        let there = start.elapsed();
        once(local).await?;
        let here = start.elapsed().saturating_sub(there);
        let before = self.site.server_cpu();
        let start = Instant::now();
        tokio::try_join!(once(remote), once(local))?;
        let both = start.elapsed();
        let after = self.site.server_cpu();
        self.figures
            .add(Figure::GroupedCpu, after.sum() - before.sum());
        self.figures.time(Figure::GroupedRemote, there);
        self.figures.time(Figure::GroupedLocal, here);
        self.figures.time(Figure::GroupedBoth, both);
        Ok(())
    }

    #[expect(clippy::cast_precision_loss, reason = "far below 2^52")]
    async fn unchanged(&mut self) -> Result<()> {
        let before = self.site.server_cpu();
        let (took, report) = self.sweep().await?;
        let after = self.site.server_cpu();
        self.expect(&report, [self.tenants(), 0, 0])?;
        self.figures.time(Figure::Unchanged, took);
        let bytes = report.record.counts.remote_bytes;
        self.figures.add(Figure::UnchangedBytes, bytes as f64);
        let [remote, local] = [after.remote - before.remote, after.local - before.local];
        self.figures.add(Figure::UnchangedRemoteCpu, remote);
        self.figures.add(Figure::UnchangedLocalCpu, local);
        self.figures.add(Figure::UnchangedCpu, remote + local);
        Ok(())
    }

    async fn overview(&mut self) -> Result<()> {
        let query = TenantsQuery::default();
        self.mirrors.overview(&query).await;
        let mut times = Vec::new();
        for _ in 0..CALLS {
            let start = Instant::now();
            let status = self.mirrors.overview(&query).await;
            times.push(start.elapsed());
            let told = status
                .tenants
                .map(|tenants| (tenants.total, tenants.by_health.ok));
            let expected = Some((self.tenants(), self.tenants()));
            ensure!(told == expected, "{told:?}: {}", status.summary);
        }
        times.sort();
        let at = |hundredths: usize| times.get(times.len() * hundredths / 100).copied();
        self.figures
            .time(Figure::Overview, at(50).unwrap_or_default());
        self.figures
            .time(Figure::SlowOverview, at(99).unwrap_or_default());
        Ok(())
    }

    /// Runs of unchanged tenants, one after another.
    async fn single_runs(&mut self) -> Result<()> {
        let all = self.mirrors.all().await;
        let all = all.map_err(|failure| anyhow!("{failure}"))?;
        let runs = usize::try_from(self.options.single_runs)?;
        let apart = (all.len() / runs).max(1);
        let start = Instant::now();
        for known in all.iter().step_by(apart).cycle().take(runs) {
            let ran = run(&known.mirror).await;
            ran.with_context(|| format!("tenant {}", known.id))?;
        }
        let each = start.elapsed() / self.options.single_runs;
        self.figures.time(Figure::SingleRun, each);
        Ok(())
    }

    #[expect(clippy::cast_precision_loss, reason = "far below 2^52")]
    async fn some_changed(&mut self) -> Result<()> {
        let sql = data::change_some(self.site.size, self.turn);
        let changed = self.site.remote.execute(&sql, &[]).await?;
        let runs = i64::try_from(changed)?;
        self.figures.changed = changed;
        let (took, report) = self.sweep().await?;
        self.expect(&report, [self.tenants() - runs, runs, 0])?;
        self.figures.time(Figure::Some, took);
        let bytes = report.record.counts.remote_bytes;
        self.figures.add(Figure::SomeBytes, bytes as f64);
        for (figure, seconds) in tenant_lag::of_last_sweep(self.site).await? {
            self.figures.add(figure, seconds);
        }
        truth::check_equal(self.site).await
    }

    #[expect(clippy::cast_precision_loss, reason = "far below 2^52")]
    async fn one_changed(&mut self) -> Result<()> {
        let sql = data::change_tenant(self.turn);
        self.site.remote.batch_execute(&sql).await?;
        let (took, report) = self.sweep().await?;
        self.expect(&report, [self.tenants() - 1, 1, 0])?;
        self.figures.time(Figure::One, took);
        let bytes = report.record.counts.remote_bytes;
        self.figures.add(Figure::OneBytes, bytes as f64);
        truth::check_equal(self.site).await
    }

    /// One tenant is held back by the brake, and one has a meter that the local table does not take.
    async fn troubled(&mut self) -> Result<()> {
        let mut kept: Contents = truth::contents(&self.site.local).await?;
        kept.retain(|tenant, _| [HELD_BACK, FAILING].contains(tenant));
        self.site.remote.batch_execute(&data::break_two()).await?;
        let (took, report) = self.sweep().await?;
        self.expect(&report, [self.tenants() - 2, 0, 2])?;
        let mut codes: Vec<&str> = report
            .failed
            .iter()
            .map(|(_, code)| code.as_str())
            .collect();
        codes.sort_unstable();
        let expected = [ErrorCode::LocalConstraint, ErrorCode::SourceEmptyRefused];
        ensure!(codes == expected.map(ErrorCode::as_str), "{codes:?}");
        self.figures.time(Figure::Troubled, took);
        truth::check_equal_but(self.site, &kept).await?;
        self.site.remote.batch_execute(MEND_TWO).await?;
        let (_, report) = self.sweep().await?;
        self.expect(&report, [self.tenants() - 2, 2, 0])?;
        truth::check_equal(self.site).await
    }
}

/// Runs an unchanged mirror to its end.
async fn run(mirror: &Mirror) -> Result<()> {
    let requested = mirror.request(RunRequest::new(RunTrigger::Schedule)).await;
    let report = match requested.map_err(|failure| anyhow!("{failure}"))? {
        RunRequestOutcome::Started(mut ticket) => ticket.wait(PATIENCE).await,
        RunRequestOutcome::AlreadyRunning(report) | RunRequestOutcome::Finished(report) => *report,
    };
    ensure!(report.outcome == Some(RunOutcome::NoChange), "{report:?}");
    Ok(())
}
