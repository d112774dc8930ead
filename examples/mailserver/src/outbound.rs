//! The queue's worker: leases what is due, sends it by its route, and commits what came of it.
//!
//! Leases are short and renewed while an attempt lasts, so that what a dead process had taken is soon taken over. An
//! attempt whose lease is lost is broken off: another process has the entry.

mod connect;
mod fulfil;
mod policies;
mod pool;
mod relay;
mod reports;
mod resolve;
mod verify;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::{Duration, Instant};

use mailstore_trait::date::Timestamp;
use mailstore_trait::environment::Environment;
use mailstore_trait::error::{CommitError, ReadError};
use mailstore_trait::id::QueueId;
use mailstore_trait::queue::{Leased, QueueLease};
use smtp_proto::address::{Address, Grammar};
use smtp_proto::config::Role;
use smtp_proto::queue::destination::{Destinations, Limits, Reached};
use smtp_proto::queue::entry::{self, Via};
use smtp_proto::store::{Deliverer, World};
use tokio::sync::{Notify, Semaphore};
use tokio::task::AbortHandle;

use crate::Failure;
use crate::config::Config;
use crate::environment::System;
use crate::shutdown::Shutdown;
use relay::Relay;
use reports::Reporter;

/// How long to sleep when nothing is due: entries made by other processes are seen then.
const PATROL: Duration = Duration::from_secs(1);

/// Sends what waits in the queue.
pub(crate) struct Outbound {
    world: World,
    deliverer: Deliverer,
    relay: Relay,
    reporter: Option<Reporter>,
    slots: Arc<Semaphore>,
    concurrency: usize,
    lease: Duration,
    destinations: Mutex<Destinations>,
    under_way: Mutex<HashMap<QueueId, (QueueLease, Option<AbortHandle>)>>,
    queued: Arc<Notify>,
}

impl Outbound {
    pub(crate) fn new(config: &Config, world: World, queued: Arc<Notify>) -> Result<Outbound, Failure> {
        let policy = crate::server::policy(config, Role::Relay);
        let outbound = &config.outbound;
        let retry = smtp_proto::queue::Retry {
            steps: outbound.retry.iter().map(|span| span.0).collect(),
            give_up: outbound.give_up.0,
            delay_notice: Some(outbound.delay_notice.0),
            ..smtp_proto::queue::Retry::default()
        };
        let limits = Limits {
            concurrency: outbound.per_destination,
            spacing: outbound.spacing.map_or(Duration::ZERO, |span| span.0),
            backoff: outbound.backoff.0,
            backoff_max: outbound.backoff_max.0,
            ..Limits::default()
        };
        let contact = outbound.tls_reports.as_ref().and_then(|to| Address::parse(to, Grammar::default()).ok());
        let reporter = contact.map(|contact| Reporter {
            contact,
            hostname: config.hostname.clone(),
            every: outbound.tls_reports_every.0,
        });
        let relay = Relay::new(config, Arc::clone(&world.store))?;
        Ok(Outbound {
            relay,
            reporter,
            deliverer: Deliverer::new(world.clone(), Arc::new(policy), retry),
            world,
            slots: Arc::new(Semaphore::new(outbound.concurrency)),
            concurrency: outbound.concurrency,
            lease: outbound.lease.0,
            destinations: Mutex::new(Destinations::new(limits)),
            under_way: Mutex::default(),
            queued,
        })
    }

    /// Works until the shutdown. What is under way then is finished by its own tasks.
    pub(crate) async fn run(self, mut shutdown: Shutdown) {
        let outbound = Arc::new(self);
        tokio::spawn(keep(Arc::downgrade(&outbound), outbound.lease));
        if let Some(reporter) = outbound.reporter.clone() {
            tokio::spawn(reports::report(Arc::downgrade(&outbound), reporter));
        }
        loop {
            let free = outbound.slots.available_permits();
            let mut found = 0;
            if free > 0 {
                match outbound.due(System.now(), free).await {
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

    async fn due(&self, now: Timestamp, max: usize) -> Result<Vec<Leased>, ReadError> {
        match self.world.store.as_queue() {
            Some(queue) => queue.lease(now, max.min(self.concurrency), self.lease).await,
            None => Ok(Vec::new()),
        }
    }

    async fn start(self: &Arc<Outbound>, leased: Leased, shutdown: &Shutdown) {
        let Ok(slot) = Arc::clone(&self.slots).acquire_owned().await else { return };
        let (outbound, shutdown) = (Arc::clone(self), shutdown.clone());
        let (id, lease) = (leased.entry.id, leased.lease);
        locked(&self.under_way).insert(id, (lease, None));
        let task = tokio::spawn(async move {
            if let Err(error) = outbound.attempt(leased).await {
                tracing::warn!(%id, %error, "the outcome could not be committed; it is tried again when the lease ends");
            }
            locked(&outbound.under_way).remove(&id);
            outbound.queued.notify_one();
            drop((slot, shutdown));
        });
        // It may have ended already, and somebody else's turn at the entry begun.
        if let Some((_, handle)) = locked(&self.under_way).get_mut(&id).filter(|(known, _)| *known == lease) {
            *handle = Some(task.abort_handle());
        }
    }

    /// Renews the leases of what is under way, and breaks off what lost its lease.
    async fn renew(&self) {
        let held: Vec<QueueLease> = locked(&self.under_way).values().map(|(lease, _)| *lease).collect();
        let Some(queue) = self.world.store.as_queue().filter(|_| !held.is_empty()) else { return };
        let renewed = match queue.renew(&held, System.now().plus(self.lease)).await {
            Ok(renewed) => renewed,
            Err(error) => return tracing::warn!(%error, "leases can't be renewed"),
        };
        for lost in held.into_iter().filter(|lease| !renewed.contains(lease)) {
            let mut under_way = locked(&self.under_way);
            // One that ended meanwhile has lost nothing.
            if under_way.get(&lost.id).is_some_and(|(lease, _)| *lease == lost)
                && let Some((_, Some(task))) = under_way.remove(&lost.id)
            {
                tracing::warn!(id = %lost.id, "another process took the entry over");
                task.abort();
            }
        }
    }

    /// One turn at an entry: an attempt at everything that is left of it, where the destinations are free.
    async fn attempt(&self, mut leased: Leased) -> Result<(), CommitError> {
        let now = System.now();
        if !entry::is_over(&leased.entry, now) {
            self.deliverer.deliver_locally(&mut leased.entry).await;
        }
        let here = leased.entry.recipients.iter().any(|recipient| !recipient.is_waiting());
        let plan =
            entry::plan(&mut leased.entry, now, &mut locked(&self.destinations), |to| self.relay.destination(to));
        let tried = here || !plan.granted.is_empty();
        for (name, positions) in plan.granted {
            let granted = Granted { outbound: self, name, started: Instant::now(), ended: false };
            self.send(&mut leased, &positions, granted).await;
        }
        for recipient in &leased.entry.recipients {
            tracing::info!(id = %leased.entry.id, to = %recipient.address, state = ?recipient.state, last = ?recipient.last, "attempted");
        }
        self.deliverer.conclude(leased, tried, plan.postponed).await
    }

    async fn send(&self, leased: &mut Leased, positions: &[usize], granted: Granted<'_>) {
        let all: Vec<String> = positions
            .iter()
            .filter_map(|&at| leased.entry.recipients.get(at).map(|recipient| recipient.address.clone()))
            .collect();
        let takes = |address: &Address| all.iter().any(|known| known == address.as_str());
        let (outgoing, positions) = entry::outgoing(&leased.entry, System.now(), takes);
        let sent = self.relay.send(leased.entry.id, outgoing).await;
        let via = Via::NextHop { host: &sent.host, reports: sent.dsn, deliver_by: sent.deliver_by };
        entry::settle(&mut leased.entry, &positions, &sent.outcomes, via, System.now());
        granted.end(Reached::of(&sent.outcomes));
    }
}

/// A conversation that a destination granted. It ends when this goes, whatever ends it.
struct Granted<'a> {
    outbound: &'a Outbound,
    name: String,
    started: Instant,
    ended: bool,
}

impl Granted<'_> {
    fn end(mut self, reached: Reached<'_>) {
        self.tell(reached);
    }

    fn tell(&mut self, reached: Reached<'_>) {
        let mut random = [0; 4];
        System.fill(&mut random);
        let (took, random) = (self.started.elapsed(), u32::from_le_bytes(random));
        locked(&self.outbound.destinations).ended(&self.name, System.now(), took, reached, random);
        self.ended = true;
    }
}

impl Drop for Granted<'_> {
    fn drop(&mut self) {
        if !self.ended {
            self.tell(Reached::Untried);
        }
    }
}

/// Renews what a worker holds, as long as there is a worker.
async fn keep(outbound: Weak<Outbound>, lease: Duration) {
    loop {
        tokio::time::sleep(lease / 3).await;
        match outbound.upgrade() {
            Some(outbound) => outbound.renew().await,
            None => return,
        }
    }
}

/// What is behind a lock stays whole, whoever held it when it panicked.
fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
