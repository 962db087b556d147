//! What the keys of random tables are made of, and the encodings of their databases.

/// The columns of a key: the types there and here, and the value for a number `n`.
pub(super) type Key = &'static [(&'static str, &'static str, &'static str)];

pub(super) const KEYS: &[Key] = &[
    &[("bigint", "bigint", "n")],
    &[("bigint", "text", "n")],
    &[("integer", "bigint", "-n")],
    &[("numeric", "numeric", "n * 0.5")],
    &[("text", "text", "'K' || n")],
    // keys that only case tells apart
    &[(
        "text",
        "varchar(20)",
        "case n % 2 when 0 then 'k' else 'K' end || n / 2",
    )],
    &[("char(8)", "varchar(8)", "'K' || n")],
    &[("varchar(8)", "char(8)", "'K' || n")],
    &[("uuid", "uuid", "md5(n::text)::uuid")],
    &[("date", "date", "date '2020-01-01' + n")],
    &[("bytea", "bytea", "decode(lpad(to_hex(n), 8, '0'), 'hex')")],
    &[
        ("bigint", "bigint", "n / 3"),
        ("char(1)", "char(1)", "chr(65 + n % 3)"),
    ],
    &[
        ("text", "text", "chr(97 + n % 5)"),
        ("integer", "text", "n / 5"),
    ],
];

/// Encodings there and here; most often both have all characters.
pub(super) const ENCODINGS: &[[&str; 2]] = &[
    ["UTF8", "UTF8"],
    ["UTF8", "UTF8"],
    ["UTF8", "UTF8"],
    ["LATIN1", "UTF8"],
    ["WIN1252", "UTF8"],
    ["SQL_ASCII", "UTF8"],
    ["UTF8", "LATIN1"],
    ["UTF8", "WIN1252"],
    ["UTF8", "SQL_ASCII"],
    ["LATIN1", "WIN1252"],
    ["WIN1252", "LATIN1"],
    ["SQL_ASCII", "LATIN1"],
];

/// Databases of these take any character that the test's own connection sends.
pub(super) const TAKES_ALL: &[&str] = &["UTF8", "SQL_ASCII"];
