//! What a server session is doing, and every deadline it has.
//!
//! ```text
//!  Start ─▶ AwaitConnect? ─▶ Greeting ─▶ Command ◀──────────────────────────────────────────────┐
//!                                         │ EHLO  ─▶ AwaitHello? ──────────────────────────────▶│
//!                                         │ AUTH  ─▶ AwaitSasl ⇄ Sasl ─────────────────────────▶│
//!                                         │ STARTTLS ─▶ AwaitLayer ────────────────────────────▶│
//!                                         │ MAIL  ─▶ AwaitMail ────────────────────────────────▶│
//!                                         │ RCPT… ─▶ AwaitRcpt ────────────────────────────────▶│
//!                                         │ VRFY, EXPN ─▶ AwaitLookUp? ────────────────────────▶│
//!                                         │ ETRN, registered ─▶ AwaitExtension? ───────────────▶│
//!                                         │ XCLIENT ─▶ Start                                    │
//!                                         │ DATA, BDAT ─▶ AwaitOpen ─▶ Body ⇄ AwaitChunk        │
//!                                         │                             │ refused: AwaitAbandon │
//!                                         │                             └─▶ AwaitCommit ───────▶┤
//!                                         │ BDAT out of place ─▶ Swallow ──────────────────────▶┘
//!                                         └ QUIT, faults, deadlines, end of stream ─▶ Closed
//! ```

use std::sync::Arc;
use std::time::{Duration, Instant};

use mailstore_trait::session::CloseReason;

use super::body::Framer;
use crate::config::Timeouts;
use crate::reply::Reply;
use crate::request::{Envelope, Origin, Recipient, Sender};

#[derive(Debug)]
pub(super) enum State {
    Start,
    AwaitConnect,
    /// The greeting is held back until the deadline.
    Greeting,
    Command,
    /// The client, if its hello is accepted.
    AwaitHello(Arc<Origin>),
    /// With whether its priority was lowered.
    AwaitMail(Box<Sender>, bool),
    AwaitRcpt(Vec<Recipient>),
    /// Whether the answer may be UTF-8.
    AwaitLookUp {
        smtputf8: bool,
    },
    /// A verb of an extension.
    AwaitExtension(&'static str),
    /// The client's next line belongs to the exchange.
    Sasl(Exchange),
    AwaitSasl(Exchange),
    /// `asked` once the layer was asked for.
    AwaitLayer {
        asked: bool,
    },
    AwaitOpen(Box<Upload>, Extent),
    Body(Box<Upload>, Extent),
    /// `end`: the chunk that is out was the message's last.
    AwaitChunk(Box<Upload>, Extent, bool),
    /// The body is refused; it is dropped, then its rest swallowed.
    AwaitAbandon(Box<Upload>, Extent, bool),
    /// RSET or an accepted EHLO between chunks: the body is dropped, then this is said.
    AwaitDrop(Dropped),
    AwaitCommit(Box<Upload>),
    /// Octets of a BDAT that was refused, and why.
    Swallow(u64, Reply),
    Closed(CloseReason),
    /// Only inside a transition.
    Moved,
}

/// What of a mail transaction there is.
#[derive(Debug)]
pub(super) enum Mail {
    None,
    /// MAIL and perhaps RCPTs were accepted.
    Envelope(Box<Sender>, Vec<Recipient>),
    /// The first BDAT was; only BDAT and RSET may follow.
    Chunks(Box<Upload>),
}

/// Why a body was dropped between chunks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Dropped {
    Reset,
    Hello,
}

/// How much of a message is to come.
#[derive(Clone, Copy, Debug)]
pub(super) enum Extent {
    /// To the dot line.
    Dot,
    /// So many octets, and whether they are the last.
    Counted { left: u64, last: bool },
}

/// A body on its way in.
#[derive(Debug)]
pub(super) struct Upload {
    pub(super) envelope: Arc<Envelope>,
    pub(super) framer: Framer,
    /// Octets so far.
    pub(super) size: u64,
    /// Why the rest is swallowed.
    pub(super) refusal: Option<Reply>,
    /// Octets swallowed.
    pub(super) swallowed: u64,
    /// When the whole message must be here.
    pub(super) until: Instant,
}

/// A login under way.
#[derive(Debug)]
pub(super) struct Exchange {
    pub(super) mechanism: Arc<str>,
    /// The mechanism is done; the client only has to answer its last octets.
    pub(super) done: Option<String>,
}

impl State {
    /// How long this state may last without progress.
    pub(super) fn patience(&self, timeouts: &Timeouts) -> Duration {
        match self {
            State::AwaitCommit(_) => timeouts.commit,
            State::AwaitLayer { .. } => timeouts.layer,
            _ if self.is_await() => timeouts.answer,
            _ => timeouts.command,
        }
    }

    /// Whether a question is out.
    pub(super) fn is_await(&self) -> bool {
        matches!(
            self,
            State::AwaitConnect
                | State::AwaitHello(_)
                | State::AwaitMail(..)
                | State::AwaitRcpt(_)
                | State::AwaitLookUp { .. }
                | State::AwaitExtension(_)
                | State::AwaitSasl(_)
                | State::AwaitOpen(..)
                | State::AwaitChunk(..)
                | State::AwaitAbandon(..)
                | State::AwaitDrop(_)
                | State::AwaitCommit(_)
        )
    }

    /// The whole message's deadline, while one is on its way in.
    pub(super) fn until(&self) -> Option<Instant> {
        match self {
            State::Body(upload, _) | State::AwaitChunk(upload, ..) => Some(upload.until),
            _ => None,
        }
    }
}
