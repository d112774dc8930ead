//! The questions a [`Targets`](super::Targets) asks, and their answers.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use super::dane::Tlsa;
use super::sts::Policy;
use crate::client::TlsPolicy;
use crate::client::request::{Failure, Outcome, Stage};

/// The MX records of a domain.
#[derive(Debug)]
#[non_exhaustive]
pub struct LookupMx {
    /// The domain, in A-labels.
    pub domain: String,
}

/// The addresses of a host.
#[derive(Debug)]
#[non_exhaustive]
pub struct LookupAddresses {
    /// The host, in A-labels.
    pub host: String,
}

/// The TLSA records of a host's port (RFC 7672 §2.2.3).
#[derive(Debug)]
#[non_exhaustive]
pub struct LookupTlsa {
    /// The port of the service.
    pub port: u16,
    /// The host, in A-labels.
    pub host: String,
}

impl LookupTlsa {
    /// The name that is asked for.
    // RFC 6698 §3: the port and the transport stand before the host's name.
    #[must_use]
    pub fn name(&self) -> String {
        format!("_{}._tcp.{}", self.port, self.host)
    }
}

/// The MTA-STS policy of a domain (RFC 8461 §3), from the cache or fetched.
#[derive(Debug)]
#[non_exhaustive]
pub struct FindPolicy {
    /// The domain, in A-labels.
    pub domain: String,
}

/// Connect and send: what came of it?
#[derive(Debug)]
#[non_exhaustive]
pub struct Attempt {
    /// Where to, and how.
    pub target: Target,
}

/// Records, and whether they can be believed.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Found<T> {
    /// The records; there may be none.
    pub records: Vec<T>,
    /// Whether DNSSEC vouches for them, or for there being none (RFC 4035 §4.3).
    pub secure: bool,
    /// The name they were found under, where aliases led away from the name that was asked for.
    pub canonical: Option<String>,
}

impl<T> Found<T> {
    /// Records that nobody vouches for.
    #[must_use]
    pub fn insecure(records: Vec<T>) -> Found<T> {
        Found { records, secure: false, canonical: None }
    }

    /// Records that DNSSEC vouches for.
    #[must_use]
    pub fn secure(records: Vec<T>) -> Found<T> {
        Found { records, secure: true, canonical: None }
    }
}

/// An MX record (RFC 1035 §3.3.9).
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Mx {
    /// The lowest is tried first.
    pub preference: u16,
    /// The host; empty for the root, which means that no mail is taken (RFC 7505 §3).
    pub exchange: String,
}

/// Why there is no answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LookupError {
    /// The name does not exist.
    #[error("no such name")]
    NoSuchName,
    /// Nobody answered, or not in time, or with a failure.
    #[error("no answer")]
    Unavailable,
    /// An answer came, and DNSSEC says that it is forged.
    #[error("the answer is forged")]
    Bogus,
}

/// What answers a look-up.
pub type Looked<T> = Result<Found<T>, LookupError>;

/// A host to try.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Target {
    /// Its name, in A-labels, or the address literal.
    pub host: String,
    /// Where to connect.
    pub address: SocketAddr,
    /// What the connection must be.
    pub security: Security,
}

/// What a connection must be before mail goes over it, weakest first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Security {
    /// In clear: opportunistic TLS did not work with this host.
    Clear,
    /// TLS where it is offered, with any certificate (RFC 7435 §3).
    Opportunistic,
    /// TLS with any certificate, or nothing is sent: the host has TLSA records, none of which can be used
    /// (RFC 7672 §2.2).
    Encrypted,
    /// TLS with a certificate that the usual authorities vouch for, for one of these names.
    Verified {
        /// The names a certificate may have.
        names: Vec<String>,
        /// Whether mail waits rather than leave without it; not while an MTA-STS policy is only tested.
        enforced: bool,
    },
    /// TLS with a certificate that a TLSA record means.
    Dane {
        /// The usable records.
        records: Arc<[Tlsa]>,
        /// The names a certificate below a trust anchor may have.
        names: Vec<String>,
    },
}

impl Security {
    /// What a [`Client`](crate::Client) is told about STARTTLS.
    #[must_use]
    pub fn client_policy(&self) -> TlsPolicy {
        match self {
            Security::Clear => TlsPolicy::None,
            Security::Opportunistic => TlsPolicy::Opportunistic,
            Security::Encrypted | Security::Verified { .. } | Security::Dane { .. } => TlsPolicy::Required,
        }
    }

    /// Whether the other end is known to be who it should be.
    #[must_use]
    pub fn is_verified(&self) -> bool {
        matches!(self, Security::Verified { .. } | Security::Dane { .. })
    }
}

/// What came of an attempt.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Attempted {
    /// Every recipient has an outcome that no other host would better.
    Settled,
    /// No connection, or it ended before the server took anything: another address may do better.
    Failed(Failure),
    /// TLS could not be had as it was asked for: not offered, the handshake failed, the certificate was no good.
    Insecure(Failure),
}

impl Attempted {
    /// What the outcomes of one connection mean for the search.
    // RFC 5321 §5.1: another host is tried when this one can't be reached or takes no mail now; a refusal of the message
    // or of a recipient stands.
    #[must_use]
    pub fn of(outcomes: &[Outcome]) -> Attempted {
        let mut last = None;
        for outcome in outcomes {
            let failure = match outcome {
                Outcome::Deferred(failure) => failure,
                // RFC 7504 §3: this host takes no mail; others may.
                Outcome::Failed(failure) if matches!(failure.stage, Stage::Greeting | Stage::Hello) => failure,
                // RFC 8689 §4.2.1, RFC 6531 §3.4: what one host lacks another may offer.
                Outcome::Failed(failure) if failure.stage == Stage::Requirements => failure,
                _ => return Attempted::Settled,
            };
            let early = matches!(
                failure.stage,
                Stage::Lookup
                    | Stage::Connect
                    | Stage::Requirements
                    | Stage::Greeting
                    | Stage::Hello
                    | Stage::StartTls
                    | Stage::Auth
                    | Stage::Mail
            );
            if !early {
                return Attempted::Settled;
            }
            last = Some(failure);
        }
        match last {
            None => Attempted::Settled,
            Some(failure) if failure.stage == Stage::StartTls => Attempted::Insecure(failure.clone()),
            Some(failure) => Attempted::Failed(failure.clone()),
        }
    }
}

mailstore_trait::questions! {
    /// The MX records of a domain.
    LookupMx -> Looked<Mx>, refused by Err(LookupError::Unavailable);
    /// The addresses of a host, in the order in which they are to be tried.
    LookupAddresses -> Looked<IpAddr>, refused by Err(LookupError::Unavailable);
    /// The TLSA records of a host's port.
    LookupTlsa -> Looked<Tlsa>, refused by Err(LookupError::Unavailable);
    /// A domain's MTA-STS policy, if it has one.
    FindPolicy -> Option<Arc<Policy>>, refused by None;
    /// What came of an attempt.
    Attempt -> Attempted, refused by Attempted::Settled;
}
