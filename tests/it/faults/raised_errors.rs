//! Errors that the views, functions and triggers of either side raise, by any SQLSTATE, are reported as theirs.

use meter_sync::error::ErrorCode;
use meter_sync::model::RunOutcome;
use serde_json::json;

use crate::support::breakable_site::BreakableSite;
use crate::support::site::{Site, rows};

/// A view in place of the remote table, with a column that raises for one meter.
fn raising_view(state: &str) -> String {
    format!(
        "create or replace function boom() returns text language plpgsql as
             $$begin raise exception 'boom' using errcode = '{state}'; end$$;
         create or replace view meter as
             select m.*, case when id = 1 then boom() end as spare from old_meter m"
    )
}

async fn with_a_view_of_spare_columns() -> BreakableSite {
    let broken = BreakableSite::with_changes().await;
    let local = "alter table meter add spare text";
    broken.site.on_local(local).await;
    let remote = "alter table meter rename to old_meter";
    broken.site.on_remote(remote).await;
    broken
}

#[tokio::test]
async fn what_a_view_of_the_remote_raises_is_told_as_the_remotes() {
    let broken = with_a_view_of_spare_columns().await;
    for state in [
        "HV00N", "HV000", "XX000", "XX001", "MX123", "P0001", "54001", "38000", "39004", "22023",
        "0L000", "2F002", "21000", "57014", "40001", "40P01", "55P03", "25006", "42883", "0A000",
        "53100", "53300", "57P01", "58030", "08006", "28000", "3D000",
    ] {
        broken.site.on_remote(&raising_view(state)).await;
        let run = broken.fails_with(ErrorCode::RemoteSchema).await;
        let error = run.error.expect("an error");
        assert!(error.message.contains(state), "{error:?}");
        assert!(error.message.contains("boom()"), "{error:?}");
        assert!(error.remedy.contains("of the remote"), "{error:?}");
    }
    broken
        .site
        .on_remote("drop view meter; alter table old_meter rename to meter")
        .await;
    broken.heals().await;
}

#[tokio::test]
async fn a_scalar_subquery_with_two_rows_is_no_bug_of_ours() {
    let broken = with_a_view_of_spare_columns().await;
    broken
        .site
        .on_remote(
            "create table place (id bigint, spare text);
             insert into place values (1, 'a'), (1, 'b');
             create view meter as
             select m.*, (select p.spare from place p where p.id = m.id) as spare from old_meter m",
        )
        .await;
    let run = broken.fails_with(ErrorCode::RemoteSchema).await;
    let error = run.error.expect("an error");
    assert!(error.remedy.contains("view"), "{error:?}");
}

const METERS: &str = "
    insert into meter (id, tenant_id, name) values (1, 7, 'One'), (2, 7, 'Two'), (3, 7, 'Three')";

fn raising_trigger(state: &str) -> String {
    format!(
        "create or replace function boom() returns trigger language plpgsql as
             $$begin
                 if new.id = '2' then raise exception 'boom' using errcode = '{state}'; end if;
                 return new;
             end$$;
         create or replace trigger boom before update on meter
             for each row execute function boom()"
    )
}

#[tokio::test]
async fn whatever_a_local_trigger_raises_for_a_row_that_row_is_rejected_and_the_others_go_on() {
    let site = Site::new().await;
    site.on_remote(METERS).await;
    site.sync().await;
    for state in [
        "HV00N", "XX000", "XX001", "MX123", "P0001", "54001", "38000", "39004", "21000", "2F002",
        "0L000", "42501", "42883", "55000", "57014", "40001", "40P01", "55P03", "25006", "0A000",
    ] {
        site.on_local(&raising_trigger(state)).await;
        site.on_remote(&format!("update meter set notes = '{state}'"))
            .await;
        let run = site.sync().await;
        assert_eq!(run.outcome, Some(RunOutcome::Partial), "{state} {run:#?}");
        assert_eq!((run.counts.updated, run.counts.rejected), (2, 1), "{state}");
        let taken = format!("select id from meter where notes = '{state}' order by id");
        assert_eq!(
            rows(&site.local, &taken).await,
            json!([{"id": "1"}, {"id": "3"}])
        );
        let reason = format!(
            "select reason ~ 'boom' as is_told from meter_sync.meter_sync_rejected where run_id = '{}'",
            run.run_id
        );
        assert_eq!(
            rows(&site.local, &reason).await,
            json!([{"is_told": true}]),
            "{state}"
        );
    }
}

#[tokio::test]
async fn a_statement_that_fails_inside_a_trigger_sets_the_row_aside() {
    let site = Site::new().await;
    site.on_remote(METERS).await;
    site.sync().await;
    for fails in [
        "perform no_such_function(new.id)",
        "perform 1 from no_such_table",
        "perform (select v.v from (values (1), (2)) v (v))",
        "execute 'nonsense'",
        "perform 1 / 0",
    ] {
        site.on_local(&format!(
            "create or replace function boom() returns trigger language plpgsql as
                 $$begin if new.id = '2' then {fails}; end if; return new; end$$;
             create or replace trigger boom before update on meter
                 for each row execute function boom()"
        ))
        .await;
        site.on_remote("update meter set notes = coalesce(notes, '') || 'x'")
            .await;
        let run = site.sync().await;
        assert_eq!(run.outcome, Some(RunOutcome::Partial), "{fails} {run:#?}");
        assert_eq!((run.counts.updated, run.counts.rejected), (2, 1), "{fails}");
    }
}

#[tokio::test]
async fn a_row_is_rejected_by_whatever_sqlstate_a_trigger_raises() {
    let site = Site::new().await;
    site.on_remote("insert into meter (id, tenant_id, name) values (1, 7, 'one'), (2, 7, 'two')")
        .await;
    site.sync().await;
    for state in [
        "53100", "53300", "57P01", "58030", "08006", "28000", "3D000",
    ] {
        site.on_local(&format!(
            "create or replace function boom() returns trigger language plpgsql as
                 $$begin raise exception 'boom' using errcode = '{state}'; end$$;
             create or replace trigger boom before update on meter
                 for each row when (new.id = '1') execute function boom()"
        ))
        .await;
        site.on_remote("update meter set notes = coalesce(notes, '') || 'x'")
            .await;
        let run = site.sync().await;
        assert_eq!(run.outcome, Some(RunOutcome::Partial), "{state} {run:#?}");
        assert_eq!((run.counts.updated, run.counts.rejected), (1, 1), "{state}");
    }
}

#[tokio::test]
async fn a_trigger_that_names_a_constraint_keeps_its_own_words() {
    let site = Site::new().await;
    site.on_local(
        "alter table meter add constraint meter_notes_check check (length(notes) < 1000);
         create function boom() returns trigger language plpgsql as
             $$begin
                 if new.id = '2' then
                     raise exception 'no notes on Sundays'
                         using errcode = 'check_violation', constraint = 'meter_notes_check';
                 end if;
                 return new;
             end$$;
         create trigger boom before insert or update on meter for each row execute function boom()",
    )
    .await;
    site.on_remote(METERS).await;
    let run = site.sync().await;
    assert_eq!(run.outcome, Some(RunOutcome::Partial), "{run:#?}");
    let reason = format!(
        "select reason ~ 'no notes on Sundays' as is_told, reason ~ 'length' as is_of_constraint
         from meter_sync.meter_sync_rejected where run_id = '{}'",
        run.run_id
    );
    assert_eq!(
        rows(&site.local, &reason).await,
        json!([{"is_told": true, "is_of_constraint": false}])
    );
}
