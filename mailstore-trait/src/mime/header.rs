//! The fields of a header section (RFC 5322 §2.2, obsolete forms of §4.5 included).
//!
//! A header is read in place: [`Fields`] walks the octets of a header section and yields each field as it stands,
//! folds and all; [`unfold`] and [`decode`](super::decode) give the text.

use std::borrow::Cow;

use memchr::{memchr, memchr3};

/// One field of a header section, as it stands in the message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Field<'a> {
    /// The name, without the colon and without blanks before it.
    pub name: &'a [u8],
    /// All that follows the colon up to and including the last line's end, folds included.
    pub value: &'a [u8],
    /// The whole field, name and line ends included, octet for octet.
    pub octets: &'a [u8],
    /// Where the field starts, in octets from the front of the section.
    pub offset: usize,
}

impl<'a> Field<'a> {
    /// Whether this is the field `name`; case does not count (RFC 5322 §1.2.2).
    pub fn is(&self, name: &[u8]) -> bool {
        self.name.eq_ignore_ascii_case(name)
    }

    /// The value on one line, see [`unfold`].
    pub fn unfolded(&self) -> Cow<'a, [u8]> {
        unfold(self.value)
    }
}

/// The fields of a header section, first to last.
///
/// Lines that belong to no field (no colon, an mbox `From ` line) are passed over. Ends at the blank line or at the end
/// of the octets.
#[derive(Clone, Debug)]
pub struct Fields<'a> {
    section: &'a [u8],
    at: usize,
}

impl<'a> Fields<'a> {
    /// The fields of `section`, the octets of a header with or without the blank line that ends it.
    pub fn new(section: &'a [u8]) -> Fields<'a> {
        Fields { section, at: 0 }
    }

    /// The first field called `name`.
    pub fn find(section: &'a [u8], name: &[u8]) -> Option<Field<'a>> {
        Fields::new(section).find(|field| field.is(name))
    }
}

impl<'a> Iterator for Fields<'a> {
    type Item = Field<'a>;

    fn next(&mut self) -> Option<Field<'a>> {
        loop {
            let rest = self.section.get(self.at..)?;
            if rest.is_empty() || blank(rest) {
                return None;
            }
            let mut end = line_end(rest);
            let line = rest.get(..end)?;
            let Some((name, value)) = split(line) else {
                self.at += end;
                continue;
            };
            while let Some(next) = rest.get(end..).filter(|next| matches!(next.first(), Some(b' ' | b'\t'))) {
                end += line_end(next);
            }
            let offset = self.at;
            self.at += end;
            return Some(Field { name, value: rest.get(value..end)?, octets: rest.get(..end)?, offset });
        }
    }
}

fn line_end(octets: &[u8]) -> usize {
    memchr(b'\n', octets).map_or(octets.len(), |at| at + 1)
}

/// Whether the line at the front is the blank line that ends a header.
pub(super) fn blank(line: &[u8]) -> bool {
    matches!(line, [b'\n', ..] | [b'\r', b'\n', ..])
}

/// The name and the offset of the value, when the line begins a field.
///
/// RFC 5322 §4.5: blanks may stand between the name and the colon. Deviation from RFC 5322 §2.2: octets above 127 may
/// stand in a name, as other mail software has it.
pub(super) fn split(line: &[u8]) -> Option<(&[u8], usize)> {
    let mut len = 0;
    for &octet in line {
        match octet {
            b':' => break,
            0..=b' ' | 0x7F => break,
            _ => len += 1,
        }
    }
    let name = line.get(..len).filter(|name| !name.is_empty())?;
    let blanks = line.get(len..)?.iter().take_while(|&&octet| matches!(octet, b' ' | b'\t')).count();
    (line.get(len + blanks) == Some(&b':')).then_some((name, len + blanks + 1))
}

/// A value on one line: line ends and NULs are dropped, a TAB that began a folded line is a space, and blanks at both
/// ends are gone (RFC 5322 §2.2.3).
pub fn unfold(value: &[u8]) -> Cow<'_, [u8]> {
    let value = trim(value);
    if memchr3(b'\r', b'\n', 0, value).is_none() {
        return Cow::Borrowed(value);
    }
    let mut out = Vec::with_capacity(value.len());
    let mut folded = false;
    for &octet in value {
        match octet {
            b'\n' => folded = true,
            b'\r' | 0 => {}
            b'\t' if folded => {
                out.push(b' ');
                folded = false;
            }
            _ => {
                out.push(octet);
                folded = false;
            }
        }
    }
    let len = trim(&out).len();
    let lead = out.len() - out.trim_ascii_start().len();
    out.drain(..lead);
    out.truncate(len);
    Cow::Owned(out)
}

/// `octets` without blanks and line ends at both ends.
pub(super) fn trim(octets: &[u8]) -> &[u8] {
    octets.trim_ascii()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(section: &[u8]) -> Vec<String> {
        Fields::new(section).map(|field| String::from_utf8_lossy(field.name).into_owned()).collect()
    }

    #[test]
    fn fields_keep_their_octets_and_folds() {
        let section = b"From: a@b\r\nSubject : one\r\n\ttwo\r\n  three\r\nTo:\r\n\r\nBody: no\r\n";
        let fields: Vec<_> = Fields::new(section).collect();
        assert_eq!(fields.len(), 3);
        assert_eq!(fields[1].name, b"Subject");
        assert_eq!(fields[1].value, b" one\r\n\ttwo\r\n  three\r\n");
        assert_eq!(fields[1].octets, b"Subject : one\r\n\ttwo\r\n  three\r\n");
        assert_eq!(fields[1].unfolded(), &b"one two  three"[..]);
        assert_eq!(fields[1].offset, 11);
        assert_eq!(fields[2].unfolded(), &b""[..]);
        assert!(Fields::find(section, b"sUBJECT").is_some());
        assert!(Fields::find(section, b"Body").is_none());
    }

    #[test]
    fn lines_that_are_no_fields_are_passed_over() {
        assert_eq!(names(b"From alice Mon Jan\nA: 1\nno colon here\n : x\nB : 2\nname with: blank\n"), ["A", "B"]);
        assert_eq!(names(b" lead: 1\r\nA: 1"), ["A"]);
        assert_eq!(names(b""), [""; 0]);
        assert_eq!(names(b"\n"), [""; 0]);
    }

    #[test]
    fn unfolding_drops_line_ends_and_nul() {
        assert_eq!(unfold(b" a\r\n b\r\n"), &b"a b"[..]);
        assert_eq!(unfold(b"a\0b\rc"), &b"abc"[..]);
        assert_eq!(unfold(b"\r\n \r\n\t x\ty\n"), &b"x\ty"[..]);
        assert_eq!(unfold(b"\0 a \0"), &b"a"[..]);
    }
}
