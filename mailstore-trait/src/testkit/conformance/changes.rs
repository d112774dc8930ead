//! Changes: the truth since a cursor, removals included, or an honest `Gap`.

use std::time::Duration;

use super::fixture::{Fixture, Handle, uids};
use super::{Rig, Verdict};
use crate::batch::Op;
use crate::change::{ChangeKind, ChangeRecord, ChangesOptions};
use crate::error::ReadError;
use crate::flags::{FlagChange, FlagSet, SystemFlags};
use crate::id::{ItemId, ModSeq};

/// Each object that changed is told once, in its newest state, with everything that happened to it since the cursor.
///
/// The bug: a log of single changes grew without bound, and readers replayed flags that had been changed back long ago.
pub fn changes_tell_the_newest_state(rig: &dyn Rig) -> Verdict {
    let fixture = Fixture::new(rig);
    let store = fixture.here();
    let places = store.fill(3);
    let cursor = store.state().at;
    store.set_flags(uids([2]), FlagChange::Add(SystemFlags::SEEN.into()), None);
    store.set_flags(uids([2]), FlagChange::Add(SystemFlags::FLAGGED.into()), None);
    let records = store.changes(cursor);
    assert_eq!(records.len(), 1, "one message changed: {records:?}");
    let record = &records[0];
    assert_eq!(record.item, Some((places[1].item, places[1].uid)));
    assert_eq!(record.change, store.state().at);
    assert_eq!(record.folder, fixture.inbox);
    assert!(record.created <= cursor, "the reader knows it already");
    assert!(record.kind.contains(ChangeKind::SEEN | ChangeKind::FLAGS), "{:?}", record.kind);
    assert!(!record.kind.contains(ChangeKind::REMOVED), "{:?}", record.kind);
    assert_eq!(record.flags.system, SystemFlags::SEEN | SystemFlags::FLAGGED);
    let new = store.add(fixture.inbox, "new");
    let records = store.changes(record.change);
    assert_eq!(records.len(), 1);
    assert!(records[0].kind.contains(ChangeKind::ADDED) && records[0].created > record.change, "{records:?}");
    assert_eq!(records[0].item, Some((new.item, new.uid)));
    let made = store.folder(None, "Made");
    let records = store.changes(records[0].change);
    assert_eq!((records.len(), records[0].item, records[0].folder), (1, None, made.id), "folders are told too");
    assert!(records[0].kind.contains(ChangeKind::ADDED), "{records:?}");
    assert!(store.folder_changes(fixture.inbox, made.created).is_empty(), "but only to those who ask for them");
    Verdict::Proved
}

/// Removals of messages and folders are told, by item and UID.
///
/// The bug: tombstones that were written for EXPUNGE and forgotten for MOVE, for POP3, for deleted folders. Clients that
/// rely on VANISHED (RFC 7162) showed mail that was long gone.
pub fn removals_are_told(rig: &dyn Rig) -> Verdict {
    let fixture = Fixture::new(rig);
    let store = fixture.here();
    let other = store.folder(None, "Other");
    let places = store.fill(5);
    let cursor = store.state().at;
    store.remove(fixture.inbox, uids([1]), false);
    store.op(Op::Move { from: fixture.inbox, uids: uids([2]), to: other.id });
    store.set_flags(uids([3]), FlagChange::Add(SystemFlags::DELETED.into()), None);
    store.remove(fixture.inbox, uids(1..=5), true);
    let short_lived = store.add(fixture.inbox, "short-lived");
    store.remove(fixture.inbox, uids([short_lived.uid.value()]), false);
    let gone = removed(&store, cursor);
    let expected: Vec<ItemId> = [places[0], places[1], places[2]].map(|place| place.item).to_vec();
    assert!(expected.iter().all(|item| gone.contains(item)), "{gone:?} are told as removed, {expected:?} were");
    assert!(gone.iter().all(|item| expected.contains(item) || *item == short_lived.item), "{gone:?} is too much");
    let told: Vec<u32> = store
        .folder_changes(fixture.inbox, cursor)
        .iter()
        .filter(|record| record.kind.contains(ChangeKind::REMOVED) && record.created <= cursor)
        .filter_map(|record| Some(record.item?.1.value()))
        .collect();
    assert_eq!(told, [1, 2, 3], "by UID");
    let cursor = store.state().at;
    store.op(Op::DeleteFolder { folder: other.id });
    let records = store.changes(cursor);
    let folder = records.iter().find(|record| record.folder == other.id && record.item.is_none());
    assert!(folder.is_some_and(|record| record.kind.contains(ChangeKind::REMOVED)), "the folder went: {records:?}");
    Verdict::Proved
}

fn removed(store: &Handle<'_, '_>, since: ModSeq) -> Vec<ItemId> {
    let records = store.changes(since).into_iter().filter(|record| record.kind.contains(ChangeKind::REMOVED));
    records.filter_map(|record| Some(record.item?.0)).collect()
}

/// However short the pages, they add up to the same.
///
/// The bug: cursors that were not unique. A page ended in the middle of equal numbers, and the rest was skipped or told
/// for ever.
pub fn pages_add_up(rig: &dyn Rig) -> Verdict {
    let fixture = Fixture::new(rig);
    let store = fixture.here();
    let start = store.state().at;
    store.fill(20);
    store.folder(None, "Made");
    store.set_flags(uids((1..=20).step_by(3)), FlagChange::Add(SystemFlags::SEEN.into()), None);
    store.remove(fixture.inbox, uids((1..=20).step_by(4)), false);
    // What happened is told since the page's own cursor; whether it is there at all is not.
    let plain = |mut records: Vec<ChangeRecord>| {
        records.iter_mut().for_each(|record| record.kind &= ChangeKind::REMOVED);
        records
    };
    let whole = plain(store.changes(start));
    assert_eq!(whole.len(), 21, "20 messages and a folder");
    for max in [1, 2, 3, 7, 20, 21, 22] {
        let paged = store.try_changes(ChangesOptions::since(start).at_most(max)).expect("nothing is forgotten");
        assert!(plain(paged.0) == whole, "in pages of {max}");
        assert_eq!(paged.1, store.state().at, "the last page ends at the account's counter, in pages of {max}");
    }
    let cursor = store.state().at;
    assert!(store.changes(cursor).is_empty(), "nothing has changed since the newest cursor");
    Verdict::Proved
}

/// Below the oldest change whose removals are known the answer is `Gap`, and the folder says where that is.
///
/// The bug: removals were cleaned away, and clients that had been offline for a month kept mail that was deleted, since
/// the answer looked complete.
pub fn below_the_floor_is_a_gap(rig: &dyn Rig) -> Verdict {
    let fixture = Fixture::new(rig);
    let store = fixture.here();
    store.fill(4);
    let old = store.state().at;
    store.remove(fixture.inbox, uids([1, 2]), false);
    let cursor = store.state().at;
    wait_forget(&store, Duration::from_secs(3600));
    assert_eq!(store.changes(old).len(), 2, "removals that are not old enough stay");
    wait_forget(&store, Duration::ZERO);
    let floor = store.by_id(fixture.inbox).floor;
    assert!(floor > old && floor <= cursor, "the floor lies at the newest removal that was forgotten, not at {floor}");
    for options in [ChangesOptions::since(old), ChangesOptions::since(old).in_folder(fixture.inbox)] {
        match store.try_changes(options) {
            Err(ReadError::Gap { floor: told }) => {
                assert!(told > old && told <= cursor, "the oldest usable cursor: {told}")
            }
            other => panic!("below the floor is a gap, not {other:?}"),
        }
    }
    assert!(store.changes(cursor).is_empty(), "from the floor on everything is known");
    store.remove(fixture.inbox, uids([3]), false);
    assert_eq!(store.changes(floor).len(), 1, "removals after the floor are known");
    assert_eq!(store.view(fixture.inbox).folder.highest_modseq, store.state().at);
    let ahead = ChangesOptions::since(store.state().at.plus(1000));
    match store.try_changes(ahead) {
        Err(ReadError::Gap { .. }) => {}
        other => panic!("a cursor from a future that was lost is a gap, not {other:?}"),
    }
    Verdict::Proved
}

fn wait_forget(store: &Handle<'_, '_>, older_than: Duration) {
    let forget = store.store.forget_removals(store.fixture.account, older_than);
    store.wait(forget).expect("removals can be forgotten");
}

/// What stays as it is takes no number: flags that are set already, roles, subscriptions, removals of nothing.
///
/// The bug: clients that set \Seen on everything they show woke every other client for nothing, which set \Seen again.
pub fn what_stays_as_it_is_takes_no_number(rig: &dyn Rig) -> Verdict {
    let fixture = Fixture::new(rig);
    let store = fixture.here();
    store.fill(2);
    let sent = store.folder(None, "Sent").id;
    let role = Some(crate::folder::Role::Sent);
    store.role(sent, role);
    let subscribe = |subscribed| Op::Subscribe { path: vec!["Sent".into()], subscribed };
    store.op(subscribe(true));
    let seen: FlagSet = SystemFlags::SEEN.into();
    store.set_flags(uids([1]), FlagChange::Add(seen.clone()), None);
    let before = (store.state().at, store.rows(fixture.inbox));
    let set = |change| Op::SetFlags { folder: fixture.inbox, uids: uids([1]), change, unchanged_since: None };
    for op in [
        set(FlagChange::Add(seen.clone())),
        set(FlagChange::Replace(seen)),
        set(FlagChange::Remove(SystemFlags::DELETED.into())),
        subscribe(true),
        Op::SetRole { folder: sent, role },
        Op::Remove { folder: fixture.inbox, uids: uids(50..60), only_deleted: false },
        Op::Remove { folder: fixture.inbox, uids: uids(1..=2), only_deleted: true },
        Op::Copy { from: fixture.inbox, uids: uids(50..60), to: sent },
        Op::MoveAll { from: sent, to: fixture.inbox },
    ] {
        store.op(op.clone());
        assert_eq!((store.state().at, store.rows(fixture.inbox)), before, "nothing changed by {op:?}");
    }
    Verdict::Proved
}

/// Operations on nothing are legal in an account that never had a message.
///
/// The bug: the reference store itself said that a limit was reached when a first EXPUNGE met an empty mailbox: it asked
/// whether item 0 could be given out.
pub fn an_empty_account_takes_operations_on_nothing(rig: &dyn Rig) -> Verdict {
    let fixture = Fixture::new(rig);
    let store = fixture.here();
    let before = store.state();
    let inbox = fixture.inbox;
    for op in [
        Op::Remove { folder: inbox, uids: uids(1..=9), only_deleted: true },
        Op::Copy { from: inbox, uids: uids(1..=9), to: inbox },
        Op::Move { from: inbox, uids: uids(1..=9), to: inbox },
        Op::MoveAll { from: inbox, to: inbox },
        Op::SetFlags {
            folder: inbox,
            uids: uids(1..=9),
            change: FlagChange::Add(SystemFlags::SEEN.into()),
            unchanged_since: None,
        },
    ] {
        store.op(op);
    }
    assert_eq!(store.state(), before);
    Verdict::Proved
}

/// HIGHESTMODSEQ is the highest change of any message that is or was in the folder, and never falls.
///
/// The bug: HIGHESTMODSEQ as the maximum over the rows that are there. The newest message was expunged, the value fell,
/// and clients with a higher one never asked for changes again. (0 made others sync everything every 35 s.)
pub fn highest_modseq_counts_removals(rig: &dyn Rig) -> Verdict {
    let fixture = Fixture::new(rig);
    let store = fixture.here();
    let other = store.folder(None, "Other").id;
    assert!(store.by_id(other).highest_modseq >= ModSeq::FIRST);
    store.fill(3);
    assert_eq!(store.by_id(fixture.inbox).highest_modseq, store.state().at);
    store.remove(fixture.inbox, uids([3]), false);
    let after_removal = store.by_id(fixture.inbox).highest_modseq;
    assert_eq!(after_removal, store.state().at, "the removal counts");
    store.op(Op::Move { from: fixture.inbox, uids: uids([2]), to: other });
    let (here, there) = (store.by_id(fixture.inbox).highest_modseq, store.by_id(other).highest_modseq);
    assert!(here > after_removal && there > after_removal, "a move counts in both folders");
    assert_eq!(here.max(there), store.state().at);
    let renamed = Op::RenameFolder { folder: other, parent: None, name: "Else".into() };
    store.op(renamed);
    assert_eq!(store.by_id(other).highest_modseq, there, "what happens to the folder itself does not");
    Verdict::Proved
}
