//! How many conversations a destination gets, how fast they follow each other, and when a dead one is asked again.
//!
//! RFC 5321 §4.5.4.1: a host that could not be reached for one message is not tried for the next one at once. What is
//! known of a destination is shared by all entries for it, so that a thousand messages to a host that is down cost one
//! attempt at a time, not a thousand. Nothing here is durable: a worker that forgot everything asks each destination once.
//!
//! ```text
//!              unreachable                 the wait is over: one conversation
//!     Open ───────────────────▶ Shut ────────────────────────────▶ Probed
//!      ▲                         ▲  unreachable: twice the wait       │
//!      │                         └─────────────────────────────────────┤
//!      └───────────────────────────────────────────────────────────────┘ reached
//! ```
//!
//! An entry that may not go now is told when it may. Each is told another time, as far apart as the destination takes
//! messages, so that a long queue for a slow destination passes the worker about twice, not over and over.

use std::collections::HashMap;
use std::time::Duration;

use mailstore_trait::date::Timestamp;

use crate::client::request::Outcome;
use crate::reply::Reply;

/// What one destination may take.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Conversations with one destination at the same time.
    pub concurrency: usize,
    /// From the start of one conversation with a destination to the start of the next, at least.
    pub spacing: Duration,
    /// How long a destination that can't be reached is left alone at first. Each time doubles it.
    pub backoff: Duration,
    /// The longest it is left alone.
    pub backoff_max: Duration,
    /// Destinations that are remembered, at most; but those in use, and those that are shut, are never forgotten.
    pub remembered: usize,
}

impl Default for Limits {
    /// 20 at once, as fast as they come; 1 minute, doubling up to 1 hour, after a failure.
    fn default() -> Limits {
        Limits {
            concurrency: 20,
            spacing: Duration::ZERO,
            backoff: Duration::from_secs(60),
            backoff_max: Duration::from_secs(3600),
            remembered: 10_000,
        }
    }
}

/// Whether a destination may be tried now.
#[derive(Clone, Debug, PartialEq, Eq)]
#[must_use]
pub enum Admission {
    /// Yes; [`Destinations::ended`] must follow.
    Granted,
    /// It has enough to do; then there may be room.
    Busy(Timestamp),
    /// It could not be reached lately; then it may be tried again.
    Shut {
        /// When.
        until: Timestamp,
        /// What was said of it.
        reply: String,
    },
}

/// How a conversation ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reached<'a> {
    /// The destination answered, whatever it said of the message.
    Answered,
    /// It could not be reached, or would not talk: this was said of it.
    Unreachable(&'a Reply),
    /// It was never tried: the worker had to stop.
    Untried,
}

impl<'a> Reached<'a> {
    /// What a conversation's outcomes say of the destination. One that ended before it came to the message would end so
    /// for any message.
    #[must_use]
    pub fn of(outcomes: &'a [Outcome]) -> Reached<'a> {
        let mut last = None;
        for outcome in outcomes {
            match outcome {
                Outcome::Deferred(failure) if failure.stage.is_before_the_message() => last = Some(&failure.reply),
                _ => return Reached::Answered,
            }
        }
        last.map_or(Reached::Untried, Reached::Unreachable)
    }
}

/// The destinations a worker has to do with.
#[derive(Debug)]
pub struct Destinations {
    limits: Limits,
    known: HashMap<Box<str>, Destination>,
}

#[derive(Debug)]
struct Destination {
    active: usize,
    /// The earliest start that spacing allows.
    next: Timestamp,
    /// The time that the next entry is told that can't go now.
    slot: Timestamp,
    /// How long a conversation takes: a moving average.
    takes: Duration,
    /// How often in a row it could not be reached.
    failures: u32,
    shut_until: Timestamp,
    reply: String,
}

/// The shortest time after which an entry is to ask again.
const SOON: Duration = Duration::from_secs(1);

impl Destinations {
    /// None are known yet.
    #[must_use]
    pub fn new(limits: Limits) -> Destinations {
        Destinations { limits, known: HashMap::new() }
    }

    /// Whether this destination may be tried now. `name` is whatever its entries share: a domain or a next hop, in one
    /// case.
    pub fn admit(&mut self, name: &str, now: Timestamp) -> Admission {
        if !self.known.contains_key(name) {
            self.forget(now);
            self.known.insert(name.into(), Destination::new(now));
        }
        let limits = &self.limits;
        let Some(known) = self.known.get_mut(name) else { return Admission::Busy(now.plus(SOON)) };
        if known.shut_until > now {
            let until = known.told(known.shut_until, limits);
            return Admission::Shut { until, reply: known.reply.clone() };
        }
        // One conversation finds out whether a destination that was shut is back.
        let room = if known.failures > 0 { 1 } else { limits.concurrency.max(1) };
        if known.active >= room || known.next > now {
            return Admission::Busy(known.told(known.next.max(now.plus(SOON)), limits));
        }
        known.active += 1;
        known.next = now.plus(limits.spacing);
        Admission::Granted
    }

    /// Lets the next one ask a destination that is shut: somebody who knows better wants it.
    pub fn reopen(&mut self, name: &str) {
        if let Some(known) = self.known.get_mut(name) {
            known.shut_until = Timestamp(i64::MIN);
        }
    }

    /// A conversation that was granted ended, after it took this long. `random` is any number, evenly spread.
    pub fn ended(&mut self, name: &str, now: Timestamp, took: Duration, reached: Reached<'_>, random: u32) {
        let Some(known) = self.known.get_mut(name) else { return };
        known.active = known.active.saturating_sub(1);
        match reached {
            Reached::Answered => {
                known.takes = (known.takes * 7 + took) / 8;
                known.failures = 0;
                known.shut_until = Timestamp(i64::MIN);
                known.reply = String::new();
            }
            // Those that were under way when the first one failed tell nothing new.
            Reached::Unreachable(_) if known.shut_until > now => {}
            Reached::Unreachable(reply) => {
                let doubled = self.limits.backoff.saturating_mul(1 << known.failures.min(20));
                let wait = doubled.min(self.limits.backoff_max.max(self.limits.backoff));
                // A fifth more or less: hosts that went down together are not asked together.
                let fifth = wait / 5;
                let wait = wait - fifth + (fifth * 2 / u32::from(u16::MAX)).saturating_mul(random >> 16);
                known.failures = known.failures.saturating_add(1);
                known.shut_until = now.plus(wait.max(SOON));
                known.slot = known.shut_until;
                known.reply = reply.to_string();
            }
            Reached::Untried => {}
        }
    }

    /// Destinations that are remembered.
    #[must_use]
    pub fn len(&self) -> usize {
        self.known.len()
    }

    /// Whether none is remembered.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.known.is_empty()
    }

    fn forget(&mut self, now: Timestamp) {
        if self.known.len() >= self.limits.remembered {
            self.known.retain(|_, known| known.active > 0 || known.shut_until > now || known.slot > now);
        }
    }
}

impl Destination {
    fn new(now: Timestamp) -> Destination {
        Destination {
            active: 0,
            next: now,
            slot: now,
            takes: SOON,
            failures: 0,
            shut_until: Timestamp(i64::MIN),
            reply: String::new(),
        }
    }

    /// The time that one more entry is told, not before `earliest`.
    fn told(&mut self, earliest: Timestamp, limits: &Limits) -> Timestamp {
        // Half as far apart as they will go, so that there is always one that asks.
        let parallel = u32::try_from(limits.concurrency.max(1)).unwrap_or(u32::MAX);
        let apart = (self.takes / parallel).max(limits.spacing) / 2;
        let told = self.slot.max(earliest);
        self.slot = told.plus(apart.max(Duration::from_millis(1)));
        told
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const REFUSED: Reply = Reply { code: 451, enhanced: None, text: std::borrow::Cow::Borrowed("refused") };

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_seconds(seconds)
    }

    fn some(limits: Limits) -> Destinations {
        Destinations::new(Limits { concurrency: 2, ..limits })
    }

    #[test]
    fn a_destination_gets_so_many_conversations() {
        let mut destinations = some(Limits::default());
        assert_eq!(destinations.admit("b.example", at(0)), Admission::Granted);
        assert_eq!(destinations.admit("b.example", at(0)), Admission::Granted);
        assert_eq!(destinations.admit("b.example", at(0)), Admission::Busy(at(1)));
        assert_eq!(destinations.admit("c.example", at(0)), Admission::Granted, "others have their own");
        destinations.ended("b.example", at(1), SOON, Reached::Answered, 0);
        assert_eq!(destinations.admit("b.example", at(1)), Admission::Granted);
    }

    #[test]
    fn a_destination_is_asked_so_often() {
        let mut destinations = some(Limits { spacing: Duration::from_secs(10), ..Limits::default() });
        assert_eq!(destinations.admit("b.example", at(0)), Admission::Granted);
        destinations.ended("b.example", at(1), SOON, Reached::Answered, 0);
        assert_eq!(destinations.admit("b.example", at(5)), Admission::Busy(at(10)));
        assert_eq!(destinations.admit("b.example", at(10)), Admission::Granted);
    }

    #[test]
    fn a_dead_host_is_asked_once_for_all() {
        let mut destinations = some(Limits::default());
        assert_eq!(destinations.admit("b.example", at(0)), Admission::Granted);
        assert_eq!(destinations.admit("b.example", at(0)), Admission::Granted);
        let (mut waits, mut now) = (Vec::new(), at(0));
        destinations.ended("b.example", now, SOON, Reached::Unreachable(&REFUSED), u32::MAX / 2);
        destinations.ended("b.example", now, SOON, Reached::Unreachable(&REFUSED), u32::MAX / 2);
        for _ in 0..9 {
            let Admission::Shut { until, reply } = destinations.admit("b.example", now) else { panic!() };
            assert_eq!(reply, "451 refused");
            assert!(matches!(destinations.admit("b.example", now), Admission::Shut { .. }));
            waits.push(until.since(now).as_secs().div_ceil(60));
            now = until;
            assert_eq!(destinations.admit("b.example", now), Admission::Granted);
            assert!(matches!(destinations.admit("b.example", now), Admission::Busy(_)), "one finds out");
            destinations.ended("b.example", now, SOON, Reached::Unreachable(&REFUSED), u32::MAX / 2);
        }
        assert_eq!(waits, [1, 2, 4, 8, 16, 32, 60, 60, 60]);
        now = now.plus(Duration::from_secs(4000));
        assert_eq!(destinations.admit("b.example", now), Admission::Granted);
        destinations.ended("b.example", now, SOON, Reached::Answered, 0);
        assert_eq!(destinations.admit("b.example", now), Admission::Granted, "it is back");
        assert_eq!(destinations.admit("b.example", now), Admission::Granted, "for all");
    }

    #[test]
    fn whoever_knows_better_reopens_a_destination() {
        let mut destinations = some(Limits::default());
        assert_eq!(destinations.admit("b.example", at(0)), Admission::Granted);
        destinations.ended("b.example", at(0), SOON, Reached::Unreachable(&REFUSED), 0);
        destinations.reopen("b.example");
        assert_eq!(destinations.admit("b.example", at(1)), Admission::Granted);
        assert!(matches!(destinations.admit("b.example", at(1)), Admission::Busy(_)), "for one");
    }

    #[test]
    fn what_would_happen_to_any_message_is_the_destinations_fault() {
        use crate::client::request::{Failure, Stage};
        let failed = |stage, code| Outcome::from(Failure { stage, reply: Reply { code, ..REFUSED }, remote: true });
        assert!(matches!(
            Reached::of(&[failed(Stage::Greeting, 421), failed(Stage::Greeting, 421)]),
            Reached::Unreachable(_)
        ));
        for stage in [Stage::Lookup, Stage::Connect, Stage::StartTls] {
            assert!(matches!(Reached::of(&[failed(stage, 451)]), Reached::Unreachable(_)), "{stage:?}");
        }
        for answered in [failed(Stage::Rcpt, 451), failed(Stage::Mail, 554), failed(Stage::FinalDot, 451)] {
            assert_eq!(Reached::of(&[failed(Stage::Hello, 451), answered]), Reached::Answered);
        }
        assert_eq!(Reached::of(&[]), Reached::Untried);
    }

    /// A hundred thousand entries for a host that was down came back in the same second, each second anew.
    #[test]
    fn who_waits_comes_back_one_after_the_other() {
        let mut destinations = some(Limits::default());
        for _ in 0..2 {
            assert_eq!(destinations.admit("b.example", at(0)), Admission::Granted);
        }
        let told: Vec<Timestamp> = (0..1000)
            .map(|_| match destinations.admit("b.example", at(0)) {
                Admission::Busy(at) => at,
                other => panic!("{other:?}"),
            })
            .collect();
        assert!(told.windows(2).all(|pair| pair[0] < pair[1]));
        assert_eq!(told[999].since(told[0]).as_secs(), 249, "twice as fast as two at once, a second each, may go");
        destinations.ended("b.example", at(1), SOON, Reached::Unreachable(&REFUSED), 0);
        let Admission::Shut { until, .. } = destinations.admit("b.example", at(1)) else { panic!() };
        assert_eq!(until, at(49), "a fifth of a minute earlier");
    }

    #[test]
    fn only_idle_destinations_are_forgotten() {
        let mut destinations = some(Limits { remembered: 3, ..Limits::default() });
        for (name, reached) in
            [("a", None), ("b", Some(Reached::Unreachable(&REFUSED))), ("c", Some(Reached::Answered))]
        {
            assert_eq!(destinations.admit(name, at(0)), Admission::Granted);
            if let Some(reached) = reached {
                destinations.ended(name, at(0), SOON, reached, 0);
            }
        }
        assert_eq!(destinations.admit("d", at(1)), Admission::Granted);
        assert_eq!(destinations.len(), 3);
        assert!(matches!(destinations.admit("b", at(1)), Admission::Shut { .. }));
        destinations.ended("nobody", at(1), SOON, Reached::Answered, 0);
        assert!(!destinations.is_empty());
    }
}
