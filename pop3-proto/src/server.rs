//! The server's session.
//!
//! RFC 1939 §3 to §6 (states, timers, the maildrop's lock, UPDATE), RFC 2449 §4 and §6.6, RFC 2595 §4.
//!
//! A session knows no user, no store and no clock. Commands are executed one at a time, in order, as long as the peer
//! drains what it is sent; what they need is asked ([`request`](crate::request)).
//!
//! ```text
//!            greeting
//!               │
//!               ▼   STLS ─▶ TLS ─▶ (everything learnt is forgotten)
//!        ┌ AUTHORIZATION ◀────────────────────────────────────────────┐
//!        │      │ PASS, APOP, AUTH: accepted                          │ [IN-USE], [LOGIN-DELAY], [SYS/TEMP]
//!   QUIT │      ▼                                                     │
//!        │  OpenMaildrop ─▶ MaildropPage… ───────────────────────────┘
//!        │      │
//!        │      ▼            RenewLease at its time; lost: -ERR to the next command, then the end
//!        │  TRANSACTION
//!        │      │ QUIT                  │ link dropped, timeout, failure: nothing is removed
//!        │      ▼                       │
//!        │    Commit                    │
//!        │      ▼                       ▼
//!        └──▶ Release, reply ───▶ Close
//! ```

mod authorization;
mod listing;
mod retrieval;
mod timers;
mod transaction;
mod update;

use std::collections::VecDeque;
use std::convert::Infallible;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::buf::Limit;
use bytes::{BufMut, BytesMut};
use mailstore_trait::sasl::Mechanism;
use mailstore_trait::session::{
    Asking, CloseReason, Inbox, Layer, LayerError, LayerInfo, Line, Outbox, Output, Peer, Question, Session, Wait,
};
use smallvec::SmallVec;

use crate::apop;
use crate::capability::{Expire, LoginDelay};
use crate::command::{self, Command, CommandErrorKind};
use crate::config::Config;
use crate::event::{Event, Violation};
use crate::maildrop::Maildrop;
use crate::reply::{ResponseCode, write_decimal};
use crate::request::{Answer, Answered, LeaseRenewed, MaildropPage, OpenMaildrop, Release, RenewLease, Request};
use crate::text::{Catalog, ENGLISH, Text};

use self::listing::Listing;
use self::retrieval::Retrieval;
use self::timers::{Timers, is_past};
use self::update::Farewell;

/// Ready octets that are handed to the driver before anything else is done.
const SEND_AT: usize = 32 * 1024;

/// A server's session over one connection.
#[derive(Debug)]
pub struct Server {
    config: Arc<Config>,
    tls: Option<Arc<LayerInfo>>,
    /// The timestamp of the greeting, when APOP is offered.
    timestamp: Option<String>,
    inbox: Inbox,
    outbox: Outbox,
    asking: Asking,
    events: VecDeque<Event>,
    timers: Timers,
    language: &'static Catalog,
    utf8: bool,
    /// What USER said.
    user: Option<String>,
    failed_logins: u32,
    bad_commands: u32,
    /// Set while the lease is held.
    account: Option<Box<Account>>,
    phase: Phase,
    stopping: bool,
}

/// Whoever is logged in, and the maildrop.
#[derive(Debug)]
struct Account {
    user: String,
    maildrop: Maildrop,
    login_delay: Option<LoginDelay>,
    expire: Option<Expire>,
    lease_lost: bool,
    /// Messages found to be gone.
    gone: u32,
}

/// What comes next when no question is out.
#[derive(Debug)]
enum Phase {
    Greeting,
    /// A command.
    Command,
    /// The rest of an over-long line; so many octets of it were read.
    Skip(usize),
    /// A question that alone can move the session on.
    Await,
    /// The response to a challenge.
    SaslResponse(Mechanism),
    /// The maildrop is to be opened for this user.
    Open(String),
    /// The next page of the snapshot.
    Page,
    /// The reply to a failed login waits.
    Tarpit(Tarpit),
    Listing(Listing),
    Retrieval(Box<Retrieval>),
    /// TLS once everything is sent.
    Layer,
    AwaitLayer,
    Commit,
    /// The lease is given back, then the farewell is said.
    Release(Farewell),
    /// Everything is said.
    End(CloseReason),
}

#[derive(Debug)]
struct Tarpit {
    wait: Duration,
    until: Option<Instant>,
    code: ResponseCode,
    text: Text,
}

enum Step {
    /// Something moved; look again.
    Again,
    /// A question.
    Ask(Request),
    /// TLS.
    Layer,
    /// Nothing without input, an answer or time.
    Blocked,
    /// Nothing before the peer drains.
    Full,
}

impl Server {
    /// A session over a connection that was just accepted. [`Peer::tls`] says whether it began with TLS (RFC 8314 §3.1).
    #[must_use]
    pub fn new(config: Arc<Config>, peer: &Peer) -> Server {
        let limits = &config.limits;
        let window = limits.line.max(limits.sasl_line).max(1024);
        Server {
            inbox: Inbox::new(window),
            tls: peer.tls.clone().map(Arc::new),
            timestamp: None,
            outbox: Outbox::default(),
            asking: Asking::default(),
            events: VecDeque::new(),
            timers: Timers::default(),
            language: &ENGLISH,
            utf8: false,
            user: None,
            failed_logins: 0,
            bad_commands: 0,
            account: None,
            phase: Phase::Greeting,
            stopping: false,
            config,
        }
    }

    /// Offers APOP (RFC 1939 §7) with this timestamp: in angle brackets, unique, unpredictable, never used twice.
    ///
    /// MD5 is broken and the password must be stored in clear for it; nothing but old clients speaks for it. A text that
    /// is no [timestamp](crate::apop::is_timestamp) offers nothing. `World::timestamp` (feature `store`) makes one.
    #[must_use]
    pub fn with_apop(mut self, timestamp: String) -> Server {
        self.timestamp = Some(timestamp).filter(|timestamp| apop::is_timestamp(timestamp.as_bytes()));
        self
    }

    /// Does the next thing.
    fn step(&mut self, now: Instant, unsent: usize) -> Step {
        if self.asking.is_out() {
            return Step::Blocked;
        }
        if self.renewal_is_due(now) {
            self.timers.renew_in(self.config.limits.renew);
            return self.ask(now, RenewLease { lease: self.config.limits.lease });
        }
        let full = unsent.saturating_add(self.outbox.len()) > self.config.limits.low_water;
        match &mut self.phase {
            Phase::Greeting => {
                self.greet();
                self.phase = Phase::Command;
                self.timers.begin(now);
                Step::Again
            }
            Phase::Command | Phase::SaslResponse(_) | Phase::Listing(_) | Phase::Retrieval(_) if full => Step::Full,
            Phase::Command => self.next_command(now),
            Phase::Skip(_) => self.skip(),
            Phase::SaslResponse(mechanism) => {
                let mechanism = *mechanism;
                self.next_response(mechanism, now)
            }
            // The answer was taken and set another phase, or was forgotten at its deadline, which set one too.
            Phase::Await => Step::Blocked,
            Phase::Open(_) => self.ask(now, OpenMaildrop { lease: self.config.limits.lease }),
            Phase::Page => {
                let after = self.account.as_ref().and_then(|account| account.maildrop.last_uid());
                self.ask(now, MaildropPage { after, max: self.config.limits.page.max(1) })
            }
            Phase::Tarpit(tarpit) => {
                let until = *tarpit.until.get_or_insert(now + tarpit.wait);
                if now < until {
                    return Step::Blocked;
                }
                let (code, text) = (tarpit.code, tarpit.text);
                self.tarpit_over(code, text);
                self.timers.command(now);
                Step::Again
            }
            Phase::Listing(listing) => {
                let mut listing = *listing;
                let more = self.list(&mut listing);
                self.phase = if more { Phase::Listing(listing) } else { Phase::Command };
                self.timers.command(now);
                Step::Again
            }
            Phase::Retrieval(retrieval) => {
                let question = retrieval.next(self.config.limits.chunk.max(1));
                match question {
                    Some(question) => self.ask(now, question),
                    None => {
                        self.retrieved();
                        self.timers.command(now);
                        Step::Again
                    }
                }
            }
            Phase::Layer => {
                if !self.outbox.is_empty() {
                    return Step::Blocked;
                }
                self.phase = Phase::AwaitLayer;
                self.timers.layer(now + self.config.limits.layer);
                Step::Layer
            }
            Phase::AwaitLayer => Step::Blocked,
            // RFC 1939 §6: the replies before QUIT's go first, so that a link that is broken removes nothing.
            Phase::Commit if !self.outbox.is_empty() => Step::Blocked,
            Phase::Commit if unsent > 0 => Step::Full,
            Phase::Commit => {
                let commit = self.commit();
                self.ask(now, commit)
            }
            Phase::Release(farewell) => {
                let farewell = *farewell;
                if self.account.take().is_some() {
                    return self.ask(now, Release);
                }
                self.say(farewell);
                self.phase = Phase::End(farewell.reason);
                Step::Again
            }
            Phase::End(_) => Step::Blocked,
        }
    }

    fn ask<Q: Question<Request = Request>>(&mut self, now: Instant, question: Q) -> Step {
        let limits = &self.config.limits;
        let patience = match self.phase {
            Phase::Commit => limits.commit,
            Phase::Release(_) => limits.release,
            _ => limits.answer,
        };
        self.timers.ask(now + patience);
        Step::Ask(self.asking.ask(question))
    }

    fn next_command(&mut self, now: Instant) -> Step {
        if self.stopping {
            self.finish(Farewell::err(ResponseCode::SysTemp, Text::ShuttingDown, CloseReason::Shutdown));
            return Step::Again;
        }
        // RFC 5034 §4: an initial response has to fit into the line of a command; longer ones are common, and taken.
        let auth = self.inbox.peek(5).eq_ignore_ascii_case(b"AUTH ");
        let limits = &self.config.limits;
        let max = if auth { limits.sasl_line } else { limits.line };
        match self.inbox.line(max.max(255)) {
            Line::Complete(len) => {
                self.timers.command(now);
                self.execute(len, now)
            }
            Line::Partial if self.inbox.is_closed() => {
                // RFC 1939 §6: a session that ends without QUIT never enters the UPDATE state.
                self.finish(Farewell::silent(CloseReason::Eof));
                Step::Again
            }
            Line::Partial => Step::Blocked,
            Line::TooLong => {
                self.phase = Phase::Skip(0);
                Step::Again
            }
        }
    }

    /// Executes the line of `len` octets at the front of the input.
    fn execute(&mut self, len: usize, now: Instant) -> Step {
        let line = copy_line(&mut self.inbox, len);
        // RFC 1939 §5: a session whose lock is gone may promise nothing any more.
        if self.account.as_ref().is_some_and(|account| account.lease_lost) {
            self.finish(Farewell::err(ResponseCode::SysTemp, Text::LockLost, CloseReason::Unanswered));
            return Step::Again;
        }
        let command = match command::parse(&line) {
            Ok(command) => command,
            Err(error) => {
                let unknown = error.kind == CommandErrorKind::Unknown;
                self.bad(Violation::Command(error.kind), if unknown { Text::UnknownCommand } else { Text::Syntax });
                return Step::Again;
            }
        };
        match command {
            Command::Quit => {
                self.quit();
                Step::Again
            }
            Command::Capa => {
                self.capa();
                Step::Again
            }
            // RFC 6856 §3.1: LANG is valid in both states.
            Command::Lang(range) => {
                self.lang(range);
                Step::Again
            }
            command if self.account.is_some() => self.transaction(command),
            command => self.authorization(command, now),
        }
    }

    /// Reads an over-long line to its end.
    fn skip(&mut self) -> Step {
        let Phase::Skip(skipped) = self.phase else { return Step::Again };
        let held = self.inbox.as_slice();
        let end = memchr::memchr(b'\n', held);
        let len = end.map_or(held.len(), |at| at + 1);
        let skipped = skipped.saturating_add(len);
        self.inbox.consume(len);
        if skipped > self.config.limits.skip {
            self.events.push_back(Event::Violation(Violation::LineTooLong));
            self.finish(Farewell::plain_err(Text::LineTooLong, CloseReason::Limit));
        } else if end.is_some() {
            self.phase = Phase::Command;
            self.bad(Violation::LineTooLong, Text::LineTooLong);
        } else if self.inbox.is_closed() {
            self.finish(Farewell::silent(CloseReason::Eof));
        } else {
            self.phase = Phase::Skip(skipped);
            if len == 0 {
                return Step::Blocked;
            }
        }
        Step::Again
    }

    /// Ends the session: the lease is given back first, then the farewell is said.
    fn finish(&mut self, farewell: Farewell) {
        self.phase = Phase::Release(farewell);
    }

    fn renewal_is_due(&self, now: Instant) -> bool {
        let waits = matches!(
            self.phase,
            Phase::Command | Phase::Skip(_) | Phase::Page | Phase::Listing(_) | Phase::Retrieval(_) | Phase::Commit
        );
        let held = self.account.as_ref().is_some_and(|account| !account.lease_lost);
        waits && held && is_past(self.timers.renewal_deadline(), now)
    }

    fn renewed(&mut self, renewed: LeaseRenewed) {
        match renewed {
            LeaseRenewed::Renewed => self.timers.held(self.config.limits.lease),
            // As long as the last renewal holds, nobody else can have the lease.
            LeaseRenewed::Unavailable if self.timers.is_held() => {}
            LeaseRenewed::Lost | LeaseRenewed::Unavailable => {
                if let Some(account) = &mut self.account {
                    account.lease_lost = true;
                    self.events.push_back(Event::LeaseLost);
                }
            }
        }
    }

    /// The deadlines that have passed. Answers whether one changed anything.
    fn expire(&mut self, now: Instant, unsent: usize) -> bool {
        let limits = self.config.limits;
        if self.asking.is_out() {
            if is_past(self.timers.answer_deadline(), now) {
                self.asking.forget();
                self.phase = match self.phase {
                    // The lease runs out by itself.
                    Phase::Release(farewell) => {
                        self.say(farewell);
                        Phase::End(farewell.reason)
                    }
                    _ => Phase::End(CloseReason::Unanswered),
                };
                return true;
            }
            return false;
        }
        let late = match self.phase {
            Phase::End(_) | Phase::Release(_) | Phase::Greeting => return false,
            Phase::AwaitLayer => is_past(self.timers.layer_deadline(), now).then_some(CloseReason::Layer),
            _ if unsent > 0 => is_past(self.timers.stall_deadline(limits.stall), now).then_some(CloseReason::Stalled),
            // RFC 1939 §3: the connection is closed without a response, and no message is removed.
            Phase::Command | Phase::Skip(_) | Phase::SaslResponse(_) => {
                let login = self.timers.login_deadline(limits.authorization).filter(|_| self.account.is_none());
                let idle = self.timers.idle_deadline(limits.idle);
                (is_past(login, now) || is_past(idle, now)).then_some(CloseReason::Timeout)
            }
            _ => None,
        };
        if let Some(reason) = late {
            self.finish(Farewell::silent(reason));
        }
        late.is_some()
    }

    /// When to be polled again in any case.
    fn deadline(&self, unsent: usize) -> Option<Instant> {
        let limits = &self.config.limits;
        if self.asking.is_out() {
            return self.timers.answer_deadline();
        }
        let own = match &self.phase {
            Phase::AwaitLayer => return self.timers.layer_deadline(),
            Phase::Tarpit(tarpit) => tarpit.until,
            _ if unsent > 0 => self.timers.stall_deadline(limits.stall),
            _ if self.account.is_none() => {
                self.timers.login_deadline(limits.authorization).min(self.timers.idle_deadline(limits.idle))
            }
            _ => self.timers.idle_deadline(limits.idle),
        };
        let renewal = self.account.as_ref().filter(|account| !account.lease_lost).and(self.timers.renewal_deadline());
        [own, renewal].into_iter().flatten().min()
    }

    /// The reply `+OK` with a sentence.
    fn ok(&mut self, text: Text, numbers: [u64; 2]) {
        self.outbox.text().put_slice(b"+OK ");
        self.sentence(text, numbers);
    }

    /// The reply `-ERR` with a code and a sentence.
    fn err(&mut self, code: Option<ResponseCode>, text: Text) {
        self.err_about(code, text, 0);
    }

    fn err_about(&mut self, code: Option<ResponseCode>, text: Text, number: u32) {
        let out = self.outbox.text();
        out.put_slice(b"-ERR ");
        // RFC 2449 §8: the code comes first, in brackets.
        if let Some(code) = code {
            out.put_slice(b"[");
            out.put_slice(code.name().as_bytes());
            out.put_slice(b"] ");
        }
        self.sentence(text, [u64::from(number), 0]);
    }

    fn sentence(&mut self, text: Text, numbers: [u64; 2]) {
        let out = self.outbox.text();
        self.language.write(text, &self.config.host, numbers, out);
        out.put_slice(b"\r\n");
    }

    /// Answers what is no command here, and ends a peer that says nothing else.
    fn bad(&mut self, violation: Violation, text: Text) {
        self.events.push_back(Event::Violation(violation));
        self.bad_commands = self.bad_commands.saturating_add(1);
        if self.bad_commands >= self.config.limits.bad_commands.max(1) {
            self.finish(Farewell::plain_err(Text::TooManyFailures, CloseReason::Limit));
        } else {
            self.err(None, text);
        }
    }

    fn greet(&mut self) {
        self.outbox.text().put_slice(b"+OK ");
        // RFC 1939 §7: the timestamp is part of the greeting, spelt as a message-id.
        match &self.timestamp {
            Some(timestamp) => {
                let out = self.outbox.text();
                self.language.write(Text::Greeting, &self.config.host, [0, 0], out);
                out.put_slice(b" ");
                out.put_slice(timestamp.as_bytes());
                out.put_slice(b"\r\n");
            }
            None => self.sentence(Text::Greeting, [0, 0]),
        }
    }
}

/// Takes a line of `len` octets off the input, without its line end. The copy lies on the stack, and so arguments can
/// be used while the session changes.
///
/// RFC 1939 §3 ends lines with CRLF. A bare LF is taken too, for people who type: no octet of a session is handed on to
/// another parser that could see other lines.
fn copy_line(inbox: &mut Inbox, len: usize) -> SmallVec<[u8; 256]> {
    let line = inbox.peek(len);
    let line = line.strip_suffix(b"\n").unwrap_or(line);
    let line = SmallVec::from_slice(line.strip_suffix(b"\r").unwrap_or(line));
    inbox.consume(len);
    line
}

/// `1 20` and its CRLF.
fn write_pair(first: u64, second: u64, out: &mut BytesMut) {
    write_decimal(first, out);
    out.put_slice(b" ");
    write_decimal(second, out);
    out.put_slice(b"\r\n");
}

impl Session for Server {
    type Request = Request;
    type Answered = Answered;
    type Event = Event;
    /// A maildrop is a snapshot: nothing that happens elsewhere changes what a session says.
    type News = Infallible;

    fn input_buf(&mut self) -> Limit<&mut BytesMut> {
        self.inbox.limit()
    }

    fn handle_eof(&mut self) {
        self.inbox.close();
    }

    // RFC 1939 §6: UPDATE is entered by a QUIT that is answered. What is pipelined behind a reply that never left, QUIT
    // above all, was said without knowing that reply: it is not run, and the marks go with it.
    fn handle_reset(&mut self) {
        self.inbox.clear();
        self.inbox.close();
        match self.phase {
            // What is under way is ended by its answer.
            Phase::Commit if self.asking.is_out() => return,
            Phase::Release(_) | Phase::End(_) => return,
            _ if !self.asking.is_out() => self.finish(Farewell::silent(CloseReason::Eof)),
            // Nobody hears the rest.
            Phase::Listing(_) | Phase::Retrieval(_) => self.phase = Phase::Command,
            _ => {}
        }
        if let Some(account) = &mut self.account {
            account.maildrop.reset();
        }
    }

    fn resume(&mut self, answered: Answered) {
        if !self.asking.accept(answered.id) {
            return;
        }
        match answered.answer {
            Answer::Login(outcome) | Answer::Apop(outcome) => self.login_concluded(outcome),
            Answer::SaslStep(stepped) => self.sasl_stepped(stepped),
            Answer::OpenMaildrop(outcome) => self.maildrop_opened(outcome),
            Answer::MaildropPage(page) => self.page_read(page),
            Answer::RenewLease(renewed) => self.renewed(renewed),
            Answer::ReadMessage(read) => self.message_read(read),
            Answer::Commit(committed) => self.committed(committed),
            // The account is taken already: the next step says the farewell.
            Answer::Release(_) => {}
        }
    }

    fn layered(&mut self, done: Result<LayerInfo, LayerError>) {
        if !matches!(self.phase, Phase::AwaitLayer) {
            return;
        }
        match done {
            // Nothing may have come in since STLS.
            Ok(_) if !self.inbox.is_empty() => self.phase = Phase::End(CloseReason::Protocol),
            Ok(info) => {
                self.tls = Some(Arc::new(info));
                self.events.push_back(Event::Tls);
                self.forget();
                self.phase = Phase::Command;
            }
            // +OK is sent and the peer speaks TLS now, whatever became of ours.
            Err(_) => self.phase = Phase::End(CloseReason::Layer),
        }
    }

    fn notify(&mut self, news: Infallible) {
        match news {}
    }

    fn shutdown(&mut self) {
        self.stopping = true;
    }

    fn poll_output(&mut self, now: Instant, unsent: usize) -> Output<Request, Event> {
        self.timers.see(now, unsent);
        let mut blocked_by_output = false;
        loop {
            if let Some(event) = self.events.pop_front() {
                return Output::Event(event);
            }
            if self.outbox.len() >= SEND_AT {
                break;
            }
            if self.expire(now, unsent) {
                continue;
            }
            match self.step(now, unsent) {
                Step::Again => {}
                Step::Ask(request) => return Output::Request(request),
                Step::Layer => return Output::Layer(Layer::Tls),
                Step::Blocked => break,
                Step::Full => {
                    blocked_by_output = true;
                    break;
                }
            }
        }
        if let Some(octets) = self.outbox.take() {
            self.timers.sent(octets.len());
            return Output::Send(octets);
        }
        if let Phase::End(reason) = self.phase {
            return Output::Close(reason);
        }
        let deaf = matches!(self.phase, Phase::Layer | Phase::AwaitLayer | Phase::Release(_) | Phase::Commit);
        Output::Wait(Wait {
            input: !deaf && self.inbox.is_readable(),
            output: blocked_by_output,
            deadline: self.deadline(unsent),
        })
    }
}
