//! IDLE (RFC 2177, RFC 9051 §6.3.13).

use std::time::Instant;

use mailstore_trait::session::{CloseReason, Line};

use super::discard::wait;
use super::state::{Core, Patience, Step, finish};
use super::sync::{Sync, Syncing};
use crate::request::Answer;
use crate::response::Reply;

/// A client that waits for news.
#[derive(Debug)]
pub(super) struct Idle {
    sync: Option<Sync>,
    /// When to say that we are still here.
    keep_alive: Option<Instant>,
    /// When to stop waiting.
    end: Option<Instant>,
}

impl Idle {
    pub(super) fn start(core: &mut Core) -> Step {
        // The continuation comes before any news: clients take it for the answer to their command.
        core.go_ahead(b"idling");
        let limits = core.config.limits;
        Step::Go(super::state::Flow::Idle(Box::new(Idle {
            sync: Some(Sync::looking(core)),
            keep_alive: core.after(limits.keep_alive),
            end: core.after(limits.idle_command),
        })))
    }

    pub(super) fn poll(&mut self, core: &mut Core) -> Step {
        if let Some(sync) = &mut self.sync {
            match sync.poll(core) {
                Syncing::Step(step) => return step,
                Syncing::Done => self.sync = None,
            }
            self.keep_alive = core.after(core.config.limits.keep_alive);
        }
        if core.shutting_down {
            core.bye("The server is shutting down", CloseReason::Shutdown);
            return Step::Flush;
        }
        match core.inbox.line(core.max_line()) {
            Line::Complete(len) => return done(core, len),
            Line::TooLong => {
                core.bye("The line is too long", CloseReason::Limit);
                return Step::Flush;
            }
            Line::Partial => {}
        }
        if core.hint.is_some_and(|hint| core.view.as_ref().is_some_and(|view| hint > view.at())) {
            self.sync = Some(Sync::looking(core));
            return Step::Flush;
        }
        if self.end.is_some_and(|end| core.now >= Some(end)) {
            core.bye("Idle for too long", CloseReason::Timeout);
            return Step::Flush;
        }
        if self.keep_alive.is_some_and(|at| core.now >= Some(at)) {
            self.keep_alive = core.after(core.config.limits.keep_alive);
            // A peer that does not take what it is sent is not kept alive any further.
            if core.has_room() {
                core.untagged("OK Still here");
            }
            return Step::Flush;
        }
        match (self.keep_alive, self.end) {
            (Some(keep_alive), Some(end)) => wait(core, Patience::Until(keep_alive.min(end))),
            _ => wait(core, Patience::Command),
        }
    }

    pub(super) fn answer(&mut self, core: &mut Core, answer: Answer) {
        if let Some(sync) = &mut self.sync {
            sync.answer(core, answer);
        }
    }
}

/// A line came: DONE, and what follows it in the same packet are the next commands.
fn done(core: &mut Core, len: usize) -> Step {
    let line = core.inbox.peek(len);
    let line = line.strip_suffix(b"\n").unwrap_or(line);
    let line = line.strip_suffix(b"\r").unwrap_or(line);
    let is_done = line.trim_ascii().eq_ignore_ascii_case(b"DONE");
    core.inbox.consume(len);
    finish(if is_done { Reply::ok("IDLE completed") } else { Reply::bad("Expected DONE") })
}
