//! The memory of the program itself, as a process of its own that serves all tenants.

use anyhow::{Context, Result, ensure};

use crate::data;
use crate::http_get::http_get;
use crate::program::Program;
use crate::results::{Figure, Figures};
use crate::scheduled_sweeps;
use crate::site::{NO_SCHEDULE, Site};
use crate::truth;

/// Often enough that a few sweeps come soon.
const EVERY_FIVE_SECONDS: &str = "*/5 * * * * *";
/// The number of a change that no round has made.
const TURN: u32 = 1_000_000;

/// Measures it when the states of all tenants are published, and after sweeps.
pub(crate) async fn measure(site: &Site, figures: &mut Figures) -> Result<()> {
    let (program, address) = Program::serve(site.serve(NO_SCHEDULE)).await?;
    published(site, &address)
        .await
        .with_context(|| program.log())?;
    figures.add(Figure::Published, bytes(program.memory_kib()?));
    figures.add(Figure::PublishedPeak, bytes(program.peak_kib()?));
    program.stop().await?;

    let (program, _) = Program::serve(site.serve(EVERY_FIVE_SECONDS)).await?;
    swept(site).await.with_context(|| program.log())?;
    figures.add(Figure::Swept, bytes(program.memory_kib()?));
    figures.add(Figure::SweptPeak, bytes(program.peak_kib()?));
    program.stop().await?;
    truth::check_equal(site).await
}

/// Asks for the list of tenants, which waits until their states are published.
async fn published(site: &Site, address: &str) -> Result<()> {
    let answer = http_get(address, "/api/v1/tenants?limit=1").await?;
    let total = format!(r#""total":{}"#, site.size.tenants);
    ensure!(answer.contains(&total), "{answer}");
    Ok(())
}

/// Waits for a sweep without a change, one with runs, and one more.
async fn swept(site: &Site) -> Result<()> {
    let all = i64::from(site.size.tenants);
    let before = scheduled_sweeps::last(site).await?;
    let first = scheduled_sweeps::wait_for(site, all, before).await?;
    let sql = data::change_some(site.size, TURN);
    let changed = site.remote.execute(&sql, &[]).await?;
    let unchanged = all - i64::try_from(changed)?;
    let with_runs = scheduled_sweeps::wait_for(site, unchanged, first.seq).await?;
    scheduled_sweeps::wait_for(site, all, with_runs.seq).await?;
    Ok(())
}

#[expect(clippy::cast_precision_loss, reason = "far below 2^52")]
fn bytes(kib: u64) -> f64 {
    kib as f64 * 1024.0
}
