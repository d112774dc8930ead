//! One mailbox, several protocols at the same time.

use crate::mail;
use crate::server::Server;

#[test]
fn what_one_protocol_does_the_others_see() {
    let server = Server::start("");
    let mut idle = crate::imap_login(&server, "bob");
    idle.ask("s SELECT INBOX", "s OK");
    idle.ask("i IDLE", "+ ");
    crate::deliver(&server, "bob@example.org", &mail::message("first", 500));
    crate::deliver(&server, "bob@example.org", &mail::message("second", 500));
    idle.until("* 2 EXISTS");

    let mut pop3 = crate::pop3_login(&server, "bob");
    assert!(pop3.ask("STAT", "+OK")[0].starts_with("+OK 2 "));
    // Delivery and IMAP go on while the maildrop is locked; the snapshot does not move.
    crate::deliver(&server, "bob@example.org", &mail::message("third", 500));
    idle.until("* 3 EXISTS");
    assert!(pop3.ask("STAT", "+OK")[0].starts_with("+OK 2 "));
    let mut second = server.connect_tls("pop3s");
    second.until("+OK");
    second.ask("USER bob@example.org", "+OK");
    let refused = second.ask("PASS secret of bob", "-ERR");
    assert!(refused[0].starts_with("-ERR [IN-USE]"), "{refused:?}");

    pop3.ask("DELE 1", "+OK");
    pop3.ask("QUIT", "+OK");
    idle.until("* 1 EXPUNGE");
    idle.ask("DONE", "i OK");
    let flags = idle.ask("s UID FETCH 1:* (UID)", "s OK");
    assert_eq!(flags[..2], ["* 1 FETCH (UID 2)", "* 2 FETCH (UID 3)"]);
}

#[test]
fn a_dropped_pop3_link_deletes_nothing() {
    let server = Server::start("");
    crate::deliver(&server, "bob@example.org", &mail::message("kept", 500));
    let mut pop3 = crate::pop3_login(&server, "bob");
    pop3.ask("DELE 1", "+OK");
    drop(pop3);
    // The lock goes with the link.
    let deadline = std::time::Instant::now() + crate::server::PATIENCE;
    loop {
        let mut again = server.connect_tls("pop3s");
        again.until("+OK");
        again.ask("USER bob@example.org", "+OK");
        again.send("PASS secret of bob\r\n");
        let line = again.line().expect("an answer");
        if line.starts_with("+OK") {
            assert!(again.ask("STAT", "+OK")[0].starts_with("+OK 1 "));
            return;
        }
        assert!(line.starts_with("-ERR [IN-USE]") && std::time::Instant::now() < deadline, "{line}");
        std::thread::sleep(std::time::Duration::from_millis(50));
    }
}

#[test]
fn two_imap_sessions_agree() {
    let server = Server::start("");
    for n in 0..4 {
        crate::deliver(&server, "bob@example.org", &mail::message(&format!("m{n}"), 300));
    }
    let (mut a, mut b) = (crate::imap_login(&server, "bob"), crate::imap_login(&server, "bob"));
    a.ask("s SELECT INBOX", "s OK");
    b.ask("s SELECT INBOX", "s OK");
    a.ask("s STORE 2 +FLAGS (\\Deleted \\Flagged)", "s OK");
    let seen = b.ask("n NOOP", "n OK");
    assert!(seen.iter().any(|line| line.starts_with("* 2 FETCH") && line.contains("\\Flagged")), "{seen:#?}");
    a.ask("s EXPUNGE", "s OK");
    // Sequence numbers must not move under a FETCH by number: the expunge is told at the next safe command.
    let fetched = b.ask("f FETCH 1:4 (UID)", "f ");
    assert!(!fetched.iter().any(|line| line.ends_with("EXPUNGE")), "{fetched:#?}");
    let told = b.ask("n NOOP", "n OK");
    assert!(told.contains(&"* 2 EXPUNGE".to_owned()), "{told:#?}");
    let fetched = b.ask("f FETCH 1:* (UID)", "f OK");
    assert_eq!(fetched[..3], ["* 1 FETCH (UID 1)", "* 2 FETCH (UID 3)", "* 3 FETCH (UID 4)"]);
}
