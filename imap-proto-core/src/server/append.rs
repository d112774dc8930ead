//! APPEND (RFC 9051 §6.3.12, RFC 3501 §6.3.11, RFC 3516 §4.4, RFC 7888, RFC 7889): a message flows to the store as it comes.
//!
//! ```text
//!  Folders ─▶ AppendOpen ─▶ `+` ─▶ AppendChunk… ─▶ last line ─▶ AppendCommit ─▶ OK [APPENDUID]
//!     └──────────┴─ refused: NO, before the client sends anything; octets that come all the same are dropped
//! ```
//!
//! Each chunk is split off the input uncopied, and the next one is taken when the store has let go of it, so a message
//! of any size costs one window.

use bytes::BufMut;
use mailstore_trait::date::DateTime;
use mailstore_trait::flags::FlagSet;
use mailstore_trait::id::FolderId;
use mailstore_trait::session::CloseReason;

use super::discard::{Discard, wait};
use super::names;
use super::state::{Core, Patience, Step, finish};
use crate::command::AppendHead;
use crate::event::Event;
use crate::frame::{Announced, Frame, Framer};
use crate::request::{
    Answer, AppendAbandon, AppendChunk, AppendCommit, AppendMessage, AppendOpen, Appended, Folders, Refusal,
};
use crate::response::{self, Reply};

/// A message on its way in.
#[derive(Debug)]
pub(super) struct Append {
    mailbox: Vec<u8>,
    flags: FlagSet,
    internal_date: Option<DateTime>,
    /// The octets announced; `None` for more than can be.
    size: Option<u64>,
    waits: bool,
    /// Whether NUL may stand in it.
    binary: bool,
    /// Octets still to come.
    left: u64,
    folder: Option<FolderId>,
    stage: Stage,
}

#[derive(Debug)]
enum Stage {
    Start,
    Answered(Answer),
    /// Octets are coming.
    Literal,
    /// All octets are there: the command's last line.
    LastLine,
    /// Nothing was appended; say why.
    Abandoned(Reply),
    Await,
}

impl Append {
    pub(super) fn new(head: &AppendHead<'_>, announced: Announced) -> Append {
        Append {
            mailbox: head.mailbox.to_vec(),
            flags: head.flags.to_set(),
            internal_date: head.internal_date,
            size: announced.octets,
            waits: announced.waits,
            binary: head.binary,
            left: announced.octets.unwrap_or(u64::MAX),
            folder: None,
            stage: Stage::Start,
        }
    }

    pub(super) fn poll(&mut self, core: &mut Core) -> Step {
        let Some(account) = core.account() else { return self.refuse(core, Reply::bad("Log in first")) };
        match std::mem::replace(&mut self.stage, Stage::Await) {
            Stage::Start => match self.size {
                Some(size) if size <= core.max_message() => {
                    core.inbox.set_window(core.config.limits.window.max(core.max_line()));
                    core.ask(Folders { account })
                }
                // RFC 7889: refused before the client sends it.
                _ => self.refuse(core, Reply::from(Refusal::TooLarge)),
            },
            Stage::Answered(Answer::Folders(Ok(list))) => {
                let folder = names::path(core, &self.mailbox).and_then(|path| names::selectable(&list, &path).cloned());
                match (folder, self.size) {
                    (Some(_), Some(0)) => self.refuse(core, Reply::no("CANNOT", "The message is empty")),
                    (Some(folder), Some(size)) => {
                        self.folder = Some(folder.id);
                        core.ask(AppendOpen { account, folder: folder.id, size })
                    }
                    _ => self.refuse(core, try_create()),
                }
            }
            Stage::Answered(Answer::AppendOpen(Ok(()))) => {
                if self.waits {
                    core.go_ahead(b"Ready for the message");
                }
                core.inbox.set_wide(true);
                self.stage = Stage::Literal;
                Step::Flush
            }
            Stage::Answered(Answer::AppendChunk(Ok(()))) | Stage::Literal => self.literal(core),
            // RFC 9051 §6.3.12: a mailbox that is gone could be made again.
            Stage::Answered(Answer::AppendOpen(Err(Refusal::NotFound))) => self.refuse(core, try_create()),
            Stage::Answered(Answer::Folders(Err(refusal)) | Answer::AppendOpen(Err(refusal))) => {
                self.refuse(core, refusal.into())
            }
            Stage::Answered(Answer::AppendChunk(Err(refusal))) => {
                self.waits = false;
                self.refuse(core, refusal.into())
            }
            Stage::LastLine => self.last_line(core),
            Stage::Answered(Answer::AppendCommit(Ok(appended))) => self.appended(core, &appended),
            Stage::Answered(Answer::AppendCommit(Err(Refusal::NotFound))) => finish(try_create()),
            Stage::Answered(Answer::AppendCommit(Err(refusal))) => finish(refusal.into()),
            Stage::Abandoned(reply) => self.refuse(core, reply),
            Stage::Answered(_) | Stage::Await => {
                core.close(CloseReason::Unanswered);
                Step::Flush
            }
        }
    }

    pub(super) fn answer(&mut self, _core: &mut Core, answer: Answer) {
        // The answer to an abandoned upload says nothing; the reply was decided before.
        if let (Stage::Abandoned(_), Answer::AppendAbandon(())) = (&self.stage, &answer) {
            return;
        }
        self.stage = Stage::Answered(answer);
    }

    /// Answers without the message; nothing is open in the store. A client that waits sends nothing more; otherwise the rest comes and is dropped.
    fn refuse(&mut self, core: &mut Core, reply: Reply) -> Step {
        core.inbox.set_wide(false);
        core.set_window(0);
        if self.waits {
            return finish(reply);
        }
        let limits = core.config.limits;
        let max = limits.discard.max(limits.message);
        if self.left > max {
            core.tagged(&reply);
            core.event(Event::Fault { what: "a message too large to be dropped" });
            core.bye("The message is too large", CloseReason::Limit);
            return Step::Flush;
        }
        Step::Go(Discard::rest(self.left, reply, limits.discard))
    }

    fn literal(&mut self, core: &mut Core) -> Step {
        if self.left == 0 {
            core.inbox.set_wide(false);
            core.set_window(0);
            core.framer = Framer::new();
            self.stage = Stage::LastLine;
            return Step::Flush;
        }
        if core.inbox.is_empty() {
            self.stage = Stage::Literal;
            return wait(core, Patience::Data);
        }
        let mut have = usize::try_from(self.left).unwrap_or(usize::MAX);
        if self.binary
            && let Some(nul) = memchr::memchr(0, core.inbox.peek(have))
        {
            if nul == 0 {
                // RFC 3516 §4.4: what FETCH BODY could not send afterwards is not taken; nothing is converted, so no
                // signature breaks.
                self.waits = false;
                self.stage = Stage::Abandoned(Reply::no("UNKNOWN-CTE", "Binary content can't be stored, encode it"));
                return core.ask(AppendAbandon);
            }
            have = nul;
        }
        let octets = core.inbox.take(have);
        self.left -= octets.len() as u64;
        core.ask(AppendChunk { octets })
    }

    fn last_line(&mut self, core: &mut Core) -> Step {
        let len = match core.framer.look(core.inbox.as_slice(), core.max_line()) {
            Frame::Partial => {
                self.stage = Stage::LastLine;
                return wait(core, Patience::Line);
            }
            Frame::TooLong => {
                core.bye("The command is too long", CloseReason::Limit);
                return Step::Flush;
            }
            Frame::Complete(len) => len,
            Frame::Literal(announced) => {
                // A second message: MULTIAPPEND is not offered.
                core.inbox.consume(announced.end);
                core.framer = Framer::new();
                self.waits = announced.waits;
                self.left = announced.octets.unwrap_or(u64::MAX);
                self.stage = Stage::Abandoned(Reply::bad("One message at a time"));
                return core.ask(AppendAbandon);
            }
        };
        let ends = matches!(core.inbox.peek(len), b"\r\n" | b"\n");
        core.inbox.consume(len);
        core.framer = Framer::new();
        if !ends {
            self.waits = true;
            self.stage = Stage::Abandoned(Reply::bad("Octets behind the message"));
            return core.ask(AppendAbandon);
        }
        let (Some(account), Some(folder)) = (core.account(), self.folder) else {
            return finish(Reply::from(Refusal::Unavailable));
        };
        let message = AppendMessage { flags: std::mem::take(&mut self.flags), internal_date: self.internal_date };
        core.ask(AppendCommit { account, folder, messages: vec![message] })
    }

    fn appended(&mut self, core: &mut Core, appended: &Appended) -> Step {
        core.event(Event::Appended { size: self.size.unwrap_or(0) });
        if let Some(view) = core.view.as_mut().filter(|view| Some(view.folder()) == self.folder) {
            view.note_own_commit(appended.upto);
        }
        finish(Reply::ok("APPEND completed").with_code(|code| {
            // RFC 4315 §3.
            code.put_slice(b"APPENDUID ");
            response::number(u64::from(appended.uid_validity.value()), code);
            code.put_u8(b' ');
            response::set(&appended.uids, code);
        }))
    }
}

/// RFC 9051 §6.3.12: the client may make the mailbox and try again.
pub(super) fn try_create() -> Reply {
    Reply::no("TRYCREATE", "No such mailbox")
}
