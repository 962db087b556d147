//! Pools of values for each pair of types: as written on the remote, as the local column shows them, as JSON.

use super::value_kinds::Kind;

pub(crate) const DATES: Kind = Kind::Listed(
    &[
        ("2024-02-29", "2024-02-29", ""),
        ("29 Feb 2024", "2024-02-29", ""),
        ("1999-12-31", "1999-12-31", ""),
        ("0044-03-15 BC", "0044-03-15 BC", ""),
        ("infinity", "infinity", ""),
        ("-infinity", "-infinity", ""),
        ("5874897-12-31", "5874897-12-31", ""),
    ],
    &[],
);

pub(crate) const INSTANTS: Kind = Kind::Listed(
    &[
        (
            "2024-03-31 01:59:59.999999+01",
            "2024-03-31 00:59:59.999999+00",
            r#""2024-03-31T00:59:59.999999+00:00""#,
        ),
        (
            "2024-03-31 00:59:59.999999Z",
            "2024-03-31 00:59:59.999999+00",
            r#""2024-03-31T00:59:59.999999+00:00""#,
        ),
        (
            "2024-03-31 00:59:59.999998Z",
            "2024-03-31 00:59:59.999998+00",
            r#""2024-03-31T00:59:59.999998+00:00""#,
        ),
        (
            "2024-03-31 00:59:59.999Z",
            "2024-03-31 00:59:59.999+00",
            r#""2024-03-31T00:59:59.999+00:00""#,
        ),
        ("infinity", "infinity", ""),
        ("-infinity", "-infinity", ""),
        (
            "0044-03-15 12:00:00+00 BC",
            "0044-03-15 12:00:00+00 BC",
            r#""0044-03-15T12:00:00+00:00 BC""#,
        ),
        (
            "294276-12-31 23:59:59.999999Z",
            "294276-12-31 23:59:59.999999+00",
            r#""294276-12-31T23:59:59.999999+00:00""#,
        ),
    ],
    &[],
);

/// `jsonb`: equal but written differently, and different though it looks alike.
pub(crate) const OBJECTS: Kind = Kind::Listed(
    &[
        (
            r#"{"b":1,"a":[1.50]}"#,
            r#"{"a": [1.50], "b": 1}"#,
            r#"{"a": [1.50], "b": 1}"#,
        ),
        (
            r#" { "a" : [1.50] , "b":2, "b":1 } "#,
            r#"{"a": [1.50], "b": 1}"#,
            r#"{"a": [1.50], "b": 1}"#,
        ),
        (
            r#"{"b":1,"a":[1.5]}"#,
            r#"{"a": [1.5], "b": 1}"#,
            r#"{"a": [1.5], "b": 1}"#,
        ),
        ("null", "null", "null"),
        (r#""""#, r#""""#, r#""""#),
        ("{}", "{}", "{}"),
        (r#""\u00e9\n\\N\\.""#, r#""é\n\\N\\.""#, r#""é\n\\N\\.""#),
        (
            r#"{"":{"\t":"'"}}"#,
            r#"{"": {"\t": "'"}}"#,
            r#"{"": {"\t": "'"}}"#,
        ),
    ],
    &[],
);

/// `json` keeps what was written, so what is written differently differs.
pub(crate) const JSON_TEXTS: Kind = Kind::Listed(
    &[
        (r#"{"a":1}"#, r#"{"a":1}"#, r#"{"a":1}"#),
        (r#"{"a": 1}"#, r#"{"a": 1}"#, r#"{"a":1}"#),
        ("[\n1]", "[\n1]", "[1]"),
    ],
    &[],
);

pub(crate) const BIGINTS_AS_TEXT: Kind = Kind::Listed(
    &[
        ("0", "0", ""),
        ("007", "7", ""),
        ("-1", "-1", ""),
        ("9223372036854775807", "9223372036854775807", ""),
    ],
    &[],
);

/// A remote `integer` for a local `varchar(5)`.
pub(crate) const PORTS: Kind = Kind::Listed(
    &[
        ("0", "0", ""),
        ("502", "502", ""),
        ("0502", "502", ""),
        ("65535", "65535", ""),
        ("-1", "-1", ""),
    ],
    &["123456", "2147483647"],
);

/// A remote `integer` for a local `integer`.
pub(crate) const INTEGERS: Kind = Kind::Listed(
    &[
        ("0", "0", "0"),
        ("502", "502", "502"),
        ("-2147483648", "-2147483648", "-2147483648"),
    ],
    &[],
);

/// A remote `integer` for a local domain that takes positive ones.
pub(crate) const POSITIVES: Kind = Kind::Listed(
    &[
        ("1", "1", "1"),
        ("2", "2", "2"),
        ("2147483647", "2147483647", "2147483647"),
    ],
    &["0", "-3"],
);

/// A remote `inet` for a local `varchar(45)`.
pub(crate) const ADDRESSES: Kind = Kind::Listed(
    &[
        ("10.0.0.1", "10.0.0.1", ""),
        ("10.0.0.1/32", "10.0.0.1", ""),
        ("10.0.0.0/8", "10.0.0.0/8", ""),
        ("2001:DB8:0::1", "2001:db8::1", ""),
    ],
    &[],
);

pub(crate) const NUMERICS: Kind = Kind::Listed(
    &[
        ("1", "1", "1"),
        ("1.0", "1.0", "1.0"),
        ("1.00", "1.00", "1.00"),
        ("1e2", "100", "100"),
        ("NaN", "NaN", ""),
        ("-0.0", "0.0", "0.0"),
        (
            "12345678901234.000001",
            "12345678901234.000001",
            "12345678901234.000001",
        ),
    ],
    &[],
);

/// A remote `numeric` for a local `numeric(6,2)`, which rounds.
pub(crate) const ROUNDED: Kind = Kind::Listed(
    &[
        ("1.005", "1.01", "1.01"),
        ("1.01", "1.01", "1.01"),
        ("2", "2.00", "2.00"),
        ("-0.001", "0.00", "0.00"),
        ("9999.99", "9999.99", "9999.99"),
    ],
    &["10000", "9999.995"],
);

pub(crate) const FLOATS: Kind = Kind::Listed(
    &[
        ("0", "0", "0"),
        // JSON of Postgres knows one zero only.
        ("-0", "-0", "0"),
        ("0.1", "0.1", "0.1"),
        ("NaN", "NaN", ""),
        ("-Infinity", "-Infinity", ""),
        ("5e-324", "5e-324", "5e-324"),
    ],
    &[],
);

pub(crate) const BYTES: Kind = Kind::Listed(
    &[
        ("\\x", "\\x", ""),
        ("\\x00ff5c", "\\x00ff5c", ""),
        ("\\000\\377\\\\", "\\x00ff5c", ""),
    ],
    &[],
);

pub(crate) const SPANS: Kind = Kind::Listed(
    &[
        ("1 day", "1 day", ""),
        ("24 hours", "24:00:00", ""),
        ("-1 mon 30 days", "-1 mons +30 days", ""),
    ],
    &[],
);

pub(crate) const LISTS: Kind = Kind::Listed(
    &[
        ("{}", "{}", "[]"),
        (
            r#"{NULL,"NULL",""}"#,
            r#"{NULL,"NULL",""}"#,
            r#"[null,"NULL",""]"#,
        ),
        (
            r#"{"a\\b",",{}"}"#,
            r#"{"a\\b",",{}"}"#,
            r#"["a\\b",",{}"]"#,
        ),
        ("[0:1]={a,b}", "[0:1]={a,b}", r#"["a","b"]"#),
        ("{a,b}", "{a,b}", r#"["a","b"]"#),
    ],
    &[],
);

/// `char(4)`: blanks at the end do not count.
pub(crate) const PADDED: Kind = Kind::Listed(
    &[
        ("a", "a", r#""a   ""#),
        ("a ", "a", r#""a   ""#),
        ("", "", r#""    ""#),
        ("é\\", "é\\", r#""é\\  ""#),
    ],
    &[],
);

/// A remote text for a local enum.
pub(crate) const MOODS: Kind = Kind::Listed(
    &[("on", "on", ""), ("off", "off", ""), ("it's", "it's", "")],
    &["ON", "", "unknown"],
);

pub(crate) const UUIDS: Kind = Kind::Listed(
    &[
        (
            "00000000-0000-0000-0000-000000000000",
            "00000000-0000-0000-0000-000000000000",
            "",
        ),
        (
            "A0EEBC99-9C0B-4EF8-BB6D-6BB9BD380A11",
            "a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11",
            "",
        ),
        (
            "{a0eebc999c0b4ef8bb6d6bb9bd380a11}",
            "a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11",
            "",
        ),
    ],
    &[],
);
