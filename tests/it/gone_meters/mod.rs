//! Where meters went that the remote no longer has for the tenant: to another tenant, deleted, or out of sight of the
//! remote role. The refusal, the question to a person and the log of changes tell it.

mod callers;
mod destinations;
mod no_answer;
mod surfaces;

use meter_sync::config::Setting;
use meter_sync::mirrors::{RunApprovals, RunRequest};
use meter_sync::model::{DeactivationApproval, RunOutcome, RunTrigger};
use meter_sync::reports::run_report::RunReport;
use serde_json::Value;

use crate::support::site::{Site, finish, rows};

/// Twenty meters of tenant 7.
const METERS: &str = "insert into meter (id, tenant_id, name) select n, 7, 'Meter ' || n from generate_series(1, 20) n";
/// Nine of them are gone, which the brake holds back.
const MOVES: &str =
    "update meter set tenant_id = 9 where id <= 6; update meter set tenant_id = 8 where id = 7;
    delete from meter where id in (8, 9)";
/// What is told of them.
const TOLD: &str = "Of those gone: 6 moved to tenant 9, 1 moved to tenant 8, 2 deleted.";

/// A site in sync, of whose meters nine are gone since.
async fn site_with_moves() -> Site {
    let site = Site::new().await;
    site.on_remote(METERS).await;
    site.sync().await;
    site.on_remote(MOVES).await;
    site
}

/// What a refused sync says of where its meters went; empty if it does not know.
async fn told(site: &Site) -> (RunReport, String) {
    let run = site.sync().await;
    assert_eq!(run.outcome, Some(RunOutcome::Refused), "{run:#?}");
    let held = run.held_back.as_ref().expect("what was held back");
    let words = held.gone_to_in_words().unwrap_or_default();
    (run, words)
}

/// A sync with what a run showed approved.
async fn approve(site: &Site, shown: &RunReport) -> RunReport {
    let allow = RunApprovals {
        mass_deactivation: DeactivationApproval::OfRun(shown.run_id),
        ..RunApprovals::default()
    };
    let request = RunRequest {
        allow,
        ..RunRequest::new(RunTrigger::Cli)
    };
    let run = finish(&site.mirror, request).await;
    assert_eq!(run.outcome, Some(RunOutcome::Succeeded), "{run:#?}");
    run
}

/// Where the log says that the meters went which the run deactivated, in the order of their keys.
async fn logged(site: &Site, run: &RunReport) -> Value {
    let log = format!(
        "select gone_to from meter_sync.meter_sync_change where run_id = '{}' and action = 'deactivate' order by lpad(key->>'id', 10)",
        run.run_id
    );
    let listed = rows(&site.local, &log).await;
    let listed = listed.as_array().expect("rows").iter();
    listed.map(|row| row["gone_to"].clone()).collect()
}

/// Reads the remote as another role from now on, which gets these rights. `$role` in the statements is its name.
async fn read_as_role(site: &mut Site, rights: &str) {
    let (_, database) = site.pair.remote_url.rsplit_once('/').expect("a database");
    let role = format!("looker_{database}");
    let make = format!(
        "do $$ begin if exists (select from pg_roles where rolname = '{role}') then drop owned by {role}; drop role {role}; end if; end $$;
         create role {role} login; {}",
        rights.replace("$role", &role)
    );
    site.on_remote(&make).await;
    let url = site
        .pair
        .remote_url
        .replace("postgres@", &format!("{role}@"));
    let settings = site.settings().with(Setting::RemoteUrl, url);
    site.reconfigure(&settings);
}
