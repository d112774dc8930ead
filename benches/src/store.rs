//! The embedded store: deliveries of many writers, pages of rows, folders opened.

use std::fs::File;
use std::io::Write;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use mailstore_embedded::{Config, Store};
use mailstore_trait::batch::{AddItem, Batch, Content, Op};
use mailstore_trait::date::{DateTime, Timestamp};
use mailstore_trait::flags::FlagSet;
use mailstore_trait::folder::FolderView;
use mailstore_trait::id::{AccountId, BatchId, FolderId, Uid};
use mailstore_trait::item::{ItemPage, ItemsOptions, Projection};
use mailstore_trait::store::{MailStore, UploadOptions, ViewOptions};
use mailstore_trait::uid_set::UidSet;
use tokio::runtime::Runtime;

use crate::clock;

/// A store with an account for each writer.
pub struct Office {
    runtime: Runtime,
    store: Store,
    boxes: Vec<(AccountId, FolderId)>,
}

impl std::fmt::Debug for Office {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Office").field("boxes", &self.boxes.len()).finish_non_exhaustive()
    }
}

/// What deliveries cost.
#[derive(Clone, Copy, Debug, Default)]
pub struct Cost {
    /// Messages that were durable when the time was over.
    pub messages: f64,
    /// Time on the wall, in seconds.
    pub wall: f64,
    /// Processor time of all threads, in seconds.
    pub cpu: f64,
    /// Syncs: of the write-ahead log, one for each transaction, and of files.
    pub syncs: f64,
}

impl Cost {
    /// Messages a second.
    #[must_use]
    pub fn rate(&self) -> f64 {
        self.messages / self.wall
    }
}

impl Office {
    /// A store in this folder that lets so many batches share one sync; 1 is none.
    #[must_use]
    pub fn open(folder: &Path, writers: u64, max_batch: usize) -> Office {
        let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
        let mut config = Config::default();
        config.max_batch = max_batch;
        let store = Store::open(folder, config).expect("a store");
        let boxes = (1..=writers).map(|number| {
            let account = AccountId::new(number).expect("not zero");
            runtime.block_on(async {
                store.provision(account, &[]).await.expect("an account");
                let folders = store.folders(account).await.expect("its folders");
                (account, folders.inbox().expect("an inbox").id)
            })
        });
        let boxes = boxes.collect();
        Office { runtime, store, boxes }
    }

    /// Has the first `writers` deliver this message, each into its own inbox and one after the other, for this long.
    #[must_use]
    pub fn deliver(&self, writers: usize, message: &Bytes, time: Duration) -> Cost {
        let (stats, cpu, begun) = (self.store.stats(), clock::process(), Instant::now());
        let messages = self.runtime.block_on(async {
            let tasks = self.boxes.iter().take(writers).map(|(account, folder)| {
                let (store, message) = (self.store.clone(), message.clone());
                let (account, folder) = (*account, *folder);
                tokio::spawn(async move {
                    let mut messages = 0_u32;
                    while begun.elapsed() < time {
                        deliver(&store, account, folder, &message).await;
                        messages += 1;
                    }
                    messages
                })
            });
            let tasks: Vec<_> = tasks.collect();
            let mut messages = 0;
            for task in tasks {
                messages += task.await.expect("a writer");
            }
            messages
        });
        let (wall, cpu) = (begun.elapsed().as_secs_f64(), (clock::process() - cpu).as_secs_f64());
        let now = self.store.stats();
        let syncs = (now.transactions - stats.transactions) + (now.file_syncs - stats.file_syncs);
        let syncs = f64::from(u32::try_from(syncs).expect("fewer than 2^32"));
        Cost { messages: f64::from(messages), wall, cpu, syncs }
    }

    /// Fills the first inbox up to this many messages: one delivered, the others copies of it.
    pub fn fill(&self, messages: u32, message: &Bytes) {
        let Some((account, folder)) = self.boxes.first().copied() else { return };
        self.runtime.block_on(async {
            deliver(&self.store, account, folder, message).await;
            let mut have = 1;
            while have < messages {
                let more = have.min(messages - have).min(10_000);
                let copy = Op::Copy { from: folder, uids: uids(1, more), to: folder };
                self.store.commit(Batch::new(batch_id(), account, vec![copy])).await.expect("a copy");
                have += more;
            }
        });
    }

    /// Rows of so many messages of the first inbox, from this UID on.
    #[must_use]
    pub fn page(&self, from: u32, rows: u32, projection: Projection) -> ItemPage {
        let (account, folder) = self.boxes.first().copied().expect("an inbox");
        let mut options = ItemsOptions::new(projection);
        options.max_octets = usize::MAX;
        let uids = uids(from, rows);
        self.runtime.block_on(self.store.items(account, folder, &uids, options)).expect("a page")
    }

    /// Opens the first inbox, as EXAMINE does.
    #[must_use]
    pub fn view(&self) -> FolderView {
        let (account, folder) = self.boxes.first().copied().expect("an inbox");
        self.runtime.block_on(self.store.view(account, folder, ViewOptions::default())).expect("a view")
    }
}

async fn deliver(store: &Store, account: AccountId, folder: FolderId, message: &Bytes) {
    let options = UploadOptions::new(message.len() as u64).expecting(message.len() as u64);
    let mut upload = store.upload(options).await.expect("an upload");
    upload.write(message.clone()).await.expect("room");
    let content = Content::Staged(upload.finish().await.expect("octets"));
    let internal_date = DateTime { instant: Timestamp::from_seconds(1_738_646_000), offset_minutes: 60 };
    let add = Op::Add(AddItem { folder, content, flags: FlagSet::new(), internal_date });
    store.commit(Batch::new(batch_id(), account, vec![add])).await.expect("a delivery");
}

fn batch_id() -> BatchId {
    static NEXT: AtomicU64 = AtomicU64::new(1);
    let mut id = [0; 16];
    if let Some(low) = id.last_chunk_mut::<8>() {
        *low = NEXT.fetch_add(1, Ordering::Relaxed).to_be_bytes();
    }
    BatchId(id)
}

fn uids(from: u32, count: u32) -> UidSet {
    let uid = |value| Uid::new(value).expect("not zero");
    let mut uids = UidSet::new();
    uids.insert_range(uid(from)..=uid(from + count - 1));
    uids
}

/// Appends this message to a file and syncs it, again and again for this long: what a disk gives to one sync a message.
#[must_use]
pub fn append_and_sync(folder: &Path, message: &[u8], time: Duration) -> Cost {
    let mut file = File::create(folder.join("appended")).expect("a file");
    let (cpu, begun) = (clock::process(), Instant::now());
    let mut messages = 0_u32;
    while begun.elapsed() < time {
        file.write_all(message).expect("room");
        file.sync_data().expect("a sync");
        messages += 1;
    }
    let (wall, cpu) = (begun.elapsed().as_secs_f64(), (clock::process() - cpu).as_secs_f64());
    Cost { messages: f64::from(messages), wall, cpu, syncs: f64::from(messages) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::corpus;

    #[test]
    fn deliveries_arrive_and_are_counted() {
        let folder = tempfile::tempdir().unwrap();
        let message = Bytes::from(corpus::text_message(4096));
        let office = Office::open(folder.path(), 8, 128);
        let cost = office.deliver(8, &message, Duration::from_millis(200));
        assert!(cost.messages >= 8.0 && (1.0..=cost.messages).contains(&cost.syncs), "{cost:?}");
        assert!(!office.view().uids.is_empty());
    }

    #[test]
    fn without_group_commit_every_delivery_has_its_sync() {
        let folder = tempfile::tempdir().unwrap();
        let message = Bytes::from(corpus::text_message(4096));
        let office = Office::open(folder.path(), 8, 1);
        let cost = office.deliver(8, &message, Duration::from_millis(200));
        assert!(cost.syncs >= cost.messages, "{cost:?}");
    }

    #[test]
    fn a_filled_inbox_has_its_rows() {
        let folder = tempfile::tempdir().unwrap();
        let office = Office::open(folder.path(), 1, 128);
        office.fill(2500, &Bytes::from(corpus::text_message(4096)));
        assert_eq!(office.view().uids.len(), 2500);
        let page = office.page(1001, 1000, Projection::SUMMARY | Projection::SKELETON);
        assert_eq!((page.rows().len(), page.next), (1000, None));
    }
}
