//! What is said about a message beside its octets: system flags as bits, keywords as words.

use std::borrow::Borrow;
use std::fmt;
use std::sync::Arc;

bitflags::bitflags! {
    /// The flags of RFC 9051 §2.3.2 that every store keeps.
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
    pub struct SystemFlags: u8 {
        /// `\Seen`
        const SEEN = 1;
        /// `\Answered`
        const ANSWERED = 2;
        /// `\Flagged`
        const FLAGGED = 4;
        /// `\Deleted`
        const DELETED = 8;
        /// `\Draft`
        const DRAFT = 16;
    }
}

impl SystemFlags {
    /// Every flag with its name on the wire, in the order servers list them.
    pub const NAMES: [(SystemFlags, &'static str); 5] = [
        (SystemFlags::ANSWERED, "\\Answered"),
        (SystemFlags::FLAGGED, "\\Flagged"),
        (SystemFlags::DELETED, "\\Deleted"),
        (SystemFlags::SEEN, "\\Seen"),
        (SystemFlags::DRAFT, "\\Draft"),
    ];

    /// The flag of this name, in any case.
    #[must_use]
    pub fn by_name(name: &str) -> Option<SystemFlags> {
        SystemFlags::NAMES.iter().find(|(_, known)| known.eq_ignore_ascii_case(name)).map(|(flag, _)| *flag)
    }
}

/// A word that users or programs put on a message (`$Forwarded`, `work`): an IMAP atom without `\`.
///
/// Equality and order ignore ASCII case; the spelling first seen is kept.
#[derive(Clone)]
pub struct Keyword(Arc<str>);

impl Keyword {
    /// The longest keyword a store must take, in octets.
    pub const MAX_LEN: usize = 255;

    /// A keyword, when `word` is 1 to [`MAX_LEN`](Keyword::MAX_LEN) octets of an IMAP atom (RFC 9051 §9, flag-keyword).
    #[must_use]
    pub fn new(word: &str) -> Option<Keyword> {
        let atom = |octet: &u8| octet.is_ascii_graphic() && !br#"(){%*"\]"#.contains(octet);
        let legal = !word.is_empty() && word.len() <= Keyword::MAX_LEN && word.as_bytes().iter().all(atom);
        legal.then(|| Keyword(word.into()))
    }

    /// The word as it was first spelt.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    fn folded(&self) -> impl Iterator<Item = u8> + '_ {
        self.0.bytes().map(|octet| octet.to_ascii_lowercase())
    }
}

impl PartialEq for Keyword {
    fn eq(&self, other: &Keyword) -> bool {
        self.0.eq_ignore_ascii_case(&other.0)
    }
}

impl Eq for Keyword {}

impl PartialOrd for Keyword {
    fn partial_cmp(&self, other: &Keyword) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Keyword {
    fn cmp(&self, other: &Keyword) -> std::cmp::Ordering {
        self.folded().cmp(other.folded())
    }
}

impl std::hash::Hash for Keyword {
    fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
        self.folded().for_each(|octet| state.write_u8(octet));
        state.write_u8(0xff);
    }
}

impl fmt::Debug for Keyword {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl AsRef<str> for Keyword {
    fn as_ref(&self) -> &str {
        self.as_str()
    }
}

/// System flags and keywords together. Keywords are sorted and without repetition.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FlagSet {
    /// The system flags.
    pub system: SystemFlags,
    keywords: Vec<Keyword>,
}

impl FlagSet {
    /// No flags.
    #[must_use]
    pub fn new() -> FlagSet {
        FlagSet::default()
    }

    /// Adds a keyword; the spelling already there stays.
    pub fn insert(&mut self, keyword: Keyword) {
        if let Err(at) = self.keywords.binary_search(&keyword) {
            self.keywords.insert(at, keyword);
        }
    }

    /// Removes a keyword.
    pub fn remove(&mut self, keyword: &Keyword) {
        if let Ok(at) = self.keywords.binary_search(keyword) {
            self.keywords.remove(at);
        }
    }

    /// The keywords, in order.
    #[must_use]
    pub fn keywords(&self) -> &[Keyword] {
        &self.keywords
    }

    /// Whether this keyword is set.
    #[must_use]
    pub fn contains<K: Borrow<Keyword>>(&self, keyword: K) -> bool {
        self.keywords.binary_search(keyword.borrow()).is_ok()
    }

    /// Whether nothing is set.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.system.is_empty() && self.keywords.is_empty()
    }
}

impl From<SystemFlags> for FlagSet {
    fn from(system: SystemFlags) -> FlagSet {
        FlagSet { system, keywords: Vec::new() }
    }
}

impl FromIterator<Keyword> for FlagSet {
    fn from_iter<I: IntoIterator<Item = Keyword>>(keywords: I) -> FlagSet {
        let mut set = FlagSet::new();
        keywords.into_iter().for_each(|keyword| set.insert(keyword));
        set
    }
}

/// A change of flags, always as a delta or a replacement, so that two writers never undo each other unknowingly.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FlagChange {
    /// Sets these, leaves the others.
    Add(FlagSet),
    /// Clears these, leaves the others.
    Remove(FlagSet),
    /// Sets exactly these.
    Replace(FlagSet),
}

impl FlagChange {
    /// What `flags` become.
    #[must_use]
    pub fn apply(&self, flags: &FlagSet) -> FlagSet {
        match self {
            FlagChange::Add(added) => {
                let mut result = flags.clone();
                result.system |= added.system;
                added.keywords.iter().for_each(|keyword| result.insert(keyword.clone()));
                result
            }
            FlagChange::Remove(removed) => {
                let mut result = flags.clone();
                result.system -= removed.system;
                removed.keywords.iter().for_each(|keyword| result.remove(keyword));
                result
            }
            FlagChange::Replace(new) => new.clone(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keyword(word: &str) -> Keyword {
        Keyword::new(word).unwrap()
    }

    #[test]
    fn keywords_ignore_case_and_keep_the_first_spelling() {
        let mut set = FlagSet::new();
        set.insert(keyword("$Forwarded"));
        set.insert(keyword("$forwarded"));
        assert_eq!(set.keywords().len(), 1);
        assert_eq!(set.keywords()[0].as_str(), "$Forwarded");
        set.remove(&keyword("$FORWARDED"));
        assert!(set.is_empty());
    }

    #[test]
    fn keywords_are_atoms() {
        for bad in ["", "\\Seen", "a b", "a(b", "a]", "ä", "x\u{7f}", "a%"] {
            assert!(Keyword::new(bad).is_none(), "{bad:?}");
        }
        assert!(Keyword::new(&"x".repeat(256)).is_none());
    }

    #[test]
    fn changes_are_deltas() {
        let mut flags = FlagSet::from(SystemFlags::SEEN);
        flags.insert(keyword("work"));
        let mut change = FlagSet::from(SystemFlags::FLAGGED);
        change.insert(keyword("play"));
        let added = FlagChange::Add(change.clone()).apply(&flags);
        assert_eq!(added.system, SystemFlags::SEEN | SystemFlags::FLAGGED);
        assert_eq!(added.keywords().len(), 2);
        assert_eq!(FlagChange::Remove(change.clone()).apply(&added), flags);
        assert_eq!(FlagChange::Replace(change.clone()).apply(&flags), change);
    }
}
