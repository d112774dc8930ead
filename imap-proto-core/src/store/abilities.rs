//! Other people's mailboxes, quotas, rights and annotations.
//!
//! Every question goes through a [`Guard`], which enforces the rights; here addresses become accounts and back.

use std::fmt;
use std::sync::Arc;

use mailstore_trait::acl::{AclChange, Allowed, Grantee, Rights};
use mailstore_trait::batch::{AccountOps, AddItem, Batch, Content, Op, OpOutcome};
use mailstore_trait::directory::{Directory, Principal, Resolution};
use mailstore_trait::error::{AclError, DirectoryError, MetadataError, QuotaError};
use mailstore_trait::guard::Guard;
use mailstore_trait::id::{AccountId, FolderId, MAX_48, Uid, UidValidity};
use mailstore_trait::item::{ItemsOptions, Projection};
use mailstore_trait::metadata::Entry;
use mailstore_trait::quota::Quota;
use mailstore_trait::sasl::saslprep;
use mailstore_trait::store::{MailStore, UploadOptions};
use mailstore_trait::uid_set::UidSet;

use super::Fulfiller;
use crate::request::{
    Abilities, Acl, ChangeAcl, DeletedOctets, GetQuota, Identified, IdentifierOf, Identify, Locate, Located, Metadata,
    MetadataRefusal, Owner, Refusal, SetMetadata, SetQuota, Share, Shares, Transferred,
};

/// RFC 4314 §2: everybody.
const ANYONE: &str = "anyone";

/// Who there is to share with.
#[derive(Clone)]
#[non_exhaustive]
pub struct Sharing {
    /// Addresses to accounts and back. Identifiers are addresses.
    pub directory: Arc<dyn Directory>,
    /// The account of the shared namespace; one that nobody logs in to.
    pub shared: Option<AccountId>,
    /// Who may set quotas and the server's shared annotations.
    pub administrators: Arc<[AccountId]>,
}

impl Sharing {
    /// Among the people of this directory, without a shared namespace and administrators.
    #[must_use]
    pub fn new(directory: Arc<dyn Directory>) -> Sharing {
        Sharing { directory, shared: None, administrators: Arc::new([]) }
    }

    /// The same with a shared namespace: the mailboxes of this account.
    #[must_use]
    pub fn with_shared(self, shared: Option<AccountId>) -> Sharing {
        Sharing { shared, ..self }
    }

    /// The same with these administrators.
    #[must_use]
    pub fn with_administrators(self, administrators: impl Into<Arc<[AccountId]>>) -> Sharing {
        Sharing { administrators: administrators.into(), ..self }
    }
}

impl fmt::Debug for Sharing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sharing")
            .field("shared", &self.shared)
            .field("administrators", &self.administrators)
            .finish_non_exhaustive()
    }
}

impl Fulfiller {
    /// Puts the store behind the guard of this principal; what there is for them beside mail.
    pub fn act_as(&mut self, principal: &Principal) -> Abilities {
        let administrators = self.sharing.as_ref().map(|sharing| Arc::clone(&sharing.administrators));
        let administers = administrators.is_some_and(|all| all.contains(&principal.account));
        let guard = Guard::new(Arc::clone(&self.whole), principal.account);
        let guard = Arc::new(if administers { guard.administrator() } else { guard });
        let mut abilities = Abilities::empty();
        abilities.set(Abilities::QUOTA, guard.as_quota().is_some());
        abilities.set(Abilities::QUOTASET, administers && guard.as_quota().is_some());
        abilities.set(Abilities::METADATA, guard.as_metadata().is_some());
        // Without a directory identifiers mean nothing.
        if let Some(sharing) = self.sharing.as_ref().filter(|_| guard.as_acl().is_some()) {
            abilities |= Abilities::ACL;
            abilities.set(Abilities::SHARED, sharing.shared.is_some());
        }
        self.store = guard.clone();
        self.guard = Some(guard);
        abilities
    }

    fn guard(&self) -> Result<Arc<Guard<Arc<dyn MailStore>>>, Refusal> {
        self.guard.clone().ok_or(Refusal::Unavailable)
    }

    fn sharing(&self) -> Result<Sharing, Refusal> {
        self.sharing.clone().ok_or(Refusal::Unavailable)
    }

    /// Whose address this is: one account's.
    async fn account_of(&mut self, address: &str) -> Result<Option<AccountId>, Refusal> {
        let resolved = self.sharing()?.directory.resolve(address).await;
        match resolved {
            Ok(Resolution::Mailboxes(principals)) => match principals.as_slice() {
                [principal] => Ok(Some(principal.account)),
                _ => Ok(None),
            },
            Ok(_) | Err(DirectoryError::NotFound | DirectoryError::IllegalAddress) => Ok(None),
            Err(error) => {
                self.hear(&error);
                Err(Refusal::Unavailable)
            }
        }
    }

    /// The address of an account; nothing when it was removed.
    async fn address_of(&mut self, account: AccountId) -> Result<Option<String>, Refusal> {
        match self.sharing()?.directory.principal(account).await {
            Ok(principal) => Ok(Some(principal.address)),
            Err(DirectoryError::NotFound) => Ok(None),
            Err(error) => {
                self.hear(&error);
                Err(Refusal::Unavailable)
            }
        }
    }

    fn acl_refused(&mut self, error: AclError) -> Refusal {
        if !matches!(error, AclError::NotFound | AclError::Denied | AclError::Limit | AclError::Busy { .. }) {
            self.hear(&error);
        }
        Refusal::from(&error)
    }

    fn quota_refused(&mut self, error: QuotaError) -> Refusal {
        if !matches!(error, QuotaError::NotFound | QuotaError::Denied | QuotaError::Busy { .. }) {
            self.hear(&error);
        }
        Refusal::from(&error)
    }

    pub(super) async fn locate(&mut self, query: Locate) -> Result<Located, Refusal> {
        let guard = self.guard()?;
        let account = match &query.owner {
            Owner::User(user) => self.account_of(user).await?,
            Owner::Shared => self.sharing()?.shared,
        };
        // Who is nobody costs the same questions as who shares nothing: they ask about an account there can't be.
        let nobody = AccountId::new(MAX_48).ok_or(Refusal::NotFound)?;
        let asked = account.unwrap_or(nobody);
        match guard.allowed(asked).await {
            Ok(allowed) => Ok(Located { account: asked, allowed }),
            Err(AclError::NotFound) if account.is_some() && self.administers(query.account) => {
                Ok(Located { account: asked, allowed: Allowed::Shared(Vec::new()) })
            }
            Err(error) => Err(self.acl_refused(error)),
        }
    }

    fn administers(&self, account: AccountId) -> bool {
        self.sharing.as_ref().is_some_and(|sharing| sharing.administrators.contains(&account))
    }

    pub(super) async fn shares(&mut self, query: Shares) -> Result<Vec<Share>, Refusal> {
        let guard = self.guard()?;
        let shared = self.sharing()?.shared;
        let Some(lists) = guard.as_acl() else { return Ok(Vec::new()) };
        let found = lists.shared_with(query.account, None, self.limits.shares).await;
        let mut shares = Vec::new();
        for account in found.map_err(|error| self.acl_refused(error))? {
            if account == query.account {
                continue;
            }
            let allowed = match guard.allowed(account).await {
                Ok(allowed) => allowed,
                Err(AclError::NotFound) => continue,
                Err(error) => return Err(self.acl_refused(error)),
            };
            let owner = match self.address_of(account).await? {
                _ if Some(account) == shared => Owner::Shared,
                // A name with a delimiter in it could not be found again.
                Some(address) if !address.contains('/') => Owner::User(address),
                _ => continue,
            };
            shares.push(Share { owner, located: Located { account, allowed } });
        }
        shares.sort_by(|a, b| a.owner.cmp(&b.owner));
        Ok(shares)
    }

    pub(super) async fn quota(&mut self, query: GetQuota) -> Result<Quota, Refusal> {
        let guard = self.guard()?;
        let quotas = guard.as_quota().ok_or(Refusal::Unavailable)?;
        quotas.quota(query.account).await.map_err(|error| self.quota_refused(error))
    }

    pub(super) async fn set_quota(&mut self, query: SetQuota) -> Result<Quota, Refusal> {
        let guard = self.guard()?;
        let quotas = guard.as_quota().ok_or(Refusal::Unavailable)?;
        let mut left = self.limits.repeats;
        loop {
            match quotas.set_quota(query.account, query.limits).await {
                Err(QuotaError::Unknown(_)) if left > 0 => left -= 1,
                set => return set.map_err(|error| self.quota_refused(error)),
            }
        }
    }

    pub(super) async fn deleted_octets(&mut self, query: DeletedOctets) -> Result<Vec<(FolderId, u64)>, Refusal> {
        let guard = self.guard()?;
        let quotas = guard.as_quota().ok_or(Refusal::Unavailable)?;
        quotas.deleted_octets(query.account).await.map_err(|error| self.quota_refused(error))
    }

    pub(super) async fn acl(&mut self, query: Acl) -> Result<Vec<Identified>, Refusal> {
        let guard = self.guard()?;
        let lists = guard.as_acl().ok_or(Refusal::Unavailable)?;
        let found = lists.acls(query.account).await.map_err(|error| self.acl_refused(error))?;
        let mut entries = Vec::new();
        // Who owns the mailbox has every right without standing on its list.
        let owner = self.address_of(query.account).await?;
        entries.extend(owner.map(|identifier| Identified { identifier, rights: Rights::all() }));
        let acl = found.into_iter().find(|(folder, _)| *folder == query.folder).map(|(_, acl)| acl);
        for entry in acl.into_iter().flat_map(|acl| acl.entries) {
            let name = match entry.grantee {
                Grantee::Anyone => Some(ANYONE.to_owned()),
                Grantee::Account(account) => self.address_of(account).await?,
            };
            let sign = if entry.negative { "-" } else { "" };
            entries.extend(name.map(|name| Identified { identifier: format!("{sign}{name}"), rights: entry.rights }));
        }
        Ok(entries)
    }

    /// Who an identifier is, and whether it stands for negative rights (RFC 4314 §2, §3).
    async fn grantee(&mut self, identifier: &str) -> Result<(Grantee, bool), Refusal> {
        let (name, negative) = match identifier.strip_prefix('-') {
            Some(name) => (name, true),
            None => (identifier, false),
        };
        let name = saslprep(name).map_err(|_| Refusal::IllegalName)?;
        if name.eq_ignore_ascii_case(ANYONE) {
            return Ok((Grantee::Anyone, negative));
        }
        let account = self.account_of(&name).await?.ok_or(Refusal::IllegalName)?;
        Ok((Grantee::Account(account), negative))
    }

    pub(super) async fn change_acl(&mut self, query: ChangeAcl) -> Result<(), Refusal> {
        let guard = self.guard()?;
        let lists = guard.as_acl().ok_or(Refusal::Unavailable)?;
        let (grantee, negative) = self.grantee(&query.identifier).await?;
        // RFC 4314 §2: what the owner always has can't be given or taken.
        if grantee == Grantee::Account(query.account) {
            return Err(Refusal::Denied);
        }
        let change = AclChange::new(grantee, query.change);
        let change = if negative { change.negative() } else { change };
        let mut left = self.limits.repeats;
        loop {
            match lists.change_acl(query.account, query.folder, change).await {
                Err(AclError::Unknown(_)) if left > 0 => left -= 1,
                changed => return changed.map(drop).map_err(|error| self.acl_refused(error)),
            }
        }
    }

    pub(super) async fn identify(&mut self, query: Identify) -> Result<IdentifierOf, Refusal> {
        let (grantee, negative) = self.grantee(&query.identifier).await?;
        let owner = grantee == Grantee::Account(query.account) && !negative;
        Ok(if owner { IdentifierOf::Owner } else { IdentifierOf::Other })
    }

    pub(super) async fn metadata(&mut self, query: Metadata) -> Result<Vec<Entry>, Refusal> {
        let guard = self.guard()?;
        let metadata = guard.as_metadata().ok_or(Refusal::Unavailable)?;
        let found = metadata.entries(&query.subjects, &query.wanted).await;
        found.map_err(|error| match self.metadata_refused(error) {
            MetadataRefusal::Refused(refusal) => refusal,
            _ => Refusal::Unavailable,
        })
    }

    fn metadata_refused(&mut self, error: MetadataError) -> MetadataRefusal {
        let refusal = MetadataRefusal::from(&error);
        if matches!(refusal, MetadataRefusal::Refused(Refusal::Unavailable | Refusal::Corrupt | Refusal::Unknown)) {
            self.hear(&error);
        }
        refusal
    }

    pub(super) async fn set_metadata(&mut self, query: SetMetadata) -> Result<(), MetadataRefusal> {
        let guard = self.guard().map_err(MetadataRefusal::Refused)?;
        let metadata = guard.as_metadata().ok_or(MetadataRefusal::Refused(Refusal::Unavailable))?;
        let mut left = self.limits.repeats;
        loop {
            match metadata.set_entries(query.subject, query.changes.clone(), self.limits.metadata).await {
                Err(MetadataError::Unknown(_)) if left > 0 => left -= 1,
                set => return set.map_err(|error| self.metadata_refused(error)),
            }
        }
    }

    /// Copies or moves messages into another account: their octets are uploaded anew, and one batch makes them visible
    /// there and, when they are moved, takes them away here.
    pub(super) async fn carry(
        &mut self,
        (from_account, from, uids): (AccountId, FolderId, UidSet),
        (to_account, to): (AccountId, FolderId),
        moves: bool,
    ) -> Result<Transferred, Refusal> {
        if moves && self.store.caps().max_accounts < 2 {
            return Err(Refusal::Limit);
        }
        let (mut ops, mut old) = (Vec::new(), Vec::new());
        let mut rest = uids;
        loop {
            let read = self.store.items(from_account, from, &rest, ItemsOptions::new(Projection::DATES)).await;
            let page = read.map_err(|error| self.read_refused(error))?;
            for row in page.rows() {
                let options = UploadOptions::new(self.store.caps().max_message).expecting(row.size);
                let mut upload = self.store.upload(options).await.map_err(|error| self.upload_refused(error))?;
                let mut offset = 0;
                loop {
                    let read = self.store.read(from_account, row.email, offset, self.limits.piece).await;
                    let piece = read.map_err(|error| self.read_refused(error))?;
                    if piece.is_empty() {
                        break;
                    }
                    offset += piece.len() as u64;
                    upload.write(piece).await.map_err(|error| self.upload_refused(error))?;
                }
                let staged = upload.finish().await.map_err(|error| self.upload_refused(error))?;
                old.push(row.uid);
                ops.push(Op::Add(AddItem {
                    folder: to,
                    content: Content::Staged(staged),
                    flags: page.flag_set(row),
                    internal_date: row.internal_date,
                }));
            }
            let Some(next) = page.next else { break };
            let mut behind = UidSet::new();
            behind.insert_range(next..=Uid::MAX);
            rest = rest.intersection(&behind);
        }
        let mut batch = Batch::empty(self.batch_id());
        batch.accounts.push(AccountOps { account: to_account, ops });
        if moves {
            let taken = Op::Remove { folder: from, uids: old.iter().copied().collect(), only_deleted: false };
            batch.accounts.push(AccountOps { account: from_account, ops: vec![taken] });
        }
        let committed = self.commit_all(batch).await?;
        let (mut from_uids, mut to_uids, mut validity) = (UidSet::new(), UidSet::new(), None);
        let added = committed.iter().find(|account| account.account == to_account);
        for (uid, outcome) in old.into_iter().zip(added.into_iter().flat_map(|account| &account.outcomes)) {
            if let OpOutcome::Added { uid: new, uid_validity, .. } = outcome {
                from_uids.insert(uid);
                to_uids.insert(*new);
                validity = Some(*uid_validity);
            }
        }
        let upto = match committed.iter().find(|account| account.account == from_account) {
            Some(account) => account.upto,
            None => self.store.account(from_account).await.map_err(|error| self.read_refused(error))?.at,
        };
        // Of no messages there is nothing to tell.
        let uid_validity = validity.unwrap_or(UidValidity::MIN);
        Ok(Transferred { uid_validity, from: from_uids, to: to_uids, upto })
    }
}
