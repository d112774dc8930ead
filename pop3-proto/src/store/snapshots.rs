//! Large maildrops as they were at their last login, so that the next one reads only what changed since.
//!
//! A snapshot is 24 octets a message; reading it anew is a row of the store for each. What is remembered is never
//! believed: the store tells what changed since its change number, removals included, or answers that it no longer
//! knows, and then everything is read again. So any number of servers over one store may remember, each for itself.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use mailstore_trait::change::{ChangeKind, ChangesOptions};
use mailstore_trait::error::ReadError;
use mailstore_trait::id::{AccountId, FolderId, ModSeq, Uid, UidValidity};
use mailstore_trait::item::{ItemsOptions, Projection};
use mailstore_trait::store::MailStore;
use mailstore_trait::uid_set::UidSet;

use crate::maildrop::Message;

/// Smaller maildrops are read anew as fast as they are brought up to date.
const LEAST: usize = 1_000;

/// Changes read in one question.
const CHANGES: usize = 1_000;

/// A maildrop at one moment.
#[derive(Clone, Debug)]
pub(super) struct Snapshot {
    pub(super) inbox: FolderId,
    pub(super) uid_validity: UidValidity,
    /// Everything up to this change is in it.
    pub(super) at: ModSeq,
    /// Every message lies before this UID.
    pub(super) end: Uid,
    /// Ascending by UID.
    pub(super) messages: Arc<Vec<Message>>,
}

/// Snapshots of large maildrops, kept in memory for their next login.
#[derive(Debug)]
pub struct Snapshots {
    state: Mutex<State>,
    most: usize,
}

#[derive(Debug, Default)]
struct State {
    entries: HashMap<AccountId, Entry>,
    /// Messages in all of them.
    held: usize,
    /// Counts logins, to know the oldest.
    logins: u64,
}

#[derive(Debug)]
struct Entry {
    snapshot: Snapshot,
    used: u64,
}

impl Default for Snapshots {
    /// A million messages: 24 MB.
    fn default() -> Snapshots {
        Snapshots::with_capacity(1_000_000)
    }
}

impl Snapshots {
    /// Remembers at most so many messages in all, 24 octets each; those of the latest logins. 0 remembers nothing.
    #[must_use]
    pub fn with_capacity(messages: usize) -> Snapshots {
        Snapshots { state: Mutex::default(), most: messages }
    }

    /// Whether a maildrop of this size is worth it.
    pub(super) fn wants(&self, messages: usize) -> bool {
        (LEAST..=self.most).contains(&messages)
    }

    pub(super) fn find(&self, account: AccountId) -> Option<Snapshot> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.logins += 1;
        let logins = state.logins;
        let entry = state.entries.get_mut(&account)?;
        entry.used = logins;
        Some(entry.snapshot.clone())
    }

    pub(super) fn remember(&self, account: AccountId, snapshot: Snapshot) {
        if !self.wants(snapshot.messages.len()) {
            return;
        }
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.forget(account);
        state.held += snapshot.messages.len();
        let used = state.logins;
        state.entries.insert(account, Entry { snapshot, used });
        while state.held > self.most {
            // Every entry holds a thousand messages, so there are few to look through.
            let others = state.entries.iter().filter(|(other, _)| **other != account);
            let Some((&oldest, _)) = others.min_by_key(|(_, entry)| entry.used) else { break };
            state.forget(oldest);
        }
    }
}

impl State {
    fn forget(&mut self, account: AccountId) {
        if let Some(entry) = self.entries.remove(&account) {
            self.held -= entry.snapshot.messages.len();
        }
    }
}

impl Snapshot {
    /// Brings it up to everything before `end`; `None` when reading anew is the better way.
    pub(super) async fn follow(
        mut self,
        store: &dyn MailStore,
        account: AccountId,
        end: Uid,
    ) -> Result<Option<Snapshot>, ReadError> {
        let most = (self.messages.len() / 4).max(CHANGES);
        let (mut gone, mut told) = (UidSet::new(), 0);
        loop {
            let question = ChangesOptions::since(self.at).in_folder(self.inbox).at_most(CHANGES);
            let page = match store.changes(account, question).await {
                Ok(page) => page,
                Err(ReadError::Gap { .. } | ReadError::NotFound) => return Ok(None),
                Err(error) => return Err(error),
            };
            told += page.records.len();
            for record in &page.records {
                match record.item {
                    // What came since lies behind; only flags of what lies before may have changed.
                    Some((_, uid)) if uid >= self.end => {}
                    Some(_) if ChangeKind::SEEN.union(ChangeKind::FLAGS).contains(record.kind) => {}
                    Some((_, uid)) if record.kind.contains(ChangeKind::REMOVED) => gone.insert(uid),
                    // Anything else is looked at row by row; so is an inbox that is not the same folder.
                    Some(_) => return Ok(None),
                    None if record.kind.contains(ChangeKind::REMOVED) => return Ok(None),
                    None => {}
                }
            }
            self.at = page.upto;
            if told > most {
                return Ok(None);
            }
            if !page.more {
                break;
            }
        }
        if gone.is_empty() && self.end >= end {
            return Ok(Some(self));
        }
        let mut messages = Arc::unwrap_or_clone(self.messages);
        if !gone.is_empty() {
            messages.retain(|message| !gone.contains(message.uid()));
        }
        while self.end < end {
            let (page, next) = page(store, account, self.inbox, self.end, end, usize::MAX).await?;
            messages.extend(page);
            self.end = next.unwrap_or(end);
        }
        self.messages = Arc::new(messages);
        Ok(Some(self))
    }
}

/// Messages from `first` on and before `end`, and from where to go on when there are more.
pub(super) async fn page(
    store: &dyn MailStore,
    account: AccountId,
    inbox: FolderId,
    first: Uid,
    end: Uid,
    max: usize,
) -> Result<(Vec<Message>, Option<Uid>), ReadError> {
    let Some(last) = Uid::new(end.value().saturating_sub(1)).filter(|last| first <= *last) else {
        return Ok((Vec::new(), None));
    };
    let mut uids = UidSet::new();
    uids.insert_range(first..=last);
    let mut options = ItemsOptions::new(Projection::empty());
    options.max_rows = max;
    let rows = store.items(account, inbox, &uids, options).await?;
    let messages = rows.rows().iter().map(|row| Message::new(row.item, row.generation, row.uid, row.size)).collect();
    // A page that does not get on is the last.
    Ok((messages, rows.next.filter(|next| *next > first)))
}

#[cfg(test)]
mod tests {
    use mailstore_trait::id::ItemId;

    use super::*;

    fn account(number: u64) -> AccountId {
        AccountId::new(number).unwrap()
    }

    fn snapshot(messages: u32) -> Snapshot {
        let message = |uid| Message::new(ItemId::new(u64::from(uid)).unwrap(), 0, Uid::new(uid).unwrap(), 1);
        Snapshot {
            inbox: FolderId::new(1).unwrap(),
            uid_validity: UidValidity::new(1).unwrap(),
            at: ModSeq::new(1).unwrap(),
            end: Uid::new(messages + 1).unwrap(),
            messages: Arc::new((1..=messages).map(message).collect()),
        }
    }

    #[test]
    fn the_latest_logins_are_remembered_within_bounds() {
        let snapshots = Snapshots::with_capacity(3_000);
        (1..=2).for_each(|number| snapshots.remember(account(number), snapshot(1_200)));
        assert!(snapshots.find(account(1)).is_some());
        snapshots.remember(account(3), snapshot(1_200));
        let kept = [1, 2, 3].map(|number| snapshots.find(account(number)).is_some());
        assert_eq!(kept, [true, false, true]);
        snapshots.remember(account(1), snapshot(1_500));
        assert_eq!(snapshots.state.lock().unwrap().held, 2_700);
        snapshots.remember(account(4), snapshot(3_001));
        snapshots.remember(account(5), snapshot(10));
        assert!(snapshots.find(account(4)).is_none() && snapshots.find(account(5)).is_none());
        let nothing = Snapshots::with_capacity(0);
        nothing.remember(account(1), snapshot(1_000));
        assert!(nothing.find(account(1)).is_none());
    }
}
