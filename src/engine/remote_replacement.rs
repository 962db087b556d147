//! The ways in which the remote may have been replaced since the last run (restored, rewound, promoted or swapped for
//! another), and what follows from each.

use super::plan::Plan;

/// How the remote was replaced since the last run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum RemoteReplacement {
    /// It is another server: another `initdb` made it.
    OtherServer,
    /// It is another database of the same server.
    OtherDatabase,
    /// The server was taken back to an earlier state: its write-ahead log ends earlier than it did.
    TakenBack,
    /// The tenant's rows are as they were before the last changes, row versions included.
    EarlierRows,
    /// Like `EarlierRows`, but the remote is a standby. It may only lag behind its primary.
    EarlierRowsOnStandby,
    /// The table was dropped and created anew, as when a dump is restored.
    OtherTable,
    /// The server has another timeline: a standby was promoted, or the server was recovered from an archive.
    OtherTimeline,
}

impl RemoteReplacement {
    const ALL: &[Self] = &[
        Self::OtherServer,
        Self::OtherDatabase,
        Self::TakenBack,
        Self::EarlierRows,
        Self::EarlierRowsOnStandby,
        Self::OtherTable,
        Self::OtherTimeline,
    ];

    /// The name under which a refusal is stored.
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::OtherServer => "other_server",
            Self::OtherDatabase => "other_database",
            Self::TakenBack => "taken_back",
            Self::EarlierRows => "earlier_rows",
            Self::EarlierRowsOnStandby => "earlier_rows_on_standby",
            Self::OtherTable => "other_table",
            Self::OtherTimeline => "other_timeline",
        }
    }

    pub(super) fn read(text: &str) -> Option<Self> {
        let mut all = Self::ALL.iter().copied();
        all.find(|change| change.as_str() == text)
    }

    /// Whether a run that carries out `plan` warns of this change. `plan` is `None` if the sides do not differ.
    ///
    /// Some changes also happen in normal operation:
    ///
    /// - A table is made anew, or a standby is promoted. This matters only if the plan has other changes than inserts.
    /// - A meter that was added after the last run was removed again, so the remaining rows have the same versions as
    ///   before. This matters only if the plan has other changes than deactivations.
    pub(super) fn is_notable(self, plan: Option<&Plan>) -> bool {
        let counts = plan.map(|plan| &plan.counts);
        match self {
            Self::OtherServer | Self::OtherDatabase | Self::TakenBack => true,
            Self::EarlierRows | Self::EarlierRowsOnStandby => {
                counts.is_some_and(|counts| counts.changes() > counts.deactivated)
            }
            Self::OtherTable | Self::OtherTimeline => {
                counts.is_some_and(|counts| counts.changes() > counts.inserted)
            }
        }
    }

    /// Whether a strict brake refuses a plan because of this change. It does not for a failover, or for a standby that
    /// lags.
    pub(super) fn is_held_back(self) -> bool {
        match self {
            Self::OtherServer
            | Self::OtherDatabase
            | Self::TakenBack
            | Self::EarlierRows
            | Self::OtherTable => true,
            Self::EarlierRowsOnStandby | Self::OtherTimeline => false,
        }
    }

    /// Whether the remote has fewer commits than the last run saw. Later runs may not notice this any more, because the
    /// remote goes on to write.
    pub(super) fn has_lost_commits(self) -> bool {
        match self {
            Self::TakenBack | Self::EarlierRows | Self::EarlierRowsOnStandby => true,
            Self::OtherServer | Self::OtherDatabase | Self::OtherTable | Self::OtherTimeline => {
                false
            }
        }
    }

    pub(super) fn message(self) -> &'static str {
        match self {
            Self::OtherServer => {
                "The remote is another database server than at the last sync. If that is not meant, check METER_SYNC_REMOTE_URL."
            }
            Self::OtherDatabase => {
                "The remote is another database than at the last sync, on the same server. If that is not meant, check METER_SYNC_REMOTE_URL."
            }
            Self::TakenBack => {
                "The remote was taken back to an earlier state since the last sync: its write-ahead log ends earlier than it did. Ask whoever runs it what happened."
            }
            Self::EarlierRows => {
                "The remote shows this tenant's rows as they were before the last sync, so it was taken back. Ask whoever runs it what happened."
            }
            Self::EarlierRowsOnStandby => {
                "The remote is a standby and shows this tenant's rows as they were before the last sync: it lags, or the last commits are lost."
            }
            Self::OtherTable => {
                "The remote table was dropped and created anew since the last sync, as when a dump is restored. Ask whoever runs it what happened."
            }
            Self::OtherTimeline => {
                "The remote has had another timeline since the last sync: a standby was promoted, or a backup recovered, and the last commits may be lost. Look at what this sync changed."
            }
        }
    }
}
