//! Counts a message's Received headers while it comes in: RFC 5321 §6.3.

/// Looks at a header octet by octet, and at nothing behind it.
#[derive(Debug, Default)]
pub(super) struct Hops {
    count: usize,
    /// How much of `received:` the current line has matched; past its end when it cannot.
    matched: usize,
    /// Octets in the current line, line end aside; a line of none ends the header.
    line: usize,
    done: bool,
}

const NAME: &[u8] = b"received:";

impl Hops {
    /// Received headers so far.
    pub(super) fn count(&self) -> usize {
        self.count
    }

    pub(super) fn look(&mut self, octets: &[u8]) {
        for octet in octets {
            if self.done {
                return;
            }
            match octet {
                b'\n' if self.line == 0 => self.done = true,
                b'\n' => (self.matched, self.line) = (0, 0),
                b'\r' => {}
                _ => {
                    self.line += 1;
                    if NAME.get(self.matched) == Some(&octet.to_ascii_lowercase()) && self.line == self.matched + 1 {
                        self.matched += 1;
                        self.count += usize::from(self.matched == NAME.len());
                    }
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn received_headers_are_counted() {
        let message = b"Received: a\r\n b\r\nX-Received: c\r\nRECEIVED:d\r\nReceive: e\r\n\r\nReceived: body\r\n";
        for step in 1..message.len() {
            let mut hops = Hops::default();
            message.chunks(step).for_each(|piece| hops.look(piece));
            assert_eq!(hops.count(), 2, "step {step}");
        }
    }
}
