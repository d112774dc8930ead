//! Whose certificate is good enough: anybody's, one with a name and an authority, or the one TLSA records mean.

use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use rustls::{CertificateError, ClientConfig, DigitallySignedStruct, Error, RootCertStore, SignatureScheme};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, ServerName, UnixTime};
use smtp_proto::delivery::Security;
use smtp_proto::delivery::dane::{self, Meant, Tlsa};
use smtp_proto::delivery::tlsrpt::Reason;
use tokio_rustls::TlsConnector;

use crate::tls::provider;

/// Whom verified hosts are vouched for by.
#[derive(Debug)]
pub(super) struct Anchors {
    /// Certificates in PEM instead of the system's.
    file: Option<PathBuf>,
    loaded: OnceLock<Arc<RootCertStore>>,
}

impl Anchors {
    pub(super) fn new(file: Option<PathBuf>) -> Anchors {
        Anchors { file, loaded: OnceLock::new() }
    }

    /// These, or those of a route's own file.
    pub(super) fn load(&self, own: Option<&Path>) -> Result<Arc<RootCertStore>, &'static str> {
        if let Some(path) = own {
            return read(path).map(Arc::new);
        }
        if let Some(loaded) = self.loaded.get() {
            return Ok(Arc::clone(loaded));
        }
        let anchors = match &self.file {
            Some(path) => read(path)?,
            None => {
                let mut anchors = RootCertStore::empty();
                anchors.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
                anchors
            }
        };
        Ok(Arc::clone(self.loaded.get_or_init(|| Arc::new(anchors))))
    }
}

fn read(path: &Path) -> Result<RootCertStore, &'static str> {
    let mut anchors = RootCertStore::empty();
    let unreadable = |_| "The trust anchors can't be read";
    for certificate in CertificateDer::pem_file_iter(path).map_err(unreadable)? {
        let certificate = certificate.map_err(unreadable)?;
        anchors.add(certificate).map_err(|_| "The trust anchors can't be used")?;
    }
    Ok(anchors)
}

/// Why a handshake failed, once it has: for reports.
pub(super) type Why = Arc<OnceLock<Reason>>;

/// What puts TLS of this security on a connection to `host`; the name to ask for; and why it failed, if it does.
pub(super) fn connector(
    security: &Security,
    host: &str,
    anchors: impl FnOnce() -> Result<Arc<RootCertStore>, &'static str>,
) -> Result<(TlsConnector, ServerName<'static>, Why), &'static str> {
    let trust = match security {
        Security::Clear | Security::Opportunistic | Security::Encrypted => Trust::Anybody,
        Security::Verified { names, .. } => Trust::Authorities(anchors()?, server_names(names)),
        Security::Dane { records, names } => Trust::Records(Arc::clone(records), server_names(names)),
    };
    // RFC 7672 §8.1: the name asked for is the one whose records count.
    let name = match security {
        Security::Dane { names, .. } => names.first().map_or(host, String::as_str),
        _ => host,
    };
    // An address literal's brackets are no part of what is asked for.
    let name = name.strip_prefix("[IPv6:").or_else(|| name.strip_prefix('[')).unwrap_or(name).trim_end_matches(']');
    let name = ServerName::try_from(name.to_owned()).map_err(|_| "The host's name can't be asked for")?;
    let why = Why::default();
    let verifier = Verifier { trust, provider: provider(), why: Arc::clone(&why) };
    let config = ClientConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()
        .map_err(|_| "TLS is not available")?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(verifier))
        .with_no_client_auth();
    Ok((TlsConnector::from(Arc::new(config)), name, why))
}

fn server_names(names: &[String]) -> Vec<ServerName<'static>> {
    names.iter().filter_map(|name| ServerName::try_from(name.clone()).ok()).collect()
}

#[derive(Debug)]
enum Trust {
    /// RFC 7435 §3: a certificate that nobody vouches for still keeps passive listeners out.
    Anybody,
    /// One of these names, vouched for by one of these.
    Authorities(Arc<RootCertStore>, Vec<ServerName<'static>>),
    /// RFC 7672 §3.1: a certificate that one of the records means; below an anchor, for one of these names.
    Records(Arc<[Tlsa]>, Vec<ServerName<'static>>),
}

/// Takes a certificate by its trust, and only from whoever holds its key.
#[derive(Debug)]
struct Verifier {
    trust: Trust,
    provider: Arc<CryptoProvider>,
    why: Why,
}

impl Verifier {
    fn verify(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        ocsp: &[u8],
        now: UnixTime,
    ) -> Result<(), Error> {
        let below = |anchors: &Arc<RootCertStore>, names: &[ServerName<'static>]| {
            let verifier = WebPkiServerVerifier::builder_with_provider(Arc::clone(anchors), Arc::clone(&self.provider))
                .build()
                .map_err(|_| Error::InvalidCertificate(CertificateError::UnknownIssuer))?;
            let mut last = Err(Error::InvalidCertificate(CertificateError::NotValidForName));
            for name in names {
                last = verifier.verify_server_cert(end_entity, intermediates, name, ocsp, now).map(drop);
                if last.is_ok() {
                    break;
                }
            }
            last
        };
        match &self.trust {
            Trust::Anybody => Ok(()),
            Trust::Authorities(anchors, names) => below(anchors, names),
            Trust::Records(records, names) => {
                let chain: Vec<&[u8]> =
                    std::iter::once(end_entity).chain(intermediates).map(|certificate| certificate.as_ref()).collect();
                let mut anchors = RootCertStore::empty();
                match dane::meant(records, &chain) {
                    // RFC 7672 §3.1.1: neither its names nor its dates are looked at.
                    Meant::EndEntity => return Ok(()),
                    Meant::Anchor(at) => {
                        let certificate = chain.get(at).map(|der| CertificateDer::from(der.to_vec()));
                        certificate.map(|certificate| anchors.add(certificate));
                    }
                    Meant::None => {}
                }
                // RFC 7671 §5.2.2: an anchor that the record holds whole need not be in the chain.
                let whole = records.iter().filter(|it| (it.usage, it.selector, it.matching) == (2, 0, 0));
                anchors.add_parsable_certificates(whole.map(|it| CertificateDer::from(it.data.clone())));
                if anchors.is_empty() {
                    let _ = self.why.set(Reason::TlsaInvalid);
                    return Err(Error::InvalidCertificate(CertificateError::ApplicationVerificationFailure));
                }
                below(&Arc::new(anchors), names)
            }
        }
    }
}

/// The word for reports of why a certificate was no good.
fn reason(error: &Error) -> Reason {
    match error {
        Error::InvalidCertificate(CertificateError::Expired | CertificateError::ExpiredContext { .. }) => {
            Reason::CertificateExpired
        }
        Error::InvalidCertificate(
            CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. },
        ) => Reason::CertificateHostMismatch,
        // A bad signature is one of another authority of the same name.
        Error::InvalidCertificate(
            CertificateError::UnknownIssuer | CertificateError::InvalidPurpose | CertificateError::BadSignature,
        ) => Reason::CertificateNotTrusted,
        _ => Reason::ValidationFailure,
    }
}

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        ocsp: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        match self.verify(end_entity, intermediates, ocsp, now) {
            Ok(()) => Ok(ServerCertVerified::assertion()),
            Err(error) => {
                let _ = self.why.set(reason(&error));
                Err(error)
            }
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(message, certificate, signature, &self.provider.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, certificate, signature, &self.provider.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}

#[cfg(test)]
mod tests {
    use sha2::{Digest, Sha256};

    use super::*;

    struct Chain {
        leaf: CertificateDer<'static>,
        root: CertificateDer<'static>,
    }

    /// A certificate for `mx.example`, below a root of its own, valid or long expired.
    fn chain(expired: bool) -> Chain {
        let mut authority = rcgen::CertificateParams::new(Vec::new()).unwrap();
        authority.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        let key = rcgen::KeyPair::generate().unwrap();
        let root = authority.self_signed(&key).unwrap();
        let issuer = rcgen::Issuer::new(authority, key);
        let mut server = rcgen::CertificateParams::new(vec!["mx.example".to_owned()]).unwrap();
        if expired {
            server.not_before = rcgen::date_time_ymd(2001, 1, 1);
            server.not_after = rcgen::date_time_ymd(2002, 1, 1);
        }
        let leaf = server.signed_by(&rcgen::KeyPair::generate().unwrap(), &issuer).unwrap();
        Chain { leaf: leaf.der().clone(), root: root.der().clone() }
    }

    fn verdict(security: &Security, chain: &Chain, anchors: &[&Chain]) -> Result<(), Reason> {
        let mut store = RootCertStore::empty();
        anchors.iter().for_each(|chain| store.add(chain.root.clone()).unwrap());
        let trust = match security {
            Security::Verified { names, .. } => Trust::Authorities(Arc::new(store), server_names(names)),
            Security::Dane { records, names } => Trust::Records(Arc::clone(records), server_names(names)),
            _ => Trust::Anybody,
        };
        let verifier = Verifier { trust, provider: provider(), why: Why::default() };
        let name = ServerName::try_from("ignored.example").unwrap();
        let intermediates = [chain.root.clone()];
        match verifier.verify_server_cert(&chain.leaf, &intermediates, &name, &[], UnixTime::now()) {
            Ok(_) => Ok(()),
            Err(_) => Err(*verifier.why.get().unwrap()),
        }
    }

    fn verified(name: &str) -> Security {
        Security::Verified { names: vec![name.to_owned()], enforced: true }
    }

    fn dane(usage: u8, certificate: &[u8], name: &str) -> Security {
        let data = Sha256::digest(certificate).to_vec();
        let records = Arc::new([Tlsa { usage, selector: 0, matching: 1, data }]);
        Security::Dane { records, names: vec!["base.example".to_owned(), name.to_owned()] }
    }

    #[test]
    fn certificates_are_good_by_their_security() {
        let (good, other, old) = (chain(false), chain(false), chain(true));
        assert_eq!(verdict(&Security::Opportunistic, &old, &[]), Ok(()));
        assert_eq!(verdict(&Security::Encrypted, &other, &[]), Ok(()));
        assert_eq!(verdict(&verified("mx.example"), &good, &[&good]), Ok(()));
        assert_eq!(verdict(&verified("mx2.example"), &good, &[&good]), Err(Reason::CertificateHostMismatch));
        assert_eq!(verdict(&verified("mx.example"), &good, &[&other]), Err(Reason::CertificateNotTrusted));
        assert_eq!(verdict(&verified("mx.example"), &old, &[&old]), Err(Reason::CertificateExpired));
        // RFC 7672 §3.1.1: the server's own certificate, whatever stands in it.
        assert_eq!(verdict(&dane(3, &old.leaf, "no.example"), &old, &[]), Ok(()));
        assert_eq!(verdict(&dane(3, &good.leaf, "mx.example"), &other, &[&other]), Err(Reason::TlsaInvalid));
        // RFC 7672 §3.1.2: below an anchor, names and dates count.
        assert_eq!(verdict(&dane(2, &good.root, "mx.example"), &good, &[]), Ok(()));
        assert_eq!(verdict(&dane(2, &good.root, "no.example"), &good, &[]), Err(Reason::CertificateHostMismatch));
        assert_eq!(verdict(&dane(2, &old.root, "mx.example"), &old, &[]), Err(Reason::CertificateExpired));
        assert_eq!(verdict(&dane(2, &other.root, "mx.example"), &good, &[&good]), Err(Reason::TlsaInvalid));
        let records = Arc::new([Tlsa { usage: 2, selector: 0, matching: 0, data: good.root.to_vec() }]);
        let whole = Security::Dane { records, names: vec!["mx.example".to_owned()] };
        let alone = Chain { leaf: good.leaf.clone(), root: other.root.clone() };
        assert_eq!(verdict(&whole, &alone, &[]), Ok(()), "the record holds the anchor itself");
    }
}
