//! Clients that mean no good: each gets its protocol's own error, and the server goes on.

use std::io::Write;
use std::time::{Duration, Instant};

use crate::mail;
use crate::server::{PATIENCE, Server};

/// Resident memory of the server, in KiB.
fn resident(server: &Server) -> usize {
    let status = std::fs::read_to_string(format!("/proc/{}/status", server.pid())).expect("a process");
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).expect("VmRSS");
    line.split_whitespace().nth(1).and_then(|number| number.parse().ok()).expect("a number")
}

fn still_serves(server: &Server) {
    crate::deliver(server, "ann@example.org", &mail::message("still here", 300));
    crate::imap_login(server, "ann").ask("s STATUS INBOX (MESSAGES)", "s OK");
    crate::pop3_login(server, "ann").ask("STAT", "+OK");
}

#[test]
fn a_line_over_the_limit_is_answered_and_swallowed() {
    let server = Server::start("");
    let mut smtp = server.connect("smtp");
    smtp.until("220 ");
    smtp.send(format!("NOOP {}\r\nEHLO x.example\r\n", "x".repeat(100_000)));
    smtp.until("500 ");
    smtp.until("250 ");
    let mut pop3 = server.connect("pop3");
    pop3.until("+OK");
    pop3.send(format!("NOOP {}\r\nCAPA\r\n", "x".repeat(5000)));
    pop3.until("-ERR");
    pop3.until("+OK");
    let mut imap = crate::imap_login(&server, "bob");
    imap.send(format!("a NOOP {}\r\n", "x".repeat(1_000_000)));
    // RFC 9051 has no reply for a line whose tag may be lost but BAD; ending the session is the other way out.
    let rest = imap.line().expect("an answer");
    assert!(rest.contains("BAD") || rest.starts_with("* BYE"), "{rest}");
    still_serves(&server);
}

#[test]
fn literals_over_the_limit_are_refused_before_they_come() {
    let server = Server::start("[limits]\nmessage_size = \"1MiB\"\n");
    let mut imap = crate::imap_login(&server, "bob");
    let refused = imap.ask("a APPEND INBOX {1073741824}", "a ");
    assert!(refused.concat().contains("a NO"), "{refused:?}");
    imap.ask("b NOOP", "b OK");
    imap.ask("c LOGIN {99999999}", "c ");
    // A literal that comes unasked is swallowed or the session ends; its octets are never commands.
    imap.send(format!("d APPEND INBOX {{{}+}}\r\n", 4 << 20));
    let mut octets = 4 << 20;
    let piece = b"x9 LOGOUT\r\n".repeat(1000);
    while octets > 0 {
        let n = octets.min(piece.len());
        if imap.stream().write_all(&piece[..n]).is_err() {
            break;
        }
        octets -= n;
    }
    let _ = imap.stream().write_all(b"\r\ne NOOP\r\n");
    let rest = String::from_utf8_lossy(&{
        let mut lines = Vec::new();
        while let Some(line) = imap.line() {
            lines.extend(line.as_bytes());
            lines.push(b'\n');
            if line.starts_with("e OK") || line.starts_with("* BYE") {
                break;
            }
        }
        lines
    })
    .into_owned();
    assert!(rest.contains("d NO") || rest.contains("d BAD") || rest.contains("* BYE"), "{rest}");
    assert!(!rest.contains("x9 "), "octets of the literal ran as commands: {rest}");
    still_serves(&server);
}

#[test]
fn a_message_over_the_limit_is_refused() {
    let server = Server::start("[limits]\nmessage_size = \"100KiB\"\n");
    let mut smtp = server.connect("smtp");
    smtp.until("220 ");
    assert!(smtp.ask("EHLO x.example", "250 ").iter().any(|line| line.contains("SIZE 102400")));
    smtp.ask("MAIL FROM:<> SIZE=200000", "552 ");
    smtp.ask("MAIL FROM:<>", "250 ");
    smtp.ask("RCPT TO:<bob@example.org>", "250 ");
    smtp.ask("DATA", "354 ");
    smtp.send(mail::stuffed(&mail::message("large", 300_000)));
    smtp.ask(".", "552 ");
    smtp.ask("NOOP", "250 ");
    still_serves(&server);
}

#[test]
fn ten_thousand_pipelined_commands_are_answered_in_order() {
    let server = Server::start("");
    let mut smtp = server.connect("smtp");
    smtp.until("220 ");
    let mut writer = smtp.stream().try_clone().expect("a clone");
    let writing = std::thread::spawn(move || {
        let _ = writer.write_all("NOOP\r\n".repeat(10_000).as_bytes());
        let _ = writer.write_all(b"QUIT\r\n");
    });
    let mut noops = 0;
    loop {
        let line = smtp.line().expect("an answer");
        if line.starts_with("221 ") {
            break;
        }
        assert!(line.starts_with("250 "), "{line}");
        noops += 1;
    }
    assert_eq!(noops, 10_000);
    writing.join().expect("the writer");

    let mut imap = crate::imap_login(&server, "bob");
    let commands: String = (0..10_000).map(|n| format!("t{n} NOOP\r\n")).collect();
    imap.send(commands);
    for n in 0..10_000 {
        let line = imap.line().expect("an answer");
        assert!(line.starts_with(&format!("t{n} OK")), "{n}: {line}");
    }
    let mut pop3 = crate::pop3_login(&server, "bob");
    pop3.send("NOOP\r\n".repeat(10_000));
    for _ in 0..10_000 {
        assert!(pop3.line().expect("an answer").starts_with("+OK"));
    }
    still_serves(&server);
}

#[test]
fn a_client_that_stops_reading_costs_little() {
    let server = Server::start("");
    crate::deliver(&server, "bob@example.org", &mail::message("large", 8 << 20));
    let mut stalled: Vec<_> = (0..8)
        .map(|_| {
            let mut imap = crate::imap_login(&server, "bob");
            imap.ask("s SELECT INBOX", "s OK");
            imap
        })
        .collect();
    // Checking passwords costs memory on purpose; it is spent now.
    let before = resident(&server);
    for imap in &mut stalled {
        imap.send("a FETCH 1 BODY[]\r\n".repeat(10));
    }
    std::thread::sleep(Duration::from_secs(2));
    let grown = resident(&server).saturating_sub(before);
    assert!(grown < 16 * 1024, "8 clients that read nothing of 640 MiB cost {grown} KiB");
    still_serves(&server);
}

#[test]
fn a_client_of_one_octet_at_a_time_is_served() {
    let server = Server::start("");
    let mut smtp = server.connect("smtp");
    smtp.until("220 ");
    let message = "Subject: slow\r\n\r\n.\r\n..\r\n";
    for (octets, answer) in [
        ("EHLO x.example\r\n", "250 "),
        ("MAIL FROM:<>\r\n", "250 "),
        ("RCPT TO:<bob@example.org>\r\n", "250 "),
        ("DATA\r\n", "354 "),
    ] {
        for octet in octets.bytes() {
            smtp.send([octet]);
            std::thread::sleep(Duration::from_millis(1));
        }
        smtp.until(answer);
    }
    for octet in mail::stuffed(message).bytes().chain(*b".\r\n") {
        smtp.send([octet]);
        std::thread::sleep(Duration::from_millis(1));
    }
    smtp.until("250 ");
    let mut imap = crate::imap_login(&server, "bob");
    imap.ask("s SELECT INBOX", "s OK");
    let text = imap.ask("f FETCH 1 BODY[TEXT]", "f OK").join("\r\n");
    assert!(text.contains("{7}\r\n.\r\n..\r\n"), "{text}");
}

#[test]
fn noise_ends_in_errors_not_in_silence() {
    let server = Server::start("");
    let mut seed = 0x9e37_79b9_7f4a_7c15_u64;
    let noise: Vec<u8> = (0..200_000)
        .map(|_| {
            seed ^= seed << 13;
            seed ^= seed >> 7;
            seed ^= seed << 17;
            seed as u8
        })
        .collect();
    for service in ["smtp", "submission", "lmtp", "pop3", "imap", "imaps", "submissions", "pop3s"] {
        let mut wire = server.connect(service);
        let start = Instant::now();
        let _ = wire.stream().write_all(&noise);
        let _ = wire.stream().shutdown(std::net::Shutdown::Write);
        let _ = wire.rest();
        assert!(start.elapsed() < PATIENCE, "{service} hangs");
    }
    still_serves(&server);
}

#[test]
fn octets_behind_starttls_end_the_session() {
    let server = Server::start("");
    for (service, greeting, hello, starttls) in [
        ("smtp", "220 ", "EHLO x.example\r\n", "STARTTLS\r\nMAIL FROM:<evil@example.net>\r\n"),
        ("submission", "220 ", "EHLO x.example\r\n", "STARTTLS\r\nMAIL FROM:<evil@example.net>\r\n"),
        ("imap", "* OK", "", "a STARTTLS\r\nb LOGIN x y\r\n"),
        ("pop3", "+OK", "", "STLS\r\nUSER x\r\n"),
    ] {
        let mut wire = server.connect(service);
        wire.until(greeting);
        if !hello.is_empty() {
            wire.send(hello);
            wire.until("250 ");
        }
        wire.send(starttls);
        let rest = String::from_utf8_lossy(&wire.rest()).into_owned();
        assert!(!rest.contains("b OK") && !rest.contains("b NO") && rest.lines().count() <= 2, "{service}: {rest:?}");
    }
    still_serves(&server);
}

#[test]
fn passwords_are_not_taken_in_clear() {
    let server = Server::start("");
    let mut imap = server.connect("imap");
    let greeting = imap.until("* OK").concat();
    assert!(greeting.contains("LOGINDISABLED"), "{greeting}");
    imap.ask("a LOGIN bob@example.org \"secret of bob\"", "a NO");
    let mut pop3 = server.connect("pop3");
    pop3.until("+OK");
    pop3.ask("USER bob@example.org", "-ERR");
    let mut smtp = server.connect("submission");
    smtp.until("220 ");
    let hello = smtp.ask("EHLO x.example", "250 ");
    assert!(!hello.iter().any(|line| line.contains("AUTH") && line.contains("PLAIN")), "{hello:?}");
    smtp.ask("AUTH PLAIN AGEAYg==", "5");
    smtp.ask("MAIL FROM:<ann@example.org>", "530 ");
}

#[test]
fn an_address_has_only_so_many_connections() {
    let server = Server::start("[limits]\nconnections_per_address = 5\n");
    let open: Vec<_> = (0..5)
        .map(|_| {
            let mut wire = server.connect("smtp");
            wire.until("220 ");
            wire
        })
        .collect();
    let mut sixth = server.connect("smtp");
    assert!(sixth.line().expect("an answer").starts_with("421 "));
    assert_eq!(sixth.line(), None);
    let mut imap = server.connect("imap");
    assert!(imap.line().expect("an answer").starts_with("* BYE"));
    let mut pop3 = server.connect("pop3");
    assert!(pop3.line().expect("an answer").starts_with("-ERR"));
    drop(open);
    let deadline = Instant::now() + PATIENCE;
    while !server.connect("smtp").line().expect("an answer").starts_with("220 ") {
        assert!(Instant::now() < deadline);
        std::thread::sleep(Duration::from_millis(50));
    }
}

#[test]
fn failed_logins_shut_the_door() {
    let server = Server::start("[limits]\nfailed_logins = 3\n");
    for _ in 0..3 {
        let mut imap = server.connect_tls("imaps");
        imap.until("* OK");
        imap.ask("a LOGIN bob@example.org wrong", "a NO");
    }
    let mut imap = server.connect("imap");
    assert!(imap.line().expect("an answer").starts_with("* BYE"));
}

/// The limit held for new connections only: one that was open already, or a login of one's own in between, gave as many
/// more tries as one liked.
#[test]
fn failed_logins_count_on_open_connections_and_whoever_logs_in_between() {
    let server = Server::start("[limits]\nfailed_logins = 3\n");
    let mut open = server.connect_tls("imaps");
    open.until("* OK");
    let mut pop3 = server.connect_tls("pop3s");
    pop3.until("+OK");
    for _ in 0..3 {
        let mut imap = server.connect_tls("imaps");
        imap.until("* OK");
        imap.ask("a LOGIN bob@example.org wrong", "a NO");
        if imap.ask("b LOGIN ann@example.org \"secret of ann\"", "b ").concat().contains("b OK") {
            imap.ask("c LOGOUT", "c OK");
        }
    }
    let refused = open.ask("a LOGIN bob@example.org \"secret of bob\"", "a ").concat();
    assert!(refused.starts_with("a NO [UNAVAILABLE]"), "{refused}");
    pop3.ask("USER bob@example.org", "+OK");
    pop3.ask("PASS secret of bob", "-ERR [SYS/TEMP]");
    assert!(server.connect("imap").line().expect("an answer").starts_with("* BYE"));
}

#[test]
fn an_idle_client_is_let_go() {
    let server = Server::start("[limits]\nidle_time = \"1s\"\n");
    let mut smtp = server.connect("smtp");
    smtp.until("220 ");
    let start = Instant::now();
    // RFC 5321 §4.5.3.2.7 asks for five minutes; the configuration asked for less, and is obeyed.
    smtp.until("421 ");
    assert!(start.elapsed() >= Duration::from_millis(900), "{:?}", start.elapsed());
}
