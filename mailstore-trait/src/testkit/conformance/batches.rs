//! Batches: whole or not at all, once however often they are sent.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use super::fixture::{Fixture, account, batch_id, batch_over, folder, message, place, uids, wait};
use super::{Rig, Verdict};
use crate::batch::{Batch, Mode, Op, OpOutcome};
use crate::error::{CommitError, OpError};
use crate::flags::{FlagChange, FlagSet, SystemFlags};
use crate::id::FolderId;

/// When one operation fails, none was done, in none of the accounts, and the error says which it was.
///
/// The bug: a delivery to two recipients failed at the second, the sender tried again, and the first had it twice.
pub fn all_or_nothing(rig: &dyn Rig) -> Verdict {
    let fixture = Fixture::new(rig);
    let store = fixture.here();
    store.fill(2);
    let before = (store.state(), store.folders(), store.rows(fixture.inbox));
    let ops = vec![
        store.adding(fixture.inbox, "lost", FlagSet::new()),
        Op::CreateFolder { parent: None, name: "Lost".into(), role: None },
        Op::Remove { folder: fixture.inbox, uids: uids([1]), only_deleted: false },
        Op::CreateFolder { parent: None, name: "inbox".into(), role: None },
    ];
    match store.try_ops(ops) {
        Err(CommitError::Operation { account: 0, at: 3, error: OpError::Exists }) => {}
        other => panic!("the error names the operation that failed: {other:?}"),
    }
    assert_eq!(before, (store.state(), store.folders(), store.rows(fixture.inbox)), "nothing was done");
    if store.store.caps().max_accounts < 2 {
        return Verdict::Proved;
    }
    let second = account(2);
    wait(rig, store.store.provision(second, &[])).expect("a second account");
    let add = store.adding(fixture.inbox, "to both", FlagSet::new());
    let missing = Op::DeleteFolder { folder: FolderId::new(99).expect("small") };
    match store.commit(batch_over(vec![(fixture.account, vec![add]), (second, vec![missing])])) {
        Err(CommitError::Operation { account: 1, at: 0, error: OpError::NotFound }) => {}
        other => panic!("the error names the account: {other:?}"),
    }
    assert_eq!(before.0, store.state(), "nothing was done in the other account either");
    Verdict::Proved
}

/// In `PerOperation` mode the others are done, and the failed one says why.
///
/// The bug: one message that had vanished failed a STORE of a thousand, and the client tried the same thousand for ever.
pub fn per_operation(rig: &dyn Rig) -> Verdict {
    let fixture = Fixture::new(rig);
    let store = fixture.here();
    let ops = vec![
        store.adding(fixture.inbox, "kept", FlagSet::new()),
        Op::CreateFolder { parent: None, name: "INBOX".into(), role: None },
        Op::CreateFolder { parent: None, name: "Made".into(), role: None },
    ];
    let batch = Batch { mode: Mode::PerOperation, ..Batch::new(batch_id(), fixture.account, ops) };
    let outcomes = store.commit(batch).expect("a batch by operation is committed").remove(0).outcomes;
    assert!(matches!(outcomes[0], OpOutcome::Added { .. }), "{outcomes:?}");
    assert!(matches!(outcomes[1], OpOutcome::Failed(OpError::Exists)), "{outcomes:?}");
    assert!(matches!(outcomes[2], OpOutcome::Folder(_)), "{outcomes:?}");
    assert_eq!(store.state().messages, 1);
    assert!(store.folders().by_path(&["Made"]).is_some());
    Verdict::Proved
}

/// Each operation sees what those before it in the batch did.
///
/// The bug: RENAME of the inbox made the folder and moved nothing, since the move looked for a folder that was not yet
/// committed.
pub fn later_operations_see_earlier_ones(rig: &dyn Rig) -> Verdict {
    let fixture = Fixture::new(rig);
    let store = fixture.here();
    let made = store.folder(None, "Made");
    let committed = store.ops(vec![
        store.adding(fixture.inbox, "first", FlagSet::new()),
        Op::SetFlags {
            folder: fixture.inbox,
            uids: uids([1]),
            change: FlagChange::Add(SystemFlags::FLAGGED.into()),
            unchanged_since: None,
        },
        Op::MoveAll { from: fixture.inbox, to: made.id },
    ]);
    assert_eq!(committed.outcomes.len(), 3);
    let rows = store.rows(made.id);
    assert_eq!(rows.len(), 1, "the message added in this batch was moved by it");
    assert_eq!(rows[0].1.system, SystemFlags::FLAGGED, "with the flag set on the way");
    assert!(store.rows(fixture.inbox).is_empty());
    Verdict::Proved
}

/// Whoever looks while batches are committed sees each of them whole or not yet.
///
/// The bug: MOVE as copy and delete. A session that looked between the two showed the message twice, or not at all.
pub fn batches_are_visible_whole(rig: &dyn Rig) -> Verdict {
    let fixture = Fixture::new(rig);
    let other = fixture.here().folder(None, "Other").id;
    fixture.here().fill(4);
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let store = fixture.here();
            for round in 0..40 {
                let (from, to) = if round % 2 == 0 { (fixture.inbox, other) } else { (other, fixture.inbox) };
                store.op(Op::MoveAll { from, to });
            }
            done.store(true, Ordering::SeqCst);
        });
        let store = fixture.here();
        while !done.load(Ordering::SeqCst) {
            let counts: Vec<u32> = store.folders().folders.iter().map(|folder| folder.counts.exists).collect();
            assert_eq!(counts.iter().sum::<u32>(), 4, "messages on the move were seen in {counts:?}");
            assert_eq!(store.state().messages, 4);
            let seen = store.view(fixture.inbox).uids.len();
            assert!(seen == 0 || seen == 4, "half a move was seen");
        }
    });
    Verdict::Proved
}

/// A batch sent again returns the first result and does nothing, whatever happened in between.
///
/// The bug: the connection to the database broke behind COMMIT. The delivery was repeated and came twice; not repeated,
/// it would have been lost.
pub fn a_repeated_batch_returns_the_first_result(rig: &dyn Rig) -> Verdict {
    let fixture = Fixture::new(rig);
    let store = fixture.here();
    let ops = vec![
        store.adding(fixture.inbox, "once", FlagSet::new()),
        Op::CreateFolder { parent: None, name: "Once".into(), role: None },
    ];
    let batch = Batch::new(batch_id(), fixture.account, ops);
    let first = store.commit(batch.clone()).expect("the batch is legal").remove(0);
    store.remove(fixture.inbox, uids([1]), false);
    let between = (store.state(), store.folders());
    let again = store.commit(batch.clone()).expect("a repeated batch is no error").remove(0);
    assert_eq!(again.upto, first.upto, "the first result, not a new one");
    assert_eq!(place(&again.outcomes[0]), place(&first.outcomes[0]));
    assert_eq!(folder(again.outcomes[1].clone()), folder(first.outcomes[1].clone()));
    assert_eq!(between, (store.state(), store.folders()), "nothing was done");
    // Batches that failed were not done, and may be tried again under their id.
    let id = batch_id();
    let create = |name: &str| Op::CreateFolder { parent: None, name: name.into(), role: None };
    assert!(store.commit(Batch::new(id, fixture.account, vec![create("Once")])).is_err());
    assert!(store.commit(Batch::new(id, fixture.account, vec![create("Twice")])).is_ok());
    // Two senders of the same batch at once.
    let add = store.adding(fixture.inbox, "raced", FlagSet::new());
    let raced = Batch::new(batch_id(), fixture.account, vec![add]);
    let places: Vec<_> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..4)
            .map(|_| scope.spawn(|| place(&fixture.here().commit(raced.clone()).expect("legal").remove(0).outcomes[0])))
            .collect();
        threads.into_iter().map(|thread| thread.join().expect("no writer fails")).collect()
    });
    assert!(places.iter().all(|place| *place == places[0]), "one batch, one result: {places:?}");
    assert_eq!(store.rows(fixture.inbox).len(), 1);
    Verdict::Proved
}

/// Results are kept for seven days.
///
/// The bug: results kept in memory only, or for minutes. A queue runner that came back after a long outage delivered
/// everything again that had been under way.
pub fn repeats_are_known_for_seven_days(rig: &dyn Rig) -> Verdict {
    let fixture = Fixture::new(rig);
    let store = fixture.here();
    let batch = Batch::new(batch_id(), fixture.account, vec![store.adding(fixture.inbox, "once", FlagSet::new())]);
    store.commit(batch.clone()).expect("the batch is legal");
    if !fixture.data.advance(Duration::from_secs(7 * 86_400 - 60)) {
        return Verdict::Unproved("the clock can't be moved");
    }
    store.commit(batch).expect("a repeated batch is no error");
    assert_eq!(store.state().messages, 1, "a batch was done again within seven days");
    Verdict::Proved
}

/// Batches over the store's bounds are refused whole, and those at the bounds are done.
///
/// The bug: `MOVE 1:*` of a mailbox nobody had thought so large held the only writer for minutes.
pub fn batches_have_bounds(rig: &dyn Rig) -> Verdict {
    let fixture = Fixture::new(rig);
    let store = fixture.here();
    let caps = store.store.caps();
    assert!(caps.max_accounts >= 1 && caps.max_ops >= 1000, "COPY and MOVE of 1,000 messages are one batch");
    let many = (1..=caps.max_accounts as u64 + 1).map(|number| (account(number), Vec::new())).collect();
    match store.commit(batch_over(many)) {
        Err(CommitError::TooLarge) => {}
        other => panic!("{} accounts at once: {other:?}", caps.max_accounts + 1),
    }
    let nobody = account(77);
    let add = store.adding(fixture.inbox, "to nobody", FlagSet::new());
    match store.commit(batch_over(vec![(nobody, vec![add])])) {
        Err(CommitError::Operation { account: 0, at: 0, error: OpError::NotFound }) => {}
        other => panic!("an account that is not there is not found: {other:?}"),
    }
    let copies = store.upload(message("copied"));
    let many: Vec<Op> = (0..200)
        .map(|_| store.adding_content(fixture.inbox, crate::batch::Content::Staged(copies.clone()), FlagSet::new()))
        .collect();
    assert_eq!(store.ops(many).outcomes.len(), 200);
    Verdict::Proved
}
