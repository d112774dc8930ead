//! A destination: what stands behind the `@`, as it is looked up.
//!
//! RFC 5321 §4.1.3 and §5.1, RFC 5890 §2.3.2.1, RFC 6531 §3.2. Names become A-labels in lower case here, once, so that
//! every comparison behind this is one of octets.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Where mail goes.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Domain {
    /// A name in A-labels, lower case, without the final dot.
    Name(String),
    /// An address literal: no look-up at all.
    Literal(IpAddr),
}

/// A domain that can't be looked up.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a domain that mail can be sent to")]
pub struct DomainError;

impl Domain {
    /// Reads what stands behind the `@` of an address.
    ///
    /// # Errors
    /// When it is no name that DNS can hold, nor an address.
    // RFC 6531 §3.2: DNS is asked for the A-labels of a name.
    pub fn parse(text: &str) -> Result<Domain, DomainError> {
        if let Some(content) = text.strip_prefix('[') {
            let content = content.strip_suffix(']').ok_or(DomainError)?;
            // RFC 5321 §4.1.3: IPv4 bare, IPv6 behind a tag; other tags name nothing that could be connected to.
            let address = match content.split_once(':') {
                None => content.parse::<Ipv4Addr>().map(IpAddr::V4),
                Some((tag, address)) if tag.eq_ignore_ascii_case("IPv6") => address.parse::<Ipv6Addr>().map(IpAddr::V6),
                Some(_) => return Err(DomainError),
            };
            return address.map(Domain::Literal).map_err(|_| DomainError);
        }
        name(text).map(Domain::Name).ok_or(DomainError)
    }

    /// The name, if it is one.
    #[must_use]
    pub fn name(&self) -> Option<&str> {
        match self {
            Domain::Name(name) => Some(name),
            Domain::Literal(_) => None,
        }
    }
}

impl fmt::Display for Domain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Domain::Name(name) => f.write_str(name),
            Domain::Literal(IpAddr::V4(address)) => write!(f, "[{address}]"),
            Domain::Literal(IpAddr::V6(address)) => write!(f, "[IPv6:{address}]"),
        }
    }
}

/// A host or domain name as it is compared and looked up: A-labels, lower case, no final dot.
#[must_use]
pub fn name(text: &str) -> Option<String> {
    let name = idna::domain_to_ascii_cow(text.as_bytes(), idna::AsciiDenyList::EMPTY).ok()?;
    let name = name.strip_suffix('.').unwrap_or(&name);
    // RFC 1035 §2.3.4: labels of 63 octets, names of 255 with their lengths.
    let fits = (1..=253).contains(&name.len())
        && name.split('.').all(|label| (1..=63).contains(&label.len()))
        && name.bytes().all(|octet| octet.is_ascii_alphanumeric() || matches!(octet, b'-' | b'_' | b'.'));
    fits.then(|| name.to_ascii_lowercase())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn domains_become_a_labels() {
        let name = |text: &str| Domain::parse(text).ok().map(|domain| domain.to_string());
        assert_eq!(name("Example.ORG."), Some("example.org".into()));
        assert_eq!(name("b\u{fc}cher.example"), Some("xn--bcher-kva.example".into()));
        assert_eq!(name("B\u{dc}CHER.example"), Some("xn--bcher-kva.example".into()));
        assert_eq!(name("XN--bcher-KVA.example"), Some("xn--bcher-kva.example".into()));
        assert_eq!(name("\u{4f8b}\u{3048}\u{3002}\u{30c6}\u{30b9}\u{30c8}"), Some("xn--r8jz45g.xn--zckzah".into()));
        let long = format!("{}.example", "a".repeat(64));
        for bad in ["", ".", "a..b", ".a", "a b", "a\0b", "xn--\u{fc}", &long, &"a.".repeat(200)] {
            assert_eq!(Domain::parse(bad), Err(DomainError), "{bad}");
        }
    }

    #[test]
    fn literals_are_addresses() {
        assert_eq!(Domain::parse("[192.0.2.1]"), Ok(Domain::Literal([192, 0, 2, 1].into())));
        let six = Domain::parse("[ipv6:2001:DB8::1]").unwrap();
        assert_eq!(six.to_string(), "[IPv6:2001:db8::1]");
        assert_eq!(six.name(), None);
        for bad in ["[", "[]", "[192.0.2]", "[x:y]", "[192.0.2.1", "[2001:db8::1]"] {
            assert_eq!(Domain::parse(bad), Err(DomainError), "{bad}");
        }
    }
}
