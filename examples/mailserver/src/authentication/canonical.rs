//! Bodies as DKIM hashes them, piece by piece: RFC 6376 §3.4.3 and §3.4.4.
//!
//! A body is never kept: of what has gone by, only the blanks and empty lines are remembered that may yet turn out to end
//! the line or the body. What is canonical already stays as it is, so what comes out here can go through another
//! implementation of the same rules.

use mail_auth::dkim::Canonicalization;

/// A body on its way.
#[derive(Debug)]
pub(crate) struct Canonical {
    relaxed: bool,
    /// Empty lines that may be the last ones.
    empty_lines: usize,
    /// Blanks, whose line may end with them.
    blank: bool,
    /// A CR, whose LF may follow.
    cr: bool,
    /// The line has something in it.
    begun: bool,
    /// Something came out.
    any: bool,
}

impl Canonical {
    pub(crate) fn new(rules: Canonicalization) -> Canonical {
        let relaxed = rules == Canonicalization::Relaxed;
        Canonical { relaxed, empty_lines: 0, blank: false, cr: false, begun: false, any: false }
    }

    /// Takes the body's next octets and gives away those that are certain.
    pub(crate) fn push(&mut self, octets: &[u8], out: &mut impl FnMut(&[u8])) {
        let mut rest = octets;
        while let Some((&first, behind)) = rest.split_first() {
            if std::mem::take(&mut self.cr) {
                if first == b'\n' {
                    self.end_line(out);
                    rest = behind;
                    continue;
                }
                self.text(b"\r", out);
            }
            rest = match first {
                b'\r' => {
                    self.cr = true;
                    behind
                }
                b' ' | b'\t' if self.relaxed => {
                    self.blank = true;
                    behind
                }
                _ => {
                    let end = match self.relaxed {
                        true => memchr::memchr3(b'\r', b' ', b'\t', rest),
                        false => memchr::memchr(b'\r', rest),
                    };
                    let (text, behind) = rest.split_at(end.unwrap_or(rest.len()));
                    self.text(text, out);
                    behind
                }
            };
        }
    }

    /// The body is whole.
    pub(crate) fn finish(mut self, out: &mut impl FnMut(&[u8])) {
        if std::mem::take(&mut self.cr) {
            self.text(b"\r", out);
        }
        // A last line without an end gets one; a body of nothing is one empty line for simple, and nothing for relaxed.
        if self.begun || (!self.relaxed && !self.any) {
            out(b"\r\n");
        }
    }

    fn text(&mut self, text: &[u8], out: &mut impl FnMut(&[u8])) {
        for _ in 0..std::mem::take(&mut self.empty_lines) {
            out(b"\r\n");
        }
        if std::mem::take(&mut self.blank) {
            out(b" ");
        }
        out(text);
        (self.begun, self.any) = (true, true);
    }

    fn end_line(&mut self, out: &mut impl FnMut(&[u8])) {
        self.blank = false;
        if std::mem::take(&mut self.begun) {
            out(b"\r\n");
        } else {
            self.empty_lines += 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn canonical(rules: Canonicalization, body: &str, step: usize) -> String {
        let (mut canonical, mut out) = (Canonical::new(rules), Vec::new());
        for piece in body.as_bytes().chunks(step) {
            canonical.push(piece, &mut |octets| out.extend_from_slice(octets));
        }
        canonical.finish(&mut |octets| out.extend_from_slice(octets));
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn bodies_are_as_the_rules_have_them_at_every_split() {
        for (body, simple, relaxed) in [
            // The example of RFC 6376 §3.4.5.
            (" C \r\nD \t E\r\n\r\n\r\n", " C \r\nD \t E\r\n", " C\r\nD E\r\n"),
            ("", "\r\n", ""),
            ("\r\n\r\n", "\r\n", ""),
            (" \t\r\n  \r\n", " \t\r\n  \r\n", ""),
            ("a\r\n \t\r\n\r\n", "a\r\n \t\r\n", "a\r\n"),
            ("a\r\n\r\n \r\nb", "a\r\n\r\n \r\nb\r\n", "a\r\n\r\n\r\nb\r\n"),
            ("a \r", "a \r\r\n", "a \r\r\n"),
            ("a\rb\nc\r\r\nd  e", "a\rb\nc\r\r\nd  e\r\n", "a\rb\nc\r\r\nd e\r\n"),
        ] {
            for step in 1..=body.len().max(1) {
                assert_eq!(canonical(Canonicalization::Simple, body, step), simple, "{body:?} by {step}");
                assert_eq!(canonical(Canonicalization::Relaxed, body, step), relaxed, "{body:?} by {step}");
                assert_eq!(canonical(Canonicalization::Relaxed, relaxed, step), relaxed, "again, {body:?} by {step}");
            }
        }
    }
}
