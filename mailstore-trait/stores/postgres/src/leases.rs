//! Leases as rows: the token only ever rises, also over releases, so that fences keep their meaning.
//!
//! Each is one statement on one row, so two machines can't both have what one gets, and the clock is the database's.

use std::sync::Arc;
use std::time::Duration;

use mailstore_trait::date::Timestamp;
use mailstore_trait::error::LeaseError;
use mailstore_trait::future::BoxFuture;
use mailstore_trait::leases::{Lease, LeaseScope, Leases};

use crate::call::{call, millis, sql};
use crate::env::{Env, now};
use crate::fault::{Fault, Result};
use crate::rows::{get, number};

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
    pub(crate) env: Arc<Env>,
}

const ACQUIRE: &str = concat!(
    "INSERT INTO mailstore.lease (scope, owner, token, expires) VALUES ($1, $2, 1, ",
    now!("$4"),
    " + $3)
     ON CONFLICT (scope) DO UPDATE SET owner = excluded.owner, token = lease.token + 1, expires = excluded.expires
     WHERE lease.owner IS NULL OR lease.owner = excluded.owner OR lease.expires <= ",
    now!("$4"),
    " RETURNING token, expires"
);
const RENEW: &str = concat!(
    "UPDATE mailstore.lease SET expires = ",
    now!("$4"),
    " + $5 WHERE scope = $1 AND owner = $2 AND token = $3 RETURNING token, expires"
);

impl LeaseTable {
    async fn acquire(&self, scope: &LeaseScope, owner: [u8; 16], ttl: Duration) -> Result<Lease> {
        let call = call!(ACQUIRE, scope_key(scope), owner, millis(ttl), self.env.given_now());
        let rows = self.env.link.ask(call).await?;
        let row = rows.first().ok_or(Fault::Held)?;
        Ok(Lease { scope: scope.clone(), owner, token: number(row, 0)?, expires: Timestamp(get(row, 1)?) })
    }

    async fn renew(&self, lease: &Lease, ttl: Duration) -> Result<Lease> {
        let key = scope_key(&lease.scope);
        let call = call!(RENEW, key, lease.owner, sql(lease.token), self.env.given_now(), millis(ttl));
        let rows = self.env.link.ask(call).await?;
        let row = rows.first().ok_or(Fault::Taken)?;
        Ok(Lease { expires: Timestamp(get(row, 1)?), ..lease.clone() })
    }

    async fn release(&self, lease: &Lease) -> Result<()> {
        let call = call!(
            "UPDATE mailstore.lease SET owner = NULL WHERE scope = $1 AND owner = $2 AND token = $3",
            scope_key(&lease.scope),
            lease.owner,
            sql(lease.token)
        );
        self.env.link.ask(call).await.map(drop)
    }
}

impl Leases for LeaseTable {
    fn acquire<'a>(
        &'a self,
        scope: &'a LeaseScope,
        owner: [u8; 16],
        ttl: Duration,
    ) -> BoxFuture<'a, Result<Lease, LeaseError>> {
        Box::pin(async move { Ok(self.acquire(scope, owner, ttl).await?) })
    }

    fn renew<'a>(&'a self, lease: &'a Lease, ttl: Duration) -> BoxFuture<'a, Result<Lease, LeaseError>> {
        Box::pin(async move { Ok(self.renew(lease, ttl).await?) })
    }

    fn release<'a>(&'a self, lease: &'a Lease) -> BoxFuture<'a, Result<(), LeaseError>> {
        Box::pin(async move { Ok(self.release(lease).await?) })
    }
}
