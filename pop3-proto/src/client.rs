//! The client's session: for collectors of mail, and to test servers with.
//!
//! RFC 1939 §3 to §7, RFC 2449 §5 and §6.6, RFC 2595 §4, RFC 5034 §4, RFC 6856 §2.
//!
//! ```text
//!  greeting ─▶ CAPA ─▶ STLS ─▶ TLS ─▶ CAPA ─▶ UTF8 ─▶ AUTH, APOP, or USER and PASS ─▶ Ready
//!                                                          │                      │  commands, pipelined
//!                                                          ▼                      ▼
//!                                                     LoginFailed ─▶ QUIT ◀──── Quit, or idle for too long
//! ```
//!
//! Login comes by itself. Then commands are taken ([`Session::notify`], [`Client::room`]) and their results told as
//! events; messages come as questions, piece by piece, as slices of the input.

mod command;
mod config;
mod ledger;
mod login;
mod request;

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Instant;

use bytes::buf::Limit;
use bytes::{Bytes, BytesMut};
use mailstore_trait::sasl;
use mailstore_trait::session::{
    Asking, CloseReason, Inbox, Layer, LayerError, LayerInfo, Line, Outbox, Output, Session, Wait,
};

use crate::capability::{Capabilities, Capability};
use crate::reply::Status;
use crate::stuff::{Piece, Unstuffer};

pub use self::command::{Command, Event, LoginFailure};
pub use self::config::{Config, Limits, Stls};
pub use self::ledger::Ledger;
pub use self::request::{Answered, BodyChunk, ChunkTaken, Request};

use self::request::Answer;

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
    /// The greeting's, where APOP is on.
    timestamp: Option<String>,
    queue: VecDeque<Command>,
    in_flight: VecDeque<Command>,
    phase: Phase,
    quitting: bool,
    clock: Clock,
}

/// What the next octets from the server are.
#[derive(Debug)]
enum Phase {
    Greeting,
    /// The status of CAPA, and what comes after its rows.
    Capa,
    Stls,
    Layer,
    AwaitLayer,
    Utf8,
    /// A challenge, or the end of the exchange.
    Auth(Box<Exchange>),
    Apop,
    User,
    Pass,
    /// The status of the first command in flight, when there is one.
    Ready,
    Rows {
        capabilities: Option<Box<Capabilities>>,
        login: bool,
        left: usize,
    },
    Body(Body),
    /// The reply to the QUIT that ends a failed login.
    Goodbye,
    End(CloseReason),
}

#[derive(Debug)]
struct Exchange {
    machine: sasl::Client,
    /// An initial response too long for the command.
    withheld: Option<Bytes>,
}

#[derive(Debug)]
struct Body {
    message: u32,
    unstuffer: Unstuffer,
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
}

impl Client {
    /// A session over a connection that was just opened; `tls` is the TLS it began with (RFC 8314 §3.1).
    #[must_use]
    pub fn new(config: Arc<Config>, tls: Option<LayerInfo>) -> Client {
        let limits = &config.limits;
        let window = limits.window.max(limits.line).max(limits.sasl_line).max(1024);
        Client {
            tls,
            inbox: Inbox::new(window),
            outbox: Outbox::default(),
            asking: Asking::default(),
            events: VecDeque::new(),
            capabilities: Capabilities::default(),
            timestamp: None,
            queue: VecDeque::new(),
            in_flight: VecDeque::new(),
            phase: Phase::Greeting,
            quitting: false,
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

    /// Sends what may be sent ahead of replies.
    fn send(&mut self) {
        let ready = matches!(self.phase, Phase::Ready | Phase::Rows { login: false, .. } | Phase::Body(_));
        let pipelining = self.config.pipelining && self.capabilities.flags.contains(Capability::PIPELINING);
        let most = if pipelining { self.config.limits.in_flight.max(1) } else { 1 };
        while ready && self.in_flight.len() < most {
            let Some(command) = self.queue.pop_front() else { break };
            command.write(self.outbox.text());
            self.in_flight.push_back(command);
        }
    }

    /// Takes one thing off the input.
    fn step(&mut self, now: Instant) -> Step {
        match &mut self.phase {
            Phase::Layer => {
                self.phase = Phase::AwaitLayer;
                self.clock.answer = Some(now + self.config.limits.layer);
                Step::Layer
            }
            Phase::AwaitLayer | Phase::End(_) => Step::Blocked,
            Phase::Body(_) => self.body(now),
            Phase::Ready if self.in_flight.is_empty() => {
                if !self.inbox.is_empty() {
                    // RFC 1939 §3: a server speaks when it is spoken to. A last -ERR before the end is common, though.
                    return self.last_words();
                }
                if self.inbox.is_closed() { self.end(CloseReason::Eof) } else { Step::Blocked }
            }
            phase => {
                let limits = &self.config.limits;
                let max = if matches!(phase, Phase::Auth(_)) { limits.sasl_line } else { limits.line };
                match self.inbox.line(max.max(512)) {
                    Line::Complete(len) => {
                        let line = self.inbox.take(len);
                        self.line(trim(&line))
                    }
                    Line::Partial if self.inbox.is_closed() => self.end(CloseReason::Eof),
                    Line::Partial => Step::Blocked,
                    Line::TooLong => self.end(CloseReason::Limit),
                }
            }
        }
    }

    fn end(&mut self, reason: CloseReason) -> Step {
        self.phase = Phase::End(reason);
        Step::Again
    }

    /// What a server says that owes no reply: `-ERR` announces its end, anything else is out of turn.
    fn last_words(&mut self) -> Step {
        match self.inbox.line(self.config.limits.line.max(512)) {
            Line::Complete(len) => {
                let farewell = matches!(Status::parse(trim(self.inbox.peek(len))), Some(Status::Err { .. }));
                self.end(if farewell { CloseReason::Eof } else { CloseReason::Protocol })
            }
            Line::Partial if self.inbox.is_closed() => self.end(CloseReason::Eof),
            Line::Partial => Step::Blocked,
            Line::TooLong => self.end(CloseReason::Protocol),
        }
    }

    fn line(&mut self, line: &[u8]) -> Step {
        if matches!(self.phase, Phase::Rows { .. }) {
            return self.row(line);
        }
        let Some(status) = Status::parse(line) else { return self.end(CloseReason::Protocol) };
        match &self.phase {
            Phase::Ready => self.status(status),
            _ => self.login_status(status),
        }
    }

    /// The status of the first command in flight.
    fn status(&mut self, status: Status<'_>) -> Step {
        let Some(&command) = self.in_flight.front() else { return self.end(CloseReason::Protocol) };
        let text = match status {
            Status::Ok(text) => text,
            Status::Continue(_) => return self.end(CloseReason::Protocol),
            Status::Err { code, text } => {
                self.in_flight.pop_front();
                self.events.push_back(Event::Failed { command, code, text: lossy(text) });
                return if command == Command::Quit { self.end(CloseReason::Quit) } else { Step::Again };
            }
        };
        match command {
            Command::List | Command::Uidl => {
                self.phase = Phase::Rows { capabilities: None, login: false, left: usize::MAX };
            }
            Command::Capa => self.expect_capabilities(false),
            Command::Retr(message) | Command::Top(message, _) => {
                self.inbox.set_wide(true);
                self.phase = Phase::Body(Body { message, unstuffer: Unstuffer::new(), refused: false });
            }
            Command::Stat => match pair(text) {
                Some((messages, octets)) => {
                    self.events.push_back(Event::Stat { messages, octets });
                    self.done();
                }
                None => return self.end(CloseReason::Protocol),
            },
            Command::Quit => {
                self.done();
                return self.end(CloseReason::Quit);
            }
            Command::Dele(_) | Command::Rset | Command::Noop => self.done(),
        }
        Step::Again
    }

    /// The first command in flight is done.
    fn done(&mut self) {
        self.phase = Phase::Ready;
        if let Some(command) = self.in_flight.pop_front() {
            self.events.push_back(Event::Done(command));
        }
    }

    fn expect_capabilities(&mut self, login: bool) {
        let capabilities = Some(Box::default());
        self.phase = Phase::Rows { capabilities, login, left: self.config.limits.rows };
    }

    /// A line of a listing.
    fn row(&mut self, line: &[u8]) -> Step {
        let Phase::Rows { capabilities, login, left } = &mut self.phase else { return Step::Again };
        if line == b"." {
            let (capabilities, login) = (capabilities.take(), *login);
            if let Some(capabilities) = capabilities {
                self.capabilities = *capabilities;
                self.events.push_back(Event::Capabilities(self.capabilities.clone()));
            }
            if login {
                self.secure();
            } else {
                self.done();
            }
            return Step::Again;
        }
        if *left == 0 {
            return self.end(CloseReason::Limit);
        }
        *left -= 1;
        // RFC 1939 §3: rows of listings are stuffed like any other line.
        let line = line.strip_prefix(b".").unwrap_or(line);
        if let Some(capabilities) = capabilities {
            capabilities.read(line);
            return Step::Again;
        }
        let event = match self.in_flight.front() {
            Some(Command::List) => pair(line).map(|(message, octets)| Event::Listed { message, octets }),
            _ => unique_id(line).map(|(message, id)| Event::UniqueId { message, id }),
        };
        match event {
            Some(event) => self.events.push_back(event),
            None => return self.end(CloseReason::Protocol),
        }
        Step::Again
    }

    /// A piece of a message, or its end.
    fn body(&mut self, now: Instant) -> Step {
        let Phase::Body(body) = &mut self.phase else { return Step::Again };
        match body.unstuffer.next(self.inbox.as_slice()) {
            Piece::Octets { skip, len } => {
                let (message, refused) = (body.message, body.refused);
                self.inbox.consume(skip);
                let octets = self.inbox.take(len);
                if refused {
                    return Step::Again;
                }
                self.clock.answer = Some(now + self.config.limits.answer);
                Step::Ask(self.asking.ask(BodyChunk { message, octets }))
            }
            Piece::End { len } => {
                let refused = body.refused;
                self.inbox.consume(len);
                self.inbox.set_wide(false);
                self.phase = Phase::Ready;
                match self.in_flight.pop_front() {
                    Some(command) if refused => {
                        self.events.push_back(Event::Failed { command, code: None, text: String::new() });
                    }
                    Some(command) => self.events.push_back(Event::Done(command)),
                    None => {}
                }
                Step::Again
            }
            Piece::More if self.inbox.is_closed() => self.end(CloseReason::Eof),
            Piece::More => Step::Blocked,
        }
    }

    /// The deadlines that have passed.
    fn expire(&mut self, now: Instant, unsent: usize) {
        let Some(deadline) = self.deadline(unsent).filter(|deadline| now >= *deadline) else { return };
        let idle = matches!(self.phase, Phase::Ready) && self.in_flight.is_empty();
        self.clock.active = Some(deadline.max(now));
        match self.phase {
            Phase::End(_) => {}
            _ if self.asking.is_out() => {
                self.asking.forget();
                self.phase = Phase::End(CloseReason::Unanswered);
            }
            Phase::AwaitLayer => self.phase = Phase::End(CloseReason::Layer),
            _ if unsent > 0 => self.phase = Phase::End(CloseReason::Stalled),
            // RFC 1939 §6: nothing was asked for in a long time; leave in good order.
            _ if idle && !self.quitting => self.take(Command::Quit),
            _ => self.phase = Phase::End(CloseReason::Timeout),
        }
    }

    fn deadline(&self, unsent: usize) -> Option<Instant> {
        let limits = &self.config.limits;
        if self.asking.is_out() || matches!(self.phase, Phase::AwaitLayer) {
            return self.clock.answer;
        }
        let active = self.clock.active?;
        Some(match self.phase {
            _ if unsent > 0 => self.clock.drained? + limits.stall,
            Phase::Greeting => active + limits.greeting,
            Phase::Ready if self.in_flight.is_empty() => active + limits.idle,
            _ => active + limits.reply,
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
    }

    fn take(&mut self, command: Command) {
        let room = self.room() > 0 || command == Command::Quit;
        if self.quitting || !room || matches!(self.phase, Phase::End(_) | Phase::Goodbye) {
            return self.refuse(command);
        }
        self.quitting = command == Command::Quit;
        self.queue.push_back(command);
    }

    fn refuse(&mut self, command: Command) {
        // Bounded: whoever gives commands without looking at `room` is told of the first ones only.
        if self.events.len() < self.config.limits.queue {
            self.events.push_back(Event::NotTaken(command));
        }
    }
}

enum Step {
    Again,
    Ask(Request),
    Layer,
    Blocked,
}

fn trim(line: &[u8]) -> &[u8] {
    let line = line.strip_suffix(b"\n").unwrap_or(line);
    line.strip_suffix(b"\r").unwrap_or(line)
}

fn lossy(text: &[u8]) -> String {
    String::from_utf8_lossy(text).into_owned()
}

/// Two numbers; whatever stands behind them is for people.
fn pair(text: &[u8]) -> Option<(u32, u64)> {
    let mut words = std::str::from_utf8(text).ok()?.split_ascii_whitespace();
    Some((words.next()?.parse().ok()?, words.next()?.parse().ok()?))
}

/// A message's number and its identifier.
fn unique_id(line: &[u8]) -> Option<(u32, String)> {
    let mut words = std::str::from_utf8(line).ok()?.split_ascii_whitespace();
    let message = words.next()?.parse().ok()?;
    // RFC 1939 §7: 1 to 70 characters from 0x21 to 0x7E. Longer ones exist and are told apart just as well.
    let id = words.next().filter(|id| id.bytes().all(|octet| octet.is_ascii_graphic()))?;
    Some((message, id.to_owned()))
}

impl Session for Client {
    type Request = Request;
    type Answered = Answered;
    type Event = Event;
    type News = Command;

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
        let Answer::BodyChunk(taken) = answered.answer;
        if let (Phase::Body(body), ChunkTaken::Refused) = (&mut self.phase, taken) {
            body.refused = true;
        }
        self.clock.active = None;
    }

    fn layered(&mut self, done: Result<LayerInfo, LayerError>) {
        if !matches!(self.phase, Phase::AwaitLayer) {
            return;
        }
        self.clock.active = None;
        match done {
            // RFC 2595 §4: what the server said in clear is forgotten, and nothing of it may be left over.
            Ok(_) if !self.inbox.is_empty() => self.phase = Phase::End(CloseReason::Protocol),
            Ok(info) => {
                self.tls = Some(info);
                self.capabilities = Capabilities::default();
                self.events.push_back(Event::Tls);
                self.ask_capabilities();
            }
            Err(_) => self.phase = Phase::End(CloseReason::Layer),
        }
    }

    /// Gives the client a command; one that there is no [`room`](Client::room) for comes back as [`Event::NotTaken`].
    fn notify(&mut self, command: Command) {
        self.take(command);
    }

    /// Says QUIT behind the commands taken so far.
    fn shutdown(&mut self) {
        if !self.quitting {
            self.take(Command::Quit);
        }
    }

    fn poll_output(&mut self, now: Instant, unsent: usize) -> Output<Request, Event> {
        self.see(now, unsent);
        loop {
            if let Some(event) = self.events.pop_front() {
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
            self.send();
            match self.step(now) {
                Step::Again => self.clock.active = Some(now),
                Step::Ask(request) => {
                    self.clock.heard = self.inbox.len();
                    return Output::Request(request);
                }
                Step::Layer => return Output::Layer(Layer::Tls),
                Step::Blocked => break,
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
        Output::Wait(Wait { input: !deaf && self.inbox.is_readable(), output: false, deadline: self.deadline(unsent) })
    }
}
