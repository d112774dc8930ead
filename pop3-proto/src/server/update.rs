//! The UPDATE state and every other way a session ends.
//!
//! RFC 1939 §6: QUIT in the TRANSACTION state removes the messages marked as deleted; a session that ends in any other
//! way removes nothing, the end of TLS without a close_notify (RFC 8314 §3.4) being such a way. The lock goes before the
//! last reply, so that a client which comes back at once finds it free.

use mailstore_trait::session::CloseReason;
use mailstore_trait::uid_set::UidSet;

use super::{Phase, Server};
use crate::capability::Expire;
use crate::event::Event;
use crate::reply::ResponseCode;
use crate::request::{Commit, Committed};
use crate::text::Text;

/// The last reply, and why the session ends.
#[derive(Clone, Copy, Debug)]
pub(super) struct Farewell {
    reply: Last,
    pub(super) reason: CloseReason,
}

#[derive(Clone, Copy, Debug)]
enum Last {
    Nothing,
    Ok(Text, u32),
    Err(Option<ResponseCode>, Text),
}

impl Farewell {
    /// Ends without a word.
    pub(super) fn silent(reason: CloseReason) -> Farewell {
        Farewell { reply: Last::Nothing, reason }
    }

    pub(super) fn ok(text: Text, number: u32) -> Farewell {
        Farewell { reply: Last::Ok(text, number), reason: CloseReason::Quit }
    }

    pub(super) fn err(code: ResponseCode, text: Text, reason: CloseReason) -> Farewell {
        Farewell { reply: Last::Err(Some(code), text), reason }
    }

    pub(super) fn plain_err(text: Text, reason: CloseReason) -> Farewell {
        Farewell { reply: Last::Err(None, text), reason }
    }
}

impl Server {
    /// QUIT.
    pub(super) fn quit(&mut self) {
        let commit = self.commit();
        if commit.deleted.is_empty() && commit.seen.is_empty() {
            // RFC 1939 §6: QUIT in the AUTHORIZATION state never enters UPDATE.
            self.finish(Farewell::ok(Text::Goodbye, 0));
        } else {
            self.phase = Phase::Commit;
        }
    }

    /// What QUIT is to do.
    pub(super) fn commit(&self) -> Commit {
        let Some(account) = &self.account else { return Commit { deleted: UidSet::new(), seen: UidSet::new() } };
        let mut deleted = account.maildrop.deleted();
        let mut seen = account.maildrop.retrieved();
        // RFC 1939 §8: a site may remove what was retrieved, when its users know. RFC 2449 §6.7: EXPIRE 0 tells them that
        // retrieving a message removes it when the session ends in QUIT.
        if matches!(account.expire.or(self.config.expire), Some(Expire { days: Some(0), .. })) {
            seen.ranges().for_each(|range| deleted.insert_range(range));
            seen = UidSet::new();
        }
        if !self.config.mark_seen {
            seen = UidSet::new();
        }
        Commit { deleted, seen }
    }

    pub(super) fn committed(&mut self, committed: Committed) {
        let deleted = u32::try_from(self.commit().deleted.len()).unwrap_or(u32::MAX);
        let temporary = |text| Farewell::err(ResponseCode::SysTemp, text, CloseReason::Quit);
        let farewell = match committed {
            Committed::Done if deleted == 0 => Farewell::ok(Text::Goodbye, 0),
            Committed::Done => {
                self.events.push_back(Event::Removed { messages: deleted });
                Farewell::ok(Text::Removed, deleted)
            }
            // Only marks of other protocols failed: nothing QUIT promises.
            Committed::Partly | Committed::Failed | Committed::LeaseLost if deleted == 0 => {
                Farewell::ok(Text::Goodbye, 0)
            }
            // RFC 1939 §6: a server may say so when some messages were not removed; it never removes others instead.
            Committed::Partly => temporary(Text::SomeNotRemoved),
            Committed::Failed => temporary(Text::NotRemoved),
            Committed::LeaseLost => {
                self.events.push_back(Event::LeaseLost);
                temporary(Text::LockLost)
            }
        };
        self.finish(farewell);
    }

    pub(super) fn say(&mut self, farewell: Farewell) {
        match farewell.reply {
            Last::Nothing => {}
            Last::Ok(text, number) => self.ok(text, [u64::from(number), 0]),
            Last::Err(code, text) => self.err(code, text),
        }
    }
}
