//! What a client can be told to do (RFC 9051 §6, RFC 3501 §6).
//!
//! Login comes by itself. A command is written for the server at hand: strings take the form it needs, literals wait
//! where they must, and a search asks for the short form of its answer where that can be had.

mod search;
mod wire;

use std::fmt::Write;

use bytes::BufMut;
use mailstore_trait::date::DateTime;
use mailstore_trait::flags::{FlagChange, FlagSet, SystemFlags};
use mailstore_trait::id::{SeqNum, Uid, UidValidity};
use mailstore_trait::uid_set::UidSet;

use super::capabilities::{Capabilities, Enabled};
use super::event::NotTaken;
use super::response::Attributes;
use super::value::{Mailbox, ModSeq, Section};
use crate::command::{ListReturn, ListSelect, STATUS_NAMES, StatusItems};

pub use search::{Key, Search, SearchReturn};
pub(super) use wire::Wire;

/// A command and the number by which its events name it. Numbers are the embedder's own; `u64::MAX` is the client's.
#[derive(Clone, Debug, PartialEq)]
pub struct Task {
    /// The number.
    pub ticket: u64,
    /// The command.
    pub command: Command,
}

impl Task {
    /// A command with a number.
    #[must_use]
    pub fn new(ticket: u64, command: Command) -> Task {
        Task { ticket, command }
    }
}

/// A command.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum Command {
    /// NOOP: nothing, but the server may tell what has changed.
    Noop,
    /// NAMESPACE. Told by [`Data::Namespace`](super::Data::Namespace).
    Namespace,
    /// ID. Told by [`Data::Id`](super::Data::Id).
    Id(Vec<(String, String)>),
    /// LIST, or LSUB where only that can tell what is subscribed. Told by [`Data::List`](super::Data::List).
    List(List),
    /// STATUS. Told by [`Data::Status`](super::Data::Status).
    Status(Mailbox, StatusItems),
    /// CREATE, for special uses where the server offers that (RFC 6154 §3).
    Create(Mailbox, Attributes),
    /// DELETE.
    Delete(Mailbox),
    /// RENAME from one name to another.
    Rename(Mailbox, Mailbox),
    /// SUBSCRIBE.
    Subscribe(Mailbox),
    /// UNSUBSCRIBE.
    Unsubscribe(Mailbox),
    /// SELECT or EXAMINE.
    Select(Select),
    /// CLOSE: expunges quietly and selects nothing.
    Close,
    /// UNSELECT: selects nothing (RFC 3691).
    Unselect,
    /// FETCH. Told by [`Data::Fetch`](super::Data::Fetch); octets come as questions
    /// ([`BodyChunk`](super::BodyChunk)).
    Fetch(Fetch),
    /// STORE.
    Store(Store),
    /// SEARCH. Told by [`Event::Found`](super::Event::Found).
    Search(Search),
    /// COPY.
    Copy(Messages, Mailbox),
    /// MOVE (RFC 6851).
    Move(Messages, Mailbox),
    /// EXPUNGE, or UID EXPUNGE of these (RFC 4315 §2.1).
    Expunge(Option<UidSet>),
    /// APPEND. The message is asked for ([`ReadMessage`](super::ReadMessage)).
    Append(Append),
    /// IDLE, or NOOP every now and then where the server knows no IDLE: changes are told until the next command. It is
    /// done when the next command is given.
    Idle,
    /// LOGOUT: the session ends.
    Logout,
    /// A command of this text, without tag and line end, for what is not known here.
    Raw(String),
}

/// Which messages.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Messages {
    /// Those with these UIDs.
    Uids(UidSet),
    /// Those with this UID or a larger one, and in any case the one with the largest (RFC 9051 §9, seq-range).
    From(Uid),
    /// Those with these numbers, the first and the last; up to the largest when the last is `None`. Such a command waits
    /// until no other is under way that could change the numbers (RFC 9051 §5.5), and is not sent when they have changed
    /// ([`NotTaken::Renumbered`]).
    Numbers(SeqNum, Option<SeqNum>),
    /// What a search saved (RFC 5182 §2.1), as UIDs.
    Saved,
}

impl Messages {
    fn is_uid(&self) -> bool {
        !matches!(self, Messages::Numbers(..))
    }

    fn is_empty(&self) -> bool {
        matches!(self, Messages::Uids(uids) if uids.is_empty())
    }
}

/// LIST's arguments (RFC 9051 §6.3.9, RFC 5258, RFC 5819).
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct List {
    /// What the patterns begin at; usually empty.
    pub reference: String,
    /// Names in which `%` and `*` stand for others. Several need LIST-EXTENDED.
    pub patterns: Vec<String>,
    /// Which of them.
    pub select: ListSelect,
    /// What to tell; where the server can't be asked, it tells what it likes.
    pub returns: ListReturn,
    /// STATUS of each, where the server offers LIST-STATUS.
    pub status: StatusItems,
}

impl List {
    /// Everything that matches.
    #[must_use]
    pub fn new(pattern: &str) -> List {
        List {
            reference: String::new(),
            patterns: vec![pattern.to_owned()],
            select: ListSelect::empty(),
            returns: ListReturn::empty(),
            status: StatusItems::empty(),
        }
    }
}

/// SELECT's arguments.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Select {
    /// The mailbox.
    pub mailbox: Mailbox,
    /// EXAMINE: nothing is changed.
    pub read_only: bool,
    /// Whether mod-sequences are to be told (RFC 7162 §3.1.8).
    pub condstore: bool,
    /// What is known of the mailbox, so that the server tells what has changed (RFC 7162 §3.2.5).
    pub qresync: Option<Known>,
}

/// What is known of a mailbox.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Known {
    /// Its UIDVALIDITY.
    pub uid_validity: UidValidity,
    /// Up to where its changes are known.
    pub modseq: ModSeq,
    /// Which messages are known; every one there was when not said.
    pub uids: Option<UidSet>,
}

impl Select {
    /// SELECT.
    #[must_use]
    pub fn new(mailbox: Mailbox) -> Select {
        Select { mailbox, read_only: false, condstore: false, qresync: None }
    }

    /// EXAMINE.
    #[must_use]
    pub fn read_only(mailbox: Mailbox) -> Select {
        Select { read_only: true, ..Select::new(mailbox) }
    }
}

bitflags::bitflags! {
    /// What FETCH is to bring.
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
    pub struct Items: u16 {
        /// `UID`; comes by itself where messages are named by UID.
        const UID = 1;
        /// `FLAGS`
        const FLAGS = 2;
        /// `INTERNALDATE`
        const INTERNAL_DATE = 4;
        /// `RFC822.SIZE`
        const SIZE = 8;
        /// `ENVELOPE`
        const ENVELOPE = 16;
        /// `BODYSTRUCTURE`
        const STRUCTURE = 32;
        /// `BODY`: the structure without what extends it.
        const BODY = 64;
        /// `MODSEQ` (RFC 7162 §3.1.4.2)
        const MODSEQ = 128;
        /// `EMAILID` (RFC 8474)
        const EMAIL_ID = 256;
        /// `THREADID` (RFC 8474)
        const THREAD_ID = 512;
        /// `SAVEDATE` (RFC 8514)
        const SAVE_DATE = 1024;
        /// `PREVIEW` (RFC 8970)
        const PREVIEW = 2048;
    }
}

const ITEM_NAMES: [(Items, &str); 12] = [
    (Items::UID, "UID"),
    (Items::FLAGS, "FLAGS"),
    (Items::INTERNAL_DATE, "INTERNALDATE"),
    (Items::SIZE, "RFC822.SIZE"),
    (Items::ENVELOPE, "ENVELOPE"),
    (Items::STRUCTURE, "BODYSTRUCTURE"),
    (Items::BODY, "BODY"),
    (Items::MODSEQ, "MODSEQ"),
    (Items::EMAIL_ID, "EMAILID"),
    (Items::THREAD_ID, "THREADID"),
    (Items::SAVE_DATE, "SAVEDATE"),
    (Items::PREVIEW, "PREVIEW"),
];

/// FETCH's arguments (RFC 9051 §6.4.5, RFC 7162 §3.1.4).
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Fetch {
    /// Which messages.
    pub messages: Messages,
    /// What of them.
    pub items: Items,
    /// Pieces of them.
    pub sections: Vec<Piece>,
    /// Only those that changed after this.
    pub changed_since: Option<ModSeq>,
    /// Whether to tell of those that went since then, too; needs QRESYNC (RFC 7162 §3.2.6).
    pub vanished: bool,
}

/// A piece of a message to bring.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Piece {
    /// Which section.
    pub section: Section,
    /// Whether fetching it leaves `\Seen` as it is.
    pub peek: bool,
    /// Whether its transfer encoding is to be taken off; needs BINARY (RFC 3516).
    pub binary: bool,
    /// The first octet, and how many.
    pub partial: Option<(u64, u64)>,
}

impl Piece {
    /// The section as it is, without `\Seen` being set.
    #[must_use]
    pub fn peek(section: Section) -> Piece {
        Piece { section, peek: true, binary: false, partial: None }
    }
}

impl Fetch {
    /// These items of these messages.
    #[must_use]
    pub fn new(messages: Messages, items: Items) -> Fetch {
        Fetch { messages, items, sections: Vec::new(), changed_since: None, vanished: false }
    }

    /// The same with a piece of each message.
    #[must_use]
    pub fn with(mut self, piece: Piece) -> Fetch {
        self.sections.push(piece);
        self
    }
}

/// STORE's arguments (RFC 9051 §6.4.6, RFC 7162 §3.1.3).
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Store {
    /// Which messages.
    pub messages: Messages,
    /// What becomes of their flags.
    pub change: FlagChange,
    /// Whether the new flags need not be told. Who keeps a [`Replica`](super::Replica) wants them told.
    pub silent: bool,
    /// Only those that have not changed after this; the others are told by [`Code::Modified`](super::Code::Modified).
    pub unchanged_since: Option<ModSeq>,
}

impl Store {
    /// This change of these messages, told.
    #[must_use]
    pub fn new(messages: Messages, change: FlagChange) -> Store {
        Store { messages, change, silent: false, unchanged_since: None }
    }
}

/// APPEND's arguments (RFC 9051 §6.3.12).
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Append {
    /// Where to.
    pub mailbox: Mailbox,
    /// Its flags.
    pub flags: FlagSet,
    /// Its internal date; the server's time when not said.
    pub date: Option<DateTime>,
    /// Its octets.
    pub size: u64,
}

impl Append {
    /// A message of so many octets.
    #[must_use]
    pub fn new(mailbox: Mailbox, size: u64) -> Append {
        Append { mailbox, flags: FlagSet::new(), date: None, size }
    }
}

/// What a command means for those beside it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// Nothing.
    Plain,
    /// Nothing may be under way beside it.
    Alone,
    /// The same: it selects a mailbox, by QRESYNC or not.
    Select { resync: bool },
    /// The same: it leaves the mailbox.
    Close,
    /// The same: the session ends behind it.
    Logout,
    /// It names messages by numbers, and bars EXPUNGE while it runs (RFC 9051 §7.5.1).
    Numbers,
    /// A search, by UID or by number; what it finds is asked for as a set; whether it was told.
    Search { uid: bool, all: bool, told: bool },
}

impl Kind {
    /// Whether it changes what others mean, so that nothing may be under way beside it.
    pub(super) fn is_alone(self) -> bool {
        matches!(self, Kind::Alone | Kind::Select { .. } | Kind::Close | Kind::Logout)
    }

    /// Whether it names messages by numbers, or tells them so.
    pub(super) fn has_numbers(self) -> bool {
        matches!(self, Kind::Numbers | Kind::Search { uid: false, .. })
    }
}

impl Command {
    pub(super) fn kind(&self) -> Kind {
        let by_number = |messages: &Messages| if messages.is_uid() { Kind::Plain } else { Kind::Numbers };
        match self {
            Command::Select(select) => Kind::Select { resync: select.qresync.is_some() },
            Command::Close | Command::Unselect => Kind::Close,
            Command::Logout => Kind::Logout,
            // Whatever a raw command does is not known.
            Command::Idle | Command::Raw(_) => Kind::Alone,
            Command::Fetch(fetch) => by_number(&fetch.messages),
            Command::Store(store) => by_number(&store.messages),
            // These may expunge, and so have to be alone with their numbers.
            Command::Copy(messages, _) | Command::Move(messages, _) if !messages.is_uid() => Kind::Alone,
            Command::Search(search) => search.kind(),
            _ => Kind::Plain,
        }
    }

    /// Whether it names messages by numbers.
    pub(super) fn has_numbers(&self) -> bool {
        let messages = match self {
            Command::Fetch(fetch) => &fetch.messages,
            Command::Store(store) => &store.messages,
            Command::Copy(messages, _) | Command::Move(messages, _) => messages,
            _ => return false,
        };
        !messages.is_uid()
    }

    /// The octets of the message that follows.
    pub(super) fn message(&self) -> Option<u64> {
        match self {
            Command::Append(append) => Some(append.size),
            _ => None,
        }
    }

    /// Writes the command without its tag. IDLE is not written here.
    pub(super) fn write(&self, wire: &mut Wire, offers: &Capabilities, enabled: Enabled) -> Result<(), NotTaken> {
        let needs = |offered: bool| if offered { Ok(()) } else { Err(NotTaken::Unsupported) };
        match self {
            Command::Noop => wire.word("NOOP"),
            Command::Namespace => {
                needs(offers.has_folded("NAMESPACE"))?;
                wire.word("NAMESPACE");
            }
            Command::Id(fields) => {
                needs(offers.has("ID"))?;
                write_id(fields, wire);
            }
            Command::List(list) => list.write(wire, offers)?,
            Command::Status(mailbox, items) => {
                if items.is_empty() {
                    return Err(NotTaken::Illegal);
                }
                wire.word("STATUS ");
                wire.mailbox(mailbox);
                status_items(*items, wire);
            }
            Command::Create(mailbox, uses) => {
                wire.word("CREATE ");
                wire.mailbox(mailbox);
                if !uses.is_empty() {
                    needs(offers.has("CREATE-SPECIAL-USE"))?;
                    wire.word(" (USE (");
                    wire.list(uses.iter_names().filter_map(|(_, attribute)| special_use(attribute)));
                    wire.word("))");
                }
            }
            Command::Delete(mailbox) => {
                wire.word("DELETE ");
                wire.mailbox(mailbox);
            }
            Command::Rename(from, to) => {
                wire.word("RENAME ");
                wire.mailbox(from);
                wire.word(" ");
                wire.mailbox(to);
            }
            Command::Subscribe(mailbox) => {
                wire.word("SUBSCRIBE ");
                wire.mailbox(mailbox);
            }
            Command::Unsubscribe(mailbox) => {
                wire.word("UNSUBSCRIBE ");
                wire.mailbox(mailbox);
            }
            Command::Select(select) => {
                needs(!select.condstore || offers.has("CONDSTORE") || offers.has("QRESYNC"))?;
                needs(select.qresync.is_none() || enabled.qresync)?;
                select.write(wire);
            }
            Command::Close => wire.word("CLOSE"),
            Command::Unselect => {
                needs(offers.has_folded("UNSELECT"))?;
                wire.word("UNSELECT");
            }
            Command::Fetch(fetch) => {
                needs(fetch.changed_since.is_none() || offers.has("CONDSTORE") || enabled.condstore)?;
                needs(!fetch.vanished || enabled.qresync)?;
                fetch.write(wire)?;
            }
            Command::Store(store) => {
                needs(store.unchanged_since.is_none() || offers.has("CONDSTORE") || enabled.condstore)?;
                store.write(wire)?;
            }
            Command::Search(search) => search.write(wire, offers)?,
            Command::Copy(messages, to) => transfer("COPY ", messages, to, wire)?,
            Command::Move(messages, to) => {
                needs(offers.has_folded("MOVE"))?;
                transfer("MOVE ", messages, to, wire)?;
            }
            Command::Expunge(None) => wire.word("EXPUNGE"),
            Command::Expunge(Some(uids)) => {
                needs(offers.has_folded("UIDPLUS"))?;
                if uids.is_empty() {
                    return Err(NotTaken::Illegal);
                }
                wire.word("UID EXPUNGE ");
                wire.set(uids);
            }
            Command::Append(append) => append.write(wire),
            Command::Idle => wire.word("IDLE"),
            Command::Logout => wire.word("LOGOUT"),
            Command::Raw(text) => {
                if text.is_empty() || text.bytes().any(|octet| matches!(octet, b'\r' | b'\n' | 0)) {
                    return Err(NotTaken::Illegal);
                }
                wire.word(text);
            }
        }
        Ok(())
    }
}

/// `ID (…)` (RFC 2971 §3.1).
pub(super) fn write_id(fields: &[(String, String)], wire: &mut Wire) {
    wire.word("ID ");
    if fields.is_empty() {
        return wire.word("NIL");
    }
    wire.word("(");
    for (at, (name, value)) in fields.iter().enumerate() {
        wire.word(if at == 0 { "" } else { " " });
        wire.string(name.as_bytes());
        wire.word(" ");
        wire.string(value.as_bytes());
    }
    wire.word(")");
}

fn special_use(attribute: Attributes) -> Option<&'static str> {
    Some(match attribute {
        Attributes::ALL => "\\All",
        Attributes::ARCHIVE => "\\Archive",
        Attributes::DRAFTS => "\\Drafts",
        Attributes::FLAGGED => "\\Flagged",
        Attributes::JUNK => "\\Junk",
        Attributes::SENT => "\\Sent",
        Attributes::TRASH => "\\Trash",
        Attributes::IMPORTANT => "\\Important",
        _ => return None,
    })
}

/// ` (MESSAGES UNSEEN)`
fn status_items(items: StatusItems, wire: &mut Wire) {
    wire.word(" (");
    wire.list(STATUS_NAMES.iter().filter(|(item, _)| items.contains(*item)).map(|(_, name)| *name));
    wire.word(")");
}

fn transfer(word: &str, messages: &Messages, to: &Mailbox, wire: &mut Wire) -> Result<(), NotTaken> {
    wire.messages(word, messages)?;
    wire.word(" ");
    wire.mailbox(to);
    Ok(())
}

impl List {
    fn write(&self, wire: &mut Wire, offers: &Capabilities) -> Result<(), NotTaken> {
        let extended = offers.has_folded("LIST-EXTENDED");
        let special_use = extended && offers.has_folded("SPECIAL-USE");
        let Some(pattern) = self.patterns.first() else { return Err(NotTaken::Illegal) };
        if !extended {
            // RFC 3501 §6.3.9: LSUB is what there was before LIST could select.
            let word = match self.select {
                select if select.is_empty() => "LIST ",
                ListSelect::SUBSCRIBED => "LSUB ",
                _ => return Err(NotTaken::Unsupported),
            };
            if self.patterns.len() > 1 {
                return Err(NotTaken::Unsupported);
            }
            wire.word(word);
            wire.mailbox(&Mailbox::new(&self.reference));
            wire.word(" ");
            wire.pattern(pattern);
            return Ok(());
        }
        if self.select.contains(ListSelect::SPECIAL_USE) && !special_use {
            return Err(NotTaken::Unsupported);
        }
        wire.word("LIST ");
        if !self.select.is_empty() {
            let names = [
                (ListSelect::SUBSCRIBED, "SUBSCRIBED"),
                (ListSelect::REMOTE, "REMOTE"),
                (ListSelect::RECURSIVEMATCH, "RECURSIVEMATCH"),
                (ListSelect::SPECIAL_USE, "SPECIAL-USE"),
            ];
            wire.word("(");
            wire.list(names.into_iter().filter(|(option, _)| self.select.contains(*option)).map(|(_, name)| name));
            wire.word(") ");
        }
        wire.mailbox(&Mailbox::new(&self.reference));
        wire.word(" ");
        if self.patterns.len() > 1 {
            wire.word("(");
            for (at, pattern) in self.patterns.iter().enumerate() {
                wire.word(if at == 0 { "" } else { " " });
                wire.pattern(pattern);
            }
            wire.word(")");
        } else {
            wire.pattern(pattern);
        }
        let names = [
            (ListReturn::SUBSCRIBED, "SUBSCRIBED", true),
            (ListReturn::CHILDREN, "CHILDREN", true),
            (ListReturn::SPECIAL_USE, "SPECIAL-USE", special_use),
        ];
        let returns: Vec<&str> = names
            .into_iter()
            .filter(|(option, _, offered)| *offered && self.returns.contains(*option))
            .map(|(_, name, _)| name)
            .collect();
        let status = !self.status.is_empty() && offers.has_folded("LIST-STATUS");
        if !returns.is_empty() || status {
            wire.word(" RETURN (");
            wire.list(returns.iter().copied());
            if status {
                wire.word(if returns.is_empty() { "STATUS" } else { " STATUS" });
                status_items(self.status, wire);
            }
            wire.word(")");
        }
        Ok(())
    }
}

impl Select {
    fn write(&self, wire: &mut Wire) {
        wire.word(if self.read_only { "EXAMINE " } else { "SELECT " });
        wire.mailbox(&self.mailbox);
        match &self.qresync {
            Some(known) => {
                wire.word(" (QRESYNC (");
                wire.number(u64::from(known.uid_validity.value()));
                wire.word(" ");
                wire.number(known.modseq.0);
                if let Some(uids) = known.uids.as_ref().filter(|uids| !uids.is_empty()) {
                    wire.word(" ");
                    wire.set(uids);
                }
                wire.word("))");
            }
            None if self.condstore => wire.word(" (CONDSTORE)"),
            None => {}
        }
    }
}

impl Fetch {
    fn write(&self, wire: &mut Wire) -> Result<(), NotTaken> {
        wire.messages("FETCH ", &self.messages)?;
        let names = ITEM_NAMES.iter().filter(|(item, _)| self.items.contains(*item)).map(|(_, name)| *name);
        let count = names.clone().count();
        if count + self.sections.len() == 0 {
            return Err(NotTaken::Illegal);
        }
        wire.word(" (");
        wire.list(names);
        for (at, piece) in self.sections.iter().enumerate() {
            wire.word(if count + at == 0 { "" } else { " " });
            piece.write(wire)?;
        }
        wire.word(")");
        match (self.changed_since, self.vanished) {
            (Some(modseq), vanished) => {
                wire.word(" (CHANGEDSINCE ");
                wire.number(modseq.0);
                wire.word(if vanished { " VANISHED)" } else { ")" });
            }
            // RFC 7162 §3.2.6: VANISHED goes with CHANGEDSINCE.
            (None, true) => return Err(NotTaken::Illegal),
            (None, false) => {}
        }
        Ok(())
    }
}

impl Piece {
    fn write(&self, wire: &mut Wire) -> Result<(), NotTaken> {
        let section = self.section.as_str();
        // A section that a server told of holds what it likes.
        if section.bytes().any(|octet| !matches!(octet, b' '..=b'~') || matches!(octet, b'[' | b']' | b'{')) {
            return Err(NotTaken::Illegal);
        }
        wire.word(if self.binary { "BINARY" } else { "BODY" });
        wire.word(if self.peek { ".PEEK[" } else { "[" });
        wire.word(section);
        wire.word("]");
        if let Some((first, octets)) = self.partial {
            if octets == 0 {
                return Err(NotTaken::Illegal);
            }
            wire.word("<");
            wire.number(first);
            wire.word(".");
            wire.number(octets);
            wire.word(">");
        }
        Ok(())
    }
}

impl Store {
    fn write(&self, wire: &mut Wire) -> Result<(), NotTaken> {
        wire.messages("STORE ", &self.messages)?;
        if let Some(modseq) = self.unchanged_since {
            wire.word(" (UNCHANGEDSINCE ");
            wire.number(modseq.0);
            wire.word(")");
        }
        let (word, flags) = match &self.change {
            FlagChange::Add(flags) => (" +FLAGS", flags),
            FlagChange::Remove(flags) => (" -FLAGS", flags),
            FlagChange::Replace(flags) => (" FLAGS", flags),
        };
        wire.word(word);
        wire.word(if self.silent { ".SILENT " } else { " " });
        flag_list(flags, wire);
        Ok(())
    }
}

fn flag_list(flags: &FlagSet, wire: &mut Wire) {
    let system = SystemFlags::NAMES.iter().filter(|(flag, _)| flags.system.contains(*flag)).map(|(_, name)| *name);
    wire.word("(");
    wire.list(system.chain(flags.keywords().iter().map(|keyword| keyword.as_str())));
    wire.word(")");
}

impl Append {
    fn write(&self, wire: &mut Wire) {
        wire.word("APPEND ");
        wire.mailbox(&self.mailbox);
        wire.word(" ");
        if !self.flags.is_empty() {
            flag_list(&self.flags, wire);
            wire.word(" ");
        }
        if let Some(date) = self.date {
            let mut text = String::new();
            let _ = write!(text, "\"{}\" ", date.imap());
            wire.word(&text);
        }
        wire.announce(self.size);
    }
}

impl Wire {
    /// `UID FETCH 1:3`, or `FETCH 1:3` where messages are named by number.
    fn messages(&mut self, word: &str, messages: &Messages) -> Result<(), NotTaken> {
        if messages.is_empty() {
            return Err(NotTaken::Illegal);
        }
        if messages.is_uid() {
            self.word("UID ");
        }
        self.word(word);
        match messages {
            Messages::Uids(uids) => self.set(uids),
            Messages::From(uid) => {
                self.number(u64::from(uid.value()));
                self.word(":*");
            }
            Messages::Numbers(first, last) => {
                self.number(u64::from(first.value()));
                match last {
                    Some(last) if last == first => {}
                    Some(last) => {
                        self.word(":");
                        self.number(u64::from(last.value()));
                    }
                    None => self.word(":*"),
                }
            }
            Messages::Saved => self.word("$"),
        }
        Ok(())
    }

    /// Words, parted by spaces.
    fn list<'w>(&mut self, words: impl Iterator<Item = &'w str>) {
        for (at, word) in words.enumerate() {
            if at > 0 {
                self.octets().put_u8(b' ');
            }
            self.word(word);
        }
    }
}
