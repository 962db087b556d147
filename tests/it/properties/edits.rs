//! What happens to the two tables between syncs.

use meter_sync::model::RunTrigger;
use quickcheck::{Arbitrary, Gen};

use super::model::{Meter, Model, Row, TENANT};
use super::table_shapes::{Key, SHAPES, Shape, TenantPlace};
use super::value_kinds::Kind;

/// One edit, in numbers that a shape gives a meaning.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Edit {
    /// The remote writes a whole row, new or not.
    Put { key: u8, tenant: u8, pick: u16 },
    /// The remote changes a field.
    Change { key: u8, field: u8, pick: u16 },
    /// The remote sets `active`.
    Switch { key: u8, pick: u16 },
    /// The remote deletes a row.
    Delete { key: u8 },
    /// The remote moves a row to another tenant.
    Move { key: u8, tenant: u8 },
    /// Somebody writes a whole row here, behind the sync's back.
    PutHere { key: u8, tenant: u8, pick: u16 },
    /// Somebody changes a field here.
    ChangeHere { key: u8, field: u8, pick: u16 },
    /// Somebody sets `active` here.
    SwitchHere { key: u8, pick: u16 },
    /// Somebody deletes a row here.
    DeleteHere { key: u8 },
    /// The site writes into its own column.
    Note { key: u8, pick: u16 },
}

impl Arbitrary for Edit {
    fn arbitrary(g: &mut Gen) -> Self {
        let keys: Vec<u8> = (0..10).collect();
        let key = *g.choose(&keys).unwrap();
        let tenant = *g.choose(&[7, 7, 7, 8, 9]).unwrap();
        let pick = u16::arbitrary(g);
        let field = u8::arbitrary(g);
        match g
            .choose(&[0, 0, 0, 0, 0, 0, 0, 1, 1, 1, 2, 3, 3, 4, 5, 6, 7, 8, 9])
            .unwrap()
        {
            0 => Self::Put { key, tenant, pick },
            1 => Self::Change { key, field, pick },
            2 => Self::Switch { key, pick },
            3 => Self::Delete { key },
            4 => Self::Move { key, tenant },
            5 => Self::PutHere { key, tenant, pick },
            6 => Self::ChangeHere { key, field, pick },
            7 => Self::SwitchHere { key, pick },
            8 => Self::DeleteHere { key },
            _ => Self::Note { key, pick },
        }
    }
}

/// One case of most properties: a sync after each round of edits.
#[derive(Clone, Debug)]
pub(crate) struct Case {
    pub(crate) shape: usize,
    pub(crate) trigger: RunTrigger,
    pub(crate) rounds: Vec<Vec<Edit>>,
}

impl Case {
    /// The same without what somebody else does here, which is in no log.
    pub(crate) fn without_edits_here(&self) -> Self {
        let is_there = |edit: &&Edit| {
            !matches!(
                edit,
                Edit::PutHere { .. }
                    | Edit::ChangeHere { .. }
                    | Edit::SwitchHere { .. }
                    | Edit::DeleteHere { .. }
            )
        };
        let rounds = self.rounds.iter();
        let rounds = rounds.map(|round| round.iter().filter(is_there).copied().collect());
        Self {
            rounds: rounds.collect(),
            ..self.clone()
        }
    }

    /// Two rounds, the second of which mostly takes rows from the remote; none is deleted here.
    pub(crate) fn of_deletions_there(&self) -> Self {
        let gone = |edit: &Edit| {
            let key = edit.key();
            if let Edit::Put { pick, .. } = edit
                && pick % 3 == 0
            {
                return Edit::Move { key, tenant: 8 };
            }
            Edit::Delete { key }
        };
        let rounds = self.rounds.first().into_iter();
        let first = rounds
            .flatten()
            .filter(|edit| !matches!(edit, Edit::DeleteHere { .. }));
        let first: Vec<Edit> = first.copied().collect();
        let second = first.iter().step_by(2).map(gone).collect();
        Self {
            rounds: vec![first, second],
            ..self.clone()
        }
    }
}

impl Arbitrary for Case {
    fn arbitrary(g: &mut Gen) -> Self {
        let shapes: Vec<usize> = (0..SHAPES).collect();
        let sizes: Vec<usize> = (1..14).collect();
        let rounds = *g.choose(&[1, 2, 2, 3]).unwrap();
        Self {
            shape: *g.choose(&shapes).unwrap(),
            trigger: *g.choose(RunTrigger::ALL).unwrap(),
            rounds: (0..rounds)
                .map(|_| {
                    (0..*g.choose(&sizes).unwrap())
                        .map(|_| Edit::arbitrary(g))
                        .collect()
                })
                .collect(),
        }
    }

    fn shrink(&self) -> Box<dyn Iterator<Item = Self>> {
        let case = self.clone();
        Box::new(self.rounds.shrink().map(move |rounds| Self {
            rounds,
            ..case.clone()
        }))
    }
}

impl Edit {
    /// Does the edit to the model.
    pub(crate) fn apply(self, shape: &Shape, model: &mut Model) {
        let Model { remote, local } = model;
        let key = shape.key_of(self.key());
        match self {
            Self::Put { tenant, pick, .. } => {
                let tenant = tenant_of(shape, &key, tenant);
                let meter = meter(shape, pick);
                let row = Row {
                    tenant,
                    meter,
                    note: None,
                };
                remote.insert(key, row);
            }
            Self::PutHere { tenant, pick, .. } => {
                let tenant = match shape.tenant {
                    TenantPlace::Absent => TENANT,
                    TenantPlace::Beside | TenantPlace::InKey => tenant_of(shape, &key, tenant),
                };
                let mut meter = meter(shape, pick);
                for value in &mut meter.fields {
                    *value = value.take().filter(|value| value.fits);
                }
                let note = local.get(&key).and_then(|row| row.note.clone());
                local.insert(
                    key,
                    Row {
                        tenant,
                        meter,
                        note,
                    },
                );
            }
            Self::Delete { .. } => drop(remote.remove(&key)),
            Self::DeleteHere { .. } => drop(local.remove(&key)),
            Self::Change { .. } | Self::Switch { .. } | Self::Move { .. } => {
                remote
                    .entry(key.clone())
                    .and_modify(|row| self.change(shape, &key, row));
            }
            Self::ChangeHere { .. } | Self::SwitchHere { .. } | Self::Note { .. } => {
                local
                    .entry(key.clone())
                    .and_modify(|row| self.change(shape, &key, row));
            }
        }
    }

    fn key(self) -> u8 {
        match self {
            Self::Put { key, .. }
            | Self::Change { key, .. }
            | Self::Switch { key, .. }
            | Self::Delete { key }
            | Self::Move { key, .. }
            | Self::PutHere { key, .. }
            | Self::ChangeHere { key, .. }
            | Self::SwitchHere { key, .. }
            | Self::DeleteHere { key }
            | Self::Note { key, .. } => key,
        }
    }

    /// Changes a row that is there.
    fn change(self, shape: &Shape, key: &Key, row: &mut Row) {
        match self {
            Self::Change { field, pick, .. } => change(shape, &mut row.meter, (field, pick), false),
            Self::ChangeHere { field, pick, .. } => {
                change(shape, &mut row.meter, (field, pick), true);
            }
            Self::Switch { pick, .. } | Self::SwitchHere { pick, .. } => {
                row.meter.active = active(shape, pick);
            }
            Self::Move { tenant, .. } => row.tenant = tenant_of(shape, key, tenant),
            Self::Note { pick, .. } => row.note = Kind::Text.value(pick).map(|value| value.text),
            Self::Put { .. }
            | Self::PutHere { .. }
            | Self::Delete { .. }
            | Self::DeleteHere { .. } => {}
        }
    }
}

fn tenant_of(shape: &Shape, key: &Key, wanted: u8) -> u8 {
    match shape.tenant {
        TenantPlace::InKey => key[0].parse().unwrap(),
        TenantPlace::Absent | TenantPlace::Beside => wanted,
    }
}

fn meter(shape: &Shape, pick: u16) -> Meter {
    let mut seed = pick;
    let mut next = || {
        seed = seed.wrapping_mul(25_173).wrapping_add(13_849);
        seed.rotate_left(5)
    };
    Meter {
        fields: shape
            .fields
            .iter()
            .map(|(_, kind)| kind.value(next()))
            .collect(),
        active: active(shape, pick),
    }
}

fn change(shape: &Shape, meter: &mut Meter, (field, pick): (u8, u16), here: bool) {
    let n = usize::from(field) % shape.fields.len();
    let value = shape.fields[n].1.value(pick);
    meter.fields[n] = value.filter(|value| value.fits || !here);
}

fn active(shape: &Shape, pick: u16) -> Option<bool> {
    match pick % 8 {
        0..5 => Some(true),
        5 if shape.active_may_be_null() => None,
        _ => Some(false),
    }
}
