//! LIST, LSUB, STATUS, NAMESPACE and ID (RFC 9051 §7.3.1, §7.3.2, §7.3.3; RFC 2971 §3.2).

use std::fmt;

use super::Bounds;
use super::reader::{Reader, Result, lossy};
use crate::client::value::{Mailbox, ModSeq};
use crate::error::Expected;

bitflags::bitflags! {
    /// What LIST tells of a mailbox (RFC 9051 §7.3.1, RFC 6154 §2).
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
    pub struct Attributes: u32 {
        /// `\NonExistent`: there is no such mailbox. Implies [`NO_SELECT`](Attributes::NO_SELECT).
        const NON_EXISTENT = 1;
        /// `\Noselect`
        const NO_SELECT = 2;
        /// `\Noinferiors`
        const NO_INFERIORS = 4;
        /// `\HasChildren`
        const HAS_CHILDREN = 8;
        /// `\HasNoChildren`
        const HAS_NO_CHILDREN = 16;
        /// `\Marked`
        const MARKED = 32;
        /// `\Unmarked`
        const UNMARKED = 64;
        /// `\Subscribed`
        const SUBSCRIBED = 128;
        /// `\Remote`
        const REMOTE = 256;
        /// `\All`
        const ALL = 512;
        /// `\Archive`
        const ARCHIVE = 1024;
        /// `\Drafts`
        const DRAFTS = 2048;
        /// `\Flagged`
        const FLAGGED = 4096;
        /// `\Junk`
        const JUNK = 8192;
        /// `\Sent`
        const SENT = 16384;
        /// `\Trash`
        const TRASH = 32768;
        /// `\Important` (RFC 8457 §3)
        const IMPORTANT = 65536;
    }
}

/// The attributes by their names, those of XLIST and other old servers too.
const ATTRIBUTES: [(&str, Attributes); 20] = [
    ("\\NonExistent", Attributes::NON_EXISTENT.union(Attributes::NO_SELECT)),
    ("\\Noselect", Attributes::NO_SELECT),
    ("\\Noinferiors", Attributes::NO_INFERIORS),
    ("\\HasChildren", Attributes::HAS_CHILDREN),
    ("\\HasNoChildren", Attributes::HAS_NO_CHILDREN),
    ("\\Marked", Attributes::MARKED),
    ("\\Unmarked", Attributes::UNMARKED),
    ("\\Subscribed", Attributes::SUBSCRIBED),
    ("\\Remote", Attributes::REMOTE),
    ("\\All", Attributes::ALL),
    ("\\AllMail", Attributes::ALL),
    ("\\Archive", Attributes::ARCHIVE),
    ("\\Drafts", Attributes::DRAFTS),
    ("\\Flagged", Attributes::FLAGGED),
    ("\\Starred", Attributes::FLAGGED),
    ("\\Junk", Attributes::JUNK),
    ("\\Spam", Attributes::JUNK),
    ("\\Sent", Attributes::SENT),
    ("\\Trash", Attributes::TRASH),
    ("\\Important", Attributes::IMPORTANT),
];

/// A row of LIST or LSUB.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Listed {
    /// Its name.
    pub mailbox: Mailbox,
    /// What is known of it.
    pub attributes: Attributes,
    /// What parts the levels of its name; `None` where there are no levels.
    pub delimiter: Option<char>,
    /// Whether this is LSUB's: a name that is subscribed to, or leads to one that is.
    pub lsub: bool,
    /// Whether it is listed for the sake of subscribed mailboxes below it (`CHILDINFO`, RFC 5258 §4).
    pub child_subscribed: bool,
    /// What it was called before, or as what the server was asked for it (`OLDNAME`, RFC 9051 §6.3.9.7).
    pub old_name: Option<Mailbox>,
}

/// `(attributes) delimiter mailbox`, and extended items in parentheses behind it.
pub(super) fn list(reader: &mut Reader<'_>, bounds: &Bounds, lsub: bool) -> Result<Listed> {
    let mut attributes = Attributes::empty();
    reader.open()?;
    while !reader.closes() {
        let word = reader.word();
        if word.is_empty() {
            return reader.fail(Expected::Flag);
        }
        let known = ATTRIBUTES.iter().find(|(name, _)| name.as_bytes().eq_ignore_ascii_case(word));
        attributes |= known.map_or(Attributes::empty(), |(_, attribute)| *attribute);
    }
    let delimiter = reader.nstring()?.and_then(|delimiter| lossy(&delimiter).chars().next());
    let name = reader.astring()?;
    // RFC 3501 §5.1: some servers end the names of mailboxes that only hold others with the delimiter.
    let mailbox = Mailbox::read(&name, bounds.utf8);
    let (mut child_subscribed, mut old_name) = (false, None);
    reader.spaces();
    if reader.eat(b'(') {
        while !reader.closes() {
            let tag = reader.astring()?;
            if tag.eq_ignore_ascii_case(b"OLDNAME") {
                reader.open()?;
                old_name = Some(Mailbox::read(&reader.astring()?, bounds.utf8));
                if !reader.closes() {
                    return reader.fail(Expected::Close);
                }
            } else if tag.eq_ignore_ascii_case(b"CHILDINFO") {
                reader.open()?;
                while !reader.closes() {
                    child_subscribed |= reader.astring()?.eq_ignore_ascii_case(b"SUBSCRIBED");
                }
            } else {
                reader.skip()?;
            }
        }
    }
    Ok(Listed { mailbox, attributes, delimiter, lsub, child_subscribed, old_name })
}

/// What STATUS tells (RFC 9051 §6.3.11); nothing of what was not asked for or is not known.
#[derive(Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct StatusRow {
    /// Of which mailbox.
    pub mailbox: Mailbox,
    /// `MESSAGES`
    pub messages: Option<u32>,
    /// `RECENT`
    pub recent: Option<u32>,
    /// `UIDNEXT`
    pub uid_next: Option<u32>,
    /// `UIDVALIDITY`
    pub uid_validity: Option<u32>,
    /// `UNSEEN`
    pub unseen: Option<u32>,
    /// `DELETED`
    pub deleted: Option<u32>,
    /// `SIZE`: octets of all messages.
    pub size: Option<u64>,
    /// `APPENDLIMIT`: octets of the largest message it takes.
    pub append_limit: Option<u64>,
    /// `HIGHESTMODSEQ`
    pub highest_modseq: Option<ModSeq>,
    /// `MAILBOXID`
    pub mailbox_id: Option<String>,
}

impl fmt::Debug for StatusRow {
    /// Only what was told.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut row = f.debug_struct("StatusRow");
        row.field("mailbox", &self.mailbox);
        super::told(&mut row, "messages", &self.messages);
        super::told(&mut row, "recent", &self.recent);
        super::told(&mut row, "uid_next", &self.uid_next);
        super::told(&mut row, "uid_validity", &self.uid_validity);
        super::told(&mut row, "unseen", &self.unseen);
        super::told(&mut row, "deleted", &self.deleted);
        super::told(&mut row, "size", &self.size);
        super::told(&mut row, "append_limit", &self.append_limit);
        super::told(&mut row, "highest_modseq", &self.highest_modseq);
        super::told(&mut row, "mailbox_id", &self.mailbox_id);
        row.finish()
    }
}

/// `mailbox (ITEM value …)`
pub(super) fn status(reader: &mut Reader<'_>, bounds: &Bounds) -> Result<StatusRow> {
    let mut row = StatusRow {
        mailbox: Mailbox::read(&reader.astring()?, bounds.utf8),
        messages: None,
        recent: None,
        uid_next: None,
        uid_validity: None,
        unseen: None,
        deleted: None,
        size: None,
        append_limit: None,
        highest_modseq: None,
        mailbox_id: None,
    };
    reader.open()?;
    while !reader.closes() {
        let name = lossy(reader.word()).to_ascii_uppercase();
        reader.spaces();
        match name.as_str() {
            "" => return reader.fail(Expected::StatusItem),
            // RFC 7889 §3.1: NIL where there is no limit, and servers say so of other items.
            _ if reader.eat_word(b"NIL") => {}
            "MESSAGES" => row.messages = Some(reader.number32()?),
            "RECENT" => row.recent = Some(reader.number32()?),
            "UIDNEXT" => row.uid_next = Some(reader.number32()?),
            "UIDVALIDITY" => row.uid_validity = Some(reader.number32()?),
            "UNSEEN" => row.unseen = Some(reader.number32()?),
            "DELETED" => row.deleted = Some(reader.number32()?),
            "SIZE" => row.size = Some(reader.number()?),
            "APPENDLIMIT" => row.append_limit = Some(reader.number()?),
            "HIGHESTMODSEQ" => row.highest_modseq = Some(ModSeq(reader.number()?)),
            "MAILBOXID" => {
                reader.open()?;
                row.mailbox_id = Some(reader.string()?);
                if !reader.closes() {
                    return reader.fail(Expected::Close);
                }
            }
            _ => reader.skip()?,
        }
    }
    Ok(row)
}

/// A namespace: what its names begin with, and what parts their levels.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Namespace {
    /// The prefix, as a mailbox's name.
    pub prefix: Mailbox,
    /// The delimiter.
    pub delimiter: Option<char>,
}

/// NAMESPACE's answer (RFC 9051 §6.3.10).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Namespaces {
    /// One's own.
    pub personal: Vec<Namespace>,
    /// Other users'.
    pub other: Vec<Namespace>,
    /// Shared.
    pub shared: Vec<Namespace>,
}

pub(super) fn namespace(reader: &mut Reader<'_>) -> Result<Namespaces> {
    Ok(Namespaces { personal: kind(reader)?, other: kind(reader)?, shared: kind(reader)? })
}

fn kind(reader: &mut Reader<'_>) -> Result<Vec<Namespace>> {
    let mut namespaces = Vec::new();
    reader.spaces();
    if reader.eat_word(b"NIL") {
        return Ok(namespaces);
    }
    reader.open()?;
    while !reader.closes() {
        reader.open()?;
        let prefix = reader.astring()?;
        let delimiter = reader.nstring()?.and_then(|delimiter| lossy(&delimiter).chars().next());
        namespaces.push(Namespace { prefix: Mailbox::read(&prefix, false), delimiter });
        // Extensions of a namespace: a name and a list of values.
        while !reader.closes() {
            reader.skip()?;
        }
    }
    Ok(namespaces)
}

/// ID's fields and values; NIL is none.
pub(super) fn id(reader: &mut Reader<'_>) -> Result<Vec<(String, Option<String>)>> {
    let mut fields = Vec::new();
    reader.spaces();
    if reader.eat_word(b"NIL") {
        return Ok(fields);
    }
    reader.open()?;
    while !reader.closes() {
        let name = reader.string()?;
        fields.push((name, reader.nstring()?.map(|value| lossy(&value))));
    }
    Ok(fields)
}
