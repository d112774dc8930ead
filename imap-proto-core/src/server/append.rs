//! APPEND and REPLACE (RFC 9051 §6.3.12, RFC 3501 §6.3.11, RFC 3502, RFC 3516 §4.4, RFC 4469, RFC 7888, RFC 7889,
//! RFC 8508): messages flow to the store as they come.
//!
//! ```text
//!  Folders ─▶ pieces of the line ─┬─▶ AppendOpen ─▶ `+` ─▶ AppendChunk… ─▶ the next line ─┐
//!                ▲                ├─▶ URL: Items, ReadBody, AppendChunk…                  │
//!                └────────────────┼───────────────────────────────────────────────────────┘
//!                                 └─▶ the command's end: AppendCommit ─▶ OK [APPENDUID]
//!     what is refused: AppendAbandon, NO before the client sends more; octets that come all the same are dropped
//! ```
//!
//! Each chunk is split off the input uncopied, and the next one is taken when the store has let go of it, so messages
//! of any size cost one window. Nothing is visible before the commit, and all messages of a command become so at once.

mod source;

use std::collections::VecDeque;
use std::sync::Arc;

use bytes::BufMut;
use mailstore_trait::folder::FolderList;
use mailstore_trait::id::{FolderId, Uid};
use mailstore_trait::session::CloseReason;

use super::discard::{Discard, wait};
use super::names;
use super::state::{Core, Flow, Patience, Step, finish};
use super::store::messages;
use super::sync::Finish;
use crate::capability;
use crate::command::{self, AppendEnd, AppendHead, AppendLine, AppendPiece, AppendPlace, Name, SequenceSet};
use crate::event::Event;
use crate::frame::{Announced, Frame, Framer};
use crate::request::{
    Answer, AppendAbandon, AppendChunk, AppendCommit, AppendMessage, AppendOpen, Appended, Folders, Refusal, Replaced,
};
use crate::response::{self, Quoted, Reply};
use source::Source;

/// Messages on their way in.
#[derive(Debug)]
pub(super) struct Append {
    mailbox: Vec<u8>,
    replaces: Option<Replaced>,
    folders: Arc<FolderList>,
    folder: Option<FolderId>,
    /// What the line said that is not done yet, and how it ends.
    pieces: VecDeque<Piece>,
    end: AppendEnd,
    /// Complete messages, the last one of which may be on its way, with their octets.
    messages: Vec<(AppendMessage, u64)>,
    /// Whether the last message is open in the store.
    open: bool,
    /// Whether anything is.
    any_open: bool,
    /// A message that is copied from.
    source: Option<Source>,
    /// Octets announced and still to come, and whether the client waits before it sends them.
    left: u64,
    waits: bool,
    /// Whether NUL may stand in them.
    binary: bool,
    stage: Stage,
}

/// What is to be done before a line's end.
#[derive(Debug)]
enum Piece {
    Message(AppendMessage),
    Url(Vec<u8>),
}

#[derive(Debug)]
enum Stage {
    Start,
    Answered(Answer),
    Pieces,
    /// Octets are coming.
    Literal,
    /// All octets are there: the next line.
    Line,
    /// Nothing was appended; say why.
    Abandoned(Reply),
    Await,
}

impl Append {
    /// The flow of an APPEND whose first line is this; `announced` is the literal at its end.
    ///
    /// # Errors
    /// The answer to a command that can't be done.
    pub(super) fn new(
        core: &Core,
        name: Name,
        head: &AppendHead<'_>,
        announced: Option<Announced>,
    ) -> Result<Append, Reply> {
        let replaces = match &head.replaces {
            None => None,
            Some(set) => Some(replaced(core, name == Name::UidReplace, set)?),
        };
        let mut append = Append {
            mailbox: head.mailbox.to_vec(),
            replaces,
            folders: Arc::default(),
            folder: None,
            pieces: VecDeque::new(),
            end: AppendEnd::Command,
            messages: Vec::new(),
            open: false,
            any_open: false,
            source: None,
            left: 0,
            waits: true,
            binary: false,
            stage: Stage::Start,
        };
        append.note(core, &head.line, announced)?;
        Ok(append)
    }

    // Deviation from RFC 6855 §4: a message with 8-bit header fields is taken from clients that have not enabled UTF-8 too.
    // They copy such mail from elsewhere, where it came in unasked, and a refusal would lose it.
    /// Notes what a line says.
    fn note(&mut self, core: &Core, line: &AppendLine<'_>, announced: Option<Announced>) -> Result<(), Reply> {
        self.left = announced.map_or(0, |announced| announced.octets.unwrap_or(u64::MAX));
        self.waits = announced.is_none_or(|announced| announced.waits);
        self.end = line.end;
        if let Some(announced) = &announced {
            core.permits_literal(announced)?;
        }
        if !capability::knows_append(&core.config, line, self.messages.len(), self.replaces.is_some()) {
            return Err(Reply::bad("Syntax error"));
        }
        // RFC 6855 §4: only of clients that can read what they send.
        if matches!(line.end, AppendEnd::Octets { utf8: true, .. }) && core.quoted != Quoted::Utf8 {
            return Err(Reply::no("CANNOT", "Enable UTF8=ACCEPT first"));
        }
        for piece in &line.pieces {
            self.pieces.push_back(match piece {
                AppendPiece::Message { flags, internal_date, .. } => {
                    Piece::Message(AppendMessage { flags: flags.to_set(), internal_date: *internal_date })
                }
                AppendPiece::Url(url) => Piece::Url(url.to_vec()),
            });
        }
        Ok(())
    }

    /// The name it goes to, as it was sent.
    pub(super) fn mailbox(&self) -> &[u8] {
        &self.mailbox
    }

    /// Nothing is taken: there is nowhere to put it.
    pub(super) fn nowhere(mut self: Box<Self>, core: &mut Core, reply: Reply) -> Step {
        self.refuse(core, reply)
    }

    pub(super) fn poll(&mut self, core: &mut Core) -> Step {
        let Some(account) = core.account() else { return self.refuse(core, Reply::bad("Log in first")) };
        match std::mem::replace(&mut self.stage, Stage::Await) {
            // RFC 7889: refused before the client sends it.
            Stage::Start if self.left > core.max_message() => self.refuse(core, Refusal::TooLarge.into()),
            Stage::Start if self.replaces.is_some() && core.view_account() != Some(account) => {
                self.refuse(core, Reply::no("CANNOT", "Not into another namespace"))
            }
            Stage::Start => {
                core.inbox.set_window(core.config.limits.window.max(core.max_line()));
                core.ask(Folders { account })
            }
            Stage::Answered(Answer::Folders(Ok(list))) => {
                let path = names::path(core, &self.mailbox);
                self.folder = path.and_then(|path| names::selectable(&list, &path).map(|folder| folder.id));
                self.folders = list;
                if self.folder.is_none() {
                    return self.refuse(core, try_create());
                }
                self.pieces(core)
            }
            Stage::Pieces => self.pieces(core),
            Stage::Answered(Answer::AppendOpen(Ok(()))) => {
                (self.open, self.any_open) = (true, true);
                self.pieces(core)
            }
            Stage::Answered(Answer::AppendChunk(Ok(()))) if self.source.is_some() => self.pieces(core),
            Stage::Answered(Answer::AppendChunk(Ok(()))) | Stage::Literal => self.literal(core),
            // RFC 9051 §6.3.12: a mailbox that is gone could be made again.
            Stage::Answered(Answer::AppendOpen(Err(Refusal::NotFound))) => self.refuse(core, try_create()),
            // What was opened before is abandoned by the refusal.
            Stage::Answered(Answer::Folders(Err(refusal)) | Answer::AppendOpen(Err(refusal))) => {
                self.refuse(core, refusal.into())
            }
            Stage::Answered(Answer::AppendChunk(Err(refusal))) => {
                // Inside a literal the rest of it comes in any case.
                self.waits &= self.source.is_some();
                self.refuse(core, refusal.into())
            }
            Stage::Answered(answer @ (Answer::Items(_) | Answer::ReadBody(_))) => {
                if let Some(source) = &mut self.source {
                    source.answer(core, answer);
                }
                self.pieces(core)
            }
            Stage::Line => self.line(core),
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

    /// Does what the line says, piece by piece, and goes on with how it ends.
    fn pieces(&mut self, core: &mut Core) -> Step {
        if let Some(mut source) = self.source.take() {
            match source.next(core) {
                source::Next::Ask(step) => {
                    self.source = Some(source);
                    return step;
                }
                source::Next::Octets(octets) => {
                    if let Err(reply) = self.count(core, octets.len() as u64) {
                        return self.abandon(core, reply);
                    }
                    self.source = Some(source);
                    return core.ask(AppendChunk { octets });
                }
                source::Next::Done => {}
                source::Next::Failed(reply) => return self.abandon(core, reply),
            }
        }
        match self.pieces.pop_front() {
            Some(Piece::Message(message)) => {
                if let Err(reply) = self.is_complete() {
                    return self.abandon(core, reply);
                }
                if self.messages.len() >= core.config.limits.appends {
                    return self.abandon(core, Reply::no("LIMIT", "Too many messages at once"));
                }
                if let Err(reply) = core.permits_saving(self.messages.len() as u64 + 1, None) {
                    return self.abandon(core, reply);
                }
                self.messages.push((message, 0));
                self.open = false;
                self.stage = Stage::Pieces;
                Step::Flush
            }
            Some(Piece::Url(url)) if self.open => match Source::new(core, &self.folders, url) {
                Ok(source) => {
                    self.source = Some(source);
                    self.stage = Stage::Pieces;
                    Step::Flush
                }
                Err(reply) => self.abandon(core, reply),
            },
            Some(piece @ Piece::Url(_)) => {
                self.pieces.push_front(piece);
                self.ask_open(core, None)
            }
            None => self.ends(core),
        }
    }

    fn ask_open(&self, core: &mut Core, size: Option<u64>) -> Step {
        let (Some(account), Some(folder)) = (core.account(), self.folder) else {
            return finish(Reply::from(Refusal::Unavailable));
        };
        core.ask(AppendOpen { account, folder, size, replaces: self.replaces.is_some() })
    }

    /// The line is done: octets come, or the command ends.
    fn ends(&mut self, core: &mut Core) -> Step {
        let AppendEnd::Octets { binary, next, .. } = self.end else { return self.commit(core) };
        let part = matches!(next, AppendPlace::Part | AppendPlace::Utf8 { part: true });
        let before = self.messages.last().map_or(0, |(_, octets)| *octets);
        // RFC 4469 §4.2: the parts together.
        if before.saturating_add(self.left) > core.max_message() {
            return self.abandon(core, Refusal::TooLarge.into());
        }
        if self.left == 0 && !part {
            return self.abandon(core, empty());
        }
        if !self.open {
            return self.ask_open(core, (!part).then_some(self.left));
        }
        if self.waits {
            core.go_ahead(b"Ready for the message");
        }
        core.inbox.set_wide(true);
        self.binary = binary;
        self.stage = Stage::Literal;
        Step::Flush
    }

    /// RFC 3502 §6.3.11: a message without octets cancels the command.
    fn is_complete(&self) -> Result<(), Reply> {
        match self.messages.last() {
            Some((_, 0)) => Err(empty()),
            _ => Ok(()),
        }
    }

    /// Counts octets of the last message.
    fn count(&mut self, core: &Core, octets: u64) -> Result<(), Reply> {
        let Some((_, count)) = self.messages.last_mut() else { return Ok(()) };
        *count = count.saturating_add(octets);
        if *count > core.max_message() { Err(Refusal::TooLarge.into()) } else { Ok(()) }
    }

    /// Forgets what the store has, and answers.
    fn abandon(&mut self, core: &mut Core, reply: Reply) -> Step {
        if !self.any_open {
            return self.refuse(core, reply);
        }
        self.stage = Stage::Abandoned(reply);
        core.ask(AppendAbandon)
    }

    /// Answers without the messages; nothing is open in the store. A client that waits sends nothing more; otherwise the
    /// rest comes and is dropped.
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
            // Nothing is announced any more.
            self.waits = true;
            self.stage = Stage::Line;
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
                return self.abandon(core, Reply::no("UNKNOWN-CTE", "Binary content can't be stored, encode it"));
            }
            have = nul;
        }
        let octets = core.inbox.take(have);
        self.left -= octets.len() as u64;
        // Inside a literal there is nobody to be told to wait.
        self.waits = false;
        if let Err(reply) = self.count(core, octets.len() as u64) {
            return self.abandon(core, reply);
        }
        core.ask(AppendChunk { octets })
    }

    /// Reads the line behind a literal.
    fn line(&mut self, core: &mut Core) -> Step {
        let (end, announced) = match core.framer.look(core.inbox.as_slice(), core.max_line()) {
            Frame::Partial => {
                self.stage = Stage::Line;
                return wait(core, Patience::Line);
            }
            Frame::TooLong => {
                core.bye("The command is too long", CloseReason::Limit);
                return Step::Flush;
            }
            Frame::Complete(len) => (len, None),
            Frame::Literal(announced) => (announced.end, Some(announced)),
        };
        let place = if let AppendEnd::Octets { next, .. } = self.end { next } else { AppendPlace::Message };
        // A line is short and rare: a copy frees the input for the flow.
        let text = core.inbox.peek(end).to_vec();
        let read = match command::parse_append_line(&text, place, &core.config.limits.bounds) {
            Ok(None) => match announced.map(|announced| {
                core.permits_literal(&announced).and_then(|()| super::read::take_part(core, announced))
            }) {
                Some(Ok(())) => {
                    self.stage = Stage::Line;
                    return Step::Flush;
                }
                Some(Err(reply)) => Err(reply),
                None => Err(Reply::bad("Syntax error")),
            },
            Ok(Some(line)) => self.note(core, &line, announced),
            Err(error) => Err(super::read::bad(error)),
        };
        core.inbox.consume(end);
        core.framer = Framer::new();
        match read {
            Ok(()) => {
                core.inbox.set_window(core.config.limits.window.max(core.max_line()));
                self.stage = Stage::Pieces;
                Step::Flush
            }
            Err(reply) => {
                self.left = announced.map_or(0, |announced| announced.octets.unwrap_or(u64::MAX));
                self.waits = announced.is_none_or(|announced| announced.waits);
                self.abandon(core, reply)
            }
        }
    }

    fn commit(&mut self, core: &mut Core) -> Step {
        if let Err(reply) = self.is_complete() {
            return self.abandon(core, reply);
        }
        core.set_window(0);
        let (Some(account), Some(folder)) = (core.account(), self.folder) else {
            return finish(Reply::from(Refusal::Unavailable));
        };
        let messages = self.messages.iter().map(|(message, _)| message.clone()).collect();
        core.ask(AppendCommit { account, folder, messages, replaces: self.replaces })
    }

    fn appended(&mut self, core: &mut Core, appended: &Appended) -> Step {
        for (_, size) in &self.messages {
            core.event(Event::Appended { size: *size });
        }
        let viewed = self.folder.is_some_and(|folder| core.views(folder));
        if let Some(view) = &mut core.view {
            if viewed {
                view.note_own_commit(appended.upto);
            }
            if let Some(replaced) = self.replaces {
                view.note_own_removal(&std::iter::once(replaced.uid).collect(), appended.upto);
            }
        }
        let code = |code: &mut bytes::BytesMut| {
            // RFC 4315 §3.
            code.put_slice(b"APPENDUID ");
            response::number(u64::from(appended.uid_validity.value()), code);
            code.put_u8(b' ');
            response::set(&appended.uids, code);
        };
        if self.replaces.is_none() {
            return finish(Reply::ok("APPEND completed").with_code(code));
        }
        // RFC 8508 §4.3: told before the removal, so that a client knows what replaces the message that goes.
        Reply::ok("The replacement").with_code(code).write(b"*", core.out());
        Step::Go(Flow::Finish(Box::new(Finish::expunged(Reply::ok("REPLACE completed")))))
    }
}

/// The message a REPLACE names.
fn replaced(core: &Core, uid: bool, set: &SequenceSet) -> Result<Replaced, Reply> {
    let uids = messages(core, uid, set)?;
    let Some(view) = &core.view else { return Err(Reply::bad("No mailbox is selected")) };
    if view.is_read_only() {
        return Err(Reply::no("READ-ONLY", "The mailbox is read-only"));
    }
    if view.any_gone(&uids) {
        return Err(Reply::no("EXPUNGEISSUED", "The message is gone"));
    }
    let uid: Option<Uid> = uids.iter().next();
    uid.map(|uid| Replaced { folder: view.folder(), uid }).ok_or_else(|| Reply::no("NONEXISTENT", "No such message"))
}

fn empty() -> Reply {
    Reply::no("CANNOT", "The message is empty")
}

/// RFC 9051 §6.3.12: the client may make the mailbox and try again.
pub(super) fn try_create() -> Reply {
    Reply::no("TRYCREATE", "No such mailbox")
}
