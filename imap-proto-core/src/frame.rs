//! Where a command ends: lines and literals, found before anything is parsed (RFC 9051 §2.2, §4.3; RFC 7888).
//!
//! A command is one or more lines, each but the last ending in `{n}` and followed by n octets. The framer walks over
//! the session's input and remembers how far it has looked, so a command that comes octet by octet costs linear work.
//! It knows no grammar: a command that makes no sense is still delimited right, and what follows it is not mistaken for
//! data or the other way round.
//!
//! ```text
//!  ┌──────── line ────────┐┌─ literal ─┐┌─ line ─┐
//!  a LOGIN alice {8}␍␊      hunter2!     ␍␊
//!                 └ Literal: accept, refuse or stream it      └ Complete
//! ```

/// What was found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Frame {
    /// More input is needed.
    Partial,
    /// The command is these first octets of the input.
    Complete(usize),
    /// A literal is announced; decide with [`Framer::accept`] or drop the command.
    Literal(Announced),
    /// The command's lines are longer than the limit.
    TooLong,
}

/// A literal that was announced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Announced {
    /// Where the line that announces it ends: its octets begin here.
    pub end: usize,
    /// How many octets; `None` for more than 63 bits.
    pub octets: Option<u64>,
    /// Whether the client waits for a continuation before it sends them.
    pub waits: bool,
}

/// Finds the end of the command at the front of the input.
#[derive(Clone, Copy, Debug, Default)]
pub struct Framer {
    /// Where the current line begins.
    line: usize,
    /// No LF lies between `line` and here.
    searched: usize,
    /// Octets in the lines before.
    lines: usize,
    /// Literals accepted, and their octets.
    literals: usize,
    literal_octets: usize,
}

impl Framer {
    /// A framer at the start of a command.
    #[must_use]
    pub fn new() -> Framer {
        Framer::default()
    }

    /// Looks further. `input` begins where the command does; `max_line` bounds the octets of its lines together.
    pub fn look(&mut self, input: &[u8], max_line: usize) -> Frame {
        let Some(fresh) = input.get(self.searched..) else {
            // Inside a literal that has not come whole.
            return Frame::Partial;
        };
        let Some(lf) = memchr::memchr(b'\n', fresh) else {
            self.searched = input.len();
            return if self.lines + (input.len() - self.line) >= max_line { Frame::TooLong } else { Frame::Partial };
        };
        let end = self.searched + lf + 1;
        if self.lines + (end - self.line) > max_line {
            return Frame::TooLong;
        }
        match announced(input.get(self.line..end).unwrap_or_default()) {
            None => Frame::Complete(end),
            Some((octets, waits)) => Frame::Literal(Announced { end, octets, waits }),
        }
    }

    /// Makes the announced literal part of the frame.
    pub fn accept(&mut self, announced: Announced) {
        let octets = announced.octets.and_then(|octets| usize::try_from(octets).ok()).unwrap_or(usize::MAX / 4);
        self.lines += announced.end - self.line;
        self.line = announced.end.saturating_add(octets);
        self.searched = self.line;
        self.literals += 1;
        self.literal_octets = self.literal_octets.saturating_add(octets);
    }

    /// Literals accepted so far in this command.
    #[must_use]
    pub fn literals(&self) -> usize {
        self.literals
    }

    /// Their octets together.
    #[must_use]
    pub fn literal_octets(&self) -> usize {
        self.literal_octets
    }

    /// Whether nothing of a command has been accepted yet.
    #[must_use]
    pub fn is_at_start(&self) -> bool {
        self.literals == 0
    }
}

/// The literal that a line, its LF included, announces at its end: `{n}`, or `{n+}` (RFC 7888) without waiting.
fn announced(line: &[u8]) -> Option<(Option<u64>, bool)> {
    let line = line.strip_suffix(b"\n")?;
    let line = line.strip_suffix(b"\r").unwrap_or(line);
    let line = line.strip_suffix(b"}")?;
    let (line, waits) = match line.strip_suffix(b"+") {
        Some(line) => (line, false),
        None => (line, true),
    };
    let digits = line.iter().rev().take_while(|octet| octet.is_ascii_digit()).count();
    let (before, digits) = line.split_at_checked(line.len().checked_sub(digits)?)?;
    if digits.is_empty() || before.last() != Some(&b'{') {
        return None;
    }
    let value =
        digits.iter().try_fold(0u64, |value, digit| value.checked_mul(10)?.checked_add(u64::from(digit - b'0')));
    Some((value.filter(|&value| value <= i64::MAX.unsigned_abs()), waits))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Frames an input that arrives in pieces of `step` octets, accepting every literal.
    fn frame(input: &[u8], step: usize) -> (Frame, usize) {
        let mut framer = Framer::new();
        let mut have = 0;
        loop {
            match framer.look(&input[..have], 100) {
                Frame::Partial if have == input.len() => return (Frame::Partial, framer.literals()),
                Frame::Partial => have = (have + step).min(input.len()),
                Frame::Literal(announced) => framer.accept(announced),
                found => return (found, framer.literals()),
            }
        }
    }

    #[test]
    fn frames_do_not_depend_on_how_they_arrive() {
        for step in 1..40 {
            assert_eq!(frame(b"a NOOP\r\nb NOOP\r\n", step), (Frame::Complete(8), 0));
            assert_eq!(frame(b"a LOGIN {3}\r\na\nb {2+}\r\n\r\n\r\nb", step), (Frame::Complete(27), 2));
            assert_eq!(frame(b"a LOGIN {3}\r\na\n", step), (Frame::Partial, 1));
            assert_eq!(frame(&[b'x'; 200], step), (Frame::TooLong, 0));
        }
    }

    #[test]
    fn only_the_end_of_a_line_announces() {
        assert_eq!(announced(b"a {5}\r\n"), Some((Some(5), true)));
        assert_eq!(announced(b"a {5+}\n"), Some((Some(5), false)));
        assert_eq!(announced(b"a ~{0}\r\n"), Some((Some(0), true)));
        assert_eq!(announced(b"a {99999999999999999999}\r\n"), Some((None, true)));
        for none in [
            &b"a {5} \r\n"[..],
            b"a {5}x\r\n",
            b"a {}\r\n",
            b"a {+}\r\n",
            b"a 5}\r\n",
            b"a {5++}\r\n",
            b"}\r\n",
            b"\r\n",
        ] {
            assert_eq!(announced(none), None);
        }
    }

    #[test]
    fn literals_do_not_count_as_lines() {
        let mut input = b"a X {500+}\r\n".to_vec();
        input.extend_from_slice(&[b'\n'; 500]);
        input.extend_from_slice(b"\r\n");
        assert_eq!(frame(&input, 7), (Frame::Complete(input.len()), 1));
    }
}
