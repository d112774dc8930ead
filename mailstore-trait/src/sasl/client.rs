//! The client's machine: one exchange of one mechanism, from credentials to a verified success (RFC 4422 §3).
//!
//! ```
//! use mailstore_trait::sasl::{Client, Context, Credentials, Mechanism, Nonce, Secret};
//!
//! let mut context = Context::cleartext();
//! context.tls = true;
//! let credentials = Credentials::Password { user: "tim".into(), password: Secret::from("tanstaaf"), authzid: None };
//! let nonce = Nonce::from_random([7; 18]); // fresh random octets in real life
//! let mut client = Client::start(Mechanism::Plain, &credentials, &context, nonce)?;
//! assert_eq!(client.initial().as_deref(), Some(&b"\0tim\0tanstaaf"[..])); // send it with the command, and then:
//! client.success(None)?;
//! # Ok::<(), mailstore_trait::sasl::client::Failure>(())
//! ```

use std::fmt;

use bytes::Bytes;

use super::context::{Context, Nonce};
use super::mechanism::Mechanism;
use super::oauth;
use super::plain;
use super::scram::client as scram;
use super::secret::Secret;

/// What a client proves itself with.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Credentials {
    /// For PLAIN, LOGIN and SCRAM.
    Password {
        /// The user name.
        user: String,
        /// The password, in UTF-8.
        password: Secret,
        /// The identity to act as, where it is another. LOGIN cannot say it.
        authzid: Option<String>,
    },
    /// For OAUTHBEARER and XOAUTH2.
    Token {
        /// The user name; XOAUTH2 needs it.
        user: Option<String>,
        /// The bearer token.
        token: Secret,
        /// The server's name as the user knows it.
        host: Option<String>,
        /// The server's port.
        port: Option<u16>,
    },
    /// For EXTERNAL: the certificate was shown to TLS.
    Certificate {
        /// The identity to act as; `None` for the certificate's own.
        authzid: Option<String>,
    },
}

impl Credentials {
    /// Whether the mechanism can use them.
    pub fn fit(&self, mechanism: Mechanism) -> bool {
        match self {
            Credentials::Password { authzid, .. } => match mechanism {
                Mechanism::Plain | Mechanism::Scram { .. } => true,
                Mechanism::Login => authzid.is_none(),
                _ => false,
            },
            Credentials::Token { user, .. } => {
                mechanism == Mechanism::OauthBearer || (mechanism == Mechanism::Xoauth2 && user.is_some())
            }
            Credentials::Certificate { .. } => mechanism == Mechanism::External,
        }
    }
}

/// The strongest of the mechanisms a server offers that these credentials and this connection can use.
pub fn choose(
    offered: impl IntoIterator<Item = Mechanism>,
    credentials: &Credentials,
    context: &Context,
) -> Option<Mechanism> {
    let usable = |mechanism: &Mechanism| credentials.fit(*mechanism) && permits(context, *mechanism).is_ok();
    offered.into_iter().filter(usable).max_by_key(|mechanism| mechanism.strength())
}

/// Unlike a server, a client need not see its own certificate.
fn permits(context: &Context, mechanism: Mechanism) -> Result<(), Failure> {
    if mechanism.needs_channel_binding() && !context.can_bind() {
        return Err(Failure::UnsupportedBinding);
    }
    if (mechanism.is_plaintext() && !context.tls && !context.allow_cleartext)
        || (mechanism.needs_certificate() && !context.tls)
    {
        return Err(Failure::TlsRequired);
    }
    Ok(())
}

/// Why a client gave up.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
#[non_exhaustive]
pub enum Failure {
    /// The credentials do not fit the mechanism, or hold what it cannot say.
    #[error("credentials the mechanism cannot use")]
    Credentials,
    /// The mechanism would send a password or token in clear.
    #[error("the mechanism needs TLS")]
    TlsRequired,
    /// The connection's channel binding is not known.
    #[error("no channel binding")]
    UnsupportedBinding,
    /// The server's message is not of the mechanism's grammar.
    #[error("a malformed challenge")]
    Malformed,
    /// The server's message is longer than the limits allow.
    #[error("a challenge over the limits")]
    TooLong,
    /// The server demands a SCRAM extension that is not known.
    #[error("an unknown extension")]
    UnsupportedExtension,
    /// The server asks for fewer or more PBKDF2 iterations than the limits allow.
    #[error("{0} iterations, outside the limits")]
    Iterations(u32),
    /// The server could not prove that it knows the user: it is not the server it poses as.
    #[error("the server's signature is wrong")]
    ServerSignature,
    /// The server said, in the mechanism's own way, that it refuses.
    #[error("refused by the server")]
    Refused,
    /// The server sent another challenge after the exchange was over, or claimed success before it was.
    #[error("the server spoke out of turn")]
    OutOfTurn,
}

/// One exchange of one mechanism, seen from the client.
///
/// [`initial`](Client::initial) and then [`challenge`](Client::challenge) give what to send; the protocol's own reply
/// ends the exchange: on success call [`success`](Client::success), which alone says whether it is to be believed.
pub struct Client {
    mechanism: Mechanism,
    /// The first message, until it is sent.
    initial: Option<Bytes>,
    message_limit: usize,
    state: State,
}

enum State {
    /// Nothing more to prove: success may come.
    Complete,
    /// LOGIN: the user name, then the password.
    Login {
        user: Option<Secret>,
        password: Secret,
    },
    ScramFirst(Box<scram::First>),
    ScramFinal(Box<scram::Final>),
    /// OAuth: an error may come, and is acknowledged by these octets.
    Token(&'static str),
    /// Refused by an OAuth error that was acknowledged.
    Refused,
    Over,
}

impl Client {
    /// Begins an exchange. `nonce` is fresh; only SCRAM spends it.
    ///
    /// # Errors
    /// When the credentials do not fit the mechanism or cannot be said in it, or the connection lacks what it needs.
    pub fn start(
        mechanism: Mechanism,
        credentials: &Credentials,
        context: &Context,
        nonce: Nonce,
    ) -> Result<Client, Failure> {
        permits(context, mechanism)?;
        if !credentials.fit(mechanism) {
            return Err(Failure::Credentials);
        }
        let (initial, state) = match (mechanism, credentials) {
            (Mechanism::Plain, Credentials::Password { user, password, authzid }) => {
                // RFC 4616 §2: the server prepares; the client sends what the user typed.
                let password = password.expose_str().map_err(|_| Failure::Credentials)?;
                let message = plain::write(&plain::Message { authzid: authzid.as_deref(), user, password });
                (Some(message.ok_or(Failure::Credentials)?), State::Complete)
            }
            (Mechanism::Login, Credentials::Password { user, password, .. }) => {
                let can_say = |octets: &[u8]| !octets.is_empty() && !octets.contains(&0);
                if !can_say(user.as_bytes()) || !can_say(password.expose()) || password.expose_str().is_err() {
                    return Err(Failure::Credentials);
                }
                (None, State::Login { user: Some(Secret::from(user.as_str())), password: password.clone() })
            }
            (Mechanism::Scram { hash, plus }, Credentials::Password { user, password, authzid }) => {
                let first = scram::First::new(hash, plus, (user, password, authzid.as_deref()), context, nonce)?;
                (Some(first.message()), State::ScramFirst(Box::new(first)))
            }
            (Mechanism::OauthBearer, Credentials::Token { user, token, host, port }) => {
                let token = token.expose_str().map_err(|_| Failure::Credentials)?;
                let message = oauth::write_bearer(user.as_deref(), token, host.as_deref(), *port);
                (Some(message.ok_or(Failure::Credentials)?), State::Token(oauth::KVSEP))
            }
            (Mechanism::Xoauth2, Credentials::Token { user: Some(user), token, .. }) => {
                let token = token.expose_str().map_err(|_| Failure::Credentials)?;
                (Some(oauth::write_xoauth2(user, token).ok_or(Failure::Credentials)?), State::Token(""))
            }
            (Mechanism::External, Credentials::Certificate { authzid }) => {
                let authzid = authzid.as_deref().unwrap_or_default();
                if authzid.contains('\0') {
                    return Err(Failure::Credentials);
                }
                (Some(Bytes::copy_from_slice(authzid.as_bytes())), State::Complete)
            }
            _ => return Err(Failure::Credentials),
        };
        Ok(Client { mechanism, initial, message_limit: context.limits.message, state })
    }

    /// The mechanism.
    pub fn mechanism(&self) -> Mechanism {
        self.mechanism
    }

    /// The initial response, for protocols that can send one with the command; empty is not absent. Where it is not
    /// taken here, it answers the first challenge. LOGIN has none.
    pub fn initial(&mut self) -> Option<Bytes> {
        self.initial.take()
    }

    /// Answers the server's challenge, decoded.
    ///
    /// # Errors
    /// When the server breaks the mechanism or cannot prove itself: cancel the exchange.
    pub fn challenge(&mut self, octets: &[u8]) -> Result<Bytes, Failure> {
        if octets.len() > self.message_limit {
            self.state = State::Over;
            return Err(Failure::TooLong);
        }
        if let Some(initial) = self.initial.take() {
            // RFC 4422 §5: a server that got no initial response asks for it with an empty challenge.
            if octets.is_empty() {
                return Ok(initial);
            }
            self.state = State::Over;
            return Err(Failure::Malformed);
        }
        match std::mem::replace(&mut self.state, State::Over) {
            State::Login { user: Some(user), password } => {
                // The prompts differ between servers and none is standard: their order alone counts.
                let response = Bytes::copy_from_slice(user.expose());
                self.state = State::Login { user: None, password };
                Ok(response)
            }
            State::Login { user: None, password } => {
                self.state = State::Complete;
                Ok(Bytes::copy_from_slice(password.expose()))
            }
            State::ScramFirst(first) => {
                let (response, last) = first.prove(octets)?;
                self.state = State::ScramFinal(Box::new(last));
                Ok(response)
            }
            State::ScramFinal(last) => {
                last.verify(octets)?;
                self.state = State::Complete;
                Ok(Bytes::new())
            }
            State::Token(acknowledgement) => {
                // RFC 7628 §3.2.3: the error is acknowledged, then the server fails the exchange.
                self.state = State::Refused;
                Ok(Bytes::from_static(acknowledgement.as_bytes()))
            }
            State::Complete | State::Refused | State::Over => Err(Failure::OutOfTurn),
        }
    }

    /// The protocol's reply says success, with these octets if it can carry any. Only after `Ok` is the client logged
    /// in: a server that claims success without having proved itself in SCRAM is an impostor.
    ///
    /// # Errors
    /// When the exchange was not over or the server did not prove itself: close the connection.
    pub fn success(&mut self, additional: Option<&[u8]>) -> Result<(), Failure> {
        if self.initial.take().is_some() {
            self.state = State::Over;
            return Err(Failure::OutOfTurn);
        }
        match (std::mem::replace(&mut self.state, State::Over), additional) {
            (State::ScramFinal(last), Some(octets)) if octets.len() <= self.message_limit => last.verify(octets),
            (State::Complete | State::Token(_), None | Some([])) => Ok(()),
            (State::Refused, _) => Err(Failure::Refused),
            _ => Err(Failure::OutOfTurn),
        }
    }
}

impl fmt::Debug for Client {
    /// The mechanism; nothing of the credentials.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Client({})", self.mechanism)
    }
}
