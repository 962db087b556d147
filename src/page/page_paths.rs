//! The paths of the pages of one mirror.

use crate::model::RunId;
use crate::url_path::{self, TENANTS};

/// The path below which the pages of a mirror lie, its base: empty for the only mirror of a process,
/// `/tenants/{tenant_id}` for one of several.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct MirrorPaths(String);

impl MirrorPaths {
    /// The pattern of [`Self::of_tenant`] in a route, with the tenant's id as a parameter.
    pub(super) const PATTERN: &str = "/tenants/{tenant_id}";
    /// The name of the parameter in [`Self::PATTERN`].
    pub(super) const PARAMETER: &str = "tenant_id";

    /// The base of the only mirror, and of pages that are not about one mirror.
    pub(super) fn root() -> Self {
        Self::default()
    }

    /// The base of one mirror of several.
    pub(super) fn of_tenant(id: &str) -> Self {
        Self(url_path::of_tenant(id))
    }

    /// Returns the part of a path that follows `/tenants/{tenant_id}`; `None` if the path does not begin with that.
    pub(super) fn below(path: &str) -> Option<&str> {
        let rest = path.strip_prefix(TENANTS)?;
        let end = rest.find('/').unwrap_or(rest.len());
        rest.get(end..).filter(|_| end > 0)
    }

    /// Whether this is the base of one mirror of several.
    pub(super) fn is_of_tenant(&self) -> bool {
        !self.0.is_empty()
    }

    /// Returns the whole path of a page from its path below the base, which is `/` for the status page.
    pub(super) fn page(&self, path: &str) -> String {
        format!("{}{path}", self.0)
    }

    /// Returns the path of a run's page.
    pub(super) fn run(&self, id: RunId) -> String {
        self.page(&format!("/runs/{id}"))
    }

    /// Returns the path of a resource of the REST API for the same mirror.
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
