//! curl, over every protocol and both kinds of TLS.

use std::process::Command;

use crate::mail;
use crate::server::{Server, judge};

fn curl(server: &Server, user: &str) -> Command {
    let mut command = Command::new("curl");
    command.args(["--silent", "--show-error", "--max-time", "30"]).arg("--cacert").arg(server.certificate());
    command.args(["--user", &format!("{user}@example.org:secret of {user}")]);
    command
}

fn url(server: &Server, service: &str, scheme: &str, path: &str) -> String {
    format!("{scheme}://localhost:{}/{path}", server.port(service))
}

#[test]
#[ignore = "needs curl"]
fn what_goes_in_over_smtp_comes_out_over_imap_and_pop3() {
    let server = Server::start("");
    let sent = mail::message("curl", 3000);
    let file = server.file("sent.eml", &sent);
    for (service, scheme, tls) in [("submission", "smtp", true), ("submissions", "smtps", false)] {
        let mut command = curl(&server, "ann");
        if tls {
            command.arg("--ssl-reqd");
        }
        command.args(["--mail-from", "ann@example.org", "--mail-rcpt", "bob@example.org", "--upload-file"]);
        judge(command.arg(&file).arg(url(&server, service, scheme, "client.example.net")));
    }
    // As another server would: no login, to a local recipient.
    let mut command = Command::new("curl");
    command
        .args(["--silent", "--show-error", "--max-time", "30", "--ssl-reqd"])
        .arg("--cacert")
        .arg(server.certificate());
    command.args(["--mail-from", "x@elsewhere.example", "--mail-rcpt", "bob@example.org", "--upload-file"]);
    judge(command.arg(&file).arg(url(&server, "smtp", "smtp", "client.example.net")));

    let imaps = judge(curl(&server, "bob").arg(url(&server, "imaps", "imaps", "INBOX;UID=1")));
    let imap = judge(curl(&server, "bob").arg("--ssl-reqd").arg(url(&server, "imap", "imap", "INBOX;UID=2")));
    let pop3s = judge(curl(&server, "bob").arg(url(&server, "pop3s", "pop3s", "1")));
    let pop3 = judge(curl(&server, "bob").arg("--ssl-reqd").arg(url(&server, "pop3", "pop3", "3")));
    for received in [imaps, imap, pop3s, pop3] {
        mail::assert_delivered(&received, &sent);
    }
    let listed = judge(curl(&server, "bob").arg(url(&server, "imaps", "imaps", "")));
    assert!(listed.contains("INBOX"), "{listed}");
    let found = judge(curl(&server, "bob").arg(url(&server, "imaps", "imaps", "INBOX?SUBJECT%20curl")));
    assert_eq!(found.trim(), "* SEARCH 1 2 3");
}

#[test]
#[ignore = "needs curl"]
fn a_message_is_appended_and_read_back() {
    let server = Server::start("");
    let sent = mail::message("appended", 100_000);
    let file = server.file("sent.eml", &sent);
    judge(curl(&server, "ann").arg("--upload-file").arg(&file).arg(url(&server, "imaps", "imaps", "Drafts")));
    let received = judge(curl(&server, "ann").arg(url(&server, "imaps", "imaps", "Drafts;UID=1")));
    assert_eq!(received, sent, "an appended message has no trace headers");
}

#[test]
#[ignore = "needs curl"]
fn a_wrong_password_is_refused() {
    let server = Server::start("");
    for (service, scheme) in [("imaps", "imaps"), ("pop3s", "pop3s"), ("submissions", "smtps")] {
        let mut command = Command::new("curl");
        command.args(["--silent", "--max-time", "30"]).arg("--cacert").arg(server.certificate());
        command.args(["--user", "ann@example.org:wrong"]).arg(url(&server, service, scheme, ""));
        let output = crate::server::finish(&mut command, "");
        assert_eq!(output.status.code(), Some(67), "{service}: curl's exit code for a refused login");
    }
}
