//! What a plan changes, old and new, as rows of `meter_sync_change`.

use uuid::Uuid;

use crate::db::{DbError, Local, Tx, param, quote};

use super::Shape;
use super::rejected::{self, Tried};

/// Records what will change, old and new, of the first `limit` rows of the plan. A value that `jsonb`
/// cannot hold must not keep the others from being synced, so it is then recorded as text.
pub(super) async fn changes(
    local: &Tx<'_, Local>,
    shape: &Shape,
    run_id: Uuid,
    limit: i64,
) -> Result<(), DbError> {
    let params = [param::uuid(run_id), param::bigint(limit)];
    let as_json = statement(shape, Form::Json);
    let tried = rejected::attempt(local, async {
        local
            .execute(&as_json, &params)
            .await
            .map(|_rows| Tried::Taken)
    });
    if let Tried::NotTaken(_) = tried.await? {
        local
            .execute(&statement(shape, Form::Text), &params)
            .await?;
    }
    Ok(())
}

/// Longer values are cut in the recorded changes, in characters; the meters have them whole.
const LONGEST_RECORDED: u32 = 10_000;

/// How a value is recorded.
#[derive(Clone, Copy, Debug)]
enum Form {
    /// As the JSON value nearest to it.
    Json,
    /// As its text, which JSON can hold whatever it is.
    Text,
}

fn recorded(column: &str, form: Form) -> String {
    let whole = match form {
        Form::Json => format!("to_jsonb({column})"),
        Form::Text => format!("to_jsonb({column}::text)"),
    };
    format!(
        "case when length({column}::text) > {LONGEST_RECORDED} \
         then to_jsonb(left({column}::text, {LONGEST_RECORDED}) || '…') else {whole} end"
    )
}

/// Records the changes of the first `$2` rows of the plan.
fn statement(shape: &Shape, form: Form) -> String {
    let Shape {
        local,
        local_filter,
        ..
    } = shape;
    let active = quote::literal(&shape.active);
    let key = shape.key_json("p");
    let local_row = shape.same_key("l", "p");
    let staged_row = shape.same_key("s", "p");
    let values = quote::list(shape.fields(), ",\n        ", |name| {
        let (here, there) = (
            format!("l.{}", quote::identifier(name)),
            format!("s.{}", quote::identifier(name)),
        );
        let (old, new) = (recorded(&here, form), recorded(&there, form));
        let name = quote::literal(name);
        format!("({name}, {old}, {new}, record_image_ne(row({here}), row({there})))")
    });
    format!(
        "-- record the changes
insert into meter_sync.meter_sync_change (run_id, n, action, key, before, after)
select $1, p.\"meter_sync n\", p.\"meter_sync action\", {key},
    case p.\"meter_sync action\" when 'insert' then '{{}}'::jsonb
        when 'deactivate' then jsonb_build_object({active}, true)
        else changed.before end,
    case p.\"meter_sync action\" when 'deactivate' then jsonb_build_object({active}, false)
        else changed.after end
from pg_temp.meter_sync_plan p
left join pg_temp.meter_sync_stage s on {staged_row}
left join {local} l on {local_row} and {local_filter}
cross join lateral (
    select coalesce(jsonb_object_agg(f.name, f.old) filter (where f.differs), '{{}}') as before,
           coalesce(jsonb_object_agg(f.name, f.new) filter (where f.differs), '{{}}') as after
    from (values
        {values}
    ) f(name, old, new, differs)
) changed
where p.\"meter_sync n\" <= $2"
    )
}
