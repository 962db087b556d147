//! The path of a tenant's pages. The page serves it, and MCP tells it to people.

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};

/// The folder of the pages of tenants.
pub(crate) const TENANTS: &str = "/tenants/";

/// The characters of a tenant's id that are encoded in a path: all but those that RFC 3986 calls unreserved.
const ENCODED: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'.')
    .remove(b'_')
    .remove(b'~');

/// The ids that cannot be a segment of a path: browsers read them, also if they are encoded, as steps in the path. A
/// space is added to them.
const NO_SEGMENTS: [&str; 3] = ["", ".", ".."];

/// The path of a tenant's pages, without a slash at its end.
pub(crate) fn of(id: &str) -> String {
    let space = if NO_SEGMENTS.contains(&id) { "%20" } else { "" };
    format!("{TENANTS}{}{space}", utf8_percent_encode(id, ENCODED))
}

/// The tenant's id in the decoded segment of a path that [`of`] made.
pub(crate) fn tenant_id(segment: &str) -> &str {
    let id = segment.strip_suffix(' ');
    id.filter(|id| NO_SEGMENTS.contains(id)).unwrap_or(segment)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_of_any_characters_is_one_segment_that_no_browser_takes_apart() {
        for (id, path) in [
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
            assert_eq!(of(id), path);
            let segment = path.strip_prefix(TENANTS).expect("a tenant");
            let segment = percent_encoding::percent_decode_str(segment)
                .decode_utf8()
                .expect("text");
            assert_eq!(tenant_id(&segment), id);
        }
        assert_eq!(tenant_id("a "), "a ");
    }
}
