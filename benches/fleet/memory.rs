//! The memory of the program itself, as a process of its own that serves all tenants.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::data;
use crate::program::Program;
use crate::results::{Figure, Figures};
use crate::site::{NO_SCHEDULE, Site};
use crate::truth;

/// Often enough that a few sweeps come soon.
const EVERY_FIVE_SECONDS: &str = "*/5 * * * * *";
/// A sweep takes a few seconds, with up to five before it.
const PATIENCE: Duration = Duration::from_secs(120);
const PAUSE: Duration = Duration::from_millis(100);
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
    let mut stream = TcpStream::connect(address).await?;
    let request =
        "GET /api/v1/tenants?limit=1 HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n";
    stream.write_all(request.as_bytes()).await?;
    let mut answer = String::new();
    let read = stream.read_to_string(&mut answer);
    tokio::time::timeout(PATIENCE, read)
        .await
        .context("no answer")??;
    let total = format!(r#""total":{}"#, site.size.tenants);
    ensure!(answer.contains(&total), "{answer}");
    Ok(())
}

/// Waits for a sweep without a change, one with runs, and one more.
async fn swept(site: &Site) -> Result<()> {
    let all = i64::from(site.size.tenants);
    let before = site.local.query_one(LAST, &[]).await?.try_get(0)?;
    let first = sweep_with(site, all, before).await?;
    let sql = data::change_some(site.size, TURN);
    let changed = site.remote.execute(&sql, &[]).await?;
    let unchanged = all - i64::try_from(changed)?;
    let with_runs = sweep_with(site, unchanged, first).await?;
    sweep_with(site, all, with_runs).await.map(drop)
}

const LAST: &str = "select coalesce(max(seq), 0) from meter_sync.meter_sync_sweep";

const FOUND: &str = "\
select seq from meter_sync.meter_sync_sweep
where seq > $1 and finished_at is not null and failed = 0 and unchanged = $2 order by seq limit 1";

/// Waits for the end of a sweep that started after the sweep `after` and found so many tenants unchanged.
async fn sweep_with(site: &Site, unchanged: i64, after: i64) -> Result<i64> {
    let start = Instant::now();
    while start.elapsed() < PATIENCE {
        let found = site.local.query_opt(FOUND, &[&after, &unchanged]).await?;
        if let Some(row) = found {
            return Ok(row.try_get(0)?);
        }
        tokio::time::sleep(PAUSE).await;
    }
    bail!("no sweep has found {unchanged} tenants unchanged")
}

#[expect(clippy::cast_precision_loss, reason = "far below 2^52")]
fn bytes(kib: u64) -> f64 {
    kib as f64 * 1024.0
}
