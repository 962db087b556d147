//! Parses the URLs of HTTP servers in the settings.

use hyper::Uri;

/// Parses an absolute URL without a user and a fragment. Which schemes are allowed is for the caller to check. The error
/// does not quote the text, which may contain a password.
pub(super) fn parse(text: &str) -> Result<Uri, String> {
    let shape = || "is no URL; write https://host/path".to_owned();
    let is_odd = |c: char| !c.is_ascii_graphic() || r#""\<>{}"#.contains(c);
    if text.contains(is_odd) {
        return Err(shape());
    }
    let url: Uri = text.parse().or(Err(shape()))?;
    let (Some(_), Some(authority)) = (url.scheme_str(), url.authority()) else {
        return Err(shape());
    };
    if authority.as_str().contains('@') || text.contains('#') {
        return Err("holds a user or a fragment; write https://host/path".to_owned());
    }
    Ok(url)
}
