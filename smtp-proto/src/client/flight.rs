//! One message's way out: MAIL, RCPT… and DATA in one flight, the body, and a final reply for all or each.
//!
//! RFC 5321 §3.3 and §4.5.3.1.10, RFC 2033 §4.2, RFC 2920 §3.1, RFC 3461 §5.2, RFC 1870 §6, RFC 4954 §5, RFC 6531 §3.

use std::collections::VecDeque;
use std::fmt::Write as _;
use std::time::{Duration, Instant};

use super::config::Timeouts;
use super::request::{self, Failure, Outcome, Outgoing, Page, ReadBody, Stage};
use super::stuff::Stuffer;
use super::{After, Client, State, Step};
use crate::command::params::{Body, Notify, Ret, encode_xtext};
use crate::config::Extensions;
use crate::reply::Reply;
use crate::request::Recipient;
use mailstore_trait::session::CloseReason;

/// A message being sent.
#[derive(Debug)]
pub(super) struct Transaction {
    outgoing: Outgoing,
    outcomes: Vec<Option<Outcome>>,
    /// Recipients the server accepted, whose outcome the final reply decides.
    accepted: VecDeque<usize>,
    /// The server holds an envelope that no final reply has ended.
    open: bool,
}

/// Commands sent and replies to come.
#[derive(Debug)]
pub(super) struct Flight {
    next: Sent,
    awaiting: VecDeque<Sent>,
    pipelining: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Sent {
    Mail,
    Rcpt(usize),
    Data,
    /// Nothing more: every command is out.
    All,
}

impl Transaction {
    pub(super) fn new(outgoing: Outgoing) -> Transaction {
        let outcomes = vec![None; outgoing.envelope.recipients.len()];
        Transaction { outgoing, outcomes, accepted: VecDeque::new(), open: false }
    }

    pub(super) fn is_open(&self) -> bool {
        self.open
    }

    /// Gives this outcome to everyone who has none.
    pub(super) fn conclude(&mut self, failure: &Failure) {
        for outcome in self.outcomes.iter_mut().filter(|outcome| outcome.is_none()) {
            *outcome = Some(failure.clone().into());
        }
        self.accepted.clear();
    }

    fn set(&mut self, recipient: usize, outcome: Outcome) {
        if let Some(slot) = self.outcomes.get_mut(recipient) {
            slot.get_or_insert(outcome);
        }
    }

    pub(super) fn outcomes(&mut self) -> Vec<Outcome> {
        let stopped = Failure { stage: Stage::Requirements, reply: request::STOPPED, remote: false };
        self.outcomes.drain(..).map(|outcome| outcome.unwrap_or_else(|| stopped.clone().into())).collect()
    }
}

impl From<Failure> for Outcome {
    fn from(failure: Failure) -> Outcome {
        let permanent = match failure.stage {
            // RFC 7504 §3: 521 and 556 say that this host never takes mail. Other refusals before MAIL are about this
            // connection, not about the message: another host, or a later try, may succeed.
            Stage::Greeting | Stage::Hello => matches!(failure.reply.code, 521 | 556),
            Stage::StartTls | Stage::Auth => false,
            // RFC 5321 §4.5.3.1.10: 552 to RCPT means too many recipients, and is to be treated as 452.
            Stage::Rcpt if failure.reply.code == 552 => false,
            _ => failure.reply.is_permanent(),
        };
        if permanent { Outcome::Failed(failure) } else { Outcome::Deferred(failure) }
    }
}

impl Flight {
    pub(super) fn stage(&self) -> Stage {
        match self.awaiting.front() {
            Some(Sent::Rcpt(_)) => Stage::Rcpt,
            Some(Sent::Data) => Stage::Data,
            _ => Stage::Mail,
        }
    }

    pub(super) fn patience(&self, timeouts: &Timeouts) -> Duration {
        match self.stage() {
            Stage::Rcpt => timeouts.rcpt,
            Stage::Data => timeouts.data,
            _ => timeouts.command,
        }
    }
}

impl Client {
    /// The connection is ready and a message is at hand.
    pub(super) fn begin(&mut self, now: Instant) -> Step {
        self.ready = true;
        let Some(transaction) = &mut self.transaction else { return self.next_message(now) };
        let outgoing = &transaction.outgoing;
        let sender = &outgoing.envelope.sender;
        let offered = self.capabilities.extensions;
        let ascii = sender.address.as_ref().is_none_or(|address| address.is_ascii())
            && outgoing.envelope.recipients.iter().all(|recipient| recipient.address.is_ascii());
        // What the message needs and the server lacks is said before anything is sent.
        let lacking = if (sender.smtputf8 || !ascii) && !offered.contains(Extensions::SMTPUTF8) {
            // RFC 6531 §3.4: such a message is not sent to a server that does not know it.
            Some(request::NO_SMTPUTF8)
        } else if sender.body == Body::BinaryMime {
            // RFC 3030 §3: never by DATA, and this client has no BDAT.
            Some(request::NO_BINARY)
        } else if self.capabilities.size.is_some_and(|size| outgoing.size > size) {
            // RFC 1870 §7: larger than the server ever takes.
            Some(request::TOO_BIG)
        } else {
            None
        };
        if let Some(reply) = lacking {
            let failure = Failure { stage: Stage::Requirements, reply, remote: false };
            return self.conclude(now, &failure, After::Next);
        }
        if transaction.outcomes.is_empty() {
            return self.report(now, After::Next);
        }
        let pipelining = self.config.pipelining && offered.contains(Extensions::PIPELINING);
        self.enter(now, State::Flight(Flight { next: Sent::Mail, awaiting: VecDeque::new(), pipelining }));
        Step::Again
    }

    /// Sends what may be sent before more replies come.
    pub(super) fn fill(&mut self, now: Instant) {
        let (State::Flight(flight), Some(transaction)) = (&mut self.state, &self.transaction) else { return };
        let room = if flight.pipelining { self.config.limits.in_flight.max(1) } else { 1 };
        let recipients = &transaction.outgoing.envelope.recipients;
        let mut lines = String::new();
        while flight.awaiting.len() < room {
            let sent = flight.next;
            flight.next = match sent {
                Sent::Mail => {
                    mail(&mut lines, &transaction.outgoing, self.capabilities.extensions, self.authenticated);
                    Sent::Rcpt(0)
                }
                Sent::Rcpt(index) => {
                    let refused = !transaction.open && !flight.awaiting.contains(&Sent::Mail);
                    match recipients.get(index).filter(|_| !refused) {
                        Some(recipient) => {
                            rcpt(&mut lines, recipient, self.capabilities.extensions);
                            Sent::Rcpt(index + 1)
                        }
                        None => {
                            flight.next = Sent::Data;
                            continue;
                        }
                    }
                }
                Sent::Data => {
                    // RFC 2920 §3.1: DATA may end the flight, before it is known whether anyone was accepted.
                    let hopeful = flight.awaiting.iter().any(|sent| matches!(sent, Sent::Rcpt(_)));
                    if transaction.accepted.is_empty() && !hopeful {
                        flight.next = Sent::All;
                        break;
                    }
                    lines.push_str("DATA\r\n");
                    Sent::All
                }
                Sent::All => break,
            };
            flight.awaiting.push_back(sent);
        }
        if !lines.is_empty() {
            self.outbox.text().extend_from_slice(lines.as_bytes());
            self.arm(now);
        }
    }

    /// The current state's patience starts anew.
    fn arm(&mut self, now: Instant) {
        self.deadline = Some(now + self.patience(&self.state));
    }

    pub(super) fn flight_reply(&mut self, now: Instant, reply: Reply) -> Step {
        let (State::Flight(flight), Some(transaction)) = (&mut self.state, &mut self.transaction) else {
            return self.nonsense(now);
        };
        let stage = flight.stage();
        let Some(sent) = flight.awaiting.pop_front() else { return self.nonsense(now) };
        let closing = reply.code == 421;
        let failure = Failure { stage, reply, remote: true };
        match sent {
            Sent::Mail if failure.reply.is_positive() => transaction.open = true,
            Sent::Mail => transaction.conclude(&failure),
            Sent::Rcpt(index) if failure.reply.is_positive() && transaction.open => {
                transaction.accepted.push_back(index);
            }
            Sent::Rcpt(index) => transaction.set(index, failure.clone().into()),
            Sent::Data if failure.reply.is_intermediate() && transaction.accepted.is_empty() => {
                // RFC 2920 §3.1: nobody was accepted, yet the server wants a message: it gets none.
                self.send(".");
                self.enter(now, State::FinalDot(usize::from(!self.config.lmtp)));
                return if self.config.lmtp {
                    self.report(now, After::Close(CloseReason::Protocol))
                } else {
                    Step::Again
                };
            }
            Sent::Data if failure.reply.is_intermediate() => {
                self.enter(now, State::Body(Stuffer::new(), 0));
                return Step::Again;
            }
            Sent::Data | Sent::All => transaction.conclude(&failure),
        }
        if closing {
            return self.conclude(now, &failure, After::Close(CloseReason::Protocol));
        }
        self.fill(now);
        self.arm(now);
        match &self.state {
            State::Flight(flight) if flight.awaiting.is_empty() => self.report(now, After::Next),
            _ => Step::Again,
        }
    }

    /// The message's next octets.
    pub(super) fn body(&mut self, now: Instant, unsent: usize) -> Step {
        match self.inbox.as_slice().first() {
            // A refusal before the final dot: the server gave up, and a message cannot be broken off but by closing.
            Some(b'4' | b'5') => return self.read(now),
            // Anything else is read in its turn.
            Some(_) => {}
            None if self.inbox.is_closed() => return self.fail(now, Stage::Body, request::LOST, CloseReason::Eof),
            None => {}
        }
        if unsent + self.outbox.len() > self.config.limits.low_water {
            if self.stalled.is_none_or(|held| unsent < held) {
                self.arm(now);
            }
            self.stalled = Some(unsent);
            return Step::Drain;
        }
        self.stalled = None;
        let State::Body(stuffer, offset) = std::mem::replace(&mut self.state, State::Moved) else {
            return Step::Again;
        };
        let question = ReadBody { offset, max: self.config.limits.page };
        self.ask(now, question, State::AwaitPage(stuffer, offset))
    }

    pub(super) fn page(&mut self, now: Instant, mut stuffer: Stuffer, offset: u64, page: Page) -> Step {
        match page {
            Page::Octets(octets) if !octets.is_empty() => {
                stuffer.page(&octets, &mut self.outbox);
                self.enter(now, State::Body(stuffer, offset + octets.len() as u64));
                Step::Again
            }
            Page::Octets(_) | Page::End => {
                stuffer.finish(&mut self.outbox);
                let replies =
                    if self.config.lmtp { self.transaction.as_ref().map_or(1, |it| it.accepted.len()) } else { 1 };
                self.enter(now, State::FinalDot(replies));
                Step::Again
            }
            // RFC 5321 §4.1.1.4: without the final dot the server takes nothing; so the connection goes.
            Page::Failed => self.fail(now, Stage::Body, request::UNREADABLE, CloseReason::Unanswered),
        }
    }

    /// The reply to the final dot, or in LMTP one of them.
    pub(super) fn final_reply(&mut self, now: Instant, reply: Reply) -> Step {
        let (State::FinalDot(left), Some(transaction)) = (&self.state, &mut self.transaction) else {
            return self.nonsense(now);
        };
        let left = *left - 1;
        let closing = reply.code == 421;
        let failure = Failure { stage: Stage::FinalDot, reply, remote: true };
        let outcome = match failure.reply.is_positive() {
            true => Outcome::Delivered(failure.reply.clone()),
            false => failure.clone().into(),
        };
        let count = if self.config.lmtp { 1 } else { transaction.accepted.len() };
        for recipient in transaction.accepted.drain(..count.min(transaction.accepted.len())).collect::<Vec<_>>() {
            transaction.set(recipient, outcome.clone());
        }
        if closing {
            return self.conclude(now, &failure, After::Close(CloseReason::Protocol));
        }
        if left > 0 {
            self.enter(now, State::FinalDot(left));
            return Step::Again;
        }
        transaction.open = false;
        self.report(now, After::Next)
    }

    /// A refusal came while the message was still going out.
    pub(super) fn early_reply(&mut self, now: Instant, reply: Reply) -> Step {
        let failure = Failure { stage: Stage::FinalDot, reply, remote: true };
        self.conclude(now, &failure, After::Close(CloseReason::Protocol))
    }
}

fn mail(out: &mut String, outgoing: &Outgoing, offered: Extensions, authenticated: bool) {
    let sender = &outgoing.envelope.sender;
    let address = sender.address.as_ref().map(|address| address.as_str()).unwrap_or_default();
    let _ = write!(out, "MAIL FROM:<{address}>");
    if offered.contains(Extensions::SIZE) {
        let _ = write!(out, " SIZE={}", outgoing.size);
    }
    // Deviation from RFC 6152 §3: without 8BITMIME the message is sent as it is; bouncing it would help nobody, and
    // re-encoding would break its signatures.
    if sender.body == Body::EightBitMime && offered.contains(Extensions::EIGHT_BIT_MIME) {
        out.push_str(" BODY=8BITMIME");
    }
    if sender.smtputf8 && offered.contains(Extensions::SMTPUTF8) {
        out.push_str(" SMTPUTF8");
    }
    // RFC 4954 §5: who logged in itself does not vouch for who submitted the message to it.
    if authenticated && offered.contains(Extensions::AUTH) {
        out.push_str(" AUTH=<>");
    }
    if offered.contains(Extensions::DSN) {
        match sender.ret {
            Some(Ret::Full) => out.push_str(" RET=FULL"),
            Some(Ret::Headers) => out.push_str(" RET=HDRS"),
            None => {}
        }
        if let Some(envid) = &sender.envid {
            let _ = write!(out, " ENVID={}", encode_xtext(envid));
        }
    }
    out.push_str("\r\n");
}

fn rcpt(out: &mut String, recipient: &Recipient, offered: Extensions) {
    let _ = write!(out, "RCPT TO:<{}>", recipient.address);
    if offered.contains(Extensions::DSN) {
        if let Some(notify) = recipient.notify {
            let _ = write!(out, " NOTIFY={}", notify_words(notify));
        }
        if let Some((address_type, address)) = &recipient.orcpt {
            let _ = write!(out, " ORCPT={address_type};{}", encode_xtext(address));
        }
    }
    out.push_str("\r\n");
}

/// The value of NOTIFY.
pub(crate) fn notify_words(notify: Notify) -> String {
    let words = [(Notify::SUCCESS, "SUCCESS"), (Notify::FAILURE, "FAILURE"), (Notify::DELAY, "DELAY")];
    let words: Vec<_> = words.iter().filter(|(flag, _)| notify.contains(*flag)).map(|(_, word)| *word).collect();
    if words.is_empty() { "NEVER".to_owned() } else { words.join(",") }
}
