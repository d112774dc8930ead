//! ENVELOPE, BODY and BODYSTRUCTURE, written straight from a message's skeleton (RFC 9051 §7.5.2, RFC 3501 §7.4.2).
//!
//! Nothing is parsed and nothing is built in between: one walk over the skeleton appends to the output buffer. The
//! skeleton holds text as it was sent, so encoded words stay encoded; what a form needs beyond that (defaults, NIL or
//! `""`, quoted or literal) is decided here and nowhere else.

mod continuation;

use bytes::{BufMut, BytesMut};
use mailstore_trait::mime::{Address, Addresses, ContentType, Envelope, Mailbox, Parameters, PartKind, PartRef};
use smallvec::SmallVec;

use crate::response::{Quoted, nstring, number, string};

/// Appends `envelope`: ten fields in parentheses.
pub fn envelope(envelope: &Envelope<'_>, quoted: Quoted, out: &mut BytesMut) {
    out.put_u8(b'(');
    nstring(envelope.date, quoted, out);
    out.put_u8(b' ');
    nstring(envelope.subject, quoted, out);
    for originators in [envelope.from, envelope.sender_or_from(), envelope.reply_to_or_from()] {
        out.put_u8(b' ');
        if originators.is_empty() {
            // RFC 9051 §7.5.2: from, sender and reply-to can't be NIL, whatever the message lacks.
            out.put_slice(b"((NIL NIL \"\" \"\"))");
        } else {
            addresses(originators, quoted, out);
        }
    }
    for recipients in [envelope.to, envelope.cc, envelope.bcc] {
        out.put_u8(b' ');
        addresses(recipients, quoted, out);
    }
    out.put_u8(b' ');
    nstring(envelope.in_reply_to, quoted, out);
    out.put_u8(b' ');
    nstring(envelope.message_id, quoted, out);
    out.put_u8(b')');
}

fn addresses(list: Addresses<'_>, quoted: Quoted, out: &mut BytesMut) {
    if list.is_empty() {
        return out.put_slice(b"NIL");
    }
    out.put_u8(b'(');
    // RFC 9051 §9, `env-to`: nothing stands between two addresses.
    for address in list {
        match address {
            Address::Mailbox(Mailbox { name, route, local, domain }) => {
                out.put_u8(b'(');
                nstring(name, quoted, out);
                out.put_u8(b' ');
                nstring(route, quoted, out);
                out.put_u8(b' ');
                // A NIL host or mailbox would make this the mark of a group.
                string(local, quoted, out);
                out.put_u8(b' ');
                string(domain, quoted, out);
                out.put_u8(b')');
            }
            // RFC 9051 §7.5.2: a group begins with a NIL host and its name as mailbox, and ends with both NIL.
            Address::Group { name } => {
                out.put_slice(b"(NIL NIL ");
                string(name, quoted, out);
                out.put_slice(b" NIL)");
            }
            Address::GroupEnd => out.put_slice(b"(NIL NIL NIL NIL)"),
        }
    }
    out.put_u8(b')');
}

/// Appends the non-extensible `body`: what `BODY` without a section is answered with.
pub fn body(message: PartRef<'_>, quoted: Quoted, out: &mut BytesMut) {
    Structure { extended: false, quoted, out }.write(message);
}

/// Appends `body` with its extension data: what `BODYSTRUCTURE` is answered with.
pub fn body_structure(message: PartRef<'_>, quoted: Quoted, out: &mut BytesMut) {
    Structure { extended: true, quoted, out }.write(message);
}

struct Structure<'o> {
    extended: bool,
    quoted: Quoted,
    out: &'o mut BytesMut,
}

impl Structure<'_> {
    fn write(&mut self, message: PartRef<'_>) {
        // Parts whose end is still to be written, innermost last, with what is left of their children.
        let mut open = SmallVec::<[_; 8]>::new();
        let mut next = Some(message);
        loop {
            if let Some(part) = next.take() {
                self.out.put_u8(b'(');
                match (part.kind(), part.message()) {
                    (PartKind::Multipart, _) => open.push((part, part.children())),
                    (PartKind::Message, Some(inner)) => {
                        self.message_begin(part, inner);
                        open.push((part, part.children()));
                    }
                    _ => self.leaf(part),
                }
                continue;
            }
            let Some((part, children)) = open.last_mut() else { return };
            // RFC 9051 §9, `body-type-mpart`: nothing stands between two bodies.
            next = children.next();
            if next.is_none() {
                let part = *part;
                open.pop();
                match part.kind() {
                    PartKind::Multipart => self.multipart_end(part),
                    _ => self.message_end(part),
                }
            }
        }
    }

    fn multipart_end(&mut self, part: PartRef<'_>) {
        let content_type = part.content_type();
        self.space();
        self.string(content_type.subtype);
        if self.extended {
            self.space();
            self.parameters(content_type.parameters);
            self.extension(part);
        }
        self.out.put_u8(b')');
    }

    fn message_begin(&mut self, part: PartRef<'_>, inner: PartRef<'_>) {
        let content_type = part.content_type();
        self.string(content_type.media_type);
        self.space();
        self.string(content_type.subtype);
        self.fields(part, content_type);
        self.space();
        match inner.envelope() {
            Some(fields) => envelope(&fields, self.quoted, self.out),
            None => self.out.put_slice(EMPTY_ENVELOPE),
        }
        self.space();
    }

    fn message_end(&mut self, part: PartRef<'_>) {
        self.space();
        number(part.lines(), self.out);
        self.single_extension(part);
        self.out.put_u8(b')');
    }

    fn leaf(&mut self, part: PartRef<'_>) {
        let content_type = part.content_type();
        // RFC 9051 §9, `body-type-1part`: these types have other forms, which need parts that this one does not have.
        let has_other_form = content_type.is("multipart", "*")
            || content_type.is("message", "rfc822")
            || content_type.is("message", "global");
        if has_other_form {
            self.out.put_slice(b"\"application\" \"octet-stream\"");
        } else {
            self.string(content_type.media_type);
            self.space();
            self.string(content_type.subtype);
        }
        self.fields(part, content_type);
        if content_type.is("text", "*") {
            self.space();
            number(part.lines(), self.out);
        }
        self.single_extension(part);
        self.out.put_u8(b')');
    }

    /// `body-fields`, behind a space.
    fn fields(&mut self, part: PartRef<'_>, content_type: ContentType<'_>) {
        self.space();
        self.parameters(content_type.parameters);
        self.space();
        nstring(part.id(), self.quoted, self.out);
        self.space();
        nstring(part.description(), self.quoted, self.out);
        self.space();
        self.string(part.encoding());
        self.space();
        number(part.size(), self.out);
    }

    /// `body-ext-1part`, behind a space.
    fn single_extension(&mut self, part: PartRef<'_>) {
        if self.extended {
            self.space();
            nstring(part.md5(), self.quoted, self.out);
            self.extension(part);
        }
    }

    /// What the extensions of single and multiple parts have in common, behind a space.
    fn extension(&mut self, part: PartRef<'_>) {
        self.space();
        match part.disposition() {
            Some(disposition) => {
                self.out.put_u8(b'(');
                self.string(disposition.disposition_type);
                self.space();
                self.parameters(disposition.parameters);
                self.out.put_u8(b')');
            }
            None => self.out.put_slice(b"NIL"),
        }
        self.space();
        let mut languages = part.languages();
        match (languages.next(), languages.next()) {
            (None, _) => self.out.put_slice(b"NIL"),
            (Some(only), None) => self.string(only),
            (Some(first), Some(second)) => {
                self.out.put_u8(b'(');
                self.string(first);
                for language in std::iter::once(second).chain(languages) {
                    self.space();
                    self.string(language);
                }
                self.out.put_u8(b')');
            }
        }
        self.space();
        nstring(part.location(), self.quoted, self.out);
    }

    /// RFC 9051 §9, `body-fld-param`: NIL when there are none; names and values are strings, never NIL.
    fn parameters(&mut self, parameters: Parameters<'_>) {
        if parameters.is_empty() {
            return self.out.put_slice(b"NIL");
        }
        for (at, (name, value)) in continuation::joined(parameters).into_iter().flatten().enumerate() {
            self.out.put_u8(if at == 0 { b'(' } else { b' ' });
            self.string(&name);
            self.space();
            self.string(&value);
        }
        self.out.put_u8(b')');
    }

    fn space(&mut self) {
        self.out.put_u8(b' ');
    }

    fn string(&mut self, octets: &[u8]) {
        string(octets, self.quoted, self.out);
    }
}

/// An envelope that says nothing: of a message without a readable header.
pub(crate) const EMPTY_ENVELOPE: &[u8] =
    b"(NIL NIL ((NIL NIL \"\" \"\")) ((NIL NIL \"\" \"\")) ((NIL NIL \"\" \"\")) NIL NIL NIL NIL NIL)";

#[cfg(test)]
mod tests;
