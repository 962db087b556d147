//! Data flows one way: which module may use which, as ARCHITECTURE.md draws it.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

/// Each module of the library and the modules it may use.
const MAY_USE: &[(&str, &str)] = &[
    ("error", ""),
    ("model", "error"),
    ("machine_clock", ""),
    ("shutdown", ""),
    ("trace_id", ""),
    ("make_printable", ""),
    ("url_path", ""),
    ("hex_digest", ""),
    ("shared_read", ""),
    ("http_client", ""),
    ("config", "error model machine_clock hex_digest"),
    ("db", "config error model machine_clock"),
    ("store", "db error model machine_clock"),
    ("engine", "store db config error model hex_digest"),
    ("tenants", "store db config error model"),
    ("telemetry", "config model"),
    (
        "reports",
        "store config error model machine_clock make_printable",
    ),
    ("heartbeat", "http_client config model"),
    (
        "mirrors",
        "reports tenants engine store db config error model machine_clock trace_id telemetry shared_read heartbeat",
    ),
    (
        "history",
        "mirrors reports tenants store db error model make_printable",
    ),
    ("arguments", "reports model"),
    ("badges", "model"),
    ("schedule", "mirrors config error model"),
    (
        "mcp",
        "badges url_path history mirrors reports config error model arguments trace_id make_printable",
    ),
    (
        "check",
        "mirrors tenants engine store db config error model machine_clock",
    ),
    (
        "http",
        "mirrors reports config error model arguments machine_clock shutdown trace_id make_printable http_client",
    ),
    (
        "rest",
        "url_path http history mirrors reports config error model arguments machine_clock shutdown trace_id",
    ),
    (
        "page",
        "http check badges url_path history mirrors reports config error model arguments machine_clock hex_digest trace_id make_printable",
    ),
    ("embedded", ""),
    (
        "app",
        "telemetry schedule mcp page rest http mirrors config shutdown error",
    ),
    (
        "demo",
        "app embedded mirrors reports config shutdown error model",
    ),
    (
        "cli",
        "app demo check mcp history mirrors reports store db arguments machine_clock config shutdown telemetry error model make_printable",
    ),
];

fn source() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("src")
}

fn rust_files(folder: &Path, found: &mut Vec<PathBuf>) {
    files(folder, "rs", found);
}

/// The files in a folder whose names end so.
fn files(folder: &Path, ending: &str, found: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files(&path, ending, found);
        } else if path
            .extension()
            .is_some_and(|extension| extension == ending)
        {
            found.push(path);
        }
    }
}

/// The module of the library that a file belongs to: its folder, or its own name at the top.
fn module_of(file: &Path) -> String {
    let first = file
        .strip_prefix(source())
        .unwrap()
        .components()
        .next()
        .unwrap();
    first
        .as_os_str()
        .to_str()
        .unwrap()
        .trim_end_matches(".rs")
        .to_owned()
}

/// The lines that are no comments; these may speak of anything.
fn code(text: &str) -> impl Iterator<Item = &str> {
    let lines = text.lines();
    lines.filter(|line| !line.trim_start().starts_with("//"))
}

/// The modules named by `crate::module` in code.
fn used_by(text: &str) -> BTreeSet<String> {
    let paths = code(text).flat_map(|line| line.split("crate::").skip(1));
    let name = |path: &str| {
        path.chars()
            .take_while(|c| c.is_alphanumeric() || *c == '_')
            .collect()
    };
    paths
        .map(name)
        .filter(|name: &String| !name.is_empty())
        .collect()
}

fn uses() -> BTreeMap<String, BTreeSet<String>> {
    let mut files = Vec::new();
    rust_files(&source(), &mut files);
    let mut uses: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for file in files {
        let module = module_of(&file);
        let found = used_by(&std::fs::read_to_string(&file).unwrap());
        uses.entry(module).or_default().extend(found);
    }
    uses.remove("main");
    uses.remove("lib");
    uses
}

#[test]
fn every_module_uses_only_what_stands_below_it() {
    for (module, used) in uses() {
        let (_, allowed) = MAY_USE
            .iter()
            .find(|(name, _)| *name == module)
            .unwrap_or_else(|| panic!("module {module} has no place in the order yet"));
        for name in used.into_iter().filter(|name| *name != module) {
            assert!(
                allowed.split(' ').any(|allowed| allowed == name),
                "{module} must not use {name}"
            );
        }
    }
}

#[test]
fn the_order_has_no_circle() {
    let place = |name: &str| MAY_USE.iter().position(|(module, _)| *module == name);
    for (module, allowed) in MAY_USE {
        for name in allowed.split_whitespace() {
            assert!(
                place(name) < place(module),
                "{name} must come before {module}"
            );
        }
    }
}

#[test]
fn surfaces_and_reports_hold_no_sql_and_no_pool() {
    let mut files = Vec::new();
    for surface in ["mcp", "page", "rest", "http", "schedule", "reports"] {
        rust_files(&source().join(surface), &mut files);
    }
    for file in files {
        let text = std::fs::read_to_string(&file).unwrap();
        for forbidden in ["tokio_postgres", "deadpool", "select ", "insert into "] {
            let found = code(&text).find(|line| line.contains(forbidden));
            assert_eq!(found, None, "{}: {forbidden}", file.display());
        }
    }
}

/// `tenants::look_up_local_table` looks in the catalog whether the log has a column; that is no statement on the log.
#[test]
fn sql_on_our_tables_stands_in_the_store() {
    let mut files = Vec::new();
    for above in ["tenants", "mirrors", "history", "check"] {
        rust_files(&source().join(above), &mut files);
    }
    for file in files {
        let text = std::fs::read_to_string(&file).unwrap();
        let found = text
            .lines()
            .find(|line| line.contains("meter_sync.meter_sync_") && !line.contains("to_regclass"));
        assert_eq!(found, None, "{}", file.display());
    }
}

#[test]
fn the_map_names_every_module() {
    let map = std::fs::read_to_string(source().join("../ARCHITECTURE.md")).unwrap();
    for (module, _) in MAY_USE {
        assert!(
            map.contains(&format!("`{module}`")),
            "ARCHITECTURE.md does not name `{module}`"
        );
    }
}

#[test]
fn the_files_that_the_map_names_exist() {
    let map = std::fs::read_to_string(source().join("../ARCHITECTURE.md")).unwrap();
    let paths: Vec<_> = map
        .split('`')
        .filter(|text| text.contains('/') && text.ends_with(".rs"))
        .collect();
    assert!(paths.len() > 30, "{paths:?}");
    for path in paths {
        let places = [source().join(path), source().join("..").join(path)];
        assert!(places.iter().any(|place| place.exists()), "{path}");
    }
}

/// A database of another encoding lacks any other character: neither our SQL nor what we log there may need one.
#[test]
fn what_is_sent_to_a_database_is_ascii() {
    let mut sources = Vec::new();
    for folder in [
        "db", "store", "engine", "tenants", "reports", "mirrors", "history", "check",
    ] {
        rust_files(&source().join(folder), &mut sources);
    }
    let mut migrations = Vec::new();
    files(&source().join("store/migrations"), "sql", &mut migrations);
    assert!(!migrations.is_empty());
    let mut odd = Vec::new();
    for file in sources.iter().chain(&migrations) {
        let text = std::fs::read_to_string(file).expect("a source");
        let text = text.split("#[cfg(test)]").next().unwrap_or_default();
        // A comment of SQL is sent, too.
        let is_sent =
            |line: &str| migrations.contains(file) || !line.trim_start().starts_with("//");
        let lines = (1..).zip(text.lines());
        let found = lines.filter(|(_, line)| is_sent(line) && !line.is_ascii());
        odd.extend(found.map(|(n, line): (u32, &str)| format!("{}:{n}: {line}", file.display())));
    }
    assert_eq!(odd, Vec::<String>::new());
}

/// The most lines that a source file may have.
const MOST_LINES: usize = 400;

#[test]
fn no_source_file_is_longer_than_a_reader_takes_in_at_once() {
    let mut found = Vec::new();
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    for folder in ["src", "tests", "benches", "examples"] {
        rust_files(&root.join(folder), &mut found);
    }
    assert!(found.len() > 500, "{} files", found.len());
    let lines = |path: &PathBuf| std::fs::read_to_string(path).unwrap().lines().count();
    let long: Vec<(PathBuf, usize)> = found
        .into_iter()
        .map(|path| (path.clone(), lines(&path)))
        .filter(|(_, lines)| *lines > MOST_LINES)
        .collect();
    assert_eq!(long, [], "files of more than {MOST_LINES} lines");
}
