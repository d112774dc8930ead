//! What a server tells its embedder, for logs and counters.

use crate::command::CommandErrorKind;
use crate::request::LoginRefusal;

/// Something happened in a server's session.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Event {
    /// TLS is up.
    Tls,
    /// Somebody logged in and the maildrop is open.
    LoggedIn {
        /// Who.
        user: String,
        /// Messages in the maildrop.
        messages: u32,
        /// Their octets.
        octets: u64,
    },
    /// A login was refused.
    LoginFailed(LoginRefusal),
    /// The user is right, but another session has the maildrop.
    InUse {
        /// Who.
        user: String,
    },
    /// A message was queued whole for the peer.
    Retrieved {
        /// Its number.
        message: u32,
        /// Its octets.
        octets: u64,
    },
    /// QUIT removed messages.
    Removed {
        /// How many.
        messages: u32,
    },
    /// The maildrop's lease was lost: the session will end without removing anything.
    LeaseLost,
    /// The peer said something that is no command, or none in this state.
    Violation(Violation),
}

/// What a peer did wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Violation {
    /// A line that is no command.
    Command(CommandErrorKind),
    /// A command in the wrong state.
    State,
    /// A line over the limit.
    LineTooLong,
    /// Octets behind STLS.
    OctetsBehindStls,
}
