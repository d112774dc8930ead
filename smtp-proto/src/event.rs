//! What a session tells for logs and metrics. Events need no answer and never hold message text or credentials.

use std::net::SocketAddr;

use crate::reply::Reply;

/// Something a server saw or did.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Event {
    /// The client introduced itself.
    Hello {
        /// What it called itself.
        name: String,
    },
    /// TLS is up by STARTTLS.
    Secured,
    /// The client logged in.
    Authenticated {
        /// The mechanism.
        mechanism: String,
        /// Who it is.
        identity: String,
    },
    /// A trusted host in front said who the client is (XCLIENT).
    HandedOver {
        /// The client's address.
        client: SocketAddr,
    },
    /// A verb of an extension ran.
    Ran {
        /// The verb.
        verb: &'static str,
        /// What the client was told.
        reply: Reply,
    },
    /// A login failed.
    LoginFailed {
        /// The mechanism.
        mechanism: String,
    },
    /// A command or message was refused.
    Refused(Reply),
    /// A message was taken.
    Accepted {
        /// Its octets, trace headers not counted.
        size: u64,
        /// Recipients it was taken for.
        recipients: usize,
    },
    /// The client broke a rule that honest clients keep.
    Violation(Violation),
}

/// A rule that honest clients keep.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Violation {
    /// Octets before the greeting.
    EarlyTalker,
    /// Octets behind STARTTLS, before the handshake.
    BehindStartTls,
    /// Bare CR or LF in a message.
    BareLineEnd,
    /// A BDAT that does not say how many octets follow it.
    Unframed,
    /// More errors than [`Limits::errors`](crate::config::Limits::errors).
    TooManyErrors,
    /// More failed logins than [`Limits::failed_logins`](crate::config::Limits::failed_logins).
    TooManyLogins,
}
