//! The order of messages (RFC 5256 §2, §3; RFC 5957): rows come in pages, their order comes out.
//!
//! Each row becomes one run of octets that compares as its criteria do, so sorting is comparing octets, whatever the
//! criteria. Rows with equal keys stand as they do in the mailbox, also where every criterion is reversed.

use std::ops::Range;

use super::collation::collate;
use crate::id::Uid;
use crate::item::{ItemPage, ItemRow, Projection};
use crate::mime::{Correspondent, SummaryRef};

/// What messages are ordered by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum SortKey {
    /// INTERNALDATE, date and time.
    Arrival,
    /// The local part of the first Cc.
    Cc,
    /// When it was sent, in UTC; INTERNALDATE where that can't be made out (RFC 5256 §2.2).
    Date,
    /// The local part of the first From.
    From,
    /// Octets.
    Size,
    /// The base subject (RFC 5256 §2.1).
    Subject,
    /// The local part of the first To.
    To,
    /// The name of the first From, or its address (RFC 5957 §4).
    DisplayFrom,
    /// The name of the first To, or its address (RFC 5957 §4).
    DisplayTo,
}

/// One criterion of an order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Criterion {
    /// What is compared.
    pub key: SortKey,
    /// The largest comes first.
    pub reverse: bool,
}

/// Bounds of what is kept to order or thread messages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct OrderLimits {
    /// Messages in one order.
    pub messages: usize,
    /// Octets of one text that are compared; texts that only differ behind them are equal.
    pub text: usize,
    /// Octets of all keys and ids.
    pub octets: usize,
    /// Steps up a tree of conversations, of all messages together, while it is searched for loops.
    pub steps: u64,
}

impl Default for OrderLimits {
    fn default() -> OrderLimits {
        OrderLimits { messages: 1_000_000, text: 512, octets: 128 * 1024 * 1024, steps: 50_000_000 }
    }
}

/// More than the [`OrderLimits`] allow.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("too many messages to put in order")]
pub struct TooMany;

/// Octets of keys that may lie idle in any case.
const IDLE: usize = 16 * 1024;

/// Puts messages in order.
///
/// ```
/// use mailstore_trait::query::{Criterion, OrderLimits, SortKey, Sorter};
///
/// let by = [Criterion { key: SortKey::Date, reverse: true }];
/// let sorter = Sorter::new(by, OrderLimits::default());
/// assert!(sorter.uids().next().is_none());
/// ```
#[derive(Clone, Debug)]
pub struct Sorter {
    criteria: Box<[Criterion]>,
    limits: OrderLimits,
    entries: Vec<Entry>,
    keys: Vec<u8>,
    /// Octets of `keys` that no message has any more.
    idle: usize,
}

/// A message. Its key is long at times, and mostly its first octets decide.
#[derive(Clone, Copy, Debug)]
struct Entry {
    head: u64,
    uid: Uid,
    start: usize,
    len: u32,
}

impl Entry {
    fn octets(self) -> Range<usize> {
        self.start..self.start + self.len as usize
    }
}

impl Sorter {
    /// An order by these criteria, the first one deciding first.
    #[must_use]
    pub fn new(criteria: impl Into<Box<[Criterion]>>, limits: OrderLimits) -> Sorter {
        Sorter { criteria: criteria.into(), limits, entries: Vec::new(), keys: Vec::new(), idle: 0 }
    }

    /// What a row has to bring.
    #[must_use]
    pub fn projection(&self) -> Projection {
        let stored = |criterion: &Criterion| matches!(criterion.key, SortKey::Arrival | SortKey::Size);
        if self.criteria.iter().all(stored) { Projection::DATES } else { Projection::DATES | Projection::SUMMARY }
    }

    /// Adds a row, which comes into order with the next [`sort`](Sorter::sort).
    ///
    /// # Errors
    /// [`TooMany`]; the row is not added.
    pub fn push(&mut self, page: &ItemPage, row: &ItemRow) -> Result<(), TooMany> {
        let entry = self.entry(page, row)?;
        self.entries.push(entry);
        Ok(())
    }

    /// Puts all rows in order.
    pub fn sort(&mut self) {
        let Sorter { entries, keys, .. } = self;
        entries.sort_unstable_by(|a, b| compare(keys, a, b));
    }

    /// Adds a row to an order, and says at which place from 0 it stands now.
    ///
    /// # Errors
    /// [`TooMany`]; the row is not added.
    pub fn insert(&mut self, page: &ItemPage, row: &ItemRow) -> Result<usize, TooMany> {
        let entry = self.entry(page, row)?;
        let at = self.entries.partition_point(|have| compare(&self.keys, have, &entry).is_lt());
        self.entries.insert(at, entry);
        Ok(at)
    }

    /// Takes a message out of the order, and says at which place from 0 it stood.
    pub fn remove(&mut self, uid: Uid) -> Option<usize> {
        let at = self.entries.iter().position(|entry| entry.uid == uid)?;
        self.idle += self.entries.remove(at).len as usize;
        if self.idle > IDLE && self.idle > self.keys.len() / 2 {
            self.compact();
        }
        Some(at)
    }

    fn compact(&mut self) {
        let keys = std::mem::take(&mut self.keys);
        self.idle = 0;
        for entry in &mut self.entries {
            let key = keys.get(entry.octets()).unwrap_or_default();
            entry.start = self.keys.len();
            self.keys.extend_from_slice(key);
        }
    }

    /// The messages in order.
    pub fn uids(&self) -> impl ExactSizeIterator<Item = Uid> + DoubleEndedIterator + '_ {
        self.entries.iter().map(|entry| entry.uid)
    }

    fn entry(&mut self, page: &ItemPage, row: &ItemRow) -> Result<Entry, TooMany> {
        let start = self.keys.len();
        if self.entries.len() >= self.limits.messages || start >= self.limits.octets {
            return Err(TooMany);
        }
        let summary = page.summary(row).and_then(|octets| SummaryRef::from_bytes(octets).ok()).unwrap_or_default();
        for criterion in &self.criteria {
            let from = self.keys.len();
            put_key(criterion.key, row, &summary, self.limits.text, &mut self.keys);
            if criterion.reverse {
                self.keys.iter_mut().skip(from).for_each(|octet| *octet = !*octet);
            }
        }
        let key = self.keys.get(start..).unwrap_or_default();
        let mut head = [0; 8];
        head.iter_mut().zip(key).for_each(|(head, octet)| *head = *octet);
        let len = u32::try_from(key.len()).map_err(|_| TooMany)?;
        Ok(Entry { head: u64::from_be_bytes(head), uid: row.uid, start, len })
    }
}

fn compare(keys: &[u8], a: &Entry, b: &Entry) -> std::cmp::Ordering {
    // RFC 5256 §3: the sequence number decides between equals, never reversed.
    a.head.cmp(&b.head).then_with(|| keys.get(a.octets()).cmp(&keys.get(b.octets()))).then(a.uid.cmp(&b.uid))
}

/// RFC 5256 §2.2: when a message was sent; when that can't be made out, when it arrived.
pub(super) fn sent(row: &ItemRow, summary: &SummaryRef<'_>) -> i64 {
    summary.sent.unwrap_or(row.internal_date).instant.seconds()
}

fn put_key(key: SortKey, row: &ItemRow, summary: &SummaryRef<'_>, max: usize, out: &mut Vec<u8>) {
    // Deviation from RFC 5256 §3: where a group comes first its name is the mailbox of ENVELOPE's first address; here it
    // is the first mailbox in it, as summaries have it.
    let local = |of: Option<Correspondent<'_>>, out: &mut Vec<u8>| put_text(&[of.unwrap_or_default().local], max, out);
    match key {
        SortKey::Arrival => put_instant(row.internal_date.instant.seconds(), out),
        SortKey::Date => put_instant(sent(row, summary), out),
        SortKey::Size => out.extend_from_slice(&row.size.to_be_bytes()),
        SortKey::Subject => put_text(&[summary.base_subject], max, out),
        SortKey::From => local(summary.from, out),
        SortKey::To => local(summary.to, out),
        SortKey::Cc => local(summary.cc, out),
        SortKey::DisplayFrom => put_display(summary.from, max, out),
        SortKey::DisplayTo => put_display(summary.to, max, out),
    }
}

fn put_instant(seconds: i64, out: &mut Vec<u8>) {
    // The sign turned round, so that what lies before 1970 has the smaller octets.
    out.extend_from_slice(&(seconds ^ i64::MIN).to_be_bytes());
}

/// RFC 5957 §3: the name, else the address, else nothing.
fn put_display(of: Option<Correspondent<'_>>, max: usize, out: &mut Vec<u8>) {
    let Correspondent { name, local, domain } = of.unwrap_or_default();
    match (name, domain) {
        ("", "") => put_text(&[local], max, out),
        ("", domain) => put_text(&[local, "@", domain], max, out),
        (name, _) => put_text(&[name], max, out),
    }
}

/// A text and an end that is smaller than any octet of it: `ab` comes before `abc` whatever follows it in the key.
fn put_text(pieces: &[&str], max: usize, out: &mut Vec<u8>) {
    let start = out.len();
    pieces.iter().for_each(|piece| collate(piece, out));
    out.truncate(start.saturating_add(max));
    let text = out.get(start..).unwrap_or_default();
    if text.iter().any(|octet| *octet < 2) {
        let escaped: Vec<u8> = text.iter().flat_map(|&octet| escape(octet)).collect();
        out.truncate(start);
        out.extend_from_slice(&escaped);
    }
    out.push(0);
}

/// The octets 0 and 1 as 1 and themselves: 0 is the end.
fn escape(octet: u8) -> impl Iterator<Item = u8> {
    let prefix = if octet < 2 { Some(1) } else { None };
    prefix.into_iter().chain(std::iter::once(octet))
}

#[cfg(test)]
pub(super) mod tests;
