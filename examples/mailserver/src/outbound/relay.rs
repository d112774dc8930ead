//! Sending one message to one destination: by a route, or by whatever hosts its domain has.

use std::ops::ControlFlow;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use mailstore_trait::drive::{DriveLimits, Embedder, Ended, drive};
use mailstore_trait::environment::Environment;
use mailstore_trait::id::QueueId;
use mailstore_trait::store::MailStore;
use smtp_proto::client::request::{Failure, Outcome, Outgoing, Stage};
use smtp_proto::client::{Client, Event};
use smtp_proto::config::Extensions;
use smtp_proto::delivery::request::{Attempt, Attempted};
use smtp_proto::delivery::resolver::Lookups;
use smtp_proto::delivery::tlsrpt::{Applied, Failed, Reason};
use smtp_proto::delivery::{self, Domain, Fallbacks, Requirement, Security, Step, Target, Targets};
use smtp_proto::dsn;
use smtp_proto::reply::{EnhancedCode, Reply};

use super::connect::{self, Opened, Place};
use super::fulfil::{Reported, Sender};
use super::policies::Web;
use super::pool::{Kept, Pool};
use super::resolve::Dns;
use super::verify::Anchors;
use crate::Failure as Fatal;
use crate::config::{Config, Route, RouteTls};
use crate::environment::System;

/// Octets of a message that are read to find its header in.
const HEADER: usize = 64 << 10;

/// Everything that sending shares.
pub(crate) struct Relay {
    store: Arc<dyn MailStore>,
    hostname: String,
    routes: Vec<Route>,
    search: Arc<delivery::Config>,
    lookups: Lookups,
    fallbacks: Mutex<Fallbacks>,
    anchors: Arc<Anchors>,
    pool: Pool,
    keep: Duration,
}

/// What became of a message.
pub(crate) struct Sent {
    /// One for each recipient, in the envelope's order.
    pub(crate) outcomes: Vec<Outcome>,
    /// The host that was reached last.
    pub(crate) host: String,
    /// Whether it reports successes itself.
    pub(crate) dsn: bool,
    /// Whether it took over by when the message must be delivered.
    pub(crate) deliver_by: bool,
}

impl Relay {
    pub(crate) fn new(config: &Config, store: Arc<dyn MailStore>) -> Result<Relay, Fatal> {
        let outbound = &config.outbound;
        let resolver = Arc::new(Dns { resolver: crate::dns::validating(&config.dns).map_err(Fatal::Dns)? });
        let anchors = Arc::new(Anchors::new(outbound.ca.clone()));
        let policies = Web { resolver: resolver.clone(), anchors: Arc::clone(&anchors), port: outbound.policy_port };
        let mut search = delivery::Config::new(delivery::domain::name(&config.hostname).unwrap_or_default());
        (search.port, search.sts, search.dane) = (outbound.port, outbound.mta_sts, config.dns.dnssec);
        Ok(Relay {
            store,
            hostname: config.hostname.clone(),
            routes: outbound.routes.clone(),
            search: Arc::new(search),
            lookups: Lookups::new(resolver, Arc::new(policies), Arc::new(System)),
            fallbacks: Mutex::default(),
            anchors,
            pool: Pool::default(),
            keep: outbound.keep.0,
        })
    }

    /// What is looked up, and what was counted.
    pub(crate) fn lookups(&self) -> &Lookups {
        &self.lookups
    }

    /// What all mail for this address shares: its route's host, or its domain.
    pub(crate) fn destination(&self, address: &str) -> String {
        match self.route(address) {
            Some(route) => format!("{}:{}", route.host, route.port),
            None => domain_of(address).map_or_else(|| address.to_owned(), |domain| domain.to_string()),
        }
    }

    /// The first route that matches the address's domain.
    fn route(&self, address: &str) -> Option<&Route> {
        let domain = address.rsplit_once('@').map_or("", |(_, domain)| domain);
        self.routes.iter().find(|route| route.matches(domain))
    }

    /// Sends a message whose recipients share a [`destination`](Relay::destination).
    pub(crate) async fn send(&self, id: QueueId, outgoing: Outgoing) -> Sent {
        let require_tls = outgoing.envelope.sender.require_tls;
        let first = outgoing.envelope.recipients.first().map(|it| it.address.as_str().to_owned()).unwrap_or_default();
        let mut sender = Sender::new(Arc::clone(&self.store), id, outgoing);
        let host = match (self.route(&first), domain_of(&first)) {
            (Some(route), _) => self.by_route(&mut sender, route, require_tls).await,
            (None, Some(domain)) => {
                let requirement = Requirement::of(require_tls, &self.header(id).await);
                self.by_hosts(&mut sender, domain, requirement).await
            }
            (None, None) => {
                let failure = Failure { stage: Stage::Lookup, reply: NO_DOMAIN, remote: false };
                sender.report(&failure.into());
                String::new()
            }
        };
        match sender.into_reported() {
            Some(Reported { outcomes, dsn, deliver_by, .. }) => Sent { outcomes, host, dsn, deliver_by },
            None => Sent { outcomes: Vec::new(), host, dsn: false, deliver_by: false },
        }
    }

    /// The header of a message, for what it says of TLS.
    async fn header(&self, id: QueueId) -> Vec<u8> {
        let Some(queue) = self.store.as_queue() else { return Vec::new() };
        let mut read = Vec::new();
        // One read may end where the trace that was put before the message does.
        while read.len() < HEADER && memchr::memmem::find(&read, b"\r\n\r\n").is_none() {
            match queue.read(id, read.len() as u64, HEADER - read.len()).await {
                Ok(octets) if !octets.is_empty() => read.extend_from_slice(&octets),
                // What can't be read can't be sent either, and sending says so.
                Ok(_) | Err(_) => break,
            }
        }
        dsn::header(&read).to_vec()
    }

    async fn by_route(&self, sender: &mut Sender, route: &Route, require_tls: bool) -> String {
        let verified = || Security::Verified { names: vec![route.host.clone()], enforced: true };
        let security = match route.tls {
            RouteTls::None => Security::Clear,
            // RFC 8689 §4.2.1: a host that a message with REQUIRETLS is given to is one that is known.
            RouteTls::Opportunistic if require_tls => verified(),
            RouteTls::Opportunistic => Security::Opportunistic,
            RouteTls::Required | RouteTls::Implicit => verified(),
        };
        let mut place = Place {
            host: &route.host,
            address: format!("{}:{}", bracketed(&route.host), route.port),
            security,
            route: Some(route),
            implicit: route.tls == RouteTls::Implicit,
        };
        let (attempted, _) = self.attempt(sender, &place).await;
        // Opportunistic TLS that fails must not keep mail from a host that would take it in clear (RFC 7435 §3).
        if matches!(attempted, Attempted::Insecure(_)) && place.security == Security::Opportunistic {
            place.security = Security::Clear;
            self.attempt(sender, &place).await;
        }
        route.host.clone()
    }

    async fn by_hosts(&self, sender: &mut Sender, domain: Domain, requirement: Requirement) -> String {
        let mut random = [0; 8];
        System.fill(&mut random);
        let search = Arc::clone(&self.search);
        let mut targets = Targets::new(search, domain.clone(), requirement, u64::from_le_bytes(random));
        let mut host = domain.to_string();
        loop {
            match targets.poll() {
                Step::Request(request) => match self.lookups.answer(request).await {
                    Ok(answered) => targets.resume(answered),
                    Err(asked) => {
                        host.clone_from(&asked.query.target.host);
                        let attempted = self.try_target(sender, &targets, &domain, &asked.query).await;
                        targets.resume(asked.answer(attempted));
                    }
                },
                Step::Done(None) => return host,
                Step::Done(Some(outcome)) => {
                    sender.report(&outcome);
                    return host;
                }
                // No question is out here: every one is answered above.
                Step::Wait => return host,
            }
        }
    }

    async fn try_target(&self, sender: &mut Sender, targets: &Targets, domain: &Domain, asked: &Attempt) -> Attempted {
        let now = System.now();
        let target: Target = {
            let fallbacks = self.fallbacks.lock().unwrap_or_else(PoisonError::into_inner);
            fallbacks.apply(asked.target.clone(), now)
        };
        let place = Place {
            host: &target.host,
            address: target.address.to_string(),
            security: target.security.clone(),
            route: None,
            implicit: false,
        };
        let (attempted, why) = self.attempt(sender, &place).await;
        if let Some(applied) =
            domain.name().and_then(|domain| Applied::of(domain, targets.policy().map(AsRef::as_ref), &target))
        {
            let failed =
                |reason| Failed { reason, host: Some(target.host.clone()), address: Some(target.address.ip()) };
            match &attempted {
                // A session that ended before TLS says nothing of it.
                Attempted::Failed(failure)
                    if matches!(failure.stage, Stage::Connect | Stage::Greeting | Stage::Hello) => {}
                Attempted::Insecure(_) => self.lookups.results(|it| it.record(applied, Some(failed(why)))),
                _ if sender.crossed_tls() => self.lookups.results(|it| it.record(applied, None)),
                _ => {
                    let failed = failed(Reason::StartTlsNotSupported);
                    self.lookups.results(|it| it.record(applied, Some(failed)));
                }
            }
        }
        if matches!(attempted, Attempted::Insecure(_)) {
            tracing::info!(host = target.host, security = ?target.security, reason = why.word(), "no TLS as it should be");
            if target.security == Security::Opportunistic {
                self.fallbacks.lock().unwrap_or_else(PoisonError::into_inner).note(&target.host, now);
            }
        }
        attempted
    }

    /// One attempt at one place: over a connection that is kept for it, or a new one. What came of it, and why TLS failed
    /// if it did.
    async fn attempt(&self, sender: &mut Sender, place: &Place<'_>) -> (Attempted, Reason) {
        let key = place.key();
        if let Some(kept) = self.pool.take(&key) {
            tracing::debug!(host = place.host, carried = kept.carried, "a kept connection");
            let (attempted, _) = self.drive(sender, kept, place, key.clone()).await;
            // It may have ended while it was kept: then nothing is known of the host.
            if !matches!(attempted, Attempted::Failed(_)) {
                return (attempted, Reason::ValidationFailure);
            }
        }
        match connect::open(&self.hostname, place, &self.anchors).await {
            Ok(Opened { session, stream, why }) => {
                let kept = Kept { session, stream, carried: 0 };
                let (attempted, offered) = self.drive(sender, kept, place, key).await;
                let otherwise = if offered { Reason::ValidationFailure } else { Reason::StartTlsNotSupported };
                (attempted, why.get().copied().unwrap_or(otherwise))
            }
            Err(failure) => {
                sender.report(&failure.into());
                (sender.attempted(), Reason::ValidationFailure)
            }
        }
    }

    /// Sends the message over a connection, which is kept when it is fit for another. Whether STARTTLS was offered, too.
    async fn drive(&self, sender: &mut Sender, mut kept: Kept, place: &Place<'_>, key: String) -> (Attempted, bool) {
        sender.hand_out(place.route);
        let (mut watch, limits) = (Watch { offered: false }, DriveLimits::default());
        let ended = drive(&mut kept.session, &mut kept.stream, sender, &mut watch, &limits).await;
        tracing::debug!(host = place.host, ?ended, "connection");
        if ended == Ended::Left {
            kept.carried += 1;
            self.pool.put(key, kept, self.keep);
        }
        (sender.attempted(), watch.offered)
    }
}

/// Sees whether STARTTLS is offered, and leaves a connection that is fit for another message.
struct Watch {
    offered: bool,
}

impl Embedder<Client> for Watch {
    fn event(&mut self, event: Event) -> ControlFlow<()> {
        match event {
            Event::Ready => return ControlFlow::Break(()),
            Event::Hello(found) => self.offered |= found.extensions.contains(Extensions::STARTTLS),
            _ => {}
        }
        ControlFlow::Continue(())
    }
}

fn domain_of(address: &str) -> Option<Domain> {
    let (_, domain) = address.rsplit_once('@')?;
    Domain::parse(domain).ok()
}

/// A host as it stands before a colon and a port.
fn bracketed(host: &str) -> String {
    if host.contains(':') && !host.starts_with('[') { format!("[{host}]") } else { host.to_owned() }
}

/// What is said of a recipient whose domain no host could have.
const NO_DOMAIN: Reply = Reply {
    code: 550,
    enhanced: Some(EnhancedCode::new(5, 1, 2)),
    text: std::borrow::Cow::Borrowed("Mail can't be sent to this domain"),
};
