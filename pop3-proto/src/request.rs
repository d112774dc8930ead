//! What a server asks, and what answers it.
//!
//! A login is one question for PASS and APOP, and one for each message of AUTH. The maildrop is opened after it: the
//! lease is taken, and the snapshot comes in pages. Messages are read in pieces while they are sent. Nothing is written
//! before QUIT, and then in one question.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use mailstore_trait::id::Uid;
use mailstore_trait::sasl::{Mechanism, Secret};
use mailstore_trait::session::LayerInfo;
use mailstore_trait::uid_set::UidSet;

use crate::capability::{Expire, LoginDelay};
use crate::maildrop::Message;

/// USER and PASS (RFC 1939 §7).
#[derive(Debug)]
pub struct Login {
    /// The name: UTF-8, prepared (RFC 6856 §2.2).
    pub user: String,
    /// The password: UTF-8, prepared likewise.
    pub password: Secret,
    /// The TLS beneath.
    pub tls: Option<Arc<LayerInfo>>,
}

/// APOP (RFC 1939 §7): whether `digest` is the MD5 digest of the timestamp and the user's password.
#[derive(Debug)]
pub struct Apop {
    /// The name.
    pub user: String,
    /// The greeting's timestamp, angle brackets included.
    pub timestamp: String,
    /// What the client computed.
    pub digest: [u8; 16],
    /// The TLS beneath.
    pub tls: Option<Arc<LayerInfo>>,
}

/// One message of AUTH (RFC 5034 §4). Whoever answers runs the mechanism's machine.
#[derive(Debug)]
pub struct SaslStep {
    /// The mechanism.
    pub mechanism: Mechanism,
    /// Whether an exchange begins; an unfinished one before it is forgotten.
    pub first: bool,
    /// The initial response or the response, decoded. `None` only at the beginning: there was no initial response.
    pub octets: Option<Secret>,
    /// The TLS beneath.
    pub tls: Option<Arc<LayerInfo>>,
}

/// How a login ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LoggedIn {
    /// The user is right. The maildrop is opened next.
    Accepted {
        /// Who it is, for events.
        user: String,
    },
    /// Not so.
    Refused(LoginRefusal),
}

/// Why a login was refused. What the peer is told shows no more than its protocol wants.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum LoginRefusal {
    /// Wrong credentials, or no such user.
    Credentials,
    /// The account is closed to log-ins.
    Disabled,
    /// The exchange is not of its mechanism's grammar.
    Malformed,
    /// The user database cannot say now. Does not count as a failed login.
    Unavailable,
}

/// What a message of AUTH led to.
#[derive(Debug)]
pub enum SaslStepped {
    /// Send this challenge and ask again with the response.
    Challenge(Bytes),
    /// The exchange is over.
    Over(LoggedIn),
}

/// Takes the maildrop's lease and the snapshot's bounds, for the user just accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OpenMaildrop {
    /// How long the lease lasts when it is not renewed.
    pub lease: Duration,
}

/// How opening went.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum MaildropOpened {
    /// The lease is held.
    Opened(Opened),
    /// Another session holds it (RFC 1939 §4, RFC 2449 §8.1.2).
    InUse,
    /// The user logged in too recently (RFC 2449 §8.1.1).
    TooSoon,
    /// The store cannot say now.
    Unavailable,
}

/// An open maildrop.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Opened {
    /// About how many messages the pages will bring.
    pub messages: usize,
    /// The least time between two logins of this user; `None` for the announced one.
    pub login_delay: Option<LoginDelay>,
    /// How long this user's messages are kept; `None` for the announced time.
    pub expire: Option<Expire>,
}

impl Opened {
    /// A maildrop of about so many messages.
    #[must_use]
    pub fn new(messages: usize) -> Opened {
        Opened { messages, ..Opened::default() }
    }
}

/// A page of the snapshot: messages that were there when it was opened, ascending by UID.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MaildropPage {
    /// Only messages behind this one; `None` at the beginning.
    pub after: Option<Uid>,
    /// At most so many.
    pub max: usize,
}

/// A page of the snapshot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PageRead {
    /// Messages, and whether there are more behind them.
    Page {
        /// The messages, ascending by UID.
        messages: Vec<Message>,
        /// Whether to ask again.
        more: bool,
    },
    /// The store cannot say now.
    Unavailable,
}

/// Extends the lease.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RenewLease {
    /// How long it lasts from now.
    pub lease: Duration,
}

/// How a renewal went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LeaseRenewed {
    /// It is held for that long.
    Renewed,
    /// It is another's, or nobody's.
    Lost,
    /// The store cannot say now; asked again soon.
    Unavailable,
}

/// A piece of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReadMessage {
    /// Which.
    pub uid: Uid,
    /// From which octet on.
    pub offset: u64,
    /// At most so many octets.
    pub max: usize,
}

/// How reading went.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum MessageRead {
    /// Octets from the offset on; none only at the message's end.
    Octets(Bytes),
    /// Another session removed the message.
    Gone,
    /// The store cannot say now.
    Unavailable,
}

/// RFC 1939 §6: what QUIT does. Asked once, with the lease held.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Commit {
    /// Messages to remove.
    pub deleted: UidSet,
    /// Messages that stay and are to be marked as seen.
    pub seen: UidSet,
}

/// How a commit went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Committed {
    /// Everything is done and durable.
    Done,
    /// Some messages were removed, others not.
    Partly,
    /// Nothing was removed.
    Failed,
    /// The lease was lost; nothing was removed.
    LeaseLost,
}

/// Gives the lease back. Asked once, last of all.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Release;

/// The lease was given back, or could not be and runs out by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Released;

mailstore_trait::questions! {
    /// Are this user and this password right?
    Login -> LoggedIn, refused by LoggedIn::Refused(LoginRefusal::Unavailable);
    /// Are this user and this digest right?
    Apop -> LoggedIn, refused by LoggedIn::Refused(LoginRefusal::Unavailable);
    /// What does this message of a SASL exchange lead to?
    SaslStep -> SaslStepped, refused by SaslStepped::Over(LoggedIn::Refused(LoginRefusal::Unavailable));
    /// Open the maildrop of whoever was accepted last.
    OpenMaildrop -> MaildropOpened, refused by MaildropOpened::Unavailable;
    /// Which messages are in it?
    MaildropPage -> PageRead, refused by PageRead::Unavailable;
    /// Extend the lease.
    RenewLease -> LeaseRenewed, refused by LeaseRenewed::Lost;
    /// Read a piece of a message.
    ReadMessage -> MessageRead, refused by MessageRead::Unavailable;
    /// Do what QUIT does.
    Commit -> Committed, refused by Committed::Failed;
    /// Give the lease back.
    Release -> Released, refused by Released;
}
