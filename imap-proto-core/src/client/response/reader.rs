//! The hand that moves over a server's response: RFC 9051 §9's lexical rules, as generously as servers need.
//!
//! A response reaches the parser whole, as the [`Framer`](super::Framer) delimited it. Servers capitalise as they like,
//! leave spaces out and put too many in, escape what needs no escape and send octets that the grammar forbids: whatever
//! still has one meaning is taken in that meaning. What has none is refused, and the caller passes the line on as it is.

use std::borrow::Cow;

use bytes::Bytes;
use mailstore_trait::id::Uid;
use mailstore_trait::uid_set::UidSet;

use super::Bounds;
use crate::error::{Expected, ParseError};

pub(in crate::client) type Result<T> = std::result::Result<T, ParseError>;

/// A string: borrowed unless it was quoted with escapes.
pub(super) type Text<'a> = Cow<'a, [u8]>;

/// A place in a response.
#[derive(Clone, Copy, Debug)]
pub(in crate::client) struct Reader<'a> {
    octets: &'a [u8],
    at: usize,
    /// How many values may still be read: whatever a response is made of, its memory stays in proportion.
    values: usize,
    depth: usize,
}

/// A string that is NIL, here, or streamed by the session while the rest of the response was still to come.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Content<'a> {
    Nil,
    Here(Text<'a>),
    Streamed(u64),
}

/// Ends a word: what can't stand in an atom or a flag, whoever writes it.
fn ends_word(octet: u8) -> bool {
    matches!(octet, b' ' | b'(' | b')' | b'\r' | b'\n')
}

impl<'a> Reader<'a> {
    pub(super) fn new(octets: &'a [u8], bounds: &Bounds) -> Reader<'a> {
        Reader { octets, at: 0, values: bounds.values, depth: bounds.depth }
    }

    pub(in crate::client) fn fail<T>(&self, expected: Expected) -> Result<T> {
        Err(ParseError { at: self.at, expected })
    }

    /// Counts one value.
    pub(super) fn count(&mut self) -> Result<()> {
        self.charge(1)
    }

    /// Counts something that takes as much memory as so many numbers.
    pub(in crate::client) fn charge(&mut self, values: usize) -> Result<()> {
        match self.values.checked_sub(values) {
            Some(left) => self.values = left,
            None => return self.fail(Expected::Fewer),
        }
        Ok(())
    }

    pub(super) fn peek(&self) -> Option<u8> {
        self.octets.get(self.at).copied()
    }

    pub(super) fn rest(&self) -> &'a [u8] {
        self.octets.get(self.at..).unwrap_or_default()
    }

    /// What is left of the line, without its end.
    pub(super) fn line(&self) -> &'a [u8] {
        let rest = self.rest();
        let rest = rest.strip_suffix(b"\n").unwrap_or(rest);
        rest.strip_suffix(b"\r").unwrap_or(rest)
    }

    /// Passes over so many octets.
    pub(super) fn advance(&mut self, octets: usize) {
        self.at = self.at.saturating_add(octets).min(self.octets.len());
    }

    pub(super) fn eat(&mut self, octet: u8) -> bool {
        let here = self.peek() == Some(octet);
        self.at += usize::from(here);
        here
    }

    pub(super) fn spaces(&mut self) {
        while self.eat(b' ') {}
    }

    /// `(`, behind any spaces.
    pub(in crate::client) fn open(&mut self) -> Result<()> {
        self.spaces();
        if self.eat(b'(') { Ok(()) } else { self.fail(Expected::Open) }
    }

    /// Takes `)`, behind any spaces, if it comes next.
    pub(in crate::client) fn closes(&mut self) -> bool {
        self.spaces();
        self.eat(b')')
    }

    fn run(&mut self, ends: impl Fn(u8) -> bool) -> &'a [u8] {
        let rest = self.rest();
        let len = rest.iter().position(|octet| ends(*octet)).unwrap_or(rest.len());
        self.at += len;
        rest.get(..len).unwrap_or_default()
    }

    /// A word up to a space, a parenthesis or the end; it may be empty.
    pub(in crate::client) fn word(&mut self) -> &'a [u8] {
        self.run(ends_word)
    }

    /// A word up to what `also` says, too.
    pub(super) fn word_until(&mut self, also: &[u8]) -> &'a [u8] {
        self.run(|octet| ends_word(octet) || also.contains(&octet))
    }

    /// Takes this word, in any case, if it comes next and ends here.
    pub(super) fn eat_word(&mut self, word: &[u8]) -> bool {
        let from = self.at;
        let here = self.word().eq_ignore_ascii_case(word);
        if !here {
            self.at = from;
        }
        here
    }

    /// A number of up to 63 bits.
    pub(super) fn number(&mut self) -> Result<u64> {
        let from = *self;
        let digits = self.run(|octet| !octet.is_ascii_digit());
        match decimal(digits) {
            Some(value) => Ok(value),
            None => from.fail(Expected::Number),
        }
    }

    pub(super) fn number32(&mut self) -> Result<u32> {
        let from = *self;
        match u32::try_from(self.number()?) {
            Ok(value) => Ok(value),
            Err(_) => from.fail(Expected::Number),
        }
    }

    /// A quoted string, behind its opening quote. A backslash makes any octet behind it stand for itself.
    fn quoted(&mut self) -> Result<Text<'a>> {
        let from = self.at;
        let mut unescaped = None::<Vec<u8>>;
        loop {
            let run = self.run(|octet| matches!(octet, b'"' | b'\\' | b'\r' | b'\n'));
            match (self.peek(), self.rest().get(1).copied()) {
                (Some(b'"'), _) => {
                    let text = match unescaped {
                        None => Cow::Borrowed(self.octets.get(from..self.at).unwrap_or_default()),
                        Some(mut text) => {
                            text.extend_from_slice(run);
                            Cow::Owned(text)
                        }
                    };
                    self.at += 1;
                    return Ok(text);
                }
                (Some(b'\\'), Some(octet)) if !matches!(octet, b'\r' | b'\n') => {
                    let text = unescaped.get_or_insert_default();
                    text.extend_from_slice(run);
                    text.push(octet);
                    self.at += 2;
                }
                _ => return self.fail(Expected::String),
            }
        }
    }

    /// `{n}`, or `{n*}` for one that was streamed, then a line end.
    fn literal(&mut self) -> Result<Content<'a>> {
        let start = *self;
        self.eat(b'~');
        if !self.eat(b'{') {
            return start.fail(Expected::Literal);
        }
        let octets = self.number()?;
        self.eat(b'+');
        let streamed = self.eat(b'*');
        if !self.eat(b'}') {
            return start.fail(Expected::Literal);
        }
        self.eat(b'\r');
        if !self.eat(b'\n') {
            return start.fail(Expected::Literal);
        }
        if streamed {
            return Ok(Content::Streamed(octets));
        }
        let Some(octets) = usize::try_from(octets).ok().and_then(|octets| self.rest().get(..octets)) else {
            return start.fail(Expected::Literal);
        };
        self.at += octets.len();
        Ok(Content::Here(Cow::Borrowed(octets)))
    }

    /// An nstring, or an atom where a string should be; what was streamed is told apart.
    pub(super) fn content(&mut self) -> Result<Content<'a>> {
        self.count()?;
        self.spaces();
        match self.peek() {
            Some(b'"') => {
                self.at += 1;
                self.quoted().map(Content::Here)
            }
            Some(b'{') => self.literal(),
            Some(b'~') if self.rest().get(1) == Some(&b'{') => self.literal(),
            _ => match self.word() {
                [] => self.fail(Expected::String),
                word if word.eq_ignore_ascii_case(b"NIL") => Ok(Content::Nil),
                word => Ok(Content::Here(Cow::Borrowed(word))),
            },
        }
    }

    /// An nstring, or an atom where a string should be.
    pub(super) fn nstring(&mut self) -> Result<Option<Text<'a>>> {
        match self.content()? {
            Content::Nil => Ok(None),
            Content::Here(text) => Ok(Some(text)),
            Content::Streamed(_) => self.fail(Expected::String),
        }
    }

    /// A string or an atom; NIL is the word it looks like.
    pub(super) fn astring(&mut self) -> Result<Text<'a>> {
        self.spaces();
        let nil = *self;
        match self.nstring()? {
            Some(text) => Ok(text),
            None => Ok(Cow::Borrowed(nil.rest().get(..3).unwrap_or_default())),
        }
    }

    /// An nstring of its own.
    pub(super) fn owned(&mut self) -> Result<Option<Bytes>> {
        Ok(self.nstring()?.map(|text| Bytes::from(text.into_owned())))
    }

    /// Text for people or programs that is best read as UTF-8.
    pub(super) fn string(&mut self) -> Result<String> {
        Ok(lossy(&self.astring()?))
    }

    /// Passes over one value, whatever it is: an atom, a string, or parentheses with values in them.
    pub(super) fn skip(&mut self) -> Result<()> {
        let mut depth = 0usize;
        loop {
            self.spaces();
            match self.peek() {
                None | Some(b'\r' | b'\n') => return self.fail(Expected::Close),
                Some(b'(') => {
                    self.count()?;
                    self.at += 1;
                    depth += 1;
                    if depth > self.depth {
                        return self.fail(Expected::LessDepth);
                    }
                }
                Some(b')') if depth == 0 => return self.fail(Expected::String),
                Some(b')') => {
                    self.at += 1;
                    depth -= 1;
                }
                Some(_) => drop(self.content()?),
            }
            if depth == 0 {
                return Ok(());
            }
        }
    }

    /// A set of numbers: `1:3,7`.
    pub(super) fn set(&mut self) -> Result<UidSet> {
        let mut ranges = Vec::new();
        loop {
            self.count()?;
            let first = self.number32()?;
            let last = if self.eat(b':') { self.number32()? } else { first };
            ranges.push((first.min(last), first.max(last)));
            if !self.eat(b',') {
                return Ok(set(ranges));
            }
        }
    }
}

/// The set of these ranges. They are sorted first, for a server may send them in the order that costs most.
pub(super) fn set(mut ranges: Vec<(u32, u32)>) -> UidSet {
    ranges.sort_unstable();
    let mut set = UidSet::new();
    for (first, last) in ranges {
        if let (Some(first), Some(last)) = (Uid::new(first.max(1)), Uid::new(last)) {
            set.insert_range(first..=last);
        }
    }
    set
}

/// The value of digits, when there are any and it fits 63 bits.
pub(super) fn decimal(digits: &[u8]) -> Option<u64> {
    if digits.is_empty() {
        return None;
    }
    let value = digits.iter().try_fold(0u64, |value, digit| {
        value.checked_mul(10)?.checked_add(u64::from(digit.checked_sub(b'0').filter(|digit| *digit < 10)?))
    });
    value.filter(|value| *value <= i64::MAX.unsigned_abs())
}

pub(in crate::client) fn lossy(text: &[u8]) -> String {
    String::from_utf8_lossy(text).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reader(text: &str) -> Reader<'_> {
        Reader::new(text.as_bytes(), &Bounds::default())
    }

    #[test]
    fn strings_come_in_every_form() {
        let string = |text| reader(text).nstring().map(|text| text.map(Cow::into_owned));
        assert_eq!(string("\"a b\"").unwrap().unwrap(), b"a b");
        assert_eq!(string("\"a\\\"b\\\\c\\d\"").unwrap().unwrap(), b"a\"b\\cd");
        assert_eq!(string("{3}\r\na\r\n").unwrap().unwrap(), b"a\r\n");
        assert_eq!(string("~{3}\na\0b").unwrap().unwrap(), b"a\0b");
        assert_eq!(string("nil").unwrap(), None);
        assert_eq!(string("\"\"").unwrap().unwrap(), b"");
        assert_eq!(string("   atom)").unwrap().unwrap(), b"atom");
        assert_eq!(reader("NIL x").astring().unwrap(), &b"NIL"[..]);
        for bad in ["", ")", "\"a", "\"a\r\n\"", "{3}\r\nab", "{x}\r\n", "{99999999999999999999}\r\n", "\"\\"] {
            assert!(string(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn sets_have_any_order() {
        let read = |text| reader(text).set().map(|set| set.iter().map(Uid::value).collect::<Vec<_>>());
        assert_eq!(read("7,3:1,9:10").unwrap(), [1, 2, 3, 7, 9, 10]);
        for bad in ["", "1,", "1:", "a", "4294967296"] {
            assert!(read(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn values_of_any_kind_are_passed_over() {
        for value in ["x", "\"(\"", "(a (b \"c)\") {2}\r\n)( d)", "()", "{0}\r\n"] {
            let text = format!("{value} next");
            let mut reader = reader(&text);
            reader.skip().unwrap();
            assert_eq!(reader.line(), b" next", "{value}");
        }
        let deep = "(".repeat(10_000);
        assert_eq!(reader(&deep).skip().unwrap_err().expected, Expected::LessDepth);
        for bad in ["", ")", "(a", "(\"a)"] {
            assert!(reader(bad).skip().is_err(), "{bad}");
        }
    }
}
