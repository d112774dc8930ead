//! MIME: the structure of a message, and what a store keeps beside it.

use mailstore_trait::mime::{Ingest, Ingested, Limits, Scanner, Skeleton};

/// Octets the store is handed at once.
const PIECE: usize = 64 << 10;

/// The structure of a message that comes in pieces.
#[must_use]
pub fn skeleton(message: &[u8]) -> Skeleton {
    let mut scanner = Scanner::new(Limits::default());
    message.chunks(PIECE).for_each(|piece| scanner.push(piece));
    scanner.finish()
}

/// Structure, summary and preview of a message that comes in pieces.
#[must_use]
pub fn ingest(message: &[u8]) -> Ingested {
    let mut ingest = Ingest::new(Limits::default());
    message.chunks(PIECE).for_each(|piece| ingest.push(piece));
    ingest.finish()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::corpus;

    #[test]
    fn every_part_is_found() {
        let parts = |message: &[u8]| skeleton(message).view().parts().count();
        assert_eq!(parts(&corpus::small_message()), 1);
        assert_eq!(parts(&corpus::middle_message()), 5);
        assert_eq!(parts(&corpus::large_message()), 3);
        assert!(ingest(&corpus::middle_message()).summary.view().subject.starts_with("Tide tables"));
    }
}
