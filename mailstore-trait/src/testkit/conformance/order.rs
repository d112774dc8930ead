//! Order: numbers without holes, whoever looks and whoever writes.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::fixture::{Fixture, Handle, batch_over, flag_set, place, uids};
use super::{Rig, Verdict};
use crate::batch::Op;
use crate::change::{ChangeKind, ChangesOptions};
use crate::flags::{FlagChange, FlagSet, SystemFlags};
use crate::id::{FolderId, ItemId, ModSeq};

/// A batch takes a contiguous range of numbers, one for each version of an object, and the account's counter is its end.
///
/// The bug: change numbers that were taken for batches that failed, or in steps, left numbers nobody could explain, and
/// clients that count (`HIGHESTMODSEQ` + 1) fetched everything again.
pub fn numbers_are_contiguous(rig: &dyn Rig) -> Verdict {
    let fixture = Fixture::new(rig);
    let store = fixture.here();
    let before = store.state().at.value();
    let failed = store.adding(fixture.inbox, "never", FlagSet::new());
    let missing = Op::DeleteFolder { folder: FolderId::new(9999).expect("small") };
    assert!(store.try_ops(vec![failed, missing]).is_err());
    assert_eq!(store.state().at.value(), before, "a batch that fails takes no numbers");
    let ops = (0..3).map(|n| store.adding(fixture.inbox, &format!("{n}"), FlagSet::new())).collect();
    let committed = store.ops(ops);
    assert_eq!(committed.upto.value(), before + 3, "three additions take three numbers");
    let numbers: Vec<u64> = store.rows(fixture.inbox).iter().map(|(row, _)| row.change.value()).collect();
    assert_eq!(numbers, [before + 1, before + 2, before + 3], "in the order of the operations");
    store.set_flags(uids(1..=3), FlagChange::Add(SystemFlags::SEEN.into()), None);
    assert_eq!(store.state().at.value(), before + 6, "one number for each message that changed");
    assert_eq!(store.view(fixture.inbox).at, store.state().at, "a view's cursor is the account's counter");
    assert_eq!(store.folders().at, Some(store.state().at), "and so is the folder list's");
    Verdict::Proved
}

/// Writers and a reader at once: whoever pages through changes misses nothing, sees no batch in half, and ends with
/// exactly what is there.
///
/// The bug: change numbers from a database sequence. Batch A took 100, batch B took 101 and committed first; a reader
/// at 101 never saw 100. Mail stayed invisible until the mailbox was reset.
pub fn no_holes_under_concurrency(rig: &dyn Rig) -> Verdict {
    const WRITERS: usize = 6;
    const BATCHES: usize = 20;
    let fixture = Fixture::new(rig);
    let start = fixture.here().state().at;
    let running = AtomicUsize::new(WRITERS);
    std::thread::scope(|scope| {
        for writer in 0..WRITERS {
            let (fixture, running) = (&fixture, &running);
            scope.spawn(move || {
                // Counted down on every way out, or a writer that fails would leave the reader waiting.
                let _guard = Leaving(running);
                let store = fixture.here();
                for number in 0..BATCHES {
                    write(&store, writer, number);
                }
            });
        }
        let reader = fixture.here();
        let mut known: BTreeMap<ItemId, FlagSet> = BTreeMap::new();
        let mut cursor = start;
        loop {
            let last = running.load(Ordering::SeqCst) == 0;
            cursor = follow(&reader, cursor, &mut known);
            whole(&known);
            if last {
                break;
            }
        }
        let there: BTreeMap<ItemId, FlagSet> =
            reader.rows(fixture.inbox).into_iter().map(|(row, flags)| (row.item, flags)).collect();
        assert!(known == there, "who followed the changes knows {} messages, {} are there", known.len(), there.len());
        assert_eq!(cursor, reader.state().at, "and stands at the account's counter");
    });
    Verdict::Proved
}

struct Leaving<'a>(&'a AtomicUsize);

impl Drop for Leaving<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

/// One batch of two messages under one keyword; each third time, both of an earlier batch go again.
fn write(store: &Handle<'_, '_>, writer: usize, number: usize) {
    let inbox = store.fixture.inbox;
    let flags = flag_set(SystemFlags::empty(), &[&format!("pair-{writer}-{number}")]);
    let pair = vec![store.adding(inbox, "one", flags.clone()), store.adding(inbox, "two", flags)];
    let committed = store.ops(pair);
    if number.is_multiple_of(3) {
        let both = committed.outcomes.iter().map(|outcome| place(outcome).uid).collect();
        store.remove(inbox, both, false);
    }
}

/// Reads all pages of changes after the cursor into `known`.
fn follow(store: &Handle<'_, '_>, cursor: ModSeq, known: &mut BTreeMap<ItemId, FlagSet>) -> ModSeq {
    let options = ChangesOptions::since(cursor).at_most(7);
    let (records, cursor) = store.try_changes(options).expect("nothing is forgotten here");
    for record in records {
        let Some((item, _)) = record.item else { continue };
        if record.kind.contains(ChangeKind::REMOVED) {
            known.remove(&item);
        } else {
            known.insert(item, record.flags);
        }
    }
    cursor
}

/// At a batch end, of each pair both or none are known.
fn whole(known: &BTreeMap<ItemId, FlagSet>) {
    let mut pairs: BTreeMap<String, usize> = BTreeMap::new();
    for flags in known.values() {
        for keyword in flags.keywords() {
            *pairs.entry(keyword.as_str().to_owned()).or_default() += 1;
        }
    }
    let half = pairs.iter().find(|(_, count)| **count != 2);
    assert!(half.is_none(), "half a batch was told as a whole: {half:?}");
}

/// A folder's and the account's counts are those of the rows, after every kind of operation.
///
/// The bug: counters kept beside the rows and not with them. STATUS said 3 unseen, SELECT showed none, and phones
/// showed a badge that no reading took away.
pub fn counts_agree_with_rows(rig: &dyn Rig) -> Verdict {
    let fixture = Fixture::new(rig);
    let store = fixture.here();
    let inbox = fixture.inbox;
    let other = store.folder(None, "Other").id;
    store.fill(6);
    let seen = FlagChange::Add(SystemFlags::SEEN.into());
    let deleted = FlagChange::Add(SystemFlags::DELETED.into());
    let steps: Vec<Op> = vec![
        Op::SetFlags { folder: inbox, uids: uids(1..=3), change: seen, unchanged_since: None },
        Op::SetFlags { folder: inbox, uids: uids(3..=5), change: deleted, unchanged_since: None },
        Op::Copy { from: inbox, uids: uids([1, 3, 6]), to: other },
        Op::Move { from: inbox, uids: uids([5, 6]), to: other },
        Op::SetFlags {
            folder: inbox,
            uids: uids(1..=9),
            change: FlagChange::Replace(SystemFlags::DELETED.into()),
            unchanged_since: None,
        },
        Op::Remove { folder: inbox, uids: uids(2..=3), only_deleted: true },
        Op::MoveAll { from: other, to: inbox },
    ];
    for step in steps {
        store.op(step.clone());
        let (mut messages, mut octets) = (0, 0);
        for folder in store.folders().folders {
            let rows = store.rows(folder.id);
            let with = |flag: SystemFlags| rows.iter().filter(|(_, flags)| flags.system.contains(flag)).count();
            let counts = folder.counts;
            assert_eq!(counts.exists as usize, rows.len(), "exists, after {step:?}");
            assert_eq!(counts.unseen as usize, rows.len() - with(SystemFlags::SEEN), "unseen, after {step:?}");
            assert_eq!(counts.deleted as usize, with(SystemFlags::DELETED), "deleted, after {step:?}");
            assert_eq!(counts.octets, rows.iter().map(|(row, _)| row.size).sum::<u64>(), "octets, after {step:?}");
            let view = store.view(folder.id);
            assert_eq!(view.folder, folder, "view and list agree, after {step:?}");
            assert_eq!(view.uids.iter().collect::<Vec<_>>(), rows.iter().map(|(row, _)| row.uid).collect::<Vec<_>>());
            let unseen = rows.iter().find(|(_, flags)| !flags.system.contains(SystemFlags::SEEN));
            assert_eq!(view.first_unseen, unseen.map(|(row, _)| row.uid), "first unseen, after {step:?}");
            messages += u64::from(counts.exists);
            octets += counts.octets;
        }
        let state = store.state();
        assert_eq!((state.messages, state.octets), (messages, octets), "the account's counts, after {step:?}");
    }
    let nothing = batch_over(vec![(fixture.account, Vec::new())]);
    let committed = store.commit(nothing).expect("a batch that does nothing is legal");
    assert_eq!(committed[0].upto, store.state().at, "and stands at the counter");
    Verdict::Proved
}
