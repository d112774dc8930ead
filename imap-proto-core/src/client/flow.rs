//! Commands on their way: sent ahead of their answers as far as that is safe, and ended by them.
//!
//! RFC 9051 §5.5 lets a client send commands without waiting as long as their answers can't be mistaken for one
//! another's. So SELECT and its like, IDLE and LOGOUT are alone; commands with message numbers wait for whatever might
//! change the numbers, and the other way round; and where a search's answer does not say whose it is, there is one search
//! at a time.

use std::time::Instant;

use bytes::BufMut;
use mailstore_trait::session::CloseReason;
use mailstore_trait::uid_set::UidSet;

use super::command::{Kind, Wire};
use super::response::{Condition, Found, ResponseText};
use super::{
    Client, Command, Event, Flying, NotTaken, OWN, Outgoing, Page, Phase, ReadMessage, Request, Sending, Step, Task,
    Turn, Watch, What,
};

impl Client {
    pub(super) fn next_tag(&mut self) -> u32 {
        self.last_tag = self.last_tag.checked_add(1).unwrap_or(1);
        self.last_tag
    }

    pub(super) fn wire(&self, tag: u32) -> Wire {
        Wire::new(tag, self.unasked(), self.enabled.utf8)
    }

    /// Sends what may be sent ahead of answers.
    pub(super) fn send(&mut self, now: Instant) {
        while matches!(self.phase, Phase::Ready) && self.sending.is_none() && !self.queue.is_empty() {
            if let Some(watch) = &mut self.watch {
                if watch.idle.is_some() {
                    // RFC 2177 §3: DONE is said once the server has said that it listens.
                    if watch.begun && !watch.ending {
                        watch.ending = true;
                        self.clock.active = Some(now);
                        self.outbox.text().put_slice(b"DONE\r\n");
                    }
                    return;
                }
                let ticket = watch.ticket;
                self.watch = None;
                self.events.push_back(Event::Done { ticket, text: ResponseText::default() });
            }
            let Some((task, _)) = self.queue.front() else { return };
            if !self.may_send(task.command.kind()) {
                return;
            }
            match self.queue.pop_front() {
                Some((task, renumbered)) if task.command.has_numbers() && renumbered != self.renumbered => {
                    self.refuse(task.ticket, NotTaken::Renumbered);
                }
                Some((task, _)) => self.start(task, now),
                None => {}
            }
        }
    }

    /// Whether a command may be sent behind those that are under way.
    fn may_send(&self, kind: Kind) -> bool {
        if self.in_flight.is_empty() {
            return true;
        }
        let search = |kind: Kind| matches!(kind, Kind::Search { .. });
        let tagged = self.capabilities.has_folded("ESEARCH");
        self.in_flight.len() < self.config.limits.in_flight.max(1)
            && !kind.is_alone()
            && self.in_flight.iter().all(|flying| {
                let beside = match flying.what {
                    What::Task { kind, .. } => kind,
                    What::Poll => Kind::Plain,
                    What::Step(_) => Kind::Alone,
                };
                // RFC 9051 §5.5: numbers mean nothing where an EXPUNGE may come between.
                !beside.is_alone()
                    && beside.has_numbers() == kind.has_numbers()
                    && (tagged || !search(beside) || !search(kind))
            })
    }

    fn start(&mut self, task: Task, now: Instant) {
        let Task { ticket, command } = task;
        let kind = command.kind();
        if command == Command::Idle {
            return self.begin_watch(ticket, now);
        }
        let tag = self.next_tag();
        let mut wire = self.wire(tag);
        let written = command.write(&mut wire, &self.capabilities, self.enabled);
        let written =
            written.and(if wire.len() > self.config.limits.command { Err(NotTaken::Illegal) } else { Ok(()) });
        if let Err(reason) = written {
            if command == Command::Logout {
                self.quitting = false;
            }
            return self.refuse(ticket, reason);
        }
        if let Kind::Select { resync } = kind {
            self.events.push_back(Event::Selecting { ticket, resync });
        }
        if self.in_flight.is_empty() {
            // Until now nothing was owed.
            self.clock.active = Some(now);
        }
        let message = command.message().map(|size| Outgoing { size, sent: 0 });
        self.in_flight.push_back(Flying { tag, what: What::Task { ticket, kind } });
        let waits = message.as_ref().is_some_and(|message| !self.is_unasked(message.size));
        self.launch(Sending { tag, ticket, pieces: wire.finish(message.is_none()), message, waits, early: None });
    }

    /// The largest literal that need not wait; nothing where every literal must.
    fn unasked(&self) -> Option<u64> {
        self.capabilities.unasked().map(|unasked| unasked.min(self.config.limits.unasked))
    }

    fn is_unasked(&self, octets: u64) -> bool {
        self.unasked().is_some_and(|unasked| octets <= unasked)
    }

    /// Writes a command's first piece; what is left waits for the server.
    pub(super) fn launch(&mut self, mut sending: Sending) {
        if let Some(piece) = sending.pieces.pop_front() {
            self.outbox.body(piece);
        }
        sending.waits |= !sending.pieces.is_empty();
        self.sending = Some(sending);
        self.finish_message();
    }

    fn begin_watch(&mut self, ticket: u64, now: Instant) {
        let offered = self.capabilities.has_folded("IDLE");
        let mut watch = Watch { ticket, idle: None, begun: false, ending: false, since: now };
        if offered {
            let tag = self.next_tag();
            let mut wire = self.wire(tag);
            wire.word("IDLE\r\n");
            self.in_flight.push_back(Flying { tag, what: What::Task { ticket, kind: Kind::Alone } });
            wire.finish(false).into_iter().for_each(|piece| self.outbox.body(piece));
            watch.idle = Some(tag);
        } else {
            self.events.push_back(Event::Idling { ticket });
        }
        self.watch = Some(watch);
    }

    /// It is time to say IDLE again, or NOOP.
    pub(super) fn renew(&mut self, now: Instant) {
        let Some(watch) = &mut self.watch else { return };
        watch.since = now;
        if watch.idle.is_some() {
            watch.ending = true;
            self.outbox.text().put_slice(b"DONE\r\n");
        } else {
            let tag = self.next_tag();
            let mut wire = self.wire(tag);
            wire.word("NOOP\r\n");
            self.in_flight.push_back(Flying { tag, what: What::Poll });
            wire.finish(false).into_iter().for_each(|piece| self.outbox.body(piece));
        }
    }

    /// `+`: whoever waits for it goes on.
    pub(super) fn go_on(&mut self, text: &[u8]) -> Turn {
        let unasked = self.unasked();
        if let Some(sending) = self.sending.as_mut().filter(|sending| sending.waits) {
            let piece = sending.pieces.pop_front();
            // The last piece of an APPEND announced its message, which waits for a `+` of its own or does not.
            let size = sending.message.as_ref().map(|message| message.size);
            let announced = piece.is_some() && size.is_some_and(|size| unasked.is_none_or(|unasked| size > unasked));
            sending.waits = !sending.pieces.is_empty() || announced;
            if let Some(piece) = piece {
                self.outbox.body(piece);
            }
            self.finish_message();
            return Turn::Again;
        }
        if matches!(self.phase, Phase::Auth(_)) {
            return self.challenge(text);
        }
        // One that nobody waits for is passed over, as some servers send it behind a literal that did not wait.
        if let Some(watch) = self.watch.as_mut().filter(|watch| watch.idle.is_some() && !watch.begun) {
            watch.begun = true;
            let ticket = watch.ticket;
            self.events.push_back(Event::Idling { ticket });
        }
        Turn::Again
    }

    /// Whether octets of a message may be sent.
    pub(super) fn has_message(&self) -> bool {
        let ready = matches!(self.phase, Phase::Ready);
        ready && self.sending.as_ref().is_some_and(|sending| !sending.waits && sending.message.is_some())
    }

    pub(super) fn ask_message(&mut self, now: Instant) -> Option<Request> {
        let sending = self.sending.as_ref()?;
        let message = sending.message.as_ref()?;
        let left = usize::try_from(message.size - message.sent).unwrap_or(usize::MAX);
        let max = self.config.limits.page.max(1).min(left);
        let question = ReadMessage { ticket: sending.ticket, offset: message.sent, max };
        self.clock.answer = Some(now + self.config.limits.answer);
        Some(self.asking.ask(question))
    }

    /// Octets of a message came.
    pub(super) fn page(&mut self, page: Page) {
        let Some(message) = self.sending.as_mut().and_then(|sending| sending.message.as_mut()) else { return };
        match page {
            Page::Octets(mut octets) if !octets.is_empty() => {
                let left = usize::try_from(message.size - message.sent).unwrap_or(usize::MAX);
                octets.truncate(left);
                message.sent += octets.len() as u64;
                self.outbox.body(octets);
                self.finish_message();
            }
            // RFC 9051 §4.3: what was announced must come, so there is no way to take it back but this.
            _ => self.phase = Phase::End(CloseReason::Unanswered),
        }
    }

    /// Ends the writing of a command of which nothing is left.
    fn finish_message(&mut self) {
        let sent = |message: &Outgoing| message.sent >= message.size;
        let all = |sending: &mut Sending| !sending.waits && sending.message.as_ref().is_none_or(sent);
        if let Some(sending) = self.sending.take_if(all) {
            if sending.message.is_some() {
                self.outbox.text().put_slice(b"\r\n");
            }
            if let Some((condition, text)) = sending.early {
                self.conclude(sending.ticket, condition, text);
            }
        }
    }

    /// A command ended.
    pub(super) fn ended(&mut self, tag: Option<u32>, condition: Condition, text: ResponseText) -> Turn {
        let at = self.in_flight.iter().position(|flying| Some(flying.tag) == tag);
        let Some(flying) = at.and_then(|at| self.in_flight.remove(at)) else { return self.end(CloseReason::Protocol) };
        self.note(&text);
        match flying.what {
            What::Step(step) => return self.step_ended(step, condition, text),
            What::Poll => {}
            What::Task { ticket, kind } => return self.task_ended(flying.tag, ticket, kind, condition, text),
        }
        Turn::Again
    }

    fn task_ended(&mut self, tag: u32, ticket: u64, kind: Kind, condition: Condition, text: ResponseText) -> Turn {
        if let Some(sending) = self.sending.as_mut().filter(|sending| sending.tag == tag) {
            if sending.waits {
                // Refused before the rest was sent, which is then never sent.
                self.sending = None;
            } else {
                // RFC 7888 §3: a literal that was announced is sent to its end, even where it is refused.
                sending.early = Some((condition, text));
                return Turn::Again;
            }
        }
        if let Some(watch) = self.watch.take_if(|watch| watch.idle == Some(tag)) {
            let again = condition == Condition::Ok && watch.ending && self.queue.is_empty() && !self.quitting;
            if again {
                self.begin_watch(watch.ticket, self.clock.now.unwrap_or(watch.since));
                return Turn::Again;
            }
        }
        if let (Kind::Search { uid, all: true, told: false }, Condition::Ok) = (kind, condition) {
            // Some servers say nothing where nothing was found.
            let found = Found { uid, all: Some(UidSet::new()), count: Some(0), ..Found::default() };
            self.events.push_back(Event::Found { ticket, found });
        }
        self.conclude(ticket, condition, text);
        match kind {
            Kind::Logout => return self.end(CloseReason::Quit),
            // RFC 9051 §6.3.2: a SELECT that fails leaves no mailbox selected.
            Kind::Select { .. } if condition != Condition::Ok => self.events.push_back(Event::Unselected),
            Kind::Close if condition == Condition::Ok => self.events.push_back(Event::Unselected),
            _ => {}
        }
        Turn::Again
    }

    fn conclude(&mut self, ticket: u64, condition: Condition, text: ResponseText) {
        if ticket == OWN {
            return;
        }
        self.events.push_back(match condition {
            Condition::Ok => Event::Done { ticket, text },
            condition => Event::Failed { ticket, condition, text },
        });
    }

    /// A search's answer: it names its command, or belongs to the one search there is.
    pub(super) fn found(&mut self, mut found: Found) {
        let flying = self.in_flight.iter_mut().find(|flying| {
            matches!(flying.what, What::Task { kind: Kind::Search { .. }, .. })
                && found.tag.is_none_or(|tag| tag == flying.tag)
        });
        let Some(Flying { what: What::Task { ticket, kind: Kind::Search { uid, all, told } }, .. }) = flying else {
            // Nobody asked.
            return;
        };
        *told = true;
        match &found.all {
            // A plain SEARCH: it tells everything, and from that comes what was asked for.
            Some(everything) if found.tag.is_none() => {
                found.uid = *uid;
                found.count = u32::try_from(everything.len()).ok();
                found.min = everything.ranges().next().map(|range| range.start().value());
                found.max = everything.ranges().next_back().map(|range| range.end().value());
            }
            None if *all => found.all = Some(UidSet::new()),
            _ => {}
        }
        let ticket = *ticket;
        self.events.push_back(Event::Found { ticket, found });
    }

    /// Sends a step of the login.
    pub(super) fn send_step(&mut self, step: Step, write: impl FnOnce(&mut Wire)) {
        let tag = self.next_tag();
        let mut wire = self.wire(tag);
        write(&mut wire);
        self.in_flight.push_back(Flying { tag, what: What::Step(step) });
        self.launch(Sending { tag, ticket: OWN, pieces: wire.finish(true), message: None, waits: false, early: None });
    }
}
