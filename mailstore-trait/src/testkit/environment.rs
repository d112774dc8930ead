//! An [`Environment`] whose clock stands still until it is moved and whose randomness repeats.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use crate::date::Timestamp;
use crate::environment::Environment;
use crate::testkit::random::Random;

/// The time a [`TestEnvironment`] begins at: Sun, 22 Nov 2026 12:00:00 +0000.
pub const START: Timestamp = Timestamp(1_795_348_800_000);

/// A settable clock and seeded randomness.
#[derive(Debug)]
pub struct TestEnvironment {
    inner: Mutex<(Timestamp, Random)>,
}

impl TestEnvironment {
    /// At [`START`], with the randomness of this seed.
    #[must_use]
    pub fn new(seed: u64) -> TestEnvironment {
        TestEnvironment { inner: Mutex::new((START, Random::new(seed))) }
    }

    /// Moves the clock on.
    pub fn advance(&self, by: Duration) {
        self.with(|(now, _)| *now = now.plus(by));
    }

    /// Sets the clock, backwards too.
    pub fn set(&self, to: Timestamp) {
        self.with(|(now, _)| *now = to);
    }

    fn with<T>(&self, look: impl FnOnce(&mut (Timestamp, Random)) -> T) -> T {
        look(&mut self.inner.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Environment for TestEnvironment {
    fn now(&self) -> Timestamp {
        self.with(|(now, _)| *now)
    }

    fn fill(&self, octets: &mut [u8]) {
        self.with(|(_, random)| random.fill(octets));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_clock_moves_only_when_it_is_moved_and_randomness_repeats() {
        let (one, two) = (TestEnvironment::new(7), TestEnvironment::new(7));
        assert_eq!(one.now().at_offset(0).to_string(), "Sun, 22 Nov 2026 12:00:00 +0000");
        one.advance(Duration::from_secs(61));
        assert_eq!(one.now().since(two.now()), Duration::from_secs(61));
        one.set(START);
        assert_eq!(one.now(), two.now());
        let (a, b): (&dyn Environment, &dyn Environment) = (&one, &two);
        assert_eq!(a.id(), b.id());
        assert_ne!(a.id(), TestEnvironment::new(8).with(|(_, random)| random.id()));
    }
}
