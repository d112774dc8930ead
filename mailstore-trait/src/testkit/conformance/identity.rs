//! Identity: numbers that are given out once, and pairs that say what became of what.

use std::collections::BTreeSet;

use super::fixture::{Fixture, Place, flag_set, folder, message, transferred, uid, uids};
use super::{Rig, Verdict};
use crate::batch::{Content, Op};
use crate::change::ChangeKind;
use crate::flags::{FlagSet, SystemFlags};
use crate::id::MAX_UID;

/// UIDs ascend and are never given out twice, items neither, not even when the newest message was removed.
///
/// The bug: "next UID" computed as the largest there plus one. The newest message was deleted, its UID came again, and
/// POP3 clients that knew the UIDL never fetched the new one.
pub fn uids_and_items_are_never_reused(rig: &dyn Rig) -> Verdict {
    let fixture = Fixture::new(rig);
    let store = fixture.here();
    let other = store.folder(None, "Other").id;
    let mut items = BTreeSet::new();
    let mut last = None;
    for round in 0..6 {
        let place = store.add(fixture.inbox, "again");
        assert!(items.insert(place.item), "item {} was given out before", place.item);
        assert!(last.is_none_or(|last| place.uid > last), "UID {} was given out before", place.uid);
        assert!(place.uid.value() <= MAX_UID);
        last = Some(place.uid);
        let this = uids([place.uid.value()]);
        if round % 2 == 0 {
            store.remove(fixture.inbox, this, false);
        } else {
            store.op(Op::Move { from: fixture.inbox, uids: this, to: other });
            let rows = store.rows(other);
            let moved = rows.last().expect("it was moved").0.item;
            assert!(items.insert(moved), "a moved message has a new item, not {moved}");
        }
        let next = store.by_id(fixture.inbox).uid_next;
        assert!(next > place.uid, "UIDNEXT lies behind every UID that was given out");
    }
    let promised = store.by_id(fixture.inbox).uid_next;
    assert_eq!(store.add(fixture.inbox, "as promised").uid, promised, "the next message gets UIDNEXT");
    Verdict::Proved
}

/// A name that is made again has a higher UIDVALIDITY than any folder of that name had, whether it was deleted or
/// renamed away; renaming itself changes none.
///
/// The bug: UIDVALIDITY from a clock with seconds. A folder deleted and made again within one second kept it, and clients
/// showed the old messages under the new UIDs.
pub fn uid_validity_rises_when_a_name_is_made_again(rig: &dyn Rig) -> Verdict {
    let fixture = Fixture::new(rig);
    let store = fixture.here();
    let mut last = store.folder(None, "Name");
    let ids = &mut BTreeSet::from([last.id]);
    for round in 0..6 {
        store.add(last.id, "old");
        if round % 2 == 0 {
            store.op(Op::DeleteFolder { folder: last.id });
        } else {
            let rename = Op::RenameFolder { folder: last.id, parent: None, name: format!("Away {round}") };
            let renamed = folder(store.op(rename));
            assert_eq!((renamed.id, renamed.uid_validity), (last.id, last.uid_validity), "renaming keeps both");
            assert_eq!(store.rows(renamed.id).len(), 1, "and the messages");
        }
        let made = store.folder(None, "Name");
        assert!(made.uid_validity > last.uid_validity, "{} behind {}", made.uid_validity, last.uid_validity);
        assert!(made.uid_validity.value() <= MAX_UID);
        assert!(ids.insert(made.id), "folder ids are never used again");
        assert!(store.rows(made.id).is_empty(), "a folder made again is empty");
        last = made;
    }
    Verdict::Proved
}

/// A copy has a new UID and item, ascending in the order of the old, everything else of the original, and shares its
/// message.
///
/// The bug: COPYUID in the order the database happened to return. Clients wired the copies to the wrong originals.
pub fn copies_pair_and_share_the_email(rig: &dyn Rig) -> Verdict {
    let fixture = Fixture::new(rig);
    let store = fixture.here();
    let other = store.folder(None, "Other").id;
    let flags = flag_set(SystemFlags::FLAGGED | SystemFlags::SEEN, &["work"]);
    let original = store.adding(fixture.inbox, "flagged", flags.clone());
    store.op(original);
    let places = store.fill(4);
    let before = store.rows(fixture.inbox);
    // UID 40 is not there, and is passed over.
    let op = Op::Copy { from: fixture.inbox, uids: uids([5, 1, 40, 3]), to: other };
    let (validity, from, to) = transferred(store.op(op));
    assert_eq!(validity, store.by_id(other).uid_validity, "the UIDVALIDITY of where they are now");
    assert_eq!(from, [uid(1), uid(3), uid(5)], "those that were there, ascending");
    assert_eq!(to.len(), 3);
    assert_eq!(store.rows(fixture.inbox), before, "the originals stay as they are");
    let copies = store.rows(other);
    for ((copy, copy_flags), (old, new)) in copies.iter().zip(from.iter().zip(&to)) {
        let (row, row_flags) = before.iter().find(|(row, _)| row.uid == *old).expect("the original");
        assert_eq!(copy.uid, *new, "the nth of `from` became the nth of `to`");
        assert_eq!(copy.email, row.email, "copies share the message");
        assert_eq!((copy.internal_date, copy.size), (row.internal_date, row.size));
        assert_eq!(copy_flags, row_flags);
        assert!(copy.item != row.item && copy.change > row.change && copy.created == copy.change);
    }
    assert_eq!(copies[0].1, flags);
    // By the message's id: no upload is needed.
    let op = store.adding_content(other, Content::Email(places[0].email), FlagSet::new());
    let again = super::fixture::place(&store.op(op));
    assert_eq!(again.email, places[0].email);
    assert_eq!(store.content(again.email, 1 << 20).expect("it is there"), message("message 0").as_bytes());
    let (_, from, to) = transferred(store.op(Op::Copy { from: other, uids: uids([1]), to: other }));
    assert!(from == [uid(1)] && to[0] > uid(1), "a copy into the same folder is a copy");
    Verdict::Proved
}

/// A move is a copy whose originals are gone, in one change.
///
/// The bug: MOVE that answered NO when a message had gone meanwhile, and clients that tried it again for ever.
pub fn moves_pair_and_leave_removals(rig: &dyn Rig) -> Verdict {
    let fixture = Fixture::new(rig);
    let store = fixture.here();
    let other = store.folder(None, "Other").id;
    let places: Vec<Place> = store.fill(4);
    let cursor = store.state().at;
    let op = Op::Move { from: fixture.inbox, uids: uids([4, 2, 77]), to: other };
    let (validity, from, to) = transferred(store.op(op));
    assert_eq!((validity, from.as_slice()), (store.by_id(other).uid_validity, &[uid(2), uid(4)][..]));
    let (left, there) = (store.rows(fixture.inbox), store.rows(other));
    assert_eq!(left.iter().map(|(row, _)| row.uid.value()).collect::<Vec<_>>(), [1, 3]);
    assert_eq!(there.iter().map(|(row, _)| row.uid).collect::<Vec<_>>(), to);
    assert_eq!(there[1].0.email, places[3].email);
    let records = store.changes(cursor);
    let kinds = |kind: ChangeKind| records.iter().filter(|record| record.kind.contains(kind)).count();
    assert_eq!((kinds(ChangeKind::REMOVED), kinds(ChangeKind::ADDED)), (2, 2), "two removals, two additions");
    let (_, from, _) = transferred(store.op(Op::Move { from: fixture.inbox, uids: uids([2, 4]), to: other }));
    assert!(from.is_empty(), "moving what is gone is no error");
    let (_, from, to) = transferred(store.op(Op::Move { from: other, uids: uids([1]), to: other }));
    assert!(from == [uid(1)] && to == [uid(3)], "a move into the same folder gives a new UID");
    Verdict::Proved
}

/// `MoveAll` empties a folder into another (RENAME INBOX).
///
/// The bug: RENAME INBOX took the folder away, and mail that arrived bounced.
pub fn everything_moves(rig: &dyn Rig) -> Verdict {
    let fixture = Fixture::new(rig);
    let store = fixture.here();
    let other = store.folder(None, "Other").id;
    store.fill(3);
    let (_, from, to) = transferred(store.op(Op::MoveAll { from: fixture.inbox, to: other }));
    assert_eq!((from.len(), to.len()), (3, 3));
    assert!(store.rows(fixture.inbox).is_empty());
    assert_eq!(store.rows(other).len(), 3);
    assert_eq!(store.add(fixture.inbox, "next").uid, uid(4), "the inbox goes on counting");
    Verdict::Proved
}

/// A message is recent to the first opening that claims it, and to no other.
///
/// The bug: \Recent to every session that looked, or to none; old clients that filter on it lost mail or filed it twice.
pub fn recent_messages_are_claimed_once(rig: &dyn Rig) -> Verdict {
    let fixture = Fixture::new(rig);
    let store = fixture.here();
    assert_eq!(store.open(fixture.inbox, true).recent_from, None, "nothing is there to be claimed");
    store.fill(2);
    assert_eq!(store.open(fixture.inbox, false).recent_from, Some(uid(1)), "EXAMINE tells of them");
    assert_eq!(store.open(fixture.inbox, true).recent_from, Some(uid(1)), "and claims nothing");
    assert_eq!(store.open(fixture.inbox, false).recent_from, None, "they are no more to be claimed");
    assert_eq!(store.open(fixture.inbox, true).recent_from, None, "they are claimed");
    store.add(fixture.inbox, "new");
    let before = store.state().at;
    assert_eq!(store.open(fixture.inbox, true).recent_from, Some(uid(3)), "only what came since");
    assert_eq!(store.state().at, before, "claiming is no change");
    Verdict::Proved
}
