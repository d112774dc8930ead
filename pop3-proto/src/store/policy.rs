//! What differs between users: how often they may log in and how long their mail is kept.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use mailstore_trait::date::Timestamp;
use mailstore_trait::id::AccountId;

use crate::capability::Expire;

/// What holds for a user.
pub trait Policies: Send + Sync {
    /// The least time between two logins (RFC 2449 §6.5); zero for none.
    fn login_delay(&self, account: AccountId) -> Duration;

    /// How long messages are kept (RFC 2449 §6.7); `None` for what the configuration announces.
    ///
    /// Zero days are kept by the session itself: QUIT removes what was retrieved. Any other number is a promise that
    /// whoever removes old mail must keep.
    fn expire(&self, account: AccountId) -> Option<Expire>;
}

/// The same for everybody.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Policy {
    /// See [`Policies::login_delay`].
    pub login_delay: Duration,
    /// See [`Policies::expire`].
    pub expire: Option<Expire>,
}

impl Policies for Policy {
    fn login_delay(&self, _: AccountId) -> Duration {
        self.login_delay
    }

    fn expire(&self, _: AccountId) -> Option<Expire> {
        self.expire
    }
}

/// When users logged in, as far as a delay makes it matter. Kept in memory: a restart forgives everybody.
#[derive(Debug)]
pub struct LastLogins {
    free_at: Mutex<HashMap<AccountId, Timestamp>>,
    most: usize,
}

impl Default for LastLogins {
    fn default() -> LastLogins {
        LastLogins::with_capacity(100_000)
    }
}

impl LastLogins {
    /// Remembers at most so many users at a time; those beyond are not held off.
    #[must_use]
    pub fn with_capacity(most: usize) -> LastLogins {
        LastLogins { free_at: Mutex::default(), most }
    }

    /// Whether enough time has passed.
    pub(super) fn may_log_in(&self, account: AccountId, delay: Duration, now: Timestamp) -> bool {
        let free_at = self.free_at.lock().unwrap_or_else(PoisonError::into_inner);
        let free = free_at.get(&account).is_none_or(|free| *free <= now);
        // A clock that was set back, or a shorter delay since then, locks nobody out for longer than the delay.
        free || free_at.get(&account).is_some_and(|free| *free > plus(now, delay))
    }

    pub(super) fn logged_in(&self, account: AccountId, delay: Duration, now: Timestamp) {
        if delay.is_zero() {
            return;
        }
        let mut free_at = self.free_at.lock().unwrap_or_else(PoisonError::into_inner);
        if free_at.len() >= self.most && !free_at.contains_key(&account) {
            free_at.retain(|_, free| *free > now);
            if free_at.len() >= self.most {
                return;
            }
        }
        free_at.insert(account, plus(now, delay));
    }
}

fn plus(now: Timestamp, delay: Duration) -> Timestamp {
    Timestamp(now.0.saturating_add(i64::try_from(delay.as_millis()).unwrap_or(i64::MAX)))
}

#[cfg(test)]
mod tests {
    use super::*;

    const DELAY: Duration = Duration::from_secs(60);

    fn account(number: u64) -> AccountId {
        AccountId::new(number).unwrap()
    }

    #[test]
    fn logins_keep_their_distance() {
        let logins = LastLogins::default();
        let at = |seconds: i64| Timestamp(seconds * 1000);
        assert!(logins.may_log_in(account(1), DELAY, at(100)));
        logins.logged_in(account(1), DELAY, at(100));
        assert!(!logins.may_log_in(account(1), DELAY, at(159)));
        assert!(logins.may_log_in(account(2), DELAY, at(159)));
        assert!(logins.may_log_in(account(1), DELAY, at(160)));
        // The clock is set back by a day.
        assert!(logins.may_log_in(account(1), DELAY, at(-86_400)));
    }

    #[test]
    fn users_beyond_the_capacity_are_not_held_off() {
        let logins = LastLogins::with_capacity(1);
        logins.logged_in(account(1), DELAY, Timestamp(0));
        logins.logged_in(account(2), DELAY, Timestamp(0));
        assert!(logins.may_log_in(account(2), DELAY, Timestamp(1)));
        assert!(!logins.may_log_in(account(1), DELAY, Timestamp(1)));
        logins.logged_in(account(2), DELAY, Timestamp(60_000));
        assert!(!logins.may_log_in(account(2), DELAY, Timestamp(60_001)));
    }
}
