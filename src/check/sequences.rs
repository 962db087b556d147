//! Checks the sequences that provide keys for the local table. If a sequence will next return a key that a sync has
//! already inserted, inserts by other programs fail.

use super::connections::ConnectionWithReport;
use super::{Finding, Verdict};
use crate::db::catalog::{self, Column};
use crate::db::{DbError, Local, Tx, param, quote};
use crate::engine::Relations;

/// Returns a finding for each sequence that fills a synced number column, as an identity column or by a `nextval`
/// default.
pub(super) async fn findings(
    local: &mut ConnectionWithReport<Local>,
    relations: &Relations,
) -> Vec<Finding> {
    match look(local, relations).await {
        Ok(findings) => findings,
        Err(error) => vec![Finding::new("sequences", Verdict::Failed(error.failure()))],
    }
}

async fn look(
    local: &mut ConnectionWithReport<Local>,
    relations: &Relations,
) -> Result<Vec<Finding>, DbError> {
    let tx = local.begin_read_only().await?;
    let mut findings = Vec::new();
    for sequence in sequences(&tx, relations).await? {
        let subject = format!("sequence of {}", quote::where_needed(&sequence.column));
        let verdict = compared(&tx, &sequence, relations).await?;
        findings.push(Finding::new(&subject, verdict));
    }
    Ok(findings)
}

/// A sequence that gives a column of the local table its default values.
struct Sequence {
    oid: u32,
    /// The column that takes its values from the sequence.
    column: String,
    /// The schema and name of the sequence, quoted where needed.
    name: String,
    increment: i64,
    /// The value at which the sequence starts.
    start: i64,
    /// Whether the role may read the sequence.
    is_readable: bool,
    /// Whether the role may call `pg_sequence_last_value` for the sequence.
    is_usable: bool,
}

impl Sequence {
    /// Returns a query for the next value of the sequence. Its result is NULL if the role's privileges do not show that
    /// value.
    fn next(&self) -> String {
        let Self {
            oid,
            name,
            increment,
            ..
        } = self;
        match (self.is_readable, self.is_usable) {
            (true, _) => format!(
                "select q.last_value::pg_catalog.numeric operator(pg_catalog.+)
             case when q.is_called then ({increment})::pg_catalog.numeric else 0::pg_catalog.numeric end
      from {name} q"
            ),
            (false, true) => format!(
                "select pg_catalog.pg_sequence_last_value('{oid}'::pg_catalog.regclass)::pg_catalog.numeric
             operator(pg_catalog.+) ({increment})::pg_catalog.numeric"
            ),
            (false, false) => "select null::pg_catalog.numeric".to_owned(),
        }
    }
}

const SEQUENCES: &str = r"-- look for the sequences of the synced columns
select a.attname::text, n.nspname::text, s.relname::text, q.seqincrement, has_sequence_privilege(s.oid, 'select'),
       has_sequence_privilege(s.oid, 'usage'), s.oid, q.seqstart
from pg_catalog.pg_attribute a
cross join lateral (
    select d.objid
    from pg_catalog.pg_depend d
    where d.classid = 'pg_catalog.pg_class'::regclass and d.refclassid = 'pg_catalog.pg_class'::regclass
      and d.refobjid = a.attrelid and d.refobjsubid = a.attnum and d.deptype = 'i'
    union
    select d.refobjid
    from pg_catalog.pg_attrdef f
    join pg_catalog.pg_depend d on d.classid = 'pg_catalog.pg_attrdef'::regclass and d.objid = f.oid
        and d.refclassid = 'pg_catalog.pg_class'::regclass
    where f.adrelid = a.attrelid and f.adnum = a.attnum
      and pg_get_expr(f.adbin, f.adrelid) ~ '^nextval\(''.*''::regclass\)(::[a-z]+)?$'
) of (oid)
join pg_catalog.pg_class s on s.oid = of.oid and s.relkind = 'S'
join pg_catalog.pg_namespace n on n.oid = s.relnamespace
join pg_catalog.pg_sequence q on q.seqrelid = s.oid
where a.attrelid = $1 and a.attname = any ($2) and a.attnum > 0 and not a.attisdropped
order by a.attnum, s.oid";

async fn sequences(tx: &Tx<'_, Local>, relations: &Relations) -> Result<Vec<Sequence>, DbError> {
    let is_number = |column: &&Column| {
        ["smallint", "integer", "bigint", "numeric"].contains(&column.base_type.as_str())
    };
    let numbers = relations.columns.iter().filter(is_number);
    let names: Vec<String> = numbers.map(|column| column.name.clone()).collect();
    let Some(table) = catalog::find(tx, &relations.local).await? else {
        return Ok(Vec::new());
    };
    let params = [param::oid(table.oid), param::texts(&names)];
    let rows = tx.query(SEQUENCES, &params).await?;
    let sequence = |row: &tokio_postgres::Row| Sequence {
        column: row.get(0),
        name: format!(
            "{}.{}",
            quote::where_needed(row.get(1)),
            quote::where_needed(row.get(2))
        ),
        increment: row.get(3),
        is_readable: row.get(4),
        is_usable: row.get(5),
        oid: row.get(6),
        start: row.get(7),
    };
    Ok(rows.iter().map(sequence).collect())
}

/// Warns if the next value of the sequence is not beyond all keys in the table. If the role cannot see the next value,
/// uses the start value of the sequence instead: the keys come from the remote, so most likely the sequence was never
/// used.
async fn compared(
    tx: &Tx<'_, Local>,
    sequence: &Sequence,
    relations: &Relations,
) -> Result<Verdict, DbError> {
    // Row security may run code of the table's owner, which needs the role's `search_path`.
    tx.use_role_path().await?;
    let Sequence {
        name,
        increment,
        start,
        ..
    } = sequence;
    let (last, trails) = match *increment > 0 {
        true => ("max", "<="),
        false => ("min", ">="),
    };
    let column = quote::identifier(&sequence.column);
    let table = &relations.local;
    let row = tx
        .query_one(
            &format!(
                "-- compare a sequence with the keys
select next.value::pg_catalog.text, keys.value::pg_catalog.text,
       coalesce(next.value, ({start})::pg_catalog.numeric) operator(pg_catalog.{trails}) keys.value
from ({next}) next (value)
cross join (select pg_catalog.{last}(l.{column}::pg_catalog.numeric) from {table} l) keys (value)",
                next = sequence.next()
            ),
            &[],
        )
        .await?;
    let (next, key): (Option<String>, Option<String>) = (row.get(0), row.get(1));
    let (named, key) = (
        quote::where_needed(&sequence.column),
        key.unwrap_or_default(),
    );
    let trails = row.get::<_, Option<bool>>(2) == Some(true);
    Ok(match (next, trails) {
        (Some(next), false) => {
            Verdict::Ok(format!("{name} gives {next} next, which no {named} has"))
        }
        (None, false) => Verdict::Ok(format!("{name} starts at {start}, which no {named} has")),
        (Some(next), true) => Verdict::Warning(format!(
            "{name} gives {next} next and the {last} of {named} is {key}, so a row that the site inserts itself gets a key that is taken. \
             select setval({literal}, (select {last}({named})::bigint from {table}))",
            literal = quote::literal(name)
        )),
        (None, true) => Verdict::Warning(format!(
            "{name} starts at {start} and the {last} of {named} is {key}; the role may not look at it, so whether it trails behind the keys is not known, \
             and a row that the site inserts itself may get a key that is taken. \
             To have it looked at: grant select on sequence {name} to <role>, where <role> is the user of METER_SYNC_LOCAL_URL"
        )),
    })
}
