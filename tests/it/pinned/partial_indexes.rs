//! Meters that are to get each other's values under an index that holds for a part of the table: a meter that takes no part
//! for a moment frees its value.

use meter_sync::model::RunOutcome;
use serde_json::json;

use super::site;
use crate::support::site::{Site, rows};

/// Both columns of the meters take few values, so that none is to spare.
const COLUMNS: &str = "name text not null, state text not null";

/// Three meters with names a to c, and one each that is off and gone; the names move on.
async fn names_move_on(local: &str) -> Site {
    let site = site(COLUMNS, ", check (name in ('a', 'b', 'c'))").await;
    site.on_local(local).await;
    site.on_remote(
        "insert into meter values (1, 7, 'a', 'on', true), (2, 7, 'b', 'on', true), (3, 7, 'c', 'on', true),
         (4, 7, 'a', 'off', false), (5, 7, 'b', 'gone', false)",
    )
    .await;
    let run = site.sync().await;
    assert_eq!(
        run.outcome,
        Some(RunOutcome::Succeeded),
        "{local}: {run:#?}"
    );
    site.on_remote(
        "update meter set name = case name when 'a' then 'b' when 'b' then 'c' else 'a' end where id < 4",
    )
    .await;
    site
}

async fn assert_equal(site: &Site, case: &str) {
    let run = site.sync().await;
    assert_eq!(run.outcome, Some(RunOutcome::Succeeded), "{case}: {run:#?}");
    let meters = "select id, name, state, active from meter order by id";
    assert_eq!(
        rows(&site.local, meters).await,
        rows(&site.remote, meters).await,
        "{case}"
    );
    let again = site.sync().await;
    assert_eq!(
        again.outcome,
        Some(RunOutcome::NoChange),
        "{case}: {again:#?}"
    );
}

#[tokio::test]
async fn a_ring_without_a_spare_value_passes_where_a_meter_can_leave_the_index() {
    let states = "alter table meter add check (state in ('on', 'off', 'gone'));";
    for index in [
        "create unique index on meter (name) where active",
        "create unique index on meter (name) where active is true and name <> ''",
        "create unique index on meter ((case when active then name end))",
        "create unique index on meter (name, active)",
        "alter table meter add exclude using btree (name with =) where (active)",
        "create unique index on meter (name) where state = 'on'",
        "create unique index on meter (name) where state <> 'off' and state <> 'gone'",
        "create unique index on meter (name) where state not like 'o_f' and state <> 'gone'",
        "create unique index on meter ((case state when 'on' then name end))",
        "alter table meter add exclude using btree (name with =) where (state = 'on')",
    ] {
        for check in ["", states] {
            let local = format!("{check} {index}");
            let site = names_move_on(&local).await;
            assert_equal(&site, &local).await;
        }
    }
}

/// A value is to be found by which the meter really leaves the index.
#[tokio::test]
async fn a_value_of_the_condition_that_leaves_the_meter_in_the_index_is_not_taken() {
    for index in [
        "create unique index on meter (name) where state <> 'off'",
        "create unique index on meter (name) where state in ('on', 'gone')",
    ] {
        let site = names_move_on("").await;
        site.on_remote(
            "update meter set name = 'x' where id > 4; update meter set state = 'on' where id = 5",
        )
        .await;
        site.on_local(&format!(
            "delete from meter where id = 5; alter table meter add check (state in ('on', 'gone', 'off')); {index}"
        ))
        .await;
        site.on_remote("delete from meter where id = 5").await;
        assert_equal(&site, index).await;
    }
}

#[tokio::test]
async fn an_optional_column_of_the_condition_is_null_for_a_moment() {
    let site = site(
        "name text not null, state text",
        ", check (name in ('a', 'b')), check (state = 'on')",
    )
    .await;
    site.on_local("create unique index on meter (name) where state is not null")
        .await;
    site.on_remote("insert into meter values (1, 7, 'a', 'on', true), (2, 7, 'b', 'on', true)")
        .await;
    site.sync().await;
    site.on_remote("update meter set name = case name when 'a' then 'b' else 'a' end")
        .await;
    assert_equal(&site, "null").await;
}

/// More pairs than are looked at one after the other.
#[tokio::test]
async fn many_pairs_leave_the_index_at_once() {
    let site = site("name integer not null, place integer not null", "").await;
    site.on_local(
        "alter table meter add check (name in (0, 1)), add check (place = (id - 1) / 2);
         create unique index on meter (place, name) where active",
    )
    .await;
    site.on_remote(
        "insert into meter select n, 7, n % 2, (n - 1) / 2, true from generate_series(1, 6000) n",
    )
    .await;
    site.sync().await;
    site.on_remote("update meter set name = 1 - name").await;
    let run = site.sync().await;
    assert_eq!(run.outcome, Some(RunOutcome::Succeeded), "{run:#?}");
    assert_eq!(run.counts.updated, 6000, "{:#?}", run.counts);
    let wrong = "select count(*) from meter where name = id % 2 or not active";
    assert_eq!(rows(&site.local, wrong).await, json!([{"count": 0}]));
}

/// A trigger that tells a deactivation would take the moment for one; any other is none the wiser.
#[tokio::test]
async fn a_meter_does_not_leave_the_index_by_its_flag_where_a_trigger_looks_at_the_flag() {
    for (trigger, outcome) in [
        (
            "create function tells() returns trigger language plpgsql as
                 $$ begin if old.active and not new.active then raise 'deactivated'; end if; return new; end $$;
             create trigger tells before update on meter for each row execute function tells()",
            RunOutcome::Partial,
        ),
        (
            "create table ended (id bigint);
             create function tells() returns trigger language plpgsql as
                 $$ begin insert into ended values (new.id); return new; end $$;
             create trigger tells after update of active on meter for each row execute function tells()",
            RunOutcome::Partial,
        ),
        (
            "create table ended (id bigint);
             create function tells() returns trigger language plpgsql as
                 $$ begin insert into ended values (new.id); return new; end $$;
             create trigger tells after update on meter for each row when (not new.active) execute function tells()",
            RunOutcome::Partial,
        ),
        (
            "create table ended (id bigint);
             create rule tells as on update to meter where not new.active do also insert into ended values (new.id)",
            RunOutcome::Partial,
        ),
        (
            "alter table meter add changed_at timestamptz;
             create function stamps() returns trigger language plpgsql as
                 $$ begin new.changed_at = now(); return new; end $$;
             create trigger stamps before update on meter for each row execute function stamps()",
            RunOutcome::Succeeded,
        ),
    ] {
        let local = format!("create unique index on meter (name) where active; {trigger}");
        let site = names_move_on(&local).await;
        let run = site.sync().await;
        assert_eq!(run.outcome, Some(outcome), "{trigger}: {run:#?}");
        if trigger.contains("ended") {
            let ended = rows(&site.local, "select * from ended").await;
            assert_eq!(ended, json!([]), "{trigger}");
        }
    }
}

/// The flag goes back with the meter, also where what refers to the meter follows the flag.
#[tokio::test]
async fn what_refers_to_the_flag_follows_it_there_and_back() {
    for action in ["cascade", "set null"] {
        let site = names_move_on(&format!(
            "create unique index on meter (name) where active; alter table meter add unique (id, active);
             create table reading (id bigint primary key, meter bigint, is_active boolean,
                 foreign key (meter, is_active) references meter (id, active) on update {action})"
        ))
        .await;
        site.on_local("insert into reading select id, id, active from meter")
            .await;
        assert_equal(&site, action).await;
        let astray =
            "select r.* from reading r left join meter m on m.id = r.meter and m.active = r.is_active
             where m.id is distinct from r.id";
        assert_eq!(rows(&site.local, astray).await, json!([]), "{action}");
    }
}
