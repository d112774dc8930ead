//! The PROXY header: a load balancer says, before the first octet of a connection, who is behind it.
//!
//! HAProxy's proxy-protocol.txt, versions 1 and 2. [`read`] is fed what has arrived so far and says how many octets more
//! are sure to belong to the header, so that whoever reads for it never takes an octet of what comes behind, which may be
//! a TLS handshake. Whose header is to be believed is the embedder's to say.
//!
//! ```
//! use mailstore_trait::proxy::{Read, read};
//!
//! let mut stream = &b"PROXY TCP4 198.51.100.7 192.0.2.1 4000 25\r\nEHLO a.example\r\n"[..];
//! let mut octets = Vec::new();
//! let header = loop {
//!     match read(&octets)? {
//!         Read::More(len) => {
//!             let (piece, rest) = stream.split_at(len);
//!             octets.extend_from_slice(piece);
//!             stream = rest;
//!         }
//!         Read::Header(header) => break header,
//!     }
//! };
//! let endpoints = header.endpoints.expect("not a health check");
//! assert_eq!(endpoints.source.to_string(), "198.51.100.7:4000");
//! assert_eq!(stream, b"EHLO a.example\r\n");
//! # Ok::<(), mailstore_trait::proxy::ProxyError>(())
//! ```

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// Octets of a version 1 header, its CRLF included.
const V1_MAX: usize = 107;
/// The shortest header there is, `PROXY UNKNOWN` and CRLF: a version 2 header has 16 octets at least.
const SHORTEST: usize = 15;
/// Octets of a version 2 header behind its first 16, at most. Twice what balancers send with every field they have.
const V2_MAX: usize = 2048;
const V1: &[u8] = b"PROXY ";
const V2: &[u8; 12] = b"\r\n\r\n\0\r\nQUIT\n";

/// Who is behind the balancer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// The connection's two ends; `None` where the balancer speaks for itself (a health check, `LOCAL`) or does not know
    /// (`UNKNOWN`, a UNIX socket): then they are those of the stream.
    pub endpoints: Option<Endpoints>,
}

/// The two ends of the connection that was made to the balancer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Endpoints {
    /// The client.
    pub source: SocketAddr,
    /// What it connected to.
    pub destination: SocketAddr,
}

/// What [`read`] found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Read {
    /// The header is not whole; so many octets more, never none, belong to it in any case.
    More(usize),
    /// It is, and nothing stands behind it.
    Header(Header),
}

/// Why it is no header.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ProxyError {
    /// The octets begin like neither version, or there are octets behind the header.
    #[error("not a PROXY header")]
    Signature,
    /// A field that is none.
    #[error("malformed PROXY header")]
    Malformed,
    /// Longer than any header.
    #[error("the PROXY header is too long")]
    TooLong,
    /// The checksum of version 2 does not fit.
    #[error("the PROXY header is damaged")]
    Checksum,
}

/// Reads a header from its first octets.
///
/// # Errors
/// See [`ProxyError`]; the connection is to be closed without a word, since nothing is known of who is on it.
pub fn read(octets: &[u8]) -> Result<Read, ProxyError> {
    let begins = |with: &[u8]| octets.iter().zip(with).all(|(octet, due)| octet == due);
    if begins(V2) && !octets.is_empty() {
        v2(octets)
    } else if begins(V1) {
        v1(octets)
    } else {
        Err(ProxyError::Signature)
    }
}

fn v1(octets: &[u8]) -> Result<Read, ProxyError> {
    let Some(line) = octets.strip_suffix(b"\r\n") else {
        return match memchr::memchr(b'\n', octets) {
            Some(_) => Err(ProxyError::Malformed),
            None if octets.len() >= V1_MAX => Err(ProxyError::TooLong),
            // A CR may be the last but one octet; anything else is followed by two at least.
            None => Ok(Read::More(match octets.last() {
                _ if octets.len() < SHORTEST => SHORTEST - octets.len(),
                Some(b'\r') => 1,
                _ => 2.min(V1_MAX - octets.len()),
            })),
        };
    };
    if octets.len() > V1_MAX {
        return Err(ProxyError::TooLong);
    }
    let line = std::str::from_utf8(line).map_err(|_| ProxyError::Malformed)?;
    if line.contains(['\r', '\n']) {
        return Err(ProxyError::Malformed);
    }
    let mut words = line.split(' ').skip(1);
    let mut word = || words.next().ok_or(ProxyError::Malformed);
    let endpoints = match word()? {
        // Whatever stands behind it is to be ignored.
        "UNKNOWN" => return Ok(Read::Header(Header { endpoints: None })),
        family @ ("TCP4" | "TCP6") => {
            let v4 = family == "TCP4";
            let (source, destination) = (address(word()?, v4)?, address(word()?, v4)?);
            let (from, to) = (port(word()?)?, port(word()?)?);
            Endpoints { source: (source, from).into(), destination: (destination, to).into() }
        }
        _ => return Err(ProxyError::Malformed),
    };
    if words.next().is_some() {
        return Err(ProxyError::Malformed);
    }
    Ok(Read::Header(Header { endpoints: Some(endpoints) }))
}

fn address(text: &str, v4: bool) -> Result<IpAddr, ProxyError> {
    let address = if v4 { text.parse().map(IpAddr::V4) } else { text.parse().map(IpAddr::V6) };
    address.map_err(|_| ProxyError::Malformed)
}

fn port(text: &str) -> Result<u16, ProxyError> {
    let plain = text.bytes().all(|octet| octet.is_ascii_digit()) && (text == "0" || !text.starts_with('0'));
    if plain { text.parse().map_err(|_| ProxyError::Malformed) } else { Err(ProxyError::Malformed) }
}

fn v2(octets: &[u8]) -> Result<Read, ProxyError> {
    let Some(([.., version, family, high, low], rest)) = octets.split_first_chunk::<16>() else {
        return Ok(Read::More(if octets.len() < SHORTEST { SHORTEST - octets.len() } else { 1 }));
    };
    let len = usize::from(u16::from_be_bytes([*high, *low]));
    if len > V2_MAX {
        return Err(ProxyError::TooLong);
    }
    match rest.len().checked_sub(len) {
        None => return Ok(Read::More(len - rest.len())),
        Some(0) => {}
        Some(_) => return Err(ProxyError::Signature),
    }
    let (endpoints, fields) = match (version, family >> 4) {
        (0x20 | 0x21, 1) => {
            let (parts, fields) = rest.split_first_chunk::<12>().ok_or(ProxyError::Malformed)?;
            let [a, b, c, d, e, f, g, h, from1, from2, to1, to2] = *parts;
            let source = (Ipv4Addr::new(a, b, c, d), u16::from_be_bytes([from1, from2])).into();
            let destination = (Ipv4Addr::new(e, f, g, h), u16::from_be_bytes([to1, to2])).into();
            (Some(Endpoints { source, destination }), fields)
        }
        (0x20 | 0x21, 2) => {
            let (source, rest) = rest.split_first_chunk::<16>().ok_or(ProxyError::Malformed)?;
            let (destination, rest) = rest.split_first_chunk::<16>().ok_or(ProxyError::Malformed)?;
            let ([from1, from2, to1, to2], fields) = rest.split_first_chunk::<4>().ok_or(ProxyError::Malformed)?;
            let source = (Ipv6Addr::from(*source), u16::from_be_bytes([*from1, *from2])).into();
            let destination = (Ipv6Addr::from(*destination), u16::from_be_bytes([*to1, *to2])).into();
            (Some(Endpoints { source, destination }), fields)
        }
        // UNIX sockets.
        (0x20 | 0x21, 3) => (None, rest.get(216..).ok_or(ProxyError::Malformed)?),
        (0x20 | 0x21, 0) => (None, rest),
        _ => return Err(ProxyError::Malformed),
    };
    // LOCAL: whatever addresses there are say nothing, and its fields may be anything.
    if *version == 0x20 {
        return Ok(Read::Header(Header { endpoints: None }));
    }
    // Only streams carry mail.
    if endpoints.is_some() && family & 15 != 1 {
        return Err(ProxyError::Malformed);
    }
    check(octets, fields)?;
    Ok(Read::Header(Header { endpoints }))
}

/// Walks the fields behind the addresses; of all there are, only the checksum matters here.
fn check(octets: &[u8], fields: &[u8]) -> Result<(), ProxyError> {
    const CRC32C: u8 = 3;
    let mut rest = fields;
    while let Some(([kind, high, low], tail)) = rest.split_first_chunk::<3>() {
        let len = usize::from(u16::from_be_bytes([*high, *low]));
        let (value, tail) = tail.split_at_checked(len).ok_or(ProxyError::Malformed)?;
        if *kind == CRC32C {
            let said = u32::from_be_bytes(value.try_into().map_err(|_| ProxyError::Malformed)?);
            let before = octets.len() - tail.len() - 4;
            // The checksum is over the header with four zeros in the checksum's place.
            let zeroed = octets.iter().enumerate().map(|(at, octet)| match at.checked_sub(before) {
                Some(0..4) => 0,
                _ => *octet,
            });
            if crc32c(zeroed) != said {
                return Err(ProxyError::Checksum);
            }
        }
        rest = tail;
    }
    if rest.is_empty() { Ok(()) } else { Err(ProxyError::Malformed) }
}

fn crc32c(octets: impl Iterator<Item = u8>) -> u32 {
    !octets.fold(u32::MAX, |crc, octet| {
        (0..8).fold(crc ^ u32::from(octet), |crc, _| crc >> 1 ^ (0x82F6_3B78 & 0_u32.wrapping_sub(crc & 1)))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Feeds a header as a stream would, only ever what is asked for; gives the header and what was left behind it.
    fn fed(header: &[u8], behind: &[u8]) -> Result<(Header, Vec<u8>), ProxyError> {
        let stream = [header, behind].concat();
        let mut at = 0;
        loop {
            match read(&stream[..at])? {
                Read::More(more) => {
                    assert!(more > 0 && at + more <= header.len(), "an octet behind the header was asked for");
                    at += more;
                }
                Read::Header(header) => return Ok((header, stream[at..].to_vec())),
            }
        }
    }

    fn ends(source: &str, destination: &str) -> Header {
        Header {
            endpoints: Some(Endpoints { source: source.parse().unwrap(), destination: destination.parse().unwrap() }),
        }
    }

    #[test]
    fn version_1() {
        for (line, header) in [
            ("PROXY TCP4 198.51.100.7 192.0.2.1 4000 25", ends("198.51.100.7:4000", "192.0.2.1:25")),
            ("PROXY TCP6 2001:db8::7 ::1 65535 0", ends("[2001:db8::7]:65535", "[::1]:0")),
            ("PROXY UNKNOWN", Header { endpoints: None }),
            ("PROXY UNKNOWN ffff::1 whatever", Header { endpoints: None }),
            (
                "PROXY TCP6 ffff:f:f:f:ffff:ffff:ffff:ffff ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff 65535 65535",
                ends("[ffff:f:f:f:ffff:ffff:ffff:ffff]:65535", "[ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff]:65535"),
            ),
        ] {
            let line = format!("{line}\r\n");
            for behind in ["", "EHLO x\r\n", "\r\n", "\n"] {
                assert_eq!(fed(line.as_bytes(), behind.as_bytes()), Ok((header, behind.as_bytes().to_vec())), "{line}");
            }
        }
    }

    #[test]
    fn version_1_malformed() {
        for line in [
            "PROXY TCP4 198.51.100.7 192.0.2.1 4000\r\n",
            "PROXY TCP4 198.51.100.7 192.0.2.1 4000 25 \r\n",
            "PROXY TCP4 198.51.100.7  192.0.2.1 4000 25\r\n",
            "PROXY TCP4 ::1 ::1 1 2\r\n",
            "PROXY TCP6 192.0.2.1 192.0.2.1 1 2\r\n",
            "PROXY TCP4 192.0.2.1 192.0.2.1 01 2\r\n",
            "PROXY TCP4 192.0.2.1 192.0.2.1 65536 2\r\n",
            "PROXY UDP4 192.0.2.1 192.0.2.1 1 2\r\n",
            "PROXY tcp4 192.0.2.1 192.0.2.1 1 2\r\n",
            "PROXY TCP4 192.0.2.1 192.0.2.1\n",
            "PROXY UNKNOWN a\r\r\n",
        ] {
            assert_eq!(read(line.as_bytes()), Err(ProxyError::Malformed), "{line:?}");
        }
        assert_eq!(read(b"EHLO x\r\n"), Err(ProxyError::Signature));
        assert_eq!(read(b"proxy UNKNOWN\r\n"), Err(ProxyError::Signature));
        assert_eq!(read(&[b"PROXY UNKNOWN ".to_vec(), vec![b'x'; 100]].concat()), Err(ProxyError::TooLong));
    }

    fn version_2(command: u8, family: u8, addresses: &[u8], fields: &[u8]) -> Vec<u8> {
        let len = u16::try_from(addresses.len() + fields.len()).unwrap().to_be_bytes();
        [&V2[..], &[command, family], &len, addresses, fields].concat()
    }

    const V4: [u8; 12] = [198, 51, 100, 7, 192, 0, 2, 1, 0x0f, 0xa0, 0, 25];

    #[test]
    fn version_2_whole() {
        let header = ends("198.51.100.7:4000", "192.0.2.1:25");
        let octets = version_2(0x21, 0x11, &V4, &[]);
        assert_eq!(fed(&octets, b"EHLO"), Ok((header, b"EHLO".to_vec())));
        let octets = version_2(0x21, 0x11, &V4, &[1, 0, 2, b'h', b'2', 4, 0, 0]);
        assert_eq!(fed(&octets, b"\x16\x03"), Ok((header, b"\x16\x03".to_vec())));
        let v6 = [[0; 15].as_slice(), &[7], &[0; 15], &[1], &[0, 1, 0, 2]].concat();
        assert_eq!(fed(&version_2(0x21, 0x21, &v6, &[]), b""), Ok((ends("[::7]:1", "[::1]:2"), Vec::new())));
        let none = Header { endpoints: None };
        for octets in [
            version_2(0x20, 0, &[], &[]),
            version_2(0x20, 0x11, &V4, &[9]),
            version_2(0x21, 0, &[], &[4, 0, 1, 0]),
            version_2(0x21, 0x31, &[0; 216], &[]),
        ] {
            assert_eq!(fed(&octets, b"x"), Ok((none, b"x".to_vec())));
        }
    }

    #[test]
    fn version_2_malformed() {
        for octets in [
            version_2(0x11, 0x11, &V4, &[]),
            version_2(0x22, 0x11, &V4, &[]),
            version_2(0x21, 0x11, &V4[..11], &[]),
            version_2(0x21, 0x12, &V4, &[]),
            version_2(0x21, 0x41, &V4, &[]),
            version_2(0x21, 0x21, &V4, &[]),
            version_2(0x21, 0x11, &V4, &[4, 0]),
            version_2(0x21, 0x11, &V4, &[4, 0, 2, 0]),
            version_2(0x21, 0x11, &V4, &[3, 0, 3, 0, 0, 0]),
        ] {
            assert_eq!(fed(&octets, b""), Err(ProxyError::Malformed), "{octets:x?}");
        }
        assert_eq!(fed(&version_2(0x21, 0x11, &V4, &[0; 3000]), b""), Err(ProxyError::TooLong));
        assert_eq!(read(&[version_2(0x20, 0, &[], &[]), vec![1]].concat()), Err(ProxyError::Signature));
    }

    #[test]
    fn version_2_checksum() {
        assert_eq!(crc32c(b"123456789".iter().copied()), 0xE306_9283);
        let unsummed = version_2(0x21, 0x11, &V4, &[3, 0, 4, 0, 0, 0, 0, 4, 0, 1, 9]);
        let sum = crc32c(unsummed.iter().copied()).to_be_bytes();
        let fields = [&[3, 0, 4], &sum[..], &[4, 0, 1, 9]].concat();
        let summed = version_2(0x21, 0x11, &V4, &fields);
        assert_eq!(fed(&summed, b"").map(|(header, _)| header), Ok(ends("198.51.100.7:4000", "192.0.2.1:25")));
        let damaged = version_2(0x21, 0x11, &[198, 51, 100, 8, 192, 0, 2, 1, 0x0f, 0xa0, 0, 25], &fields);
        assert_eq!(fed(&damaged, b""), Err(ProxyError::Checksum));
    }
}
