//! The targets beside what was measured.

use crate::format::{Table, bytes, count};
use crate::options::Options;
use crate::report::milliseconds;
use crate::results::{Asked, CrowdTransport, FirstAnswer, Moment, Results};
use crate::site::LARGE_RUNS;

const MIB: f64 = 1024.0 * 1024.0;
const IDLE_BYTES: f64 = 20.0 * MIB;
const LOADED_BYTES: f64 = 64.0 * MIB;
const BINARY_BYTES: f64 = 15e6;
const STDIO_SECONDS: f64 = 0.001;
const HTTP_SECONDS: f64 = 0.002;
const LARGE_SECONDS: f64 = 0.005;
const PAGE_SECONDS: f64 = 0.020;
const PAGE_BYTES: f64 = 100e3;
const FIRST_SECONDS: f64 = 0.050;

/// A target, what was measured, and whether it is met.
struct Target {
    text: String,
    measured: String,
    is_met: bool,
}

pub(crate) fn table(results: &Results, options: &Options) -> String {
    let mut table = Table::new(["target", "measured", "verdict"]);
    for target in all(results, options).into_iter().flatten() {
        let verdict = if target.is_met { "met" } else { "**missed**" };
        table.row([target.text.as_str(), &target.measured, verdict]);
    }
    table.finish()
}

fn all(results: &Results, options: &Options) -> Vec<Option<Target>> {
    let clients = &count(options.clients.into());
    let meters = count(options.large_meters.into());
    let large = |asked: Asked, text: &str| {
        let text = format!(
            "a status {text} at {meters} meters, after a commit each time: median under {}",
            milliseconds(LARGE_SECONDS)
        );
        let measured = results.p50(asked)?;
        Some(below(text, measured, LARGE_SECONDS, milliseconds))
    };
    let status = |asked: Asked, text: &str, limit: f64| {
        let limit_shown = milliseconds(limit);
        let text = format!("a status {text}, nothing committed since: median under {limit_shown}");
        let measured = results.p50(asked)?;
        Some(below(text, measured, limit, milliseconds))
    };
    let idle = |moment: Moment, text: &str| {
        let text = format!("resident, {text}: under 20 MiB");
        Some(below(text, results.memory(moment)?, IDLE_BYTES, bytes))
    };
    let loaded = |transport: CrowdTransport, text: &str| {
        let text = format!("resident with {clients} clients {text}: under 64 MiB");
        Some(below(
            text,
            results.held(transport, |memory| memory.called_kib)?,
            LOADED_BYTES,
            bytes,
        ))
    };
    let started = |answer: FirstAnswer, text: &str| first(results, answer, text);
    vec![
        status(Asked::Stdio, "over stdio", STDIO_SECONDS),
        status(Asked::Session, "at `/mcp` in a session", HTTP_SECONDS),
        status(
            Asked::Stateless,
            "at `/mcp` without a session",
            HTTP_SECONDS,
        ),
        status(Asked::Events, "at `/sse`", HTTP_SECONDS),
        large(Asked::LargeStdio, "over stdio"),
        large(Asked::LargeSession, "at `/mcp` in a session"),
        page_time(results, &meters),
        Some(page_size(results, &meters)),
        Some(no_errors(results, clients)),
        idle(Moment::StdioStarted, "`stdio`, idle"),
        idle(Moment::StdioAsked, "`stdio`, after a first status"),
        idle(Moment::ServeStarted, "`serve`, idle"),
        idle(Moment::ServeAsked, "`serve`, after a first status"),
        loaded(CrowdTransport::Sessions, "at `/mcp` with a session each"),
        loaded(CrowdTransport::Stateless, "at `/mcp` without sessions"),
        loaded(CrowdTransport::Events, "at `/sse`"),
        started(FirstAnswer::Hello, "the first answer over stdio"),
        started(FirstAnswer::StdioStatus, "the first status over stdio"),
        started(FirstAnswer::HttpStatus, "the first status at `/mcp`"),
        Some(binary(results)),
    ]
}

fn page_time(results: &Results, meters: &str) -> Option<Target> {
    let limit = milliseconds(PAGE_SECONDS);
    let text = format!(
        "the page at {meters} meters and {} runs, whole, after a commit each time: median under {limit}",
        count(LARGE_RUNS.into())
    );
    let measured = results.p50(Asked::LargePage)?;
    Some(below(text, measured, PAGE_SECONDS, milliseconds))
}

#[expect(clippy::cast_precision_loss, reason = "far below 2^52")]
fn page_size(results: &Results, meters: &str) -> Target {
    let text = format!(
        "the page at {meters} meters and {} runs: under 100 kB",
        count(LARGE_RUNS.into())
    );
    let measured = results.page_bytes as f64;
    below(text, measured, PAGE_BYTES, |bytes| {
        format!("{:.1} kB", bytes / 1e3)
    })
}

fn first(results: &Results, first: FirstAnswer, text: &str) -> Option<Target> {
    let limit = milliseconds(FIRST_SECONDS);
    let text = format!("{text} after the start: under {limit}");
    let measured = results.first(first)?;
    Some(below(text, measured, FIRST_SECONDS, milliseconds))
}

fn below(text: String, measured: f64, limit: f64, shown: fn(f64) -> String) -> Target {
    Target {
        text,
        measured: shown(measured),
        is_met: measured < limit,
    }
}

fn no_errors(results: &Results, clients: &str) -> Target {
    let errors = results.errors().count();
    Target {
        text: format!("{clients} clients at a time, at `/mcp` and at `/sse`: no error"),
        measured: format!("{errors} errors"),
        is_met: errors == 0,
    }
}

#[expect(clippy::cast_precision_loss, reason = "far below 2^52")]
fn binary(results: &Results) -> Target {
    let measured = results.binary_bytes as f64;
    let text = "the program's file: under 15 MB".to_owned();
    below(text, measured, BINARY_BYTES, |bytes| {
        format!("{:.1} MB", bytes / 1e6)
    })
}
