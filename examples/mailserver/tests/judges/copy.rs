//! `mailserver copy`: mail of another server, with flags, folders and dates; what was cut off goes on where it was.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::Instant;

use crate::imap_login;
use crate::server::{PATIENCE, Server, TlsWire};

/// Puts a message into a mailbox over a raw connection.
fn append(wire: &mut TlsWire, mailbox: &str, flags: &str, day: u32, text: &str) {
    let text = text.replace('\n', "\r\n");
    wire.send(format!("p APPEND {mailbox} ({flags}) \"{day:02}-Nov-2026 10:00:00 +0100\" {{{}}}\r\n", text.len()));
    wire.until("+");
    let lines = wire.ask(&text, "p ");
    assert!(lines.last().is_some_and(|line| line.starts_with("p OK")), "{lines:#?}");
}

/// Mailboxes as people have them: a few messages, one with much in it, one with none.
fn fill(wire: &mut TlsWire) {
    wire.ask("c CREATE \"Projects/Blue &AOk- sky\"", "c OK");
    wire.ask("c CREATE Empty", "c OK");
    for day in 1..=5 {
        append(wire, "INBOX", "\\Seen work", day, &format!("Subject: {day}\n\n{}", "a line\n".repeat(day as usize)));
    }
    append(wire, "INBOX", "\\Flagged \\Answered", 6, &format!("Subject: big\n\n{}", "many lines\n".repeat(50_000)));
    append(wire, "\"Projects/Blue &AOk- sky\"", "", 7, "Subject: there\n\n.\n..\n");
}

/// What a mailbox holds, as FETCH tells it.
fn held(wire: &mut TlsWire, mailbox: &str) -> Vec<String> {
    wire.ask(&format!("h EXAMINE {mailbox}"), "h OK");
    let mut lines =
        wire.ask("h UID FETCH 1:* (FLAGS INTERNALDATE RFC822.SIZE BODY.PEEK[HEADER.FIELDS (Subject)])", "h ");
    lines.retain(|line| line.contains("FETCH (") || line.starts_with("Subject"));
    // UIDs are the server's own, and \Recent is told once.
    lines.iter().map(|line| line.replace("\\Recent ", "").replace(" \\Recent", "").replace("\\Recent", "")).collect()
}

fn copy(server: &Server, source: &str, password: &str, ca: &Path) -> String {
    let ca = ca.to_str().expect("a path");
    let Output { status, stdout, stderr } =
        server.admin(&["copy", "bob@example.org", source, "--password-stdin", "--ca", ca], &format!("{password}\n"));
    let stdout = String::from_utf8_lossy(&stdout).into_owned();
    assert!(status.success(), "{stdout}\n{}", String::from_utf8_lossy(&stderr));
    stdout
}

#[test]
fn a_copy_brings_everything_once() {
    let server = Server::start("");
    let mut ann = imap_login(&server, "ann");
    fill(&mut ann);
    let source = format!("imaps://ann%40example.org@localhost:{}", server.port("imaps"));
    let ca = server.certificate();
    let first = copy(&server, &source, "secret of ann", &ca);
    assert!(first.contains("copied 7 messages"), "{first}");
    let mut bob = imap_login(&server, "bob");
    for mailbox in ["INBOX", "\"Projects/Blue &AOk- sky\"", "Empty"] {
        assert_eq!(held(&mut bob, mailbox), held(&mut ann, mailbox), "{mailbox}");
    }
    // Once more brings what is new and nothing else, over STARTTLS as well.
    append(&mut ann, "INBOX", "", 9, "Subject: late\n\nlate\n");
    let source = format!("imap://ann@example.org@localhost:{}", server.port("imap"));
    let again = copy(&server, &source, "secret of ann", &ca);
    // Another port is another server as far as anybody knows, but the first one is known.
    let first = format!("imaps://ann@example.org@localhost:{}", server.port("imaps"));
    let known = copy(&server, &first, "secret of ann", &ca);
    assert!(again.contains("copied 8 messages"), "{again}");
    assert!(known.contains("copied 1 messages") && known.contains("7 messages of an earlier copy"), "{known}");
    // What is wrong is told.
    for (source, password) in [(first.as_str(), "wrong"), ("imaps://a@localhost:1", "x"), ("nonsense", "x")] {
        let arguments = ["copy", "bob@example.org", source, "--password-stdin", "--ca", ca.to_str().expect("a path")];
        let output = server.admin(&arguments, &format!("{password}\n"));
        assert!(!output.status.success() && !output.stderr.is_empty(), "{source}");
    }
}

/// A Dovecot of its own in a folder, with this certificate. Dropping it ends the process.
struct Dovecot {
    child: Child,
    port: u16,
}

fn word(program: &str, arguments: &[&str]) -> String {
    let output = Command::new(program).args(arguments).output().unwrap_or_else(|error| panic!("{program}: {error}"));
    String::from_utf8_lossy(&output.stdout).trim().to_owned()
}

impl Dovecot {
    fn start(folder: &Path, certificate: &Path) -> Dovecot {
        std::fs::create_dir_all(folder.join("mail")).expect("a folder");
        // Started by root it gives its rights away; otherwise everything is the caller's.
        let me = word("id", &["-un"]);
        let root = me == "root";
        let (login, internal, mail) = if root { ("dovenull", "dovecot", "nobody") } else { (&*me, &*me, &*me) };
        let group = |user: &str| word("id", &["-gn", user]);
        if root {
            word("chmod", &["755", folder.parent().expect("a folder").to_str().expect("a path")]);
            word("chown", &[mail, folder.join("mail").to_str().expect("a path")]);
        }
        let free = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
        let port = free.local_addr().expect("an address").port();
        drop(free);
        let chroot = if root { "" } else { "  chroot =\n" };
        let conf = format!(
            "base_dir = {here}/run\nstate_dir = {here}/state\nlog_path = {here}/log\nprotocols = imap\nlisten = 127.0.0.1\n\
             ssl = required\nssl_cert = <{certificate}\nssl_key = <{key}\nauth_mechanisms = plain\n\
             default_login_user = {login}\ndefault_internal_user = {internal}\ndefault_internal_group = {internal_group}\n\
             first_valid_uid = 1\nmail_location = maildir:~/Maildir\npassdb {{\n  driver = static\n  args = password=pw\n}}\n\
             userdb {{\n  driver = static\n  args = uid={mail} gid={mail_group} home={here}/mail/%u\n}}\n\
             namespace inbox {{\n  inbox = yes\n  prefix = INBOX.\n  separator = .\n}}\n\
             service anvil {{\n{chroot}}}\nservice imap-login {{\n  inet_listener imap {{\n    port = 0\n  }}\n\
             \x20 inet_listener imaps {{\n    port = {port}\n  }}\n{chroot}}}\n",
            here = folder.display(),
            certificate = certificate.display(),
            key = certificate.with_file_name("key.pem").display(),
            internal_group = group(internal),
            mail_group = group(mail),
        );
        std::fs::write(folder.join("conf"), conf).expect("a configuration");
        let program = if Path::new("/usr/sbin/dovecot").exists() { "/usr/sbin/dovecot" } else { "dovecot" };
        let mut command = Command::new(program);
        let child = command.args(["-F", "-c"]).arg(folder.join("conf")).stdout(Stdio::null()).spawn();
        let dovecot = Dovecot { child: child.expect("Debian's dovecot-imapd"), port };
        let start = Instant::now();
        while std::net::TcpStream::connect(("127.0.0.1", port)).is_err() {
            let log = std::fs::read_to_string(folder.join("log")).unwrap_or_default();
            assert!(start.elapsed() < PATIENCE, "no Dovecot:\n{log}");
            std::thread::sleep(std::time::Duration::from_millis(50));
        }
        dovecot
    }
}

impl Drop for Dovecot {
    fn drop(&mut self) {
        // Its master ends its children when it is asked to.
        word("sh", &["-c", &format!("kill -TERM {}", self.child.id())]);
        let _ = self.child.wait();
    }
}

#[test]
#[ignore = "needs Debian's dovecot-imapd"]
fn a_copy_from_dovecot_brings_everything_once() {
    let server = Server::start("");
    let folder: PathBuf = server.folder.path().join("dovecot");
    let dovecot = Dovecot::start(&folder, &server.certificate());
    let mut there = server.connect_tls_at(dovecot.port);
    there.until("* OK");
    there.ask("l LOGIN ann pw", "l OK");
    there.ask("c CREATE INBOX.Sub", "c OK");
    for day in 1..=9 {
        append(&mut there, "INBOX", "\\Seen $Forwarded", day, &format!("Subject: {day}\n\n{}", "x\n".repeat(9000)));
    }
    append(&mut there, "INBOX.Sub", "\\Flagged", 3, "Subject: below\n\nbelow\n");
    let source = format!("imaps://ann@localhost:{}", dovecot.port);
    let done = copy(&server, &source, "pw", &server.certificate());
    assert!(done.contains("copied 10 messages"), "{done}");
    let mut bob = imap_login(&server, "bob");
    assert_eq!(held(&mut bob, "INBOX").len(), held(&mut there, "INBOX").len());
    let sub = held(&mut bob, "Sub");
    assert!(sub.iter().any(|line| line.contains("\\Flagged") && line.contains(" 3-Nov-2026 ")), "{sub:#?}");
    let again = copy(&server, &source, "pw", &server.certificate());
    assert!(again.contains("copied 0 messages") && again.contains("10 messages of an earlier copy"), "{again}");
}
