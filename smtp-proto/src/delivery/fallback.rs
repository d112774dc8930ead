//! Hosts whose TLS does not work, remembered for a while.
//!
//! RFC 7435 §3. Opportunistic TLS that fails must not keep mail from a host that takes it in clear; and a host whose
//! handshake failed once is not asked for it with every message. Where a policy demands TLS, nothing here is looked at.

use std::collections::BTreeMap;
use std::time::Duration;

use mailstore_trait::date::Timestamp;

use super::request::{Security, Target};

/// Hosts to which opportunistic connections go in clear.
#[derive(Debug)]
pub struct Fallbacks {
    hosts: BTreeMap<String, Timestamp>,
    most: usize,
    span: Duration,
}

impl Default for Fallbacks {
    /// 10,000 hosts for a day each.
    fn default() -> Fallbacks {
        Fallbacks::new(10_000, Duration::from_secs(86_400))
    }
}

impl Fallbacks {
    /// At most `most` hosts, each for this long.
    #[must_use]
    pub fn new(most: usize, span: Duration) -> Fallbacks {
        Fallbacks { hosts: BTreeMap::new(), most, span }
    }

    /// Opportunistic TLS failed with this host.
    pub fn note(&mut self, host: &str, now: Timestamp) {
        if self.hosts.len() >= self.most && !self.hosts.contains_key(host) {
            self.hosts.retain(|_, until| *until > now);
            if self.hosts.len() >= self.most {
                // Whoever is let go is asked once more.
                let _ = self.hosts.pop_first();
            }
        }
        self.hosts.insert(host.to_owned(), now.plus(self.span));
    }

    /// The target as it is to be tried, by what is remembered.
    #[must_use]
    pub fn apply(&self, target: Target, now: Timestamp) -> Target {
        let known = self.hosts.get(&target.host).is_some_and(|until| *until > now);
        match target.security {
            Security::Opportunistic if known => Target { security: Security::Clear, ..target },
            _ => target,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn broken_hosts_are_remembered_for_a_while() {
        let target = |host: &str, security: Security| Target {
            host: host.into(),
            address: ([192, 0, 2, 1], 25).into(),
            security,
        };
        let (mut known, now) = (Fallbacks::new(2, Duration::from_secs(10)), Timestamp::from_seconds(100));
        let security =
            |known: &Fallbacks, host: &str, at| known.apply(target(host, Security::Opportunistic), at).security;
        assert_eq!(security(&known, "a", now), Security::Opportunistic);
        known.note("a", now);
        assert_eq!(security(&known, "a", now), Security::Clear);
        assert_eq!(known.apply(target("a", Security::Encrypted), now).security, Security::Encrypted, "a policy stands");
        assert_eq!(security(&known, "a", Timestamp::from_seconds(110)), Security::Opportunistic);
        known.note("b", now);
        known.note("c", now);
        assert_eq!((known.hosts.len(), security(&known, "c", now)), (2, Security::Clear));
    }
}
