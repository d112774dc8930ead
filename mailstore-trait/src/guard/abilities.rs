//! Quotas, lists of rights and annotations, as far as the principal may see and change them.

use std::ops::Deref;

use super::{Guard, Needs};
use crate::acl::{Acl, AclChange, AclStore, Allowed, Rights};
use crate::error::{AclError, MetadataError, OpError, QuotaError, ReadError};
use crate::future::BoxFuture;
use crate::id::{AccountId, FolderId};
use crate::metadata::{Entry, EntryChange, MetadataLimits, MetadataStore, Scope, Subject, Wanted};
use crate::query::Filter;
use crate::quota::{Quota, QuotaLimits, QuotaStore};
use crate::search::{Candidates, SearchStore};
use crate::store::MailStore;

/// RFC 5464 §3.3: one of these beside the look-up right.
const ANNOTATES: [Rights; 5] = [Rights::READ, Rights::SEEN, Rights::WRITE, Rights::INSERT, Rights::POST];

fn annotates(rights: Rights) -> bool {
    ANNOTATES.iter().any(|right| rights.contains(*right))
}

impl<S> Guard<S>
where
    S: Deref + Send + Sync,
    S::Target: MailStore,
{
    fn quotas(&self) -> Result<&dyn QuotaStore, QuotaError> {
        self.store.as_quota().ok_or(QuotaError::NotFound)
    }

    async fn of(&self, account: AccountId) -> Result<Allowed, QuotaError> {
        self.allowed(account).await.map_err(|error| match error {
            AclError::Busy { retry_after } => QuotaError::Busy { retry_after },
            AclError::Corrupt { what } => QuotaError::Corrupt { what },
            AclError::Unavailable(source) => QuotaError::Unavailable(source),
            _ => QuotaError::NotFound,
        })
    }
}

impl<S> QuotaStore for Guard<S>
where
    S: Deref + Send + Sync,
    S::Target: MailStore,
{
    fn quota(&self, account: AccountId) -> BoxFuture<'_, Result<Quota, QuotaError>> {
        Box::pin(async move {
            if !self.administrator && !self.of(account).await?.any(Rights::INSERT) {
                return Err(QuotaError::Denied);
            }
            self.quotas()?.quota(account).await
        })
    }

    fn set_quota(&self, account: AccountId, limits: QuotaLimits) -> BoxFuture<'_, Result<Quota, QuotaError>> {
        Box::pin(async move {
            if !self.administrator {
                self.of(account).await?;
                return Err(QuotaError::Denied);
            }
            self.quotas()?.set_quota(account, limits).await
        })
    }

    fn deleted_octets(&self, account: AccountId) -> BoxFuture<'_, Result<Vec<(FolderId, u64)>, QuotaError>> {
        Box::pin(async move {
            let allowed = self.of(account).await?;
            let mut octets = self.quotas()?.deleted_octets(account).await?;
            octets.retain(|(folder, _)| allowed.rights(*folder).contains(Rights::READ));
            Ok(octets)
        })
    }
}

impl<S> AclStore for Guard<S>
where
    S: Deref + Send + Sync,
    S::Target: MailStore,
{
    /// The lists that the principal may read. Whose own rights they want to know asks [`Guard::allowed`].
    fn acls(&self, account: AccountId) -> BoxFuture<'_, Result<Vec<(FolderId, Acl)>, AclError>> {
        Box::pin(async move {
            let allowed = self.allowed(account).await?;
            let mut acls = self.store.as_acl().ok_or(AclError::NotFound)?.acls(account).await?;
            acls.retain(|(folder, _)| allowed.rights(*folder).contains(Rights::ADMIN));
            Ok(acls)
        })
    }

    fn change_acl(
        &self,
        account: AccountId,
        folder: FolderId,
        change: AclChange,
    ) -> BoxFuture<'_, Result<Acl, AclError>> {
        Box::pin(async move {
            let allowed = self.allowed(account).await?;
            allowed.needs(folder, Rights::ADMIN).map_err(|error| match error {
                OpError::Denied => AclError::Denied,
                _ => AclError::NotFound,
            })?;
            self.store.as_acl().ok_or(AclError::NotFound)?.change_acl(account, folder, change).await
        })
    }

    fn shared_with(
        &self,
        who: AccountId,
        after: Option<AccountId>,
        max: usize,
    ) -> BoxFuture<'_, Result<Vec<AccountId>, AclError>> {
        Box::pin(async move {
            if who != self.viewer {
                return Err(AclError::Denied);
            }
            self.store.as_acl().ok_or(AclError::NotFound)?.shared_with(who, after, max).await
        })
    }
}

impl<S> MetadataStore for Guard<S>
where
    S: Deref + Send + Sync,
    S::Target: MailStore,
{
    /// What may not be seen is as if it were not there: entries of folders, and what is private to others.
    fn entries<'a>(
        &'a self,
        subjects: &'a [Subject],
        wanted: &'a [Wanted],
    ) -> BoxFuture<'a, Result<Vec<Entry>, MetadataError>> {
        Box::pin(async move {
            let metadata = self.store.as_metadata().ok_or(MetadataError::NotFound)?;
            let own = |one: &&Wanted| one.scope == Scope::Shared || one.scope == Scope::Private(self.viewer);
            let wanted: Vec<Wanted> = wanted.iter().filter(own).cloned().collect();
            let mut seen = Vec::new();
            let mut last: Option<(AccountId, Option<Allowed>)> = None;
            for subject in subjects {
                let Subject::Folder(account, folder) = *subject else {
                    seen.push(*subject);
                    continue;
                };
                if last.as_ref().is_none_or(|(of, _)| *of != account) {
                    let allowed = match self.allowed(account).await {
                        Ok(allowed) => Some(allowed),
                        Err(AclError::NotFound) => None,
                        Err(AclError::Busy { retry_after }) => return Err(MetadataError::Busy { retry_after }),
                        Err(AclError::Corrupt { what }) => return Err(MetadataError::Corrupt { what }),
                        Err(error) => return Err(MetadataError::Unavailable(Box::new(error))),
                    };
                    last = Some((account, allowed));
                }
                let allowed = last.as_ref().and_then(|(_, allowed)| allowed.as_ref());
                if allowed.is_some_and(|allowed| annotates(allowed.rights(folder))) {
                    seen.push(*subject);
                }
            }
            metadata.entries(&seen, &wanted).await
        })
    }

    fn set_entries(
        &self,
        subject: Subject,
        changes: Vec<EntryChange>,
        limits: MetadataLimits,
    ) -> BoxFuture<'_, Result<(), MetadataError>> {
        Box::pin(async move {
            let metadata = self.store.as_metadata().ok_or(MetadataError::NotFound)?;
            match subject {
                Subject::Server => {
                    if !self.administrator && changes.iter().any(|change| change.scope == Scope::Shared) {
                        return Err(MetadataError::Denied);
                    }
                }
                Subject::Folder(account, folder) => {
                    let allowed = match self.allowed(account).await {
                        Ok(allowed) => allowed,
                        Err(AclError::NotFound) => return Err(MetadataError::NotFound),
                        Err(AclError::Busy { retry_after }) => return Err(MetadataError::Busy { retry_after }),
                        Err(error) => return Err(MetadataError::Unavailable(Box::new(error))),
                    };
                    let rights = allowed.needs(folder, Rights::LOOKUP).map_err(|_| MetadataError::NotFound)?;
                    if !annotates(rights) {
                        return Err(MetadataError::Denied);
                    }
                }
            }
            let others = |change: &EntryChange| matches!(change.scope, Scope::Private(whose) if whose != self.viewer);
            if changes.iter().any(others) {
                return Err(MetadataError::Denied);
            }
            metadata.set_entries(subject, changes, limits).await
        })
    }
}

impl<S> SearchStore for Guard<S>
where
    S: Deref + Send + Sync,
    S::Target: MailStore,
{
    fn candidates<'a>(
        &'a self,
        account: AccountId,
        folder: FolderId,
        filter: &'a Filter,
    ) -> BoxFuture<'a, Result<Option<Candidates>, ReadError>> {
        Box::pin(async move {
            self.readable(account).await?.reads(folder)?;
            let Some(index) = self.store.as_search() else { return Ok(None) };
            index.candidates(account, folder, filter).await
        })
    }
}
