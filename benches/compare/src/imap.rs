//! IMAP: commands decoded and responses encoded, beside imap-codec.

use std::hint::black_box;

use benches::corpus;
use benches::imap::{Row, parse_all};
use benches::race::{Options, Race};
use bytes::BytesMut;
use imap_codec::decode::Decoder;
use imap_codec::encode::Encoder;
use imap_codec::{CommandCodec, ResponseCodec};

pub(crate) fn run(options: &Options) {
    let sets: [(&str, &[&[u8]]); 4] = [
        ("imap parse mix of 8", &corpus::IMAP),
        ("imap parse UID FETCH", &[corpus::IMAP_FETCH]),
        ("imap parse UID SEARCH", &[corpus::IMAP_SEARCH]),
        ("imap parse NOOP", &[corpus::IMAP_NOOP]),
    ];
    for (name, commands) in sets {
        assert_eq!(parse_all(commands), commands.len());
        assert_eq!(codec(commands), commands.len());
        let octets = commands.iter().map(|command| command.len()).sum();
        Race::new(name, commands.len(), octets)
            .with("ours, framed and parsed", || parse_all(commands))
            .with("imap-codec 2.0.0-alpha.10", || codec(commands))
            .run(options);
    }
    let row = Row::new(&corpus::middle_message());
    for (name, write) in Row::WRITERS {
        let mut out = BytesMut::new();
        write(&row, &mut out);
        let ours = out.clone();
        // The peer encodes what it understood of our row, so both write the same thing.
        let (rest, response) = ResponseCodec::default().decode(&ours).expect("our row is understood");
        assert!(rest.is_empty());
        let codec = ResponseCodec::default();
        Race::new(name, 1, ours.len())
            .with("ours", || {
                out.clear();
                write(&row, &mut out);
            })
            .with("imap-codec 2.0.0-alpha.10", || codec.encode(black_box(&response)).dump())
            .run(options);
    }
}

fn codec(commands: &[&[u8]]) -> usize {
    let codec = CommandCodec::default();
    commands.iter().filter(|command| codec.decode(black_box(command)).is_ok()).count()
}
