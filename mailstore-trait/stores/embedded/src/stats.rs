//! What a store has done since it was opened, counted.

use std::sync::atomic::{AtomicU64, Ordering};

/// Counts since the store was opened. For metrics, and to see group commit at work.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Stats {
    /// Batches and other writes that were answered.
    pub writes: u64,
    /// Transactions they shared: one sync of the write-ahead log each.
    pub transactions: u64,
    /// Syncs of files and folders of large messages.
    pub file_syncs: u64,
    /// Writes that were refused or failed.
    pub failed: u64,
    /// Contents of small messages that were in memory when they were asked for.
    pub content_hits: u64,
    /// Contents of small messages that had to be read.
    pub content_misses: u64,
    /// Octets that contents in memory take now.
    pub content_octets: u64,
}

#[derive(Debug, Default)]
pub(crate) struct Counters {
    pub(crate) writes: AtomicU64,
    pub(crate) transactions: AtomicU64,
    pub(crate) file_syncs: AtomicU64,
    pub(crate) failed: AtomicU64,
    pub(crate) content_hits: AtomicU64,
    pub(crate) content_misses: AtomicU64,
}

impl Counters {
    pub(crate) fn snapshot(&self) -> Stats {
        Stats {
            writes: self.writes.load(Ordering::Relaxed),
            transactions: self.transactions.load(Ordering::Relaxed),
            file_syncs: self.file_syncs.load(Ordering::Relaxed),
            failed: self.failed.load(Ordering::Relaxed),
            content_hits: self.content_hits.load(Ordering::Relaxed),
            content_misses: self.content_misses.load(Ordering::Relaxed),
            content_octets: 0,
        }
    }
}

pub(crate) fn count(counter: &AtomicU64, by: u64) {
    counter.fetch_add(by, Ordering::Relaxed);
}
