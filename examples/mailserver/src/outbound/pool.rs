//! Connections that are fit for another message, kept for a while.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use mailstore_trait::drive::{DriveLimits, Silent, drive};
use mailstore_trait::session::Fulfil;
use smtp_proto::client::Client;
use smtp_proto::client::request::{Answered, Next, Request};

use crate::stream::Stream;

/// Messages that go over one connection; some hosts take no more, and say so by being rude.
const MESSAGES: usize = 100;

/// A session between two messages, and its stream.
pub(super) struct Kept {
    pub(super) session: Client,
    pub(super) stream: Stream,
    /// Messages it has carried.
    pub(super) carried: usize,
}

impl Kept {
    /// Takes leave as SMTP has it.
    async fn quit(mut self) {
        drive(&mut self.session, &mut self.stream, &mut Leave, &mut Silent, &DriveLimits::default()).await;
    }
}

/// Kept connections by what they are good for.
#[derive(Clone, Default)]
pub(super) struct Pool {
    kept: Arc<Mutex<State>>,
}

#[derive(Default)]
struct State {
    by_key: HashMap<String, Vec<(u64, Kept)>>,
    last: u64,
}

impl State {
    fn take(&mut self, key: &str, id: Option<u64>) -> Option<Kept> {
        let kept = self.by_key.get_mut(key)?;
        let at = match id {
            Some(id) => kept.iter().position(|(other, _)| *other == id)?,
            // The one that was used last: the others may go.
            None => kept.len().checked_sub(1)?,
        };
        let (_, taken) = kept.remove(at);
        if kept.is_empty() {
            self.by_key.remove(key);
        }
        Some(taken)
    }
}

impl Pool {
    fn state(&self) -> MutexGuard<'_, State> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A connection for this key, if one is kept.
    pub(super) fn take(&self, key: &str) -> Option<Kept> {
        self.state().take(key, None)
    }

    /// Keeps a connection for this long, or ends it when it has carried enough.
    pub(super) fn put(&self, key: String, kept: Kept, span: Duration) {
        if kept.carried >= MESSAGES || span.is_zero() {
            tokio::spawn(kept.quit());
            return;
        }
        let id = {
            let mut state = self.state();
            state.last += 1;
            let id = state.last;
            state.by_key.entry(key.clone()).or_default().push((id, kept));
            id
        };
        let pool = Arc::downgrade(&self.kept);
        tokio::spawn(async move {
            tokio::time::sleep(span).await;
            let Some(kept) = pool.upgrade() else { return };
            let over = kept.lock().unwrap_or_else(PoisonError::into_inner).take(&key, Some(id));
            if let Some(over) = over {
                over.quit().await;
            }
        });
    }
}

/// Sends nothing more.
struct Leave;

impl Fulfil<Client> for Leave {
    async fn fulfil(&mut self, request: Request) -> Answered {
        match request {
            Request::NextMessage(asked) => asked.answer(Next::Quit),
            other => other.decline(),
        }
    }
}
