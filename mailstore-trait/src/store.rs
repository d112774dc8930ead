//! The storage contract: one mailbox that every protocol agrees on.
//!
//! **Order.** An account has one change counter. Every committed version of an object takes the next number, given
//! inside the commit together with UIDs and ids, contiguous within a batch. Whoever sees change N sees everything
//! before N.
//!
//! **Durability.** When [`commit`](MailStore::commit) answers `Ok`, the batch survives a power cut, octets included.
//!
//! **Cancelling.** Dropping the future of any method leaves all of it done or nothing, never half.
//!
//! **Reading.** One question, one snapshot, no older than the last commit that was answered. No snapshot outlives its
//! answer, and no reader waits for a writer.
//!
//! **What to write.** A backend is four traits: [`MailStore`], its [`Upload`]s, [`ChangeHints`] and [`Leases`]; with
//! [`QueueStore`] mail can leave, too. Rows are handed out through [`ItemPageBuilder`](crate::item::ItemPageBuilder), UIDs
//! through a [`UidMap`](crate::uid_set::UidMap). Begin with the promises of the conformance kit
//! (`mailstore_trait::testkit::conformance`), which name what is still missing.

use std::time::Duration;

use bytes::Bytes;

use crate::acl::AclStore;
use crate::batch::{Batch, Committed, Staged};
use crate::change::{ChangePage, ChangesOptions};
use crate::error::{CommitError, ReadError, UploadError};
use crate::folder::{FolderList, FolderView, Role};
use crate::future::BoxFuture;
use crate::hints::ChangeHints;
use crate::id::{AccountId, EmailId, FolderId, ModSeq};
use crate::item::{ItemPage, ItemsOptions};
use crate::leases::Leases;
use crate::metadata::MetadataStore;
use crate::queue::QueueStore;
use crate::quota::QuotaStore;
use crate::search::SearchStore;
use crate::uid_set::UidSet;

/// What a store can do in one step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Caps {
    /// Accounts in one atomic batch; 1 is legal.
    pub max_accounts: usize,
    /// Messages that one operation, and operations that one batch, may touch.
    pub max_ops: usize,
    /// The largest message, in octets.
    pub max_message: u64,
}

impl Caps {
    /// Caps of a store that takes this much.
    #[must_use]
    pub const fn new(max_accounts: usize, max_ops: usize, max_message: u64) -> Caps {
        Caps { max_accounts, max_ops, max_message }
    }
}

/// An account at one moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct AccountState {
    /// Its change counter, at a batch end.
    pub at: ModSeq,
    /// Messages in all its folders.
    pub messages: u64,
    /// Their octets, each place counted.
    pub octets: u64,
    /// The most octets it may hold; `None` for no limit.
    pub quota: Option<u64>,
}

impl AccountState {
    /// An account's state.
    #[must_use]
    pub const fn new(at: ModSeq, messages: u64, octets: u64, quota: Option<u64>) -> AccountState {
        AccountState { at, messages, octets, quota }
    }
}

/// How to open a folder.
#[derive(Clone, Copy, Debug, Default)]
#[non_exhaustive]
pub struct ViewOptions {
    /// Claim the messages nobody claimed before as recent (RFC 3501 §2.3.2): SELECT does, EXAMINE
    /// and STATUS only learn of them.
    pub claim_recent: bool,
}

impl ViewOptions {
    /// Claiming recent messages or not.
    #[must_use]
    pub fn claiming_recent(claim_recent: bool) -> ViewOptions {
        ViewOptions { claim_recent }
    }
}

/// What is known of octets before they come.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct UploadOptions {
    /// How many are expected; a hint.
    pub size: Option<u64>,
    /// More than this many fail with [`UploadError::TooLarge`].
    pub limit: u64,
}

impl UploadOptions {
    /// At most `limit` octets.
    #[must_use]
    pub fn new(limit: u64) -> UploadOptions {
        UploadOptions { size: None, limit }
    }

    /// The same with an expected size.
    #[must_use]
    pub fn expecting(self, size: u64) -> UploadOptions {
        UploadOptions { size: Some(size), ..self }
    }
}

/// Octets on their way in. Dropping it forgets them.
pub trait Upload: Send {
    /// Takes the next octets. The answer is the back-pressure: it comes when the store has let go of them.
    ///
    /// # Errors
    /// After an error the upload is over; drop it.
    fn write(&mut self, octets: Bytes) -> BoxFuture<'_, Result<(), UploadError>>;

    /// Ends the upload. Nothing is visible before a commit names the result.
    ///
    /// The store runs the octets through [`Ingest`](crate::mime::Ingest) as they pass, for the skeleton and the summary of
    /// [`Staged`]. One that leaves them empty keeps the contract, but every FETCH of a structure scans its message anew.
    fn finish(self: Box<Self>) -> BoxFuture<'static, Result<Staged, UploadError>>;
}

/// One mailbox system. See the [module documentation](self) for the promises every method keeps.
pub trait MailStore: Send + Sync {
    /// What this store can do in one step. Never changes while it is open.
    fn caps(&self) -> Caps;

    /// Makes an account with an inbox and a folder for each of these roles and names; does nothing when it exists.
    ///
    /// # Errors
    /// As [`commit`](MailStore::commit).
    fn provision<'a>(
        &'a self,
        account: AccountId,
        folders: &'a [(Role, &'a str)],
    ) -> BoxFuture<'a, Result<(), CommitError>>;

    /// The account's counters.
    ///
    /// # Errors
    /// [`ReadError::NotFound`] when there is no such account.
    fn account(&self, account: AccountId) -> BoxFuture<'_, Result<AccountState, ReadError>>;

    /// All folders and subscriptions of the account.
    ///
    /// # Errors
    /// [`ReadError::NotFound`] when there is no such account.
    fn folders(&self, account: AccountId) -> BoxFuture<'_, Result<FolderList, ReadError>>;

    /// Opens a folder: its numbers and its UIDs at one moment.
    ///
    /// # Errors
    /// [`ReadError::NotFound`] when there is no such folder or it is a name only.
    fn view(
        &self,
        account: AccountId,
        folder: FolderId,
        options: ViewOptions,
    ) -> BoxFuture<'_, Result<FolderView, ReadError>>;

    /// Rows of these messages, ascending by UID; those not there are passed over. Ask again from
    /// [`ItemPage::next`] for the rest.
    ///
    /// # Errors
    /// [`ReadError::NotFound`] when there is no such folder.
    fn items<'a>(
        &'a self,
        account: AccountId,
        folder: FolderId,
        uids: &'a UidSet,
        options: ItemsOptions,
    ) -> BoxFuture<'a, Result<ItemPage, ReadError>>;

    /// The newest state of everything that changed after a cursor, removals included, ascending by change.
    ///
    /// # Errors
    /// [`ReadError::Gap`] when removals since the cursor are no longer all known, or the cursor lies ahead of the account
    /// (it is from a future that was lost); never silence.
    fn changes(&self, account: AccountId, options: ChangesOptions) -> BoxFuture<'_, Result<ChangePage, ReadError>>;

    /// A non-empty piece of a message from `offset`, at most `max` octets; empty only at its end.
    ///
    /// Messages removed a moment ago stay readable for a grace period.
    ///
    /// # Errors
    /// [`ReadError::NotFound`] when the account has no such message.
    fn read(
        &self,
        account: AccountId,
        email: EmailId,
        offset: u64,
        max: usize,
    ) -> BoxFuture<'_, Result<Bytes, ReadError>>;

    /// Begins an upload.
    ///
    /// # Errors
    /// [`UploadError::TooLarge`] at once when the expected size is over the limit.
    fn upload(&self, options: UploadOptions) -> BoxFuture<'_, Result<Box<dyn Upload>, UploadError>>;

    /// Does everything in the batch, or nothing; answers when it is durable.
    ///
    /// Repeating a batch whose id was committed in the last seven days returns the first result and does nothing, whatever
    /// has become of its fence. A batch that failed was not committed, and its id may be used again.
    ///
    /// # Errors
    /// See [`CommitError`]; only after [`CommitError::Unknown`] may anything have been done.
    fn commit(&self, batch: Batch) -> BoxFuture<'_, Result<Committed, CommitError>>;

    /// Forgets removals of at least this age; the folders' floors rise to the newest one forgotten.
    ///
    /// # Errors
    /// As [`commit`](MailStore::commit).
    fn forget_removals(&self, account: AccountId, older_than: Duration) -> BoxFuture<'_, Result<(), CommitError>>;

    /// Where to learn of changes.
    fn hints(&self) -> &dyn ChangeHints;

    /// Where to get leases.
    fn leases(&self) -> &dyn Leases;

    /// The queue, when this store keeps one.
    fn as_queue(&self) -> Option<&dyn QueueStore> {
        None
    }

    /// Quotas, when this store keeps them; without, QUOTA is off the wire.
    fn as_quota(&self) -> Option<&dyn QuotaStore> {
        None
    }

    /// Lists of who may use folders, when this store keeps them; without, ACL is off the wire.
    fn as_acl(&self) -> Option<&dyn AclStore> {
        None
    }

    /// Annotations, when this store keeps them; without, METADATA is off the wire.
    fn as_metadata(&self) -> Option<&dyn MetadataStore> {
        None
    }

    /// The full-text index, when this store keeps one.
    fn as_search(&self) -> Option<&dyn SearchStore> {
        None
    }
}
