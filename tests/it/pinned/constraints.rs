//! Constraints and triggers of the local table.

use meter_sync::mirrors::{RunApprovals, RunRequest};
use meter_sync::model::{Counts, DeactivationApproval, RunOutcome, RunTrigger};
use serde_json::json;

use super::{counts, names, site};
use crate::support::site::finish;

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
    assert_eq!(run.outcome, Some(RunOutcome::Succeeded), "{run:#?}");
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
    let allowed = finish(
        &site.mirror,
        RunRequest {
            allow: RunApprovals {
                mass_deactivation: DeactivationApproval::Any,
                ..RunApprovals::default()
            },
            ..RunRequest::new(RunTrigger::Page)
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
async fn a_local_trigger_that_alters_rows_does_not_stop_the_sync_and_is_told_of() {
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
    assert!(
        run.next_step.contains("what is written to name"),
        "{run:#?}"
    );
    let status = site.status().await;
    assert_eq!(status.warnings, [run.next_step]);
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

/// A trigger of the site's that puts off what can be put off.
const DEFERRING: &str = "create function defer() returns trigger language plpgsql as $$ begin set constraints all deferred; return new; end $$;
    create trigger defer before insert or update on meter for each row execute function defer()";

#[tokio::test]
async fn a_trigger_that_defers_constraints_leaves_one_bad_row_one_bad_row() {
    for (kind, deferrable, bad) in [
        ("foreign key", "alter table meter add foreign key (name) references device deferrable", "none"),
        ("unique", "alter table meter add unique (name) deferrable", "d1"),
        (
            "constraint trigger",
            "create function refuse() returns trigger language plpgsql as $$ begin if new.name = 'none' then raise 'no such device'; end if; return null; end $$;
             create constraint trigger refuse after insert or update on meter deferrable for each row execute function refuse()",
            "none",
        ),
    ] {
        let site = site("name text, note text", "").await;
        site.on_local("create table device (name text primary key); insert into device select 'd' || n from generate_series(1, 9) n")
            .await;
        site.on_local(&format!("{deferrable}; {DEFERRING}")).await;
        site.on_remote("insert into meter select n, 7, 'd' || n, 'old', true from generate_series(1, 5) n")
            .await;
        site.sync().await;
        site.on_remote(&format!(
            "update meter set note = 'new' where id > 2; update meter set name = '{bad}' where id = 2;
             insert into meter values (6, 7, 'd6', 'new', true), (7, 7, '{bad}', 'new', true)"
        ))
        .await;
        let run = site.sync().await;
        assert_eq!(run.outcome, Some(RunOutcome::Partial), "{kind}: {run:#?}");
        let expected = Counts {
            inserted: 1,
            updated: 3,
            unchanged: 1,
            rejected: 2,
            ..Counts::default()
        };
        assert_eq!(counts(&run), expected, "{kind}: {run:#?}");
    }
}
