//! The wall clock and randomness, given to fulfillers by the embedder.

use crate::date::Timestamp;

/// What a fulfiller needs from the world and must not take by itself.
pub trait Environment: Send + Sync {
    /// The time of day.
    fn now(&self) -> Timestamp;

    /// Fills `octets` with randomness fit for nonces and identifiers.
    fn fill(&self, octets: &mut [u8]);
}

impl dyn Environment + '_ {
    /// Sixteen random octets: a batch, queue or lease owner id.
    #[must_use]
    pub fn id(&self) -> [u8; 16] {
        let mut octets = [0; 16];
        self.fill(&mut octets);
        octets
    }
}
