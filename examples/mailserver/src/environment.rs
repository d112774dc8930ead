//! The clock and the randomness of this process.

use std::time::SystemTime;

use mailstore_trait::date::Timestamp;
use mailstore_trait::environment::Environment;

/// The system's clock and random source.
#[derive(Clone, Copy, Debug)]
pub(crate) struct System;

impl Environment for System {
    fn now(&self) -> Timestamp {
        let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        Timestamp(i64::try_from(since.as_millis()).unwrap_or(i64::MAX))
    }

    fn fill(&self, octets: &mut [u8]) {
        if let Err(error) = getrandom::fill(octets) {
            // Nonces and ids from anything else would be guessable: better no server.
            tracing::error!(%error, "no randomness");
            std::process::abort();
        }
    }
}
