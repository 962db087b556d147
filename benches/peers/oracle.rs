//! Whether a result is right, by reading both tables; no peer has a part in it.

use std::collections::{HashMap, HashSet};
use std::pin::pin;

use anyhow::{Context, Result};
use futures_util::TryStreamExt;
use tokio_postgres::Client;

use crate::data::{COLUMNS, TENANT};
use crate::servers::{REMOTE_DATABASE, Servers, Side};

/// What the remote holds, and which meters it held before.
#[derive(Debug, Default)]
pub(crate) struct Truth {
    rows: HashMap<i64, u128>,
    others: HashSet<i64>,
    /// Every meter of the tenant that there was since the first load.
    ever: HashSet<i64>,
}

/// How many rows are wrong, in which way.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct WrongRows {
    /// On the remote and not here.
    pub(crate) missing: u64,
    /// Here with other values.
    pub(crate) stale: u64,
    /// Gone from the remote and active here.
    pub(crate) missed_deletes: u64,
    /// Gone from the remote and from here: a meter is to be kept, inactive.
    pub(crate) deleted: u64,
    /// Of another tenant.
    pub(crate) foreign: u64,
}

impl WrongRows {
    pub(crate) fn is_right(self) -> bool {
        self == Self::default()
    }

    /// The greater of each.
    pub(crate) fn or(self, other: Self) -> Self {
        Self {
            missing: self.missing.max(other.missing),
            stale: self.stale.max(other.stale),
            missed_deletes: self.missed_deletes.max(other.missed_deletes),
            deleted: self.deleted.max(other.deleted),
            foreign: self.foreign.max(other.foreign),
        }
    }
}

impl Truth {
    /// Reads what the remote holds now; what it held before is known from the last time.
    pub(crate) async fn read(self, servers: &Servers) -> Result<Self> {
        let remote = servers.connect(Side::Remote, REMOTE_DATABASE).await?;
        let mut rows = HashMap::new();
        let mine = format!("tenant_id = {TENANT}");
        each(&remote, &mine, |row| {
            rows.insert(row.id, row.hash);
        })
        .await?;
        let mut others = HashSet::new();
        let theirs = format!("tenant_id <> {TENANT}");
        each(&remote, &theirs, |row| {
            others.insert(row.id);
        })
        .await?;
        let mut ever = self.ever;
        ever.extend(rows.keys());
        Ok(Self { rows, others, ever })
    }

    /// How many meters the tenant has.
    pub(crate) fn meters(&self) -> u64 {
        self.rows.len() as u64
    }

    /// Compares what is in a local database.
    pub(crate) async fn compare(&self, servers: &Servers, database: &str) -> Result<WrongRows> {
        let local = servers.connect(Side::Local, database).await?;
        let mut wrong = WrongRows::default();
        let mut here = HashSet::new();
        each(&local, "true", |row| {
            here.insert(row.id);
            match self.rows.get(&row.id) {
                Some(hash) if *hash == row.hash => {}
                Some(_) => wrong.stale += 1,
                None if self.others.contains(&row.id) => wrong.foreign += 1,
                None if row.active => wrong.missed_deletes += 1,
                None => {}
            }
        })
        .await?;
        let absent = self.ever.iter().filter(|id| !here.contains(*id));
        for id in absent {
            match self.rows.contains_key(id) {
                true => wrong.missing += 1,
                false => wrong.deleted += 1,
            }
        }
        Ok(wrong)
    }
}

struct Row {
    id: i64,
    active: bool,
    hash: u128,
}

/// Hands each meter for which the condition holds to `take`.
async fn each(client: &Client, condition: &str, mut take: impl FnMut(Row)) -> Result<()> {
    let sql = format!(
        "copy (select id, coalesce(active, false)::integer, md5(row({COLUMNS})::text) \
         from meter where {condition}) to stdout"
    );
    let mut lines = pin!(client.copy_out(&sql).await?);
    while let Some(line) = lines.try_next().await? {
        take(parse(&line).context("a row of the oracle")?);
    }
    Ok(())
}

fn parse(line: &[u8]) -> Option<Row> {
    let mut fields = str::from_utf8(line).ok()?.trim_end().split('\t');
    Some(Row {
        id: fields.next()?.parse().ok()?,
        active: fields.next()? == "1",
        hash: u128::from_str_radix(fields.next()?, 16).ok()?,
    })
}
