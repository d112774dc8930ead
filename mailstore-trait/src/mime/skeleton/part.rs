//! One part of a skeleton.

use std::borrow::Cow;
use std::ops::Range;

use super::field::{Tag, Tagged};
use crate::mime::address::{self, Addresses};
use crate::mime::encoding::TransferEncoding;
use crate::mime::parameter::Parameters;
use crate::mime::wire::Reader;

pub(in crate::mime) const KIND_MULTIPART: u8 = 1;
pub(in crate::mime) const KIND_MESSAGE: u8 = 2;
pub(in crate::mime) const HAS_ENVELOPE: u8 = 4;
pub(in crate::mime) const OPAQUE: u8 = 8;
pub(in crate::mime) const NO_TYPE_PLAIN: u8 = 16;
pub(in crate::mime) const NO_TYPE_DIGEST: u8 = 32;
pub(in crate::mime) const SYNTHETIC: u8 = 64;
const KNOWN_FLAGS: u8 = 127;

/// `charset=us-ascii` as the skeleton writes parameters (RFC 2045 §5.2).
const DEFAULT_CHARSET: &[u8] = b"\x07charset\x08us-ascii";

/// What a part holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum PartKind {
    /// Content.
    Leaf,
    /// Parts; at least one, see [`PartRef::is_synthetic`].
    Multipart,
    /// A message of its own, see [`PartRef::message`].
    Message,
}

/// A part of a message: the message itself, a body part of a multipart, or a message inside a message.
#[derive(Clone, Copy, Default)]
pub struct PartRef<'a> {
    flags: u8,
    header_start: u64,
    header_len: u64,
    body_len: u64,
    lines: u64,
    fields: &'a [u8],
    children: &'a [u8],
}

impl<'a> PartRef<'a> {
    /// Reads a part from its record.
    pub(super) fn read(record: &'a [u8]) -> Option<PartRef<'a>> {
        let mut reader = Reader(record);
        Some(PartRef {
            flags: reader.octet()?,
            header_start: reader.number()?,
            header_len: reader.number()?,
            body_len: reader.number()?,
            lines: reader.number()?,
            fields: reader.octets()?,
            children: reader.0,
        })
    }

    /// What the part holds.
    pub fn kind(&self) -> PartKind {
        if self.flags & KIND_MULTIPART != 0 {
            PartKind::Multipart
        } else if self.flags & KIND_MESSAGE != 0 {
            PartKind::Message
        } else {
            PartKind::Leaf
        }
    }

    /// The octets of the header, the blank line that ends it included (`BODY[n.MIME]`).
    pub fn header(&self) -> Range<u64> {
        self.header_start..self.header_start.saturating_add(self.header_len)
    }

    /// The octets of the body, still encoded. The line end before a delimiter is the delimiter's (RFC 2046 §5.1.1).
    pub fn body(&self) -> Range<u64> {
        let start = self.header().end;
        start..start.saturating_add(self.body_len)
    }

    /// The body's length in octets.
    pub fn size(&self) -> u64 {
        self.body_len
    }

    /// The number of LFs in the body.
    pub fn lines(&self) -> u64 {
        self.lines
    }

    /// Whether this stands for what a limit kept from being looked at, or for a message that is not there to be read
    /// because it is encoded. It is told as `application/octet-stream`.
    pub fn is_opaque(&self) -> bool {
        self.flags & OPAQUE != 0
    }

    /// Whether the message has no such part: the empty text of a multipart without parts. Its header and body are
    /// empty ranges.
    pub fn is_synthetic(&self) -> bool {
        self.flags & SYNTHETIC != 0
    }

    /// The type, with the defaults of RFC 2045 §5.2 and RFC 2046 §5.1.5 where the message names none.
    pub fn content_type(&self) -> ContentType<'a> {
        let sent = Tagged::find(self.fields, Tag::ContentType);
        let mut reader = Reader(sent.unwrap_or_default());
        let media = reader.octets().zip(reader.octets());
        let parameters = Parameters::new(reader.0);
        match media {
            _ if self.is_opaque() => ContentType { media_type: b"application", subtype: b"octet-stream", parameters },
            Some((media_type, subtype)) => ContentType { media_type, subtype, parameters },
            None if self.flags & NO_TYPE_DIGEST != 0 => {
                ContentType { media_type: b"message", subtype: b"rfc822", parameters: Parameters::new(b"") }
            }
            None => {
                ContentType { media_type: b"text", subtype: b"plain", parameters: Parameters::new(DEFAULT_CHARSET) }
            }
        }
    }

    /// Whether the message names no type for this part.
    pub fn has_default_type(&self) -> bool {
        self.flags & (NO_TYPE_PLAIN | NO_TYPE_DIGEST) != 0
    }

    /// Content-Disposition (RFC 2183).
    pub fn disposition(&self) -> Option<Disposition<'a>> {
        let mut reader = Reader(Tagged::find(self.fields, Tag::Disposition)?);
        Some(Disposition { disposition_type: reader.octets()?, parameters: Parameters::new(reader.0) })
    }

    /// Content-ID.
    pub fn id(&self) -> Option<&'a [u8]> {
        Tagged::find(self.fields, Tag::Id)
    }

    /// Content-Description, encoded words not decoded.
    pub fn description(&self) -> Option<&'a [u8]> {
        Tagged::find(self.fields, Tag::Description)
    }

    /// The token of Content-Transfer-Encoding; `7BIT` where the message names none (RFC 2045 §6.1).
    pub fn encoding(&self) -> &'a [u8] {
        Tagged::find(self.fields, Tag::Encoding).filter(|token| !token.is_empty()).unwrap_or(b"7BIT")
    }

    /// The transfer encoding, understood.
    pub fn transfer_encoding(&self) -> TransferEncoding {
        TransferEncoding::new(Tagged::find(self.fields, Tag::Encoding))
    }

    /// Content-MD5 (RFC 1864).
    pub fn md5(&self) -> Option<&'a [u8]> {
        Tagged::find(self.fields, Tag::Md5)
    }

    /// The tags of Content-Language (RFC 3282), in order.
    pub fn languages(&self) -> impl Iterator<Item = &'a [u8]> {
        let value = Tagged::find(self.fields, Tag::Language).unwrap_or_default();
        value.split(|&octet| octet == b',').filter_map(|tag| {
            let tag = crate::mime::parameter::first_token(tag);
            (!tag.is_empty()).then_some(tag)
        })
    }

    /// Content-Location (RFC 2557).
    pub fn location(&self) -> Option<&'a [u8]> {
        Tagged::find(self.fields, Tag::Location)
    }

    /// The file name the part was sent with, decoded: `filename` of the disposition, else `name` of the type.
    pub fn file_name(&self) -> Option<Cow<'a, str>> {
        self.disposition()
            .and_then(|disposition| disposition.parameters.decoded("filename"))
            .or_else(|| self.content_type().parameters.decoded("name"))
    }

    /// The parts of a multipart; of a message part, the one message. Empty for a leaf.
    pub fn children(&self) -> Children<'a> {
        Children { rest: Reader(self.children) }
    }

    /// The message inside a [`PartKind::Message`].
    pub fn message(&self) -> Option<PartRef<'a>> {
        if self.kind() == PartKind::Message { self.children().next() } else { None }
    }

    /// The envelope, when the part is a message: the root, or what [`message`](PartRef::message) gives.
    pub fn envelope(&self) -> Option<Envelope<'a>> {
        (self.flags & HAS_ENVELOPE != 0).then(|| Envelope::read(self.fields))
    }
}

impl std::fmt::Debug for PartRef<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let content_type = self.content_type();
        f.debug_struct("PartRef")
            .field("kind", &self.kind())
            .field("header", &self.header())
            .field("body", &self.body())
            .field("lines", &self.lines)
            .field("media_type", &content_type.media_type.escape_ascii().to_string())
            .field("subtype", &content_type.subtype.escape_ascii().to_string())
            .field("opaque", &self.is_opaque())
            .field("synthetic", &self.is_synthetic())
            .finish_non_exhaustive()
    }
}

/// The type of a part (RFC 2045 §5), in the case it was sent in.
#[derive(Clone, Copy, Debug)]
pub struct ContentType<'a> {
    /// The top-level type.
    pub media_type: &'a [u8],
    /// The subtype.
    pub subtype: &'a [u8],
    /// The parameters.
    pub parameters: Parameters<'a>,
}

impl ContentType<'_> {
    /// Whether this is `media_type/subtype`; case does not count. `*` stands for any subtype.
    pub fn is(&self, media_type: &str, subtype: &str) -> bool {
        self.media_type.eq_ignore_ascii_case(media_type.as_bytes())
            && (subtype == "*" || self.subtype.eq_ignore_ascii_case(subtype.as_bytes()))
    }
}

/// The disposition of a part (RFC 2183), in the case it was sent in.
#[derive(Clone, Copy, Debug)]
pub struct Disposition<'a> {
    /// `inline`, `attachment` or another token.
    pub disposition_type: &'a [u8],
    /// The parameters.
    pub parameters: Parameters<'a>,
}

/// The envelope fields of a message, as IMAP tells them (RFC 9051 §7.5.2, ENVELOPE).
///
/// `None` is a field the message lacks; one that is there and empty is the empty string. Of fields that are there more
/// than once the first counts, but To, Cc and Bcc are joined (RFC 5322 §4.5.3).
#[derive(Clone, Copy, Debug)]
pub struct Envelope<'a> {
    /// Date, as sent.
    pub date: Option<&'a [u8]>,
    /// Subject, encoded words not decoded.
    pub subject: Option<&'a [u8]>,
    /// From.
    pub from: Addresses<'a>,
    /// Sender as sent; IMAP wants [`sender_or_from`](Envelope::sender_or_from).
    pub sender: Addresses<'a>,
    /// Reply-To as sent; IMAP wants [`reply_to_or_from`](Envelope::reply_to_or_from).
    pub reply_to: Addresses<'a>,
    /// To.
    pub to: Addresses<'a>,
    /// Cc.
    pub cc: Addresses<'a>,
    /// Bcc.
    pub bcc: Addresses<'a>,
    /// In-Reply-To, as sent.
    pub in_reply_to: Option<&'a [u8]>,
    /// Message-ID, as sent.
    pub message_id: Option<&'a [u8]>,
}

impl<'a> Envelope<'a> {
    fn read(fields: &'a [u8]) -> Envelope<'a> {
        let none = Addresses::new(b"");
        let mut envelope = Envelope {
            date: None,
            subject: None,
            from: none,
            sender: none,
            reply_to: none,
            to: none,
            cc: none,
            bcc: none,
            in_reply_to: None,
            message_id: None,
        };
        for (tag, value) in Tagged(Reader(fields)) {
            match tag {
                Tag::Date => envelope.date = Some(value),
                Tag::Subject => envelope.subject = Some(value),
                Tag::From => envelope.from = Addresses::new(value),
                Tag::Sender => envelope.sender = Addresses::new(value),
                Tag::ReplyTo => envelope.reply_to = Addresses::new(value),
                Tag::To => envelope.to = Addresses::new(value),
                Tag::Cc => envelope.cc = Addresses::new(value),
                Tag::Bcc => envelope.bcc = Addresses::new(value),
                Tag::InReplyTo => envelope.in_reply_to = Some(value),
                Tag::MessageId => envelope.message_id = Some(value),
                _ => {}
            }
        }
        envelope
    }

    /// RFC 9051 §7.5.2: where Sender is missing or empty, From stands in its place.
    pub fn sender_or_from(&self) -> Addresses<'a> {
        if self.sender.is_empty() { self.from } else { self.sender }
    }

    /// RFC 9051 §7.5.2: where Reply-To is missing or empty, From stands in its place.
    pub fn reply_to_or_from(&self) -> Addresses<'a> {
        if self.reply_to.is_empty() { self.from } else { self.reply_to }
    }
}

/// The parts directly inside a part.
#[derive(Clone, Copy, Debug)]
pub struct Children<'a> {
    rest: Reader<'a>,
}

impl<'a> Iterator for Children<'a> {
    type Item = PartRef<'a>;

    fn next(&mut self) -> Option<PartRef<'a>> {
        PartRef::read(self.rest.octets()?)
    }

    fn nth(&mut self, n: usize) -> Option<PartRef<'a>> {
        for _ in 0..n {
            self.rest.octets()?;
        }
        self.next()
    }
}

/// All parts below a place, in the order of the message.
#[derive(Clone, Copy, Debug)]
pub struct Parts<'a> {
    rest: Reader<'a>,
}

impl<'a> Parts<'a> {
    pub(super) fn new(record: &'a [u8]) -> Parts<'a> {
        Parts { rest: Reader(record) }
    }
}

impl<'a> Iterator for Parts<'a> {
    type Item = PartRef<'a>;

    fn next(&mut self) -> Option<PartRef<'a>> {
        // Children lie inside their parent's record right behind its fields: stepping into the record instead of over
        // it visits every part in order, without a stack.
        let mut record = self.rest;
        let part = PartRef::read(record.octets()?)?;
        let behind = record.0.len() + part.children.len();
        self.rest = Reader(self.rest.0.get(self.rest.0.len().checked_sub(behind)?..)?);
        Some(part)
    }
}

/// Checks a part's record with all below it: every length inside its bounds, ranges inside the parent's, no octet over.
pub(super) fn check(record: &[u8]) -> Option<()> {
    let mut root = Reader(record);
    let root_record = root.octets().filter(|_| root.is_empty())?;
    // Records to be read, innermost last: what is left of a parent's children, and the octets they must lie in.
    let mut open = smallvec::SmallVec::<[(Reader<'_>, Range<u64>); 8]>::new();
    let mut record = root_record;
    let mut within = 0..u64::MAX;
    loop {
        let part = PartRef::read(record)?;
        check_part(&part, &within)?;
        open.push((Reader(part.children), part.body()));
        record = loop {
            let (reader, body) = open.last_mut()?;
            if reader.is_empty() {
                open.pop();
                if open.is_empty() {
                    return Some(());
                }
                continue;
            }
            within = body.clone();
            break reader.octets()?;
        };
    }
}

fn check_part(part: &PartRef<'_>, within: &Range<u64>) -> Option<()> {
    let header_end = part.header_start.checked_add(part.header_len)?;
    let end = header_end.checked_add(part.body_len)?;
    let kinds = u32::from(part.flags & KIND_MULTIPART != 0)
        + u32::from(part.flags & KIND_MESSAGE != 0)
        + u32::from(part.flags & OPAQUE != 0);
    let children = match part.kind() {
        PartKind::Leaf => part.children.is_empty(),
        PartKind::Multipart => !part.children.is_empty(),
        PartKind::Message => {
            let mut children = Reader(part.children);
            children.octets().is_some() && children.is_empty()
        }
    };
    let sound = part.flags & !KNOWN_FLAGS == 0
        && kinds <= 1
        && children
        && part.header_start >= within.start
        && end <= within.end
        && part.lines <= part.body_len;
    let mut fields = Reader(part.fields);
    while !fields.is_empty() {
        let tag = Tag::new(fields.octet()?)?;
        let value = fields.octets()?;
        let sound = match tag {
            Tag::ContentType => check_strings(value, 2),
            Tag::Disposition => check_strings(value, 1),
            tag if tag.is_addresses() => address::valid(value),
            _ => true,
        };
        sound.then_some(())?;
    }
    sound.then_some(())
}

/// Whether `value` is `lead` strings and then pairs of strings.
fn check_strings(value: &[u8], lead: usize) -> bool {
    let mut reader = Reader(value);
    let mut count = 0;
    while !reader.is_empty() {
        if reader.octets().is_none() {
            return false;
        }
        count += 1;
    }
    count >= lead && (count - lead).is_multiple_of(2)
}
