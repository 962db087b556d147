//! Writes addresses: the path of a tenant's pages, which the page serves and MCP tells to people, and the query of a URL.

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};

/// The folder of the pages of tenants.
pub(crate) const TENANTS: &str = "/tenants/";

/// The characters of a text that are encoded: all but those that RFC 3986 calls unreserved.
const ENCODED: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'.')
    .remove(b'_')
    .remove(b'~');

/// The ids that cannot be a segment of a path: browsers read them, also if they are encoded, as steps in the path. A
/// space is added to them.
const NO_SEGMENTS: [&str; 3] = ["", ".", ".."];

/// The path of a tenant's pages, without a slash at its end.
pub(crate) fn of_tenant(id: &str) -> String {
    let space = if NO_SEGMENTS.contains(&id) { "%20" } else { "" };
    format!("{TENANTS}{}{space}", utf8_percent_encode(id, ENCODED))
}

/// The tenant's id in the decoded segment of a path that [`of_tenant`] made.
pub(crate) fn tenant_id(segment: &str) -> &str {
    let id = segment.strip_suffix(' ');
    id.filter(|id| NO_SEGMENTS.contains(id)).unwrap_or(segment)
}

/// Writes the query with the arguments that have a value, as in `limit=5&search=a%20b`.
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
