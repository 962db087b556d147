//! What must be true after any fault.

use meter_sync::config::Setting;
use meter_sync::db::{Local as LocalSide, Side as _};
use meter_sync::model::RunOutcome;
use meter_sync::reports::run_report::RunReport;
use meter_sync::reports::status::{Status, StatusQuery};
use serde_json::{Value, json};

use super::remedy_words;
use super::trial_site::{State, Trial};
use crate::mcp::client::Assistant;
use crate::support::http_server::{HttpServer, send};
use crate::support::program;
use crate::support::scrape::scrape;
use crate::support::site::{rows, settings};
use crate::support::wait;

/// Checks everything after the run that the fault struck; `run` is what it reported, if it could.
///
/// The fault is mended by now. `before` is the local side before the run. Gives whether the log says that the run brought
/// the changes.
pub(super) async fn hold(
    name: &str,
    trial: &mut Trial,
    before: &State,
    run: Option<&RunReport>,
) -> bool {
    lock_is_free(name, trial).await;
    let logged = logged(trial, before, run).await;
    let is_over = history_tells(name, &logged, run);
    let state = trial.state().await;
    let outcome = logged["outcome"].as_str().and_then(RunOutcome::parse);
    let has_landed = matches!(
        outcome,
        Some(RunOutcome::Succeeded | RunOutcome::NoChange | RunOutcome::Partial)
    );
    let expected = match has_landed {
        true => landed(trial, before, &logged["id"]).await,
        false => before.clone(),
    };
    let difference = expected.difference(&state);
    assert_eq!(difference, [], "{name}: {logged} {run:#?}");
    serials_are_followed(name, trial).await;
    if is_over {
        surfaces_agree(name, trial).await;
    }
    converges(name, trial, &state).await;
    serials_are_followed(name, trial).await;
    if !is_over {
        surfaces_agree(name, trial).await;
        let unfinished = "select id from meter_sync.meter_sync_log where outcome is null";
        assert_eq!(trial.local.rows(unfinished).await, json!([]), "{name}");
    }
    connections_are_back(name, trial).await;
    nothing_is_left(name, trial).await;
    has_landed
}

/// The status as this process tells it.
pub(super) async fn status(trial: &Trial) -> Status {
    let query = StatusQuery::default();
    trial.mirror.status(&query).await.expect("a status")
}

/// Waits until no process of ours holds the run lock.
pub(super) async fn lock_is_free(name: &str, trial: &Trial) {
    let locks = trial.local.sql(
        "select 1 from pg_locks join pg_stat_activity using (pid)
         where locktype = 'advisory' and usename = '$role'",
    );
    let eyes = trial.local.connect().await;
    let is_free = async || rows(&eyes, &locks).await == json!([]);
    wait::until(&format!("{name}: the run lock is free"), is_free).await;
}

/// The log's row of the run, or `null`. A run that could not report is the last one that was started.
async fn logged(trial: &Trial, before: &State, run: Option<&RunReport>) -> Value {
    let which = match run {
        Some(run) => format!("where id = '{}'", run.run_id),
        None => format!("where seq > {} order by seq desc limit 1", before.last_run),
    };
    let log = format!(
        "select id, outcome, error_code, error_message from meter_sync.meter_sync_log {which}"
    );
    trial.local.rows(&log).await[0].clone()
}

/// The log and the report say the same. Gives whether the log knows the end: not where the local database was gone then,
/// nor where the process was killed.
fn history_tells(name: &str, logged: &Value, run: Option<&RunReport>) -> bool {
    let is_over = !logged["outcome"].is_null();
    let Some(run) = run else {
        return is_over;
    };
    if let Some(error) = &run.error {
        assert!(error.message.len() > 20, "{name}: {error:?}");
        remedy_words::fits(name, error);
    }
    if is_over {
        let told = json!({
            "id": run.run_id,
            "outcome": run.outcome,
            "error_code": run.error.as_ref().map(|error| error.code),
            "error_message": run.error.as_ref().map(|error| &error.message),
        });
        assert_eq!(*logged, told, "{name}");
    } else {
        let code = run.error.as_ref().map_or("", |error| error.code.as_str());
        assert!(code.starts_with("LOCAL_"), "{name}: {logged} {run:#?}");
    }
    is_over
}

/// The local side with the changes, but for the rows that the run rejected.
async fn landed(trial: &Trial, before: &State, run_id: &Value) -> State {
    let mut after = trial.state_after_sync(before).await;
    let rejected = format!(
        "select key ->> 'id' as id from meter_sync.meter_sync_rejected where run_id = '{}'",
        run_id.as_str().expect("an id")
    );
    let rejected = trial.local.rows(&rejected).await;
    for row in rejected.as_array().expect("rows") {
        let id = row["id"].as_str().expect("an id");
        match before.meters.get(id) {
            Some(meter) => after.meters.insert(id.to_owned(), meter.clone()),
            None => after.meters.remove(id),
        };
    }
    after
}

/// Readings name their meter by its serial number, and still do.
async fn serials_are_followed(name: &str, trial: &Trial) {
    let astray =
        "select r.* from reading r join meter m on m.id = r.meter_id where r.serial <> m.serial";
    assert_eq!(trial.local.rows(astray).await, json!([]), "{name}");
}

/// What every surface says alike.
const PARTS: [&str; 5] = ["history", "last_run", "last_success_at", "health", "meters"];

/// The tool does not repeat an error: it names the run that ended alike.
fn tell_errors_again(history: &mut Value) {
    let runs = history.as_array_mut().expect("runs");
    let told = runs.clone();
    for run in runs {
        let run = run.as_object_mut().expect("a run");
        if let Some(same) = run.remove("same_error_as") {
            let first = told.iter().find(|told| told["run_id"] == same);
            let error = first.expect("the run that ended alike")["error"].clone();
            run.insert("error".to_owned(), error);
        }
    }
}

/// The REST API, MCP, the metrics and the page of a server started anew.
async fn served_surfaces_agree(name: &str, trial: &Trial, told: &Value) {
    let (remote, local) = (&trial.remote.direct_url, &trial.local.direct_url);
    let served = HttpServer::new(&settings(remote, local).with(Setting::Schedule, "off")).await;
    let (code, rest) = served.ask("GET /api/v1/status").await;
    assert_eq!(code, 200, "{name}: {rest}");
    for part in PARTS {
        assert_eq!(told[part], rest[part], "{name}: {part}");
    }
    let assistant = Assistant::at(&served.address, None).await;
    let mut mcp = assistant.ask("meter_sync_status", json!({})).await;
    tell_errors_again(&mut mcp["history"]);
    for part in PARTS {
        assert_eq!(told[part], mcp[part], "{name}: {part}");
    }
    assistant.leave().await;
    let health = scrape(&served.address).await.health();
    assert_eq!(told["health"], json!(health), "{name}");
    let page = send(served.request("GET /")).await;
    assert_eq!(page.status(), 200, "{name}");
    let page = page.text().await.expect("text");
    let last = told["last_run"]["run_id"].as_str().expect("a last run");
    assert!(page.contains(&format!("/runs/{last}")), "{name}: {page}");
}

/// The status of this process and that of a program started anew, and what a server tells.
async fn surfaces_agree(name: &str, trial: &Trial) {
    let more = [
        (Setting::RemoteUrl, trial.remote.direct_url.as_str()),
        (Setting::LocalUrl, trial.local.direct_url.as_str()),
        (Setting::Schedule, "off"),
    ];
    let command = program::bare(&["status", "--json"], &more);
    let (ours, ended) = (status(trial).await, program::run(command).await);
    let theirs: Value = serde_json::from_str(&ended.stdout)
        .unwrap_or_else(|error| panic!("{name}: {error} {ended:?}"));
    let told = json!(ours);
    for part in PARTS {
        assert_eq!(told[part], theirs[part], "{name}: {part}");
    }
    served_surfaces_agree(name, trial, &told).await;
    let log =
        "select id, outcome, error_code from meter_sync.meter_sync_log order by seq desc limit 5";
    let told = ours.history.iter().map(|run| {
        if let Some(error) = &run.error {
            remedy_words::fits(name, error);
        }
        let code = run.error.as_ref().map(|error| error.code);
        json!({"id": run.run_id, "outcome": run.outcome, "error_code": code})
    });
    assert_eq!(
        trial.local.rows(log).await,
        told.collect::<Value>(),
        "{name}"
    );
}

/// The next run makes both sides equal, and the one after it finds nothing to do and rewrites no row.
async fn converges(name: &str, trial: &Trial, before: &State) {
    let expected = trial.state_after_sync(before).await;
    let next = trial.sync().await;
    assert!(
        next.outcome.is_some_and(RunOutcome::is_success),
        "{name}: {next:#?}"
    );
    let difference = expected.difference(&trial.state().await);
    assert_eq!(difference, [], "{name}: {next:#?}");
    let versions = "select id, xmin from meter order by id";
    let written = trial.local.rows(versions).await;
    let again = trial.sync().await;
    assert_eq!(
        again.outcome,
        Some(RunOutcome::NoChange),
        "{name}: {again:#?}"
    );
    assert_eq!(trial.local.rows(versions).await, written, "{name}");
}

/// No connection to the remote is left, and no more than a pool's to the local side.
pub(super) async fn connections_are_back(name: &str, trial: &Trial) {
    let are_back = async || {
        let local = trial.local.sessions().await;
        let local = local.as_array().expect("rows");
        trial.remote.sessions().await == json!([])
            && local.len() <= LocalSide::FOR_A_RUN + LocalSide::FOR_REQUESTS
            && local.iter().all(|session| session["state"] == "idle")
    };
    wait::until(&format!("{name}: our connections are back"), are_back).await;
}

/// Once a process ends its runs it has neither a task nor a connection left, and so nothing that these hold in memory.
async fn nothing_is_left(name: &str, trial: &mut Trial) {
    trial.restart();
    trial.remote.line.close_stranded();
    trial.local.line.close_stranded();
    let trial = &*trial;
    let are_gone = async || {
        // before the questions, which have tasks of their own
        let has_no_tasks = trial.tasks() == 0;
        let sessions = [trial.remote.sessions().await, trial.local.sessions().await];
        has_no_tasks && sessions == [json!([]), json!([])]
    };
    wait::until(&format!("{name}: nothing of the runs is left"), are_gone).await;
}
