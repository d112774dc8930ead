//! The full-text index: made again when it is lost, emptied of what goes, and never relied upon.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::cast_possible_truncation)]

mod common;

use std::path::PathBuf;
use std::time::Duration;

use common::*;
use mailstore_embedded::Store;
use mailstore_trait::batch::Op;
use mailstore_trait::date::Timestamp;
use mailstore_trait::id::FolderId;
use mailstore_trait::query::{Budget, Filter, Search, Test, search_step};
use mailstore_trait::search::Candidates;
use mailstore_trait::store::MailStore;
use mailstore_trait::uid_set::UidSet;
use rusqlite::Connection;

/// Waits until the index has come along, and answers what it names.
async fn indexed(store: &Store, folder: FolderId, filter: &Filter) -> Candidates {
    for _ in 0..2000 {
        let at = store.account(account(ME)).await.unwrap().at;
        let index = store.as_search().expect("an index");
        match index.candidates(account(ME), folder, filter).await.unwrap() {
            Some(found) if found.indexed_upto >= at => return found,
            _ => tokio::time::sleep(Duration::from_millis(20)).await,
        }
    }
    panic!("the index does not come along");
}

async fn found(store: &Store, folder: FolderId, filter: &Filter) -> UidSet {
    let search = Search::new(filter.clone(), Timestamp::default());
    let all = UidSet::all();
    search_step(store, (account(ME), folder), &search, &all, None, Budget::default(), None).await.unwrap().matched
}

fn index_file(mail: &Mail) -> PathBuf {
    mail.folder.path().join("search.sqlite")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lost_or_damaged_index_is_made_again() {
    let quick = |config: &mut mailstore_embedded::Config| config.index_interval = Duration::from_millis(10);
    let mail = mail_with(quick).await;
    let fox = Filter::from(Test::body("uick bro"));
    for text in ["the quick brown fox", "nothing of the kind"] {
        deliver(&mail.store, mail.inbox, format!("Subject: x\r\n\r\n{text}\r\n").as_bytes()).await;
    }
    assert_eq!(indexed(&mail.store, mail.inbox, &fox).await.indexed, uids([1]));
    for damage in
        [&b""[..], b"this is no database, and longer than the head of one: ----------------------------------------"]
    {
        mail.store.clone().close().await;
        for suffix in ["", "-wal", "-shm"] {
            let _ = std::fs::remove_file(format!("{}{suffix}", index_file(&mail).display()));
        }
        if !damage.is_empty() {
            std::fs::write(index_file(&mail), damage).unwrap();
        }
        let mut config = mail.clock.configured();
        quick(&mut config);
        let store = Store::open(mail.folder.path(), config).unwrap();
        assert_eq!(found(&store, mail.inbox, &fox).await, uids([1]), "without the index, too");
        let again = indexed(&store, mail.inbox, &fox).await;
        assert_eq!((again.indexed, again.tail), (uids([1]), UidSet::new()));
        store.close().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_goes_leaves_the_index_and_what_is_long_is_read() {
    let mail = mail_with(|config| {
        config.index_interval = Duration::from_millis(10);
        config.index_text = 4000;
        config.index_batch = 1;
    })
    .await;
    deliver(&mail.store, mail.inbox, b"Subject: secret\r\n\r\nnobody may know\r\n").await;
    let long = format!("Subject: long\r\n\r\n{}at the very end\r\n", "words and words\r\n".repeat(500));
    deliver(&mail.store, mail.inbox, long.as_bytes()).await;
    let (secret, end) = (Filter::from(Test::text("nobody may")), Filter::from(Test::body("the very end")));
    assert_eq!(
        indexed(&mail.store, mail.inbox, &secret).await.indexed,
        uids([1, 2]),
        "a long one is always a candidate"
    );
    assert_eq!(found(&mail.store, mail.inbox, &secret).await, uids([1]));
    assert_eq!(found(&mail.store, mail.inbox, &end).await, uids([2]));
    one(&mail.store, Op::Remove { folder: mail.inbox, uids: uids([1, 2]), only_deleted: false }).await;
    assert!(indexed(&mail.store, mail.inbox, &secret).await.indexed.is_empty());
    let index = Connection::open(index_file(&mail)).unwrap();
    for table in ["place", "cut", "text"] {
        let rows: i64 = index.query_row(&format!("SELECT count(*) FROM {table}"), [], |row| row.get(0)).unwrap();
        assert_eq!(rows, 0, "rows of {table} for nothing");
    }
}
