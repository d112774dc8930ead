//! The parts found so far, and the skeleton made of them.

use std::ops::Range;

use super::capture::{Capture, Slot};
use super::kept::Kept;
use super::{Boundaries, Limits, Line};
use crate::mime::encoding::TransferEncoding;
use crate::mime::parameter::{MediaType, Parameters};
use crate::mime::skeleton::{
    HAS_ENVELOPE, KIND_MESSAGE, KIND_MULTIPART, NO_TYPE_DIGEST, NO_TYPE_PLAIN, OPAQUE, SYNTHETIC, Skeleton, Tag,
    VERSION,
};
use crate::mime::wire::{Reader, number_len, put_number, put_octets};

/// The parts in the order of the message; every parent comes before its children.
#[derive(Debug)]
pub(super) struct Structure {
    parts: Vec<Part>,
    /// Places of the open parts, outermost first.
    open: Vec<usize>,
    /// The encoded fields of all parts, in their order.
    fields: Vec<u8>,
}

#[derive(Debug, Default)]
struct Part {
    parent: usize,
    flags: u8,
    /// Whether parts inside that name no type are messages (RFC 2046 §5.1.5).
    digest: bool,
    header_start: u64,
    body_start: u64,
    end: u64,
    /// LFs before the body, later those in it.
    lines: u64,
    fields: Range<usize>,
}

/// What follows a header.
pub(super) enum Next {
    /// The header of the message inside.
    Message,
    Body,
}

impl Structure {
    pub(super) fn new() -> Structure {
        let root = Part { flags: HAS_ENVELOPE, ..Part::default() };
        Structure { parts: vec![root], open: vec![0], fields: Vec::new() }
    }

    /// Octets the fields of all parts take so far.
    pub(super) fn spent(&self) -> usize {
        self.fields.len()
    }

    /// Whether the innermost open part is the message itself.
    pub(super) fn is_root(&self) -> bool {
        self.open.len() == 1
    }

    /// Whether the innermost open part is a message.
    pub(super) fn is_message(&self) -> bool {
        self.innermost().and_then(|at| self.parts.get(at)).is_some_and(|part| part.flags & HAS_ENVELOPE != 0)
    }

    fn innermost(&self) -> Option<usize> {
        self.open.last().copied()
    }

    fn push(&mut self, part: Part) {
        self.open.push(self.parts.len());
        self.parts.push(part);
    }

    /// Opens a part behind a delimiter of the innermost open multipart. False when it is the last one the limits allow,
    /// which is opaque and runs to the end of the message.
    pub(super) fn open_part(&mut self, limits: &Limits, at: Line) -> bool {
        let whole = self.parts.len().saturating_add(1) < limits.parts;
        let fields = self.fields.len()..self.fields.len();
        self.push(Part {
            parent: self.innermost().unwrap_or_default(),
            flags: if whole { 0 } else { OPAQUE },
            header_start: at.start,
            body_start: at.start,
            lines: at.lines,
            fields,
            ..Part::default()
        });
        whole
    }

    /// The header of the innermost open part is complete; its body begins at `at`. Also says which text to capture.
    pub(super) fn end_header(
        &mut self,
        kept: &mut Kept,
        boundaries: &mut Boundaries,
        limits: &Limits,
        at: Line,
        capture: Option<&mut Capture>,
    ) -> (Next, Option<(Slot, usize)>) {
        let Some(index) = self.innermost() else { return (Next::Body, None) };
        let start = self.fields.len();
        let (references, has) = match capture {
            Some(capture) => {
                let has = [capture.has(Slot::Plain), capture.has(Slot::Html)];
                (self.is_root().then_some(&mut capture.references), has)
            }
            None => (None, [true, true]),
        };
        let said = kept.put(limits, &mut self.fields, references);
        let fields = start..self.fields.len();
        let in_digest = self
            .parts
            .get(index)
            .and_then(|part| self.parts.get(part.parent).filter(|_| part.parent != index))
            .is_some_and(|parent| parent.digest);
        let default = if in_digest { MediaType::Message } else { MediaType::Plain };
        let media = said.media.unwrap_or(default);
        let fits = self.open.len() <= limits.depth;
        let identity = said.encoding != TransferEncoding::Base64
            && said.encoding != TransferEncoding::QuotedPrintable
            && said.encoding != TransferEncoding::Unknown;
        let mut boundary = None;
        let mut flags = match (said.media, in_digest) {
            (Some(_), _) => 0,
            (None, true) => NO_TYPE_DIGEST,
            (None, false) => NO_TYPE_PLAIN,
        };
        let mut digest = false;
        let mut next = Next::Body;
        let mut slot = None;
        match media {
            _ if said.type_cut => flags |= OPAQUE,
            MediaType::Multipart { .. } if !fits => flags |= OPAQUE,
            MediaType::Multipart { digest: is_digest } => {
                flags |= KIND_MULTIPART;
                digest = is_digest;
                boundary = self.boundary(&fields, limits);
            }
            // RFC 2046 §5.2.1: a message may not be encoded. Where it is, its parts are not octets of this message.
            MediaType::Message if !fits || !identity || self.parts.len().saturating_add(1) >= limits.parts => {
                flags |= OPAQUE;
            }
            MediaType::Message => {
                flags |= KIND_MESSAGE;
                next = Next::Message;
            }
            MediaType::Plain if !has[0] && !said.attachment && !self.is_nested() => slot = Some((Slot::Plain, index)),
            MediaType::Html if !has[1] && !said.attachment && !self.is_nested() => slot = Some((Slot::Html, index)),
            MediaType::Plain | MediaType::Html | MediaType::Other => {}
        }
        if let Some(boundary) = boundary {
            boundaries.push(&boundary, self.open.len() - 1);
        }
        if let Some(part) = self.parts.get_mut(index) {
            part.flags |= flags;
            part.digest = digest;
            part.body_start = at.start;
            part.lines = at.lines;
            part.fields = fields;
        }
        if matches!(next, Next::Message) {
            let fields = self.fields.len()..self.fields.len();
            self.push(Part {
                parent: index,
                flags: HAS_ENVELOPE,
                header_start: at.start,
                body_start: at.start,
                lines: at.lines,
                fields,
                ..Part::default()
            });
        }
        (next, slot)
    }

    /// Whether the innermost open part lies in a message inside the message.
    fn is_nested(&self) -> bool {
        let mut inner = self.open.iter().skip(1).filter_map(|&at| self.parts.get(at));
        inner.any(|part| part.flags & HAS_ENVELOPE != 0)
    }

    /// The boundary of a multipart with these fields.
    fn boundary(&self, fields: &Range<usize>, limits: &Limits) -> Option<Vec<u8>> {
        let mut reader = Reader(self.fields.get(fields.clone())?);
        while let Some(tag) = reader.octet() {
            let value = reader.octets()?;
            if tag != Tag::ContentType as u8 {
                continue;
            }
            let mut value = Reader(value);
            value.octets()?;
            value.octets()?;
            let parameters = Parameters::new(value.0);
            let boundary = match parameters.value("boundary") {
                Some(plain) => plain.to_vec(),
                None => parameters.decoded("boundary")?.into_owned().into_bytes(),
            };
            // RFC 2046 §5.1.1: a boundary does not end with a blank.
            let boundary = boundary.trim_ascii_end();
            return (!boundary.is_empty() && boundary.len() <= limits.boundary).then(|| boundary.to_vec());
        }
        None
    }

    /// Closes the open parts inside the one at `level` of the stack: a delimiter line starts at `at`.
    pub(super) fn close_above(&mut self, level: usize, at: Line, capture: Option<&mut Capture>) {
        self.close(level.saturating_add(1), at, capture);
    }

    /// Closes everything: the message ends at `at`.
    pub(super) fn close_all(&mut self, at: Line, capture: Option<&mut Capture>) {
        self.close(0, at, capture);
    }

    fn close(&mut self, keep: usize, at: Line, mut capture: Option<&mut Capture>) {
        // RFC 2046 §5.1.1: the line end before a delimiter is the delimiter's.
        let mut end = at.start.saturating_sub(at.end_len);
        let mut lines = at.lines.saturating_sub(u64::from(at.end_len > 0));
        while self.open.len() > keep {
            let Some(index) = self.open.pop() else { return };
            let last = self.parts.len() == index + 1;
            let Some(part) = self.parts.get_mut(index) else { return };
            if part.body_start > end {
                // The line end was the blank line's or that of a header without one; parents hold it too.
                end = part.body_start;
                lines = at.lines;
            }
            part.end = end;
            part.lines = lines.saturating_sub(part.lines);
            let len = end - part.body_start;
            let body_start = part.body_start;
            let childless = last && part.flags & KIND_MULTIPART != 0;
            if let Some(capture) = capture.as_deref_mut() {
                capture.end(index, len);
            }
            if childless {
                // IMAP's grammar wants a body inside every multipart: an empty text stands for what is not there.
                let fields = self.fields.len()..self.fields.len();
                self.parts.push(Part {
                    parent: index,
                    flags: SYNTHETIC | NO_TYPE_PLAIN,
                    header_start: body_start,
                    body_start,
                    end: body_start,
                    fields,
                    ..Part::default()
                });
            }
        }
    }

    /// The skeleton of the closed parts.
    pub(super) fn skeleton(&self) -> Skeleton {
        // Lengths first, from the last part to the first, so that every child is measured before its parent.
        let mut inner = vec![0usize; self.parts.len()];
        let mut lens = vec![0usize; self.parts.len()];
        for (index, part) in self.parts.iter().enumerate().rev() {
            let numbers =
                [part.header_start, part.body_start - part.header_start, part.end - part.body_start, part.lines];
            let fields = part.fields.len();
            let len = 1
                + numbers.iter().map(|&number| number_len(number)).sum::<usize>()
                + number_len(fields as u64)
                + fields
                + inner.get(index).copied().unwrap_or_default();
            if let Some(own) = lens.get_mut(index) {
                *own = len;
            }
            if index > 0
                && let Some(parent) = inner.get_mut(part.parent)
            {
                *parent += number_len(len as u64) + len;
            }
        }
        let mut out = Vec::with_capacity(lens.first().copied().unwrap_or_default() + 8);
        out.push(VERSION);
        for (part, &len) in self.parts.iter().zip(&lens) {
            put_number(&mut out, len as u64);
            out.push(part.flags);
            put_number(&mut out, part.header_start);
            put_number(&mut out, part.body_start - part.header_start);
            put_number(&mut out, part.end - part.body_start);
            put_number(&mut out, part.lines);
            put_octets(&mut out, self.fields.get(part.fields.clone()).unwrap_or_default());
        }
        Skeleton::trusted(out)
    }
}
