//! Ours and others, in turn, on the same inputs: `cargo run --release -- [--quick] [FILTER]`.
//!
//! The last column is our time divided by theirs: below 1 we are faster. What the peers do that we don't, and the other
//! way round, is said in `benches/README.md`.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a bench whose input is not understood has nothing to say")]

mod differ;
mod imap;
mod mime;
mod smtp;

use benches::race::{self, Options};

fn main() {
    let mut arguments = std::env::args().skip(1);
    if arguments.next().as_deref() == Some("differ") {
        let lines = arguments.next().and_then(|lines| lines.parse().ok()).unwrap_or(1_000_000);
        std::process::exit(i32::from(!differ::run(lines)));
    }
    let options = Options::from_args();
    race::head(&options);
    smtp::run(&options);
    imap::run(&options);
    mime::run(&options);
}
