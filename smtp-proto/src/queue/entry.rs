//! A queue entry's life: from an envelope, through a client's reports, to what is left and what the sender must hear.
//!
//! RFC 5321 §4.5.4 and §6.1, RFC 3461 §5.2 and §6. An attempt is settled in two steps: [`settle`] for the report of each
//! connection that was made, then [`conclude`] once, when all of them are in. Nothing is lost between the two: an entry
//! that is never concluded keeps its lease until that runs out, and is tried again.

use std::collections::BTreeMap;

use mailstore_trait::date::Timestamp;
use mailstore_trait::id::QueueId;
use mailstore_trait::queue::{Delivery, FLUSHED, LastAttempt, QueueEntry, QueueRecipient, RecipientState};

use super::destination::{Admission, Destinations};
use super::{Decision, Retry};
use crate::address::{Address, Grammar};
use crate::client::request::{Outcome, Outgoing};
use crate::command::Command;
use crate::command::params::{Body, ByMode, DeliverBy, Notify, Ret, encode_xtext};
use crate::config::Extensions;
use crate::dsn::{self, Action};
use crate::reply::EnhancedCode;
use crate::request::{Envelope, Recipient, Sender};

/// An entry for these recipients of an envelope, due at once or when its hold is over. `states` holds a recipient's
/// position and how far it is.
#[must_use]
pub fn entry(
    id: QueueId,
    envelope: &Envelope,
    states: impl IntoIterator<Item = (usize, RecipientState, Option<LastAttempt>)>,
    size: u64,
    now: Timestamp,
) -> QueueEntry {
    let sender = &envelope.sender;
    let recipients = states.into_iter().filter_map(|(at, state, last)| {
        let recipient = envelope.recipients.get(at)?;
        let queued = QueueRecipient::new(recipient.address.as_str(), rcpt_parameters(recipient), state);
        Some(QueueRecipient { last, ..queued })
    });
    QueueEntry {
        id,
        return_path: sender.address.as_ref().map(|address| address.as_str().to_owned()),
        recipients: recipients.collect(),
        size,
        mail_parameters: mail_parameters(sender),
        queued: now,
        // RFC 4865 §4: it is not sent before.
        due: sender.hold.map_or(now, |hold| hold.until(now).max(now)),
        attempts: 0,
        delay_reported: None,
        // RFC 6710 §5: who said nothing is in the middle.
        priority: sender.priority.map_or(0, |priority| priority.value()),
    }
}

fn mail_parameters(sender: &Sender) -> Vec<String> {
    let mut words = Vec::new();
    match sender.body {
        Body::SevenBit => {}
        Body::EightBitMime => words.push("BODY=8BITMIME".to_owned()),
        Body::BinaryMime => words.push("BODY=BINARYMIME".to_owned()),
    }
    if sender.smtputf8 {
        words.push("SMTPUTF8".to_owned());
    }
    match sender.ret {
        Some(Ret::Full) => words.push("RET=FULL".to_owned()),
        Some(Ret::Headers) => words.push("RET=HDRS".to_owned()),
        None => {}
    }
    words.extend(sender.envid.as_ref().map(|envid| format!("ENVID={}", encode_xtext(envid))));
    if sender.require_tls {
        words.push("REQUIRETLS".to_owned());
    }
    words.extend(sender.deliver_by.map(|by| format!("BY={by}")));
    words.extend(sender.priority.map(|priority| format!("MT-PRIORITY={priority}")));
    words.extend(sender.hold.map(|hold| hold.to_string()));
    words.extend(sender.solicit.as_ref().map(|keywords| format!("SOLICIT={keywords}")));
    words.extend(sender.others.iter().map(ToString::to_string));
    words
}

pub(crate) fn rcpt_parameters(recipient: &Recipient) -> Vec<String> {
    let mut words = Vec::new();
    words.extend(recipient.notify.map(|notify| format!("NOTIFY={}", crate::client::notify_words(notify))));
    words.extend(recipient.orcpt.as_ref().map(|(kind, address)| format!("ORCPT={kind};{}", encode_xtext(address))));
    words.extend(recipient.valid_since.map(|since| format!("RRVS={since}")));
    words.extend(recipient.others.iter().map(ToString::to_string));
    words
}

/// The widest grammar: what is in the queue was checked when it came.
fn stored() -> Grammar {
    Grammar { utf8: true, local_part: 1024, domain: 1024, path: 4096 }
}

/// The sender of an entry; one that does not parse counts as null.
#[must_use]
pub fn sender(entry: &QueueEntry) -> Sender {
    let path = entry.return_path.as_deref().unwrap_or_default();
    let line = format!("MAIL FROM:<{path}> {}", entry.mail_parameters.join(" "));
    match Command::parse(line.as_bytes(), Extensions::all(), stored()) {
        Ok(Command::Mail(path, parameters)) => crate::server::sender(path, parameters),
        _ => Sender::new(None),
    }
}

/// A recipient of an entry; `None` when it does not parse.
#[must_use]
pub fn recipient(recipient: &QueueRecipient) -> Option<Recipient> {
    let line = format!("RCPT TO:<{}> {}", recipient.address, recipient.parameters.join(" "));
    match Command::parse(line.as_bytes(), Extensions::all(), stored()) {
        Ok(Command::Rcpt(path, parameters)) => Some(crate::server::recipient(path, parameters)),
        _ => None,
    }
}

/// Which destinations get a conversation in this turn.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Plan {
    /// Those that do, each with the positions of its recipients. [`Destinations::ended`] must follow for each.
    pub granted: Vec<(String, Vec<usize>)>,
    /// When those that don't may, the first of them.
    pub postponed: Option<Timestamp>,
}

/// Plans a turn: which of the destinations, as `name` has them, are free for the recipients that are for next hops.
///
/// Recipients that were never tried learn why, when their destination is shut. An entry that somebody flushed opens its
/// destinations.
pub fn plan(
    entry: &mut QueueEntry,
    now: Timestamp,
    destinations: &mut Destinations,
    name: impl Fn(&str) -> String,
) -> Plan {
    let mut plan = Plan::default();
    if is_over(entry, now) {
        return plan;
    }
    let mut by_name: BTreeMap<String, Vec<usize>> = BTreeMap::new();
    for (at, recipient) in entry.recipients.iter().enumerate() {
        if recipient.state == RecipientState::Relay {
            by_name.entry(name(&recipient.address)).or_default().push(at);
        }
    }
    for (name, positions) in by_name {
        if entry.due == FLUSHED {
            destinations.reopen(&name);
        }
        let later = match destinations.admit(&name, now) {
            Admission::Granted => {
                plan.granted.push((name, positions));
                continue;
            }
            Admission::Busy(later) => later,
            Admission::Shut { until, reply } => {
                for at in positions {
                    if let Some(recipient) = entry.recipients.get_mut(at) {
                        let said = || LastAttempt { at: now, reply: line(&reply), remote_mta: None };
                        recipient.last.get_or_insert_with(said);
                    }
                }
                until
            }
        };
        plan.postponed = Some(plan.postponed.map_or(later, |first| first.min(later)));
    }
    plan
}

/// What one connection is to send: the recipients this `route` takes of those that are for next hops, and their
/// positions in the entry.
#[must_use]
pub fn outgoing(entry: &QueueEntry, now: Timestamp, route: impl Fn(&Address) -> bool) -> (Outgoing, Vec<usize>) {
    let (mut recipients, mut positions) = (Vec::new(), Vec::new());
    for (at, queued) in entry.recipients.iter().enumerate() {
        if queued.state == RecipientState::Relay
            && let Some(recipient) = recipient(queued).filter(|recipient| route(&recipient.address))
        {
            recipients.push(recipient);
            positions.push(at);
        }
    }
    let mut sender = sender(entry);
    // RFC 2852 §4: what is left of the time; RFC 4865 §4: the hold ends where it was.
    sender.deliver_by = sender.deliver_by.map(|by| by.left(entry.queued, now));
    sender.hold = None;
    (Outgoing { envelope: Envelope::new(sender, recipients), size: entry.size }, positions)
}

/// Who said what became of recipients.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Via<'a> {
    /// A mailbox here.
    Mailbox,
    /// This host, which puts others in the recipient's place.
    Expanded,
    /// A next hop.
    NextHop {
        /// Its name, or its address as a literal.
        host: &'a str,
        /// It takes over what is to be reported (RFC 3461 §5.2.1).
        reports: bool,
        /// It takes over by when the message must be delivered (RFC 2852 §4).
        deliver_by: bool,
    },
}

/// Notes what became of the recipients at these positions.
pub fn settle(entry: &mut QueueEntry, positions: &[usize], outcomes: &[Outcome], via: Via<'_>, now: Timestamp) {
    let deadline = outcomes.iter().any(|it| matches!(it, Outcome::Delivered(_))) && sender(entry).deliver_by.is_some();
    for (position, outcome) in positions.iter().zip(outcomes) {
        let Some(recipient) = entry.recipients.get_mut(*position) else { continue };
        let (state, reply, remote) = match outcome {
            Outcome::Delivered(reply) => {
                let delivery = match via {
                    Via::Mailbox => Delivery::Mailbox,
                    Via::Expanded => Delivery::Expanded,
                    Via::NextHop { reports: true, deliver_by, .. } if deliver_by || !deadline => Delivery::Passed,
                    Via::NextHop { .. } => Delivery::Relayed,
                };
                (RecipientState::Delivered(delivery), reply, true)
            }
            Outcome::Deferred(failure) => (recipient.state, &failure.reply, failure.remote),
            Outcome::Failed(failure) => (RecipientState::Failed, &failure.reply, failure.remote),
        };
        let remote_mta = match via {
            Via::NextHop { host, .. } if remote => Some(host.to_owned()),
            _ => None,
        };
        recipient.state = state;
        recipient.last = Some(LastAttempt { at: now, reply: line(&reply.to_string()), remote_mta });
    }
}

/// Puts others in a recipient's place, as an alias or forwarding says that was found when its turn came.
pub(crate) fn expand(entry: &mut QueueEntry, at: usize, addresses: &[String]) {
    let Some(original) = entry.recipients.get(at).and_then(recipient) else { return };
    for address in addresses {
        let known = entry.recipients.iter().any(|it| it.address.eq_ignore_ascii_case(address));
        let Ok(address) = Address::parse(address, Grammar::default().with_utf8(true)) else { continue };
        if !known {
            let parameters = rcpt_parameters(&original.in_place(address.clone(), false));
            entry.recipients.push(QueueRecipient::new(address.as_str(), parameters, RecipientState::Relay));
        }
    }
}

/// A reply on one line.
fn line(reply: &str) -> String {
    let mut words = reply.split(['\r', '\n']).map(str::trim).filter(|word| !word.is_empty());
    let first = words.next().unwrap_or_default().to_owned();
    words.fold(first, |text, word| text + " " + word)
}

/// What came of a turn at an entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Turn {
    /// When it ended.
    pub now: Timestamp,
    /// Whether anything was tried. A turn in which every destination was shut counts as none.
    pub tried: bool,
    /// When a destination that was not tried may be tried.
    pub postponed: Option<Timestamp>,
    /// Any number, evenly spread: it spreads the next attempt ([`Retry::jitter`]).
    pub random: u32,
}

/// What an attempt leaves.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Conclusion {
    /// The entry as it goes on; `None` when it is done.
    pub entry: Option<QueueEntry>,
    /// Whom the sender must hear about; none when there is nothing to report, or nobody to report to.
    pub reports: Vec<dsn::Recipient>,
}

/// When a message's life begins, and by when it must be delivered.
#[derive(Clone, Copy)]
struct Life {
    begun: Timestamp,
    deadline: Option<(DeliverBy, Timestamp)>,
}

impl Life {
    fn of(entry: &QueueEntry) -> Life {
        let sender = sender(entry);
        let held = sender.hold.map(|hold| hold.until(entry.queued));
        Life {
            // RFC 4865 §4: a message that is held lives from its release.
            begun: held.unwrap_or(entry.queued).max(entry.queued),
            deadline: sender.deliver_by.map(|by| (by, by.deadline(entry.queued))),
        }
    }

    /// Whether it may not be tried any more.
    // RFC 2852 §4: by mode R, it is returned when its time is over.
    fn is_over(self, now: Timestamp) -> bool {
        self.deadline.is_some_and(|(by, at)| by.mode == ByMode::Return && now >= at)
    }

    /// Whether its time is over by mode N, and nobody was told since.
    fn is_to_notify(self, now: Timestamp, reported: Option<Timestamp>) -> bool {
        self.deadline.is_some_and(|(by, at)| {
            by.mode == ByMode::Notify && now >= at && reported.is_none_or(|reported| reported < at)
        })
    }
}

/// Whether an entry's time to be delivered is over, so that it must not be tried but only concluded.
#[must_use]
pub fn is_over(entry: &QueueEntry, now: Timestamp) -> bool {
    Life::of(entry).is_over(now)
}

/// Concludes a turn: what goes on, until when, and what is reported.
///
/// Recipients with an outcome leave the entry with the report about them, in one step, so that each is reported once.
#[must_use]
pub fn conclude(mut entry: QueueEntry, turn: Turn, retry: &Retry) -> Conclusion {
    let (now, life) = (turn.now, Life::of(&entry));
    entry.attempts = entry.attempts.saturating_add(u32::from(turn.tried));
    let end = life.begun.plus(retry.give_up);
    let decision = match retry.next_attempt(entry.attempts, life.begun, now, turn.random) {
        _ if life.is_over(now) => Decision::GiveUp,
        Decision::GiveUp => Decision::GiveUp,
        Decision::At(due) => {
            let due =
                if turn.tried { turn.postponed.map_or(due, |at| due.min(at)) } else { turn.postponed.unwrap_or(due) };
            // Whoever waits for the deadline hears of it then, not at the next attempt.
            let deadline = life.deadline.map(|(_, at)| at).filter(|at| *at > now);
            Decision::At(due.min(end).min(deadline.unwrap_or(due)))
        }
    };
    let too_late = life.is_to_notify(now, entry.delay_reported);
    let late = too_late || retry.is_late(life.begun, now, entry.delay_reported.is_some());
    let until = match life.deadline {
        Some((by, at)) if by.mode == ByMode::Return => end.min(at),
        _ => end,
    };
    let (mut left, mut reports) = (Vec::new(), Vec::new());
    for queued in std::mem::take(&mut entry.recipients) {
        let known = recipient(&queued);
        let notify = known.as_ref().and_then(|recipient| recipient.notify);
        let wants = Wants { notify, by: life.deadline.map(|(by, _)| by) };
        let mut report = dsn::Recipient {
            address: queued.address.clone(),
            orcpt: known.and_then(|recipient| recipient.orcpt),
            action: Action::Failed,
            status: EnhancedCode::new(5, 0, 0),
            diagnostic: queued.last.as_ref().map(|last| last.reply.clone()),
            remote_mta: queued.last.as_ref().and_then(|last| last.remote_mta.clone()),
            last_attempt: queued.last.as_ref().map(|last| last.at),
            will_retry_until: None,
        };
        let reply = queued.last.as_ref().map(|last| last.reply.as_str()).unwrap_or_default();
        match queued.state {
            RecipientState::Delivered(delivery) => {
                if let Some(action) = wants.success(delivery) {
                    report.action = action;
                    report.status = status(reply, 2);
                    reports.push(report);
                }
            }
            RecipientState::Failed => {
                if wants.failure() {
                    report.status = status(reply, 5);
                    reports.push(report);
                }
            }
            RecipientState::Relay | RecipientState::Spool if decision == Decision::GiveUp => {
                if wants.failure() {
                    // RFC 3463 §3.5: X.4.7, delivery time expired, where the problem that used it up has no code of its
                    // own. RFC 2852 §4: a message that was returned at its deadline says nothing else.
                    let known = queued.last.as_ref().map(|last| status(&last.reply, 4));
                    report.status = match known.filter(|status| (status.subject, status.detail) != (0, 0)) {
                        Some(status) if !life.is_over(now) => status,
                        _ if life.is_over(now) => EnhancedCode::new(5, 4, 7),
                        _ => EnhancedCode::new(4, 4, 7),
                    };
                    reports.push(report);
                }
            }
            RecipientState::Relay | RecipientState::Spool => {
                if (late && wants.delay()) || (too_late && wants.anything()) {
                    report.action = Action::Delayed;
                    report.status = match queued.last {
                        Some(_) if !too_late => status(reply, 4),
                        _ => EnhancedCode::new(4, 4, 7),
                    };
                    report.will_retry_until = Some(until);
                    reports.push(report);
                }
                left.push(queued);
            }
        }
    }
    // RFC 5321 §6.1: a message with the null reverse-path is never answered.
    if entry.return_path.is_none() {
        reports.clear();
    }
    if late {
        entry.delay_reported = Some(now);
    }
    entry.recipients = left;
    if let Decision::At(due) = decision {
        entry.due = due;
    }
    Conclusion { entry: (!entry.recipients.is_empty()).then_some(entry), reports }
}

/// What the sender wants to hear of a recipient.
#[derive(Clone, Copy)]
struct Wants {
    notify: Option<Notify>,
    by: Option<DeliverBy>,
}

impl Wants {
    fn anything(self) -> bool {
        self.notify.is_none_or(|notify| !notify.is_empty())
    }

    // RFC 3461 §4.1: without NOTIFY failures are reported, and delays.
    fn failure(self) -> bool {
        self.notify.unwrap_or_default().contains(Notify::FAILURE)
    }

    fn delay(self) -> bool {
        self.notify.unwrap_or_default().contains(Notify::DELAY)
    }

    /// What is to be reported of a recipient that was delivered.
    fn success(self, delivery: Delivery) -> Option<Action> {
        let success = self.notify.is_some_and(|notify| notify.contains(Notify::SUCCESS));
        match delivery {
            Delivery::Mailbox => success.then_some(Action::Delivered),
            Delivery::Expanded => success.then_some(Action::Expanded),
            // RFC 3461 §5.2.2: a next hop without DSN reports nothing; so this hop says "relayed". RFC 2852 §4: also
            // where nobody takes over by when it must be delivered.
            Delivery::Relayed => (success || (self.by.is_some() && self.anything())).then_some(Action::Relayed),
            // RFC 2852 §4: with T, each hop tells that it took the message over and passed it on.
            Delivery::Passed => (self.by.is_some_and(|by| by.trace) && self.anything()).then_some(Action::Relayed),
        }
    }
}

/// The enhanced code of a reply that is kept as text, or the plain one of its class.
fn status(reply: &str, class: u8) -> EnhancedCode {
    let text = reply.get(4..).unwrap_or_default();
    match EnhancedCode::split(text) {
        Some((code, _)) if code.class == class => code,
        _ => EnhancedCode::new(class, 0, 0),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::client::request::{Failure, Stage};
    use crate::command::params::{DeliverBy, Hold, Priority, ValidSince};
    use crate::reply::Reply;
    use crate::request::Parameter;

    fn start() -> Timestamp {
        Timestamp::from_seconds(1_000_000)
    }

    fn address(text: &str) -> Address {
        Address::parse(text, stored()).unwrap()
    }

    fn queued(recipients: &[(&str, Option<Notify>)]) -> QueueEntry {
        let mut from = Sender::new(Some(address("\"a b\"@a.example")));
        (from.envid, from.ret, from.smtputf8, from.body) =
            (Some("x y".into()), Some(Ret::Headers), true, Body::EightBitMime);
        let other =
            |keyword: &str, value: Option<&str>| Parameter { keyword: keyword.into(), value: value.map(str::to_owned) };
        (from.require_tls, from.deliver_by) = (true, DeliverBy::parse("-5;NT"));
        (from.priority, from.hold) = (Priority::new(-3), Some(Hold::Until(start())));
        (from.solicit, from.others) =
            (Some("net.example:ADV".into()), vec![other("XONE", None), other("XTWO", Some("2"))]);
        let recipients = recipients.iter().map(|(to, notify)| {
            let mut recipient = Recipient::new(address(to));
            (recipient.notify, recipient.orcpt) = (*notify, Some(("rfc822".into(), "o@p".into())));
            recipient.valid_since = ValidSince::parse("2026-01-02T03:04:05Z;C");
            recipient.others = vec![other("XTHREE", Some("x;y"))];
            recipient
        });
        let envelope = Envelope::new(from, recipients.collect());
        let pending = (0..envelope.recipients.len()).map(|at| (at, RecipientState::Relay, None));
        let made = entry(QueueId([7; 16]), &envelope, pending, 10, start());
        assert_eq!(made.priority, -3);
        let mut left = envelope.sender.clone();
        left.hold = None;
        let envelope = Envelope::new(left, envelope.recipients);
        assert_eq!(outgoing(&made, start(), |_| true).0.envelope, envelope, "what goes in comes out, but for the hold");
        made
    }

    fn failed(code: u16, class: u8) -> Outcome {
        let reply = Reply::new(code, EnhancedCode::new(class, 1, 1), "why");
        Failure { stage: Stage::Rcpt, reply, remote: true }.into()
    }

    fn taken() -> Outcome {
        Outcome::Delivered(Reply::new(250, EnhancedCode::new(2, 1, 5), "ok"))
    }

    const HOP: Via<'_> = Via::NextHop { host: "mx.b.example", reports: false, deliver_by: false };
    const PASSED: Via<'_> = Via::NextHop { host: "mx.b.example", reports: true, deliver_by: true };

    fn settled(entry: &mut QueueEntry, positions: &[usize], outcomes: &[Outcome], now: Timestamp) {
        settle(entry, positions, outcomes, HOP, now);
    }

    fn tried(now: Timestamp) -> Turn {
        Turn { now, tried: true, postponed: None, random: 0 }
    }

    /// An entry without parameters of MAIL but these.
    fn plain(recipients: &[(&str, Option<Notify>)], words: &[&str]) -> QueueEntry {
        let mut entry = queued(recipients);
        entry.mail_parameters = words.iter().map(ToString::to_string).collect();
        entry
    }

    fn told(conclusion: &Conclusion) -> Vec<(&str, Action, String)> {
        let line = |it: &dsn::Recipient| it.status.to_string();
        conclusion.reports.iter().map(|it| (it.address.as_str(), it.action, line(it))).collect()
    }

    #[test]
    fn each_recipient_goes_its_own_way() {
        let mut entry = plain(
            &[
                ("ok@b.example", Some(Notify::SUCCESS)),
                ("quiet@b.example", None),
                ("gone@b.example", None),
                ("never@b.example", Some(Notify::NEVER)),
                ("later@b.example", None),
                ("other@c.example", None),
            ],
            &[],
        );
        let (outgoing, positions) = outgoing(&entry, start(), |address| address.domain() == Some("b.example"));
        assert_eq!((outgoing.envelope.recipients.len(), positions.as_slice()), (5, &[0, 1, 2, 3, 4][..]));
        let outcomes = [taken(), taken(), failed(550, 5), failed(550, 5), failed(451, 4)];
        settled(&mut entry, &positions, &outcomes, start());
        let conclusion = conclude(entry, tried(start()), &Retry::default());
        assert_eq!(
            told(&conclusion),
            [("ok@b.example", Action::Relayed, "2.1.5".into()), ("gone@b.example", Action::Failed, "5.1.1".into())]
        );
        assert_eq!(conclusion.reports[1].remote_mta.as_deref(), Some("mx.b.example"));
        let left = conclusion.entry.unwrap();
        assert_eq!((left.attempts, left.due), (1, start().plus(Duration::from_secs(240))));
        let names: Vec<_> = left.recipients.iter().map(|it| it.address.as_str()).collect();
        assert_eq!(names, ["later@b.example", "other@c.example"]);
        let last = left.recipients[0].last.clone().unwrap();
        assert_eq!((last.at, last.reply.as_str()), (start(), "451 4.1.1 why"));
        assert_eq!((last.remote_mta.as_deref(), left.recipients[1].last.as_ref()), (Some("mx.b.example"), None));
    }

    #[test]
    fn a_next_hop_with_dsn_reports_successes_itself() {
        let mut entry = plain(&[("ok@b.example", Some(Notify::SUCCESS))], &[]);
        settle(&mut entry, &[0], &[taken()], PASSED, start());
        let conclusion = conclude(entry, tried(start()), &Retry::default());
        assert_eq!(conclusion, Conclusion { entry: None, reports: Vec::new() });
    }

    #[test]
    fn deliveries_here_are_reported_as_what_they_are() {
        for (delivery, action) in [(Delivery::Mailbox, Action::Delivered), (Delivery::Expanded, Action::Expanded)] {
            let mut entry = plain(&[("ok@b.example", Some(Notify::SUCCESS)), ("quiet@b.example", None)], &[]);
            entry.recipients.iter_mut().for_each(|it| it.state = RecipientState::Delivered(delivery));
            let conclusion = conclude(entry, tried(start()), &Retry::default());
            let told: Vec<_> = conclusion.reports.iter().map(|it| it.action).collect();
            assert_eq!(told, [action], "only who asked");
        }
    }

    #[test]
    fn late_once_then_expired() {
        let (mut entry, retry, mut now) = (plain(&[("later@b.example", None)], &[]), Retry::default(), start());
        let mut reports = Vec::new();
        let mut attempts = 0;
        loop {
            attempts += 1;
            settled(&mut entry, &[0], &[failed(451, 4)], now);
            let conclusion = conclude(entry, tried(now), &retry);
            let until = conclusion.reports.first().and_then(|it| it.will_retry_until);
            assert_eq!(until.is_some(), conclusion.reports.first().is_some_and(|it| it.action == Action::Delayed));
            reports.extend(conclusion.reports.into_iter().map(|it| (it.action, it.status.to_string())));
            match conclusion.entry {
                Some(left) => (now, entry) = (left.due, left),
                None => break,
            }
            assert!(attempts < 100);
        }
        assert_eq!(now.since(start()), retry.give_up);
        assert_eq!(reports, [(Action::Delayed, "4.1.1".to_owned()), (Action::Failed, "4.1.1".to_owned())]);
        let untried = plain(&[("later@b.example", None)], &[]);
        assert_eq!(conclude(untried, tried(now), &retry).reports[0].status.to_string(), "4.4.7");
    }

    /// A destination that is down for all used to look like an attempt for each: the waits doubled for messages that
    /// nobody had tried.
    #[test]
    fn a_turn_without_an_attempt_is_none() {
        let entry = plain(&[("later@b.example", None)], &[]);
        let later = start().plus(Duration::from_secs(77));
        let turn = Turn { tried: false, postponed: Some(later), ..tried(start()) };
        let left = conclude(entry.clone(), turn, &Retry::default()).entry.unwrap();
        assert_eq!((left.attempts, left.due), (0, later));
        let turn = Turn { postponed: Some(later), ..tried(start()) };
        let left = conclude(entry.clone(), turn, &Retry::default()).entry.unwrap();
        assert_eq!((left.attempts, left.due), (1, later), "what was not tried does not wait for what was");
        let end = start().plus(Retry::default().give_up);
        let turn = Turn { tried: false, postponed: Some(end.plus(Duration::from_secs(5))), ..tried(start()) };
        assert_eq!(
            conclude(entry.clone(), turn, &Retry::default()).entry.unwrap().due,
            end,
            "its life ends all the same"
        );
        let turn = Turn { tried: false, postponed: Some(end), ..tried(end) };
        assert_eq!(conclude(entry, turn, &Retry::default()).reports[0].action, Action::Failed);
    }

    #[test]
    fn what_must_be_delivered_by_then_is_returned() {
        let entry = plain(&[("later@b.example", None)], &["BY=90;R"]);
        let at = |seconds| start().plus(Duration::from_secs(seconds));
        assert_eq!(outgoing(&entry, at(30), |_| true).0.envelope.sender.deliver_by, DeliverBy::parse("60;R"));
        let mut first = entry.clone();
        settled(&mut first, &[0], &[failed(451, 4)], at(30));
        let left = conclude(first, tried(at(30)), &Retry::default()).entry.unwrap();
        assert_eq!(left.due, at(90), "not at the next attempt");
        assert!(is_over(&left, at(90)) && !is_over(&left, at(89)));
        let turn = Turn { tried: false, ..tried(at(90)) };
        let conclusion = conclude(left, turn, &Retry::default());
        assert_eq!(told(&conclusion), [("later@b.example", Action::Failed, "5.4.7".into())]);
        assert_eq!(conclusion.entry, None);
    }

    #[test]
    fn what_should_be_delivered_by_then_is_told_and_tried_on() {
        let recipients = [("later@b.example", Some(Notify::FAILURE)), ("never@b.example", Some(Notify::NEVER))];
        let mut entry = plain(&recipients, &["BY=90;N"]);
        let at = |seconds| start().plus(Duration::from_secs(seconds));
        settled(&mut entry, &[0, 1], &[failed(451, 4), failed(451, 4)], at(30));
        let left = conclude(entry, tried(at(30)), &Retry::default()).entry.unwrap();
        assert_eq!((left.due, is_over(&left, at(90))), (at(90), false));
        let conclusion = conclude(left, tried(at(90)), &Retry::default());
        assert_eq!(told(&conclusion), [("later@b.example", Action::Delayed, "4.4.7".into())]);
        let left = conclusion.entry.unwrap();
        assert!(left.due > at(90));
        assert_eq!(conclude(left, tried(at(500)), &Retry::default()).reports, [], "once");
        // A next hop that does not take the deadline over, and one that does, for who wants every step told.
        for (words, via, told_of) in [("BY=90;N", HOP, true), ("BY=90;N", PASSED, false), ("BY=90;NT", PASSED, true)] {
            let mut entry = plain(&recipients, &[words]);
            settle(&mut entry, &[0, 1], &[taken(), taken()], via, at(1));
            let conclusion = conclude(entry, tried(at(1)), &Retry::default());
            let expected: &[_] = &[("later@b.example", Action::Relayed, "2.1.5".to_owned())];
            assert_eq!(told(&conclusion), if told_of { expected } else { &[] }, "{words}");
        }
    }

    #[test]
    fn one_message_asks_each_of_its_destinations() {
        use crate::queue::destination::{Limits, Reached};
        let mut destinations = Destinations::new(Limits { concurrency: 1, ..Limits::default() });
        let domain = |address: &str| address.rsplit_once('@').unwrap().1.to_owned();
        let mut entry = plain(&[("a@b.example", None), ("c@d.example", None), ("e@b.example", None)], &[]);
        let plan = |entry: &mut QueueEntry, destinations: &mut _, now| plan(entry, now, destinations, domain);
        let first = plan(&mut entry, &mut destinations, start());
        let expected = [("b.example".to_owned(), vec![0, 2]), ("d.example".to_owned(), vec![1])];
        assert_eq!((first.granted.as_slice(), first.postponed), (&expected[..], None));
        let refused = Reply::new(451, EnhancedCode::new(4, 4, 1), "refused");
        let second = Duration::from_secs(1);
        destinations.ended("b.example", start(), second, Reached::Unreachable(&refused), u32::MAX / 2);
        let later = plan(&mut entry, &mut destinations, start().plus(second));
        assert_eq!(
            (later.granted, later.postponed),
            (Vec::new(), Some(start().plus(second * 2))),
            "the sooner of both"
        );
        assert_eq!(entry.recipients[0].last.as_ref().unwrap().reply, "451 4.4.1 refused");
        assert_eq!(entry.recipients[1].last, None, "busy is not a fault");
        entry.due = FLUSHED;
        let flushed = plan(&mut entry, &mut destinations, start().plus(second * 2));
        assert_eq!(flushed.granted, [("b.example".to_owned(), vec![0, 2])]);
        entry.mail_parameters = vec!["BY=1;R".into()];
        assert_eq!(plan(&mut entry, &mut destinations, start().plus(second * 9)), Plan::default(), "its time is over");
    }

    #[test]
    fn a_message_on_hold_lives_from_its_release() {
        let mut sender = Sender::new(Some(address("a@a.example")));
        sender.hold = Some(Hold::For(6 * 86_400));
        let envelope = Envelope::new(sender, vec![Recipient::new(address("later@b.example"))]);
        let pending = [(0, RecipientState::Relay, None)];
        let mut entry = entry(QueueId([7; 16]), &envelope, pending, 10, start());
        let released = start().plus(Duration::from_secs(6 * 86_400));
        assert_eq!(entry.due, released);
        settled(&mut entry, &[0], &[failed(451, 4)], released);
        let conclusion = conclude(entry, tried(released), &Retry::default());
        assert_eq!(conclusion.reports, [], "neither late nor expired");
        assert!(conclusion.entry.unwrap().due > released);
    }

    #[test]
    fn nobody_answers_a_null_path() {
        let mut entry = plain(&[("gone@b.example", None)], &[]);
        entry.return_path = None;
        settled(&mut entry, &[0], &[failed(550, 5)], start());
        assert_eq!(conclude(entry, tried(start()), &Retry::default()), Conclusion { entry: None, reports: Vec::new() });
    }

    #[test]
    fn replies_are_kept_on_one_line() {
        let mut entry = plain(&[("gone@b.example", None)], &[]);
        let reply = Reply { code: 550, enhanced: None, text: "5.1.1 no\nsuch\r\n\r\n user".into() };
        let outcome = Failure { stage: Stage::Rcpt, reply, remote: true }.into();
        settled(&mut entry, &[0], &[outcome], start());
        let said = entry.recipients[0].last.clone().unwrap().reply;
        assert!(!said.contains(['\r', '\n']) && said.contains("such") && said.contains("user"), "{said}");
    }
}
