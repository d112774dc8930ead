//! A small protocol for the kit's own tests, which can be made to break each rule.

#![allow(unreachable_pub, reason = "the macro makes the questions public")]

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use bytes::buf::Limit;
use bytes::{Bytes, BytesMut};

use crate::session::Layer;
use crate::session::{Asking, CloseReason, Inbox, LayerError, LayerInfo, Line, Outbox, Output, Session, Wait};
use crate::testkit::driven::Asked;
use crate::testkit::transcript::{Adapter, Header};

/// What does it say?
#[derive(Debug)]
pub(crate) struct Ask {
    pub(crate) about: String,
}

/// A piece of a body.
#[derive(Debug)]
pub(crate) struct Chunk {
    pub(crate) data: Bytes,
}

/// The body is whole.
#[derive(Debug)]
pub(crate) struct Commit {
    pub(crate) size: u64,
}

crate::questions! {
    /// A question.
    Ask -> Option<String>, refused by None;
    /// A piece.
    Chunk -> bool, refused by false;
    /// The end.
    Commit -> bool, refused by false;
}

/// Which rule the session breaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    /// None.
    None,
    /// Replies to a line only when nothing is buffered behind it.
    DependsOnSplits,
    /// Offers the socket more than its window.
    WideWindow,
    /// Takes every answer for the current one.
    TakesStale,
    /// Waits for input without a deadline.
    NoIdleDeadline,
    /// Waits for answers without a deadline.
    NoAnswerDeadline,
    /// Waits for the peer to drain without a deadline.
    NoDrainDeadline,
    /// Falls over a refusal.
    PanicsOnRefusal,
    /// Names a deadline that has passed.
    Spins,
}

#[derive(Debug)]
enum State {
    Line,
    Body { left: u64, size: u64, refused: bool },
    Asked { body: Option<(u64, u64)>, since: Option<Instant> },
    Layer,
    Closed(CloseReason),
}

#[derive(Debug)]
pub(crate) struct Server {
    rx: Inbox,
    tx: Outbox,
    asking: Asking,
    ready: VecDeque<Request>,
    events: VecDeque<String>,
    layer: bool,
    state: State,
    fault: Fault,
    idle_since: Option<Instant>,
    undrained_since: Option<Instant>,
    buffered: usize,
}

pub(crate) const WINDOW: usize = 2048;
const LINE: usize = 100;
const IDLE: Duration = Duration::from_secs(300);
const ANSWER: Duration = Duration::from_secs(60);
const DRAIN: Duration = Duration::from_secs(120);

impl Server {
    pub(crate) fn new(fault: Fault) -> Server {
        let mut server = Server {
            rx: Inbox::new(if fault == Fault::WideWindow { 3 * WINDOW } else { WINDOW }),
            tx: Outbox::default(),
            asking: Asking::default(),
            ready: VecDeque::new(),
            events: VecDeque::new(),
            layer: false,
            state: State::Line,
            fault,
            idle_since: None,
            undrained_since: None,
            buffered: 0,
        };
        server.say("* ready");
        server
    }

    fn say(&mut self, line: &str) {
        self.tx.text().extend_from_slice(format!("{line}\r\n").as_bytes());
    }

    fn close(&mut self, line: &str, reason: CloseReason) {
        self.say(line);
        self.asking.forget();
        self.state = State::Closed(reason);
    }

    fn ask(&mut self, request: Request, body: Option<(u64, u64)>) {
        self.ready.push_back(request);
        self.state = State::Asked { body, since: None };
    }

    fn command(&mut self, line: &str) {
        let (verb, rest) = line.split_once(' ').unwrap_or((line, ""));
        match verb {
            "ECHO" if self.fault == Fault::DependsOnSplits && !self.rx.is_empty() => {}
            "ECHO" => self.say(&format!("= {rest}")),
            "LOG" => self.events.push_back(format!("Log {rest}")),
            "ASK" => {
                let request = self.asking.ask(Ask { about: rest.to_owned() });
                self.ask(request, None);
            }
            "BODY" => {
                let size = rest.parse().unwrap_or(0);
                self.say("+ go");
                self.state = State::Body { left: size, size, refused: false };
            }
            "TLS" => {
                self.say("+ go");
                self.layer = true;
                self.state = State::Layer;
            }
            "QUIT" => self.close("* bye", CloseReason::Quit),
            _ => self.say("- what"),
        }
    }

    /// Does one thing with the input; says whether there was one.
    fn input(&mut self) -> bool {
        match self.state {
            State::Line => match self.rx.line(LINE) {
                Line::Complete(len) => {
                    let line = String::from_utf8_lossy(self.rx.peek(len)).trim_end().to_owned();
                    self.rx.consume(len);
                    self.command(&line);
                }
                Line::TooLong => self.close("- too long", CloseReason::Limit),
                Line::Partial if self.rx.is_closed() => self.state = State::Closed(CloseReason::Eof),
                Line::Partial => return false,
            },
            State::Body { left: 0, size, refused } => {
                if refused {
                    self.say("- refused");
                    self.state = State::Line;
                } else {
                    let request = self.asking.ask(Commit { size });
                    self.ask(request, None);
                }
            }
            State::Body { left, size, refused } => {
                if self.rx.is_empty() {
                    if self.rx.is_closed() {
                        self.state = State::Closed(CloseReason::Eof);
                    }
                    return self.rx.is_closed();
                }
                let data = self.rx.take(usize::try_from(left).unwrap());
                let left = left - data.len() as u64;
                if refused {
                    self.state = State::Body { left, size, refused };
                } else {
                    let request = self.asking.ask(Chunk { data });
                    self.ask(request, Some((left, size)));
                }
            }
            State::Asked { .. } | State::Layer | State::Closed(_) => return false,
        }
        true
    }

    fn deadline(&mut self, now: Instant, unsent: usize) -> Option<Instant> {
        if unsent == 0 {
            self.undrained_since = None;
        } else {
            self.undrained_since.get_or_insert(now);
        }
        if self.buffered != self.rx.len() {
            self.buffered = self.rx.len();
            self.idle_since = None;
        }
        let idle = *self.idle_since.get_or_insert(now) + IDLE;
        let drain = self.undrained_since.map(|since| since + DRAIN).filter(|_| self.fault != Fault::NoDrainDeadline);
        let wait = match &mut self.state {
            State::Asked { since, .. } => {
                let at = *since.get_or_insert(now) + ANSWER;
                Some(at).filter(|_| self.fault != Fault::NoAnswerDeadline)
            }
            _ => Some(idle).filter(|_| self.fault != Fault::NoIdleDeadline && self.undrained_since.is_none()),
        };
        match (wait, drain) {
            (Some(a), Some(b)) => Some(a.min(b)),
            (a, b) => a.or(b),
        }
    }
}

impl Session for Server {
    type Request = Request;
    type Answered = Answered;
    type Event = String;
    type News = String;

    fn input_buf(&mut self) -> Limit<&mut BytesMut> {
        self.rx.limit()
    }

    fn handle_eof(&mut self) {
        self.rx.close();
    }

    fn resume(&mut self, answered: Answered) {
        if !self.asking.accept(answered.id) && self.fault != Fault::TakesStale {
            return;
        }
        let State::Asked { body, .. } = self.state else { return };
        self.idle_since = None;
        self.state = State::Line;
        match answered.answer {
            Answer::Ask(Some(text)) => self.say(&format!("+ {text}")),
            Answer::Ask(None) => {
                assert!(self.fault != Fault::PanicsOnRefusal, "planted");
                self.say("- refused");
            }
            Answer::Chunk(taken) => {
                let (left, size) = body.unwrap_or_default();
                self.state = State::Body { left, size, refused: !taken };
            }
            Answer::Commit(done) => self.say(if done { "+ done" } else { "- failed" }),
        }
    }

    fn layered(&mut self, done: Result<LayerInfo, LayerError>) {
        match done {
            Ok(info) => {
                self.events.push_back(format!("Layer {}", info.version.unwrap_or("?")));
                self.state = State::Line;
            }
            Err(_) => self.state = State::Closed(CloseReason::Layer),
        }
    }

    fn notify(&mut self, news: String) {
        self.say(&format!("* {news}"));
    }

    fn shutdown(&mut self) {
        self.close("* shutting down", CloseReason::Shutdown);
    }

    fn poll_output(&mut self, now: Instant, unsent: usize) -> Output<Request, String> {
        if let Some(at) = self.deadline(now, unsent).filter(|at| now >= *at) {
            match self.state {
                State::Closed(_) => {}
                _ if self.undrained_since.is_some_and(|since| since + DRAIN <= at) => {
                    self.state = State::Closed(CloseReason::Stalled);
                }
                State::Asked { .. } => self.close("- unanswered", CloseReason::Unanswered),
                _ => self.close("- idle", CloseReason::Timeout),
            }
        }
        loop {
            if let Some(event) = self.events.pop_front() {
                return Output::Event(event);
            }
            if let Some(request) = self.ready.pop_front() {
                return Output::Request(request);
            }
            if self.input() {
                continue;
            }
            if let Some(octets) = self.tx.take() {
                return Output::Send(octets);
            }
            if let State::Closed(reason) = self.state {
                return Output::Close(reason);
            }
            if std::mem::take(&mut self.layer) {
                if !self.rx.is_empty() {
                    self.state = State::Closed(CloseReason::Protocol);
                    continue;
                }
                return Output::Layer(Layer::Tls);
            }
            let deadline = if self.fault == Fault::Spins { Some(now) } else { self.deadline(now, unsent) };
            let input = self.rx.is_readable() && !matches!(self.state, State::Layer);
            return Output::Wait(Wait { input, output: false, deadline });
        }
    }
}

/// How [`Request`]s look in comparisons.
pub(crate) fn asked(request: &Request) -> Asked {
    match request {
        Request::Ask(ask) => Asked::Whole(format!("Ask {}", ask.query.about)),
        Request::Chunk(chunk) => Asked::Piece("Chunk".into(), chunk.query.data.clone()),
        Request::Commit(commit) => Asked::Whole(format!("Commit size={}", commit.query.size)),
    }
}

/// The answers when all goes well.
pub(crate) fn answer(request: Request) -> Answered {
    match request {
        Request::Ask(ask) => {
            let about = ask.query.about.clone();
            ask.answer(Some(about))
        }
        Request::Chunk(chunk) => chunk.answer(true),
        Request::Commit(commit) => commit.answer(true),
    }
}

#[derive(Debug)]
pub(crate) struct Parley(pub(crate) Fault);

impl Adapter for Parley {
    type Session = Server;

    fn session(&mut self, header: &Header) -> Server {
        assert_eq!(header.value("session"), Some("parley"));
        Server::new(self.0)
    }

    fn asked(&mut self, request: &Request) -> Asked {
        asked(request)
    }

    fn answer(&mut self, request: Request, text: &str) -> Result<Answered, String> {
        Ok(match (request, text) {
            (request, "decline") => request.decline(),
            (Request::Ask(ask), text) => ask.answer(Some(text.to_owned())),
            (Request::Chunk(chunk), "Taken") => chunk.answer(true),
            (Request::Commit(commit), "Done") => commit.answer(true),
            (request, text) => return Err(format!("{text} does not answer {}", request.name())),
        })
    }

    fn usual(&mut self, request: &Request) -> Option<String> {
        Some(match request {
            Request::Ask(ask) => ask.query.about.clone(),
            Request::Chunk(_) => "Taken".into(),
            Request::Commit(_) => "Done".into(),
        })
    }

    fn event(&mut self, event: &String) -> Option<String> {
        Some(event.clone())
    }

    fn news(&mut self, text: &str) -> Result<String, String> {
        Ok(text.to_owned())
    }
}
