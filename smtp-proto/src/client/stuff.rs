//! Dot-stuffing on the way out, by slices: RFC 5321 §4.5.2 and §2.3.8; for BDAT the same without the dots, RFC 3030 §2.
//!
//! A page of the message goes out as it is, but for a dot put before each line that begins with one, and for bare line
//! ends, which become CRLF (LF) or a space (CR): what leaves here cannot smuggle commands into the next hop.

use bytes::Bytes;
use mailstore_trait::session::Outbox;

use crate::server::body::{Judge, Judged};

/// Stuffs one message, page by page.
#[derive(Debug)]
pub(super) struct Stuffer {
    line_start: bool,
    form: Form,
    /// A CR ended the last page; what it is, the next one says.
    held_cr: bool,
}

/// How a message travels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Form {
    /// By DATA: lines, dots stuffed.
    Dotted,
    /// By BDAT: lines.
    Lines,
    /// By BDAT as BINARYMIME: octets as they are.
    Binary,
}

impl Stuffer {
    pub(super) fn new(form: Form) -> Stuffer {
        Stuffer { line_start: true, form, held_cr: false }
    }

    /// Queues a page.
    pub(super) fn page(&mut self, page: &Bytes, out: &mut Outbox) {
        let text: &[u8] = page;
        let Some(first) = text.first() else { return };
        if self.form == Form::Binary {
            return out.body(page.clone());
        }
        let mut at = 0;
        if std::mem::take(&mut self.held_cr) {
            if *first == b'\n' {
                out.text().extend_from_slice(b"\r\n");
                (at, self.line_start) = (1, true);
            } else {
                out.text().extend_from_slice(b" ");
                self.line_start = false;
            }
        }
        let (mut start, mut judge) = (at, Judge::default());
        while at < text.len() {
            let rest = text.get(at..).unwrap_or_default();
            if self.line_start && self.form == Form::Dotted && rest.first() == Some(&b'.') {
                queue(out, page, start..at);
                out.text().extend_from_slice(b".");
                start = at;
            }
            match judge.from(text, at) {
                Judged::Lines(to) => {
                    at = to;
                    self.line_start = text.get(at.wrapping_sub(1)) == Some(&b'\n');
                    continue;
                }
                Judged::Walk => {}
            }
            self.line_start = false;
            let Some(offset) = memchr::memchr2(b'\r', b'\n', rest) else {
                at = text.len();
                continue;
            };
            let end = at + offset;
            match (rest.get(offset), rest.get(offset + 1)) {
                (Some(b'\r'), Some(b'\n')) => (at, self.line_start) = (end + 2, true),
                (Some(b'\r'), None) => {
                    queue(out, page, start..end);
                    self.held_cr = true;
                    return;
                }
                (Some(b'\r'), Some(_)) => {
                    queue(out, page, start..end);
                    out.text().extend_from_slice(b" ");
                    (at, start) = (end + 1, end + 1);
                }
                _ => {
                    queue(out, page, start..end);
                    out.text().extend_from_slice(b"\r\n");
                    (at, start, self.line_start) = (end + 1, end + 1, true);
                }
            }
        }
        queue(out, page, start..at);
    }

    /// Ends the message: by DATA with a line end where the last line has none, and the dot.
    pub(super) fn finish(&mut self, out: &mut Outbox) {
        if std::mem::take(&mut self.held_cr) {
            out.text().extend_from_slice(b" ");
            self.line_start = false;
        }
        if self.form != Form::Dotted {
            return;
        }
        let end: &[u8] = if self.line_start { b".\r\n" } else { b"\r\n.\r\n" };
        out.text().extend_from_slice(end);
    }
}

fn queue(out: &mut Outbox, page: &Bytes, range: std::ops::Range<usize>) {
    if range.start < range.end && range.end <= page.len() {
        out.body(page.slice(range));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn stuffed(pages: &[&[u8]]) -> Vec<u8> {
        formed(Form::Dotted, pages)
    }

    fn formed(form: Form, pages: &[&[u8]]) -> Vec<u8> {
        let (mut stuffer, mut out, mut sent) = (Stuffer::new(form), Outbox::default(), Vec::new());
        for page in pages {
            stuffer.page(&Bytes::copy_from_slice(page), &mut out);
        }
        stuffer.finish(&mut out);
        while let Some(octets) = out.take() {
            sent.extend_from_slice(&octets);
        }
        sent
    }

    #[test]
    fn dots_are_stuffed_and_the_end_is_a_dot() {
        assert_eq!(stuffed(&[b".a\r\n.\r\nb.\r\n"]), b"..a\r\n..\r\nb.\r\n.\r\n");
        assert_eq!(stuffed(&[b""]), b".\r\n");
        assert_eq!(stuffed(&[b"no line end"]), b"no line end\r\n.\r\n");
        assert_eq!(stuffed(&[b"a\r\n", b".b\r", b"\n.", b"c\r"]), b"a\r\n..b\r\n..c \r\n.\r\n");
    }

    /// A message stored with bare line ends must not carry an end of data, or a command, to the next hop.
    #[test]
    fn bare_line_ends_do_not_leave() {
        assert_eq!(stuffed(&[b"a\n.\nb\r.\rc"]), b"a\r\n..\r\nb . c\r\n.\r\n");
        assert_eq!(stuffed(&[b"\n.\r\n"]), b"\r\n..\r\n.\r\n");
    }

    /// RFC 3030 §2: nothing is stuffed in a chunk; its lines end with CRLF all the same, unless it is binary.
    #[test]
    fn chunks_are_not_stuffed() {
        let pages: [&[u8]; 3] = [b".a\r\n.\r\nb\nc\r", b"\n.d\r", b"e\r"];
        assert_eq!(formed(Form::Lines, &pages), b".a\r\n.\r\nb\r\nc\r\n.d e ");
        assert_eq!(formed(Form::Binary, &pages), pages.concat());
    }

    proptest! {
        #[test]
        fn pages_do_not_matter(text in proptest::collection::vec(prop_oneof![Just(b'\r'), Just(b'\n'), Just(b'.'), Just(b'x')], 0..60), at in 0_usize..60) {
            let (one, two) = text.split_at(at.min(text.len()));
            prop_assert_eq!(stuffed(&[one, two]), stuffed(&[&text]));
            let long: Vec<u8> = [&b"line\r\n".repeat(300)[..], &text].concat();
            let expected = [&b"line\r\n".repeat(300)[..], &stuffed(&[&text])].concat();
            prop_assert_eq!(stuffed(&[&long]), expected);
            let long: Vec<u8> = [&text[..], &b"line\r\n".repeat(300)].concat();
            let expected = stuffed(&[&text, &b"line\r\n".repeat(300)]);
            prop_assert_eq!(stuffed(&[&long]), expected);
        }
    }
}
