//! Checks the triggers, rules, policies and publications in the local database, because they can refuse or change what
//! a sync writes.

use tokio_postgres::Row;

use super::connections::ConnectionWithReport;
use super::{Finding, Verdict, publications};
use crate::config::Mapping;
use crate::db::catalog::{self, Relation};
use crate::db::table_family_sql::family;
use crate::db::{DbError, Local, Tx, param};
use crate::engine::SyncError;

/// Returns findings about what can affect the writes of a sync: `session_replication_role`, publications, row security,
/// rules, triggers and event triggers. Empty if there is nothing of the kind.
pub(super) async fn of(local: &mut ConnectionWithReport<Local>, mapping: &Mapping) -> Vec<Finding> {
    let looked = async {
        let tx = local.begin_read_only().await?;
        let mut found: Vec<Finding> = replication_role(&tx).await?.into_iter().collect();
        if let Some(table) = catalog::find(&tx, &mapping.local_table).await? {
            found.extend(publications::findings(&tx, &table).await?);
            found.extend(row_security(&tx, &table).await?);
            found.extend(rules(&tx, &table).await?);
            found.extend(triggers(&tx, &table).await?);
        }
        found.extend(event_triggers(&tx).await?);
        Ok(found)
    };
    let looked: Result<_, DbError> = looked.await;
    match looked {
        Ok(found) => found,
        Err(error) => vec![Finding::of("local publications", Err(error))],
    }
}

const REPLICATION_ROLE: &str = "\
-- look whether the role fires triggers by itself
select from pg_catalog.pg_settings s where s.name = 'session_replication_role' and s.reset_val = 'replica'";

/// Checks whether `session_replication_role` turns off triggers and foreign keys for our role. A sync turns them on
/// again; the check fails if the role may not do that. `None` if they are on.
async fn replication_role(tx: &Tx<'_, Local>) -> Result<Option<Finding>, DbError> {
    let is_set = tx.query_opt(REPLICATION_ROLE, &[]).await?.is_some();
    let verdict = match (tx.is_replica(), is_set) {
        (true, _) => Verdict::Failed(SyncError::TriggersDisabled.failure()),
        (false, true) => Verdict::Ok(
            "session_replication_role is replica for the role; a sync sets it to origin, so that triggers and foreign keys work".to_owned(),
        ),
        (false, false) => return Ok(None),
    };
    Ok(Some(Finding::new("local replication role", verdict)))
}

/// SQL: returns one row if row security applies to our role, otherwise no row. The row lists the commands (select,
/// insert, update) that no policy permits.
const POLICIES: &str = "\
-- look for policies that hold for our role
select array(
    select c.word from unnest(array['r', 'a', 'w']::\"char\"[], array['see', 'insert', 'update']) c (letter, word)
    where not exists (
        select from pg_catalog.pg_policy p
        where p.polrelid = $1 and p.polpermissive and p.polcmd in ('*', c.letter)
          and exists (select from unnest(p.polroles) r (oid)
                      where case r.oid when 0 then true else pg_has_role(r.oid, 'usage') end)))
where row_security_active($1)";

/// Warns if row security applies to the role, because policies may hide rows from a sync or prevent it from writing
/// them. `None` if it does not apply.
async fn row_security(tx: &Tx<'_, Local>, table: &Relation) -> Result<Option<Finding>, DbError> {
    let Some(row) = tx.query_opt(POLICIES, &[param::oid(table.oid)]).await? else {
        return Ok(None);
    };
    let lacking: Vec<String> = row.get(0);
    let text = match lacking.is_empty() {
        true => "its policies apply to the sync's role. A meter that they do not let it see, insert or update is rejected."
            .to_owned(),
        false => format!(
            "no policy lets the sync's role {} rows, and such meters are rejected. As the table's owner: create a policy for them, or give the role bypassrls.",
            lacking.join(" or ")
        ),
    };
    let text = format!("{}: {text}", table.shown());
    Ok(Some(Finding::new(
        "local row security",
        Verdict::Warning(text),
    )))
}

const RULES: &str = "\
-- look for rules on writes
select r.rulename::text from pg_catalog.pg_rewrite r
where r.ev_class = $1 and r.ev_type in ('2', '3') and r.ev_enabled in ('O', 'A')
order by 1";

/// Warns about rules on the table, because a rule replaces the statement of a sync with another one. `None` if there
/// are none.
async fn rules(tx: &Tx<'_, Local>, table: &Relation) -> Result<Option<Finding>, DbError> {
    let rows = tx.query(RULES, &[param::oid(table.oid)]).await?;
    if rows.is_empty() {
        return Ok(None);
    }
    let names: Vec<String> = rows.iter().map(|row| row.get(0)).collect();
    let text = format!(
        "{}: rules that rewrite inserts or updates: {}. A meter that is not in the table afterwards is rejected. Use a trigger instead.",
        table.shown(),
        names.join(", ")
    );
    let verdict = Verdict::Warning(text);
    Ok(Some(Finding::new("local rules", verdict)))
}

const TRIGGERS: &str = concat!(
    "-- look for triggers on writes",
    family!(),
    "
select distinct g.tgname::text, p.proname::text
from family f join pg_catalog.pg_trigger g on g.tgrelid = f.oid
join pg_catalog.pg_proc p on p.oid = g.tgfoid
where not g.tgisinternal and g.tgenabled in ('O', 'A') and g.tgtype & 20 <> 0
order by 1, 2"
);

/// Lists the triggers on the table, because they may change or refuse what a sync writes. `None` if there are none.
async fn triggers(tx: &Tx<'_, Local>, table: &Relation) -> Result<Option<Finding>, DbError> {
    let rows = tx.query(TRIGGERS, &[param::oid(table.oid)]).await?;
    if rows.is_empty() {
        return Ok(None);
    }
    let text = format!(
        "{}. A meter that one refuses is rejected; a column that one changes is written by each sync, which warns of it.",
        describe_triggers(&rows)
    );
    Ok(Some(Finding::new("local triggers", Verdict::Ok(text))))
}

/// Formats triggers with the functions that they call, such as `audit (function log_change)`. Each row has both names.
fn describe_triggers(rows: &[Row]) -> String {
    let names = rows.iter().map(|row| {
        let (trigger, function): (String, String) = (row.get(0), row.get(1));
        format!("{trigger} (function {function})")
    });
    names.collect::<Vec<_>>().join(", ")
}

const EVENT_TRIGGERS: &str = "\
-- look for event triggers that a sync fires
select e.evtname::text, p.proname::text
from pg_catalog.pg_event_trigger e join pg_catalog.pg_proc p on p.oid = e.evtfoid
where e.evtenabled in ('O', 'A') and e.evtevent in ('ddl_command_start', 'ddl_command_end', 'sql_drop')
  and (e.evttags is null
       or e.evttags && array['DROP TABLE', 'DROP VIEW']
       or e.evttags && array['CREATE TABLE', 'CREATE TABLE AS', 'CREATE INDEX', 'CREATE VIEW'] and e.evtevent <> 'sql_drop')
  and not exists (
    select from pg_catalog.pg_depend d join pg_catalog.pg_extension x on x.oid = d.refobjid
    where d.classid = 'pg_catalog.pg_proc'::regclass and d.objid = p.oid and d.deptype = 'e'
      and d.refclassid = 'pg_catalog.pg_extension'::regclass and x.extname = 'citus')
order by 1";

/// Warns about event triggers, because they may refuse the temporary tables and views that a sync creates. `None` if
/// there are none but those of Citus, which let them pass.
async fn event_triggers(tx: &Tx<'_, Local>) -> Result<Option<Finding>, DbError> {
    let rows = tx.query(EVENT_TRIGGERS, &[]).await?;
    if rows.is_empty() {
        return Ok(None);
    }
    let text = format!(
        "{}: called when a sync makes or drops its temporary tables and views. If it refuses that, let those of the sync's role pass.",
        describe_triggers(&rows)
    );
    let verdict = Verdict::Warning(text);
    Ok(Some(Finding::new("local event triggers", verdict)))
}
