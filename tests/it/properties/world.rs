//! A real site beside its model: edits go to both, and what the databases hold is read back as text.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;

use meter_sync::mirrors::{RunApprovals, RunRequest};
use meter_sync::model::{DeactivationApproval, RunTrigger};
use meter_sync::reports::run_report::RunReport;
use tokio_postgres::Client;
use tokio_postgres::types::{ToSql, Type};

use super::edits::Edit;
use super::model::{Expected, Model, Row};
use super::table_shapes::{Column, Key, KeyColumn, Shape, TenantPlace, shape};
use super::value_kinds::Value;
use crate::support::site::{COUNT_WRITES, Site, finish};

/// A site of one shape and what it should hold.
pub(crate) struct World {
    pub(crate) site: Site,
    pub(crate) shape: Shape,
    pub(crate) model: Model,
}

/// A row as text: key, tenant where there is one, fields, active, note where there is one.
pub(crate) type Text = Vec<Option<String>>;

/// The worlds of a property, one a shape, emptied between cases.
#[derive(Default)]
pub(crate) struct Worlds(BTreeMap<usize, World>);

impl Worlds {
    /// An empty world of the shape.
    pub(crate) async fn empty(&mut self, shape: usize) -> &mut World {
        let world = match self.0.entry(shape) {
            Entry::Occupied(known) => known.into_mut(),
            Entry::Vacant(new) => new.insert(Box::pin(World::new(shape)).await),
        };
        world.reset().await;
        world
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Side {
    Remote,
    Local,
}

impl World {
    async fn new(number: usize) -> Self {
        let shape = shape(number);
        let site = Site::with_schemas(&shape.remote_schema, &shape.local_schema).await;
        site.on_local("set timezone = 'UTC'").await;
        site.on_remote("set timezone = 'UTC'").await;
        // The first run makes the sync tables.
        site.sync().await;
        Self {
            site,
            shape,
            model: Model::default(),
        }
    }

    async fn reset(&mut self) {
        if self.shape.name == "seed" {
            self.site.on_local("delete from meter_reading").await;
        }
        self.site.on_remote("delete from meter").await;
        self.site
            .on_local("delete from meter; delete from meter_sync.meter_sync_log")
            .await;
        self.model = Model::default();
    }

    /// Does edits to both the databases and the model.
    pub(crate) async fn edit(&mut self, edits: &[Edit]) {
        let before = self.model.clone();
        for edit in edits {
            edit.apply(&self.shape, &mut self.model);
        }
        self.write(Side::Remote, &before.remote, &self.model.remote)
            .await;
        self.write(Side::Local, &before.local, &self.model.local)
            .await;
    }

    async fn write(&self, side: Side, before: &BTreeMap<Key, Row>, after: &BTreeMap<Key, Row>) {
        let client = if side == Side::Remote {
            &self.site.remote
        } else {
            &self.site.local
        };
        client.batch_execute("begin").await.unwrap();
        let delete = self.delete(side);
        for key in before.keys().filter(|key| !after.contains_key(*key)) {
            execute(client, &delete, &key_text(key)).await;
        }
        let upsert = self.upsert(side);
        for (key, row) in after
            .iter()
            .filter(|(key, row)| before.get(*key) != Some(*row))
        {
            execute(client, &upsert, &self.text(side, key, row)).await;
        }
        client.batch_execute("commit").await.unwrap();
        client.batch_execute(COUNT_WRITES).await.unwrap();
    }

    /// The columns of a side, in the order of [`Text`].
    fn columns(&self, side: Side) -> Vec<Column> {
        let column = |name, type_| Column {
            name,
            remote: type_,
            local: type_,
        };
        let tenant = match (side, self.shape.tenant) {
            (_, TenantPlace::InKey) | (Side::Local, TenantPlace::Absent) => None,
            (Side::Remote, _) | (_, TenantPlace::Beside) => Some(column("tenant_id", "bigint")),
        };
        let note = (side == Side::Local).then(|| column("site_note", "text"));
        self.shape
            .key
            .iter()
            .map(|k| k.column)
            .chain(tenant)
            .chain(self.shape.fields.iter().map(|(c, _)| *c))
            .chain([column("active", "boolean")])
            .chain(note)
            .collect()
    }

    fn delete(&self, side: Side) -> String {
        let mut conditions = Vec::new();
        for (n, KeyColumn { column, .. }) in (1..).zip(&self.shape.key) {
            conditions.push(format!(
                "{} = ${n}::text::{}",
                column.name,
                type_of(column, side)
            ));
        }
        format!("delete from meter where {}", conditions.join(" and "))
    }

    fn upsert(&self, side: Side) -> String {
        let columns = self.columns(side);
        let names: Vec<_> = columns.iter().map(|c| c.name).collect();
        let values: Vec<_> = (1..)
            .zip(&columns)
            .map(|(n, c)| format!("${n}::text::{}", type_of(c, side)))
            .collect();
        let keys: Vec<_> = self.shape.key.iter().map(|k| k.column.name).collect();
        let others = names.iter().filter(|name| !keys.contains(name));
        let sets: Vec<_> = others
            .map(|name| format!("{name} = excluded.{name}"))
            .collect();
        format!(
            "insert into meter ({}) overriding system value values ({}) on conflict ({}) do update set {}",
            names.join(", "),
            values.join(", "),
            keys.join(", "),
            sets.join(", ")
        )
    }

    fn text(&self, side: Side, key: &Key, row: &Row) -> Text {
        let mut text = key_text(key);
        if self
            .columns(side)
            .iter()
            .skip(key.len())
            .any(|c| c.name == "tenant_id")
        {
            text.push(Some(row.tenant.to_string()));
        }
        let in_text = |value: &Value| match side {
            Side::Remote => value.written.clone(),
            Side::Local => value.text.clone(),
        };
        let fields = row.meter.fields.iter();
        text.extend(fields.map(|value| value.as_ref().map(in_text)));
        text.push(row.meter.active.map(|active| active.to_string()));
        if side == Side::Local {
            text.push(row.note.clone());
        }
        text
    }

    /// What the local table should hold.
    pub(crate) fn expected_rows(&self) -> Vec<Text> {
        rows_of(self, &self.model)
    }

    /// What the local table holds.
    pub(crate) async fn local_rows(&self) -> Vec<Text> {
        self.read(Side::Local, &self.site.local).await
    }

    /// The local table through a connection other than the world's own.
    pub(crate) async fn local_rows_through(&self, client: &Client) -> Vec<Text> {
        self.read(Side::Local, client).await
    }

    /// What the remote table holds.
    pub(crate) async fn remote_rows(&self) -> Vec<Text> {
        self.read(Side::Remote, &self.site.remote).await
    }

    async fn read(&self, side: Side, client: &Client) -> Vec<Text> {
        let columns = self.columns(side);
        let texts: Vec<_> = columns
            .iter()
            .map(|c| format!("{}::text", c.name))
            .collect();
        let sql = format!("select {} from meter", texts.join(", "));
        let rows = client.query_typed(&sql, &[]).await.unwrap();
        let mut rows: Vec<Text> = rows
            .iter()
            .map(|row| (0..columns.len()).map(|n| row.get(n)).collect())
            .collect();
        rows.sort();
        rows
    }

    /// A sync of the site, mass deactivation allowed; the model is not synced.
    pub(crate) async fn run(&self, trigger: RunTrigger) -> RunReport {
        finish(&self.site.mirror, request(trigger)).await
    }

    /// A sync of both; the tables are equal to the model's after it.
    pub(crate) async fn sync(&mut self, trigger: RunTrigger) -> (RunReport, Expected) {
        let expected = self.model.sync(&self.shape);
        let report = self.run(trigger).await;
        assert_eq!(self.local_rows().await, self.expected_rows(), "{report:#?}");
        (report, expected)
    }
}

/// What a model's local table holds.
pub(crate) fn rows_of(world: &World, model: &Model) -> Vec<Text> {
    let mut rows: Vec<Text> = model
        .local
        .iter()
        .map(|(key, row)| world.text(Side::Local, key, row))
        .collect();
    rows.sort();
    rows
}

/// A request that the brake does not hold back.
pub(crate) fn request(trigger: RunTrigger) -> RunRequest {
    let allow = RunApprovals {
        mass_deactivation: DeactivationApproval::Any,
        ..RunApprovals::default()
    };
    RunRequest {
        allow,
        ..RunRequest::new(trigger)
    }
}

fn key_text(key: &Key) -> Text {
    key.iter().map(|text| Some((*text).to_owned())).collect()
}

fn type_of(column: &Column, side: Side) -> &'static str {
    match side {
        Side::Remote => column.remote,
        Side::Local => column.local,
    }
}

async fn execute(client: &Client, sql: &str, values: &Text) {
    let params: Vec<(&(dyn ToSql + Sync), Type)> = values
        .iter()
        .map(|value| (value as &(dyn ToSql + Sync), Type::TEXT))
        .collect();
    let done = client.execute_typed(sql, &params).await;
    done.unwrap_or_else(|error| panic!("{sql} {values:?}: {error:?}"));
}
