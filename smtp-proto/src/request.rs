//! The questions a server asks, and their answers.
//!
//! A transaction is a row of questions: [`MailFrom`], [`RcptTo`] (pipelined ones together), [`BodyOpen`],
//! [`BodyChunk`]…, then [`Commit`] or [`Abandon`]. Nothing of a message may be visible before its commit, and the reply
//! to the client is sent after it. What the client resets between RCPT and DATA needs no question: the next
//! [`MailFrom`] starts afresh.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use bytes::Bytes;
use mailstore_trait::session::LayerInfo;
use smallvec::SmallVec;

use crate::address::Address;
use crate::command::params::{Body, DeliverBy, Hold, Notify, Priority, Ret, ValidSince};
use crate::reply::{self, Reply};

/// Who the other end is, as far as is known.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Origin {
    /// Its address.
    pub peer: SocketAddr,
    /// What it called itself; empty before EHLO, HELO or LHLO.
    pub hello: String,
    /// Whether it said EHLO or LHLO.
    pub extended: bool,
    /// The TLS of the stream.
    pub tls: Option<LayerInfo>,
    /// Who logged in.
    pub identity: Option<String>,
    /// Its name by DNS, where someone trusted looked it up and said so (XCLIENT).
    pub name: Option<String>,
    /// Where it connected to, as someone trusted in front says (XCLIENT).
    pub destination: Option<SocketAddr>,
    /// Where the current message came from, as a trusted filter says (XFORWARD).
    pub forwarded: Option<Arc<Forwarded>>,
}

/// What XFORWARD said about the client a message came from first. For logs and policy; nothing here is proved.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Forwarded {
    /// Its name by DNS.
    pub name: Option<String>,
    /// Its address.
    pub address: Option<IpAddr>,
    /// Its port.
    pub port: Option<u16>,
    /// `SMTP`, `ESMTP` or another.
    pub protocol: Option<String>,
    /// What it called itself.
    pub hello: Option<String>,
    /// The message's name where it was first taken.
    pub ident: Option<String>,
    /// Whether it was submitted by a user of ours.
    pub local: Option<bool>,
}

impl Origin {
    /// A peer that has said nothing yet.
    #[must_use]
    pub fn new(peer: SocketAddr, tls: Option<LayerInfo>) -> Origin {
        Origin {
            peer,
            hello: String::new(),
            extended: false,
            tls,
            identity: None,
            name: None,
            destination: None,
            forwarded: None,
        }
    }
}

/// A message's sender and what was declared about it.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Sender {
    /// `None` is the null reverse-path `<>`.
    pub address: Option<Address>,
    /// RFC 1870: declared octets.
    pub size: Option<u64>,
    /// What the octets may be.
    pub body: Body,
    /// RFC 4954 §5: who submitted the message first, as the client says; `<>` when unknown. Whether the client is to be
    /// believed is not known here, so nothing passes it on.
    pub auth: Option<String>,
    /// RFC 3461 §4.3: how much a report returns.
    pub ret: Option<Ret>,
    /// RFC 3461 §4.4: the sender's name for this message.
    pub envid: Option<String>,
    /// RFC 6531: addresses or headers hold UTF-8.
    pub smtputf8: bool,
    /// RFC 8689 §2: it may only leave over TLS that was verified, to hosts that offer REQUIRETLS too.
    pub require_tls: bool,
    /// RFC 2852 §4: when it must be delivered, from when it was taken ([`DeliverBy::deadline`]).
    pub deliver_by: Option<DeliverBy>,
    /// RFC 6710 §3: how urgent it is; `None` when the client did not say.
    pub priority: Option<Priority>,
    /// RFC 4865 §3: how long it is held ([`Hold::until`]).
    pub hold: Option<Hold>,
    /// RFC 3865 §2.3: solicitation class keywords, separated by commas.
    pub solicit: Option<String>,
    /// Parameters that registered extensions took, in their order.
    pub others: Vec<Parameter>,
}

/// A parameter of MAIL or RCPT that a registered extension took.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Parameter {
    /// The keyword as it was written; its case means nothing.
    pub keyword: String,
    /// What stood behind `=`.
    pub value: Option<String>,
}

impl fmt::Display for Parameter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.value {
            Some(value) => write!(f, "{}={value}", self.keyword),
            None => f.write_str(&self.keyword),
        }
    }
}

impl Sender {
    /// A sender about whom nothing is declared.
    #[must_use]
    pub fn new(address: Option<Address>) -> Sender {
        Sender {
            address,
            size: None,
            body: Body::SevenBit,
            auth: None,
            ret: None,
            envid: None,
            smtputf8: false,
            require_tls: false,
            deliver_by: None,
            priority: None,
            hold: None,
            solicit: None,
            others: Vec::new(),
        }
    }
}

/// A message's recipient.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Recipient {
    /// Where to.
    pub address: Address,
    /// RFC 3461 §4.1: when to report; `None` when the client did not say.
    pub notify: Option<Notify>,
    /// RFC 3461 §4.2: the recipient as first written, `type;address` with the address decoded.
    pub orcpt: Option<(String, String)>,
    /// RFC 7293 §3.1: since when the mailbox must have had its owner.
    pub valid_since: Option<ValidSince>,
    /// Parameters that registered extensions took, in their order.
    pub others: Vec<Parameter>,
}

impl Recipient {
    /// A recipient about whom nothing is declared.
    #[must_use]
    pub fn new(address: Address) -> Recipient {
        Recipient { address, notify: None, orcpt: None, valid_since: None, others: Vec::new() }
    }

    /// Who gets the message in this recipient's place, alone or as one of several.
    // RFC 3461 §5.2.7.2 and §5.2.7.3: what the sender asked for goes along, the recipient as it was first written too. Of several, one's
    // success is not the recipient's.
    #[cfg(feature = "store")]
    pub(crate) fn in_place(&self, address: Address, alone: bool) -> Recipient {
        let notify = self.notify.map(|notify| if alone { notify } else { notify.difference(Notify::SUCCESS) });
        let original = || {
            let kind = if self.address.is_ascii() { "rfc822" } else { "utf-8" };
            (kind.to_owned(), self.address.as_str().to_owned())
        };
        Recipient { notify, orcpt: self.orcpt.clone().or_else(|| Some(original())), ..Recipient::new(address) }
    }
}

/// A message's envelope.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Envelope {
    /// Who sent it.
    pub sender: Sender,
    /// Accepted recipients, in the order of their RCPTs, never none.
    pub recipients: Vec<Recipient>,
}

impl Envelope {
    /// An envelope of a sender and recipients.
    #[must_use]
    pub fn new(sender: Sender, recipients: Vec<Recipient>) -> Envelope {
        Envelope { sender, recipients }
    }
}

/// A client connected; asked before the greeting with [`Ask::CONNECT`](crate::config::Ask::CONNECT).
#[derive(Debug)]
#[non_exhaustive]
pub struct Connect {
    /// Who it is.
    pub origin: Arc<Origin>,
}

/// A client said hello; asked with [`Ask::HELLO`](crate::config::Ask::HELLO).
#[derive(Debug)]
#[non_exhaustive]
pub struct Hello {
    /// Who it is, the name it just gave included.
    pub origin: Arc<Origin>,
}

/// MAIL: may this sender send?
#[derive(Debug)]
#[non_exhaustive]
pub struct MailFrom {
    /// Who asks.
    pub origin: Arc<Origin>,
    /// The sender.
    pub sender: Sender,
}

/// RCPT, one or a pipelined batch: are these recipients taken?
#[derive(Debug)]
#[non_exhaustive]
pub struct RcptTo {
    /// Who asks.
    pub origin: Arc<Origin>,
    /// The recipients, in order, never none.
    pub recipients: Vec<Recipient>,
}

/// One recipient's answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Decision {
    /// Go on.
    Accepted,
    /// Refused with this reply, 4xx or 5xx.
    Refused(Reply),
}

/// A body begins: is there somewhere to put it?
#[derive(Debug)]
#[non_exhaustive]
pub struct BodyOpen {
    /// Who sends.
    pub origin: Arc<Origin>,
    /// Sender and recipients.
    pub envelope: Arc<Envelope>,
}

/// Octets of the body, dots unstuffed, in order. Taking them means there is room for more.
#[derive(Debug)]
#[non_exhaustive]
pub struct BodyChunk {
    /// Slices of the input buffer, uncopied; where dots cut the text into many short pieces, one copy. Never none.
    pub pieces: SmallVec<[Bytes; 4]>,
}

impl BodyChunk {
    /// Octets in all pieces.
    #[must_use]
    pub fn len(&self) -> usize {
        self.pieces.iter().map(Bytes::len).sum()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.pieces.iter().all(Bytes::is_empty)
    }
}

/// The body is whole: make it durable for every recipient, then answer.
#[derive(Debug)]
#[non_exhaustive]
pub struct Commit {
    /// Sender and recipients, the same value as in [`BodyOpen`].
    pub envelope: Arc<Envelope>,
    /// Octets of the body.
    pub size: u64,
}

/// How a commit ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Committed {
    /// Durable for every recipient. The text is shown to the client, a queue's id most often.
    Accepted(String),
    /// For no recipient.
    Refused(Reply),
    /// Each recipient by itself, in the envelope's order. Only LMTP can tell the client so; SMTP says 250 if any was
    /// accepted, so whoever answers must report the others by notifications.
    Each(Vec<Result<String, Reply>>),
}

/// The body will not be finished: drop what was taken of it.
#[derive(Debug)]
#[non_exhaustive]
pub struct Abandon;

/// One step of a SASL exchange (RFC 4954 §4).
#[non_exhaustive]
pub struct SaslStep {
    /// Who asks, its TLS included, for channel binding.
    pub origin: Arc<Origin>,
    /// The mechanism, upper case, one of those configured.
    pub mechanism: Arc<str>,
    /// Whether this is the exchange's first step; an earlier exchange is over then.
    pub first: bool,
    /// The client's octets; `None` in a first step without an initial response.
    pub octets: Option<Bytes>,
}

impl fmt::Debug for SaslStep {
    /// Never the octets: they are credentials.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SaslStep")
            .field("mechanism", &self.mechanism)
            .field("first", &self.first)
            .field("octets", &self.octets.as_ref().map(|_| "…"))
            .finish_non_exhaustive()
    }
}

/// What a SASL step leads to.
#[derive(Clone, PartialEq, Eq)]
pub enum Stepped {
    /// Send this challenge.
    Challenge(Bytes),
    /// The client is this identity. SMTP's 235 holds no data, so a mechanism's last octets go out as a challenge first.
    Done {
        /// Who.
        identity: String,
        /// The mechanism's last octets, if it has some.
        last: Option<Bytes>,
    },
    /// Refused: [`reply::AUTH_FAILED`] or another 4xx or 5xx.
    Refused(Reply),
}

impl fmt::Debug for Stepped {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Stepped::Challenge(_) => f.write_str("Challenge(…)"),
            Stepped::Done { identity, .. } => {
                f.debug_struct("Done").field("identity", identity).finish_non_exhaustive()
            }
            Stepped::Refused(reply) => f.debug_tuple("Refused").field(reply).finish(),
        }
    }
}

/// VRFY: who is this? Asked with [`Ask::VERIFY`](crate::config::Ask::VERIFY).
#[derive(Debug)]
#[non_exhaustive]
pub struct Verify {
    /// Who asks.
    pub origin: Arc<Origin>,
    /// The command's argument.
    pub text: String,
}

/// EXPN: who is on this list? Asked with [`Ask::EXPAND`](crate::config::Ask::EXPAND).
#[derive(Debug)]
#[non_exhaustive]
pub struct Expand {
    /// Who asks.
    pub origin: Arc<Origin>,
    /// The command's argument.
    pub text: String,
}

/// A verb of an extension ([`Extension`](crate::extension::Extension)): ETRN, or one that was registered.
#[derive(Debug)]
#[non_exhaustive]
pub struct ExtensionCommand {
    /// Who says it.
    pub origin: Arc<Origin>,
    /// The verb, upper case.
    pub verb: &'static str,
    /// What stood behind it.
    pub arguments: String,
}

/// What VRFY and EXPN lead to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Looked {
    /// These, one line each (`Full Name <mailbox>` or `mailbox`).
    Found(Vec<String>),
    /// This reply: 252, 4xx or 5xx.
    Reply(Reply),
}

mailstore_trait::questions! {
    /// A client connected.
    Connect -> Decision, refused by Decision::Refused(reply::SHUTTING_DOWN);
    /// A client said hello.
    Hello -> Decision, refused by Decision::Refused(reply::LOCAL_ERROR);
    /// May this sender send?
    MailFrom -> Decision, refused by Decision::Refused(reply::LOCAL_ERROR);
    /// Are these recipients taken? One decision each; missing ones count as refused for now.
    RcptTo -> Vec<Decision>, refused by Vec::new();
    /// Is there somewhere to put a body?
    BodyOpen -> Decision, refused by Decision::Refused(reply::LOCAL_ERROR);
    /// Take these octets. Refusing them abandons the body: nothing more is asked about it.
    BodyChunk -> Decision, refused by Decision::Refused(reply::LOCAL_ERROR);
    /// Make the message durable.
    Commit -> Committed, refused by Committed::Refused(reply::LOCAL_ERROR);
    /// Drop what was taken of the body.
    Abandon -> (), refused by ();
    /// One step of a login.
    SaslStep -> Stepped, refused by Stepped::Refused(reply::AUTH_UNAVAILABLE);
    /// Who is this?
    Verify -> Looked, refused by Looked::Reply(reply::CANNOT_VERIFY);
    /// A verb of an extension. The reply is said as it is, but for 3xx, which would promise what can't come.
    ExtensionCommand -> Reply, refused by reply::LOCAL_ERROR;
    /// Who is on this list?
    Expand -> Looked, refused by Looked::Reply(reply::NOT_IMPLEMENTED);
}

impl RcptTo {
    /// The answer that takes every recipient.
    #[must_use]
    pub fn accept_all(&self) -> Vec<Decision> {
        vec![Decision::Accepted; self.recipients.len()]
    }
}
