//! What an embedder decides: names, login rules, capabilities to leave out, and every limit.

use std::collections::BTreeSet;
use std::time::Duration;

use mailstore_trait::query;
use mailstore_trait::sasl::Mechanism;

use crate::command::Bounds;

/// How servers of one listener behave. Shared by its sessions.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Config {
    /// The words behind the greeting's capabilities.
    pub greeting: String,
    /// What ID answers (RFC 2971): field names and values. Empty answers NIL.
    pub id: Vec<(String, String)>,
    /// Whether STARTTLS can be had.
    pub starttls: bool,
    /// Whether COMPRESS can be had (RFC 4978): the driver must know [`Layer::Deflate`](mailstore_trait::session::Layer).
    pub compress: bool,
    /// Whether a client may log out and in again on its connection (RFC 8437). RFC 8437 §8: off unless it is needed,
    /// because a proxy may not know of it.
    pub unauthenticate: bool,
    /// Whether clients are told that they may be sent to another server (RFC 2221).
    pub login_referrals: bool,
    /// SASL mechanisms to offer, where the connection allows them.
    pub mechanisms: Vec<Mechanism>,
    /// Lets passwords cross a connection without TLS: for Unix sockets and tests only.
    pub allow_cleartext: bool,
    /// Capabilities to leave out, as they are announced (`IDLE`, `STATUS=SIZE`), but those with values by their name alone
    /// (`AUTH`, `APPENDLIMIT`). Their commands are unknown then.
    pub disabled: BTreeSet<String>,
    /// Above the mailboxes of other users, each below their name (RFC 2342 §5); empty for no such namespace.
    pub other_users: String,
    /// Above the mailboxes that are nobody's; empty for no such namespace.
    pub shared: String,
    /// How far a client may go.
    pub limits: Limits,
}

impl Config {
    /// Whether none of these capabilities is left out.
    pub(crate) fn offers(&self, capabilities: &[&str]) -> bool {
        !capabilities.iter().any(|capability| self.disabled.contains(*capability))
    }
}

impl Default for Config {
    fn default() -> Config {
        let sha256 = mailstore_trait::sasl::ScramHash::Sha256;
        Config {
            greeting: "ready".into(),
            id: Vec::new(),
            starttls: false,
            compress: false,
            unauthenticate: false,
            login_referrals: false,
            mechanisms: vec![
                Mechanism::Scram { hash: sha256, plus: true },
                Mechanism::Scram { hash: sha256, plus: false },
                Mechanism::Plain,
                Mechanism::Login,
            ],
            allow_cleartext: false,
            disabled: BTreeSet::new(),
            other_users: "Other Users".into(),
            shared: "Shared".into(),
            limits: Limits::default(),
        }
    }
}

/// How much of everything a client may send, hold or wait for. Octets where nothing else is said.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Limits {
    /// A command's lines together, before login.
    pub line_before_login: usize,
    /// A command's lines together. RFC 2683 §3.2.1.5 asks for at least 8,000.
    pub line: usize,
    /// A command's literals together, before login.
    pub literals_before_login: usize,
    /// A command's literals together, but for messages.
    pub literals: usize,
    /// How many literals one command may have, but for messages.
    pub literal_count: usize,
    /// A literal of this size that comes without waiting is read and dropped when it is refused; a larger one ends the
    /// session.
    pub discard: u64,
    /// A message to append. The store may take less.
    pub message: u64,
    /// The input window while a message comes in.
    pub window: usize,
    /// A line of a SASL exchange. RFC 4954 §4 gives 12,288 as enough for any mechanism.
    pub sasl_line: usize,
    /// Nesting and counts inside one command.
    pub bounds: Bounds,
    /// Nesting, counts and texts of one search.
    pub search: query::FilterLimits,
    /// What SORT and THREAD keep of messages until they can answer.
    pub order: query::OrderLimits,
    /// Searches of one session whose results are kept up to date. RFC 5267 §4.3.1 asks for at least one.
    pub contexts: usize,
    /// Results of one SORT that are kept in order for updates.
    pub context_results: usize,
    /// A LIST pattern with its reference.
    pub pattern: usize,
    /// A mailbox name, as it is sent.
    pub mailbox: usize,
    /// The header that HEADER.FIELDS looks through; what lies behind is as if it were not there.
    pub header: usize,
    /// Commands that can't be read, before login, until the session ends.
    pub bad_before_login: u32,
    /// Commands that can't be read in a row until the session ends.
    pub bad: u32,
    /// Failed logins until the session ends.
    pub failed_logins: u32,
    /// Messages that one command may look at or change, told to clients as MESSAGELIMIT (RFC 9738 §3); `None`, which suits
    /// clients that know of no limit, for any number.
    pub messages: Option<u32>,
    /// Messages that one COPY or APPEND may bring, told as SAVELIMIT (RFC 9738 §3) where there is no limit for all commands.
    pub saves: Option<u32>,
    /// Messages of one APPEND (RFC 3502).
    pub appends: usize,
    /// Messages that one commit of STORE, EXPUNGE or MOVE changes.
    pub batch: usize,
    /// No page or range is asked for while this much is unsent.
    pub low_water: usize,
    /// Messages up to this size come with their row; larger ones are read in ranges.
    pub inline: u64,
    /// Messages in a batch of UIDs, at least (RFC 10022 §3.1: 500 is always enough).
    pub uid_batch: u32,
    /// Batches of UIDs to be told at once (RFC 10022 §3.1: of at least 100,000 messages).
    pub uid_batches: u32,
    /// Mailboxes whose annotations LIST asks for at once.
    pub annotated: usize,
    /// Octets of a message to ask for at once.
    pub read: usize,
    /// Rows to ask for at once.
    pub rows: usize,
    /// Until a client has logged in.
    pub login: Duration,
    /// Without a command. RFC 9051 §5.4 asks for at least 30 minutes.
    pub idle: Duration,
    /// Inside a command or literal without an octet.
    pub stall: Duration,
    /// Between `* OK` in IDLE, so that nothing on the way takes the connection for dead.
    pub keep_alive: Duration,
    /// Between reports of a command that takes long (RFC 9585 §4).
    pub progress: Duration,
    /// Of one IDLE. RFC 2177 has clients end it before 29 minutes.
    pub idle_command: Duration,
    /// Until a question is answered; commits have ten times as long.
    pub answer: Duration,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits {
            line_before_login: 8 * 1024,
            line: 64 * 1024,
            literals_before_login: 64 * 1024,
            literals: 1024 * 1024,
            literal_count: 64,
            discard: 1024 * 1024,
            message: 50 * 1024 * 1024,
            window: 64 * 1024,
            sasl_line: 12_288,
            bounds: Bounds::DEFAULT,
            search: query::FilterLimits::default(),
            order: query::OrderLimits::default(),
            contexts: 8,
            context_results: 50_000,
            pattern: 1024,
            mailbox: 1024,
            header: 256 * 1024,
            bad_before_login: 3,
            bad: 20,
            failed_logins: 3,
            messages: None,
            saves: None,
            appends: 1000,
            batch: 1000,
            low_water: 64 * 1024,
            inline: 16 * 1024,
            uid_batch: 500,
            uid_batches: 10_000,
            annotated: 50,
            read: 64 * 1024,
            rows: 1000,
            login: Duration::from_secs(60),
            idle: Duration::from_secs(31 * 60),
            stall: Duration::from_secs(5 * 60),
            keep_alive: Duration::from_secs(120),
            progress: Duration::from_secs(15),
            idle_command: Duration::from_secs(30 * 60),
            answer: Duration::from_secs(60),
        }
    }
}
