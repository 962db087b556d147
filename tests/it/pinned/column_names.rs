//! Columns with the names that our own SQL uses, and with any others.

use std::sync::LazyLock;

use meter_sync::config::Setting;
use meter_sync::mirrors::{RunApprovals, RunRequest};
use meter_sync::model::{Counts, DeactivationApproval, RunOutcome, RunTrigger};
use serde_json::{Value, json};

use super::{alias_finder, counts};
use crate::support::site::{Site, finish, rows};

/// Names of our SQL, reserved words, and what needs quotes.
pub(crate) static NAMES: LazyLock<Vec<&'static str>> = LazyLock::new(|| {
    let ours = alias_finder::in_our_sources().into_iter();
    let ours = ours.map(|name| &*Box::leak(name.into_boxed_str()));
    let mut names: Vec<&str> = ours.chain(OTHERS.iter().copied()).collect();
    // Columns that the tables of the tests have already.
    names.retain(|name| !["id", "tenant_id", "other", "active", "name"].contains(name));
    names.sort_unstable();
    names.dedup();
    names
});

/// What our sources compose, and what they do not name.
const OTHERS: &[&str] = &[
    "c1",
    "c2",
    "k0",
    "k1",
    "v1",
    "vv1",
    "x1",
    "y",
    "z",
    "meter_sync n",
    "meter_sync action",
    "select",
    "user",
    "current_user",
    "order",
    "Mixed",
    "a b",
    "it's",
    "\"q\"",
    "%s",
    "$1",
    "{}",
    "--",
    "/*",
    ";",
    "\\n",
    "é",
    "🙂",
    "sixty-three bytes long, which is as long as a name may be: xxxx",
];

pub(crate) fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

fn all(fragment: impl Fn(&str) -> String) -> String {
    let fragments: Vec<String> = NAMES.iter().map(|name| fragment(&quoted(name))).collect();
    fragments.join(", ")
}

/// Both sides with all the names in columns of a type, and a `tenant` that has them too.
async fn site(type_: &str) -> Site {
    let columns = all(|name| format!("{name} {type_}"));
    let remote = format!(
        "create table meter (id bigint primary key, tenant_id bigint, other text, {columns}, active boolean)"
    );
    let local = format!(
        "create table tenant (id bigint primary key, name text, {columns});
         insert into tenant (id, name) values (7, 'Acme');
         create table meter (id bigint primary key, other text, {columns}, active boolean)"
    );
    Site::with_schemas(&remote, &local).await
}

/// What each side holds, told without a name.
async fn assert_equal(site: &Site) {
    let columns = all(ToOwned::to_owned);
    let read = format!(
        "select md5(string_agg(row(id, other, {columns})::text, ' ' order by id)) as h from meter where active"
    );
    assert_eq!(
        rows(&site.local, &read).await,
        rows(&site.remote, &read).await
    );
}

async fn every_way_of_a_sync(type_: &str, value: impl Fn(u32) -> String) {
    let mut site = site(type_).await;
    let all_of = |n: u32| all(|_| value(n));
    for id in 1..=30 {
        let values = all_of(id);
        site.on_remote(&format!(
            "insert into meter values ({id}, 7, 'o', {values}, true)"
        ))
        .await;
    }
    let first = site.sync().await;
    assert_eq!(
        counts(&first),
        Counts {
            inserted: 30,
            ..Counts::default()
        },
        "{first:#?}"
    );
    let set = all(|name| format!("{name} = {}", value(1001)));
    site.on_remote(&format!(
        "update meter set {set} where id = 1; update meter set other = 'x' where id = 2; delete from meter where id = 3;
         insert into meter values (40, 7, 'o', {}, true)",
        all_of(40)
    ))
    .await;
    let run = site.sync().await;
    let expected = Counts {
        inserted: 1,
        updated: 2,
        deactivated: 1,
        unchanged: 27,
        ..Counts::default()
    };
    assert_eq!(counts(&run), expected, "{run:#?}");
    assert_equal(&site).await;
    assert_history_is_true(&site, type_).await;

    assert_what_is_changed_here_is_put_right(&mut site).await;
    assert_a_plan_is_held_back_and_let_go(&site).await;
    assert_a_meter_is_shown(&site).await;
}

/// By what the rows hold, and with all contents compared.
async fn assert_what_is_changed_here_is_put_right(site: &mut Site) {
    for settings in [
        site.settings(),
        site.settings().with(Setting::FullCompare, "0s"),
    ] {
        site.reconfigure(&settings);
        site.on_local(
            "delete from meter_sync.meter_sync_seen; update meter set other = 'ours' where id = 5",
        )
        .await;
        let run = site.sync().await;
        let expected = Counts {
            updated: 1,
            unchanged: 29,
            ..Counts::default()
        };
        assert_eq!(counts(&run), expected, "{run:#?}");
        assert_eq!(site.sync().await.outcome, Some(RunOutcome::NoChange));
    }
}

async fn assert_a_meter_is_shown(site: &Site) {
    let meter = site.meter("1").await;
    assert_eq!(meter.meter.expect("a row").len(), NAMES.len() + 3);
    let status = site.status().await;
    assert_eq!(
        status.tenant.and_then(|tenant| tenant.name).as_deref(),
        Some("Acme")
    );
}

/// The recorded change of each column is what the column holds.
async fn assert_history_is_true(site: &Site, type_: &str) {
    let history =
        "select c.action, c.key->>'id' as id, c.before, c.after from meter_sync.meter_sync_change c
        join meter_sync.meter_sync_log g on g.id = c.run_id where g.updated > 0 order by c.n";
    let history = rows(&site.local, history).await;
    let pairs = all(|name| {
        format!(
            "('{}', to_jsonb({name}))",
            name[1..name.len() - 1]
                .replace("\"\"", "\"")
                .replace('\'', "''")
        )
    });
    let held = |id: u32| {
        format!(
            "select jsonb_object_agg(v.name, v.value) as v from meter m cross join lateral (values {pairs}) v (name, value) where id = {id}"
        )
    };
    let is = |id: &str| {
        history
            .as_array()
            .expect("rows")
            .iter()
            .find(|row| row["id"] == json!(id))
            .cloned()
            .unwrap_or(Value::Null)
    };
    assert_eq!(
        is("1")["after"],
        rows(&site.remote, &held(1)).await[0]["v"],
        "{type_}"
    );
    assert_eq!(is("2")["after"], json!({"other": "x"}), "{type_}");
    let mut inserted = rows(&site.remote, &held(40)).await[0]["v"].clone();
    inserted["other"] = json!("o");
    inserted["active"] = json!(true);
    assert_eq!(is("40")["after"], inserted, "{type_}");
}

async fn assert_a_plan_is_held_back_and_let_go(site: &Site) {
    site.on_remote("delete from meter where id > 20").await;
    let run = site.sync().await;
    assert_eq!(run.outcome, Some(RunOutcome::Refused), "{run:#?}");
    let allowed = RunRequest {
        allow: RunApprovals {
            mass_deactivation: DeactivationApproval::Any,
            ..RunApprovals::default()
        },
        ..RunRequest::new(RunTrigger::Cli)
    };
    let run = finish(&site.mirror, allowed).await;
    assert_eq!(run.outcome, Some(RunOutcome::Succeeded), "{run:#?}");
    assert_equal(site).await;
}

/// What a sync does about rows that stand in each other's way or that the local table does not take.
#[tokio::test]
async fn obstacles_in_columns_of_any_name_are_overcome_or_told_truly() {
    let site = site("text").await;
    // A unique index costs some statements: these are of names from all over the alphabet, each column of the index another one.
    let unique: Vec<String> = NAMES
        .chunks(NAMES.len() / 12)
        .filter_map(|names| Some((quoted(names.first()?), quoted(names.last()?))))
        .map(|(first, last)| format!("create unique index on meter ({first}, (lower({last})))"))
        .collect();
    let [checked, altered] = [NAMES[NAMES.len() / 2], NAMES[NAMES.len() / 3]].map(quoted);
    site.on_local(&format!(
        "{}; alter table meter add constraint ten check (10 / length({checked}) > 0);
         create function alter_it() returns trigger language plpgsql as
             $$ begin if new.other = 'alter' then new.id := 1; end if; return new; end $$;
         create trigger altering before insert on meter for each row execute function alter_it()",
        unique.join("; ")
    ))
    .await;
    let insert = |id: u32, other: &str, value: &str| {
        let values = all(|_| format!("'{value}'"));
        format!("insert into meter values ({id}, 7, '{other}', {values}, true)")
    };
    for id in 1..=9 {
        site.on_remote(&insert(id, "o", &format!("v{id}"))).await;
    }
    site.sync().await;
    // 1, 2 and 3 move on, 40 gets the values of 9, which is gone, 41 breaks the check, and 42 the key that a trigger gives it.
    let set = all(|name| format!("{name} = 'v' || (1 + id % 3)"));
    site.on_remote(&format!(
        "update meter set {set} where id < 4; delete from meter where id = 9; {}; {}; {};
         update meter set {checked} = '' where id = 41; update meter set {altered} = 'V4' where id = 41",
        insert(40, "o", "v9"),
        insert(41, "o", "v41"),
        insert(42, "alter", "v42"),
    ))
    .await;
    let run = site.sync().await;
    let expected = Counts {
        inserted: 1,
        updated: 3,
        deactivated: 1,
        unchanged: 5,
        rejected: 2,
        ..Counts::default()
    };
    assert_eq!(counts(&run), expected, "{run:#?}");
    let reasons = "select reason from meter_sync.meter_sync_rejected order by key->>'id'";
    let reasons = rows(&site.local, reasons).await.to_string();
    for told in [
        "constraint ten cannot be evaluated",
        "trigger altering (alter_it) changes the row to (id)=(1)",
    ] {
        assert!(reasons.contains(told), "{told}: {reasons}");
    }
    site.on_remote("delete from meter where id > 40").await;
    assert_eq!(site.sync().await.outcome, Some(RunOutcome::NoChange));
    assert_equal(&site).await;
}

#[tokio::test]
async fn texts_in_columns_of_any_name_sync_and_are_told_truly() {
    every_way_of_a_sync("text", |n| format!("'v{n}'")).await;
}

#[tokio::test]
async fn documents_in_columns_of_any_name_sync_and_are_told_truly() {
    every_way_of_a_sync("jsonb", |n| format!("'{{\"name\": {n}}}'")).await;
}

#[tokio::test]
async fn a_key_may_have_any_name() {
    // Some of them, from all over the alphabet.
    for name in NAMES.iter().step_by(NAMES.len() / 25) {
        let name = quoted(name);
        let site = Site::with_schemas(
            &format!("create table meter ({name} bigint primary key, tenant_id bigint, \"the value\" text, active boolean);
                insert into meter select g, 7, 'v', true from generate_series(1, 10) g"),
            &format!("create table tenant ({name} text, id bigint); insert into tenant (id) values (7);
                create table meter ({name} bigint primary key, \"the value\" text, active boolean)"),
        )
        .await;
        let run = site.sync().await;
        assert_eq!(
            counts(&run),
            Counts {
                inserted: 10,
                ..Counts::default()
            },
            "{name}: {run:#?}"
        );
        site.on_remote(&format!(
            "update meter set \"the value\" = 'w' where {name} = 1; delete from meter where {name} = 2;
            insert into meter values (11, 7, 'v', true)"
        ))
        .await;
        site.on_local("delete from meter_sync.meter_sync_seen")
            .await;
        let run = site.sync().await;
        let expected = Counts {
            inserted: 1,
            updated: 1,
            deactivated: 1,
            unchanged: 8,
            ..Counts::default()
        };
        assert_eq!(counts(&run), expected, "{name}: {run:#?}");
        assert_eq!(site.sync().await.outcome, Some(RunOutcome::NoChange));
    }
}

/// Triggers, checks, views and row security were written for the path of the role that meets them.
#[tokio::test]
async fn code_of_the_tables_owner_finds_what_it_found_before() {
    let mut site = Site::with_schemas(
        "create table meter (id bigint primary key, tenant_id bigint, name text, active boolean);
         create table place (id bigint, name text);
         create function place_of(bigint) returns text language plpgsql stable as $$begin return (select p.name from place p where p.id = $1); end$$;
         create view placed as select m.*, place_of(m.id) as place from meter m;
         insert into meter values (1, 7, 'a', true), (2, 7, 'b', true); insert into place values (1, 'hall')",
        "create table tenant (id bigint primary key); insert into tenant values (7);
         create table meter (id bigint primary key, name text, place text, active boolean);
         create table audit (id bigint); create table words (word text); insert into words values ('a'), ('b'), ('c');
         create function audit() returns trigger language plpgsql as $$begin insert into audit values (new.id); return new; end$$;
         create trigger audit after insert or update on meter for each row execute function audit();
         create function is_word(text) returns boolean language plpgsql as $$begin return exists (select from words w where w.word = $1); end$$;
         alter table meter add check (is_word(name))",
    )
    .await;
    let settings = site.settings().with(Setting::RemoteTable, "placed");
    site.reconfigure(&settings);
    let run = site.sync().await;
    assert_eq!(
        counts(&run),
        Counts {
            inserted: 2,
            ..Counts::default()
        },
        "{run:#?}"
    );
    site.on_remote(
        "update meter set name = 'c' where id = 1; update meter set name = 'no word' where id = 2",
    )
    .await;
    let run = site.sync().await;
    assert_eq!(
        counts(&run),
        Counts {
            updated: 1,
            rejected: 1,
            ..Counts::default()
        },
        "{run:#?}"
    );
    let audited = "select count(*) as n from audit";
    assert_eq!(rows(&site.local, audited).await, json!([{"n": 3}]));
    let placed = "select place from meter order by id";
    assert_eq!(
        rows(&site.local, placed).await,
        json!([{"place": "hall"}, {"place": null}])
    );
}
