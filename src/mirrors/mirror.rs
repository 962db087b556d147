//! The handle to one mirror. The command line, REST, MCP and the web page use it to start runs and to read their
//! results.

use std::ops::Deref;
use std::sync::Arc;

use chrono::{DateTime, Utc};
use tokio::sync::{Mutex, watch};

use crate::config::Mapping;
use crate::db::{DbError, Local, Tx};
use crate::error::Failure;
use crate::model::{RunRecord, TenantId, VisibleTenants};

use super::in_process_state::InProcessState;
use super::meter_count_cache::MeterCountCache;
use super::process_context::ProcessContext;
use super::state_read::StateReadResult;
use crate::reports::connections::ConnectionReport;
use crate::reports::status::NamedTenant;
use crate::shared_read::SharedRead;
use crate::store::migrations;
use crate::tenants::meter_table::MeterTable;
use crate::tenants::run_scope::LogScope;
use crate::tenants::{self, Tenant};

/// One tenant's meters in one local table, with methods that start runs and report their results. Clones refer to the
/// same mirror, and belong to the same caller.
#[derive(Clone, Debug)]
pub struct Mirror {
    pub(super) shared: Arc<MirrorInner>,
    /// The tenants that the caller may see. Reports through this handle name no others.
    pub(crate) visible: VisibleTenants,
}

/// What the clones of a [`Mirror`] share.
#[derive(Debug)]
pub(super) struct MirrorInner {
    pub(super) process: Arc<ProcessContext>,
    /// The settings that say which remote rows are mirrored, and into which local table.
    pub(super) mapping: Mapping,
    pub(super) in_process_state: watch::Sender<InProcessState>,
    /// The state of the mirror as last read from the local database, for all callers who ask at the same time.
    pub(super) observed: Arc<SharedRead<StateReadResult>>,
    pub(super) meter_count_cache: MeterCountCache,
    /// Held while this process verifies the mirror, so that one verification runs at a time.
    pub(super) verifying: Mutex<()>,
}

/// A tenant (its id and its name) and its mirror.
#[derive(Clone, Debug)]
pub struct TenantAndMirror {
    /// The tenant's id, in the spelling that the log of runs uses.
    pub id: TenantId,
    /// The tenant's name; `None` if the local database does not hold it.
    pub name: Option<String>,
    /// The tenant's mirror.
    pub mirror: Mirror,
    /// Whether tenant ids have a text type in the local database. Such ids are compared exactly: `07` and `7` are two
    /// tenants. Always `false` in a process that keeps exactly one mirror.
    pub(super) is_text: bool,
}

impl From<&Tenant> for NamedTenant {
    fn from(tenant: &Tenant) -> Self {
        Self {
            id: tenant.id.as_str().to_owned(),
            name: tenant.name.clone(),
        }
    }
}

/// Dereferences to the [`ProcessContext`], which all mirrors of the process share.
impl Deref for Mirror {
    type Target = ProcessContext;

    fn deref(&self) -> &ProcessContext {
        &self.shared.process
    }
}

impl Mirror {
    pub(super) fn new(process: Arc<ProcessContext>, mapping: Mapping) -> Self {
        let in_process_state = InProcessState {
            remote: ConnectionReport::unused(process.remote.is_some()),
            ..InProcessState::default()
        };
        // In a process that keeps many mirrors, the state of a mirror is kept only while somebody waits for it.
        let observed = Arc::new(SharedRead::new(!process.config.tenants.is_one()));
        Self {
            shared: Arc::new(MirrorInner {
                process,
                mapping,
                in_process_state: watch::Sender::new(in_process_state),
                observed,
                meter_count_cache: MeterCountCache::default(),
                verifying: Mutex::default(),
            }),
            visible: VisibleTenants::default(),
        }
    }

    /// Returns a handle to the same mirror for a caller who may see only these tenants; `None` stands for all.
    pub(super) fn for_caller(&self, visible: Option<&[String]>) -> Self {
        Self {
            shared: Arc::clone(&self.shared),
            visible: VisibleTenants::new(visible.map(<[String]>::to_vec)),
        }
    }

    /// Returns the settings that say which remote rows are mirrored, and into which local table.
    pub fn mapping(&self) -> &Mapping {
        &self.shared.mapping
    }

    /// Looks up the local table and the tenant, to find this mirror's runs in the log. The tenant may be unknown.
    pub(crate) async fn log_scope(&self, tx: &Tx<'_, Local>) -> Result<LogScope, DbError> {
        tenants::log_scope(tx, self.mapping()).await
    }

    /// Looks up the local table and the tenant, as [`Self::log_scope`] does. Returns `None` if the log does not exist
    /// yet.
    pub(crate) async fn log(&self, tx: &Tx<'_, Local>) -> Result<Option<LogScope>, DbError> {
        Ok(match migrations::exist(tx).await? {
            true => Some(self.log_scope(tx).await?),
            false => None,
        })
    }

    /// Looks up the local table of meters, for statements that read this mirror's rows in it.
    pub(crate) async fn meters(&self, tx: &Tx<'_, Local>) -> Result<MeterTable, Failure> {
        MeterTable::look_up(tx, self.mapping()).await
    }

    /// The last run that ended in this process, dry runs excluded.
    pub(crate) fn last_run_here(&self) -> Option<RunRecord> {
        self.shared.in_process_state.borrow().last.clone()
    }

    /// Publishes in the status when the schedule retries a slot (scheduled time) whose run failed; `None` if no retry
    /// is pending.
    pub fn set_waiting(&self, until: Option<DateTime<Utc>>) {
        self.change_in_process_state(|in_process_state| in_process_state.waiting_until = until);
    }

    /// Changes what this process knows about the mirror, and publishes it.
    pub(super) fn change_in_process_state(&self, change: impl FnOnce(&mut InProcessState)) {
        self.shared.in_process_state.send_modify(change);
    }
}
