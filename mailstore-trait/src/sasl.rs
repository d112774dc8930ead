//! SASL mechanisms as state machines without I/O, on both sides of the wire (RFC 4422).
//!
//! | mechanism | source | needs |
//! |---|---|---|
//! | PLAIN | RFC 4616 | TLS |
//! | LOGIN | de facto, prompts `Username:` and `Password:` | TLS |
//! | SCRAM-SHA-1, -256, -512, each with -PLUS | RFC 5802, RFC 7677, RFC 5929, RFC 9266 | a SCRAM verifier; -PLUS: a channel binding |
//! | OAUTHBEARER | RFC 7628 | TLS |
//! | XOAUTH2 | Google's and Microsoft's forerunner of it | TLS |
//! | EXTERNAL | RFC 4422 appendix A | a client certificate |
//!
//! A machine sees the mechanism's own octets: base64, `=` for an empty initial response and `*` to cancel belong to
//! the protocol that carries it. It never looks anything up and never waits. What it must know it asks as a value
//! ([`Ask`]) and goes on when the answer comes ([`Server::answer`]), so the user database behind it may be as slow and
//! as asynchronous as it likes. Nonces are given from outside.
//!
//! ```text
//!   start ──▶ Challenge ──response──▶ … ──▶ Ask ──answer──▶ … ──▶ Done(Identity)
//!     │            │                         │                └─▶ Failed(Failure)
//!     └────────────┴──── any may come first ─┘
//! ```
//!
//! ```
//! use mailstore_trait::sasl::{Answer, Ask, Context, Mechanism, Nonce, Server, Step};
//!
//! let mut context = Context::cleartext();
//! context.tls = true;
//! let mechanism = Mechanism::parse(b"PLAIN").expect("known");
//! let nonce = Nonce::from_random([7; 18]); // fresh random octets in real life
//! let (mut server, step) = Server::start(mechanism, context, nonce, Some(b"\0tim\0tanstaaftanstaaf"));
//! let Step::Ask(Ask::Password { user, password }) = step else { panic!("{step:?}") };
//! assert_eq!((user.as_str(), password.expose()), ("tim", &b"tanstaaftanstaaf"[..]));
//! let Step::Done(identity) = server.answer(Answer::Accept(user)) else { panic!() };
//! assert_eq!(identity.acts_as(), "tim");
//! ```

pub mod client;
mod context;
mod mechanism;
mod oauth;
mod plain;
mod prep;
mod scram;
mod secret;
mod server;
#[cfg(test)]
mod tests;

pub use client::{Client, Credentials};
pub use context::{Context, Limits, Nonce, OauthHints};
pub use mechanism::Mechanism;
pub use prep::{PrepError, saslprep};
pub use scram::{ScramHash, ScramVerifier, VerifierError};
pub use secret::Secret;
pub use server::{Answer, Ask, Failure, Identity, Refusal, Server, Step};
