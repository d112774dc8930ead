//! A mail transaction: MAIL, RCPT, DATA and BDAT, the body's questions and the final replies.
//!
//! RFC 5321 §3.3 and §4.1.1.2 to §4.1.1.5, RFC 1870 §6, RFC 2033 §4.2,
//! RFC 3030 §2. A refused body is still read to its
//! end, so that its octets never run as commands; how much of that is put up with is limited.

use std::sync::Arc;
use std::time::{Duration, Instant};

use mailstore_trait::session::CloseReason;

use super::body::{Framer, Piece};
use super::state::{Extent, Mail, State, Upload};
use super::{Server, Step};
use crate::address::{ForwardPath, ReversePath};
use crate::command::Command;
use crate::command::params::{Body, ByMode, DeliverBy, Hold, MailParameters, Others, RcptParameters};
use crate::config::{Extensions, LineEnds, Role};
use crate::event::{Event, Violation};
use crate::reply::{self, EnhancedCode, Reply};
use crate::request::{
    Abandon, BodyChunk, BodyOpen, Commit, Committed, Decision, Envelope, MailFrom, Parameter, RcptTo, Recipient, Sender,
};

impl Server {
    /// MAIL, as far as the session can judge it.
    pub(super) fn mail_from(
        &self,
        now: Instant,
        path: ReversePath<'_>,
        parameters: MailParameters<'_>,
    ) -> Result<Sender, Reply> {
        if self.origin.hello.is_empty() {
            return Err(reply::HELLO_FIRST);
        }
        match self.mail {
            Mail::None => {}
            Mail::Envelope(..) => return Err(reply::NESTED_MAIL),
            Mail::Chunks(_) => return Err(reply::CHUNKS_BEGUN),
        }
        // RFC 3207 §4, RFC 6409 §4.3: what must come before MAIL.
        if self.config.require_tls && self.origin.tls.is_none() {
            return Err(reply::TLS_REQUIRED);
        }
        if self.config.role == Role::Submission && self.origin.identity.is_none() {
            return Err(if self.may_authenticate() { reply::AUTH_REQUIRED } else { reply::TLS_REQUIRED });
        }
        // RFC 1870 §6.1: a message declared too big is refused before it is sent.
        if parameters.size.is_some_and(|size| size > self.config.limits.message) {
            return Err(reply::MESSAGE_TOO_BIG);
        }
        if let Some(refusal) = self.refused_parameter(now, parameters.others, false) {
            return Err(refusal);
        }
        if let Some(refusal) = self.refused_schedule(now, &parameters) {
            return Err(refusal);
        }
        // RFC 9422 §4.1: who offers MAILMAX may end a session that passes it.
        if self.messages >= self.config.limits.messages {
            return Err(reply::TOO_MANY_MESSAGES);
        }
        let sender = sender(path, parameters);
        // RFC 6531 §3.5: a non-ASCII address without SMTPUTF8.
        if !sender.smtputf8 && sender.address.as_ref().is_some_and(|address| !address.is_ascii()) {
            return Err(reply::NON_ASCII_ADDRESS);
        }
        Ok(sender)
    }

    /// What is asked for, and not offered.
    fn refused_schedule(&self, now: Instant, parameters: &MailParameters<'_>) -> Option<Reply> {
        let limits = &self.config.limits;
        // RFC 2852 §3: with mode R, not less than the least time.
        let is_short =
            |by: DeliverBy| by.mode == ByMode::Return && i64::from(by.seconds) < i64::from(limits.deliver_by);
        if parameters.deliver_by.is_some_and(is_short) {
            return Some(reply::DELIVER_BY_TOO_SOON);
        }
        // RFC 4865 §4.2: not longer than the longest hold. What is past already is not held.
        let longest = Duration::from_secs(limits.hold.into());
        let is_long = |hold: Hold| match hold {
            Hold::For(seconds) => seconds > limits.hold,
            Hold::Until(until) => self.date(now).is_none_or(|date| until > date.plus(longest)),
        };
        if parameters.hold.is_some_and(is_long) {
            return Some(reply::HOLD_TOO_LONG);
        }
        // RFC 3865 §2.4: none of the classes that EHLO said are not wanted.
        let unwanted = |keyword: &str| self.config.solicitations.iter().any(|it| it.eq_ignore_ascii_case(keyword));
        let solicits = parameters.solicit.is_some_and(|keywords| keywords.split(',').any(unwanted));
        solicits.then_some(reply::SOLICITATION)
    }

    pub(super) fn ask_mail(&mut self, now: Instant, mut sender: Sender) -> Step {
        // RFC 6710 §4.1: a priority this client has no right to is lowered.
        let lowered = sender.priority.is_some_and(|priority| priority > self.config.highest_priority);
        if lowered {
            sender.priority = Some(self.config.highest_priority);
        }
        let question = MailFrom { origin: self.origin.clone(), sender: sender.clone() };
        self.ask(now, question, State::AwaitMail(Box::new(sender), lowered))
    }

    pub(super) fn mail_decided(&mut self, now: Instant, sender: Box<Sender>, lowered: bool, decision: Decision) {
        self.enter(now, State::Command);
        match decision {
            Decision::Accepted => {
                self.messages = self.messages.saturating_add(1);
                match sender.priority.filter(|_| lowered) {
                    // RFC 6710 §4.1: 2.3.6 says that the priority was changed, and to what.
                    Some(priority) => {
                        let text = format!("{priority} is the new priority");
                        self.say(&Reply::new(250, EnhancedCode::new(2, 3, 6), text));
                    }
                    None => self.say(&reply::SENDER_OK),
                }
                self.mail = Mail::Envelope(sender, Vec::new());
            }
            Decision::Refused(reply) => self.refuse(reply.refusing()),
        }
    }

    /// The refusal of RCPT, DATA and BDAT where there is no envelope for them.
    pub(super) fn no_envelope(&self) -> Reply {
        match self.mail {
            Mail::Chunks(_) => reply::CHUNKS_BEGUN,
            Mail::None if self.origin.hello.is_empty() => reply::HELLO_FIRST,
            _ => reply::MAIL_FIRST,
        }
    }

    /// RCPT at the front, and the RCPTs pipelined behind it, in one question.
    pub(super) fn rcpt(&mut self, now: Instant, first: usize) -> Step {
        let limits = self.config.limits;
        let extensions = self.extensions;
        let grammar = limits.grammar.with_utf8(extensions.contains(Extensions::SMTPUTF8));
        let mut batch = Vec::new();
        let mut len = first;
        let refusal = loop {
            let Mail::Envelope(sender, recipients) = &self.mail else { break None };
            let command = self.without_line_end(len).map(|line| Command::parse(line, extensions, grammar));
            let Some(Ok(Command::Rcpt(path, parameters))) = command else { break None };
            // What is refused here is refused in its turn, behind the answers to those before it.
            let refusal = if !sender.smtputf8 && !is_ascii(path) {
                Some(reply::NON_ASCII_ADDRESS)
            } else if recipients.len() + batch.len() >= limits.recipients {
                // RFC 5321 §4.5.3.1.10: 452, and the recipients so far stay.
                Some(reply::TOO_MANY_RECIPIENTS)
            } else {
                self.refused_parameter(now, parameters.others, true)
            };
            if refusal.is_some() {
                break refusal.filter(|_| batch.is_empty());
            }
            batch.push(recipient(path, parameters));
            self.inbox.consume(len);
            if batch.len() >= limits.recipient_batch.max(1) {
                break None;
            }
            match self.inbox.line(limits.line) {
                mailstore_trait::session::Line::Complete(next) => len = next,
                _ => break None,
            }
        };
        if batch.is_empty() {
            self.inbox.consume(first);
            self.enter(now, State::Command);
            self.refuse(refusal.unwrap_or(reply::LOCAL_ERROR));
            return Step::Again;
        }
        let question = RcptTo { origin: self.origin.clone(), recipients: batch.clone() };
        self.ask(now, question, State::AwaitRcpt(batch))
    }

    pub(super) fn rcpt_decided(&mut self, now: Instant, asked: Vec<Recipient>, decisions: Vec<Decision>) {
        self.enter(now, State::Command);
        let mut decisions = decisions.into_iter();
        for recipient in asked {
            match decisions.next().unwrap_or(Decision::Refused(reply::LOCAL_ERROR)) {
                Decision::Accepted => {
                    if let Mail::Envelope(_, recipients) = &mut self.mail {
                        recipients.push(recipient);
                    }
                    self.say(&reply::RECIPIENT_OK);
                }
                Decision::Refused(reply) => self.refuse(reply.refusing()),
            }
            if matches!(self.state, State::Closed(_)) {
                return;
            }
        }
    }

    fn no_recipients(&self) -> Reply {
        if self.config.role == Role::Lmtp { reply::NO_RECIPIENTS_LMTP } else { reply::NO_RECIPIENTS }
    }

    pub(super) fn data(&mut self, now: Instant) -> Step {
        match std::mem::replace(&mut self.mail, Mail::None) {
            Mail::Envelope(sender, recipients) if recipients.is_empty() => {
                // RFC 5321 §3.3: without a recipient DATA is refused, and the transaction stays for another RCPT.
                self.mail = Mail::Envelope(sender, recipients);
                self.refuse(self.no_recipients());
            }
            // RFC 3030 §3: binary octets cannot be sent by DATA.
            Mail::Envelope(sender, recipients) if sender.body == Body::BinaryMime => {
                self.mail = Mail::Envelope(sender, recipients);
                self.refuse(reply::BINARY_NEEDS_BDAT);
            }
            Mail::Envelope(sender, recipients) => {
                let framer = Framer::dotted(self.config.text_line_ends);
                return self.open(now, *sender, recipients, framer, Extent::Dot);
            }
            mail => {
                self.mail = mail;
                let refusal = self.no_envelope();
                self.refuse(refusal);
            }
        }
        Step::Again
    }

    // RFC 3030 §2: the octets follow whatever the reply will be, so they are swallowed where they are refused.
    pub(super) fn bdat(&mut self, now: Instant, size: u64, last: bool) -> Step {
        let extent = Extent::Counted { left: size, last };
        match std::mem::replace(&mut self.mail, Mail::None) {
            Mail::Envelope(sender, recipients) if !recipients.is_empty() => {
                let framer = Framer::counted(self.config.text_line_ends, sender.body == Body::BinaryMime);
                return self.open(now, *sender, recipients, framer, extent);
            }
            Mail::Chunks(upload) => self.enter(now, State::Body(upload, extent)),
            mail => {
                let refusal = match mail {
                    Mail::Envelope(..) => self.no_recipients(),
                    _ => self.no_envelope(),
                };
                self.mail = mail;
                self.enter(now, State::Swallow(size, refusal));
            }
        }
        Step::Again
    }

    fn open(&mut self, now: Instant, sender: Sender, to: Vec<Recipient>, framer: Framer, extent: Extent) -> Step {
        let envelope = Arc::new(Envelope::new(sender, to));
        let upload = Upload {
            envelope: envelope.clone(),
            framer,
            size: 0,
            refusal: None,
            swallowed: 0,
            until: now + self.config.timeouts.message,
        };
        let question = BodyOpen { origin: self.origin.clone(), envelope };
        self.ask(now, question, State::AwaitOpen(Box::new(upload), extent))
    }

    pub(super) fn opened(&mut self, now: Instant, mut upload: Box<Upload>, extent: Extent, decision: Decision) {
        match (decision, extent) {
            (Decision::Accepted, Extent::Dot) => {
                self.say(&reply::START_MAIL);
                self.enter(now, State::Body(upload, extent));
            }
            (Decision::Accepted, Extent::Counted { .. }) => self.enter(now, State::Body(upload, extent)),
            (Decision::Refused(reply), Extent::Dot) => {
                self.enter(now, State::Command);
                self.refuse(reply.refusing());
            }
            (Decision::Refused(reply), Extent::Counted { .. }) => {
                upload.refusal = Some(reply.refusing());
                self.enter(now, State::Body(upload, extent));
            }
        }
    }

    /// Octets of a body, if there are some.
    pub(super) fn body(&mut self, now: Instant) -> Step {
        let State::Body(mut upload, mut extent) = std::mem::replace(&mut self.state, State::Moved) else {
            return Step::Again;
        };
        let (found, octets, end) = match &mut extent {
            Extent::Dot => {
                let found = upload.framer.look(self.inbox.as_slice(), false);
                let octets = self.inbox.take_mut(found.consumed);
                let end = found.end;
                (found, octets, end)
            }
            Extent::Counted { left, .. } => {
                let len = usize::try_from(*left).unwrap_or(usize::MAX).min(self.inbox.len());
                let complete = len as u64 == *left;
                let found = upload.framer.look(self.inbox.peek(len), complete);
                let octets = self.inbox.take_mut(found.consumed);
                *left -= found.consumed as u64;
                let end = *left == 0;
                (found, octets, end)
            }
        };
        if found.consumed == 0 && !end {
            // Still the same wait: its patience goes on.
            self.state = State::Body(upload, extent);
            return Step::Input;
        }
        let consumed = found.consumed as u64;
        let mut pieces = found.material(octets);
        if end && matches!(extent, Extent::Counted { last: true, .. }) {
            pieces.extend(upload.framer.finish().and_then(Piece::stand_in));
        }
        let size = pieces.iter().map(|piece| piece.len() as u64).sum::<u64>();
        if upload.refusal.is_some() {
            upload.swallowed += consumed;
            if upload.swallowed > self.config.limits.swallow {
                self.say(&reply::TOO_MUCH_SWALLOWED);
                self.close(CloseReason::Limit);
                return Step::Again;
            }
            return self.after_chunk(now, upload, extent, end);
        }
        upload.size += size;
        // RFC 1870 §6.3: the limit holds whatever was declared, and at the octet that passes it.
        if upload.size > self.config.limits.message {
            return self.drop_body(now, upload, extent, end, reply::MESSAGE_TOO_BIG);
        }
        if upload.framer.has_bare() && self.config.text_line_ends == LineEnds::Strict {
            self.violated(Violation::BareLineEnd);
            return self.drop_body(now, upload, extent, end, reply::BARE_IN_TEXT);
        }
        if size == 0 {
            return self.after_chunk(now, upload, extent, end);
        }
        self.ask(now, BodyChunk { pieces }, State::AwaitChunk(upload, extent, end))
    }

    fn drop_body(&mut self, now: Instant, mut upload: Box<Upload>, extent: Extent, end: bool, why: Reply) -> Step {
        upload.refusal = Some(why);
        self.ask(now, Abandon, State::AwaitAbandon(upload, extent, end))
    }

    pub(super) fn chunk_decided(
        &mut self,
        now: Instant,
        mut upload: Box<Upload>,
        extent: Extent,
        end: bool,
        decision: Decision,
    ) -> Step {
        if let Decision::Refused(reply) = decision {
            upload.refusal = Some(reply.refusing());
        }
        self.after_chunk(now, upload, extent, end)
    }

    /// A chunk is dealt with: go on, or end the body.
    pub(super) fn after_chunk(&mut self, now: Instant, upload: Box<Upload>, extent: Extent, end: bool) -> Step {
        if !end {
            self.enter(now, State::Body(upload, extent));
            return Step::Again;
        }
        let more = matches!(extent, Extent::Counted { last: false, .. });
        match (&upload.refusal, more) {
            // Nobody would hear that it was taken.
            (None, false) if self.reset => {
                self.close(CloseReason::Eof);
                Step::Again
            }
            (None, false) => {
                let question = Commit { envelope: upload.envelope.clone(), size: upload.size };
                self.ask(now, question, State::AwaitCommit(upload))
            }
            (None, true) => {
                self.say(&reply::CHUNK_OK);
                self.mail = Mail::Chunks(upload);
                self.enter(now, State::Command);
                Step::Again
            }
            // RFC 3030 §2: once a chunk failed, all that follow fail too, up to the last or RSET.
            (Some(refusal), true) => {
                let refusal = refusal.clone();
                self.mail = Mail::Chunks(upload);
                self.enter(now, State::Command);
                self.refuse(refusal);
                Step::Again
            }
            (Some(refusal), false) => {
                let refusal = refusal.clone();
                self.enter(now, State::Command);
                self.refuse_all(&upload, refusal);
                Step::Again
            }
        }
    }

    /// Refuses a message: once, or in LMTP for each recipient.
    fn refuse_all(&mut self, upload: &Upload, refusal: Reply) {
        let times = if self.config.role == Role::Lmtp { upload.envelope.recipients.len() } else { 1 };
        for _ in 1..times {
            self.say(&refusal);
        }
        self.refuse(refusal);
    }

    // RFC 5321 §6.1: the 250 means the message is safe. RFC 2033 §4.2: LMTP has one reply for each recipient.
    pub(super) fn committed(&mut self, now: Instant, upload: Upload, committed: Committed) {
        self.enter(now, State::Command);
        self.forget_forwarded();
        let count = upload.envelope.recipients.len();
        let outcomes = match committed {
            Committed::Refused(reply) => return self.refuse_all(&upload, reply.refusing()),
            Committed::Accepted(text) => vec![Ok(text); if self.config.role == Role::Lmtp { count } else { 1 }],
            Committed::Each(mut outcomes) => {
                outcomes.truncate(count);
                outcomes.resize(count, Err(reply::LOCAL_ERROR));
                outcomes
            }
        };
        let accepted = outcomes.iter().filter(|outcome| outcome.is_ok()).count();
        if accepted > 0 {
            self.errors = 0;
            let recipients = if outcomes.len() == count { accepted } else { count };
            self.events.push_back(Event::Accepted { size: upload.size, recipients });
        }
        if self.config.role == Role::Lmtp {
            for outcome in outcomes {
                match outcome {
                    Ok(text) => self.say(&accepted_reply(text)),
                    // Not a fault of the client: not counted.
                    Err(reply) => {
                        let reply = reply.refusing();
                        self.say(&reply);
                        self.events.push_back(Event::Refused(reply));
                    }
                }
            }
            return;
        }
        let (taken, refused): (Vec<_>, Vec<_>) = outcomes.into_iter().partition(Result::is_ok);
        match (taken.into_iter().next(), refused.into_iter().next()) {
            (Some(Ok(text)), _) => self.say(&accepted_reply(text)),
            (_, Some(Err(reply))) => self.refuse(reply.refusing()),
            _ => self.refuse(reply::LOCAL_ERROR),
        }
    }

    /// Octets of a BDAT that was refused.
    pub(super) fn swallow(&mut self, now: Instant) -> Step {
        let State::Swallow(left, refusal) = &self.state else { return Step::Again };
        let (left, refusal) = (*left, refusal.clone());
        if left > self.config.limits.swallow {
            self.say(&reply::TOO_MUCH_SWALLOWED);
            self.close(CloseReason::Limit);
            return Step::Again;
        }
        let len = usize::try_from(left).unwrap_or(usize::MAX).min(self.inbox.len());
        self.inbox.consume(len);
        if len as u64 == left {
            self.enter(now, State::Command);
            self.refuse(refusal);
            return Step::Again;
        }
        if len > 0 {
            self.enter(now, State::Swallow(left - len as u64, refusal));
        }
        Step::Input
    }
}

fn accepted_reply(text: String) -> Reply {
    if text.is_empty() { reply::OK } else { Reply { text: text.into(), ..reply::OK } }
}

fn is_ascii(path: ForwardPath<'_>) -> bool {
    match path {
        ForwardPath::Postmaster => true,
        ForwardPath::Mailbox(mailbox) => mailbox.is_ascii(),
    }
}

pub(crate) fn sender(path: ReversePath<'_>, parameters: MailParameters<'_>) -> Sender {
    Sender {
        address: path.to_address(),
        size: parameters.size,
        body: parameters.body.unwrap_or_default(),
        auth: parameters.auth.map(|auth| auth.to_string()),
        ret: parameters.ret,
        envid: parameters.envid.map(|id| id.to_string()),
        smtputf8: parameters.smtputf8,
        require_tls: parameters.require_tls,
        deliver_by: parameters.deliver_by,
        priority: parameters.priority,
        hold: parameters.hold,
        solicit: parameters.solicit.map(str::to_owned),
        others: others(parameters.others),
    }
}

fn others(others: Others<'_>) -> Vec<Parameter> {
    let owned = |(keyword, value): (&str, Option<&str>)| Parameter {
        keyword: keyword.to_owned(),
        value: value.map(str::to_owned),
    };
    others.iter().map(owned).collect()
}

pub(crate) fn recipient(path: ForwardPath<'_>, parameters: RcptParameters<'_>) -> Recipient {
    Recipient {
        address: path.to_address(),
        notify: parameters.notify,
        orcpt: parameters.orcpt.map(|it| (it.address_type.to_owned(), it.address.to_string())),
        valid_since: parameters.valid_since,
        others: others(parameters.others),
    }
}
