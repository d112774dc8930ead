//! A session's view of its selected mailbox: which message has which number, and what the client does not know yet
//! (RFC 9051 §2.3.1.2, §5.5, §7.5.1; RFC 2180; RFC 7162 §3.2).
//!
//! The view belongs to the session. Other sessions, other protocols and other machines only ever add change records to
//! the store; the session reads them when it may tell them, and only then do numbers move. So whatever the client asks
//! for by number, it gets the message it means.
//!
//! ```text
//!   store ── changes since `at` ──▶ absorb ──▶ gone, added, changed ──▶ tell ──▶ EXPUNGE, EXISTS, RECENT, FETCH
//!                                              (held while numbers are in use)
//! ```
//!
//! Memory: the UID map (at most 8 octets a message, shared with other sessions until it differs) and what is not yet
//! told. Flags are not kept: they are told from the records.

mod context;

use std::sync::Arc;

use bytes::{BufMut, BytesMut};
use mailstore_trait::change::{ChangeKind, ChangePage};
use mailstore_trait::flags::FlagSet;
use mailstore_trait::folder::FolderView;
use mailstore_trait::id::{FolderId, ModSeq, SeqNum, Uid, UidValidity};
use mailstore_trait::uid_set::{UidMap, UidSet};

use crate::command::SequenceSet;
use crate::response;
pub use context::Context;
pub(crate) use context::without;

/// More flag changes than this at once are not gathered: the messages are looked at again instead.
const MAX_CHANGED: usize = 4096;

/// Lines written at once; the session looks at its output's room in between.
const TOLD_AT_ONCE: usize = 1000;

/// The selected mailbox as the client knows it.
#[derive(Debug)]
pub struct View {
    folder: FolderId,
    uid_validity: UidValidity,
    read_only: bool,
    /// What the client was told, removed messages it was not told of included: numbers count in here.
    uids: Arc<UidMap>,
    recent: UidSet,
    /// Changes up to here are in this view.
    at: ModSeq,
    /// Removed, but the client was not told.
    gone: UidSet,
    /// Added, but the client was not told.
    added: UidSet,
    changed: Vec<(Uid, ModSeq, FlagSet)>,
    /// The highest change of any message that this view has read of (RFC 7162 HIGHESTMODSEQ).
    highest: ModSeq,
    /// While removals are held: what the highest change was before the first of them.
    held: Option<ModSeq>,
    /// The highest MODSEQ the client was told.
    told: ModSeq,
    /// Whether the client was told to stay behind what it was told.
    lagging: bool,
    /// What a search saved (RFC 5182 §2.1).
    saved: UidSet,
    /// Searches whose results are kept up to date (RFC 5267 §4.3).
    contexts: Vec<Context>,
    /// Messages that came or changed since the contexts were last looked at. Nothing without contexts.
    touched: UidSet,
    /// The UID the next message gets, at least.
    uid_next: Uid,
    /// Changes of our own that were told, or need not be, with their numbers: their records are passed over.
    own: Vec<(Uid, ModSeq)>,
    /// How far our own commits have come.
    committed: ModSeq,
    /// Pages since `at`, of which the last is not read yet.
    gathering: Gathered,
}

#[derive(Debug, Default)]
struct Gathered {
    removed: UidSet,
    added: UidSet,
    changed: Vec<(Uid, ModSeq, FlagSet)>,
    highest: Option<ModSeq>,
    folder_gone: bool,
}

/// What a page of changes leads to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Absorbed {
    /// Ask for the next page, from this cursor.
    More(ModSeq),
    /// The view knows everything up to the page's end.
    Done,
    /// Too much changed to be gathered: look at the folder again ([`View::refresh`]).
    Refresh,
    /// The folder was deleted.
    FolderGone,
}

/// How far telling may go, and in which words.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct May {
    /// Whether EXPUNGE may be told now.
    pub expunge: bool,
    /// Whether RECENT goes with EXISTS (RFC 3501 §7.3.2).
    pub recent: bool,
    /// Whether FETCH brings MODSEQ (RFC 7162 §3.1).
    pub modseq: bool,
    /// Whether UIDFETCH is told in place of FETCH (RFC 9586 §3.3).
    pub uid_only: bool,
    /// Whether VANISHED is told in place of EXPUNGE (RFC 7162 §3.2.10, RFC 9586 §3.4).
    pub vanished: bool,
}

impl View {
    /// The view of a folder that was just opened.
    #[must_use]
    pub fn new(view: &FolderView, read_only: bool) -> View {
        let mut recent = UidSet::new();
        if let Some(from) = view.recent_from {
            recent.insert_range(from..=Uid::MAX);
        }
        View {
            folder: view.folder.id,
            uid_validity: view.folder.uid_validity,
            read_only,
            recent: view.uids.intersection(&recent),
            uids: Arc::clone(&view.uids),
            at: view.at,
            gone: UidSet::new(),
            added: UidSet::new(),
            changed: Vec::new(),
            highest: view.folder.highest_modseq,
            held: None,
            told: ModSeq::FIRST,
            lagging: false,
            saved: UidSet::new(),
            contexts: Vec::new(),
            touched: UidSet::new(),
            uid_next: view.folder.uid_next,
            own: Vec::new(),
            committed: view.at,
            gathering: Gathered::default(),
        }
    }

    /// The folder.
    #[must_use]
    pub fn folder(&self) -> FolderId {
        self.folder
    }

    /// The generation of its UIDs.
    #[must_use]
    pub fn uid_validity(&self) -> UidValidity {
        self.uid_validity
    }

    /// Whether it was opened with EXAMINE.
    #[must_use]
    pub fn is_read_only(&self) -> bool {
        self.read_only
    }

    /// Numbers and UIDs as the client knows them.
    #[must_use]
    pub fn uids(&self) -> &UidMap {
        &self.uids
    }

    /// A message's number.
    #[must_use]
    pub fn seq(&self, uid: Uid) -> Option<SeqNum> {
        self.uids.seq(uid)
    }

    /// Forgets which messages are recent: nothing is any more (RFC 9051 appendix E).
    pub fn forget_recent(&mut self) {
        self.recent = UidSet::new();
    }

    /// Messages this session was the first to be told of (RFC 3501 §2.3.2).
    #[must_use]
    pub fn recent(&self) -> &UidSet {
        &self.recent
    }

    /// The cursor: every change up to here is in this view.
    #[must_use]
    pub fn at(&self) -> ModSeq {
        self.at
    }

    /// The messages a set of a command means; `None` when a number has no message.
    #[must_use]
    pub fn resolve(&self, uid: bool, set: &SequenceSet) -> Option<UidSet> {
        if set.is_saved() {
            // RFC 5182 §2.1: removed messages leave the result as they leave the mailbox.
            return Some(self.uids.intersection(&self.saved));
        }
        if uid { Some(set.by_uid(&self.uids)) } else { set.by_number(&self.uids) }
    }

    /// Keeps a search's result for `$`.
    pub fn save(&mut self, found: UidSet) {
        self.saved = found;
    }

    /// Keeps a search's results up to date from now on.
    pub fn keep_context(&mut self, context: Context) {
        self.contexts.push(context);
    }

    /// How many searches are kept up to date.
    #[must_use]
    pub fn contexts(&self) -> usize {
        self.contexts.len()
    }

    /// The one at this place.
    #[must_use]
    pub fn context_at(&self, at: usize) -> Option<&Context> {
        self.contexts.get(at)
    }

    /// The one with this tag.
    #[must_use]
    pub fn context(&self, tag: &[u8]) -> Option<&Context> {
        self.contexts.iter().find(|context| context.tag() == tag)
    }

    /// Lets a context tell what it does, with the view as it is.
    pub fn update_context<T>(&mut self, at: usize, update: impl FnOnce(&mut Context, &View) -> T) -> Option<T> {
        let mut contexts = std::mem::take(&mut self.contexts);
        let updated = contexts.get_mut(at).map(|context| update(context, self));
        self.contexts = contexts;
        updated
    }

    /// Ends the updates of a search.
    pub fn end_context(&mut self, tag: &[u8]) {
        self.contexts.retain(|context| context.tag() != tag);
        if self.contexts.is_empty() {
            self.touched = UidSet::new();
        }
    }

    /// Messages whose place in contexts may have changed, once each.
    pub fn take_touched(&mut self) -> UidSet {
        let touched = std::mem::take(&mut self.touched);
        self.present(&self.uids.intersection(&touched))
    }

    fn touch(&mut self, uid: Uid) {
        if !self.contexts.is_empty() {
            self.touched.insert(uid);
        }
    }

    /// The UID the next message gets, as far as this view knows: every message that ever was here had a smaller one.
    #[must_use]
    pub fn uid_next(&self) -> Uid {
        let behind = self.uids.last().map_or(Uid::MIN, |last| last.plus(1));
        self.uid_next.max(behind)
    }

    /// The mod-sequence up to which the client was told everything (RFC 7162 §3.2).
    #[must_use]
    pub fn highest(&self) -> ModSeq {
        self.held.unwrap_or(self.highest)
    }

    /// Notes a MODSEQ that is told. When it is of a change this view has not read of, the view is behind.
    pub fn note_modseq(&mut self, modseq: ModSeq) {
        self.told = self.told.max(modseq);
        self.committed = self.committed.max(modseq);
    }

    /// The mod-sequence to be told beside what else was told: present when the client, going by the highest MODSEQ it was
    /// told, would miss a removal that is held, and once more when that is over (RFC 7162 §3.2, §6).
    pub fn correction(&mut self) -> Option<ModSeq> {
        let behind = self.highest() < self.told;
        let corrects = behind || self.lagging;
        self.lagging = behind;
        corrects.then(|| self.highest())
    }

    /// Those of these messages that are still there, as far as this view knows.
    #[must_use]
    pub fn present(&self, uids: &UidSet) -> UidSet {
        if self.gone.is_empty() {
            return uids.clone();
        }
        let mut present = UidMap::clone(&self.uids);
        present.remove(&self.gone);
        present.intersection(uids)
    }

    /// Those of these UIDs that the client does not take for messages.
    #[must_use]
    pub fn absent(&self, uids: &UidSet) -> UidSet {
        let mut absent = UidSet::new();
        let mut next = Uid::MIN;
        for range in self.uids.ranges() {
            if let Some(last) = Uid::new(range.start().value() - 1) {
                absent.insert_range(next..=last);
            }
            next = range.end().plus(1);
        }
        if self.uids.last() != Some(Uid::MAX) {
            absent.insert_range(next..=Uid::MAX);
        }
        absent.intersection(uids)
    }

    /// Whether some of these messages were removed and the client was not told.
    #[must_use]
    pub fn any_gone(&self, uids: &UidSet) -> bool {
        !self.gone.is_empty() && !self.gone.intersection(uids).is_empty()
    }

    /// Notes what a commit of ours did to flags, so that it is not told twice.
    ///
    /// `rows` are messages and the numbers of their last changes after the commit, which the client was told or does
    /// not want to be told; `upto` is the account's counter after it.
    pub fn note_own_flags(&mut self, rows: impl Iterator<Item = (Uid, ModSeq)>, upto: ModSeq) {
        let before = self.own.len();
        let mut highest = self.highest;
        let (at, watched) = (self.at, !self.contexts.is_empty());
        for (uid, change) in rows {
            highest = highest.max(change);
            if change > at {
                self.own.push((uid, change));
            }
            if watched {
                self.touched.insert(uid);
            }
        }
        let own = (self.own.len() - before) as u64;
        // Numbers have no holes, so when the counter moved by as much as our own changes nobody else changed anything.
        if before == 0 && self.at == self.committed && self.at.value() + own == upto.value() {
            self.at = upto;
            self.highest = highest;
            self.own.clear();
        }
        self.committed = self.committed.max(upto);
    }

    /// Notes messages that a commit of ours removed.
    pub fn note_own_removal(&mut self, uids: &UidSet, upto: ModSeq) {
        self.note_removed(uids);
        self.committed = self.committed.max(upto);
    }

    /// Notes a commit of ours that this view must learn from the store (an APPEND or COPY into the selected mailbox).
    pub fn note_own_commit(&mut self, upto: ModSeq) {
        self.committed = self.committed.max(upto);
    }

    /// Whether there is something to ask or to tell: our own commits, or a hint that the account is further.
    #[must_use]
    pub fn is_behind(&self, hint: Option<ModSeq>) -> bool {
        self.committed > self.at || hint.is_some_and(|hint| hint > self.at)
    }

    /// Takes a page of changes. Nothing of it counts before the last page of a row is there.
    pub fn absorb(&mut self, page: &ChangePage) -> Absorbed {
        for record in &page.records {
            if record.folder != self.folder {
                continue;
            }
            let Some((_, uid)) = record.item else {
                self.gathering.folder_gone |= record.kind.contains(ChangeKind::REMOVED);
                continue;
            };
            self.gathering.highest = self.gathering.highest.max(Some(record.change));
            if record.kind.contains(ChangeKind::REMOVED) {
                self.gathering.removed.insert(uid);
            } else if record.created > self.at && self.uids.seq(uid).is_none() {
                self.gathering.added.insert(uid);
            } else {
                self.gathering.changed.push((uid, record.change, record.flags.clone()));
            }
        }
        if self.gathering.folder_gone {
            return Absorbed::FolderGone;
        }
        if self.gathering.changed.len() > MAX_CHANGED {
            self.gathering = Gathered::default();
            return Absorbed::Refresh;
        }
        if page.more {
            return Absorbed::More(page.upto);
        }
        let gathered = std::mem::take(&mut self.gathering);
        self.own.sort_unstable();
        self.note_removed(&gathered.removed);
        self.note_added(gathered.added.iter());
        for (uid, change, flags) in gathered.changed {
            self.note_changed(uid, change, flags);
        }
        self.highest = self.highest.max(gathered.highest.unwrap_or(ModSeq::FIRST));
        self.at = self.at.max(page.upto);
        self.own.clear();
        Absorbed::Done
    }

    /// Forgets pages that were gathered: the row of questions broke off.
    pub fn forget_gathered(&mut self) {
        self.gathering = Gathered::default();
    }

    /// Compares with the folder opened anew, when changes can't be had one by one. Returns the messages whose flags may
    /// have changed, and since when; pass their rows to [`View::refresh_flags`] and then call [`View::refreshed`].
    pub fn refresh(&mut self, view: &FolderView) -> (UidSet, ModSeq) {
        self.forget_gathered();
        self.own.sort_unstable();
        let now = view.uids.to_set();
        let mut removed = UidMap::clone(&self.uids);
        removed.remove(&now);
        self.note_removed(&removed.to_set());
        self.highest = self.highest.max(view.folder.highest_modseq);
        self.uid_next = self.uid_next.max(view.folder.uid_next);
        let known = self.uids.intersection(&now);
        let last = self.uids.last();
        self.note_added(view.uids.iter().filter(|uid| last.is_none_or(|last| *uid > last)));
        (known, self.at)
    }

    /// Notes the flags of a message after [`View::refresh`].
    pub fn refresh_flags(&mut self, uid: Uid, change: ModSeq, flags: FlagSet) {
        self.note_changed(uid, change, flags);
    }

    /// The view now knows everything up to this change.
    pub fn refreshed(&mut self, at: ModSeq) {
        self.at = self.at.max(at);
        self.own.clear();
    }

    fn note_removed(&mut self, uids: &UidSet) {
        union(&mut self.gone, &self.uids.intersection(uids));
        if !self.gone.is_empty() {
            // Every removal not known before is a later change than all that were.
            self.held.get_or_insert(self.highest);
        }
    }

    fn note_added(&mut self, uids: impl Iterator<Item = Uid>) {
        for uid in uids {
            // RFC 9051 §2.3.1.1: new UIDs are above all that were ever told.
            if self.uids.last().is_none_or(|last| uid > last) {
                Arc::make_mut(&mut self.uids).push(uid);
                self.added.insert(uid);
                self.touch(uid);
            }
        }
    }

    fn note_changed(&mut self, uid: Uid, change: ModSeq, flags: FlagSet) {
        let own = self.own.binary_search(&(uid, change)).is_ok();
        let known = self.uids.seq(uid).is_some() && !self.gone.contains(uid) && !self.added.contains(uid);
        if known && !own {
            self.changed.push((uid, change, flags));
            self.touch(uid);
        }
    }

    /// Whether messages were added that the client was not told of.
    #[must_use]
    pub fn has_added(&self) -> bool {
        !self.added.is_empty()
    }

    /// Notes which messages this session claimed as recent.
    pub fn claim_recent(&mut self, from: Option<Uid>) {
        if let Some(from) = from {
            let mut claimed = UidSet::new();
            claimed.insert_range(from..=Uid::MAX);
            union(&mut self.recent, &self.added.intersection(&claimed));
        }
    }

    /// Whether there is something to tell that only waits for EXPUNGE to be allowed.
    #[must_use]
    pub fn holds_expunge(&self) -> bool {
        !self.gone.is_empty()
    }

    /// Writes what the client does not know yet and may be told, a bounded piece at a time; true when there is more.
    ///
    /// RFC 9051 §7.5.1: EXPUNGE shifts numbers, so it waits while they are in use. EXISTS never shrinks: it is sent for
    /// new messages only, and counts what the client still takes for existing.
    #[must_use]
    pub fn tell(&mut self, may: May, out: &mut BytesMut) -> bool {
        if may.expunge && !self.gone.is_empty() {
            self.tell_expunged(may, out);
            if !self.gone.is_empty() {
                return true;
            }
            self.held = None;
        }
        if !self.added.is_empty() {
            self.added = UidSet::new();
            response::count(u64::from(self.uids.len()), "EXISTS", out);
            if may.recent {
                response::count(self.recent.len(), "RECENT", out);
            }
        }
        let rest = self.changed.split_off(self.changed.len().min(TOLD_AT_ONCE));
        for (uid, change, flags) in std::mem::replace(&mut self.changed, rest) {
            let Some(seq) = self.uids.seq(uid) else { continue };
            if may.uid_only {
                response::uid_fetch_head(uid, out);
            } else {
                response::fetch_head(seq, out);
                out.put_slice(b"UID ");
                response::number(u64::from(uid.value()), out);
                out.put_u8(b' ');
            }
            out.put_slice(b"FLAGS ");
            response::flags(flags.system, flags.keywords().iter(), self.recent.contains(uid), out);
            if may.modseq {
                self.told = self.told.max(change);
                response::modseq(change, out);
            }
            out.put_slice(b")\r\n");
        }
        !self.changed.is_empty()
    }

    /// From the last to the first, so that each number is right when it is told and none has to be counted anew.
    fn tell_expunged(&mut self, may: May, out: &mut BytesMut) {
        let told = self.gone.split_off(self.gone.len().saturating_sub(TOLD_AT_ONCE as u64));
        // RFC 5267 §4.3.4: before their numbers mean something else.
        for at in 0..self.contexts.len() {
            self.update_context(at, |context, view| context.remove(&told, view, out));
        }
        if may.vanished {
            response::vanished(&told, false, out);
        }
        for range in told.ranges().rev().filter(|_| !may.vanished) {
            for uid in (range.start().value()..=range.end().value()).rev().filter_map(Uid::new) {
                if let Some(seq) = self.uids.seq(uid) {
                    response::count(u64::from(seq.value()), "EXPUNGE", out);
                }
            }
        }
        Arc::make_mut(&mut self.uids).remove(&told);
        self.recent = self.uids.intersection(&self.recent);
        self.added = self.uids.intersection(&self.added);
        self.changed.retain(|(uid, ..)| !told.contains(*uid));
    }
}

fn union(set: &mut UidSet, other: &UidSet) {
    other.ranges().for_each(|range| set.insert_range(range));
}

#[cfg(test)]
mod tests;
