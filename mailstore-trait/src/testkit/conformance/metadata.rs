//! Annotations: set together, seen by whom they belong to, bounded, and gone with their folder.

use bytes::Bytes;

use super::fixture::{Fixture, Handle, account};
use super::{Rig, Verdict};
use crate::batch::Op;
use crate::error::MetadataError;
use crate::id::FolderId;
use crate::metadata::{Depth, Entry, EntryChange, EntryName, MetadataLimits, MetadataStore, Scope, Subject, Wanted};

const NONE: Verdict = Verdict::Unproved("the store keeps no annotations");
const LIMITS: MetadataLimits = MetadataLimits::new(1024, 10);

fn notes<'s>(store: &'s Handle<'_, '_>) -> Option<&'s dyn MetadataStore> {
    store.store.as_metadata()
}

fn name(name: &str) -> EntryName {
    EntryName::new(name).expect("a legal name")
}

fn value(scope: Scope, entry: &str, value: &str) -> EntryChange {
    EntryChange { scope, name: name(entry), value: Some(Bytes::copy_from_slice(value.as_bytes())) }
}

fn gone(scope: Scope, entry: &str) -> EntryChange {
    EntryChange { scope, name: name(entry), value: None }
}

fn mine() -> Scope {
    Scope::Private(account(9))
}

fn folder(store: &Handle<'_, '_>, folder: FolderId) -> Subject {
    Subject::Folder(store.fixture.account, folder)
}

fn set(store: &Handle<'_, '_>, subject: Subject, changes: Vec<EntryChange>) -> Result<(), MetadataError> {
    let notes = notes(store).expect("asked before");
    store.wait(notes.set_entries(subject, changes, LIMITS))
}

fn ask(store: &Handle<'_, '_>, subjects: &[Subject], wanted: &[Wanted]) -> Vec<Entry> {
    let notes = notes(store).expect("asked before");
    store.wait(notes.entries(subjects, wanted)).expect("annotations can be read")
}

fn everything(scope: Scope) -> Wanted {
    Wanted { scope, name: None, depth: Depth::Infinity }
}

/// Names and values of one subject in one scope.
fn told(store: &Handle<'_, '_>, subject: Subject, scope: Scope) -> Vec<(String, String)> {
    let text = |entry: &Entry| String::from_utf8_lossy(&entry.value).into_owned();
    let entries = ask(store, &[subject], &[everything(scope)]);
    entries.iter().map(|entry| (entry.name.as_str().to_owned(), text(entry))).collect()
}

fn pairs(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
    pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
}

/// Several entries are set together or not at all; other octets than text are values too.
///
/// The bug: the third of five values was too large. Two had been set, the client was told NO and set all five again under
/// other names.
pub fn entries_are_set_together(rig: &dyn Rig) -> Verdict {
    let fixture = Fixture::new(rig);
    let store = fixture.here();
    if notes(&store).is_none() {
        return NONE;
    }
    let inbox = folder(&store, fixture.inbox);
    set(&store, inbox, vec![value(Scope::Shared, "/comment", "one"), value(Scope::Shared, "/vendor/x/y", "two")])
        .expect("two short values");
    let large = "x".repeat(1025);
    let refused = set(
        &store,
        inbox,
        vec![
            value(Scope::Shared, "/comment", "three"),
            gone(Scope::Shared, "/vendor/x/y"),
            value(mine(), "/a", &large),
        ],
    );
    assert!(matches!(refused, Err(MetadataError::TooLarge { limit: 1024 })), "{refused:?}");
    assert_eq!(told(&store, inbox, Scope::Shared), pairs(&[("/comment", "one"), ("/vendor/x/y", "two")]));
    set(&store, inbox, vec![gone(Scope::Shared, "/comment"), gone(Scope::Shared, "/never")]).expect("no error");
    let octets = Bytes::from_static(&[0, 255, 13, 10]);
    let odd = EntryChange { scope: Scope::Shared, name: name("/odd"), value: Some(octets.clone()) };
    set(&store, inbox, vec![odd, value(Scope::Shared, "/empty", "")]).expect("any octets");
    let entries = ask(&store, &[inbox], &[everything(Scope::Shared)]);
    let names: Vec<&str> = entries.iter().map(|entry| entry.name.as_str()).collect();
    assert_eq!(names, ["/empty", "/odd", "/vendor/x/y"], "ascending by name; empty is not gone");
    assert_eq!(entries[1].value, octets);
    let nowhere = FolderId::new(900).expect("a small number is a folder");
    let missing = set(&store, folder(&store, nowhere), vec![value(Scope::Shared, "/comment", "?")]);
    assert!(matches!(missing, Err(MetadataError::NotFound)));
    Verdict::Proved
}

/// The same name can be everybody's and each one's own; who asks for one does not get the others. The server has entries,
/// too.
///
/// The bug: private notes lay under the owner of the mailbox. Everybody who shared it read what the others had written
/// for themselves.
pub fn private_entries_are_private(rig: &dyn Rig) -> Verdict {
    let fixture = Fixture::new(rig);
    let store = fixture.here();
    if notes(&store).is_none() {
        return NONE;
    }
    let hers = Scope::Private(account(10));
    for subject in [folder(&store, fixture.inbox), Subject::Server] {
        for (scope, text) in [(Scope::Shared, "ours"), (mine(), "mine"), (hers, "hers")] {
            set(&store, subject, vec![value(scope, "/comment", text)]).expect("a short value");
        }
        for (scope, text) in [(Scope::Shared, "ours"), (mine(), "mine"), (hers, "hers")] {
            assert_eq!(told(&store, subject, scope), pairs(&[("/comment", text)]), "{scope:?} of {subject:?}");
        }
        set(&store, subject, vec![gone(mine(), "/comment")]).expect("taken away");
        assert_eq!(told(&store, subject, mine()), []);
        assert_eq!(told(&store, subject, hers).len(), 1);
    }
    let other = folder(&store, store.folder(None, "Other").id);
    assert_eq!(told(&store, other, Scope::Shared), [], "each folder has its own");
    Verdict::Proved
}

/// A question picks names, and as many levels below them as it says, of several subjects at once.
///
/// The bug: names were compared by their beginning. Who asked for what lies below `/a` got `/ab` too.
pub fn wanted_entries_are_picked(rig: &dyn Rig) -> Verdict {
    let fixture = Fixture::new(rig);
    let store = fixture.here();
    if notes(&store).is_none() {
        return NONE;
    }
    let inbox = folder(&store, fixture.inbox);
    let other = folder(&store, store.folder(None, "Other").id);
    for subject in [inbox, other] {
        let all = ["/a", "/a/b", "/a/b/c", "/ab", "/a-b"].map(|name| value(Scope::Shared, name, name));
        set(&store, subject, all.into()).expect("short values");
    }
    let names = |wanted: &[Wanted], subjects: &[Subject]| -> Vec<String> {
        ask(&store, subjects, wanted).iter().map(|entry| entry.name.as_str().to_owned()).collect()
    };
    let want = |at: &str, depth| Wanted { scope: Scope::Shared, name: Some(name(at)), depth };
    assert_eq!(names(&[want("/A", Depth::Zero)], &[inbox]), ["/a"]);
    assert_eq!(names(&[want("/a", Depth::One)], &[inbox]), ["/a", "/a/b"]);
    assert_eq!(names(&[want("/a", Depth::Infinity)], &[inbox]), ["/a", "/a/b", "/a/b/c"]);
    assert_eq!(names(&[want("/a/b", Depth::Zero), want("/ab", Depth::Zero)], &[inbox]), ["/a/b", "/ab"]);
    assert_eq!(names(&[want("/a", Depth::One), want("/a", Depth::Zero)], &[inbox, other]).len(), 4, "each once");
    assert_eq!(names(&[], &[inbox]), [""; 0]);
    let subjects: Vec<Subject> =
        ask(&store, &[other, inbox, inbox], &[want("/ab", Depth::Zero)]).iter().map(|entry| entry.subject).collect();
    assert_eq!(subjects, [inbox, other], "ascending by subject");
    Verdict::Proved
}

/// So many entries and no more, in each scope; who has them all may still change and remove them.
///
/// The bug: the entries of a folder were counted together. Somebody with a talkative client filled up the shared folder
/// for everybody.
pub fn entries_are_bounded(rig: &dyn Rig) -> Verdict {
    let fixture = Fixture::new(rig);
    let store = fixture.here();
    if notes(&store).is_none() {
        return NONE;
    }
    let inbox = folder(&store, fixture.inbox);
    let ten = (0..10).map(|n| value(mine(), &format!("/n{n}"), "v")).collect();
    set(&store, inbox, ten).expect("ten are allowed");
    let over = set(&store, inbox, vec![value(mine(), "/one-more", "v")]);
    assert!(matches!(over, Err(MetadataError::TooMany)), "{over:?}");
    set(&store, inbox, vec![value(mine(), "/n3", "changed")]).expect("a change is no addition");
    set(&store, inbox, vec![value(mine(), "/one-more", "v"), gone(mine(), "/n4")]).expect("counted after all changes");
    set(&store, inbox, vec![value(Scope::Shared, "/comment", "v")]).expect("each scope counts for itself");
    assert_eq!(told(&store, inbox, mine()).len(), 10);
    Verdict::Proved
}

/// Entries follow a folder that is renamed and go with one that is deleted, also where the name stays; a change of them is
/// a change of the folder, and they are there after a crash.
///
/// The bug: a folder made anew under an old name came with the notes of the one before it.
pub fn entries_go_with_their_folder(rig: &dyn Rig) -> Verdict {
    let fixture = Fixture::new(rig);
    let store = fixture.here();
    if notes(&store).is_none() {
        return NONE;
    }
    let made = store.folder(None, "Made").id;
    let subject = folder(&store, made);
    let cursor = store.state().at;
    set(&store, subject, vec![value(Scope::Shared, "/comment", "v"), value(mine(), "/comment", "v")]).expect("short");
    assert_eq!(store.state().at, cursor.plus(1), "one change for the folder");
    assert_eq!(store.changes(cursor).len(), 1);
    set(&store, subject, vec![value(Scope::Shared, "/comment", "v"), gone(mine(), "/never")]).expect("short");
    assert_eq!(store.state().at, cursor.plus(1), "what stays as it is takes no number");
    store.op(Op::RenameFolder { folder: made, parent: None, name: "Renamed".into() });
    assert_eq!(told(&store, subject, Scope::Shared).len(), 1);
    store.folder(Some(made), "Below");
    store.op(Op::DeleteFolder { folder: made });
    assert_eq!(told(&store, subject, Scope::Shared), [], "a name has no entries");
    let again = folder(&store, store.folder(None, "Renamed").id);
    assert_eq!(told(&store, again, mine()), []);
    set(&store, again, vec![value(mine(), "/comment", "new")]).expect("short");
    set(&store, Subject::Server, vec![value(Scope::Shared, "/admin", "mailto:root@example.org")]).expect("short");
    let Some(reopened) = fixture.data.crash(store.store) else {
        return Verdict::Unproved("the rig can't kill the store");
    };
    let store = fixture.through(reopened);
    assert_eq!(told(&store, again, mine()), pairs(&[("/comment", "new")]));
    assert_eq!(told(&store, Subject::Server, Scope::Shared), pairs(&[("/admin", "mailto:root@example.org")]));
    Verdict::Proved
}
