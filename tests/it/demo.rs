//! `meter-sync demo` as a person runs it: the real binary, from start to Ctrl-C and again.

use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, ChildStdout, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process, kill_process_group};
use serde_json::Value;

use crate::support::process_resources::processes_in;

/// Enough for two servers on a machine that runs the other tests at the same time.
const PATIENCE: Duration = Duration::from_secs(60);

/// A running demo; killed when a test fails in the middle.
struct Demo {
    child: Child,
    output: BufReader<ChildStdout>,
    base: String,
}

impl Demo {
    /// Starts one on `directory` and waits until it says where it listens.
    fn start(directory: &Path, arguments: &[&str]) -> Self {
        let mut child = command(directory)
            .args(arguments)
            .stdout(Stdio::piped())
            .spawn()
            .expect("the demo should start");
        let mut output = BufReader::new(child.stdout.take().expect("a pipe"));
        let lines = output.by_ref().lines();
        let lines = lines.map(|line| line.expect("a line of text"));
        let base = lines
            .filter_map(|line| {
                let (url, _) = line.strip_prefix("Open ")?.split_once("/ in a browser")?;
                Some(url.to_owned())
            })
            .next();
        let base = base.expect("the demo should say what to open");
        Self {
            child,
            output,
            base,
        }
    }

    async fn get(&self, path: &str) -> Value {
        let answer = reqwest::get(format!("{}{path}", self.base)).await;
        answer.expect("an answer").json().await.expect("JSON")
    }

    async fn post(&self, path: &str) -> Value {
        let request = reqwest::Client::new().post(format!("{}{path}", self.base));
        let answer = request.send().await.expect("an answer");
        answer.json().await.expect("JSON")
    }

    fn interrupt(self) -> ExitStatus {
        self.interrupt_and_read().0
    }

    /// How it ended, and what it printed after it was up.
    fn interrupt_and_read(mut self) -> (ExitStatus, String) {
        signal(&self.child, Signal::INT);
        let status = wait(&mut self.child);
        let mut printed = String::new();
        self.output.read_to_string(&mut printed).expect("text");
        (status, printed)
    }
}

impl Drop for Demo {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

fn command(directory: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_meter-sync"));
    command.args(["demo", "--data-dir"]).arg(directory);
    // what leads elsewhere must not be followed
    command
        .env("METER_SYNC_REMOTE_URL", "postgres://nobody@127.0.0.1:1/no")
        .env("METER_SYNC_LOCAL_URL_FILE", "/nowhere")
        .env("METER_SYNC_TENANT_ID", "8")
        .env("METER_SYNC_SCHEDULE", "off")
        .env("METER_SYNC_LOG", "warn");
    command
}

fn signal(child: &Child, signal: Signal) {
    let pid = Pid::from_raw(child.id().cast_signed()).expect("a process id");
    kill_process(pid, signal).expect("the demo should run");
}

fn wait(child: &mut Child) -> ExitStatus {
    let started = Instant::now();
    loop {
        if let Some(status) = child.try_wait().expect("a status") {
            return status;
        }
        assert!(started.elapsed() < PATIENCE, "the demo does not end");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// A directory that the account which stands in for root can enter, too.
fn directory() -> tempfile::TempDir {
    let directory = tempfile::tempdir().expect("a directory");
    let open = fs::Permissions::from_mode(0o755);
    fs::set_permissions(directory.path(), open).expect("set its mode");
    directory
}

#[tokio::test]
async fn the_demo_serves_and_goes_on_where_it_was() {
    let directory = directory();
    let place = directory.path().join("demo");
    let first = Demo::start(&place, &[]);
    let status = first.get("/api/local/meter-sync-status").await;
    assert_eq!(status["last_sync_success"], true, "{status}");
    assert_eq!(status["inserted_count"], 130, "{status}");
    assert_eq!(status["deleted_count"], 2, "{status}");
    let meters = status["meter_count"].as_i64().expect("a count");
    assert!(meters > 150, "{status}");

    assert!(!processes_in(&place).is_empty());
    let (status, printed) = first.interrupt_and_read();
    assert_eq!(status.code(), Some(0));
    let last = printed.lines().last().expect("a line");
    let told = format!(
        "Stopped. Both servers are down; the data stays in {}.",
        place.display()
    );
    assert_eq!(last, told, "{printed}");
    assert_eq!(processes_in(&place), Vec::<String>::new());

    let second = Demo::start(&place, &[]);
    let status = second.get("/api/local/meter-sync-status").await;
    assert_eq!(status["inserted_count"], 0, "{status}");
    assert_eq!(status["meter_count"], meters, "{status}");
    let triggered = second.post("/api/local/meter-sync-trigger").await;
    assert_eq!(triggered["success"], true, "{triggered}");
    assert_eq!(second.interrupt().code(), Some(0));
    assert_eq!(processes_in(&place), Vec::<String>::new());

    let fresh = Demo::start(&place, &["--fresh"]);
    let status = fresh.get("/api/local/meter-sync-status").await;
    assert_eq!(status["inserted_count"], 130, "{status}");
}

#[tokio::test]
async fn a_second_demo_on_the_same_data_is_refused_and_harms_nothing() {
    let directory = directory();
    let place = directory.path().join("demo");
    let running = Demo::start(&place, &[]);
    for arguments in [&[][..], &["--fresh"]] {
        let mut second = command(&place)
            .args(arguments)
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .expect("a second demo");
        assert_eq!(wait(&mut second).code(), Some(1));
        let mut said = String::new();
        let mut errors = second.stderr.take().expect("a pipe");
        errors.read_to_string(&mut said).expect("text");
        assert!(said.contains("another demo is running"), "{said}");
    }
    let status = running.get("/api/local/meter-sync-status").await;
    assert_eq!(status["last_sync_success"], true, "{status}");
}

/// `--data-dir /usr` once led to `/usr/local`.
#[tokio::test]
async fn what_the_demo_has_not_made_it_neither_uses_nor_removes() {
    let place = directory();
    let remote = place.path().join("remote");
    let local = place.path().join("local");
    fs::create_dir_all(&remote).expect("a directory");
    fs::create_dir_all(local.join("bin")).expect("a directory");
    fs::write(local.join("log"), "mine").expect("a file");
    let before = fs::metadata(&local).expect("a directory");
    for arguments in [&["--fresh"][..], &[]] {
        let refused = command(place.path())
            .args(arguments)
            .output()
            .expect("it runs");
        assert!(!refused.status.success());
        let told = String::from_utf8(refused.stderr).expect("UTF-8");
        assert!(
            told.contains(&format!("{} does not carry", local.display())),
            "{told}"
        );
        let after = fs::metadata(&local).expect("the directory is there");
        assert_eq!((after.mode(), after.uid()), (before.mode(), before.uid()));
        assert!(local.join("bin").is_dir());
        assert_eq!(
            fs::read_to_string(local.join("log")).expect("the file"),
            "mine"
        );
        assert!(remote.is_dir(), "an empty one is left, too");
    }
}

#[tokio::test]
async fn a_demo_can_be_stopped_at_any_moment_of_its_start() {
    let directory = directory();
    for milliseconds in [0, 100, 300, 700, 1200] {
        let place = directory.path().join(format!("after-{milliseconds}"));
        let mut demo = command(&place)
            .stdout(Stdio::piped())
            .spawn()
            .expect("the demo should start");
        std::thread::sleep(Duration::from_millis(milliseconds));
        signal(&demo, Signal::TERM);
        let status = wait(&mut demo);
        // before its first instructions a process has no say in how a signal ends it
        if milliseconds > 0 {
            assert_eq!(status.code(), Some(0), "after {milliseconds} ms");
            let mut printed = String::new();
            let output = demo.stdout.as_mut().expect("a pipe");
            output.read_to_string(&mut printed).expect("text");
            assert!(
                printed.contains("\nStopped"),
                "after {milliseconds} ms: {printed}"
            );
        }
        assert_eq!(processes_in(&place), Vec::<String>::new());
        let next = Demo::start(&place, &[]);
        assert_eq!(next.interrupt().code(), Some(0), "after {milliseconds} ms");
    }
}

/// On a terminal Ctrl-C reaches `initdb` as well.
#[tokio::test]
async fn ctrl_c_before_the_servers_are_up_says_that_it_stopped() {
    let directory = directory();
    let place = directory.path().join("demo");
    let mut demo = command(&place)
        .process_group(0)
        .stdout(Stdio::piped())
        .spawn()
        .expect("the demo should start");
    let group = Pid::from_raw(demo.id().cast_signed()).expect("a process id");
    let started = Instant::now();
    // The first is the demo itself.
    while processes_in(&place).len() < 2 {
        assert!(started.elapsed() < PATIENCE, "nothing is begun");
        std::thread::sleep(Duration::from_millis(5));
    }
    kill_process_group(group, Signal::INT).expect("signal them");
    assert_eq!(wait(&mut demo).code(), Some(0));
    let mut printed = String::new();
    let output = demo.stdout.as_mut().expect("a pipe");
    output.read_to_string(&mut printed).expect("text");
    assert!(printed.contains("\nStopped"), "{printed:?}");
    assert_eq!(processes_in(&place), Vec::<String>::new());
}

#[tokio::test]
async fn each_scene_shows_its_state() {
    for (scene, health, fact) in [
        (
            "brake",
            "failing",
            ("/last_run/error/code", "MASS_DEACTIVATION_REFUSED"),
        ),
        ("drift", "ok", ("/last_run/warning", "notes")),
        ("rejected", "failing", ("/last_run/outcome", "partial")),
        ("restore", "ok", ("/last_run/warning", "remote")),
        ("paused", "paused", ("/paused/by", "demo")),
    ] {
        let directory = directory();
        let demo = Demo::start(directory.path(), &["--scene", scene]);
        let status = demo.get("/api/v1/status").await;
        // The schedule is off here, so what is in sync is paused, too.
        let health = if health == "ok" { "paused" } else { health };
        assert_eq!(status["health"], health, "{scene}: {status:#}");
        let (place, expected) = fact;
        let told = status.pointer(place).and_then(Value::as_str);
        assert!(
            told.is_some_and(|told| told.contains(expected)),
            "{scene}: {status:#}"
        );
        assert!(demo.interrupt().success(), "{scene}");
    }
}
