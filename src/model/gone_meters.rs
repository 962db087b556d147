//! Where meters went that the remote no longer has for their tenant.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{VisibleTenants, text_enum};

text_enum! {
    /// What became of a meter that the remote no longer has for its tenant.
    GonePlace {
        /// The remote has it for another tenant now.
        AnotherTenant = "another_tenant",
        /// The remote table has no row with its key.
        Deleted = "deleted",
        /// The remote role sees no row with its key. Row security may hide one.
        DeletedOrHidden = "deleted_or_hidden",
    }
    else
        /// Not known.
        Unclear = "unclear"
}

/// Where one meter went that the remote no longer has for its tenant.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "GoneTo")]
pub struct MeterDestination {
    /// What became of the meter.
    pub place: GonePlace,
    /// The id of the other tenant; absent if the caller may not see that tenant.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tenant_id: Option<String>,
}

/// How many of the meters that are gone went to the same place.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[schemars(rename = "GoneMeters")]
pub struct GoneMeters {
    /// What became of these meters.
    pub place: GonePlace,
    /// The id of the other tenant; absent if the caller may not see it, or for several further tenants together.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tenant_id: Option<String>,
    /// How many meters these are.
    pub meters: i64,
}

/// How many other tenants are told apart. Meters that moved to further ones are counted together.
const TENANTS: usize = 5;

/// The longest id of another tenant that is shown, in characters.
const TENANT_CHARS: usize = 60;

impl MeterDestination {
    /// Returns the text that the log stores: the place and, after a space, the tenant's id.
    pub(crate) fn stored(&self) -> String {
        match &self.tenant_id {
            Some(id) => format!("{} {id}", self.place),
            None => self.place.to_string(),
        }
    }

    /// Reads the text that the log stores. `None` if it tells no more than that the meter is gone.
    pub(crate) fn parse(stored: &str) -> Option<Self> {
        let (place, tenant_id) = match stored.split_once(' ') {
            Some((place, id)) => (place, Some(id.to_owned())),
            None => (stored, None),
        };
        let place = GonePlace::read(place);
        (place != GonePlace::Unclear).then_some(Self { place, tenant_id })
    }

    /// Removes the id of a tenant that is not visible.
    pub fn hide_others(&mut self, visible: &VisibleTenants) {
        if self
            .tenant_id
            .as_deref()
            .is_some_and(|id| !visible.includes(id))
        {
            self.tenant_id = None;
        }
    }

    /// Says in a few words where the meter went, such as `moved to tenant 9`.
    pub fn in_words(&self) -> String {
        words(self.place, self.tenant_id.as_deref())
    }
}

impl GoneMeters {
    /// Counts how many meters went to the same place, those of other tenants first. Only the tenants to which most
    /// meters went are told apart.
    pub(crate) fn count<'d>(
        destinations: impl IntoIterator<Item = &'d MeterDestination>,
    ) -> Vec<Self> {
        let mut groups: Vec<Self> = Vec::new();
        let mut sorted: Vec<&MeterDestination> = destinations.into_iter().collect();
        sorted.sort();
        for destination in sorted {
            let is_same = |group: &&mut Self| {
                group.place == destination.place && group.tenant_id == destination.tenant_id
            };
            match groups.last_mut().filter(is_same) {
                Some(group) => group.meters += 1,
                None => groups.push(Self {
                    place: destination.place,
                    tenant_id: destination.tenant_id.clone(),
                    meters: 1,
                }),
            }
        }
        // The sort is stable, so tenants with as many meters stay in the order of their ids.
        groups.sort_by_key(|group| (group.place, -group.meters));
        let mut tenants = 0;
        for group in &mut groups {
            tenants += usize::from(group.tenant_id.is_some());
            if tenants > TENANTS {
                group.tenant_id = None;
            }
        }
        merged(groups)
    }

    /// Removes the ids of tenants that are not visible, and counts the meters of these tenants together.
    pub fn hide_others(groups: &mut Vec<Self>, visible: &VisibleTenants) {
        for group in &mut *groups {
            let id = group.tenant_id.as_deref();
            if id.is_some_and(|id| !visible.includes(id)) {
                group.tenant_id = None;
            }
        }
        *groups = merged(std::mem::take(groups));
    }

    /// Says where the meters went, as in `Of those gone: 57 moved to tenant 9, 1 deleted.` `gone` is how many there are
    /// in all. Returns `None` if nothing is known.
    pub fn in_words(groups: &[Self], gone: i64) -> Option<String> {
        let is_known = |group: &Self| group.place != GonePlace::Unclear;
        if !groups.iter().any(is_known) {
            return None;
        }
        let parts = groups.iter().map(|group| {
            let words = words(group.place, group.tenant_id.as_deref());
            format!("{} {words}", group.meters)
        });
        let parts = parts.collect::<Vec<_>>().join(", ");
        let asked: i64 = groups.iter().map(|group| group.meters).sum();
        Some(match asked < gone {
            true => format!("Of those gone, {asked} were asked about: {parts}."),
            false => format!("Of those gone: {parts}."),
        })
    }
}

/// Adds up groups of the same place without a tenant's id.
fn merged(groups: Vec<GoneMeters>) -> Vec<GoneMeters> {
    let mut merged: Vec<GoneMeters> = Vec::new();
    for group in groups {
        let is_same = |known: &&mut GoneMeters| {
            known.place == group.place && known.tenant_id == group.tenant_id
        };
        match merged.iter_mut().find(is_same) {
            Some(known) => known.meters += group.meters,
            None => merged.push(group),
        }
    }
    merged
}

fn words(place: GonePlace, tenant_id: Option<&str>) -> String {
    match (place, tenant_id) {
        (GonePlace::AnotherTenant, Some(id)) => {
            let shown = id.chars().filter(|c| !c.is_control()).take(TENANT_CHARS);
            format!("moved to tenant {}", shown.collect::<String>())
        }
        (GonePlace::AnotherTenant, None) => "moved to another tenant".to_owned(),
        (GonePlace::Deleted, _) => "deleted".to_owned(),
        (GonePlace::DeletedOrHidden, _) => "deleted or not visible to the remote role".to_owned(),
        (GonePlace::Unclear, _) => "no longer in the source, it is not known why".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn to(tenant: &str) -> MeterDestination {
        MeterDestination {
            place: GonePlace::AnotherTenant,
            tenant_id: Some(tenant.to_owned()),
        }
    }

    fn at(place: GonePlace) -> MeterDestination {
        MeterDestination {
            place,
            tenant_id: None,
        }
    }

    fn told(groups: &[GoneMeters], gone: i64) -> String {
        GoneMeters::in_words(groups, gone).unwrap_or_default()
    }

    #[test]
    fn meters_are_counted_by_where_they_went_and_few_tenants_are_told_apart() {
        let tenants = ["1", "2", "3", "4", "5", "6", "7", "9", "9"].map(to);
        let others = [
            at(GonePlace::DeletedOrHidden),
            at(GonePlace::Deleted),
            at(GonePlace::Unclear),
        ];
        let groups = GoneMeters::count(tenants.iter().chain(&others));
        assert_eq!(
            told(&groups, 12),
            "Of those gone: 2 moved to tenant 9, 1 moved to tenant 1, 1 moved to tenant 2, 1 moved to tenant 3, 1 moved to tenant 4, \
             3 moved to another tenant, 1 deleted, 1 deleted or not visible to the remote role, \
             1 no longer in the source, it is not known why."
        );
        let few = told(&GoneMeters::count(&[to("9"), to("9")]), 7);
        assert_eq!(
            few,
            "Of those gone, 2 were asked about: 2 moved to tenant 9."
        );
        assert_eq!(told(&[], 3), "");
        let unclear = GoneMeters::count(&[at(GonePlace::Unclear)]);
        assert_eq!(told(&unclear, 1), "");
    }

    #[test]
    fn tenants_that_a_caller_may_not_see_have_no_id() {
        let mut groups = GoneMeters::count(&[to("8"), to("9"), to("9"), at(GonePlace::Deleted)]);
        let visible = VisibleTenants::new(Some(vec!["7".to_owned(), "8".to_owned()]));
        GoneMeters::hide_others(&mut groups, &visible);
        assert_eq!(
            told(&groups, 4),
            "Of those gone: 2 moved to another tenant, 1 moved to tenant 8, 1 deleted."
        );
        let mut destination = to("9");
        destination.hide_others(&VisibleTenants::default());
        assert_eq!(destination.in_words(), "moved to tenant 9");
        destination.hide_others(&visible);
        assert_eq!(destination.in_words(), "moved to another tenant");
    }

    #[test]
    fn what_is_stored_is_read_again() {
        for destination in [
            to("9"),
            to("a b"),
            at(GonePlace::Deleted),
            at(GonePlace::DeletedOrHidden),
        ] {
            let read = MeterDestination::parse(&destination.stored());
            assert_eq!(read, Some(destination));
        }
        assert_eq!(MeterDestination::parse("of a newer version"), None);
    }
}
