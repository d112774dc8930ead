//! Flags: deltas, conditions, and the numbers they take.

use super::fixture::{Fixture, flag_set, uid, uids};
use super::{Rig, Verdict};
use crate::change::ChangeKind;
use crate::flags::{FlagChange, SystemFlags};
use crate::id::ModSeq;

const SEEN: SystemFlags = SystemFlags::SEEN;
const FLAGGED: SystemFlags = SystemFlags::FLAGGED;

/// Adding and removing leave the other flags as they are, whoever else changes them at the same time.
///
/// The bug: flags were read, changed and written back. Two clients at once, and one's star undid the other's \Seen.
pub fn changes_of_flags_are_deltas(rig: &dyn Rig) -> Verdict {
    let fixture = Fixture::new(rig);
    let store = fixture.here();
    store.fill(2);
    let (page, conflicts) = store.set_flags(uids([1, 9]), FlagChange::Add(flag_set(SEEN, &["a", "b"])), None);
    assert!(conflicts.is_empty());
    assert_eq!(page.rows().len(), 1, "a row for each message that is there");
    assert_eq!(page.flag_set(&page.rows()[0]), flag_set(SEEN, &["a", "b"]), "with the flags it has now");
    assert_eq!(page.rows()[0].change, store.state().at);
    store.set_flags(uids([1]), FlagChange::Remove(flag_set(FLAGGED, &["a"])), None);
    assert_eq!(store.flags(uid(1)), flag_set(SEEN, &["b"]));
    store.set_flags(uids([1]), FlagChange::Replace(flag_set(FLAGGED, &["c"])), None);
    assert_eq!(store.flags(uid(1)), flag_set(FLAGGED, &["c"]));
    assert!(store.flags(uid(2)).is_empty(), "the other message has none");
    let (page, _) = store.set_flags(uids([1]), FlagChange::Add(FLAGGED.into()), None);
    assert_eq!(page.rows().len(), 1, "a row even where nothing changed");
    assert_eq!(
        store.view(fixture.inbox).keywords.iter().map(|word| word.as_str().to_owned()).collect::<Vec<_>>(),
        ["c"]
    );
    std::thread::scope(|scope| {
        for writer in 0..6 {
            let fixture = &fixture;
            scope.spawn(move || {
                let store = fixture.here();
                let mine = flag_set(SystemFlags::empty(), &[&format!("writer{writer}")]);
                for _ in 0..5 {
                    store.set_flags(uids([2]), FlagChange::Add(mine.clone()), None);
                    store.set_flags(uids([2]), FlagChange::Remove(mine.clone()), None);
                }
                store.set_flags(uids([2]), FlagChange::Add(mine), None);
            });
        }
    });
    assert_eq!(store.flags(uid(2)).keywords().len(), 6, "one writer undid another's change");
    Verdict::Proved
}

/// Messages that changed after the condition are left alone and named; the others are changed.
///
/// The bug: a conditional STORE (RFC 7162 §3.1.3) that failed as a whole, or changed everything and only then said which
/// it should not have.
pub fn unchanged_since_leaves_conflicts(rig: &dyn Rig) -> Verdict {
    let fixture = Fixture::new(rig);
    let store = fixture.here();
    store.fill(3);
    let known = store.state().at;
    store.set_flags(uids([2]), FlagChange::Add(SEEN.into()), None);
    let (page, conflicts) = store.set_flags(uids(1..=9), FlagChange::Add(FLAGGED.into()), Some(known));
    assert_eq!(conflicts, uids([2]), "the one that changed since");
    assert_eq!(page.rows().len(), 3, "a row for each that was looked at");
    assert_eq!(store.flags(uid(2)), SEEN.into(), "it was left alone");
    assert_eq!(store.flags(uid(1)), FLAGGED.into());
    assert_eq!(store.flags(uid(3)), FLAGGED.into());
    let (_, conflicts) = store.set_flags(uids(1..=3), FlagChange::Add(FLAGGED.into()), Some(ModSeq::FIRST));
    assert_eq!(conflicts, uids(1..=3), "all have changed since the beginning");
    let newest = store.state().at;
    let (_, conflicts) = store.set_flags(uids(1..=3), FlagChange::Add(FLAGGED.into()), Some(newest));
    assert!(conflicts.is_empty(), "none has changed since now");
    let removed = store.remove(fixture.inbox, uids([1]), false);
    assert_eq!(removed, uids([1]));
    let (_, conflicts) = store.set_flags(uids([1]), FlagChange::Add(SEEN.into()), Some(ModSeq::FIRST));
    assert!(conflicts.is_empty(), "what is gone is no conflict");
    Verdict::Proved
}

/// Changes of `\Seen` and of everything else are numbered apart, and both are the MODSEQ.
///
/// The bug: reading a message changed its MAPI change number, and every other machine downloaded it again.
pub fn seen_is_told_apart(rig: &dyn Rig) -> Verdict {
    let fixture = Fixture::new(rig);
    let store = fixture.here();
    let place = store.fill(1)[0];
    let row = |store: &super::fixture::Handle<'_, '_>| store.rows(fixture.inbox)[0].0.clone();
    let made = row(&store);
    assert!(made.created == made.change && made.content_change == made.change, "{made:?}");
    assert_eq!(made.item, place.item);
    store.set_flags(uids([1]), FlagChange::Add(SEEN.into()), None);
    let read = row(&store);
    assert_eq!(read.content_change, made.content_change, "reading leaves the content's number");
    assert!(read.read_change == read.change && read.change > made.change, "{read:?}");
    let records = store.changes(made.change);
    assert!(records[0].kind.contains(ChangeKind::SEEN), "{records:?}");
    store.set_flags(uids([1]), FlagChange::Add(FLAGGED.into()), None);
    let flagged = row(&store);
    assert_eq!(flagged.read_change, read.read_change, "a star leaves the read state's number");
    assert!(flagged.content_change == flagged.change && flagged.change > read.change, "{flagged:?}");
    let records = store.changes(read.change);
    assert!(records[0].kind.contains(ChangeKind::FLAGS), "{records:?}");
    assert_eq!((flagged.created, flagged.item), (made.created, made.item), "it is the same message");
    Verdict::Proved
}

/// Keywords are one whatever their case, and keep a spelling that was given.
///
/// The bug: `$Forwarded` and `$forwarded` side by side; removing one left the arrow in the list.
pub fn keywords_ignore_case(rig: &dyn Rig) -> Verdict {
    let fixture = Fixture::new(rig);
    let store = fixture.here();
    store.fill(1);
    let none = SystemFlags::empty();
    store.set_flags(uids([1]), FlagChange::Add(flag_set(none, &["$Forwarded"])), None);
    let before = store.state().at;
    store.set_flags(uids([1]), FlagChange::Add(flag_set(none, &["$FORWARDED"])), None);
    assert_eq!(store.state().at, before, "it is set already");
    assert_eq!(store.flags(uid(1)).keywords()[0].as_str(), "$Forwarded", "the spelling first seen is kept");
    let long = "k".repeat(crate::flags::Keyword::MAX_LEN);
    store.set_flags(uids([1]), FlagChange::Add(flag_set(none, &[&long])), None);
    store.set_flags(uids([1]), FlagChange::Remove(flag_set(none, &["$forwarded"])), None);
    assert_eq!(store.flags(uid(1)).keywords()[0].as_str(), long);
    Verdict::Proved
}
