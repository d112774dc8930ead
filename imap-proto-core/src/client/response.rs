//! What a server says: responses as values (RFC 9051 §7, RFC 3501 §7).
//!
//! [`Framer`] finds where a response ends, [`parse`] reads it in place. Rows of flags, the bulk of what servers say, are
//! read without allocating unless keywords are in them. Everything a server sends is bounded ([`Bounds`]) and read
//! without recursion. The parser is generous (see `reader`); an untagged response that it does not know or can't make
//! sense of becomes [`Data::Other`], because servers may send what nobody asked for.
//!
//! | responses | file |
//! |---|---|
//! | codes in brackets | `response/code.rs` |
//! | FETCH | `response/fetch.rs`, `response/envelope.rs`, `response/structure.rs` |
//! | LIST, STATUS, NAMESPACE, ID | `response/list.rs` |
//! | SEARCH, ESEARCH | `response/search.rs` |

mod code;
mod envelope;
mod fetch;
mod frame;
mod list;
pub(super) mod reader;
mod search;
mod structure;

use std::fmt;

use bytes::Bytes;
use mailstore_trait::id::SeqNum;
use mailstore_trait::uid_set::UidSet;

use super::value::Flags;
use crate::error::{Expected, ParseError};
use reader::{Reader, lossy};

pub use code::Code;
pub use envelope::{Address, Envelope};
pub(super) use fetch::uid_so_far;
pub use fetch::{Fetched, More, Row};
pub use frame::{Frame, Framer};
pub use list::{Attributes, Listed, Namespace, Namespaces, StatusRow};
pub use search::Found;
pub use structure::{Parameters, Part, Structure};

/// How much one response may hold, and how names in it are spelt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Bounds {
    /// Parentheses inside each other, in what is passed over.
    pub depth: usize,
    /// Parts of one BODYSTRUCTURE, and how deep they may lie.
    pub parts: usize,
    /// Strings, numbers and lists together; what takes more memory counts for more.
    pub values: usize,
    /// Whether mailbox names are UTF-8: behind ENABLE of IMAP4rev2 or UTF8=ACCEPT. Else they are modified UTF-7.
    pub utf8: bool,
}

impl Default for Bounds {
    fn default() -> Bounds {
        Bounds { depth: 100, parts: 10_000, values: 4_000_000, utf8: false }
    }
}

/// One response.
#[derive(Clone, Debug, PartialEq)]
pub enum Response {
    /// `+`: the server waits for more of a command. The octets are a challenge, or text for people.
    Continue(Vec<u8>),
    /// A command ended.
    Tagged {
        /// The command's number, when the tag is one of ours.
        tag: Option<u32>,
        /// How.
        condition: Condition,
        /// What the server says of it.
        text: ResponseText,
    },
    /// `* OK`, `* NO`, `* BAD`, `* BYE`, `* PREAUTH`.
    Told {
        /// What kind of news.
        condition: Condition,
        /// The news.
        text: ResponseText,
    },
    /// Anything else that is untagged.
    Data(Data),
}

/// The word of a status response (RFC 9051 §7.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Condition {
    /// It was done, or is for information.
    Ok,
    /// It was not done, or is a warning.
    No,
    /// It was not understood, or the server is in trouble.
    Bad,
    /// A greeting that needs no login.
    Preauth,
    /// The server ends the connection.
    Bye,
}

/// A code, when there is one that could be read, and text for people.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct ResponseText {
    /// The code, for programs.
    pub code: Option<Code>,
    /// The text, for people; it may be empty.
    pub text: String,
}

impl fmt::Debug for ResponseText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(code) = &self.code {
            write!(f, "[{code:?}] ")?;
        }
        self.text.fmt(f)
    }
}

/// Untagged data.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum Data {
    /// `CAPABILITY`
    Capability(Vec<String>),
    /// `ENABLED`
    Enabled(Vec<String>),
    /// `EXISTS`: messages in the selected mailbox.
    Exists(u32),
    /// `RECENT` (RFC 3501 §7.3.2)
    Recent(u32),
    /// `EXPUNGE`: the messages behind it are one number lower from here on.
    Expunge(SeqNum),
    /// `VANISHED` (RFC 7162 §3.2.10)
    Vanished {
        /// Whether they went before the mailbox was selected: message numbers stay as they are.
        earlier: bool,
        /// Which; some may never have been known.
        uids: UidSet,
    },
    /// `FETCH`
    Fetch(Row),
    /// `FLAGS`: the flags of the mailbox.
    Flags(Flags),
    /// `LIST`, `LSUB`
    List(Listed),
    /// `STATUS`
    Status(StatusRow),
    /// `SEARCH`, `ESEARCH`
    Search(Found),
    /// `NAMESPACE`
    Namespace(Namespaces),
    /// `ID` (RFC 2971)
    Id(Vec<(String, Option<String>)>),
    /// What is not known here, as it was sent, without `* ` and the line's end.
    Other(Bytes),
}

/// Reads a response that the [`Framer`] delimited.
///
/// # Errors
/// When it is neither a continuation nor tagged nor untagged. Whatever is untagged is at least [`Data::Other`], but for a
/// set of removed messages that can't be read: to pass that over would be to lose track.
pub fn parse(octets: &[u8], bounds: &Bounds) -> Result<Response, ParseError> {
    let mut reader = Reader::new(octets, bounds);
    if reader.eat(b'+') {
        reader.eat(b' ');
        return Ok(Response::Continue(reader.line().to_vec()));
    }
    if !reader.eat(b'*') {
        return tagged(reader);
    }
    reader.spaces();
    let from = reader;
    let word = reader.word_until(b"[");
    if let Some(condition) = condition(word) {
        return Ok(Response::Told { condition, text: text(reader) });
    }
    match data(word, &mut reader, bounds) {
        Ok(Some(data)) => Ok(Response::Data(data)),
        Err(error) if word.eq_ignore_ascii_case(b"VANISHED") => Err(error),
        Ok(None) | Err(_) => Ok(Response::Data(Data::Other(Bytes::copy_from_slice(from.line())))),
    }
}

fn tagged(mut reader: Reader<'_>) -> Result<Response, ParseError> {
    let tag = reader.word();
    reader.spaces();
    let from = reader;
    match condition(reader.word_until(b"[")) {
        Some(condition @ (Condition::Ok | Condition::No | Condition::Bad)) if !tag.is_empty() => {
            let tag = tag.strip_prefix(b"A").and_then(reader::decimal).and_then(|tag| u32::try_from(tag).ok());
            Ok(Response::Tagged { tag, condition, text: text(reader) })
        }
        _ => from.fail(Expected::Tag),
    }
}

fn condition(word: &[u8]) -> Option<Condition> {
    let known: [(&[u8], Condition); 5] = [
        (b"OK", Condition::Ok),
        (b"NO", Condition::No),
        (b"BAD", Condition::Bad),
        (b"PREAUTH", Condition::Preauth),
        (b"BYE", Condition::Bye),
    ];
    known.into_iter().find(|(name, _)| name.eq_ignore_ascii_case(word)).map(|(_, condition)| condition)
}

/// RFC 9051 §9, resp-text: a code in brackets, then text. Some servers leave the text out, and some even the space.
fn text(mut reader: Reader<'_>) -> ResponseText {
    reader.spaces();
    if reader.peek() != Some(b'[') {
        return ResponseText { code: None, text: lossy(reader.line()) };
    }
    let whole = reader;
    reader.eat(b'[');
    match code::code(&mut reader) {
        Ok(code) => {
            reader.spaces();
            ResponseText { code: Some(code), text: lossy(reader.line()) }
        }
        Err(_) => ResponseText { code: None, text: lossy(whole.line()) },
    }
}

fn data(word: &[u8], reader: &mut Reader<'_>, bounds: &Bounds) -> Result<Option<Data>, ParseError> {
    if word.first().is_some_and(u8::is_ascii_digit) {
        return numbered(word, reader, bounds);
    }
    let mut upper = [0; 16];
    let Some(name) = upper.get_mut(..word.len()) else { return Ok(None) };
    name.copy_from_slice(word);
    name.make_ascii_uppercase();
    Ok(Some(match &*name {
        b"CAPABILITY" => Data::Capability(words(reader)?),
        b"ENABLED" => Data::Enabled(words(reader)?),
        b"FLAGS" => Data::Flags(Flags::read(reader)?),
        b"LIST" | b"LSUB" => Data::List(list::list(reader, bounds, &*name == b"LSUB")?),
        b"STATUS" => Data::Status(list::status(reader, bounds)?),
        b"SEARCH" => Data::Search(search::search(reader)?),
        b"ESEARCH" => Data::Search(search::esearch(reader)?),
        b"NAMESPACE" => Data::Namespace(list::namespace(reader)?),
        b"ID" => Data::Id(list::id(reader)?),
        b"VANISHED" => {
            reader.spaces();
            let earlier = reader.eat(b'(');
            if earlier {
                reader.word();
                if !reader.closes() {
                    return reader.fail(Expected::Close);
                }
                reader.spaces();
            }
            Data::Vanished { earlier, uids: reader.set()? }
        }
        _ => return Ok(None),
    }))
}

fn numbered(number: &[u8], reader: &mut Reader<'_>, bounds: &Bounds) -> Result<Option<Data>, ParseError> {
    let Some(number) = reader::decimal(number).and_then(|number| u32::try_from(number).ok()) else { return Ok(None) };
    reader.spaces();
    let word = reader.word();
    let is = |name: &str| word.eq_ignore_ascii_case(name.as_bytes());
    Ok(match SeqNum::new(number) {
        _ if is("EXISTS") => Some(Data::Exists(number)),
        _ if is("RECENT") => Some(Data::Recent(number)),
        Some(seq) if is("EXPUNGE") => Some(Data::Expunge(seq)),
        Some(seq) if is("FETCH") => Some(Data::Fetch(fetch::row(seq, reader, bounds)?)),
        _ => None,
    })
}

/// A field of a value of which servers tell what they like.
fn told(f: &mut fmt::DebugStruct<'_, '_>, name: &str, value: &Option<impl fmt::Debug>) {
    if let Some(value) = value {
        f.field(name, value);
    }
}

/// Words up to the end.
fn words(reader: &mut Reader<'_>) -> Result<Vec<String>, ParseError> {
    let mut words = Vec::new();
    loop {
        reader.spaces();
        match reader.word() {
            [] => return Ok(words),
            word => {
                reader.charge(8)?;
                words.push(lossy(word));
            }
        }
    }
}

#[cfg(test)]
mod tests;
