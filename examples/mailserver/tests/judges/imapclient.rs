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

const SHARING: &str = r#"
import ssl, sys, time
from imapclient import IMAPClient
context = ssl.create_default_context(cafile=sys.argv[1])
def login(user):
    imap = IMAPClient("localhost", port=int(sys.argv[2]), ssl_context=context)
    imap.login(user + "@example.org", "secret of " + user)
    return imap
ann, bob = login("ann"), login("bob")

# Limits: what the command line set, what an administrator sets, and what is refused for them.
assert ann.has_capability("QUOTA") and ann.has_capability("QUOTA=RES-STORAGE")
root, quotas = ann.get_quota_root("INBOX")
assert list(root.quota_roots) == [""] and (quotas[0].resource, quotas[0].limit) == ("STORAGE", 2048), (root, quotas)
assert not bob.has_capability("QUOTASET") and ann.has_capability("QUOTASET")
from imapclient.imapclient import Quota
try:
    ann.append("INBOX", b"Subject: large\r\n\r\n" + b"x" * 3000000)
    raise AssertionError("over quota")
except ann.Error as error:
    assert "OVERQUOTA" in str(error), error

# Rights: granted, used, taken.
assert ann.has_capability("ACL") and ann.namespace().other == (("Other Users/", "/"),), ann.namespace()
ann.create_folder("Work/Plans")
work, theirs = "Work/Plans", "Other Users/ann@example.org/Work/Plans"
ann.append(work, b"Subject: plan\r\n\r\nsecret\r\n")
assert theirs not in [row[2] for row in bob.list_folders()]
try:
    bob.select_folder(theirs)
    raise AssertionError("not shared yet")
except bob.Error as error:
    assert "NONEXISTENT" in str(error), error
ann.setacl(work, "bob@example.org", "lrsi")
acl = {who.strip(b'"'): rights for who, rights in ann.getacl(work)}
assert acl.get(b"bob@example.org") == b"lrsi", acl
assert theirs in [row[2] for row in bob.list_folders()]
assert bob.select_folder(theirs)[b"EXISTS"] == 1
assert b"secret" in bob.fetch(1, ["BODY[]"])[1][b"BODY[]"]
bob.copy(1, "INBOX")
bob.append(theirs, b"Subject: answer\r\n\r\n")
bob.idle()
ann.append(work, b"Subject: news\r\n\r\n")
told = []
until = time.time() + 30
while not any(row[1] == b"EXISTS" for row in told) and time.time() < until:
    told += bob.idle_check(timeout=5)
assert (3, b"EXISTS") in told, told
bob.idle_done()
try:
    bob.delete_folder(theirs)
    raise AssertionError("deleted without x")
except bob.Error as error:
    assert "NOPERM" in str(error), error
bob.unselect_folder()
ann.setacl(work, "bob@example.org", "-lrsi")
assert theirs not in [row[2] for row in bob.list_folders()]
try:
    bob.folder_status(theirs)
    raise AssertionError("taken away")
except bob.Error as error:
    assert "NONEXISTENT" in str(error), error

# Annotations: everybody's and one's own. IMAPClient has no words for them, and imaplib reads what comes.
wire = ann._imap
def annotated(imap, command, *arguments):
    tag = imap._new_tag()
    imap.send(tag + b" " + command + b" " + b" ".join(arguments) + b"\r\n")
    lines = []
    while True:
        line = imap.readline()
        lines.append(line)
        if line.startswith(tag):
            return lines
assert annotated(wire, b"SETMETADATA", b"INBOX", b'(/shared/comment "ours" /private/comment "mine")')[-1].split()[1] == b"OK"
told = annotated(wire, b"GETMETADATA", b"INBOX", b"(/shared/comment /private/comment)")
assert b'/shared/comment "ours"' in told[0] and b'/private/comment "mine"' in told[0], told
assert b"NO [NOPERM]" in annotated(wire, b"SETMETADATA", b'""', b'(/shared/admin "mailto:ann@example.org")')[-1]
ann.logout()
bob.logout()
"#;

#[test]
#[ignore = "needs imapclient"]
fn imapclient_shares_mailboxes_within_limits() {
    let server = Server::start("[sharing]\nadministrators = [\"ann@example.org\"]\n");
    let set = server.admin(&["user", "quota", "ann@example.org", "2MiB"], "");
    assert!(String::from_utf8_lossy(&set.stdout).contains("of 2097152"), "{set:?}");
    let mut python = Command::new("python3");
    python.env("PYTHONPATH", clients().join("python"));
    python.args(["-c", SHARING]).arg(server.certificate()).arg(server.port("imaps"));
    judge(&mut python);
}
