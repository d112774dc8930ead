//! The boundaries of the multiparts around the current line (RFC 2046 §5.1.1).

/// The open boundaries, outermost first.
#[derive(Debug, Default)]
pub(super) struct Boundaries {
    text: Vec<u8>,
    open: Vec<Open>,
    /// One bit for each octet that begins an open boundary: most lines beginning with `--` end here.
    first: [u64; 4],
    longest: usize,
}

#[derive(Clone, Copy, Debug)]
struct Open {
    start: usize,
    len: usize,
    /// Index of the multipart in the scanner's stack.
    level: usize,
}

/// A delimiter line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Delimiter {
    /// Position of its boundary among the open ones.
    pub(super) index: usize,
    /// Index of its multipart in the scanner's stack.
    pub(super) level: usize,
    /// Whether it is the last of its multipart.
    pub(super) close: bool,
}

impl Boundaries {
    pub(super) fn is_empty(&self) -> bool {
        self.open.is_empty()
    }

    pub(super) fn push(&mut self, boundary: &[u8], level: usize) {
        self.open.push(Open { start: self.text.len(), len: boundary.len(), level });
        self.text.extend_from_slice(boundary);
        self.index();
    }

    /// Forgets all but the `keep` outermost boundaries.
    pub(super) fn truncate(&mut self, keep: usize) {
        self.open.truncate(keep);
        self.text.truncate(self.open.last().map_or(0, |last| last.start + last.len));
        self.index();
    }

    fn index(&mut self) {
        self.first = [0; 4];
        self.longest = 0;
        for open in &self.open {
            self.longest = self.longest.max(open.len);
            if let Some(&octet) = self.text.get(open.start)
                && let Some(word) = self.first.get_mut(usize::from(octet >> 6))
            {
                *word |= 1 << (octet & 63);
            }
        }
    }

    /// How many octets of a line decide whether it is a delimiter and which.
    pub(super) fn reach(&self) -> usize {
        self.longest + 4
    }

    /// Looks at the first octets of a line, [`reach`](Boundaries::reach) of them or up to its LF.
    ///
    /// RFC 2046 §5.1.1: it is enough that the boundary stands at the front of the line. Of several that do, the longest
    /// is meant (one boundary may begin with another), and of equal ones the innermost.
    pub(super) fn find(&self, line: &[u8]) -> Option<Delimiter> {
        let line = line.strip_prefix(b"--")?;
        let &octet = line.first()?;
        let word = self.first.get(usize::from(octet >> 6)).copied().unwrap_or_default();
        if word & (1 << (octet & 63)) == 0 {
            return None;
        }
        let mut best = None;
        let mut best_len = 0;
        for (index, open) in self.open.iter().enumerate().rev() {
            if open.len > best_len
                && open.len <= line.len()
                && line.get(..open.len) == self.text.get(open.start..open.start + open.len)
            {
                best_len = open.len;
                best = Some((index, open.level));
            }
        }
        let (index, level) = best?;
        let close = line.get(best_len..).is_some_and(|rest| rest.starts_with(b"--"));
        Some(Delimiter { index, level, close })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_longest_boundary_wins_whichever_is_outer() {
        let mut boundaries = Boundaries::default();
        boundaries.push(b"abcd", 0);
        boundaries.push(b"abc", 3);
        assert_eq!(boundaries.find(b"--abcd"), Some(Delimiter { index: 0, level: 0, close: false }));
        assert_eq!(boundaries.find(b"--abc--"), Some(Delimiter { index: 1, level: 3, close: true }));
        assert_eq!(boundaries.find(b"--ab"), None);
        assert_eq!(boundaries.find(b"--"), None);
        assert_eq!(boundaries.find(b"-abc"), None);
        assert_eq!(boundaries.reach(), 8);
        boundaries.truncate(0);
        assert!(boundaries.is_empty());
        assert_eq!(boundaries.find(b"--abcd"), None);
    }

    #[test]
    fn of_equal_boundaries_the_innermost_wins() {
        let mut boundaries = Boundaries::default();
        boundaries.push(b"same", 0);
        boundaries.push(b"same", 1);
        assert_eq!(boundaries.find(b"--same\r"), Some(Delimiter { index: 1, level: 1, close: false }));
    }
}
