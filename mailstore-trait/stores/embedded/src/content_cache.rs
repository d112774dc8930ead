//! Contents of small messages in memory, shared by all sessions.
//!
//! An email never changes and its number is never used again, so an entry is right for as long as it is kept. Whether
//! somebody may have it is no business of this cache: who asks has found the row, in their own snapshot.
//!
//! The entry that came first leaves first, unless it was used since; then it has one more turn (CLOCK). One pass over a
//! large folder so never drives out what is read again and again.

use std::collections::{HashMap, VecDeque};
use std::sync::{Mutex, MutexGuard, PoisonError};

use bytes::Bytes;

/// What an entry costs beside its octets, about.
const ENTRY: usize = 128;

pub(crate) struct ContentCache {
    state: Mutex<State>,
    max: usize,
}

#[derive(Default)]
struct State {
    entries: HashMap<i64, Entry>,
    /// The keys of all entries, the next to go first.
    turns: VecDeque<i64>,
    octets: usize,
}

struct Entry {
    content: Bytes,
    used: bool,
}

impl ContentCache {
    /// Holds at most so many octets, what it costs to hold them included; none when 0.
    pub(crate) fn new(max: usize) -> ContentCache {
        ContentCache { state: Mutex::default(), max }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The content of this email.
    pub(crate) fn find(&self, email: i64) -> Option<Bytes> {
        let mut state = self.lock();
        let entry = state.entries.get_mut(&email)?;
        entry.used = true;
        Some(entry.content.clone())
    }

    /// Keeps the content of this email, which is an allocation of its own: a slice would hold on to what it was cut from.
    pub(crate) fn keep(&self, email: i64, content: &Bytes) {
        let cost = content.len().saturating_add(ENTRY);
        let Some(room) = self.max.checked_sub(cost) else { return };
        let mut state = self.lock();
        if state.entries.contains_key(&email) {
            return;
        }
        state.shrink(room);
        state.entries.insert(email, Entry { content: content.clone(), used: false });
        state.turns.push_back(email);
        state.octets += cost;
    }

    /// What it holds, in octets.
    pub(crate) fn octets(&self) -> u64 {
        self.lock().octets as u64
    }
}

impl State {
    fn shrink(&mut self, max: usize) {
        while self.octets > max
            && let Some(email) = self.turns.pop_front()
        {
            match self.entries.get_mut(&email) {
                Some(entry) if entry.used => {
                    entry.used = false;
                    self.turns.push_back(email);
                }
                _ => {
                    let gone = self.entries.remove(&email);
                    self.octets -= gone.map_or(0, |gone| gone.content.len() + ENTRY);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn content(email: i64, len: usize) -> Bytes {
        Bytes::from(vec![u8::try_from(email).unwrap(); len])
    }

    #[test]
    fn what_is_read_again_outlives_one_pass_over_many() {
        let cache = ContentCache::new(10 * (100 + ENTRY));
        for email in 0..10 {
            cache.keep(email, &content(email, 100));
        }
        assert!(cache.find(3).is_some());
        for email in 10..19 {
            cache.keep(email, &content(email, 100));
        }
        assert_eq!(cache.find(3), Some(content(3, 100)));
        assert_eq!(cache.find(4), None);
    }

    #[test]
    fn one_of_no_octets_holds_nothing() {
        let cache = ContentCache::new(0);
        cache.keep(1, &content(1, 0));
        cache.keep(1, &content(1, 10));
        assert_eq!((cache.find(1), cache.octets()), (None, 0));
    }

    proptest! {
        #[test]
        fn the_bound_holds_and_nobody_gets_anothers_octets(
            max in 0usize..4000,
            steps in proptest::collection::vec((0i64..30, 0usize..700, any::<bool>()), 0..200),
        ) {
            let cache = ContentCache::new(max);
            for (email, len, find) in steps {
                if find {
                    if let Some(found) = cache.find(email) {
                        prop_assert!(found.iter().all(|&octet| i64::from(octet) == email));
                    }
                } else {
                    cache.keep(email, &content(email, len));
                    prop_assert_eq!(cache.find(email).is_some(), cache.lock().entries.contains_key(&email));
                }
                let state = cache.lock();
                let held: usize = state.entries.values().map(|entry| entry.content.len() + ENTRY).sum();
                prop_assert!(state.octets == held && held <= max);
                prop_assert_eq!(state.turns.len(), state.entries.len());
            }
        }
    }
}
