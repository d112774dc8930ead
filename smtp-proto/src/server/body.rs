//! Where a message ends, which dots are stuffed, and which line ends are none: all found without copying an octet.
//!
//! RFC 5321 §4.5.2 and §2.3.8, RFC 3030 §2. The framer looks at what lies in the input buffer and says which ranges of
//! it are the message. A block of the buffer is first judged whole by one branch-free pass that the compiler turns into
//! vector code: no bare CR, no bare LF. In a block that passes, and nearly every one does, the lines that begin with a dot
//! are found by a search for those two octets; only the others are walked line by line.
//!
//! At most two octets (a dot and a CR, or a CR) are held back between looks, so a message that arrives octet by octet is
//! framed as one that arrives whole.

use std::ops::Range;
use std::sync::LazyLock;

use bytes::{Bytes, BytesMut};
use memchr::memmem::Finder;
use smallvec::{SmallVec, smallvec};

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
const MAX_PIECES: usize = 1024;

/// More pieces than this, shorter than this on average, are made one.
const MANY: usize = 8;
const SHORT: usize = 512;

/// Octets judged at once: few enough that the search behind it finds them in the nearest cache.
const BLOCK: usize = 16 * 1024;

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
        // The next octet to look at, and the first one in no piece yet.
        let (mut at, mut start) = (0, 0);
        let mut judge = Judge::default();
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
            match judge.from(buf, at) {
                Judged::Lines(to) => {
                    at = to;
                    self.line_start = buf.get(at.wrapping_sub(1)) == Some(&b'\n');
                    continue;
                }
                Judged::Walk => {}
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

    /// The message's next octets; `consumed` is what was looked at, as far as it is done with.
    ///
    /// Slices, unless there are so many short ones that to move them together costs less than to hold each.
    pub(crate) fn material(self, mut consumed: BytesMut) -> SmallVec<[Bytes; 4]> {
        if self.pieces.len() <= MANY || consumed.len() / self.pieces.len() >= SHORT {
            let octets = consumed.freeze();
            let piece = |piece| match piece {
                Piece::Octets(range) if range.end <= octets.len() => octets.slice(range),
                piece => piece.stand_in().unwrap_or_default(),
            };
            return self.pieces.into_iter().map(piece).collect();
        }
        if self.pieces.iter().all(|piece| matches!(piece, Piece::Octets(_))) {
            let mut len = 0;
            for piece in self.pieces {
                if let Piece::Octets(range) = piece {
                    let taken = range.len();
                    move_down(&mut consumed, range, len);
                    len += taken;
                }
            }
            consumed.truncate(len);
            return smallvec![consumed.freeze()];
        }
        // What has to be put in may not fit into the gaps. Each CRLF in place of a bare LF adds one octet.
        let mut whole = BytesMut::with_capacity(consumed.len() + self.pieces.len());
        for piece in self.pieces {
            match piece {
                Piece::Octets(range) => whole.extend_from_slice(consumed.get(range).unwrap_or_default()),
                piece => whole.extend_from_slice(&piece.stand_in().unwrap_or_default()),
            }
        }
        smallvec![whole.freeze()]
    }
}

/// Moves a range down to `to`. What lies between `to` and the range's end is lost.
fn move_down(octets: &mut [u8], range: Range<usize>, mut to: usize) {
    // Lines differ in length, and to branch on each length costs more than to move too much: where the gap is as wide
    // as what is moved, nothing that is still wanted lies in it.
    const WIDTH: usize = 64;
    let mut from = range.start;
    let end = range.end.min(octets.len());
    while from < end && from.saturating_sub(to) >= WIDTH {
        let Some((below, above)) = octets.split_at_mut_checked(from) else { break };
        let place = below.get_mut(to..).and_then(|place| place.first_chunk_mut::<WIDTH>());
        let (Some(place), Some(moved)) = (place, above.first_chunk::<WIDTH>()) else { break };
        *place = *moved;
        (from, to) = (from + WIDTH, to + WIDTH);
    }
    if from < end && to < from {
        octets.copy_within(from..end, to);
    }
}

impl Piece {
    /// What goes out where the buffer has nothing that could.
    pub(crate) fn stand_in(self) -> Option<Bytes> {
        match self {
            Piece::Octets(_) => None,
            Piece::Crlf => Some(Bytes::from_static(b"\r\n")),
            Piece::Space => Some(Bytes::from_static(b" ")),
            Piece::Cr => Some(Bytes::from_static(b"\r")),
        }
    }
}

/// What comes next in a message.
pub(crate) enum Judged {
    /// Plain lines up to here, none of which begins with a dot. The next one may.
    Lines(usize),
    /// Something that only a walk can tell.
    Walk,
}

/// Judges one buffer block by block.
#[derive(Debug, Default)]
pub(crate) struct Judge {
    /// Up to here every CR has its LF and every LF its CR.
    sound_to: usize,
    /// Up to here something does not, or too little was there to judge.
    walk_to: usize,
}

/// A line that begins with a dot, and the LF before it.
static DOT_LINE: LazyLock<Finder<'static>> = LazyLock::new(|| Finder::new(b"\n."));

impl Judge {
    /// What comes from `at` on; `at` never goes back.
    pub(crate) fn from(&mut self, text: &[u8], at: usize) -> Judged {
        if at < self.walk_to {
            return Judged::Walk;
        }
        if at >= self.sound_to {
            let rest = text.get(at..).unwrap_or_default();
            // One octet more is needed to judge the last one.
            let len = rest.len().saturating_sub(1).min(BLOCK);
            let (Some(these), Some(next)) = (rest.get(..len), rest.get(1..=len)) else { return Judged::Walk };
            if len < SMALL_BLOCK || these.first() == Some(&b'\n') || !is_sound(these, next) {
                self.walk_to = at + len;
                return Judged::Walk;
            }
            // A CRLF is not torn: its CR is judged again with the next block.
            self.sound_to = at + len - usize::from(these.last() == Some(&b'\r'));
        }
        let sound = text.get(at..=self.sound_to).unwrap_or_default();
        Judged::Lines(dot_line(sound).map_or(self.sound_to, |dot| at + dot))
    }
}

/// The next line that begins with a dot, behind the one that begins here.
///
/// Where this line's end is the place, as it is in a message of nothing but dots, to find it takes a third of the time that
/// a search for both octets takes to begin.
fn dot_line(text: &[u8]) -> Option<usize> {
    let next = memchr::memchr(b'\n', text)? + 1;
    let rest = text.get(next..)?;
    if rest.first() == Some(&b'.') {
        return Some(next);
    }
    DOT_LINE.find(rest).map(|lf| next + lf + 1)
}

/// Whether no CR lacks its LF and no LF its CR. `next` is `these`, one octet on.
fn is_sound(these: &[u8], next: &[u8]) -> bool {
    // This width, and masks instead of bits, is what compilers turn into the shortest vector code.
    const WIDTH: usize = 32;
    let (these, these_rest) = these.as_chunks::<WIDTH>();
    let (next, next_rest) = next.as_chunks::<WIDTH>();
    let mut torn = [0_u8; WIDTH];
    for (these, next) in these.iter().zip(next) {
        for ((torn, this), next) in torn.iter_mut().zip(these).zip(next) {
            *torn |= is_torn(*this, *next);
        }
    }
    for ((torn, this), next) in torn.iter_mut().zip(these_rest).zip(next_rest) {
        *torn |= is_torn(*this, *next);
    }
    torn.iter().fold(0, |any, torn| any | torn) == 0
}

/// All bits where one of the two lacks the other.
fn is_torn(this: u8, next: u8) -> u8 {
    let mask = |is: bool| if is { u8::MAX } else { 0 };
    mask(this == b'\r') ^ mask(next == b'\n')
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
    fn many_short_pieces_become_one() {
        let material = |script: &[u8]| {
            let found = Framer::dotted(LineEnds::Normalize).look(script, false);
            let consumed = BytesMut::from(script.get(..found.consumed).unwrap());
            let pieces = found.material(consumed);
            (pieces.concat(), pieces.len())
        };
        assert_eq!(material(&b"..x\r\n".repeat(50)), (b".x\r\n".repeat(50), 1));
        for len in [0, 1, 62, 63, 64, 65, 150] {
            let line = [b'x'].repeat(len);
            let stuffed = [b"..", &line[..], b"\r\n"].concat().repeat(400);
            let plain = [b".", &line[..], b"\r\n"].concat().repeat(400);
            assert_eq!(material(&stuffed), (plain, 1), "{len}");
        }
        // A line end that must be put in may have no place in a gap.
        let bare = [b"..x\r\n".repeat(50), b"y\n..z\r\n".to_vec()].concat();
        assert_eq!(material(&bare), ([b".x\r\n".repeat(50), b"y\r\n..z\r\n".to_vec()].concat(), 1));
        assert_eq!(material(b"..long enough to be told\r\n"), (b".long enough to be told\r\n".to_vec(), 1));
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
