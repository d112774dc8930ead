//! POP3: commands and dot-stuffing. `cargo bench -p benches --bench pop3 -- [--quick] [FILTER]`

use benches::corpus::{self, Dots};
use benches::pop3::{parse_all, stuff};
use benches::race::{self, Options, Race};
use bytes::Bytes;

fn main() {
    let options = Options::from_args();
    race::head(&options);
    let octets = corpus::POP3.iter().map(|line| line.len()).sum();
    Race::new("pop3 parse mix of 8", corpus::POP3.len(), octets)
        .with("ours", || parse_all(&corpus::POP3))
        .run(&options);
    let bodies = [
        ("base64 64K", corpus::base64(64 << 10)),
        ("base64 5M", corpus::base64(5 << 20)),
        ("1 in 100 64K", corpus::text(64 << 10, Dots::Sparse)),
        ("all dots 64K", corpus::text(64 << 10, Dots::All)),
    ];
    for (name, body) in bodies {
        let body = Bytes::from(body);
        Race::new(format!("pop3 stuff {name}"), 1, body.len())
            .with("ours", || stuff(&body))
            .with("limit: count the LFs", || memchr::memchr_iter(b'\n', &body).count())
            .run(&options);
    }
}
