//! Remote and local of different major versions, both ways round.

use meter_sync::embedded::Server;
use meter_sync::mirrors::RunRequest;
use meter_sync::model::{Counts, RunOutcome, RunTrigger};

use crate::support::postgres::{binaries, connect, postgres_18, start_server};
use crate::support::site::{LOCAL_SCHEMA, REMOTE_SCHEMA, finish, mirror, rows, settings};

const METERS: &str = "
    insert into meter (id, tenant_id, name, port, ip, register_map, created_at) values
    (1, 7, E'back\\\\slash\\ttab', 502, '10.0.0.1', '{\"b\": 1.50, \"a\": null}', '2026-03-29 02:30:00.000001+00'),
    (2, 7, '', null, '2001:db8::1', null, 'infinity')";

async fn sync_between(remote: &Server, local: &Server) {
    let (remote_url, local_url) = (remote.url("postgres"), local.url("postgres"));
    let (there, here) = (connect(&remote_url).await, connect(&local_url).await);
    there.batch_execute(REMOTE_SCHEMA).await.unwrap();
    there.batch_execute(METERS).await.unwrap();
    here.batch_execute(LOCAL_SCHEMA).await.unwrap();
    let runs = mirror(&settings(&remote_url, &local_url));
    let first = finish(&runs, RunRequest::new(RunTrigger::Cli)).await;
    assert_eq!(first.outcome, Some(RunOutcome::Succeeded), "{first:#?}");
    assert_eq!(
        first.counts,
        Counts {
            inserted: 2,
            ..Counts::default()
        }
    );
    let fields = "id::text, name, port::text, host(ip::inet) as ip, register_map, created_at";
    let query = format!("select {fields} from meter order by id");
    assert_eq!(rows(&here, &query).await, rows(&there, &query).await);
    let second = finish(&runs, RunRequest::new(RunTrigger::Cli)).await;
    assert_eq!(second.outcome, Some(RunOutcome::NoChange), "{second:#?}");
}

#[tokio::test]
async fn servers_of_different_major_versions_sync_both_ways_round() {
    let installed = binaries().await;
    let other = postgres_18().await;
    // where 18 is what is installed, this is no more than two servers of one version
    for (of_remote, of_local) in [(&other, &installed), (&installed, &other)] {
        let remote = start_server(of_remote, "remote").await;
        let local = start_server(of_local, "local").await;
        sync_between(&remote, &local).await;
    }
}
