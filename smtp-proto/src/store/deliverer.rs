//! The queue's worker, but for its connections: local delivery of spooled entries, and the end of every attempt.
//!
//! RFC 5321 §4.5.4 and §6.1, RFC 3461 §6. A worker leases an entry, sends with a [`Client`](crate::Client) what goes
//! elsewhere, [`settle`](crate::queue::entry::settle)s each report, and hands the entry to
//! [`conclude`](Deliverer::conclude), which reschedules or removes it and delivers or queues the notification in one batch.

use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use mailstore_trait::batch::{AccountOps, AddItem, Batch, Content, Op, Staged};
use mailstore_trait::date::Timestamp;
use mailstore_trait::directory::Resolution;
use mailstore_trait::error::{CommitError, ReadError};
use mailstore_trait::flags::FlagSet;
use mailstore_trait::id::{AccountId, BatchId, QueueId};
use mailstore_trait::queue::{Leased, QueueEntry, QueueOp, RecipientState};
use mailstore_trait::store::UploadOptions;

use super::commit::{commit, commit_refusal, folder, operation_refusal};
use super::{Policy, World};
use crate::address::{Address, Grammar};
use crate::client::request::{Failure, Outcome, Stage};
use crate::command::params::{Body, Notify, Ret};
use crate::dsn::{self, Dsn, Returned};
use crate::queue::Retry;
use crate::queue::entry::{self, Turn, Via};
use crate::reply::{self, Reply};
use crate::request::{Envelope, Recipient, Sender};
use crate::trace::{DeliveredTo, ReturnPath};

/// Octets of a message that a report returns at most; of a longer one it returns the header.
const RETURNED: usize = 256 * 1024;

/// Octets read from the queue at once.
const PAGE: usize = 256 * 1024;

/// Ends attempts. Shared by all workers.
#[derive(Clone, Debug)]
pub struct Deliverer {
    world: World,
    policy: Arc<Policy>,
    retry: Retry,
}

impl Deliverer {
    /// A deliverer with this schedule.
    #[must_use]
    pub fn new(world: World, policy: Arc<Policy>, retry: Retry) -> Deliverer {
        Deliverer { world, policy, retry }
    }

    /// Delivers the pending recipients of an entry whose mailboxes are here, and notes their outcomes in it.
    ///
    /// Each account's delivery is one commit whose id follows from entry and account: after a crash it is repeated
    /// without putting the message there twice.
    pub async fn deliver_locally(&self, queued: &mut QueueEntry) {
        let mut staged = None;
        for at in 0..queued.recipients.len() {
            let Some(recipient) = queued.recipients.get(at).filter(|it| it.is_waiting()) else { continue };
            let (address, spooled) = (recipient.address.clone(), recipient.state == RecipientState::Spool);
            let mut via = Via::Mailbox;
            let outcome = match self.world.directory.resolve(&address).await {
                Ok(Resolution::Mailboxes(owners)) if !owners.is_empty() => {
                    self.deliver(queued, &super::mailboxes(owners), &mut staged).await
                }
                Ok(Resolution::Forwarded { mailboxes, addresses }) if spooled => {
                    let delivered = self.deliver(queued, &super::mailboxes(mailboxes), &mut staged).await;
                    if delivered.is_ok() {
                        entry::expand(queued, at, &addresses);
                        via = Via::Expanded;
                    }
                    delivered
                }
                Ok(Resolution::Mailboxes(_) | Resolution::NoSuchUser) => Err(reply::UNKNOWN_RECIPIENT),
                // It was accepted for somebody here; it does not leave because the domain is not ours any more.
                Ok(_) if spooled => Err(reply::UNKNOWN_RECIPIENT),
                Ok(_) => continue,
                Err(error) => Err(super::directory_refusal(&error)),
            };
            let outcome = match outcome {
                Ok(()) => Outcome::Delivered(DELIVERED),
                Err(reply) => Failure { stage: Stage::FinalDot, reply, remote: false }.into(),
            };
            entry::settle(queued, &[at], &[outcome], via, self.world.environment.now());
        }
    }

    async fn deliver(
        &self,
        queued: &QueueEntry,
        owners: &[(AccountId, String)],
        staged: &mut Option<Staged>,
    ) -> Result<(), Reply> {
        let store = &*self.world.store;
        let staged = match staged {
            Some(staged) => staged.clone(),
            none => none.insert(self.copy(queued).await?).clone(),
        };
        // Whoever has it already does not get it twice, so all of them are tried again until each has it.
        let mut refusal: Option<Reply> = None;
        for (account, address) in owners {
            let folder = match folder(store, *account, None).await {
                Ok(folder) => folder,
                Err(ReadError::NotFound) => {
                    refusal.get_or_insert(reply::UNKNOWN_RECIPIENT);
                    continue;
                }
                Err(_) => return Err(reply::LOCAL_ERROR),
            };
            let prefix = format!("{}{}", ReturnPath(queued.return_path.as_deref()), DeliveredTo(address));
            let add = Op::Add(AddItem {
                folder,
                content: Content::Prefixed(prefix.into(), staged.clone()),
                flags: FlagSet::new(),
                internal_date: queued.queued.at_offset(0),
            });
            let mut id = queued.id.0;
            for (octet, of_account) in id.iter_mut().zip(account.value().to_be_bytes()) {
                *octet ^= of_account;
            }
            match commit(store, Batch::new(BatchId(id), *account, vec![add])).await {
                Ok(()) => {}
                Err(CommitError::Operation { error, .. }) => {
                    let said = operation_refusal(error);
                    if said.is_transient() || refusal.is_none() {
                        refusal = Some(said);
                    }
                }
                Err(error) => return Err(commit_refusal(&error)),
            }
        }
        refusal.map_or(Ok(()), Err)
    }

    /// The entry's message as an upload of its own.
    async fn copy(&self, queued: &QueueEntry) -> Result<Staged, Reply> {
        let store = &*self.world.store;
        let Some(queue) = store.as_queue() else { return Err(reply::LOCAL_ERROR) };
        let options = UploadOptions::new(u64::MAX).expecting(queued.size);
        let mut upload = store.upload(options).await.map_err(|error| super::upload_refusal(&error))?;
        let mut offset = 0;
        loop {
            let page = queue.read(queued.id, offset, PAGE).await.map_err(|_| reply::LOCAL_ERROR)?;
            if page.is_empty() {
                break;
            }
            offset += page.len() as u64;
            upload.write(page).await.map_err(|error| super::upload_refusal(&error))?;
        }
        upload.finish().await.map_err(|error| super::upload_refusal(&error))
    }

    /// Ends a turn: what is left is rescheduled, what is done removed, and the sender hears what is to be heard, all in
    /// one batch. `tried`: whether anything was; `postponed`: when what was not may be ([`Turn`]).
    ///
    /// # Errors
    /// [`CommitError::Fenced`] when the lease was lost: another worker has the entry, and nothing was done here. After
    /// any other error the entry comes back when its lease runs out.
    pub async fn conclude(&self, leased: Leased, tried: bool, postponed: Option<Timestamp>) -> Result<(), CommitError> {
        let Leased { lease, entry: queued } = leased;
        let now = self.world.environment.now();
        let sender = entry::sender(&queued);
        let (id, arrival) = (queued.id, queued.queued);
        let mut random = [0; 4];
        self.world.environment.fill(&mut random);
        let turn = Turn { now, tried, postponed, random: u32::from_le_bytes(random) };
        let conclusion = entry::conclude(queued, turn, &self.retry);
        let mut batch = Batch::empty(BatchId(self.world.environment.id()));
        batch.queue.push(match conclusion.entry {
            Some(entry) => QueueOp::Update { lease, entry },
            None => QueueOp::Remove { lease },
        });
        let to = sender.address.clone().filter(|_| !conclusion.reports.is_empty());
        if let Some(to) = to {
            let page = self.returned(id, &sender, &conclusion.reports).await;
            let returned = match &page {
                (message, true) => Returned::Message(message),
                (message, false) => Returned::Headers(dsn::header(message)),
            };
            let message_id = format!("{}@{}", QueueId(self.world.environment.id()), self.policy.hostname);
            let message = Dsn {
                reporting_mta: &self.policy.hostname,
                from: &self.policy.postmaster,
                to: &to,
                date: now.at_offset(0),
                message_id: &message_id,
                boundary: &QueueId(self.world.environment.id()).to_string(),
                envid: sender.envid.as_deref(),
                arrival: Some(arrival.at_offset(0)),
                recipients: &conclusion.reports,
                returned,
            };
            self.notify(&mut batch, &to, message.build().into()).await?;
        }
        commit(&*self.world.store, batch).await
    }

    /// The octets to return, and whether they are the whole message.
    async fn returned(&self, id: QueueId, sender: &Sender, reports: &[dsn::Recipient]) -> (Bytes, bool) {
        let mut octets = BytesMut::new();
        let mut whole = false;
        if let Some(queue) = self.world.store.as_queue() {
            while octets.len() < RETURNED {
                match queue.read(id, octets.len() as u64, RETURNED - octets.len()).await {
                    Ok(page) if page.is_empty() => {
                        whole = true;
                        break;
                    }
                    Ok(page) => octets.extend_from_slice(&page),
                    Err(_) => break,
                }
            }
        }
        // RFC 3461 §4.3: RET=FULL is about failures; all other reports return the header.
        let failed = reports.iter().any(|report| report.action == dsn::Action::Failed);
        (octets.freeze(), whole && failed && sender.ret == Some(Ret::Full))
    }

    /// Puts a notification where its reader is: into a mailbox here, or into the queue.
    async fn notify(&self, batch: &mut Batch, to: &Address, message: Bytes) -> Result<(), CommitError> {
        let store = &*self.world.store;
        let unavailable = |error| CommitError::Unavailable(Box::new(error));
        let (size, ascii) = (message.len() as u64, message.is_ascii());
        let mut upload = store.upload(UploadOptions::new(size)).await.map_err(unavailable)?;
        upload.write(message).await.map_err(unavailable)?;
        let staged = upload.finish().await.map_err(unavailable)?;
        let now = self.world.environment.now();
        let resolved = self.world.directory.resolve(&super::plain(to)).await;
        let (mailboxes, elsewhere) = match resolved.map_err(|error| CommitError::Unavailable(Box::new(error)))? {
            Resolution::Mailboxes(owners) => (owners, Vec::new()),
            Resolution::Forwarded { mailboxes, addresses } => {
                let parse = |address: String| Address::parse(&address, Grammar::default().with_utf8(true)).ok();
                (mailboxes, addresses.into_iter().filter_map(parse).collect())
            }
            Resolution::NotLocal => (Vec::new(), vec![to.clone()]),
            Resolution::NoSuchUser => (Vec::new(), Vec::new()),
        };
        for owner in mailboxes {
            // A sender who is gone, or whose mailbox cannot be found, hears nothing: RFC 5321 §6.1, no report about a
            // report.
            if let Ok(folder) = folder(store, owner.account, None).await {
                let prefix = format!("{}{}", ReturnPath(None), DeliveredTo(&owner.address));
                let add = Op::Add(AddItem {
                    folder,
                    content: Content::Prefixed(prefix.into(), staged.clone()),
                    flags: FlagSet::new(),
                    internal_date: now.at_offset(0),
                });
                batch.accounts.push(AccountOps { account: owner.account, ops: vec![add] });
            }
        }
        if !elsewhere.is_empty() {
            let mut sender = Sender::new(None);
            sender.smtputf8 = elsewhere.iter().any(|address| !address.is_ascii());
            if !ascii {
                sender.body = Body::EightBitMime;
            }
            // RFC 3461 §6.1: nobody is to report about a report.
            let silent = |address| Recipient { notify: Some(Notify::NEVER), ..Recipient::new(address) };
            let envelope = Envelope::new(sender, elsewhere.into_iter().map(silent).collect());
            let states = (0..envelope.recipients.len()).map(|at| (at, RecipientState::Relay, None));
            let id = QueueId(self.world.environment.id());
            let entry = entry::entry(id, &envelope, states, size, now);
            batch.queue.push(QueueOp::Append { entry, trace: Bytes::new(), content: staged });
        }
        Ok(())
    }

    /// Whether a mailbox of this address is here; what is not goes out by a client.
    ///
    /// # Errors
    /// When the directory cannot say now.
    pub async fn is_local(&self, address: &str) -> Result<bool, mailstore_trait::error::DirectoryError> {
        let plain = Address::parse(address, Grammar::default().with_utf8(true))
            .map_or_else(|_| address.to_owned(), |address| super::plain(&address));
        Ok(!matches!(self.world.directory.resolve(&plain).await?, Resolution::NotLocal))
    }
}

/// What a mailbox here says.
pub(super) const DELIVERED: Reply = Reply {
    code: 250,
    enhanced: Some(crate::reply::EnhancedCode::new(2, 1, 5)),
    text: std::borrow::Cow::Borrowed("Delivered"),
};
