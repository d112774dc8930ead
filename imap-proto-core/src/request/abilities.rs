//! Questions about what lies beside mail: other people's mailboxes, quotas, rights and annotations.

use mailstore_trait::acl::{Allowed, Rights, RightsChange};
use mailstore_trait::error::{AclError, MetadataError, QuotaError};
use mailstore_trait::id::{AccountId, FolderId};
use mailstore_trait::metadata::{EntryChange, Subject, Wanted};
use mailstore_trait::quota::QuotaLimits;

use super::Refusal;

bitflags::bitflags! {
    /// What there is for a client beside mail; what is not there is off the wire.
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
    pub struct Abilities: u8 {
        /// Quotas can be asked for.
        const QUOTA = 1;
        /// This client may set them.
        const QUOTASET = 2;
        /// Mailboxes have lists of rights, and those of others can be reached.
        const ACL = 4;
        /// There is a namespace of shared mailboxes.
        const SHARED = 8;
        /// There are annotations.
        const METADATA = 16;
    }
}

/// Whose mailboxes lie below a name of a namespace (RFC 2342 §5).
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Owner {
    /// The user of this name, in the other users' namespace.
    User(String),
    /// Nobody's: the shared namespace.
    Shared,
}

/// Whose mailboxes these are, and what the client may do with them. Asked before each command that names a mailbox in
/// another namespace than the personal one.
///
/// Refusal: [`Refusal::Unavailable`]. [`Refusal::NotFound`] when there is nobody of this name, or nothing of theirs that
/// may be looked up: it takes the same look-ups and the same time.
#[derive(Debug)]
pub struct Locate {
    /// Who asks.
    pub account: AccountId,
    /// Whose.
    pub owner: Owner,
}

/// The answer to [`Locate`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Located {
    /// The account.
    pub account: AccountId,
    /// What may be done with its folders.
    pub allowed: Allowed,
}

/// Everybody who shares something with the client, for LIST. Bounded by the fulfiller.
///
/// Refusal: [`Refusal::Unavailable`]; the LIST is answered NO.
#[derive(Debug)]
pub struct Shares {
    /// Who asks.
    pub account: AccountId,
}

/// Somebody who shares something.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Share {
    /// Whose mailboxes these are.
    pub owner: Owner,
    /// Their account.
    pub located: Located,
}

/// Limits and usage of an account (RFC 9208 §4.1.1).
///
/// Refusal: [`Refusal::Unavailable`].
#[derive(Debug)]
pub struct GetQuota {
    /// Whose.
    pub account: AccountId,
}

/// Replaces all limits of an account (RFC 9208 §4.1.3).
///
/// Refusal: [`Refusal::Unavailable`].
#[derive(Debug)]
pub struct SetQuota {
    /// Whose.
    pub account: AccountId,
    /// The new limits.
    pub limits: QuotaLimits,
}

/// Octets of messages with `\Deleted` by folder (RFC 9208 §4.1.4); folders without any are left out.
///
/// Refusal: [`Refusal::Unavailable`].
#[derive(Debug)]
pub struct DeletedOctets {
    /// Whose.
    pub account: AccountId,
}

/// A folder's list (RFC 4314 §3.3), the owner's entry first.
///
/// Refusal: [`Refusal::Unavailable`].
#[derive(Debug)]
pub struct Acl {
    /// Whose.
    pub account: AccountId,
    /// Which folder.
    pub folder: FolderId,
}

/// An entry of a list as it stands on the wire.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identified {
    /// Who: an address or `anyone`; behind `-` where the rights are taken.
    pub identifier: String,
    /// Which rights.
    pub rights: Rights,
}

/// Changes one entry of a folder's list (RFC 4314 §3.1, §3.2).
///
/// Refusal: [`Refusal::Unavailable`]. [`Refusal::IllegalName`] when the identifier is nobody.
#[derive(Debug)]
pub struct ChangeAcl {
    /// Whose.
    pub account: AccountId,
    /// Which folder.
    pub folder: FolderId,
    /// Whose entry, as the client wrote it.
    pub identifier: String,
    /// What with the rights.
    pub change: RightsChange,
}

/// Who an identifier is (RFC 4314 §3.4).
///
/// Refusal: [`Refusal::Unavailable`]. [`Refusal::IllegalName`] when it is nobody.
#[derive(Debug)]
pub struct Identify {
    /// Whose mailbox it is about.
    pub account: AccountId,
    /// The identifier, as the client wrote it.
    pub identifier: String,
}

/// The answer to [`Identify`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IdentifierOf {
    /// The mailbox's owner, who has every right.
    Owner,
    /// Somebody else, or everybody.
    Other,
}

/// Annotations of these subjects that are wanted (RFC 5464 §4.2), ascending by subject, scope and name.
///
/// Refusal: [`Refusal::Unavailable`].
#[derive(Debug)]
pub struct Metadata {
    /// What about.
    pub subjects: Vec<Subject>,
    /// Which.
    pub wanted: Vec<Wanted>,
}

/// Sets annotations of one subject: all or none (RFC 5464 §4.3).
///
/// Refusal: [`Refusal::Unavailable`].
#[derive(Debug)]
pub struct SetMetadata {
    /// What about.
    pub subject: Subject,
    /// What they are to be.
    pub changes: Vec<EntryChange>,
}

/// Why annotations were not set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum MetadataRefusal {
    /// A value has more than this many octets.
    TooLarge(u64),
    /// There would be too many of them.
    TooMany,
    /// As any question.
    Refused(Refusal),
}

impl From<&QuotaError> for Refusal {
    fn from(error: &QuotaError) -> Refusal {
        match error {
            QuotaError::NotFound => Refusal::NotFound,
            QuotaError::Denied => Refusal::Denied,
            QuotaError::ReadOnly => Refusal::ReadOnly,
            QuotaError::Full => Refusal::OverQuota,
            QuotaError::Busy { .. } => Refusal::Busy,
            QuotaError::Corrupt { .. } => Refusal::Corrupt,
            QuotaError::Unknown(_) => Refusal::Unknown,
            _ => Refusal::Unavailable,
        }
    }
}

impl From<&AclError> for Refusal {
    fn from(error: &AclError) -> Refusal {
        match error {
            AclError::NotFound => Refusal::NotFound,
            AclError::Denied => Refusal::Denied,
            AclError::Limit => Refusal::Limit,
            AclError::ReadOnly => Refusal::ReadOnly,
            AclError::Full => Refusal::OverQuota,
            AclError::Busy { .. } => Refusal::Busy,
            AclError::Corrupt { .. } => Refusal::Corrupt,
            AclError::Unknown(_) => Refusal::Unknown,
            _ => Refusal::Unavailable,
        }
    }
}

impl From<&MetadataError> for MetadataRefusal {
    fn from(error: &MetadataError) -> MetadataRefusal {
        MetadataRefusal::Refused(match error {
            MetadataError::TooLarge { limit } => return MetadataRefusal::TooLarge(*limit),
            MetadataError::TooMany => return MetadataRefusal::TooMany,
            MetadataError::NotFound => Refusal::NotFound,
            MetadataError::Denied => Refusal::Denied,
            MetadataError::ReadOnly => Refusal::ReadOnly,
            MetadataError::Full => Refusal::OverQuota,
            MetadataError::Busy { .. } => Refusal::Busy,
            MetadataError::Corrupt { .. } => Refusal::Corrupt,
            MetadataError::Unknown(_) => Refusal::Unknown,
            _ => Refusal::Unavailable,
        })
    }
}
