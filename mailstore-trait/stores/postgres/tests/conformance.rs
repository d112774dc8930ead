//! Every promise of the storage contract, on a PostgreSQL of the test's own.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::cast_possible_truncation)]

mod common;

use std::sync::{Arc, Mutex};
use std::time::Duration;

use common::{Clock, Cluster, block_on, terminate};
use mailstore_postgres::{Config, Store};
use mailstore_trait::future::BoxFuture;
use mailstore_trait::id::AccountId;
use mailstore_trait::store::MailStore;
use mailstore_trait::testkit::conformance::{self, Data, Rig};

/// Stores with these settings.
struct Postgres {
    cluster: Arc<Cluster>,
    change: fn(&mut Config),
}

struct Database {
    address: String,
    clock: Clock,
    change: fn(&mut Config),
    /// The handles this process has.
    store: Mutex<Option<Store>>,
}

impl Rig for Postgres {
    fn fresh(&self) -> Box<dyn Data + '_> {
        let address = self.cluster.database();
        Box::new(Database { address, clock: Clock::new(), change: self.change, store: Mutex::new(None) })
    }

    fn block_on(&self, work: BoxFuture<'_, ()>) {
        block_on(work);
    }
}

impl Database {
    fn opened(&self) -> Store {
        let mut config = self.clock.configured();
        (self.change)(&mut config);
        block_on(Store::open(&self.address, config)).unwrap()
    }

    fn shared(&self) -> Store {
        self.store.lock().unwrap().get_or_insert_with(|| self.opened()).clone()
    }
}

impl Data for Database {
    fn open(&self) -> Arc<dyn MailStore> {
        Arc::new(self.shared())
    }

    fn open_elsewhere(&self) -> Option<Arc<dyn MailStore>> {
        Some(Arc::new(self.opened()))
    }

    /// All server processes are ended in the middle of what they do, as a failing machine would have it.
    fn crash(&self, store: Arc<dyn MailStore>) -> Option<Arc<dyn MailStore>> {
        drop(store);
        self.store.lock().unwrap().take();
        terminate(&self.address);
        Some(self.open())
    }

    fn advance(&self, by: Duration) -> bool {
        self.clock.advance(by);
        true
    }

    fn set_quota(&self, account: AccountId, quota: u64) -> bool {
        block_on(self.shared().set_quota(account, Some(quota))).unwrap();
        true
    }
}

impl Drop for Database {
    fn drop(&mut self) {
        if let Some(store) = self.store.lock().unwrap().take() {
            block_on(store.close());
        }
    }
}

/// There is no full-text index here yet, so nothing can be said of one.
const NO_INDEX: [&str; 2] = ["an_index_misses_nothing", "an_index_comes_along"];

fn unproved(report: &conformance::Report) -> Vec<&'static str> {
    report.unproved.iter().map(|(name, _)| *name).collect()
}

#[test]
#[ignore = "needs PostgreSQL 15"]
fn the_store_keeps_every_promise() {
    let report = conformance::run(&Postgres { cluster: Cluster::shared(), change: |_| {} });
    assert_eq!(unproved(&report), NO_INDEX);
}

#[test]
#[ignore = "needs PostgreSQL 15"]
fn the_store_keeps_every_promise_with_pieces_only_and_prepared_statements() {
    let change = |config: &mut Config| {
        config.inline_up_to = 0;
        config.piece = 10_000;
        config.prepared_statements = true;
        config.listen = false;
    };
    let report = conformance::run(&Postgres { cluster: Cluster::shared(), change });
    assert_eq!(unproved(&report), NO_INDEX);
}
