//! STORE (RFC 9051 §6.4.6, RFC 3501 §6.4.6).
//!
//! Flags go to the store as deltas, cut at [`Limits::batch`](crate::Limits::batch) messages a commit. A `.SILENT` STORE
//! may hide our own change and nothing else: it is first tried on messages nobody changed since this view's last look,
//! and those that somebody did change are told.

use bytes::BufMut;
use mailstore_trait::flags::{FlagChange, FlagSet};
use mailstore_trait::item::{ItemPage, ItemRow};
use mailstore_trait::session::CloseReason;
use mailstore_trait::uid_set::UidSet;

use super::state::{Core, Flow, Step, finish};
use crate::command::{SequenceSet, StoreAction};
use crate::request::{Answer, FlagsSet, Refusal, SetFlags};
use crate::response::{self, Reply};

/// Flags that are being changed.
#[derive(Debug)]
pub(super) struct Store {
    uid: bool,
    silent: bool,
    change: FlagChange,
    /// Messages still to be changed.
    left: UidSet,
    /// Messages somebody else changed meanwhile: to be changed anyway, and told.
    conflicts: UidSet,
    /// Whether the rows of the commit that is out are told.
    tell: bool,
    /// Messages that were asked for.
    asked: u64,
    /// Messages that were there.
    found: u64,
    stage: Stage,
}

#[derive(Debug)]
enum Stage {
    Next,
    Answered(Answer),
    /// Rows to be told.
    Rows(ItemPage, usize),
    Await,
}

impl Store {
    pub(super) fn start(
        core: &mut Core,
        uid: bool,
        set: &SequenceSet,
        action: StoreAction,
        silent: bool,
        flags: FlagSet,
    ) -> Step {
        let left = match messages(core, uid, set) {
            Ok(left) => left,
            Err(reply) => return finish(reply),
        };
        if core.view.as_ref().is_some_and(crate::view::View::is_read_only) {
            return finish(Reply::no("READ-ONLY", "The mailbox is read-only"));
        }
        let change = match action {
            StoreAction::Replace => FlagChange::Replace(flags),
            StoreAction::Add => FlagChange::Add(flags),
            StoreAction::Remove => FlagChange::Remove(flags),
        };
        let asked = left.len();
        let conflicts = UidSet::new();
        Step::Go(Flow::Store(Box::new(Store {
            uid,
            silent,
            change,
            left,
            conflicts,
            tell: !silent,
            asked,
            found: 0,
            stage: Stage::Next,
        })))
    }

    pub(super) fn poll(&mut self, core: &mut Core) -> Step {
        match std::mem::replace(&mut self.stage, Stage::Await) {
            Stage::Next => self.next(core),
            Stage::Answered(Answer::SetFlags(Ok(set))) => self.set(core, set),
            Stage::Answered(Answer::SetFlags(Err(refusal))) => finish(refused(refusal)),
            Stage::Rows(page, at) => self.rows(core, page, at),
            Stage::Answered(_) | Stage::Await => {
                core.close(CloseReason::Unanswered);
                Step::Flush
            }
        }
    }

    pub(super) fn answer(&mut self, _core: &mut Core, answer: Answer) {
        self.stage = Stage::Answered(answer);
    }

    fn next(&mut self, core: &mut Core) -> Step {
        let (Some(account), Some(view)) = (core.account(), core.view.as_ref()) else {
            return finish(Reply::bad("No mailbox is selected"));
        };
        let (folder, at) = (view.folder(), view.at());
        let batch = core.config.limits.batch.max(1) as u64;
        let again = !self.conflicts.is_empty();
        let from = if again { &mut self.conflicts } else { &mut self.left };
        let rest = from.split_off(batch);
        let uids = std::mem::replace(from, rest);
        if uids.is_empty() {
            return finish(self.done());
        }
        self.tell = !self.silent || again;
        let unchanged_since = (self.silent && !again).then_some(at);
        core.ask(SetFlags { account, folder, uids, change: self.change.clone(), unchanged_since })
    }

    fn set(&mut self, core: &mut Core, set: FlagsSet) -> Step {
        set.conflicts.ranges().for_each(|range| self.conflicts.insert_range(range));
        let rows = set.page.rows().iter().filter(|row| !set.conflicts.contains(row.uid));
        self.found += rows.clone().count() as u64;
        if let Some(view) = &mut core.view {
            view.note_own_flags(rows.map(|row| (row.uid, row.change)), set.upto);
        }
        self.stage = if self.tell { Stage::Rows(set.page, 0) } else { Stage::Next };
        Step::Flush
    }

    fn rows(&mut self, core: &mut Core, page: ItemPage, from: usize) -> Step {
        if !core.has_room() {
            self.stage = Stage::Rows(page, from);
            return Step::Drain;
        }
        let low_water = core.config.limits.low_water;
        let Core { view: Some(view), outbox, .. } = core else { return finish(self.done()) };
        let out = outbox.text();
        for (at, row) in page.rows().iter().enumerate().skip(from) {
            if let Some(seq) = view.seq(row.uid) {
                response::fetch_head(seq, out);
                write_flags(&page, row, view.recent().contains(row.uid), self.uid, out);
                out.put_slice(b")\r\n");
            }
            if out.len() >= low_water {
                self.stage = Stage::Rows(page, at + 1);
                return Step::Flush;
            }
        }
        self.stage = Stage::Next;
        Step::Flush
    }

    fn done(&self) -> Reply {
        // RFC 2180 §4.2: some messages were removed meanwhile; the others were changed all the same.
        if self.found < self.asked && !self.uid {
            return Reply::ok("STORE completed, some messages are gone")
                .with_code(|code| code.put_slice(b"EXPUNGEISSUED"));
        }
        Reply::ok("STORE completed")
    }
}

/// `FLAGS (…)`, behind `UID n` when wanted.
pub(super) fn write_flags(page: &ItemPage, row: &ItemRow, recent: bool, uid: bool, out: &mut bytes::BytesMut) {
    if uid {
        out.put_slice(b"UID ");
        response::number(u64::from(row.uid.value()), out);
        out.put_u8(b' ');
    }
    out.put_slice(b"FLAGS ");
    response::flags(row.flags, page.keywords(row), recent, out);
}

/// The messages of the view that a set means.
pub(super) fn messages(core: &Core, uid: bool, set: &SequenceSet) -> Result<UidSet, Reply> {
    let Some(view) = &core.view else { return Err(Reply::bad("No mailbox is selected")) };
    if uid {
        return Ok(set.by_uid(view.uids()));
    }
    // RFC 9051 §9, seq-number: a number without a message is an error of the client.
    set.by_number(view.uids()).ok_or_else(|| Reply::bad("No such message"))
}

/// NotFound is the selected mailbox's end here.
pub(super) fn refused(refusal: Refusal) -> Reply {
    match refusal {
        Refusal::NotFound => Reply::no("NONEXISTENT", "The mailbox was deleted"),
        refusal => refusal.into(),
    }
}
