//! What a client may and must do, and how long it waits: RFC 5321 §4.5.3.2, RFC 3207 §4.1.

use std::time::Duration;

use crate::config::Extensions;
use crate::reply::REPLY_LINE;

/// How a client behaves towards one server.
#[derive(Clone, Debug)]
pub struct Config {
    /// This host's name, for EHLO.
    pub hostname: String,
    /// Speak LMTP: LHLO, and a reply per recipient.
    pub lmtp: bool,
    /// Whether to ask for STARTTLS on a cleartext stream.
    pub tls: TlsPolicy,
    /// Whether to log in; then [`Login`](super::request::Login) is asked.
    pub login: bool,
    /// Which extensions are used where the server offers them, TLS and login aside, which the fields above decide.
    /// Some servers offer PIPELINING or CHUNKING and break: what is taken out here counts as not offered.
    pub extensions: Extensions,
    /// What becomes of 8-bit messages where 8BITMIME is not offered.
    pub eight_bit: EightBit,
    /// Counts and lengths.
    pub limits: Limits,
    /// How long to wait for what.
    pub timeouts: Timeouts,
}

impl Config {
    /// A relay: STARTTLS where it is offered, no login.
    pub fn new(hostname: impl Into<String>) -> Config {
        Config {
            hostname: hostname.into(),
            lmtp: false,
            tls: TlsPolicy::Opportunistic,
            login: false,
            extensions: Extensions::all(),
            eight_bit: EightBit::Send,
            limits: Limits::default(),
            timeouts: Timeouts::default(),
        }
    }
}

/// What becomes of 8-bit messages where 8BITMIME is not offered.
// RFC 6152 §3 leaves a client two ways, to convert or to return. Converting changes the octets that signatures cover, so
// this client never does it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum EightBit {
    /// They are sent as they are, as nearly every server takes them.
    Send,
    /// They fail before anything is sent (554 5.6.3), as the RFC has it.
    Refuse,
}

/// When TLS is wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum TlsPolicy {
    /// Never by STARTTLS.
    None,
    /// When it is offered. If the handshake fails the stream is lost; whoever drives may try again with `None`.
    Opportunistic,
    /// Nothing is sent without it.
    Required,
}

/// Counts and lengths. Octets unless said otherwise.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// A reply line, CRLF included. RFC 5321 §4.5.3.1.5: at least 512; servers send longer ones.
    pub line: usize,
    /// Unread input a session holds, at most.
    pub window: usize,
    /// Unsent output above which no further page is asked for.
    pub low_water: usize,
    /// One page of a message.
    pub page: usize,
    /// Commands that wait for their replies, at most.
    pub in_flight: usize,
    /// Recipients in one transaction; more are sent in further ones. RFC 5321 §4.5.3.1.8: every server takes 100.
    pub recipients: usize,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits {
            line: REPLY_LINE * 32,
            window: 32 << 10,
            low_water: 128 << 10,
            page: 256 << 10,
            in_flight: 100,
            recipients: 100,
        }
    }
}

/// How long a client waits for what: the minimums of RFC 5321 §4.5.3.2.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timeouts {
    /// §4.5.3.2.1: the greeting, and the reply to EHLO.
    pub greeting: Duration,
    /// §4.5.3.2.2: MAIL, and what has no minimum of its own.
    pub command: Duration,
    /// §4.5.3.2.3: RCPT.
    pub rcpt: Duration,
    /// §4.5.3.2.4: DATA, up to its 354.
    pub data: Duration,
    /// §4.5.3.2.5: a block of the message, until the peer drains it.
    pub block: Duration,
    /// §4.5.3.2.6: the final dot.
    pub final_dot: Duration,
    /// The reply to QUIT.
    pub quit: Duration,
    /// Our own answer to a question; the next message on a connection kept open comes within this.
    pub answer: Duration,
    /// A TLS handshake.
    pub layer: Duration,
}

impl Default for Timeouts {
    fn default() -> Timeouts {
        let minutes = |n: u64| Duration::from_secs(n * 60);
        Timeouts {
            greeting: minutes(5),
            command: minutes(5),
            rcpt: minutes(5),
            data: minutes(2),
            block: minutes(3),
            final_dot: minutes(10),
            quit: Duration::from_secs(10),
            answer: minutes(2),
            layer: minutes(1),
        }
    }
}
