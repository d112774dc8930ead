//! The program itself: first run, accounts while it runs, signals, restarts, exit codes.

use std::time::Instant;

use crate::mail;
use crate::server::{Server, binary, finish};

#[test]
fn admin_commands_work_while_it_runs_and_while_it_does_not() {
    let server = Server::start("");
    let added = server.admin(&["user", "add", "cid@example.org", "--password-stdin"], "secret of cid\n");
    assert!(added.status.success(), "{}", String::from_utf8_lossy(&added.stderr));
    crate::imap_login(&server, "cid");
    let again = server.admin(&["user", "add", "cid@example.org", "--password-stdin"], "x\n");
    assert_eq!(again.status.code(), Some(1), "the address is taken");
    let elsewhere = server.admin(&["user", "add", "cid@elsewhere.example", "--password-stdin"], "x\n");
    assert_eq!(elsewhere.status.code(), Some(1), "the domain is not ours");
    let listed = server.admin(&["user", "list"], "");
    let listed = String::from_utf8_lossy(&listed.stdout).into_owned();
    assert_eq!(listed.lines().collect::<Vec<_>>(), ["ann@example.org", "bob@example.org", "cid@example.org"]);

    let changed = server.admin(&["user", "passwd", "cid@example.org", "--password-stdin"], "another\n");
    assert!(changed.status.success());
    let mut wire = server.connect_tls("imaps");
    wire.until("* OK");
    assert!(wire.ask("a LOGIN cid@example.org \"secret of cid\"", "a ").concat().contains("a NO"));
    wire.ask("a LOGIN cid@example.org another", "a OK");

    assert!(server.admin(&["user", "remove", "cid@example.org"], "").status.success());
    let mut smtp = server.connect("smtp");
    smtp.until("220 ");
    smtp.ask("EHLO x.example", "250 ");
    smtp.ask("MAIL FROM:<>", "250 ");
    smtp.ask("RCPT TO:<cid@example.org>", "550 ");

    let folder = server.stop();
    let mut command = binary();
    let output = finish(command.current_dir(folder.path()).args(["user", "list"]), "");
    assert_eq!(String::from_utf8_lossy(&output.stdout).lines().count(), 2);
}

#[test]
fn an_address_given_away_again_is_another_account() {
    let server = Server::start("");
    crate::deliver(&server, "bob@example.org", &mail::message("private", 300));
    assert!(server.admin(&["user", "remove", "bob@example.org"], "").status.success());
    let added = server.admin(&["user", "add", "bob@example.org", "--password-stdin"], "secret of bob\n");
    assert!(added.status.success());
    let mut imap = crate::imap_login(&server, "bob");
    let selected = imap.ask("s SELECT INBOX", "s OK");
    assert!(selected.contains(&"* 0 EXISTS".to_owned()), "{selected:#?}");
}

/// A folder in which a server has everything from its first run, but for the ports: the default ones may be taken on this
/// machine.
fn first_run() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("mailserver.toml"), crate::server::LISTEN).unwrap();
    folder
}

#[test]
fn the_first_run_needs_no_configuration() {
    let server = Server::run(first_run());
    let (address, password) = server.account.clone().expect("the first run prints an account");
    assert_eq!(address, "demo@localhost");
    let mut imap = server.connect_tls("imaps");
    imap.until("* OK");
    imap.ask(&format!("a LOGIN {address} {password}"), "a OK");
    let again = Server::run(server.stop());
    assert_eq!(again.account, None, "once is enough");
}

/// The account was made before the ports were bound, and its password printed after: whoever had another server on one of
/// the ports never saw it, and no later run printed it.
#[test]
fn a_first_run_that_fails_leaves_the_account_to_the_next() {
    let folder = first_run();
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let config = format!("[listen]\nsmtp = \"{}\"\n", taken.local_addr().unwrap());
    std::fs::write(folder.path().join("taken.toml"), config).unwrap();
    let output = finish(binary().current_dir(folder.path()).args(["--config", "taken.toml"]), "");
    assert_eq!(output.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&output.stderr).contains("listening at 127.0.0.1:"));
    assert!(Server::run(folder).account.is_some());
}

#[test]
fn what_is_imported_comes_out_again_and_only_once() {
    let server = Server::start("");
    server.file("old.mbox", "From a@b Sun Nov 22 10:00:00 2026\nStatus: RO\nX-Keywords: work\nSubject: 1\n\nx\n");
    server.file("notes.txt", "no mail\n");
    let run = |arguments: &[&str]| {
        let output = server.admin(arguments, "");
        let told = String::from_utf8_lossy(&output.stdout).into_owned();
        (output.status.code(), told + &String::from_utf8_lossy(&output.stderr))
    };
    let bob = "bob@example.org";
    let (code, told) = run(&["import", bob, "old.mbox"]);
    assert!(code == Some(0) && told.starts_with("imported 1 messages"), "{told}");
    let (code, told) = run(&["import", bob, "old.mbox"]);
    assert!(code == Some(0) && told.starts_with("imported 0 messages") && told.contains("\n1 messages of"), "{told}");
    assert_eq!(run(&["import", bob, "notes.txt"]).0, Some(1));

    // A folder below another, the way both forms have it.
    let mut imap = crate::imap_login(&server, "bob");
    imap.ask("c CREATE Work/2026", "c OK");
    imap.ask("s SELECT old", "s OK");
    imap.ask("m COPY 1 Work/2026", "m OK");
    assert!(!imap.ask("l LIST \"\" notes", "l OK").concat().contains("notes"), "what is no mbox leaves no folder");
    for (form, path) in [(&["--mbox"][..], "mboxes"), (&[][..], "maildir")] {
        let (code, told) = run(&[&["export", bob, path], form].concat());
        assert!(code == Some(0) && told.starts_with("exported 2 messages"), "{told}");
        let user = format!("{path}@example.org");
        assert!(
            server.admin(&["user", "add", &user, "--password-stdin"], &format!("secret of {path}\n")).status.success()
        );
        let (code, told) = run(&["import", &user, path]);
        assert!(code == Some(0) && told.starts_with("imported 2 messages"), "{told}");
        let mut imap = crate::imap_login(&server, path);
        for folder in ["old", "Work/2026"] {
            imap.ask(&format!("s SELECT {folder}"), "s OK");
            let row = imap.ask("f FETCH 1 (FLAGS INTERNALDATE)", "f OK").concat();
            assert!(
                row.contains("\\Seen") && row.contains("work") && row.contains("22-Nov-2026 10:00:00"),
                "{path}: {row}"
            );
        }
    }
}

#[test]
fn sigterm_says_goodbye_and_loses_nothing() {
    let mut server = Server::start("");
    let mut idle = crate::imap_login(&server, "bob");
    idle.ask("s SELECT INBOX", "s OK");
    let mut smtp = server.connect("smtp");
    smtp.until("220 ");
    smtp.ask("EHLO x.example", "250 ");
    smtp.ask("MAIL FROM:<>", "250 ");
    smtp.ask("RCPT TO:<bob@example.org>", "250 ");
    smtp.ask("DATA", "354 ");
    let message = mail::message("last", 300);
    smtp.send(mail::stuffed(&message));
    smtp.ask(".", "250 ");
    let start = Instant::now();
    server.signal("TERM");
    idle.until("* BYE");
    smtp.until("421 ");
    assert_eq!(server.wait(), Some(0));
    assert!(start.elapsed().as_secs() < 15, "took {:?}", start.elapsed());
    let server = Server::run(server.stop());
    let mut imap = crate::imap_login(&server, "bob");
    assert!(imap.ask("s SELECT INBOX", "s OK").contains(&"* 1 EXISTS".to_owned()));
}

#[test]
fn a_reload_shows_the_new_certificate() {
    let server = Server::start("");
    let before = std::fs::read(server.certificate()).unwrap();
    crate::imap_login(&server, "bob");
    // Another server makes another certificate for the same names.
    let other = Server::start("");
    for name in ["cert.pem", "key.pem"] {
        let from = other.folder.path().join("data/tls").join(name);
        std::fs::copy(from, server.folder.path().join("data/tls").join(name)).unwrap();
    }
    assert_ne!(std::fs::read(server.certificate()).unwrap(), before);
    server.signal("HUP");
    let deadline = Instant::now() + crate::server::PATIENCE;
    // Log-in trusts the file alone: it works again once the server shows what the file holds.
    loop {
        let stream = std::net::TcpStream::connect(server.address("imaps")).unwrap();
        let client = rustls::ClientConnection::new(server.tls_client(), "localhost".try_into().unwrap()).unwrap();
        let mut tls = rustls::StreamOwned::new(client, stream);
        let mut greeting = [0; 4];
        if std::io::Read::read_exact(&mut tls, &mut greeting).is_ok() {
            assert_eq!(&greeting, b"* OK");
            return;
        }
        assert!(Instant::now() < deadline, "the old certificate is still shown:\n{}", server.log());
        std::thread::sleep(std::time::Duration::from_millis(50));
    }
}

#[test]
fn mistakes_end_with_the_right_exit_code() {
    let folder = tempfile::tempdir().unwrap();
    let run = |arguments: &[&str]| finish(binary().current_dir(folder.path()).args(arguments), "");
    assert_eq!(run(&["--config", "missing.toml", "check"]).status.code(), Some(2));
    assert_eq!(run(&["frobnicate"]).status.code(), Some(2));
    std::fs::write(folder.path().join("bad.toml"), "hostnam = \"x\"\n").unwrap();
    let output = run(&["--config", "bad.toml"]);
    assert_eq!(output.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&output.stderr).contains("hostnam"));
    std::fs::write(folder.path().join("good.toml"), "domains = [\"example.org\"]\n").unwrap();
    assert_eq!(run(&["--config", "good.toml", "check"]).status.code(), Some(0));
}

#[test]
fn no_password_is_ever_logged() {
    let server = Server::start("");
    crate::imap_login(&server, "bob");
    crate::pop3_login(&server, "bob");
    let mut wire = server.connect_tls("imaps");
    wire.until("* OK");
    wire.ask("a LOGIN bob@example.org \"not my secret\"", "a NO");
    let log = server.log();
    assert!(log.contains("login"), "logins are logged:\n{log}");
    assert!(!log.contains("secret"), "{log}");
}
