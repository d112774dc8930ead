//! A view, record by record.

use mailstore_trait::change::ChangeRecord;
use mailstore_trait::flags::SystemFlags;
use mailstore_trait::folder::{Counts, Folder};
use mailstore_trait::id::ItemId;

use super::*;

const HOLD: May = May { expunge: false, recent: true, modseq: false, vanished: false, uid_only: false };
const ALL: May = May { expunge: true, recent: true, modseq: false, vanished: false, uid_only: false };

fn uid(value: u32) -> Uid {
    Uid::new(value).unwrap()
}

fn change(value: u64) -> ModSeq {
    ModSeq::new(value).unwrap()
}

fn set(uids: &[u32]) -> UidSet {
    uids.iter().map(|&value| uid(value)).collect()
}

fn opened(uids: &[u32], at: u64) -> FolderView {
    let folder = Folder {
        id: FolderId::new(7).unwrap(),
        parent: None,
        name: "a".into(),
        role: None,
        selectable: true,
        uid_validity: UidValidity::MIN,
        uid_next: uid(100),
        highest_modseq: change(at),
        floor: change(1),
        created: change(1),
        change: change(1),
        counts: Counts::default(),
    };
    FolderView {
        folder,
        uids: Arc::new(uids.iter().map(|&value| uid(value)).collect()),
        at: change(at),
        first_unseen: None,
        recent_from: None,
        keywords: Arc::from([]),
    }
}

fn record(at: u64, message: u32, kind: ChangeKind) -> ChangeRecord {
    let created = if kind == ChangeKind::ADDED { at } else { 1 };
    ChangeRecord {
        change: change(at),
        created: change(created),
        folder: FolderId::new(7).unwrap(),
        item: Some((ItemId::new(u64::from(message)).unwrap(), uid(message))),
        kind,
        flags: FlagSet::from(SystemFlags::FLAGGED),
    }
}

fn page(records: Vec<ChangeRecord>, upto: u64, more: bool) -> ChangePage {
    ChangePage { records, upto: change(upto), more }
}

fn told(view: &mut View, may: May) -> String {
    let mut out = BytesMut::new();
    while view.tell(may, &mut out) {}
    String::from_utf8(out.to_vec()).unwrap()
}

#[test]
fn an_expunge_waits_and_exists_counts_what_the_client_still_sees() {
    let mut view = View::new(&opened(&[1, 2, 3], 10), false);
    let records = vec![record(11, 1, ChangeKind::REMOVED), record(12, 9, ChangeKind::ADDED)];
    assert_eq!(view.absorb(&page(records, 12, false)), Absorbed::Done);
    assert_eq!(told(&mut view, HOLD), "* 4 EXISTS\r\n* 0 RECENT\r\n");
    assert_eq!(view.seq(uid(2)).unwrap().value(), 2);
    assert!(view.any_gone(&set(&[1, 2])));
    assert_eq!(view.present(&set(&[1, 2])), set(&[2]));
    assert_eq!(told(&mut view, ALL), "* 1 EXPUNGE\r\n");
    assert_eq!(view.seq(uid(2)).unwrap().value(), 1);
}

#[test]
fn nothing_is_told_before_the_last_page() {
    let mut view = View::new(&opened(&[1, 2], 10), false);
    let first = page(vec![record(11, 1, ChangeKind::REMOVED)], 11, true);
    assert_eq!(view.absorb(&first), Absorbed::More(change(11)));
    assert_eq!(told(&mut view, ALL), "");
    assert_eq!(view.at(), change(10));
    assert_eq!(view.absorb(&page(vec![record(12, 2, ChangeKind::FLAGS)], 12, false)), Absorbed::Done);
    assert_eq!(told(&mut view, ALL), "* 1 EXPUNGE\r\n* 1 FETCH (UID 2 FLAGS (\\Flagged))\r\n");
    assert_eq!(view.at(), change(12));
}

#[test]
fn our_own_changes_are_not_told_twice_and_others_are() {
    let mut view = View::new(&opened(&[1, 2], 10), false);
    // Somebody changed message 2 at 11; our STORE of message 1 got 12.
    view.note_own_flags([(uid(1), change(12))].into_iter(), change(12));
    assert!(view.is_behind(None));
    let records = vec![record(11, 2, ChangeKind::FLAGS), record(12, 1, ChangeKind::FLAGS)];
    view.absorb(&page(records, 12, false));
    assert_eq!(told(&mut view, ALL), "* 2 FETCH (UID 2 FLAGS (\\Flagged))\r\n");
    // Changed again by somebody else after our STORE: told.
    view.note_own_flags([(uid(1), change(14))].into_iter(), change(14));
    view.absorb(&page(vec![record(15, 1, ChangeKind::FLAGS)], 15, false));
    assert_eq!(told(&mut view, ALL), "* 1 FETCH (UID 1 FLAGS (\\Flagged))\r\n");
}

/// Numbers have no holes: when the counter moved by as much as our own changes, there is nothing to ask.
#[test]
fn a_commit_that_was_alone_needs_no_question() {
    let mut view = View::new(&opened(&[1, 2, 3], 10), false);
    view.note_own_flags([(uid(1), change(11)), (uid(2), change(12)), (uid(3), change(4))].into_iter(), change(12));
    assert_eq!(view.at(), change(12));
    assert!(!view.is_behind(None));
    assert!(view.is_behind(Some(change(13))));
    view.note_own_flags([(uid(1), change(14))].into_iter(), change(14));
    assert!(view.is_behind(None));
}

#[test]
fn too_many_changes_are_looked_at_again_instead_of_gathered() {
    let mut view = View::new(&opened(&[1, 2], 10), false);
    let many = (0..=MAX_CHANGED as u64).map(|n| record(11 + n, 1, ChangeKind::FLAGS)).collect();
    assert_eq!(view.absorb(&page(many, 9999, true)), Absorbed::Refresh);
    let (left, since) = view.refresh(&opened(&[2, 5], 9999));
    assert_eq!((left, since), (set(&[2]), change(10)));
    view.refresh_flags(uid(2), change(12), FlagSet::new());
    view.refreshed(change(9999));
    assert_eq!(told(&mut view, ALL), "* 1 EXPUNGE\r\n* 2 EXISTS\r\n* 0 RECENT\r\n* 1 FETCH (UID 2 FLAGS ())\r\n");
    assert!(!view.is_behind(None));
}

#[test]
fn a_message_that_came_and_went_is_never_told() {
    let mut view = View::new(&opened(&[1], 10), false);
    view.absorb(&page(vec![record(12, 9, ChangeKind::REMOVED)], 12, false));
    assert_eq!(told(&mut view, ALL), "");
    assert_eq!(view.uids().len(), 1);
}
