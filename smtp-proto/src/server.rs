//! The server: SMTP, submission and LMTP in one session.
//!
//! RFC 5321 §3 and §4, RFC 2033, 2920, 3030, 3207, 4954, 6409. Input is parsed only when a command can run: no question
//! is out and the peer drains what it was sent. So replies keep their order by construction, pipelining needs no code,
//! and a client that writes without reading is stopped by TCP. Replies gather in the outbox and leave together when
//! there is nothing more to run.
//!
//! The states and their transitions are in `server/state.rs`, message framing is in `server/body.rs`.

mod auth;
pub(crate) mod body;
mod command;
mod handover;
mod mail;
mod state;

use std::collections::VecDeque;
use std::mem;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::BytesMut;
use bytes::buf::Limit;
use mailstore_trait::date::Timestamp;
use mailstore_trait::session::{
    Asking, CloseReason, Inbox, Layer, LayerError, LayerInfo, Line, Outbox, Output, Peer, Question, Session, Wait,
};

use crate::config::{Ask, Config, Extensions, LineEnds, Role};
use crate::event::{Event, Violation};
use crate::reply::{self, Reply};
use crate::request::{Answer, Answered, Connect, Decision, Origin, Request};
#[cfg(feature = "store")]
pub(crate) use mail::{recipient, sender};
use state::{Dropped, Mail, State};

/// One SMTP, submission or LMTP session of a server.
#[derive(Debug)]
pub struct Server {
    config: Arc<Config>,
    inbox: Inbox,
    outbox: Outbox,
    asking: Asking,
    answer: Option<Answer>,
    layered: Option<Result<LayerInfo, LayerError>>,
    events: VecDeque<Event>,
    origin: Arc<Origin>,
    state: State,
    mail: Mail,
    /// When this state ends by itself.
    deadline: Option<Instant>,
    /// Since when, and at how many octets, the peer has drained nothing.
    stalled: Option<(Instant, usize)>,
    /// The line at the front is too long; it is dropped up to its end.
    overlong: Option<Reply>,
    shutdown: bool,
    /// The greeting refused the client: it may only say QUIT.
    turned_away: bool,
    /// Writing failed: nobody hears a reply any more.
    reset: bool,
    errors: u32,
    failed_logins: u32,
    messages: u32,
    /// In force on this stream; see [`Server::refresh`].
    extensions: Extensions,
    trusted: Extensions,
    /// What the date was, and when that was.
    date: Option<(Timestamp, Option<Instant>)>,
    /// The greeting was said: what comes after XCLIENT is another.
    greeted: bool,
}

/// What a step leads to.
enum Step {
    /// Something changed; go on.
    Again,
    /// Ask this.
    Ask(Request),
    /// Put this layer on the stream.
    Layer(Layer),
    /// Nothing more can run without input.
    Input,
    /// Nothing more can run before something else happens.
    Idle,
}

/// Why no line can run now.
enum NoLine {
    /// One was dropped; look again.
    Again,
    /// None is whole.
    Input,
}

impl From<NoLine> for Step {
    fn from(none: NoLine) -> Step {
        match none {
            NoLine::Again => Step::Again,
            NoLine::Input => Step::Input,
        }
    }
}

/// The mechanisms that can succeed on this stream.
// RFC 5802 §6: -PLUS is offered where the channel can be bound. RFC 4422 appendix A: EXTERNAL needs an outside proof.
pub(crate) fn mechanisms<'a>(config: &'a Config, origin: &Origin) -> impl Iterator<Item = &'a str> {
    let tls = origin.tls.as_ref();
    let bound = tls.is_some_and(|tls| tls.exporter.is_some() || tls.end_point.is_some());
    let proved = tls.is_some_and(|tls| tls.peer_certificate.is_some());
    config.mechanisms.iter().map(String::as_str).filter(move |name| match *name {
        "EXTERNAL" => proved,
        name => bound || !name.ends_with("-PLUS"),
    })
}

impl Server {
    /// A session with this peer; the greeting comes out of the first poll.
    #[must_use]
    pub fn new(config: Arc<Config>, peer: Peer) -> Server {
        let limits = &config.limits;
        let window = limits.window.max(limits.line).max(limits.auth_line);
        let mut server = Server {
            inbox: Inbox::new(window),
            outbox: Outbox::default(),
            asking: Asking::default(),
            answer: None,
            layered: None,
            events: VecDeque::new(),
            origin: Arc::new(Origin::new(peer.address, peer.tls)),
            state: State::Start,
            mail: Mail::None,
            deadline: None,
            stalled: None,
            overlong: None,
            shutdown: false,
            turned_away: false,
            reset: false,
            errors: 0,
            failed_logins: 0,
            messages: 0,
            extensions: Extensions::empty(),
            trusted: Extensions::empty(),
            date: None,
            greeted: false,
            config,
        };
        server.refresh();
        server
    }

    /// Who the other end is, as far as is known by now.
    #[must_use]
    pub fn origin(&self) -> &Arc<Origin> {
        &self.origin
    }

    /// Tells the session the date, which it has no clock for: FUTURERELEASE is offered by it. Call it once, when the
    /// session begins.
    #[must_use]
    pub fn at(mut self, date: Timestamp) -> Server {
        self.date = Some((date, None));
        self.refresh();
        self
    }

    /// Lets this peer say who the client is, by XCLIENT, or where a message came from, by XFORWARD. Only for hosts whose
    /// word is to be taken for that: whoever has XCLIENT can log in as anybody.
    #[must_use]
    pub fn trust(mut self, with: Extensions) -> Server {
        self.trusted = with & (Extensions::XCLIENT | Extensions::XFORWARD);
        self.refresh();
        self
    }

    /// Works out anew what is in force on this stream: what EHLO offers now, and what parameters are known.
    fn refresh(&mut self) {
        let config = &self.config;
        let told = Extensions::STARTTLS | Extensions::AUTH | Extensions::XCLIENT | Extensions::XFORWARD;
        let mut extensions = config.extensions - told - Extensions::REGISTERED;
        match config.role {
            // RFC 4865 §1: future release is for who submits.
            Role::Relay => extensions -= Extensions::FUTURERELEASE,
            Role::Submission => {}
            // RFC 2033 §5: an LMTP server has PIPELINING and ENHANCEDSTATUSCODES in any case. It has no queue to start.
            Role::Lmtp => {
                extensions |= Extensions::PIPELINING | Extensions::ENHANCED_STATUS_CODES;
                extensions -= Extensions::FUTURERELEASE | Extensions::ETRN;
            }
        }
        // RFC 6531 §3.1: who offers SMTPUTF8 offers 8BITMIME.
        if extensions.contains(Extensions::SMTPUTF8) {
            extensions |= Extensions::EIGHT_BIT_MIME;
        }
        // RFC 3030 §3: BINARYMIME is of no use without CHUNKING.
        if !extensions.contains(Extensions::CHUNKING) {
            extensions -= Extensions::BINARY_MIME;
        }
        // RFC 8689 §2: REQUIRETLS only where TLS is.
        if self.origin.tls.is_none() {
            extensions -= Extensions::REQUIRETLS;
        }
        if self.date.is_none() {
            extensions -= Extensions::FUTURERELEASE;
        }
        extensions.set(Extensions::REGISTERED, !config.registered.is_empty());
        extensions.set(Extensions::STARTTLS, config.starttls && self.origin.tls.is_none());
        extensions.set(Extensions::AUTH, self.may_authenticate() && mechanisms(config, &self.origin).next().is_some());
        self.extensions = extensions | self.trusted;
    }

    /// The date now, where the session was told of it.
    fn date(&self, now: Instant) -> Option<Timestamp> {
        let (date, since) = self.date?;
        Some(date.plus(since.map_or(Duration::ZERO, |since| now.saturating_duration_since(since))))
    }

    // RFC 4954 §4: no mechanism that shows a password is offered on a cleartext stream.
    fn may_authenticate(&self) -> bool {
        self.origin.tls.is_some() || self.config.cleartext_auth
    }

    /// Writes a reply; refusals are told and permanent ones counted.
    fn say(&mut self, reply: &Reply) {
        reply.write(self.outbox.text());
    }

    fn refuse(&mut self, reply: Reply) {
        self.say(&reply);
        // RFC 5321 §3.8: whoever says 421 closes.
        let closing = reply.code == 421;
        self.errors += u32::from(reply.is_permanent());
        self.events.push_back(Event::Refused(reply));
        if closing {
            self.close(CloseReason::Unanswered);
        } else if self.errors > self.config.limits.errors {
            self.violated(Violation::TooManyErrors);
            self.say(&reply::TOO_MANY_ERRORS);
            self.close(CloseReason::Limit);
        }
    }

    fn violated(&mut self, violation: Violation) {
        self.events.push_back(Event::Violation(violation));
    }

    fn close(&mut self, reason: CloseReason) {
        self.asking.forget();
        self.answer = None;
        self.inbox.set_wide(false);
        self.mail = Mail::None;
        self.state = State::Closed(reason);
    }

    /// Enters a state; its patience starts now.
    fn enter(&mut self, now: Instant, state: State) {
        // A close inside a transition stands.
        if matches!(self.state, State::Closed(_)) {
            return;
        }
        self.inbox.set_wide(matches!(state, State::Body(..) | State::AwaitChunk(..)));
        let deadline = now + state.patience(&self.config.timeouts);
        self.deadline = Some(state.until().map_or(deadline, |until| until.min(deadline)));
        self.state = state;
    }

    fn ask<Q>(&mut self, now: Instant, query: Q, state: State) -> Step
    where
        Q: Question<Request = Request>,
    {
        self.enter(now, state);
        Step::Ask(self.asking.ask(query))
    }

    /// Runs what can run now.
    fn step(&mut self, now: Instant) -> Step {
        if self.state.is_await() {
            return match self.answer.take() {
                Some(answer) => self.answered(now, answer),
                None => Step::Idle,
            };
        }
        match &self.state {
            State::Start => self.start(now),
            State::Greeting => self.greeting(now),
            State::Command => self.command(now),
            State::Sasl(_) => self.sasl_line(now),
            State::AwaitLayer { asked: false } => {
                // RFC 3207 §4.2: nothing that came before the handshake may be read after it.
                if !self.inbox.is_empty() {
                    self.violated(Violation::BehindStartTls);
                    self.close(CloseReason::Protocol);
                    return Step::Again;
                }
                self.enter(now, State::AwaitLayer { asked: true });
                Step::Layer(Layer::Tls)
            }
            State::AwaitLayer { asked: true } => match self.layered.take() {
                Some(done) => self.secured(now, done),
                None => Step::Idle,
            },
            State::Body(..) => self.body(now),
            State::Swallow(..) => self.swallow(now),
            _ => Step::Idle,
        }
    }

    fn start(&mut self, now: Instant) -> Step {
        if self.config.ask.contains(Ask::CONNECT) {
            return self.ask(now, Connect { origin: self.origin.clone() }, State::AwaitConnect);
        }
        self.hold_greeting(now)
    }

    fn hold_greeting(&mut self, now: Instant) -> Step {
        self.enter(now, State::Greeting);
        let delay = if self.greeted { Duration::ZERO } else { self.config.greet_delay };
        self.deadline = Some(now + delay);
        Step::Again
    }

    // RFC 5321 §4.3.1: the server greets first; a client that does not wait is told apart by holding the greeting back.
    fn greeting(&mut self, now: Instant) -> Step {
        if !self.greeted && !self.config.greet_delay.is_zero() && !self.inbox.is_empty() {
            self.violated(Violation::EarlyTalker);
            self.turn_away(now, reply::EARLY_TALKER);
            return Step::Again;
        }
        if self.deadline.is_some_and(|deadline| now < deadline) {
            return Step::Idle;
        }
        let protocol = if self.config.role == Role::Lmtp { "LMTP" } else { "ESMTP" };
        let line = format!("{} {protocol}", self.config.hostname);
        Reply { code: 220, enhanced: None, text: line.into() }.write(self.outbox.text());
        self.greeted = true;
        self.enter(now, State::Command);
        Step::Again
    }

    // RFC 5321 §3.1: a client that is not served is told 554 in place of the greeting, and the connection stays until
    // it says QUIT; any other command is out of sequence. Its errors are counted as everybody's.
    fn turn_away(&mut self, now: Instant, reply: Reply) {
        self.turned_away = true;
        self.enter(now, State::Command);
        self.refuse(reply.without_code());
    }

    /// The line at the front, ready to run, still in the inbox; `Err` when there is none to run now.
    ///
    /// Overlong lines are dropped as they come, whatever their length, and refused once at their end.
    fn line(&mut self, now: Instant, max: usize, too_long: Reply) -> Result<usize, NoLine> {
        if let Some(refusal) = self.overlong.take() {
            match self.inbox.line(usize::MAX) {
                Line::Complete(len) => {
                    self.inbox.consume(len);
                    self.enter(now, State::Command);
                    self.refuse(refusal);
                    return Err(NoLine::Again);
                }
                _ => {
                    let len = self.inbox.len();
                    self.inbox.consume(len);
                    self.overlong = Some(refusal);
                    return Err(NoLine::Input);
                }
            }
        }
        match self.inbox.line(max) {
            Line::Complete(len) => Ok(len),
            Line::Partial => Err(NoLine::Input),
            Line::TooLong => {
                self.overlong = Some(too_long);
                Err(NoLine::Again)
            }
        }
    }

    /// The octets of a line of this length without its line end; `None` where a bare LF is refused.
    fn without_line_end(&self, len: usize) -> Option<&[u8]> {
        let line = self.inbox.peek(len);
        let line = line.strip_suffix(b"\n").unwrap_or(line);
        match line.strip_suffix(b"\r") {
            Some(line) => Some(line),
            None if self.config.command_line_ends == LineEnds::Normalize => Some(line),
            None => None,
        }
    }

    /// An answer came.
    fn answered(&mut self, now: Instant, answer: Answer) -> Step {
        match (mem::replace(&mut self.state, State::Moved), answer) {
            (State::AwaitConnect, Answer::Connect(decision)) => match decision {
                Decision::Accepted => return self.hold_greeting(now),
                Decision::Refused(reply) => self.turn_away(now, reply.refusing()),
            },
            (State::AwaitHello(origin), Answer::Hello(decision)) => return self.hello_decided(now, origin, decision),
            (State::AwaitLookUp { smtputf8 }, Answer::Verify(looked) | Answer::Expand(looked)) => {
                self.looked_up(now, looked, smtputf8);
            }
            (State::AwaitExtension(verb), Answer::ExtensionCommand(reply)) => self.ran(now, verb, reply),
            (State::AwaitSasl(exchange), Answer::SaslStep(stepped)) => self.sasl_stepped(now, exchange, stepped),
            (State::AwaitMail(sender, lowered), Answer::MailFrom(decision)) => {
                self.mail_decided(now, sender, lowered, decision);
            }
            (State::AwaitRcpt(recipients), Answer::RcptTo(decisions)) => self.rcpt_decided(now, recipients, decisions),
            (State::AwaitOpen(upload, extent), Answer::BodyOpen(decision)) => {
                self.opened(now, upload, extent, decision);
            }
            (State::AwaitChunk(upload, extent, end), Answer::BodyChunk(decision)) => {
                return self.chunk_decided(now, upload, extent, end, decision);
            }
            (State::AwaitAbandon(upload, extent, end), Answer::Abandon(())) => {
                return self.after_chunk(now, upload, extent, end);
            }
            (State::AwaitDrop(why), Answer::Abandon(())) => {
                self.mail = Mail::None;
                self.enter(now, State::Command);
                match why {
                    Dropped::Reset => self.say(&reply::OK),
                    Dropped::Hello => self.greet(now),
                }
            }
            (State::AwaitCommit(upload), Answer::Commit(committed)) => self.committed(now, *upload, committed),
            // Ids make this impossible: an answer belongs to the question that is out.
            (state, _) => self.state = state,
        }
        Step::Again
    }

    /// The current state has lasted too long.
    fn expire(&mut self) {
        match &self.state {
            State::AwaitConnect => {
                self.say(&reply::NO_ANSWER.without_code());
                self.close(CloseReason::Unanswered);
            }
            state if state.is_await() => {
                self.say(&reply::NO_ANSWER);
                self.close(CloseReason::Unanswered);
            }
            State::AwaitLayer { .. } => self.close(CloseReason::Timeout),
            State::Body(upload, _) if self.deadline == Some(upload.until) => {
                self.say(&reply::TOO_SLOW);
                self.close(CloseReason::Timeout);
            }
            _ => {
                // RFC 5321 §4.5.3.2.7: a server waits at least 5 minutes, then says 421.
                self.say(&reply::IDLE);
                self.close(CloseReason::Timeout);
            }
        }
    }

    /// Whether the peer drains too little for another command to run; `Some` is what to do instead.
    fn held_up(&mut self, now: Instant, unsent: usize) -> Option<Output<Request, Event>> {
        if unsent + self.outbox.len() <= self.config.limits.low_water {
            self.stalled = None;
            return None;
        }
        if let Some(octets) = self.outbox.take() {
            return Some(Output::Send(octets));
        }
        let since = match self.stalled {
            Some((since, held)) if unsent >= held => since,
            _ => now,
        };
        self.stalled = Some((since, unsent));
        let deadline = since + self.config.timeouts.stalled;
        if now >= deadline {
            self.close(CloseReason::Stalled);
            return Some(Output::Close(CloseReason::Stalled));
        }
        // The peer's silence is not counted while it is we who do not run its commands.
        self.deadline = Some(deadline + self.state.patience(&self.config.timeouts));
        Some(Output::Wait(Wait { input: self.inbox.is_readable(), output: true, deadline: Some(deadline) }))
    }
}

impl Session for Server {
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

    // RFC 5321 §4.1.1.10: a transaction that is cut off ends as if it had met a temporary error. What a client had
    // pipelined behind a reply that never left would be accepted without its knowing, and sent again.
    fn handle_reset(&mut self) {
        self.reset = true;
        self.inbox.clear();
        self.inbox.close();
    }

    fn resume(&mut self, answered: Answered) {
        if self.asking.accept(answered.id) {
            self.answer = Some(answered.answer);
        }
    }

    fn layered(&mut self, done: Result<LayerInfo, LayerError>) {
        if matches!(self.state, State::AwaitLayer { asked: true }) {
            self.layered = Some(done);
        }
    }

    /// Nothing that happens elsewhere concerns a mail transaction.
    fn notify(&mut self, (): ()) {}

    fn shutdown(&mut self) {
        self.shutdown = true;
    }

    fn poll_output(&mut self, now: Instant, unsent: usize) -> Output<Request, Event> {
        if let Some((_, since @ None)) = &mut self.date {
            *since = Some(now);
        }
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
            if self.reset && !self.state.is_await() {
                self.close(CloseReason::Eof);
                continue;
            }
            // RFC 5321 §3.8: 421 between commands; a message on its way in is finished first.
            if self.shutdown && matches!(self.state, State::Start | State::Greeting | State::Command | State::Sasl(_)) {
                let greeted = !matches!(self.state, State::Start | State::Greeting);
                self.say(&if greeted { reply::SHUTTING_DOWN } else { reply::SHUTTING_DOWN.without_code() });
                self.close(CloseReason::Shutdown);
                continue;
            }
            if matches!(self.state, State::Command | State::Sasl(_))
                && let Some(output) = self.held_up(now, unsent)
            {
                return output;
            }
            let step = self.step(now);
            let input = match step {
                Step::Again => continue,
                Step::Ask(request) => return Output::Request(request),
                Step::Layer(layer) => {
                    return match self.outbox.take() {
                        Some(octets) => {
                            self.state = State::AwaitLayer { asked: false };
                            Output::Send(octets)
                        }
                        None => Output::Layer(layer),
                    };
                }
                Step::Input => true,
                Step::Idle => false,
            };
            if input && self.inbox.is_closed() {
                // RFC 5321 §4.1.1.4: a message without its end is none; what was taken of it goes with the session.
                self.close(CloseReason::Eof);
                continue;
            }
            if self.deadline.is_some_and(|deadline| now >= deadline) && !matches!(self.state, State::Greeting) {
                self.expire();
                continue;
            }
            if let Some(octets) = self.outbox.take() {
                return Output::Send(octets);
            }
            // While the layer changes, what arrives belongs to the layer.
            let input = self.inbox.is_readable() && !matches!(self.state, State::AwaitLayer { .. });
            return Output::Wait(Wait { input, output: false, deadline: self.deadline });
        }
    }
}
