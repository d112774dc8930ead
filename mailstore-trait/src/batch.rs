//! Writing: atomic batches of operations, their preconditions and their results.

use std::any::Any;
use std::fmt;
use std::sync::Arc;

use bytes::Bytes;

use crate::date::DateTime;
use crate::error::OpError;
use crate::flags::{FlagChange, FlagSet};
use crate::folder::{Folder, Role};
use crate::id::{AccountId, BatchId, BlobId, EmailId, FolderId, ItemId, ModSeq, QueueId, Uid, UidValidity};
use crate::item::ItemPage;
use crate::leases::Fence;
use crate::queue::QueueOp;
use crate::uid_set::UidSet;

/// What [`MailStore::commit`](crate::store::MailStore::commit) makes happen all at once.
#[derive(Clone, Debug)]
pub struct Batch {
    /// Recorded with the results: repeating the batch within seven days returns the first results.
    pub id: BatchId,
    /// Refused when a newer holder of this lease has been seen.
    pub fence: Option<Fence>,
    /// What one operation's failure means for the others.
    pub mode: Mode,
    /// Operations by account; at most [`Caps::max_accounts`](crate::store::Caps::max_accounts), each account once.
    pub accounts: Vec<AccountOps>,
    /// Operations on the queue.
    pub queue: Vec<QueueOp>,
}

impl Batch {
    /// A batch of operations on one account, all or nothing.
    #[must_use]
    pub fn new(id: BatchId, account: AccountId, ops: Vec<Op>) -> Batch {
        Batch { accounts: vec![AccountOps { account, ops }], ..Batch::empty(id) }
    }

    /// A batch that does nothing yet.
    #[must_use]
    pub fn empty(id: BatchId) -> Batch {
        Batch { id, fence: None, mode: Mode::AllOrNothing, accounts: Vec::new(), queue: Vec::new() }
    }
}

/// What one operation's failure means for the others of its batch. Operations on the queue are all or nothing with the
/// whole batch in either mode.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Mode {
    /// Nothing is done.
    #[default]
    AllOrNothing,
    /// The others are done; the failed one says [`OpOutcome::Failed`].
    PerOperation,
}

/// Operations on one account, done in order; each sees what those before it did.
#[derive(Clone, Debug)]
pub struct AccountOps {
    /// The account.
    pub account: AccountId,
    /// The operations.
    pub ops: Vec<Op>,
}

/// One operation.
///
/// Each version of an object takes one change number: a message added, copied, removed or flagged; two for one that is
/// moved; one for what happens to a folder or a subscription. What stays as it is takes none. Where an operation is wrong
/// in several ways, any of them may be told. One that touches more messages than
/// [`Caps::max_ops`](crate::store::Caps::max_ops) fails with [`OpError::Limit`].
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Op {
    /// Puts a message into a folder. Answered by [`OpOutcome::Added`].
    Add(AddItem),
    /// Copies messages. New UIDs ascend in the order of the old; each place counts against the quota. Answered by [`OpOutcome::Transferred`].
    Copy {
        /// Where they are.
        from: FolderId,
        /// Which; those not there are passed over.
        uids: UidSet,
        /// Where the copies go; may be the same folder.
        to: FolderId,
    },
    /// Moves messages: new UID and item, the old gone, in one change. Answered by [`OpOutcome::Transferred`].
    Move {
        /// Where they are.
        from: FolderId,
        /// Which; those not there are passed over.
        uids: UidSet,
        /// Where they go; may be the same folder.
        to: FolderId,
    },
    /// Moves everything: RENAME INBOX. Answered by [`OpOutcome::Transferred`].
    MoveAll {
        /// The folder that is emptied.
        from: FolderId,
        /// Where everything goes.
        to: FolderId,
    },
    /// Removes messages. Answered by [`OpOutcome::Removed`].
    Remove {
        /// Where they are.
        folder: FolderId,
        /// Which; those not there are passed over.
        uids: UidSet,
        /// Only those that have `\Deleted` at this moment (EXPUNGE).
        only_deleted: bool,
    },
    /// Changes flags. Answered by [`OpOutcome::FlagsSet`].
    SetFlags {
        /// Where the messages are.
        folder: FolderId,
        /// Which; those not there are passed over.
        uids: UidSet,
        /// What to change. Messages that have these flags already get no new change number.
        change: FlagChange,
        /// Leave those that changed after this (RFC 7162 UNCHANGEDSINCE) and say which.
        unchanged_since: Option<ModSeq>,
    },
    /// Makes a folder. Answered by [`OpOutcome::Folder`], or fails with [`OpError::Exists`].
    ///
    /// A name-only folder of this name becomes selectable again, with a higher UIDVALIDITY.
    CreateFolder {
        /// In which folder; `None` at the top.
        parent: Option<FolderId>,
        /// Its leaf name.
        name: String,
        /// What it is for; a role another folder has fails with [`OpError::RoleTaken`].
        role: Option<Role>,
    },
    /// Renames or moves a folder; its children come along. Answered by [`OpOutcome::Folder`].
    ///
    /// Fails with [`OpError::Exists`] (also for the name it has), [`OpError::Cycle`], or [`OpError::Inbox`] for the inbox.
    /// Its UIDVALIDITY, UIDs and messages stay.
    RenameFolder {
        /// Which.
        folder: FolderId,
        /// Its new parent; `None` at the top.
        parent: Option<FolderId>,
        /// Its new leaf name.
        name: String,
    },
    /// Deletes a folder and its messages, in one change: its messages have no removals of their own. With children it
    /// stays as a name. Answered by [`OpOutcome::Done`].
    ///
    /// Fails with [`OpError::Inbox`] for the inbox, [`OpError::HasChildren`] for a name-only folder with children.
    DeleteFolder {
        /// Which.
        folder: FolderId,
    },
    /// Gives a folder a role or takes it. Answered by [`OpOutcome::Folder`].
    SetRole {
        /// Which.
        folder: FolderId,
        /// The role.
        role: Option<Role>,
    },
    /// Adds or removes a name from the subscriptions. Answered by [`OpOutcome::Done`].
    Subscribe {
        /// Leaf names from the top; need not exist.
        path: Vec<String>,
        /// Whether to add it.
        subscribed: bool,
    },
    /// Fails with [`OpError::Conflict`] unless the folder is as the caller last saw it, also when it is gone.
    AssertFolder {
        /// Which.
        folder: FolderId,
        /// Its UIDVALIDITY must be this.
        uid_validity: UidValidity,
    },
}

/// A message to put into a folder.
#[derive(Clone, Debug)]
pub struct AddItem {
    /// Where.
    pub folder: FolderId,
    /// Its octets.
    pub content: Content,
    /// Its flags.
    pub flags: FlagSet,
    /// Its INTERNALDATE.
    pub internal_date: DateTime,
}

/// Where a new item's octets come from.
#[derive(Clone, Debug)]
pub enum Content {
    /// A finished upload.
    Staged(Staged),
    /// A finished upload behind octets of this item alone (`Return-Path` and `Delivered-To` differ by recipient).
    Prefixed(Bytes, Staged),
    /// A message the account has already.
    Email(EmailId),
}

/// A finished upload: octets that are safe to commit but not yet anybody's mail. Cheap to clone.
///
/// Dropping the last clone without a commit lets the store forget the octets.
#[derive(Clone)]
pub struct Staged {
    /// Their name.
    pub blob: BlobId,
    /// How many there are.
    pub size: u64,
    /// The MIME skeleton computed while they came in ([`crate::mime`]); empty when it was not wanted.
    pub skeleton: Bytes,
    /// The summary computed while they came in; empty when it was not wanted.
    pub summary: Bytes,
    /// The octets, or the store's own hold on them.
    pub hold: Hold,
}

/// How a [`Staged`] upload is kept until the commit.
#[derive(Clone)]
pub enum Hold {
    /// Small: in memory, written inside the commit.
    Inline(Bytes),
    /// Large: in the store's own keeping, pinned as long as this lives.
    Stored(Arc<dyn Any + Send + Sync>),
}

impl fmt::Debug for Staged {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Staged({}, {} octets)", self.blob, self.size)
    }
}

impl fmt::Debug for Hold {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Hold::Inline(_) => "Inline",
            Hold::Stored(_) => "Stored",
        })
    }
}

/// What a commit did.
#[derive(Clone, Debug)]
pub struct Committed {
    /// By account, in the batch's order.
    pub accounts: Vec<AccountCommitted>,
    /// Entries appended to the queue, in the batch's order.
    pub queued: Vec<QueueId>,
}

/// What a commit did in one account.
#[derive(Clone, Debug)]
pub struct AccountCommitted {
    /// The account.
    pub account: AccountId,
    /// Its change counter after the batch: a batch end.
    pub upto: ModSeq,
    /// One outcome for each operation, in order.
    pub outcomes: Vec<OpOutcome>,
}

/// What one operation did.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum OpOutcome {
    /// The message's new place.
    Added {
        /// Its item.
        item: ItemId,
        /// Its UID.
        uid: Uid,
        /// Its folder's UIDVALIDITY.
        uid_validity: UidValidity,
        /// Its message.
        email: EmailId,
    },
    /// Which messages were copied or moved, and what they became: the nth of `from` is the nth of `to`.
    Transferred {
        /// The UIDVALIDITY of the folder they are in now.
        uid_validity: UidValidity,
        /// Their old UIDs.
        from: UidSet,
        /// Their new UIDs.
        to: UidSet,
    },
    /// Which messages were removed.
    Removed {
        /// Their UIDs.
        uids: UidSet,
    },
    /// What the flags are now.
    FlagsSet {
        /// A row for each message that was looked at and is there: changed, unchanged or in conflict.
        page: ItemPage,
        /// Those left alone because they changed after `unchanged_since`; what is gone is no conflict.
        conflicts: UidSet,
    },
    /// The folder as it is now.
    Folder(Folder),
    /// Nothing more to say.
    Done,
    /// In [`Mode::PerOperation`]: why this one was not done.
    Failed(OpError),
}
