//! Rounds: each runs every case in order, and in each case every peer, another one first each time, so
//! that ratios come from the same minutes.

use anyhow::{Context, Result};

use crate::bare_statements;
use crate::case::Case;
use crate::data;
use crate::options::{LineKind, Options};
use crate::oracle::Truth;
use crate::peer::Peer;
use crate::peer_run::{Expected, PeerRunner};
use crate::prepare_case::prepare;
use crate::report::count;
use crate::results::{Key, Results, Sample};
use crate::servers::{REMOTE_DATABASE, Servers, Side};
use crate::{logical, say};

/// A peer of which a longer run is to be expected is not run.
const TOO_LONG: f64 = 60.0;
/// A peer of which a longer run is to be expected runs the main cases only, and not in
/// every round.
const LONG: f64 = 6.0;
const ROUNDS_OF_LONG: u32 = 2;
/// What a tool takes at most before it reads its first row; of a short run, half.
const START_UP: f64 = 2.0;

/// One size over one line.
#[derive(Debug)]
pub(crate) struct Series<'a> {
    pub(crate) options: &'a Options,
    pub(crate) servers: &'a mut Servers,
    pub(crate) results: &'a mut Results,
    pub(crate) line: LineKind,
    pub(crate) size: u64,
    /// Another number for each change of the remote.
    pub(crate) turn: u64,
}

impl Series<'_> {
    /// Measures all of it.
    pub(crate) async fn run(&mut self) -> Result<()> {
        say(&format!("{} meters, {:?}: filling", self.size, self.line));
        data::fill(self.servers, self.size).await?;
        logical::publish(self.servers).await?;
        let peers = self.peers();
        for round in 0..self.options.rounds(self.line, self.size) {
            self.round(round, &peers).await?;
        }
        Ok(())
    }

    /// Who takes part, and whether in all of it.
    fn peers(&mut self) -> Vec<(Peer, bool)> {
        let mut taking_part = Vec::new();
        for peer in self.options.peers.clone() {
            if self.results.absent.contains_key(&peer) {
                continue;
            }
            if self.line == LineKind::Thin && !peer.is_on_the_thin_line() {
                self.leave_out(peer, &Case::MAIN, "to save time");
                continue;
            }
            if let Some(size) = self.failed_at(peer) {
                let why = format!("failed at {} meters", count(size));
                self.leave_out(peer, &Case::SHARED, &why);
                continue;
            }
            match self.expected_seconds(peer) {
                Some((seconds, size)) if seconds > TOO_LONG && peer != Peer::Ours => {
                    let took = self
                        .results
                        .longest(self.line, size, peer)
                        .unwrap_or(seconds);
                    let why = format!(
                        "over {TOO_LONG:.0} s a run expected ({took:.1} s at {} meters)",
                        count(size)
                    );
                    self.leave_out(peer, &Case::SHARED, &why);
                }
                Some((seconds, _)) if seconds > LONG && !peer.is_principal() => {
                    let mut others = self.options.cases.clone();
                    others.retain(|case| !Case::MAIN.contains(case));
                    self.leave_out(peer, &others, "to save time");
                    taking_part.push((peer, true));
                }
                _ => taking_part.push((peer, false)),
            }
        }
        taking_part
    }

    fn leave_out(&mut self, peer: Peer, cases: &[Case], why: &str) {
        for case in cases.iter().filter(|case| case.is_for(peer)) {
            let key = self.key(peer, *case);
            self.results.left_out.insert(key, why.to_owned());
        }
    }

    /// How long a run of a peer will take, going by the next smaller size, if there is one.
    fn expected_seconds(&self, peer: Peer) -> Option<(f64, u64)> {
        let sizes = self.results.sizes(self.line).into_iter();
        let smaller = sizes.filter(|size| *size < self.size).rev();
        smaller
            .filter_map(|size| Some((self.results.longest(self.line, size, peer)?, size)))
            .map(|(seconds, size)| {
                let start_up = START_UP.min(seconds / 2.0);
                let ratio = self.size as f64 / size as f64;
                (start_up + (seconds - start_up) * ratio, size)
            })
            .next()
    }

    /// The smaller size at which a peer failed to load anything.
    fn failed_at(&self, peer: Peer) -> Option<u64> {
        let mut cells = self.results.left_out.iter();
        let failed = cells.find(|(key, why)| {
            let is_first = key.case == Case::First && key.size < self.size;
            is_first && key.peer == peer && why.starts_with("failed")
        });
        failed.map(|(key, _)| key.size)
    }

    async fn round(&mut self, round: u32, peers: &[(Peer, bool)]) -> Result<()> {
        let mut truth = Truth::default();
        let peers = peers
            .iter()
            .filter(|(_, is_long)| !is_long || round < ROUNDS_OF_LONG);
        let mut peers: Vec<(Peer, bool)> = peers.copied().collect();
        for case in Case::of_round(&self.options.cases, self.line) {
            say(&format!(
                "{} meters, round {}: {case}",
                self.size,
                round + 1
            ));
            let changed;
            (changed, truth) = prepare(self.servers, case, &mut self.turn, truth).await?;
            if !peers.is_empty() {
                peers.rotate_left(1);
            }
            let expected = Expected {
                case,
                changed,
                truth: &truth,
            };
            self.case(&peers, expected).await?;
            if case == Case::Unchanged && self.line == LineKind::Lan {
                bare_statements::measure(self.servers, self.size, self.results).await?;
            }
        }
        // all that was updated left the table twice as large
        self.servers
            .batch(
                Side::Remote,
                REMOTE_DATABASE,
                "vacuum (full, analyze) meter",
            )
            .await
    }

    async fn case(&mut self, peers: &[(Peer, bool)], expected: Expected<'_>) -> Result<()> {
        let case = expected.case;
        for (peer, is_long) in peers.iter().copied() {
            let key = self.key(peer, case);
            let is_skipped = is_long && !Case::MAIN.contains(&case);
            let has_failed = self
                .results
                .left_out
                .contains_key(&self.key(peer, Case::First));
            if is_skipped || has_failed || !case.is_for(peer) {
                continue;
            }
            match self.one(peer, expected).await {
                Ok(sample) => self.results.add(key, sample),
                Err(error) if peer == Peer::Ours => return Err(error.context("meter-sync")),
                Err(error) => {
                    say(&format!("{} failed: {error:#}", peer.title()));
                    let why = format!("failed: {error:#}");
                    self.results.left_out.insert(key, why);
                }
            }
        }
        Ok(())
    }

    async fn one(&self, peer: Peer, expected: Expected<'_>) -> Result<Sample> {
        let place = PeerRunner::of(self.servers, peer, self.line)?;
        if expected.case == Case::First {
            place.empty(self.servers).await.context("preparing")?;
        }
        let sample = place.run(self.servers, expected).await?;
        say(&format!(
            "  {:<20} {:>8.3} s{}",
            peer.title(),
            sample.wall,
            if sample.wrong.is_right() {
                ""
            } else {
                "  wrong"
            }
        ));
        Ok(sample)
    }

    fn key(&self, peer: Peer, case: Case) -> Key {
        Key {
            line: self.line,
            size: self.size,
            peer,
            case,
        }
    }
}
