//! Messages, skeletons, header text and encoded bodies.

use crate::mime::{Decoder, Fields, Ingest, Limits, Scanner, SkeletonRef, SummaryRef, TransferEncoding};

/// Any octets are a message: its parts lie inside it and inside each other, and how it is cut makes no difference.
pub fn mime_skeleton(data: &[u8]) {
    // The first octet picks limits and cut; small limits reach what a short input cannot.
    let Some((&pick, message)) = data.split_first() else { return };
    let small = usize::from(pick & 7) + 1;
    let limits = match pick & 8 {
        0 => Limits::default(),
        _ => Limits { depth: small, parts: small + 1, fields: small, field: small * 8, ..Limits::default() },
    };
    let mut scanner = Scanner::new(limits);
    scanner.push(message);
    let whole = scanner.finish();
    let mut ingest = Ingest::new(limits);
    for piece in message.chunks(usize::from(pick >> 4) + 1) {
        ingest.push(piece);
    }
    let ingested = ingest.finish();
    assert_eq!(ingested.skeleton, whole, "how a message is cut into pieces makes no difference");
    assert!(SummaryRef::from_bytes(ingested.summary.as_bytes()).is_ok(), "a summary reads its own octets");
    mime_skeleton_bytes(whole.as_bytes());
    assert_eq!(whole.view().size(), message.len() as u64);
}

/// Any octets are a skeleton or refused; one that is read keeps its parts inside each other.
pub fn mime_skeleton_bytes(data: &[u8]) {
    let Ok(view) = SkeletonRef::from_bytes(data) else {
        let _ = SummaryRef::from_bytes(data).map(|summary| summary.to_summary());
        return;
    };
    let size = view.size();
    for part in view.parts() {
        assert!(part.body().end <= size && part.lines() <= part.size(), "a part lies inside the message");
        for child in part.children() {
            assert!(child.header().start >= part.body().start && child.body().end <= part.body().end);
        }
        let content_type = part.content_type();
        for (name, _) in content_type.parameters {
            let name = String::from_utf8_lossy(name);
            let _ = content_type.parameters.decoded(&name);
        }
        let _ = (part.file_name(), part.disposition(), part.languages().count(), part.transfer_encoding());
        if let Some(envelope) = part.envelope() {
            let _ = (envelope.sender_or_from().count(), envelope.to.mailboxes().count());
        }
    }
    for path in [&[1][..], &[1, 1], &[2], &[1, 2, 1], &[u32::MAX], &[0]] {
        let _ = view.section(path);
    }
}

/// Any octets are a header section: its fields lie in order and are whole.
pub fn mime_headers(data: &[u8]) {
    let mut end = 0;
    for field in Fields::new(data) {
        assert!(field.offset >= end, "fields do not overlap");
        end = field.offset + field.octets.len();
        assert_eq!(data.get(field.offset..end), Some(field.octets));
        let value = field.unfolded();
        assert!(!value.iter().any(|octet| matches!(octet, 0 | b'\r' | b'\n')), "an unfolded value is one line");
        let _ = crate::mime::parse_date(&value);
        let _ = crate::mime::message_ids(&value).count();
        let subject = crate::mime::decode(&value);
        let _ = crate::mime::base_subject(&subject);
    }
}

/// Any octets are header text, and any octets are a body in either encoding.
pub fn mime_encoded_words(data: &[u8]) {
    let text = crate::mime::decode(data);
    assert!(!text.contains(['\r', '\n', '\0']), "decoded header text is one line");
    for encoding in [TransferEncoding::Base64, TransferEncoding::QuotedPrintable] {
        let mut whole = Vec::new();
        let mut decoder = Decoder::new(encoding);
        decoder.push(data, &mut whole);
        decoder.finish(&mut whole);
        let mut pieces = Vec::new();
        let mut decoder = Decoder::new(encoding);
        data.chunks(3).for_each(|piece| decoder.push(piece, &mut pieces));
        decoder.finish(&mut pieces);
        assert_eq!(whole, pieces, "how a body is cut into pieces makes no difference");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Runs `target` over its seeds, over each of them cut short, and with every octet another.
    fn replay(name: &str, target: fn(&[u8])) {
        let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../fuzz/seeds").join(name);
        let mut count = 0;
        for entry in std::fs::read_dir(&folder).expect("the seeds are in the repository") {
            let seed = std::fs::read(entry.unwrap().path()).unwrap();
            target(&seed);
            for at in 0..seed.len() {
                target(&seed[..at]);
                for flip in [0x01, 0x80, 0xFF] {
                    let mut other = seed.clone();
                    other[at] ^= flip;
                    target(&other);
                }
            }
            count += 1;
        }
        assert!(count >= 5, "{name} has {count} seeds");
    }

    #[test]
    fn mime_skeleton_seeds() {
        replay("mime_skeleton", mime_skeleton);
    }

    #[test]
    fn mime_skeleton_bytes_seeds() {
        replay("mime_skeleton_bytes", mime_skeleton_bytes);
    }

    #[test]
    fn mime_headers_seeds() {
        replay("mime_headers", mime_headers);
    }

    #[test]
    fn mime_encoded_words_seeds() {
        replay("mime_encoded_words", mime_encoded_words);
    }
}
