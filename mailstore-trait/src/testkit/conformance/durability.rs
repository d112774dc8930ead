//! Durability: what was acknowledged is there, whole and once, whoever was killed.

use std::future::poll_fn;
use std::sync::atomic::{AtomicU32, Ordering};
use std::task::Poll;

use super::fixture::{Fixture, Handle, batch_id, flag_set, message, place, uids};
use super::{Rig, Verdict};
use crate::batch::{Batch, Content, Op};
use crate::flags::{FlagChange, SystemFlags};

const NO_CRASH: &str = "the rig can't kill the store";

/// After a crash everything that was acknowledged is there: rows, octets, flags, removals, counters, results.
///
/// The bug: 250 after the write and before the fsync. The power went, and so did the mail nobody would send again.
pub fn acknowledged_batches_survive(rig: &dyn Rig) -> Verdict {
    let fixture = Fixture::new(rig);
    let store = fixture.here();
    let made = store.folder(None, "Made").id;
    store.fill(10);
    let large = Content::Staged(store.upload(vec![b'L'; 700_000]));
    store.op(store.adding_content(made, large, flag_set(SystemFlags::SEEN, &["large"])));
    store.set_flags(uids([2, 4]), FlagChange::Add(SystemFlags::FLAGGED.into()), None);
    store.remove(fixture.inbox, uids([1]), false);
    let repeated = Batch::new(
        batch_id(),
        fixture.account,
        vec![store.adding(fixture.inbox, "last", flag_set(SystemFlags::empty(), &[]))],
    );
    let first = store.commit(repeated.clone()).expect("the batch is legal").remove(0);
    let before = (store.state(), store.folders(), store.rows(fixture.inbox), store.rows(made));
    let cursor = before.0.at;
    let changes = store.changes(crate::id::ModSeq::FIRST);
    let Some(reopened) = fixture.data.crash(store.store) else { return Verdict::Unproved(NO_CRASH) };
    let store = fixture.through(reopened);
    let after = (store.state(), store.folders(), store.rows(fixture.inbox), store.rows(made));
    assert!(before == after, "before the crash:\n{before:?}\nafter:\n{after:?}");
    assert!(changes == store.changes(crate::id::ModSeq::FIRST), "the changes are the same");
    assert!(store.content(after.3[0].0.email, 1 << 20).expect("readable") == vec![b'L'; 700_000]);
    let again = store.commit(repeated).expect("a repeated batch is no error").remove(0);
    assert_eq!(place(&again.outcomes[0]), place(&first.outcomes[0]), "results survive too");
    let new = store.add(fixture.inbox, "new");
    assert!(before.2.iter().all(|(row, _)| row.uid < new.uid && row.item != new.item), "numbers go on");
    assert!(store.state().at > cursor);
    Verdict::Proved
}

/// Batches that were not answered when the store was killed are there whole or not at all, and repeating them makes them
/// be there once.
///
/// The bug: the octets were written, the row was not, or the other way round; the mailbox had a message that could not be
/// read, and no restart mended it.
pub fn unanswered_batches_are_whole_or_absent(rig: &dyn Rig) -> Verdict {
    const WRITERS: usize = 4;
    const SIZE: usize = 40_000;
    let fixture = Fixture::new(rig);
    let acknowledged = AtomicU32::new(0);
    let batch_of = |store: &Handle<'_, '_>, name: &str| {
        let flags = flag_set(SystemFlags::empty(), &[name]);
        let content = Content::Staged(store.upload(vec![b'x'; SIZE]));
        let ops = (0..3).map(|_| store.adding_content(fixture.inbox, content.clone(), flags.clone()));
        Batch::new(batch_id(), fixture.account, ops.collect())
    };
    let store = fixture.here();
    let mut unanswered = Vec::new();
    for number in 0..10 {
        store.commit(batch_of(&store, &format!("answered{number}"))).expect("the batch is legal");
        let batch = batch_of(&store, &format!("dropped{number}"));
        unanswered.push(batch.clone());
        // Begun and dropped at the first wait: cancelled.
        store.wait(async {
            let mut commit = store.store.commit(batch);
            poll_fn(|context| {
                let _ = commit.as_mut().poll(context);
                Poll::Ready(())
            })
            .await;
        });
    }
    let crashed = std::thread::scope(|scope| {
        for writer in 0..WRITERS {
            let (fixture, acknowledged, batch_of) = (&fixture, &acknowledged, &batch_of);
            let store = fixture.here();
            scope.spawn(move || {
                for number in 0..40 {
                    let name = format!("raced{writer}-{number}");
                    // After the kill every call may fail, uploads too.
                    let upload = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| batch_of(&store, &name)));
                    let Ok(batch) = upload else { return };
                    if store.commit(batch).is_err() {
                        return;
                    }
                    acknowledged.fetch_add(1, Ordering::SeqCst);
                }
            });
        }
        while acknowledged.load(Ordering::SeqCst) < 20 {
            std::thread::yield_now();
        }
        let sure = acknowledged.load(Ordering::SeqCst);
        fixture.data.crash(store.store).map(|reopened| (reopened, sure))
    });
    let Some((reopened, sure)) = crashed else { return Verdict::Unproved(NO_CRASH) };
    let store = fixture.through(reopened);
    let rows = store.rows(fixture.inbox);
    let mut found = std::collections::BTreeMap::<String, u32>::new();
    for (row, flags) in &rows {
        *found.entry(flags.keywords()[0].as_str().to_owned()).or_default() += 1;
        let octets = store.content(row.email, 1 << 20).expect("a message that is there can be read");
        assert!(octets.len() == SIZE && row.size == SIZE as u64, "{} of {SIZE} octets", octets.len());
    }
    assert!(found.values().all(|count| *count == 3), "a batch is there in part: {found:?}");
    assert!((0..10).all(|number| found.contains_key(&format!("answered{number}"))), "an acknowledged batch is gone");
    let raced = found.keys().filter(|name| name.starts_with("raced")).count();
    assert!(raced >= sure as usize, "{sure} batches were acknowledged before the kill, {raced} are there");
    for batch in unanswered {
        store.commit(batch).expect("it can be repeated");
    }
    let dropped = |number: u32| {
        let name = format!("dropped{number}");
        store.rows(fixture.inbox).iter().filter(|(_, flags)| flags.keywords()[0].as_str() == name).count()
    };
    assert!((0..10).all(|number| dropped(number) == 3), "a repeated batch is there once");
    assert_eq!(store.state().messages, store.rows(fixture.inbox).len() as u64, "counts are right");
    Verdict::Proved
}

/// Two handles on the same data, opened in one process, see each other's commits at once.
///
/// The bug: each connection had its own cache of the folder; what one delivered, the other did not list.
pub fn handles_see_each_other(rig: &dyn Rig) -> Verdict {
    let fixture = Fixture::new(rig);
    both_see(&fixture, &fixture.here(), &fixture.through(fixture.data.open()));
    Verdict::Proved
}

/// The same from two processes.
///
/// The bug: the administrator's command could not open the database while a session was idle in it, or worse: could.
pub fn processes_see_each_other(rig: &dyn Rig) -> Verdict {
    let fixture = Fixture::new(rig);
    let Some(elsewhere) = fixture.data.open_elsewhere() else {
        return Verdict::Unproved("the data can't be open twice");
    };
    both_see(&fixture, &fixture.here(), &fixture.through(elsewhere));
    Verdict::Proved
}

fn both_see(fixture: &Fixture<'_>, one: &Handle<'_, '_>, two: &Handle<'_, '_>) {
    let same = |what: &str| {
        assert_eq!((one.state(), one.folders()), (two.state(), two.folders()), "{what}");
        assert_eq!(one.rows(fixture.inbox), two.rows(fixture.inbox), "{what}");
        assert_eq!(one.changes(crate::id::ModSeq::FIRST), two.changes(crate::id::ModSeq::FIRST), "{what}");
    };
    // Caches are filled first.
    same("empty");
    let place = one.add(fixture.inbox, "from one");
    same("one added");
    assert_eq!(two.content(place.email, 1 << 20).expect("readable"), message("from one").as_bytes());
    two.set_flags(uids([1]), FlagChange::Add(SystemFlags::SEEN.into()), None);
    same("two set a flag");
    let made = two.folder(None, "Made").id;
    one.op(Op::Move { from: fixture.inbox, uids: uids([1]), to: made });
    same("one moved into two's folder");
    assert_eq!(two.rows(made), one.rows(made));
    std::thread::scope(|scope| {
        for handle in [one, two] {
            let handle = handle.clone();
            scope.spawn(move || {
                for number in 0..20 {
                    handle.add(fixture.inbox, &number.to_string());
                }
            });
        }
    });
    same("both wrote at once");
    assert_eq!(one.rows(fixture.inbox).len(), 40);
}
