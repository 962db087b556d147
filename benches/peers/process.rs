//! Runs a tool as a process and tells what it took, from what Linux says in `/proc`.

use std::fs;
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use rustix::process::{Pid, Signal, kill_process_group};

use crate::say;
use crate::server_cpu::{children, read, seconds};

/// What a process and those it started took.
#[derive(Debug)]
pub(crate) struct FinishedProcess {
    pub(crate) status: ExitStatus,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
    pub(crate) wall: Duration,
    pub(crate) cpu_seconds: f64,
    /// The greatest sum of what its processes held in memory at a time.
    pub(crate) peak_kib: u64,
}

impl FinishedProcess {
    /// What the local server carried out by itself.
    pub(crate) fn in_server(wall: Duration) -> Self {
        Self {
            status: ExitStatus::default(),
            stdout: String::new(),
            stderr: String::new(),
            wall,
            cpu_seconds: 0.0,
            peak_kib: 0,
        }
    }
}

/// How often memory is looked at.
const POLL: Duration = Duration::from_millis(5);
/// A tool that takes longer is ended, and counts as failed.
const LIMIT: Duration = Duration::from_secs(300);

/// Runs a command to its end. No other child may end meanwhile, since their processor time would count.
pub(crate) fn run(mut command: Command) -> Result<FinishedProcess> {
    command.stdin(Stdio::null());
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    command.process_group(0);
    let program = command.get_program().to_string_lossy().into_owned();
    let before = of_children()?;
    let start = Instant::now();
    let child = command
        .spawn()
        .with_context(|| format!("cannot start {program}"))?;
    let (output, wall, peak_kib) = watch(child, start)?;
    Ok(FinishedProcess {
        status: output.status,
        stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
        stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
        wall,
        cpu_seconds: of_children()? - before,
        peak_kib,
    })
}

fn watch(child: Child, start: Instant) -> Result<(std::process::Output, Duration, u64)> {
    let pid = child.id();
    let is_over = AtomicBool::new(false);
    thread::scope(|scope| {
        let poller = scope.spawn(|| poll(pid, start, &is_over));
        let output = child.wait_with_output();
        let wall = start.elapsed();
        is_over.store(true, Ordering::Relaxed);
        Ok((output?, wall, poller.join().unwrap_or_default()))
    })
}

/// Looks at a process until it is over; gives what it held in memory at most.
fn poll(pid: u32, start: Instant, is_over: &AtomicBool) -> u64 {
    let mut peak = 0;
    while !is_over.load(Ordering::Relaxed) {
        peak = peak.max(memory_kib(pid));
        if start.elapsed() > LIMIT {
            end(pid);
        }
        thread::sleep(POLL);
    }
    peak
}

fn end(pid: u32) {
    let group = Pid::from_raw(pid.cast_signed());
    if group.is_some_and(|group| kill_process_group(group, Signal::KILL).is_err()) {
        say("a tool that took too long had just ended");
    }
}

/// What a process and its descendants hold at most, summed.
fn memory_kib(pid: u32) -> u64 {
    let own = fs::read_to_string("/proc/self/cmdline").unwrap_or_default();
    family(pid)
        .into_iter()
        // between `vfork` and `exec` a child still wears our memory
        .filter(|pid| read(*pid, "cmdline") != own)
        .filter_map(|pid| {
            let status = read(pid, "status");
            let line = status.lines().find(|line| line.starts_with("VmHWM:"))?;
            line.split_whitespace().nth(1)?.parse::<u64>().ok()
        })
        .sum()
}

/// A process and its descendants.
fn family(pid: u32) -> Vec<u32> {
    let mut all = vec![pid];
    let mut next = 0;
    while let Some(pid) = all.get(next).copied() {
        all.extend(children(pid));
        next += 1;
    }
    all
}

/// The processor time of all children of ours that have ended.
fn of_children() -> Result<f64> {
    let stat = fs::read_to_string("/proc/self/stat").context("/proc is needed")?;
    Ok(seconds(&stat, 4) - seconds(&stat, 2))
}
