//! Leases as rows: the token only ever rises, also over releases, so that fences keep their meaning.
//!
//! They are not synced. Whoever holds a lease here runs on this machine and ends with it when the power does, and a batch
//! with a fence makes durable what was written before it, the fence's token included.

use std::sync::Arc;
use std::time::Duration;

use mailstore_trait::date::Timestamp;
use mailstore_trait::error::LeaseError;
use mailstore_trait::future::BoxFuture;
use mailstore_trait::leases::{Lease, LeaseScope, Leases};
use rusqlite::{OptionalExtension, params};

use crate::committer::Committer;
use crate::env::sql;
use crate::fault::{Fault, Result};
use crate::write::Tx;
use crate::write::account::unsigned;

/// The scope as the key of its row.
pub(crate) fn scope_key(scope: &LeaseScope) -> String {
    match scope {
        LeaseScope::Maildrop(account) => format!("maildrop {account}"),
        LeaseScope::Worker(name) => format!("worker {name}"),
        other => format!("other {other:?}"),
    }
}

/// The leases of a store.
#[derive(Clone)]
pub(crate) struct LeaseTable {
    pub(crate) committer: Option<Arc<Committer>>,
}

impl LeaseTable {
    async fn write<T: Send + 'static>(
        &self,
        run: impl FnMut(&mut Tx<'_>) -> Result<T> + Send + 'static,
    ) -> Result<T, LeaseError> {
        match &self.committer {
            Some(committer) => Ok(committer.write_unsynced(run).await?),
            None => Err(Fault::ReadOnly.into()),
        }
    }

    /// Gets or renews a lease for a thread that may block; answers until when it is held.
    pub(crate) fn hold(&self, scope: &LeaseScope, owner: [u8; 16], ttl: Duration) -> Result<Timestamp> {
        let Some(committer) = &self.committer else { return Err(Fault::ReadOnly) };
        let scope = scope.clone();
        let lease = committer.write_unsynced_blocking(move |tx| acquire(tx, &scope, owner, ttl))?;
        Ok(lease.expires)
    }

    /// Gives back what [`hold`](LeaseTable::hold) got, so that the next holder need not wait.
    pub(crate) fn give_back(&self, scope: &LeaseScope, owner: [u8; 16]) -> Result<()> {
        let Some(committer) = &self.committer else { return Err(Fault::ReadOnly) };
        let key = scope_key(scope);
        committer.write_unsynced_blocking(move |tx| match find(tx, &key)? {
            Some(row) if row.owner == Some(owner) => put(tx, &key, &Row { owner: None, ..row }),
            _ => Ok(()),
        })
    }
}

fn acquire(tx: &mut Tx<'_>, scope: &LeaseScope, owner: [u8; 16], ttl: Duration) -> Result<Lease> {
    let key = scope_key(scope);
    let known = find(tx, &key)?;
    let held_by_another =
        known.as_ref().is_some_and(|row| row.owner.is_some_and(|holder| holder != owner) && row.expires > tx.now);
    if held_by_another {
        return Err(Fault::Held);
    }
    let token = known.map_or(0, |row| row.token).saturating_add(1);
    let expires = tx.now.plus(ttl);
    put(tx, &key, &Row { owner: Some(owner), token, expires })?;
    Ok(Lease { scope: scope.clone(), owner, token, expires })
}

struct Row {
    owner: Option<[u8; 16]>,
    token: u64,
    expires: Timestamp,
}

fn find(tx: &Tx<'_>, key: &str) -> Result<Option<Row>> {
    let row = tx.prepare("SELECT owner, token, expires FROM lease WHERE scope = ?1")?.query_row([key], |row| {
        Ok(Row { owner: row.get(0)?, token: unsigned(row.get(1)?), expires: Timestamp(row.get(2)?) })
    });
    Ok(row.optional()?)
}

fn put(tx: &Tx<'_>, key: &str, row: &Row) -> Result<()> {
    tx.prepare(
        "INSERT INTO lease (scope, owner, token, expires) VALUES (?1, ?2, ?3, ?4)
         ON CONFLICT DO UPDATE SET owner = excluded.owner, token = excluded.token, expires = excluded.expires",
    )?
    .execute(params![key, row.owner.as_ref().map(|owner| &owner[..]), sql(row.token), row.expires.0])?;
    Ok(())
}

impl Leases for LeaseTable {
    fn acquire<'a>(
        &'a self,
        scope: &'a LeaseScope,
        owner: [u8; 16],
        ttl: Duration,
    ) -> BoxFuture<'a, Result<Lease, LeaseError>> {
        let scope = scope.clone();
        Box::pin(self.write(move |tx| acquire(tx, &scope, owner, ttl)))
    }

    fn renew<'a>(&'a self, lease: &'a Lease, ttl: Duration) -> BoxFuture<'a, Result<Lease, LeaseError>> {
        let lease = lease.clone();
        Box::pin(self.write(move |tx| {
            let key = scope_key(&lease.scope);
            match find(tx, &key)? {
                Some(row) if row.token == lease.token && row.owner == Some(lease.owner) => {
                    let expires = tx.now.plus(ttl);
                    put(tx, &key, &Row { expires, ..row })?;
                    Ok(Lease { expires, ..lease.clone() })
                }
                _ => Err(Fault::Lost),
            }
        }))
    }

    fn release<'a>(&'a self, lease: &'a Lease) -> BoxFuture<'a, Result<(), LeaseError>> {
        let lease = lease.clone();
        Box::pin(self.write(move |tx| {
            let key = scope_key(&lease.scope);
            match find(tx, &key)? {
                Some(row) if row.token == lease.token && row.owner == Some(lease.owner) => {
                    put(tx, &key, &Row { owner: None, ..row })
                }
                _ => Ok(()),
            }
        }))
    }
}
