//! The people of a store: who they are, whose an address is, and whether somebody is who they say.
//!
//! An account number is never given twice: who gets an address that was given away before finds an empty mailbox.
//! Everything here may be done from another process or machine while servers run.

mod login;

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use mailstore_trait::directory::{Directory, Principal, Resolution};
use mailstore_trait::error::DirectoryError;
use mailstore_trait::future::BoxFuture;
use mailstore_trait::id::AccountId;
use mailstore_trait::password::Verifier;
use mailstore_trait::sasl::{ScramHash, ScramVerifier, Secret};
use tokio::sync::Semaphore;
use tokio_postgres::Row;

use crate::call::{call, sql};
use crate::env::Env;
use crate::fault::{Fault, Result};
use crate::link::Tx;
use crate::rows::{get, number};
use crate::write::upkeep;

/// The longest address, in octets (RFC 5321 §4.5.3.1.3: a path of 256 with its brackets; ours may be in UTF-8).
const MAX_ADDRESS: usize = 1024;

/// Who is to be added. See [`Users::add`].
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct NewUser {
    /// The address that is also the login.
    pub address: String,
    /// Other addresses. Several users may share one: its mail goes to all of them.
    pub aliases: Vec<String>,
    /// The name for people.
    pub display_name: Option<String>,
    /// What checks the password; [`Users::records`] makes it. Empty: nobody can log in.
    pub records: Vec<Verifier>,
}

impl NewUser {
    /// A user with this address and these records of the password.
    #[must_use]
    pub fn new(address: impl Into<String>, records: Vec<Verifier>) -> NewUser {
        NewUser { address: address.into(), records, ..NewUser::default() }
    }
}

/// The people of a [`Store`](crate::Store): a [`Directory`] and an
/// [`Authenticator`](mailstore_trait::auth::Authenticator). Cheap to clone.
#[derive(Clone)]
pub struct Users {
    inner: Arc<Inner>,
}

struct Inner {
    env: Arc<Env>,
    /// How many passwords may be checked at once: it costs processor time and memory on purpose.
    turns: Arc<Semaphore>,
    decoy: Arc<Verifier>,
    /// What fake salts are made from; the same on all machines.
    secret: Secret,
}

impl fmt::Debug for Users {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Users").finish_non_exhaustive()
    }
}

impl Users {
    pub(crate) fn new(env: Arc<Env>, secret: Vec<u8>) -> Result<Users> {
        let decoy = Arc::new(Verifier::decoy(env.config.argon2).map_err(Fault::unavailable)?);
        let turns = Arc::new(Semaphore::new(env.config.password_workers.max(1)));
        Ok(Users { inner: Arc::new(Inner { env, turns, decoy, secret: Secret::new(secret) }) })
    }

    /// Runs what costs processor time when it is its turn.
    async fn in_turn<T: Send + 'static>(&self, work: impl FnOnce() -> T + Send + 'static) -> Result<T> {
        let turn = Arc::clone(&self.inner.turns).acquire_owned().await.map_err(Fault::unavailable)?;
        let done = tokio::task::spawn_blocking(move || {
            let done = work();
            drop(turn);
            done
        });
        done.await.map_err(Fault::unavailable)
    }

    /// Records of a password: one for PLAIN and LOGIN, one for SCRAM-SHA-256.
    ///
    /// # Errors
    /// When the password holds characters that none may (RFC 4013).
    pub async fn records(&self, password: Secret) -> Result<Vec<Verifier>, DirectoryError> {
        let (cost, iterations) = (self.inner.env.config.argon2, self.inner.env.config.scram_iterations);
        let make = move || {
            let mut salt = [0; ScramVerifier::SALT_OCTETS];
            let mut fresh = || getrandom::fill(&mut salt).map(|()| salt).map_err(|e| Fault::unavailable(e.to_string()));
            let (first, second) = (fresh()?, fresh()?);
            let password = password.expose_str().map_err(Fault::unavailable)?;
            Ok::<_, Fault>(vec![
                Verifier::argon2(password, &first, cost).map_err(Fault::unavailable)?,
                Verifier::scram(ScramHash::Sha256, password, &second, iterations).map_err(Fault::unavailable)?,
            ])
        };
        Ok(self.in_turn(make).await??)
    }

    /// Adds somebody, with an account number that nobody had before. The mailbox is made by
    /// [`provision`](mailstore_trait::store::MailStore::provision).
    ///
    /// Whether the domain is one of ours is for the caller to decide.
    ///
    /// # Errors
    /// [`DirectoryError::Exists`] when the address is somebody's, [`DirectoryError::IllegalAddress`] when it is none.
    pub async fn add(&self, user: NewUser) -> Result<Principal, DirectoryError> {
        Ok(self.inner.env.link.again(|| Box::pin(self.try_add(&user))).await?)
    }

    /// Everybody, by address.
    ///
    /// # Errors
    /// When the database can't be read.
    pub async fn list(&self) -> Result<Vec<Principal>, DirectoryError> {
        Ok(self.inner.env.link.again(|| Box::pin(self.try_list())).await?)
    }

    async fn try_list(&self) -> Result<Vec<Principal>> {
        let mut tx = self.inner.env.link.read().await?;
        let rows = tx.flight(vec![
            call!("SELECT account, alias FROM mailstore.address WHERE alias IS NOT NULL ORDER BY folded"),
            call!("SELECT account, address, display_name FROM mailstore.principal"),
        ]);
        let rows = rows.await?;
        let [aliases, principals] = rows.as_slice() else { return Ok(Vec::new()) };
        let mut found = read_principals(principals, aliases)?;
        found.sort_by_key(|principal| fold(&principal.address));
        Ok(found)
    }

    /// Removes somebody together with the mailbox. The number of the account that is no more.
    ///
    /// # Errors
    /// [`DirectoryError::NotFound`] when the address is nobody's.
    pub async fn remove(&self, address: &str) -> Result<AccountId, DirectoryError> {
        Ok(self.inner.env.link.again(|| Box::pin(self.try_remove(address))).await?)
    }

    async fn try_remove(&self, address: &str) -> Result<AccountId> {
        let mut tx = self.inner.env.link.write().await?;
        let account = owner(&mut tx, &fold(address)).await?.ok_or(Fault::NotFound)?;
        upkeep::remove_account(&mut tx, account).await?;
        let calls = vec![
            call!("DELETE FROM mailstore.verifier WHERE account = $1", account),
            call!("DELETE FROM mailstore.address WHERE account = $1", account),
            call!("DELETE FROM mailstore.principal WHERE account = $1", account),
        ];
        tx.end_once(calls).await?;
        account_id(account)
    }

    /// Replaces all records of a password.
    ///
    /// # Errors
    /// [`DirectoryError::NotFound`] when the address is nobody's.
    pub async fn set_records(&self, address: &str, records: Vec<Verifier>) -> Result<(), DirectoryError> {
        Ok(self.inner.env.link.again(|| Box::pin(self.try_set_records(address, &records))).await?)
    }

    async fn try_set_records(&self, address: &str, records: &[Verifier]) -> Result<()> {
        let mut tx = self.inner.env.link.write().await?;
        let account = owner(&mut tx, &fold(address)).await?.ok_or(Fault::NotFound)?;
        let mut calls = vec![call!("DELETE FROM mailstore.verifier WHERE account = $1", account)];
        calls.push(put_records(account, records));
        tx.end(calls).await?;
        Ok(())
    }

    /// Gives somebody another address, which may be `postmaster` without a domain.
    ///
    /// # Errors
    /// [`DirectoryError::Exists`] when it is somebody's own address, [`DirectoryError::NotFound`] when `address` is
    /// nobody's.
    pub async fn add_alias(&self, address: &str, alias: &str) -> Result<(), DirectoryError> {
        Ok(self.inner.env.link.again(|| Box::pin(self.try_add_alias(address, alias))).await?)
    }

    async fn try_add_alias(&self, address: &str, alias: &str) -> Result<()> {
        let mut tx = self.inner.env.link.write().await?;
        let account = owner(&mut tx, &fold(address)).await?.ok_or(Fault::NotFound)?;
        let call = put_alias(&mut tx, account, alias).await?;
        tx.end(vec![call]).await?;
        Ok(())
    }

    /// Takes an alias away. `false` when it was none of this user's.
    ///
    /// # Errors
    /// [`DirectoryError::NotFound`] when `address` is nobody's.
    pub async fn remove_alias(&self, address: &str, alias: &str) -> Result<bool, DirectoryError> {
        Ok(self.inner.env.link.again(|| Box::pin(self.try_remove_alias(address, alias))).await?)
    }

    async fn try_remove_alias(&self, address: &str, alias: &str) -> Result<bool> {
        let mut tx = self.inner.env.link.write().await?;
        let account = owner(&mut tx, &fold(address)).await?.ok_or(Fault::NotFound)?;
        let removed = tx
            .one(call!(
                "DELETE FROM mailstore.address WHERE folded = $1 AND account = $2 AND alias IS NOT NULL RETURNING 1",
                fold(alias),
                account
            ))
            .await?;
        tx.end_once(Vec::new()).await?;
        Ok(!removed.is_empty())
    }

    async fn try_add(&self, user: &NewUser) -> Result<Principal> {
        if !is_address(&user.address) {
            return Err(Fault::IllegalAddress);
        }
        let folded = fold(&user.address);
        let mut tx = self.inner.env.link.write().await?;
        let flight = tx.flight(vec![
            // The store's row is the lock of all who add: addresses are looked at and given behind it.
            call!("UPDATE mailstore.store SET next_account = next_account + 1 RETURNING next_account - 1"),
            call!("SELECT 1 FROM mailstore.address WHERE folded = $1 LIMIT 1", folded.clone()),
        ]);
        let rows = flight.await?;
        let [numbers, taken] = rows.as_slice() else { return Err(Fault::corrupt("the store's row")) };
        if !taken.is_empty() {
            return Err(Fault::Exists);
        }
        let account: i64 = get(numbers.first().ok_or_else(|| Fault::corrupt("the store's row"))?, 0)?;
        let id = account_id(account)?;
        let mut calls = vec![
            call!(
                "INSERT INTO mailstore.principal (account, address, display_name) VALUES ($1, $2, $3)",
                account,
                user.address.clone(),
                user.display_name.clone()
            ),
            call!(
                "INSERT INTO mailstore.address (folded, account, domain, alias) VALUES ($1, $2, $3, NULL)",
                folded.clone(),
                account,
                domain(&folded).unwrap_or_default()
            ),
            put_records(account, &user.records),
        ];
        for alias in &user.aliases {
            calls.push(put_alias(&mut tx, account, alias).await?);
        }
        match tx.end_once(calls).await {
            Err(Fault::Raced(_)) => return Err(Fault::Exists),
            other => other?,
        };
        let mut aliases = user.aliases.clone();
        aliases.sort_by_key(|alias| fold(alias));
        let (address, display_name) = (user.address.clone(), user.display_name.clone());
        Ok(Principal { account: id, address, aliases, display_name })
    }

    /// The principals with this address, their own or an alias.
    async fn owners(&self, folded: &str) -> Result<Vec<Principal>> {
        self.principals(call!(
            concat!(PRINCIPALS!(), " WHERE account IN (SELECT account FROM mailstore.address WHERE folded = $1)"),
            folded
        ))
        .await
    }

    async fn principals(&self, call: crate::call::Call) -> Result<Vec<Principal>> {
        let rows = self.inner.env.link.ask(call).await?;
        let mut found: BTreeMap<i64, Principal> = BTreeMap::new();
        for row in &rows {
            let number: i64 = get(row, 0)?;
            if let std::collections::btree_map::Entry::Vacant(entry) = found.entry(number) {
                entry.insert(Principal {
                    account: account_id(number)?,
                    address: get(row, 1)?,
                    aliases: Vec::new(),
                    display_name: get(row, 2)?,
                });
            }
            if let (Some(alias), Some(principal)) = (get::<Option<String>>(row, 3)?, found.get_mut(&number)) {
                principal.aliases.push(alias);
            }
        }
        let mut found: Vec<Principal> = found.into_values().collect();
        found.iter_mut().for_each(|principal| principal.aliases.sort_by_key(|alias| fold(alias)));
        Ok(found)
    }

    async fn find(&self, account: AccountId) -> Result<Principal> {
        let number = sql(account.value());
        let mut found = self.principals(call!(concat!(PRINCIPALS!(), " WHERE account = $1"), number)).await?;
        found.pop().ok_or(Fault::NotFound)
    }

    async fn resolve_now(&self, address: &str) -> Result<Resolution> {
        let folded = fold(address);
        let found = self.owners(&folded).await?;
        if !found.is_empty() {
            return Ok(Resolution::Mailboxes(found));
        }
        let Some(domain) = domain(&folded) else {
            return if folded == "postmaster" { self.postmaster().await } else { Ok(Resolution::NoSuchUser) };
        };
        if !self.inner.env.config.domains.iter().any(|ours| ours.to_lowercase() == domain) {
            let call = call!("SELECT 1 FROM mailstore.address WHERE domain = $1 LIMIT 1", domain);
            if self.inner.env.link.ask(call).await?.is_empty() {
                return Ok(Resolution::NotLocal);
            }
        }
        // RFC 5321 §4.5.1: every domain that takes mail takes it for its postmaster.
        if folded.starts_with("postmaster@") { self.postmaster().await } else { Ok(Resolution::NoSuchUser) }
    }

    /// Who has the alias `postmaster`, or that address in one of our domains, or else who was here first.
    async fn postmaster(&self) -> Result<Resolution> {
        let domains = self.inner.env.config.domains.iter().map(|domain| fold(&format!("postmaster@{domain}")));
        for folded in ["postmaster".to_owned()].into_iter().chain(domains) {
            let found = self.owners(&folded).await?;
            if !found.is_empty() {
                return Ok(Resolution::Mailboxes(found));
            }
        }
        let first = call!(concat!(PRINCIPALS!(), " WHERE account = (SELECT min(account) FROM mailstore.principal)"));
        let found = self.principals(first).await?;
        Ok(if found.is_empty() { Resolution::NoSuchUser } else { Resolution::Mailboxes(found) })
    }
}

/// Principals, a row for each alias.
macro_rules! PRINCIPALS {
    () => {
        "SELECT account, address, display_name, alias FROM mailstore.principal
         LEFT JOIN (SELECT account, alias FROM mailstore.address WHERE alias IS NOT NULL) AS aliases USING (account)"
    };
}
use PRINCIPALS;

/// Addresses are the same whatever the case of their letters.
fn fold(address: &str) -> String {
    address.to_lowercase()
}

fn domain(address: &str) -> Option<&str> {
    address.rsplit_once('@').map(|(_, domain)| domain)
}

fn is_address(address: &str) -> bool {
    let parts = address.rsplit_once('@').is_some_and(|(local, domain)| !local.is_empty() && !domain.is_empty());
    let odd = |c: char| c.is_control() || c.is_whitespace() || "<>".contains(c);
    parts && address.len() <= MAX_ADDRESS && !address.contains(odd)
}

fn account_id(number: i64) -> Result<AccountId> {
    let id = u64::try_from(number).ok().and_then(AccountId::new);
    id.ok_or_else(|| Fault::corrupt(format!("principal {number}")))
}

const OWNER: &str = "SELECT account FROM mailstore.address WHERE folded = $1 AND alias IS NULL";

/// Whose own address this is.
async fn owner(tx: &mut Tx<'_>, folded: &str) -> Result<Option<i64>> {
    tx.one(call!(OWNER, folded)).await?.first().map(|row| get(row, 0)).transpose()
}

async fn put_alias(tx: &mut Tx<'_>, account: i64, alias: &str) -> Result<crate::call::Call> {
    if !is_address(alias) && !alias.eq_ignore_ascii_case("postmaster") {
        return Err(Fault::IllegalAddress);
    }
    let folded = fold(alias);
    // The same lock as those who give addresses.
    tx.one(call!("SELECT 1 FROM mailstore.store FOR UPDATE")).await?;
    if owner(tx, &folded).await?.is_some() {
        return Err(Fault::Exists);
    }
    Ok(call!(
        "INSERT INTO mailstore.address (folded, account, domain, alias) VALUES ($1, $2, $3, $4)
         ON CONFLICT (folded, account) DO UPDATE SET alias = excluded.alias",
        folded.clone(),
        account,
        domain(&folded).unwrap_or_default(),
        alias
    ))
}

fn put_records(account: i64, records: &[Verifier]) -> crate::call::Call {
    // One of each kind: `SCRAM-SHA-256` of `SCRAM-SHA-256$…`, `argon2id` of `$argon2id$…`.
    let by_kind: BTreeMap<String, String> = records
        .iter()
        .map(|record| {
            let record = record.to_string();
            let kind = record.split('$').find(|part| !part.is_empty()).unwrap_or_default().to_owned();
            (kind, record)
        })
        .collect();
    let (kinds, records): (Vec<String>, Vec<String>) = by_kind.into_iter().unzip();
    call!(
        "INSERT INTO mailstore.verifier (account, kind, record)
         SELECT $1, kind, record FROM unnest($2::text[], $3::text[]) AS n (kind, record)",
        account,
        kinds,
        records
    )
}

fn read_principals(principals: &[Row], aliases: &[Row]) -> Result<Vec<Principal>> {
    let mut by_account: BTreeMap<u64, Vec<String>> = BTreeMap::new();
    for row in aliases {
        by_account.entry(number(row, 0)?).or_default().push(get(row, 1)?);
    }
    let read = |row: &Row| {
        let number = number(row, 0)?;
        Ok(Principal {
            account: account_id(sql(number))?,
            address: get(row, 1)?,
            aliases: by_account.remove(&number).unwrap_or_default(),
            display_name: get(row, 2)?,
        })
    };
    principals.iter().map(read).collect()
}

impl Directory for Users {
    fn resolve<'a>(&'a self, address: &'a str) -> BoxFuture<'a, Result<Resolution, DirectoryError>> {
        Box::pin(async move { Ok(self.resolve_now(address).await?) })
    }

    fn principal(&self, account: AccountId) -> BoxFuture<'_, Result<Principal, DirectoryError>> {
        Box::pin(async move { Ok(self.find(account).await?) })
    }
}
