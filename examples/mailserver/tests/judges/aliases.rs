//! Addresses that stand for others, in a running server: aliases, plus-addresses, catch-alls, forwarding.

use std::net::TcpListener;

use crate::mail;
use crate::server::{BASE, LISTEN, Server};

const ALIASES: &str = r#"
[aliases]
"info@example.org" = "ann@example.org"
"bob@example.org" = ["bob@example.org", "bob@away.example"]
"@example.org" = "ann@example.org"
"#;

fn count(server: &Server, user: &str) -> usize {
    let mut imap = crate::imap_login(server, user);
    let lines = imap.ask("s SELECT INBOX", "s OK");
    let exists = lines.iter().find_map(|line| line.strip_prefix("* ")?.strip_suffix(" EXISTS")).expect("a count");
    exists.parse().expect("a number")
}

#[test]
fn aliases_details_and_the_rest_of_a_domain_arrive() {
    let server = Server::start(ALIASES);
    for to in ["info@example.org", "ann+lists@example.org", "whoever@example.org", "Ann@example.org"] {
        crate::deliver(&server, to, &mail::message(to, 500));
    }
    assert_eq!((count(&server, "ann"), count(&server, "bob")), (4, 0));
}

#[test]
fn what_is_forwarded_keeps_its_sender_and_a_copy_stays() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a listener");
    let nobody = listener.local_addr().expect("an address");
    drop(listener);
    let route = format!(
        "[outbound]\nroutes = [{{ domain = \"*\", host = \"127.0.0.1\", port = {}, tls = \"none\" }}]\n",
        nobody.port()
    );
    let server = Server::start(&format!("{ALIASES}{route}"));
    crate::deliver(&server, "bob@example.org", &mail::message("forwarded", 500));
    assert_eq!(count(&server, "bob"), 1);
    let listed = server.admin(&["queue", "list", "--json"], "");
    let listed = String::from_utf8_lossy(&listed.stdout);
    assert!(listed.contains("bob@away.example") && listed.contains("x@elsewhere.example"), "{listed}");
}

#[test]
fn aliases_are_read_again() {
    let server = Server::start("");
    let refused = |server: &Server| {
        let mut wire = server.connect("smtp");
        wire.until("220 ");
        wire.ask("EHLO client.example.net", "250 ");
        wire.ask("MAIL FROM:<x@elsewhere.example>", "250 ");
        wire.send("RCPT TO:<info@example.org>\r\n");
        wire.line().expect("a reply").starts_with("550 ")
    };
    assert!(refused(&server));
    std::fs::write(server.folder.path().join("mailserver.toml"), format!("{BASE}{LISTEN}{ALIASES}")).expect("a file");
    server.signal("HUP");
    let deadline = std::time::Instant::now() + crate::server::PATIENCE;
    while refused(&server) {
        assert!(std::time::Instant::now() < deadline, "{}", server.log());
        std::thread::sleep(std::time::Duration::from_millis(50));
    }
    // A file with a mistake in it changes nothing.
    std::fs::write(server.folder.path().join("mailserver.toml"), "nonsense").expect("a file");
    server.signal("HUP");
    while !server.log().contains("the aliases stay as they are") {
        assert!(std::time::Instant::now() < deadline, "{}", server.log());
        std::thread::sleep(std::time::Duration::from_millis(50));
    }
    assert!(!refused(&server));
}
