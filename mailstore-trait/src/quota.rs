//! How much an account may hold, and how much it does (RFC 9208).
//!
//! Every account is one quota root: it covers all folders of the account, and whatever is put into one of them counts,
//! whoever puts it there. The limits are kept by the store and asked inside the commit ([`OpError::OverQuota`]), so that
//! nobody gets past them by being two. What takes nothing is never refused: moves, flags, removals, renames.
//!
//! | resource | counts | refuses |
//! |---|---|---|
//! | storage | octets of all messages, each place counted | [`Op::Add`], [`Op::Copy`] |
//! | messages | messages, each place counted | [`Op::Add`], [`Op::Copy`] |
//! | folders | folders that can hold messages, the inbox too | [`Op::CreateFolder`] |
//!
//! [`Op::Add`]: crate::batch::Op::Add
//! [`Op::Copy`]: crate::batch::Op::Copy
//! [`Op::CreateFolder`]: crate::batch::Op::CreateFolder
//! [`OpError::OverQuota`]: crate::error::OpError::OverQuota

#[cfg(feature = "async")]
use crate::error::QuotaError;
#[cfg(feature = "async")]
use crate::future::BoxFuture;
#[cfg(feature = "async")]
use crate::id::{AccountId, FolderId};

/// The most an account may hold; `None` where there is no limit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct QuotaLimits {
    /// Octets of messages (RFC 9208 §5.1, there in units of 1,024).
    pub storage: Option<u64>,
    /// Messages (RFC 9208 §5.2).
    pub messages: Option<u64>,
    /// Folders (RFC 9208 §5.3).
    pub folders: Option<u64>,
}

impl QuotaLimits {
    /// No limit at all.
    #[must_use]
    pub const fn none() -> QuotaLimits {
        QuotaLimits { storage: None, messages: None, folders: None }
    }

    /// The same with this many octets.
    #[must_use]
    pub const fn with_storage(self, storage: Option<u64>) -> QuotaLimits {
        QuotaLimits { storage, ..self }
    }

    /// The same with this many messages.
    #[must_use]
    pub const fn with_messages(self, messages: Option<u64>) -> QuotaLimits {
        QuotaLimits { messages, ..self }
    }

    /// The same with this many folders.
    #[must_use]
    pub const fn with_folders(self, folders: Option<u64>) -> QuotaLimits {
        QuotaLimits { folders, ..self }
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_none(&self) -> bool {
        *self == QuotaLimits::none()
    }
}

/// What an account holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct QuotaUsage {
    /// Octets of messages.
    pub storage: u64,
    /// Messages.
    pub messages: u64,
    /// Folders.
    pub folders: u64,
}

impl QuotaUsage {
    /// This much.
    #[must_use]
    pub const fn new(storage: u64, messages: u64, folders: u64) -> QuotaUsage {
        QuotaUsage { storage, messages, folders }
    }
}

/// An account's limits and what it holds, at one moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Quota {
    /// The most it may hold.
    pub limits: QuotaLimits,
    /// What it holds. May be more, after the limits were lowered.
    pub usage: QuotaUsage,
}

impl Quota {
    /// These limits and this usage.
    #[must_use]
    pub const fn new(limits: QuotaLimits, usage: QuotaUsage) -> Quota {
        Quota { limits, usage }
    }
}

/// Quotas. Optional: [`MailStore::as_quota`](crate::store::MailStore::as_quota).
///
/// Dropping the future of any method leaves all of it done or nothing.
#[cfg(feature = "async")]
pub trait QuotaStore: Send + Sync {
    /// Limits and usage, from one snapshot no older than the last commit that was answered.
    ///
    /// # Errors
    /// [`QuotaError::NotFound`] when there is no such account.
    fn quota(&self, account: AccountId) -> BoxFuture<'_, Result<Quota, QuotaError>>;

    /// Replaces all limits of the account and answers what they are now, with the usage.
    ///
    /// Durable when answered. Limits below what is held are legal: nothing is removed, only additions are refused from the
    /// next commit on. Takes no change number and gives no hint; a crash leaves the old limits or the new, never a mixture.
    ///
    /// # Errors
    /// [`QuotaError::NotFound`] when there is no such account. After [`QuotaError::Unknown`] repeat it.
    fn set_quota(&self, account: AccountId, limits: QuotaLimits) -> BoxFuture<'_, Result<Quota, QuotaError>>;

    /// Octets of the messages with `\Deleted`, of each folder that has any, ascending by folder (RFC 9208 §3.2:
    /// DELETED-STORAGE): what an EXPUNGE would give back.
    ///
    /// # Errors
    /// [`QuotaError::NotFound`] when there is no such account.
    fn deleted_octets(&self, account: AccountId) -> BoxFuture<'_, Result<Vec<(FolderId, u64)>, QuotaError>>;
}
