//! The real program as a process of its own, with an environment of the test's own.

use std::process::Stdio;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use meter_sync::config::Setting;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use tokio::io::{AsyncBufReadExt, AsyncRead, BufReader};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};
use tokio::task::JoinHandle;

use super::site::Site;
use super::wait;

/// No command of a test takes longer unless it hangs.
const PATIENCE: Duration = Duration::from_secs(60);

/// Settings beyond those of a site.
pub(crate) type MoreSettings<'a> = &'a [(Setting, &'a str)];

/// The program with nothing in its environment but these settings.
pub(crate) fn bare(arguments: &[&str], more: MoreSettings<'_>) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_meter-sync"));
    command.args(arguments).env_clear().kill_on_drop(true);
    for (setting, value) in more {
        command.env(setting.env(), value);
    }
    command
}

/// The program over a site, with the schedule off.
pub(crate) fn over(site: &Site, arguments: &[&str], more: MoreSettings<'_>) -> Command {
    let mut command = bare(
        arguments,
        &[
            (Setting::RemoteUrl, &site.pair.remote_url),
            (Setting::LocalUrl, &site.pair.local_url),
            (Setting::Schedule, "off"),
        ],
    );
    for (setting, value) in more {
        command.env(setting.env(), value);
    }
    command
}

/// What a command left behind.
#[derive(Debug)]
pub(crate) struct CommandOutput {
    pub(crate) code: i32,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

/// Runs a command to its end.
pub(crate) async fn run(mut command: Command) -> CommandOutput {
    let output = command.stdin(Stdio::null()).output();
    let output = tokio::time::timeout(PATIENCE, output).await;
    let output = output.expect("the command should end").expect("start it");
    CommandOutput {
        code: output.status.code().expect("an exit code, and no signal"),
        stdout: String::from_utf8(output.stdout).expect("UTF-8"),
        stderr: String::from_utf8(output.stderr).expect("UTF-8"),
    }
}

impl CommandOutput {
    /// Fails unless standard output holds each of the texts.
    pub(crate) fn assert_says(&self, expected: &[&str]) {
        for text in expected {
            assert!(self.stdout.contains(text), "{text}: {}", self.stdout);
        }
    }
}

/// A program that goes on until it is told to stop; killed when dropped.
pub(crate) struct RunningProgram {
    child: Child,
    stderr: Arc<Mutex<String>>,
    collector: Option<JoinHandle<()>>,
}

impl RunningProgram {
    /// Starts it; standard input and output are the caller's.
    pub(crate) fn start(mut command: Command) -> (Self, ChildStdin, ChildStdout) {
        command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let mut child = command.spawn().expect("start the program");
        let input = child.stdin.take().expect("piped");
        let output = child.stdout.take().expect("piped");
        let stderr = Arc::new(Mutex::new(String::new()));
        let collector = collect(child.stderr.take().expect("piped"), Arc::clone(&stderr));
        let running = Self {
            child,
            stderr,
            collector: Some(collector),
        };
        (running, input, output)
    }

    /// Starts `serve` on a free port; gives its address once it listens.
    pub(crate) async fn serve(mut command: Command) -> (Self, String) {
        command.env(Setting::Listen.env(), "127.0.0.1:0");
        let (mut running, _input, _output) = Self::start(command);
        let listening = async || {
            running.assert_alive();
            address(&running.stderr()).is_some()
        };
        wait::until("the program listens", listening).await;
        let address = address(&running.stderr()).expect("just seen");
        (running, address)
    }

    /// What it has written to standard error so far: all of it once [`Self::code`] has returned. A line that a living
    /// program is to write may still be on its way; wait for it with [`Self::told`].
    pub(crate) fn stderr(&self) -> String {
        let text = self.stderr.lock().unwrap_or_else(PoisonError::into_inner);
        text.clone()
    }

    /// Waits until it has written this to standard error.
    pub(crate) async fn told(&self, text: &str) {
        let is_told = async || self.stderr().contains(text);
        wait::until(&format!("it tells {text:?}"), is_told).await;
    }

    /// The same as JSON, for a program that logs so.
    pub(crate) fn log(&self) -> Vec<Value> {
        let line = |line| serde_json::from_str(line).unwrap_or_else(|_| panic!("{line}"));
        self.stderr().lines().map(line).collect()
    }

    /// The trace in each line that tells of a run, for a program that logs JSON. Waits until there are `count`.
    pub(crate) async fn traces_of_runs(&self, count: usize) -> Vec<Option<String>> {
        let traces = || {
            let log = self.log();
            let of_runs = log.iter().filter(|line| line["run.id"].is_string());
            let traces = of_runs.map(|line| line["trace.id"].as_str().map(str::to_owned));
            traces.collect::<Vec<_>>()
        };
        let are_told = async || traces().len() >= count;
        wait::until("the runs are logged", are_told).await;
        traces()
    }

    /// Its process id.
    pub(crate) fn pid(&self) -> u32 {
        self.child.id().expect("it runs")
    }

    /// Asks it to stop.
    pub(crate) fn terminate(&self) {
        self.signal(Signal::TERM);
    }

    /// Does what Ctrl-C does.
    pub(crate) fn interrupt(&self) {
        self.signal(Signal::INT);
    }

    /// Freezes it: it neither does anything nor ends until it is killed.
    pub(crate) fn freeze(&self) {
        self.signal(Signal::STOP);
    }

    /// Lets it go on after [`Self::freeze`].
    pub(crate) fn thaw(&self) {
        self.signal(Signal::CONT);
    }

    fn signal(&self, signal: Signal) {
        let pid = Pid::from_raw(self.pid().cast_signed()).expect("a process id");
        kill_process(pid, signal).expect("signal it");
    }

    /// Kills it, and waits until it is gone.
    pub(crate) async fn kill(&mut self) {
        self.child.kill().await.expect("kill -9");
    }

    /// Its exit code, which comes within `limit`. All that it wrote to standard error has then been read.
    pub(crate) async fn code(&mut self, limit: Duration) -> i32 {
        let ended = tokio::time::timeout(limit, self.child.wait()).await;
        let Ok(status) = ended else {
            panic!("the program goes on after {limit:?}: {}", self.stderr());
        };
        let status = status.expect("wait for it");
        if let Some(collector) = self.collector.take() {
            let read = tokio::time::timeout(PATIENCE, collector).await;
            let read = read.expect("its standard error ends with it");
            read.expect("read its standard error");
        }
        let code = status.code();
        code.unwrap_or_else(|| panic!("{status}: {}", self.stderr()))
    }

    /// Stops it, unless it has ended by itself, and gives all that it wrote to standard error.
    pub(crate) async fn whole_stderr(mut self) -> String {
        if self.child.try_wait().expect("look after it").is_none() {
            self.terminate();
        }
        self.code(PATIENCE).await;
        self.stderr()
    }

    fn assert_alive(&mut self) {
        let ended = self.child.try_wait().expect("look after it");
        assert!(ended.is_none(), "{ended:?}: {}", self.stderr());
    }
}

fn collect(
    from: impl AsyncRead + Send + Unpin + 'static,
    into: Arc<Mutex<String>>,
) -> JoinHandle<()> {
    #[expect(clippy::disallowed_methods, reason = "it ends with the program")]
    tokio::spawn(async move {
        let mut lines = BufReader::new(from).lines();
        while let Ok(Some(line)) = lines.next_line().await {
            let mut text = into.lock().unwrap_or_else(PoisonError::into_inner);
            *text += &line;
            *text += "\n";
        }
    })
}

/// The address in the log line that says where is listened.
fn address(log: &str) -> Option<String> {
    let line = log.lines().find(|line| line.contains("serving MCP"))?;
    let as_json = || line.split_once("\"address\":\"");
    let (_, rest) = line.split_once("address=").or_else(as_json)?;
    rest.split([' ', '"']).next().map(str::to_owned)
}
