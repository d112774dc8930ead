//! STORE (RFC 9051 §6.4.6, RFC 3501 §6.4.6; RFC 7162 §3.1.3).
//!
//! Flags go to the store as deltas, cut at [`Limits::batch`](crate::Limits::batch) messages a commit. A `.SILENT` STORE
//! may hide our own change and nothing else: it is first tried on messages nobody changed since this view's last look,
//! and those that somebody did change are told.

use bytes::BufMut;
use mailstore_trait::flags::{FlagChange, FlagSet};
use mailstore_trait::id::{ModSeq, SeqNum, Uid};
use mailstore_trait::item::{ItemPage, ItemRow};
use mailstore_trait::session::CloseReason;
use mailstore_trait::uid_set::UidSet;

use super::condstore::modseq;
use super::state::{Core, Flow, Progress, Step, finish};
use crate::command::{SequenceSet, StoreAction};
use crate::request::{Answer, FlagsSet, Refusal, SetFlags};
use crate::response::{self, Reply};

/// What a STORE wants beside messages and flags.
#[derive(Clone, Copy, Debug)]
pub(super) struct Wish {
    pub(super) action: StoreAction,
    pub(super) silent: bool,
    /// RFC 7162 §3.1.3: only messages that did not change after this.
    pub(super) unchanged_since: Option<u64>,
}

/// Flags that are being changed.
#[derive(Debug)]
pub(super) struct Store {
    uid: bool,
    silent: bool,
    change: FlagChange,
    // Deviation from RFC 7162 §3.1.12: a session keeps no flags, so it can't tell that a message changed in other flags
    // only; the client is told all of them with MODIFIED and tries again.
    /// Of a conditional STORE, and the messages that failed it.
    unchanged_since: Option<ModSeq>,
    modified: UidSet,
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
    pub(super) fn start(core: &mut Core, uid: bool, set: &SequenceSet, wish: Wish, flags: FlagSet) -> Step {
        let Wish { action, silent, unchanged_since } = wish;
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
        let left = core.limited(left);
        let asked = left.len();
        let conflicts = UidSet::new();
        Step::Go(Flow::Store(Box::new(Store {
            uid,
            silent,
            change,
            unchanged_since: unchanged_since.map(modseq),
            modified: UidSet::new(),
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

    pub(super) fn progress(&self) -> Option<Progress> {
        let left = (self.left.len() + self.conflicts.len()).min(self.asked);
        Some(Progress { done: self.asked - left, goal: Some(self.asked) })
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
            return finish(self.done(core));
        }
        self.tell = !self.silent || again;
        let unchanged_since = self.unchanged_since.or((self.silent && !again).then_some(at));
        core.ask(SetFlags { account, folder, uids, change: self.change.clone(), unchanged_since })
    }

    fn set(&mut self, core: &mut Core, set: FlagsSet) -> Step {
        let conditional = self.unchanged_since.is_some();
        // RFC 7162 §3.1.3: what failed the condition is left alone and told; what only stood in the way of hiding our own
        // change is changed all the same.
        let conflicts = if conditional { &mut self.modified } else { &mut self.conflicts };
        set.conflicts.ranges().for_each(|range| conflicts.insert_range(range));
        let rows = set.page.rows().iter().filter(|row| conditional || !set.conflicts.contains(row.uid));
        self.found += rows.clone().count() as u64;
        if let Some(view) = &mut core.view {
            view.note_own_flags(rows.clone().map(|row| (row.uid, row.change)), set.upto);
            if core.condstore {
                rows.for_each(|row| view.note_modseq(row.change));
            }
        }
        self.stage = if self.tell || core.condstore { Stage::Rows(set.page, 0) } else { Stage::Next };
        Step::Flush
    }

    fn rows(&mut self, core: &mut Core, page: ItemPage, from: usize) -> Step {
        if !core.has_room() {
            self.stage = Stage::Rows(page, from);
            return Step::Drain;
        }
        let (low_water, uid_only) = (core.config.limits.low_water, core.is_uid_only());
        let Core { view: Some(view), outbox, condstore, .. } = core else { return finish(self.done(core)) };
        let condstore = *condstore;
        let out = outbox.text();
        for (at, row) in page.rows().iter().enumerate().skip(from) {
            let failed = self.modified.contains(row.uid);
            // What others changed and the client need not know yet is told with our own change.
            let unknown = self.unchanged_since.is_some_and(|since| since > view.at());
            if let Some(seq) = view.seq(row.uid) {
                if uid_only {
                    response::uid_fetch_head(row.uid, out);
                } else {
                    response::fetch_head(seq, out);
                }
                // RFC 7162 §3.2.4: whoever is told mod-sequences is told UIDs with them.
                let (flags, uid) = (self.tell || failed || unknown, (self.uid || condstore) && !uid_only);
                write_row(&page, row, view.recent().contains(row.uid), (uid, flags, condstore), out);
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

    fn done(&mut self, core: &Core) -> Reply {
        if let Some(view) = core.view.as_ref().filter(|_| !self.modified.is_empty()) {
            let modified = std::mem::take(&mut self.modified);
            return Reply::ok("Conditional STORE failed for some messages").with_code(|code| {
                code.put_slice(b"MODIFIED ");
                if self.uid {
                    response::set(&modified, code);
                } else {
                    let numbers = modified.iter().filter_map(|uid| view.seq(uid)).map(SeqNum::value);
                    response::set(&numbers.filter_map(Uid::new).collect(), code);
                }
            });
        }
        // RFC 2180 §4.2: some messages were removed meanwhile; the others were changed all the same.
        if self.found < self.asked && !self.uid {
            return Reply::ok("STORE completed, some messages are gone")
                .with_code(|code| code.put_slice(b"EXPUNGEISSUED"));
        }
        Reply::ok("STORE completed")
    }
}

/// `UID n`, `FLAGS (…)` and `MODSEQ (n)`: those wanted.
fn write_row(
    page: &ItemPage,
    row: &ItemRow,
    recent: bool,
    (uid, flags, modseq): (bool, bool, bool),
    out: &mut bytes::BytesMut,
) {
    if uid {
        out.put_slice(b"UID ");
        response::number(u64::from(row.uid.value()), out);
    }
    if flags {
        out.put_slice(if uid { b" FLAGS " } else { b"FLAGS " });
        response::flags(row.flags, page.keywords(row), recent, out);
    }
    if modseq && (uid || flags) {
        response::modseq(row.change, out);
    } else if modseq {
        // RFC 9586 §3.3: the UID stands before.
        out.put_slice(b"MODSEQ (");
        response::number(row.change.value(), out);
        out.put_u8(b')');
    }
}

/// The messages of the view that a set means.
pub(super) fn messages(core: &Core, uid: bool, set: &SequenceSet) -> Result<UidSet, Reply> {
    let Some(view) = &core.view else { return Err(Reply::bad("No mailbox is selected")) };
    // RFC 9051 §9, seq-number: a number without a message is an error of the client.
    view.resolve(uid, set).ok_or_else(|| Reply::bad("No such message"))
}

/// NotFound is the selected mailbox's end here.
pub(super) fn refused(refusal: Refusal) -> Reply {
    match refusal {
        Refusal::NotFound => Reply::no("NONEXISTENT", "The mailbox was deleted"),
        refusal => refusal.into(),
    }
}
