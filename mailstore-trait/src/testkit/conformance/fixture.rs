//! A store with one account, and the short words the promises are written in.

use std::fmt;
use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;

use super::{Data, Rig};
use crate::batch::{AccountCommitted, AccountOps, AddItem, Batch, Content, Op, OpOutcome, Staged};
use crate::change::{ChangeRecord, ChangesOptions};
use crate::date::Timestamp;
use crate::error::{CommitError, OpError, ReadError, UploadError};
use crate::flags::{FlagChange, FlagSet, Keyword, SystemFlags};
use crate::folder::{Folder, FolderList, FolderView, Role};
use crate::id::{AccountId, BatchId, EmailId, FolderId, ItemId, ModSeq, Uid, UidValidity};
use crate::item::{ItemPage, ItemRow, ItemsOptions, Projection};
use crate::store::{AccountState, MailStore, UploadOptions, ViewOptions};
use crate::testkit::environment::START;
use crate::uid_set::UidSet;

/// The limit uploads are made with here.
pub const LIMIT: u64 = 64 * 1024 * 1024;

/// A new message's place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    /// Its item.
    pub item: ItemId,
    /// Its UID.
    pub uid: Uid,
    /// Its folder's UIDVALIDITY.
    pub uid_validity: UidValidity,
    /// Its message.
    pub email: EmailId,
}

/// Fresh data, open, with account 1 in it.
pub struct Fixture<'r> {
    /// The rig.
    pub rig: &'r dyn Rig,
    /// The data.
    pub data: Box<dyn Data + 'r>,
    /// The store.
    pub store: Arc<dyn MailStore>,
    /// The account.
    pub account: AccountId,
    /// Its inbox.
    pub inbox: FolderId,
}

impl fmt::Debug for Fixture<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Fixture").field("account", &self.account).field("inbox", &self.inbox).finish()
    }
}

static BATCHES: AtomicU64 = AtomicU64::new(1);

/// A batch id that was not used before in this process.
#[must_use]
pub fn batch_id() -> BatchId {
    let mut id = [0x42; 16];
    let number = BATCHES.fetch_add(1, Ordering::Relaxed).to_be_bytes();
    id.iter_mut().zip(number).for_each(|(to, from)| *to = from);
    BatchId(id)
}

/// An account's id.
#[must_use]
pub fn account(number: u64) -> AccountId {
    AccountId::new(number).expect("a small number is an account")
}

/// A UID.
#[must_use]
pub fn uid(number: u32) -> Uid {
    Uid::new(number).expect("a UID is not 0")
}

/// A set of UIDs.
#[must_use]
pub fn uids(numbers: impl IntoIterator<Item = u32>) -> UidSet {
    numbers.into_iter().map(uid).collect()
}

/// Flags, with keywords.
#[must_use]
pub fn flag_set(system: SystemFlags, keywords: &[&str]) -> FlagSet {
    let mut set: FlagSet = keywords.iter().map(|word| Keyword::new(word).expect("a legal keyword")).collect();
    set.system = system;
    set
}

/// Runs a future on the rig and answers what it did.
pub fn wait<T: Send>(rig: &dyn Rig, work: impl Future<Output = T> + Send) -> T {
    let mut output = None;
    rig.block_on(Box::pin(async { output = Some(work.await) }));
    output.expect("block_on runs the future to its end")
}

impl<'r> Fixture<'r> {
    /// Fresh data with one account.
    pub fn new(rig: &'r dyn Rig) -> Fixture<'r> {
        let data = rig.fresh();
        let store = data.open();
        let account = account(1);
        wait(rig, store.provision(account, &[])).expect("an account can be made");
        let folders = wait(rig, store.folders(account)).expect("an account that was made is there");
        let inbox = folders.inbox().expect("every account has an inbox").id;
        Fixture { rig, data, store, account, inbox }
    }

    /// The same data through another handle.
    pub fn through(&self, store: Arc<dyn MailStore>) -> Handle<'_, 'r> {
        Handle { fixture: self, store }
    }

    /// The words below, on the fixture's own handle.
    pub fn here(&self) -> Handle<'_, 'r> {
        self.through(self.store.clone())
    }
}

/// Short words for what promises do, on one handle.
#[derive(Clone)]
pub struct Handle<'f, 'r> {
    /// The fixture.
    pub fixture: &'f Fixture<'r>,
    /// The handle.
    pub store: Arc<dyn MailStore>,
}

impl fmt::Debug for Handle<'_, '_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.fixture.fmt(f)
    }
}

impl Handle<'_, '_> {
    /// Runs a future.
    pub fn wait<T: Send>(&self, work: impl Future<Output = T> + Send) -> T {
        wait(self.fixture.rig, work)
    }

    /// Commits a batch.
    pub fn commit(&self, batch: Batch) -> Result<Vec<AccountCommitted>, CommitError> {
        self.wait(self.store.commit(batch)).map(|committed| committed.accounts)
    }

    /// Commits operations on the account, all or nothing.
    pub fn try_ops(&self, ops: Vec<Op>) -> Result<AccountCommitted, CommitError> {
        let mut accounts = self.commit(Batch::new(batch_id(), self.fixture.account, ops))?;
        assert_eq!(accounts.len(), 1, "a commit answers for each account of the batch");
        Ok(accounts.remove(0))
    }

    /// Commits operations that can't fail.
    pub fn ops(&self, ops: Vec<Op>) -> AccountCommitted {
        self.try_ops(ops).expect("the batch is legal")
    }

    /// Commits one operation that can't fail.
    pub fn op(&self, op: Op) -> OpOutcome {
        let mut outcomes = self.ops(vec![op]).outcomes;
        assert_eq!(outcomes.len(), 1, "a commit answers for each operation");
        outcomes.remove(0)
    }

    /// Commits one operation that must fail, and answers why it did.
    pub fn refused(&self, op: Op) -> OpError {
        match self.try_ops(vec![op.clone()]) {
            Err(CommitError::Operation { account: 0, at: 0, error }) => error,
            other => panic!("{op:?} is to be refused with its place, not {other:?}"),
        }
    }

    /// Uploads octets in one piece.
    pub fn upload(&self, octets: impl Into<Bytes> + Send) -> Staged {
        self.try_upload(vec![octets.into()], UploadOptions::new(LIMIT)).expect("an upload within its limit")
    }

    /// Uploads octets in these pieces.
    pub fn try_upload(&self, pieces: Vec<Bytes>, options: UploadOptions) -> Result<Staged, UploadError> {
        self.wait(async {
            let mut upload = self.store.upload(options).await?;
            for piece in pieces {
                upload.write(piece).await?;
            }
            upload.finish().await
        })
    }

    /// The operation that adds a message of this text and these flags.
    pub fn adding(&self, folder: FolderId, text: &str, flags: FlagSet) -> Op {
        self.adding_content(folder, Content::Staged(self.upload(message(text))), flags)
    }

    /// The operation that adds this content.
    pub fn adding_content(&self, folder: FolderId, content: Content, flags: FlagSet) -> Op {
        Op::Add(AddItem { folder, content, flags, internal_date: START.at_offset(60) })
    }

    /// Adds a message.
    pub fn add(&self, folder: FolderId, text: &str) -> Place {
        let op = self.adding(folder, text, FlagSet::new());
        place(&self.op(op))
    }

    /// Adds this many messages to the inbox in one batch.
    pub fn fill(&self, count: u32) -> Vec<Place> {
        let inbox = self.fixture.inbox;
        let ops = (0..count).map(|n| self.adding(inbox, &format!("message {n}"), FlagSet::new())).collect();
        self.ops(ops).outcomes.iter().map(place).collect()
    }

    /// Makes a folder.
    pub fn folder(&self, parent: Option<FolderId>, name: &str) -> Folder {
        folder(self.op(Op::CreateFolder { parent, name: name.into(), role: None }))
    }

    /// Gives a folder's role.
    pub fn role(&self, folder: FolderId, role: Option<Role>) -> Folder {
        self::folder(self.op(Op::SetRole { folder, role }))
    }

    /// Changes flags of messages in the inbox.
    pub fn set_flags(&self, of: UidSet, change: FlagChange, since: Option<ModSeq>) -> (ItemPage, UidSet) {
        let folder = self.fixture.inbox;
        match self.op(Op::SetFlags { folder, uids: of, change, unchanged_since: since }) {
            OpOutcome::FlagsSet { page, conflicts } => (page, conflicts),
            other => panic!("SetFlags is answered by FlagsSet, not {other:?}"),
        }
    }

    /// Removes messages.
    pub fn remove(&self, folder: FolderId, of: UidSet, only_deleted: bool) -> UidSet {
        match self.op(Op::Remove { folder, uids: of, only_deleted }) {
            OpOutcome::Removed { uids } => uids,
            other => panic!("Remove is answered by Removed, not {other:?}"),
        }
    }

    /// The account.
    pub fn state(&self) -> AccountState {
        self.wait(self.store.account(self.fixture.account)).expect("the account is there")
    }

    /// All folders.
    pub fn folders(&self) -> FolderList {
        self.wait(self.store.folders(self.fixture.account)).expect("the account is there")
    }

    /// One folder.
    pub fn by_id(&self, id: FolderId) -> Folder {
        self.folders().by_id(id).cloned().expect("the folder is listed")
    }

    /// Opens a folder without claiming.
    pub fn view(&self, folder: FolderId) -> FolderView {
        self.open(folder, false)
    }

    /// Opens a folder.
    pub fn open(&self, folder: FolderId, claim_recent: bool) -> FolderView {
        let options = ViewOptions::claiming_recent(claim_recent);
        self.wait(self.store.view(self.fixture.account, folder, options)).expect("the folder can be opened")
    }

    /// A page of rows.
    pub fn page(&self, folder: FolderId, of: &UidSet, options: ItemsOptions) -> ItemPage {
        self.wait(self.store.items(self.fixture.account, folder, of, options)).expect("the folder can be read")
    }

    /// All rows of a folder with their flags, over as many pages as it takes.
    pub fn rows(&self, folder: FolderId) -> Vec<(ItemRow, FlagSet)> {
        let mut rows = Vec::new();
        let mut from = Uid::MIN;
        loop {
            let mut of = UidSet::new();
            of.insert_range(from..=Uid::MAX);
            let page = self.page(folder, &of, ItemsOptions::new(Projection::DATES));
            rows.extend(page.rows().iter().map(|row| (row.clone(), page.flag_set(row))));
            match page.next {
                Some(next) => {
                    assert!(next >= from && !page.rows().is_empty(), "a page that is not the last makes progress");
                    from = next;
                }
                None => return rows,
            }
        }
    }

    /// The flags of one message of the inbox.
    pub fn flags(&self, of: Uid) -> FlagSet {
        let rows = self.rows(self.fixture.inbox);
        rows.into_iter().find(|(row, _)| row.uid == of).expect("the message is there").1
    }

    /// Everything that changed after a cursor, in pages of `max`, and the new cursor.
    pub fn try_changes(&self, options: ChangesOptions) -> Result<(Vec<ChangeRecord>, ModSeq), ReadError> {
        let mut records: Vec<ChangeRecord> = Vec::new();
        let mut cursor = options.since;
        loop {
            let asked = ChangesOptions { since: cursor, ..options };
            let page = self.wait(self.store.changes(self.fixture.account, asked))?;
            assert!(page.records.len() <= options.max, "a page holds no more than was asked for");
            assert!(page.upto >= cursor, "cursors never go back");
            assert!(!page.more || page.upto > cursor, "a page that is not the last makes progress");
            for record in &page.records {
                let last = records.last().map_or(options.since, |last| last.change);
                assert!(record.change > last, "records ascend, and none is told twice: {record:?} behind {last}");
                assert!(record.change <= page.upto, "a record lies before its page's cursor");
                records.push(record.clone());
            }
            cursor = page.upto;
            if !page.more {
                return Ok((records, cursor));
            }
        }
    }

    /// Everything that changed in the account after a cursor.
    pub fn changes(&self, since: ModSeq) -> Vec<ChangeRecord> {
        self.try_changes(ChangesOptions::since(since)).expect("the cursor is above the floor").0
    }

    /// Everything that changed in one folder after a cursor.
    pub fn folder_changes(&self, folder: FolderId, since: ModSeq) -> Vec<ChangeRecord> {
        let options = ChangesOptions::since(since).in_folder(folder);
        self.try_changes(options).expect("the cursor is above the floor").0
    }

    /// All octets of a message, read in pieces of at most `max`.
    pub fn content(&self, email: EmailId, max: usize) -> Result<Vec<u8>, ReadError> {
        let mut octets = Vec::new();
        loop {
            let read = self.store.read(self.fixture.account, email, octets.len() as u64, max);
            let piece = self.wait(read)?;
            assert!(piece.len() <= max, "a piece is no longer than was asked for");
            if piece.is_empty() {
                return Ok(octets);
            }
            octets.extend_from_slice(&piece);
        }
    }
}

/// A message of this text.
#[must_use]
pub fn message(text: &str) -> String {
    format!("From: a@example.org\r\nSubject: {text}\r\n\r\n{text}\r\n")
}

/// The place in an outcome of `Add`.
#[must_use]
pub fn place(outcome: &OpOutcome) -> Place {
    match outcome {
        OpOutcome::Added { item, uid, uid_validity, email } => {
            Place { item: *item, uid: *uid, uid_validity: *uid_validity, email: *email }
        }
        other => panic!("Add is answered by Added, not {other:?}"),
    }
}

/// The folder in an outcome.
#[must_use]
pub fn folder(outcome: OpOutcome) -> Folder {
    match outcome {
        OpOutcome::Folder(folder) => folder,
        other => panic!("operations on folders are answered by Folder, not {other:?}"),
    }
}

/// What a copy or move answered.
#[must_use]
pub fn transferred(outcome: OpOutcome) -> (UidValidity, Vec<Uid>, Vec<Uid>) {
    match outcome {
        OpOutcome::Transferred { uid_validity, from, to } => (uid_validity, from.iter().collect(), to.iter().collect()),
        other => panic!("copies and moves are answered by Transferred, not {other:?}"),
    }
}

/// A batch over several accounts.
#[must_use]
pub fn batch_over(accounts: Vec<(AccountId, Vec<Op>)>) -> Batch {
    let accounts = accounts.into_iter().map(|(account, ops)| AccountOps { account, ops }).collect();
    Batch { accounts, ..Batch::empty(batch_id()) }
}

/// A moment after [`START`].
#[must_use]
pub fn seconds(after: u64) -> Timestamp {
    START.plus(std::time::Duration::from_secs(after))
}
