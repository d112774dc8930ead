//! Fetching MTA-STS policies: one GET over verified TLS, no redirects, bounded in time and length (RFC 8461 §3.3).

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Empty, Limited};
use hyper::Request;
use hyper_util::rt::TokioIo;
use mailstore_trait::future::BoxFuture;
use rustls::ClientConfig;
use rustls_pki_types::ServerName;
use smtp_proto::delivery::resolver::{FetchError, PolicySource, Resolver};
use smtp_proto::delivery::sts;
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;

use super::verify::Anchors;
use crate::tls::provider;

/// RFC 8461 §3.3 suggests a minute for all of it.
const PATIENCE: Duration = Duration::from_secs(60);

/// The web, as far as policies lie there.
pub(super) struct Web {
    pub(super) resolver: Arc<dyn Resolver>,
    pub(super) anchors: Arc<Anchors>,
    pub(super) port: u16,
}

impl fmt::Debug for Web {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Web").field("port", &self.port).finish_non_exhaustive()
    }
}

impl PolicySource for Web {
    fn fetch<'a>(&'a self, domain: &'a str) -> BoxFuture<'a, Result<Bytes, FetchError>> {
        Box::pin(async move {
            let fetched = timeout(PATIENCE, self.get(domain)).await;
            let fetched = fetched.unwrap_or_else(|_| Err(unreachable("it took too long")));
            match &fetched {
                Ok(_) => tracing::debug!(domain, "MTA-STS policy fetched"),
                Err(error) => tracing::info!(domain, %error, "the MTA-STS policy can't be fetched"),
            }
            fetched
        })
    }
}

fn unreachable(error: impl fmt::Display) -> FetchError {
    FetchError::Unreachable(error.to_string())
}

impl Web {
    async fn get(&self, domain: &str) -> Result<Bytes, FetchError> {
        let host = sts::policy_host(domain);
        let addresses = self.resolver.addresses(&host).await.map_err(unreachable)?.records;
        let mut tcp = Err(unreachable("no address"));
        for address in addresses {
            match TcpStream::connect(SocketAddr::new(address, self.port)).await {
                Ok(connected) => {
                    tcp = Ok(connected);
                    break;
                }
                Err(error) => tcp = Err(unreachable(error)),
            }
        }
        let roots = self.anchors.load(None).map_err(unreachable)?;
        let config = ClientConfig::builder_with_provider(provider())
            .with_safe_default_protocol_versions()
            .map_err(unreachable)?
            .with_root_certificates(roots)
            .with_no_client_auth();
        let name = ServerName::try_from(host.clone()).map_err(unreachable)?;
        let stream = TlsConnector::from(Arc::new(config)).connect(name, tcp?).await.map_err(|error| failed(&error))?;
        let (mut sender, connection) =
            hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.map_err(unreachable)?;
        let exchange = async {
            let request = Request::get(sts::POLICY_PATH)
                .header("Host", host)
                .header("Accept", "text/plain")
                .body(Empty::<Bytes>::new())
                .map_err(unreachable)?;
            let response = sender.send_request(request).await.map_err(unreachable)?;
            // RFC 8461 §3.3: a redirect is not followed, and anything but 200 is no policy.
            if response.status() != 200 {
                return Err(unreachable(format_args!("status {}", response.status().as_u16())));
            }
            let body = Limited::new(response.into_body(), sts::POLICY_MAX).collect().await.map_err(unreachable)?;
            Ok(body.to_bytes())
        };
        let mut exchange = std::pin::pin!(exchange);
        tokio::select! {
            fetched = &mut exchange => fetched,
            // The body may be whole by the time the connection ends.
            ended = connection => match ended {
                Ok(()) => exchange.await,
                Err(error) => Err(unreachable(error)),
            },
        }
    }
}

/// A handshake that failed: by its certificate, or otherwise.
fn failed(error: &io::Error) -> FetchError {
    let inner = error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>());
    match inner {
        Some(rustls::Error::InvalidCertificate(_) | rustls::Error::NoCertificatesPresented) => {
            FetchError::Certificate(error.to_string())
        }
        _ => unreachable(error),
    }
}
