//! SMTP: commands and bodies, beside Stalwart's smtp-proto and smtp-codec.

use std::hint::black_box;

use benches::corpus::{self, Dots};
use benches::placed::Placed;
use benches::race::{Options, Race};
use benches::smtp::{Mta, parse_all};
use stalwart_smtp::request::receiver::DataReceiver;

/// What one read from a socket brings at most.
const WINDOW: usize = 64 << 10;

pub(crate) fn run(options: &Options) {
    let sets: [(&str, &[&[u8]]); 4] = [
        ("smtp parse mix of 8", &corpus::SMTP),
        ("smtp parse MAIL", &[corpus::SMTP_MAIL]),
        ("smtp parse RCPT", &[corpus::SMTP_RCPT]),
        ("smtp parse NOOP", &[corpus::SMTP_NOOP]),
    ];
    for (name, lines) in sets {
        assert_eq!(parse_all(lines), lines.len());
        assert_eq!(stalwart(lines), lines.len());
        assert_eq!(codec(lines), lines.len());
        let octets = lines.iter().map(|line| line.len()).sum();
        Race::new(name, lines.len(), octets)
            .with("ours", || parse_all(lines))
            .with("smtp-proto 0.2.5", || stalwart(lines))
            .with("smtp-codec 0.2.0", || codec(lines))
            .run(options);
    }
    let bodies = [
        ("base64 64K", corpus::base64(64 << 10)),
        ("base64 5M", corpus::base64(5 << 20)),
        ("1 in 100 64K", corpus::text(64 << 10, Dots::Sparse)),
        ("1 in 100 5M", corpus::text(5 << 20, Dots::Sparse)),
        ("all dots 64K", corpus::text(64 << 10, Dots::All)),
        ("all dots 5M", corpus::text(5 << 20, Dots::All)),
    ];
    let mta = Mta::default();
    for (name, body) in bodies {
        agree(&mta, &body);
        let mut open = mta.in_body();
        let body = Placed::copied(&body, open.input_address());
        let mut reading = Reading::new(body.address());
        let mut lying = Placed::beside(body.address(), body.as_slice().len());
        let body = body.as_slice();
        Race::new(format!("smtp data {name}"), 1, body.len())
            .with("ours, read into the window", || open.feed(body))
            .with("smtp-proto 0.2.5, read into a window", || reading.feed(body))
            .with("smtp-proto 0.2.5, body lies there", || {
                DataReceiver::new().ingest(&mut black_box(body).iter(), lying.emptied())
            })
            .run(options);
    }
}

fn stalwart(lines: &[&[u8]]) -> usize {
    lines.iter().filter(|line| stalwart_smtp::Request::parse(&mut black_box(**line).iter()).is_ok()).count()
}

fn codec(lines: &[&[u8]]) -> usize {
    lines.iter().filter(|line| smtp_codec::parse::command::command(black_box(line)).is_ok()).count()
}

/// The peer as a server runs it: octets are read into a window, a receiver goes over them and gathers the body.
struct Reading {
    window: Placed,
    receiver: DataReceiver,
    body: Placed,
}

impl Reading {
    /// Reads from a buffer at this address.
    fn new(from: usize) -> Reading {
        let window = Placed::beside(from, WINDOW);
        let body = Placed::beside(window.address(), WINDOW);
        Reading { window, receiver: DataReceiver::new(), body }
    }

    /// Hands on what was gathered at every read: keeping all of a large body would count page faults against the peer.
    fn feed(&mut self, octets: &[u8]) -> usize {
        let mut taken = 0;
        for piece in octets.chunks(WINDOW) {
            self.window.emptied().extend_from_slice(black_box(piece));
            let ended = self.receiver.ingest(&mut self.window.as_slice().iter(), self.body.emptied());
            assert!(!ended, "the body does not end");
            taken += black_box(self.body.as_slice()).len();
        }
        taken
    }
}

/// Both take as many octets of this body. The first line has no dot: there this peer's fresh receiver errs.
fn agree(mta: &Mta, body: &[u8]) {
    let mut open = mta.in_body();
    open.feed(body);
    let mut whole = Vec::new();
    DataReceiver::new().ingest(&mut body.iter(), &mut whole);
    assert_eq!(open.taken, whole.len() as u64);
    assert_eq!(Reading::new(0).feed(body), whole.len());
}
