//! The maildrop as a session sees it: a snapshot taken at login, and the marks made on it.
//!
//! RFC 1939 §4 (message numbers), §5 (STAT, LIST, DELE, RSET), §7 (UIDL).
//!
//! Message numbers are given once, in the order of the UIDs, and hold for the whole session: mail that comes later is
//! not in it, and mail that another session removed leaves its number behind. A message costs 24 octets.

use bytes::{BufMut, BytesMut};
use mailstore_trait::id::{ItemId, MAX_48, Uid};
use mailstore_trait::uid_set::UidSet;

/// One message of the snapshot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Message {
    /// The item's 48 bits, and the marks above them.
    item: u64,
    size: u64,
    uid: Uid,
    generation: u32,
}

const DELETED: u64 = 1 << 48;
const RETRIEVED: u64 = 1 << 49;

impl Message {
    /// A message as the store knows it. `size` is in octets.
    #[must_use]
    pub fn new(item: ItemId, generation: u32, uid: Uid, size: u64) -> Message {
        Message { item: item.value(), size, uid, generation }
    }

    /// Its UID in the folder.
    #[must_use]
    pub fn uid(&self) -> Uid {
        self.uid
    }

    /// Its octets, before dot-stuffing: RFC 1939 §11 counts each line end as two, and so lines are stored.
    #[must_use]
    pub fn size(&self) -> u64 {
        self.size
    }

    /// Whether DELE marked it.
    #[must_use]
    pub fn is_deleted(&self) -> bool {
        self.item & DELETED != 0
    }

    /// Its unique identifier.
    #[must_use]
    pub fn unique_id(&self) -> UniqueId {
        UniqueId { item: self.item & MAX_48, generation: self.generation }
    }
}

/// A message's unique identifier: where it lies and which content it has there.
///
/// RFC 1939 §7: 1 to 70 octets from 0x21 to 0x7E, never used for another message. An item is never used again inside
/// its account, and neither UIDVALIDITY nor a new UID changes it; when its content is replaced, the generation moves on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct UniqueId {
    item: u64,
    generation: u32,
}

impl UniqueId {
    /// Its length in octets: both numbers have a fixed width, so no two pairs read the same.
    pub const LEN: usize = 20;

    /// Appends it in hexadecimal.
    pub fn write(&self, out: &mut BytesMut) {
        write_hex(self.item, 12, out);
        write_hex(u64::from(self.generation), 8, out);
    }
}

pub(crate) fn write_hex(value: u64, digits: u32, out: &mut BytesMut) {
    for digit in (0..digits).rev() {
        let nibble = (value >> (digit * 4)) & 0xf;
        // A nibble is below 16.
        out.put_u8(b"0123456789abcdef".get(usize::try_from(nibble).unwrap_or(0)).copied().unwrap_or(b'0'));
    }
}

/// The snapshot and its marks.
#[derive(Debug, Default)]
pub struct Maildrop {
    messages: Vec<Message>,
    live: u32,
    live_octets: u64,
    deleted: u32,
    retrieved: u32,
}

impl Maildrop {
    /// An empty maildrop with room for this many messages.
    #[must_use]
    pub fn with_capacity(messages: usize) -> Maildrop {
        Maildrop { messages: Vec::with_capacity(messages), ..Maildrop::default() }
    }

    /// Adds messages behind the others; those whose UID is not larger than the last are ignored.
    pub fn extend(&mut self, messages: &[Message]) {
        self.messages.reserve_exact(messages.len());
        for message in messages {
            if self.messages.last().is_some_and(|last| message.uid <= last.uid) {
                continue;
            }
            self.messages.push(Message { item: message.item & MAX_48, ..*message });
            self.live = self.live.saturating_add(1);
            self.live_octets = self.live_octets.saturating_add(message.size);
        }
    }

    /// Messages numbered, deleted ones included.
    #[must_use]
    pub fn len(&self) -> usize {
        self.messages.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.messages.is_empty()
    }

    /// The UID of the last message.
    #[must_use]
    pub fn last_uid(&self) -> Option<Uid> {
        self.messages.last().map(Message::uid)
    }

    /// Messages not marked deleted, and their octets: what STAT tells.
    #[must_use]
    pub fn stat(&self) -> (u32, u64) {
        (self.live, self.live_octets)
    }

    /// The message of this number, unless it is marked deleted.
    ///
    /// RFC 1939 §5: no command may name a message marked as deleted.
    #[must_use]
    pub fn live(&self, number: u32) -> Option<&Message> {
        let index = usize::try_from(number.checked_sub(1)?).ok()?;
        self.messages.get(index).filter(|message| !message.is_deleted())
    }

    /// The first message at or behind this number that is not marked deleted, with its number.
    #[must_use]
    pub fn next_live(&self, number: u32) -> Option<(u32, &Message)> {
        let first = usize::try_from(number.max(1) - 1).ok()?;
        let left = self.messages.get(first..)?;
        let skip = left.iter().position(|message| !message.is_deleted())?;
        Some((number.max(1).saturating_add(u32::try_from(skip).ok()?), left.get(skip)?))
    }

    /// Marks a message deleted. Answers whether there was one to mark.
    pub fn delete(&mut self, number: u32) -> bool {
        let Some(size) = self.live(number).map(Message::size) else { return false };
        self.mark(number, DELETED);
        self.live -= 1;
        self.live_octets -= size;
        self.deleted += 1;
        true
    }

    /// Notes that a message was sent whole.
    pub fn retrieve(&mut self, number: u32) {
        if self.mark(number, RETRIEVED) {
            self.retrieved += 1;
        }
    }

    /// Sets a mark; answers whether it was not set before.
    fn mark(&mut self, number: u32, mark: u64) -> bool {
        let index = usize::try_from(number).ok().and_then(|number| number.checked_sub(1));
        let Some(message) = index.and_then(|index| self.messages.get_mut(index)) else { return false };
        let fresh = message.item & mark == 0;
        message.item |= mark;
        fresh
    }

    /// Takes back all marks. RFC 1939 §5: RSET unmarks the messages marked as deleted.
    pub fn reset(&mut self) {
        let octets = self.messages.iter_mut().map(|message| {
            message.item &= MAX_48;
            message.size
        });
        self.live_octets = octets.fold(0, u64::saturating_add);
        self.live = u32::try_from(self.messages.len()).unwrap_or(u32::MAX);
        self.deleted = 0;
        self.retrieved = 0;
    }

    /// How many messages are marked deleted.
    #[must_use]
    pub fn deletions(&self) -> u32 {
        self.deleted
    }

    /// The messages marked deleted.
    #[must_use]
    pub fn deleted(&self) -> UidSet {
        self.marked(DELETED, self.deleted)
    }

    /// The messages that were sent whole and are not marked deleted.
    #[must_use]
    pub fn retrieved(&self) -> UidSet {
        if self.retrieved == 0 {
            return UidSet::new();
        }
        let kept = |message: &&Message| message.item & (RETRIEVED | DELETED) == RETRIEVED;
        self.messages.iter().filter(kept).map(Message::uid).collect()
    }

    fn marked(&self, mark: u64, count: u32) -> UidSet {
        if count == 0 {
            return UidSet::new();
        }
        self.messages.iter().filter(|message| message.item & mark != 0).map(Message::uid).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(uid: u32, size: u64) -> Message {
        Message::new(ItemId::new(u64::from(uid) + 1000).unwrap(), 0, Uid::new(uid).unwrap(), size)
    }

    fn maildrop() -> Maildrop {
        let mut maildrop = Maildrop::with_capacity(3);
        maildrop.extend(&[message(5, 10), message(6, 20), message(9, 30)]);
        maildrop
    }

    fn text(id: UniqueId) -> String {
        let mut out = BytesMut::new();
        id.write(&mut out);
        String::from_utf8(out.to_vec()).unwrap()
    }

    #[test]
    fn a_message_costs_24_octets() {
        assert_eq!(size_of::<Message>(), 24);
        let mut maildrop = Maildrop::with_capacity(100_000);
        let page: Vec<Message> = (1..=100_000).map(|uid| message(uid, 1)).collect();
        page.chunks(10_000).for_each(|page| maildrop.extend(page));
        assert_eq!(maildrop.messages.capacity(), 100_000);
    }

    /// Deleted messages stayed in the counts of two peers for years.
    #[test]
    fn deleted_messages_vanish() {
        let mut maildrop = maildrop();
        assert!(maildrop.delete(2));
        assert!(!maildrop.delete(2));
        assert!(!maildrop.delete(0));
        assert!(!maildrop.delete(4));
        assert_eq!(maildrop.stat(), (2, 40));
        assert!(maildrop.live(2).is_none());
        assert_eq!(maildrop.next_live(2).map(|(number, message)| (number, message.size())), Some((3, 30)));
        assert_eq!(maildrop.deleted().iter().map(Uid::value).collect::<Vec<_>>(), [6]);
        maildrop.reset();
        assert_eq!(maildrop.stat(), (3, 60));
        assert!(maildrop.deleted().is_empty());
    }

    #[test]
    fn retrieved_and_deleted_is_deleted() {
        let mut maildrop = maildrop();
        maildrop.retrieve(1);
        maildrop.retrieve(1);
        maildrop.retrieve(3);
        maildrop.delete(3);
        assert_eq!(maildrop.retrieved().iter().map(Uid::value).collect::<Vec<_>>(), [5]);
        maildrop.reset();
        assert!(maildrop.retrieved().is_empty());
    }

    /// One peer joins two decimal numbers: 1 and 11 read as 11 and 1 do.
    #[test]
    fn unique_ids_have_a_fixed_width() {
        assert_eq!(text(message(5, 0).unique_id()), "0000000003ed00000000");
        let largest = Message::new(ItemId::new(MAX_48).unwrap(), u32::MAX, Uid::MAX, 0);
        assert_eq!(text(largest.unique_id()), "ffffffffffffffffffff");
        assert_eq!(text(largest.unique_id()).len(), UniqueId::LEN);
    }

    #[test]
    fn marks_do_not_show_in_the_unique_id() {
        let mut maildrop = maildrop();
        let before = maildrop.live(1).unwrap().unique_id();
        maildrop.retrieve(1);
        assert_eq!(maildrop.live(1).unwrap().unique_id(), before);
    }
}
