//! Searches whose results are kept up to date (RFC 5267 §4.3): what they want, what they hold, and what is told of it.
//!
//! A context belongs to the view and ends with it. It hears of messages that came, changed or went; whether they belong
//! to it now is asked of the store, message by message only for those.

use std::sync::Arc;

use bytes::{BufMut, BytesMut};
use mailstore_trait::id::Uid;
use mailstore_trait::item::{ItemPage, ItemRow, Projection};
use mailstore_trait::query::{Filter, Sorter, TooMany};
use mailstore_trait::uid_set::UidSet;
use smallvec::SmallVec;

use super::View;
use crate::response::{self, Quoted};

/// A search whose client is told of changes to its results.
#[derive(Debug)]
pub struct Context {
    tag: SmallVec<[u8; 24]>,
    uid: bool,
    filter: Arc<Filter>,
    results: UidSet,
    /// The results in the order they were asked for, when they were.
    order: Option<Sorter>,
}

impl Context {
    /// The context of the command with this tag; `uid` says whether it speaks of UIDs.
    #[must_use]
    pub fn new(tag: &[u8], uid: bool, filter: Arc<Filter>, results: UidSet, order: Option<Sorter>) -> Context {
        Context { tag: SmallVec::from_slice(tag), uid, filter, results, order }
    }

    /// Whose updates these are.
    #[must_use]
    pub fn tag(&self) -> &[u8] {
        &self.tag
    }

    /// What it wants.
    #[must_use]
    pub fn filter(&self) -> &Arc<Filter> {
        &self.filter
    }

    /// What it holds.
    #[must_use]
    pub fn results(&self) -> &UidSet {
        &self.results
    }

    /// What rows of new results have to bring; `None` when they have no order.
    #[must_use]
    pub fn projection(&self) -> Option<Projection> {
        self.order.as_ref().map(Sorter::projection)
    }

    /// Takes these messages out, and tells so.
    ///
    /// RFC 5267 §4.3.4: by number this must be told before the messages are told as expunged.
    pub fn remove(&mut self, uids: &UidSet, numbers: &View, out: &mut BytesMut) {
        let gone = self.results.intersection(uids);
        if gone.is_empty() {
            return;
        }
        self.results = without(&self.results, &gone);
        let Some(order) = &mut self.order else { return self.write("REMOVEFROM", &[(0, gone)], numbers, out) };
        let places = gone.iter().filter_map(|uid| Some((order.remove(uid)? + 1, UidSet::from_iter([uid]))));
        let places: Vec<_> = places.collect();
        self.write("REMOVEFROM", &places, numbers, out);
    }

    /// Adds these messages, which have no order, and tells so.
    pub fn add(&mut self, uids: UidSet, numbers: &View, out: &mut BytesMut) {
        uids.ranges().for_each(|range| self.results.insert_range(range));
        self.write("ADDTO", &[(0, uids)], numbers, out);
    }

    /// Adds a message where it belongs, and tells so.
    ///
    /// # Errors
    /// [`TooMany`]; the message is not added.
    pub fn insert(
        &mut self,
        page: &ItemPage,
        row: &ItemRow,
        numbers: &View,
        out: &mut BytesMut,
    ) -> Result<(), TooMany> {
        let Some(order) = &mut self.order else { return Ok(()) };
        let place = order.insert(page, row)? + 1;
        self.results.insert(row.uid);
        self.write("ADDTO", &[(place, UidSet::from_iter([row.uid]))], numbers, out);
        Ok(())
    }

    /// RFC 5267 §5, ret-data-addto, ret-data-removefrom: places, each with what is there.
    fn write(&self, word: &str, places: &[(usize, UidSet)], numbers: &View, out: &mut BytesMut) {
        out.put_slice(b"* ESEARCH (TAG ");
        response::string(&self.tag, Quoted::Ascii, out);
        out.put_slice(if self.uid { b") UID " } else { b") " });
        out.put_slice(word.as_bytes());
        let mut separator: &[u8] = b" (";
        for (place, uids) in places {
            out.put_slice(separator);
            separator = b" ";
            response::number(*place as u64, out);
            out.put_u8(b' ');
            if self.uid {
                response::set(uids, out);
            } else {
                let numbers = uids.iter().filter_map(|uid| numbers.seq(uid)).filter_map(|seq| Uid::new(seq.value()));
                response::set(&numbers.collect(), out);
            }
        }
        out.put_slice(b")\r\n");
    }

    /// RFC 5267 §4.3.1: there are no updates, or none any more.
    pub fn refuse(tag: &[u8], text: &str, out: &mut BytesMut) {
        out.put_slice(b"* NO [NOUPDATE ");
        response::string(tag, Quoted::Ascii, out);
        out.put_slice(b"] ");
        out.put_slice(text.as_bytes());
        out.put_slice(b"\r\n");
    }
}

/// Those of `uids` that are not in `gone`.
pub(crate) fn without(uids: &UidSet, gone: &UidSet) -> UidSet {
    let mut left = UidSet::new();
    for range in uids.ranges() {
        let mut next = Some(*range.start());
        let mut inside = UidSet::new();
        inside.insert_range(range.clone());
        for hole in inside.intersection(gone).ranges() {
            if let Some(first) = next
                && let Some(last) = hole.start().value().checked_sub(1).and_then(Uid::new)
                && first <= last
            {
                left.insert_range(first..=last);
            }
            next = hole.end().value().checked_add(1).and_then(Uid::new);
        }
        if let Some(first) = next.filter(|first| first <= range.end()) {
            left.insert_range(first..=*range.end());
        }
    }
    left
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn what_is_left_is_neither_more_nor_less(
            uids in prop::collection::vec(1u32..30, 0..20),
            gone in prop::collection::vec(1u32..30, 0..20),
        ) {
            let set = |values: &[u32]| values.iter().filter_map(|value| Uid::new(*value)).collect::<UidSet>();
            let left = without(&set(&uids), &set(&gone));
            let naive: Vec<u32> = uids.iter().copied().filter(|uid| !gone.contains(uid)).collect();
            prop_assert_eq!(left, set(&naive));
        }
    }
}
