//! What every thread of an open store shares: its configuration, its ids, its files, its news.

use std::path::PathBuf;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};

use mailstore_trait::date::Timestamp;
use mailstore_trait::id::{BlobId, EmailId, ThreadId};

use crate::blobs::Blobs;
use crate::config::{Config, system_time};
use crate::content_cache::ContentCache;
use crate::fault::{Fault, Result};
use crate::hints::Hints;
use crate::stats::Counters;
use crate::uid_cache::UidCache;

pub(crate) struct Env {
    pub(crate) config: Config,
    pub(crate) database: PathBuf,
    pub(crate) ids: Ids,
    pub(crate) blobs: Blobs,
    pub(crate) hints: Hints,
    pub(crate) uids: UidCache,
    pub(crate) contents: ContentCache,
    pub(crate) counters: Counters,
    /// The database's count of moves when this process last wrote or looked under the lock.
    pub(crate) moves: AtomicI64,
    /// How often the committer found that others had moved accounts on.
    pub(crate) foreign: AtomicU64,
}

impl Env {
    pub(crate) fn now(&self) -> Timestamp {
        (self.config.clock)()
    }

    /// The count of moves as the committer found it, under the lock.
    pub(crate) fn found_moves(&self, moves: i64) {
        if self.moves.load(Ordering::Acquire) != moves {
            // In this order: who sees the new count sees the news too, or looks again.
            self.foreign.fetch_add(1, Ordering::AcqRel);
            self.moves.store(moves, Ordering::Release);
        }
    }

    /// The count of moves that the committer left.
    pub(crate) fn left_moves(&self, moves: i64) {
        self.moves.store(moves, Ordering::Release);
    }
}

/// Turns the numbers of emails and threads into the ids that others see.
///
/// An id is the number and the store's own eight random octets: dense in the tables, unique in the world.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Ids {
    store: [u8; 8],
}

impl Ids {
    pub(crate) fn new(store: [u8; 8]) -> Ids {
        Ids { store }
    }

    /// The store's own octets.
    pub(crate) fn store(self) -> [u8; 8] {
        self.store
    }

    pub(crate) fn email(self, number: i64) -> EmailId {
        EmailId(self.join(number))
    }

    pub(crate) fn thread(self, number: i64) -> ThreadId {
        ThreadId(self.join(number))
    }

    /// The number behind an id that this store gave out.
    pub(crate) fn email_number(self, id: EmailId) -> Option<i64> {
        self.split(id.0)
    }

    pub(crate) fn thread_number(self, id: ThreadId) -> Option<i64> {
        self.split(id.0)
    }

    fn join(self, number: i64) -> [u8; 16] {
        let mut id = [0; 16];
        let halves = number.to_be_bytes().into_iter().chain(self.store);
        id.iter_mut().zip(halves).for_each(|(octet, value)| *octet = value);
        id
    }

    fn split(self, id: [u8; 16]) -> Option<i64> {
        let (number, store) = id.split_at_checked(8)?;
        let number = i64::from_be_bytes(number.try_into().ok()?);
        (store == self.store && number > 0).then_some(number)
    }
}

/// A new name for octets: random behind the time, so that names made together lie together in the index.
pub(crate) fn blob_name() -> Result<BlobId> {
    let mut id = [0; 16];
    getrandom::fill(&mut id).map_err(|error| Fault::unavailable(error.to_string()))?;
    let millis = system_time().0.to_be_bytes();
    id.iter_mut().zip(millis.iter().skip(2)).for_each(|(octet, value)| *octet = *value);
    Ok(BlobId(id))
}

/// A number that SQLite holds; ours never come near its end.
pub(crate) fn sql(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_come_back_as_numbers_and_only_those_of_this_store() {
        let ids = Ids::new(*b"thisone.");
        assert_eq!(ids.email_number(ids.email(77)), Some(77));
        assert_eq!(Ids::new(*b"another.").email_number(ids.email(77)), None);
        assert_eq!(ids.email_number(EmailId([0; 16])), None);
        assert_eq!(ids.thread_number(ids.thread(i64::MAX)), Some(i64::MAX));
    }

    #[test]
    fn names_of_octets_ascend_with_time() {
        let first = blob_name().unwrap();
        std::thread::sleep(std::time::Duration::from_millis(3));
        let second = blob_name().unwrap();
        assert!(first.0 < second.0);
    }
}
