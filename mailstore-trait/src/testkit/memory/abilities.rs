//! Quotas, lists of rights and annotations of the reference store.

use std::ops::Bound;

use super::MemStore;
use crate::acl::{Acl, AclChange, AclStore, Grantee};
use crate::error::{AclError, MetadataError, QuotaError};
use crate::future::BoxFuture;
use crate::id::{AccountId, FolderId};
use crate::metadata::{Entry, EntryChange, MetadataLimits, MetadataStore, Subject, Wanted};
use crate::quota::{Quota, QuotaLimits, QuotaStore};

impl QuotaStore for MemStore {
    fn quota(&self, account: AccountId) -> BoxFuture<'_, Result<Quota, QuotaError>> {
        Box::pin(async move { Ok(self.read_account(account, |account| Ok(account.quota()))?) })
    }

    fn set_quota(&self, account: AccountId, limits: QuotaLimits) -> BoxFuture<'_, Result<Quota, QuotaError>> {
        Box::pin(async move {
            Ok(self.read_account(account, |account| {
                account.limits = limits;
                Ok(account.quota())
            })?)
        })
    }

    fn deleted_octets(&self, account: AccountId) -> BoxFuture<'_, Result<Vec<(FolderId, u64)>, QuotaError>> {
        Box::pin(async move { Ok(self.read_account(account, |account| Ok(account.deleted_octets()))?) })
    }
}

impl AclStore for MemStore {
    fn acls(&self, account: AccountId) -> BoxFuture<'_, Result<Vec<(FolderId, Acl)>, AclError>> {
        Box::pin(async move { Ok(self.read_account(account, |account| Ok(account.acls()))?) })
    }

    fn change_acl(
        &self,
        account: AccountId,
        folder: FolderId,
        change: AclChange,
    ) -> BoxFuture<'_, Result<Acl, AclError>> {
        Box::pin(async move {
            let (acl, upto) = self.with(|state| {
                let account = state.accounts.get_mut(&account).ok_or(AclError::NotFound)?;
                let before = account.at();
                let acl = account.change_acl(folder, change)?;
                Ok::<_, AclError>((acl, (account.at() > before).then(|| account.at())))
            })?;
            if let Some(upto) = upto {
                self.inner.hints.tell(account, upto);
            }
            Ok(acl)
        })
    }

    fn shared_with(
        &self,
        who: AccountId,
        after: Option<AccountId>,
        max: usize,
    ) -> BoxFuture<'_, Result<Vec<AccountId>, AclError>> {
        Box::pin(async move {
            let named = |grantee| grantee == Grantee::Anyone || grantee == Grantee::Account(who);
            let shares = |acl: &Acl| acl.entries.iter().any(|entry| !entry.negative && named(entry.grantee));
            Ok(self.with(|state| {
                let after = after.map_or(Bound::Unbounded, Bound::Excluded);
                let accounts = state.accounts.range((after, Bound::Unbounded));
                let sharing = accounts.filter(|(_, account)| account.acls().iter().any(|(_, acl)| shares(acl)));
                sharing.map(|(id, _)| *id).take(max).collect()
            }))
        })
    }
}

impl MetadataStore for MemStore {
    fn entries<'a>(
        &'a self,
        subjects: &'a [Subject],
        wanted: &'a [Wanted],
    ) -> BoxFuture<'a, Result<Vec<Entry>, MetadataError>> {
        Box::pin(async move {
            Ok(self.with(|state| {
                let mut subjects = subjects.to_vec();
                subjects.sort_unstable();
                subjects.dedup();
                let of = |subject| match subject {
                    Subject::Server => Some(&state.annotations),
                    Subject::Folder(account, folder) => state.accounts.get(&account)?.annotations(folder),
                };
                let found = subjects.into_iter().filter_map(|subject| Some((subject, of(subject)?)));
                found.flat_map(|(subject, annotations)| annotations.wanted(subject, wanted)).collect()
            }))
        })
    }

    fn set_entries(
        &self,
        subject: Subject,
        changes: Vec<EntryChange>,
        limits: MetadataLimits,
    ) -> BoxFuture<'_, Result<(), MetadataError>> {
        Box::pin(async move {
            let told = self.with(|state| match subject {
                Subject::Server => state.annotations.change(&changes, limits).map(|_| None),
                Subject::Folder(id, folder) => {
                    let account = state.accounts.get_mut(&id).ok_or(MetadataError::NotFound)?;
                    let before = account.at();
                    account.annotate(folder, &changes, limits)?;
                    Ok((account.at() > before).then(|| (id, account.at())))
                }
            })?;
            if let Some((account, upto)) = told {
                self.inner.hints.tell(account, upto);
            }
            Ok(())
        })
    }
}
