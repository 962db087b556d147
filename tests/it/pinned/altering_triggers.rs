//! Local triggers that put another value in a unique column: the row breaks a rule that it would not have broken as it came.

use serde_json::json;

use super::site;
use crate::support::site::rows;

const REASONS: &str = "select distinct reason from meter_sync.meter_sync_rejected";

/// What the function of the trigger does to the row, the local table's rule, and the reason.
const CASES: &[(&str, &str, &str)] = &[
    (
        "new.id := 99",
        "",
        "trigger fixed (fix) changes the row to (id)=(99), which is taken (unique index meter_pkey)",
    ),
    (
        "new.name := 'b'",
        "alter table meter add constraint serial unique (name)",
        "trigger fixed (fix) changes the row to (name)=(b), which is taken (unique index serial)",
    ),
    (
        "new.name := 'B'",
        "create unique index serial on meter (lower(name), active) where id > 0",
        "trigger fixed (fix) changes the row to (lower(name), active)=(b, f), which is taken (unique index serial)",
    ),
];

#[tokio::test]
async fn the_trigger_is_named_that_changes_the_key_of_an_inserted_row() {
    for (change, rule, reason) in CASES {
        let site = site("name text", "").await;
        site.on_local(&format!(
            "insert into meter values (99, 'b', false); {rule};
             create function fix() returns trigger language plpgsql as $$ begin {change}; return new; end $$;
             create trigger fixed before insert on meter for each row execute function fix();
             create trigger other after insert on meter for each row execute function fix();
             create trigger another before update on meter for each row execute function fix()"
        ))
        .await;
        site.on_remote("insert into meter values (1, 7, 'a', false), (2, 7, null, false)")
            .await;
        let run = site.sync().await;
        assert_eq!(run.counts.rejected, 2, "{change}: {run:#?}");
        assert_eq!(
            rows(&site.local, REASONS).await,
            json!([{"reason": reason}]),
            "{change}"
        );
    }
}

#[tokio::test]
async fn the_trigger_is_named_that_changes_the_key_of_an_updated_row() {
    for (change, rule, reason) in CASES {
        let site = site("name text, note text", "").await;
        site.on_remote(
            "insert into meter values (1, 7, 'a', 'x', false), (2, 7, null, 'x', false)",
        )
        .await;
        site.sync().await;
        site.on_local(&format!(
            "insert into meter values (99, 'b', 'x', false); {rule};
             create function fix() returns trigger language plpgsql as $$ begin {change}; return new; end $$;
             create trigger another before insert on meter for each row execute function fix();
             create trigger fixed before update on meter for each row execute function fix()"
        ))
        .await;
        site.on_remote("update meter set note = 'y'").await;
        let run = site.sync().await;
        assert_eq!(run.counts.rejected, 2, "{change}: {run:#?}");
        assert_eq!(
            rows(&site.local, REASONS).await,
            json!([{"reason": reason}]),
            "{change}"
        );
    }
}

/// The value that is taken is the one that came, or one that another statement of a trigger gave: the first trigger is not to blame.
#[tokio::test]
async fn a_trigger_that_leaves_the_key_alone_is_not_named() {
    let site = site("name char(5), is_main boolean", "").await;
    site.on_local(
        "alter table meter add unique (name, is_main);
         create function fix() returns trigger language plpgsql as $$ begin return new; end $$;
         create trigger fixed before insert on meter for each row execute function fix();
         create function also() returns trigger language plpgsql as
             $$ begin insert into meter values (-new.id, new.name, new.is_main, false); return new; end $$;
         create trigger also after insert on meter for each row when (new.id > 0) execute function also()",
    )
    .await;
    site.on_local("insert into meter values (-2, 'b', true, false)")
        .await;
    site.on_remote("insert into meter values (1, 7, 'a', true, true), (2, 7, 'c', true, true)")
        .await;
    let run = site.sync().await;
    assert_eq!(run.counts.rejected, 2, "{run:#?}");
    let told = rows(&site.local, REASONS).await.to_string();
    assert!(!told.contains("trigger fixed"), "{told}");
    let wrote = "trigger also (also) wrote another row, which breaks constraint meter_";
    assert_eq!(told.matches(wrote).count(), 2, "{told}");
}
