//! What a sync is to come to, told by two maps.

use std::collections::BTreeMap;

use meter_sync::model::{ChangeAction, Counts, MeterFields};
use serde_json::{Value as Json, json};

use super::table_shapes::{Key, Shape, TenantPlace};
use super::value_kinds::Value;

/// The tenant that the sites of the properties mirror.
pub(crate) const TENANT: u8 = 7;

/// What both sides know of a meter.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Meter {
    pub(crate) fields: Vec<Option<Value>>,
    pub(crate) active: Option<bool>,
}

impl Meter {
    fn is_active(&self) -> bool {
        self.active == Some(true)
    }

    fn fits(&self) -> bool {
        self.fields.iter().flatten().all(|value| value.fits)
    }
}

/// A row on either side; `note` is the site's own and means nothing on the remote.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Row {
    pub(crate) tenant: u8,
    pub(crate) meter: Meter,
    pub(crate) note: Option<String>,
}

/// A change as it is to be recorded.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Recorded {
    pub(crate) action: ChangeAction,
    pub(crate) before: MeterFields,
    pub(crate) after: MeterFields,
}

/// What a sync is to report.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Expected {
    pub(crate) counts: Counts,
    pub(crate) changes: BTreeMap<Key, Recorded>,
    pub(crate) rejected: Vec<Key>,
}

/// Both tables.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Model {
    pub(crate) remote: BTreeMap<Key, Row>,
    pub(crate) local: BTreeMap<Key, Row>,
}

impl Model {
    /// Does what a sync is to do.
    pub(crate) fn sync(&mut self, shape: &Shape) -> Expected {
        let mut expected = Expected::default();
        let mirrored = self.remote.iter().filter(|(_, row)| row.tenant == TENANT);
        for (key, Row { meter, .. }) in mirrored.clone() {
            let ours = self.local.get(key).cloned();
            let is_theirs = ours.as_ref().is_some_and(|row| row.tenant != TENANT);
            let counts = &mut expected.counts;
            let action = match &ours {
                _ if is_theirs || !meter.fits() => {
                    counts.rejected += 1;
                    expected.rejected.push(key.clone());
                    continue;
                }
                Some(row) if row.meter == *meter => {
                    counts.unchanged += 1;
                    continue;
                }
                None => ChangeAction::Insert,
                Some(row) if !row.meter.is_active() && meter.is_active() => {
                    ChangeAction::Reactivate
                }
                Some(_) => ChangeAction::Update,
            };
            count(counts, action);
            let change = recorded(shape, action, ours.as_ref(), meter);
            expected.changes.insert(key.clone(), change);
            let note = ours.map_or(Some("ours".to_owned()), |row| row.note);
            let row = Row {
                tenant: TENANT,
                meter: meter.clone(),
                note,
            };
            self.local.insert(key.clone(), row);
        }
        let kept: Vec<Key> = mirrored.map(|(key, _)| key.clone()).collect();
        for (key, row) in &mut self.local {
            if row.tenant == TENANT && row.meter.is_active() && !kept.contains(key) {
                row.meter.active = Some(false);
                count(&mut expected.counts, ChangeAction::Deactivate);
                let change = Recorded {
                    action: ChangeAction::Deactivate,
                    before: object(&json!({"active": true})),
                    after: object(&json!({"active": false})),
                };
                expected.changes.insert(key.clone(), change);
            }
        }
        expected
    }

    /// How many of the tenant's local meters are active, and how many are not.
    pub(crate) fn active_here(&self) -> (i64, i64) {
        let ours = self.local.values().filter(|row| row.tenant == TENANT);
        let (active, inactive): (Vec<_>, Vec<_>) = ours.partition(|row| row.meter.is_active());
        (
            active.len().try_into().unwrap(),
            inactive.len().try_into().unwrap(),
        )
    }
}

fn count(counts: &mut Counts, action: ChangeAction) {
    match action {
        ChangeAction::Insert => counts.inserted += 1,
        ChangeAction::Update => counts.updated += 1,
        ChangeAction::Deactivate => counts.deactivated += 1,
        ChangeAction::Reactivate => counts.reactivated += 1,
        ChangeAction::Unknown => panic!("an action of no version"),
    }
}

fn recorded(shape: &Shape, action: ChangeAction, old: Option<&Row>, new: &Meter) -> Recorded {
    let (mut before, mut after) = (MeterFields::new(), MeterFields::new());
    let json = |value: &Option<Value>| value.as_ref().map_or(Json::Null, |v| v.json.clone());
    for (n, (column, _)) in shape.fields.iter().enumerate() {
        let was = old.and_then(|row| row.meter.fields[n].clone());
        if was != new.fields[n] {
            before.insert(column.name.to_owned(), json(&was));
            after.insert(column.name.to_owned(), json(&new.fields[n]));
        }
    }
    let was = old.and_then(|row| row.meter.active);
    if was != new.active {
        before.insert("active".to_owned(), json!(was));
        after.insert("active".to_owned(), json!(new.active));
    }
    if action == ChangeAction::Insert {
        before.clear();
        if shape.tenant == TenantPlace::Beside {
            after.insert("tenant_id".to_owned(), json!(TENANT));
        }
    }
    Recorded {
        action,
        before,
        after,
    }
}

fn object(value: &Json) -> MeterFields {
    value.as_object().cloned().unwrap()
}
