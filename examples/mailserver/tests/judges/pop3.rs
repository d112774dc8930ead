//! More judges of POP3: getmail, neomutt, rabid, and Python's poplib beyond what it offers by itself.

use std::process::Command;
use std::time::{Duration, Instant};

use crate::mail;
use crate::server::{Server, finish, judge};

/// Debian's getmail is a Python program; it verifies the certificate and the name in it. It writes no Maildir for root,
/// as whom tests may run, and so calls a program.
#[test]
#[ignore = "needs getmail"]
fn getmail_collects_each_message_once() {
    let server = Server::start("");
    let sent: Vec<String> = (0..5).map(|n| mail::message(&format!("got {n}"), 3000 * n + 300)).collect();
    sent.iter().for_each(|message| crate::deliver(&server, "bob@example.org", message));
    let collected = server.folder.path().join("collected");
    std::fs::create_dir(&collected).expect("a folder");
    let rc = |name: &str, delete: bool| {
        let text = format!(
            "[retriever]\ntype = SimplePOP3SSLRetriever\nserver = localhost\nport = {}\nusername = bob@example.org\n\
             password = secret of bob\nca_certs = {}\n\
             [destination]\ntype = MDA_external\npath = /bin/sh\nallow_root_commands = true\n\
             arguments = (\"-c\", \"cat > $(mktemp {}/XXXXXX)\")\n\
             [options]\nread_all = false\ndelete = {delete}\nreceived = false\ndelivered_to = false\nverbose = 1\n",
            server.port("pop3s"),
            server.certificate().display(),
            collected.display(),
        );
        server.file(name, text)
    };
    let run = |name: &str, delete: bool| {
        let mut getmail = Command::new("getmail");
        getmail.arg(format!("--getmaildir={}", server.folder.path().display())).arg("--rcfile").arg(rc(name, delete));
        judge(getmail.env("HOME", server.folder.path()))
    };
    run("getmailrc", false);
    // The second run knows the messages by their UIDL, and fetches nothing.
    run("getmailrc", false);
    let messages = || -> Vec<String> {
        let files = std::fs::read_dir(&collected).expect("a folder").map(|entry| entry.expect("an entry").path());
        let mut messages: Vec<_> = files.map(|path| std::fs::read_to_string(path).expect("a message")).collect();
        messages.sort_by_key(String::len);
        messages
    };
    assert_eq!(messages().len(), sent.len(), "each message once over two runs");
    for (collected, sent) in messages().iter().zip(&sent) {
        mail::assert_delivered(&collected.replace('\n', "\r\n"), sent);
    }
    crate::deliver(&server, "bob@example.org", &mail::message("the last", 500));
    run("getmailrc", true);
    assert_eq!(messages().len(), sent.len() + 1);
    assert_eq!(crate::pop3_login(&server, "bob").ask("STAT", "+OK"), ["+OK 0 0"]);
}

/// neomutt's SASL library knows no binding to TLS 1.3, and where it fails neomutt does not read the answer to its `*` and
/// takes it for USER's. So it logs in by USER and PASS, the only other way it lets one choose.
#[test]
#[ignore = "needs neomutt"]
fn neomutt_reads_saves_and_deletes_over_pop3() {
    let server = Server::start("");
    for n in 0..3 {
        crate::deliver(&server, "bob@example.org", &mail::message(&format!("popped {n}"), 1000 + 700 * n));
    }
    let saved = server.folder.path().join("saved");
    let rc = server.file(
        "muttrc",
        format!(
            "set pop_user=bob@example.org\nset pop_pass=\"secret of bob\"\nset ssl_ca_certificates_file={certificate}\n\
             set certificate_file={certificate}\nset ssl_force_tls=yes\nset pop_delete=yes\nset pop_checkinterval=0\n\
             set pop_authenticators=user\n\
             set spoolfile=pops://localhost:{port}/\nset folder={folder}\nset mbox_type=mbox\nset confirmcreate=no\n\
             set confirmappend=no\nset delete=yes\nset wait_key=no\nset quit=yes\nset move=no\nset sleep_time=0\n\
             push <limit>~s<space>popped.1<enter><save-message>{saved}<enter><sync-mailbox><quit>\n",
            certificate = server.certificate().display(),
            port = server.port("pop3s"),
            folder = server.folder.path().display(),
            saved = saved.display(),
        ),
    );
    // Reading needs a terminal: `script` makes one.
    let mut mutt = Command::new("timeout");
    mutt.args(["60", "script", "-qec"]).arg(format!("neomutt -n -F {}", rc.display())).arg("/dev/null");
    mutt.env("TERM", "xterm").env("HOME", server.folder.path());
    let output = finish(&mut mutt, "");
    let said = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    let saved = std::fs::read_to_string(&saved).unwrap_or_else(|error| panic!("{error}\n{said}"));
    assert_eq!(saved.matches("\nSubject: popped ").count(), 1, "{saved}");
    assert!(saved.contains("\nSubject: popped 1\n") && saved.contains("\nthe end\n"), "{saved}");
    let left = crate::pop3_login(&server, "bob").ask("LIST", ".");
    assert_eq!(left.len(), 4, "two of three are left: {left:?}");
}

/// rabid checks an MD5 digest of every message that postal wrote, and notes those that are right. It knows no TLS, and it
/// never ends by itself.
#[test]
#[ignore = "needs postal"]
fn rabid_finds_every_digest_right_under_load() {
    let server = Server::start_with("cleartext_logins = true\n", "");
    let users = server.file("users", "ann@example.org secretofann\nbob@example.org secretofbob\n");
    for user in ["ann", "bob"] {
        // A password of postal's list ends at a space.
        let passwd = server.admin(
            &["user", "passwd", &format!("{user}@example.org"), "--password-stdin"],
            &format!("secretof{user}\n"),
        );
        assert!(passwd.status.success());
    }
    let recipients = server.file("recipients", "ann@example.org\nbob@example.org\n");
    let at = |service: &str| format!("[127.0.0.1]{}", server.port(service));
    let load = |program: &str, options: &[&str], service: &str, list: &std::path::Path| {
        // Debian keeps both where users do not look. Each writes a log where it stands.
        let mut command = Command::new(["/usr/sbin/", program].concat());
        command.current_dir(server.folder.path()).args(options).arg(at(service)).arg(list);
        let errors = std::fs::File::create(server.folder.path().join(format!("{program}.errors"))).expect("a file");
        command.stdout(std::process::Stdio::null()).stderr(errors);
        Running(command.spawn().unwrap_or_else(|error| panic!("{program}: {error}")))
    };
    let read = |name: &str| std::fs::read_to_string(server.folder.path().join(name)).unwrap_or_default();
    let postal = load("postal", &["-t", "3", "-m", "30", "-M", "1", "-c", "5", "-r", "1200"], "smtp", &recipients);
    // All are deleted: it takes a message that it leaves for an error, and sleeps ten seconds.
    let rabid = load("rabid", &["-p", "3", "-r", "1200", "-c", "20", "-d", "100:100"], "pop3", &users);
    // Bounded: as many messages as tell something, or as much time as this may take.
    let begun = Instant::now();
    while read("rabid.log").lines().count() < 200 && begun.elapsed() < Duration::from_secs(60) {
        std::thread::sleep(Duration::from_millis(200));
    }
    drop((postal, rabid));
    let (log, errors) = (read("rabid.log"), read("rabid.errors"));
    let wrong: Vec<&str> = log.lines().filter(|line| line.len() != 32).collect();
    assert!(wrong.is_empty(), "{wrong:?}");
    assert!(log.lines().count() >= 100, "{} digests are right\n{errors}", log.lines().count());
    // Two of its threads may want the same maildrop.
    let errors: Vec<&str> =
        errors.lines().filter(|line| line.contains("error") && !line.contains("[IN-USE]")).collect();
    assert!(errors.is_empty(), "{errors:?}");
}

/// A child that ends with the test.
struct Running(std::process::Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

const SCRIPT: &str = r#"
import poplib, re, socket, ssl, sys
cafile, port, sports, file = sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), sys.argv[4]
context = ssl.create_default_context(cafile=cafile)
sent = open(file, "rb").read()
me = ("bob@example.org", "secret of bob")

def refused(call, *arguments):
    try:
        return "taken: %r" % (call(*arguments),)
    except poplib.error_proto as error:
        return error.args[0].decode() if isinstance(error.args[0], bytes) else error.args[0]

# In clear: nothing of a user, no password; then TLS, and what was said before is forgotten.
pop = poplib.POP3("localhost", port)
capa = pop.capa()
assert "STLS" in capa and "USER" not in capa and "UTF8" in capa, capa
assert refused(pop.user, me[0]).startswith("-ERR")
pop.stls(context=context)
capa = pop.capa()
assert {"USER", "UIDL", "TOP", "RESP-CODES", "AUTH-RESP-CODE", "PIPELINING", "LANG"} <= set(capa) and "STLS" not in capa, capa
assert "PLAIN" in capa["SASL"], capa
assert refused(pop.apop, me[0], me[1]).startswith("-ERR APOP not supported"), "APOP is off"
assert refused(pop._shortcmd, "RETR 1").startswith("-ERR"), "not before login"
assert refused(pop._shortcmd, "PASS x").startswith("-ERR"), "PASS without USER"
# A wrong password and a user there is none of are the same answer.
answers = set()
for user, password in [(me[0], "wrong"), ("nobody@example.org", "wrong")]:
    assert pop.user(user).startswith(b"+OK")
    answers.add(refused(pop.pass_, password))
assert len(answers) == 1 and answers.pop().startswith("-ERR [AUTH] "), answers
pop.quit()

pop = poplib.POP3_SSL("localhost", sports, context=context)
assert pop.utf8().startswith(b"+OK")
pop.user(me[0])
pop.pass_(me[1])
count, octets = pop.stat()
assert count == 4, count
assert [int(row.split()[1]) for row in pop.list()[1]] == [int(pop.list(n).split()[2]) for n in range(1, 5)]
ids = [row.split()[1] for row in pop.uidl()[1]]
assert len(set(ids)) == 4 and all(re.fullmatch(rb"[!-~]{1,70}", i) for i in ids), ids
assert [pop.uidl(n).split()[2] for n in range(1, 5)] == ids
whole = [pop.retr(n) for n in range(1, 5)]
for n, (status, lines, size) in enumerate(whole, 1):
    assert size == int(pop.list(n).split()[2]), "octets told are octets sent"
    blank = lines.index(b"")
    # TOP 0 is the header and the blank line; TOP n has n lines of the body and no more; a huge n is everything.
    assert pop.top(n, 0)[1] == lines[: blank + 1]
    assert pop.top(n, 1)[1] == lines[: blank + 2]
    assert pop.top(n, 7)[1] == lines[: blank + 8]
    assert pop.top(n, 2 ** 31)[1] == lines
assert "\u00e9".encode() in b"\n".join(whole[3][1]), "a header in UTF-8 comes in UTF-8 mode"
for bad in ["RETR 0", "RETR 5", "RETR -1", "RETR x", "RETR", "TOP 1", "LIST 99999999999999999999", "DELE 9", "XYZZY"]:
    assert refused(pop._shortcmd, bad).startswith("-ERR"), bad
# What is deleted vanishes, numbers stay; RSET brings it back.
pop.dele(2)
assert refused(pop.retr, 2).startswith("-ERR") and refused(pop.dele, 2).startswith("-ERR")
assert [row.split()[0] for row in pop.list()[1]] == [b"1", b"3", b"4"] == [row.split()[0] for row in pop.uidl()[1]]
assert pop.stat()[0] == 3
pop.rset()
assert pop.stat() == (count, octets)
pop.dele(1)
# A second session finds the maildrop in use; the first one's link drops, and nothing is deleted.
other = poplib.POP3_SSL("localhost", sports, context=context)
other.user(me[0])
assert refused(other.pass_, me[1]).startswith("-ERR [IN-USE]")
pop.sock.shutdown(socket.SHUT_RDWR)
pop.close()
for attempt in range(50):
    other.user(me[0])
    answer = refused(other.pass_, me[1])
    if answer.startswith("taken"):
        break
    import time; time.sleep(0.1)
assert other.stat() == (count, octets), "a dropped link deletes nothing"
assert [row.split()[1] for row in other.uidl()[1]] == ids, "identifiers stay"
# Without UTF-8 mode a header in UTF-8 is refused, and no other.
assert refused(other.retr, 4).startswith("-ERR [UTF8]") and other.retr(3)
other.quit()

# By hand: everything in one segment, answered in order.
raw = context.wrap_socket(socket.create_connection(("localhost", sports)), server_hostname="localhost")
raw.sendall(b"CAPA\r\nUSER bob@example.org\r\nPASS secret of bob\r\nSTAT\r\nUIDL\r\n" + b"".join(b"RETR %d\r\nDELE %d\r\n" % (n, n) for n in (1, 2, 3)) + b"NOOP\r\nLIST\r\nQUIT\r\n")
heard = b""
while piece := raw.recv(65536):
    heard += piece
statuses = re.findall(rb"(?m)^(?:\+OK|-ERR).*$", heard)
assert len(statuses) == 15 and all(line.startswith(b"+OK") for line in statuses), statuses
assert heard.count(b"\r\n.\r\n") == 6, "CAPA, UIDL, three RETR, LIST"
assert b"\r\n".join(whole[0][1]).replace(b"\r\n.", b"\r\n..") in heard
pop = poplib.POP3_SSL("localhost", sports, context=context)
pop.user(me[0])
pop.pass_(me[1])
assert pop.stat()[0] == 1 and pop.uidl(1).split()[2] == ids[3]
pop.quit()
"#;

#[test]
#[ignore = "needs python3"]
fn poplib_finds_utf8_top_uidl_and_pipelining_as_the_rfcs_have_them() {
    let server = Server::start("");
    let sent = mail::message("plain", 5000);
    crate::deliver(&server, "bob@example.org", &sent);
    crate::deliver(&server, "bob@example.org", &mail::message("short", 400));
    crate::deliver(&server, "bob@example.org", &mail::message("long", 200_000));
    crate::deliver(&server, "bob@example.org", &mail::message("caf\u{e9}", 900));
    let file = server.file("sent.eml", &sent);
    let mut python = Command::new("python3");
    python.args(["-c", SCRIPT]).arg(server.certificate()).args([server.port("pop3"), server.port("pop3s")]).arg(file);
    judge(&mut python);
}
