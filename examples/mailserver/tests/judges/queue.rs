//! The queue under kill -9, between processes, in an operator's hands, and its reports in the eyes of Python.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::Command;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use mailstore_trait::date::Timestamp;
use smtp_proto::address::{Address, Grammar};
use smtp_proto::dsn;
use smtp_proto::reply::EnhancedCode;

use crate::mail;
use crate::server::{BASE, LISTEN, PATIENCE, Server, TlsWire, judge};

/// When each message was taken, by its subject, just before the reply that says so.
type Taken = Arc<Mutex<BTreeMap<String, Vec<Instant>>>>;

/// A next hop that takes its time at every step.
fn slow_sink(step: Duration) -> (SocketAddr, Taken) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a listener");
    let address = listener.local_addr().expect("an address");
    let taken = Taken::default();
    let all = Arc::clone(&taken);
    std::thread::spawn(move || {
        while let Ok((stream, _)) = listener.accept() {
            let taken = Arc::clone(&all);
            std::thread::spawn(move || sink(&stream, step, &taken));
        }
    });
    (address, taken)
}

fn sink(stream: &TcpStream, step: Duration, taken: &Taken) -> Option<()> {
    let mut writer = stream.try_clone().ok()?;
    let mut lines = BufReader::new(stream).lines().map_while(Result::ok);
    let mut say = |line: &str| {
        std::thread::sleep(step);
        writer.write_all(format!("{line}\r\n").as_bytes()).ok()
    };
    say("220 sink.example")?;
    while let Some(line) = lines.next() {
        let verb = line.split(' ').next().unwrap_or_default().to_ascii_uppercase();
        match verb.as_str() {
            "EHLO" => say("250 sink.example")?,
            "DATA" => {
                say("354 go on")?;
                let mut subject = None;
                loop {
                    let line = lines.next()?;
                    if line == "." {
                        break;
                    }
                    subject = subject.or(line.strip_prefix("Subject: ").map(str::to_owned));
                }
                std::thread::sleep(step);
                taken.lock().expect("no thread fails").entry(subject?).or_default().push(Instant::now());
                say("250 taken")?;
            }
            "QUIT" => return say("221 bye"),
            _ => say("250 ok")?,
        }
    }
    Some(())
}

fn outbound(next_hop: SocketAddr, lease: &str) -> String {
    let port = next_hop.port();
    format!(
        "[outbound]\nroutes = [{{ domain = \"*\", host = \"127.0.0.1\", port = {port}, tls = \"none\" }}]\nretry = [\"1s\"]\n\
         backoff = \"1s\"\nbackoff_max = \"1s\"\nlease = \"{lease}\"\n"
    )
}

/// Submits one message to each of these recipients, in one session. What it returns for was answered 250.
fn submit(server: &Server, messages: &[(String, &str)]) {
    let mut wire: TlsWire = server.connect_tls("submissions");
    wire.until("220 ");
    wire.ask("EHLO client.example.net", "250 ");
    wire.ask("AUTH PLAIN AGFubkBleGFtcGxlLm9yZwBzZWNyZXQgb2YgYW5u", "235 ");
    for (subject, to) in messages {
        wire.ask("MAIL FROM:<ann@example.org>", "250 ");
        wire.ask(&format!("RCPT TO:<{to}>"), "250 ");
        wire.ask("DATA", "354 ");
        wire.send(mail::stuffed(&mail::message(subject, 600)));
        wire.ask(".", "250 ");
    }
    wire.ask("QUIT", "221 ");
}

fn numbered(numbers: std::ops::Range<usize>) -> Vec<(String, &'static str)> {
    numbers.map(|number| (format!("number {number}"), "x@elsewhere.example")).collect()
}

/// Waits until nothing waits any more.
fn until_empty(server: &Server) {
    let deadline = Instant::now() + PATIENCE;
    while !server.admin(&["queue", "list"], "").stdout.is_empty() {
        assert!(Instant::now() < deadline, "the queue does not empty:\n{}", server.log());
        std::thread::sleep(Duration::from_millis(200));
    }
}

/// Killed at any step of a conversation, the server loses nothing; what it sends twice was under way at the kill.
#[test]
fn a_kill_while_relaying_loses_nothing() {
    let (next_hop, taken) = slow_sink(Duration::from_millis(15));
    let mut server = Server::start(&outbound(next_hop, "3s"));
    let (mut kills, mut sent) = (Vec::new(), 0);
    for round in 0..6_u64 {
        let messages = numbered(sent..sent + 8);
        submit(&server, &messages);
        sent += messages.len();
        // Another step each time.
        std::thread::sleep(Duration::from_millis(round * 37 % 150));
        let folder = server.stop();
        kills.push(Instant::now());
        server = Server::run(folder);
    }
    until_empty(&server);
    let taken = taken.lock().expect("no thread fails");
    let lost: Vec<usize> = (0..sent).filter(|number| !taken.contains_key(&format!("number {number}"))).collect();
    assert_eq!(lost, [0; 0], "accepted and lost");
    for (subject, times) in taken.iter().filter(|(_, times)| times.len() > 1) {
        for first in &times[..times.len() - 1] {
            let under_way =
                |kill: &Instant| *first <= *kill + Duration::from_secs(1) && *first + Duration::from_secs(2) > *kill;
            assert!(kills.iter().any(under_way), "{subject} was sent twice, and no kill came between");
        }
    }
    assert!(taken.values().filter(|times| times.len() > 1).count() < sent / 2, "most are sent once");
}

/// Two processes work on one queue; each message is sent by one of them.
#[test]
fn two_processes_share_a_queue() {
    let (next_hop, taken) = slow_sink(Duration::from_millis(40));
    // One at a time: what comes meanwhile waits for whoever is free first.
    let config = outbound(next_hop, "30s") + "concurrency = 1\n";
    let first = Server::start(&config);
    let folder = tempfile::tempdir().expect("a folder");
    let data = first.folder.path().join("data");
    let base = BASE.replace("\"data\"", &format!("{:?}", data.display().to_string()));
    std::fs::write(folder.path().join("mailserver.toml"), format!("{base}{LISTEN}{config}")).expect("a configuration");
    let second = Server::run(folder);
    submit(&first, &numbered(0..40));
    until_empty(&first);
    let taken = taken.lock().expect("no thread fails");
    assert_eq!(taken.len(), 40);
    assert!(taken.values().all(|times| times.len() == 1), "each once: {taken:?}");
    for server in [&first, &second] {
        assert!(server.log().contains("attempted"), "each had its part");
    }
}

/// What operators do with postqueue and postsuper.
#[test]
fn operators_have_the_queue_in_hand() {
    // Nothing listens there.
    let nobody = TcpListener::bind("127.0.0.1:0").expect("a listener").local_addr().expect("an address");
    let server = Server::start(&outbound(nobody, "30s").replace("\"1s\"", "\"1h\""));
    let to = |number: usize, to| (format!("number {number}"), to);
    submit(&server, &[to(0, "x@one.example")]);
    let run = |arguments: &[&str]| {
        let output = server.admin(&[&["queue"], arguments].concat(), "");
        assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8_lossy(&output.stdout).lines().map(str::to_owned).collect::<Vec<_>>()
    };
    let deadline = Instant::now() + PATIENCE;
    let tried = |line: &String| line.contains("\"last_error\":\"451 4.4.1");
    let all_tried = || {
        while !run(&["list", "--json"]).iter().all(tried) {
            assert!(Instant::now() < deadline, "not tried: {:#?}", run(&["list", "--json"]));
            std::thread::sleep(Duration::from_millis(100));
        }
    };
    all_tried();
    submit(&server, &[to(1, "y@two.example"), to(2, "z@three.example")]);
    all_tried();
    let all = run(&["list", "--json"]);
    assert_eq!(all.len(), 3);
    for field in ["\"id\":\"", "\"sender\":\"ann@example.org\"", "\"age\":", "\"next_attempt\":", "\"held\":false"] {
        assert!(all.iter().all(|line| line.contains(field)), "{field}: {all:#?}");
    }
    let attempts: usize = all.iter().filter(|line| line.contains("\"attempts\":1")).count();
    assert_eq!(attempts, 1, "one found out for all: {all:#?}");
    assert_eq!(
        run(&["list", "--domain", "two.example"]).iter().filter(|line| line.contains("@two.example")).count(),
        1
    );
    run(&["hold", "--domain", "TWO.example"]);
    assert_eq!(run(&["list", "--json"]).iter().filter(|line| line.contains("\"held\":true")).count(), 1);
    let two = run(&["list", "--json", "--domain", "two.example"])[0].clone();
    run(&["flush", "--domain", "one.example"]);
    let deadline = Instant::now() + PATIENCE;
    let of = |domain: &str| run(&["list", "--json", "--domain", domain])[0].clone();
    let before = all.iter().find(|line| line.contains("@one.example")).expect("listed").clone();
    let attempts =
        |line: &str| line.split("\"attempts\":").nth(1).expect("a field")[..1].parse::<u32>().expect("a digit");
    while attempts(&of("one.example")) == attempts(&before) {
        assert!(Instant::now() < deadline, "flushed, and not tried: {}", of("one.example"));
        std::thread::sleep(Duration::from_millis(100));
    }
    run(&["release", "--sender", "ann@example.org"]);
    assert!(!run(&["list", "--json"]).iter().any(|line| line.contains("\"held\":true")));
    let id = two.split('"').nth(3).expect("an id").to_owned();
    run(&["remove", &id]);
    assert_eq!(run(&["list", "--json"]).len(), 2);
    assert!(!server.admin(&["queue", "remove", &id], "").status.success(), "it is gone");
    assert!(!server.admin(&["queue", "remove"], "").status.success(), "not everything by mistake");
    run(&["remove", "--all"]);
    assert_eq!(run(&["list"]), [""; 0]);
}

/// A hop that refuses everybody for good, in two lines.
fn refusing() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a listener");
    let address = listener.local_addr().expect("an address");
    std::thread::spawn(move || {
        while let Ok((stream, _)) = listener.accept() {
            std::thread::spawn(move || {
                let mut writer = stream.try_clone().expect("a socket");
                let mut say = |line: &str| writer.write_all(format!("{line}\r\n").as_bytes()).is_ok();
                say("220 no.example");
                for line in BufReader::new(stream).lines().map_while(Result::ok) {
                    let said = match line.split(' ').next().unwrap_or_default() {
                        "EHLO" => say("250 no.example"),
                        "RCPT" => say("550-5.1.1 Nobody here\r\n550 5.1.1 has this name"),
                        "QUIT" => say("221 bye"),
                        "DATA" => say("554 5.5.1 for whom?"),
                        _ => say("250 ok"),
                    };
                    if !said {
                        return;
                    }
                }
            });
        }
    });
    address
}

const SCRIPT: &str = r#"
import email, email.policy, email.utils, poplib, ssl, sys, time
pop = poplib.POP3_SSL("localhost", int(sys.argv[2]), context=ssl.create_default_context(cafile=sys.argv[1]))
pop.user("ann@example.org")
pop.pass_("secret of ann")
count = pop.stat()[0]
assert count == 2, count
seen = set()
for number in range(1, count + 1):
    octets = b"\r\n".join(pop.retr(number)[1]) + b"\r\n"
    report = email.message_from_bytes(octets, policy=email.policy.default)
    assert not report.defects and not [part for part in report.walk() if part.defects], report.defects
    assert report["Return-Path"] == "<>" and report["Auto-Submitted"] == "auto-replied"
    assert report["To"].addresses[0].addr_spec == "ann@example.org"
    assert report["From"].addresses[0].addr_spec == "postmaster@mail.example.org"
    assert report["Delivered-To"] == "ann@example.org"
    assert email.utils.parsedate_to_datetime(report["Date"]).tzinfo and report["Message-ID"]
    assert report.get_content_type() == "multipart/report"
    text, status, returned = report.get_payload()
    assert text.get_content_type() == "text/plain" and "could not be delivered" in text.get_content()
    assert report.get_param("report-type") == "delivery-status"
    assert status.get_content_type() == "message/delivery-status"
    message, recipient = status.get_payload()
    assert message["Reporting-MTA"] == "dns; mail.example.org"
    assert email.utils.parsedate_to_datetime(message["Arrival-Date"])
    assert recipient["Action"] == "failed" and recipient["Status"] == "5.1.1"
    assert recipient["Remote-MTA"].startswith("dns; 127.0.0.1") or recipient["Remote-MTA"].startswith("dns; [127.0.0.1]")
    code = " ".join(recipient["Diagnostic-Code"].split())
    assert code.startswith("smtp; 550 5.1.1") and "Nobody here" in code and "has this name" in code, code
    assert email.utils.parsedate_to_datetime(recipient["Last-Attempt-Date"])
    assert recipient["Will-Retry-Until"] is None
    final = str(recipient["Final-Recipient"])
    seen.add(final)
    if "plain" in final:
        assert message["Original-Envelope-Id"] is None and recipient["Original-Recipient"] is None
        assert returned.get_content_type() == "text/rfc822-headers"
    else:
        assert message["Original-Envelope-Id"] == "QQ 314=159", message["Original-Envelope-Id"]
        assert recipient["Original-Recipient"] == "rfc822;First+Name@third.example"
        assert returned.get_content_type() == "message/rfc822"
        original = returned.get_payload()[0]
        assert original["Subject"] == "full" and "the end" in original.get_payload()
assert seen == {"rfc822;plain@elsewhere.example", "rfc822;full@elsewhere.example"}, seen
"#;

/// Our reports are what RFC 3464 says, as a parser nobody here wrote reads them.
#[test]
#[ignore = "needs python3"]
fn python_reads_our_reports() {
    let server = Server::start(&outbound(refusing(), "30s"));
    let mut wire: TlsWire = server.connect_tls("submissions");
    wire.until("220 ");
    wire.ask("EHLO client.example.net", "250 ");
    wire.ask("AUTH PLAIN AGFubkBleGFtcGxlLm9yZwBzZWNyZXQgb2YgYW5u", "235 ");
    let full = ("RET=FULL ENVID=QQ+20314+3D159", "full@elsewhere.example", "ORCPT=rfc822;First+2BName@third.example");
    for (mail, to, rcpt) in [("", "plain@elsewhere.example", ""), full] {
        wire.ask(format!("MAIL FROM:<ann@example.org> {mail}").trim_end(), "250 ");
        wire.ask(format!("RCPT TO:<{to}> {rcpt}").trim_end(), "250 ");
        wire.ask("DATA", "354 ");
        wire.send(mail::stuffed(&mail::message(to.split('@').next().expect("a local part"), 600)));
        wire.ask(".", "250 ");
    }
    wire.ask("QUIT", "221 ");
    until_empty(&server);
    let mut python = Command::new("python3");
    judge(python.arg("-c").arg(SCRIPT).arg(server.certificate()).arg(server.port("pop3s")));
}

const GLOBAL: &str = r#"
import email, email.policy, sys
octets = open(sys.argv[1], "rb").read()
report = email.message_from_bytes(octets, policy=email.policy.SMTPUTF8)
assert not report.defects and not [part for part in report.walk() if part.defects]
# Python keeps octets that it did not expect; they are UTF-8.
said = lambda value: str(value).encode("utf-8", "surrogateescape").decode("utf-8")
assert said(report["To"]) == "zo\u00eb@a.example", said(report["To"])
assert report.get_param("report-type") == "global-delivery-status"
text, status, returned = report.get_payload()
assert "zo\u00eb.gone@b.example" in text.get_content()
assert status.get_content_type() == "message/global-delivery-status" and status["Content-Transfer-Encoding"] == "8bit"
assert returned.get_content_type() == "message/global-headers"
# Python takes message/global-delivery-status for a message; its first block is that message's header.
message, recipient = octets.split(b"message/global-delivery-status")[1].split(b"\r\n\r\n")[1:3]
message, recipient = (email.message_from_string(block.decode(), policy=email.policy.SMTPUTF8) for block in (message, recipient))
assert message["Reporting-MTA"] == "dns; mx.example.org"
assert recipient["Original-Recipient"] == "utf-8;first@\u00fc.example", recipient["Original-Recipient"]
assert recipient["Final-Recipient"] == "utf-8;zo\u00eb.gone@b.example", recipient["Final-Recipient"]
assert recipient["Action"] == "delayed" and recipient["Status"] == "4.4.1"
assert recipient["Will-Retry-Until"] == "Thu, 16 Nov 2023 02:00:00 +0000"
"#;

/// The variants for addresses that are not ASCII are what RFC 6533 says.
#[test]
#[ignore = "needs python3"]
fn python_reads_global_reports() {
    let at = Timestamp::from_seconds;
    let recipient = dsn::Recipient {
        address: "zo\u{eb}.gone@b.example".into(),
        orcpt: Some(("utf-8".into(), "first@\u{fc}.example".into())),
        action: dsn::Action::Delayed,
        status: EnhancedCode::new(4, 4, 1),
        diagnostic: Some("451 4.4.1 sp\u{e4}ter".into()),
        remote_mta: None,
        last_attempt: Some(at(1_700_000_000)),
        will_retry_until: Some(at(1_700_100_000)),
    };
    let report = dsn::Dsn {
        reporting_mta: "mx.example.org",
        from: "postmaster@mx.example.org",
        to: &Address::parse("zo\u{eb}@a.example", Grammar::default().with_utf8(true)).expect("an address"),
        date: at(1_700_000_000).at_offset(0),
        message_id: "1@mx.example.org",
        boundary: "boundary42",
        envid: None,
        arrival: None,
        recipients: &[recipient],
        returned: dsn::Returned::Headers("Subject: zo\u{eb}\r\n".as_bytes()),
    };
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("report");
    std::fs::write(&file, report.build()).expect("a file");
    let mut python = Command::new("python3");
    judge(python.arg("-c").arg(GLOBAL).arg(file));
}
