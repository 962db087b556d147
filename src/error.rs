//! The error codes, and the form in which users and clients see every error.
//!
//! Each part of the program has its own error enum. To show an error, it is converted to a [`Failure`]: an error code,
//! a message free of secrets, and what to do next.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// An error: its code, a message, and what to do about it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema, thiserror::Error)]
#[error("{message} [{code}]")]
pub struct Failure {
    /// The kind of error.
    pub code: ErrorCode,
    /// What failed, on which side (remote or local), and for which tenant. Contains no secrets.
    pub message: String,
    /// What to do about it, such as which setting to change or which statement to run.
    pub remedy: String,
}

impl Failure {
    /// Creates a failure with the general remedy of its code.
    pub fn new(code: ErrorCode, message: impl Into<String>) -> Self {
        Self {
            code,
            message: message.into(),
            remedy: code.remedy().to_owned(),
        }
    }

    /// Replaces the remedy with one that fits this case better than the general remedy of the code.
    #[must_use]
    pub fn with_remedy(self, remedy: impl Into<String>) -> Self {
        Self {
            remedy: remedy.into(),
            ..self
        }
    }

    /// Returns the message, followed by the remedy.
    pub fn in_words(&self) -> String {
        format!("{} {}", self.message, self.remedy)
    }
}

/// The kind of an error, from a fixed set of codes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum ErrorCode {
    /// A required setting is missing.
    ConfigMissing,
    /// A setting has an invalid value.
    ConfigInvalid,
    /// No tenant is set, and none can be taken from the local database.
    TenantNotConfigured,
    /// The local table was last synced for another tenant, or is being synced for it.
    TenantMismatch,
    /// This process syncs several tenants, and the request names none.
    TenantRequired,
    /// The request names a tenant that this process does not sync or that the token is not valid for.
    TenantUnknown,
    /// The remote database cannot be reached, or the connection to it broke.
    RemoteUnreachable,
    /// A TLS connection to the remote, as the settings require it, could not be made.
    RemoteTls,
    /// The remote refused the user or the password.
    RemoteAuth,
    /// The remote role lacks a privilege that a sync needs.
    RemotePermission,
    /// The remote table or query lacks something that a sync needs, or reading it fails.
    RemoteSchema,
    /// A synced column was dropped, renamed or retyped on the remote, and the settings make that an error.
    SchemaDrift,
    /// The remote did not answer in time.
    RemoteTimeout,
    /// Refused: the remote has no meters of the tenant, but the local table has active ones.
    SourceEmptyRefused,
    /// Refused: more meters would become inactive than the settings allow without approval.
    MassDeactivationRefused,
    /// Refused: the remote was restored or swapped for another, and the brake is strict.
    RemoteChangedRefused,
    /// Refused: a person's approval does not cover all meters that would become inactive.
    ApprovalOutdated,
    /// The remote has several rows with the same key.
    DuplicateSourceKey,
    /// The local database cannot be reached, or the connection to it broke.
    LocalUnreachable,
    /// The local database refused the user or the password, or the role lacks a privilege.
    LocalAuth,
    /// The local table lacks something that a sync needs.
    LocalSchema,
    /// The local database did not accept the changes, or too many rows were rejected.
    LocalConstraint,
    /// The local database did not answer, or did not grant a lock, in time.
    LocalTimeout,
    /// Another run for this tenant and local table is in progress.
    AlreadyRunning,
    /// This process is read-only: it neither starts nor cancels runs.
    ReadOnly,
    /// A person has paused the mirror.
    Paused,
    /// The run was cancelled or its process died, before the run ended.
    Interrupted,
    /// An unexpected error: a bug in meter-sync.
    Internal,
    /// A code that only a newer version knows; the message describes the error.
    Unknown,
}

const APPROVAL: &str = "Check the remote rows of this tenant first. If the deactivations are meant, a person approves them on the page of `meter-sync serve`, or by answering the question of their assistant.";

const PAUSED: &str = "A dry run tells what a sync would change. A person ends the pause on the page or with `meter-sync resume`.";

const ALREADY_RUNNING: &str = "Wait for the running run to end; ask for the status to follow it.";

const ANOTHER_REMOTE: &str = "Find out what happened to the remote. If it is meant, a person lets one sync pass at the command line, as the handbook (docs/operating.md) says.";

const TENANTS: &str = "Name the tenant by its id; the status without a tenant lists all of them.";

/// The prefix of the command-line options with which a person lets a run pass that would be refused: for its
/// deactivations, for another tenant, or for a changed remote. No remedy may name these options, because language
/// models also read remedies.
pub(crate) const OVERRIDE: &str = "--allow-";

impl ErrorCode {
    /// Returns the code as users and clients see it, such as `CONFIG_MISSING`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::ConfigMissing => "CONFIG_MISSING",
            Self::ConfigInvalid => "CONFIG_INVALID",
            Self::TenantNotConfigured => "TENANT_NOT_CONFIGURED",
            Self::TenantMismatch => "TENANT_MISMATCH",
            Self::TenantRequired => "TENANT_REQUIRED",
            Self::TenantUnknown => "TENANT_UNKNOWN",
            Self::RemoteUnreachable => "REMOTE_UNREACHABLE",
            Self::RemoteTls => "REMOTE_TLS",
            Self::RemoteAuth => "REMOTE_AUTH",
            Self::RemotePermission => "REMOTE_PERMISSION",
            Self::RemoteSchema => "REMOTE_SCHEMA",
            Self::SchemaDrift => "SCHEMA_DRIFT",
            Self::RemoteTimeout => "REMOTE_TIMEOUT",
            Self::SourceEmptyRefused => "SOURCE_EMPTY_REFUSED",
            Self::MassDeactivationRefused => "MASS_DEACTIVATION_REFUSED",
            Self::RemoteChangedRefused => "REMOTE_CHANGED_REFUSED",
            Self::ApprovalOutdated => "APPROVAL_OUTDATED",
            Self::DuplicateSourceKey => "DUPLICATE_SOURCE_KEY",
            Self::LocalUnreachable => "LOCAL_UNREACHABLE",
            Self::LocalAuth => "LOCAL_AUTH",
            Self::LocalSchema => "LOCAL_SCHEMA",
            Self::LocalConstraint => "LOCAL_CONSTRAINT",
            Self::LocalTimeout => "LOCAL_TIMEOUT",
            Self::AlreadyRunning => "ALREADY_RUNNING",
            Self::ReadOnly => "READ_ONLY",
            Self::Paused => "PAUSED",
            Self::Interrupted => "INTERRUPTED",
            Self::Internal => "INTERNAL",
            Self::Unknown => "UNKNOWN",
        }
    }

    /// Converts a code that was read from the database. A code that this version does not know becomes
    /// [`ErrorCode::Unknown`].
    pub fn read(text: &str) -> Self {
        let code = serde_json::Value::from(text);
        serde_json::from_value(code).unwrap_or(Self::Unknown)
    }

    /// Returns what to do about most errors with this code.
    pub fn remedy(self) -> &'static str {
        match self {
            Self::ConfigMissing => {
                "Set METER_SYNC_REMOTE_URL and METER_SYNC_LOCAL_URL (or the same keys in the file given by --config)."
            }
            Self::ConfigInvalid => "Correct the named setting; `meter-sync --help` lists them all.",
            Self::TenantNotConfigured => {
                "Set METER_SYNC_TENANT_ID or METER_SYNC_TENANTS to the organisation's id, or keep exactly one row in the local `tenant` table."
            }
            Self::TenantMismatch => {
                "Set METER_SYNC_TENANT_ID back. If the site really changed hands, a person turns the table over, as the handbook (docs/operating.md) says."
            }
            Self::TenantRequired | Self::TenantUnknown => TENANTS,
            Self::RemoteUnreachable => {
                "Check host and port in METER_SYNC_REMOTE_URL and the network to it; a scheduled run is retried by itself."
            }
            Self::RemoteTls => {
                "Check sslmode and sslrootcert in METER_SYNC_REMOTE_URL against the server's certificate."
            }
            Self::RemoteAuth => "Check user and password in METER_SYNC_REMOTE_URL (or its _FILE).",
            Self::RemotePermission => {
                "Grant the remote role usage on the schema and select on the meter table."
            }
            Self::RemoteSchema => {
                "Check METER_SYNC_REMOTE_TABLE, METER_SYNC_KEY, METER_SYNC_COLUMNS, METER_SYNC_TENANT_COLUMN and METER_SYNC_ACTIVE_COLUMN against the remote; `meter-sync check` shows what is missing."
            }
            Self::SchemaDrift => {
                "Run `meter-sync check`: it prints the statement or setting that settles each column. With METER_SYNC_ON_DRIFT=warn the other columns go on being synced meanwhile."
            }
            Self::RemoteTimeout => {
                "Check the remote's load and the line; METER_SYNC_STATEMENT_TIMEOUT and METER_SYNC_CONNECT_TIMEOUT set how long is waited, unless the role's own statement_timeout is lower."
            }
            Self::SourceEmptyRefused | Self::MassDeactivationRefused => APPROVAL,
            Self::RemoteChangedRefused => ANOTHER_REMOTE,
            Self::ApprovalOutdated => "If these meters are meant too, a person approves this run.",
            Self::DuplicateSourceKey => {
                "Make the key unique on the remote, or name the columns that are unique together in METER_SYNC_KEY."
            }
            Self::LocalUnreachable => {
                "Check that the database named by METER_SYNC_LOCAL_URL is up, has room, and has connections left."
            }
            Self::LocalAuth => {
                "Check user and password in METER_SYNC_LOCAL_URL and that the role may create and write schema meter_sync and write the meter table."
            }
            Self::LocalSchema => {
                "Check METER_SYNC_LOCAL_TABLE, METER_SYNC_KEY and METER_SYNC_ACTIVE_COLUMN against the local table; `meter-sync check` shows what is missing."
            }
            Self::LocalConstraint => {
                "Mend the local constraint or the remote data that breaks it; then ask the user whether to sync again."
            }
            Self::LocalTimeout => {
                "Find what holds the lock or the load on the local database (pg_stat_activity, pg_locks); METER_SYNC_STATEMENT_TIMEOUT and METER_SYNC_LOCK_TIMEOUT set how long is waited, unless the role's own limits are lower."
            }
            Self::AlreadyRunning => ALREADY_RUNNING,
            Self::ReadOnly => "Start meter-sync without METER_SYNC_READ_ONLY to allow syncs.",
            Self::Paused => PAUSED,
            Self::Interrupted => "It was rolled back; ask the user whether to sync again now.",
            Self::Internal => "Report this with the log lines of the run (its run id is in each).",
            Self::Unknown => "Read this with the newest meter-sync that uses this database.",
        }
    }

    /// Whether the same request may succeed later even if nobody changes a setting or the data.
    pub fn is_transient(self) -> bool {
        match self {
            Self::RemoteUnreachable
            | Self::RemoteTimeout
            | Self::LocalUnreachable
            | Self::LocalTimeout
            | Self::AlreadyRunning
            | Self::Interrupted => true,
            Self::ConfigMissing
            | Self::ConfigInvalid
            | Self::TenantNotConfigured
            | Self::TenantMismatch
            | Self::TenantRequired
            | Self::TenantUnknown
            | Self::RemoteTls
            | Self::RemoteAuth
            | Self::RemotePermission
            | Self::RemoteSchema
            | Self::SchemaDrift
            | Self::SourceEmptyRefused
            | Self::MassDeactivationRefused
            | Self::RemoteChangedRefused
            | Self::ApprovalOutdated
            | Self::DuplicateSourceKey
            | Self::LocalAuth
            | Self::LocalSchema
            | Self::LocalConstraint
            | Self::ReadOnly
            | Self::Paused
            | Self::Internal
            | Self::Unknown => false,
        }
    }
}

impl ErrorCode {
    /// Returns the database that the code names, as in `REMOTE_TIMEOUT`; `None` if it names none.
    pub fn side(self) -> Option<FailedSide> {
        match self {
            Self::RemoteUnreachable
            | Self::RemoteTls
            | Self::RemoteAuth
            | Self::RemotePermission
            | Self::RemoteSchema
            | Self::RemoteTimeout => Some(FailedSide::Remote),
            Self::LocalUnreachable
            | Self::LocalAuth
            | Self::LocalSchema
            | Self::LocalConstraint
            | Self::LocalTimeout => Some(FailedSide::Local),
            Self::ConfigMissing
            | Self::ConfigInvalid
            | Self::TenantNotConfigured
            | Self::TenantMismatch
            | Self::TenantRequired
            | Self::TenantUnknown
            | Self::SchemaDrift
            | Self::SourceEmptyRefused
            | Self::MassDeactivationRefused
            | Self::RemoteChangedRefused
            | Self::ApprovalOutdated
            | Self::DuplicateSourceKey
            | Self::AlreadyRunning
            | Self::ReadOnly
            | Self::Paused
            | Self::Interrupted
            | Self::Internal
            | Self::Unknown => None,
        }
    }

    /// Whether single runs would fail for every tenant, too, after a statement about all tenants has failed with this
    /// code. [`LocalAuth`](Self::LocalAuth) counts even if it stands for a missing privilege, because all tenants use
    /// the same role. A timeout does not count: a statement about one tenant takes less time, and a lock may be free
    /// again.
    pub fn fails_every_tenant(self) -> bool {
        match self {
            Self::ConfigInvalid
            | Self::RemoteUnreachable
            | Self::RemoteTls
            | Self::RemoteAuth
            | Self::RemotePermission
            | Self::RemoteSchema
            | Self::LocalUnreachable
            | Self::LocalAuth
            | Self::LocalSchema => true,
            Self::ConfigMissing
            | Self::TenantNotConfigured
            | Self::TenantMismatch
            | Self::TenantRequired
            | Self::TenantUnknown
            | Self::SchemaDrift
            | Self::RemoteTimeout
            | Self::SourceEmptyRefused
            | Self::MassDeactivationRefused
            | Self::RemoteChangedRefused
            | Self::ApprovalOutdated
            | Self::DuplicateSourceKey
            | Self::LocalConstraint
            | Self::LocalTimeout
            | Self::AlreadyRunning
            | Self::ReadOnly
            | Self::Paused
            | Self::Interrupted
            | Self::Internal
            | Self::Unknown => false,
        }
    }

    /// Whether an error with this code may mean that the local database answers no query at all: it is not set, cannot
    /// be reached, or refuses the authentication. Two of these codes also have lesser causes:
    /// [`LocalAuth`](Self::LocalAuth) a missing privilege, and [`LocalTimeout`](Self::LocalTimeout) a lock that was not
    /// granted in time.
    pub fn may_mean_local_is_down(self) -> bool {
        match self {
            Self::ConfigMissing | Self::LocalUnreachable | Self::LocalTimeout | Self::LocalAuth => {
                true
            }
            Self::ConfigInvalid
            | Self::TenantNotConfigured
            | Self::TenantMismatch
            | Self::TenantRequired
            | Self::TenantUnknown
            | Self::RemoteUnreachable
            | Self::RemoteTls
            | Self::RemoteAuth
            | Self::RemotePermission
            | Self::RemoteSchema
            | Self::SchemaDrift
            | Self::RemoteTimeout
            | Self::SourceEmptyRefused
            | Self::MassDeactivationRefused
            | Self::RemoteChangedRefused
            | Self::ApprovalOutdated
            | Self::DuplicateSourceKey
            | Self::LocalSchema
            | Self::LocalConstraint
            | Self::AlreadyRunning
            | Self::ReadOnly
            | Self::Paused
            | Self::Interrupted
            | Self::Internal
            | Self::Unknown => false,
        }
    }
}

/// The database that an error code names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FailedSide {
    /// The remote (central) database.
    Remote,
    /// The local (site's) database.
    Local,
}

impl std::fmt::Display for ErrorCode {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}
