//! The program that is measured, as a process of its own, and what Linux says of it in `/proc`.

use std::fs;
use std::process::Stdio;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use rustix::process::{Pid, Signal, kill_process};
use tokio::io::{AsyncBufReadExt, BufReader, Lines};
use tokio::process::{Child, ChildStderr, ChildStdin, ChildStdout, Command};

/// It starts in milliseconds and stops within its own 8 s.
const PATIENCE: Duration = Duration::from_secs(20);
/// So much of its log is kept to tell of an error.
const LOG_BYTES: usize = 64 * 1024;

/// A program that runs; killed when dropped.
#[derive(Debug)]
pub(crate) struct Program {
    child: Child,
    pid: u32,
    log: Arc<Mutex<String>>,
}

/// Its standard input and output.
pub(crate) type Pipes = (ChildStdin, ChildStdout);

impl Program {
    /// Starts the command `stdio`.
    pub(crate) fn stdio(command: Command) -> Result<(Self, Pipes)> {
        let (program, pipes, errors) = Self::start(command)?;
        program.collect(errors);
        Ok((program, pipes))
    }

    /// Starts the command `serve` on a free port; gives its address once it listens.
    pub(crate) async fn serve(mut command: Command) -> Result<(Self, String)> {
        command.env(meter_sync::config::Setting::Listen.env(), "127.0.0.1:0");
        let (program, _pipes, mut errors) = Self::start(command)?;
        let listening = tokio::time::timeout(PATIENCE, program.address(&mut errors)).await;
        let address = listening.context("it does not listen")??;
        program.collect(errors);
        Ok((program, address))
    }

    fn start(mut command: Command) -> Result<(Self, Pipes, Log)> {
        command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let mut child = command.spawn().context("start the program")?;
        let pid = child.id().context("it has ended already")?;
        let input = child.stdin.take().context("no standard input")?;
        let output = child.stdout.take().context("no standard output")?;
        let errors = child.stderr.take().context("no standard error")?;
        let program = Self {
            child,
            pid,
            log: Arc::default(),
        };
        Ok((program, (input, output), BufReader::new(errors).lines()))
    }

    /// The address in the line of the log that says where is listened.
    async fn address(&self, errors: &mut Log) -> Result<String> {
        while let Some(line) = errors.next_line().await? {
            note(&self.log, &line);
            let said = line.split_once("address=");
            if let Some(address) = said.and_then(|(_, rest)| rest.split_whitespace().next()) {
                return Ok(address.to_owned());
            }
        }
        bail!("it ended: {}", self.log())
    }

    fn collect(&self, mut errors: Log) {
        let log = Arc::clone(&self.log);
        #[expect(clippy::disallowed_methods, reason = "it ends with the program")]
        tokio::spawn(async move {
            while let Ok(Some(line)) = errors.next_line().await {
                note(&log, &line);
            }
        });
    }

    /// What it has logged.
    pub(crate) fn log(&self) -> String {
        let log = self.log.lock().unwrap_or_else(PoisonError::into_inner);
        log.clone()
    }

    /// What it holds in memory now.
    pub(crate) fn memory_kib(&self) -> Result<u64> {
        self.status("VmRSS:")
    }

    /// What it held at most so far.
    pub(crate) fn peak_kib(&self) -> Result<u64> {
        self.status("VmHWM:")
    }

    fn status(&self, field: &str) -> Result<u64> {
        let status = fs::read_to_string(format!("/proc/{}/status", self.pid))?;
        let line = status.lines().find(|line| line.starts_with(field));
        let value = line.and_then(|line| line.split_whitespace().nth(1));
        Ok(value.context("/proc is needed")?.parse()?)
    }

    /// The processor time of its threads so far.
    pub(crate) fn cpu(&self) -> Duration {
        threads_cpu(self.pid)
    }

    /// Asks it to stop, and waits for its end.
    pub(crate) async fn stop(mut self) -> Result<()> {
        let pid = Pid::from_raw(self.pid.cast_signed()).context("a process id")?;
        kill_process(pid, Signal::TERM)?;
        let ended = tokio::time::timeout(PATIENCE, self.child.wait()).await;
        let status = ended.context("it does not stop")??;
        if !status.success() {
            bail!("it ended with {status}: {}", self.log());
        }
        Ok(())
    }
}

type Log = Lines<BufReader<ChildStderr>>;

fn note(log: &Mutex<String>, line: &str) {
    let mut log = log.lock().unwrap_or_else(PoisonError::into_inner);
    if log.len() < LOG_BYTES {
        *log += line;
        *log += "\n";
    }
}

/// The processor time of the processes that a server's first one has started and that still run.
pub(crate) fn server_cpu(pid: u32) -> Duration {
    let children = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children"));
    let children = children.unwrap_or_default();
    let pids = children
        .split_whitespace()
        .filter_map(|pid| pid.parse().ok());
    pids.map(threads_cpu).sum()
}

/// From `schedstat`, which counts nanoseconds.
fn threads_cpu(pid: u32) -> Duration {
    let Ok(threads) = fs::read_dir(format!("/proc/{pid}/task")) else {
        return Duration::ZERO;
    };
    let files = threads
        .flatten()
        .map(|thread| thread.path().join("schedstat"));
    let spent = files.filter_map(|file| {
        let text = fs::read_to_string(file).ok()?;
        text.split_whitespace().next()?.parse().ok()
    });
    spent.map(Duration::from_nanos).sum()
}
