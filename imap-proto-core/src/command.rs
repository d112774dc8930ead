//! Commands as a client writes them (RFC 9051 §9), read in place.
//!
//! A [`Command`] borrows from its frame: mailbox names, texts and keywords are slices of the input, sets and lists are
//! small inline vectors, and only a quoted string with escapes is copied. Nothing here knows the session's state; a
//! command that is wrong now is refused by the [`server`](crate::server), one that can't be read by [`parse`].
//!
//! | file | what it reads |
//! |---|---|
//! | `cursor` | atoms, strings, numbers |
//! | `sequence` | sequence sets |
//! | `flags` | flag lists |
//! | `modifiers` | what stands in parentheses behind SELECT, FETCH and STORE |
//! | `url` | IMAP URLs of messages |
//! | `quota`, `acl`, `metadata` | the arguments of these extensions' commands |
//! | `fetch`, `search`, `sort`, `append`, `mailbox` | the arguments of these families |

pub mod acl;
pub mod append;
mod cursor;
pub mod fetch;
pub mod flags;
pub mod mailbox;
pub mod metadata;
pub mod modifiers;
pub mod quota;
pub mod search;
mod sequence;
pub mod sort;
pub mod url;

use mailstore_trait::acl::{Rights, RightsChange};
use mailstore_trait::query::Algorithm;
use smallvec::SmallVec;

pub use acl::AclCommand;
pub use append::{AppendEnd, AppendHead, AppendLine, AppendPiece, AppendPlace};
pub use cursor::Text;
pub(crate) use cursor::is_astring;
pub use fetch::{BodySection, FetchItem, FetchItems, Part, Section, SectionOf, Spelling};
pub use flags::FlagList;
pub use mailbox::{ListArguments, ListReturn, ListSelect, STATUS_NAMES, StatusItems};
pub use metadata::{MetadataCommand, WireEntry};
pub use modifiers::{FetchModifiers, QResync, SelectParameters};
pub use quota::QuotaCommand;
pub use search::{PartialRange, SearchArguments, SearchKey, SearchReturn, SearchToken, When};
pub use sequence::SequenceSet;
pub use sort::Criteria;

pub use crate::error::{Expected, ParseError};
use cursor::{Cursor, Result};

/// How much of everything one command may hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Bounds {
    /// Parentheses, NOTs and ORs inside each other.
    pub depth: usize,
    /// Numbers in a section's part.
    pub part: usize,
    /// Search keys and combinations.
    pub keys: usize,
    /// Criteria of one SORT.
    pub criteria: usize,
    /// Patterns of one LIST.
    pub patterns: usize,
    /// Fetch items, header fields, keywords, ID fields: of each.
    pub items: usize,
}

impl Bounds {
    /// The defaults, in a constant.
    pub const DEFAULT: Bounds = Bounds { depth: 32, part: 100, keys: 1000, criteria: 16, patterns: 32, items: 128 };
}

impl Default for Bounds {
    fn default() -> Bounds {
        Bounds::DEFAULT
    }
}

/// A command with its tag.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tagged<'a> {
    /// The tag: 1 octet or more.
    pub tag: &'a [u8],
    /// The command.
    pub command: Command<'a>,
}

/// A client's command (RFC 9051 §6).
#[allow(clippy::large_enum_variant, reason = "it lives on the stack for one dispatch; a box would cost more")]
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Command<'a> {
    /// CAPABILITY
    Capability,
    /// NOOP
    Noop,
    /// LOGOUT
    Logout,
    /// ID (RFC 2971), with the fields the client tells.
    Id(Vec<(Text<'a>, Option<Text<'a>>)>),
    /// STARTTLS
    StartTls,
    /// UNAUTHENTICATE (RFC 8437)
    Unauthenticate,
    /// COMPRESS (RFC 4978), with the name of an algorithm.
    Compress(&'a [u8]),
    /// UIDBATCHES (RFC 10022)
    UidBatches {
        /// Messages in each.
        size: u32,
        /// The first and the last one wanted, counted from the newest messages.
        range: Option<(u32, u32)>,
    },
    /// AUTHENTICATE
    Authenticate {
        /// The mechanism.
        mechanism: &'a [u8],
        /// The initial response in base64 (RFC 4959), `=` for an empty one.
        initial: Option<&'a [u8]>,
    },
    /// LOGIN
    Login {
        /// The name.
        user: Text<'a>,
        /// The password.
        password: Text<'a>,
    },
    /// ENABLE, with the capabilities named.
    Enable(SmallVec<[&'a [u8]; 4]>),
    /// SELECT or EXAMINE.
    Select {
        /// Which.
        mailbox: Text<'a>,
        /// Whether it was EXAMINE.
        read_only: bool,
        /// Parameters in parentheses.
        parameters: SelectParameters,
    },
    /// CREATE
    Create {
        /// The name.
        mailbox: Text<'a>,
        /// Special uses (RFC 6154 §3), each with its backslash.
        uses: SmallVec<[&'a [u8]; 1]>,
    },
    /// DELETE
    Delete(Text<'a>),
    /// RENAME
    Rename {
        /// The old name.
        from: Text<'a>,
        /// The new one.
        to: Text<'a>,
    },
    /// SUBSCRIBE
    Subscribe(Text<'a>),
    /// UNSUBSCRIBE
    Unsubscribe(Text<'a>),
    /// LIST
    List(ListArguments<'a>),
    /// LSUB
    Lsub {
        /// The reference name.
        reference: Text<'a>,
        /// A pattern with `%` and `*`.
        pattern: Text<'a>,
    },
    /// XLIST: LIST before there was SPECIAL-USE.
    Xlist {
        /// The reference name.
        reference: Text<'a>,
        /// A pattern with `%` and `*`.
        pattern: Text<'a>,
    },
    /// NAMESPACE
    Namespace,
    /// GETQUOTA, GETQUOTAROOT, SETQUOTA (RFC 9208).
    Quota(QuotaCommand<'a>),
    /// GETACL, SETACL, DELETEACL, LISTRIGHTS, MYRIGHTS (RFC 4314).
    Acl(AclCommand<'a>),
    /// GETMETADATA, SETMETADATA (RFC 5464).
    Metadata(MetadataCommand<'a>),
    /// STATUS
    Status {
        /// Which.
        mailbox: Text<'a>,
        /// What of it.
        items: StatusItems,
    },
    /// IDLE
    Idle,
    /// CHECK
    Check,
    /// CLOSE
    Close,
    /// UNSELECT
    Unselect,
    /// EXPUNGE, or UID EXPUNGE with a set.
    Expunge(Option<SequenceSet>),
    /// SEARCH or UID SEARCH.
    Search {
        /// Whether UIDs are to be returned.
        uid: bool,
        /// The rest.
        arguments: SearchArguments<'a>,
    },
    /// SORT or UID SORT (RFC 5256 §3).
    Sort {
        /// Whether UIDs are to be returned.
        uid: bool,
        /// In which order.
        criteria: Criteria,
        /// The rest.
        arguments: SearchArguments<'a>,
    },
    /// THREAD or UID THREAD (RFC 5256 §3).
    Thread {
        /// Whether UIDs are to be returned.
        uid: bool,
        /// How conversations are found.
        algorithm: Algorithm,
        /// The rest.
        arguments: SearchArguments<'a>,
    },
    /// CANCELUPDATE (RFC 5267 §4.3.5), with the tags of the commands whose updates are to end.
    CancelUpdate(SmallVec<[Text<'a>; 2]>),
    /// FETCH or UID FETCH.
    Fetch {
        /// Whether the set means UIDs.
        uid: bool,
        /// Which messages.
        set: SequenceSet,
        /// What of them.
        items: FetchItems<'a>,
        /// Which of them.
        modifiers: FetchModifiers,
    },
    /// STORE or UID STORE.
    Store {
        /// Whether the set means UIDs.
        uid: bool,
        /// Which messages.
        set: SequenceSet,
        /// What to do with the flags.
        action: StoreAction,
        /// Whether the new flags need not be told.
        silent: bool,
        /// The flags.
        flags: FlagList<'a>,
        /// `UNCHANGEDSINCE`: leave messages alone that changed after this (RFC 7162 §3.1.3).
        unchanged_since: Option<u64>,
    },
    /// COPY or UID COPY.
    Copy {
        /// Whether the set means UIDs.
        uid: bool,
        /// Which messages.
        set: SequenceSet,
        /// Where to.
        mailbox: Text<'a>,
    },
    /// MOVE or UID MOVE.
    Move {
        /// Whether the set means UIDs.
        uid: bool,
        /// Which messages.
        set: SequenceSet,
        /// Where to.
        mailbox: Text<'a>,
    },
}

/// What STORE does with flags.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StoreAction {
    /// `FLAGS`
    Replace,
    /// `+FLAGS`
    Add,
    /// `-FLAGS`
    Remove,
}

/// A command's name: the first word, or two for the UID forms.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Name {
    /// APPEND
    Append,
    /// AUTHENTICATE
    Authenticate,
    /// CANCELUPDATE
    CancelUpdate,
    /// CAPABILITY
    Capability,
    /// CHECK
    Check,
    /// CLOSE
    Close,
    /// COMPRESS
    Compress,
    /// COPY
    Copy,
    /// CREATE
    Create,
    /// DELETE
    Delete,
    /// DELETEACL
    DeleteAcl,
    /// ENABLE
    Enable,
    /// EXAMINE
    Examine,
    /// EXPUNGE
    Expunge,
    /// FETCH
    Fetch,
    /// GETACL
    GetAcl,
    /// GETMETADATA
    GetMetadata,
    /// GETQUOTA
    GetQuota,
    /// GETQUOTAROOT
    GetQuotaRoot,
    /// ID
    Id,
    /// IDLE
    Idle,
    /// LIST
    List,
    /// LISTRIGHTS
    ListRights,
    /// LOGIN
    Login,
    /// LOGOUT
    Logout,
    /// LSUB
    Lsub,
    /// MOVE
    Move,
    /// MYRIGHTS
    MyRights,
    /// NAMESPACE
    Namespace,
    /// NOOP
    Noop,
    /// RENAME
    Rename,
    /// REPLACE
    Replace,
    /// SEARCH
    Search,
    /// SELECT
    Select,
    /// SETACL
    SetAcl,
    /// SETMETADATA
    SetMetadata,
    /// SETQUOTA
    SetQuota,
    /// SORT
    Sort,
    /// STARTTLS
    StartTls,
    /// STATUS
    Status,
    /// STORE
    Store,
    /// SUBSCRIBE
    Subscribe,
    /// THREAD
    Thread,
    /// UIDBATCHES
    UidBatches,
    /// UID COPY
    UidCopy,
    /// UID EXPUNGE
    UidExpunge,
    /// UID FETCH
    UidFetch,
    /// UID MOVE
    UidMove,
    /// UID REPLACE
    UidReplace,
    /// UID SEARCH
    UidSearch,
    /// UID SORT
    UidSort,
    /// UID STORE
    UidStore,
    /// UID THREAD
    UidThread,
    /// UNAUTHENTICATE
    Unauthenticate,
    /// UNSELECT
    Unselect,
    /// UNSUBSCRIBE
    Unsubscribe,
    /// XLIST
    Xlist,
}

impl Name {
    /// Whether its arguments or its answer are message numbers, which an EXPUNGE told before it would shift
    /// (RFC 9051 §5.5).
    #[must_use]
    pub fn uses_numbers(self) -> bool {
        matches!(
            self,
            Name::Fetch
                | Name::Store
                | Name::Search
                | Name::Copy
                | Name::Move
                | Name::Replace
                | Name::UidSearch
                | Name::Sort
                | Name::UidSort
                | Name::Thread
                | Name::UidThread
        )
    }

    /// Whether it names messages by their numbers, where another command names them by UID (RFC 9586 §3.2).
    #[must_use]
    pub fn is_by_number(self) -> bool {
        matches!(
            self,
            Name::Copy
                | Name::Fetch
                | Name::Move
                | Name::Replace
                | Name::Search
                | Name::Sort
                | Name::Store
                | Name::Thread
        )
    }

    /// Whether it brings messages, and so is read line by line ([`parse_append`]).
    #[must_use]
    pub fn appends(self) -> bool {
        matches!(self, Name::Append | Name::Replace | Name::UidReplace)
    }

    /// Whether EXPUNGE may be told while it runs (RFC 9051 §7.5.1).
    #[must_use]
    pub fn lets_expunge_be_told(self) -> bool {
        !matches!(self, Name::Fetch | Name::Store | Name::Search | Name::Sort | Name::Thread)
    }
}

/// A tag and a name, and the place where the arguments begin.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Head<'a> {
    pub(crate) tag: &'a [u8],
    pub(crate) name: std::result::Result<Name, ParseError>,
    arguments: Cursor<'a>,
}

/// Reads the tag and the name.
///
/// # Errors
/// When there is no tag: then the answer has none either.
pub(crate) fn head(frame: &[u8]) -> Result<Head<'_>> {
    let mut cursor = Cursor::new(frame);
    let tag = cursor.tag()?;
    let name = cursor.space().and_then(|()| name(&mut cursor));
    Ok(Head { tag, name, arguments: cursor })
}

fn name(cursor: &mut Cursor<'_>) -> Result<Name> {
    let from = *cursor;
    let unknown = || ParseError { at: from.at(), expected: Expected::Command };
    let word = upper(cursor.atom()?).ok_or_else(unknown)?;
    if word.as_slice() == b"UID" {
        cursor.space()?;
        let word = cursor.atom().ok().and_then(upper).ok_or_else(unknown)?;
        return uid_name(&word).ok_or_else(unknown);
    }
    plain_name(&word).ok_or_else(unknown)
}

/// The word in upper case; `None` when it is longer than any name.
fn upper(word: &[u8]) -> Option<SmallVec<[u8; 16]>> {
    (word.len() <= 16).then(|| word.iter().map(u8::to_ascii_uppercase).collect())
}

fn plain_name(word: &[u8]) -> Option<Name> {
    Some(match word {
        b"APPEND" => Name::Append,
        b"AUTHENTICATE" => Name::Authenticate,
        b"CANCELUPDATE" => Name::CancelUpdate,
        b"CAPABILITY" => Name::Capability,
        b"CHECK" => Name::Check,
        b"CLOSE" => Name::Close,
        b"COMPRESS" => Name::Compress,
        b"COPY" => Name::Copy,
        b"CREATE" => Name::Create,
        b"DELETE" => Name::Delete,
        b"DELETEACL" => Name::DeleteAcl,
        b"ENABLE" => Name::Enable,
        b"EXAMINE" => Name::Examine,
        b"EXPUNGE" => Name::Expunge,
        b"FETCH" => Name::Fetch,
        b"GETACL" => Name::GetAcl,
        b"GETMETADATA" => Name::GetMetadata,
        b"GETQUOTA" => Name::GetQuota,
        b"GETQUOTAROOT" => Name::GetQuotaRoot,
        b"ID" => Name::Id,
        b"IDLE" => Name::Idle,
        b"LIST" => Name::List,
        b"LISTRIGHTS" => Name::ListRights,
        b"LOGIN" => Name::Login,
        b"LOGOUT" => Name::Logout,
        b"LSUB" => Name::Lsub,
        b"MOVE" => Name::Move,
        b"MYRIGHTS" => Name::MyRights,
        b"NAMESPACE" => Name::Namespace,
        b"NOOP" => Name::Noop,
        b"RENAME" => Name::Rename,
        b"REPLACE" => Name::Replace,
        b"SEARCH" => Name::Search,
        b"SELECT" => Name::Select,
        b"SETACL" => Name::SetAcl,
        b"SETMETADATA" => Name::SetMetadata,
        b"SETQUOTA" => Name::SetQuota,
        b"SORT" => Name::Sort,
        b"STARTTLS" => Name::StartTls,
        b"STATUS" => Name::Status,
        b"STORE" => Name::Store,
        b"SUBSCRIBE" => Name::Subscribe,
        b"THREAD" => Name::Thread,
        b"UIDBATCHES" => Name::UidBatches,
        b"UNAUTHENTICATE" => Name::Unauthenticate,
        b"UNSELECT" => Name::Unselect,
        b"UNSUBSCRIBE" => Name::Unsubscribe,
        b"XLIST" => Name::Xlist,
        _ => return None,
    })
}

fn uid_name(word: &[u8]) -> Option<Name> {
    Some(match word {
        b"COPY" => Name::UidCopy,
        b"EXPUNGE" => Name::UidExpunge,
        b"FETCH" => Name::UidFetch,
        b"MOVE" => Name::UidMove,
        b"REPLACE" => Name::UidReplace,
        b"SEARCH" => Name::UidSearch,
        b"SORT" => Name::UidSort,
        b"STORE" => Name::UidStore,
        b"THREAD" => Name::UidThread,
        _ => return None,
    })
}

/// Reads one whole command: its lines and literals as [`frame`](crate::frame) delimits them. APPEND and REPLACE are
/// not among them, because their messages are never part of a frame; see [`parse_append`].
///
/// # Errors
/// What was expected and where. Use [`tag`] for the answer's tag.
pub fn parse<'a>(frame: &'a [u8], bounds: &Bounds) -> Result<Tagged<'a>> {
    let head = head(frame)?;
    let name = head.name?;
    head.command(name, bounds)
}

/// The tag of a command, whatever follows it.
#[must_use]
pub fn tag(frame: &[u8]) -> Option<&[u8]> {
    Cursor::new(frame).tag().ok()
}

/// Reads an APPEND or REPLACE up to the end of its first line; nothing when a literal is announced there that is a name
/// or a URL, and so part of the frame.
///
/// # Errors
/// What was expected and where.
pub fn parse_append<'a>(frame: &'a [u8], bounds: &Bounds) -> Result<Option<AppendHead<'a>>> {
    let head = head(frame)?;
    head.append(bounds)
}

/// Reads a further line of an APPEND, from behind a literal on; nothing as with [`parse_append`].
///
/// # Errors
/// What was expected and where.
pub fn parse_append_line<'a>(line: &'a [u8], place: AppendPlace, bounds: &Bounds) -> Result<Option<AppendLine<'a>>> {
    append::line(&mut Cursor::new(line), place, bounds)
}

impl<'a> Head<'a> {
    pub(crate) fn append(&self, bounds: &Bounds) -> Result<Option<AppendHead<'a>>> {
        let mut cursor = self.arguments;
        cursor.space()?;
        append::head(&mut cursor, self.name? != Name::Append, bounds)
    }

    pub(crate) fn command(&self, name: Name, bounds: &Bounds) -> Result<Tagged<'a>> {
        let mut cursor = self.arguments;
        let command = arguments(name, &mut cursor, bounds)?;
        cursor.end()?;
        Ok(Tagged { tag: self.tag, command })
    }
}

fn arguments<'a>(name: Name, cursor: &mut Cursor<'a>, bounds: &Bounds) -> Result<Command<'a>> {
    match name {
        Name::Capability => return Ok(Command::Capability),
        Name::Check => return Ok(Command::Check),
        Name::Close => return Ok(Command::Close),
        Name::Expunge => return Ok(Command::Expunge(None)),
        Name::Idle => return Ok(Command::Idle),
        Name::Logout => return Ok(Command::Logout),
        Name::Namespace => return Ok(Command::Namespace),
        Name::Noop => return Ok(Command::Noop),
        Name::StartTls => return Ok(Command::StartTls),
        Name::Unauthenticate => return Ok(Command::Unauthenticate),
        Name::Unselect => return Ok(Command::Unselect),
        _ => cursor.space()?,
    }
    Ok(match name {
        Name::Authenticate => {
            let mechanism = cursor.atom()?;
            let initial = if cursor.end().is_ok() { None } else { Some(initial_response(cursor)?) };
            Command::Authenticate { mechanism, initial }
        }
        Name::Login => {
            let (user, password) = two(cursor, Cursor::astring)?;
            Command::Login { user, password }
        }
        Name::Id => Command::Id(id_fields(cursor, bounds)?),
        Name::Enable => Command::Enable(words(cursor, bounds)?),
        Name::Compress => Command::Compress(cursor.atom()?),
        Name::UidBatches => uid_batches(cursor)?,
        Name::Select | Name::Examine => {
            let mailbox = cursor.astring()?;
            Command::Select { mailbox, read_only: name == Name::Examine, parameters: modifiers::select(cursor)? }
        }
        Name::Create => {
            let mailbox = cursor.astring()?;
            Command::Create { mailbox, uses: mailbox::create_uses(cursor)? }
        }
        Name::Delete => Command::Delete(cursor.astring()?),
        Name::Rename => {
            let (from, to) = two(cursor, Cursor::astring)?;
            Command::Rename { from, to }
        }
        Name::Subscribe => Command::Subscribe(cursor.astring()?),
        Name::Unsubscribe => Command::Unsubscribe(cursor.astring()?),
        Name::List => Command::List(mailbox::list(cursor, bounds)?),
        Name::Lsub | Name::Xlist => {
            let reference = cursor.astring()?;
            cursor.space()?;
            let pattern = cursor.list_mailbox()?;
            if name == Name::Lsub {
                Command::Lsub { reference, pattern }
            } else {
                Command::Xlist { reference, pattern }
            }
        }
        Name::GetQuota => Command::Quota(QuotaCommand::Of(cursor.astring()?)),
        Name::GetQuotaRoot => Command::Quota(QuotaCommand::RootOf(cursor.astring()?)),
        Name::SetQuota => {
            let root = cursor.astring()?;
            cursor.space()?;
            Command::Quota(QuotaCommand::Set { root, limits: quota::limits(cursor, bounds)? })
        }
        Name::GetAcl => Command::Acl(AclCommand::Of(cursor.astring()?)),
        Name::MyRights => Command::Acl(AclCommand::Mine(cursor.astring()?)),
        Name::ListRights => {
            let (mailbox, identifier) = two(cursor, Cursor::astring)?;
            Command::Acl(AclCommand::List { mailbox, identifier })
        }
        Name::SetAcl => {
            let (mailbox, identifier) = two(cursor, Cursor::astring)?;
            cursor.space()?;
            Command::Acl(AclCommand::Set { mailbox, identifier, change: acl::change(cursor)?, delete: false })
        }
        Name::DeleteAcl => {
            let (mailbox, identifier) = two(cursor, Cursor::astring)?;
            let change = RightsChange::Replace(Rights::empty());
            Command::Acl(AclCommand::Set { mailbox, identifier, change, delete: true })
        }
        Name::GetMetadata => Command::Metadata(metadata::get(cursor, bounds)?),
        Name::SetMetadata => Command::Metadata(metadata::set(cursor, bounds)?),
        Name::Status => {
            let mailbox = cursor.astring()?;
            cursor.space()?;
            Command::Status { mailbox, items: mailbox::status_items(cursor)? }
        }
        Name::UidExpunge => Command::Expunge(Some(SequenceSet::parse(cursor)?)),
        Name::Search | Name::UidSearch => {
            Command::Search { uid: name == Name::UidSearch, arguments: search::arguments(cursor, bounds)? }
        }
        Name::Sort | Name::UidSort => {
            let (criteria, arguments) = sort::sort(cursor, bounds)?;
            Command::Sort { uid: name == Name::UidSort, criteria, arguments }
        }
        Name::Thread | Name::UidThread => {
            let (algorithm, arguments) = sort::thread(cursor, bounds)?;
            Command::Thread { uid: name == Name::UidThread, algorithm, arguments }
        }
        Name::CancelUpdate => Command::CancelUpdate(tags(cursor, bounds)?),
        Name::Fetch | Name::UidFetch => {
            let set = set(cursor)?;
            let items = fetch::items(cursor, bounds)?;
            let uid = name == Name::UidFetch;
            Command::Fetch { uid, set, items, modifiers: modifiers::fetch(cursor, uid)? }
        }
        Name::Store | Name::UidStore => store(cursor, name == Name::UidStore, bounds)?,
        Name::Copy | Name::UidCopy => {
            let set = set(cursor)?;
            Command::Copy { uid: name == Name::UidCopy, set, mailbox: cursor.astring()? }
        }
        Name::Move | Name::UidMove => {
            let set = set(cursor)?;
            Command::Move { uid: name == Name::UidMove, set, mailbox: cursor.astring()? }
        }
        _ => return cursor.fail(Expected::Literal),
    })
}

/// RFC 10022 §3.1: a size, and a range of batches where not all are wanted.
fn uid_batches<'a>(cursor: &mut Cursor<'a>) -> Result<Command<'a>> {
    let positive = |cursor: &mut Cursor<'a>| {
        let from = *cursor;
        cursor.number32().and_then(|number| if number == 0 { from.fail(Expected::Number) } else { Ok(number) })
    };
    let size = positive(cursor)?;
    let mut range = None;
    if cursor.end().is_err() {
        cursor.space()?;
        let first = positive(cursor)?;
        if !cursor.eat(b':') {
            return cursor.fail(Expected::Number);
        }
        range = Some((first, positive(cursor)?));
    }
    Ok(Command::UidBatches { size, range })
}

/// A sequence set and a space.
fn set(cursor: &mut Cursor<'_>) -> Result<SequenceSet> {
    let set = SequenceSet::parse(cursor)?;
    cursor.space()?;
    Ok(set)
}

fn two<'a, T>(cursor: &mut Cursor<'a>, one: impl Fn(&mut Cursor<'a>) -> Result<T>) -> Result<(T, T)> {
    let first = one(cursor)?;
    cursor.space()?;
    Ok((first, one(cursor)?))
}

fn words<'a>(cursor: &mut Cursor<'a>, bounds: &Bounds) -> Result<SmallVec<[&'a [u8]; 4]>> {
    let mut words = SmallVec::new();
    loop {
        words.push(cursor.atom()?);
        if cursor.end().is_ok() {
            return Ok(words);
        }
        if words.len() >= bounds.items {
            return cursor.fail(Expected::Fewer);
        }
        cursor.space()?;
    }
}

/// RFC 5267 §5: tags in quotes.
fn tags<'a>(cursor: &mut Cursor<'a>, bounds: &Bounds) -> Result<SmallVec<[Text<'a>; 2]>> {
    let mut tags = SmallVec::new();
    loop {
        tags.push(cursor.string()?);
        if cursor.end().is_ok() {
            return Ok(tags);
        }
        if tags.len() >= bounds.items {
            return cursor.fail(Expected::Fewer);
        }
        cursor.space()?;
    }
}

/// RFC 4959 §3: base64, or `=` for an empty response.
fn initial_response<'a>(cursor: &mut Cursor<'a>) -> Result<&'a [u8]> {
    cursor.space()?;
    let from = cursor.at();
    cursor.atom()?;
    Ok(cursor.since(from))
}

/// RFC 2971 §3.1: NIL, or pairs of strings in parentheses.
fn id_fields<'a>(cursor: &mut Cursor<'a>, bounds: &Bounds) -> Result<Vec<(Text<'a>, Option<Text<'a>>)>> {
    let mut fields = Vec::new();
    if cursor.eat_word(b"NIL") {
        return Ok(fields);
    }
    cursor.open()?;
    while !cursor.eat(b')') {
        if !fields.is_empty() {
            cursor.space()?;
        }
        if fields.len() >= bounds.items {
            return cursor.fail(Expected::Fewer);
        }
        let name = cursor.string()?;
        cursor.space()?;
        fields.push((name, cursor.nstring()?));
    }
    Ok(fields)
}

fn store<'a>(cursor: &mut Cursor<'a>, uid: bool, bounds: &Bounds) -> Result<Command<'a>> {
    let set = set(cursor)?;
    let unchanged_since = modifiers::store(cursor)?;
    let from = *cursor;
    let action = match cursor.peek() {
        Some(b'+') => StoreAction::Add,
        Some(b'-') => StoreAction::Remove,
        _ => StoreAction::Replace,
    };
    if action != StoreAction::Replace {
        cursor.take(1);
    }
    let word = cursor.item_word();
    let silent = word.eq_ignore_ascii_case(b"FLAGS.SILENT");
    if !silent && !word.eq_ignore_ascii_case(b"FLAGS") {
        return from.fail(Expected::StoreItem);
    }
    cursor.space()?;
    Ok(Command::Store { uid, set, action, silent, flags: flags::list_or_run(cursor, bounds)?, unchanged_since })
}

#[cfg(test)]
mod tests;
