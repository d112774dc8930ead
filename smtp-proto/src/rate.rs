//! How much a user may send in how much time.
//!
//! RFC 6409 §3.3 and §6.1 leave it to the site whom it serves, and how far. An account whose password was stolen is worth
//! what can be sent with it before someone looks; these limits make that little. For each user one instant is kept: until
//! when the allowance of what was sent so far has grown back. So a limit costs no list of events and no timer, a burst up to the whole
//! allowance is let through, and who has been quiet for its time is forgotten.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use mailstore_trait::date::Timestamp;
use mailstore_trait::id::AccountId;

/// So many in so much time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rate {
    /// How many at once, and in each [`per`](Rate::per); none lets nothing through.
    pub count: u32,
    /// In how much time the whole allowance grows back.
    pub per: Duration,
}

/// Each user's allowance of messages and recipients. Shared by all sessions of a listener, or of several.
#[derive(Debug)]
pub struct Rates {
    messages: Option<Rate>,
    recipients: Option<Rate>,
    users: Mutex<HashMap<AccountId, Used>>,
}

/// Until when each allowance is growing back: in microseconds, since large rates have small parts.
#[derive(Clone, Copy, Debug, Default)]
struct Used {
    messages: i128,
    recipients: i128,
}

/// Users that are remembered before those whose allowance has grown back are looked for.
const REMEMBERED: usize = 10_000;

impl Rates {
    /// Limits for every user; `None` is no limit.
    #[must_use]
    pub fn new(messages: Option<Rate>, recipients: Option<Rate>) -> Rates {
        Rates { messages, recipients, users: Mutex::default() }
    }

    /// Takes a message from a user's allowance.
    ///
    /// # Errors
    /// How long until there is room for one, when there is none; nothing is taken then.
    pub fn message(&self, user: AccountId, now: Timestamp) -> Result<(), Duration> {
        let Some(rate) = self.messages else { return Ok(()) };
        rate.take(&mut self.users(now).entry(user).or_default().messages, now)
    }

    /// Takes a recipient from a user's allowance.
    ///
    /// # Errors
    /// As [`message`](Rates::message).
    pub fn recipient(&self, user: AccountId, now: Timestamp) -> Result<(), Duration> {
        let Some(rate) = self.recipients else { return Ok(()) };
        rate.take(&mut self.users(now).entry(user).or_default().recipients, now)
    }

    fn users(&self, now: Timestamp) -> MutexGuard<'_, HashMap<AccountId, Used>> {
        let mut users = self.users.lock().unwrap_or_else(PoisonError::into_inner);
        if users.len() >= REMEMBERED {
            let now = micros(now);
            users.retain(|_, used| used.messages > now || used.recipients > now);
        }
        users
    }
}

impl Rate {
    fn take(self, used_until: &mut i128, now: Timestamp) -> Result<(), Duration> {
        let per = i128::try_from(self.per.as_micros()).unwrap_or(i128::MAX >> 1);
        if self.count == 0 {
            return Err(self.per);
        }
        let now = micros(now);
        let until = now.max(*used_until) + per / i128::from(self.count);
        let over = until - now - per;
        if over > 0 {
            return Err(Duration::from_micros(u64::try_from(over).unwrap_or(u64::MAX)));
        }
        *used_until = until;
        Ok(())
    }
}

fn micros(time: Timestamp) -> i128 {
    i128::from(time.0) * 1000
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: Duration = Duration::from_secs(3600);

    fn user(number: u8) -> AccountId {
        AccountId::new(number.into()).unwrap()
    }

    #[test]
    fn an_allowance_grows_back() {
        let rates = Rates::new(Some(Rate { count: 3, per: HOUR }), None);
        let start = Timestamp::from_seconds(1_000_000);
        for _ in 0..3 {
            assert_eq!(rates.message(user(1), start), Ok(()));
        }
        assert_eq!(rates.message(user(1), start), Err(HOUR / 3));
        assert_eq!(rates.message(user(2), start), Ok(()), "each has an allowance of their own");
        assert_eq!(rates.message(user(1), start.plus(HOUR / 3)), Ok(()));
        assert_eq!(rates.message(user(1), start.plus(HOUR / 3)), Err(HOUR / 3));
        for _ in 0..3 {
            assert_eq!(rates.message(user(1), start.plus(HOUR * 2)), Ok(()), "it never grows beyond the whole");
        }
        assert!(rates.message(user(1), start.plus(HOUR * 2)).is_err());
        for _ in 0..1000 {
            assert_eq!(rates.recipient(user(1), start), Ok(()), "there is no limit");
        }
    }

    #[test]
    fn messages_and_recipients_are_apart() {
        let rates = Rates::new(Some(Rate { count: 1, per: HOUR }), Some(Rate { count: 2, per: HOUR }));
        let now = Timestamp::from_seconds(5);
        assert_eq!((rates.message(user(1), now), rates.recipient(user(1), now)), (Ok(()), Ok(())));
        assert_eq!((rates.message(user(1), now), rates.recipient(user(1), now)), (Err(HOUR), Ok(())));
        assert_eq!(rates.recipient(user(1), now), Err(HOUR / 2));
        let none = Rates::new(Some(Rate { count: 0, per: HOUR }), None);
        assert_eq!(none.message(user(1), now), Err(HOUR));
    }

    #[test]
    fn who_was_quiet_is_forgotten() {
        let rates = Rates::new(Some(Rate { count: 1, per: HOUR }), None);
        let start = Timestamp::from_seconds(0);
        for number in 1..=u64::try_from(REMEMBERED).unwrap() {
            assert_eq!(rates.message(AccountId::new(number).unwrap(), start), Ok(()));
        }
        assert_eq!(rates.users(start).len(), REMEMBERED, "their allowances have not grown back");
        assert_eq!(rates.message(user(1), start.plus(HOUR)), Ok(()));
        assert_eq!(rates.users(start).len(), 1);
    }
}
