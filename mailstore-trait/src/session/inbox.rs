//! A session's input: one bounded buffer, read into by the socket, split into lines and body pieces without copying.

use bytes::buf::Limit;
use bytes::{Buf, BufMut, Bytes, BytesMut};

/// Octets reserved for a read while nothing is buffered: most commands fit, and an idle session stays small.
const IDLE_RESERVE: usize = 1024;

/// The input window of a session.
///
/// [`line`](Inbox::line) remembers how far it has looked, so a line that arrives one octet at a time costs linear work.
#[derive(Debug)]
pub struct Inbox {
    buf: BytesMut,
    window: usize,
    /// No LF lies before this offset.
    searched: usize,
    wide: bool,
    /// Whether the buffer was ever reserved beyond the idle size.
    grown: bool,
    eof: bool,
}

/// What [`Inbox::line`] found at the front of the input.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Line {
    /// A line of this many octets, its LF included.
    Complete(usize),
    /// No LF yet, and the limit is not reached.
    Partial,
    /// More octets than the limit without an LF, or an LF behind it.
    TooLong,
}

impl Inbox {
    /// An empty input that never holds more than `window` octets.
    pub fn new(window: usize) -> Inbox {
        Inbox {
            buf: BytesMut::new(),
            window: window.max(IDLE_RESERVE),
            searched: 0,
            wide: false,
            grown: false,
            eof: false,
        }
    }

    /// The buffer to read into. Reserves little between commands and the whole window inside a body or a long line.
    pub fn limit(&mut self) -> Limit<&mut BytesMut> {
        let room = self.room();
        let want = if self.wide || self.buf.len() >= IDLE_RESERVE / 2 { room } else { room.min(IDLE_RESERVE) };
        if self.grown && self.buf.is_empty() && !self.wide {
            self.clear();
        }
        if self.buf.capacity() - self.buf.len() < want.min(IDLE_RESERVE) {
            self.grown |= want > IDLE_RESERVE;
            self.buf.reserve(want);
        }
        (&mut self.buf).limit(room)
    }

    /// Octets that still fit.
    pub fn room(&self) -> usize {
        self.window.saturating_sub(self.buf.len())
    }

    /// Whether to offer reads the whole window even when nothing is buffered: set inside bodies.
    pub fn set_wide(&mut self, wide: bool) {
        self.wide = wide;
    }

    /// Changes the window: larger while something announced is let in, small again afterwards. What is buffered stays.
    pub fn set_window(&mut self, window: usize) {
        self.window = window.max(IDLE_RESERVE);
    }

    /// Notes that no more octets will come.
    pub fn close(&mut self) {
        self.eof = true;
    }

    /// Whether no more octets will come.
    pub fn is_closed(&self) -> bool {
        self.eof
    }

    /// Whether [`Wait::input`](super::Wait::input) may be true: there is room and the peer has not ended.
    pub fn is_readable(&self) -> bool {
        !self.eof && self.room() > 0
    }

    /// What is buffered.
    pub fn as_slice(&self) -> &[u8] {
        &self.buf
    }

    /// Octets buffered.
    pub fn len(&self) -> usize {
        self.buf.len()
    }

    /// Whether nothing is buffered.
    pub fn is_empty(&self) -> bool {
        self.buf.is_empty()
    }

    /// Looks for a line of at most `max` octets, LF included, at the front.
    pub fn line(&mut self, max: usize) -> Line {
        let fresh = self.buf.get(self.searched..).unwrap_or_default();
        match memchr::memchr(b'\n', fresh).map(|at| self.searched + at + 1) {
            Some(end) if end <= max => Line::Complete(end),
            Some(_) => Line::TooLong,
            None => {
                self.searched = self.buf.len();
                if self.buf.len() >= max { Line::TooLong } else { Line::Partial }
            }
        }
    }

    /// The first `len` octets, still in the buffer: parse them in place, then [`consume`](Inbox::consume).
    pub fn peek(&self, len: usize) -> &[u8] {
        self.buf.get(..len).unwrap_or(&self.buf)
    }

    /// Drops `len` octets from the front.
    pub fn consume(&mut self, len: usize) {
        self.buf.advance(len.min(self.buf.len()));
        self.searched = 0;
    }

    /// Splits `len` octets off the front, without copying them.
    pub fn take(&mut self, len: usize) -> Bytes {
        self.take_mut(len).freeze()
    }

    /// The same, still to be changed where they lie.
    pub fn take_mut(&mut self, len: usize) -> BytesMut {
        self.searched = 0;
        self.buf.split_to(len.min(self.buf.len()))
    }

    /// Drops everything buffered and its memory.
    pub fn clear(&mut self) {
        self.buf = BytesMut::new();
        self.searched = 0;
        self.grown = false;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fill(inbox: &mut Inbox, octets: &[u8]) -> usize {
        let mut limit = inbox.limit();
        let n = limit.remaining_mut().min(octets.len());
        limit.put_slice(&octets[..n]);
        n
    }

    #[test]
    fn a_line_is_found_however_it_arrives() {
        let mut inbox = Inbox::new(4096);
        for octet in b"NOOP\r" {
            fill(&mut inbox, &[*octet]);
            assert_eq!(inbox.line(512), Line::Partial);
        }
        fill(&mut inbox, b"\nQUIT\r\n");
        assert_eq!(inbox.line(512), Line::Complete(6));
        assert_eq!(inbox.peek(6), b"NOOP\r\n");
        inbox.consume(6);
        assert_eq!(inbox.line(512), Line::Complete(6));
        assert_eq!(inbox.take(6), &b"QUIT\r\n"[..]);
        assert!(inbox.is_empty());
    }

    #[test]
    fn a_long_line_is_told_apart_before_the_window_fills() {
        let mut inbox = Inbox::new(4096);
        fill(&mut inbox, &[b'x'; 600]);
        assert_eq!(inbox.line(512), Line::TooLong);
        let mut inbox = Inbox::new(4096);
        fill(&mut inbox, &[b'x'; 512]);
        fill(&mut inbox, b"\n");
        assert_eq!(inbox.line(512), Line::TooLong);
    }

    #[test]
    fn the_window_is_never_exceeded() {
        let mut inbox = Inbox::new(2048);
        let mut offered = 0;
        loop {
            let n = fill(&mut inbox, &[b'x'; 777]);
            if n == 0 {
                break;
            }
            offered += n;
        }
        assert_eq!(offered, 2048);
        assert!(!inbox.is_readable());
    }

    #[test]
    fn a_window_can_grow_and_shrink() {
        let mut inbox = Inbox::new(1024);
        while fill(&mut inbox, &[b'x'; 512]) > 0 {}
        assert_eq!(inbox.len(), 1024);
        inbox.set_window(3000);
        while fill(&mut inbox, &[b'x'; 512]) > 0 {}
        assert_eq!(inbox.len(), 3000);
        inbox.set_window(1024);
        assert!(!inbox.is_readable());
        inbox.consume(2500);
        assert_eq!(inbox.room(), 524);
    }

    #[test]
    fn an_idle_inbox_gives_its_memory_back() {
        let mut inbox = Inbox::new(64 * 1024);
        inbox.set_wide(true);
        while fill(&mut inbox, &[b'x'; 4096]) > 0 {}
        let len = inbox.len();
        inbox.consume(len);
        inbox.set_wide(false);
        let _ = inbox.limit();
        assert!(inbox.buf.capacity() <= IDLE_RESERVE);
    }
}
