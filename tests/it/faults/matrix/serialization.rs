//! A local server that gives up a statement of ours with 40001, as the row that it waits for has moved.
//!
//! The standby's cases are the remote's 40001.

use meter_sync::error::ErrorCode;

use super::case::{Case, Ends, HoldPoint, SOUND};
use super::trial_site::Side::Local;
use super::trial_site::Trial;

/// The local table in two parts, by id. No unique index over both can hold the serial numbers, so nothing refers to them.
const IN_PARTS: &str = "
    alter table reading drop constraint reading_meter_id_fkey, drop constraint reading_serial_fkey;
    alter table meter rename to whole;
    create table meter (like whole including defaults, primary key (id)) partition by range (id);
    create table few partition of meter for values from (minvalue) to (1000000);
    create table many partition of meter for values from (1000000) to (maxvalue);
    insert into meter select * from whole;
    drop table whole;
    delete from reading;
    grant select, insert, update on meter to $role";

/// A meter moves to the other part and back: it is the same afterwards, but where it was there is nothing any more.
const MOVE: &str = "
    update meter set id = id + 1000000 where id = 5;
    update meter set id = id - 1000000 where id = 1000005";

const MOVED: Case = Case {
    name: "a meter moves to another part of the local table while the run waits for it",
    hold: HoldPoint::Behind(Local, MOVE),
    ends: Ends::Failing(ErrorCode::LocalTimeout),
    ..SOUND
};

#[tokio::test]
async fn a_serialization_failure_leaves_the_old_rows_and_the_next_run_converges() {
    let mut trial = Trial::new(40).await;
    trial.local.run(IN_PARTS).await;
    trial.start_anew(&[]);
    trial.sync().await;
    Box::pin(MOVED.carry_out(&mut trial)).await;
    let codes =
        "select error_message from meter_sync.meter_sync_log where error_message like '%40001%'";
    let failed = trial.local.rows(codes).await;
    assert_eq!(failed.as_array().map(Vec::len), Some(1), "{failed}");
}
