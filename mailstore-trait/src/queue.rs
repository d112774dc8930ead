//! Mail that is to leave: entries that survive a crash, leased to one worker at a time.
//!
//! Entries are written through [`Batch::queue`](crate::batch::Batch::queue), so that accepting a message for the queue
//! and for local mailboxes, or removing an entry and delivering its report, is one atomic step. They take no change
//! number and no account lock.

use std::time::Duration;

use bytes::Bytes;

use crate::batch::Staged;
use crate::date::Timestamp;
use crate::error::ReadError;
use crate::future::BoxFuture;
use crate::id::QueueId;

/// A message and where it still has to go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct QueueEntry {
    /// Its name in logs, replies and on the command line.
    pub id: QueueId,
    /// Who is told of failures; `None` is the null reverse-path.
    pub return_path: Option<String>,
    /// The recipients not yet delivered or failed, and those whose outcome is still to be reported.
    pub recipients: Vec<QueueRecipient>,
    /// Octets of the message, trace included. Set by the store when the entry is appended.
    pub size: u64,
    /// What the message needs of the next hop, as the ESMTP parameters of MAIL it came with (`BODY=8BITMIME`). Those
    /// that count seconds count them from [`queued`](QueueEntry::queued).
    pub mail_parameters: Vec<String>,
    /// When it was accepted.
    pub queued: Timestamp,
    /// When it is next due; [`HELD`] while somebody holds it.
    pub due: Timestamp,
    /// How often it was tried.
    pub attempts: u32,
    /// When the sender was told that it is late.
    pub delay_reported: Option<Timestamp>,
    /// From -9 to 9 (RFC 6710); higher goes first.
    pub priority: i8,
}

/// When an entry is due that [`QueueStore::hold`] holds: never.
pub const HELD: Timestamp = Timestamp(i64::MAX);

/// When an entry is due that [`QueueStore::flush`] hurried: long ago, so that a worker knows that somebody wants it tried
/// now, whatever it thinks of the destination.
pub const FLUSHED: Timestamp = Timestamp(0);

/// One recipient of a queued message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct QueueRecipient {
    /// The mailbox, as accepted.
    pub address: String,
    /// Its RCPT parameters (`NOTIFY=FAILURE`, `ORCPT=…`).
    pub parameters: Vec<String>,
    /// How far it is.
    pub state: RecipientState,
    /// What was last said of it; `None` as long as it was not tried.
    pub last: Option<LastAttempt>,
}

impl QueueRecipient {
    /// One that was not tried yet.
    pub fn new(address: impl Into<String>, parameters: Vec<String>, state: RecipientState) -> QueueRecipient {
        QueueRecipient { address: address.into(), parameters, state, last: None }
    }

    /// Whether it is still to be sent or delivered.
    #[must_use]
    pub fn is_waiting(&self) -> bool {
        matches!(self.state, RecipientState::Relay | RecipientState::Spool)
    }
}

/// How far a recipient is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RecipientState {
    /// To be sent to a next hop.
    Relay,
    /// Accepted for a mailbox here, and to be put into it.
    Spool,
    /// It is where it was to go.
    Delivered(Delivery),
    /// It can't be delivered; its last attempt says why.
    Failed,
}

/// Where a recipient's message went, and so who reports it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Delivery {
    /// Into a mailbox here.
    Mailbox,
    /// To several others in its place, by an alias or a list.
    Expanded,
    /// To a next hop that sends no reports.
    Relayed,
    /// To a next hop that took the reports over.
    Passed,
}

/// What came of trying a recipient.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LastAttempt {
    /// When.
    pub at: Timestamp,
    /// The reply, on one line: as received, or ours.
    pub reply: String,
    /// The host that gave it; `None` when this one did.
    pub remote_mta: Option<String>,
}

/// A change of the queue inside a batch.
#[derive(Clone, Debug)]
pub enum QueueOp {
    /// Appends an entry. The octets are the staged ones, behind `trace` (the Received header of this hop).
    Append {
        /// The entry.
        entry: QueueEntry,
        /// Header octets to put before the message.
        trace: Bytes,
        /// The message.
        content: Staged,
    },
    /// Replaces an entry's recipients and schedule and ends the lease. One that was held meanwhile stays held.
    Update {
        /// The lease under which it was tried.
        lease: QueueLease,
        /// The entry as it is to be.
        entry: QueueEntry,
    },
    /// Removes an entry that is done.
    Remove {
        /// The lease under which it was tried.
        lease: QueueLease,
    },
}

/// The right to try an entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct QueueLease {
    /// The entry.
    pub id: QueueId,
    /// Changes with every lease of the entry; an older one fails the batch with
    /// [`CommitError::Fenced`](crate::error::CommitError::Fenced).
    pub token: u64,
}

/// A queue entry leased to the caller.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Leased {
    /// The lease, for the batch that tells the outcome.
    pub lease: QueueLease,
    /// The entry.
    pub entry: QueueEntry,
}

/// The queue's reading side. Optional: [`MailStore::as_queue`](crate::store::MailStore::as_queue).
pub trait QueueStore: Send + Sync {
    /// Leases up to `max` entries that are due at `now`, highest priority and longest due first, for `ttl`.
    ///
    /// An entry whose lease ran out is due again.
    fn lease(&self, now: Timestamp, max: usize, ttl: Duration) -> BoxFuture<'_, Result<Vec<Leased>, ReadError>>;

    /// When the next entry can be leased; `None` when there is none. One that is leased now counts from when its lease
    /// runs out, so that who sleeps until then takes over from a worker that died. Held entries do not count.
    fn next_due(&self) -> BoxFuture<'_, Result<Option<Timestamp>, ReadError>>;

    /// Entries after `after`, by id, for people to look at.
    fn list(&self, after: Option<QueueId>, max: usize) -> BoxFuture<'_, Result<Vec<QueueEntry>, ReadError>>;

    /// A non-empty piece of the message from `offset`, at most `max` octets; empty only at its end.
    ///
    /// # Errors
    /// [`ReadError::NotFound`] when the entry is gone.
    fn read(&self, id: QueueId, offset: u64, max: usize) -> BoxFuture<'_, Result<Bytes, ReadError>>;

    /// Moves the end of leases to `until`; answers those that are still their holder's. The others are somebody else's
    /// entries now, or gone.
    ///
    /// A worker that renews what it works on can take short leases, so that a dead one's entries are soon taken over.
    fn renew<'a>(
        &'a self,
        leases: &'a [QueueLease],
        until: Timestamp,
    ) -> BoxFuture<'a, Result<Vec<QueueLease>, ReadError>>;

    /// Makes entries due at once ([`FLUSHED`]) that are due after `now`: these, or all. Answers how many there were. Held
    /// ones stay held.
    fn flush<'a>(&'a self, ids: Option<&'a [QueueId]>, now: Timestamp) -> BoxFuture<'a, Result<u64, ReadError>>;

    /// Holds these entries: they are leased to nobody until released, and no life runs out. An attempt that is under way
    /// ends as it would. Answers how many there are.
    fn hold<'a>(&'a self, ids: &'a [QueueId]) -> BoxFuture<'a, Result<u64, ReadError>>;

    /// Makes those of these entries due now that are held. Answers how many there were.
    fn release<'a>(&'a self, ids: &'a [QueueId], now: Timestamp) -> BoxFuture<'a, Result<u64, ReadError>>;

    /// Removes an entry whoever has leased it; nothing is sent. `false` when there is none.
    fn discard(&self, id: QueueId) -> BoxFuture<'_, Result<bool, ReadError>>;
}
