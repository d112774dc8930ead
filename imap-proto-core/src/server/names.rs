//! Mailbox names: from the wire to paths of leaf names and back (RFC 9051 §5.1, RFC 3501 §5.1).
//!
//! The hierarchy delimiter is `/`. A folder whose own name holds one (another protocol may have made it) has no IMAP
//! name and is not listed.

use std::borrow::Cow;
use std::collections::{BTreeMap, HashMap};

use mailstore_trait::folder::{Folder, FolderList, Role};
use mailstore_trait::id::FolderId;
use unicode_normalization::is_nfc;

use super::state::Core;
use crate::request::{Abilities, Owner};
use crate::response::Quoted;
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
    let name = decode(core, name)?;
    let path = within(core, split(&name))?;
    (!path.is_empty() && !path.iter().any(String::is_empty)).then_some(path)
}

/// The path inside the account the running command works on: what lies in another namespace has its name from there on.
/// Nothing when it lies elsewhere.
pub(super) fn within(core: &Core, mut path: Vec<String>) -> Option<Vec<String>> {
    if let Some(placed) = &core.placed {
        if !path.starts_with(&placed.prefix) {
            return None;
        }
        path.drain(..placed.prefix.len());
        if let Some(first) = path.first_mut().filter(|first| first.eq_ignore_ascii_case("INBOX")) {
            "INBOX".clone_into(first);
        }
    }
    Some(path)
}

/// The name of a path, with the namespace it lies in.
pub(super) fn full(core: &Core, path: &[String]) -> String {
    let prefix = core.placed.as_ref().map(|placed| placed.prefix.as_slice()).unwrap_or_default();
    [prefix, path].concat().join("/")
}

/// Whose mailboxes a name below a namespace means, with the levels that say so; nothing for one's own.
pub(super) fn owner(core: &Core, name: &[u8]) -> Option<(Owner, Vec<String>)> {
    if !core.abilities().contains(Abilities::ACL) || name.len() > core.config.limits.mailbox {
        return None;
    }
    let name = decode(core, name)?;
    let mut levels = name.split(DELIMITER);
    let first = levels.next().filter(|first| !first.is_empty())?;
    if first == core.config.other_users {
        let user = levels.next().filter(|user| !user.is_empty())?;
        return Some((Owner::User(user.to_owned()), vec![first.to_owned(), user.to_owned()]));
    }
    let shared = first == core.config.shared && core.abilities().contains(Abilities::SHARED);
    shared.then(|| (Owner::Shared, vec![first.to_owned()]))
}

/// Whether a name lies in another namespace than one's own.
pub(super) fn is_foreign(core: &Core, name: &str) -> bool {
    let below = |prefix: &str| {
        !prefix.is_empty()
            && name.strip_prefix(prefix).is_some_and(|rest| rest.is_empty() || rest.starts_with(DELIMITER))
    };
    core.abilities().contains(Abilities::ACL) && below(&core.config.other_users)
        || core.abilities().contains(Abilities::ACL | Abilities::SHARED) && below(&core.config.shared)
}

pub(super) fn split(name: &str) -> Vec<String> {
    let mut path: Vec<String> = name.split(DELIMITER).map(str::to_owned).collect();
    if let Some(first) = path.first_mut().filter(|first| first.eq_ignore_ascii_case("INBOX")) {
        "INBOX".clone_into(first);
    }
    path
}

/// A pattern in the form names have here; nothing when no name can match it.
pub(super) fn pattern(core: &Core, reference: &[u8], pattern: &[u8]) -> Option<String> {
    let whole = [reference, pattern].concat();
    let whole = decode(core, &whole)?;
    Some(split(&whole).join("/"))
}

/// A name that is none of a mailbox, in the same encoding.
pub(super) fn text(core: &Core, name: &[u8]) -> Option<String> {
    decode(core, name).map(Cow::into_owned)
}

/// A name as the client writes it: modified UTF-7 until UTF-8 is enabled, and UTF-8 then.
///
/// RFC 6855 §3: UTF-8 is understood before it is enabled too. No name in modified UTF-7 has an octet above US-ASCII, so
/// nothing is mistaken.
pub(super) fn decode<'n>(core: &Core, name: &'n [u8]) -> Option<Cow<'n, str>> {
    let early = || !name.is_ascii() && core.config.offers(&["ENABLE", "UTF8=ACCEPT"]);
    if core.quoted == Quoted::Utf8 || early() {
        return std::str::from_utf8(name).ok().map(Cow::Borrowed);
    }
    utf7::decode(name).ok()
}

/// The name as the client wrote it, when that is not the mailbox's name here: INBOX in another case.
pub(super) fn other_name(core: &Core, name: &[u8], path: &[String]) -> Option<String> {
    let name = decode(core, name)?;
    let name = name.strip_suffix(DELIMITER).unwrap_or(&name);
    (name != full(core, path)).then(|| name.to_owned())
}

/// Whether a mailbox may be made with a name that came in UTF-8.
///
/// RFC 9051 §5.1, RFC 6855 §3: it is Net-Unicode, so in normalization form C and without control characters and line
/// ends. Another form is refused rather than converted: a client then never meets a name it did not give.
pub(super) fn may_be_made(core: &Core, name: &[u8], path: &[String]) -> bool {
    let forbidden = |char: char| char.is_control() || matches!(char, '\u{2028}' | '\u{2029}');
    let utf8 = core.quoted == Quoted::Utf8 || !name.is_ascii();
    !utf8 || path.iter().all(|leaf| is_nfc(leaf) && !leaf.contains(forbidden))
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

/// A pattern of LIST, ready to be held against many names: `*` is anything, `%` is anything within one level
/// (RFC 9051 §6.3.9).
///
/// The places of the pattern that can be reached are carried along as bits, a word of them at a time, so the work is
/// the product of both lengths by 64 and never more, whatever the wildcards. A command may name thousands of
/// characters, and an account may have millions of them in its names.
#[derive(Debug)]
pub(super) struct Pattern {
    /// What has to be there, wildcards next to each other taken together.
    chars: Vec<char>,
    /// How many of them are no wildcards: no shorter name matches.
    literals: usize,
    /// For each character of the pattern the places that want it.
    wanted: Vec<(char, Bits)>,
    any: Bits,
    level: Bits,
    wild: Bits,
}

/// One bit for each place of a pattern, and one for its end.
type Bits = Vec<u64>;

impl Pattern {
    pub(super) fn new(pattern: &str) -> Pattern {
        let mut chars: Vec<char> = Vec::with_capacity(pattern.len());
        for char in pattern.chars() {
            match (chars.last_mut(), char) {
                // Whatever stands next to it, `*` alone matches the same.
                (Some(last @ ('*' | '%')), '*') => *last = '*',
                (Some('*' | '%'), '%') => {}
                _ => chars.push(char),
            }
        }
        let empty = || vec![0; chars.len() / 64 + 1];
        let (mut any, mut level, mut wild) = (empty(), empty(), empty());
        let mut wanted: BTreeMap<char, Bits> = BTreeMap::new();
        for (at, &char) in chars.iter().enumerate() {
            match char {
                '*' => set(&mut any, at),
                '%' => set(&mut level, at),
                _ => set(wanted.entry(char).or_insert_with(empty), at),
            }
            if matches!(char, '*' | '%') {
                set(&mut wild, at);
            }
        }
        let literals = chars.iter().filter(|char| !matches!(char, '*' | '%')).count();
        Pattern { literals, wanted: wanted.into_iter().collect(), any, level, wild, chars }
    }

    pub(super) fn matches(&self, name: &str) -> bool {
        if self.wild.iter().all(|word| *word == 0) {
            return self.chars.iter().copied().eq(name.chars());
        }
        if name.len() < self.literals {
            return false;
        }
        let mut reached = vec![0; self.any.len()];
        set(&mut reached, 0);
        self.skip_wildcards(&mut reached);
        for char in name.chars() {
            let at = self.wanted.binary_search_by_key(&char, |(wanted, _)| *wanted).ok();
            let wanted = at.and_then(|at| self.wanted.get(at)).map(|(_, bits)| bits);
            let mut carry = 0;
            let mut alive = 0;
            for (at, word) in reached.iter_mut().enumerate() {
                let of = |bits: &Bits| bits.get(at).copied().unwrap_or(0);
                let stays = *word & (of(&self.any) | if char == DELIMITER { 0 } else { of(&self.level) });
                let moves = *word & wanted.map_or(0, of);
                *word = stays | moves << 1 | carry;
                carry = moves >> 63;
                alive |= *word;
            }
            if alive == 0 {
                return false;
            }
            self.skip_wildcards(&mut reached);
        }
        let end = self.chars.len();
        reached.get(end / 64).is_some_and(|word| word >> (end % 64) & 1 == 1)
    }

    /// A wildcard may match nothing. Two never stand next to each other.
    fn skip_wildcards(&self, reached: &mut Bits) {
        let mut carry = 0;
        for (word, wild) in reached.iter_mut().zip(&self.wild) {
            let skips = *word & wild;
            *word |= skips << 1 | carry;
            carry = skips >> 63;
        }
    }
}

fn set(bits: &mut Bits, at: usize) {
    if let Some(word) = bits.get_mut(at / 64) {
        *word |= 1 << (at % 64);
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
            assert_eq!(Pattern::new(pattern).matches(name), want, "{pattern} {name}");
        }
    }

    /// A matcher that goes back for each `*` needs 2^n steps for this.
    #[test]
    fn wildcards_cost_no_more_than_both_lengths() {
        let pattern = Pattern::new(&("*a".repeat(500) + "b"));
        assert!(!pattern.matches(&"a".repeat(1000)));
    }

    /// One LIST of `*a*a*a…` over 1,200 folders with long names held a processor, and with it everybody else's
    /// connections, for minutes: each character of each name looked at each character of the pattern. Ten times as many
    /// folders may exist.
    #[test]
    fn many_long_names_are_held_against_the_worst_patterns() {
        let names: Vec<String> = (0..200).map(|n| format!("{n}{}", "/aaaaaaaaaaaaaa".repeat(60))).collect();
        for (pattern, matching) in [
            ("*a".repeat(500) + "b", 0),
            ("*a%".repeat(300) + "b", 0),
            ("*a".repeat(500), 200),
            ("*%".repeat(500), 200),
            ("%/".repeat(60) + "%", 200),
            ("%/".repeat(500), 0),
        ] {
            let compiled = Pattern::new(&pattern);
            assert_eq!(names.iter().filter(|name| compiled.matches(name)).count(), matching, "{pattern}");
        }
    }

    /// What RFC 9051 says, step by step, without any cleverness.
    fn matches_slowly(pattern: &[char], name: &[char]) -> bool {
        match (pattern.split_first(), name.split_first()) {
            (None, None) => true,
            (None, Some(_)) => false,
            (Some((&wild @ ('*' | '%'), rest)), _) => {
                matches_slowly(rest, name)
                    || name.split_first().is_some_and(|(&char, after)| {
                        (wild == '*' || char != DELIMITER) && matches_slowly(pattern, after)
                    })
            }
            (Some((wanted, rest)), Some((char, after))) => wanted == char && matches_slowly(rest, after),
            (Some(_), None) => false,
        }
    }

    proptest::proptest! {
        #[test]
        fn patterns_match_what_the_standard_says(pattern in "[ab/%*]{0,8}", name in "[ab/]{0,9}", pad in 0..70usize) {
            // Padding moves the places over the edge of a word.
            let (pattern, name) = ("x".repeat(pad) + &pattern, "x".repeat(pad) + &name);
            let (p, n): (Vec<char>, Vec<char>) = (pattern.chars().collect(), name.chars().collect());
            proptest::prop_assert_eq!(Pattern::new(&pattern).matches(&name), matches_slowly(&p, &n));
        }
    }

    #[test]
    fn inbox_is_one_name_in_any_case() {
        assert_eq!(split("inbox"), ["INBOX"]);
        assert_eq!(split("Inbox/a"), ["INBOX", "a"]);
        assert_eq!(split("a/inbox"), ["a", "inbox"]);
        assert_eq!(split("inbox/%").join("/"), "INBOX/%");
    }
}
