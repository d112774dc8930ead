//! The TRANSACTION state's short commands.
//!
//! RFC 1939 §5 (STAT, DELE, NOOP, RSET).

use bytes::BufMut;

use super::{Phase, Server, Step, write_pair};
use crate::command::Command;
use crate::event::Violation;
use crate::maildrop::Message;
use crate::text::Text;

impl Server {
    /// A command of the TRANSACTION state.
    pub(super) fn transaction(&mut self, command: Command<'_>) -> Step {
        match command {
            Command::Stat => {
                let (messages, octets) = self.stat();
                self.outbox.text().put_slice(b"+OK ");
                // RFC 1939 §5: messages marked as deleted are not counted.
                write_pair(u64::from(messages), octets, self.outbox.text());
            }
            Command::List(number) => self.list_from(number, false),
            Command::Uidl(number) => self.list_from(number, true),
            Command::Retr(number) => self.retrieve(number, None),
            Command::Top(number, lines) => self.retrieve(number, Some(lines)),
            Command::Dele(number) => {
                if self.account.as_mut().is_some_and(|account| account.maildrop.delete(number)) {
                    self.ok(Text::Marked, [u64::from(number), 0]);
                } else {
                    self.err(None, Text::NoSuchMessage);
                }
            }
            Command::Rset => {
                if let Some(account) = &mut self.account {
                    account.maildrop.reset();
                }
                let (messages, octets) = self.stat();
                self.ok(Text::MaildropReady, [u64::from(messages), octets]);
            }
            Command::Noop => self.ok(Text::Done, [0, 0]),
            // RFC 5034 §4: after a login there is no other; RFC 2595 §4: nor TLS.
            _ => self.bad(Violation::State, Text::NotNow),
        }
        Step::Again
    }

    pub(super) fn stat(&self) -> (u32, u64) {
        self.account.as_ref().map_or((0, 0), |account| account.maildrop.stat())
    }

    /// The message of this number, when a command may name it.
    pub(super) fn live(&self, number: u32) -> Option<Message> {
        self.account.as_ref()?.maildrop.live(number).copied()
    }

    fn list_from(&mut self, number: Option<u32>, unique_ids: bool) {
        let Some(number) = number else { return self.list_all(unique_ids) };
        let Some(message) = self.live(number) else { return self.err(None, Text::NoSuchMessage) };
        let out = self.outbox.text();
        out.put_slice(b"+OK ");
        super::listing::write_row(number, &message, unique_ids, out);
        self.phase = Phase::Command;
    }
}
