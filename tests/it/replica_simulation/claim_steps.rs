//! Random steps of a few processes that share sweeps, for `against_postgres`.

use quickcheck::{Arbitrary, Gen};

use super::claim_tables::{RunEnd, SECOND, Time};

pub(super) const PROCESSES: usize = 3;
/// How many steps a history has.
pub(super) const LENGTH: usize = 40;
/// The length of a slot, and how far the clock moves at once. No sum of steps is a claim's 25 seconds, or close to it.
pub(super) const SLOT: Time = 70 * SECOND;
const STEPS: [Time; 5] = [
    7 * SECOND,
    7 * SECOND,
    14 * SECOND,
    28 * SECOND,
    -14 * SECOND,
];

/// One step. The first number is the process that does it.
#[derive(Clone, Copy, Debug)]
pub(super) enum Op {
    Pass(Time),
    Claim(usize, bool),
    RenewClaim(usize),
    GiveUp(usize),
    StartSweep(usize),
    /// Lists so many mirrors.
    AddDue(usize, u32),
    Take(usize),
    End(usize, RunEnd),
    RenewDue(usize),
    /// Looks for a sweep to help with, and how far the own sweep has come.
    Look(usize),
    Finish(usize, bool),
}

impl Arbitrary for Op {
    fn arbitrary(g: &mut Gen) -> Self {
        let who = usize::arbitrary(g) % PROCESSES;
        let end = *g
            .choose(&[RunEnd::Succeeded, RunEnd::Failed, RunEnd::AlreadyRunning])
            .expect("a choice");
        match u8::arbitrary(g) % 16 {
            0..3 => Self::Pass(*g.choose(&STEPS).expect("a choice")),
            3 | 4 => Self::Claim(who, bool::arbitrary(g)),
            5 => Self::RenewClaim(who),
            6 => Self::GiveUp(who),
            7 => Self::StartSweep(who),
            8 => Self::AddDue(who, u32::arbitrary(g) % 4),
            9..12 => Self::Take(who),
            12 => Self::End(who, end),
            13 => Self::RenewDue(who),
            14 => Self::Look(who),
            _ => Self::Finish(who, bool::arbitrary(g)),
        }
    }
}

#[derive(Clone, Debug)]
pub(super) struct History(pub(super) Vec<Op>);

impl Arbitrary for History {
    fn arbitrary(g: &mut Gen) -> Self {
        Self((0..LENGTH).map(|_| Op::arbitrary(g)).collect())
    }

    fn shrink(&self) -> Box<dyn Iterator<Item = Self>> {
        Box::new(self.0.shrink().map(Self))
    }
}
