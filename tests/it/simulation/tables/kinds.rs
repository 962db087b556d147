//! What the columns of random tables are made of.

/// A remote type, the local types it is synced into, and values as the remote reads them, quoted.
pub(super) type Kind = (
    &'static str,
    &'static [&'static str],
    &'static [&'static str],
);

/// Every value of these can be stored in every local type.
pub(super) const KINDS: &[Kind] = &[
    (
        "text",
        &["text", "varchar(4000)"],
        &[
            "''",
            "'a'",
            "'A'",
            "'ä'",
            r"E'x\ty\\\n'",
            "'NULL'",
            r"'\N'",
            "repeat('z', 3000)",
            "null",
        ],
    ),
    (
        "varchar(20)",
        &["varchar(20)", "text", "char(20)"],
        &["'a'", "'a '", "''", "null"],
    ),
    (
        "char(6)",
        &["char(6)", "varchar(6)", "text", "char(9)"],
        &["'a'", "'abcdef'", "' b'", "''", "null"],
    ),
    (
        "boolean",
        &["boolean", "text"],
        &["'true'", "'false'", "null"],
    ),
    (
        "smallint",
        &["smallint", "integer", "numeric"],
        &["'0'", "'-32768'", "'7'", "null"],
    ),
    (
        "integer",
        &[
            "integer",
            "bigint",
            "text",
            "double precision",
            "real",
            "oid",
        ],
        &["'0'", "'7'", "'16777217'", "null"],
    ),
    (
        "bigint",
        &["bigint", "text", "numeric", "double precision"],
        &["'0'", "'-1'", "'9223372036854775807'", "null"],
    ),
    (
        "numeric",
        &["numeric", "text", "double precision"],
        &["'1.0'", "'1.00'", "'0'", "'NaN'", "'1e20'", "'0.1'", "null"],
    ),
    (
        "numeric(8,3)",
        &["numeric(8,3)", "numeric(6,1)", "integer", "bigint"],
        &["'1.5'", "'2.5'", "'-2.5'", "'0.049'", "'0.05'", "null"],
    ),
    (
        "real",
        &["real", "text"],
        &["'0'", "'-0'", "'0.1'", "'3.4e38'", "'NaN'", "null"],
    ),
    (
        "double precision",
        &["double precision", "text", "real"],
        &[
            "'0'",
            "'-0'",
            "'0.1'",
            "'1e30'",
            "'NaN'",
            "'Infinity'",
            "null",
        ],
    ),
    (
        "date",
        &["date", "text", "timestamp", "timestamptz"],
        &["'2026-01-31'", "'infinity'", "'0044-03-15 BC'", "null"],
    ),
    (
        "time",
        &["time", "time(0)", "timetz", "text", "interval"],
        &["'12:00'", "'24:00'", "'00:00:00.000001'", "null"],
    ),
    (
        "timestamp",
        &["timestamp", "timestamp(0)", "text", "timestamptz", "date"],
        &["'2026-03-29 02:30'", "'infinity'", "'1890-01-01'", "null"],
    ),
    (
        "timestamptz",
        &["timestamptz", "text", "timestamp", "date"],
        &[
            "'2026-03-29 02:30+02'",
            "'infinity'",
            "'1890-01-01+00'",
            "null",
        ],
    ),
    (
        "interval",
        &["interval", "interval(0)", "text"],
        &["'1 mon'", "'30 days'", "'720:00:00'", "null"],
    ),
    (
        "json",
        &["json", "jsonb", "text"],
        &[r#"'{"a": 1}'"#, r#"'{"a":1}'"#, "'null'", "null"],
    ),
    (
        "jsonb",
        &["jsonb", "text", "json"],
        &[
            r#"'{"a": 1}'"#,
            r#"'{"a": 1.0}'"#,
            r#"'{"b": "ä"}'"#,
            "'null'",
            "null",
        ],
    ),
    (
        "uuid",
        &["uuid", "text"],
        &["'a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11'", "null"],
    ),
    (
        "inet",
        &["inet"],
        &["'10.0.0.1'", "'10.0.0.1/24'", "'::1'", "null"],
    ),
    (
        "cidr",
        &["cidr", "inet", "text"],
        &["'10.0.0.0/8'", "'10.0.0.1'", "null"],
    ),
    (
        "macaddr",
        &["macaddr", "macaddr8", "text"],
        &["'08:00:2b:01:02:03'", "null"],
    ),
    (
        "bytea",
        &["bytea", "text"],
        &[r"'\x00'", r"'\x5c4e'", r"'\x'", "null"],
    ),
    (
        "bit(4)",
        &["bit(4)", "varbit(8)"],
        &["'1010'", "'0000'", "null"],
    ),
    (
        "text[]",
        &["text[]"],
        &["'{a,b}'", "'{}'", "'{null,\"NULL\"}'", "null"],
    ),
    (
        "integer[]",
        &["integer[]", "bigint[]"],
        &["'{1,null}'", "'{{1,2},{3,4}}'", "'[0:1]={1,2}'", "null"],
    ),
    (
        "int4range",
        &["int4range", "text"],
        &["'[1,3)'", "'empty'", "'(,)'", "null"],
    ),
];

/// Some values of these cannot be stored.
pub(super) const MISFITS: &[Kind] = &[
    (
        "text",
        &["varchar(5)", "char(5)"],
        &["'a'", "'a      '", "'much too long'", "null"],
    ),
    ("text", &["text not null"], &["'a'", "''", "null"]),
    (
        "bigint",
        &["integer", "smallint"],
        &[
            "'1'",
            "'-32768'",
            "'32768'",
            "'9223372036854775807'",
            "null",
        ],
    ),
    (
        "numeric",
        &["integer", "numeric(4,1)"],
        &["'2.5'", "'NaN'", "'999.96'", "'1e20'", "null"],
    ),
    (
        "double precision",
        &["integer", "real"],
        &["'2.5'", "'-3.5'", "'1e30'", "'1e300'", "'NaN'", "null"],
    ),
];

/// Some encodings lack what these hold.
pub(super) const EMOJI: Kind = ("text", &["text"], &["'a'", "'ä'", "'🚰'", "null"]);
