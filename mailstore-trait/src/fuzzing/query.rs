//! The search inside a message.

use crate::date::Timestamp;
use crate::mime::{Limits, Scanner};
use crate::query::message::MessageSearch;
use crate::query::{Filter, Need, Search, Test};

/// The first line is looked for in the rest: however the message is cut and whoever finds its structure, the answer is
/// the same.
pub fn query_message(data: &[u8]) {
    let (needle, message) = match memchr::memchr(b'\n', data) {
        Some(at) => data.split_at(at),
        None => (data, &b""[..]),
    };
    let needle = String::from_utf8_lossy(needle);
    let filters = [
        Filter::from(Test::body(&needle)),
        Filter::from(Test::text(&needle)),
        Filter::from(Test::header("Subject", &needle)),
        Filter::any([Test::header("X", &needle).into(), Filter::not(Test::body(&needle))]),
    ];
    for filter in filters {
        let search = Search::new(filter, Timestamp::default());
        let found = run(&search, message, usize::MAX, true);
        for (piece, scanned) in [(7, true), (usize::MAX, false), (5, false)] {
            assert_eq!(run(&search, message, piece, scanned), found, "in pieces of {piece}, skeleton {scanned}");
        }
    }
}

fn run(search: &Search, message: &[u8], piece: usize, scanned: bool) -> bool {
    let answers = search.filter().tests().map(|test| (test.need() == Need::Row).then_some(true)).collect();
    let mut run = MessageSearch::new(search, answers, message.len() as u64);
    if scanned {
        let mut scanner = Scanner::new(Limits::default());
        scanner.push(message);
        run = run.with_skeleton(search, scanner.finish().view());
    }
    while let Some(wanted) = run.wants() {
        let at = |offset| usize::try_from(offset).unwrap_or(usize::MAX).min(message.len());
        let octets = message.get(at(wanted.start)..at(wanted.end)).unwrap_or_default();
        run.feed(search, octets.get(..piece).unwrap_or(octets));
    }
    let decided = run.decided(search);
    assert!(decided.is_some(), "a message that was read is decided");
    decided == Some(true)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn query_message_seeds() {
        let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../fuzz/seeds/query_message");
        let mut count = 0;
        for entry in std::fs::read_dir(&folder).expect("the seeds are in the repository") {
            let seed = std::fs::read(entry.unwrap().path()).unwrap();
            query_message(&seed);
            for at in 0..seed.len() {
                query_message(&seed[..at]);
                let mut other = seed.clone();
                other[at] ^= 0x80;
                query_message(&other);
            }
            count += 1;
        }
        assert!(count >= 5, "{count} seeds");
    }
}
