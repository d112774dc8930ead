//! The hand that moves over a command's octets: RFC 9051 §9's lexical rules, in place.
//!
//! A command reaches the parser whole: [`frame`](crate::frame) has already found its end and the literals inside it. So
//! a parser never asks for more input, a bad command can't put the stream out of step, and everything it returns is a
//! slice of the input but for quoted strings with escapes.

use std::borrow::Cow;

use crate::error::{Expected, ParseError};

const ATOM: u8 = 1;
const ASTRING: u8 = 2;
const LIST: u8 = 4;
const TAG: u8 = 8;
const DIGIT: u8 = 16;

/// The classes of RFC 9051 §9, one bit each.
#[allow(clippy::indexing_slicing, reason = "evaluated by the compiler, which would not compile a bad index")]
const CLASS: [u8; 256] = {
    let mut table = [0u8; 256];
    let mut octet = 0x21u8;
    while octet < 0x7f {
        let special = matches!(octet, b'(' | b')' | b'{' | b'%' | b'*' | b'"' | b'\\' | b']');
        let mut class = 0;
        if !special {
            class |= ATOM;
        }
        if !special || octet == b']' {
            class |= ASTRING;
            if octet != b'+' {
                class |= TAG;
            }
        }
        if !special || matches!(octet, b']' | b'%' | b'*') {
            class |= LIST;
        }
        if octet >= b'0' && octet <= b'9' {
            class |= DIGIT;
        }
        table[octet as usize] = class;
        octet += 1;
    }
    table
};

/// An astring, string or nstring: borrowed unless it was quoted with escapes.
pub type Text<'a> = Cow<'a, [u8]>;

pub(crate) type Result<T> = std::result::Result<T, ParseError>;

/// A place in a command.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Cursor<'a> {
    octets: &'a [u8],
    at: usize,
}

fn class(octet: u8) -> u8 {
    CLASS.get(usize::from(octet)).copied().unwrap_or(0)
}

/// Whether all of these may stand in an atom.
#[cfg(test)]
fn is_atom(octets: &[u8]) -> bool {
    !octets.is_empty() && octets.iter().all(|&octet| class(octet) & ATOM != 0)
}

/// Whether all of these may stand in an unquoted astring.
pub(crate) fn is_astring(octets: &[u8]) -> bool {
    !octets.is_empty() && octets.iter().all(|&octet| class(octet) & ASTRING != 0)
}

impl<'a> Cursor<'a> {
    pub(crate) fn new(octets: &'a [u8]) -> Cursor<'a> {
        Cursor { octets, at: 0 }
    }

    pub(crate) fn fail<T>(&self, expected: Expected) -> Result<T> {
        Err(ParseError { at: self.at, expected })
    }

    pub(crate) fn peek(&self) -> Option<u8> {
        self.octets.get(self.at).copied()
    }

    fn rest(&self) -> &'a [u8] {
        self.octets.get(self.at..).unwrap_or_default()
    }

    fn advance(&mut self, n: usize) {
        self.at += n;
    }

    fn slice(&self, from: usize) -> &'a [u8] {
        self.octets.get(from..self.at).unwrap_or_default()
    }

    /// Takes this octet if it comes next.
    pub(crate) fn eat(&mut self, octet: u8) -> bool {
        let here = self.peek() == Some(octet);
        self.at += usize::from(here);
        here
    }

    /// Takes this word, in any case, if it comes next and ends here.
    pub(crate) fn eat_word(&mut self, word: &[u8]) -> bool {
        let Some(head) = self.rest().get(..word.len()) else { return false };
        let ends = self.rest().get(word.len()).is_none_or(|&octet| class(octet) & ATOM == 0);
        let here = ends && head.eq_ignore_ascii_case(word);
        if here {
            self.advance(word.len());
        }
        here
    }

    pub(crate) fn space(&mut self) -> Result<()> {
        if self.eat(b' ') { Ok(()) } else { self.fail(Expected::Space) }
    }

    pub(crate) fn open(&mut self) -> Result<()> {
        if self.eat(b'(') { Ok(()) } else { self.fail(Expected::Open) }
    }

    pub(crate) fn close(&mut self) -> Result<()> {
        if self.eat(b')') { Ok(()) } else { self.fail(Expected::Close) }
    }

    /// The command's end: CRLF, or a bare LF.
    ///
    /// One space before it is forgiven: some clients leave one behind the last argument.
    pub(crate) fn end(&mut self) -> Result<()> {
        match self.rest() {
            b"\r\n" | b"\n" | b" \r\n" | b" \n" | b"" => Ok(()),
            _ => self.fail(Expected::End),
        }
    }

    /// Whether the command ends here.
    pub(crate) fn is_end(&self) -> bool {
        matches!(self.rest(), b"\r\n" | b"\n" | b"")
    }

    fn take_class(&mut self, wanted: u8) -> &'a [u8] {
        let from = self.at;
        while self.peek().is_some_and(|octet| class(octet) & wanted != 0) {
            self.at += 1;
        }
        self.slice(from)
    }

    fn run(&mut self, wanted: u8, expected: Expected) -> Result<&'a [u8]> {
        let run = self.take_class(wanted);
        if run.is_empty() { self.fail(expected) } else { Ok(run) }
    }

    /// A tag, and nothing of it left over: the front of `a+1` is no tag, but might be another command's.
    pub(crate) fn tag(&mut self) -> Result<&'a [u8]> {
        let from = *self;
        let tag = self.run(TAG, Expected::Tag)?;
        match self.peek() {
            None | Some(b' ' | b'\r' | b'\n') => Ok(tag),
            Some(_) => from.fail(Expected::Tag),
        }
    }

    pub(crate) fn atom(&mut self) -> Result<&'a [u8]> {
        self.run(ATOM, Expected::Atom)
    }

    /// Letters, digits and what else an atom may hold, up to the first `[` (`BODY[`) or other delimiter.
    pub(crate) fn item_word(&mut self) -> &'a [u8] {
        let from = self.at;
        while self.peek().is_some_and(|octet| octet != b'[' && class(octet) & ATOM != 0) {
            self.at += 1;
        }
        self.slice(from)
    }

    /// RFC 9051 §9, number64: up to 63 bits.
    pub(crate) fn number(&mut self) -> Result<u64> {
        let from = *self;
        let digits = self.take_class(DIGIT);
        let mut value: u64 = 0;
        for &digit in digits {
            let next = value.checked_mul(10).and_then(|value| value.checked_add(u64::from(digit - b'0')));
            match next {
                Some(next) if next <= i64::MAX.unsigned_abs() => value = next,
                _ => return from.fail(Expected::Number),
            }
        }
        if digits.is_empty() { self.fail(Expected::Number) } else { Ok(value) }
    }

    /// A number that fits 32 bits.
    pub(crate) fn number32(&mut self) -> Result<u32> {
        let from = *self;
        match u32::try_from(self.number()?) {
            Ok(value) => Ok(value),
            Err(_) => from.fail(Expected::Number),
        }
    }

    /// A quoted string, behind its opening quote.
    ///
    /// RFC 9051 §9: any text character but CR and LF; only `"` and `\` may be escaped. RFC 6855 §3: what is not
    /// US-ASCII is UTF-8.
    fn quoted(&mut self) -> Result<Text<'a>> {
        let from = self.at;
        let mut escaped = None::<Vec<u8>>;
        loop {
            let run = memchr::memchr3(b'"', b'\\', b'\n', self.rest());
            let Some(run) = run else { return self.fail(Expected::String) };
            let plain = self.rest().get(..run).unwrap_or_default();
            if plain.contains(&b'\r') || plain.contains(&0) {
                return self.fail(Expected::String);
            }
            self.advance(run);
            match (self.peek(), self.rest().get(1).copied()) {
                (Some(b'"'), _) if std::str::from_utf8(self.slice(from)).is_err() => {
                    return self.fail(Expected::String);
                }
                (Some(b'"'), _) => {
                    let text = match escaped {
                        None => Cow::Borrowed(self.slice(from)),
                        Some(mut text) => {
                            text.extend_from_slice(plain);
                            Cow::Owned(text)
                        }
                    };
                    self.advance(1);
                    return Ok(text);
                }
                (Some(b'\\'), Some(octet @ (b'"' | b'\\'))) => {
                    let text = escaped.get_or_insert_default();
                    text.extend_from_slice(plain);
                    text.push(octet);
                    self.advance(2);
                }
                _ => return self.fail(Expected::String),
            }
        }
    }

    /// A literal that is in the frame: `{n}`, `{n+}`, `~{n}`, then a line end, then n octets.
    fn literal(&mut self) -> Result<&'a [u8]> {
        let start = *self;
        let head = self.literal_head()?;
        let Some(octets) = usize::try_from(head).ok().and_then(|n| self.rest().get(..n)) else {
            return start.fail(Expected::Literal);
        };
        self.advance(octets.len());
        Ok(octets)
    }

    /// `{n}` and its line end: the number of octets that follow.
    pub(crate) fn literal_head(&mut self) -> Result<u64> {
        self.eat(b'~');
        if !self.eat(b'{') {
            return self.fail(Expected::Literal);
        }
        let octets = self.number()?;
        self.eat(b'+');
        if !self.eat(b'}') {
            return self.fail(Expected::Literal);
        }
        self.eat(b'\r');
        if self.eat(b'\n') { Ok(octets) } else { self.fail(Expected::Literal) }
    }

    /// A quoted string or a literal.
    pub(crate) fn string(&mut self) -> Result<Text<'a>> {
        match self.peek() {
            Some(b'"') => {
                self.advance(1);
                self.quoted()
            }
            Some(b'{' | b'~') => self.literal().map(Cow::Borrowed),
            _ => self.fail(Expected::String),
        }
    }

    fn string_or(&mut self, wanted: u8) -> Result<Text<'a>> {
        match self.peek() {
            Some(b'"' | b'{') => self.string(),
            _ => self.run(wanted, Expected::String).map(Cow::Borrowed),
        }
    }

    /// An astring: a string or an atom in which `]` may stand.
    pub(crate) fn astring(&mut self) -> Result<Text<'a>> {
        self.string_or(ASTRING)
    }

    /// A list-mailbox: a string or an atom in which `]`, `%` and `*` may stand.
    pub(crate) fn list_mailbox(&mut self) -> Result<Text<'a>> {
        self.string_or(LIST)
    }

    /// A string or NIL.
    pub(crate) fn nstring(&mut self) -> Result<Option<Text<'a>>> {
        if self.eat_word(b"NIL") { Ok(None) } else { self.string().map(Some) }
    }

    /// Digits, as many as `len`, with their value.
    pub(crate) fn digits(&mut self, len: usize) -> Result<u32> {
        let from = self.at;
        let mut value = 0;
        while self.at < from + len {
            match self.peek() {
                Some(digit @ b'0'..=b'9') => value = value * 10 + u32::from(digit - b'0'),
                _ => return self.fail(Expected::Date),
            }
            self.advance(1);
        }
        Ok(value)
    }

    /// The next `len` octets.
    pub(crate) fn take(&mut self, len: usize) -> Option<&'a [u8]> {
        let taken = self.rest().get(..len)?;
        self.advance(len);
        Some(taken)
    }

    /// Octets before this place.
    pub(crate) fn at(&self) -> usize {
        self.at
    }

    /// The octets from a place up to this one.
    pub(crate) fn since(&self, from: usize) -> &'a [u8] {
        self.slice(from)
    }

    /// Whether nothing at all follows.
    pub(crate) fn is_exhausted(&self) -> bool {
        self.rest().is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(input: &str) -> Result<Vec<u8>> {
        let mut cursor = Cursor::new(input.as_bytes());
        let text = cursor.astring()?;
        cursor.end()?;
        Ok(text.into_owned())
    }

    #[test]
    fn astrings_come_in_three_forms() {
        assert_eq!(text("INBOX\r\n").unwrap(), b"INBOX");
        assert_eq!(text("a]b\r\n").unwrap(), b"a]b");
        assert_eq!(text("\"a b\"\r\n").unwrap(), b"a b");
        assert_eq!(text("\"\"\r\n").unwrap(), b"");
        assert_eq!(text("\"a \\\"b\\\\ c\"\r\n").unwrap(), b"a \"b\\ c");
        assert_eq!(text("{3}\r\na\r\n\r\n").unwrap(), b"a\r\n");
        assert_eq!(text("{3+}\r\nabc\r\n").unwrap(), b"abc");
        assert_eq!(text("{0}\r\n\r\n").unwrap(), b"");
        assert_eq!(text("\"gr\u{fc}n\"\r\n").unwrap(), "gr\u{fc}n".as_bytes());
    }

    #[test]
    fn what_is_no_astring_is_refused() {
        for bad in
            ["", "\r\n", "(", "a(b\r\n", "a%\r\n", "\"a", "\"a\r\n", "\"a\\b\"", "\"a\\", "{3}\r\nab", "{x}\r\n", "{3"]
        {
            assert!(text(bad).is_err(), "{bad:?}");
        }
        assert!(Cursor::new(b"\"gr\xfcn\"").astring().is_err());
        assert!(Cursor::new(b"{3}\r\n\xfc\xff\xfe").astring().is_ok());
        assert!(text("{9223372036854775808}\r\n").is_err());
        assert!(text("{99999999999999999999999}\r\n").is_err());
    }

    #[test]
    fn the_class_table_is_the_grammar() {
        for octet in 0..=255u8 {
            let special = br#"(){%*"\]"#.contains(&octet);
            let graphic = (0x21..0x7f).contains(&octet);
            assert_eq!(is_atom(&[octet]), graphic && !special, "{octet}");
            assert_eq!(is_astring(&[octet]), graphic && (!special || octet == b']'), "{octet}");
        }
    }

    #[test]
    fn numbers_fit_63_bits() {
        assert_eq!(Cursor::new(b"9223372036854775807").number(), Ok(9_223_372_036_854_775_807));
        assert!(Cursor::new(b"9223372036854775808").number().is_err());
        assert!(Cursor::new(b"").number().is_err());
        assert!(Cursor::new(b"4294967296").number32().is_err());
    }
}
