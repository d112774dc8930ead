//! A name server for tests: one zone in memory, over UDP and TCP on a free loopback port (RFC 1035 §4).

use std::io::{Read, Write};
use std::net::{IpAddr, SocketAddr, TcpListener, UdpSocket};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

const A: u16 = 1;
const CNAME: u16 = 5;
const MX: u16 = 15;
const TXT: u16 = 16;
const AAAA: u16 = 28;
const TLSA: u16 = 52;

/// A record's type and its data in wire format.
type Record = (u16, Vec<u8>);

/// A zone's records and those who ask for them. Dropping it ends its threads.
pub(crate) struct Zone {
    records: Arc<Mutex<Vec<(String, Record)>>>,
    questions: Arc<AtomicUsize>,
    address: SocketAddr,
    alive: Arc<()>,
}

impl Zone {
    /// A zone without names. Every question about a name that is not in it is answered by NXDOMAIN.
    pub(crate) fn new() -> Zone {
        // The same port for both, so that a truncated answer can be asked for again.
        let (udp, tcp) = (0..50)
            .find_map(|_| {
                let udp = UdpSocket::bind("127.0.0.1:0").ok()?;
                let tcp = TcpListener::bind(udp.local_addr().ok()?).ok()?;
                Some((udp, tcp))
            })
            .expect("a free port");
        let zone = Zone {
            records: Arc::default(),
            questions: Arc::default(),
            address: udp.local_addr().expect("an address"),
            alive: Arc::new(()),
        };
        udp.set_read_timeout(Some(Duration::from_millis(100))).expect("a timeout");
        tcp.set_nonblocking(true).expect("a listener that does not block");
        let (records, questions, alive) =
            (Arc::clone(&zone.records), Arc::clone(&zone.questions), Arc::downgrade(&zone.alive));
        std::thread::spawn(move || {
            let mut buffer = [0; 1500];
            while alive.strong_count() > 0 {
                if let Ok((len, from)) = udp.recv_from(&mut buffer) {
                    questions.fetch_add(1, Ordering::Relaxed);
                    let answer = answer(&records.lock().expect("records"), &buffer[..len], 512);
                    let _ = udp.send_to(&answer, from);
                }
            }
        });
        let (records, alive) = (Arc::clone(&zone.records), Arc::downgrade(&zone.alive));
        std::thread::spawn(move || {
            while alive.strong_count() > 0 {
                let Ok((mut stream, _)) = tcp.accept() else {
                    std::thread::sleep(Duration::from_millis(20));
                    continue;
                };
                let _ = stream.set_nonblocking(false);
                let _ = stream.set_read_timeout(Some(Duration::from_secs(1)));
                let mut len = [0; 2];
                while stream.read_exact(&mut len).is_ok() {
                    let mut question = vec![0; usize::from(u16::from_be_bytes(len))];
                    if stream.read_exact(&mut question).is_err() {
                        break;
                    }
                    let answer = answer(&records.lock().expect("records"), &question, usize::MAX);
                    let _ = stream.write_all(&(answer.len() as u16).to_be_bytes());
                    let _ = stream.write_all(&answer);
                }
            }
        });
        zone
    }

    /// The lines that make a server ask here.
    pub(crate) fn config(&self) -> String {
        format!("[dns]\nservers = [\"{}\"]\ntimeout = \"2s\"\n", self.address)
    }

    /// How often it was asked over UDP.
    pub(crate) fn questions(&self) -> usize {
        self.questions.load(Ordering::Relaxed)
    }

    fn add(&self, name: &str, kind: u16, data: Vec<u8>) -> &Zone {
        self.records.lock().expect("records").push((name.to_lowercase(), (kind, data)));
        self
    }

    /// An address of a host.
    pub(crate) fn address(&self, name: &str, address: &str) -> &Zone {
        match address.parse().expect("an address") {
            IpAddr::V4(address) => self.add(name, A, address.octets().to_vec()),
            IpAddr::V6(address) => self.add(name, AAAA, address.octets().to_vec()),
        }
    }

    /// A mail exchanger of a domain; `.` for a domain without mail.
    pub(crate) fn mx(&self, name: &str, preference: u16, host: &str) -> &Zone {
        self.add(name, MX, [preference.to_be_bytes().to_vec(), wire(host)].concat())
    }

    /// Text, in strings of at most 255 octets.
    pub(crate) fn txt(&self, name: &str, text: &str) -> &Zone {
        let strings = text.as_bytes().chunks(255).flat_map(|piece| [&[piece.len() as u8], piece].concat());
        self.add(name, TXT, strings.collect())
    }

    /// Another name of a host.
    pub(crate) fn cname(&self, name: &str, host: &str) -> &Zone {
        self.add(name, CNAME, wire(host))
    }

    /// A certificate association (RFC 6698 §2.1).
    pub(crate) fn tlsa(&self, name: &str, fields: [u8; 3], data: &[u8]) -> &Zone {
        self.add(name, TLSA, [&fields, data].concat())
    }

    /// Takes all records of a name away.
    pub(crate) fn remove(&self, name: &str) {
        self.records.lock().expect("records").retain(|(have, _)| !have.eq_ignore_ascii_case(name));
    }
}

/// A name in wire format.
fn wire(name: &str) -> Vec<u8> {
    let labels = name.split('.').filter(|label| !label.is_empty());
    let mut octets: Vec<u8> = labels.flat_map(|label| [&[label.len() as u8], label.as_bytes()].concat()).collect();
    octets.push(0);
    octets
}

fn answer(records: &[(String, Record)], question: &[u8], most: usize) -> Vec<u8> {
    let Some((name, kind, end)) = asked(question) else { return Vec::new() };
    let known = records.iter().any(|(have, _)| *have == name);
    let mut found = Vec::new();
    let mut at = name;
    // A chain of other names is followed, as a recursive server does.
    for _ in 0..8 {
        let of = |wanted| records.iter().filter(|(have, _)| *have == at).filter(move |(_, (kind, _))| *kind == wanted);
        found.extend(of(kind).map(|(_, record)| (at.clone(), record)));
        let Some((_, alias)) = of(CNAME).next().filter(|_| kind != CNAME) else { break };
        found.push((at.clone(), alias));
        at = labels(&alias.1);
    }
    let mut reply = question[..2].to_vec();
    // QR, RD and RA; name error when there is nothing of that name.
    reply.extend([0x81, if known { 0x80 } else { 0x83 }, 0, 1]);
    reply.extend((found.len() as u16).to_be_bytes());
    reply.extend([0; 4]);
    reply.extend(&question[12..end]);
    for (name, (kind, data)) in found {
        reply.extend(wire(&name));
        reply.extend(kind.to_be_bytes());
        // IN, for one second.
        reply.extend([0, 1, 0, 0, 0, 1]);
        reply.extend((data.len() as u16).to_be_bytes());
        reply.extend(data);
    }
    if reply.len() > most {
        reply.truncate(end);
        reply[2] |= 0x02;
        reply[6..12].fill(0);
    }
    reply
}

/// The name that is asked for, the type, and where the question ends.
fn asked(question: &[u8]) -> Option<(String, u16, usize)> {
    let mut end = 12;
    while *question.get(end)? != 0 {
        end += usize::from(question[end]) + 1;
    }
    let name = labels(question.get(12..)?);
    let kind = u16::from_be_bytes([*question.get(end + 1)?, *question.get(end + 2)?]);
    Some((name, kind, end + 5)).filter(|(.., end)| *end <= question.len())
}

fn labels(wire: &[u8]) -> String {
    let mut labels = Vec::new();
    let mut rest = wire;
    while let Some((&len, behind)) = rest.split_first().filter(|(len, _)| **len != 0) {
        let (label, behind) = behind.split_at(usize::from(len).min(behind.len()));
        labels.push(String::from_utf8_lossy(label).to_lowercase());
        rest = behind;
    }
    labels.join(".")
}
