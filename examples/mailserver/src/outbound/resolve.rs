//! DNS as the search for a domain's hosts asks it: over hickory, with what DNSSEC says of each answer.

use std::fmt;
use std::net::IpAddr;

use hickory_resolver::TokioResolver;
use hickory_resolver::lookup::Lookup;
use hickory_resolver::net::{DnsError, NetError};
use hickory_resolver::proto::dnssec::Proof;
use hickory_resolver::proto::op::ResponseCode;
use hickory_resolver::proto::rr::{Name, RData, RecordType};
use mailstore_trait::future::BoxFuture;
use smtp_proto::delivery::dane::Tlsa;
use smtp_proto::delivery::request::{Found, Looked, LookupError, Mx};
use smtp_proto::delivery::resolver::Resolver;

/// The resolver, and whether its proofs mean anything.
pub(super) struct Dns {
    pub(super) resolver: TokioResolver,
}

impl fmt::Debug for Dns {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Dns")
    }
}

impl Dns {
    async fn ask<T>(&self, name: &str, kind: RecordType, pick: impl Fn(&RData) -> Option<T>) -> Looked<T> {
        // With the final dot, so that no search domain is put behind it.
        let Ok(name) = Name::from_ascii(format!("{name}.")) else { return Err(LookupError::NoSuchName) };
        read(&name, self.resolver.lookup(name.clone(), kind).await, pick)
    }
}

/// What an answer says.
fn read<T>(name: &Name, answer: Result<Lookup, NetError>, pick: impl Fn(&RData) -> Option<T>) -> Looked<T> {
    let lookup = match answer {
        Ok(lookup) => lookup,
        Err(error) => return refused(&error),
    };
    let (mut records, mut owner) = (Vec::new(), None);
    for record in lookup.answers() {
        if let Some(value) = pick(&record.data) {
            records.push(value);
            owner = Some(&record.name);
        }
    }
    // The aliases on the way must be vouched for as well.
    let proofs = || lookup.answers().iter().map(|record| record.proof);
    if proofs().any(|proof| proof == Proof::Bogus) {
        return Err(LookupError::Bogus);
    }
    let secure = !records.is_empty() && proofs().all(|proof| proof.is_secure());
    let mut found = if secure { Found::secure(records) } else { Found::insecure(records) };
    found.canonical = owner.filter(|owner| *owner != name).map(plain);
    Ok(found)
}

fn refused<T>(error: &NetError) -> Looked<T> {
    let empty = |code: ResponseCode, secure: bool| match (code, secure) {
        (ResponseCode::NXDomain, _) => Err(LookupError::NoSuchName),
        (_, true) => Ok(Found::secure(Vec::new())),
        (_, false) => Ok(Found::insecure(Vec::new())),
    };
    match error {
        NetError::Dns(DnsError::NoRecordsFound(none)) => empty(none.response_code, false),
        NetError::Dns(DnsError::Nsec { proof: Proof::Bogus, .. } | DnsError::DnssecBogus) => Err(LookupError::Bogus),
        NetError::Dns(DnsError::Nsec { proof, response, .. }) => empty(response.response_code, proof.is_secure()),
        error => {
            tracing::debug!(%error, "a look-up failed");
            Err(LookupError::Unavailable)
        }
    }
}

fn plain(name: &Name) -> String {
    name.to_ascii().trim_end_matches('.').to_ascii_lowercase()
}

impl Resolver for Dns {
    fn mx<'a>(&'a self, domain: &'a str) -> BoxFuture<'a, Looked<Mx>> {
        Box::pin(self.ask(domain, RecordType::MX, |data| match data {
            RData::MX(mx) => Some(Mx { preference: mx.preference, exchange: plain(&mx.exchange) }),
            _ => None,
        }))
    }

    fn addresses<'a>(&'a self, host: &'a str) -> BoxFuture<'a, Looked<IpAddr>> {
        Box::pin(async move {
            let six = self.ask(host, RecordType::AAAA, |data| match data {
                RData::AAAA(address) => Some(IpAddr::V6(address.0)),
                _ => None,
            });
            let four = self.ask(host, RecordType::A, |data| match data {
                RData::A(address) => Some(IpAddr::V4(address.0)),
                _ => None,
            });
            let (six, four) = tokio::join!(six, four);
            both(six, four)
        })
    }

    fn tlsa<'a>(&'a self, name: &'a str) -> BoxFuture<'a, Looked<Tlsa>> {
        Box::pin(self.ask(name, RecordType::TLSA, |data| match data {
            RData::TLSA(tlsa) => Some(Tlsa {
                usage: tlsa.cert_usage.into(),
                selector: tlsa.selector.into(),
                matching: tlsa.matching.into(),
                data: tlsa.cert_data.clone(),
            }),
            _ => None,
        }))
    }

    fn txt<'a>(&'a self, name: &'a str) -> BoxFuture<'a, Looked<String>> {
        Box::pin(self.ask(name, RecordType::TXT, |data| match data {
            RData::TXT(txt) => Some(String::from_utf8_lossy(&txt.txt_data.concat()).into_owned()),
            _ => None,
        }))
    }
}

/// Addresses of both kinds, in turns, IPv6 first (RFC 8305 §4).
fn both(six: Looked<IpAddr>, four: Looked<IpAddr>) -> Looked<IpAddr> {
    let (six, four) = match (six, four) {
        (Ok(six), Ok(four)) => (six, four),
        // One kind is enough; a forged answer of the other kind is left where it is.
        (Ok(found), Err(_)) | (Err(_), Ok(found)) if !found.records.is_empty() => {
            return Ok(Found::insecure(found.records));
        }
        (Ok(_), Err(error)) | (Err(error), _) => return Err(error),
    };
    // What is not there proves nothing, but takes nothing away either.
    let fits = |found: &Found<IpAddr>| found.secure || found.records.is_empty();
    let secure = fits(&six) && fits(&four) && (six.secure || four.secure);
    let canonical = four.canonical.or(six.canonical);
    let (mut six, mut four) = (six.records.into_iter(), four.records.into_iter());
    let mut records = Vec::new();
    loop {
        let turn = [six.next(), four.next()];
        if turn == [None, None] {
            break;
        }
        records.extend(turn.into_iter().flatten());
    }
    let mut found = if secure { Found::secure(records) } else { Found::insecure(records) };
    found.canonical = canonical;
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_take_turns() {
        let four = |last: u8| IpAddr::from([192, 0, 2, last]);
        let six = |last: u16| IpAddr::from([0x2001, 0xdb8, 0, 0, 0, 0, 0, last]);
        let found = both(Ok(Found::insecure(vec![six(1)])), Ok(Found::secure(vec![four(1), four(2)]))).unwrap();
        assert_eq!((found.records, found.secure), (vec![six(1), four(1), four(2)], false));
        let only = both(Err(LookupError::Unavailable), Ok(Found::secure(vec![four(1)]))).unwrap();
        assert_eq!((only.records, only.secure), (vec![four(1)], false));
        let none = both(Ok(Found::secure(Vec::new())), Ok(Found::secure(vec![four(1)]))).unwrap();
        assert!(none.secure);
        assert_eq!(both(Err(LookupError::NoSuchName), Err(LookupError::NoSuchName)), Err(LookupError::NoSuchName));
        assert_eq!(both(Ok(Found::insecure(Vec::new())), Err(LookupError::Bogus)), Err(LookupError::Bogus));
    }
}
