//! The documents against the code: what they name exists, and what must be named is.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use clap::CommandFactory;
use meter_sync::cli::Cli;
use meter_sync::config::Setting;
use meter_sync::error::ErrorCode;
use serde_json::{Value, json};

/// Variables of one command alone; every other one is a setting.
const COMMAND_VARIABLES: [&str; 9] = [
    "METER_SYNC_POSTGRES_BIN",
    "METER_SYNC_DEMO_DATA_DIR",
    "METER_SYNC_DEMO_FRESH",
    "METER_SYNC_DEMO_SCENE",
    "METER_SYNC_DRY_RUN",
    "METER_SYNC_JSON",
    "METER_SYNC_REASON",
    "METER_SYNC_HISTORY",
    "METER_SYNC_RUN",
];
/// Variables of the tests.
const TEST_VARIABLES: [&str; 1] = ["METER_SYNC_TEST_CITUS_URL"];
/// Programs whose flags the documents show beside ours.
const OTHERS: [&str; 6] = ["cargo ", "claude ", "npx ", "curl ", "openssl ", "--header"];

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Every document with its text.
fn documents() -> Vec<(PathBuf, String)> {
    let mut paths: Vec<PathBuf> = ["README.md", "CONTRIBUTING.md", "CHANGELOG.md"]
        .map(|name| root().join(name))
        .into();
    let folder = fs::read_dir(root().join("docs")).expect("docs");
    let files = folder.map(|entry| entry.expect("an entry").path());
    // what else lies there is pictures
    paths.extend(files.filter(|path| path.extension().is_some_and(|extension| extension == "md")));
    let read = |path: PathBuf| {
        let text = fs::read_to_string(&path).expect("a document");
        (path, text)
    };
    paths.into_iter().map(read).collect()
}

fn document(name: &str) -> String {
    fs::read_to_string(root().join(name)).expect("a document")
}

/// What a document shows as code: inline, and the lines of its shell blocks.
fn code(text: &str) -> Vec<String> {
    let mut found = Vec::new();
    let mut block = None;
    for line in text.lines() {
        if let Some(language) = line.strip_prefix("```") {
            block = block.is_none().then_some(language);
        } else if block.is_none() {
            let inline = line.split('`').skip(1).step_by(2);
            found.extend(inline.map(str::to_owned));
        } else if block == Some("sh") {
            found.push(line.to_owned());
        }
    }
    found
}

/// The words that follow `mark`, made of `letters`.
fn words_after(text: &str, mark: &str, letters: impl Fn(char) -> bool) -> BTreeSet<String> {
    let starts = text.split(mark).skip(1);
    let word = |rest: &str| rest.chars().take_while(|c| letters(*c)).collect();
    starts.map(word).collect()
}

fn commands() -> BTreeSet<String> {
    let cli = Cli::command();
    let names = cli.get_subcommands().map(|command| command.get_name());
    names.map(str::to_owned).collect()
}

fn flags() -> BTreeSet<String> {
    let cli = Cli::command();
    let all = std::iter::once(&cli).chain(cli.get_subcommands());
    let long = all.flat_map(|command| command.get_arguments().filter_map(|a| a.get_long()));
    let built_in = ["help", "version"];
    long.chain(built_in).map(str::to_owned).collect()
}

#[test]
fn the_readme_shows_the_two_commands() {
    let readme = document("README.md");
    assert!(readme.contains("\ncargo run --release -- demo "));
    assert!(readme.contains("\ncargo test "));
    assert!(readme.lines().count() <= 120, "README fits a few screens");
}

#[test]
fn every_command_named_exists_and_every_command_is_named() {
    let commands = commands();
    for (path, text) in documents() {
        for line in code(&text) {
            let mut words = line.split_whitespace();
            let ours = words.find(|word| word.ends_with("meter-sync")).is_some();
            let name = words.next().unwrap_or("--");
            let known = commands.contains(name) || !name.chars().all(|c| c.is_ascii_lowercase());
            assert!(!ours || known, "{}: {line}", path.display());
        }
    }
    let readme = document("README.md");
    for command in commands {
        assert!(
            readme.contains(&format!("`meter-sync {command}`")),
            "{command}"
        );
    }
}

#[test]
fn every_flag_named_exists() {
    let flags = flags();
    for (path, text) in documents() {
        let ours = text
            .lines()
            .filter(|line| !OTHERS.iter().any(|other| line.contains(other)));
        for line in ours {
            let named = words_after(line, "--", |c| c.is_ascii_lowercase() || c == '-');
            for flag in named.iter().map(|flag| flag.trim_matches('-')) {
                let known = flag.is_empty() || flags.contains(flag);
                assert!(known, "{}: --{flag} in {line}", path.display());
            }
        }
    }
}

#[test]
fn every_variable_named_exists_and_every_setting_is_documented() {
    let settings = Setting::ALL.iter().map(|setting| setting.env());
    let others = COMMAND_VARIABLES.into_iter().chain(TEST_VARIABLES);
    let known: BTreeSet<&str> = settings.chain(others).collect();
    for (path, text) in documents() {
        let named = words_after(&text, "METER_SYNC_", |c| c.is_ascii_uppercase() || c == '_');
        for name in named.iter().filter(|name| !name.is_empty()) {
            let name = format!("METER_SYNC_{name}");
            assert!(known.contains(&*name), "{}: {name}", path.display());
        }
    }
    let reference = document("docs/configuration.md");
    for setting in Setting::ALL {
        let row = format!("| `--{}` | `{}` |", setting.flag(), setting.env());
        assert!(reference.contains(&row), "{row}");
    }
}

#[test]
fn every_error_code_has_its_line_in_the_troubleshooting() {
    let text = document("docs/troubleshooting.md");
    let named: BTreeSet<String> = text
        .lines()
        .filter_map(|line| Some(line.strip_prefix("| `")?.split_once('`')?.0.to_owned()))
        .collect();
    assert_eq!(named, codes());
}

/// The codes as the tools' schema lists them.
fn codes() -> BTreeSet<String> {
    let schema = schemars::schema_for!(ErrorCode);
    let mut found = BTreeSet::new();
    collect(schema.as_value(), &mut found);
    found
}

fn collect(schema: &Value, found: &mut BTreeSet<String>) {
    let alternatives = schema["oneOf"].as_array().into_iter().flatten();
    alternatives.for_each(|one| collect(one, found));
    let listed = schema["enum"].as_array().into_iter().flatten();
    let texts = listed.chain([&schema["const"]]).filter_map(Value::as_str);
    found.extend(texts.map(str::to_owned));
}

#[test]
fn every_link_leads_to_a_file_and_a_heading_that_are_there() {
    for (path, text) in documents() {
        let folder = path.parent().expect("a folder");
        let links = text
            .split("](")
            .skip(1)
            .filter_map(|rest| rest.split_once(')'));
        for (link, _) in links.filter(|(link, _)| !link.starts_with("http")) {
            let (file, heading) = link.split_once('#').unwrap_or((link, ""));
            let target = if file.is_empty() {
                path.clone()
            } else {
                folder.join(file)
            };
            assert!(target.exists(), "{}: {link}", path.display());
            if !heading.is_empty() {
                let headings = headings(&fs::read_to_string(&target).expect("text"));
                assert!(headings.contains(heading), "{}: {link}", path.display());
            }
        }
    }
}

/// The anchors that a document's headings get.
fn headings(text: &str) -> BTreeSet<String> {
    let titles = text.lines().filter(|line| line.starts_with('#'));
    let anchor = |title: &str| {
        let title = title.trim_start_matches('#').trim().to_lowercase();
        let kept = title
            .chars()
            .filter(|c| c.is_alphanumeric() || " -_".contains(*c));
        kept.collect::<String>().replace(' ', "-")
    };
    titles.map(anchor).collect()
}

#[test]
fn the_registry_entry_is_of_this_version_and_asks_for_what_the_bundle_asks_for() {
    let entry: Value = serde_json::from_str(&document("server.json")).expect("JSON");
    let name = entry["name"].as_str().expect("a name");
    // By this line the registry knows that who publishes the crate means the entry.
    assert!(document("README.md").contains(&format!("mcp-name: {name}\n")));
    assert!(
        entry["description"]
            .as_str()
            .is_some_and(|text| text.len() <= 100)
    );
    let package = &entry["packages"][0];
    for version in [&entry["version"], &package["version"]] {
        assert_eq!(version, env!("CARGO_PKG_VERSION"));
    }
    assert_eq!(package["identifier"], env!("CARGO_PKG_NAME"));
    let asked = package["environmentVariables"].as_array().expect("a list");
    let asked = asked.iter().map(|variable| variable["name"].as_str());
    let asked: BTreeSet<_> = asked.map(|name| name.expect("a name")).collect();
    let manifest = meter_sync::mcp::bundle_manifest::manifest();
    let bundled = &manifest["server"]["mcp_config"]["env"];
    let bundled: BTreeSet<_> = bundled.as_object().expect("variables").keys().collect();
    assert_eq!(json!(asked), json!(bundled));
    for variable in bundled {
        let is_setting = Setting::ALL.iter().any(|setting| setting.env() == variable);
        assert!(is_setting, "{variable}");
    }
}

/// Where the documents say how long a process that is stopped waits for its runs, it is as long as it does.
#[test]
fn the_documents_tell_how_long_a_stop_waits_for_runs() {
    let seconds = format!("{} seconds", meter_sync::shutdown::DRAIN.as_secs());
    for name in ["docs/operating.md", "docs/scale.md"] {
        let text = document(name).replace('\n', " ");
        let mut sentences = text.split(". ").filter(|text| text.contains("SIGTERM"));
        let told = sentences.any(|sentence| sentence.contains(&seconds));
        assert!(told, "{name}");
    }
}

/// A dry run records the changes that it plans, so a query for what happened leaves them out.
#[test]
fn queries_for_what_happened_leave_out_dry_runs() {
    let text = document("docs/troubleshooting.md");
    let mut queries = code(&text)
        .into_iter()
        .filter(|code| code.contains("meter_sync_change c join"));
    let query = queries.next().expect("the query for a meter");
    assert!(query.contains("and not l.dry_run"), "{query}");
}

/// A table of flags shows what a flag takes, as `--help` does.
#[test]
fn the_flags_of_commands_are_listed_with_their_values() {
    let cli = Cli::command();
    let arguments = cli.get_subcommands().flat_map(clap::Command::get_arguments);
    let with_values = arguments.filter(|argument| argument.get_action().takes_values());
    let flags: BTreeSet<String> = with_values
        .filter_map(|argument| Some(format!("--{}", argument.get_long()?)))
        .collect();
    assert!(flags.contains("--history"), "{flags:?}");
    let reference = document("docs/configuration.md");
    let (_, of_commands) = reference
        .split_once("## Flags of single commands")
        .expect("it");
    let (readme, of_commands) = (document("README.md"), of_commands.split("\n## ").next());
    let rows = readme.lines().chain(of_commands.expect("its text").lines());
    for row in rows.filter(|row| row.starts_with("| `")) {
        let bare = code(row).into_iter().find(|code| flags.contains(code));
        assert_eq!(bare, None, "{row}");
    }
}
