//! Holds the mirrors of a process: one for each tenant that the settings name. The settings may refer to a table or a
//! query in the local database for the tenants, which is then read again while the process runs.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Deref;
use std::sync::{Arc, PoisonError, RwLock};

use tokio_util::task::TaskTracker;

use crate::config::{Config, TenantSelection, Token};
use crate::db::{DbError, Local, Tx};
use crate::error::{ErrorCode, Failure};
use crate::model::TenantId;

use super::mirror::{Mirror, TenantAndMirror};
use super::process_context::ProcessContext;
use super::published_states::PublishedStates;
use crate::shared_read::SharedRead;
use crate::tenants::{self, Tenant};

/// All mirrors of a process. Clones refer to the same mirrors.
#[derive(Clone, Debug)]
pub struct Mirrors {
    pub(super) process: Arc<ProcessContext>,
    kept: Arc<MirrorSet>,
    pub(super) observer: Arc<SharedRead<PublishedStates>>,
}

/// The mirrors of a process: exactly one, or any number.
#[derive(Debug)]
enum MirrorSet {
    /// Exactly one mirror. Requests need not name its tenant.
    One(Mirror),
    /// Any number of mirrors, one for each tenant as last read from the settings or the local database.
    Many(RwLock<LastReadTenants>),
}

/// The mirrors of the tenants, and the tenants that could get no mirror, as last read.
#[derive(Debug, Default)]
struct LastReadTenants {
    mirrors: Arc<[TenantAndMirror]>,
    /// The tenants that could not get a mirror, and why.
    refused: Vec<(TenantId, Failure)>,
}

/// Dereferences to the [`ProcessContext`], which all mirrors of the process share.
impl Deref for Mirrors {
    type Target = ProcessContext;

    fn deref(&self) -> &ProcessContext {
        &self.process
    }
}

impl Mirrors {
    /// Creates the mirrors of a process, with connection pools for both databases; nothing connects yet. Runs are
    /// spawned on `tasks`, so that the shutdown can wait for them.
    pub fn new(config: Config, tasks: TaskTracker) -> Result<Self, DbError> {
        let process = Arc::new(ProcessContext::new(config, tasks)?);
        let kept = match process.config.tenants {
            TenantSelection::One(_) => {
                let mapping = process.config.mapping.clone();
                MirrorSet::One(Mirror::new(Arc::clone(&process), mapping))
            }
            TenantSelection::Listed(_) | TenantSelection::All | TenantSelection::Query(_) => {
                MirrorSet::Many(RwLock::default())
            }
        };
        Ok(Self {
            process,
            kept: Arc::new(kept),
            observer: Arc::default(),
        })
    }

    /// Returns the mirror of a process that keeps exactly one. Returns `None` for a process that may keep any number of
    /// mirrors, so that requests must name a tenant.
    pub fn only(&self) -> Option<&Mirror> {
        match &*self.kept {
            MirrorSet::One(mirror) => Some(mirror),
            MirrorSet::Many(_) => None,
        }
    }

    /// Finds the mirror of the tenant with this id. If `tenant` is `None`, finds the only mirror of a process that
    /// keeps exactly one.
    ///
    /// Fails with `TENANT_REQUIRED` if the process may keep any number of mirrors and `tenant` is `None`, and with
    /// `TENANT_UNKNOWN` if the tenant has no mirror. Also fails if the tenants have to be read from the local database
    /// and it does not answer.
    pub async fn find(&self, tenant: Option<&str>) -> Result<Mirror, Failure> {
        self.find_for(tenant, None).await
    }

    /// Finds the mirror of a tenant, as [`Self::find`] does, for a caller who has this token. A tenant for which the
    /// token is not valid counts as unknown, and errors name only tenants for which it is valid, as do all reports
    /// through the mirror. If `token` is `None`, all tenants can be found.
    pub async fn find_for(
        &self,
        tenant: Option<&str>,
        token: Option<&Token>,
    ) -> Result<Mirror, Failure> {
        let visible = visible_tenants(token);
        let visible = visible.as_deref();
        let Some(asked) = tenant else {
            return match self.only() {
                None => Err(self.required(visible).await),
                Some(mirror) if visible.is_none_or(|ids| self.is_set_to_one_of(ids)) => {
                    Ok(mirror.for_caller(visible))
                }
                Some(mirror) => match seen(&self.all().await?, visible).is_empty() {
                    true => Err(not_of_the_token()),
                    false => Ok(mirror.for_caller(visible)),
                },
            };
        };
        if let Some(found) = pick(&seen(&self.last_known(), visible), asked) {
            return Ok(found.for_caller(visible));
        }
        match (self.all().await, self.only()) {
            (Ok(all), _) => {
                let seen = seen(&all, visible);
                let found = pick(&seen, asked).ok_or_else(|| unknown(asked, &seen))?;
                Ok(found.for_caller(visible))
            }
            // The local database cannot be asked for the tenant of this mirror. The mirror's status says why, and no
            // run can begin.
            (Err(failure), Some(mirror))
                if visible.is_none() && failure.code.may_mean_local_is_down() =>
            {
                Ok(mirror.clone())
            }
            (Err(failure), _) => Err(failure),
        }
    }

    /// Whether the settings name a single tenant by its id, and this id is one of `ids`. Then there is no need to look
    /// the tenant up in the local database.
    fn is_set_to_one_of(&self, ids: &[String]) -> bool {
        match &self.config.tenants {
            TenantSelection::One(Some(set)) => ids.iter().any(|id| set.as_str() == id),
            TenantSelection::One(None)
            | TenantSelection::Listed(_)
            | TenantSelection::All
            | TenantSelection::Query(_) => false,
        }
    }

    /// Reads the tenants from the settings and the local database, and returns the mirrors of all of them, in the order
    /// of the tenants' ids. Fails if the process keeps exactly one mirror and its tenant cannot be determined.
    pub async fn all(&self) -> Result<Arc<[TenantAndMirror]>, Failure> {
        let read = async |tx: &Tx<'_, Local>| self.known(tx).await;
        self.local()?.read("tenants", read).await
    }

    /// Returns all mirrors as [`Self::all`] does, but reads in a transaction that is already open.
    pub(super) async fn known(
        &self,
        tx: &Tx<'_, Local>,
    ) -> Result<Arc<[TenantAndMirror]>, Failure> {
        match &*self.kept {
            MirrorSet::One(mirror) => {
                let tenant = tenants::scope(tx, mirror.mapping()).await?.tenant;
                Ok(Arc::new([TenantAndMirror {
                    id: tenant.id,
                    name: tenant.name,
                    mirror: mirror.clone(),
                    is_text: false,
                }]))
            }
            MirrorSet::Many(kept) => self.read_again(tx, kept).await,
        }
    }

    async fn read_again(
        &self,
        tx: &Tx<'_, Local>,
        kept: &RwLock<LastReadTenants>,
    ) -> Result<Arc<[TenantAndMirror]>, Failure> {
        let config = &self.config;
        let rows = tenants::all(tx, &config.tenants, &config.mapping).await?;
        let mut known = kept.write().unwrap_or_else(PoisonError::into_inner);
        *known = self.with_rows(&known, rows);
        Ok(Arc::clone(&known.mirrors))
    }

    /// Returns the mirrors of these tenants. A mirror that `known` already has is kept, so its run in progress stays
    /// known. A tenant whose id makes the name of its local table too long gets no mirror, and is put into `refused`.
    fn with_rows(&self, known: &LastReadTenants, tenants: Vec<Tenant>) -> LastReadTenants {
        let old: BTreeMap<&str, &Mirror> = known
            .mirrors
            .iter()
            .map(|known| (known.id.as_str(), &known.mirror))
            .collect();
        let mut refused = Vec::new();
        let mirrors = tenants.into_iter().filter_map(|tenant| {
            let mirror = match old.get(tenant.id.as_str()) {
                Some(mirror) => (*mirror).clone(),
                None => match self.config.mapping.for_tenant(&tenant.given) {
                    Ok(mapping) => Mirror::new(Arc::clone(&self.process), mapping),
                    Err(error) => {
                        refused.push((tenant.id, Failure::from(error)));
                        return None;
                    }
                },
            };
            Some(TenantAndMirror {
                id: tenant.id,
                name: tenant.name,
                mirror,
                is_text: tenant.is_text,
            })
        });
        LastReadTenants {
            mirrors: mirrors.collect(),
            refused,
        }
    }

    /// Returns the mirrors as they were last read, without asking the local database. Empty in a process that keeps
    /// exactly one mirror.
    pub(super) fn last_known(&self) -> Arc<[TenantAndMirror]> {
        match &*self.kept {
            MirrorSet::One(_) => Arc::default(),
            MirrorSet::Many(kept) => {
                let known = kept.read().unwrap_or_else(PoisonError::into_inner);
                Arc::clone(&known.mirrors)
            }
        }
    }

    /// Returns the errors of those tenants that the settings name but that could get no mirror. `visible` has the ids
    /// of the tenants that the caller may see; `None` if the caller may see all.
    pub(crate) fn refused(&self, visible: Option<&[String]>) -> Vec<Failure> {
        let MirrorSet::Many(kept) = &*self.kept else {
            return Vec::new();
        };
        let known = kept.read().unwrap_or_else(PoisonError::into_inner);
        let is_visible = visibility(visible);
        let refused = known.refused.iter().filter(|(id, _)| is_visible(id));
        refused.map(|(_, failure)| failure.clone()).collect()
    }

    async fn required(&self, visible: Option<&[String]>) -> Failure {
        let all = match self.all().await {
            Ok(all) => all,
            Err(failure) => return failure,
        };
        let seen = seen(&all, visible);
        let some = nearest("", &seen);
        let message = match visible {
            None => format!(
                "This process keeps the meters of {} tenants in sync, and the request names none of them; some are {some}.",
                all.len()
            ),
            Some(_) if seen.is_empty() => return not_of_the_token(),
            Some(_) => format!(
                "This process keeps the meters of several tenants in sync, and the request names none of them; the token counts for {some}."
            ),
        };
        Failure::new(ErrorCode::TenantRequired, message)
    }
}

/// Returns the ids of the tenants for which a token is valid; `None` if it is valid for all tenants.
pub fn visible_tenants(token: Option<&Token>) -> Option<Vec<String>> {
    let ids = token?.tenants.as_ref()?;
    Some(ids.iter().map(|id| id.as_str().to_owned()).collect())
}

/// Returns a filter that accepts the tenants whose ids are in `visible`, or all tenants if `visible` is `None`. Ids
/// must match exactly, because with ids of a text type, another spelling is another tenant.
pub(super) fn visibility(visible: Option<&[String]>) -> impl Fn(&TenantId) -> bool {
    let ids: Option<BTreeSet<&str>> = visible.map(|ids| ids.iter().map(String::as_str).collect());
    move |id| ids.as_ref().is_none_or(|ids| ids.contains(id.as_str()))
}

fn seen<'a>(all: &'a [TenantAndMirror], visible: Option<&[String]>) -> Vec<&'a TenantAndMirror> {
    let is_visible = visibility(visible);
    let seen = all.iter().filter(|known| is_visible(&known.id));
    seen.collect()
}

/// Returns the mirror of the tenant with this id; `seen` has the mirrors that the caller may see. An id with exactly
/// this spelling comes first, then another spelling of the same value.
fn pick(seen: &[&TenantAndMirror], id: &str) -> Option<Mirror> {
    let is_same =
        |known: &&&TenantAndMirror| !known.is_text && tenants::is_same(known.id.as_str(), id);
    let exact = seen.iter().find(|known| known.id.as_str() == id);
    let found = exact.or_else(|| seen.iter().find(is_same))?;
    Some(found.mirror.clone())
}

/// How many tenants an error message lists at most.
const NAMED: usize = 3;

/// How many characters of an unknown tenant's id an error message repeats at most.
const REPEATED_CHARS: usize = 60;

fn unknown(asked: &str, seen: &[&TenantAndMirror]) -> Failure {
    let asked = asked.chars().filter(|c| !c.is_control());
    let asked: String = asked.take(REPEATED_CHARS).collect();
    let mut message = format!("The meters of tenant {asked} are not kept in sync here");
    let nearest = nearest(&asked, seen);
    match nearest.is_empty() {
        true => message.push_str(": no tenant is known."),
        false => message.push_str(&format!("; the nearest are {nearest}.")),
    }
    Failure::new(ErrorCode::TenantUnknown, message)
}

fn not_of_the_token() -> Failure {
    let message = "No tenant that the token counts for is kept in sync here.";
    Failure::new(ErrorCode::TenantUnknown, message).with_remedy(
        "Use a token for a tenant of this process, or for all tenants (METER_SYNC_TOKENS).",
    )
}

/// Lists the tenants whose id or name is most similar to `asked`, at most `NAMED`, as in `7 (Northgate Hospitals), 8`.
fn nearest(asked: &str, seen: &[&TenantAndMirror]) -> String {
    let asked = asked.to_lowercase();
    let distance = |known: &&TenantAndMirror| {
        let of = |text: &str| strsim::damerau_levenshtein(&text.to_lowercase(), &asked);
        let id = of(known.id.as_str());
        known.name.as_deref().map_or(id, |name| id.min(of(name)))
    };
    let mut all = seen.to_vec();
    all.sort_by_cached_key(distance);
    all.truncate(NAMED);
    let shown = all.iter().map(|known| match &known.name {
        Some(name) => format!("{} ({name})", known.id),
        None => known.id.to_string(),
    });
    shown.collect::<Vec<_>>().join(", ")
}
