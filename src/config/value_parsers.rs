//! Parses the text of a setting as a duration, a number, a boolean, an address or a name. Each error is the part of a
//! message that follows the name of the setting.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::ops::RangeInclusive;
use std::time::Duration;

use chrono_tz::Tz;
use humantime::DurationError;

use super::{BrakeMode, OnDrift};

/// Parses a duration such as `500ms`, `10s`, `5m`, `1h` or `1d`. Error: it lies outside of `range`, or is no duration.
pub(super) fn duration(text: &str, range: &RangeInclusive<Duration>) -> Result<Duration, String> {
    let lacks_unit =
        |error: &_| matches!(error, DurationError::UnknownUnit { unit, .. } if unit.is_empty());
    let duration = humantime::parse_duration(text).map_err(|error| match lacks_unit(&error) {
        true => format!("\"{text}\" has no unit; write {text}s for seconds"),
        false => format!("\"{text}\" is no duration; write 500ms, 10s, 5m or 1h"),
    })?;
    if range.contains(&duration) {
        return Ok(duration);
    }
    let (least, most) = (show(*range.start()), show(*range.end()));
    Err(format!("{text} is out of range; it is {least} to {most}"))
}

/// Writes a duration in the largest unit that gives a whole number, in a form that [`duration`] can parse.
fn show(duration: Duration) -> String {
    let milliseconds = duration.as_millis();
    let units = [
        (86_400_000, "d"),
        (3_600_000, "h"),
        (60_000, "m"),
        (1000, "s"),
    ];
    units
        .iter()
        .find(|(size, _)| milliseconds > 0 && milliseconds.is_multiple_of(*size))
        .map_or_else(
            || format!("{milliseconds}ms"),
            |(size, unit)| format!("{}{unit}", milliseconds / size),
        )
}

/// Parses a whole number within `range`.
pub(super) fn number(text: &str, range: &RangeInclusive<u32>) -> Result<u32, String> {
    match text.parse() {
        Ok(number) if range.contains(&number) => Ok(number),
        Ok(_) | Err(_) => Err(format!(
            "\"{text}\" is no whole number from {} to {}",
            range.start(),
            range.end()
        )),
    }
}

/// Parses a boolean: `true`, `1`, `yes` or `on`; `false`, `0`, `no` or `off`.
pub(super) fn switch(text: &str) -> Result<bool, String> {
    match text.to_ascii_lowercase().as_str() {
        "true" | "1" | "yes" | "on" => Ok(true),
        "false" | "0" | "no" | "off" => Ok(false),
        _ => Err(format!("\"{text}\" is neither true nor false")),
    }
}

/// Parses the setting `on_drift`: `warn` or `fail`.
pub(super) fn on_drift(text: &str) -> Result<OnDrift, String> {
    match text.to_ascii_lowercase().as_str() {
        "warn" => Ok(OnDrift::Warn),
        "fail" => Ok(OnDrift::Fail),
        _ => Err(format!("\"{text}\" is neither warn nor fail")),
    }
}

/// Parses the setting `brake`: `standard` or `strict`.
pub(super) fn brake(text: &str) -> Result<BrakeMode, String> {
    match text.to_ascii_lowercase().as_str() {
        "standard" => Ok(BrakeMode::Standard),
        "strict" => Ok(BrakeMode::Strict),
        _ => Err(format!("\"{text}\" is neither standard nor strict")),
    }
}

/// Parses an IP address with a port. `localhost` means `127.0.0.1`.
pub(super) fn address(text: &str) -> Result<SocketAddr, String> {
    if let Some(port) = text
        .strip_prefix("localhost:")
        .and_then(|port| port.parse().ok())
    {
        return Ok(SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), port));
    }
    match text.parse() {
        Ok(address) => Ok(address),
        Err(_) => Err(format!(
            "\"{text}\" is no IP address with a port; write 127.0.0.1:8765 or [::1]:8765"
        )),
    }
}

/// Parses the name of a time zone of the IANA database. The error suggests the nearest name.
pub(super) fn timezone(text: &str) -> Result<Tz, String> {
    if let Ok(zone) = text.parse() {
        return Ok(zone);
    }
    let text_then = text.to_lowercase().replace(' ', "_");
    // People often give only the city: `Berlin` for `Europe/Berlin`.
    let distance = |zone: &&Tz| {
        let name = zone.name().to_lowercase();
        let city = name.rsplit('/').next().unwrap_or_default();
        let of = |name: &str| strsim::damerau_levenshtein(name, &text_then);
        (of(&name).min(of(city)), name.len())
    };
    let nearest = chrono_tz::TZ_VARIANTS.iter().min_by_key(distance);
    let nearest = nearest.map(|zone| zone.name()).unwrap_or_default();
    Err(format!(
        "\"{text}\" is no time zone; the nearest is {nearest}"
    ))
}

/// Checks a list of column names. Error: the list is empty, or a name occurs twice.
pub(super) fn names(list: &[String]) -> Result<Vec<String>, String> {
    let mut seen = std::collections::BTreeSet::new();
    match list.iter().find(|name| !seen.insert(name.as_str())) {
        Some(twice) => Err(format!("names {twice} twice")),
        None if list.is_empty() => Err("names nothing".to_owned()),
        None => Ok(list.to_vec()),
    }
}

/// Whether a host name is followed by a colon but not by a valid port. Colons inside the brackets of an IPv6 address do
/// not count.
fn has_odd_port(host: &str) -> bool {
    let after = host.rsplit_once(']').map_or(host, |(_, after)| after);
    let port = after.split_once(':').map(|(_, port)| port);
    port.is_some_and(|port| port.parse::<u16>().is_err())
}

/// Checks host names that requests may have in their `Host` header, and changes them to lower case. A name without a
/// port allows all ports.
pub(super) fn hosts(list: &[String]) -> Result<Vec<String>, String> {
    let odd = |host: &&String| host.contains(|c: char| c == '/' || c == '*' || c.is_whitespace());
    match list.iter().find(|host| odd(host) || has_odd_port(host)) {
        Some(odd) => Err(format!(
            "\"{odd}\" is no host name, nor one with a port; write meters.example.com or meters.example.com:8443"
        )),
        None => Ok(list.iter().map(|host| host.to_ascii_lowercase()).collect()),
    }
}

/// Parses how late a missed scheduled time is made up: from 1 minute to 366 days.
pub(super) fn catch_up(text: &str) -> Result<Option<Duration>, String> {
    const DAY: Duration = Duration::from_secs(24 * 3600);
    duration(text, &(Duration::from_secs(60)..=366 * DAY)).map(Some)
}

#[cfg(test)]
mod tests {
    use quickcheck::quickcheck;

    use super::*;

    const ANY: RangeInclusive<Duration> = Duration::ZERO..=Duration::MAX;

    #[test]
    fn durations_have_units() {
        for (text, milliseconds) in [
            ("500ms", 500),
            ("10s", 10_000),
            ("5m", 300_000),
            ("5 min", 300_000),
            ("1h", 3_600_000),
            ("1.5s", 1500),
            ("1h 30m", 5_400_000),
            ("2d", 172_800_000),
            ("0s", 0),
        ] {
            assert_eq!(
                duration(text, &ANY),
                Ok(Duration::from_millis(milliseconds)),
                "{text}"
            );
        }
        for text in ["", "s", "-1s", "10 parsecs", "99999999999999999999s"] {
            assert!(
                duration(text, &ANY).unwrap_err().contains("write 500ms"),
                "{text}"
            );
        }
        assert!(duration("10", &ANY).unwrap_err().contains("write 10s"));
    }

    #[test]
    fn what_is_out_of_range_is_answered_with_the_range() {
        let range = Duration::from_millis(100)..=Duration::from_secs(300);
        assert!(duration("0s", &range).unwrap_err().contains("100ms to 5m"));
        assert!(duration("2h", &range).unwrap_err().contains("100ms to 5m"));
        assert!(
            number("101", &(0..=100))
                .unwrap_err()
                .contains("from 0 to 100")
        );
        assert!(number("-1", &(0..=100)).is_err());
        assert_eq!(number("100", &(0..=100)), Ok(100));
    }

    #[test]
    fn addresses_zones_and_names_are_checked() {
        assert_eq!(address("localhost:80").unwrap().to_string(), "127.0.0.1:80");
        assert_eq!(address("[::1]:80").unwrap().to_string(), "[::1]:80");
        assert!(address("8765").is_err());
        assert_eq!(timezone("Europe/Berlin"), Ok(Tz::Europe__Berlin));
        assert!(
            timezone("europe/berlinn")
                .unwrap_err()
                .contains("Europe/Berlin")
        );
        assert!(timezone("Berlin").unwrap_err().contains("Europe/Berlin"));
        assert!(
            timezone("new york")
                .unwrap_err()
                .contains("America/New_York")
        );
        assert!(names(&["a".into(), "a".into()]).is_err());
        assert!(hosts(&["https://a".into()]).is_err());
        assert_eq!(hosts(&["Meters.LAN".into()]), Ok(vec!["meters.lan".into()]));
        assert_eq!((switch("On"), switch("0")), (Ok(true), Ok(false)));
        assert!(switch("maybe").is_err());
    }

    quickcheck! {
        fn a_duration_shown_is_read_back(milliseconds: u32) -> bool {
            let given = Duration::from_millis(milliseconds.into());
            duration(&show(given), &ANY) == Ok(given)
        }
    }
}
