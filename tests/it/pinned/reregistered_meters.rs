//! Meters that were registered again on the remote, under another key and with their old serial number.

use meter_sync::config::Setting;
use meter_sync::model::{Counts, RunOutcome};
use serde_json::json;

use super::{counts, site};
use crate::support::site::{Site, rows};

const SERIALS: &str = "select id, active, name from meter order by id";
const REASONS: &str = "select reason from meter_sync.meter_sync_rejected where run_id = (select max(run_id::text) from meter_sync.meter_sync_rejected)::uuid";

/// A site of six meters, of which the remote enters number 1 anew as number 9.
async fn entered_anew(column: &str, rule: &str) -> Site {
    let site = site(column, rule).await;
    site.on_remote("insert into meter select n, 7, 'S' || n, true from generate_series(1, 6) n")
        .await;
    site.sync().await;
    enter_anew(&site).await;
    site
}

async fn enter_anew(site: &Site) {
    site.on_remote("delete from meter where id = 1; insert into meter values (9, 7, 'S1', true)")
        .await;
}

async fn serials(site: &Site) -> serde_json::Value {
    rows(
        &site.local,
        &format!("select q.* from ({SERIALS}) q where id in (1, 9)"),
    )
    .await
}

async fn history(site: &Site, id: i64) -> serde_json::Value {
    let sql = format!(
        "select action, before, after from meter_sync.meter_sync_change where key = '{{\"id\": {id}}}' order by run_id, n offset 1"
    );
    rows(&site.local, &sql).await
}

#[tokio::test]
async fn a_meter_entered_anew_takes_its_serial_number_from_the_one_that_is_gone() {
    let site = entered_anew("name text", ", unique (name)").await;
    let run = site.sync().await;
    assert_eq!(run.outcome, Some(RunOutcome::Succeeded), "{run:#?}");
    assert_eq!(
        counts(&run),
        Counts {
            inserted: 1,
            deactivated: 1,
            unchanged: 5,
            ..Counts::default()
        }
    );
    assert_eq!(
        serials(&site).await,
        json!([{"id": 1, "active": false, "name": null}, {"id": 9, "active": true, "name": "S1"}])
    );
    assert_eq!(
        history(&site, 1).await,
        json!([{"action": "deactivate", "before": {"active": true, "name": "S1"}, "after": {"active": false, "name": null}}])
    );
    for _ in 0..2 {
        let again = site.sync().await;
        assert_eq!(again.outcome, Some(RunOutcome::NoChange), "{again:#?}");
    }
}

#[tokio::test]
async fn a_meter_that_was_gone_before_gives_its_serial_number_up_and_its_history_says_so() {
    for rule in [
        "create unique index on meter (lower(name))",
        "alter table meter add exclude using btree (name with =)",
    ] {
        let site = site("name text", "").await;
        site.on_local(rule).await;
        site.on_remote(
            "insert into meter select n, 7, 'S' || n, true from generate_series(1, 6) n",
        )
        .await;
        site.sync().await;
        site.on_remote("delete from meter where id = 1").await;
        site.sync().await;
        site.sync().await;
        enter_anew(&site).await;
        let run = site.sync().await;
        assert_eq!(run.outcome, Some(RunOutcome::Succeeded), "{run:#?}");
        assert_eq!(
            counts(&run),
            Counts {
                inserted: 1,
                unchanged: 5,
                ..Counts::default()
            }
        );
        assert_eq!(run.changes.len(), 2, "{run:#?}");
        assert_eq!(
            history(&site, 1).await[1],
            json!({"action": "update", "before": {"name": "S1"}, "after": {"name": null}})
        );
        let again = site.sync().await;
        assert_eq!(again.outcome, Some(RunOutcome::NoChange), "{again:#?}");
    }
}

#[tokio::test]
async fn an_update_takes_the_value_of_a_gone_meter_as_a_new_meter_does() {
    let site = entered_anew("name text", ", unique (name)").await;
    site.on_remote("delete from meter where id = 9; update meter set name = 'S1' where id = 2; update meter set name = 'S2' where id = 3")
        .await;
    let run = site.sync().await;
    assert_eq!(run.outcome, Some(RunOutcome::Succeeded), "{run:#?}");
    assert_eq!(
        rows(&site.local, SERIALS).await.as_array().map(|all| all.iter().take(3).cloned().collect::<Vec<_>>()),
        json!([{"id": 1, "active": false, "name": null}, {"id": 2, "active": true, "name": "S1"}, {"id": 3, "active": true, "name": "S2"}]).as_array().cloned()
    );
}

#[tokio::test]
async fn where_values_are_kept_the_rejection_names_the_holder_and_what_frees_the_value() {
    for (column, release) in [("name text", "off"), ("name text not null", "on")] {
        let mut site = site(column, ", constraint serial unique (name)").await;
        let settings = site.settings().with(Setting::ReleaseUnique, release);
        site.reconfigure(&settings);
        site.on_remote(
            "insert into meter select n, 7, 'S' || n, true from generate_series(1, 6) n",
        )
        .await;
        site.sync().await;
        enter_anew(&site).await;
        let run = site.sync().await;
        assert_eq!(run.outcome, Some(RunOutcome::Partial), "{run:#?}");
        let reasons = rows(&site.local, REASONS).await;
        let reason = reasons[0]["reason"].as_str().expect("a reason");
        let (why, statement) = reason
            .split_once("; this statement on the local database frees the value: ")
            .unwrap_or_else(|| panic!("{reason}"));
        assert_eq!(
            why,
            "name \"S1\" is taken by meter 1, which is inactive and gone from the remote (unique index serial)"
        );
        site.on_local(statement).await;
        let run = site.sync().await;
        assert_eq!(run.outcome, Some(RunOutcome::Succeeded), "{run:#?}");
        assert_eq!(
            serials(&site).await[1],
            json!({"id": 9, "active": true, "name": "S1"})
        );
    }
}

#[tokio::test]
async fn a_meter_that_comes_back_takes_its_own_value_again_or_is_told_who_has_it() {
    let site = entered_anew("name text", ", unique (name)").await;
    site.sync().await;
    site.on_remote("insert into meter values (1, 7, 'S1', true)")
        .await;
    let run = site.sync().await;
    assert_eq!(run.outcome, Some(RunOutcome::Partial), "{run:#?}");
    assert_eq!(
        rows(&site.local, REASONS).await,
        json!([{"reason": "name \"S1\" is taken by meter 9, which is active (unique index meter_name_key)"}])
    );
    site.on_remote("delete from meter where id = 9").await;
    let run = site.sync().await;
    assert_eq!(run.outcome, Some(RunOutcome::Succeeded), "{run:#?}");
    assert_eq!(
        serials(&site).await,
        json!([{"id": 1, "active": true, "name": "S1"}, {"id": 9, "active": false, "name": null}])
    );
    let again = site.sync().await;
    assert_eq!(again.outcome, Some(RunOutcome::NoChange), "{again:#?}");
}

#[tokio::test]
async fn an_inactive_meter_that_the_remote_still_has_keeps_its_value() {
    let site = site("name text", ", unique (name)").await;
    site.on_remote("insert into meter values (1, 7, 'S1', false), (2, 7, 'S2', true)")
        .await;
    site.sync().await;
    site.on_remote("insert into meter values (9, 7, 'S1', true)")
        .await;
    let run = site.sync().await;
    assert_eq!(run.outcome, Some(RunOutcome::Partial), "{run:#?}");
    assert_eq!(
        rows(&site.local, REASONS).await,
        json!([{"reason": "name \"S1\" is taken by meter 1, which is inactive (unique index meter_name_key)"}])
    );
    assert_eq!(
        serials(&site).await,
        json!([{"id": 1, "active": false, "name": "S1"}])
    );
}

#[tokio::test]
async fn a_value_that_readings_refer_to_is_not_given_up() {
    for action in ["cascade", "set null", "no action"] {
        let site = entered_anew("name text", ", unique (name)").await;
        site.on_local(&format!(
            "create table reading (id bigint primary key, meter text references meter (name) on update {action}); insert into reading values (1, 'S1')"
        ))
        .await;
        let run = site.sync().await;
        assert_eq!(run.outcome, Some(RunOutcome::Partial), "{action}: {run:#?}");
        assert_eq!(
            rows(&site.local, "select meter from reading").await,
            json!([{"meter": "S1"}]),
            "{action}"
        );
        assert_eq!(
            serials(&site).await,
            json!([{"id": 1, "active": false, "name": "S1"}]),
            "{action}"
        );
    }
}

#[tokio::test]
async fn a_value_goes_back_when_the_meter_that_was_to_get_it_is_rejected() {
    let site = entered_anew("name text", ", unique (name), check (id <> 9)").await;
    let run = site.sync().await;
    assert_eq!(
        counts(&run),
        Counts {
            deactivated: 1,
            rejected: 1,
            unchanged: 5,
            ..Counts::default()
        },
        "{run:#?}"
    );
    assert_eq!(
        serials(&site).await,
        json!([{"id": 1, "active": false, "name": "S1"}])
    );
    assert_eq!(
        history(&site, 1).await,
        json!([{"action": "deactivate", "before": {"active": true}, "after": {"active": false}}])
    );
}

#[tokio::test]
async fn a_value_that_a_local_trigger_keeps_is_not_recorded_as_given_up() {
    let site = site("name text", ", unique (name)").await;
    site.on_local(
        "create function keeps() returns trigger language plpgsql as
             $$ begin new.name = coalesce(new.name, old.name); return new; end $$;
         create trigger keeps before update on meter for each row execute function keeps()",
    )
    .await;
    site.on_remote("insert into meter select n, 7, 'S' || n, true from generate_series(1, 6) n")
        .await;
    site.sync().await;
    enter_anew(&site).await;
    let run = site.sync().await;
    assert_eq!(run.outcome, Some(RunOutcome::Partial), "{run:#?}");
    let deactivated =
        json!([{"action": "deactivate", "before": {"active": true}, "after": {"active": false}}]);
    assert_eq!(history(&site, 1).await, deactivated);
    assert_eq!(
        serials(&site).await,
        json!([{"id": 1, "active": false, "name": "S1"}])
    );
}

#[tokio::test]
async fn the_statement_that_is_to_free_a_value_frees_it() {
    for (column, free) in [
        ("name text unique check (name is not null)", "'S1 (gone)'"),
        ("name text", "null"),
        ("name varchar(2) unique check (name is not null)", "'"),
    ] {
        let site = site("name text", "").await;
        site.on_local(&format!(
            "alter table meter drop column name, add column {column}"
        ))
        .await;
        site.on_local("create unique index if not exists meter_names on meter (name)")
            .await;
        let mut site = site;
        let settings = site.settings().with(Setting::ReleaseUnique, "off");
        site.reconfigure(&settings);
        site.on_remote(
            "insert into meter select n, 7, 'S' || n, true from generate_series(1, 6) n",
        )
        .await;
        site.sync().await;
        enter_anew(&site).await;
        let run = site.sync().await;
        assert_eq!(run.outcome, Some(RunOutcome::Partial), "{run:#?}");
        let reasons = rows(&site.local, REASONS).await;
        let reason = reasons[0]["reason"].as_str().expect("a reason");
        let (_, statement) = reason.split_once("frees the value: ").expect(reason);
        assert!(
            statement.contains(&format!("\"name\" = {free}")),
            "{reason}"
        );
        site.on_local(statement).await;
        let run = site.sync().await;
        assert_eq!(run.outcome, Some(RunOutcome::Succeeded), "{run:#?}");
    }
}

/// The trigger lets the row be written, and the value stays.
#[tokio::test]
async fn a_statement_whose_effect_a_trigger_undoes_is_not_said_to_free_the_value() {
    for (restores, free) in [
        (
            "new.name is null",
            "frees the value: update \"public\".\"meter\" set \"name\" = 'S1 (gone)' where",
        ),
        (
            "new.name is distinct from old.name",
            "; give that meter another value on the local database",
        ),
    ] {
        let mut site = site("name text", ", unique (name)").await;
        site.on_local(&format!(
            "create function keeps() returns trigger language plpgsql as
                 $$ begin if {restores} then new.name = old.name; end if; return new; end $$;
             create trigger keeps before update on meter for each row execute function keeps()"
        ))
        .await;
        site.reconfigure(&site.settings().with(Setting::ReleaseUnique, "off"));
        site.on_remote("insert into meter values (1, 7, 'S1', true), (2, 7, 'S2', true)")
            .await;
        site.sync().await;
        enter_anew(&site).await;
        site.sync().await;
        let reasons = rows(&site.local, REASONS).await.to_string();
        let reason = reasons.replace("\\\"", "\"");
        assert!(reason.contains(free), "{reasons}");
    }
}

/// What the index holds of a new row is the default of the local column.
#[tokio::test]
async fn a_value_that_is_unique_together_with_a_local_column_is_taken_by_its_default() {
    for (place, is_told) in [
        ("text default 'hall'", true),
        ("text not null default lower('HALL')", true),
        ("name default current_user", true),
        ("bigint not null default length('hall') + 1", true),
        ("uuid not null default gen_random_uuid()", false),
    ] {
        let rule = format!(", place {place}, unique (place, name)");
        let site = entered_anew("name text", &rule).await;
        let run = site.sync().await;
        assert_eq!(
            run.outcome,
            Some(RunOutcome::Succeeded),
            "{place}: {run:#?}"
        );
        let old = if is_told { json!(null) } else { json!("S1") };
        assert_eq!(
            serials(&site).await,
            json!([{"id": 1, "active": false, "name": old}, {"id": 9, "active": true, "name": "S1"}]),
            "{place}"
        );
    }
}

#[tokio::test]
async fn who_holds_a_value_together_with_the_default_of_a_local_column_is_named() {
    let place = ", place text default 'hall', constraint placed unique (place, name)";
    let mut site = site("name text", place).await;
    site.on_remote("insert into meter values (1, 7, 'S1', true)")
        .await;
    site.sync().await;
    site.reconfigure(&site.settings().with(Setting::ReleaseUnique, "off"));
    site.on_remote("insert into meter values (9, 7, 'S1', true)")
        .await;
    site.sync().await;
    assert_eq!(
        rows(&site.local, REASONS).await,
        json!([{"reason": "place \"hall\", name \"S1\" is taken by meter 1, which is active (unique index placed)"}])
    );
}

/// The index begins with a column that is not synced; that of the meter's number may not be null.
#[tokio::test]
async fn the_statement_that_frees_a_value_marks_the_value_of_its_own_column() {
    let local = ", place text not null default 'here', constraint serial unique (place, name)";
    let site = entered_anew("name text not null", local).await;
    let run = site.sync().await;
    assert_eq!(run.outcome, Some(RunOutcome::Partial), "{run:#?}");
    let reason = "place \"here\", name \"S1\" is taken by meter 1, which is inactive and gone from the remote (unique index serial); \
        this statement on the local database frees the value: update \"public\".\"meter\" set \"name\" = 'S1 (gone)' where \"id\" = 1";
    assert_eq!(
        rows(&site.local, REASONS).await,
        json!([{"reason": reason}])
    );
}
