//! Slow queries for a status leave a run its connections.

use futures_util::future::join_all;
use meter_sync::config::Setting;
use meter_sync::model::RunOutcome;
use meter_sync::reports::connections::ConnectionState;
use meter_sync::reports::status::StatusQuery;
use serde_json::json;

use super::schemas::with_role;
use crate::support::site::{Site, rows};
use crate::support::wait;

/// Row security under which the meters take long to count, and nothing else does.
const SLOW_TO_COUNT: &str = "
    grant create on database $database to $role; grant select, insert, update on meter, tenant to $role;
    create function is_shown() returns boolean language plpgsql stable as
    $$begin
        if current_setting('application_name') in ('meter-sync status', 'meter-sync count') then
            perform pg_sleep(60);
        end if;
        return true;
    end$$;
    alter table meter enable row level security;
    create policy all_of_them on meter using (is_shown())";

#[tokio::test]
async fn statuses_behind_a_slow_count_starve_no_run() {
    let mut site = Site::new().await;
    site.on_remote("insert into meter (id, tenant_id, name) values (1, 7, 'One')")
        .await;
    let database = site.pair.local_url.rsplit('/').next().unwrap();
    let slow = SLOW_TO_COUNT.replace("$database", database);
    let url = with_role(&site.pair.local_url, &site.local, &slow).await;
    site.reconfigure(&site.settings().with(Setting::LocalUrl, url));
    let run = site.sync().await;
    assert_eq!(run.outcome, Some(RunOutcome::Succeeded), "{run:#?}");
    site.on_remote("insert into meter (id, tenant_id, name) values (2, 7, 'Two')")
        .await;
    let query = StatusQuery::default();
    let statuses = join_all((0..8).map(|_| site.mirror.status(&query)));
    let run = async {
        let counting = "select pid from pg_stat_activity where query like '-- count the meters%'";
        let is_counting = async || rows(&site.local, counting).await != json!([]);
        wait::until("the meters are being counted", is_counting).await;
        site.mirror.reach_local().await.expect("it answers");
        let asking =
            "select pid from pg_stat_activity where application_name = 'meter-sync status'";
        let asking = rows(&site.local, asking).await;
        let sessions = asking.as_array().map(Vec::len);
        // One reads. The server may still count for the one before, which nobody waits for any more.
        assert!(sessions <= Some(2), "all statuses share a read: {asking}");
        site.sync().await
    };
    let (statuses, run) = tokio::join!(statuses, run);
    assert_eq!(run.outcome, Some(RunOutcome::Succeeded), "{run:#?}");
    for status in statuses {
        let status = status.expect("a status");
        let local = status.connections.local;
        assert_eq!(local.state, ConnectionState::Ok, "{local:?}");
        assert_eq!(status.meters, None);
        let warnings = status.warnings.join(" ");
        assert!(warnings.contains("being counted"), "{warnings}");
    }
}
