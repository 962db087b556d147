//! What was measured.

use std::collections::BTreeMap;

use crate::case::Case;
use crate::median::median;
use crate::options::LineKind;
use crate::oracle::WrongRows;
use crate::peer::Peer;
use crate::time_by_statement::Profile;

/// One run of one peer.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Sample {
    pub(crate) wall: f64,
    /// Of the tool's own processes; 0 where there are none.
    pub(crate) tool_cpu: f64,
    pub(crate) remote_cpu: f64,
    pub(crate) local_cpu: f64,
    /// What the remote sent.
    pub(crate) received: f64,
    /// How much write-ahead log the local server wrote.
    pub(crate) wal: f64,
    /// Of the tool's own processes, in bytes; 0 where there are none.
    pub(crate) memory: f64,
    /// What the remote sent, as ours reports it; 0 for other peers.
    pub(crate) reported: f64,
    pub(crate) wrong: WrongRows,
}

/// What is measured in a cell of a table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Key {
    pub(crate) line: LineKind,
    pub(crate) size: u64,
    pub(crate) peer: Peer,
    pub(crate) case: Case,
}

impl Key {
    pub(crate) fn over_lan(size: u64, peer: Peer, case: Case) -> Self {
        Self {
            line: LineKind::Lan,
            size,
            peer,
            case,
        }
    }
}

/// Bare statements, whose times are a lower bound for any way.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum BareStatement {
    /// `copy (select ..) to '/dev/null'` on the remote.
    Read,
    /// `copy from` a file into an unlogged table without a key.
    Write,
    /// The same with a primary key.
    WriteWithKey,
    /// `select count(*), bit_xor(hash)` on the remote.
    DigestRemote,
    /// The same here.
    DigestLocal,
    /// Both sums at the same time, until the slower one has ended.
    DigestBoth,
}

/// All that was measured, and what was not.
#[derive(Debug, Default)]
pub(crate) struct Results {
    pub(crate) samples: BTreeMap<Key, Vec<Sample>>,
    pub(crate) bare_statements: BTreeMap<(u64, BareStatement), Vec<f64>>,
    /// What was left out in a cell, or failed there.
    pub(crate) left_out: BTreeMap<Key, String>,
    /// Peers that could not be had at all.
    pub(crate) absent: BTreeMap<Peer, String>,
    pub(crate) profiles: Vec<Profile>,
}

impl Results {
    pub(crate) fn add(&mut self, key: Key, sample: Sample) {
        self.samples.entry(key).or_default().push(sample);
    }

    /// The median of what `of` takes from the samples of a cell.
    pub(crate) fn median(&self, key: Key, of: impl Fn(&Sample) -> f64) -> Option<f64> {
        median(self.samples.get(&key)?.iter().map(of))
    }

    pub(crate) fn bare_statement(&self, size: u64, statement: BareStatement) -> Option<f64> {
        median(
            self.bare_statements
                .get(&(size, statement))?
                .iter()
                .copied(),
        )
    }

    /// What the sum of all rows takes on the slower server.
    pub(crate) fn slower_sum(&self, size: u64) -> Option<f64> {
        let remote = self.bare_statement(size, BareStatement::DigestRemote)?;
        let local = self.bare_statement(size, BareStatement::DigestLocal)?;
        Some(remote.max(local))
    }

    /// What was ever wrong in a cell.
    pub(crate) fn wrong(&self, key: Key) -> Option<WrongRows> {
        let samples = self.samples.get(&key)?.iter();
        samples.map(|sample| sample.wrong).reduce(WrongRows::or)
    }

    /// Whether a peer was right in all that it ran.
    pub(crate) fn is_right(&self, peer: Peer) -> bool {
        let mut of_peer = self.samples.iter().filter(|(key, _)| key.peer == peer);
        of_peer.all(|(_, samples)| samples.iter().all(|sample| sample.wrong.is_right()))
    }

    /// The longest run of a peer at a size over a line, among the main cases.
    pub(crate) fn longest(&self, line: LineKind, size: u64, peer: Peer) -> Option<f64> {
        let cells = self.samples.iter();
        let of_peer = cells.filter(|(key, _)| {
            (key.line, key.size, key.peer) == (line, size, peer) && Case::MAIN.contains(&key.case)
        });
        let walls = of_peer.flat_map(|(_, samples)| samples.iter().map(|sample| sample.wall));
        walls.max_by(f64::total_cmp)
    }

    /// The sizes measured over a line, ascending.
    pub(crate) fn sizes(&self, line: LineKind) -> Vec<u64> {
        let keys = self.samples.keys().filter(|key| key.line == line);
        let mut sizes: Vec<u64> = keys.map(|key| key.size).collect();
        sizes.dedup();
        sizes
    }
}
