//! Knows which mirrors a process keeps, from the settings. Where a table or a query of the local database names the
//! tenants, it is read again while the process runs.

use std::collections::BTreeMap;
use std::ops::Deref;
use std::sync::{Arc, PoisonError, RwLock};

use tokio_util::task::TaskTracker;

use crate::config::{Config, Tenants};
use crate::db::{DbError, Local, Tx};
use crate::error::{ErrorCode, Failure};
use crate::model::TenantId;

use super::mirror::Mirror;
use super::observer::Observer;
use super::process::Process;
use super::tenant;
use super::tenants::{self, TenantRow};

/// All mirrors of a process. Clones share one state.
#[derive(Clone, Debug)]
pub struct Mirrors {
    pub(super) process: Arc<Process>,
    kept: Arc<Kept>,
    pub(super) observer: Arc<Observer>,
}

/// The mirrors that a process keeps.
#[derive(Debug)]
enum Kept {
    /// One. Requests need not name its tenant.
    One(Mirror),
    /// Any number, as they were last read.
    Many(RwLock<Known>),
}

/// What was last read of the tenants.
#[derive(Debug, Default)]
struct Known {
    mirrors: Arc<[KnownMirror]>,
    /// Why tenants have no mirror.
    refused: Vec<Failure>,
}

/// One mirror of several.
#[derive(Clone, Debug)]
pub struct KnownMirror {
    /// The tenant's id, in the spelling that the log of runs uses.
    pub id: TenantId,
    /// The tenant's name; `None` if the local database does not tell it.
    pub name: Option<String>,
    /// The mirror.
    pub mirror: Mirror,
}

/// What the mirrors share.
impl Deref for Mirrors {
    type Target = Process;

    fn deref(&self) -> &Process {
        &self.process
    }
}

impl Mirrors {
    /// Creates the connection pools for the databases of the settings; nothing connects yet. Runs are spawned
    /// on `tasks`, so that shutdown can wait for them.
    pub fn new(config: Config, tasks: TaskTracker) -> Result<Self, DbError> {
        let process = Arc::new(Process::new(config, tasks)?);
        let kept = match process.config.tenants {
            Tenants::One(_) => {
                let mapping = process.config.mapping.clone();
                Kept::One(Mirror::new(Arc::clone(&process), mapping))
            }
            Tenants::Listed(_) | Tenants::All | Tenants::Query(_) => Kept::Many(RwLock::default()),
        };
        Ok(Self {
            process,
            kept: Arc::new(kept),
            observer: Arc::default(),
        })
    }

    /// The mirror of a process that keeps one by its settings, so that requests need not name a tenant; `None` if the
    /// process keeps any number.
    pub fn only(&self) -> Option<&Mirror> {
        match &*self.kept {
            Kept::One(mirror) => Some(mirror),
            Kept::Many(_) => None,
        }
    }

    /// Finds the mirror of a tenant. `None` finds the only one.
    ///
    /// Fails with `TENANT_REQUIRED` if there are several and none is named, with `TENANT_UNKNOWN` if the tenant is none
    /// of them, and as a query of the local database does if that has to be asked.
    pub async fn find(&self, tenant: Option<&str>) -> Result<Mirror, Failure> {
        match (&*self.kept, tenant) {
            (Kept::One(mirror), None) => Ok(mirror.clone()),
            (Kept::One(mirror), Some(asked)) => match mirror.tenant().await? {
                (id, _) if tenant::is_same(id.as_str(), asked) => Ok(mirror.clone()),
                kept => Err(unknown(asked, [(kept.0.as_str(), kept.1.as_deref())])),
            },
            (Kept::Many(_), None) => Err(self.required().await),
            (Kept::Many(kept), Some(asked)) => {
                if let Some(found) = pick(&current(kept), asked) {
                    return Ok(found);
                }
                let all = self.all().await?;
                pick(&all, asked).ok_or_else(|| unknown(asked, all.iter().map(KnownMirror::named)))
            }
        }
    }

    /// All mirrors, in the order of their ids, as the settings and the local database name them now. A process that
    /// keeps one has it in the list when its tenant is known.
    pub async fn all(&self) -> Result<Arc<[KnownMirror]>, Failure> {
        match &*self.kept {
            Kept::One(mirror) => {
                let (id, name) = mirror.tenant().await?;
                let mirror = mirror.clone();
                Ok(Arc::new([KnownMirror { id, name, mirror }]))
            }
            Kept::Many(kept) => {
                let read = async |tx: &Tx<'_, Local>| self.read_again(tx, kept).await;
                self.local()?.read("tenants", read).await
            }
        }
    }

    /// The same as [`Self::all`], in a transaction that is open already.
    pub(super) async fn known(&self, tx: &Tx<'_, Local>) -> Result<Arc<[KnownMirror]>, Failure> {
        match &*self.kept {
            Kept::One(mirror) => {
                let (id, name) = mirror.tenant_in(tx).await?;
                let mirror = mirror.clone();
                Ok(Arc::new([KnownMirror { id, name, mirror }]))
            }
            Kept::Many(kept) => self.read_again(tx, kept).await,
        }
    }

    async fn read_again(
        &self,
        tx: &Tx<'_, Local>,
        kept: &RwLock<Known>,
    ) -> Result<Arc<[KnownMirror]>, Failure> {
        let Config {
            tenants: named,
            mapping,
            ..
        } = &self.process.config;
        let rows = tenants::all(tx, named, mapping).await?;
        let mut known = kept.write().unwrap_or_else(PoisonError::into_inner);
        *known = self.with_rows(&known, rows);
        Ok(Arc::clone(&known.mirrors))
    }

    /// The mirrors of these tenants. A mirror that is known already is kept, with its run in progress. A tenant whose local
    /// table can have no name is left out, and told of in `refused`.
    fn with_rows(&self, known: &Known, rows: Vec<TenantRow>) -> Known {
        let old: BTreeMap<&str, &Mirror> = known
            .mirrors
            .iter()
            .map(|known| (known.id.as_str(), &known.mirror))
            .collect();
        let mut refused = Vec::new();
        let mirrors = rows
            .into_iter()
            .filter_map(|TenantRow { id, given, name }| {
                let mirror = match old.get(id.as_str()) {
                    Some(mirror) => (*mirror).clone(),
                    None => match self.process.config.mapping.for_tenant(&given) {
                        Ok(mapping) => Mirror::new(Arc::clone(&self.process), mapping),
                        Err(error) => {
                            refused.push(Failure::from(error));
                            return None;
                        }
                    },
                };
                Some(KnownMirror { id, name, mirror })
            });
        Known {
            mirrors: mirrors.collect(),
            refused,
        }
    }

    /// Why tenants that the settings name have no mirror.
    pub(super) fn refused(&self) -> Vec<Failure> {
        match &*self.kept {
            Kept::One(_) => Vec::new(),
            Kept::Many(kept) => {
                let known = kept.read().unwrap_or_else(PoisonError::into_inner);
                known.refused.clone()
            }
        }
    }

    async fn required(&self) -> Failure {
        match self.all().await {
            Ok(all) => {
                let some = nearest("", all.iter().map(KnownMirror::named));
                let message = format!(
                    "This process keeps the meters of {} tenants in sync, and the request names none of them; some are {some}.",
                    all.len()
                );
                Failure::new(ErrorCode::TenantRequired, message)
            }
            Err(failure) => failure,
        }
    }
}

impl KnownMirror {
    fn named(&self) -> (&str, Option<&str>) {
        (self.id.as_str(), self.name.as_deref())
    }
}

fn current(kept: &RwLock<Known>) -> Arc<[KnownMirror]> {
    let known = kept.read().unwrap_or_else(PoisonError::into_inner);
    Arc::clone(&known.mirrors)
}

/// The mirror of the tenant: by its id as it is written or, if there is none, by another spelling of the same id.
fn pick(all: &[KnownMirror], asked: &str) -> Option<Mirror> {
    let exact = all.iter().find(|known| known.id.as_str() == asked);
    let found = exact.or_else(|| {
        all.iter()
            .find(|known| tenant::is_same(known.id.as_str(), asked))
    });
    found.map(|known| known.mirror.clone())
}

/// How many tenants an error names.
const NAMED: usize = 3;

fn unknown<'a>(asked: &str, all: impl IntoIterator<Item = (&'a str, Option<&'a str>)>) -> Failure {
    let mut message = format!("The meters of tenant {asked} are not kept in sync here");
    let nearest = nearest(asked, all);
    match nearest.is_empty() {
        true => message.push_str(": no tenant is known."),
        false => message.push_str(&format!("; the nearest are {nearest}.")),
    }
    Failure::new(ErrorCode::TenantUnknown, message)
}

/// `7 (Northgate Hospitals), 8`: the tenants whose id or name is nearest to the text.
fn nearest<'a>(asked: &str, all: impl IntoIterator<Item = (&'a str, Option<&'a str>)>) -> String {
    let asked = asked.to_lowercase();
    let distance = |(id, name): &(&str, Option<&str>)| {
        let of = |text: &str| strsim::damerau_levenshtein(&text.to_lowercase(), &asked);
        name.map_or_else(|| of(id), |name| of(id).min(of(name)))
    };
    let mut all: Vec<_> = all.into_iter().collect();
    all.sort_by_cached_key(distance);
    all.truncate(NAMED);
    let shown = all.iter().map(|(id, name)| match name {
        Some(name) => format!("{id} ({name})"),
        None => (*id).to_owned(),
    });
    shown.collect::<Vec<_>>().join(", ")
}
