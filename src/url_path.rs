//! Writes parts of URLs: the path of a tenant's pages, and queries. Also reads the tenant's id back from such a path.

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};

/// The beginning of the URL paths of the pages about single tenants.
pub(crate) const TENANT_PAGES: &str = "/tenants/";

/// The characters that are percent-encoded: all but those that RFC 3986 calls unreserved.
const ENCODED: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'.')
    .remove(b'_')
    .remove(b'~');

/// The texts that cannot be a segment of a URL path: browsers read `.` and `..` as relative steps even if they are
/// percent-encoded, and an empty text leaves no segment. If a tenant's id is one of them, the path has the id with a
/// space appended.
const NO_SEGMENTS: [&str; 3] = ["", ".", ".."];

/// Returns the path of a tenant's pages, without a slash at its end.
pub(crate) fn of_tenant(id: &str) -> String {
    let space = if NO_SEGMENTS.contains(&id) { "%20" } else { "" };
    format!("{TENANT_PAGES}{}{space}", utf8_percent_encode(id, ENCODED))
}

/// Returns the tenant's id from a segment that [`of_tenant`] wrote, after percent-decoding.
pub(crate) fn tenant_id(segment: &str) -> &str {
    let id = segment.strip_suffix(' ');
    id.filter(|id| NO_SEGMENTS.contains(id)).unwrap_or(segment)
}

/// Writes the query of a URL, such as `limit=5&search=a%20b`. Arguments whose value is `None` are left out.
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
            let segment = path.strip_prefix(TENANT_PAGES).expect("a tenant");
            let segment = percent_encoding::percent_decode_str(segment)
                .decode_utf8()
                .expect("text");
            assert_eq!(tenant_id(&segment), id);
        }
        assert_eq!(tenant_id("a "), "a ");
    }
}
