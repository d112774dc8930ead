//! Quotas, lists of rights and annotations as the traits' methods.

use mailstore_trait::acl::{Acl, AclChange, AclStore};
use mailstore_trait::error::{AclError, CommitError, MetadataError, QuotaError, ReadError};
use mailstore_trait::future::BoxFuture;
use mailstore_trait::id::{AccountId, FolderId};
use mailstore_trait::metadata::{Entry, EntryChange, MetadataLimits, MetadataStore, Subject, Wanted};
use mailstore_trait::quota::{Quota, QuotaLimits, QuotaStore};

use crate::fault::Fault;
use crate::read::abilities as reading;
use crate::store::Store;
use crate::write::abilities as writing;

/// A fault in the words of one of these families.
fn told<E: From<ReadError> + From<CommitError>>(fault: Fault) -> E {
    match fault {
        Fault::Corrupt(_) => E::from(ReadError::from(fault)),
        other => E::from(CommitError::from(other)),
    }
}

impl QuotaStore for Store {
    fn quota(&self, account: AccountId) -> BoxFuture<'_, Result<Quota, QuotaError>> {
        Box::pin(async move { self.read(move |snapshot| reading::quota(snapshot, account)).await.map_err(told) })
    }

    fn set_quota(&self, account: AccountId, limits: QuotaLimits) -> BoxFuture<'_, Result<Quota, QuotaError>> {
        Box::pin(async move { self.write(move |tx| writing::set_quota(tx, account, |_| limits)).await.map_err(told) })
    }

    fn deleted_octets(&self, account: AccountId) -> BoxFuture<'_, Result<Vec<(FolderId, u64)>, QuotaError>> {
        Box::pin(
            async move { self.read(move |snapshot| reading::deleted_octets(snapshot, account)).await.map_err(told) },
        )
    }
}

impl AclStore for Store {
    fn acls(&self, account: AccountId) -> BoxFuture<'_, Result<Vec<(FolderId, Acl)>, AclError>> {
        Box::pin(async move { self.read(move |snapshot| reading::acls(snapshot, account)).await.map_err(told) })
    }

    fn change_acl(
        &self,
        account: AccountId,
        folder: FolderId,
        change: AclChange,
    ) -> BoxFuture<'_, Result<Acl, AclError>> {
        Box::pin(async move {
            self.write(move |tx| writing::change_acl(tx, account, folder, change)).await.map_err(told::<AclError>)?
        })
    }

    fn shared_with(
        &self,
        who: AccountId,
        after: Option<AccountId>,
        max: usize,
    ) -> BoxFuture<'_, Result<Vec<AccountId>, AclError>> {
        Box::pin(async move {
            self.read(move |snapshot| reading::shared_with(snapshot, who, after, max)).await.map_err(told)
        })
    }
}

impl MetadataStore for Store {
    fn entries<'a>(
        &'a self,
        subjects: &'a [Subject],
        wanted: &'a [Wanted],
    ) -> BoxFuture<'a, Result<Vec<Entry>, MetadataError>> {
        let (subjects, wanted) = (subjects.to_vec(), wanted.to_vec());
        Box::pin(async move {
            self.read(move |snapshot| reading::entries(snapshot, &subjects, &wanted)).await.map_err(told)
        })
    }

    fn set_entries(
        &self,
        subject: Subject,
        changes: Vec<EntryChange>,
        limits: MetadataLimits,
    ) -> BoxFuture<'_, Result<(), MetadataError>> {
        Box::pin(async move {
            self.write(move |tx| writing::set_entries(tx, subject, &changes, limits))
                .await
                .map_err(told::<MetadataError>)?
        })
    }
}
