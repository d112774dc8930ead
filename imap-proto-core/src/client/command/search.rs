//! SEARCH (RFC 9051 §6.4.4, RFC 4731, RFC 5182, RFC 7162 §3.1.5).

use mailstore_trait::date::DateTime;
use mailstore_trait::flags::{Keyword, SystemFlags};
use mailstore_trait::uid_set::UidSet;

use super::wire::Wire;
use super::{Kind, NotTaken};
use crate::client::capabilities::Capabilities;
use crate::client::value::ModSeq;

bitflags::bitflags! {
    /// What a search is to tell (RFC 4731 §3.1).
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
    pub struct SearchReturn: u8 {
        /// `MIN`
        const MIN = 1;
        /// `MAX`
        const MAX = 2;
        /// `COUNT`
        const COUNT = 4;
        /// `ALL`
        const ALL = 8;
        /// `SAVE`: needs SEARCHRES (RFC 5182).
        const SAVE = 16;
    }
}

/// A search.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Search {
    /// Whether messages are told by UID, not by number.
    pub uid: bool,
    /// What to tell. A server without ESEARCH is asked for everything, and what is wanted is computed from that.
    pub returns: SearchReturn,
    /// What must all be true of a message; nothing means all messages.
    pub keys: Vec<Key>,
}

impl Search {
    /// The UIDs of the messages of which all this is true.
    #[must_use]
    pub fn new(keys: impl IntoIterator<Item = Key>) -> Search {
        Search { uid: true, returns: SearchReturn::ALL, keys: keys.into_iter().collect() }
    }
}

/// Something that is true of a message or not. Dates are days; their time and zone do not matter.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum Key {
    /// `UID`
    Uid(UidSet),
    /// One of these flags is set: `SEEN`, `FLAGGED`….
    Flag(SystemFlags),
    /// `KEYWORD`
    Keyword(Keyword),
    /// `FROM`
    From(String),
    /// `TO`
    To(String),
    /// `CC`
    Cc(String),
    /// `BCC`
    Bcc(String),
    /// `SUBJECT`
    Subject(String),
    /// `BODY`
    Body(String),
    /// `TEXT`
    Text(String),
    /// `HEADER`: a field, and what is in it.
    Header(String, String),
    /// `BEFORE`
    Before(DateTime),
    /// `ON`
    On(DateTime),
    /// `SINCE`
    Since(DateTime),
    /// `SENTBEFORE`
    SentBefore(DateTime),
    /// `SENTON`
    SentOn(DateTime),
    /// `SENTSINCE`
    SentSince(DateTime),
    /// `LARGER`
    Larger(u64),
    /// `SMALLER`
    Smaller(u64),
    /// `MODSEQ`: needs CONDSTORE.
    ModSeq(ModSeq),
    /// `NOT`
    Not(Box<Key>),
    /// `OR`
    Or(Box<(Key, Key)>),
    /// All of these.
    All(Vec<Key>),
}

impl Search {
    pub(super) fn kind(&self) -> Kind {
        Kind::Search { uid: self.uid, all: self.returns.contains(SearchReturn::ALL), told: false }
    }

    pub(super) fn write(&self, wire: &mut Wire, offers: &Capabilities) -> Result<(), NotTaken> {
        let short = offers.has_folded("ESEARCH");
        let save = self.returns.contains(SearchReturn::SAVE);
        if save && !(short && offers.has_folded("SEARCHRES")) {
            return Err(NotTaken::Unsupported);
        }
        wire.word(if self.uid { "UID SEARCH" } else { "SEARCH" });
        if short {
            // RFC 4731 §3.1: without a word in the parentheses it would be ALL, but not every server knows.
            let returns = if self.returns.is_empty() { SearchReturn::ALL } else { self.returns };
            wire.word(" RETURN (");
            wire.list(returns.iter_names().map(|(name, _)| name));
            wire.word(")");
        }
        // RFC 9755 §3: where UTF-8 is enabled there is no charset to say.
        if !wire.utf8() && !self.keys.iter().all(Key::is_ascii) {
            wire.word(" CHARSET UTF-8");
        }
        if self.keys.is_empty() {
            wire.word(" ALL");
        }
        for key in &self.keys {
            wire.word(" ");
            key.write(wire)?;
        }
        Ok(())
    }
}

impl Key {
    fn is_ascii(&self) -> bool {
        match self {
            Key::From(text)
            | Key::To(text)
            | Key::Cc(text)
            | Key::Bcc(text)
            | Key::Subject(text)
            | Key::Body(text)
            | Key::Text(text) => text.is_ascii(),
            Key::Header(name, text) => name.is_ascii() && text.is_ascii(),
            Key::Not(key) => key.is_ascii(),
            Key::Or(keys) => keys.0.is_ascii() && keys.1.is_ascii(),
            Key::All(keys) => keys.iter().all(Key::is_ascii),
            _ => true,
        }
    }

    fn write(&self, wire: &mut Wire) -> Result<(), NotTaken> {
        let text = |wire: &mut Wire, word: &str, text: &str| {
            wire.word(word);
            wire.string(text.as_bytes());
        };
        let number = |wire: &mut Wire, word: &str, number: u64| {
            wire.word(word);
            wire.number(number);
        };
        let day = |wire: &mut Wire, word: &str, date: &DateTime| {
            wire.word(word);
            let date = date.imap().to_string();
            wire.word(date.split(' ').find(|word| !word.is_empty()).unwrap_or_default());
        };
        match self {
            Key::Uid(uids) if uids.is_empty() => return Err(NotTaken::Illegal),
            Key::Uid(uids) => {
                wire.word("UID ");
                wire.set(uids);
            }
            Key::Flag(flags) => {
                let names = [
                    (SystemFlags::SEEN, "SEEN"),
                    (SystemFlags::ANSWERED, "ANSWERED"),
                    (SystemFlags::FLAGGED, "FLAGGED"),
                    (SystemFlags::DELETED, "DELETED"),
                    (SystemFlags::DRAFT, "DRAFT"),
                ];
                let wanted: Vec<&str> =
                    names.into_iter().filter(|(flag, _)| flags.contains(*flag)).map(|(_, name)| name).collect();
                let Some((last, others)) = wanted.split_last() else { return Err(NotTaken::Illegal) };
                for name in others {
                    wire.word("OR ");
                    wire.word(name);
                    wire.word(" ");
                }
                wire.word(last);
            }
            Key::Keyword(keyword) => {
                wire.word("KEYWORD ");
                wire.word(keyword.as_str());
            }
            Key::From(from) => text(wire, "FROM ", from),
            Key::To(to) => text(wire, "TO ", to),
            Key::Cc(cc) => text(wire, "CC ", cc),
            Key::Bcc(bcc) => text(wire, "BCC ", bcc),
            Key::Subject(subject) => text(wire, "SUBJECT ", subject),
            Key::Body(body) => text(wire, "BODY ", body),
            Key::Text(anywhere) => text(wire, "TEXT ", anywhere),
            Key::Header(name, value) => {
                text(wire, "HEADER ", name);
                text(wire, " ", value);
            }
            Key::Before(date) => day(wire, "BEFORE ", date),
            Key::On(date) => day(wire, "ON ", date),
            Key::Since(date) => day(wire, "SINCE ", date),
            Key::SentBefore(date) => day(wire, "SENTBEFORE ", date),
            Key::SentOn(date) => day(wire, "SENTON ", date),
            Key::SentSince(date) => day(wire, "SENTSINCE ", date),
            Key::Larger(octets) => number(wire, "LARGER ", *octets),
            Key::Smaller(octets) => number(wire, "SMALLER ", *octets),
            Key::ModSeq(modseq) => number(wire, "MODSEQ ", modseq.0),
            Key::Not(key) => {
                wire.word("NOT ");
                key.write(wire)?;
            }
            Key::Or(keys) => {
                wire.word("OR ");
                keys.0.write(wire)?;
                wire.word(" ");
                keys.1.write(wire)?;
            }
            Key::All(keys) if keys.is_empty() => wire.word("ALL"),
            Key::All(keys) => {
                wire.word("(");
                for (at, key) in keys.iter().enumerate() {
                    wire.word(if at == 0 { "" } else { " " });
                    key.write(wire)?;
                }
                wire.word(")");
            }
        }
        Ok(())
    }
}
