//! Column names may be any: of the key, the tenant column, the active column and fields alike, on both sides and in
//! `tenant`.

use meter_sync::config::Setting;
use meter_sync::model::{Counts, RunOutcome};
use quickcheck::{Arbitrary, Gen, quickcheck};
use serde_json::json;

use super::harness::{self, Verdict};
use crate::pinned::column_names::{NAMES, quoted};
use crate::support::site::{Site, rows};

/// Names that differ, in the order of their use, and the types of the fields.
#[derive(Clone, Debug)]
struct ColumnNames {
    names: Vec<String>,
    types: Vec<&'static str>,
}

/// Key, tenant column and active column, and at least one field.
const LEAST: usize = 4;
const MOST: usize = 9;
const TYPES: &[&str] = &["text", "varchar(20)", "jsonb", "char(3)", "json"];

impl Arbitrary for ColumnNames {
    fn arbitrary(g: &mut Gen) -> Self {
        let count = LEAST + usize::arbitrary(g) % (MOST - LEAST);
        let mut names: Vec<String> = Vec::new();
        while names.len() < count {
            let name = match bool::arbitrary(g) {
                true => (*g.choose(&NAMES).unwrap()).to_owned(),
                false => of_63_bytes(&String::arbitrary(g)),
            };
            if !names.contains(&name) {
                names.push(name);
            }
        }
        let types = (0..count).map(|_| *g.choose(TYPES).unwrap()).collect();
        Self { names, types }
    }

    fn shrink(&self) -> Box<dyn Iterator<Item = Self>> {
        let smaller = self.clone();
        let at = (0..self.names.len()).filter(move |_| smaller.names.len() > LEAST);
        let whole = self.clone();
        Box::new(at.map(move |at| {
            let mut smaller = whole.clone();
            smaller.names.remove(at);
            smaller
        }))
    }
}

/// What Postgres takes for a name, of a text of any kind.
fn of_63_bytes(text: &str) -> String {
    let mut name: String = text.chars().filter(|c| *c != '\0').collect();
    while name.len() > 63 {
        name.pop();
    }
    // Blanks around a setting are no part of it.
    match name.trim() {
        "" => "\"".to_owned(),
        name => name.to_owned(),
    }
}

quickcheck! {
    fn names_that_are_made_fit(text: String) -> bool {
        (1..=63).contains(&of_63_bytes(&text).len())
    }
}

async fn syncs(ColumnNames { names, types }: &ColumnNames) -> Verdict {
    let [key, tenant, active, ..] = names.as_slice() else {
        return Verdict::Vacuous;
    };
    let fields = names.iter().zip(types).skip(3);
    let fields: Vec<(String, &str)> = fields.map(|(name, type_)| (quoted(name), *type_)).collect();
    let typed: String = fields
        .iter()
        .map(|(name, type_)| format!("{name} {type_}, "))
        .collect();
    let values =
        |value: &str| -> String { fields.iter().map(|_| format!("'{value}', ")).collect() };
    let (key, owner, on) = (quoted(key), quoted(tenant), quoted(active));
    let mut site = Site::with_schemas(
        &format!(
            "create table meter ({typed} {key} bigint primary key, {owner} bigint, {on} boolean);
             insert into meter select {} g, 7, true from generate_series(1, 12) g",
            values("1")
        ),
        &format!(
            "create table tenant ({}); insert into tenant (id) values (7);
             create table meter ({typed} {key} bigint primary key, {on} boolean)",
            tenant_columns(&fields)
        ),
    )
    .await;
    let settings = site
        .settings()
        .with(Setting::TenantColumn, tenant)
        .with(Setting::ActiveColumn, active);
    site.reconfigure(&settings);
    let first = site.sync().await;
    assert_eq!(
        first.counts,
        Counts {
            inserted: 12,
            ..Counts::default()
        },
        "{first:#?}"
    );
    site.on_local("delete from meter_sync.meter_sync_seen")
        .await;
    assert_changes_arrive(&site, [&key, &on], &fields).await;
    assert_history_names(&site, names.get(3).expect("a field")).await;
    Verdict::Held
}

/// One row changes in its first field, one goes, and one comes.
async fn assert_changes_arrive(site: &Site, [key, on]: [&String; 2], fields: &[(String, &str)]) {
    let (name, _) = fields.first().expect("a field");
    let values: String = fields.iter().map(|_| "'3', ").collect();
    site.on_remote(&format!(
        "update meter set {name} = '2' where {key} = 1; delete from meter where {key} = 2;
         insert into meter values ({values} 13, 7, true)"
    ))
    .await;
    let run = site.sync().await;
    let expected = Counts {
        inserted: 1,
        updated: 1,
        deactivated: 1,
        unchanged: 10,
        ..Counts::default()
    };
    assert_eq!(run.counts, expected, "{run:#?}");
    assert_eq!(site.sync().await.outcome, Some(RunOutcome::NoChange));
    let changed = format!("select to_json(m.{name})::text as v from meter m where m.{key} = 1");
    assert_eq!(
        rows(&site.local, &changed).await,
        rows(&site.remote, &changed).await
    );
    let active = format!("select count(*) as n from meter m where m.{on}");
    assert_eq!(rows(&site.local, &active).await, json!([{"n": 12}]));
}

async fn assert_history_names(site: &Site, field: &String) {
    let told = "select c.after from meter_sync.meter_sync_change c where c.action = 'update'";
    let told = rows(&site.local, told).await;
    let fields = told[0]["after"].as_object().expect("an object");
    assert_eq!(fields.keys().collect::<Vec<_>>(), [field]);
    assert_eq!(told.as_array().map(Vec::len), Some(1));
}

/// `tenant` with the fields, too, and what it needs to be one.
fn tenant_columns(fields: &[(String, &str)]) -> String {
    let others = fields
        .iter()
        .filter(|(name, _)| !["\"id\"", "\"name\""].contains(&name.as_str()));
    let others: String = others
        .map(|(name, type_)| format!("{name} {type_}, "))
        .collect();
    format!("{others} id bigint, name text")
}

#[test]
fn any_column_may_have_any_name() {
    harness::check_slow(async |_worlds, named: &ColumnNames| syncs(named).await);
}
