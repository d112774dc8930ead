//! MESSAGELIMIT and SAVELIMIT (RFC 9738): how many messages one command may work on, where an embedder limits that.
//!
//! A command that changes or tells messages one by one works on those with the highest UIDs and says how far it came; one
//! that brings messages does all of it or nothing.

// Deviation from RFC 9738 §3.1: the messages a command is cut to are the ones it demands, and they are done in the order
// of their UIDs; nothing but the order of responses differs.

use bytes::BytesMut;
use mailstore_trait::id::Uid;
use mailstore_trait::uid_set::UidSet;

use super::state::Core;
use crate::response::{self, Reply, Status};

impl Core {
    /// The most messages of any command.
    fn message_limit(&self) -> Option<u32> {
        self.config.limits.messages.filter(|_| self.config.offers(&["MESSAGELIMIT"]))
    }

    /// The most messages that may be brought at once.
    fn save_limit(&self) -> Option<u32> {
        self.message_limit().or_else(|| self.config.limits.saves.filter(|_| self.config.offers(&["SAVELIMIT"])))
    }

    /// The messages of these that the running command may work on; its answer will say so when they are not all.
    pub(super) fn limited(&mut self, mut uids: UidSet) -> UidSet {
        let Some(limit) = self.message_limit() else { return uids };
        if uids.len() <= u64::from(limit) {
            return uids;
        }
        let highest = uids.split_off(uids.len() - u64::from(limit));
        self.limited_to = highest.ranges().next().map(|range| *range.start());
        highest
    }

    /// Whether so many messages may be put in order at once (RFC 9738 §3.3), or asked for as a piece (RFC 9738 §3.1).
    ///
    /// # Errors
    /// The answer when they may not.
    pub(super) fn permits_messages(&self, count: u64) -> Result<(), Reply> {
        self.within(self.message_limit(), count, None)
    }

    /// Whether so many messages may be brought at once; `uids` are those that are copied.
    ///
    /// # Errors
    /// The answer when they may not.
    pub(super) fn permits_saving(&self, count: u64, uids: Option<&UidSet>) -> Result<(), Reply> {
        self.within(self.save_limit(), count, uids)
    }

    fn within(&self, limit: Option<u32>, count: u64, uids: Option<&UidSet>) -> Result<(), Reply> {
        let Some(limit) = limit.filter(|limit| count > u64::from(*limit)) else { return Ok(()) };
        // RFC 9738 §3.1: the lowest UID that would have been reached.
        let lowest = uids.and_then(|uids| {
            let highest = uids.clone().split_off(uids.len().saturating_sub(u64::from(limit)));
            highest.ranges().next().map(|range| *range.start())
        });
        Err(Reply::new(Status::No, "Too many messages at once").with_code(|code| write(limit, lowest, code)))
    }

    /// Tells in a command's answer that it was cut.
    pub(super) fn tell_limited(&mut self, reply: &mut Reply) {
        let (Some(lowest), Some(limit)) = (self.limited_to.take(), self.message_limit()) else { return };
        if reply.status != Status::Ok {
            return;
        }
        if reply.code.is_empty() {
            return write(limit, Some(lowest), &mut reply.code);
        }
        // RFC 9738 §3.1: another code has the place in the tagged answer.
        let told = Reply::new(Status::No, "Not all messages").with_code(|code| write(limit, Some(lowest), code));
        told.write(b"*", self.out());
    }
}

fn write(limit: u32, lowest: Option<Uid>, code: &mut BytesMut) {
    code.extend_from_slice(b"MESSAGELIMIT ");
    response::number(u64::from(limit), code);
    if let Some(lowest) = lowest {
        code.extend_from_slice(b" ");
        response::number(u64::from(lowest.value()), code);
    }
}
