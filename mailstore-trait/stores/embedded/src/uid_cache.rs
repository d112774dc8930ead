//! Folders' UIDs in memory, shared by all sessions, checked against the folder's row inside the snapshot that is read.
//!
//! An entry says at which change of membership it was right. A reader whose snapshot holds that very number may use it
//! as it is; one that is further on takes out the tombstones and puts in the UIDs since, both of which are few.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use mailstore_trait::id::{AccountId, FolderId, Uid};
use mailstore_trait::uid_set::{UidMap, UidSet};
use rusqlite::Connection;

use crate::env::sql;
use crate::fault::Result;
use crate::rows::FolderRow;

type Key = (AccountId, FolderId);

pub(crate) struct UidCache {
    entries: Mutex<HashMap<Key, Entry>>,
    max: usize,
}

#[derive(Clone)]
struct Entry {
    /// The last change of membership this holds.
    members: u64,
    uid_validity: u32,
    uid_next: u32,
    uids: Arc<UidMap>,
}

impl UidCache {
    pub(crate) fn new(max: usize) -> UidCache {
        UidCache { entries: Mutex::default(), max: max.max(1) }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Key, Entry>> {
        self.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The UIDs of a folder in this snapshot.
    pub(crate) fn uids(&self, connection: &Connection, account: AccountId, folder: &FolderRow) -> Result<Arc<UidMap>> {
        let key = (account, folder.id);
        let known = self.lock().get(&key).filter(|entry| entry.uid_validity == folder.uid_validity).cloned();
        let uids = match known {
            Some(entry) if entry.members == folder.members => return Ok(entry.uids),
            Some(entry) if entry.members < folder.members && entry.members >= folder.floor => {
                Arc::new(follow(connection, key, entry)?)
            }
            _ => Arc::new(read(connection, key)?),
        };
        let entry = Entry {
            members: folder.members,
            uid_validity: folder.uid_validity,
            uid_next: folder.uid_next,
            uids: Arc::clone(&uids),
        };
        self.put(key, entry);
        Ok(uids)
    }

    fn put(&self, key: Key, entry: Entry) {
        let mut entries = self.lock();
        if let Some(known) = entries.get_mut(&key) {
            // An older snapshot must not undo a newer one's work.
            if known.members < entry.members || known.uid_validity != entry.uid_validity {
                *known = entry;
            }
            return;
        }
        if entries.len() >= self.max
            && let Some(&other) = entries.keys().next()
        {
            entries.remove(&other);
        }
        entries.insert(key, entry);
    }
}

/// All UIDs, from the index that is a seventh of the rows; what was added in order is nearly in order there.
fn read(connection: &Connection, (account, folder): Key) -> Result<UidMap> {
    let mut statement =
        connection.prepare_cached("SELECT uid FROM item INDEXED BY item_change WHERE account = ?1 AND folder = ?2")?;
    let mut rows = statement.query([sql(account.value()), sql(folder.value())])?;
    let mut uids = Vec::new();
    while let Some(row) = rows.next()? {
        uids.extend(Uid::new(row.get(0)?));
    }
    uids.sort_unstable();
    Ok(uids.into_iter().collect())
}

fn follow(connection: &Connection, (account, folder): Key, entry: Entry) -> Result<UidMap> {
    let Entry { members, uid_next, uids, .. } = entry;
    let mut uids = Arc::unwrap_or_clone(uids);
    let key = (sql(account.value()), sql(folder.value()));
    let mut statement =
        connection.prepare_cached("SELECT uid FROM gone WHERE account = ?1 AND folder = ?2 AND change > ?3")?;
    let mut rows = statement.query([key.0, key.1, sql(members)])?;
    let mut gone = Vec::new();
    while let Some(row) = rows.next()? {
        gone.extend(Uid::new(row.get(0)?));
    }
    gone.sort_unstable();
    uids.remove(&gone.into_iter().collect::<UidSet>());
    let mut statement = connection
        .prepare_cached("SELECT uid FROM item WHERE account = ?1 AND folder = ?2 AND uid >= ?3 ORDER BY uid")?;
    let mut rows = statement.query([key.0, key.1, i64::from(uid_next)])?;
    while let Some(row) = rows.next()? {
        if let Some(uid) = Uid::new(row.get(0)?) {
            uids.push(uid);
        }
    }
    Ok(uids)
}
