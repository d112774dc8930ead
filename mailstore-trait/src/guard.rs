//! A store as one principal may see it: the one place where rights are enforced (RFC 4314 §4).
//!
//! The principal's own account is all theirs. Of another account there is what its owner shared
//! ([`acl`](crate::acl)): without the look-up right a folder answers exactly as one that does not exist, with it and without
//! the right that is needed the answer is [`OpError::Denied`]. Rights are asked anew by every question, before the store
//! does it: one that is taken away ends with the next question.
//!
//! | what | rights |
//! |---|---|
//! | a folder's name and numbers | `l`; its counts, messages and changes also `r` |
//! | add, copy to | `i`; flags without their right (`s`, `t`, `w`) are left out, and nothing fails for it |
//! | change flags | `s` for `\Seen`, `t` for `\Deleted`, `w` for the others; fails when nothing is left of it |
//! | expunge | `e`; removing what is not marked also `t` |
//! | move | `r`, `t` and `e` where it was, `i` where it goes |
//! | make a folder | `k` on its parent; at the top only the owner |
//! | rename | `x` on the folder, `k` on the new parent |
//! | delete | `x` |
//! | roles, subscriptions | the owner only |
//! | read and change the list of rights | `a` |
//! | annotations | `l` and one of `r`, `s`, `w`, `i`, `p` (RFC 5464 §3.3); private ones are the principal's own |
//! | quota | `i` on any folder to see it; set by administrators only |

mod abilities;
mod commit;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, VecDeque};
use std::fmt;
use std::ops::Deref;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;

use crate::acl::{AclStore, Allowed, Rights, settable};
use crate::batch::{Batch, Committed};
use crate::change::{ChangePage, ChangesOptions};
use crate::error::{AclError, CommitError, OpError, ReadError, UploadError};
use crate::flags::FlagSet;
use crate::folder::{Counts, Folder, FolderList, FolderView, Role};
use crate::future::BoxFuture;
use crate::hints::ChangeHints;
use crate::id::{AccountId, EmailId, FolderId, ModSeq, Uid};
use crate::item::{ItemPage, ItemsOptions};
use crate::leases::Leases;
use crate::metadata::MetadataStore;
use crate::queue::QueueStore;
use crate::quota::QuotaStore;
use crate::search::SearchStore;
use crate::store::{AccountState, Caps, MailStore, Upload, UploadOptions, ViewOptions};
use crate::uid_set::UidSet;

/// Messages of other accounts whose rows were handed out and whose octets may be read for it.
const REMEMBERED: usize = 16 * 1024;

/// A store as one principal may see it. One for each login: it remembers which messages of others it showed.
pub struct Guard<S> {
    store: S,
    viewer: AccountId,
    administrator: bool,
    shown: Mutex<Shown>,
}

/// Messages that were shown, with the folder they were shown in.
#[derive(Debug, Default)]
struct Shown {
    folders: BTreeMap<(AccountId, EmailId), FolderId>,
    order: VecDeque<(AccountId, EmailId)>,
}

impl<S> fmt::Debug for Guard<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Guard(account {})", self.viewer)
    }
}

/// What a question needs, in the words of its answer.
trait Needs {
    fn needs(&self, folder: FolderId, wanted: Rights) -> Result<Rights, OpError>;
    fn reads(&self, folder: FolderId) -> Result<Rights, ReadError>;
}

impl Needs for Allowed {
    fn needs(&self, folder: FolderId, wanted: Rights) -> Result<Rights, OpError> {
        let rights = self.rights(folder);
        match rights.contains(wanted) {
            true => Ok(rights),
            false if rights.is_empty() => Err(OpError::NotFound),
            false => Err(OpError::Denied),
        }
    }

    fn reads(&self, folder: FolderId) -> Result<Rights, ReadError> {
        self.needs(folder, Rights::READ).map_err(|error| match error {
            OpError::Denied => ReadError::Denied,
            _ => ReadError::NotFound,
        })
    }
}

/// What is left of flags for somebody with these rights.
fn masked(flags: &FlagSet, rights: Rights) -> FlagSet {
    let mut left = FlagSet::new();
    if rights.contains(Rights::WRITE) {
        left.clone_from(flags);
    }
    left.system = flags.system & settable(rights);
    left
}

impl<S> Guard<S>
where
    S: Deref + Send + Sync,
    S::Target: MailStore,
{
    /// The store as this principal may see it.
    #[must_use]
    pub fn new(store: S, viewer: AccountId) -> Guard<S> {
        Guard { store, viewer, administrator: false, shown: Mutex::default() }
    }

    /// The same for somebody who may also set quotas and the server's shared annotations.
    #[must_use]
    pub fn administrator(self) -> Guard<S> {
        Guard { administrator: true, ..self }
    }

    /// What the principal may do with the folders of an account.
    ///
    /// # Errors
    /// [`AclError::NotFound`] when there is no such account, or nothing in it that may be looked up.
    pub async fn allowed(&self, account: AccountId) -> Result<Allowed, AclError> {
        if account == self.viewer {
            return Ok(Allowed::Owner);
        }
        let Some(lists) = self.store.as_acl() else { return Err(AclError::NotFound) };
        let lists = lists.acls(account).await?;
        let rights = lists.iter().map(|(folder, acl)| (*folder, acl.rights_of(self.viewer)));
        let visible: Vec<_> = rights.filter(|(_, rights)| rights.contains(Rights::LOOKUP)).collect();
        if visible.is_empty() { Err(AclError::NotFound) } else { Ok(Allowed::Shared(visible)) }
    }

    async fn readable(&self, account: AccountId) -> Result<Allowed, ReadError> {
        self.allowed(account).await.map_err(|error| match error {
            AclError::Busy { retry_after } => ReadError::Busy { retry_after },
            AclError::Corrupt { what } => ReadError::Corrupt { what },
            AclError::Unavailable(source) => ReadError::Unavailable(source),
            _ => ReadError::NotFound,
        })
    }

    fn remember(&self, account: AccountId, folder: FolderId, page: &ItemPage) {
        if account == self.viewer {
            return;
        }
        let mut shown = self.shown.lock().unwrap_or_else(PoisonError::into_inner);
        for row in page.rows() {
            let key = (account, row.email);
            if shown.folders.insert(key, folder).is_none() {
                shown.order.push_back(key);
            }
        }
        while shown.order.len() > REMEMBERED {
            let oldest = shown.order.pop_front();
            oldest.and_then(|oldest| shown.folders.remove(&oldest));
        }
    }

    /// The folder in which this message was shown.
    fn shown_in(&self, account: AccountId, email: EmailId) -> Option<FolderId> {
        let shown = self.shown.lock().unwrap_or_else(PoisonError::into_inner);
        shown.folders.get(&(account, email)).copied()
    }

    async fn may_read(&self, account: AccountId, email: EmailId) -> Result<(), ReadError> {
        let allowed = self.readable(account).await?;
        if allowed != Allowed::Owner {
            let folder = self.shown_in(account, email).ok_or(ReadError::NotFound)?;
            allowed.reads(folder)?;
        }
        Ok(())
    }
}

/// What the list shows of a folder to somebody with these rights.
fn visible(folder: &Folder, rights: Rights) -> Folder {
    let mut folder = folder.clone();
    // What the account's owner keeps where is nobody else's business.
    folder.role = None;
    if !rights.contains(Rights::READ) {
        folder.counts = Counts::default();
        folder.uid_next = Uid::MIN;
        folder.highest_modseq = ModSeq::FIRST;
    }
    folder
}

/// The folders that may be looked up, below bare names for the levels above them.
fn visible_list(list: &FolderList, allowed: &Allowed) -> FolderList {
    let mut shown: BTreeMap<FolderId, Folder> = BTreeMap::new();
    for folder in &list.folders {
        let rights = allowed.rights(folder.id);
        if rights.is_empty() {
            continue;
        }
        shown.insert(folder.id, visible(folder, rights));
        let mut above = folder.parent.and_then(|parent| list.by_id(parent));
        while let Some(parent) = above.filter(|parent| !shown.contains_key(&parent.id)) {
            let rights = allowed.rights(parent.id);
            let mut bare = visible(parent, rights);
            bare.selectable &= !rights.is_empty();
            shown.insert(parent.id, bare);
            above = parent.parent.and_then(|parent| list.by_id(parent));
        }
    }
    FolderList { folders: shown.into_values().collect(), subscriptions: Vec::new(), at: list.at }
}

impl<S> MailStore for Guard<S>
where
    S: Deref + Send + Sync,
    S::Target: MailStore,
{
    fn caps(&self) -> Caps {
        self.store.caps()
    }

    fn provision<'a>(
        &'a self,
        account: AccountId,
        folders: &'a [(Role, &'a str)],
    ) -> BoxFuture<'a, Result<(), CommitError>> {
        Box::pin(async move {
            if account != self.viewer {
                return Err(CommitError::Operation { account: 0, at: 0, error: OpError::NotFound });
            }
            self.store.provision(account, folders).await
        })
    }

    /// Of another account: what lies in the folders that may be read, and no quota.
    fn account(&self, account: AccountId) -> BoxFuture<'_, Result<AccountState, ReadError>> {
        Box::pin(async move {
            let state = self.store.account(account).await;
            match self.readable(account).await? {
                Allowed::Owner => state,
                allowed => {
                    let list = visible_list(&self.store.folders(account).await?, &allowed);
                    let counts = || list.folders.iter().map(|folder| folder.counts);
                    let messages = counts().map(|counts| u64::from(counts.exists)).sum();
                    let octets = counts().map(|counts| counts.octets).sum();
                    Ok(AccountState::new(state?.at, messages, octets, None))
                }
            }
        })
    }

    fn folders(&self, account: AccountId) -> BoxFuture<'_, Result<FolderList, ReadError>> {
        Box::pin(async move {
            // The list before the rights: what is taken away in between does not show.
            let list = self.store.folders(account).await;
            match self.readable(account).await? {
                Allowed::Owner => list,
                allowed => Ok(visible_list(&list?, &allowed)),
            }
        })
    }

    /// Only who may change `\Seen` claims recent messages: others would take them from the owner.
    fn view(
        &self,
        account: AccountId,
        folder: FolderId,
        options: ViewOptions,
    ) -> BoxFuture<'_, Result<FolderView, ReadError>> {
        Box::pin(async move {
            let allowed = self.readable(account).await?;
            let rights = allowed.reads(folder)?;
            let claims = options.claim_recent && rights.contains(Rights::SEEN);
            let mut view = self.store.view(account, folder, ViewOptions::claiming_recent(claims)).await?;
            if allowed != Allowed::Owner {
                view.folder = visible(&view.folder, rights);
            }
            Ok(view)
        })
    }

    fn items<'a>(
        &'a self,
        account: AccountId,
        folder: FolderId,
        uids: &'a UidSet,
        options: ItemsOptions,
    ) -> BoxFuture<'a, Result<ItemPage, ReadError>> {
        Box::pin(async move {
            self.readable(account).await?.reads(folder)?;
            let page = self.store.items(account, folder, uids, options).await?;
            self.remember(account, folder, &page);
            Ok(page)
        })
    }

    /// Of another account: the records of folders that may be looked up, those of their messages where they may be read.
    fn changes(&self, account: AccountId, options: ChangesOptions) -> BoxFuture<'_, Result<ChangePage, ReadError>> {
        Box::pin(async move {
            let allowed = self.readable(account).await?;
            if let Some(folder) = options.folder {
                allowed.reads(folder)?;
            }
            let mut page = self.store.changes(account, options).await?;
            page.records.retain(|record| {
                let wanted = if record.item.is_some() { Rights::READ } else { Rights::LOOKUP };
                allowed.rights(record.folder).contains(wanted)
            });
            Ok(page)
        })
    }

    /// Of another account: messages whose rows [`items`](MailStore::items) showed, as long as the folder they were shown in
    /// may be read.
    fn read(
        &self,
        account: AccountId,
        email: EmailId,
        offset: u64,
        max: usize,
    ) -> BoxFuture<'_, Result<Bytes, ReadError>> {
        Box::pin(async move {
            self.may_read(account, email).await?;
            self.store.read(account, email, offset, max).await
        })
    }

    fn upload(&self, options: UploadOptions) -> BoxFuture<'_, Result<Box<dyn Upload>, UploadError>> {
        self.store.upload(options)
    }

    fn commit(&self, batch: Batch) -> BoxFuture<'_, Result<Committed, CommitError>> {
        Box::pin(self.commit_guarded(batch))
    }

    fn forget_removals(&self, account: AccountId, older_than: Duration) -> BoxFuture<'_, Result<(), CommitError>> {
        Box::pin(async move {
            if account != self.viewer {
                return Err(CommitError::Operation { account: 0, at: 0, error: OpError::NotFound });
            }
            self.store.forget_removals(account, older_than).await
        })
    }

    /// Hints say only that something happened; what it was is asked of [`changes`](MailStore::changes).
    fn hints(&self) -> &dyn ChangeHints {
        self.store.hints()
    }

    fn leases(&self) -> &dyn Leases {
        self.store.leases()
    }

    fn as_queue(&self) -> Option<&dyn QueueStore> {
        self.store.as_queue()
    }

    fn as_quota(&self) -> Option<&dyn QuotaStore> {
        self.store.as_quota().map(|_| -> &dyn QuotaStore { self })
    }

    fn as_acl(&self) -> Option<&dyn AclStore> {
        self.store.as_acl().map(|_| -> &dyn AclStore { self })
    }

    fn as_metadata(&self) -> Option<&dyn MetadataStore> {
        self.store.as_metadata().map(|_| -> &dyn MetadataStore { self })
    }

    fn as_search(&self) -> Option<&dyn SearchStore> {
        self.store.as_search().map(|_| -> &dyn SearchStore { self })
    }
}
