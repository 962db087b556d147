//! The errors of a sync, and the public error code and remedy of each.

use crate::db::{DbError, SideName};
use crate::error::{ErrorCode, Failure};
use crate::model::{HeldDeactivations, RunId, TenantId};

/// Why a sync failed or was refused. In every case no local meter was changed.
#[derive(Debug, thiserror::Error)]
pub enum SyncError {
    /// A statement failed on one of the databases, or there was no connection to it.
    #[error(transparent)]
    Database(#[from] DbError),
    /// The remote table or query is missing or cannot be synced. Holds the message without its first words, "The
    /// remote".
    #[error("The remote {0}.")]
    RemoteSchema(String),
    /// The local table is missing or cannot be synced. Holds the message without its first words, "The local".
    #[error("The local {0}.")]
    LocalSchema(String),
    /// The table is in a schema that the role may not use.
    #[error("{}", .0.message)]
    SchemaUsage(Failure),
    /// Synced columns have changed on the remote, and the settings make that an error.
    #[error("{}", .0.message)]
    Drift(Failure),
    /// The local role has `session_replication_role = replica` and may not change it, so triggers and foreign keys
    /// would not fire.
    #[error(
        "The local role has session_replication_role = replica and may not set it to origin, so neither foreign keys nor triggers would work."
    )]
    TriggersDisabled,
    /// The settings name the same table as the remote and as the local one. Holds its name.
    #[error("The remote and the local settings lead to one and the same table {0}.")]
    SameTable(String),
    /// The tenant id is not a valid value of the remote tenant column's type.
    #[error("The tenant id {tenant} is not of type {wanted}, as the remote tenant column is.")]
    TenantRefused {
        /// The tenant id, as the settings give it.
        tenant: TenantId,
        /// The type of the remote tenant column.
        wanted: String,
    },
    /// The local table has no tenant column and was last synced for another tenant.
    #[error(
        "The local table {table} holds the meters of tenant {found}; this run is for {wanted}."
    )]
    TenantMismatch {
        /// The name of the local table.
        table: String,
        /// The tenant that the table was last synced for.
        found: String,
        /// The tenant of this run.
        wanted: TenantId,
    },
    /// The local table has no tenant column, and another run is syncing it for another tenant right now. Holds its
    /// name.
    #[error("The local table {0} is being synced for another tenant right now.")]
    TableBusy(String),
    /// A remote table was truncated or rewritten after the snapshot was taken, so it looks empty in the snapshot. Holds
    /// the table's name.
    ///
    /// Also returned, before anything is read, if the source may read foreign tables and the run has not yet waited for
    /// sessions that rewrite them. The caller then waits and starts over.
    #[error(
        "The remote table {0} was rewritten while its rows were being read; no meter was changed."
    )]
    Rewritten(String),
    /// The remote has several rows with the same key.
    #[error("The remote gives more than one row of tenant {tenant} for the key {keys}.")]
    DuplicateSourceKey {
        /// The tenant of this run.
        tenant: TenantId,
        /// At most three of these keys, as JSON.
        keys: String,
    },
    /// The local table, together with the tables that inherit from it, has several rows with the same key.
    #[error(
        "The local table {table}, with the tables that inherit from it, holds more than one row for the key {keys}."
    )]
    DuplicateLocalKey {
        /// The name of the local table.
        table: String,
        /// At most three of these keys, as JSON.
        keys: String,
    },
    /// More rows were rejected than one run may reject.
    #[error(
        "The local table does not take the changes of more than {limit} meters of tenant {tenant}; the last reason: {reason}"
    )]
    TooManyRejected {
        /// The tenant of this run.
        tenant: TenantId,
        /// How many rows may be rejected.
        limit: usize,
        /// Why the last row was rejected.
        reason: String,
    },
    /// Other sessions changed local rows while the plan was made, in every attempt to make it. Holds the tenant of the
    /// run.
    #[error("Others kept changing the local meters of tenant {0} while they were being compared.")]
    PlanKeptChanging(TenantId),
    /// The brake refused the plan: the remote has no usable row of the tenant, but local meters are active. A row is
    /// usable if a local row can have its key.
    #[error(
        "The remote has no usable meters of tenant {tenant}, but {} are active here; none was deactivated.",
        held.active
    )]
    SourceEmpty {
        /// The tenant of this run.
        tenant: TenantId,
        /// The deactivations that the brake refused.
        held: Box<HeldDeactivations>,
        /// Whether row security may hide remote rows from the role that reads them.
        may_be_hidden: bool,
    },
    /// The brake refused the plan: it would deactivate too many meters.
    #[error("{}", would_deactivate(.tenant, .held))]
    MassDeactivation {
        /// The tenant of this run.
        tenant: TenantId,
        /// The deactivations that the brake refused.
        held: Box<HeldDeactivations>,
    },
    /// A strict brake refused the plan: the remote was restored, or swapped for another.
    #[error(
        "{change} METER_SYNC_BRAKE=strict holds the changes of tenant {tenant} back until a person allows them."
    )]
    RemoteChanged {
        /// The tenant of this run.
        tenant: TenantId,
        /// A sentence that says what happened to the remote.
        change: &'static str,
    },
    /// The brake refused the plan: a person approved deactivations, but not all that the plan contains.
    #[error("{} {}", would_deactivate(.tenant, .held), not_covered(*.run, *.others))]
    ApprovalOutdated {
        /// The tenant of this run.
        tenant: TenantId,
        /// The earlier run whose refused deactivations the person approved.
        run: RunId,
        /// How many of the planned deactivations were not approved. `None` if the approval is not valid, for instance
        /// because a sync has succeeded after `run`.
        others: Option<i64>,
        /// The deactivations that the brake refused.
        held: Box<HeldDeactivations>,
    },
}

fn would_deactivate(tenant: &TenantId, held: &HeldDeactivations) -> String {
    format!(
        "{} of {} active meters of tenant {tenant} would be deactivated: {}. Nothing was changed.",
        held.deactivated,
        held.active,
        held.reasons("the remote")
    )
}

fn not_covered(run: RunId, others: Option<i64>) -> String {
    match others {
        Some(1) => format!("The approval of run {run} does not cover 1 of them."),
        Some(others) => format!("The approval of run {run} does not cover {others} of them."),
        None => format!(
            "Run {run} cannot be approved: a sync has succeeded since, it held no meters back, or its list of meters is no \
             longer kept, as later runs held others."
        ),
    }
}

/// The remedy if row security may be the reason why the remote shows no rows.
pub(crate) const ROW_SECURITY_REMEDY: &str = "The remote table has row security: see as the remote role whether it shows this tenant's rows. Where its policy reads a setting, give that in METER_SYNC_REMOTE_URL (options=-c <setting>=<value>).";

impl From<SyncError> for Failure {
    fn from(error: SyncError) -> Self {
        error.failure()
    }
}

impl SyncError {
    /// Whether the sync was refused as a precaution, although nothing failed: by the brake, because the remote is
    /// another one, or because the local table holds another tenant's meters.
    pub fn is_refusal(&self) -> bool {
        self.held_back().is_some()
            || matches!(
                self,
                Self::TenantMismatch { .. } | Self::RemoteChanged { .. }
            )
    }

    /// Whether the remote failed because a row was too long for it to send.
    pub(crate) fn exceeds_size_limit(&self) -> bool {
        let Self::Database(error) = self else {
            return false;
        };
        error.side() == SideName::Remote && error.exceeds_size_limit()
    }

    /// Returns the deactivations that the brake refused; `None` for any other error.
    pub fn held_back(&self) -> Option<&HeldDeactivations> {
        match self {
            Self::SourceEmpty { held, .. }
            | Self::MassDeactivation { held, .. }
            | Self::ApprovalOutdated { held, .. } => Some(held),
            Self::Database(_)
            | Self::RemoteSchema(_)
            | Self::LocalSchema(_)
            | Self::SchemaUsage(_)
            | Self::Drift(_)
            | Self::TriggersDisabled
            | Self::SameTable(_)
            | Self::TenantRefused { .. }
            | Self::TenantMismatch { .. }
            | Self::TableBusy(_)
            | Self::DuplicateSourceKey { .. }
            | Self::DuplicateLocalKey { .. }
            | Self::TooManyRejected { .. }
            | Self::Rewritten(_)
            | Self::RemoteChanged { .. }
            | Self::PlanKeptChanging(_) => None,
        }
    }

    /// Describes the error as users see it: code, message and remedy.
    pub fn failure(&self) -> Failure {
        let code = match self {
            Self::Database(error) => return error.failure(),
            Self::Drift(failure) | Self::SchemaUsage(failure) => return failure.clone(),
            Self::TriggersDisabled => ErrorCode::LocalAuth,
            Self::RemoteSchema(_) => ErrorCode::RemoteSchema,
            Self::LocalSchema(_) | Self::DuplicateLocalKey { .. } => ErrorCode::LocalSchema,
            Self::SameTable(_) | Self::TenantRefused { .. } => ErrorCode::ConfigInvalid,
            Self::TenantMismatch { .. } | Self::TableBusy(_) => ErrorCode::TenantMismatch,
            Self::DuplicateSourceKey { .. } => ErrorCode::DuplicateSourceKey,
            Self::TooManyRejected { .. } => ErrorCode::LocalConstraint,
            Self::PlanKeptChanging(_) => ErrorCode::LocalTimeout,
            Self::Rewritten(_) => ErrorCode::RemoteTimeout,
            Self::SourceEmpty { .. } => ErrorCode::SourceEmptyRefused,
            Self::MassDeactivation { .. } => ErrorCode::MassDeactivationRefused,
            Self::RemoteChanged { .. } => ErrorCode::RemoteChangedRefused,
            Self::ApprovalOutdated { .. } => ErrorCode::ApprovalOutdated,
        };
        let failure = Failure::new(code, self.to_string());
        match self.remedy(&failure) {
            Some(remedy) => failure.with_remedy(remedy),
            None => failure,
        }
    }

    /// Returns a remedy that is more specific than the default remedy of the error code. `None` if the default fits.
    fn remedy(&self, failure: &Failure) -> Option<String> {
        match self {
            Self::SameTable(_) => Some(
                "Point METER_SYNC_REMOTE_URL at the central database and METER_SYNC_LOCAL_URL at the site's."
                    .to_owned(),
            ),
            Self::TriggersDisabled => Some(
                "As a superuser of the local server: alter role <role> reset session_replication_role (and alter database <database> reset session_replication_role), where <role> is the user of METER_SYNC_LOCAL_URL; or, since Postgres 15, grant set on parameter session_replication_role to <role>. Look in METER_SYNC_LOCAL_URL for the setting, too."
                    .to_owned(),
            ),
            Self::SourceEmpty {
                may_be_hidden: true,
                ..
            } => Some(format!("{ROW_SECURITY_REMEDY} {}", failure.remedy)),
            Self::TenantRefused { .. } => Some(
                "Set METER_SYNC_TENANT_ID or METER_SYNC_TENANTS to the organisation's id as the remote holds it."
                    .to_owned(),
            ),
            Self::DuplicateLocalKey { table, .. } => Some(format!(
                "A unique index does not cover the tables that inherit from it. Leave one row for each key: `select tableoid::regclass, * from {table}` shows which table holds which."
            )),
            Self::Database(_)
            | Self::RemoteSchema(_)
            | Self::LocalSchema(_)
            | Self::Drift(_)
            | Self::SchemaUsage(_)
            | Self::TenantMismatch { .. }
            | Self::TableBusy(_)
            | Self::DuplicateSourceKey { .. }
            | Self::TooManyRejected { .. }
            | Self::PlanKeptChanging(_)
            | Self::Rewritten(_)
            | Self::SourceEmpty { .. }
            | Self::MassDeactivation { .. }
            | Self::RemoteChanged { .. }
            | Self::ApprovalOutdated { .. } => None,
        }
    }
}
