//! The client's session: for programs that read mail, that copy it from other servers, and to test servers with.
//!
//! RFC 9051 and RFC 3501 whole, as clients see them: §2.2, §3, §5.5, §6 and §7, with SASL-IR, LITERAL+ and LITERAL-,
//! ENABLE, ID, IDLE, CONDSTORE and QRESYNC, UIDPLUS, MOVE, ESEARCH, LIST-EXTENDED and LIST-STATUS.
//!
//! ```text
//!  greeting ─▶ CAPABILITY ─▶ STARTTLS ─▶ TLS ─▶ CAPABILITY ─▶ AUTHENTICATE, or LOGIN ─▶ CAPABILITY ─▶ ID ─▶ ENABLE ─▶ Ready
//!                  │                                                 │                                         │
//!                  └────────────── LoginFailed ◀─────────────────────┘            commands, pipelined ◀────────┤
//!                                      └─▶ LOGOUT ◀── Logout, or idle for too long ◀───────────────────────────┘
//! ```
//!
//! Login comes by itself. Then commands are taken ([`Session::notify`], [`Client::room`]), each under a number of the
//! embedder's own, and what the server says is told as events in the order it was said. Messages come as questions, piece
//! by piece, as slices of the input, and leave by questions too. A command whose end was not told when the session closes
//! may have been done or not. [`Replica`] keeps what a program knows of a mailbox in step with these events.

pub mod capabilities;
pub mod command;
pub mod config;
pub mod event;
mod flow;
mod login;
pub mod replica;
pub mod request;
pub mod response;
pub mod value;

use std::collections::VecDeque;
use std::fmt;
use std::sync::Arc;
use std::time::Instant;

use bytes::buf::Limit;
use bytes::{Bytes, BytesMut};
use mailstore_trait::id::{SeqNum, Uid};
use mailstore_trait::sasl;
use mailstore_trait::session::{
    Asking, CloseReason, Inbox, Layer, LayerError, LayerInfo, Outbox, Output, Session, Wait,
};

use response::{Bounds, Condition, Fetched, Frame, Framer, Response, ResponseText, Row};

pub use capabilities::{Capabilities, Enabled};
pub use command::{
    Append, Command, Fetch, Items, Key, Known, List, Messages, Piece, Search, SearchReturn, Select, Store, Task,
};
pub use config::{Config, Limits, StartTls};
pub use event::{Event, LoginFailure, NotTaken};
pub use replica::{Cache, Replica};
pub use request::{Answered, BodyChunk, ChunkTaken, Page, ReadMessage, Request};
pub use response::{Code, Data};
pub use value::{Flags, Mailbox, ModSeq, Section};

use command::Kind;
use request::Answer;

/// The ticket of what the client does by itself: no event tells of it.
const OWN: u64 = u64::MAX;

/// A client's session over one connection.
#[derive(Debug)]
pub struct Client {
    config: Arc<Config>,
    tls: Option<LayerInfo>,
    inbox: Inbox,
    outbox: Outbox,
    asking: Asking,
    events: VecDeque<Event>,
    capabilities: Capabilities,
    enabled: Enabled,
    phase: Phase,
    progress: Progress,
    /// Commands that wait to be sent, with what `renumbered` was when they were given.
    queue: VecDeque<(Task, u64)>,
    /// How often message numbers have changed their meaning, as far as the embedder was told.
    renumbered: u64,
    in_flight: VecDeque<Flying>,
    /// The command that has octets left to write.
    sending: Option<Sending>,
    watch: Option<Watch>,
    last_tag: u32,
    quitting: bool,
    framer: Framer,
    /// The beginning of a response whose pieces of a message were handed on already.
    held: BytesMut,
    piece: Option<Incoming>,
    /// A row of which pieces are still to be handed on.
    row: Option<Row>,
    clock: Clock,
}

/// What the session is about.
#[derive(Debug)]
enum Phase {
    Greeting,
    /// The next step of the login is under way.
    Login,
    /// A challenge, or the end of the exchange.
    Auth(Box<Exchange>),
    Layer,
    AwaitLayer,
    Ready,
    /// The LOGOUT that ends a failed login.
    Goodbye,
    End(CloseReason),
}

/// How far the login has come.
#[derive(Clone, Copy, Debug, Default)]
struct Progress {
    /// Whether the capabilities are known that hold now.
    capabilities: bool,
    /// Whether STARTTLS was tried.
    secured: bool,
    authenticated: bool,
    identified: bool,
    enabled: bool,
}

#[derive(Debug)]
struct Exchange {
    machine: sasl::Client,
    /// An initial response that waits to be asked for.
    withheld: Option<Bytes>,
}

/// A command that was sent.
#[derive(Debug)]
struct Flying {
    tag: u32,
    what: What,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum What {
    /// A step of the login, or its end.
    Step(Step),
    Task {
        ticket: u64,
        kind: Kind,
    },
    /// A NOOP that stands for IDLE.
    Poll,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    Capability,
    StartTls,
    Authenticate,
    Login,
    Id,
    Enable,
    Logout,
}

/// A command of which something is left to write.
struct Sending {
    tag: u32,
    ticket: u64,
    /// What is left of the command itself, each piece but the first behind a `+`.
    pieces: VecDeque<Bytes>,
    /// The message behind it.
    message: Option<Outgoing>,
    /// Whether the server has to say `+` first.
    waits: bool,
    /// How the command ended, when the server said so before it had all of the message.
    early: Option<(Condition, ResponseText)>,
}

#[derive(Debug)]
struct Outgoing {
    size: u64,
    sent: u64,
}

impl fmt::Debug for Sending {
    /// Never the pieces: a password may be in them.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sending").field("tag", &self.tag).field("message", &self.message).finish_non_exhaustive()
    }
}

/// Waiting for changes.
#[derive(Debug)]
struct Watch {
    ticket: u64,
    /// The tag of IDLE; `None` where NOOP stands for it.
    idle: Option<u32>,
    /// Whether the server has said `+`.
    begun: bool,
    /// Whether DONE was said.
    ending: bool,
    /// When IDLE was said, or NOOP.
    since: Instant,
}

/// A piece of a message that comes in.
#[derive(Debug)]
struct Incoming {
    seq: SeqNum,
    uid: Option<Uid>,
    section: Section,
    origin: Option<u64>,
    taken: u64,
    total: u64,
    refused: bool,
}

#[derive(Debug, Default)]
struct Clock {
    /// The last time anything came in, was asked, or nothing was owed.
    active: Option<Instant>,
    drained: Option<Instant>,
    unsent: usize,
    heard: usize,
    answer: Option<Instant>,
    now: Option<Instant>,
}

/// What came of looking at the input.
enum Turn {
    Again,
    Ask(Request),
    Layer,
    Blocked,
}

impl Client {
    /// A session over a connection that was just opened; `tls` is the TLS it began with (RFC 8314 §3.2).
    #[must_use]
    pub fn new(config: Arc<Config>, tls: Option<LayerInfo>) -> Client {
        Client {
            tls,
            inbox: Inbox::new(config.limits.window),
            outbox: Outbox::default(),
            asking: Asking::default(),
            events: VecDeque::new(),
            capabilities: Capabilities::default(),
            enabled: Enabled::default(),
            phase: Phase::Greeting,
            progress: Progress::default(),
            queue: VecDeque::new(),
            renumbered: 0,
            in_flight: VecDeque::new(),
            sending: None,
            watch: None,
            last_tag: 0,
            quitting: false,
            framer: Framer::new(),
            held: BytesMut::new(),
            piece: None,
            row: None,
            clock: Clock::default(),
            config,
        }
    }

    /// How many commands may be given now.
    #[must_use]
    pub fn room(&self) -> usize {
        if self.quitting { 0 } else { self.config.limits.queue.saturating_sub(self.queue.len()) }
    }

    /// What the server can do, as far as it said.
    #[must_use]
    pub fn capabilities(&self) -> &Capabilities {
        &self.capabilities
    }

    /// What was enabled of it.
    #[must_use]
    pub fn enabled(&self) -> Enabled {
        self.enabled
    }

    fn end(&mut self, reason: CloseReason) -> Turn {
        self.phase = Phase::End(reason);
        Turn::Again
    }

    fn bounds(&self) -> Bounds {
        let limits = &self.config.limits;
        Bounds { depth: limits.depth, parts: limits.parts, values: limits.values, utf8: self.enabled.utf8 }
    }

    /// Takes one thing off the input.
    fn step(&mut self, now: Instant) -> Turn {
        match self.phase {
            Phase::Layer => {
                self.phase = Phase::AwaitLayer;
                self.clock.answer = Some(now + self.config.limits.layer);
                return Turn::Layer;
            }
            Phase::AwaitLayer | Phase::End(_) => return Turn::Blocked,
            _ => {}
        }
        if self.row.is_some() {
            return self.hand_on(now);
        }
        if self.piece.is_some() {
            return self.incoming(now);
        }
        let limits = &self.config.limits;
        let max = if self.progress.authenticated { limits.response } else { limits.response_before_login };
        let max = max.max(1024);
        match self.framer.look(self.inbox.as_slice(), max, limits.literals) {
            Frame::Complete(len) => self.response(len),
            Frame::Body { head, octets } => self.piece_begins(head, octets),
            Frame::TooLong => self.end(CloseReason::Limit),
            Frame::Partial if self.inbox.is_closed() => self.end(CloseReason::Eof),
            Frame::Partial => {
                if self.inbox.room() == 0 {
                    // A long response: it is let in as it comes, up to its limit.
                    let window = self.inbox.len().saturating_mul(2).min(max.saturating_add(1024));
                    self.inbox.set_window(window);
                }
                Turn::Blocked
            }
        }
    }

    /// Reads the response at the front of the input, behind what is held of it.
    fn response(&mut self, len: usize) -> Turn {
        let bounds = self.bounds();
        let parsed = if self.held.is_empty() {
            response::parse(self.inbox.peek(len), &bounds)
        } else {
            self.held.extend_from_slice(self.inbox.peek(len));
            response::parse(&std::mem::take(&mut self.held), &bounds)
        };
        self.inbox.consume(len);
        self.inbox.set_window(self.config.limits.window);
        self.framer = Framer::new();
        match parsed {
            Ok(response) => self.hear(response),
            // Some servers send empty lines behind literals.
            Err(_) if len <= 2 => Turn::Again,
            Err(_) => self.end(CloseReason::Protocol),
        }
    }

    /// A response is cut off by a piece of a message: what was said before is held until the rest of it has come.
    fn piece_begins(&mut self, head: usize, octets: u64) -> Turn {
        self.held.extend_from_slice(self.inbox.peek(head));
        self.inbox.consume(head);
        self.framer.taken(head);
        // The literal's octets go elsewhere; what is held says so.
        let announced = self.held.iter().rposition(|octet| octet.is_ascii_digit()).map_or(0, |at| at + 1);
        self.held.truncate(announced);
        self.held.extend_from_slice(b"*}\r\n");
        let told = response::uid_so_far(&self.held, &self.bounds());
        let refused = told.is_none();
        let (seq, uid, fetched) = told.unwrap_or((SeqNum::MIN, None, Fetched::nothing()));
        let (section, origin) = (fetched.section, fetched.origin);
        self.piece = Some(Incoming { seq, uid, section, origin, taken: 0, total: octets, refused });
        self.inbox.set_wide(true);
        Turn::Again
    }

    /// The next octets of a message, or its end.
    fn incoming(&mut self, now: Instant) -> Turn {
        let Some(piece) = &mut self.piece else { return Turn::Again };
        let left = usize::try_from(piece.total - piece.taken).unwrap_or(usize::MAX);
        if left == 0 {
            self.piece = None;
            self.inbox.set_wide(false);
            return Turn::Again;
        }
        let octets = self.inbox.take(left);
        if octets.is_empty() {
            return if self.inbox.is_closed() { self.end(CloseReason::Eof) } else { Turn::Blocked };
        }
        let offset = piece.taken;
        piece.taken += octets.len() as u64;
        if piece.refused {
            return Turn::Again;
        }
        let chunk = BodyChunk {
            seq: piece.seq,
            uid: piece.uid,
            section: piece.section.clone(),
            origin: piece.origin,
            offset,
            total: piece.total,
            octets,
        };
        self.clock.answer = Some(now + self.config.limits.answer);
        Turn::Ask(self.asking.ask(chunk))
    }

    /// A row's pieces that came inside the response, and then the row.
    fn hand_on(&mut self, now: Instant) -> Turn {
        let Some(row) = &mut self.row else { return Turn::Again };
        for fetched in &mut row.sections {
            let Some(octets) = fetched.here.take() else { continue };
            let chunk = BodyChunk {
                seq: row.seq,
                uid: row.uid,
                section: fetched.section.clone(),
                origin: fetched.origin,
                offset: 0,
                total: octets.len() as u64,
                octets: octets.into(),
            };
            self.clock.answer = Some(now + self.config.limits.answer);
            return Turn::Ask(self.asking.ask(chunk));
        }
        self.events.extend(self.row.take().map(|row| Event::Data(Data::Fetch(row))));
        Turn::Again
    }

    fn hear(&mut self, response: Response) -> Turn {
        if matches!(self.phase, Phase::Greeting) {
            return self.greeted(response);
        }
        match response {
            Response::Continue(text) => self.go_on(&text),
            Response::Tagged { tag, condition, text } => self.ended(tag, condition, text),
            Response::Told { condition, text } => {
                self.note(&text);
                self.events.push_back(Event::Told { condition, text });
                Turn::Again
            }
            Response::Data(data) => {
                self.told(data);
                Turn::Again
            }
        }
    }

    /// Capabilities that come with an answer.
    fn note(&mut self, text: &ResponseText) {
        if let Some(Code::Capability(words)) = &text.code {
            self.learn(words.clone());
        }
    }

    fn learn(&mut self, words: Vec<String>) {
        self.capabilities = Capabilities::new(words);
        self.progress.capabilities = true;
        self.events.push_back(Event::Capabilities(self.capabilities.clone()));
    }

    fn told(&mut self, data: Data) {
        match data {
            Data::Capability(words) => self.learn(words),
            Data::Fetch(row) => self.row = Some(row),
            Data::Search(found) => self.found(found),
            Data::Enabled(words) => {
                self.enabled.add(&words);
                self.events.push_back(Event::Data(Data::Enabled(words)));
            }
            data => self.events.push_back(Event::Data(data)),
        }
    }

    /// The deadlines that have passed.
    fn expire(&mut self, now: Instant, unsent: usize) {
        let Some(deadline) = self.deadline(unsent).filter(|deadline| now >= *deadline) else { return };
        let watching = self.is_watching();
        let idle = matches!(self.phase, Phase::Ready) && self.in_flight.is_empty() && self.sending.is_none();
        self.clock.active = Some(deadline.max(now));
        match self.phase {
            Phase::End(_) => {}
            _ if self.asking.is_out() => {
                self.asking.forget();
                self.phase = Phase::End(CloseReason::Unanswered);
            }
            Phase::AwaitLayer => self.phase = Phase::End(CloseReason::Layer),
            _ if unsent > 0 => self.phase = Phase::End(CloseReason::Stalled),
            _ if watching => self.renew(now),
            // RFC 9051 §5.4: the server would end the session; leave in good order before it does.
            _ if idle && !self.quitting => self.take(Task::new(OWN, Command::Logout)),
            _ => self.phase = Phase::End(CloseReason::Timeout),
        }
    }

    fn deadline(&self, unsent: usize) -> Option<Instant> {
        let limits = &self.config.limits;
        if self.asking.is_out() || matches!(self.phase, Phase::AwaitLayer) {
            return self.clock.answer;
        }
        let active = self.clock.active?;
        Some(match (&self.phase, &self.watch) {
            _ if unsent > 0 => self.clock.drained? + limits.stall,
            (Phase::Greeting, _) => active + limits.greeting,
            (Phase::Ready, Some(watch)) if self.is_watching() => {
                watch.since + if watch.idle.is_some() { limits.renew } else { limits.poll }
            }
            (Phase::Ready, _) if self.in_flight.is_empty() && self.sending.is_none() => active + limits.idle,
            _ => active + limits.reply,
        })
    }

    /// Whether nothing is owed by the server, which tells of changes when there are any.
    fn is_watching(&self) -> bool {
        self.watch.as_ref().is_some_and(|watch| match watch.idle {
            Some(_) => watch.begun && !watch.ending,
            None => self.in_flight.is_empty(),
        })
    }

    /// Notes the time, and whether anything moved.
    fn see(&mut self, now: Instant, unsent: usize) {
        let heard = self.inbox.len();
        if heard != self.clock.heard || self.clock.active.is_none() {
            self.clock.active = Some(now);
        }
        if unsent == 0 || unsent < self.clock.unsent || self.clock.drained.is_none() {
            self.clock.drained = Some(now);
        }
        self.clock.unsent = unsent;
        self.clock.now = Some(now);
    }

    fn take(&mut self, task: Task) {
        let logout = task.command == Command::Logout;
        let reason = match self.phase {
            Phase::End(_) | Phase::Goodbye => NotTaken::Ending,
            _ if self.quitting => NotTaken::Ending,
            _ if self.room() == 0 && !logout => NotTaken::Full,
            _ => {
                self.quitting = logout;
                self.queue.push_back((task, self.renumbered));
                return;
            }
        };
        self.refuse(task.ticket, reason);
    }

    fn refuse(&mut self, ticket: u64, reason: NotTaken) {
        // Bounded: whoever gives commands without looking at `room` is told of the first ones only.
        if self.events.len() < self.config.limits.queue.saturating_add(64) {
            self.events.push_back(Event::NotTaken { ticket, reason });
        }
    }
}

impl Session for Client {
    type Request = Request;
    type Answered = Answered;
    type Event = Event;
    type News = Task;

    fn input_buf(&mut self) -> Limit<&mut BytesMut> {
        self.inbox.limit()
    }

    fn handle_eof(&mut self) {
        self.inbox.close();
    }

    fn resume(&mut self, answered: Answered) {
        if !self.asking.accept(answered.id) {
            return;
        }
        self.clock.active = None;
        match answered.answer {
            Answer::BodyChunk(ChunkTaken::Taken) => {}
            Answer::BodyChunk(ChunkTaken::Refused) => {
                if let Some(piece) = &mut self.piece {
                    piece.refused = true;
                }
            }
            Answer::ReadMessage(page) => self.page(page),
        }
    }

    fn layered(&mut self, done: Result<LayerInfo, LayerError>) {
        if !matches!(self.phase, Phase::AwaitLayer) {
            return;
        }
        self.clock.active = None;
        match done {
            // RFC 9051 §6.2.1: what the server said in clear is forgotten, and nothing of it may be left over.
            Ok(_) if !self.inbox.is_empty() => self.phase = Phase::End(CloseReason::Protocol),
            Ok(info) => {
                self.tls = Some(info);
                self.capabilities = Capabilities::default();
                self.progress.capabilities = false;
                self.events.push_back(Event::Tls);
                self.proceed();
            }
            Err(_) => self.phase = Phase::End(CloseReason::Layer),
        }
    }

    /// Gives the client a command; one that there is no [`room`](Client::room) for comes back as [`Event::NotTaken`].
    fn notify(&mut self, task: Task) {
        self.take(task);
    }

    /// Says LOGOUT behind the commands taken so far.
    fn shutdown(&mut self) {
        if !self.quitting {
            self.take(Task::new(OWN, Command::Logout));
        }
    }

    fn poll_output(&mut self, now: Instant, unsent: usize) -> Output<Request, Event> {
        self.see(now, unsent);
        let mut full = false;
        loop {
            if let Some(event) = self.events.pop_front() {
                let renumbers = matches!(
                    event,
                    Event::Data(Data::Expunge(_) | Data::Vanished { earlier: false, .. })
                        | Event::Selecting { .. }
                        | Event::Unselected
                );
                self.renumbered += u64::from(renumbers);
                return Output::Event(event);
            }
            self.expire(now, unsent);
            if self.asking.is_out() {
                break;
            }
            // What is sent leaves before TLS begins.
            if matches!(self.phase, Phase::Layer) && !self.outbox.is_empty() {
                break;
            }
            self.send(now);
            if self.has_message() {
                full = unsent.saturating_add(self.outbox.len()) > self.config.limits.low_water;
                if !full && let Some(request) = self.ask_message(now) {
                    self.clock.heard = self.inbox.len();
                    return Output::Request(request);
                }
            }
            match self.step(now) {
                Turn::Again => self.clock.active = Some(now),
                Turn::Ask(request) => {
                    self.clock.heard = self.inbox.len();
                    return Output::Request(request);
                }
                Turn::Layer => return Output::Layer(Layer::Tls),
                Turn::Blocked => break,
            }
        }
        self.clock.heard = self.inbox.len();
        if let Some(octets) = self.outbox.take() {
            return Output::Send(octets);
        }
        if let Phase::End(reason) = self.phase {
            return Output::Close(reason);
        }
        let deaf = matches!(self.phase, Phase::Layer | Phase::AwaitLayer);
        Output::Wait(Wait { input: !deaf && self.inbox.is_readable(), output: full, deadline: self.deadline(unsent) })
    }
}
