//! When to try again, when to tell the sender, when to give up: the queue's schedule as values.
//!
//! RFC 5321 §4.5.4.1. Nothing here has a clock: the time comes with each question, so a schedule can be tested a
//! week at a time. What all entries for a destination share is in `queue/destination.rs`; what an entry and a client's
//! [`Report`](crate::client::request::Report) make together is in `queue/entry.rs` (feature `store`).

pub mod destination;
#[cfg(feature = "store")]
pub mod entry;

use std::time::Duration;

use mailstore_trait::date::Timestamp;

/// How often, how long, and when the sender hears of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Retry {
    /// Waits between attempts, first to last; then the last one again. Without any, [`Retry::FALLBACK`] is.
    pub steps: Vec<Duration>,
    /// How far each wait may be from its step, in percent of it, either way: messages that failed together, when a host
    /// went down, do not all come back together.
    pub jitter: u8,
    /// A message queued for this long is returned. RFC 5321 §4.5.4.1: at least 4 to 5 days.
    pub give_up: Duration,
    /// A message queued for this long is reported as delayed, once; `None` for never.
    pub delay_notice: Option<Duration>,
}

impl Default for Retry {
    /// 5 minutes, doubling up to 4 hours, a fifth more or less; a notice after 4 hours, an end after 5 days.
    fn default() -> Retry {
        let minutes = |n: u64| Duration::from_secs(n * 60);
        Retry {
            steps: [5, 10, 20, 40, 80, 160, 240].map(minutes).to_vec(),
            jitter: 20,
            give_up: minutes(5 * 24 * 60),
            delay_notice: Some(minutes(4 * 60)),
        }
    }
}

/// What to do with a message that could not be delivered now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Decision {
    /// Try again then.
    At(Timestamp),
    /// Return it to the sender.
    GiveUp,
}

impl Retry {
    /// The wait where no steps are given.
    pub const FALLBACK: Duration = Duration::from_secs(1800);

    /// What to do after the `attempts`th attempt failed, for a message that has been here since `queued`.
    ///
    /// The last attempt falls on the end of the message's life, whatever the steps say. `random` is any number, evenly
    /// spread, that chooses the wait between the ends [`jitter`](Retry::jitter) sets.
    #[must_use]
    pub fn next_attempt(&self, attempts: u32, queued: Timestamp, now: Timestamp, random: u32) -> Decision {
        if now.since(queued) >= self.give_up {
            return Decision::GiveUp;
        }
        let step = usize::try_from(attempts.saturating_sub(1)).unwrap_or(usize::MAX);
        let wait = self.steps.get(step).or(self.steps.last()).copied().unwrap_or(Self::FALLBACK);
        let wait = self.spread(wait, random);
        // RFC 5321 §4.5.4.1: not at once, even if someone configures that.
        let due = now.plus(wait.max(Duration::from_secs(1)));
        Decision::At(due.min(queued.plus(self.give_up)))
    }

    fn spread(&self, wait: Duration, random: u32) -> Duration {
        let jitter = u32::from(self.jitter.min(100));
        let reach = wait.saturating_mul(jitter) / 100;
        let chosen = (reach.saturating_mul(2) / u32::from(u16::MAX)).saturating_mul(random >> 16);
        wait.saturating_sub(reach).saturating_add(chosen)
    }

    /// Whether the sender is now to hear that the message is late.
    #[must_use]
    pub fn is_late(&self, queued: Timestamp, now: Timestamp, reported: bool) -> bool {
        !reported && self.delay_notice.is_some_and(|notice| now.since(queued) >= notice)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn start() -> Timestamp {
        Timestamp::from_seconds(1_000_000)
    }

    #[test]
    fn a_message_is_tried_for_five_days() {
        let retry = Retry { jitter: 0, ..Retry::default() };
        let (mut now, mut attempts, mut waits) = (start(), 0, Vec::new());
        loop {
            attempts += 1;
            match retry.next_attempt(attempts, start(), now, u32::MAX) {
                Decision::At(due) => {
                    assert!(due > now);
                    waits.push(due.since(now).as_secs() / 60);
                    now = due;
                }
                Decision::GiveUp => break,
            }
        }
        assert_eq!(now.since(start()), retry.give_up);
        assert_eq!(waits[..8], [5, 10, 20, 40, 80, 160, 240, 240]);
        assert_eq!(waits.len(), 35);
    }

    #[test]
    fn odd_schedules_neither_spin_nor_hang() {
        let retry = Retry { steps: Vec::new(), jitter: 0, ..Retry::default() };
        assert_eq!(retry.next_attempt(1, start(), start(), 7), Decision::At(start().plus(Retry::FALLBACK)));
        let retry = Retry { steps: vec![Duration::ZERO], ..Retry::default() };
        assert_eq!(
            retry.next_attempt(u32::MAX, start(), start(), 7),
            Decision::At(start().plus(Duration::from_secs(1)))
        );
        let retry = Retry { give_up: Duration::ZERO, ..Retry::default() };
        assert_eq!(retry.next_attempt(0, start(), start(), 7), Decision::GiveUp);
    }

    #[test]
    fn waits_are_spread_around_their_steps() {
        let retry = Retry::default();
        let wait = |retry: &Retry, random| match retry.next_attempt(1, start(), start(), random) {
            Decision::At(due) => due.since(start()).as_secs(),
            Decision::GiveUp => panic!("too early"),
        };
        assert_eq!([0, u32::MAX / 2, u32::MAX].map(|random| wait(&retry, random)), [240, 299, 359]);
        let wild = Retry { jitter: 255, ..Retry::default() };
        assert_eq!([0, u32::MAX].map(|random| wait(&wild, random)), [1, 599]);
        // The end of a message's life is not put off.
        let last = Retry { give_up: Duration::from_secs(250), ..Retry::default() };
        assert_eq!(wait(&last, u32::MAX), 250);
    }

    #[test]
    fn the_sender_hears_of_a_delay_once() {
        let retry = Retry::default();
        let late = start().plus(Duration::from_secs(4 * 3600));
        assert!(!retry.is_late(start(), start(), false));
        assert!(retry.is_late(start(), late, false));
        assert!(!retry.is_late(start(), late, true));
        assert!(!Retry { delay_notice: None, ..retry }.is_late(start(), late, false));
    }
}
