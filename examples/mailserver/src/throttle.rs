//! What one address may cost: connections at the same time, and failed logins.

use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use mailstore_trait::auth::{Attempt, Authenticator};
use mailstore_trait::directory::Principal;
use mailstore_trait::error::DirectoryError;
use mailstore_trait::future::BoxFuture;
use mailstore_trait::sasl::{Answer, Ask, Failure, Identity, Mechanism, Refusal};

/// How long failed logins are remembered.
const MEMORY: Duration = Duration::from_secs(10 * 60);
/// Addresses remembered at most; beyond that the forgotten ones make room.
const REMEMBERED: usize = 100_000;

/// Counts by address, for all listeners together.
#[derive(Debug)]
pub(crate) struct Throttle {
    per_address: usize,
    in_all: usize,
    failed_logins: u32,
    names: RandomState,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    connections: HashMap<IpAddr, usize>,
    open: usize,
    failures: HashMap<IpAddr, Failures>,
    /// Whose login a connection last asked for, until it is known how that ended.
    asked: HashMap<SocketAddr, Name>,
}

#[derive(Debug)]
struct Failures {
    count: u32,
    last: Instant,
    /// Whose login failed, as long as it was always the same one's.
    only: Option<Name>,
}

/// A user's name, hashed: names come from clients and are as long as they like.
type Name = u64;

impl Failures {
    fn has_passed(&self, now: Instant) -> bool {
        now.duration_since(self.last) >= MEMORY
    }
}

/// Why a connection is turned away.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Refused {
    /// The address, or everybody together, has too many connections.
    Connections,
    /// The address failed to log in too often.
    FailedLogins,
}

impl Throttle {
    pub(crate) fn new(limits: &crate::config::Limits) -> Arc<Throttle> {
        Arc::new(Throttle {
            per_address: limits.connections_per_address,
            in_all: limits.connections,
            failed_logins: limits.failed_logins,
            names: RandomState::new(),
            state: Mutex::default(),
        })
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Counts a connection for as long as the guard lives.
    pub(crate) fn admit(self: &Arc<Throttle>, peer: SocketAddr, now: Instant) -> Result<Admitted, Refused> {
        let address = canonical(peer.ip());
        let mut state = self.state();
        if self.has_to_wait(&state, address, now) {
            return Err(Refused::FailedLogins);
        }
        if state.open >= self.in_all {
            return Err(Refused::Connections);
        }
        let here = state.connections.entry(address).or_default();
        if *here >= self.per_address {
            return Err(Refused::Connections);
        }
        *here += 1;
        state.open += 1;
        Ok(Admitted { throttle: Arc::clone(self), peer, address })
    }

    /// Names of users are the same in any case.
    fn name(&self, user: &str) -> Name {
        self.names.hash_one(user.to_lowercase())
    }

    fn has_to_wait(&self, state: &State, address: IpAddr, now: Instant) -> bool {
        let failures = state.failures.get(&address);
        failures.is_some_and(|failures| failures.count >= self.failed_logins && !failures.has_passed(now))
    }

    /// A login of this user is about to be checked; whether that may be.
    ///
    /// A connection that was let in is held to the limit too: who opens all connections first would otherwise have as
    /// many tries on each.
    fn begin(&self, peer: SocketAddr, user: &str, now: Instant) -> bool {
        let mut state = self.state();
        if self.has_to_wait(&state, canonical(peer.ip()), now) {
            return false;
        }
        state.asked.insert(peer, self.name(user));
        true
    }

    /// A login ended: as whom, or not at all.
    fn note(&self, peer: SocketAddr, logged_in: Option<&str>, now: Instant) {
        let address = canonical(peer.ip());
        let mut state = self.state();
        let asked = state.asked.remove(&peer);
        if let Some(user) = logged_in {
            // Who mistyped a password and then did not is forgiven. Nobody is forgiven tries of other names for having
            // a name of their own.
            if state.failures.get(&address).is_some_and(|failures| failures.only == Some(self.name(user))) {
                state.failures.remove(&address);
            }
            return;
        }
        if state.failures.len() >= REMEMBERED {
            state.failures.retain(|_, failures| !failures.has_passed(now));
        }
        if state.failures.get(&address).is_some_and(|failures| failures.has_passed(now)) {
            state.failures.remove(&address);
        }
        if state.failures.len() < REMEMBERED || state.failures.contains_key(&address) {
            let fresh = || Failures { count: 0, last: now, only: asked };
            let failures = state.failures.entry(address).or_insert_with(fresh);
            failures.count = failures.count.saturating_add(1);
            failures.last = now;
            if failures.only != asked {
                failures.only = None;
            }
        }
    }
}

/// An IPv6 customer has a whole /64; an IPv4 address may come mapped into IPv6.
fn canonical(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => {
            let [a, b, c, d, ..] = address.segments();
            IpAddr::from([a, b, c, d, 0, 0, 0, 0])
        }
        address @ IpAddr::V4(_) => address,
    }
}

/// A connection that counts.
#[derive(Debug)]
pub(crate) struct Admitted {
    throttle: Arc<Throttle>,
    peer: SocketAddr,
    address: IpAddr,
}

impl Drop for Admitted {
    fn drop(&mut self) {
        let mut state = self.throttle.state();
        state.asked.remove(&self.peer);
        state.open = state.open.saturating_sub(1);
        if let Some(here) = state.connections.get_mut(&self.address) {
            *here -= 1;
            if *here == 0 {
                state.connections.remove(&self.address);
            }
        }
    }
}

/// An authenticator whose failures count against the peer's address.
pub(crate) struct Throttled<A> {
    pub(crate) inner: A,
    pub(crate) throttle: Arc<Throttle>,
}

impl<A: Authenticator> Authenticator for Throttled<A> {
    fn mechanisms(&self) -> &[Mechanism] {
        self.inner.mechanisms()
    }

    fn answer<'a>(&'a self, ask: Ask, attempt: &'a Attempt) -> BoxFuture<'a, Answer> {
        let user = match &ask {
            Ask::Password { user, .. } | Ask::ScramKeys { user, .. } => user.as_str(),
            Ask::Token { user, .. } => user.as_deref().unwrap_or_default(),
            _ => return self.inner.answer(ask, attempt),
        };
        if !self.throttle.begin(attempt.peer, user, Instant::now()) {
            return Box::pin(async { Answer::Refuse(Refusal::Unavailable) });
        }
        self.inner.answer(ask, attempt)
    }

    fn principal<'a>(&'a self, identity: &'a Identity) -> BoxFuture<'a, Result<Principal, DirectoryError>> {
        self.inner.principal(identity)
    }

    fn concluded(&self, attempt: &Attempt, outcome: Result<&Principal, Failure>) {
        match outcome {
            Ok(principal) => {
                tracing::info!(peer = %attempt.peer, protocol = attempt.protocol, account = %principal.address, "login");
                self.throttle.note(attempt.peer, Some(&principal.address), Instant::now());
            }
            Err(failure) => {
                tracing::info!(peer = %attempt.peer, protocol = attempt.protocol, %failure, "login failed");
                if failure != Failure::Unavailable {
                    self.throttle.note(attempt.peer, None, Instant::now());
                }
            }
        }
        self.inner.concluded(attempt, outcome);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn throttle() -> Arc<Throttle> {
        let limits = crate::config::Limits {
            connections_per_address: 2,
            connections: 3,
            failed_logins: 2,
            ..crate::config::Limits::default()
        };
        Throttle::new(&limits)
    }

    #[test]
    fn connections_are_counted_while_they_live() {
        let (throttle, now) = (throttle(), Instant::now());
        let (a, b) = (SocketAddr::from(([127, 0, 0, 1], 1)), SocketAddr::from(([127, 0, 0, 2], 1)));
        let first = throttle.admit(a, now).unwrap();
        let _second = throttle.admit(a, now).unwrap();
        assert_eq!(throttle.admit(a, now).unwrap_err(), Refused::Connections);
        let _third = throttle.admit(b, now).unwrap();
        assert_eq!(throttle.admit(b, now).unwrap_err(), Refused::Connections, "three in all");
        drop(first);
        let _again = throttle.admit(a, now).unwrap();
    }

    fn fail(throttle: &Throttle, peer: SocketAddr, user: &str, now: Instant) {
        assert!(throttle.begin(peer, user, now));
        throttle.note(peer, None, now);
    }

    #[test]
    fn failed_logins_shut_the_door_for_a_while() {
        let (throttle, now) = (throttle(), Instant::now());
        let peer = SocketAddr::from(([127, 0, 0, 1], 1));
        fail(&throttle, peer, "ann@example.org", now);
        assert!(throttle.admit(peer, now).is_ok());
        fail(&throttle, peer, "ann@example.org", now);
        assert_eq!(throttle.admit(peer, now).unwrap_err(), Refused::FailedLogins);
        assert!(throttle.admit(peer, now + MEMORY).is_ok());
        throttle.note(peer, Some("Ann@example.org"), now);
        assert!(throttle.admit(peer, now).is_ok());
    }

    /// Connections were counted out when they were opened only: a hundred opened first had ten tries each.
    #[test]
    fn connections_that_are_open_are_shut_out_too() {
        let (throttle, now) = (throttle(), Instant::now());
        let (a, b) = (SocketAddr::from(([127, 0, 0, 1], 1)), SocketAddr::from(([127, 0, 0, 1], 2)));
        let _open = throttle.admit(a, now).unwrap();
        fail(&throttle, b, "ann@example.org", now);
        fail(&throttle, b, "ann@example.org", now);
        assert!(!throttle.begin(a, "ann@example.org", now));
        assert!(throttle.begin(a, "ann@example.org", now + MEMORY));
    }

    /// Whoever had an account could try other people's passwords for ever, by logging in once before each limit.
    #[test]
    fn a_login_forgives_its_own_failures_only() {
        let (throttle, now) = (throttle(), Instant::now());
        let peer = SocketAddr::from(([127, 0, 0, 1], 1));
        fail(&throttle, peer, "victim@example.org", now);
        assert!(throttle.begin(peer, "eve@example.org", now));
        throttle.note(peer, Some("eve@example.org"), now);
        fail(&throttle, peer, "victim@example.org", now);
        assert_eq!(throttle.admit(peer, now).unwrap_err(), Refused::FailedLogins);
    }

    #[test]
    fn what_was_asked_is_forgotten_with_the_connection() {
        let (throttle, now) = (throttle(), Instant::now());
        let peer = SocketAddr::from(([127, 0, 0, 1], 1));
        let admitted = throttle.admit(peer, now).unwrap();
        assert!(throttle.begin(peer, "ann@example.org", now));
        drop(admitted);
        assert!(throttle.state().asked.is_empty());
    }

    #[test]
    fn a_whole_ipv6_network_counts_as_one() {
        let a = canonical("2001:db8:1:2:3:4:5:6".parse().unwrap());
        assert_eq!(a, canonical("2001:db8:1:2::1".parse().unwrap()));
        assert_eq!(canonical("::ffff:127.0.0.1".parse().unwrap()), IpAddr::from([127, 0, 0, 1]));
    }
}
