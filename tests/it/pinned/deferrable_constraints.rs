//! Unique and exclusion constraints that are deferrable need no spare value: rows take their values in any order.

use meter_sync::model::RunOutcome;
use serde_json::json;

use super::site;
use crate::support::site::{Site, rows};

const REASONS: &str =
    "select key->>'id' as id, reason from meter_sync.meter_sync_rejected order by key->>'id'";

/// Meters with the ports 1 to `ports`, of which no other is allowed, by these rules.
async fn with_ports(ports: u32, rules: &str) -> Site {
    let site = site("serial text not null, port int not null", "").await;
    site.on_local(&format!(
        "create extension if not exists btree_gist;
         alter table meter add check (port between 1 and {ports}); {rules}"
    ))
    .await;
    site.on_remote(&format!(
        "insert into meter select n, 7, 'S' || n, n, true from generate_series(1, {ports}) n"
    ))
    .await;
    let run = site.sync().await;
    assert_eq!(run.outcome, Some(RunOutcome::Succeeded), "{run:#?}");
    site
}

const PAIR: &str = "alter table meter add constraint sp unique (serial, port);";

const LATER: [&str; 4] = [
    "alter table meter add constraint up unique (port) deferrable",
    "alter table meter add constraint up unique (port) deferrable initially deferred",
    "alter table meter add constraint up exclude using gist (port with =) deferrable",
    "alter table meter add constraint up exclude using gist (int4range(port, port + 1) with &&) deferrable",
];

const CHANGES: [&str; 2] = [
    "update meter set port = 1 + port % 3 where id < 4",
    "update meter set port = 1 + port % 3, serial = 'S' || (1 + port % 3) where id < 4",
];

async fn assert_exchanged(rules: &str, change: &str) {
    let site = with_ports(3, rules).await;
    site.on_remote(change).await;
    let run = site.sync().await;
    assert_eq!(
        run.outcome,
        Some(RunOutcome::Succeeded),
        "{rules} {change}: {run:#?}"
    );
    let ports = "select id, serial, port from meter order by id";
    assert_eq!(
        rows(&site.local, ports).await,
        rows(&site.remote, ports).await
    );
}

#[tokio::test]
async fn ports_are_exchanged_without_a_spare_one() {
    for later in LATER {
        for change in CHANGES {
            assert_exchanged(later, change).await;
            assert_exchanged(&format!("{PAIR} {later}"), change).await;
        }
    }
}

/// Beside an exchange, a row that breaks a check, and one that is to get a port which stays taken.
#[tokio::test]
async fn rows_at_fault_beside_an_exchange_are_rejected_alone() {
    for later in LATER {
        for rules in [PAIR, ""] {
            let site = with_ports(6, &format!("{rules} {later}")).await;
            site.on_remote(&format!(
                "{}; update meter set port = 7 where id = 4; update meter set port = 6 where id = 5",
                CHANGES[1]
            ))
            .await;
            let run = site.sync().await;
            assert_eq!(
                (run.counts.updated, run.counts.rejected),
                (3, 2),
                "{rules} {later}: {run:#?}"
            );
            let reasons = rows(&site.local, REASONS).await;
            let told = reasons.to_string();
            assert_eq!(reasons.as_array().map(Vec::len), Some(2), "{told}");
            assert!(
                told.contains("breaks constraint meter_port_check"),
                "{told}"
            );
            assert!(told.contains("meter 6, which is active"), "{told}");
            let ports = "select string_agg(port::text, ' ' order by id) as ports from meter";
            assert_eq!(
                rows(&site.local, ports).await,
                json!([{"ports": "2 3 1 4 5 6"}]),
                "{rules} {later}"
            );
        }
    }
}

#[tokio::test]
async fn a_port_that_two_meters_are_to_get_goes_to_one_of_them() {
    for later in LATER {
        let site = with_ports(4, &format!("{PAIR} {later}")).await;
        // 1 and 2 change places; 3 and 4 are both to get what 4 gives up, or keeps.
        site.on_remote(
            "update meter set serial = 'S' || (3 - id), port = 3 - id where id < 3;
             update meter set port = 4 where id = 3; update meter set serial = 'new' where id = 4",
        )
        .await;
        let run = site.sync().await;
        assert_eq!(
            (run.counts.updated, run.counts.rejected),
            (3, 1),
            "{later}: {run:#?}"
        );
    }
}

/// One spare serial for two rings, and no spare port.
#[tokio::test]
async fn rings_that_share_a_spare_value_need_none_for_what_is_checked_later() {
    for later in LATER {
        let site = with_ports(
            4,
            &format!(
                "alter table meter add unique (serial), add check (serial in ('S1', 'S2', 'S3', 'S4', 'S5')); {later}"
            ),
        )
        .await;
        site.on_remote(
            "update meter set serial = 'S' || (case when id < 3 then 3 else 7 end - id),
                 port = case when id < 3 then 3 else 7 end - id",
        )
        .await;
        let run = site.sync().await;
        assert_eq!(
            run.outcome,
            Some(RunOutcome::Succeeded),
            "{later}: {run:#?}"
        );
    }
}

/// More rows than are looked at one ring after the other.
#[tokio::test]
async fn many_ports_move_on_beside_rows_at_fault() {
    let site = with_ports(6000, &format!("{PAIR} {}", LATER[0])).await;
    site.on_remote(
        "update meter set serial = 'S' || (1 + id % 5990), port = 1 + id % 5990 where id <= 5990;
         update meter set port = 9999 where id = 5991; update meter set port = 5993 where id = 5992",
    )
    .await;
    let run = site.sync().await;
    assert_eq!(
        (run.counts.updated, run.counts.rejected),
        (5990, 2),
        "{:#?}",
        run.counts
    );
}
