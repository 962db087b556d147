//! A program whose stderr nobody reads.

use std::process::Stdio;
use std::time::Duration;

use meter_sync::config::Setting;
use reqwest::StatusCode;
use rustix::process::{Pid, Signal, kill_process};
use tokio::io::{AsyncBufReadExt, BufReader, Lines};
use tokio::process::{Child, ChildStderr};
use tokio::time::timeout;

use crate::support::program::bare;

const PATIENCE: Duration = Duration::from_secs(20);

/// Far more than a pipe holds, at a line each.
const REFUSED: usize = 6000;

/// A server that logs every refused request, and its log as far as it is read.
async fn serve() -> (Child, Lines<BufReader<ChildStderr>>, String) {
    let more = [
        (Setting::Listen, "127.0.0.1:0"),
        (Setting::Log, "meter_sync=debug"),
    ];
    let mut command = bare(&["serve"], &more);
    command.stdin(Stdio::null()).stderr(Stdio::piped());
    let mut child = command.spawn().expect("start the program");
    let mut lines = BufReader::new(child.stderr.take().expect("piped")).lines();
    let address = async {
        loop {
            let line = lines.next_line().await.expect("a log");
            let line = line.expect("an address is logged");
            if let Some((_, address)) = line.split_once("address=") {
                break address.split(' ').next().unwrap_or_default().to_owned();
            }
        }
    };
    let address = timeout(PATIENCE, address).await.expect("an address");
    (child, lines, address)
}

/// Asks so often what is refused, and logged, that more is logged than a pipe holds.
async fn fill_the_log(address: &str) {
    let client = reqwest::Client::new();
    for n in 0..REFUSED {
        let request = client.get(format!("http://{address}/livez"));
        let request = request.header("host", "elsewhere.example");
        let answer = timeout(PATIENCE, request.send()).await;
        let answer = answer.unwrap_or_else(|_| panic!("request {n} is not answered"));
        assert_eq!(answer.expect("an answer").status(), StatusCode::FORBIDDEN);
    }
}

async fn ends(mut child: Child) {
    let pid = child.id().expect("it runs").cast_signed();
    kill_process(Pid::from_raw(pid).expect("a process id"), Signal::TERM).expect("signal it");
    let ended = timeout(PATIENCE, child.wait()).await;
    let status = ended.expect("it ends").expect("wait for it");
    assert_eq!(status.code(), Some(0));
}

#[tokio::test]
async fn a_log_that_is_not_read_holds_nothing_up() {
    let (child, _unread, address) = serve().await;
    fill_the_log(&address).await;
    ends(child).await;
}

/// The line that tells of others that were lost.
async fn told_of_loss(lines: &mut Lines<BufReader<ChildStderr>>) -> String {
    loop {
        let line = lines.next_line().await.expect("a log");
        let line = line.expect("something is told of lost lines");
        if line.contains("lines of this log were lost") {
            return line;
        }
    }
}

#[tokio::test]
async fn lines_that_were_lost_are_told_of() {
    let (child, mut lines, address) = serve().await;
    fill_the_log(&address).await;
    let lost = timeout(PATIENCE, told_of_loss(&mut lines));
    let lost = lost.await.expect("a line in time");
    let number = lost.split_once("lines=").expect("their number").1;
    let number: usize = number.trim().parse().expect("a number");
    assert!((1..REFUSED).contains(&number), "{lost}");
    ends(child).await;
}
