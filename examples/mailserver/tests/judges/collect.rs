//! fetchmail and mpop: collectors over POP3 and IMAP.

use std::process::Command;

use crate::mail;
use crate::server::{Server, finish, judge};

#[test]
#[ignore = "needs mpop"]
fn mpop_collects_everything_once() {
    let server = Server::start("");
    let sent: Vec<String> = (0..5).map(|n| mail::message(&format!("mpop {n}"), 2000 * (n + 1))).collect();
    for message in &sent {
        crate::deliver(&server, "bob@example.org", message);
    }
    let mbox = server.folder.path().join("collected");
    let rc = server.file("mpoprc", "");
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        std::fs::set_permissions(&rc, std::fs::Permissions::from_mode(0o600)).expect("permissions");
    }
    let run = |keep: &str| {
        let mut mpop = Command::new("mpop");
        mpop.args(["--host=localhost", "--tls=on", "--tls-starttls=off", "--user=bob@example.org"]);
        mpop.args(["--passwordeval=echo secret of bob", "--auth=on", "--received-header=off"]);
        mpop.arg(format!("--port={}", server.port("pop3s"))).arg(format!("--keep={keep}"));
        mpop.arg(format!("--tls-trust-file={}", server.certificate().display()));
        mpop.arg(format!("--uidls-file={}", server.folder.path().join("uidls").display()));
        mpop.arg(format!("--delivery=mbox,{}", mbox.display()));
        judge(&mut mpop)
    };
    run("on");
    run("on");
    let collected = std::fs::read_to_string(&mbox).expect("an mbox");
    for n in 0..5 {
        let subject = format!("Subject: mpop {n}\n");
        assert_eq!(collected.matches(&subject).count(), 1, "message {n} was collected once over two runs");
    }
    run("off");
    let mut pop3 = crate::pop3_login(&server, "bob");
    assert_eq!(pop3.ask("STAT", "+OK"), ["+OK 0 0"]);
}

#[test]
#[ignore = "needs fetchmail"]
fn fetchmail_collects_over_pop3_and_imap() {
    for (protocol, service) in [("pop3", "pop3s"), ("imap", "imaps")] {
        let server = Server::start("");
        for n in 0..3 {
            crate::deliver(&server, "bob@example.org", &mail::message(&format!("fetched {n}"), 1500));
        }
        let target = server.folder.path().join("collected");
        let rc = server.file(
            "fetchmailrc",
            format!(
                "poll localhost protocol {protocol} port {} user \"bob@example.org\" password \"secret of bob\" is root here \
                 ssl sslcertck sslcertfile {} mda \"cat >> {}\"\n",
                server.port(service),
                server.certificate().display(),
                target.display(),
            ),
        );
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt;
            std::fs::set_permissions(&rc, std::fs::Permissions::from_mode(0o600)).expect("permissions");
        }
        let mut fetchmail = Command::new("fetchmail");
        fetchmail.env("FETCHMAILHOME", server.folder.path()).env("HOME", server.folder.path());
        fetchmail.args(["--nodetach", "--nosyslog", "-f"]).arg(&rc);
        let output = finish(&mut fetchmail, "");
        assert!(output.status.success(), "{protocol}: {}", String::from_utf8_lossy(&output.stderr));
        let collected = std::fs::read_to_string(&target).expect("collected mail");
        for n in 0..3 {
            assert_eq!(collected.matches(&format!("Subject: fetched {n}")).count(), 1, "{protocol} {n}");
        }
        let mut imap = crate::imap_login(&server, "bob");
        let status = imap.ask("s STATUS INBOX (MESSAGES)", "s OK");
        assert!(status.contains(&"* STATUS INBOX (MESSAGES 0)".to_owned()), "{protocol}: {status:#?}");
    }
}
