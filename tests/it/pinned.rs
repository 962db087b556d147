//! Shapes and sequences that have failed, or that a sync engine is known to fail on, pinned one by one.

use meter_sync::config::Setting;
use meter_sync::meter::{Counts, Outcome, Trigger};
use meter_sync::runs::report::RunReport;
use meter_sync::runs::{Allow, Request};
use serde_json::json;

use crate::support::site::{Site, rows};

/// A small pair of tables; `columns` are both sides', `local` is added to the local table only.
async fn site(columns: &str, local: &str) -> Site {
    let remote = format!(
        "create table meter (id bigint primary key, tenant_id bigint not null, {columns}, active boolean not null)"
    );
    let local = format!(
        "create table tenant (id bigint primary key, name text);
         insert into tenant values (7, 'Acme');
         create table meter (id bigint primary key, {columns}, active boolean not null {local})"
    );
    Site::with_schemas(&remote, &local).await
}

fn counts(report: &RunReport) -> Counts {
    report.counts
}

async fn names(site: &Site) -> serde_json::Value {
    rows(&site.local, "select id, name from meter order by id").await
}

#[tokio::test]
async fn two_meters_swap_their_unique_serial_numbers() {
    let site = site("name text", ", unique (name)").await;
    site.on_remote(
        "insert into meter values (1, 7, 'a', true), (2, 7, 'b', true), (3, 7, 'c', true)",
    )
    .await;
    site.sync().await;
    site.on_remote(
        "update meter set name = case name when 'a' then 'b' when 'b' then 'c' else 'a' end",
    )
    .await;
    let run = site.sync().await;
    assert_eq!(run.outcome, Some(Outcome::Succeeded), "{run:#?}");
    assert_eq!(
        counts(&run),
        Counts {
            updated: 3,
            ..Counts::default()
        }
    );
    assert_eq!(
        names(&site).await,
        json!([{"id": 1, "name": "b"}, {"id": 2, "name": "c"}, {"id": 3, "name": "a"}])
    );
}

#[tokio::test]
async fn serial_numbers_all_move_up_by_one() {
    let site = site("name integer", ", unique (name)").await;
    site.on_remote("insert into meter select n, 7, n, true from generate_series(1, 120) n")
        .await;
    site.sync().await;
    for by in [1, -1] {
        site.on_remote(&format!("update meter set name = name + {by}"))
            .await;
        let run = site.sync().await;
        assert_eq!(
            counts(&run),
            Counts {
                updated: 120,
                ..Counts::default()
            },
            "{run:#?}"
        );
    }
}

#[tokio::test]
async fn a_serial_number_passes_from_a_meter_that_is_gone_to_a_new_one() {
    let site = site("name text", "").await;
    site.on_local("create unique index on meter (name) where active")
        .await;
    site.on_remote("insert into meter values (1, 7, 'a', true)")
        .await;
    site.sync().await;
    site.on_remote("delete from meter; insert into meter values (2, 7, 'a', true)")
        .await;
    let allowed = crate::support::site::finish(
        &site.runs,
        Request {
            allow: Allow {
                mass_deactivation: true,
                ..Allow::default()
            },
            ..Request::new(Trigger::Page)
        },
    )
    .await;
    assert_eq!(
        counts(&allowed),
        Counts {
            inserted: 1,
            deactivated: 1,
            ..Counts::default()
        },
        "{allowed:#?}"
    );
}

#[tokio::test]
async fn odd_names_sync_as_others_do() {
    let site = site(
        r#"name text, "meter sync n" text, "meter sync action" text, "meter_sync step" text, "Mixed ""Case" text,
           "select" text, run_id text, n text, key text, action text, "a%b$1" text, "old" text, before text, l text, s text, p text, d text, f text"#,
        "",
    )
    .await;
    let values = "'a','b','c','d','e','f','g','h','i','j','k','l','m','n','o','p','q','r'";
    site.on_remote(&format!(
        "insert into meter values (1, 7, {values}, true), (2, 7, {values}, true)"
    ))
    .await;
    let run = site.sync().await;
    assert_eq!(
        counts(&run),
        Counts {
            inserted: 2,
            ..Counts::default()
        },
        "{run:#?}"
    );
    site.on_remote(r#"update meter set "meter sync n" = 'x', n = 'y', action = 'z', "Mixed ""Case" = 'w' where id = 1"#).await;
    let run = site.sync().await;
    assert_eq!(
        counts(&run),
        Counts {
            updated: 1,
            unchanged: 1,
            ..Counts::default()
        },
        "{run:#?}"
    );
    assert_eq!(run.changes[0].after.len(), 4);
}

#[tokio::test]
async fn a_key_by_an_odd_name_syncs() {
    let remote = r#"create table meter ("select" text, "Key ""1" bigint, tenant_id bigint, name text, active boolean, primary key ("select", "Key ""1"))"#;
    let local = format!("create table tenant (id bigint); insert into tenant values (7); {remote}")
        .replace("tenant_id bigint, ", "");
    let site = Site::with_schemas(remote, &local).await;
    site.on_remote("insert into meter values ('a', 1, 7, 'x', true), ('a', 2, 7, 'y', true)")
        .await;
    let run = site.sync().await;
    assert_eq!(
        counts(&run),
        Counts {
            inserted: 2,
            ..Counts::default()
        },
        "{run:#?}"
    );
    site.on_remote("update meter set name = 'z'").await;
    let run = site.sync().await;
    assert_eq!(
        counts(&run),
        Counts {
            updated: 2,
            ..Counts::default()
        },
        "{run:#?}"
    );
}

#[tokio::test]
async fn three_hundred_columns_sync() {
    let columns: Vec<String> = (0..300).map(|n| format!("c{n} text")).collect();
    let site = site(&columns.join(", "), "").await;
    site.on_remote(
        "insert into meter (id, tenant_id, active) select n, 7, true from generate_series(1, 30) n",
    )
    .await;
    let run = site.sync().await;
    assert_eq!(
        counts(&run),
        Counts {
            inserted: 30,
            ..Counts::default()
        },
        "{run:#?}"
    );
    site.on_remote("update meter set c7 = '', c299 = 'x' where id < 11")
        .await;
    let run = site.sync().await;
    assert_eq!(
        counts(&run),
        Counts {
            updated: 10,
            unchanged: 20,
            ..Counts::default()
        },
        "{run:#?}"
    );
    assert_eq!(run.changes[0].after.len(), 2);
}

#[tokio::test]
async fn a_local_trigger_that_alters_rows_does_not_stop_the_sync() {
    let site = site("name text", "").await;
    site.on_local("create function f() returns trigger language plpgsql as $$ begin new.name = upper(new.name); return new; end $$; create trigger t before insert or update on meter for each row execute function f()").await;
    site.on_remote("insert into meter values (1, 7, 'a', true)")
        .await;
    let run = site.sync().await;
    assert_eq!(
        counts(&run),
        Counts {
            inserted: 1,
            ..Counts::default()
        },
        "{run:#?}"
    );
    assert_eq!(names(&site).await, json!([{"id": 1, "name": "A"}]));
}

#[tokio::test]
async fn a_local_trigger_that_refuses_a_row_has_it_set_aside() {
    let site = site("name text", "").await;
    site.on_local("create function f() returns trigger language plpgsql as $$ begin if new.name = 'bad' then raise 'not here'; elsif new.name = 'skip' then return null; end if; return new; end $$; create trigger t before insert or update on meter for each row execute function f()").await;
    site.on_remote("insert into meter values (1, 7, 'a', true), (2, 7, 'bad', true), (3, 7, 'skip', true), (4, 7, 'd', true)").await;
    let run = site.sync().await;
    assert_eq!(
        counts(&run),
        Counts {
            inserted: 2,
            rejected: 2,
            ..Counts::default()
        },
        "{run:#?}"
    );
    assert_eq!(
        names(&site).await,
        json!([{"id": 1, "name": "a"}, {"id": 4, "name": "d"}])
    );
}

#[tokio::test]
async fn foreign_keys_checks_and_missing_defaults_set_rows_aside() {
    let site = site(
        "name text, place bigint",
        ", must text not null default 'x'",
    )
    .await;
    site.on_local("create table place (id bigint primary key); insert into place values (1);
        alter table meter add foreign key (place) references place deferrable initially deferred, add check (name <> 'bad'), alter name set not null").await;
    site.on_remote("insert into meter values (1, 7, 'a', 1, true), (2, 7, 'b', 2, true), (3, 7, 'bad', null, true), (4, 7, null, 1, true)").await;
    let run = site.sync().await;
    assert_eq!(
        counts(&run),
        Counts {
            inserted: 1,
            rejected: 3,
            ..Counts::default()
        },
        "{run:#?}"
    );
    site.on_local("alter table meter alter must drop default")
        .await;
    site.on_remote("insert into meter values (5, 7, 'e', 1, true)")
        .await;
    let run = site.sync().await;
    assert_eq!(
        counts(&run),
        Counts {
            unchanged: 1,
            rejected: 4,
            ..Counts::default()
        },
        "{run:#?}"
    );
}

#[tokio::test]
async fn meters_that_refer_to_each_other_arrive_in_any_order() {
    let site = site(
        "name text, parent bigint",
        ", foreign key (parent) references meter",
    )
    .await;
    site.on_remote(
        "insert into meter select n, 7, 'm', nullif(n + 1, 31), true from generate_series(1, 30) n",
    )
    .await;
    let run = site.sync().await;
    assert_eq!(
        counts(&run),
        Counts {
            inserted: 30,
            ..Counts::default()
        },
        "{run:#?}"
    );
}

#[tokio::test]
async fn a_partitioned_local_table_syncs_across_partitions() {
    let remote =
        "create table meter (id bigint primary key, tenant_id bigint, name text, active boolean)";
    let local = "create table tenant (id bigint); insert into tenant values (7);
        create table meter (id bigint primary key, name text, active boolean) partition by range (id);
        create table meter_low partition of meter for values from (0) to (10);
        create table meter_high partition of meter for values from (10) to (20)";
    let site = Site::with_schemas(remote, local).await;
    site.on_remote("insert into meter select n, 7, 'm', true from generate_series(5, 22) n")
        .await;
    let run = site.sync().await;
    assert_eq!(
        counts(&run),
        Counts {
            inserted: 15,
            rejected: 3,
            ..Counts::default()
        },
        "{run:#?}"
    );
    site.on_remote("update meter set name = 'n'").await;
    let run = site.sync().await;
    assert_eq!(
        counts(&run),
        Counts {
            updated: 15,
            rejected: 3,
            ..Counts::default()
        },
        "{run:#?}"
    );
}

#[tokio::test]
async fn a_rename_in_case_alone_arrives_under_a_case_blind_collation() {
    let remote =
        "create table meter (id text primary key, tenant_id bigint, name text, active boolean)";
    let local = "create table tenant (id bigint); insert into tenant values (7);
        create collation blind (provider = icu, locale = 'und-u-ks-level2', deterministic = false);
        create table meter (id text collate blind primary key, name text collate blind, active boolean)";
    let site = Site::with_schemas(remote, local).await;
    site.on_remote("insert into meter values ('a', 7, 'Main', true)")
        .await;
    site.sync().await;
    site.on_remote("update meter set name = 'MAIN'").await;
    let run = site.sync().await;
    assert_eq!(
        counts(&run),
        Counts {
            updated: 1,
            ..Counts::default()
        },
        "{run:#?}"
    );
    site.on_remote("update meter set id = 'A'").await;
    let run = site.sync().await;
    // To the local table it is the same key.
    assert_eq!(run.outcome, Some(Outcome::NoChange), "{run:#?}");
}

#[tokio::test]
async fn columns_come_and_go_between_runs() {
    let site = site("name text", "").await;
    site.on_remote("insert into meter values (1, 7, 'a', true)")
        .await;
    site.sync().await;
    site.on_remote("alter table meter add extra text; update meter set extra = 'e'")
        .await;
    let run = site.sync().await;
    assert_eq!(run.outcome, Some(Outcome::NoChange), "{run:#?}");
    site.on_local("alter table meter add extra text").await;
    let run = site.sync().await;
    assert_eq!(
        counts(&run),
        Counts {
            updated: 1,
            ..Counts::default()
        },
        "{run:#?}"
    );
    site.on_remote("alter table meter drop extra").await;
    let run = site.sync().await;
    assert_eq!(run.outcome, Some(Outcome::NoChange), "{run:#?}");
    site.on_local("alter table meter drop name").await;
    let run = site.sync().await;
    assert_eq!(run.outcome, Some(Outcome::NoChange), "{run:#?}");
}

#[tokio::test]
async fn a_remote_view_serves_as_a_table() {
    let site = Site::new().await;
    site.on_remote("alter table meter rename to base; create view meter as select * from base where status is distinct from 'hidden';
        insert into base (id, tenant_id, name) values (1, 7, 'a'); insert into base (id, tenant_id, status) values (2, 7, 'hidden')").await;
    let run = site.sync().await;
    assert_eq!(
        counts(&run),
        Counts {
            inserted: 1,
            ..Counts::default()
        },
        "{run:#?}"
    );
}

#[tokio::test]
async fn a_key_that_is_an_always_generated_identity_and_computed_columns_sync() {
    let site = site(
        "name text",
        ", loud text generated always as (upper(name)) stored",
    )
    .await;
    site.on_local("alter table meter alter id add generated always as identity")
        .await;
    site.on_remote("alter table meter add loud text default 'remote'; insert into meter values (10, 7, 'a', true)").await;
    let run = site.sync().await;
    assert_eq!(
        counts(&run),
        Counts {
            inserted: 1,
            ..Counts::default()
        },
        "{run:#?}"
    );
    site.on_remote("update meter set name = 'b'").await;
    site.sync().await;
    let loud = rows(&site.local, "select id, loud from meter").await;
    assert_eq!(loud, json!([{"id": 10, "loud": "B"}]));
}

#[tokio::test]
async fn a_field_that_is_an_always_generated_identity_is_left_alone() {
    let site = site("name text", ", number bigint generated always as identity").await;
    site.on_remote(
        "alter table meter add number bigint; insert into meter values (1, 7, 'a', true, 99)",
    )
    .await;
    site.sync().await;
    site.on_remote("update meter set name = 'b', number = 100")
        .await;
    let run = site.sync().await;
    assert_eq!(
        counts(&run),
        Counts {
            updated: 1,
            ..Counts::default()
        },
        "{run:#?}"
    );
    assert_eq!(names(&site).await, json!([{"id": 1, "name": "b"}]));
}

#[tokio::test]
async fn a_remote_query_serves_as_a_table() {
    let mut site = Site::new().await;
    let query = r#"select id, 7 as tenant_id, 'it''s "' || name || '"' as name, true as active
        from meter -- of all tenants, said with a comment at the end"#;
    site.reconfigure(&site.settings().with(Setting::RemoteQuery, query));
    site.on_remote("insert into meter (id, tenant_id, name) values (1, 7, 'a'), (2, 8, null)")
        .await;
    let run = site.sync().await;
    assert_eq!(
        counts(&run),
        Counts {
            inserted: 2,
            ..Counts::default()
        },
        "{run:#?}"
    );
    assert_eq!(
        names(&site).await,
        json!([{"id": "1", "name": "it's \"a\""}, {"id": "2", "name": null}])
    );
    site.on_remote("delete from meter where id = 2").await;
    let run = site.sync().await;
    assert_eq!(
        counts(&run),
        Counts {
            deactivated: 1,
            unchanged: 1,
            ..Counts::default()
        },
        "{run:#?}"
    );
}

#[tokio::test]
async fn a_run_without_changes_logs_itself_and_little_else() {
    let site = Site::new().await;
    site.on_remote("insert into meter (id, tenant_id, name) select n, 7, repeat('x', 70) from generate_series(1, 5000) n").await;
    site.sync().await;
    site.sync().await;
    let written =
        "select n_tup_ins + n_tup_upd + n_tup_del from pg_stat_user_tables where relname = 'meter'";
    site.on_local("checkpoint").await;
    let before = rows(&site.local, "select pg_current_wal_lsn()::text as at").await;
    let written_before = rows(&site.local, written).await;
    let run = site.sync().await;
    assert_eq!(
        counts(&run),
        Counts {
            unchanged: 5000,
            ..Counts::default()
        },
        "{run:#?}"
    );
    assert_eq!(rows(&site.local, written).await, written_before);
    let grown = format!(
        "select pg_current_wal_lsn() - '{}'::pg_lsn < 500000 as little",
        before[0]["at"].as_str().unwrap()
    );
    // The catalogs of the staging tables, with full pages after the checkpoint; the meters take 700 kB.
    assert_eq!(rows(&site.local, &grown).await, json!([{"little": true}]));
}
