//! Who there is: principals, their addresses, and whose mail an address means.

pub mod aliases;

use std::sync::Arc;

use crate::error::DirectoryError;
use crate::future::BoxFuture;
use crate::id::AccountId;

/// Somebody who can log in and be written to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Principal {
    /// Never reused, even when the address is given away again.
    pub account: AccountId,
    /// The address that is also the login, as it is to be shown.
    pub address: String,
    /// Other addresses that are this principal's.
    pub aliases: Vec<String>,
    /// The name for people, when there is one.
    pub display_name: Option<String>,
}

impl Principal {
    /// Whether this address is one of the principal's own. Case does not matter.
    #[must_use]
    pub fn owns(&self, address: &str) -> bool {
        self.address.eq_ignore_ascii_case(address)
            || self.aliases.iter().any(|alias| alias.eq_ignore_ascii_case(address))
    }
}

/// What an address means.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Resolution {
    /// Local mailboxes; more than one for an alias to several.
    Mailboxes(Vec<Principal>),
    /// Mailboxes here, none perhaps, and addresses of other hosts that the mail goes on to.
    Forwarded {
        /// Local mailboxes.
        mailboxes: Vec<Principal>,
        /// Other hosts' addresses, at least one.
        addresses: Vec<String>,
    },
    /// One of our domains, but nobody.
    NoSuchUser,
    /// Another host's domain.
    NotLocal,
}

/// Finds out whose mail an address means. Domains compare without case; whether local parts do is the directory's own
/// decision, and this workspace's directories ignore it.
pub trait Directory: Send + Sync {
    /// Whose address this is. `postmaster` without a domain is the local postmaster (RFC 5321 §4.5.1).
    fn resolve<'a>(&'a self, address: &'a str) -> BoxFuture<'a, Result<Resolution, DirectoryError>>;

    /// Whether this principal may send as this address.
    fn owns<'a>(&'a self, account: AccountId, address: &'a str) -> BoxFuture<'a, Result<bool, DirectoryError>> {
        Box::pin(async move {
            match self.resolve(address).await? {
                Resolution::Mailboxes(owners) => Ok(owners.iter().any(|owner| owner.account == account)),
                _ => Ok(false),
            }
        })
    }

    /// The principal with this account.
    fn principal(&self, account: AccountId) -> BoxFuture<'_, Result<Principal, DirectoryError>>;
}

impl<D: Directory + ?Sized> Directory for Arc<D> {
    fn resolve<'a>(&'a self, address: &'a str) -> BoxFuture<'a, Result<Resolution, DirectoryError>> {
        (**self).resolve(address)
    }

    fn owns<'a>(&'a self, account: AccountId, address: &'a str) -> BoxFuture<'a, Result<bool, DirectoryError>> {
        (**self).owns(account, address)
    }

    fn principal(&self, account: AccountId) -> BoxFuture<'_, Result<Principal, DirectoryError>> {
        (**self).principal(account)
    }
}
