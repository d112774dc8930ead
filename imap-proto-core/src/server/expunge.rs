//! EXPUNGE, UID EXPUNGE and CLOSE (RFC 9051 §6.4.3, §6.4.9, §6.4.1; RFC 4315 §2.1; RFC 7162 §3.2.7-§3.2.9).
//!
//! First the messages with `\Deleted` are looked for, then removed, cut at [`Limits::batch`](crate::Limits::batch) a
//! commit; each commit removes only those that still have the flag.

use std::sync::Arc;

use mailstore_trait::acl::Rights;
use mailstore_trait::flags::SystemFlags;
use mailstore_trait::query::{Filter, Test};
use mailstore_trait::session::CloseReason;
use mailstore_trait::uid_set::UidSet;

use super::state::{Core, Flow, Progress, Step, finish};
use super::store::refused;
use super::sync::Finish;
use crate::command::SequenceSet;
use crate::request::{self, Answer, Refusal};
use crate::response::Reply;

/// Messages that are being removed.
#[derive(Debug)]
pub(super) struct Expunge {
    /// Whether the mailbox is left afterwards, without telling what was removed.
    close: bool,
    /// Whether the messages were named, and not all are meant.
    named: bool,
    /// Messages to look at.
    scope: UidSet,
    /// Messages there are to look at, and messages removed.
    asked: u64,
    removed: u64,
    /// Messages with `\Deleted`.
    deleted: UidSet,
    /// Whether a message was removed.
    any: bool,
    answer: Option<Answer>,
}

impl Expunge {
    pub(super) fn start(core: &mut Core, set: Option<&SequenceSet>) -> Step {
        let Some(view) = &core.view else { return finish(Reply::bad("No mailbox is selected")) };
        if view.is_read_only() {
            return finish(Reply::no("READ-ONLY", "The mailbox is read-only"));
        }
        // RFC 4314 §4: EXPUNGE needs `e`.
        if !core.view_rights().contains(Rights::EXPUNGE) {
            return finish(Reply::from(Refusal::Denied));
        }
        let scope = set.map_or_else(|| view.uids().to_set(), |set| view.resolve(true, set).unwrap_or_default());
        Step::Go(Expunge::flow(false, set.is_some(), scope))
    }

    pub(super) fn close(core: &mut Core) -> Step {
        let Some(view) = &core.view else { return finish(Reply::bad("No mailbox is selected")) };
        // RFC 9051 §6.4.1: nothing is removed from a mailbox opened with EXAMINE.
        // RFC 4314 §4: nor where the client may not expunge.
        let kept = view.is_read_only() || !core.view_rights().contains(Rights::EXPUNGE);
        let scope = if kept { UidSet::new() } else { view.uids().to_set() };
        Step::Go(Expunge::flow(true, false, scope))
    }

    fn flow(close: bool, named: bool, scope: UidSet) -> Flow {
        Flow::Expunge(Box::new(Expunge {
            close,
            named,
            asked: scope.len(),
            removed: 0,
            scope,
            deleted: UidSet::new(),
            any: false,
            answer: None,
        }))
    }

    pub(super) fn poll(&mut self, core: &mut Core) -> Step {
        match self.answer.take() {
            None | Some(Answer::Expunge(Ok(_))) => {}
            Some(Answer::Search(Ok(found))) => {
                let matches = self.scope.intersection(&found.uids);
                matches.ranges().for_each(|range| self.deleted.insert_range(range));
                self.scope = super::search::after(&self.scope, found.next);
            }
            Some(Answer::Search(Err(refusal)) | Answer::Expunge(Err(refusal))) => {
                if self.close {
                    // RFC 9051 §6.4.1: CLOSE has no way to fail that clients know of; the mailbox is left in any case.
                    core.view = None;
                }
                return finish(refused(refusal));
            }
            Some(_) => {
                core.close(CloseReason::Unanswered);
                return Step::Flush;
            }
        }
        let (Some(account), Some(view)) = (core.account(), core.view.as_ref()) else {
            return finish(Reply::bad("No mailbox is selected"));
        };
        let folder = view.folder();
        if !self.scope.is_empty() {
            let filter = Arc::new(Filter::from(Test::Flags(SystemFlags::DELETED)));
            return core.ask(request::Search { account, folder, uids: self.scope.clone(), filter });
        }
        // RFC 9738 §3.1: UID EXPUNGE is cut, EXPUNGE and CLOSE are not.
        if std::mem::take(&mut self.named) {
            self.deleted = core.limited(std::mem::take(&mut self.deleted));
        }
        let rest = self.deleted.split_off(core.config.limits.batch.max(1) as u64);
        let uids = std::mem::replace(&mut self.deleted, rest);
        if !uids.is_empty() {
            return core.ask(request::Expunge { account, folder, uids });
        }
        if self.close {
            // RFC 7162 §3.2.8: HIGHESTMODSEQ is not told, because what others changed was not.
            core.view = None;
            return finish(Reply::ok("CLOSE completed"));
        }
        // RFC 7162 §3.2.7, and RFC 7162 §3.2.9 with UIDs: what was removed has its number told.
        let done = Reply::ok("EXPUNGE completed");
        if self.any { Step::Go(Flow::Finish(Box::new(Finish::expunged(done)))) } else { finish(done) }
    }

    /// Messages looked at, then messages removed.
    pub(super) fn progress(&self) -> Progress {
        let looking = !self.scope.is_empty();
        let done = if looking { self.asked - self.scope.len() } else { self.removed };
        let goal = if looking { self.asked } else { self.removed + self.deleted.len() };
        Progress { done, goal: Some(goal) }
    }

    pub(super) fn answer(&mut self, core: &mut Core, answer: Answer) {
        if let (Answer::Expunge(Ok(expunged)), Some(view)) = (&answer, &mut core.view) {
            view.note_own_removal(&expunged.uids, expunged.upto);
            self.any |= !expunged.uids.is_empty();
            self.removed += expunged.uids.len();
        }
        self.answer = Some(answer);
    }
}
