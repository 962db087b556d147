//! Removes the ids of other tenants from reports, if the caller may not see these tenants. Such an id says to which tenant
//! a meter has moved. The messages of errors are stored for all callers, so they name no such tenant.

use crate::mirrors::Mirror;
use crate::model::{Change, GoneMeters, HeldDeactivations, MeterDestination};
use crate::reports::run_report::RunReport;
use crate::store::changes::MeterChange;

impl Mirror {
    /// Removes the ids of tenants that the caller may not see from changes of meters.
    pub(crate) fn hide_in_changes(&self, changes: &mut [Change]) {
        self.hide_in(changes.iter_mut().map(|change| &mut change.gone_to));
    }

    /// Removes the ids of tenants that the caller may not see from changes of one meter.
    pub(crate) fn hide_in_meter(&self, changes: &mut [MeterChange]) {
        self.hide_in(changes.iter_mut().map(|change| &mut change.gone_to));
    }

    fn hide_in<'c>(&self, gone_to: impl Iterator<Item = &'c mut Option<MeterDestination>>) {
        for destination in gone_to.flatten() {
            destination.hide_others(&self.visible);
        }
    }

    /// Removes the ids of tenants that the caller may not see from deactivations that were held back.
    pub(crate) fn hide_in_held(&self, held: Option<&mut HeldDeactivations>) {
        if let Some(held) = held {
            GoneMeters::hide_others(&mut held.gone_to, &self.visible);
        }
    }

    /// Removes the ids of tenants that the caller may not see from the report of a run, and adds to its summary where
    /// the meters went that are gone. Call this once for a report.
    pub(crate) fn fit_to_caller(&self, report: &mut RunReport) {
        self.hide_in_changes(&mut report.changes);
        self.hide_in_held(report.held_back.as_mut());
        tell_where_gone(&mut report.summary, report.held_back.as_ref());
    }
}

/// Adds to the summary of a run where the meters went because of which it was refused, if that is known.
pub(crate) fn tell_where_gone(summary: &mut String, held: Option<&HeldDeactivations>) {
    if let Some(words) = held.and_then(HeldDeactivations::gone_to_in_words) {
        *summary += &format!(" {words}");
    }
}
