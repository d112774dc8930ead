//! Change hints: lossy, coalescing news that an account moved on. The truth is always `changes()`.

use crate::future::BoxStream;
use crate::id::{AccountId, ModSeq};

/// An account reached a change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Hint {
    /// The account.
    pub account: AccountId,
    /// At least this far; a batch end.
    pub upto: ModSeq,
}

/// Where sessions learn that asking for changes is worth while. Part of every store.
///
/// A lost hint costs latency only. A hint is given after the commit it tells of can be read.
pub trait ChangeHints: Send + Sync {
    /// Hints of this account from now on. Slow readers get the newest, not all. Dropping the stream ends the watch.
    fn watch(&self, account: AccountId) -> BoxStream<'static, Hint>;
}
