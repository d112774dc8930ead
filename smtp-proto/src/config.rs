//! What an embedder decides: role, extensions, line discipline, limits and patience.
//!
//! RFC 5321 §4.5.3 names minimums for every limit; each default here is at or above its minimum.

use std::sync::Arc;
use std::time::Duration;

use crate::address::Grammar;
use crate::command::params::Priority;
use crate::extension::Extension;

/// How a server behaves. Shared by all its sessions behind an `Arc`.
#[derive(Clone, Debug)]
pub struct Config {
    /// This host's name, as it greets and as it signs Received.
    pub hostname: String,
    /// What this listener is for.
    pub role: Role,
    /// What EHLO offers, AUTH and STARTTLS aside, which follow from the fields below, and XCLIENT and XFORWARD, which
    /// need [`Server::trust`](crate::Server::trust). Offer only what whoever answers the questions keeps: the envelope
    /// holds DELIVERBY's, MT-PRIORITY's, FUTURERELEASE's, RRVS's and REQUIRETLS's demands.
    pub extensions: Extensions,
    /// Whether [`Layer::Tls`](mailstore_trait::session::Layer) can be had. STARTTLS is offered on cleartext streams then.
    pub starttls: bool,
    /// SASL mechanisms offered, best first; none means no AUTH. Those that need a channel binding (`-PLUS`) or a
    /// certificate (`EXTERNAL`) are offered only where the stream has it.
    pub mechanisms: Vec<String>,
    /// Whether AUTH is permitted on a cleartext stream. RFC 4954 §4 wants it not to be.
    pub cleartext_auth: bool,
    /// Whether MAIL is refused on a cleartext stream (530 5.7.0).
    pub require_tls: bool,
    /// Optional questions this embedder wants to be asked.
    pub ask: Ask,
    /// Bare LF and bare CR at the ends of commands.
    pub command_line_ends: LineEnds,
    /// Bare LF and bare CR inside a message.
    pub text_line_ends: LineEnds,
    /// How long the greeting is held back; a client that talks earlier is refused (554). Zero greets at once.
    pub greet_delay: Duration,
    /// RFC 6710 §3: the name of the priority profile that EHLO says, `MIXER` or another; none most often.
    pub priority_profile: Option<String>,
    /// RFC 6710 §4.1: priorities above this one are lowered to it. Clients that anyone can be get no say: 0.
    pub highest_priority: Priority,
    /// RFC 3865 §2.1: solicitation class keywords that EHLO says are not wanted; messages with one are refused.
    pub solicitations: Vec<String>,
    /// Extensions of the embedder's own.
    pub registered: Vec<Arc<dyn Extension>>,
    /// Counts, lengths and sizes.
    pub limits: Limits,
    /// How long to wait for what.
    pub timeouts: Timeouts,
}

impl Config {
    /// A relay for other servers: no AUTH, STARTTLS not offered until [`starttls`](Config::starttls) is set.
    pub fn new(hostname: impl Into<String>) -> Config {
        Config {
            hostname: hostname.into(),
            role: Role::Relay,
            extensions: Extensions::default(),
            starttls: false,
            mechanisms: Vec::new(),
            cleartext_auth: false,
            require_tls: false,
            ask: Ask::empty(),
            command_line_ends: LineEnds::Strict,
            text_line_ends: LineEnds::Normalize,
            greet_delay: Duration::ZERO,
            priority_profile: None,
            highest_priority: Priority::default(),
            solicitations: Vec::new(),
            registered: Vec::new(),
            limits: Limits::default(),
            timeouts: Timeouts::default(),
        }
    }

    /// A submission server (RFC 6409): AUTH with these mechanisms is mandatory before MAIL.
    pub fn submission<M: Into<String>>(hostname: impl Into<String>, mechanisms: impl IntoIterator<Item = M>) -> Config {
        let mechanisms = mechanisms.into_iter().map(|name| name.into().to_ascii_uppercase()).collect();
        let highest_priority = Priority::HIGHEST;
        Config { role: Role::Submission, mechanisms, highest_priority, ..Config::new(hostname) }
    }

    /// An LMTP server (RFC 2033): one outcome per recipient.
    pub fn lmtp(hostname: impl Into<String>) -> Config {
        Config { role: Role::Lmtp, ..Config::new(hostname) }
    }
}

/// What a listener is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Role {
    /// Mail from other servers (port 25).
    Relay,
    /// Mail from users (ports 587 and 465): AUTH is mandatory.
    Submission,
    /// Local delivery from a queue of our own (RFC 2033): LHLO, a reply per recipient.
    Lmtp,
}

bitflags::bitflags! {
    /// Extensions a server offers, a client found offered, or a parser knows.
    #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
    pub struct Extensions: u32 {
        /// RFC 1870.
        const SIZE = 1;
        /// RFC 2920.
        const PIPELINING = 1 << 1;
        /// RFC 6152.
        const EIGHT_BIT_MIME = 1 << 2;
        /// RFC 2034.
        const ENHANCED_STATUS_CODES = 1 << 3;
        /// RFC 3207.
        const STARTTLS = 1 << 4;
        /// RFC 4954.
        const AUTH = 1 << 5;
        /// RFC 3030: BDAT.
        const CHUNKING = 1 << 6;
        /// RFC 3030: BODY=BINARYMIME. Needs CHUNKING.
        const BINARY_MIME = 1 << 7;
        /// RFC 6531.
        const SMTPUTF8 = 1 << 8;
        /// RFC 3461.
        const DSN = 1 << 9;
        /// RFC 8689: TLS at every hop. Only under TLS.
        const REQUIRETLS = 1 << 10;
        /// RFC 2852: deliver by then, or report.
        const DELIVERBY = 1 << 11;
        /// RFC 6710.
        const MT_PRIORITY = 1 << 12;
        /// RFC 4865: hold until then. Submission only.
        const FUTURERELEASE = 1 << 13;
        /// RFC 7293.
        const RRVS = 1 << 14;
        /// RFC 3865.
        const NO_SOLICITING = 1 << 15;
        /// RFC 9422: what this server's limits are.
        const LIMITS = 1 << 16;
        /// RFC 1985: start the queue for a host.
        const ETRN = 1 << 17;
        /// Postfix's XCLIENT: a trusted proxy says who the client is.
        const XCLIENT = 1 << 18;
        /// Postfix's XFORWARD: a trusted filter says where the message came from.
        const XFORWARD = 1 << 19;
        /// A parser's leave to keep parameters that no extension here has, for those that are registered.
        const REGISTERED = 1 << 20;
    }
}

impl Default for Extensions {
    /// All but BINARYMIME and SMTPUTF8: a message that needs those cannot be passed on to every next hop.
    fn default() -> Extensions {
        Extensions::SIZE
            | Extensions::PIPELINING
            | Extensions::EIGHT_BIT_MIME
            | Extensions::ENHANCED_STATUS_CODES
            | Extensions::CHUNKING
            | Extensions::DSN
    }
}

bitflags::bitflags! {
    /// Optional questions: each costs an answer, so none is asked unless wanted.
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
    pub struct Ask: u8 {
        /// [`Connect`](crate::request::Connect), before the greeting.
        const CONNECT = 1;
        /// [`Hello`](crate::request::Hello), at EHLO, HELO and LHLO.
        const HELLO = 2;
        /// [`Verify`](crate::request::Verify), at VRFY; otherwise the answer is 252.
        const VERIFY = 4;
        /// [`Expand`](crate::request::Expand), at EXPN; otherwise the answer is 502.
        const EXPAND = 8;
    }
}

/// What bare LF and bare CR do. Neither ever ends a message: only CRLF.CRLF does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum LineEnds {
    /// They are refused.
    Strict,
    /// A bare LF stands for CRLF; in a message, a bare CR becomes a space.
    Normalize,
}

/// Counts, lengths and sizes. Octets unless said otherwise.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// A command line, its CRLF included. RFC 5321 §4.5.3.1.4: at least 512, and 1,660 with the extensions here.
    pub line: usize,
    /// A line of an AUTH exchange. RFC 4954 §4: at least 12,288.
    pub auth_line: usize,
    /// Paths and their parts. RFC 5321 §4.5.3.1.1 to §4.5.3.1.3.
    pub grammar: Grammar,
    /// A message. RFC 5321 §4.5.3.1.7: at least 64 KiB.
    pub message: u64,
    /// Octets of a refused message that are read and dropped before the session ends.
    pub swallow: u64,
    /// Recipients of one message. RFC 5321 §4.5.3.1.8: at least 100.
    pub recipients: usize,
    /// Messages of one session (RFC 9422 §4.1, MAILMAX); `u32::MAX` for any number.
    pub messages: u32,
    /// RFC 4865 §3: the longest hold that may be asked for, in seconds, at most 999,999,999.
    pub hold: u32,
    /// RFC 2852 §3: the least time, in seconds, after which a message may be returned; 0 for any.
    pub deliver_by: u32,
    /// Pipelined RCPTs asked in one question, at most.
    pub recipient_batch: usize,
    /// Commands refused with 5xx before the session ends with 421; a message taken resets the count.
    pub errors: u32,
    /// Failed logins before the session ends with 421.
    pub failed_logins: u32,
    /// Unread input a session holds, at most. Raised to hold the longest line.
    pub window: usize,
    /// Unsent output above which no further command runs.
    pub low_water: usize,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits {
            line: 2048,
            auth_line: 12 * 1024,
            grammar: Grammar::default(),
            message: 50 << 20,
            swallow: 100 << 20,
            recipients: 1000,
            messages: u32::MAX,
            hold: 30 * 86_400,
            deliver_by: 0,
            recipient_batch: 50,
            errors: 20,
            failed_logins: 3,
            window: 64 << 10,
            low_water: 32 << 10,
        }
    }
}

/// How long a server waits for what.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timeouts {
    /// The next whole command, or the next octets of a message. RFC 5321 §4.5.3.2.7: at least 5 minutes.
    pub command: Duration,
    /// A whole message, however slowly it trickles in.
    pub message: Duration,
    /// A peer that drains nothing of what it was sent.
    pub stalled: Duration,
    /// Our own answer to a question.
    pub answer: Duration,
    /// Our own answer to a commit: nothing shorter may end one. RFC 5321 §4.5.3.2.6 has clients wait 10 minutes.
    pub commit: Duration,
    /// A TLS handshake.
    pub layer: Duration,
}

impl Default for Timeouts {
    fn default() -> Timeouts {
        Timeouts {
            command: Duration::from_secs(300),
            message: Duration::from_secs(3600),
            stalled: Duration::from_secs(300),
            answer: Duration::from_secs(300),
            commit: Duration::from_secs(1800),
            layer: Duration::from_secs(60),
        }
    }
}
