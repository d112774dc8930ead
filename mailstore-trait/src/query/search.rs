//! A question about messages, and one bounded step towards its answer.

use std::sync::Arc;

use super::filter::Filter;
use crate::date::Timestamp;

/// What is looked for, and since when ages count.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Search {
    filter: Arc<Filter>,
    now: Timestamp,
}

impl Search {
    /// Looks for what `filter` wants; ages (RFC 5032) are counted back from `now` through all steps.
    #[must_use]
    pub fn new(filter: impl Into<Arc<Filter>>, now: Timestamp) -> Search {
        Search { filter: filter.into(), now }
    }

    /// What is wanted.
    #[must_use]
    pub fn filter(&self) -> &Arc<Filter> {
        &self.filter
    }

    /// When ages are counted from.
    #[must_use]
    pub fn now(&self) -> Timestamp {
        self.now
    }
}

#[cfg(feature = "async")]
pub use step::{Budget, Cursor, Step, search_step};

#[cfg(feature = "async")]
mod step {
    use bytes::Bytes;

    use super::Search;
    use crate::error::ReadError;
    use crate::id::{AccountId, EmailId, FolderId, ModSeq, Uid};
    use crate::item::{ItemPage, ItemRow, ItemsOptions, Projection};
    use crate::mime::SkeletonRef;
    use crate::query::filter::Need;
    use crate::query::message::MessageSearch;
    use crate::query::row::{row_answer, skeleton_answer};
    use crate::query::text::Haystack;
    use crate::store::MailStore;
    use crate::uid_set::UidSet;

    /// How much one step may do. A step does at least something: it looks at one row, or reads one piece of a message.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    #[non_exhaustive]
    pub struct Budget {
        /// Rows to look at.
        pub rows: usize,
        /// Octets of messages to read.
        pub octets: u64,
        /// Octets of one message to ask for at a time.
        pub piece: usize,
        /// Messages of up to this many octets come with their rows.
        pub inline: u64,
    }

    impl Default for Budget {
        /// A few tens of milliseconds of work.
        fn default() -> Budget {
            Budget { rows: 20_000, octets: 16 * 1024 * 1024, piece: 64 * 1024, inline: 64 * 1024 }
        }
    }

    /// Rows of one page when nothing but rows is needed, and when skeletons or messages are.
    const ROWS: usize = 5000;
    const DEAR_ROWS: usize = 500;
    /// Octets of one page.
    const PAGE: usize = 1024 * 1024;

    /// Where a search goes on, inside a message if need be.
    #[derive(Debug)]
    pub struct Cursor {
        next: Uid,
        message: Option<Box<InMessage>>,
        /// What the index left to look at, once it was asked.
        scope: Option<UidSet>,
    }

    impl Cursor {
        /// The first message not yet answered.
        #[must_use]
        pub fn next(&self) -> Uid {
            self.next
        }
    }

    impl From<Uid> for Cursor {
        /// Goes on before this message.
        fn from(next: Uid) -> Cursor {
            Cursor { next, message: None, scope: None }
        }
    }

    #[derive(Debug)]
    struct InMessage {
        email: EmailId,
        search: MessageSearch,
    }

    /// What one step found.
    #[derive(Debug)]
    pub struct Step {
        /// Messages that match, all below [`next`](Cursor::next).
        pub matched: UidSet,
        /// Where to go on; `None` when every message was answered.
        pub next: Option<Cursor>,
    }

    /// One step of `search` over those of `uids` that are in the folder, from `cursor` on or from the start.
    ///
    /// Asks the store's index, if it has one, which messages may match; then for the cheapest rows that can decide, then
    /// for skeletons of what they left open, then for octets of what those left open. The index is asked once, and what
    /// it did not know then is looked at, so all steps have the same answer. Dropping the future loses this step's work and nothing else.
    ///
    /// # Errors
    /// As [`MailStore::items`] and [`MailStore::read`]. A message that is gone or does not read back is passed over as
    /// not matching: one bad blob must not make a mailbox unsearchable.
    pub async fn search_step(
        store: &dyn MailStore,
        place: (AccountId, FolderId),
        search: &Search,
        uids: &UidSet,
        cursor: Option<Cursor>,
        budget: Budget,
        at_least: Option<ModSeq>,
    ) -> Result<Step, ReadError> {
        let mut cursor = cursor.unwrap_or(Cursor::from(Uid::MIN));
        let budget =
            Budget { rows: budget.rows.max(1), octets: budget.octets.max(1), piece: budget.piece.max(1), ..budget };
        let mut walk = Walk { store, place, search, at_least, left: budget, budget, matched: UidSet::new() };
        if let Some(message) = cursor.message.take() {
            if let Some(message) = walk.resume(cursor.next, message).await? {
                cursor.message = Some(message);
                // As it came: the index was asked before.
                return Ok(Step { matched: walk.matched, next: Some(cursor) });
            }
            match cursor.next.value().checked_add(1).and_then(Uid::new) {
                Some(next) => cursor.next = next,
                None => return Ok(Step { matched: walk.matched, next: None }),
            }
        }
        let mut scope = UidSet::new();
        scope.insert_range(cursor.next..=Uid::MAX);
        let bounds = match cursor.scope.take() {
            Some(bounds) => bounds,
            None => walk.bounds().await?,
        };
        let scope = scope.intersection(uids).intersection(&bounds);
        let mut next = walk.rows(scope).await?;
        if let Some(next) = &mut next {
            next.scope = Some(bounds);
            // What lies behind the cursor will be looked at again.
            let mut told = UidSet::new();
            if let Some(last) = next.next.value().checked_sub(1).and_then(Uid::new) {
                told.insert_range(Uid::MIN..=last);
            }
            walk.matched = walk.matched.intersection(&told);
        }
        Ok(Step { matched: walk.matched, next })
    }

    struct Walk<'a> {
        store: &'a dyn MailStore,
        place: (AccountId, FolderId),
        search: &'a Search,
        at_least: Option<ModSeq>,
        budget: Budget,
        left: Budget,
        matched: UidSet,
    }

    /// What became of the rows of a page.
    struct Looked {
        /// Rows that need more than was asked for.
        open: UidSet,
        /// Where the budget ran out.
        stopped: Option<Cursor>,
    }

    impl Walk<'_> {
        /// What has to be looked at at all.
        async fn bounds(&self) -> Result<UidSet, ReadError> {
            let filter = self.search.filter();
            // Rows cost less than the index does.
            let index = self.store.as_search().filter(|_| filter.need() > Need::Dates);
            let Some(index) = index else { return Ok(filter.bounds()) };
            let Some(candidates) = index.candidates(self.place.0, self.place.1, filter).await? else {
                return Ok(filter.bounds());
            };
            let mut bounds = candidates.indexed;
            candidates.tail.ranges().for_each(|range| bounds.insert_range(range));
            Ok(bounds.intersection(&filter.bounds()))
        }

        /// Looks at rows until all are answered or the budget is used up.
        async fn rows(&mut self, mut scope: UidSet) -> Result<Option<Cursor>, ReadError> {
            let need = self.search.filter().need();
            // Where some test is answered by a row, rows are asked for before skeletons are.
            let cheap = self.search.filter().tests().any(|test| test.need() <= Need::Dates);
            let per_page = if need <= Need::Dates { ROWS } else { DEAR_ROWS };
            while let Some(start) = first(&scope) {
                if self.left.rows == 0 || self.left.octets == 0 {
                    return Ok(Some(Cursor::from(start)));
                }
                let known = if cheap { Need::Dates.min(need) } else { need };
                let page = self.page(&scope, known, per_page.min(self.left.rows)).await?;
                self.left.rows = self.left.rows.saturating_sub(page.rows().len().max(1));
                let looked = self.look(&page, known).await?;
                if looked.stopped.is_some() {
                    return Ok(looked.stopped);
                }
                let mut open = looked.open;
                while !open.is_empty() {
                    let dear = self.page(&open, need, per_page).await?;
                    let looked = self.look(&dear, need).await?;
                    if looked.stopped.is_some() {
                        return Ok(looked.stopped);
                    }
                    open = after(&open, dear.next);
                    if let Some(next) = first(&open).filter(|_| self.left.octets == 0) {
                        return Ok(Some(Cursor::from(next)));
                    }
                }
                scope = after(&scope, page.next);
            }
            Ok(None)
        }

        async fn page(&self, uids: &UidSet, need: Need, max_rows: usize) -> Result<ItemPage, ReadError> {
            let mut options = ItemsOptions::default();
            let dates = self.search.filter().tests().any(|test| test.need() == Need::Dates);
            // A message that has to be read is read up to its size.
            options.projection.set(Projection::DATES, dates || need > Need::Dates);
            options.projection.set(Projection::SKELETON, need >= Need::Skeleton);
            options.projection.set(Projection::CONTENT, need >= Need::Header);
            options.content_up_to = self.budget.inline;
            options.max_rows = max_rows.max(1);
            options.max_octets = PAGE;
            options.at_least = self.at_least;
            let (account, folder) = self.place;
            self.store.items(account, folder, uids, options).await
        }

        /// Answers the rows of a page, and reads messages when `known` is all that rows can bring.
        async fn look(&mut self, page: &ItemPage, known: Need) -> Result<Looked, ReadError> {
            let (search, need) = (self.search, self.search.filter().need());
            let mut looked = Looked { open: UidSet::new(), stopped: None };
            let (mut stack, mut haystack) = (Vec::new(), Haystack::default());
            for row in page.rows() {
                let skeleton = page.skeleton(row).and_then(|octets| SkeletonRef::from_bytes(octets).ok());
                let now = search.now();
                let mut answer = |test: &_| {
                    let answer = row_answer(test, page, row, known, now);
                    answer.or_else(|| skeleton_answer(test, now, skeleton?, &mut haystack))
                };
                match search.filter().decide(&mut stack, |_, test| answer(test)) {
                    Some(true) => self.matched.insert(row.uid),
                    Some(false) => {}
                    None if known < need => looked.open.insert(row.uid),
                    None if self.left.octets == 0 => {
                        looked.stopped = Some(Cursor::from(row.uid));
                        return Ok(looked);
                    }
                    None => {
                        let answers = search.filter().tests().map(answer).collect();
                        let mut message = MessageSearch::new(search, answers, row.size);
                        if let Some(skeleton) = skeleton {
                            message = message.with_skeleton(search, skeleton);
                        }
                        let message = Box::new(InMessage { email: row.email, search: message });
                        if let Some(message) = self.message(row, page.content(row), message).await? {
                            looked.stopped = Some(Cursor { next: row.uid, message: Some(message), scope: None });
                            return Ok(looked);
                        }
                    }
                }
            }
            Ok(looked)
        }

        async fn message(
            &mut self,
            row: &ItemRow,
            content: Option<Bytes>,
            mut message: Box<InMessage>,
        ) -> Result<Option<Box<InMessage>>, ReadError> {
            let Some(content) = content else { return self.resume(row.uid, message).await };
            self.left.octets = self.left.octets.saturating_sub(content.len() as u64);
            while let Some(wanted) = message.search.wants() {
                message.search.feed(self.search, slice(&content, wanted.start, wanted.end));
            }
            if message.search.decided(self.search) == Some(true) {
                self.matched.insert(row.uid);
            }
            Ok(None)
        }

        /// Reads what a message's search wants; gives it back when the budget runs out before it is decided.
        async fn resume(&mut self, uid: Uid, mut message: Box<InMessage>) -> Result<Option<Box<InMessage>>, ReadError> {
            // Neighbouring segments often lie in one piece.
            let (mut at, mut piece) = (0, Bytes::new());
            while let Some(wanted) = message.search.wants() {
                let end = at + piece.len() as u64;
                if piece.is_empty() || wanted.start < at || wanted.start >= end {
                    if self.left.octets == 0 {
                        return Ok(Some(message));
                    }
                    let read = self.store.read(self.place.0, message.email, wanted.start, self.budget.piece).await;
                    (at, piece) = match read {
                        Ok(piece) => (wanted.start, piece),
                        Err(ReadError::NotFound | ReadError::Corrupt { .. }) => return Ok(None),
                        Err(error) => return Err(error),
                    };
                    self.left.octets = self.left.octets.saturating_sub(piece.len().max(1) as u64);
                }
                message.search.feed(self.search, slice(&piece, wanted.start - at, wanted.end - at));
            }
            if message.search.decided(self.search) == Some(true) {
                self.matched.insert(uid);
            }
            Ok(None)
        }
    }

    /// The octets from `start` to `end` as far as they are there.
    fn slice(octets: &[u8], start: u64, end: u64) -> &[u8] {
        let at = |offset| usize::try_from(offset).unwrap_or(usize::MAX).min(octets.len());
        octets.get(at(start)..at(end)).unwrap_or_default()
    }

    fn first(uids: &UidSet) -> Option<Uid> {
        uids.ranges().next().map(|range| *range.start())
    }

    fn after(uids: &UidSet, next: Option<Uid>) -> UidSet {
        let mut rest = UidSet::new();
        if let Some(next) = next {
            rest.insert_range(next..=Uid::MAX);
        }
        rest.intersection(uids)
    }
}
