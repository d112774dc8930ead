//! The questions a client asks: which message, its octets, how to log in, and what became of every recipient.

use std::fmt;

use bytes::Bytes;
use mailstore_trait::session::LayerInfo;

use crate::reply::{EnhancedCode, Reply};
use crate::request::Envelope;

/// Which message is to be sent? Asked first of all, and again after each [`Report`].
#[derive(Debug)]
#[non_exhaustive]
pub struct NextMessage {
    /// Messages reported on this connection so far.
    pub sent: usize,
}

/// What to do next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Next {
    /// Send this message.
    Send(Box<Outgoing>),
    /// Say goodbye.
    Quit,
}

/// A message to send.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outgoing {
    /// Sender and recipients; without a recipient it is reported at once.
    pub envelope: Envelope,
    /// How many octets it has, exactly: SIZE declares them, and the last BDAT ends with them.
    pub size: u64,
}

/// Octets of the message from `offset`, at most `max`.
#[derive(Debug)]
#[non_exhaustive]
pub struct ReadBody {
    /// Where they start.
    pub offset: u64,
    /// How many, at most.
    pub max: usize,
}

/// Octets of a message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Page {
    /// These, at least one, at most as many as were asked for.
    Octets(Bytes),
    /// There are no more.
    End,
    /// They can't be read: the message is not sent now.
    Failed,
}

/// How to log in?
#[derive(Debug)]
#[non_exhaustive]
pub struct Login {
    /// The mechanisms the server offers, upper case.
    pub offered: Vec<String>,
    /// The stream's TLS, for channel binding.
    pub tls: Option<LayerInfo>,
}

/// How to log in.
#[derive(Clone, PartialEq, Eq)]
pub enum Credentials {
    /// By this mechanism.
    Mechanism {
        /// Its name.
        name: String,
        /// Its initial response, if it has one.
        initial: Option<Bytes>,
    },
    /// Not at all: send without.
    None,
    /// No offered mechanism will do: do not send.
    Unfit,
}

impl fmt::Debug for Credentials {
    /// Never the initial response.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Credentials::Mechanism { name, .. } => {
                f.debug_struct("Mechanism").field("name", name).finish_non_exhaustive()
            }
            Credentials::None => f.write_str("None"),
            Credentials::Unfit => f.write_str("Unfit"),
        }
    }
}

/// The server's challenge, decoded: what is the response?
#[non_exhaustive]
pub struct Challenge {
    /// The octets.
    pub octets: Bytes,
}

impl fmt::Debug for Challenge {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Challenge(…)")
    }
}

/// A response to a challenge.
#[derive(Clone, PartialEq, Eq)]
pub enum Response {
    /// These octets.
    Octets(Bytes),
    /// Break the exchange off (`*`).
    Cancel,
}

impl fmt::Debug for Response {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Response::Octets(_) => "Octets(…)",
            Response::Cancel => "Cancel",
        })
    }
}

/// The server says the login succeeded: has it proved itself too, where the mechanism demands that?
#[derive(Debug)]
#[non_exhaustive]
pub struct Succeeded;

/// What became of a message.
#[derive(Debug)]
#[non_exhaustive]
pub struct Report {
    /// One outcome for each recipient, in the envelope's order.
    pub outcomes: Vec<Outcome>,
    /// Whether the next hop took over success reports (RFC 3461 §5.2.1).
    pub dsn: bool,
    /// Whether the next hop took over by when the message must be delivered (RFC 2852 §4).
    pub deliver_by: bool,
    /// Whether the message crossed TLS.
    pub tls: bool,
}

/// What became of a recipient.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The server took responsibility.
    Delivered(Reply),
    /// Not now; try again.
    Deferred(Failure),
    /// Never.
    Failed(Failure),
}

/// Why a recipient was not served.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// Which command failed.
    pub stage: Stage,
    /// The reply, or what this side has to say in its place.
    pub reply: Reply,
    /// Whether the server said it.
    pub remote: bool,
}

/// A step of the conversation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Stage {
    /// DNS, before any connection: where mail for the domain goes.
    Lookup,
    /// The connection itself.
    Connect,
    /// Before MAIL, checked on this side: what the message needs and the server lacks.
    Requirements,
    /// The greeting.
    Greeting,
    /// EHLO, HELO or LHLO.
    Hello,
    /// STARTTLS and the handshake.
    StartTls,
    /// AUTH.
    Auth,
    /// MAIL.
    Mail,
    /// RCPT.
    Rcpt,
    /// DATA, up to its 354.
    Data,
    /// The message itself, a BDAT that is not the last among it.
    Body,
    /// The final dot, or the last BDAT.
    FinalDot,
}

impl Stage {
    /// Whether any message would have come as far as this one, since nothing was said of it yet.
    #[must_use]
    pub fn is_before_the_message(self) -> bool {
        matches!(self, Stage::Lookup | Stage::Connect | Stage::Greeting | Stage::Hello | Stage::StartTls | Stage::Auth)
    }
}

mailstore_trait::questions! {
    /// Which message is to be sent?
    NextMessage -> Next, refused by Next::Quit;
    /// How to log in?
    Login -> Credentials, refused by Credentials::Unfit;
    /// What is the response?
    Challenge -> Response, refused by Response::Cancel;
    /// Has the server proved itself?
    Succeeded -> bool, refused by false;
    /// Octets of the message.
    ReadBody -> Page, refused by Page::Failed;
    /// What became of a message.
    Report -> (), refused by ();
}

pub(crate) const fn local(code: u16, (class, subject, detail): (u8, u16, u16), text: &'static str) -> Reply {
    Reply { code, enhanced: Some(EnhancedCode::new(class, subject, detail)), text: std::borrow::Cow::Borrowed(text) }
}

pub(super) const LOST: Reply = local(451, (4, 4, 2), "Connection lost");
pub(super) const TIMED_OUT: Reply = local(451, (4, 4, 2), "Conversation timed out");
pub(super) const STALLED: Reply = local(451, (4, 4, 2), "The server takes no more octets");
pub(super) const NONSENSE: Reply = local(451, (4, 5, 0), "The server does not speak SMTP");
pub(super) const STOPPED: Reply = local(451, (4, 3, 2), "Sending was stopped");
pub(super) const UNREADABLE: Reply = local(451, (4, 3, 0), "The message could not be read");
pub(super) const NO_TLS: Reply = local(451, (4, 7, 0), "TLS is required and not offered");
pub(super) const NO_HANDSHAKE: Reply = local(451, (4, 7, 0), "TLS handshake failed");
pub(super) const INJECTED: Reply = local(451, (4, 5, 0), "Octets behind the reply to STARTTLS");
pub(super) const NO_AUTH: Reply = local(451, (4, 7, 0), "No usable login is offered");
pub(super) const IMPOSTOR: Reply = local(451, (4, 7, 0), "The server did not prove itself");
pub(super) const NO_SMTPUTF8: Reply = local(550, (5, 6, 7), "The message needs SMTPUTF8, which the server lacks");
pub(super) const NO_BINARY: Reply = local(554, (5, 6, 3), "The message is binary, which the server does not take");
pub(super) const NO_REQUIRETLS: Reply = local(550, (5, 7, 30), "The message needs REQUIRETLS, which the server lacks");
pub(super) const NO_DELIVERBY: Reply = local(550, (5, 3, 3), "The message needs DELIVERBY, which the server lacks");
pub(super) const TOO_LATE: Reply = local(550, (5, 4, 7), "The server needs longer than the message may take");
pub(super) const NO_FUTURERELEASE: Reply =
    local(550, (5, 5, 1), "The message needs FUTURERELEASE, which the server lacks");
pub(super) const NO_RRVS: Reply = local(550, (5, 7, 19), "The recipient needs RRVS, which the server lacks");
pub(super) const NO_EIGHT_BIT: Reply = local(554, (5, 6, 3), "The message is 8-bit, which the server does not take");
pub(super) const NO_MORE_MAIL: Reply = local(451, (4, 5, 3), "The server takes no further message on this connection");
pub(super) const TOO_BIG: Reply = local(552, (5, 3, 4), "The message is larger than the server takes");
