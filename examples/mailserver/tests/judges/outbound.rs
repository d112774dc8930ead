//! Mail for other hosts: through a route, retried, returned when it can't be delivered.

use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::Duration;

use crate::mail;
use crate::server::{PATIENCE, Server, TlsWire};

/// What the next hop was sent: each recipient accepted, and the octets after dot-unstuffing.
pub(crate) struct Received {
    return_path: String,
    pub(crate) recipients: Vec<String>,
    pub(crate) data: String,
}

/// A next hop that knows no TLS: refuses mailboxes beginning with `no`, defers those beginning with `later` at first.
fn next_hop() -> (SocketAddr, Receiver<Received>) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a listener");
    let address = listener.local_addr().expect("an address");
    let (sender, receiver) = channel();
    std::thread::spawn(move || {
        let mut deferred = 0;
        while let Ok((stream, _)) = listener.accept() {
            if serve(stream, &sender, &mut deferred).is_none() {
                return;
            }
        }
    });
    (address, receiver)
}

pub(crate) fn serve(stream: TcpStream, sender: &Sender<Received>, deferred: &mut u32) -> Option<()> {
    let mut writer = stream.try_clone().ok()?;
    let mut lines = BufReader::new(stream).lines().map_while(Result::ok);
    let mut say = |line: &str| writer.write_all(format!("{line}\r\n").as_bytes()).is_ok();
    say("220 next.example ESMTP");
    let mut received = Received { return_path: String::new(), recipients: Vec::new(), data: String::new() };
    while let Some(line) = lines.next() {
        let upper = line.to_ascii_uppercase();
        if upper.starts_with("EHLO") {
            say("250-next.example");
            say("250-PIPELINING");
            say("250 8BITMIME");
        } else if upper.starts_with("MAIL FROM:") {
            received = Received { return_path: path(&line), recipients: Vec::new(), data: String::new() };
            say("250 2.1.0 ok");
        } else if upper.starts_with("RCPT TO:") {
            let to = path(&line);
            if to.starts_with("no") {
                say("550 5.1.1 no such mailbox here");
            } else if to.starts_with("later") && *deferred == 0 {
                *deferred += 1;
                say("451 4.3.0 come back later");
            } else {
                received.recipients.push(to);
                say("250 2.1.5 ok");
            }
        } else if upper == "DATA" {
            if received.recipients.is_empty() {
                say("554 5.5.1 no valid recipients");
                continue;
            }
            say("354 go on");
            for line in lines.by_ref() {
                if line == "." {
                    break;
                }
                received.data.push_str(line.strip_prefix('.').unwrap_or(&line));
                received.data.push_str("\r\n");
            }
            say("250 2.0.0 taken");
            let done = std::mem::replace(
                &mut received,
                Received { return_path: String::new(), recipients: Vec::new(), data: String::new() },
            );
            sender.send(done).ok()?;
        } else if upper == "QUIT" {
            say("221 2.0.0 bye");
            return Some(());
        } else {
            say("250 ok");
        }
    }
    Some(())
}

fn path(line: &str) -> String {
    let start = line.find('<').map_or(0, |at| at + 1);
    let end = line.find('>').unwrap_or(line.len());
    line[start..end].to_owned()
}

fn routed(address: SocketAddr, tls: &str) -> String {
    format!(
        "[outbound]\nroutes = [{{ domain = \"*\", host = \"127.0.0.1\", port = {}, tls = \"{tls}\" }}]\nretry = [\"1s\"]\n",
        address.port()
    )
}

/// Submits a message from ann over TLS.
pub(crate) fn submit(server: &Server, recipients: &[&str], message: &str) {
    let mut wire: TlsWire = server.connect_tls("submissions");
    wire.until("220 ");
    wire.ask("EHLO client.example.net", "250 ");
    wire.ask("AUTH PLAIN AGFubkBleGFtcGxlLm9yZwBzZWNyZXQgb2YgYW5u", "235 ");
    wire.ask("MAIL FROM:<ann@example.org>", "250 ");
    for to in recipients {
        wire.ask(&format!("RCPT TO:<{to}>"), "250 ");
    }
    wire.ask("DATA", "354 ");
    wire.send(mail::stuffed(message));
    wire.ask(".", "250 ");
    wire.ask("QUIT", "221 ");
}

#[test]
fn mail_for_others_leaves_by_the_route() {
    let (address, hop) = next_hop();
    let server = Server::start(&routed(address, "opportunistic"));
    let sent = mail::message("leaving", 5000);
    submit(&server, &["x@elsewhere.example", "bob@example.org", "y@elsewhere.example"], &sent);
    let received = hop.recv_timeout(PATIENCE).expect("delivered");
    assert_eq!(received.return_path, "ann@example.org");
    assert_eq!(received.recipients, ["x@elsewhere.example", "y@elsewhere.example"]);
    assert!(received.data.ends_with(&sent), "{}", received.data);
    assert!(received.data.starts_with("Received: ") && !received.data.contains("Return-Path:"), "{}", received.data);
    let mut imap = crate::imap_login(&server, "bob");
    assert!(imap.ask("s SELECT INBOX", "s OK").contains(&"* 1 EXISTS".to_owned()));
    assert!(hop.recv_timeout(Duration::from_secs(3)).is_err(), "it was sent once");
    assert_eq!(server.admin(&["queue", "list"], "").stdout, b"");
}

#[test]
fn a_permanent_failure_returns_to_the_sender() {
    let (address, hop) = next_hop();
    let server = Server::start(&routed(address, "opportunistic"));
    submit(&server, &["nobody@elsewhere.example", "x@elsewhere.example"], &mail::message("partly", 2000));
    assert_eq!(hop.recv_timeout(PATIENCE).expect("delivered").recipients, ["x@elsewhere.example"]);
    let mut imap = crate::imap_login(&server, "ann");
    imap.ask("s SELECT INBOX", "s OK");
    imap.ask("i IDLE", "+ ");
    let mut lines = imap.ask("DONE", "i OK");
    let deadline = std::time::Instant::now() + PATIENCE;
    while !lines.iter().any(|line| line == "* 1 EXISTS") {
        let status = imap.ask("s STATUS INBOX (MESSAGES)", "s OK");
        if status.iter().any(|line| line.contains("MESSAGES 1")) {
            break;
        }
        assert!(std::time::Instant::now() < deadline, "no report:\n{}", server.log());
        std::thread::sleep(Duration::from_millis(100));
        lines = imap.ask("n NOOP", "n OK");
    }
    imap.ask("n NOOP", "n OK");
    let structure = imap.ask("f FETCH 1 BODYSTRUCTURE", "f OK").concat().to_ascii_lowercase();
    assert!(structure.contains("\"report\"") && structure.contains("delivery-status"), "{structure}");
    let text = imap.ask("f FETCH 1 BODY[]", "f OK").join("\n");
    for part in
        ["Return-Path: <>", "Final-Recipient: rfc822;nobody@elsewhere.example", "Action: failed", "Status: 5.1.1"]
    {
        assert!(text.contains(part), "{part}: {text}");
    }
    assert!(!text.contains("x@elsewhere.example"), "only what failed is reported: {text}");
}

#[test]
fn a_temporary_failure_is_tried_again() {
    let (address, hop) = next_hop();
    let server = Server::start(&routed(address, "none"));
    submit(&server, &["later@elsewhere.example"], &mail::message("again", 500));
    let received = hop.recv_timeout(PATIENCE).expect("delivered at last");
    assert_eq!(received.recipients, ["later@elsewhere.example"]);
}

#[test]
fn what_waits_survives_a_kill_and_is_sent_once() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a listener");
    let nobody = listener.local_addr().expect("an address");
    drop(listener);
    let server = Server::start(&routed(nobody, "opportunistic"));
    submit(&server, &["x@elsewhere.example"], &mail::message("patient", 500));
    let listed = server.admin(&["queue", "list"], "");
    assert!(String::from_utf8_lossy(&listed.stdout).contains("x@elsewhere.example"));
    let folder = server.stop();
    let (address, hop) = next_hop();
    let config = format!("{}{}{}", crate::server::BASE, crate::server::LISTEN, routed(address, "opportunistic"));
    std::fs::write(folder.path().join("mailserver.toml"), config).expect("a configuration");
    let server = Server::run(folder);
    server.admin(&["queue", "flush"], "");
    assert_eq!(hop.recv_timeout(PATIENCE).expect("delivered").recipients, ["x@elsewhere.example"]);
    assert!(hop.recv_timeout(Duration::from_secs(3)).is_err(), "it was sent once");
}

/// A next hop of our own kind: domain `next.example`, mailbox `eve`, and a certificate that only `ca` vouches for.
pub(crate) fn next_server() -> Server {
    let folder = tempfile::tempdir().expect("a folder");
    let config = crate::server::BASE.replace("example.org", "next.example") + crate::server::LISTEN;
    std::fs::write(folder.path().join("mailserver.toml"), config).expect("a configuration");
    let mut add = crate::server::binary();
    add.current_dir(folder.path()).args(["user", "add", "eve@next.example", "--password-stdin"]);
    assert!(crate::server::finish(&mut add, "secret of eve\n").status.success());
    Server::run(folder)
}

pub(crate) fn eve_receives(next: &Server, message: &str) -> String {
    let deadline = std::time::Instant::now() + PATIENCE;
    let mut imap = next.connect_tls("imaps");
    imap.until("* OK");
    imap.ask("l LOGIN eve@next.example \"secret of eve\"", "l OK");
    while !imap.ask("s SELECT INBOX", "s OK").contains(&"* 1 EXISTS".to_owned()) {
        assert!(std::time::Instant::now() < deadline, "nothing came");
        std::thread::sleep(Duration::from_millis(100));
    }
    let text = imap.ask("f FETCH 1 BODY[]", "f OK").join("\r\n");
    assert!(text.contains(message.trim_end()), "{text}");
    text
}

#[test]
fn tls_is_used_where_it_is_offered() {
    let next = next_server();
    let server = Server::start(&routed(next.address("smtp"), "opportunistic"));
    let sent = mail::message("wrapped", 500);
    submit(&server, &["eve@next.example"], &sent);
    let text = eve_receives(&next, &sent);
    assert!(text.contains("with ESMTPS"), "{text}");
}

#[test]
fn required_tls_takes_only_a_certificate_it_can_trust() {
    let next = next_server();
    let port = next.address("smtp").port();
    let route = |ca: &str| {
        format!(
            "[outbound]\nroutes = [{{ domain = \"*\", host = \"localhost\", port = {port}, tls = \"required\"{ca} }}]\n\
             retry = [\"1s\"]\n"
        )
    };
    let server = Server::start(&route(""));
    submit(&server, &["eve@next.example"], &mail::message("untrusted", 500));
    std::thread::sleep(Duration::from_secs(3));
    let listed = String::from_utf8_lossy(&server.admin(&["queue", "list"], "").stdout).into_owned();
    assert!(listed.contains("eve@next.example"), "it waits rather than leave unprotected: {listed}");
    drop(server);
    let server = Server::start(&route(&format!(", ca = \"{}\"", next.certificate().display())));
    let sent = mail::message("trusted", 500);
    submit(&server, &["eve@next.example"], &sent);
    assert!(eve_receives(&next, &sent).contains("with ESMTPS"));
}
