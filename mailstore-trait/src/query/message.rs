//! The search inside one message, without I/O: says which octets it wants and is fed them in order, in any pieces.
//!
//! ```text
//!             no skeleton            whole message seen
//!  new ──────────────────▶ Scanning ────────────────────┐
//!   │ skeleton                                          ▼
//!   └──────────────────────────────────────────────▶ Reading ──▶ decided: the filter is true or false
//!                                                    segment after segment
//! ```
//!
//! A segment is one header section or one text body. Only segments in which an unanswered test can still be answered
//! are read, and reading ends as soon as the filter is decided.

use std::ops::Range;

use smallvec::SmallVec;

use super::filter::Test;
use super::search::Search;
use super::text::{Haystack, PartText};
use crate::mime::encoding::TransferEncoding;
use crate::mime::header::Fields;
use crate::mime::{self, PartKind, PartRef, Scanner, SkeletonRef, decode};

/// Octets of one header field that are looked at, its name included: as many as the skeleton keeps of one.
pub(super) const FIELD: usize = 64 * 1024;

/// Where a search inside a message stands. Kept between steps; the question is passed in anew each time.
#[derive(Debug)]
pub(crate) struct MessageSearch {
    state: State,
    /// What is known of each test of the filter.
    answers: Vec<Option<bool>>,
    stack: Vec<Option<bool>>,
    haystack: Haystack,
    /// The length of the longest folded text looked for.
    longest: usize,
    size: u64,
}

#[derive(Debug)]
enum State {
    /// Learning the structure of a message that came without skeleton.
    Scanning(Box<Scanner>),
    Reading(Reading),
    Done,
}

#[derive(Debug)]
struct Reading {
    /// What is to be read, last first.
    segments: Vec<Segment>,
    /// Octets of the current segment that were taken.
    taken: u64,
    current: Current,
}

#[derive(Debug)]
enum Current {
    None,
    /// Octets of fields that are not yet complete; `cut` when the first of them was looked at already and only its end
    /// is still to come.
    Header {
        held: Vec<u8>,
        cut: bool,
    },
    Body(Box<PartText>),
}

#[derive(Debug)]
pub(super) struct Segment {
    pub(super) octets: Range<u64>,
    pub(super) kind: Kind,
}

#[derive(Debug)]
pub(super) enum Kind {
    /// The message's own header.
    Header,
    /// The header of a message inside it: body of the outer one.
    Embedded,
    /// A MIME header.
    Mime,
    Body(TransferEncoding, SmallVec<[u8; 16]>),
}

impl MessageSearch {
    /// A search in a message of so many octets; `answers` are those known from its row.
    pub(crate) fn new(search: &Search, answers: Vec<Option<bool>>, size: u64) -> MessageSearch {
        MessageSearch {
            state: State::Scanning(Box::new(Scanner::new(mime::Limits::default()))),
            answers,
            stack: Vec::new(),
            haystack: Haystack::default(),
            longest: search.filter().tests().filter_map(pattern_len).max().unwrap_or(0),
            size,
        }
    }

    /// The structure is known: only what can answer something will be read.
    pub(crate) fn with_skeleton(mut self, search: &Search, skeleton: SkeletonRef<'_>) -> MessageSearch {
        self.read(search, skeleton);
        self
    }

    fn read(&mut self, search: &Search, skeleton: SkeletonRef<'_>) {
        for (answer, test) in self.answers.iter_mut().zip(search.filter().tests()) {
            if answer.is_none() {
                *answer = super::row::skeleton_answer(test, search.now(), skeleton, &mut self.haystack);
            }
        }
        let segments = segments(skeleton);
        self.state = State::Reading(Reading { segments, taken: 0, current: Current::None });
        self.skip(search);
    }

    /// Which octets of the message are wanted next; `None` when the filter is decided.
    pub(crate) fn wants(&self) -> Option<Range<u64>> {
        match &self.state {
            State::Scanning(scanner) => Some(scanner.position()..self.size.max(scanner.position() + 1)),
            State::Reading(reading) => {
                let octets = &reading.segments.last()?.octets;
                Some(octets.start + reading.taken..octets.end)
            }
            State::Done => None,
        }
    }

    /// Takes octets from the start of what is wanted. No octets: the message ends here, whatever was said of its size.
    pub(crate) fn feed(&mut self, search: &Search, octets: &[u8]) {
        match std::mem::replace(&mut self.state, State::Done) {
            State::Scanning(mut scanner) => {
                scanner.push(octets);
                if octets.is_empty() || scanner.position() >= self.size {
                    let skeleton = scanner.finish();
                    self.read(search, skeleton.view());
                } else {
                    self.state = State::Scanning(scanner);
                }
            }
            State::Reading(mut reading) => {
                if octets.is_empty() {
                    self.end_segment(search, &mut reading);
                    reading.segments.clear();
                } else {
                    self.take(search, &mut reading, octets);
                }
                self.state = State::Reading(reading);
                self.skip(search);
            }
            State::Done => {}
        }
    }

    /// Whether the message is wanted, once that is known.
    pub(crate) fn decided(&mut self, search: &Search) -> Option<bool> {
        let answers = &self.answers;
        search.filter().decide(&mut self.stack, |at, _| answers.get(at).copied().flatten())
    }

    fn take(&mut self, search: &Search, reading: &mut Reading, octets: &[u8]) {
        let Some(segment) = reading.segments.last() else { return };
        let left = (segment.octets.end - segment.octets.start).saturating_sub(reading.taken);
        let octets = octets.get(..usize::try_from(left).unwrap_or(usize::MAX)).unwrap_or(octets);
        reading.taken += octets.len() as u64;
        match (&segment.kind, &mut reading.current) {
            (Kind::Body(encoding, charset), current) => {
                if !matches!(current, Current::Body(_)) {
                    self.haystack.clear();
                    *current = Current::Body(Box::new(PartText::new(*encoding, charset)));
                }
                if let Current::Body(text) = current {
                    text.push(octets, &mut self.haystack);
                    self.look(search, is_body_test);
                    self.haystack.trim(self.longest);
                }
            }
            (kind, current) => {
                let (mut held, mut cut) = match std::mem::replace(current, Current::None) {
                    Current::Header { held, cut } => (held, cut),
                    _ => (Vec::new(), false),
                };
                // What was held had no field's end in it but, perhaps, a last LF.
                let mut looked = held.len().saturating_sub(1);
                held.extend_from_slice(octets);
                loop {
                    if cut {
                        let next = next_field(&held);
                        looked = 0;
                        // The last octet tells whether the next piece begins a line.
                        held.drain(..next.unwrap_or(held.len().saturating_sub(1)));
                        cut = next.is_none();
                        if cut {
                            break;
                        }
                    }
                    let whole = complete_fields(&held, looked);
                    if whole == 0 && held.len() <= FIELD {
                        break;
                    }
                    cut = whole == 0;
                    let whole = if cut { FIELD } else { whole };
                    self.fields(search, kind, held.get(..whole).unwrap_or_default());
                    held.drain(..whole);
                    looked = 0;
                }
                *current = Current::Header { held, cut };
            }
        }
        if reading.taken >= segment.octets.end - segment.octets.start {
            self.end_segment(search, reading);
        }
    }

    fn end_segment(&mut self, search: &Search, reading: &mut Reading) {
        let Some(segment) = reading.segments.pop() else { return };
        reading.taken = 0;
        match std::mem::replace(&mut reading.current, Current::None) {
            Current::None => {}
            Current::Header { cut: true, .. } => {}
            Current::Header { held, cut: false } => self.fields(search, &segment.kind, &held),
            Current::Body(text) => {
                text.finish(&mut self.haystack);
                self.look(search, is_body_test);
            }
        }
        if matches!(segment.kind, Kind::Header) {
            // What the header has not answered with yes is no.
            self.settle(search, |test| matches!(test, Test::Header(..)));
        }
    }

    /// Whole fields of a header section.
    fn fields(&mut self, search: &Search, kind: &Kind, section: &[u8]) {
        let texts = search
            .filter()
            .tests()
            .zip(&self.answers)
            .any(|(test, answer)| answer.is_none() && reads_header(kind, test));
        if !texts {
            return;
        }
        for field in Fields::new(section) {
            let room = FIELD.saturating_sub(field.octets.len() - field.value.len());
            let value = decode(field.value.get(..room).unwrap_or(field.value));
            self.haystack.clear();
            self.haystack.push(&value);
            for (test, answer) in search.filter().tests().zip(&mut self.answers) {
                if answer.is_none()
                    && let (Kind::Header, Test::Header(name, pattern)) = (kind, test)
                    && name.is(field.name)
                    && self.haystack.contains(pattern)
                {
                    *answer = Some(true);
                }
            }
            self.haystack.clear();
            self.haystack.push(&String::from_utf8_lossy(field.name));
            self.haystack.push(": ");
            self.haystack.push(&value);
            match kind {
                Kind::Embedded => self.look(search, is_body_test),
                _ => self.look(search, |test| matches!(test, Test::Text(_))),
            }
        }
    }

    /// Answers the tests of this kind whose text is in the haystack.
    fn look(&mut self, search: &Search, kind: impl Fn(&Test) -> bool) {
        for (test, answer) in search.filter().tests().zip(&mut self.answers) {
            if answer.is_none()
                && kind(test)
                && let Test::Body(pattern) | Test::Text(pattern) = test
                && self.haystack.contains(pattern)
            {
                *answer = Some(true);
            }
        }
    }

    fn settle(&mut self, search: &Search, kind: impl Fn(&Test) -> bool) {
        for (test, answer) in search.filter().tests().zip(&mut self.answers) {
            if answer.is_none() && kind(test) {
                *answer = Some(false);
            }
        }
    }

    /// Passes over segments in which nothing open can be answered, and ends when nothing is open.
    fn skip(&mut self, search: &Search) {
        if self.decided(search).is_some() {
            self.state = State::Done;
            return;
        }
        let State::Reading(reading) = &mut self.state else { return };
        if reading.taken > 0 {
            return;
        }
        while let Some(segment) = reading.segments.last() {
            let open = search.filter().tests().zip(&self.answers).filter(|(_, answer)| answer.is_none());
            if !segment.octets.is_empty() && open.into_iter().any(|(test, _)| reads(&segment.kind, test)) {
                return;
            }
            reading.segments.pop();
        }
        self.state = State::Done;
        self.settle(search, |_| true);
    }
}

fn pattern_len(test: &Test) -> Option<usize> {
    match test {
        Test::Body(pattern) | Test::Text(pattern) => Some(pattern.folded().len()),
        _ => None,
    }
}

fn is_body_test(test: &Test) -> bool {
    matches!(test, Test::Body(_) | Test::Text(_))
}

/// Whether a segment of this kind can answer the test.
fn reads(kind: &Kind, test: &Test) -> bool {
    match kind {
        Kind::Body(..) => is_body_test(test),
        _ => reads_header(kind, test),
    }
}

fn reads_header(kind: &Kind, test: &Test) -> bool {
    match kind {
        Kind::Header => matches!(test, Test::Header(..) | Test::Text(_)),
        Kind::Embedded => is_body_test(test),
        Kind::Mime => matches!(test, Test::Text(_)),
        Kind::Body(..) => false,
    }
}

/// What can be searched, last first.
///
/// RFC 9051 §6.4.4: a server may leave out parts that are not text. Bodies of `text` parts, and of `message` parts that
/// are no messages (delivery reports), are searched.
pub(super) fn segments(skeleton: SkeletonRef<'_>) -> Vec<Segment> {
    let mut segments = Vec::new();
    // A message part is followed by the message in it, whose header is text to BODY.
    let mut embedded = false;
    for (at, part) in skeleton.parts().enumerate() {
        if part.is_synthetic() {
            continue;
        }
        let kind = match at {
            0 => Kind::Header,
            _ if embedded => Kind::Embedded,
            _ => Kind::Mime,
        };
        segments.push(Segment { octets: part.header(), kind });
        embedded = part.kind() == PartKind::Message;
        if part.kind() == PartKind::Leaf && is_text(&part) {
            let content_type = part.content_type();
            let charset = content_type.parameters.value("charset").unwrap_or_default();
            let kind = Kind::Body(part.transfer_encoding(), SmallVec::from_slice(charset));
            segments.push(Segment { octets: part.body(), kind });
        }
    }
    segments.reverse();
    segments
}

fn is_text(part: &PartRef<'_>) -> bool {
    let content_type = part.content_type();
    content_type.is("text", "*") || content_type.is("message", "*")
}

/// Where the first field begins behind the rest of another.
fn next_field(octets: &[u8]) -> Option<usize> {
    memchr::memchr_iter(b'\n', octets)
        .map(|at| at + 1)
        .find(|&next| octets.get(next).is_some_and(|octet| !matches!(octet, b' ' | b'\t')))
}

/// How many octets at the front are whole fields: up to the last line, not before `from`, that begins one.
fn complete_fields(octets: &[u8], from: usize) -> usize {
    memchr::memrchr_iter(b'\n', octets.get(from..).unwrap_or_default())
        .map(|at| from + at + 1)
        .find(|&next| octets.get(next).is_some_and(|octet| !matches!(octet, b' ' | b'\t')))
        .unwrap_or(0)
}
