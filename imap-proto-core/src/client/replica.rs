//! What a program keeps of a mailbox, held in step with the server (RFC 7162 §6, RFC 4549).
//!
//! A [`Cache`] outlives connections. A [`Replica`] is a cache with the view of one session over it: it is told every
//! [`Event`], says which commands it needs ([`Replica::next_task`]), and after a lost connection catches up by whatever
//! the server has: QRESYNC in one command, CONDSTORE in two, or a list of everything.
//!
//! ```text
//!  Away ─▶ Select ─┬─ QRESYNC ────────────────────────────────▶ Synced ◀─▶ Tail, Stale
//!    ▲             ├─ CONDSTORE ─▶ list UIDs ─▶ changed since ─▶  │         new messages, flags not told
//!    │             └─ neither, or the counts differ ─▶ list all ─▶│
//!    └──────── connection lost, another mailbox selected ─────────┘
//! ```
//!
//! The mark that the next resync begins at ([`Cache::modseq`]) only moves to values the server gave as HIGHESTMODSEQ, and
//! only once everything told before was taken in. The mod-sequence of a message says nothing about others: while the
//! server holds back a removal with a lower one, a client that went by it would never hear of the removal.

mod cache;

use std::collections::{BTreeMap, BTreeSet};

use mailstore_trait::id::{SeqNum, Uid, UidValidity};
use mailstore_trait::uid_set::UidSet;

use super::command::{Fetch, Items, Known, Messages, Select};
use super::response::{Code, Condition, Data, ResponseText, Row};
use super::{Capabilities, Client, Command, Enabled, Event, Mailbox, ModSeq, NotTaken, Task};

use cache::Update;
pub use cache::{Cache, CacheError, Cached};

/// Messages a mailbox may have, unless [`Replica::with_limit`] says otherwise.
const MESSAGES: u32 = 10_000_000;
/// Messages whose flags are asked for at once by their UIDs.
const PAGE: usize = 1000;

/// A cache of one mailbox and the view of one session over it.
#[derive(Clone, Debug)]
pub struct Replica {
    mailbox: Mailbox,
    ticket: u64,
    read_only: bool,
    limit: u32,
    cache: Cache,
    /// What the connection can do, once one is logged in.
    connection: Option<Connection>,
    /// What it said so far.
    offers: Connection,
    view: View,
    /// The step that was sent.
    out: Option<Step>,
    /// Steps that were sent before the mailbox was left: their ends mean nothing any more.
    abandoned: usize,
    failed: Option<ResponseText>,
}

/// What of a connection matters here.
#[derive(Clone, Copy, Debug, Default)]
struct Connection {
    condstore: bool,
    qresync: bool,
}

impl Connection {
    fn offers(&mut self, capabilities: &Capabilities) {
        self.condstore = capabilities.has("CONDSTORE");
    }

    fn enabled(&mut self, enabled: Enabled) {
        self.qresync |= enabled.qresync;
    }
}

#[derive(Clone, Debug)]
enum View {
    Away,
    Selecting(Selecting),
    Selected(Selected),
}

/// What SELECT has told so far.
#[derive(Clone, Debug, Default)]
struct Selecting {
    resync: Resync,
    exists: u32,
    uid_validity: Option<UidValidity>,
    modseq: ModSeq,
    /// What changed while nobody looked; taken in once SELECT has succeeded.
    vanished: UidSet,
    rows: Vec<(Uid, Row)>,
}

/// How SELECT was asked to catch up.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Resync {
    Qresync,
    Condstore,
    #[default]
    Plain,
}

#[derive(Clone, Debug, Default)]
struct Selected {
    exists: u32,
    /// Whether that was told since the list was asked for.
    counted: bool,
    /// Whether the numbers can't be right.
    doubtful: bool,
    /// UIDs by message number; 0 where not told yet.
    numbers: Vec<u32>,
    /// How many of them are 0.
    zeros: usize,
    /// The steps that are needed, next one last.
    steps: Vec<Step>,
    /// Whether mod-sequences are told.
    condstore: bool,
    /// Where the next resync can begin once everything is taken in.
    mark: ModSeq,
    /// Whether the UIDs of new messages were asked for since there were new ones.
    asked: bool,
    /// Messages whose flags have changed to what was not told, and whether they were asked for.
    stale: BTreeMap<Uid, bool>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    Select,
    /// UIDs and flags of everything.
    ListFlags,
    /// UIDs of everything.
    ListUids,
    /// Flags that changed after this.
    Changed(ModSeq),
    /// UIDs and flags of new messages.
    Tail,
    /// Flags that were not told.
    Stale,
}

impl Replica {
    /// A replica that knows nothing yet, or what a cache knows. Its commands run under this ticket, which is to be no
    /// other command's.
    #[must_use]
    pub fn new(mailbox: Mailbox, ticket: u64, cache: Cache) -> Replica {
        let (limit, view) = (MESSAGES, View::Away);
        let (connection, offers) = (None, Connection::default());
        Replica {
            mailbox,
            ticket,
            read_only: false,
            limit,
            cache,
            connection,
            offers,
            view,
            out: None,
            abandoned: 0,
            failed: None,
        }
    }

    /// Begins on a connection that is logged in already. One that is told every event from the greeting on needs no
    /// introduction.
    pub fn join(&mut self, client: &Client) {
        self.offers.offers(client.capabilities());
        self.offers.enabled(client.enabled());
        self.connection = Some(self.offers);
    }

    /// The same without the right to change anything: by EXAMINE.
    #[must_use]
    pub fn read_only(self) -> Replica {
        Replica { read_only: true, ..self }
    }

    /// The same for a mailbox of at most so many messages; one with more fails.
    #[must_use]
    pub fn with_limit(self, messages: u32) -> Replica {
        Replica { limit: messages, ..self }
    }

    /// What is known of the mailbox. It may be kept at any time: what is half known is asked for again.
    #[must_use]
    pub fn cache(&self) -> &Cache {
        &self.cache
    }

    /// The cache by itself.
    #[must_use]
    pub fn into_cache(self) -> Cache {
        self.cache
    }

    /// Whether the mailbox is selected and everything that the server told is taken in.
    #[must_use]
    pub fn is_synced(&self) -> bool {
        match &self.view {
            View::Selected(selected) => self.out.is_none() && selected.next().is_none(),
            _ => false,
        }
    }

    /// Why a step failed. Nothing more is asked for until [`leave`](Replica::leave).
    #[must_use]
    pub fn failure(&self) -> Option<&ResponseText> {
        self.failed.as_ref()
    }

    /// The UID of the message with this number, where it is known.
    #[must_use]
    pub fn uid(&self, seq: SeqNum) -> Option<Uid> {
        let View::Selected(selected) = &self.view else { return None };
        let at = usize::try_from(seq.value()).ok()?.checked_sub(1)?;
        Uid::new(*selected.numbers.get(at)?)
    }

    /// Messages in the mailbox, their UIDs known or not, while it is selected. Nothing while the messages are being listed:
    /// only behind that is it known what the numbers mean.
    #[must_use]
    pub fn exists(&self) -> Option<u32> {
        match &self.view {
            View::Selected(selected) if selected.steps.is_empty() => Some(selected.exists),
            _ => None,
        }
    }

    /// The connection is lost, or the mailbox is no longer of interest to it. The cache stays. Before the events of another
    /// connection are told, this has to be.
    pub fn leave(&mut self) {
        (self.connection, self.offers) = (None, Connection::default());
        (self.view, self.out, self.abandoned, self.failed) = (View::Away, None, 0, None);
    }

    /// The next command that is needed: to select the mailbox, to catch up, to learn of new messages. Ask again after
    /// every event; give the command to the client, or ask no more.
    pub fn next_task(&mut self) -> Option<Task> {
        let connection = self.connection?;
        if self.out.is_some() || self.failed.is_some() {
            return None;
        }
        let step = match &self.view {
            View::Away => Step::Select,
            View::Selecting(_) => return None,
            View::Selected(selected) => selected.next()?,
        };
        let command = self.command(step, connection);
        self.out = Some(step);
        Some(Task::new(self.ticket, command))
    }

    fn command(&mut self, step: Step, connection: Connection) -> Command {
        let View::Selected(selected) = &mut self.view else { return self.select(connection) };
        if matches!(step, Step::ListFlags | Step::ListUids) {
            selected.begin_list();
        }
        let modseq = if selected.condstore { Items::MODSEQ } else { Items::empty() };
        let everything = Messages::From(Uid::MIN);
        let fetch = match step {
            Step::Select => return self.select(connection),
            Step::ListFlags => Fetch::new(everything, Items::FLAGS | modseq),
            Step::ListUids => Fetch::new(everything, Items::UID),
            Step::Changed(since) => {
                let mut fetch = Fetch::new(everything, Items::FLAGS | modseq);
                fetch.changed_since = Some(since);
                fetch
            }
            Step::Tail => {
                selected.asked = true;
                Fetch::new(Messages::From(selected.first_unknown()), Items::FLAGS | modseq)
            }
            Step::Stale => {
                let mut uids = UidSet::new();
                for (uid, asked) in selected.stale.iter_mut().take(PAGE) {
                    *asked = true;
                    uids.insert(*uid);
                }
                Fetch::new(Messages::Uids(uids), Items::FLAGS | modseq)
            }
        };
        Command::Fetch(fetch)
    }

    fn select(&self, connection: Connection) -> Command {
        let mut select =
            if self.read_only { Select::read_only(self.mailbox.clone()) } else { Select::new(self.mailbox.clone()) };
        let known = self.cache.uid_validity.filter(|_| self.cache.modseq > ModSeq(0));
        match known {
            Some(uid_validity) if connection.qresync => {
                let known = Known { uid_validity, modseq: self.cache.modseq, uids: None };
                select.qresync = Some(known);
            }
            _ => select.condstore = connection.condstore,
        }
        Command::Select(select)
    }

    /// Takes in an event. Every event of the connection is to be told, in order.
    pub fn hear(&mut self, event: &Event) {
        match event {
            Event::Selecting { ticket, resync } if *ticket == self.ticket => {
                let resync = match (resync, self.cache.modseq) {
                    (true, _) => Resync::Qresync,
                    (false, modseq) if modseq > ModSeq(0) => Resync::Condstore,
                    _ => Resync::Plain,
                };
                self.view = View::Selecting(Selecting { resync, ..Selecting::default() });
            }
            Event::Selecting { .. } | Event::Unselected => {
                self.view = View::Away;
                // SELECT waits for everything before it, so whatever else is under way ends first.
                if self.out.take_if(|step| *step != Step::Select).is_some() {
                    self.abandoned += 1;
                }
            }
            Event::Capabilities(capabilities) => self.offers.offers(capabilities),
            Event::Ready => self.connection = Some(self.offers),
            Event::Data(Data::Enabled(words)) => {
                let mut enabled = Enabled::default();
                enabled.add(words);
                self.offers.enabled(enabled);
            }
            Event::Data(data) => self.data(data),
            Event::Told { text, .. } => self.code(text.code.as_ref()),
            Event::Done { ticket, text } => {
                self.code(text.code.as_ref());
                if *ticket == self.ticket && !self.was_abandoned() {
                    self.done();
                }
            }
            Event::Failed { ticket, .. } | Event::NotTaken { ticket, .. }
                if *ticket != self.ticket || self.was_abandoned() => {}
            Event::Failed { condition, text, .. } => {
                let step = self.out.take();
                match step {
                    // Some messages could not be read: the others were.
                    Some(Step::Tail) if *condition == Condition::No => {}
                    _ => self.failed = Some(text.clone()),
                }
            }
            // It is asked for again once there is room.
            Event::NotTaken { reason: NotTaken::Full, .. } => self.out = None,
            Event::NotTaken { .. } => {
                self.out = None;
                self.failed = Some(ResponseText::default());
            }
            _ => {}
        }
    }

    /// Whether the step that ended was sent before the mailbox was left.
    fn was_abandoned(&mut self) -> bool {
        let abandoned = self.abandoned > 0;
        self.abandoned = self.abandoned.saturating_sub(1);
        abandoned
    }

    fn code(&mut self, code: Option<&Code>) {
        match (&mut self.view, code) {
            // RFC 7162 §3.2.11: what came before was about the mailbox that was selected before.
            (View::Selecting(selecting), Some(Code::Closed)) => {
                *selecting = Selecting { resync: selecting.resync, ..Selecting::default() };
            }
            (View::Selecting(selecting), Some(Code::UidValidity(value))) => {
                selecting.uid_validity = UidValidity::new(*value);
            }
            (View::Selecting(selecting), Some(Code::HighestModSeq(modseq))) => selecting.modseq = *modseq,
            // RFC 7162 §3.2.7, §3.2.8: what a removal has raised it to.
            (View::Selected(selected), Some(Code::HighestModSeq(modseq))) => {
                selected.mark = selected.mark.max(*modseq);
                self.settle();
            }
            _ => {}
        }
    }

    fn data(&mut self, data: &Data) {
        match (&mut self.view, data) {
            (View::Selecting(selecting), Data::Exists(exists)) => selecting.exists = *exists,
            (View::Selecting(selecting), Data::Vanished { uids, earlier }) => {
                if !earlier {
                    // It went while what went before was being told.
                    let gone = u32::try_from(uids.len()).unwrap_or(u32::MAX);
                    selecting.exists = selecting.exists.saturating_sub(gone);
                }
                // What was told of them before is worth nothing.
                selecting.rows.retain(|(uid, _)| !uids.contains(*uid));
                uids.ranges().for_each(|range| selecting.vanished.insert_range(range));
            }
            (View::Selecting(selecting), Data::Fetch(row)) => {
                if let Some(uid) = row.uid
                    && selecting.rows.len() < self.limit as usize
                {
                    selecting.rows.push((uid, row.clone()));
                }
            }
            (View::Selected(selected), Data::Exists(exists)) => {
                selected.exists(*exists);
                if *exists > self.limit {
                    self.failed = Some(ResponseText::default());
                }
            }
            (View::Selected(selected), Data::Expunge(seq)) => {
                if let Some(uid) = selected.expunge(*seq) {
                    self.cache.rows.remove(&uid);
                    selected.stale.remove(&uid);
                }
            }
            (View::Selected(selected), Data::Vanished { earlier, uids }) => {
                selected.vanish(uids, *earlier);
                self.cache.remove(uids);
            }
            (View::Selected(selected), Data::Fetch(row)) => {
                if let Some(uid) = selected.row(row, self.limit) {
                    selected.note(uid, self.cache.update(uid, row));
                }
            }
            _ => {}
        }
        // A removal may have been all that was missing.
        self.settle();
    }

    /// A step is done.
    fn done(&mut self) {
        let Some(step) = self.out.take() else { return };
        if step == Step::Select {
            return self.selected();
        }
        let View::Selected(selected) = &mut self.view else { return };
        match step {
            Step::ListFlags | Step::ListUids => {
                let listed: BTreeSet<u32> = selected.numbers.iter().copied().collect();
                self.cache.rows.retain(|uid, _| listed.contains(&uid.value()));
                if !selected.counted {
                    selected.exists = u32::try_from(selected.numbers.len()).unwrap_or(u32::MAX);
                }
                if !selected.doubtful {
                    selected.steps.pop();
                }
            }
            Step::Changed(_) => drop(selected.steps.pop()),
            // What the server did not tell of these is gone, and it will say so.
            Step::Stale => selected.stale.retain(|_, asked| !*asked),
            Step::Tail | Step::Select => {}
        }
        self.settle();
    }

    /// SELECT is done: what it told is taken in, and what else is needed is known.
    fn selected(&mut self) {
        let View::Selecting(selecting) = std::mem::replace(&mut self.view, View::Away) else { return };
        let Selecting { resync, exists, uid_validity, modseq, vanished, rows } = selecting;
        let same = uid_validity.is_some() && uid_validity == self.cache.uid_validity;
        if !same {
            // RFC 9051 §2.3.1.1: the UIDs that were known mean nothing any more.
            self.cache = Cache { uid_validity, ..Cache::default() };
        }
        self.cache.remove(&vanished);
        let mut selected = Selected { exists, condstore: modseq > ModSeq(0), mark: modseq, ..Selected::default() };
        for (uid, row) in &rows {
            selected.note(*uid, self.cache.update(*uid, row));
        }
        let whole = u32::try_from(self.cache.rows.len()).is_ok_and(|known| known == exists);
        selected.steps = match resync {
            _ if exists == 0 => {
                self.cache.rows.clear();
                Vec::new()
            }
            Resync::Qresync if same && modseq > ModSeq(0) && whole => {
                selected.numbers = self.cache.rows.keys().map(|uid| uid.value()).collect();
                Vec::new()
            }
            Resync::Condstore if same && modseq > ModSeq(0) => vec![Step::Changed(self.cache.modseq), Step::ListUids],
            // Whatever the counts say that the server did not: everything is looked at again.
            _ => vec![Step::ListFlags],
        };
        if exists > self.limit {
            self.failed = Some(ResponseText::default());
        }
        self.view = View::Selected(selected);
        self.settle();
    }

    /// Moves the mark once everything that was told is taken in.
    fn settle(&mut self) {
        if self.out.is_none()
            && let View::Selected(selected) = &self.view
            && selected.next().is_none()
        {
            // RFC 7162 §3.1.2.2: a mailbox that keeps no mod-sequences has no mark.
            self.cache.modseq = if selected.condstore { self.cache.modseq.max(selected.mark) } else { ModSeq(0) };
        }
    }
}

impl Selected {
    fn next(&self) -> Option<Step> {
        if let Some(step) = self.steps.last() {
            return Some(*step);
        }
        if !self.stale.is_empty() {
            return Some(Step::Stale);
        }
        let unknown = self.exists as usize > self.numbers.len() || self.zeros > 0;
        (unknown && !self.asked).then_some(Step::Tail)
    }

    /// Notes whether a message's flags are to be asked for.
    fn note(&mut self, uid: Uid, update: Update) {
        match update {
            Update::Told => drop(self.stale.remove(&uid)),
            Update::Stale => drop(self.stale.insert(uid, false)),
            Update::Nothing => {}
        }
    }

    /// The smallest UID that a message without a known one can have.
    fn first_unknown(&self) -> Uid {
        let known = self.numbers.iter().take_while(|uid| **uid != 0).last();
        known.and_then(|uid| Uid::new(uid.saturating_add(1))).unwrap_or(Uid::MIN)
    }

    fn exists(&mut self, exists: u32) {
        self.counted = true;
        self.asked = false;
        if (exists as usize) < self.numbers.len() {
            // RFC 9051 §7.4.1: removals are told one by one. A server that just lowers the number leaves one choice.
            self.doubt(Step::ListFlags);
        }
        self.exists = exists;
    }

    /// Takes a message's number away; tells which message that was.
    fn expunge(&mut self, seq: SeqNum) -> Option<Uid> {
        let known = u32::try_from(self.numbers.len()).unwrap_or(u32::MAX);
        let at = usize::try_from(seq.value()).ok()?.checked_sub(1)?;
        if at >= self.numbers.len() {
            self.exists = self.exists.saturating_sub(1).max(known);
            return None;
        }
        self.exists = self.exists.saturating_sub(1);
        let uid = Uid::new(self.numbers.remove(at));
        self.zeros -= usize::from(uid.is_none());
        uid
    }

    /// The numbers can't be right: everything is listed again, behind the list that is under way.
    fn doubt(&mut self, step: Step) {
        self.doubtful = true;
        if self.steps.is_empty() {
            self.steps.push(step);
        }
    }

    fn begin_list(&mut self) {
        self.numbers.clear();
        self.zeros = 0;
        (self.counted, self.doubtful) = (false, false);
    }

    /// Takes messages away by UID. Those that went earlier have no numbers.
    fn vanish(&mut self, uids: &UidSet, earlier: bool) {
        let before = self.numbers.len();
        let last = self.numbers.iter().copied().max().unwrap_or(0);
        self.numbers.retain(|uid| Uid::new(*uid).is_none_or(|uid| !uids.contains(uid)));
        self.stale.retain(|uid, _| !uids.contains(*uid));
        if earlier {
            return;
        }
        let removed = before - self.numbers.len();
        if self.zeros > 0 && uids.len() > removed as u64 {
            // One of those whose UIDs are not known, or none: only a list can tell.
            self.doubt(Step::ListUids);
        }
        self.exists = self.exists.saturating_sub(u32::try_from(removed).unwrap_or(u32::MAX));
        // New messages whose UIDs were never told can go as well.
        let beyond: u64 = uids
            .ranges()
            .filter(|range| range.end().value() > last)
            .map(|range| u64::from(range.end().value() - range.start().value().max(last.saturating_add(1))) + 1)
            .sum();
        let known = u32::try_from(self.numbers.len()).unwrap_or(u32::MAX);
        let unknown = self.exists.saturating_sub(known);
        self.exists -= unknown.min(u32::try_from(beyond).unwrap_or(u32::MAX));
    }

    /// Notes a row's number; tells which message it is about.
    fn row(&mut self, row: &Row, limit: u32) -> Option<Uid> {
        let at = usize::try_from(row.seq.value()).ok()?.checked_sub(1)?;
        let Some(uid) = row.uid else { return Uid::new(*self.numbers.get(at)?) };
        if row.seq.value() > limit {
            return None;
        }
        if at >= self.numbers.len() {
            self.zeros += at + 1 - self.numbers.len();
            self.numbers.resize(at + 1, 0);
        }
        self.exists = self.exists.max(row.seq.value());
        let known = |at: Option<usize>| at.and_then(|at| self.numbers.get(at)).copied().filter(|uid| *uid != 0);
        let fits = known(Some(at)).is_none_or(|here| here == uid.value())
            && known(at.checked_sub(1)).is_none_or(|before| before < uid.value())
            && known(at.checked_add(1)).is_none_or(|behind| behind > uid.value());
        if !fits {
            self.doubt(Step::ListFlags);
        }
        let place = self.numbers.get_mut(at)?;
        self.zeros -= usize::from(*place == 0);
        *place = uid.value();
        Some(uid)
    }
}

#[cfg(test)]
mod tests;
