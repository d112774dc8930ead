//! The fulfiller: answers every question of an IMAP server from the traits of `mailstore-trait` (feature `store`).
//!
//! It knows no protocol and no runtime. The session decides what to ask and what an answer means to the client; here a
//! question becomes the store's call, and the store's error a [`Refusal`]. What lives from one question to the next is
//! little: the upload that is open, how far a search has come, the login under way.
//!
//! | questions | file |
//! |---|---|
//! | people | `store/login.rs` |
//! | rows, bodies, changes | `store/read.rs` |
//! | search | `store/search.rs` |
//! | flags, copies, removals, folders | `store/write.rs` |
//! | appending | `store/append.rs` |
//! | other people's mailboxes, quotas, rights, annotations | `store/abilities.rs` |

mod abilities;
mod append;
mod login;
mod read;
mod search;
#[cfg(test)]
mod tests;
mod write;

use std::collections::BTreeSet;
use std::error::Error;
use std::fmt;
use std::sync::Arc;

use mailstore_trait::auth::{Authenticator, Login};
use mailstore_trait::directory::Principal;
use mailstore_trait::environment::Environment;
use mailstore_trait::error::{CommitError, ReadError, UploadError};
use mailstore_trait::guard::Guard;
use mailstore_trait::id::{AccountId, ModSeq};
use mailstore_trait::metadata::MetadataLimits;
use mailstore_trait::query::Budget;
use mailstore_trait::session::{Fulfil, Peer, Session};
use mailstore_trait::store::MailStore;

use crate::request::{Answered, Refusal, Request};
pub use abilities::Sharing;
use append::Appending;
use search::Underway;

/// Bounds of what a fulfiller does for one question.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct Limits {
    /// How much one step of a search may do.
    pub search: Budget,
    /// How often a commit whose outcome is not known is repeated before the client is told so.
    pub repeats: usize,
    /// Octets to read at a time where a message has to be scanned again.
    pub piece: usize,
    /// Annotations of one mailbox, or of the server, in each scope. RFC 5464 §4.1 asks for at least 10 of 1,024 octets.
    pub metadata: MetadataLimits,
    /// Accounts whose shared mailboxes one LIST tells.
    pub shares: usize,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits {
            search: Budget::default(),
            repeats: 3,
            piece: 64 * 1024,
            metadata: MetadataLimits::default(),
            shares: 1000,
        }
    }
}

/// Hears errors that are the store's own fault: for logs.
pub type Faults = Box<dyn FnMut(&(dyn Error + 'static)) + Send>;

/// On what terms somebody who has logged in is let in.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Terms {
    /// Capabilities to leave out for them, by their name without `=…`.
    pub disabled: BTreeSet<String>,
    /// Another server that they are sent to.
    pub referral: Option<Referral>,
}

/// Another server (RFC 2221 §4).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Referral {
    /// Its IMAP URL, such as `imap://ann@imap2.example.org/`.
    pub url: String,
    /// Whether there is nothing for them here, so that they are not let in.
    pub only: bool,
}

/// Decides on what terms somebody is let in: for what an embedder knows of accounts and a session does not.
pub type Decide = Box<dyn FnMut(&Principal) -> Terms + Send>;

/// Answers the questions of one session. One for each connection.
pub struct Fulfiller {
    /// Without a guard; only logins look at it.
    whole: Arc<dyn MailStore>,
    /// Behind the guard, once somebody is logged in.
    store: Arc<dyn MailStore>,
    guard: Option<Arc<Guard<Arc<dyn MailStore>>>>,
    sharing: Option<Sharing>,
    environment: Arc<dyn Environment>,
    login: Login,
    limits: Limits,
    faults: Option<Faults>,
    terms: Option<Decide>,
    appending: Appending,
    search: Option<Underway>,
    /// The newest state of an account the session was told of; what is read must not be older.
    told: Option<(AccountId, ModSeq)>,
}

impl Fulfiller {
    /// Answers for a connection of this peer.
    ///
    /// Whether a password may cross the connection is the session's decision, which knows what was advertised; it is not
    /// made a second time here.
    #[must_use]
    pub fn new(
        store: Arc<dyn MailStore>,
        authenticator: Arc<dyn Authenticator>,
        environment: Arc<dyn Environment>,
        peer: &Peer,
    ) -> Fulfiller {
        let mut login = Login::new(authenticator, Arc::clone(&environment), "imap", peer);
        login.allow_cleartext();
        Fulfiller {
            whole: Arc::clone(&store),
            store,
            guard: None,
            sharing: None,
            environment,
            login,
            limits: Limits::default(),
            faults: None,
            terms: None,
            appending: Appending::default(),
            search: None,
            told: None,
        }
    }

    /// The same within other bounds.
    #[must_use]
    pub fn with_limits(self, limits: Limits) -> Fulfiller {
        Fulfiller { limits, ..self }
    }

    /// The same for a house in which mailboxes are shared and people set quotas.
    #[must_use]
    pub fn with_sharing(self, sharing: Sharing) -> Fulfiller {
        Fulfiller { sharing: Some(sharing), ..self }
    }

    /// The same with somebody who hears of the store's faults.
    #[must_use]
    pub fn with_faults(self, faults: Faults) -> Fulfiller {
        Fulfiller { faults: Some(faults), ..self }
    }

    /// The same with somebody who decides on what terms people are let in.
    #[must_use]
    pub fn with_terms(self, terms: Decide) -> Fulfiller {
        Fulfiller { terms: Some(terms), ..self }
    }

    /// Answers one question. Dropping the future leaves what it asked for done or not done, never half.
    pub async fn answer(&mut self, request: Request) -> Answered {
        match request {
            Request::Login(pending) => {
                let (query, reply) = pending.split();
                reply.answer(self.password(query).await)
            }
            Request::Sasl(pending) => {
                let (query, reply) = pending.split();
                reply.answer(self.sasl(query).await)
            }
            Request::Folders(pending) => {
                let (query, reply) = pending.split();
                reply.answer(self.folders(query).await)
            }
            Request::View(pending) => {
                let (query, reply) = pending.split();
                reply.answer(self.view(query).await)
            }
            Request::Items(pending) => {
                let (query, reply) = pending.split();
                reply.answer(self.items(query).await)
            }
            Request::ReadBody(pending) => {
                let (query, reply) = pending.split();
                reply.answer(self.read_body(query).await)
            }
            Request::Changes(pending) => {
                let (query, reply) = pending.split();
                reply.answer(self.changes(query).await)
            }
            Request::Search(pending) => {
                let (query, reply) = pending.split();
                reply.answer(self.search(query).await)
            }
            Request::SetFlags(pending) => {
                let (query, reply) = pending.split();
                reply.answer(self.set_flags(query).await)
            }
            Request::Copy(pending) => {
                let (query, reply) = pending.split();
                reply.answer(self.copy(query).await)
            }
            Request::Move(pending) => {
                let (query, reply) = pending.split();
                reply.answer(self.move_items(query).await)
            }
            Request::Expunge(pending) => {
                let (query, reply) = pending.split();
                reply.answer(self.expunge(query).await)
            }
            Request::AppendOpen(pending) => {
                let (query, reply) = pending.split();
                reply.answer(self.append_open(query).await)
            }
            Request::AppendChunk(pending) => {
                let (query, reply) = pending.split();
                reply.answer(self.append_chunk(query).await)
            }
            Request::AppendCommit(pending) => {
                let (query, reply) = pending.split();
                reply.answer(self.append_commit(query).await)
            }
            Request::AppendAbandon(pending) => {
                self.appending = Appending::default();
                pending.answer(())
            }
            Request::CreateFolder(pending) => {
                let (query, reply) = pending.split();
                reply.answer(self.create_folder(query).await)
            }
            Request::RenameFolder(pending) => {
                let (query, reply) = pending.split();
                reply.answer(self.rename_folder(query).await)
            }
            Request::RenameInbox(pending) => {
                let (query, reply) = pending.split();
                reply.answer(self.rename_inbox(query).await)
            }
            Request::DeleteFolder(pending) => {
                let (query, reply) = pending.split();
                reply.answer(self.delete_folder(query).await)
            }
            Request::Subscribe(pending) => {
                let (query, reply) = pending.split();
                reply.answer(self.subscribe(query).await)
            }
            Request::Locate(pending) => {
                let (query, reply) = pending.split();
                reply.answer(self.locate(query).await)
            }
            Request::Shares(pending) => {
                let (query, reply) = pending.split();
                reply.answer(self.shares(query).await)
            }
            Request::GetQuota(pending) => {
                let (query, reply) = pending.split();
                reply.answer(self.quota(query).await)
            }
            Request::SetQuota(pending) => {
                let (query, reply) = pending.split();
                reply.answer(self.set_quota(query).await)
            }
            Request::DeletedOctets(pending) => {
                let (query, reply) = pending.split();
                reply.answer(self.deleted_octets(query).await)
            }
            Request::Acl(pending) => {
                let (query, reply) = pending.split();
                reply.answer(self.acl(query).await)
            }
            Request::ChangeAcl(pending) => {
                let (query, reply) = pending.split();
                reply.answer(self.change_acl(query).await)
            }
            Request::Identify(pending) => {
                let (query, reply) = pending.split();
                reply.answer(self.identify(query).await)
            }
            Request::Metadata(pending) => {
                let (query, reply) = pending.split();
                reply.answer(self.metadata(query).await)
            }
            Request::SetMetadata(pending) => {
                let (query, reply) = pending.split();
                reply.answer(self.set_metadata(query).await)
            }
        }
    }

    /// Notes a state the session is about to be told of.
    fn tell(&mut self, account: AccountId, upto: ModSeq) {
        let known = self.told(account);
        self.told = Some((account, known.map_or(upto, |known| known.max(upto))));
    }

    fn told(&self, account: AccountId) -> Option<ModSeq> {
        self.told.filter(|(of, _)| *of == account).map(|(_, upto)| upto)
    }

    fn hear(&mut self, error: &(dyn Error + 'static)) {
        if let Some(faults) = &mut self.faults {
            faults(error);
        }
    }

    fn read_refused(&mut self, error: ReadError) -> Refusal {
        if !matches!(error, ReadError::NotFound | ReadError::Gap { .. } | ReadError::Busy { .. }) {
            self.hear(&error);
        }
        Refusal::from(&error)
    }

    fn upload_refused(&mut self, error: UploadError) -> Refusal {
        if !matches!(error, UploadError::TooLarge { .. }) {
            self.hear(&error);
        }
        Refusal::from(&error)
    }

    fn commit_refused(&mut self, error: CommitError) -> Refusal {
        if !matches!(error, CommitError::Operation { .. } | CommitError::Busy { .. } | CommitError::TooLarge) {
            self.hear(&error);
        }
        Refusal::from(&error)
    }
}

impl<S: Session<Request = Request, Answered = Answered>> Fulfil<S> for Fulfiller {
    async fn fulfil(&mut self, request: Request) -> Answered {
        self.answer(request).await
    }
}

impl fmt::Debug for Fulfiller {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Fulfiller")
            .field("limits", &self.limits)
            .field("appending", &self.appending)
            .field("search", &self.search)
            .field("told", &self.told)
            .finish_non_exhaustive()
    }
}
