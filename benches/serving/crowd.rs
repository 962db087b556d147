//! Many clients at a time, each in a conversation of its own.

use std::time::{Duration, Instant};

use anyhow::Result;
use tokio::sync::Barrier;

use crate::conversation::OverHttp;
use crate::program::Program;
use crate::results::{Crowd, Memory, Times};
use crate::site::{METERS, Site};

/// They arrive one after another within this time.
const ARRIVAL: Duration = Duration::from_secs(2);
/// Each calls so many times, once in each interval, no two at the same moment.
const CALLS: u32 = 5;
const INTERVAL: Duration = Duration::from_secs(2);

/// The times that one client measured, and its error.
#[derive(Debug, Default)]
struct ClientResult {
    spread: Vec<Duration>,
    burst: Vec<Duration>,
    error: Option<String>,
}

/// Where the clients wait for each other.
struct Meeting {
    clients: u32,
    all_are_in: Barrier,
    all_have_called: Barrier,
}

/// Lets so many clients in on a fresh program.
pub(crate) async fn measure<C: OverHttp>(site: &Site, clients: u32) -> Result<Crowd> {
    let (program, address) = Program::serve(site.command("serve")).await?;
    let count = usize::try_from(clients)? + 1; // and the watcher
    let meeting = Meeting {
        clients,
        all_are_in: Barrier::new(count),
        all_have_called: Barrier::new(count),
    };
    let visits = (0..clients).map(|n| visit::<C>(n, &address, &meeting));
    let watched = watch(&program, &meeting);
    let (seen, watched) = tokio::join!(futures_util::future::join_all(visits), watched);
    let memory = Memory {
        peak_kib: program.peak_kib()?,
        ..watched?
    };
    program.stop().await?;
    Ok(sum_up(seen, memory))
}

/// Looks at the program when all clients are in, and before they all ask at once.
async fn watch(program: &Program, meeting: &Meeting) -> Result<Memory> {
    meeting.all_are_in.wait().await;
    let open_kib = program.memory_kib();
    meeting.all_have_called.wait().await;
    let called_kib = program.peak_kib();
    Ok(Memory {
        open_kib: open_kib?,
        called_kib: called_kib?,
        peak_kib: 0,
    })
}

fn sum_up(seen: Vec<ClientResult>, memory: Memory) -> Crowd {
    let spread: Vec<Duration> = seen.iter().flat_map(|seen| seen.spread.clone()).collect();
    let burst: Vec<Duration> = seen.iter().flat_map(|seen| seen.burst.clone()).collect();
    let burst_seconds = burst.iter().max().copied().unwrap_or_default();
    Crowd {
        spread: Times::of(&spread),
        burst: Times::of(&burst),
        burst_seconds: burst_seconds.as_secs_f64(),
        errors: seen.into_iter().filter_map(|seen| seen.error).collect(),
        memory,
    }
}

/// One client, from its arrival to its end.
async fn visit<C: OverHttp>(n: u32, address: &str, meeting: &Meeting) -> ClientResult {
    let mut seen = ClientResult::default();
    let share = f64::from(n) / f64::from(meeting.clients);
    tokio::time::sleep(ARRIVAL.mul_f64(share)).await;
    let begun = C::begin(address).await;
    meeting.all_are_in.wait().await;
    let called = match begun {
        Ok(mut client) => {
            let called = call(&mut client, share, &mut seen.spread).await;
            meeting.all_have_called.wait().await;
            match called {
                Ok(()) => once_more(&mut client, &mut seen.burst).await,
                Err(error) => Err(error),
            }
        }
        Err(error) => {
            meeting.all_have_called.wait().await;
            Err(error)
        }
    };
    seen.error = called.err().map(|error| format!("{error:#}"));
    seen
}

/// Calls at its own moments.
async fn call<C: OverHttp>(client: &mut C, share: f64, times: &mut Vec<Duration>) -> Result<()> {
    let start = Instant::now() + INTERVAL.mul_f64(share);
    for n in 0..CALLS {
        tokio::time::sleep_until((start + INTERVAL * n).into()).await;
        times.push(client.ask(C::status(METERS), u64::from(n) + 1).await?);
    }
    Ok(())
}

async fn once_more<C: OverHttp>(client: &mut C, times: &mut Vec<Duration>) -> Result<()> {
    times.push(client.ask(C::status(METERS), u64::from(CALLS) + 1).await?);
    Ok(())
}

/// What a crowd does, in words.
pub(crate) fn described(clients: &str) -> String {
    format!(
        "{clients} clients arrive within {} s, each opens a conversation of its own, and all stay; then each asks for the \
         status {CALLS} times, once every {} s and no two at the same moment; then all ask at once.",
        ARRIVAL.as_secs(),
        INTERVAL.as_secs()
    )
}
