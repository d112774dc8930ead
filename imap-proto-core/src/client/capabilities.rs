//! What a server offers (RFC 9051 §6.1.1, §7.2.2), and what was enabled of it.

use mailstore_trait::sasl::Mechanism;

/// What a server says it can do.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Capabilities {
    words: Vec<String>,
}

impl Capabilities {
    pub(super) fn new(words: Vec<String>) -> Capabilities {
        Capabilities { words }
    }

    /// Whether the server offers this, in any case of letters: `IDLE`, `AUTH=PLAIN`.
    #[must_use]
    pub fn has(&self, name: &str) -> bool {
        self.words.iter().any(|word| word.eq_ignore_ascii_case(name))
    }

    /// Whether the server offers this by itself or as a part of IMAP4rev2 (RFC 9051 appendix E).
    #[must_use]
    pub fn has_folded(&self, name: &str) -> bool {
        self.has(name) || self.has("IMAP4rev2")
    }

    /// The words, as the server said them.
    pub fn iter(&self) -> impl Iterator<Item = &str> {
        self.words.iter().map(String::as_str)
    }

    /// What stands behind this and `=`: `1000` for `APPENDLIMIT`.
    pub fn values<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a str> {
        self.iter().filter_map(move |word| {
            let (head, value) = word.split_once('=')?;
            head.eq_ignore_ascii_case(name).then_some(value)
        })
    }

    /// The SASL mechanisms that are known here.
    pub fn mechanisms(&self) -> impl Iterator<Item = Mechanism> {
        self.values("AUTH").filter_map(|name| Mechanism::parse(name.as_bytes()))
    }

    /// Octets of the largest message any mailbox takes (RFC 7889 §2), where the server says it.
    #[must_use]
    pub fn append_limit(&self) -> Option<u64> {
        self.values("APPENDLIMIT").find_map(|value| value.parse().ok())
    }

    /// The largest literal that may be sent without waiting (RFC 7888 §3, §5); nothing where none may.
    pub(super) fn unasked(&self) -> Option<u64> {
        if self.has("LITERAL+") { Some(u64::MAX) } else { self.has_folded("LITERAL-").then_some(4096) }
    }
}

/// What ENABLE switched on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Enabled {
    /// CONDSTORE: rows tell mod-sequences.
    pub condstore: bool,
    /// QRESYNC: removals are told by UID, and SELECT tells what was missed.
    pub qresync: bool,
    /// UTF8=ACCEPT, or IMAP4rev2: mailbox names are UTF-8.
    pub utf8: bool,
    /// IMAP4rev2.
    pub rev2: bool,
}

impl Enabled {
    pub(super) fn add(&mut self, words: &[String]) {
        let has = |name: &str| words.iter().any(|word| word.eq_ignore_ascii_case(name));
        // RFC 7162 §3.2.3: QRESYNC brings CONDSTORE.
        self.qresync |= has("QRESYNC");
        self.condstore |= self.qresync || has("CONDSTORE");
        self.rev2 |= has("IMAP4rev2");
        self.utf8 |= self.rev2 || has("UTF8=ACCEPT");
    }
}
