//! The addresses of the pages of one mirror.

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};

use crate::model::RunId;

/// The characters of a tenant's id that are encoded in an address: all but those that RFC 3986 calls unreserved.
const ENCODED: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'.')
    .remove(b'_')
    .remove(b'~');

/// The folder of the pages of tenants.
const TENANTS: &str = "/tenants/";

/// The ids that cannot be a segment of an address: browsers read them, also if they are encoded, as steps in the path.
const NO_SEGMENTS: [&str; 3] = ["", ".", ".."];

/// The address below which the pages of a mirror lie: empty for the only mirror of a process, `/tenants/{tenant_id}`
/// for one of several.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Base(String);

impl Base {
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
        let space = if NO_SEGMENTS.contains(&id) { "%20" } else { "" };
        let id = utf8_percent_encode(id, ENCODED);
        Self(format!("{TENANTS}{id}{space}"))
    }

    /// The tenant's id in a decoded segment that [`Self::of_tenant`] made.
    pub(super) fn tenant_id(segment: &str) -> &str {
        let id = segment.strip_suffix(' ');
        id.filter(|id| NO_SEGMENTS.contains(id)).unwrap_or(segment)
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
    fn an_id_of_any_characters_is_one_segment_that_no_browser_takes_apart() {
        for (id, base) in [
            ("7", "/tenants/7"),
            ("a/b", "/tenants/a%2Fb"),
            ("%", "/tenants/%25"),
            ("a?b#c", "/tenants/a%3Fb%23c"),
            ("<script>", "/tenants/%3Cscript%3E"),
            ("é", "/tenants/%C3%A9"),
            ("..", "/tenants/..%20"),
            (".", "/tenants/.%20"),
            ("", "/tenants/%20"),
            ("3f0e-4.a_b~", "/tenants/3f0e-4.a_b~"),
        ] {
            assert_eq!(Base::of_tenant(id).page(""), base);
            let segment = base.strip_prefix(TENANTS).expect("a tenant");
            let segment = percent_encoding::percent_decode_str(segment)
                .decode_utf8()
                .expect("text");
            assert_eq!(Base::tenant_id(&segment), id);
        }
        assert_eq!(Base::tenant_id("a "), "a ");
    }

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
            assert_eq!(Base::below(path), rest, "{path}");
        }
    }
}
