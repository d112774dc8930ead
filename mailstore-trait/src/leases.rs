//! Exclusive rights for a while, with fencing: POP3 maildrops, queue entries, background workers.

use std::time::Duration;

use crate::date::Timestamp;
use crate::error::LeaseError;
use crate::future::BoxFuture;
use crate::id::AccountId;

/// What a lease is for.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum LeaseScope {
    /// The account's POP3 maildrop (RFC 1939 §4). Never blocks IMAP or delivery.
    Maildrop(AccountId),
    /// A worker of which there is to be one.
    Worker(String),
}

/// A lease that was given.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lease {
    /// What for.
    pub scope: LeaseScope,
    /// To whom: random, one for each holder.
    pub owner: [u8; 16],
    /// Higher than any token given for this scope before.
    pub token: u64,
    /// When it runs out, on the store's clock.
    pub expires: Timestamp,
}

impl Lease {
    /// The proof to put into batches that must not outlive the lease.
    #[must_use]
    pub fn fence(&self) -> Fence {
        Fence { scope: self.scope.clone(), token: self.token }
    }
}

/// Proof of a lease. A store refuses tokens below the highest it has given for the scope.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fence {
    /// What the lease is for.
    pub scope: LeaseScope,
    /// Its token.
    pub token: u64,
}

/// Gives and takes leases. Part of every store.
pub trait Leases: Send + Sync {
    /// Takes the lease when nobody holds it, or the holder's time is over, or `owner` holds it already. The token is a new
    /// one in each case.
    ///
    /// # Errors
    /// [`LeaseError::Held`] while another holds it.
    fn acquire<'a>(
        &'a self,
        scope: &'a LeaseScope,
        owner: [u8; 16],
        ttl: Duration,
    ) -> BoxFuture<'a, Result<Lease, LeaseError>>;

    /// Extends the lease by `ttl` from now.
    ///
    /// # Errors
    /// [`LeaseError::Lost`] when it ran out and another took it, or it was released.
    fn renew<'a>(&'a self, lease: &'a Lease, ttl: Duration) -> BoxFuture<'a, Result<Lease, LeaseError>>;

    /// Gives it back. Releasing a lease that is lost does nothing.
    fn release<'a>(&'a self, lease: &'a Lease) -> BoxFuture<'a, Result<(), LeaseError>>;
}
