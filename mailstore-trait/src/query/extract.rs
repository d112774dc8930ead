//! The texts of a message that searches look into, for an index: the same segments, decoded and folded the same way.
//!
//! Fed as a search is ([`wants`](TextReader::wants), [`feed`](TextReader::feed)), it keeps what it is fed up to a limit.

use std::ops::Range;

use super::message::{FIELD, Kind, Segment, segments};
use super::row::address_lists;
use super::text::{Haystack, PartText};
use crate::mime::header::Fields;
use crate::mime::{self, Scanner, SkeletonRef, decode};

/// What searches look into, each text folded as patterns are.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Texts {
    /// The Subject as ENVELOPE has it: what a search for a Subject looks into.
    pub subject: String,
    /// All other fields of the header, their names too, and of MIME headers: what a search for any other field, and
    /// for text, looks into.
    pub header: String,
    /// The text parts, and the headers of messages inside: what a search in the body, and for text, looks into.
    pub body: String,
    /// Whether nothing was left out for being too long.
    pub whole: bool,
}

/// Reads the texts of one message.
#[derive(Debug)]
pub struct TextReader {
    state: State,
    size: u64,
    limit: usize,
    subject: Haystack,
    header: Haystack,
    body: Haystack,
    whole: bool,
}

#[derive(Debug)]
enum State {
    Scanning(Box<Scanner>),
    Reading(Reading),
}

#[derive(Debug)]
struct Reading {
    /// What is to be read, last first.
    segments: Vec<Segment>,
    taken: u64,
    held: Vec<u8>,
    part: Option<Box<PartText>>,
}

impl TextReader {
    /// Reads a message of so many octets, and keeps at most `limit` octets of its texts.
    #[must_use]
    pub fn new(size: u64, limit: usize) -> TextReader {
        TextReader {
            state: State::Scanning(Box::new(Scanner::new(mime::Limits::default()))),
            size,
            limit,
            subject: Haystack::default(),
            header: Haystack::default(),
            body: Haystack::default(),
            whole: true,
        }
    }

    /// The structure is known: only texts will be read.
    #[must_use]
    pub fn with_skeleton(mut self, skeleton: SkeletonRef<'_>) -> TextReader {
        self.read(skeleton);
        self
    }

    fn read(&mut self, skeleton: SkeletonRef<'_>) {
        if let Some(envelope) = skeleton.root().envelope() {
            self.subject.push(&decode(envelope.subject.unwrap_or_default()));
            // A search for people looks into their lists as they are written anew.
            for list in address_lists(&envelope) {
                self.header.push(&list);
                self.header.push("\n");
            }
        }
        let segments = segments(skeleton);
        self.state = State::Reading(Reading { segments, taken: 0, held: Vec::new(), part: None });
        self.skip();
    }

    /// Which octets of the message are wanted next; `None` when it is read.
    #[must_use]
    pub fn wants(&self) -> Option<Range<u64>> {
        match &self.state {
            State::Scanning(scanner) => Some(scanner.position()..self.size.max(scanner.position() + 1)),
            State::Reading(reading) => {
                let octets = &reading.segments.last()?.octets;
                Some(octets.start + reading.taken..octets.end)
            }
        }
    }

    /// Takes octets from the start of what is wanted. No octets: the message ends here.
    pub fn feed(&mut self, octets: &[u8]) {
        match &mut self.state {
            State::Scanning(scanner) => {
                scanner.push(octets);
                if octets.is_empty() || scanner.position() >= self.size {
                    let fresh = Box::new(Scanner::new(mime::Limits::default()));
                    let skeleton = std::mem::replace(scanner, fresh).finish();
                    self.read(skeleton.view());
                }
            }
            State::Reading(_) if octets.is_empty() => {
                self.end_segment();
                if let State::Reading(reading) = &mut self.state {
                    reading.segments.clear();
                }
            }
            State::Reading(_) => {
                self.take(octets);
                self.skip();
            }
        }
    }

    fn take(&mut self, octets: &[u8]) {
        let State::Reading(reading) = &mut self.state else { return };
        let Some(segment) = reading.segments.last() else { return };
        let len = segment.octets.end - segment.octets.start;
        let left = usize::try_from(len.saturating_sub(reading.taken)).unwrap_or(usize::MAX);
        let octets = octets.get(..left).unwrap_or(octets);
        reading.taken += octets.len() as u64;
        match &segment.kind {
            Kind::Body(encoding, charset) => {
                let part = reading.part.get_or_insert_with(|| Box::new(PartText::new(*encoding, charset)));
                part.push(octets, &mut self.body);
            }
            _ => reading.held.extend_from_slice(octets),
        }
        let held = reading.held.len();
        if reading.taken >= len {
            self.end_segment();
        }
        if self.header.len() + self.body.len() + held > self.limit {
            self.whole = false;
            if let State::Reading(reading) = &mut self.state {
                reading.segments.clear();
                reading.held.clear();
            }
        }
    }

    fn end_segment(&mut self) {
        let State::Reading(reading) = &mut self.state else { return };
        let Some(segment) = reading.segments.pop() else { return };
        reading.taken = 0;
        if let Some(part) = reading.part.take() {
            part.finish(&mut self.body);
            self.body.push("\n");
        }
        let section = std::mem::take(&mut reading.held);
        let out = if matches!(segment.kind, Kind::Embedded) { &mut self.body } else { &mut self.header };
        for field in Fields::new(&section) {
            let room = FIELD.saturating_sub(field.octets.len() - field.value.len());
            out.push(&String::from_utf8_lossy(field.name));
            out.push(": ");
            out.push(&decode(field.value.get(..room).unwrap_or(field.value)));
            out.push("\n");
        }
    }

    /// Passes over what is empty.
    fn skip(&mut self) {
        let State::Reading(reading) = &mut self.state else { return };
        while reading.taken == 0 && reading.segments.last().is_some_and(|segment| segment.octets.is_empty()) {
            reading.segments.pop();
        }
    }

    /// What was read.
    #[must_use]
    pub fn finish(self) -> Texts {
        let text = |haystack: Haystack| haystack.into_text(self.limit);
        Texts { subject: text(self.subject), header: text(self.header), body: text(self.body), whole: self.whole }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::{Filter, Search, Test};
    use super::*;
    use crate::date::Timestamp;
    use crate::query::message::MessageSearch;
    use crate::query::{Need, Pattern};

    fn texts(message: &[u8], piece: usize, limit: usize) -> Texts {
        let mut reader = TextReader::new(message.len() as u64, limit);
        while let Some(wanted) = reader.wants() {
            let at = |offset: u64| usize::try_from(offset).unwrap().min(message.len());
            let octets = &message[at(wanted.start)..at(wanted.end)];
            reader.feed(octets.get(..piece).unwrap_or(octets));
        }
        reader.finish()
    }

    fn found(message: &[u8], test: Test) -> bool {
        let search = Search::new(Filter::from(test), Timestamp::default());
        let answers = search.filter().tests().map(|test| (test.need() == Need::Row).then_some(true)).collect();
        let mut run = MessageSearch::new(&search, answers, message.len() as u64);
        while let Some(wanted) = run.wants() {
            let at = |offset: u64| usize::try_from(offset).unwrap().min(message.len());
            run.feed(&search, &message[at(wanted.start)..at(wanted.end)]);
        }
        run.decided(&search).unwrap()
    }

    const MAIL: &str = "From: \"Smith, J\" <a@x>\r\nSubject: =?utf-8?q?Caf=C3=A9?=\r\nX-Odd: One\r\nContent-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\nContent-Description: Two\r\nContent-Transfer-Encoding: base64\r\n\r\naGVsbG8gd29ybGQ=\r\n--b\r\nContent-Type: message/rfc822\r\n\r\nSubject: Inner\r\n\r\nThree\r\n--b--\r\n";

    #[test]
    fn texts_lie_where_searches_look() {
        let all = texts(MAIL.as_bytes(), usize::MAX, 10_000);
        assert_eq!(all.subject, "cafe\u{301}");
        assert!(all.header.contains("smith, j <a@x>") && all.header.contains("x-odd: one"), "{}", all.header);
        assert!(all.header.contains("content-description: two"));
        assert!(all.body.contains("hello world") && all.body.contains("subject: inner") && all.body.contains("three"));
        assert!(all.whole);
        for piece in [1, 7] {
            assert_eq!(texts(MAIL.as_bytes(), piece, 10_000), all, "in pieces of {piece}");
        }
        let cut = texts(MAIL.as_bytes(), usize::MAX, 40);
        assert!(!cut.whole && cut.header.len() <= 40);
    }

    proptest! {
        /// The promise an index is built on: what a search finds lies in the texts.
        #[test]
        fn what_a_search_finds_is_in_the_texts(at in 0..MAIL.len(), len in 1usize..9, noise in "[a-zé: @<\"]{0,4}") {
            let cut: String = MAIL.chars().skip(at).take(len).collect();
            let all = texts(MAIL.as_bytes(), usize::MAX, 10_000);
            for needle in [cut, noise] {
                let folded = Pattern::new(&needle);
                let holds = |text: &str| text.contains(folded.folded());
                if found(MAIL.as_bytes(), Test::body(&needle)) {
                    prop_assert!(holds(&all.body), "{needle:?} in {}", all.body);
                }
                if found(MAIL.as_bytes(), Test::text(&needle)) {
                    prop_assert!(holds(&all.body) || holds(&all.header), "{needle:?}");
                }
                if found(MAIL.as_bytes(), Test::header("Subject", &needle)) {
                    prop_assert!(holds(&all.subject), "{needle:?}");
                }
                for name in ["From", "X-Odd"] {
                    if found(MAIL.as_bytes(), Test::header(name, &needle)) {
                        prop_assert!(holds(&all.header) || needle.is_empty(), "{needle:?}");
                    }
                }
            }
        }
    }
}
