//! One message's way out: MAIL, RCPT… and DATA in one flight, the body, and a final reply for all or each.
//!
//! RFC 5321 §3.3 and §4.5.3.1.10, RFC 2033 §4.2, RFC 2920 §3.1, RFC 3030 §2, RFC 3461 §5.2, RFC 1870 §6, RFC 2852 §4,
//! RFC 3865 §2.3, RFC 4865 §3, RFC 4954 §5, RFC 6531 §3, RFC 6710 §3, RFC 7293 §3.1, RFC 8689 §4.2.1, RFC 9422 §4. Where CHUNKING is offered the body goes by BDAT, chunk behind chunk, once a recipient was
//! accepted. More recipients than fit into one transaction are sent in several, all behind one report.

use std::collections::VecDeque;
use std::fmt::Write as _;
use std::time::{Duration, Instant};

use bytes::Bytes;

use super::config::{EightBit, Timeouts};
use super::request::{self, Failure, Outcome, Outgoing, Page, ReadBody, Stage};
use super::stuff::{Form, Stuffer};
use super::{After, Client, ServerLimits, State, Step};
use crate::command::params::{Body, ByMode, Notify, Ret, Unsupported, encode_xtext};
use crate::config::Extensions;
use crate::reply::Reply;
use crate::request::Recipient;
use mailstore_trait::session::{CloseReason, Outbox};

/// A message being sent, in one transaction or in several.
#[derive(Debug)]
pub(super) struct Transaction {
    outgoing: Outgoing,
    outcomes: Vec<Option<Outcome>>,
    /// Recipients of no transaction yet.
    waiting: VecDeque<usize>,
    /// Recipients of the transaction at hand.
    window: Vec<usize>,
    /// Recipients the server accepted, whose outcome the final reply decides.
    accepted: VecDeque<usize>,
    /// How many the server took before it said that there were too many.
    most: Option<usize>,
    /// The server holds an envelope that no final reply has ended.
    open: bool,
}

/// Commands sent and replies to come.
#[derive(Debug)]
pub(super) struct Flight {
    next: Sent,
    awaiting: VecDeque<Sent>,
    pipelining: bool,
    /// The message goes by BDAT, so no DATA ends the flight.
    chunking: bool,
}

/// The message on its way out.
#[derive(Debug)]
pub(super) struct Sending {
    stuffer: Stuffer,
    /// Octets of the message that were read.
    offset: u64,
    /// Chunks without a reply.
    unanswered: usize,
    /// Chunks that may be without a reply; none when it goes by DATA.
    room: usize,
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
        let count = outgoing.envelope.recipients.len();
        Transaction {
            outgoing,
            outcomes: vec![None; count],
            waiting: (0..count).collect(),
            window: Vec::new(),
            accepted: VecDeque::new(),
            most: None,
            open: false,
        }
    }

    /// Takes the next recipients that fit into one transaction. False when none are left.
    fn advance(&mut self, most: usize, domains: Option<usize>) -> bool {
        let (most, recipients) = (most.min(self.most.unwrap_or(usize::MAX)).max(1), &self.outgoing.envelope.recipients);
        let mut seen: Vec<String> = Vec::new();
        self.window.clear();
        self.waiting.retain(|&at| {
            let domain = recipients.get(at).and_then(|it| it.address.domain()).unwrap_or_default().to_ascii_lowercase();
            let fits = self.window.len() < most
                && (seen.contains(&domain) || domains.is_none_or(|domains| seen.len() < domains));
            if fits {
                self.window.push(at);
                // Only where it counts: comparing all names of a long list would take its square.
                if domains.is_some() && !seen.contains(&domain) {
                    seen.push(domain);
                }
            }
            !fits
        });
        !self.window.is_empty()
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
        self.waiting.clear();
    }

    /// Recipients for whom the server lacks something fail before anything is sent.
    fn keep(&mut self, lacking: impl Fn(&Recipient) -> Option<Reply>) {
        let recipients = &self.outgoing.envelope.recipients;
        let mut refused = Vec::new();
        self.waiting.retain(|&at| match recipients.get(at).and_then(&lacking) {
            Some(reply) => {
                refused.push((at, Failure { stage: Stage::Requirements, reply, remote: false }));
                false
            }
            None => true,
        });
        refused.into_iter().for_each(|(at, failure)| self.set(at, failure.into()));
    }

    /// Gives this outcome to whoever has none in the transaction at hand.
    fn refuse(&mut self, failure: &Failure) {
        for at in std::mem::take(&mut self.window) {
            if !self.waiting.contains(&at) {
                self.set(at, failure.clone().into());
            }
        }
        self.accepted.clear();
    }

    /// A recipient was refused. True when that was only because there were too many before it.
    // RFC 5321 §4.5.3.1.10: 452, or 552 from older servers, says that there are too many recipients; the rest goes in
    // another transaction.
    fn is_one_too_many(&self, failure: &Failure) -> bool {
        let subject = failure.reply.enhanced.map(|code| (code.subject, code.detail));
        matches!(failure.reply.code, 452 | 552)
            && subject.is_none_or(|subject| subject == (5, 3))
            && !self.accepted.is_empty()
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

impl Sending {
    /// What travels when nothing went yet. `pipelined`: how many chunks may be without a reply.
    fn new(form: Form, pipelined: usize) -> Sending {
        let room = if form == Form::Dotted { 0 } else { pipelined };
        Sending { stuffer: Stuffer::new(form), offset: 0, unanswered: 0, room }
    }

    fn is_chunked(&self) -> bool {
        self.room > 0
    }
}

impl Client {
    /// What the server offers and the configuration lets be used.
    pub(super) fn usable(&self) -> Extensions {
        self.capabilities.extensions & self.config.extensions
    }

    fn limits(&self) -> ServerLimits {
        if self.usable().contains(Extensions::LIMITS) { self.capabilities.limits } else { ServerLimits::default() }
    }

    /// Whether the server takes no further transaction on this connection.
    pub(super) fn is_spent(&self) -> bool {
        self.limits().mails.is_some_and(|mails| self.transactions >= mails)
    }

    /// The connection is ready and a message is at hand.
    pub(super) fn begin(&mut self, now: Instant) -> Step {
        self.ready = true;
        let Some(transaction) = &self.transaction else { return self.next_message(now) };
        if let Some(reply) = self.lacking(&transaction.outgoing) {
            let failure = Failure { stage: Stage::Requirements, reply, remote: false };
            return self.conclude(now, &failure, After::Next);
        }
        let usable = self.usable();
        if let Some(transaction) = &mut self.transaction {
            transaction.keep(|recipient| lacking_for(recipient, usable));
        }
        self.transact(now)
    }

    /// What the message needs and the server lacks, which is said before anything is sent.
    fn lacking(&self, outgoing: &Outgoing) -> Option<Reply> {
        let (offered, sender) = (self.usable(), &outgoing.envelope.sender);
        let ascii = sender.address.as_ref().is_none_or(|address| address.is_ascii())
            && outgoing.envelope.recipients.iter().all(|recipient| recipient.address.is_ascii());
        if (sender.smtputf8 || !ascii) && !offered.contains(Extensions::SMTPUTF8) {
            // RFC 6531 §3.4: such a message is not sent to a server that does not know it.
            return Some(request::NO_SMTPUTF8);
        }
        match sender.body {
            // RFC 3030 §3: never by DATA, and not to whoever did not offer it.
            Body::BinaryMime if !offered.contains(Extensions::BINARY_MIME | Extensions::CHUNKING) => {
                return Some(request::NO_BINARY);
            }
            Body::EightBitMime
                if self.config.eight_bit == EightBit::Refuse && !offered.contains(Extensions::EIGHT_BIT_MIME) =>
            {
                return Some(request::NO_EIGHT_BIT);
            }
            _ => {}
        }
        if sender.require_tls && (self.tls.is_none() || !offered.contains(Extensions::REQUIRETLS)) {
            // RFC 8689 §4.2.1: it leaves over TLS to a host that keeps the promise, or not at all.
            return Some(request::NO_REQUIRETLS);
        }
        if sender.hold.is_some() && !offered.contains(Extensions::FUTURERELEASE) {
            // RFC 4865 §3: sent without the parameter, it would be released at once.
            return Some(request::NO_FUTURERELEASE);
        }
        match sender.deliver_by {
            // RFC 2852 §4: what must come back in time goes to nobody who does not know how, nor where the time that is
            // left is too short.
            Some(by) if by.mode == ByMode::Return && !offered.contains(Extensions::DELIVERBY) => {
                return Some(request::NO_DELIVERBY);
            }
            Some(by) if by.mode == ByMode::Return => {
                let least = i64::from(self.capabilities.deliver_by.unwrap_or(1));
                if i64::from(by.seconds) < least {
                    return Some(request::TOO_LATE);
                }
            }
            _ => {}
        }
        // RFC 1870 §7: larger than the server ever takes.
        self.capabilities.size.is_some_and(|size| outgoing.size > size).then_some(request::TOO_BIG)
    }

    /// Begins the next transaction of the message at hand, or reports it.
    // RFC 9422 §4: what a server says of its limits is kept, rather than run into.
    pub(super) fn transact(&mut self, now: Instant) -> Step {
        let (usable, limits, spent) = (self.usable(), self.limits(), self.is_spent());
        let most = limits.recipients.unwrap_or(usize::MAX).min(self.config.limits.recipients);
        let Some(transaction) = &mut self.transaction else { return self.between(now) };
        if transaction.waiting.is_empty() {
            return self.report(now, After::Next);
        }
        if spent {
            return self.useless(now, Stage::Mail, request::NO_MORE_MAIL);
        }
        if std::mem::take(&mut transaction.open) {
            // RFC 5321 §4.1.1.5: what was left of the transaction is dropped before the next.
            self.send("RSET");
            self.enter(now, State::Reset);
            return Step::Again;
        }
        transaction.advance(most, limits.domains);
        self.transactions += 1;
        let flight = Flight {
            next: Sent::Mail,
            awaiting: VecDeque::new(),
            pipelining: usable.contains(Extensions::PIPELINING),
            chunking: usable.contains(Extensions::CHUNKING),
        };
        self.enter(now, State::Flight(flight));
        Step::Again
    }

    /// Sends what may be sent before more replies come.
    pub(super) fn fill(&mut self, now: Instant) {
        let usable = self.usable();
        let (State::Flight(flight), Some(transaction)) = (&mut self.state, &self.transaction) else { return };
        let room = if flight.pipelining { self.config.limits.in_flight.max(1) } else { 1 };
        let recipients = &transaction.outgoing.envelope.recipients;
        let mut lines = String::new();
        while flight.awaiting.len() < room {
            let sent = flight.next;
            flight.next = match sent {
                Sent::Mail => {
                    mail(&mut lines, &transaction.outgoing, usable, self.authenticated);
                    Sent::Rcpt(0)
                }
                Sent::Rcpt(index) => {
                    let refused = !transaction.open && !flight.awaiting.contains(&Sent::Mail);
                    let recipient = transaction.window.get(index).and_then(|&at| recipients.get(at));
                    match recipient.filter(|_| !refused) {
                        Some(recipient) => {
                            rcpt(&mut lines, recipient, usable);
                            Sent::Rcpt(index + 1)
                        }
                        None => {
                            flight.next = if flight.chunking { Sent::All } else { Sent::Data };
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
            Sent::Rcpt(index) => {
                let Some(&at) = transaction.window.get(index) else { return self.nonsense(now) };
                if failure.reply.is_positive() && transaction.open {
                    transaction.accepted.push_back(at);
                } else if transaction.is_one_too_many(&failure) {
                    transaction.most = Some(transaction.accepted.len());
                    transaction.waiting.push_back(at);
                } else {
                    transaction.set(at, failure.clone().into());
                }
            }
            Sent::Data if failure.reply.is_intermediate() && transaction.accepted.is_empty() => {
                // RFC 2920 §3.1: nobody was accepted, yet the server wants a message: it gets none.
                self.send(".");
                self.enter(now, State::FinalDot { chunks: 0, left: usize::from(!self.config.lmtp) });
                return if self.config.lmtp {
                    self.report(now, After::Close(CloseReason::Protocol))
                } else {
                    Step::Again
                };
            }
            Sent::Data if failure.reply.is_intermediate() => {
                self.enter(now, State::Body(Sending::new(Form::Dotted, 0)));
                return Step::Again;
            }
            Sent::Data | Sent::All => transaction.refuse(&failure),
        }
        if closing {
            return self.conclude(now, &failure, After::Close(CloseReason::Protocol));
        }
        self.fill(now);
        self.arm(now);
        match &self.state {
            State::Flight(flight) if flight.awaiting.is_empty() => self.flown(now),
            _ => Step::Again,
        }
    }

    /// Every reply of the flight is in.
    // Deviation from RFC 3030 §2: no BDAT is sent before a recipient was accepted. A server that refuses BDAT without
    // reading its octets would take a message's text for commands.
    fn flown(&mut self, now: Instant) -> Step {
        let Some(transaction) = &self.transaction else { return self.nonsense(now) };
        if transaction.accepted.is_empty() {
            return self.transact(now);
        }
        let usable = self.usable();
        let binary = transaction.outgoing.envelope.sender.body == Body::BinaryMime;
        let form = if binary { Form::Binary } else { Form::Lines };
        // In LMTP it would be open how many replies come to what follows a refused chunk.
        let pipelining = usable.contains(Extensions::PIPELINING) && !self.config.lmtp;
        let room = if pipelining { self.config.limits.in_flight.max(1) } else { 1 };
        self.enter(now, State::Body(Sending::new(form, room)));
        Step::Again
    }

    /// The message's next octets.
    pub(super) fn body(&mut self, now: Instant, unsent: usize) -> Step {
        let State::Body(sending) = &self.state else { return Step::Again };
        let full = sending.is_chunked() && sending.unanswered >= sending.room;
        match self.inbox.as_slice().first() {
            // Replies to chunks are read as they come.
            Some(_) if sending.unanswered > 0 => match self.read(now) {
                Step::Input if !full => {}
                step => return step,
            },
            // A refusal before the final dot: the server gave up, and a message cannot be broken off but by closing.
            Some(b'4' | b'5') if !sending.is_chunked() => return self.read(now),
            // Anything else is read in its turn.
            Some(_) => {}
            None if self.inbox.is_closed() => return self.fail(now, Stage::Body, request::LOST, CloseReason::Eof),
            None if full => return Step::Input,
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
        let State::Body(sending) = std::mem::replace(&mut self.state, State::Moved) else {
            return Step::Again;
        };
        let question = ReadBody { offset: sending.offset, max: self.config.limits.page };
        self.ask(now, question, State::AwaitPage(sending))
    }

    pub(super) fn page(&mut self, now: Instant, mut sending: Sending, page: Page) -> Step {
        let octets = match page {
            Page::Octets(octets) => octets,
            Page::End => Bytes::new(),
            // RFC 5321 §4.1.1.4: without the final dot the server takes nothing; so the connection goes.
            Page::Failed => return self.fail(now, Stage::Body, request::UNREADABLE, CloseReason::Unanswered),
        };
        let size = self.transaction.as_ref().map_or(0, |it| it.outgoing.size);
        sending.offset += octets.len() as u64;
        // The end of a message that goes by BDAT is known beforehand: the last chunk says LAST.
        let last = octets.is_empty() || (sending.is_chunked() && sending.offset >= size);
        if sending.is_chunked() {
            let mut chunk = Outbox::default();
            sending.stuffer.page(&octets, &mut chunk);
            if last {
                sending.stuffer.finish(&mut chunk);
            }
            if last || !chunk.is_empty() {
                let end = if last { " LAST" } else { "" };
                let line = format!("BDAT {}{end}", chunk.len());
                self.send(&line);
                while let Some(octets) = chunk.take() {
                    self.outbox.body(octets);
                }
                sending.unanswered += usize::from(!last);
            }
        } else if last {
            sending.stuffer.finish(&mut self.outbox);
        } else {
            sending.stuffer.page(&octets, &mut self.outbox);
        }
        if last {
            let left = if self.config.lmtp { self.transaction.as_ref().map_or(1, |it| it.accepted.len()) } else { 1 };
            self.enter(now, State::FinalDot { chunks: sending.unanswered, left });
        } else {
            self.enter(now, State::Body(sending));
        }
        Step::Again
    }

    /// The reply to the final dot or the last chunk, or in LMTP one of them.
    pub(super) fn final_reply(&mut self, now: Instant, reply: Reply) -> Step {
        let (State::FinalDot { chunks, left }, Some(transaction)) = (&self.state, &mut self.transaction) else {
            return self.nonsense(now);
        };
        let (chunks, left) = (*chunks, *left);
        let closing = reply.code == 421;
        let stage = if chunks > 0 { Stage::Body } else { Stage::FinalDot };
        let failure = Failure { stage, reply, remote: true };
        if closing {
            return self.conclude(now, &failure, After::Close(CloseReason::Protocol));
        }
        if chunks > 0 {
            let state = match failure.reply.is_positive() {
                true => State::FinalDot { chunks: chunks - 1, left },
                false => {
                    transaction.refuse(&failure);
                    State::Refused((chunks + left).saturating_sub(1))
                }
            };
            self.enter(now, state);
            return Step::Again;
        }
        let left = left.saturating_sub(1);
        let outcome = match failure.reply.is_positive() {
            true => Outcome::Delivered(failure.reply.clone()),
            false => failure.into(),
        };
        let count = if self.config.lmtp { 1 } else { transaction.accepted.len() };
        for recipient in transaction.accepted.drain(..count.min(transaction.accepted.len())).collect::<Vec<_>>() {
            transaction.set(recipient, outcome.clone());
        }
        if left > 0 {
            self.enter(now, State::FinalDot { chunks, left });
            return Step::Again;
        }
        transaction.open = false;
        self.transact(now)
    }

    /// A reply came while the message was still going out.
    pub(super) fn early_reply(&mut self, now: Instant, reply: Reply) -> Step {
        let (State::Body(sending), Some(transaction)) = (&mut self.state, &mut self.transaction) else {
            return self.nonsense(now);
        };
        if !sending.is_chunked() {
            let failure = Failure { stage: Stage::FinalDot, reply, remote: true };
            return self.conclude(now, &failure, After::Close(CloseReason::Protocol));
        }
        sending.unanswered = sending.unanswered.saturating_sub(1);
        if reply.is_positive() {
            self.arm(now);
            return Step::Again;
        }
        let left = sending.unanswered;
        let failure = Failure { stage: Stage::Body, reply, remote: true };
        if failure.reply.code == 421 {
            return self.conclude(now, &failure, After::Close(CloseReason::Protocol));
        }
        // RFC 3030 §2: whatever is out by now is refused as well, and a RSET begins anew.
        transaction.refuse(&failure);
        self.enter(now, State::Refused(left));
        self.swallowed(now, left)
    }

    /// So many replies to what followed a refused chunk are still to come.
    pub(super) fn swallowed(&mut self, now: Instant, left: usize) -> Step {
        if left == 0 {
            return self.transact(now);
        }
        self.enter(now, State::Refused(left));
        Step::Again
    }
}

/// What a recipient needs and the server lacks.
// RFC 7293 §3.1: whoever asked for it has the message refused where the check can't be made, or let through.
fn lacking_for(recipient: &Recipient, offered: Extensions) -> Option<Reply> {
    let since = recipient.valid_since.filter(|since| since.unsupported == Unsupported::Reject);
    since.filter(|_| !offered.contains(Extensions::RRVS)).map(|_| request::NO_RRVS)
}

fn mail(out: &mut String, outgoing: &Outgoing, offered: Extensions, authenticated: bool) {
    let sender = &outgoing.envelope.sender;
    let address = sender.address.as_ref().map(|address| address.as_str()).unwrap_or_default();
    let _ = write!(out, "MAIL FROM:<{address}>");
    if offered.contains(Extensions::SIZE) {
        let _ = write!(out, " SIZE={}", outgoing.size);
    }
    // Deviation from RFC 6152 §3: without 8BITMIME the message is sent as it is, unless the configuration has it returned.
    match sender.body {
        Body::EightBitMime if offered.contains(Extensions::EIGHT_BIT_MIME) => out.push_str(" BODY=8BITMIME"),
        Body::BinaryMime => out.push_str(" BODY=BINARYMIME"),
        _ => {}
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
    if sender.require_tls && offered.contains(Extensions::REQUIRETLS) {
        out.push_str(" REQUIRETLS");
    }
    // RFC 2852 §4: a message that may be late (by-mode N) goes on without the parameter where it is not known.
    if let Some(by) = sender.deliver_by.filter(|_| offered.contains(Extensions::DELIVERBY)) {
        let _ = write!(out, " BY={by}");
    }
    if let Some(priority) = sender.priority.filter(|_| offered.contains(Extensions::MT_PRIORITY)) {
        let _ = write!(out, " MT-PRIORITY={priority}");
    }
    if let Some(hold) = sender.hold.filter(|_| offered.contains(Extensions::FUTURERELEASE)) {
        let _ = write!(out, " {hold}");
    }
    if let Some(keywords) = sender.solicit.as_ref().filter(|_| offered.contains(Extensions::NO_SOLICITING)) {
        let _ = write!(out, " SOLICIT={keywords}");
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
    if let Some(since) = recipient.valid_since.filter(|_| offered.contains(Extensions::RRVS)) {
        let _ = write!(out, " RRVS={since}");
    }
    out.push_str("\r\n");
}

/// The value of NOTIFY.
pub(crate) fn notify_words(notify: Notify) -> String {
    let words = [(Notify::SUCCESS, "SUCCESS"), (Notify::FAILURE, "FAILURE"), (Notify::DELAY, "DELAY")];
    let words: Vec<_> = words.iter().filter(|(flag, _)| notify.contains(*flag)).map(|(_, word)| *word).collect();
    if words.is_empty() { "NEVER".to_owned() } else { words.join(",") }
}
