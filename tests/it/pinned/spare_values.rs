//! Meters that are to get each other's unique values where few other values are allowed, or of types of few values.

use meter_sync::model::RunOutcome;
use serde_json::json;

use super::site;
use crate::support::site::{Site, rows};

/// Meters 1, 2, .. with these values, which move on by one, the first to the last.
async fn move_on(type_: &str, values: &[&str], local: &str) -> Site {
    let site = site(&format!("name {type_} not null"), "").await;
    site.on_local(local).await;
    let meters: Vec<String> = (1..)
        .zip(values)
        .map(|(id, value): (usize, _)| format!("({id}, 7, {value}, true)"))
        .collect();
    site.on_remote(&format!("insert into meter values {}", meters.join(", ")))
        .await;
    let run = site.sync().await;
    assert_eq!(
        run.outcome,
        Some(RunOutcome::Succeeded),
        "{type_}: {run:#?}"
    );
    site.on_remote(&format!(
        "update meter m set name = (select o.name from meter o where o.id = 1 + m.id % {})",
        values.len()
    ))
    .await;
    site
}

async fn assert_moves_on(type_: &str, values: &[&str], local: &str) {
    let site = move_on(type_, values, local).await;
    let run = site.sync().await;
    assert_eq!(
        run.outcome,
        Some(RunOutcome::Succeeded),
        "{type_} {local}: {run:#?}"
    );
    let names = "select id, name::text from meter order by id";
    assert_eq!(
        rows(&site.local, names).await,
        rows(&site.remote, names).await,
        "{type_} {local}"
    );
    let again = site.sync().await;
    assert_eq!(
        again.outcome,
        Some(RunOutcome::NoChange),
        "{type_} {local}: {again:#?}"
    );
}

const UNIQUE: &str = "alter table meter add unique (name)";

#[tokio::test]
async fn values_of_types_with_no_null_are_exchanged() {
    for (type_, values) in [
        ("integer[]", ["'{1}'", "'{2}'"]),
        ("text[]", ["'{a}'", "'{b}'"]),
        (
            "uuid[]",
            [
                "array['a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11'::uuid]",
                "array['a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a12'::uuid]",
            ],
        ),
        ("money", ["1", "2"]),
        ("oid", ["1", "2"]),
        ("bit(8)", ["b'00000001'", "b'00000010'"]),
        ("bit varying(8)", ["b'1'", "b'10'"]),
        ("pg_lsn", ["'0/1'", "'0/2'"]),
        ("\"char\"", ["'a'", "'b'"]),
        ("tsvector", ["'a'", "'b'"]),
        ("int4multirange", ["'{[1,2)}'", "'{[2,3)}'"]),
    ] {
        assert_moves_on(type_, &values, UNIQUE).await;
    }
}

#[tokio::test]
async fn one_allowed_value_that_nobody_holds_is_enough() {
    let three = ["1", "2", "3"];
    let texts = ["'p1'", "'p2'", "'p3'"];
    for (type_, values, check) in [
        ("integer", three, "check (name between 1 and 4)"),
        ("integer", ["2", "3", "4"], "check (name between 1 and 4)"),
        ("numeric", three, "check (name in (1, 2, 3, 1.5))"),
        ("text", texts, "check (name in ('p1', 'p2', 'p3', 'p4'))"),
        (
            "text",
            texts,
            "check (name in ('p1', 'p2', 'p3', 'out of use'))",
        ),
        (
            "boolean[]",
            ["'{t}'", "'{f}'", "'{t,t}'"],
            "check (name <@ '{t,f}' and array_length(name, 1) < 3)",
        ),
        (
            "uuid",
            [
                "'a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11'",
                "'a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a12'",
                "'a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a13'",
            ],
            "check (substr(name::text, 15, 1) = '4')",
        ),
        (
            "jsonb",
            ["'{\"a\": 1}'", "'{\"a\": 2}'", "'{\"a\": 3}'"],
            "check (jsonb_typeof(name) = 'object')",
        ),
    ] {
        assert_moves_on(
            type_,
            &values,
            &format!("{UNIQUE}, add constraint few {check}"),
        )
        .await;
    }
}

#[tokio::test]
async fn rings_take_one_spare_value_in_turn_and_keep_what_refers_to_them() {
    for action in ["cascade", "set null"] {
        let site = move_on(
            "text",
            &["'a'", "'b'", "'c'", "'d'"],
            &format!(
                "{UNIQUE}, add constraint few check (name in ('a', 'b', 'c', 'd', 'e'));
                 create table reading (id bigint primary key, meter text references meter (name) on update {action})"
            ),
        )
        .await;
        // Two rings: 1 and 2, 3 and 4.
        site.on_remote(
            "update meter set name = case id when 1 then 'b' when 2 then 'a' when 3 then 'd' else 'c' end",
        )
        .await;
        site.on_local("insert into reading values (1, 'a'), (2, 'b'), (3, 'c')")
            .await;
        let run = site.sync().await;
        assert_eq!(
            run.outcome,
            Some(RunOutcome::Succeeded),
            "{action}: {run:#?}"
        );
        let meters = "select r.id, m.id as meter from reading r left join meter m on m.name = r.meter order by 1";
        assert_eq!(
            rows(&site.local, meters).await,
            json!([{"id": 1, "meter": 1}, {"id": 2, "meter": 2}, {"id": 3, "meter": 3}]),
            "{action}"
        );
        let again = site.sync().await;
        assert_eq!(again.outcome, Some(RunOutcome::NoChange), "{again:#?}");
    }
}

#[tokio::test]
async fn a_ring_in_each_device_takes_a_value_that_is_free_in_this_device() {
    let site = site("device bigint not null, name integer not null", "").await;
    site.on_local(
        "alter table meter add unique (device, name), add check (name between 1 and 3),
         add check (device in (1, 2) and (device = 1) = (id < 3))",
    )
    .await;
    site.on_remote(
        "insert into meter values (1, 7, 1, 1, true), (2, 7, 1, 2, true), (3, 7, 2, 2, true), (4, 7, 2, 3, true)",
    )
    .await;
    site.sync().await;
    site.on_remote(
        "update meter set name = case id when 1 then 2 when 2 then 1 when 3 then 3 else 2 end",
    )
    .await;
    let run = site.sync().await;
    assert_eq!(run.outcome, Some(RunOutcome::Succeeded), "{run:#?}");
}

#[tokio::test]
async fn a_ring_without_a_spare_value_is_rejected_and_left_as_it_is() {
    let site = move_on(
        "text",
        &["'a'", "'b'", "'c'"],
        &format!(
            "{UNIQUE}, add constraint few check (name in ('a', 'b', 'c'));
             create table reading (id bigint primary key, meter text references meter (name) on update set null)"
        ),
    )
    .await;
    site.on_local("insert into reading values (1, 'a')").await;
    let run = site.sync().await;
    assert_eq!(run.outcome, Some(RunOutcome::Partial), "{run:#?}");
    assert_eq!(
        rows(
            &site.local,
            "select string_agg(name, '' order by id), (select meter from reading) from meter"
        )
        .await,
        json!([{"string_agg": "abc", "meter": "a"}])
    );
    let taken = |name: &str, holder: u32| {
        let index = "unique index meter_name_key";
        json!({"reason": format!("name \"{name}\" is taken by meter {holder}, which is active ({index})")})
    };
    let reasons = "select reason from meter_sync.meter_sync_rejected order by key->>'id'";
    assert_eq!(
        rows(&site.local, reasons).await,
        json!([taken("b", 2), taken("c", 3), taken("a", 1)])
    );
}

#[tokio::test]
async fn a_value_that_refers_to_another_table_moves_through_one_that_is_free_there() {
    let uuid = |n: u32| format!("'a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a1{n}'");
    let uuids = [uuid(1), uuid(2), uuid(3)];
    for (type_, values, spare) in [
        ("integer", ["1", "2", "3"], "7"),
        ("text", ["'a'", "'b'", "'c'"], "'in stock'"),
        (
            "uuid",
            [uuids[0].as_str(), uuids[1].as_str(), uuids[2].as_str()],
            uuid(9).as_str(),
        ),
    ] {
        for deferrable in ["", " deferrable", " deferrable initially deferred"] {
            let devices = [values[0], values[1], values[2], spare].join("), (");
            let local = format!(
                "create table device (id {type_} primary key); insert into device values ({devices});
                 {UNIQUE}, add foreign key (name) references device{deferrable}"
            );
            assert_moves_on(type_, &values, &local).await;
        }
    }
}

#[tokio::test]
async fn a_row_that_refers_to_nothing_is_found_though_another_constraint_has_almost_the_same_name()
{
    let site = site("name integer not null", "").await;
    site.on_local(&format!(
        "create table device (id integer primary key); insert into device values (1), (2), (3);
         create table place (id integer primary key); insert into place values (1), (2), (3);
         {UNIQUE}, add constraint refers foreign key (id) references place,
             add constraint refers_2 foreign key (name) references device deferrable"
    ))
    .await;
    site.on_remote("insert into meter values (1, 7, 1, true), (2, 7, 2, true), (3, 7, 3, true)")
        .await;
    site.sync().await;
    site.on_remote("update meter set name = case id when 1 then 2 when 2 then 1 else 9 end")
        .await;
    let run = site.sync().await;
    assert_eq!(
        (run.counts.updated, run.counts.rejected),
        (2, 1),
        "{run:#?}"
    );
}

#[tokio::test]
async fn a_reference_that_can_wait_needs_no_spare_value() {
    for deferrable in ["deferrable", "deferrable initially deferred"] {
        for (type_, values) in [
            ("integer", ["1", "2", "3"]),
            ("text", ["'a'", "'b'", "'c'"]),
        ] {
            let local = format!(
                "create table device (id {type_} primary key); insert into device values ({});
                 {UNIQUE}, add foreign key (name) references device {deferrable}",
                values.join("), (")
            );
            assert_moves_on(type_, &values, &local).await;
        }
        // What refers to nothing is rejected all the same.
        let local = format!(
            "create table device (id integer primary key); insert into device values (1), (2);
             {UNIQUE}, add foreign key (name) references device {deferrable}"
        );
        let site = move_on("integer", &["1", "2"], &local).await;
        site.on_remote("insert into meter values (3, 7, 9, true)")
            .await;
        let run = site.sync().await;
        assert_eq!(
            (run.counts.updated, run.counts.rejected),
            (2, 1),
            "{run:#?}"
        );
    }
}

/// More rows than are looked at one ring after the other.
#[tokio::test]
async fn many_values_move_on_where_the_reference_can_wait_and_no_value_is_spare() {
    let site = site("name integer not null", "").await;
    site.on_local(
        "create table device (id integer primary key); insert into device select n from generate_series(1, 5003) n;
         alter table meter add unique (name), add foreign key (name) references device deferrable",
    )
    .await;
    site.on_remote("insert into meter select n, 7, n, true from generate_series(1, 5003) n")
        .await;
    site.sync().await;
    site.on_remote("update meter set name = 1 + id % 5003")
        .await;
    let run = site.sync().await;
    assert_eq!(run.outcome, Some(RunOutcome::Succeeded), "{run:#?}");
    assert_eq!(run.counts.updated, 5003, "{run:#?}");
    // The meter 5003 is to refer to nothing; the others form a ring beside it.
    site.on_remote(
        "update meter set name = case id when 5003 then 9999 when 5002 then 2 else 1 + name end",
    )
    .await;
    let run = site.sync().await;
    assert_eq!(
        (run.counts.updated, run.counts.rejected),
        (5002, 1),
        "{:#?}",
        run.counts
    );
    let reasons =
        "select reason from meter_sync.meter_sync_rejected order by key->>'id' desc limit 1";
    assert_eq!(
        rows(&site.local, reasons).await,
        json!([{"reason": "name \"9999\": no such row in table device (foreign key meter_name_fkey)"}])
    );
}

#[tokio::test]
async fn a_value_that_refers_to_two_columns_of_another_table_moves_on() {
    let local = format!(
        "create table device (kind integer, id text, primary key (kind, id));
         insert into device values (1, 'a'), (1, 'b'), (1, 'c'), (2, 'spare'), (1, 'in stock');
         alter table meter add kind integer not null default 1; {UNIQUE},
         add foreign key (kind, name) references device"
    );
    assert_moves_on("text", &["'a'", "'b'", "'c'"], &local).await;
}

#[tokio::test]
async fn one_spare_value_is_enough_for_all_rules_that_read_it() {
    const PORT: &str = "alter table meter add constraint up unique (port);";
    for rules in [
        "alter table meter add constraint sp unique (serial, port);",
        "alter table meter add constraint sp unique (serial, port); alter table meter add constraint us unique (serial);",
        "create unique index ep on meter (serial, (port + 0));",
        "create extension btree_gist; alter table meter add constraint ex exclude using gist (zone with =, port with =);",
    ] {
        for change in [
            "update meter set port = 1 + port % 3",
            "update meter set port = 1 + port % 3, serial = 'S' || (1 + port % 3)",
        ] {
            let site = site("serial text not null, port int not null, zone text", "").await;
            site.on_local(&format!(
                "alter table meter add check (port between 1 and 4); {rules} {PORT}"
            ))
            .await;
            site.on_remote("insert into meter select n, 7, 'S' || n, n, 'z', true from generate_series(1, 3) n")
                .await;
            site.sync().await;
            site.on_remote(change).await;
            let run = site.sync().await;
            assert_eq!(
                run.outcome,
                Some(RunOutcome::Succeeded),
                "{rules} {change}: {run:#?}"
            );
            assert_eq!(run.counts.updated, 3, "{rules} {change}: {run:#?}");
        }
    }
}
