//! Python's own smtplib, imaplib and poplib.

use std::process::Command;

use crate::mail;
use crate::server::{Server, judge};

const SCRIPT: &str = r#"
import imaplib, poplib, smtplib, ssl, sys, threading, time
ports = dict(argument.split("=") for argument in sys.argv[3:])
port = lambda name: int(ports[name])
context = ssl.create_default_context(cafile=sys.argv[1])
sent = open(sys.argv[2], "rb").read()

# In over SMTP: STARTTLS and TLS from the start, pipelined recipients, one of them refused.
smtp = smtplib.SMTP("localhost", port("submission"))
smtp.starttls(context=context)
smtp.login("ann@example.org", "secret of ann")
refused = smtp.sendmail("ann@example.org", ["bob@example.org", "nobody@example.org"], sent)
assert list(refused) == ["nobody@example.org"] and refused["nobody@example.org"][0] == 550, refused
assert smtp.noop()[0] == 250 and smtp.rset()[0] == 250 and smtp.vrfy("bob@example.org")[0] in (250, 252)
smtp.quit()
with smtplib.SMTP_SSL("localhost", port("submissions"), context=context) as smtp:
    smtp.login("ann@example.org", "secret of ann")
    try:
        smtp.sendmail("bob@example.org", ["bob@example.org"], sent)
        raise AssertionError("ann sent as bob")
    except (smtplib.SMTPSenderRefused, smtplib.SMTPRecipientsRefused):
        pass

# A waiting IDLE hears of a message that comes in by SMTP.
idle = imaplib.IMAP4_SSL("localhost", port("imaps"), ssl_context=context)
idle.login("bob@example.org", "secret of bob")
assert idle.select("INBOX") == ("OK", [b"1"])
idle.send(b"x IDLE\r\n")
assert idle.readline().startswith(b"+ ")
with smtplib.SMTP("localhost", port("smtp")) as smtp:
    smtp.sendmail("x@elsewhere.example", ["bob@example.org"], sent)
idle.sock.settimeout(30)
line = idle.readline()
while not line.startswith(b"* 2 EXISTS"):
    assert line.startswith(b"* "), line
    line = idle.readline()

# Out over POP3, and deleted there.
pop = poplib.POP3("localhost", port("pop3"))
pop.stls(context=context)
pop.user("bob@example.org")
pop.pass_("secret of bob")
count, octets = pop.stat()
assert count == 2
sizes = [int(row.split()[1]) for row in pop.list()[1]]
assert sum(sizes) == octets
body = pop.retr(1)
assert body[2] == sizes[0], (body[2], sizes)
assert b"\r\n".join(body[1]).endswith(sent.rstrip(b"\r\n"))
assert len(set(row.split()[1] for row in pop.uidl()[1])) == 2
assert pop.top(2, 0)[1][-1] == b""
pop.dele(1)
pop.quit()

# The waiting IDLE hears of that too.
line = idle.readline()
while not line.startswith(b"* 1 EXPUNGE"):
    assert line.startswith(b"* "), line
    line = idle.readline()
idle.send(b"DONE\r\n")
assert idle.readline().startswith(b"x OK")

# Flags, searches, copies, folders.
imap = idle
assert imap.store("1", "+FLAGS", r"(\Flagged work)")[0] == "OK"
assert imap.search(None, "FLAGGED", "KEYWORD", "work")[1] == [b"1"]
assert imap.search(None, "BODY", '"the end"')[1] == [b"1"]
assert imap.search(None, "SUBJECT", '"nothing like it"')[1] == [b""]
assert imap.create('"A b/C d"')[0] == "OK"
assert imap.copy("1", '"A b/C d"')[0] == "OK"
assert imap.status('"A b/C d"', "(MESSAGES UNSEEN)")[1][0].endswith(b"(MESSAGES 1 UNSEEN 1)")
assert imap.rename('"A b"', "Z")[0] == "OK"
assert imap.select('"Z/C d"') == ("OK", [b"1"])
assert imap.append("Z", r"\Seen", imaplib.Time2Internaldate(time.time()), sent)[0] == "OK"
fetched = imap.fetch("1", "(FLAGS BODY.PEEK[HEADER.FIELDS (SUBJECT)] RFC822.SIZE)")[1]
assert b"\\Flagged" in fetched[0][0] and fetched[0][1] == b"Subject: python\r\n\r\n", fetched
assert imap.fetch("1", "(BODY.PEEK[TEXT]<0.8>)")[1][0][1] == b"line 0 \r", "a partial body"
assert imap.delete('"Z/C d"')[0] == "OK"
imap.logout()
"#;

#[test]
#[ignore = "needs python3"]
fn the_standard_library_agrees_with_all_three_protocols() {
    let server = Server::start("");
    let file = server.file("sent.eml", mail::message("python", 5000));
    let mut python = Command::new("python3");
    python.args(["-c", SCRIPT]).arg(server.certificate()).arg(file);
    for service in ["smtp", "submission", "submissions", "imap", "imaps", "pop3", "pop3s"] {
        python.arg(format!("{service}={}", server.port(service)));
    }
    judge(&mut python);
}
