//! What an embedder decides about a client.

use std::time::Duration;

use mailstore_trait::sasl::{Credentials, Nonce};

/// How a client connects and logs in.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Config {
    /// Whether STARTTLS is used on a connection that did not begin with TLS.
    pub starttls: StartTls,
    /// Who logs in.
    pub credentials: Credentials,
    /// Fresh randomness for SCRAM; one for each connection.
    pub nonce: Nonce,
    /// Lets passwords and tokens cross a connection without TLS.
    pub allow_cleartext: bool,
    /// Whether LOGIN is used where no SASL mechanism fits.
    pub login: bool,
    /// What to say of oneself by ID (RFC 2971), where the server knows it; nothing when empty.
    pub id: Vec<(String, String)>,
    /// Whether QRESYNC and CONDSTORE are enabled where they are offered (RFC 7162).
    pub qresync: bool,
    /// Whether UTF8=ACCEPT is enabled where it is offered (RFC 9755 §3).
    pub utf8: bool,
    /// Whether IMAP4rev2 is enabled where it is offered (RFC 9051 §6.3.1).
    pub rev2: bool,
    /// How far the server may go.
    pub limits: Limits,
}

impl Config {
    /// The defaults: TLS is required, everything the server offers is used.
    #[must_use]
    pub fn new(credentials: Credentials, nonce: Nonce) -> Config {
        Config {
            starttls: StartTls::Required,
            credentials,
            nonce,
            allow_cleartext: false,
            login: true,
            id: Vec::new(),
            qresync: true,
            utf8: true,
            rev2: true,
            limits: Limits::default(),
        }
    }
}

/// Whether STARTTLS is used (RFC 9051 §6.2.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StartTls {
    /// Without TLS the session ends before anything is said of the user.
    Required,
    /// TLS where the server offers it. Whoever sits in between can take the offer away.
    Opportunistic,
    /// Never.
    Never,
}

/// How far the server may go, and how long anything may take. Octets where nothing else is said.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Limits {
    /// Held unread: the largest piece of a message. It grows while a longer response comes in.
    pub window: usize,
    /// A response, without the messages in it, before login.
    pub response_before_login: usize,
    /// A response, without the messages in it. A plain SEARCH answers with up to 11 octets for each message.
    pub response: usize,
    /// Literals of one response.
    pub literals: usize,
    /// Parentheses inside each other in a response, where they mean nothing here.
    pub depth: usize,
    /// Parts of one message, and how deep they may lie.
    pub parts: usize,
    /// Strings, numbers and lists of one response; what takes more memory counts for more.
    pub values: usize,
    /// A command, without the message in it. RFC 2683 §3.2.1.5 has servers take 8,000; those of today take 64 KiB.
    pub command: usize,
    /// Commands that may wait to be sent.
    pub queue: usize,
    /// Commands sent ahead of their answers.
    pub in_flight: usize,
    /// A literal up to this size is sent without waiting where the server permits (RFC 7888): a larger one can be refused
    /// before it is sent.
    pub unasked: u64,
    /// Octets of a message to ask for at once.
    pub page: usize,
    /// No more of a message is asked for while this much is unsent.
    pub low_water: usize,
    /// Time for the greeting.
    pub greeting: Duration,
    /// Time in which a server that owes an answer sends nothing.
    pub reply: Duration,
    /// Time in which a server drains nothing of what it is sent.
    pub stall: Duration,
    /// Time without a command before the client says LOGOUT by itself.
    pub idle: Duration,
    /// Time after which an IDLE is begun anew. RFC 2177 §3 has it below 29 minutes.
    pub renew: Duration,
    /// Time between two NOOPs where the server knows no IDLE.
    pub poll: Duration,
    /// Time for an answer.
    pub answer: Duration,
    /// Time for TLS to come up.
    pub layer: Duration,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits {
            window: 64 * 1024,
            response_before_login: 64 * 1024,
            response: 8 * 1024 * 1024,
            literals: 10_000,
            depth: 100,
            parts: 10_000,
            values: 4_000_000,
            command: 64 * 1024,
            queue: 1024,
            in_flight: 32,
            unasked: 64 * 1024,
            page: 64 * 1024,
            low_water: 64 * 1024,
            greeting: Duration::from_secs(300),
            reply: Duration::from_secs(300),
            stall: Duration::from_secs(300),
            idle: Duration::from_secs(25 * 60),
            renew: Duration::from_secs(25 * 60),
            poll: Duration::from_secs(120),
            answer: Duration::from_secs(600),
            layer: Duration::from_secs(60),
        }
    }
}
