//! Writes what the model says to the databases, but only the rows that differ from before: the remote's by one
//! statement each.

use serde_json::Value;
use tokio_postgres::Client;
use tokio_postgres::types::ToSql;

use super::model::{RemoteMeter, Rows};
use super::site_kinds::Kind;
use super::unique_numbers;

/// Makes the remote rows `after` of what they were before, one statement for each row that differs.
pub(super) async fn remote(
    client: &Client,
    kind: &Kind,
    (before, after): (&[RemoteMeter], &[RemoteMeter]),
) {
    let mut gone = before.to_vec();
    let is_new = |row: &&RemoteMeter| {
        let same = gone.iter().position(|old| old == *row);
        same.map(|n| gone.swap_remove(n)).is_none()
    };
    let new: Vec<&RemoteMeter> = after.iter().filter(is_new).collect();
    for row in new {
        match gone.iter().position(|old| old.key == row.key) {
            Some(n) => update(client, kind, (&gone.swap_remove(n), row)).await,
            None => insert(client, kind, row).await,
        }
    }
    for row in &gone {
        delete(client, kind, row).await;
    }
}

/// Makes the local rows `after` of what they were before; nobody else's hand is on them.
pub(super) async fn local(client: &Client, kind: &Kind, (before, after): (&Rows, &Rows)) {
    let gone: Vec<&String> = before
        .keys()
        .filter(|id| !after.contains_key(*id))
        .collect();
    let delete = "delete from meter where id::text = any($1)";
    let deleted = client.execute(delete, &[&gone]).await;
    deleted.expect("delete a meter");
    let changed = after
        .iter()
        .filter(|(id, row)| before.get(*id) != Some(*row));
    let changed: Value = changed.map(|(_, row)| row.clone()).collect();
    let Kind {
        ids: [_, id],
        name,
        number,
        note,
        ..
    } = kind;
    let write = format!(
        "insert into meter (id, tenant_id, {name}, {number}, active, {note})
         select id::{id}, tenant_id, name, number, active, site_note from jsonb_to_recordset($1)
             as x (id text, tenant_id bigint, name text, number text, active boolean, site_note text)
         on conflict (id) do update set tenant_id = excluded.tenant_id, {name} = excluded.{name},
             {number} = excluded.{number}, active = excluded.active, {note} = excluded.{note}"
    );
    let written = client.execute(&write, &[&changed]).await;
    written.expect("write a meter");
}

/// A reading refers to a meter, unless one does already.
pub(super) async fn reading(client: &Client, kind: &Kind, key: u8) {
    let sql = format!(
        "insert into reading (meter, number) select id, {} from meter where id::text = $1 on conflict do nothing",
        kind.number
    );
    let written = client.execute(&sql, &[&key.to_string()]).await;
    written.expect("write a reading");
}

async fn insert(client: &Client, kind: &Kind, row: &RemoteMeter) {
    let Kind { name, number, .. } = kind;
    let sql = format!(
        "insert into meter (id, tenant_id, {name}, {number}, active) values ($1::bigint, $2, $3, $4, $5)"
    );
    execute(client, &sql, &Values::of(row).params()).await;
}

async fn update(client: &Client, kind: &Kind, (old, new): (&RemoteMeter, &RemoteMeter)) {
    let Kind { name, number, .. } = kind;
    let sql = format!(
        "update meter set id = $6::bigint, tenant_id = $7, {name} = $8, {number} = $9, active = $10 where {}",
        one(kind)
    );
    let (old, new) = (Values::of(old), Values::of(new));
    execute(client, &sql, &[old.params(), new.params()].concat()).await;
}

async fn delete(client: &Client, kind: &Kind, row: &RemoteMeter) {
    let sql = format!("delete from meter where {}", one(kind));
    execute(client, &sql, &Values::of(row).params()).await;
}

/// One row of these values; there may be several, as the remote has no key.
fn one(Kind { name, number, .. }: &Kind) -> String {
    format!(
        "ctid = (select ctid from meter where id is not distinct from $1::bigint and tenant_id = $2
             and {name} is not distinct from $3 and {number} is not distinct from $4 and active = $5 limit 1)"
    )
}

/// A remote row as it is sent.
struct Values {
    id: Option<i64>,
    tenant: i64,
    name: Option<&'static str>,
    number: Option<String>,
    active: bool,
}

impl Values {
    fn of(row: &RemoteMeter) -> Self {
        Self {
            id: row.key.map(i64::from),
            tenant: row.tenant,
            name: row.name.text(),
            number: unique_numbers::text(row.number),
            active: row.active,
        }
    }

    fn params(&self) -> [&(dyn ToSql + Sync); 5] {
        [
            &self.id,
            &self.tenant,
            &self.name,
            &self.number,
            &self.active,
        ]
    }
}

async fn execute(client: &Client, sql: &str, values: &[&(dyn ToSql + Sync)]) {
    let written = client.execute(sql, values).await;
    let written = written.unwrap_or_else(|error| panic!("{sql}: {error:?}"));
    assert_eq!(written, 1, "{sql}");
}
