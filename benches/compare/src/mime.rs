//! MIME: messages taken apart, beside mail-parser.

use std::hint::black_box;

use benches::race::{Options, Race};
use benches::{corpus, mime};
use mail_parser::MessageParser;

pub(crate) fn run(options: &Options) {
    let messages = [
        ("2K text", corpus::small_message()),
        ("30K multipart", corpus::middle_message()),
        ("5M base64", corpus::large_message()),
    ];
    let parser = MessageParser::default();
    for (name, message) in messages {
        let peer = parser.parse(&message).expect("a message");
        assert_eq!(mime::skeleton(&message).view().parts().count(), peer.parts.len());
        Race::new(format!("mime {name}"), 1, message.len())
            .with("ours, structure", || mime::skeleton(&message))
            .with("ours, structure and summary", || mime::ingest(&message))
            .with("mail-parser 0.11.9, decoding all", || parser.parse(black_box(&message[..])))
            .with("mail-parser 0.11.9, header only", || parser.parse_headers(black_box(&message[..])))
            .run(options);
    }
}
