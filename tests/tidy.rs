//! The tree itself: module openings, crate arrows, purity of the rules, and documents that name what the code has.
//!
//! Text only, standard library only, so that it compiles at once and holds for files no target includes.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
};

/// Each crate's folder and the crates of this workspace it may depend on.
const CRATES: &[(&str, &[&str])] = &[
    ("protocol", &[]),
    ("rules", &["protocol"]),
    ("storage", &["protocol", "rules"]),
    ("actors", &["protocol", "rules", "storage"]),
    ("access", &["protocol"]),
    ("sandbox", &["protocol"]),
    ("loadtest", &["protocol"]),
    (".", &["access", "actors", "protocol", "rules", "sandbox", "storage"]),
];

/// In a plain table at most this many keys stand under one comment, so that no key hides under its neighbour's.
const KEYS_PER_COMMENT_MAX: usize = 2;

fn root() -> PathBuf {
    let folder = std::env::var("CARGO_MANIFEST_DIR").ok().or_else(|| option_env!("CARGO_MANIFEST_DIR").map(str::to_owned));
    PathBuf::from(folder.expect("CARGO_MANIFEST_DIR names the root of the workspace"))
}

fn read(path: impl AsRef<Path>) -> String {
    let path = root().join(path);
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// All Rust files below a folder of the root, as paths from the root.
fn rust_files(folder: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut folders = vec![root().join(folder)];
    while let Some(folder) = folders.pop() {
        let Ok(entries) = fs::read_dir(&folder) else { continue };
        for path in entries.map(|entry| entry.expect("the folder can be listed").path()) {
            let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            if path.is_dir() && name != "target" && name != "node_modules" && !name.starts_with('.') {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                found.push(path.strip_prefix(root()).expect("it lies below the root").to_owned());
            }
        }
    }
    found.sort();
    found
}

fn sources() -> Vec<PathBuf> {
    let files: Vec<PathBuf> = CRATES.iter().flat_map(|(folder, _)| rust_files(&format!("{folder}/src"))).collect();
    assert!(files.len() > CRATES.len(), "the sources were not found below {}", root().display());
    files
}

/// A line without its comment. A string with two slashes is cut short, which only shortens what is searched.
fn code(line: &str) -> &str {
    line.split_once("//").map_or(line, |(code, _)| code)
}

/// Whether the text holds the needle, where a needle that begins or ends with a letter or digit is a word of its own there.
fn holds(text: &str, needle: &str) -> bool {
    let is_word = |at: Option<char>| at.is_some_and(|c| c.is_alphanumeric() || c == '_');
    text.match_indices(needle).any(|(at, _)| {
        let before = is_word(needle.chars().next()) && is_word(text[..at].chars().next_back());
        let after = is_word(needle.chars().next_back()) && is_word(text[at + needle.len()..].chars().next());
        !before && !after
    })
}

fn lines_with(files: &[PathBuf], needles: &[String]) -> Vec<String> {
    let mut found = Vec::new();
    for file in files {
        for (number, line) in read(file).lines().enumerate() {
            for needle in needles.iter().filter(|needle| holds(code(line), needle)) {
                found.push(format!("{}:{}: {needle}", file.display(), number + 1));
            }
        }
    }
    found
}

fn none(found: &[String], what: &str) {
    assert!(found.is_empty(), "{what}:\n{}", found.join("\n"));
}

#[test]
fn every_module_opens_with_its_promise() {
    let opens = |file: &PathBuf| read(file).lines().next().is_some_and(|line| line.starts_with("//! "));
    let silent: Vec<String> = sources().iter().filter(|file| !opens(file)).map(|file| file.display().to_string()).collect();
    none(&silent, "a file opens with `//!` and says what it promises");
}

#[test]
fn rules_know_no_clock_no_float_and_no_runtime() {
    let needles = ["SystemTime::now", "Instant::now", "f32", "f64", "tokio", "sqlx", "ractor", "async fn"].map(str::to_owned);
    none(&lines_with(&rust_files("rules/src"), &needles), "the rules are pure");
}

#[test]
fn nothing_is_allowed_ignored_or_left_open() {
    // Put together here, so that this file does not hold what it looks for.
    let attributes = ["allow(", "ignore"].map(|name| format!("[{name}"));
    let macros = ["todo", "unimplemented", "dbg"].map(|name| format!("{name}!"));
    let needles: Vec<String> = attributes.into_iter().chain(macros).collect();
    none(&lines_with(&rust_files("."), &needles), "expect with a reason, finish, and run every test");
}

#[test]
fn crates_depend_one_way() {
    let manifest = read("Cargo.toml");
    let members = manifest.lines().find(|line| line.starts_with("members")).expect("the workspace lists its members");
    let known: BTreeSet<&str> = CRATES.iter().map(|(folder, _)| *folder).collect();
    let listed: BTreeSet<&str> = members.split('"').skip(1).step_by(2).collect();
    assert_eq!(known, listed, "each member of the workspace has its arrows here");
    for (folder, allowed) in CRATES {
        let used = dependencies(&read(format!("{folder}/Cargo.toml")));
        assert!(used.iter().any(|name| !known.contains(name.as_str())), "{folder} depends on something from outside");
        let wrong: Vec<String> =
            used.into_iter().filter(|name| known.contains(name.as_str()) && !allowed.contains(&name.as_str())).collect();
        none(&wrong, &format!("{folder} may depend on {allowed:?} only"));
    }
}

/// Names under `[dependencies]` and its tables; what only tests need is free.
fn dependencies(manifest: &str) -> BTreeSet<String> {
    let mut used = BTreeSet::new();
    let mut section = "";
    for line in manifest.lines().map(str::trim) {
        if let Some(name) = line.strip_prefix('[') {
            section = name.trim_end_matches(']');
            used.extend(section.strip_prefix("dependencies.").map(str::to_owned));
        } else if section == "dependencies" && !line.is_empty() && !line.starts_with('#') {
            used.extend(line.split(['.', '=', ' ']).next().map(str::to_owned));
        }
    }
    used
}

/// A key of `config/default.toml`.
struct Key {
    table: String,
    name: String,
    value: String,
    /// Keys since the last comment, this one included; `None` when no comment stands above.
    under_comment: Option<usize>,
    is_list: bool,
}

fn keys() -> Vec<Key> {
    let text = read("config/default.toml");
    let (mut keys, mut table, mut is_list, mut under) = (Vec::new(), String::new(), false, None);
    for line in text.lines() {
        if line.starts_with('#') {
            under = Some(0);
        } else if let Some(header) = line.strip_prefix('[') {
            is_list |= header.starts_with('[');
            table = header.trim_matches(['[', ']']).to_owned();
            // A comment above a list's first entry speaks for that entry.
            under = under.filter(|count| line.starts_with("[[") && *count == 0);
        } else if let Some((name, value)) = line.split_once(" = ") {
            under = under.map(|count| count + 1);
            let (table, name, value) = (table.clone(), name.to_owned(), value.to_owned());
            keys.push(Key { table, name, value, under_comment: under, is_list });
        }
    }
    assert!(!keys.is_empty(), "config/default.toml sets keys");
    keys
}

#[test]
fn every_key_of_the_configuration_is_explained() {
    let text = read("config/default.toml");
    let comments: Vec<&str> = text.lines().filter(|line| line.starts_with('#')).collect();
    let mut by_path: BTreeMap<String, bool> = BTreeMap::new();
    for key in keys() {
        let close = key.under_comment.is_some_and(|count| count <= KEYS_PER_COMMENT_MAX);
        // The comment above a list may name its fields instead; what an `id` is needs no words.
        let named = key.name == "id" || key.is_list && comments.iter().any(|line| holds(line, &key.name));
        *by_path.entry(format!("{}.{}", key.table, key.name)).or_default() |= close || named;
    }
    let silent: Vec<String> = by_path.into_iter().filter(|(_, is_explained)| !is_explained).map(|(path, _)| path).collect();
    none(&silent, "a key of config/default.toml has its comment");
}

#[test]
fn the_readme_prints_every_bound_with_its_default() {
    let readme = read("README.md");
    let bounds: Vec<Key> = keys().into_iter().filter(|key| matches!(key.table.as_str(), "wallet" | "actors")).collect();
    assert!(bounds.iter().any(|key| key.table == "wallet") && bounds.iter().any(|key| key.table == "actors"));
    let is_printed = |key: &&Key| {
        let begins = format!("| `{}.{}` | {} |", key.table, key.name, key.value);
        readme.lines().any(|line| line.starts_with(&begins))
    };
    let missing: Vec<String> = bounds
        .iter()
        .filter(|key| !is_printed(key))
        .map(|key| format!("| `{}.{}` | {} | …", key.table, key.name, key.value))
        .collect();
    none(&missing, "README.md has a row for each bound that begins");
}

#[test]
fn the_protocol_page_lists_every_error() {
    let problems = read("protocol/src/problem.rs");
    let table = problems.split_once("\nerror_codes! {").expect("the list of errors").1;
    let page = read("docs/protocol.md");
    let mut missing = Vec::new();
    let mut count = 0;
    for line in table.lines().map(str::trim).take_while(|line| *line != "}") {
        let Some((_, definition)) = line.split_once(" = \"") else { continue };
        let (text, rest) = definition.split_once('"').expect("a code is a string");
        let mut fields = rest.trim_start_matches([',', ' ']).splitn(3, ", ");
        let (status, retry) = (fields.next().unwrap_or_default(), fields.next().unwrap_or_default());
        let retry = match retry {
            "Never" => "never",
            "Later" => "later",
            "SameId" => "same_id",
            other => panic!("{text}: retry {other} has no name here"),
        };
        let row = format!("| `{text}` | {status} | {retry} |");
        missing.extend((!page.lines().any(|line| line.starts_with(&row))).then_some(row));
        count += 1;
    }
    assert!(count > 0, "the list of errors was not read");
    none(&missing, "docs/protocol.md has a row for each error that begins");
}

#[test]
fn documents_point_at_files_that_exist() {
    let mut dead = Vec::new();
    for (document, folder) in
        [("README.md", ""), ("docs/architecture.md", "docs"), ("docs/money.md", "docs"), ("docs/protocol.md", "docs")]
    {
        let text = read(document);
        let links = text.split("](").skip(1).filter_map(|rest| rest.split_once(')')).map(|(link, _)| link);
        let links = links.filter(|link| !link.contains("://") && !link.starts_with('#'));
        dead.extend(links.filter(|link| !root().join(folder).join(link).exists()).map(|link| format!("{document}: {link}")));
        // Paths into the sources stand in backticks.
        let paths = text.split('`').skip(1).step_by(2).filter(|path| path.ends_with(".rs") && path.contains('/'));
        dead.extend(paths.filter(|path| !root().join(path).exists()).map(|path| format!("{document}: {path}")));
    }
    none(&dead, "a document names a file that is not there");
}
