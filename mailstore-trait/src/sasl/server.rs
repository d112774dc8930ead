//! The server's machine: one exchange of one mechanism, from the first message to an identity (RFC 4422 §3).
//!
//! ```text
//!   start ─▶ AwaitInitial ─▶ PLAIN, OAUTHBEARER, XOAUTH2, EXTERNAL: AwaitVerdict ─┐
//!                         ├▶ LOGIN: AwaitPassword ─▶ AwaitVerdict ────────────────┤
//!                         └▶ SCRAM: AwaitVerifier ─▶ AwaitProof ──────────────────┤
//!   ┌──────────── the client named no other identity ◀────────────────────────────┤
//!   │      AwaitAuthorization ◀───────────────── it wants to act as another ◀─────┘
//!   │             │
//!   ▼             ▼
//!  Done ◀── (SCRAM: AwaitFinalEmpty)          a refused token: AwaitErrorEnd ─▶ Failed
//! ```

use std::fmt;

use bytes::Bytes;

use super::context::{Context, Nonce};
use super::mechanism::Mechanism;
use super::oauth;
use super::plain;
use super::prep::saslprep;
use super::scram::server as scram;
use super::scram::{ScramHash, ScramVerifier};
use super::secret::Secret;

/// What the machine wants next.
#[must_use]
#[derive(Debug)]
pub enum Step {
    /// Send this challenge, then give the client's answer to [`Server::response`].
    ///
    /// SCRAM's last challenge holds the server's proof and is answered by an empty response. A protocol that can send
    /// data with its success reply may look at [`Server::is_final`] and send it there instead.
    Challenge(Bytes),
    /// Find this out, then call [`Server::answer`].
    Ask(Ask),
    /// The client is who it says.
    Done(Identity),
    /// It is not, or the exchange broke.
    Failed(Failure),
}

/// What the machine must know to go on. Answer with [`Server::answer`].
#[derive(Debug)]
#[non_exhaustive]
pub enum Ask {
    /// Is this the user's password? [`Answer::Accept`] or [`Answer::Refuse`]. Spend the same time on users there are
    /// none of: see [`password`](crate::password).
    Password {
        /// The name the client gave, prepared.
        user: String,
        /// The password the client gave: prepared UTF-8.
        password: Secret,
    },
    /// The user's SCRAM verifier of this hash: [`Answer::Keys`]. When there is none, answer with
    /// [`ScramVerifier::fake`], not with a refusal, and nobody learns whether there is such a user.
    ScramKeys {
        /// The name the client gave, prepared.
        user: String,
        /// The hash the verifier is for.
        hash: ScramHash,
    },
    /// Whose token is this? [`Answer::Accept`] with the subject's name or [`Answer::Refuse`].
    Token {
        /// The name the client gave with it. XOAUTH2 always has one. Nothing vouches for it but the token.
        user: Option<String>,
        /// The bearer token: visible ASCII.
        token: Secret,
        /// The host the client thinks it talks to.
        host: Option<String>,
        /// The port the client thinks it talks to.
        port: Option<u16>,
    },
    /// Whose certificate is this? TLS has verified it. [`Answer::Accept`] or [`Answer::Refuse`].
    Certificate {
        /// In DER.
        certificate: Bytes,
        /// The identity the client wants, should the certificate hold several.
        wanted: Option<String>,
    },
    /// May `user`, who is proved, act as `authzid`? Asked only where the two differ. [`Answer::Accept`] with the
    /// identity's name or [`Answer::Refuse`].
    Authorize {
        /// The name that was accepted.
        user: String,
        /// The identity the client wants (RFC 4422 §2); not prepared, for its form is the protocol's business.
        authzid: String,
    },
}

/// The answer to an [`Ask`].
#[derive(Debug)]
pub enum Answer {
    /// Yes, and this is the name in its canonical form: it becomes part of the [`Identity`].
    Accept(String),
    /// The verifier that [`Ask::ScramKeys`] asked for.
    Keys(ScramVerifier),
    /// No.
    Refuse(Refusal),
}

/// Why an [`Ask`] is answered by no.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Refusal {
    /// Wrong password or token, unknown user, no right to act as another: the peer is not told which.
    Credentials,
    /// The account is closed to log-ins.
    Disabled,
    /// The password has expired and must be changed first.
    Expired,
    /// The user database cannot say now; trying later may help.
    Unavailable,
}

/// Who the client is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// The user whose password, token or certificate it was, as accepted.
    pub user: String,
    /// The identity to act as, where it is another.
    pub authzid: Option<String>,
}

impl Identity {
    /// The identity whose mailbox and rights these are.
    pub fn acts_as(&self) -> &str {
        self.authzid.as_deref().unwrap_or(&self.user)
    }
}

/// Why an exchange failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
#[non_exhaustive]
pub enum Failure {
    /// The client's message is not of the mechanism's grammar.
    #[error("a malformed message")]
    Malformed,
    /// The client's message, name or password is longer than the limits allow.
    #[error("a message over the limits")]
    TooLong,
    /// The client demands a SCRAM extension that is not known.
    #[error("an unknown extension")]
    UnsupportedExtension,
    /// The name or password cannot be prepared (RFC 4013).
    #[error("a name or password with prohibited characters")]
    Preparation,
    /// Wrong password, proof or token, or no such user.
    #[error("wrong credentials")]
    Credentials,
    /// The user may not act as the identity it asked for.
    #[error("no right to act as that identity")]
    Authorization,
    /// The account is closed to log-ins.
    #[error("the account is disabled")]
    Disabled,
    /// The password has expired.
    #[error("the password has expired")]
    Expired,
    /// The user database cannot say now.
    #[error("temporarily unavailable")]
    Unavailable,
    /// The mechanism would send a password or token in clear.
    #[error("the mechanism needs TLS")]
    TlsRequired,
    /// EXTERNAL, and TLS brought no client certificate.
    #[error("no client certificate")]
    NoCertificate,
    /// The client's kind of channel binding is not known on this connection.
    #[error("an unsupported channel binding")]
    UnsupportedBinding,
    /// The client is bound to another channel: somebody sits between.
    #[error("the channel binding does not match")]
    ChannelBinding,
    /// The client saw no -PLUS mechanism though one was advertised: somebody took it out.
    #[error("the advertised mechanisms were tampered with")]
    Downgrade,
    /// This side called out of turn, or answered a question with the wrong kind of answer.
    #[error("called out of turn")]
    Misuse,
}

impl From<Refusal> for Failure {
    fn from(refusal: Refusal) -> Failure {
        match refusal {
            Refusal::Credentials => Failure::Credentials,
            Refusal::Disabled => Failure::Disabled,
            Refusal::Expired => Failure::Expired,
            Refusal::Unavailable => Failure::Unavailable,
        }
    }
}

/// One exchange of one mechanism, seen from the server. See the [module documentation](super).
pub struct Server {
    mechanism: Mechanism,
    context: Context,
    nonce: Nonce,
    state: State,
}

enum State {
    AwaitInitial,
    /// LOGIN, after its first prompt.
    AwaitPassword {
        user: String,
    },
    /// A password, token or certificate is being looked at.
    AwaitVerdict {
        authzid: Option<String>,
    },
    AwaitVerifier(Box<scram::First>),
    AwaitProof(Box<scram::Final>),
    AwaitAuthorization {
        user: String,
        /// SCRAM's last message.
        last: Option<Bytes>,
    },
    /// The server's proof is out; an empty response ends the exchange.
    AwaitFinalEmpty(Identity),
    /// The reason for a refused token is out; any response ends the exchange.
    AwaitErrorEnd(Failure),
    Over,
}

impl State {
    fn name(&self) -> &'static str {
        match self {
            State::AwaitInitial => "AwaitInitial",
            State::AwaitPassword { .. } => "AwaitPassword",
            State::AwaitVerdict { .. } => "AwaitVerdict",
            State::AwaitVerifier(_) => "AwaitVerifier",
            State::AwaitProof(_) => "AwaitProof",
            State::AwaitAuthorization { .. } => "AwaitAuthorization",
            State::AwaitFinalEmpty(_) => "AwaitFinalEmpty",
            State::AwaitErrorEnd(_) => "AwaitErrorEnd",
            State::Over => "Over",
        }
    }
}

impl Server {
    /// Begins an exchange.
    ///
    /// `initial` is the initial response, decoded, if the client sent one: `Some(&[])` for the `=` of SMTP, POP3 and
    /// IMAP. Without one the first step is a challenge, empty but for LOGIN's prompt (RFC 4422 §5). `nonce` is fresh;
    /// only SCRAM spends it. What the context does not [permit](Context::permits) fails at once.
    pub fn start(mechanism: Mechanism, context: Context, nonce: Nonce, initial: Option<&[u8]>) -> (Server, Step) {
        let permitted = context.permits(mechanism);
        let mut server = Server { mechanism, context, nonce, state: State::AwaitInitial };
        let step = match (permitted, initial) {
            (Err(failure), _) => server.fail(failure),
            (Ok(()), Some(octets)) => server.response(octets),
            (Ok(()), None) => Step::Challenge(match mechanism {
                Mechanism::Login => Bytes::from_static(b"Username:"),
                _ => Bytes::new(),
            }),
        };
        (server, step)
    }

    /// The mechanism.
    pub fn mechanism(&self) -> Mechanism {
        self.mechanism
    }

    /// Whether the challenge just given is the last: the client is proved, and only its empty response is missing.
    pub fn is_final(&self) -> bool {
        matches!(self.state, State::AwaitFinalEmpty(_))
    }

    /// Takes the client's response, decoded.
    pub fn response(&mut self, octets: &[u8]) -> Step {
        self.try_response(octets).unwrap_or_else(|failure| self.fail(failure))
    }

    /// Takes the answer to the question that is out.
    pub fn answer(&mut self, answer: Answer) -> Step {
        self.try_answer(answer).unwrap_or_else(|failure| self.fail(failure))
    }

    fn fail(&mut self, failure: Failure) -> Step {
        self.state = State::Over;
        Step::Failed(failure)
    }

    fn try_response(&mut self, octets: &[u8]) -> Result<Step, Failure> {
        if octets.len() > self.context.limits.message {
            return Err(Failure::TooLong);
        }
        match std::mem::replace(&mut self.state, State::Over) {
            State::AwaitInitial => self.initial(octets),
            State::AwaitPassword { user } => self.ask_password(&user, text(octets)?, None),
            State::AwaitProof(exchange) => {
                let last = exchange.prove(octets)?;
                let authzid = exchange.authzid.clone().filter(|authzid| *authzid != exchange.user);
                self.proved(exchange.user.clone(), authzid, Some(last))
            }
            // RFC 4422 §3.6: data with success, for protocols without a place for it, is a challenge of its own.
            State::AwaitFinalEmpty(identity) if octets.is_empty() => Ok(Step::Done(identity)),
            State::AwaitFinalEmpty(_) => Err(Failure::Malformed),
            State::AwaitErrorEnd(failure) => Err(failure),
            State::AwaitVerdict { .. } | State::AwaitVerifier(_) | State::AwaitAuthorization { .. } | State::Over => {
                Err(Failure::Misuse)
            }
        }
    }

    fn initial(&mut self, octets: &[u8]) -> Result<Step, Failure> {
        match self.mechanism {
            Mechanism::Plain => {
                let message = plain::parse(octets).ok_or(Failure::Malformed)?;
                // RFC 4616 §2: acting as oneself is what an absent authzid means.
                let authzid = message.authzid.filter(|authzid| *authzid != message.user);
                self.ask_password(message.user, message.password, authzid)
            }
            Mechanism::Login => {
                let user = text(octets)?;
                self.check_name(user)?;
                self.state = State::AwaitPassword { user: user.to_owned() };
                Ok(Step::Challenge(Bytes::from_static(b"Password:")))
            }
            Mechanism::Scram { hash, plus } => {
                let first = scram::First::parse(octets, plus, &self.context, &self.nonce)?;
                let user = first.user.clone();
                self.state = State::AwaitVerifier(Box::new(first));
                Ok(Step::Ask(Ask::ScramKeys { user, hash }))
            }
            Mechanism::OauthBearer => self.token(oauth::parse_bearer(octets)),
            Mechanism::Xoauth2 => self.token(oauth::parse_xoauth2(octets)),
            Mechanism::External => {
                // RFC 4422 appendix A: the response is the authorization identity, and it may be empty.
                let wanted = std::str::from_utf8(octets).map_err(|_| Failure::Malformed)?;
                if wanted.contains('\0') {
                    return Err(Failure::Malformed);
                }
                self.check_name(wanted)?;
                let wanted = Some(wanted).filter(|wanted| !wanted.is_empty()).map(str::to_owned);
                let certificate = self.context.peer_certificate.clone().ok_or(Failure::NoCertificate)?;
                self.state = State::AwaitVerdict { authzid: wanted.clone() };
                Ok(Step::Ask(Ask::Certificate { certificate, wanted }))
            }
        }
    }

    fn ask_password(&mut self, user: &str, password: &str, authzid: Option<&str>) -> Result<Step, Failure> {
        self.check_name(user)?;
        self.check_name(authzid.unwrap_or_default())?;
        if password.len() > self.context.limits.password {
            return Err(Failure::TooLong);
        }
        // RFC 4616 §2: both are prepared before they are compared, the authzid is not.
        let user = saslprep(user).map_err(|_| Failure::Preparation)?.into_owned();
        let password = saslprep(password).map_err(|_| Failure::Preparation)?.into_owned();
        self.state = State::AwaitVerdict { authzid: authzid.map(str::to_owned) };
        Ok(Step::Ask(Ask::Password { user, password: Secret::from(password) }))
    }

    fn token(&mut self, message: Option<oauth::Message>) -> Result<Step, Failure> {
        let oauth::Message { user, token, host, port } = message.ok_or(Failure::Malformed)?;
        self.check_name(user.as_deref().unwrap_or_default())?;
        // RFC 7628 §4.3: an empty token is refused with the hints a client needs to get a good one.
        let Some(token) = token else { return Ok(self.refuse_token(Failure::Credentials)) };
        self.state = State::AwaitVerdict { authzid: user.clone() };
        Ok(Step::Ask(Ask::Token { user, token, host, port }))
    }

    // RFC 7628 §3.2.2: the reason goes out as a challenge, and the client's answer to it ends the exchange.
    fn refuse_token(&mut self, failure: Failure) -> Step {
        self.state = State::AwaitErrorEnd(failure);
        Step::Challenge(match self.mechanism {
            Mechanism::Xoauth2 => oauth::xoauth2_error(&self.context.oauth),
            _ => oauth::bearer_error("invalid_token", &self.context.oauth),
        })
    }

    fn check_name(&self, name: &str) -> Result<(), Failure> {
        if name.len() > self.context.limits.name { Err(Failure::TooLong) } else { Ok(()) }
    }

    fn try_answer(&mut self, answer: Answer) -> Result<Step, Failure> {
        let state = std::mem::replace(&mut self.state, State::Over);
        match (state, answer) {
            (State::AwaitVerdict { authzid }, Answer::Accept(user)) => self.proved(user, authzid, None),
            (State::AwaitVerdict { .. }, Answer::Refuse(Refusal::Credentials))
                if matches!(self.mechanism, Mechanism::OauthBearer | Mechanism::Xoauth2) =>
            {
                Ok(self.refuse_token(Failure::Credentials))
            }
            (State::AwaitVerifier(first), Answer::Keys(verifier)) => {
                let hash =
                    self.mechanism.scram_hash().filter(|hash| *hash == verifier.hash()).ok_or(Failure::Misuse)?;
                let (challenge, exchange) = first.challenge(hash, verifier);
                self.state = State::AwaitProof(Box::new(exchange));
                Ok(Step::Challenge(challenge))
            }
            (State::AwaitAuthorization { user, last }, Answer::Accept(authzid)) => {
                Ok(self.identified(Identity { user, authzid: Some(authzid) }, last))
            }
            (State::AwaitAuthorization { .. }, Answer::Refuse(Refusal::Credentials)) => Err(Failure::Authorization),
            (
                State::AwaitVerdict { .. } | State::AwaitVerifier(_) | State::AwaitAuthorization { .. },
                Answer::Refuse(refusal),
            ) => Err(refusal.into()),
            _ => Err(Failure::Misuse),
        }
    }

    /// The client is proved to be `user`; it may still want to act as another.
    fn proved(&mut self, user: String, authzid: Option<String>, last: Option<Bytes>) -> Result<Step, Failure> {
        match authzid.filter(|authzid| *authzid != user) {
            Some(authzid) => {
                self.state = State::AwaitAuthorization { user: user.clone(), last };
                Ok(Step::Ask(Ask::Authorize { user, authzid }))
            }
            None => Ok(self.identified(Identity { user, authzid: None }, last)),
        }
    }

    fn identified(&mut self, mut identity: Identity, last: Option<Bytes>) -> Step {
        identity.authzid = identity.authzid.filter(|authzid| *authzid != identity.user);
        match last {
            Some(last) => {
                self.state = State::AwaitFinalEmpty(identity);
                Step::Challenge(last)
            }
            None => Step::Done(identity),
        }
    }
}

fn text(octets: &[u8]) -> Result<&str, Failure> {
    std::str::from_utf8(octets).ok().filter(|text| !text.is_empty() && !text.contains('\0')).ok_or(Failure::Malformed)
}

impl fmt::Debug for Server {
    /// The mechanism and the state's name; nothing a client said.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Server({}, {})", self.mechanism, self.state.name())
    }
}
