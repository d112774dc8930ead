//! The queue's worker: leases what is due, sends it by its route, and commits what came of it.

mod connect;
mod fulfil;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use mailstore_trait::date::Timestamp;
use mailstore_trait::drive::{DriveLimits, Silent, drive};
use mailstore_trait::environment::Environment;
use mailstore_trait::queue::{Leased, RecipientState};
use smtp_proto::address::Address;
use smtp_proto::client::request::{Failure, Outcome, Stage};
use smtp_proto::config::Role;
use smtp_proto::queue::entry;
use smtp_proto::reply::Reply;
use smtp_proto::store::{Deliverer, World};
use tokio::sync::{Notify, Semaphore};

use crate::config::{Config, Route};
use crate::environment::System;
use crate::shutdown::Shutdown;
use fulfil::Sender;

/// How long an entry may be worked on before another worker may take it. Longer than a client's longest conversation.
const LEASE: Duration = Duration::from_secs(2 * 3600);
/// How long to sleep when nothing is due: entries made by other processes are seen then.
const PATROL: Duration = Duration::from_secs(1);

/// Sends what waits in the queue.
pub(crate) struct Outbound {
    world: World,
    deliverer: Deliverer,
    routes: Arc<[Route]>,
    hostname: String,
    slots: Arc<Semaphore>,
    concurrency: usize,
    queued: Arc<Notify>,
}

impl Outbound {
    pub(crate) fn new(config: &Config, world: World, queued: Arc<Notify>) -> Outbound {
        let policy = crate::server::policy(config, Role::Relay);
        let retry = smtp_proto::queue::Retry {
            steps: config.outbound.retry.iter().map(|span| span.0).collect(),
            give_up: config.outbound.give_up.0,
            delay_notice: Some(config.outbound.delay_notice.0),
            ..smtp_proto::queue::Retry::default()
        };
        Outbound {
            deliverer: Deliverer::new(world.clone(), Arc::new(policy), retry),
            world,
            routes: config.outbound.routes.clone().into(),
            hostname: config.hostname.clone(),
            slots: Arc::new(Semaphore::new(config.outbound.concurrency)),
            concurrency: config.outbound.concurrency,
            queued,
        }
    }

    /// Works until the shutdown. What is under way then is finished by its own tasks.
    pub(crate) async fn run(self, mut shutdown: Shutdown) {
        let outbound = Arc::new(self);
        loop {
            let free = outbound.slots.available_permits();
            let mut found = 0;
            if free > 0 {
                let now = System.now();
                match outbound.due(now, free).await {
                    Ok(leased) => {
                        found = leased.len();
                        for leased in leased {
                            outbound.start(leased, &shutdown).await;
                        }
                    }
                    Err(error) => tracing::warn!(%error, "the queue can't be read"),
                }
            }
            if found > 0 && found == free {
                continue;
            }
            tokio::select! {
                () = shutdown.signalled() => return,
                () = outbound.queued.notified() => {}
                () = tokio::time::sleep(PATROL) => {}
            }
        }
    }

    async fn due(&self, now: Timestamp, max: usize) -> Result<Vec<Leased>, mailstore_trait::error::ReadError> {
        match self.world.store.as_queue() {
            Some(queue) => queue.lease(now, max.min(self.concurrency), LEASE).await,
            None => Ok(Vec::new()),
        }
    }

    async fn start(self: &Arc<Outbound>, leased: Leased, shutdown: &Shutdown) {
        let Ok(slot) = Arc::clone(&self.slots).acquire_owned().await else { return };
        let (outbound, shutdown) = (Arc::clone(self), shutdown.clone());
        tokio::spawn(async move {
            let id = leased.entry.id;
            if let Err(error) = outbound.attempt(leased).await {
                tracing::warn!(%id, %error, "the outcome could not be committed; it is tried again when the lease ends");
            }
            outbound.queued.notify_one();
            drop((slot, shutdown));
        });
    }

    /// One attempt at everything that is left of an entry.
    async fn attempt(&self, mut leased: Leased) -> Result<(), mailstore_trait::error::CommitError> {
        self.deliverer.deliver_locally(&mut leased.entry).await;
        let pending = leased.entry.recipients.iter().enumerate().filter_map(|(at, recipient)| {
            let waits = matches!(recipient.state, RecipientState::Pending { .. });
            waits.then(|| (self.route(&recipient.address), at))
        });
        let mut by_route: BTreeMap<Option<usize>, Vec<usize>> = BTreeMap::new();
        pending.for_each(|(route, at)| by_route.entry(route).or_default().push(at));
        for (route, positions) in by_route {
            match route.and_then(|route| self.routes.get(route)) {
                Some(route) => self.send(&mut leased, route, &positions).await,
                None => {
                    let outcomes = vec![refused(NO_ROUTE); positions.len()];
                    entry::settle(&mut leased.entry, &positions, &outcomes, false);
                }
            }
        }
        for recipient in &leased.entry.recipients {
            tracing::info!(id = %leased.entry.id, to = %recipient.address, state = ?recipient.state, "attempted");
        }
        self.deliverer.conclude(leased).await
    }

    /// The first route that matches the address's domain.
    fn route(&self, address: &str) -> Option<usize> {
        let domain = address.rsplit_once('@').map_or("", |(_, domain)| domain);
        self.routes.iter().position(|route| route.matches(domain))
    }

    async fn send(&self, leased: &mut Leased, route: &Route, positions: &[usize]) {
        let all: Vec<String> = positions
            .iter()
            .filter_map(|&at| leased.entry.recipients.get(at).map(|recipient| recipient.address.clone()))
            .collect();
        let takes = |address: &Address| all.iter().any(|known| known == address.as_str());
        let (outgoing, sent) = entry::outgoing(&leased.entry, takes);
        let mut sender = Sender::new(Arc::clone(&self.world.store), leased.entry.id, outgoing, route);
        for attempt in connect::attempts(route) {
            let (mut session, mut stream) = match connect::open(&self.hostname, route, attempt).await {
                Ok(opened) => opened,
                Err(reply) => {
                    sender.report(vec![deferred(reply); sent.len()], false);
                    break;
                }
            };
            let limits = DriveLimits::default();
            let ended = drive(&mut session, &mut stream, &mut sender, &mut Silent, &limits).await;
            tracing::debug!(id = %leased.entry.id, host = %route.host, ?ended, "connection");
            // Opportunistic TLS that fails must not keep mail from a host that would take it in clear (RFC 7435 §3).
            if !sender.handshake_failed() {
                break;
            }
        }
        let (outcomes, dsn) = sender.into_outcomes(sent.len());
        entry::settle(&mut leased.entry, &sent, &outcomes, dsn);
    }
}

/// What is said of a recipient for whose domain there is no route.
const NO_ROUTE: Reply = Reply {
    code: 550,
    enhanced: Some(smtp_proto::reply::EnhancedCode::new(5, 4, 4)),
    text: std::borrow::Cow::Borrowed("No route to this domain"),
};

/// What is said when a conversation ended without saying anything of the recipients.
const NO_REPORT: Reply = Reply {
    code: 451,
    enhanced: Some(smtp_proto::reply::EnhancedCode::new(4, 4, 2)),
    text: std::borrow::Cow::Borrowed("The connection ended early"),
};

fn refused(reply: Reply) -> Outcome {
    Outcome::Failed(Failure { stage: Stage::Greeting, reply, remote: false })
}

fn deferred(reply: Reply) -> Outcome {
    Outcome::Deferred(Failure { stage: Stage::Greeting, reply, remote: false })
}
