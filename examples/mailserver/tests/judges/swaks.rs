//! swaks: STARTTLS, each login mechanism, attachments.

use std::process::Command;

use crate::server::{Server, finish, judge};

fn swaks(server: &Server, service: &str) -> Command {
    let mut command = Command::new("swaks");
    command.args(["--server", "127.0.0.1", "--port", &server.port(service), "--helo", "client.example.net"]);
    command.args(["--timeout", "30"]);
    command
}

fn login(command: &mut Command, mechanism: &str) {
    command.args(["--auth", mechanism, "--auth-user", "ann@example.org", "--auth-password", "secret of ann"]);
}

#[test]
#[ignore = "needs swaks"]
fn submission_takes_each_mechanism_over_each_tls() {
    let server = Server::start("");
    let mut sent = 0;
    for (service, tls) in [("submission", "--tls"), ("submissions", "--tlsc")] {
        for mechanism in ["PLAIN", "LOGIN"] {
            let mut command = swaks(&server, service);
            login(&mut command, mechanism);
            judge(command.args([tls, "--from", "ann@example.org", "--to", "bob@example.org"]));
            sent += 1;
        }
    }
    let mut imap = crate::imap_login(&server, "bob");
    let lines = imap.ask("a SELECT INBOX", "a ");
    assert!(lines.contains(&format!("* {sent} EXISTS")), "{lines:#?}");
}

#[test]
#[ignore = "needs swaks"]
fn an_attachment_arrives_as_it_was() {
    let server = Server::start("");
    let octets: Vec<u8> = (0..200_000u32).map(|n| (n.wrapping_mul(2_654_435_761) >> 13) as u8).collect();
    let file = server.file("noise.bin", &octets);
    let mut command = swaks(&server, "smtp");
    command.args(["--tls", "--from", "x@elsewhere.example", "--to", "bob@example.org", "--attach"]);
    judge(command.arg(format!("@{}", file.display())));
    let script = r#"
import imaplib, email, ssl, sys
context = ssl.create_default_context(cafile=sys.argv[2])
imap = imaplib.IMAP4_SSL("localhost", int(sys.argv[1]), ssl_context=context)
imap.login("bob@example.org", "secret of bob")
imap.select("INBOX")
message = email.message_from_bytes(imap.fetch("1", "(RFC822)")[1][0][1])
parts = [part.get_payload(decode=True) for part in message.walk() if part.get_filename()]
assert len(parts) == 1, parts
assert parts[0] == open(sys.argv[3], "rb").read()
imap.logout()
"#;
    let mut python = Command::new("python3");
    python.args(["-c", script, &server.port("imaps")]).arg(server.certificate()).arg(&file);
    judge(&mut python);
}

#[test]
#[ignore = "needs swaks"]
fn nothing_is_relayed_without_a_login() {
    let server = Server::start("");
    for service in ["smtp", "submission"] {
        let mut command = swaks(&server, service);
        command.args(["--tls", "--from", "x@elsewhere.example", "--to", "y@elsewhere.example"]);
        let output = finish(&mut command, "");
        assert!(!output.status.success(), "{service}: {}", String::from_utf8_lossy(&output.stdout));
    }
    assert_eq!(server.admin(&["queue", "list"], "").stdout, b"", "nothing waits to leave");
}
