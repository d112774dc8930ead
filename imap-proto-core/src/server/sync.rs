//! The end of a command: the one place where a view catches up with the store and the client is told
//! (RFC 9051 §5.2, §5.5, §7.5.1).
//!
//! ```text
//!          ┌─ not behind ───────────────────────────────┐
//!  Start ──┤                                            ├─▶ Tell ─▶ tagged answer
//!          └─▶ Changes ─▶ … ─▶ Claim (new mail) ────────┘       │ searches kept up to date
//!                 └─ Gap, or too much ─▶ View ─▶ Items… ─┘       └─▶ Update ─▶ … (RFC 5267 §4.3)
//! ```

use mailstore_trait::change::ChangesOptions;
use mailstore_trait::id::ModSeq;
use mailstore_trait::item::{ItemsOptions, Projection};
use mailstore_trait::session::CloseReason;
use mailstore_trait::uid_set::UidSet;

use super::condstore;
use super::state::{Core, Flow, Step};
use super::update::Update;
use crate::command;
use crate::event::Event;
use crate::request::{Answer, Changes, Items, Refusal, View};
use crate::response::Reply;
use crate::view::{Absorbed, May};

/// Records asked for at once.
const PAGE: usize = 1000;

/// A view that catches up.
#[derive(Debug)]
pub(super) struct Sync {
    stage: Stage,
}

#[derive(Debug)]
enum Stage {
    Start,
    /// Ask for changes after this.
    Changes(ModSeq),
    AwaitChanges,
    /// Look at the folder again.
    Refresh,
    AwaitRefresh,
    /// Look at the flags of these messages; tell those that changed after the second.
    Rows(Rows),
    AwaitRows(Rows),
    /// Claim new messages as recent.
    Claim,
    AwaitClaim,
    Tell,
    /// Look what came or changed for searches that are kept up to date.
    Update(Update),
    AwaitUpdate(Update),
    Done,
}

#[derive(Debug)]
struct Rows {
    left: UidSet,
    since: ModSeq,
    upto: ModSeq,
}

/// What catching up needs.
#[allow(clippy::large_enum_variant, reason = "handed on at once; a box would cost more")]
pub(super) enum Syncing {
    /// Hand this on.
    Step(Step),
    /// Nothing more.
    Done,
}

impl Sync {
    /// Catches up when something is known to have changed.
    pub(super) fn new() -> Sync {
        Sync { stage: Stage::Start }
    }

    /// Catches up in any case.
    pub(super) fn looking(core: &Core) -> Sync {
        match &core.view {
            Some(view) => Sync { stage: Stage::Changes(view.at()) },
            None => Sync { stage: Stage::Done },
        }
    }

    pub(super) fn poll(&mut self, core: &mut Core) -> Syncing {
        loop {
            let (Some(account), Some(view)) = (core.view_account(), core.view.as_ref()) else { return Syncing::Done };
            let folder = view.folder();
            match std::mem::replace(&mut self.stage, Stage::Done) {
                Stage::Start if view.is_behind(core.hint) => self.stage = Stage::Changes(view.at()),
                Stage::Start => self.stage = Stage::Claim,
                Stage::Changes(since) => {
                    self.stage = Stage::AwaitChanges;
                    let options = ChangesOptions::since(since).in_folder(folder).at_most(PAGE);
                    return Syncing::Step(core.ask(Changes { account, options }));
                }
                Stage::Refresh => {
                    self.stage = Stage::AwaitRefresh;
                    return Syncing::Step(core.ask(View { account, folder, claim_recent: false }));
                }
                Stage::Rows(mut rows) => {
                    if !core.has_room() {
                        self.stage = Stage::Rows(rows);
                        return Syncing::Step(Step::Drain);
                    }
                    let rest = rows.left.split_off(PAGE as u64);
                    let uids = std::mem::replace(&mut rows.left, rest);
                    if uids.is_empty() {
                        if let Some(view) = &mut core.view {
                            view.refreshed(rows.upto);
                        }
                        self.stage = Stage::Claim;
                        continue;
                    }
                    self.stage = Stage::AwaitRows(rows);
                    let options = ItemsOptions::new(Projection::empty());
                    return Syncing::Step(core.ask(Items { account, folder, uids, options }));
                }
                // RFC 3501 §2.3.2: recent to the first session that is told of them.
                // RFC 3501 §6.3.2: one that opened the mailbox with EXAMINE is told too, and leaves them recent.
                Stage::Claim if view.has_added() && !core.is_rev2() => {
                    let claim_recent = !view.is_read_only();
                    self.stage = Stage::AwaitClaim;
                    return Syncing::Step(core.ask(View { account, folder, claim_recent }));
                }
                Stage::Claim => self.stage = Stage::Tell,
                Stage::Tell => {
                    if !core.has_room() {
                        self.stage = Stage::Tell;
                        return Syncing::Step(Step::Drain);
                    }
                    let may = May {
                        expunge: may_expunge(core),
                        recent: !core.is_rev2(),
                        modseq: core.condstore,
                        uid_only: core.is_uid_only(),
                        vanished: core.qresync || core.is_uid_only(),
                    };
                    let Some(view) = &mut core.view else { return Syncing::Done };
                    if view.tell(may, core.outbox.text()) {
                        self.stage = Stage::Tell;
                    } else {
                        self.stage = Stage::Update(Update::new(view.take_touched()));
                    }
                }
                Stage::Update(mut update) => match update.poll(core) {
                    Some(step) => {
                        let asks = matches!(step, Step::Ask(_));
                        self.stage = if asks { Stage::AwaitUpdate(update) } else { Stage::Update(update) };
                        return Syncing::Step(step);
                    }
                    None => return Syncing::Done,
                },
                Stage::Done => return Syncing::Done,
                // Polled before its answer came; there is nothing to do but to tell what is known.
                Stage::AwaitChanges
                | Stage::AwaitRefresh
                | Stage::AwaitRows(_)
                | Stage::AwaitClaim
                | Stage::AwaitUpdate(_) => {
                    self.stage = Stage::Tell;
                }
            }
        }
    }

    pub(super) fn answer(&mut self, core: &mut Core, answer: Answer) {
        let stage = match std::mem::replace(&mut self.stage, Stage::Done) {
            Stage::AwaitUpdate(mut update) => {
                update.answer(core, answer);
                self.stage = Stage::Update(update);
                return;
            }
            stage => stage,
        };
        let Some(view) = &mut core.view else { return };
        self.stage = match (stage, answer) {
            (Stage::AwaitChanges, Answer::Changes(Ok(page))) => match view.absorb(&page) {
                Absorbed::More(since) => Stage::Changes(since),
                Absorbed::Refresh => Stage::Refresh,
                Absorbed::FolderGone => return folder_gone(core),
                Absorbed::Done => {
                    core.hint = None;
                    Stage::Claim
                }
            },
            (Stage::AwaitChanges, Answer::Changes(Err(Refusal::Gap))) => Stage::Refresh,
            (Stage::AwaitChanges, Answer::Changes(Err(Refusal::NotFound)))
            | (Stage::AwaitRefresh, Answer::View(Err(Refusal::NotFound))) => return folder_gone(core),
            (Stage::AwaitRefresh, Answer::View(Ok(now))) => {
                if now.folder.uid_validity != view.uid_validity() {
                    return folder_gone(core);
                }
                core.hint = None;
                let (left, since) = view.refresh(&now);
                Stage::Rows(Rows { left, since, upto: now.at })
            }
            (Stage::AwaitRows(mut rows), Answer::Items(Ok(page))) => {
                for row in page.rows().iter().filter(|row| row.change > rows.since) {
                    view.refresh_flags(row.uid, row.change, page.flag_set(row));
                }
                if let Some(next) = page.next {
                    rows.left.insert_range(next..=next);
                }
                Stage::Rows(rows)
            }
            (Stage::AwaitClaim, Answer::View(Ok(claimed))) => {
                view.claim_recent(claimed.recent_from);
                Stage::Tell
            }
            // What can't be had now is had the next time; what is known is told.
            _ => {
                view.forget_gathered();
                Stage::Tell
            }
        };
    }
}

/// RFC 2180 §3.3: numbers of a mailbox that is gone mean nothing any more, and no untagged response says so in
/// IMAP4rev1.
fn folder_gone(core: &mut Core) {
    core.event(Event::Fault { what: "the selected mailbox was deleted" });
    core.view = None;
    core.bye("The selected mailbox was deleted", CloseReason::Unanswered);
}

/// Whether message numbers may shift now.
fn may_expunge(core: &Core) -> bool {
    use crate::command::Name;
    match core.name {
        Name::Expunge | Name::UidExpunge | Name::Move | Name::UidMove | Name::Replace | Name::UidReplace => true,
        name => name.lets_expunge_be_told() && !numbers_ahead(core),
    }
}

/// Whether a command that uses message numbers is buffered behind this one: its client wrote it before it could know
/// of an EXPUNGE told now (RFC 9051 §5.5). A line that is not whole yet counts as one.
fn numbers_ahead(core: &Core) -> bool {
    let holds = core.view.as_ref().is_some_and(crate::view::View::holds_expunge);
    if !holds {
        return false;
    }
    core.inbox.as_slice().split_inclusive(|&octet| octet == b'\n').any(|line| match line {
        b"\r\n" | b"\n" => false,
        line if !line.ends_with(b"\n") => true,
        line => command::head(line).and_then(|head| head.name).is_ok_and(command::Name::uses_numbers),
    })
}

/// A command's last steps: catching up, then its tagged answer.
#[derive(Debug)]
pub(super) struct Finish {
    reply: Reply,
    look: bool,
    /// Whether the answer tells HIGHESTMODSEQ in any case.
    modseq: bool,
    sync: Option<Sync>,
}

impl Finish {
    /// Ends with this answer; catches up when something is known to have changed.
    pub(super) fn new(reply: Reply) -> Finish {
        Finish { reply, look: false, modseq: false, sync: None }
    }

    /// Ends with this answer and looks for changes in any case (NOOP, CHECK).
    pub(super) fn looking(reply: Reply) -> Finish {
        Finish { reply, look: true, modseq: false, sync: None }
    }

    /// Ends with this answer after messages were removed (RFC 7162 §3.2.7, §3.2.9, RFC 8508 §4.5).
    pub(super) fn expunged(reply: Reply) -> Finish {
        Finish { reply, look: false, modseq: true, sync: None }
    }

    pub(super) fn poll(&mut self, core: &mut Core) -> Step {
        let look = self.look;
        let sync = self.sync.get_or_insert_with(|| if look { Sync::looking(core) } else { Sync::new() });
        match sync.poll(core) {
            Syncing::Step(step) => step,
            Syncing::Done => {
                if core.closing.is_none() {
                    condstore::correct(core, &mut self.reply, self.modseq);
                    core.tell_limited(&mut self.reply);
                    core.tagged(&self.reply);
                }
                Step::Go(Flow::Ready)
            }
        }
    }

    pub(super) fn answer(&mut self, core: &mut Core, answer: Answer) {
        if let Some(sync) = &mut self.sync {
            sync.answer(core, answer);
        }
    }
}
