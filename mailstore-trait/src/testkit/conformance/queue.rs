//! The queue: every entry is tried by one worker at a time, and never lost between mailbox and queue.

use std::time::Duration;

use bytes::Bytes;

use super::fixture::{Fixture, Handle, batch_id, message, seconds};
use super::{Rig, Verdict};
use crate::batch::{Batch, Op};
use crate::date::Timestamp;
use crate::error::{CommitError, ReadError};
use crate::flags::FlagSet;
use crate::id::QueueId;
use crate::queue::{
    Delivery, LastAttempt, Leased, QueueEntry, QueueLease, QueueOp, QueueRecipient, QueueStore, RecipientState,
};

const TTL: Duration = Duration::from_secs(300);

fn queue<'s>(store: &'s Handle<'_, '_>) -> Option<&'s dyn QueueStore> {
    store.store.as_queue()
}

fn entry(number: u8, due: Timestamp) -> QueueEntry {
    QueueEntry {
        id: QueueId([number; 16]),
        return_path: Some("sender@example.org".into()),
        recipients: vec![QueueRecipient::new(
            format!("r{number}@example.net"),
            vec!["NOTIFY=FAILURE".into()],
            RecipientState::Relay,
        )],
        size: 0,
        mail_parameters: vec!["BODY=8BITMIME".into()],
        queued: seconds(0),
        due,
        attempts: 0,
        delay_reported: None,
        priority: 0,
    }
}

fn append(store: &Handle<'_, '_>, entry: QueueEntry) -> QueueOp {
    let trace = Bytes::from_static(b"Received: by here\r\n");
    QueueOp::Append { entry, trace, content: store.upload(message("queued")) }
}

fn commit(store: &Handle<'_, '_>, ops: Vec<QueueOp>) -> Result<Vec<QueueId>, CommitError> {
    let batch = Batch { queue: ops, ..Batch::empty(batch_id()) };
    store.wait(store.store.commit(batch)).map(|committed| committed.queued)
}

fn put(store: &Handle<'_, '_>, entry: QueueEntry) {
    let id = entry.id;
    let op = append(store, entry);
    assert_eq!(commit(store, vec![op]).expect("an entry is appended"), [id]);
}

fn lease(store: &Handle<'_, '_>, now: Timestamp, max: usize) -> Vec<Leased> {
    let queue = queue(store).expect("asked before");
    store.wait(queue.lease(now, max, TTL)).expect("the queue can be read")
}

fn ids(leased: &[Leased]) -> Vec<u8> {
    leased.iter().map(|leased| leased.entry.id.0[0]).collect()
}

/// An entry goes to one worker, most urgent first, and to nobody before it is due.
///
/// The bug: two runners took the same entry, and the recipient had everything twice.
pub fn entries_are_leased_once(rig: &dyn Rig) -> Verdict {
    let fixture = Fixture::new(rig);
    let store = fixture.here();
    if queue(&store).is_none() {
        return Verdict::Unproved("the store keeps no queue");
    }
    assert!(lease(&store, seconds(1000), 10).is_empty());
    put(&store, entry(1, seconds(20)));
    put(&store, entry(2, seconds(10)));
    put(&store, QueueEntry { priority: 5, ..entry(3, seconds(30)) });
    put(&store, entry(4, seconds(500)));
    assert!(lease(&store, seconds(5), 10).is_empty(), "none is due");
    assert_eq!(ids(&lease(&store, seconds(100), 2)), [3, 2], "highest priority, then longest due");
    assert_eq!(ids(&lease(&store, seconds(100), 10)), [1], "the others are taken");
    assert!(lease(&store, seconds(100), 10).is_empty());
    for number in 10..26 {
        put(&store, entry(number, seconds(50)));
    }
    let mut taken: Vec<u8> = std::thread::scope(|scope| {
        let fixture = &fixture;
        let threads: Vec<_> = (0..4)
            .map(|_| {
                scope.spawn(move || {
                    (0..8).flat_map(|_| ids(&lease(&fixture.here(), seconds(60), 1))).collect::<Vec<_>>()
                })
            })
            .collect();
        threads.into_iter().flat_map(|thread| thread.join().expect("no thread fails")).collect()
    });
    taken.sort_unstable();
    assert_eq!(taken, (10..26).collect::<Vec<_>>(), "each was taken once");
    Verdict::Proved
}

/// A lease that runs out makes the entry due again, and the late worker's outcome is refused.
///
/// The bug: a runner died and its entries were never tried again; with the lock removed by hand, the runner that was only
/// slow wrote its old state over the new.
pub fn queue_leases_run_out(rig: &dyn Rig) -> Verdict {
    let fixture = Fixture::new(rig);
    let store = fixture.here();
    if queue(&store).is_none() {
        return Verdict::Unproved("the store keeps no queue");
    }
    put(&store, entry(1, seconds(0)));
    let slow = lease(&store, seconds(0), 1).remove(0);
    assert!(lease(&store, seconds(299), 1).is_empty(), "it is leased");
    let second = lease(&store, seconds(301), 1);
    assert_eq!(ids(&second), [1], "the lease ran out");
    let second = second[0].clone();
    assert_ne!(second.lease.token, slow.lease.token);
    for op in [QueueOp::Remove { lease: slow.lease }, QueueOp::Update { lease: slow.lease, entry: slow.entry.clone() }]
    {
        match commit(&store, vec![op]) {
            Err(CommitError::Fenced) => {}
            other => panic!("an older lease is refused, not {other:?}"),
        }
    }
    let remove = QueueOp::Remove { lease: second.lease };
    commit(&store, vec![remove.clone()]).expect("the holder of the lease may");
    match commit(&store, vec![remove]) {
        Err(CommitError::Fenced) => {}
        other => panic!("an entry that is gone can't be removed under its lease: {other:?}"),
    }
    Verdict::Proved
}

/// Accepting for the queue and for a mailbox, and removing an entry with its report, are one step.
///
/// The bug: a failed message was removed from the queue, and the crash before its bounce was written lost both.
pub fn queue_and_mail_are_one_batch(rig: &dyn Rig) -> Verdict {
    let fixture = Fixture::new(rig);
    let store = fixture.here();
    let Some(queued) = queue(&store) else { return Verdict::Unproved("the store keeps no queue") };
    let add = |text: &str| store.adding(fixture.inbox, text, FlagSet::new());
    let twice = Op::CreateFolder { parent: None, name: "INBOX".into(), role: None };
    let failing = Batch {
        queue: vec![append(&store, entry(1, seconds(0)))],
        ..Batch::new(batch_id(), fixture.account, vec![add("lost"), twice])
    };
    assert!(store.commit(failing).is_err());
    assert!(store.wait(queued.list(None, 10)).expect("readable").is_empty(), "no entry without the mail");
    let both = Batch {
        queue: vec![append(&store, entry(1, seconds(0)))],
        ..Batch::new(batch_id(), fixture.account, vec![add("copy for the sender")])
    };
    let before = store.state().at.value();
    store.commit(both.clone()).expect("both");
    store.commit(both).expect("again, which does nothing");
    assert_eq!(store.state().at.value(), before + 1, "queue entries take no change number");
    assert_eq!(store.wait(queued.list(None, 10)).expect("readable").len(), 1);
    let leased = lease(&store, seconds(0), 1).remove(0);
    let stale = crate::queue::QueueLease { token: leased.lease.token.wrapping_add(1), ..leased.lease };
    let report = |lease| Batch {
        queue: vec![QueueOp::Remove { lease }],
        ..Batch::new(batch_id(), fixture.account, vec![add("report")])
    };
    assert!(matches!(store.commit(report(stale)), Err(CommitError::Fenced)));
    assert_eq!(store.state().messages, 1, "no report without the removal");
    store.commit(report(leased.lease)).expect("both");
    assert_eq!(store.state().messages, 2);
    assert!(store.wait(queued.list(None, 10)).expect("readable").is_empty());
    Verdict::Proved
}

/// An update keeps recipients and schedule and ends the lease; the next due entry is known.
///
/// The bug: a runner that slept until "the next entry" forgot those under a lease, and nobody took them when it ran out.
pub fn the_schedule_is_kept(rig: &dyn Rig) -> Verdict {
    let fixture = Fixture::new(rig);
    let store = fixture.here();
    let Some(queued) = queue(&store) else { return Verdict::Unproved("the store keeps no queue") };
    let next = || store.wait(queued.next_due()).expect("readable");
    assert_eq!(next(), None);
    put(&store, entry(1, seconds(10)));
    put(&store, entry(2, seconds(5000)));
    assert_eq!(next(), Some(seconds(10)));
    let leased = lease(&store, seconds(20), 1).remove(0);
    assert_eq!(next(), Some(seconds(320)), "a leased entry is due again when its lease runs out");
    let mut tried =
        QueueEntry { due: seconds(900), attempts: 1, delay_reported: Some(seconds(30)), ..leased.entry.clone() };
    let last = |remote_mta: Option<&str>| {
        Some(LastAttempt { at: seconds(20), reply: "451 4.3.0 later".into(), remote_mta: remote_mta.map(Into::into) })
    };
    tried.recipients[0].last = last(Some("mx.example.net"));
    let states = [RecipientState::Spool, RecipientState::Failed].into_iter().chain(
        [Delivery::Mailbox, Delivery::Expanded, Delivery::Relayed, Delivery::Passed].map(RecipientState::Delivered),
    );
    for state in states {
        let one = QueueRecipient { last: last(None), ..QueueRecipient::new("another@example.net", Vec::new(), state) };
        tried.recipients.push(one);
    }
    commit(&store, vec![QueueOp::Update { lease: leased.lease, entry: tried.clone() }]).expect("the holder may");
    assert_eq!(next(), Some(seconds(900)));
    assert!(lease(&store, seconds(899), 10).is_empty(), "not before it is due");
    let again = lease(&store, seconds(901), 1).remove(0);
    assert_eq!(again.entry, tried, "everything comes back");
    assert!(
        matches!(commit(&store, vec![QueueOp::Remove { lease: leased.lease }]), Err(CommitError::Fenced)),
        "the lease ended with the update"
    );
    Verdict::Proved
}

/// People can list, read, hurry and discard entries, leased or not.
///
/// The bug: the message people wanted out of the queue was always the one under a lease.
pub fn entries_can_be_looked_at_and_discarded(rig: &dyn Rig) -> Verdict {
    let fixture = Fixture::new(rig);
    let store = fixture.here();
    let Some(queued) = queue(&store) else { return Verdict::Unproved("the store keeps no queue") };
    for number in 1..=3 {
        put(&store, entry(number, seconds(1000)));
    }
    let list = |after, max| store.wait(queued.list(after, max)).expect("readable");
    let all = list(None, 10);
    assert_eq!(all.iter().map(|entry| entry.id.0[0]).collect::<Vec<_>>(), [1, 2, 3], "by id");
    let (first, rest) = (list(None, 1), list(Some(QueueId([1; 16])), 10));
    assert_eq!((first.len(), rest.len(), rest[0].id.0[0]), (1, 2, 2), "in pages");
    let expected = format!("Received: by here\r\n{}", message("queued"));
    assert_eq!(all[0].size, expected.len() as u64, "the size is that of trace and message");
    let mut octets = Vec::new();
    loop {
        let piece = store.wait(queued.read(QueueId([1; 16]), octets.len() as u64, 11)).expect("readable");
        assert!(piece.len() <= 11);
        if piece.is_empty() {
            break;
        }
        octets.extend_from_slice(&piece);
    }
    assert_eq!(String::from_utf8_lossy(&octets), expected);
    let flush = |ids| store.wait(queued.flush(ids, seconds(100))).expect("writable");
    assert_eq!(flush(Some(&[QueueId([2; 16])][..])), 1);
    let flushed = lease(&store, seconds(100), 10);
    assert_eq!((ids(&flushed), flushed[0].entry.due), (vec![2], crate::queue::FLUSHED));
    assert_eq!(flush(Some(&[QueueId([9; 16])][..])), 0);
    assert_eq!(flush(None), 2, "those that were not due yet");
    let discard = |number| store.wait(queued.discard(QueueId([number; 16]))).expect("writable");
    assert!(discard(2), "leased or not");
    assert!(!discard(2) && !discard(9), "there is none");
    assert!(matches!(store.wait(queued.read(QueueId([2; 16]), 0, 10)), Err(ReadError::NotFound)));
    assert_eq!(ids(&lease(&store, seconds(100), 10)), [1, 3]);
    Verdict::Proved
}

/// A worker that lives renews its leases; one that lost a lease hears so.
///
/// The bug: leases were as long as the longest conversation, and what a dead machine had taken lay still for hours.
pub fn queue_leases_are_renewed(rig: &dyn Rig) -> Verdict {
    let fixture = Fixture::new(rig);
    let store = fixture.here();
    let Some(queued) = queue(&store) else { return Verdict::Unproved("the store keeps no queue") };
    for number in 1..=3 {
        put(&store, entry(number, seconds(0)));
    }
    let leases: Vec<QueueLease> = lease(&store, seconds(0), 3).iter().map(|leased| leased.lease).collect();
    let lost = lease(&store, seconds(301), 1).remove(0).lease;
    assert_eq!(lost.id, leases[0].id);
    let renew = |leases: &[QueueLease], until| {
        let mut renewed = store.wait(queued.renew(leases, until)).expect("writable");
        renewed.sort_by_key(|lease| lease.id);
        renewed
    };
    assert_eq!(renew(&leases, seconds(1000)), leases[1..], "one that ran out and nobody took is renewed too");
    assert!(lease(&store, seconds(500), 10).is_empty());
    commit(&store, vec![QueueOp::Remove { lease: leases[1] }]).expect("a renewed lease is the same lease");
    assert_eq!(renew(&leases, seconds(1100)), leases[2..], "what is gone is nobody's");
    assert_eq!(ids(&lease(&store, seconds(700), 10)), [1]);
    assert_eq!(ids(&lease(&store, seconds(1101), 10)), [1, 3]);
    assert!(renew(&[], seconds(5000)).is_empty());
    Verdict::Proved
}

/// What is held is leased to nobody, whatever else is done with it, until it is released.
///
/// The bug: a message put on hold while a worker had it came back into the schedule with the worker's outcome.
pub fn entries_are_held_and_released(rig: &dyn Rig) -> Verdict {
    let fixture = Fixture::new(rig);
    let store = fixture.here();
    let Some(queued) = queue(&store) else { return Verdict::Unproved("the store keeps no queue") };
    for number in 1..=3 {
        put(&store, entry(number, seconds(0)));
    }
    let id = |number| QueueId([number; 16]);
    let first = lease(&store, seconds(0), 1).remove(0);
    let hold = |ids: &[QueueId]| store.wait(queued.hold(ids)).expect("writable");
    let release = |ids: &[QueueId], at| store.wait(queued.release(ids, at)).expect("writable");
    assert_eq!(hold(&[id(1), id(2), id(9)]), 2);
    assert_eq!(ids(&lease(&store, seconds(10), 10)), [3]);
    let tried = QueueEntry { due: seconds(20), attempts: 1, ..first.entry.clone() };
    commit(&store, vec![QueueOp::Update { lease: first.lease, entry: tried }]).expect("an attempt ends as it would");
    assert_eq!(store.wait(queued.flush(None, seconds(30))).expect("writable"), 0, "held ones stay held");
    assert!(lease(&store, seconds(40), 10).is_empty());
    let all = store.wait(queued.list(None, 10)).expect("readable");
    let held: Vec<_> = all.iter().map(|entry| (entry.due == crate::queue::HELD, entry.attempts)).collect();
    assert_eq!(held, [(true, 1), (true, 0), (false, 0)]);
    assert_eq!(store.wait(queued.next_due()).expect("readable"), Some(seconds(310)), "held ones are not due");
    assert_eq!(release(&[id(1), id(3)], seconds(50)), 1, "only what is held is released");
    assert_eq!(ids(&lease(&store, seconds(60), 10)), [1]);
    assert_eq!(release(&[id(2)], seconds(70)), 1);
    assert_eq!(ids(&lease(&store, seconds(70), 10)), [2]);
    Verdict::Proved
}
