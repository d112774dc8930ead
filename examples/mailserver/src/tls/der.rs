//! The one thing that is read from a certificate's DER: which hash its signature uses (RFC 5280 §4.1).

/// The hashes of certificate signatures.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Hash {
    Sha256,
    Sha384,
    Sha512,
}

/// Object identifiers of signature algorithms, by the hash a channel binding takes for them.
const ALGORITHMS: [(&[u8], Hash); 8] = [
    // sha1WithRSAEncryption, ecdsa-with-SHA1: RFC 5929 §4.1 replaces SHA-1 by SHA-256.
    (&[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x05], Hash::Sha256),
    (&[0x2a, 0x86, 0x48, 0xce, 0x3d, 0x04, 0x01], Hash::Sha256),
    // sha256, sha384, sha512WithRSAEncryption.
    (&[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x0b], Hash::Sha256),
    (&[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x0c], Hash::Sha384),
    (&[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x0d], Hash::Sha512),
    // ecdsa-with-SHA256, -SHA384, -SHA512.
    (&[0x2a, 0x86, 0x48, 0xce, 0x3d, 0x04, 0x03, 0x02], Hash::Sha256),
    (&[0x2a, 0x86, 0x48, 0xce, 0x3d, 0x04, 0x03, 0x03], Hash::Sha384),
    (&[0x2a, 0x86, 0x48, 0xce, 0x3d, 0x04, 0x03, 0x04], Hash::Sha512),
];

const SEQUENCE: u8 = 0x30;
const OBJECT_IDENTIFIER: u8 = 0x06;

/// The hash of the certificate's own signature, when it is one of those above.
pub(super) fn signature_hash(certificate: &[u8]) -> Option<Hash> {
    let (content, _) = element(certificate, SEQUENCE)?;
    let (_, behind_tbs) = element(content, SEQUENCE)?;
    let (algorithm, _) = element(behind_tbs, SEQUENCE)?;
    let (identifier, _) = element(algorithm, OBJECT_IDENTIFIER)?;
    ALGORITHMS.iter().find(|(known, _)| *known == identifier).map(|(_, hash)| *hash)
}

/// The content of the element at the front, and what follows it.
fn element(der: &[u8], tag: u8) -> Option<(&[u8], &[u8])> {
    let (&first, rest) = der.split_first()?;
    let (&short, rest) = rest.split_first()?;
    let (len, rest) = if short < 0x80 {
        (usize::from(short), rest)
    } else {
        let (octets, rest) = rest.split_at_checked(usize::from(short & 0x7f))?;
        if octets.is_empty() || octets.len() > 4 {
            return None;
        }
        (octets.iter().fold(0, |len, &octet| len << 8 | usize::from(octet)), rest)
    };
    (first == tag).then(|| rest.split_at_checked(len)).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_self_signed_certificate_names_its_hash() {
        let pair = rcgen::KeyPair::generate_for(&rcgen::PKCS_ECDSA_P384_SHA384).unwrap();
        let made = rcgen::CertificateParams::new(vec!["a".to_owned()]).unwrap().self_signed(&pair).unwrap();
        assert_eq!(signature_hash(made.der()), Some(Hash::Sha384));
        let pair = rcgen::KeyPair::generate_for(&rcgen::PKCS_ED25519).unwrap();
        let made = rcgen::CertificateParams::new(vec!["a".to_owned()]).unwrap().self_signed(&pair).unwrap();
        assert_eq!(signature_hash(made.der()), None);
    }

    #[test]
    fn cut_off_certificates_name_none() {
        let pair = rcgen::KeyPair::generate().unwrap();
        let made = rcgen::CertificateParams::new(vec!["a".to_owned()]).unwrap().self_signed(&pair).unwrap();
        for len in 0..made.der().len() {
            assert_eq!(signature_hash(&made.der()[..len]), None);
        }
    }
}
