//! A disk that is full: the kernel has no space left for a file of the local server.

use std::os::unix::fs::symlink;
use std::path::PathBuf;
use std::{fs, io};

use meter_sync::error::ErrorCode;

use super::case::Ends;
use super::invariants;
use super::trial_site::Trial;
use crate::support::postgres::start_pair;

/// A text that is stored beside its row: too long for it, and of digits that cannot be packed well.
const LONG_NOTES: &str = "
    update meter set notes = (select string_agg(md5(id || '-' || n), '') from generate_series(1, 300) n) where id in (21, 25)";

/// Where such texts are stored. The table is empty until the first.
const FILE: &str = "
    select current_setting('data_directory') || '/' || pg_relation_filepath(reltoastrelid) as path
    from pg_class where oid = 'meter'::regclass";

/// Our connections, which have the file open.
const TERMINATE: &str =
    "select pg_terminate_backend(pid) from pg_stat_activity where usename = '$role'";

/// In place of this file there is a device that is always full.
fn fill(file: &PathBuf) -> io::Result<()> {
    fs::rename(file, file.with_extension("kept"))?;
    symlink("/dev/full", file)
}

fn make_room(file: &PathBuf) -> io::Result<()> {
    fs::rename(file.with_extension("kept"), file)
}

#[tokio::test]
async fn a_full_disk_leaves_the_old_rows_and_the_next_run_converges() {
    let (remote, local) = start_pair().await;
    let mut trial = Trial::over((&remote.url("postgres"), &local.url("postgres")), 40).await;
    trial.start_anew(&[]);
    trial.change().await;
    trial.remote.run(LONG_NOTES).await;
    trial.local.run(TERMINATE).await;
    let file = trial.local.rows(FILE).await[0]["path"].clone();
    let file = PathBuf::from(file.as_str().expect("a path"));
    let before = trial.state().await;
    fill(&file).expect("fill the disk");
    let run = trial.sync().await;
    trial.local.run(TERMINATE).await;
    make_room(&file).expect("make room");
    let name = "the disk is full";
    Ends::Failing(ErrorCode::LocalUnreachable).hold(name, &run);
    let error = run.error.as_ref().expect("an error");
    assert!(
        error.message.contains("disk") || error.remedy.contains("disk"),
        "{error:?}"
    );
    invariants::hold(name, &mut trial, &before, Some(&run)).await;
    drop((remote, local));
}
