//! What goes wrong: full disks, disks that take no writes, damage, versions to come, uploads given up half-way.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::cast_possible_truncation)]

mod common;

use std::time::Duration;

use bytes::Bytes;
use common::*;
use mailstore_embedded::{Config, FORMAT, Finding, OpenError, Store};
use mailstore_trait::batch::{Batch, Content, Hold};
use mailstore_trait::change::ChangesOptions;
use mailstore_trait::error::{CommitError, ReadError, UploadError};
use mailstore_trait::flags::FlagSet;
use mailstore_trait::item::{ItemsOptions, Projection};
use mailstore_trait::store::{MailStore, UploadOptions, ViewOptions};
use mailstore_trait::uid_set::UidSet;

fn database(mail: &Mail) -> rusqlite::Connection {
    rusqlite::Connection::open(mail.folder.path().join("mail.sqlite")).unwrap()
}

fn files(mail: &Mail) -> Vec<std::path::PathBuf> {
    let mut found = Vec::new();
    for folder in std::fs::read_dir(mail.folder.path().join("blobs")).unwrap() {
        found.extend(std::fs::read_dir(folder.unwrap().path()).unwrap().map(|file| file.unwrap().path()));
    }
    found
}

#[tokio::test]
async fn a_full_database_refuses_what_does_not_fit_and_goes_on() {
    let mail = mail_with(|config| config.max_database = Some(1 << 20)).await;
    let mut delivered = 0;
    let full = loop {
        let content = Content::Staged(stage(&mail.store, &[b'x'; 20_000]).await);
        let batch = Batch::new(batch_id(), account(ME), vec![add(mail.inbox, content, FlagSet::new())]);
        match mail.store.commit(batch).await {
            Ok(_) => delivered += 1,
            Err(error) => break error,
        }
        assert!(delivered < 100);
    };
    assert!(matches!(full, CommitError::Full), "{full:?}");
    assert!(delivered > 10);
    // Many at once: the large do not take the small down with them.
    let mut tasks = Vec::new();
    for n in 0..20 {
        let store = mail.store.clone();
        let inbox = mail.inbox;
        tasks.push(tokio::spawn(async move {
            let size = if n % 2 == 0 { 30_000 } else { 10 };
            let content = Content::Staged(stage(&store, &vec![b'y'; size]).await);
            let batch = Batch::new(batch_id(), account(ME), vec![add(inbox, content, FlagSet::new())]);
            (n, store.commit(batch).await)
        }));
    }
    let mut small = 0;
    for task in tasks {
        match task.await.unwrap() {
            (n, Ok(_)) => small += n % 2,
            (_, Err(CommitError::Full)) => {}
            (n, Err(other)) => panic!("{n}: {other:?}"),
        }
    }
    assert!(small > 0, "small messages still fit");
    assert_sound(&mail.store).await;
    // Room again, and it goes on.
    let view = mail.store.view(account(ME), mail.inbox, ViewOptions::default()).await.unwrap();
    assert_eq!(u64::from(view.uids.len()), mail.store.account(account(ME)).await.unwrap().messages);
    let remove = mailstore_trait::batch::Op::Remove { folder: mail.inbox, uids: UidSet::all(), only_deleted: false };
    commit(&mail.store, ME, vec![remove]).await;
    mail.clock.advance(10_000);
    mail.store.tidy().await.unwrap();
    for _ in 0..5 {
        deliver(&mail.store, mail.inbox, &[b'z'; 20_000]).await;
    }
    assert_sound(&mail.store).await;
}

#[tokio::test]
#[ignore = "needs MAILSTORE_SMALL_DISK: a folder on a file system of about 4 MiB"]
async fn a_full_disk_refuses_what_does_not_fit_and_goes_on() {
    let disk = std::env::var("MAILSTORE_SMALL_DISK").expect("MAILSTORE_SMALL_DISK");
    let folder = tempfile::tempdir_in(disk).unwrap();
    let mut config = Config::default();
    config.grace = Duration::ZERO;
    config.checkpoint_pages = 100;
    let store = Store::open(folder.path(), config).unwrap();
    store.provision(account(ME), &[]).await.unwrap();
    let inbox = inbox(&store, ME).await.id;
    let mut emails = Vec::new();
    let mut full = 0;
    for n in 0..400 {
        let octets = vec![b'a' + (n % 26) as u8; if n % 3 == 0 { 50_000 } else { 9_000 }];
        let mut upload = store.upload(UploadOptions::new(u64::MAX)).await.unwrap();
        let staged = match upload.write(Bytes::from(octets.clone())).await {
            Ok(()) => upload.finish().await,
            Err(error) => Err(error),
        };
        let staged = match staged {
            Ok(staged) => staged,
            Err(UploadError::Full) => {
                full += 1;
                continue;
            }
            Err(other) => panic!("{other:?}"),
        };
        let batch = Batch::new(batch_id(), account(ME), vec![add(inbox, Content::Staged(staged), FlagSet::new())]);
        match store.commit(batch).await {
            Ok(done) => emails.push((added(&done.accounts[0].outcomes[0]).email, octets)),
            Err(CommitError::Full) => full += 1,
            Err(other) => panic!("{other:?}"),
        }
    }
    assert!(full > 0, "the disk did not fill");
    assert_sound(&store).await;
    for (email, octets) in &emails {
        assert_eq!(&read_all(&store, ME, *email, 10_000).await, octets);
    }
}

#[tokio::test]
async fn damage_is_told_by_id_and_the_rest_works() {
    let mail = mail_with(|config| config.inline_up_to = 100).await;
    let good = deliver(&mail.store, mail.inbox, b"small and good\r\n").await;
    let missing = deliver(&mail.store, mail.inbox, &[b'm'; 5000]).await;
    let file = files(&mail)[0].clone();
    std::fs::remove_file(&file).unwrap();
    let short = deliver(&mail.store, mail.inbox, &[b's'; 5000]).await;
    let file = files(&mail)[0].clone();
    std::fs::write(&file, b"torn").unwrap();
    let bodiless = deliver(&mail.store, mail.inbox, b"without a body\r\n").await;
    database(&mail).execute("DELETE FROM body WHERE id = (SELECT max(id) FROM body)", []).unwrap();
    for broken in [missing, short, bodiless] {
        match MailStore::read(&mail.store, account(ME), broken.email, 0, 5000).await {
            Err(ReadError::Corrupt { what }) => assert!(what.contains(&broken.email.to_string()), "{what}"),
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(read_all(&mail.store, ME, good.email, 100).await, b"small and good\r\n");
    // The page with the damaged messages comes, without their octets.
    let options = ItemsOptions::new(Projection::CONTENT | Projection::SKELETON);
    let page = mail.store.items(account(ME), mail.inbox, &UidSet::all(), options).await.unwrap();
    let contents: Vec<_> = page.rows().iter().map(|row| page.content(row).is_some()).collect();
    assert_eq!(contents, [true, false, false, false]);
    deliver(&mail.store, mail.inbox, b"and on\r\n").await;
    let findings = mail.store.check().await.unwrap();
    assert_eq!(findings.iter().filter(|finding| matches!(finding, Finding::File(_))).count(), 2);
    assert_eq!(findings.iter().filter(|finding| matches!(finding, Finding::Blob(_))).count(), 1);
    assert_eq!(findings.len(), 3);
}

#[tokio::test]
async fn a_row_that_makes_no_sense_is_told_and_the_rest_works() {
    let mail = mail().await;
    for _ in 0..3 {
        deliver(&mail.store, mail.inbox, b"x\r\n").await;
    }
    database(&mail).execute("UPDATE item SET keywords = x'01' WHERE uid = 2", []).unwrap();
    let all = mail.store.items(account(ME), mail.inbox, &UidSet::all(), ItemsOptions::default()).await;
    assert!(matches!(all, Err(ReadError::Corrupt { .. })), "{all:?}");
    let around = mail.store.items(account(ME), mail.inbox, &uids([1, 3]), ItemsOptions::default()).await.unwrap();
    assert_eq!(around.rows().len(), 2);
    database(&mail).execute("UPDATE folder SET messages = 7", []).unwrap();
    let findings = mail.store.check().await.unwrap();
    assert!(findings.iter().any(|finding| matches!(finding, Finding::Folder { what: "messages", .. })), "{findings:?}");
}

#[tokio::test]
async fn read_only_reads_and_writes_nothing() {
    let mail = mail().await;
    let added = deliver(&mail.store, mail.inbox, b"x\r\n").await;
    let (folder, inbox) = (mail.folder, mail.inbox);
    mail.store.close().await;
    let mut config = Config::default();
    config.read_only = true;
    let store = Store::open(folder.path(), config).unwrap();
    assert_eq!(read_all(&store, ME, added.email, 10).await, b"x\r\n");
    let view = store.view(account(ME), inbox, ViewOptions::claiming_recent(true)).await.unwrap();
    assert_eq!((view.uids.len(), view.recent_from), (1, None));
    let op = add(inbox, Content::Email(added.email), FlagSet::new());
    let refused = store.commit(Batch::new(batch_id(), account(ME), vec![op])).await;
    assert!(matches!(refused, Err(CommitError::ReadOnly)));
    assert!(store.upload(UploadOptions::new(10)).await.is_err());
    assert!(matches!(store.provision(account(9), &[]).await, Err(CommitError::ReadOnly)));
    store.provision(account(ME), &[]).await.unwrap();
    store.close().await;
}

#[tokio::test]
async fn a_newer_format_and_other_files_are_refused_with_a_word() {
    let mail = mail().await;
    database(&mail).pragma_update(None, "user_version", FORMAT + 1).unwrap();
    let folder = mail.folder;
    mail.store.close().await;
    let newer = Store::open(folder.path(), Config::default()).unwrap_err();
    assert!(matches!(newer, OpenError::Newer { found, supported: FORMAT } if found == FORMAT + 1), "{newer:?}");

    let other = tempfile::tempdir().unwrap();
    let path = other.path().join("mail.sqlite");
    rusqlite::Connection::open(&path).unwrap().execute_batch("CREATE TABLE mine (x)").unwrap();
    assert!(matches!(Store::open(other.path(), Config::default()).unwrap_err(), OpenError::Foreign));
    std::fs::write(&path, vec![b'?'; 10_000]).unwrap();
    assert!(matches!(Store::open(other.path(), Config::default()).unwrap_err(), OpenError::Database(_)));
    let mut config = Config::default();
    config.read_only = true;
    assert!(Store::open(other.path().join("nowhere"), config).is_err());
}

#[tokio::test]
async fn uploads_that_are_given_up_leave_nothing() {
    let mail = mail_with(|config| config.inline_up_to = 100).await;
    let mut upload = mail.store.upload(UploadOptions::new(1 << 20)).await.unwrap();
    upload.write(Bytes::from(vec![b'x'; 300_000])).await.unwrap();
    assert_eq!(files(&mail).len(), 1);
    drop(upload);
    let staged = stage(&mail.store, &[b'x'; 3000]).await;
    drop(staged);
    assert!(files(&mail).is_empty());
    // Refused in a batch, a staged file is still there for the next try.
    let staged = stage(&mail.store, &[b'x'; 3000]).await;
    assert!(matches!(staged.hold, Hold::Stored(_)));
    let op = |folder| add(folder, Content::Staged(staged.clone()), FlagSet::new());
    let nowhere = mailstore_trait::id::FolderId::new(99).unwrap();
    let ops = vec![op(mail.inbox), op(nowhere)];
    assert!(mail.store.commit(Batch::new(batch_id(), account(ME), ops)).await.is_err());
    commit(&mail.store, ME, vec![op(mail.inbox)]).await;
    drop(staged);
    assert_eq!(files(&mail).len(), 1);
    assert_sound(&mail.store).await;
}

#[tokio::test]
async fn orphans_are_collected_once_they_are_old_and_pins_are_not() {
    let mail = mail_with(|config| {
        config.inline_up_to = 100;
        config.orphan_grace = Duration::ZERO;
    })
    .await;
    let kept = deliver(&mail.store, mail.inbox, &[b'k'; 5000]).await;
    let staged = stage(&mail.store, &[b's'; 5000]).await;
    let blobs = mail.folder.path().join("blobs");
    std::fs::create_dir_all(blobs.join("aa")).unwrap();
    std::fs::write(blobs.join("aa").join("000102030405060708090a0b0c0d0eaa"), b"left by a crash").unwrap();
    std::fs::write(blobs.join("tmp").join("000102030405060708090a0b0c0d0eab"), b"left by a crash").unwrap();
    assert_eq!(files(&mail).len(), 4);
    mail.store.tidy().await.unwrap();
    assert_eq!(files(&mail).len(), 2);
    commit(&mail.store, ME, vec![add(mail.inbox, Content::Staged(staged), FlagSet::new())]).await;
    assert_eq!(read_all(&mail.store, ME, kept.email, 5000).await, [b'k'; 5000]);
    // The last use takes the file along.
    let remove = mailstore_trait::batch::Op::Remove { folder: mail.inbox, uids: uids([1]), only_deleted: false };
    commit(&mail.store, ME, vec![remove]).await;
    mail.clock.advance(10_000);
    mail.store.tidy().await.unwrap();
    assert_eq!(files(&mail).len(), 1);
    assert_sound(&mail.store).await;
}

#[tokio::test]
async fn octets_that_were_collected_are_told_as_gone() {
    let mail = mail_with(|config| config.inline_up_to = 100).await;
    let staged = stage(&mail.store, &[b's'; 5000]).await;
    std::fs::remove_file(&files(&mail)[0]).unwrap();
    let op = add(mail.inbox, Content::Staged(staged.clone()), FlagSet::new());
    let gone = mail.store.commit(Batch::new(batch_id(), account(ME), vec![op])).await;
    assert!(matches!(gone, Err(CommitError::BlobGone(blob)) if blob == staged.blob), "{gone:?}");
    let state = mail.store.account(account(ME)).await.unwrap();
    assert_eq!(state.messages, 0);
}

#[tokio::test]
async fn a_dropped_commit_is_done_or_not_but_never_half() {
    let mail = mail().await;
    let staged = stage(&mail.store, b"x\r\n").await;
    for n in 0..50_u32 {
        let ops = (0..3).map(|_| add(mail.inbox, Content::Staged(staged.clone()), FlagSet::new())).collect();
        let commit = mail.store.commit(Batch::new(batch_id(), account(ME), ops));
        let _ = tokio::time::timeout(Duration::from_micros(u64::from(n) * 40), commit).await;
    }
    // Behind everything that was queued.
    deliver(&mail.store, mail.inbox, b"last\r\n").await;
    let view = mail.store.view(account(ME), mail.inbox, ViewOptions::default()).await.unwrap();
    assert_eq!(view.uids.len() % 3, 1);
    let changes = mail.store.changes(account(ME), ChangesOptions::since(change(2))).await.unwrap();
    assert_eq!(changes.records.len() as u32, view.uids.len());
    assert_sound(&mail.store).await;
}

#[tokio::test]
async fn a_closed_store_says_so() {
    let mail = mail().await;
    let other = mail.store.clone();
    let mut watch = other.hints().watch(account(ME));
    mail.store.close().await;
    let next = std::future::poll_fn(|context| futures_core::Stream::poll_next(watch.as_mut(), context)).await;
    assert!(next.is_none());
    assert!(matches!(other.account(account(ME)).await, Err(ReadError::Unavailable(_))));
    let commit = other.commit(Batch::empty(batch_id())).await;
    assert!(matches!(commit, Err(CommitError::Unavailable(_))), "{commit:?}");
}
