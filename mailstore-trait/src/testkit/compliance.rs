//! That a crate's `COMPLIANCE.toml`, the citations in its code and its tests agree.
//!
//! The list has one table a section: `spec`, `section`, `status` (`done`, `exception` or `todo`), `why` unless done,
//! `tests` when done. A citation is `RFC 9051 §6.3.12`, `RFC 4422 appendix A` or `[MS-OXCROPS] §2.2.3.1` anywhere in the
//! code. Every cited section is listed, every listed one that is not `todo` is cited, and every test named there is a
//! function or a transcript of the crate.

#![allow(clippy::expect_used, reason = "a panic here is a failing test")]

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

/// One `[[section]]` of the list.
#[derive(Clone, Debug, Default)]
struct Section {
    spec: String,
    section: String,
    status: String,
    why: String,
    tests: Vec<String>,
}

/// Checks the crate in this folder, usually `env!("CARGO_MANIFEST_DIR")`; of its code only what lies under `paths`,
/// files or folders relative to it.
///
/// # Panics
/// With everything that does not agree.
pub fn check(root: impl AsRef<Path>, paths: &[&str]) {
    let root = root.as_ref();
    let list = fs::read_to_string(root.join("COMPLIANCE.toml")).expect("a COMPLIANCE.toml beside Cargo.toml");
    let mut code = String::new();
    for path in paths {
        let before = code.len();
        visit(&root.join(path), &mut |file| {
            if file.extension().is_some_and(|extension| extension == "rs") {
                code.push_str(&fs::read_to_string(file).expect("source is text"));
            }
        });
        assert!(code.len() > before, "no code under {path}");
    }
    let mut tests = BTreeSet::new();
    for folder in ["src", "tests"] {
        visit(&root.join(folder), &mut |file| {
            if file.extension().is_some_and(|extension| extension == "rs") {
                functions(&fs::read_to_string(file).expect("source is text"), &mut tests);
            } else if let Some(name) = file.file_name().filter(|_| file.extension().is_some_and(|e| e == "txt")) {
                tests.insert(name.to_string_lossy().into_owned());
            }
        });
    }
    let complaints = compare(&sections(&list), &citations(&code), &tests);
    assert!(complaints.is_empty(), "COMPLIANCE.toml, citations and tests disagree:\n{}", complaints.join("\n"));
}

fn visit(path: &Path, see: &mut dyn FnMut(&Path)) {
    if path.is_file() {
        see(path);
    } else if let Ok(entries) = fs::read_dir(path) {
        for entry in entries {
            visit(&entry.expect("a readable folder").path(), see);
        }
    }
}

fn compare(sections: &[Section], cited: &BTreeSet<String>, tests: &BTreeSet<String>) -> Vec<String> {
    let mut complaints = Vec::new();
    let mut listed = BTreeMap::new();
    for section in sections {
        let name = name(&section.spec, &section.section);
        let done = section.status == "done";
        if !matches!(section.status.as_str(), "done" | "exception" | "todo") {
            complaints.push(format!("{name}: status {:?}", section.status));
        }
        if !done && section.why.is_empty() {
            complaints.push(format!("{name}: {} without a why", section.status));
        }
        if done && section.tests.is_empty() {
            complaints.push(format!("{name}: done without a test"));
        }
        if section.status != "todo" && !cited.contains(&name) {
            complaints.push(format!("{name}: listed, but no code cites it"));
        }
        for test in section.tests.iter().filter(|test| !tests.contains(*test)) {
            complaints.push(format!("{name}: no test {test}"));
        }
        if listed.insert(name.clone(), ()).is_some() {
            complaints.push(format!("{name}: listed twice"));
        }
    }
    complaints
        .extend(cited.iter().filter(|name| !listed.contains_key(*name)).map(|name| format!("{name}: not listed")));
    complaints
}

fn name(spec: &str, section: &str) -> String {
    if section.starts_with("appendix") { format!("{spec} {section}") } else { format!("{spec} §{section}") }
}

/// The few lines of TOML the list is made of.
fn sections(list: &str) -> Vec<Section> {
    let mut sections: Vec<Section> = Vec::new();
    let mut open: Option<String> = None;
    for line in list.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#')) {
        let line = match open.take() {
            Some(before) => before + line,
            None => line.to_owned(),
        };
        if line == "[[section]]" {
            sections.push(Section::default());
            continue;
        }
        let (key, value) = line.split_once('=').unwrap_or_else(|| panic!("neither a table nor a key: {line}"));
        let value = value.trim();
        if value.starts_with('[') && !value.ends_with(']') {
            open = Some(line);
            continue;
        }
        let strings: Vec<String> = value.split('"').skip(1).step_by(2).map(str::to_owned).collect();
        let first = strings.first().cloned().unwrap_or_default();
        let section = sections.last_mut().expect("a key under [[section]]");
        match key.trim() {
            "spec" => section.spec = first,
            "section" => section.section = first,
            "status" => section.status = first,
            "why" => section.why = first,
            "tests" => section.tests = strings,
            other => panic!("unknown key {other}"),
        }
    }
    sections
}

/// Every citation in the code, in the list's form.
fn citations(code: &str) -> BTreeSet<String> {
    let mut cited = BTreeSet::new();
    for prefix in ["RFC ", "[MS-"] {
        for (at, _) in code.match_indices(prefix) {
            cited.extend(code.get(at..).and_then(citation));
        }
    }
    cited
}

fn citation(text: &str) -> Option<String> {
    let spec_len = if text.starts_with("RFC ") {
        4 + text.get(4..)?.bytes().take_while(u8::is_ascii_digit).count()
    } else {
        text.find(']')? + 1
    };
    let (spec, rest) = text.split_at_checked(spec_len)?;
    let rest = rest.strip_prefix(' ')?;
    if let Some(letter) = rest.strip_prefix("appendix ").and_then(|rest| rest.chars().next()) {
        return Some(format!("{spec} appendix {letter}"));
    }
    let rest = rest.strip_prefix('§')?;
    let len = rest.bytes().take_while(|octet| octet.is_ascii_digit() || *octet == b'.').count();
    let section = rest.get(..len)?.trim_end_matches('.');
    (!section.is_empty()).then(|| format!("{spec} §{section}"))
}

fn functions(code: &str, names: &mut BTreeSet<String>) {
    for (at, _) in code.match_indices("fn ") {
        let name = code.get(at + 3..).unwrap_or_default();
        let len = name.bytes().take_while(|octet| octet.is_ascii_alphanumeric() || *octet == b'_').count();
        names.insert(name.get(..len).unwrap_or_default().to_owned());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIST: &str = r#"
        # A comment.
        [[section]]
        spec = "RFC 1"
        section = "2.3"
        status = "done"
        tests = [
            "one",
            "two.txt",
        ]
        [[section]]
        spec = "RFC 2"
        section = "appendix A"
        status = "todo"
        why = "later"
    "#;

    fn complaints(list: &str, code: &str) -> Vec<String> {
        let mut tests = BTreeSet::from(["two.txt".to_owned()]);
        functions("fn one() {} fn other<T>() {}", &mut tests);
        compare(&sections(list), &citations(code), &tests)
    }

    #[test]
    fn what_agrees_is_passed_and_what_does_not_is_named() {
        let none: [&str; 0] = [];
        assert_eq!(complaints(LIST, "// RFC 1 §2.3: so.\n/// (RFC 2 appendix A)"), none);
        assert_eq!(complaints(LIST, ""), ["RFC 1 §2.3: listed, but no code cites it"]);
        assert_eq!(complaints(LIST, "// RFC 1 §2.3. [MS-X] §4.5 RFC 7 alone"), ["[MS-X] §4.5: not listed"]);
        let code = "RFC 1 §2.3";
        assert_eq!(complaints(&LIST.replace("two", "three"), code), ["RFC 1 §2.3: no test three.txt"]);
        assert_eq!(complaints(&LIST.replace("later", ""), code), ["RFC 2 appendix A: todo without a why"]);
        assert_eq!(complaints(&LIST.replace("todo", "soon"), code).len(), 2);
        let twice = LIST.replace("RFC 2", "RFC 1").replace("appendix A", "2.3");
        assert_eq!(complaints(&twice, code), ["RFC 1 §2.3: listed twice"]);
        let untested = LIST.replace("\"one\",", "").replace("\"two.txt\",", "");
        assert_eq!(complaints(&untested, code), ["RFC 1 §2.3: done without a test"]);
    }
}
