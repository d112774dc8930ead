//! LIST and UIDL over the whole maildrop: rows written as fast as the peer drains them.
//!
//! RFC 1939 §5 (scan listing) and §7 (unique-id listing): one message a line, its number first, one single space.

use bytes::{BufMut, BytesMut};

use super::{Phase, SEND_AT, Server, write_pair};
use crate::maildrop::Message;
use crate::reply::write_decimal;
use crate::text::Text;

/// A listing under way.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Listing {
    /// The number to go on from.
    next: u32,
    unique_ids: bool,
}

impl Server {
    pub(super) fn list_all(&mut self, unique_ids: bool) {
        let (messages, octets) = self.stat();
        if unique_ids {
            self.ok(Text::UidlFollows, [0, 0]);
        } else {
            self.ok(Text::ListFollows, [u64::from(messages), octets]);
        }
        self.phase = Phase::Listing(Listing { next: 1, unique_ids });
    }

    /// Writes rows until a send is full. Answers whether there are more.
    pub(super) fn list(&mut self, listing: &mut Listing) -> bool {
        let out = self.outbox.text();
        while out.len() < SEND_AT {
            // RFC 1939 §5 and §7: messages marked as deleted are not listed.
            let row = self.account.as_ref().and_then(|account| account.maildrop.next_live(listing.next));
            let Some((number, message)) = row else {
                out.put_slice(b".\r\n");
                return false;
            };
            write_row(number, message, listing.unique_ids, out);
            listing.next = number.saturating_add(1);
        }
        true
    }
}

pub(super) fn write_row(number: u32, message: &Message, unique_ids: bool, out: &mut BytesMut) {
    if unique_ids {
        write_decimal(u64::from(number), out);
        out.put_slice(b" ");
        message.unique_id().write(out);
        out.put_slice(b"\r\n");
    } else {
        write_pair(u64::from(number), message.size(), out);
    }
}
