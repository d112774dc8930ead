//! Sections of messages as literals (RFC 9051 §6.4.5.1, §4.3): from the page where it has them, else read in ranges.
//!
//! The first range is read before a literal is announced, so a message that is gone costs its section and not the
//! session. From the announcement on, exactly as many octets follow as were announced, or the session ends.

use std::ops::Range;

use bytes::{BufMut, Bytes, BytesMut};
use mailstore_trait::id::EmailId;
use mailstore_trait::item::{ItemPage, ItemRow};
use mailstore_trait::mime::{Fields, SkeletonRef, Specifier};

use super::binary::Decoding;
use super::preview::Previewing;
use super::{Fetch, refused_section};
use crate::command::{BodySection, Section, SectionOf, Spelling, Text};
use crate::request::Refusal;
use crate::response::{self, Quoted};
use crate::server::state::Core;

/// A section that is being read.
#[derive(Debug, Default)]
pub(super) enum Reading {
    /// None.
    #[default]
    Nothing,
    /// The first piece was asked for, or has come.
    First(Option<Result<Bytes, Refusal>>),
    /// The literal was announced: so many octets are still to be sent, from this offset.
    Literal { offset: u64, left: u64, piece: Option<Bytes> },
    /// A part that is decoded.
    Decoding(Box<Decoding>),
    /// A message of which a preview is made.
    Previewing(Box<Previewing>),
    /// A header, gathered until it is whole.
    Header { email: EmailId, range: Range<u64>, octets: BytesMut, done: Option<Result<(), Refusal>> },
}

impl Reading {
    /// Takes a piece; false when an announced literal can't be filled.
    pub(super) fn answered(&mut self, answer: Result<Bytes, Refusal>) -> bool {
        match self {
            Reading::Nothing => true,
            Reading::First(first) => {
                *first = Some(answer);
                true
            }
            Reading::Literal { piece, .. } => match answer {
                Ok(octets) if !octets.is_empty() => {
                    *piece = Some(octets);
                    true
                }
                _ => false,
            },
            Reading::Decoding(decoding) => decoding.answered(answer),
            Reading::Previewing(previewing) => previewing.answered(answer),
            Reading::Header { range, octets, done, .. } => {
                match answer {
                    Ok(piece) => {
                        octets.put_slice(&piece);
                        let want = range.end - range.start;
                        // A header shorter than the store said is looked through as far as it goes.
                        if piece.is_empty() || octets.len() as u64 >= want {
                            octets.truncate(usize::try_from(want).unwrap_or(usize::MAX));
                            *done = Some(Ok(()));
                        }
                    }
                    Err(refusal) => *done = Some(Err(refusal)),
                }
                true
            }
        }
    }
}

/// What a row that stops needs to go on.
pub(super) enum Need {
    /// The start of this range of this message.
    Read(EmailId, Range<u64>),
    /// Room in the output.
    Room,
}

/// What a section is made of.
enum Source {
    /// There is no such section.
    None,
    /// These octets.
    Octets(Bytes),
    /// Octets of the message that have to be read.
    Range(Range<u64>),
}

impl Fetch {
    /// Writes a section from where it stopped; what is needed when it stops again.
    pub(super) fn section(
        &mut self,
        core: &mut Core,
        page: &ItemPage,
        row: &ItemRow,
        skeleton: Option<SkeletonRef<'_>>,
        section: &BodySection<'static>,
    ) -> Result<(), Need> {
        if matches!(self.reading, Reading::Literal { .. }) {
            return self.literal(core, row.email);
        }
        let source = self.source(core, page, row, skeleton, section)?;
        let first = match &source {
            Source::Range(range) if !range.is_empty() => match std::mem::take(&mut self.reading) {
                Reading::First(Some(first)) => Some(first),
                _ => {
                    self.reading = Reading::First(None);
                    return Err(Need::Read(row.email, range.clone()));
                }
            },
            _ => None,
        };
        self.reading = Reading::Nothing;
        self.space(core);
        let quoted = core.quoted;
        let out = core.outbox.text();
        write_name(section, quoted, out);
        match (source, first) {
            (Source::None, _) => out.put_slice(b" NIL"),
            (Source::Octets(octets), _) => {
                write_length(octets.len() as u64, out);
                core.outbox.body(without_nul(octets));
            }
            (Source::Range(range), None) => write_length(range.end - range.start, out),
            (Source::Range(_), Some(Err(refusal))) => {
                self.failed = Some(refused_section(refusal));
                out.put_slice(b" NIL");
            }
            (Source::Range(range), Some(Ok(octets))) => {
                if octets.is_empty() {
                    // Nothing was announced yet: the section is told as missing.
                    self.failed = Some(refused_section(Refusal::Corrupt));
                    out.put_slice(b" NIL");
                    return Ok(());
                }
                let left = range.end - range.start;
                write_length(left, out);
                self.reading = Reading::Literal { offset: range.start, left, piece: Some(octets) };
                return self.literal(core, row.email);
            }
        }
        Ok(())
    }

    /// Sends an announced literal on.
    fn literal(&mut self, core: &mut Core, email: EmailId) -> Result<(), Need> {
        let Reading::Literal { offset, left, piece } = &mut self.reading else { return Ok(()) };
        if let Some(mut octets) = piece.take() {
            octets.truncate(usize::try_from(*left).unwrap_or(usize::MAX));
            *offset += octets.len() as u64;
            *left -= octets.len() as u64;
            core.outbox.body(without_nul(octets));
        }
        if *left == 0 {
            self.reading = Reading::Nothing;
            return Ok(());
        }
        if !core.has_room() {
            return Err(Need::Room);
        }
        let range = *offset..*offset + *left;
        Err(Need::Read(email, range))
    }

    fn source(
        &mut self,
        core: &Core,
        page: &ItemPage,
        row: &ItemRow,
        skeleton: Option<SkeletonRef<'_>>,
        section: &BodySection<'static>,
    ) -> Result<Source, Need> {
        let Some(range) = range_of(&section.section, row.size, skeleton) else { return Ok(Source::None) };
        // Octets in the page are used when they are the whole message, as the row says.
        let content = page.content(row).filter(|content| content.len() as u64 == row.size);
        let (fields, wanted) = match &section.section.of {
            SectionOf::Fields(fields) => (fields, true),
            SectionOf::FieldsNot(fields) => (fields, false),
            _ => {
                let range = cut(range, section.partial);
                return Ok(match content.and_then(|content| slice(&content, &range)) {
                    Some(octets) => Source::Octets(octets),
                    None => Source::Range(range),
                });
            }
        };
        let range = range.start..range.end.min(range.start.saturating_add(core.config.limits.header as u64));
        let filtered = match content.and_then(|content| slice(&content, &range)) {
            Some(header) => filter(&header, fields, wanted),
            None => match self.header(row.email, range)? {
                Ok(header) => filter(&header, fields, wanted),
                Err(refusal) => {
                    self.failed = Some(refused_section(refusal));
                    return Ok(Source::None);
                }
            },
        };
        let piece = cut(0..filtered.len() as u64, section.partial);
        Ok(slice(&filtered, &piece).map_or(Source::None, Source::Octets))
    }

    /// A header that is not in the page, read once for all the sections of a row that want it.
    fn header(&mut self, email: EmailId, range: Range<u64>) -> Result<Result<Bytes, Refusal>, Need> {
        match &mut self.reading {
            Reading::Header { email: of, range: have, octets, done } if *of == email && *have == range => {
                return match done {
                    Some(Ok(())) => Ok(Ok(octets.split().freeze())),
                    Some(Err(refusal)) => Ok(Err(*refusal)),
                    None => Err(Need::Read(email, range.start + octets.len() as u64..range.end)),
                };
            }
            _ => {}
        }
        if range.is_empty() {
            return Ok(Ok(Bytes::new()));
        }
        self.reading = Reading::Header { email, range: range.clone(), octets: BytesMut::new(), done: None };
        Err(Need::Read(email, range))
    }
}

/// Where a section lies in a message of this size; of HEADER.FIELDS the whole header.
pub(in crate::server) fn range_of(
    section: &Section<'_>,
    size: u64,
    skeleton: Option<SkeletonRef<'_>>,
) -> Option<Range<u64>> {
    let part = section.part.as_slice();
    let within = |specifier| skeleton.and_then(|skeleton| skeleton.section_range(part, specifier));
    match &section.of {
        SectionOf::Whole if part.is_empty() => Some(0..size),
        SectionOf::Whole => within(Specifier::Content),
        SectionOf::Header | SectionOf::Fields(_) | SectionOf::FieldsNot(_) => within(Specifier::Header),
        SectionOf::Text => within(Specifier::Text),
        SectionOf::Mime => within(Specifier::Mime),
    }
}

/// The part of a range that a partial names (RFC 9051 §6.4.5): a start behind the end is the empty piece there.
pub(in crate::server) fn cut(range: Range<u64>, partial: Option<(u64, u64)>) -> Range<u64> {
    let Some((first, count)) = partial else { return range };
    let start = range.start.saturating_add(first).min(range.end);
    start..start.saturating_add(count).min(range.end)
}

/// RFC 3501 §4.3.1, §9 `CHAR8`: no NUL stands in a literal. One that a message holds is sent as 0x80, which means nothing
/// in any charset of mail, so that sizes and partials stay true.
pub(super) fn without_nul(octets: Bytes) -> Bytes {
    if memchr::memchr(0, &octets).is_none() {
        return octets;
    }
    octets.iter().map(|&octet| if octet == 0 { 0x80 } else { octet }).collect()
}

pub(in crate::server) fn slice(octets: &Bytes, range: &Range<u64>) -> Option<Bytes> {
    let (start, end) = (usize::try_from(range.start).ok()?, usize::try_from(range.end).ok()?);
    (start <= end && end <= octets.len()).then(|| octets.slice(start..end))
}

/// RFC 9051 §6.4.5.1: the fields of these names, or all others, as they stand; the blank line always follows.
pub(in crate::server) fn filter(header: &[u8], names: &[Text<'_>], wanted: bool) -> Bytes {
    let mut filtered = BytesMut::new();
    for field in Fields::new(header) {
        if names.iter().any(|name| field.is(name)) == wanted {
            filtered.put_slice(field.octets);
            // The last line of a damaged header may have no end.
            if !field.octets.ends_with(b"\n") {
                filtered.put_slice(b"\r\n");
            }
        }
    }
    filtered.put_slice(b"\r\n");
    filtered.freeze()
}

/// ` {n}` and its line end, or ` ""`.
pub(super) fn write_length(octets: u64, out: &mut BytesMut) {
    if octets == 0 {
        out.put_slice(b" \"\"");
        return;
    }
    out.put_slice(b" {");
    response::number(octets, out);
    out.put_slice(b"}\r\n");
}

/// `1.2.3`
pub(super) fn write_part(part: &[u32], out: &mut BytesMut) {
    for (at, number) in part.iter().enumerate() {
        if at > 0 {
            out.put_u8(b'.');
        }
        response::number(u64::from(*number), out);
    }
}

/// The name a section is answered by: as it was asked for, in upper case, with the origin of a partial.
pub(super) fn write_name(section: &BodySection<'_>, quoted: Quoted, out: &mut BytesMut) {
    match section.spelling {
        Spelling::Rfc822 => return out.put_slice(b"RFC822"),
        Spelling::Rfc822Header => return out.put_slice(b"RFC822.HEADER"),
        Spelling::Rfc822Text => return out.put_slice(b"RFC822.TEXT"),
        Spelling::Body => out.put_slice(b"BODY["),
        Spelling::Binary => out.put_slice(b"BINARY["),
    }
    write_part(&section.section.part, out);
    let dot = !section.section.part.is_empty();
    let (word, fields): (&[u8], &[Text<'_>]) = match &section.section.of {
        SectionOf::Whole => (b"", &[]),
        SectionOf::Header => (b"HEADER", &[]),
        SectionOf::Fields(fields) => (b"HEADER.FIELDS", fields),
        SectionOf::FieldsNot(fields) => (b"HEADER.FIELDS.NOT", fields),
        SectionOf::Text => (b"TEXT", &[]),
        SectionOf::Mime => (b"MIME", &[]),
    };
    if dot && !word.is_empty() {
        out.put_u8(b'.');
    }
    out.put_slice(word);
    let mut separator: &[u8] = b" (";
    for field in fields {
        out.put_slice(separator);
        separator = b" ";
        // A `]` may stand in an astring; clients that look for the section's end are spared it.
        if crate::command::is_astring(field) && !field.contains(&b']') {
            out.put_slice(field);
        } else {
            response::string(field, quoted, out);
        }
    }
    if !fields.is_empty() {
        out.put_u8(b')');
    }
    out.put_u8(b']');
    if let Some((first, _)) = section.partial {
        out.put_u8(b'<');
        response::number(first, out);
        out.put_u8(b'>');
    }
}

#[cfg(test)]
mod tests {
    use std::borrow::Cow;

    use super::*;

    #[test]
    fn a_partial_never_leaves_its_range() {
        assert_eq!(cut(10..20, None), 10..20);
        assert_eq!(cut(10..20, Some((0, 5))), 10..15);
        assert_eq!(cut(10..20, Some((8, 5))), 18..20);
        assert_eq!(cut(10..20, Some((10, 5))), 20..20);
        assert_eq!(cut(10..20, Some((u64::MAX, u64::MAX))), 20..20);
    }

    #[test]
    fn nuls_are_not_sent() {
        assert_eq!(without_nul(Bytes::from_static(b"a\0b\0")), &b"a\x80b\x80"[..]);
        let plain = Bytes::from_static(b"plain");
        assert_eq!(without_nul(plain.clone()).as_ptr(), plain.as_ptr(), "not copied");
    }

    #[test]
    fn fields_are_picked_as_they_stand() {
        let header = b"From: a\r\nTo: b,\r\n\tc\r\nfrom: d\r\n\r\n";
        let from = [Cow::Borrowed(&b"FROM"[..])];
        assert_eq!(filter(header, &from, true), &b"From: a\r\nfrom: d\r\n\r\n"[..]);
        assert_eq!(filter(header, &from, false), &b"To: b,\r\n\tc\r\n\r\n"[..]);
        assert_eq!(filter(b"", &from, true), &b"\r\n"[..]);
        assert_eq!(filter(b"From: a", &from, true), &b"From: a\r\n\r\n"[..]);
    }
}
