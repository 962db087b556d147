//! What was measured.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::median::median;

/// One thing that is asked again and again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Asked {
    /// The status over standard input and output.
    Stdio,
    /// The same, each time after something was committed in the database.
    StdioAnew,
    /// The status in a session at `/mcp`.
    Session,
    /// The same, each time after something was committed in the database.
    SessionAnew,
    /// The status at `/mcp` without a session.
    Stateless,
    /// The status at `/sse`.
    Events,
    /// `ping` over standard input and output.
    StdioPing,
    /// `ping` in a session at `/mcp`.
    SessionPing,
    /// The status asked of the database by the same code in the bench's own process.
    Database,
    /// `select 1` on a connection of the bench to the same database.
    SelectOne,
    /// The first status over standard input and output at a large site: the meters are counted.
    LargeFirst,
    /// The status over standard input and output at a large site, each time after a commit.
    LargeStdio,
    /// The same in a session at `/mcp`.
    LargeSession,
    /// The page at a large site, each time after a commit.
    LargePage,
    /// As many bytes as a status there and back over TCP to a task of the bench.
    Echo,
}

/// How long the calls of one round took, in seconds.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Times {
    pub(crate) p50: f64,
    pub(crate) p99: f64,
}

impl Times {
    pub(crate) fn of(times: &[Duration]) -> Self {
        let mut seconds: Vec<f64> = times.iter().map(Duration::as_secs_f64).collect();
        seconds.sort_by(f64::total_cmp);
        let at = |hundredths: usize| {
            let index = (seconds.len() * hundredths / 100).min(seconds.len().saturating_sub(1));
            seconds.get(index).copied().unwrap_or_default()
        };
        Self {
            p50: at(50),
            p99: at(99),
        }
    }
}

/// Processor time of a status over standard input and output, in seconds.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Processor {
    pub(crate) program: f64,
    pub(crate) postgres: f64,
}

/// Over which transport a crowd of clients met the program.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum CrowdTransport {
    /// A session each at `/mcp`.
    Sessions,
    /// Requests to `/mcp` without a session, over a connection each.
    Stateless,
    /// A stream each at `/sse`.
    Events,
}

/// What a crowd of clients saw, and what it cost.
#[derive(Debug)]
pub(crate) struct Crowd {
    /// Calls spread over time.
    pub(crate) spread: Times,
    /// A call of each client, all in the same moment.
    pub(crate) burst: Times,
    pub(crate) burst_seconds: f64,
    /// What went wrong, at most one a client.
    pub(crate) errors: Vec<String>,
    pub(crate) memory: Memory,
}

/// What the program held with a crowd of clients.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Memory {
    /// When all were in.
    pub(crate) open_kib: u64,
    /// At most until the calls that were spread over time were over.
    pub(crate) called_kib: u64,
    /// At most, to the end: when all asked at once.
    pub(crate) peak_kib: u64,
}

/// When memory was looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Moment {
    StdioStarted,
    StdioAsked,
    ServeStarted,
    ServeAsked,
}

/// What is waited for after a start.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum FirstAnswer {
    /// The answer to `initialize` over standard input and output.
    Hello,
    /// The first status after it.
    StdioStatus,
    /// The first status at `/mcp`.
    HttpStatus,
}

/// All that was measured.
#[derive(Debug, Default)]
pub(crate) struct Results {
    pub(crate) times: BTreeMap<Asked, Vec<Times>>,
    pub(crate) processor: Vec<Processor>,
    pub(crate) crowds: BTreeMap<CrowdTransport, Vec<Crowd>>,
    pub(crate) memory_kib: BTreeMap<Moment, Vec<u64>>,
    pub(crate) starts: BTreeMap<FirstAnswer, Vec<Duration>>,
    pub(crate) binary_bytes: u64,
    /// The longest page.
    pub(crate) page_bytes: u64,
}

impl Results {
    pub(crate) fn asked(&mut self, asked: Asked, times: &[Duration]) {
        self.times.entry(asked).or_default().push(Times::of(times));
    }

    /// The median of the rounds.
    pub(crate) fn p50(&self, asked: Asked) -> Option<f64> {
        median(self.times.get(&asked)?.iter().map(|times| times.p50))
    }

    /// The same of the slowest hundredth.
    pub(crate) fn p99(&self, asked: Asked) -> Option<f64> {
        median(self.times.get(&asked)?.iter().map(|times| times.p99))
    }

    /// The median of what a crowd saw in the rounds.
    pub(crate) fn crowd(
        &self,
        transport: CrowdTransport,
        of: impl Fn(&Crowd) -> f64,
    ) -> Option<f64> {
        median(self.crowds.get(&transport)?.iter().map(of))
    }

    /// The most that the program held with a crowd at a time, in bytes.
    pub(crate) fn held(
        &self,
        transport: CrowdTransport,
        of: impl Fn(Memory) -> u64,
    ) -> Option<f64> {
        let held = self
            .crowds
            .get(&transport)?
            .iter()
            .map(|crowd| of(crowd.memory));
        held.max().map(bytes)
    }

    /// The most that the program held at a moment, in bytes.
    pub(crate) fn memory(&self, moment: Moment) -> Option<f64> {
        self.memory_kib
            .get(&moment)?
            .iter()
            .copied()
            .max()
            .map(bytes)
    }

    /// How long an answer after a start took, in seconds.
    pub(crate) fn first(&self, first: FirstAnswer) -> Option<f64> {
        median(self.starts.get(&first)?.iter().map(Duration::as_secs_f64))
    }

    /// What went wrong in the crowds.
    pub(crate) fn errors(&self) -> impl Iterator<Item = &str> {
        let crowds = self.crowds.values().flatten();
        crowds.flat_map(|crowd| crowd.errors.iter().map(String::as_str))
    }
}

#[expect(clippy::cast_precision_loss, reason = "far below 2^52")]
fn bytes(kib: u64) -> f64 {
    kib as f64 * 1024.0
}
