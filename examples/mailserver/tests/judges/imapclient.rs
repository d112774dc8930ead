//! Python's IMAPClient, whose parser refuses what the grammar does not have.

use std::process::Command;

use crate::server::{Server, judge};
use crate::{clients, odd_messages};

const SCRIPT: &str = r#"
import datetime, glob, ssl, sys
from imapclient import IMAPClient
context = ssl.create_default_context(cafile=sys.argv[1])
imap = IMAPClient("localhost", port=int(sys.argv[2]), ssl_context=context)
imap.login("ann@example.org", "secret of ann")
assert imap.has_capability("UIDPLUS") and imap.namespace().personal == (("", "/"),)
assert dict(zip(*[iter(imap.id_({"name": "judge"})[0])] * 2))[b"name"] == b"mailserver"

# Names in modified UTF-7, with everything that needs quotes.
name = 'Entw\u00fcrfe/\u00e4 & "b" \\ %c'
imap.create_folder(name)
imap.subscribe_folder(name)
assert name in [row[2] for row in imap.list_folders()]
assert name in [row[2] for row in imap.list_sub_folders()]
assert imap.folder_status(name)[b"MESSAGES"] == 0
when = datetime.datetime(2024, 2, 1, 23, 30, tzinfo=datetime.timezone(datetime.timedelta(hours=-5)))
sent = {}
for path in sys.argv[3:]:
    octets = open(path, "rb").read()
    sent[octets] = path
    assert b"APPENDUID" in imap.append(name, octets, flags=[b"\\Flagged", b"work"], msg_time=when)
assert imap.select_folder(name, readonly=True)[b"EXISTS"] == len(sent)
uids = imap.search(["FLAGGED", "KEYWORD", "work", "ON", datetime.date(2024, 2, 1)])
assert len(uids) == len(sent), uids
items = ["ENVELOPE", "BODYSTRUCTURE", "BODY", "FLAGS", "INTERNALDATE", "RFC822.SIZE", "BODY.PEEK[]", "BODY.PEEK[HEADER.FIELDS (SUBJECT TO)]", "BODY.PEEK[TEXT]<2.5>"]
for uid, row in imap.fetch(uids, items).items():
    octets = row[b"BODY[]"]
    assert octets in sent and len(octets) == row[b"RFC822.SIZE"]
    assert row[b"FLAGS"][0] == b"\\Flagged" and b"work" in row[b"FLAGS"], row[b"FLAGS"]
    structure, envelope = row[b"BODYSTRUCTURE"], row[b"ENVELOPE"]
    if "groups" in sent[octets]:
        assert [address.host for address in envelope.cc] == [None, b"x", b"y", None, b"z"]
        assert envelope.cc[1].name == b'Joe "Q"' and [a.mailbox for a in envelope.to] == [b"undisclosed-recipients", None]
    if "nested" in sent[octets]:
        assert structure.is_multipart and structure[1] == b"digest", structure
        (part,) = structure[0]
        assert part[:2] == (b"message", b"rfc822") and part[7][1] == b"inner" and part[8][:2] == (b"text", b"plain"), part
    if "quotes" in sent[octets]:
        assert envelope.subject == b'a "b" \\ c' and b'x"y' in structure[2], (envelope, structure)
assert imap.search(["HEADER", "SUBJECT", '"b" \\ c'], charset="UTF-8") == imap.search(["SUBJECT", '"B"'])

# What a read-only mailbox refuses, and what changes another.
try:
    imap.add_flags(uids, [b"\\Seen"])
    raise AssertionError("STORE after EXAMINE")
except imap.Error as error:
    assert "READ-ONLY" in str(error), error
imap.select_folder(name)
assert all(b"\\Seen" in flags for flags in imap.add_flags(uids, [b"\\Seen"]).values())
imap.copy(uids, "INBOX")
imap.move(uids[:1], "Trash")
imap.delete_messages(uids[1:2])
told = imap.expunge()[1]
assert (1, b"EXPUNGE") in told, told
assert imap.search() == uids[2:]
imap.idle()
other = IMAPClient("localhost", port=int(sys.argv[2]), ssl_context=context)
other.login("ann@example.org", "secret of ann")
other.append(name, b"Subject: news\r\n\r\n")
told = imap.idle_check(timeout=30)
while not any(row[1] == b"EXISTS" for row in told):
    more = imap.idle_check(timeout=30)
    assert more, told
    told += more
imap.idle_done()
imap.close_folder()
imap.rename_folder("Entw\u00fcrfe", "Other")
imap.delete_folder(name.replace("Entw\u00fcrfe", "Other"))
assert imap.folder_status("INBOX")[b"MESSAGES"] == len(sent)
other.logout()
imap.logout()
"#;

#[test]
#[ignore = "needs imapclient"]
fn imapclient_understands_every_answer() {
    let server = Server::start("");
    let mut python = Command::new("python3");
    python.env("PYTHONPATH", clients().join("python"));
    python.args(["-c", SCRIPT]).arg(server.certificate()).arg(server.port("imaps"));
    for (name, message) in odd_messages() {
        python.arg(server.file(&format!("{name}.eml"), message));
    }
    judge(&mut python);
}
