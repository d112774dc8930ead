//! Where a response ends: lines and literals, found before anything is parsed (RFC 9051 §2.2.2, §4.3).
//!
//! A response is one or more lines, each but the last ending in `{n}` and followed by n octets. Small literals stay
//! where they are, and the response is parsed in place. A message's octets are another matter: they are told apart here,
//! by the item they belong to, so that the session hands them on as they come and never holds more than its window.
//!
//! ```text
//!  * 1 FETCH (UID 5 ENVELOPE ("…" {7}␍␊ subject …) BODY[] {90000}␍␊ ▒▒▒▒▒▒▒▒▒▒▒▒ FLAGS (\Seen))␍␊
//!                                 └ part of the frame             └ Body: streamed └ the same response goes on
//! ```

use super::reader::decimal;

/// What was found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Frame {
    /// More input is needed.
    Partial,
    /// The response is these first octets of the input, behind what was taken before.
    Complete(usize),
    /// A piece of a message is announced.
    Body {
        /// Where the line that announces it ends: take the input up to here.
        head: usize,
        /// How many octets follow.
        octets: u64,
    },
    /// The response is longer than the limit, or has more literals.
    TooLong,
}

/// How a response's lines are to be read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Kind {
    #[default]
    Unknown,
    /// Text for people follows, which may end in anything.
    Text,
    Fetch,
    Other,
}

/// Finds the end of the response at the front of the input.
#[derive(Clone, Copy, Debug, Default)]
pub struct Framer {
    kind: Kind,
    /// Where the current line begins.
    line: usize,
    /// No LF lies between `line` and here.
    searched: usize,
    /// Parentheses open at `line`.
    depth: u32,
    literals: usize,
    /// Octets that were taken before the input.
    taken: usize,
}

impl Framer {
    /// A framer at the start of a response.
    #[must_use]
    pub fn new() -> Framer {
        Framer::default()
    }

    /// Looks further. `input` begins where the response does, or behind the piece of a message that was taken last;
    /// `max` bounds the response's octets without such pieces, `literals` the number of its literals.
    pub fn look(&mut self, input: &[u8], max: usize, literals: usize) -> Frame {
        loop {
            if self.taken.saturating_add(self.line) > max {
                return Frame::TooLong;
            }
            let Some(fresh) = input.get(self.searched..) else {
                // Inside a literal that has not come whole.
                return Frame::Partial;
            };
            let Some(lf) = memchr::memchr(b'\n', fresh) else {
                self.searched = input.len();
                return if self.taken.saturating_add(input.len()) >= max { Frame::TooLong } else { Frame::Partial };
            };
            let end = self.searched + lf + 1;
            if self.taken.saturating_add(end) > max {
                return Frame::TooLong;
            }
            let line = input.get(self.line..end).unwrap_or_default();
            if self.kind == Kind::Unknown {
                self.kind = kind(line);
            }
            let Some((before, octets)) = announced(line).filter(|_| self.kind != Kind::Text) else {
                return Frame::Complete(end);
            };
            let (depth, quoted) = nesting(before, self.depth);
            if quoted {
                return Frame::Complete(end);
            }
            self.literals += 1;
            if self.literals > literals {
                return Frame::TooLong;
            }
            self.depth = depth;
            if self.kind == Kind::Fetch && depth == 1 && is_section(before) {
                return Frame::Body { head: end, octets };
            }
            let Some(next) = usize::try_from(octets).ok().and_then(|octets| end.checked_add(octets)) else {
                return Frame::TooLong;
            };
            self.line = next;
            self.searched = next;
        }
    }

    /// The octets up to `head` were taken, and the piece of a message behind them.
    pub fn taken(&mut self, head: usize) {
        self.taken = self.taken.saturating_add(head);
        self.line = 0;
        self.searched = 0;
    }
}

/// What a response's first line is.
fn kind(line: &[u8]) -> Kind {
    let mut words = line.split(|octet| matches!(octet, b' ' | b'\r' | b'\n')).filter(|word| !word.is_empty());
    let is = |word: &[u8], any: &[&str]| any.iter().any(|known| word.eq_ignore_ascii_case(known.as_bytes()));
    match (words.next(), words.next(), words.next()) {
        (Some(b"*"), Some(word), _) if is(word, &["OK", "NO", "BAD", "BYE", "PREAUTH"]) => Kind::Text,
        (Some(b"*"), Some(_), Some(word)) if is(word, &["FETCH"]) => Kind::Fetch,
        (Some(b"*"), ..) => Kind::Other,
        // A continuation, or a command's end.
        _ => Kind::Text,
    }
}

/// The literal that a line announces at its end, and what stands before it.
fn announced(line: &[u8]) -> Option<(&[u8], u64)> {
    let line = line.strip_suffix(b"\n")?;
    let line = line.strip_suffix(b"\r").unwrap_or(line);
    let line = line.strip_suffix(b"}")?;
    let line = line.strip_suffix(b"+").unwrap_or(line);
    let digits = line.iter().rev().take_while(|octet| octet.is_ascii_digit()).count();
    let (before, digits) = line.split_at_checked(line.len().checked_sub(digits)?)?;
    let before = before.strip_suffix(b"{")?;
    Some((before.strip_suffix(b"~").unwrap_or(before), decimal(digits)?))
}

/// The parentheses that are open behind a line, and whether a quoted string is.
fn nesting(line: &[u8], mut depth: u32) -> (u32, bool) {
    let mut quoted = false;
    let mut octets = line.iter();
    while let Some(octet) = octets.next() {
        match octet {
            b'"' => quoted = !quoted,
            b'\\' if quoted => drop(octets.next()),
            b'(' if !quoted => depth = depth.saturating_add(1),
            b')' if !quoted => depth = depth.saturating_sub(1),
            _ => {}
        }
    }
    (depth, quoted)
}

/// Whether the item that ends here is a piece of a message: `BODY[…]`, `BODY[…]<0>`, `BINARY[…]`, `RFC822`….
fn is_section(before: &[u8]) -> bool {
    let item = before.trim_ascii_end();
    let item = match item.strip_suffix(b">") {
        Some(partial) => partial.rsplitn(2, |octet| *octet == b'<').nth(1).unwrap_or_default(),
        None => item,
    };
    let (item, bracket) = match item.strip_suffix(b"]") {
        Some(section) => (section.rsplitn(2, |octet| *octet == b'[').nth(1).unwrap_or_default(), true),
        None => (item, false),
    };
    let word = item.rsplit(|octet| matches!(octet, b' ' | b'(')).next().unwrap_or_default();
    let names: &[&str] = if bracket {
        &["BODY", "BODY.PEEK", "BINARY", "BINARY.PEEK"]
    } else {
        &["RFC822", "RFC822.HEADER", "RFC822.TEXT", "RFC822.PEEK"]
    };
    names.iter().any(|name| word.eq_ignore_ascii_case(name.as_bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn look(input: &[u8]) -> Frame {
        let whole = Framer::new().look(input, 1000, 10);
        let mut framer = Framer::new();
        for len in 0..input.len() {
            let stepwise = framer.look(input.get(..len).unwrap(), 1000, 10);
            if stepwise != Frame::Partial {
                assert_eq!(stepwise, whole, "{len}");
                return whole;
            }
        }
        assert_eq!(framer.look(input, 1000, 10), whole);
        whole
    }

    #[test]
    fn lines_end_where_they_do() {
        assert_eq!(look(b"* OK ready\r\n* x\r\n"), Frame::Complete(12));
        assert_eq!(look(b"+ \n"), Frame::Complete(3));
        assert_eq!(look(b"* LIST () \"/\" {3}\r\na\r\n\r\n"), Frame::Complete(24));
        assert_eq!(look(b"* LIST () \"/\" {3}\r\na"), Frame::Partial);
    }

    /// Text for people may end like a literal: a server that says `* NO no {5}` means no literal.
    #[test]
    fn text_announces_nothing() {
        assert_eq!(look(b"* NO no {5}\r\n"), Frame::Complete(13));
        assert_eq!(look(b"A1 OK {5}\r\n"), Frame::Complete(11));
        assert_eq!(look(b"+ {5}\r\n"), Frame::Complete(7));
        assert_eq!(look(b"* LIST () \"a {5}\r\n"), Frame::Complete(18));
    }

    #[test]
    fn messages_are_told_apart_by_their_item() {
        for item in ["BODY[]", "body[1.2.MIME]<0>", "BINARY[1]", "RFC822", "rfc822.text", "BODY[HEADER.FIELDS (a b)]"] {
            let line = format!("* 1 FETCH (UID 3 {item} {{5}}\r\nabcde)\r\n");
            assert_eq!(look(line.as_bytes()), Frame::Body { head: line.len() - 8, octets: 5 }, "{item}");
        }
        for item in ["X-GM-LABELS (BODY[]", "ENVELOPE (\"BODY[]\"", "BODY", "FLAGS (x) BODYX[]", "X (a) \"RFC822\""] {
            let line = format!("* 1 FETCH (UID 3 {item} {{5}}\r\nabcde))\r\n");
            assert_eq!(look(line.as_bytes()), Frame::Complete(line.len()), "{item}");
        }
    }

    #[test]
    fn a_response_goes_on_behind_a_message() {
        let mut framer = Framer::new();
        let input = b"* 1 FETCH (ENVELOPE ({2}\r\n)( a) BODY[] ~{5}\r\n";
        assert_eq!(framer.look(input, 60, 10), Frame::Body { head: 45, octets: 5 });
        framer.taken(45);
        assert_eq!(framer.look(b" BODY[1] {3}\r\n", 100, 10), Frame::Body { head: 14, octets: 3 });
        framer.taken(14);
        assert_eq!(framer.look(b" UID 5)\r\n", 100, 10), Frame::Complete(9));
        let mut framer = Framer::new();
        framer.look(input, 60, 10);
        framer.taken(45);
        assert_eq!(framer.look(b" X (aaaaaaaaaaaaaa", 60, 10), Frame::TooLong);
    }

    #[test]
    fn limits_hold() {
        assert_eq!(Framer::new().look(b"* LIST () \"/\" {2000}\r\n", 1000, 10), Frame::TooLong);
        assert_eq!(Framer::new().look(b"* X {99999999999999999999}\r\n", 1000, 10), Frame::Complete(28));
        assert_eq!(Framer::new().look(b"* X {0}\r\n{0}\r\n{0}\r\n\r\n", 1000, 2), Frame::TooLong);
        assert_eq!(Framer::new().look(&[b'x'; 1000], 1000, 2), Frame::TooLong);
    }
}
