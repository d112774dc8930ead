//! MIME: structure and summary of messages. `cargo bench -p benches --bench mime -- [--quick] [FILTER]`

use benches::race::{self, Options, Race};
use benches::{corpus, mime};

fn main() {
    let options = Options::from_args();
    race::head(&options);
    let messages = [
        ("2K text", corpus::small_message()),
        ("30K multipart", corpus::middle_message()),
        ("5M base64", corpus::large_message()),
    ];
    for (name, message) in messages {
        Race::new(format!("mime {name}"), 1, message.len())
            .with("ours, structure", || mime::skeleton(&message))
            .with("ours, structure and summary", || mime::ingest(&message))
            .with("limit: count the LFs", || memchr::memchr_iter(b'\n', &message).count())
            .run(&options);
    }
}
