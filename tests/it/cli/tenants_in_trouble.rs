//! What a person is told of tenants whose sync did not succeed, and the commands that go on from there.

use meter_sync::config::Setting;

use super::{object, run};
use crate::support::program::{CommandOutput, MoreSettings};
use crate::support::site::{REMOTE_SCHEMA, Site};

const LOCAL_SCHEMA: &str = "
    create table tenant (id bigint primary key, name text);
    insert into tenant values (7, 'Acme'), (8, 'Byte'), (9, 'Cole');
    create table meter (
        id bigint primary key, tenant_id bigint not null, name varchar(10),
        active boolean not null default true)";
const THREE: MoreSettings<'_> = &[(Setting::Tenants, "7,8,9")];
const TOO_LONG: &str = "repeat('x', 11)";

async fn site() -> Site {
    Site::with_schemas(REMOTE_SCHEMA, LOCAL_SCHEMA).await
}

/// The command of ours in the only line that begins so, as the words after the program's name.
fn command<'a>(ended: &'a CommandOutput, begins: &str) -> Vec<&'a str> {
    let lines = ended.stdout.lines().map(str::trim);
    let mut lines = lines.filter(|line| line.starts_with(begins));
    let line = lines.next().unwrap_or_else(|| panic!("{}", ended.stdout));
    assert_eq!(lines.next(), None, "{}", ended.stdout);
    let (_, command) = line.split_once("meter-sync ").expect(line);
    command.split(' ').collect()
}

/// A site on which all meters of tenant 8 but one are gone since the last sync: the brake refuses the next one.
async fn with_most_meters_of_8_gone() -> Site {
    let site = site().await;
    site.on_remote("insert into meter (id, tenant_id) select n, 8 from generate_series(1, 20) n")
        .await;
    run(&site, &["sync"], THREE).await;
    site.on_remote("delete from meter where id > 1").await;
    site
}

#[tokio::test]
async fn a_sync_of_several_tenants_tells_of_each_why_and_what_to_do() {
    let site = with_most_meters_of_8_gone().await;
    site.on_remote(&format!(
        "insert into meter (id, tenant_id, name) select n, 7, {TOO_LONG} from generate_series(101, 108) n;
         insert into meter (id, tenant_id) values (201, 9)"
    ))
    .await;
    let ended = run(&site, &["sync"], THREE).await;
    assert_eq!(ended.code, 3, "{ended:?}");
    ended.assert_says(&[
        "partial     7 (Acme): Synced in part: 8 rejected",
        "            rejected id=101: ",
        "value too long",
        "            ... 3 more rejected rows: meter-sync status --run ",
        "            Read the reasons in the run's rejected rows, then mend the meters",
        "refused     8 (Byte): The sync was refused: 19 of 20 active meters",
        "            Check the remote rows of this tenant first.",
        "            Run ",
        "            To let exactly these deactivations pass: meter-sync sync --allow-plan ",
    ]);
    let rejected = ended.stdout.matches("rejected id=").count();
    assert_eq!(rejected, 5, "{}", ended.stdout);
    let shown = run(&site, &command(&ended, "... 3 more rejected rows"), THREE).await;
    assert_eq!(shown.stdout.matches("rejected id=").count(), 8, "{shown:?}");
    let approved = run(&site, &command(&ended, "To let exactly"), THREE).await;
    assert_eq!(approved.code, 0, "{approved:?}");
    approved.assert_says(&["19 deactivated"]);
}

/// With `--tenant`, a process has one tenant; without it, the same settings name several.
#[tokio::test]
async fn commands_that_are_printed_repeat_the_tenant_that_was_named() {
    let site = with_most_meters_of_8_gone().await;
    let refused = run(&site, &["sync", "--tenant", "8"], THREE).await;
    let allow = command(&refused, "To let exactly");
    assert_eq!(allow[3..], ["--tenant", "8"], "{refused:?}");
    let id = allow[2];
    for about in [&["status"][..], &["status", "--run", id]] {
        let status = run(&site, &[about, &["--tenant", "8"]].concat(), THREE).await;
        assert_eq!(command(&status, "To let exactly"), allow);
    }
    site.on_remote(&format!(
        "insert into meter (id, tenant_id, name) select n, 9, {TOO_LONG} from generate_series(101, 130) n"
    ))
    .await;
    let partial = run(&site, &["sync", "--tenant", "9"], THREE).await;
    let shown = run(&site, &command(&partial, "... 10 more rejected"), THREE).await;
    assert_eq!(shown.code, 5, "{shown:?}");
    let approved = run(&site, &allow, THREE).await;
    assert_eq!(approved.code, 0, "{approved:?}");
    let status = run(&site, &["status", "--tenant", "8"], THREE).await;
    assert!(!status.stdout.contains("--allow-plan"), "{status:?}");
}

#[tokio::test]
async fn the_status_of_a_refused_sync_names_the_command_that_lets_it_pass() {
    let site = Site::with_meters_gone().await;
    let refused = run(&site, &["sync"], &[]).await;
    assert_eq!(refused.code, 3, "{refused:?}");
    let status = run(&site, &["status"], &[]).await;
    let allow = command(&status, "To let exactly");
    assert_eq!(allow, command(&refused, "To let exactly"));
    // Programs and assistants read the JSON, and must not find a way around the brake there.
    let as_json = run(&site, &["status", "--json"], &[]).await;
    assert!(!as_json.stdout.contains("--allow"), "{as_json:?}");
    let approved = run(&site, &allow, &[]).await;
    assert_eq!(approved.code, 0, "{approved:?}");
}

#[tokio::test]
async fn a_warning_of_one_of_several_tenants_is_printed_in_full() {
    let site = site().await;
    let long = "n".repeat(60);
    let add = format!("alter table meter add {long}_1 text, add {long}_2 text, add {long}_3 text");
    site.on_remote(&add).await;
    site.on_local(&add).await;
    site.on_remote("insert into meter (id, tenant_id) values (1, 7), (2, 8)")
        .await;
    run(&site, &["sync"], THREE).await;
    site.on_remote(&add.replace("add", "drop").replace(" text", ""))
        .await;
    let one = run(&site, &["sync", "--tenant", "7", "--json"], THREE).await;
    let warning = object(&one)["warning"].clone();
    let warning = warning.as_str().expect("a warning");
    assert!(warning.chars().count() > 300, "{warning}");
    site.on_remote("update meter set name = 'new'").await;
    let ended = run(&site, &["sync"], THREE).await;
    let line = format!("            warning: {warning}\n");
    assert_eq!(ended.stdout.matches(&line).count(), 3, "{}", ended.stdout);
}

#[tokio::test]
async fn of_many_tenants_in_trouble_the_first_are_described_and_the_others_named() {
    let site = site().await;
    site.on_remote(&format!(
        "insert into meter (id, tenant_id, name) select n, n, {TOO_LONG} from generate_series(101, 124) n"
    ))
    .await;
    let ids: Vec<String> = (101..=124).map(|id| id.to_string()).collect();
    let ids = ids.join(",");
    let many: MoreSettings<'_> = &[(Setting::Tenants, &ids)];
    let ended = run(&site, &["sync"], many).await;
    assert_eq!(ended.code, 5, "{ended:?}");
    let count = |begins: &str| {
        let lines = ended.stdout.lines();
        lines.filter(|line| line.starts_with(begins)).count()
    };
    assert_eq!(count("partial     1"), 24, "{}", ended.stdout);
    assert_eq!(count("            rejected id="), 20, "{}", ended.stdout);
    let pointer = "            meter-sync status --run ";
    assert_eq!(count(pointer), 4, "{}", ended.stdout);
    let last = ended.stdout.lines().rfind(|line| line.starts_with(pointer));
    let last: Vec<&str> = last.expect("a command").split_whitespace().collect();
    let shown = run(&site, &last[1..], many).await;
    shown.assert_says(&["rejected id="]);
}
