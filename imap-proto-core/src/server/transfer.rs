//! COPY and MOVE (RFC 9051 §6.4.7, §6.4.8; RFC 4315 §3; RFC 6851).
//!
//! COPY is all or nothing. MOVE is cut at [`Limits::batch`](crate::Limits::batch) messages a commit, each of which moves
//! its messages whole. Messages that are gone already are passed over: for the client they are where it wants them, or
//! nowhere.

use bytes::{BufMut, BytesMut};
use mailstore_trait::id::FolderId;
use mailstore_trait::session::CloseReason;
use mailstore_trait::uid_set::UidSet;

use super::append::try_create;
use super::names;
use super::state::{Core, Flow, Progress, Step, finish};
use super::store::messages;
use crate::command::SequenceSet;
use crate::request::{Answer, Copy, Folders, Move, Refusal, Transferred};
use crate::response::{self, Reply};

/// Messages on their way to another mailbox.
#[derive(Debug)]
pub(super) struct Transfer {
    moves: bool,
    mailbox: Vec<u8>,
    left: UidSet,
    /// Messages there are to move or copy.
    asked: u64,
    to: Option<FolderId>,
    /// COPYUID of a COPY.
    code: BytesMut,
    stage: Stage,
}

#[derive(Debug)]
enum Stage {
    Start,
    Next,
    Answered(Answer),
    Await,
}

impl Transfer {
    pub(super) fn start(core: &mut Core, uid: bool, set: &SequenceSet, mailbox: &[u8], moves: bool) -> Step {
        let left = match messages(core, uid, set) {
            Ok(left) => left,
            Err(reply) => return finish(reply),
        };
        if moves && core.view.as_ref().is_some_and(crate::view::View::is_read_only) {
            return finish(Reply::no("READ-ONLY", "The mailbox is read-only"));
        }
        let left = if moves { core.limited(left) } else { left };
        if !moves && let Err(reply) = core.permits_saving(left.len(), Some(&left)) {
            return finish(reply);
        }
        let max = core.login.as_ref().map_or(usize::MAX, |login| login.max_ops);
        if !moves && left.len() > max as u64 {
            return finish(Reply::no("LIMIT", "Too many messages at once"));
        }
        let (mailbox, code) = (mailbox.to_vec(), BytesMut::new());
        let stage = Stage::Start;
        Step::Go(Flow::Transfer(Box::new(Transfer { moves, mailbox, asked: left.len(), left, to: None, code, stage })))
    }

    pub(super) fn poll(&mut self, core: &mut Core) -> Step {
        let Some(account) = core.account() else { return finish(Reply::bad("Log in first")) };
        match std::mem::replace(&mut self.stage, Stage::Await) {
            Stage::Start => core.ask(Folders { account }),
            Stage::Answered(Answer::Folders(Ok(list))) => {
                let path = names::path(core, &self.mailbox);
                match path.and_then(|path| names::selectable(&list, &path).map(|folder| folder.id)) {
                    Some(to) => {
                        self.to = Some(to);
                        self.next(core)
                    }
                    None => finish(try_create()),
                }
            }
            Stage::Answered(Answer::Copy(Ok(copied))) => {
                if !copied.from.is_empty() {
                    write_copyuid(&copied, &mut self.code);
                }
                self.next(core)
            }
            Stage::Answered(Answer::Move(Ok(moved))) => {
                if !moved.from.is_empty() {
                    // RFC 6851 §4.3: told before the EXPUNGEs, because afterwards nobody knows the old UIDs.
                    let out = core.out();
                    out.put_slice(b"* OK [");
                    write_copyuid(&moved, out);
                    out.put_slice(b"] Moved\r\n");
                }
                self.next(core)
            }
            Stage::Next => self.next(core),
            Stage::Answered(Answer::Copy(Err(Refusal::NotFound)) | Answer::Move(Err(Refusal::NotFound))) => {
                finish(try_create())
            }
            Stage::Answered(
                Answer::Folders(Err(refusal)) | Answer::Copy(Err(refusal)) | Answer::Move(Err(refusal)),
            ) => finish(refusal.into()),
            Stage::Answered(_) | Stage::Await => {
                core.close(CloseReason::Unanswered);
                Step::Flush
            }
        }
    }

    pub(super) fn progress(&self) -> Progress {
        Progress { done: self.asked - self.left.len().min(self.asked), goal: Some(self.asked) }
    }

    pub(super) fn answer(&mut self, core: &mut Core, answer: Answer) {
        let within = self.to.is_some_and(|to| core.views(to));
        if let Some(view) = &mut core.view {
            match &answer {
                Answer::Copy(Ok(copied)) if within => view.note_own_commit(copied.upto),
                Answer::Move(Ok(moved)) => view.note_own_removal(&moved.from, moved.upto),
                _ => {}
            }
        }
        self.stage = Stage::Answered(answer);
    }

    fn next(&mut self, core: &mut Core) -> Step {
        let (Some(account), Some(to_account), Some(view), Some(to)) =
            (core.view_account(), core.account(), core.view.as_ref(), self.to)
        else {
            return finish(Reply::bad("No mailbox is selected"));
        };
        let from = view.folder();
        if !core.has_room() {
            self.stage = Stage::Next;
            return Step::Drain;
        }
        let mut rest = UidSet::new();
        if self.moves {
            let max = core.login.as_ref().map_or(usize::MAX, |login| login.max_ops);
            rest = self.left.split_off(core.config.limits.batch.min(max).max(1) as u64);
        }
        let uids = std::mem::replace(&mut self.left, rest);
        if uids.is_empty() {
            let text = if self.moves { "MOVE completed" } else { "COPY completed" };
            return finish(Reply { code: std::mem::take(&mut self.code), ..Reply::ok(text) });
        }
        if self.moves {
            core.ask(Move { account, to_account, from, uids, to })
        } else {
            core.ask(Copy { account, to_account, from, uids, to })
        }
    }
}

/// RFC 4315 §3: `COPYUID` with the sets in the same order.
fn write_copyuid(transferred: &Transferred, out: &mut BytesMut) {
    out.put_slice(b"COPYUID ");
    response::number(u64::from(transferred.uid_validity.value()), out);
    out.put_u8(b' ');
    response::set(&transferred.from, out);
    out.put_u8(b' ');
    response::set(&transferred.to, out);
}
