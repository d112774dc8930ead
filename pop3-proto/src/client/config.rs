//! What an embedder decides about a client.

use std::time::Duration;

use mailstore_trait::sasl::{Credentials, Nonce};

/// How a client connects and logs in.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Config {
    /// Whether STLS is used on a connection that did not begin with TLS.
    pub stls: Stls,
    /// Who logs in.
    pub credentials: Credentials,
    /// Fresh randomness for SCRAM; one for each connection.
    pub nonce: Nonce,
    /// Lets passwords and tokens cross a connection without TLS.
    pub allow_cleartext: bool,
    /// Whether USER and PASS are used where no SASL mechanism fits.
    pub user_pass: bool,
    /// Whether APOP (RFC 1939 §7) is used where no SASL mechanism fits and the greeting holds a timestamp. Off unless set:
    /// whoever hears or forges such a login can try passwords against it at leisure. It needs no TLS and does not care
    /// for [`allow_cleartext`](Config::allow_cleartext), for no password crosses the connection.
    pub apop: bool,
    /// Whether UTF-8 mode is asked for where it is offered (RFC 6856 §2).
    pub utf8: bool,
    /// Whether commands are sent ahead of replies where the server permits (RFC 2449 §6.6).
    pub pipelining: bool,
    /// How far the server may go.
    pub limits: Limits,
}

impl Config {
    /// The defaults: TLS is required, everything the server offers is used.
    #[must_use]
    pub fn new(credentials: Credentials, nonce: Nonce) -> Config {
        Config {
            stls: Stls::Required,
            credentials,
            nonce,
            allow_cleartext: false,
            user_pass: true,
            apop: false,
            utf8: true,
            pipelining: true,
            limits: Limits::default(),
        }
    }
}

/// Whether STLS is used (RFC 2595 §4).
///
/// RFC 2595 §2.2: by default there is no login without TLS; RFC 8314 §5.2: and so no less protection than an account had
/// before. Which ciphers will do (RFC 2595 §2.1) and whether the certificate is the server's (RFC 2595 §2.4,
/// RFC 8314 §5.3) is decided by whoever puts TLS on, who answers with an error when not; RFC 2595 §2.5: the session looks at
/// that answer before it says who logs in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stls {
    /// Without TLS the session ends before anything is said of the user.
    Required,
    /// TLS where the server offers it. Whoever sits in between can take the offer away.
    Opportunistic,
    /// Never.
    Never,
}

/// How far the server may go, and how long anything may take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Limits {
    /// Octets held unread: the largest piece of a message.
    pub window: usize,
    /// Octets of a status line or a row. RFC 2449 §4 permits servers 512.
    pub line: usize,
    /// Octets of a challenge's line.
    pub sasl_line: usize,
    /// Lines of a CAPA or LANG response.
    pub rows: usize,
    /// Commands that may wait to be sent.
    pub queue: usize,
    /// Commands sent ahead of their replies.
    pub in_flight: usize,
    /// Time for the greeting.
    pub greeting: Duration,
    /// Time in which a server that owes a reply sends nothing.
    pub reply: Duration,
    /// Time in which a server drains nothing of what it is sent.
    pub stall: Duration,
    /// Time without a command before the client says QUIT by itself.
    pub idle: Duration,
    /// Time for an answer.
    pub answer: Duration,
    /// Time for TLS to come up.
    pub layer: Duration,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits {
            window: 64 * 1024,
            line: 4096,
            sasl_line: 16 * 1024,
            rows: 1000,
            queue: 1024,
            in_flight: 32,
            greeting: Duration::from_secs(300),
            reply: Duration::from_secs(300),
            stall: Duration::from_secs(300),
            idle: Duration::from_secs(300),
            answer: Duration::from_secs(600),
            layer: Duration::from_secs(60),
        }
    }
}
