//! Paths and mailboxes as they stand in commands, parsed where they lie.
//!
//! RFC 5321 §4.1.2 and §4.1.3, RFC 6531 §3.3. A parsed path borrows the command line; what outlives the command is
//! copied once into an [`Address`]. A quoted local part keeps its quotes, because two spellings of one mailbox are for
//! the directory to judge, not for the parser: `"a b"@example.org` stays what it was.

use std::borrow::Cow;
use std::fmt;
use std::net::{Ipv4Addr, Ipv6Addr};

/// What the address grammar permits: which octets, and how many of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Grammar {
    /// Whether octets above 127 may stand in local parts and domains (RFC 6531).
    pub utf8: bool,
    /// Octets of a local part, quotes included. RFC 5321 §4.5.3.1.1 asks for at least 64.
    pub local_part: usize,
    /// Octets of a domain. RFC 5321 §4.5.3.1.2 asks for at least 255.
    pub domain: usize,
    /// Octets of a path, its angle brackets and source route included. RFC 5321 §4.5.3.1.3 asks for at least 256.
    pub path: usize,
}

impl Default for Grammar {
    fn default() -> Grammar {
        Grammar { utf8: false, local_part: 64, domain: 255, path: 256 }
    }
}

impl Grammar {
    /// The same limits, with octets above 127 permitted or not.
    #[must_use]
    pub fn with_utf8(self, utf8: bool) -> Grammar {
        Grammar { utf8, ..self }
    }
}

/// Why a path is none, and at which octet of the command line.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{kind} at octet {offset}")]
pub struct SyntaxError {
    /// Where in the parsed text, counted from 0.
    pub offset: usize,
    /// What is wrong there.
    pub kind: SyntaxErrorKind,
}

/// What is wrong with a piece of syntax.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SyntaxErrorKind {
    /// Something else was due here.
    #[error("unexpected octet or end of line")]
    Unexpected,
    /// A local part, domain or path is longer than [`Grammar`] permits.
    #[error("too long")]
    TooLong,
    /// An address literal that is no address.
    #[error("not an address literal")]
    Literal,
}

/// The argument of `MAIL FROM:`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReversePath<'a> {
    /// `<>`: a notification that must never be answered by another (RFC 5321 §4.5.5).
    Null,
    /// Where notifications go.
    Mailbox(Mailbox<'a>),
}

/// The argument of `RCPT TO:`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ForwardPath<'a> {
    /// `<Postmaster>` without a domain, in any case (RFC 5321 §4.1.1.3).
    Postmaster,
    /// Where the message goes.
    Mailbox(Mailbox<'a>),
}

/// `local-part@domain`, borrowed from a command.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Mailbox<'a> {
    text: &'a str,
    /// Octets before the `@`.
    at: usize,
}

impl<'a> Mailbox<'a> {
    /// Parses a whole text as a mailbox, without angle brackets.
    ///
    /// # Errors
    /// The first octet at which the text leaves the grammar of RFC 5321 §4.1.2.
    pub fn parse(text: &'a str, grammar: Grammar) -> Result<Mailbox<'a>, SyntaxError> {
        let mut cursor = Cursor::new(text);
        let mailbox = cursor.mailbox(grammar)?;
        if cursor.is_end() { Ok(mailbox) } else { Err(cursor.unexpected()) }
    }

    /// The mailbox as it was written.
    #[must_use]
    pub fn as_str(self) -> &'a str {
        self.text
    }

    /// The local part as it was written, quotes included.
    #[must_use]
    pub fn local_part(self) -> &'a str {
        self.text.get(..self.at).unwrap_or_default()
    }

    /// The domain or address literal.
    #[must_use]
    pub fn domain(self) -> &'a str {
        self.text.get(self.at + 1..).unwrap_or_default()
    }

    /// Whether no octet is above 127.
    #[must_use]
    pub fn is_ascii(self) -> bool {
        self.text.is_ascii()
    }
}

impl fmt::Debug for Mailbox<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self.text, f)
    }
}

impl fmt::Display for Mailbox<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.text)
    }
}

/// A mailbox that outlives its command: `local-part@domain`, or `Postmaster` alone.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Address {
    text: Box<str>,
    /// Octets before the `@`; `None` for a bare `Postmaster`.
    at: Option<usize>,
}

impl Address {
    /// Parses a whole text as a mailbox, without angle brackets; `Postmaster` alone is one too.
    ///
    /// # Errors
    /// The first octet at which the text leaves the grammar of RFC 5321 §4.1.2.
    pub fn parse(text: &str, grammar: Grammar) -> Result<Address, SyntaxError> {
        if text.eq_ignore_ascii_case(POSTMASTER) {
            return Ok(Address { text: text.into(), at: None });
        }
        Mailbox::parse(text, grammar).map(Address::from)
    }

    /// The address as it was written.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// The local part as it was written, quotes included.
    #[must_use]
    pub fn local_part(&self) -> &str {
        self.at.and_then(|at| self.text.get(..at)).unwrap_or(&self.text)
    }

    /// What the local part stands for: without quotes and quoting backslashes (RFC 5321 §4.1.2).
    #[must_use]
    pub fn local_part_unquoted(&self) -> Cow<'_, str> {
        let local = self.local_part();
        let Some(inner) = local.strip_prefix('"').and_then(|rest| rest.strip_suffix('"')) else {
            return Cow::Borrowed(local);
        };
        if !inner.contains('\\') {
            return Cow::Borrowed(inner);
        }
        let mut plain = String::with_capacity(inner.len());
        let mut quoted = false;
        for c in inner.chars() {
            quoted = c == '\\' && !quoted;
            if !quoted {
                plain.push(c);
            }
        }
        Cow::Owned(plain)
    }

    /// The domain or address literal; `None` for a bare `Postmaster`.
    #[must_use]
    pub fn domain(&self) -> Option<&str> {
        self.at.and_then(|at| self.text.get(at + 1..))
    }

    /// Whether no octet is above 127.
    #[must_use]
    pub fn is_ascii(&self) -> bool {
        self.text.is_ascii()
    }
}

impl From<Mailbox<'_>> for Address {
    fn from(mailbox: Mailbox<'_>) -> Address {
        Address { text: mailbox.text.into(), at: Some(mailbox.at) }
    }
}

impl ReversePath<'_> {
    /// The owned form: `None` is the null path.
    #[must_use]
    pub fn to_address(self) -> Option<Address> {
        match self {
            ReversePath::Null => None,
            ReversePath::Mailbox(mailbox) => Some(mailbox.into()),
        }
    }
}

impl ForwardPath<'_> {
    /// The owned form.
    #[must_use]
    pub fn to_address(self) -> Address {
        match self {
            ForwardPath::Postmaster => Address { text: POSTMASTER.into(), at: None },
            ForwardPath::Mailbox(mailbox) => mailbox.into(),
        }
    }
}

impl fmt::Debug for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.text, f)
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

const POSTMASTER: &str = "Postmaster";

/// A place in a command line.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Cursor<'a> {
    text: &'a str,
    at: usize,
}

impl<'a> Cursor<'a> {
    pub(crate) fn new(text: &'a str) -> Cursor<'a> {
        Cursor { text, at: 0 }
    }

    #[inline]
    pub(crate) fn peek(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }

    pub(crate) fn is_end(&self) -> bool {
        self.at >= self.text.len()
    }

    /// Passes over so many octets, which the caller has seen.
    pub(crate) fn advance(&mut self, octets: usize) {
        self.at += octets;
    }

    /// Takes this octet, or fails where it is not.
    pub(crate) fn expect(&mut self, octet: u8) -> Result<(), SyntaxError> {
        if self.take(octet) { Ok(()) } else { Err(self.unexpected()) }
    }

    /// Takes this octet if it is next.
    pub(crate) fn take(&mut self, octet: u8) -> bool {
        let next = self.peek() == Some(octet);
        self.at += usize::from(next);
        next
    }

    pub(crate) fn take_spaces(&mut self) {
        while self.take(b' ') {}
    }

    /// Takes this prefix, case aside.
    pub(crate) fn take_word(&mut self, word: &str) -> bool {
        let next = self.at + word.len();
        let found = self.text.as_bytes().get(self.at..next).is_some_and(|it| it.eq_ignore_ascii_case(word.as_bytes()));
        if found {
            self.at = next;
        }
        found
    }

    /// Takes octets for as long as they are of this kind.
    #[inline]
    pub(crate) fn take_while(&mut self, kind: impl Fn(u8) -> bool) -> &'a str {
        let start = self.at;
        while let Some(octet) = self.text.as_bytes().get(self.at)
            && kind(*octet)
        {
            self.at += 1;
        }
        self.since(start)
    }

    /// Everything from here on, not taken.
    pub(crate) fn rest(&self) -> &'a str {
        self.text.get(self.at..).unwrap_or_default()
    }

    pub(crate) fn since(&self, start: usize) -> &'a str {
        self.text.get(start..self.at).unwrap_or_default()
    }

    pub(crate) fn offset(&self) -> usize {
        self.at
    }

    pub(crate) fn unexpected(&self) -> SyntaxError {
        SyntaxError { offset: self.at, kind: SyntaxErrorKind::Unexpected }
    }

    fn too_long(start: usize) -> SyntaxError {
        SyntaxError { offset: start, kind: SyntaxErrorKind::TooLong }
    }

    /// RFC 5321 §4.1.2, Reverse-path: a path or `<>`.
    pub(crate) fn reverse_path(&mut self, grammar: Grammar) -> Result<ReversePath<'a>, SyntaxError> {
        if self.take_word("<>") {
            return Ok(ReversePath::Null);
        }
        self.path(grammar).map(ReversePath::Mailbox)
    }

    /// RFC 5321 §4.1.1.3: a path, or `<Postmaster>` alone, which is the one mailbox without a domain.
    pub(crate) fn forward_path(&mut self, grammar: Grammar) -> Result<ForwardPath<'a>, SyntaxError> {
        if self.take_word("<Postmaster>") {
            return Ok(ForwardPath::Postmaster);
        }
        self.path(grammar).map(ForwardPath::Mailbox)
    }

    fn path(&mut self, grammar: Grammar) -> Result<Mailbox<'a>, SyntaxError> {
        let start = self.at;
        self.expect(b'<')?;
        if self.peek() == Some(b'@') {
            self.source_route(grammar)?;
        }
        let mailbox = self.mailbox(grammar)?;
        self.expect(b'>')?;
        // RFC 5321 §4.5.3.1.3: the limit counts punctuation and element separators too.
        if self.at - start > grammar.path { Err(Self::too_long(start)) } else { Ok(mailbox) }
    }

    /// RFC 5321 §4.1.1.3 and appendix C: a source route is accepted and ignored.
    fn source_route(&mut self, grammar: Grammar) -> Result<(), SyntaxError> {
        loop {
            self.expect(b'@')?;
            self.domain(grammar)?;
            if self.take(b':') {
                return Ok(());
            }
            self.expect(b',')?;
        }
    }

    fn mailbox(&mut self, grammar: Grammar) -> Result<Mailbox<'a>, SyntaxError> {
        let start = self.at;
        if self.peek() == Some(b'"') {
            self.quoted_string(grammar)?
        } else {
            self.dot_string(grammar)?
        }
        let at = self.at - start;
        // RFC 5321 §4.5.3.1.1: the local part.
        if at > grammar.local_part {
            return Err(Self::too_long(start));
        }
        self.expect(b'@')?;
        if self.peek() == Some(b'[') {
            self.address_literal(grammar)?
        } else {
            self.domain(grammar)?
        }
        Ok(Mailbox { text: self.since(start), at })
    }

    fn dot_string(&mut self, grammar: Grammar) -> Result<(), SyntaxError> {
        loop {
            if self.take_while(|octet| is_atext(octet) || (grammar.utf8 && !octet.is_ascii())).is_empty() {
                return Err(self.unexpected());
            }
            if !self.take(b'.') {
                return Ok(());
            }
        }
    }

    fn quoted_string(&mut self, grammar: Grammar) -> Result<(), SyntaxError> {
        self.expect(b'"')?;
        loop {
            match self.peek() {
                Some(b'"') => {
                    self.at += 1;
                    return Ok(());
                }
                Some(b'\\') => {
                    self.at += 1;
                    match self.peek() {
                        Some(32..=126) => self.at += 1,
                        _ => return Err(self.unexpected()),
                    }
                }
                Some(32..=126) => self.at += 1,
                Some(128..) if grammar.utf8 => self.at += 1,
                _ => return Err(self.unexpected()),
            }
        }
    }

    /// RFC 5321 §4.1.2, Domain: labels of letters, digits and inner hyphens.
    pub(crate) fn domain(&mut self, grammar: Grammar) -> Result<(), SyntaxError> {
        let start = self.at;
        loop {
            let label = self.take_while(|octet| is_let_dig_hyp(octet) || (grammar.utf8 && !octet.is_ascii()));
            if label.is_empty() || label.starts_with('-') || label.ends_with('-') {
                return Err(self.unexpected());
            }
            // RFC 1035 §2.3.4: a label has at most 63 octets (U-labels are longer than what they stand for).
            if label.len() > 63 && label.is_ascii() {
                return Err(Self::too_long(start));
            }
            if !self.take(b'.') {
                break;
            }
        }
        // RFC 5321 §4.5.3.1.2: the domain.
        if self.at - start > grammar.domain { Err(Self::too_long(start)) } else { Ok(()) }
    }

    /// RFC 5321 §4.1.3: `[192.0.2.1]`, `[IPv6:2001:db8::1]`, `[tag:content]`.
    pub(crate) fn address_literal(&mut self, grammar: Grammar) -> Result<(), SyntaxError> {
        let start = self.at;
        self.expect(b'[')?;
        let content = self.take_while(|octet| matches!(octet, 33..=90 | 94..=126));
        let error = SyntaxError { offset: start, kind: SyntaxErrorKind::Literal };
        self.expect(b']')?;
        if self.at - start > grammar.domain {
            return Err(Self::too_long(start));
        }
        let valid = match content.split_once(':') {
            None => content.parse::<Ipv4Addr>().is_ok(),
            Some((tag, address)) if tag.eq_ignore_ascii_case("IPv6") => address.parse::<Ipv6Addr>().is_ok(),
            Some((tag, content)) => {
                !content.is_empty()
                    && tag.bytes().all(|octet| octet.is_ascii_alphanumeric() || octet == b'-')
                    && tag.bytes().next_back().is_some_and(|octet| octet.is_ascii_alphanumeric())
            }
        };
        if valid { Ok(()) } else { Err(error) }
    }
}

/// Whether this is a domain name, whole, in ASCII.
pub(crate) fn is_domain(text: &str) -> bool {
    let mut cursor = Cursor::new(text);
    cursor.domain(Grammar::default()).is_ok() && cursor.is_end()
}

/// RFC 5322 §3.2.3: octets of an atom.
#[inline]
pub(crate) fn is_atext(octet: u8) -> bool {
    is(octet, ATEXT)
}

/// RFC 5321 §4.1.2, esmtp-value, with the octets above 127 of RFC 6531 §3.3.
#[inline]
pub(crate) fn is_esmtp_value(octet: u8) -> bool {
    is(octet, ESMTP_VALUE)
}

/// A letter, a digit or a hyphen (RFC 5321 §4.1.2, Let-dig and Ldh-str).
#[inline]
pub(crate) fn is_let_dig_hyp(octet: u8) -> bool {
    is(octet, LET_DIG_HYP)
}

const ATEXT: u8 = 1;
const LET_DIG_HYP: u8 = 2;
const ESMTP_VALUE: u8 = 4;

#[inline]
fn is(octet: u8, kind: u8) -> bool {
    KINDS.get(usize::from(octet)).is_some_and(|kinds| kinds & kind != 0)
}

/// What each octet is: one look instead of a row of comparisons.
static KINDS: [u8; 256] = {
    let mut kinds = [0; 256];
    let mut rest = kinds.as_mut_slice();
    let mut octet = 0_u8;
    while let [kind, tail @ ..] = rest {
        let let_dig = octet.is_ascii_alphanumeric();
        let special = matches!(
            octet,
            b'!' | b'#'
                | b'$'
                | b'%'
                | b'&'
                | b'\''
                | b'*'
                | b'+'
                | b'-'
                | b'/'
                | b'='
                | b'?'
                | b'^'
                | b'_'
                | b'`'
                | b'{'
                | b'|'
                | b'}'
                | b'~'
        );
        if let_dig || special {
            *kind |= ATEXT;
        }
        if let_dig || octet == b'-' {
            *kind |= LET_DIG_HYP;
        }
        if matches!(octet, b'!'..=b'<' | b'>'..=b'~' | 128..) {
            *kind |= ESMTP_VALUE;
        }
        octet = octet.wrapping_add(1);
        rest = tail;
    }
    kinds
};

#[cfg(test)]
mod tests {
    use super::*;

    fn ok(text: &str) -> Address {
        Address::parse(text, Grammar::default()).unwrap_or_else(|error| panic!("{text}: {error}"))
    }

    fn refused(text: &str) {
        assert!(Address::parse(text, Grammar::default()).is_err(), "{text}");
    }

    #[test]
    fn mailboxes_of_the_grammar() {
        assert_eq!(ok("Jones@xyz.com").domain(), Some("xyz.com"));
        assert_eq!(ok("o'hara+tag/x=y@a-b.example").local_part(), "o'hara+tag/x=y");
        assert_eq!(ok("user@[192.0.2.7]").domain(), Some("[192.0.2.7]"));
        assert_eq!(ok("user@[IPv6:2001:db8::1]").domain(), Some("[IPv6:2001:db8::1]"));
        assert_eq!(ok("user@[x400:abc]").domain(), Some("[x400:abc]"));
        assert_eq!(ok("postMASTER").domain(), None);
        for bad in [
            "",
            "a",
            "@b",
            "a@",
            "a..b@c",
            ".a@c",
            "a.@c",
            "a@-c",
            "a@c-",
            "a@c..d",
            "a@c.",
            "a b@c",
            "a@b c",
            "a@[1.2.3]",
            "a@[1.2.3.4",
            "a@[IPv6:zz]",
            "a@[:x]",
            "a@[-:]",
            "a@b@c",
            "<a@b>",
            "a@b_c",
            "\u{e9}@b",
            "a@\u{e9}",
            "\"a@b",
            "\"a\u{1}\"@b",
            "\"a\\\"@b",
        ] {
            refused(bad);
        }
    }

    #[test]
    fn quoted_local_part_is_kept_exactly() {
        let address = ok("\"a b\"@example.org");
        assert_eq!(address.as_str(), "\"a b\"@example.org");
        assert_eq!(address.local_part(), "\"a b\"");
        assert_eq!(address.local_part_unquoted(), "a b");
        assert_eq!(ok("\"a\\\"\\\\@b\"@c").local_part_unquoted(), "a\"\\@b");
        assert_eq!(ok("\"@\"@c").domain(), Some("c"));
        assert_eq!(ok("plain@c").local_part_unquoted(), "plain");
    }

    #[test]
    fn address_limits() {
        ok(&format!("{}@b", "a".repeat(64)));
        refused(&format!("{}@b", "a".repeat(65)));
        let domain = format!("{0}.{0}.{0}.{1}", "a".repeat(63), "b".repeat(61));
        assert_eq!(domain.len(), 253);
        ok(&format!("a@{domain}"));
        refused(&format!("a@{domain}.cc"));
        refused(&format!("a@{}", "a".repeat(64)));
        let path = format!("<{}@{}>", "a".repeat(64), domain.get(..190).unwrap());
        assert_eq!(path.len(), 257);
        assert!(Cursor::new(&path).forward_path(Grammar::default()).is_err());
        assert!(Cursor::new(&path).forward_path(Grammar { path: 257, ..Grammar::default() }).is_ok());
    }

    #[test]
    fn utf8_addresses_only_under_the_utf8_grammar() {
        let grammar = Grammar::default().with_utf8(true);
        let address = Address::parse("zo\u{eb}@b\u{fc}cher.example", grammar).unwrap();
        assert!(!address.is_ascii());
        assert_eq!(address.domain(), Some("b\u{fc}cher.example"));
        refused("zo\u{eb}@example.org");
    }

    #[test]
    fn source_routes_are_ignored() {
        let mut cursor = Cursor::new("<@one,@two.example:JOE@THREE>");
        assert_eq!(cursor.forward_path(Grammar::default()).unwrap().to_address().as_str(), "JOE@THREE");
        for bad in ["<@one JOE@THREE>", "<@one:>", "<@:a@b>", "<@one,:a@b>"] {
            assert!(Cursor::new(bad).forward_path(Grammar::default()).is_err(), "{bad}");
        }
    }
}
