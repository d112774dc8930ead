//! BINARY and BINARY.SIZE (RFC 3516 §4.2, §4.3; RFC 9051 §6.4.5): parts without their transfer encoding.
//!
//! A part that is in the page is decoded there. One that is not is read twice in ranges: once to learn its size and
//! whether NUL stands in it, because both have to be said before the first octet, and once to send it. So a part of any
//! size costs one piece of memory.
//!
//! ```text
//!   Measure ─ ReadBody… ─▶ size, NUL ─┬─▶ BINARY.SIZE
//!                                     └─▶ ` {n}` or ` ~{n}` ─▶ Send ─ ReadBody… ─▶ done
//! ```

use std::ops::Range;

use bytes::{BufMut, Bytes};
use mailstore_trait::id::EmailId;
use mailstore_trait::item::{ItemPage, ItemRow};
use mailstore_trait::mime::{Decoder, PartKind, SkeletonRef, Specifier, TransferEncoding};
use mailstore_trait::session::CloseReason;

use super::section::{Need, Reading, cut, slice, write_length, write_name, write_part};
use super::{Fetch, refused_section};
use crate::command::BodySection;
use crate::event::Event;
use crate::request::Refusal;
use crate::response::{self, Reply};
use crate::server::state::Core;

/// A part that is not in the page, decoded as it is read.
#[derive(Debug)]
pub(super) struct Decoding {
    email: EmailId,
    /// Its encoded octets.
    range: Range<u64>,
    encoding: TransferEncoding,
    /// The next encoded octet to read.
    at: u64,
    decoder: Decoder,
    /// Decoded octets before `piece`, and the last that came.
    before: u64,
    piece: Vec<u8>,
    nul: bool,
    failed: Option<Refusal>,
    /// The decoded octets to send, once they were announced; `None` while they are counted.
    sends: Option<Range<u64>>,
}

impl Decoding {
    fn new(email: EmailId, encoded: &Encoded, sends: Option<Range<u64>>) -> Decoding {
        Decoding {
            email,
            range: encoded.range.clone(),
            encoding: encoded.encoding,
            at: encoded.range.start,
            decoder: Decoder::new(encoded.encoding),
            before: 0,
            piece: Vec::new(),
            nul: false,
            failed: None,
            sends,
        }
    }

    /// Takes encoded octets; false when an announced literal can't be filled.
    pub(super) fn answered(&mut self, answer: Result<Bytes, Refusal>) -> bool {
        let octets = match answer {
            Ok(octets) if !octets.is_empty() => octets,
            Ok(_) => return self.fail(Refusal::Corrupt),
            Err(refusal) => return self.fail(refusal),
        };
        let want = usize::try_from(self.range.end - self.at).unwrap_or(usize::MAX);
        let octets = octets.get(..want).unwrap_or(&octets);
        self.decoder.push(octets, &mut self.piece);
        self.at += octets.len() as u64;
        if self.at == self.range.end {
            let identity = Decoder::new(TransferEncoding::Identity);
            std::mem::replace(&mut self.decoder, identity).finish(&mut self.piece);
        }
        if self.sends.is_none() {
            self.nul |= memchr::memchr(0, &self.piece).is_some();
            self.before += self.piece.len() as u64;
            self.piece.clear();
        }
        true
    }

    fn fail(&mut self, refusal: Refusal) -> bool {
        self.failed = Some(refusal);
        self.sends.is_none()
    }

    /// Decoded octets that are to be sent and have come.
    fn take(&mut self) -> Bytes {
        let sends = self.sends.clone().unwrap_or_default();
        let piece = Bytes::from(std::mem::take(&mut self.piece));
        let here = self.before..self.before + piece.len() as u64;
        self.before = here.end;
        let (start, end) = (sends.start.max(here.start), sends.end.min(here.end));
        if start >= end {
            return Bytes::new();
        }
        slice(&piece, &(start - here.start..end - here.start)).unwrap_or_default()
    }

    /// Whether everything announced was sent.
    fn is_done(&self) -> bool {
        self.sends.as_ref().is_none_or(|sends| self.before >= sends.end)
    }
}

/// Where a part's octets lie, and how they are encoded.
struct Encoded {
    range: Range<u64>,
    encoding: TransferEncoding,
}

/// What is known of a decoded part.
enum Decoded {
    /// It is here.
    Octets(Bytes),
    /// It has so many octets; whether NUL is among them.
    Measured(u64, bool),
}

/// RFC 2045 §6.4: multiparts and messages are never encoded as a whole, whatever their headers say.
fn encoded(row: &ItemRow, skeleton: Option<SkeletonRef<'_>>, part: &[u32]) -> Option<Encoded> {
    if part.is_empty() {
        return Some(Encoded { range: 0..row.size, encoding: TransferEncoding::Identity });
    }
    let skeleton = skeleton?;
    let range = skeleton.section_range(part, Specifier::Content)?;
    let encoding = match skeleton.section(part)? {
        part if part.kind() == PartKind::Multipart || part.message().is_some() => TransferEncoding::Identity,
        part => part.transfer_encoding(),
    };
    Some(Encoded { range, encoding })
}

/// RFC 3516 §4.3.
fn unknown_cte() -> Reply {
    Reply::no("UNKNOWN-CTE", "Unknown transfer encoding")
}

impl Fetch {
    /// Writes a decoded section from where it stopped; what is needed when it stops again.
    pub(super) fn binary(
        &mut self,
        core: &mut Core,
        page: &ItemPage,
        row: &ItemRow,
        skeleton: Option<SkeletonRef<'_>>,
        section: &BodySection<'static>,
    ) -> Result<(), Need> {
        if matches!(&self.reading, Reading::Decoding(decoding) if decoding.sends.is_some()) {
            return self.send_decoded(core);
        }
        let encoded = encoded(row, skeleton, &section.section.part);
        let decoded = match &encoded {
            Some(encoded) => self.decoded(page, row, encoded, true)?,
            None => None,
        };
        self.space(core);
        let quoted = core.quoted;
        let out = core.outbox.text();
        write_name(section, quoted, out);
        match (decoded, encoded) {
            (Some(Decoded::Octets(octets)), _) => {
                let nul = memchr::memchr(0, &octets).is_some();
                let piece = cut(0..octets.len() as u64, section.partial);
                let octets = slice(&octets, &piece).unwrap_or_default();
                announce(octets.len() as u64, nul, out);
                core.outbox.body(octets);
                Ok(())
            }
            (Some(Decoded::Measured(size, nul)), Some(encoded)) => {
                let sends = cut(0..size, section.partial);
                announce(sends.end - sends.start, nul, out);
                if sends.is_empty() {
                    return Ok(());
                }
                self.reading = Reading::Decoding(Box::new(Decoding::new(row.email, &encoded, Some(sends))));
                self.send_decoded(core)
            }
            _ => {
                out.put_slice(b" NIL");
                Ok(())
            }
        }
    }

    /// Writes how long a decoded part is; what is needed when that is not known yet.
    pub(super) fn binary_size(
        &mut self,
        core: &mut Core,
        page: &ItemPage,
        row: &ItemRow,
        skeleton: Option<SkeletonRef<'_>>,
        part: &[u32],
    ) -> Result<(), Need> {
        // RFC 9051 §9, msg-att-static: there is no NIL for a part that is not there, so nothing is said of it.
        let Some(encoded) = encoded(row, skeleton, part) else { return Ok(()) };
        let size = match self.decoded(page, row, &encoded, false)? {
            Some(Decoded::Octets(octets)) => octets.len() as u64,
            Some(Decoded::Measured(size, _)) => size,
            None => return Ok(()),
        };
        self.space(core);
        let out = core.outbox.text();
        out.put_slice(b"BINARY.SIZE[");
        write_part(part, out);
        out.put_slice(b"] ");
        response::number(size, out);
        Ok(())
    }

    /// The decoded part, or its size; nothing when that can't be had, which the tagged answer then says.
    fn decoded(
        &mut self,
        page: &ItemPage,
        row: &ItemRow,
        encoded: &Encoded,
        wanted: bool,
    ) -> Result<Option<Decoded>, Need> {
        if encoded.encoding == TransferEncoding::Unknown {
            self.failed = Some(unknown_cte());
            return Ok(None);
        }
        let identity = encoded.encoding == TransferEncoding::Identity;
        if identity && !wanted {
            return Ok(Some(Decoded::Measured(encoded.range.end - encoded.range.start, false)));
        }
        // Octets in the page are used when they are the whole message, as the row says.
        let content = page.content(row).filter(|content| content.len() as u64 == row.size);
        if let Some(octets) = content.and_then(|content| slice(&content, &encoded.range)) {
            if identity {
                return Ok(Some(Decoded::Octets(octets)));
            }
            let mut decoded = Vec::new();
            let mut decoder = Decoder::new(encoded.encoding);
            decoder.push(&octets, &mut decoded);
            decoder.finish(&mut decoded);
            return Ok(Some(Decoded::Octets(Bytes::from(decoded))));
        }
        if encoded.range.is_empty() {
            return Ok(Some(Decoded::Measured(0, false)));
        }
        match &self.reading {
            Reading::Decoding(of)
                if of.email == row.email && of.range == encoded.range && of.encoding == encoded.encoding =>
            {
                if let Some(refusal) = of.failed {
                    self.reading = Reading::Nothing;
                    self.failed = Some(refused_section(refusal));
                    return Ok(None);
                }
                if of.at < of.range.end {
                    return Err(Need::Read(of.email, of.at..of.range.end));
                }
                Ok(Some(Decoded::Measured(of.before, of.nul)))
            }
            _ => {
                self.reading = Reading::Decoding(Box::new(Decoding::new(row.email, encoded, None)));
                Err(Need::Read(row.email, encoded.range.clone()))
            }
        }
    }

    /// Sends an announced part on.
    fn send_decoded(&mut self, core: &mut Core) -> Result<(), Need> {
        let Reading::Decoding(decoding) = &mut self.reading else { return Ok(()) };
        let octets = decoding.take();
        if !octets.is_empty() {
            core.outbox.body(octets);
        }
        if decoding.is_done() {
            self.reading = Reading::Nothing;
            return Ok(());
        }
        if decoding.at >= decoding.range.end {
            // RFC 9051 §4.3: the literal's length was announced; the second reading was shorter than the first.
            core.event(Event::Fault { what: "a message changed while it was read" });
            core.close(CloseReason::Unanswered);
            self.reading = Reading::Nothing;
            return Ok(());
        }
        if !core.has_room() {
            return Err(Need::Room);
        }
        Err(Need::Read(decoding.email, decoding.at..decoding.range.end))
    }
}

/// RFC 3516 §4.3: a literal8 where NUL stands among the octets, and only there, so that clients need not look.
fn announce(octets: u64, nul: bool, out: &mut bytes::BytesMut) {
    if !nul || octets == 0 {
        return write_length(octets, out);
    }
    out.put_slice(b" ~{");
    response::number(octets, out);
    out.put_slice(b"}\r\n");
}
