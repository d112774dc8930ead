//! What a search found, in the order it is told, and how that is written (RFC 3501 §7.2.5, RFC 4731 §3.1, RFC 5256 §4,
//! RFC 5267 §3.2, RFC 9394 §3.1).

use std::ops::RangeInclusive;

use bytes::{BufMut, BytesMut};
use mailstore_trait::id::{SeqNum, Uid};
use mailstore_trait::query::ThreadToken;
use mailstore_trait::uid_set::UidSet;

use crate::command::{PartialRange, SearchReturn};
use crate::response;
use crate::view::View;

/// Numbers, or runs of them, written before the session looks at its output's room again.
pub(super) const AT_ONCE: usize = 4096;

/// Messages in the order of the answer, as runs that ascend inside.
#[derive(Debug, Default)]
pub(super) struct Results {
    runs: Vec<RangeInclusive<Uid>>,
}

impl Results {
    /// In the order of the mailbox.
    pub(super) fn ascending(uids: &UidSet) -> Results {
        Results { runs: uids.ranges().collect() }
    }

    /// In this order.
    pub(super) fn in_order(uids: impl Iterator<Item = Uid>) -> Results {
        let mut runs: Vec<RangeInclusive<Uid>> = Vec::new();
        for uid in uids {
            match runs.last_mut().filter(|run| run.end().value().checked_add(1) == Some(uid.value())) {
                Some(run) => *run = *run.start()..=uid,
                None => runs.push(uid..=uid),
            }
        }
        Results { runs }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.runs.is_empty()
    }

    pub(super) fn len(&self) -> u64 {
        self.runs.iter().map(length).sum()
    }

    pub(super) fn min(&self) -> Option<Uid> {
        self.runs.first().map(|run| *run.start())
    }

    pub(super) fn max(&self) -> Option<Uid> {
        self.runs.last().map(|run| *run.end())
    }

    /// RFC 9394 §3.1: a piece of them.
    pub(super) fn part(&self, range: PartialRange) -> Results {
        let (first, last) = (u64::from(range.first.min(range.last)), u64::from(range.first.max(range.last)));
        let (mut skip, mut take) = (first - 1, last - first + 1);
        if range.from_end {
            let before = self.len().saturating_sub(first - 1);
            take = take.min(before);
            skip = before - take;
        }
        let mut runs = Vec::new();
        for run in &self.runs {
            let len = length(run);
            if skip >= len {
                skip -= len;
                continue;
            }
            let here = take.min(len - skip);
            if here == 0 {
                break;
            }
            let start = plus(*run.start(), skip);
            runs.push(start..=plus(start, here - 1));
            take -= here;
            skip = 0;
        }
        Results { runs }
    }

    /// What the answer is about: what `$` is set to, and whose mod-sequences count (RFC 4731 §3.2, RFC 5182 §2.4,
    /// RFC 9394 §3.2).
    pub(super) fn meant(&self, returns: SearchReturn, partial: Option<PartialRange>) -> UidSet {
        let ends = SearchReturn::MIN | SearchReturn::MAX;
        let partial = partial.filter(|_| returns.contains(SearchReturn::PARTIAL));
        let bounded = returns.intersects(ends) || partial.is_some();
        if returns.intersects(SearchReturn::ALL | SearchReturn::COUNT) || !bounded {
            return self.to_set();
        }
        let mut meant = partial.map_or_else(UidSet::new, |range| self.part(range).to_set());
        let min = self.min().filter(|_| returns.contains(SearchReturn::MIN));
        let max = self.max().filter(|_| returns.contains(SearchReturn::MAX));
        min.into_iter().chain(max).for_each(|uid| meant.insert(uid));
        meant
    }

    pub(super) fn to_set(&self) -> UidSet {
        let mut set = UidSet::new();
        self.runs.iter().for_each(|run| set.insert_range(run.clone()));
        set
    }

    /// As they are written: UIDs, or the numbers that `view` gives them.
    pub(super) fn numbers(&self, view: Option<&View>) -> Numbers {
        let mut runs: Vec<(u32, u32)> = Vec::with_capacity(self.runs.len());
        for run in &self.runs {
            let (first, last) = match view {
                None => (run.start().value(), run.end().value()),
                // Every UID of a run is a message, so its numbers are a run too.
                Some(view) => match (view.seq(*run.start()), view.seq(*run.end())) {
                    (Some(first), Some(last)) => (first.value(), last.value()),
                    _ => continue,
                },
            };
            match runs.last_mut().filter(|run| run.1.checked_add(1) == Some(first)) {
                Some(run) => run.1 = last,
                None => runs.push((first, last)),
            }
        }
        Numbers { runs: runs.into_iter(), rest: None, begun: false }
    }
}

fn length(run: &RangeInclusive<Uid>) -> u64 {
    u64::from(run.end().value() - run.start().value()) + 1
}

fn plus(uid: Uid, n: u64) -> Uid {
    uid.plus(u32::try_from(n).unwrap_or(u32::MAX))
}

/// One message as it is written.
pub(super) fn number_of(uid: Uid, view: Option<&View>) -> Option<u32> {
    view.map_or(Some(uid.value()), |view| view.seq(uid).map(SeqNum::value))
}

/// Numbers on their way out.
#[derive(Debug)]
pub(super) struct Numbers {
    runs: std::vec::IntoIter<(u32, u32)>,
    /// What is left of a run.
    rest: Option<(u32, u32)>,
    begun: bool,
}

impl Numbers {
    /// Some of them as a set; true when there are more.
    ///
    /// RFC 5267 §3.2: a range is read in ascending order, so only what ascends is written as one.
    pub(super) fn write_set(&mut self, out: &mut BytesMut) -> bool {
        for (first, last) in self.runs.by_ref().take(AT_ONCE) {
            if std::mem::replace(&mut self.begun, true) {
                out.put_u8(b',');
            }
            response::number(u64::from(first), out);
            if last > first {
                out.put_u8(b':');
                response::number(u64::from(last), out);
            }
        }
        self.runs.len() > 0
    }

    /// Some of them one by one, each behind a space; true when there are more.
    pub(super) fn write_each(&mut self, out: &mut BytesMut) -> bool {
        for _ in 0..AT_ONCE {
            let Some((first, last)) = self.rest.take().or_else(|| self.runs.next()) else { return false };
            out.put_u8(b' ');
            response::number(u64::from(first), out);
            self.rest = first.checked_add(1).filter(|next| *next <= last).map(|next| (next, last));
        }
        self.rest.is_some() || self.runs.len() > 0
    }
}

/// Conversations on their way out (RFC 5256 §4).
#[derive(Debug)]
pub(super) struct Threads {
    tokens: std::vec::IntoIter<ThreadToken>,
    begun: bool,
    behind_member: bool,
}

impl Threads {
    pub(super) fn new(tokens: Vec<ThreadToken>) -> Threads {
        Threads { tokens: tokens.into_iter(), begun: false, behind_member: false }
    }

    /// Some of them; true when there are more.
    pub(super) fn write(&mut self, view: Option<&View>, out: &mut BytesMut) -> bool {
        for token in self.tokens.by_ref().take(AT_ONCE) {
            if !std::mem::replace(&mut self.begun, true) || self.behind_member && token != ThreadToken::Close {
                out.put_u8(b' ');
            }
            self.behind_member = false;
            match token {
                ThreadToken::Open => out.put_u8(b'('),
                ThreadToken::Close => out.put_u8(b')'),
                ThreadToken::Member(uid) => {
                    response::number(u64::from(number_of(uid, view).unwrap_or_default()), out);
                    self.behind_member = true;
                }
            }
        }
        self.tokens.len() > 0
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn results(uids: &[u32]) -> Results {
        Results::in_order(uids.iter().filter_map(|uid| Uid::new(*uid)))
    }

    fn set(results: &Results) -> String {
        let (mut out, mut numbers) = (BytesMut::new(), results.numbers(None));
        while numbers.write_set(&mut out) {}
        String::from_utf8(out.to_vec()).unwrap()
    }

    fn each(results: &Results) -> String {
        let (mut out, mut numbers) = (BytesMut::new(), results.numbers(None));
        while numbers.write_each(&mut out) {}
        String::from_utf8(out.to_vec()).unwrap()
    }

    #[test]
    fn only_what_ascends_is_a_range() {
        assert_eq!(set(&results(&[23765, 23764, 23763, 23761])), "23765,23764,23763,23761");
        assert_eq!(set(&results(&[10, 11, 12, 5, 6, 9])), "10:12,5:6,9");
        assert_eq!(each(&results(&[10, 11, 12, 5])), " 10 11 12 5");
        let top = u32::MAX;
        assert_eq!(set(&results(&[top - 1, top, 1])), format!("{}:{top},1", top - 1));
        assert_eq!(each(&results(&[top])), format!(" {top}"));
    }

    proptest! {
        #[test]
        fn parts_are_slices(uids in prop::collection::vec(1u32..20, 0..12), a in 1u32..15, b in 1u32..15, from_end: bool) {
            let part = results(&uids).part(PartialRange { first: a, last: b, from_end });
            let (first, last) = (a.min(b) as usize, a.max(b) as usize);
            let len = uids.len();
            let want = if from_end {
                &uids[len.saturating_sub(last)..len.saturating_sub(first - 1).max(len.saturating_sub(last))]
            } else {
                &uids[(first - 1).min(len)..last.min(len)]
            };
            prop_assert_eq!(each(&part), each(&results(want)));
            prop_assert_eq!(part.len(), want.len() as u64);
        }
    }
}
