//! The client: a relay's, a submitting program's, and by a flag an LMTP client.
//!
//! RFC 5321 §3 and §4, RFC 2033, 2920, 3207, 3461, 4954, 6152, 6531. The first question is which message to send, so
//! that whatever goes wrong from the greeting on is reported as that message's outcome: each message handed out by
//! [`NextMessage`] gets exactly one [`Report`], as long as the report is
//! answered. MAIL, all RCPTs and DATA leave in one flight where PIPELINING is offered; the message follows by BDAT where
//! CHUNKING is. One connection carries as many messages as [`NextMessage`] hands out and the server's LIMITS allow.
//!
//! ```text
//!  AwaitMessage ─▶ Greeting ─▶ Hello ─▶ (StartTls ─▶ Layer ─▶ Hello) ─▶ (AwaitLogin ─▶ Auth ⇄ AwaitResponse)
//!       ▲                                                                  │
//!       │   AwaitReport ◀─ FinalDot ◀─ Body ⇄ AwaitPage ◀─ Flight ◀────────┘
//!       └──────┘ RSET where the transaction was left open   ▲   a chunk refused: Refused, then RSET
//!                                                           └── the recipients that did not fit
//! ```

mod capabilities;
pub mod config;
mod flight;
pub mod request;
mod stuff;

use std::collections::VecDeque;
use std::mem;
use std::sync::Arc;
use std::time::{Duration, Instant};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::buf::Limit;
use bytes::{BufMut, Bytes, BytesMut};
use mailstore_trait::session::{
    Asking, CloseReason, Inbox, Layer, LayerError, LayerInfo, Line, Outbox, Output, Question, Session, Wait,
};

use crate::config::Extensions;
use crate::reply::{Reply, ReplyReader, ServerReply};
pub use capabilities::{Capabilities, ServerLimits};
pub use config::{Config, EightBit, Limits, Timeouts, TlsPolicy};
#[cfg(feature = "store")]
pub(crate) use flight::notify_words;
use flight::{Flight, Sending, Transaction};
use request::{
    Answer, Answered, Challenge, Credentials, Failure, Login, Next, NextMessage, Outcome, Report, Request, Response,
    Stage, Succeeded,
};

/// RFC 5321 §4.5.3.1.4: octets of a command line, CRLF included.
const COMMAND_LINE: usize = 512;

/// One connection of an SMTP or LMTP client.
#[derive(Debug)]
pub struct Client {
    config: Arc<Config>,
    inbox: Inbox,
    outbox: Outbox,
    reader: ReplyReader,
    asking: Asking,
    answer: Option<Answer>,
    layered: Option<Result<LayerInfo, LayerError>>,
    events: VecDeque<Event>,
    tls: Option<LayerInfo>,
    capabilities: Capabilities,
    /// What was negotiated: nothing before the first hello.
    ready: bool,
    state: State,
    /// An initial response too long for the AUTH line: it answers the first, empty challenge.
    held_initial: Option<Bytes>,
    authenticated: bool,
    transaction: Option<Box<Transaction>>,
    sent: usize,
    /// MAIL commands since the last hello.
    transactions: usize,
    deadline: Option<Instant>,
    /// At how many unsent octets the server last drained something.
    stalled: Option<usize>,
    shutdown: bool,
}

/// What a client tells for logs.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Event {
    /// The server said hello.
    Hello(Capabilities),
    /// TLS is up by STARTTLS.
    Secured,
    /// Logged in.
    Authenticated,
    /// A message was reported, and the connection is fit for another: [`NextMessage`] comes next. Whoever has none now may
    /// leave the driver's loop here, keep session and stream, and drive them on later.
    Ready,
    /// A reply that is no success.
    Refused(Stage, Reply),
}

#[derive(Debug)]
enum State {
    Start,
    AwaitMessage,
    Greeting,
    Hello {
        /// EHLO was refused: this is HELO.
        fallback: bool,
    },
    StartTls,
    /// `asked` once the layer was asked for.
    Layer {
        asked: bool,
    },
    AwaitLogin,
    /// AUTH or a response is out.
    Auth,
    AwaitResponse,
    AwaitSucceeded,
    Flight(Flight),
    Body(Sending),
    AwaitPage(Sending),
    /// Replies to chunks before the last, and then so many to it or to the final dot, are still to come.
    FinalDot {
        chunks: usize,
        left: usize,
    },
    /// A chunk was refused; so many replies to what was sent behind it are still to come.
    Refused(usize),
    Reset,
    /// Fit for another message.
    Ready,
    AwaitReport(After),
    Quit,
    Closed(CloseReason),
    Moved,
}

#[derive(Clone, Copy, Debug)]
enum After {
    /// The connection is fit for another message.
    Next,
    /// It is of no use, and ends as it should.
    Quit,
    Close(CloseReason),
}

enum Step {
    Again,
    Ask(Request),
    Layer,
    /// Wait for the server.
    Input,
    /// Wait for the server to drain what was sent.
    Drain,
    /// Wait for an answer or the layer.
    Idle,
}

impl Client {
    /// A client on a stream that was just opened; `tls` when it began with TLS.
    #[must_use]
    pub fn new(config: Arc<Config>, tls: Option<LayerInfo>) -> Client {
        Client {
            inbox: Inbox::new(config.limits.window.max(config.limits.line)),
            outbox: Outbox::default(),
            reader: ReplyReader::default(),
            asking: Asking::default(),
            answer: None,
            layered: None,
            events: VecDeque::new(),
            tls,
            capabilities: Capabilities::none(),
            ready: false,
            state: State::Start,
            held_initial: None,
            authenticated: false,
            transaction: None,
            sent: 0,
            transactions: 0,
            deadline: None,
            stalled: None,
            shutdown: false,
            config,
        }
    }

    /// What the server offers by now.
    #[must_use]
    pub fn capabilities(&self) -> &Capabilities {
        &self.capabilities
    }

    fn enter(&mut self, now: Instant, state: State) {
        if !matches!(self.state, State::Closed(_)) {
            self.deadline = Some(now + self.patience(&state));
            self.state = state;
        }
    }

    fn patience(&self, state: &State) -> Duration {
        let timeouts = &self.config.timeouts;
        match state {
            State::Greeting | State::Hello { .. } => timeouts.greeting,
            State::Layer { .. } => timeouts.layer,
            State::Flight(flight) => flight.patience(timeouts),
            State::Body(_) | State::Refused(_) => timeouts.block,
            State::FinalDot { .. } => timeouts.final_dot,
            State::Quit => timeouts.quit,
            State::StartTls | State::Auth | State::Reset => timeouts.command,
            _ => timeouts.answer,
        }
    }

    fn ask<Q: Question<Request = Request>>(&mut self, now: Instant, query: Q, state: State) -> Step {
        self.enter(now, state);
        Step::Ask(self.asking.ask(query))
    }

    fn close(&mut self, reason: CloseReason) {
        self.asking.forget();
        self.answer = None;
        self.state = State::Closed(reason);
    }

    fn send(&mut self, line: &str) {
        let text = self.outbox.text();
        text.put_slice(line.as_bytes());
        text.put_slice(b"\r\n");
    }

    fn step(&mut self, now: Instant, unsent: usize) -> Step {
        if let Some(answer) = self.answer.take() {
            return self.answered(now, answer);
        }
        match &self.state {
            State::Start | State::Ready => self.next_message(now),
            State::Layer { asked: false } => {
                // RFC 3207 §6: what came behind the 220 in cleartext was put there by someone else.
                if !self.inbox.is_empty() {
                    return self.fail(now, Stage::StartTls, request::INJECTED, CloseReason::Protocol);
                }
                self.enter(now, State::Layer { asked: true });
                Step::Layer
            }
            State::Layer { asked: true } => match self.layered.take() {
                Some(done) => self.secured(now, done),
                None => Step::Idle,
            },
            State::Body(_) => self.body(now, unsent),
            State::Flight(_) => {
                self.fill(now);
                self.read(now)
            }
            state if state.is_await() => Step::Idle,
            _ => self.read(now),
        }
    }

    /// Reads a reply, if one is whole.
    fn read(&mut self, now: Instant) -> Step {
        let len = match self.inbox.line(self.config.limits.line) {
            Line::Complete(len) => len,
            Line::Partial => return Step::Input,
            Line::TooLong => return self.nonsense(now),
        };
        let line = self.inbox.peek(len);
        let line = line.strip_suffix(b"\n").unwrap_or(line);
        let read = self.reader.line(line.strip_suffix(b"\r").unwrap_or(line));
        self.inbox.consume(len);
        match read {
            Ok(None) => Step::Again,
            Ok(Some(reply)) => self.reply(now, &reply),
            Err(_) => self.nonsense(now),
        }
    }

    fn nonsense(&mut self, now: Instant) -> Step {
        let stage = self.stage();
        self.fail(now, stage, request::NONSENSE, CloseReason::Protocol)
    }

    /// The step that is under way.
    fn stage(&self) -> Stage {
        match &self.state {
            State::Hello { .. } => Stage::Hello,
            State::StartTls | State::Layer { .. } => Stage::StartTls,
            State::AwaitLogin | State::Auth | State::AwaitResponse | State::AwaitSucceeded => Stage::Auth,
            State::Flight(flight) => flight.stage(),
            State::Body(_) | State::AwaitPage(_) | State::Refused(_) => Stage::Body,
            State::Reset => Stage::Mail,
            State::FinalDot { .. } => Stage::FinalDot,
            _ => Stage::Greeting,
        }
    }

    fn reply(&mut self, now: Instant, reply: &ServerReply) -> Step {
        let value = reply.to_reply();
        if !value.is_positive() && !value.is_intermediate() {
            self.events.push_back(Event::Refused(self.stage(), value.clone()));
        }
        // RFC 5321 §3.8: 421 may answer anything, and the server closes behind it.
        if value.code == 421
            && !matches!(
                self.state,
                State::Quit | State::Flight(_) | State::FinalDot { .. } | State::Refused(_) | State::Body(_)
            )
        {
            let stage = self.stage();
            return self.refused(now, stage, value);
        }
        // RFC 5321 §4.3.2: the first digit decides, whatever the others are.
        match &self.state {
            State::Greeting if value.is_positive() => self.hello(now, false),
            State::Greeting => self.refused(now, Stage::Greeting, value),
            State::Hello { fallback } => match (value.code, *fallback) {
                (200..=299, fallback) => {
                    self.capabilities = if fallback { Capabilities::none() } else { Capabilities::read(reply) };
                    self.events.push_back(Event::Hello(self.capabilities.clone()));
                    self.greeted(now)
                }
                // RFC 5321 §3.2: a server that does not know EHLO is told HELO. LMTP has nothing to fall back to.
                (500..=599, false) if !self.config.lmtp => self.hello(now, true),
                _ => self.refused(now, Stage::Hello, value),
            },
            State::StartTls if value.is_positive() => {
                self.enter(now, State::Layer { asked: false });
                Step::Again
            }
            State::StartTls if self.config.tls == TlsPolicy::Required => self.refused(now, Stage::StartTls, value),
            State::StartTls => self.log_in(now),
            State::Auth => self.auth_reply(now, reply, value),
            State::Flight(_) => self.flight_reply(now, value),
            State::FinalDot { .. } => self.final_reply(now, value),
            State::Body(_) => self.early_reply(now, value),
            State::Refused(left) if value.code != 421 => {
                let left = left.saturating_sub(1);
                self.swallowed(now, left)
            }
            State::Refused(_) => self.refused(now, Stage::Body, value),
            State::Reset if value.is_positive() => self.transact(now),
            State::Reset => {
                let failure = Failure { stage: Stage::Mail, reply: value, remote: true };
                self.conclude(now, &failure, After::Close(CloseReason::Protocol))
            }
            State::Quit => {
                self.close(CloseReason::Quit);
                Step::Again
            }
            // Nothing was asked.
            _ => self.nonsense(now),
        }
    }

    fn hello(&mut self, now: Instant, fallback: bool) -> Step {
        let verb = match (self.config.lmtp, fallback) {
            (true, _) => "LHLO",
            (false, true) => "HELO",
            (false, false) => "EHLO",
        };
        let line = format!("{verb} {}", self.config.hostname);
        self.send(&line);
        self.enter(now, State::Hello { fallback });
        Step::Again
    }

    // RFC 3207 §4.1: what to do about STARTTLS is this side's policy.
    fn greeted(&mut self, now: Instant) -> Step {
        let offered = self.capabilities.extensions.contains(Extensions::STARTTLS);
        match (self.tls.is_some(), self.config.tls) {
            (true, _) | (false, TlsPolicy::None) => self.log_in(now),
            (false, _) if offered => {
                self.send("STARTTLS");
                self.enter(now, State::StartTls);
                Step::Again
            }
            (false, TlsPolicy::Opportunistic) => self.log_in(now),
            (false, TlsPolicy::Required) => self.useless(now, Stage::StartTls, request::NO_TLS),
        }
    }

    fn secured(&mut self, now: Instant, done: Result<LayerInfo, LayerError>) -> Step {
        match done {
            Ok(info) => {
                // RFC 3207 §4.2: what was offered before the handshake is forgotten.
                self.tls = Some(info);
                self.capabilities = Capabilities::none();
                self.events.push_back(Event::Secured);
                self.hello(now, false)
            }
            Err(_) => self.fail(now, Stage::StartTls, request::NO_HANDSHAKE, CloseReason::Layer),
        }
    }

    fn log_in(&mut self, now: Instant) -> Step {
        if !self.config.login {
            return self.begin(now);
        }
        let question = Login { offered: self.capabilities.mechanisms.clone(), tls: self.tls.clone() };
        self.ask(now, question, State::AwaitLogin)
    }

    fn credentials(&mut self, now: Instant, credentials: Credentials) -> Step {
        match credentials {
            Credentials::None => self.begin(now),
            Credentials::Unfit => self.useless(now, Stage::Auth, request::NO_AUTH),
            Credentials::Mechanism { name, initial } => {
                // RFC 4954 §4: an empty initial response is "="; one that makes the line too long waits for a challenge.
                let line = match &initial {
                    None => format!("AUTH {name}"),
                    Some(octets) if octets.is_empty() => format!("AUTH {name} ="),
                    Some(octets) => format!("AUTH {name} {}", STANDARD.encode(octets)),
                };
                let fits = line.len() + 2 <= COMMAND_LINE;
                self.held_initial = initial.filter(|_| !fits);
                self.send(if fits { &line } else { line.rsplit_once(' ').map_or(&line, |(short, _)| short) });
                self.enter(now, State::Auth);
                Step::Again
            }
        }
    }

    fn auth_reply(&mut self, now: Instant, reply: &ServerReply, value: Reply) -> Step {
        match value.code {
            200..=299 => self.ask(now, Succeeded, State::AwaitSucceeded),
            300..=399 => {
                let text = reply.lines.first().map(String::as_str).unwrap_or_default().trim();
                let held = self.held_initial.take();
                match STANDARD.decode(text) {
                    Ok(octets) if octets.is_empty() && held.is_some() => {
                        self.respond(now, held.map_or(Response::Cancel, Response::Octets))
                    }
                    // A mechanism whose client speaks first has no other challenge before that.
                    Ok(_) if held.is_some() => self.respond(now, Response::Cancel),
                    Ok(octets) => self.ask(now, Challenge { octets: octets.into() }, State::AwaitResponse),
                    Err(_) => self.respond(now, Response::Cancel),
                }
            }
            _ => self.refused(now, Stage::Auth, value),
        }
    }

    fn respond(&mut self, now: Instant, response: Response) -> Step {
        match response {
            Response::Octets(octets) => self.send(&STANDARD.encode(&octets)),
            Response::Cancel => self.send("*"),
        }
        self.enter(now, State::Auth);
        Step::Again
    }

    fn next_message(&mut self, now: Instant) -> Step {
        if self.shutdown {
            return self.quit(now);
        }
        self.ask(now, NextMessage { sent: self.sent }, State::AwaitMessage)
    }

    /// Between two messages: whoever drives may leave before the next is asked for.
    fn between(&mut self, now: Instant) -> Step {
        self.events.push_back(Event::Ready);
        self.enter(now, State::Ready);
        Step::Again
    }

    // Deviation from RFC 5321 §4.1.1.10: a client that has nothing to send any more before it has read the greeting closes
    // without QUIT; neither side has said anything to the other by then.
    fn quit(&mut self, now: Instant) -> Step {
        if !self.ready {
            self.asking.forget();
            self.close(CloseReason::Quit);
            return Step::Again;
        }
        self.goodbye(now)
    }

    fn goodbye(&mut self, now: Instant) -> Step {
        self.asking.forget();
        self.send("QUIT");
        self.enter(now, State::Quit);
        Step::Again
    }

    fn answered(&mut self, now: Instant, answer: Answer) -> Step {
        match (mem::replace(&mut self.state, State::Moved), answer) {
            (State::AwaitMessage, Answer::NextMessage(Next::Quit)) => self.quit(now),
            (State::AwaitMessage, Answer::NextMessage(Next::Send(outgoing))) => {
                self.transaction = Some(Box::new(Transaction::new(*outgoing)));
                if self.ready {
                    return self.begin(now);
                }
                self.enter(now, State::Greeting);
                Step::Again
            }
            (State::AwaitLogin, Answer::Login(credentials)) => self.credentials(now, credentials),
            (State::AwaitResponse, Answer::Challenge(response)) => self.respond(now, response),
            (State::AwaitSucceeded, Answer::Succeeded(true)) => {
                self.events.push_back(Event::Authenticated);
                self.authenticated = true;
                self.begin(now)
            }
            (State::AwaitSucceeded, Answer::Succeeded(false)) => {
                self.fail(now, Stage::Auth, request::IMPOSTOR, CloseReason::Protocol)
            }
            (State::AwaitPage(sending), Answer::ReadBody(page)) => self.page(now, sending, page),
            (State::AwaitReport(after), Answer::Report(())) => match after {
                After::Next => {
                    self.sent += 1;
                    let open = self.transaction.take().is_some_and(|transaction| transaction.is_open());
                    if open {
                        // RFC 5321 §4.1.1.5: what was left of the transaction is dropped before the next.
                        self.send("RSET");
                        self.enter(now, State::Reset);
                        return Step::Again;
                    }
                    // RFC 9422 §4: MAILMAX is over; another message needs another connection.
                    if self.is_spent() {
                        return self.goodbye(now);
                    }
                    self.between(now)
                }
                After::Quit => {
                    self.transaction = None;
                    self.goodbye(now)
                }
                After::Close(reason) => {
                    self.transaction = None;
                    self.close(reason);
                    Step::Again
                }
            },
            (state, _) => {
                self.state = state;
                Step::Again
            }
        }
    }

    /// A reply that makes the connection useless before MAIL, or 421.
    // RFC 5321 §4.1.1.10: whoever leaves says QUIT, after an error too; behind 421 nobody listens.
    fn refused(&mut self, now: Instant, stage: Stage, reply: Reply) -> Step {
        let after = if reply.code == 421 { After::Close(CloseReason::Protocol) } else { After::Quit };
        self.conclude(now, &Failure { stage, reply, remote: true }, after)
    }

    /// The connection is of no use to this side.
    fn useless(&mut self, now: Instant, stage: Stage, reply: Reply) -> Step {
        self.conclude(now, &Failure { stage, reply, remote: false }, After::Quit)
    }

    /// This side ends the connection.
    fn fail(&mut self, now: Instant, stage: Stage, reply: Reply, reason: CloseReason) -> Step {
        self.conclude(now, &Failure { stage, reply, remote: false }, After::Close(reason))
    }

    /// Whoever has no outcome yet gets this one; then the report is asked for.
    fn conclude(&mut self, now: Instant, failure: &Failure, after: After) -> Step {
        self.asking.forget();
        self.answer = None;
        match &mut self.transaction {
            Some(transaction) => transaction.conclude(failure),
            None => {
                match after {
                    After::Close(reason) => self.close(reason),
                    After::Quit => return self.goodbye(now),
                    After::Next => {}
                }
                return Step::Again;
            }
        }
        self.report(now, after)
    }

    fn report(&mut self, now: Instant, after: After) -> Step {
        let offered = self.usable();
        let (dsn, deliver_by) = (offered.contains(Extensions::DSN), offered.contains(Extensions::DELIVERBY));
        let outcomes: Vec<Outcome> = self.transaction.as_mut().map(|it| it.outcomes()).unwrap_or_default();
        let question = Report { outcomes, dsn, deliver_by, tls: self.tls.is_some() };
        self.ask(now, question, State::AwaitReport(after))
    }

    /// A deadline passed, or the server ended the stream: all that matters is what it means for the message at hand.
    fn broken(&mut self, now: Instant, reply: Reply, reason: CloseReason) -> Step {
        match &self.state {
            State::AwaitReport(_) => self.close(CloseReason::Unanswered),
            State::AwaitMessage => {
                self.close(if reason == CloseReason::Timeout { CloseReason::Unanswered } else { reason })
            }
            State::Start | State::Ready | State::Quit => self.close(reason),
            State::Body(_) if reason == CloseReason::Timeout => {
                return self.fail(now, Stage::Body, request::STALLED, CloseReason::Stalled);
            }
            state => {
                let unanswered = state.is_await() && reason == CloseReason::Timeout;
                let stage = self.stage();
                return match unanswered {
                    true => self.fail(now, stage, request::STOPPED, CloseReason::Unanswered),
                    false => self.fail(now, stage, reply, reason),
                };
            }
        }
        Step::Again
    }
}

impl State {
    /// Whether a question is out.
    fn is_await(&self) -> bool {
        matches!(
            self,
            State::AwaitMessage
                | State::AwaitLogin
                | State::AwaitResponse
                | State::AwaitSucceeded
                | State::AwaitPage(_)
                | State::AwaitReport(_)
        )
    }
}

impl Session for Client {
    type Request = Request;
    type Answered = Answered;
    type Event = Event;
    type News = ();

    fn input_buf(&mut self) -> Limit<&mut BytesMut> {
        self.inbox.limit()
    }

    fn handle_eof(&mut self) {
        self.inbox.close();
    }

    fn resume(&mut self, answered: Answered) {
        if self.asking.accept(answered.id) {
            self.answer = Some(answered.answer);
        }
    }

    fn layered(&mut self, done: Result<LayerInfo, LayerError>) {
        if matches!(self.state, State::Layer { asked: true }) {
            self.layered = Some(done);
        }
    }

    /// Messages are asked for, not pushed: nothing comes from elsewhere.
    fn notify(&mut self, (): ()) {}

    fn shutdown(&mut self) {
        self.shutdown = true;
    }

    fn poll_output(&mut self, now: Instant, unsent: usize) -> Output<Request, Event> {
        loop {
            if let Some(event) = self.events.pop_front() {
                return Output::Event(event);
            }
            if let State::Closed(reason) = self.state {
                return match self.outbox.take() {
                    Some(octets) => Output::Send(octets),
                    None => Output::Close(reason),
                };
            }
            let mut step =
                match self.shutdown && matches!(self.state, State::Start | State::Ready | State::AwaitMessage) {
                    true => self.quit(now),
                    false => self.step(now, unsent),
                };
            let expired = self.deadline.is_some_and(|deadline| now >= deadline);
            step = match step {
                Step::Input if self.inbox.is_closed() => self.broken(now, request::LOST, CloseReason::Eof),
                Step::Drain if self.inbox.is_closed() => self.broken(now, request::LOST, CloseReason::Eof),
                Step::Input | Step::Drain | Step::Idle if expired => {
                    self.broken(now, request::TIMED_OUT, CloseReason::Timeout)
                }
                step => step,
            };
            let drain = match step {
                Step::Again => continue,
                Step::Ask(request) => return Output::Request(request),
                Step::Layer => return Output::Layer(Layer::Tls),
                Step::Drain => true,
                Step::Input | Step::Idle => false,
            };
            if let Some(octets) = self.outbox.take() {
                return Output::Send(octets);
            }
            let input = self.inbox.is_readable() && !matches!(self.state, State::Layer { .. });
            return Output::Wait(Wait { input, output: drain, deadline: self.deadline });
        }
    }
}
