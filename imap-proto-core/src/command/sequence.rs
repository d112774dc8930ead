//! Sequence sets (RFC 9051 §9, sequence-set): message numbers or UIDs as a client writes them.

use mailstore_trait::id::{SeqNum, Uid};
use mailstore_trait::uid_set::{UidMap, UidSet};
use smallvec::SmallVec;

use super::cursor::{Cursor, Result};
use crate::error::Expected;

/// A sequence set as it was written: ranges in any order, `*` not yet a number.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SequenceSet {
    /// Pairs of ends; 0 stands for `*`.
    ranges: SmallVec<[(u32, u32); 2]>,
    /// Whether it is `$`: the result saved last (RFC 5182 §2.1).
    saved: bool,
}

impl SequenceSet {
    pub(crate) fn parse(cursor: &mut Cursor<'_>) -> Result<SequenceSet> {
        let mut ranges = SmallVec::new();
        if cursor.eat(b'$') {
            return Ok(SequenceSet { ranges, saved: true });
        }
        loop {
            let first = end(cursor)?;
            let last = if cursor.eat(b':') { end(cursor)? } else { first };
            ranges.push((first, last));
            if !cursor.eat(b',') {
                return Ok(SequenceSet { ranges, saved: false });
            }
        }
    }

    /// The ranges, each with its smaller end first and `*` as `largest`.
    ///
    /// RFC 9051 §9, seq-range: the order of the ends does not matter, so with a largest of 67 `68:*` means 67 and 68.
    fn resolve(&self, largest: u32) -> impl Iterator<Item = (u32, u32)> + '_ {
        self.ranges.iter().map(move |&(a, b)| {
            let a = if a == 0 { largest } else { a };
            let b = if b == 0 { largest } else { b };
            (a.min(b), a.max(b))
        })
    }

    /// The UIDs meant, as message numbers of a view; `None` when a number has no message.
    ///
    /// `*` in an empty mailbox means no message, and `n:*` with one message fewer than n means the last: neither is an
    /// error, because clients ask so without knowing.
    #[must_use]
    pub fn by_number(&self, view: &UidMap) -> Option<UidSet> {
        let mut uids = UidSet::new();
        let largest = view.len();
        for &(a, b) in &self.ranges {
            let (first, last) = match (a, b) {
                (0, 0) => (largest, largest),
                (0, other) | (other, 0) => (other.min(largest), largest),
                (a, b) => (a.min(b), a.max(b)),
            };
            if last > largest {
                return None;
            }
            if let (Some(first), Some(last)) = (
                SeqNum::new(first).and_then(|first| view.uid(first)),
                SeqNum::new(last).and_then(|last| view.uid(last)),
            ) {
                uids.insert_range(first..=last);
            }
        }
        // The numbers between two ends have UIDs that may lie apart.
        Some(view.intersection(&uids))
    }

    /// The UIDs meant that are in a view. UIDs without a message are passed over (RFC 9051 §6.4.9).
    #[must_use]
    pub fn by_uid(&self, view: &UidMap) -> UidSet {
        let Some(largest) = view.last() else { return UidSet::new() };
        view.intersection(&self.uids(largest))
    }

    fn uids(&self, largest: Uid) -> UidSet {
        let mut uids = UidSet::new();
        for (first, last) in self.resolve(largest.value()) {
            if let (Some(first), Some(last)) = (Uid::new(first), Uid::new(last)) {
                uids.insert_range(first..=last);
            }
        }
        uids
    }

    /// Whether it is `$`: what it means, the session knows.
    #[must_use]
    pub fn is_saved(&self) -> bool {
        self.saved
    }

    /// Whether `*` stands in it.
    pub(crate) fn has_star(&self) -> bool {
        self.ranges.iter().any(|&(a, b)| a == 0 || b == 0)
    }

    /// How many numbers were written, those in several ranges counted in each. `*` counts for nothing.
    pub(crate) fn count(&self) -> u64 {
        self.resolve(0).map(|(first, last)| u64::from(last - first) + 1).sum()
    }

    /// The numbers in the order they were written.
    pub(crate) fn numbers(&self) -> impl Iterator<Item = u32> + '_ {
        self.resolve(0).flat_map(|(first, last)| first..=last)
    }

    /// The UIDs meant, whether there are such messages or not; `*` is `largest`.
    pub(crate) fn all_uids(&self, largest: Uid) -> UidSet {
        self.uids(largest)
    }

    /// How many ranges were written.
    #[must_use]
    pub fn len(&self) -> usize {
        self.ranges.len()
    }

    /// Whether no range was written: it is `$`.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.ranges.is_empty()
    }
}

/// RFC 9051 §9, seq-number: a number that is not 0, or `*`.
fn end(cursor: &mut Cursor<'_>) -> Result<u32> {
    if cursor.eat(b'*') {
        return Ok(0);
    }
    let from = *cursor;
    match cursor.number32() {
        Ok(0) | Err(_) => from.fail(Expected::SequenceSet),
        number => number,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(text: &str) -> SequenceSet {
        SequenceSet::parse(&mut Cursor::new(text.as_bytes())).unwrap()
    }

    fn map(uids: &[u32]) -> UidMap {
        uids.iter().filter_map(|&uid| Uid::new(uid)).collect()
    }

    fn uids(set: &UidSet) -> Vec<u32> {
        set.iter().map(Uid::value).collect()
    }

    /// Several servers took `68:*` with a largest UID of 67 for nothing; clients use it to ask for new mail.
    #[test]
    fn a_star_is_the_largest_and_ends_have_no_order() {
        let view = map(&[3, 5, 67]);
        assert_eq!(uids(&set("68:*").by_uid(&view)), [67]);
        assert_eq!(uids(&set("*:4").by_uid(&view)), [5, 67]);
        assert_eq!(uids(&set("1:*").by_uid(&view)), [3, 5, 67]);
        assert_eq!(uids(&set("*").by_number(&view).unwrap()), [67]);
        assert_eq!(uids(&set("3:1").by_number(&view).unwrap()), [3, 5, 67]);
        assert_eq!(uids(&set("1,3").by_number(&view).unwrap()), [3, 67]);
    }

    #[test]
    fn a_star_in_an_empty_mailbox_means_nothing() {
        let view = map(&[]);
        assert!(set("1:*").by_uid(&view).is_empty());
        assert!(set("*").by_number(&view).unwrap().is_empty());
        assert!(set("1:*").by_number(&view).unwrap().is_empty());
        assert_eq!(set("1").by_number(&view), None);
    }

    #[test]
    fn numbers_beyond_the_view_are_told_apart_from_uids() {
        let view = map(&[10, 20]);
        assert_eq!(set("1:3").by_number(&view), None);
        assert_eq!(uids(&set("3:*").by_number(&view).unwrap()), [20]);
        assert!(set("1:3").by_uid(&view).is_empty());
        assert_eq!(uids(&set("2,4294967295").by_uid(&map(&[2, u32::MAX - 1]))), [2]);
    }

    #[test]
    fn zero_and_noise_are_no_sequence_sets() {
        for bad in ["0", "", "1,", "1:", ",", "a", "1:0", "4294967296", "-1"] {
            assert!(SequenceSet::parse(&mut Cursor::new(bad.as_bytes())).is_err(), "{bad}");
        }
    }
}
