//! DKIM signatures on what users send: RFC 6376, RFC 8463.

use std::path::Path;
use std::sync::Arc;

use base64::Engine;
use bytes::Bytes;
use mail_auth::common::crypto::{DkimKey, Ed25519Key, RsaKey, Sha256};
use mail_auth::common::headers::HeaderWriter;
use mail_auth::dkim::{Canonicalization, DkimSigner, DkimSigningStream, Done};
use mailstore_trait::future::BoxFuture;
use rustls_pki_types::PrivateKeyDer;
use rustls_pki_types::pem::PemObject;
use smtp_proto::reply::{EnhancedCode, Reply};
use smtp_proto::request::{Envelope, Origin};
use smtp_proto::store::{Accepted, Filter, Filtering, Verdict};

use crate::authentication::canonical::Canonical;
use crate::authentication::split::Split;
use crate::config::Dkim;

/// The fields that are signed, where they are there. From, Subject and the other fields readers see are named twice, so
/// that none can be added later (RFC 6376 §8.15).
const FIELDS: [&str; 24] = [
    "From",
    "From",
    "Sender",
    "Reply-To",
    "Subject",
    "Subject",
    "Date",
    "Date",
    "To",
    "To",
    "Cc",
    "Cc",
    "Message-ID",
    "In-Reply-To",
    "References",
    "MIME-Version",
    "Content-Type",
    "Content-Type",
    "Content-Transfer-Encoding",
    "List-Id",
    "List-Post",
    "List-Unsubscribe",
    "List-Unsubscribe-Post",
    "Autocrypt",
];

/// Why a key can't be used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SigningError {
    #[error("{path}: {source}")]
    Read { path: String, source: rustls_pki_types::pem::Error },
    #[error("{path}: neither an RSA key of at least 1024 bits nor an Ed25519 key: {problem}")]
    Key { path: String, problem: String },
}

/// A domain's key.
struct Key {
    domain: String,
    selector: String,
    signer: DkimSigner<DkimKey, Done>,
    /// The record that publishes it.
    record: String,
}

/// Signs what users of these domains submit. Its keys stay as long as the program: a signature that is being made borrows
/// one.
#[derive(Clone, Copy)]
pub(crate) struct Signing {
    keys: &'static [Key],
}

impl Signing {
    pub(crate) fn new(config: &[Dkim]) -> Result<Signing, SigningError> {
        let keys: Vec<Key> = config.iter().map(key).collect::<Result<_, _>>()?;
        Ok(Signing { keys: keys.leak() })
    }

    /// What DNS must say: name and text of each TXT record.
    pub(crate) fn records(&self) -> impl Iterator<Item = (String, &str)> {
        self.keys.iter().map(|key| (format!("{}._domainkey.{}", key.selector, key.domain), key.record.as_str()))
    }
}

fn key(config: &Dkim) -> Result<Key, SigningError> {
    let path = || config.key.display().to_string();
    let der = private_key(&config.key).map_err(|source| SigningError::Read { path: path(), source })?;
    let base64 = base64::engine::general_purpose::STANDARD;
    let rsa = RsaKey::<Sha256>::from_key_der(der.clone_key());
    let (key, record) = match (rsa, &der) {
        (Ok(key), _) => {
            let record = format!("v=DKIM1; k=rsa; p={}", base64.encode(public_key_info(&key.public_key())));
            (DkimKey::from(key), record)
        }
        (Err(problem), PrivateKeyDer::Pkcs8(der)) => {
            let key = Ed25519Key::from_pkcs8_maybe_unchecked_der(der.secret_pkcs8_der())
                .map_err(|_| SigningError::Key { path: path(), problem: problem.to_string() })?;
            let record = format!("v=DKIM1; k=ed25519; p={}", base64.encode(key.public_key()));
            (DkimKey::from(key), record)
        }
        (Err(problem), _) => return Err(SigningError::Key { path: path(), problem: problem.to_string() }),
    };
    let signer = DkimSigner::from_key(key)
        .domain(&config.domain)
        .selector(&config.selector)
        .headers(FIELDS)
        .header_canonicalization(Canonicalization::Relaxed)
        .body_canonicalization(Canonicalization::Relaxed);
    Ok(Key { domain: config.domain.clone(), selector: config.selector.clone(), signer, record })
}

/// An RSA key as what verifiers read everywhere: a SubjectPublicKeyInfo (RFC 5280 §4.1, RFC 3279 §2.3.1).
// RFC 6376 §3.6.1 says RSAPublicKey, its examples and all software that makes records have this around it.
fn public_key_info(key: &[u8]) -> Vec<u8> {
    const SEQUENCE: u8 = 0x30;
    const BIT_STRING: u8 = 0x03;
    // rsaEncryption, and NULL for its parameters.
    const ALGORITHM: [u8; 15] = [0x30, 13, 6, 9, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 1, 1, 5, 0];
    // No bits of the last octet are unused.
    let bits = element(BIT_STRING, &[&[0], key].concat());
    element(SEQUENCE, &[&ALGORITHM, bits.as_slice()].concat())
}

fn element(tag: u8, content: &[u8]) -> Vec<u8> {
    let len = content.len().to_be_bytes();
    let len = len.get(len.iter().take_while(|octet| **octet == 0).count()..).unwrap_or_default();
    let mut der = vec![tag];
    match len {
        [] => der.push(0),
        [short @ 0..=0x7f] => der.push(*short),
        long => {
            der.push(0x80 | u8::try_from(long.len()).unwrap_or(8));
            der.extend_from_slice(long);
        }
    }
    der.extend_from_slice(content);
    der
}

fn private_key(path: &Path) -> Result<PrivateKeyDer<'static>, rustls_pki_types::pem::Error> {
    PrivateKeyDer::from_pem_file(path)
}

impl Filter for Signing {
    fn open(&self, origin: &Arc<Origin>, envelope: &Arc<Envelope>) -> Option<Box<dyn Filtering>> {
        origin.identity.as_ref()?;
        let domain = envelope.sender.address.as_ref()?.domain()?;
        let keys = self.keys.iter().filter(|key| key.domain.eq_ignore_ascii_case(domain));
        let streams: Vec<_> = keys.map(|key| key.signer.sign_streaming()).collect();
        (!streams.is_empty()).then(|| Box::new(Looking { streams, begun: None, waiting: Vec::new() }) as _)
    }
}

/// A message that is being signed, by each key of its sender's domain.
struct Looking {
    streams: Vec<DkimSigningStream<'static, DkimKey>>,
    /// Once it is known what goes in front of it.
    begun: Option<(Split, Canonical)>,
    /// The message's pieces until then: slices of what was read, not copies.
    waiting: Vec<Bytes>,
}

impl Looking {
    fn write(&mut self, octets: &[u8]) {
        let Some((split, canonical)) = &mut self.begun else { return };
        let (header, body) = split.split(octets);
        for stream in &mut self.streams {
            stream.write(header);
        }
        // Canonical already when it is written: the stream's own rules leave lines of blanks at a body's end.
        let streams = &mut self.streams;
        canonical.push(body, &mut |octets| streams.iter_mut().for_each(|stream| stream.write(octets)));
    }
}

impl Filtering for Looking {
    fn begin(&mut self, added: &str) {
        self.begun = Some((Split::default(), Canonical::new(Canonicalization::Relaxed)));
        self.write(added.as_bytes());
        for piece in std::mem::take(&mut self.waiting) {
            self.write(&piece);
        }
    }

    fn pass(&mut self, octets: Bytes) -> Bytes {
        match self.begun {
            Some(_) => self.write(&octets),
            None => self.waiting.push(octets.clone()),
        }
        octets
    }

    fn judge(mut self: Box<Self>) -> BoxFuture<'static, Verdict> {
        if let Some((_, canonical)) = self.begun.take() {
            let streams = &mut self.streams;
            canonical.finish(&mut |octets| streams.iter_mut().for_each(|stream| stream.write(octets)));
        }
        let signed: Result<String, _> =
            self.streams.into_iter().map(|stream| stream.finish().map(|signature| signature.to_header())).collect();
        Box::pin(async move {
            match signed {
                Ok(fields) => Verdict::Accepted(Accepted { fields, ..Accepted::default() }),
                Err(error) => {
                    tracing::error!(%error, "a message could not be signed");
                    Verdict::Refused(NOT_SIGNED)
                }
            }
        })
    }
}

const NOT_SIGNED: Reply = Reply {
    code: 451,
    enhanced: Some(EnhancedCode::new(4, 7, 0)),
    text: std::borrow::Cow::Borrowed("The message could not be signed"),
};
