//! The hash functions of SCRAM behind one type (RFC 5802 §2.2, §4).

use std::fmt;

use hmac::digest::Key;
use hmac::{EagerHash, Hmac, KeyInit, Mac};
use sha1::Sha1;
use sha2::{Sha256, Sha512};
use subtle::ConstantTimeEq;
use zeroize::Zeroize;

/// The hash in a SCRAM mechanism's name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[non_exhaustive]
pub enum ScramHash {
    /// SHA-1, 20 octets, RFC 5802.
    Sha1,
    /// SHA-256, 32 octets, RFC 7677.
    Sha256,
    /// SHA-512, 64 octets: named by the IANA family rule of RFC 5802 §10, still a draft.
    Sha512,
}

impl ScramHash {
    /// Every hash, weakest first.
    pub const ALL: [ScramHash; 3] = [ScramHash::Sha1, ScramHash::Sha256, ScramHash::Sha512];

    /// Octets of its output.
    pub const fn octets(self) -> usize {
        match self {
            ScramHash::Sha1 => 20,
            ScramHash::Sha256 => 32,
            ScramHash::Sha512 => 64,
        }
    }

    /// The mechanism's name without -PLUS; verifier records begin with it.
    pub const fn mechanism(self) -> &'static str {
        match self {
            ScramHash::Sha1 => "SCRAM-SHA-1",
            ScramHash::Sha256 => "SCRAM-SHA-256",
            ScramHash::Sha512 => "SCRAM-SHA-512",
        }
    }

    /// RFC 5802 §2.2: H(str).
    pub(super) fn hash(self, octets: &[u8]) -> Digest {
        fn run<D: sha2::Digest>(octets: &[u8]) -> Digest {
            Digest::from_slice(&D::digest(octets)).unwrap_or_default()
        }
        match self {
            ScramHash::Sha1 => run::<Sha1>(octets),
            ScramHash::Sha256 => run::<Sha256>(octets),
            ScramHash::Sha512 => run::<Sha512>(octets),
        }
    }

    /// RFC 5802 §2.2: HMAC(key, str), the string given in parts.
    pub(super) fn hmac(self, key: &[u8], parts: &[&[u8]]) -> Digest {
        match self {
            ScramHash::Sha1 => hmac::<Sha1>(key, parts),
            ScramHash::Sha256 => hmac::<Sha256>(key, parts),
            ScramHash::Sha512 => hmac::<Sha512>(key, parts),
        }
    }

    /// RFC 5802 §2.2: Hi(str, salt, i), which is PBKDF2 with one block of output.
    pub(super) fn salted_password(self, prepared: &[u8], salt: &[u8], iterations: u32) -> Digest {
        let mut digest = Digest { octets: [0; 64], len: self.octets() };
        let out = digest.as_mut_slice();
        match self {
            ScramHash::Sha1 => pbkdf2::pbkdf2_hmac::<Sha1>(prepared, salt, iterations, out),
            ScramHash::Sha256 => pbkdf2::pbkdf2_hmac::<Sha256>(prepared, salt, iterations, out),
            ScramHash::Sha512 => pbkdf2::pbkdf2_hmac::<Sha512>(prepared, salt, iterations, out),
        }
        digest
    }
}

impl fmt::Display for ScramHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.mechanism())
    }
}

fn hmac<D: EagerHash>(key: &[u8], parts: &[&[u8]]) -> Digest {
    // RFC 2104 §2: a key longer than a block is hashed, a shorter one padded with zeros. Done here because a key of
    // exactly one block cannot be refused.
    let mut block = Key::<Hmac<D>>::default();
    if key.len() > block.len() {
        let hashed = <D as sha2::Digest>::digest(key);
        block.iter_mut().zip(hashed.iter()).for_each(|(to, from)| *to = *from);
    } else {
        block.iter_mut().zip(key).for_each(|(to, from)| *to = *from);
    }
    let mut mac = Hmac::<D>::new(&block);
    block.as_mut_slice().zeroize();
    for part in parts {
        mac.update(part);
    }
    Digest::from_slice(&mac.finalize().into_bytes()).unwrap_or_default()
}

/// The output of a hash: at most 64 octets, wiped when dropped, compared in constant time.
#[derive(Clone)]
pub(super) struct Digest {
    octets: [u8; 64],
    len: usize,
}

impl Digest {
    /// `None` when there are more octets than any hash has.
    pub(super) fn from_slice(from: &[u8]) -> Option<Digest> {
        let mut digest = Digest { octets: [0; 64], len: from.len() };
        digest.octets.get_mut(..from.len())?.copy_from_slice(from);
        Some(digest)
    }

    pub(super) fn as_slice(&self) -> &[u8] {
        self.octets.get(..self.len).unwrap_or_default()
    }

    fn as_mut_slice(&mut self) -> &mut [u8] {
        self.octets.get_mut(..self.len).unwrap_or_default()
    }

    /// RFC 5802 §2.2: XOR, of equal lengths.
    pub(super) fn xor(mut self, other: &Digest) -> Digest {
        self.octets.iter_mut().zip(other.octets).for_each(|(to, from)| *to ^= from);
        self
    }
}

impl Drop for Digest {
    fn drop(&mut self) {
        self.octets.zeroize();
    }
}

impl Default for Digest {
    /// No octets: equal to no hash's output.
    fn default() -> Digest {
        Digest { octets: [0; 64], len: 0 }
    }
}

impl PartialEq for Digest {
    fn eq(&self, other: &Digest) -> bool {
        self.as_slice().ct_eq(other.as_slice()).into()
    }
}

impl Eq for Digest {}

#[cfg(test)]
mod tests {
    use super::*;

    fn hex(digest: &Digest) -> String {
        digest.as_slice().iter().map(|octet| format!("{octet:02x}")).collect()
    }

    #[test]
    fn hmac_with_a_key_shorter_and_longer_than_a_block() {
        // RFC 4231 §4.3 and §4.7.
        assert_eq!(
            hex(&ScramHash::Sha256.hmac(b"Jefe", &[b"what do ya want ", b"for nothing?"])),
            "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843"
        );
        assert_eq!(
            hex(&ScramHash::Sha256.hmac(&[0xaa; 131], &[b"Test Using Larger Than Block-Size Key - Hash Key First"])),
            "60e431591ee0b67f0d8a26aacbf5b77f8e0bc6213728c5140546040f0ee37f54"
        );
        // RFC 2202 §3, case 2.
        assert_eq!(
            hex(&ScramHash::Sha1.hmac(b"Jefe", &[b"what do ya want for nothing?"])),
            "effcdf6ae5eb2fa2d27416d5f184df9c259a7c79"
        );
    }

    #[test]
    fn a_digest_is_as_long_as_its_hash() {
        for hash in ScramHash::ALL {
            assert_eq!(hash.hash(b"").as_slice().len(), hash.octets());
            assert_eq!(hash.hmac(b"", &[]).as_slice().len(), hash.octets());
            assert_eq!(hash.salted_password(b"", b"", 1).as_slice().len(), hash.octets());
        }
        assert!(Digest::from_slice(&[0; 65]).is_none());
        assert!(ScramHash::Sha1.hash(b"") != Digest::default());
    }
}
