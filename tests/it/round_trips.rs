//! How often a run waits for an answer of a distant remote, where each wait may take 50 ms.

use std::time::Duration;

use meter_sync::mirrors::RunRequest;
use meter_sync::model::{RunOutcome, RunTrigger};

use crate::support::proxy::{Fault, Proxy};
use crate::support::site::{REMOTE_SCHEMA, Site, finish, mirror, settings};

/// To connect takes two round trips here: one asks whether the server takes TLS, and the other signs in.
const CONNECT: usize = 2;

/// One to open the transaction and lock the table, one to look up the table, one to look for the mark of the local
/// database, one to sum the row versions, and one to commit.
const UNCHANGED: usize = CONNECT + 5;

/// Also one to look which remote it is, and two to read the rows.
const FIRST_LOAD: usize = UNCHANGED + 3;

/// Also two to read the rows that changed.
const CHANGED: usize = UNCHANGED + 2;

/// Also two to find out in which buckets of keys some are missing, two to ask for those that may be, and one to ask where
/// the missing meters went, however many these are.
const MISSING: usize = CHANGED + 5;

const METERS: &str = "
    insert into meter (id, tenant_id, name, port)
    select n, 7, 'Meter ' || n, n from generate_series(1, 5000) n";

#[tokio::test]
async fn a_run_waits_for_a_distant_remote_a_few_times_only() {
    let local = REMOTE_SCHEMA.replace("tenant_id bigint not null, ", "");
    let local = local.replace(", (8, 'Byte'), (9, 'Cole')", "");
    let site = Site::with_schemas(REMOTE_SCHEMA, &local).await;
    site.on_remote(METERS).await;
    let (line, url) = Proxy::before(&site.pair.remote_url).await;
    line.set(Fault::Delay(Duration::from_millis(10)));
    let settings = settings(&url, &site.pair.local_url);
    let edits = [
        ("select", RunOutcome::Succeeded, FIRST_LOAD),
        ("select", RunOutcome::NoChange, UNCHANGED),
        (
            "update meter set name = name || '!' where id % 100 = 0",
            RunOutcome::Succeeded,
            CHANGED,
        ),
        ("select", RunOutcome::NoChange, UNCHANGED),
        (
            "delete from meter where id % 100 = 1; update meter set name = name || '!' where id % 100 = 0",
            RunOutcome::Succeeded,
            MISSING,
        ),
        ("select", RunOutcome::NoChange, UNCHANGED),
        (
            "update meter set tenant_id = 9 where id % 2 = 0",
            RunOutcome::Refused,
            MISSING,
        ),
    ];
    for (sql, outcome, most) in edits {
        site.on_remote(sql).await;
        let before = line.round_trips();
        let run = finish(&mirror(&settings), RunRequest::new(RunTrigger::Cli)).await;
        assert_eq!(run.outcome, Some(outcome), "{run:#?}");
        let waits = line.round_trips() - before;
        println!("{sql}: {waits} round trips");
        assert!(waits <= most, "{sql}: {waits} round trips, not {most}");
    }
}
