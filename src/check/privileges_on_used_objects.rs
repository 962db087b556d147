//! Checks the privileges on objects that the local table needs when its rows are read and written: functions,
//! sequences, and tables that its policies read. Our role needs a separate grant for each of them.
//!
//! Objects that a policy of the remote table needs are not checked here. If our role may not use one, the check that
//! counts the remote rows fails.

use super::connections::ConnectionWithReport;
use super::{Finding, Verdict};
use crate::db::table_family_sql::family;
use crate::db::{DbError, Local, param};
use crate::engine::Relations;
use crate::error::{ErrorCode, Failure};

/// Returns a failed finding that names those functions, sequences and tables which the local table's defaults, checks,
/// indexes, generated columns and policies use, but our role may not. `None` if it may use all of them.
pub(super) async fn finding(
    local: &mut ConnectionWithReport<Local>,
    relations: &Relations,
) -> Option<Finding> {
    let looked = look(local, relations).await.transpose()?;
    Some(Finding::of("local functions", looked))
}

/// SQL: lists the missing privileges on objects that the following parts of the table use:
///
/// - defaults of columns that a sync does not write, of the local table only
/// - checks, indexes and generated columns, also of its partitions and of the tables that inherit from it
/// - policies that apply to our role and to the commands of a sync, of the local table only
///
/// Functions that come with Postgres are left out, because they have no rows in `pg_depend`. For a generated column,
/// the query also reads the dependencies of the column itself, because servers before version 15 record them there and
/// not with its expression.
const REFUSED: &str = concat!(
    "-- look for functions, sequences and tables that we may not use",
    family!(),
    ", used (what, class, oid, part) as (
    select case a.attgenerated when '' then 'the default of column ' else 'generated column ' end || a.attname::text,
           e.class, e.oid, e.part
    from pg_catalog.pg_attrdef f
    join pg_catalog.pg_attribute a on a.attrelid = f.adrelid and a.attnum = f.adnum
    cross join lateral (values ('pg_catalog.pg_attrdef'::regclass::oid, f.oid, 0),
                               ('pg_catalog.pg_class'::regclass::oid, f.adrelid, f.adnum::integer)) e (class, oid, part)
    where case a.attgenerated when '' then f.adrelid = $1 and e.part = 0 and a.attname::text <> all ($2)
               else f.adrelid in (select m.oid from family m) end
    union all
    select 'constraint ' || c.conname::text, 'pg_catalog.pg_constraint'::regclass::oid, c.oid, 0
    from pg_catalog.pg_constraint c where c.contype = 'c' and c.conrelid in (select m.oid from family m)
    union all
    select 'index ' || c.relname::text, 'pg_catalog.pg_class'::regclass::oid, c.oid, 0
    from pg_catalog.pg_index i join pg_catalog.pg_class c on c.oid = i.indexrelid
    where i.indrelid in (select m.oid from family m)
    union all
    select 'policy ' || p.polname::text, 'pg_catalog.pg_policy'::regclass::oid, p.oid, 0
    from pg_catalog.pg_policy p
    where p.polrelid = $1 and p.polcmd <> 'd' and row_security_active($1)
      and exists (select from unnest(p.polroles) r (oid)
                  where case r.oid when 0 then true else pg_has_role(r.oid, 'usage') end)
), needed as (
    select u.what, u.class, d.refclassid, coalesce(o.oprcode::oid, d.refobjid) as oid, d.refobjsubid as part,
           o.oid is not null as is_operator
    from used u
    join pg_catalog.pg_depend d on d.classid = u.class and d.objid = u.oid and d.objsubid = u.part
    left join pg_catalog.pg_operator o on d.refclassid = 'pg_catalog.pg_operator'::regclass and o.oid = d.refobjid
)
select 'execute on function ' || p.oid::regprocedure::text as lacking, min(n.what)
from needed n join pg_catalog.pg_proc p on p.oid = n.oid
where (n.is_operator or n.refclassid = 'pg_catalog.pg_proc'::regclass) and not has_function_privilege(p.oid, 'execute')
group by 1
union all
select format('usage on sequence %I.%I', s.nspname, c.relname), min(n.what)
from needed n
join pg_catalog.pg_class c on c.oid = n.oid
join pg_catalog.pg_namespace s on s.oid = c.relnamespace
where n.refclassid = 'pg_catalog.pg_class'::regclass
  and case c.relkind when 'S' then not has_sequence_privilege(c.oid, 'usage, update') end
group by 1
union all
select format('select on table %I.%I', s.nspname, c.relname), min(n.what)
from needed n
join pg_catalog.pg_class c on c.oid = n.oid
join pg_catalog.pg_namespace s on s.oid = c.relnamespace
where n.class = 'pg_catalog.pg_policy'::regclass and n.refclassid = 'pg_catalog.pg_class'::regclass
  and c.oid <> $1 and c.relkind <> 'S'
  and case n.part when 0 then not has_any_column_privilege(c.oid, 'select')
                  else not has_column_privilege(c.oid, n.part::smallint, 'select') end
group by 1
order by 1"
);

async fn look(
    local: &mut ConnectionWithReport<Local>,
    relations: &Relations,
) -> Result<Option<Verdict>, DbError> {
    let tx = local.begin_read_only().await?;
    let params = [
        param::oid(relations.local_oid),
        param::texts(&relations.names),
    ];
    let rows = tx.query(REFUSED, &params).await?;
    if rows.is_empty() {
        return Ok(None);
    }
    let lacking = rows.iter().map(|row| (row.get(0), row.get(1)));
    let lacking: Vec<(String, String)> = lacking.collect();
    let told = lacking
        .iter()
        .map(|(right, what)| format!("{right} ({what} needs it)"));
    let message = format!(
        "The local role lacks {}, so rows cannot be read or written.",
        told.collect::<Vec<_>>().join(", ")
    );
    let grants = lacking
        .iter()
        .map(|(right, _)| format!("grant {right} to <role>"));
    let remedy = format!(
        "As their owner: {}, where <role> is the user of METER_SYNC_LOCAL_URL.",
        grants.collect::<Vec<_>>().join("; ")
    );
    let failure = Failure::new(ErrorCode::LocalAuth, message).with_remedy(remedy);
    Ok(Some(Verdict::Failed(failure)))
}
