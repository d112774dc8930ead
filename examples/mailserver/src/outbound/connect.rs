//! Reaching a next hop: name, address, TLS.

use std::borrow::Cow;
use std::sync::Arc;
use std::time::Duration;

use mailstore_trait::drive::Transport;
use mailstore_trait::session::Layer;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use rustls::{ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, ServerName, UnixTime};
use smtp_proto::client::{Client, Config, TlsPolicy};
use smtp_proto::reply::{EnhancedCode, Reply};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;

use crate::config::{Route, RouteTls};
use crate::stream::{Stream, Upgrade};
use crate::tls::provider;

/// RFC 5321 §4.5.3.2 has no limit for connecting; this is what mail hosts usually wait.
const CONNECT: Duration = Duration::from_secs(30);

/// The TLS of one attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Attempt {
    /// As the route has it.
    Configured,
    /// In clear, after an opportunistic handshake failed.
    Clear,
}

/// The attempts a route allows, in order.
pub(super) fn attempts(route: &Route) -> impl Iterator<Item = Attempt> + use<> {
    let fallback = (route.tls == RouteTls::Opportunistic).then_some(Attempt::Clear);
    std::iter::once(Attempt::Configured).chain(fallback)
}

/// Connects to the route's host; a session to drive over the stream, or what to say of every recipient.
pub(super) async fn open(hostname: &str, route: &Route, attempt: Attempt) -> Result<(Client, Stream), Reply> {
    let tls = if attempt == Attempt::Clear { RouteTls::None } else { route.tls };
    let upgrade = match tls {
        RouteTls::None => Upgrade::Never,
        _ => {
            let name =
                ServerName::try_from(route.host.clone()).map_err(|_| failed("The route's host is no host name"))?;
            Upgrade::Connect(connector(route)?, name)
        }
    };
    let connecting = timeout(CONNECT, TcpStream::connect((route.host.as_str(), route.port)));
    let tcp = match connecting.await {
        Ok(Ok(tcp)) => tcp,
        Ok(Err(error)) => return Err(unreachable(format!("{}: {error}", route.host))),
        Err(_) => return Err(unreachable(format!("{}: no answer", route.host))),
    };
    let mut stream = Stream::new(tcp, upgrade);
    let mut config = Config::new(hostname);
    config.login = route.user.is_some();
    config.tls = match tls {
        RouteTls::None | RouteTls::Implicit => TlsPolicy::None,
        RouteTls::Opportunistic => TlsPolicy::Opportunistic,
        RouteTls::Required => TlsPolicy::Required,
    };
    let info = match tls {
        RouteTls::Implicit => match timeout(config.timeouts.layer, stream.layer(Layer::Tls)).await {
            Ok(Ok(info)) => Some(info),
            _ => return Err(failed("TLS handshake failed")),
        },
        _ => None,
    };
    Ok((Client::new(Arc::new(config), info), stream))
}

fn connector(route: &Route) -> Result<TlsConnector, Reply> {
    let builder = ClientConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()
        .map_err(|_| failed("TLS is not available"))?;
    let config = if route.tls == RouteTls::Opportunistic {
        // RFC 7435 §3: a certificate that nobody vouches for still keeps passive listeners out.
        let verifier = Arc::new(AnyCertificate(provider()));
        builder.dangerous().with_custom_certificate_verifier(verifier).with_no_client_auth()
    } else {
        builder.with_root_certificates(anchors(route)?).with_no_client_auth()
    };
    Ok(TlsConnector::from(Arc::new(config)))
}

/// Whom a route trusts: its own file, or the system.
fn anchors(route: &Route) -> Result<RootCertStore, Reply> {
    let mut anchors = RootCertStore::empty();
    match &route.ca {
        Some(path) => {
            let unreadable = |_| failed("The route's trust anchors can't be read");
            for certificate in CertificateDer::pem_file_iter(path).map_err(unreadable)? {
                let certificate = certificate.map_err(unreadable)?;
                anchors.add(certificate).map_err(|_| failed("The route's trust anchors can't be used"))?;
            }
        }
        None => {
            let found = rustls_native_certs::load_native_certs();
            anchors.add_parsable_certificates(found.certs);
        }
    }
    Ok(anchors)
}

fn unreachable(text: String) -> Reply {
    let text = text.replace(|c: char| c.is_control() || !c.is_ascii(), " ");
    Reply { code: 451, enhanced: Some(EnhancedCode::new(4, 4, 1)), text: Cow::Owned(text) }
}

fn failed(text: &'static str) -> Reply {
    Reply { code: 451, enhanced: Some(EnhancedCode::new(4, 7, 5)), text: Cow::Borrowed(text) }
}

/// Takes any certificate, but only whoever holds its key.
#[derive(Debug)]
struct AnyCertificate(Arc<CryptoProvider>);

impl ServerCertVerifier for AnyCertificate {
    fn verify_server_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, certificate, signature, &self.0.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, certificate, signature, &self.0.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}
