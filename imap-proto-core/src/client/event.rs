//! What a client tells.

use super::capabilities::Capabilities;
use super::response::{Condition, Data, Found, ResponseText};

/// What a client tells, in the order the server said it.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum Event {
    /// What the server can do; told again whenever it said so again.
    Capabilities(Capabilities),
    /// TLS is up.
    Tls,
    /// Logged in: commands run from here on.
    Ready,
    /// No login; the session ends.
    LoginFailed(LoginFailure),
    /// The server tells something, whether anybody asked or not.
    Data(Data),
    /// The server said something beside its answers: `* OK [UIDVALIDITY 5]`, `* NO disk is nearly full`, `* BYE`.
    Told {
        /// What kind of news.
        condition: Condition,
        /// The news.
        text: ResponseText,
    },
    /// SELECT or EXAMINE was sent: from here on, or from [`Code::Closed`](super::Code::Closed) on where a mailbox was
    /// selected, everything is about the new mailbox.
    Selecting {
        /// The command's ticket.
        ticket: u64,
        /// Whether it asks for what has changed ([`Select::qresync`](super::Select::qresync)).
        resync: bool,
    },
    /// No mailbox is selected any more: it was left, or another could not be selected.
    Unselected,
    /// What a search found. Comes before the search is [`Done`](Event::Done).
    Found {
        /// The search's ticket.
        ticket: u64,
        /// What it found.
        found: Found,
    },
    /// The server tells of changes from here on, until the next command.
    Idling {
        /// The command's ticket.
        ticket: u64,
    },
    /// A command was done.
    Done {
        /// Its ticket.
        ticket: u64,
        /// What the server says of it.
        text: ResponseText,
    },
    /// A command failed.
    Failed {
        /// Its ticket.
        ticket: u64,
        /// Whether it was refused ([`Condition::No`]) or not understood ([`Condition::Bad`]).
        condition: Condition,
        /// What the server says of it.
        text: ResponseText,
    },
    /// A command was not even sent.
    NotTaken {
        /// Its ticket.
        ticket: u64,
        /// Why.
        reason: NotTaken,
    },
}

/// Why a command was not sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum NotTaken {
    /// The queue is full.
    Full,
    /// The session ends.
    Ending,
    /// The numbers in it mean other messages by now, or none: messages were removed, or another mailbox was selected, since
    /// it was given.
    Renumbered,
    /// The server does not offer what the command needs.
    Unsupported,
    /// The command is longer than the limit, or holds what can't be said.
    Illegal,
}

/// Why there was no login.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum LoginFailure {
    /// The server refuses.
    Refused(ResponseText),
    /// TLS is required and the server does not offer it.
    NoTls,
    /// The server offers no way to log in that these credentials and this connection permit.
    NoMechanism,
    /// The server broke the mechanism, or could not prove that it knows the user.
    Exchange,
}
