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
    use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
    use std::time::Duration;

    use base64::Engine;
    use base64::engine::general_purpose::STANDARD;
    use hickory_resolver::proto::dnssec::crypto::Ed25519SigningKey;
    use hickory_resolver::proto::dnssec::rdata::{DNSKEY, DNSSECRData, NSEC, RRSIG};
    use hickory_resolver::proto::dnssec::{DnssecSigner, PublicKey, SigningKey};
    use hickory_resolver::proto::op::{Message, OpCode};
    use hickory_resolver::proto::rr::rdata::{A, MX, SOA, TLSA};
    use hickory_resolver::proto::rr::{DNSClass, RecordSet};

    use super::*;
    use crate::config::{Dns as Config, Span};

    fn name(text: &str) -> Name {
        Name::from_ascii(text).unwrap()
    }

    /// A root of our own, signed, which knows these records and denies all others; what is at `forged.` was changed
    /// since, and of what is at `stripped.` nothing is left.
    struct Root {
        signer: DnssecSigner,
        key: DNSKEY,
        records: Vec<(Name, RData)>,
    }

    impl Root {
        fn new() -> Root {
            let pkcs8 = Ed25519SigningKey::generate_pkcs8().unwrap();
            let signing = Ed25519SigningKey::from_pkcs8(&pkcs8).unwrap();
            let key = DNSKEY::new(true, true, false, signing.to_public_key().unwrap());
            let signer =
                DnssecSigner::new(key.clone(), Box::new(signing), Name::root(), Duration::from_secs(20 * 365 * 86_400));
            let tlsa = TLSA::new(3.into(), 1.into(), 1.into(), vec![7; 32]);
            let records = vec![
                (name("d.example."), RData::MX(MX::new(10, name("mx.d.example.")))),
                (name("mx.d.example."), RData::A(A(Ipv4Addr::LOCALHOST))),
                (name("_25._tcp.mx.d.example."), RData::TLSA(tlsa)),
                (name("forged."), RData::A(A(Ipv4Addr::LOCALHOST))),
            ];
            Root { signer, key, records }
        }

        /// The keys as the file of trust anchors has them.
        fn anchor(&self) -> String {
            format!(". IN DNSKEY 257 3 15 {}\n", STANDARD.encode(self.key.public_key().public_bytes()))
        }

        fn signed(&self, owner: &Name, data: &RData) -> Vec<hickory_resolver::proto::rr::Record> {
            let mut set = RecordSet::with_ttl(owner.clone(), data.record_type(), 60);
            set.add_rdata(data.clone());
            let since = rcgen::date_time_ymd(2020, 1, 1);
            let signature = RRSIG::from_rrset(&set, DNSClass::IN, since, &self.signer).unwrap();
            let mut records: Vec<_> = set.records_without_rrsigs().cloned().collect();
            if *owner == name("forged.") {
                records[0].data = RData::A(A(Ipv4Addr::new(192, 0, 2, 66)));
            }
            let signature = RData::DNSSEC(DNSSECRData::RRSIG(signature));
            records.push(hickory_resolver::proto::rr::Record::from_rdata(owner.clone(), 60, signature));
            records
        }

        fn answer(&self, question: &[u8]) -> Vec<u8> {
            let asked = Message::from_vec(question).unwrap();
            let query = asked.queries[0].clone();
            let mut message = Message::response(asked.metadata.id, OpCode::Query);
            message.add_query(query.clone());
            message.edns.clone_from(&asked.edns);
            let (owner, kind) = (query.name().to_lowercase(), query.query_type());
            let key = RData::DNSSEC(DNSSECRData::DNSKEY(self.key.clone()));
            let keys = [(Name::root(), key)];
            let mut found =
                self.records.iter().chain(&keys).filter(|(known, data)| *known == owner && data.record_type() == kind);
            if let Some((owner, data)) = found.next() {
                message.add_answers(self.signed(owner, data));
            } else if owner != name("stripped.") {
                // Whatever is not there is a name without such records: its own NSEC says so.
                let next = name("zzz").append_domain(&owner).unwrap();
                let nsec = NSEC::new_cover_self(next, []);
                message.add_authorities(self.signed(&owner, &RData::DNSSEC(DNSSECRData::NSEC(nsec))));
                let soa = RData::SOA(SOA::new(name("ns."), name("root."), 1, 60, 60, 60, 60));
                message.add_authorities(self.signed(&Name::root(), &soa));
            }
            message.to_vec().unwrap()
        }

        fn serve(self) -> SocketAddr {
            let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
            let address = socket.local_addr().unwrap();
            std::thread::spawn(move || {
                let mut buffer = [0; 4096];
                while let Ok((length, peer)) = socket.recv_from(&mut buffer) {
                    let _ = socket.send_to(&self.answer(&buffer[..length]), peer);
                }
            });
            address
        }
    }

    fn asking(server: SocketAddr, dnssec: bool, trust_anchor: Option<std::path::PathBuf>) -> Dns {
        let config = Config { servers: vec![server], timeout: Span(Duration::from_secs(2)), dnssec, trust_anchor };
        Dns { resolver: crate::dns::validating(&config).unwrap() }
    }

    /// RFC 4035 §4.3: what is signed counts, what was changed since is no answer, and without validation nothing counts.
    #[tokio::test(flavor = "multi_thread", worker_threads = 1)]
    async fn dnssec_vouches_for_answers() {
        let root = Root::new();
        let folder = tempfile::tempdir().unwrap();
        let anchor = folder.path().join("root.key");
        std::fs::write(&anchor, root.anchor()).unwrap();
        let server = root.serve();
        let dns = asking(server, true, Some(anchor));
        let found = dns.mx("d.example").await.unwrap();
        assert_eq!(found.records, [Mx { preference: 10, exchange: "mx.d.example".into() }]);
        assert!(found.secure);
        let found = dns.addresses("mx.d.example").await.unwrap();
        assert_eq!((found.records, found.secure), (vec![IpAddr::from([127, 0, 0, 1])], true));
        let found = dns.tlsa("_25._tcp.mx.d.example").await.unwrap();
        assert!(found.secure && found.records[0].is_usable(), "{found:?}");
        let none = dns.tlsa("_25._tcp.other.d.example").await.unwrap();
        assert!(none.records.is_empty(), "denied, and vouched for");
        assert_eq!(dns.tlsa("stripped").await, Err(LookupError::Bogus), "denied by nobody who may");
        assert_eq!(dns.addresses("forged").await, Err(LookupError::Bogus));
        let plain = asking(server, false, None);
        let found = plain.mx("d.example").await.unwrap();
        assert_eq!((found.records.len(), found.secure), (1, false));
        // Signed, but not by a root that anybody knows.
        let stranger = asking(server, true, None);
        assert!(stranger.mx("d.example").await.is_err_and(|error| error != LookupError::NoSuchName));
    }

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
