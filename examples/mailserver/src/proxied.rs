//! Connections through a load balancer: the PROXY header is read off the stream before anything else.

use std::io;
use std::net::SocketAddr;

use mailstore_trait::proxy::{Read, read};
use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;

/// Who is behind the balancer; `peer`, the balancer itself, where it speaks for itself.
///
/// Not an octet behind the header is taken: what comes next may be a TLS handshake.
pub(crate) async fn client(tcp: &mut TcpStream, peer: SocketAddr) -> io::Result<SocketAddr> {
    let mut octets = Vec::new();
    loop {
        let more = match read(&octets).map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))? {
            Read::Header(header) => return Ok(header.endpoints.map_or(peer, |endpoints| endpoints.source)),
            Read::More(more) => more,
        };
        let start = octets.len();
        octets.resize(start + more, 0);
        tcp.read_exact(octets.get_mut(start..).unwrap_or_default()).await?;
    }
}
