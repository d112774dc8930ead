//! Dot-stuffing of multi-line responses, in both directions, without copying bodies.
//!
//! RFC 1939 §3: a line that begins with the termination octet `.` gets another in front of it, and `.` alone ends the
//! response. A body passes through as slices of the store's own [`Bytes`]: the slice before a dot ends behind it, the
//! next one begins at it, and so the dot is there twice.
//!
//! **The rule for line ends.** The octets of a message leave exactly as they are stored, so the size told by STAT and
//! LIST is the number of octets RETR sends before stuffing. Nothing is inserted and nothing dropped, with one exception
//! that belongs to the framing and not to the message: where the last line lacks its CRLF, one is sent before the
//! terminator. Mail stored by this workspace's SMTP has CRLF line ends only; a bare LF can come from elsewhere (IMAP
//! APPEND, an import). A line is taken to begin behind *every* LF, bare or not, and a dot there is doubled: a client that
//! ends lines at LF then can't be made to see the end of the response in the middle of a message.

use bytes::Bytes;
use mailstore_trait::session::Outbox;

/// Where a stream of octets stands within its lines.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    /// Behind an LF with a CR before it, or at the very beginning.
    Line,
    /// Behind a bare LF.
    BareLine,
    /// Behind a CR.
    Cr,
    /// Anywhere else.
    Middle,
}

/// Stuffs one outgoing response.
#[derive(Debug)]
pub struct Stuffer {
    place: Place,
}

impl Default for Stuffer {
    fn default() -> Stuffer {
        Stuffer { place: Place::Line }
    }
}

impl Stuffer {
    /// At the beginning of a response.
    #[must_use]
    pub fn new() -> Stuffer {
        Stuffer::default()
    }

    /// Queues the next octets of the message.
    pub fn push(&mut self, octets: &Bytes, outbox: &mut Outbox) {
        if octets.is_empty() {
            return;
        }
        let mut sent = 0;
        // RFC 1939 §3: the very first octet of the response may be a dot too.
        if matches!(self.place, Place::Line | Place::BareLine) && octets.first() == Some(&b'.') {
            outbox.text().extend_from_slice(b".");
        }
        for at in memchr::memmem::find_iter(octets, b"\n.") {
            let dot = at + 1;
            outbox.body(octets.slice(sent..=dot));
            sent = dot;
        }
        outbox.body(octets.slice(sent..));
        self.place = place(octets, self.place);
    }

    /// Queues the end of the response.
    pub fn finish(self, outbox: &mut Outbox) {
        // RFC 1939 §3: the terminator is CRLF, dot, CRLF; the first CRLF is the last line's own.
        let end: &[u8] = if self.place == Place::Line { b".\r\n" } else { b"\r\n.\r\n" };
        outbox.text().extend_from_slice(end);
    }
}

/// The place behind these octets, which are not empty.
fn place(octets: &[u8], before: Place) -> Place {
    let mut ends = octets.iter().rev();
    match (ends.next(), ends.next()) {
        (Some(b'\n'), Some(b'\r')) => Place::Line,
        (Some(b'\n'), None) if before == Place::Cr => Place::Line,
        (Some(b'\n'), _) => Place::BareLine,
        (Some(b'\r'), _) => Place::Cr,
        _ => Place::Middle,
    }
}

/// What [`Unstuffer::next`] found at the front of the input.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Piece {
    /// Octets of the message.
    Octets {
        /// Octets before them to drop.
        skip: usize,
        /// How many there are.
        len: usize,
    },
    /// The response is over.
    End {
        /// Octets of its terminator to drop.
        len: usize,
    },
    /// More input is needed.
    More,
}

/// Unstuffs one incoming response: says which slices of the input are the message.
///
/// Lines end at CRLF only. What can't be judged yet, a dot at the beginning of a line, stays in the input with what
/// follows it: at most two octets.
#[derive(Debug)]
pub struct Unstuffer {
    line: bool,
    after_cr: bool,
}

impl Default for Unstuffer {
    fn default() -> Unstuffer {
        Unstuffer { line: true, after_cr: false }
    }
}

impl Unstuffer {
    /// At the beginning of a response's body.
    #[must_use]
    pub fn new() -> Unstuffer {
        Unstuffer::default()
    }

    /// Looks at the front of `input`. The caller drops and takes what is named before it asks again.
    pub fn next(&mut self, input: &[u8]) -> Piece {
        let mut skip = 0;
        if self.line {
            match input {
                [b'.', b'\r', b'\n', ..] => return Piece::End { len: 3 },
                [] | [b'.'] | [b'.', b'\r'] => return Piece::More,
                // RFC 1939 §3: the first octet of a line that begins with a dot is removed.
                [b'.', ..] => skip = 1,
                _ => {}
            }
            self.line = false;
        }
        let message = input.get(skip..).unwrap_or_default();
        let len = self.line_start(message);
        if len == 0 {
            return Piece::More;
        }
        self.after_cr = message.get(..len).is_some_and(|piece| piece.ends_with(b"\r"));
        Piece::Octets { skip, len }
    }

    /// How many octets come before the next line that begins with a dot, or before the end of the input.
    fn line_start(&mut self, input: &[u8]) -> usize {
        // The line end may have begun in the piece before.
        if self.after_cr && input.first() == Some(&b'\n') && matches!(input.get(1), Some(b'.') | None) {
            self.line = true;
            return 1;
        }
        match memchr::memmem::find(input, b"\r\n.") {
            Some(at) => {
                self.line = true;
                at + 2
            }
            None => {
                // A line that ends with the input begins its next line in the next piece.
                self.line = input.ends_with(b"\r\n");
                input.len()
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stuffed(pieces: &[&[u8]]) -> Vec<u8> {
        let (mut stuffer, mut outbox) = (Stuffer::new(), Outbox::default());
        for piece in pieces {
            stuffer.push(&Bytes::copy_from_slice(piece), &mut outbox);
        }
        stuffer.finish(&mut outbox);
        std::iter::from_fn(|| outbox.take()).flatten().collect()
    }

    fn unstuffed(pieces: &[&[u8]]) -> Option<Vec<u8>> {
        let (mut unstuffer, mut input, mut message) = (Unstuffer::new(), Vec::new(), Vec::new());
        for piece in pieces {
            input.extend_from_slice(piece);
            loop {
                match unstuffer.next(&input) {
                    Piece::Octets { skip, len } => message.extend(input.drain(..skip + len).skip(skip)),
                    Piece::End { .. } => return Some(message),
                    Piece::More => break,
                }
            }
        }
        None
    }

    /// One peer forgets the very first octet: a message that begins with a dot loses it, and one that begins with a dot
    /// and CRLF ends before it began.
    #[test]
    fn the_first_octet_is_stuffed_too() {
        assert_eq!(stuffed(&[b".x\r\n"]), b"..x\r\n.\r\n");
        assert_eq!(stuffed(&[b".\r\n"]), b"..\r\n.\r\n");
        assert_eq!(stuffed(&[b""]), b".\r\n");
    }

    #[test]
    fn every_split_is_stuffed_the_same() {
        let message = b".a\r\n.\r\n..b\r\nc.\n.\nd\r.\r\n\r\n.";
        let whole = stuffed(&[message]);
        assert_eq!(whole, b"..a\r\n..\r\n...b\r\nc.\n..\nd\r.\r\n\r\n..\r\n.\r\n");
        for at in 0..=message.len() {
            assert_eq!(stuffed(&[&message[..at], &message[at..]]), whole, "split at {at}");
        }
        let octets: Vec<&[u8]> = message.chunks(1).collect();
        assert_eq!(stuffed(&octets), whole);
    }

    #[test]
    fn the_last_line_gets_its_line_end() {
        assert_eq!(stuffed(&[b"a"]), b"a\r\n.\r\n");
        assert_eq!(stuffed(&[b"a\n"]), b"a\n\r\n.\r\n");
        assert_eq!(stuffed(&[b"a\r"]), b"a\r\r\n.\r\n");
        assert_eq!(stuffed(&[b"a\r", b"\n"]), b"a\r\n.\r\n");
        assert_eq!(stuffed(&[b"\n"]), b"\n\r\n.\r\n");
    }

    /// A body full of dots must not be copied line by line into something quadratic, and no octet may be lost.
    #[test]
    fn bodies_pass_as_slices() {
        let body = Bytes::from(vec![b'x'; 1 << 20]);
        let mut outbox = Outbox::default();
        Stuffer::new().push(&body, &mut outbox);
        let sent = outbox.take().unwrap();
        assert_eq!(sent.as_ptr(), body.as_ptr());
        assert_eq!(sent.len(), body.len());
    }

    #[test]
    fn unstuffing_undoes_stuffing_at_every_split() {
        let message = b".a\r\n.\r\n..b\r\nc.\r\n\r\n.\r\n";
        let wire = stuffed(&[message]);
        for at in 0..=wire.len() {
            assert_eq!(unstuffed(&[&wire[..at], &wire[at..]]).as_deref(), Some(message.as_slice()), "split at {at}");
        }
        let octets: Vec<&[u8]> = wire.chunks(1).collect();
        assert_eq!(unstuffed(&octets).as_deref(), Some(message.as_slice()));
        assert_eq!(unstuffed(&[b"a\r\n."]), None);
    }

    #[test]
    fn only_crlf_dot_crlf_ends_a_response() {
        for inside in [&b"a\n.\r\nb"[..], b"a\n.\nb", b"a\r.\r\nb", b"a\r\n.\nb"] {
            let mut wire = inside.to_vec();
            wire.extend_from_slice(b"\r\n.\r\n");
            let message = unstuffed(&[&wire]).unwrap();
            assert!(message.ends_with(b"b\r\n"), "{message:?}");
        }
    }
}
