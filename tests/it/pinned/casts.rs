//! What a value becomes where the types of the two sides differ: a text column takes the text as it is written; another
//! type and a key become what the cast of an assignment makes of them.

use meter_sync::error::ErrorCode;
use meter_sync::model::{Counts, RunOutcome};
use serde_json::{Value, json};

use crate::support::site::{Site, rows};

const TENANT: &str = "create table tenant (id bigint primary key); insert into tenant values (7);";

async fn keyed(there: &str, here: &str) -> Site {
    Site::with_schemas(
        &format!("create table meter (id {there} primary key, tenant_id int, name text, active boolean not null default true)"),
        &format!("{TENANT} create table meter (id {here} primary key, name text, active boolean not null)"),
    )
    .await
}

#[tokio::test]
async fn a_key_filled_up_with_blanks_is_the_key_without_them() {
    for (there, here, stored) in [
        ("char(10)", "varchar(10)", "K1"),
        ("char(10)", "text", "K1"),
        ("bpchar", "text", "K1"),
        ("char(10)", "char(10)", "K1        "),
        ("char(4)", "char(10)", "K1        "),
        ("varchar(10)", "char(10)", "K1        "),
        ("text", "char(4)", "K1  "),
    ] {
        let site = keyed(there, here).await;
        // The meters came here by the users' own means before.
        site.on_remote("insert into meter select 'K' || n, 7, 'v' from generate_series(1, 50) n")
            .await;
        site.on_local("insert into meter select 'K' || n, 'v', true from generate_series(1, 50) n")
            .await;
        let run = site.sync().await;
        assert_eq!(
            run.outcome,
            Some(RunOutcome::NoChange),
            "{there} {here}: {run:#?}"
        );
        site.on_remote("update meter set name = 'w' where id = 'K1'; delete from meter where id = 'K2'; insert into meter values ('L1', 7, 'new')")
            .await;
        let run = site.sync().await;
        let counts = Counts {
            inserted: 1,
            updated: 1,
            deactivated: 1,
            unchanged: 48,
            ..Counts::default()
        };
        assert_eq!(run.counts, counts, "{there} {here}: {run:#?}");
        assert_eq!(site.sync().await.outcome, Some(RunOutcome::NoChange));
        let found = rows(
            &site.local,
            "select concat('[', format('%s', id), ']') as id from meter where name = 'w'",
        )
        .await;
        assert_eq!(
            found,
            json!([{"id": format!("[{stored}]")}]),
            "{there} {here}"
        );
    }
}

/// Remote values, and what each becomes; `None` where it is rejected.
type Becomes = &'static [(&'static str, Option<&'static str>)];

/// Types there and here; values there, and the texts of what they become; `None` where a value is rejected.
const CASTS: &[(&str, &str, Becomes)] = &[
    (
        "char(5)",
        "text",
        &[
            ("'ab'", Some("ab   ")),
            ("''", Some("     ")),
            ("' a'", Some(" a   ")),
        ],
    ),
    (
        "char(5)",
        "varchar(3)",
        &[("'abc'", Some("abc")), ("'abcd'", None)],
    ),
    ("char(8)", "integer", &[("'12'", Some("12")), ("'x'", None)]),
    (
        "char(40)",
        "uuid",
        &[(
            "'a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11'",
            Some("a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11"),
        )],
    ),
    (
        "boolean",
        "text",
        &[("true", Some("t")), ("false", Some("f"))],
    ),
    (
        "integer",
        "varchar(4)",
        &[("1234", Some("1234")), ("12345", None)],
    ),
    (
        "numeric",
        "integer",
        &[
            ("2.00", Some("2")),
            ("2.5", Some("3")),
            ("-2.5", Some("-3")),
            ("1e20", None),
            ("'NaN'", None),
        ],
    ),
    ("numeric(10,2)", "bigint", &[("502.00", Some("502"))]),
    (
        "double precision",
        "integer",
        &[
            ("2.5", Some("2")),
            ("3.5", Some("4")),
            ("1e9", Some("1000000000")),
            ("1e30", None),
            ("'NaN'", None),
            ("'-Infinity'", None),
        ],
    ),
    (
        "double precision",
        "bigint",
        &[("1e18", Some("1000000000000000000"))],
    ),
    ("real", "smallint", &[("1e4", Some("10000")), ("1e5", None)]),
    (
        "money",
        "numeric",
        &[("12.34", Some("12.34")), ("1234567.89", Some("1234567.89"))],
    ),
    ("integer", "text", &[("-5", Some("-5"))]),
    (
        "interval",
        "time",
        &[("'12:00'", Some("12:00:00")), ("'25:00'", None)],
    ),
    ("real", "double precision", &[("0.1", Some("0.1"))]),
    (
        "inet",
        "text",
        &[
            ("'10.0.0.1'", Some("10.0.0.1")),
            ("'10.0.0.1/24'", Some("10.0.0.1/24")),
        ],
    ),
    (
        "double precision",
        "numeric",
        &[("0.30000000000000004", Some("0.30000000000000004"))],
    ),
    (
        "inet",
        "cidr",
        &[
            ("'10.0.0.1/24'", Some("10.0.0.0/24")),
            ("'10.0.0.1'", Some("10.0.0.1/32")),
            ("'2001:db8::1/64'", Some("2001:db8::/64")),
        ],
    ),
    (
        "macaddr8",
        "macaddr",
        &[
            ("'08:00:2b:ff:fe:01:02:03'", Some("08:00:2b:01:02:03")),
            ("'08:00:2b:01:02:03:04:05'", None),
            ("'08:00:2b:ff:00:03:04:05'", None),
        ],
    ),
    (
        "box",
        "polygon",
        &[("'(1,1),(0,0)'", Some("((0,0),(0,1),(1,1),(1,0))"))],
    ),
    ("point", "box", &[("'(1,2)'", Some("(1,2),(1,2)"))]),
    (
        "regclass",
        "bigint",
        &[
            ("'pg_class'", Some("1259")),
            ("3000000000", Some("3000000000")),
        ],
    ),
    ("regclass", "integer", &[("'pg_class'", Some("1259"))]),
    ("regtype", "oid", &[("'integer'", Some("23"))]),
    ("regtype", "text", &[("'integer'", Some("integer"))]),
    (
        "oid",
        "integer",
        &[("1259", Some("1259")), ("4000000000", Some("-294967296"))],
    ),
    (
        "numeric(20,1)[]",
        "integer[]",
        &[
            ("'{1.6,2.5,-2.5,null}'", Some("{2,3,-3,NULL}")),
            ("'{}'", Some("{}")),
            ("'[2:3]={0.4,0.5}'", Some("[2:3]={0,1}")),
            ("'{{1.4},{1.5}}'", Some("{{1},{2}}")),
            ("'{3e9}'", None),
            ("'{1,NaN}'", None),
        ],
    ),
    ("numeric[]", "bigint[]", &[("'{1e300}'", None)]),
    (
        "double precision[]",
        "bigint[]",
        &[
            ("'{1.6,2.5,1e18}'", Some("{2,2,1000000000000000000}")),
            ("'{1e30}'", None),
            ("'{Infinity}'", None),
        ],
    ),
    ("real[]", "smallint[]", &[("'{0.5,1.5}'", Some("{0,2}"))]),
    ("money[]", "numeric[]", &[("'{12.34}'", Some("{12.34}"))]),
    (
        "inet[]",
        "cidr[]",
        &[("'{10.0.0.1/24,null}'", Some("{10.0.0.0/24,NULL}"))],
    ),
    (
        "macaddr8[]",
        "macaddr[]",
        &[
            ("'{08:00:2b:ff:fe:01:02:03}'", Some("{08:00:2b:01:02:03}")),
            ("'{08:00:2b:ff:fe:01:02:03,08:00:2b:01:02:03:04:05}'", None),
        ],
    ),
    (
        "box[]",
        "polygon[]",
        &[("'{(1,1),(0,0)}'", Some("{\"((0,0),(0,1),(1,1),(1,0))\"}"))],
    ),
];

#[tokio::test]
async fn keys_that_become_one_key_here_are_told() {
    for (there, here, first, keys) in [
        (
            "inet",
            "cidr",
            "('10.1.0.0/24')",
            "('10.0.0.1/24'), ('10.0.0.2/24')",
        ),
        ("bigint", "real", "(1)", "(100000001), (100000002)"),
    ] {
        let site = keyed(there, here).await;
        let insert = |values: &str| {
            format!(
                "insert into meter (id, tenant_id) select v::{there}, 7 from (values {values}) v (v)"
            )
        };
        site.on_remote(&insert(first)).await;
        let run = site.sync().await;
        assert_eq!(
            run.outcome,
            Some(RunOutcome::Succeeded),
            "{there}: {run:#?}"
        );
        site.on_remote(&insert(keys)).await;
        let run = site.sync().await;
        let error = run.error.expect("an error");
        assert_eq!(
            error.code,
            ErrorCode::DuplicateSourceKey,
            "{there}: {error:?}"
        );
    }
}

#[tokio::test]
async fn a_value_of_another_type_becomes_its_text_or_what_the_cast_of_an_assignment_makes_of_it() {
    for (there, here, values) in CASTS {
        let site = Site::with_schemas(
            &format!("create table meter (id bigint primary key, tenant_id int, v {there}, active boolean not null default true)"),
            &format!("{TENANT} create table meter (id bigint primary key, v {here}, active boolean not null)"),
        )
        .await;
        let mut expected = vec![json!({"id": 0, "v": null})];
        site.on_remote("insert into meter values (0, 7, null)")
            .await;
        for (n, (value, becomes)) in (1..).zip(*values) {
            site.on_remote(&format!("insert into meter values ({n}, 7, {value})"))
                .await;
            expected.extend(becomes.map(|text| json!({"id": n, "v": text})));
        }
        let rejected = i64::try_from(values.len() + 1 - expected.len()).unwrap();
        let run = site.sync().await;
        assert_eq!(run.counts.rejected, rejected, "{there} {here}: {run:#?}");
        let found = rows(
            &site.local,
            "select id, format('%s', v) as v from meter where v is not null or id = 0 order by id",
        )
        .await;
        assert_eq!(
            emptied(found),
            emptied(Value::Array(expected)),
            "{there} {here}"
        );
        // Neither by what the rows hold nor by all their values is there anything more to do.
        for forgotten in ["meter_sync_seen", "meter_sync_log"] {
            site.on_local(&format!("truncate meter_sync.{forgotten} cascade"))
                .await;
            let again = site.sync().await;
            assert_eq!(
                (again.counts.changes(), again.counts.rejected),
                (0, rejected),
                "{there} {here}: {again:#?}"
            );
        }
    }
}

/// The text of null is the empty one.
fn emptied(mut rows: Value) -> Value {
    if let Some(first) = rows.get_mut(0) {
        first["v"] = json!("");
    }
    rows
}
