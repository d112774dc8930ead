//! mbsync: two-way synchronisation, which forgives no wrong UID, flag or UIDVALIDITY.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::Path;
use std::process::Command;

use crate::server::{Server, judge};

/// Messages of the first synchronisation.
const MESSAGES: usize = 1000;

fn config(server: &Server) -> String {
    format!(
        "IMAPAccount bob\nHost localhost\nPort {}\nUser bob@example.org\nPass \"secret of bob\"\nSSLType IMAPS\n\
         CertificateFile {}\n\nIMAPStore far\nAccount bob\n\nMaildirStore near\nPath {near}/\nInbox {near}/INBOX\nSubFolders Verbatim\n\n\
         Channel all\nFar :far:\nNear :near:\nPatterns *\nCreate Both\nExpunge Both\nRemove Both\nSyncState *\nCopyArrivalDate yes\n",
        server.port("imaps"),
        server.certificate().display(),
        near = server.folder.path().join("near").display(),
    )
}

/// Every message below `folder`: its folder, its flags, and its octets without line ends and mbsync's own header.
fn maildir(folder: &Path) -> BTreeMap<String, Vec<String>> {
    let mut found: BTreeMap<String, Vec<String>> = BTreeMap::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(here) = folders.pop() {
        for entry in std::fs::read_dir(&here).expect("a folder") {
            let path = entry.expect("an entry").path();
            if path.is_dir() {
                folders.push(path);
                continue;
            }
            let name = path.file_name().expect("a name").to_string_lossy().into_owned();
            if name.starts_with('.') {
                continue;
            }
            let flags = name.rsplit_once(":2,").map_or("", |(_, flags)| flags).to_owned();
            let text = String::from_utf8_lossy(&std::fs::read(&path).expect("a message")).into_owned();
            let id = text.lines().find(|line| line.starts_with("Message-ID:")).unwrap_or("").to_owned();
            let box_name = here.parent().expect("a folder").strip_prefix(folder).expect("below").display().to_string();
            found.entry(box_name).or_default().push(format!("{id} {flags} {}", text.lines().count()));
        }
    }
    found.values_mut().for_each(|messages| messages.sort());
    found
}

/// A message as people send them: some plain, some with parts, some with 8-bit text, all different.
fn message(n: usize) -> String {
    let mut text = format!(
        "From: Person {} <p{}@example.net>\nTo: bob@example.org\nSubject: =?utf-8?Q?Gr=C3=BC=C3=9Fe?= number {n}\n\
         Date: Sun, 22 Nov 2026 10:{:02}:{:02} +0100\nMessage-ID: <{n}@example.net>\nMIME-Version: 1.0\n",
        n % 37,
        n % 37,
        n / 60 % 60,
        n % 60,
    );
    match n % 3 {
        0 => text.push_str("Content-Type: text/plain\n\nShort and plain.\n"),
        1 => text.push_str(
            "Content-Type: text/plain; charset=utf-8\nContent-Transfer-Encoding: 8bit\n\nÄpfel, Öl.\n.\n..\n",
        ),
        _ => text.push_str(
            "Content-Type: multipart/mixed; boundary=b1\n\n--b1\nContent-Type: text/plain\n\npart one\n--b1\n\
             Content-Type: application/octet-stream\nContent-Transfer-Encoding: base64\n\n",
        ),
    }
    for line in 0..n % 50 {
        let _ = writeln!(text, "QUJDREVGR0hJSktMTU5PUFFSU1RVVldYWVo{line:04}");
    }
    if n % 3 == 2 {
        text.push_str("--b1--\n");
    }
    text
}

#[test]
#[ignore = "needs mbsync"]
fn a_thousand_messages_go_both_ways_and_then_nothing_changes() {
    let server = Server::start("");
    let near = server.folder.path().join("near");
    for folder in ["INBOX", "Work"] {
        for sub in ["cur", "new", "tmp"] {
            std::fs::create_dir_all(near.join(folder).join(sub)).expect("a Maildir");
        }
    }
    // Half begin here, half there.
    for n in 0..MESSAGES {
        let flags = ["", "S", "FS", "RS"][n % 4];
        if n % 2 == 0 {
            let folder = if n % 10 == 0 { "Work" } else { "INBOX" };
            let name = format!("{n}.M{n}P1.host:2,{flags}");
            std::fs::write(near.join(folder).join("cur").join(name), message(n)).expect("a message");
        } else {
            crate::deliver(&server, "bob@example.org", &message(n).replace('\n', "\r\n"));
        }
    }
    let config = server.file("mbsyncrc", config(&server));
    let sync = || judge(Command::new("mbsync").arg("--config").arg(&config).arg("--all"));
    sync();
    let first = maildir(&near);
    assert_eq!(first.values().map(Vec::len).sum::<usize>(), MESSAGES);
    let mut imap = crate::imap_login(&server, "bob");
    let state = |imap: &mut crate::server::TlsWire| {
        let mut lines =
            imap.ask("s LIST \"\" * RETURN (STATUS (MESSAGES UIDNEXT UIDVALIDITY UNSEEN HIGHESTMODSEQ))", "s ");
        if !lines.last().is_some_and(|line| line.starts_with("s OK")) {
            lines = imap.ask("s STATUS INBOX (MESSAGES UIDNEXT UIDVALIDITY UNSEEN)", "s ");
            lines.extend(imap.ask("s STATUS Work (MESSAGES UIDNEXT UIDVALIDITY UNSEEN)", "s "));
        }
        lines
    };
    let before = state(&mut imap);
    sync();
    assert_eq!(maildir(&near), first, "the second run changes nothing here");
    assert_eq!(state(&mut imap), before, "the second run changes nothing there");

    // A change on each side reaches the other, and then there is peace again.
    imap.ask("s SELECT INBOX", "s OK");
    imap.ask("s STORE 1:10 +FLAGS (\\Flagged)", "s OK");
    imap.ask("s STORE 11:12 +FLAGS.SILENT (\\Deleted)", "s OK");
    imap.ask("s EXPUNGE", "s OK");
    sync();
    let second = maildir(&near);
    assert_eq!(second.values().map(Vec::len).sum::<usize>(), MESSAGES - 2);
    sync();
    assert_eq!(maildir(&near), second);
}
