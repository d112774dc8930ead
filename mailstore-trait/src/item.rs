//! Messages in folders as pages of rows: one allocation for many, keywords as numbers, small contents inline.

use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;

use crate::date::{DateTime, Timestamp};
use crate::flags::{FlagSet, Keyword, SystemFlags};
use crate::id::{EmailId, ItemId, ModSeq, ThreadId, Uid};

bitflags::bitflags! {
    /// What a question for rows wants beside ids, UID, flags and change numbers, which every row has.
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
    pub struct Projection: u8 {
        /// INTERNALDATE, SAVEDATE and size.
        const DATES = 1;
        /// The MIME skeleton ([`crate::mime`]).
        const SKELETON = 2;
        /// The summary: sort keys, references, preview.
        const SUMMARY = 4;
        /// The octets, of messages not over [`ItemsOptions::content_up_to`].
        const CONTENT = 8;
    }
}

/// Bounds and wishes of one question for rows.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct ItemsOptions {
    /// What to bring.
    pub projection: Projection,
    /// With [`Projection::CONTENT`]: bring octets of messages up to this many octets.
    pub content_up_to: u64,
    /// Stop after this many rows.
    pub max_rows: usize,
    /// Stop before the page exceeds this many octets, those it shares included; the first row always fits.
    pub max_octets: usize,
    /// The change the answer must at least contain; the store waits or refuses rather than answer from older state.
    pub at_least: Option<ModSeq>,
}

impl Default for ItemsOptions {
    fn default() -> ItemsOptions {
        ItemsOptions {
            projection: Projection::default(),
            content_up_to: 16 * 1024,
            max_rows: 1000,
            max_octets: 256 * 1024,
            at_least: None,
        }
    }
}

impl ItemsOptions {
    /// The defaults with this projection.
    #[must_use]
    pub fn new(projection: Projection) -> ItemsOptions {
        ItemsOptions { projection, ..ItemsOptions::default() }
    }
}

/// One message in a folder. Spans point into its page.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ItemRow {
    /// Its place, never reused.
    pub item: ItemId,
    /// Its UID in the folder.
    pub uid: Uid,
    /// The immutable message behind it.
    pub email: EmailId,
    /// Its conversation.
    pub thread: ThreadId,
    /// System flags; keywords by [`ItemPage::keywords`].
    pub flags: SystemFlags,
    /// When the message was received (RFC 9051 §2.3.3). Needs [`Projection::DATES`].
    pub internal_date: DateTime,
    /// When it came into this folder (RFC 8514). Needs [`Projection::DATES`].
    pub save_date: Timestamp,
    /// Octets (RFC 9051 §2.3.4), CRLF line ends as received.
    pub size: u64,
    /// How often the octets behind this item changed (MAPI edits); part of the UIDL.
    pub generation: u32,
    /// The change that put it here.
    pub created: ModSeq,
    /// The last change of its content or flags other than `\Seen` (MAPI change number).
    pub content_change: ModSeq,
    /// The last change of `\Seen` (MAPI read-state change).
    pub read_change: ModSeq,
    /// The last change of any kind: the MODSEQ.
    pub change: ModSeq,
    keywords: Range<u32>,
    skeleton: Range<u32>,
    summary: Range<u32>,
    content: Place,
}

/// Where a row's octets are.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Place {
    Arena(Range<u32>),
    Shared(u32),
}

/// Rows of one folder, ascending by UID, all from one snapshot.
#[derive(Clone, Debug, Default)]
pub struct ItemPage {
    rows: Vec<ItemRow>,
    keyword_table: Arc<[Keyword]>,
    keyword_ids: Vec<u16>,
    arena: Bytes,
    shared: Vec<Bytes>,
    /// The first UID not looked at; `None` when the page holds everything asked for.
    pub next: Option<Uid>,
}

impl ItemPage {
    /// The rows.
    #[must_use]
    pub fn rows(&self) -> &[ItemRow] {
        &self.rows
    }

    /// A row's keywords.
    pub fn keywords<'a>(&'a self, row: &ItemRow) -> impl Iterator<Item = &'a Keyword> + 'a {
        let ids = self.keyword_ids.get(range(&row.keywords)).unwrap_or_default();
        ids.iter().filter_map(|&id| self.keyword_table.get(usize::from(id)))
    }

    /// A row's flags and keywords, as an owned set.
    #[must_use]
    pub fn flag_set(&self, row: &ItemRow) -> FlagSet {
        let mut set: FlagSet = self.keywords(row).cloned().collect();
        set.system = row.flags;
        set
    }

    /// A row's MIME skeleton, when it was asked for and the store has one.
    #[must_use]
    pub fn skeleton(&self, row: &ItemRow) -> Option<&[u8]> {
        self.arena.get(range(&row.skeleton)).filter(|octets| !octets.is_empty())
    }

    /// A row's summary, when it was asked for and the store has one.
    #[must_use]
    pub fn summary(&self, row: &ItemRow) -> Option<&[u8]> {
        self.arena.get(range(&row.summary)).filter(|octets| !octets.is_empty())
    }

    /// A row's octets, not copied, when they were asked for and not too many.
    #[must_use]
    pub fn content(&self, row: &ItemRow) -> Option<Bytes> {
        match &row.content {
            Place::Arena(span) => {
                let span = range(span);
                (!span.is_empty() && span.end <= self.arena.len()).then(|| self.arena.slice(span))
            }
            Place::Shared(at) => self.shared.get(*at as usize).cloned(),
        }
    }
}

fn range(span: &Range<u32>) -> Range<usize> {
    span.start as usize..span.end as usize
}

/// What a row brings into a page. See [`ItemPageBuilder::push`].
#[derive(Clone, Copy, Debug, Default)]
pub struct RowParts<'a> {
    /// The skeleton's octets; empty when not asked for.
    pub skeleton: &'a [u8],
    /// The summary's octets; empty when not asked for.
    pub summary: &'a [u8],
    /// The message's octets; empty when not asked for or too many.
    pub content: &'a [u8],
}

/// The fields every row has. See [`ItemPageBuilder::push`].
#[derive(Clone, Copy, Debug)]
pub struct RowHead {
    /// See [`ItemRow::item`].
    pub item: ItemId,
    /// See [`ItemRow::uid`].
    pub uid: Uid,
    /// See [`ItemRow::email`].
    pub email: EmailId,
    /// See [`ItemRow::thread`].
    pub thread: ThreadId,
    /// See [`ItemRow::internal_date`].
    pub internal_date: DateTime,
    /// See [`ItemRow::save_date`].
    pub save_date: Timestamp,
    /// See [`ItemRow::size`].
    pub size: u64,
    /// See [`ItemRow::generation`].
    pub generation: u32,
    /// See [`ItemRow::created`].
    pub created: ModSeq,
    /// See [`ItemRow::content_change`].
    pub content_change: ModSeq,
    /// See [`ItemRow::read_change`].
    pub read_change: ModSeq,
    /// See [`ItemRow::change`].
    pub change: ModSeq,
}

/// Fills a page: what a store does with the rows it read.
#[derive(Debug, Default)]
pub struct ItemPageBuilder {
    rows: Vec<ItemRow>,
    table: Vec<Keyword>,
    keyword_ids: Vec<u16>,
    arena: Vec<u8>,
    shared: Vec<Bytes>,
    /// Octets of all of them.
    shared_octets: usize,
}

impl ItemPageBuilder {
    /// An empty page.
    #[must_use]
    pub fn new() -> ItemPageBuilder {
        ItemPageBuilder::default()
    }

    /// Whether a row with these parts would go over the bounds of `options`. The first row never does.
    #[must_use]
    pub fn is_full(&self, options: &ItemsOptions, parts: &RowParts<'_>) -> bool {
        let more = parts.skeleton.len() + parts.summary.len() + parts.content.len();
        let octets = self.arena.len() + self.shared_octets + more;
        !self.rows.is_empty() && (self.rows.len() >= options.max_rows || octets > options.max_octets)
    }

    /// Adds a row. UIDs ascend.
    pub fn push<'k>(
        &mut self,
        head: RowHead,
        flags: SystemFlags,
        keywords: impl IntoIterator<Item = &'k Keyword>,
        parts: RowParts<'_>,
    ) {
        let first_keyword = offset(self.keyword_ids.len());
        for keyword in keywords {
            let id = self.intern(keyword);
            self.keyword_ids.extend(id);
        }
        let keywords = first_keyword..offset(self.keyword_ids.len());
        let skeleton = self.store(parts.skeleton);
        let summary = self.store(parts.summary);
        let content = Place::Arena(self.store(parts.content));
        let RowHead { item, uid, email, thread, internal_date, save_date, size, generation, .. } = head;
        let RowHead { created, content_change, read_change, change, .. } = head;
        self.rows.push(ItemRow {
            item,
            uid,
            email,
            thread,
            flags,
            internal_date,
            save_date,
            size,
            generation,
            created,
            content_change,
            read_change,
            change,
            keywords,
            skeleton,
            summary,
            content,
        });
    }

    /// Gives the row that was pushed last its octets without copying them, for a store that has them in memory anyway.
    pub fn share_content(&mut self, content: Bytes) {
        if let Some(row) = self.rows.last_mut().filter(|_| !content.is_empty()) {
            row.content = Place::Shared(offset(self.shared.len()));
            self.shared_octets += content.len();
            self.shared.push(content);
        }
    }

    /// The page; `next` is the first UID not looked at.
    #[must_use]
    pub fn finish(self, next: Option<Uid>) -> ItemPage {
        ItemPage {
            rows: self.rows,
            keyword_table: self.table.into(),
            keyword_ids: self.keyword_ids,
            arena: self.arena.into(),
            shared: self.shared,
            next,
        }
    }

    fn intern(&mut self, keyword: &Keyword) -> Option<u16> {
        let known = self.table.iter().position(|have| have == keyword);
        let at = known.unwrap_or_else(|| {
            self.table.push(keyword.clone());
            self.table.len() - 1
        });
        u16::try_from(at).ok()
    }

    fn store(&mut self, octets: &[u8]) -> Range<u32> {
        let start = offset(self.arena.len());
        self.arena.extend_from_slice(octets);
        start..offset(self.arena.len())
    }
}

/// Pages are bounded far below 4 GiB; one that is not points nowhere rather than wrong.
fn offset(at: usize) -> u32 {
    u32::try_from(at).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn head(uid: u32) -> RowHead {
        RowHead {
            item: ItemId::new(u64::from(uid)).unwrap(),
            uid: Uid::new(uid).unwrap(),
            email: EmailId([0; 16]),
            thread: ThreadId([0; 16]),
            internal_date: Timestamp::default().at_offset(0),
            save_date: Timestamp::default(),
            size: 100,
            generation: 0,
            created: ModSeq::FIRST,
            content_change: ModSeq::FIRST,
            read_change: ModSeq::FIRST,
            change: ModSeq::FIRST,
        }
    }

    #[test]
    fn a_shared_content_is_not_copied_and_counts_as_the_pages_own() {
        let mut options = ItemsOptions::new(Projection::CONTENT);
        options.max_octets = 250;
        let content = Bytes::from(vec![b'x'; 100]);
        let (copied, shared) = (RowParts { content: &content, ..RowParts::default() }, RowParts::default());
        let mut builder = ItemPageBuilder::new();
        builder.push(head(1), SystemFlags::empty(), [], copied);
        builder.push(head(2), SystemFlags::empty(), [], shared);
        assert!(!builder.is_full(&options, &copied));
        builder.share_content(content.clone());
        assert!(builder.is_full(&options, &copied));
        builder.push(head(3), SystemFlags::empty(), [], shared);
        builder.share_content(Bytes::new());
        let page = builder.finish(None);
        let found: Vec<_> = page.rows().iter().map(|row| page.content(row)).collect();
        assert_eq!(found, [Some(content.clone()), Some(content.clone()), None]);
        let pointers: Vec<_> = found.iter().flatten().map(|found| found.as_ptr()).collect();
        assert_ne!(pointers[0], content.as_ptr());
        assert_eq!(pointers[1], content.as_ptr());
    }
}
