//! The addresses of the pages of one mirror.

use crate::address::{self, TENANTS};
use crate::model::RunId;

/// The address below which the pages of a mirror lie: empty for the only mirror of a process, `/tenants/{tenant_id}`
/// for one of several.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct MirrorPaths(String);

impl MirrorPaths {
    /// The route of [`Self::of_tenant`], with the tenant's id as a parameter.
    pub(super) const PATTERN: &str = "/tenants/{tenant_id}";
    /// The name of that parameter.
    pub(super) const PARAMETER: &str = "tenant_id";

    /// The base of the only mirror, and of pages that are about no mirror.
    pub(super) fn root() -> Self {
        Self::default()
    }

    /// The base of one mirror of several.
    pub(super) fn of_tenant(id: &str) -> Self {
        Self(address::of_tenant(id))
    }

    /// The path of a page below the base of a tenant, from its whole path; `None` if it has no such base.
    pub(super) fn below(path: &str) -> Option<&str> {
        let rest = path.strip_prefix(TENANTS)?;
        let end = rest.find('/').unwrap_or(rest.len());
        rest.get(end..).filter(|_| end > 0)
    }

    /// Whether it is the base of one mirror of several.
    pub(super) fn is_of_tenant(&self) -> bool {
        !self.0.is_empty()
    }

    /// The address of a page, from its path below the base: `/` is the status.
    pub(super) fn page(&self, path: &str) -> String {
        format!("{}{path}", self.0)
    }

    /// The address of a run's page.
    pub(super) fn run(&self, id: RunId) -> String {
        self.page(&format!("/runs/{id}"))
    }

    /// The address of a resource of the REST API.
    pub(super) fn api(&self, path: &str) -> String {
        format!("/api/v1{}{path}", self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_is_split_after_the_tenants_id() {
        for (path, rest) in [
            ("/tenants/7", Some("")),
            ("/tenants/7/", Some("/")),
            ("/tenants/a%2Fb/runs/x", Some("/runs/x")),
            ("/tenants//runs", None),
            ("/tenants/", None),
            ("/tenants", None),
            ("/runs", None),
        ] {
            assert_eq!(MirrorPaths::below(path), rest, "{path}");
        }
    }
}
