//! The store as a mailbox: what each operation does, what questions answer, what is kept and for how long.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::cast_possible_truncation)]

mod common;

use std::time::Duration;

use bytes::Bytes;
use common::*;
use mailstore_trait::batch::{Batch, Content, Mode, Op, OpOutcome};
use mailstore_trait::change::{ChangeKind, ChangesOptions};
use mailstore_trait::error::{CommitError, LeaseError, OpError, ReadError, UploadError};
use mailstore_trait::flags::{FlagChange, FlagSet, Keyword, SystemFlags};
use mailstore_trait::folder::Role;
use mailstore_trait::id::{BatchId, EmailId};
use mailstore_trait::item::{ItemsOptions, Projection};
use mailstore_trait::leases::LeaseScope;
use mailstore_trait::store::{MailStore, UploadOptions, ViewOptions};
use mailstore_trait::uid_set::UidSet;

fn keyword(word: &str) -> FlagSet {
    [Keyword::new(word).unwrap()].into_iter().collect()
}

fn flags(folder: mailstore_trait::id::FolderId, uids: UidSet, change: FlagChange) -> Op {
    Op::SetFlags { folder, uids, change, unchanged_since: None }
}

#[tokio::test]
async fn a_message_comes_back_as_it_went_in() {
    let mail = mail_with(|config| config.inline_up_to = 1000).await;
    let small = b"Subject: small\r\n\r\nbody\r\n".to_vec();
    let large: Vec<u8> = (0..1_000_003_u32).flat_map(|n| n.to_le_bytes()).take(1_000_003).collect();
    for octets in [&small, &large, &vec![b'x'; 1000], &vec![b'x'; 1001], &Vec::new()] {
        let added = deliver(&mail.store, mail.inbox, octets).await;
        for piece in [1 << 20, 65_536, 700_001] {
            assert_eq!(&read_all(&mail.store, ME, added.email, piece).await, octets);
        }
        let options = ItemsOptions::new(Projection::DATES | Projection::SKELETON | Projection::CONTENT);
        let page = mail.store.items(account(ME), mail.inbox, &uids([added.uid.value()]), options).await.unwrap();
        let row = &page.rows()[0];
        assert_eq!((row.item, row.uid, row.email, row.size), (added.item, added.uid, added.email, octets.len() as u64));
        assert_eq!(row.internal_date.offset_minutes, 60);
        assert_eq!(row.save_date, mail.clock.now());
        let inline = !octets.is_empty() && octets.len() <= 16_384;
        assert_eq!(page.content(row).as_deref(), inline.then_some(&octets[..]));
        assert!(page.skeleton(row).is_some());
    }
    let state = mail.store.account(account(ME)).await.unwrap();
    assert_eq!(state.messages, 5);
    assert_eq!(state.octets, (small.len() + large.len() + 2001) as u64);
    assert_sound(&mail.store).await;
}

#[tokio::test]
async fn a_prefix_lies_before_shared_octets_and_in_the_skeleton() {
    let mail = mail_with(|config| config.inline_up_to = 100).await;
    mail.store.provision(account(2), &[]).await.unwrap();
    let other = inbox(&mail.store, 2).await.id;
    for body in [20, 5000] {
        let octets = [b"Subject: shared\r\n\r\n".to_vec(), vec![b'y'; body]].concat();
        let staged = stage(&mail.store, &octets).await;
        let prefix = Bytes::from_static(b"Return-Path: <a@b>\r\n");
        let op =
            |folder, prefix: &Bytes| add(folder, Content::Prefixed(prefix.clone(), staged.clone()), FlagSet::new());
        let first = commit(&mail.store, ME, vec![op(mail.inbox, &prefix)]).await;
        let second = commit(&mail.store, 2, vec![op(other, &Bytes::from_static(b"X: other\r\n"))]).await;
        let (first, second) = (added(&first.accounts[0].outcomes[0]), added(&second.accounts[0].outcomes[0]));
        assert_ne!(first.email, second.email);
        assert_eq!(read_all(&mail.store, ME, first.email, 7000).await, [&prefix[..], &octets].concat());
        assert_eq!(read_all(&mail.store, 2, second.email, 7).await, [&b"X: other\r\n"[..], &octets].concat());
        // Another account's message is nobody's.
        let foreign = MailStore::read(&mail.store, account(2), first.email, 0, 10).await;
        assert!(matches!(foreign, Err(ReadError::NotFound)));
        let options = ItemsOptions::new(Projection::SKELETON);
        let page = mail.store.items(account(ME), mail.inbox, &uids([first.uid.value()]), options).await.unwrap();
        let skeleton = mailstore_trait::mime::Skeleton::from_bytes(page.skeleton(&page.rows()[0]).unwrap()).unwrap();
        assert_eq!(skeleton.view().size(), (prefix.len() + octets.len()) as u64);
        assert_eq!(skeleton.root().envelope().unwrap().subject, Some(&b"shared"[..]));
    }
    assert_sound(&mail.store).await;
}

#[tokio::test]
async fn copies_share_an_email_and_moves_leave_tombstones() {
    let mail = mail().await;
    let OpOutcome::Folder(work) =
        one(&mail.store, Op::CreateFolder { parent: None, name: "work".into(), role: None }).await
    else {
        panic!()
    };
    let mut emails = Vec::new();
    for n in 0..4 {
        emails.push(deliver(&mail.store, mail.inbox, format!("Subject: {n}\r\n\r\n").as_bytes()).await.email);
    }
    one(&mail.store, flags(mail.inbox, uids([2]), FlagChange::Add(keyword("work")))).await;
    let before = mail.store.account(account(ME)).await.unwrap();
    let copied = one(&mail.store, Op::Copy { from: mail.inbox, uids: uids([2, 4, 9]), to: work.id }).await;
    let OpOutcome::Transferred { from, to, uid_validity } = copied else { panic!("{copied:?}") };
    assert_eq!((from, to, uid_validity), (uids([2, 4]), uids([1, 2]), work.uid_validity));
    // Into the same folder it ends, and only what was there is copied.
    let copied = one(&mail.store, Op::Copy { from: work.id, uids: UidSet::all(), to: work.id }).await;
    let OpOutcome::Transferred { from, to, .. } = copied else { panic!("{copied:?}") };
    assert_eq!((from, to), (uids([1, 2]), uids([3, 4])));
    let moved = one(&mail.store, Op::Move { from: mail.inbox, uids: uids([1, 2]), to: work.id }).await;
    let OpOutcome::Transferred { from, to, .. } = moved else { panic!("{moved:?}") };
    assert_eq!((from, to), (uids([1, 2]), uids([5, 6])));
    let page = mail.store.items(account(ME), work.id, &UidSet::all(), ItemsOptions::default()).await.unwrap();
    let got: Vec<_> = page.rows().iter().map(|row| row.email).collect();
    assert_eq!(got, [emails[1], emails[3], emails[1], emails[3], emails[0], emails[1]]);
    assert_eq!(page.flag_set(&page.rows()[5]), keyword("work"));
    let view = mail.store.view(account(ME), work.id, ViewOptions::default()).await.unwrap();
    assert_eq!((view.folder.counts.exists, view.folder.uid_next, view.keywords.len()), (6, uid(7), 1));
    let inbox = mail.store.view(account(ME), mail.inbox, ViewOptions::default()).await.unwrap();
    assert_eq!((inbox.folder.counts.exists, inbox.keywords.len()), (2, 0));

    let changes = mail.store.changes(account(ME), ChangesOptions::since(before.at)).await.unwrap();
    let told: Vec<_> =
        changes.records.iter().map(|record| (record.kind, record.item.map(|(_, uid)| uid.value()))).collect();
    let (new, gone) = (ChangeKind::ADDED, ChangeKind::REMOVED);
    let expected = [(new, 1), (new, 2), (new, 3), (new, 4), (new, 5), (new, 6), (gone, 1), (gone, 2)];
    assert_eq!(told, expected.map(|(kind, uid)| (kind, Some(uid))));
    assert!(changes.records.windows(2).all(|pair| pair[0].change < pair[1].change));
    assert_sound(&mail.store).await;
}

#[tokio::test]
async fn flags_are_deltas_counted_and_told() {
    let mail = mail().await;
    for _ in 0..5 {
        deliver(&mail.store, mail.inbox, b"\r\n").await;
    }
    let start = mail.store.account(account(ME)).await.unwrap().at;
    let set = one(&mail.store, flags(mail.inbox, uids([1, 2, 7]), FlagChange::Add(SystemFlags::SEEN.into()))).await;
    let OpOutcome::FlagsSet { page, conflicts } = set else { panic!("{set:?}") };
    assert!(conflicts.is_empty());
    assert_eq!(page.rows().iter().map(|row| row.uid.value()).collect::<Vec<_>>(), [1, 2]);
    assert_eq!(page.rows()[1].change, start.plus(2));
    assert_eq!(page.rows()[1].read_change, start.plus(2));
    assert!(page.rows()[1].content_change < start);
    // Nothing changes, nothing is numbered.
    let again = one(&mail.store, flags(mail.inbox, uids([1, 2]), FlagChange::Add(SystemFlags::SEEN.into()))).await;
    let OpOutcome::FlagsSet { page, .. } = again else { panic!("{again:?}") };
    assert_eq!(page.rows()[1].change, start.plus(2));
    assert_eq!(mail.store.account(account(ME)).await.unwrap().at, start.plus(2));

    let conditional = Op::SetFlags {
        folder: mail.inbox,
        uids: UidSet::all(),
        change: FlagChange::Replace(keyword("Later")),
        unchanged_since: Some(start.plus(1)),
    };
    let OpOutcome::FlagsSet { page, conflicts } = one(&mail.store, conditional).await else { panic!() };
    assert_eq!(conflicts, uids([2]));
    assert_eq!(page.rows().len(), 5);
    assert_eq!(page.flag_set(&page.rows()[0]), keyword("later"));
    let view = mail.store.view(account(ME), mail.inbox, ViewOptions::default()).await.unwrap();
    assert_eq!((view.folder.counts.unseen, view.first_unseen), (4, Some(uid(1))));
    assert_eq!(view.keywords[0].as_str(), "Later");
    assert_eq!(view.folder.highest_modseq, start.plus(6));

    let since = ChangesOptions::since(start).in_folder(mail.inbox);
    let changes = mail.store.changes(account(ME), since).await.unwrap();
    let kinds: Vec<_> = changes.records.iter().map(|record| (record.item.unwrap().1.value(), record.kind)).collect();
    assert_eq!(kinds[0], (2, ChangeKind::SEEN));
    assert_eq!(kinds[1], (1, ChangeKind::SEEN | ChangeKind::FLAGS));
    assert_eq!(kinds[4], (5, ChangeKind::FLAGS));
    let page = mail.store.changes(account(ME), since.at_most(2)).await.unwrap();
    assert!(page.more && page.upto == page.records[1].change);
    let rest = mail.store.changes(account(ME), ChangesOptions::since(page.upto).in_folder(mail.inbox)).await.unwrap();
    assert_eq!(rest.records, changes.records[2..]);
    assert!(!rest.more && rest.upto == start.plus(6));

    one(&mail.store, flags(mail.inbox, UidSet::all(), FlagChange::Remove(keyword("LATER")))).await;
    let view = mail.store.view(account(ME), mail.inbox, ViewOptions::default()).await.unwrap();
    assert!(view.keywords.is_empty());
    assert_sound(&mail.store).await;
}

#[tokio::test]
async fn removal_needs_deleted_only_when_asked_and_reading_outlives_it() {
    let mail = mail().await;
    let first = deliver(&mail.store, mail.inbox, b"one\r\n").await;
    deliver_flagged(&mail.store, mail.inbox, b"two\r\n", SystemFlags::DELETED | SystemFlags::SEEN).await;
    deliver(&mail.store, mail.inbox, b"three\r\n").await;
    let expunge = |only_deleted, uids| Op::Remove { folder: mail.inbox, uids, only_deleted };
    let OpOutcome::Removed { uids: removed } = one(&mail.store, expunge(true, UidSet::all())).await else { panic!() };
    assert_eq!(removed, uids([2]));
    let OpOutcome::Removed { uids: removed } = one(&mail.store, expunge(false, uids([1, 2]))).await else { panic!() };
    assert_eq!(removed, uids([1]));
    let view = mail.store.view(account(ME), mail.inbox, ViewOptions::default()).await.unwrap();
    assert_eq!(view.uids.iter().collect::<Vec<_>>(), [uid(3)]);
    assert_eq!(view.folder.uid_next, uid(4));

    mail.store.tidy().await.unwrap();
    assert_eq!(read_all(&mail.store, ME, first.email, 100).await, b"one\r\n");
    // It may even come back, and then its grace begins anew.
    let back = added(&one(&mail.store, add(mail.inbox, Content::Email(first.email), FlagSet::new())).await);
    assert_eq!(back.uid, uid(4));
    mail.clock.advance(1000);
    mail.store.tidy().await.unwrap();
    assert_eq!(read_all(&mail.store, ME, first.email, 100).await, b"one\r\n");
    one(&mail.store, expunge(false, uids([4]))).await;
    mail.store.tidy().await.unwrap();
    assert_eq!(read_all(&mail.store, ME, first.email, 100).await, b"one\r\n");
    mail.clock.advance(1000);
    mail.store.tidy().await.unwrap();
    let gone = MailStore::read(&mail.store, account(ME), first.email, 0, 10).await;
    assert!(matches!(gone, Err(ReadError::NotFound)));
    assert_sound(&mail.store).await;
}

#[tokio::test]
async fn folders_are_made_renamed_and_deleted() {
    let mail = mail().await;
    let create = |parent, name: &str| Op::CreateFolder { parent, name: name.into(), role: None };
    let folder = |outcome| match outcome {
        OpOutcome::Folder(folder) => folder,
        other => panic!("{other:?}"),
    };
    let a = folder(one(&mail.store, create(None, "a")).await);
    let b = folder(one(&mail.store, create(Some(a.id), "b")).await);
    let trash = Op::CreateFolder { parent: None, name: "Müll".into(), role: Some(Role::Trash) };
    let trash = folder(one(&mail.store, trash).await);
    assert!(a.uid_validity < b.uid_validity && b.uid_validity < trash.uid_validity);
    let refused = [
        (create(None, "a"), OpError::Exists),
        (create(None, "inBOX"), OpError::Exists),
        (create(None, ""), OpError::IllegalName),
        (create(None, "x\ny"), OpError::IllegalName),
        (create(None, &"x".repeat(256)), OpError::IllegalName),
        (create(mailstore_trait::id::FolderId::new(99), "x"), OpError::NotFound),
        (Op::CreateFolder { parent: None, name: "t".into(), role: Some(Role::Trash) }, OpError::RoleTaken),
        (Op::SetRole { folder: a.id, role: Some(Role::Trash) }, OpError::RoleTaken),
        (Op::SetRole { folder: mail.inbox, role: None }, OpError::Inbox),
        (Op::RenameFolder { folder: mail.inbox, parent: None, name: "x".into() }, OpError::Inbox),
        (Op::RenameFolder { folder: a.id, parent: Some(b.id), name: "x".into() }, OpError::Cycle),
        (Op::RenameFolder { folder: a.id, parent: Some(a.id), name: "x".into() }, OpError::Cycle),
        (Op::RenameFolder { folder: b.id, parent: None, name: "a".into() }, OpError::Exists),
        (Op::DeleteFolder { folder: mail.inbox }, OpError::Inbox),
        (Op::RenameFolder { folder: b.id, parent: Some(a.id), name: "b".into() }, OpError::Exists),
        (Op::AssertFolder { folder: a.id, uid_validity: b.uid_validity }, OpError::Conflict),
        (Op::Subscribe { path: vec![], subscribed: true }, OpError::IllegalName),
    ];
    let at = mail.store.account(account(ME)).await.unwrap().at;
    for (op, expected) in refused {
        let batch = Batch::new(batch_id(), account(ME), vec![op.clone()]);
        match mail.store.commit(batch).await {
            Err(CommitError::Operation { account: 0, at: 0, error }) => assert_eq!(error, expected, "{op:?}"),
            other => panic!("{op:?}: {other:?}"),
        }
    }
    assert_eq!(mail.store.account(account(ME)).await.unwrap().at, at);

    deliver(&mail.store, a.id, b"x\r\n").await;
    one(&mail.store, Op::Subscribe { path: vec!["a".into(), "b".into()], subscribed: true }).await;
    one(&mail.store, Op::Subscribe { path: vec!["iNbOx".into()], subscribed: true }).await;
    let since = mail.store.account(account(ME)).await.unwrap().at;
    // With children it stays as a name, and comes back as a new generation of which nothing before is known.
    one(&mail.store, Op::DeleteFolder { folder: a.id }).await;
    assert!(matches!(mail.store.view(account(ME), a.id, ViewOptions::default()).await, Err(ReadError::NotFound)));
    let items = mail.store.items(account(ME), a.id, &UidSet::all(), ItemsOptions::default()).await;
    assert!(matches!(items, Err(ReadError::NotFound)));
    let told = mail.store.changes(account(ME), ChangesOptions::since(since)).await.unwrap().records;
    assert_eq!((told.len(), told[0].kind, told[0].item), (1, ChangeKind::REMOVED, None));
    assert_sound(&mail.store).await;
    let again = Batch::new(batch_id(), account(ME), vec![Op::DeleteFolder { folder: a.id }]);
    let again = mail.store.commit(again).await;
    assert!(matches!(again, Err(CommitError::Operation { error: OpError::HasChildren, .. })));
    let reborn = folder(one(&mail.store, create(None, "a")).await);
    assert_eq!(reborn.id, a.id);
    assert!(reborn.uid_validity > trash.uid_validity && reborn.counts.exists == 0);
    let gap = mail.store.changes(account(ME), ChangesOptions::since(since).in_folder(a.id)).await;
    assert!(matches!(gap, Err(ReadError::Gap { floor }) if floor == reborn.floor));
    // UIDs go on: a client that took no note of the UIDVALIDITY takes no new message for an old one.
    assert_eq!(deliver(&mail.store, a.id, b"y\r\n").await.uid, uid(2));
    let moved =
        folder(one(&mail.store, Op::RenameFolder { folder: b.id, parent: Some(trash.id), name: "c".into() }).await);
    assert_eq!((moved.parent, moved.uid_validity), (Some(trash.id), b.uid_validity));
    one(&mail.store, Op::DeleteFolder { folder: a.id }).await;
    let list = mail.store.folders(account(ME)).await.unwrap();
    assert!(list.by_id(a.id).is_none());
    assert_eq!(list.path(list.by_id(b.id).unwrap()), ["Müll", "c"]);
    // A subscription is a name, not a folder.
    assert_eq!(list.subscriptions, [vec!["INBOX".to_owned()], vec!["a".to_owned(), "b".to_owned()]]);
    let changes = mail.store.changes(account(ME), ChangesOptions::since(since)).await.unwrap();
    let told: Vec<_> =
        changes.records.iter().map(|record| (record.folder, record.kind, record.item.is_some())).collect();
    assert_eq!(told, [(b.id, ChangeKind::NAME, false), (a.id, ChangeKind::REMOVED, false)]);
    let told = mail.store.changes(account(ME), ChangesOptions::since(since).in_folder(a.id)).await.unwrap();
    assert_eq!(told.records, changes.records[1..]);
    mail.store.tidy().await.unwrap();
    assert_eq!(mail.store.account(account(ME)).await.unwrap().messages, 0);
    assert_sound(&mail.store).await;
}

#[tokio::test]
async fn a_batch_is_all_or_nothing_unless_it_says_otherwise() {
    let mail = mail().await;
    let staged = stage(&mail.store, b"x\r\n").await;
    let good = || add(mail.inbox, Content::Staged(staged.clone()), FlagSet::new());
    let bad = || Op::DeleteFolder { folder: mail.inbox };
    let before = mail.store.account(account(ME)).await.unwrap();
    let failed = mail.store.commit(Batch::new(batch_id(), account(ME), vec![good(), good(), bad()])).await;
    assert!(matches!(failed, Err(CommitError::Operation { account: 0, at: 2, error: OpError::Inbox })));
    assert_eq!(mail.store.account(account(ME)).await.unwrap(), before);

    let mut batch = Batch::new(batch_id(), account(ME), vec![good(), bad(), good()]);
    batch.mode = Mode::PerOperation;
    let done = mail.store.commit(batch).await.unwrap();
    let outcomes = &done.accounts[0].outcomes;
    assert!(matches!(outcomes[1], OpOutcome::Failed(OpError::Inbox)));
    assert_eq!((added(&outcomes[0]).uid, added(&outcomes[2]).uid), (uid(1), uid(2)));
    assert_eq!(done.accounts[0].upto, before.at.plus(2));

    let nobody = mail.store.commit(Batch::new(batch_id(), account(77), vec![good()])).await;
    assert!(matches!(nobody, Err(CommitError::Operation { error: OpError::NotFound, .. })));
    assert_sound(&mail.store).await;
}

#[tokio::test]
async fn a_repeated_batch_answers_its_first_result_for_seven_days() {
    let mail = mail().await;
    let id = BatchId([9; 16]);
    let staged = stage(&mail.store, b"x\r\n").await;
    let seen = flags(mail.inbox, UidSet::all(), FlagChange::Add(keyword("new")));
    let ops = vec![add(mail.inbox, Content::Staged(staged), FlagSet::new()), seen];
    let first = mail.store.commit(Batch::new(id, account(ME), ops.clone())).await.unwrap();
    one(&mail.store, Op::Remove { folder: mail.inbox, uids: UidSet::all(), only_deleted: false }).await;
    mail.clock.advance(6 * 24 * 3600);
    mail.store.tidy().await.unwrap();
    let again = mail.store.commit(Batch::new(id, account(ME), ops.clone())).await.unwrap();
    assert_eq!(format!("{first:?}"), format!("{again:?}"));
    assert_eq!(mail.store.account(account(ME)).await.unwrap().messages, 0);
    mail.clock.advance(2 * 24 * 3600);
    mail.store.tidy().await.unwrap();
    mail.store.commit(Batch::new(id, account(ME), ops)).await.unwrap();
    assert_eq!(mail.store.account(account(ME)).await.unwrap().messages, 1);
}

#[tokio::test]
async fn forgotten_removals_leave_a_gap_and_never_silence() {
    let mail = mail().await;
    let start = mail.store.account(account(ME)).await.unwrap().at;
    for _ in 0..3 {
        deliver(&mail.store, mail.inbox, b"x\r\n").await;
    }
    let remove = |n| Op::Remove { folder: mail.inbox, uids: uids([n]), only_deleted: false };
    let first = commit(&mail.store, ME, vec![remove(1)]).await.accounts[0].upto;
    mail.clock.advance(100);
    let second = commit(&mail.store, ME, vec![remove(2)]).await.accounts[0].upto;
    mail.store.forget_removals(account(ME), Duration::from_secs(50)).await.unwrap();
    for options in [ChangesOptions::since(start), ChangesOptions::since(start).in_folder(mail.inbox)] {
        match mail.store.changes(account(ME), options).await {
            Err(ReadError::Gap { floor }) => assert_eq!(floor, first),
            other => panic!("{other:?}"),
        }
        let mut since_first = options;
        since_first.since = first;
        let known = mail.store.changes(account(ME), since_first).await.unwrap();
        assert_eq!(known.records.last().unwrap().change, second);
    }
    let view = mail.store.view(account(ME), mail.inbox, ViewOptions::default()).await.unwrap();
    assert_eq!((view.folder.floor, view.folder.highest_modseq), (first, second));
    assert_sound(&mail.store).await;
}

#[tokio::test]
async fn recent_is_claimed_once() {
    let mail = mail().await;
    deliver(&mail.store, mail.inbox, b"x\r\n").await;
    let open = |claim| mail.store.view(account(ME), mail.inbox, ViewOptions::claiming_recent(claim));
    assert_eq!(open(false).await.unwrap().recent_from, Some(uid(1)), "looking claims nothing");
    assert_eq!(open(true).await.unwrap().recent_from, Some(uid(1)));
    assert_eq!(open(true).await.unwrap().recent_from, None);
    deliver(&mail.store, mail.inbox, b"x\r\n").await;
    deliver(&mail.store, mail.inbox, b"x\r\n").await;
    let (one, other) = tokio::join!(open(true), open(true));
    let claims: Vec<_> = [one.unwrap().recent_from, other.unwrap().recent_from].into_iter().flatten().collect();
    assert_eq!(claims, [uid(2)]);
}

#[tokio::test]
async fn quota_and_sizes_are_kept_inside_the_commit() {
    let mail = mail_with(|config| {
        config.max_message = 10_000;
        config.max_ops = 5;
    })
    .await;
    mail.store.set_quota(account(ME), Some(25)).await.unwrap();
    let staged = stage(&mail.store, b"0123456789").await;
    let put = || add(mail.inbox, Content::Staged(staged.clone()), FlagSet::new());
    // Two at once fit, three do not, and then none of them is there.
    let commit = |ops| mail.store.commit(Batch::new(batch_id(), account(ME), ops));
    let over = commit(vec![put(), put(), put()]).await;
    assert!(matches!(over, Err(CommitError::Operation { at: 2, error: OpError::OverQuota, .. })));
    commit(vec![put(), put()]).await.unwrap();
    let copy = commit(vec![Op::Copy { from: mail.inbox, uids: UidSet::all(), to: mail.inbox }]).await;
    assert!(matches!(copy, Err(CommitError::Operation { error: OpError::OverQuota, .. })));
    let state = mail.store.account(account(ME)).await.unwrap();
    assert_eq!((state.octets, state.quota), (20, Some(25)));
    mail.store.set_quota(account(ME), None).await.unwrap();

    assert!(matches!(commit((0..6).map(|_| put()).collect()).await, Err(CommitError::TooLarge)));
    commit((0..5).map(|_| put()).collect()).await.unwrap();
    let all = Op::Remove { folder: mail.inbox, uids: UidSet::all(), only_deleted: false };
    assert!(matches!(commit(vec![all]).await, Err(CommitError::Operation { error: OpError::Limit, .. })));
    let large = mail.store.upload(UploadOptions::new(u64::MAX).expecting(10_001)).await;
    assert!(matches!(large, Err(UploadError::TooLarge { limit: 10_000 })));
    let mut upload = mail.store.upload(UploadOptions::new(5)).await.unwrap();
    assert!(matches!(upload.write(Bytes::from_static(b"123456")).await, Err(UploadError::TooLarge { limit: 5 })));
    assert!(upload.finish().await.is_err());
    assert_sound(&mail.store).await;
}

#[tokio::test]
async fn leases_fence_off_who_lost_them() {
    let mail = mail().await;
    let leases = mail.store.leases();
    let scope = LeaseScope::Maildrop(account(ME));
    let minute = Duration::from_secs(60);
    let first = leases.acquire(&scope, [1; 16], minute).await.unwrap();
    assert!(matches!(leases.acquire(&scope, [2; 16], minute).await, Err(LeaseError::Held)));
    mail.clock.advance(50);
    let first = leases.renew(&first, minute).await.unwrap();
    mail.clock.advance(50);
    assert!(matches!(leases.acquire(&scope, [2; 16], minute).await, Err(LeaseError::Held)));
    mail.clock.advance(11);
    let second = leases.acquire(&scope, [2; 16], minute).await.unwrap();
    assert!(second.token > first.token);
    assert!(matches!(leases.renew(&first, minute).await, Err(LeaseError::Lost)));
    leases.release(&first).await.unwrap();
    let fenced = |fence| {
        let op = Op::Subscribe { path: vec!["x".into()], subscribed: true };
        let batch = Batch { fence: Some(fence), ..Batch::new(batch_id(), account(ME), vec![op]) };
        mail.store.commit(batch)
    };
    assert!(matches!(fenced(first.fence()).await, Err(CommitError::Fenced)));
    fenced(second.fence()).await.unwrap();
    leases.release(&second).await.unwrap();
    let third = leases.acquire(&scope, [1; 16], minute).await.unwrap();
    assert!(third.token > second.token);
    assert!(matches!(fenced(second.fence()).await, Err(CommitError::Fenced)));
}

#[tokio::test]
async fn what_is_not_there_is_not_found() {
    let mail = mail().await;
    assert!(matches!(mail.store.account(account(9)).await, Err(ReadError::NotFound)));
    assert!(matches!(mail.store.folders(account(9)).await, Err(ReadError::NotFound)));
    let changes = mail.store.changes(account(9), ChangesOptions::since(change(1))).await;
    assert!(matches!(changes, Err(ReadError::NotFound)));
    let nowhere = mailstore_trait::id::FolderId::new(55).unwrap();
    let items = mail.store.items(account(ME), nowhere, &UidSet::all(), ItemsOptions::default()).await;
    assert!(matches!(items, Err(ReadError::NotFound)));
    let read = MailStore::read(&mail.store, account(ME), EmailId([0xff; 16]), 0, 10).await;
    assert!(matches!(read, Err(ReadError::NotFound)));
    let copy = add(mail.inbox, Content::Email(EmailId([1; 16])), FlagSet::new());
    let copied = mail.store.commit(Batch::new(batch_id(), account(ME), vec![copy])).await;
    assert!(matches!(copied, Err(CommitError::Operation { error: OpError::NotFound, .. })));
}

#[tokio::test]
async fn pages_end_at_their_bounds_and_go_on_from_there() {
    let mail = mail().await;
    let staged = stage(&mail.store, &[b'z'; 1000]).await;
    let ops = (0..50).map(|_| add(mail.inbox, Content::Staged(staged.clone()), FlagSet::new())).collect();
    commit(&mail.store, ME, ops).await;
    let mut options = ItemsOptions::new(Projection::CONTENT);
    options.max_octets = 3500;
    let (mut left, mut seen, mut pages) = (UidSet::all(), Vec::new(), 0);
    loop {
        let page = mail.store.items(account(ME), mail.inbox, &left, options).await.unwrap();
        pages += 1;
        seen.extend(page.rows().iter().map(|row| row.uid.value()));
        assert!(page.rows().iter().all(|row| page.content(row).unwrap().len() == 1000));
        let Some(next) = page.next else { break };
        left = [next..=uid(u32::MAX)].into_iter().fold(UidSet::new(), |mut set, range| {
            set.insert_range(range);
            set
        });
    }
    assert_eq!(seen, (1..=50).collect::<Vec<_>>());
    assert_eq!(pages, 17);
    options.max_rows = 1;
    options.max_octets = 1;
    let page = mail.store.items(account(ME), mail.inbox, &uids([3, 4]), options).await.unwrap();
    assert_eq!((page.rows().len(), page.next), (1, Some(uid(4))));
}

/// Words that are gone make room for new ones, but never one that the same batch is just about to put on a message.
#[tokio::test]
async fn keywords_are_bounded_and_come_free_again() {
    let mail = mail_with(|config| config.max_keywords = 3).await;
    deliver(&mail.store, mail.inbox, b"x\r\n").await;
    let words = |words: &[&str]| -> FlagSet { words.iter().map(|word| Keyword::new(word).unwrap()).collect() };
    let replace = |words| flags(mail.inbox, uids([1]), FlagChange::Replace(words));
    one(&mail.store, replace(words(&["a", "b", "c"]))).await;
    let more = Batch::new(batch_id(), account(ME), vec![flags(mail.inbox, uids([1]), FlagChange::Add(words(&["d"])))]);
    let refused = mail.store.commit(more).await;
    assert!(matches!(refused, Err(CommitError::Operation { error: OpError::Limit, .. })));
    one(&mail.store, replace(FlagSet::new())).await;
    let OpOutcome::FlagsSet { page, .. } = one(&mail.store, replace(words(&["d", "e", "f"]))).await else { panic!() };
    assert_eq!(page.flag_set(&page.rows()[0]), words(&["d", "e", "f"]));
    let view = mail.store.view(account(ME), mail.inbox, ViewOptions::default()).await.unwrap();
    assert_eq!(view.keywords.iter().map(Keyword::as_str).collect::<Vec<_>>(), ["d", "e", "f"]);
    assert_sound(&mail.store).await;
}

/// A store of the first format knew octets as its only limit, and neither rights nor annotations.
#[tokio::test]
async fn a_store_of_format_one_becomes_one_of_this_format() {
    use mailstore_trait::acl::{AclChange, AclStore, Grantee, Rights, RightsChange};
    use mailstore_trait::metadata::{EntryChange, EntryName, MetadataLimits, MetadataStore, Scope, Subject};
    use mailstore_trait::quota::{QuotaLimits, QuotaStore};

    let mail = mail_with(|_| {}).await;
    let added = deliver(&mail.store, mail.inbox, b"Subject: old\r\n\r\n").await;
    mail.store.set_quota(account(ME), Some(1000)).await.unwrap();
    let folder = mail.folder;
    mail.store.close().await;
    let database = rusqlite::Connection::open(folder.path().join("mail.sqlite")).unwrap();
    database
        .execute_batch(
            "DROP TABLE acl; DROP TABLE annotation; ALTER TABLE account DROP COLUMN quota_messages;
             ALTER TABLE account DROP COLUMN quota_folders; PRAGMA user_version = 1;",
        )
        .unwrap();
    drop(database);
    let mut config = mail.clock.configured();
    config.read_only = true;
    let refused = mailstore_embedded::Store::open(folder.path(), config).unwrap_err();
    assert!(matches!(refused, mailstore_embedded::OpenError::Older { found: 1, .. }), "{refused:?}");
    let store = mailstore_embedded::Store::open(folder.path(), mail.clock.configured()).unwrap();
    assert_eq!(read_all(&store, ME, added.email, 100).await, b"Subject: old\r\n\r\n");
    assert_eq!(store.quota(account(ME)).await.unwrap().limits, QuotaLimits::none().with_storage(Some(1000)));
    let change = AclChange::new(Grantee::Anyone, RightsChange::Add(Rights::LOOKUP));
    store.change_acl(account(ME), mail.inbox, change).await.unwrap();
    let name = EntryName::new("/comment").unwrap();
    let change = EntryChange { scope: Scope::Shared, name, value: Some(Bytes::from_static(b"new")) };
    store.set_entries(Subject::Server, vec![change], MetadataLimits::default()).await.unwrap();
    assert_sound(&store).await;
}

/// Who is removed leaves no rights and no notes behind.
#[tokio::test]
async fn a_removed_account_is_on_nobodys_list() {
    use mailstore_trait::acl::{AclChange, AclStore, Grantee, Rights, RightsChange};

    let mail = mail_with(|_| {}).await;
    let other =
        mail.store.users().add(mailstore_embedded::NewUser::new("two@example.org", Vec::new())).await.unwrap().account;
    let change = AclChange::new(Grantee::Account(other), RightsChange::Add(Rights::LOOKUP));
    mail.store.change_acl(account(ME), mail.inbox, change).await.unwrap();
    assert_eq!(mail.store.shared_with(other, None, 10).await.unwrap(), [account(ME)]);
    mail.store.users().remove("two@example.org").await.unwrap();
    assert_eq!(mail.store.acls(account(ME)).await.unwrap(), []);
}

#[tokio::test]
async fn contents_stay_in_memory_up_to_their_bound() {
    for (bound, fits) in [(0, 0), (10_000, 8), (1 << 20, 20)] {
        let mail = mail_with(|config| {
            config.content_cache = bound;
            config.inline_up_to = 1000;
        })
        .await;
        let octets = |n: u8| vec![b'a' + n; 1000];
        for n in 0..20 {
            deliver(&mail.store, mail.inbox, &octets(n)).await;
        }
        // Over the size of what is kept: read as ever, and counted nowhere.
        deliver(&mail.store, mail.inbox, &[b'z'; 1001]).await;
        for _ in 0..3 {
            let options = ItemsOptions::new(Projection::CONTENT);
            let page = mail.store.items(account(ME), mail.inbox, &UidSet::all(), options).await.unwrap();
            assert_eq!(page.rows().len(), 21);
            for (n, row) in (0..20).zip(page.rows()) {
                assert_eq!(page.content(row).unwrap(), octets(n));
            }
            assert!(mail.store.stats().content_octets <= bound as u64);
        }
        let stats = mail.store.stats();
        assert_eq!(stats.content_hits + stats.content_misses, 60);
        assert_eq!(stats.content_octets / 1128, fits);
        assert_eq!(stats.content_misses == 20, fits == 20, "{stats:?}");
        let last = read_all(&mail.store, ME, email_of(&mail, 20).await, 300).await;
        assert_eq!(last, octets(19));
        assert!(mail.store.stats().content_hits > 0 || bound == 0);
        assert_sound(&mail.store).await;
    }
}

async fn email_of(mail: &Mail, uid: u32) -> EmailId {
    let page = mail.store.items(account(ME), mail.inbox, &uids([uid]), ItemsOptions::default()).await.unwrap();
    page.rows()[0].email
}

/// Octets in memory are right for ever; who may have them is asked anew each time.
#[tokio::test]
async fn what_is_in_memory_is_given_only_to_those_who_may_have_it() {
    let mail = mail().await;
    mail.store.provision(account(2), &[]).await.unwrap();
    let message = deliver(&mail.store, mail.inbox, b"one\r\n").await;
    assert_eq!(read_all(&mail.store, ME, message.email, 100).await, b"one\r\n");
    let held = mail.store.stats().content_octets;
    assert!(held > 0);
    let foreign = MailStore::read(&mail.store, account(2), message.email, 0, 10).await;
    assert!(matches!(foreign, Err(ReadError::NotFound)));
    let remove = Op::Remove { folder: mail.inbox, uids: UidSet::all(), only_deleted: false };
    one(&mail.store, remove).await;
    let options = ItemsOptions::new(Projection::CONTENT);
    let page = mail.store.items(account(ME), mail.inbox, &UidSet::all(), options).await.unwrap();
    assert!(page.rows().is_empty());
    mail.store.tidy().await.unwrap();
    assert_eq!(read_all(&mail.store, ME, message.email, 100).await, b"one\r\n");
    mail.clock.advance(1000);
    mail.store.tidy().await.unwrap();
    let gone = MailStore::read(&mail.store, account(ME), message.email, 0, 10).await;
    assert!(matches!(gone, Err(ReadError::NotFound)));
    assert_eq!(mail.store.stats().content_octets, held);
}
