//! Writes what the model says, but only the rows that differ from before: the remote's by one statement each.

use serde_json::Value;
use tokio_postgres::Client;
use tokio_postgres::types::ToSql;

use super::model::{Remote, Rows};
use super::sites::Kind;

/// Makes the remote rows `after` of what they were before, one statement for each row that differs.
pub(super) async fn remote(client: &Client, name: &str, (before, after): (&[Remote], &[Remote])) {
    let mut gone = before.to_vec();
    let is_new = |row: &&Remote| {
        let same = gone.iter().position(|old| old == *row);
        same.map(|n| gone.swap_remove(n)).is_none()
    };
    let new: Vec<&Remote> = after.iter().filter(is_new).collect();
    for row in new {
        match gone.iter().position(|old| old.key == row.key) {
            Some(n) => update(client, name, (&gone.swap_remove(n), row)).await,
            None => insert(client, name, row).await,
        }
    }
    for row in &gone {
        delete(client, name, row).await;
    }
}

/// Makes the local rows `after` of what they were before; nobody else's hand is on them.
pub(super) async fn local(client: &Client, kind: &Kind, (before, after): (&Rows, &Rows)) {
    let gone: Vec<&String> = before
        .keys()
        .filter(|id| !after.contains_key(*id))
        .collect();
    let delete = "delete from meter where id = any($1)";
    let deleted = client.execute(delete, &[&gone]).await;
    deleted.expect("delete a meter");
    let changed = after
        .iter()
        .filter(|(id, row)| before.get(*id) != Some(*row));
    let changed: Value = changed.map(|(_, row)| row.clone()).collect();
    let Kind { name, note, .. } = kind;
    let write = format!(
        "insert into meter (id, tenant_id, {name}, active, {note})
         select id, tenant_id, name, active, site_note from jsonb_to_recordset($1)
             as x (id text, tenant_id bigint, name text, active boolean, site_note text)
         on conflict (id) do update set tenant_id = excluded.tenant_id, {name} = excluded.{name},
             active = excluded.active, {note} = excluded.{note}"
    );
    let written = client.execute(&write, &[&changed]).await;
    written.expect("write a meter");
}

async fn insert(client: &Client, name: &str, row: &Remote) {
    let sql = format!("insert into meter (id, tenant_id, {name}, active) values ($1, $2, $3, $4)");
    execute(
        client,
        &sql,
        &[&id(row), &row.tenant, &row.name.text(), &row.active],
    )
    .await;
}

async fn update(client: &Client, name: &str, (old, new): (&Remote, &Remote)) {
    let sql = format!(
        "update meter set tenant_id = $5, {name} = $6, active = $7 where {}",
        one(name)
    );
    let [old_name, new_name] = [old.name.text(), new.name.text()];
    let values: [&(dyn ToSql + Sync); 7] = [
        &id(old),
        &old.tenant,
        &old_name,
        &old.active,
        &new.tenant,
        &new_name,
        &new.active,
    ];
    execute(client, &sql, &values).await;
}

async fn delete(client: &Client, name: &str, row: &Remote) {
    let sql = format!("delete from meter where {}", one(name));
    execute(
        client,
        &sql,
        &[&id(row), &row.tenant, &row.name.text(), &row.active],
    )
    .await;
}

/// One row of these values; there may be several, as the remote has no key.
fn one(name: &str) -> String {
    format!(
        "ctid = (select ctid from meter where id is not distinct from $1 and tenant_id = $2
             and {name} is not distinct from $3 and active = $4 limit 1)"
    )
}

fn id(row: &Remote) -> Option<i64> {
    row.key.map(i64::from)
}

async fn execute(client: &Client, sql: &str, values: &[&(dyn ToSql + Sync)]) {
    let written = client.execute(sql, values).await;
    let written = written.unwrap_or_else(|error| panic!("{sql}: {error:?}"));
    assert_eq!(written, 1, "{sql}");
}
