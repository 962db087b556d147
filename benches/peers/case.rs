//! What has happened on the remote when a peer is run.

use std::fmt;

use clap::ValueEnum;

use crate::options::LineKind;
use crate::peer::Peer;

/// What a run finds, in the order of a round.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, ValueEnum)]
pub(crate) enum Case {
    /// The local table is empty.
    First,
    /// Ours only: the first run after the load.
    #[value(skip)]
    AfterLoad,
    /// Nothing has changed.
    Unchanged,
    /// Ours only: nothing has changed, and it is the day's time to compare every value.
    #[value(skip)]
    FullCompare,
    /// One meter in a thousand has changed.
    #[value(name = "0.1")]
    Thousandth,
    /// One in a hundred.
    #[value(name = "1")]
    Hundredth,
    /// One in ten.
    #[value(name = "10")]
    Tenth,
    /// Every meter has changed.
    All,
    /// Ours only: nothing has changed, and the local server was restarted.
    #[value(skip)]
    AfterRestart,
}

impl Case {
    /// Those of every peer.
    pub(crate) const SHARED: [Self; 6] = [
        Self::First,
        Self::Unchanged,
        Self::Thousandth,
        Self::Hundredth,
        Self::Tenth,
        Self::All,
    ];
    /// Those that only ours tells apart.
    pub(crate) const OURS: [Self; 3] = [Self::AfterLoad, Self::FullCompare, Self::AfterRestart];
    /// The main ones; a slow peer runs no others.
    pub(crate) const MAIN: [Self; 3] = [Self::First, Self::Unchanged, Self::Hundredth];

    /// The cases of a round, in order: the first load is there in any case.
    pub(crate) fn of_round(chosen: &[Self], line: LineKind) -> Vec<Self> {
        let is_in = |case: &Self| match (case, line) {
            (Self::First | Self::AfterLoad, _) => true,
            (Self::FullCompare | Self::AfterRestart, LineKind::Lan) => true,
            (Self::FullCompare | Self::AfterRestart, LineKind::Thin) => false,
            (_, LineKind::Lan) => chosen.contains(case),
            (_, LineKind::Thin) => chosen.contains(case) && Self::MAIN.contains(case),
        };
        let mut cases = [&Self::SHARED[..], &Self::OURS].concat();
        cases.sort_unstable();
        cases.retain(is_in);
        cases
    }

    pub(crate) fn is_for(self, peer: Peer) -> bool {
        match peer {
            Peer::Ours => true,
            Peer::Logical => self == Self::First,
            Peer::PsqlRelay | Peer::Fdw | Peer::RowByRow | Peer::Sling | Peer::Dlt => {
                !Self::OURS.contains(&self)
            }
        }
    }

    /// Which part of the meters changes before it: a thousandth is 1.
    pub(crate) fn thousandths(self) -> u64 {
        match self {
            Self::Thousandth => 1,
            Self::Hundredth => 10,
            Self::Tenth => 100,
            Self::All => 1000,
            Self::First
            | Self::AfterLoad
            | Self::Unchanged
            | Self::FullCompare
            | Self::AfterRestart => 0,
        }
    }
}

impl fmt::Display for Case {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::First => "first load",
            Self::AfterLoad => "first run after a load",
            Self::Unchanged => "unchanged",
            Self::FullCompare => "daily full compare",
            Self::Thousandth => "0.1 % changed",
            Self::Hundredth => "1 % changed",
            Self::Tenth => "10 % changed",
            Self::All => "all changed",
            Self::AfterRestart => "after a restart",
        })
    }
}
