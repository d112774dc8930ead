//! Where a session stands: what all flows share, the flows themselves, and which command is legal when.
//!
//! A *flow* is one command on its way from its last CRLF to its tagged answer. It writes responses into the output and
//! says what it needs next; the [`server`](super) does the asking and the waiting. One flow runs at a time, so commands
//! take effect in the order they came.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::{BufMut, BytesMut};
use mailstore_trait::acl::Rights;
use mailstore_trait::id::{AccountId, FolderId, ModSeq, Uid};
use mailstore_trait::sasl::Context;
use mailstore_trait::session::{Asking, CloseReason, Inbox, Layer, LayerInfo, Outbox, Question};
use smallvec::SmallVec;

use super::ability::Ability;
use super::append::Append;
use super::discard::Discard;
use super::enable::Enabled;
use super::expunge::Expunge;
use super::fetch::Fetch;
use super::idle::Idle;
use super::list::List;
use super::locate::{Locate, Placed};
use super::login::{Login, Sasl};
use super::mailbox::Mailbox;
use super::search::Search;
use super::select::Select;
use super::status::Status;
use super::store::Store;
use super::sync::Finish;
use super::transfer::Transfer;
use crate::capability::{self, Facts};
use crate::command::Name;
use crate::config::Config;
use crate::event::Event;
use crate::frame::{Announced, Framer};
use crate::request::{Abilities, Answer, Answered, Authenticated, Located, Request};
use crate::response::{self, Quoted, Reply};
use crate::view::View;

/// A tag, kept while its command runs.
pub(super) type Tag = SmallVec<[u8; 24]>;

/// Events that wait to be told; more than this many are dropped, oldest first.
const MAX_EVENTS: usize = 64;

/// What every flow works with.
#[derive(Debug)]
pub(super) struct Core {
    pub(super) config: Arc<Config>,
    /// The listener's, from which an account's may differ.
    pub(super) listener: Arc<Config>,
    /// The connection as SASL sees it.
    pub(super) connection: Context,
    /// Whether the stream is compressed.
    pub(super) compressed: bool,
    /// The lowest message the running command was cut to (RFC 9738 §3.1).
    pub(super) limited_to: Option<Uid>,
    /// When the last client logged out.
    pub(super) logged_out: Option<Instant>,
    /// The TLS beneath.
    pub(super) tls: Option<LayerInfo>,
    pub(super) inbox: Inbox,
    pub(super) framer: Framer,
    pub(super) outbox: Outbox,
    pub(super) asking: Asking,
    pub(super) events: VecDeque<Event>,
    /// The running command's.
    pub(super) tag: Tag,
    /// The running command's.
    pub(super) name: Name,
    pub(super) login: Option<Authenticated>,
    pub(super) view: Option<View>,
    /// Whose mailbox is selected, where it is not the client's own.
    pub(super) selected: Option<Located>,
    /// Whose mailbox the running command names, where it is not the client's own.
    pub(super) placed: Option<Placed>,
    /// The account whose hints the driver passes on.
    pub(super) watched: Option<AccountId>,
    /// The client is told MODSEQ with every change of flags (RFC 7162 §3.1).
    pub(super) condstore: bool,
    /// The client is told VANISHED in place of EXPUNGE (RFC 7162 §3.2.3).
    pub(super) qresync: bool,
    /// What may stand inside quotes, and so how mailbox names are written.
    pub(super) quoted: Quoted,
    pub(super) enabled: Enabled,
    /// How far the account is said to be.
    pub(super) hint: Option<ModSeq>,
    /// Octets the driver still holds.
    pub(super) unsent: usize,
    pub(super) now: Option<Instant>,
    /// Commands in a row that could not be read.
    pub(super) bad: u32,
    pub(super) failed_logins: u32,
    pub(super) closing: Option<CloseReason>,
    pub(super) shutting_down: bool,
}

/// What a flow needs next.
#[derive(Debug)]
pub(super) enum Step {
    /// Ask this.
    Ask(Request),
    /// Go on with this flow.
    Go(Flow),
    /// Send what is written, then poll again.
    Flush,
    /// Wait for input, with this much patience.
    Input(Patience),
    /// Wait until the driver has sent more.
    Drain,
    /// Put a layer on the stream.
    Layer(Layer),
}

/// How long to wait for input.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Patience {
    /// For the first octet of a command.
    Command,
    /// For the rest of a line: from its first octet on.
    Line,
    /// For more of a literal: from the last octet on.
    Data,
    /// Until then.
    Until(Instant),
}

/// The command that runs.
#[derive(Debug)]
pub(super) enum Flow {
    /// None: the next one is read.
    Ready,
    Ability(Box<Ability>),
    Append(Box<Append>),
    Discard(Box<Discard>),
    Expunge(Box<Expunge>),
    Fetch(Box<Fetch>),
    Finish(Box<Finish>),
    Idle(Box<Idle>),
    List(Box<List>),
    Locate(Box<Locate>),
    Login(Login),
    Mailbox(Box<Mailbox>),
    Sasl(Sasl),
    Search(Box<Search>),
    Select(Box<Select>),
    Layering(Layer),
    Status(Box<Status>),
    Store(Box<Store>),
    Transfer(Box<Transfer>),
}

impl Flow {
    pub(super) fn poll(&mut self, core: &mut Core) -> Step {
        match self {
            Flow::Ready => super::read::poll(core),
            Flow::Ability(flow) => flow.poll(core),
            Flow::Append(flow) => flow.poll(core),
            Flow::Discard(flow) => flow.poll(core),
            Flow::Expunge(flow) => flow.poll(core),
            Flow::Fetch(flow) => flow.poll(core),
            Flow::Finish(flow) => flow.poll(core),
            Flow::Idle(flow) => flow.poll(core),
            Flow::List(flow) => flow.poll(core),
            Flow::Locate(flow) => flow.poll(core),
            Flow::Login(flow) => flow.poll(core),
            Flow::Mailbox(flow) => flow.poll(core),
            Flow::Sasl(flow) => flow.poll(core),
            Flow::Search(flow) => flow.poll(core),
            Flow::Select(flow) => flow.poll(core),
            Flow::Layering(layer) => Step::Layer(*layer),
            Flow::Status(flow) => flow.poll(core),
            Flow::Store(flow) => flow.poll(core),
            Flow::Transfer(flow) => flow.poll(core),
        }
    }

    /// How far the command has come, when that may be told now: between responses only.
    pub(super) fn progress(&self) -> Option<Progress> {
        match self {
            Flow::Expunge(flow) => Some(flow.progress()),
            Flow::Fetch(flow) => flow.progress(),
            Flow::Store(flow) => flow.progress(),
            Flow::Transfer(flow) => Some(flow.progress()),
            Flow::Ability(_)
            | Flow::Append(_)
            | Flow::Finish(_)
            | Flow::List(_)
            | Flow::Locate(_)
            | Flow::Mailbox(_)
            | Flow::Search(_)
            | Flow::Select(_)
            | Flow::Status(_) => Some(Progress::default()),
            Flow::Ready | Flow::Discard(_) | Flow::Idle(_) | Flow::Login(_) | Flow::Sasl(_) | Flow::Layering(_) => None,
        }
    }

    pub(super) fn answer(&mut self, core: &mut Core, answer: Answer) {
        match self {
            Flow::Ability(flow) => flow.answer(answer),
            Flow::Append(flow) => flow.answer(core, answer),
            Flow::Expunge(flow) => flow.answer(core, answer),
            Flow::Fetch(flow) => flow.answer(core, answer),
            Flow::Finish(flow) => flow.answer(core, answer),
            Flow::Idle(flow) => flow.answer(core, answer),
            Flow::List(flow) => flow.answer(answer),
            Flow::Locate(flow) => flow.answer(answer),
            Flow::Login(flow) => flow.answer(answer),
            Flow::Mailbox(flow) => flow.answer(answer),
            Flow::Sasl(flow) => flow.answer(answer),
            Flow::Search(flow) => flow.answer(answer),
            Flow::Select(flow) => flow.answer(answer),
            Flow::Status(flow) => flow.answer(answer),
            Flow::Store(flow) => flow.answer(core, answer),
            Flow::Transfer(flow) => flow.answer(core, answer),
            // Nothing was asked: ids make sure that no answer comes here.
            Flow::Ready | Flow::Discard(_) | Flow::Layering(_) => {}
        }
    }
}

/// Messages done, and of how many; without a goal only that work goes on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Progress {
    pub(super) done: u64,
    pub(super) goal: Option<u64>,
}

/// RFC 9051 §3: in which states a command is legal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Phase {
    Any,
    NotAuthenticated,
    Authenticated,
    Selected,
}

/// RFC 9051 §6: one row for each command.
pub(super) fn phase_of(name: Name) -> Phase {
    match name {
        Name::Capability | Name::Noop | Name::Logout | Name::Id => Phase::Any,
        Name::StartTls | Name::Authenticate | Name::Login => Phase::NotAuthenticated,
        Name::Append
        | Name::Compress
        | Name::Create
        | Name::Delete
        | Name::DeleteAcl
        | Name::Enable
        | Name::Examine
        | Name::GetAcl
        | Name::GetMetadata
        | Name::GetQuota
        | Name::GetQuotaRoot
        | Name::Idle
        | Name::List
        | Name::ListRights
        | Name::Lsub
        | Name::MyRights
        | Name::Namespace
        | Name::Rename
        | Name::Select
        | Name::SetAcl
        | Name::SetMetadata
        | Name::SetQuota
        | Name::Status
        | Name::Subscribe
        | Name::Unauthenticate
        | Name::Unsubscribe
        | Name::Xlist => Phase::Authenticated,
        Name::Check
        | Name::Close
        | Name::Copy
        | Name::Expunge
        | Name::Fetch
        | Name::Move
        | Name::Replace
        | Name::UidBatches
        | Name::UidReplace
        | Name::CancelUpdate
        | Name::Search
        | Name::Sort
        | Name::Store
        | Name::Thread
        | Name::UidCopy
        | Name::UidExpunge
        | Name::UidFetch
        | Name::UidMove
        | Name::UidSearch
        | Name::UidSort
        | Name::UidStore
        | Name::UidThread
        | Name::Unselect => Phase::Selected,
    }
}

impl Core {
    /// Whether a command is legal now; the answer when it is not.
    pub(super) fn permits(&self, name: Name) -> Result<(), Reply> {
        if capability::of_command(name).is_some_and(|capability| self.config.disabled.contains(capability)) {
            return Err(Reply::bad("Unknown command"));
        }
        // RFC 8437 §3: BAD where it is not offered. A compressed stream has no way back.
        let unknown = match name {
            Name::Compress => !self.config.compress,
            Name::Unauthenticate => !self.config.unauthenticate || self.compressed,
            _ => false,
        };
        if unknown {
            return Err(Reply::bad("Unknown command"));
        }
        if name.is_by_number() && self.is_uid_only() {
            return Err(super::enable::uid_required());
        }
        if self.login.is_some() && !self.abilities().contains(capability::ability_of(name)) {
            return Err(Reply::bad("Unknown command"));
        }
        match phase_of(name) {
            Phase::NotAuthenticated if self.login.is_some() => Err(Reply::bad("Already logged in")),
            Phase::Authenticated | Phase::Selected if self.login.is_none() => Err(Reply::bad("Log in first")),
            Phase::Selected if self.view.is_none() => Err(Reply::bad("No mailbox is selected")),
            _ => Ok(()),
        }
    }

    /// The buffer responses are written into.
    pub(super) fn out(&mut self) -> &mut BytesMut {
        self.outbox.text()
    }

    /// An untagged line.
    pub(super) fn untagged(&mut self, line: &str) {
        let out = self.out();
        out.put_slice(b"* ");
        out.put_slice(line.as_bytes());
        out.put_slice(b"\r\n");
    }

    /// A continuation request.
    pub(super) fn go_ahead(&mut self, text: &[u8]) {
        let out = self.out();
        out.put_slice(b"+ ");
        out.put_slice(text);
        out.put_slice(b"\r\n");
    }

    /// RFC 9585 §4: that the running command is still at work, and how far.
    pub(super) fn in_progress(&mut self, progress: Progress) {
        let Core { outbox, tag, .. } = self;
        let out = outbox.text();
        out.put_slice(b"* OK [INPROGRESS (");
        response::string(tag, Quoted::Ascii, out);
        match progress.goal {
            Some(goal) => {
                out.put_u8(b' ');
                response::number(progress.done, out);
                out.put_u8(b' ');
                response::number(goal, out);
            }
            None => out.put_slice(b" NIL NIL"),
        }
        out.put_slice(b")] Still at work\r\n");
    }

    /// The running command's answer.
    pub(super) fn tagged(&mut self, reply: &Reply) {
        let out = self.outbox.text();
        reply.write(&self.tag, out);
    }

    /// Says goodbye and ends.
    pub(super) fn bye(&mut self, text: &str, reason: CloseReason) {
        let out = self.out();
        out.put_slice(b"* BYE ");
        out.put_slice(text.as_bytes());
        out.put_slice(b"\r\n");
        self.close(reason);
    }

    /// Ends; the first reason stays.
    pub(super) fn close(&mut self, reason: CloseReason) {
        self.closing.get_or_insert(reason);
    }

    pub(super) fn event(&mut self, event: Event) {
        if self.events.len() >= MAX_EVENTS {
            self.events.pop_front();
        }
        self.events.push_back(event);
    }

    pub(super) fn ask<Q: Question<Request = Request, Answered = Answered>>(&mut self, query: Q) -> Step {
        Step::Ask(self.asking.ask(query))
    }

    /// Whose mail the running command works on: the owner's of the mailbox it names, or of the selected one when it names
    /// none. Flows that ask run only after login.
    pub(super) fn account(&self) -> Option<AccountId> {
        let names_none = phase_of(self.name) == Phase::Selected && !names_mailbox(self.name);
        match &self.placed {
            _ if names_none => self.view_account(),
            Some(placed) => Some(placed.located.account),
            None => self.own_account(),
        }
    }

    /// Who is logged in.
    pub(super) fn own_account(&self) -> Option<AccountId> {
        self.login.as_ref().map(|login| login.account)
    }

    /// Whose mailbox is selected.
    pub(super) fn view_account(&self) -> Option<AccountId> {
        self.selected.as_ref().map(|located| located.account).or_else(|| self.own_account())
    }

    /// Whether the selected mailbox is this folder of the account the running command works on.
    pub(super) fn views(&self, folder: FolderId) -> bool {
        self.view.as_ref().is_some_and(|view| view.folder() == folder) && self.account() == self.view_account()
    }

    /// The rights to a folder of the account the running command works on.
    pub(super) fn rights(&self, folder: FolderId) -> Rights {
        self.placed.as_ref().map_or(Rights::all(), |placed| placed.located.allowed.rights(folder))
    }

    /// The rights to the selected mailbox, as they were when it was opened.
    pub(super) fn view_rights(&self) -> Rights {
        match (&self.selected, &self.view) {
            (Some(located), Some(view)) => located.allowed.rights(view.folder()),
            _ => Rights::all(),
        }
    }

    /// Has the driver pass on hints of this account.
    pub(super) fn watch(&mut self, account: AccountId) {
        let before = self.watched.replace(account).or_else(|| self.own_account());
        if before != Some(account) {
            self.hint = None;
            self.event(Event::Watch { account });
        }
    }

    /// What there is for this client beside mail.
    pub(super) fn abilities(&self) -> Abilities {
        self.login.as_ref().map_or(Abilities::empty(), |login| login.abilities)
    }

    /// Whether pages and ranges may be asked for.
    pub(super) fn has_room(&self) -> bool {
        self.unsent + self.outbox.len() < self.config.limits.low_water
    }

    /// Whether IMAP4rev2 is spoken (RFC 9051 appendix A).
    pub(super) fn is_rev2(&self) -> bool {
        self.enabled.contains(Enabled::REV2)
    }

    /// Whether messages are told by UID and never by number (RFC 9586 §3).
    pub(super) fn is_uid_only(&self) -> bool {
        self.enabled.contains(Enabled::UID_ONLY)
    }

    /// Whether a literal may come as it was announced (RFC 7888 §3, §5).
    ///
    /// # Errors
    /// The answer to one that may not.
    pub(super) fn permits_literal(&self, announced: &Announced) -> Result<(), Reply> {
        // RFC 7888 §5: with LITERAL- up to this many octets come without waiting.
        const SMALL: u64 = 4096;
        let small = || announced.octets.is_some_and(|octets| octets <= SMALL) && self.config.offers(&["LITERAL-"]);
        if announced.waits || self.config.offers(&["LITERAL+"]) || small() {
            return Ok(());
        }
        Err(Reply::bad("Such a literal has to wait").with_code(|code| code.put_slice(b"TOOBIG")))
    }

    /// The largest message that may be appended.
    pub(super) fn max_message(&self) -> u64 {
        let store = self.login.as_ref().map_or(u64::MAX, |login| login.max_message);
        self.config.limits.message.min(store)
    }

    pub(super) fn write_capabilities(&self, out: &mut BytesMut) {
        let logged_in = self.login.is_some();
        let max_message = logged_in.then(|| self.max_message());
        let Core { config, connection, compressed, .. } = self;
        let abilities = self.abilities();
        let facts = Facts { config, connection, compressed: *compressed, logged_in, max_message, abilities };
        out.put_slice(b"CAPABILITY ");
        capability::write(&facts, out);
    }

    /// Octets a command's lines may have now.
    pub(super) fn max_line(&self) -> usize {
        let limits = &self.config.limits;
        if self.login.is_some() { limits.line } else { limits.line_before_login }
    }

    /// Octets a command's literals may have now, together.
    pub(super) fn max_literals(&self) -> usize {
        let limits = &self.config.limits;
        if self.login.is_some() { limits.literals } else { limits.literals_before_login }
    }

    /// Sets the window to what is let in now.
    pub(super) fn set_window(&mut self, announced: usize) {
        let window = self.max_line().max(self.config.limits.sasl_line) + announced;
        self.inbox.set_window(window);
    }

    /// This long from now.
    pub(super) fn after(&self, duration: Duration) -> Option<Instant> {
        self.now.and_then(|now| now.checked_add(duration))
    }
}

/// Whether a command of the selected state names a mailbox, too.
fn names_mailbox(name: Name) -> bool {
    matches!(name, Name::Copy | Name::Move | Name::Replace | Name::UidCopy | Name::UidMove | Name::UidReplace)
}

/// The flow that ends a command with this answer.
pub(super) fn finish(reply: Reply) -> Step {
    Step::Go(Flow::Finish(Box::new(Finish::new(reply))))
}
