//! Quotas, lists of rights and annotations as the traits' methods.

use mailstore_trait::acl::{Acl, AclChange, AclStore};
use mailstore_trait::error::{AclError, CommitError, MetadataError, QuotaError, ReadError};
use mailstore_trait::future::BoxFuture;
use mailstore_trait::id::{AccountId, FolderId};
use mailstore_trait::metadata::{Entry, EntryChange, MetadataLimits, MetadataStore, Subject, Wanted};
use mailstore_trait::quota::{Quota, QuotaLimits, QuotaStore};

use crate::fault::{Fault, Result};
use crate::read::abilities as reading;
use crate::store::Store;
use crate::write::abilities as writing;

/// A fault in the words of one of these families.
fn told<E: From<ReadError> + From<CommitError>>(fault: Fault) -> E {
    match writing::missing(fault) {
        fault @ Fault::Corrupt(_) => E::from(ReadError::from(fault)),
        other => E::from(CommitError::from(other)),
    }
}

impl QuotaStore for Store {
    fn quota(&self, account: AccountId) -> BoxFuture<'_, Result<Quota, QuotaError>> {
        Box::pin(async move { self.ask_any(|| Box::pin(reading::quota(self.env(), account))).await.map_err(told) })
    }

    fn set_quota(&self, account: AccountId, limits: QuotaLimits) -> BoxFuture<'_, Result<Quota, QuotaError>> {
        Box::pin(async move {
            let set = || -> BoxFuture<'_, _> { Box::pin(writing::set_quota(self.env(), account, move |_| limits)) };
            self.ask_any(set).await.map_err(told)
        })
    }

    fn deleted_octets(&self, account: AccountId) -> BoxFuture<'_, Result<Vec<(FolderId, u64)>, QuotaError>> {
        Box::pin(
            async move { self.ask_any(|| Box::pin(reading::deleted_octets(self.env(), account))).await.map_err(told) },
        )
    }
}

impl AclStore for Store {
    fn acls(&self, account: AccountId) -> BoxFuture<'_, Result<Vec<(FolderId, Acl)>, AclError>> {
        Box::pin(async move { self.ask_any(|| Box::pin(reading::acls(self.env(), account))).await.map_err(told) })
    }

    fn change_acl(
        &self,
        account: AccountId,
        folder: FolderId,
        change: AclChange,
    ) -> BoxFuture<'_, Result<Acl, AclError>> {
        Box::pin(async move {
            let changed = self.ask_any(|| Box::pin(writing::change_acl(self.env(), account, folder, change))).await;
            changed.map_err(told::<AclError>)?
        })
    }

    fn shared_with(
        &self,
        who: AccountId,
        after: Option<AccountId>,
        max: usize,
    ) -> BoxFuture<'_, Result<Vec<AccountId>, AclError>> {
        Box::pin(async move {
            self.ask_any(|| Box::pin(reading::shared_with(self.env(), who, after, max))).await.map_err(told)
        })
    }
}

impl MetadataStore for Store {
    fn entries<'a>(
        &'a self,
        subjects: &'a [Subject],
        wanted: &'a [Wanted],
    ) -> BoxFuture<'a, Result<Vec<Entry>, MetadataError>> {
        Box::pin(async move {
            self.ask_any(|| Box::pin(reading::entries(self.env(), subjects, wanted))).await.map_err(told)
        })
    }

    fn set_entries(
        &self,
        subject: Subject,
        changes: Vec<EntryChange>,
        limits: MetadataLimits,
    ) -> BoxFuture<'_, Result<(), MetadataError>> {
        Box::pin(async move {
            // Shared, for the work may be done twice.
            let changes = std::sync::Arc::new(changes);
            let set = || -> BoxFuture<'_, _> {
                let changes = std::sync::Arc::clone(&changes);
                Box::pin(async move { writing::set_entries(self.env(), subject, &changes, limits).await })
            };
            self.ask_any(set).await.map_err(told::<MetadataError>)?
        })
    }
}
