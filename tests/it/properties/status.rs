//! P6 and P7: the status tells the last run as it was, and counts the meters that are there.

use chrono::{DateTime, TimeDelta, Utc};
use meter_sync::config::Setting;
use meter_sync::error::ErrorCode;
use meter_sync::mirrors::{Mirror, RunRequest};
use meter_sync::model::{RunOutcome, RunTrigger};
use meter_sync::reports::run_report::RunReport;
use quickcheck::{Arbitrary, Gen};

use super::edits::Case;
use super::harness::{Verdict, check, check_faults};
use super::world::{World, Worlds, request};
use crate::support::site::{finish, mirror};

/// P7.
#[test]
fn the_meter_count_is_that_of_the_local_active_meters() {
    check(async |worlds: &mut Worlds, case: &Case| {
        let world = worlds.empty(case.shape).await;
        for round in &case.rounds {
            world.edit(round).await;
            assert_counted(world).await;
            world.sync(case.trigger).await;
            assert_counted(world).await;
        }
        Verdict::Held
    });
}

async fn assert_counted(world: &World) {
    let meters = world
        .site
        .status()
        .await
        .meters
        .expect("the meters are counted");
    assert_eq!((meters.active, meters.inactive), world.model.active_here());
}

/// What stands in a run's way.
#[derive(Clone, Copy, Debug)]
enum Trouble {
    Nothing,
    NoRemoteTable,
    NoLocalTable,
    NoActiveColumn,
    NoRemoteServer,
    BadRemotePassword,
    NoTenant,
    NoRemoteMeters,
    DuplicateKeys,
}

/// Runs with troubles of their own, one after the other.
#[derive(Clone, Debug)]
struct TroubledRuns {
    case: Case,
    troubles: Vec<(Trouble, RunTrigger)>,
}

impl Arbitrary for TroubledRuns {
    fn arbitrary(g: &mut Gen) -> Self {
        let troubles = [
            Trouble::Nothing,
            Trouble::NoRemoteTable,
            Trouble::NoLocalTable,
            Trouble::NoActiveColumn,
            Trouble::NoRemoteServer,
            Trouble::BadRemotePassword,
            Trouble::NoTenant,
            Trouble::NoRemoteMeters,
            Trouble::DuplicateKeys,
        ];
        let one = |g: &mut Gen| {
            (
                *g.choose(&troubles).unwrap(),
                *g.choose(RunTrigger::ALL).unwrap(),
            )
        };
        Self {
            // The users' shape and the one with a tenant column have what each trouble needs.
            case: Case {
                shape: *g.choose(&[0, 5]).unwrap(),
                ..Case::arbitrary(g)
            },
            troubles: (0..*g.choose(&[1, 2, 3]).unwrap())
                .map(|_| one(g))
                .collect(),
        }
    }
}

/// P6.
#[test]
fn the_status_tells_when_the_last_run_ended_how_and_why() {
    check_faults(async |worlds: &mut Worlds, troubled: &TroubledRuns| {
        let world = worlds.empty(troubled.case.shape).await;
        world.edit(&troubled.case.rounds[0]).await;
        world.sync(troubled.case.trigger).await;
        let mut last_success = world.site.status().await.last_success_at;
        for (trouble, trigger) in &troubled.troubles {
            let before = world.local_rows().await;
            let mirror = make(world, *trouble).await;
            let report = finish(&mirror, asked(*trouble, *trigger)).await;
            assert_ended_as(world, *trouble, &report);
            if report.outcome.is_some_and(RunOutcome::is_success) {
                last_success = report.finished_at;
            }
            assert_told(&mirror, &report, *trigger, last_success).await;
            mend(world, *trouble).await;
            // Another process that comes later tells the same, and nothing was half done.
            assert_told(
                &self::mirror(&world.site.settings()),
                &report,
                *trigger,
                last_success,
            )
            .await;
            assert_eq!(world.local_rows().await, before);
        }
        Verdict::Held
    });
}

/// The brake is to hold back what empties the site.
fn asked(trouble: Trouble, trigger: RunTrigger) -> RunRequest {
    if matches!(trouble, Trouble::NoRemoteMeters) {
        return RunRequest::new(trigger);
    }
    request(trigger)
}

async fn make(world: &World, trouble: Trouble) -> Mirror {
    let site = &world.site;
    let with_remote = |url: &str| mirror(&site.settings().with(Setting::RemoteUrl, url));
    match trouble {
        Trouble::Nothing => {}
        Trouble::NoRemoteTable => {
            site.on_remote("alter table meter rename to meter_away")
                .await;
        }
        Trouble::NoLocalTable => {
            site.on_local("alter table meter rename to meter_away")
                .await;
        }
        Trouble::NoActiveColumn => {
            site.on_remote("alter table meter rename active to away")
                .await;
        }
        Trouble::NoTenant => site.on_local("insert into tenant values (8, 'Byte')").await,
        Trouble::NoRemoteMeters => {
            site.on_remote("update meter set tenant_id = -tenant_id")
                .await;
        }
        Trouble::DuplicateKeys => site.on_remote(TWICE).await,
        Trouble::NoRemoteServer => return with_remote("postgres://127.0.0.1:1/nowhere"),
        Trouble::BadRemotePassword => {
            let url = &site.pair.remote_url;
            let separator = if url.contains('?') { '&' } else { '?' };
            return with_remote(&format!("{url}{separator}user=nobody_of_that_name"));
        }
    }
    site.mirror.clone()
}

const TWICE: &str = r#"
    alter table meter rename to meter_away;
    create view meter as select * from meter_away union all select (twice.meter).*
    from (
        select jsonb_populate_record(null::meter_away, '{"id": 1, "tenant_id": 7}') as meter
        from generate_series(1, 2)
    ) twice"#;

async fn mend(world: &World, trouble: Trouble) {
    let site = &world.site;
    match trouble {
        Trouble::Nothing | Trouble::NoRemoteServer | Trouble::BadRemotePassword => {}
        Trouble::NoRemoteTable => {
            site.on_remote("alter table meter_away rename to meter")
                .await;
        }
        Trouble::NoLocalTable => {
            site.on_local("alter table meter_away rename to meter")
                .await;
        }
        Trouble::NoActiveColumn => {
            site.on_remote("alter table meter rename away to active")
                .await;
        }
        Trouble::NoTenant => site.on_local("delete from tenant where id = 8").await,
        Trouble::NoRemoteMeters => {
            site.on_remote("update meter set tenant_id = -tenant_id")
                .await;
        }
        Trouble::DuplicateKeys => {
            site.on_remote("drop view meter; alter table meter_away rename to meter")
                .await;
        }
    }
}

/// Whether the run ended with the error code of the contract.
fn assert_ended_as(world: &World, trouble: Trouble, report: &RunReport) {
    let failed = |code| (RunOutcome::Failed, Some(code));
    let (active, _) = world.model.active_here();
    let expected = match trouble {
        Trouble::Nothing => {
            return assert!(report.outcome != Some(RunOutcome::Failed), "{report:#?}");
        }
        Trouble::NoRemoteMeters if active == 0 => (RunOutcome::NoChange, None),
        Trouble::NoRemoteMeters => (RunOutcome::Refused, Some(ErrorCode::SourceEmptyRefused)),
        Trouble::NoRemoteTable | Trouble::NoActiveColumn => failed(ErrorCode::RemoteSchema),
        Trouble::NoLocalTable => failed(ErrorCode::LocalSchema),
        Trouble::NoRemoteServer => failed(ErrorCode::RemoteUnreachable),
        Trouble::BadRemotePassword => failed(ErrorCode::RemoteAuth),
        Trouble::NoTenant => failed(ErrorCode::TenantNotConfigured),
        Trouble::DuplicateKeys => failed(ErrorCode::DuplicateSourceKey),
    };
    let code = report.error.as_ref().map(|error| error.code);
    assert_eq!((report.outcome.unwrap(), code), expected, "{report:#?}");
}

async fn assert_told(
    mirror: &Mirror,
    report: &RunReport,
    trigger: RunTrigger,
    last_success: Option<DateTime<Utc>>,
) {
    let status = mirror.status(&Default::default()).await.unwrap();
    let last = status
        .last_run
        .clone()
        .unwrap_or_else(|| panic!("no last run in {status:#?}"));
    assert_eq!(last.run_id, report.run_id, "{status:#?} {report:#?}");
    assert_eq!(last.trigger, trigger);
    assert_eq!(last.outcome, report.outcome);
    assert_eq!(last.error, report.error);
    assert_eq!(last.counts, report.counts);
    assert_eq!(micros(last.finished_at), micros(report.finished_at));
    assert_eq!(micros(status.last_success_at), micros(last_success));
    let age = meter_sync::machine_clock::now() - last.finished_at.unwrap();
    assert!(
        age >= TimeDelta::zero() && age < TimeDelta::minutes(1),
        "{age}"
    );
}

/// What Postgres keeps of a time.
fn micros(time: Option<DateTime<Utc>>) -> Option<i64> {
    time.map(|time| time.timestamp_micros())
}
