//! The search for a host that takes mail for a domain.
//!
//! RFC 5321 §5.1, RFC 7505 §3, RFC 7672 §2, RFC 8461 §4 and §5, RFC 8689 §4.2.1. One question is out at a time; what to do
//! next follows from the answers so far. The order of protection is REQUIRETLS, DANE, MTA-STS, opportunistic TLS, and a
//! step down is taken only where nobody asked for more.
//!
//! ```text
//!  Start ─▶ AwaitPolicy ─▶ AwaitMx ─▶ NextHost ─▶ AwaitAddresses ─▶ AwaitTlsa ─▶ NextAddress ⇄ AwaitAttempt
//!                                        ▲                                            │             │ settled
//!                                        └──────────── no address left ───────────────┘             ▼
//!                                                 no host left ─▶ Exhausted                      Settled
//! ```

use std::collections::VecDeque;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use mailstore_trait::session::{Asking, Question};

use super::dane::Tlsa;
use super::domain::Domain;
use super::request::{
    Answer, Answered, Attempt, Attempted, FindPolicy, Found, Looked, LookupAddresses, LookupError, LookupMx,
    LookupTlsa, Mx, Request, Security, Target,
};
use super::sts::{Mode, Policy};
use crate::client::request::{Failure, Outcome, Stage, local};
use crate::reply::Reply;

/// How hosts are sought.
#[derive(Clone, Debug)]
pub struct Config {
    /// This host's own names, A-labels in lower case: what is routed to one of them comes back here.
    pub own: Vec<String>,
    /// The port of every host; 25 but in tests.
    pub port: u16,
    /// Whether TLSA records are looked up. Only with a resolver that tells what DNSSEC vouches for.
    pub dane: bool,
    /// Whether MTA-STS policies are asked for.
    pub sts: bool,
    /// Counts.
    pub limits: Limits,
}

impl Config {
    /// For a host of this name: port 25, DANE and MTA-STS.
    pub fn new(own: impl Into<String>) -> Config {
        Config { own: vec![own.into()], port: 25, dane: true, sts: true, limits: Limits::default() }
    }
}

/// How far a search goes. RFC 5321 §5.1 wants at least two addresses tried.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Hosts of one destination.
    pub hosts: usize,
    /// Addresses of one host.
    pub addresses: usize,
    /// Connections in all.
    pub attempts: usize,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits { hosts: 10, addresses: 5, attempts: 10 }
    }
}

/// What the message itself says of TLS.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Requirement {
    /// Nothing: the domain's own policies decide.
    #[default]
    Policy,
    /// REQUIRETLS (RFC 8689 §2): verified hosts over verified TLS, or not at all.
    Verified,
    /// `TLS-Required: No` (RFC 8689 §3): delivery matters more than the domain's policies.
    Optional,
}

impl Requirement {
    /// What the envelope and the header of a message ask for. `header` may be the whole message.
    // RFC 8689 §3: a field `TLS-Required: No` asks for delivery before protection; REQUIRETLS overrides it, and any other
    // value says nothing.
    #[must_use]
    pub fn of(require_tls: bool, header: &[u8]) -> Requirement {
        if require_tls {
            return Requirement::Verified;
        }
        for line in header.split(|octet| *octet == b'\n').map(<[u8]>::trim_ascii_end) {
            if line.is_empty() {
                break;
            }
            let Some((name, value)) = std::str::from_utf8(line).ok().and_then(|line| line.split_once(':')) else {
                continue;
            };
            if name.trim_end().eq_ignore_ascii_case("TLS-Required") && value.trim().eq_ignore_ascii_case("No") {
                return Requirement::Optional;
            }
        }
        Requirement::Policy
    }
}

/// What to do next.
#[must_use]
#[derive(Debug)]
pub enum Step {
    /// Answer this question.
    Request(Request),
    /// A question is out.
    Wait,
    /// The search is over. `Some`: nobody was reached or would take it, and this is what is said of every recipient that
    /// no connection gave an outcome; `None`: the last connection said what became of each.
    Done(Option<Outcome>),
}

/// The search for a host that takes mail for one destination.
#[derive(Debug)]
pub struct Targets {
    config: Arc<Config>,
    domain: Domain,
    requirement: Requirement,
    random: u64,
    asking: Asking,
    answer: Option<Answer>,
    state: State,
    policy: Option<Arc<Policy>>,
    /// DNSSEC vouches for the list of hosts.
    secure: bool,
    hosts: VecDeque<String>,
    host: Host,
    left: usize,
    /// What went wrong last, for now and for good.
    deferred: Option<Failure>,
    failed: Option<Failure>,
}

/// The host at hand.
#[derive(Debug, Default)]
struct Host {
    name: String,
    targets: VecDeque<Target>,
    addresses: Vec<IpAddr>,
    /// Names whose TLSA records are still to be asked for.
    bases: VecDeque<String>,
}

#[derive(Debug)]
enum State {
    Start,
    AwaitPolicy,
    Locate,
    AwaitMx,
    NextHost,
    AwaitAddresses,
    NextBase,
    AwaitTlsa(String),
    NextAddress,
    AwaitAttempt(Target),
    Settled,
    Exhausted,
}

impl Targets {
    /// A search that begins with its first poll. `random` orders hosts of the same preference.
    #[must_use]
    pub fn new(config: Arc<Config>, domain: Domain, requirement: Requirement, random: u64) -> Targets {
        Targets {
            left: config.limits.attempts,
            config,
            domain,
            requirement,
            random,
            asking: Asking::default(),
            answer: None,
            state: State::Start,
            policy: None,
            secure: false,
            hosts: VecDeque::new(),
            host: Host::default(),
            deferred: None,
            failed: None,
        }
    }

    /// The domain's MTA-STS policy, once it was asked for.
    #[must_use]
    pub fn policy(&self) -> Option<&Arc<Policy>> {
        self.policy.as_ref()
    }

    /// Continues with an answer. One with a stale id is ignored.
    pub fn resume(&mut self, answered: Answered) {
        if self.asking.accept(answered.id) {
            self.answer = Some(answered.answer);
        }
    }

    /// What to do next; poll again after each answer.
    pub fn poll(&mut self) -> Step {
        loop {
            if let Some(answer) = self.answer.take() {
                self.answered(answer);
            }
            match &self.state {
                _ if self.asking.is_out() => return Step::Wait,
                State::Settled => return Step::Done(None),
                State::Exhausted => return Step::Done(Some(self.verdict())),
                State::Start => match self.domain.clone() {
                    Domain::Literal(address) => {
                        // RFC 5321 §5: an address literal is where it says; there is nothing to look up.
                        self.host = Host { name: self.domain.to_string(), ..Host::default() };
                        self.host.addresses.push(address);
                        self.decide(Tlsas::None);
                    }
                    Domain::Name(domain) if self.config.sts && self.requirement != Requirement::Optional => {
                        return self.ask(FindPolicy { domain }, State::AwaitPolicy);
                    }
                    Domain::Name(_) => self.state = State::Locate,
                },
                State::Locate => {
                    let domain = self.domain.name().unwrap_or_default().to_owned();
                    return self.ask(LookupMx { domain }, State::AwaitMx);
                }
                State::NextHost => match self.hosts.pop_front() {
                    None => self.state = State::Exhausted,
                    Some(host) => {
                        // RFC 8461 §5: a host that the policy does not name is no host of this domain.
                        let enforced = self.enforced().is_some_and(|policy| !policy.permits(&host));
                        if enforced && self.requirement != Requirement::Optional {
                            self.note(Stage::StartTls, NOT_PERMITTED);
                            continue;
                        }
                        self.host = Host { name: host.clone(), ..Host::default() };
                        return self.ask(LookupAddresses { host }, State::AwaitAddresses);
                    }
                },
                // RFC 7672 §2.2.3: the name at the end of the aliases is asked for first.
                State::NextBase => match self.host.bases.pop_front() {
                    None => self.decide(Tlsas::None),
                    Some(host) => {
                        let query = LookupTlsa { port: self.config.port, host: host.clone() };
                        return self.ask(query, State::AwaitTlsa(host));
                    }
                },
                State::NextAddress => match self.host.targets.pop_front() {
                    None => self.state = State::NextHost,
                    Some(_) if self.left == 0 => self.state = State::Exhausted,
                    Some(target) => {
                        self.left -= 1;
                        return self.ask(Attempt { target: target.clone() }, State::AwaitAttempt(target));
                    }
                },
                // A question was out, and its answer was another's.
                _ => self.state = State::Exhausted,
            }
        }
    }

    fn ask<Q: Question<Request = Request>>(&mut self, query: Q, state: State) -> Step {
        self.state = state;
        Step::Request(self.asking.ask(query))
    }

    fn enforced(&self) -> Option<&Policy> {
        self.policy.as_deref().filter(|policy| policy.mode == Mode::Enforce)
    }

    fn answered(&mut self, answer: Answer) {
        match (std::mem::replace(&mut self.state, State::Exhausted), answer) {
            (State::AwaitPolicy, Answer::FindPolicy(policy)) => {
                self.policy = policy;
                self.state = State::Locate;
            }
            (State::AwaitMx, Answer::LookupMx(found)) => self.exchanges(found),
            (State::AwaitAddresses, Answer::LookupAddresses(found)) => self.addresses(found),
            (State::AwaitTlsa(base), Answer::LookupTlsa(found)) => self.tlsa(base, found),
            (State::AwaitAttempt(target), Answer::Attempt(attempted)) => self.attempted(target, attempted),
            _ => {}
        }
    }

    fn exchanges(&mut self, found: Looked<Mx>) {
        let found = match found {
            Ok(found) => found,
            // RFC 5321 §5.1: a domain that does not exist is an error; one whose look-up failed is tried again.
            Err(LookupError::NoSuchName) => return self.note(Stage::Lookup, NO_SUCH_DOMAIN),
            Err(LookupError::Unavailable) => return self.note(Stage::Lookup, NO_DNS),
            Err(LookupError::Bogus) => return self.note(Stage::Lookup, FORGED),
        };
        self.secure = found.secure;
        let none_given = found.records.is_empty();
        let (mut records, null): (Vec<Mx>, Vec<Mx>) =
            found.records.into_iter().partition(|record| !record.exchange.is_empty());
        // RFC 7505 §3: a lone record without a host says that there is no mail here.
        if records.is_empty() && !null.is_empty() {
            return self.note(Stage::Lookup, NULL_MX);
        }
        // RFC 5321 §5.1: without MX records the domain itself is the host.
        if none_given {
            let exchange = self.domain.name().unwrap_or_default().to_owned();
            records.push(Mx { preference: 0, exchange });
        }
        let own = |record: &Mx| self.config.own.contains(&record.exchange);
        // RFC 5321 §5.1: where this host is among them, it and all that are not before it are left out.
        if let Some(limit) = records.iter().filter(|record| own(record)).map(|record| record.preference).min() {
            records.retain(|record| record.preference < limit);
            if records.is_empty() {
                return self.note(Stage::Lookup, LOOP);
            }
        }
        // RFC 5321 §5.1: by preference, those of the same one in no order of their own.
        let mut records: Vec<(u16, u64, String)> =
            records.into_iter().map(|record| (record.preference, self.draw(), record.exchange)).collect();
        records.sort();
        let mut seen = Vec::new();
        for (_, _, exchange) in records {
            if seen.len() < self.config.limits.hosts && !seen.contains(&exchange) {
                seen.push(exchange);
            }
        }
        self.hosts = seen.into();
        self.state = State::NextHost;
    }

    /// The next of a row of random numbers that begins with the given one (splitmix64).
    fn draw(&mut self) -> u64 {
        self.random = self.random.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.random ^ (self.random >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    fn addresses(&mut self, found: Looked<IpAddr>) {
        self.state = State::NextHost;
        let Found { mut records, secure, canonical } = match found {
            Ok(found) if !found.records.is_empty() => found,
            Ok(_) | Err(LookupError::NoSuchName) => return self.note(Stage::Lookup, NO_SUCH_HOST),
            Err(LookupError::Unavailable) => return self.note(Stage::Lookup, NO_DNS),
            Err(LookupError::Bogus) => return self.note(Stage::Lookup, FORGED),
        };
        records.truncate(self.config.limits.addresses);
        self.host.addresses = records;
        // RFC 7672 §2.2.1: TLSA records count only where DNSSEC vouches for the host, and for its being the host; others
        // are not even asked for, so that name servers that know nothing of them hold nothing up.
        if self.config.dane && self.secure && secure && self.requirement != Requirement::Optional {
            let name = self.host.name.clone();
            self.host.bases = canonical.into_iter().filter(|canonical| *canonical != name).collect();
            self.host.bases.push_back(name);
        }
        self.state = State::NextBase;
    }

    fn tlsa(&mut self, base: String, found: Looked<Tlsa>) {
        self.state = State::NextBase;
        match found {
            Ok(found) if found.secure && !found.records.is_empty() => {
                let usable: Vec<Tlsa> = found.records.into_iter().filter(Tlsa::is_usable).collect();
                self.decide(if usable.is_empty() { Tlsas::Unusable } else { Tlsas::Usable(base, usable.into()) });
            }
            Ok(_) | Err(LookupError::NoSuchName) => {}
            // RFC 7672 §2.1.2: whether there are records is not known, so nothing may be sent to this host now.
            Err(LookupError::Unavailable | LookupError::Bogus) => {
                self.state = State::NextHost;
                self.note(Stage::StartTls, NO_TLSA);
            }
        }
    }

    /// The host's protection is known: its addresses can be tried.
    fn decide(&mut self, tlsas: Tlsas) {
        let name = self.host.name.clone();
        let enforced = self.enforced().is_some_and(|policy| policy.permits(&name));
        let verified = |enforced| Security::Verified { names: vec![name.clone()], enforced };
        let security = match (tlsas, self.requirement) {
            // RFC 8689 §4.2.2: the sender would rather have it arrive than be protected.
            (_, Requirement::Optional) => Security::Opportunistic,
            // RFC 7672 §3.2.2: below a trust anchor the names are the host's, and the domain's.
            (Tlsas::Usable(base, records), _) => {
                let mut names = vec![base];
                names.extend([Some(name.clone()), self.domain.name().map(str::to_owned)].into_iter().flatten());
                names.dedup();
                Security::Dane { records, names }
            }
            // RFC 8689 §4.2.1: who the host is must be known by DNSSEC or MTA-STS, and its certificate be for that name.
            (_, Requirement::Verified) if self.secure || enforced || self.domain.name().is_none() => verified(true),
            (_, Requirement::Verified) => {
                self.state = State::NextHost;
                return self.note(Stage::Requirements, NOT_VERIFIED);
            }
            (Tlsas::Unusable, _) => Security::Encrypted,
            (Tlsas::None, _) if enforced => verified(true),
            (Tlsas::None, _) if self.is_tested(&name) => verified(false),
            (Tlsas::None, _) => Security::Opportunistic,
        };
        let port = self.config.port;
        let target = |address| Target {
            host: name.clone(),
            address: SocketAddr::new(address, port),
            security: security.clone(),
        };
        self.host.targets = std::mem::take(&mut self.host.addresses).into_iter().map(target).collect();
        self.state = State::NextAddress;
    }

    fn is_tested(&self, host: &str) -> bool {
        self.policy.as_ref().is_some_and(|policy| policy.mode == Mode::Testing && policy.permits(host))
    }

    fn attempted(&mut self, target: Target, attempted: Attempted) {
        self.state = State::NextAddress;
        let failure = match attempted {
            Attempted::Settled => {
                self.state = State::Settled;
                return;
            }
            Attempted::Failed(failure) => failure,
            Attempted::Insecure(failure) => {
                // RFC 7435 §3, RFC 8461 §5: where nobody asked for more, the same host is tried with less.
                let weaker = match target.security {
                    Security::Opportunistic => Some(Security::Clear),
                    Security::Verified { enforced: false, .. } => Some(Security::Opportunistic),
                    _ => None,
                };
                if let Some(security) = weaker {
                    self.left += 1;
                    self.host.targets.push_front(Target { security, ..target });
                    return;
                }
                failure
            }
        };
        self.keep(failure);
    }

    /// Notes why a host, or the whole search, came to nothing.
    fn note(&mut self, stage: Stage, reply: Reply) {
        self.keep(Failure { stage, reply, remote: false });
    }

    fn keep(&mut self, failure: Failure) {
        match Outcome::from(failure) {
            Outcome::Failed(failure) => self.failed = Some(failure),
            Outcome::Deferred(failure) => self.deferred = Some(failure),
            Outcome::Delivered(_) => {}
        }
    }

    /// What is said of everybody when no host took the mail: as long as one of them may yet, it is only deferred.
    fn verdict(&self) -> Outcome {
        let nobody = || Failure { stage: Stage::Lookup, reply: NO_SUCH_HOST, remote: false };
        match (&self.deferred, &self.failed) {
            (Some(deferred), _) => Outcome::Deferred(deferred.clone()),
            (None, failed) => Outcome::Failed(failed.clone().unwrap_or_else(nobody)),
        }
    }
}

/// What a host's TLSA records say.
enum Tlsas {
    /// There are none that could be believed.
    None,
    /// There are, but none this host can use.
    Unusable,
    /// These, found under this name.
    Usable(String, Arc<[Tlsa]>),
}

// RFC 7505 §3 for the null MX, RFC 3463 §3.2 and §3.5 for the others, and the registry for REQUIRETLS.
const NULL_MX: Reply = local(556, (5, 1, 10), "The domain takes no mail");
const NO_SUCH_DOMAIN: Reply = local(550, (5, 1, 2), "The domain does not exist");
const NO_SUCH_HOST: Reply = local(550, (5, 4, 4), "The domain's mail hosts have no address");
const LOOP: Reply = local(554, (5, 4, 6), "Mail for the domain comes back to this host");
const NO_DNS: Reply = local(451, (4, 4, 3), "The name servers do not answer");
const FORGED: Reply = local(451, (4, 4, 3), "The answer of the name servers is forged");
const NO_TLSA: Reply = local(451, (4, 7, 5), "The host's TLSA records can't be had");
const NOT_PERMITTED: Reply = local(451, (4, 7, 5), "The domain's MTA-STS policy does not name the host");
const NOT_VERIFIED: Reply = local(550, (5, 7, 30), "REQUIRETLS is needed, and nothing vouches for the host");

#[cfg(test)]
mod tests;
