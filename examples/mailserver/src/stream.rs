//! A TCP stream that TLS can be put on, from either side, and DEFLATE on that.

mod deflate;

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll};

use mailstore_trait::drive::Transport;
use mailstore_trait::session::{Layer, LayerError, LayerInfo};
use rustls_pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio_rustls::{TlsConnector, TlsStream};

use crate::tls::{Acceptor, layer_info};
use deflate::Deflated;

/// How this side starts TLS.
pub(crate) enum Upgrade {
    /// As the server.
    Accept(Acceptor),
    /// As the client of this host.
    Connect(TlsConnector, ServerName<'static>),
    /// Not at all.
    Never,
}

/// A TCP stream, with TLS on it or not.
pub(crate) struct Stream {
    io: Io,
    upgrade: Upgrade,
}

enum Io {
    Plain(TcpStream),
    Tls(Box<TlsStream<TcpStream>>),
    Deflated(Box<Deflated<Io>>),
    /// A handshake failed; nothing can be read or written any more.
    Gone,
}

impl Stream {
    pub(crate) fn new(tcp: TcpStream, upgrade: Upgrade) -> Stream {
        // Replies of a batch leave in one write; waiting for more to send would only add delay.
        let _ = tcp.set_nodelay(true);
        Stream { io: Io::Plain(tcp), upgrade }
    }

    async fn start_tls(&mut self) -> Result<LayerInfo, LayerError> {
        if !matches!(self.io, Io::Plain(_)) || matches!(self.upgrade, Upgrade::Never) {
            return Err(LayerError::Unavailable);
        }
        let Io::Plain(tcp) = std::mem::replace(&mut self.io, Io::Gone) else { return Err(LayerError::Unavailable) };
        let (stream, info) = match &self.upgrade {
            Upgrade::Accept(acceptor) => {
                let stream = acceptor.tls().accept(tcp).await.map_err(handshake)?;
                let info = acceptor.info(stream.get_ref().1);
                (TlsStream::Server(stream), info)
            }
            Upgrade::Connect(connector, name) => {
                let stream = connector.connect(name.clone(), tcp).await.map_err(handshake)?;
                let info = layer_info(stream.get_ref().1);
                (TlsStream::Client(stream), info)
            }
            Upgrade::Never => return Err(LayerError::Unavailable),
        };
        self.io = Io::Tls(Box::new(stream));
        Ok(info)
    }
}

fn handshake(error: io::Error) -> LayerError {
    tracing::debug!(%error, "handshake failed");
    LayerError::Handshake
}

impl Transport for Stream {
    async fn layer(&mut self, layer: Layer) -> Result<LayerInfo, LayerError> {
        match layer {
            Layer::Tls => self.start_tls().await,
            Layer::Deflate if matches!(self.io, Io::Plain(_) | Io::Tls(_)) => {
                let io = std::mem::replace(&mut self.io, Io::Gone);
                self.io = Io::Deflated(Box::new(Deflated::new(io)));
                Ok(LayerInfo::new())
            }
            Layer::Deflate => Err(LayerError::Unavailable),
        }
    }
}

fn gone() -> io::Error {
    io::Error::new(io::ErrorKind::NotConnected, "the handshake failed")
}

impl AsyncRead for Stream {
    fn poll_read(mut self: Pin<&mut Self>, context: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_read(context, buf)
    }
}

impl AsyncWrite for Stream {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, octets: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write(context, octets)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        octets: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write_vectored(context, octets)
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(context)
    }
}

impl AsyncRead for Io {
    fn poll_read(mut self: Pin<&mut Self>, context: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match &mut *self {
            Io::Plain(io) => Pin::new(io).poll_read(context, buf),
            Io::Tls(io) => Pin::new(io).poll_read(context, buf),
            Io::Deflated(io) => Pin::new(io).poll_read(context, buf),
            Io::Gone => Poll::Ready(Err(gone())),
        }
    }
}

impl AsyncWrite for Io {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, octets: &[u8]) -> Poll<io::Result<usize>> {
        match &mut *self {
            Io::Plain(io) => Pin::new(io).poll_write(context, octets),
            Io::Tls(io) => Pin::new(io).poll_write(context, octets),
            Io::Deflated(io) => Pin::new(io).poll_write(context, octets),
            Io::Gone => Poll::Ready(Err(gone())),
        }
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        octets: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match &mut *self {
            Io::Plain(io) => Pin::new(io).poll_write_vectored(context, octets),
            Io::Tls(io) => Pin::new(io).poll_write_vectored(context, octets),
            Io::Deflated(io) => Pin::new(io).poll_write_vectored(context, octets),
            Io::Gone => Poll::Ready(Err(gone())),
        }
    }

    fn is_write_vectored(&self) -> bool {
        match self {
            Io::Plain(io) => io.is_write_vectored(),
            Io::Tls(io) => io.is_write_vectored(),
            Io::Deflated(io) => io.is_write_vectored(),
            Io::Gone => false,
        }
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut *self {
            Io::Plain(io) => Pin::new(io).poll_flush(context),
            Io::Tls(io) => Pin::new(io).poll_flush(context),
            Io::Deflated(io) => Pin::new(io).poll_flush(context),
            Io::Gone => Poll::Ready(Ok(())),
        }
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut *self {
            Io::Plain(io) => Pin::new(io).poll_shutdown(context),
            Io::Tls(io) => Pin::new(io).poll_shutdown(context),
            Io::Deflated(io) => Pin::new(io).poll_shutdown(context),
            Io::Gone => Poll::Ready(Ok(())),
        }
    }
}
