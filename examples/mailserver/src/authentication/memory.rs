//! Octets that messages may take while they are looked at, all of them together.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;

/// What is left to take. Shared.
#[derive(Debug)]
pub(super) struct Memory {
    left: AtomicU64,
}

impl Memory {
    pub(super) fn new(octets: u64) -> Arc<Memory> {
        Arc::new(Memory { left: AtomicU64::new(octets) })
    }

    fn take(&self, octets: u64) -> bool {
        let less = |left: u64| left.checked_sub(octets);
        self.left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, less).is_ok()
    }

    fn give_back(&self, octets: u64) {
        self.left.fetch_add(octets, Ordering::Relaxed);
    }
}

/// A message as it was received, as long as it fits.
#[derive(Debug)]
pub(super) struct Kept {
    memory: Arc<Memory>,
    octets: Vec<u8>,
    most: usize,
    state: State,
}

/// Whether a message was kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum State {
    /// All of it so far.
    Whole,
    /// It is larger than one message may be.
    TooLarge,
    /// Others take all the memory there is.
    NoMemory,
}

impl Kept {
    pub(super) fn new(memory: Arc<Memory>, most: usize) -> Kept {
        Kept { memory, octets: Vec::new(), most, state: State::Whole }
    }

    pub(super) fn push(&mut self, octets: &Bytes) {
        if self.state != State::Whole {
            return;
        }
        if self.octets.len() + octets.len() > self.most {
            self.drop_as(State::TooLarge);
        } else if self.memory.take(octets.len() as u64) {
            self.octets.extend_from_slice(octets);
        } else {
            self.drop_as(State::NoMemory);
        }
    }

    fn drop_as(&mut self, state: State) {
        self.memory.give_back(self.octets.len() as u64);
        self.octets = Vec::new();
        self.state = state;
    }

    /// The message, when it could be kept.
    pub(super) fn octets(&self) -> Result<&[u8], State> {
        if self.state == State::Whole { Ok(&self.octets) } else { Err(self.state) }
    }
}

impl Drop for Kept {
    fn drop(&mut self) {
        self.memory.give_back(self.octets.len() as u64);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_share_the_memory_and_give_it_back() {
        let memory = Memory::new(100);
        let piece = Bytes::from_static(&[b'x'; 40]);
        let mut first = Kept::new(memory.clone(), 90);
        first.push(&piece);
        first.push(&piece);
        let mut second = Kept::new(memory.clone(), 90);
        second.push(&piece);
        assert_eq!((first.octets().map(<[u8]>::len), second.octets()), (Ok(80), Err(State::NoMemory)));
        first.push(&piece);
        assert_eq!(first.octets(), Err(State::TooLarge));
        let mut third = Kept::new(memory.clone(), 90);
        third.push(&piece);
        third.push(&piece);
        assert!(third.octets().is_ok());
        drop((first, second, third));
        assert_eq!(memory.left.load(Ordering::Relaxed), 100);
    }
}
