//! The types of the domain as plain data, such as the tenant, the run, its outcome and its counts.
//!
//! This module depends on no other module of the crate except `error`, and on no database, protocol or clock.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

pub use change_cursor::ChangeCursor;
pub use changes_since_query::ChangesSinceQuery;
pub use gone_meters::{GoneMeters, GonePlace, MeterDestination};
pub use health::{ActivityState, Health, HealthCounts, WORST_FIRST};
pub use held_deactivations::{DeactivationApproval, HeldDeactivations};
pub use pause::{Pause, PauseRequest};
pub use progress::{PhaseTime, Progress};
pub use proof_method::ProofMethod;
pub use run_id::{InvalidRunId, RunId};
pub use run_record::{LastRunSummary, RunRecord};
pub use runs_query::{RunFilter, RunsQuery};
pub use visible_tenants::VisibleTenants;

mod change_cursor;
mod changes_since_query;
mod gone_meters;
mod health;
pub(crate) mod held_deactivations;
mod pause;
mod progress;
mod proof_method;
mod run_id;
mod run_record;
mod runs_query;
mod visible_tenants;

/// Converts a number that is not negative to `i64`, the type of counts in Postgres and JSON. A number that is too large
/// becomes `i64::MAX`.
pub(crate) fn saturating_i64(number: impl TryInto<i64>) -> i64 {
    number.try_into().unwrap_or(i64::MAX)
}

/// The most characters of a value that the log keeps. A longer value is cut there, and ends with `...`.
pub const LONGEST_RECORDED: u32 = 10_000;

/// Some columns of a meter with their values, as a JSON object: its key, or the fields that a run changes.
pub type MeterFields = serde_json::Map<String, serde_json::Value>;

/// The id of a tenant (a customer organisation), always as text.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(transparent)]
pub struct TenantId(String);

impl TenantId {
    /// Creates an id from a text; `None` if the text is blank.
    pub fn new(id: impl Into<String>) -> Option<Self> {
        let id: String = id.into();
        (!id.trim().is_empty()).then_some(Self(id))
    }

    /// The id as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl std::fmt::Display for TenantId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

/// Defines an enum whose variants each have a text, which JSON, SQL and logs use. The variant after `else`, if any,
/// stands for every text that a newer version wrote and this version does not know.
macro_rules! text_enum {
    ($(#[$doc:meta])* $name:ident { $($(#[$variant_doc:meta])* $variant:ident = $text:literal),+ $(,)? }
        $(else $(#[$other_doc:meta])* $other:ident = $other_text:literal)?) => {
        #[derive(
            Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema,
        )]
        #[serde(rename_all = "snake_case")]
        $(#[$doc])*
        pub enum $name { $($(#[$variant_doc])* $variant,)+ $($(#[$other_doc])* $other)? }

        impl $name {
            /// Every variant except the one after `else`, in the order of declaration.
            pub const ALL: &'static [Self] = &[$(Self::$variant),+];

            /// Returns the text of the variant, as JSON and the database store it.
            pub fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $text,)+ $(Self::$other => $other_text)? }
            }

            /// Parses a text from the database; `None` if this version does not know the text.
            pub fn parse(text: &str) -> Option<Self> {
                Self::ALL.iter().copied().find(|value| value.as_str() == text)
            }

            $(
                /// Parses a text from the database. A text that this version does not know becomes the variant after
                /// `else`.
                pub fn read(text: &str) -> Self {
                    Self::parse(text).unwrap_or(Self::$other)
                }
            )?
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str(self.as_str())
            }
        }
    };
}
pub(crate) use text_enum;

text_enum! {
    /// What requested a run or a sweep.
    #[schemars(rename = "Trigger")]
    RunTrigger {
        /// The schedule, at a scheduled time.
        Schedule = "schedule",
        /// The start of the process, for example to make up for a scheduled run that was missed.
        Startup = "startup",
        /// An MCP client, such as an AI assistant.
        Mcp = "mcp",
        /// A client of the REST API.
        Rest = "rest",
        /// A person on the web page.
        Page = "page",
        /// The command line: a person or a script.
        Cli = "cli",
    }
    else
        /// A trigger that only a newer version knows.
        Unknown = "unknown"
}

text_enum! {
    /// How a run ended.
    #[schemars(rename = "Outcome")]
    RunOutcome {
        /// Changes were written; the local meters now equal the remote ones.
        Succeeded = "succeeded",
        /// Both sides were equal already; no meter was changed.
        NoChange = "no_change",
        /// All changes were written except those of rejected rows.
        Partial = "partial",
        /// An error ended the run; no meter was changed.
        Failed = "failed",
        /// Refused: too many meters would become inactive, or the table is another tenant's; no meter was changed.
        Refused = "refused",
        /// The run was cancelled, or its process died; no meter was changed.
        Interrupted = "interrupted",
        /// The run only found out what a sync would change; no meter was changed.
        DryRun = "dry_run",
    }
    else
        /// Not known: logged by a newer version, or the local database stopped answering at the commit.
        Unknown = "unknown"
}

impl RunTrigger {
    /// Whether no caller but the schedule asks for the run, on time or to make up for a missed time.
    pub fn is_schedule(self) -> bool {
        matches!(self, Self::Schedule | Self::Startup)
    }
}

impl RunOutcome {
    /// Whether the local meters equal the remote meters after a run with this outcome.
    pub fn is_success(self) -> bool {
        match self {
            Self::Succeeded | Self::NoChange => true,
            Self::Partial
            | Self::Failed
            | Self::Refused
            | Self::Interrupted
            | Self::DryRun
            | Self::Unknown => false,
        }
    }
}

text_enum! {
    /// What a run does to one meter.
    #[schemars(rename = "Action")]
    ChangeAction {
        /// Adds a meter that the local table did not have.
        Insert = "insert",
        /// Changes fields of a meter; also sets `active` to false if the remote did.
        Update = "update",
        /// Sets `active` to false because the remote no longer has the meter; the row stays.
        Deactivate = "deactivate",
        /// Sets `active` to true on an inactive meter, and may change other fields.
        Reactivate = "reactivate",
    }
    else
        /// An action that only a newer version knows.
        Unknown = "unknown"
}

text_enum! {
    /// What a run is doing.
    Phase {
        /// Connecting to both databases and reading the definitions of their tables.
        Prepare = "prepare",
        /// Reading the remote rows.
        Read = "read",
        /// Finding out which local meters must change.
        Plan = "plan",
        /// Writing the changes to the local table.
        Apply = "apply",
    }
}

/// How many meters a run changed, by kind of change; for a dry run, how many it would change.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Counts {
    /// Meters added to the local table.
    pub inserted: i64,
    /// Meters whose fields changed; includes those that the remote switched off, excludes `reactivated`.
    pub updated: i64,
    /// Active meters that became inactive because the remote no longer has them.
    pub deactivated: i64,
    /// Inactive meters that became active.
    pub reactivated: i64,
    /// Meters that were equal on both sides already.
    pub unchanged: i64,
    /// Rows whose changes could not be stored in the local table.
    pub rejected: i64,
}

impl Counts {
    /// The number of meters that change: all that are inserted, updated, deactivated or reactivated.
    pub fn changes(&self) -> i64 {
        self.inserted + self.updated + self.deactivated + self.reactivated
    }

    /// Returns the length of the full list of changes, given that at least `listed` changes are known. It can exceed
    /// [`Counts::changes`]: if an inactive meter gave up a unique value for another meter, the list has a change that
    /// no count includes.
    pub fn changes_to_list(&self, listed: usize) -> i64 {
        self.changes().max(saturating_i64(listed))
    }
}

/// One change of a meter: the changed fields with their old and new values.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Change {
    /// What the run does to the meter.
    pub action: ChangeAction,
    /// The meter's key: its key columns and their values.
    pub key: MeterFields,
    /// The meter's name; absent if it has none or it was not looked up.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// The old values of the changed fields; empty for an insert.
    pub before: MeterFields,
    /// The new values of the changed fields; for an insert, all that are not NULL.
    pub after: MeterFields,
    /// Where a deactivated meter went on the remote; absent if it is not known, and for other actions.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gone_to: Option<MeterDestination>,
}

/// A row whose changes could not be stored in the local table.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Rejection {
    /// The row's key: its key columns and their values.
    pub key: MeterFields,
    /// Why the row was rejected, such as the local database's error message.
    pub reason: String,
}

text_enum! {
    /// How a sync found the rows that differ.
    CompareMethod {
        /// By comparing row versions, or by one digest of all rows, which was equal on both sides.
        Differences = "differences",
        /// By comparing digests of the contents of all rows.
        Contents = "contents",
        /// By comparing every value of every row.
        Everything = "everything",
    }
}
