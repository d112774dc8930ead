//! Who may log in: the trait a user database implements, and the exchange every fulfiller runs over it.
//!
//! A session frames SASL messages and asks one question for each (`SaslStep`). The fulfiller hands them to its
//! [`Login`], which owns the [machine](crate::sasl::Server), its nonce and the channel binding, and asks the
//! [`Authenticator`] whatever the machine asks.

use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;

use bytes::Bytes;

use crate::directory::Principal;
use crate::environment::Environment;
use crate::error::DirectoryError;
use crate::future::BoxFuture;
use crate::sasl::{Answer, Ask, Context, Failure, Identity, Mechanism, Nonce, Refusal, Secret, Server, Step, saslprep};
use crate::session::{LayerInfo, Peer};

/// Where a login comes from, for rate limits and logs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Attempt {
    /// The protocol's name in lower case: `imap`, `pop3`, `smtp`.
    pub protocol: &'static str,
    /// The peer.
    pub peer: SocketAddr,
}

impl Attempt {
    /// An attempt over this protocol from this peer.
    #[must_use]
    pub const fn new(protocol: &'static str, peer: SocketAddr) -> Attempt {
        Attempt { protocol, peer }
    }
}

/// A user database that can tell whether somebody is who they say.
///
/// Unknown users must cost the same time as known ones and see the same SCRAM salt each time
/// ([`ScramVerifier::fake`](crate::sasl::ScramVerifier::fake), [`crate::password`]).
pub trait Authenticator: Send + Sync {
    /// The mechanisms there are answers for. Which of them are offered also depends on the connection.
    fn mechanisms(&self) -> &[Mechanism];

    /// Answers a machine's question.
    fn answer<'a>(&'a self, ask: Ask, attempt: &'a Attempt) -> BoxFuture<'a, Answer>;

    /// The principal that a proved identity acts as.
    ///
    /// # Errors
    /// [`DirectoryError::NotFound`] when it was removed meanwhile.
    fn principal<'a>(&'a self, identity: &'a Identity) -> BoxFuture<'a, Result<Principal, DirectoryError>>;

    /// Hears how a login ended: for rate limits, logs and counters.
    fn concluded(&self, attempt: &Attempt, outcome: Result<&Principal, Failure>) {
        let _ = (attempt, outcome);
    }

    /// The passwords themselves, where this database keeps them in clear. None, as good databases say, takes APOP off
    /// the wire.
    fn as_apop(&self) -> Option<&dyn ApopSecrets> {
        None
    }
}

/// Passwords kept in clear, for the one exchange that can do with nothing less: APOP (RFC 1939 §7).
///
/// Whoever reads such a database can log in as everybody in it. Implement this for old clients that know nothing else.
pub trait ApopSecrets: Send + Sync {
    /// The password of whoever logs in under this name, prepared ([`saslprep`]).
    ///
    /// # Errors
    /// [`Refusal::Credentials`] when there is no such user, or none with a password in clear.
    fn secret<'a>(&'a self, user: &'a str, attempt: &'a Attempt) -> BoxFuture<'a, Result<ApopSecret, Refusal>>;
}

/// What [`ApopSecrets`] knows of a user.
#[derive(Clone, Debug)]
pub struct ApopSecret {
    /// The user's name in its canonical form.
    pub user: String,
    /// The password in clear.
    pub password: Secret,
}

/// What one message of an exchange led to.
#[derive(Debug)]
pub enum Progress {
    /// Send this challenge and wait for the response.
    Challenge(Bytes),
    /// Logged in.
    Done(Principal),
    /// Refused, or broken off.
    Failed(Failure),
}

/// One connection's logins: at most one exchange at a time.
pub struct Login {
    authenticator: Arc<dyn Authenticator>,
    environment: Arc<dyn Environment>,
    attempt: Attempt,
    context: Context,
    machine: Option<Server>,
}

impl Login {
    /// Logins of a connection of this protocol.
    #[must_use]
    pub fn new(
        authenticator: Arc<dyn Authenticator>,
        environment: Arc<dyn Environment>,
        protocol: &'static str,
        peer: &Peer,
    ) -> Login {
        let context = peer.tls.as_ref().map_or_else(Context::cleartext, Context::over_tls);
        Login { authenticator, environment, attempt: Attempt { protocol, peer: peer.address }, context, machine: None }
    }

    /// Lets passwords cross the connection without TLS. For connections that never leave the machine.
    pub fn allow_cleartext(&mut self) {
        self.context.allow_cleartext = true;
    }

    /// TLS is up: what was learnt of the client before it is forgotten.
    pub fn layered(&mut self, tls: &LayerInfo) {
        let allow_cleartext = self.context.allow_cleartext;
        self.context = Context::over_tls(tls);
        self.context.allow_cleartext = allow_cleartext;
        self.machine = None;
    }

    /// Begins an exchange; one that is under way is forgotten. `initial` is the initial response, if there was one.
    pub async fn start(&mut self, mechanism: Mechanism, initial: Option<&[u8]>) -> Progress {
        if !self.authenticator.mechanisms().contains(&mechanism) {
            return self.concluded(Err(Failure::Credentials));
        }
        let mut random = [0; 18];
        self.environment.fill(&mut random);
        let mut context = self.context.clone();
        // RFC 5802 §6: the flag `y` accuses somebody in between only where -PLUS was really offered.
        context.plus_offered =
            context.can_bind() && self.authenticator.mechanisms().iter().any(|it| it.needs_channel_binding());
        let (machine, step) = Server::start(mechanism, context, Nonce::from_random(random), initial);
        self.machine = Some(machine);
        self.follow(step).await
    }

    /// Goes on with the client's response to the last challenge.
    pub async fn response(&mut self, octets: &[u8]) -> Progress {
        let Some(machine) = &mut self.machine else { return Progress::Failed(Failure::Misuse) };
        let step = machine.response(octets);
        self.follow(step).await
    }

    /// The client broke the exchange off.
    pub fn cancel(&mut self) {
        self.machine = None;
    }

    /// Logs in with a name and a password that came outside SASL (IMAP LOGIN, POP3 PASS).
    ///
    /// # Errors
    /// Why not; the peer is to be told no more than its protocol's one refusal.
    pub async fn password(&mut self, user: String, password: Secret) -> Result<Principal, Failure> {
        self.context.permits(Mechanism::Plain)?;
        // Prepared as the machines prepare it, so that a name means the same whichever way it came. A password is
        // prepared where it is verified.
        let user = saslprep(&user).map_err(|_| Failure::Preparation)?.into_owned();
        let outcome = match self.authenticator.answer(Ask::Password { user, password }, &self.attempt).await {
            Answer::Accept(user) => self.principal(&Identity { user, authzid: None }).await,
            Answer::Refuse(refusal) => Err(refusal.into()),
            Answer::Keys(_) => Err(Failure::Misuse),
        };
        self.authenticator.concluded(&self.attempt, outcome.as_ref().map_err(|failure| *failure));
        outcome
    }

    /// Logs in by a digest that is made from the password itself (APOP, RFC 1939 §7). `is_right` says whether the client's
    /// digest goes with a password; for a user there is none of it is asked about another, and its answer is not heard.
    ///
    /// # Errors
    /// Why not. [`Failure::Credentials`] also where no passwords are kept in clear
    /// ([`Authenticator::as_apop`]).
    pub async fn apop(&mut self, user: String, is_right: impl FnOnce(&Secret) -> bool) -> Result<Principal, Failure> {
        let outcome = self.apop_outcome(&user, is_right).await;
        self.authenticator.concluded(&self.attempt, outcome.as_ref().map_err(|failure| *failure));
        outcome
    }

    async fn apop_outcome(&self, user: &str, is_right: impl FnOnce(&Secret) -> bool) -> Result<Principal, Failure> {
        let user = saslprep(user).map_err(|_| Failure::Preparation)?;
        let secrets = self.authenticator.as_apop().ok_or(Failure::Credentials)?;
        let found = secrets.secret(&user, &self.attempt).await;
        let nobodys = Secret::from("nobody's");
        let right = is_right(found.as_ref().map_or(&nobodys, |found| &found.password));
        match found {
            Ok(found) if right => self.principal(&Identity { user: found.user, authzid: None }).await,
            Ok(_) => Err(Failure::Credentials),
            Err(refusal) => Err(refusal.into()),
        }
    }

    async fn follow(&mut self, mut step: Step) -> Progress {
        loop {
            match step {
                Step::Challenge(octets) => return Progress::Challenge(octets),
                Step::Ask(ask) => {
                    let answer = self.authenticator.answer(ask, &self.attempt).await;
                    let Some(machine) = &mut self.machine else { return Progress::Failed(Failure::Misuse) };
                    step = machine.answer(answer);
                }
                Step::Done(identity) => {
                    let outcome = self.principal(&identity).await;
                    return self.concluded(outcome);
                }
                Step::Failed(failure) => return self.concluded(Err(failure)),
            }
        }
    }

    fn concluded(&mut self, outcome: Result<Principal, Failure>) -> Progress {
        self.machine = None;
        self.authenticator.concluded(&self.attempt, outcome.as_ref().map_err(|failure| *failure));
        match outcome {
            Ok(principal) => Progress::Done(principal),
            Err(failure) => Progress::Failed(failure),
        }
    }

    async fn principal(&self, identity: &Identity) -> Result<Principal, Failure> {
        self.authenticator.principal(identity).await.map_err(|error| match error {
            DirectoryError::NotFound => Refusal::Credentials.into(),
            _ => Refusal::Unavailable.into(),
        })
    }
}

impl fmt::Debug for Login {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Login").field("attempt", &self.attempt).field("machine", &self.machine.is_some()).finish()
    }
}
