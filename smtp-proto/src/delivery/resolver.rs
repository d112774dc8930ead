//! Who answers a search's look-ups: traits over DNS and the web, and what is kept between searches.
//!
//! RFC 8461 §3.3 and §5.1. [`Lookups`] answers everything a [`Targets`](super::Targets) asks but its attempts, from a
//! [`Resolver`] and a [`PolicySource`]; it holds the policies that were fetched.

use std::fmt;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use mailstore_trait::environment::Environment;
use mailstore_trait::future::BoxFuture;

use super::dane::Tlsa;
use super::request::{Answered, Attempt, FindPolicy, Found, Looked, Mx, Request};
use super::sts::{self, Cache, Look, Policy};
use super::tlsrpt::{Applied, Failed, PolicyType, Reason, Results};
use mailstore_trait::session::Pending;

/// Asks DNS. Names are A-labels without the final dot; a name that exists without such records is `Ok` and empty.
///
/// `Found::secure` may be true only where DNSSEC was validated here, or by a server over a path that can't be tampered
/// with (RFC 4035 §4.9.3).
pub trait Resolver: Send + Sync + fmt::Debug {
    /// MX records of a domain.
    fn mx<'a>(&'a self, domain: &'a str) -> BoxFuture<'a, Looked<Mx>>;

    /// Addresses of a host, in the order in which they are to be tried.
    fn addresses<'a>(&'a self, host: &'a str) -> BoxFuture<'a, Looked<IpAddr>>;

    /// TLSA records under this name.
    fn tlsa<'a>(&'a self, name: &'a str) -> BoxFuture<'a, Looked<Tlsa>>;

    /// TXT records under this name, the strings of each joined.
    fn txt<'a>(&'a self, name: &'a str) -> BoxFuture<'a, Looked<String>>;
}

/// Why a policy could not be fetched.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FetchError {
    /// The host could not be reached, or gave no policy.
    #[error("{0}")]
    Unreachable(String),
    /// Its certificate is no good.
    #[error("{0}")]
    Certificate(String),
}

/// Fetches policies from the web (RFC 8461 §3.3): `https://` [`sts::policy_host`] [`sts::POLICY_PATH`], with a certificate
/// for that name, no redirects, at most [`sts::POLICY_MAX`] octets, in bounded time.
pub trait PolicySource: Send + Sync + fmt::Debug {
    /// The policy of a domain, as it is.
    fn fetch<'a>(&'a self, domain: &'a str) -> BoxFuture<'a, Result<Bytes, FetchError>>;
}

/// Answers look-ups, and keeps what holds for later ones.
pub struct Lookups {
    resolver: Arc<dyn Resolver>,
    policies: Arc<dyn PolicySource>,
    environment: Arc<dyn Environment>,
    cache: Mutex<Cache>,
    results: Mutex<Results>,
}

impl fmt::Debug for Lookups {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Lookups").field("resolver", &self.resolver).finish_non_exhaustive()
    }
}

impl Lookups {
    /// Nothing is known yet.
    #[must_use]
    pub fn new(
        resolver: Arc<dyn Resolver>,
        policies: Arc<dyn PolicySource>,
        environment: Arc<dyn Environment>,
    ) -> Lookups {
        Lookups { resolver, policies, environment, cache: Mutex::default(), results: Mutex::default() }
    }

    /// The resolver, for other questions.
    #[must_use]
    pub fn resolver(&self) -> &Arc<dyn Resolver> {
        &self.resolver
    }

    /// What became of the TLS of sessions (RFC 8460).
    pub fn results<T>(&self, with: impl FnOnce(&mut Results) -> T) -> T {
        with(&mut self.results.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Answers a question; an attempt is handed back, to be made by whoever can connect.
    ///
    /// Dropping the future leaves at most a policy unfetched.
    ///
    /// # Errors
    /// The attempt.
    pub async fn answer(&self, request: Request) -> Result<Answered, Pending<Attempt>> {
        Ok(match request {
            Request::LookupMx(asked) => {
                let found = self.resolver.mx(&asked.query.domain).await;
                asked.answer(found)
            }
            Request::LookupAddresses(asked) => {
                let found = self.resolver.addresses(&asked.query.host).await;
                asked.answer(found)
            }
            Request::LookupTlsa(asked) => {
                let found = self.resolver.tlsa(&asked.query.name()).await;
                asked.answer(found)
            }
            Request::FindPolicy(asked) => {
                let policy = self.policy(&asked.query).await;
                asked.answer(policy)
            }
            Request::Attempt(asked) => return Err(asked),
        })
    }

    fn cached<T>(&self, with: impl FnOnce(&mut Cache) -> T) -> T {
        with(&mut self.cache.lock().unwrap_or_else(PoisonError::into_inner))
    }

    async fn policy(&self, asked: &FindPolicy) -> Option<Arc<Policy>> {
        let domain = asked.domain.as_str();
        // RFC 8461 §3.1: what can't be looked up is as good as no record; a policy that is kept holds all the same.
        let records = self.resolver.txt(&sts::record_name(domain)).await;
        let records: Vec<String> = records.map(|found: Found<String>| found.records).unwrap_or_default();
        let id = sts::policy_id(records.iter().map(String::as_str));
        let now = self.environment.now();
        let mut look = self.cached(|cache| cache.look(domain, id.as_deref(), now));
        if let (Look::Fetch, Some(id)) = (&look, id) {
            let fetched = self.policies.fetch(domain).await;
            let parsed = match &fetched {
                Ok(octets) => Policy::parse(octets).map_err(|error| (Reason::StsPolicyInvalid, error.to_string())),
                Err(FetchError::Certificate(text)) => Err((Reason::StsWebpkiInvalid, text.clone())),
                Err(FetchError::Unreachable(text)) => Err((Reason::StsPolicyFetchError, text.clone())),
            };
            look = match parsed {
                Ok(policy) => self.cached(|cache| cache.store(domain, &id, policy, now)),
                Err((reason, _)) => {
                    let applied = Applied {
                        kind: PolicyType::Sts,
                        strings: Vec::new(),
                        domain: domain.to_owned(),
                        hosts: Vec::new(),
                    };
                    self.results(|it| it.record(applied, Some(Failed { reason, host: None, address: None })));
                    self.cached(|cache| cache.failed(domain, now))
                }
            };
        }
        match look {
            Look::Use(policy) => Some(policy),
            Look::Fetch | Look::None => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::task::{Context, Poll, Waker};

    use mailstore_trait::date::Timestamp;

    use super::*;
    use crate::delivery::request::LookupError;
    use crate::delivery::{Config, Domain, Requirement, Step, Targets};

    #[derive(Debug)]
    struct Zone;

    impl Resolver for Zone {
        fn mx<'a>(&'a self, _domain: &'a str) -> BoxFuture<'a, Looked<Mx>> {
            Box::pin(async { Ok(Found::insecure(vec![Mx { preference: 1, exchange: "mx.d.example".into() }])) })
        }
        fn addresses<'a>(&'a self, _host: &'a str) -> BoxFuture<'a, Looked<IpAddr>> {
            Box::pin(async { Ok(Found::insecure(vec![IpAddr::from([192, 0, 2, 1])])) })
        }
        fn tlsa<'a>(&'a self, _name: &'a str) -> BoxFuture<'a, Looked<Tlsa>> {
            Box::pin(async { Err(LookupError::Unavailable) })
        }
        fn txt<'a>(&'a self, name: &'a str) -> BoxFuture<'a, Looked<String>> {
            assert_eq!(name, "_mta-sts.d.example");
            Box::pin(async { Ok(Found::insecure(vec!["v=STSv1; id=1".to_owned()])) })
        }
    }

    #[derive(Debug, Default)]
    struct Web {
        fetched: AtomicUsize,
        fails: bool,
    }

    impl PolicySource for Web {
        fn fetch<'a>(&'a self, _domain: &'a str) -> BoxFuture<'a, Result<Bytes, FetchError>> {
            self.fetched.fetch_add(1, Ordering::Relaxed);
            let answer = match self.fails {
                true => Err(FetchError::Certificate("no".into())),
                false => Ok("version: STSv1\nmode: enforce\nmx: mx.d.example\nmax_age: 60\n".into()),
            };
            Box::pin(async { answer })
        }
    }

    struct Clock;

    impl Environment for Clock {
        fn now(&self) -> Timestamp {
            Timestamp::from_seconds(1000)
        }
        fn fill(&self, octets: &mut [u8]) {
            octets.fill(1);
        }
    }

    fn now<T>(future: impl Future<Output = T>) -> T {
        let mut future = std::pin::pin!(future);
        match future.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(value) => value,
            Poll::Pending => panic!("nothing here waits"),
        }
    }

    fn first_target(lookups: &Lookups) -> String {
        let config = Arc::new(Config::new("own.example"));
        let mut targets = Targets::new(config, Domain::parse("d.example").unwrap(), Requirement::Policy, 0);
        loop {
            let Step::Request(request) = targets.poll() else { panic!("the search ends") };
            match now(lookups.answer(request)) {
                Ok(answered) => targets.resume(answered),
                Err(attempt) => return format!("{:?}", attempt.query.target.security),
            }
        }
    }

    /// RFC 8461 §3.3: a policy is fetched once, and a failure is counted for the domain's report.
    #[test]
    fn policies_are_fetched_once() {
        let web = Arc::new(Web::default());
        let lookups = Lookups::new(Arc::new(Zone), web.clone(), Arc::new(Clock));
        for _ in 0..3 {
            assert!(first_target(&lookups).starts_with("Verified"));
        }
        assert_eq!(web.fetched.load(Ordering::Relaxed), 1);
        let web = Arc::new(Web { fails: true, ..Web::default() });
        let lookups = Lookups::new(Arc::new(Zone), web.clone(), Arc::new(Clock));
        for _ in 0..3 {
            assert_eq!(first_target(&lookups), "Opportunistic");
        }
        assert_eq!(web.fetched.load(Ordering::Relaxed), 1, "not again at once");
        assert_eq!(lookups.results(|it| it.domains().map(str::to_owned).collect::<Vec<_>>()), ["d.example"]);
    }
}
