//! The paths of the pages of one mirror (the meters of one tenant).

use serde::Deserialize;

use crate::model::RunId;
use crate::url_path::{self, TENANT_PAGES};

/// The base path of a mirror's pages, from which their full paths are built. It is empty if the process has only one
/// mirror, otherwise `/tenants/{tenant_id}`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct MirrorBasePath(String);

impl MirrorBasePath {
    /// The route pattern of a tenant's base path, with the tenant's id as a parameter.
    pub(super) const PATTERN: &str = "/tenants/{tenant_id}";
    /// The name of the parameter for the tenant's id in [`Self::PATTERN`].
    pub(super) const PARAMETER: &str = "tenant_id";

    /// Returns the empty base path, for a process with one mirror and for pages that are not about one mirror.
    pub(super) fn root() -> Self {
        Self::default()
    }

    /// Returns the base path of the mirror of this tenant, for a process with several mirrors.
    pub(super) fn of_tenant(id: &str) -> Self {
        Self(url_path::of_tenant(id))
    }

    /// Returns the part of a path that follows `/tenants/{tenant_id}`; `None` if the path does not begin with that.
    pub(super) fn below(path: &str) -> Option<&str> {
        let rest = path.strip_prefix(TENANT_PAGES)?;
        let end = rest.find('/').unwrap_or(rest.len());
        rest.get(end..).filter(|_| end > 0)
    }

    /// Whether the base path names a tenant, because the process has several mirrors.
    pub(super) fn is_of_tenant(&self) -> bool {
        !self.0.is_empty()
    }

    /// Returns the full path of a page. `path` is its path below the base, such as `/runs`, or `/` for the status page.
    pub(super) fn page(&self, path: &str) -> String {
        format!("{}{path}", self.0)
    }

    /// Returns the path of a run's page.
    pub(super) fn run(&self, id: RunId) -> String {
        self.page(&format!("/runs/{id}"))
    }

    /// Returns the full path of a resource in the REST API for the same mirror. `path` is its last part, such as
    /// `/events`.
    pub(super) fn api(&self, path: &str) -> String {
        format!("/api/v1{}{path}", self.0)
    }
}

/// The parameter of the path `/runs/{id}`, and of the paths below it.
#[derive(Clone, Debug, Deserialize)]
pub(super) struct RunPath {
    pub(super) id: String,
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
            assert_eq!(MirrorBasePath::below(path), rest, "{path}");
        }
    }
}
