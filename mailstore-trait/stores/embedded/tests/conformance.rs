//! Every promise of the storage contract, with a crash as a copy of what kill -9 would leave, and a second opening.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::cast_possible_truncation)]

mod common;

use std::fs;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use common::Clock;
use mailstore_embedded::{Config, Store};
use mailstore_trait::id::AccountId;
use mailstore_trait::store::MailStore;
use mailstore_trait::testkit::block_on;
use mailstore_trait::testkit::conformance::{self, Data, Rig};
use tempfile::TempDir;

/// Stores with these settings.
struct Embedded(fn(&mut Config));

struct Folder {
    clock: Clock,
    change: fn(&mut Config),
    /// The folder in use, and those that were left behind by crashes.
    folders: Mutex<Vec<TempDir>>,
    /// The handles this process has.
    store: Mutex<Option<Store>>,
}

impl Rig for Embedded {
    fn fresh(&self) -> Box<dyn Data + '_> {
        let folders = Mutex::new(vec![tempfile::tempdir().unwrap()]);
        Box::new(Folder { clock: Clock::new(), change: self.0, folders, store: Mutex::new(None) })
    }
}

impl Folder {
    fn opened(&self) -> Store {
        let mut config = self.clock.configured();
        (self.change)(&mut config);
        Store::open(self.folders.lock().unwrap().last().unwrap().path(), config).unwrap()
    }

    fn shared(&self) -> Store {
        self.store.lock().unwrap().get_or_insert_with(|| self.opened()).clone()
    }
}

impl Data for Folder {
    fn open(&self) -> Arc<dyn MailStore> {
        Arc::new(self.shared())
    }

    fn open_elsewhere(&self) -> Option<Arc<dyn MailStore>> {
        Some(Arc::new(self.opened()))
    }

    fn crash(&self, store: Arc<dyn MailStore>) -> Option<Arc<dyn MailStore>> {
        let left = tempfile::tempdir().unwrap();
        copy(self.folders.lock().unwrap().last().unwrap().path(), left.path());
        drop(store);
        self.store.lock().unwrap().take();
        self.folders.lock().unwrap().push(left);
        Some(self.open())
    }

    fn advance(&self, by: Duration) -> bool {
        self.clock.advance(i64::try_from(by.as_secs()).unwrap());
        true
    }

    fn set_quota(&self, account: AccountId, quota: u64) -> bool {
        block_on(async { self.shared().set_quota(account, Some(quota)).await.unwrap() });
        true
    }
}

/// What kill -9 would leave at this moment: the database and its log first, which name no file that is not there yet.
/// Nothing here is long enough for a checkpoint in between.
fn copy(from: &Path, to: &Path) {
    let mut entries: Vec<_> = fs::read_dir(from).unwrap().map(|entry| entry.unwrap()).collect();
    entries.sort_by_key(|entry| entry.file_type().unwrap().is_dir());
    for entry in entries {
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            fs::create_dir(&target).unwrap();
            copy(&entry.path(), &target);
        } else if entry.file_name() != "mail.sqlite-shm" {
            // A file that goes while it is copied was not there.
            let _ = fs::copy(entry.path(), target);
        }
    }
}

#[test]
fn the_store_keeps_every_promise() {
    let report = conformance::run(&Embedded(|_| {}));
    assert!(report.unproved.is_empty());
}

#[test]
fn the_store_keeps_every_promise_with_files_only_and_without_group_commit() {
    let report = conformance::run(&Embedded(|config| {
        config.inline_up_to = 0;
        config.max_batch = 1;
        config.readers = 1;
    }));
    assert!(report.unproved.is_empty());
}
