//! Checks that no folder has an import circle, so that each file can be read after the files that it uses.
//!
//! The members of a folder are its files and its subfolders. What a member uses is read from its `use` lines and from
//! the paths in its code that begin with `crate`, `self` or `super`. The import of a name that a `mod.rs` re-exports
//! counts as an import from the file that defines the name. A `mod.rs` is not a member, because it is the parent that
//! declares the members. Tests do not count.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

/// The path of a module or of a name in one, without `crate`.
type Name = Vec<String>;

/// The members of a folder that use each other in a circle.
type Circle = (String, Vec<String>);

/// A source file.
struct Source {
    /// Its code, without comments and tests.
    code: String,
    /// The paths of its `use` lines.
    imports: Vec<Name>,
}

/// Reads the text of each module of a folder.
fn read(module: &[String], folder: &Path, texts: &mut BTreeMap<Name, String>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let stem = path.file_stem().unwrap().to_str().unwrap();
        let child = join(module, [stem]);
        if path.is_dir() {
            read(&child, &path, texts);
        } else if path.extension().is_some_and(|ending| ending == "rs") {
            let is_parent = ["mod", "lib"].contains(&stem);
            let name = if is_parent { module.to_vec() } else { child };
            texts.insert(name, std::fs::read_to_string(&path).unwrap());
        }
    }
}

/// The sources of modules, without those that hold tests.
fn sources(texts: BTreeMap<Name, String>) -> BTreeMap<Name, Source> {
    let texts = texts.into_iter();
    let texts = texts.filter(|(name, _)| !name.iter().any(|part| part == "tests"));
    let mut sources: BTreeMap<Name, Source> = texts
        .map(|(name, text)| (name, Source::of(&text)))
        .collect();
    let modules: BTreeSet<Name> = sources.keys().cloned().collect();
    for (module, source) in &mut sources {
        let uses = source.code.split("use ").skip(1);
        let trees = uses.filter_map(|text| Some(text.split_once(';')?.0));
        let paths = trees.flat_map(expanded);
        source.imports = paths
            .filter_map(|path| absolute(module, &path, &modules))
            .collect();
    }
    sources
}

impl Source {
    fn of(text: &str) -> Self {
        let text = text.split("#[cfg(test)]\nmod tests {").next().unwrap();
        let lines = text.lines();
        let lines = lines.filter(|line| !line.trim_start().starts_with("//"));
        Self {
            code: lines.collect::<Vec<_>>().join("\n"),
            imports: Vec::new(),
        }
    }
}

fn join<'a>(module: &[String], rest: impl IntoIterator<Item = &'a str>) -> Name {
    let rest = rest.into_iter().map(str::to_owned);
    module.iter().cloned().chain(rest).collect()
}

/// The paths of a tree of `use`: `a::{b, c}` is `a::b` and `a::c`.
fn expanded(tree: &str) -> Vec<String> {
    let tree: String = tree.split_whitespace().collect::<Vec<_>>().join(" ");
    let Some((start, rest)) = tree.split_once('{') else {
        return vec![tree.split(" as ").next().unwrap().to_owned()];
    };
    let inner = rest.rsplit_once('}').map_or(rest, |(inner, _)| inner);
    let (mut depth, mut part, mut parts) = (0, String::new(), Vec::new());
    for letter in inner.chars() {
        match letter {
            '{' => depth += 1,
            '}' => depth -= 1,
            _ => {}
        }
        match (letter, depth) {
            (',', 0) => parts.push(std::mem::take(&mut part)),
            _ => part.push(letter),
        }
    }
    parts.push(part);
    let parts = parts.iter().filter(|part| !part.trim().is_empty());
    let paths = parts.flat_map(|part| expanded(part.trim()));
    paths.map(|path| format!("{start}{path}")).collect()
}

/// The path from the root of the library; `None` for a path of another library.
fn absolute(module: &[String], path: &str, modules: &BTreeSet<Name>) -> Option<Name> {
    let mut parts: Vec<&str> = path.split("::").map(str::trim).collect();
    if parts.last() == Some(&"self") {
        parts.pop();
    }
    let (first, rest) = parts.split_first()?;
    match *first {
        "crate" => Some(join(&[], rest.iter().copied())),
        "self" => Some(join(module, rest.iter().copied())),
        "super" => {
            let (_, parent) = module.split_last()?;
            let path = rest.join("::");
            match rest.first() {
                Some(&"super") => absolute(parent, &path, modules),
                _ => Some(join(parent, rest.iter().copied())),
            }
        }
        child => {
            let child = join(module, [child]);
            let is_ours = !module.is_empty() && modules.contains(&child);
            is_ours.then(|| join(&child, rest.iter().copied()))
        }
    }
}

/// The paths in code that begin with `crate`, `self` or `super`.
fn inline(module: &[String], source: &Source, modules: &BTreeSet<Name>) -> Vec<Name> {
    let is_path = |letter: char| letter.is_alphanumeric() || letter == '_' || letter == ':';
    let words = source.code.split(|letter| !is_path(letter));
    let paths = words.filter(|word| {
        ["crate::", "self::", "super::"]
            .iter()
            .any(|start| word.starts_with(start))
    });
    let paths = paths.map(|path| path.trim_end_matches(':'));
    paths
        .filter_map(|path| absolute(module, path, modules))
        .collect()
}

/// The module that has a name, found through re-exports.
fn owner(name: &[String], sources: &BTreeMap<Name, Source>) -> Option<Name> {
    let (mut name, mut steps) = (name.to_vec(), 0);
    loop {
        let length = (0..=name.len())
            .rev()
            .find(|length| sources.contains_key(&name[..*length]))?;
        let (module, rest) = name.split_at(length);
        let imports = &sources[module].imports;
        let reexported = rest
            .first()
            .and_then(|first| imports.iter().find(|import| import.last() == Some(first)));
        match reexported {
            Some(import) if steps < 5 => {
                name = join(import, rest.iter().skip(1).map(String::as_str));
                steps += 1;
            }
            _ => return Some(module.to_vec()),
        }
    }
}

/// Which member uses which, by folder.
fn uses(sources: &BTreeMap<Name, Source>) -> BTreeMap<String, BTreeMap<String, BTreeSet<String>>> {
    let modules = sources.keys().cloned().collect();
    let mut folders: BTreeMap<String, BTreeMap<String, BTreeSet<String>>> = BTreeMap::new();
    for (module, source) in sources {
        let mut names = inline(module, source, &modules);
        names.extend(source.imports.iter().cloned());
        for used in names.iter().filter_map(|name| owner(name, sources)) {
            let shared = module.iter().zip(&used);
            let depth = shared.take_while(|(one, other)| one == other).count();
            if let (Some(user), Some(used)) = (module.get(depth), used.get(depth)) {
                let folder = folders.entry(module[..depth].join("/")).or_default();
                let all = folder.entry(user.clone()).or_default();
                all.insert(used.clone());
            }
        }
    }
    folders
}

/// The members that one uses, directly and through others.
fn reached(from: &str, uses: &BTreeMap<String, BTreeSet<String>>) -> BTreeSet<String> {
    let (mut found, mut open) = (BTreeSet::new(), vec![from.to_owned()]);
    while let Some(member) = open.pop() {
        let used = uses.get(&member).into_iter().flatten();
        open.extend(used.filter(|used| found.insert((*used).clone())).cloned());
    }
    found
}

fn circles(texts: BTreeMap<Name, String>) -> BTreeSet<Circle> {
    let mut circles = BTreeSet::new();
    for (folder, uses) in uses(&sources(texts)) {
        for member in uses.keys() {
            let all = reached(member, &uses);
            let back = all
                .iter()
                .filter(|used| reached(used, &uses).contains(member));
            let circle: Vec<String> = back.cloned().collect();
            if !circle.is_empty() {
                circles.insert((folder.clone(), circle));
            }
        }
    }
    circles
}

#[test]
fn no_folder_has_an_import_circle() {
    let mut texts = BTreeMap::new();
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    read(&[], &source, &mut texts);
    let found = circles(texts);
    assert!(found.is_empty(), "circles: {found:#?}");
}

#[test]
fn a_circle_is_found_in_whatever_way_a_name_is_imported() {
    let circles = |first: &str, second: &str| {
        let texts = [
            ("", "pub mod room;"),
            (
                "room",
                "pub use first::{First, Other};\nmod first;\nmod second;",
            ),
            ("room/first", first),
            ("room/second", second),
        ];
        let name = |path: &str| -> Name {
            let parts = path.split('/').filter(|part| !part.is_empty());
            parts.map(str::to_owned).collect()
        };
        circles(BTreeMap::from(
            texts.map(|(path, text)| (name(path), text.to_owned())),
        ))
    };
    let circle: Circle = (
        "room".to_owned(),
        vec!["first".to_owned(), "second".to_owned()],
    );
    let first = "use super::second::{\n    Second as Next,\n};";
    for second in [
        "use super::first::First;",
        "use super::{Other, First};",
        "use crate::{room::{First}};",
        "fn f() { crate::room::first::f(); }",
        "fn f() { super::first::f(); }",
    ] {
        let found = circles(first, second);
        assert_eq!(found, [circle.clone()].into(), "{second}");
    }
    for second in [
        "use std::first::First;",
        "// use super::first::First;",
        "#[cfg(test)]\nmod tests {\n    use super::super::first::First;\n}",
    ] {
        assert_eq!(circles(first, second), BTreeSet::new(), "{second}");
    }
}
