//! The commit of a received message: RFC 5321 §4.4, §4.5.4 and §6.1, RFC 2033 §4.2.
//!
//! One batch for everything. When an account refuses (over quota, gone), the batch is tried again without it: an LMTP
//! client hears so at once, an SMTP client cannot be told about one recipient, so the failure goes into the queue as an
//! outcome still to be reported.

use std::collections::BTreeMap;

use bytes::Bytes;
use mailstore_trait::batch::{AccountOps, AddItem, Batch, Content, Op, Staged};
use mailstore_trait::date::Timestamp;
use mailstore_trait::error::{CommitError, OpError, ReadError};
use mailstore_trait::flags::FlagSet;
use mailstore_trait::folder::Role as FolderRole;
use mailstore_trait::id::{AccountId, BatchId, FolderId, QueueId};
use mailstore_trait::queue::{Delivery as Delivered, LastAttempt, QueueEntry, QueueOp, QueueRecipient, RecipientState};
use mailstore_trait::store::MailStore;

use super::{Accepted, Fulfiller, Route, Stamp, Verdict};
use crate::command::params::Notify;
use crate::config::Role;
use crate::queue::entry;
use crate::reply::{self, Reply};
use crate::request::{Commit, Committed, Envelope, Origin};
use crate::trace::{DeliveredTo, Received, ReturnPath};

/// How often a commit whose outcome is not known is repeated; repeating is harmless.
const REPEATS: usize = 3;

impl Fulfiller {
    pub(super) async fn commit(&mut self, question: &Commit) -> Committed {
        let (Some(mut upload), Some((origin, _))) = (self.upload.take(), self.body.clone()) else {
            return Committed::Refused(reply::LOCAL_ERROR);
        };
        let mut routes = std::mem::take(&mut self.routes);
        if routes.len() != question.envelope.recipients.len() {
            return Committed::Refused(reply::LOCAL_ERROR);
        }
        self.break_circles(&mut routes, &question.envelope);
        self.begin_filtering().await;
        let Stamp { id, now, mut added } = match self.stamp.take() {
            Some(stamp) => stamp,
            None => self.stamped(&origin, &question.envelope).await,
        };
        self.body = None;
        let judged = match self.filtering.take() {
            Some(filtering) => match filtering.judge().await {
                Verdict::Accepted(accepted) => accepted,
                Verdict::Refused(reply) => return Committed::Refused(reply),
            },
            None => Accepted::default(),
        };
        added.insert_str(0, &judged.fields);
        if !judged.rest.is_empty()
            && let Err(error) = upload.write(judged.rest).await
        {
            return Committed::Refused(super::upload_refusal(&error));
        }
        let staged = match upload.finish().await {
            Ok(staged) => staged,
            Err(error) => return Committed::Refused(super::upload_refusal(&error)),
        };
        let delivery = Delivery {
            id,
            now,
            envelope: &question.envelope,
            routes: &routes,
            received: added.into(),
            folder: judged.folder,
            staged,
            lmtp: self.policy.role == Role::Lmtp,
        };
        self.deliver(delivery).await
    }

    /// Tells the filter what goes in front of the message, as soon as that is known.
    pub(super) async fn begin_filtering(&mut self) {
        if self.filtering.is_none() || self.stamp.is_some() {
            return;
        }
        let Some((origin, envelope)) = self.body.clone() else { return };
        let stamp = self.stamped(&origin, &envelope).await;
        if let Some(filtering) = &mut self.filtering {
            filtering.begin(&stamp.added);
        }
        self.stamp = Some(stamp);
    }

    /// The message's name and time here, its trace field, and what a submitted one lacks.
    async fn stamped(&mut self, origin: &Origin, envelope: &Envelope) -> Stamp {
        let id = QueueId(self.world.environment.id());
        let now = self.world.environment.now();
        let recipient = match envelope.recipients.as_slice() {
            [only] => Some(&only.address),
            _ => None,
        };
        let trace = Received {
            origin,
            by: &self.policy.hostname,
            lmtp: self.policy.role == Role::Lmtp,
            smtputf8: envelope.sender.smtputf8,
            id: &id.to_string(),
            recipient,
            date: now.at_offset(0),
            hide_client: self.policy.hide_submitter && origin.identity.is_some(),
        };
        let mut added = trace.to_string();
        if self.policy.role == Role::Submission && self.policy.add_missing {
            let message_id = QueueId(self.world.environment.id()).to_string();
            let sender = self.sender().await;
            let host = &self.policy.hostname;
            let missing = self.header.missing(now.at_offset(0), &message_id, host, sender.as_deref());
            added.push_str(&missing.to_string());
        }
        Stamp { id, now, added }
    }

    // RFC 9228 §3: it was there before. Users may send on what they have; others send it in circles.
    fn comes_back_to(&self, address: &str) -> bool {
        self.policy.role != Role::Submission && self.header.was_in(address)
    }

    /// What was forwarded from an address and comes to it again goes no further.
    fn break_circles(&self, routes: &mut [Route], envelope: &Envelope) {
        for (route, recipient) in routes.iter_mut().zip(&envelope.recipients) {
            if let Route::Local { onward, .. } = route
                && !onward.is_empty()
                && self.comes_back_to(&super::plain(&recipient.address))
            {
                onward.clear();
            }
        }
    }

    async fn deliver(&mut self, delivery: Delivery<'_>) -> Committed {
        let store = &*self.world.store;
        let mut inboxes = BTreeMap::new();
        let mut refused: BTreeMap<AccountId, Reply> = BTreeMap::new();
        for (account, address) in delivery.accounts() {
            if self.comes_back_to(address) {
                refused.insert(account, reply::ROUTING_LOOP);
                continue;
            }
            match folder(store, account, delivery.folder).await {
                Ok(folder) => _ = inboxes.insert(account, folder),
                Err(ReadError::NotFound) => _ = refused.insert(account, reply::UNKNOWN_RECIPIENT),
                Err(_) => return Committed::Refused(reply::LOCAL_ERROR),
            }
        }
        let queue = store.as_queue().is_some();
        // More accounts than one batch may touch: a durable entry first, mailboxes from there.
        let spool = inboxes.len() > store.caps().max_accounts;
        if spool && (!queue || self.policy.role == Role::Lmtp) {
            return Committed::Refused(reply::TOO_MANY_RECIPIENTS);
        }
        // RFC 4865 §4: a message on hold waits in the queue, whoever it is for.
        let spool = spool || (queue && delivery.is_held());
        loop {
            let outcomes = delivery.outcomes(&refused);
            let taken = outcomes.iter().any(Result::is_ok);
            let failed = outcomes.iter().any(Result::is_err);
            if !taken {
                let first = outcomes.into_iter().find_map(Result::err).unwrap_or(reply::LOCAL_ERROR);
                return if self.policy.role == Role::Lmtp {
                    Committed::Each(delivery.outcomes(&refused))
                } else {
                    Committed::Refused(first)
                };
            }
            // An SMTP client can only be told one thing. Without a queue for the report, that is a refusal of all.
            if failed && self.policy.role != Role::Lmtp && !queue {
                return Committed::Refused(outcomes.into_iter().find_map(Result::err).unwrap_or(reply::LOCAL_ERROR));
            }
            let report_failures = self.policy.role != Role::Lmtp;
            let batch =
                delivery.batch(BatchId(self.world.environment.id()), &inboxes, &refused, spool, report_failures);
            match commit(store, batch.clone()).await {
                Ok(()) => {
                    return match self.policy.role {
                        Role::Lmtp => Committed::Each(delivery.outcomes(&refused)),
                        _ => Committed::Accepted(delivery.text()),
                    };
                }
                Err(CommitError::Operation { account, error, .. }) => {
                    let Some(account) = batch.accounts.get(account).map(|it| it.account) else {
                        return Committed::Refused(reply::LOCAL_ERROR);
                    };
                    // Each round takes an account out: the loop ends.
                    inboxes.remove(&account);
                    refused.insert(account, operation_refusal(error));
                }
                Err(error) => return Committed::Refused(commit_refusal(&error)),
            }
        }
    }
}

/// A message on its way into mailboxes and the queue.
struct Delivery<'a> {
    id: QueueId,
    now: Timestamp,
    envelope: &'a Envelope,
    routes: &'a [Route],
    /// Received, what a submitted message lacked, and what a filter adds.
    received: Bytes,
    /// Where it goes, where there is such a folder; into the inbox elsewhere.
    folder: Option<FolderRole>,
    staged: Staged,
    lmtp: bool,
}

impl Delivery<'_> {
    /// The local accounts, each once, and the address that is its alone.
    fn accounts(&self) -> BTreeMap<AccountId, &str> {
        self.routes.iter().flat_map(Route::mailboxes).map(|(account, address)| (*account, address.as_str())).collect()
    }

    fn is_held(&self) -> bool {
        self.envelope.sender.hold.is_some_and(|hold| hold.until(self.now) > self.now)
    }

    fn text(&self) -> String {
        format!("queued as {}", self.id)
    }

    /// What each recipient is told.
    ///
    /// An SMTP recipient that stands for several mailboxes is served when one of them is; the others go into the queue.
    /// LMTP has no queue behind it: there it is all of them or none.
    fn outcomes(&self, refused: &BTreeMap<AccountId, Reply>) -> Vec<Result<String, Reply>> {
        let outcome = |route: &Route| {
            let Route::Local { mailboxes, onward } = route else { return Ok(self.text()) };
            let mut refusals = mailboxes.iter().filter_map(|(account, _)| refused.get(account));
            let places = mailboxes.len() + onward.len();
            match refusals.next() {
                Some(first) if self.lmtp || refusals.count() + 1 == places => Err(first.clone()),
                // It was to go onward only, and came from there.
                None if places == 0 => Err(reply::ROUTING_LOOP),
                _ => Ok(self.text()),
            }
        };
        self.routes.iter().map(outcome).collect()
    }

    /// Whether this account gets the message by itself: it refuses nothing, and is not held back by LMTP's all or none.
    fn is_served(&self, account: AccountId, outcomes: &[Result<String, Reply>]) -> bool {
        let served = self.routes.iter().zip(outcomes).filter(|(_, outcome)| outcome.is_ok());
        served.flat_map(|(route, _)| route.mailboxes()).any(|(local, _)| *local == account)
    }

    fn batch(
        &self,
        id: BatchId,
        inboxes: &BTreeMap<AccountId, FolderId>,
        refused: &BTreeMap<AccountId, Reply>,
        spool: bool,
        report_failures: bool,
    ) -> Batch {
        let mut batch = Batch::empty(id);
        let return_path = self.envelope.sender.address.as_ref().map(|address| address.as_str());
        if !spool {
            let outcomes = self.outcomes(refused);
            let addresses = self.accounts();
            let served = inboxes.iter().filter(|(account, _)| self.is_served(**account, &outcomes));
            batch.accounts = served
                .map(|(account, folder)| {
                    let address = addresses.get(account).copied().unwrap_or_default();
                    let add = Op::Add(AddItem {
                        folder: *folder,
                        content: Content::Prefixed(self.prefix(return_path, address), self.staged.clone()),
                        flags: FlagSet::new(),
                        internal_date: self.now.at_offset(0),
                    });
                    AccountOps { account: *account, ops: vec![add] }
                })
                .collect();
        }
        let states = self.states(refused, spool, report_failures, return_path.is_some());
        let mut entry = entry::entry(self.id, self.envelope, states, self.staged.size, self.now);
        if report_failures && !spool {
            self.add_left_out(&mut entry, refused);
        }
        if !entry.recipients.is_empty() {
            batch.queue.push(QueueOp::Append { entry, trace: self.received.clone(), content: self.staged.clone() });
        }
        if !spool {
            self.send_onward(&mut batch, refused);
        }
        batch
    }

    /// An entry for each recipient that others get it in place of, marked so that it is known when it comes back.
    // RFC 5321 §3.9.1: the return path stays the sender's, the null one too.
    fn send_onward(&self, batch: &mut Batch, refused: &BTreeMap<AccountId, Reply>) {
        let outcomes = self.outcomes(refused);
        let each = self.routes.iter().zip(outcomes).zip(&self.envelope.recipients).enumerate();
        for (at, ((route, outcome), recipient)) in each {
            let Route::Local { mailboxes, onward } = route else { continue };
            if outcome.is_err() || onward.is_empty() {
                continue;
            }
            let alone = mailboxes.len() + onward.len() == 1;
            let recipients = onward.iter().map(|address| recipient.in_place(address.clone(), alone)).collect();
            let envelope = Envelope::new(self.envelope.sender.clone(), recipients);
            let states = (0..onward.len()).map(|at| (at, RecipientState::Relay, None));
            let mut id = self.id.0;
            if let Some(last) = id.last_chunk_mut::<4>() {
                let distinct = u32::from_be_bytes(*last) ^ u32::try_from(at + 1).unwrap_or(u32::MAX);
                *last = distinct.to_be_bytes();
            }
            let entry = entry::entry(QueueId(id), &envelope, states, self.staged.size, self.now);
            let received = std::str::from_utf8(&self.received).unwrap_or_default();
            let trace = format!("{}{received}", DeliveredTo(&super::plain(&recipient.address)));
            batch.queue.push(QueueOp::Append { entry, trace: trace.into(), content: self.staged.clone() });
        }
    }

    // RFC 5321 §4.4: final delivery puts Return-Path first, once.
    fn prefix(&self, return_path: Option<&str>, address: &str) -> Bytes {
        let received = std::str::from_utf8(&self.received).unwrap_or_default();
        format!("{}{}{received}", ReturnPath(return_path), DeliveredTo(address)).into()
    }

    /// What an account had to say, for the queue.
    fn said(&self, reply: &Reply) -> Option<LastAttempt> {
        Some(LastAttempt { at: self.now, reply: reply.to_string(), remote_mta: None })
    }

    /// The mailboxes of a served recipient that refused: each is tried again, or reported, under its own address.
    fn add_left_out(&self, entry: &mut QueueEntry, refused: &BTreeMap<AccountId, Reply>) {
        let outcomes = self.outcomes(refused);
        let each = self.routes.iter().zip(outcomes).zip(&self.envelope.recipients);
        for ((route, _), recipient) in each.filter(|((_, outcome), _)| outcome.is_ok()) {
            for (account, address) in route.mailboxes() {
                let Some(reply) = refused.get(account) else { continue };
                let state = if reply.is_transient() { RecipientState::Spool } else { RecipientState::Failed };
                // RFC 3461 §5.2.7.3: of several in a recipient's place, each one's success is not the recipient's.
                let mut recipient = recipient.clone();
                recipient.notify = recipient.notify.map(|notify| notify.difference(Notify::SUCCESS));
                let queued = QueueRecipient::new(address.as_str(), entry::rcpt_parameters(&recipient), state);
                entry.recipients.push(QueueRecipient { last: self.said(reply), ..queued });
            }
        }
    }

    /// Who goes into the queue: to be sent, or to be reported.
    fn states(
        &self,
        refused: &BTreeMap<AccountId, Reply>,
        spool: bool,
        smtp: bool,
        answerable: bool,
    ) -> Vec<(usize, RecipientState, Option<LastAttempt>)> {
        let report = smtp && answerable;
        let outcomes = self.outcomes(refused);
        let recipients = self.envelope.recipients.iter();
        let each = self.routes.iter().zip(outcomes).zip(recipients).enumerate();
        each.filter_map(|(at, ((route, outcome), recipient))| {
            // RFC 3461 §5.2.3: a delivery whose sender asked to hear of it is reported.
            let wants_success = recipient.notify.is_some_and(|notify| notify.contains(Notify::SUCCESS));
            Some(match (route, outcome) {
                (Route::Remote, _) => (at, RecipientState::Relay, None),
                (Route::Local { .. }, Ok(_)) if spool => (at, RecipientState::Spool, None),
                (Route::Local { mailboxes, onward }, Ok(_)) if report && wants_success => {
                    // RFC 3461 §5.2.7.2: who alone gets it in the recipient's place reports it.
                    if mailboxes.is_empty() && onward.len() == 1 {
                        return None;
                    }
                    // RFC 3461 §5.2.7.3: in place of one recipient, several have it.
                    let delivered =
                        if mailboxes.len() + onward.len() > 1 { Delivered::Expanded } else { Delivered::Mailbox };
                    (at, RecipientState::Delivered(delivered), self.said(&super::deliverer::DELIVERED))
                }
                // A full mailbox may have room later: the queue tries again.
                (Route::Local { .. }, Err(reply)) if smtp && reply.is_transient() => {
                    (at, RecipientState::Spool, self.said(&reply))
                }
                (Route::Local { .. }, Err(reply)) if report => (at, RecipientState::Failed, self.said(&reply)),
                _ => return None,
            })
        })
        .collect()
    }
}

impl Route {
    fn mailboxes(&self) -> &[(AccountId, String)] {
        match self {
            Route::Local { mailboxes, .. } => mailboxes,
            Route::Remote => &[],
        }
    }
}

/// The account's folder with this role; without one, its inbox.
pub(super) async fn folder(
    store: &dyn MailStore,
    account: AccountId,
    role: Option<FolderRole>,
) -> Result<FolderId, ReadError> {
    let list = store.folders(account).await?;
    let with = |role| list.folders.iter().find(|folder| folder.selectable && folder.role == Some(role));
    let found = role.and_then(with).or_else(|| with(FolderRole::Inbox));
    found.map(|folder| folder.id).ok_or(ReadError::NotFound)
}

/// Commits, and repeats what may have happened already.
pub(super) async fn commit(store: &dyn MailStore, batch: Batch) -> Result<(), CommitError> {
    let mut repeats = 0;
    loop {
        match store.commit(batch.clone()).await {
            Ok(_) => return Ok(()),
            Err(CommitError::Unknown(_)) if repeats < REPEATS => repeats += 1,
            Err(error) => return Err(error),
        }
    }
}

pub(super) fn operation_refusal(error: OpError) -> Reply {
    match error {
        OpError::OverQuota => reply::MAILBOX_FULL,
        OpError::NotFound => reply::UNKNOWN_RECIPIENT,
        _ => reply::LOCAL_ERROR,
    }
}

pub(super) fn commit_refusal(error: &CommitError) -> Reply {
    match error {
        CommitError::Full => reply::STORAGE_FULL,
        CommitError::Busy { .. } => reply::BUSY,
        CommitError::TooLarge => reply::MESSAGE_TOO_BIG,
        _ => reply::LOCAL_ERROR,
    }
}
