//! Looks at a message's header while it comes in, without keeping it: what is there, and what is missing.
//!
//! RFC 5321 §6.3 (Received headers are counted), RFC 6409 §8.1 to §8.3 (Sender, Date and Message-ID are added where a submitted
//! message lacks them), RFC 9228 §3 (mailboxes that had it already). Only the name of the current field is kept, and the
//! value of Delivered-To, so that a header of any length costs little; what is missing is known when the message has
//! ended, and goes in front of it together with the trace headers.

use std::fmt;

use mailstore_trait::date::DateTime;
use mailstore_trait::mime::{Limits, Mailbox, Scanner};

/// The longest name that is looked for, and one octet more: longer ones are none of them.
const NAME: usize = 13;

/// Octets of a mailbox in Delivered-To; a longer one is none of ours.
const MAILBOX: usize = 320;

/// Octets of From. Of a longer one it is not known who all the authors are.
const AUTHORS: usize = 8 * 1024;

/// Authors that are looked up, at most.
const AUTHORS_MAX: usize = 50;

/// Delivered-To fields that are remembered. A message with more went through more mailboxes than a chain of forwards has.
const DELIVERIES: usize = 100;

/// A header, octet by octet, and nothing behind it.
#[derive(Debug, Default)]
pub(super) struct Header {
    received: usize,
    date: bool,
    message_id: bool,
    /// The current line's name so far, in lower case.
    name: [u8; NAME],
    len: usize,
    part: Part,
    /// The first line is no field: there is no header, and all of it is body.
    headless: bool,
    begun: bool,
    /// The mailboxes it was in, in lower case.
    delivered_to: Vec<Box<str>>,
    /// The value of the Delivered-To that is being read.
    mailbox: Option<Vec<u8>>,
    sender: bool,
    /// The value of the first From, its folds gone.
    from: Option<Vec<u8>>,
    /// Whether what comes next is still of it.
    in_from: bool,
    looked: u64,
}

/// Where in the header.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Part {
    /// At the start of a line.
    #[default]
    Start,
    /// In what may be a field's name.
    Name,
    /// In a value, a folded line, or a line that is no field.
    Rest,
    /// Behind the header.
    Body,
}

impl Header {
    /// Received headers so far.
    pub(super) fn received(&self) -> usize {
        self.received
    }

    /// Whether all of it has gone by.
    pub(super) fn is_over(&self) -> bool {
        self.part == Part::Body
    }

    /// Octets that were taken for header, and perhaps a piece of the body behind it.
    pub(super) fn looked(&self) -> u64 {
        self.looked
    }

    /// Looks at the message's next octets.
    pub(super) fn look(&mut self, octets: &[u8]) {
        if self.part != Part::Body {
            self.looked += octets.len() as u64;
        }
        let mut octets = octets;
        while let Some((octet, rest)) = octets.split_first() {
            octets = match self.part {
                Part::Body => return,
                // Values are most of a header.
                Part::Rest => {
                    let end = memchr::memchr(b'\n', octets);
                    self.value(octets.get(..end.unwrap_or(octets.len())).unwrap_or_default());
                    let Some(end) = end else { return };
                    self.mailbox();
                    self.part = Part::Start;
                    octets.get(end + 1..).unwrap_or_default()
                }
                Part::Start | Part::Name => {
                    self.octet(*octet);
                    rest
                }
            };
        }
    }

    fn octet(&mut self, octet: u8) {
        let first = !std::mem::replace(&mut self.begun, true);
        match (self.part, octet) {
            (Part::Start, b'\n') => self.part = Part::Body,
            // The CR of an empty line, or of a line that was none.
            (Part::Start, b'\r') => {}
            (Part::Start, b' ' | b'\t' | b':') => {
                self.headless |= first;
                self.part = Part::Rest;
            }
            (Part::Start, octet) => {
                self.in_from = false;
                self.len = 0;
                self.part = Part::Name;
                self.headless = first;
                self.name_octet(octet);
            }
            (_, b':') => {
                self.headless = false;
                self.field();
                self.part = Part::Rest;
            }
            (_, b'\n') => self.part = Part::Start,
            // Old messages have white space before the colon.
            (_, b' ' | b'\t' | b'\r') => {}
            (_, octet) => self.name_octet(octet),
        }
    }

    fn name_octet(&mut self, octet: u8) {
        if let Some(slot) = self.name.get_mut(self.len) {
            *slot = octet.to_ascii_lowercase();
            self.len += 1;
        }
    }

    fn field(&mut self) {
        match self.name.get(..self.len) {
            Some(b"received") => self.received += 1,
            Some(b"date") => self.date = true,
            Some(b"message-id") => self.message_id = true,
            Some(b"sender") => self.sender = true,
            Some(b"from") if self.from.is_none() => (self.from, self.in_from) = (Some(Vec::new()), true),
            Some(b"delivered-to") if self.delivered_to.len() < DELIVERIES => self.mailbox = Some(Vec::new()),
            _ => {}
        }
    }

    fn value(&mut self, octets: &[u8]) {
        if let Some(mailbox) = &mut self.mailbox {
            let room = MAILBOX.saturating_sub(mailbox.len());
            mailbox.extend_from_slice(octets.get(..room).unwrap_or(octets));
        }
        if self.in_from
            && let Some(from) = &mut self.from
        {
            // One octet more than counts says that it was longer.
            let room = (AUTHORS + 1).saturating_sub(from.len());
            from.extend(octets.iter().take(room).map(|octet| if *octet == b'\r' { b' ' } else { *octet }));
        }
    }

    /// The addresses in From, where Sender does not say who sent the message; none where they can't all be told.
    pub(super) fn authors(&self) -> Vec<String> {
        let Some(from) = self.from.as_ref().filter(|from| !self.sender && from.len() <= AUTHORS) else {
            return Vec::new();
        };
        let mut scanner = Scanner::new(Limits::default());
        scanner.push(b"From:");
        scanner.push(from);
        scanner.push(b"\r\n\r\n");
        let skeleton = scanner.finish();
        let Some(envelope) = skeleton.root().envelope() else { return Vec::new() };
        let address = |mailbox: Mailbox<'_>| {
            let (local, domain) = (str::from_utf8(mailbox.local).ok()?, str::from_utf8(mailbox.domain).ok()?);
            Some(format!("{local}@{domain}"))
        };
        envelope.from.mailboxes().take(AUTHORS_MAX).filter_map(address).collect()
    }

    /// The end of a line that may have been a Delivered-To.
    fn mailbox(&mut self) {
        if let Some(mailbox) = self.mailbox.take()
            && let Ok(mailbox) = std::str::from_utf8(&mailbox)
        {
            self.delivered_to.push(mailbox.trim().to_lowercase().into());
        }
    }

    /// Whether it was in this mailbox already.
    pub(super) fn was_in(&self, mailbox: &str) -> bool {
        !self.delivered_to.is_empty() && self.delivered_to.iter().any(|known| **known == *mailbox.to_lowercase())
    }

    /// What a submitted message is to be given, to be written in front of it.
    ///
    /// `sender` is who sent it, where none of its authors is.
    pub(super) fn missing<'a>(
        &self,
        date: DateTime,
        id: &'a str,
        host: &'a str,
        sender: Option<&'a str>,
    ) -> Missing<'a> {
        let date = (!self.date).then_some(date);
        let message_id = (!self.message_id).then_some((id, host));
        Missing { date, message_id, sender, headless: self.headless }
    }
}

/// The fields a submitted message lacks, with their line ends; and the empty line, where it has no header at all.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Missing<'a> {
    date: Option<DateTime>,
    message_id: Option<(&'a str, &'a str)>,
    sender: Option<&'a str>,
    headless: bool,
}

impl fmt::Display for Missing<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // RFC 6409 §8.1: who sent it, where From names others.
        if let Some(sender) = self.sender {
            write!(f, "Sender: <{sender}>\r\n")?;
        }
        // RFC 6409 §8.2: Date, where it is missing.
        if let Some(date) = self.date {
            write!(f, "Date: {date}\r\n")?;
        }
        // RFC 6409 §8.3: Message-ID likewise. One that is there but malformed stays: it cannot be taken out of a message
        // that has gone by, and a second one would be worse.
        if let Some((id, host)) = self.message_id {
            write!(f, "Message-ID: <{id}@{host}>\r\n")?;
        }
        if self.headless { f.write_str("\r\n") } else { Ok(()) }
    }
}

#[cfg(test)]
mod tests {
    use mailstore_trait::date::Timestamp;

    use super::*;

    fn looked(message: &[u8], step: usize) -> Header {
        let mut header = Header::default();
        message.chunks(step).for_each(|piece| header.look(piece));
        header
    }

    #[test]
    fn received_headers_are_counted() {
        let message = b"Received: a\r\n b\r\nX-Received: c\r\nRECEIVED:d\r\nReceive: e\r\n\r\nReceived: body\r\n";
        for step in 1..message.len() {
            assert_eq!(looked(message, step).received(), 2, "step {step}");
        }
    }

    #[test]
    fn mailboxes_it_was_in_are_known_at_every_split() {
        let long = "x".repeat(400);
        let message = format!(
            "Delivered-To: Anna@example.org\r\nX-Delivered-To: no@example.org\r\ndelivered-to:ben@example.org\r\n\
             Delivered-Tome: no@example.org\r\nDelivered-To: {long}\r\n\r\nDelivered-To: no@example.org\r\n"
        );
        for step in 1..message.len() {
            let header = looked(message.as_bytes(), step);
            assert!(header.was_in("anna@EXAMPLE.org") && header.was_in("ben@example.org"), "step {step}");
            assert!(!header.was_in("no@example.org") && !header.was_in(""), "step {step}");
            assert!(header.delivered_to.iter().all(|mailbox| mailbox.len() <= MAILBOX));
        }
        let many = looked("Delivered-To: a@b\r\n".repeat(1000).as_bytes(), 7);
        assert_eq!(many.delivered_to.len(), DELIVERIES);
    }

    #[test]
    fn authors_are_known_at_every_split() {
        let authors = |message: &str| {
            let of = |step| looked(message.as_bytes(), step).authors();
            let whole = of(message.len());
            for step in 1..message.len().min(200) {
                assert_eq!(of(step), whole, "step {step} of {message:?}");
            }
            whole
        };
        let folded = "From: \"A, B\" <a@b.example>,\r\n\tc@d.example (C)\r\nFrom: late@e.example\r\n\r\nFrom: body@e.example\r\n";
        assert_eq!(authors(folded), ["a@b.example", "c@d.example"]);
        assert_eq!(authors("FROM:a@b.example\r\nX-From: c@d.example\r\n\r\n"), ["a@b.example"]);
        assert!(authors("From: a@b.example\r\nSender: c@d.example\r\n\r\n").is_empty(), "it says who sent it");
        assert!(authors("Subject: x\r\n\r\nFrom: a@b.example\r\n").is_empty());
        let long = format!("From: a@b.example{}\r\n\r\n", ",\r\n c@d.example".repeat(1000));
        assert!(looked(long.as_bytes(), 1000).authors().is_empty(), "not all of them are known");
    }

    fn missing(message: &str) -> String {
        let date = Timestamp::from_seconds(1_700_000_000).at_offset(0);
        let of = |step| looked(message.as_bytes(), step).missing(date, "id", "mx.example.org", None).to_string();
        let whole = of(message.len().max(1));
        for step in 1..message.len() {
            assert_eq!(of(step), whole, "step {step} of {message:?}");
        }
        whole
    }

    #[test]
    fn what_is_missing_is_found_at_every_split() {
        let (date, id) = ("Date: Tue, 14 Nov 2023 22:13:20 +0000\r\n", "Message-ID: <id@mx.example.org>\r\n");
        let both = format!("{date}{id}");
        assert_eq!(missing("Subject: x\r\n\r\ntext\r\n"), both);
        assert_eq!(missing("DATE: today\r\nSubject: x\r\n\r\n"), id);
        assert_eq!(missing("From: a@b\r\nmessage-id : <1@b>\r\n\r\n"), date);
        assert_eq!(missing("Message-ID:\r\n <1@b>\r\nDate: x\r\n\r\n"), "");
        assert_eq!(missing("Subject: Date: x\r\n Message-ID: folded\r\n\r\nDate: body\r\n"), both);
        assert_eq!(missing("Resent-Date: x\r\nMessage-IDs: x\r\nDates: x\r\n\r\n"), both);
        assert_eq!(missing("\r\nbody only\r\n"), both, "the empty line is there already");
        assert_eq!(missing(""), both);
    }

    /// A message of plain text without any header: its first line would have become part of the header put before it.
    #[test]
    fn a_message_without_a_header_gets_an_empty_line() {
        for message in ["text\r\n", "Dear all,\r\n\r\nDate: x\r\n", " folded: x\r\n", ": x\r\n", "no line end"] {
            assert!(missing(message).ends_with(">\r\n\r\n"), "{message:?}");
        }
        assert!(!missing("Subject: x\r\nthis line is no field\r\n\r\n").ends_with("\r\n\r\n"));
    }
}
