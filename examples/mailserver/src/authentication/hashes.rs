//! The hashes of a body that a message's signatures ask for, computed as it goes by.

use mail_auth::AuthenticatedMessage;
use mail_auth::common::crypto::HashAlgorithm;
use mail_auth::dkim::Canonicalization;
use sha1::Sha1;
use sha2::{Digest, Sha256};

use super::canonical::Canonical;

/// One hash for each way in which the signatures want the body.
#[derive(Debug, Default)]
pub(super) struct Hashes {
    hashes: Vec<Hash>,
}

#[derive(Debug)]
struct Hash {
    rules: Canonicalization,
    algorithm: HashAlgorithm,
    canonical: Canonical,
    digest: Sum,
}

#[derive(Debug)]
enum Sum {
    Sha1(Sha1),
    Sha256(Sha256),
}

impl Sum {
    fn update(&mut self, octets: &[u8]) {
        match self {
            Sum::Sha1(digest) => digest.update(octets),
            Sum::Sha256(digest) => digest.update(octets),
        }
    }

    fn finish(self) -> Vec<u8> {
        match self {
            Sum::Sha1(digest) => digest.finalize().to_vec(),
            Sum::Sha256(digest) => digest.finalize().to_vec(),
        }
    }
}

impl Hashes {
    /// What the signatures of this header want: two rules and two algorithms make four hashes at most. A signature of a
    /// part of the body (`l=`) is none: anything could stand behind that part.
    pub(super) fn of(header: &[u8]) -> Hashes {
        let parsed = AuthenticatedMessage::parse(header);
        let wanted = parsed.iter().flat_map(|parsed| &parsed.body_hashes);
        let hashes = wanted.filter(|(_, _, length, _)| *length == 0).map(|(rules, algorithm, ..)| Hash {
            rules: *rules,
            algorithm: *algorithm,
            canonical: Canonical::new(*rules),
            digest: match algorithm {
                HashAlgorithm::Sha1 => Sum::Sha1(Sha1::new()),
                HashAlgorithm::Sha256 => Sum::Sha256(Sha256::new()),
            },
        });
        Hashes { hashes: hashes.collect() }
    }

    /// Takes the body's next octets.
    pub(super) fn push(&mut self, octets: &[u8]) {
        for hash in &mut self.hashes {
            let digest = &mut hash.digest;
            hash.canonical.push(octets, &mut |octets| digest.update(octets));
        }
    }

    /// Puts the hashes where those of an empty body are: the message was parsed without its body.
    pub(super) fn fill(self, message: &mut AuthenticatedMessage<'_>) {
        for Hash { rules, algorithm, canonical, mut digest } in self.hashes {
            canonical.finish(&mut |octets| digest.update(octets));
            let sum = digest.finish();
            let mut wanted = message.body_hashes.iter_mut();
            let found = wanted.find(|(r, a, length, _)| *r == rules && *a == algorithm && *length == 0);
            if let Some((.., hash)) = found {
                *hash = sum;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEADER: &[u8] =
        b"DKIM-Signature: v=1; a=rsa-sha256; c=relaxed/simple; d=x.example; s=a; h=from; bh=eA==; b=eA==\r\n\
        DKIM-Signature: v=1; a=rsa-sha256; c=relaxed/relaxed; d=x.example; s=a; h=from; bh=eA==; b=eA==\r\n\
        DKIM-Signature: v=1; a=rsa-sha256; c=relaxed/relaxed; d=y.example; s=a; h=from; bh=eA==; b=eA==\r\n\
        From: a@x.example\r\n\r\n";

    #[test]
    fn they_are_those_of_the_whole_message() {
        let body = b"some text, blanks within  it\r\n\r\n\r\nand more \t\r\n\r\n\r\n".repeat(50);
        let message = [HEADER, &body].concat();
        let whole = AuthenticatedMessage::parse(&message).unwrap();
        assert_eq!(whole.body_hashes.len(), 2, "two signatures want the same");
        for step in [1, 7, 100, 10_000] {
            let mut hashes = Hashes::of(HEADER);
            body.chunks(step).for_each(|piece| hashes.push(piece));
            let mut parsed = AuthenticatedMessage::parse(HEADER).unwrap();
            hashes.fill(&mut parsed);
            assert_eq!(parsed.body_hashes, whole.body_hashes, "by {step}");
        }
    }
}
