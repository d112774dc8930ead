//! A long queue is as fast as a short one.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::cast_possible_truncation)]

mod common;

use std::time::{Duration, Instant};

use common::*;
use mailstore_trait::batch::{Batch, Staged};
use mailstore_trait::date::Timestamp;
use mailstore_trait::id::QueueId;
use mailstore_trait::queue::{QueueEntry, QueueOp, QueueRecipient, QueueStore, RecipientState};
use mailstore_trait::store::MailStore;

const MINUTE: Duration = Duration::from_secs(60);

fn entry(number: u64, due: Timestamp) -> QueueEntry {
    let mut id = [0; 16];
    // Ids are random, so that entries lie anywhere.
    id[..8].copy_from_slice(&number.wrapping_mul(0x9e37_79b9_7f4a_7c15).to_be_bytes());
    let recipient = QueueRecipient::new(format!("r@d{}.example", number % 997), Vec::new(), RecipientState::Relay);
    QueueEntry {
        id: QueueId(id),
        return_path: Some("from@here.example".into()),
        recipients: vec![recipient],
        size: 0,
        mail_parameters: Vec::new(),
        queued: due,
        due,
        attempts: 0,
        delay_reported: None,
        priority: 0,
    }
}

async fn append(mail: &Mail, staged: &Staged, entries: impl Iterator<Item = QueueEntry>) {
    let trace = bytes::Bytes::from_static(b"Received: by here\r\n");
    let append = |entry| QueueOp::Append { entry, trace: trace.clone(), content: staged.clone() };
    let queue = entries.map(append).collect();
    mail.store.commit(Batch { queue, ..Batch::empty(batch_id()) }).await.unwrap();
}

/// A store with so many entries, every other one due.
async fn filled(entries: u64) -> (Mail, Staged) {
    let mail = mail_with(|config| config.search_index = false).await;
    let staged = stage(&mail.store, b"Subject: out\r\n\r\ntext\r\n").await;
    let now = mail.clock.now();
    for from in (0..entries).step_by(10_000) {
        let numbers = from..(from + 10_000).min(entries);
        let due = |number: u64| {
            if number.is_multiple_of(2) { Timestamp(now.0 - number as i64) } else { now.plus(MINUTE * 60) }
        };
        append(&mail, &staged, numbers.map(|number| entry(number, due(number)))).await;
    }
    (mail, staged)
}

/// What a worker and a listener do: lease what is due, reschedule it, accept one more. The time of each.
async fn round(mail: &Mail, staged: &Staged, number: u64) -> [Duration; 3] {
    let now = mail.clock.now();
    let start = Instant::now();
    let leased = mail.store.lease(now, 10, MINUTE).await.unwrap();
    let leasing = start.elapsed();
    assert_eq!(leased.len(), 10);
    let later = |entry: &QueueEntry| QueueEntry { due: now.plus(MINUTE), attempts: 1, ..entry.clone() };
    let queue = leased.iter().map(|it| QueueOp::Update { lease: it.lease, entry: later(&it.entry) }).collect();
    let start = Instant::now();
    mail.store.commit(Batch { queue, ..Batch::empty(batch_id()) }).await.unwrap();
    let rescheduling = start.elapsed();
    let start = Instant::now();
    append(mail, staged, std::iter::once(entry(number, now.plus(MINUTE)))).await;
    [leasing, rescheduling, start.elapsed()]
}

/// A hundred thousand messages wait, and neither the worker nor whoever accepts the next one feels it.
#[tokio::test]
async fn a_hundred_thousand_entries_slow_nothing() {
    let (short, staged_short) = filled(1_000).await;
    let (long, staged_long) = filled(100_000).await;
    let mut times: [[Vec<Duration>; 2]; 3] = Default::default();
    // In turn, so that both meet the same machine.
    for number in 0..45 {
        for (at, (mail, staged)) in [(&short, &staged_short), (&long, &staged_long)].into_iter().enumerate() {
            for (what, took) in round(mail, staged, 1_000_000 + number).await.into_iter().enumerate() {
                times[what][at].push(took);
            }
        }
    }
    for (what, [short, long]) in ["lease", "reschedule", "accept"].into_iter().zip(times) {
        let median = |mut times: Vec<Duration>| {
            times.sort_unstable();
            times[times.len() / 2]
        };
        let (short, long) = (median(short), median(long));
        println!("{what}: {short:?} of 1,000, {long:?} of 100,000");
        assert!(long < short * 3 + Duration::from_millis(2), "{what}: {short:?} of 1,000, {long:?} of 100,000");
    }
    assert_eq!(long.store.list(None, 200_000).await.unwrap().len(), 100_045);
}
