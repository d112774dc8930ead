//! The conformance rig of the reference store, against which the kit itself is tried.

use std::sync::Arc;
use std::time::Duration;

use super::MemStore;
use crate::id::AccountId;
use crate::store::MailStore;
use crate::testkit::conformance::{Data, Rig};

/// Makes [`MemStore`]s.
#[derive(Clone, Copy, Debug, Default)]
pub struct MemRig;

impl MemRig {
    /// The rig.
    #[must_use]
    pub fn new() -> MemRig {
        MemRig
    }
}

impl Rig for MemRig {
    fn fresh(&self) -> Box<dyn Data + '_> {
        Box::new(MemStore::new())
    }
}

impl Data for MemStore {
    fn open(&self) -> Arc<dyn MailStore> {
        Arc::new(self.clone())
    }

    fn open_elsewhere(&self) -> Option<Arc<dyn MailStore>> {
        Some(Arc::new(self.clone()))
    }

    /// What was committed lives as long as this value: a handle that dies takes nothing along.
    fn crash(&self, store: Arc<dyn MailStore>) -> Option<Arc<dyn MailStore>> {
        drop(store);
        Some(Arc::new(self.clone()))
    }

    fn advance(&self, by: Duration) -> bool {
        MemStore::advance(self, by);
        true
    }

    fn set_quota(&self, account: AccountId, quota: u64) -> bool {
        MemStore::set_quota(self, account, Some(quota));
        true
    }
}
