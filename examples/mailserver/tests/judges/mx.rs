//! Mail for domains that only DNS knows: a zone of our own, hosts on loopback addresses of one port.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpListener};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use crate::dns::Zone;
use crate::mail;
use crate::outbound::{Received, eve_receives, next_server, serve, submit};
use crate::server::{PATIENCE, Server};

fn loopback(last: u8) -> Ipv4Addr {
    Ipv4Addr::new(127, 0, 0, last)
}

/// A host on each of these addresses, all on one port: the first takes mail, the others greet with 554.
struct Hosts {
    port: u16,
    received: Receiver<Received>,
    connections: Arc<AtomicUsize>,
}

fn hosts(takes: u8, busy: &[u8]) -> Hosts {
    // A port that is free on all of them.
    let (listener, others, port) = (0..50)
        .find_map(|_| {
            let listener = TcpListener::bind((loopback(takes), 0)).ok()?;
            let port = listener.local_addr().ok()?.port();
            let others: Result<Vec<_>, _> =
                busy.iter().map(|last| TcpListener::bind((loopback(*last), port))).collect();
            Some((listener, others.ok()?, port))
        })
        .expect("a port");
    for busy in others {
        std::thread::spawn(move || {
            while let Ok((mut stream, _)) = busy.accept() {
                let _ = stream.write_all(b"554 5.3.2 not me\r\n");
                let _ = stream.read(&mut [0; 100]);
            }
        });
    }
    let (sender, received) = channel();
    let connections = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&connections);
    std::thread::spawn(move || {
        let mut deferred = 0;
        while let Ok((stream, _)) = listener.accept() {
            counted.fetch_add(1, Ordering::Relaxed);
            if serve(stream, &sender, &mut deferred).is_none() {
                return;
            }
        }
    });
    Hosts { port, received, connections }
}

fn config(zone: &Zone, port: u16, more: &str) -> String {
    format!(
        "{}[outbound]\nport = {port}\nretry = [\"1s\"]\nbackoff = \"1s\"\nbackoff_max = \"2s\"\n{more}",
        zone.config()
    )
}

/// Waits until ann has this many messages; the last of them.
fn ann_hears(server: &Server, count: usize) -> String {
    let deadline = Instant::now() + PATIENCE;
    let mut imap = crate::imap_login(server, "ann");
    while !imap.ask("s SELECT INBOX", "s OK").contains(&format!("* {count} EXISTS")) {
        assert!(Instant::now() < deadline, "no report:\n{}", server.log());
        std::thread::sleep(Duration::from_millis(100));
    }
    imap.ask(&format!("f FETCH {count} BODY[]"), "f OK").join("\n")
}

/// Waits until the queue's list holds this.
fn waits(server: &Server, part: &str) {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let listed = String::from_utf8_lossy(&server.admin(&["queue", "list"], "").stdout).into_owned();
        if listed.contains(part) {
            return;
        }
        assert!(Instant::now() < deadline, "{listed}\n{}", server.log());
        std::thread::sleep(Duration::from_millis(200));
    }
}

/// RFC 5321 §5.1: by preference; the next host where one is not there, or does not want to; then the connection is kept.
#[test]
fn the_next_host_is_tried_and_its_connection_kept() {
    let hosts = hosts(24, &[23]);
    let zone = Zone::new();
    zone.mx("d.example", 30, "third.d.example")
        .mx("d.example", 10, "first.d.example")
        .mx("d.example", 20, "second.d.example")
        .mx("d.example", 5, "nowhere.d.example")
        .address("first.d.example", "127.0.0.22")
        .address("second.d.example", "127.0.0.23")
        .cname("third.d.example", "real.example")
        .address("real.example", "127.0.0.24")
        // Nobody vouches for it, so it counts for nothing (RFC 7672 §2.2.1).
        .tlsa(&format!("_{}._tcp.third.d.example", hosts.port), [3, 1, 1], &[0; 32]);
    let server = Server::start(&config(&zone, hosts.port, "keep = \"30s\"\n"));
    for round in 0..3 {
        submit(&server, &["x@d.example", "y@D.example"], &mail::message(&format!("round {round}"), 500));
        let received = hosts.received.recv_timeout(PATIENCE).expect("delivered");
        assert_eq!(received.recipients, ["x@d.example", "y@D.example"]);
    }
    assert_eq!(hosts.connections.load(Ordering::Relaxed), 1, "{}", server.log());
    assert_eq!(server.admin(&["queue", "list"], "").stdout, b"");
}

/// RFC 5321 §5.1 and §4.1.3: without MX records the domain is the host; a literal is where it says.
#[test]
fn domains_without_mx_and_literals() {
    let hosts = hosts(25, &[]);
    let zone = Zone::new();
    zone.address("plain.example", "127.0.0.25");
    let server = Server::start(&config(&zone, hosts.port, ""));
    for to in ["x@plain.example", "x@[127.0.0.25]"] {
        submit(&server, &[to], &mail::message("direct", 500));
        assert_eq!(hosts.received.recv_timeout(PATIENCE).expect("delivered").recipients, [to]);
    }
}

/// RFC 7505 §3, RFC 5321 §5.1: domains that want no mail, that are not there, and that lead back here.
#[test]
fn domains_that_take_no_mail_are_reported() {
    let zone = Zone::new();
    zone.mx("null.example", 0, ".")
        .address("null.example", "127.0.0.26")
        .mx("loop.example", 10, "mail.example.org")
        .mx("loop.example", 20, "other.example")
        .address("other.example", "127.0.0.26");
    let server = Server::start(&config(&zone, 9, ""));
    for (count, (to, status)) in
        (1..).zip([("x@null.example", "5.1.10"), ("x@loop.example", "5.4.6"), ("x@nowhere.example", "5.1.2")])
    {
        submit(&server, &[to], &mail::message("returned", 500));
        let report = ann_hears(&server, count);
        assert!(report.contains(&format!("Status: {status}")), "{to}: {report}");
        assert!(report.contains(&format!("Final-Recipient: rfc822;{to}")), "{report}");
    }
}

/// A name server that is silent is no reason to return anything.
#[test]
fn mail_waits_for_name_servers() {
    let silent = std::net::UdpSocket::bind("127.0.0.1:0").expect("a socket");
    let servers = format!("[dns]\nservers = [\"{}\"]\ntimeout = \"1s\"\n", silent.local_addr().unwrap());
    let server = Server::start(&format!("{servers}[outbound]\nretry = [\"1s\"]\n"));
    submit(&server, &["x@d.example"], &mail::message("patient", 500));
    waits(&server, "name servers do not answer");
}

/// A web host for one policy, with a certificate for its name; the certificate in PEM.
fn policy_host(name: &str, policy: &'static str) -> (u16, String, Arc<AtomicUsize>) {
    let key = rcgen::KeyPair::generate().expect("a key");
    let certificate = rcgen::CertificateParams::new(vec![name.to_owned()]).and_then(|it| it.self_signed(&key)).unwrap();
    let (pem, der) = (certificate.pem(), certificate.der().clone());
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![der], rustls_pki_types::PrivatePkcs8KeyDer::from(key.serialize_der()).into())
        .unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").expect("a listener");
    let port = listener.local_addr().unwrap().port();
    let fetched = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&fetched);
    std::thread::spawn(move || {
        while let Ok((stream, _)) = listener.accept() {
            let connection = rustls::ServerConnection::new(Arc::new(config.clone())).unwrap();
            let mut stream = rustls::StreamOwned::new(connection, stream);
            let mut request = Vec::new();
            let mut octets = [0; 1000];
            while !request.ends_with(b"\r\n\r\n") {
                match stream.read(&mut octets) {
                    Ok(length) if length > 0 => request.extend_from_slice(&octets[..length]),
                    _ => break,
                }
            }
            if request.starts_with(b"GET /.well-known/mta-sts.txt HTTP/1.1\r\n") {
                count.fetch_add(1, Ordering::Relaxed);
                let answer = format!(
                    "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: {}\r\n\r\n{policy}",
                    policy.len()
                );
                let _ = stream.write_all(answer.as_bytes());
            }
            stream.conn.send_close_notify();
            let _ = stream.flush();
        }
    });
    (port, pem, fetched)
}

/// RFC 8461: a policy is fetched once and kept to: hosts it does not name and hosts without good TLS get nothing.
#[test]
fn mta_sts_is_enforced() {
    let next = next_server();
    let (web, mut anchors, fetched) =
        policy_host("mta-sts.next.example", "version: STSv1\nmode: enforce\nmx: mail.next.example\nmax_age: 86400\n");
    let zone = Zone::new();
    zone.mx("next.example", 10, "elsewhere.example")
        .mx("next.example", 20, "mail.next.example")
        .address("elsewhere.example", "127.0.0.1")
        .address("mail.next.example", "127.0.0.1")
        .txt("_mta-sts.next.example", "v=STSv1; id=1;")
        .address("mta-sts.next.example", "127.0.0.1");
    let more = |anchors: &str| format!("policy_port = {web}\nca = \"{anchors}\"\n");
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("anchors.pem");
    // The policy can be fetched, but nobody vouches for the host.
    std::fs::write(&file, &anchors).unwrap();
    let server = Server::start(&config(&zone, next.address("smtp").port(), &more(file.to_str().unwrap())));
    submit(&server, &["eve@next.example"], &mail::message("untrusted", 500));
    waits(&server, "TLS handshake failed");
    let folder_of_server = server.stop();
    anchors.push_str(&std::fs::read_to_string(next.certificate()).unwrap());
    std::fs::write(&file, anchors).unwrap();
    let server = Server::run(folder_of_server);
    server.admin(&["queue", "flush"], "");
    let text = eve_receives(&next, "untrusted");
    assert!(text.contains("with ESMTPS"), "{text}");
    assert_eq!(fetched.load(Ordering::Relaxed), 2, "once by each process");
}

/// RFC 8460: a domain hears how TLS with it went, in a mail that leaves whatever its TLS is like.
#[test]
fn domains_hear_of_their_tls() {
    let hosts = hosts(28, &[]);
    let zone = Zone::new();
    zone.mx("d.example", 10, "mx.d.example")
        .address("mx.d.example", "127.0.0.28")
        .txt("_smtp._tls.d.example", "v=TLSRPTv1; rua=mailto:tls%2Breports@d.example");
    let more = "tls_reports = \"postmaster@example.org\"\ntls_reports_every = \"2s\"\n";
    let server = Server::start(&config(&zone, hosts.port, more));
    submit(&server, &["x@d.example"], &mail::message("counted", 500));
    hosts.received.recv_timeout(PATIENCE).expect("delivered");
    let report = hosts.received.recv_timeout(PATIENCE).expect("a report");
    assert_eq!(report.recipients, ["tls+reports@d.example"]);
    for part in ["TLS-Report-Domain: d.example", "TLS-Required: No", "application/tlsrpt+json"] {
        assert!(report.data.contains(part), "{part}: {}", report.data);
    }
}

/// RFC 8461 §5: what the policy wants is not there, and nothing is sent in clear.
#[test]
fn mta_sts_keeps_mail_from_leaving_in_clear() {
    let hosts = hosts(27, &[]);
    let policy = "version: STSv1\r\nmode: enforce\r\nmx: *.d.example\r\nmax_age: 86400\r\n";
    let (web, anchors, _) = policy_host("mta-sts.d.example", policy);
    let zone = Zone::new();
    zone.mx("d.example", 10, "mx.d.example")
        .address("mx.d.example", "127.0.0.27")
        .txt("_mta-sts.d.example", "v=STSv1; id=1;")
        .address("mta-sts.d.example", "127.0.0.1");
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("anchors.pem");
    std::fs::write(&file, anchors).unwrap();
    let more = format!("policy_port = {web}\nca = \"{}\"\n", file.display());
    let server = Server::start(&config(&zone, hosts.port, &more));
    submit(&server, &["x@d.example"], &mail::message("secret", 500));
    waits(&server, "TLS is required and not offered");
    // RFC 8461 §5.1: hiding the record does not take the policy away.
    zone.remove("_mta-sts.d.example");
    submit(&server, &["hidden@d.example"], &mail::message("hidden", 500));
    waits(&server, "hidden@d.example: to be sent, 451 4.7.0 TLS is required and not offered");
    assert!(hosts.received.try_recv().is_err());
    // RFC 8689 §3: a sender who would rather have it arrive.
    assert!(server.admin(&["queue", "remove", "--all"], "").status.success());
    let open = format!("TLS-Required: No\r\n{}", mail::message("open", 500));
    submit(&server, &["x@d.example"], &open);
    let received = hosts.received.recv_timeout(PATIENCE).unwrap_or_else(|_| panic!("{}", server.log()));
    assert!(received.data.contains("Subject: open"));
}
