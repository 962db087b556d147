//! Overloads of the functions and operators that our SQL may use, planted in a schema that our roles look in first.
//! Each time a test checks that they are all there, and that names without a schema call them.

use tokio_postgres::Client;

/// The SQLSTATE of an overload that is called.
pub(super) const CALLED: &str = "58000";

/// Every name before a parenthesis in our sources, whatever it is; Postgres knows which are functions.
pub(super) fn names_in_our_sources() -> Vec<String> {
    let mut folders = vec![concat!(env!("CARGO_MANIFEST_DIR"), "/src").into()];
    let mut names = Vec::new();
    while let Some(folder) = folders.pop() {
        let folder: std::path::PathBuf = folder;
        for entry in std::fs::read_dir(folder).expect("our sources") {
            let path = entry.expect("an entry").path();
            if path.is_dir() {
                folders.push(path);
                continue;
            }
            let text = std::fs::read_to_string(&path).unwrap_or_default();
            for (end, _) in text.match_indices('(') {
                let before = &text[..end];
                let is_part = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_';
                names.push(before[before.trim_end_matches(is_part).len()..].to_owned());
            }
        }
    }
    names.sort_unstable();
    names.dedup();
    names
}

/// Overloads of each function that we may call: for its own types, and for those that ours are turned into.
const FUNCTIONS: &str = "do $do$
declare f record; args text; body text := $$begin raise exception 'an overload was called' using errcode = '58000'; end$$;
begin
    for f in
        select p.proname, p.proretset, p.proargtypes::oid[] as types from pg_proc p
        where p.pronamespace = 'pg_catalog'::regnamespace and p.proname = any (string_to_array('NAMES', ',')) and p.pronargs > 0
    loop
        foreach args in array array[
            (select string_agg(format_type(t, null), ', ' order by n) from unnest(f.types) with ordinality u(t, n)),
            (select string_agg(case when t in ('text'::regtype, '\"any\"'::regtype, 'anyelement'::regtype, 'name'::regtype, 'anynonarray'::regtype)
                 then 'varchar' else format_type(t, null) end, ', ' order by n) from unnest(f.types) with ordinality u(t, n)),
            (select string_agg(case when t in ('name'::regtype, '\"any\"'::regtype, 'anyelement'::regtype) then 'text'
                 when t = 'bigint'::regtype then 'integer' else format_type(t, null) end, ', ' order by n)
             from unnest(f.types) with ordinality u(t, n)),
            (select string_agg(case when t in ('\"any\"'::regtype, 'anyelement'::regtype) then 'bigint'
                 when t = 'integer'::regtype then 'smallint' else format_type(t, null) end, ', ' order by n)
             from unnest(f.types) with ordinality u(t, n)),
            'text, varchar', 'text, text', 'text, jsonb', 'text, bigint', 'text, boolean', 'varchar', 'text', 'jsonb',
            'bigint', 'integer', 'bpchar', 'text, bigint, text, bigint', 'text, bigint, numeric, numeric', 'meter', 'tenant', 'anyelement', 'anyarray', 'oid, smallint'
        ] loop
            begin
                execute format('create function public.%I(%s) returns %s %s language plpgsql as %L', f.proname, args,
                    case when f.proretset then 'setof' end,
                    coalesce((select format_type(min(p.prorettype), null) from pg_proc p
                     where p.pronamespace = 'pg_catalog'::regnamespace and p.proname = f.proname
                       and p.prorettype not in (select oid from pg_type where typtype = 'p')), 'text'), body);
            -- Another overload of these types is there, or the types do not go together.
            exception when duplicate_function or invalid_function_definition or feature_not_supported then null;
            -- The table is of the other side.
            when undefined_object then
                if args not in ('meter', 'tenant') then raise; end if;
            end;
        end loop;
    end loop;
end $do$";

/// The types whose operators are overloaded.
const TYPES: &[&str] = &[
    "varchar",
    "text",
    "bpchar",
    "name",
    "bigint",
    "integer",
    "smallint",
    "numeric",
    "jsonb",
    "boolean",
    "oid",
    "timestamptz",
    "uuid",
    "xid",
    "float8",
    "regclass",
    "regnamespace",
    "pg_lsn",
    "txid_snapshot",
    "\"char\"",
    "bytea",
    "text[]",
    "date",
    "int8range",
];

/// Operators of type `LEFT` with each other type. One transaction may not make them all: each takes a lock.
const OPERATORS: &str = "do $do$
declare b text; o text; n integer := 0;
    body text := $$begin raise exception 'an overload was called' using errcode = '58000'; end$$;
begin
    foreach b in array array[TYPES] loop
        n := n + 1;
        execute format('create function public.%I(%s, %s) returns boolean language plpgsql as %L', 'compare LEFT', 'LEFT', b, body);
        execute format('create function public.%I(%s, %s) returns %s language plpgsql as %L', 'compute LEFT', 'LEFT', b, 'LEFT', body);
        foreach o in array array['=','<>','<','>','<=','>=','~','!~','~*','~~','!~~','~~*','@>','<@','&&','?','@@'] loop
            execute format('create operator public.%s (leftarg = %s, rightarg = %s, procedure = public.%I)', o, 'LEFT', b, 'compare LEFT');
        end loop;
        foreach o in array array['+','-','*','/','#','&','|','||','>>','->','->>'] loop
            execute format('create operator public.%s (leftarg = %s, rightarg = %s, procedure = public.%I)', o, 'LEFT', b, 'compute LEFT');
        end loop;
    end loop;
end $do$";

pub(super) async fn overload(client: &Client, names: &str) {
    let functions = FUNCTIONS.replace("NAMES", names);
    client.batch_execute(&functions).await.expect("functions");
    let types: Vec<String> = TYPES.iter().map(|type_| format!("'{type_}'")).collect();
    for left in TYPES {
        let operators = OPERATORS
            .replace("LEFT", left)
            .replace("TYPES", &types.join(", "));
        let made = client.batch_execute(&operators).await;
        made.unwrap_or_else(|error| panic!("operators of {left}: {error:?}"));
    }
    // What the test itself says from here on is to call none of them.
    client
        .batch_execute("set search_path = pg_catalog")
        .await
        .expect("a path");
    for (lacking, sql) in [
        (
            "functions without an overload of their own types",
            NOT_OVERLOADED,
        ),
        ("functions without any overload", NEVER_OVERLOADED),
    ] {
        let found = client.query(&sql.replace("NAMES", names), &[]).await;
        let found = found.unwrap_or_else(|error| panic!("{lacking}: {error:?}"));
        let found: Vec<String> = found.iter().map(|row| row.get(0)).collect();
        assert_eq!(found, Vec::<String>::new(), "{lacking}");
    }
    assert_unqualified_statements_call_them(client).await;
}

/// Whoever names one of them without its schema calls it, under the path that our roles have.
async fn assert_unqualified_statements_call_them(client: &Client) {
    let calls = client.query(CALLS, &[]).await.expect("the calls");
    assert!(calls.len() > 2000, "{} calls", calls.len());
    let path = async |path: &str| {
        let set = format!("set search_path = {path}");
        client.batch_execute(&set).await.expect("a path");
    };
    path("public, pg_catalog").await;
    let mut missed = Vec::new();
    for call in &calls {
        let call: &str = call.get(0);
        let called = client.batch_execute(call).await;
        let code = called.as_ref().err().and_then(|error| error.code());
        if code.map(|code| code.code()) != Some(CALLED) {
            missed.push(format!("{call}: {called:?}"));
        }
    }
    path("pg_catalog").await;
    assert_eq!(missed, Vec::<String>::new());
}

/// A call of each function, and of each operator of two values of one type.
const CALLS: &str = "select format('select %I(%s)', p.proname, (
        select string_agg('null::' || format_type(a.oid, null), ', ' order by a.n)
        from unnest(p.proargtypes) with ordinality a (oid, n)))
    from pg_proc p where p.pronamespace = 'public'::regnamespace and p.pronargs > 0
      and p.proname !~ '^comp(are|ute) ' and p.prosrc ~ 'an overload was called'
      and not exists (select from unnest(p.proargtypes) a (oid) join pg_type t on t.oid = a.oid where t.typtype = 'p')
    union all
    select format('select null::%s %s null::%1$s', format_type(o.oprleft, null), o.oprname)
    from pg_operator o where o.oprnamespace = 'public'::regnamespace and o.oprleft = o.oprright";

/// Functions whose arguments have types of their own have an overload of just these.
const NOT_OVERLOADED: &str = "select p.oid::regprocedure::text from pg_proc p
    where p.pronamespace = 'pg_catalog'::regnamespace and p.proname = any (string_to_array('NAMES', ',')) and p.pronargs > 0
      and not exists (select from unnest(p.proargtypes) a (oid) join pg_type t on t.oid = a.oid where t.typtype = 'p')
      and not exists (
        select from pg_proc o where o.pronamespace = 'public'::regnamespace
          and o.proname = p.proname and o.proargtypes = p.proargtypes)";

/// The others have some.
const NEVER_OVERLOADED: &str = "select distinct p.proname::text from pg_proc p
    where p.pronamespace = 'pg_catalog'::regnamespace and p.proname = any (string_to_array('NAMES', ',')) and p.pronargs > 0
      and not exists (
        select from pg_proc o where o.pronamespace = 'public'::regnamespace and o.proname = p.proname)";
