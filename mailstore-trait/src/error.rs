//! What can go wrong, one closed enum for each family of operations.

use std::time::Duration;

use crate::id::{BlobId, ModSeq};

/// A backend's own error, kept as the source.
pub type Source = Box<dyn std::error::Error + Send + Sync>;

/// Why something could not be read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ReadError {
    /// No such account, folder, item or octets, or the caller may not know that there is.
    #[error("not found")]
    NotFound,
    /// The caller may know of it, but not read it ([`Guard`](crate::guard::Guard)).
    #[error("not permitted")]
    Denied,
    /// Below the oldest change whose removals are still known; read everything anew.
    #[error("changes are known only from {floor} on")]
    Gap {
        /// The oldest usable cursor.
        floor: ModSeq,
    },
    /// Overloaded; try again.
    #[error("busy, try again in {retry_after:?}")]
    Busy {
        /// When to try again.
        retry_after: Duration,
    },
    /// What was stored does not read back; the rest of the mailbox still works.
    #[error("corrupt: {what}")]
    Corrupt {
        /// The row or blob, by id.
        what: String,
    },
    /// The backend failed.
    #[error("the store is unavailable")]
    Unavailable(#[source] Source),
}

/// Why octets could not be uploaded.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum UploadError {
    /// More octets than [`UploadOptions::limit`](crate::store::UploadOptions::limit).
    #[error("more than {limit} octets")]
    TooLarge {
        /// The limit that was passed.
        limit: u64,
    },
    /// No room on the disk.
    #[error("no space left")]
    Full,
    /// The backend failed.
    #[error("the store is unavailable")]
    Unavailable(#[source] Source),
}

/// Why a batch was not committed. Nothing of it was done, but for [`CommitError::Unknown`].
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CommitError {
    /// An operation failed and the batch was all or nothing.
    #[error("operation {at} of account {account}: {error}")]
    Operation {
        /// The position of the account in the batch.
        account: usize,
        /// The position of the operation among the account's.
        at: usize,
        /// Why.
        #[source]
        error: OpError,
    },
    /// A newer holder of the lease has been seen.
    #[error("the lease was lost")]
    Fenced,
    /// More accounts, operations or octets than the store takes in one batch.
    #[error("the batch is too large")]
    TooLarge,
    /// Staged octets were collected before the commit; upload them again.
    #[error("octets {0} are gone")]
    BlobGone(BlobId),
    /// The store takes no writes.
    #[error("the store is read-only")]
    ReadOnly,
    /// No room on the disk.
    #[error("no space left")]
    Full,
    /// Overloaded; try again.
    #[error("busy, try again in {retry_after:?}")]
    Busy {
        /// When to try again.
        retry_after: Duration,
    },
    /// Whether it was done is not known: repeat the batch with the same id.
    #[error("the outcome is not known")]
    Unknown(#[source] Source),
    /// The backend failed before anything was done.
    #[error("the store is unavailable")]
    Unavailable(#[source] Source),
}

/// Why one operation was not done.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum OpError {
    /// No such account, folder or message, or the caller may not know that there is.
    #[error("not found")]
    NotFound,
    /// The name is taken.
    #[error("already exists")]
    Exists,
    /// The role is another folder's.
    #[error("another folder has this role")]
    RoleTaken,
    /// The inbox can't be renamed, deleted or given a role.
    #[error("not possible with the inbox")]
    Inbox,
    /// The folder has children.
    #[error("the folder has children")]
    HasChildren,
    /// The folder is a name only.
    #[error("the folder holds no messages")]
    NotSelectable,
    /// A folder can't become its own descendant.
    #[error("a folder can't lie in itself")]
    Cycle,
    /// The name is empty, too long, or holds control characters.
    #[error("illegal name")]
    IllegalName,
    /// A precondition does not hold.
    #[error("changed meanwhile")]
    Conflict,
    /// The caller may know of the folder, but not do this with it ([`Guard`](crate::guard::Guard)).
    #[error("not permitted")]
    Denied,
    /// The account's quota would be exceeded.
    #[error("over quota")]
    OverQuota,
    /// UIDs, ids, folders or keywords are used up.
    #[error("a limit of the store is reached")]
    Limit,
}

/// Why a lease was not given, renewed or released.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LeaseError {
    /// Somebody else holds it.
    #[error("held by another")]
    Held,
    /// It ran out or was taken over.
    #[error("the lease was lost")]
    Lost,
    /// The backend failed.
    #[error("the store is unavailable")]
    Unavailable(#[source] Source),
}

/// Why an identity or address could not be looked up.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DirectoryError {
    /// The name is taken.
    #[error("already exists")]
    Exists,
    /// No such principal.
    #[error("not found")]
    NotFound,
    /// Not an address, or none of our domains.
    #[error("illegal address")]
    IllegalAddress,
    /// The backend failed.
    #[error("the directory is unavailable")]
    Unavailable(#[source] Source),
}

macro_rules! ability_error {
    ($(#[$doc:meta])* $name:ident { $($(#[$variant_doc:meta])* $variant:ident $({ $($(#[$field_doc:meta])* $field:ident: $type:ty),* })?),* $(,)? }) => {
        $(#[$doc])*
        #[derive(Debug, thiserror::Error)]
        #[non_exhaustive]
        pub enum $name {
            /// No such account or folder, or the caller may not know that there is.
            #[error("not found")]
            NotFound,
            /// The caller may know of it, but not do this with it.
            #[error("not permitted")]
            Denied,
            $($(#[$variant_doc])* $variant $({ $($(#[$field_doc])* $field: $type),* })?,)*
            /// The store takes no writes.
            #[error("the store is read-only")]
            ReadOnly,
            /// No room on the disk.
            #[error("no space left")]
            Full,
            /// Overloaded; try again.
            #[error("busy, try again in {retry_after:?}")]
            Busy {
                /// When to try again.
                retry_after: Duration,
            },
            /// What was stored does not read back.
            #[error("corrupt: {what}")]
            Corrupt {
                /// The row, by id.
                what: String,
            },
            /// Whether it was done is not known: repeat it.
            #[error("the outcome is not known")]
            Unknown(#[source] Source),
            /// The backend failed before anything was done.
            #[error("the store is unavailable")]
            Unavailable(#[source] Source),
        }

        impl From<ReadError> for $name {
            fn from(error: ReadError) -> $name {
                match error {
                    ReadError::NotFound => $name::NotFound,
                    ReadError::Denied => $name::Denied,
                    ReadError::Busy { retry_after } => $name::Busy { retry_after },
                    ReadError::Corrupt { what } => $name::Corrupt { what },
                    ReadError::Unavailable(source) => $name::Unavailable(source),
                    other @ ReadError::Gap { .. } => $name::Unavailable(Box::new(other)),
                }
            }
        }

        impl From<CommitError> for $name {
            fn from(error: CommitError) -> $name {
                match error {
                    CommitError::Operation { error: OpError::NotFound | OpError::NotSelectable, .. } => $name::NotFound,
                    CommitError::Operation { error: OpError::Denied, .. } => $name::Denied,
                    CommitError::ReadOnly => $name::ReadOnly,
                    CommitError::Full => $name::Full,
                    CommitError::Busy { retry_after } => $name::Busy { retry_after },
                    CommitError::Unknown(source) => $name::Unknown(source),
                    CommitError::Unavailable(source) => $name::Unavailable(source),
                    other => $name::Unavailable(Box::new(other)),
                }
            }
        }
    };
}

ability_error! {
    /// Why a quota could not be read or set.
    QuotaError {}
}

ability_error! {
    /// Why a list of rights could not be read or changed.
    AclError {
        /// The list has as many entries as it may.
        #[error("the list is full")]
        Limit,
    }
}

ability_error! {
    /// Why annotations could not be read or set.
    MetadataError {
        /// A value has more octets than it may.
        #[error("a value of more than {limit} octets")]
        TooLarge {
            /// The limit that was passed.
            limit: u64
        },
        /// The subject has as many entries as it may.
        #[error("too many entries")]
        TooMany,
    }
}
