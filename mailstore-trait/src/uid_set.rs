//! Sets of UIDs as ordered ranges, and a folder's UIDs with their ranks.

use std::ops::RangeInclusive;

use crate::id::{SeqNum, Uid};

/// A set of UIDs: ordered, disjoint, non-adjacent ranges.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct UidSet {
    ranges: Vec<(u32, u32)>,
}

impl UidSet {
    /// The empty set.
    #[must_use]
    pub fn new() -> UidSet {
        UidSet::default()
    }

    /// Every UID there can be.
    #[must_use]
    pub fn all() -> UidSet {
        UidSet { ranges: vec![(1, u32::MAX)] }
    }

    /// Adds one UID.
    pub fn insert(&mut self, uid: Uid) {
        self.insert_range(uid..=uid);
    }

    /// Adds a range; an empty one (`start > end`) adds nothing.
    pub fn insert_range(&mut self, range: RangeInclusive<Uid>) {
        let (mut start, mut end) = (range.start().value(), range.end().value());
        if start > end {
            return;
        }
        // The usual case: ascending input, which touches only the last range.
        match self.ranges.last_mut() {
            None => return self.ranges.push((start, end)),
            Some(&mut (_, last)) if last < u32::MAX && start > last + 1 => return self.ranges.push((start, end)),
            Some((first, last)) if start >= *first => return *last = end.max(*last),
            Some(_) => {}
        }
        let from = self.ranges.partition_point(|&(_, last)| last.saturating_add(1) < start);
        let to = self.ranges.partition_point(|&(first, _)| first <= end.saturating_add(1));
        if let Some(merged) = self.ranges.get(from..to).filter(|merged| !merged.is_empty()) {
            start = merged.first().map_or(start, |&(first, _)| first.min(start));
            end = merged.last().map_or(end, |&(_, last)| last.max(end));
        }
        self.ranges.splice(from..to.max(from), [(start, end)]);
    }

    /// Whether the set holds this UID.
    #[must_use]
    pub fn contains(&self, uid: Uid) -> bool {
        let at = self.ranges.partition_point(|&(_, last)| last < uid.value());
        self.ranges.get(at).is_some_and(|&(first, _)| first <= uid.value())
    }

    /// The ranges, ascending.
    pub fn ranges(&self) -> impl ExactSizeIterator<Item = RangeInclusive<Uid>> + DoubleEndedIterator + '_ {
        self.ranges
            .iter()
            .map(|&(first, last)| Uid::new(first).unwrap_or(Uid::MIN)..=Uid::new(last).unwrap_or(Uid::MIN))
    }

    /// The UIDs, ascending. Mind [`UidSet::all`].
    pub fn iter(&self) -> impl Iterator<Item = Uid> + '_ {
        self.ranges.iter().flat_map(|&(first, last)| (first..=last).filter_map(Uid::new))
    }

    /// How many UIDs the set holds.
    #[must_use]
    pub fn len(&self) -> u64 {
        self.ranges.iter().map(|&(first, last)| u64::from(last - first) + 1).sum()
    }

    /// Whether the set is empty.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.ranges.is_empty()
    }

    /// What both sets hold.
    #[must_use]
    pub fn intersection(&self, other: &UidSet) -> UidSet {
        let (mut mine, mut theirs) = (self.ranges.iter().peekable(), other.ranges.iter().peekable());
        let mut ranges = Vec::new();
        while let (Some(&&(a, b)), Some(&&(c, d))) = (mine.peek(), theirs.peek()) {
            if a.max(c) <= b.min(d) {
                ranges.push((a.max(c), b.min(d)));
            }
            if b < d {
                mine.next()
            } else {
                theirs.next()
            };
        }
        UidSet { ranges }
    }

    /// Splits off everything after the first `n` UIDs.
    #[must_use]
    pub fn split_off(&mut self, n: u64) -> UidSet {
        let mut left = n;
        for at in 0..self.ranges.len() {
            let Some(&(first, last)) = self.ranges.get(at) else { break };
            let here = u64::from(last - first) + 1;
            if here > left {
                let mut rest = self.ranges.split_off(at);
                // `left` is smaller than the range, so it fits.
                let cut = u32::try_from(left).unwrap_or(0);
                if cut > 0 {
                    self.ranges.push((first, first + cut - 1));
                }
                if let Some(head) = rest.first_mut() {
                    head.0 = first + cut;
                }
                return UidSet { ranges: rest };
            }
            left -= here;
        }
        UidSet::new()
    }
}

impl FromIterator<Uid> for UidSet {
    fn from_iter<I: IntoIterator<Item = Uid>>(uids: I) -> UidSet {
        let mut set = UidSet::new();
        uids.into_iter().for_each(|uid| set.insert(uid));
        set
    }
}

/// A folder's UIDs in order, with ranks in both directions: at most 8 octets a message, and 8 octets in all when the
/// UIDs are dense.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct UidMap {
    /// Runs of consecutive UIDs: the first UID of the run, and how many UIDs lie before the run.
    runs: Vec<(u32, u32)>,
    len: u32,
}

impl UidMap {
    /// No messages.
    #[must_use]
    pub fn new() -> UidMap {
        UidMap::default()
    }

    /// How many messages there are.
    #[must_use]
    pub fn len(&self) -> u32 {
        self.len
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Adds a UID behind all others; one that is not larger than the last is ignored.
    pub fn push(&mut self, uid: Uid) {
        match self.last() {
            Some(last) if uid <= last => return,
            Some(last) if uid.value() == last.value() + 1 => {}
            _ => self.runs.push((uid.value(), self.len)),
        }
        self.len += 1;
    }

    /// The largest UID.
    #[must_use]
    pub fn last(&self) -> Option<Uid> {
        let &(first, before) = self.runs.last()?;
        Uid::new(first + (self.len - before) - 1)
    }

    /// The UID at this place.
    #[must_use]
    pub fn uid(&self, seq: SeqNum) -> Option<Uid> {
        let index = seq.value() - 1;
        if index >= self.len {
            return None;
        }
        let at = self.runs.partition_point(|&(_, before)| before <= index).checked_sub(1)?;
        let &(first, before) = self.runs.get(at)?;
        Uid::new(first + (index - before))
    }

    /// The place of this UID.
    #[must_use]
    pub fn seq(&self, uid: Uid) -> Option<SeqNum> {
        let before = self.before(uid);
        let seq = SeqNum::new(before + 1)?;
        (self.uid(seq) == Some(uid)).then_some(seq)
    }

    /// How many UIDs are smaller than this one.
    #[must_use]
    pub fn before(&self, uid: Uid) -> u32 {
        let at = self.runs.partition_point(|&(first, _)| first <= uid.value());
        let next = self.runs.get(at).map_or(self.len, |&(_, before)| before);
        match at.checked_sub(1).and_then(|at| self.runs.get(at)) {
            Some(&(first, before)) => (before + (uid.value() - first)).min(next),
            None => 0,
        }
    }

    /// The UIDs, ascending.
    pub fn iter(&self) -> impl Iterator<Item = Uid> + '_ {
        self.ranges().flat_map(|range| (range.start().value()..=range.end().value()).filter_map(Uid::new))
    }

    /// The runs of consecutive UIDs, ascending.
    pub fn ranges(&self) -> impl Iterator<Item = RangeInclusive<Uid>> + '_ {
        let ends = self.runs.iter().skip(1).map(|&(_, before)| before).chain([self.len]);
        self.runs
            .iter()
            .zip(ends)
            .filter_map(|(&(first, before), end)| Some(Uid::new(first)?..=Uid::new(first + (end - before) - 1)?))
    }

    /// Those of `uids` that are here.
    #[must_use]
    pub fn intersection(&self, uids: &UidSet) -> UidSet {
        self.to_set().intersection(uids)
    }

    /// All UIDs as a set.
    #[must_use]
    pub fn to_set(&self) -> UidSet {
        let mut set = UidSet::new();
        self.ranges().for_each(|range| set.insert_range(range));
        set
    }

    /// Removes these UIDs, in one pass over the runs.
    pub fn remove(&mut self, uids: &UidSet) {
        if uids.is_empty() {
            return;
        }
        let mut kept = UidMap::new();
        let mut gone = uids.ranges().peekable();
        for run in self.ranges() {
            let (mut first, last) = (run.start().value(), run.end().value());
            while first <= last {
                while gone.next_if(|range| range.end().value() < first).is_some() {}
                let end = match gone.peek() {
                    Some(range) if range.start().value() <= first => {
                        // Inside a removed range: go on behind it.
                        match range.end().value().checked_add(1) {
                            Some(next) => first = next,
                            None => break,
                        }
                        continue;
                    }
                    Some(range) => last.min(range.start().value() - 1),
                    None => last,
                };
                kept.push_run(first, end);
                match end.checked_add(1) {
                    Some(next) => first = next,
                    None => break,
                }
            }
        }
        *self = kept;
    }

    fn push_run(&mut self, first: u32, last: u32) {
        let adjacent = self.last().is_some_and(|uid| uid.value() + 1 == first);
        if !adjacent {
            self.runs.push((first, self.len));
        }
        self.len += last - first + 1;
    }
}

impl FromIterator<Uid> for UidMap {
    /// From ascending UIDs; others are ignored.
    fn from_iter<I: IntoIterator<Item = Uid>>(uids: I) -> UidMap {
        let mut map = UidMap::new();
        uids.into_iter().for_each(|uid| map.push(uid));
        map
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    fn uid(value: u32) -> Uid {
        Uid::new(value).unwrap()
    }

    proptest! {
        #[test]
        fn a_set_is_what_was_put_in(ranges in prop::collection::vec((1u32..200, 0u32..20), 0..30)) {
            let mut set = UidSet::new();
            let mut model = BTreeSet::new();
            for (start, len) in ranges {
                set.insert_range(uid(start)..=uid(start + len));
                model.extend(start..=start + len);
            }
            prop_assert_eq!(set.iter().map(Uid::value).collect::<Vec<_>>(), model.iter().copied().collect::<Vec<_>>());
            prop_assert_eq!(set.len(), model.len() as u64);
            let rebuilt: UidSet = model.iter().map(|&value| uid(value)).collect();
            prop_assert_eq!(&rebuilt, &set);
            for value in 1..230 {
                prop_assert_eq!(set.contains(uid(value)), model.contains(&value));
            }
        }

        #[test]
        fn intersection_and_split_agree_with_a_model(
            a in prop::collection::btree_set(1u32..100, 0..60), b in prop::collection::btree_set(1u32..100, 0..60), n in 0u64..70,
        ) {
            let set_a: UidSet = a.iter().map(|&value| uid(value)).collect();
            let set_b: UidSet = b.iter().map(|&value| uid(value)).collect();
            let both: UidSet = a.intersection(&b).map(|&value| uid(value)).collect();
            prop_assert_eq!(set_a.intersection(&set_b), both);
            let mut head = set_a.clone();
            let tail = head.split_off(n);
            prop_assert_eq!(head.len(), n.min(a.len() as u64));
            prop_assert_eq!(head.iter().chain(tail.iter()).collect::<Vec<_>>(), set_a.iter().collect::<Vec<_>>());
        }

        #[test]
        fn ranks_and_removal_agree_with_a_model(
            all in prop::collection::btree_set(1u32..300, 0..200), gone in prop::collection::btree_set(1u32..300, 0..100),
        ) {
            let mut map: UidMap = all.iter().map(|&value| uid(value)).collect();
            map.remove(&gone.iter().map(|&value| uid(value)).collect());
            let model: Vec<u32> = all.difference(&gone).copied().collect();
            prop_assert_eq!(map.iter().map(Uid::value).collect::<Vec<_>>(), model.clone());
            prop_assert_eq!(map.len() as usize, model.len());
            prop_assert_eq!(map.last().map(Uid::value), model.last().copied());
            for value in 1..310 {
                let at = model.iter().position(|&have| have == value);
                prop_assert_eq!(map.seq(uid(value)).map(|seq| seq.value() as usize - 1), at);
                prop_assert_eq!(map.before(uid(value)) as usize, model.iter().filter(|&&have| have < value).count());
            }
            for (seq, &value) in (1..).zip(&model) {
                prop_assert_eq!(map.uid(SeqNum::new(seq).unwrap()), Some(uid(value)));
            }
            let rebuilt: UidMap = model.iter().map(|&value| uid(value)).collect();
            prop_assert_eq!(rebuilt, map);
        }
    }

    #[test]
    fn the_whole_range_is_one_range() {
        let mut set = UidSet::all();
        set.insert(uid(7));
        assert_eq!(set.ranges().len(), 1);
        assert!(set.contains(Uid::MAX));
        let mut map: UidMap = (1..=1000).map(uid).collect();
        map.remove(&UidSet::all());
        assert!(map.is_empty());
    }
}
