//! SPF, DKIM and DMARC of what comes in, DKIM signatures on what goes out; a second DKIM implementation agrees.

use std::process::Command;

use tempfile::TempDir;

use crate::dns::Zone;
use crate::server::{BASE, LISTEN, Server, add_user, binary, finish, judge};
use crate::{clients, imap_login, mail};

/// A server that looks at everybody's mail, also from this machine.
fn suspicious(zone: &Zone, more: &str) -> Server {
    Server::start(&format!("{}[authentication]\ntrusted = []\n{more}", zone.config()))
}

/// Sends a message from `sender`, its From and everything else in `header`; what the final dot gets.
fn send(server: &Server, sender: &str, header: &str) -> String {
    let mut wire = server.connect("smtp");
    wire.until("220 ");
    wire.ask("EHLO client.example.net", "250 ");
    wire.ask(&format!("MAIL FROM:<{sender}>"), "250 ");
    wire.ask("RCPT TO:<ann@example.org>", "250 ");
    wire.ask("DATA", "354 ");
    wire.send(format!("{header}\r\n\r\nbody\r\n.\r\n"));
    wire.line().expect("a reply")
}

/// The newest message of a folder of ann's.
fn newest(server: &Server, folder: &str) -> String {
    let mut imap = imap_login(server, "ann");
    imap.ask(&format!("s SELECT {folder}"), "s OK");
    imap.ask("f FETCH * BODY.PEEK[]", "f OK").join("\r\n")
}

#[test]
fn what_is_found_out_stands_above_the_message_and_nobody_else_says_it() {
    let zone = Zone::new();
    zone.txt("good.example", "v=spf1 ip4:127.0.0.1 -all").txt("bad.example", "v=spf1 -all");
    let server = suspicious(&zone, "");
    let forged = "Authentication-Results: MAIL.example.org; spf=pass\r\nFrom: a@good.example\r\n\
                  Authentication-Results: other.example; spf=fail\r\nSubject: x";
    assert!(send(&server, "a@good.example", forged).starts_with("250 "));
    let message = newest(&server, "INBOX");
    assert!(message.contains("Authentication-Results: mail.example.org;\r\n\tspf=pass "), "{message}");
    assert!(message.contains("smtp.mailfrom=a@good.example"), "{message}");
    assert!(message.contains("dkim=none") || !message.contains("dkim="), "{message}");
    assert!(!message.contains("MAIL.example.org"), "the forged one is gone: {message}");
    assert!(message.contains("Authentication-Results: other.example"), "others' stay: {message}");
    let (results, received) = (message.find("Authentication-Results: mail"), message.find("Received: "));
    assert!(results < received, "{message}");

    // A failed SPF check alone is said, and no more (RFC 7208 §8.4 leaves it to the receiver).
    assert!(send(&server, "a@bad.example", "From: a@bad.example").starts_with("250 "));
    assert!(newest(&server, "INBOX").contains("spf=fail "));
    // The null sender is looked up by what the client calls itself.
    assert!(send(&server, "", "From: a@bad.example").starts_with("250 "));
    assert!(newest(&server, "INBOX").contains("smtp.helo=client.example.net"));
}

#[test]
fn what_a_domain_asks_for_is_done() {
    let zone = Zone::new();
    zone.txt("spammer.example", "v=spf1 ip4:127.0.0.1 -all");
    for (domain, policy) in [("refuse.example", "reject"), ("junk.example", "quarantine"), ("none.example", "none")] {
        zone.txt(&format!("_dmarc.{domain}"), &format!("v=DMARC1; p={policy}"));
    }
    zone.txt("_dmarc.known.example", "v=DMARC1; p=reject");
    let rule = "rules = [{ domain = \"known.example\", dmarc = \"mark\" }]\n";
    let server = suspicious(&zone, rule);
    let from = |domain: &str| send(&server, "a@spammer.example", &format!("From: Boss <boss@{domain}>\r\nSubject: x"));
    let refused = from("refuse.example");
    assert!(refused.starts_with("550 5.7.1 ") && refused.contains("refuse.example"), "{refused}");
    assert!(from("sub.refuse.example").starts_with("550 "), "the policy is for what lies below, too");
    assert!(from("junk.example").starts_with("250 "));
    let junk = newest(&server, "Junk");
    assert!(
        junk.contains("dmarc=fail (policy not aligned) header.from=junk.example policy.dmarc=quarantine"),
        "{junk}"
    );
    assert!(from("known.example").starts_with("250 "));
    assert!(
        newest(&server, "INBOX").contains("dmarc=fail (policy not aligned) header.from=known.example"),
        "a rule of ours counts more"
    );
    assert!(from("none.example").starts_with("250 "));
    assert!(newest(&server, "INBOX").contains("dmarc=fail (policy not aligned) header.from=none.example"));
    let mut imap = imap_login(&server, "ann");
    assert!(imap.ask("s STATUS INBOX (MESSAGES)", "s OK")[0].contains("MESSAGES 2"), "the refused ones are nowhere");
}

/// A domain's policy must not go away behind signatures that nobody made, nor behind a header too long to look at.
#[test]
fn many_signatures_and_long_headers_hide_nothing() {
    let zone = Zone::new();
    zone.txt("_dmarc.refuse.example", "v=DMARC1; p=reject");
    let server = suspicious(&zone, "header_size = \"64KiB\"\n");
    let from = "From: Boss <boss@refuse.example>";
    let signature = "DKIM-Signature: v=1; a=rsa-sha256; d=x.example; s=a; h=from; bh=eA==; b=eA==; l=";
    let header: String = (0..500).map(|at| format!("{signature}{at}\r\n")).collect();
    let before = zone.questions();
    assert!(send(&server, "a@x.example", &format!("{header}{from}")).starts_with("550 5.7.1 "));
    assert!(zone.questions() - before < 30, "{} questions", zone.questions() - before);
    let long = "X-Long: x\r\n".repeat(10_000);
    assert!(send(&server, "a@x.example", &format!("{long}{from}")).starts_with("552 5.3.4 "));
    // What is shown may be the one, and what is checked the other.
    let two = format!("From: a@x.example\r\n{from}");
    assert!(send(&server, "a@x.example", &two).starts_with("550 5.7.1 "));
    let mut imap = imap_login(&server, "ann");
    assert!(imap.ask("s STATUS INBOX (MESSAGES)", "s OK")[0].contains("MESSAGES 0"));
}

#[test]
fn hosts_that_are_trusted_are_not_looked_at() {
    let zone = Zone::new();
    let server = Server::start(&zone.config());
    assert!(send(&server, "a@bad.example", "From: a@bad.example").starts_with("250 "));
    assert!(!newest(&server, "INBOX").contains("Authentication-Results"));
    assert_eq!(zone.questions(), 0);
}

#[test]
fn a_name_server_that_says_nothing_holds_up_no_mail() {
    let silent = std::net::UdpSocket::bind("127.0.0.1:0").expect("a socket");
    let dns = format!("[dns]\nservers = [\"{}\"]\ntimeout = \"1s\"\n", silent.local_addr().expect("an address"));
    let server = Server::start(&format!("{dns}[authentication]\ntrusted = []\n"));
    assert!(send(&server, "a@x.example", "From: a@x.example").starts_with("250 "));
    assert!(newest(&server, "INBOX").contains("spf=temperror"));
}

/// A server whose users' mail is signed with these keys and goes to `next`; its folder, and what it publishes.
fn signing(keys: &[(&str, &'static rcgen::SignatureAlgorithm)], next: u16) -> Server {
    let folder: TempDir = tempfile::tempdir().expect("a folder");
    let mut dkim = Vec::new();
    for (selector, algorithm) in keys {
        let key = rcgen::KeyPair::generate_for(algorithm).expect("a key");
        std::fs::write(folder.path().join(format!("{selector}.pem")), key.serialize_pem()).expect("a file");
        dkim.push(format!("{{ domain = \"example.org\", selector = \"{selector}\", key = \"{selector}.pem\" }}"));
    }
    let route = format!("routes = [{{ domain = \"*\", host = \"127.0.0.1\", port = {next}, tls = \"none\" }}]");
    let config = format!("{BASE}{LISTEN}[outbound]\ndkim = [{}]\n{route}\n", dkim.join(", "));
    std::fs::write(folder.path().join("mailserver.toml"), config).expect("a configuration");
    add_user(folder.path(), "ann");
    add_user(folder.path(), "bob");
    Server::run(folder)
}

/// The records that `check` says are to be published.
fn published(server: &Server) -> Vec<(String, String)> {
    let checked = finish(binary().current_dir(server.folder.path()).arg("check"), "");
    let text = String::from_utf8(checked.stdout).expect("text");
    let records = text.lines().filter_map(|line| line.strip_prefix("publish ")?.split_once(" TXT "));
    records.map(|(name, record)| (name.to_owned(), record.to_owned())).collect()
}

fn submit(server: &Server, to: &str, message: &str) {
    let mut wire = server.connect_tls("submissions");
    wire.until("220 ");
    wire.ask("EHLO client.example.net", "250 ");
    wire.ask("AUTH PLAIN AGFubkBleGFtcGxlLm9yZwBzZWNyZXQgb2YgYW5u", "235 ");
    wire.ask("MAIL FROM:<ann@example.org>", "250 ");
    wire.ask(&format!("RCPT TO:<{to}>"), "250 ");
    wire.ask("DATA", "354 ");
    wire.send(mail::stuffed(message));
    wire.ask(".", "250 ");
}

#[test]
fn what_users_send_is_signed_and_another_server_believes_it() {
    let zone = Zone::new();
    zone.txt("_dmarc.example.org", "v=DMARC1; p=reject");
    let folder = tempfile::tempdir().expect("a folder");
    let config = BASE.replace("example.org", "next.example");
    let config = format!("{config}{LISTEN}{}[authentication]\ntrusted = []\n", zone.config());
    std::fs::write(folder.path().join("mailserver.toml"), config).expect("a configuration");
    let mut add = binary();
    add.current_dir(folder.path()).args(["user", "add", "eve@next.example", "--password-stdin"]);
    assert!(finish(&mut add, "secret of eve\n").status.success());
    let next = Server::run(folder);

    let keys = [("rsa", &rcgen::PKCS_RSA_SHA256), ("ed", &rcgen::PKCS_ED25519)];
    let server = signing(&keys, next.address("smtp").port());
    let records = published(&server);
    assert_eq!(records.len(), 2, "{records:?}");
    records.iter().for_each(|(name, record)| _ = zone.txt(name, record));
    // Without Date and Message-ID: what is added here is signed too.
    submit(&server, "eve@next.example", "From: ann@example.org\r\nSubject: signed\r\n\r\n.dot\r\ntext \r\n \r\n");

    let mut imap = next.connect_tls("imaps");
    imap.until("* OK");
    imap.ask("l LOGIN eve@next.example \"secret of eve\"", "l OK");
    let deadline = std::time::Instant::now() + crate::server::PATIENCE;
    while !imap.ask("s SELECT INBOX", "s OK").contains(&"* 1 EXISTS".to_owned()) {
        assert!(std::time::Instant::now() < deadline, "{}\n{}", server.log(), next.log());
        std::thread::sleep(std::time::Duration::from_millis(100));
    }
    let message = imap.ask("f FETCH 1 BODY.PEEK[]", "f OK").join("\r\n");
    for expected in ["dkim=pass header.d=example.org header.s=rsa", "dkim=pass header.d=example.org header.s=ed"] {
        assert!(message.contains(expected), "{message}");
    }
    assert!(message.contains("dmarc=pass header.from=example.org policy.dmarc=reject"), "{message}");
}

const DKIMPY: &str = r#"
import glob, sys
import dkim
records = dict(line.rstrip("\n").split(" ", 1) for line in open(sys.argv[1]))
def txt(name, timeout=5):
    return records[name.decode().rstrip(".")].encode()
for path in sys.argv[2:]:
    message = open(path, "rb").read()
    checker = dkim.DKIM(message)
    for at in range(2):
        assert checker.verify(idx=at, dnsfunc=txt), (path, at)
    # Whoever adds a second From or changes the first is found out.
    for forged in (b"From: x@y\r\n" + message, message.replace(b"Subject: ", b"Subject: RE ")):
        try:
            assert not dkim.verify(forged, dnsfunc=txt), path
        except dkim.DKIMException:
            pass
"#;

#[test]
#[ignore = "needs dkimpy"]
fn dkimpy_agrees() {
    let server = signing(&[("rsa", &rcgen::PKCS_RSA_SHA256), ("ed", &rcgen::PKCS_ED25519)], 9);
    let records = published(&server);
    let records: String = records.iter().map(|(name, record)| format!("{name} {record}\n")).collect();
    let records = server.file("records", records);
    let bodies = [
        "text\r\n",
        "",
        "\r\n\r\n",
        "trailing space \r\n\r\n\r\n",
        "only blanks at the end\r\n \t \r\n  \r\n",
        "a  b\tc \r\n",
    ];
    let mut paths = Vec::new();
    for (at, body) in bodies.iter().enumerate() {
        submit(
            &server,
            "bob@example.org",
            &format!("From: ann@example.org\r\nSubject:  a  {at}\r\n folded\r\n\r\n{body}"),
        );
    }
    let mut imap = imap_login(&server, "bob");
    assert!(imap.ask("s SELECT INBOX", "s OK").contains(&format!("* {} EXISTS", bodies.len())));
    for at in 1..=bodies.len() {
        let head = imap.ask(&format!("f FETCH {at} BODY.PEEK[]"), "* ").pop().expect("a line");
        let octets: usize =
            head.rsplit_once('{').expect("a literal").1.trim_end_matches('}').parse().expect("a number");
        let mut message = String::new();
        while message.len() < octets {
            message.push_str(&imap.line().expect("a line"));
            message.push_str("\r\n");
        }
        message.truncate(octets);
        imap.until("f OK");
        // The signatures are over what lies below Return-Path.
        let (_, signed) = message.split_once("\r\n").expect("Return-Path");
        paths.push(server.file(&format!("{at}.eml"), signed));
    }
    let mut python = Command::new("python3");
    python.env("PYTHONPATH", clients().join("python")).args(["-c", DKIMPY]).arg(records).args(paths);
    judge(&mut python);
}
