//! What a full-text index knows: which messages may hold a text, without reading them.
//!
//! An index is a help, never an authority. It is fed outside the commit, so it lags behind, and says how far it has come;
//! what came later is looked at as if there were no index. What it names are candidates: each is still read and tested
//! with the whole filter, so an index may name too many and must never miss one.
//!
//! ```text
//!  filter ─▶ candidates ─┬─ indexed: may match ───────────────┐
//!                        └─ tail: came after `indexed_upto` ──┴─▶ read, tested with the whole filter
//! ```
//!
//! [`TextReader`](crate::query::TextReader) says which texts of a message are searched: an index that keeps these, folded
//! as they are, and looks for [`Pattern::folded`](crate::query::Pattern::folded) in them agrees with the search.

use crate::error::ReadError;
use crate::future::BoxFuture;
use crate::id::{AccountId, FolderId, ModSeq};
use crate::query::Filter;
use crate::uid_set::UidSet;

/// What an index says of a filter.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Candidates {
    /// Messages that may match: of those put into the folder up to `indexed_upto` none is missing.
    pub indexed: UidSet,
    /// Messages put into the folder later. All of them have to be looked at.
    pub tail: UidSet,
    /// Every change up to here is in the index.
    pub indexed_upto: ModSeq,
}

/// A store with a full-text index. See [`MailStore::as_search`](crate::store::MailStore::as_search).
pub trait SearchStore: Send + Sync {
    /// The messages of a folder that `filter` may want; `None` when the index can't tell them from the others, because
    /// there is none yet, or because of the filter (no text, too short a text, the opposite of one).
    ///
    /// # Errors
    /// [`ReadError::NotFound`] when there is no such folder.
    fn candidates<'a>(
        &'a self,
        account: AccountId,
        folder: FolderId,
        filter: &'a Filter,
    ) -> BoxFuture<'a, Result<Option<Candidates>, ReadError>>;
}
