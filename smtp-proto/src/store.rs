//! The fulfiller: answers a [`Server`]'s questions from the traits of `mailstore_trait`.
//!
//! It has no runtime: its one method is a future. A body is uploaded once, whoever it is for; the commit is one atomic
//! batch that puts it into every local recipient's inbox and appends one queue entry for all others, and the client's
//! 250 is only said when that batch is durable (RFC 5321 §6.1).
//!
//! The other direction, what a worker does with queue entries, is [`Deliverer`].

mod commit;
mod deliverer;
mod filter;
mod header;
mod look_up;
mod submission;

use std::fmt;
use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use mailstore_trait::auth::{Authenticator, Login, Progress};
use mailstore_trait::date::Timestamp;
use mailstore_trait::directory::{Directory, Principal, Resolution};
use mailstore_trait::environment::Environment;
use mailstore_trait::error::{DirectoryError, UploadError};
use mailstore_trait::id::{AccountId, QueueId};
use mailstore_trait::sasl::{Failure, Mechanism};
use mailstore_trait::session::{Fulfil, Peer};
use mailstore_trait::store::{MailStore, Upload, UploadOptions};

use crate::Server;
use crate::address::Address;
use crate::config::Role;
use crate::rate::Rates;
use crate::reply::{self, Reply};
use crate::request::{
    Answered, BodyChunk, BodyOpen, Decision, Envelope, MailFrom, Origin, RcptTo, Request, SaslStep, Stepped,
};
pub use deliverer::Deliverer;
pub use filter::{Accepted, Filter, Filtering, Verdict};
use header::Header;

/// What a fulfiller is free to decide.
#[derive(Clone, Debug)]
pub struct Policy {
    /// This host's name, for Received.
    pub hostname: String,
    /// Who answers for this host, and signs its reports.
    pub postmaster: String,
    /// What the listener is for; the same as in the session's configuration.
    pub role: Role,
    /// Whether who submits may only use addresses that are theirs (RFC 6409 §6.1).
    pub own_addresses_only: bool,
    /// Whether Sender, Date and Message-ID are added to submitted messages that lack them (RFC 6409 §8.1 to §8.3).
    pub add_missing: bool,
    /// Whether Received leaves out where a submitted message came from.
    pub hide_submitter: bool,
    /// How much each user may send; none for no limit. Shared by every policy that counts together.
    pub rates: Option<Arc<Rates>>,
    /// Whether ETRN starts the queue of a host.
    pub etrn: bool,
    /// Whether users who logged in may ask by VRFY and EXPN who an address is.
    pub look_ups: bool,
    /// Octets of a message, at most.
    pub message: u64,
    /// Received headers in a message, at most. RFC 5321 §6.3: at least 100.
    pub hops: usize,
    /// Octets after which a filter is told that the header has gone by, where it has no end.
    pub header: u64,
}

impl Policy {
    /// The usual one.
    pub fn new(hostname: impl Into<String>, role: Role) -> Policy {
        let message = crate::config::Limits::default().message;
        let hostname = hostname.into();
        Policy {
            postmaster: format!("postmaster@{hostname}"),
            hostname,
            role,
            own_addresses_only: true,
            add_missing: true,
            hide_submitter: true,
            rates: None,
            etrn: false,
            look_ups: false,
            message,
            hops: 100,
            header: 1024 * 1024,
        }
    }
}

/// Everything outside that a fulfiller asks.
#[derive(Clone)]
pub struct World {
    /// Where messages and the queue are.
    pub store: Arc<dyn MailStore>,
    /// Whose address is whose.
    pub directory: Arc<dyn Directory>,
    /// Who may log in.
    pub authenticator: Arc<dyn Authenticator>,
    /// The clock and randomness.
    pub environment: Arc<dyn Environment>,
}

impl fmt::Debug for World {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("World").finish_non_exhaustive()
    }
}

/// Where an accepted recipient's mail goes.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Route {
    /// Into mailboxes here, and onward to addresses elsewhere; one of them at least.
    Local {
        /// Accounts; with each the address that is its alone.
        mailboxes: Vec<(AccountId, String)>,
        /// Who else gets it in the recipient's place.
        onward: Vec<Address>,
    },
    /// Into the queue.
    Remote,
}

/// Answers one session's questions. Dropping it forgets what was not committed.
pub struct Fulfiller {
    world: World,
    policy: Arc<Policy>,
    login: Login,
    /// Whether the login knows of the stream's TLS.
    secured: bool,
    principal: Option<Principal>,
    /// For each accepted recipient of the transaction, in order.
    routes: Vec<Route>,
    upload: Option<Box<dyn Upload>>,
    header: Header,
    /// Whose body is coming in.
    body: Option<(Arc<Origin>, Arc<Envelope>)>,
    stamp: Option<Stamp>,
    filter: Option<Arc<dyn Filter>>,
    filtering: Option<Box<dyn Filtering>>,
}

impl Fulfiller {
    /// For a session with this peer.
    #[must_use]
    pub fn new(world: World, policy: Arc<Policy>, peer: &Peer) -> Fulfiller {
        let login = Login::new(world.authenticator.clone(), world.environment.clone(), "smtp", peer);
        Fulfiller {
            world,
            policy,
            login,
            secured: peer.tls.is_some(),
            principal: None,
            routes: Vec::new(),
            upload: None,
            header: Header::default(),
            body: None,
            stamp: None,
            filter: None,
            filtering: None,
        }
    }

    /// Lets passwords cross the connection without TLS. For connections that never leave the machine.
    pub fn allow_cleartext(&mut self) {
        self.login.allow_cleartext();
    }

    /// Lets this look at every message before it is accepted.
    pub fn set_filter(&mut self, filter: Arc<dyn Filter>) {
        self.filter = Some(filter);
    }

    /// Who logged in, once someone has.
    #[must_use]
    pub fn principal(&self) -> Option<&Principal> {
        self.principal.as_ref()
    }

    async fn sasl_step(&mut self, step: &SaslStep) -> Stepped {
        if let Some(tls) = step.origin.tls.as_ref().filter(|_| !self.secured) {
            self.secured = true;
            self.login.layered(tls);
        }
        let progress = if step.first {
            let Some(mechanism) = Mechanism::parse(step.mechanism.as_bytes()) else {
                return Stepped::Refused(reply::UNKNOWN_MECHANISM);
            };
            self.login.start(mechanism, step.octets.as_deref()).await
        } else {
            self.login.response(step.octets.as_deref().unwrap_or_default()).await
        };
        match progress {
            Progress::Challenge(octets) => Stepped::Challenge(octets),
            Progress::Done(principal) => {
                let identity = principal.address.clone();
                self.principal = Some(principal);
                Stepped::Done { identity, last: None }
            }
            Progress::Failed(failure) => Stepped::Refused(login_refusal(failure)),
        }
    }

    async fn mail_from(&mut self, question: &MailFrom) -> Decision {
        self.routes.clear();
        self.forget_body();
        if let Err(refusal) = self.adopt(&question.origin).await {
            return Decision::Refused(refusal);
        }
        match self.submitter(question).await {
            Ok(()) => Decision::Accepted,
            Err(refusal) => Decision::Refused(refusal),
        }
    }

    // RFC 6409 §4.2: a submitted envelope holds fully qualified domains only. One word is a domain where it was written;
    // the ones that are ours were found already.
    fn is_unqualified(&self, address: &Address) -> bool {
        let unqualified = |domain: &str| !domain.contains('.') && !domain.starts_with('[');
        self.policy.role == Role::Submission && address.domain().is_some_and(unqualified)
    }

    async fn rcpt_to(&mut self, question: &RcptTo) -> Vec<Decision> {
        let mut decisions = Vec::with_capacity(question.recipients.len());
        for recipient in &question.recipients {
            let routed = match self.spend_recipient() {
                Ok(()) => self.route(&recipient.address).await,
                Err(refusal) => Err(refusal),
            };
            decisions.push(match routed {
                Ok(route) => {
                    self.routes.push(route);
                    Decision::Accepted
                }
                Err(refusal) => Decision::Refused(refusal),
            });
        }
        decisions
    }

    async fn route(&mut self, address: &Address) -> Result<Route, Reply> {
        match self.world.directory.resolve(&plain(address)).await {
            Ok(Resolution::Mailboxes(owners)) if !owners.is_empty() => {
                Ok(Route::Local { mailboxes: mailboxes(owners), onward: Vec::new() })
            }
            // A mailbox of ours sends it on, so it needs no login of the sender.
            Ok(Resolution::Forwarded { mailboxes: owners, addresses }) if self.world.store.as_queue().is_some() => {
                Ok(Route::Local { mailboxes: mailboxes(owners), onward: onward(addresses)? })
            }
            Ok(Resolution::Mailboxes(_) | Resolution::Forwarded { .. } | Resolution::NoSuchUser) => {
                Err(reply::UNKNOWN_RECIPIENT)
            }
            // RFC 5321 §3.6.2: mail for others is passed on for users only.
            Ok(_) if self.principal.is_none() || self.world.store.as_queue().is_none() => Err(reply::RELAY_DENIED),
            Ok(_) if self.is_unqualified(address) => Err(reply::UNQUALIFIED),
            Ok(_) => Ok(Route::Remote),
            Err(error) => Err(directory_refusal(&error)),
        }
    }

    async fn body_open(&mut self, question: &BodyOpen) -> Decision {
        self.header = Header::default();
        self.stamp = None;
        self.body = Some((question.origin.clone(), question.envelope.clone()));
        let options = UploadOptions::new(self.policy.message);
        let options = match question.envelope.sender.size {
            Some(size) if size <= self.policy.message => options.expecting(size),
            _ => options,
        };
        match self.world.store.upload(options).await {
            Ok(upload) => {
                self.upload = Some(upload);
                let filter = self.filter.as_ref();
                self.filtering = filter.and_then(|filter| filter.open(&question.origin, &question.envelope));
                Decision::Accepted
            }
            Err(error) => Decision::Refused(upload_refusal(&error)),
        }
    }

    fn forget_body(&mut self) {
        self.upload = None;
        self.filtering = None;
        self.body = None;
    }

    async fn body_chunk(&mut self, chunk: BodyChunk) -> Decision {
        let Some(mut upload) = self.upload.take() else { return Decision::Refused(reply::LOCAL_ERROR) };
        for piece in gathered(chunk) {
            self.header.look(&piece);
            if self.header.received() > self.policy.hops {
                // RFC 5321 §6.3: a message that passed so many hosts goes round in circles.
                return Decision::Refused(reply::ROUTING_LOOP);
            }
            if self.header.is_over() || self.header.looked() > self.policy.header {
                self.begin_filtering().await;
            }
            let piece = match &mut self.filtering {
                Some(filtering) => filtering.pass(piece),
                None => piece,
            };
            if piece.is_empty() {
                continue;
            }
            if let Err(error) = upload.write(piece).await {
                return Decision::Refused(upload_refusal(&error));
            }
        }
        self.upload = Some(upload);
        Decision::Accepted
    }
}

impl Fulfil<Server> for Fulfiller {
    async fn fulfil(&mut self, request: Request) -> Answered {
        match request {
            Request::Connect(pending) => pending.answer(Decision::Accepted),
            Request::Hello(pending) => pending.answer(Decision::Accepted),
            Request::MailFrom(pending) => {
                let decision = self.mail_from(&pending.query).await;
                pending.answer(decision)
            }
            Request::RcptTo(pending) => {
                let decisions = self.rcpt_to(&pending.query).await;
                pending.answer(decisions)
            }
            Request::BodyOpen(pending) => {
                let decision = self.body_open(&pending.query).await;
                pending.answer(decision)
            }
            Request::BodyChunk(pending) => {
                let (query, reply) = pending.split();
                let decision = self.body_chunk(query).await;
                reply.answer(decision)
            }
            Request::Commit(pending) => {
                let committed = self.commit(&pending.query).await;
                pending.answer(committed)
            }
            Request::Abandon(pending) => {
                self.forget_body();
                pending.answer(())
            }
            Request::SaslStep(pending) => {
                let stepped = self.sasl_step(&pending.query).await;
                pending.answer(stepped)
            }
            Request::Verify(pending) => {
                let looked = self.verify(&pending.query).await;
                pending.answer(looked)
            }
            Request::Expand(pending) => {
                let looked = self.expand(&pending.query).await;
                pending.answer(looked)
            }
            Request::ExtensionCommand(pending) => {
                let reply = self.extension_command(&pending.query).await;
                pending.answer(reply)
            }
        }
    }
}

impl fmt::Debug for Fulfiller {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Fulfiller")
            .field("policy", &self.policy)
            .field("routes", &self.routes)
            .field("upload", &self.upload.is_some())
            .finish_non_exhaustive()
    }
}

/// What a message is called here, and what is written in front of it.
#[derive(Debug)]
struct Stamp {
    id: QueueId,
    now: Timestamp,
    added: String,
}

/// Few pieces as they are; many, which are short ones, in one: a write costs more than their copy.
fn gathered(chunk: BodyChunk) -> impl Iterator<Item = Bytes> {
    let mut pieces = chunk.pieces;
    if pieces.len() > 8 {
        let mut whole = BytesMut::with_capacity(pieces.iter().map(Bytes::len).sum());
        pieces.iter().for_each(|piece| whole.extend_from_slice(piece));
        pieces.clear();
        pieces.push(whole.freeze());
    }
    pieces.into_iter()
}

/// The address as a directory knows it: without quotes that are not needed (RFC 5321 §4.1.2).
fn plain(address: &Address) -> String {
    let unquoted = address.local_part_unquoted();
    let Some(domain) = address.domain() else { return address.as_str().to_owned() };
    let plain = format!("{unquoted}@{domain}");
    match Address::parse(&plain, crate::address::Grammar::default().with_utf8(true)) {
        Ok(same) if same.local_part() == unquoted => plain,
        _ => address.as_str().to_owned(),
    }
}

fn mailboxes(owners: Vec<Principal>) -> Vec<(AccountId, String)> {
    owners.into_iter().map(|owner| (owner.account, owner.address)).collect()
}

/// Addresses that the directory named. One that is none is a mistake of whoever wrote it there, and the mail waits.
fn onward(addresses: Vec<String>) -> Result<Vec<Address>, Reply> {
    let parse = |address: String| Address::parse(&address, crate::address::Grammar::default().with_utf8(true)).ok();
    addresses.into_iter().map(|address| parse(address).ok_or(reply::LOCAL_ERROR)).collect()
}

fn login_refusal(failure: Failure) -> Reply {
    match failure {
        Failure::Unavailable => reply::AUTH_UNAVAILABLE,
        Failure::TlsRequired => reply::AUTH_NEEDS_TLS,
        Failure::Malformed | Failure::TooLong | Failure::UnsupportedExtension => reply::MALFORMED_AUTH,
        _ => reply::AUTH_FAILED,
    }
}

fn directory_refusal(error: &DirectoryError) -> Reply {
    match error {
        DirectoryError::Unavailable(_) => reply::LOCAL_ERROR,
        _ => reply::UNKNOWN_RECIPIENT,
    }
}

fn upload_refusal(error: &UploadError) -> Reply {
    match error {
        UploadError::TooLarge { .. } => reply::MESSAGE_TOO_BIG,
        UploadError::Full => reply::STORAGE_FULL,
        _ => reply::LOCAL_ERROR,
    }
}
