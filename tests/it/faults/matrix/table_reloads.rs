//! Tables that somebody else empties and refills, or rewrites, in a transaction that is committed while a run waits
//! for it.

use meter_sync::error::ErrorCode;
use meter_sync::model::RunOutcome;

use super::case::{Case, Ends, HoldPoint, SOUND, Strike, all_hold};
use super::invariants;
use super::trial_site::Side::{Local, Remote};
use super::trial_site::Trial;

/// Keeps the remote's meters elsewhere.
const EMPTY: &str = "create table kept as select * from meter; truncate meter";

const REFILL: &str = "insert into meter select * from kept; drop table kept";

/// Empties the remote table and fills it again.
const RELOAD: &str = "
    create temp table kept on commit drop as select * from meter;
    truncate meter; insert into meter select * from kept";

const CASES: &[Case] = &[
    Case {
        name: "the local table is emptied and filled again while a run waits",
        hold: HoldPoint::Behind(
            Local,
            "create temp table kept on commit drop as select * from meter;
             create temp table kept_readings on commit drop as select * from reading;
             truncate meter, reading; insert into meter select * from kept;
             insert into reading select * from kept_readings",
        ),
        ..SOUND
    },
    Case {
        name: "the local table is written anew while a run waits",
        hold: HoldPoint::Behind(
            Local,
            "alter table meter alter column site_note type text using site_note || ''",
        ),
        ..SOUND
    },
    Case {
        name: "the remote table is emptied while a run waits",
        hold: HoldPoint::Behind(Remote, EMPTY),
        ends: Ends::Refused(ErrorCode::SourceEmptyRefused),
        mend: &[Strike::Sql(Remote, REFILL)],
        ..SOUND
    },
];

#[test]
fn a_table_reloaded_while_a_run_waits_leaves_old_or_new_and_the_next_run_converges() {
    all_hold(CASES, 40);
}

/// Empties the local table but for the meters of another tenant.
const EMPTY_HERE: HoldPoint = HoldPoint::Behind(
    Local,
    "create temp table kept on commit drop as select * from meter where tenant_id = 8;
     truncate meter, reading; insert into meter select * from kept",
);

#[tokio::test]
async fn a_local_table_emptied_while_a_run_waits_gets_all_its_meters_back() {
    let name = "the local table is emptied while a run waits";
    let mut trial = Trial::new(40).await;
    trial.start_anew(&[]);
    trial.change().await;
    let mut before = trial.state().await;
    before.meters.retain(|_, meter| meter["tenant_id"] == "8");
    let run = EMPTY_HERE
        .run(name, &trial, trial.sync(), async |_| ())
        .await;
    Ends::With(RunOutcome::Succeeded).hold(name, &run);
    invariants::hold(name, &mut trial, &before, Some(&run)).await;
}

/// Carried out with all deactivations allowed.
const ALLOWED: &[Case] = &[
    Case {
        name: "the remote is reloaded while a run waits that may deactivate everything",
        hold: HoldPoint::Behind(Remote, RELOAD),
        ..SOUND
    },
    Case {
        name: "the remote is emptied for a moment while a run waits that may deactivate everything",
        hold: HoldPoint::Behind(Remote, "truncate meter"),
        during: &[Strike::Holder("rollback")],
        ..SOUND
    },
];

#[tokio::test]
async fn a_reload_of_the_remote_deactivates_no_meter_even_where_everything_is_allowed() {
    let mut trial = Trial::new(40).await;
    trial.allows_mass_deactivation = true;
    for case in ALLOWED {
        Box::pin(case.carry_out(&mut trial)).await;
    }
}
