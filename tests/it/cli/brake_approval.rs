//! A person approves deactivations that the brake holds back: those of a run that showed them, asked on the
//! terminal, or beforehand.

use std::fs::File;
use std::io::{Read, Write};
use std::process::Stdio;

use rustix::fs::{Mode, OFlags};
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use serde_json::{Value, json};

use super::{object, run};
use crate::support::program::{self, CommandOutput};
use crate::support::site::{Site, rows};

const ACTIVE: &str = "select count(*) from meter where active";

/// Who asked for the last run, and why.
async fn last(site: &Site) -> (Value, Value) {
    let last = "select actor, reason from meter_sync.meter_sync_log order by seq desc limit 1";
    let last = rows(&site.local, last).await;
    (last[0]["actor"].clone(), last[0]["reason"].clone())
}

/// Who runs the tests, as the system knows it.
fn account() -> Value {
    let said = |program: &str, arguments: &[&str]| {
        let output = std::process::Command::new(program).args(arguments).output();
        let text = String::from_utf8(output.expect(program).stdout).expect("text");
        text.trim().to_owned()
    };
    json!(format!(
        "{} on {}",
        said("id", &["-un"]),
        said("uname", &["-n"])
    ))
}

/// Runs a command on a terminal of its own, at which somebody types; its standard output is a pipe.
async fn at_a_terminal(site: &Site, arguments: &[&str], typed: &str) -> CommandOutput {
    let ours = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).expect("a terminal");
    grantpt(&ours).expect("granted");
    unlockpt(&ours).expect("unlocked");
    let name = ptsname(&ours, Vec::new()).expect("a name");
    let theirs = rustix::fs::open(&name, OFlags::RDWR | OFlags::NOCTTY, Mode::empty());
    let theirs = File::from(theirs.expect("its other end"));
    let mut ours = File::from(ours);
    ours.write_all(typed.as_bytes()).expect("typed");
    let mut command = program::over(site, arguments, &[]);
    command
        .stdin(theirs.try_clone().expect("a copy"))
        .stderr(theirs)
        .stdout(Stdio::piped());
    let child = command.spawn().expect("start it");
    drop(command);
    let shown = tokio::task::spawn_blocking(move || {
        let mut shown = Vec::new();
        // It ends with an error once the other end is closed.
        drop(ours.read_to_end(&mut shown));
        String::from_utf8_lossy(&shown).into_owned()
    });
    let output = child.wait_with_output().await.expect("an end");
    CommandOutput {
        code: output.status.code().expect("an exit code"),
        stdout: String::from_utf8(output.stdout).expect("text"),
        stderr: shown.await.expect("what the terminal showed"),
    }
}

#[tokio::test]
async fn a_person_at_a_terminal_types_the_number_of_meters() {
    let site = Site::with_meters_gone().await;
    let asked = [
        "sync",
        "--allow-mass-deactivation",
        "--reason",
        "tidying",
        "--json",
    ];
    for typed in ["y\n", "\n", "yes\n", "20\n", "1 0\n"] {
        let left = at_a_terminal(&site, &asked, typed).await;
        assert_eq!(left.code, 3, "{typed:?}: {left:?}");
        assert_eq!(rows(&site.local, ACTIVE).await, json!([{"count": 20}]));
    }
    let allowed = at_a_terminal(&site, &asked, "10\n").await;
    for part in [
        "10 of 20 active meters would be deactivated: 10 are gone from the remote.",
        "Gone: Meter 11 (id 11); Meter 12 (id 12)",
        "and 5 more.",
        "Type 10 to deactivate them",
    ] {
        assert!(allowed.stderr.contains(part), "{part}: {}", allowed.stderr);
    }
    assert_eq!(
        (allowed.code, &object(&allowed)["counts"]["deactivated"]),
        (0, &json!(10))
    );
    assert_eq!(rows(&site.local, ACTIVE).await, json!([{"count": 10}]));
    let (actor, reason) = last(&site).await;
    let reason = reason.as_str().expect("a reason");
    assert_eq!(actor, account());
    assert!(
        reason.starts_with("tidying (to carry out the deactivations that run ")
            && reason.ends_with(" showed)"),
        "{reason}"
    );
    // There is nothing to ask about.
    let plain = at_a_terminal(&site, &asked, "").await;
    assert_eq!(plain.code, 0, "{plain:?}");
    assert!(!plain.stderr.contains("Type "), "{plain:?}");
}

#[tokio::test]
async fn a_sync_that_the_brake_refuses_ends_with_3_until_a_person_allows_it() {
    let site = Site::with_meters_gone().await;
    for arguments in [&["sync", "--dry-run"][..], &["sync", "--dry-run", "--json"]] {
        let planned = run(&site, arguments, &[]).await;
        assert_eq!(planned.code, 3, "a sync would be refused: {planned:?}");
        assert!(
            planned.stdout.contains("MASS_DEACTIVATION_REFUSED"),
            "{planned:?}"
        );
    }
    let refused = run(&site, &["sync"], &[]).await;
    assert_eq!(refused.code, 3, "{refused:?}");
    assert!(
        refused.stdout.contains("MASS_DEACTIVATION_REFUSED"),
        "{}",
        refused.stdout
    );
    assert!(
        refused.stdout.contains("meter-sync sync --allow-plan "),
        "{}",
        refused.stdout
    );
    assert_eq!(rows(&site.local, ACTIVE).await, json!([{"count": 20}]));
    let alone = ["sync", "--allow-mass-deactivation", "--json"];
    let unasked = run(&site, &alone, &[]).await;
    assert_eq!(unasked.code, 3, "{unasked:?}");
    for part in ["asks on the terminal", "--allow-plan", "--yes"] {
        assert!(unasked.stderr.contains(part), "{unasked:?}");
    }
    let yes_to_what = run(&site, &["sync", "--yes"], &[]).await;
    assert_eq!(yes_to_what.code, 2, "{yes_to_what:?}");
    assert_eq!(rows(&site.local, ACTIVE).await, json!([{"count": 20}]));
    let allowed = run(&site, &[&alone[..], &["--yes"]].concat(), &[]).await;
    assert_eq!(
        (allowed.code, &object(&allowed)["counts"]["deactivated"]),
        (0, &json!(10))
    );
    assert_eq!(rows(&site.local, ACTIVE).await, json!([{"count": 10}]));
    let reason = "any number of deactivations was allowed beforehand";
    assert_eq!(last(&site).await, (account(), json!(reason)));
}

#[tokio::test]
async fn a_person_at_a_terminal_approves_what_a_run_showed() {
    let site = Site::with_meters_gone().await;
    let refused = run(&site, &["sync", "--json"], &[]).await;
    let shown = object(&refused)["run_id"]
        .as_str()
        .expect("an id")
        .to_owned();
    site.on_remote("update meter set name = 'other'; delete from meter where id = 10")
        .await;
    let outdated = run(&site, &["sync", "--allow-plan", &shown, "--json"], &[]).await;
    let again = object(&outdated);
    assert_eq!(
        (outdated.code, &again["error"]["code"]),
        (3, &json!("APPROVAL_OUTDATED"))
    );
    site.on_remote("update meter set name = 'yet another'")
        .await;
    let again = again["run_id"].as_str().expect("an id").to_owned();
    let arguments = ["sync", "--allow-plan", &again, "--json"];
    let approved = run(&site, &arguments, &[]).await;
    assert_eq!(
        (approved.code, &object(&approved)["counts"]["deactivated"]),
        (0, &json!(11))
    );
    let reason = format!("to carry out the deactivations that run {again} showed");
    assert_eq!(last(&site).await, (account(), json!(reason)));
    let both = run(
        &site,
        &["sync", "--allow-plan", &again, "--allow-mass-deactivation"],
        &[],
    )
    .await;
    assert_eq!(both.code, 2, "{both:?}");
    let no_id = run(&site, &["sync", "--allow-plan", "7"], &[]).await;
    assert_eq!(no_id.code, 2, "{no_id:?}");
}
