//! Parses connection strings as libpq does: `postgres://` URLs and lists of `key=value` pairs
//! (<https://www.postgresql.org/docs/current/libpq-connect.html#LIBPQ-CONNSTRING>). Both become the same list of
//! parameters.
//!
//! The driver's own parser is not used, because it knows neither `sslmode=verify-full` nor certificate files. No error
//! of this module quotes the input, which may contain a password.

/// The parameters of a connection string, as pairs of name and value in the order given. If a name occurs twice, the
/// last value is used, as in libpq.
pub(super) type ParameterPairs = Vec<(String, String)>;

/// Why a connection string cannot be parsed. The text quotes no part of the string, which may contain a password.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct ConninfoError(&'static str);

/// Parses a connection string: a `postgres://` URL or a list of `key=value` pairs.
pub(super) fn parse(text: &str) -> Result<ParameterPairs, ConninfoError> {
    let text = text.trim();
    let url = ["postgres://", "postgresql://"]
        .iter()
        .find_map(|scheme| text.strip_prefix(scheme));
    match url {
        Some(rest) => parse_url(rest),
        None if text.starts_with("jdbc:") => Err(ConninfoError(
            "is a URL for JDBC; write postgres://user:password@host/database",
        )),
        None if is_of_another_driver(text) => Err(ConninfoError(
            "names a driver after +; write postgresql:// alone",
        )),
        None if has_url_scheme(text) => Err(ConninfoError(
            "is no Postgres URL; it starts with postgres:// or postgresql://",
        )),
        None => parse_pairs(text),
    }
}

/// Whether the text begins with the scheme of a URL, such as `mysql://`. In a list of `key=value` pairs, `://` can only
/// occur after a `=`.
fn has_url_scheme(text: &str) -> bool {
    let scheme = text.split_once("://").map(|(scheme, _)| scheme);
    scheme.is_some_and(|scheme| !scheme.contains('='))
}

/// Whether the text is a Postgres URL with the name of a driver after a `+`, as SQLAlchemy writes it:
/// `postgresql+psycopg://`.
fn is_of_another_driver(text: &str) -> bool {
    let scheme = text.split_once("://").map(|(scheme, _)| scheme);
    let name = scheme.and_then(|scheme| scheme.split_once('+'));
    name.is_some_and(|(name, _)| ["postgres", "postgresql"].contains(&name))
}

/// Writes parameters as `key='value'` pairs, in a form that the driver parses to the same values.
pub(super) fn write(parameters: &[(String, String)]) -> String {
    let quote = |value: &str| value.replace('\\', r"\\").replace('\'', r"\'");
    let pairs: Vec<String> = parameters
        .iter()
        .map(|(key, value)| format!("{key}='{}'", quote(value)))
        .collect();
    pairs.join(" ")
}

/// Writes parameters as `key=value` pairs for people to read, without the password.
pub(super) fn show(parameters: &[(String, String)]) -> String {
    let is_plain = |value: &str| {
        let needs_quotes = |c: char| c.is_whitespace() || c == '\'' || c == '\\';
        !value.is_empty() && !value.contains(needs_quotes)
    };
    let shown = parameters.iter().filter(|(key, _)| key != "password");
    let pairs = shown.map(|pair| match is_plain(&pair.1) {
        true => format!("{}={}", pair.0, pair.1),
        false => write(std::slice::from_ref(pair)),
    });
    pairs.collect::<Vec<_>>().join(" ")
}

fn parse_url(rest: &str) -> Result<ParameterPairs, ConninfoError> {
    let (address, query) = rest.split_once('?').unwrap_or((rest, ""));
    let (authority, database) = address.split_once('/').unwrap_or((address, ""));
    // Without this check, a part of a password with a raw `/` would be read as the database name, which is shown.
    if database.contains(['/', '@']) {
        return Err(ConninfoError(
            "has a stray / or @; in a user, password or database name write %2F and %40",
        ));
    }
    let (credentials, hosts) = match authority.rsplit_once('@') {
        Some((credentials, hosts)) => (Some(credentials), hosts),
        None => (None, authority),
    };
    let mut parameters = ParameterPairs::new();
    if let Some(credentials) = credentials {
        let (user, password) = credentials.split_once(':').unwrap_or((credentials, ""));
        push_decoded(&mut parameters, "user", user)?;
        push_decoded(&mut parameters, "password", password)?;
    }
    push_hosts(&mut parameters, hosts)?;
    push_decoded(&mut parameters, "dbname", database)?;
    for pair in query.split('&').filter(|pair| !pair.is_empty()) {
        let (key, value) = pair.split_once('=').ok_or(ConninfoError(
            "has a parameter without = after the ?; in a user or password write ? as %3F",
        ))?;
        match (decode(key)?.as_str(), value) {
            // libpq also reads `ssl=true` as `sslmode=require`, to accept URLs written for JDBC.
            ("ssl", "true") => push_decoded(&mut parameters, "sslmode", "require")?,
            (key, _) => push_decoded(&mut parameters, key, value)?,
        }
    }
    Ok(parameters)
}

fn push_decoded(
    parameters: &mut ParameterPairs,
    key: &str,
    value: &str,
) -> Result<(), ConninfoError> {
    if !value.is_empty() {
        parameters.push((key.to_owned(), decode(value)?));
    }
    Ok(())
}

/// Parses the hosts of a URL, such as `host1:port1,[::1]:port2`, and adds them to `parameters` as the two
/// comma-separated lists of libpq, `host` and `port`.
fn push_hosts(parameters: &mut ParameterPairs, text: &str) -> Result<(), ConninfoError> {
    if text.is_empty() {
        return Ok(());
    }
    let mut hosts = Vec::new();
    let mut ports = Vec::new();
    for one in text.split(',') {
        let (host, port) = split_host(one)?;
        hosts.push(decode(host)?);
        ports.push(decode(port)?);
    }
    // libpq treats a list of empty hosts as no host. The port then belongs to the host of `?host=..`.
    if hosts.iter().any(|host| !host.is_empty()) {
        parameters.push(("host".to_owned(), hosts.join(",")));
    }
    if ports.iter().any(|port| !port.is_empty()) {
        parameters.push(("port".to_owned(), ports.join(",")));
    }
    Ok(())
}

fn split_host(text: &str) -> Result<(&str, &str), ConninfoError> {
    let Some(bracketed) = text.strip_prefix('[') else {
        return Ok(text.split_once(':').unwrap_or((text, "")));
    };
    let (host, rest) = bracketed
        .split_once(']')
        .ok_or(ConninfoError("has a [ without ] around an IPv6 address"))?;
    match rest.strip_prefix(':') {
        Some(port) => Ok((host, port)),
        None if rest.is_empty() => Ok((host, "")),
        None => Err(ConninfoError("has text after the ] of an IPv6 address")),
    }
}

fn decode(text: &str) -> Result<String, ConninfoError> {
    const BAD: ConninfoError =
        ConninfoError("has a % without two hexadecimal digits after it; write % itself as %25");
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        if byte != b'%' {
            bytes.push(byte);
            continue;
        }
        let mut digit = || char::from(rest.next()?).to_digit(16);
        let (high, low) = (digit().ok_or(BAD)?, digit().ok_or(BAD)?);
        bytes.push(u8::try_from(high * 16 + low).or(Err(BAD))?);
    }
    match String::from_utf8(bytes) {
        Ok(text) if text.contains('\0') => Err(ConninfoError("has a %00, which Postgres refuses")),
        Ok(text) => Ok(text),
        Err(_) => Err(ConninfoError("has %-encoded bytes that are not UTF-8")),
    }
}

fn parse_pairs(text: &str) -> Result<ParameterPairs, ConninfoError> {
    let mut parameters = ParameterPairs::new();
    let mut rest = text.trim_start();
    while !rest.is_empty() {
        let (key, after) = rest.split_once('=').ok_or(ConninfoError(
            "has a word without =; it is a postgres:// URL or a list of key=value pairs",
        ))?;
        let key = key.trim_end();
        if key.is_empty() || key.contains(char::is_whitespace) {
            return Err(ConninfoError(
                "has a word without =; put values with spaces between single quotes",
            ));
        }
        let (value, after) = take_value(after.trim_start())?;
        if !value.is_empty() {
            parameters.push((key.to_owned(), value));
        }
        rest = after.trim_start();
    }
    Ok(parameters)
}

/// Parses the value at the beginning of `text`, quoted or not. Returns the value and the rest of the text. A backslash
/// escapes the next character.
fn take_value(text: &str) -> Result<(String, &str), ConninfoError> {
    let quoted = text.starts_with('\'');
    let mut value = String::new();
    let mut rest = text.strip_prefix('\'').unwrap_or(text).chars();
    loop {
        let before = rest.as_str();
        match rest.next() {
            Some('\\') => value.extend(rest.next()),
            Some('\'') if quoted => return Ok((value, rest.as_str())),
            Some(c) if !quoted && c.is_whitespace() => return Ok((value, before)),
            Some(c) => value.push(c),
            None if quoted => return Err(ConninfoError("has a quote that is not closed")),
            None => return Ok((value, "")),
        }
    }
}

#[cfg(test)]
mod tests {
    use quickcheck::quickcheck;

    use super::*;

    fn pairs(list: &[(&str, &str)]) -> ParameterPairs {
        list.iter()
            .map(|&(key, value)| (key.to_owned(), value.to_owned()))
            .collect()
    }

    #[test]
    fn urls_and_pairs_are_read_as_libpq_reads_them() {
        for (text, expected) in [
            (
                "postgres://u:p%40ss@db.example:5433/meters?sslmode=require",
                &[
                    ("user", "u"),
                    ("password", "p@ss"),
                    ("host", "db.example"),
                    ("port", "5433"),
                    ("dbname", "meters"),
                    ("sslmode", "require"),
                ][..],
            ),
            (
                "postgresql:///m?host=/run/pg",
                &[("dbname", "m"), ("host", "/run/pg")],
            ),
            (
                "postgres://%2Frun%2Fpg/m",
                &[("host", "/run/pg"), ("dbname", "m")],
            ),
            (
                "postgres://u@a:1,[::1]:2,c/m",
                &[
                    ("user", "u"),
                    ("host", "a,::1,c"),
                    ("port", "1,2,"),
                    ("dbname", "m"),
                ],
            ),
            (
                "postgres://u:a@b@h/m",
                &[
                    ("user", "u"),
                    ("password", "a@b"),
                    ("host", "h"),
                    ("dbname", "m"),
                ],
            ),
            (
                "postgres://:5433/m?host=h",
                &[("port", "5433"), ("dbname", "m"), ("host", "h")],
            ),
            (
                "postgres://h/m?ssl=true",
                &[("host", "h"), ("dbname", "m"), ("sslmode", "require")],
            ),
            (
                r"host = 'a b' password='it\'s \\ so' user=\'x port=",
                &[("host", "a b"), ("password", r"it's \ so"), ("user", "'x")],
            ),
            ("", &[]),
        ] {
            assert_eq!(parse(text), Ok(pairs(expected)), "{text}");
        }
    }

    #[test]
    fn a_value_of_a_pair_may_hold_what_begins_a_url() {
        for value in ["a://b", "postgresql+x://y", "jdbc:z"] {
            let text = format!("password={value} host=h");
            let expected = pairs(&[("password", value), ("host", "h")]);
            assert_eq!(parse(&text), Ok(expected), "{text}");
        }
    }

    #[test]
    fn what_cannot_be_read_is_refused() {
        for text in [
            "mysql://u:p@h/m",
            "jdbc:postgresql://h/m",
            "postgresql+asyncpg://u:p@h/m",
            "postgres://u:p/w@h/m",
            "postgres://u:p?w@h/m",
            "postgres://u:100%@h/m",
            "postgres://u:%ff@h/m",
            "postgres://u:%00@h/m",
            "postgres://[::1/m",
            "postgres://[::1]x/m",
            "host=a password=two words",
            "password='open",
            "=x",
        ] {
            assert!(parse(text).is_err(), "{text}");
        }
    }

    quickcheck! {
        fn what_is_written_is_read_back(host: String, password: String) -> bool {
            let given = pairs(&[("host", &format!("h{host}")), ("password", &format!("p{password}"))]);
            parse(&write(&given)) == Ok(given)
        }

        fn the_driver_reads_what_is_written(password: String) -> bool {
            let given = pairs(&[("host", "h"), ("password", &password)]);
            let driver: tokio_postgres::Config = write(&given).parse().unwrap();
            driver.get_password() == Some(password.as_bytes())
        }

        fn no_error_repeats_a_password(before: String, after: String) -> bool {
            ["postgres://u:{}@h/m", "postgres://u@h/m?password={}", "host=h password={}", "{}"]
                .iter()
                .filter_map(|shape| {
                    parse(&shape.replace("{}", &format!("{before}hunter2{after}"))).err()
                })
                .all(|error| !format!("{error} {error:?}").contains("hunter2"))
        }
    }
}
