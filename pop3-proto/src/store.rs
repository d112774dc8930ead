//! The fulfiller: answers a [`Server`](crate::Server)'s questions from the traits of `mailstore_trait`.
//!
//! It has no runtime: its one method is a future. The maildrop is the account's inbox. Logging in takes its lease and
//! fixes its snapshot (everything below UIDNEXT at that moment); RFC 1939 §4 asks for a lock, and this one holds other
//! POP3 sessions off while IMAP and delivery never notice. QUIT is a batch that carries the lease's fence, so a session
//! that lost its lease removes nothing, whatever it believes.

mod policy;
mod reader;
mod snapshots;
mod update;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use mailstore_trait::auth::{Authenticator, Login, Progress};
use mailstore_trait::directory::Principal;
use mailstore_trait::environment::Environment;
use mailstore_trait::error::{LeaseError, ReadError};
use mailstore_trait::folder::Folder;
use mailstore_trait::id::{AccountId, FolderId, ModSeq, Uid};
use mailstore_trait::leases::{Lease, LeaseScope};
use mailstore_trait::sasl::{Failure, Secret};
use mailstore_trait::session::{Fulfil, LayerInfo, Peer, Session};
use mailstore_trait::store::MailStore;

use crate::apop;
use crate::capability::LoginDelay;
use crate::maildrop::Message;
use crate::request::{
    Answered, LeaseRenewed, LoggedIn, LoginRefusal, MaildropOpened, MaildropPage, Opened, PageRead, Released, Request,
    SaslStep, SaslStepped,
};

pub use self::policy::{LastLogins, Policies, Policy};
use self::reader::Reader;
use self::snapshots::Snapshot;
pub use self::snapshots::Snapshots;

/// Everything outside that a fulfiller asks. One is shared by all sessions of a listener.
#[derive(Clone)]
pub struct World {
    /// Where messages are.
    pub store: Arc<dyn MailStore>,
    /// Who may log in.
    pub authenticator: Arc<dyn Authenticator>,
    /// The clock and randomness.
    pub environment: Arc<dyn Environment>,
    /// What differs between users.
    pub policies: Arc<dyn Policies>,
    /// When each of them logged in last.
    pub last_logins: Arc<LastLogins>,
    /// Large maildrops as they were when they were opened last.
    pub snapshots: Arc<Snapshots>,
    /// Octets a session holds at most ahead of a client that retrieves one message after the other; 256 KiB at first.
    pub read_ahead: usize,
}

impl World {
    /// Nothing differs between users, and they may log in as often as they like.
    #[must_use]
    pub fn new(
        store: Arc<dyn MailStore>,
        authenticator: Arc<dyn Authenticator>,
        environment: Arc<dyn Environment>,
    ) -> World {
        let policies = Arc::new(Policy::default());
        let (last_logins, snapshots) = (Arc::default(), Arc::default());
        World { store, authenticator, environment, policies, last_logins, snapshots, read_ahead: 256 * 1024 }
    }

    /// A fresh timestamp for [`Server::with_apop`](crate::Server::with_apop); `None` where the user database keeps no
    /// passwords in clear, for then no APOP could succeed.
    ///
    /// RFC 1939 §7: another one in each greeting. The number is random, so nobody can ask beforehand for the digest of
    /// the next.
    #[must_use]
    pub fn timestamp(&self, host: &str) -> Option<String> {
        self.authenticator.as_apop()?;
        let number = u128::from_be_bytes(self.environment.id());
        Some(format!("<{number:032x}.{}@{host}>", self.environment.now().0))
    }
}

impl fmt::Debug for World {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("World").finish_non_exhaustive()
    }
}

/// Answers the questions of one session.
pub struct Fulfiller {
    world: World,
    login: Login,
    /// The TLS the login knows of.
    tls: Option<Arc<LayerInfo>>,
    account: Option<AccountId>,
    maildrop: Option<Maildrop>,
}

/// An open maildrop.
struct Maildrop {
    account: AccountId,
    inbox: FolderId,
    /// The snapshot ends before this UID.
    end: Uid,
    lease: Lease,
    reader: Reader,
    /// All of it, while its pages are told.
    known: Option<Arc<Vec<Message>>>,
    /// What of it was read so far, where it is worth remembering.
    gathered: Option<Snapshot>,
}

impl Fulfiller {
    /// For a session over a connection that was just accepted.
    #[must_use]
    pub fn new(world: World, peer: &Peer) -> Fulfiller {
        let login = Login::new(world.authenticator.clone(), world.environment.clone(), "pop3", peer);
        Fulfiller { world, login, tls: None, account: None, maildrop: None }
    }

    /// Lets passwords cross the connection without TLS, as
    /// [`Config::allow_cleartext`](crate::Config::allow_cleartext) does in the session.
    #[must_use]
    pub fn allow_cleartext(mut self) -> Fulfiller {
        self.login.allow_cleartext();
        self
    }

    /// Answers one question. Dropping the future leaves what the store's method promises: all of it or nothing.
    pub async fn answer(&mut self, request: Request) -> Answered {
        match request {
            Request::Login(pending) => {
                let (login, reply) = pending.split();
                self.learn(login.tls);
                let outcome = self.login.password(login.user, login.password).await;
                reply.answer(self.logged_in(outcome))
            }
            Request::Apop(pending) => {
                let (login, reply) = pending.split();
                self.learn(login.tls);
                let is_right = |password: &Secret| apop::is_right(&login.digest, &login.timestamp, password.expose());
                let outcome = self.login.apop(login.user, is_right).await;
                reply.answer(self.logged_in(outcome))
            }
            Request::SaslStep(pending) => {
                let (step, reply) = pending.split();
                reply.answer(self.sasl_step(step).await)
            }
            Request::OpenMaildrop(pending) => {
                let opened = self.open(pending.query.lease).await;
                pending.answer(opened)
            }
            Request::MaildropPage(pending) => {
                let page = self.page(pending.query).await.unwrap_or(PageRead::Unavailable);
                pending.answer(page)
            }
            Request::RenewLease(pending) => {
                let renewed = self.renew(pending.query.lease).await;
                pending.answer(renewed)
            }
            Request::ReadMessage(pending) => {
                let read = self.read(pending.query).await;
                pending.answer(read)
            }
            Request::Commit(pending) => {
                let (commit, reply) = pending.split();
                reply.answer(self.commit(commit).await)
            }
            Request::Release(pending) => {
                if let Some(maildrop) = self.maildrop.take() {
                    // One that can't be given back runs out by itself.
                    let _ = self.world.store.leases().release(&maildrop.lease).await;
                }
                pending.answer(Released)
            }
        }
    }

    /// TLS came up since the last question.
    fn learn(&mut self, tls: Option<Arc<LayerInfo>>) {
        let known = self.tls.as_ref().map(Arc::as_ptr) == tls.as_ref().map(Arc::as_ptr);
        if let (false, Some(tls)) = (known, tls) {
            self.login.layered(&tls);
            self.tls = Some(tls);
        }
    }

    async fn sasl_step(&mut self, step: SaslStep) -> SaslStepped {
        self.learn(step.tls);
        let octets = step.octets.as_ref().map(|octets| octets.expose());
        let progress = if step.first {
            self.login.start(step.mechanism, octets).await
        } else {
            self.login.response(octets.unwrap_or_default()).await
        };
        SaslStepped::Over(match progress {
            Progress::Challenge(octets) => return SaslStepped::Challenge(octets),
            Progress::Done(principal) => self.logged_in(Ok(principal)),
            Progress::Failed(failure) => self.logged_in(Err(failure)),
        })
    }

    fn logged_in(&mut self, outcome: Result<Principal, Failure>) -> LoggedIn {
        match outcome {
            Ok(principal) => {
                self.account = Some(principal.account);
                LoggedIn::Accepted { user: principal.address }
            }
            Err(failure) => LoggedIn::Refused(match failure {
                Failure::Disabled | Failure::Expired => LoginRefusal::Disabled,
                Failure::Unavailable => LoginRefusal::Unavailable,
                Failure::Malformed | Failure::UnsupportedExtension | Failure::Misuse => LoginRefusal::Malformed,
                _ => LoginRefusal::Credentials,
            }),
        }
    }

    async fn open(&mut self, ttl: Duration) -> MaildropOpened {
        let Some(account) = self.account.take() else { return MaildropOpened::Unavailable };
        let delay = self.world.policies.login_delay(account);
        let now = self.world.environment.now();
        // RFC 2449 §8.1.1: told once the user is known to be right, so nobody else learns of it.
        if !self.world.last_logins.may_log_in(account, delay, now) {
            return MaildropOpened::TooSoon;
        }
        let scope = LeaseScope::Maildrop(account);
        let owner = self.world.environment.id();
        let lease = match self.world.store.leases().acquire(&scope, owner, ttl).await {
            Ok(lease) => lease,
            // RFC 2449 §8.1.2.
            Err(LeaseError::Held) => return MaildropOpened::InUse,
            Err(_) => return MaildropOpened::Unavailable,
        };
        let (inbox, at) = match self.inbox(account).await {
            Ok(Some(found)) => found,
            Ok(None) | Err(_) => {
                let _ = self.world.store.leases().release(&lease).await;
                return MaildropOpened::Unavailable;
            }
        };
        self.world.last_logins.logged_in(account, delay, now);
        let mut opened = Opened::new(usize::try_from(inbox.counts.exists).unwrap_or(0));
        opened.login_delay = Some(LoginDelay { minimum: delay, per_user: false }).filter(|_| !delay.is_zero());
        opened.expire = self.world.policies.expire(account);
        let uid_validity = inbox.uid_validity;
        let gathered = at.filter(|_| self.world.snapshots.wants(opened.messages)).map(|at| Snapshot {
            inbox: inbox.id,
            uid_validity,
            at,
            end: inbox.uid_next,
            messages: Arc::new(Vec::with_capacity(opened.messages)),
        });
        let (inbox, end, reader) = (inbox.id, inbox.uid_next, Reader::default());
        self.maildrop = Some(Maildrop { account, inbox, end, lease, reader, known: None, gathered });
        MaildropOpened::Opened(opened)
    }

    /// The account's inbox, and the change it is read at. An account that never had any mail gets one now.
    async fn inbox(&self, account: AccountId) -> Result<Option<(Folder, Option<ModSeq>)>, ReadError> {
        let store = &self.world.store;
        let folders = match store.folders(account).await {
            Err(ReadError::NotFound) if store.provision(account, &[]).await.is_ok() => store.folders(account).await,
            folders => folders,
        };
        let folders = folders?;
        Ok(folders.inbox().map(|inbox| (inbox.clone(), folders.at)))
    }

    async fn page(&mut self, page: MaildropPage) -> Result<PageRead, ReadError> {
        let Some(maildrop) = &mut self.maildrop else { return Ok(PageRead::Unavailable) };
        let (store, snapshots) = (&*self.world.store, &self.world.snapshots);
        if page.after.is_none() {
            maildrop.recall(store, snapshots).await?;
        }
        if let Some(known) = &maildrop.known {
            let first = page.after.map_or(0, |after| known.partition_point(|message| message.uid() <= after));
            let messages = known.iter().skip(first).take(page.max).copied().collect();
            let more = first.saturating_add(page.max) < known.len();
            if !more {
                maildrop.known = None;
            }
            return Ok(PageRead::Page { messages, more });
        }
        let (mut messages, mut next) = (Vec::new(), Some(page.after.map_or(Uid::MIN, |uid| uid.plus(1))));
        while let Some(first) = next.filter(|_| messages.is_empty()) {
            (messages, next) =
                snapshots::page(store, maildrop.account, maildrop.inbox, first, maildrop.end, page.max).await?;
        }
        if let Some(gathered) = &mut maildrop.gathered {
            Arc::make_mut(&mut gathered.messages).extend_from_slice(&messages);
        }
        if next.is_none()
            && let Some(gathered) = maildrop.gathered.take()
        {
            snapshots.remember(maildrop.account, gathered);
        }
        Ok(PageRead::Page { messages, more: next.is_some() })
    }

    async fn renew(&mut self, ttl: Duration) -> LeaseRenewed {
        let Some(maildrop) = &mut self.maildrop else { return LeaseRenewed::Lost };
        match self.world.store.leases().renew(&maildrop.lease, ttl).await {
            Ok(lease) => {
                maildrop.lease = lease;
                LeaseRenewed::Renewed
            }
            Err(LeaseError::Unavailable(_)) => LeaseRenewed::Unavailable,
            Err(_) => LeaseRenewed::Lost,
        }
    }
}

impl Maildrop {
    /// Takes the maildrop of the last login and what changed since, when that is known.
    async fn recall(&mut self, store: &dyn MailStore, snapshots: &Snapshots) -> Result<(), ReadError> {
        let Some(gathered) = &self.gathered else { return Ok(()) };
        let found = snapshots.find(self.account);
        let same = |found: &Snapshot| found.inbox == gathered.inbox && found.uid_validity == gathered.uid_validity;
        let Some(found) = found.filter(same) else { return Ok(()) };
        if let Some(snapshot) = found.follow(store, self.account, self.end).await? {
            self.known = Some(Arc::clone(&snapshot.messages));
            self.gathered = None;
            snapshots.remember(self.account, snapshot);
        }
        Ok(())
    }
}

impl<S: Session<Request = Request, Answered = Answered>> Fulfil<S> for Fulfiller {
    async fn fulfil(&mut self, request: Request) -> Answered {
        self.answer(request).await
    }
}

impl fmt::Debug for Fulfiller {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Fulfiller").field("login", &self.login).field("open", &self.maildrop.is_some()).finish()
    }
}
