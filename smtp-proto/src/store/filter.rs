//! What looks at messages before they are accepted: authentication, spam and virus scanners, signers.
//!
//! A [`Filter`] is to the [`Fulfiller`](super::Fulfiller) what a milter is to Postfix, without the wire between them: it
//! sees the envelope, then the octets as they pass, and at the end says what is to become of the message before the
//! client gets its answer. Nothing is held back for it: a filter keeps what it needs, within a limit of its own; what has
//! to be known in front of the body comes as soon as the header has gone by.

use std::sync::Arc;

use bytes::Bytes;
use mailstore_trait::folder::Role;
use mailstore_trait::future::BoxFuture;

use crate::reply::Reply;
use crate::request::{Envelope, Origin};

/// Looks at messages on their way in. Shared by all sessions of a listener.
pub trait Filter: Send + Sync {
    /// Begins to look at a message, or lets it by unseen.
    fn open(&self, origin: &Arc<Origin>, envelope: &Arc<Envelope>) -> Option<Box<dyn Filtering>>;
}

/// One message that is looked at. Dropped when the client gives up on it.
pub trait Filtering: Send {
    /// The header has gone by, or [`Policy::header`](super::Policy::header) octets that may be one. `added` is what this
    /// host writes in front of it: its trace fields, and what a submitted message lacked.
    ///
    /// Called once, before the octets in which the header ends are passed; of a message without a body before
    /// [`judge`](Filtering::judge).
    fn begin(&mut self, added: &str) {
        let _ = added;
    }

    /// Takes the message's next octets and gives those that go on: the same, others, or none for now.
    fn pass(&mut self, octets: Bytes) -> Bytes;

    /// The message is whole.
    ///
    /// The client waits for the answer: whoever asks the network here sets itself a deadline well below the ten minutes
    /// that RFC 5321 §4.5.3.2.6 gives the client.
    fn judge(self: Box<Self>) -> BoxFuture<'static, Verdict>;
}

/// What becomes of a message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It is taken.
    Accepted(Accepted),
    /// It is refused, 4xx or 5xx, for every recipient.
    Refused(Reply),
}

/// How a message is taken.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Accepted {
    /// The message's last octets, where [`pass`](Filtering::pass) held them back.
    pub rest: Bytes,
    /// Whole header fields with their line ends, to be written above everything else.
    pub fields: String,
    /// The folder of local recipients that it goes into, [`Role::Junk`] for spam; the inbox where they have none.
    pub folder: Option<Role>,
}
