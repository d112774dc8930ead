//! SMTP, submission and LMTP connections.

use std::net::IpAddr;
use std::ops::ControlFlow;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use mailstore_trait::drive::{Embedder, Ended, drive};
use mailstore_trait::session::Peer;
use smtp_proto::config::{Ask, Config as Smtp, Extensions, LineEnds, Role};
use smtp_proto::extension::etrn;
use smtp_proto::rate::{Rate, Rates};
use smtp_proto::store::{Filter, Fulfiller, Policy, World};
use smtp_proto::{Event, Server as Session};
use tokio::sync::Notify;

use super::{Server, idle, length};
use crate::config::{BareLineEnds, Config, Network};
use crate::listener::Service;
use crate::shutdown::{Poller, Shutdown};
use crate::stream::Stream;

/// How each role behaves: towards the client, and towards the store.
pub(super) struct Configs {
    relay: (Arc<Smtp>, Arc<Policy>),
    submission: (Arc<Smtp>, Arc<Policy>),
    lmtp: (Arc<Smtp>, Arc<Policy>),
    xclient: Vec<Network>,
    xforward: Vec<Network>,
}

impl Configs {
    pub(super) fn new(config: &Config) -> Configs {
        let host = config.hostname.as_str();
        let mechanisms = super::mechanisms().map(|mechanism| mechanism.name().to_owned());
        let shared = |smtp: Smtp| {
            let policy = policy(config, smtp.role);
            (Arc::new(configured(smtp, config)), Arc::new(policy))
        };
        Configs {
            relay: shared(Smtp::new(host)),
            submission: shared(Smtp::submission(host, mechanisms)),
            lmtp: shared(Smtp::lmtp(host)),
            xclient: config.smtp.xclient.clone(),
            xforward: config.smtp.xforward.clone(),
        }
    }

    /// What this peer may say about others.
    fn trust(&self, peer: IpAddr) -> Extensions {
        let among = |networks: &[Network]| networks.iter().any(|network| network.contains(peer));
        let mut trusted = Extensions::empty();
        trusted.set(Extensions::XCLIENT, among(&self.xclient));
        trusted.set(Extensions::XFORWARD, among(&self.xforward));
        trusted
    }
}

/// What is offered: what the queue, the deliveries and the store keep, and no more. RRVS is not: the directory does not
/// know since when an address has its owner.
fn offered(role: Role, config: &Config) -> Extensions {
    let mut extensions = Extensions::default()
        | Extensions::BINARY_MIME
        | Extensions::SMTPUTF8
        | Extensions::LIMITS
        | Extensions::NO_SOLICITING;
    match role {
        Role::Relay => {
            extensions |= Extensions::DELIVERBY | Extensions::MT_PRIORITY | Extensions::REQUIRETLS;
            extensions.set(Extensions::ETRN, config.smtp.etrn);
        }
        Role::Submission => {
            extensions |=
                Extensions::DELIVERBY | Extensions::MT_PRIORITY | Extensions::REQUIRETLS | Extensions::FUTURERELEASE;
        }
        Role::Lmtp => {}
    }
    extensions
}

fn configured(mut smtp: Smtp, config: &Config) -> Smtp {
    smtp.starttls = true;
    smtp.extensions = offered(smtp.role, config);
    smtp.solicitations.clone_from(&config.smtp.solicitations);
    smtp.text_line_ends = match config.smtp.bare_line_ends {
        BareLineEnds::Reject => LineEnds::Strict,
        BareLineEnds::Normalize => LineEnds::Normalize,
    };
    let limits = &mut smtp.limits;
    match smtp.role {
        Role::Relay => {
            smtp.greet_delay = config.smtp.greet_delay.map_or(Duration::ZERO, |delay| delay.0);
            limits.messages = config.smtp.messages;
        }
        Role::Submission => {
            limits.hold = u32::try_from(config.submission.hold.0.as_secs()).unwrap_or(u32::MAX);
            if config.submission.look_ups {
                smtp.ask = Ask::VERIFY | Ask::EXPAND;
            }
        }
        Role::Lmtp => {}
    }
    limits.message = config.limits.message_size.0;
    limits.recipients = config.limits.recipients;
    limits.line = limits.line.min(length(config.limits.line_length));
    limits.failed_logins = config.limits.failed_logins;
    // RFC 5321 §4.5.3.2.7 asks for five minutes; less only when the configuration says so.
    smtp.timeouts.command = smtp.timeouts.command.min(idle(config));
    smtp
}

/// What a fulfiller of this role does.
pub(crate) fn policy(config: &Config, role: Role) -> Policy {
    let mut policy = Policy::new(config.hostname.as_str(), role);
    policy.message = config.limits.message_size.0;
    policy.etrn = config.smtp.etrn && role == Role::Relay;
    if role == Role::Submission {
        let submission = &config.submission;
        policy.own_addresses_only = submission.own_addresses_only;
        policy.hide_submitter = submission.hide_client;
        policy.add_missing = submission.add_missing;
        policy.look_ups = submission.look_ups;
        let rate = |count: u32| (count > 0).then_some(Rate { count, per: submission.per.0 });
        let (messages, recipients) = (rate(submission.messages), rate(submission.recipients));
        if messages.is_some() || recipients.is_some() {
            policy.rates = Some(Arc::new(Rates::new(messages, recipients)));
        }
    }
    policy
}

impl Server {
    /// What SMTP's fulfillers and the queue's worker ask.
    pub(crate) fn world(&self) -> World {
        World {
            store: Arc::clone(&self.store),
            directory: Arc::clone(&self.directory) as _,
            authenticator: Arc::clone(&self.authenticator),
            environment: Arc::clone(&self.environment),
        }
    }

    /// Serves one connection to its end.
    pub(crate) async fn smtp(&self, service: Service, mut stream: Stream, peer: Peer, shutdown: &Shutdown) -> Ended {
        let (config, policy) = match service {
            Service::Submission | Service::Submissions => &self.smtp.submission,
            Service::Lmtp => &self.smtp.lmtp,
            _ => &self.smtp.relay,
        };
        let mut fulfiller = Fulfiller::new(self.world(), Arc::clone(policy), &peer);
        let filter: Option<Arc<dyn Filter>> = match service {
            Service::Submission | Service::Submissions => Some(Arc::clone(&self.signing) as _),
            Service::Smtp => Some(Arc::clone(&self.authentication) as _),
            _ => None,
        };
        filter.into_iter().for_each(|filter| fulfiller.set_filter(filter));
        let mut watcher = Watcher { peer: peer.clone(), shutdown: shutdown.poller(), queued: Arc::clone(&self.queued) };
        let trusted = self.smtp.trust(peer.address.ip());
        let mut session = Session::new(Arc::clone(config), peer).at(self.environment.now()).trust(trusted);
        drive(&mut session, &mut stream, &mut fulfiller, &mut watcher, &self.drive).await
    }
}

struct Watcher {
    peer: Peer,
    shutdown: Poller,
    queued: Arc<Notify>,
}

impl Embedder<Session> for Watcher {
    fn event(&mut self, event: Event) -> ControlFlow<()> {
        tracing::debug!(peer = %self.peer.address, ?event, "smtp");
        if matches!(event, Event::Accepted { .. } | Event::Ran { verb: etrn::VERB, .. }) {
            self.queued.notify_one();
        }
        ControlFlow::Continue(())
    }

    fn poll_shutdown(&mut self, context: &mut Context<'_>) -> Poll<()> {
        self.shutdown.poll(context)
    }
}
