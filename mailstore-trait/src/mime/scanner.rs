//! The push scanner that finds a message's MIME structure (RFC 2045, RFC 2046, RFC 5322).
//!
//! Octets come in pieces of any size and are looked at once. Header lines are seen whole (up to a limit) and only the
//! values of fields the skeleton tells are kept; of bodies nothing is kept. Where a body can end, the scanner looks
//! for `LF--` and compares what follows with the open boundaries; elsewhere it only counts LFs.
//!
//! ```text
//!                       blank line           "-" at a line's start
//!  Header ─────────────────────────▶ Body ─────────────▶ LineStart
//!   ▲  ▲ │ line over the limit        ▲ ◀────────────────── │ not a delimiter
//!   │  │ ▼                            │                     │ delimiter
//!   │  HeaderSkip        close delimiter, next line         ▼
//!   └──────────── next line ──────────┴──────────────── Delimiter        Rest: no boundary is open,
//!                                                                        the message's end ends it
//! ```
//!
//! A message inside a message goes from Header straight to the next Header. Everything is iterative; open parts are a
//! stack of indices bounded by [`Limits::depth`].

mod capture;
mod kept;
mod structure;
#[cfg(test)]
mod tests;

use memchr::memmem::Finder;
use memchr::{memchr, memchr_iter};

use super::boundary::{Boundaries, Delimiter};
use super::header;
use super::limits::Limits;
use super::skeleton::Skeleton;

pub(super) use capture::{Capture, Captured};
use kept::{Kept, Wanted};
use structure::Structure;

/// Octets of a header line beyond a kept value: its name must end within them.
const NAME: usize = 1024;

/// Finds the MIME structure of a message fed to it in pieces.
///
/// Memory is bounded by [`Limits`], whatever the message's size; nothing of a body is kept.
#[derive(Debug)]
pub struct Scanner {
    limits: Limits,
    state: State,
    /// Octets and LFs taken so far.
    position: u64,
    lines: u64,
    /// The last octet taken.
    last: u8,
    /// The start of the current line.
    line: Line,
    /// The current line's octets from earlier pieces (taken already), while it is not decided what the line is.
    carry: Vec<u8>,
    boundaries: Boundaries,
    structure: Structure,
    kept: Kept,
    delimiter_finder: Finder<'static>,
    capture: Option<Capture>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// In a header, at a line's start or inside its first octets; `first`: no line was seen yet.
    Header { first: bool },
    /// In a header line over the limit, up to its LF.
    HeaderSkip,
    /// At the start of a body line, not yet decided whether it is a delimiter.
    LineStart,
    /// Inside a body line.
    Body,
    /// Inside a delimiter line, behind what decided it.
    Delimiter(Delimiter),
    /// No delimiter can come any more.
    Rest,
}

/// Where a line starts.
#[derive(Clone, Copy, Debug, Default)]
struct Line {
    start: u64,
    /// LFs before it.
    lines: u64,
    /// Octets of the line end before it.
    end_len: u64,
}

/// What a line of a header is.
enum HeaderLine {
    Blank,
    Delimiter(Delimiter),
    /// The header is empty: the body begins with this line.
    Body,
    Field,
}

impl Scanner {
    /// A scanner at the first octet of a message.
    pub fn new(limits: Limits) -> Scanner {
        Scanner {
            limits,
            state: State::Header { first: true },
            position: 0,
            lines: 0,
            last: 0,
            line: Line::default(),
            carry: Vec::new(),
            boundaries: Boundaries::default(),
            structure: Structure::new(),
            kept: Kept::default(),
            delimiter_finder: Finder::new(b"\n--"),
            capture: None,
        }
    }

    /// Also keeps the front of the first text parts, and the References of the message.
    pub(super) fn capturing(limits: Limits) -> Scanner {
        let mut scanner = Scanner::new(limits);
        scanner.capture = Some(Capture::new(limits.capture));
        scanner
    }

    /// Octets taken so far.
    pub fn position(&self) -> u64 {
        self.position
    }

    /// Takes the next octets of the message; how it is cut into pieces makes no difference.
    pub fn push(&mut self, octets: &[u8]) {
        let mut rest = octets;
        while !rest.is_empty() {
            rest = match self.state {
                State::Header { first } => self.header(rest, first),
                State::HeaderSkip => self.header_skip(rest),
                State::LineStart => self.line_start(rest),
                State::Body => self.body(rest),
                State::Delimiter(delimiter) => self.delimiter_line(rest, delimiter),
                State::Rest => {
                    self.content(rest);
                    &[]
                }
            };
        }
    }

    /// The structure of the message that ends here.
    pub fn finish(mut self) -> Skeleton {
        self.end();
        self.structure.skeleton()
    }

    /// Like [`finish`](Scanner::finish), with what was captured.
    pub(super) fn finish_capture(mut self) -> (Skeleton, Capture) {
        self.end();
        let capture = self.capture.take().unwrap_or_else(|| Capture::new(0));
        (self.structure.skeleton(), capture)
    }

    /// Takes octets of no interest but their number.
    fn take(&mut self, octets: &[u8]) {
        let Some(&last) = octets.last() else { return };
        self.position += octets.len() as u64;
        self.lines += memchr_iter(b'\n', octets).count() as u64;
        self.last = last;
    }

    /// Takes octets of a body.
    fn content(&mut self, octets: &[u8]) {
        self.take(octets);
        if let Some(capture) = &mut self.capture {
            capture.content(octets);
        }
    }

    /// Notes that a line starts here, behind `piece`, which ends in LF and was taken when `before` had been the last
    /// octet.
    fn start_line(&mut self, piece: &[u8], before: u8) {
        let before = piece.len().checked_sub(2).and_then(|at| piece.get(at)).copied().unwrap_or(before);
        self.line = Line { start: self.position, lines: self.lines, end_len: if before == b'\r' { 2 } else { 1 } };
    }

    // What the next octets are, state by state. Each returns those it did not take.

    fn header<'a>(&mut self, octets: &'a [u8], first: bool) -> &'a [u8] {
        let reach = self.limits.field.saturating_add(NAME).max(self.boundaries.reach());
        let room = reach.saturating_sub(self.carry.len());
        let window = octets.get(..room).unwrap_or(octets);
        let lf = memchr(b'\n', window);
        let (piece, rest) = octets.split_at_checked(lf.map_or(window.len(), |at| at + 1)).unwrap_or((octets, &[]));
        if lf.is_none() && window.len() < room {
            self.carry.extend_from_slice(piece);
            self.take(piece);
            return rest;
        }
        let mut carry = std::mem::take(&mut self.carry);
        let earlier = carry.len();
        let line = if earlier == 0 {
            piece
        } else {
            carry.extend_from_slice(piece);
            &carry
        };
        let is = self.header_line(line, first);
        match is {
            HeaderLine::Body => {
                // Back to the line's start: what came in earlier pieces is taken again, as the body's.
                self.end_header(self.line);
                carry.truncate(earlier);
                self.position = self.line.start;
                self.lines = self.line.lines;
                self.push(&carry);
                return octets;
            }
            HeaderLine::Field => {
                let wanted = self.wanted();
                self.kept.line(line, lf.is_none(), wanted, &self.limits, self.structure.spent());
                self.state = State::Header { first: false };
            }
            HeaderLine::Delimiter(delimiter) => self.close_at(delimiter),
            HeaderLine::Blank => {}
        }
        carry.clear();
        self.carry = carry;
        let before = self.last;
        self.take(piece);
        if lf.is_some() {
            self.start_line(piece, before);
        }
        match is {
            HeaderLine::Blank => self.end_header(self.line),
            HeaderLine::Delimiter(delimiter) if lf.is_some() => self.open_behind(delimiter),
            HeaderLine::Delimiter(delimiter) => self.state = State::Delimiter(delimiter),
            HeaderLine::Field if lf.is_none() => self.state = State::HeaderSkip,
            HeaderLine::Field | HeaderLine::Body => {}
        }
        rest
    }

    fn header_line(&self, line: &[u8], first: bool) -> HeaderLine {
        if header::blank(line) {
            return HeaderLine::Blank;
        }
        if let Some(delimiter) = self.boundaries.find(line) {
            return HeaderLine::Delimiter(delimiter);
        }
        // Deviation from RFC 2046 §5.1: a section whose first line is no field should be preceded by a blank line.
        // Where it is missing the text is meant as body, and taking it for a header would hide it. Later lines without
        // a colon are damaged fields and stay in the header, as DKIM and other servers see it; so does the `From ` line
        // of mailbox files.
        if first && header::split(line).is_none() && !line.starts_with(b"From ") && !line.starts_with(b">From ") {
            return HeaderLine::Body;
        }
        HeaderLine::Field
    }

    fn wanted(&self) -> Wanted {
        Wanted { envelope: self.structure.is_message(), references: self.capture.is_some() && self.structure.is_root() }
    }

    fn header_skip<'a>(&mut self, octets: &'a [u8]) -> &'a [u8] {
        let (piece, rest) = line_piece(octets);
        let before = self.last;
        self.take(piece);
        if piece.last() == Some(&b'\n') {
            self.start_line(piece, before);
            self.state = State::Header { first: false };
        }
        rest
    }

    fn line_start<'a>(&mut self, octets: &'a [u8]) -> &'a [u8] {
        if self.carry.is_empty() && octets.first() != Some(&b'-') {
            self.state = State::Body;
            return octets;
        }
        let room = self.boundaries.reach().saturating_sub(self.carry.len());
        let window = octets.get(..room).unwrap_or(octets);
        let lf = memchr(b'\n', window);
        if lf.is_none() && window.len() < room {
            self.carry.extend_from_slice(window);
            self.take(window);
            return &[];
        }
        let text = window.get(..lf.unwrap_or(window.len())).unwrap_or(window);
        let earlier = self.carry.len();
        let found = if earlier == 0 {
            self.boundaries.find(text)
        } else {
            self.carry.extend_from_slice(text);
            let found = self.boundaries.find(&self.carry);
            self.carry.truncate(earlier);
            found
        };
        let Some(delimiter) = found else {
            self.resolve_carry();
            self.state = State::Body;
            return octets;
        };
        self.carry.clear();
        self.close_at(delimiter);
        let (piece, rest) = octets.split_at_checked(lf.map_or(window.len(), |at| at + 1)).unwrap_or((octets, &[]));
        let before = self.last;
        self.take(piece);
        if lf.is_some() {
            self.start_line(piece, before);
            self.open_behind(delimiter);
        } else {
            self.state = State::Delimiter(delimiter);
        }
        rest
    }

    /// The carried octets are content after all.
    fn resolve_carry(&mut self) {
        if let Some(capture) = &mut self.capture {
            capture.content(&self.carry);
        }
        self.carry.clear();
    }

    fn body<'a>(&mut self, octets: &'a [u8]) -> &'a [u8] {
        if self.boundaries.is_empty() {
            self.state = State::Rest;
            return octets;
        }
        let end = match self.delimiter_finder.find(octets) {
            Some(at) => at + 1,
            None if octets.ends_with(b"\n") => octets.len(),
            None if octets.ends_with(b"\n-") => octets.len() - 1,
            None => {
                self.content(octets);
                return &[];
            }
        };
        let (piece, rest) = octets.split_at_checked(end).unwrap_or((octets, &[]));
        let before = self.last;
        self.content(piece);
        self.start_line(piece, before);
        self.state = State::LineStart;
        rest
    }

    fn delimiter_line<'a>(&mut self, octets: &'a [u8], delimiter: Delimiter) -> &'a [u8] {
        let (piece, rest) = line_piece(octets);
        let before = self.last;
        self.take(piece);
        if piece.last() == Some(&b'\n') {
            self.start_line(piece, before);
            self.open_behind(delimiter);
        }
        rest
    }

    // What follows from it.

    /// The header section of the innermost open part ends, its body begins at `at`.
    fn end_header(&mut self, at: Line) {
        let (next, captured) =
            self.structure.end_header(&mut self.kept, &mut self.boundaries, &self.limits, at, self.capture.as_mut());
        self.state = match next {
            structure::Next::Message => State::Header { first: true },
            structure::Next::Body if self.boundaries.is_empty() => State::Rest,
            structure::Next::Body => State::LineStart,
        };
        if let Some((slot, part)) = captured
            && let Some(capture) = &mut self.capture
        {
            capture.start(slot, part);
        }
    }

    /// Ends all headers that are open, with empty bodies.
    fn end_headers(&mut self, at: Line) {
        while matches!(self.state, State::Header { .. } | State::HeaderSkip) {
            self.end_header(at);
        }
    }

    /// The current line is a delimiter: the parts inside its multipart end before it.
    fn close_at(&mut self, delimiter: Delimiter) {
        self.end_headers(self.line);
        self.structure.close_above(delimiter.level, self.line, self.capture.as_mut());
        self.boundaries.truncate(delimiter.index + usize::from(!delimiter.close));
    }

    /// The delimiter line is over.
    fn open_behind(&mut self, delimiter: Delimiter) {
        let at = Line { start: self.position, lines: self.lines, end_len: 0 };
        if delimiter.close {
            // What follows is epilogue, up to a delimiter further out.
            self.state = if self.boundaries.is_empty() { State::Rest } else { State::LineStart };
        } else if self.structure.open_part(&self.limits, at) {
            self.state = State::Header { first: true };
        } else {
            self.boundaries.truncate(0);
            self.state = State::Rest;
        }
    }

    fn end(&mut self) {
        match self.state {
            State::Header { first } if !self.carry.is_empty() => {
                let line = std::mem::take(&mut self.carry);
                match self.header_line(&line, first) {
                    HeaderLine::Body => {
                        self.end_header(self.line);
                        self.position = self.line.start;
                        self.lines = self.line.lines;
                        self.push(&line);
                        // At most two headers are empty at one place: a digest's part and the message in it.
                        self.end();
                        return;
                    }
                    HeaderLine::Delimiter(delimiter) => {
                        self.close_at(delimiter);
                        self.open_behind(delimiter);
                    }
                    HeaderLine::Field | HeaderLine::Blank => {
                        let wanted = self.wanted();
                        self.kept.line(&line, false, wanted, &self.limits, self.structure.spent());
                    }
                }
            }
            State::LineStart if !self.carry.is_empty() => match self.boundaries.find(&self.carry) {
                Some(delimiter) => {
                    self.close_at(delimiter);
                    self.open_behind(delimiter);
                }
                None => self.resolve_carry(),
            },
            State::Delimiter(delimiter) => self.open_behind(delimiter),
            _ => {}
        }
        let at = Line { start: self.position, lines: self.lines, end_len: 0 };
        self.end_headers(at);
        self.structure.close_all(at, self.capture.as_mut());
    }
}

/// The octets up to the first LF, and those behind it.
fn line_piece(octets: &[u8]) -> (&[u8], &[u8]) {
    let len = memchr(b'\n', octets).map_or(octets.len(), |at| at + 1);
    octets.split_at_checked(len).unwrap_or((octets, &[]))
}
