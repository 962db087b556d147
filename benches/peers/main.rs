//! `cargo bench --bench peers`: meter-sync against other ways to keep a table equal.
//!
//! Everything runs on this machine: two Postgres servers, a line between them, and each peer on a local
//! database of its own that starts from the same rows. A result counts as right only when an oracle
//! that no peer has a part in finds no difference. The report (`docs/performance.md`) is written
//! from the figures of one run, and says what was left out.

use std::io::Write;

use anyhow::Result;
use clap::Parser;
use tokio::runtime::Builder;

use options::{ChildCommand, Command, LineKind, Options};
use peer::Peer;
use results::Results;
use rounds::Series;
use servers::Servers;

mod bare_statements;
mod case;
mod data;
mod dlt;
mod fdw;
#[path = "../shared/line.rs"]
mod line;
mod logical;
#[path = "../shared/median.rs"]
mod median;
mod options;
mod oracle;
mod ours;
mod peer;
mod peer_run;
mod prepare_case;
mod process;
mod psql_relay;
mod python;
mod report;
mod results;
mod rounds;
mod row_by_row;
#[path = "../shared/server_cpu.rs"]
mod server_cpu;
mod servers;
mod sling;
mod time_by_statement;

fn main() -> Result<()> {
    let Command { part, options } = Command::parse();
    let mut one_thread = Builder::new_current_thread();
    let mut threads = Builder::new_multi_thread();
    match part {
        Some(ChildCommand::RowByRow { remote, local }) => {
            let runtime = one_thread.enable_all().build()?;
            runtime.block_on(row_by_row::run(&remote, &local))
        }
        None => {
            let runtime = threads.enable_all().build()?;
            runtime.block_on(Box::pin(measure(&options)))
        }
    }
}

async fn measure(options: &Options) -> Result<()> {
    let mut results = Results::default();
    for peer in &options.peers {
        say(&format!("installing {}", peer.title()));
        if let Err(error) = peer.install() {
            results.absent.insert(*peer, format!("{error:#}"));
        }
    }
    let mut servers = Servers::start().await?;
    let machine = report::Machine::this(&servers.version)?;
    let done = all(options, &mut servers, &mut results).await;
    servers.stop().await?;
    // what was measured before something failed is not thrown away; the command fails all the same
    if let Some(folder) = options.output() {
        report::write(&results, &machine, folder)?;
    }
    done
}

async fn all(options: &Options, servers: &mut Servers, results: &mut Results) -> Result<()> {
    let mut turn = 0;
    for (line, size) in options.series() {
        let mut series = Series {
            options,
            servers,
            results,
            line,
            size,
            turn,
        };
        Box::pin(series.run()).await?;
        turn = series.turn;
    }
    let series = options.series();
    let near = series.iter().filter(|(line, _)| *line == LineKind::Lan);
    let sizes: Vec<u64> = near.map(|(_, size)| *size).collect();
    match options.peers.contains(&Peer::Ours) {
        true => Box::pin(time_by_statement::all(servers, results, &sizes, turn)).await,
        false => Ok(()),
    }
}

/// Tells how far it is.
pub(crate) fn say(text: &str) {
    drop(writeln!(std::io::stderr(), "{text}"));
}
