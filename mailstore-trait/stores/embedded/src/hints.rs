//! News that an account moved on, from this process at once and from others by looking.
//!
//! A watcher holds the newest number only, so a slow one costs nothing and misses nothing that matters.

use std::collections::HashMap;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::task::{Context, Poll, Waker};

use futures_core::Stream;
use mailstore_trait::future::BoxStream;
use mailstore_trait::hints::{ChangeHints, Hint};
use mailstore_trait::id::{AccountId, ModSeq};

/// Who watches what. Cheap to clone.
#[derive(Clone, Default)]
pub(crate) struct Hints {
    watched: Arc<Mutex<HashMap<AccountId, Vec<Weak<Watcher>>>>>,
}

#[derive(Default)]
struct Watcher {
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// Not yet told.
    news: Option<ModSeq>,
    told: Option<ModSeq>,
    waker: Option<Waker>,
    closed: bool,
}

impl Watcher {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Hints {
    fn lock(&self) -> MutexGuard<'_, HashMap<AccountId, Vec<Weak<Watcher>>>> {
        self.watched.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Tells everybody who watches the account.
    pub(crate) fn publish(&self, account: AccountId, upto: ModSeq) {
        let mut watched = self.lock();
        let Some(watchers) = watched.get_mut(&account) else { return };
        watchers.retain(|watcher| {
            let Some(watcher) = watcher.upgrade() else { return false };
            let waker = {
                let mut state = watcher.lock();
                if state.told.max(state.news) >= Some(upto) {
                    return true;
                }
                state.news = Some(upto);
                state.waker.take()
            };
            if let Some(waker) = waker {
                waker.wake();
            }
            true
        });
        if watchers.is_empty() {
            watched.remove(&account);
        }
    }

    /// The accounts somebody watches.
    pub(crate) fn watched(&self) -> Vec<AccountId> {
        self.lock().keys().copied().collect()
    }

    /// Ends every watch.
    pub(crate) fn close(&self) {
        for watcher in self.lock().drain().flat_map(|(_, watchers)| watchers).filter_map(|watcher| watcher.upgrade()) {
            let mut state = watcher.lock();
            state.closed = true;
            if let Some(waker) = state.waker.take() {
                drop(state);
                waker.wake();
            }
        }
    }
}

impl ChangeHints for Hints {
    fn watch(&self, account: AccountId) -> BoxStream<'static, Hint> {
        let watcher = Arc::new(Watcher::default());
        self.lock().entry(account).or_default().push(Arc::downgrade(&watcher));
        Box::pin(Watch { account, watcher, hints: self.clone() })
    }
}

struct Watch {
    account: AccountId,
    watcher: Arc<Watcher>,
    hints: Hints,
}

impl Stream for Watch {
    type Item = Hint;

    fn poll_next(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Hint>> {
        let mut state = self.watcher.lock();
        if let Some(upto) = state.news.take() {
            state.told = Some(upto);
            return Poll::Ready(Some(Hint { account: self.account, upto }));
        }
        if state.closed {
            return Poll::Ready(None);
        }
        state.waker = Some(context.waker().clone());
        Poll::Pending
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        let mut watched = self.hints.lock();
        if let Some(watchers) = watched.get_mut(&self.account) {
            let own = Arc::as_ptr(&self.watcher);
            watchers.retain(|watcher| watcher.as_ptr() != own);
            if watchers.is_empty() {
                watched.remove(&self.account);
            }
        }
    }
}
