//! Accepting: each connection is counted, perhaps turned away, perhaps wrapped in TLS, and handed to its protocol.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::io::AsyncWriteExt;
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::time::timeout;

use mailstore_trait::drive::Transport;
use mailstore_trait::session::{Layer, Peer};

use crate::config::Listen;
use crate::proxied::client;
use crate::server::Server;
use crate::shutdown::Shutdown;
use crate::stream::{Stream, Upgrade};
use crate::throttle::{Admitted, Refused};

/// What is spoken at an address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Service {
    Smtp,
    Submission,
    Submissions,
    Lmtp,
    Pop3,
    Pop3s,
    Imap,
    Imaps,
}

impl Service {
    /// Every service with its addresses, in the order they are announced.
    pub(crate) fn all(listen: &Listen) -> [(Service, &[SocketAddr]); 8] {
        [
            (Service::Smtp, &listen.smtp.0),
            (Service::Submission, &listen.submission.0),
            (Service::Submissions, &listen.submissions.0),
            (Service::Lmtp, &listen.lmtp.0),
            (Service::Pop3, &listen.pop3.0),
            (Service::Pop3s, &listen.pop3s.0),
            (Service::Imap, &listen.imap.0),
            (Service::Imaps, &listen.imaps.0),
        ]
    }

    /// Its key in the configuration.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Service::Smtp => "smtp",
            Service::Submission => "submission",
            Service::Submissions => "submissions",
            Service::Lmtp => "lmtp",
            Service::Pop3 => "pop3",
            Service::Pop3s => "pop3s",
            Service::Imap => "imap",
            Service::Imaps => "imaps",
        }
    }

    /// Whether TLS comes first (RFC 8314).
    pub(crate) fn begins_with_tls(self) -> bool {
        matches!(self, Service::Submissions | Service::Pop3s | Service::Imaps)
    }

    /// What a client that is turned away hears.
    fn farewell(self, refused: Refused) -> String {
        let why = match refused {
            Refused::Connections => "too many connections, try again later",
            Refused::FailedLogins => "too many failed logins, try again later",
        };
        match self {
            Service::Smtp | Service::Submission | Service::Submissions | Service::Lmtp => {
                format!("421 4.7.0 {why}\r\n")
            }
            Service::Pop3 | Service::Pop3s => format!("-ERR [SYS/TEMP] {why}\r\n"),
            Service::Imap | Service::Imaps => format!("* BYE [UNAVAILABLE] {why}\r\n"),
        }
    }
}

/// Listens at an address, which may be in use by connections of a server that just ended.
pub(crate) fn bind(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    socket.listen(1024)
}

/// Accepts until the shutdown.
pub(crate) async fn accept(listener: TcpListener, service: Service, server: Arc<Server>, mut shutdown: Shutdown) {
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = shutdown.signalled() => return,
        };
        match accepted {
            Ok((tcp, peer)) if server.proxy.trusts(peer.ip()) => {
                tokio::spawn(proxied(tcp, peer, service, Arc::clone(&server), shutdown.clone()));
            }
            Ok((tcp, peer)) => admit(tcp, peer, service, &server, &shutdown),
            Err(error) => {
                // Out of descriptors, most often: accepting again at once would only spin.
                tracing::warn!(service = service.name(), %error, "accept");
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
    }
}

/// Counts a connection and serves it, or turns it away.
fn admit(tcp: TcpStream, peer: SocketAddr, service: Service, server: &Arc<Server>, shutdown: &Shutdown) {
    match server.throttle.admit(peer, Instant::now()) {
        Ok(admitted) => {
            tokio::spawn(connection(tcp, peer, service, Arc::clone(server), shutdown.clone(), admitted));
        }
        Err(refused) => {
            tracing::info!(%peer, service = service.name(), ?refused, "turned away");
            tokio::spawn(turn_away(tcp, service, refused));
        }
    }
}

/// A connection of a load balancer: who is behind it is who is counted.
async fn proxied(mut tcp: TcpStream, balancer: SocketAddr, service: Service, server: Arc<Server>, shutdown: Shutdown) {
    match timeout(server.drive.handshake, client(&mut tcp, balancer)).await {
        Ok(Ok(peer)) => admit(tcp, peer, service, &server, &shutdown),
        Ok(Err(error)) => tracing::warn!(%balancer, service = service.name(), %error, "no PROXY header"),
        Err(_) => tracing::warn!(%balancer, service = service.name(), "no PROXY header in time"),
    }
}

async fn turn_away(mut tcp: TcpStream, service: Service, refused: Refused) {
    if !service.begins_with_tls() {
        let farewell = service.farewell(refused);
        let _ = timeout(Duration::from_secs(5), tcp.write_all(farewell.as_bytes())).await;
    }
}

async fn connection(
    tcp: TcpStream,
    address: SocketAddr,
    service: Service,
    server: Arc<Server>,
    shutdown: Shutdown,
    _admitted: Admitted,
) {
    let mut stream = Stream::new(tcp, Upgrade::Accept(server.acceptor(service).clone()));
    let peer = if service.begins_with_tls() {
        match timeout(server.drive.handshake, stream.layer(Layer::Tls)).await {
            Ok(Ok(info)) => Peer::with_tls(address, info),
            Ok(Err(_)) | Err(_) => return,
        }
    } else {
        Peer::new(address)
    };
    tracing::debug!(peer = %address, service = service.name(), "connected");
    let ended = match service {
        Service::Smtp | Service::Submission | Service::Submissions | Service::Lmtp => {
            server.smtp(service, stream, peer, &shutdown).await
        }
        Service::Pop3 | Service::Pop3s => server.pop3(stream, peer, &shutdown).await,
        Service::Imap | Service::Imaps => server.imap(stream, peer, &shutdown).await,
    };
    tracing::debug!(peer = %address, service = service.name(), ?ended, "closed");
}
