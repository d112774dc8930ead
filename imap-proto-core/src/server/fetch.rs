//! FETCH (RFC 9051 §6.4.5, §7.5.2; RFC 3501 §6.4.5, §7.4.2; RFC 3516; RFC 7162 §3.1.4, §3.2.6).
//!
//! Rows come in pages, small contents with them; larger ones are read in ranges while there is room in the output, and
//! the store's octets are passed on uncopied. What a client does not take is not asked for.
//!
//! ```text
//!   Next ─▶ Scout ─▶ Mark ─┐        \Seen of a chunk in one commit, before its rows are read
//!     └──────────────────▶ Page ─▶ Rows ─┬─▶ item, item, …
//!     ▲                                  ├─▶ ReadBody…   (a section that is not in the page)
//!     └──────────────────────────────────┘
//! ```

mod binary;
mod preview;
pub(super) mod section;

use bytes::{BufMut, BytesMut};
use mailstore_trait::date::DateTime;
use mailstore_trait::flags::{FlagChange, FlagSet, SystemFlags};
use mailstore_trait::id::Uid;
use mailstore_trait::item::{ItemPage, ItemRow, ItemsOptions, Projection};
use mailstore_trait::mime::{PartRef, SkeletonRef};
use mailstore_trait::session::CloseReason;
use mailstore_trait::uid_set::UidSet;

use super::condstore::modseq;
use super::search::{after, part};
use super::since::Since;
use super::state::{Core, Flow, Progress, Step, finish};
use super::store::{messages, refused};
use crate::command::{FetchItem, FetchItems, FetchModifiers, SectionOf, SequenceSet, Spelling};
use crate::event::Event;
use crate::request::{Answer, FlagsSet, Items, ReadBody, Refusal, SetFlags};
use crate::response::{self, Quoted, Reply};
use crate::structure;
use section::{Need, Reading};

/// Rows on their way out.
#[derive(Debug)]
pub(super) struct Fetch {
    uid: bool,
    items: FetchItems<'static>,
    options: ItemsOptions,
    /// What is to be found out first of CHANGEDSINCE.
    since: Option<Since>,
    /// The answer, where it is another command's.
    done: Option<Reply>,
    /// Whether `\Seen` is to be set.
    marks: bool,
    /// Messages behind the current chunk.
    left: UidSet,
    /// Messages of the current chunk that are not read yet.
    chunk: UidSet,
    scouted: bool,
    page: Option<ItemPage>,
    /// Rows as they were when `\Seen` was set.
    set: Option<ItemPage>,
    /// Messages to be marked next, and those that were.
    mark: UidSet,
    marked: UidSet,
    /// The row and the item that come next; the item is `None` before the row's first octet.
    row: usize,
    item: Option<usize>,
    /// Whether an item of the row was written.
    behind: bool,
    reading: Reading,
    asked: u64,
    found: u64,
    /// What to say of a section that could not be had.
    failed: Option<Reply>,
    stage: Stage,
}

#[derive(Debug)]
enum Stage {
    Next,
    AwaitSince,
    AwaitScout,
    AwaitMark,
    AwaitPage,
    Rows,
    AwaitRead,
    Failed(Refusal),
}

impl Fetch {
    pub(super) fn start(
        core: &mut Core,
        uid: bool,
        set: &SequenceSet,
        items: FetchItems<'_>,
        modifiers: FetchModifiers,
    ) -> Step {
        let left = match messages(core, uid, set) {
            // RFC 9394 §3.4: the piece first, then what of it changed.
            Ok(left) => modifiers.partial.map_or_else(|| left.clone(), |range| part(&left, range)),
            Err(reply) => return finish(reply),
        };
        // RFC 9738 §3.1: of a piece it is its size that counts, whatever is there.
        if let Some(range) = modifiers.partial
            && let Err(reply) = core.permits_messages(u64::from(range.first.abs_diff(range.last)) + 1)
        {
            return finish(reply);
        }
        let left = core.limited(left);
        let mut items: FetchItems<'static> = items.into_iter().map(FetchItem::into_owned).collect();
        // RFC 9051 §6.4.9: UID FETCH always answers with the UID. RFC 9586 §3.3: which its response may be named by.
        if uid && !core.is_uid_only() && !items.contains(&FetchItem::Uid) {
            items.insert(0, FetchItem::Uid);
        }
        // RFC 7162 §3.1.4.1: CHANGEDSINCE asks for MODSEQ too.
        if modifiers.changed_since.is_some() && !items.contains(&FetchItem::ModSeq) {
            items.push(FetchItem::ModSeq);
        }
        let since = modifiers.changed_since.map(|since| {
            let scope = if modifiers.vanished { scope(core, set) } else { UidSet::new() };
            Since::new(modseq(since), left.clone(), scope, None)
        });
        Step::Go(Flow::Fetch(Box::new(Fetch::new(core, uid, left, items, since))))
    }

    /// The rest of a SELECT (QRESYNC): as if by `UID FETCH known (FLAGS) (CHANGEDSINCE n VANISHED)` (RFC 7162 §3.2.5.1).
    pub(super) fn resynchronize(core: &mut Core, since: Since, known: UidSet, done: Reply) -> Step {
        let items = FetchItems::from_iter([FetchItem::Uid, FetchItem::Flags, FetchItem::ModSeq]);
        let fetch = Fetch { done: Some(done), ..Fetch::new(core, true, known, items, Some(since)) };
        Step::Go(Flow::Fetch(Box::new(fetch)))
    }

    fn new(core: &Core, uid: bool, left: UidSet, items: FetchItems<'static>, since: Option<Since>) -> Fetch {
        let read_only = core.view.as_ref().is_none_or(crate::view::View::is_read_only);
        let marks = !read_only && items.iter().any(|item| matches!(item, FetchItem::Section(section) if !section.peek));
        let mut options = ItemsOptions::new(projection(&items));
        options.max_rows = core.config.limits.rows;
        options.content_up_to = core.config.limits.inline;
        let asked = left.len();
        Fetch {
            uid,
            items,
            options,
            since,
            done: None,
            marks,
            left,
            chunk: UidSet::new(),
            scouted: false,
            page: None,
            set: None,
            mark: UidSet::new(),
            marked: UidSet::new(),
            row: 0,
            item: None,
            behind: false,
            reading: Reading::default(),
            asked,
            found: 0,
            failed: None,
            stage: Stage::Next,
        }
    }

    pub(super) fn poll(&mut self, core: &mut Core) -> Step {
        match std::mem::replace(&mut self.stage, Stage::Next) {
            Stage::Next => self.next(core),
            Stage::Rows => self.rows(core),
            Stage::Failed(refusal) => {
                // A SELECT (QRESYNC) that can't tell what vanished must not be taken for one that did.
                if self.done.is_some() {
                    core.view = None;
                }
                finish(refused(refusal))
            }
            // Polled before its answer came.
            Stage::AwaitSince | Stage::AwaitScout | Stage::AwaitMark | Stage::AwaitPage | Stage::AwaitRead => {
                core.close(CloseReason::Unanswered);
                Step::Flush
            }
        }
    }

    /// Nothing while a row is half written.
    pub(super) fn progress(&self) -> Option<Progress> {
        let left = (self.left.len() + self.chunk.len()).min(self.asked);
        let between = self.page.is_none() || self.item.is_none();
        between.then(|| Progress { done: self.asked - left, goal: Some(self.asked) })
    }

    pub(super) fn answer(&mut self, core: &mut Core, answer: Answer) {
        self.stage = match (std::mem::replace(&mut self.stage, Stage::Next), answer) {
            (Stage::AwaitSince, answer) => {
                if let Some(since) = &mut self.since {
                    since.answer(core, answer);
                }
                Stage::Next
            }
            (Stage::AwaitScout, Answer::Items(Ok(page))) => {
                self.mark = unseen(&page, &self.marked);
                Stage::Next
            }
            (Stage::AwaitPage, Answer::Items(Ok(page))) => {
                self.found += page.rows().len() as u64;
                self.chunk = after(&self.chunk, page.next);
                if self.marks {
                    self.mark = unseen(&page, &self.marked);
                }
                self.page = Some(page);
                self.row = 0;
                self.item = None;
                Stage::Rows
            }
            (Stage::AwaitMark, Answer::SetFlags(Ok(set))) => {
                self.note_marked(core, set);
                if self.page.is_some() { Stage::Rows } else { Stage::Next }
            }
            // The messages can be read all the same: \Seen stays as it is.
            (Stage::AwaitMark, _) => {
                self.marks = false;
                if self.page.is_some() { Stage::Rows } else { Stage::Next }
            }
            (Stage::AwaitRead, Answer::ReadBody(answer)) => {
                if !self.reading.answered(answer) {
                    // RFC 9051 §4.3: the literal's length was announced; no octets but the message's can fill it.
                    core.event(Event::Fault { what: "a message is shorter than the store said" });
                    core.close(CloseReason::Unanswered);
                }
                Stage::Rows
            }
            (_, Answer::Items(Err(refusal))) => Stage::Failed(refusal),
            _ => Stage::Failed(Refusal::Unavailable),
        };
    }

    fn next(&mut self, core: &mut Core) -> Step {
        let (Some(account), Some(view)) = (core.account(), core.view.as_ref()) else {
            return finish(Reply::bad("No mailbox is selected"));
        };
        let folder = view.folder();
        if let Some(mut since) = self.since.take() {
            if let Some(step) = since.poll(core, account, folder) {
                self.since = Some(since);
                self.stage = Stage::AwaitSince;
                return step;
            }
            if let Err(refusal) = self.since_known(core, since) {
                self.stage = Stage::Failed(refusal);
            }
            return Step::Flush;
        }
        if !self.mark.is_empty() {
            return self.mark(core);
        }
        if !core.has_room() {
            return Step::Drain;
        }
        if self.chunk.is_empty() {
            let rest = self.left.split_off(core.config.limits.batch.max(1) as u64);
            self.chunk = std::mem::replace(&mut self.left, rest);
            // One message is looked at and marked in two questions; for more, flags alone are read first, so that one
            // commit marks them all.
            self.scouted = !self.marks || self.chunk.len() == 1;
        }
        if self.chunk.is_empty() {
            return finish(self.done());
        }
        let uids = self.chunk.clone();
        if !std::mem::replace(&mut self.scouted, true) {
            self.stage = Stage::AwaitScout;
            return core.ask(Items { account, folder, uids, options: ItemsOptions::new(Projection::empty()) });
        }
        self.stage = Stage::AwaitPage;
        core.ask(Items { account, folder, uids, options: self.options })
    }

    fn since_known(&mut self, core: &mut Core, since: Since) -> Result<(), Refusal> {
        let Core { view: Some(view), outbox, .. } = core else { return Ok(()) };
        let (changed, vanished) = since.outcome(view)?;
        // RFC 7162 §3.2.6: before any FETCH.
        response::vanished(&vanished, true, outbox.text());
        self.asked = changed.len();
        self.left = changed;
        Ok(())
    }

    /// Sets `\Seen` of what is to be marked.
    fn mark(&mut self, core: &mut Core) -> Step {
        let uids = std::mem::take(&mut self.mark);
        let (Some(account), Some(view)) = (core.account(), core.view.as_ref()) else {
            return finish(Reply::bad("No mailbox is selected"));
        };
        let folder = view.folder();
        self.stage = Stage::AwaitMark;
        let change = FlagChange::Add(FlagSet::from(SystemFlags::SEEN));
        core.ask(SetFlags { account, folder, uids, change, unchanged_since: None })
    }

    fn note_marked(&mut self, core: &mut Core, set: FlagsSet) {
        if let Some(view) = &mut core.view {
            view.note_own_flags(set.page.rows().iter().map(|row| (row.uid, row.change)), set.upto);
        }
        set.page.rows().iter().for_each(|row| self.marked.insert(row.uid));
        self.set = Some(set.page);
    }

    fn done(&mut self) -> Reply {
        if let Some(done) = self.done.take() {
            return done;
        }
        match self.failed.take() {
            Some(reply) => reply,
            // RFC 2180 §4.1: some messages were removed meanwhile, and the client could not know.
            None if self.found < self.asked && !self.uid => gone(),
            None if self.uid => Reply::ok("UID FETCH completed"),
            None => Reply::ok("FETCH completed"),
        }
    }

    fn rows(&mut self, core: &mut Core) -> Step {
        if !self.mark.is_empty() {
            return self.mark(core);
        }
        let Some(page) = self.page.take() else { return Step::Flush };
        while let Some(row) = page.rows().get(self.row) {
            match self.row(core, &page, row) {
                Ok(()) => {
                    self.row += 1;
                    self.item = None;
                }
                Err(need) => {
                    self.page = Some(page);
                    return self.need(core, need);
                }
            }
        }
        self.set = None;
        self.stage = Stage::Next;
        Step::Flush
    }

    fn need(&mut self, core: &mut Core, need: Need) -> Step {
        match need {
            Need::Room => {
                self.stage = Stage::Rows;
                Step::Drain
            }
            Need::Read(email, range) => {
                let Some(account) = core.account() else { return finish(Reply::bad("Log in first")) };
                let want = usize::try_from(range.end - range.start).unwrap_or(usize::MAX);
                let max = core.config.limits.read.max(1).min(want);
                self.stage = Stage::AwaitRead;
                core.ask(ReadBody { account, email, offset: range.start, max })
            }
        }
    }

    /// Writes a row from where it stopped; what is needed when it stops again.
    fn row(&mut self, core: &mut Core, page: &ItemPage, row: &ItemRow) -> Result<(), Need> {
        let Some(seq) = core.view.as_ref().and_then(|view| view.seq(row.uid)) else { return Ok(()) };
        let recent = core.view.as_ref().is_some_and(|view| view.recent().contains(row.uid));
        let skeleton = page.skeleton(row).and_then(|octets| SkeletonRef::from_bytes(octets).ok());
        if skeleton.is_none() && self.options.projection.contains(Projection::SKELETON) {
            self.failed = Some(refused_section(Refusal::Corrupt));
        }
        let items = std::mem::take(&mut self.items);
        let written = self.items(core, page, row, skeleton, seq, recent, &items);
        self.items = items;
        written
    }

    #[allow(clippy::too_many_arguments, reason = "one row's context, taken apart for the borrow checker")]
    fn items(
        &mut self,
        core: &mut Core,
        page: &ItemPage,
        row: &ItemRow,
        skeleton: Option<SkeletonRef<'_>>,
        seq: mailstore_trait::id::SeqNum,
        recent: bool,
        items: &[FetchItem<'static>],
    ) -> Result<(), Need> {
        let first = match self.item {
            Some(item) => item,
            None => {
                if !core.has_room() {
                    return Err(Need::Room);
                }
                if core.is_uid_only() {
                    response::uid_fetch_head(row.uid, core.out());
                } else {
                    response::fetch_head(seq, core.out());
                }
                self.behind = false;
                0
            }
        };
        for (at, item) in items.iter().enumerate().skip(first) {
            self.item = Some(at);
            match item {
                FetchItem::Section(section) if section.spelling == Spelling::Binary => {
                    self.binary(core, page, row, skeleton, section)?;
                }
                FetchItem::Section(section) => self.section(core, page, row, skeleton, section)?,
                FetchItem::Preview { lazy } => self.preview(core, page, row, *lazy)?,
                FetchItem::BinarySize(part) => self.binary_size(core, page, row, skeleton, part)?,
                item => {
                    self.space(core);
                    let quoted = core.quoted;
                    let out = core.outbox.text();
                    self.simple(page, row, skeleton, (recent, quoted), item, out);
                }
            }
        }
        let marked = self.marked.contains(row.uid);
        if !self.behind {
            // What was asked for could not be had, and a response is never empty.
            let out = core.outbox.text();
            out.put_slice(b"UID ");
            response::number(u64::from(row.uid.value()), out);
        }
        let out = core.outbox.text();
        // RFC 9051 §6.4.5: when \Seen was set by this, the flags are told with it.
        if marked && !items.contains(&FetchItem::Flags) {
            out.put_slice(b" FLAGS ");
            self.flags(page, row, recent, out);
        }
        // RFC 7162 §3.2.4: and then the UID and the mod-sequence too.
        if marked && core.condstore {
            if !items.contains(&FetchItem::Uid) {
                out.put_slice(b" UID ");
                response::number(u64::from(row.uid.value()), out);
            }
            if !items.contains(&FetchItem::ModSeq) {
                response::modseq(self.newest(page, row).1.change, out);
            }
        }
        let told = (marked && core.condstore) || items.contains(&FetchItem::ModSeq);
        if let Some(view) = core.view.as_mut().filter(|_| told) {
            view.note_modseq(self.newest(page, row).1.change);
        }
        let out = core.outbox.text();
        out.put_slice(b")\r\n");
        Ok(())
    }

    /// What parts an item from the one before it.
    fn space(&mut self, core: &mut Core) {
        if std::mem::replace(&mut self.behind, true) {
            core.out().put_u8(b' ');
        }
    }

    fn simple(
        &self,
        page: &ItemPage,
        row: &ItemRow,
        skeleton: Option<SkeletonRef<'_>>,
        (recent, quoted): (bool, Quoted),
        item: &FetchItem<'_>,
        out: &mut BytesMut,
    ) {
        let root = skeleton.map(SkeletonRef::root);
        match item {
            FetchItem::Flags => {
                out.put_slice(b"FLAGS ");
                self.flags(page, row, recent, out);
            }
            FetchItem::Uid => {
                out.put_slice(b"UID ");
                response::number(u64::from(row.uid.value()), out);
            }
            FetchItem::InternalDate => {
                out.put_slice(b"INTERNALDATE \"");
                write_date(row.internal_date, out);
                out.put_u8(b'"');
            }
            FetchItem::Size => {
                out.put_slice(b"RFC822.SIZE ");
                response::number(row.size, out);
            }
            FetchItem::Envelope => {
                out.put_slice(b"ENVELOPE ");
                match root.and_then(|root| root.envelope()) {
                    Some(envelope) => structure::envelope(&envelope, quoted, out),
                    None => out.put_slice(structure::EMPTY_ENVELOPE),
                }
            }
            FetchItem::Body => write_structure(b"BODY ", root.map(|root| (root, quoted)), structure::body, row, out),
            FetchItem::BodyStructure => {
                write_structure(b"BODYSTRUCTURE ", root.map(|root| (root, quoted)), structure::body_structure, row, out)
            }
            FetchItem::ModSeq => {
                out.put_slice(b"MODSEQ (");
                response::number(self.newest(page, row).1.change.value(), out);
                out.put_u8(b')');
            }
            FetchItem::EmailId => write_object(b"EMAILID (M", row.email.0, out),
            FetchItem::ThreadId => write_object(b"THREADID (T", row.thread.0, out),
            FetchItem::SaveDate => {
                // RFC 8514 §4.2.
                out.put_slice(b"SAVEDATE \"");
                write_date(row.save_date.at_offset(0), out);
                out.put_u8(b'"');
            }
            FetchItem::Section(_) | FetchItem::BinarySize(_) | FetchItem::Preview { .. } => {}
        }
    }

    /// The row's flags; of a message just marked, as they were after that.
    fn flags(&self, page: &ItemPage, row: &ItemRow, recent: bool, out: &mut BytesMut) {
        let (page, row) = self.newest(page, row);
        response::flags(row.flags, page.keywords(row), recent, out);
    }

    fn newest<'p>(&'p self, page: &'p ItemPage, row: &'p ItemRow) -> (&'p ItemPage, &'p ItemRow) {
        let set = self.set.as_ref().and_then(|set| {
            let at = set.rows().binary_search_by_key(&row.uid, |row| row.uid).ok()?;
            set.rows().get(at).filter(|newer| newer.change >= row.change).map(|row| (set, row))
        });
        set.unwrap_or((page, row))
    }
}

/// UIDs of which removals are told: `*` is the last that was ever given out.
fn scope(core: &Core, set: &SequenceSet) -> UidSet {
    let last = core.view.as_ref().and_then(|view| Uid::new(view.uid_next().value() - 1));
    last.map_or_else(UidSet::new, |last| set.all_uids(last))
}

/// What rows must bring for these items.
fn projection(items: &[FetchItem<'_>]) -> Projection {
    items.iter().fold(Projection::empty(), |all, item| {
        all | match item {
            FetchItem::Flags | FetchItem::Uid | FetchItem::ModSeq | FetchItem::EmailId | FetchItem::ThreadId => {
                Projection::empty()
            }
            FetchItem::InternalDate | FetchItem::SaveDate | FetchItem::Size => Projection::DATES,
            FetchItem::Envelope | FetchItem::Body | FetchItem::BodyStructure => {
                Projection::SKELETON | Projection::DATES
            }
            FetchItem::Preview { .. } => Projection::SUMMARY | Projection::DATES,
            FetchItem::BinarySize(part) if part.is_empty() => Projection::DATES,
            FetchItem::Section(section)
                if section.section.part.is_empty() && section.section.of == SectionOf::Whole =>
            {
                Projection::DATES | Projection::CONTENT
            }
            FetchItem::Section(_) | FetchItem::BinarySize(_) => {
                Projection::DATES | Projection::SKELETON | Projection::CONTENT
            }
        }
    })
}

/// Messages of a page without `\Seen` that were not marked yet.
fn unseen(page: &ItemPage, marked: &UidSet) -> UidSet {
    let unseen = |row: &&ItemRow| !row.flags.contains(SystemFlags::SEEN) && !marked.contains(row.uid);
    page.rows().iter().filter(unseen).map(|row| row.uid).collect::<UidSet>()
}

/// RFC 5530 §3, EXPUNGEISSUED.
fn gone() -> Reply {
    Reply::no("EXPUNGEISSUED", "Some messages are gone")
}

fn refused_section(refusal: Refusal) -> Reply {
    match refusal {
        Refusal::NotFound => gone(),
        refusal => refusal.into(),
    }
}

fn write_date(date: DateTime, out: &mut BytesMut) {
    use std::fmt::Write as _;
    // Writing into a BytesMut can't fail.
    let _ = write!(out, "{}", date.imap());
}

/// RFC 8474 §5: a letter and the id in hexadecimal digits.
fn write_object(head: &[u8], id: [u8; 16], out: &mut BytesMut) {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    out.put_slice(head);
    for digit in id.iter().flat_map(|octet| [octet >> 4, octet & 15]) {
        out.put_u8(DIGITS.get(usize::from(digit)).copied().unwrap_or(b'0'));
    }
    out.put_u8(b')');
}

fn write_structure(
    name: &[u8],
    root: Option<(PartRef<'_>, Quoted)>,
    write: fn(PartRef<'_>, Quoted, &mut BytesMut),
    row: &ItemRow,
    out: &mut BytesMut,
) {
    out.put_slice(name);
    match root {
        Some((root, quoted)) => write(root, quoted, out),
        None => {
            // Nothing is known of the message's structure: it is octets.
            out.put_slice(b"(\"APPLICATION\" \"OCTET-STREAM\" NIL NIL NIL \"BINARY\" ");
            response::number(row.size, out);
            out.put_u8(b')');
        }
    }
}
