//! Address lists (RFC 5322 §3.4, obsolete forms of §4.4 included), parsed once and read in place.
//!
//! Written to lose nothing: whatever stands between two commas and cannot be understood becomes a mailbox without a
//! domain or is passed over, and the next element starts afresh. Comments, nesting and quotes are handled by counters
//! and flags, so the work is linear in the octets.

use super::parameter::comment_len;
use super::wire::{Reader, put_octets};

const GROUP: u8 = 1;
const GROUP_END: u8 = 2;
const MAILBOX: u8 = 4;
const WITH_NAME: u8 = 1;
const WITH_ROUTE: u8 = 2;

/// One element of an address list as IMAP tells it (RFC 9051 §7.5.2, `address`).
///
/// Octets are unfolded and unquoted; encoded words are not decoded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Address<'a> {
    /// A mailbox.
    Mailbox(Mailbox<'a>),
    /// A group begins; the mailboxes up to its [`Address::GroupEnd`] belong to it.
    Group {
        /// The group's display name.
        name: &'a [u8],
    },
    /// The group ends.
    GroupEnd,
}

/// A mailbox.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Mailbox<'a> {
    /// The display name, or the comment that stands in its place in the old form `a@b (Name)`.
    pub name: Option<&'a [u8]>,
    /// The source route of RFC 5322 §4.4, such as `@a.example,@b.example`.
    pub route: Option<&'a [u8]>,
    /// The local part, its quotes removed. Empty when the message has none.
    pub local: &'a [u8],
    /// The domain. Empty when the message has none (in IMAP's ENVELOPE it must not become NIL, which begins a group).
    pub domain: &'a [u8],
}

/// An address list, in the order of the message.
#[derive(Clone, Copy, Debug)]
pub struct Addresses<'a> {
    items: Reader<'a>,
}

impl<'a> Addresses<'a> {
    pub(super) fn new(items: &'a [u8]) -> Addresses<'a> {
        Addresses { items: Reader(items) }
    }

    /// Whether the list is empty: the field is missing, or held no address.
    pub fn is_empty(&self) -> bool {
        self.items.is_empty()
    }

    /// The first mailbox, inside a group or not.
    pub fn first_mailbox(self) -> Option<Mailbox<'a>> {
        self.mailboxes().next()
    }

    /// The mailboxes, those of groups included.
    pub fn mailboxes(self) -> impl Iterator<Item = Mailbox<'a>> {
        self.filter_map(|address| match address {
            Address::Mailbox(mailbox) => Some(mailbox),
            Address::Group { .. } | Address::GroupEnd => None,
        })
    }
}

impl<'a> Iterator for Addresses<'a> {
    type Item = Address<'a>;

    fn next(&mut self) -> Option<Address<'a>> {
        match self.items.octet()? {
            GROUP => Some(Address::Group { name: self.items.octets()? }),
            GROUP_END => Some(Address::GroupEnd),
            kind if kind & !(WITH_NAME | WITH_ROUTE) == MAILBOX => {
                let name = if kind & WITH_NAME == 0 { None } else { Some(self.items.octets()?) };
                let route = if kind & WITH_ROUTE == 0 { None } else { Some(self.items.octets()?) };
                Some(Address::Mailbox(Mailbox {
                    name,
                    route,
                    local: self.items.octets()?,
                    domain: self.items.octets()?,
                }))
            }
            _ => None,
        }
    }
}

/// Whether `items` is a list that [`Addresses`] reads to its end.
pub(super) fn valid(items: &[u8]) -> bool {
    let mut list = Addresses::new(items);
    while list.next().is_some() {}
    list.is_empty()
}

/// Parses the unfolded `value` and appends at most `max` addresses and as many groups; returns the number of addresses.
///
/// With `cut` the value was shortened by a limit: what stands behind its last comma is not told.
pub(super) fn put_addresses(value: &[u8], max: usize, cut: bool, out: &mut Vec<u8>) -> usize {
    let value =
        if cut { memchr::memrchr(b',', value).and_then(|at| value.get(..at)).unwrap_or_default() } else { value };
    let mut parser = Parser {
        rest: value,
        out,
        left: max,
        groups: max,
        in_group: false,
        no_comment: false,
        no_quote: false,
        phrase: Text::default(),
        comment: Vec::new(),
        local: Vec::new(),
        domain: Vec::new(),
        route: Vec::new(),
    };
    parser.run();
    max - parser.left
}

/// Words, with a space wherever there was a blank between two.
#[derive(Default)]
struct Text {
    octets: Vec<u8>,
    space: bool,
    /// Whether a word was seen, an empty quoted string included.
    any: bool,
}

impl Text {
    fn clear(&mut self) {
        self.octets.clear();
        self.space = false;
        self.any = false;
    }

    fn blank(&mut self) {
        self.space = self.any;
    }

    fn word(&mut self) {
        if self.space {
            self.octets.push(b' ');
        }
        self.space = false;
        self.any = true;
    }

    fn push(&mut self, octets: &[u8]) {
        self.word();
        self.octets.extend_from_slice(octets);
    }

    /// As a local part: RFC 5322 §4.4 allows blanks around the dots.
    fn local_into(&self, out: &mut Vec<u8>) {
        out.clear();
        let mut octets = self.octets.iter().peekable();
        while let Some(&octet) = octets.next() {
            let beside_dot = out.last() == Some(&b'.') || octets.peek() == Some(&&b'.');
            if octet != b' ' || !beside_dot {
                out.push(octet);
            }
        }
    }
}

struct Parser<'a, 'o> {
    rest: &'a [u8],
    out: &'o mut Vec<u8>,
    left: usize,
    groups: usize,
    in_group: bool,
    /// No comment from here on ends, so a parenthesis is an ordinary octet.
    no_comment: bool,
    /// No quoted string from here on ends.
    no_quote: bool,
    phrase: Text,
    comment: Vec<u8>,
    local: Vec<u8>,
    domain: Vec<u8>,
    route: Vec<u8>,
}

impl Parser<'_, '_> {
    fn run(&mut self) {
        self.start();
        while self.left > 0 {
            let Some(octet) = self.peek() else { break };
            match octet {
                b',' => {
                    self.advance(1);
                    self.end_bare();
                }
                b';' => {
                    // RFC 5322 §3.4: the end of a group. Outside of one, a comma as some programs write it.
                    self.advance(1);
                    self.end_bare();
                    self.end_group();
                }
                b':' => {
                    self.advance(1);
                    self.end_group();
                    if self.groups > 0 {
                        self.groups -= 1;
                        self.in_group = true;
                        self.out.push(GROUP);
                        put_octets(self.out, &self.phrase.octets);
                    }
                    self.start();
                }
                b'<' => self.angle_addr(),
                b'@' => self.addr_spec(),
                _ => self.phrase_octet(octet),
            }
        }
        if self.left > 0 {
            self.end_bare();
        }
        self.end_group();
    }

    fn peek(&self) -> Option<u8> {
        self.rest.first().copied()
    }

    fn advance(&mut self, octets: usize) {
        self.rest = self.rest.get(octets..).unwrap_or_default();
    }

    fn start(&mut self) {
        self.phrase.clear();
        self.comment.clear();
        self.local.clear();
        self.domain.clear();
        self.route.clear();
    }

    /// The end of an element that had no `@` and no `<`.
    fn end_bare(&mut self) {
        if self.phrase.any {
            self.phrase.local_into(&mut self.local);
            self.emit(false);
        } else {
            self.start();
        }
    }

    fn end_group(&mut self) {
        if self.in_group {
            self.in_group = false;
            self.out.push(GROUP_END);
        }
    }

    fn emit(&mut self, named: bool) {
        let name = if named && !self.phrase.octets.is_empty() { &self.phrase.octets } else { &self.comment };
        let with_name = if name.is_empty() { 0 } else { WITH_NAME };
        let with_route = if self.route.is_empty() { 0 } else { WITH_ROUTE };
        self.out.push(MAILBOX | with_name | with_route);
        if with_name != 0 {
            put_octets(self.out, name);
        }
        if with_route != 0 {
            put_octets(self.out, &self.route);
        }
        put_octets(self.out, &self.local);
        put_octets(self.out, &self.domain);
        self.left = self.left.saturating_sub(1);
        self.start();
    }

    /// One octet, quoted string or comment of a phrase.
    fn phrase_octet(&mut self, octet: u8) {
        if self.blank(octet) {
            self.phrase.blank();
        } else if octet == b'"' {
            match self.quoted_len() {
                Some(len) => {
                    let quoted = self.rest.get(1..len.saturating_sub(1)).unwrap_or_default();
                    self.phrase.word();
                    unquote(quoted, &mut self.phrase.octets);
                    self.advance(len);
                }
                None => self.advance(1),
            }
        } else {
            let plain = |octet: &u8| {
                !matches!(octet, b' ' | b'\t' | b'\r' | b'\n' | b'"' | b'(' | b',' | b';' | b':' | b'<' | b'@')
            };
            let len = self.rest.iter().take_while(|octet| plain(octet)).count().max(1);
            self.phrase.push(self.rest.get(..len).unwrap_or_default());
            self.advance(len);
        }
    }

    /// Passes over a blank or a comment, whose text is kept.
    fn blank(&mut self, octet: u8) -> bool {
        match octet {
            b' ' | b'\t' | b'\r' | b'\n' => {
                self.advance(1);
                true
            }
            b'(' if !self.no_comment => {
                let Some(len) = comment_len(self.rest) else {
                    self.no_comment = true;
                    return false;
                };
                let inner = self.rest.get(1..len - 1).unwrap_or_default().trim_ascii();
                if !inner.is_empty() {
                    self.comment.clear();
                    unquote(inner, &mut self.comment);
                }
                self.advance(len);
                true
            }
            _ => false,
        }
    }

    /// The length of the quoted string at the front, quotes included.
    fn quoted_len(&mut self) -> Option<usize> {
        if self.no_quote {
            return None;
        }
        let mut quoted = false;
        for (at, &octet) in self.rest.iter().enumerate().skip(1) {
            match octet {
                _ if quoted => quoted = false,
                b'\\' => quoted = true,
                b'"' => return Some(at + 1),
                _ => {}
            }
        }
        self.no_quote = true;
        None
    }

    /// `<` route local-part `@` domain `>`; the phrase is the display name.
    fn angle_addr(&mut self) {
        self.advance(1);
        let name = std::mem::take(&mut self.phrase);
        // A comment before the angle is no name where there is a phrase; inside the angle it is never one.
        let comment = std::mem::take(&mut self.comment);
        self.route();
        while let Some(octet) = self.peek() {
            match octet {
                b'>' | b',' | b';' | b'<' => break,
                b'@' => {
                    // Of several, the last one ends the local part.
                    if !self.domain.is_empty() || !self.local.is_empty() {
                        self.local.push(b'@');
                        self.local.append(&mut self.domain);
                    } else {
                        self.phrase.local_into(&mut self.local);
                    }
                    self.advance(1);
                    self.domain();
                }
                b':' => {
                    self.phrase.push(b":");
                    self.advance(1);
                }
                _ => self.phrase_octet(octet),
            }
        }
        if self.domain.is_empty() && self.local.is_empty() {
            self.phrase.local_into(&mut self.local);
        }
        if self.peek() == Some(b'>') {
            self.advance(1);
        }
        self.phrase = name;
        self.comment = comment;
        // What follows up to the comma is no address; the old form's comment may.
        while let Some(octet) = self.peek() {
            match octet {
                b',' => break,
                b';' => break,
                // Two addresses without a comma between them.
                b'<' => break,
                _ if self.blank(octet) => {}
                b'"' => {
                    let len = self.quoted_len().unwrap_or(1);
                    self.advance(len);
                }
                _ => self.advance(1),
            }
        }
        self.emit(true);
    }

    /// RFC 5322 §4.4: obs-route, `@a,@b:` before the address.
    fn route(&mut self) {
        let lead = self.rest.iter().take_while(|octet| octet.is_ascii_whitespace()).count();
        if self.rest.get(lead) != Some(&b'@') {
            return;
        }
        // The search stops at an angle, so that many of them do not make it quadratic.
        let Some(end) = self.rest.iter().position(|octet| matches!(octet, b':' | b'>' | b'<')) else { return };
        if self.rest.get(end) != Some(&b':') {
            return;
        }
        let route = self.rest.get(lead..end).unwrap_or_default();
        self.route.extend(route.iter().filter(|octet| !octet.is_ascii_whitespace()));
        self.advance(end + 1);
    }

    /// `local@domain` without angles; the phrase is the local part.
    fn addr_spec(&mut self) {
        self.advance(1);
        self.domain();
        // What comes behind the domain decides what this was.
        let next = self.rest.iter().position(|octet| matches!(octet, b',' | b';' | b'<' | b'@' | b':'));
        match next.and_then(|at| self.rest.get(at)) {
            // `a@b.example <a@b.example>`: a display name that looks like an address.
            Some(b'<') => {
                self.phrase.push(b"@");
                let domain = std::mem::take(&mut self.domain);
                self.phrase.push(&domain);
                while let Some(octet) = self.peek().filter(|&octet| octet != b'<') {
                    self.phrase_octet(octet);
                }
            }
            // `a@b c@d`: a comma is missing.
            Some(b'@') if self.rest.first() != Some(&b'@') => {
                while let Some(octet) = self.peek() {
                    if !self.blank(octet) {
                        break;
                    }
                }
                self.phrase.local_into(&mut self.local);
                self.emit(false);
            }
            // `a@b@c`: the last one ends the local part. `a@b: c@d;`: a group with an odd name.
            Some(b'@' | b':') => {
                self.phrase.push(b"@");
                let domain = std::mem::take(&mut self.domain);
                self.phrase.push(&domain);
            }
            _ => {
                while let Some(octet) = self.peek() {
                    match octet {
                        b',' | b';' => break,
                        _ if self.blank(octet) => {}
                        _ => self.advance(1),
                    }
                }
                self.phrase.local_into(&mut self.local);
                self.emit(false);
            }
        }
    }

    /// A domain or domain literal, blanks and comments around its dots dropped.
    fn domain(&mut self) {
        self.domain.clear();
        let mut gap = false;
        while let Some(octet) = self.peek() {
            match octet {
                b',' | b';' | b'<' | b'>' | b'@' | b'"' | b':' => return,
                b'[' => {
                    let len = memchr::memchr2(b']', b',', self.rest)
                        .map_or(self.rest.len(), |at| at + usize::from(self.rest.get(at) == Some(&b']')));
                    self.domain.extend_from_slice(self.rest.get(..len).unwrap_or_default());
                    self.advance(len);
                }
                _ if self.blank(octet) => gap = true,
                _ => {
                    if gap && octet != b'.' && !matches!(self.domain.last(), None | Some(b'.')) {
                        return;
                    }
                    gap = false;
                    self.domain.push(octet);
                    self.advance(1);
                }
            }
        }
    }
}

/// Appends `octets` with the backslashes of quoted pairs resolved.
fn unquote(octets: &[u8], out: &mut Vec<u8>) {
    let mut quoted = false;
    for &octet in octets {
        if octet == b'\\' && !quoted {
            quoted = true;
        } else {
            quoted = false;
            out.push(octet);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn list(value: &str) -> Vec<String> {
        let mut out = Vec::new();
        put_addresses(value.as_bytes(), 1000, false, &mut out);
        assert!(valid(&out), "{value:?} made an unreadable list");
        let text = |octets: &[u8]| String::from_utf8_lossy(octets).into_owned();
        Addresses::new(&out)
            .map(|address| match address {
                Address::Group { name } => format!("{}:", text(name)),
                Address::GroupEnd => ";".to_owned(),
                Address::Mailbox(mailbox) => {
                    let name = mailbox.name.map(|name| format!("{}|", text(name))).unwrap_or_default();
                    let route = mailbox.route.map(|route| format!("{}:", text(route))).unwrap_or_default();
                    format!("{name}{route}{}@{}", text(mailbox.local), text(mailbox.domain))
                }
            })
            .collect()
    }

    #[test]
    fn the_forms_of_rfc_5322() {
        assert_eq!(list("a@b.example"), ["a@b.example"]);
        assert_eq!(list("Joe Q. Public <john.q.public@example.com>"), ["Joe Q. Public|john.q.public@example.com"]);
        assert_eq!(list("\"Giant; \\\"Big\\\" Box\" <s@e.net>"), ["Giant; \"Big\" Box|s@e.net"]);
        assert_eq!(
            list("A Group:Ed Jones <c@a.test>,joe@where.test,John <jdoe@one.test>;"),
            ["A Group:", "Ed Jones|c@a.test", "joe@where.test", "John|jdoe@one.test", ";"]
        );
        assert_eq!(list("Undisclosed recipients:;"), ["Undisclosed recipients:", ";"]);
        assert_eq!(list("a@b, c@d"), ["a@b", "c@d"]);
        assert_eq!(list("\"john doe\"@b.c"), ["john doe@b.c"]);
        assert_eq!(list("u@[192.0.2.1]"), ["u@[192.0.2.1]"]);
        assert_eq!(list("=?utf-8?Q?J=C3=B6rg?= <j@e.test>"), ["=?utf-8?Q?J=C3=B6rg?=|j@e.test"]);
    }

    #[test]
    fn the_obsolete_forms() {
        assert_eq!(list("Joe <@a.test,@b.test:jdoe@c.test>"), ["Joe|@a.test,@b.test:jdoe@c.test"]);
        assert_eq!(list("pete(his account)@silly.test(his host)"), ["his host|pete@silly.test"]);
        assert_eq!(list("jdoe@machine(comment). example"), ["comment|jdoe@machine.example"]);
        assert_eq!(list("john . doe @ example . com"), ["john.doe@example.com"]);
        assert_eq!(list(" , a@b ,, c@d,"), ["a@b", "c@d"]);
        assert_eq!(list("a@b (Old Form)"), ["Old Form|a@b"]);
        assert_eq!(list("Group(comment): (nobody) ;"), ["Group:", ";"]);
    }

    #[test]
    fn what_cannot_be_understood_costs_nobody_else() {
        assert_eq!(list("nonsense, a@b"), ["nonsense@", "a@b"]);
        assert_eq!(list("<>, a@b"), ["@", "a@b"]);
        assert_eq!(list("<unclosed@x.test, a@b"), ["unclosed@x.test", "a@b"]);
        assert_eq!(list("\"never ends <q@x.test>, a@b"), ["never ends|q@x.test", "a@b"]);
        assert_eq!(list("(never ends <q@x.test>, a@b"), ["(never ends|q@x.test", "a@b"]);
        assert_eq!(list("a@b c@d"), ["a@b", "c@d"]);
        assert_eq!(list("a@b; c@d"), ["a@b", "c@d"]);
        assert_eq!(list("a@b.test <c@d.test>"), ["a@b.test|c@d.test"]);
        assert_eq!(list("x@y@z, a@b"), ["x@y@z", "a@b"]);
        assert_eq!(list("A: a@b, B: c@d;"), ["A:", "a@b", ";", "B:", "c@d", ";"]);
        assert_eq!(list("A: a@b"), ["A:", "a@b", ";"]);
        assert_eq!(list("l@x.test: a@b, c@d"), ["l@x.test:", "a@b", "c@d", ";"]);
        assert_eq!(list("@"), ["@"]);
        assert_eq!(list("a@b> junk, c@d"), ["a@b", "c@d"]);
        assert_eq!(list("a <b@c> d <e@f>"), ["a|b@c", "e@f"]);
        assert_eq!(list("a@b (comment ends in a backslash\\"), ["a@b"]);
        assert_eq!(list("@[never ends"), ["@[never ends"]);
        assert_eq!(list(""), [""; 0]);
        assert_eq!(list("  (only a comment) "), [""; 0]);
    }

    #[test]
    fn a_hostile_list_is_bounded_and_linear() {
        let mut out = Vec::new();
        put_addresses("a@b,".repeat(100_000).as_bytes(), 1000, false, &mut out);
        assert_eq!(Addresses::new(&out).count(), 1000);
        for noise in ["\"", "(", "<", "@", "[", ":", "\\", "\"a", "(a", "<@", "a b@c "] {
            let mut out = Vec::new();
            put_addresses(noise.repeat(50_000).as_bytes(), 1000, false, &mut out);
            assert!(valid(&out));
        }
    }

    #[test]
    fn a_cut_list_ends_at_its_last_comma() {
        let mut out = Vec::new();
        put_addresses(b"a@b, c@d, victim@exam", 10, true, &mut out);
        assert_eq!(Addresses::new(&out).count(), 2);
    }
}
