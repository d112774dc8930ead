//! The data folder: opening the store, and what the first run makes in it.

use std::path::PathBuf;

use mailstore_embedded::{NewUser, OpenError, Store};
use mailstore_trait::directory::Principal;
use mailstore_trait::environment::Environment;
use mailstore_trait::error::{CommitError, DirectoryError};
use mailstore_trait::folder::Role;
use mailstore_trait::sasl::Secret;
use mailstore_trait::store::MailStore;

use crate::config::{Config, Octets};
use crate::environment::System;

/// The folders every account begins with, beside its inbox.
const FOLDERS: [(Role, &str); 5] = [
    (Role::Archive, "Archive"),
    (Role::Drafts, "Drafts"),
    (Role::Junk, "Junk"),
    (Role::Sent, "Sent"),
    (Role::Trash, "Trash"),
];

/// Why the data folder can't be used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum DataError {
    #[error("{}: {source}", path.display())]
    Folder { path: PathBuf, source: std::io::Error },
    #[error("the store: {0}")]
    Open(#[from] OpenError),
    #[error("the account: {0}")]
    Directory(#[from] DirectoryError),
    #[error("the account's folders: {0}")]
    Provision(#[from] CommitError),
}

/// Opens the store of the data folder, which is made if it is not there.
pub(crate) fn open(config: &Config) -> Result<Store, DataError> {
    let path = &config.data_dir;
    create_private(path).map_err(|source| DataError::Folder { path: path.clone(), source })?;
    let mut store = mailstore_embedded::Config::default();
    store.domains = config.domains.clone();
    store.max_message = store.max_message.max(config.limits.message_size.0);
    Ok(Store::open(path.join("store"), store)?)
}

/// A folder that only its owner can enter: what lies in it is people's mail.
fn create_private(path: &std::path::Path) -> std::io::Result<()> {
    let mut builder = std::fs::DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.create(path)
}

/// Adds somebody who may hold this much, and makes their folders.
pub(crate) async fn add_user(
    store: &Store,
    address: &str,
    password: Secret,
    quota: Option<u64>,
) -> Result<Principal, DataError> {
    let records = store.users().records(password).await?;
    let principal = store.users().add(NewUser::new(address, records)).await?;
    store.provision(principal.account, &FOLDERS).await?;
    store.set_quota(principal.account, quota).await?;
    Ok(principal)
}

/// The account of a first run: `demo@localhost` with a random password, when nobody has an account yet and no domain
/// was configured. Its address and password, to be printed once.
pub(crate) async fn first_account(config: &Config, store: &Store) -> Result<Option<(String, String)>, DataError> {
    if config.domains != Config::default().domains || !store.users().list().await?.is_empty() {
        return Ok(None);
    }
    let address = "demo@localhost".to_owned();
    let password = random_password();
    let quota = config.limits.quota.map(|Octets(octets)| octets);
    add_user(store, &address, Secret::from(password.as_str()), quota).await?;
    Ok(Some((address, password)))
}

/// Twenty letters and digits that can't be mistaken for each other: 115 bits.
fn random_password() -> String {
    const LETTERS: &[u8] = b"abcdefghijkmnpqrstuvwxyzABCDEFGHJKLMNPQRSTUVWXYZ23456789";
    let mut password = String::new();
    while password.len() < 20 {
        let mut octets = [0; 64];
        System.fill(&mut octets);
        // Octets beyond the last whole multiple are dropped, so that every letter is equally likely.
        let fair =
            octets.iter().map(|&octet| usize::from(octet)).filter(|octet| *octet < 256 / LETTERS.len() * LETTERS.len());
        let letters = fair.filter_map(|octet| LETTERS.get(octet % LETTERS.len()).map(|&letter| char::from(letter)));
        password.extend(letters.take(20 - password.len()));
    }
    password
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn passwords_are_long_and_different() {
        let (a, b) = (random_password(), random_password());
        assert_eq!(a.len(), 20);
        assert_ne!(a, b);
        assert!(a.bytes().all(|octet| octet.is_ascii_alphanumeric()));
    }
}
