//! Tables, columns, keys, rights and rows that a sync cannot work with.

use meter_sync::config::Setting;
use meter_sync::error::ErrorCode;
use meter_sync::model::RunOutcome;
use serde_json::json;

use crate::support::breakable_site::BreakableSite;
use crate::support::site::rows;

/// What is broken, its code, and how it is mended.
type Case = (&'static str, ErrorCode, &'static str);

const REMOTE: &[Case] = &[
    (
        "alter table meter rename to old_meter",
        ErrorCode::RemoteSchema,
        "alter table old_meter rename to meter",
    ),
    (
        "alter table meter rename tenant_id to customer",
        ErrorCode::RemoteSchema,
        "alter table meter rename customer to tenant_id",
    ),
    (
        "alter table meter rename id to number",
        ErrorCode::RemoteSchema,
        "alter table meter rename number to id",
    ),
    (
        "alter table meter rename active to in_use",
        ErrorCode::RemoteSchema,
        "alter table meter rename in_use to active",
    ),
    (
        "alter table meter drop constraint meter_pkey; insert into meter (id, tenant_id) values (3, 7)",
        ErrorCode::DuplicateSourceKey,
        "delete from meter where id = 3 and name is null; alter table meter add primary key (id)",
    ),
    (
        "alter table meter rename to old_meter;
         create view meter as select *, 1 / (id - 3) as spare from old_meter",
        ErrorCode::RemoteSchema,
        "drop view meter; alter table old_meter rename to meter",
    ),
];

const LOCAL: &[Case] = &[
    (
        "alter table meter rename to old_meter; create view meter as select * from old_meter",
        ErrorCode::LocalSchema,
        "drop view meter; alter table old_meter rename to meter",
    ),
    (
        "alter table meter rename active to in_use",
        ErrorCode::LocalSchema,
        "alter table meter rename in_use to active",
    ),
    (
        "alter table meter alter active drop default, alter active type text",
        ErrorCode::LocalSchema,
        "alter table meter alter active type boolean using active::boolean, alter active set default true",
    ),
    (
        "alter table meter_reading drop constraint meter_reading_meter_id_fkey;
         alter table meter drop constraint meter_pkey",
        ErrorCode::LocalSchema,
        "alter table meter add primary key (id);
         alter table meter_reading add foreign key (meter_id) references meter",
    ),
];

#[tokio::test]
async fn what_the_remote_lacks_fails_the_run_until_it_is_there() {
    let broken = BreakableSite::with_changes().await;
    for (breaks, code, mends) in REMOTE {
        broken.site.on_remote(breaks).await;
        // a view in place of the table computes the column only when it is asked for
        if breaks.contains("spare") {
            broken
                .site
                .on_local("alter table meter add spare text")
                .await;
        }
        broken.fails_with(*code).await;
        broken.site.on_remote(mends).await;
        broken.heals().await;
        broken.change_the_remote().await;
    }
}

#[tokio::test]
async fn what_the_local_side_lacks_fails_the_run_until_it_is_there() {
    let broken = BreakableSite::with_changes().await;
    for (breaks, code, mends) in LOCAL {
        broken.site.on_local(breaks).await;
        broken.fails_with(*code).await;
        broken.site.on_local(mends).await;
        broken.heals().await;
        broken.change_the_remote().await;
    }
}

#[tokio::test]
async fn a_local_table_that_is_missing_is_told_and_not_made() {
    let broken = BreakableSite::with_changes().await;
    broken
        .site
        .on_local("alter table meter rename to old_meter")
        .await;
    let run = broken.site.sync().await;
    let error = run.error.as_ref().expect("an error");
    assert_eq!(error.code, ErrorCode::LocalSchema, "{run:#?}");
    assert_eq!(broken.logged(&run).await[0]["error_code"], "LOCAL_SCHEMA");
    let status = broken.site.status().await;
    assert!(status.warnings[0].contains("does not exist"), "{status:?}");
    broken
        .site
        .on_local("alter table old_meter rename to meter")
        .await;
    broken.heals().await;
}

#[tokio::test]
async fn settings_that_name_what_is_not_there_are_told_by_side() {
    let mut broken = BreakableSite::with_changes().await;
    for (setting, value, code) in [
        (
            Setting::Columns,
            "name,no_such_column",
            ErrorCode::LocalSchema,
        ),
        (Setting::Columns, "name,site_note", ErrorCode::RemoteSchema),
        (Setting::Key, "no_such_column", ErrorCode::LocalSchema),
        (Setting::Key, "name", ErrorCode::LocalSchema),
        (
            Setting::RemoteTable,
            "no_such_schema.meter",
            ErrorCode::RemoteSchema,
        ),
        (
            Setting::RemoteQuery,
            "select from nowhere at all",
            ErrorCode::RemoteSchema,
        ),
        (
            Setting::RemoteQuery,
            "select 1 as id",
            ErrorCode::RemoteSchema,
        ),
        (Setting::TenantColumn, "site_note", ErrorCode::RemoteSchema),
        (Setting::ActiveColumn, "name", ErrorCode::LocalSchema),
    ] {
        broken.reconfigure(&[(setting, value)]);
        broken.fails_with(code).await;
    }
    broken.reconfigure(&[]);
    broken.heals().await;
}

#[tokio::test]
async fn without_exactly_one_tenant_nothing_is_synced() {
    let broken = BreakableSite::with_changes().await;
    for (breaks, mends) in [
        (
            "delete from tenant",
            "insert into tenant values (7, 'Acme')",
        ),
        (
            "insert into tenant values (8, 'Byte')",
            "delete from tenant where id = 8",
        ),
        (
            "alter table tenant rename to old_tenant",
            "alter table old_tenant rename to tenant",
        ),
    ] {
        broken.site.on_local(breaks).await;
        broken.fails_with(ErrorCode::TenantNotConfigured).await;
        broken.site.on_local(mends).await;
        broken.heals().await;
        broken.change_the_remote().await;
    }
}

/// A role of this test alone (roles belong to the whole server), and the URL with it.
pub(super) async fn with_role(url: &str, admin: &tokio_postgres::Client, may: &str) -> String {
    let database = url.rsplit('/').next().unwrap();
    let role = format!("of_{database}");
    let sql = format!("drop role if exists {role}; create role {role} login; {may}");
    let sql = sql.replace("$role", &role);
    admin.batch_execute(&sql).await.expect("make a role");
    url.replace("postgres@", &format!("{role}@"))
}

#[tokio::test]
async fn a_remote_role_that_may_not_read_is_told_what_to_grant() {
    let mut broken = BreakableSite::with_changes().await;
    let url = with_role(&broken.site.pair.remote_url, &broken.site.remote, "").await;
    broken.reconfigure(&[(Setting::RemoteUrl, &url)]);
    let run = broken.fails_with(ErrorCode::RemotePermission).await;
    let remedy = run.error.expect("an error").remedy;
    assert!(
        remedy.contains("grant select on meter to <role>"),
        "{remedy}"
    );
    broken
        .site
        .on_remote("grant select on meter to public")
        .await;
    broken.heals().await;
}

#[tokio::test]
async fn a_local_role_needs_its_rights_step_by_step() {
    let mut broken = BreakableSite::with_changes().await;
    broken.site.on_local("drop schema meter_sync cascade").await;
    let url = with_role(
        &broken.site.pair.local_url,
        &broken.site.local,
        "grant select on meter, tenant to $role",
    )
    .await;
    broken.reconfigure(&[(Setting::LocalUrl, &url)]);
    let before = broken.meters().await;
    let run = broken.site.sync().await;
    let error = run.error.as_ref().expect("an error");
    assert_eq!(error.code, ErrorCode::LocalAuth, "{run:#?}");
    assert!(error.remedy.contains("schema meter_sync"), "{error:?}");

    let database = url.rsplit('/').next().unwrap();
    let grant = format!("grant create on database {database} to of_{database}");
    broken.site.on_local(&grant).await;
    let run = broken.fails_with(ErrorCode::LocalAuth).await;
    assert_eq!(broken.meters().await, before, "{run:#?}");

    let grant = format!("grant insert, update on meter to of_{database}");
    broken.site.on_local(&grant).await;
    broken.heals().await;
}

#[tokio::test]
async fn a_row_that_is_not_taken_is_rejected_and_the_others_go_on() {
    let broken = BreakableSite::with_changes().await;
    broken
        .site
        .on_local("alter table meter add check (name <> 'bad')")
        .await;
    broken
        .site
        .on_remote("insert into meter (id, tenant_id, name, port) values (20, 7, 'bad', 1), (21, 7, 'x', 1234567), (22, 7, 'good', 5)")
        .await;
    let run = broken.site.sync().await;
    assert_eq!(run.outcome, Some(RunOutcome::Partial), "{run:#?}");
    assert_eq!(
        (run.counts.rejected, run.counts.inserted),
        (2, 3),
        "{run:#?}"
    );
    let code = run.error.as_ref().map(|error| error.code);
    assert_eq!(code, Some(ErrorCode::LocalConstraint));
    let rejected = "select key->>'id' as id, reason from meter_sync.meter_sync_rejected order by 1";
    let rejected = rows(&broken.site.local, rejected).await;
    assert_eq!(rejected[0]["id"], "20");
    assert!(
        rejected[0]["reason"].as_str().unwrap().contains("check"),
        "{rejected}"
    );
    assert_eq!(rejected[1]["id"], "21");
    broken.shows_no_secret(&run).await;
    broken
        .site
        .on_remote("delete from meter where id in (20, 21)")
        .await;
    broken.heals().await;
}

#[tokio::test]
async fn more_bad_rows_than_allowed_fail_the_run_as_a_whole() {
    let mut broken = BreakableSite::with_changes().await;
    broken.reconfigure(&[(Setting::RejectedLimit, "2")]);
    for (bad, mended) in [("x", "port = 70000000"), ("name", "name = 'bad'")] {
        let insert = format!(
            "insert into meter (id, tenant_id, notes) select n, 7, '{bad}' from generate_series(31, 40) n;
             update meter set {mended} where id > 30 and id % 3 = 0"
        );
        broken
            .site
            .on_local("alter table meter add constraint fine check (name <> 'bad')")
            .await;
        broken.site.on_remote(&insert).await;
        broken.fails_with(ErrorCode::LocalConstraint).await;
        let rejected = "select key from meter_sync.meter_sync_rejected";
        assert_eq!(rows(&broken.site.local, rejected).await, json!([]));
        broken
            .site
            .on_remote("delete from meter where id > 30")
            .await;
        broken
            .site
            .on_local("alter table meter drop constraint fine")
            .await;
    }
    broken.heals().await;
}
