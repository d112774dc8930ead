//! Certificates: made on the first run or read from files, exchanged while the server runs.

mod der;

use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};

use bytes::Bytes;
use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use rustls::{CipherSuite, ProtocolVersion, ServerConfig};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use sha2::{Digest, Sha256, Sha384, Sha512};
use tokio_rustls::TlsAcceptor;

use mailstore_trait::session::LayerInfo;

use crate::config::Config;

/// Why there is no TLS.
#[derive(Debug, thiserror::Error)]
pub(crate) enum TlsError {
    #[error("{}: {source}", path.display())]
    Io { path: PathBuf, source: std::io::Error },
    #[error("{}: {source}", path.display())]
    Pem { path: PathBuf, source: rustls_pki_types::pem::Error },
    #[error("{}: no certificate in it", .0.display())]
    Empty(PathBuf),
    #[error("the certificate can't be used: {0}")]
    Unusable(#[from] rustls::Error),
    #[error("no certificate could be made: {0}")]
    Generate(#[from] rcgen::Error),
}

/// The one provider of cryptography, passed explicitly wherever rustls wants one.
pub(crate) fn provider() -> Arc<CryptoProvider> {
    Arc::new(aws_lc_rs::default_provider())
}

/// The server's certificate, and the acceptors that show it.
#[derive(Debug)]
pub(crate) struct Certificates {
    certificate: PathBuf,
    key: PathBuf,
    current: Arc<Current>,
}

#[derive(Debug)]
struct Current(RwLock<Shown>);

#[derive(Clone, Debug)]
struct Shown {
    key: Arc<CertifiedKey>,
    end_point: Option<Bytes>,
}

impl Current {
    fn shown(&self) -> Shown {
        self.0.read().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl ResolvesServerCert for Current {
    fn resolve(&self, _hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(self.shown().key)
    }
}

impl Certificates {
    /// Reads the configured certificate, or the generated one, which is made first if it is not there.
    pub(crate) fn open(config: &Config) -> Result<Certificates, TlsError> {
        let (certificate, key) = match &config.tls {
            Some(tls) => (tls.certificate.clone(), tls.key.clone()),
            None => generated(&config.data_dir, &config.hostname)?,
        };
        let shown = load(&certificate, &key)?;
        Ok(Certificates { certificate, key, current: Arc::new(Current(RwLock::new(shown))) })
    }

    /// Reads the files again. Connections that are up keep what they have; after an error all goes on as before.
    pub(crate) fn reload(&self) -> Result<(), TlsError> {
        let shown = load(&self.certificate, &self.key)?;
        *self.current.0.write().unwrap_or_else(PoisonError::into_inner) = shown;
        Ok(())
    }

    /// An acceptor that answers these ALPN protocols. Without any, what a client offers is passed over.
    pub(crate) fn acceptor(&self, alpn: &[&[u8]]) -> Result<Acceptor, TlsError> {
        let mut config = ServerConfig::builder_with_provider(provider())
            .with_safe_default_protocol_versions()?
            .with_no_client_auth()
            .with_cert_resolver(Arc::clone(&self.current) as _);
        config.alpn_protocols = alpn.iter().map(|name| name.to_vec()).collect();
        config.ticketer = aws_lc_rs::Ticketer::new()?;
        Ok(Acceptor { acceptor: TlsAcceptor::from(Arc::new(config)), current: Arc::clone(&self.current) })
    }
}

/// Puts TLS on accepted connections.
#[derive(Clone)]
pub(crate) struct Acceptor {
    acceptor: TlsAcceptor,
    current: Arc<Current>,
}

impl Acceptor {
    pub(crate) fn tls(&self) -> &TlsAcceptor {
        &self.acceptor
    }

    /// What a session may know of a handshake that this acceptor made.
    pub(crate) fn info(&self, connection: &rustls::ServerConnection) -> LayerInfo {
        let mut info = layer_info(connection);
        info.end_point = self.current.shown().end_point;
        info.server_name = connection.server_name().map(str::to_owned);
        info
    }
}

/// What both ends know of a handshake.
pub(crate) fn layer_info<D>(connection: &rustls::ConnectionCommon<D>) -> LayerInfo {
    let mut info = LayerInfo::new();
    let version = connection.protocol_version();
    info.version = version.and_then(|version| match version {
        ProtocolVersion::TLSv1_2 => Some("TLSv1.2"),
        ProtocolVersion::TLSv1_3 => Some("TLSv1.3"),
        _ => None,
    });
    info.cipher = connection.negotiated_cipher_suite().and_then(|suite| match suite.suite() {
        // rustls has names of its own for the suites of TLS 1.3; trace headers hold the registered ones.
        CipherSuite::TLS13_AES_128_GCM_SHA256 => Some("TLS_AES_128_GCM_SHA256"),
        CipherSuite::TLS13_AES_256_GCM_SHA384 => Some("TLS_AES_256_GCM_SHA384"),
        CipherSuite::TLS13_CHACHA20_POLY1305_SHA256 => Some("TLS_CHACHA20_POLY1305_SHA256"),
        other => other.as_str(),
    });
    // RFC 9266 §3: before TLS 1.3 the exporter binds only with the extended master secret, which rustls does not report.
    if version == Some(ProtocolVersion::TLSv1_3) {
        info.exporter = connection.export_keying_material([0; 32], b"EXPORTER-Channel-Binding", Some(b"")).ok();
    }
    info
}

fn load(certificate: &Path, key: &Path) -> Result<Shown, TlsError> {
    let pem = |path: &Path| {
        let path = path.to_owned();
        move |source| TlsError::Pem { path, source }
    };
    let chain: Vec<CertificateDer<'static>> = CertificateDer::pem_file_iter(certificate)
        .map_err(pem(certificate))?
        .collect::<Result<_, _>>()
        .map_err(pem(certificate))?;
    let Some(leaf) = chain.first() else { return Err(TlsError::Empty(certificate.to_owned())) };
    let end_point = end_point(leaf);
    let key = PrivateKeyDer::from_pem_file(key).map_err(pem(key))?;
    let key = Arc::new(CertifiedKey::from_der(chain, key, &provider())?);
    Ok(Shown { key, end_point })
}

/// RFC 5929 §4.1: the certificate's hash, by the hash of its signature; SHA-256 in place of MD5 and SHA-1. Where the
/// signature has no hash of its own (Ed25519), the binding is not defined.
fn end_point(certificate: &[u8]) -> Option<Bytes> {
    let hash = match der::signature_hash(certificate)? {
        der::Hash::Sha256 => Sha256::digest(certificate).to_vec(),
        der::Hash::Sha384 => Sha384::digest(certificate).to_vec(),
        der::Hash::Sha512 => Sha512::digest(certificate).to_vec(),
    };
    Some(hash.into())
}

/// The self-signed certificate of the first run: `DATA/tls/cert.pem`, for this host's names and loopback addresses.
fn generated(data_dir: &Path, hostname: &str) -> Result<(PathBuf, PathBuf), TlsError> {
    let folder = data_dir.join("tls");
    let (certificate, key) = (folder.join("cert.pem"), folder.join("key.pem"));
    if certificate.exists() && key.exists() {
        return Ok((certificate, key));
    }
    let mut names: Vec<String> = ["localhost", "127.0.0.1", "::1"].map(str::to_owned).into();
    if hostname != "localhost" {
        names.push(hostname.to_owned());
    }
    let mut parameters = rcgen::CertificateParams::new(names)?;
    parameters.distinguished_name.push(rcgen::DnType::CommonName, hostname);
    // Not a CA: clients refuse one that is shown as a server's own certificate, and take this one as a trust anchor
    // all the same.
    parameters.is_ca = rcgen::IsCa::ExplicitNoCa;
    let pair = rcgen::KeyPair::generate()?;
    let made = parameters.self_signed(&pair)?;
    let io = |path: &Path| {
        let path = path.to_owned();
        move |source| TlsError::Io { path, source }
    };
    std::fs::create_dir_all(&folder).map_err(io(&folder))?;
    crate::files::write_private(&key, pair.serialize_pem().as_bytes()).map_err(io(&key))?;
    std::fs::write(&certificate, made.pem()).map_err(io(&certificate))?;
    Ok((certificate, key))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_certificate_is_made_once_and_reloaded() {
        let folder = tempfile::tempdir().unwrap();
        let config = Config { data_dir: folder.path().into(), ..Config::default() };
        let certificates = Certificates::open(&config).unwrap();
        let first = certificates.current.shown();
        assert!(first.end_point.is_some());
        Certificates::open(&config).unwrap();
        certificates.reload().unwrap();
        assert_eq!(certificates.current.shown().end_point, first.end_point);
        std::fs::remove_dir_all(folder.path().join("tls")).unwrap();
        assert!(certificates.reload().is_err());
        assert_eq!(certificates.current.shown().end_point, first.end_point, "a failed reload changes nothing");
        Certificates::open(&config).unwrap();
        certificates.reload().unwrap();
        assert_ne!(certificates.current.shown().end_point, first.end_point);
    }

    #[cfg(unix)]
    #[test]
    fn the_key_is_for_its_owner_only() {
        use std::os::unix::fs::PermissionsExt;
        let folder = tempfile::tempdir().unwrap();
        let (_, key) = generated(folder.path(), "mail.example.org").unwrap();
        assert_eq!(std::fs::metadata(key).unwrap().permissions().mode() & 0o077, 0);
    }
}
