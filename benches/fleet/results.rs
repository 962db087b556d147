//! The figures that were measured.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::median::median;
use crate::options::Size;

/// Something that is measured. Times are in seconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Figure {
    /// The first sweep, which copies the meters of all tenants.
    Load,
    /// A sweep that finds all tenants unchanged.
    Unchanged,
    /// The bytes that the remote sent for it.
    UnchangedBytes,
    /// The processor time of the remote server for it.
    UnchangedRemoteCpu,
    /// The processor time of the local server for it.
    UnchangedLocalCpu,
    /// The processor time of both servers for it.
    UnchangedCpu,
    /// One grouped statement over the meters of all tenants at the remote.
    GroupedRemote,
    /// The same in the local database.
    GroupedLocal,
    /// The same in both at once.
    GroupedBoth,
    /// The processor time of both servers for that.
    GroupedCpu,
    /// One single run of an unchanged tenant.
    SingleRun,
    /// A sweep after one meter of every hundredth tenant has changed.
    Some,
    /// The bytes that the remote sent for it.
    SomeBytes,
    /// The median over all tenants, of the time from the start of that sweep until the tenant was known to be equal.
    Lag,
    /// The slowest hundredth of the same.
    SlowLag,
    /// The median over the tenants that had changed.
    RunLag,
    /// The slowest hundredth of the same.
    SlowRunLag,
    /// A sweep after all meters of one tenant have changed.
    One,
    /// The bytes that the remote sent for it.
    OneBytes,
    /// A sweep with one tenant held back and another one failing.
    Troubled,
    /// A sweep of several processes after one meter of each tenant has changed.
    AllRuns,
    /// The processor time of the remote server for it.
    AllRunsRemoteCpu,
    /// The processor time of the local server for it.
    AllRunsLocalCpu,
    /// The processor time of all processes of the program for it.
    AllRunsOwnCpu,
    /// The bytes that the remote sent for it, with all that belongs to a connection.
    AllRunsBytes,
    /// The runs that the process with the fewest made in it.
    LeastRuns,
    /// The runs that the process with the most made in it.
    MostRuns,
    /// The median of the status of all tenants.
    Overview,
    /// The slowest hundredth of the same.
    SlowOverview,
    /// The most connections that the program held at the remote.
    RemoteConnections,
    /// The most connections that it held at the local database.
    LocalConnections,
    /// The resident bytes of `serve` when it had published the states of all tenants.
    Published,
    /// The most resident bytes of `serve` until then.
    PublishedPeak,
    /// The resident bytes of `serve` after sweeps, one of them with runs.
    Swept,
    /// The most resident bytes of `serve` until then.
    SweptPeak,
}

/// What was measured at one size.
#[derive(Debug)]
pub(crate) struct Figures {
    pub(crate) size: Size,
    /// How many tenants had a changed meter where some had.
    pub(crate) changed: u64,
    values: BTreeMap<Figure, Vec<f64>>,
}

impl Figures {
    pub(crate) fn new(size: Size) -> Self {
        Self {
            size,
            changed: 0,
            values: BTreeMap::new(),
        }
    }

    pub(crate) fn add(&mut self, figure: Figure, value: f64) {
        self.values.entry(figure).or_default().push(value);
    }

    pub(crate) fn time(&mut self, figure: Figure, took: Duration) {
        self.add(figure, took.as_secs_f64());
    }

    /// The median of all that was measured.
    pub(crate) fn median(&self, figure: Figure) -> f64 {
        let values = self.values.get(&figure).into_iter().flatten();
        median(values.copied()).unwrap_or_default()
    }

    /// How many times as long an unchanged sweep takes as the grouped statement on both sides at once.
    pub(crate) fn times_both(&self) -> f64 {
        self.median(Figure::Unchanged) / self.median(Figure::GroupedBoth)
    }

    /// How many times as long it takes as the grouped statement on the slower side.
    pub(crate) fn times_slower(&self) -> f64 {
        let [remote, local] = [Figure::GroupedRemote, Figure::GroupedLocal].map(|f| self.median(f));
        self.median(Figure::Unchanged) / remote.max(local)
    }

    /// How long a single run of each tenant would take, one after another.
    pub(crate) fn all_single_runs(&self) -> f64 {
        self.median(Figure::SingleRun) * f64::from(self.size.tenants)
    }

    /// How many times as long that takes as an unchanged sweep.
    pub(crate) fn times_faster(&self) -> f64 {
        self.all_single_runs() / self.median(Figure::Unchanged)
    }
}
