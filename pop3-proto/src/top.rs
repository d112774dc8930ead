//! Where a header ends, and where TOP stops.
//!
//! RFC 1939 §7: TOP sends the header, the blank line behind it, and the given number of lines of the body. Lines of the
//! header do not count, and `TOP n 0` is the header with its blank line.

/// Looks for the blank line behind a header, however its octets arrive.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum HeaderEnd {
    /// At the beginning of a line.
    #[default]
    Line,
    /// Behind a CR that began a line.
    Cr,
    /// Inside a line.
    Middle,
    /// Behind the blank line.
    Found,
}

impl HeaderEnd {
    /// Looks at the next octets. Answers how many of them belong to the header, its blank line included, once that is
    /// found; everything before it belongs to the header.
    pub fn push(&mut self, octets: &[u8]) -> Option<usize> {
        let mut at = 0;
        while let Some(&octet) = octets.get(at) {
            match (*self, octet) {
                (HeaderEnd::Found, _) => return Some(0),
                (HeaderEnd::Line | HeaderEnd::Cr, b'\n') => {
                    *self = HeaderEnd::Found;
                    return Some(at + 1);
                }
                (HeaderEnd::Line, b'\r') => *self = HeaderEnd::Cr,
                _ => match memchr::memchr(b'\n', octets.get(at..)?) {
                    Some(len) => {
                        *self = HeaderEnd::Line;
                        at += len;
                    }
                    None => {
                        *self = HeaderEnd::Middle;
                        return None;
                    }
                },
            }
            at += 1;
        }
        (*self == HeaderEnd::Found).then_some(0)
    }
}

/// Cuts a message behind its header and so many lines of its body.
#[derive(Debug)]
pub struct Top {
    header: HeaderEnd,
    lines: u64,
}

impl Top {
    /// The header and this many lines.
    #[must_use]
    pub fn new(lines: u64) -> Top {
        Top { header: HeaderEnd::default(), lines }
    }

    /// How many of the next octets are to be sent, and whether that was the last of them.
    pub fn push(&mut self, octets: &[u8]) -> (usize, bool) {
        let mut at = 0;
        if self.header != HeaderEnd::Found {
            match self.header.push(octets) {
                Some(end) => at = end,
                None => return (octets.len(), false),
            }
        }
        while self.lines > 0 {
            match memchr::memchr(b'\n', octets.get(at..).unwrap_or_default()) {
                Some(len) => {
                    at += len + 1;
                    self.lines -= 1;
                }
                None => return (octets.len(), false),
            }
        }
        (at, true)
    }

    /// What a message without a blank line lacks when it is over: the blank line TOP promises.
    #[must_use]
    pub fn missing(&self) -> &'static [u8] {
        match self.header {
            HeaderEnd::Found => b"",
            HeaderEnd::Line => b"\r\n",
            HeaderEnd::Cr => b"\n",
            HeaderEnd::Middle => b"\r\n\r\n",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn top(message: &[u8], lines: u64, piece: usize) -> Vec<u8> {
        let (mut top, mut sent) = (Top::new(lines), Vec::new());
        for octets in message.chunks(piece) {
            let (len, done) = top.push(octets);
            sent.extend_from_slice(&octets[..len]);
            if done {
                return sent;
            }
        }
        sent.extend_from_slice(top.missing());
        sent
    }

    /// One peer counts the header's lines as well, and takes 0 for the whole message.
    #[test]
    fn top_counts_lines_of_the_body() {
        let message = b"A: b\r\n c\r\n\r\none\r\n\r\nthree\r\n";
        for piece in 1..=message.len() {
            assert_eq!(top(message, 0, piece), b"A: b\r\n c\r\n\r\n");
            assert_eq!(top(message, 1, piece), b"A: b\r\n c\r\n\r\none\r\n");
            assert_eq!(top(message, 2, piece), b"A: b\r\n c\r\n\r\none\r\n\r\n");
            assert_eq!(top(message, 9, piece), message);
        }
    }

    #[test]
    fn top_of_odd_messages() {
        for piece in 1..4 {
            assert_eq!(top(b"\r\nbody\r\n", 0, piece), b"\r\n");
            assert_eq!(top(b"A: b\r\n", 3, piece), b"A: b\r\n\r\n");
            assert_eq!(top(b"A: b", 3, piece), b"A: b\r\n\r\n");
            assert_eq!(top(b"A: b\n\nbody\n", 0, piece), b"A: b\n\n");
            assert_eq!(top(b"A: b\r\n\rx\r\n\r\ny", 0, piece), b"A: b\r\n\rx\r\n\r\n");
        }
    }
}
