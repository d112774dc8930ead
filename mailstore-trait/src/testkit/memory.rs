//! The reference store: everything in memory, and every result as the contract wants it.
//!
//! [`MemStore`] is normative for results: where another backend answers otherwise, the backend is wrong, or the contract
//! is to be sharpened. It is not normative for durability, for it has none: what is "durable" lives as long as a clone
//! of the store. Its clock stands still until it is moved, and its ids repeat from run to run.
//!
//! ```
//! use mailstore_trait::id::AccountId;
//! use mailstore_trait::store::MailStore;
//! use mailstore_trait::testkit::memory::MemStore;
//!
//! # tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(async {
//! let store = MemStore::new();
//! let account = AccountId::new(1).unwrap();
//! store.provision(account, &[]).await?;
//! assert_eq!(store.folders(account).await?.inbox().unwrap().name, "INBOX");
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! # }).unwrap();
//! ```

mod abilities;
mod account;
mod annotations;
mod hints;
mod index;
mod leases;
mod numbers;
mod queue;
mod rig;
mod shelf;
mod upload;

use std::collections::{BTreeMap, VecDeque};
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::{Bytes, BytesMut};

use crate::acl::AclStore;
use crate::batch::{AccountCommitted, Batch, Committed, Mode, OpOutcome};
use crate::change::{ChangePage, ChangesOptions};
use crate::date::Timestamp;
use crate::error::{CommitError, LeaseError, OpError, ReadError, UploadError};
use crate::folder::{FolderList, FolderView, Role};
use crate::future::BoxFuture;
use crate::hints::ChangeHints;
use crate::id::{AccountId, BatchId, BlobId, EmailId, FolderId, ModSeq, QueueId};
use crate::item::{ItemPage, ItemsOptions};
use crate::leases::{Lease, LeaseScope, Leases};
use crate::metadata::MetadataStore;
use crate::queue::{Leased, QueueEntry, QueueLease, QueueStore};
use crate::quota::QuotaStore;
use crate::search::SearchStore;
use crate::store::{AccountState, Caps, MailStore, Upload, UploadOptions, ViewOptions};
use crate::testkit::environment::START;
use crate::testkit::random::Random;
use crate::uid_set::UidSet;

pub use rig::MemRig;

use account::{Account, Moment, Refused};
use annotations::Annotations;
use hints::MemHints;
use index::Index;
use leases::MemLeases;
use queue::MemQueue;
use upload::MemUpload;

/// How long a batch's results are kept.
const REPLAY: Duration = Duration::from_secs(7 * 86_400);

#[derive(Debug)]
struct State {
    now: Timestamp,
    random: Random,
    grace: Duration,
    accounts: BTreeMap<AccountId, Account>,
    queue: MemQueue,
    leases: MemLeases,
    annotations: Annotations,
    indexes: BTreeMap<AccountId, Index>,
    done: BTreeMap<BatchId, Committed>,
    done_order: VecDeque<(Timestamp, BatchId)>,
}

#[derive(Debug)]
struct Inner {
    caps: Caps,
    state: Mutex<State>,
    hints: MemHints,
}

impl Drop for Inner {
    fn drop(&mut self) {
        self.hints.end();
    }
}

/// A store in memory. Clones share everything: a clone is a second handle on the same data.
#[derive(Clone)]
pub struct MemStore {
    inner: Arc<Inner>,
}

impl fmt::Debug for MemStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "MemStore({} accounts)", self.with(|state| state.accounts.len()))
    }
}

impl Default for MemStore {
    fn default() -> MemStore {
        MemStore::new()
    }
}

impl MemStore {
    /// What a store made by [`new`](MemStore::new) can do in one step.
    pub const CAPS: Caps = Caps::new(100, 100_000, 1 << 30);

    /// An empty store whose clock stands at [`START`].
    #[must_use]
    pub fn new() -> MemStore {
        MemStore::with_caps(MemStore::CAPS)
    }

    /// An empty store that takes this much in one step.
    #[must_use]
    pub fn with_caps(caps: Caps) -> MemStore {
        let state = State {
            now: START,
            random: Random::new(0),
            grace: Duration::from_secs(3600),
            accounts: BTreeMap::new(),
            queue: MemQueue::default(),
            leases: MemLeases::default(),
            annotations: Annotations::default(),
            indexes: BTreeMap::new(),
            done: BTreeMap::new(),
            done_order: VecDeque::new(),
        };
        MemStore { inner: Arc::new(Inner { caps, state: Mutex::new(state), hints: MemHints::default() }) }
    }

    /// The store's time.
    #[must_use]
    pub fn now(&self) -> Timestamp {
        self.with(|state| state.now)
    }

    /// Sets the store's clock, backwards too.
    pub fn set_clock(&self, now: Timestamp) {
        self.with(|state| state.now = now);
    }

    /// Moves the store's clock on.
    pub fn advance(&self, by: Duration) {
        self.with(|state| state.now = state.now.plus(by));
    }

    /// Gives an account another quota, in octets. Nothing when there is no such account.
    pub fn set_quota(&self, account: AccountId, quota: Option<u64>) {
        self.with(|state| {
            if let Some(account) = state.accounts.get_mut(&account) {
                account.limits.storage = quota;
            }
        });
    }

    /// How long removed messages stay readable; an hour unless set.
    pub fn set_grace(&self, grace: Duration) {
        self.with(|state| state.grace = grace);
    }

    /// Jumps every account, as a store does after a restore or a lossy failover: whatever may have been given out and
    /// lost is never given out again, and cursors from before answer [`ReadError::Gap`].
    pub fn jump(&self) {
        self.with(|state| state.accounts.values_mut().for_each(Account::jump));
    }

    fn with<T>(&self, look: impl FnOnce(&mut State) -> T) -> T {
        look(&mut self.inner.state.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn read_account<T>(
        &self,
        account: AccountId,
        look: impl FnOnce(&mut Account) -> Result<T, ReadError>,
    ) -> Result<T, ReadError> {
        self.with(|state| look(state.accounts.get_mut(&account).ok_or(ReadError::NotFound)?))
    }

    fn commit_now(&self, batch: &Batch) -> Result<Committed, CommitError> {
        let committed = self.with(|state| state.commit(batch, &self.inner.caps))?;
        for account in &committed.accounts {
            self.inner.hints.tell(account.account, account.upto);
        }
        Ok(committed)
    }
}

impl State {
    fn commit(&mut self, batch: &Batch, caps: &Caps) -> Result<Committed, CommitError> {
        while self.done_order.front().is_some_and(|(when, _)| self.now.since(*when) >= REPLAY) {
            let old = self.done_order.pop_front();
            old.and_then(|(_, id)| self.done.remove(&id));
        }
        // Before the fence: a batch that was done stays done, whoever holds the lease now.
        if let Some(first) = self.done.get(&batch.id) {
            return Ok(first.clone());
        }
        if batch.fence.as_ref().is_some_and(|fence| !self.leases.allows(fence)) {
            return Err(CommitError::Fenced);
        }
        let ops = batch.accounts.iter().map(|account| account.ops.len()).sum::<usize>() + batch.queue.len();
        if batch.accounts.len() > caps.max_accounts || ops > caps.max_ops {
            return Err(CommitError::TooLarge);
        }
        // One operation is done whole or not at all; only more need a copy to go back to. Folders are shared between
        // the state and the copy until one of them changes.
        let before = (ops > 1).then(|| {
            let touched = batch.accounts.iter().filter_map(|ops| Some((ops.account, self.accounts.get(&ops.account)?)));
            let touched: Vec<_> = touched.map(|(id, account)| (id, account.clone())).collect();
            (touched, self.queue.clone())
        });
        let done = self.apply(batch, caps);
        match &done {
            Ok(committed) => {
                self.done.insert(batch.id, committed.clone());
                self.done_order.push_back((self.now, batch.id));
            }
            Err(_) => {
                if let Some((accounts, queue)) = before {
                    self.accounts.extend(accounts);
                    self.queue = queue;
                }
            }
        }
        done
    }

    fn apply(&mut self, batch: &Batch, caps: &Caps) -> Result<Committed, CommitError> {
        let mut committed = Committed { accounts: Vec::new(), queued: Vec::new() };
        for (at_account, ops) in batch.accounts.iter().enumerate() {
            let mut moment = Moment {
                now: self.now,
                random: &mut self.random,
                max_ops: caps.max_ops,
                max_message: caps.max_message,
            };
            let operation = |at, error| CommitError::Operation { account: at_account, at, error };
            let mut outcomes = Vec::new();
            let account = self.accounts.get_mut(&ops.account).ok_or_else(|| operation(0, OpError::NotFound))?;
            account.fade(self.now, self.grace);
            for (at, op) in ops.ops.iter().enumerate() {
                outcomes.push(match (account.apply(op, &mut moment), batch.mode) {
                    (Ok(outcome), _) => outcome,
                    (Err(Refused::Op(error)), Mode::PerOperation) => OpOutcome::Failed(error),
                    (Err(Refused::Op(error)), Mode::AllOrNothing) => return Err(operation(at, error)),
                    (Err(Refused::Batch(error)), _) => return Err(error),
                });
            }
            committed.accounts.push(AccountCommitted { account: ops.account, upto: account.at(), outcomes });
        }
        for op in &batch.queue {
            committed.queued.extend(self.queue.apply(op)?);
        }
        Ok(committed)
    }

    fn provision(&mut self, id: AccountId, folders: &[(Role, &str)]) -> Result<Option<ModSeq>, CommitError> {
        if self.accounts.contains_key(&id) {
            return Ok(None);
        }
        let mut account = Account::new(self.now);
        let failed = |at| move |error| CommitError::Operation { account: 0, at, error };
        account.create(None, "INBOX", Some(Role::Inbox)).map_err(failed(0))?;
        for (at, (role, name)) in folders.iter().enumerate() {
            account.create(None, name, Some(*role)).map_err(failed(at))?;
        }
        let upto = account.at();
        self.accounts.insert(id, account);
        Ok(Some(upto))
    }
}

/// A piece from `offset`: never empty but at the end.
fn piece(content: &Bytes, offset: u64, max: usize) -> Bytes {
    let start = usize::try_from(offset).unwrap_or(usize::MAX).min(content.len());
    let end = start.saturating_add(max.max(1)).min(content.len());
    content.slice(start..end)
}

impl MailStore for MemStore {
    fn caps(&self) -> Caps {
        self.inner.caps
    }

    fn provision<'a>(
        &'a self,
        account: AccountId,
        folders: &'a [(Role, &'a str)],
    ) -> BoxFuture<'a, Result<(), CommitError>> {
        Box::pin(async move {
            if let Some(upto) = self.with(|state| state.provision(account, folders))? {
                self.inner.hints.tell(account, upto);
            }
            Ok(())
        })
    }

    fn account(&self, account: AccountId) -> BoxFuture<'_, Result<AccountState, ReadError>> {
        Box::pin(async move { self.read_account(account, |account| Ok(account.state())) })
    }

    fn folders(&self, account: AccountId) -> BoxFuture<'_, Result<FolderList, ReadError>> {
        Box::pin(async move { self.read_account(account, |account| Ok(account.folders())) })
    }

    fn view(
        &self,
        account: AccountId,
        folder: FolderId,
        options: ViewOptions,
    ) -> BoxFuture<'_, Result<FolderView, ReadError>> {
        Box::pin(async move {
            self.read_account(account, |account| {
                let at = account.at();
                let shelf = account.shelf_mut(folder).map_err(|_| ReadError::NotFound)?;
                Ok(shelf.view(at, options.claim_recent))
            })
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
            self.read_account(account, |account| {
                if options.at_least.is_some_and(|at_least| at_least > account.at()) {
                    return Err(ReadError::Busy { retry_after: Duration::from_secs(1) });
                }
                account.page(folder, uids, options).map_err(|_| ReadError::NotFound)
            })
        })
    }

    fn changes(&self, account: AccountId, options: ChangesOptions) -> BoxFuture<'_, Result<ChangePage, ReadError>> {
        Box::pin(async move { self.read_account(account, |account| account.changes(&options)) })
    }

    fn read(
        &self,
        account: AccountId,
        email: EmailId,
        offset: u64,
        max: usize,
    ) -> BoxFuture<'_, Result<Bytes, ReadError>> {
        Box::pin(async move {
            let (now, grace) = self.with(|state| (state.now, state.grace));
            self.read_account(account, |account| {
                let content = account.read(email, now, grace).ok_or(ReadError::NotFound)?;
                Ok(piece(&content, offset, max))
            })
        })
    }

    fn upload(&self, options: UploadOptions) -> BoxFuture<'_, Result<Box<dyn Upload>, UploadError>> {
        Box::pin(async move {
            let limit = options.limit.min(self.inner.caps.max_message);
            if options.size.is_some_and(|size| size > limit) {
                return Err(UploadError::TooLarge { limit });
            }
            let blob = BlobId(self.with(|state| state.random.id()));
            let upload: Box<dyn Upload> = Box::new(MemUpload { blob, octets: BytesMut::new(), limit });
            Ok(upload)
        })
    }

    fn commit(&self, batch: Batch) -> BoxFuture<'_, Result<Committed, CommitError>> {
        Box::pin(async move { self.commit_now(&batch) })
    }

    fn forget_removals(&self, account: AccountId, older_than: Duration) -> BoxFuture<'_, Result<(), CommitError>> {
        Box::pin(async move {
            let missing = CommitError::Operation { account: 0, at: 0, error: OpError::NotFound };
            self.with(|state| {
                state.accounts.get_mut(&account).ok_or(missing)?.forget_removals(state.now, older_than);
                Ok(())
            })
        })
    }

    fn hints(&self) -> &dyn ChangeHints {
        &self.inner.hints
    }

    fn leases(&self) -> &dyn Leases {
        self
    }

    fn as_queue(&self) -> Option<&dyn QueueStore> {
        Some(self)
    }

    fn as_quota(&self) -> Option<&dyn QuotaStore> {
        Some(self)
    }

    fn as_acl(&self) -> Option<&dyn AclStore> {
        Some(self)
    }

    fn as_metadata(&self) -> Option<&dyn MetadataStore> {
        Some(self)
    }

    fn as_search(&self) -> Option<&dyn SearchStore> {
        Some(self)
    }
}

impl Leases for MemStore {
    fn acquire<'a>(
        &'a self,
        scope: &'a LeaseScope,
        owner: [u8; 16],
        ttl: Duration,
    ) -> BoxFuture<'a, Result<Lease, LeaseError>> {
        Box::pin(async move { self.with(|state| state.leases.acquire(scope, owner, state.now, ttl)) })
    }

    fn renew<'a>(&'a self, lease: &'a Lease, ttl: Duration) -> BoxFuture<'a, Result<Lease, LeaseError>> {
        Box::pin(async move { self.with(|state| state.leases.renew(lease, state.now, ttl)) })
    }

    fn release<'a>(&'a self, lease: &'a Lease) -> BoxFuture<'a, Result<(), LeaseError>> {
        Box::pin(async move {
            self.with(|state| state.leases.release(lease));
            Ok(())
        })
    }
}

impl QueueStore for MemStore {
    fn lease(&self, now: Timestamp, max: usize, ttl: Duration) -> BoxFuture<'_, Result<Vec<Leased>, ReadError>> {
        Box::pin(async move { Ok(self.with(|state| state.queue.lease(now, max, ttl))) })
    }

    fn next_due(&self) -> BoxFuture<'_, Result<Option<Timestamp>, ReadError>> {
        Box::pin(async move { Ok(self.with(|state| state.queue.next_due())) })
    }

    fn list(&self, after: Option<QueueId>, max: usize) -> BoxFuture<'_, Result<Vec<QueueEntry>, ReadError>> {
        Box::pin(async move { Ok(self.with(|state| state.queue.list(after, max))) })
    }

    fn read(&self, id: QueueId, offset: u64, max: usize) -> BoxFuture<'_, Result<Bytes, ReadError>> {
        Box::pin(async move {
            let content = self.with(|state| state.queue.content(id)).ok_or(ReadError::NotFound)?;
            Ok(piece(&content, offset, max))
        })
    }

    fn renew<'a>(
        &'a self,
        leases: &'a [QueueLease],
        until: Timestamp,
    ) -> BoxFuture<'a, Result<Vec<QueueLease>, ReadError>> {
        Box::pin(async move { Ok(self.with(|state| state.queue.renew(leases, until))) })
    }

    fn flush<'a>(&'a self, ids: Option<&'a [QueueId]>, now: Timestamp) -> BoxFuture<'a, Result<u64, ReadError>> {
        Box::pin(async move { Ok(self.with(|state| state.queue.flush(ids, now))) })
    }

    fn hold<'a>(&'a self, ids: &'a [QueueId]) -> BoxFuture<'a, Result<u64, ReadError>> {
        Box::pin(async move { Ok(self.with(|state| state.queue.hold(ids))) })
    }

    fn release<'a>(&'a self, ids: &'a [QueueId], now: Timestamp) -> BoxFuture<'a, Result<u64, ReadError>> {
        Box::pin(async move { Ok(self.with(|state| state.queue.release(ids, now))) })
    }

    fn discard(&self, id: QueueId) -> BoxFuture<'_, Result<bool, ReadError>> {
        Box::pin(async move { Ok(self.with(|state| state.queue.discard(id))) })
    }
}
