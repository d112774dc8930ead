//! DANE: which certificates a TLSA record means.
//!
//! RFC 6698 §2.1, RFC 7671 §5, RFC 7672 §3.1. For mail only usages 2 and 3 count. Whether the chain below a trust anchor
//! holds (dates, signatures, names) is for a TLS library to say; here certificates are only compared.

use sha2::{Digest, Sha256, Sha512};

/// A TLSA record (RFC 6698 §2.1), its numbers as they came.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Tlsa {
    /// §2.1.1: what the data names.
    pub usage: u8,
    /// §2.1.2: which part of the certificate.
    pub selector: u8,
    /// §2.1.3: how it is compared.
    pub matching: u8,
    /// §2.1.4: what it is compared with.
    pub data: Vec<u8>,
}

/// §2.1.1: the data names a trust anchor.
const DANE_TA: u8 = 2;
/// §2.1.1: the data names the server's own certificate.
const DANE_EE: u8 = 3;

/// Which certificate of a chain a set of records means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Meant {
    /// The server's own: nothing else about it matters.
    // RFC 7672 §3.1.1: neither its names nor its dates are looked at.
    EndEntity,
    /// The one at this place of the chain, the server's own being 0: the chain must hold up to it, names included.
    Anchor(usize),
    /// None of them.
    None,
}

impl Tlsa {
    /// Whether mail can go by this record.
    // RFC 7672 §3.1.3: usages 0 and 1 are not for mail. RFC 7671 §5: what is not known can't be used.
    #[must_use]
    pub fn is_usable(&self) -> bool {
        let length = match self.matching {
            0 => !self.data.is_empty(),
            1 => self.data.len() == 32,
            2 => self.data.len() == 64,
            _ => false,
        };
        matches!(self.usage, DANE_TA | DANE_EE) && self.selector <= 1 && length
    }

    /// Whether the record's data is this certificate's.
    #[must_use]
    pub fn matches(&self, certificate: &[u8]) -> bool {
        let part = match self.selector {
            0 => Some(certificate),
            1 => public_key_info(certificate),
            _ => None,
        };
        let Some(part) = part.filter(|_| self.is_usable()) else { return false };
        match self.matching {
            0 => self.data == part,
            1 => self.data == Sha256::digest(part).as_slice(),
            2 => self.data == Sha512::digest(part).as_slice(),
            _ => false,
        }
    }
}

/// Which certificate of a chain (DER, the server's own first) these records mean; the server's own is preferred.
#[must_use]
pub fn meant(records: &[Tlsa], chain: &[&[u8]]) -> Meant {
    let means = |usage: u8, certificate: &[u8]| {
        records.iter().any(|record| record.usage == usage && record.matches(certificate))
    };
    if chain.first().is_some_and(|certificate| means(DANE_EE, certificate)) {
        return Meant::EndEntity;
    }
    chain.iter().position(|certificate| means(DANE_TA, certificate)).map_or(Meant::None, Meant::Anchor)
}

/// The SubjectPublicKeyInfo of a certificate, its tag and length included (RFC 5280 §4.1).
#[must_use]
pub fn public_key_info(certificate: &[u8]) -> Option<&[u8]> {
    let (certificate, _) = sequence(certificate)?;
    let (mut rest, _) = sequence(certificate)?;
    // The version is optional; then serial number, algorithm, issuer, validity, subject.
    if let Some((0xa0, _, behind)) = element(rest) {
        rest = behind;
    }
    for _ in 0..5 {
        rest = element(rest)?.2;
    }
    let (_, behind) = sequence(rest)?;
    rest.get(..rest.len() - behind.len())
}

/// A SEQUENCE: its content, and what stands behind it.
fn sequence(der: &[u8]) -> Option<(&[u8], &[u8])> {
    element(der).filter(|(tag, _, _)| *tag == 0x30).map(|(_, content, behind)| (content, behind))
}

/// One element of DER: its tag, its content, and what stands behind it.
fn element(der: &[u8]) -> Option<(u8, &[u8], &[u8])> {
    let (&tag, rest) = der.split_first()?;
    let (&first, rest) = rest.split_first()?;
    let (length, rest) = match first {
        0..=0x7f => (usize::from(first), rest),
        0x81..=0x84 => {
            let (digits, rest) = rest.split_at_checked(usize::from(first & 0x7f))?;
            (digits.iter().fold(0_usize, |length, digit| length << 8 | usize::from(*digit)), rest)
        }
        _ => return None,
    };
    let (content, rest) = rest.split_at_checked(length)?;
    Some((tag, content, rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A certificate's shape with this key and nothing that matters beside it.
    fn certificate(key: &[u8], version: bool) -> Vec<u8> {
        let wrap = |tag: u8, content: &[u8]| {
            let mut out = vec![tag];
            match content.len() {
                len @ 0..=127 => out.push(len.to_le_bytes()[0]),
                len => out.extend([0x82, len.to_be_bytes()[6], len.to_be_bytes()[7]]),
            }
            out.extend_from_slice(content);
            out
        };
        let mut signed = Vec::new();
        if version {
            signed.extend(wrap(0xa0, &[2, 1, 2]));
        }
        signed.extend(wrap(2, &[1]));
        for _ in 0..4 {
            signed.extend(wrap(0x30, &[5, 0]));
        }
        signed.extend(wrap(0x30, key));
        signed.extend(wrap(0xa3, &[0; 200]));
        wrap(0x30, &[wrap(0x30, &signed), wrap(0x30, &[]), wrap(3, &[0])].concat())
    }

    #[test]
    fn the_key_is_found() {
        for version in [true, false] {
            assert_eq!(public_key_info(&certificate(&[9; 300], version)).map(<[u8]>::len), Some(304));
        }
        let whole = certificate(&[9; 30], true);
        for cut in 0..whole.len() {
            assert_eq!(public_key_info(&whole[..cut]), None, "{cut}");
        }
    }

    #[test]
    fn records_mean_certificates() {
        let (leaf, root) = (certificate(&[1; 30], true), certificate(&[2; 30], true));
        let chain: [&[u8]; 2] = [&leaf, &root];
        let record = |usage, selector, matching, data: &[u8]| Tlsa { usage, selector, matching, data: data.to_vec() };
        let key = public_key_info(&leaf).unwrap();
        for meaning in [
            record(3, 0, 0, &leaf),
            record(3, 1, 0, key),
            record(3, 0, 1, &Sha256::digest(&leaf)),
            record(3, 1, 1, &Sha256::digest(key)),
            record(3, 1, 2, &Sha512::digest(key)),
        ] {
            assert_eq!(meant(std::slice::from_ref(&meaning), &chain), Meant::EndEntity, "{meaning:?}");
            assert_eq!(meant(&[meaning], &[&root, &leaf]), Meant::None, "only the server's own counts");
        }
        assert_eq!(meant(&[record(2, 0, 1, &Sha256::digest(&root))], &chain), Meant::Anchor(1));
        assert_eq!(meant(&[record(2, 0, 1, &Sha256::digest(&leaf))], &chain), Meant::Anchor(0));
        for useless in [
            record(0, 0, 1, &Sha256::digest(&root)),
            record(1, 0, 1, &Sha256::digest(&leaf)),
            record(3, 2, 1, &Sha256::digest(&leaf)),
            record(3, 0, 3, &leaf),
            record(3, 0, 1, &leaf),
            record(3, 0, 0, b""),
            record(4, 0, 0, &leaf),
        ] {
            assert!(!useless.is_usable(), "{useless:?}");
            assert_eq!(meant(&[useless], &chain), Meant::None);
        }
        assert_eq!(meant(&[record(3, 0, 1, &[0; 32])], &chain), Meant::None);
        assert_eq!(meant(&[record(3, 0, 1, &[0; 32])], &[]), Meant::None);
    }
}
