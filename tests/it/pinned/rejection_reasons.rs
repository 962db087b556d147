//! The reasons that people read for a rejected row.

use meter_sync::config::Setting;
use serde_json::json;

use super::site;
use super::table_reloads::as_role;
use crate::support::site::{Site, rows};

const REASONS: &str = "select reason from meter_sync.meter_sync_rejected order by key->>'id'";

/// The columns of both sides, what the local table has more, what is done to it, the values of a meter, and the reason.
type Case = (
    &'static str,
    &'static str,
    &'static str,
    &'static str,
    &'static str,
);

const CASES: &[Case] = &[
    (
        "name integer",
        ", constraint port check (name < 65536)",
        "",
        "70000",
        "name \"70000\": breaks constraint port: CHECK ((name < 65536))",
    ),
    (
        "name text, other text",
        ", constraint pair check (name <> other)",
        "",
        "'x', 'x'",
        "name \"x\", other \"x\": breaks constraint pair: CHECK ((name <> other))",
    ),
    (
        "name text",
        "",
        "alter table meter alter name set not null",
        "null",
        "name is null, which the local table does not allow",
    ),
    (
        "name text",
        ", must text not null",
        "",
        "'x'",
        "must of the local table may not be null, has no default and is not synced",
    ),
    (
        "name bigint",
        "",
        "create table place (id bigint primary key); alter table meter add foreign key (name) references place",
        "5",
        "name \"5\": no such row in table place (foreign key meter_name_fkey)",
    ),
    (
        "name text",
        "",
        "alter table meter alter name type varchar(3)",
        "'abcd'",
        "name \"abcd\": value too long for type character varying(3)",
    ),
    (
        "name text",
        "",
        "alter table meter alter name type integer using name::integer",
        "'one'",
        "name \"one\": invalid input syntax for type integer: \"one\"",
    ),
    (
        "name integer",
        "",
        "create domain port as integer constraint low check (value < 65536); alter table meter alter name type port",
        "70000",
        "name \"70000\": breaks domain port (low): CHECK ((VALUE < 65536))",
    ),
    (
        "name text",
        "",
        "create function judge() returns trigger language plpgsql as $$ begin if new.name = 'bad' then raise 'not here' using detail = 'ask Ann'; end if; return new; end $$; create trigger strict before insert on meter for each row execute function judge()",
        "'bad'",
        "trigger strict (judge) refused the row: not here: ask Ann",
    ),
    (
        "name text",
        "",
        "create function skip() returns trigger language plpgsql as $$ begin return null; end $$; create trigger quiet before insert on meter for each row execute function skip()",
        "'x'",
        "trigger quiet skipped the row",
    ),
    (
        "name text",
        ", constraint long check (length(name) < 5)",
        "",
        "repeat('x', 500)",
        "name \"xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx...\": breaks constraint long: CHECK ((length(name) < 5))",
    ),
    (
        "name text",
        "",
        "create table audit (name text constraint once unique, meter bigint); insert into audit values ('x', 0); create function note() returns trigger language plpgsql as $$ begin insert into audit values (new.name, new.id); return new; end $$; create trigger noted after insert on meter for each row execute function note()",
        "'x'",
        "a trigger wrote to table audit, which broke its constraint once: UNIQUE (name)",
    ),
    (
        "name text",
        "",
        "create table place (id text primary key); create table audit (place text constraint known references place); create function note() returns trigger language plpgsql as $$ begin insert into audit values (new.name); return new; end $$; create trigger noted after insert on meter for each row execute function note()",
        "'x'",
        "a trigger wrote to table audit, which broke its constraint known: FOREIGN KEY (place) REFERENCES place(id)",
    ),
    (
        "name text",
        "",
        "create table log (meter bigint, x text not null); create function note() returns trigger language plpgsql as $$ begin insert into log values (new.id); return new; end $$; create trigger noted before insert on meter for each row execute function note()",
        "'x'",
        "trigger noted (note) refused the row: null value in column \"x\" of relation \"log\" violates not-null constraint",
    ),
];

#[tokio::test]
async fn a_rejection_names_column_value_and_rule() {
    for (columns, local, rule, values, reason) in CASES {
        let site = site(columns, local).await;
        site.on_local(rule).await;
        site.on_remote(&format!("insert into meter values (1, 7, {values}, true)"))
            .await;
        site.sync().await;
        assert_eq!(
            rows(&site.local, REASONS).await,
            json!([{"reason": reason}]),
            "{rule}{local}"
        );
    }
}

#[tokio::test]
async fn a_rejection_names_who_holds_the_value() {
    for (rule, reason) in [
        (
            "alter table meter add constraint serial unique (name)",
            "name \"b\" is taken by meter 1, which is active (unique index serial)",
        ),
        (
            "create unique index serial on meter (lower(name), active)",
            "lower(name) \"b\", active \"true\" is taken by meter 1, which is active (unique index serial)",
        ),
        (
            "alter table meter add constraint serial exclude using btree (name with =)",
            "name \"b\" is in conflict with meter 1, which is active (exclusion constraint serial)",
        ),
    ] {
        let site = site("name text", "").await;
        site.on_local(rule).await;
        site.on_remote("insert into meter values (1, 7, 'b', true), (2, 7, 'b', true)")
            .await;
        site.sync().await;
        assert_eq!(
            rows(&site.local, REASONS).await,
            json!([{"reason": reason}]),
            "{rule}"
        );
    }
}

#[tokio::test]
async fn a_rejection_names_the_trigger_of_the_table_that_refers_to_the_meter() {
    for action in ["cascade", "set null"] {
        let site = site("name text", ", unique (name)").await;
        site.on_local(&format!(
            "create table reading (id bigint primary key, meter text references meter (name) on update {action});
             create function judge() returns trigger language plpgsql as $$ begin raise 'readings are closed'; end $$;
             create trigger strict before update on reading for each row execute function judge()"
        ))
        .await;
        site.on_remote(
            "insert into meter values (1, 7, 'a', true), (2, 7, 'b', true), (3, 7, 'c', true)",
        )
        .await;
        site.sync().await;
        site.on_local("insert into reading values (1, 'a'), (2, 'b'), (3, 'c')")
            .await;
        site.on_remote(
            "update meter set name = case name when 'a' then 'b' when 'b' then 'a' else 'd' end",
        )
        .await;
        site.sync().await;
        let reason = json!({"reason": "trigger strict (judge) of table reading refused the row: readings are closed"});
        assert_eq!(
            rows(&site.local, REASONS).await,
            json!([reason, reason, reason]),
            "{action}"
        );
    }
}

#[tokio::test]
async fn a_rejection_names_the_value_that_is_too_long_for_an_index() {
    for index in [
        "create index named on meter (name)",
        "create index shorter on meter (other, id); create index named on meter (id, lower(name))",
    ] {
        let site = site("name text, other text", "").await;
        site.on_local(index).await;
        // The longer one is found by other code of the server, which does not name the index.
        for rows in [1, 2] {
            let long = "select string_agg(md5(g::text), '') from generate_series(1, $rows * $rows * 100) g";
            let long = long.replace("$rows", &rows.to_string());
            site.on_remote(&format!(
                "insert into meter values ({rows}, 7, ({long}), 'x', true)"
            ))
            .await;
        }
        site.sync().await;
        let told = rows(&site.local, REASONS).await.to_string();
        let is_named = told.matches("too long for index named").count();
        assert!(told.contains("name \\\"c4ca4238"), "{index}: {told}");
        assert_eq!(is_named, 2, "{index}: {told}");
    }
}

/// What is done to the local table whose expression fails for the name `0`, and the reason.
const RAISED: &[(&str, &str)] = &[
    (
        "alter table meter add constraint part check (10 / name > 0)",
        "name \"0\": constraint part cannot be evaluated: division by zero: CHECK (((10 / name) > 0))",
    ),
    (
        "create function fits(integer, boolean) returns boolean language plpgsql as $$ begin if $1 = 0 then raise 'no zero here' using detail = 'ask Ann'; end if; return true; end $$;
         alter table meter add constraint other check (name < 100), add constraint fitting check (fits(name, active))",
        "name \"0\", active \"true\": constraint fitting cannot be evaluated: no zero here: ask Ann: CHECK (public.fits(name, active))",
    ),
    (
        "alter table meter add part integer generated always as (10 / name) stored",
        "name \"0\": generated column part cannot be evaluated: division by zero: (10 / name)",
    ),
    (
        "create index parts on meter ((10 / name))",
        "name \"0\": index parts cannot be evaluated: division by zero: ((10 / name))",
    ),
    (
        "create index parts on meter (id) where 10 / name > 1",
        "name \"0\": index parts cannot be evaluated: division by zero: ((10 / name) > 1)",
    ),
    (
        "create index parts on meter (id, (10 / name)) where active",
        "name \"0\", active \"true\": index parts cannot be evaluated: division by zero: ((10 / name))",
    ),
    (
        "create domain share as integer check (10 / value > 0); alter table meter alter name type share",
        "name \"0\": division by zero",
    ),
];

#[tokio::test]
async fn a_rejection_names_the_rule_that_cannot_be_evaluated() {
    for (rule, reason) in RAISED {
        let site = site("name integer", "").await;
        site.on_local(rule).await;
        site.on_remote("insert into meter values (1, 7, 0, true), (2, 7, 1, true)")
            .await;
        site.sync().await;
        let told = json!([{"reason": reason}]);
        assert_eq!(rows(&site.local, REASONS).await, told, "new: {rule}");
        site.on_remote("update meter set name = case id when 1 then 2 else 0 end")
            .await;
        site.sync().await;
        let last = "select reason from meter_sync.meter_sync_rejected where key->>'id' = '2'";
        assert_eq!(rows(&site.local, last).await, told, "changed: {rule}");
    }
}

#[tokio::test]
async fn a_rule_that_reads_a_column_of_the_sites_own_is_named_too() {
    let site = site("name integer", ", own integer default 0").await;
    site.on_local("alter table meter add constraint part check (name / own > 0 or own is null)")
        .await;
    site.on_remote("insert into meter values (1, 7, 5, true)")
        .await;
    site.sync().await;
    assert_eq!(
        rows(&site.local, REASONS).await,
        json!([{"reason": "name \"5\": constraint part cannot be evaluated: division by zero: CHECK ((((name / own) > 0) OR (own IS NULL)))"}])
    );
}

#[tokio::test]
async fn to_find_the_rule_leaves_nothing_behind_of_what_others_do() {
    let site = site("name integer", "").await;
    site.on_local(
        "create table seen (name integer);
         create function note(integer) returns boolean language plpgsql as $$ begin insert into seen values ($1); return true; end $$;
         alter table meter add constraint first check (note(name)), add constraint part check (10 / name > 0)",
    )
    .await;
    site.on_remote("insert into meter values (1, 7, 0, true), (2, 7, 1, true)")
        .await;
    site.sync().await;
    let told = rows(&site.local, REASONS).await.to_string();
    assert!(told.contains("constraint part cannot be"), "{told}");
    let seen = "select distinct name from seen";
    assert_eq!(rows(&site.local, seen).await, json!([{"name": 1}]));
}

/// The function of the meters' own trigger has a name that the other one's ends with.
#[tokio::test]
async fn a_refusal_by_another_table_is_not_told_as_by_a_trigger_of_the_meters() {
    let site = site("name text", ", unique (name)").await;
    site.on_local(
        "create function judge() returns trigger language plpgsql as $$ begin return new; end $$;
         create trigger mild before update on meter for each row execute function judge();
         create table reading (id bigint primary key, meter text references meter (name) on update cascade);
         create function prejudge() returns trigger language plpgsql as $$ begin raise 'readings are closed'; end $$;
         create trigger strict before update on reading for each row execute function prejudge()",
    )
    .await;
    site.on_remote("insert into meter values (1, 7, 'a', true)")
        .await;
    site.sync().await;
    site.on_local("insert into reading values (1, 'a')").await;
    site.on_remote("update meter set name = 'b'").await;
    site.sync().await;
    let reason = "trigger strict (prejudge) of table reading refused the row: readings are closed";
    assert_eq!(
        rows(&site.local, REASONS).await,
        json!([{"reason": reason}])
    );
}

#[tokio::test]
async fn a_key_that_a_row_without_a_tenant_holds_is_told_as_such_with_what_gives_it_away() {
    let site = Site::with_schemas(
        "create table meter (id bigint primary key, tenant_id int, name text, active boolean not null)",
        "create table tenant (id bigint primary key); insert into tenant values (7);
         create table meter (id bigint primary key, tenant_id int, name text, active boolean not null);
         insert into meter values (3, null, 'ours', true), (4, null, 'ours', false)",
    )
    .await;
    site.on_remote("insert into meter values (3, 7, 'x', true), (4, 7, 'x', true)")
        .await;
    site.sync().await;
    for (n, kept) in [
        (3, "a row without a tenant"),
        (4, "a row without a tenant, which is inactive"),
    ] {
        let told = format!(
            "select reason from meter_sync.meter_sync_rejected where key = '{{\"id\": {n}}}'"
        );
        let told = rows(&site.local, &told).await;
        let reason = told[0]["reason"]
            .as_str()
            .unwrap_or_else(|| panic!("{told}"));
        let (reason, statement) = reason
            .split_once("to tenant 7: ")
            .unwrap_or_else(|| panic!("{reason}"));
        assert!(
            reason.starts_with(&format!("id \"{n}\" is taken by {kept} (")),
            "{reason}"
        );
        site.on_local(statement).await;
    }
    let run = site.sync().await;
    assert_eq!(run.counts.changes(), 2, "{run:#?}");
}

#[tokio::test]
async fn a_key_that_a_hidden_row_may_hold_is_told_as_such() {
    let mut site = site("name text", "").await;
    let role = format!("blind_{}", std::process::id());
    site.on_local(&format!(
        "drop role if exists {role}; create role {role} login;
         do $$ begin execute format('grant create on database %I to {role}', current_database()); end $$;
         grant select, insert, update on meter to {role}; grant select on tenant to {role};
         insert into meter values (3, 'hidden', true);
         alter table meter enable row level security; create policy seen on meter using (id <> 3) with check (true)"
    ))
    .await;
    site.on_remote("insert into meter values (3, 7, 'x', true), (4, 7, 'x', true)")
        .await;
    let url = as_role(&site.pair.local_url, &role);
    site.reconfigure(&site.settings().with(Setting::LocalUrl, url));
    site.sync().await;
    let told = rows(&site.local, REASONS).await.to_string();
    assert!(told.contains("row security may hide the row"), "{told}");
    site.on_local(&format!("drop owned by {role}; drop role {role}"))
        .await;
}
