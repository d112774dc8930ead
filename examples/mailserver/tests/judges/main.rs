//! Programs nobody here wrote, and hostile clients, against the running example server.
//!
//! Tests that need a foreign program are ignored with that need as the reason; `.ci/run` installs the needs and runs
//! them too. One that finds its need missing fails.

#![allow(
    clippy::expect_used,
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::cast_possible_truncation,
    reason = "a test says no by panicking"
)]

mod aliases;
mod async_imap;
mod authentication;
mod collect;
mod copy;
mod curl;
mod dns;
mod hostile;
mod imapclient;
mod imapflow;
mod lettre;
mod lifecycle;
mod mail;
mod mbsync;
mod mutt;
mod mx;
mod next_hops;
mod one_mailbox;
mod outbound;
mod pop3;
mod python;
mod queue;
mod receiving;
mod server;
mod submit;
mod swaks;

use server::{Server, Wire};

/// A raw IMAP connection over TLS, logged in.
pub(crate) fn imap_login(server: &Server, user: &str) -> server::TlsWire {
    let mut wire = server.connect_tls("imaps");
    wire.until("* OK");
    let lines = wire.ask(&format!("l LOGIN {user}@example.org \"secret of {user}\""), "l ");
    assert!(lines.last().is_some_and(|line| line.starts_with("l OK")), "{lines:#?}");
    wire
}

/// A raw POP3 connection, logged in.
pub(crate) fn pop3_login(server: &Server, user: &str) -> server::TlsWire {
    let mut wire = server.connect_tls("pop3s");
    wire.until("+OK");
    wire.ask(&format!("USER {user}@example.org"), "+OK");
    wire.ask(&format!("PASS secret of {user}"), "+OK");
    wire
}

/// Delivers one message as another server would, over a raw connection.
pub(crate) fn deliver(server: &Server, to: &str, message: &str) {
    let mut wire: Wire = server.connect("smtp");
    wire.until("220 ");
    wire.ask("EHLO client.example.net", "250 ");
    wire.ask("MAIL FROM:<x@elsewhere.example>", "250 ");
    wire.ask(&format!("RCPT TO:<{to}>"), "250 ");
    wire.ask("DATA", "354 ");
    wire.send(mail::stuffed(message));
    wire.ask(".", "250 ");
    wire.ask("QUIT", "221 ");
}

/// Where `.ci/needs` installs clients that no distribution packages.
pub(crate) fn clients() -> std::path::PathBuf {
    let cache = std::env::var_os("XDG_CACHE_HOME").map(std::path::PathBuf::from);
    let home = || std::path::PathBuf::from(std::env::var_os("HOME").expect("a home")).join(".cache");
    cache.unwrap_or_else(home).join("mailserver-judges")
}

/// Messages whose structure is unusual, for clients that parse what they are told of it.
pub(crate) fn odd_messages() -> Vec<(&'static str, String)> {
    let digest =
        "Content-Type: multipart/digest; boundary=d\n\n--d\n\nFrom: in@example.org\nSubject: inner\n\ninside\n--d--\n";
    let odd = [
        (
            "groups",
            "From: A <a@x>\nTo: undisclosed-recipients:;\nCc: Team: \"Joe \\\"Q\\\"\" <j@x>, b@y;, z@z\n\nhello\n",
        ),
        ("nested", digest),
        ("boundless", "Content-Type: multipart/mixed\n\nno boundary\n"),
        ("headless", "\nbody only\n"),
        ("bodiless", "Subject: no body\n"),
        (
            "quotes",
            "Subject: a \"b\" \\ c\nContent-Type: text/plain; charset=\"x\\\"y\"; name*0=\"ab\"; name*1=\"cd\"\n\nq\n",
        ),
        ("hollow", "Content-Type: message/rfc822\n\n"),
    ];
    odd.into_iter().map(|(name, text)| (name, text.replace('\n', "\r\n"))).collect()
}
