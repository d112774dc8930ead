//! Octets that come whether they are wanted or not: a refused literal that does not wait (RFC 7888 §4).

use mailstore_trait::session::CloseReason;

use super::state::{Core, Flow, Patience, Step, finish};
use crate::event::Event;
use crate::frame::{Announced, Frame, Framer};
use crate::response::Reply;

/// Reads and drops the rest of a command, then answers it.
#[derive(Debug)]
pub(super) struct Discard {
    /// Octets of the literal that are still to come.
    left: u64,
    /// The largest literal that is read to be dropped.
    max: u64,
    reply: Option<Reply>,
}

impl Discard {
    /// The flow that refuses a literal just announced with `reply`.
    pub(super) fn flow(announced: Announced, reply: Reply, max: u64) -> Flow {
        // A client that waits sees the refusal and sends neither the literal nor the rest of the command.
        if announced.waits {
            return Flow::Finish(Box::new(super::sync::Finish::new(reply)));
        }
        let left = announced.octets.unwrap_or(u64::MAX);
        Flow::Discard(Box::new(Discard { left, max, reply: Some(reply) }))
    }

    /// The flow that drops `left` more octets and the rest of the command.
    pub(super) fn rest(left: u64, reply: Reply, max: u64) -> Flow {
        Flow::Discard(Box::new(Discard { left, max: max.max(left), reply: Some(reply) }))
    }

    pub(super) fn poll(&mut self, core: &mut Core) -> Step {
        if self.left > self.max {
            core.event(Event::Fault { what: "a literal too large to be dropped" });
            core.bye("The literal is too large", CloseReason::Limit);
            return Step::Flush;
        }
        if self.left > 0 {
            let have = core.inbox.len().min(usize::try_from(self.left).unwrap_or(usize::MAX));
            core.inbox.consume(have);
            self.left -= have as u64;
            if self.left > 0 {
                return wait(core, Patience::Data);
            }
        }
        match core.framer.look(core.inbox.as_slice(), core.max_line()) {
            Frame::Partial => wait(core, Patience::Line),
            Frame::TooLong => {
                core.bye("The command is too long", CloseReason::Limit);
                Step::Flush
            }
            Frame::Complete(len) => {
                core.inbox.consume(len);
                self.done(core)
            }
            Frame::Literal(announced) => {
                core.inbox.consume(announced.end);
                core.framer = Framer::new();
                if announced.waits {
                    return self.done(core);
                }
                self.left = announced.octets.unwrap_or(u64::MAX);
                Step::Flush
            }
        }
    }

    fn done(&mut self, core: &mut Core) -> Step {
        core.framer = Framer::new();
        match self.reply.take() {
            Some(reply) => finish(reply),
            None => Step::Go(Flow::Ready),
        }
    }
}

/// Waits for input, or ends when none will come.
pub(super) fn wait(core: &mut Core, patience: Patience) -> Step {
    if core.inbox.is_closed() {
        core.close(CloseReason::Eof);
        return Step::Flush;
    }
    Step::Input(patience)
}
