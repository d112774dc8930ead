//! SEARCH, a bounded step at a time.

use std::sync::Arc;

use mailstore_trait::id::{AccountId, FolderId};
use mailstore_trait::query::{self, Cursor, search_step};

use super::Fulfiller;
use crate::request::{Found, Refusal, Search};

/// A search that is not complete.
#[derive(Debug)]
pub(super) struct Underway {
    account: AccountId,
    folder: FolderId,
    search: query::Search,
    cursor: Option<Cursor>,
}

impl Fulfiller {
    /// One step. The session names what is left to look at; where that begins where the last step stopped, the search
    /// goes on inside the message it stopped in.
    pub(super) async fn search(&mut self, query: Search) -> Result<Found, Refusal> {
        let Search { account, folder, filter, uids } = query;
        let same = |underway: &Underway| {
            underway.account == account && underway.folder == folder && Arc::ptr_eq(underway.search.filter(), &filter)
        };
        let mut underway = match self.search.take().filter(same) {
            Some(underway) => underway,
            // RFC 5032 §3: ages are counted from when the command began, through all of its steps.
            None => {
                let search = query::Search::new(Arc::clone(&filter), self.environment.now());
                Underway { account, folder, search, cursor: None }
            }
        };
        let first = uids.ranges().next().map(|range| *range.start());
        let cursor = underway.cursor.take().filter(|cursor| Some(cursor.next()) == first);
        let place = (account, folder);
        let step =
            search_step(&*self.store, place, &underway.search, &uids, cursor, self.limits.search, self.told(account));
        let step = step.await.map_err(|error| self.read_refused(error))?;
        let next = step.next.as_ref().map(Cursor::next);
        if step.next.is_some() {
            self.search = Some(Underway { cursor: step.next, ..underway });
        }
        Ok(Found { uids: step.matched, next })
    }
}
