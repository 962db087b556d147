//! Meters are gone from the remote, and others new or changed, since a run that found both sides equal. What is missing
//! is found from sums of keys, and the remote is asked for single keys.

use meter_sync::config::Setting;
use meter_sync::error::ErrorCode;
use meter_sync::model::{Counts, RunOutcome};

use crate::support::site::{Site, rows};

const METERS: i64 = 3000;

/// A site of 3,000 meters in sync. `key` is SQL for the keys, made from a number `n`, `declared` declares its columns,
/// and `names` lists them.
async fn settled(declared: &str, names: &str, key: &str) -> Site {
    of_so_many(METERS, declared, names, key).await
}

async fn of_so_many(meters: i64, declared: &str, names: &str, key: &str) -> Site {
    let table = |tenant: &str| {
        format!(
            "create table meter ({declared}, {tenant} name text, active boolean not null, primary key ({names}))"
        )
    };
    let remote = table("tenant_id bigint not null,");
    let local = format!(
        "create table tenant (id bigint primary key, name text);
         insert into tenant values (7, 'Acme');
         {}",
        table("")
    );
    let mut site = Site::with_schemas(&remote, &local).await;
    let settings = site.settings();
    site.reconfigure(&settings.with(Setting::Key, names));
    site.on_remote(&format!(
        "insert into meter select {key}, 7, 'meter ' || n, n % 10 > 0 from generate_series(1, {meters}) n;
         create table number as select n, m.* from generate_series(1, {meters}) n
         join meter m on m.name = 'meter ' || n"
    ))
    .await;
    site.sync().await;
    assert_eq!(site.sync().await.outcome, Some(RunOutcome::NoChange));
    site
}

/// The same with numbers as keys.
async fn of_numbers() -> Site {
    settled("id bigint", "id", "n").await
}

async fn assert_is_equal(site: &Site) {
    let active = "select name from meter where active order by name collate \"C\"";
    assert_eq!(
        rows(&site.local, active).await,
        rows(&site.remote, active).await
    );
    let next = site.sync().await;
    assert_eq!(next.outcome, Some(RunOutcome::NoChange), "{next:#?}");
}

/// Changes the remote and syncs. The run tells what it did.
async fn assert_told(site: &Site, changes: &str, expected: Counts) {
    site.on_remote(changes).await;
    let run = site.sync().await;
    assert_eq!(run.counts, expected, "{changes}: {run:#?}");
    assert_is_equal(site).await;
}

const CHANGES: Counts = Counts {
    inserted: 0,
    updated: 0,
    deactivated: 0,
    reactivated: 0,
    unchanged: 0,
    rejected: 0,
};

/// What it takes to delete meters, insert and update others, by the numbers of the meters. Every tenth is inactive.
const MIXED: &str = "
    delete from meter m using number k where k.name = m.name and k.n % 100 = 1;
    update meter m set name = m.name || '!' from number k where k.name = m.name and k.n % 100 in (2, 3)";

const MIXED_COUNTS: Counts = Counts {
    deactivated: METERS / 100,
    updated: METERS / 50,
    unchanged: METERS - METERS / 100 - METERS / 50,
    ..CHANGES
};

#[tokio::test]
async fn missing_meters_are_found_by_numbers() {
    let site = of_numbers().await;
    assert_told(&site, MIXED, MIXED_COUNTS).await;
}

#[tokio::test]
async fn missing_meters_are_found_by_keys_of_any_type() {
    let shapes = [
        ("id smallint", "id", "n - 1500"),
        ("id integer", "id", "-n * 1000"),
        (
            "id bigint",
            "id",
            "n * 5000000000000::bigint * (n % 3 - 1) + n",
        ),
        ("id uuid", "id", "md5(n::text)::uuid"),
        ("id text", "id", "'\"{' || n || ',\\''}\"'"),
        ("id varchar(40)", "id", "'  ' || n"),
        (
            "id timestamptz",
            "id",
            "timestamptz '2026-01-01' + n * interval '1 second'",
        ),
        ("site integer, id text", "site,id", "n % 7, 'meter ' || n"),
    ];
    for (declared, names, key) in shapes {
        let site = settled(declared, names, key).await;
        assert_told(&site, MIXED, MIXED_COUNTS).await;
    }
}

#[tokio::test]
async fn many_missing_meters_of_the_same_buckets_are_found() {
    let site = of_numbers().await;
    let expected = Counts {
        deactivated: 450,
        unchanged: METERS - 500,
        ..CHANGES
    };
    assert_told(&site, "delete from meter where id > 2500", expected).await;
}

#[tokio::test]
async fn a_meter_that_gets_another_key_is_one_that_is_gone_and_one_that_is_new() {
    let site = of_numbers().await;
    let expected = Counts {
        deactivated: 9,
        inserted: 10,
        unchanged: METERS - 10,
        ..CHANGES
    };
    site.on_remote("update meter set id = id + 100000 where id <= 10")
        .await;
    let run = site.sync().await;
    assert_eq!(run.counts, expected, "{run:#?}");
    assert_is_equal(&site).await;
}

#[tokio::test]
async fn a_meter_that_comes_back_while_others_go_is_told_as_such() {
    let site = of_numbers().await;
    site.on_remote("delete from meter where id <= 20").await;
    site.sync().await;
    let back = "insert into meter select id, tenant_id, name, active from number where n <= 5;
                delete from meter where id between 21 and 30";
    let expected = Counts {
        reactivated: 5,
        deactivated: 9,
        unchanged: METERS - 30,
        ..CHANGES
    };
    assert_told(&site, back, expected).await;
}

/// Inactive meters that go change nothing here, but must not come up again in each run.
#[tokio::test]
async fn an_inactive_meter_that_goes_is_remembered() {
    let site = of_numbers().await;
    let expected = Counts {
        unchanged: METERS - 30,
        ..CHANGES
    };
    let gone = "delete from meter where id % 100 = 10";
    site.on_remote(gone).await;
    let run = site.sync().await;
    assert_eq!(run.counts, expected, "{run:#?}");
    assert_is_equal(&site).await;
    let more = Counts {
        deactivated: 1,
        unchanged: METERS - 31,
        ..CHANGES
    };
    assert_told(&site, "delete from meter where id = 1", more).await;
}

#[tokio::test]
async fn a_key_that_is_there_twice_is_refused_also_if_others_are_gone() {
    for twin in [
        "insert into meter select * from meter where id = 5",
        "insert into meter select 9001, 7, 'twin ' || n, true from generate_series(1, 2) n",
        "update meter set id = 6 where id = 5",
    ] {
        let site = of_numbers().await;
        site.on_remote("alter table meter drop constraint meter_pkey")
            .await;
        site.sync().await;
        site.sync().await;
        site.on_remote(&format!("{twin}; delete from meter where id in (7, 8)"))
            .await;
        let run = site.sync().await;
        let code = run.error.as_ref().map(|error| error.code);
        assert_eq!(
            code,
            Some(ErrorCode::DuplicateSourceKey),
            "{twin}: {run:#?}"
        );
        site.on_remote("delete from meter where id in (5, 6, 9001)")
            .await;
        site.sync().await;
        assert_is_equal(&site).await;
    }
}

#[tokio::test]
async fn a_new_row_that_is_refused_hides_no_missing_one() {
    let site = of_numbers().await;
    site.on_local("alter table meter alter name type varchar(20)")
        .await;
    site.sync().await;
    site.sync().await;
    site.on_remote(
        "insert into meter values (9001, 7, repeat('long', 20), true), (9002, 7, 'short', true);
         delete from meter where id <= 20",
    )
    .await;
    let run = site.sync().await;
    let expected = Counts {
        inserted: 1,
        rejected: 1,
        deactivated: 18,
        unchanged: METERS - 20,
        ..CHANGES
    };
    assert_eq!(run.counts, expected, "{run:#?}");
}

/// Somebody has deleted a row here, so that it is not known what is missing.
#[tokio::test]
async fn rows_that_somebody_wrote_here_are_compared_in_the_usual_way() {
    let site = of_numbers().await;
    site.on_local("delete from meter where id = 40; insert into meter values (9001, 'ours', true)")
        .await;
    let expected = Counts {
        inserted: 1,
        deactivated: METERS / 100 + 1,
        updated: METERS / 50,
        unchanged: METERS - METERS / 100 - METERS / 50 - 1,
        ..CHANGES
    };
    assert_told(&site, MIXED, expected).await;
}

#[tokio::test]
async fn a_server_that_does_not_tell_what_was_written_is_synced_all_the_same() {
    let site = of_numbers().await;
    site.on_remote(
        "alter function pg_catalog.pg_stat_get_tuples_inserted(oid) rename to is_elsewhere",
    )
    .await;
    assert_told(&site, MIXED, MIXED_COUNTS).await;
    let all = Counts {
        updated: METERS - METERS / 100,
        ..CHANGES
    };
    assert_told(&site, "update meter set name = name || '?'", all).await;
}

/// The upper halves of the keys change, and in many buckets the keys that go and those that come cancel each other out.
#[tokio::test]
async fn keys_that_move_by_their_upper_halves_are_missing_and_new() {
    let site = settled("id bigint", "id", "(1::bigint << 44) | n").await;
    let moved = "update meter set id = (2::bigint << 44) | (id & 65535) where (id & 65535) <= 301";
    let expected = Counts {
        inserted: 301,
        deactivated: 271,
        unchanged: METERS - 301,
        ..CHANGES
    };
    assert_told(&site, moved, expected).await;
    let site = settled("id bigint", "id", "((n % 3 + 1)::bigint << 44) | (n / 3)").await;
    let moved =
        "update meter set id = id + (4::bigint << 44) where name in ('meter 27', 'meter 28');
                 delete from meter where name = 'meter 31'";
    let expected = Counts {
        inserted: 2,
        deactivated: 3,
        unchanged: METERS - 3,
        ..CHANGES
    };
    assert_told(&site, moved, expected).await;
}

#[tokio::test]
async fn a_new_row_without_a_key_is_rejected_and_counts_for_nothing_else() {
    for (changes, expected) in [
        (
            "update meter set name = name || '!'",
            Counts {
                updated: METERS,
                ..CHANGES
            },
        ),
        (
            "update meter set name = name || '!' where id <= 9",
            Counts {
                updated: 9,
                unchanged: METERS - 9,
                ..CHANGES
            },
        ),
        (
            "delete from meter where id <= 9",
            Counts {
                deactivated: 9,
                unchanged: METERS - 9,
                ..CHANGES
            },
        ),
    ] {
        let site = of_numbers().await;
        site.on_remote("alter table meter drop constraint meter_pkey, alter id drop not null")
            .await;
        site.sync().await;
        site.sync().await;
        let keyless = "insert into meter values (null, 7, 'keyless', true)";
        site.on_remote(&format!("{keyless}; {changes}")).await;
        let run = site.sync().await;
        let expected = Counts {
            rejected: 1,
            ..expected
        };
        assert_eq!(run.counts, expected, "{changes}: {run:#?}");
        assert_eq!(site.sync().await.counts.rejected, 1, "{changes}");
    }
}

/// The planner cannot tell how many rows are in the differing buckets. With nested loops, as it chose them, the statement
/// that lists these rows compared each with each and took over its time limit.
#[tokio::test]
async fn many_missing_meters_are_found_within_the_time_limit_of_a_statement() {
    let key = "n % 1000, 'meter ' || n";
    let mut site = of_so_many(60_000, "site integer, id text", "site,id", key).await;
    let settings = site.settings().with(Setting::Key, "site,id");
    site.reconfigure(&settings.with(Setting::StatementTimeout, "5s"));
    site.on_remote("analyze meter").await;
    site.on_local("analyze meter").await;
    site.on_remote(
        "update meter set id = id || 'x' where name in (select name from number where n % 12 = 1)",
    )
    .await;
    let run = site.sync().await;
    assert_eq!(run.outcome, Some(RunOutcome::Succeeded), "{run:#?}");
    let told = (run.counts.inserted, run.counts.deactivated);
    assert_eq!(told, (5000, 5000), "{run:#?}");
    assert_is_equal(&site).await;
}

/// Keys remembered as gone can be wrong after somebody has emptied the table here. A wrong one of an inactive meter and
/// one of an active meter must not cancel each other out.
#[tokio::test]
async fn a_meter_is_missed_though_it_and_an_inactive_one_are_remembered_as_gone() {
    for (declared, names, key) in [
        ("id bigint", "id", "n"),
        ("id text", "id", "'meter ' || n"),
        ("site integer, id text", "site,id", "n % 7, 'meter ' || n"),
    ] {
        let site = settled(declared, names, key).await;
        let active_and_inactive = "name in ('meter 9', 'meter 10')";
        let back = format!(
            "insert into meter select {names}, tenant_id, name, active from number where {active_and_inactive}"
        );
        site.on_remote(&format!("delete from meter where {active_and_inactive}"))
            .await;
        site.sync().await;
        site.on_remote(&back).await;
        site.on_local("delete from meter").await;
        site.sync().await;
        let expected = Counts {
            deactivated: 1,
            unchanged: METERS - 1,
            ..CHANGES
        };
        assert_told(&site, "delete from meter where name = 'meter 9'", expected).await;
    }
}
