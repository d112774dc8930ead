//! Folders' UIDs in memory, shared by all sessions of this machine, checked against the folder's row inside the
//! snapshot that is read.
//!
//! An entry says at which change of membership it was right. A reader whose snapshot is at that very change uses it as
//! it is; one that is further on takes out the tombstones and puts in the UIDs since, both of which are few.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use mailstore_trait::id::{AccountId, FolderId};
use mailstore_trait::uid_set::UidMap;

type Key = (AccountId, FolderId);

pub(crate) struct UidCache {
    entries: Mutex<HashMap<Key, Entry>>,
    max: usize,
}

#[derive(Clone)]
pub(crate) struct Entry {
    pub(crate) shelf: i64,
    /// The last change of membership this holds.
    pub(crate) members: u64,
    pub(crate) uid_next: u32,
    pub(crate) uids: Arc<UidMap>,
}

impl UidCache {
    pub(crate) fn new(max: usize) -> UidCache {
        UidCache { entries: Mutex::default(), max: max.max(1) }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Key, Entry>> {
        self.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn find(&self, account: AccountId, folder: FolderId) -> Option<Entry> {
        self.lock().get(&(account, folder)).cloned()
    }

    pub(crate) fn keep(&self, account: AccountId, folder: FolderId, entry: Entry) {
        let mut entries = self.lock();
        if let Some(known) = entries.get_mut(&(account, folder)) {
            // An older snapshot must not undo a newer one's work.
            if (known.shelf, known.members) < (entry.shelf, entry.members) {
                *known = entry;
            }
            return;
        }
        if entries.len() >= self.max
            && let Some(&other) = entries.keys().next()
        {
            entries.remove(&other);
        }
        entries.insert((account, folder), entry);
    }
}
