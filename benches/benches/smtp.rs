//! SMTP: commands, sessions, bodies. `cargo bench -p benches --bench smtp -- [--quick] [FILTER]`

use std::hint::black_box;

use benches::corpus::{self, Dots};
use benches::placed::Placed;
use benches::race::{self, Options, Race};
use benches::smtp::{Mta, Script, parse_all};

/// What one read from a socket brings at most.
const WINDOW: usize = 64 << 10;

fn main() {
    let options = Options::from_args();
    race::head(&options);
    let sets: [(&str, &[&[u8]]); 4] = [
        ("smtp parse mix of 8", &corpus::SMTP),
        ("smtp parse MAIL", &[corpus::SMTP_MAIL]),
        ("smtp parse RCPT", &[corpus::SMTP_RCPT]),
        ("smtp parse NOOP", &[corpus::SMTP_NOOP]),
    ];
    for (name, lines) in sets {
        let octets = lines.iter().map(|line| line.len()).sum();
        Race::new(name, lines.len(), octets)
            .with("ours", || parse_all(lines))
            .with("limit: find the line end", || ends(lines))
            .run(&options);
    }
    let mta = Mta::default();
    let session = Script::new(corpus::text(4096, Dots::Sparse));
    Race::new("smtp session, 4 KB", 1, session.octets()).with("ours", || session.play(&mta)).run(&options);
    let mut open = mta.open();
    Race::new("smtp NOOP in a session", 1, 6).with("ours", || open.feed(corpus::SMTP_NOOP)).run(&options);
    for (name, body) in bodies() {
        let mut open = mta.in_body();
        let body = Placed::copied(&body, open.input_address());
        let body = body.as_slice();
        let mut window = Placed::beside(body.as_ptr().addr(), WINDOW);
        Race::new(format!("smtp data {name}"), 1, body.len())
            .with("ours, session and all", || open.feed(body))
            .with("limit: memcpy into a window", || copy(body, &mut window))
            .run(&options);
    }
}

fn bodies() -> [(&'static str, Vec<u8>); 6] {
    [
        ("base64 64K", corpus::base64(64 << 10)),
        ("base64 5M", corpus::base64(5 << 20)),
        ("1 in 100 64K", corpus::text(64 << 10, Dots::Sparse)),
        ("1 in 100 5M", corpus::text(5 << 20, Dots::Sparse)),
        ("all dots 64K", corpus::text(64 << 10, Dots::All)),
        ("all dots 5M", corpus::text(5 << 20, Dots::All)),
    ]
}

fn ends(lines: &[&[u8]]) -> usize {
    lines.iter().filter_map(|line| memchr::memchr(b'\n', black_box(line))).sum()
}

fn copy(from: &[u8], window: &mut Placed) -> usize {
    let mut copied = 0;
    for piece in from.chunks(WINDOW) {
        window.emptied().extend_from_slice(black_box(piece));
        copied += black_box(window.as_slice()).len();
    }
    copied
}
