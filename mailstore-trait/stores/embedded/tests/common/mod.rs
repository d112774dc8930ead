//! What the tests of this crate share.
#![allow(dead_code, unreachable_pub, clippy::unwrap_used, clippy::indexing_slicing)]

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};

use bytes::Bytes;
use mailstore_embedded::{Config, Store};
use mailstore_trait::batch::{AddItem, Batch, Committed, Content, Op, OpOutcome, Staged};
use mailstore_trait::date::{DateTime, Timestamp};
use mailstore_trait::flags::{FlagSet, SystemFlags};
use mailstore_trait::folder::Folder;
use mailstore_trait::id::{AccountId, BatchId, EmailId, FolderId, ItemId, ModSeq, Uid};
use mailstore_trait::store::{MailStore, UploadOptions};
use mailstore_trait::uid_set::UidSet;

static NEXT: AtomicU64 = AtomicU64::new(1);

/// A batch id nobody had.
pub fn batch_id() -> BatchId {
    let mut id = [0; 16];
    id[..8].copy_from_slice(&NEXT.fetch_add(1, Ordering::Relaxed).to_be_bytes());
    id[8..12].copy_from_slice(&std::process::id().to_be_bytes());
    id[12..].copy_from_slice(
        &std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().subsec_nanos().to_be_bytes(),
    );
    BatchId(id)
}

pub fn account(number: u64) -> AccountId {
    AccountId::new(number).unwrap()
}

pub fn uid(value: u32) -> Uid {
    Uid::new(value).unwrap()
}

pub fn change(value: u64) -> ModSeq {
    ModSeq::new(value).unwrap()
}

pub fn uids(values: impl IntoIterator<Item = u32>) -> UidSet {
    values.into_iter().map(uid).collect()
}

/// A clock that stands still until it is moved.
#[derive(Clone)]
pub struct Clock(Arc<AtomicI64>);

impl Clock {
    pub fn new() -> Clock {
        Clock(Arc::new(AtomicI64::new(1_700_000_000_000)))
    }

    pub fn advance(&self, seconds: i64) {
        self.0.fetch_add(seconds * 1000, Ordering::SeqCst);
    }

    pub fn now(&self) -> Timestamp {
        Timestamp(self.0.load(Ordering::SeqCst))
    }

    pub fn configured(&self) -> Config {
        let clock = self.clone();
        let mut config = Config::default();
        config.clock = Arc::new(move || clock.now());
        config
    }
}

pub struct Mail {
    pub folder: tempfile::TempDir,
    pub clock: Clock,
    pub store: Store,
    pub inbox: FolderId,
}

pub const ME: u64 = 1;

/// A store with one account.
pub async fn mail() -> Mail {
    mail_with(|_| {}).await
}

pub async fn mail_with(change: impl FnOnce(&mut Config)) -> Mail {
    let folder = tempfile::tempdir().unwrap();
    let clock = Clock::new();
    let mut config = clock.configured();
    change(&mut config);
    let store = Store::open(folder.path(), config).unwrap();
    store.provision(account(ME), &[]).await.unwrap();
    let inbox = inbox(&store, ME).await.id;
    Mail { folder, clock, store, inbox }
}

pub async fn inbox(store: &Store, number: u64) -> Folder {
    store.folders(account(number)).await.unwrap().inbox().unwrap().clone()
}

pub async fn stage(store: &Store, octets: &[u8]) -> Staged {
    let mut upload = store.upload(UploadOptions::new(u64::MAX)).await.unwrap();
    for piece in octets.chunks(100_000) {
        upload.write(Bytes::copy_from_slice(piece)).await.unwrap();
    }
    upload.finish().await.unwrap()
}

pub fn add(folder: FolderId, content: Content, flags: FlagSet) -> Op {
    let internal_date = DateTime { instant: Timestamp::from_seconds(1_600_000_000), offset_minutes: 60 };
    Op::Add(AddItem { folder, content, flags, internal_date })
}

#[derive(Clone, Copy, Debug)]
pub struct Added {
    pub item: ItemId,
    pub uid: Uid,
    pub email: EmailId,
}

pub fn added(outcome: &OpOutcome) -> Added {
    match outcome {
        OpOutcome::Added { item, uid, email, .. } => Added { item: *item, uid: *uid, email: *email },
        other => panic!("{other:?}"),
    }
}

pub async fn commit(store: &Store, number: u64, ops: Vec<Op>) -> Committed {
    store.commit(Batch::new(batch_id(), account(number), ops)).await.unwrap()
}

/// Does one operation; its outcome.
pub async fn one(store: &Store, op: Op) -> OpOutcome {
    commit(store, ME, vec![op]).await.accounts.remove(0).outcomes.remove(0)
}

pub async fn deliver(store: &Store, folder: FolderId, octets: &[u8]) -> Added {
    deliver_flagged(store, folder, octets, SystemFlags::empty()).await
}

pub async fn deliver_flagged(store: &Store, folder: FolderId, octets: &[u8], flags: SystemFlags) -> Added {
    let content = Content::Staged(stage(store, octets).await);
    added(&one(store, add(folder, content, flags.into())).await)
}

/// All octets of a message.
pub async fn read_all(store: &Store, number: u64, email: EmailId, piece: usize) -> Vec<u8> {
    let mut octets = Vec::new();
    loop {
        let more = MailStore::read(store, account(number), email, octets.len() as u64, piece).await.unwrap();
        assert!(more.len() <= piece);
        if more.is_empty() {
            return octets;
        }
        octets.extend_from_slice(&more);
    }
}

pub async fn assert_sound(store: &Store) {
    let findings = store.check().await.unwrap();
    assert!(findings.is_empty(), "{findings:?}");
}
