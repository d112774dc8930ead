//! What an embedder decides about a server, and how far a peer may go.

use std::time::Duration;

use mailstore_trait::sasl::Mechanism;
use mailstore_trait::sasl::ScramHash::{Sha256, Sha512};

use crate::capability::{Expire, LoginDelay};
use crate::text::{self, Catalog};

/// What a server offers. One is shared by all sessions of a listener.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Config {
    /// The server's name, in the greeting.
    pub host: String,
    /// What CAPA says of the implementation (RFC 2449 §6.9); `None` to say nothing.
    pub implementation: Option<String>,
    /// Whether TLS can be had: STLS is offered (RFC 2595 §4).
    pub tls: bool,
    /// Lets passwords and tokens cross a connection without TLS. RFC 5034 §4 and RFC 8314 §4.1 want this off, and
    /// RFC 2595 §2.3 wants it to be possible; loopback and tests may need it on.
    pub allow_cleartext: bool,
    /// Whether USER and PASS are offered, where the connection permits.
    pub user_pass: bool,
    /// The SASL mechanisms offered, where the connection permits each.
    pub mechanisms: Vec<Mechanism>,
    /// Whether the UTF8 command is offered (RFC 6856 §2).
    pub utf8: bool,
    /// What becomes of a message with UTF-8 in its header when the client did not ask for UTF-8 mode.
    pub utf8_header: Utf8Header,
    /// The languages of LANG, the preferred one first. Fewer than two take LANG off the wire. Before LANG the server
    /// speaks English, whose text is ASCII as RFC 1939 §3 wants it.
    pub languages: Vec<&'static Catalog>,
    /// The least time between two logins that is announced before one (RFC 2449 §6.5). What holds for a user comes with
    /// [`Opened`](crate::request::Opened).
    pub login_delay: Option<LoginDelay>,
    /// How long messages are kept, as announced before login (RFC 2449 §6.7). What holds for a user comes with
    /// [`Opened`](crate::request::Opened).
    pub expire: Option<Expire>,
    /// Whether QUIT marks the messages that were retrieved as seen for other protocols.
    pub mark_seen: bool,
    /// How far a peer may go.
    pub limits: Limits,
}

impl Config {
    /// A server of this name with every default: no TLS at hand, therefore no plaintext login.
    #[must_use]
    pub fn new(host: impl Into<String>) -> Config {
        Config {
            host: host.into(),
            implementation: None,
            tls: false,
            allow_cleartext: false,
            user_pass: true,
            mechanisms: vec![
                Mechanism::Scram { hash: Sha512, plus: true },
                Mechanism::Scram { hash: Sha256, plus: true },
                Mechanism::Scram { hash: Sha512, plus: false },
                Mechanism::Scram { hash: Sha256, plus: false },
                Mechanism::Plain,
            ],
            utf8: true,
            utf8_header: Utf8Header::Refuse,
            languages: text::ALL.to_vec(),
            login_delay: None,
            expire: None,
            mark_seen: true,
            limits: Limits::default(),
        }
    }
}

/// What becomes of a message with UTF-8 in its header when the client did not ask for UTF-8 mode (RFC 6856 §2.1), which is
/// to say: what a client of RFC 1939 alone is to see (RFC 6856 §4).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Utf8Header {
    /// RETR and TOP fail with `[UTF8]`, as the RFC has it.
    Refuse,
    /// It is sent as it is, for old clients that can do more than they say.
    Send,
}

/// How far a peer may go, and how long anything may take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Limits {
    /// Octets of a command line, its CRLF included. RFC 2449 §4 asks for 255.
    pub line: usize,
    /// Octets of an AUTH command and of a response line. RFC 5034 §4: as long as the mechanisms need.
    pub sasl_line: usize,
    /// Octets of an over-long line that are read to find its end before the session closes.
    pub skip: usize,
    /// Octets the driver may hold unsent before nothing more is read, listed or executed.
    pub low_water: usize,
    /// Octets of a message asked for at once.
    pub chunk: usize,
    /// Messages of the snapshot asked for at once.
    pub page: usize,
    /// Messages a maildrop may number; of a larger one the first are shown.
    pub messages: usize,
    /// Octets of a header that are held back to see whether it needs UTF-8 mode. A longer one is sent as it is.
    pub header: usize,
    /// Lines that are no command, or no command here, before the session closes.
    pub bad_commands: u32,
    /// Failed logins before the session closes.
    pub failed_logins: u32,
    /// How long the reply to the first failed login waits; the second waits twice as long, and so on.
    pub failed_login_delay: Duration,
    /// Time from the greeting to a login. Below [`idle`](Limits::idle) it cuts RFC 1939 §3's ten minutes short.
    pub authorization: Duration,
    /// Silence between two commands. RFC 1939 §3 asks for at least 10 minutes.
    pub idle: Duration,
    /// Time in which a peer that is being sent something drains nothing.
    pub stall: Duration,
    /// Time for TLS to come up.
    pub layer: Duration,
    /// Time for an answer.
    pub answer: Duration,
    /// Time for the answer to a commit.
    pub commit: Duration,
    /// Time for the lease's release at the end.
    pub release: Duration,
    /// How long a maildrop's lease lasts when nobody renews it.
    pub lease: Duration,
    /// How often it is renewed.
    pub renew: Duration,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits {
            line: 1024,
            sasl_line: 16 * 1024,
            skip: 64 * 1024,
            low_water: 64 * 1024,
            chunk: 64 * 1024,
            page: 10_000,
            messages: 1_000_000,
            header: 64 * 1024,
            bad_commands: 20,
            failed_logins: 3,
            failed_login_delay: Duration::from_secs(1),
            authorization: Duration::from_secs(600),
            idle: Duration::from_secs(600),
            stall: Duration::from_secs(300),
            layer: Duration::from_secs(60),
            answer: Duration::from_secs(120),
            commit: Duration::from_secs(600),
            release: Duration::from_secs(10),
            lease: Duration::from_secs(60),
            renew: Duration::from_secs(20),
        }
    }
}
