//! mutt in batch: reads over IMAP, saves to a folder, sends by SMTP.

use std::process::Command;

use crate::mail;
use crate::server::{Server, finish};

#[test]
#[ignore = "needs neomutt"]
fn a_message_is_read_tagged_and_moved() {
    let server = Server::start("");
    crate::deliver(&server, "bob@example.org", &mail::message("to keep", 1000));
    crate::deliver(&server, "bob@example.org", &mail::message("to file", 1000));
    let rc = server.file(
        "muttrc",
        format!(
            "set imap_user=bob@example.org\nset imap_pass=\"secret of bob\"\nset ssl_ca_certificates_file={}\n\
             set certificate_file={}\nset ssl_force_tls=yes\nset spoolfile=imaps://localhost:{port}/INBOX\n\
             set folder=imaps://localhost:{port}/\nset confirmcreate=no\nset confirmappend=no\nset delete=yes\n\
             set wait_key=no\nset quit=yes\nset move=no\nset sleep_time=0\n\
             push <limit>~s<space>file<enter><save-message>=Filed<enter><sync-mailbox><quit>\n",
            server.certificate().display(),
            server.certificate().display(),
            port = server.port("imaps"),
        ),
    );
    // Reading needs a terminal: `script` makes one.
    let mut mutt = Command::new("timeout");
    mutt.args(["60", "script", "-qec"]).arg(format!("neomutt -n -F {}", rc.display())).arg("/dev/null");
    mutt.env("TERM", "xterm").env("HOME", server.folder.path());
    let output = finish(&mut mutt, "");
    let said = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    let mut imap = crate::imap_login(&server, "bob");
    let inbox = imap.ask("s STATUS INBOX (MESSAGES)", "s OK");
    let filed = imap.ask("s STATUS Filed (MESSAGES)", "s ");
    assert!(inbox.contains(&"* STATUS INBOX (MESSAGES 1)".to_owned()), "{inbox:#?}\n{said}");
    assert!(filed.iter().any(|line| line.ends_with("Filed (MESSAGES 1)")), "{filed:#?}\n{said}");
}

#[test]
#[ignore = "needs neomutt"]
fn a_message_with_an_attachment_is_sent() {
    let server = Server::start("");
    let attachment = server.file("notes.txt", "notes of ours\n");
    let rc = server.file(
        "muttrc",
        format!(
            "set from=ann@example.org\nset smtp_url=smtps://ann@example.org@localhost:{}/\nset smtp_pass=\"secret of ann\"\n\
             set smtp_authenticators=plain\nset ssl_ca_certificates_file={}\nset certificate_file={}\nset copy=no\n",
            server.port("submissions"),
            server.certificate().display(),
            server.certificate().display(),
        ),
    );
    let mut mutt = Command::new("timeout");
    mutt.args(["60", "neomutt", "-n", "-F"]).arg(&rc).args(["-s", "with notes", "-a"]).arg(&attachment);
    mutt.args(["--", "bob@example.org"]).env("TERM", "dumb").env("HOME", server.folder.path());
    let output = finish(&mut mutt, "see the notes\n");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let mut imap = crate::imap_login(&server, "bob");
    imap.ask("s SELECT INBOX", "s OK");
    let structure = imap.ask("s FETCH 1 BODYSTRUCTURE", "s OK").concat();
    assert!(structure.contains("notes.txt"), "{structure}");
}
