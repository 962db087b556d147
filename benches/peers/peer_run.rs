//! One run of one peer, with what it took and whether its result is right.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Result, bail, ensure};
use tokio::time::sleep;

use crate::case::Case;
use crate::data::{BLANK, ChangedMeters};
use crate::options::LineKind;
use crate::oracle::Truth;
use crate::peer::{Peer, RunMethod, Site};
use crate::process::{self, FinishedProcess};
use crate::results::Sample;
use crate::servers::{REMOTE_DATABASE, ServerUsage, Servers, Side};
use crate::{logical, ours};

/// A backend's processor time counts when the backend has ended, soon after its client.
const SETTLE: Duration = Duration::from_millis(60);

/// Where a peer works, owned.
#[derive(Debug)]
pub(crate) struct PeerRunner {
    peer: Peer,
    line: LineKind,
    remote_url: String,
    remote_port: u16,
    direct_port: u16,
    local_url: String,
    psql: PathBuf,
    scratch: PathBuf,
}

/// What a run is to come to.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Expected<'a> {
    pub(crate) case: Case,
    pub(crate) changed: ChangedMeters,
    pub(crate) truth: &'a Truth,
}

impl PeerRunner {
    pub(crate) fn of(servers: &Servers, peer: Peer, line: LineKind) -> Result<Self> {
        let scratch = PathBuf::from(env!("CARGO_TARGET_TMPDIR"))
            .join("peers/scratch")
            .join(peer.database());
        let remote_port = servers.line(line).port();
        Ok(Self {
            peer,
            line,
            remote_url: format!("postgres://postgres@127.0.0.1:{remote_port}/{REMOTE_DATABASE}"),
            remote_port,
            direct_port: servers.remote.port(),
            local_url: servers.local.url(peer.database()),
            psql: servers.psql.clone(),
            scratch,
        })
    }

    pub(crate) fn site(&self) -> Site<'_> {
        Site {
            remote_url: &self.remote_url,
            remote_port: self.remote_port,
            direct_port: self.direct_port,
            local_url: &self.local_url,
            psql: &self.psql,
            scratch: &self.scratch,
        }
    }

    /// Gives the peer an empty table, and all that is no part of a run.
    pub(crate) async fn empty(&self, servers: &Servers) -> Result<()> {
        if self.scratch.exists() {
            std::fs::remove_dir_all(&self.scratch)?;
        }
        std::fs::create_dir_all(&self.scratch)?;
        servers.recreate(self.peer.database(), BLANK).await?;
        self.peer.prepare(self.site()).await
    }

    /// One run, measured and looked at. It begins after a checkpoint, so that it pays for none of what earlier runs wrote.
    /// What it leaves is vacuumed, so that no peer pays in its next run for what it is spared by autovacuum elsewhere.
    pub(crate) async fn run(&self, servers: &Servers, expected: Expected<'_>) -> Result<Sample> {
        let database = self.peer.database();
        servers.batch(Side::Local, database, "checkpoint").await?;
        let before = servers.usage(self.line).await?;
        let ran = self.start(expected.case).await?;
        sleep(SETTLE).await;
        let after = servers.usage(self.line).await?;
        if self.peer == Peer::Logical {
            logical::unsubscribe(self.site()).await?;
        }
        let reported = if self.peer == Peer::Ours {
            let Expected {
                case,
                changed,
                truth,
            } = expected;
            ours::check(&ran.stdout, case, truth.meters(), changed)?
        } else {
            0
        };
        let vacuum = "vacuum (analyze) meter";
        servers.batch(Side::Local, database, vacuum).await?;
        let wrong = expected.truth.compare(servers, database).await?;
        ensure!(
            self.peer != Peer::Ours || wrong.is_right(),
            "meter-sync is not right after {}: {wrong:?}",
            expected.case
        );
        Ok(Sample {
            reported: reported as f64,
            wrong,
            ..sample(&ran, before, after)
        })
    }

    async fn start(&self, case: Case) -> Result<FinishedProcess> {
        let mut command = match self.peer.start(self.site())? {
            RunMethod::Process(command) => command,
            RunMethod::InServer => {
                let wall = logical::copy(self.site()).await?;
                return Ok(FinishedProcess::in_server(wall));
            }
        };
        if case == Case::FullCompare {
            command = ours::full_compare(command);
        }
        let ran = tokio::task::spawn_blocking(move || process::run(command)).await??;
        if ran.status.success() {
            return Ok(ran);
        }
        let text = [ran.stdout.as_str(), ran.stderr.as_str()].join("\n");
        std::fs::write(self.scratch.join("output.log"), &text)?;
        bail!("{}: {}", ran.status, telling_line(&text))
    }
}

/// The last line that speaks of an error, or else the last one.
fn telling_line(text: &str) -> String {
    let mut lines = text.lines().rev().map(str::trim);
    let last = lines.clone().find(|line| !line.is_empty());
    let line = lines
        .find(|line| line.to_lowercase().contains("error"))
        .or(last);
    let line = line.unwrap_or_default().chars();
    line.filter(|letter| !letter.is_control())
        .take(200)
        .collect()
}

fn sample(ran: &FinishedProcess, before: ServerUsage, after: ServerUsage) -> Sample {
    Sample {
        wall: ran.wall.as_secs_f64(),
        tool_cpu: ran.cpu_seconds,
        remote_cpu: after.remote_cpu - before.remote_cpu,
        local_cpu: after.local_cpu - before.local_cpu,
        received: (after.received - before.received) as f64,
        wal: (after.wal - before.wal) as f64,
        memory: ran.peak_kib as f64 * 1024.0,
        reported: 0.0,
        wrong: Default::default(),
    }
}
