//! Folders: a tree of names that keeps what clients know about it.

use super::fixture::{Fixture, folder, uid};
use super::{Rig, Verdict};
use crate::batch::{Op, OpOutcome};
use crate::change::ChangeKind;
use crate::error::{CommitError, OpError, ReadError};
use crate::flags::FlagSet;
use crate::folder::Role;
use crate::id::{FolderId, UidValidity};
use crate::store::ViewOptions;

fn create(parent: Option<FolderId>, name: &str) -> Op {
    Op::CreateFolder { parent, name: name.into(), role: None }
}

fn rename(folder: FolderId, parent: Option<FolderId>, name: &str) -> Op {
    Op::RenameFolder { folder, parent, name: name.into() }
}

/// Names are unique under their parent, children come along, and nothing lies in itself.
///
/// The bug: renaming a folder under its own child took both out of the tree, and their mail with them.
pub fn folders_form_a_tree(rig: &dyn Rig) -> Verdict {
    let fixture = Fixture::new(rig);
    let store = fixture.here();
    let a = store.folder(None, "A");
    let b = store.folder(Some(a.id), "B");
    let c = store.folder(Some(b.id), "C");
    assert_eq!(store.folders().by_path(&["A", "B", "C"]).map(|found| found.id), Some(c.id));
    assert_eq!(store.refused(create(Some(a.id), "B")), OpError::Exists);
    let other_b = store.folder(None, "B");
    assert_ne!(other_b.id, b.id, "the same name elsewhere is another folder");
    assert_ne!(store.folder(None, "a").id, a.id, "names other than the inbox's differ by case");
    let nowhere = FolderId::new(9_999).expect("small");
    assert_eq!(store.refused(create(Some(nowhere), "X")), OpError::NotFound);
    assert_eq!(store.refused(rename(nowhere, None, "X")), OpError::NotFound);
    assert_eq!(store.refused(rename(a.id, Some(nowhere), "X")), OpError::NotFound);
    assert_eq!(store.refused(rename(a.id, Some(c.id), "A")), OpError::Cycle);
    assert_eq!(store.refused(rename(a.id, Some(a.id), "A")), OpError::Cycle);
    assert_eq!(store.refused(rename(b.id, None, "B")), OpError::Exists);
    assert_eq!(store.refused(rename(b.id, Some(a.id), "B")), OpError::Exists, "its own name is taken too");
    let before = store.state().at;
    let moved = folder(store.op(rename(b.id, None, "D")));
    assert_eq!((moved.id, moved.parent, moved.name.as_str()), (b.id, None, "D"));
    assert_eq!(store.folders().by_path(&["D", "C"]).map(|found| found.id), Some(c.id), "children come along");
    let records = store.changes(before);
    assert!(
        records.iter().any(|record| record.folder == b.id && record.kind.contains(ChangeKind::NAME)),
        "{records:?}"
    );
    assert_eq!(store.refused(Op::DeleteFolder { folder: nowhere }), OpError::NotFound);
    Verdict::Proved
}

/// Every account has one inbox; it is not renamed, deleted or given another role, and its name is taken in any case.
///
/// The bug: CREATE "inbox" made a second one, which clients showed instead of the first.
pub fn the_inbox_stays(rig: &dyn Rig) -> Verdict {
    let fixture = Fixture::new(rig);
    let store = fixture.here();
    let inbox = store.by_id(fixture.inbox);
    assert_eq!(
        (inbox.name.as_str(), inbox.role, inbox.parent, inbox.selectable),
        ("INBOX", Some(Role::Inbox), None, true)
    );
    assert_eq!(store.refused(Op::DeleteFolder { folder: inbox.id }), OpError::Inbox);
    assert_eq!(store.refused(rename(inbox.id, None, "Else")), OpError::Inbox);
    assert_eq!(store.refused(Op::SetRole { folder: inbox.id, role: Some(Role::Archive) }), OpError::Inbox);
    assert_eq!(store.refused(Op::SetRole { folder: inbox.id, role: None }), OpError::Inbox);
    assert_eq!(store.refused(create(None, "InBox")), OpError::Exists);
    let other = store.folder(None, "Other");
    assert_eq!(store.refused(rename(other.id, None, "inbox")), OpError::Exists);
    let second = Op::CreateFolder { parent: None, name: "Second".into(), role: Some(Role::Inbox) };
    assert_eq!(store.refused(second), OpError::Inbox);
    let below = store.folder(Some(inbox.id), "inbox");
    assert_eq!(store.folders().by_path(&["inbox", "inbox"]).map(|found| found.id), Some(below.id));
    Verdict::Proved
}

/// A deleted folder that has children stays as a name, holds nothing, and can be made again.
///
/// The bug: deleting a folder took its children's mail along, or left the children in a folder nobody could see.
pub fn a_deleted_parent_stays_as_a_name(rig: &dyn Rig) -> Verdict {
    let fixture = Fixture::new(rig);
    let store = fixture.here();
    let parent = store.folder(None, "Parent");
    let child = store.folder(Some(parent.id), "Child");
    store.add(parent.id, "goes");
    store.add(child.id, "stays");
    store.op(Op::DeleteFolder { folder: parent.id });
    let name = store.by_id(parent.id);
    assert!(!name.selectable && name.role.is_none(), "a name only");
    assert_eq!((name.counts.exists, name.counts.octets, store.state().messages), (0, 0, 1));
    let view = store.store.view(fixture.account, parent.id, ViewOptions::default());
    assert!(matches!(store.wait(view), Err(ReadError::NotFound)), "a name can't be opened");
    let add = store.adding(parent.id, "refused", FlagSet::new());
    assert_eq!(store.refused(add), OpError::NotSelectable);
    let everything = Op::MoveAll { from: fixture.inbox, to: parent.id };
    assert_eq!(store.refused(everything), OpError::NotSelectable);
    assert_eq!(store.refused(Op::DeleteFolder { folder: parent.id }), OpError::HasChildren);
    assert_eq!(store.folders().by_path(&["Parent", "Child"]).map(|found| found.id), Some(child.id));
    let again = store.folder(None, "Parent");
    assert!(again.selectable && again.uid_validity > parent.uid_validity, "made again, under a higher UIDVALIDITY");
    assert_eq!(store.folders().by_path(&["Parent", "Child"]).map(|found| found.id), Some(child.id), "with its child");
    assert_eq!(store.add(again.id, "new").uid_validity, again.uid_validity);
    assert_eq!(store.rows(again.id).len(), 1, "what was in it before is gone");
    store.op(Op::DeleteFolder { folder: child.id });
    store.op(Op::DeleteFolder { folder: again.id });
    assert!(store.folders().by_path(&["Parent"]).is_none(), "without children nothing stays");
    Verdict::Proved
}

/// A role is one folder's.
///
/// The bug: two folders with \Sent after a migration; each client filed into another.
pub fn roles_are_unique(rig: &dyn Rig) -> Verdict {
    let fixture = Fixture::new(rig);
    let store = fixture.here();
    let sent = Some(Role::Sent);
    let first = folder(store.op(Op::CreateFolder { parent: None, name: "Sent".into(), role: sent }));
    assert_eq!(first.role, sent);
    let second = Op::CreateFolder { parent: None, name: "Gesendet".into(), role: sent };
    assert_eq!(store.refused(second), OpError::RoleTaken);
    let other = store.folder(None, "Other");
    assert_eq!(store.refused(Op::SetRole { folder: other.id, role: sent }), OpError::RoleTaken);
    let before = store.state().at;
    assert_eq!(store.role(first.id, None).role, None);
    assert_eq!(store.role(other.id, sent).role, sent, "a role that was given up is free");
    assert_eq!(store.folders().by_id(other.id).and_then(|other| other.role), sent);
    let records = store.changes(before);
    assert_eq!(records.len(), 2, "both folders changed: {records:?}");
    store.op(Op::DeleteFolder { folder: other.id });
    assert_eq!(store.role(first.id, sent).role, sent, "a folder that is gone has no role");
    Verdict::Proved
}

/// Names are 1 to 255 octets of UTF-8 without control characters, and come back as they were given.
///
/// The bug: a line feed in a name, straight into LIST.
pub fn names_are_bounded(rig: &dyn Rig) -> Verdict {
    let fixture = Fixture::new(rig);
    let store = fixture.here();
    for name in ["", "a\nb", "a\0b", "\u{7f}", "a\u{85}b", &"x".repeat(256)] {
        assert_eq!(store.refused(create(None, name)), OpError::IllegalName, "{name:?}");
    }
    let other = store.folder(None, "Other");
    assert_eq!(store.refused(rename(other.id, None, "a\tb")), OpError::IllegalName);
    for name in ["Entwürfe", "日本語", "a/b", "a.b", "%", "*", " ", "\"\\", "🙂", &"x".repeat(255)] {
        let made = store.folder(None, name);
        assert_eq!(store.by_id(made.id).name, *name);
    }
    Verdict::Proved
}

/// Subscriptions are names, and stay when the folder goes (RFC 9051 §6.3.7).
///
/// The bug: a folder deleted and made again by a filter was no longer shown, since its subscription had gone with it.
pub fn subscriptions_outlive_folders(rig: &dyn Rig) -> Verdict {
    let fixture = Fixture::new(rig);
    let store = fixture.here();
    let list = store.folder(None, "List");
    let path = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
    let subscribe = |names: &[&str], subscribed| Op::Subscribe { path: path(names), subscribed };
    for names in [&["List"][..], &["Not", "There"]] {
        assert!(matches!(store.op(subscribe(names, true)), OpOutcome::Done));
    }
    store.op(Op::DeleteFolder { folder: list.id });
    let mut subscribed = store.folders().subscriptions;
    subscribed.sort();
    assert_eq!(subscribed, [path(&["List"]), path(&["Not", "There"])]);
    store.op(subscribe(&["List"], false));
    store.op(subscribe(&["Never"], false));
    assert_eq!(store.folders().subscriptions, [path(&["Not", "There"])]);
    store.op(subscribe(&["inbox"], true));
    store.op(subscribe(&["INBOX"], true));
    let inbox: Vec<_> = store.folders().subscriptions.into_iter().filter(|path| path.len() == 1).collect();
    assert_eq!(inbox, [path(&["INBOX"])], "the inbox is subscribed to once, under its own name");
    Verdict::Proved
}

/// Making an account that exists does nothing; one made new has its inbox and the folders asked for.
///
/// The bug: each login made the default folders, and brought back those that users had deleted or renamed.
pub fn provisioning_happens_once(rig: &dyn Rig) -> Verdict {
    let fixture = Fixture::new(rig);
    let store = fixture.here();
    let second = super::fixture::account(2);
    let missing = store.store.account(second);
    assert!(matches!(store.wait(missing), Err(ReadError::NotFound)), "an account that is not there is not found");
    let wanted = [(Role::Sent, "Sent"), (Role::Trash, "Trash")];
    store.wait(store.store.provision(second, &wanted)).expect("an account can be made");
    let folders = store.wait(store.store.folders(second)).expect("it is there");
    let mut named: Vec<_> = folders.folders.iter().map(|folder| (folder.name.clone(), folder.role)).collect();
    named.sort();
    let expected = [("INBOX", Role::Inbox), ("Sent", Role::Sent), ("Trash", Role::Trash)];
    assert_eq!(named, expected.map(|(name, role)| (name.to_owned(), Some(role))));
    let before = (store.state(), store.folders());
    store.wait(store.store.provision(fixture.account, &wanted)).expect("an account that exists is no error");
    assert_eq!(before, (store.state(), store.folders()), "nothing was done to it");
    Verdict::Proved
}

/// `AssertFolder` lets a batch through only while the folder is the one the caller knows.
///
/// The bug: a session had a folder open that was deleted and made again elsewhere; its EXPUNGE removed new mail by old
/// UIDs.
pub fn assertions_guard_batches(rig: &dyn Rig) -> Verdict {
    let fixture = Fixture::new(rig);
    let store = fixture.here();
    let made = store.folder(None, "Made");
    let guard = |uid_validity| Op::AssertFolder { folder: made.id, uid_validity };
    let remove = Op::Remove { folder: made.id, uids: [uid(1)].into_iter().collect(), only_deleted: false };
    store.add(made.id, "kept");
    let other = UidValidity::new(made.uid_validity.value() - 1).unwrap_or(UidValidity::MAX);
    match store.try_ops(vec![guard(other), remove.clone()]) {
        Err(CommitError::Operation { at: 0, error: OpError::Conflict, .. }) => {}
        answer => panic!("another UIDVALIDITY is a conflict, not {answer:?}"),
    }
    assert_eq!(store.rows(made.id).len(), 1);
    let outcomes = store.ops(vec![guard(made.uid_validity), remove]).outcomes;
    assert!(matches!(outcomes[0], OpOutcome::Done));
    assert!(store.rows(made.id).is_empty());
    store.op(Op::DeleteFolder { folder: made.id });
    assert_eq!(store.refused(guard(made.uid_validity)), OpError::Conflict, "a folder that is gone is a conflict");
    Verdict::Proved
}
