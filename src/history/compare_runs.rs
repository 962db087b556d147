//! Works out from the log what differs in the meters between the ends of two runs.

use chrono::{DateTime, Utc};
use serde_json::Value;

use super::log_limits;
use crate::db::{Local, Tx};
use crate::error::{ErrorCode, Failure};
use crate::mirrors::Mirror;
use crate::model::{Change, ChangeAction, MeterFields, RunId, RunRecord, saturating_i64};
use crate::reports::moment::moment;
use crate::reports::run_difference::RunDifference;
use crate::reports::run_report::counted;
use crate::reports::status_text::no_such_run;
use crate::store::changes_between_runs::{self, ChangeBetweenRuns, RunsBetween};
use crate::store::log;

/// The maximum number of logged changes that a comparison reads. They are in memory together.
const READ: i64 = 20_000;

/// What the log has of two runs and of the runs between them.
struct LoggedChanges {
    from: RunRecord,
    to: RunRecord,
    between: RunsBetween,
    /// The changes by key, those of one meter in the order in which they were made.
    changes: Vec<ChangeBetweenRuns>,
}

impl Mirror {
    /// Returns what differs in the meters between the ends of two runs, given in any order. Lists at most `limit`
    /// meters. Fails if the log does not have one of the runs, or if it has not ended.
    pub async fn compare_runs(
        &self,
        one: RunId,
        other: RunId,
        limit: u32,
    ) -> Result<RunDifference, Failure> {
        let read = async |tx: &Tx<'_, Local>| {
            let log = self.log(tx).await?;
            let Some(log) = &log else {
                return Ok(Err(no_such_run(one)));
            };
            let mut runs = Vec::new();
            for id in [one, other] {
                match log::by_id(tx, log.log(), id).await? {
                    Some(run) if run.finished_at.is_some() => runs.push(run),
                    Some(_) => return Ok(Err(not_ended(id))),
                    None => return Ok(Err(no_such_run(id))),
                }
            }
            let [one, other] =
                <[RunRecord; 2]>::try_from(runs).map_err(|_runs| no_such_run(one))?;
            let [from, to] = match one.is_after(&other) {
                true => [other, one],
                false => [one, other],
            };
            let (first, last) = (from.run_id, to.run_id);
            let mut between = changes_between_runs::count(tx, log.log(), first, last).await?;
            let kept_since = self.kept_since();
            between.is_complete &= kept_since.is_none_or(|kept| from.started_at >= kept);
            let changes = changes_between_runs::list(tx, log.log(), first, last, READ + 1).await?;
            Ok::<_, Failure>(Ok(LoggedChanges {
                from,
                to,
                between,
                changes,
            }))
        };
        let logged = self.local()?.read("compare runs", read).await??;
        let active_column = &self.mapping().active_column;
        let mut difference = difference(logged, limit as usize, active_column, self.now());
        self.hide_in_changes(&mut difference.changes);
        difference.changes = self.with_names(difference.changes).await;
        Ok(difference)
    }
}

fn not_ended(id: RunId) -> Failure {
    let message = format!("Run {id} has not ended.");
    Failure::new(ErrorCode::ConfigInvalid, message).with_remedy("Name two runs that have ended.")
}

fn difference(
    logged: LoggedChanges,
    limit: usize,
    active_column: &str,
    now: DateTime<Utc>,
) -> RunDifference {
    let LoggedChanges {
        from,
        to,
        between,
        changes,
    } = logged;
    let are_all_read = saturating_i64(changes.len()) <= READ;
    let mut meters = by_meter(changes);
    if !are_all_read {
        // The last meter may have more changes.
        meters.pop();
    }
    let nets = meters
        .into_iter()
        .map(|changes| net(changes, active_column));
    let (mut differing, mut doubts) = (Vec::new(), Doubts::default());
    for net in nets {
        doubts.deleted_here |= net.was_deleted_here;
        doubts.cut_values |= net.has_cut_values;
        differing.extend(net.change);
    }
    let (counts, meters) = (by_kind(&differing), saturating_i64(differing.len()));
    differing.truncate(limit);
    let end = |run: &RunRecord| run.finished_at.unwrap_or(run.started_at);
    let difference = RunDifference {
        summary: String::new(),
        from_run: from.run_id,
        from: end(&from),
        to_run: to.run_id,
        to: end(&to),
        runs: between.runs,
        meters: are_all_read.then_some(meters),
        changes: differing,
        is_complete: between.is_complete && doubts == Doubts::default(),
    };
    let lost = if between.is_complete {
        ""
    } else {
        log_limits::LOST
    };
    let summary = in_words(&difference, &counts, now) + lost + &doubts.in_words();
    RunDifference {
        summary,
        ..difference
    }
}

/// Why meters may differ in more than the log tells.
#[derive(Debug, Default, PartialEq, Eq)]
struct Doubts {
    /// Somebody has deleted rows here that a run has inserted again.
    deleted_here: bool,
    /// The log has cut values that are equal as far as it has them.
    cut_values: bool,
}

impl Doubts {
    fn in_words(&self) -> String {
        let deleted = match self.deleted_here {
            true => " Rows were deleted here in between and inserted again, so more may differ.",
            false => "",
        };
        let cut = if self.cut_values { log_limits::CUT } else { "" };
        format!("{deleted}{cut}")
    }
}

/// Groups changes, which are sorted by key, by meter.
fn by_meter(changes: Vec<ChangeBetweenRuns>) -> Vec<Vec<ChangeBetweenRuns>> {
    let mut meters: Vec<Vec<ChangeBetweenRuns>> = Vec::new();
    for change in changes {
        let is_same = |last: &ChangeBetweenRuns| last.change.key == change.change.key;
        match meters.last_mut() {
            Some(meter) if meter.last().is_some_and(is_same) => meter.push(change),
            Some(_) | None => meters.push(vec![change]),
        }
    }
    meters
}

/// What all changes of a meter come to.
#[derive(Debug, Default, PartialEq)]
struct NetChange {
    /// The change; `None` if the meter is as it was before.
    change: Option<Change>,
    was_deleted_here: bool,
    has_cut_values: bool,
}

/// The changes of a meter, put together.
#[derive(Default)]
struct Merged {
    /// The first old value of each column.
    before: MeterFields,
    /// The last new value of each column.
    after: MeterFields,
    /// Whether the last change of the active column was made because the remote no longer had the meter.
    is_missing: bool,
}

fn merge(changes: Vec<ChangeBetweenRuns>, active_column: &str) -> Merged {
    let mut merged = Merged::default();
    for ChangeBetweenRuns { change, .. } in changes {
        if change.after.contains_key(active_column) {
            merged.is_missing = change.action == ChangeAction::Deactivate;
        }
        for (column, value) in change.before {
            merged.before.entry(column).or_insert(value);
        }
        if change.action == ChangeAction::Insert {
            // An insert has all values but NULL.
            merged
                .after
                .values_mut()
                .for_each(|value| *value = Value::Null);
        }
        merged.after.extend(change.after);
    }
    merged
}

/// Makes one change of all changes of a meter, which are in the order in which they were made.
fn net(changes: Vec<ChangeBetweenRuns>, active_column: &str) -> NetChange {
    let Some(ChangeBetweenRuns {
        change: first,
        was_deleted_here,
    }) = changes.first()
    else {
        return NetChange::default();
    };
    let is_new = first.action == ChangeAction::Insert && !was_deleted_here;
    let key = first.key.clone();
    let was_deleted_here = !is_new
        && changes
            .iter()
            .any(|one| one.change.action == ChangeAction::Insert);
    let gone_to = changes.last().and_then(|one| one.change.gone_to.clone());
    let Merged {
        mut before,
        mut after,
        is_missing,
    } = merge(changes, active_column);
    let action = if is_new {
        before.clear();
        after.retain(|_, value| !value.is_null());
        ChangeAction::Insert
    } else {
        // Of the columns that only an insert has, the old values are not known.
        after.retain(|column, _| before.contains_key(column));
        before.retain(|column, _| after.contains_key(column));
        let active = |fields: &MeterFields| {
            let active = fields.get(active_column);
            active.map(|value| *value == Value::Bool(true))
        };
        match (active(&before), active(&after)) {
            (Some(true), Some(false)) if is_missing => ChangeAction::Deactivate,
            (Some(false), Some(true)) => ChangeAction::Reactivate,
            (_, _) => ChangeAction::Update,
        }
    };
    let is_same = |column: &str, value: &Value| before.get(column) == Some(value);
    let mut same = after
        .iter()
        .filter(|(column, value)| is_same(column, value));
    let has_cut_values = same.any(|(_, value)| log_limits::is_cut(value));
    after.retain(|column, value| !is_same(column, value));
    before.retain(|column, _| after.contains_key(column));
    NetChange {
        change: (!after.is_empty()).then_some(Change {
            action,
            key,
            name: None,
            before,
            after,
            gone_to: gone_to.filter(|_| action == ChangeAction::Deactivate),
        }),
        was_deleted_here,
        has_cut_values,
    }
}

/// Says how many meters differ in which way, such as `1 inserted, 2 updated`. Returns an empty text if none does.
fn by_kind(differing: &[Change]) -> String {
    let kinds = [
        (ChangeAction::Insert, "inserted"),
        (ChangeAction::Update, "updated"),
        (ChangeAction::Deactivate, "deactivated"),
        (ChangeAction::Reactivate, "reactivated"),
    ];
    let of_kind = |kind| {
        let of_kind = differing.iter().filter(|change| change.action == kind);
        saturating_i64(of_kind.count())
    };
    counted(kinds.map(|(kind, word)| (of_kind(kind), word))).join(", ")
}

fn in_words(difference: &RunDifference, counts: &str, now: DateTime<Utc>) -> String {
    let (from, to) = (moment(difference.from, now), moment(difference.to, now));
    let runs = match difference.runs {
        1 => "one run".to_owned(),
        runs => format!("{runs} runs"),
    };
    let what = match counts {
        "" => "no meter differs",
        counts => counts,
    };
    let read = match difference.meters {
        Some(_) => String::new(),
        None => format!(
            " They made more than {READ} changes, and only the first of these were compared."
        ),
    };
    format!(
        "Between the syncs that ended at {from} and at {to}, {runs} changed meters: {what}.{read}"
    )
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn change(action: ChangeAction, before: &Value, after: &Value) -> Change {
        let fields = |value: &Value| value.as_object().cloned().expect("an object");
        Change {
            action,
            key: fields(&json!({"id": 1})),
            name: None,
            before: fields(before),
            after: fields(after),
            gone_to: None,
        }
    }

    fn update(before: &Value, after: &Value) -> Change {
        change(ChangeAction::Update, before, after)
    }

    #[test]
    fn changes_of_a_meter_become_one() {
        let (on, off) = (json!({"active": true}), json!({"active": false}));
        let gone = || change(ChangeAction::Deactivate, &on, &off);
        let back = || change(ChangeAction::Reactivate, &off, &on);
        let row = json!({"id": 1, "port": "1"});
        let insert = || change(ChangeAction::Insert, &json!({}), &row);
        let port = |from: &str, to: &str| update(&json!({"port": from}), &json!({"port": to}));
        for (changes, expected) in [
            (vec![port("1", "2"), port("2", "3")], Some(port("1", "3"))),
            (vec![port("1", "2"), port("2", "1")], None),
            (vec![gone(), back()], None),
            (vec![gone()], Some(gone())),
            (vec![update(&on, &off)], Some(update(&on, &off))),
            (vec![back(), gone(), back()], Some(back())),
            (
                vec![insert(), port("1", "2")],
                Some(change(
                    ChangeAction::Insert,
                    &json!({}),
                    &json!({"id": 1, "port": "2"}),
                )),
            ),
            (
                vec![
                    insert(),
                    update(&json!({"port": "1"}), &json!({"port": null})),
                ],
                Some(change(ChangeAction::Insert, &json!({}), &json!({"id": 1}))),
            ),
        ] {
            let told = net(between(changes.clone(), false), "active");
            assert_eq!(told.change, expected, "{changes:#?}");
            assert!(!told.was_deleted_here);
        }
    }

    fn between(changes: Vec<Change>, was_deleted_here: bool) -> Vec<ChangeBetweenRuns> {
        let of = |change| ChangeBetweenRuns {
            change,
            was_deleted_here,
        };
        changes.into_iter().map(of).collect()
    }

    #[test]
    fn a_row_that_somebody_deleted_and_a_run_inserted_again_is_told_as_far_as_it_is_known() {
        let row = json!({"id": 1, "name": "Main", "port": "2"});
        let insert = || change(ChangeAction::Insert, &json!({}), &row);
        let port = update(&json!({"port": "1"}), &json!({"port": "5"}));
        let note = update(&json!({"note": "a"}), &json!({"note": "b"}));
        let told = net(between(vec![port, note, insert()], false), "active");
        let (before, after) = (
            json!({"note": "a", "port": "1"}),
            json!({"note": null, "port": "2"}),
        );
        assert_eq!(told.change, Some(update(&before, &after)));
        assert!(told.was_deleted_here);
        let told = net(between(vec![insert()], true), "active");
        assert_eq!((told.change, told.was_deleted_here), (None, true));
    }

    #[test]
    fn equal_beginnings_of_cut_values_are_no_proof() {
        let cut = |end: &str| json!({"note": format!("{}...{end}", "x".repeat(10_000))});
        let told = net(between(vec![update(&cut(""), &cut(""))], false), "active");
        assert_eq!((told.change, told.has_cut_values), (None, true));
        let told = net(between(vec![update(&cut("x"), &cut("x"))], false), "active");
        assert_eq!((told.change, told.has_cut_values), (None, false));
    }
}
