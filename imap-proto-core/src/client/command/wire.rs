//! How a command is written: its octets, and where it must wait for the server (RFC 9051 §2.2.1, §4.3; RFC 7888).

use std::collections::VecDeque;

use bytes::{BufMut, Bytes, BytesMut};
use mailstore_trait::uid_set::UidSet;

use crate::client::value::Mailbox;
use crate::command::is_astring;
use crate::response::{self, Quoted};

/// A command being written: pieces, between which the server has to say `+`.
pub(in crate::client) struct Wire {
    pieces: VecDeque<Bytes>,
    octets: BytesMut,
    written: usize,
    /// The largest literal that need not wait; nothing where every literal must.
    unasked: Option<u64>,
    utf8: bool,
}

impl Wire {
    pub(in crate::client) fn new(tag: u32, unasked: Option<u64>, utf8: bool) -> Wire {
        let mut wire = Wire { pieces: VecDeque::new(), octets: BytesMut::new(), written: 0, unasked, utf8 };
        wire.word("A");
        wire.number(u64::from(tag));
        wire.word(" ");
        wire
    }

    pub(super) fn octets(&mut self) -> &mut BytesMut {
        &mut self.octets
    }

    pub(in crate::client) fn word(&mut self, word: &str) {
        self.octets.put_slice(word.as_bytes());
    }

    pub(super) fn number(&mut self, value: u64) {
        response::number(value, &mut self.octets);
    }

    pub(super) fn set(&mut self, set: &UidSet) {
        response::set(set, &mut self.octets);
    }

    pub(in crate::client) fn utf8(&self) -> bool {
        self.utf8
    }

    /// A string: quoted where it may be, else a literal.
    pub(in crate::client) fn string(&mut self, octets: &[u8]) {
        let plain = octets.iter().all(|octet| !matches!(octet, 0..=31 | 127));
        let quotable = plain && (octets.is_ascii() || (self.utf8 && std::str::from_utf8(octets).is_ok()));
        // RFC 2683 §3.2.1.5: long lines are asking for trouble.
        if quotable && octets.len() <= 1000 {
            response::string(octets, if self.utf8 { Quoted::Utf8 } else { Quoted::Ascii }, &mut self.octets);
        } else {
            self.announce(octets.len() as u64);
            self.octets.put_slice(octets);
        }
    }

    /// An atom where it is one, else a string.
    pub(super) fn astring(&mut self, octets: &[u8]) {
        if is_astring(octets) && !octets.eq_ignore_ascii_case(b"NIL") {
            self.octets.put_slice(octets);
        } else {
            self.string(octets);
        }
    }

    pub(super) fn mailbox(&mut self, mailbox: &Mailbox) {
        let name = mailbox.wire(self.utf8);
        self.astring(&name);
    }

    /// A LIST pattern: `%` and `*` stand for themselves in quotes.
    pub(super) fn pattern(&mut self, pattern: &str) {
        let name = Mailbox::new(pattern);
        let name = name.wire(self.utf8);
        self.string(&name);
    }

    /// `{n}` and what comes behind it: nothing until the server says `+`, unless it need not be asked.
    pub(super) fn announce(&mut self, octets: u64) {
        self.word("{");
        self.number(octets);
        if self.unasked.is_some_and(|unasked| octets <= unasked) {
            self.word("+}\r\n");
        } else {
            self.word("}\r\n");
            self.cut();
        }
    }

    fn cut(&mut self) {
        self.written += self.octets.len();
        self.pieces.push_back(self.octets.split().freeze());
    }

    /// Octets written.
    pub(in crate::client) fn len(&self) -> usize {
        self.written + self.octets.len()
    }

    /// The pieces. With `line_end` the command ends here; else a message follows, and its line end behind that.
    pub(in crate::client) fn finish(mut self, line_end: bool) -> VecDeque<Bytes> {
        if line_end {
            self.word("\r\n");
        }
        if !self.octets.is_empty() {
            self.cut();
        }
        self.pieces
    }
}
