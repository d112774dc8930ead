//! Reading messages: one question of the store for many small ones.
//!
//! Most clients retrieve one message after the other. The second one in ascending order is taken as the sign of it: from
//! then on a question brings a page of rows with small contents inline, and the messages behind are answered from it. Each
//! page is four times as large as the one before, as long as the client goes on, up to
//! [`World::read_ahead`](super::World::read_ahead): a question costs as much as many messages. A large message is read in
//! ranges.

use std::collections::VecDeque;

use bytes::Bytes;
use mailstore_trait::error::ReadError;
use mailstore_trait::flags::SystemFlags;
use mailstore_trait::id::{EmailId, Uid};
use mailstore_trait::item::{ItemRow, ItemsOptions, Projection};
use mailstore_trait::uid_set::UidSet;

use super::{Fulfiller, Maildrop, World};
use crate::request::{MessageRead, ReadMessage};

/// Messages of at most so many octets come with their rows.
const INLINE: u64 = 16 * 1024;
/// Octets of the first page that is read ahead.
const AHEAD: usize = 32 * 1024;
/// Rows that are read ahead.
const ROWS: usize = 256;

/// What is known of the messages around the last one read.
#[derive(Debug, Default)]
pub(super) struct Reader {
    current: Option<(Uid, Content)>,
    /// Contents of messages behind the current one, ascending, and whether each is seen.
    ahead: VecDeque<(Uid, Bytes, bool)>,
    /// Octets the last page was to bring.
    page: usize,
    /// Of the messages that were read, those that nobody had seen before.
    unseen: UidSet,
}

impl Reader {
    /// Of these messages, those that are not marked as seen already.
    pub(super) fn unseen(&self, seen: &UidSet) -> UidSet {
        self.unseen.intersection(seen)
    }

    fn read(&mut self, uid: Uid, content: &Content, seen: bool) {
        self.current = Some((uid, content.clone()));
        if !seen {
            self.unseen.insert(uid);
        }
    }
}

#[derive(Clone, Debug)]
enum Content {
    Inline(Bytes),
    Stored(EmailId),
}

impl Fulfiller {
    pub(super) async fn read(&mut self, read: ReadMessage) -> MessageRead {
        let Some(maildrop) = &mut self.maildrop else { return MessageRead::Unavailable };
        match maildrop.read(&self.world, read).await {
            Ok(octets) => MessageRead::Octets(octets),
            Err(ReadError::NotFound) => MessageRead::Gone,
            Err(_) => MessageRead::Unavailable,
        }
    }
}

impl Maildrop {
    async fn read(&mut self, world: &World, read: ReadMessage) -> Result<Bytes, ReadError> {
        let content = match &self.reader.current {
            Some((uid, content)) if *uid == read.uid => content.clone(),
            _ => self.find(world, read.uid).await?,
        };
        match content {
            Content::Inline(octets) => {
                let from = usize::try_from(read.offset).unwrap_or(usize::MAX).min(octets.len());
                Ok(octets.slice(from..octets.len().min(from.saturating_add(read.max))))
            }
            Content::Stored(email) => world.store.read(self.account, email, read.offset, read.max).await,
        }
    }

    /// Makes this message the current one.
    async fn find(&mut self, world: &World, uid: Uid) -> Result<Content, ReadError> {
        let reader = &mut self.reader;
        while reader.ahead.front().is_some_and(|(ahead, ..)| *ahead < uid) {
            reader.ahead.pop_front();
        }
        let is_next = reader.ahead.front().is_some_and(|(ahead, ..)| *ahead == uid);
        if let Some((_, octets, seen)) = is_next.then(|| reader.ahead.pop_front()).flatten() {
            let content = Content::Inline(octets);
            reader.read(uid, &content, seen);
            return Ok(content);
        }
        reader.ahead.clear();
        let onward = reader.current.as_ref().is_some_and(|(last, _)| *last < uid);
        let mut uids = UidSet::new();
        uids.insert(uid);
        let mut options = ItemsOptions::new(Projection::CONTENT);
        options.content_up_to = INLINE;
        options.max_rows = 1;
        reader.page = if onward { reader.page.max(AHEAD / 4).saturating_mul(4).min(world.read_ahead) } else { 0 };
        if onward {
            let last = Uid::new(self.end.value().saturating_sub(1)).unwrap_or(uid);
            uids.insert_range(uid..=last);
            options.max_rows = ROWS;
            options.max_octets = reader.page;
        }
        let page = world.store.items(self.account, self.inbox, &uids, options).await?;
        let mut rows = page.rows().iter();
        let first = rows.next().filter(|row| row.uid == uid).ok_or(ReadError::NotFound)?;
        let content = page.content(first).map_or(Content::Stored(first.email), Content::Inline);
        // Up to the first that did not come along: the rows behind a large message are asked for when it is their turn.
        let reader = &mut self.reader;
        let seen = |row: &ItemRow| row.flags.contains(SystemFlags::SEEN);
        reader.ahead = rows.map_while(|row| Some((row.uid, page.content(row)?, seen(row)))).collect();
        reader.read(uid, &content, seen(first));
        Ok(content)
    }
}
