//! SMTP, submission and LMTP connections.

use std::ops::ControlFlow;
use std::sync::Arc;
use std::task::{Context, Poll};

use mailstore_trait::drive::{Embedder, Ended, drive};
use mailstore_trait::session::Peer;
use smtp_proto::config::{Config as Smtp, Role};
use smtp_proto::store::{Filter, Fulfiller, Policy, World};
use smtp_proto::{Event, Server as Session};
use tokio::sync::Notify;

use super::{Server, idle, length};
use crate::config::Config;
use crate::listener::Service;
use crate::shutdown::{Poller, Shutdown};
use crate::stream::Stream;

/// How each role behaves: towards the client, and towards the store.
pub(super) struct Configs {
    relay: (Arc<Smtp>, Arc<Policy>),
    submission: (Arc<Smtp>, Arc<Policy>),
    lmtp: (Arc<Smtp>, Arc<Policy>),
}

impl Configs {
    pub(super) fn new(config: &Config) -> Configs {
        let host = config.hostname.as_str();
        let mechanisms = super::mechanisms().map(|mechanism| mechanism.name().to_owned());
        let shared = |smtp: Smtp| {
            let policy = policy(config, smtp.role);
            (Arc::new(limited(smtp, config)), Arc::new(policy))
        };
        Configs {
            relay: shared(Smtp::new(host)),
            submission: shared(Smtp::submission(host, mechanisms)),
            lmtp: shared(Smtp::lmtp(host)),
        }
    }
}

fn limited(mut smtp: Smtp, config: &Config) -> Smtp {
    smtp.starttls = true;
    let limits = &mut smtp.limits;
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
        let mut session = Session::new(Arc::clone(config), peer);
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
        if matches!(event, Event::Accepted { .. }) {
            self.queued.notify_one();
        }
        ControlFlow::Continue(())
    }

    fn poll_shutdown(&mut self, context: &mut Context<'_>) -> Poll<()> {
        self.shutdown.poll(context)
    }
}
