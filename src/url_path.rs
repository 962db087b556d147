//! Writes parts of URLs: the path of a tenant's pages, to which MCP answers link, and the query. Also reads the
//! tenant's id back from such a path.

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};

/// The path under which the pages of all tenants are.
pub(crate) const TENANTS: &str = "/tenants/";

/// The characters that are percent-encoded: all but those that RFC 3986 calls unreserved.
const ENCODED: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'.')
    .remove(b'_')
    .remove(b'~');

/// The texts that cannot be a segment of a path: browsers read `.` and `..` as relative steps even if they are
/// percent-encoded, and an empty text leaves no segment. In a path, a space is appended to such a tenant id.
const NO_SEGMENTS: [&str; 3] = ["", ".", ".."];

/// The path of a tenant's pages, without a slash at its end.
pub(crate) fn of_tenant(id: &str) -> String {
    let space = if NO_SEGMENTS.contains(&id) { "%20" } else { "" };
    format!("{TENANTS}{}{space}", utf8_percent_encode(id, ENCODED))
}

/// Returns the tenant's id from the decoded path segment that [`of_tenant`] wrote for it.
pub(crate) fn tenant_id(segment: &str) -> &str {
    let id = segment.strip_suffix(' ');
    id.filter(|id| NO_SEGMENTS.contains(id)).unwrap_or(segment)
}

/// Writes the query of a URL, such as `limit=5&search=a%20b`. Arguments without a value are left out.
pub(crate) fn query<'a>(arguments: impl IntoIterator<Item = (&'a str, Option<&'a str>)>) -> String {
    let encode = |text| utf8_percent_encode(text, ENCODED);
    let given = arguments.into_iter();
    let given = given.filter_map(|(name, value)| Some((name, value?)));
    let pairs: Vec<String> = given
        .map(|(name, value)| format!("{}={}", encode(name), encode(value)))
        .collect();
    pairs.join("&")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_arguments_with_a_value_are_written_and_no_character_of_theirs_ends_them() {
        let arguments = [("a&b", Some("c=d&é")), ("none", None), ("n_1", Some(""))];
        assert_eq!(query(arguments), "a%26b=c%3Dd%26%C3%A9&n_1=");
        assert_eq!(query([]), "");
    }

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
            assert_eq!(of_tenant(id), path);
            let segment = path.strip_prefix(TENANTS).expect("a tenant");
            let segment = percent_encoding::percent_decode_str(segment)
                .decode_utf8()
                .expect("text");
            assert_eq!(tenant_id(&segment), id);
        }
        assert_eq!(tenant_id("a "), "a ");
    }
}
