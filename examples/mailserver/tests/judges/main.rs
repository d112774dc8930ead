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

mod async_imap;
mod collect;
mod curl;
mod hostile;
mod lettre;
mod lifecycle;
mod mail;
mod mbsync;
mod mutt;
mod one_mailbox;
mod outbound;
mod python;
mod server;
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
