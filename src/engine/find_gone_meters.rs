//! Asks the remote where the meters went that a plan deactivates because the remote no longer has them for the tenant.
//!
//! One statement looks their keys up without the filter for the tenant. It runs in a transaction of its own, because
//! which meters are missing is known only after the run's remote transaction has ended, which does not wait for the
//! plan. So the answer is a little younger than the rows that were read. A meter that came back in between is found
//! with the tenant of the run, and it is then not said where it went. Nothing else follows from the answer: which
//! meters are deactivated, and whether the brake refuses that, depends on the rows that were read.
//!
//! If the remote does not answer within [`LIMIT`], or fails, the run goes on without an answer. The remote is not asked
//! at all in these cases:
//!
//! - The source is a view or a query. It may leave rows out for reasons of its own.
//! - The tenant's id is part of the key, so a meter that moves gets another key.
//! - A key column has a type in which equal keys may be written in several ways.

use std::collections::BTreeMap;
use std::time::Duration;

use tokio_postgres::{Row, SimpleQueryRow};
use uuid::Uuid;

use crate::db::{DbError, EndedTx, quote};
use crate::model::{GoneMeters, GonePlace, MeterDestination};

use super::{Relations, RunContext};

/// How many meters the remote is asked about at most, and how many bytes their keys may take in the statement.
const MOST_METERS: u32 = 10_000;
const MOST_BYTES: usize = 2 * 1024 * 1024;

/// How long the remote may take for the answer. Local rows may be locked meanwhile. With an index on the key, a few
/// thousand meters take milliseconds.
const LIMIT: Duration = Duration::from_secs(3);

/// The meters that a plan deactivates because the remote no longer has them, as far as the remote was asked about them.
#[derive(Debug, Default)]
pub(super) struct MissingMeters {
    /// The keys as text: for each meter, the values of the key columns.
    keys: Vec<Vec<String>>,
    /// Where each of these meters went; empty if the remote gave no answer.
    destinations: Vec<MeterDestination>,
}

/// A key column, with the types by which its values are compared on the remote.
struct KeyColumn<'r> {
    name: &'r str,
    kind: KeyKind,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum KeyKind {
    Integer,
    Uuid,
    Text,
    PaddedText,
    Numeric,
}

impl KeyKind {
    /// Returns the kind of a key column; `None` if two spellings of a local key may stand for the same remote key.
    fn of(there: &str, here: &str) -> Option<Self> {
        let is_integer = |name| matches!(name, "smallint" | "integer" | "bigint");
        let is_text = |name| matches!(name, "text" | "character varying");
        let is_padded = |name| matches!(name, "character" | "bpchar");
        match (there, here) {
            _ if is_integer(there) && (is_integer(here) || is_text(here)) => Some(Self::Integer),
            ("uuid", _) if here == "uuid" || is_text(here) => Some(Self::Uuid),
            _ if is_text(there) && is_text(here) => Some(Self::Text),
            _ if is_padded(there) && (is_padded(here) || is_text(here)) => Some(Self::PaddedText),
            ("numeric", "numeric") => Some(Self::Numeric),
            _ => None,
        }
    }

    /// The type of the keys in the statement. An index on the remote column can be used with it.
    fn sql_type(self) -> &'static str {
        match self {
            Self::Integer => "int8",
            Self::Uuid => "uuid",
            Self::Text => "text",
            Self::PaddedText => "bpchar",
            Self::Numeric => "numeric",
        }
    }

    /// Whether a remote key can be written like this. Somebody may have added others to the local table.
    fn is_possible(self, key: &str) -> bool {
        match self {
            Self::Integer => key.parse::<i64>().is_ok_and(|n| n.to_string() == key),
            Self::Uuid => key.parse::<Uuid>().is_ok_and(|id| id.to_string() == key),
            Self::Text | Self::PaddedText | Self::Numeric => true,
        }
    }
}

/// Returns the key columns; `None` if the remote is not to be asked.
fn key_columns(relations: &Relations) -> Option<Vec<KeyColumn<'_>>> {
    if !relations.is_remote_table || relations.key.contains(&relations.remote_tenant.name) {
        return None;
    }
    let column = |name: &'_ String| {
        let mut both = relations.remote_columns.iter().zip(&relations.columns);
        let (there, here) = both.find(|(_, here)| here.name == *name)?;
        let is_comparable = there.is_deterministic && here.is_deterministic;
        let kind = KeyKind::of(&there.base_type, &here.base_type).filter(|_| is_comparable)?;
        Some((there.name.as_str(), kind))
    };
    let columns = relations.key.iter().map(|name| {
        let (name, kind) = column(name)?;
        Some(KeyColumn { name, kind })
    });
    columns.collect()
}

/// Asks the remote about the meters that the plan deactivates because they are missing. Fails only if the local
/// connection does.
pub(super) async fn find(
    run: &RunContext<'_>,
    remote: EndedTx<'_>,
) -> Result<MissingMeters, DbError> {
    let relations = run.relations;
    let columns = key_columns(relations).filter(|columns| !columns.is_empty());
    let (Some(columns), Some(table)) = (columns, relations.all_columns.remote_relation) else {
        return Ok(MissingMeters::default());
    };
    let keys = possible_keys(&columns, list_keys(run).await?);
    if keys.is_empty() {
        return Ok(MissingMeters::default());
    }
    let sql = question(run, &columns, &keys, table);
    let limit = LIMIT.min(run.job.limits.statement_timeout);
    match remote.ask(&sql, !relations.is_remote_plain, limit).await {
        Ok(rows) => answered(run, keys, &rows).await,
        Err(error) => {
            tracing::info!(%error, "the remote was asked where missing meters went, and gave no answer");
            Ok(MissingMeters::default())
        }
    }
}

/// Lists the keys of the first meters that the plan deactivates because they are missing. Empty if a key cannot be
/// read, because of its encoding.
async fn list_keys(run: &RunContext<'_>) -> Result<Vec<Vec<String>>, DbError> {
    let key = &run.relations.key;
    let listed = quote::list(key, ", ", |name| {
        format!("{}::text", run.relations.column("p", name))
    });
    let sql = format!(
        "-- list the keys of missing meters
select {listed} from pg_temp.meter_sync_plan p where p.action operator(pg_catalog.=) 'deactivate'
order by p.n limit {MOST_METERS}"
    );
    let listing = run.local.query(&sql, &[]);
    let is_undone = |error: &DbError| !error.ends_the_connection();
    let listed = run.local.undo_if("missing_keys", is_undone, listing);
    let rows = listed.await?.unwrap_or_default();
    let parts = |row: &Row| {
        let parts = (0..row.len()).map(|n| row.try_get(n).ok());
        parts.collect::<Option<Vec<String>>>()
    };
    let keys: Option<Vec<Vec<String>>> = rows.iter().map(parts).collect();
    Ok(keys.unwrap_or_default())
}

/// Leaves out keys that no remote row can have, and those that would make the statement too long.
fn possible_keys(columns: &[KeyColumn<'_>], keys: Vec<Vec<String>>) -> Vec<Vec<String>> {
    let is_possible = |key: &Vec<String>| {
        let mut parts = columns.iter().zip(key);
        parts.all(|(column, part)| column.kind.is_possible(part))
    };
    let mut bytes = 0;
    let keys = keys.into_iter().filter(is_possible);
    keys.take_while(|key| {
        bytes += key.iter().map(String::len).sum::<usize>();
        bytes <= MOST_BYTES
    })
    .collect()
}

/// Returns the statement that looks the keys up. Its rows have, for the numbers of all keys that were found alike:
///
/// - whether no two rows of the remote table can have the same key,
/// - whether row security may hide rows from the role,
/// - how many rows have the key, whether one of them is the tenant's, and of which tenant they are,
/// - the numbers of the keys.
fn question(
    run: &RunContext<'_>,
    columns: &[KeyColumn<'_>],
    keys: &[Vec<String>],
    table: u32,
) -> String {
    let relations = run.relations;
    let names: Vec<String> = columns
        .iter()
        .map(|column| column.name.to_owned())
        .collect();
    let lists = (0..).zip(columns).map(|(place, column)| {
        let parts = keys.iter().filter_map(|key| key.get(place));
        let list = array(parts);
        format!(
            "pg_catalog.unnest({list}::pg_catalog.{}[])",
            column.kind.sql_type()
        )
    });
    let lists = lists.collect::<Vec<_>>().join(", ");
    let numbers = (1..=columns.len()).map(|n| format!("k{n}"));
    let numbered = numbers.collect::<Vec<_>>().join(", ");
    let same_key = (1..).zip(columns).map(|(place, column)| {
        let column = relations.column("r", column.name);
        format!("{column} operator(pg_catalog.=) k.k{place}")
    });
    let same_key = same_key.collect::<Vec<_>>().join(" and ");
    let first = columns.first().map_or("", |column| column.name);
    let foreign = relations.may_be_foreign;
    format!(
        "-- ask where missing meters went
with asked as materialized (
    select k.* from rows from ({lists}) with ordinality k ({numbered}, n)
), found as materialized (
    select k.n, pg_catalog.count({first}) as rows, pg_catalog.min({tenant}::text) as tenant,
           coalesce(pg_catalog.bool_or({own}), false) as is_own
    from asked k left join {from} r on {same_key}
    group by k.n
), facts as materialized (
    select {foreign} or pg_catalog.row_security_active({table}::pg_catalog.oid) as may_be_hidden, {is_unique} as is_unique
)
select t.is_unique, t.may_be_hidden, f.rows, f.is_own, f.tenant, pg_catalog.string_agg(f.n::text, ',')
from found f cross join facts t
group by t.is_unique, t.may_be_hidden, f.rows, f.is_own, f.tenant",
        first = relations.column("r", first),
        tenant = relations.column("r", &relations.remote_tenant.name),
        own = run.scope.remote_filter,
        from = relations.remote_from,
        is_unique = has_unique_index(table, &names),
    )
}

/// SQL condition: whether a unique index of the table has no other columns than these. The tenant's id is none of them,
/// so a key then stands for the same meter in whatever tenant.
fn has_unique_index(table: u32, names: &[String]) -> String {
    let names = array(names);
    format!(
        "exists (
        select from pg_catalog.pg_index i
        where i.indrelid operator(pg_catalog.=) {table}::pg_catalog.oid and i.indisunique and i.indisvalid
          and i.indpred is null and i.indexprs is null and not exists (
            select from pg_catalog.generate_series(0, i.indnkeyatts operator(pg_catalog.-) 1) p(place)
            join pg_catalog.pg_attribute a on a.attrelid operator(pg_catalog.=) i.indrelid
                and a.attnum operator(pg_catalog.=) i.indkey[p.place]
            where a.attname::text operator(pg_catalog.<>) all ({names}::pg_catalog.text[])))"
    )
}

/// SQL: a literal for an array of these texts.
fn array<'t>(texts: impl IntoIterator<Item = &'t String>) -> String {
    let escaped = |text: &String| {
        let text = text.replace('\\', "\\\\").replace('"', "\\\"");
        format!("\"{text}\"")
    };
    let texts: Vec<String> = texts.into_iter().map(escaped).collect();
    quote::literal(&format!("{{{}}}", texts.join(",")))
}

/// Reads the answer of the remote. The ids of tenants get a form that the local database can store.
async fn answered(
    run: &RunContext<'_>,
    keys: Vec<Vec<String>>,
    rows: &[SimpleQueryRow],
) -> Result<MissingMeters, DbError> {
    let mut found = BTreeMap::new();
    for row in rows {
        let mut destination = destination(row);
        if let Some(id) = &destination.tenant_id {
            destination.tenant_id = Some(run.local.storable(id).await?.into_owned());
        }
        let numbers = row.get(5).unwrap_or_default().split(',');
        let numbers = numbers.filter_map(|n| n.parse::<usize>().ok());
        found.extend(numbers.map(|n| (n, destination.clone())));
    }
    let destinations = (1..=keys.len()).map(|n| found.remove(&n).unwrap_or_else(unclear));
    Ok(MissingMeters {
        destinations: destinations.collect(),
        keys,
    })
}

fn unclear() -> MeterDestination {
    MeterDestination {
        place: GonePlace::Unclear,
        tenant_id: None,
    }
}

/// Reads from a row of the answer where the meters went whose keys it names.
fn destination(row: &SimpleQueryRow) -> MeterDestination {
    let is_true = |place| row.get(place) == Some("t");
    let (is_unique, may_be_hidden, is_own) = (is_true(0), is_true(1), is_true(3));
    match (row.get(2), row.get(4)) {
        (Some("0"), _) if may_be_hidden => MeterDestination {
            place: GonePlace::DeletedOrHidden,
            tenant_id: None,
        },
        (Some("0"), _) => MeterDestination {
            place: GonePlace::Deleted,
            tenant_id: None,
        },
        (Some("1"), Some(tenant)) if is_unique && !is_own => MeterDestination {
            place: GonePlace::AnotherTenant,
            tenant_id: Some(tenant.to_owned()),
        },
        _ => unclear(),
    }
}

impl MissingMeters {
    /// Counts the meters by where they went; empty if the remote gave no answer.
    pub(super) fn count(&self) -> Vec<GoneMeters> {
        GoneMeters::count(&self.destinations)
    }

    /// Whether it is known of a meter where it went.
    pub(super) fn is_known(&self) -> bool {
        let is_known = |to: &MeterDestination| to.place != GonePlace::Unclear;
        self.destinations.iter().any(is_known)
    }

    /// Creates the temporary table `meter_sync_gone`, if it is known of a meter where it went: the numbers of these
    /// meters in the plan, and where they went.
    pub(super) async fn keep(&self, run: &RunContext<'_>) -> Result<(), DbError> {
        if !self.is_known() {
            return Ok(());
        }
        let key = &run.relations.key;
        let lists = (0..key.len()).map(|place| {
            let parts = self.keys.iter().filter_map(|key| key.get(place));
            format!("pg_catalog.unnest({}::pg_catalog.text[])", array(parts))
        });
        let lists = lists.collect::<Vec<_>>().join(", ");
        let names = quote::list(key, ", ", |name| run.relations.temp_column(name));
        let same_key = quote::list(key, " and ", |name| {
            let here = run.relations.column("p", name);
            let listed = run.relations.column("k", name);
            format!("{here}::text operator(pg_catalog.=) {listed}")
        });
        let stored: Vec<String> = self
            .destinations
            .iter()
            .map(MeterDestination::stored)
            .collect();
        let sql = format!(
            "-- keep where missing meters went
create temp table meter_sync_gone on commit drop as
select p.n, k.gone_to
from rows from ({lists}, pg_catalog.unnest({}::pg_catalog.text[])) k ({names}, gone_to)
join pg_temp.meter_sync_plan p on {same_key}
where p.action operator(pg_catalog.=) 'deactivate' and k.gone_to operator(pg_catalog.<>) '{}'",
            array(&stored),
            GonePlace::Unclear
        );
        run.local.batch(&sql).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_keys_are_asked_for_that_the_remote_can_have_and_write_in_one_way() {
        for (there, here, key, is_asked) in [
            ("bigint", "character varying", "7", true),
            ("bigint", "character varying", "007", false),
            ("bigint", "character varying", "x'); drop", false),
            ("integer", "bigint", "-7", true),
            ("uuid", "text", "0190c2f1-7a00-7000-8000-000000000001", true),
            (
                "uuid",
                "text",
                "0190C2F1-7A00-7000-8000-000000000001",
                false,
            ),
            ("text", "text", "a,\"b\"", true),
        ] {
            let kind = KeyKind::of(there, here).expect("a kind");
            assert_eq!(kind.is_possible(key), is_asked, "{there} {here} {key}");
        }
        for (there, here) in [("text", "bigint"), ("timestamp with time zone", "text")] {
            assert!(KeyKind::of(there, here).is_none(), "{there} {here}");
        }
    }

    #[test]
    fn a_key_of_any_characters_is_quoted() {
        let keys = ["a,b", "it's", "\"q\"", "back\\slash", "NULL", ""].map(str::to_owned);
        assert_eq!(
            array(&keys),
            r#" E'{"a,b","it''s","\\"q\\"","back\\\\slash","NULL",""}'"#
        );
    }
}
