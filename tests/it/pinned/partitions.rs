//! Rules that only partitions, or tables that inherit, of the local table have.

use meter_sync::config::Setting;
use meter_sync::model::RunOutcome;
use serde_json::{Value, json};

use super::counts;
use crate::support::site::{Site, rows};

const REMOTE: &str = "
    create table meter (id bigint primary key, tenant_id bigint not null, name text, active boolean not null);
    insert into meter select n, 7, 'S' || n, true from generate_series(1, 6) n;
    insert into meter select n, 7, 'S' || n, true from generate_series(101, 106) n";

/// The columns of the upper partition have other numbers.
const PARTITIONED: &str = "
    create table tenant (id bigint primary key);
    insert into tenant values (7);
    create table meter (id bigint primary key, name text, active boolean not null) partition by range (id);
    create table low partition of meter for values from (0) to (100);
    create table high (gone text, active boolean not null, name text, id bigint not null);
    alter table high drop column gone;
    alter table meter attach partition high for values from (100) to (maxvalue)";

const INHERITED: &str = "
    create table tenant (id bigint primary key);
    insert into tenant values (7);
    create table meter (id bigint primary key, name text, active boolean not null);
    create table high (primary key (id)) inherits (meter)";

/// Lets each of two meters of a table get what the other one holds.
const SWAP: &str = "
    update meter set name = case id when 1 then 'S2' when 2 then 'S1' when 101 then 'S102' else 'S101' end
    where id in (1, 2, 101, 102)";

const ENTER_ANEW: &str = "
    delete from meter where id in (1, 101); insert into meter values (9, 7, 'S1', true), (109, 7, 'S101', true)";

async fn reasons(site: &Site) -> Value {
    let sql = "select reason from meter_sync.meter_sync_rejected
        where run_id = (select max(run_id::text) from meter_sync.meter_sync_rejected)::uuid order by key";
    rows(&site.local, sql).await
}

async fn names(site: &Site, ids: &str) -> Value {
    let sql = format!("select id, name from meter where id in ({ids}) order by id");
    rows(&site.local, &sql).await
}

#[tokio::test]
async fn meters_exchange_values_under_the_rules_of_their_partitions() {
    for rules in [
        "alter table low add unique (name); alter table high add unique (name)",
        "create unique index on low (lower(name)) where active; alter table high add exclude using btree (name with =)",
    ] {
        let site = Site::with_schemas(REMOTE, PARTITIONED).await;
        site.on_local(rules).await;
        site.sync().await;
        site.on_remote(SWAP).await;
        let run = site.sync().await;
        assert_eq!(run.outcome, Some(RunOutcome::Succeeded), "{run:#?}");
        assert_eq!(counts(&run).updated, 4, "{run:#?}");
        let again = site.sync().await;
        assert_eq!(again.outcome, Some(RunOutcome::NoChange), "{again:#?}");
    }
}

#[tokio::test]
async fn what_refers_to_a_partition_stays_with_its_meter() {
    for action in ["cascade", "set null"] {
        let site = Site::with_schemas(REMOTE, PARTITIONED).await;
        site.on_local(&format!(
            "alter table low add unique (name); alter table high add unique (name);
             create table reading (id bigint primary key, meter text references low (name) on update {action})"
        ))
        .await;
        site.sync().await;
        site.on_local("insert into reading values (1, 'S1'), (2, 'S2'), (3, 'S3')")
            .await;
        site.on_remote(SWAP).await;
        let run = site.sync().await;
        assert_eq!(run.outcome, Some(RunOutcome::Succeeded), "{run:#?}");
        let readings = "select r.id, m.id as meter from reading r left join meter m on m.name = r.meter order by 1";
        assert_eq!(
            rows(&site.local, readings).await,
            json!([{"id": 1, "meter": 1}, {"id": 2, "meter": 2}, {"id": 3, "meter": 3}])
        );
    }
}

#[tokio::test]
async fn a_meter_entered_anew_takes_its_value_from_the_one_that_is_gone_from_its_partition() {
    let mut site = Site::with_schemas(REMOTE, PARTITIONED).await;
    site.on_local(
        "alter table low add unique (name); create unique index upper_name on high (upper(name))",
    )
    .await;
    site.sync().await;
    site.reconfigure(&site.settings().with(Setting::ReleaseUnique, "off"));
    site.on_remote(ENTER_ANEW).await;
    let kept = site.sync().await;
    assert_eq!(counts(&kept).rejected, 2, "{kept:#?}");
    let frees = |id, table, index: &str| {
        format!(
            "meter {id}, which is inactive and gone from the remote (unique index {index}); this statement on the local database frees the value: update \"public\".\"{table}\" set \"name\" = null where \"id\" = {id}"
        )
    };
    let told = reasons(&site).await.to_string().replace("\\\"", "\"");
    assert!(told.contains(&frees(1, "meter", "low_name_key")), "{told}");
    assert!(told.contains(&frees(101, "meter", "upper_name")), "{told}");
    site.reconfigure(&site.settings());
    let run = site.sync().await;
    assert_eq!(run.outcome, Some(RunOutcome::Succeeded), "{run:#?}");
    assert_eq!(
        names(&site, "1, 9, 101, 109").await,
        json!([
            {"id": 1, "name": null}, {"id": 9, "name": "S1"},
            {"id": 101, "name": null}, {"id": 109, "name": "S101"}
        ])
    );
}

/// The new meter of that name belongs into another partition.
#[tokio::test]
async fn a_value_that_is_held_in_another_partition_is_not_given_up() {
    let own = "alter table meter add unique (name); alter table high add unique (name);
        with moved as (delete from only meter where id > 100 returning *) insert into high select * from moved";
    let of_parts = "alter table low add unique (name); alter table high add unique (name)";
    for (local, rules) in [(PARTITIONED, of_parts), (INHERITED, own)] {
        let site = Site::with_schemas(REMOTE, local).await;
        site.sync().await;
        site.on_local(rules).await;
        // Number 9 is taken only when number 1 has given its value up, so that all rules are looked at.
        site.on_remote("delete from meter where id in (1, 102); insert into meter values (9, 7, 'S1', true), (10, 7, 'S102', true)")
            .await;
        let run = site.sync().await;
        assert_eq!(run.outcome, Some(RunOutcome::Succeeded), "{run:#?}");
        assert_eq!(
            names(&site, "1, 9, 10, 102").await,
            json!([
                {"id": 1, "name": null}, {"id": 9, "name": "S1"},
                {"id": 10, "name": "S102"}, {"id": 102, "name": "S102"}
            ])
        );
    }
}

#[tokio::test]
async fn meters_of_an_inheriting_table_exchange_values_under_its_rules() {
    let site = Site::with_schemas(REMOTE, INHERITED).await;
    site.on_local("alter table high add unique (name)").await;
    site.sync().await;
    site.on_local("with moved as (delete from only meter where id > 100 returning *) insert into high select * from moved")
        .await;
    site.on_remote(SWAP).await;
    let run = site.sync().await;
    assert_eq!(run.outcome, Some(RunOutcome::Succeeded), "{run:#?}");
    assert_eq!(
        names(&site, "1, 2, 101, 102").await,
        json!([
            {"id": 1, "name": "S2"}, {"id": 2, "name": "S1"},
            {"id": 101, "name": "S102"}, {"id": 102, "name": "S101"}
        ])
    );
}

/// Both through a value that is free in the other table, and with the check put off where none is.
#[tokio::test]
async fn values_that_only_a_part_of_the_table_refers_by_are_exchanged() {
    for (local, spare, reference) in [
        (PARTITIONED, "in stock", ""),
        (PARTITIONED, "S101", "deferrable"),
        (INHERITED, "in stock", ""),
        (INHERITED, "S101", "deferrable"),
    ] {
        let what = format!("{local} {reference}");
        let site = Site::with_schemas(REMOTE, local).await;
        site.sync().await;
        let moved = match local {
            INHERITED => {
                "with moved as (delete from only meter where id > 100 returning *) insert into high select * from moved"
            }
            _ => "select",
        };
        site.on_local(&format!(
            "{moved}; create table device (id text primary key);
             insert into device select 'S' || n from generate_series(101, 106) n;
             insert into device values ('{spare}') on conflict do nothing;
             alter table high add unique (name), alter name set not null, add foreign key (name) references device {reference}"
        ))
        .await;
        site.on_remote(SWAP).await;
        let run = site.sync().await;
        assert_eq!(run.outcome, Some(RunOutcome::Succeeded), "{what}: {run:#?}");
        assert_eq!(counts(&run).updated, 4, "{what}: {run:#?}");
        // Beside a meter that is to refer to nothing.
        site.on_remote(
            "update meter set name = case id when 1 then 'S1' when 2 then 'S2' when 101 then 'S101' when 102 then 'S102' else 'lost' end
             where id in (1, 2, 101, 102, 103)",
        )
        .await;
        let run = site.sync().await;
        let of = counts(&run);
        assert_eq!((of.updated, of.rejected), (4, 1), "{what}: {run:#?}");
    }
}
