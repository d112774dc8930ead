//! Where a message's header ends and its body begins, found as the octets go by (RFC 5322 §2.1).

/// Looks for the empty line.
#[derive(Debug)]
pub(crate) struct Split {
    /// Octets of CR LF CR LF that have just gone by. A message that begins with an empty line has no header.
    matched: u8,
}

impl Default for Split {
    fn default() -> Split {
        Split { matched: 2 }
    }
}

impl Split {
    /// Whether the header has gone by.
    pub(crate) fn is_over(&self) -> bool {
        self.matched == 4
    }

    /// The octets that are header, with the empty line, and those that are body.
    pub(crate) fn split<'a>(&mut self, octets: &'a [u8]) -> (&'a [u8], &'a [u8]) {
        let mut at = 0;
        while let Some(octet) = octets.get(at).filter(|_| !self.is_over()) {
            self.matched = match (octet, self.matched) {
                (b'\r', 0 | 2) => self.matched + 1,
                (b'\n', 1 | 3) => self.matched + 1,
                (b'\r', _) => 1,
                _ => 0,
            };
            at += 1;
        }
        octets.split_at(at)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_empty_line_is_found_at_every_split() {
        for (message, header) in [
            ("a: b\r\nc: d\r\n\r\nbody\r\n\r\n", 14),
            ("\r\nbody", 2),
            ("a: b\r\n", 6),
            ("a\r\r\n\r\nx", 6),
            ("a\n\nb\r\n\nc\r\n\r\n", 12),
            ("", 0),
        ] {
            for step in 1..=message.len().max(1) {
                let mut split = Split::default();
                let len: usize = message.as_bytes().chunks(step).map(|piece| split.split(piece).0.len()).sum();
                assert_eq!(len, header, "{message:?} by {step}");
            }
        }
    }
}
