//! The README's table of standards, made from every crate's `COMPLIANCE.toml`. `BLESS=1` writes it anew.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test says no by panicking")]

use std::collections::BTreeMap;
use std::fmt::Write;
use std::path::Path;

const BEGIN: &str = "<!-- standards: made by `BLESS=1 cargo test -p mailserver --test standards` -->\n";
const END: &str = "<!-- end of standards -->\n";

/// Crates in the order in which the table names them.
const CRATES: [&str; 5] = ["smtp-proto", "imap-proto-core", "pop3-proto", "mailstore-trait", "mapi-rpc"];

#[derive(serde::Deserialize)]
struct List {
    section: Vec<Section>,
}

#[derive(serde::Deserialize)]
struct Section {
    spec: String,
    status: String,
}

/// How many sections of one standard are kept, kept otherwise, and open.
#[derive(Default)]
struct Count {
    done: usize,
    exception: usize,
    todo: usize,
    crates: Vec<&'static str>,
}

fn table(root: &Path) -> String {
    let mut counts: BTreeMap<(String, u32), Count> = BTreeMap::new();
    for name in CRATES {
        let text = std::fs::read_to_string(root.join(name).join("COMPLIANCE.toml")).expect(name);
        let list: List = toml::from_str(&text).expect(name);
        for section in list.section {
            // RFCs by number, the others by name.
            let number = section.spec.strip_prefix("RFC ").and_then(|number| number.parse().ok());
            let key = if number.is_some() { "RFC".to_owned() } else { section.spec };
            let count = counts.entry((key, number.unwrap_or(0))).or_default();
            match section.status.as_str() {
                "done" => count.done += 1,
                "exception" => count.exception += 1,
                "todo" => count.todo += 1,
                other => panic!("{name}: unknown status {other:?}"),
            }
            if count.crates.last() != Some(&name) {
                count.crates.push(name);
            }
        }
    }
    let mut table =
        String::from("| standard | crate | sections kept | with an exception | open |\n|---|---|---|---|---|\n");
    for ((spec, number), count) in counts {
        let spec = if number > 0 { format!("RFC {number}") } else { spec };
        let Count { done, exception, todo, crates } = count;
        let cell = |count: usize| if count > 0 { count.to_string() } else { String::new() };
        let row = [spec, crates.join(", "), cell(done), cell(exception), cell(todo)].join(" | ");
        writeln!(table, "| {} |", row.trim_end()).unwrap();
    }
    table
}

#[test]
fn the_readme_names_the_standards_that_are_kept() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let path = root.join("README.md");
    let readme = std::fs::read_to_string(&path).unwrap();
    let start = readme.find(BEGIN).expect("the beginning of the table") + BEGIN.len();
    let end = readme.find(END).expect("the end of the table");
    let table = table(&root);
    if readme.get(start..end) != Some(table.as_str()) {
        if std::env::var_os("BLESS").is_some() {
            let (before, after) = (readme.get(..start).unwrap(), readme.get(end..).unwrap());
            std::fs::write(&path, format!("{before}{table}{after}")).unwrap();
        } else {
            panic!("README.md is behind the COMPLIANCE.toml files: run with BLESS=1");
        }
    }
}
