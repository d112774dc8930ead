//! IMAP: commands and FETCH responses. `cargo bench -p benches --bench imap -- [--quick] [FILTER]`

use benches::corpus;
use benches::imap::{Row, parse_all};
use benches::race::{self, Options, Race};
use bytes::BytesMut;

fn main() {
    let options = Options::from_args();
    race::head(&options);
    let sets: [(&str, &[&[u8]]); 4] = [
        ("imap parse mix of 8", &corpus::IMAP),
        ("imap parse UID FETCH", &[corpus::IMAP_FETCH]),
        ("imap parse UID SEARCH", &[corpus::IMAP_SEARCH]),
        ("imap parse NOOP", &[corpus::IMAP_NOOP]),
    ];
    for (name, commands) in sets {
        let octets = commands.iter().map(|command| command.len()).sum();
        Race::new(name, commands.len(), octets).with("ours, framed and parsed", || parse_all(commands)).run(&options);
    }
    let row = Row::new(&corpus::middle_message());
    for (name, write) in Row::WRITERS {
        let mut written = BytesMut::new();
        write(&row, &mut written);
        let (mut out, mut copy) = (BytesMut::with_capacity(written.len()), BytesMut::with_capacity(written.len()));
        Race::new(name, 1, written.len())
            .with("ours", || {
                out.clear();
                write(&row, &mut out);
            })
            .with("limit: memcpy of the row", || {
                copy.clear();
                copy.extend_from_slice(std::hint::black_box(&written));
            })
            .run(&options);
    }
}
