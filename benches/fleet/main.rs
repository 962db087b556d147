//! `cargo bench --bench fleet`: one process, or several, that keep the meters of many tenants in sync.
//!
//! Everything runs on this machine: two Postgres servers, the sweeps in the bench's own process, and the program as
//! processes of their own, whose memory and shares of the runs are measured. After each change every row of both sides is compared by SQL that is not
//! the program's; a wrong row or count fails the bench. A goal that is missed is only told, since a machine may be busy.
//! The page (`docs/fleet-performance.md`) is written from the figures of one run.

use std::io::Write;

use anyhow::Result;
use clap::Parser;
use meter_sync::mirrors::Mirrors;
use tokio::runtime::Builder;
use tokio_util::sync::CancellationToken;

use machine::Machine;
use options::{Options, Size};
use results::Figures;
use round::Round;
use site::Site;

mod connections;
mod data;
#[path = "../shared/format.rs"]
mod format;
mod goals;
mod http_get;
#[path = "../shared/line.rs"]
mod line;
#[path = "../shared/machine.rs"]
mod machine;
#[path = "../shared/median.rs"]
mod median;
mod memory;
mod options;
#[path = "../shared/program.rs"]
#[expect(dead_code, reason = "this bench only serves")]
mod program;
mod replica_report;
mod replicas;
mod report;
mod results;
mod round;
mod scheduled_sweeps;
#[path = "../shared/server_cpu.rs"]
mod server_cpu;
#[path = "../shared/server_pair.rs"]
mod server_pair;
#[path = "../shared/shared_options.rs"]
mod shared_options;
mod site;
mod tenant_lag;
mod truth;

fn main() -> Result<()> {
    let options = Options::parse();
    let runtime = Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(Box::pin(measure(&options)))
}

async fn measure(options: &Options) -> Result<()> {
    let mut all = Vec::new();
    let mut postgres = String::new();
    for size in &options.sizes {
        let site = Site::start(options, *size).await?;
        postgres.clone_from(&site.servers.postgres);
        let figures = Box::pin(of_site(&site, options)).await;
        site.stop().await?;
        all.push(figures?);
    }
    let replicas = Box::pin(replicas::measure(options)).await?;
    let page = report::page(&all, &replicas, &Machine::this(&postgres)?, options);
    std::io::stdout().write_all(page.as_bytes())?;
    options.program.write("fleet-performance.md", &page)
}

async fn of_site(site: &Site, options: &Options) -> Result<Figures> {
    let Size {
        tenants, meters, ..
    } = site.size;
    let mut figures = Figures::new(site.size);
    let stop = CancellationToken::new();
    let mirrors = site.mirrors()?;
    #[expect(clippy::disallowed_methods, reason = "it is stopped below")]
    let observer = tokio::spawn(mirrors.clone().observe(stop.clone()));
    let measured = Box::pin(rounds(site, &mirrors, options, &mut figures)).await;
    stop.cancel();
    observer.await?;
    drop(mirrors);
    measured?;
    say(&format!("{tenants} tenants x {meters} meters: memory"));
    Box::pin(memory::measure(site, &mut figures)).await?;
    Ok(figures)
}

async fn rounds(
    site: &Site,
    mirrors: &Mirrors,
    options: &Options,
    figures: &mut Figures,
) -> Result<()> {
    let Size {
        tenants, meters, ..
    } = site.size;
    for turn in 0..=options.program.rounds {
        let mut round = Round {
            site,
            mirrors,
            options,
            figures: &mut *figures,
            turn,
        };
        match turn {
            0 => {
                say(&format!("{tenants} tenants x {meters} meters: first sweep"));
                round.load().await?;
            }
            turn => {
                say(&format!("round {turn} of {}", options.program.rounds));
                Box::pin(round.run()).await?;
            }
        }
    }
    Ok(())
}

/// Tells how far it is.
fn say(text: &str) {
    drop(writeln!(std::io::stderr(), "{text}"));
}
