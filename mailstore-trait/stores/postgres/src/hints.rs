//! News that an account moved on: this machine's own at once, other machines' as the database tells or polling finds.
//!
//! ```text
//!   our commit ──▶ watchers here
//!        └──▶ outbox, gathers for a moment ──▶ NOTIFY ──▶ other machines' listeners ──▶ their watchers
//!   every so often: SELECT at of the accounts that are watched ──▶ watchers, of what nobody told
//! ```
//!
//! NOTIFY is not part of the commit: inside one it would make all commits of the database wait for each other.

use std::collections::HashMap;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::task::{Context, Poll, Waker};

use futures_core::Stream;
use mailstore_trait::future::BoxStream;
use mailstore_trait::hints::{ChangeHints, Hint};
use mailstore_trait::id::{AccountId, ModSeq};
use tokio::sync::Notify;

/// Accounts whose last known change is kept while nobody watches them.
const MAX_KNOWN: usize = 100_000;

/// Who watches what, and what is known. Cheap to clone.
#[derive(Clone, Default)]
pub(crate) struct Hints {
    shared: Arc<Shared>,
}

#[derive(Default)]
struct Shared {
    board: Mutex<Board>,
    /// Rung when the outbox is no longer empty.
    ready: Notify,
}

#[derive(Default)]
struct Board {
    watchers: HashMap<AccountId, Vec<Weak<Watcher>>>,
    /// How far accounts were seen: what is not newer is no news.
    known: HashMap<AccountId, ModSeq>,
    /// What other machines are still to be told.
    outbox: HashMap<AccountId, ModSeq>,
    closed: bool,
}

#[derive(Default)]
struct Watcher {
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    news: Option<ModSeq>,
    waker: Option<Waker>,
    closed: bool,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Hints {
    /// A batch of ours was committed.
    pub(crate) fn committed(&self, account: AccountId, upto: ModSeq) {
        let mut board = lock(&self.shared.board);
        let wake = board.learn(account, upto);
        // Others are told even where it is no news here: a question of ours may have seen it first.
        let told = board.outbox.entry(account).or_insert(upto);
        *told = upto.max(*told);
        drop(board);
        wake.into_iter().for_each(Waker::wake);
        self.shared.ready.notify_one();
    }

    /// Another machine, or polling, says how far an account is.
    pub(crate) fn heard(&self, account: AccountId, upto: ModSeq) {
        let wake = lock(&self.shared.board).learn(account, upto);
        wake.into_iter().for_each(Waker::wake);
    }

    /// A question of ours saw how far an account is. Who asked knows; others who watch are told.
    pub(crate) fn seen(&self, account: AccountId, at: ModSeq) {
        self.heard(account, at);
    }

    /// The accounts somebody watches.
    pub(crate) fn watched(&self) -> Vec<AccountId> {
        lock(&self.shared.board).watchers.keys().copied().collect()
    }

    /// Waits until there is something to tell other machines.
    pub(crate) async fn ready(&self) {
        self.shared.ready.notified().await;
    }

    /// What other machines are to be told.
    pub(crate) fn take_outbox(&self) -> Vec<(AccountId, ModSeq)> {
        std::mem::take(&mut lock(&self.shared.board).outbox).into_iter().collect()
    }

    /// Ends every watch.
    pub(crate) fn close(&self) {
        let mut board = lock(&self.shared.board);
        board.closed = true;
        let watchers = std::mem::take(&mut board.watchers);
        drop(board);
        for watcher in watchers.into_values().flatten().filter_map(|watcher| watcher.upgrade()) {
            let mut state = lock(&watcher.state);
            state.closed = true;
            let waker = state.waker.take();
            drop(state);
            waker.into_iter().for_each(Waker::wake);
        }
    }
}

impl Board {
    /// Takes note of how far an account is; whom to wake.
    fn learn(&mut self, account: AccountId, upto: ModSeq) -> Vec<Waker> {
        let mut wake = Vec::new();
        if self.known.get(&account).is_some_and(|known| *known >= upto) {
            return wake;
        }
        if self.known.len() >= MAX_KNOWN
            && !self.known.contains_key(&account)
            && let Some(other) = self.known.keys().find(|known| !self.watchers.contains_key(known)).copied()
        {
            self.known.remove(&other);
        }
        self.known.insert(account, upto);
        let Some(watchers) = self.watchers.get_mut(&account) else { return wake };
        watchers.retain(|watcher| {
            let Some(watcher) = watcher.upgrade() else { return false };
            let mut state = lock(&watcher.state);
            state.news = state.news.max(Some(upto));
            wake.extend(state.waker.take());
            true
        });
        wake
    }
}

impl ChangeHints for Hints {
    fn watch(&self, account: AccountId) -> BoxStream<'static, Hint> {
        let watcher = Arc::new(Watcher::default());
        let mut board = lock(&self.shared.board);
        if board.closed {
            lock(&watcher.state).closed = true;
        } else {
            board.watchers.entry(account).or_default().push(Arc::downgrade(&watcher));
        }
        drop(board);
        Box::pin(Watch { account, watcher, hints: self.clone() })
    }
}

/// One watch: holds the newest hint that was not yet taken.
struct Watch {
    account: AccountId,
    watcher: Arc<Watcher>,
    hints: Hints,
}

impl Stream for Watch {
    type Item = Hint;

    fn poll_next(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Hint>> {
        let mut state = lock(&self.watcher.state);
        match state.news.take() {
            Some(upto) => Poll::Ready(Some(Hint { account: self.account, upto })),
            None if state.closed => Poll::Ready(None),
            None => {
                state.waker = Some(context.waker().clone());
                Poll::Pending
            }
        }
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        let mut board = lock(&self.hints.shared.board);
        if let Some(watchers) = board.watchers.get_mut(&self.account) {
            let own = Arc::as_ptr(&self.watcher);
            watchers.retain(|watcher| watcher.as_ptr() != own);
            if watchers.is_empty() {
                board.watchers.remove(&self.account);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use mailstore_trait::testkit::block_on;

    use super::*;

    fn ready(stream: &mut BoxStream<'static, Hint>) -> Option<u64> {
        match stream.as_mut().poll_next(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(hint) => hint.map(|hint| hint.upto.value()),
            Poll::Pending => None,
        }
    }

    fn change(value: u64) -> ModSeq {
        ModSeq::new(value).unwrap()
    }

    #[test]
    fn watchers_get_the_newest_once_and_old_news_are_none() {
        let (hints, account) = (Hints::default(), AccountId::new(7).unwrap());
        hints.seen(account, change(3));
        let mut watch = hints.watch(account);
        hints.heard(account, change(3));
        assert_eq!(ready(&mut watch), None, "known before the watch began");
        hints.seen(account, change(5));
        assert_eq!(ready(&mut watch), Some(5), "seen by another question");
        hints.committed(account, change(5));
        assert_eq!(ready(&mut watch), None, "told once");
        hints.heard(account, change(9));
        hints.heard(account, change(4));
        assert_eq!((ready(&mut watch), ready(&mut watch)), (Some(9), None));
        block_on(hints.ready());
        assert_eq!(hints.take_outbox(), [(account, change(5))], "only our own commits are told to others");
        assert_eq!(hints.watched(), [account]);
        drop(watch);
        assert!(hints.watched().is_empty());
        let mut late = hints.watch(account);
        hints.close();
        assert!(matches!(late.as_mut().poll_next(&mut Context::from_waker(Waker::noop())), Poll::Ready(None)));
    }
}
