//! MTA-STS: by which hosts a domain takes mail, and that they must have TLS.
//!
//! RFC 8461. The TXT record says that there is a policy and which version; the policy itself lies at
//! [`policy_host`], fetched by whoever may do so; the [`Cache`] keeps it as long as it says. An attacker who hides the record or
//! the policy from us is an attacker for as long as the cache lasts, and no longer.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use mailstore_trait::date::Timestamp;

use super::domain;

/// Octets of a policy, at most; whoever fetches one reads no further (RFC 8461 §3.3 leaves the bound open).
pub const POLICY_MAX: usize = 64 * 1024;

/// Hosts of one policy, at most.
const PATTERNS_MAX: usize = 1000;

/// RFC 8461 §3.2: a year in seconds; larger values count as this one.
const MAX_AGE_MAX: u64 = 31_557_600;

/// Where the TXT record of a domain's policy lies (§3.1).
#[must_use]
pub fn record_name(domain: &str) -> String {
    format!("_mta-sts.{domain}")
}

/// The host a domain's policy is fetched from (§3.3), whose certificate must be for this name.
#[must_use]
pub fn policy_host(domain: &str) -> String {
    format!("mta-sts.{domain}")
}

/// The path the policy lies at on that host (§3.3).
pub const POLICY_PATH: &str = "/.well-known/mta-sts.txt";

/// The version a domain's TXT records announce; `None` when there is no policy.
// RFC 8461 §3.1: of all records those that begin with the version count, and more than one of them is none.
#[must_use]
pub fn policy_id<'a>(records: impl IntoIterator<Item = &'a str>) -> Option<String> {
    let mut announced = records.into_iter().filter(|record| is_version(record, "STSv1"));
    let (record, None) = (announced.next()?, announced.next()) else { return None };
    let mut fields = fields(record);
    let (_, id) = fields.find(|(name, _)| *name == "id")?;
    let plain = (1..=32).contains(&id.len()) && id.bytes().all(|octet| octet.is_ascii_alphanumeric());
    plain.then(|| id.to_owned())
}

/// Whether a TXT record begins with `v=` and this version.
pub(super) fn is_version(record: &str, version: &str) -> bool {
    let first = record.split(';').next().unwrap_or_default();
    first.split_once('=').is_some_and(|(name, value)| name.trim() == "v" && value.trim() == version)
}

/// The fields of a TXT record, `name=value` between semicolons.
pub(super) fn fields(record: &str) -> impl Iterator<Item = (&str, &str)> {
    record.split(';').filter_map(|field| field.split_once('=')).map(|(name, value)| (name.trim(), value.trim()))
}

/// How much a policy is meant (§3.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Mode {
    /// Mail that can't be protected is not sent.
    Enforce,
    /// It is sent, and the failure reported.
    Testing,
    /// There is no policy any more.
    None,
}

/// A policy (§3.2).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Policy {
    /// How much it is meant.
    pub mode: Mode,
    /// For how long it may be kept.
    pub max_age: Duration,
    /// The hosts by which mail is taken, A-labels in lower case; `*.` stands for one label.
    pub mx: Vec<String>,
    /// The policy's lines as they were fetched, for reports (RFC 8460 §4.4).
    pub lines: Vec<String>,
}

/// A policy that can't be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PolicyError {
    /// It is no text, or too long.
    #[error("not a policy text")]
    Text,
    /// `version` is missing or is another one.
    #[error("no version this host knows")]
    Version,
    /// `mode` is missing or unknown.
    #[error("no mode")]
    Mode,
    /// `max_age` is missing or no number.
    #[error("no max_age")]
    MaxAge,
    /// No `mx`, or one that is no name.
    #[error("no usable mx")]
    Mx,
}

impl Policy {
    /// Reads a policy as it was fetched.
    ///
    /// # Errors
    /// When a field is missing that §3.2 demands, or has no sense.
    // RFC 8461 §3.2: lines of `key: value`; the first of each key counts but for `mx`; unknown keys are passed over.
    pub fn parse(octets: &[u8]) -> Result<Policy, PolicyError> {
        let text = std::str::from_utf8(octets).ok().filter(|text| text.len() <= POLICY_MAX).ok_or(PolicyError::Text)?;
        let lines: Vec<&str> = text.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
        let pairs =
            || lines.iter().filter_map(|line| line.split_once(':')).map(|(key, value)| (key.trim(), value.trim()));
        let first = |wanted: &str| pairs().find(|(key, _)| *key == wanted).map(|(_, value)| value);
        if first("version") != Some("STSv1") {
            return Err(PolicyError::Version);
        }
        let mode = match first("mode") {
            Some("enforce") => Mode::Enforce,
            Some("testing") => Mode::Testing,
            Some("none") => Mode::None,
            _ => return Err(PolicyError::Mode),
        };
        let digits = first("max_age").filter(|value| (1..=10).contains(&value.len()));
        let digits = digits.filter(|value| value.bytes().all(|octet| octet.is_ascii_digit()));
        let max_age: u64 = digits.and_then(|value| value.parse().ok()).ok_or(PolicyError::MaxAge)?;
        let mx = pairs().filter(|(key, _)| *key == "mx").map(|(_, value)| pattern(value).ok_or(PolicyError::Mx));
        let mx: Vec<String> = mx.take(PATTERNS_MAX).collect::<Result<_, _>>()?;
        if mx.is_empty() && mode != Mode::None {
            return Err(PolicyError::Mx);
        }
        let lines = lines.into_iter().take(PATTERNS_MAX).map(str::to_owned).collect();
        Ok(Policy { mode, max_age: Duration::from_secs(max_age.min(MAX_AGE_MAX)), mx, lines })
    }

    /// Whether mail may go by this host (A-labels, lower case).
    // RFC 8461 §4.1: a wildcard stands for the left-most label, and for all of it.
    #[must_use]
    pub fn permits(&self, host: &str) -> bool {
        self.mx.iter().any(|pattern| match pattern.strip_prefix("*.") {
            Some(parent) => host.split_once('.').is_some_and(|(label, rest)| !label.is_empty() && rest == parent),
            None => pattern == host,
        })
    }
}

fn pattern(text: &str) -> Option<String> {
    match text.strip_prefix("*.") {
        Some(parent) => domain::name(parent).map(|parent| format!("*.{parent}")),
        None => domain::name(text),
    }
}

/// What is to be done for a domain's policy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Look {
    /// This one holds.
    Use(Arc<Policy>),
    /// It is to be fetched, then [`Cache::store`]d or [`Cache::failed`].
    Fetch,
    /// There is none.
    None,
}

/// Policies as long as they may be kept.
#[derive(Debug)]
pub struct Cache {
    domains: BTreeMap<String, Entry>,
    most: usize,
}

#[derive(Debug, Default)]
struct Entry {
    id: Option<String>,
    policy: Option<Arc<Policy>>,
    expires: Timestamp,
    /// Until when a fetch that failed is not tried again.
    pause: Timestamp,
}

/// RFC 8461 §3.3: whoever could not fetch a policy waits before trying again; five minutes are suggested.
const PAUSE: Duration = Duration::from_secs(300);

impl Default for Cache {
    /// Of 10,000 domains.
    fn default() -> Cache {
        Cache::new(10_000)
    }
}

impl Cache {
    /// Of at most this many domains.
    #[must_use]
    pub fn new(most: usize) -> Cache {
        Cache { domains: BTreeMap::new(), most }
    }

    /// What is to be done for a domain whose TXT record announces this id; `None` when no record was found.
    // RFC 8461 §5.1: a policy that is kept holds although its record is gone or its host silent; a record with another id
    // asks for a new one.
    #[must_use]
    pub fn look(&self, domain: &str, id: Option<&str>, now: Timestamp) -> Look {
        let entry = self.domains.get(domain);
        let kept = entry.and_then(|entry| entry.policy.as_ref().filter(|_| entry.expires > now));
        let held = || match kept {
            Some(policy) if policy.mode != Mode::None => Look::Use(Arc::clone(policy)),
            _ => Look::None,
        };
        match id {
            None => held(),
            Some(id) if kept.is_some() && entry.is_some_and(|entry| entry.id.as_deref() == Some(id)) => held(),
            Some(_) if entry.is_some_and(|entry| entry.pause > now) => held(),
            Some(_) => Look::Fetch,
        }
    }

    /// A policy was fetched under this id.
    pub fn store(&mut self, domain: &str, id: &str, policy: Policy, now: Timestamp) -> Look {
        let expires = now.plus(policy.max_age);
        let entry = self.entry(domain, now);
        *entry =
            Entry { id: Some(id.to_owned()), policy: Some(Arc::new(policy)), expires, pause: Timestamp::default() };
        self.look(domain, Some(id), now)
    }

    /// A policy could not be fetched, or can't be used.
    pub fn failed(&mut self, domain: &str, now: Timestamp) -> Look {
        self.entry(domain, now).pause = now.plus(PAUSE);
        self.look(domain, None, now)
    }

    fn entry(&mut self, domain: &str, now: Timestamp) -> &mut Entry {
        if self.domains.len() >= self.most && !self.domains.contains_key(domain) {
            self.domains.retain(|_, entry| entry.expires > now || entry.pause > now);
            if self.domains.len() >= self.most {
                // The one that would go soonest.
                let first =
                    self.domains.iter().min_by_key(|(_, entry)| entry.expires).map(|(domain, _)| domain.clone());
                first.map(|domain| self.domains.remove(&domain));
            }
        }
        self.domains.entry(domain.to_owned()).or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const POLICY: &[u8] =
        b"version: STSv1\r\nmode: enforce\r\nmx: mail.example.com\nmx:*.Example.NET\r\nnew: x\r\nmax_age: 604800\r\n";

    #[test]
    fn records_announce_a_policy() {
        let id = |records: &[&str]| policy_id(records.iter().copied());
        assert_eq!(id(&["v=STSv1; id=20160831085700Z;"]), Some("20160831085700Z".into()));
        assert_eq!(id(&["v=spf1 -all", "v=STSv1;id=1"]), Some("1".into()));
        assert_eq!(id(&["v=STSv1;x=y; id=1;"]), Some("1".into()));
        for none in [
            &["v=STSv1; id=1", "v=STSv1; id=1"][..],
            &["v=STSv2; id=1"],
            &["id=1; v=STSv1"],
            &["v=STSv1"],
            &["v=STSv1; id="],
            &["v=STSv1; id=a b"],
            &["v=STSv1; id=123456789012345678901234567890123"],
            &[],
        ] {
            assert_eq!(id(none), None, "{none:?}");
        }
    }

    #[test]
    fn policies_are_read() {
        let policy = Policy::parse(POLICY).unwrap();
        assert_eq!((policy.mode, policy.max_age.as_secs()), (Mode::Enforce, 604_800));
        assert_eq!(policy.mx, ["mail.example.com", "*.example.net"]);
        assert!(policy.permits("mail.example.com") && policy.permits("a.example.net"));
        for other in ["example.net", "a.b.example.net", "x.mail.example.com", ".example.net", "example.com"] {
            assert!(!policy.permits(other), "{other}");
        }
        let none = Policy::parse(b"version: STSv1\nmode: none\nmax_age: 99999999999").unwrap_err();
        assert_eq!(none, PolicyError::MaxAge);
        let none = Policy::parse(b"version: STSv1\nmode: none\nmax_age: 9999999999").unwrap();
        assert_eq!(none.max_age.as_secs(), MAX_AGE_MAX);
        for (text, error) in [
            (&b"\xff"[..], PolicyError::Text),
            (&[b'\n'; POLICY_MAX + 1], PolicyError::Text),
            (b"mode: enforce\nmx: a\nmax_age: 1", PolicyError::Version),
            (b"version: STSv1\nmx: a\nmax_age: 1", PolicyError::Mode),
            (b"version: STSv1\nmode: maybe\nmx: a\nmax_age: 1", PolicyError::Mode),
            (b"version: STSv1\nmode: enforce\nmx: a\nmax_age: -1", PolicyError::MaxAge),
            (b"version: STSv1\nmode: enforce\nmx: a", PolicyError::MaxAge),
            (b"version: STSv1\nmode: enforce\nmax_age: 1", PolicyError::Mx),
            (b"version: STSv1\nmode: testing\nmx: *\nmax_age: 1", PolicyError::Mx),
        ] {
            assert_eq!(Policy::parse(text), Err(error));
        }
    }

    #[test]
    fn the_cache_outlives_what_an_attacker_hides() {
        let (mut cache, now) = (Cache::new(2), Timestamp::from_seconds(1000));
        let later = |seconds| now.plus(Duration::from_secs(seconds));
        assert_eq!(cache.look("a", None, now), Look::None);
        assert_eq!(cache.look("a", Some("1"), now), Look::Fetch);
        let Look::Use(policy) = cache.store("a", "1", Policy::parse(POLICY).unwrap(), now) else { panic!() };
        let held = Look::Use(policy);
        assert_eq!(cache.look("a", Some("1"), later(604_799)), held);
        assert_eq!(cache.look("a", None, later(604_799)), held, "the record is gone, the policy is not");
        assert_eq!(cache.look("a", None, later(604_800)), Look::None);
        assert_eq!(cache.look("a", Some("1"), later(604_800)), Look::Fetch, "it is over");
        assert_eq!(cache.look("a", Some("2"), later(1)), Look::Fetch);
        assert_eq!(cache.failed("a", later(1)), held, "what can't be fetched changes nothing");
        assert_eq!(cache.look("a", Some("2"), later(2)), held, "and is not asked for again at once");
        assert_eq!(cache.look("a", Some("2"), later(302)), Look::Fetch);
        let none = Policy::parse(b"version: STSv1\nmode: none\nmax_age: 86400").unwrap();
        assert_eq!(cache.store("a", "3", none, later(3)), Look::None);
        assert_eq!(cache.look("a", Some("3"), later(4)), Look::None, "known to be none: nothing is fetched");
        assert_eq!(cache.failed("b", now), Look::None);
        cache.store("c", "1", Policy::parse(POLICY).unwrap(), now);
        assert_eq!(cache.domains.len(), 2);
    }
}
