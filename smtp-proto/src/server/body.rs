//! Where a message ends, which dots are stuffed, and which line ends are none: all found without copying an octet.
//!
//! RFC 5321 §4.5.2 and §2.3.8, RFC 3030 §2. The framer looks at what lies in the input buffer and says which ranges of
//! it are the message. A block of the buffer is first judged whole by one branch-free pass that the compiler turns into
//! vector code: no bare CR, no bare LF, no line that begins with a dot. Nearly every block passes; only the others are
//! walked line by line.
//!
//! At most two octets (a dot and a CR, or a CR) are held back between looks, so a message that arrives octet by octet is
//! framed as one that arrives whole.

use std::ops::Range;

use smallvec::SmallVec;

use crate::config::LineEnds;

/// A part of a message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Piece {
    /// These octets of the looked-at buffer.
    Octets(Range<usize>),
    /// A line end in place of a bare LF, or one whose CR was held back.
    Crlf,
    /// A space in place of a bare CR.
    Space,
    /// A CR that was held back at the end of a chunk.
    Cr,
}

/// What one look found.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Found {
    /// The message's next octets.
    pub(crate) pieces: SmallVec<[Piece; 8]>,
    /// Octets of the buffer that are done with.
    pub(crate) consumed: usize,
    /// Whether the message ends here.
    pub(crate) end: bool,
}

/// Pieces one look finds at most, so that a message of dots cannot make a long list.
const MAX_PIECES: usize = 256;

/// Octets judged at once.
const BLOCK: usize = 1024;

/// Below this a block costs more than the lines in it.
const SMALL_BLOCK: usize = 64;

/// Frames one message.
#[derive(Debug)]
pub(crate) struct Framer {
    /// Whether a CRLF, or the DATA command itself, lies directly before the buffer.
    line_start: bool,
    /// Whether dots are stuffed and a dot line ends the message: DATA, not BDAT.
    dots: bool,
    /// Whether octets are judged at all: not in BINARYMIME.
    raw: bool,
    line_ends: LineEnds,
    /// A CR ended the last BDAT chunk; what it is, the next one says.
    held_cr: bool,
    /// Whether a bare CR or LF was seen.
    bare: bool,
}

impl Framer {
    /// For a message sent by DATA.
    pub(crate) fn dotted(line_ends: LineEnds) -> Framer {
        Framer { line_start: true, dots: true, raw: false, line_ends, held_cr: false, bare: false }
    }

    /// For a message sent by BDAT; `raw` when its octets are no lines.
    pub(crate) fn counted(line_ends: LineEnds, raw: bool) -> Framer {
        Framer { line_start: true, dots: false, raw, line_ends, held_cr: false, bare: false }
    }

    /// Whether a bare CR or LF was seen so far.
    pub(crate) fn has_bare(&self) -> bool {
        self.bare
    }

    /// Looks at the front of the buffer. `complete` says that a counted chunk ends with it.
    pub(crate) fn look(&mut self, buf: &[u8], complete: bool) -> Found {
        let mut found = Found::default();
        if self.raw {
            found.push(0..buf.len());
            found.consumed = buf.len();
            return found;
        }
        // The next octet to judge, the first one in no piece yet, and where the last unclean block ends.
        let (mut at, mut start, mut walk_to) = (0, 0, 0);
        if self.held_cr && !buf.is_empty() {
            self.held_cr = false;
            if buf.first() == Some(&b'\n') {
                found.pieces.push(Piece::Crlf);
                (at, start, self.line_start) = (1, 1, true);
            } else {
                found.pieces.push(self.bare_cr(Piece::Cr));
            }
        }
        while found.pieces.len() < MAX_PIECES {
            let rest = buf.get(at..).unwrap_or_default();
            if self.dots && self.line_start && rest.first() == Some(&b'.') {
                match rest {
                    // Not enough to tell.
                    [_] | [_, b'\r'] => break,
                    // RFC 5321 §4.1.1.4: the end is CRLF.CRLF, or the dot line right after DATA, and nothing else.
                    [_, b'\r', b'\n', ..] => {
                        found.push(start..at);
                        found.consumed = at + 3;
                        found.end = true;
                        return found;
                    }
                    // With the LF read as a line end this line is the dot alone: it stays, and it ends nothing.
                    [_, b'\n', ..] => at += 1,
                    // RFC 5321 §4.5.2: a first dot with other characters behind it is deleted.
                    _ => {
                        found.push(start..at);
                        at += 1;
                        start = at;
                    }
                }
                self.line_start = false;
                continue;
            }
            if at >= walk_to {
                match judge(rest) {
                    Judged::Clean(len) => {
                        at += len;
                        self.line_start = buf.get(at.wrapping_sub(1)) == Some(&b'\n');
                        continue;
                    }
                    Judged::Walk(len) => walk_to = at + len,
                }
            }
            let Some(offset) = memchr::memchr2(b'\r', b'\n', rest) else {
                at = buf.len();
                self.line_start &= rest.is_empty();
                break;
            };
            let end = at + offset;
            if rest.get(offset) == Some(&b'\n') {
                found.push(start..end);
                found.pieces.push(self.bare_lf());
                (at, start, self.line_start) = (end + 1, end + 1, false);
                continue;
            }
            match rest.get(offset + 1) {
                Some(b'\n') => (at, self.line_start) = (end + 2, true),
                Some(_) => {
                    found.push(start..end);
                    found.pieces.push(self.bare_cr(Piece::Cr));
                    (at, start, self.line_start) = (end + 1, end + 1, false);
                }
                None => {
                    self.line_start &= offset == 0;
                    at = end;
                    if complete {
                        found.push(start..end);
                        self.held_cr = true;
                        (at, start) = (end + 1, end + 1);
                    }
                    break;
                }
            }
        }
        found.push(start..at);
        found.consumed = at;
        found
    }

    /// What is left over when the last chunk has ended.
    pub(crate) fn finish(&mut self) -> Option<Piece> {
        std::mem::take(&mut self.held_cr).then(|| self.bare_cr(Piece::Cr))
    }

    // RFC 5321 §2.3.8: CR and LF are only sent together; what else comes is refused or made into what it stands for.
    fn bare_cr(&mut self, kept: Piece) -> Piece {
        self.bare = true;
        if self.line_ends == LineEnds::Normalize { Piece::Space } else { kept }
    }

    fn bare_lf(&mut self) -> Piece {
        self.bare = true;
        Piece::Crlf
    }
}

impl Found {
    fn push(&mut self, range: Range<usize>) {
        if !range.is_empty() {
            self.pieces.push(Piece::Octets(range));
        }
    }
}

/// What a block of a message is.
pub(crate) enum Judged {
    /// So many octets are plain lines.
    Clean(usize),
    /// Something lies in the next so many octets.
    Walk(usize),
}

/// Judges a block by its neighbouring octets: CR without LF, LF without CR, LF before a dot.
pub(crate) fn judge(text: &[u8]) -> Judged {
    // One octet more is needed to judge the last one.
    let len = text.len().saturating_sub(1).min(BLOCK);
    let (Some(these), Some(next)) = (text.get(..len), text.get(1..=len)) else { return Judged::Walk(len) };
    if len < SMALL_BLOCK || these.first() == Some(&b'\n') {
        return Judged::Walk(len);
    }
    if !is_clean(these, next) {
        return Judged::Walk(len);
    }
    // A CRLF is not torn: its CR is judged again with the next block.
    Judged::Clean(len - usize::from(these.last() == Some(&b'\r')))
}

/// Whether no CR lacks its LF, no LF its CR, and no line begins with a dot. `next` is `these`, one octet on.
fn is_clean(these: &[u8], next: &[u8]) -> bool {
    let surprise = these.iter().zip(next).fold(0_u8, |surprise, (this, next)| {
        let torn = u8::from(*this == b'\r') ^ u8::from(*next == b'\n');
        let dot = u8::from(*this == b'\n') & u8::from(*next == b'.');
        surprise | torn | dot
    });
    surprise == 0
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Frames a script fed in steps of `step` octets; gives the message and what is left behind its end.
    fn framed(script: &[u8], step: usize, mut framer: Framer) -> (Vec<u8>, Option<Vec<u8>>, bool) {
        let (mut buf, mut message, mut fed) = (Vec::new(), Vec::new(), script.chunks(step));
        loop {
            let found = framer.look(&buf, false);
            for piece in &found.pieces {
                match piece {
                    Piece::Octets(range) => message.extend_from_slice(&buf[range.clone()]),
                    Piece::Crlf => message.extend_from_slice(b"\r\n"),
                    Piece::Space => message.push(b' '),
                    Piece::Cr => message.push(b'\r'),
                }
            }
            buf.drain(..found.consumed);
            if found.end {
                let rest = fed.flatten().copied();
                return (message, Some(buf.into_iter().chain(rest).collect()), framer.bare);
            }
            if found.consumed == 0 {
                match fed.next() {
                    Some(octets) => buf.extend_from_slice(octets),
                    None => return (message, None, framer.bare),
                }
            }
        }
    }

    fn data(script: &[u8]) -> (Vec<u8>, Option<Vec<u8>>, bool) {
        let whole = framed(script, script.len().max(1), Framer::dotted(LineEnds::Normalize));
        for step in 1..script.len().min(80) {
            assert_eq!(framed(script, step, Framer::dotted(LineEnds::Normalize)), whole, "step {step}");
        }
        whole
    }

    /// A fresh decoder of another library did not know the first line after DATA for a line start: an empty message
    /// hung, and `..` on the first line kept both dots.
    #[test]
    fn a_dot_line_right_after_data_ends_it() {
        assert_eq!(data(b".\r\nQUIT\r\n"), (b"".to_vec(), Some(b"QUIT\r\n".to_vec()), false));
        assert_eq!(data(b"..first\r\n.\r\n"), (b".first\r\n".to_vec(), Some(Vec::new()), false));
    }

    #[test]
    fn data_dot_stuffing() {
        let (message, rest, bare) = data(b"a\r\n..\r\n...b\r\n.c\r\n\r\n.\r\nRSET\r\n");
        assert_eq!(message, b"a\r\n.\r\n..b\r\nc\r\n\r\n");
        assert_eq!(rest, Some(b"RSET\r\n".to_vec()));
        assert!(!bare);
    }

    /// The ways in which servers were talked into ending a message early, so that the rest ran as commands
    /// (CVE-2023-51764, -51765, -51766 and kin). None ends it here, at any split.
    #[test]
    fn fake_terminators() {
        let fakes: [&[u8]; 14] = [
            b"\n.\n",
            b"\n.\r\n",
            b"\r.\r",
            b"\r.\r\n",
            b"\r\n.\n",
            b"\r\n.\r",
            b"\r\n.\r\r\n",
            b"\r\n\0.\r\n",
            b"\r\n.\0\r\n",
            b"\r\0\n.\r\n",
            b"\r\n.\r\0\n",
            b"\n\n.\r\r\n",
            b"\r\n .\r\n",
            b"\r\r\n.\r\r\n",
        ];
        for fake in fakes {
            let script = [b"text", fake, b"MAIL FROM:<evil@example.org>\r\n.\r\nNOOP\r\n"].concat();
            let (message, rest, _) = data(&script);
            assert_eq!(rest.as_deref(), Some(&b"NOOP\r\n"[..]), "{fake:?}");
            assert!(message.ends_with(b"MAIL FROM:<evil@example.org>\r\n"), "{fake:?}");
        }
    }

    #[test]
    fn bare_line_ends_are_normalized() {
        assert_eq!(data(b"a\nb\rc\r\r\n.\r\n"), (b"a\r\nb c \r\n".to_vec(), Some(Vec::new()), true));
        // The dot of a line that a bare LF ended is text, not stuffing.
        assert_eq!(data(b"a\n.\r\n.b\r\n.\r\n").0, b"a\r\n.\r\nb\r\n");
        assert_eq!(data(b"a\r\n.\nb\r\n.\r\n").0, b"a\r\n.\r\nb\r\n");
    }

    #[test]
    fn blocks_and_walks_agree() {
        for line in [&b"x\r\n"[..], b"..\r\n", b"some more text on this line, as mail has it, and then some\r\n"] {
            let script = [line.repeat(3000), b".\r\n".to_vec()].concat();
            let expected: Vec<u8> = if line.starts_with(b"..") { b".\r\n".repeat(3000) } else { line.repeat(3000) };
            for step in [1, 7, 1023, 1024, 1025, 65536] {
                let (message, rest, bare) = framed(&script, step, Framer::dotted(LineEnds::Strict));
                assert!(message == expected && rest == Some(Vec::new()) && !bare, "step {step}");
            }
        }
    }

    #[test]
    fn a_line_end_torn_between_chunks_is_one() {
        let mut framer = Framer::counted(LineEnds::Normalize, false);
        let found = framer.look(b"ab\r", true);
        assert_eq!((found.pieces.as_slice(), found.consumed), (&[Piece::Octets(0..2)][..], 3));
        let found = framer.look(b"\n.\r\n", true);
        assert_eq!(found.pieces.as_slice(), &[Piece::Crlf, Piece::Octets(1..4)]);
        assert!(!found.end && !framer.has_bare() && framer.finish().is_none());
        assert_eq!(framer.look(b"c\r", true).consumed, 2);
        assert_eq!(framer.finish(), Some(Piece::Space));
        assert!(framer.has_bare());
    }

    #[test]
    fn binary_octets_are_not_judged() {
        let mut framer = Framer::counted(LineEnds::Strict, true);
        assert_eq!(framer.look(b"\n\r.\0", true).pieces.as_slice(), &[Piece::Octets(0..4)]);
        assert!(!framer.has_bare());
    }
}
