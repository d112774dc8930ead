//! What the listeners take from whom: PROXY headers, XCLIENT, what is offered, how much a user may send.

use std::io::Write;
use std::net::TcpStream;

use rustls::{ClientConnection, StreamOwned};

use crate::server::{Server, Wire};

const V2: &[u8] = b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c\xc6\x33\x64\x07\x7f\0\0\x01\x0f\xa0\0\x19";

/// The trace fields of what lies in bob's inbox, through the balancer.
fn traces(server: &Server) -> String {
    let mut imap = server.connect("imap");
    imap.send("PROXY UNKNOWN\r\n");
    imap.until("* OK");
    imap.ask("a LOGIN bob@example.org \"secret of bob\"", "a OK");
    imap.ask("b SELECT INBOX", "b OK");
    imap.ask("c FETCH 1:* BODY.PEEK[HEADER.FIELDS (RECEIVED)]", "c OK").concat()
}

fn send_to_bob(smtp: &mut Wire) {
    smtp.ask("MAIL FROM:<a@sender.example>", "250 ");
    smtp.ask("RCPT TO:<bob@example.org>", "250 ");
    smtp.ask("DATA", "354 ");
    smtp.ask("Subject: proxied\r\n\r\ntext\r\n.", "250 ");
}

/// The client behind a load balancer is who is greeted, counted and written down; without a header nobody is.
#[test]
fn connections_of_a_balancer_begin_with_who_is_behind_it() {
    let top = "cleartext_logins = true\n";
    let server = Server::start_with(top, "[proxy]\ntrusted = [\"127.0.0.0/8\"]\n[authentication]\nverify = false\n");
    let mut smtp = server.connect("smtp");
    smtp.send("PROXY TCP4 198.51.100.7 127.0.0.1 4000 25\r\nEHLO client.example\r\n");
    smtp.until("250 ");
    send_to_bob(&mut smtp);
    assert!(traces(&server).contains("from client.example ([198.51.100.7])"), "{}", traces(&server));

    let mut unproxied = server.connect("smtp");
    unproxied.send("EHLO client.example\r\n");
    assert_eq!(unproxied.line(), None, "not a word to who does not say who it is");

    // Behind the header TLS begins at once: not an octet of it was taken.
    let mut stream = TcpStream::connect(server.address("imaps")).expect("a connection");
    stream.write_all(V2).expect("a header");
    let client = ClientConnection::new(server.tls_client(), "localhost".try_into().expect("a name"));
    let mut imaps = crate::server::Lines::new(StreamOwned::new(client.expect("a client"), stream));
    imaps.until("* OK");
    imaps.ask("a LOGIN bob@example.org \"secret of bob\"", "a OK");
    assert!(server.log().contains("peer=198.51.100.7:4000"), "{}", server.log());
}

/// A trusted host says who the client is; another is not even told that this could be said.
#[test]
fn xclient_of_trusted_hosts_only() {
    let top = "cleartext_logins = true\n";
    let server =
        Server::start_with(top, "[smtp]\nxclient = [\"127.0.0.1\"]\netrn = true\n[authentication]\nverify = false\n");
    let mut smtp = server.connect("smtp");
    smtp.until("220 ");
    let offered = smtp.ask("EHLO proxy.example", "250 ");
    let offers = |line: &str| offered.iter().any(|it| it.get(4..).is_some_and(|it| it.starts_with(line)));
    for line in
        ["XCLIENT NAME", "ETRN", "LIMITS MAILMAX=1000 RCPTMAX=1000", "SMTPUTF8", "BINARYMIME", "DELIVERBY", "HELP"]
    {
        assert!(offers(line), "{line}: {offered:?}");
    }
    assert!(!offers("FUTURERELEASE") && !offers("REQUIRETLS") && !offers("RRVS") && !offers("XFORWARD"), "{offered:?}");
    smtp.ask("ETRN nowhere.example", "251 ");
    smtp.ask("XCLIENT NAME=spike.example ADDR=198.51.100.9", "220 ");
    smtp.ask("EHLO spike.example", "250 ");
    send_to_bob(&mut smtp);
    let mut imap = server.connect("imap");
    imap.until("* OK");
    imap.ask("a LOGIN bob@example.org \"secret of bob\"", "a OK");
    imap.ask("b SELECT INBOX", "b OK");
    let traces = imap.ask("c FETCH 1:* BODY.PEEK[HEADER.FIELDS (RECEIVED)]", "c OK").concat();
    assert!(traces.contains("from spike.example ([198.51.100.9])"), "{traces}");

    let server = Server::start("");
    let mut smtp = server.connect("smtp");
    smtp.until("220 ");
    let offered = smtp.ask("EHLO proxy.example", "250 ");
    assert!(!offered.iter().any(|line| line.contains("XCLIENT") || line.contains("ETRN")), "{offered:?}");
    smtp.ask("XCLIENT NAME=spike.example", "502 ");
}

/// What a user may send in an hour is theirs, whatever connection they use.
#[test]
fn a_user_is_held_to_a_rate() {
    let server = Server::start("[submission]\nmessages = 2\n");
    let login = "AGFubkBleGFtcGxlLm9yZwBzZWNyZXQgb2YgYW5u"; // ann@example.org, secret of ann
    for expected in ["250 ", "250 ", "450 4.7.1"] {
        let mut submission = server.connect_tls("submissions");
        submission.until("220 ");
        let offered = submission.ask("EHLO client.example", "250 ").concat();
        assert!(offered.contains("FUTURERELEASE 2592000 20") && offered.contains("REQUIRETLS"), "{offered}");
        submission.ask(&format!("AUTH PLAIN {login}"), "235 ");
        submission.ask("MAIL FROM:<ann@example.org>", expected);
    }
}
