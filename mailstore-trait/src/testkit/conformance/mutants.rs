//! Stores that break one promise each, on purpose: the kit must catch every one.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;

use super::fixture::batch_id;
use super::{Data, PROMISES, Rig, check, run};
use crate::acl::{Acl, AclChange, AclEntry, AclStore, Rights, RightsChange};
use crate::batch::{Batch, Committed, Content, Mode, Op, OpOutcome};
use crate::change::{ChangeKind, ChangePage, ChangesOptions};
use crate::date::Timestamp;
use crate::error::{AclError, CommitError, LeaseError, MetadataError, QuotaError, ReadError, UploadError};
use crate::flags::FlagChange;
use crate::folder::{Folder, FolderList, FolderView, Role};
use crate::future::{BoxFuture, BoxStream};
use crate::hints::{ChangeHints, Hint};
use crate::id::{AccountId, EmailId, FolderId, ModSeq, QueueId, UidValidity};
use crate::item::{ItemPage, ItemsOptions};
use crate::leases::{Lease, LeaseScope, Leases};
use crate::metadata::{Depth, Entry, EntryChange, EntryName, MetadataLimits, MetadataStore, Scope, Subject, Wanted};
use crate::query::{Filter, Test};
use crate::queue::{Leased, QueueEntry, QueueLease, QueueStore};
use crate::quota::{Quota, QuotaLimits, QuotaStore};
use crate::search::{Candidates, SearchStore};
use crate::store::{AccountState, Caps, MailStore, Upload, UploadOptions, ViewOptions};
use crate::testkit::memory::{MemRig, MemStore};
use crate::uid_set::UidSet;

/// What is broken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fault {
    None,
    /// One record in each answer of several is left out.
    HoleInChanges,
    /// A page that was cut says it is the last.
    HalfBatchTold,
    /// Removals are not told.
    NoTombstones,
    /// Below the floor the answer is empty.
    SilentGap,
    /// Each operation is a commit of its own.
    NotAtomic,
    /// One failure fails all, whatever the mode.
    ModeIgnored,
    /// A repeated batch is done again.
    NoReplay,
    /// A move is a copy and, later, a removal.
    MoveInTwoSteps,
    /// Every commit takes one number more.
    NumbersWasted,
    /// Flags are read, changed and written back.
    FlagsReadModifyWrite,
    /// UNCHANGEDSINCE is not looked at.
    ConditionIgnored,
    /// HIGHESTMODSEQ is the maximum of what is there.
    HighestOfTheLiving,
    /// UIDVALIDITY never changes.
    ConstantUidValidity,
    /// Unseen is what exists.
    UnseenNotCounted,
    /// Every opening claims.
    ExamineClaims,
    /// Subscriptions go with their folder.
    SubscriptionsFollowFolders,
    /// Prefixes are forgotten.
    NoPrefix,
    /// Reads begin one octet late, but for the first.
    ReadsOffByOne,
    /// Uploads have no limit.
    UnlimitedUploads,
    /// Pages hold everything.
    UnboundedPages,
    /// Tokens of older holders are good.
    NoFence,
    /// Everybody gets the lease.
    SharedLeases,
    /// Leased entries are given to others.
    QueueLeasedTwice,
    /// Whoever renews a queue lease is told that it is still theirs.
    QueueRenewsAll,
    /// Flushing the queue lets loose what is held.
    HoldForgotten,
    /// Hints name what is not yet there.
    EarlyHints,
    /// A crash loses everything.
    NotDurable,
    /// The second handle has a cache of its own.
    StaleCache,
    /// Only octets have a limit.
    OctetsOnly,
    /// What is deleted is told as everything there is.
    DeletedNotLookedAt,
    /// A changed entry is the whole list.
    AclOfOneEntry,
    /// Deleting a folder leaves its list to the next of its name.
    AclsByName,
    /// Shares with anyone are nobody's.
    AnyoneNotFound,
    /// Changes of lists and annotations are not told.
    AttributesUntold,
    /// Annotations are set one after the other.
    EntriesOneByOne,
    /// Private annotations are everybody's.
    EntriesAllShared,
    /// Names are compared by their beginning.
    EntriesByPrefix,
    /// Nobody counts.
    EntriesUncounted,
    /// What the index does not hold yet is not told.
    IndexWithoutTail,
    /// Only the beginnings of words are indexed.
    IndexOfBeginnings,
    /// The index stays where it is.
    IndexStandsStill,
}

/// The promises that must be found broken.
const CAUGHT: &[(Fault, &[&str])] = &[
    (Fault::HoleInChanges, &["no_holes_under_concurrency", "pages_add_up", "removals_are_told"]),
    (Fault::HalfBatchTold, &["no_holes_under_concurrency"]),
    (Fault::NoTombstones, &["removals_are_told", "moves_pair_and_leave_removals"]),
    (Fault::SilentGap, &["below_the_floor_is_a_gap"]),
    (Fault::NotAtomic, &["all_or_nothing", "random_operations_agree_with_the_reference"]),
    (Fault::ModeIgnored, &["per_operation"]),
    (Fault::NoReplay, &["a_repeated_batch_returns_the_first_result", "repeats_are_known_for_seven_days"]),
    (Fault::MoveInTwoSteps, &["batches_are_visible_whole"]),
    (Fault::NumbersWasted, &["numbers_are_contiguous", "what_stays_as_it_is_takes_no_number"]),
    (Fault::FlagsReadModifyWrite, &["changes_of_flags_are_deltas"]),
    (Fault::ConditionIgnored, &["unchanged_since_leaves_conflicts"]),
    (Fault::HighestOfTheLiving, &["highest_modseq_counts_removals"]),
    (Fault::ConstantUidValidity, &["uid_validity_rises_when_a_name_is_made_again", "a_deleted_parent_stays_as_a_name"]),
    (Fault::UnseenNotCounted, &["counts_agree_with_rows"]),
    (Fault::ExamineClaims, &["recent_messages_are_claimed_once"]),
    (Fault::SubscriptionsFollowFolders, &["subscriptions_outlive_folders"]),
    (Fault::NoPrefix, &["prefixes_belong_to_one_item"]),
    (Fault::ReadsOffByOne, &["large_contents_come_back_in_pieces"]),
    (Fault::UnlimitedUploads, &["uploads_are_bounded"]),
    (Fault::UnboundedPages, &["pages_are_bounded"]),
    (Fault::NoFence, &["fences_keep_old_holders_out"]),
    (Fault::SharedLeases, &["a_lease_has_one_holder"]),
    (Fault::QueueLeasedTwice, &["entries_are_leased_once", "queue_leases_run_out", "queue_leases_are_renewed"]),
    (Fault::QueueRenewsAll, &["queue_leases_are_renewed"]),
    (Fault::HoldForgotten, &["entries_are_held_and_released"]),
    (Fault::EarlyHints, &["hints_come_after_the_commit"]),
    (Fault::NotDurable, &["acknowledged_batches_survive", "unanswered_batches_are_whole_or_absent"]),
    (Fault::StaleCache, &["handles_see_each_other"]),
    (Fault::OctetsOnly, &["messages_and_folders_have_limits"]),
    (Fault::DeletedNotLookedAt, &["deleted_octets_are_what_an_expunge_frees"]),
    (Fault::AclOfOneEntry, &["entries_are_changed_one_by_one"]),
    (Fault::AclsByName, &["lists_go_with_their_folders"]),
    (Fault::AnyoneNotFound, &["shares_are_found"]),
    (Fault::AttributesUntold, &["changes_of_lists_are_told_and_survive", "entries_go_with_their_folder"]),
    (Fault::EntriesOneByOne, &["entries_are_set_together"]),
    (Fault::EntriesAllShared, &["private_entries_are_private"]),
    (Fault::EntriesByPrefix, &["wanted_entries_are_picked"]),
    (Fault::EntriesUncounted, &["entries_are_bounded"]),
    (Fault::IndexWithoutTail, &["an_index_misses_nothing"]),
    (Fault::IndexOfBeginnings, &["an_index_misses_nothing"]),
    (Fault::IndexStandsStill, &["an_index_comes_along"]),
];

#[test]
fn the_reference_store_keeps_every_promise() {
    let report = run(&MemRig::new());
    assert_eq!(report.unproved, []);
    assert_eq!(report.proved.len(), PROMISES.len());
}

#[test]
fn a_rig_without_means_leaves_promises_unproved_and_says_so() {
    struct Bare(MemStore);
    struct BareRig;
    impl Rig for BareRig {
        fn fresh(&self) -> Box<dyn Data + '_> {
            Box::new(Bare(MemStore::new()))
        }
    }
    impl Data for Bare {
        fn open(&self) -> Arc<dyn MailStore> {
            Arc::new(self.0.clone())
        }
    }
    let report = check(&BareRig, |name| !name.starts_with("random"));
    assert!(report.broken.is_empty(), "{report}");
    let unproved: Vec<&str> = report.unproved.iter().map(|(name, _)| *name).collect();
    assert_eq!(
        unproved,
        [
            "repeats_are_known_for_seven_days",
            "removed_messages_stay_readable_for_a_while",
            "quotas_hold_inside_the_commit",
            "parallel_additions_keep_the_quota",
            "changes_of_lists_are_told_and_survive",
            "entries_go_with_their_folder",
            "leases_run_out",
            "acknowledged_batches_survive",
            "unanswered_batches_are_whole_or_absent",
            "processes_see_each_other",
        ]
    );
    assert!(report.to_string().contains("unproved: leases_run_out: the clock can't be moved"));
}

#[test]
fn the_wrapper_itself_breaks_nothing() {
    let report = check(&BrokenRig(Fault::None), |_| true);
    assert!(report.broken.is_empty() && report.unproved.is_empty(), "{report}");
}

#[test]
fn every_broken_store_is_caught_by_the_promise_it_breaks() {
    let mut missed = Vec::new();
    for (fault, promises) in CAUGHT {
        for promise in *promises {
            let report = check(&BrokenRig(*fault), |name| name == *promise);
            if report.broken.is_empty() {
                missed.push(format!("{fault:?} by {promise}"));
            }
        }
    }
    assert!(missed.is_empty(), "not caught: {missed:?}");
}

struct BrokenRig(Fault);

impl Rig for BrokenRig {
    fn fresh(&self) -> Box<dyn Data + '_> {
        Box::new(BrokenData { store: MemStore::new(), fault: self.0, opened: Mutex::new(0) })
    }
}

struct BrokenData {
    store: MemStore,
    fault: Fault,
    opened: Mutex<usize>,
}

impl BrokenData {
    fn handle(&self, store: MemStore, number: usize) -> Arc<dyn MailStore> {
        let cache = (self.fault == Fault::StaleCache && number > 1).then(Mutex::default);
        Arc::new(Broken { inner: Arc::new(store), fault: self.fault, cache, named_acls: Mutex::default() })
    }
}

impl Data for BrokenData {
    fn open(&self) -> Arc<dyn MailStore> {
        let mut opened = self.opened.lock().unwrap();
        *opened += 1;
        self.handle(self.store.clone(), *opened)
    }

    fn open_elsewhere(&self) -> Option<Arc<dyn MailStore>> {
        Some(self.open())
    }

    fn crash(&self, store: Arc<dyn MailStore>) -> Option<Arc<dyn MailStore>> {
        drop(store);
        if self.fault == Fault::NotDurable {
            let empty = MemStore::new();
            crate::testkit::block_on(empty.provision(super::fixture::account(1), &[])).unwrap();
            return Some(self.handle(empty, 1));
        }
        Some(self.handle(self.store.clone(), 1))
    }

    fn advance(&self, by: Duration) -> bool {
        self.store.advance(by);
        true
    }

    fn set_quota(&self, account: AccountId, quota: u64) -> bool {
        self.store.set_quota(account, Some(quota));
        true
    }
}

struct Broken {
    inner: Arc<MemStore>,
    fault: Fault,
    cache: Option<Mutex<Option<FolderList>>>,
    named_acls: Mutex<BTreeMap<String, Acl>>,
}

impl Broken {
    fn is(&self, fault: Fault) -> bool {
        self.fault == fault
    }

    async fn bend(&self, account: AccountId, folder: &mut Folder) {
        match self.fault {
            Fault::ConstantUidValidity => folder.uid_validity = UidValidity::MIN,
            Fault::UnseenNotCounted => folder.counts.unseen = folder.counts.exists,
            Fault::HighestOfTheLiving => {
                let options = ItemsOptions { max_rows: usize::MAX, ..ItemsOptions::default() };
                if let Ok(page) = self.inner.items(account, folder.id, &UidSet::all(), options).await {
                    folder.highest_modseq = page.rows().iter().map(|row| row.change).max().unwrap_or(ModSeq::FIRST);
                }
            }
            _ => {}
        }
    }

    /// Rewrites operations, and does before the batch what the fault does too early.
    async fn bend_batch(&self, batch: &mut Batch) {
        for ops in &mut batch.accounts {
            for op in &mut ops.ops {
                match op {
                    Op::SetFlags { unchanged_since, .. } if self.is(Fault::ConditionIgnored) => *unchanged_since = None,
                    Op::SetFlags { folder, uids, change, .. } if self.is(Fault::FlagsReadModifyWrite) => {
                        let all = ItemsOptions::default();
                        let Ok(page) = self.inner.items(ops.account, *folder, uids, all).await else { continue };
                        let Some(row) = page.rows().first() else { continue };
                        let flags = change.apply(&page.flag_set(row));
                        std::thread::sleep(Duration::from_millis(1));
                        *change = FlagChange::Replace(flags);
                    }
                    Op::Add(add) if self.is(Fault::NoPrefix) => {
                        if let Content::Prefixed(_, staged) = &add.content {
                            add.content = Content::Staged(staged.clone());
                        }
                    }
                    Op::MoveAll { from, to } if self.is(Fault::MoveInTwoSteps) => {
                        let copy = Op::Copy { from: *from, uids: UidSet::all(), to: *to };
                        let copied = self.inner.commit(Batch::new(batch_id(), ops.account, vec![copy])).await;
                        std::thread::sleep(Duration::from_millis(1));
                        if copied.is_ok() {
                            *op = Op::Remove { folder: *from, uids: UidSet::all(), only_deleted: false };
                        }
                    }
                    _ => {}
                }
            }
        }
        match self.fault {
            Fault::NoReplay => batch.id = batch_id(),
            Fault::ModeIgnored => batch.mode = Mode::AllOrNothing,
            Fault::NoFence => batch.fence = None,
            _ => {}
        }
    }

    async fn one_by_one(&self, batch: Batch) -> Result<Committed, CommitError> {
        let mut whole = Committed { accounts: Vec::new(), queued: Vec::new() };
        for (at_account, ops) in batch.accounts.into_iter().enumerate() {
            let mut account = None;
            for (at_op, op) in ops.ops.into_iter().enumerate() {
                let one = self.inner.commit(Batch::new(batch_id(), ops.account, vec![op])).await;
                let mut one = one.map_err(|error| match error {
                    CommitError::Operation { error, .. } => {
                        CommitError::Operation { account: at_account, at: at_op, error }
                    }
                    other => other,
                })?;
                let mut one = one.accounts.remove(0);
                let gathered = account.get_or_insert_with(|| one.clone());
                if at_op > 0 {
                    gathered.outcomes.append(&mut one.outcomes);
                    gathered.upto = one.upto;
                }
            }
            whole.accounts.extend(account);
        }
        Ok(whole)
    }
}

impl MailStore for Broken {
    fn caps(&self) -> Caps {
        self.inner.caps()
    }

    fn provision<'a>(
        &'a self,
        account: AccountId,
        folders: &'a [(Role, &'a str)],
    ) -> BoxFuture<'a, Result<(), CommitError>> {
        self.inner.provision(account, folders)
    }

    fn account(&self, account: AccountId) -> BoxFuture<'_, Result<AccountState, ReadError>> {
        self.inner.account(account)
    }

    fn folders(&self, account: AccountId) -> BoxFuture<'_, Result<FolderList, ReadError>> {
        Box::pin(async move {
            if let Some(cache) = &self.cache {
                let known = cache.lock().unwrap().clone();
                if let Some(list) = known {
                    return Ok(list);
                }
            }
            let mut list = self.inner.folders(account).await?;
            for folder in &mut list.folders {
                self.bend(account, folder).await;
            }
            if self.is(Fault::SubscriptionsFollowFolders) {
                let all = list.clone();
                list.subscriptions.retain(|path| all.by_path(path).is_some());
            }
            if let Some(cache) = &self.cache {
                *cache.lock().unwrap() = Some(list.clone());
            }
            Ok(list)
        })
    }

    fn view(
        &self,
        account: AccountId,
        folder: FolderId,
        options: ViewOptions,
    ) -> BoxFuture<'_, Result<FolderView, ReadError>> {
        Box::pin(async move {
            let claim_recent = options.claim_recent || self.is(Fault::ExamineClaims);
            let mut view = self.inner.view(account, folder, ViewOptions { claim_recent }).await?;
            self.bend(account, &mut view.folder).await;
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
        let unbounded = self.is(Fault::UnboundedPages);
        let max_rows = if unbounded { usize::MAX } else { options.max_rows };
        self.inner.items(account, folder, uids, ItemsOptions { max_rows, ..options })
    }

    fn changes(&self, account: AccountId, options: ChangesOptions) -> BoxFuture<'_, Result<ChangePage, ReadError>> {
        Box::pin(async move {
            let mut page = match self.inner.changes(account, options).await {
                Err(ReadError::Gap { .. }) if self.is(Fault::SilentGap) => {
                    let upto = self.inner.account(account).await?.at.max(options.since);
                    ChangePage { records: Vec::new(), upto, more: false }
                }
                other => other?,
            };
            match self.fault {
                Fault::HoleInChanges if page.records.len() > 1 => drop(page.records.remove(0)),
                Fault::HalfBatchTold => page.more = false,
                Fault::AttributesUntold => page.records.retain(|record| record.kind != ChangeKind::ATTRIBUTES),
                Fault::NoTombstones => page.records.retain(|record| !record.kind.contains(ChangeKind::REMOVED)),
                _ => {}
            }
            Ok(page)
        })
    }

    fn read(
        &self,
        account: AccountId,
        email: EmailId,
        offset: u64,
        max: usize,
    ) -> BoxFuture<'_, Result<Bytes, ReadError>> {
        let late = u64::from(self.is(Fault::ReadsOffByOne) && offset > 0);
        MailStore::read(&*self.inner, account, email, offset + late, max)
    }

    fn upload(&self, options: UploadOptions) -> BoxFuture<'_, Result<Box<dyn Upload>, UploadError>> {
        let unlimited = self.is(Fault::UnlimitedUploads);
        self.inner.upload(if unlimited { UploadOptions { limit: u64::MAX, ..options } } else { options })
    }

    fn commit(&self, batch: Batch) -> BoxFuture<'_, Result<Committed, CommitError>> {
        Box::pin(async move {
            let mut batch = batch;
            self.bend_batch(&mut batch).await;
            if self.is(Fault::NotAtomic) && batch.queue.is_empty() {
                return self.one_by_one(batch).await;
            }
            let accounts: Vec<AccountId> = batch.accounts.iter().map(|ops| ops.account).collect();
            let mut committed = self.inner.commit(batch).await?;
            if self.is(Fault::NumbersWasted) {
                for account in accounts {
                    let path = vec![format!("{}", batch_id())];
                    let waste = Op::Subscribe { path, subscribed: true };
                    self.inner.commit(Batch::new(batch_id(), account, vec![waste])).await?;
                }
            }
            for account in &mut committed.accounts {
                for outcome in &mut account.outcomes {
                    if let OpOutcome::Folder(folder) = outcome {
                        self.bend(account.account, folder).await;
                    }
                }
            }
            Ok(committed)
        })
    }

    fn forget_removals(&self, account: AccountId, older_than: Duration) -> BoxFuture<'_, Result<(), CommitError>> {
        self.inner.forget_removals(account, older_than)
    }

    fn hints(&self) -> &dyn ChangeHints {
        self
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

/// A stream that names a batch end three further on.
struct Early(BoxStream<'static, Hint>);

impl futures_core::Stream for Early {
    type Item = Hint;

    fn poll_next(
        mut self: std::pin::Pin<&mut Self>,
        context: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Option<Hint>> {
        let early = |hint: Hint| Hint { upto: hint.upto.plus(3), ..hint };
        self.0.as_mut().poll_next(context).map(|hint| hint.map(early))
    }
}

impl ChangeHints for Broken {
    fn watch(&self, account: AccountId) -> BoxStream<'static, Hint> {
        let stream = self.inner.hints().watch(account);
        if self.is(Fault::EarlyHints) { Box::pin(Early(stream)) } else { stream }
    }
}

impl Leases for Broken {
    fn acquire<'a>(
        &'a self,
        scope: &'a LeaseScope,
        owner: [u8; 16],
        ttl: Duration,
    ) -> BoxFuture<'a, Result<Lease, LeaseError>> {
        Box::pin(async move {
            if self.is(Fault::SharedLeases) {
                let own = LeaseScope::Worker(format!("{scope:?} {owner:?}"));
                let lease = self.inner.acquire(&own, owner, ttl).await?;
                return Ok(Lease { scope: scope.clone(), ..lease });
            }
            self.inner.acquire(scope, owner, ttl).await
        })
    }

    fn renew<'a>(&'a self, lease: &'a Lease, ttl: Duration) -> BoxFuture<'a, Result<Lease, LeaseError>> {
        Leases::renew(&*self.inner, lease, ttl)
    }

    fn release<'a>(&'a self, lease: &'a Lease) -> BoxFuture<'a, Result<(), LeaseError>> {
        Leases::release(&*self.inner, lease)
    }
}

impl QueueStore for Broken {
    fn lease(&self, now: Timestamp, max: usize, ttl: Duration) -> BoxFuture<'_, Result<Vec<Leased>, ReadError>> {
        // A lease of no length: the entry is free again at once.
        let ttl = if self.is(Fault::QueueLeasedTwice) { Duration::ZERO } else { ttl };
        self.inner.lease(now, max, ttl)
    }

    fn next_due(&self) -> BoxFuture<'_, Result<Option<Timestamp>, ReadError>> {
        self.inner.next_due()
    }

    fn list(&self, after: Option<QueueId>, max: usize) -> BoxFuture<'_, Result<Vec<QueueEntry>, ReadError>> {
        self.inner.list(after, max)
    }

    fn read(&self, id: QueueId, offset: u64, max: usize) -> BoxFuture<'_, Result<Bytes, ReadError>> {
        QueueStore::read(&*self.inner, id, offset, max)
    }

    fn renew<'a>(
        &'a self,
        leases: &'a [QueueLease],
        until: Timestamp,
    ) -> BoxFuture<'a, Result<Vec<QueueLease>, ReadError>> {
        if self.is(Fault::QueueRenewsAll) {
            return Box::pin(async move { Ok(leases.to_vec()) });
        }
        QueueStore::renew(&*self.inner, leases, until)
    }

    fn flush<'a>(&'a self, ids: Option<&'a [QueueId]>, now: Timestamp) -> BoxFuture<'a, Result<u64, ReadError>> {
        if self.is(Fault::HoldForgotten) {
            return Box::pin(async move {
                let all: Vec<QueueId> = self.inner.list(None, 100).await?.iter().map(|entry| entry.id).collect();
                QueueStore::release(&*self.inner, &all, now).await
            });
        }
        self.inner.flush(ids, now)
    }

    fn hold<'a>(&'a self, ids: &'a [QueueId]) -> BoxFuture<'a, Result<u64, ReadError>> {
        self.inner.hold(ids)
    }

    fn release<'a>(&'a self, ids: &'a [QueueId], now: Timestamp) -> BoxFuture<'a, Result<u64, ReadError>> {
        QueueStore::release(&*self.inner, ids, now)
    }

    fn discard(&self, id: QueueId) -> BoxFuture<'_, Result<bool, ReadError>> {
        self.inner.discard(id)
    }
}

impl QuotaStore for Broken {
    fn quota(&self, account: AccountId) -> BoxFuture<'_, Result<Quota, QuotaError>> {
        self.inner.quota(account)
    }

    fn set_quota(&self, account: AccountId, limits: QuotaLimits) -> BoxFuture<'_, Result<Quota, QuotaError>> {
        Box::pin(async move {
            if self.is(Fault::OctetsOnly) {
                let kept = limits.with_messages(None).with_folders(None);
                let quota = QuotaStore::set_quota(&*self.inner, account, kept).await?;
                return Ok(Quota::new(limits, quota.usage));
            }
            QuotaStore::set_quota(&*self.inner, account, limits).await
        })
    }

    fn deleted_octets(&self, account: AccountId) -> BoxFuture<'_, Result<Vec<(FolderId, u64)>, QuotaError>> {
        Box::pin(async move {
            if self.is(Fault::DeletedNotLookedAt) {
                let list = self.inner.folders(account).await?;
                let full = list.folders.iter().filter(|folder| folder.counts.octets > 0);
                return Ok(full.map(|folder| (folder.id, folder.counts.octets)).collect());
            }
            self.inner.deleted_octets(account).await
        })
    }
}

impl AclStore for Broken {
    fn acls(&self, account: AccountId) -> BoxFuture<'_, Result<Vec<(FolderId, Acl)>, AclError>> {
        Box::pin(async move {
            let mut acls = self.inner.acls(account).await?;
            if self.is(Fault::AclsByName) {
                // What was ever shared stays so, under the name it was shared by.
                let list = self.inner.folders(account).await?;
                let mut known = self.named_acls.lock().unwrap();
                let name = |id| list.by_id(id).map(|folder| folder.name.clone());
                known.extend(acls.iter().filter_map(|(id, acl)| Some((name(*id)?, acl.clone()))));
                let old = list.folders.iter().filter_map(|folder| Some((folder.id, known.get(&folder.name)?.clone())));
                acls = old.collect();
            }
            Ok(acls)
        })
    }

    fn change_acl(
        &self,
        account: AccountId,
        folder: FolderId,
        change: AclChange,
    ) -> BoxFuture<'_, Result<Acl, AclError>> {
        Box::pin(async move {
            if self.is(Fault::AclOfOneEntry) {
                let acls = self.inner.acls(account).await?;
                let before = acls.into_iter().find(|(id, _)| *id == folder).map(|(_, acl)| acl).unwrap_or_default();
                for AclEntry { grantee, negative, .. } in before.entries {
                    let rights = RightsChange::Replace(Rights::empty());
                    let others = grantee != change.grantee;
                    if others {
                        self.inner.change_acl(account, folder, AclChange { grantee, negative, rights }).await?;
                    }
                }
            }
            self.inner.change_acl(account, folder, change).await
        })
    }

    fn shared_with(
        &self,
        who: AccountId,
        after: Option<AccountId>,
        max: usize,
    ) -> BoxFuture<'_, Result<Vec<AccountId>, AclError>> {
        Box::pin(async move {
            let mut found = self.inner.shared_with(who, after, max).await?;
            if self.is(Fault::AnyoneNotFound) {
                let nobody = super::fixture::account(999);
                let anyone = self.inner.shared_with(nobody, after, max).await?;
                found.retain(|account| !anyone.contains(account));
            }
            Ok(found)
        })
    }
}

impl MetadataStore for Broken {
    fn entries<'a>(
        &'a self,
        subjects: &'a [Subject],
        wanted: &'a [Wanted],
    ) -> BoxFuture<'a, Result<Vec<Entry>, MetadataError>> {
        Box::pin(async move {
            let mut wanted = wanted.to_vec();
            if self.is(Fault::EntriesAllShared) {
                wanted.iter_mut().for_each(|one| one.scope = Scope::Shared);
            }
            if self.is(Fault::EntriesByPrefix) {
                let all: Vec<Wanted> =
                    wanted.iter().map(|one| Wanted { name: None, depth: Depth::Infinity, ..one.clone() }).collect();
                let mut entries = self.inner.entries(subjects, &all).await?;
                let begins = |entry: &Entry, one: &Wanted| {
                    let start = one.name.as_ref().map_or("", EntryName::as_str);
                    entry.name.as_str().starts_with(start) && (one.depth != Depth::Zero || entry.name.as_str() == start)
                };
                entries.retain(|entry| wanted.iter().any(|one| begins(entry, one)));
                return Ok(entries);
            }
            self.inner.entries(subjects, &wanted).await
        })
    }

    fn set_entries(
        &self,
        subject: Subject,
        mut changes: Vec<EntryChange>,
        limits: MetadataLimits,
    ) -> BoxFuture<'_, Result<(), MetadataError>> {
        Box::pin(async move {
            if self.is(Fault::EntriesAllShared) {
                changes.iter_mut().for_each(|change| change.scope = Scope::Shared);
            }
            if self.is(Fault::EntriesOneByOne) {
                for change in changes {
                    self.inner.set_entries(subject, vec![change], limits).await?;
                }
                return Ok(());
            }
            let entries = if self.is(Fault::EntriesUncounted) { usize::MAX } else { limits.entries };
            self.inner.set_entries(subject, changes, MetadataLimits::new(limits.value, entries)).await
        })
    }
}

impl SearchStore for Broken {
    fn candidates<'a>(
        &'a self,
        account: AccountId,
        folder: FolderId,
        filter: &'a Filter,
    ) -> BoxFuture<'a, Result<Option<Candidates>, ReadError>> {
        Box::pin(async move {
            let Some(mut found) = self.inner.candidates(account, folder, filter).await? else { return Ok(None) };
            match self.fault {
                Fault::IndexWithoutTail => found.tail = UidSet::new(),
                Fault::IndexStandsStill => found.indexed_upto = ModSeq::FIRST,
                // "ox in dis" begins inside a word.
                Fault::IndexOfBeginnings if filter.tests().any(|test| *test == Test::body("ox in dis")) => {
                    found.indexed = UidSet::new();
                }
                _ => {}
            }
            Ok(Some(found))
        })
    }
}
