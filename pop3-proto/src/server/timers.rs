//! Every moment a session waits for, as values.
//!
//! RFC 1939 §3: an autologout timer lasts at least ten minutes, and every command restarts it. So does a reply that is
//! drained: whoever reads what it asked for is not idle.

use std::time::{Duration, Instant};

/// What the session remembers of time. Nothing here is known before the first poll.
#[derive(Debug, Default)]
pub(super) struct Timers {
    now: Option<Instant>,
    /// The greeting.
    began: Option<Instant>,
    /// The last complete line, or the last reply that was drained.
    active: Option<Instant>,
    /// When the peer last drained something, or was first sent something it has not drained.
    drained_at: Option<Instant>,
    drained: u64,
    sent: u64,
    answer: Option<Instant>,
    layer: Option<Instant>,
    renew: Option<Instant>,
    lease_until: Option<Instant>,
}

impl Timers {
    /// Notes the time and how far the peer has drained what it was sent.
    pub(super) fn see(&mut self, now: Instant, unsent: usize) {
        self.now = Some(now);
        let unsent = u64::try_from(unsent).unwrap_or(u64::MAX);
        let drained = self.sent.saturating_sub(unsent);
        if drained > self.drained {
            self.drained = drained;
            self.drained_at = Some(now);
            self.active = Some(now);
        }
    }

    /// Octets were handed out.
    pub(super) fn sent(&mut self, octets: usize) {
        if self.sent == self.drained {
            self.drained_at = self.now;
        }
        self.sent = self.sent.saturating_add(u64::try_from(octets).unwrap_or(0));
    }

    pub(super) fn begin(&mut self, now: Instant) {
        self.began = Some(now);
        self.active = Some(now);
    }

    pub(super) fn command(&mut self, now: Instant) {
        self.active = Some(now);
    }

    pub(super) fn idle_deadline(&self, idle: Duration) -> Option<Instant> {
        self.active.map(|active| active + idle)
    }

    pub(super) fn login_deadline(&self, authorization: Duration) -> Option<Instant> {
        self.began.map(|began| began + authorization)
    }

    pub(super) fn stall_deadline(&self, stall: Duration) -> Option<Instant> {
        self.drained_at.map(|drained| drained + stall)
    }

    pub(super) fn ask(&mut self, deadline: Instant) {
        self.answer = Some(deadline);
    }

    pub(super) fn answer_deadline(&self) -> Option<Instant> {
        self.answer
    }

    pub(super) fn layer(&mut self, deadline: Instant) {
        self.layer = Some(deadline);
    }

    pub(super) fn layer_deadline(&self) -> Option<Instant> {
        self.layer
    }

    /// The lease is held for so long from the latest poll, which is before the answer: never longer than it truly is.
    pub(super) fn held(&mut self, lease: Duration) {
        self.lease_until = self.now.map(|now| now + lease);
    }

    /// Whether the lease is surely still held.
    pub(super) fn is_held(&self) -> bool {
        self.lease_until.zip(self.now).is_some_and(|(until, now)| now < until)
    }

    /// The next renewal is so far from the latest poll.
    pub(super) fn renew_in(&mut self, renew: Duration) {
        self.renew = self.now.map(|now| now + renew);
    }

    pub(super) fn renewal_deadline(&self) -> Option<Instant> {
        self.renew
    }
}

/// Whether a deadline has come.
pub(super) fn is_past(deadline: Option<Instant>, now: Instant) -> bool {
    deadline.is_some_and(|deadline| now >= deadline)
}
