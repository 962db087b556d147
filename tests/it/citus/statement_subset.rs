//! What Citus refuses in a statement about a distributed table, as far as it was seen on Citus 13.2.2.

/// A kind of statement that Citus refuses, and how it is recognised.
struct Refused {
    what: &'static str,
    is_in: fn(&Statement<'_>) -> bool,
}

/// A statement in lower case with single blanks, and the names of the distributed tables. If it inserts into one of
/// them, the statement is what follows: the query may be anything that reads no distributed table.
struct Statement<'a> {
    sql: String,
    tables: &'a [&'a str],
}

impl Statement<'_> {
    fn has(&self, part: &str) -> bool {
        self.sql.contains(part)
    }

    fn names_table(&self, sql: &str) -> bool {
        self.tables.iter().any(|table| sql.contains(table))
    }

    /// Whether one of the distributed tables follows these words.
    fn has_before_table(&self, words: &str) -> bool {
        let mut tables = self.tables.iter();
        tables.any(|table| self.has(&format!("{words} {table} ")))
    }

    /// What follows each place of `start`, up to the parenthesis that closes the one around it or in it.
    fn after<'s>(&'s self, start: &'s str) -> impl Iterator<Item = &'s str> {
        let places = self.sql.match_indices(start);
        places.map(|(at, found)| within_parentheses(&self.sql[at + found.len()..]))
    }
}

/// Returns the text up to the parenthesis that is closed and not opened in it.
fn within_parentheses(sql: &str) -> &str {
    let mut depth = 0;
    for (at, letter) in sql.char_indices() {
        match letter {
            '(' => depth += 1,
            ')' if depth == 0 => return &sql[..at],
            ')' => depth -= 1,
            _ => {}
        }
    }
    sql
}

const REFUSED: &[Refused] = &[
    Refused {
        what: "a subquery of a distributed table without columns",
        is_in: |statement| {
            let mut bodies = statement.after("select from ");
            bodies.any(|body| statement.names_table(body))
        },
    },
    Refused {
        what: "`exists` that joins a distributed and a temporary table",
        is_in: |statement| {
            let mut bodies = statement.after("exists (");
            bodies.any(|body| {
                body.contains("pg_temp.")
                    || statement.names_table(body) && statement.has("pg_temp.")
            })
        },
    },
    Refused {
        what: "an outer join of a distributed table itself, whose system columns get lost",
        is_in: |statement| statement.has_before_table("left join") && statement.has("pg_temp."),
    },
    Refused {
        what: "a row lock in a subquery or a CTE",
        is_in: |statement| {
            let is_locking =
                statement.has("for update of l") || statement.has("for no key update of l");
            let is_top = statement.sql.ends_with("of l")
                && !statement.has("with ")
                && !statement.has("from ( select");
            is_locking && !is_top
        },
    },
    Refused {
        what: "`merge`",
        is_in: |statement| statement.has("merge into"),
    },
    Refused {
        what: "an update of the distribution column",
        is_in: |statement| {
            statement.has_before_table("update")
                && statement
                    .sql
                    .split(" from ")
                    .next()
                    .is_some_and(|set| set.contains("\"tenant_id\" ="))
        },
    },
];

/// Returns why Citus would refuse a batch of statements, if `tables` are distributed.
pub(super) fn faults(batch: &str, tables: &[&str]) -> Vec<&'static str> {
    // A table's name is also the key of what is stored about it.
    let without_keys = tables.iter().fold(batch.to_owned(), |sql, table| {
        sql.replace(&format!("'{table}'"), "''")
    });
    let statements = without_keys.split(';').map(|sql| {
        let code = sql
            .lines()
            .filter(|line| !line.trim_start().starts_with("-- "));
        let words: Vec<&str> = code.flat_map(str::split_whitespace).collect();
        let sql = words.join(" ").to_lowercase();
        let mut targets = tables.iter().map(|table| format!("insert into {table} "));
        let query = targets.find_map(|target| sql.strip_prefix(&target).map(str::to_owned));
        Statement {
            sql: query.unwrap_or(sql),
            tables,
        }
    });
    let of_tables = statements.filter(|statement| tables.iter().any(|table| statement.has(table)));
    let found = of_tables.flat_map(|statement| {
        let refused = REFUSED.iter().filter(|refused| (refused.is_in)(&statement));
        refused.map(|refused| refused.what).collect::<Vec<_>>()
    });
    found.collect()
}

/// Statements that the program sent before it knew Citus. A real Citus refuses each of them.
const FORMER: &[&str] = &[
    "create temp table meter_sync_unmatched on commit drop as
     select u.* from (select l.xmin as version, l.\"id\" as c1 from \"public\".\"meter\" l where l.\"tenant_id\" = '7') u
     where not exists (select from pg_temp.meter_sync_stage s where u.c1 = s.c1)",
    "select s.c1, l.xmin as version from pg_temp.meter_sync_stage s
     left join \"public\".\"meter\" l on l.\"id\" = s.c1 and l.\"tenant_id\" = '7'",
    "with locked as (
         select l.xmin = p.version as as_planned from pg_temp.meter_sync_plan p
         join \"public\".\"meter\" l on l.\"id\" = p.c1 and l.\"tenant_id\" = '7' order by p.n for no key update of l
     ) select count(*) from locked",
    "select exists (select from \"public\".\"meter\" l where (l.\"tenant_id\" = '7') is not true)",
    "select l.\"id\" from \"public\".\"meter\" l
     where exists (select 1 from pg_temp.meter_sync_plan p where p.c1 = l.\"id\") group by 1",
    "update \"public\".\"meter\" l set \"tenant_id\" = s.c2, \"name\" = s.c3 from pg_temp.meter_sync_stage s where l.\"id\" = s.c1",
    "delete from pg_temp.meter_sync_released_0 f
     where exists (select 1 from \"public\".\"meter\" l where l.\"id\" = f.c1 and l.\"name\" is not null)",
    "merge into \"public\".\"meter\" l using pg_temp.meter_sync_stage s on l.\"id\" = s.c1 when matched then do nothing",
];

#[test]
fn each_former_statement_is_recognised() {
    for former in FORMER {
        assert!(
            !faults(former, &["\"public\".\"meter\""]).is_empty(),
            "{former}"
        );
        assert_eq!(
            faults(former, &["\"public\".\"other\""]),
            [""; 0],
            "{former}"
        );
    }
}
