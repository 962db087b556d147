//! What a run costs, in bytes and rows, which unlike time are the same on every machine.

use meter_sync::config::Setting;
use meter_sync::embedded::Server;
use meter_sync::mirrors::{RunApprovals, RunRequest};
use meter_sync::model::{Counts, DeactivationApproval, RunOutcome, RunTrigger};
use meter_sync::reports::run_report::RunReport;
use tokio_postgres::Client;

use crate::support::postgres::{connect, start_pair};
use crate::support::program::{self, RunningProgram};
use crate::support::site::{REMOTE_SCHEMA, Site, finish, mirror, settings};
use crate::support::wait::until;

/// A pair of servers that no other test writes to.
struct QuietServers {
    remote: Client,
    local: Client,
    urls: [String; 2],
    _servers: [Server; 2],
}

/// Rows of the remote, shared by tenants 7 and 8.
const ROWS: &str = "
    insert into meter (id, tenant_id, name, type, serial_number, ip, port, register_map, notes, updated_at)
    select n, case when n % 50 = 0 then 7 else 8 end, 'meter ' || n, 'electric', 'SN-' || n,
           '10.0.0.1', 502, '{\"unit\": 1, \"registers\": [1, 2, 3]}', repeat('note ', 20), now()
    from generate_series(1, 20000) n";

impl QuietServers {
    async fn start(local_schema: &str) -> Self {
        let (remote_server, local_server) = start_pair().await;
        let urls = [remote_server.url("postgres"), local_server.url("postgres")];
        prepare(
            &urls[0],
            &[REMOTE_SCHEMA, ROWS, "create index on meter (tenant_id)"],
        )
        .await;
        prepare(&urls[1], &[local_schema]).await;
        let quiet = Self {
            remote: connect(&urls[0]).await,
            local: connect(&urls[1]).await,
            urls,
            _servers: [remote_server, local_server],
        };
        quiet.settle().await;
        quiet
    }

    async fn on_remote(&self, sql: &str) {
        self.remote.batch_execute(sql).await.unwrap();
    }

    async fn sync(&self, request: RunRequest) -> RunReport {
        let settings = settings(&self.urls[0], &self.urls[1]).with(Setting::TenantId, "7");
        let report = finish(&mirror(&settings), request).await;
        self.settle().await;
        report
    }

    /// What a connection did is counted when it ends.
    async fn settle(&self) {
        let others = "select count(*) from pg_stat_activity
                      where backend_type = 'client backend' and pid <> pg_backend_pid()";
        for client in [&self.remote, &self.local] {
            until("the other connections have ended", async || {
                number(client, others).await == 0
            })
            .await;
        }
    }

    /// How many rows of `meter` have been read so far, on each side.
    async fn touched(&self) -> [i64; 2] {
        let read = "select coalesce(seq_tup_read, 0) + coalesce(idx_tup_fetch, 0)
                    from pg_stat_user_tables where relname = 'meter'";
        [
            number(&self.remote, read).await,
            number(&self.local, read).await,
        ]
    }

    async fn local_wal(&self) -> i64 {
        let place = "select (pg_current_wal_insert_lsn() - '0/0')::bigint";
        number(&self.local, place).await
    }
}

/// Statements of a connection of their own, and fresh figures for the planner.
async fn prepare(url: &str, sql: &[&str]) {
    let client = connect(url).await;
    for sql in sql.iter().chain(&["vacuum analyze meter"]) {
        client.batch_execute(sql).await.unwrap();
    }
}

async fn number(client: &Client, sql: &str) -> i64 {
    client.query_one(sql, &[]).await.unwrap().get(0)
}

fn request() -> RunRequest {
    RunRequest::new(RunTrigger::Cli)
}

/// A local table of all tenants.
const SHARED: &str = "
    create table meter (id bigint primary key, tenant_id bigint not null, name text, type text,
        serial_number text, ip inet, port integer, register_map jsonb, notes text,
        active boolean not null default true, updated_at timestamptz);
    create index on meter (tenant_id);
    insert into meter (id, tenant_id, name) select n, 8, 'meter ' || n from generate_series(1, 20000) n where n % 50 <> 0";

#[tokio::test]
async fn in_a_table_of_many_tenants_a_run_touches_its_own_rows_only() {
    let quiet = QuietServers::start(SHARED).await;
    let edits = [
        (
            "select",
            Counts {
                inserted: 400,
                ..Counts::default()
            },
        ),
        (
            "select",
            Counts {
                unchanged: 400,
                ..Counts::default()
            },
        ),
        (
            "select",
            Counts {
                unchanged: 400,
                ..Counts::default()
            },
        ),
        (
            "update meter set name = 'new' where tenant_id = 7 and id % 500 = 0",
            Counts {
                updated: 40,
                unchanged: 360,
                ..Counts::default()
            },
        ),
        (
            "delete from meter where id = 500",
            Counts {
                deactivated: 1,
                unchanged: 399,
                ..Counts::default()
            },
        ),
    ];
    for (sql, counts) in edits {
        quiet.on_remote(sql).await;
        let before = quiet.touched().await;
        let run = quiet.sync(request()).await;
        assert_eq!(run.counts, counts, "{run:#?}");
        for (before, after) in before.into_iter().zip(quiet.touched().await) {
            // It may look at each of its 400 rows some times.
            assert!(after - before < 19_600, "{sql}: {before} {after}");
        }
    }
}

/// A local table of one tenant's meters, as the remote has them.
fn of_one_tenant() -> String {
    REMOTE_SCHEMA.replace("tenant_id bigint not null, ", "")
}

#[tokio::test]
async fn what_travels_and_what_is_written_follows_what_changed() {
    let quiet = QuietServers::start(&of_one_tenant()).await;
    quiet.on_remote("update meter set tenant_id = 7").await;
    let load = quiet.sync(request()).await;
    assert_eq!(load.counts.inserted, 20_000, "{load:#?}");
    quiet.sync(request()).await;
    let wal = quiet.local_wal().await;
    let unchanged = quiet.sync(request()).await;
    let wal = quiet.local_wal().await - wal;
    assert_eq!(unchanged.outcome, Some(RunOutcome::NoChange));
    assert!(unchanged.remote_bytes < 32 * 1024, "{unchanged:#?}");
    assert!(wal < 32 * 1024, "{wal} bytes of WAL");
    let row_bytes = load.remote_bytes / 20_000;
    for (one_in, changed) in [(2000, 10), (100, 200)] {
        quiet
            .on_remote(&format!(
                "update meter set name = name || '!' where id % {one_in} = 0"
            ))
            .await;
        let preview = quiet
            .sync(RunRequest {
                dry_run: true,
                ..request()
            })
            .await;
        let run = quiet.sync(request()).await;
        assert_eq!((preview.counts, run.counts.updated), (run.counts, changed));
        // The sums of its chunk, the hashes of its neighbours, the row: some rows' worth for each.
        let bound = 64 * 1024 + changed * row_bytes * 6;
        assert!(
            run.remote_bytes < bound,
            "{} of {bound}: {run:#?}",
            run.remote_bytes
        );
        assert!(
            preview.remote_bytes <= run.remote_bytes + 1024,
            "{preview:#?}"
        );
    }
}

#[tokio::test]
async fn many_meters_that_are_gone_make_no_run_look_at_the_others_again_and_again() {
    let quiet = QuietServers::start(&of_one_tenant()).await;
    quiet.on_remote("update meter set tenant_id = 7").await;
    quiet.sync(request()).await;
    quiet.on_remote("delete from meter where id % 10 = 0").await;
    let allowed = RunApprovals {
        mass_deactivation: DeactivationApproval::Any,
        ..RunApprovals::default()
    };
    let run = quiet
        .sync(RunRequest {
            allow: allowed,
            ..request()
        })
        .await;
    assert_eq!(run.counts.deactivated, 2000, "{run:#?}");
    quiet
        .on_remote("update meter set name = name || '!' where id % 10 = 1")
        .await;
    let [_, before] = quiet.touched().await;
    let run = quiet.sync(request()).await;
    assert_eq!(run.counts.updated, 2000, "{run:#?}");
    let [_, after] = quiet.touched().await;
    assert!(after - before < 20 * 20_000, "{}", after - before);
}

/// What the process holds at most so far, in bytes.
#[cfg(target_os = "linux")]
fn peak_memory(pid: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).expect("it runs");
    let mut lines = status.lines();
    let peak = lines.find_map(|line| line.strip_prefix("VmHWM:"));
    let kilobytes = peak.and_then(|peak| peak.trim().strip_suffix(" kB"));
    kilobytes.expect("a size").parse::<u64>().expect("a number") * 1024
}

/// Fifty thousand rows are some 15 MiB, of which a run that kept them would hold a part.
#[cfg(target_os = "linux")]
#[tokio::test]
async fn memory_does_not_follow_the_table() {
    let site = Site::new().await;
    let more = "insert into meter (id, tenant_id, name, serial_number, notes) \
        select n, 7, 'meter ' || n, 'SN-' || n, repeat('note ', 40) from generate_series";
    site.on_remote(&format!("{more}(1, 500) n")).await;
    let (program, address) = RunningProgram::serve(program::over(&site, &["serve"], &[])).await;
    let client = reqwest::Client::new();
    let trigger = format!("http://{address}/api/local/meter-sync-trigger");
    let sync = async || {
        let answer = client.post(&trigger).send().await.expect("an answer");
        let body: serde_json::Value = answer.json().await.expect("JSON");
        assert_eq!(body["success"], true, "{body}");
    };
    sync().await;
    sync().await;
    let before = peak_memory(program.pid());
    site.on_remote(&format!("{more}(501, 50500) n")).await;
    sync().await;
    site.on_remote("update meter set name = name || '!' where id % 20 = 0")
        .await;
    sync().await;
    site.on_remote("update meter set name = name || '!'").await;
    sync().await;
    let grown = peak_memory(program.pid()) - before;
    assert!(grown < 4 * 1024 * 1024, "{grown} bytes");
}
