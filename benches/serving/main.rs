//! `cargo bench --bench serving`: how fast the program answers, and how small it is.
//!
//! Everything runs on this machine: two Postgres servers with a synced site between them, and the
//! program as a process of its own, which the bench asks over standard input and output, `/mcp` and
//! `/sse` as clients do. Every answer is looked at; one that is wrong fails the bench, while a target that
//! is missed is told only, since a machine may be busy. The page (`docs/serving-performance.md`) is written
//! from the figures of one run.

use std::io::Write;

use anyhow::{Result, ensure};
use clap::Parser;
use tokio::runtime::Builder;

use machine::Machine;
use options::Options;
use results::Results;
use round::Round;
use site::{Site, Size};

mod conversation;
mod crowd;
#[path = "../shared/format.rs"]
#[expect(dead_code, reason = "not every bench shows every unit")]
mod format;
mod http;
mod large_site;
#[path = "../shared/machine.rs"]
mod machine;
#[path = "../shared/median.rs"]
mod median;
mod message;
mod options;
#[path = "../shared/program.rs"]
mod program;
mod report;
mod results;
mod round;
#[path = "../shared/server_pair.rs"]
mod server_pair;
#[path = "../shared/shared_options.rs"]
mod shared_options;
mod site;
mod targets;

fn main() -> Result<()> {
    let options = Options::parse();
    // one thread: what a client costs is then not spread over threads that wake each other
    let runtime = Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(Box::pin(measure(&options)))
}

async fn measure(options: &Options) -> Result<()> {
    let site = Site::start(&options.program.program, Size::SMALL).await?;
    let machine = Machine::this(&site.servers.postgres)?;
    let mut results = Results {
        binary_bytes: std::fs::metadata(&options.program.program)?.len(),
        ..Results::default()
    };
    let done = Box::pin(all(&site, options, &mut results)).await;
    site.stop().await?;
    done?;
    say("a large site");
    let site = Site::start(&options.program.program, Size::large(options.large_meters)).await?;
    let done = Box::pin(large(&site, options, &mut results)).await;
    site.stop().await?;
    done?;
    let page = report::page(&results, &machine, options);
    std::io::stdout().write_all(page.as_bytes())?;
    let errors: Vec<&str> = results.errors().collect();
    ensure!(
        errors.is_empty(),
        "{} clients met an error, such as: {}",
        errors.len(),
        errors.first().copied().unwrap_or_default()
    );
    options.program.write("serving-performance.md", &page)
}

async fn all(site: &Site, options: &Options, results: &mut Results) -> Result<()> {
    for round in 1..=options.program.rounds {
        say(&format!("round {round} of {}", options.program.rounds));
        let mut round = Round {
            site,
            options,
            results,
        };
        round.run().await?;
    }
    Ok(())
}

async fn large(site: &Site, options: &Options, results: &mut Results) -> Result<()> {
    for _ in 0..options.program.rounds {
        let mut round = Round {
            site,
            options,
            results,
        };
        round.large().await?;
    }
    Ok(())
}

/// Tells how far it is.
fn say(text: &str) {
    drop(writeln!(std::io::stderr(), "{text}"));
}
