//! Mailbox names: from the wire to paths of leaf names and back (RFC 9051 §5.1, RFC 3501 §5.1).
//!
//! The hierarchy delimiter is `/`. A folder whose own name holds one (another protocol may have made it) has no IMAP
//! name and is not listed.

use std::collections::HashMap;

use mailstore_trait::folder::{Folder, FolderList, Role};
use mailstore_trait::id::FolderId;

use super::state::Core;
use crate::utf7;

/// Between the levels of a name.
pub(super) const DELIMITER: char = '/';

/// Leaf names from the top, or nothing when a name is none.
///
/// `INBOX` is the inbox in any case (RFC 9051 §5.1), also above its children.
pub(super) fn path(core: &Core, name: &[u8]) -> Option<Vec<String>> {
    if name.len() > core.config.limits.mailbox {
        return None;
    }
    let name = utf7::decode(name).ok()?;
    let path = split(&name);
    (!path.iter().any(String::is_empty)).then_some(path)
}

fn split(name: &str) -> Vec<String> {
    let mut path: Vec<String> = name.split(DELIMITER).map(str::to_owned).collect();
    if let Some(first) = path.first_mut().filter(|first| first.eq_ignore_ascii_case("INBOX")) {
        "INBOX".clone_into(first);
    }
    path
}

/// A pattern in the form names have here; nothing when no name can match it.
pub(super) fn pattern(reference: &[u8], pattern: &[u8]) -> Option<String> {
    let whole = [reference, pattern].concat();
    let whole = utf7::decode(&whole).ok()?;
    Some(split(&whole).join("/"))
}

/// A folder that has a name here.
#[derive(Debug)]
pub(super) struct Named {
    /// Its whole name.
    pub(super) name: String,
    /// Its place in the list.
    pub(super) at: usize,
    pub(super) has_children: bool,
}

/// All folders that have a name.
pub(super) fn all(list: &FolderList) -> Vec<Named> {
    let by_id: HashMap<FolderId, &Folder> = list.folders.iter().map(|folder| (folder.id, folder)).collect();
    let mut parents: HashMap<FolderId, usize> = HashMap::new();
    let mut named = Vec::with_capacity(list.folders.len());
    for (at, folder) in list.folders.iter().enumerate() {
        if let Some(name) = whole_name(folder, &by_id) {
            named.push(Named { name, at, has_children: false });
            if let Some(parent) = folder.parent {
                *parents.entry(parent).or_default() += 1;
            }
        }
    }
    for one in &mut named {
        one.has_children = list.folders.get(one.at).is_some_and(|folder| parents.contains_key(&folder.id));
    }
    named
}

fn whole_name(folder: &Folder, by_id: &HashMap<FolderId, &Folder>) -> Option<String> {
    let mut leaves = Vec::new();
    let mut next = Some(folder);
    while let Some(folder) = next {
        // A store that hands out a cycle must not hang its callers.
        if folder.name.contains(DELIMITER) || leaves.len() > by_id.len() {
            return None;
        }
        let inbox = folder.role == Some(Role::Inbox) && folder.parent.is_none();
        leaves.push(if inbox { "INBOX" } else { folder.name.as_str() });
        next = match folder.parent {
            Some(parent) => Some(*by_id.get(&parent)?),
            None => None,
        };
    }
    leaves.reverse();
    Some(leaves.join("/"))
}

/// The folder at a path, when it can be selected.
pub(super) fn selectable<'l>(list: &'l FolderList, path: &[String]) -> Option<&'l Folder> {
    list.by_path(path).filter(|folder| folder.selectable)
}

/// The lowest level of a path that exists, and the names below it.
pub(super) fn missing(list: &FolderList, path: &[String]) -> (Option<FolderId>, Vec<String>) {
    for depth in (1..path.len()).rev() {
        if let Some(folder) = path.get(..depth).and_then(|above| list.by_path(above)) {
            return (Some(folder.id), path.get(depth..).unwrap_or_default().to_vec());
        }
    }
    (None, path.to_vec())
}

/// Whether a name matches a pattern: `*` is anything, `%` is anything within one level (RFC 9051 §6.3.9).
///
/// Every position of the pattern that can be reached is carried along, so the work is the product of both lengths and
/// never more.
pub(super) fn matches(pattern: &str, name: &str) -> bool {
    let pattern: Vec<char> = pattern.chars().collect();
    let mut reached = vec![false; pattern.len() + 1];
    let mut next = reached.clone();
    if let Some(start) = reached.first_mut() {
        *start = true;
    }
    skip_wildcards(&pattern, &mut reached);
    for char in name.chars() {
        next.fill(false);
        for (at, wanted) in pattern.iter().enumerate().filter(|&(at, _)| reached.get(at) == Some(&true)) {
            let stays = *wanted == '*' || (*wanted == '%' && char != DELIMITER);
            let to = if stays { at } else { at + 1 };
            if let Some(state) = next.get_mut(to).filter(|_| stays || *wanted == char) {
                *state = true;
            }
        }
        skip_wildcards(&pattern, &mut next);
        std::mem::swap(&mut reached, &mut next);
    }
    reached.last() == Some(&true)
}

/// A wildcard may match nothing.
fn skip_wildcards(pattern: &[char], reached: &mut [bool]) {
    for (at, char) in pattern.iter().enumerate() {
        let here = matches!(char, '*' | '%') && reached.get(at) == Some(&true);
        if let Some(after) = reached.get_mut(at + 1).filter(|_| here) {
            *after = true;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wildcards_match_within_and_across_levels() {
        for (pattern, name, want) in [
            ("*", "a/b/c", true),
            ("%", "a", true),
            ("%", "a/b", false),
            ("a/%", "a/b", true),
            ("a/%", "a/b/c", false),
            ("a*c", "a/b/c", true),
            ("%/%", "a/b", true),
            ("%a%", "xay", true),
            ("", "", true),
            ("", "a", false),
            ("a", "a", true),
            ("a", "ab", false),
            ("*%", "a/b", true),
            ("a**b%%", "ab", true),
        ] {
            assert_eq!(matches(pattern, name), want, "{pattern} {name}");
        }
    }

    /// A matcher that goes back for each `*` needs 2^n steps for this.
    #[test]
    fn wildcards_cost_no_more_than_both_lengths() {
        let pattern = "*a".repeat(500) + "b";
        assert!(!matches(&pattern, &"a".repeat(1000)));
    }

    #[test]
    fn inbox_is_one_name_in_any_case() {
        assert_eq!(split("inbox"), ["INBOX"]);
        assert_eq!(split("Inbox/a"), ["INBOX", "a"]);
        assert_eq!(split("a/inbox"), ["a", "inbox"]);
        assert_eq!(pattern(b"", b"inbox/%").as_deref(), Some("INBOX/%"));
        assert_eq!(pattern(b"a/", b"%").as_deref(), Some("a/%"));
    }
}
