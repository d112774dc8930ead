//! Who watches which account, and how far each has been told.

use std::collections::BTreeMap;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::task::{Context, Poll, Waker};

use futures_core::Stream;

use crate::future::BoxStream;
use crate::hints::{ChangeHints, Hint};
use crate::id::{AccountId, ModSeq};

#[derive(Debug, Default)]
struct Slot {
    newest: Option<ModSeq>,
    waker: Option<Waker>,
    ended: bool,
}

/// One watch: holds the newest hint that was not yet taken.
#[derive(Debug)]
struct Watch {
    account: AccountId,
    slot: Arc<Mutex<Slot>>,
}

impl Stream for Watch {
    type Item = Hint;

    fn poll_next(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Hint>> {
        let mut slot = lock(&self.slot);
        match slot.newest.take() {
            Some(upto) => Poll::Ready(Some(Hint { account: self.account, upto })),
            None if slot.ended => Poll::Ready(None),
            None => {
                slot.waker = Some(context.waker().clone());
                Poll::Pending
            }
        }
    }
}

/// All watches of a store.
#[derive(Debug, Default)]
pub(super) struct MemHints {
    watches: Mutex<BTreeMap<AccountId, Vec<Weak<Mutex<Slot>>>>>,
}

impl MemHints {
    /// Tells the account's watchers; watches that were dropped are forgotten.
    pub(super) fn tell(&self, account: AccountId, upto: ModSeq) {
        let mut wake = Vec::new();
        let mut watches = lock(&self.watches);
        if let Some(slots) = watches.get_mut(&account) {
            slots.retain(|slot| {
                let Some(slot) = slot.upgrade() else { return false };
                let mut slot = lock(&slot);
                slot.newest = slot.newest.max(Some(upto));
                wake.extend(slot.waker.take());
                true
            });
            if slots.is_empty() {
                watches.remove(&account);
            }
        }
        drop(watches);
        wake.into_iter().for_each(Waker::wake);
    }

    /// Ends all watches: the store is closed.
    pub(super) fn end(&self) {
        let watches = std::mem::take(&mut *lock(&self.watches));
        for slot in watches.into_values().flatten().filter_map(|slot| slot.upgrade()) {
            let mut slot = lock(&slot);
            slot.ended = true;
            if let Some(waker) = slot.waker.take() {
                drop(slot);
                waker.wake();
            }
        }
    }
}

impl ChangeHints for MemHints {
    fn watch(&self, account: AccountId) -> BoxStream<'static, Hint> {
        let slot = Arc::new(Mutex::new(Slot::default()));
        let mut watches = lock(&self.watches);
        let slots = watches.entry(account).or_default();
        slots.retain(|slot| slot.strong_count() > 0);
        slots.push(Arc::downgrade(&slot));
        Box::pin(Watch { account, slot })
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
