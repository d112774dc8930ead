//! FETCH (RFC 9051 §7.5.2): what a server tells of one message, in whatever order it likes.

use std::fmt;

use mailstore_trait::date::{DateTime, month_by_name};
use mailstore_trait::id::{SeqNum, Uid};

use super::envelope::{self, Envelope};
use super::reader::{Content, Reader, Result, decimal, lossy};
use super::structure::{self, Structure};
use super::{Bounds, Flags};
use crate::client::value::{ModSeq, Section};
use crate::error::Expected;

/// What is told of one message.
#[derive(Clone, PartialEq)]
#[non_exhaustive]
pub struct Row {
    /// Its number.
    pub seq: SeqNum,
    /// `UID`
    pub uid: Option<Uid>,
    /// `FLAGS`
    pub flags: Option<Flags>,
    /// `MODSEQ`
    pub modseq: Option<ModSeq>,
    /// `INTERNALDATE`
    pub internal_date: Option<DateTime>,
    /// `RFC822.SIZE`: octets.
    pub size: Option<u64>,
    /// `ENVELOPE`
    pub envelope: Option<Box<Envelope>>,
    /// `BODYSTRUCTURE`, or `BODY` without what extends it.
    pub structure: Option<Box<Structure>>,
    /// What is asked for less often.
    pub more: Option<Box<More>>,
    /// Pieces of the message: their octets came before, as questions.
    pub sections: Vec<Fetched>,
}

/// What is asked for less often.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct More {
    /// `EMAILID` (RFC 8474 §5.1)
    pub email_id: Option<String>,
    /// `THREADID` (RFC 8474 §5.2)
    pub thread_id: Option<String>,
    /// `SAVEDATE` (RFC 8514 §4.2)
    pub save_date: Option<DateTime>,
    /// `PREVIEW` (RFC 8970 §3)
    pub preview: Option<String>,
}

/// A piece of a message that was told of.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Fetched {
    /// Which.
    pub section: Section,
    /// Where it begins in the section, when a part of it was asked for.
    pub origin: Option<u64>,
    /// Whether its transfer encoding is taken off (RFC 3516 §4.2).
    pub binary: bool,
    /// How many octets; `None` when there is no such piece.
    pub octets: Option<u64>,
    /// The octets that came inside the response, until they are handed on.
    pub(in crate::client) here: Option<Vec<u8>>,
}

impl Fetched {
    /// A piece of which nothing is known.
    pub(in crate::client) fn nothing() -> Fetched {
        Fetched { section: Section::whole(), origin: None, binary: false, octets: None, here: None }
    }
}

impl fmt::Debug for Row {
    /// Only what was told.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut row = f.debug_struct("Row");
        row.field("seq", &self.seq);
        super::told(&mut row, "uid", &self.uid);
        super::told(&mut row, "flags", &self.flags);
        super::told(&mut row, "modseq", &self.modseq);
        super::told(&mut row, "internal_date", &self.internal_date);
        super::told(&mut row, "size", &self.size);
        super::told(&mut row, "envelope", &self.envelope);
        super::told(&mut row, "structure", &self.structure);
        super::told(&mut row, "more", &self.more);
        if !self.sections.is_empty() {
            row.field("sections", &self.sections);
        }
        row.finish()
    }
}

impl Row {
    pub(in crate::client) fn new(seq: SeqNum) -> Row {
        Row {
            seq,
            uid: None,
            flags: None,
            modseq: None,
            internal_date: None,
            size: None,
            envelope: None,
            structure: None,
            more: None,
            sections: Vec::new(),
        }
    }
}

/// `(item value …)`
pub(super) fn row(seq: SeqNum, reader: &mut Reader<'_>, bounds: &Bounds) -> Result<Row> {
    let mut row = Row::new(seq);
    items(&mut row, reader, bounds)?;
    Ok(row)
}

/// What a response that is cut off behind the name of a piece of a message says of it: the message's number and UID, as
/// far as they were told, and which piece.
pub(in crate::client) fn uid_so_far(head: &[u8], bounds: &Bounds) -> Option<(SeqNum, Option<Uid>, Fetched)> {
    let mut reader = Reader::new(head, bounds);
    reader.eat(b'*');
    reader.spaces();
    let seq = SeqNum::new(reader.number32().ok()?)?;
    reader.spaces();
    reader.word();
    let mut row = Row::new(seq);
    let _ = items(&mut row, &mut reader, bounds);
    Some((seq, row.uid, row.sections.pop()?))
}

fn items(row: &mut Row, reader: &mut Reader<'_>, bounds: &Bounds) -> Result<()> {
    reader.open()?;
    while !reader.closes() {
        reader.count()?;
        item(row, reader, bounds)?;
    }
    Ok(())
}

fn item(row: &mut Row, reader: &mut Reader<'_>, bounds: &Bounds) -> Result<()> {
    let name = reader.word_until(b"[<\"{");
    if name.is_empty() {
        return reader.fail(Expected::FetchItem);
    }
    let is = |known: &str| name.eq_ignore_ascii_case(known.as_bytes());
    if reader.peek() == Some(b'[') {
        return bracketed(name, row, reader);
    }
    reader.spaces();
    if is("FLAGS") {
        row.flags = Some(Flags::read(reader)?);
    } else if is("UID") {
        row.uid = Uid::new(reader.number32()?);
    } else if is("MODSEQ") {
        reader.open()?;
        reader.spaces();
        row.modseq = Some(ModSeq(reader.number()?));
        if !reader.closes() {
            return reader.fail(Expected::Close);
        }
    } else if is("RFC822.SIZE") {
        row.size = Some(reader.number()?);
    } else if is("INTERNALDATE") {
        row.internal_date = reader.nstring()?.and_then(|date| date_time(&date));
    } else if is("ENVELOPE") {
        row.envelope = lenient(reader, envelope::envelope)?.map(Box::new);
    } else if is("BODYSTRUCTURE") || is("BODY") {
        row.structure = lenient(reader, |reader| structure::structure(reader, bounds.parts))?.map(Box::new);
    } else if is("RFC822") || is("RFC822.PEEK") {
        section(Section::whole(), row, reader)?;
    } else if is("RFC822.HEADER") {
        section(Section::header(), row, reader)?;
    } else if is("RFC822.TEXT") {
        section(Section::text(), row, reader)?;
    } else if is("EMAILID") {
        more(row).email_id = in_parentheses(reader)?;
    } else if is("THREADID") {
        more(row).thread_id = in_parentheses(reader)?;
    } else if is("SAVEDATE") {
        more(row).save_date = reader.nstring()?.and_then(|date| date_time(&date));
    } else if is("PREVIEW") {
        more(row).preview = reader.nstring()?.map(|preview| lossy(&preview));
    } else {
        // X-GM-MSGID and its like.
        reader.skip()?;
    }
    Ok(())
}

fn more(row: &mut Row) -> &mut More {
    row.more.get_or_insert_default()
}

/// Reads a value that servers get wrong; one that can't be read is passed over, and the row loses nothing else.
fn lenient<'a, T>(reader: &mut Reader<'a>, read: impl FnOnce(&mut Reader<'a>) -> Result<T>) -> Result<Option<T>> {
    let from = *reader;
    match read(reader) {
        Ok(value) => Ok(Some(value)),
        Err(_) => {
            *reader = from;
            reader.skip()?;
            Ok(None)
        }
    }
}

/// `(id)`, or NIL.
fn in_parentheses(reader: &mut Reader<'_>) -> Result<Option<String>> {
    reader.spaces();
    if !reader.eat(b'(') {
        reader.nstring()?;
        return Ok(None);
    }
    let id = reader.string()?;
    if reader.closes() { Ok(Some(id)) } else { reader.fail(Expected::Close) }
}

/// `BODY[…]<…>`, `BINARY[…]<…>` and what is like them.
fn bracketed(name: &[u8], row: &mut Row, reader: &mut Reader<'_>) -> Result<()> {
    let is = |known: &str| name.eq_ignore_ascii_case(known.as_bytes());
    reader.eat(b'[');
    let rest = reader.line();
    let mut quoted = false;
    let end = rest.iter().position(|octet| {
        quoted ^= *octet == b'"';
        *octet == b']' && !quoted
    });
    let Some(text) = end.and_then(|end| rest.get(..end)) else { return reader.fail(Expected::Section) };
    reader.advance(text.len() + 1);
    let mut origin = None;
    if reader.eat(b'<') {
        origin = Some(reader.number()?);
        // Some servers repeat how much was asked for.
        reader.word_until(b">");
        if !reader.eat(b'>') {
            return reader.fail(Expected::Section);
        }
    }
    let binary = is("BINARY") || is("BINARY.PEEK");
    if !binary && !is("BODY") && !is("BODY.PEEK") {
        // BINARY.SIZE, or something that nobody knows.
        return reader.skip();
    }
    content(Fetched { section: Section::read(text), origin, binary, octets: None, here: None }, row, reader)
}

fn section(section: Section, row: &mut Row, reader: &mut Reader<'_>) -> Result<()> {
    content(Fetched { section, origin: None, binary: false, octets: None, here: None }, row, reader)
}

fn content(fetched: Fetched, row: &mut Row, reader: &mut Reader<'_>) -> Result<()> {
    reader.charge(16)?;
    // The name is known even where the response is cut off behind it.
    row.sections.push(fetched);
    let content = reader.content()?;
    let Some(fetched) = row.sections.last_mut() else { return Ok(()) };
    match content {
        Content::Nil => {}
        Content::Streamed(octets) => fetched.octets = Some(octets),
        Content::Here(text) => {
            fetched.octets = Some(text.len() as u64);
            fetched.here = (!text.is_empty()).then(|| text.into_owned());
        }
    }
    Ok(())
}

/// RFC 9051 §9, date-time: ` 1-Jan-2026 00:00:00 +0000`, with one digit or two, and with any number of spaces.
fn date_time(text: &[u8]) -> Option<DateTime> {
    let mut words = text.split(|octet| *octet == b' ').filter(|word| !word.is_empty());
    let (date, time, zone) = (words.next()?, words.next()?, words.next().unwrap_or(b"+0000"));
    let number = |digits: Option<&[u8]>| u32::try_from(decimal(digits?)?).ok();
    let mut date = date.split(|octet| *octet == b'-');
    let day = number(date.next())?;
    let month = month_by_name(date.next()?)?;
    let year = number(date.next())?;
    let mut time = time.split(|octet| *octet == b':');
    let (hour, minute, second) = (number(time.next())?, number(time.next())?, number(time.next()).unwrap_or(0));
    let (sign, digits) = zone.split_first()?;
    let offset = i16::try_from(decimal(digits)?).ok()?;
    let offset = offset / 100 * 60 + offset % 100;
    let offset = if *sign == b'-' { -offset } else { offset };
    DateTime::from_civil((i64::from(year), month, day), (hour, minute, second), offset)
}
