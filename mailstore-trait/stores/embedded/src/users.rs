//! The people of a store: who they are, whose an address is, and whether somebody is who they say.
//!
//! An account number is never given twice: who gets an address that was given away before finds an empty mailbox with
//! a new UIDVALIDITY. Everything here may be done from another process while the server runs.

mod login;

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use mailstore_trait::directory::{Directory, Principal, Resolution};
use mailstore_trait::error::DirectoryError;
use mailstore_trait::future::BoxFuture;
use mailstore_trait::id::AccountId;
use mailstore_trait::password::{Scratch, Verifier};
use mailstore_trait::sasl::{ScramHash, ScramVerifier, Secret};
use rusqlite::{Connection, OptionalExtension, params};

use crate::committer::Committer;
use crate::env::{Env, sql};
use crate::fault::{Fault, Result};
use crate::pool::Pool;
use crate::read::{Reader, Snapshot};
use crate::write::account::unsigned;
use crate::write::{Tx, upkeep};

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

/// The people of a [`Store`](crate::Store): a [`Directory`] and an [`Authenticator`](mailstore_trait::auth::Authenticator).
/// Cheap to clone.
#[derive(Clone)]
pub struct Users {
    inner: Arc<Inner>,
}

struct Inner {
    env: Arc<Env>,
    readers: Arc<Pool<Reader>>,
    committer: Option<Arc<Committer>>,
    /// Threads for passwords, which cost processor time on purpose. Each keeps the memory that argon2 works in.
    passwords: Pool<(Verifier, Scratch)>,
    /// What fake salts are made from.
    secret: Secret,
}

impl fmt::Debug for Users {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Users").finish_non_exhaustive()
    }
}

impl Users {
    pub(crate) fn new(
        env: Arc<Env>,
        readers: Arc<Pool<Reader>>,
        committer: Option<Arc<Committer>>,
        secret: Vec<u8>,
    ) -> Users {
        let cost = env.config.argon2;
        let decoy = move || Ok((Verifier::decoy(cost).map_err(Fault::unavailable)?, Scratch::default()));
        let passwords = Pool::new("mailstore-password", env.config.password_workers, 100, Box::new(decoy));
        Users { inner: Arc::new(Inner { env, readers, committer, passwords, secret: Secret::new(secret) }) }
    }

    pub(crate) fn close(&self) {
        self.inner.passwords.close();
    }

    /// Records of a password: one for PLAIN and LOGIN, one for SCRAM-SHA-256.
    ///
    /// # Errors
    /// When the password holds characters that none may (RFC 4013).
    pub async fn records(&self, password: Secret) -> Result<Vec<Verifier>, DirectoryError> {
        let (cost, iterations) = (self.inner.env.config.argon2, self.inner.env.config.scram_iterations);
        let make = move |_: &mut (Verifier, Scratch)| {
            let mut salt = [0; ScramVerifier::SALT_OCTETS];
            let mut fresh = || getrandom::fill(&mut salt).map(|()| salt).map_err(|e| Fault::unavailable(e.to_string()));
            let (first, second) = (fresh()?, fresh()?);
            let password = password.expose_str().map_err(Fault::unavailable)?;
            Ok(vec![
                Verifier::argon2(password, &first, cost).map_err(Fault::unavailable)?,
                Verifier::scram(ScramHash::Sha256, password, &second, iterations).map_err(Fault::unavailable)?,
            ])
        };
        Ok(self.inner.passwords.run(make).await?)
    }

    /// Adds somebody, with an account number that nobody had before. The mailbox is made by
    /// [`provision`](mailstore_trait::store::MailStore::provision).
    ///
    /// Whether the domain is one of ours is for the caller to decide.
    ///
    /// # Errors
    /// [`DirectoryError::Exists`] when the address is somebody's, [`DirectoryError::IllegalAddress`] when it is none.
    pub async fn add(&self, user: NewUser) -> Result<Principal, DirectoryError> {
        Ok(self.write(move |tx| add(tx, &user)).await?)
    }

    /// Everybody, by address.
    ///
    /// # Errors
    /// When the database can't be read.
    pub async fn list(&self) -> Result<Vec<Principal>, DirectoryError> {
        Ok(self.read(|snapshot| list(snapshot.connection)).await?)
    }

    /// Removes somebody together with the mailbox. The number of the account that is no more.
    ///
    /// # Errors
    /// [`DirectoryError::NotFound`] when the address is nobody's.
    pub async fn remove(&self, address: &str) -> Result<AccountId, DirectoryError> {
        let folded = fold(address);
        Ok(self.write(move |tx| remove(tx, &folded)).await?)
    }

    /// Replaces all records of a password.
    ///
    /// # Errors
    /// [`DirectoryError::NotFound`] when the address is nobody's.
    pub async fn set_records(&self, address: &str, records: Vec<Verifier>) -> Result<(), DirectoryError> {
        let folded = fold(address);
        let set = move |tx: &mut Tx<'_>| {
            let account = owner(tx.connection(), &folded)?.ok_or(Fault::NotFound)?;
            put_records(tx, account, &records)
        };
        Ok(self.write(set).await?)
    }

    /// Gives somebody another address, which may be `postmaster` without a domain.
    ///
    /// # Errors
    /// [`DirectoryError::Exists`] when it is somebody's own address, [`DirectoryError::NotFound`] when `address` is
    /// nobody's.
    pub async fn add_alias(&self, address: &str, alias: &str) -> Result<(), DirectoryError> {
        let (folded, alias) = (fold(address), alias.to_owned());
        let add = move |tx: &mut Tx<'_>| {
            let account = owner(tx.connection(), &folded)?.ok_or(Fault::NotFound)?;
            put_alias(tx, account, &alias)
        };
        Ok(self.write(add).await?)
    }

    /// Takes an alias away. `false` when it was none of this user's.
    ///
    /// # Errors
    /// [`DirectoryError::NotFound`] when `address` is nobody's.
    pub async fn remove_alias(&self, address: &str, alias: &str) -> Result<bool, DirectoryError> {
        let (folded, alias) = (fold(address), fold(alias));
        let remove = move |tx: &mut Tx<'_>| {
            let account = owner(tx.connection(), &folded)?.ok_or(Fault::NotFound)?;
            let removed = tx
                .prepare("DELETE FROM address WHERE folded = ?1 AND account = ?2 AND alias IS NOT NULL")?
                .execute(params![alias, sql(account.value())])?;
            Ok(removed > 0)
        };
        Ok(self.write(remove).await?)
    }

    async fn read<T: Send + 'static>(
        &self,
        question: impl FnOnce(&Snapshot<'_>) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        self.inner.readers.run(move |reader| reader.snapshot(question)).await
    }

    async fn write<T: Send + 'static>(&self, run: impl FnMut(&mut Tx<'_>) -> Result<T> + Send + 'static) -> Result<T> {
        match &self.inner.committer {
            Some(committer) => committer.write(run).await,
            None => Err(Fault::ReadOnly),
        }
    }
}

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

/// Whose own address this is.
fn owner(connection: &Connection, folded: &str) -> Result<Option<AccountId>> {
    let account: Option<i64> = connection
        .prepare_cached("SELECT account FROM address WHERE folded = ?1 AND alias IS NULL")?
        .query_row([folded], |row| row.get(0))
        .optional()?;
    account.map(account_id).transpose()
}

fn account_id(number: i64) -> Result<AccountId> {
    AccountId::new(unsigned(number)).ok_or_else(|| Fault::corrupt(format!("principal {number}")))
}

fn add(tx: &mut Tx<'_>, user: &NewUser) -> Result<Principal> {
    if !is_address(&user.address) {
        return Err(Fault::IllegalAddress);
    }
    let folded = fold(&user.address);
    if tx.prepare("SELECT 1 FROM address WHERE folded = ?1")?.exists([&folded])? {
        return Err(Fault::Exists);
    }
    let account = tx.next_account()?;
    tx.prepare("INSERT INTO principal (account, address, display_name) VALUES (?1, ?2, ?3)")?.execute(params![
        sql(account.value()),
        user.address,
        user.display_name
    ])?;
    tx.prepare("INSERT INTO address (folded, account, alias) VALUES (?1, ?2, NULL)")?
        .execute(params![folded, sql(account.value())])?;
    for alias in &user.aliases {
        put_alias(tx, account, alias)?;
    }
    put_records(tx, account, &user.records)?;
    principal(tx.connection(), account)
}

fn put_alias(tx: &Tx<'_>, account: AccountId, alias: &str) -> Result<()> {
    if !is_address(alias) && !alias.eq_ignore_ascii_case("postmaster") {
        return Err(Fault::IllegalAddress);
    }
    let folded = fold(alias);
    if owner(tx.connection(), &folded)?.is_some() {
        return Err(Fault::Exists);
    }
    tx.prepare("INSERT OR REPLACE INTO address (folded, account, alias) VALUES (?1, ?2, ?3)")?.execute(params![
        folded,
        sql(account.value()),
        alias
    ])?;
    Ok(())
}

fn put_records(tx: &Tx<'_>, account: AccountId, records: &[Verifier]) -> Result<()> {
    let number = sql(account.value());
    tx.prepare("DELETE FROM verifier WHERE account = ?1")?.execute([number])?;
    for record in records {
        let record = record.to_string();
        // One of each kind: `SCRAM-SHA-256` of `SCRAM-SHA-256$…`, `argon2id` of `$argon2id$…`.
        let kind = record.split('$').find(|part| !part.is_empty()).unwrap_or_default();
        tx.prepare("INSERT OR REPLACE INTO verifier (account, kind, record) VALUES (?1, ?2, ?3)")?
            .execute(params![number, kind, record])?;
    }
    Ok(())
}

fn remove(tx: &mut Tx<'_>, folded: &str) -> Result<AccountId> {
    let account = owner(tx.connection(), folded)?.ok_or(Fault::NotFound)?;
    for table in ["principal", "address", "verifier"] {
        tx.prepare(&format!("DELETE FROM {table} WHERE account = ?1"))?.execute([sql(account.value())])?;
    }
    upkeep::remove_account(tx, account)?;
    Ok(account)
}

fn principal(connection: &Connection, account: AccountId) -> Result<Principal> {
    let (address, display_name) = connection
        .prepare_cached("SELECT address, display_name FROM principal WHERE account = ?1")?
        .query_row([sql(account.value())], |row| Ok((row.get(0)?, row.get(1)?)))
        .optional()?
        .ok_or(Fault::NotFound)?;
    let aliases = connection
        .prepare_cached("SELECT alias FROM address WHERE account = ?1 AND alias IS NOT NULL ORDER BY folded")?
        .query_map([sql(account.value())], |row| row.get(0))?
        .collect::<rusqlite::Result<_>>()?;
    Ok(Principal { account, address, aliases, display_name })
}

fn list(connection: &Connection) -> Result<Vec<Principal>> {
    let mut aliases: BTreeMap<i64, Vec<String>> = BTreeMap::new();
    let mut statement =
        connection.prepare_cached("SELECT account, alias FROM address WHERE alias IS NOT NULL ORDER BY folded")?;
    let mut rows = statement.query([])?;
    while let Some(row) = rows.next()? {
        aliases.entry(row.get(0)?).or_default().push(row.get(1)?);
    }
    let mut statement = connection
        .prepare_cached("SELECT account, address, display_name FROM principal ORDER BY address COLLATE NOCASE")?;
    let mut rows = statement.query([])?;
    let mut principals = Vec::new();
    while let Some(row) = rows.next()? {
        let number = row.get(0)?;
        principals.push(Principal {
            account: account_id(number)?,
            address: row.get(1)?,
            aliases: aliases.remove(&number).unwrap_or_default(),
            display_name: row.get(2)?,
        });
    }
    Ok(principals)
}

/// The principals with this address, their own or an alias.
fn owners(connection: &Connection, folded: &str) -> Result<Vec<Principal>> {
    let accounts = connection
        .prepare_cached("SELECT account FROM address WHERE folded = ?1 ORDER BY account")?
        .query_map([folded], |row| row.get::<_, i64>(0))?
        .collect::<rusqlite::Result<Vec<_>>>()?;
    accounts.into_iter().map(|account| principal(connection, account_id(account)?)).collect()
}

fn resolve(snapshot: &Snapshot<'_>, address: &str) -> Result<Resolution> {
    let connection = snapshot.connection;
    let folded = fold(address);
    let found = owners(connection, &folded)?;
    if !found.is_empty() {
        return Ok(Resolution::Mailboxes(found));
    }
    let Some(domain) = domain(&folded) else {
        return if folded == "postmaster" { postmaster(snapshot) } else { Ok(Resolution::NoSuchUser) };
    };
    let configured = snapshot.env.config.domains.iter().any(|ours| ours.to_lowercase() == domain);
    if !configured {
        let suffix = format!("@{domain}");
        let somebody = connection
            .prepare_cached("SELECT 1 FROM address WHERE substr(folded, -length(?1)) = ?1 LIMIT 1")?
            .exists([suffix])?;
        if !somebody {
            return Ok(Resolution::NotLocal);
        }
    }
    // RFC 5321 §4.5.1: every domain that takes mail takes it for its postmaster.
    if folded.starts_with("postmaster@") { postmaster(snapshot) } else { Ok(Resolution::NoSuchUser) }
}

/// Who has the alias `postmaster`, or that address in one of our domains, or else who was here first.
fn postmaster(snapshot: &Snapshot<'_>) -> Result<Resolution> {
    let domains = snapshot.env.config.domains.iter().map(|domain| fold(&format!("postmaster@{domain}")));
    for folded in ["postmaster".to_owned()].into_iter().chain(domains) {
        let found = owners(snapshot.connection, &folded)?;
        if !found.is_empty() {
            return Ok(Resolution::Mailboxes(found));
        }
    }
    let first: Option<i64> =
        snapshot.connection.prepare_cached("SELECT min(account) FROM principal")?.query_row([], |row| row.get(0))?;
    match first {
        Some(account) => Ok(Resolution::Mailboxes(vec![principal(snapshot.connection, account_id(account)?)?])),
        None => Ok(Resolution::NoSuchUser),
    }
}

impl Directory for Users {
    fn resolve<'a>(&'a self, address: &'a str) -> BoxFuture<'a, Result<Resolution, DirectoryError>> {
        let address = address.to_owned();
        Box::pin(async move { Ok(self.read(move |snapshot| resolve(snapshot, &address)).await?) })
    }

    fn principal(&self, account: AccountId) -> BoxFuture<'_, Result<Principal, DirectoryError>> {
        Box::pin(async move { Ok(self.read(move |snapshot| principal(snapshot.connection, account)).await?) })
    }
}
