//! A queue entry's life: from an envelope, through a client's reports, to what is left and what the sender must hear.
//!
//! RFC 5321 §4.5.4 and §6.1, RFC 3461 §5.2 and §6. An attempt is settled in two steps: [`settle`] for the report of each
//! connection that was made, then [`conclude`] once, when all of them are in. Nothing is lost between the two: an entry
//! that is never concluded keeps its lease until that runs out, and is tried again.

use mailstore_trait::date::Timestamp;
use mailstore_trait::id::QueueId;
use mailstore_trait::queue::{QueueEntry, QueueRecipient, RecipientState};

use super::{Decision, Retry};
use crate::address::{Address, Grammar};
use crate::client::request::{Outcome, Outgoing};
use crate::command::Command;
use crate::command::params::{Body, Notify, Ret, encode_xtext};
use crate::config::Extensions;
use crate::dsn::{self, Action};
use crate::reply::EnhancedCode;
use crate::request::{Envelope, Recipient, Sender};

/// An entry for these recipients of an envelope, due at once. `states` holds a recipient's position and how far it is.
#[must_use]
pub fn entry(
    id: QueueId,
    envelope: &Envelope,
    states: impl IntoIterator<Item = (usize, RecipientState)>,
    size: u64,
    now: Timestamp,
) -> QueueEntry {
    let recipients = states.into_iter().filter_map(|(at, state)| {
        let recipient = envelope.recipients.get(at)?;
        Some(QueueRecipient {
            address: recipient.address.as_str().to_owned(),
            parameters: rcpt_parameters(recipient),
            state,
        })
    });
    QueueEntry {
        id,
        return_path: envelope.sender.address.as_ref().map(|address| address.as_str().to_owned()),
        recipients: recipients.collect(),
        size,
        mail_parameters: mail_parameters(&envelope.sender),
        queued: now,
        due: now,
        attempts: 0,
        delay_reported: None,
        priority: 0,
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

/// What one connection is to send: the pending recipients this `route` takes, and their positions in the entry.
#[must_use]
pub fn outgoing(entry: &QueueEntry, route: impl Fn(&Address) -> bool) -> (Outgoing, Vec<usize>) {
    let (mut recipients, mut positions) = (Vec::new(), Vec::new());
    for (at, queued) in entry.recipients.iter().enumerate() {
        if matches!(queued.state, RecipientState::Pending { .. })
            && let Some(recipient) = recipient(queued).filter(|recipient| route(&recipient.address))
        {
            recipients.push(recipient);
            positions.push(at);
        }
    }
    let envelope = Envelope::new(sender(entry), recipients);
    (Outgoing { envelope, size: entry.size }, positions)
}

/// Notes what became of the recipients at these positions. `dsn`: the next hop reports successes itself.
pub fn settle(entry: &mut QueueEntry, positions: &[usize], outcomes: &[Outcome], dsn: bool) {
    for (position, outcome) in positions.iter().zip(outcomes) {
        let Some(recipient) = entry.recipients.get_mut(*position) else { continue };
        recipient.state = match outcome {
            Outcome::Delivered(reply) => {
                if dsn {
                    // RFC 3461 §5.2.1: whoever took NOTIFY over reports the success.
                    recipient.parameters.retain(|word| !word.starts_with("NOTIFY="));
                }
                RecipientState::Delivered { reply: reply.to_string() }
            }
            Outcome::Deferred(failure) => RecipientState::Pending { last: Some(failure.reply.to_string()) },
            Outcome::Failed(failure) => RecipientState::Failed { reply: failure.reply.to_string() },
        };
    }
}

/// What an attempt leaves.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Conclusion {
    /// The entry as it goes on; `None` when it is done.
    pub entry: Option<QueueEntry>,
    /// Whom the sender must hear about; none when there is nothing to report, or nobody to report to.
    pub reports: Vec<dsn::Recipient>,
}

/// Concludes an attempt: what goes on, until when, and what is reported.
///
/// Recipients with an outcome leave the entry with the report about them, in one step, so that each is reported once.
/// `random` spreads the next attempt ([`Retry::jitter`]).
#[must_use]
pub fn conclude(mut entry: QueueEntry, now: Timestamp, retry: &Retry, random: u32) -> Conclusion {
    entry.attempts = entry.attempts.saturating_add(1);
    let decision = retry.next_attempt(entry.attempts, entry.queued, now, random);
    let late = retry.is_late(entry.queued, now, entry.delay_reported.is_some());
    let until = entry.queued.plus(retry.give_up);
    let (mut left, mut reports) = (Vec::new(), Vec::new());
    for queued in std::mem::take(&mut entry.recipients) {
        let known = recipient(&queued);
        let notify = known.as_ref().and_then(|recipient| recipient.notify);
        let mut report = dsn::Recipient {
            address: queued.address.clone(),
            orcpt: known.and_then(|recipient| recipient.orcpt),
            action: Action::Failed,
            status: EnhancedCode::new(5, 0, 0),
            diagnostic: None,
            remote_mta: None,
            last_attempt: Some(now),
            will_retry_until: None,
        };
        // RFC 3461 §4.1: without NOTIFY failures are reported, and delays.
        let wants = notify.unwrap_or_default();
        match queued.state {
            RecipientState::Delivered { reply } => {
                if notify.is_some_and(|notify| notify.contains(Notify::SUCCESS)) {
                    // RFC 3461 §5.2.2: a next hop without DSN reports nothing; so this hop says "relayed".
                    report.action = if reply.starts_with(LOCALLY) { Action::Delivered } else { Action::Relayed };
                    report.status = status(&reply, 2);
                    reports.push(report);
                }
            }
            RecipientState::Failed { reply } => {
                if wants.contains(Notify::FAILURE) {
                    report.status = status(&reply, 5);
                    report.diagnostic = Some(reply);
                    reports.push(report);
                }
            }
            RecipientState::Pending { last } if decision == Decision::GiveUp => {
                if wants.contains(Notify::FAILURE) {
                    // RFC 3463 §3.5: 4.4.7, delivery time expired, where the problem that used it up has no code of its own.
                    let known = last.as_deref().map(|reply| status(reply, 4));
                    report.status = known
                        .filter(|status| (status.subject, status.detail) != (0, 0))
                        .unwrap_or(EnhancedCode::new(4, 4, 7));
                    report.diagnostic = last;
                    reports.push(report);
                }
            }
            RecipientState::Pending { last } => {
                if late && wants.contains(Notify::DELAY) {
                    report.action = Action::Delayed;
                    report.status = last.as_deref().map_or(EnhancedCode::new(4, 0, 0), |reply| status(reply, 4));
                    report.diagnostic = last.clone();
                    report.will_retry_until = Some(until);
                    reports.push(report);
                }
                left.push(QueueRecipient { state: RecipientState::Pending { last }, ..queued });
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

/// How the reply of a delivery into a mailbox here begins.
pub const LOCALLY: &str = "250 2.1.5 Delivered";

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
        let pending = (0..envelope.recipients.len()).map(|at| (at, RecipientState::Pending { last: None }));
        let made = entry(QueueId([7; 16]), &envelope, pending, 10, start());
        assert_eq!(outgoing(&made, |_| true).0.envelope, envelope, "what goes in comes out");
        made
    }

    fn failed(code: u16, class: u8) -> Outcome {
        let reply = Reply::new(code, EnhancedCode::new(class, 1, 1), "why");
        Failure { stage: Stage::Rcpt, reply, remote: true }.into()
    }

    #[test]
    fn each_recipient_goes_its_own_way() {
        let mut entry = queued(&[
            ("ok@b.example", Some(Notify::SUCCESS)),
            ("quiet@b.example", None),
            ("gone@b.example", None),
            ("never@b.example", Some(Notify::NEVER)),
            ("later@b.example", None),
            ("other@c.example", None),
        ]);
        let (outgoing, positions) = outgoing(&entry, |address| address.domain() == Some("b.example"));
        assert_eq!((outgoing.envelope.recipients.len(), positions.as_slice()), (5, &[0, 1, 2, 3, 4][..]));
        let taken = Outcome::Delivered(Reply::new(250, EnhancedCode::new(2, 1, 5), "ok"));
        settle(&mut entry, &positions, &[taken.clone(), taken, failed(550, 5), failed(550, 5), failed(451, 4)], false);
        let conclusion = conclude(entry, start(), &Retry::default(), 0);
        let reported: Vec<_> =
            conclusion.reports.iter().map(|it| (it.address.as_str(), it.action, it.status.to_string())).collect();
        assert_eq!(
            reported,
            [
                ("ok@b.example", Action::Relayed, "2.1.5".to_owned()),
                ("gone@b.example", Action::Failed, "5.1.1".to_owned())
            ]
        );
        let left = conclusion.entry.unwrap();
        assert_eq!((left.attempts, left.due), (1, start().plus(Duration::from_secs(240))));
        let names: Vec<_> = left.recipients.iter().map(|it| it.address.as_str()).collect();
        assert_eq!(names, ["later@b.example", "other@c.example"]);
        assert_eq!(left.recipients[0].state, RecipientState::Pending { last: Some("451 4.1.1 why".into()) });
    }

    #[test]
    fn a_next_hop_with_dsn_reports_successes_itself() {
        let mut entry = queued(&[("ok@b.example", Some(Notify::SUCCESS))]);
        settle(&mut entry, &[0], &[Outcome::Delivered(crate::reply::OK)], true);
        let conclusion = conclude(entry, start(), &Retry::default(), 0);
        assert_eq!(conclusion, Conclusion { entry: None, reports: Vec::new() });
    }

    #[test]
    fn late_once_then_expired() {
        let (mut entry, retry, mut now) = (queued(&[("later@b.example", None)]), Retry::default(), start());
        let mut reports = Vec::new();
        let mut attempts = 0;
        loop {
            attempts += 1;
            settle(&mut entry, &[0], &[failed(451, 4)], false);
            let conclusion = conclude(entry, now, &retry, 0);
            reports.extend(conclusion.reports.into_iter().map(|it| (it.action, it.status.to_string())));
            match conclusion.entry {
                Some(left) => (now, entry) = (left.due, left),
                None => break,
            }
            assert!(attempts < 100);
        }
        assert_eq!(now.since(start()), retry.give_up);
        assert_eq!(reports, [(Action::Delayed, "4.1.1".to_owned()), (Action::Failed, "4.1.1".to_owned())]);
        let mut untried = queued(&[("later@b.example", None)]);
        untried.recipients[0].state = RecipientState::Pending { last: None };
        assert_eq!(conclude(untried, now, &retry, 0).reports[0].status.to_string(), "4.4.7");
    }

    #[test]
    fn nobody_answers_a_null_path() {
        let mut entry = queued(&[("gone@b.example", None)]);
        entry.return_path = None;
        settle(&mut entry, &[0], &[failed(550, 5)], false);
        assert_eq!(conclude(entry, start(), &Retry::default(), 0), Conclusion { entry: None, reports: Vec::new() });
    }
}
