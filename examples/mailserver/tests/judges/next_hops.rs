//! Foreign servers as next hops: Postfix, with and without TLS, and aiosmtpd.

use std::io::{BufRead, BufReader};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use crate::mail;
use crate::outbound::submit;
use crate::server::{PATIENCE, Server};

/// A certificate for `localhost` and its key, in files of this folder.
fn certificate(folder: &Path) -> (PathBuf, PathBuf) {
    let key = rcgen::KeyPair::generate().unwrap();
    let made = rcgen::CertificateParams::new(vec!["localhost".to_owned()]).and_then(|it| it.self_signed(&key)).unwrap();
    let (certificate, private) = (folder.join("cert.pem"), folder.join("key.pem"));
    std::fs::write(&certificate, made.pem()).unwrap();
    std::fs::write(&private, key.serialize_pem()).unwrap();
    (certificate, private)
}

fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr()).unwrap().port()
}

/// A child process that ends with its owner.
struct Ended(Child);

impl Drop for Ended {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A Postfix of its own on a loopback port, which delivers for `next.example` into a Maildir.
struct Postfix {
    _master: Ended,
    folder: tempfile::TempDir,
    port: u16,
}

impl Drop for Postfix {
    fn drop(&mut self) {
        // What was started is a script; its master takes the daemons with it when it is asked to end.
        let Ok(pid) = std::fs::read_to_string(self.folder.path().join("queue/pid/master.pid")) else { return };
        let _ = Command::new("sh").arg("-c").arg(format!("kill -TERM {}", pid.trim())).status();
        let gone = || !Path::new("/proc").join(pid.trim()).exists();
        let deadline = Instant::now() + Duration::from_secs(5);
        while !gone() && Instant::now() < deadline {
            std::thread::sleep(Duration::from_millis(50));
        }
    }
}

impl Postfix {
    fn start(tls: &str) -> Postfix {
        let folder = tempfile::Builder::new().prefix("postfix").tempdir().unwrap();
        let at = folder.path();
        for part in ["etc", "queue", "data", "mail"] {
            std::fs::create_dir(at.join(part)).unwrap();
        }
        // Postfix's daemons run as other users, which must reach their folders.
        let shell = format!("chmod 755 {0} && chown postfix {0}/data && chown 65534 {0}/mail", at.display());
        assert!(Command::new("sh").arg("-c").arg(shell).status().unwrap().success());
        let (certificate, key) = certificate(at);
        let port = free_port();
        let at = at.display();
        let main = format!(
            "compatibility_level = 3.6\nqueue_directory = {at}/queue\ndata_directory = {at}/data\n\
             command_directory = /usr/sbin\ndaemon_directory = /usr/lib/postfix/sbin\n\
             inet_interfaces = 127.0.0.1\ninet_protocols = ipv4\nmyhostname = mail.next.example\nmydestination =\nlocal_recipient_maps =\nalias_maps =\n\
             maillog_file = {at}/log\nmaillog_file_prefixes = /dev, {at}\n\
             virtual_mailbox_domains = next.example\nvirtual_mailbox_base = {at}/mail\n\
             virtual_mailbox_maps = inline:{{ eve@next.example=eve/ }}\nvirtual_minimum_uid = 1\n\
             virtual_uid_maps = static:65534\nvirtual_gid_maps = static:65534\n\
             smtpd_recipient_restrictions = reject_unauth_destination\nsmtpd_tls_security_level = {tls}\n\
             smtpd_tls_cert_file = {}\nsmtpd_tls_key_file = {}\nsmtpd_tls_received_header = yes\n",
            certificate.display(),
            key.display()
        );
        let master = format!(
            "127.0.0.1:{port} inet n - n - - smtpd\ncleanup unix n - n - 0 cleanup\nqmgr unix n - n 300 1 qmgr\n\
             rewrite unix - - n - - trivial-rewrite\nbounce unix - - n - 0 bounce\ndefer unix - - n - 0 bounce\n\
             trace unix - - n - 0 bounce\nvirtual unix - n n - - virtual\nerror unix - - n - - error\n\
             anvil unix - - n - 1 anvil\ntlsmgr unix - - n 1000? 1 tlsmgr\npostlog unix-dgram n - n - 1 postlogd\n\
             proxymap unix - - n - - proxymap\n"
        );
        std::fs::write(folder.path().join("etc/main.cf"), main).unwrap();
        std::fs::write(folder.path().join("etc/master.cf"), master).unwrap();
        let mut command = Command::new("/usr/sbin/postfix");
        command.arg("-c").arg(folder.path().join("etc")).arg("start-fg");
        let child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn();
        let postfix = Postfix { _master: Ended(child.expect("postfix")), folder, port };
        let deadline = Instant::now() + PATIENCE;
        while TcpStream::connect(("127.0.0.1", port)).is_err() {
            assert!(Instant::now() < deadline, "postfix does not listen: {}", postfix.log());
            std::thread::sleep(Duration::from_millis(100));
        }
        postfix
    }

    fn log(&self) -> String {
        std::fs::read_to_string(self.folder.path().join("log")).unwrap_or_default()
    }

    fn route(&self, tls: &str) -> String {
        format!(
            "[outbound]\nretry = [\"1s\"]\nroutes = [{{ domain = \"*\", host = \"localhost\", port = {}, tls = \"{tls}\", \
             ca = \"{}\" }}]\n",
            self.port,
            self.folder.path().join("cert.pem").display()
        )
    }

    /// Waits for so many messages in eve's Maildir; all of them.
    fn delivered(&self, count: usize, server: &Server) -> Vec<String> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let new = std::fs::read_dir(self.folder.path().join("mail/eve/new"));
            let texts: Vec<String> = new
                .into_iter()
                .flatten()
                .map(|entry| String::from_utf8_lossy(&std::fs::read(entry.unwrap().path()).unwrap()).into_owned())
                .collect();
            if texts.len() >= count {
                return texts;
            }
            assert!(Instant::now() < deadline, "nothing came:\n{}\n{}", self.log(), server.log());
            std::thread::sleep(Duration::from_millis(100));
        }
    }
}

/// What the message's lines are in a Maildir, whose lines end with LF.
fn body(message: &str) -> String {
    message.replace("\r\n", "\n")
}

#[test]
#[ignore = "needs postfix"]
fn postfix_takes_mail_in_clear() {
    let postfix = Postfix::start("none");
    let server = Server::start(&postfix.route("opportunistic"));
    // By BDAT, which Postfix offers: lines of dots come through as they are, and a large message in many chunks.
    let dots = format!("{}.\r\n..\r\n.x\r\n", mail::message("dots", 500));
    let large = mail::message("large", 3_000_000);
    submit(&server, &["eve@next.example", "gone@next.example"], &dots);
    let first = postfix.delivered(1, &server);
    assert!(first[0].contains(&body(&dots)), "{}", first[0]);
    submit(&server, &["eve@next.example"], &large);
    let both = postfix.delivered(2, &server);
    assert!(both.iter().any(|text| text.contains(&body(&large))));
    // The recipient it does not know is reported with its words.
    let deadline = Instant::now() + PATIENCE;
    let mut imap = crate::imap_login(&server, "ann");
    while !imap.ask("s SELECT INBOX", "s OK").contains(&"* 1 EXISTS".to_owned()) {
        assert!(Instant::now() < deadline, "no report:\n{}", server.log());
        std::thread::sleep(Duration::from_millis(100));
    }
    let report = imap.ask("f FETCH 1 BODY[]", "f OK").join("\n");
    assert!(report.contains("gone@next.example") && report.contains("Status: 5.1.1"), "{report}");
}

#[test]
#[ignore = "needs postfix"]
fn postfix_takes_mail_over_tls() {
    let postfix = Postfix::start("may");
    for (count, tls) in (1..).zip(["opportunistic", "required"]) {
        let server = Server::start(&postfix.route(tls));
        submit(&server, &["eve@next.example"], &mail::message(tls, 500));
        let texts = postfix.delivered(count, &server);
        let text = texts.iter().find(|text| text.contains(&format!("Subject: {tls}"))).unwrap();
        assert!(text.contains("using TLSv1.3") && text.contains("with ESMTPS"), "{text}");
    }
}

/// A Postfix that takes nothing without TLS, and a route that never has any.
#[test]
#[ignore = "needs postfix"]
fn postfix_that_demands_tls_is_heard() {
    let postfix = Postfix::start("encrypt");
    let server = Server::start(&postfix.route("none"));
    submit(&server, &["eve@next.example"], &mail::message("refused", 500));
    let deadline = Instant::now() + PATIENCE;
    let mut imap = crate::imap_login(&server, "ann");
    while !imap.ask("s SELECT INBOX", "s OK").contains(&"* 1 EXISTS".to_owned()) {
        assert!(Instant::now() < deadline, "no report:\n{}", server.log());
        std::thread::sleep(Duration::from_millis(100));
    }
    let report = imap.ask("f FETCH 1 BODY[]", "f OK").join("\n");
    assert!(report.contains("Must issue a STARTTLS command first"), "{report}");
    drop(server);
    let server = Server::start(&postfix.route("required"));
    submit(&server, &["eve@next.example"], &mail::message("protected", 500));
    assert!(postfix.delivered(1, &server)[0].contains("Subject: protected"));
}

const AIOSMTPD: &str = r#"
import ssl, sys, time
from aiosmtpd.controller import Controller

class Handler:
    async def handle_RCPT(self, server, session, envelope, address, options):
        if address.startswith("no"):
            return "550 5.1.1 nobody here"
        envelope.rcpt_tos.append(address)
        return "250 2.1.5 ok"

    async def handle_DATA(self, server, session, envelope):
        tls = "tls" if session.ssl is not None else "clear"
        print("mail", tls, ",".join(envelope.rcpt_tos), envelope.original_content.hex(), flush=True)
        return "250 2.0.0 taken"

port, certificate, key = int(sys.argv[1]), sys.argv[2], sys.argv[3]
context = None
if certificate != "-":
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
controller = Controller(Handler(), hostname="127.0.0.1", port=port, tls_context=context, enable_SMTPUTF8=True)
controller.start()
print("ready", flush=True)
sys.stdin.read()
"#;

/// aiosmtpd offers no PIPELINING and no CHUNKING: one command at a time, and DATA.
#[test]
#[ignore = "needs aiosmtpd"]
fn aiosmtpd_takes_mail() {
    let folder = tempfile::tempdir().unwrap();
    let (certificate, key) = certificate(folder.path());
    for secured in [false, true] {
        let port = free_port();
        let mut command = Command::new("python3");
        command.env("PYTHONPATH", crate::clients().join("python")).arg("-c").arg(AIOSMTPD).arg(port.to_string());
        match secured {
            true => command.arg(&certificate).arg(&key),
            false => command.args(["-", "-"]),
        };
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("python");
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines().map_while(Result::ok);
        let _ended = Ended(child);
        assert_eq!(lines.next().as_deref(), Some("ready"));
        let tls = if secured { "required" } else { "opportunistic" };
        let server = Server::start(&format!(
            "[outbound]\nretry = [\"1s\"]\nroutes = [{{ domain = \"*\", host = \"localhost\", port = {port}, tls = \"{tls}\", \
             ca = \"{}\" }}]\n",
            certificate.display()
        ));
        let sent = format!("{}.\r\n..x\r\n", mail::message("aio", 5000));
        submit(&server, &["x@next.example", "nobody@next.example", "y@next.example"], &sent);
        let line = lines.next().expect("a message");
        let words: Vec<&str> = line.split(' ').collect();
        assert_eq!(words[..3], ["mail", if secured { "tls" } else { "clear" }, "x@next.example,y@next.example"]);
        let octets: Vec<u8> =
            (0..words[3].len()).step_by(2).map(|at| u8::from_str_radix(&words[3][at..at + 2], 16).unwrap()).collect();
        assert!(String::from_utf8(octets).unwrap().ends_with(&sent));
    }
}
