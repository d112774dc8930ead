//! Lists of rights: they belong to their folder, and nobody's change is lost.

use super::fixture::{Fixture, Handle, account};
use super::{Rig, Verdict};
use crate::acl::{Acl, AclChange, AclEntry, AclStore, Grantee, Rights, RightsChange};
use crate::batch::Op;
use crate::change::ChangeKind;
use crate::error::AclError;
use crate::id::{AccountId, FolderId};

const NONE: Verdict = Verdict::Unproved("the store keeps no lists of rights");

fn lists<'s>(store: &'s Handle<'_, '_>) -> Option<&'s dyn AclStore> {
    store.store.as_acl()
}

fn rights(letters: &str) -> Rights {
    Rights::parse(letters.as_bytes()).expect("letters of rights")
}

fn somebody(number: u64) -> Grantee {
    Grantee::Account(account(number))
}

fn entry(grantee: Grantee, negative: bool, letters: &str) -> AclEntry {
    AclEntry { grantee, negative, rights: rights(letters) }
}

fn change(store: &Handle<'_, '_>, folder: FolderId, change: AclChange) -> Acl {
    let acls = lists(store).expect("asked before");
    store.wait(acls.change_acl(store.fixture.account, folder, change)).expect("a list can be changed")
}

fn grant(store: &Handle<'_, '_>, folder: FolderId, grantee: Grantee, letters: &str) -> Acl {
    change(store, folder, AclChange::new(grantee, RightsChange::Replace(rights(letters))))
}

fn all(store: &Handle<'_, '_>) -> Vec<(FolderId, Acl)> {
    let acls = lists(store).expect("asked before");
    store.wait(acls.acls(store.fixture.account)).expect("the account is there")
}

fn shared_with(store: &Handle<'_, '_>, who: u64, after: Option<u64>, max: usize) -> Vec<AccountId> {
    let acls = lists(store).expect("asked before");
    store.wait(acls.shared_with(account(who), after.map(account), max)).expect("the store answers")
}

/// Each entry is changed by itself: set, added to, taken from and ended.
///
/// The bug: the whole list was read and written back. Of two people who granted something at the same moment, one had
/// granted nothing.
pub fn entries_are_changed_one_by_one(rig: &dyn Rig) -> Verdict {
    let fixture = Fixture::new(rig);
    let store = fixture.here();
    if lists(&store).is_none() {
        return NONE;
    }
    assert_eq!(all(&store), []);
    grant(&store, fixture.inbox, somebody(9), "lr");
    grant(&store, fixture.inbox, Grantee::Anyone, "l");
    let add = AclChange::new(somebody(9), RightsChange::Add(rights("si")));
    change(&store, fixture.inbox, add);
    let take = AclChange::new(somebody(9), RightsChange::Remove(rights("r")));
    change(&store, fixture.inbox, take);
    let negative = AclChange::new(somebody(9), RightsChange::Replace(rights("w"))).negative();
    let acl = change(&store, fixture.inbox, negative);
    let expected =
        [entry(Grantee::Anyone, false, "l"), entry(somebody(9), false, "lsi"), entry(somebody(9), true, "w")];
    assert_eq!(acl.entries, expected, "the answer is the list");
    assert_eq!(all(&store), [(fixture.inbox, acl)], "and so is what is read");
    grant(&store, fixture.inbox, somebody(9), "");
    let acl = grant(&store, fixture.inbox, Grantee::Anyone, "");
    assert_eq!(acl.entries, [entry(somebody(9), true, "w")], "an entry without rights is none");
    std::thread::scope(|scope| {
        for number in 20..28 {
            let fixture = &fixture;
            scope.spawn(move || grant(&fixture.here(), fixture.inbox, somebody(number), "lr"));
        }
    });
    assert_eq!(all(&store)[0].1.entries.len(), 9, "nobody's change is lost");
    let nowhere = FolderId::new(900).expect("a small number is a folder");
    let acls = lists(&store).expect("asked before");
    let missing = store.wait(acls.change_acl(
        fixture.account,
        nowhere,
        AclChange::new(somebody(9), RightsChange::Add(rights("l"))),
    ));
    assert!(matches!(missing, Err(AclError::NotFound)));
    assert!(matches!(store.wait(acls.acls(account(77))), Err(AclError::NotFound)));
    Verdict::Proved
}

/// A list is a folder's: copied from its parent when it is made, kept when it is renamed, gone when it is deleted, also
/// where the name stays.
///
/// The bug: lists were kept by name. A folder that was deleted and made again was open to everybody the old one had been
/// shared with.
pub fn lists_go_with_their_folders(rig: &dyn Rig) -> Verdict {
    let fixture = Fixture::new(rig);
    let store = fixture.here();
    if lists(&store).is_none() {
        return NONE;
    }
    let top = store.folder(None, "Top").id;
    let shared = grant(&store, top, somebody(9), "lrk");
    let below = store.folder(Some(top), "Below").id;
    assert_eq!(all(&store), [(top, shared.clone()), (below, shared.clone())], "a new folder has its parent's list");
    grant(&store, below, somebody(9), "l");
    assert_eq!(all(&store)[0], (top, shared.clone()), "a copy: the parent's stays");
    store.op(Op::RenameFolder { folder: below, parent: None, name: "Elsewhere".into() });
    assert_eq!(all(&store).len(), 2, "a renamed folder keeps its list");
    let deeper = store.folder(Some(top), "Deeper").id;
    store.op(Op::DeleteFolder { folder: top });
    let left: Vec<FolderId> = all(&store).into_iter().map(|(folder, _)| folder).collect();
    assert_eq!(left, [below, deeper], "a name has no list");
    store.folder(None, "Top");
    assert_eq!(all(&store).len(), 2, "made again it begins without");
    store.op(Op::DeleteFolder { folder: below });
    store.folder(None, "Elsewhere");
    assert_eq!(all(&store).len(), 1);
    let batch = vec![
        Op::CreateFolder { parent: Some(deeper), name: "Undone".into(), role: None },
        Op::DeleteFolder { folder: fixture.inbox },
    ];
    assert!(store.try_ops(batch).is_err(), "the inbox can't be deleted");
    assert_eq!(all(&store).len(), 1, "what was not made has no list");
    Verdict::Proved
}

/// Who was granted something finds the accounts where, page by page, and nobody else does.
///
/// The bug: the list of shared mailboxes was made by asking every account of the house. With 20,000 of them LIST took
/// minutes.
pub fn shares_are_found(rig: &dyn Rig) -> Verdict {
    let fixture = Fixture::new(rig);
    let store = fixture.here();
    if lists(&store).is_none() {
        return NONE;
    }
    let acls = lists(&store).expect("asked before");
    let mut inboxes = Vec::new();
    for number in 2..=4 {
        store.wait(store.store.provision(account(number), &[])).expect("an account can be made");
        let folders = store.wait(store.store.folders(account(number))).expect("it is there");
        inboxes.push((account(number), folders.inbox().expect("every account has an inbox").id));
    }
    let give = |(whose, folder): (AccountId, FolderId), change| {
        store.wait(acls.change_acl(whose, folder, change)).expect("a list can be changed");
    };
    let some = RightsChange::Replace(rights("lr"));
    give(inboxes[0], AclChange::new(somebody(9), some));
    give(inboxes[1], AclChange::new(Grantee::Anyone, some));
    give(inboxes[2], AclChange::new(somebody(9), some).negative());
    grant(&store, fixture.inbox, somebody(9), "l");
    assert_eq!(shared_with(&store, 9, None, 10), [1, 2, 3].map(account), "taken rights share nothing");
    assert_eq!(shared_with(&store, 9, None, 2), [1, 2].map(account));
    assert_eq!(shared_with(&store, 9, Some(2), 2), [account(3)]);
    assert_eq!(shared_with(&store, 8, None, 10), [account(3)], "anyone is everybody");
    grant(&store, fixture.inbox, somebody(9), "");
    assert_eq!(shared_with(&store, 9, None, 10), [2, 3].map(account));
    Verdict::Proved
}

/// A list that became another gives its folder a change, one that stays gives none; both are there after a crash.
///
/// The bug: rights were written beside the mailbox's log. Other sessions went on with what they had cached until they were
/// restarted.
pub fn changes_of_lists_are_told_and_survive(rig: &dyn Rig) -> Verdict {
    let fixture = Fixture::new(rig);
    let store = fixture.here();
    if lists(&store).is_none() {
        return NONE;
    }
    let cursor = store.state().at;
    grant(&store, fixture.inbox, somebody(9), "lr");
    let records = store.changes(cursor);
    let told = |record: &crate::change::ChangeRecord| {
        record.folder == fixture.inbox && record.item.is_none() && record.kind.contains(ChangeKind::ATTRIBUTES)
    };
    assert!(records.len() == 1 && told(&records[0]), "one change of the folder itself: {records:?}");
    assert_eq!(records[0].change, cursor.plus(1));
    assert_eq!(store.by_id(fixture.inbox).highest_modseq, store.view(fixture.inbox).folder.highest_modseq);
    let cursor = store.state().at;
    grant(&store, fixture.inbox, somebody(9), "rl");
    assert_eq!(store.state().at, cursor, "what stays as it is takes no number");
    let before = all(&store);
    let Some(reopened) = fixture.data.crash(store.store) else {
        return Verdict::Unproved("the rig can't kill the store");
    };
    assert_eq!(all(&fixture.through(reopened)), before);
    Verdict::Proved
}
