use std::sync::Arc;

use super::*;
use crate::acl::{AclChange, Grantee, RightsChange};
use crate::batch::{AddItem, Content, Op, OpOutcome};
use crate::error::{MetadataError, QuotaError};
use crate::flags::SystemFlags;
use crate::flags::{FlagChange, Keyword};
use crate::id::BatchId;
use crate::item::Projection;
use crate::metadata::{Depth, EntryChange, EntryName, MetadataLimits, Scope, Subject, Wanted};
use crate::quota::QuotaLimits;
use crate::testkit::block_on;
use crate::testkit::environment::START;
use crate::testkit::memory::MemStore;

const OWNER: u64 = 1;
const VIEWER: u64 = 2;

fn account(number: u64) -> AccountId {
    AccountId::new(number).unwrap()
}

fn letters(letters: &str) -> Rights {
    Rights::parse(letters.as_bytes()).unwrap()
}

/// The owner has `Shared` with a message in it, and `Private` beside it; both are looked at by the viewer.
struct House {
    store: Arc<MemStore>,
    guard: Guard<Arc<MemStore>>,
    shared: FolderId,
    private: FolderId,
    batches: std::cell::Cell<u8>,
}

impl House {
    fn new(rights: &str) -> House {
        let store = Arc::new(MemStore::new());
        for number in [OWNER, VIEWER] {
            block_on(store.provision(account(number), &[])).unwrap();
        }
        let guard = Guard::new(store.clone(), account(VIEWER));
        let nothing = FolderId::new(1).unwrap();
        let mut house = House { store, guard, shared: nothing, private: nothing, batches: 0.into() };
        house.shared = house.folder("Shared");
        house.private = house.folder("Private");
        house.grant(house.shared, rights);
        house.add(house.shared);
        house.add(house.private);
        house
    }

    fn grant(&self, folder: FolderId, rights: &str) {
        let change = AclChange::new(Grantee::Account(account(VIEWER)), RightsChange::Replace(letters(rights)));
        block_on(self.store.change_acl(account(OWNER), folder, change)).unwrap();
    }

    fn batch(&self, of: u64, op: Op) -> Batch {
        self.batches.set(self.batches.get() + 1);
        Batch::new(BatchId([self.batches.get(); 16]), account(of), vec![op])
    }

    fn folder(&self, name: &str) -> FolderId {
        let op = Op::CreateFolder { parent: None, name: name.into(), role: None };
        match block_on(self.store.commit(self.batch(OWNER, op))).unwrap().accounts.remove(0).outcomes.remove(0) {
            OpOutcome::Folder(folder) => folder.id,
            other => panic!("{other:?}"),
        }
    }

    fn adding(&self, folder: FolderId) -> Op {
        let content = block_on(async {
            let mut upload = self.store.upload(UploadOptions::new(1000)).await.unwrap();
            upload.write(Bytes::from_static(b"Subject: x\r\n\r\nx\r\n")).await.unwrap();
            Content::Staged(upload.finish().await.unwrap())
        });
        let mut flags = FlagSet::new();
        flags.system = SystemFlags::SEEN | SystemFlags::DELETED | SystemFlags::FLAGGED;
        flags.insert(Keyword::new("$Work").unwrap());
        Op::Add(AddItem { folder, content, flags, internal_date: START.at_offset(0) })
    }

    fn add(&self, folder: FolderId) {
        block_on(self.store.commit(self.batch(OWNER, self.adding(folder)))).unwrap();
    }

    fn does(&self, op: Op) -> Result<OpOutcome, OpError> {
        match block_on(self.guard.commit(self.batch(OWNER, op))) {
            Ok(mut committed) => Ok(committed.accounts.remove(0).outcomes.remove(0)),
            Err(CommitError::Operation { account: 0, at: 0, error }) => Err(error),
            Err(other) => panic!("{other:?}"),
        }
    }

    fn flags(&self, folder: FolderId, uid: u32) -> String {
        let all = ItemsOptions::new(Projection::empty());
        let page = block_on(self.store.items(account(OWNER), folder, &UidSet::all(), all)).unwrap();
        let row = page.rows().iter().find(|row| row.uid.value() == uid).expect("it is there");
        let flags = page.flag_set(row);
        let words: Vec<&str> = flags.keywords().iter().map(Keyword::as_str).collect();
        format!("{:?} {words:?}", flags.system)
    }
}

fn one() -> UidSet {
    [Uid::MIN].into_iter().collect()
}

/// Every question about a folder, answered in a way that can be compared.
fn answers(house: &House, folder: FolderId) -> Vec<String> {
    let (guard, owner) = (&house.guard, account(OWNER));
    let mut answers = Vec::new();
    let mut note = |name: &str, answer: String| answers.push(format!("{name}: {answer}"));
    let list = block_on(guard.folders(owner));
    note("folders", format!("{:?}", list.map(|list| list.by_id(folder).cloned())));
    note("view", format!("{:?}", block_on(guard.view(owner, folder, ViewOptions::default())).map(|_| ())));
    let items = block_on(guard.items(owner, folder, &UidSet::all(), ItemsOptions::default()));
    note("items", format!("{:?}", items.map(|_| ())));
    let since = ChangesOptions::since(ModSeq::FIRST);
    note("changes", format!("{:?}", block_on(guard.changes(owner, since.in_folder(folder)))));
    let all = block_on(guard.changes(owner, since)).map(|page| page.records);
    let about = |records: Vec<crate::change::ChangeRecord>| records.iter().any(|record| record.folder == folder);
    note("all changes", format!("{:?}", all.map(about)));
    let uid_validity = crate::id::UidValidity::MIN;
    let other = house.shared;
    for (name, op) in [
        ("add", house.adding(folder)),
        ("copy from", Op::Copy { from: folder, uids: one(), to: other }),
        ("copy to", Op::Copy { from: other, uids: one(), to: folder }),
        ("move from", Op::Move { from: folder, uids: one(), to: other }),
        ("move to", Op::Move { from: other, uids: one(), to: folder }),
        ("move all from", Op::MoveAll { from: folder, to: other }),
        ("remove", Op::Remove { folder, uids: one(), only_deleted: true }),
        ("remove any", Op::Remove { folder, uids: one(), only_deleted: false }),
        (
            "flags",
            Op::SetFlags {
                folder,
                uids: one(),
                change: FlagChange::Add(SystemFlags::SEEN.into()),
                unchanged_since: None,
            },
        ),
        ("create", Op::CreateFolder { parent: Some(folder), name: "new".into(), role: None }),
        ("create with a role", Op::CreateFolder { parent: Some(folder), name: "new".into(), role: Some(Role::Sent) }),
        ("rename", Op::RenameFolder { folder, parent: Some(other), name: "new".into() }),
        ("rename below", Op::RenameFolder { folder: other, parent: Some(folder), name: "new".into() }),
        ("rename to the top", Op::RenameFolder { folder, parent: None, name: "new".into() }),
        ("delete", Op::DeleteFolder { folder }),
        ("role", Op::SetRole { folder, role: Some(Role::Sent) }),
        ("assert", Op::AssertFolder { folder, uid_validity }),
    ] {
        note(name, format!("{:?}", house.does(op).err()));
    }
    let acls = block_on(AclStore::acls(guard, owner)).map(|acls| acls.iter().any(|(id, _)| *id == folder));
    note("acls", format!("{acls:?}"));
    let change = AclChange::new(Grantee::Anyone, RightsChange::Add(Rights::LOOKUP));
    note("change acl", format!("{:?}", block_on(guard.change_acl(owner, folder, change))));
    let deleted = block_on(guard.deleted_octets(owner)).map(|all| all.iter().any(|(id, _)| *id == folder));
    note("deleted", format!("{deleted:?}"));
    let subject = Subject::Folder(owner, folder);
    let wanted = Wanted { scope: Scope::Shared, name: None, depth: Depth::Infinity };
    note("entries", format!("{:?}", block_on(guard.entries(&[subject], &[wanted]))));
    note(
        "set entries",
        format!("{:?}", block_on(guard.set_entries(subject, vec![comment()], MetadataLimits::default()))),
    );
    answers
}

fn comment() -> EntryChange {
    let name = EntryName::new("/comment").unwrap();
    EntryChange { scope: Scope::Shared, name, value: Some(Bytes::from_static(b"x")) }
}

/// The oracle that Cyrus closed nine times over in one release: commands that told a mailbox one may not see from one that
/// is not there.
#[test]
fn what_may_not_be_looked_up_answers_as_what_is_not_there() {
    let house = House::new("lrswite");
    block_on(house.store.set_entries(
        Subject::Folder(account(OWNER), house.private),
        vec![comment()],
        MetadataLimits::default(),
    ))
    .unwrap();
    house.grant(house.private, "rswipkxtea");
    let hidden = answers(&house, house.private);
    let missing = answers(&house, FolderId::new(900).unwrap());
    assert_eq!(hidden, missing);
    // The other way round, so that the comparison is known to be able to fail.
    house.grant(house.private, "lrswipkxtea");
    assert_ne!(answers(&house, house.private), missing);
}

#[test]
fn an_account_that_shares_nothing_is_not_there() {
    let house = House::new("");
    let answers = |owner: u64| {
        let owner = account(owner);
        format!(
            "{:?} {:?} {:?} {:?} {:?}",
            block_on(house.guard.account(owner)).map(|_| ()),
            block_on(house.guard.folders(owner)).map(|_| ()),
            block_on(house.guard.changes(owner, ChangesOptions::since(ModSeq::FIRST))),
            block_on(QuotaStore::quota(&house.guard, owner)),
            block_on(AclStore::acls(&house.guard, owner)),
        )
    };
    assert_eq!(answers(OWNER), answers(900));
    assert!(answers(VIEWER).contains("Ok"));
}

#[test]
fn each_operation_needs_its_right() {
    let seen = || FlagChange::Add(SystemFlags::SEEN.into());
    let operations = |house: &House| -> Vec<(&str, &str, Op)> {
        let (folder, uids) = (house.shared, one());
        vec![
            ("i", "add", house.adding(folder)),
            ("ri", "copy", Op::Copy { from: folder, uids: uids.clone(), to: folder }),
            ("rtei", "move", Op::Move { from: folder, uids: uids.clone(), to: folder }),
            ("e", "expunge", Op::Remove { folder, uids: uids.clone(), only_deleted: true }),
            ("te", "remove", Op::Remove { folder, uids: uids.clone(), only_deleted: false }),
            ("rs", "flags", Op::SetFlags { folder, uids, change: seen(), unchanged_since: None }),
            ("k", "create", Op::CreateFolder { parent: Some(folder), name: "x".into(), role: None }),
            ("x", "delete", Op::DeleteFolder { folder }),
        ]
    };
    for at in 0..operations(&House::new("l")).len() {
        let house = House::new("l");
        let (needed, name, op) = operations(&house).remove(at);
        for missing in needed.chars() {
            let rights: String = "lrswipkxtea".chars().filter(|letter| *letter != missing).collect();
            house.grant(house.shared, &rights);
            assert_eq!(house.does(op.clone()).err(), Some(OpError::Denied), "{name} without {missing}");
        }
        house.grant(house.shared, &format!("l{needed}"));
        assert!(house.does(op).is_ok(), "{name} with {needed}");
    }
}

/// RFC 4314 §4: flags without their right are left out, and the command does not fail for it.
#[test]
fn flags_without_their_right_are_left_out() {
    let house = House::new("lri");
    let all = "SystemFlags(SEEN | FLAGGED | DELETED)";
    assert!(house.flags(house.shared, 1).contains("SEEN"), "{} as {all}", house.flags(house.shared, 1));
    house.does(house.adding(house.shared)).unwrap();
    assert_eq!(house.flags(house.shared, 2), "SystemFlags(0x0) []");
    house.grant(house.shared, "lrsi");
    let copied = house.does(Op::Copy { from: house.shared, uids: one(), to: house.shared }).unwrap();
    assert!(matches!(copied, OpOutcome::Transferred { ref from, ref to, .. } if from.len() == 1 && to.len() == 1));
    assert_eq!(house.flags(house.shared, 3), "SystemFlags(SEEN) []");
    let nothing = house.does(Op::Copy { from: house.shared, uids: UidSet::new(), to: house.shared }).unwrap();
    assert!(matches!(nothing, OpOutcome::Transferred { .. }));
    house.grant(house.shared, "lrwite");
    house.does(Op::Move { from: house.shared, uids: one(), to: house.shared }).unwrap();
    assert_eq!(house.flags(house.shared, 4), "SystemFlags(FLAGGED | DELETED) [\"$Work\"]");
    let store = |change| {
        let uids = [Uid::new(4).unwrap()].into_iter().collect();
        house.does(Op::SetFlags { folder: house.shared, uids, change, unchanged_since: None })
    };
    // Replacing what one may not touch leaves it as it is.
    store(FlagChange::Replace((SystemFlags::SEEN | SystemFlags::DRAFT).into())).unwrap();
    assert_eq!(house.flags(house.shared, 4), "SystemFlags(DRAFT) []");
    house.grant(house.shared, "lrs");
    let replaced = store(FlagChange::Replace(SystemFlags::SEEN.into())).unwrap();
    assert!(matches!(replaced, OpOutcome::FlagsSet { ref page, .. } if page.rows().len() == 1));
    assert_eq!(house.flags(house.shared, 4), "SystemFlags(SEEN | DRAFT) []");
    store(FlagChange::Remove(SystemFlags::all().into())).unwrap();
    assert_eq!(house.flags(house.shared, 4), "SystemFlags(DRAFT) []");
    assert_eq!(store(FlagChange::Add(SystemFlags::FLAGGED.into())).err(), Some(OpError::Denied));
}

#[test]
fn octets_are_read_where_their_row_was_shown() {
    let house = House::new("lr");
    let (guard, owner) = (&house.guard, account(OWNER));
    let email = |folder| {
        let page = block_on(house.store.items(owner, folder, &UidSet::all(), ItemsOptions::default())).unwrap();
        page.rows()[0].email
    };
    let read = |email| block_on(MailStore::read(guard, owner, email, 0, 100));
    assert!(matches!(read(email(house.shared)), Err(ReadError::NotFound)), "an id alone opens nothing");
    block_on(guard.items(owner, house.shared, &UidSet::all(), ItemsOptions::default())).unwrap();
    assert!(read(email(house.shared)).is_ok());
    assert!(matches!(read(email(house.private)), Err(ReadError::NotFound)));
    let adopted = Op::Add(AddItem {
        folder: house.shared,
        content: Content::Email(email(house.private)),
        flags: FlagSet::new(),
        internal_date: START.at_offset(0),
    });
    house.grant(house.shared, "lri");
    assert_eq!(house.does(adopted).err(), Some(OpError::NotFound), "nor does adding it somewhere one can read");
    house.grant(house.shared, "l");
    assert!(matches!(read(email(house.shared)), Err(ReadError::Denied)), "taken away");
}

#[test]
fn a_folder_below_a_hidden_one_hangs_from_a_bare_name() {
    let house = House::new("l");
    let op = Op::CreateFolder { parent: Some(house.private), name: "Below".into(), role: None };
    let below = match block_on(house.store.commit(house.batch(OWNER, op))).unwrap().accounts[0].outcomes[0].clone() {
        OpOutcome::Folder(folder) => folder.id,
        other => panic!("{other:?}"),
    };
    house.grant(below, "lr");
    let list = block_on(house.guard.folders(account(OWNER))).unwrap();
    let names: Vec<(&str, bool, u32)> =
        list.folders.iter().map(|folder| (folder.name.as_str(), folder.selectable, folder.counts.exists)).collect();
    assert_eq!(names, [("Shared", true, 0), ("Private", false, 0), ("Below", true, 0)], "counts are for readers");
}

#[test]
fn quotas_and_annotations_keep_to_themselves() {
    let house = House::new("lr");
    let (guard, owner) = (&house.guard, account(OWNER));
    assert!(matches!(block_on(QuotaStore::quota(guard, owner)), Err(QuotaError::Denied)));
    house.grant(house.shared, "lri");
    assert!(block_on(QuotaStore::quota(guard, owner)).is_ok());
    for whose in [OWNER, VIEWER] {
        let set = block_on(QuotaStore::set_quota(guard, account(whose), QuotaLimits::none()));
        assert!(matches!(set, Err(QuotaError::Denied)), "nobody sets their own limits");
    }
    let root = Guard::new(house.store.clone(), account(VIEWER)).administrator();
    assert!(block_on(QuotaStore::set_quota(&root, owner, QuotaLimits::none())).is_ok());
    let set = |guard: &Guard<Arc<MemStore>>, subject, scope| {
        let change = EntryChange { scope, ..comment() };
        block_on(guard.set_entries(subject, vec![change], MetadataLimits::default()))
    };
    let shared = Subject::Folder(owner, house.shared);
    assert!(set(guard, shared, Scope::Shared).is_ok());
    assert!(set(guard, shared, Scope::Private(account(VIEWER))).is_ok());
    assert!(matches!(set(guard, shared, Scope::Private(owner)), Err(MetadataError::Denied)));
    assert!(matches!(set(guard, Subject::Server, Scope::Shared), Err(MetadataError::Denied)));
    assert!(set(guard, Subject::Server, Scope::Private(account(VIEWER))).is_ok());
    assert!(set(&root, Subject::Server, Scope::Shared).is_ok());
    let wanted = |scope| Wanted { scope, name: None, depth: Depth::Infinity };
    let all = [wanted(Scope::Shared), wanted(Scope::Private(owner)), wanted(Scope::Private(account(VIEWER)))];
    assert_eq!(block_on(guard.entries(&[shared, Subject::Server], &all)).unwrap().len(), 4);
    house.grant(house.shared, "lk");
    assert_eq!(block_on(guard.entries(&[shared], &all)).unwrap(), [], "RFC 5464 section 3.3");
    assert!(matches!(set(guard, shared, Scope::Shared), Err(MetadataError::Denied)));
}

#[test]
fn one_refused_operation_leaves_the_others_to_their_mode() {
    let house = House::new("lrs");
    let flag = |change| Op::SetFlags { folder: house.shared, uids: one(), change, unchanged_since: None };
    let ops = vec![
        flag(FlagChange::Replace(FlagSet::new())),
        Op::DeleteFolder { folder: house.shared },
        Op::DeleteFolder { folder: house.private },
        flag(FlagChange::Add(SystemFlags::SEEN.into())),
    ];
    let whole = Batch::new(BatchId([200; 16]), account(OWNER), ops);
    let each = Batch { id: BatchId([201; 16]), mode: crate::batch::Mode::PerOperation, ..whole.clone() };
    let refused = block_on(house.guard.commit(whole)).unwrap_err();
    assert!(matches!(refused, CommitError::Operation { account: 0, at: 1, error: OpError::Denied }), "{refused:?}");
    let outcomes = block_on(house.guard.commit(each)).unwrap().accounts.remove(0).outcomes;
    assert!(
        matches!(
            &outcomes[..],
            [
                OpOutcome::FlagsSet { .. },
                OpOutcome::Failed(OpError::Denied),
                OpOutcome::Failed(OpError::NotFound),
                OpOutcome::FlagsSet { .. },
            ]
        ),
        "{outcomes:?}"
    );
}
