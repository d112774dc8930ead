//! The server's side of an IMAP connection (RFC 9051, RFC 3501).
//!
//! A [`Server`] reads commands, runs them one after the other and answers them; what it can't know it asks
//! ([`Request`]). It keeps the rules of [`mailstore_trait::session`].
//!
//! ```text
//!                 ┌────────────────────── STARTTLS ──────────────────────┐
//!                 ▼                                                      │
//!  greeting ─▶ not authenticated ── LOGIN, AUTHENTICATE ─▶ authenticated ⇄ selected
//!                 │                                            │            │
//!                 └──────────────── LOGOUT, limits, deadlines ─┴────────────┴─▶ BYE
//! ```
//!
//! | file | what it does |
//! |---|---|
//! | `state` | what flows share, the flows, which command is legal when |
//! | `read` | finds commands, lets literals in, starts flows |
//! | `sync` | catches up with the store and tells the client, before each tagged answer |
//! | the others | one family of commands each |

mod ability;
mod append;
mod condstore;
mod discard;
mod enable;
mod expunge;
mod fetch;
mod idle;
mod layer;
mod list;
mod locate;
mod login;
mod mailbox;
mod message_limit;
mod names;
mod read;
mod search;
mod select;
mod since;
mod state;
mod status;
mod store;
mod sync;
mod transfer;
mod uid_batches;
mod update;

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::BytesMut;
use bytes::buf::Limit;
use mailstore_trait::sasl::Context;
use mailstore_trait::session::{
    Asking, CloseReason, Inbox, Layer, LayerError, LayerInfo, Outbox, Output, Peer, Session, Wait,
};

use crate::command::Name;
use crate::config::Config;
use crate::event::{Event, News};
use crate::frame::Framer;
use crate::request::{Answered, Request};
use crate::response::Quoted;
use enable::Enabled;
use state::{Core, Flow, Patience, Step, Tag};

/// An IMAP server's session with one client. Drive it as [`Session`] says.
///
/// ```
/// use std::sync::Arc;
/// use std::time::Instant;
///
/// use imap_proto_core::{Config, Server};
/// use mailstore_trait::session::{Output, Peer, Session};
///
/// let peer = Peer::new("127.0.0.1:40000".parse()?);
/// let mut server = Server::new(Arc::new(Config::default()), &peer);
/// let Output::Send(greeting) = server.poll_output(Instant::now(), 0) else { panic!() };
/// assert!(greeting.starts_with(b"* OK [CAPABILITY IMAP4rev1"));
/// server.handle_input(b"a LOGOUT\r\n");
/// let Output::Send(answer) = server.poll_output(Instant::now(), 0) else { panic!() };
/// assert_eq!(answer, &b"* BYE Logging out\r\na OK LOGOUT completed\r\n"[..]);
/// # Ok::<(), std::net::AddrParseError>(())
/// ```
#[derive(Debug)]
pub struct Server {
    core: Core,
    flow: Flow,
    clock: Clock,
    greeted: bool,
    layering: Option<Layer>,
}

/// Since when the session waits for what.
#[derive(Debug, Default)]
struct Clock {
    /// The first poll.
    started: Option<Instant>,
    /// The last octet that came in, and how many were buffered then.
    input: Option<Instant>,
    buffered: usize,
    /// The first octet of the command that is coming in.
    line: Option<Instant>,
    /// The end of the last command.
    command: Option<Instant>,
    /// The first question of the command that runs, or the last report of it.
    working: Option<Instant>,
    /// When the question that is out was asked, and whether it is a commit.
    asked: Option<(Instant, bool)>,
    /// When the driver last sent something, and what it held then.
    drained: Option<Instant>,
    unsent: usize,
}

/// Commits have this many times as long as other questions: giving one up would leave its outcome unknown.
const COMMIT_PATIENCE: u32 = 10;

impl Server {
    /// A session with a client that just connected. It greets on its first poll.
    #[must_use]
    pub fn new(config: Arc<Config>, peer: &Peer) -> Server {
        let mut connection = peer.tls.as_ref().map_or_else(Context::cleartext, Context::over_tls);
        connection.allow_cleartext = config.allow_cleartext;
        let window = config.limits.line_before_login.max(config.limits.sasl_line);
        let mut core = Core {
            connection,
            listener: Arc::clone(&config),
            compressed: false,
            logged_out: None,
            limited_to: None,
            tls: peer.tls.clone(),
            inbox: Inbox::new(window),
            framer: Framer::new(),
            outbox: Outbox::default(),
            asking: Asking::default(),
            events: VecDeque::new(),
            tag: Tag::new(),
            name: Name::Noop,
            login: None,
            view: None,
            selected: None,
            placed: None,
            watched: None,
            condstore: false,
            qresync: false,
            quoted: Quoted::Ascii,
            enabled: Enabled::empty(),
            hint: None,
            unsent: 0,
            now: None,
            bad: 0,
            failed_logins: 0,
            closing: None,
            shutting_down: false,
            config,
        };
        enable::begin(&mut core);
        Server { core, flow: Flow::Ready, clock: Clock::default(), greeted: false, layering: None }
    }

    fn note_time(&mut self, now: Instant, unsent: usize) {
        let clock = &mut self.clock;
        self.core.now = Some(now);
        self.core.unsent = unsent;
        clock.started.get_or_insert(now);
        clock.command.get_or_insert(now);
        let buffered = self.core.inbox.len();
        if buffered > clock.buffered || clock.input.is_none() {
            clock.input = Some(now);
        }
        clock.buffered = buffered;
        if buffered == 0 {
            clock.line = None;
        } else {
            clock.line.get_or_insert(now);
        }
        if unsent < clock.unsent || unsent == 0 || clock.drained.is_none() {
            clock.drained = Some(now);
        }
        clock.unsent = unsent;
    }

    /// Ends when the question that is out, or the peer's draining, has taken too long.
    fn check_deadlines(&mut self, now: Instant) {
        if self.core.closing.is_some() {
            return;
        }
        if self.core.asking.is_out() && self.answer_deadline().is_some_and(|at| now >= at) {
            self.core.asking.forget();
            self.core.event(Event::Fault { what: "a question was not answered in time" });
            self.core.bye("The store does not answer", CloseReason::Unanswered);
        }
        if self.clock.unsent > 0 && self.drain_deadline().is_some_and(|at| now >= at) {
            self.core.close(CloseReason::Stalled);
        }
    }

    /// Says that a command takes long. RFC 9585 §4: so that a client does not give it up.
    fn tell_progress(&mut self, now: Instant) {
        if self.progress_deadline().is_some_and(|at| now >= at)
            && let Some(progress) = self.flow.progress()
        {
            self.clock.working = Some(now);
            self.core.in_progress(progress);
        }
    }

    /// When a command that runs is to be reported of; nothing while it can't be.
    fn progress_deadline(&self) -> Option<Instant> {
        let offered = self.core.login.is_some() && self.core.config.offers(&["INPROGRESS"]);
        let working = self.clock.working.filter(|_| offered && self.core.closing.is_none())?;
        // What a peer does not take is not added to.
        (self.core.has_room() && self.flow.progress().is_some())
            .then(|| working.checked_add(self.core.config.limits.progress))?
    }

    fn answer_deadline(&self) -> Option<Instant> {
        let (asked, commit) = self.clock.asked?;
        let answer = self.core.config.limits.answer;
        asked.checked_add(if commit { answer.saturating_mul(COMMIT_PATIENCE) } else { answer })
    }

    fn drain_deadline(&self) -> Option<Instant> {
        self.clock.drained?.checked_add(self.core.config.limits.stall)
    }

    /// Until when input is waited for.
    fn input_deadline(&self, patience: Patience) -> Option<Instant> {
        let limits = &self.core.config.limits;
        let clock = &self.clock;
        let within = |since: Option<Instant>, long: Duration| since.and_then(|since| since.checked_add(long));
        let deadline = match patience {
            Patience::Command => within(clock.command.max(clock.input), limits.idle),
            Patience::Line => within(clock.line.or(clock.input), limits.stall),
            Patience::Data => within(clock.input, limits.stall),
            Patience::Until(at) => return Some(at),
        };
        if self.core.login.is_some() {
            return deadline;
        }
        // Before login one deadline holds for everything.
        let login = within(clock.started.max(self.core.logged_out), limits.login);
        match (deadline, login) {
            (Some(deadline), Some(login)) => Some(deadline.min(login)),
            (deadline, login) => deadline.or(login),
        }
    }

    fn wait(&self, deadline: Option<Instant>, output: bool) -> Wait {
        let draining = if self.clock.unsent > 0 { self.drain_deadline() } else { None };
        let deadline = match (deadline, draining) {
            (Some(a), Some(b)) => Some(a.min(b)),
            (a, b) => a.or(b),
        };
        Wait { input: self.core.inbox.is_readable() && self.layering.is_none(), output, deadline }
    }

    /// What to do when there is nothing left to tell and to send.
    fn next(&mut self, now: Instant) -> Result<Output<Request, Event>, Wait> {
        if let Some(reason) = self.core.closing {
            return Ok(Output::Close(reason));
        }
        if self.core.asking.is_out() {
            let deadline = [self.answer_deadline(), self.progress_deadline()].into_iter().flatten().min();
            return Err(self.wait(deadline, false));
        }
        if self.layering.is_some() || self.core.outbox.len() >= self.core.config.limits.low_water {
            return Err(self.wait(None, false));
        }
        self.run(now)
    }

    /// Polls the flow until it needs something from outside.
    fn run(&mut self, now: Instant) -> Result<Output<Request, Event>, Wait> {
        loop {
            if let Some(reason) = self.core.closing {
                return Ok(Output::Close(reason));
            }
            let was_ready = matches!(self.flow, Flow::Ready);
            match self.flow.poll(&mut self.core) {
                Step::Ask(request) => {
                    self.clock.asked = Some((now, is_commit(&request)));
                    self.clock.working.get_or_insert(now);
                    return Ok(Output::Request(request));
                }
                Step::Go(flow) => {
                    if matches!(flow, Flow::Ready) && !was_ready {
                        self.clock.command = Some(now);
                        self.clock.working = None;
                    }
                    self.clock.buffered = self.core.inbox.len();
                    self.clock.line = (self.clock.buffered > 0).then_some(now);
                    self.flow = flow;
                }
                Step::Flush => {}
                Step::Layer(layer) => return Ok(Output::Layer(layer)),
                Step::Drain => return Err(self.wait(None, true)),
                Step::Input(patience) => {
                    let deadline = self.input_deadline(patience);
                    let over = !matches!(patience, Patience::Until(_)) && deadline.is_some_and(|at| now >= at);
                    if !over {
                        return Err(self.wait(deadline, false));
                    }
                    self.core.bye("Waited for too long", CloseReason::Timeout);
                }
            }
            if self.core.outbox.len() >= self.core.config.limits.low_water {
                return Err(self.wait(None, false));
            }
        }
    }
}

/// Whether giving the question up would leave its outcome unknown.
fn is_commit(request: &Request) -> bool {
    matches!(
        request,
        Request::SetFlags(_)
            | Request::Copy(_)
            | Request::Move(_)
            | Request::Expunge(_)
            | Request::AppendCommit(_)
            | Request::CreateFolder(_)
            | Request::RenameFolder(_)
            | Request::RenameInbox(_)
            | Request::DeleteFolder(_)
            | Request::Subscribe(_)
            | Request::SetQuota(_)
            | Request::ChangeAcl(_)
            | Request::SetMetadata(_)
    )
}

impl Session for Server {
    type Request = Request;
    type Answered = Answered;
    type Event = Event;
    type News = News;

    fn input_buf(&mut self) -> Limit<&mut BytesMut> {
        self.core.inbox.limit()
    }

    fn handle_eof(&mut self) {
        self.core.inbox.close();
    }

    fn resume(&mut self, answered: Answered) {
        if self.core.asking.accept(answered.id) {
            self.clock.asked = None;
            self.flow.answer(&mut self.core, answered.answer);
        }
    }

    fn layered(&mut self, done: Result<LayerInfo, LayerError>) {
        if let Some(layer) = self.layering.take() {
            self.flow = layer::layered(&mut self.core, layer, done);
        }
    }

    fn notify(&mut self, news: News) {
        match news {
            News::Hint { account, upto } if self.core.view_account() == Some(account) => {
                self.core.hint = self.core.hint.max(Some(upto));
            }
            News::Hint { .. } => {}
        }
    }

    fn shutdown(&mut self) {
        self.core.shutting_down = true;
    }

    fn poll_output(&mut self, now: Instant, unsent: usize) -> Output<Request, Event> {
        self.note_time(now, unsent);
        if !self.greeted {
            self.greeted = true;
            login::write_greeting(&mut self.core);
        }
        self.check_deadlines(now);
        self.tell_progress(now);
        let next = self.next(now);
        // A question does not wait for what was said before: replies of commands behind each other leave together.
        if let Ok(Output::Request(_)) = next {
            return next.unwrap_or_else(Output::Wait);
        }
        if let Some(event) = self.core.events.pop_front() {
            return Output::Event(event);
        }
        if let Some(octets) = self.core.outbox.take() {
            return Output::Send(octets);
        }
        if let Ok(Output::Layer(layer)) = next {
            self.layering = Some(layer);
        }
        next.unwrap_or_else(Output::Wait)
    }
}
